//! Certificates (RFC 8555, sections 7.4.2 and 7.6): fetched, revoked, and when to renew them (RFC 9773).

use actix_web::http::header;
use actix_web::{HttpResponse, web};

use super::addresses::Addresses;
use super::objects::RenewalDocument;
use super::request::{AccountOrKeyRequest, AccountRequest};
use super::{State, answers, number};
use crate::error::{Error, Result};
use crate::http::extract::{Parameters, Public};
use crate::http::problem::shorten;
use crate::x509::jws::FlattenedSignature;
use crate::x509::pem;

/// The media type of a chain (RFC 8555, section 9.1).
const PEM_CHAIN: &str = "application/pem-certificate-chain";

/// Fetches the certificate of an order.
///
/// POST-as-GET by the account that ordered it: the certificate, then those that lead towards the root, which is left out (RFC 8555, section 7.4.2). Links with the relation `alternate`
/// lead to other chains.
#[utoipa::path(
    post, path = "/acme/certificates/{id}", operation_id = "readAcmeCertificate", tag = "acme",
    params(("id" = i64, Path, description = "The order's number.", example = 12)),
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed by the account, with an empty payload.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImtpZCI6...", "payload": "", "signature": "MEUCIQ..."})),
    responses((status = 200, description = "The chain, PEM.", content_type = "application/pem-certificate-chain", body = String,
        headers(("Link" = String, description = "With the relation `alternate` the address of another chain."))))
)]
pub async fn read(
    _public: Public,
    state: State,
    request: AccountRequest,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    chain(&state, &request, number("certificate", &path)?, 0).await
}

/// Fetches the certificate of an order with another chain.
///
/// As without a number; the links of that one lead here.
#[utoipa::path(
    post, path = "/acme/certificates/{id}/{chain}", operation_id = "readAcmeAlternateCertificate", tag = "acme",
    params(
        ("id" = i64, Path, description = "The order's number.", example = 12),
        ("chain" = u16, Path, description = "Which other chain, from 1.", example = 1),
    ),
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed by the account, with an empty payload.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImtpZCI6...", "payload": "", "signature": "MEUCIQ..."})),
    responses((status = 200, description = "The chain, PEM.", content_type = "application/pem-certificate-chain", body = String,
        headers(("Link" = String, description = "With the relation `alternate` the address of another chain."))))
)]
pub async fn alternate(
    _public: Public,
    state: State,
    request: AccountRequest,
    path: web::Path<(String, String)>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let id = number("certificate", &path.0)?;
    let which = path.1.parse::<u16>().ok().filter(|which| *which > 0 && which.to_string() == path.1);
    let which = which.ok_or_else(|| Error::not_found(format!("there is no chain `{}`", shorten(&path.1))))?;
    chain(&state, &request, id, usize::from(which)).await
}

async fn chain(state: &State, request: &AccountRequest, id: i64, which: usize) -> Result<HttpResponse> {
    request.payload.refuse_any()?;
    let certificate = state.acme.order_certificate(&request.caller, id, which).await?;
    let addresses = Addresses(request.caller.base_url());
    let mut response = HttpResponse::Ok();
    response.content_type(PEM_CHAIN);
    for other in (0..=certificate.alternates).filter(|other| *other != which) {
        response.append_header(answers::link(&addresses.certificate(id, other), "alternate"));
    }
    Ok(response.body(certificate.chain.iter().map(|der| pem::encode("CERTIFICATE", der)).collect::<String>()))
}

/// Revokes a certificate.
///
/// Signed by the account that ordered it, by one that has valid authorizations for all of its names, or with the certificate's own key in `jwk` (RFC 8555, section 7.6). The payload is
/// `{"certificate", "reason"}`: DER in base64url, and a reason code (RFC 5280, section 5.3.1), which may be absent.
#[utoipa::path(
    post, path = "/acme/revoke-cert", operation_id = "revokeAcmeCertificate", tag = "acme",
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed by an account, or with the certificate's key.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImtpZCI6...", "payload": "eyJjZXJ0aWZpY2F0ZSI6...", "signature": "MEUCIQ..."})),
    responses((status = 200, description = "The certificate is revoked."))
)]
pub async fn revoke(
    _public: Public,
    state: State,
    request: AccountOrKeyRequest,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    match request {
        AccountOrKeyRequest::Account(request) => {
            state.acme.revoke_by_account(&request.caller, request.payload.object()?).await?;
        }
        AccountOrKeyRequest::Key(request) => {
            state.acme.revoke_by_key(&request.caller, request.payload.object()?).await?;
        }
    }
    // It may be a client certificate that is believed right now.
    state.authenticator.forget_all();
    Ok(HttpResponse::Ok().finish())
}

/// Tells when a certificate is to be renewed.
///
/// Anybody may ask (RFC 9773, section 4.1), and again after the time in `Retry-After`.
#[utoipa::path(
    get, path = "/acme/renewal-info/{id}", operation_id = "readAcmeRenewalInformation", tag = "acme",
    params(("id" = String, Path, description = "The certificate's identifier: its authority key identifier and its serial number, each in base64url, with a dot between them.",
        example = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")),
    responses((status = 200, description = "When to renew.", body = RenewalDocument,
        headers(("Retry-After" = String, description = "Seconds after which to ask again.")),
        example = json!({"suggestedWindow": {"start": "2030-01-02T04:00:00Z", "end": "2030-01-03T04:00:00Z"}})))
)]
pub async fn renewal_information(
    _public: Public,
    state: State,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let information = state.acme.renewal_information(&path).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::RETRY_AFTER, information.retry_after.to_string()))
        .json(RenewalDocument::from(information)))
}
