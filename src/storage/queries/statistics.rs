//! Counts over the inventory: from the counts that are kept by day (`counts.rs`), what was issued since, and the indexes of what is revoked.

use std::collections::BTreeMap;

use diesel::sql_types::{BigInt, Integer, SmallInt, Text};
use diesel_async::RunQueryDsl;

use super::Connection;
use super::walk::Fragment;
use crate::error::Result;
use crate::storage::rows::{STATE_ON_HOLD, STATE_REVOKED};
use crate::storage::{Statistics, row_numbers};
use crate::x509::Timestamp;

const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;
/// The first Monday of Unix time: 1970-01-05.
const FIRST_MONDAY: i64 = 4 * DAY;
const WEEKS_AHEAD: i64 = 53;
const DAYS_BACK: i64 = 30;
/// The most certificates that are counted here because nobody has counted them yet.
const UNCOUNTED: i64 = 20_000;

/// How many certificates share profile, issuer, and the days of issue and end.
#[derive(Debug, diesel::QueryableByName)]
struct Group {
    #[diesel(sql_type = Integer)]
    issued_day: i32,
    #[diesel(sql_type = Integer)]
    expiry_day: i32,
    #[diesel(sql_type = Integer)]
    issuer_id: i32,
    #[diesel(sql_type = Text)]
    profile: String,
    #[diesel(sql_type = BigInt)]
    count: i64,
    /// The last row of the group.
    #[diesel(sql_type = BigInt)]
    last: i64,
}

