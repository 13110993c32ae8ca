//! The CRLs of an issuer as the API shows them. What relying parties fetch is in `protocols/crl.rs`.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};

use super::issuers::{download, find};
use super::{DER_CRL, PEM_FILE, State};
use crate::auth::permission::{PublishCrl, ReadIssuers};
use crate::ca::CertificateAuthority;
use crate::ca::crl::Publication;
use crate::ca::issuer::Issuer;
use crate::error::{Error, Result};
use crate::http::accept;
use crate::http::extract::{Auth, Fields, FromFields, Parameters};
use crate::protocols::crl::octets;
use crate::storage::CrlRecord;
use crate::x509::{Timestamp, pem};

/// A published CRL.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Crl)]
pub struct CrlDocument {
    /// The CRL number.
    #[schema(example = 12)]
    pub number: i64,
    /// When it was made.
    pub this_update: Timestamp,
    /// By when the next one comes.
    pub next_update: Timestamp,
    /// Where anybody can fetch it.
    #[schema(example = "http://pki.internal/pki/issuing.crl")]
    pub url: String,
}

/// A CRL of a shard, or its delta, that was published.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = PublishedCrl)]
pub struct PublishedCrlDocument {
    /// The shard; 0 for the full CRL.
    #[schema(example = 3)]
    pub shard: i32,
    /// Whether it is a delta CRL.
    pub delta: bool,
    /// For a delta CRL, the number of the CRL it builds on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_number: Option<i64>,
    /// How many octets it has.
    #[schema(example = 512)]
    pub size: usize,
    /// Number, time and address.
    #[serde(flatten)]
    pub crl: CrlDocument,
}

/// What was published: the full CRL, and everything with it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Publication)]
pub struct PublicationDocument {
    /// The full CRL.
    #[serde(flatten)]
    pub full: CrlDocument,
    /// Everything that was published, the full CRL included, by shard.
    pub published: Vec<PublishedCrlDocument>,
}

impl CrlDocument {
    /// Describes a published CRL.
    pub(super) fn of(ca: &CertificateAuthority, issuer: &Issuer, crl: &CrlRecord) -> Self {
        Self {
            number: crl.number,
            this_update: crl.this_update,
            next_update: crl.next_update,
            url: ca.crl_address(issuer, crl),
        }
    }
}

impl PublicationDocument {
    fn of(state: &State, issuer: &Issuer, publication: &Publication) -> Self {
        let describe = |crl: &CrlRecord| PublishedCrlDocument {
            shard: crl.shard,
            delta: crl.base_number.is_some(),
            base_number: crl.base_number,
            size: crl.der.len(),
            crl: CrlDocument::of(&state.ca, issuer, crl),
        };
        Self {
            full: CrlDocument::of(&state.ca, issuer, &publication.full),
            published: publication.published.iter().map(|crl| describe(crl)).collect(),
        }
    }
}

/// Which CRL of an issuer.
#[derive(Clone, Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CrlQuery {
    /// The shard; 0 for the full CRL, as if absent.
    #[param(value_type = Option<u16>, minimum = 0, maximum = 1024, example = 3)]
    pub shard: u16,
    /// Whether the delta CRL is asked for.
    #[param(value_type = Option<bool>)]
    pub delta: bool,
}

impl FromFields for CrlQuery {
    fn from_fields(fields: &mut Fields) -> Result<Self> {
        Ok(Self { shard: fields.parsed("shard")?.unwrap_or_default(), delta: fields.flag("delta")? })
    }
}

/// Downloads an issuer's CRL.
///
/// The published one, of a shard or a delta where asked for: PEM, or DER with `Accept: application/pkix-crl`.
#[utoipa::path(
    get, path = "/api/v1/issuers/{name}/crl", operation_id = "downloadIssuerCrl", tag = "issuers",
    params(("name" = String, Path, description = "The issuer's name.", example = "issuing"), CrlQuery),
    responses((status = 200, description = "The CRL.", content((String = "application/x-pem-file"), (Vec<u8> = "application/pkix-crl")), headers(("Vary" = String, description = "`Accept`."))))
)]
pub async fn read(
    authorization: Auth<ReadIssuers>,
    state: State,
    path: web::Path<String>,
    request: HttpRequest,
    query: Parameters<CrlQuery>,
) -> Result<HttpResponse> {
    let place = accept::choose(&request, &[PEM_FILE, DER_CRL])?;
    let issuer = find(&state, &authorization, &path).await?;
    let CrlQuery { shard, delta } = query.0;
    let crl = state.ca.served_crl(&issuer, i32::from(shard), delta).ok_or_else(|| {
        let kind = if delta { "delta CRL" } else { "CRL" };
        Error::not_found(format!("the issuer `{}` has not published a {kind} of shard `{shard}`", issuer.path_name))
    })?;
    Ok(match place {
        1 => download(DER_CRL, octets(&crl)),
        _ => download(PEM_FILE, pem::encode("X509 CRL", &crl.der)),
    })
}

/// Publishes an issuer's CRL now.
///
/// The full CRL, and every shard and delta that lacks the latest revocations; they are published on schedule and after each revocation anyhow.
#[utoipa::path(
    post, path = "/api/v1/issuers/{name}/crl", operation_id = "publishCrl", tag = "issuers",
    params(("name" = String, Path, description = "The issuer's name.", example = "issuing")),
    responses((status = 200, description = "The full CRL that was published, and what was published with it.", body = PublicationDocument, example = json!(publication_example())))
)]
pub async fn publish(
    authorization: Auth<PublishCrl>,
    state: State,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let publication = state.ca.publish_crl(&authorization, &path).await?;
    let issuers = state.ca.issuers();
    let issuer = issuers.by_id(publication.full.issuer_id);
    let issuer = issuer.ok_or_else(|| Error::internal("the issuer of a CRL is gone"))?;
    Ok(HttpResponse::Ok().json(PublicationDocument::of(&state, issuer, &publication)))
}

/// Returns a CRL for examples.
pub(super) fn crl_example() -> Value {
    json!({
        "number": 12,
        "this_update": "2030-01-31T12:00:00Z",
        "next_update": "2030-02-07T12:00:00Z",
        "url": "http://pki.internal/pki/issuing.crl",
    })
}

fn publication_example() -> Value {
    json!({
        "number": 12,
        "this_update": "2030-01-31T12:00:00Z",
        "next_update": "2030-02-07T12:00:00Z",
        "url": "http://pki.internal/pki/issuing.crl",
        "published": [{
            "shard": 0,
            "delta": false,
            "size": 512,
            "number": 12,
            "this_update": "2030-01-31T12:00:00Z",
            "next_update": "2030-02-07T12:00:00Z",
            "url": "http://pki.internal/pki/issuing.crl",
        }],
    })
}
