//! Who calls, and may they: the argument [`Auth`] that proves a permission, made once per request by [`Access::admit`].
//!
//! Credentials are checked in `auth/`; here they are taken out of the request.

use std::future::{Ready, ready};
use std::ops::Deref;
use std::sync::Arc;

use actix_web::http::header::{self, HeaderMap};
use actix_web::{FromRequest, HttpMessage, HttpRequest, dev, web};
use secrecy::SecretString;

use super::{remote_address, request_id};
use crate::auth::{Authorized, Caller, Credentials, Permission, Requires};
use crate::error::{Error, ErrorKind, Result};
use crate::http::AppState;
use crate::http::connection::of_connection;

/// The proof that the caller has the permission `P`, as a handler's first argument.
#[derive(Clone, Debug)]
pub struct Auth<P: Requires>(pub Authorized<P>);

impl<P: Requires> Deref for Auth<P> {
    type Target = Authorized<P>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// The first argument of a handler that anybody may call; as an access it says that no credential is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Public;

/// What a route asks of its caller: a permission marker of `auth/permission.rs`, or [`Public`].
pub trait Access: 'static {
    /// The handler's first argument.
    type Proof: FromRequest + 'static;
    /// The permission, if there is one.
    const PERMISSION: Option<Permission>;

    /// Checks the caller before anything else of the request is read.
    fn admit(request: &HttpRequest) -> impl Future<Output = Result<()>>;
}

impl Access for Public {
    type Proof = Self;
    const PERMISSION: Option<Permission> = None;

    async fn admit(_request: &HttpRequest) -> Result<()> {
        Ok(())
    }
}

impl<P: Requires> Access for P {
    type Proof = Auth<P>;
    const PERMISSION: Option<Permission> = Some(P::PERMISSION);

    async fn admit(request: &HttpRequest) -> Result<()> {
        let authorized = authorize::<P>(request).await?;
        request.extensions_mut().insert(authorized);
        Ok(())
    }
}

impl FromRequest for Public {
    type Error = Error;
    type Future = Ready<Result<Self>>;

    fn from_request(_request: &HttpRequest, _payload: &mut dev::Payload) -> Self::Future {
        ready(Ok(Self))
    }
}

/// Hands over what [`Access::admit`] proved; a handler that was registered without it gets nothing.
impl<P: Requires> FromRequest for Auth<P> {
    type Error = Error;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, _payload: &mut dev::Payload) -> Self::Future {
        let authorized = request.extensions_mut().remove::<Authorized<P>>();
        ready(authorized.map(Self).ok_or_else(|| Error::internal("a handler was reached without its permission check")))
    }
}

/// The principal's name, put into the request's extensions for the access log.
#[derive(Clone, Debug)]
pub struct PrincipalName(pub String);

/// The client's certificates of a TLS connection, DER, put into its data when it is made.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The client's own.
    pub certificate: Arc<Vec<u8>>,
    /// Those that it sent beside it.
    pub intermediates: Arc<Vec<Vec<u8>>>,
}

/// Writes down that an admitted caller wanted to change something and what it sent could not be read, and gives the error back. A question
/// that cannot be read changes nothing and is not written down.
pub(in crate::http) async fn record_unreadable(
    request: &HttpRequest,
    permission: Option<Permission>,
    error: actix_web::Error,
) -> actix_web::Error {
    let asks_only = request.method().is_safe();
    let caller = request.extensions().get::<Arc<Caller>>().cloned();
    let state = request.app_data::<web::Data<AppState>>();
    let (Some(state), Some(caller), Some(permission), Some(refusal)) =
        (state, caller, permission, error.as_error::<Error>())
    else {
        return error;
    };
    if asks_only {
        return error;
    }
    let object = format!("path:{} {}", request.method(), super::super::problem::shorten(request.path()));
    match state.ca.note_refusal(&caller, permission.as_str(), object, refusal).await {
        Ok(()) => error,
        Err(storage_error) => storage_error.into(),
    }
}

