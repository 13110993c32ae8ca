//! A writer: takes what waits in the queue, commits it as a group, and finds out what became of a group when its connection is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};

use super::connect::Connector;
use super::session::{Failure, Outcomes, Session, Undecided};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::failure;
use crate::storage::group_commit::{BATCH_LIMIT, Waiting, copy_of, measure};

/// How long after a failed connection callers are refused at once instead of waiting for another.
const PAUSE: Duration = Duration::from_millis(500);

/// A writer and its connection.
#[derive(Debug)]
pub(super) struct Writer {
    connector: Arc<Connector>,
    session: Option<Session>,
    failed_at: Option<Instant>,
    limit: Duration,
}

impl Writer {
    /// Makes a writer that connects when it is needed.
    pub(super) fn new(connector: Arc<Connector>, limit: Duration) -> Self {
        Self { connector, session: None, failed_at: None, limit }
    }

    /// Works until the queue is closed and empty.
    pub(super) async fn run(mut self, jobs: Arc<Mutex<mpsc::Receiver<Waiting>>>) {
        loop {
            let group = {
                let mut jobs = jobs.lock().await;
                let Some(first) = jobs.recv().await else { return };
                let mut group = vec![first];
                while group.len() < BATCH_LIMIT
                    && let Ok(next) = jobs.try_recv()
                {
                    group.push(next);
                }
                group
            };
            self.commit(group).await;
        }
    }

    /// Commits a group and answers each; a group that is refused is written one by one, so that a bad write fails alone.
    async fn commit(&mut self, group: Vec<Waiting>) {
        match self.decide(&group).await {
            Ok(outcomes) => answer(group, outcomes),
            Err(error) if group.len() == 1 || error.kind() == ErrorKind::Unavailable => {
                for waiting in group {
                    waiting.answer(Err(copy_of(&error)));
                }
            }
            Err(_) => {
                for waiting in group {
                    let one = [waiting];
                    let outcome = self.decide(&one).await;
                    let outcomes = outcome.unwrap_or_else(|error| vec![Err(error)]);
                    answer(one.into(), outcomes);
                }
            }
        }
    }

    /// Commits a group; after a lost connection finds out whether it was committed, and if not tries once more.
    async fn decide(&mut self, group: &[Waiting]) -> Result<Outcomes> {
        let (cause, undecided) = match self.attempt(group).await? {
            Attempt::Committed(outcomes) => return Ok(outcomes),
            Attempt::Lost(cause, undecided) => (cause, undecided),
        };
        tracing::warn!(error = %cause, "a group of writes lost its connection to PostgreSQL");
        if let Some(Undecided { head, outcomes }) = undecided {
            let limit = self.limit;
            let session = self.session().await?;
            let committed = match tokio::time::timeout(limit, session.was_committed(&head)).await {
                Ok(Ok(committed)) => committed,
                Ok(Err(error)) => {
                    self.session = None;
                    return Err(failure::unavailable(error));
                }
                Err(elapsed) => {
                    self.session = None;
                    return Err(failure::unavailable(elapsed));
                }
            };
            if committed {
                return Ok(outcomes);
            }
        }
        match self.attempt(group).await? {
            Attempt::Committed(outcomes) => Ok(outcomes),
            Attempt::Lost(cause, _undecided) => Err(cause),
        }
    }

    async fn attempt(&mut self, group: &[Waiting]) -> Result<Attempt> {
        let began = Instant::now();
        let limit = self.limit;
        let session = self.session().await?;
        let mut undecided = None;
        let failure = match tokio::time::timeout(limit, session.commit(group, &mut undecided)).await {
            Ok(Ok(outcomes)) => {
                measure(group.len(), began);
                return Ok(Attempt::Committed(outcomes));
            }
            Ok(Err(failure)) => failure,
            Err(elapsed) => {
                self.session = None;
                return Ok(Attempt::Lost(failure::unavailable(elapsed), undecided));
            }
        };
        match failure {
            Failure::Lost(error) => {
                self.session = None;
                Ok(Attempt::Lost(failure::unavailable(error), undecided))
            }
            Failure::Refused(error) => {
                if session.roll_back().await.is_err() {
                    self.session = None;
                }
                Err(error)
            }
        }
    }

    /// Returns the session, connecting if there is none.
    async fn session(&mut self) -> Result<&Session> {
        let open = self.session.take().filter(|session| !session.is_closed());
        let session = match open {
            Some(session) => session,
            None => self.connect().await?,
        };
        Ok(self.session.insert(session))
    }

    async fn connect(&mut self) -> Result<Session> {
        if self.failed_at.is_some_and(|moment| moment.elapsed() < PAUSE) {
            return Err(failure::unavailable("the last connection failed a moment ago"));
        }
        let connected = async {
            let (client, driver) = self.connector.client().await?;
            let prepared = tokio::time::timeout(self.limit, Session::new(client, driver)).await;
            prepared.map_err(failure::unavailable)?.map_err(failure::unavailable)
        }
        .await;
        self.failed_at = connected.is_err().then(Instant::now);
        connected
    }
}

/// What became of an attempt.
enum Attempt {
    Committed(Outcomes),
    Lost(Error, Option<Undecided>),
}

fn answer(group: Vec<Waiting>, outcomes: Outcomes) {
    for (waiting, outcome) in group.into_iter().zip(outcomes) {
        waiting.answer(outcome);
    }
}
