//! A writer: takes what waits in the queue, commits it as a group, and finds out what became of a group when its connection is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Notify, mpsc, oneshot};

use super::connect::Connector;
use super::session::{Failure, Outcomes, Session, Undecided};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::failure;
use crate::storage::group_commit::{BATCH_LIMIT, Waiting, answer, copy_of, measure};

/// From how many writes on a group is begun while another one is being committed.
const WORTHWHILE: usize = 32;
/// The longest that a smaller group waits for that: the other's database may be far away, or its connection stuck.
const PATIENCE: Duration = Duration::from_millis(4);
/// How long a group grows while there is a load.
const MOMENT: Duration = Duration::from_millis(1);
/// How many writes in the last group mean that there is one.
const LOAD: usize = 8;
/// How long after a failed connection callers are refused at once instead of waiting for another.
const PAUSE: Duration = Duration::from_millis(500);

/// Where the writers of a process take their groups.
///
/// A group costs the database about as much for itself as ten certificates do. So a writer that finds another one at work begins only with a group
/// that is worth it, and otherwise lets the group grow until the other one has committed. And while there is a load, it takes a moment longer: those
/// who were just answered are about to ask again. A lone write waits for nobody.
#[derive(Debug)]
pub(super) struct Entrance {
    jobs: Mutex<mpsc::Receiver<Waiting>>,
    at_work: AtomicUsize,
    committed: Notify,
    /// How large the last group was.
    last: AtomicUsize,
}

impl Entrance {
    /// Makes the entrance of a queue.
    pub(super) fn new(jobs: mpsc::Receiver<Waiting>) -> Self {
        Self {
            jobs: Mutex::new(jobs),
            at_work: AtomicUsize::new(0),
            committed: Notify::new(),
            last: AtomicUsize::new(0),
        }
    }

    /// Waits for a group; `None` when the queue is closed and empty.
    async fn next_group(&self) -> Option<(Vec<Waiting>, AtWork<'_>)> {
        let mut jobs = self.jobs.lock().await;
        let mut group = vec![jobs.recv().await?];
        let began = Instant::now();
        let mut lingers = self.last.load(Ordering::Relaxed) >= LOAD;
        loop {
            while group.len() < BATCH_LIMIT
                && let Ok(next) = jobs.try_recv()
            {
                group.push(next);
            }
            let is_alone = self.at_work.load(Ordering::Acquire) == 0;
            if group.len() >= WORTHWHILE || (is_alone && !lingers) || began.elapsed() >= PATIENCE {
                break;
            }
            if is_alone {
                lingers = false;
                tokio::time::sleep(MOMENT).await;
            } else {
                // Looked at again from time to time, rather than woken by each write that comes.
                drop(tokio::time::timeout(MOMENT, self.committed.notified()).await);
            }
        }
        self.last.store(group.len(), Ordering::Relaxed);
        self.at_work.fetch_add(1, Ordering::AcqRel);
        Some((group, AtWork(self)))
    }
}

/// A group is being committed for as long as this lives.
struct AtWork<'a>(&'a Entrance);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::AcqRel);
        // Kept for whoever looks next, if nobody waits now.
        self.0.committed.notify_one();
    }
}

/// A writer and its connection.
#[derive(Debug)]
pub(super) struct Writer {
    connector: Arc<Connector>,
    session: Option<Session>,
    failed_at: Option<Instant>,
    limit: Duration,
}

/// Starts the writers on a thread of their own, with their connections: what they say to one another wakes no other thread. The receiver hears when
/// the queue is closed and everything in it is answered.
///
/// # Errors
/// `Internal` when the thread cannot be started.
pub(super) fn start(writers: Vec<Writer>, entrance: Entrance) -> Result<oneshot::Receiver<()>> {
    let failed = |error: std::io::Error| {
        Error::internal("the thread of the PostgreSQL writers cannot be started").with_source(error)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (finish, finished) = oneshot::channel();
    let work = async move {
        let entrance = Arc::new(entrance);
        let writers: Vec<_> =
            writers.into_iter().map(|writer| tokio::spawn(writer.run(Arc::clone(&entrance)))).collect();
        for writer in writers {
            if let Err(error) = writer.await {
                tracing::error!(%error, "a PostgreSQL writer ended without finishing");
            }
        }
    };
    std::thread::Builder::new()
        .name("postgres-writer".to_owned())
        .spawn(move || {
            runtime.block_on(work);
            // Nobody waits for the end unless the storage is being closed.
            let _closing = finish.send(());
        })
        .map_err(failed)?;
    Ok(finished)
}

impl Writer {
    /// Makes a writer that connects when it is needed.
    pub(super) fn new(connector: Arc<Connector>, limit: Duration) -> Self {
        Self { connector, session: None, failed_at: None, limit }
    }

    /// Works until the queue is closed and empty.
    pub(super) async fn run(mut self, entrance: Arc<Entrance>) {
        while let Some((mut group, _at_work)) = entrance.next_group().await {
            // Not for those who did not want to wait so long.
            group.retain(Waiting::begin);
            if !group.is_empty() {
                self.commit(group).await;
            }
        }
    }

    /// Commits a group and answers each; a group that is refused is written one by one, so that a bad write fails alone.
    async fn commit(&mut self, group: Vec<Waiting>) {
        match self.decide(&group).await {
            Ok(outcomes) => answer(group.into_iter().zip(outcomes)),
            Err(error) if group.len() == 1 || error.kind() == ErrorKind::Unavailable => {
                answer(group.into_iter().map(|waiting| (waiting, Err(copy_of(&error)))));
            }
            Err(_) => {
                for waiting in group {
                    let one = [waiting];
                    let outcome = self.decide(&one).await;
                    let outcomes = outcome.unwrap_or_else(|error| vec![Err(error)]);
                    answer(one.into_iter().zip(outcomes));
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