/// How many certificates that are not valid share a state and a week of their end; of those that have ended the week is -1.
#[derive(Debug, diesel::QueryableByName)]
struct StateGroup {
    #[diesel(sql_type = SmallInt)]
    state: i16,
    #[diesel(sql_type = BigInt)]
    week: i64,
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// A number as read.
#[derive(Debug, diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// Counts over the inventory.
pub(in super::super) async fn statistics(connection: &mut Connection, now: Timestamp) -> Result<Statistics> {
    let now = now.unix();
    let today = now.div_euclid(DAY);
    let mut groups = counted(connection, today).await?;
    let (uncounted, counted_until) = uncounted(connection).await?;
    groups.extend(uncounted);
    // Of those that end today only the index knows which have ended.
    let ended_today: Number = Fragment::new(
        "SELECT COUNT(*) AS number FROM (SELECT 1 FROM certificates WHERE not_after >= ? AND not_after < ? \
         ORDER BY not_after) AS ended",
    )
    .bind(today * DAY)
    .bind(now)
    .statement()
    .get_result(connection)
    .await?;
    let changed = not_valid(connection, now).await?;

    let mut statistics = Statistics { counted_until, ..Statistics::default() };
    let mut ended = ended_today.number;
    let mut weeks: BTreeMap<i64, i64> = BTreeMap::new();
    *weeks.entry(week_of(now)).or_default() -= ended_today.number;
    for group in groups {
        let (issued, expiry) = (i64::from(group.issued_day), i64::from(group.expiry_day));
        add(&mut statistics.by_profile, group.profile, group.count);
        add(&mut statistics.by_issuer, group.issuer_id, group.count);
        if issued > today - DAYS_BACK && issued <= today {
            add(&mut statistics.issued_by_day, issued * DAY, group.count);
        }
        if expiry < today {
            ended += group.count;
        } else {
            add(&mut weeks, week_of(expiry * DAY), group.count);
        }
    }
    let of_state = |state: i16, has_ended: bool| -> i64 {
        changed
            .iter()
            .filter(|group| group.state == state && (group.week < 0) == has_ended)
            .map(|group| group.count)
            .sum()
    };
    let total: i64 = statistics.by_issuer.values().sum();
    let on_hold = of_state(STATE_ON_HOLD, false);
    let revoked = (of_state(STATE_REVOKED, false), of_state(STATE_REVOKED, true));
    let by_status = [
        ("valid", total - ended - on_hold - revoked.0),
        ("on_hold", on_hold),
        ("revoked", revoked.0 + revoked.1),
        ("expired", ended - revoked.1),
    ];
    // What was revoked or has ended since it was counted may be more than what was counted.
    statistics.by_status = by_status.into_iter().map(|(status, count)| (status.to_owned(), count.max(0))).collect();
    for group in changed.iter().filter(|group| group.week >= 0) {
        *weeks.entry(group.week).or_default() -= group.count;
    }
    let end = week_of(now) + WEEKS_AHEAD;
    statistics.expiring_by_week = weeks
        .into_iter()
        .filter(|(week, count)| *week < end && *count > 0)
        .map(|(week, count)| (week * WEEK + FIRST_MONDAY, count))
        .collect();
    Ok(statistics)
}

const fn week_of(second: i64) -> i64 {
    (second - FIRST_MONDAY).div_euclid(WEEK)
}

/// Reads what was counted. Days of issue long ago count together, and so do ends that are over.
async fn counted(connection: &mut Connection, today: i64) -> Result<Vec<Group>> {
    let first = today - DAYS_BACK + 1;
    let sum = "CAST(SUM(certificates) AS BIGINT) AS count, CAST(0 AS BIGINT) AS last FROM certificate_counts";
    Fragment::new(format!(
        "SELECT CASE WHEN issued_day >= ? THEN issued_day ELSE 0 END AS issued_day, \
         CASE WHEN expiry_day >= ? THEN expiry_day ELSE -1 END AS expiry_day, issuer_id, profile, {sum} GROUP BY 1, 2, 3, 4"
    ))
    .bind(first)
    .bind(today)
    .statement()
    .load(connection)
    .await
    .map_err(Into::into)
}

/// Counts what nobody has counted yet, and returns the second up to which it did when that was not all.
async fn uncounted(connection: &mut Connection) -> Result<(Vec<Group>, Option<i64>)> {
    // The row by a select of its own: it is read first, and the index from there.
    let groups: Vec<Group> = Fragment::new(format!(
        "SELECT CAST(issued_at / 86400 AS INTEGER) AS issued_day, CAST(not_after / 86400 AS INTEGER) AS expiry_day, \
         issuer_id, profile, COUNT(*) AS count, MAX(id) AS last FROM (SELECT id, issued_at, not_after, issuer_id, profile \
         FROM certificates WHERE id > (SELECT counted FROM certificate_counting WHERE id = 1) ORDER BY id LIMIT {UNCOUNTED}) \
         AS uncounted GROUP BY 1, 2, 3, 4"
    ))
    .statement()
    .load(connection)
    .await?;
    let count: i64 = groups.iter().map(|group| group.count).sum();
    let last = groups.iter().map(|group| group.last).max().filter(|_last| count >= UNCOUNTED);
    Ok((groups, last.map(row_numbers::issued_at)))
}

/// Counts what is revoked or on hold, which is little, over an index of it alone.
async fn not_valid(connection: &mut Connection, now: i64) -> Result<Vec<StateGroup>> {
    let mut groups = Vec::new();
    for state in [STATE_ON_HOLD, STATE_REVOKED] {
        let found: Vec<StateGroup> = Fragment::new(format!(
            "SELECT CAST({state} AS SMALLINT) AS state, CASE WHEN not_after < ? THEN -1 ELSE (not_after - 345600) / 604800 END AS week, \
             COUNT(*) AS count FROM certificates WHERE state <> 0 AND state = {state} GROUP BY 2"
        ))
        .bind(now)
        .statement()
        .load(connection)
        .await?;
        groups.extend(found);
    }
    Ok(groups)
}

fn add<K: Ord>(counts: &mut BTreeMap<K, i64>, key: K, count: i64) {
    let total = counts.entry(key).or_default();
    *total = total.saturating_add(count);
}
