//! Counts of certificates by day, issuer and profile, kept beside them: they are counted once, behind issuance and not by it.
//!
//! Rows are numbered by time, so what is counted is what lies before a row. A certificate that is recorded later than [`SETTLED`] after its
//! issue is missed until its day is counted anew, as every day is once it is over; an import asks for that.

use diesel::OptionalExtension;
use diesel::sql_types::{BigInt, Integer};
use diesel_async::RunQueryDsl;

use super::walk::Fragment;
use super::{Connection, dialect};
use crate::error::Result;
use crate::storage::row_numbers;
use crate::x509::Timestamp;

/// How long after its issue a certificate is recorded at the latest: longer than any transaction lasts, and replicas' clocks are apart.
const SETTLED: i64 = 60;
/// The most certificates that one transaction counts: on SQLite whoever issues waits for it, some milliseconds.
const BATCH: i64 = 4000;
const DAY: i64 = 86_400;

/// A row as read.
#[derive(Debug, diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// A day as read.
#[derive(Debug, diesel::QueryableByName)]
struct Day {
    #[diesel(sql_type = Integer)]
    issued_day: i32,
}

/// Counts what came since the last time, a batch of it, or one day anew; answers whether there is more.
pub(in super::super) async fn advance(connection: &mut Connection, now: Timestamp) -> Result<bool> {
    // Whoever else counts waits here, and goes on behind.
    let counted: Row =
        Fragment::new(format!("SELECT counted AS id FROM certificate_counting WHERE id = 1{}", dialect::FOR_UPDATE))
            .statement()
            .get_result(connection)
            .await?;
    let settled = *row_numbers::certificates_of(now.unix().saturating_sub(SETTLED)).end();
    let batch: Row = Fragment::new(
        "SELECT COALESCE(MAX(id), 0) AS id FROM (SELECT id FROM certificates WHERE id > ? AND id <= ? ORDER BY id LIMIT ?) AS batch",
    )
    .bind(counted.id)
    .bind(settled)
    .bind(BATCH)
    .statement()
    .get_result(connection)
    .await?;
    if batch.id <= counted.id {
        return recount_one(connection, counted.id).await;
    }
    add(connection, counted.id, batch.id).await?;
    Fragment::new("UPDATE certificate_counting SET counted = ? WHERE id = 1")
        .bind(batch.id)
        .statement()
        .execute(connection)
        .await?;
    let (before, after) = (row_numbers::issued_at(counted.id) / DAY, row_numbers::issued_at(batch.id) / DAY);
    if before > 0 && after > before {
        // Long over when it is counted anew: what came late is there.
        ask_for(connection, before.saturating_sub(1)).await?;
    }
    Ok(true)
}

/// Adds the rows behind one up to another to the counts.
async fn add(connection: &mut Connection, after: i64, last: i64) -> Result<()> {
    // `WHERE` keeps SQLite from reading `ON` as that of a join.
    Fragment::new(
        "INSERT INTO certificate_counts (issued_day, expiry_day, issuer_id, profile, certificates) \
         SELECT CAST(issued_at / 86400 AS INTEGER), CAST(not_after / 86400 AS INTEGER), issuer_id, profile, COUNT(*) \
         FROM certificates WHERE id > ? AND id <= ? GROUP BY 1, 2, 3, 4 \
         ON CONFLICT (issued_day, expiry_day, issuer_id, profile) \
         DO UPDATE SET certificates = certificate_counts.certificates + excluded.certificates",
    )
    .bind(after)
    .bind(last)
    .statement()
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts one of the days anew that are to be; answers whether there was one.
async fn recount_one(connection: &mut Connection, counted: i64) -> Result<bool> {
    // Deleted first: who asks for the day meanwhile waits, or is waited for.
    let day: Option<Day> = Fragment::new(
        "DELETE FROM uncounted_days WHERE issued_day = (SELECT MIN(issued_day) FROM uncounted_days) RETURNING issued_day",
    )
    .statement()
    .get_result(connection)
    .await
    .optional()?;
    let Some(Day { issued_day }) = day else { return Ok(false) };
    let begin = i64::from(issued_day).saturating_mul(DAY);
    let first = *row_numbers::certificates_of(begin).start();
    let last = row_numbers::certificates_of(begin.saturating_add(DAY)).start().saturating_sub(1).min(counted);
    Fragment::new("DELETE FROM certificate_counts WHERE issued_day = ?")
        .bind(Some(issued_day))
        .statement()
        .execute(connection)
        .await?;
    add(connection, first.saturating_sub(1), last).await?;
    Ok(true)
}

/// Has the day of a certificate counted anew that was issued long before it is recorded.
pub(super) async fn came_late(connection: &mut Connection, issued_at: Timestamp) -> Result<()> {
    ask_for(connection, row_numbers::issued_at(*row_numbers::certificates_of(issued_at.unix()).start()) / DAY).await
}

async fn ask_for(connection: &mut Connection, day: i64) -> Result<()> {
    // The row is locked even if it is there: who counts the day anew waits until what came late can be seen.
    Fragment::new(
        "INSERT INTO uncounted_days (issued_day) VALUES (?) \
         ON CONFLICT (issued_day) DO UPDATE SET issued_day = excluded.issued_day",
    )
    .bind(Some(i32::try_from(day).unwrap_or(i32::MAX)))
    .statement()
    .execute(connection)
    .await?;
    Ok(())
}
