//! Signed requests (RFC 8555, section 6.2) as arguments of handlers: read, compared with the address they came to, and admitted by the core.

use std::sync::Arc;

use actix_web::http::Uri;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev, web};
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;

use super::{JOSE_JSON, State};
use crate::auth::Caller;
use crate::ca::acme::AcmeCaller;
use crate::ca::acme::accounts::{KeyCaller, RequestOrigin};
use crate::error::{AcmeErrorType, Error, Result};
use crate::http::AppState;
use crate::http::acme::{base_url, request_url};
use crate::http::extract::{PrincipalName, body, json, remote_address, request_id};
use crate::http::problem::shorten;
use crate::x509::jws::{KeyReference, SignedRequest, VerifiedRequest};

/// A request by a valid account: signature, nonce and address are right.
#[derive(Debug)]
pub struct AccountRequest {
    /// Who.
    pub caller: AcmeCaller,
    /// What was signed.
    pub payload: Payload,
}

/// A request that is signed with the key it carries: signature, nonce and address are right.
#[derive(Debug)]
pub struct KeyRequest {
    /// Whose key.
    pub caller: KeyCaller,
    /// What was signed.
    pub payload: Payload,
}

/// A request by a valid account or by the key it carries, as the client chose.
#[derive(Debug)]
pub enum AccountOrKeyRequest {
    /// By an account.
    Account(AccountRequest),
    /// By a key.
    Key(KeyRequest),
}

impl FromRequest for AccountRequest {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move { Submitted::read(request, payload).await?.by_account().await })
    }
}

impl FromRequest for KeyRequest {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move { Submitted::read(request, payload).await?.by_key().await })
    }
}

impl FromRequest for AccountOrKeyRequest {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let submitted = Submitted::read(request, payload).await?;
            match submitted.signed.key() {
                KeyReference::Kid(_) => submitted.by_account().await.map(Self::Account),
                KeyReference::Jwk(_) => submitted.by_key().await.map(Self::Key),
            }
        })
    }
}

/// A signed request that came to the address it was signed for. Nobody has looked at its signature.
#[derive(Debug)]
struct Submitted {
    request: HttpRequest,
    state: State,
    signed: SignedRequest,
    origin: RequestOrigin,
}

impl Submitted {
    async fn read(request: HttpRequest, payload: dev::Payload) -> Result<Self> {
        let state = request
            .app_data::<web::Data<AppState>>()
            .cloned()
            .ok_or_else(|| Error::internal("the application state is missing"))?;
        let submission = body::read(&request, payload, state.settings.csr_limit).await?;
        if submission.media_type != JOSE_JSON {
            return Err(body::unsupported(&submission.media_type, &[JOSE_JSON]));
        }
        refuse_other_form(request.uri())?;
        let base_url = base_url(&request, &state.settings)?;
        let signed = SignedRequest::parse(&submission.octets)?;
        let url = request_url(&base_url, request.uri());
        if signed.url() != url {
            return Err(another_address(signed.url(), &url));
        }
        let remote_address = remote_address(request.head(), &state.settings.trusted_proxies);
        let origin = RequestOrigin { base_url, remote_address, request_id: Some(request_id(&request)) };
        Ok(Self { request, state, signed, origin })
    }

    async fn by_account(self) -> Result<AccountRequest> {
        let acme = Arc::clone(&self.state.acme);
        let (caller, verified) = acme.authenticate(self.signed, self.origin).await?;
        show_in_log(&self.request, caller.caller());
        Ok(AccountRequest { caller, payload: Payload(verified) })
    }

    async fn by_key(self) -> Result<KeyRequest> {
        let acme = Arc::clone(&self.state.acme);
        let (caller, verified) = acme.authenticate_key(self.signed, self.origin).await?;
        show_in_log(&self.request, caller.caller());
        Ok(KeyRequest { caller, payload: Payload(verified) })
    }
}

fn show_in_log(request: &HttpRequest, caller: &Caller) {
    request.extensions_mut().insert(PrincipalName(caller.principal.name.clone()));
}

/// Refuses an address that leads to a resource without being the one that the resource was given out under: a signature is for an address to
/// the letter, and each resource has one (RFC 8555, section 6.4).
fn refuse_other_form(uri: &Uri) -> Result<()> {
    if uri.path().contains('%') || uri.query() == Some("") {
        return Err(Error::not_found("there is nothing at this address; addresses are used as they were given out"));
    }
    Ok(())
}

/// RFC 8555, section 6.4: the server must reject the request as unauthorized. As an error of the kind that names a status of its own it is 403,
/// as every refusal of that type that does not end an account.
fn another_address(signed: &str, url: &str) -> Error {
    let signed = shorten(signed);
    Error::acme(
        AcmeErrorType::Unauthorized,
        format!(
            "the request was signed for `{signed}` and came to `{url}`; behind a proxy, `acme.base_url` or `server.trusted_proxies` must be set"
        ),
    )
}

/// What a client signed.
#[derive(Debug)]
pub struct Payload(VerifiedRequest);

impl Payload {
    /// Whether the request only reads: POST-as-GET (RFC 8555, section 6.3).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_post_as_get()
    }

    /// Returns the request.
    #[must_use]
    pub const fn request(&self) -> &VerifiedRequest {
        &self.0
    }

    /// Takes a request that only reads.
    ///
    /// # Errors
    /// `Malformed` when the payload is anything but the empty text, such as `{}`.
    pub fn refuse_any(&self) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        Err(Error::malformed(
            "this resource is only fetched: the payload must be the empty text, not an object (RFC 8555, section 6.3)",
        ))
    }

    /// Reads an object. Members that are not known are ignored, as RFC 8555 asks; one that is there twice is refused.
    ///
    /// # Errors
    /// `Malformed` when the payload is empty, or is not such an object.
    pub fn object<T: DeserializeOwned>(&self) -> Result<T> {
        if self.is_empty() {
            return Err(Error::malformed("the payload is empty; this resource takes an object"));
        }
        let octets = self.0.payload();
        if octets.trim_ascii_start().first() != Some(&b'{') {
            return Err(Error::malformed("the payload is not a JSON object"));
        }
        json::parse(octets)
    }
}
