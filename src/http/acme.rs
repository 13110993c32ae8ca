//! What every answer of the ACME server has, whichever handler or failure it comes from: a fresh nonce, the link to the directory, and leave
//! for programs in browsers to read it; and the address of the service as a client sees it, which ACME signs.

use std::rc::Rc;

use actix_web::body::BoxBody;
use actix_web::dev::ServiceResponse;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode, Uri};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};

use super::connection::{Activity, of_connection};
use super::{AppState, HttpSettings};
use crate::error::{Error, Result};

/// What the paths of the ACME server begin with.
pub(crate) const PREFIX: &str = "/acme/";
/// The name of the field that carries nonces (RFC 8555, section 6.5.1).
pub(crate) const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");

/// The fields that programs in browsers may read.
const EXPOSED: &str = "Link, Replay-Nonce, Location, Retry-After";
/// How long, in seconds, a browser may remember what it may send: a day.
const PREFLIGHT_AGE: &str = "86400";

/// Marks, among the data of an application, that it serves ACME.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served;

/// The address of the service as the client of a request sees it, in the request's extensions.
#[derive(Clone, Debug)]
struct BaseUrl(String);

/// Whether a request is meant for the ACME server, also when there is nothing at its path.
pub(super) fn is_acme(request: &HttpRequest) -> bool {
    let path = request.path().trim_start_matches('/');
    let below = path.strip_prefix("acme").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    below && request.app_data::<Served>().is_some()
}

/// Returns scheme and host as the client knows them, without a slash at the end: those of the settings; else those of the request, which a
/// trusted proxy may have forwarded. Host names are in lower case and default ports left out, so that the same host gives the same address.
///
/// # Errors
/// `Malformed` when the request names no host, or none that can be one.
pub(crate) fn base_url(request: &HttpRequest, settings: &HttpSettings) -> Result<String> {
    if let Some(url) = &settings.acme_base_url {
        return Ok(url.clone());
    }
    if let Some(BaseUrl(known)) = request.extensions().get() {
        return Ok(known.clone());
    }
    let base = base_of(request, settings)?;
    request.extensions_mut().insert(BaseUrl(base.clone()));
    Ok(base)
}

fn base_of(request: &HttpRequest, settings: &HttpSettings) -> Result<String> {
    let (head, headers) = (request.head(), request.headers());
    let proxied = head.peer_addr.is_some_and(|peer| settings.trusts(peer.ip()));
    let forwarded = |name| if proxied { last(headers, name) } else { None };
    let scheme = match forwarded("x-forwarded-proto") {
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
        Some(scheme) if scheme.eq_ignore_ascii_case("http") => "http",
        Some(_) | None if of_connection::<Rc<Activity>>(request).is_some_and(|activity| activity.is_secure()) => {
            "https"
        }
        Some(_) | None => "http",
    };
    // Over HTTP/2 the host stands in the address.
    let written = || headers.get("host").and_then(|host| host.to_str().ok());
    let named = || head.uri.authority().map(|authority| authority.as_str()).or_else(written);
    let host = forwarded("x-forwarded-host").or_else(named).ok_or_else(|| {
        Error::malformed("the request names no host; send `Host`, which the addresses of ACME are made with")
    })?;
    let host = normal_host(host, if scheme == "https" { 443 } else { 80 }).ok_or_else(|| {
        Error::malformed("the host that the request names is not a name or an address with or without a port")
    })?;
    Ok(format!("{scheme}://{host}"))
}

/// Returns the last value of a field that may be a list: what the proxy that is trusted wrote. Those before may be the client's own.
fn last<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get_all(name).last()?.to_str().ok()?;
    value.rsplit(',').map(str::trim).next().filter(|value| !value.is_empty())
}

