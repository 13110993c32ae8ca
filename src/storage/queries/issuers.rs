//! Issuers with their certificates; their keys are in `keys.rs`.

use std::collections::BTreeMap;

use diesel::{BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;

use super::{
    Connection, audit, certificates as certificate_queries, dialect, idempotency as idempotency_queries, operation,
};
use crate::error::{Error, Result};
use crate::storage::rows::{
    IdempotencyRow, IssuerCertificateRow, IssuerRow, KeyRow, NewIssuerCertificateRow, NewIssuerRow, NewKeyRow,
    issuer_state_code,
};
use crate::storage::schema::{ca_keys, issuer_certificates, issuers};
use crate::storage::{
    AuditEvent, CertificateState, IdempotencyClaim, IdempotencyResult, IssuerCertificateRecord, IssuerChange,
    IssuerRecord, IssuerState, NewIssuer, NewIssuerCertificate, SignedBy,
};
use crate::x509::Timestamp;

/// Records issuers, parents first; answers `false`, writing nothing, when any name with its generation, or any key, is taken, one that would
/// be retired is not active, a key is blocked, or the idempotency key is held.
pub(in super::super) async fn create(
    connection: &mut Connection,
    new_issuers: Vec<NewIssuer>,
    idempotency: Option<(IdempotencyClaim, IdempotencyResult)>,
) -> Result<bool> {
    // First of all, as whoever blocks a key does: what is recorded for the key is seen there, or finds the key blocked here.
    dialect::lock_block_list(connection).await?;
    dialect::serialise_configuration(connection).await?;
    if any_key_blocked(connection, &new_issuers).await? {
        return Ok(false);
    }
    for issuer in &new_issuers {
        if is_taken(connection, issuer).await? || !are_active(connection, &issuer.retires).await? {
            return Ok(false);
        }
    }
    let now = new_issuers.as_slice().first().map_or(0, |issuer| issuer.audit.occurred_at_ms.div_euclid(1000));
    if !claim(connection, idempotency, Timestamp::from_unix(now)).await? {
        return Ok(false);
    }
    for issuer in &new_issuers {
        insert(connection, issuer).await?;
    }
    audit::append(connection, new_issuers.into_iter().map(|issuer| issuer.audit).collect()).await?;
    operation::raise_generation(connection).await?;
    Ok(true)
}

async fn is_taken(connection: &mut Connection, issuer: &NewIssuer) -> Result<bool> {
    let names: i64 = issuers::table
        .filter(issuers::base_name.eq(&issuer.base_name).and(issuers::generation.eq(issuer.generation)))
        .count()
        .get_result(connection)
        .await?;
    let keys: i64 = ca_keys::table
        .filter(ca_keys::spki_sha256.eq(issuer.key.spki_sha256.as_slice()))
        .count()
        .get_result(connection)
        .await?;
    Ok(names > 0 || keys > 0)
}

/// Whether any key that is certified is blocked: those of the new issuers, and those that get cross-certificates.
async fn any_key_blocked(connection: &mut Connection, new_issuers: &[NewIssuer]) -> Result<bool> {
    let crossed: Vec<i32> = new_issuers
        .iter()
        .flat_map(|issuer| issuer.cross_certificates.iter().filter_map(|(of, _certificate)| *of))
        .collect();
    let mut keys = keys_of(connection, crossed).await?;
    keys.extend(new_issuers.iter().map(|issuer| issuer.key.spki_sha256.to_vec()));
    certificate_queries::any_blocked(connection, keys).await
}

/// Returns the digests of the keys of recorded issuers.
async fn keys_of(connection: &mut Connection, ids: Vec<i32>) -> Result<Vec<Vec<u8>>> {
    Ok(issuers::table
        .inner_join(ca_keys::table)
        .filter(issuers::id.eq_any(ids))
        .select(ca_keys::spki_sha256)
        .load(connection)
        .await?)
}

async fn are_active(connection: &mut Connection, ids: &[i32]) -> Result<bool> {
    for id in ids {
        let active: i64 = issuers::table
            .filter(issuers::id.eq(*id).and(issuers::state.eq(issuer_state_code(IssuerState::Active))))
            .count()
            .get_result(connection)
            .await?;
        if active == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Claims an idempotency key, if there is one; answers whether nobody else has it. The last look before anything is written.
async fn claim(
    connection: &mut Connection,
    idempotency: Option<(IdempotencyClaim, IdempotencyResult)>,
    now: Timestamp,
) -> Result<bool> {
    let Some((claim, result)) = idempotency else { return Ok(true) };
    let holder = idempotency_queries::claim(connection, &IdempotencyRow::new(claim, result), now).await?;
    Ok(holder.is_none())
}

async fn insert(connection: &mut Connection, issuer: &NewIssuer) -> Result<()> {
    let key_id: i32 = diesel::insert_into(ca_keys::table)
        .values(NewKeyRow::new(&issuer.key)?)
        .returning(ca_keys::id)
        .get_result(connection)
        .await?;
    let inherits: i64 = issuers::table
        .filter(issuers::id.eq_any(issuer.retires.clone()).and(issuers::is_default.eq(true)))
        .count()
        .get_result(connection)
        .await?;
    let is_default = issuer.is_default || inherits > 0;
    if is_default {
        clear_default(connection).await?;
    }
    for retired in &issuer.retires {
        set_state(connection, *retired, IssuerState::Retired).await?;
    }
    let id: i32 = diesel::insert_into(issuers::table)
        .values(NewIssuerRow::new(issuer, is_default, key_id))
        .returning(issuers::id)
        .get_result(connection)
        .await?;
    if let Some(certificate) = &issuer.certificate {
        insert_certificate(connection, id, certificate, true).await?;
    }
    for (of, certificate) in &issuer.cross_certificates {
        insert_certificate(connection, of.unwrap_or(id), certificate, false).await?;
    }
    Ok(())
}

async fn insert_certificate(
    connection: &mut Connection,
    issuer_id: i32,
    certificate: &NewIssuerCertificate,
    is_primary: bool,
) -> Result<()> {
    let parent_id = match &certificate.signed_by {
        SignedBy::Issuer(id) => Some(*id),
        SignedBy::New(name) => Some(row_of(connection, name).await?),
        SignedBy::Itself | SignedBy::Outside => None,
    };
    if is_primary {
        diesel::update(issuer_certificates::table.filter(issuer_certificates::issuer_id.eq(issuer_id)))
            .set(issuer_certificates::is_primary.eq(false))
            .execute(connection)
            .await?;
    }
    let row = NewIssuerCertificateRow {
        issuer_id,
        parent_id,
        is_primary,
        fingerprint_sha256: &certificate.fingerprint_sha256,
        der: &certificate.der,
        upper_chain: certificate.upper_chain.concat(),
        created_at: certificate.created_at.unix(),
    };
    diesel::insert_into(issuer_certificates::table).values(row).execute(connection).await?;
    if let Some(inventory) = &certificate.inventory {
        certificate_queries::insert(connection, inventory, parent_id.unwrap_or(issuer_id)).await?;
    }
    Ok(())
}

async fn row_of(connection: &mut Connection, base_name: &str) -> Result<i32> {
    issuers::table
        .filter(issuers::base_name.eq(base_name))
        .order(issuers::generation.desc())
        .select(issuers::id)
        .first(connection)
        .await
        .optional()?
        .ok_or_else(|| Error::not_found(format!("there is no issuer `{base_name}`")))
}

async fn clear_default(connection: &mut Connection) -> Result<()> {
    diesel::update(issuers::table.filter(issuers::is_default.eq(true)))
        .set(issuers::is_default.eq(false))
        .execute(connection)
        .await?;
    Ok(())
}

async fn set_state(connection: &mut Connection, id: i32, state: IssuerState) -> Result<()> {
    diesel::update(issuers::table.find(id))
        .set(issuers::state.eq(issuer_state_code(state)))
        .execute(connection)
        .await?;
    Ok(())
}

/// Changes issuers in the order given, all or none; answers `false`, writing nothing, when a change is not admitted.
pub(in super::super) async fn change(
    connection: &mut Connection,
    changes: Vec<IssuerChange>,
    event: AuditEvent,
) -> Result<bool> {
    dialect::serialise_configuration(connection).await?;
    if !admitted(connection, &changes).await? {
        return Ok(false);
    }
    apply(connection, &changes).await?;
    audit::append(connection, vec![event]).await?;
    operation::raise_generation(connection).await?;
    Ok(true)
}

/// Whether each change finds its issuer in a state in which it may be made. Nobody else writes issuers between this and the change.
async fn admitted(connection: &mut Connection, changes: &[IssuerChange]) -> Result<bool> {
    for change in changes {
        let admitted: Vec<i16> = change.from.iter().map(|state| issuer_state_code(*state)).collect();
        let found: i64 = issuers::table
            .filter(issuers::id.eq(change.id).and(issuers::state.eq_any(admitted)))
            .count()
            .get_result(connection)
            .await?;
        if found == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn apply(connection: &mut Connection, changes: &[IssuerChange]) -> Result<()> {
    for change in changes {
        if let Some(state) = change.state {
            set_state(connection, change.id, state).await?;
        }
        if let Some(is_default) = change.is_default {
            if is_default {
                clear_default(connection).await?;
            }
            diesel::update(issuers::table.find(change.id))
                .set(issuers::is_default.eq(is_default))
                .execute(connection)
                .await?;
        }
        if let Some(settings) = &change.settings {
            diesel::update(issuers::table.find(change.id))
                .set(issuers::settings.eq(settings))
                .execute(connection)
                .await?;
        }
        if let Some(csr) = &change.csr {
            diesel::update(issuers::table.find(change.id))
                .set(issuers::csr.eq(Some(csr.as_slice())))
                .execute(connection)
                .await?;
        }
    }
    Ok(())
}

/// Adds a certificate to an issuer and makes the changes; answers `false`, writing nothing, when it is there, the issuer's key is blocked, a
/// change is not admitted, or the idempotency key is held.
pub(in super::super) async fn add_certificate(
    connection: &mut Connection,
    (issuer_id, is_primary): (i32, bool),
    certificate: NewIssuerCertificate,
    changes: Vec<IssuerChange>,
    idempotency: Option<(IdempotencyClaim, IdempotencyResult)>,
    event: AuditEvent,
) -> Result<bool> {
    dialect::lock_block_list(connection).await?;
    dialect::serialise_configuration(connection).await?;
    let keys = keys_of(connection, vec![issuer_id]).await?;
    if certificate_queries::any_blocked(connection, keys).await? {
        return Ok(false);
    }
    let present: i64 = issuer_certificates::table
        .filter(
            issuer_certificates::issuer_id
                .eq(issuer_id)
                .and(issuer_certificates::fingerprint_sha256.eq(certificate.fingerprint_sha256.as_slice())),
        )
        .count()
        .get_result(connection)
        .await?;
    if present > 0 || !admitted(connection, &changes).await? {
        return Ok(false);
    }
    if !claim(connection, idempotency, certificate.created_at).await? {
        return Ok(false);
    }
    apply(connection, &changes).await?;
    insert_certificate(connection, issuer_id, &certificate, is_primary).await?;
    audit::append(connection, vec![event]).await?;
    operation::raise_generation(connection).await?;
    Ok(true)
}

/// Lists the issuers by row.
pub(in super::super) async fn list(connection: &mut Connection) -> Result<Vec<IssuerRecord>> {
    let certificates: Vec<IssuerCertificateRow> = issuer_certificates::table
        .order((issuer_certificates::is_primary.desc(), issuer_certificates::id.desc()))
        .select(IssuerCertificateRow::as_select())
        .load(connection)
        .await?;
    let mut by_issuer: BTreeMap<i32, Vec<IssuerCertificateRecord>> = BTreeMap::new();
    let fingerprints: Vec<Vec<u8>> = certificates.iter().map(|row| row.fingerprint_sha256().to_vec()).collect();
    let states = certificate_queries::states(connection, fingerprints).await?;
    for row in certificates {
        let state = states.get(row.fingerprint_sha256()).copied().unwrap_or(CertificateState::Valid);
        let record = row.into_record(state);
        by_issuer.entry(record.issuer_id).or_default().push(record);
    }
    let rows: Vec<(i32, IssuerRow, KeyRow)> = issuers::table
        .inner_join(ca_keys::table)
        .order(issuers::id)
        .select((issuers::id, IssuerRow::as_select(), KeyRow::as_select()))
        .load(connection)
        .await?;
    let keys = rows.iter().map(|(_id, _issuer, key)| key.spki_sha256().to_vec()).collect();
    let blocked = certificate_queries::blocked(connection, keys).await?;
    rows.into_iter()
        .map(|(id, issuer, key)| {
            let key_blocked = blocked.iter().any(|spki| spki.as_slice() == key.spki_sha256());
            issuer.into_record(key, by_issuer.remove(&id).unwrap_or_default(), key_blocked)
        })
        .collect()
}
