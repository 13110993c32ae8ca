//! What issuers signed and revoked elsewhere: certificates, and revoked serial numbers whose certificates are not known.

use diesel::{BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;
use serde_json::json;

use super::{Connection, audit, certificates as certificate_queries, counts, dialect, operation};
use crate::error::{Error, Result};
use crate::storage::rows::{CertificateRow, NewCertificateRow, revocation, state_code};
use crate::storage::schema::{certificates, issuers, revoked_serials};
use crate::storage::{
    AuditEvent, CertificateImported, CertificateState, ImportedCertificate, ImportedRevocation, RevocationRecord,
    Source,
};
use crate::x509::crl::RevocationReason;
use crate::x509::{SerialNumber, Timestamp};

/// Records certificates that are not there and revokes those that are said to be, with their events; answers what became of each.
pub(in super::super) async fn certificates(
    connection: &mut Connection,
    imported: Vec<ImportedCertificate>,
) -> Result<Vec<(SerialNumber, CertificateImported)>> {
    // First of all, as whoever blocks a key does: its certificates are either recorded by now and seen there, or find it blocked here.
    dialect::lock_block_list(connection).await?;
    dialect::serialise_configuration(connection).await?;
    let (mut results, mut changed, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for one in imported {
        let serial = one.certificate.serial.clone();
        let Taken { result, row, event } = take(connection, one).await?;
        results.push((serial, result));
        changed.extend(row);
        events.extend(event);
    }
    // All rows before any issuer's, as every change locks them.
    certificate_queries::number_changes(connection, &changed).await?;
    audit::append(connection, events).await?;
    let keys = changed.iter().map(|row| row.spki_sha256().to_vec()).collect();
    if certificate_queries::is_of_issuers(connection, keys).await? {
        operation::raise_generation(connection).await?;
    }
    Ok(results)
}

/// What was done with one certificate.
struct Taken {
    result: CertificateImported,
    /// Its row if its state changed.
    row: Option<CertificateRow>,
    event: Option<AuditEvent>,
}

impl Taken {
    const fn nothing(result: CertificateImported) -> Self {
        Self { result, row: None, event: None }
    }
}

async fn take(connection: &mut Connection, imported: ImportedCertificate) -> Result<Taken> {
    let ImportedCertificate { certificate, revocation: given, internal, mut audit } = imported;
    let now = Timestamp::from_unix(audit.occurred_at_ms.div_euclid(1000));
    let key_blocked = certificate_queries::any_blocked(connection, vec![certificate.spki_sha256.to_vec()]).await?;
    let by_block = key_blocked.then_some(RevocationRecord {
        reason: RevocationReason::KeyCompromise,
        revoked_at: now,
        invalidity_date: None,
    });
    let row = dialect::next_certificate(connection, certificate.issued_at).await?;
    let id: Option<i64> = diesel::insert_into(certificates::table)
        .values(NewCertificateRow::new(row, &certificate, certificate.issuer_id)?)
        .on_conflict_do_nothing()
        .returning(certificates::id)
        .get_result(connection)
        .await
        .optional()?;
    if let Some(id) = id {
        certificate_queries::insert_names_and_labels(connection, id, &certificate).await?;
        counts::came_late(connection, id).await?;
        let known = take_revoked_serial(connection, certificate.issuer_id, &certificate.serial).await?;
        let revocation = merged(merged(known, given), by_block);
        if given.is_some_and(|given| given.reason.is_compromise()) {
            certificate_queries::block(connection, &certificate.spki_sha256, now).await?;
        }
        let row = match revocation {
            Some(revocation) => Some(revoke(connection, id, revocation, now).await?),
            None => None,
        };
        describe(&mut audit, revocation);
        let result = CertificateImported::New { revoked: revocation.is_some() };
        return Ok(Taken { result, row, event: Some(audit) });
    }
    let present = certificate_queries::by_serial(connection, &certificate.serial).await?;
    let present = present.into_iter().find(|record| record.issuer_id == certificate.issuer_id);
    let present = present.ok_or_else(|| Error::internal("a certificate is neither there nor can it be recorded"))?;
    if present.fingerprint_sha256 != certificate.fingerprint_sha256 {
        return Ok(Taken::nothing(CertificateImported::OtherCertificate));
    }
    let revocation = merged(merged(present.revocation, given), by_block);
    if revocation == present.revocation {
        let result = match (present.revocation, given) {
            (Some(present), Some(given)) if present.reason != given.reason => {
                CertificateImported::RevokedOtherwise(present.reason)
            }
            (Some(_) | None, Some(_) | None) => CertificateImported::Unchanged,
        };
        return Ok(Taken::nothing(result));
    }
    let Some(revocation) = revocation else { return Ok(Taken::nothing(CertificateImported::Unchanged)) };
    if present.source == Source::Internal && !internal {
        return Ok(Taken::nothing(CertificateImported::Internal));
    }
    let row = revoke(connection, present.id, revocation, now).await?;
    describe(&mut audit, Some(revocation));
    "certificate.revoke".clone_into(&mut audit.action);
    Ok(Taken { result: CertificateImported::Revoked, row: Some(row), event: Some(audit) })
}

/// Joins what is known of a revocation and what is said now: what is known stays, unless it is a hold and more is said.
fn merged(known: Option<RevocationRecord>, said: Option<RevocationRecord>) -> Option<RevocationRecord> {
    match (known, said) {
        (Some(known), Some(said))
            if known.reason == RevocationReason::CertificateHold
                && said.reason != RevocationReason::CertificateHold =>
        {
            Some(said)
        }
        (Some(known), _) => Some(known),
        (None, said) => said,
    }
}

/// Writes into the event what was recorded, which may be more than was said.
fn describe(event: &mut AuditEvent, revocation: Option<RevocationRecord>) {
    if let Some(details) = event.details.as_object_mut() {
        let revocation = revocation.map(|revocation| {
            json!({
                "reason": revocation.reason,
                "revoked_at": revocation.revoked_at,
                "invalidity_date": revocation.invalidity_date,
            })
        });
        details.insert("revocation".to_owned(), json!(revocation));
    }
}

/// Takes out what was known of a revoked serial number before its certificate came.
async fn take_revoked_serial(
    connection: &mut Connection,
    issuer_id: i32,
    serial: &SerialNumber,
) -> Result<Option<RevocationRecord>> {
    let known: Option<(i64, i16, Option<i64>)> =
        diesel::delete(revoked_serials::table.find((issuer_id, serial.as_bytes())))
            .returning((
                revoked_serials::revoked_at,
                revoked_serials::revocation_reason,
                revoked_serials::invalidity_date,
            ))
            .get_result(connection)
            .await
            .optional()?;
    match known {
        Some((revoked_at, reason, invalidity_date)) => revocation(Some(revoked_at), Some(reason), invalidity_date),
        None => Ok(None),
    }
}

/// Writes a revocation, and blocks the key of a compromise.
async fn revoke(
    connection: &mut Connection,
    id: i64,
    revocation: RevocationRecord,
    now: Timestamp,
) -> Result<CertificateRow> {
    let state = match revocation.reason {
        RevocationReason::CertificateHold => CertificateState::OnHold,
        _ => CertificateState::Revoked,
    };
    let row: CertificateRow = diesel::update(certificates::table.find(id))
        .set((
            certificates::state.eq(state_code(state)),
            certificates::revoked_at.eq(Some(revocation.revoked_at.unix())),
            certificates::revocation_reason.eq(Some(i16::from(revocation.reason.code()))),
            certificates::invalidity_date.eq(revocation.invalidity_date.map(Timestamp::unix)),
        ))
        .returning(CertificateRow::as_returning())
        .get_result(connection)
        .await?;
    if revocation.reason.is_compromise() {
        certificate_queries::block(connection, row.spki_sha256(), now).await?;
    }
    Ok(row)
}

/// Records revoked serial numbers that are not there, and raises the CRL number; answers how many are new.
pub(in super::super) async fn revoked_serials(
    connection: &mut Connection,
    issuer_id: i32,
    revocations: Vec<ImportedRevocation>,
    crl_number: i64,
    event: AuditEvent,
) -> Result<usize> {
    diesel::update(issuers::table.find(issuer_id).filter(issuers::crl_number.lt(crl_number)))
        .set(issuers::crl_number.eq(crl_number))
        .execute(connection)
        .await?;
    let mut new = 0;
    if !revocations.is_empty() {
        // One number for all of them: they become visible together. Serial numbers without certificate stand in the full CRL.
        let number = certificate_queries::count_change(connection, issuer_id, 0).await?;
        for revoked in revocations {
            if is_recorded(connection, issuer_id, &revoked.serial).await? {
                continue;
            }
            new += diesel::insert_into(revoked_serials::table)
                .values((
                    revoked_serials::issuer_id.eq(issuer_id),
                    revoked_serials::serial.eq(revoked.serial.as_bytes()),
                    revoked_serials::revoked_at.eq(revoked.revocation.revoked_at.unix()),
                    revoked_serials::revocation_reason.eq(i16::from(revoked.revocation.reason.code())),
                    revoked_serials::invalidity_date.eq(revoked.revocation.invalidity_date.map(Timestamp::unix)),
                    revoked_serials::not_after.eq(revoked.not_after.map(Timestamp::unix)),
                    revoked_serials::change_number.eq(number),
                ))
                .on_conflict_do_nothing()
                .execute(connection)
                .await?;
        }
    }
    audit::append(connection, vec![event]).await?;
    Ok(new)
}

async fn is_recorded(connection: &mut Connection, issuer_id: i32, serial: &SerialNumber) -> Result<bool> {
    let count: i64 = certificates::table
        .filter(certificates::serial.eq(serial.as_bytes()).and(certificates::issuer_id.eq(issuer_id)))
        .count()
        .get_result(connection)
        .await?;
    Ok(count > 0)
}
