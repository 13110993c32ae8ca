//! PostgreSQL: a pool for reading and single writes, and a few writers with connections of their own for grouped commits.
//!
//! An operation runs on a task of its own, so that it ends its transaction though its caller be gone.

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diesel::ConnectionError;
use diesel_async::pooled_connection::deadpool::{Object, Pool};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, SimpleAsyncConnection, TransactionManager};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use self::connect::Connector;
use super::audit_chain::CHAINS;
use super::group_commit::{Ending, Queue, Waiting, Write};
use super::{DatabaseOptions, PoolStatus, Recorded, WaitingCaller, failure};
use crate::error::{Error, ErrorKind, Result};

mod acme;
mod connect;
mod dialect;
#[allow(clippy::duplicate_mod, reason = "compiled once per backend, each with its own connection type")]
#[path = "../dispatch.rs"]
mod dispatch;
#[allow(clippy::duplicate_mod, reason = "compiled once per backend, each with its own connection type")]
#[path = "../dispatch_acme.rs"]
mod dispatch_acme;
mod migration;
mod parameters;
#[allow(clippy::duplicate_mod, reason = "compiled once per backend, each with its own connection type")]
#[path = "../queries/mod.rs"]
mod queries;
mod session;
mod tls;
mod writer;

pub(super) use connect::addresses;
pub(super) use migration::migrate;

/// The connection that the shared queries are compiled for.
type Connection = AsyncPgConnection;
/// The backend that the shared queries are compiled for.
type Backend = diesel::pg::Pg;

/// The advisory lock of the block list: shared by those who issue, exclusive for those who block a key. `keyblock` in ASCII, as a number.
const BLOCK_LIST_LOCK: i64 = 0x6b65_7962_6c6f_636b;
/// How many writers commit groups: while one waits for the disk or the network, others fill their transactions.
const WRITERS: usize = 4;
/// How long a caller waits beyond the statement timeout.
const PATIENCE: Duration = Duration::from_secs(5);

/// An open PostgreSQL database.
pub(super) struct Database {
    pool: Pool<Connection>,
    /// As many as the pool has connections: to wait for one is another thing than to wait for a new one to open.
    permits: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    queue: Queue<Waiting>,
    /// Says when the writers have finished.
    writers: Mutex<Option<oneshot::Receiver<()>>>,
    limits: Limits,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    connect: Duration,
    operation: Duration,
    wait: Duration,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("status", &self.status()).field("limits", &self.limits).finish()
    }
}

impl Database {
    /// Runs the pending migrations and connects.
    pub(super) async fn open(options: &DatabaseOptions) -> Result<Self> {
        let connector = Arc::new(Connector::new(options)?);
        migration::run(&connector).await?;
        let limits = Limits {
            connect: options.connect_timeout,
            operation: options.statement_timeout.saturating_add(PATIENCE),
            wait: options.maximum_wait,
        };
        let (queue, jobs) = Queue::new(options.maximum_wait);
        let entrance = writer::Entrance::new(jobs);
        let writers = (0..WRITERS).map(|_| writer::Writer::new(Arc::clone(&connector), limits.operation)).collect();
        let finished = writer::start(writers, entrance)?;
        Ok(Self {
            pool: pool(connector, options.connections.max(1))?,
            permits: Arc::new(Semaphore::new(options.connections.max(1))),
            waiting: Arc::default(),
            queue,
            writers: Mutex::new(Some(finished)),
            limits,
        })
    }

