//! Problem details (RFC 9457): the only place that turns an [`Error`] into an HTTP answer, and that logs what clients must not see.
//!
//! Handlers and extractors return [`Error`]; the middleware calls [`answer`] on it, so that every document carries the request id and every
//! failure of the service itself is logged once. Below `/acme/` failures take the form of RFC 8555: `problem/acme.rs`.

pub(crate) mod acme;
mod repeated;

use std::time::Instant;

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use serde::Serialize;

use self::repeated::Repeated;
use super::extract::body::discard;
use crate::error::{Error, ErrorKind, Violation};

/// The media type of problem details (RFC 9457, section 6.1).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What clients see of a failure of the service itself.
const INTERNAL_DETAIL: &str =
    "the request could not be completed; the operator finds the cause in the log under this request id";

/// Seconds for `Retry-After` when an error that passes names none.
const RETRY_AFTER_SECONDS: u32 = 1;

/// An error as clients see it: problem details with a stable `code`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// A URN for the kind of problem: `urn:chancery:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:chancery:problem:policy_violation")]
    pub type_uri: String,
    /// What kind of problem it is, the same for every occurrence.
    #[schema(example = "The issuance policy refuses the request")]
    pub title: &'static str,
    /// The HTTP status.
    #[schema(example = 422)]
    pub status: u16,
    /// What is wrong with this request, and what would be accepted.
    #[schema(example = "the DNS name `www.example.org` matches no allowed pattern; allowed: `**.internal`")]
    pub detail: String,
    /// The stable code to match on.
    #[schema(example = "policy_violation")]
    pub code: &'static str,
    /// The request's id, as in `X-Request-Id`, for the operator to find it in log and audit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "01980d3e-7a44-7b1c-9f2e-0f5f4b6a8c11")]
    pub request_id: Option<String>,
    /// For refusals by the issuance policy every rule that is broken; absent otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
}

impl Problem {
    /// Describes an error to a client. Failures of the service itself say no more than the request id.
    #[must_use]
    pub fn of(error: &Error, request_id: Option<&str>) -> Self {
        let entry = error.kind().entry();
        let detail = if is_hidden(error.kind()) { INTERNAL_DETAIL.to_owned() } else { error.detail().to_owned() };
        let violations = if is_hidden(error.kind()) { Vec::new() } else { error.violations().to_vec() };
        Self {
            type_uri: type_uri(entry.code),
            title: entry.title,
            status: entry.status,
            detail,
            code: entry.code,
            request_id: request_id.map(str::to_owned),
            violations,
        }
    }
}

/// Returns the `type` of a code.
#[must_use]
pub fn type_uri(code: &str) -> String {
    format!("urn:chancery:problem:{code}")
}

/// Whether a client must not see the detail.
const fn is_hidden(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Internal | ErrorKind::Configuration)
}

/// Answers a request that failed, and logs the failure if it is the service's own.
pub(crate) fn answer(error: &Error, request_id: &str) -> HttpResponse {
    let told = log(error, request_id);
    mark(document(error, Some(request_id)), &told)
}

/// What the log says of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It has a line, if it needs one.
    Alone,
    /// It is counted in a later line.
    Counted,
}

/// Marks an answer, in its extensions, whose failure is only counted in the log: the access log does the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct OnlyCounted;

fn mark(mut response: HttpResponse, told: &Told) -> HttpResponse {
    if *told == Told::Counted {
        response.extensions_mut().insert(OnlyCounted);
    }
    response
}

fn document(error: &Error, request_id: Option<&str>) -> HttpResponse {
    let mut response = HttpResponse::build(error.status_code());
    response.content_type(MEDIA_TYPE).insert_header((header::CACHE_CONTROL, "no-store"));
    if error.kind() == ErrorKind::Unauthenticated {
        // RFC 6750, section 3: the scheme that would be accepted.
        response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"chancery\""));
    }
    let passes = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Overloaded | ErrorKind::RateLimited);
    if let Some(seconds) = error.retry_after_seconds().or(passes.then_some(RETRY_AFTER_SECONDS)) {
        response.insert_header((header::RETRY_AFTER, seconds.to_string()));
    }
    response.body(serde_json::to_vec(&Problem::of(error, request_id)).unwrap_or_default())
}

fn log(error: &Error, request_id: &str) -> Told {
    static AWAY: Repeated = Repeated::new();
    match error.kind() {
        ErrorKind::Internal | ErrorKind::Configuration => {
            tracing::error!(request_id, code = error.kind().entry().code, detail = error.detail(), cause = %causes(error), "request failed");
        }
        // While the database stalls this is every request; which cause it is shows all the same. Those above are never left out: their clients
        // were told that the log has them.
        ErrorKind::Unavailable => {
            let (detail, cause) = (error.detail(), causes(error));
            let Some(counted_before) = AWAY.write(&format!("{detail}: {cause}"), Instant::now()) else {
                return Told::Counted;
            };
            tracing::warn!(request_id, detail, cause, counted_before, "request could not be served now");
        }
        kind => {
            tracing::debug!(request_id, code = kind.entry().code, detail = error.detail(), cause = %causes(error), "request refused");
        }
    }
    Told::Alone
}

