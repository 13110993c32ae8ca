//! Certificates: insert, find by serial number, change of state, the block list. Listings are in `search.rs`.

use std::collections::BTreeMap;

use diesel::{BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;

use super::{Connection, audit, dialect, operation};
use crate::error::Result;
use crate::storage::rows::{self, CertificateRow, NewCertificateRow};
use crate::storage::schema::{
    blocked_keys, ca_keys, certificate_labels, certificate_names, certificates, crl_scopes, issuer_certificates,
    issuers,
};
use crate::storage::{
    AuditEvent, CertificateRecord, CertificateState, NewCertificate, StateChange, StateChanged, names,
};
use crate::x509::crl::RevocationReason;
use crate::x509::{SerialNumber, Timestamp};

/// Inserts one certificate with its names and labels, and returns its row. Issuance does this in groups, see `writer.rs`.
pub(in super::super) async fn insert(
    connection: &mut Connection,
    certificate: &NewCertificate,
    issuer_id: i32,
) -> Result<i64> {
    let id = dialect::next_certificate(connection, certificate.issued_at).await?;
    diesel::insert_into(certificates::table)
        .values(NewCertificateRow::new(id, certificate, issuer_id)?)
        .execute(connection)
        .await?;
    insert_names_and_labels(connection, id, certificate).await?;
    Ok(id)
}

/// Inserts the names and labels of a certificate.
pub(super) async fn insert_names_and_labels(
    connection: &mut Connection,
    id: i64,
    certificate: &NewCertificate,
) -> Result<()> {
    for (name_type, search_key) in names::search_keys(&certificate.names) {
        diesel::insert_into(certificate_names::table)
            .values((
                certificate_names::certificate_id.eq(id),
                certificate_names::name_type.eq(name_type),
                certificate_names::search_key.eq(search_key),
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
    Ok(())
}

/// The most certificates of one serial number that are looked at: each is of another issuer.
const SAME_SERIAL: i64 = 100;

/// Finds the certificates with a serial number by issuer row.
pub(in super::super) async fn by_serial(
    connection: &mut Connection,
    serial: &SerialNumber,
) -> Result<Vec<CertificateRecord>> {
    let rows: Vec<CertificateRow> = certificates::table
        .filter(certificates::serial.eq(serial.as_bytes()))
        .order(certificates::issuer_id)
        .limit(SAME_SERIAL)
        .select(CertificateRow::as_select())
        .load(connection)
        .await?;
    rows.into_iter().map(CertificateRow::into_record).collect()
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
    if change.block_key {
        // Before any other lock, in the order that issuance takes them.
        dialect::lock_block_list(connection).await?;
    }
    let of_issuer = is_of_issuer(connection, &change).await?;
    if of_issuer {
        // Before the rows, as whoever changes issuers does: two transactions that lock in different orders would wait for each other.
        dialect::serialise_configuration(connection).await?;
    }
    let Some(row) = update_state(connection, &change).await? else {
        return unchanged(connection, change).await;
    };
    let rows = std::slice::from_ref(&row);
    number_changes(connection, rows).await?;
    if let (true, Some(revocation)) = (change.block_key, change.revocation) {
        block(connection, row.spki_sha256(), revocation.revoked_at).await?;
    }
    audit::append(connection, vec![event]).await?;
    if of_issuer {
        operation::raise_generation(connection).await?;
    }
    Ok(StateChanged::Changed(Box::new(row.into_record()?)))
}

/// Whether a certificate is one of an issuer's own, or of its key: what that issuer may sign depends on their states.
async fn is_of_issuer(connection: &mut Connection, change: &StateChange) -> Result<bool> {
    let found: Option<(Vec<u8>, Vec<u8>)> = certificates::table
        .filter(certificates::serial.eq(change.serial.as_bytes()).and(certificates::issuer_id.eq(change.issuer_id)))
        .select((certificates::fingerprint_sha256, certificates::spki_sha256))
        .first(connection)
        .await
        .optional()?;
    let Some((fingerprint, spki)) = found else { return Ok(false) };
    let certificates_of_issuers: i64 = issuer_certificates::table
        .filter(issuer_certificates::fingerprint_sha256.eq(fingerprint))
        .count()
        .get_result(connection)
        .await?;
    Ok(certificates_of_issuers > 0 || is_of_issuers(connection, vec![spki]).await?)
}

/// Whether any of the keys is an issuer's.
pub(super) async fn is_of_issuers(connection: &mut Connection, keys: Vec<Vec<u8>>) -> Result<bool> {
    if keys.is_empty() {
        return Ok(false);
    }
    let found: i64 = ca_keys::table.filter(ca_keys::spki_sha256.eq_any(keys)).count().get_result(connection).await?;
    Ok(found > 0)
}

/// Whether any of the keys is blocked.
pub(super) async fn any_blocked(connection: &mut Connection, keys: Vec<Vec<u8>>) -> Result<bool> {
    Ok(!blocked(connection, keys).await?.is_empty())
}

/// Returns those of the keys that are blocked.
pub(super) async fn blocked(connection: &mut Connection, keys: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    Ok(blocked_keys::table
        .filter(blocked_keys::spki_sha256.eq_any(keys))
        .select(blocked_keys::spki_sha256)
        .load(connection)
        .await?)
}

/// Returns the states of the certificates with these fingerprints that are revoked or on hold.
pub(super) async fn states(
    connection: &mut Connection,
    fingerprints: Vec<Vec<u8>>,
) -> Result<BTreeMap<Vec<u8>, CertificateState>> {
    if fingerprints.is_empty() {
        return Ok(BTreeMap::new());
    }
    let found: Vec<(Vec<u8>, i16)> = certificates::table
        .filter(certificates::fingerprint_sha256.eq_any(fingerprints).and(certificates::state.ne(0)))
        .select((certificates::fingerprint_sha256, certificates::state))
        .load(connection)
        .await?;
    found.into_iter().map(|(fingerprint, code)| Ok((fingerprint, rows::state(code)?))).collect()
}

/// Puts a key on the block list; answers whether it was not there before.
pub(super) async fn block(connection: &mut Connection, spki_sha256: &[u8], at: Timestamp) -> Result<bool> {
    let inserted = diesel::insert_into(blocked_keys::table)
        .values((blocked_keys::spki_sha256.eq(spki_sha256), blocked_keys::blocked_at.eq(at.unix())))
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    Ok(inserted == 1)
}

/// Counts changes at their issuers and writes to each certificate and its CRL's scope which one it was: a number of its own, as changes are
/// paged by it. The issuers' rows stay locked to the end of the transaction, so that the numbers become visible in their order.
pub(super) async fn number_changes(connection: &mut Connection, changed: &[CertificateRow]) -> Result<()> {
    let mut by_issuer: BTreeMap<i32, Vec<&CertificateRow>> = BTreeMap::new();
    for row in changed {
        by_issuer.entry(row.issuer_id()).or_default().push(row);
    }
    for (issuer_id, rows) in by_issuer {
        let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let last = count_changes(connection, issuer_id, count).await?;
        let mut last_changes: BTreeMap<i32, i64> = BTreeMap::new();
        for (row, number) in rows.into_iter().zip(last.saturating_sub(count).saturating_add(1)..) {
            diesel::update(certificates::table.find(row.id()))
                .set(certificates::change_number.eq(Some(number)))
                .execute(connection)
                .await?;
            last_changes.insert(row.crl_shard(), number);
        }
        for (shard, number) in last_changes {
            touch_scope(connection, issuer_id, shard, number).await?;
        }
    }
    Ok(())
}

/// Counts a change at the issuer and writes the count to the CRL's scope.
pub(super) async fn count_change(connection: &mut Connection, issuer_id: i32, crl_shard: i32) -> Result<i64> {
    let number = count_changes(connection, issuer_id, 1).await?;
    touch_scope(connection, issuer_id, crl_shard, number).await?;
    Ok(number)
}

/// Raises the issuer's count of changes, and returns the last number.
async fn count_changes(connection: &mut Connection, issuer_id: i32, count: i64) -> Result<i64> {
    Ok(diesel::update(issuers::table.find(issuer_id))
        .set(issuers::revocations.eq(issuers::revocations + count))
        .returning(issuers::revocations)
        .get_result(connection)
        .await?)
}

/// Writes down the number of the last change in a CRL's scope.
async fn touch_scope(connection: &mut Connection, issuer_id: i32, shard: i32, number: i64) -> Result<()> {
    diesel::insert_into(crl_scopes::table)
        .values((crl_scopes::issuer_id.eq(issuer_id), crl_scopes::shard.eq(shard), crl_scopes::last_change.eq(number)))
        .on_conflict((crl_scopes::issuer_id, crl_scopes::shard))
        .do_update()
        .set(crl_scopes::last_change.eq(number))
        .execute(connection)
        .await?;
    Ok(())
}

async fn update_state(connection: &mut Connection, change: &StateChange) -> Result<Option<CertificateRow>> {
    let state = match &change.revocation {
        None => CertificateState::Valid,
        Some(revocation) if revocation.reason == RevocationReason::CertificateHold => CertificateState::OnHold,
        Some(_) => CertificateState::Revoked,
    };
    let from: Vec<i16> = change.from.iter().map(|state| rows::state_code(*state)).collect();
    let of_serial = certificates::serial
        .eq(change.serial.as_bytes())
        .and(certificates::issuer_id.eq(change.issuer_id))
        .and(certificates::state.eq_any(from));
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
        .into_iter()
        .find(|record| record.issuer_id == change.issuer_id)
        .filter(|record| change.owner.as_ref().is_none_or(|owner| record.requester == *owner));
    Ok(record.map_or(StateChanged::NotFound, |record| StateChanged::Unchanged(Box::new(record))))
}

/// The condition of the partial indexes, written out, because neither planner sees through a bound value.
pub(super) fn revoked_condition() -> diesel::expression::SqlLiteral<diesel::sql_types::Bool> {
    diesel::dsl::sql("certificates.state <> 0")
}
