//! Opening connections to the file, its migrations, and transactions.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, ConnectionError, RunQueryDsl};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Connection, Inline, now};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::group_commit::Ending;
use crate::storage::{failure, migrations};
use crate::tasks;

/// How long a start waits for another process that runs the migrations.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(60);
/// How long a start pauses before it asks again for WAL.
const WAL_PAUSE: Duration = Duration::from_millis(10);

/// WAL with a sync at every commit: what was acknowledged survives a power failure. No memory map: a disk error would be a signal that
/// ends the process instead of an error. Cache sizes are in KiB.
const SETTINGS: &str = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
    PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 67108864;";
const WRITER_SETTINGS: &str = "PRAGMA cache_size = -16000; PRAGMA wal_autocheckpoint = 4000;";
const READER_SETTINGS: &str = "PRAGMA cache_size = -8192; PRAGMA query_only = ON;";

/// Opens the connection that writes.
pub(super) fn open_writer(path: &Path) -> Result<Connection> {
    open(path, WRITER_SETTINGS)
}

/// Opens a connection that reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    open(path, READER_SETTINGS)
}

fn open(path: &Path, settings: &str) -> Result<Connection> {
    let mut connection = establish(path)?;
    connection.batch_execute(SETTINGS)?;
    connection.batch_execute(settings)?;
    Ok(Connection::with_runtime(connection, Inline))
}

fn establish(path: &Path) -> Result<SqliteConnection> {
    let text = path
        .to_str()
        .ok_or_else(|| Error::configuration(format!("the path of the database `{}` is not UTF-8", path.display())))?;
    // With a directory in front nothing in the name is taken for a URI or for the name of a database in memory.
    let text = if path.is_absolute() { text.to_owned() } else { format!("./{text}") };
    SqliteConnection::establish(&text).map_err(|error: ConnectionError| {
        Error::new(ErrorKind::Unavailable, format!("the SQLite database `{}` cannot be opened", path.display()))
            .with_retry_after(failure::RETRY_AFTER_SECONDS)
            .with_source(error)
    })
}

/// Makes the file if there is none, readable by its owner only because it holds sealed keys, and runs the pending migrations.
pub(super) async fn migrate(path: PathBuf) -> Result<Vec<String>> {
    migrations::awaited(tasks::spawn_blocking(move || {
        create_file(&path)?;
        let mut connection = establish(&path)?;
        enter_wal(&mut connection, &path)?;
        // Off, because a table that others refer to can only be made anew so; within a transaction this could not be said.
        connection.batch_execute("PRAGMA foreign_keys = OFF;")?;
        // One process migrates, others wait for it here.
        AnsiTransactionManager::begin_transaction_sql(&mut connection, "BEGIN EXCLUSIVE")?;
        let outcome = migrations::run(&mut connection, &migrations::SQLITE)
            .and_then(|names| check_foreign_keys(&mut connection, &names).map(|()| names));
        finish(&mut connection, outcome)
    }))
    .await
}

/// Refuses to commit migrations after which a row refers to nothing. Where none ran nothing is looked at: the check reads every row.
fn check_foreign_keys(connection: &mut SqliteConnection, migrations: &[String]) -> Result<()> {
    if migrations.is_empty() {
        return Ok(());
    }
    let broken: i64 = diesel::select(diesel::dsl::sql::<diesel::sql_types::BigInt>(
        "(SELECT COUNT(*) FROM pragma_foreign_key_check)",
    ))
    .get_result(connection)?;
    if broken == 0 {
        return Ok(());
    }
    Err(Error::internal(format!("after the migrations {broken} rows of the database would refer to nothing")))
}

fn create_file(path: &Path) -> Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return Err(Error::configuration(format!(
            "the directory `{}` of the SQLite database does not exist: create it first",
            directory.display()
        )));
    }
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop).map_err(|error| {
        Error::configuration(format!("the SQLite database `{}` cannot be opened for writing", path.display()))
            .with_source(error)
    })
}

/// Switches the file to WAL. SQLite does not wait for another process that does the same, so this asks again.
fn enter_wal(connection: &mut SqliteConnection, path: &Path) -> Result<()> {
    connection.batch_execute("PRAGMA busy_timeout = 60000;")?;
    let began = Instant::now();
    while let Err(cause) = connection.batch_execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;") {
        if cause.to_string().contains("not a database") {
            return Err(Error::configuration(format!("the file `{}` is not an SQLite database", path.display()))
                .with_source(cause));
        }
        let error = Error::from(cause);
        if error.kind() != ErrorKind::Unavailable || began.elapsed() > MIGRATION_PATIENCE {
            return Err(error);
        }
        std::thread::sleep(WAL_PAUSE);
    }
    Ok(())
}

