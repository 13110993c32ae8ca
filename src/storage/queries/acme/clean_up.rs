//! Clean-up, in batches that wait for nobody's locks. Each function answers how many rows it saw to: fewer than [`BATCH`] when none is left.

use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;

use super::accounts::Row;
use super::{Connection, Statement, dialect, orders};
use crate::error::Result;
use crate::storage::rows::acme::encode;
use crate::x509::Timestamp;

/// The most rows of one transaction.
pub(in super::super::super) const BATCH: i64 = 1000;

/// A row number as read from the links of orders.
#[derive(Debug, diesel::QueryableByName)]
struct Linked {
    #[diesel(sql_type = BigInt)]
    authorization_id: i64,
}

/// Deletes rate limits that hold nobody back any more.
pub(in super::super::super) async fn rate_limits(connection: &mut Connection, now: Timestamp) -> Result<usize> {
    let now_ms = now.unix().saturating_mul(1000);
    Ok(Statement::new(format!(
        "WITH due AS MATERIALIZED (SELECT key FROM acme_rate_limits WHERE arrival <= ? ORDER BY arrival LIMIT ?{}) \
         DELETE FROM acme_rate_limits WHERE arrival <= ? AND key IN (SELECT key FROM due)",
        dialect::FOR_UPDATE_SKIP_LOCKED
    ))
    .bind(now_ms)
    .bind(BATCH)
    .bind(now_ms)
    .execute(connection)
    .await?)
}

/// Makes orders invalid that were not finalized in time.
pub(in super::super::super) async fn expire_orders(connection: &mut Connection, now: Timestamp) -> Result<usize> {
    Ok(Statement::new(format!(
        "WITH due AS MATERIALIZED (SELECT id FROM acme_orders WHERE status = 0 AND expires_at <= ? \
         ORDER BY expires_at LIMIT ?{}) UPDATE acme_orders SET status = 3, error = ? \
         WHERE status = 0 AND id IN (SELECT id FROM due)",
        dialect::FOR_UPDATE_SKIP_LOCKED
    ))
    .bind(now.unix())
    .bind(BATCH)
    .bind(encode("a problem", &orders::expired())?)
    .execute(connection)
    .await?)
}

/// Deletes orders that ended before a moment, and authorizations that only they showed.
pub(in super::super::super) async fn orders(connection: &mut Connection, before: Timestamp) -> Result<usize> {
    let deleted: Vec<Row> = Statement::new(format!(
        "WITH due AS MATERIALIZED (SELECT id FROM acme_orders WHERE status >= 2 AND ends_at < ? \
         ORDER BY ends_at LIMIT ?{}) DELETE FROM acme_orders WHERE status >= 2 AND id IN (SELECT id FROM due) RETURNING id",
        dialect::FOR_UPDATE_SKIP_LOCKED
    ))
    .bind(before.unix())
    .bind(BATCH)
    .load(connection)
    .await?;
    if deleted.is_empty() {
        return Ok(0);
    }
    let linked: Vec<Linked> = Statement::new(format!(
        "DELETE FROM acme_order_authorizations WHERE order_id {} RETURNING authorization_id",
        dialect::IN_NUMBERS
    ))
    .bind(dialect::List::numbers(deleted.iter().map(|row| row.id).collect())?)
    .load(connection)
    .await?;
    // One that was not looked at yet when its time comes is found by its age.
    Statement::new(format!(
        "DELETE FROM acme_authorizations WHERE retained AND id {} AND NOT EXISTS \
         (SELECT 1 FROM acme_order_authorizations WHERE authorization_id = acme_authorizations.id)",
        dialect::IN_NUMBERS
    ))
    .bind(dialect::List::numbers(linked.iter().map(|row| row.authorization_id).collect())?)
    .execute(connection)
    .await?;
    Ok(deleted.len())
}

/// Deletes authorizations that ended before a moment and that no order shows; those that one shows are not looked at again.
pub(in super::super::super) async fn authorizations(connection: &mut Connection, before: Timestamp) -> Result<usize> {
    let ended: Vec<Row> = Statement::new(format!(
        "SELECT id FROM acme_authorizations WHERE NOT retained AND expires_at < ? ORDER BY expires_at LIMIT ?{}",
        dialect::FOR_UPDATE_SKIP_LOCKED
    ))
    .bind(before.unix())
    .bind(BATCH)
    .load(connection)
    .await?;
    if ended.is_empty() {
        return Ok(0);
    }
    let ids = || dialect::List::numbers(ended.iter().map(|row| row.id).collect());
    Statement::new(format!(
        "DELETE FROM acme_authorizations WHERE id {} AND NOT EXISTS \
         (SELECT 1 FROM acme_order_authorizations WHERE authorization_id = acme_authorizations.id)",
        dialect::IN_NUMBERS
    ))
    .bind(ids()?)
    .execute(connection)
    .await?;
    Statement::new(format!("UPDATE acme_authorizations SET retained = TRUE WHERE id {}", dialect::IN_NUMBERS))
        .bind(ids()?)
        .execute(connection)
        .await?;
    Ok(ended.len())
}
