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
    /// More is asked for than the service can do in time; nothing of the request was done.
    Overloaded,
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
    pub const ALL: [Self; 17] = [
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
        Self::Overloaded,
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
            Self::Overloaded => (503, "overloaded", "The service is asked for more than it can do", "serverInternal"),
            Self::Configuration => (500, "configuration", "The configuration is not valid", "serverInternal"),
            Self::Internal => (500, "internal", "An internal error occurred", "serverInternal"),
        };
        ErrorEntry { status, code, title, acme }
    }
}

/// The kinds of errors that ACME knows (RFC 8555, section 6.7; RFC 9773, section 7.4; draft-ietf-acme-profiles).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AcmeErrorType {
    /// The account does not exist.
    AccountDoesNotExist,
    /// Another order replaces the certificate already (RFC 9773, section 5).
    AlreadyReplaced,
    /// The certificate is revoked already.
    AlreadyRevoked,
    /// The CSR is not acceptable.
    BadCsr,
    /// The nonce is not one that is valid now.
    BadNonce,
    /// The account key is not acceptable.
    BadPublicKey,
    /// The reason for revocation is not accepted.
    BadRevocationReason,
    /// The algorithm of the JWS is not accepted.
    BadSignatureAlgorithm,
    /// CAA records forbid issuance.
    Caa,
    /// Several problems, in `subproblems`.
    Compound,
    /// The validator could not connect.
    Connection,
    /// The validator's DNS queries failed.
    Dns,
    /// An external account binding is needed.
    ExternalAccountRequired,
    /// The answer did not match the challenge.
    IncorrectResponse,
    /// A contact is not valid.
    InvalidContact,
    /// The profile does not exist or does not fit the order.
    InvalidProfile,
    /// The request is malformed.
    Malformed,
    /// The order is not ready to be finalized.
    OrderNotReady,
    /// Too many requests.
    RateLimited,
    /// An identifier is refused.
    RejectedIdentifier,
    /// The service failed.
    ServerInternal,
    /// The validator met a TLS error.
    Tls,
    /// The client may not do this.
    Unauthorized,
    /// A contact is of a scheme that is not supported.
    UnsupportedContact,
    /// An identifier is of a type that is not supported.
    UnsupportedIdentifier,
    /// The client must do something first, such as agree to the terms of service.
    UserActionRequired,
}

impl AcmeErrorType {
    /// Every type.
    pub const ALL: [Self; 26] = [
        Self::AccountDoesNotExist,
        Self::AlreadyReplaced,
        Self::AlreadyRevoked,
        Self::BadCsr,
        Self::BadNonce,
        Self::BadPublicKey,
        Self::BadRevocationReason,
        Self::BadSignatureAlgorithm,
        Self::Caa,
        Self::Compound,
        Self::Connection,
        Self::Dns,
        Self::ExternalAccountRequired,
        Self::IncorrectResponse,
        Self::InvalidContact,
        Self::InvalidProfile,
        Self::Malformed,
        Self::OrderNotReady,
        Self::RateLimited,
        Self::RejectedIdentifier,
        Self::ServerInternal,
        Self::Tls,
        Self::Unauthorized,
        Self::UnsupportedContact,
        Self::UnsupportedIdentifier,
        Self::UserActionRequired,
    ];

