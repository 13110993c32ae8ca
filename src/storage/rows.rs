//! Rows as diesel reads and writes them, and their conversion to the values of [`Storage`](super::Storage).
//!
//! A row that cannot be converted was not written by this service: an internal error, never a default.

pub(super) mod acme;
mod configuration;

use diesel::prelude::{Insertable, Queryable, QueryableByName, Selectable};
use diesel::query_builder::AsChangeset;

pub(super) use self::configuration::{
    IssuerCertificateRow, IssuerRow, KeyRow, NewIssuerCertificateRow, NewIssuerRow, NewKeyRow, NewTokenRow,
    ProfileVersionRow, TokenRow, issuer_state_code, location_columns, origin_code,
};
use super::audit_chain::{self, ChainHead, EncodedEvent, SearchColumns};
use super::schema::{audit_chains, audit_events, certificates, idempotency_keys, published_crls};
use super::{
    CertificateRecord, CertificateState, ChangedCertificate, CrlSummary, IdempotencyAnswer, IdempotencyClaim,
    IdempotencyResult, NewCertificate, RevocationRecord, RevokedCertificate, RevokedSerial, Source, StoredAuditEvent,
    names, row_numbers,
};
use crate::error::{Error, Result};
use crate::signer::sealing::Sealed;
use crate::x509::crl::RevocationReason;
use crate::x509::{SerialNumber, Timestamp};

/// The stored number of the state `valid`; the migrations and partial indexes know it too.
pub(super) const STATE_VALID: i16 = 0;
/// The stored number of the state `on_hold`.
pub(super) const STATE_ON_HOLD: i16 = 1;
/// The stored number of the state `revoked`.
pub(super) const STATE_REVOKED: i16 = 2;

pub(super) const fn state_code(state: CertificateState) -> i16 {
    match state {
        CertificateState::Valid => STATE_VALID,
        CertificateState::OnHold => STATE_ON_HOLD,
        CertificateState::Revoked => STATE_REVOKED,
    }
}

pub(super) const fn source_code(source: Source) -> i16 {
    match source {
        Source::Rest => 0,
        Source::Acme => 1,
        Source::Internal => 2,
        Source::Import => 3,
    }
}

fn corrupt(what: &str, value: impl std::fmt::Display) -> Error {
    Error::internal(format!("the database holds `{value}` as {what}, which this version does not know"))
}

pub(super) fn digest(what: &str, bytes: Vec<u8>) -> Result<[u8; 32]> {
    let length = bytes.len();
    bytes.try_into().map_err(|_bytes: Vec<u8>| corrupt(what, format!("{length} octets")))
}

fn sealed(key_id: Option<String>, ciphertext: Option<Vec<u8>>) -> Option<Sealed> {
    Some(Sealed { key_encryption_key_id: key_id?, ciphertext: ciphertext? })
}

/// A certificate to be inserted.
#[derive(Debug, Insertable)]
#[diesel(table_name = certificates, treat_none_as_default_value = false)]
#[cfg_attr(feature = "postgres", derive(postgres_types::ToSql), postgres(name = "new_certificate"))]
pub(super) struct NewCertificateRow<'a> {
    pub(super) id: i64,
    pub(super) serial: &'a [u8],
    pub(super) issuer_id: i32,
    pub(super) profile: &'a str,
    pub(super) profile_version: i32,
    pub(super) requester: &'a str,
    pub(super) source: i16,
    pub(super) subject: &'a str,
    pub(super) key_algorithm: &'a str,
    pub(super) spki_sha256: &'a [u8],
    pub(super) fingerprint_sha256: &'a [u8],
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    pub(super) issued_at: i64,
    pub(super) labels: Option<String>,
    pub(super) crl_shard: i32,
    pub(super) der: &'a [u8],
}

