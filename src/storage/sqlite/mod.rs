//! SQLite: a pool of connections that read, and one thread that owns the only connection that writes.
//!
//! diesel's SQLite connection blocks, so a whole operation runs on one blocking thread; [`Inline`] makes the wrapper that the shared
//! queries need without a thread change per statement. An operation that has begun runs to its end though its caller be gone.

use std::path::PathBuf;
use std::time::Duration;

use diesel::sqlite::SqliteConnection;
use diesel_async::sync_connection_wrapper::{SpawnBlocking, SyncConnectionWrapper};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use self::nonces::Nonces;
use self::pool::ReadPool;
use self::writer::Writer;
use super::group_commit::{Ending, Turn, Waiting, Write};
use super::{DatabaseOptions, PoolStatus, Recorded, failure};
use crate::error::{Error, Result};

mod acme;
mod connection;
mod dialect;
#[allow(clippy::duplicate_mod, reason = "compiled once per backend, each with its own connection type")]
#[path = "../dispatch.rs"]
mod dispatch;
#[allow(clippy::duplicate_mod, reason = "compiled once per backend, each with its own connection type")]
#[path = "../dispatch_acme.rs"]
mod dispatch_acme;
mod nonces;
mod pool;
mod prepared;
#[allow(clippy::duplicate_mod, reason = "compiled once per backend, each with its own connection type")]
#[path = "../queries/mod.rs"]
mod queries;
mod writer;

/// Runs blocking work where it is: the operation as a whole is on a blocking thread already.
#[derive(Debug)]
pub(super) struct Inline;

impl SpawnBlocking for Inline {
    fn spawn_blocking<'a, R>(
        &mut self,
        task: impl FnOnce() -> R + Send + 'static,
    ) -> BoxFuture<'a, std::result::Result<R, Box<dyn std::error::Error + Send + Sync + 'static>>>
    where
        R: Send + 'static,
    {
        std::future::ready(Ok(task())).boxed()
    }

    fn get_runtime() -> Self {
        Self
    }
}

/// The connection that the shared queries are compiled for.
type Connection = SyncConnectionWrapper<SqliteConnection, Inline>;
/// The backend that the shared queries are compiled for.
type Backend = diesel::sqlite::Sqlite;

/// How long a caller waits beyond the statement timeout: for its turn, and for the disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open SQLite database.
#[derive(Debug)]
pub(super) struct Database {
    readers: ReadPool,
    writer: Writer,
    nonces: Nonces,
    limit: Duration,
}

impl Database {
    /// Runs the pending migrations and opens the file.
    pub(super) async fn open(path: PathBuf, options: &DatabaseOptions) -> Result<Self> {
        connection::migrate(path.clone()).await?;
        let limit = options.statement_timeout.saturating_add(PATIENCE);
        let writer = Writer::start(path.clone(), options.maximum_wait).await?;
        let readers = ReadPool::new(path, options.connections.max(1), options.maximum_wait);
        Ok(Self { readers, writer, nonces: Nonces::new()?, limit })
    }

    /// Runs a reading operation.
    async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        tokio::time::timeout(self.limit, self.readers.run(work)).await.map_err(failure::unavailable)?
    }

    /// Runs a reading operation that may take long because it reads whole tables.
    async fn read_long<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.readers.run(work).await
    }

    /// Runs a writing operation in a transaction of its own, on the writer's thread.
    async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.write_or_undo(move |connection| async move { work(connection).await.map(Ending::Commit) }.boxed()).await
    }

    /// Runs a writing operation in a transaction of its own, on the writer's thread, which it may have undone.
    async fn write_or_undo<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<Ending<T>>> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let turn = Turn::default();
        let taken = turn.clone();
        self.writer
            .run(Box::new(move |connection| {
                if !taken.take() {
                    return;
                }
                // A caller that has gone does not matter: what was committed stays committed.
                drop(answer.send(connection.and_then(|connection| connection::transaction(connection, work))));
            }))
            .await?;
        self.writer.answered(turn, result, self.limit).await
    }

    /// Puts a write into the queue for the next group.
    async fn enqueue(&self, write: Write) -> Result<Recorded> {
        let (waiting, turn, result) = Waiting::new(write);
        self.writer.group(waiting).await?;
        self.writer.answered(turn, result, self.limit).await
    }

    fn status(&self) -> PoolStatus {
        self.readers.status()
    }

    async fn finish(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }
}

/// Runs the pending migrations of a file, and returns their names.
pub(super) async fn migrate(path: PathBuf) -> Result<Vec<String>> {
    connection::migrate(path).await
}

/// Runs an operation of the shared queries, which never waits for anything on this connection.
fn now<T>(operation: BoxFuture<'_, Result<T>>) -> Result<T> {
    operation.now_or_never().unwrap_or_else(|| Err(Error::internal("an operation on SQLite waited for something else")))
}
