//! What OCSP asks: the status of a serial number, which ones changed, and the delegated responders.

use diesel::sql_types::{BigInt, Binary, Integer, Text};
use diesel::{ExpressionMethods, OptionalExtension, QueryDsl};
use diesel_async::RunQueryDsl;

use super::{Connection, audit, certificates as certificate_queries, dialect};
use crate::error::{Error, Result};
use crate::signer::sealing::Sealed;
use crate::storage::schema::{certificates, issuers, ocsp_responders, revoked_serials};
use crate::storage::{CertificateState, NewOcspResponder, OcspResponderRecord, SerialStatus, rows};
use crate::x509::{SerialNumber, Timestamp};

/// A certificate's state, and when, why and since when it was revoked.
type StatusRow = (i16, Option<i64>, Option<i16>, Option<i64>);
/// A responder as read: issuer, certificate, key-encryption key, sealed key, start and end of validity.
type ResponderRow = (i32, Vec<u8>, String, Vec<u8>, i64, i64);

/// Returns the status of a serial number of an issuer; `None` when the issuer never gave it.
pub(in super::super) async fn status(
    connection: &mut Connection,
    issuer_id: i32,
    serial: SerialNumber,
) -> Result<Option<SerialStatus>> {
    let known = certificates::table
        .filter(certificates::serial.eq(serial.as_bytes().to_vec()))
        .filter(certificates::issuer_id.eq(issuer_id))
        .select((
            certificates::state,
            certificates::revoked_at,
            certificates::revocation_reason,
            certificates::invalidity_date,
        ))
        .limit(1);
    let known: Vec<StatusRow> = dialect::load(connection, known).await?;
    if let Some((state, revoked_at, reason, invalidity_date)) = known.into_iter().next() {
        let revocation = rows::revocation(revoked_at, reason, invalidity_date)?;
        return Ok(Some(SerialStatus { state: rows::state(state)?, revocation }));
    }
    let revoked: Option<(i64, i16, Option<i64>)> = revoked_serials::table
        .find((issuer_id, serial.as_bytes()))
        .select((revoked_serials::revoked_at, revoked_serials::revocation_reason, revoked_serials::invalidity_date))
        .first(connection)
        .await
        .optional()?;
    let Some((revoked_at, reason, invalidity_date)) = revoked else { return Ok(None) };
    let revocation = rows::revocation(Some(revoked_at), Some(reason), invalidity_date)?;
    Ok(Some(SerialStatus { state: CertificateState::Revoked, revocation }))
}

/// Lists every issuer with its count of changes, by row.
pub(in super::super) async fn change_counts(connection: &mut Connection) -> Result<Vec<(i32, i64)>> {
    Ok(issuers::table.order(issuers::id).select((issuers::id, issuers::revocations)).load(connection).await?)
}

/// Lists the serial numbers whose state changed after an issuer's count was `after`, at most `limit` of either kind.
pub(in super::super) async fn changed_serials(
    connection: &mut Connection,
    issuer_id: i32,
    after: i64,
    limit: u32,
) -> Result<Vec<SerialNumber>> {
    let mut serials: Vec<Vec<u8>> = certificates::table
        .filter(certificates::issuer_id.eq(issuer_id))
        .filter(certificates::change_number.gt(after))
        .limit(i64::from(limit))
        .select(certificates::serial)
        .load(connection)
        .await?;
    let imported: Vec<Vec<u8>> = revoked_serials::table
        .filter(revoked_serials::issuer_id.eq(issuer_id))
        .filter(revoked_serials::change_number.gt(after))
        .limit(i64::from(limit))
        .select(revoked_serials::serial)
        .load(connection)
        .await?;
    serials.extend(imported);
    serials.iter().map(|serial| SerialNumber::from_bytes(serial)).collect()
}

/// Lists the responders by issuer row.
pub(in super::super) async fn responders(connection: &mut Connection) -> Result<Vec<OcspResponderRecord>> {
    let rows: Vec<ResponderRow> = ocsp_responders::table
        .order(ocsp_responders::issuer_id)
        .select((
            ocsp_responders::issuer_id,
            ocsp_responders::certificate,
            ocsp_responders::key_encryption_key_id,
            ocsp_responders::sealed,
            ocsp_responders::not_before,
            ocsp_responders::not_after,
        ))
        .load(connection)
        .await?;
    Ok(rows.into_iter().map(record).collect())
}

fn record(row: ResponderRow) -> OcspResponderRecord {
    let (issuer_id, certificate, key_encryption_key_id, ciphertext, not_before, not_after) = row;
    OcspResponderRecord {
        issuer_id,
        certificate,
        key: Sealed { key_encryption_key_id, ciphertext },
        not_before: Timestamp::from_unix(not_before),
        not_after: Timestamp::from_unix(not_after),
    }
}

/// Records a responder with its certificate and the event, in place of `replaces`; answers `false`, writing nothing, when another one
/// is there meanwhile.
pub(in super::super) async fn put_responder(
    connection: &mut Connection,
    new: NewOcspResponder,
    replaces: Option<Vec<u8>>,
) -> Result<bool> {
    let NewOcspResponder { responder, certificate, audit: event } = new;
    let written = match replaces {
        None => diesel::sql_query(
            "INSERT INTO ocsp_responders (issuer_id, certificate, key_encryption_key_id, sealed, not_before, not_after) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (issuer_id) DO NOTHING",
        )
        .bind::<Integer, _>(responder.issuer_id)
        .bind::<Binary, _>(responder.certificate)
        .bind::<Text, _>(responder.key.key_encryption_key_id)
        .bind::<Binary, _>(responder.key.ciphertext)
        .bind::<BigInt, _>(responder.not_before.unix())
        .bind::<BigInt, _>(responder.not_after.unix())
        .execute(connection)
        .await?,
        Some(replaced) => diesel::update(
            ocsp_responders::table
                .filter(ocsp_responders::issuer_id.eq(responder.issuer_id))
                .filter(ocsp_responders::certificate.eq(replaced)),
        )
        .set((
            ocsp_responders::certificate.eq(responder.certificate),
            ocsp_responders::key_encryption_key_id.eq(responder.key.key_encryption_key_id),
            ocsp_responders::sealed.eq(responder.key.ciphertext),
            ocsp_responders::not_before.eq(responder.not_before.unix()),
            ocsp_responders::not_after.eq(responder.not_after.unix()),
        ))
        .execute(connection)
        .await?,
    };
    if written == 0 {
        return Ok(false);
    }
    if certificate.issuer_id != responder.issuer_id {
        return Err(Error::internal("a responder's certificate is recorded under another issuer"));
    }
    certificate_queries::insert(connection, &certificate, responder.issuer_id).await?;
    audit::append(connection, vec![event]).await?;
    Ok(true)
}