async fn authorize<P: Requires>(request: &HttpRequest) -> Result<Authorized<P>> {
    let state = request
        .app_data::<web::Data<AppState>>()
        .cloned()
        .ok_or_else(|| Error::internal("the application state is missing"))?;
    let remote = remote_address(request.head(), &state.settings.trusted_proxies);
    let caller = match authenticate(&state, request, remote.clone()).await {
        Ok(caller) => Arc::new(caller),
        Err(error) => {
            // Counted and logged, not audited: an anonymous flood must not fill the database.
            if error.kind() == ErrorKind::Unauthenticated {
                metrics::counter!("chancery_authentication_failures_total").increment(1);
                tracing::info!(
                    request_id = request_id(request),
                    remote,
                    detail = error.detail(),
                    "authentication failed"
                );
            }
            return Err(error);
        }
    };
    request.extensions_mut().insert(PrincipalName(caller.principal.name.clone()));
    request.extensions_mut().insert(Arc::clone(&caller));
    match Authorized::check(Arc::clone(&caller)) {
        Ok(authorized) => Ok(authorized),
        Err(error) => {
            let object = format!("path:{} {}", request.method(), super::super::problem::shorten(request.path()));
            Err(state.ca.record_refusal(&caller, P::PERMISSION.as_str(), object, error).await)
        }
    }
}

async fn authenticate(state: &AppState, request: &HttpRequest, remote_address: Option<String>) -> Result<Caller> {
    let presented = of_connection::<ClientCertificate>(request);
    let credentials = Credentials {
        bearer: bearer(request.headers())?,
        client_certificate: presented.as_ref().map(|presented| Arc::clone(&presented.certificate)),
        client_intermediates: presented.map(|presented| presented.intermediates).unwrap_or_default(),
    };
    let principal = state.authenticator.authenticate(&credentials).await?;
    Ok(Caller { principal, remote_address, request_id: Some(request_id(request)) })
}

/// Takes the token out of `Authorization: Bearer` (RFC 6750, section 2.1).
///
/// # Errors
/// `Unauthenticated` for several such headers, another scheme or a token that is none.
fn bearer(headers: &HeaderMap) -> Result<Option<SecretString>> {
    let refuse = |detail: &str| Error::new(ErrorKind::Unauthenticated, detail);
    let mut values = headers.get_all(header::AUTHORIZATION);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refuse("the header `Authorization` is there more than once"));
    }
    let text = value.to_str().map_err(|error| {
        refuse("the header `Authorization` holds something else than visible ASCII").with_source(error)
    })?;
    let (scheme, token) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(refuse("the scheme of the header `Authorization` is not `Bearer`"));
    }
    let token = token.trim_start();
    // RFC 6750, section 2.1: b64token.
    let is_token = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~+/=".contains(&octet);
    if token.is_empty() || !token.bytes().all(is_token) {
        return Err(refuse("the header `Authorization` is not `Bearer` and one token"));
    }
    Ok(Some(SecretString::from(token)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use actix_web::test::TestRequest;
    use secrecy::ExposeSecret;

    use super::*;

    fn token(values: &[&str]) -> Result<Option<String>> {
        let mut request = TestRequest::default();
        for value in values {
            request = request.append_header(("Authorization", *value));
        }
        bearer(request.to_http_request().headers()).map(|found| found.map(|secret| secret.expose_secret().to_owned()))
    }

    #[test]
    fn the_scheme_is_read_in_either_case() {
        assert_eq!(token(&["Bearer abc"]).unwrap().unwrap(), "abc");
        assert_eq!(token(&["bEARER   a.b-c_d~+/=="]).unwrap().unwrap(), "a.b-c_d~+/==");
        assert_eq!(token(&[]).unwrap(), None);
    }

    #[test]
    fn everything_else_is_unauthenticated() {
        for values in [
            &["Bearer a", "Bearer a"][..],
            &["Basic dXNlcjpwYXNz"],
            &["Bearer"],
            &["Bearer "],
            &["Bearer a b"],
            &["Bearer a,Bearer b"],
            &["Bearera"],
            &[""],
        ] {
            let error = token(values).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{values:?}");
            assert!(!error.detail().contains("dXNl"), "a credential must not be repeated");
        }
    }

    #[actix_web::test]
    async fn a_handler_without_its_check_gets_no_proof() {
        use crate::auth::permission::IssueCertificates;
        let request = TestRequest::default().to_http_request();
        let error = Auth::<IssueCertificates>::extract(&request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
}
