//! Rate limits by the generic cell rate algorithm: each limit is the theoretical arrival time of the next one, in milliseconds. One is
//! admitted when that runs ahead of the clock by no more than the period less its cost, and moves it on by its cost.

use std::collections::BTreeSet;

use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;

use super::{Connection, Statement, dialect};
use crate::error::Result;
use crate::storage::{RateLimitCharge, RateLimited};

/// The key of a limit.
#[derive(Debug, diesel::QueryableByName)]
struct Key {
    #[diesel(sql_type = Text)]
    key: String,
}

/// A limit as read.
#[derive(Debug, diesel::QueryableByName)]
struct Arrival {
    #[diesel(sql_type = Text)]
    key: String,
    #[diesel(sql_type = BigInt)]
    arrival: i64,
}

/// Charges limits until one is used up; the transaction must then be undone.
pub(in super::super::super) async fn charge(
    connection: &mut Connection,
    charges: Vec<RateLimitCharge>,
) -> Result<Option<RateLimited>> {
    let charges = by_key(charges);
    let admitted = charge_all(connection, &charges).await?;
    let refused: Vec<RateLimitCharge> = charges.into_iter().filter(|charge| !admitted.contains(&charge.key)).collect();
    check(connection, refused).await
}

/// Charges those of the limits that are not used up.
pub(super) async fn charge_where_possible(connection: &mut Connection, charges: Vec<RateLimitCharge>) -> Result<()> {
    charge_all(connection, &by_key(charges)).await.map(|_admitted| ())
}

/// Every transaction locks limits in the order of their keys, each once.
fn by_key(mut charges: Vec<RateLimitCharge>) -> Vec<RateLimitCharge> {
    charges.sort_by(|one, other| one.key.cmp(&other.key));
    charges.dedup_by(|one, other| one.key == other.key);
    charges
}

fn now(charge: &RateLimitCharge) -> i64 {
    charge.now_ms
}

/// The latest arrival time at which a charge is admitted.
pub(super) fn latest(charge: &RateLimitCharge) -> i64 {
    // What costs more than the period would never be admitted: it takes all of it.
    charge.now_ms.saturating_add(charge.period_ms).saturating_sub(charge.cost_ms.min(charge.period_ms))
}

/// Charges those of the limits that are not used up, and returns their keys. Every key stands in `charges` once.
async fn charge_all(connection: &mut Connection, charges: &[RateLimitCharge]) -> Result<BTreeSet<String>> {
    if charges.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows = vec!["(?, ?)"; charges.len()].join(", ");
    let by_key = format!("CASE acme_rate_limits.key {} END", vec!["WHEN ? THEN ?"; charges.len()].join(" "));
    // What is inserted for a new key is the moment and the cost: the time that is used up already comes on top of both.
    let mut statement = Statement::new(format!(
        "INSERT INTO acme_rate_limits (key, arrival) VALUES {rows} ON CONFLICT (key) DO UPDATE SET arrival = excluded.arrival + \
         CASE WHEN acme_rate_limits.arrival > {by_key} THEN acme_rate_limits.arrival - {by_key} ELSE 0 END \
         WHERE acme_rate_limits.arrival <= {by_key} RETURNING key"
    ));
    for charge in charges {
        statement = statement.bind(charge.key.as_str()).bind(charge.now_ms.saturating_add(charge.cost_ms));
    }
    for value in [now, now, latest] {
        for charge in charges {
            statement = statement.bind(charge.key.as_str()).bind(value(charge));
        }
    }
    let admitted: Vec<Key> = statement.load(connection).await?;
    Ok(admitted.into_iter().map(|row| row.key).collect())
}

/// Tells which of the limits is used up: the one that is so for longest.
pub(in super::super::super) async fn check(
    connection: &mut Connection,
    charges: Vec<RateLimitCharge>,
) -> Result<Option<RateLimited>> {
    if charges.is_empty() {
        return Ok(None);
    }
    let keys = charges.iter().map(|charge| charge.key.clone()).collect();
    let arrivals: Vec<Arrival> =
        Statement::new(format!("SELECT key, arrival FROM acme_rate_limits WHERE key {}", dialect::IN_TEXTS))
            .bind(dialect::List::texts(keys)?)
            .load(connection)
            .await?;
    let limited = charges.iter().filter_map(|charge| {
        let arrival = arrivals.iter().find(|arrival| arrival.key == charge.key)?.arrival;
        let excess = arrival.saturating_sub(latest(charge));
        (excess > 0).then(|| RateLimited { limit: charge.limit, retry_at_ms: charge.now_ms.saturating_add(excess) })
    });
    Ok(limited.max_by_key(|limited| limited.retry_at_ms))
}
