//! One look at a challenge: what it came to, when to look again, and when that was enough.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::Look;
use crate::auth::Caller;
use crate::ca::acme::Acme;
use crate::ca::acme::orders::subproblem;
use crate::ca::acme::settings::ValidationSchedule;
use crate::ca::acme::validation::{Validated, ValidationAttempt, ValidationFailure};
use crate::error::{AcmeErrorType, Error, Result};
use crate::policy::acme::challenge::key_authorization;
use crate::storage::{AcmeAuthorizationRecord, AcmeProblem, AuditOutcome, ValidationOutcome, ValidationResult};
use crate::x509::Timestamp;

/// What a validator may take beyond the time that it is given, to end by itself with an account of what it met.
const GRACE: Duration = Duration::from_secs(2);
/// When to look again after a failure of our own, which is no attempt of the client's.
const OWN_FAILURE_WAIT: Duration = Duration::from_secs(10);
/// The longest wait between two looks.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What a look came to.
enum Seen {
    Proof(Validated),
    Failure(ValidationFailure),
    /// The process stops: nothing is known.
    Nothing,
}

impl Acme {
    /// Looks in its turn, unless the lease would end meanwhile.
    pub(super) async fn look_in_turn(&self, look: Look, turn: OwnedSemaphorePermit) {
        let Look { record, lease_until_ms, _place } = look;
        if *self.scheduling.stopping.borrow() {
            return;
        }
        let look_ms = super::millis(self.settings.validation.attempt_timeout);
        if self.ca.clock.unix_milliseconds().saturating_add(look_ms) > lease_until_ms {
            tracing::debug!(
                authorization = record.id,
                "a challenge waited for too long and is left to whoever has room"
            );
            return;
        }
        let id = record.id;
        if let Err(error) = self.look_once(record).await {
            // The lease ends by itself, and then it is looked at again.
            tracing::warn!(authorization = id, %error, "the result of a challenge could not be written");
            metrics::counter!("chancery_acme_validation_results_lost_total").increment(1);
        }
        drop(turn);
    }

    async fn look_once(&self, record: AcmeAuthorizationRecord) -> Result<()> {
        let now = self.ca.clock.now();
        let Some((challenge, _)) = record.challenge else {
            return Err(Error::internal("an authorization without an answered challenge was to be looked at"));
        };
        if record.expires_at <= now {
            let detail = format!("the authorization ended on `{}` before control was proven", record.expires_at);
            let failure = ValidationFailure::new(AcmeErrorType::Unauthorized, detail).into_final();
            return self.conclude(&record, Seen::Failure(failure)).await;
        }
        let Some(thumbprint) = &record.thumbprint else {
            return Err(Error::internal("an answered challenge has no thumbprint of the account key"));
        };
        let attempt = ValidationAttempt {
            identifier: record.identifier.clone(),
            challenge,
            token: record.token.clone(),
            key_authorization: key_authorization(&record.token, thumbprint),
            account_url: record.account_url.clone().unwrap_or_default(),
        };
        let began = Instant::now();
        let seen = self.see(&attempt).await;
        let outcome = match &seen {
            Seen::Proof(_) => "valid",
            Seen::Failure(failure) if is_own(failure) => "internal",
            Seen::Failure(_) => "failed",
            Seen::Nothing => return Ok(()),
        };
        let kind = challenge.as_str();
        metrics::counter!("chancery_acme_validations_total", "type" => kind, "outcome" => outcome).increment(1);
        metrics::histogram!("chancery_acme_validation_seconds", "type" => kind).record(began.elapsed().as_secs_f64());
        self.conclude(&record, seen).await
    }

    /// Asks the validator, within the time, and survives its panics.
    async fn see(&self, attempt: &ValidationAttempt) -> Seen {
        let look = AssertUnwindSafe(self.validator.validate(attempt)).catch_unwind();
        let mut stopping = self.scheduling.stopping.subscribe();
        let limited = tokio::time::timeout(self.settings.validation.attempt_timeout + GRACE, look);
        let outcome = tokio::select! {
            biased;
            _stopped = stopping.wait_for(|stopping| *stopping) => return Seen::Nothing,
            outcome = limited => outcome,
        };
        match outcome {
            Ok(Ok(Ok(proof))) => Seen::Proof(proof),
            Ok(Ok(Err(failure))) => Seen::Failure(failure),
            Ok(Err(_panic)) => {
                tracing::error!(identifier = %attempt.identifier, challenge = %attempt.challenge, "a look at a challenge panicked");
                Seen::Failure(own_failure("the look failed here"))
            }
            Err(_elapsed) => {
                tracing::error!(identifier = %attempt.identifier, challenge = %attempt.challenge, "a look at a challenge did not end in time");
                Seen::Failure(own_failure("the look did not end in time"))
            }
        }
    }