    /// Returns the token under `urn:ietf:params:acme:error:`, and the kind that an error of this type has unless another is given.
    #[must_use]
    pub const fn entry(self) -> (&'static str, ErrorKind) {
        match self {
            Self::AccountDoesNotExist => ("accountDoesNotExist", ErrorKind::Malformed),
            Self::AlreadyReplaced => ("alreadyReplaced", ErrorKind::Conflict),
            Self::AlreadyRevoked => ("alreadyRevoked", ErrorKind::Malformed),
            Self::BadCsr => ("badCSR", ErrorKind::BadCsr),
            Self::BadNonce => ("badNonce", ErrorKind::Malformed),
            Self::BadPublicKey => ("badPublicKey", ErrorKind::Malformed),
            Self::BadRevocationReason => ("badRevocationReason", ErrorKind::Malformed),
            Self::BadSignatureAlgorithm => ("badSignatureAlgorithm", ErrorKind::Malformed),
            Self::Caa => ("caa", ErrorKind::Forbidden),
            Self::Compound => ("compound", ErrorKind::Malformed),
            Self::Connection => ("connection", ErrorKind::Malformed),
            Self::Dns => ("dns", ErrorKind::Malformed),
            Self::ExternalAccountRequired => ("externalAccountRequired", ErrorKind::Forbidden),
            Self::IncorrectResponse => ("incorrectResponse", ErrorKind::Forbidden),
            Self::InvalidContact => ("invalidContact", ErrorKind::Malformed),
            Self::InvalidProfile => ("invalidProfile", ErrorKind::Malformed),
            Self::Malformed => ("malformed", ErrorKind::Malformed),
            Self::OrderNotReady => ("orderNotReady", ErrorKind::Forbidden),
            Self::RateLimited => ("rateLimited", ErrorKind::RateLimited),
            Self::RejectedIdentifier => ("rejectedIdentifier", ErrorKind::Malformed),
            Self::ServerInternal => ("serverInternal", ErrorKind::Internal),
            Self::Tls => ("tls", ErrorKind::Malformed),
            Self::Unauthorized => ("unauthorized", ErrorKind::Forbidden),
            Self::UnsupportedContact => ("unsupportedContact", ErrorKind::Malformed),
            Self::UnsupportedIdentifier => ("unsupportedIdentifier", ErrorKind::Malformed),
            Self::UserActionRequired => ("userActionRequired", ErrorKind::Forbidden),
        }
    }

    /// Returns the token under `urn:ietf:params:acme:error:`.
    #[must_use]
    pub const fn token(self) -> &'static str {
        self.entry().0
    }

    /// Finds the type of a token.
    #[must_use]
    pub fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.token() == token)
    }
}

/// What an ACME client is told beside the detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeError {
    /// The type.
    pub error_type: AcmeErrorType,
    /// One problem for each identifier that has one (RFC 8555, section 6.7.1).
    pub subproblems: Vec<AcmeSubproblem>,
    /// For `badSignatureAlgorithm`: the algorithms that are accepted (RFC 8555, section 6.2).
    pub algorithms: &'static [&'static str],
    /// An address for a header field `Location`: that of the account whose key was offered (RFC 8555, section 7.3.5).
    pub location: Option<String>,
    /// An address for a header field `Link` with its relation, such as `terms-of-service` or `help`.
    pub link: Option<(&'static str, String)>,
}

/// A problem with one identifier of an ACME order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct AcmeSubproblem {
    /// The token under `urn:ietf:params:acme:error:`.
    #[serde(rename = "type")]
    pub error_type: String,
    /// What is wrong and what would be accepted.
    pub detail: String,
    /// The type of identifier.
    pub identifier_type: String,
    /// The identifier.
    pub identifier: String,
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
    acme: Option<Box<AcmeError>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Makes an error of this kind. `detail` is shown to the client (except for internal errors): lower case,
    /// values in backticks, never a secret.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            violations: Vec::new(),
            retry_after_seconds: None,
            acme: None,
            source: None,
        }
    }

    /// Makes an error of this ACME type and the kind that belongs to it.
    pub fn acme(error_type: AcmeErrorType, detail: impl Into<String>) -> Self {
        Self::new(error_type.entry().1, detail).with_acme_type(error_type)
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

    /// Says which ACME type the error has, instead of the one of its kind.
    #[must_use]
    pub fn with_acme_type(self, error_type: AcmeErrorType) -> Self {
        let acme = AcmeError { error_type, subproblems: Vec::new(), algorithms: &[], location: None, link: None };
        self.with_acme(acme)
    }

    /// Says what ACME clients are told beside the detail.
    #[must_use]
    pub fn with_acme(mut self, acme: AcmeError) -> Self {
        self.acme = Some(Box::new(acme));
        self
    }

    /// Returns what ACME clients are told beside the detail, if that is more than follows from the kind.
    #[must_use]
    pub fn acme_error(&self) -> Option<&AcmeError> {
        self.acme.as_deref()
    }

    /// Returns the token of the ACME type.
    #[must_use]
    pub fn acme_token(&self) -> &'static str {
        self.acme.as_ref().map_or(self.kind.entry().acme, |acme| acme.error_type.token())
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
