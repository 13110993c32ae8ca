//! Certificates: insert, find by serial number, change of state, the block list. Listings are in `search.rs`.

use diesel::{BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;

use super::{Backend, Connection, audit};
use crate::error::Result;
use crate::storage::rows::{self, CertificateRow, NewCertificateRow, RevokedRow};
use crate::storage::schema::{blocked_keys, certificate_labels, certificate_names, certificates, issuers};
use crate::storage::{
    AuditEvent, CertificateRecord, CertificateState, NewCertificate, RevokedCertificate, StateChange, StateChanged,
    names,
};
use crate::x509::crl::RevocationReason;
use crate::x509::{SerialNumber, Timestamp};

/// Inserts one certificate with its names and labels, and returns its row. Issuance does this in groups, see `writer.rs`.
pub(in super::super) async fn insert(
    connection: &mut Connection,
    certificate: &NewCertificate,
    issuer_id: i32,
) -> Result<i64> {
    let id: i64 = diesel::insert_into(certificates::table)
        .values(NewCertificateRow::new(certificate, issuer_id)?)
        .returning(certificates::id)
        .get_result(connection)
        .await?;
    for name in &certificate.names {
        diesel::insert_into(certificate_names::table)
            .values((
                certificate_names::certificate_id.eq(id),
                certificate_names::name_type.eq(names::type_code(name.name_type())),
                certificate_names::search_key.eq(names::search_key(name)),
            ))
            .execute(connection)
            .await?;
    }
    for (key, value) in &certificate.labels {
        diesel::insert_into(certificate_labels::table)
            .values((
                certificate_labels::certificate_id.eq(id),
                certificate_labels::key.eq(key),
                certificate_labels::value.eq(value),
            ))
            .execute(connection)
            .await?;
    }
    Ok(id)
}

/// Finds a certificate by serial number.
pub(in super::super) async fn by_serial(
    connection: &mut Connection,
    serial: &SerialNumber,
) -> Result<Option<CertificateRecord>> {
    let row: Option<CertificateRow> = certificates::table
        .filter(certificates::serial.eq(serial.as_bytes()))
        .select(CertificateRow::as_select())
        .first(connection)
        .await
        .optional()?;
    row.map(CertificateRow::into_record).transpose()
}

/// Whether a key is on the block list.
pub(in super::super) async fn key_is_blocked(connection: &mut Connection, spki_sha256: [u8; 32]) -> Result<bool> {
    let found: Option<i64> = blocked_keys::table
        .filter(blocked_keys::spki_sha256.eq(spki_sha256.as_slice()))
        .select(blocked_keys::blocked_at)
        .first(connection)
        .await
        .optional()?;
    Ok(found.is_some())
}

/// Changes a certificate's state by one conditional statement; when that changed a row, counts it and writes the event.
pub(in super::super) async fn change_state(
    connection: &mut Connection,
    change: StateChange,
    event: AuditEvent,
) -> Result<StateChanged> {
    let Some(row) = update_state(connection, &change).await? else {
        return unchanged(connection, change).await;
    };
    diesel::update(issuers::table.find(row.issuer_id()))
        .set(issuers::revocations.eq(issuers::revocations + 1))
        .execute(connection)
        .await?;
    if let (true, Some(revocation)) = (change.block_key, change.revocation) {
        diesel::insert_into(blocked_keys::table)
            .values((
                blocked_keys::spki_sha256.eq(row.spki_sha256()),
                blocked_keys::blocked_at.eq(revocation.revoked_at.unix()),
            ))
            .on_conflict_do_nothing()
            .execute(connection)
            .await?;
    }
    audit::append(connection, vec![event]).await?;
    Ok(StateChanged::Changed(Box::new(row.into_record()?)))
}

async fn update_state(connection: &mut Connection, change: &StateChange) -> Result<Option<CertificateRow>> {
    let state = match &change.revocation {
        None => CertificateState::Valid,
        Some(revocation) if revocation.reason == RevocationReason::CertificateHold => CertificateState::OnHold,
        Some(_) => CertificateState::Revoked,
    };
    let from: Vec<i16> = change.from.iter().map(|state| rows::state_code(*state)).collect();
    let of_serial = certificates::serial.eq(change.serial.as_bytes()).and(certificates::state.eq_any(from));
    let values = (
        certificates::state.eq(rows::state_code(state)),
        certificates::revoked_at.eq(change.revocation.map(|revocation| revocation.revoked_at.unix())),
        certificates::revocation_reason.eq(change.revocation.map(|revocation| i16::from(revocation.reason.code()))),
        certificates::invalidity_date
            .eq(change.revocation.and_then(|revocation| revocation.invalidity_date).map(Timestamp::unix)),
    );
    let row = match &change.owner {
        Some(owner) => {
            diesel::update(certificates::table.filter(of_serial.and(certificates::requester.eq(owner))))
                .set(values)
                .returning(CertificateRow::as_returning())
                .get_result(connection)
                .await
        }
        None => {
            diesel::update(certificates::table.filter(of_serial))
                .set(values)
                .returning(CertificateRow::as_returning())
                .get_result(connection)
                .await
        }
    };
    Ok(row.optional()?)
}

async fn unchanged(connection: &mut Connection, change: StateChange) -> Result<StateChanged> {
    let record = by_serial(connection, &change.serial)
        .await?
        .filter(|record| change.owner.as_ref().is_none_or(|owner| record.requester == *owner));
    Ok(record.map_or(StateChanged::NotFound, |record| StateChanged::Unchanged(Box::new(record))))
}

/// Lists an issuer's certificates that are revoked or on hold and end after `not_after`, by row.
pub(in super::super) async fn revoked(
    connection: &mut Connection,
    issuer_id: i32,
    not_after: Timestamp,
    after: i64,
    limit: u32,
) -> Result<Vec<RevokedCertificate>> {
    let rows: Vec<RevokedRow> = certificates::table
        .filter(certificates::issuer_id.eq(issuer_id))
        .filter(revoked_condition())
        .filter(certificates::id.gt(after))
        .filter(certificates::not_after.ge(not_after.unix()))
        .order(certificates::id)
        .limit(i64::from(limit))
        .select((
            certificates::id,
            certificates::serial,
            certificates::revoked_at,
            certificates::revocation_reason,
            certificates::invalidity_date,
        ))
        .load(connection)
        .await?;
    rows.into_iter().map(rows::revoked_certificate).collect()
}

/// The condition of the partial indexes, written out, because neither planner sees through a bound value.
pub(super) fn revoked_condition() -> diesel::expression::SqlLiteral<diesel::sql_types::Bool> {
    diesel::dsl::sql("certificates.state <> 0")
}

/// A query over certificates whose conditions are added one by one.
pub(in super::super) type Listing = certificates::BoxedQuery<'static, Backend>;
