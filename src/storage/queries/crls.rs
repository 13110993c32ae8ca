//! Published CRLs, their numbers, and what decides which are due. What stands in them is in `revoked.rs`.

use std::sync::Arc;

use diesel::sql_types::{BigInt, Bool, Integer, Nullable};
use diesel::{BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;

use super::{Connection, audit, dialect, operation};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::rows::CrlRow;
use crate::storage::schema::{crl_scopes, issuers, published_crl_parts, published_crls};
use crate::storage::{AuditEvent, CrlCounters, CrlRecord, CrlSummary, failure};

/// How many octets one part of a CRL has: neither database nor driver ever holds more of it.
const PART: usize = 1 << 20;
/// How often a CRL is read anew that was replaced while it was read.
const ATTEMPTS: usize = 5;

/// Returns what decides which CRLs of an issuer are due.
pub(in super::super) async fn counters(connection: &mut Connection, issuer_id: i32) -> Result<CrlCounters> {
    let (revocations, crl_number, maximum_shard) = issuers::table
        .find(issuer_id)
        .select((issuers::revocations, issuers::crl_number, issuers::maximum_shard))
        .first(connection)
        .await
        .optional()?
        .ok_or_else(|| unknown(issuer_id))?;
    // Read after the count: a change in between is seen again the next time, and never missed.
    let last_changes: Vec<(i32, i64)> = crl_scopes::table
        .filter(crl_scopes::issuer_id.eq(issuer_id))
        .select((crl_scopes::shard, crl_scopes::last_change))
        .load(connection)
        .await?;
    Ok(CrlCounters { revocations, crl_number, maximum_shard, last_changes: last_changes.into_iter().collect() })
}

/// Makes an issuer's greatest shard at least this one.
pub(in super::super) async fn raise_maximum_shard(
    connection: &mut Connection,
    issuer_id: i32,
    shard: i32,
) -> Result<()> {
    // The generation before any issuer's row, as in every change of issuers.
    dialect::serialise_configuration(connection).await?;
    let lower = issuers::table.filter(issuers::id.eq(issuer_id).and(issuers::maximum_shard.lt(shard)));
    let raised = diesel::update(lower).set(issuers::maximum_shard.eq(shard)).execute(connection).await?;
    if raised > 0 {
        operation::raise_generation(connection).await?;
    }
    Ok(())
}

/// Takes the issuer's next CRL numbers and returns the last of them.
pub(in super::super) async fn take_numbers(connection: &mut Connection, issuer_id: i32, count: u32) -> Result<i64> {
    diesel::update(issuers::table.find(issuer_id))
        .set(issuers::crl_number.eq(issuers::crl_number + i64::from(count)))
        .returning(issuers::crl_number)
        .get_result(connection)
        .await
        .optional()?
        .ok_or_else(|| unknown(issuer_id))
}

fn unknown(issuer_id: i32) -> Error {
    Error::not_found(format!("there is no issuer with row `{issuer_id}`"))
}

/// Publishes CRLs, each unless one of the same shard and kind with the same or a greater number is there.
pub(in super::super) async fn publish(
    connection: &mut Connection,
    crls: Vec<Arc<CrlRecord>>,
    event: AuditEvent,
) -> Result<Vec<bool>> {
    let mut published = Vec::with_capacity(crls.len());
    for crl in &crls {
        published.push(publish_one(connection, crl).await?);
    }
    if published.contains(&true) {
        audit::append(connection, vec![event]).await?;
    }
    Ok(published)
}

async fn publish_one(connection: &mut Connection, crl: &CrlRecord) -> Result<bool> {
    let is_delta = crl.base_number.is_some();
    let written = diesel::sql_query(
        "INSERT INTO published_crls \
         (issuer_id, shard, is_delta, number, base_number, this_update, next_update, revocations, size) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (issuer_id, shard, is_delta) DO UPDATE SET \
         number = excluded.number, base_number = excluded.base_number, this_update = excluded.this_update, \
         next_update = excluded.next_update, revocations = excluded.revocations, size = excluded.size \
         WHERE published_crls.number < excluded.number",
    )
    .bind::<Integer, _>(crl.issuer_id)
    .bind::<Integer, _>(crl.shard)
    .bind::<Bool, _>(is_delta)
    .bind::<BigInt, _>(crl.number)
    .bind::<Nullable<BigInt>, _>(crl.base_number)
    .bind::<BigInt, _>(crl.this_update.unix())
    .bind::<BigInt, _>(crl.next_update.unix())
    .bind::<BigInt, _>(crl.revocations)
    .bind::<BigInt, _>(i64::try_from(crl.der.len()).unwrap_or(i64::MAX))
    .execute(connection)
    .await?;
    if written == 0 {
        return Ok(false);
    }
    let earlier = published_crl_parts::issuer_id
        .eq(crl.issuer_id)
        .and(published_crl_parts::shard.eq(crl.shard))
        .and(published_crl_parts::is_delta.eq(is_delta));
    diesel::delete(published_crl_parts::table.filter(earlier)).execute(connection).await?;
    for (part, octets) in (0_i32..).zip(crl.der.chunks(PART)) {
        diesel::insert_into(published_crl_parts::table)
            .values((
                published_crl_parts::issuer_id.eq(crl.issuer_id),
                published_crl_parts::shard.eq(crl.shard),
                published_crl_parts::is_delta.eq(is_delta),
                published_crl_parts::part.eq(part),
                published_crl_parts::number.eq(crl.number),
                published_crl_parts::der.eq(octets),
            ))
            .execute(connection)
            .await?;
    }
    Ok(true)
}

/// Lists an issuer's published CRLs by shard, without their octets.
pub(in super::super) async fn published(connection: &mut Connection, issuer_id: i32) -> Result<Vec<CrlSummary>> {
    let rows: Vec<CrlRow> = published_crls::table
        .filter(published_crls::issuer_id.eq(issuer_id))
        .order((published_crls::shard, published_crls::is_delta))
        .select(CrlRow::as_select())
        .load(connection)
        .await?;
    Ok(rows.into_iter().map(CrlSummary::from).collect())
}

/// Returns the published CRL, or delta CRL, of a shard of an issuer.
pub(in super::super) async fn current(
    connection: &mut Connection,
    issuer_id: i32,
    shard: i32,
    is_delta: bool,
) -> Result<Option<CrlRecord>> {
    for _attempt in 0..ATTEMPTS {
        let row: Option<CrlRow> = published_crls::table
            .find((issuer_id, shard, is_delta))
            .select(CrlRow::as_select())
            .first(connection)
            .await
            .optional()?;
        let Some(crl) = row.map(CrlSummary::from) else { return Ok(None) };
        let der = parts(connection, &crl).await?;
        // Fewer when another one was published in between.
        if der.len() == crl.size {
            return Ok(Some(CrlRecord {
                issuer_id,
                shard,
                base_number: crl.base_number,
                number: crl.number,
                this_update: crl.this_update,
                next_update: crl.next_update,
                revocations: crl.revocations,
                der,
            }));
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "the CRL is replaced again and again while it is read")
        .with_retry_after(failure::RETRY_AFTER_SECONDS))
}

async fn parts(connection: &mut Connection, crl: &CrlSummary) -> Result<Vec<u8>> {
    let mut der = Vec::with_capacity(crl.size);
    for part in 0_i32.. {
        if der.len() >= crl.size {
            break;
        }
        let octets: Option<Vec<u8>> = published_crl_parts::table
            .find((crl.issuer_id, crl.shard, crl.base_number.is_some(), part))
            .filter(published_crl_parts::number.eq(crl.number))
            .select(published_crl_parts::der)
            .first(connection)
            .await
            .optional()?;
        match octets {
            Some(octets) if !octets.is_empty() => der.extend_from_slice(&octets),
            Some(_) | None => break,
        }
    }
    Ok(der)
}
