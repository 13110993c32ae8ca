//! Counts of certificates, kept as sums beside them: they are counted once, behind issuance and not by it.
//!
//! Rows are numbered by time, so what is counted is what lies before a row. A certificate that is recorded later than [`SETTLED`] after its
//! issue is missed until its day is counted anew, as every day is once it is over; an import asks for that. Certificates count in sums over
//! all days, which statistics read, and in those of their day of issue, which are taken out when the day is counted anew. Changes of state
//! are numbered by issuer: what is counted is what lies before a number, and beside it stands the state that each certificate counts with.
//!
//! Whoever counts holds the row of `certificate_counting`, so that one does at a time. What a transaction counts is read once, into tables
//! that are empty before it and behind it: read twice, rows that others commit in between would be in one sum and not in another.

use diesel::OptionalExtension;
use diesel::sql_types::{BigInt, Integer, Nullable};
use diesel_async::RunQueryDsl;

use super::statement::Bind;
use super::walk::Fragment;
use super::{Connection, dialect};
use crate::error::Result;
use crate::storage::row_numbers;
use crate::x509::Timestamp;

/// How long after its issue a certificate is recorded at the latest: longer than any transaction lasts, and replicas' clocks are apart.
const SETTLED: i64 = 60;
/// The most certificates or changes that one transaction counts: on SQLite whoever issues waits for it, some milliseconds.
const BATCH: i64 = 4000;
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

/// What a sum is over, as it is stored; migration 5 says so too.
pub(super) mod kind {
    /// By issuer row.
    pub(in super::super) const ISSUER: i16 = 0;
    /// By profile.
    pub(in super::super) const PROFILE: i16 = 1;
    /// By day of issue, counted since 1970.
    pub(in super::super) const ISSUED_DAY: i16 = 2;
    /// By day of end: of all certificates, and behind it, two apart for each state, of those on hold and of those revoked.
    pub(in super::super) const END_DAY: i16 = 3;
    /// By hour of end, likewise.
    pub(in super::super) const END_HOUR: i16 = 4;
}

/// Writes the sums of the rows of `source`, which has `issued_day`, `hour` (of the end), `issuer_id`, `profile` and `certificates`.
pub(super) fn sums(source: &str) -> String {
    let kinds = [
        (kind::ISSUER, "issuer_id", "''", ", issuer_id"),
        (kind::PROFILE, "0", "profile", ", profile"),
        (kind::ISSUED_DAY, "issued_day", "''", ""),
        (kind::END_DAY, "hour / 24", "''", ", hour / 24"),
        (kind::END_HOUR, "hour", "''", ", hour"),
    ];
    let each = kinds.map(|(kind, number, name, groups)| {
        format!(
            "SELECT issued_day, CAST({kind} AS SMALLINT) AS kind, CAST({number} AS BIGINT) AS number, {name} AS name, \
             CAST(SUM(certificates) AS BIGINT) AS certificates FROM {source} GROUP BY issued_day{groups}"
        )
    });
    each.join(" UNION ALL ")
}

/// Writes a group of certificates as [`sums`] reads it, of a select of `id`, `not_after`, `issuer_id` and `profile`.
pub(super) fn grouped(select: Fragment) -> Fragment {
    Fragment::new(
        "SELECT CAST((id >> 29) / 86400 AS INTEGER) AS issued_day, not_after / 3600 AS hour, issuer_id, profile, \
         COUNT(*) AS certificates, MAX(id) AS last FROM (",
    )
    .then(select)
    .sql(") AS counted GROUP BY 1, 2, 3, 4")
}

/// A number as read.
#[derive(Debug, diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// The end of a batch as read, and how many there are in it.
#[derive(Debug, diesel::QueryableByName)]
struct Batch {
    #[diesel(sql_type = BigInt)]
    last: i64,
    #[diesel(sql_type = BigInt)]
    size: i64,
}

