//! Authorizations and their challenges (RFC 8555, section 7.5).

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, web};
use serde::Deserialize;

use super::addresses::Addresses;
use super::objects::{AuthorizationDocument, ChallengeDocument};
use super::request::AccountRequest;
use super::{State, answers, number};
use crate::ca::acme::AuthorizationView;
use crate::error::{Error, Result};
use crate::http::extract::{Parameters, Public};
use crate::http::problem::shorten;
use crate::policy::acme::ChallengeType;
use crate::policy::acme::identifier::WrittenIdentifier;
use crate::x509::jws::FlattenedSignature;

/// The body of newAuthz (RFC 8555, section 7.4.1).
#[derive(Debug, Deserialize)]
struct NewAuthorizationRequest {
    /// What control is to be proven of.
    identifier: WrittenIdentifier,
}

/// The body of a change of an authorization (RFC 8555, section 7.5.2).
#[derive(Debug, Deserialize)]
struct AuthorizationUpdate {
    /// `deactivated`, the one change that there is.
    status: Option<String>,
}

/// Members of the answer to a challenge. RFC 8555 knows none.
#[derive(Debug, Deserialize)]
struct ChallengeAnswer {}

/// Makes an authorization ahead of an order.
///
/// Signed by an account. The payload is `{"identifier"}`, which must not be a wildcard (RFC 8555, section 7.4.1).
#[utoipa::path(
    post, path = "/acme/new-authz", operation_id = "createAcmeAuthorization", tag = "acme",
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed by an account.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImtpZCI6...", "payload": "eyJpZGVudGlmaWVyIjp7...", "signature": "MEUCIQ..."})),
    responses(
        (status = 201, description = "The authorization.", body = AuthorizationDocument,
         headers(("Location" = String, description = "The authorization's address.")),
         example = json!({"identifier": {"type": "dns", "value": "app.internal"}, "status": "pending", "expires": "2030-01-08T12:00:00Z", "challenges": []})),
        (status = 200, description = "The valid authorization that there is already.", body = AuthorizationDocument,
         headers(("Location" = String, description = "The authorization's address.")),
         example = json!({"identifier": {"type": "dns", "value": "app.internal"}, "status": "valid", "expires": "2030-01-08T12:00:00Z", "challenges": []})),
    )
)]
pub async fn create(
    _public: Public,
    state: State,
    request: AccountRequest,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    create_in(&state, &request, None).await
}

/// Makes an authorization ahead of an order for a profile.
///
/// As through the default directory.
#[utoipa::path(
    post, path = "/acme/{profile}/new-authz", operation_id = "createAcmeAuthorizationInProfile", tag = "acme",
    params(("profile" = String, Path, description = "The profile.", example = "server")),
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed by an account.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImtpZCI6...", "payload": "eyJpZGVudGlmaWVyIjp7...", "signature": "MEUCIQ..."})),
    responses(
        (status = 201, description = "The authorization.", body = AuthorizationDocument,
         headers(("Location" = String, description = "The authorization's address.")),
         example = json!({"identifier": {"type": "dns", "value": "app.internal"}, "status": "pending", "expires": "2030-01-08T12:00:00Z", "challenges": []})),
        (status = 200, description = "The valid authorization that there is already.", body = AuthorizationDocument,
         headers(("Location" = String, description = "The authorization's address.")),
         example = json!({"identifier": {"type": "dns", "value": "app.internal"}, "status": "valid", "expires": "2030-01-08T12:00:00Z", "challenges": []})),
    )
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
    let NewAuthorizationRequest { identifier } = request.payload.object()?;
    let (view, created) = state.acme.new_authorization(&request.caller, directory, identifier).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(answer(request, &view, status))
}