/// Brings a host into normal form; `None` when it is not one.
fn normal_host(text: &str, default_port: u16) -> Option<String> {
    /// The longest name with brackets or a port.
    const LONGEST: usize = 261;
    let sound = |octet: u8| octet.is_ascii_alphanumeric() || b"-._".contains(&octet);
    if text.len() > LONGEST {
        return None;
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let address: std::net::Ipv6Addr = address.parse().ok()?;
            let port = if port.is_empty() { None } else { Some(port.strip_prefix(':')?) };
            (format!("[{address}]"), port)
        }
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            if host.is_empty() || !host.bytes().all(sound) {
                return None;
            }
            (host.to_ascii_lowercase(), port)
        }
    };
    match port {
        None => Some(host),
        Some(port) if port.bytes().all(|octet| octet.is_ascii_digit()) => match port.parse::<u16>().ok()? {
            port if port == default_port => Some(host),
            port => Some(format!("{host}:{port}")),
        },
        Some(_) => None,
    }
}

/// Returns the address of a request as its client sees it: base, path and query.
pub(crate) fn request_url(base: &str, uri: &Uri) -> String {
    let path = uri.path_and_query().map_or_else(|| uri.path(), |path| path.as_str());
    format!("{base}{path}")
}

/// Answers the question of a browser whether a program of another origin may send a request (Fetch, section 3.2.2).
pub(super) fn preflight(methods: &[Method]) -> HttpResponse {
    let methods = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    HttpResponse::NoContent()
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, methods.as_str()))
        .insert_header((header::ALLOW, methods.as_str()))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type"))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE))
        .finish()
}

/// Adds what every answer has. It is already decided by then; what cannot be made is left out and logged.
pub(super) fn complete(response: &mut ServiceResponse<BoxBody>, state: &AppState) {
    let status = response.status();
    let request = response.request().clone();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    // RFC 8555, section 6.5: every success and, where it can, every error. Those of the service itself can, too: a nonce needs no database.
    if request.method() == Method::POST && !headers.contains_key(REPLAY_NONCE) {
        match state.acme.new_nonce().and_then(|nonce| text(&nonce)) {
            Ok(nonce) => {
                headers.insert(REPLAY_NONCE, nonce);
            }
            Err(error) => tracing::error!(%error, "an answer has no nonce"),
        }
    }
    let helped = headers.get_all(header::LINK).any(|link| link.as_bytes().ends_with(b";rel=\"help\""));
    match links(&request, status, helped, state) {
        Ok(links) => links.into_iter().for_each(|link| headers.append(header::LINK, link)),
        Err(error) => tracing::debug!(%error, "an answer has no link to the directory"),
    }
}

fn text(value: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(value)
        .map_err(|error| Error::internal("a header field would not be visible ASCII").with_source(error))
}

/// Returns the links that an answer has beside those of its handler.
fn links(request: &HttpRequest, status: StatusCode, helped: bool, state: &AppState) -> Result<Vec<HeaderValue>> {
    let mut links = Vec::new();
    let base = base_url(request, &state.settings)?;
    if let Some(directory) = directory_of(request.path(), status) {
        links.push(text(&format!("<{base}{directory}>;rel=\"index\""))?);
    }
    if status == StatusCode::TOO_MANY_REQUESTS && !helped {
        // RFC 8555, section 6.6.
        let help = state.acme.settings().website.clone().unwrap_or_else(|| format!("{base}/docs/"));
        links.push(text(&format!("<{help}>;rel=\"help\""))?);
    }
    Ok(links)
}

