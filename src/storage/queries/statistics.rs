//! Counts over the inventory: from the sums that are kept (`counts.rs`), what was issued and changed since, and, of those that end within the
//! present hour, the index of ends. One statement reads all of it, so that whoever counts meanwhile moves nothing from one part to another.

use std::collections::BTreeMap;
use std::ops::Range;

use diesel::sql_types::{BigInt, SmallInt, Text};
use diesel_async::RunQueryDsl;

use super::counts::{self, COUNTED_CHANGES, kind};
use super::walk::Fragment;
use super::{Connection, dialect};
use crate::error::Result;
use crate::storage::rows::{STATE_ON_HOLD, STATE_REVOKED, STATE_VALID};
use crate::storage::{Statistics, row_numbers};
use crate::x509::Timestamp;

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;
/// The first Monday of Unix time: 1970-01-05.
const FIRST_MONDAY: i64 = 4 * DAY;
const WEEKS_AHEAD: i64 = 53;
const DAYS_BACK: i64 = 30;
/// The most certificates that are counted here because nobody has counted them yet, and the most that end within the present hour.
const UNCOUNTED: i64 = 10_000;
/// The most changes of state that are counted here because nobody has counted them yet.
const UNCOUNTED_CHANGES: i64 = 1000;

/// What is told beside the sums, with kinds of its own: how many were counted here, and up to where.
mod here {
    /// How many certificates, and the row of the last one.
    pub(super) const CERTIFICATES: i16 = 20;
    /// How many changes of state, and a second up to which there are no others.
    pub(super) const CHANGES: i16 = 21;
    /// How many certificates have ended within the present hour, and the last of their ends; behind it, one apart for each state, of those on
    /// hold and of those revoked.
    pub(super) const ENDED: i16 = 30;
}

/// A count as read.
#[derive(Debug, diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = SmallInt)]
    kind: i16,
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    certificates: i64,
}

/// Counts over the inventory.
pub(in super::super) async fn statistics(connection: &mut Connection, now: Timestamp) -> Result<Statistics> {
    let moment = Moment::of(now.unix());
    let counts: Vec<Count> = select(&moment).statement().load(connection).await?;
    Ok(summed(counts, &moment))
}

/// The periods that a moment lies in.
struct Moment {
    now: i64,
    today: i64,
    /// The hours of today that are over.
    hours: Range<i64>,
}

impl Moment {
    const fn of(now: i64) -> Self {
        let today = now.div_euclid(DAY);
        Self { now, today, hours: today * 24..now.div_euclid(HOUR) }
    }
}

/// Selects everything that counts.
fn select(moment: &Moment) -> Fragment {
    let totals = |condition: String| {
        Fragment::new(format!("SELECT kind, number, name, certificates FROM certificate_totals WHERE {condition}"))
    };
    // All of a range as one, by its least number: it stays within the range.
    let sum = |kind: i16, condition: &str| {
        Fragment::new(format!(
            "SELECT CAST({kind} AS SMALLINT), CAST(MIN(number) AS BIGINT), '', CAST(SUM(certificates) AS BIGINT) \
             FROM certificate_totals WHERE kind = {kind} AND {condition} HAVING COUNT(*) > 0"
        ))
    };
    let mut parts = vec![
        totals(format!("kind = {}", kind::ISSUER)),
        totals(format!("kind = {}", kind::PROFILE)),
        totals(format!("kind = {} AND number > ? AND number <= ?", kind::ISSUED_DAY))
            .bind(moment.today - DAYS_BACK)
            .bind(moment.today),
    ];
    // Behind the last week days count as one.
    let last = moment.today + 7 * (WEEKS_AHEAD + 1);
    for state in [STATE_VALID, STATE_ON_HOLD, STATE_REVOKED] {
        let (day, hour) = (kind::END_DAY + 2 * state, kind::END_HOUR + 2 * state);
        parts.push(sum(day, "number < ?").bind(moment.today));
        parts.push(totals(format!("kind = {day} AND number >= ? AND number < ?")).bind(moment.today).bind(last));
        parts.push(sum(day, "number >= ?").bind(last));
        parts.push(sum(hour, "number >= ? AND number < ?").bind(moment.hours.start).bind(moment.hours.end));
        parts.push(ended(state, moment));
    }
    parts.push(Fragment::new(format!(
        "SELECT kind, number, name, certificates FROM ({}) AS sums",
        counts::sums("uncounted")
    )));
    parts.push(Fragment::new(format!(
        "SELECT CAST({} AS SMALLINT), COALESCE(MAX(last), 0), '', CAST(COALESCE(SUM(certificates), 0) AS BIGINT) FROM uncounted",
        here::CERTIFICATES
    )));
    parts.push(Fragment::new(format!(
        "SELECT kind, number, name, CAST(SUM(certificates) AS BIGINT) FROM ({}) AS changes GROUP BY kind, number, name",
        counts::changes("uncounted_changes")
    )));
    parts.push(Fragment::new(format!(
        "SELECT CAST({} AS SMALLINT), COALESCE(MAX(at), 0), '', COUNT(*) FROM uncounted_changes",
        here::CHANGES
    )));
    let uncounted = format!(
        "SELECT id, not_after, issuer_id, profile FROM certificates \
         WHERE id > (SELECT counted FROM certificate_counting WHERE id = 1) ORDER BY id LIMIT {UNCOUNTED}"
    );
    // A change comes after the issue, and what it says of its moment is never later than that.
    let changed = format!(
        "SELECT changed.state, {} AS counted_state, changed.not_after, COALESCE(changed.revoked_at, changed.issued_at) AS at \
         FROM {} WHERE issuers.revocations > {COUNTED_CHANGES} LIMIT {UNCOUNTED_CHANGES}",
        counts::counted_state("changed.id"),
        dialect::changed_behind_counted(COUNTED_CHANGES, UNCOUNTED_CHANGES)
    );
    let mut select = Fragment::new("WITH uncounted AS MATERIALIZED (")
        .then(counts::grouped(Fragment::new(uncounted)))
        .sql(&format!("), uncounted_changes AS MATERIALIZED ({changed}) "));
    for (place, part) in parts.into_iter().enumerate() {
        select = select.sql(if place == 0 { "" } else { " UNION ALL " }).then(part);
    }
    select
}

