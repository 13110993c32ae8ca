//! Grouped commits: writes wait in a bounded queue, a writer takes all that wait, commits them at once and answers each.
//!
//! This file holds the queue and its values; how a group is written is each backend's `writer.rs`.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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

/// Whose turn it is: a write waits until a writer takes it or its caller leaves, whichever comes first. So a caller who was told that the service is
/// too busy knows that nothing was written, and nothing is written for callers who have gone.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn(Arc<AtomicU8>);

impl Turn {
    const WAITING: u8 = 0;
    const TAKEN: u8 = 1;
    const LEFT: u8 = 2;

    /// Takes the write; `false` when its caller has left.
    pub(super) fn take(&self) -> bool {
        self.end(Self::TAKEN)
    }

    /// Leaves; `false` when the write is taken already.
    fn leave(&self) -> bool {
        self.end(Self::LEFT)
    }

    fn end(&self, how: u8) -> bool {
        self.0.compare_exchange(Self::WAITING, how, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// A write that waits, and who waits for it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) write: Write,
    turn: Turn,
    answer: oneshot::Sender<Result<Recorded>>,
}

impl Waiting {
    /// Pairs a write with its turn and the receiver of its answer.
    pub(super) fn new(write: Write) -> (Self, Turn, oneshot::Receiver<Result<Recorded>>) {
        let (answer, result) = oneshot::channel();
        let turn = Turn::default();
        (Self { write, turn: turn.clone(), answer }, turn, result)
    }

    /// Takes the write, which from then on is written; `false` when its caller has left and nothing must be.
    pub(super) fn begin(&self) -> bool {
        self.turn.take()
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
    maximum_wait: Duration,
}

impl<T: Send> Queue<T> {
    /// Makes a queue and its exit. Nobody waits for a place or for a turn for longer than `maximum_wait`.
    pub(super) fn new(maximum_wait: Duration) -> (Self, mpsc::Receiver<T>) {
        let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
        (Self { sender: Mutex::new(Some(sender)), maximum_wait }, receiver)
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
                sender.send_timeout(job, self.maximum_wait).await.map_err(|error| match error {
                    mpsc::error::SendTimeoutError::Timeout(_) => failure::overloaded(),
                    mpsc::error::SendTimeoutError::Closed(_) => failure::closed(),
                })
            }
        }
    }

    /// Waits for the answer to a job that was put into the queue: not long for its turn, then for `limit` at most.
    ///
    /// # Errors
    /// `Unavailable` when its turn did not come, and then nothing is written, or after `limit`: it may still be written later.
    pub(super) async fn answered<R>(
        &self,
        turn: Turn,
        mut result: oneshot::Receiver<Result<R>>,
        limit: Duration,
    ) -> Result<R> {
        match tokio::time::timeout(self.maximum_wait, &mut result).await {
            Ok(outcome) => given(outcome),
            Err(_elapsed) if turn.leave() => Err(failure::overloaded()),
            Err(_elapsed) => match tokio::time::timeout(limit, result).await {
                Ok(outcome) => given(outcome),
                Err(elapsed) => Err(failure::unavailable(elapsed)),
            },
        }
    }

    /// Admits nothing more; what is in the queue can still be taken out.
    pub(super) fn close(&self) {
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn given<R>(outcome: std::result::Result<Result<R>, oneshot::error::RecvError>) -> Result<R> {
    outcome.map_err(|error| Error::internal("the writer dropped a write").with_source(error))?
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;
    use crate::error::ErrorKind;

    /// A job: its turn, and where its answer goes.
    type Job = (Turn, oneshot::Sender<Result<u8>>);

    async fn ask(queue: &Queue<Job>) -> Result<u8> {
        let (answer, result) = oneshot::channel();
        let turn = Turn::default();
        queue.put((turn.clone(), answer)).await?;
        queue.answered(turn, result, Duration::from_secs(60)).await
    }

    #[tokio::test]
    async fn who_waits_too_long_for_a_turn_leaves_and_nothing_is_done_for_him() {
        let (queue, mut jobs) = Queue::<Job>::new(Duration::from_millis(20));
        let error = ask(&queue).await.unwrap_err();
        assert_eq!((error.kind(), error.retry_after_seconds()), (ErrorKind::Unavailable, Some(1)));
        let (turn, _answer) = jobs.recv().await.unwrap();
        assert!(!turn.take());
    }

    #[tokio::test]
    async fn whose_turn_has_come_waits_for_the_answer_however_long_it_takes() {
        let (queue, mut jobs) = Queue::<Job>::new(Duration::from_millis(20));
        let worker = tokio::spawn(async move {
            let (turn, answer) = jobs.recv().await.unwrap();
            assert!(turn.take() && !turn.leave());
            tokio::time::sleep(Duration::from_millis(100)).await;
            answer.send(Ok(7)).unwrap();
        });
        assert_eq!(ask(&queue).await.unwrap(), 7);
        worker.await.unwrap();
    }
}
