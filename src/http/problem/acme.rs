//! Problem documents of ACME (RFC 8555, section 6.7): what stands in place of [`super::Problem`] below `/acme/`.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use serde::Serialize;

use super::{INTERNAL_DETAIL, MEDIA_TYPE, RETRY_AFTER_SECONDS, is_hidden, log, mark};
use crate::error::{AcmeErrorType, AcmeSubproblem, Error, ErrorKind, Violation};
use crate::policy::acme::identifier::WrittenIdentifier;
use crate::storage::AcmeProblem;

/// What the types of ACME problems begin with.
const NAMESPACE: &str = "urn:ietf:params:acme:error:";

/// Seconds for `Retry-After` after a failure of the service itself that does not pass at once.
const INTERNAL_RETRY_AFTER_SECONDS: u32 = 60;

/// An error as ACME clients see it (RFC 8555, section 6.7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = AcmeProblem)]
pub struct AcmeProblemDocument {
    /// `urn:ietf:params:acme:error:` and the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "urn:ietf:params:acme:error:malformed")]
    pub type_uri: String,
    /// What is wrong, and what would be accepted.
    pub detail: String,
    /// The HTTP status.
    #[schema(example = 400)]
    pub status: u16,
    /// One problem for each identifier that has one (RFC 8555, section 6.7.1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subproblems: Vec<AcmeSubproblemDocument>,
    /// For `badSignatureAlgorithm`: the algorithms that are accepted (RFC 8555, section 6.2).
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub algorithms: &'static [&'static str],
    /// For `userActionRequired`: the page that says what is to be done (RFC 8555, section 6.7).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The request's id, as in `X-Request-Id`, for the operator to find it in log and audit; absent in the problems of challenges and orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// A problem of one identifier (RFC 8555, section 6.7.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = AcmeSubproblemDocument)]
pub struct AcmeSubproblemDocument {
    /// `urn:ietf:params:acme:error:` and the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "urn:ietf:params:acme:error:rejectedIdentifier")]
    pub type_uri: String,
    /// What is wrong, and what would be accepted.
    pub detail: String,
    /// The identifier; absent for a problem of something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<WrittenIdentifier>,
}

impl AcmeProblemDocument {
    /// Describes an error to a client. Failures of the service itself say no more than the request id.
    #[must_use]
    pub fn of(error: &Error, request_id: Option<&str>) -> Self {
        let status = status(error);
        let request_id = request_id.map(str::to_owned);
        if is_hidden(error.kind()) {
            return Self {
                type_uri: type_uri(AcmeErrorType::ServerInternal.token()),
                detail: INTERNAL_DETAIL.to_owned(),
                status,
                subproblems: Vec::new(),
                algorithms: &[],
                instance: None,
                request_id,
            };
        }
        let mut subproblems: Vec<AcmeSubproblemDocument> = match error.acme_error() {
            Some(acme) if !acme.subproblems.is_empty() => {
                acme.subproblems.iter().map(AcmeSubproblemDocument::from).collect()
            }
            Some(_) | None => error.violations().iter().map(AcmeSubproblemDocument::from).collect(),
        };
        // One that says the same again, and of no identifier, tells nothing.
        subproblems.retain(|one| one.identifier.is_some() || one.detail != error.detail());
        Self {
            type_uri: type_uri(token(error)),
            detail: error.detail().to_owned(),
            status,
            subproblems,
            algorithms: error.acme_error().map_or(&[], |acme| acme.algorithms),
            instance: instance(error),
            request_id,
        }
    }

    /// Describes the stored problem of a challenge or an order.
    #[must_use]
    pub fn stored(problem: &AcmeProblem) -> Self {
        let known = AcmeErrorType::from_token(&problem.error_type).unwrap_or(AcmeErrorType::ServerInternal);
        Self {
            type_uri: type_uri(&problem.error_type),
            detail: problem.detail.clone(),
            status: known.entry().1.entry().status,
            subproblems: problem.subproblems.iter().map(AcmeSubproblemDocument::from).collect(),
            algorithms: &[],
            instance: None,
            request_id: None,
        }
    }
}

impl From<&AcmeSubproblem> for AcmeSubproblemDocument {
    fn from(problem: &AcmeSubproblem) -> Self {
        let identifier = WrittenIdentifier { kind: problem.identifier_type.clone(), value: problem.identifier.clone() };
        Self { type_uri: type_uri(&problem.error_type), detail: problem.detail.clone(), identifier: Some(identifier) }
    }
}

