//! Where everything is, and nonces (RFC 8555, sections 7.1.1 and 7.2).

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};

use super::State;
use super::addresses::Addresses;
use super::objects::DirectoryDocument;
use super::request::AccountRequest;
use crate::error::Result;
use crate::http::acme::{REPLAY_NONCE, base_url};
use crate::http::extract::{Parameters, Public};
use crate::x509::jws::FlattenedSignature;

/// Reads the default directory.
///
/// The one address that an ACME client is given (RFC 8555, section 7.1.1): everything else follows from it. Orders may name any profile that can be
/// had over ACME; those that name none get the default one. No credential is needed.
#[utoipa::path(
    get, path = "/acme/directory", operation_id = "readAcmeDirectory", tag = "acme",
    responses((status = 200, description = "The directory.", body = DirectoryDocument, example = json!({
        "newNonce": "https://ca.internal/acme/new-nonce",
        "newAccount": "https://ca.internal/acme/new-account",
        "newOrder": "https://ca.internal/acme/new-order",
        "newAuthz": "https://ca.internal/acme/new-authz",
        "revokeCert": "https://ca.internal/acme/revoke-cert",
        "keyChange": "https://ca.internal/acme/key-change",
        "renewalInfo": "https://ca.internal/acme/renewal-info",
        "meta": {"externalAccountRequired": false, "profiles": {"server": "TLS servers"}}
    })))
)]
pub async fn read(_public: Public, state: State, _query: Parameters<()>, request: HttpRequest) -> Result<HttpResponse> {
    directory(&state, &base_url(&request, &state.settings)?, None)
}

/// Reads the default directory by a signed request.
///
/// POST-as-GET (RFC 8555, section 6.3) by an account; the payload is the empty text.
#[utoipa::path(
    post, path = "/acme/directory", operation_id = "readAcmeDirectorySigned", tag = "acme",
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed by an account, with an empty payload.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImtpZCI6...", "payload": "", "signature": "MEUCIQ..."})),
    responses((status = 200, description = "The directory.", body = DirectoryDocument, example = json!({
        "newNonce": "https://ca.internal/acme/new-nonce",
        "newAccount": "https://ca.internal/acme/new-account",
        "newOrder": "https://ca.internal/acme/new-order",
        "newAuthz": "https://ca.internal/acme/new-authz",
        "revokeCert": "https://ca.internal/acme/revoke-cert",
        "keyChange": "https://ca.internal/acme/key-change",
        "renewalInfo": "https://ca.internal/acme/renewal-info",
        "meta": {"externalAccountRequired": false, "profiles": {"server": "TLS servers"}}
    })))
)]
pub async fn read_signed(
    _public: Public,
    state: State,
    request: AccountRequest,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    request.payload.refuse_any()?;
    directory(&state, request.caller.base_url(), None)
}

/// Reads the directory of a profile.
///
/// As the default directory; orders made through it are for this profile.
#[utoipa::path(
    get, path = "/acme/{profile}/directory", operation_id = "readAcmeProfileDirectory", tag = "acme",
    params(("profile" = String, Path, description = "The profile.", example = "server")),
    responses((status = 200, description = "The directory.", body = DirectoryDocument, example = json!({
        "newNonce": "https://ca.internal/acme/new-nonce",
        "newAccount": "https://ca.internal/acme/server/new-account",
        "newOrder": "https://ca.internal/acme/server/new-order",
        "newAuthz": "https://ca.internal/acme/server/new-authz",
        "revokeCert": "https://ca.internal/acme/revoke-cert",
        "keyChange": "https://ca.internal/acme/key-change",
        "renewalInfo": "https://ca.internal/acme/renewal-info",
        "meta": {"externalAccountRequired": false, "profiles": {"server": "TLS servers"}}
    })))
)]
pub async fn read_profile(
    _public: Public,
    state: State,
    path: web::Path<String>,
    _query: Parameters<()>,
    request: HttpRequest,
) -> Result<HttpResponse> {
    directory(&state, &base_url(&request, &state.settings)?, Some(&path))
}

/// Reads the directory of a profile by a signed request.
///
/// POST-as-GET (RFC 8555, section 6.3) by an account; the payload is the empty text.
#[utoipa::path(
    post, path = "/acme/{profile}/directory", operation_id = "readAcmeProfileDirectorySigned", tag = "acme",
    params(("profile" = String, Path, description = "The profile.", example = "server")),
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed by an account, with an empty payload.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImtpZCI6...", "payload": "", "signature": "MEUCIQ..."})),
    responses((status = 200, description = "The directory.", body = DirectoryDocument, example = json!({
        "newNonce": "https://ca.internal/acme/new-nonce",
        "newAccount": "https://ca.internal/acme/server/new-account",
        "newOrder": "https://ca.internal/acme/server/new-order",
        "newAuthz": "https://ca.internal/acme/server/new-authz",
        "revokeCert": "https://ca.internal/acme/revoke-cert",
        "keyChange": "https://ca.internal/acme/key-change",
        "renewalInfo": "https://ca.internal/acme/renewal-info",
        "meta": {"externalAccountRequired": false, "profiles": {"server": "TLS servers"}}
    })))
)]
pub async fn read_profile_signed(
    _public: Public,
    state: State,
    request: AccountRequest,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    request.payload.refuse_any()?;
    directory(&state, request.caller.base_url(), Some(&path))
}

fn directory(state: &State, base_url: &str, name: Option<&str>) -> Result<HttpResponse> {
    Ok(HttpResponse::Ok().json(DirectoryDocument::of(&state.acme, Addresses(base_url), name)?))
}

/// Gets a nonce.
///
/// In the header field `Replay-Nonce`, as in every answer to a signed request (RFC 8555, section 7.2). HEAD is answered with 200.
#[utoipa::path(
    get, path = "/acme/new-nonce", operation_id = "getAcmeNonce", tag = "acme",
    responses((status = 204, description = "The nonce is in the header.",
        headers(("Replay-Nonce" = String, description = "A nonce for one request."))))
)]
pub async fn nonce(
    _public: Public,
    state: State,
    _query: Parameters<()>,
    request: HttpRequest,
) -> Result<HttpResponse> {
    let mut response = match *request.method() {
        Method::HEAD => HttpResponse::Ok(),
        _ => HttpResponse::NoContent(),
    };
    Ok(response.insert_header((REPLAY_NONCE, state.acme.new_nonce()?)).finish())
}

/// Gets a nonce by a signed request.
///
/// POST-as-GET (RFC 8555, section 6.3) by an account; the payload is the empty text.
#[utoipa::path(
    post, path = "/acme/new-nonce", operation_id = "getAcmeNonceSigned", tag = "acme",
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed by an account, with an empty payload.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImtpZCI6...", "payload": "", "signature": "MEUCIQ..."})),
    responses((status = 204, description = "The nonce is in the header."))
)]
pub async fn nonce_signed(_public: Public, request: AccountRequest, _query: Parameters<()>) -> Result<HttpResponse> {
    request.payload.refuse_any()?;
    // The nonce is added as to every answer.
    Ok(HttpResponse::NoContent().finish())
}