/// Counts those that have ended within the present hour, over the index of ends: of all, or of a state that is not that of valid ones.
fn ended(state: i16, moment: &Moment) -> Fragment {
    let condition = if state == STATE_VALID { String::new() } else { format!("state <> 0 AND state = {state} AND ") };
    let order = if state == STATE_VALID { "not_after" } else { "state, not_after" };
    Fragment::new(format!(
        "SELECT CAST({} AS SMALLINT), COALESCE(MAX(not_after), 0), '', COUNT(*) FROM (SELECT not_after FROM certificates \
         WHERE {condition}not_after >= ? AND not_after < ? ORDER BY {order} LIMIT {UNCOUNTED}) AS ended_{state}",
        here::ENDED + state
    ))
    .bind(moment.hours.end * HOUR)
    .bind(moment.now)
}

/// Certificates of a state, or of all states, by their ends.
#[derive(Debug, Default)]
struct Ends {
    /// Those that ended before today.
    before_today: i64,
    /// Those that have ended today.
    today: i64,
    /// Those that end today or later, by day.
    days: BTreeMap<i64, i64>,
}

impl Ends {
    const fn ended(&self) -> i64 {
        self.before_today + self.today
    }

    fn in_force(&self) -> i64 {
        self.days.values().sum::<i64>() - self.today
    }
}

/// Adds up what was read.
fn summed(counts: Vec<Count>, moment: &Moment) -> Statistics {
    let mut statistics = Statistics::default();
    // By state; what stands under that of valid ones is of all.
    let mut ends: BTreeMap<i16, Ends> = BTreeMap::new();
    let mut until = |second: i64| {
        statistics.counted_until = Some(statistics.counted_until.map_or(second, |earlier| earlier.min(second)));
    };
    let mut issued: BTreeMap<i64, i64> = BTreeMap::new();
    for Count { kind, number, name, certificates } in counts {
        match kind {
            kind::ISSUER => add(&mut statistics.by_issuer, i32::try_from(number).unwrap_or(i32::MAX), certificates),
            kind::PROFILE => add(&mut statistics.by_profile, name, certificates),
            kind::ISSUED_DAY => add(&mut issued, number, certificates),
            here::CERTIFICATES if certificates >= UNCOUNTED => until(row_numbers::issued_at(number)),
            here::CHANGES if certificates >= UNCOUNTED_CHANGES => until(number),
            here::CERTIFICATES | here::CHANGES => {}
            here::ENDED.. => {
                ends.entry(kind - here::ENDED).or_default().today += certificates;
                if certificates >= UNCOUNTED {
                    until(number);
                }
            }
            end => {
                let ends = ends.entry((end - kind::END_DAY) / 2).or_default();
                let is_hour = (end - kind::END_DAY) % 2 == 1;
                match (is_hour, number < moment.today) {
                    (true, _) if moment.hours.contains(&number) => ends.today += certificates,
                    (true, _) => {}
                    (false, true) => ends.before_today += certificates,
                    (false, false) => add(&mut ends.days, number, certificates),
                }
            }
        }
    }
    statistics.issued_by_day = issued
        .into_iter()
        .filter(|(day, _count)| (moment.today - DAYS_BACK + 1..=moment.today).contains(day))
        .map(|(day, count)| (day * DAY, count))
        .collect();
    let [all, on_hold, revoked] =
        [STATE_VALID, STATE_ON_HOLD, STATE_REVOKED].map(|state| ends.remove(&state).unwrap_or_default());
    let total: i64 = statistics.by_issuer.values().sum();
    let by_status = [
        ("valid", total - all.ended() - on_hold.in_force() - revoked.in_force()),
        ("on_hold", on_hold.in_force()),
        ("revoked", revoked.ended() + revoked.in_force()),
        ("expired", all.ended() - revoked.ended()),
    ];
    // What was revoked or has ended since it was counted may be more than what was counted.
    statistics.by_status = by_status.into_iter().map(|(status, count)| (status.to_owned(), count.max(0))).collect();
    statistics.expiring_by_week = expiring(&all, &[on_hold, revoked], moment);
    statistics
}

/// Counts valid certificates by the week of their end.
fn expiring(all: &Ends, not_valid: &[Ends], moment: &Moment) -> BTreeMap<i64, i64> {
    let mut weeks: BTreeMap<i64, i64> = BTreeMap::new();
    for (sign, ends) in std::iter::once((1, all)).chain(not_valid.iter().map(|ends| (-1, ends))) {
        for (day, count) in &ends.days {
            add(&mut weeks, week_of(day * DAY), sign * count);
        }
        add(&mut weeks, week_of(moment.now), -sign * ends.today);
    }
    let end = week_of(moment.now) + WEEKS_AHEAD;
    weeks
        .into_iter()
        .filter(|(week, count)| *week < end && *count > 0)
        .map(|(week, count)| (week * WEEK + FIRST_MONDAY, count))
        .collect()
}

const fn week_of(second: i64) -> i64 {
    (second - FIRST_MONDAY).div_euclid(WEEK)
}

fn add<K: Ord>(counts: &mut BTreeMap<K, i64>, key: K, count: i64) {
    let total = counts.entry(key).or_default();
    *total = total.saturating_add(count);
}