    /// Writes down what was seen, if the lease is still ours.
    async fn conclude(&self, record: &AcmeAuthorizationRecord, seen: Seen) -> Result<()> {
        let now = self.ca.clock.now();
        let (outcome, charges, audit) = match seen {
            Seen::Nothing => return Ok(()),
            Seen::Proof(proof) => {
                tracing::info!(authorization = record.id, identifier = %record.identifier, evidence = ?proof.evidence, "control was proven");
                let expires_at = end_of(&proof, now, self.settings.authorization_lifetime);
                (ValidationOutcome::Valid { expires_at }, Vec::new(), None)
            }
            Seen::Failure(failure) => {
                tracing::info!(
                    authorization = record.id, identifier = %record.identifier, attempt = record.attempts + 1,
                    error = failure.error_type.token(), detail = failure.detail, "control was not proven"
                );
                let error = problem(record, &failure);
                match next_look(&self.settings.validation, record.attempts, &failure) {
                    Some((wait, counts)) => {
                        let next_attempt_at_ms = self.ca.clock.unix_milliseconds().saturating_add(super::millis(wait));
                        (ValidationOutcome::Retry { error, next_attempt_at_ms, counts }, Vec::new(), None)
                    }
                    None => {
                        let account = self.account(record.account_id).await?;
                        let charges = self.failed_validation_charge(&account, &record.identifier).into_iter().collect();
                        let caller = Caller {
                            principal: std::sync::Arc::clone(account.principal()),
                            remote_address: None,
                            request_id: None,
                        };
                        let details = json!({
                            "account": record.account_id,
                            "identifier": record.identifier.written(),
                            "challenge": record.challenge.map(|(challenge, _)| challenge),
                            "attempts": record.attempts.saturating_add(1),
                            "error": error,
                        });
                        let object = format!("acme-authorization:{}", record.id);
                        let event = self.ca.event(&caller, "acme.validation", AuditOutcome::Refused, object, details);
                        (ValidationOutcome::Invalid { error }, charges, Some(event))
                    }
                }
            }
        };
        let holder = self.ca.instance.clone();
        let result = ValidationResult { id: record.id, holder, now, outcome, charges, audit };
        if !self.ca.storage.finish_validation(result).await? {
            // Deactivated meanwhile, or the lease ended and another replica looks.
            tracing::debug!(authorization = record.id, "the result of a challenge was not wanted any more");
        }
        Ok(())
    }
}

/// Returns the wait before the next look and whether this one counts as an attempt; `None` when that was enough.
fn next_look(schedule: &ValidationSchedule, attempts: i32, failure: &ValidationFailure) -> Option<(Duration, bool)> {
    if is_own(failure) {
        return Some((OWN_FAILURE_WAIT, false));
    }
    let before = u32::try_from(attempts).unwrap_or(0);
    if failure.is_final || before.saturating_add(1) >= schedule.attempts {
        return None;
    }
    let doubled = 1_u32.checked_shl(before).unwrap_or(u32::MAX);
    Some((schedule.backoff.saturating_mul(doubled).min(LONGEST_WAIT), true))
}

/// Whether a failure is ours: nothing that the client could mend.
fn is_own(failure: &ValidationFailure) -> bool {
    failure.error_type == AcmeErrorType::ServerInternal && !failure.is_final
}

fn own_failure(detail: &str) -> ValidationFailure {
    ValidationFailure::new(AcmeErrorType::ServerInternal, detail)
}

/// Returns when a proof ends: after the time that proofs hold here, or earlier by its own words.
fn end_of(proof: &Validated, now: Timestamp, lifetime: Duration) -> Timestamp {
    let end = now + lifetime;
    proof.until.map_or(end, |until| end.min(Timestamp::from_unix(until)))
}

fn problem(record: &AcmeAuthorizationRecord, failure: &ValidationFailure) -> AcmeProblem {
    let token = failure.error_type.token().to_owned();
    AcmeProblem {
        error_type: token.clone(),
        detail: failure.detail.clone(),
        subproblems: vec![subproblem(&record.identifier, token, failure.detail.clone())],
    }
}
