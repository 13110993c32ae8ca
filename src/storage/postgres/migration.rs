//! Running the migrations under a lock, so that replicas may start together.

use std::time::Duration;

use diesel_async::{AsyncMigrationHarness, SimpleAsyncConnection};

use super::Connector;
use crate::error::Result;
use crate::storage::{DatabaseOptions, failure, migrations};
use crate::tasks;

/// The session advisory lock of the migrations: `chancery` in ASCII, as a number.
const LOCK: i64 = 0x6368_616e_6365_7279;
/// How long a start waits for another replica that runs the migrations, and how long they may run.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

/// Runs the pending migrations, and returns their names.
pub(in super::super) async fn migrate(options: &DatabaseOptions) -> Result<Vec<String>> {
    run(&Connector::new(options)?).await
}

/// Runs the pending migrations on a connection of their own; its end releases the lock whatever happens.
pub(super) async fn run(connector: &Connector) -> Result<Vec<String>> {
    migrations::awaited(run_pending(connector)).await
}

async fn run_pending(connector: &Connector) -> Result<Vec<String>> {
    let mut connection = connector.diesel().await?;
    let milliseconds = PATIENCE.as_millis();
    connection
        .batch_execute(&format!(
            "SET statement_timeout = {milliseconds}; SET lock_timeout = {milliseconds}; \
             SET idle_in_transaction_session_timeout = 0; SET client_min_messages = warning; SELECT pg_advisory_lock({LOCK})"
        ))
        .await?;
    // The harness blocks, and panics on a current-thread runtime.
    let migrating = tasks::spawn_blocking(move || {
        let mut harness = AsyncMigrationHarness::new(connection);
        let names = migrations::run(&mut harness, &migrations::POSTGRES)?;
        Ok((names, harness.into_inner()))
    });
    let (names, mut connection) = tokio::time::timeout(PATIENCE, migrating).await.map_err(failure::unavailable)??;
    connection.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK})")).await?;
    Ok(names)
}
