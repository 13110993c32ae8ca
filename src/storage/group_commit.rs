//! Grouped commits: writes wait in a bounded queue, a writer takes all that wait, commits them at once and answers each.
//!
//! This file holds the queue and its values; how a group is written is each backend's `writer.rs`.

use std::cell::RefCell;
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
            .map(|claim| IdempotencyRow::new(claim, IdempotencyResult::Certificate(certificate.serial.clone())));
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
    letter_box: LetterBox,
}

impl Waiting {
    /// Pairs a write with its turn and the receiver of its answer. Called where the answer is waited for.
    pub(super) fn new(write: Write) -> (Self, Turn, oneshot::Receiver<Result<Recorded>>) {
        let (answer, result) = oneshot::channel();
        let turn = Turn::default();
        (Self { write, turn: turn.clone(), answer, letter_box: LetterBox::of_this_thread() }, turn, result)
    }

    /// Takes the write, which from then on is written; `false` when its caller has left and nothing must be.
    pub(super) fn begin(&self) -> bool {
        self.turn.take()
    }
}

/// Answers callers with what became of their writes. One that has gone does not matter: what was committed stays committed.
pub(super) fn answer(group: impl IntoIterator<Item = (Waiting, Result<Recorded>)>) {
    let mut letters: Vec<(LetterBox, Vec<Letter>)> = Vec::new();
    for (waiting, outcome) in group {
        let letter = Letter { answer: waiting.answer, outcome };
        match letters.iter_mut().find(|(letter_box, _)| letter_box.0.same_channel(&waiting.letter_box.0)) {
            Some((_, letters)) => letters.push(letter),
            None => letters.push((waiting.letter_box, vec![letter])),
        }
    }
    for (letter_box, letters) in letters {
        if let Err(mpsc::error::SendError(letters)) = letter_box.0.send(letters) {
            // The thread has ended; whoever is left of its callers is elsewhere now.
            letters.into_iter().for_each(Letter::open);
        }
    }
}

/// An answer on its way.
#[derive(Debug)]
struct Letter {
    answer: oneshot::Sender<Result<Recorded>>,
    outcome: Result<Recorded>,
}

impl Letter {
    fn open(self) {
        drop(self.answer.send(self.outcome));
    }
}

/// Where the callers of one thread are answered. To wake a thread from another one costs a system call, for each answer; the answers of a group
/// go there together, and a task there gives them out. It never holds more than there are callers who wait.
#[derive(Clone, Debug)]
struct LetterBox(mpsc::UnboundedSender<Vec<Letter>>);

impl LetterBox {
    /// Returns that of this thread; makes one when there is none, or when the runtime that emptied it has ended.
    fn of_this_thread() -> Self {
        thread_local! {
            static MINE: RefCell<Option<LetterBox>> = const { RefCell::new(None) };
        }
        MINE.with_borrow_mut(|mine| match mine {
            Some(open) if !open.0.is_closed() => open.clone(),
            absent => absent.insert(Self::new()).clone(),
        })
    }

    fn new() -> Self {
        let (sender, mut letters) = mpsc::unbounded_channel::<Vec<Letter>>();
        tokio::spawn(async move {
            while let Some(letters) = letters.recv().await {
                letters.into_iter().for_each(Letter::open);
            }
        });
        Self(sender)
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

    fn waiting() -> (Waiting, oneshot::Receiver<Result<Recorded>>) {
        let event = AuditEvent {
            occurred_at_ms: 1,
            actor: "system".to_owned(),
            action: "test".to_owned(),
            outcome: crate::storage::AuditOutcome::Success,
            object: String::new(),
            remote_address: None,
            request_id: None,
            details: serde_json::json!({}),
        };
        let (waiting, _turn, result) = Waiting::new(Write::audit(event).unwrap());
        (waiting, result)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// As a writer does: from another thread.
    fn commit(group: Vec<Waiting>) {
        let committed = group.into_iter().map(|waiting| (waiting, Ok(Recorded::Committed)));
        std::thread::scope(|scope| scope.spawn(|| answer(committed)).join().unwrap());
    }

    #[test]
    fn a_group_is_answered_whichever_threads_and_runtimes_its_callers_are_in() {
        // The second runtime of this thread must not wait for the letter box of the first.
        for _ in 0..2 {
            let elsewhere = std::thread::spawn(|| runtime().block_on(async { waiting() })).join().unwrap();
            runtime().block_on(async move {
                let (first, second) = (waiting(), waiting());
                commit(vec![first.0, elsewhere.0, second.0]);
                for result in [first.1, elsewhere.1, second.1] {
                    let answer = tokio::time::timeout(Duration::from_secs(60), result).await.unwrap();
                    assert!(matches!(answer, Ok(Ok(Recorded::Committed))), "{answer:?}");
                }
            });
        }
    }

    #[test]
    fn a_caller_that_has_gone_does_not_keep_others_from_their_answers() {
        runtime().block_on(async {
            let (gone, stays) = (waiting(), waiting());
            drop(gone.1);
            commit(vec![gone.0, stays.0]);
            assert!(matches!(stays.1.await, Ok(Ok(Recorded::Committed))));
        });
    }
}