impl<'a> NewCertificateRow<'a> {
    pub(super) fn new(id: i64, certificate: &'a NewCertificate, issuer_id: i32) -> Result<Self> {
        Ok(Self {
            id,
            serial: certificate.serial.as_bytes(),
            issuer_id,
            profile: &certificate.profile,
            profile_version: certificate.profile_version,
            requester: &certificate.requester,
            source: source_code(certificate.source),
            subject: &certificate.subject,
            key_algorithm: &certificate.key_algorithm,
            spki_sha256: &certificate.spki_sha256,
            fingerprint_sha256: &certificate.fingerprint_sha256,
            not_before: certificate.not_before.unix(),
            not_after: certificate.not_after.unix(),
            issued_at: certificate.issued_at.unix(),
            labels: names::encode_labels(&certificate.labels)?,
            crl_shard: certificate.crl_shard,
            der: &certificate.der,
        })
    }
}

/// The columns of a certificate as read.
pub(super) const CERTIFICATE_COLUMNS: &str = "certificates.id, certificates.serial, certificates.issuer_id, certificates.profile, certificates.profile_version, \
    certificates.requester, certificates.source, certificates.subject, certificates.key_algorithm, certificates.spki_sha256, \
    certificates.fingerprint_sha256, certificates.not_before, certificates.not_after, certificates.issued_at, \
    certificates.labels, certificates.state, certificates.revoked_at, certificates.revocation_reason, \
    certificates.invalidity_date, certificates.crl_shard, certificates.der";

/// A certificate as read.
#[derive(Debug, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = certificates)]
pub(super) struct CertificateRow {
    id: i64,
    serial: Vec<u8>,
    issuer_id: i32,
    profile: String,
    profile_version: i32,
    requester: String,
    source: i16,
    subject: String,
    key_algorithm: String,
    spki_sha256: Vec<u8>,
    fingerprint_sha256: Vec<u8>,
    not_before: i64,
    not_after: i64,
    issued_at: i64,
    labels: Option<String>,
    state: i16,
    revoked_at: Option<i64>,
    revocation_reason: Option<i16>,
    invalidity_date: Option<i64>,
    crl_shard: i32,
    der: Vec<u8>,
}

/// Reads the columns that say why and when; `None` for a valid certificate.
pub(super) fn revocation(
    revoked_at: Option<i64>,
    reason: Option<i16>,
    invalidity_date: Option<i64>,
) -> Result<Option<RevocationRecord>> {
    let (Some(revoked_at), Some(code)) = (revoked_at, reason) else { return Ok(None) };
    let reason = u8::try_from(code)
        .map_err(|error| corrupt("a revocation reason", code).with_source(error))
        .and_then(|code| RevocationReason::from_code(code).ok_or_else(|| corrupt("a revocation reason", code)))?;
    Ok(Some(RevocationRecord {
        reason,
        revoked_at: Timestamp::from_unix(revoked_at),
        invalidity_date: invalidity_date.map(Timestamp::from_unix),
    }))
}

/// Reads a certificate's state.
pub(super) fn state(code: i16) -> Result<CertificateState> {
    match code {
        STATE_VALID => Ok(CertificateState::Valid),
        STATE_ON_HOLD => Ok(CertificateState::OnHold),
        STATE_REVOKED => Ok(CertificateState::Revoked),
        other => Err(corrupt("a certificate's state", other)),
    }
}

impl CertificateRow {
    pub(super) fn issuer_id(&self) -> i32 {
        self.issuer_id
    }

    pub(super) fn crl_shard(&self) -> i32 {
        self.crl_shard
    }

    pub(super) fn id(&self) -> i64 {
        self.id
    }

    pub(super) fn serial(&self) -> &[u8] {
        &self.serial
    }

    pub(super) fn spki_sha256(&self) -> &[u8] {
        &self.spki_sha256
    }

    pub(super) fn into_record(self) -> Result<CertificateRecord> {
        let state = state(self.state)?;
        let source = match self.source {
            0 => Source::Rest,
            1 => Source::Acme,
            2 => Source::Internal,
            3 => Source::Import,
            other => return Err(corrupt("a certificate's source", other)),
        };
        let labels = match self.labels {
            None => std::collections::BTreeMap::new(),
            Some(text) => serde_json::from_str(&text)
                .map_err(|error| Error::internal("stored labels cannot be decoded").with_source(error))?,
        };
        Ok(CertificateRecord {
            id: self.id,
            serial: SerialNumber::from_bytes(&self.serial)?,
            issuer_id: self.issuer_id,
            profile: self.profile,
            profile_version: self.profile_version,
            requester: self.requester,
            source,
            subject: self.subject,
            key_algorithm: self.key_algorithm,
            spki_sha256: digest("a key's digest", self.spki_sha256)?,
            fingerprint_sha256: digest("a fingerprint", self.fingerprint_sha256)?,
            not_before: Timestamp::from_unix(self.not_before),
            not_after: Timestamp::from_unix(self.not_after),
            issued_at: Timestamp::from_unix(self.issued_at),
            labels,
            state,
            revocation: revocation(self.revoked_at, self.revocation_reason, self.invalidity_date)?,
            crl_shard: self.crl_shard,
            der: self.der,
        })
    }
}