/// A violation of the policy, which for a name is a problem of its identifier.
impl From<&Violation> for AcmeSubproblemDocument {
    fn from(violation: &Violation) -> Self {
        let kind = if violation.value.parse::<std::net::IpAddr>().is_ok() { "ip" } else { "dns" };
        let identifier = concerns_name(violation)
            .then(|| WrittenIdentifier { kind: kind.to_owned(), value: violation.value.clone() });
        let error_type = if identifier.is_some() { AcmeErrorType::RejectedIdentifier } else { AcmeErrorType::BadCsr };
        Self { type_uri: type_uri(error_type.token()), detail: violation.message.clone(), identifier }
    }
}

/// Whether a violation is about one name.
fn concerns_name(violation: &Violation) -> bool {
    violation.field.starts_with("subject_alt_names[")
}

fn type_uri(token: &str) -> String {
    format!("{NAMESPACE}{token}")
}

/// Returns the token of an error. The policy refuses identifiers; where no violation is about one, it is the CSR that it refuses.
fn token(error: &Error) -> &'static str {
    let refused = error.kind() == ErrorKind::PolicyViolation && error.acme_error().is_none();
    if refused && !error.violations().iter().any(concerns_name) {
        return AcmeErrorType::BadCsr.token();
    }
    error.acme_token()
}

/// Returns the HTTP status. 422 is unknown to ACME clients, for which a refusal is 400.
fn status(error: &Error) -> u16 {
    match error.kind() {
        ErrorKind::PolicyViolation | ErrorKind::IdempotencyKeyReused => ErrorKind::Malformed.entry().status,
        kind @ (ErrorKind::Malformed
        | ErrorKind::BadCsr
        | ErrorKind::Unauthenticated
        | ErrorKind::Forbidden
        | ErrorKind::NotFound
        | ErrorKind::MethodNotAllowed
        | ErrorKind::NotAcceptable
        | ErrorKind::Conflict
        | ErrorKind::PayloadTooLarge
        | ErrorKind::UnsupportedMediaType
        | ErrorKind::RateLimited
        | ErrorKind::Unavailable
        | ErrorKind::Overloaded
        | ErrorKind::Configuration
        | ErrorKind::Internal) => kind.entry().status,
    }
}

/// Returns the page that says what the client must do first.
fn instance(error: &Error) -> Option<String> {
    let acme = error.acme_error().filter(|acme| acme.error_type == AcmeErrorType::UserActionRequired)?;
    acme.link.as_ref().map(|(_relation, address)| address.clone())
}