/// Runs an operation of the shared queries in a transaction that writes from its beginning, so that it never has to give up midway.
pub(super) fn transaction<T, F>(connection: &mut Connection, work: F) -> Result<T>
where
    T: Send,
    F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<Ending<T>>>,
{
    direct(connection, |inner| Ok(AnsiTransactionManager::begin_transaction_sql(inner, "BEGIN IMMEDIATE")?))?;
    let outcome = now(work(connection));
    let commit = matches!(outcome, Ok(Ending::Commit(_)));
    let ended = direct(connection, move |inner| end(inner, commit));
    match (outcome, ended) {
        (Ok(Ending::Commit(value) | Ending::Undo(value)), Ok(())) => Ok(value),
        (Ok(_), Err(error)) | (Err(error), _) => Err(error),
    }
}

fn finish<T>(connection: &mut SqliteConnection, outcome: Result<T>) -> Result<T> {
    let ended = end(connection, outcome.is_ok());
    match (outcome, ended) {
        (Ok(value), Ok(())) => Ok(value),
        (Ok(_), Err(error)) | (Err(error), _) => Err(error),
    }
}

/// Commits or rolls back. A commit that fails is rolled back: it left nothing.
fn end(connection: &mut SqliteConnection, commit: bool) -> Result<()> {
    if commit {
        let committed = AnsiTransactionManager::commit_transaction(connection);
        if committed.is_err() && in_transaction(connection) {
            AnsiTransactionManager::rollback_transaction(connection)?;
        }
        Ok(committed?)
    } else {
        Ok(AnsiTransactionManager::rollback_transaction(connection)?)
    }
}

fn in_transaction(connection: &mut SqliteConnection) -> bool {
    AnsiTransactionManager::transaction_manager_status_mut(connection)
        .transaction_depth()
        .is_ok_and(|depth| depth.is_some())
}

/// Whether the connection is outside of any transaction and in order.
pub(super) fn is_clean(connection: &mut Connection) -> bool {
    direct(connection, |inner| {
        Ok(AnsiTransactionManager::transaction_manager_status_mut(inner)
            .transaction_depth()
            .is_ok_and(|depth| depth.is_none()))
    })
    .unwrap_or(false)
}

/// Runs blocking work on the connection under the wrapper.
pub(super) fn direct<T: Send + 'static>(
    connection: &mut Connection,
    work: impl FnOnce(&mut SqliteConnection) -> Result<T> + Send + 'static,
) -> Result<T> {
    connection
        .spawn_blocking(move |inner| Ok(work(inner)))
        .now_or_never()
        .unwrap_or_else(|| Ok(Err(Error::internal("an operation on SQLite waited for something else"))))?
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use diesel::sql_types::{Integer, Text};

    use super::super::Connection;
    use super::*;

    #[derive(diesel::QueryableByName, Debug, PartialEq)]
    struct Settings {
        #[diesel(sql_type = Text)]
        journal_mode: String,
        #[diesel(sql_type = Integer)]
        synchronous: i32,
        #[diesel(sql_type = Integer)]
        foreign_keys: i32,
        #[diesel(sql_type = Integer)]
        query_only: i32,
    }

    fn settings(connection: &mut Connection) -> Settings {
        direct(connection, |inner| {
            Ok(diesel::sql_query(
                "SELECT journal_mode, synchronous, foreign_keys, query_only FROM pragma_journal_mode, \
                 pragma_synchronous, pragma_foreign_keys, pragma_query_only",
            )
            .get_result(inner)?)
        })
        .unwrap()
    }

    #[tokio::test]
    async fn the_writer_syncs_at_every_commit_and_readers_only_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chancery.db");
        migrate(path.clone()).await.unwrap();
        let durable = |query_only| Settings {
            journal_mode: "wal".to_owned(),
            // 2 is FULL.
            synchronous: 2,
            foreign_keys: 1,
            query_only,
        };
        assert_eq!(settings(&mut open_writer(&path).unwrap()), durable(0));
        assert_eq!(settings(&mut open_reader(&path).unwrap()), durable(1));
    }
}
