//! The state of the service for those who run it: health, readiness, metrics, and the OpenAPI document with its reader.

use std::sync::{Arc, OnceLock};

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use serde::Serialize;

use crate::ca::issuers::expiry::ExpiryWarning;
use crate::error::{Error, Result};
use crate::http::AppState;
use crate::http::extract::Public;
use crate::http::problem::shorten;
use crate::http::{metrics as recorder, openapi};
use crate::storage::IssuerState;

/// What may run and load in the reader of the OpenAPI document: its own files only, and the styles it sets on elements.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Whether the process answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Health {
    /// Always `ok`.
    #[schema(example = "ok")]
    pub status: &'static str,
}

/// Tells that the process answers.
///
/// Says nothing of the database or the issuers: an orchestrator restarts what fails here, and a restart does not bring a database back.
#[utoipa::path(
    get, path = "/healthz", operation_id = "health", tag = "operation",
    responses((status = 200, description = "It answers.", body = Health, example = json!({"status": "ok"})))
)]
pub async fn health(_public: Public) -> HttpResponse {
    no_store(HttpResponse::Ok()).json(Health { status: "ok" })
}

/// Whether the service can do its work.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Readiness {
    /// `ready`, or `not_ready` when any check failed.
    #[schema(example = "ready")]
    pub status: &'static str,
    /// Every check.
    pub checks: Vec<Check>,
    /// What ends soon or has ended; the service is ready all the same.
    pub warnings: Vec<ExpiryWarning>,
}

/// One check of readiness.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ReadinessCheck)]
pub struct Check {
    /// What was checked: `process`, `database`, `issuers` or `signer`.
    #[schema(example = "database")]
    pub name: &'static str,
    /// `ok`, `failed`, or `warning` for what does not make the service unready.
    #[schema(example = "ok")]
    pub status: &'static str,
    /// What is wrong; absent when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'static str>,
}

const FAILED: &str = "failed";

impl Check {
    fn of(name: &'static str, passed: bool, detail: &'static str) -> Self {
        Self { name, status: if passed { "ok" } else { FAILED }, detail: (!passed).then_some(detail) }
    }

    /// What an operator must know and no load balancer should act on: everything else is served, and no other replica does better.
    fn warning(name: &'static str, applies: bool, detail: &'static str) -> Self {
        Self { name, status: if applies { "warning" } else { "ok" }, detail: applies.then_some(detail) }
    }
}

/// Tells whether the service can do its work.
///
/// The database must be reachable with every migration, an issuer must be active, and the service must not be stopping. `warnings` tells of issuers
/// and CRLs that end soon.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readiness", tag = "operation",
    responses(
        (status = 200, description = "It can.", body = Readiness,
         example = json!({"status": "ready", "checks": [{"name": "process", "status": "ok"}, {"name": "database", "status": "ok"}, {"name": "issuers", "status": "ok"}, {"name": "signer", "status": "ok"}], "warnings": []})),
        (status = 503, description = "It cannot now.", body = Readiness,
         example = json!({"status": "not_ready", "checks": [{"name": "process", "status": "ok"}, {"name": "database", "status": "failed", "detail": "the database cannot be reached or lacks a migration"}, {"name": "issuers", "status": "ok"}, {"name": "signer", "status": "warning", "detail": "the device with an issuer's key is away; what that issuer signs is unavailable"}], "warnings": []}))
    )
)]
pub async fn ready(_public: Public, state: web::Data<AppState>) -> HttpResponse {
    let database = state.ca.storage().ready().await;
    if let Err(error) = &database {
        tracing::warn!(detail = error.detail(), "the database is not ready");
    }
    let active = state.ca.issuers().all().iter().any(|issuer| issuer.state == IssuerState::Active);
    let away = state.ca.issuers().all().iter().any(|issuer| issuer.device_is_away());
    let checks = vec![
        Check::of("process", !state.stopping.has_begun(), "the service is stopping"),
        Check::of("database", database.is_ok(), "the database cannot be reached or lacks a migration"),
        Check::of("issuers", active, "no issuer is active"),
        Check::warning(
            "signer",
            away,
            "the device with an issuer's key is away; what that issuer signs is unavailable",
        ),
    ];
    let passed = checks.iter().all(|check| check.status != FAILED);
    let mut answer = if passed { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    if !passed {
        answer.insert_header((header::RETRY_AFTER, "2"));
    }
    no_store(answer).json(Readiness {
        status: if passed { "ready" } else { "not_ready" },
        checks,
        warnings: state.ca.expiry_warnings(),
    })
}

/// Shows the metrics.
///
/// In the Prometheus text format; served by the metrics listener only.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "operation",
    responses((status = 200, description = "The metrics.", content_type = "text/plain", body = String))
)]
pub async fn metrics(_public: Public, state: web::Data<AppState>) -> HttpResponse {
    state.admission.measure();
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(recorder::render(&state.ca))
}

/// Shows the OpenAPI document.
///
/// OpenAPI 3.1, of exactly the paths that this service routes.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "operation",
    responses((status = 200, description = "The document.", content_type = "application/json", body = Object, example = json!({"openapi": "3.1.0"})))
)]
pub async fn openapi_document(_public: Public) -> Result<HttpResponse> {
    static DOCUMENT: OnceLock<web::Bytes> = OnceLock::new();
    let document = match DOCUMENT.get() {
        Some(document) => document.clone(),
        None => {
            let made = web::Bytes::from(openapi::document_json()?);
            DOCUMENT.get_or_init(|| made).clone()
        }
    };
    Ok(HttpResponse::Ok().content_type("application/json").body(document))
}

/// Leads to the reader of the OpenAPI document.
///
/// A redirect to `/docs/`.
#[utoipa::path(
    get, path = "/docs", operation_id = "documentation", tag = "operation",
    responses((status = 308, description = "The reader is at `/docs/`.", headers(("Location" = String, description = "`/docs/`."))))
)]
pub async fn documentation(_public: Public) -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "/docs/")).finish()
}

/// Shows the reader of the OpenAPI document.
///
/// Swagger UI, whose files are part of the program.
#[utoipa::path(
    get, path = "/docs/{file}", operation_id = "documentationFile", tag = "operation",
    params(("file" = String, Path, description = "A file of the reader; empty for its first page.", example = "index.html")),
    responses((status = 200, description = "The file.", content_type = "text/html", body = String))
)]
pub async fn documentation_file(_public: Public, path: web::Path<String>) -> Result<HttpResponse> {
    static CONFIG: OnceLock<Arc<utoipa_swagger_ui::Config<'static>>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| Arc::new(utoipa_swagger_ui::Config::from("/openapi.json")));
    let file = utoipa_swagger_ui::serve(&path, Arc::clone(config))
        .map_err(|error| Error::internal("the reader of the OpenAPI document failed").with_source(error.to_string()))?
        .ok_or_else(|| Error::not_found(format!("the reader has no file `{}`", shorten(&path))))?;
    let mut response = HttpResponse::Ok();
    response.content_type(file.content_type).insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY));
    if file.gzpipped {
        response.insert_header((header::CONTENT_ENCODING, "gzip"));
    }
    Ok(response.body(file.bytes.into_owned()))
}

fn no_store(mut response: actix_web::HttpResponseBuilder) -> actix_web::HttpResponseBuilder {
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    response
}
