//! Grouped commits: writes wait in a bounded queue, a writer takes all that wait, commits them at once and answers each.
//!
//! This file holds the queue and its values; how a group is written is each backend's `writer.rs`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::audit_chain::{self, EncodedEvent};
use super::rows::IdempotencyRow;
use super::{AuditEvent, IdempotencyResult, Issuance, NewCertificate, OrderCompletion, Recorded, failure};
use crate::error::{Error, Result};
use crate::x509::Timestamp;

/// The most writes that wait.
const QUEUE_LENGTH: usize = 4096;
/// The most writes in one transaction.
pub(super) const BATCH_LIMIT: usize = 128;
/// The longest a caller waits for a place in the queue.
const ENTRY_TIMEOUT: Duration = Duration::from_secs(5);

/// One write of a group: an audit event, mostly with the certificate it is about.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) certificate: Option<CertificateWrite>,
    pub(super) audit: EncodedEvent,
}

/// A certificate of a group.
#[derive(Debug)]
pub(super) struct CertificateWrite {
    pub(super) certificate: NewCertificate,
    pub(super) claim: Option<IdempotencyRow>,
    pub(super) order: Option<OrderCompletion>,
}

impl CertificateWrite {
    /// Returns the moment at which the idempotency key is claimed.
    pub(super) fn now(&self) -> Timestamp {
        self.certificate.issued_at
    }
}

impl Write {
    /// Prepares an issuance.
    pub(super) fn issuance(issuance: Issuance) -> Result<Self> {
        let Issuance { certificate, audit, idempotency, order } = issuance;
        if order.is_some() && idempotency.is_some() {
            // The writers rely on it: what completes an order loses to nobody but those who complete the same.
            return Err(Error::internal("an order is completed once, and takes no idempotency key"));
        }
        let claim = idempotency
            .map(|claim| IdempotencyRow::new(&claim, IdempotencyResult::Certificate(certificate.serial.clone())));
        Ok(Self {
            audit: audit_chain::encode(audit)?,
            certificate: Some(CertificateWrite { certificate, claim, order }),
        })
    }

    /// Prepares an event on its own.
    pub(super) fn audit(event: AuditEvent) -> Result<Self> {
        Ok(Self { certificate: None, audit: audit_chain::encode(event)? })
    }

    /// Returns the order that is completed.
    pub(super) fn order(&self) -> Option<i64> {
        self.certificate.as_ref()?.order.as_ref().map(|order| order.order_id)
    }

    /// Returns the claim of an idempotency key and the moment of the claim.
    pub(super) fn claim(&self) -> Option<(&IdempotencyRow, Timestamp)> {
        let certificate = self.certificate.as_ref()?;
        Some((certificate.claim.as_ref()?, certificate.now()))
    }
}

/// How a transaction of a single operation ends.
#[derive(Debug)]
pub(super) enum Ending<T> {
    /// What it wrote stays.
    Commit(T),
    /// Nothing of what it wrote stays.
    Undo(T),
}

/// A write that waits, and who waits for it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) write: Write,
    answer: oneshot::Sender<Result<Recorded>>,
}

impl Waiting {
    /// Pairs a write with the receiver of its answer.
    pub(super) fn new(write: Write) -> (Self, oneshot::Receiver<Result<Recorded>>) {
        let (answer, result) = oneshot::channel();
        (Self { write, answer }, result)
    }

    /// Answers the caller. One that has gone does not matter: what was committed stays committed.
    pub(super) fn answer(self, outcome: Result<Recorded>) {
        drop(self.answer.send(outcome));
    }
}

/// The entrance of a queue, until it is closed.
#[derive(Debug)]
pub(super) struct Queue<T> {
    sender: Mutex<Option<mpsc::Sender<T>>>,
}

impl<T: Send> Queue<T> {
    /// Makes a queue and its exit.
    pub(super) fn new() -> (Self, mpsc::Receiver<T>) {
        let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
        (Self { sender: Mutex::new(Some(sender)) }, receiver)
    }

    /// Puts a job into the queue.
    ///
    /// # Errors
    /// `Unavailable` when the queue stays full or is closed.
    pub(super) async fn put(&self, job: T) -> Result<()> {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(failure::closed)?;
        match sender.try_send(job) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(failure::closed()),
            Err(mpsc::error::TrySendError::Full(job)) => {
                sender.send_timeout(job, ENTRY_TIMEOUT).await.map_err(|error| match error {
                    mpsc::error::SendTimeoutError::Timeout(_) => failure::overloaded(),
                    mpsc::error::SendTimeoutError::Closed(_) => failure::closed(),
                })
            }
        }
    }

    /// Admits nothing more; what is in the queue can still be taken out.
    pub(super) fn close(&self) {
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Waits for the answer to a job.
///
/// # Errors
/// `Unavailable` after `limit`: the write may still be committed later.
pub(super) async fn answered<T>(result: oneshot::Receiver<Result<T>>, limit: Duration) -> Result<T> {
    match tokio::time::timeout(limit, result).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Err(Error::internal("the writer dropped a write").with_source(error)),
        Err(elapsed) => Err(failure::unavailable(elapsed)),
    }
}

/// Records one committed group for the metrics.
pub(super) fn measure(size: usize, began: Instant) {
    metrics::histogram!("chancery_commit_batch_size").record(f64::from(u32::try_from(size).unwrap_or(u32::MAX)));
    metrics::histogram!("chancery_commit_seconds").record(began.elapsed().as_secs_f64());
}

/// Makes the error for a caller whose group failed; the cause is shared, so each gets its words.
pub(super) fn copy_of(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.detail());
    let copy = match error.retry_after_seconds() {
        Some(seconds) => copy.with_retry_after(seconds),
        None => copy,
    };
    match std::error::Error::source(error) {
        Some(cause) => copy.with_source(cause.to_string()),
        None => copy,
    }
}