/// A day that is to be counted anew, as read.
#[derive(Debug, diesel::QueryableByName)]
struct Day {
    #[diesel(sql_type = Integer)]
    issued_day: i32,
    #[diesel(sql_type = Nullable<BigInt>)]
    counted: Option<i64>,
}

/// An issuer with changes that are not counted, as read.
#[derive(Debug, diesel::QueryableByName)]
struct Changed {
    #[diesel(sql_type = Integer)]
    issuer_id: i32,
    #[diesel(sql_type = BigInt)]
    counted: i64,
    #[diesel(sql_type = BigInt)]
    last: i64,
}

/// Counts what came since the last time, a batch of it, or of a day anew; answers whether there is more.
pub(in super::super) async fn advance(connection: &mut Connection, now: Timestamp) -> Result<bool> {
    // Whoever else counts waits here, and goes on behind.
    let counted: Number = Fragment::new(format!(
        "SELECT counted AS number FROM certificate_counting WHERE id = 1{}",
        dialect::FOR_UPDATE
    ))
    .statement()
    .get_result(connection)
    .await?;
    let counted = counted.number;
    let settled = *row_numbers::certificates_of(now.unix().saturating_sub(SETTLED)).end();
    let batch = batch(connection, counted, settled).await?;
    if batch.size == 0 {
        return Ok(count_changes(connection).await? || recount(connection, counted).await?);
    }
    insert_sums(connection, "fresh_counts", counted, batch.last, "").await?;
    run(connection, &merge("certificate_counts", "fresh_counts", "WHERE TRUE"), vec![]).await?;
    run(connection, &merge_totals("fresh_counts", "certificates", "WHERE TRUE"), vec![]).await?;
    run(connection, "DELETE FROM fresh_counts", vec![]).await?;
    run(connection, "UPDATE certificate_counting SET counted = ? WHERE id = 1", vec![batch.last.into()]).await?;
    let (before, after) = (row_numbers::issued_at(counted) / DAY, row_numbers::issued_at(batch.last) / DAY);
    if before > 0 && after > before {
        // Long over when it is counted anew: what came late is there.
        ask_for(connection, before.saturating_sub(1), i64::MIN).await?;
    }
    if before > 0 && after > before.saturating_add(1) {
        // Nothing was issued on the day behind it, which would have asked.
        ask_for(connection, before, i64::MIN).await?;
    }
    Ok(true)
}

/// Finds the end of a batch of rows behind one up to another.
async fn batch(connection: &mut Connection, after: i64, last: i64) -> Result<Batch> {
    Fragment::new(
        "SELECT COALESCE(MAX(id), 0) AS last, COUNT(*) AS size FROM (SELECT id FROM certificates WHERE id > ? AND id <= ? \
         ORDER BY id LIMIT ?) AS batch",
    )
    .bind(after)
    .bind(last)
    .bind(BATCH)
    .statement()
    .get_result(connection)
    .await
    .map_err(Into::into)
}

/// Inserts the sums of the rows behind one up to another into a table of counts by day.
async fn insert_sums(connection: &mut Connection, table: &str, after: i64, last: i64, on_conflict: &str) -> Result<()> {
    let select = Fragment::new("SELECT id, not_after, issuer_id, profile FROM certificates WHERE id > ? AND id <= ?")
        .bind(after)
        .bind(last);
    // `WHERE` keeps SQLite from reading `ON` as that of a join.
    let insert = Fragment::new(format!(
        "INSERT INTO {table} (issued_day, kind, number, name, certificates) WITH source AS MATERIALIZED ("
    ))
    .then(grouped(select))
    .sql(&format!(
        ") SELECT issued_day, kind, number, name, certificates FROM ({}) AS sums WHERE TRUE {on_conflict}",
        sums("source")
    ));
    insert.statement().execute(connection).await?;
    Ok(())
}

/// What becomes of a count by day that is there.
fn added(table: &str) -> String {
    format!(
        "ON CONFLICT (issued_day, kind, number, name) \
         DO UPDATE SET certificates = {table}.certificates + excluded.certificates"
    )
}

