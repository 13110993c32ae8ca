//! Counts over the inventory.

use std::collections::BTreeMap;

use diesel::sql_types::{BigInt, Integer, SmallInt, Text};
use diesel_async::RunQueryDsl;

use super::Connection;
use crate::error::Result;
use crate::storage::Statistics;
use crate::storage::rows::{STATE_ON_HOLD, STATE_REVOKED, STATE_VALID};
use crate::x509::Timestamp;

const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;
/// The first Monday of Unix time: 1970-01-05.
const FIRST_MONDAY: i64 = 4 * DAY;
const WEEKS_AHEAD: i64 = 53;
const DAYS_BACK: i64 = 30;

/// How many certificates share profile, issuer, state and whether they have expired.
#[derive(diesel::QueryableByName)]
struct Group {
    #[diesel(sql_type = Text)]
    profile: String,
    #[diesel(sql_type = Integer)]
    issuer_id: i32,
    #[diesel(sql_type = SmallInt)]
    state: i16,
    #[diesel(sql_type = BigInt)]
    expired: i64,
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// How many certificates fall into one period.
#[derive(diesel::QueryableByName)]
struct Period {
    #[diesel(sql_type = BigInt)]
    period: i64,
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Counts over the inventory. Grouping is written as SQL: both databases read `$1`, each value bound once and in order.
pub(in super::super) async fn statistics(connection: &mut Connection, now: Timestamp) -> Result<Statistics> {
    let now = now.unix();
    let groups: Vec<Group> = diesel::sql_query(
        "SELECT profile, issuer_id, state, expired, COUNT(*) AS count FROM (SELECT profile, issuer_id, state, \
         CAST(CASE WHEN not_after < $1 THEN 1 ELSE 0 END AS BIGINT) AS expired FROM certificates) AS rows \
         GROUP BY profile, issuer_id, state, expired",
    )
    .bind::<BigInt, _>(now)
    .load(connection)
    .await?;

    let monday = (now - FIRST_MONDAY).div_euclid(WEEK) * WEEK + FIRST_MONDAY;
    let weeks: Vec<Period> = diesel::sql_query(
        "SELECT (not_after - 345600) / 604800 AS period, COUNT(*) AS count FROM certificates \
         WHERE state = 0 AND not_after >= $1 AND not_after < $2 GROUP BY (not_after - 345600) / 604800",
    )
    .bind::<BigInt, _>(now)
    .bind::<BigInt, _>(monday + WEEKS_AHEAD * WEEK)
    .load(connection)
    .await?;

    let today = now.div_euclid(DAY) * DAY;
    let days: Vec<Period> = diesel::sql_query(
        "SELECT issued_at / 86400 AS period, COUNT(*) AS count FROM certificates \
         WHERE issued_at >= $1 AND issued_at < $2 GROUP BY issued_at / 86400",
    )
    .bind::<BigInt, _>(today - (DAYS_BACK - 1) * DAY)
    .bind::<BigInt, _>(today + DAY)
    .load(connection)
    .await?;

    let mut statistics = summed(groups);
    statistics.expiring_by_week =
        weeks.into_iter().map(|week| (week.period * WEEK + FIRST_MONDAY, week.count)).collect();
    statistics.issued_by_day = days.into_iter().map(|day| (day.period * DAY, day.count)).collect();
    Ok(statistics)
}

fn summed(groups: Vec<Group>) -> Statistics {
    let statuses = ["valid", "on_hold", "revoked", "expired"];
    let mut statistics = Statistics {
        by_status: statuses.into_iter().map(|status| (status.to_owned(), 0)).collect(),
        ..Statistics::default()
    };
    for group in groups {
        let status = match (group.state, group.expired) {
            (STATE_REVOKED, _) => "revoked",
            (_, 1) => "expired",
            (STATE_ON_HOLD, _) => "on_hold",
            (STATE_VALID, _) => "valid",
            _ => continue,
        };
        add(&mut statistics.by_status, status.to_owned(), group.count);
        add(&mut statistics.by_profile, group.profile, group.count);
        add(&mut statistics.by_issuer, group.issuer_id, group.count);
    }
    statistics
}

fn add<K: Ord>(counts: &mut BTreeMap<K, i64>, key: K, count: i64) {
    let total = counts.entry(key).or_default();
    *total = total.saturating_add(count);
}