    /// Runs a reading operation.
    async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.run(Some(self.limits.operation), work).await
    }

    /// Runs a reading operation of many statements; each of them is bounded by the server.
    async fn read_long<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.run(None, work).await
    }

    /// Runs a writing operation in a transaction of its own.
    async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.write_or_undo(move |connection| async move { work(connection).await.map(Ending::Commit) }.boxed()).await
    }

    /// Runs a writing operation in a transaction of its own, which it may have undone.
    async fn write_or_undo<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<Ending<T>>> + Send + 'static,
    {
        self.run(Some(self.limits.operation), |connection| transaction(connection, work).boxed()).await
    }

    async fn run<T, F>(&self, limit: Option<Duration>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let permit = self.turn().await?;
        let (pool, connect) = (self.pool.clone(), self.limits.connect);
        let operation = async move {
            let _permit = permit;
            let mut connection = acquire(&pool, connect).await?;
            let outcome = match limit {
                None => work(&mut connection).await,
                Some(limit) => match tokio::time::timeout(limit, work(&mut connection)).await {
                    Ok(outcome) => outcome,
                    Err(elapsed) => {
                        // Nobody knows what state the connection is in.
                        drop(Object::take(connection));
                        return Err(failure::unavailable(elapsed));
                    }
                },
            };
            judged(&mut connection, outcome).await
        };
        // In a box: a task of its own type for each operation made the program a megabyte larger.
        let (answer, outcome) = oneshot::channel();
        let task: BoxFuture<'static, ()> = async move { drop(answer.send(operation.await)) }.boxed();
        tokio::spawn(task);
        outcome.await.map_err(|error| Error::internal("a database operation did not finish").with_source(error))?
    }

    /// Waits until a connection is free, not long.
    async fn turn(&self) -> Result<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let _waiting = WaitingCaller::new(&self.waiting);
        match tokio::time::timeout(self.limits.wait, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_closed)) => Err(failure::closed()),
            Err(_elapsed) => Err(failure::overloaded()),
        }
    }

    /// Puts a write into the queue for the next group.
    async fn enqueue(&self, write: Write) -> Result<Recorded> {
        let (waiting, turn, result) = Waiting::new(write);
        self.queue.put(waiting).await?;
        // The group before it, its own, and a reconnect between them.
        self.queue.answered(turn, result, self.limits.operation.saturating_mul(3)).await
    }

    fn status(&self) -> PoolStatus {
        let status = self.pool.status();
        PoolStatus {
            size: status.max_size,
            in_use: status.size.saturating_sub(status.available),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    async fn finish(&self) {
        self.queue.close();
        let finished = self.writers.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(finished) = finished
            && finished.await.is_err()
        {
            tracing::error!("the PostgreSQL writers ended without finishing");
        }
        self.pool.close();
    }
}

fn pool(connector: Arc<Connector>, size: usize) -> Result<Pool<Connection>> {
    let mut config = ManagerConfig::default();
    // A connection that the server closed is seen without asking it.
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |_url| {
        let connector = Arc::clone(&connector);
        async move {
            connector.pooled().await.map_err(|error| {
                let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
                ConnectionError::BadConnection(format!("{error}{cause}"))
            })
        }
        .boxed()
    });
    let manager = AsyncDieselConnectionManager::<Connection>::new_with_config(String::new(), config);
    Pool::builder(manager)
        .max_size(size)
        .build()
        .map_err(|error| Error::internal("the connection pool cannot be made").with_source(error))
}

async fn acquire(pool: &Pool<Connection>, limit: Duration) -> Result<Object<Connection>> {
    match tokio::time::timeout(limit, pool.get()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(_)) if pool.is_closed() => Err(failure::closed()),
        Ok(Err(error)) => Err(failure::unavailable(error)),
        Err(elapsed) => Err(failure::unavailable(elapsed)),
    }
}

async fn transaction<T, F>(connection: &mut Connection, work: F) -> Result<T>
where
    T: Send,
    F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<Ending<T>>> + Send,
{
    AnsiTransactionManager::begin_transaction(connection).await?;
    match work(connection).await {
        Ok(Ending::Commit(value)) => {
            AnsiTransactionManager::commit_transaction(connection).await?;
            Ok(value)
        }
        Ok(Ending::Undo(value)) => {
            AnsiTransactionManager::rollback_transaction(connection).await?;
            Ok(value)
        }
        Err(error) => {
            // The first error is the cause; a connection that cannot roll back is not used again.
            if let Err(second) = AnsiTransactionManager::rollback_transaction(connection).await {
                tracing::warn!(error = %second, "a transaction could not be rolled back");
            }
            Err(error)
        }
    }
}

/// Tells a database that went away from one that refuses: the server's last words may be in any language, so the connection is asked.
async fn judged<T>(connection: &mut Connection, outcome: Result<T>) -> Result<T> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::Internal && connection.batch_execute("SELECT 1").await.is_err() => {
            Err(failure::unavailable(error))
        }
        judged => judged,
    }
}

/// Picks a chain to wait for when every chain is taken: each caller another one.
fn some_chain() -> i32 {
    static NEXT: AtomicI32 = AtomicI32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).rem_euclid(CHAINS)
}