/// Adds what one table of counts by day has to another one.
fn merge(table: &str, from: &str, condition: &str) -> String {
    format!(
        "INSERT INTO {table} (issued_day, kind, number, name, certificates) \
         SELECT issued_day, kind, number, name, certificates FROM {from} {condition} {}",
        added(table)
    )
}

/// Adds what a table of counts has to the sums over all days; `- certificates` takes it out.
fn merge_totals(from: &str, count: &str, condition: &str) -> String {
    format!(
        "INSERT INTO certificate_totals (kind, number, name, certificates) \
         SELECT kind, number, name, CAST(SUM({count}) AS BIGINT) FROM {from} {condition} GROUP BY kind, number, name \
         ON CONFLICT (kind, number, name) DO UPDATE SET certificates = certificate_totals.certificates + excluded.certificates"
    )
}

async fn run(connection: &mut Connection, sql: &str, binds: Vec<Bind>) -> Result<usize> {
    Ok(Fragment { sql: sql.to_owned(), binds }.statement().execute(connection).await?)
}

/// Counts a batch of changes of state of one issuer's certificates; answers whether there were any.
async fn count_changes(connection: &mut Connection) -> Result<bool> {
    let changed: Option<Changed> = Fragment::new(format!(
        "SELECT issuers.id AS issuer_id, {COUNTED_CHANGES} AS counted, revocations AS last FROM issuers \
         WHERE revocations > {COUNTED_CHANGES} ORDER BY issuers.id LIMIT 1"
    ))
    .statement()
    .get_result(connection)
    .await
    .optional()?;
    let Some(Changed { issuer_id, counted, last }) = changed else { return Ok(false) };
    let batch: Batch = Fragment::new(format!(
        "SELECT COALESCE(MAX(change_number), 0) AS last, COUNT(*) AS size FROM (SELECT change_number FROM certificates{} \
         WHERE issuer_id = ? AND change_number > ? AND change_number <= ? ORDER BY issuer_id, change_number LIMIT ?) AS batch",
        dialect::BY_CHANGE
    ))
    .bind(Some(issuer_id))
    .bind(counted)
    .bind(last)
    .bind(BATCH)
    .statement()
    .get_result(connection)
    .await?;
    // Numbers that no certificate has are those of serial numbers without one, or were left for a later change of the same certificate.
    let last = if batch.size < BATCH { last } else { batch.last };
    let fresh = format!(
        "INSERT INTO fresh_states (certificate_id, state, counted_state, not_after) \
         SELECT id, state, {}, not_after FROM certificates{} WHERE issuer_id = ? AND change_number > ? AND change_number <= ?",
        counted_state("certificates.id"),
        dialect::BY_CHANGE
    );
    run(connection, &fresh, vec![Some(issuer_id).into(), counted.into(), last.into()]).await?;
    run(
        connection,
        &merge_totals(&format!("({}) AS changes", changes("fresh_states")), "certificates", "WHERE TRUE"),
        vec![],
    )
    .await?;
    run(
        connection,
        "DELETE FROM counted_states WHERE certificate_id IN (SELECT certificate_id FROM fresh_states)",
        vec![],
    )
    .await?;
    let counted = "INSERT INTO counted_states (certificate_id, state) SELECT certificate_id, state FROM fresh_states WHERE state <> 0";
    run(connection, counted, vec![]).await?;
    run(connection, "DELETE FROM fresh_states", vec![]).await?;
    let counted = "INSERT INTO counted_changes (issuer_id, change_number) VALUES (?, ?) \
         ON CONFLICT (issuer_id) DO UPDATE SET change_number = excluded.change_number";
    run(connection, counted, vec![Some(issuer_id).into(), last.into()]).await?;
    Ok(true)
}

/// The last change of an issuer's certificates that is counted.
pub(super) const COUNTED_CHANGES: &str =
    "COALESCE((SELECT change_number FROM counted_changes WHERE counted_changes.issuer_id = issuers.id), 0)";

