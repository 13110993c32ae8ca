//! The embedded migrations: which there are, and running those that are pending. Taking turns among replicas is the backends' part.

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
    let mut names = Vec::new();
    for migration in harness.pending_migrations(PendingSource(source)).map_err(failed)? {
        harness.run_migration(&*migration).map_err(failed)?;
        names.push(migration.name().to_string());
    }
    Ok(names)
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
