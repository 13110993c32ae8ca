//! Revocation of a key: it joins the block list, and its certificates are revoked, those of every issuer.

use diesel::dsl::exists;
use diesel::{BoolExpressionMethods, ExpressionMethods, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;
use serde_json::json;

use super::certificates::{block, is_of_issuers, number_changes};
use super::{Connection, audit, dialect, operation};
use crate::error::Result;
use crate::storage::rows::{self, CertificateRow, STATE_ON_HOLD, STATE_REVOKED, STATE_VALID};
use crate::storage::schema::certificates;
use crate::storage::{AuditEvent, KeyRevocation, KeyRevoked, Source};
use crate::x509::SerialNumber;
use crate::x509::crl::RevocationReason;

/// The most certificates that one transaction revokes.
const BATCH: i64 = 500;

/// Blocks a key and revokes a batch of its certificates.
pub(in super::super) async fn revoke(
    connection: &mut Connection,
    revocation: KeyRevocation,
    event: AuditEvent,
) -> Result<KeyRevoked> {
    // First of all: what is issued for the key is either recorded by now and seen below, or finds the key blocked.
    dialect::lock_block_list(connection).await?;
    let spki = revocation.spki_sha256.as_slice();
    if !revocation.internal && is_internal(connection, spki).await? {
        return Ok(KeyRevoked::Internal);
    }
    if let Some(owner) = &revocation.owner
        && !is_owner(connection, spki, owner).await?
    {
        return Ok(KeyRevoked::NotOwned);
    }
    // What an issuer may sign depends on its key; every replica is to notice.
    let of_issuer = is_of_issuers(connection, vec![spki.to_vec()]).await?;
    if of_issuer {
        dialect::serialise_configuration(connection).await?;
    }
    let blocked_now = block(connection, spki, revocation.now).await?;
    let (revoked, more) = revoke_batch(connection, &revocation).await?;
    number_changes(connection, &revoked).await?;
    let revoked_now = revoked
        .iter()
        .map(|row| Ok((row.issuer_id(), SerialNumber::from_bytes(row.serial())?)))
        .collect::<Result<Vec<_>>>()?;
    if blocked_now || !revoked_now.is_empty() {
        audit::append(connection, events(&revocation, event, blocked_now, &revoked_now)).await?;
        if of_issuer {
            operation::raise_generation(connection).await?;
        }
    }
    Ok(KeyRevoked::Done { blocked_now, revoked_now, more })
}

/// Whether a key is that of an issuer, or of a certificate that the service made for itself.
async fn is_internal(connection: &mut Connection, spki: &[u8]) -> Result<bool> {
    if is_of_issuers(connection, vec![spki.to_vec()]).await? {
        return Ok(true);
    }
    let of_service = certificates::table
        .filter(certificates::spki_sha256.eq(spki))
        .filter(certificates::source.eq(rows::source_code(Source::Internal)));
    Ok(diesel::select(exists(of_service)).get_result(connection).await?)
}

/// Whether there are certificates of the key and all are of one requester.
async fn is_owner(connection: &mut Connection, spki: &[u8], owner: &str) -> Result<bool> {
    let of_key = certificates::table.filter(certificates::spki_sha256.eq(spki));
    let own = of_key.filter(certificates::requester.eq(owner));
    let of_others = of_key.filter(certificates::requester.ne(owner));
    let has_own: bool = diesel::select(exists(own)).get_result(connection).await?;
    let others_have: bool = diesel::select(exists(of_others)).get_result(connection).await?;
    Ok(has_own && !others_have)
}

/// Revokes a batch of the certificates that are in force or on hold; answers them and whether there may be more.
async fn revoke_batch(connection: &mut Connection, revocation: &KeyRevocation) -> Result<(Vec<CertificateRow>, bool)> {
    let revocable = || certificates::state.eq_any([STATE_VALID, STATE_ON_HOLD]);
    let ids: Vec<i64> = certificates::table
        .filter(certificates::spki_sha256.eq(revocation.spki_sha256.as_slice()))
        .filter(revocable().and(certificates::not_after.ge(revocation.now.unix())))
        .order(certificates::id)
        .limit(BATCH)
        .select(certificates::id)
        .load(connection)
        .await?;
    let more = i64::try_from(ids.len()).unwrap_or(i64::MAX) >= BATCH;
    if ids.is_empty() {
        return Ok((Vec::new(), more));
    }
    // The condition again: somebody may have revoked one in between. All rows before any issuer's, as every change locks them.
    let revoked = diesel::update(certificates::table.filter(certificates::id.eq_any(ids).and(revocable())))
        .set((
            certificates::state.eq(STATE_REVOKED),
            certificates::revoked_at.eq(Some(revocation.now.unix())),
            certificates::revocation_reason.eq(Some(i16::from(RevocationReason::KeyCompromise.code()))),
            certificates::invalidity_date.eq(None::<i64>),
        ))
        .returning(CertificateRow::as_returning())
        .get_results(connection)
        .await?;
    Ok((revoked, more))
}

/// Makes the event of the key, with everything that was done, and behind it one of each certificate.
fn events(
    revocation: &KeyRevocation,
    mut of_key: AuditEvent,
    blocked_now: bool,
    revoked: &[(i32, SerialNumber)],
) -> Vec<AuditEvent> {
    let serials: Vec<String> = revoked.iter().map(|(_issuer, serial)| serial.to_string()).collect();
    if let Some(details) = of_key.details.as_object_mut() {
        details.insert("blocked_now".to_owned(), json!(blocked_now));
        details.insert("revoked".to_owned(), json!(serials));
    }
    let of_certificate = |serial: &String| AuditEvent {
        object: format!("certificate:{serial}"),
        ..revocation.certificate_event.clone()
    };
    let of_certificates: Vec<AuditEvent> = serials.iter().map(of_certificate).collect();
    std::iter::once(of_key).chain(of_certificates).collect()
}
