//! What can go wrong in a call to a token, sorted by what helps: another session, waiting for the device, or only an operator.

use cryptoki::error::{Error as Pkcs11Error, RvError};

use crate::error::{Error, ErrorKind};

/// How long, in seconds, callers are asked to wait when the token is away.
const RETRY_AFTER: u32 = 5;

/// A call that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) class: Class,
    detail: String,
    source: Option<Pkcs11Error>,
}

/// What helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The session, the login or an object handle is gone: a new session may help at once.
    Lost,
    /// The device does not answer or is not there: it may come back.
    Away,
    /// The key was looked for and is not there. A library that has lost its device says this, too.
    KeyMissing,
    /// Too much is asked of the token at once.
    Busy,
    /// Only an operator can help: a wrong PIN, a mechanism that the token lacks.
    Refused,
}

impl Failure {
    pub(super) fn new(class: Class, detail: impl Into<String>) -> Self {
        Self { class, detail: detail.into(), source: None }
    }

    pub(super) fn refused(detail: impl Into<String>) -> Self {
        Self::new(Class::Refused, detail)
    }

    pub(super) fn away(detail: impl Into<String>) -> Self {
        Self::new(Class::Away, detail)
    }

    /// Takes a key that is missing for a sign that the device is away.
    pub(super) fn unless_certain(mut self) -> Self {
        if self.class == Class::KeyMissing {
            self.class = Class::Away;
        }
        self
    }

    /// What a caller is told. `token` is its name in the configuration.
    pub(super) fn into_error(self, token: &str) -> Error {
        let error = match self.class {
            Class::Lost | Class::Away => {
                Error::new(ErrorKind::Unavailable, format!("the token `{token}` is away: {}", self.detail))
                    .with_retry_after(RETRY_AFTER)
            }
            Class::Busy => Error::new(ErrorKind::Unavailable, format!("the token `{token}` is busy: {}", self.detail))
                .with_retry_after(1),
            Class::KeyMissing => Error::new(ErrorKind::Unavailable, format!("the token `{token}`: {}", self.detail))
                .with_retry_after(RETRY_AFTER),
            Class::Refused => Error::configuration(format!("the token `{token}`: {}", self.detail)),
        };
        match self.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl From<Pkcs11Error> for Failure {
    fn from(error: Pkcs11Error) -> Self {
        let (class, detail) = match &error {
            // The library's own texts are paragraphs of the standard: its short name says as much.
            Pkcs11Error::Pkcs11(value, function) => (class(*value), format!("{function:?} answers {value:?}")),
            other => (Class::Refused, other.to_string()),
        };
        Self { class, detail, source: Some(error) }
    }
}

/// Sorts the return values of PKCS #11 (section 5.1). What is not named here is a matter of how we ask or how the token is set up.
fn class(value: RvError) -> Class {
    match value {
        RvError::SessionHandleInvalid
        | RvError::SessionClosed
        | RvError::UserNotLoggedIn
        | RvError::KeyHandleInvalid
        | RvError::ObjectHandleInvalid
        | RvError::OperationActive
        | RvError::OperationNotInitialized
        | RvError::Cancel
        | RvError::FunctionCanceled => Class::Lost,
        RvError::DeviceRemoved
        | RvError::DeviceError
        | RvError::DeviceMemory
        | RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::SlotIdInvalid
        | RvError::GeneralError
        | RvError::FunctionFailed
        | RvError::HostMemory
        | RvError::CryptokiNotInitialized
        | RvError::VendorDefined(_)
        | RvError::UnknownErrorCode(_) => Class::Away,
        RvError::SessionCount => Class::Busy,
        _ => Class::Refused,
    }
}