/// Answers a request below `/acme/` that failed, and logs the failure if it is the service's own. The header fields that every answer has are
/// added by `http/acme.rs`.
pub(crate) fn answer(error: &Error, request_id: &str) -> HttpResponse {
    let told = log(error, request_id);
    let problem = AcmeProblemDocument::of(error, Some(request_id));
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    response.content_type(MEDIA_TYPE).insert_header((header::CACHE_CONTROL, "no-store"));
    let waiting = match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Overloaded | ErrorKind::RateLimited => Some(RETRY_AFTER_SECONDS),
        ErrorKind::Internal | ErrorKind::Configuration => Some(INTERNAL_RETRY_AFTER_SECONDS),
        ErrorKind::Malformed
        | ErrorKind::BadCsr
        | ErrorKind::Unauthenticated
        | ErrorKind::Forbidden
        | ErrorKind::NotFound
        | ErrorKind::MethodNotAllowed
        | ErrorKind::NotAcceptable
        | ErrorKind::Conflict
        | ErrorKind::PayloadTooLarge
        | ErrorKind::UnsupportedMediaType
        | ErrorKind::PolicyViolation
        | ErrorKind::IdempotencyKeyReused => None,
    };
    if let Some(seconds) = error.retry_after_seconds().or(waiting) {
        response.insert_header((header::RETRY_AFTER, seconds.to_string()));
    }
    if let Some(acme) = error.acme_error() {
        if let Some(location) = &acme.location {
            response.insert_header((header::LOCATION, location.as_str()));
        }
        if let Some((relation, address)) = &acme.link {
            response.append_header((header::LINK, format!("<{address}>;rel=\"{relation}\"")));
        }
    }
    mark(response.body(serde_json::to_vec(&problem).unwrap_or_default()), &told)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use actix_web::body::to_bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::error::AcmeError;

    async fn body(response: HttpResponse) -> Value {
        serde_json::from_slice(&to_bytes(response.into_body()).await.unwrap()).unwrap()
    }

    fn violation(field: &str, value: &str) -> Violation {
        let message = format!("`{value}` is refused");
        Violation { code: "refused", field: field.to_owned(), value: value.to_owned(), rule: "r".to_owned(), message }
    }

    #[actix_web::test]
    async fn every_type_has_its_token_and_a_status_of_its_own_kind() {
        for error_type in AcmeErrorType::ALL {
            let response = answer(&Error::acme(error_type, "why"), "r");
            let status = response.status().as_u16();
            assert_eq!(response.headers().get("content-type").unwrap(), MEDIA_TYPE);
            let document = body(response).await;
            assert_eq!(document["type"], format!("urn:ietf:params:acme:error:{}", error_type.token()));
            assert_eq!(document["status"], status);
            assert_eq!(document["request_id"], "r");
            assert_eq!(status >= 500, error_type == AcmeErrorType::ServerInternal);
            assert!(document.get("identifier").is_none());
        }
    }

    #[actix_web::test]
    async fn kinds_that_acme_does_not_know_become_those_it_knows() {
        for (kind, token, status) in [
            (ErrorKind::PolicyViolation, "badCSR", 400),
            (ErrorKind::IdempotencyKeyReused, "malformed", 400),
            (ErrorKind::Unauthenticated, "unauthorized", 401),
            (ErrorKind::NotFound, "malformed", 404),
            (ErrorKind::MethodNotAllowed, "malformed", 405),
            (ErrorKind::UnsupportedMediaType, "malformed", 415),
            (ErrorKind::Unavailable, "serverInternal", 503),
            (ErrorKind::Overloaded, "serverInternal", 503),
        ] {
            let response = answer(&Error::new(kind, "why"), "r");
            assert_eq!(response.status().as_u16(), status);
            assert!(!response.headers().contains_key("www-authenticate"));
            assert_eq!(body(response).await["type"], format!("urn:ietf:params:acme:error:{token}"));
        }
    }

    #[test]
    fn refused_names_are_subproblems_with_identifiers() {
        let refused = Error::policy(vec![
            violation("subject_alt_names[0]", "www.example.org"),
            violation("subject_alt_names[1]", "192.0.2.1"),
            violation("key", "rsa-1024"),
        ]);
        assert_eq!(
            serde_json::to_value(AcmeProblemDocument::of(&refused, None)).unwrap(),
            json!({
                "type": "urn:ietf:params:acme:error:rejectedIdentifier",
                "detail": "the request breaks 3 rules of the issuance policy",
                "status": 400,
                "subproblems": [
                    {"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "`www.example.org` is refused",
                     "identifier": {"type": "dns", "value": "www.example.org"}},
                    {"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "`192.0.2.1` is refused",
                     "identifier": {"type": "ip", "value": "192.0.2.1"}},
                    {"type": "urn:ietf:params:acme:error:badCSR", "detail": "`rsa-1024` is refused"},
                ],
            })
        );
    }

    #[actix_web::test]
    async fn internal_errors_show_neither_detail_nor_what_stands_beside_it() {
        let error = Error::internal("relation `secrets` is missing")
            .with_source("hunter2")
            .with_acme_type(AcmeErrorType::Unauthorized);
        let response = answer(&error, "r-3");
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers().get("retry-after").unwrap(), "60");
        let document = body(response).await;
        assert_eq!(document["type"], "urn:ietf:params:acme:error:serverInternal");
        let text = document.to_string();
        assert!(!text.contains("secrets") && !text.contains("hunter2") && text.contains("r-3"), "{text}");
    }

    #[actix_web::test]
    async fn what_stands_beside_the_detail_is_shown() {
        let error = Error::new(ErrorKind::Forbidden, "agree first").with_acme(AcmeError {
            error_type: AcmeErrorType::UserActionRequired,
            subproblems: Vec::new(),
            algorithms: &["ES256"],
            location: Some("https://ca.internal/acme/accounts/1".to_owned()),
            link: Some(("terms-of-service", "https://ca.internal/terms".to_owned())),
        });
        let response = answer(&error, "r");
        assert_eq!(response.headers().get("location").unwrap(), "https://ca.internal/acme/accounts/1");
        assert_eq!(response.headers().get("link").unwrap(), "<https://ca.internal/terms>;rel=\"terms-of-service\"");
        let document = body(response).await;
        assert_eq!(document["instance"], "https://ca.internal/terms");
        assert_eq!(document["algorithms"], json!(["ES256"]));
    }

    #[test]
    fn stored_problems_have_the_status_of_their_type() {
        let problem = AcmeProblem {
            error_type: "incorrectResponse".to_owned(),
            detail: "the file holds something else".to_owned(),
            subproblems: Vec::new(),
        };
        assert_eq!(
            serde_json::to_value(AcmeProblemDocument::stored(&problem)).unwrap(),
            json!({
                "type": "urn:ietf:params:acme:error:incorrectResponse",
                "detail": "the file holds something else",
                "status": 403,
            })
        );
    }
}
