//! Audit events: how actions of the core are written down, and the log as auditors read it.

use serde_json::{Value, json};

use super::CertificateAuthority;
use crate::auth::permission::ReadAudit;
use crate::auth::{Authorized, Caller};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{AuditEvent, AuditFilter, AuditOutcome, AuditVerification, Page, StoredAuditEvent};

/// The most characters of an object: it is indexed, and part of it may come from a caller.
const MAXIMUM_OBJECT: usize = 255;
/// The most violations that one event lists: a request with thousands of bad names must not fill the log.
const MAXIMUM_VIOLATIONS: usize = 50;

impl CertificateAuthority {
    /// Makes an event of this moment.
    pub(crate) fn event<D>(
        &self,
        caller: &Caller,
        action: &str,
        outcome: AuditOutcome,
        object: String,
        details: D,
    ) -> AuditEvent<D> {
        AuditEvent {
            occurred_at_ms: self.clock.unix_milliseconds(),
            actor: caller.principal.name.clone(),
            action: action.to_owned(),
            outcome,
            object: shortened(object),
            remote_address: caller.remote_address.clone(),
            request_id: caller.request_id.clone(),
            details,
        }
    }

    /// Writes down that an action was refused, and gives the error back. Failures of the service itself are logged, not audited.
    /// When the event cannot be written, the error that comes back is the storage's: a refusal nobody can find later is not given.
    pub async fn record_refusal(&self, caller: &Caller, action: &str, object: String, error: Error) -> Error {
        match self.note_refusal(caller, action, object, &error).await {
            Ok(()) => error,
            Err(storage_error) => storage_error,
        }
    }

    /// Writes down that an action was refused; nothing for a failure of the service itself.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn note_refusal(&self, caller: &Caller, action: &str, object: String, error: &Error) -> Result<()> {
        if !is_refusal(error.kind()) {
            return Ok(());
        }
        metrics::counter!("chancery_refusals_total", "action" => action.to_owned(), "code" => error.kind().entry().code)
            .increment(1);
        let violations: Vec<Value> = error
            .violations()
            .iter()
            .take(MAXIMUM_VIOLATIONS)
            .map(|violation| json!({ "code": violation.code, "field": violation.field, "value": violation.value }))
            .collect();
        let details = json!({
            "code": error.kind().entry().code,
            "detail": error.detail(),
            "violations": violations,
            "violation_count": error.violations().len(),
        });
        let event = self.event(caller, action, AuditOutcome::Refused, object, details);
        self.storage.record_audit(event).await
    }

    /// Hands on how an action ended, and writes a refusal down as [`Self::record_refusal`] does.
    ///
    /// # Errors
    /// That of the action, or of the storage.
    pub(super) async fn audited<T>(
        &self,
        caller: &Caller,
        action: &str,
        object: String,
        outcome: Result<T>,
    ) -> Result<T> {
        match outcome {
            Ok(done) => Ok(done),
            Err(error) => Err(self.record_refusal(caller, action, object, error).await),
        }
    }

    /// Lists events, newest first, at most `limit` before row `before`.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn audit_events(
        &self,
        _authorization: &Authorized<ReadAudit>,
        filter: &AuditFilter,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Page<StoredAuditEvent>> {
        self.storage.audit_events(filter, before, limit).await
    }

    /// Checks the audit chains.
    ///
    /// # Errors
    /// Those of the storage; `Unavailable` while another check runs; a broken chain is not an error but the answer.
    pub async fn verify_audit(&self, _authorization: &Authorized<ReadAudit>) -> Result<AuditVerification> {
        let Ok(_alone) = self.verifying.try_lock() else {
            let detail = "the audit log is being checked already; ask again when that is done";
            return Err(Error::new(ErrorKind::Unavailable, detail).with_retry_after(5));
        };
        self.storage.verify_audit().await
    }
}

/// Cuts an object that a caller made too long, and takes out what a database cannot store.
fn shortened(object: String) -> String {
    if object.len() <= MAXIMUM_OBJECT && !object.contains('\0') {
        return object;
    }
    object.chars().filter(|c| *c != '\0').take(MAXIMUM_OBJECT).collect()
}

/// Whether an error says that the caller was refused, rather than that the service failed.
const fn is_refusal(kind: ErrorKind) -> bool {
    match kind {
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
        | ErrorKind::IdempotencyKeyReused
        | ErrorKind::RateLimited => true,
        ErrorKind::Unavailable | ErrorKind::Overloaded | ErrorKind::Configuration | ErrorKind::Internal => false,
    }
}
