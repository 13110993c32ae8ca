//! Idempotency keys: one of many claims of a key wins, the others get the winner's answer.

use diesel::{ExpressionMethods, OptionalExtension, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;

use super::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::IdempotencyAnswer;
use crate::storage::rows::IdempotencyRow;
use crate::storage::schema::idempotency_keys;
use crate::x509::Timestamp;

/// Claims a key; answers the holder's row when it is held at `now`, and `None` when the claim won.
///
/// Issuance does this in groups, see `writer.rs`.
pub(in super::super) async fn claim(
    connection: &mut Connection,
    row: &IdempotencyRow,
    now: Timestamp,
) -> Result<Option<IdempotencyRow>> {
    let inserted = diesel::insert_into(idempotency_keys::table)
        .values(row.clone())
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    if inserted == 1 {
        return Ok(None);
    }
    let taken_over = diesel::update(
        idempotency_keys::table.find((&row.caller, &row.key)).filter(idempotency_keys::expires_at.le(now.unix())),
    )
    .set(row.clone())
    .execute(connection)
    .await?;
    if taken_over == 1 {
        return Ok(None);
    }
    let holder = find(connection, row.caller.clone(), row.key.clone()).await?;
    // Between the statements the key was free for a moment (PostgreSQL, clean-up): the same request may win next time.
    holder
        .map(Some)
        .ok_or_else(|| Error::new(ErrorKind::Unavailable, "the idempotency key is being released").with_retry_after(1))
}

/// Finds what a key led to, if it is still held at `now`.
pub(in super::super) async fn answer(
    connection: &mut Connection,
    caller: String,
    key: String,
    now: Timestamp,
) -> Result<Option<IdempotencyAnswer>> {
    find(connection, caller, key)
        .await?
        .filter(|row| row.expires_at > now.unix())
        .map(IdempotencyRow::into_answer)
        .transpose()
}

async fn find(connection: &mut Connection, caller: String, key: String) -> Result<Option<IdempotencyRow>> {
    Ok(idempotency_keys::table
        .find((caller, key))
        .select(IdempotencyRow::as_select())
        .first(connection)
        .await
        .optional()?)
}