/// Returns the path of the directory that a resource belongs to; `None` for a directory itself (RFC 8555, section 7.1).
fn directory_of(path: &str, status: StatusCode) -> Option<String> {
    const DEFAULT: &str = "/acme/directory";
    let rest = path.strip_prefix(PREFIX).unwrap_or_default();
    let failed = status.is_client_error() || status.is_server_error();
    match rest.split_once('/') {
        None if rest == "directory" && !failed => None,
        Some((_profile, "directory")) if !failed => None,
        Some((profile, "directory" | "new-account" | "new-order" | "new-authz")) if status != StatusCode::NOT_FOUND => {
            Some(format!("{PREFIX}{profile}/directory"))
        }
        None | Some(_) => Some(DEFAULT.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use actix_web::test::TestRequest;

    use super::*;

    fn base(peer: &str, fields: &[(&str, &str)]) -> Result<String> {
        let settings = HttpSettings { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..HttpSettings::default() };
        let mut request = TestRequest::default().peer_addr(peer.parse().unwrap());
        for field in fields {
            request = request.insert_header(*field);
        }
        base_url(&request.to_http_request(), &settings)
    }

    #[test]
    fn the_host_of_the_request_is_the_base_in_normal_form() {
        for (host, expected) in [
            ("ca.internal", "http://ca.internal"),
            ("CA.Internal:8443", "http://ca.internal:8443"),
            ("ca.internal:80", "http://ca.internal"),
            ("ca_1.internal:0443", "http://ca_1.internal:443"),
            ("127.0.0.1:14000", "http://127.0.0.1:14000"),
            ("[FD00::0:1]:8443", "http://[fd00::1]:8443"),
            ("[::1]", "http://[::1]"),
        ] {
            assert_eq!(base("192.0.2.1:5", &[("Host", host)]).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = "a".repeat(262);
        for host in
            ["", "a b", "a/b", "user@a", "a:b", "a:70000", "a:1:2", "::1", "[::1", "[a]", "[::1]x", "a>;rel=", &long]
        {
            assert!(base("192.0.2.1:5", &[("Host", host)]).is_err(), "{host}");
        }
        assert!(base("192.0.2.1:5", &[]).unwrap_err().detail().contains("`Host`"));
    }

    #[test]
    fn forwarded_fields_are_believed_from_trusted_proxies_only() {
        let fields = [
            ("Host", "inner:8443"),
            ("X-Forwarded-Proto", "http, https"),
            ("X-Forwarded-Host", "evil, ca.internal:443"),
        ];
        assert_eq!(base("10.1.2.3:5", &fields).unwrap(), "https://ca.internal");
        assert_eq!(base("192.0.2.1:5", &fields).unwrap(), "http://inner:8443");
        let odd = [("Host", "inner"), ("X-Forwarded-Proto", "gopher")];
        assert_eq!(base("10.1.2.3:5", &odd).unwrap(), "http://inner");
    }

    #[test]
    fn the_configured_base_counts_more_than_any_field() {
        let settings =
            HttpSettings { acme_base_url: Some("https://acme.internal".to_owned()), ..HttpSettings::default() };
        let request = TestRequest::default().insert_header(("Host", "other")).to_http_request();
        assert_eq!(base_url(&request, &settings).unwrap(), "https://acme.internal");
    }

    #[test]
    fn the_address_of_a_request_keeps_its_query() {
        let uri: Uri = "/acme/accounts/1/orders?cursor=%31".parse().unwrap();
        assert_eq!(request_url("https://a", &uri), "https://a/acme/accounts/1/orders?cursor=%31");
    }

    #[test]
    fn everything_but_a_directory_leads_to_its_directory() {
        let of = |path: &str, status: u16| directory_of(path, StatusCode::from_u16(status).unwrap());
        assert_eq!(of("/acme/directory", 200), None);
        assert_eq!(of("/acme/server/directory", 200), None);
        assert_eq!(of("/acme/directory", 405).as_deref(), Some("/acme/directory"));
        assert_eq!(of("/acme/server/directory", 405).as_deref(), Some("/acme/server/directory"));
        assert_eq!(of("/acme/nobody/directory", 404).as_deref(), Some("/acme/directory"));
        assert_eq!(of("/acme/server/new-order", 201).as_deref(), Some("/acme/server/directory"));
        assert_eq!(of("/acme/orders/17", 200).as_deref(), Some("/acme/directory"));
        assert_eq!(of("/acme/new-nonce", 204).as_deref(), Some("/acme/directory"));
        assert_eq!(of("/acme/", 404).as_deref(), Some("/acme/directory"));
    }
}