/// Joins the chain of causes, outermost first; empty when there is none.
fn causes(error: &Error) -> String {
    let mut text = String::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Lets handlers and extractors return [`Error`]. The document made here has no request id and logs nothing: the middleware makes the real one.
impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.kind().entry().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        document(self, None)
    }
}

/// Turns an error that actix-web itself raised (a path that is not UTF-8, a broken body) into ours.
pub(crate) fn from_actix(error: &actix_web::Error) -> Error {
    let cause = error.to_string();
    let kind = match error.as_response_error().status_code() {
        StatusCode::BAD_REQUEST | StatusCode::REQUEST_TIMEOUT => ErrorKind::Malformed,
        StatusCode::NOT_FOUND => ErrorKind::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => ErrorKind::MethodNotAllowed,
        StatusCode::NOT_ACCEPTABLE => ErrorKind::NotAcceptable,
        StatusCode::PAYLOAD_TOO_LARGE => ErrorKind::PayloadTooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ErrorKind::UnsupportedMediaType,
        _ => ErrorKind::Internal,
    };
    let detail = match kind {
        ErrorKind::NotFound => "there is nothing at this path",
        ErrorKind::Internal => "the HTTP library reported an error",
        _ => "the request is not well-formed HTTP for this path",
    };
    Error::new(kind, detail).with_source(cause)
}

/// Answers a path that does not exist.
pub(crate) async fn unknown_path(request: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Error> {
    discard(&mut payload.into_inner()).await;
    Err(Error::not_found(format!(
        "there is nothing at `{}`; `/openapi.json` lists every path",
        shorten(request.path())
    )))
}

/// Cuts a text that a client sent to what fits into a sentence.
pub(crate) fn shorten(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut short: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use actix_web::body::to_bytes;
    use serde_json::Value;

    use super::*;

    async fn body(response: HttpResponse) -> Value {
        serde_json::from_slice(&to_bytes(response.into_body()).await.unwrap()).unwrap()
    }

    #[actix_web::test]
    async fn a_policy_refusal_lists_every_violation() {
        let violation = |field: &str| Violation {
            code: "name_not_allowed",
            field: field.to_owned(),
            value: "x.example".to_owned(),
            rule: "profiles.server.dns.allow".to_owned(),
            message: "no".to_owned(),
        };
        let error = Error::policy(vec![violation("subject_alt_names[0]"), violation("subject_alt_names[1]")]);
        let response = answer(&error, "r-1");
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers().get("content-type").unwrap(), MEDIA_TYPE);
        let document = body(response).await;
        assert_eq!(document["type"], "urn:chancery:problem:policy_violation");
        assert_eq!(document["code"], "policy_violation");
        assert_eq!(document["request_id"], "r-1");
        assert_eq!(document["violations"][1]["field"], "subject_alt_names[1]");
        assert_eq!(document["violations"].as_array().unwrap().len(), 2);
    }

    #[actix_web::test]
    async fn an_internal_error_shows_neither_its_detail_nor_its_cause() {
        let error = Error::internal("relation `secrets` is missing").with_source("password=hunter2");
        let response = answer(&error, "r-2");
        assert_eq!(response.status(), 500);
        let text = body(response).await.to_string();
        assert!(!text.contains("secrets") && !text.contains("hunter2"), "{text}");
        assert!(text.contains("r-2"));
    }

    #[actix_web::test]
    async fn a_401_names_the_scheme_and_a_503_says_when_to_come_back() {
        let response = answer(&Error::new(ErrorKind::Unauthenticated, "no credential"), "r");
        assert_eq!(response.headers().get("www-authenticate").unwrap(), "Bearer realm=\"chancery\"");
        let response = answer(&Error::new(ErrorKind::Unavailable, "the database is away").with_retry_after(7), "r");
        assert_eq!(response.headers().get("retry-after").unwrap(), "7");
        let response = answer(&Error::new(ErrorKind::Unavailable, "the database is away"), "r");
        assert_eq!(response.headers().get("retry-after").unwrap(), "1");
    }

    #[test]
    fn every_kind_has_a_status_that_http_knows() {
        for kind in ErrorKind::ALL {
            let error = Error::new(kind, "x");
            assert_eq!(error.status_code().as_u16(), kind.entry().status);
            assert!(error.status_code().canonical_reason().is_some());
        }
    }

    #[test]
    fn the_chain_of_causes_is_joined() {
        let error = Error::internal("a").with_source(Error::internal("b").with_source("c"));
        assert_eq!(causes(&error), "b: c");
    }
}