/// A certificate of a CRL as read: shard, row, serial, time, reason, invalidity date.
pub(super) type RevokedRow = (i32, i64, Vec<u8>, Option<i64>, Option<i16>, Option<i64>);

pub(super) fn revoked_certificate(row: RevokedRow) -> Result<RevokedCertificate> {
    let (shard, id, serial, revoked_at, reason, invalidity_date) = row;
    let revocation = revocation(revoked_at, reason, invalidity_date)?
        .ok_or_else(|| Error::internal("a revoked certificate has no time of revocation"))?;
    Ok(RevokedCertificate { shard, id, serial: SerialNumber::from_bytes(&serial)?, revocation })
}

/// A certificate whose state changed as read: number of the change, serial, end of validity, time, reason, invalidity date.
pub(super) type ChangedRow = (Option<i64>, Vec<u8>, i64, Option<i64>, Option<i16>, Option<i64>);

pub(super) fn changed_certificate(row: ChangedRow) -> Result<ChangedCertificate> {
    let (change_number, serial, not_after, revoked_at, reason, invalidity_date) = row;
    Ok(ChangedCertificate {
        change_number: change_number.ok_or_else(|| Error::internal("a change of state has no number"))?,
        serial: SerialNumber::from_bytes(&serial)?,
        not_after: Timestamp::from_unix(not_after),
        revocation: revocation(revoked_at, reason, invalidity_date)?,
    })
}

/// A serial number without certificate as read: serial, time, reason, invalidity date.
pub(super) type RevokedSerialRow = (Vec<u8>, i64, i16, Option<i64>);

pub(super) fn revoked_serial(row: RevokedSerialRow) -> Result<RevokedSerial> {
    let (serial, revoked_at, reason, invalidity_date) = row;
    let revocation = revocation(Some(revoked_at), Some(reason), invalidity_date)?
        .ok_or_else(|| Error::internal("a revoked serial number has no time of revocation"))?;
    Ok(RevokedSerial { serial: SerialNumber::from_bytes(&serial)?, revocation })
}

/// An idempotency key, read and written.
#[derive(Debug, Clone, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = idempotency_keys, primary_key(caller, key))]
#[diesel(treat_none_as_default_value = false, treat_none_as_null = true)]
pub(super) struct IdempotencyRow {
    pub(super) caller: String,
    pub(super) key: String,
    pub(super) request_sha256: Vec<u8>,
    pub(super) expires_at: i64,
    pub(super) serial: Option<Vec<u8>>,
    pub(super) key_encryption_key_id: Option<String>,
    pub(super) sealed: Option<Vec<u8>>,
}

impl IdempotencyRow {
    pub(super) fn new(claim: IdempotencyClaim, result: IdempotencyResult) -> Self {
        let (serial, sealed) = match result {
            IdempotencyResult::Certificate(serial) => (Some(serial.as_bytes().to_vec()), None),
            IdempotencyResult::Sealed(sealed) => (None, Some(sealed)),
        };
        let (key_encryption_key_id, sealed) =
            sealed.map_or((None, None), |sealed| (Some(sealed.key_encryption_key_id), Some(sealed.ciphertext)));
        Self {
            caller: claim.caller,
            key: claim.key,
            request_sha256: claim.request_sha256.to_vec(),
            expires_at: claim.expires_at.unix(),
            serial,
            key_encryption_key_id,
            sealed,
        }
    }

