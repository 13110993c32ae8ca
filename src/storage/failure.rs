//! Database errors in the words of the crate: away for a while, a race that somebody else won, or a defect.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::error::{Error, ErrorKind};

/// Seconds after which a request that met an absent database may succeed.
pub(super) const RETRY_AFTER_SECONDS: u32 = 2;

/// Messages of conditions that pass, for which diesel has no kind of its own.
const PASSING: [&str; 9] = [
    "database is locked",
    "database table is locked",
    "database or disk is full",
    "canceling statement due to",
    "terminating connection",
    "deadlock detected",
    "the database system is",
    "remaining connection slots",
    "too many clients",
];

/// Makes the error for a database that cannot be reached now.
pub(super) fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Unavailable, "the database is not available")
        .with_retry_after(RETRY_AFTER_SECONDS)
        .with_source(source)
}

/// Makes the error for a call after `close`.
pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "the service is stopping").with_retry_after(RETRY_AFTER_SECONDS)
}

/// Makes the error for who waited too long for a connection or for a turn to be written. Nothing was written.
pub(super) fn overloaded() -> Error {
    metrics::counter!("chancery_requests_shed_total", "work" => "any", "reason" => "database").increment(1);
    Error::new(
        ErrorKind::Unavailable,
        "the database is too slow for all that waits for it; nothing was done, try again later",
    )
    .with_retry_after(1)
}

/// Makes the error for a row that somebody else wrote between our look and our write, such as a second active generation of an issuer.
fn lost_race(source: DieselError) -> Error {
    Error::conflict("somebody else recorded the same at the same time; look what is there now, and try again")
        .with_source(source)
}

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        if let DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, information) = &error
            // PostgreSQL names the index, SQLite the columns. The audit log's own numbers are under a lock: two of the same are a defect.
            && !information.message().contains("audit_events")
        {
            return lost_race(error);
        }
        let passing = match &error {
            DieselError::DatabaseError(
                DatabaseErrorKind::UnableToSendCommand
                | DatabaseErrorKind::ClosedConnection
                | DatabaseErrorKind::ReadOnlyTransaction
                | DatabaseErrorKind::SerializationFailure,
                _,
            )
            | DieselError::BrokenTransactionManager => true,
            DieselError::DatabaseError(_, information) => {
                PASSING.iter().any(|message| information.message().contains(message))
            }
            _ => false,
        };
        if passing { unavailable(error) } else { Self::internal("the database refused a statement").with_source(error) }
    }
}
