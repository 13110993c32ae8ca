//! What stands in CRLs: revoked certificates page by page, changes since a base, serial numbers without a certificate.

use diesel::{BoolExpressionMethods, ExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;

use super::certificates::revoked_condition;
use super::{Connection, dialect};
use crate::error::Result;
use crate::storage::rows::{self, ChangedRow, RevokedRow, RevokedSerialRow};
use crate::storage::schema::{certificates, revoked_serials};
use crate::storage::{ChangedCertificate, RevokedCertificate, RevokedSerial};
use crate::x509::Timestamp;

/// The columns of an entry, which are all in the index that the pages are read from.
const ENTRY: (
    certificates::crl_shard,
    certificates::id,
    certificates::serial,
    certificates::revoked_at,
    certificates::revocation_reason,
    certificates::invalidity_date,
) = (
    certificates::crl_shard,
    certificates::id,
    certificates::serial,
    certificates::revoked_at,
    certificates::revocation_reason,
    certificates::invalidity_date,
);

/// Lists an issuer's certificates that are revoked or on hold and end at `not_after` or later, by shard and row.
pub(in super::super) async fn certificates(
    connection: &mut Connection,
    issuer_id: i32,
    shard: Option<i32>,
    not_after: Timestamp,
    (after_shard, after): (i32, i64),
    limit: u32,
) -> Result<Vec<RevokedCertificate>> {
    let entries = |limit: i64| {
        certificates::table
            .filter(certificates::issuer_id.eq(issuer_id))
            .filter(revoked_condition())
            .filter(certificates::not_after.ge(not_after.unix()))
            .order((certificates::crl_shard, certificates::id))
            .limit(limit)
            .select(ENTRY)
    };
    let present = shard.unwrap_or(after_shard);
    let after = if present == after_shard { after } else { 0 };
    let of_present = certificates::crl_shard.eq(present).and(certificates::id.gt(after));
    let mut rows: Vec<RevokedRow> = dialect::load(connection, entries(i64::from(limit)).filter(of_present)).await?;
    // The rest of the page from the shards that follow, asked for apart: SQLite would not turn a comparison of the pair into one range.
    let rest = i64::from(limit).saturating_sub(i64::try_from(rows.len()).unwrap_or(i64::MAX));
    if shard.is_none() && rest > 0 {
        let of_following = certificates::crl_shard.gt(present);
        let following: Vec<RevokedRow> = dialect::load(connection, entries(rest).filter(of_following)).await?;
        rows.extend(following);
    }
    rows.into_iter().map(rows::revoked_certificate).collect()
}

/// Lists an issuer's certificates whose last change of state comes after another, by its number.
pub(in super::super) async fn changes(
    connection: &mut Connection,
    issuer_id: i32,
    shard: Option<i32>,
    after: i64,
    limit: u32,
) -> Result<Vec<ChangedCertificate>> {
    let mut query = certificates::table
        .filter(certificates::issuer_id.eq(issuer_id))
        .filter(certificates::change_number.gt(after))
        .into_boxed();
    if let Some(shard) = shard {
        query = query.filter(certificates::crl_shard.eq(shard));
    }
    let rows: Vec<ChangedRow> = query
        .order(certificates::change_number)
        .limit(i64::from(limit))
        .select((
            certificates::change_number,
            certificates::serial,
            certificates::not_after,
            certificates::revoked_at,
            certificates::revocation_reason,
            certificates::invalidity_date,
        ))
        .load(connection)
        .await?;
    rows.into_iter().map(rows::changed_certificate).collect()
}

/// Lists the serial numbers that an issuer revoked before it was imported, by serial number.
pub(in super::super) async fn serials(
    connection: &mut Connection,
    issuer_id: i32,
    changed_after: i64,
    not_after: Timestamp,
    after: Vec<u8>,
    limit: u32,
) -> Result<Vec<RevokedSerial>> {
    let entries = revoked_serials::table
        .filter(revoked_serials::issuer_id.eq(issuer_id))
        .filter(revoked_serials::serial.gt(after))
        .filter(revoked_serials::change_number.gt(changed_after))
        .filter(revoked_serials::not_after.is_null().or(revoked_serials::not_after.ge(not_after.unix())))
        .order(revoked_serials::serial)
        .limit(i64::from(limit))
        .select((
            revoked_serials::serial,
            revoked_serials::revoked_at,
            revoked_serials::revocation_reason,
            revoked_serials::invalidity_date,
        ));
    let rows: Vec<RevokedSerialRow> = dialect::load(connection, entries).await?;
    rows.into_iter().map(rows::revoked_serial).collect()
}