    pub(super) fn into_answer(self) -> Result<IdempotencyAnswer> {
        let result = match (self.serial, sealed(self.key_encryption_key_id, self.sealed)) {
            (Some(serial), None) => IdempotencyResult::Certificate(SerialNumber::from_bytes(&serial)?),
            (None, Some(sealed)) => IdempotencyResult::Sealed(sealed),
            _ => return Err(Error::internal("a stored idempotency key has no single result")),
        };
        Ok(IdempotencyAnswer { request_sha256: digest("a request's digest", self.request_sha256)?, result })
    }
}

/// A CRL as read, without its octets.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = published_crls)]
pub(super) struct CrlRow {
    issuer_id: i32,
    shard: i32,
    base_number: Option<i64>,
    pub(super) number: i64,
    this_update: i64,
    next_update: i64,
    revocations: i64,
    size: i64,
}

impl From<CrlRow> for CrlSummary {
    fn from(row: CrlRow) -> Self {
        Self {
            issuer_id: row.issuer_id,
            shard: row.shard,
            base_number: row.base_number,
            number: row.number,
            this_update: Timestamp::from_unix(row.this_update),
            next_update: Timestamp::from_unix(row.next_update),
            revocations: row.revocations,
            size: usize::try_from(row.size).unwrap_or_default(),
        }
    }
}

/// The head of an audit chain as read.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = audit_chains)]
pub(super) struct ChainRow {
    id: i32,
    sequence: i64,
    hash: Vec<u8>,
}

impl From<ChainRow> for ChainHead {
    fn from(row: ChainRow) -> Self {
        Self { chain: row.id, sequence: row.sequence, hash: row.hash }
    }
}

/// An audit event to be inserted.
#[derive(Debug, Insertable)]
#[diesel(table_name = audit_events)]
#[cfg_attr(feature = "postgres", derive(postgres_types::ToSql), postgres(name = "new_audit_event"))]
pub(super) struct NewAuditRow<'a> {
    pub(super) id: i64,
    pub(super) chain: i32,
    pub(super) sequence: i64,
    pub(super) occurred_at: i64,
    pub(super) actor: &'a str,
    pub(super) action: &'a str,
    pub(super) outcome: i16,
    pub(super) object: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) hash: Vec<u8>,
}

impl<'a> NewAuditRow<'a> {
    /// Links an event to the end of a chain, whose head moves on.
    pub(super) fn link(event: &'a EncodedEvent, head: &mut ChainHead) -> Self {
        let (sequence, hash) = head.append(&event.bytes);
        Self {
            id: row_numbers::event(event.columns.occurred_at, head.chain, sequence),
            chain: head.chain,
            sequence,
            occurred_at: event.columns.occurred_at,
            actor: &event.columns.actor,
            action: &event.columns.action,
            outcome: event.columns.outcome,
            object: &event.columns.object,
            bytes: &event.bytes,
            hash,
        }
    }
}

/// The columns of an audit event as read.
pub(super) const AUDIT_COLUMNS: &str = "audit_events.id, audit_events.chain, audit_events.sequence, audit_events.occurred_at, audit_events.actor, \
    audit_events.action, audit_events.outcome, audit_events.object, audit_events.bytes, audit_events.hash";

/// An audit event as read.
#[derive(Debug, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = audit_events)]
pub(super) struct AuditRow {
    pub(super) id: i64,
    pub(super) chain: i32,
    pub(super) sequence: i64,
    occurred_at: i64,
    actor: String,
    action: String,
    outcome: i16,
    object: String,
    pub(super) bytes: Vec<u8>,
    pub(super) hash: Vec<u8>,
}

impl AuditRow {
    pub(super) fn columns(&self) -> SearchColumns {
        SearchColumns {
            occurred_at: self.occurred_at,
            actor: self.actor.clone(),
            action: self.action.clone(),
            outcome: self.outcome,
            object: self.object.clone(),
        }
    }

    pub(super) fn into_event(self) -> Result<StoredAuditEvent> {
        Ok(StoredAuditEvent {
            id: self.id,
            chain: self.chain,
            sequence: self.sequence,
            event: audit_chain::decode(&self.bytes)?,
            hash: digest("an audit event's link", self.hash)?,
        })
    }
}