/// The state that a certificate counts with; `row` is its number.
pub(super) fn counted_state(row: &str) -> String {
    format!(
        "COALESCE((SELECT counted_states.state FROM counted_states WHERE counted_states.certificate_id = {row}), 0)"
    )
}

/// Selects what changes of state add to the sums: `source` has `state` as it is now, `counted_state` and `not_after`.
pub(super) fn changes(source: &str) -> String {
    let each = [(kind::END_DAY, DAY), (kind::END_HOUR, HOUR)].map(|(kind, seconds)| {
        [("state", 1), ("counted_state", -1)].map(|(state, count)| {
            format!(
                "SELECT CAST({kind} + 2 * {state} AS SMALLINT) AS kind, not_after / {seconds} AS number, '' AS name, \
                 {count} AS certificates FROM {source} WHERE {state} <> 0"
            )
        })
    });
    each.concat().join(" UNION ALL ")
}

/// Counts a batch of one of the days anew that are to be, and takes the new counts for the old ones at its end; answers whether there was one.
async fn recount(connection: &mut Connection, counted: i64) -> Result<bool> {
    // Locked: who asks for the day meanwhile waits, or is waited for.
    let day: Option<Day> = Fragment::new(format!(
        "SELECT issued_day, counted FROM uncounted_days ORDER BY issued_day LIMIT 1{}",
        dialect::FOR_UPDATE
    ))
    .statement()
    .get_result(connection)
    .await
    .optional()?;
    let Some(Day { issued_day, counted: done }) = day else { return Ok(false) };
    let of_day = || vec![Bind::from(Some(issued_day))];
    let begin = i64::from(issued_day).saturating_mul(DAY);
    let end = row_numbers::certificates_of(begin.saturating_add(DAY)).start().saturating_sub(1).min(counted);
    let done = match done {
        Some(done) => done,
        None => {
            run(connection, "DELETE FROM certificate_recounts WHERE issued_day = ?", of_day()).await?;
            row_numbers::certificates_of(begin).start().saturating_sub(1)
        }
    };
    let batch = batch(connection, done, end).await?;
    if batch.size > 0 {
        insert_sums(connection, "certificate_recounts", done, batch.last, &added("certificate_recounts")).await?;
    }
    if batch.size >= BATCH {
        let binds = vec![batch.last.into(), Some(issued_day).into()];
        run(connection, "UPDATE uncounted_days SET counted = ? WHERE issued_day = ?", binds).await?;
        return Ok(true);
    }
    run(connection, &merge_totals("certificate_counts", "-certificates", "WHERE issued_day = ?"), of_day()).await?;
    run(connection, &merge_totals("certificate_recounts", "certificates", "WHERE issued_day = ?"), of_day()).await?;
    run(connection, "DELETE FROM certificate_counts WHERE issued_day = ?", of_day()).await?;
    run(connection, &merge("certificate_counts", "certificate_recounts", "WHERE issued_day = ?"), of_day()).await?;
    run(connection, "DELETE FROM certificate_recounts WHERE issued_day = ?", of_day()).await?;
    run(connection, "DELETE FROM uncounted_days WHERE issued_day = ?", of_day()).await?;
    Ok(true)
}

/// Has the day of a certificate counted anew that was issued long before it is recorded.
pub(super) async fn came_late(connection: &mut Connection, row: i64) -> Result<()> {
    ask_for(connection, row_numbers::issued_at(row) / DAY, row).await
}

/// Has a day counted anew; what is counted of it already is not, if the row lies behind that.
async fn ask_for(connection: &mut Connection, day: i64, row: i64) -> Result<()> {
    // The row is locked even if it is there: who counts the day anew waits until what came late can be seen.
    let ask = "INSERT INTO uncounted_days (issued_day) VALUES (?) ON CONFLICT (issued_day) \
         DO UPDATE SET counted = CASE WHEN uncounted_days.counted < ? THEN uncounted_days.counted END";
    run(connection, ask, vec![Some(i32::try_from(day).unwrap_or(i32::MAX)).into(), row.into()]).await?;
    Ok(())
}
