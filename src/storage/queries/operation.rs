//! What keeps the service running: the generation of cached configuration, leases, clean-up, readiness.

use diesel::sql_types::{BigInt, Text};
use diesel::{ExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;

use super::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::schema::{__diesel_schema_migrations, generation, leases, settings};
use crate::storage::{failure, migrations};
use crate::x509::Timestamp;

/// The most idempotency keys deleted in one transaction.
pub(in super::super) const CLEAN_UP_BATCH: i64 = 2000;

/// Returns the generation.
pub(in super::super) async fn generation(connection: &mut Connection) -> Result<i64> {
    Ok(generation::table.select(generation::value).first(connection).await?)
}

/// Raises the generation; part of every transaction that changes issuers, profiles or tokens.
pub(super) async fn raise_generation(connection: &mut Connection) -> Result<()> {
    diesel::update(generation::table).set(generation::value.eq(generation::value + 1)).execute(connection).await?;
    Ok(())
}

/// Returns the setting of this name, and writes `initial` if there is none.
pub(in super::super) async fn setting_or_insert(
    connection: &mut Connection,
    name: String,
    initial: Vec<u8>,
) -> Result<Vec<u8>> {
    // A caller that loses waits for the winner's commit, and its next statement sees the winner's value.
    diesel::insert_into(settings::table)
        .values((settings::name.eq(&name), settings::value.eq(initial)))
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    Ok(settings::table.find(name).select(settings::value).first(connection).await?)
}

/// Takes or extends a lease.
pub(in super::super) async fn acquire_lease(
    connection: &mut Connection,
    name: String,
    holder: String,
    now: Timestamp,
    until: Timestamp,
) -> Result<bool> {
    let written = diesel::sql_query(
        "INSERT INTO leases (name, holder, ends_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE \
         SET holder = excluded.holder, ends_at = excluded.ends_at \
         WHERE leases.holder = excluded.holder OR leases.ends_at <= $4",
    )
    .bind::<Text, _>(name)
    .bind::<Text, _>(holder)
    .bind::<BigInt, _>(until.unix())
    .bind::<BigInt, _>(now.unix())
    .execute(connection)
    .await?;
    Ok(written == 1)
}

/// Deletes leases that ended.
pub(in super::super) async fn delete_ended_leases(connection: &mut Connection, now: Timestamp) -> Result<usize> {
    Ok(diesel::delete(leases::table.filter(leases::ends_at.le(now.unix()))).execute(connection).await?)
}

/// Deletes some of the idempotency keys that are free again, at most [`CLEAN_UP_BATCH`].
pub(in super::super) async fn delete_free_keys(connection: &mut Connection, now: Timestamp) -> Result<usize> {
    // The outer condition is checked again on a row that was claimed anew meanwhile (PostgreSQL, READ COMMITTED).
    Ok(diesel::sql_query(
        "DELETE FROM idempotency_keys WHERE (caller, key) IN (SELECT caller, key FROM idempotency_keys \
         WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) AND expires_at <= $3",
    )
    .bind::<BigInt, _>(now.unix())
    .bind::<BigInt, _>(CLEAN_UP_BATCH)
    .bind::<BigInt, _>(now.unix())
    .execute(connection)
    .await?)
}

/// Answers when every migration of this version has run.
pub(in super::super) async fn ready(connection: &mut Connection) -> Result<()> {
    let applied: Vec<String> =
        __diesel_schema_migrations::table.select(__diesel_schema_migrations::version).load(connection).await?;
    for expected in migrations::versions()? {
        if !applied.contains(&expected) {
            return Err(Error::new(ErrorKind::Unavailable, format!("the database lacks the migration `{expected}`"))
                .with_retry_after(failure::RETRY_AFTER_SECONDS));
        }
    }
    Ok(())
}