/// Reads or deactivates an authorization.
///
/// By the account that it is of. With the empty text as payload it is read; with `{"status": "deactivated"}` the account gives it up (RFC 8555, section 7.5.2).
#[utoipa::path(
    post, path = "/acme/authorizations/{id}", operation_id = "acmeAuthorization", tag = "acme",
    params(("id" = i64, Path, description = "The authorization's number.", example = 21)),
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed by the account.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImtpZCI6...", "payload": "", "signature": "MEUCIQ..."})),
    responses((status = 200, description = "The authorization.", body = AuthorizationDocument,
        headers(("Retry-After" = String, description = "While a challenge is being looked at: seconds after which to ask again.")),
        example = json!({"identifier": {"type": "dns", "value": "app.internal"}, "status": "pending", "expires": "2030-01-08T12:00:00Z", "challenges": [
            {"type": "http-01", "url": "https://ca.internal/acme/challenges/21/http-01", "status": "pending", "token": "DGyRejmCefe7v4NfDGDKfA-0123456789abcdefghij"}]})))
)]
pub async fn authorization(
    _public: Public,
    state: State,
    request: AccountRequest,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let id = number("authorization", &path)?;
    if request.payload.is_empty() {
        let view = state.acme.authorization(&request.caller, id).await?;
        return Ok(answer(&request, &view, StatusCode::OK));
    }
    match request.payload.object::<AuthorizationUpdate>()?.status.as_deref() {
        Some("deactivated") => {
            let view = state.acme.deactivate_authorization(&request.caller, id).await?;
            Ok(answer(&request, &view, StatusCode::OK))
        }
        Some(_) | None => Err(Error::malformed(
            "an authorization is read with the empty text as payload, or given up with the `status` `deactivated`; nothing else can be done with it",
        )),
    }
}

fn answer(request: &AccountRequest, view: &AuthorizationView, status: StatusCode) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    let address = Addresses(request.caller.base_url()).authorization(view.record.id);
    response.insert_header((header::LOCATION, address));
    answers::retry_after(&mut response, view.retry_after);
    response.json(AuthorizationDocument::of(view, &request.caller))
}

/// Reads a challenge, or says that it is answered.
///
/// By the account of the authorization. With the empty text as payload it is read; with an object, such as `{}`, the client says that it is ready to be looked at
/// (RFC 8555, section 7.5.1), which happens in the background, more than once if need be.
#[utoipa::path(
    post, path = "/acme/challenges/{id}/{type}", operation_id = "acmeChallenge", tag = "acme",
    params(
        ("id" = i64, Path, description = "The authorization's number.", example = 21),
        ("type" = ChallengeType, Path, description = "The kind of challenge.", example = "http-01"),
    ),
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed by the account.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImtpZCI6...", "payload": "e30", "signature": "MEUCIQ..."})),
    responses((status = 200, description = "The challenge.", body = ChallengeDocument,
        headers(("Link" = String, description = "With the relation `up` the address of the authorization."),
                ("Retry-After" = String, description = "While it is being looked at: seconds after which to ask again.")),
        example = json!({"type": "http-01", "url": "https://ca.internal/acme/challenges/21/http-01", "status": "processing", "token": "DGyRejmCefe7v4NfDGDKfA-0123456789abcdefghij"})))
)]
pub async fn challenge(
    _public: Public,
    state: State,
    request: AccountRequest,
    path: web::Path<(String, String)>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let id = number("authorization", &path.0)?;
    let challenge = ChallengeType::from_name(&path.1)
        .ok_or_else(|| Error::not_found(format!("there is no challenge `{}`", shorten(&path.1))))?;
    let view = if request.payload.is_empty() {
        state.acme.authorization(&request.caller, id).await?
    } else {
        let ChallengeAnswer {} = request.payload.object()?;
        state.acme.respond(&request.caller, id, challenge).await?
    };
    let mut response = HttpResponse::Ok();
    response.append_header(answers::link(&Addresses(request.caller.base_url()).authorization(id), "up"));
    answers::retry_after(&mut response, view.retry_after);
    Ok(response.json(ChallengeDocument::of(view.challenge(challenge)?, id, &request.caller)))
}
