//! The one error type of the crate: what kind of failure, what the caller may be told, and the cause for the log.
//!
//! One table ([`ErrorKind::entry`]) gives each kind its HTTP status, stable code, title and ACME type; nothing else
//! in the crate decides a status. It is not an HTTP type: `http/problem.rs` turns it into one.

use std::fmt;

use serde::Serialize;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as a client needs to tell cases apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The input could not be understood: syntax, encoding, an unknown field or a value out of range.
    Malformed,
    /// The certificate signing request could not be parsed or its proof of possession does not verify.
    BadCsr,
    /// No credential, or one that is not valid.
    Unauthenticated,
    /// A valid credential that may not do this.
    Forbidden,
    /// The object does not exist, or is not visible to the caller.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// No representation of the object matches `Accept`.
    NotAcceptable,
    /// The object is in a state that does not admit the request.
    Conflict,
    /// The body is over its limit.
    PayloadTooLarge,
    /// The body's media type is not one the operation takes.
    UnsupportedMediaType,
    /// The request was understood and the issuance policy refuses it; `violations` says why.
    PolicyViolation,
    /// The idempotency key was used before with another request.
    IdempotencyKeyReused,
    /// Too many requests.
    RateLimited,
    /// A dependency (database, HSM) is away, or the service is stopping; the same request may succeed later.
    Unavailable,
    /// A configuration value is missing or not valid. Seen by operators at start, never by clients.
    Configuration,
    /// A defect or an unexpected condition; the client sees only the request id.
    Internal,
}

/// One row of the error table.
#[derive(Clone, Copy, Debug)]
pub struct ErrorEntry {
    /// The HTTP status code.
    pub status: u16,
    /// The stable code clients may match on.
    pub code: &'static str,
    /// The short summary, the same for every occurrence.
    pub title: &'static str,
    /// The token under `urn:ietf:params:acme:error:` (RFC 8555, section 6.7).
    pub acme: &'static str,
}

impl ErrorKind {
    /// Every kind, for tests and for the OpenAPI document.
    pub const ALL: [Self; 16] = [
        Self::Malformed,
        Self::BadCsr,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::Conflict,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::PolicyViolation,
        Self::IdempotencyKeyReused,
        Self::RateLimited,
        Self::Unavailable,
        Self::Configuration,
        Self::Internal,
    ];

    /// Returns the kind's row of the error table.
    #[must_use]
    pub const fn entry(self) -> ErrorEntry {
        let (status, code, title, acme) = match self {
            Self::Malformed => (400, "malformed", "The request is malformed", "malformed"),
            Self::BadCsr => (400, "bad_csr", "The certificate signing request is not acceptable", "badCSR"),
            Self::Unauthenticated => (401, "unauthenticated", "Authentication is required", "unauthorized"),
            Self::Forbidden => (403, "forbidden", "The caller may not do this", "unauthorized"),
            Self::NotFound => (404, "not_found", "The object does not exist", "malformed"),
            Self::MethodNotAllowed => (405, "method_not_allowed", "The method is not allowed here", "malformed"),
            Self::NotAcceptable => (406, "not_acceptable", "No representation matches the Accept header", "malformed"),
            Self::Conflict => (409, "conflict", "The object's state does not admit the request", "malformed"),
            Self::PayloadTooLarge => (413, "payload_too_large", "The request body is too large", "malformed"),
            Self::UnsupportedMediaType => {
                (415, "unsupported_media_type", "The media type is not supported", "malformed")
            }
            Self::PolicyViolation => {
                (422, "policy_violation", "The issuance policy refuses the request", "rejectedIdentifier")
            }
            Self::IdempotencyKeyReused => {
                (422, "idempotency_key_reused", "The idempotency key belongs to another request", "malformed")
            }
            Self::RateLimited => (429, "rate_limited", "Too many requests", "rateLimited"),
            Self::Unavailable => (503, "unavailable", "The service is temporarily unavailable", "serverInternal"),
            Self::Configuration => (500, "configuration", "The configuration is not valid", "serverInternal"),
            Self::Internal => (500, "internal", "An internal error occurred", "serverInternal"),
        };
        ErrorEntry { status, code, title, acme }
    }
}

/// One rule of the issuance policy that a request breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Violation {
    /// The stable code of the rule, such as `name_not_allowed`.
    #[schema(example = "name_not_allowed")]
    pub code: &'static str,
    /// The part of the request that breaks it, such as `subject_alt_names[0]`.
    #[schema(example = "subject_alt_names[0]")]
    pub field: String,
    /// The value that was refused.
    #[schema(example = "www.example.org")]
    pub value: String,
    /// The profile or grant setting that refuses it, such as `profiles.server.dns.allow`.
    #[schema(example = "profiles.server.dns.allow")]
    pub rule: String,
    /// What was refused and what would be accepted, in a sentence.
    #[schema(example = "the DNS name `www.example.org` matches no allowed pattern; allowed: `**.internal`")]
    pub message: String,
}

/// A failure: its kind, what the caller is told, and what only the log sees.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    detail: String,
    violations: Vec<Violation>,
    retry_after_seconds: Option<u32>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Makes an error of this kind. `detail` is shown to the client (except for internal errors): lower case,
    /// values in backticks, never a secret.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), violations: Vec::new(), retry_after_seconds: None, source: None }
    }

    /// Makes an error for input that cannot be understood.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Malformed, detail)
    }

    /// Makes an error for an object that does not exist or is not visible.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, detail)
    }

    /// Makes an error for a defect or an unexpected condition; `detail` goes to the log only.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, detail)
    }

    /// Makes an error for an object whose state does not admit the request.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, detail)
    }

    /// Makes an error for a configuration that cannot be used.
    pub fn configuration(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Configuration, detail)
    }

    /// Makes the refusal of a request by the issuance policy, with every violation.
    #[must_use]
    pub fn policy(violations: Vec<Violation>) -> Self {
        let detail = match violations.as_slice() {
            [only] => only.message.clone(),
            many => format!("the request breaks {} rules of the issuance policy", many.len()),
        };
        Self { violations, ..Self::new(ErrorKind::PolicyViolation, detail) }
    }

    /// Adds the cause, which the log shows and the client never sees.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the time, in seconds, after which the same request may succeed (`Retry-After`).
    #[must_use]
    pub const fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the explanation.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Returns the policy violations; empty for other kinds.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Returns the seconds for `Retry-After`, if waiting helps.
    #[must_use]
    pub const fn retry_after_seconds(&self) -> Option<u32> {
        self.retry_after_seconds
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
