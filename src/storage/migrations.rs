//! The embedded migrations: which there are, and running those that are pending. Taking turns among replicas is the backends' part.

use std::time::{Duration, Instant};

use diesel::backend::Backend;
use diesel::migration::{Migration, MigrationSource};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::error::{Error, Result};

/// The migrations of SQLite.
#[cfg(feature = "sqlite")]
pub(super) const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// The migrations of PostgreSQL, equal in names.
#[cfg(feature = "postgres")]
pub(super) const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// How often it is told that migrations are still running.
const TOLD: Duration = Duration::from_secs(15);

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Runs the pending migrations, oldest first, and returns their names. Refuses a database that has migrations of a newer version.
pub(super) fn run<DB: Backend>(
    harness: &mut impl MigrationHarness<DB>,
    source: &EmbeddedMigrations,
) -> Result<Vec<String>> {
    let known = MigrationSource::<DB>::migrations(source).map_err(failed)?;
    let applied = harness.applied_migrations().map_err(failed)?;
    if let Some(unknown) = applied.iter().find(|version| known.iter().all(|one| one.name().version() != **version)) {
        return Err(Error::configuration(format!(
            "the database has the migration `{unknown}`, which this version of the program does not know: \
             use the newer version that made it"
        )));
    }
    // A new database has nothing that could take time.
    let is_new = applied.is_empty();
    let mut names = Vec::new();
    for migration in harness.pending_migrations(PendingSource(source)).map_err(failed)? {
        let name = migration.name().to_string();
        let began = Instant::now();
        if !is_new {
            tracing::info!(
                migration = name,
                "bringing the database to a newer schema: this can take minutes with millions of certificates, and wants free disk space"
            );
        }
        harness.run_migration(&*migration).map_err(|cause| {
            Error::internal(format!("the migration `{name}` of the database failed, and is undone")).with_source(cause)
        })?;
        if !is_new {
            tracing::info!(migration = name, seconds = began.elapsed().as_secs(), "the database has the newer schema");
        }
        names.push(name);
    }
    Ok(names)
}

/// Waits for migrations, of this process or of another one, and tells now and then that it does.
pub(super) async fn awaited<T>(migrating: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let mut migrating = std::pin::pin!(migrating);
    loop {
        match tokio::time::timeout(TOLD, &mut migrating).await {
            Ok(done) => return done,
            Err(_elapsed) => tracing::info!(
                seconds = began.elapsed().as_secs(),
                "the database is still being brought to this version's schema, here or by another process: nothing is served until it is done"
            ),
        }
    }
}

/// Lends the embedded migrations, which the harness wants to own.
struct PendingSource<'a>(&'a EmbeddedMigrations);

impl<DB: Backend> MigrationSource<DB> for PendingSource<'_> {
    fn migrations(&self) -> diesel::migration::Result<Vec<Box<dyn Migration<DB>>>> {
        self.0.migrations()
    }
}

/// Returns the versions of every embedded migration; the folders of both databases have equal names.
pub(super) fn versions() -> Result<Vec<String>> {
    #[cfg(feature = "sqlite")]
    let migrations = MigrationSource::<diesel::sqlite::Sqlite>::migrations(&SQLITE);
    #[cfg(not(feature = "sqlite"))]
    let migrations = MigrationSource::<diesel::pg::Pg>::migrations(&POSTGRES);
    let migrations = migrations.map_err(failed)?;
    Ok(migrations.iter().map(|migration| migration.name().version().to_string()).collect())
}

fn failed(cause: Cause) -> Error {
    Error::internal("a database migration failed").with_source(cause)
}
