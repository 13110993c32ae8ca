//! Orders (RFC 8555, section 7.4): made, read, finalized.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::objects::OrderDocument;
use super::request::AccountRequest;
use super::{State, answers, number};
use crate::ca::acme::orders::NewOrderRequest;
use crate::error::{Error, Result};
use crate::http::extract::{Parameters, Public};
use crate::x509::jws::FlattenedSignature;

/// Makes an order.
///
/// Signed by an account (RFC 8555, section 7.4). The payload: `identifiers`, each `{"type": "dns" or "ip", "value"}`; `notBefore` and `notAfter`, `profile` (the default one
/// if absent) and `replaces` (RFC 9773, section 5) may be absent.
#[utoipa::path(
    post, path = "/acme/new-order", operation_id = "createAcmeOrder", tag = "acme",
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed by an account.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImtpZCI6...", "payload": "eyJpZGVudGlmaWVycyI6...", "signature": "MEUCIQ..."})),
    responses((status = 201, description = "The order.", body = OrderDocument,
        headers(("Location" = String, description = "The order's address.")),
        example = json!({"status": "pending", "expires": "2030-01-08T12:00:00Z", "identifiers": [{"type": "dns", "value": "app.internal"}], "profile": "server",
            "authorizations": ["https://ca.internal/acme/authorizations/21"], "finalize": "https://ca.internal/acme/orders/12/finalize"})))
)]
pub async fn create(
    _public: Public,
    state: State,
    request: AccountRequest,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    create_in(&state, &request, None).await
}

/// Makes an order for a profile.
///
/// As through the default directory; `profile`, if it is there, must be this one.
#[utoipa::path(
    post, path = "/acme/{profile}/new-order", operation_id = "createAcmeOrderInProfile", tag = "acme",
    params(("profile" = String, Path, description = "The profile.", example = "server")),
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed by an account.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImtpZCI6...", "payload": "eyJpZGVudGlmaWVycyI6...", "signature": "MEUCIQ..."})),
    responses((status = 201, description = "The order.", body = OrderDocument,
        headers(("Location" = String, description = "The order's address.")),
        example = json!({"status": "pending", "expires": "2030-01-08T12:00:00Z", "identifiers": [{"type": "dns", "value": "app.internal"}], "profile": "server",
            "authorizations": ["https://ca.internal/acme/authorizations/21"], "finalize": "https://ca.internal/acme/orders/12/finalize"})))
)]
pub async fn create_in_profile(
    _public: Public,
    state: State,
    request: AccountRequest,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    create_in(&state, &request, Some(&path)).await
}

async fn create_in(state: &State, request: &AccountRequest, directory: Option<&str>) -> Result<HttpResponse> {
    let body: NewOrderRequest = request.payload.object()?;
    let order = state.acme.new_order(&request.caller, directory, body).await?;
    Ok(answers::order(&order, request.caller.base_url(), StatusCode::CREATED))
}

/// Reads an order.
///
/// POST-as-GET by the account that made it.
#[utoipa::path(
    post, path = "/acme/orders/{id}", operation_id = "readAcmeOrder", tag = "acme",
    params(("id" = i64, Path, description = "The order's number.", example = 12)),
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed by the account, with an empty payload.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImtpZCI6...", "payload": "", "signature": "MEUCIQ..."})),
    responses((status = 200, description = "The order.", body = OrderDocument,
        headers(("Retry-After" = String, description = "While it is `processing`: seconds after which to ask again.")),
        example = json!({"status": "ready", "expires": "2030-01-08T12:00:00Z", "identifiers": [{"type": "dns", "value": "app.internal"}], "profile": "server",
            "authorizations": ["https://ca.internal/acme/authorizations/21"], "finalize": "https://ca.internal/acme/orders/12/finalize"})))
)]
pub async fn read(
    _public: Public,
    state: State,
    request: AccountRequest,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let id = number("order", &path)?;
    request.payload.refuse_any()?;
    let order = state.acme.order(&request.caller, id).await?;
    Ok(answers::order(&order, request.caller.base_url(), StatusCode::OK))
}

/// The body of finalize (RFC 8555, section 7.4).
#[derive(Debug, Deserialize)]
struct FinalizeRequest {
    /// The CSR, DER in base64url.
    csr: String,
}

/// Finalizes an order.
///
/// The payload is `{"csr"}`, a certificate signing request in DER and base64url, that holds exactly the names of the order. The certificate is issued at once, or in the
/// background while the order is `processing`.
#[utoipa::path(
    post, path = "/acme/orders/{id}/finalize", operation_id = "finalizeAcmeOrder", tag = "acme",
    params(("id" = i64, Path, description = "The order's number.", example = 12)),
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed by the account.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImtpZCI6...", "payload": "eyJjc3IiOiJNSUgu...", "signature": "MEUCIQ..."})),
    responses((status = 200, description = "The order.", body = OrderDocument,
        headers(("Location" = String, description = "The order's address."), ("Retry-After" = String, description = "While it is `processing`: seconds after which to ask again.")),
        example = json!({"status": "valid", "expires": "2030-01-08T12:00:00Z", "identifiers": [{"type": "dns", "value": "app.internal"}], "profile": "server",
            "authorizations": ["https://ca.internal/acme/authorizations/21"], "finalize": "https://ca.internal/acme/orders/12/finalize",
            "certificate": "https://ca.internal/acme/certificates/12"})))
)]
pub async fn finalize(
    _public: Public,
    state: State,
    request: AccountRequest,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let id = number("order", &path)?;
    let FinalizeRequest { csr } = request.payload.object()?;
    let csr = URL_SAFE_NO_PAD.decode(csr).map_err(|error| {
        Error::malformed("`csr` is not base64url without padding, of a request in DER").with_source(error)
    })?;
    let order = state.acme.finalize(&request.caller, id, &csr).await?;
    Ok(answers::order(&order, request.caller.base_url(), StatusCode::OK))
}
