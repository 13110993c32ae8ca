//! The values of the inventory: certificates, revocations, audit events, idempotency keys, CRLs. How they are kept in rows is in `rows/`,
//! and issuers, profiles and tokens are in `configuration.rs`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::OrderCompletion;
use crate::signer::sealing::Sealed;
use crate::x509::crl::RevocationReason;
use crate::x509::{SerialNumber, SubjectAltName, Timestamp};

/// The front door through which a certificate was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The REST interface.
    Rest,
    /// ACME (RFC 8555).
    Acme,
    /// Made by the service for itself: CA certificates, OCSP responders and the listener's own certificate.
    Internal,
    /// Signed elsewhere with a key that is an issuer's here, and taken into the inventory later.
    Import,
}

/// The stored state of a certificate. `expired` is not stored: it follows from `not_after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateState {
    /// Issued and not revoked.
    Valid,
    /// Suspended (`certificate_hold`).
    OnHold,
    /// Revoked for good.
    Revoked,
}

/// A certificate about to be recorded.
#[derive(Clone, Debug)]
pub struct NewCertificate {
    /// The serial number, unique in the database.
    pub serial: SerialNumber,
    /// The issuer's row.
    pub issuer_id: i32,
    /// The profile's name.
    pub profile: String,
    /// The profile's version.
    pub profile_version: i32,
    /// The principal that asked for it.
    pub requester: String,
    /// The front door.
    pub source: Source,
    /// The subject, RFC 4514.
    pub subject: String,
    /// The subject alternative names.
    pub names: Vec<SubjectAltName>,
    /// The key algorithm as in profiles.
    pub key_algorithm: String,
    /// SHA-256 of the subject public key info.
    pub spki_sha256: [u8; 32],
    /// SHA-256 of the certificate.
    pub fingerprint_sha256: [u8; 32],
    /// The first second of validity.
    pub not_before: Timestamp,
    /// The last second of validity.
    pub not_after: Timestamp,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The caller's labels.
    pub labels: BTreeMap<String, String>,
    /// The shard of the CRL that its distribution point names, from 1; 0 for the full CRL.
    pub crl_shard: i32,
    /// The certificate.
    pub der: Vec<u8>,
}

/// A recorded certificate.
#[derive(Clone, Debug)]
pub struct CertificateRecord {
    /// The row, for cursors.
    pub id: i64,
    /// The serial number.
    pub serial: SerialNumber,
    /// The issuer's row.
    pub issuer_id: i32,
    /// The profile's name.
    pub profile: String,
    /// The profile's version.
    pub profile_version: i32,
    /// The principal that asked for it.
    pub requester: String,
    /// The front door.
    pub source: Source,
    /// The subject, RFC 4514.
    pub subject: String,
    /// The key algorithm as in profiles.
    pub key_algorithm: String,
    /// SHA-256 of the subject public key info.
    pub spki_sha256: [u8; 32],
    /// SHA-256 of the certificate.
    pub fingerprint_sha256: [u8; 32],
    /// The first second of validity.
    pub not_before: Timestamp,
    /// The last second of validity.
    pub not_after: Timestamp,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The caller's labels.
    pub labels: BTreeMap<String, String>,
    /// The state.
    pub state: CertificateState,
    /// Present exactly when the state is not `valid`.
    pub revocation: Option<RevocationRecord>,
    /// The shard of the CRL that its distribution point names, from 1; 0 for the full CRL.
    pub crl_shard: i32,
    /// The certificate.
    pub der: Vec<u8>,
}

/// Why and when a certificate was revoked or put on hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationRecord {
    /// Why.
    pub reason: RevocationReason,
    /// When.
    pub revoked_at: Timestamp,
    /// Since when it is known or suspected to be bad.
    pub invalidity_date: Option<Timestamp>,
}

/// The outcome of an audited action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// It was done.
    Success,
    /// It was refused.
    Refused,
}

/// An event for the audit log, before it is linked into a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent<D = serde_json::Value> {
    /// When, in Unix milliseconds.
    pub occurred_at_ms: i64,
    /// Who: the principal's name; `anonymous` before authentication; `system` for jobs.
    pub actor: String,
    /// What, such as `certificate.issue`.
    pub action: String,
    /// The outcome.
    pub outcome: AuditOutcome,
    /// The object, such as `certificate:01a4...`, `profile:server`; empty if there is none.
    pub object: String,
    /// The client's address, if the action came over the network.
    pub remote_address: Option<String>,
    /// The request id, if the action came over the network.
    pub request_id: Option<String>,
    /// Whatever else is worth keeping; never a secret.
    pub details: D,
}

/// An event of the audit log as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAuditEvent {
    /// The row, for cursors.
    pub id: i64,
    /// The chain it belongs to.
    pub chain: i32,
    /// Its place in the chain, from 1.
    pub sequence: i64,
    /// The event.
    pub event: AuditEvent,
    /// The link: SHA-256 over domain separator, chain, sequence, the link before and the stored bytes.
    pub hash: [u8; 32],
}

/// What the check of the audit chains found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditVerification {
    /// How many events were checked.
    pub events: u64,
    /// How many chains there are.
    pub chains: u32,
    /// The first break of each broken chain, in words; empty when all is well.
    pub failures: Vec<String>,
}

/// Which audit events to list; newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only this actor.
    pub actor: Option<String>,
    /// Only this action, or with a trailing `*` (`certificate.*`) those that begin so.
    pub action: Option<String>,
    /// Only this outcome.
    pub outcome: Option<AuditOutcome>,
    /// Only this object.
    pub object: Option<String>,
    /// Not before this moment.
    pub after: Option<Timestamp>,
    /// Before this moment.
    pub before: Option<Timestamp>,
}

/// An idempotency key as claimed by a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyClaim {
    /// The principal the key belongs to.
    pub caller: String,
    /// The key.
    pub key: String,
    /// SHA-256 over method, path, query and body.
    pub request_sha256: [u8; 32],
    /// When the key is free again.
    pub expires_at: Timestamp,
}

/// What a request with an idempotency key led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyAnswer {
    /// SHA-256 over method, path, query and body of the first request.
    pub request_sha256: [u8; 32],
    /// Its result.
    pub result: IdempotencyResult,
}

/// The stored result of a request with an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdempotencyResult {
    /// The certificate that was issued.
    Certificate(SerialNumber),
    /// The response body, sealed, for answers that hold a secret.
    Sealed(Sealed),
}

/// A certificate with all that is committed together with it.
#[derive(Clone, Debug)]
pub struct Issuance {
    /// The certificate.
    pub certificate: NewCertificate,
    /// The event, its details as JSON text: a tree of them would be made only to be written.
    pub audit: AuditEvent<Box<RawValue>>,
    /// The idempotency key, if the request had one.
    pub idempotency: Option<IdempotencyClaim>,
    /// The ACME order that it completes, if there is one.
    pub order: Option<OrderCompletion>,
}

/// What became of a write that claimed an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It was committed.
    Committed,
    /// The key was taken by an earlier request, whose answer this is; nothing of this one was written.
    Replayed(IdempotencyAnswer),
    /// The certificate's key is on the block list; nothing was written.
    KeyBlocked,
    /// The ACME order is not in the state that it must have; nothing was written.
    OrderTaken,
}

/// A certificate that one of our issuers signed elsewhere, about to be recorded.
#[derive(Clone, Debug)]
pub struct ImportedCertificate {
    /// The certificate.
    pub certificate: NewCertificate,
    /// Why and when it was revoked.
    pub revocation: Option<RevocationRecord>,
    /// Whether one that is recorded as the service's own may be revoked.
    pub internal: bool,
    /// The event. Its moment is the present; its details get the revocation that was recorded.
    pub audit: AuditEvent,
}

/// What became of a certificate that was to be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateImported {
    /// It was not there and is recorded; whether it is revoked or on hold.
    New {
        /// Revoked or on hold: as it was given, as its serial number was known, or because its key is blocked.
        revoked: bool,
    },
    /// It was there and is revoked or on hold from now on.
    Revoked,
    /// It was there and stays as it is.
    Unchanged,
    /// It was there, revoked for this other reason, which stays.
    RevokedOtherwise(RevocationReason),
    /// It was there and is one of the service's own, which the importer may not revoke.
    Internal,
    /// Another certificate of the same issuer has the serial number.
    OtherCertificate,
}

/// A serial number that one of our issuers revoked elsewhere, and whose certificate is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedRevocation {
    /// The serial number.
    pub serial: SerialNumber,
    /// Why and when.
    pub revocation: RevocationRecord,
    /// The end of the certificate's validity, if known.
    pub not_after: Option<Timestamp>,
}

/// A change of a certificate's state.
#[derive(Clone, Debug)]
pub struct StateChange {
    /// The row of the certificate's issuer.
    pub issuer_id: i32,
    /// The certificate.
    pub serial: SerialNumber,
    /// The states from which the change is admitted.
    pub from: &'static [CertificateState],
    /// With `certificate_hold` the new state is `on_hold`, with another reason `revoked`; `None` releases a hold.
    pub revocation: Option<RevocationRecord>,
    /// Only a certificate of this requester.
    pub owner: Option<String>,
    /// Whether the certificate's key joins the block list.
    pub block_key: bool,
}

/// What became of a change of state.
#[derive(Clone, Debug)]
pub enum StateChanged {
    /// It was made; the record as it is now.
    Changed(Box<CertificateRecord>),
    /// The certificate was in none of the admitted states; the record as it is. No audit event was written.
    Unchanged(Box<CertificateRecord>),
    /// There is no such certificate, or not of this owner. No audit event was written.
    NotFound,
}

/// A key that must not be used any more: its certificates are to be revoked and the key is to be blocked.
#[derive(Clone, Debug)]
pub struct KeyRevocation {
    /// SHA-256 of the subject public key info.
    pub spki_sha256: [u8; 32],
    /// The present: the moment of revocation; certificates that ended before stay as they are.
    pub now: Timestamp,
    /// Only when every certificate of the key is this requester's, and there is one.
    pub owner: Option<String>,
    /// Whether it may be a key of the service itself: of an issuer, a listener, a responder.
    pub internal: bool,
    /// The event of each certificate that is revoked; its object is filled in.
    pub certificate_event: AuditEvent,
}

/// What became of the revocation of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRevoked {
    /// The key is blocked.
    Done {
        /// Whether it was not blocked before.
        blocked_now: bool,
        /// The certificates that were revoked now: the row of the issuer and the serial number.
        revoked_now: Vec<(i32, SerialNumber)>,
        /// Whether there may be more to revoke, by calling again.
        more: bool,
    },
    /// A certificate of the key is another requester's, or there is none. Nothing was written.
    NotOwned,
    /// The key is the service's own. Nothing was written.
    Internal,
}

/// Which certificates to list. All given conditions hold together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFilter {
    /// Only certificates of this requester, whatever else is asked for (authorisation).
    pub owner: Option<String>,
    /// The status, with `expired` counted by `now`.
    pub status: Option<CertificateStatus>,
    /// The moment that decides what is expired.
    pub now: Option<Timestamp>,
    /// The profile's name.
    pub profile: Option<String>,
    /// The rows of the issuers, any of them.
    pub issuer_ids: Option<Vec<i32>>,
    /// The requester.
    pub requester: Option<String>,
    /// A part of the subject (RFC 4514 text), case-insensitive for ASCII; taken literally.
    pub subject: Option<String>,
    /// A subject alternative name.
    pub name: Option<NameFilter>,
    /// The serial number.
    pub serial: Option<SerialNumber>,
    /// SHA-256 of the certificate.
    pub fingerprint_sha256: Option<[u8; 32]>,
    /// SHA-256 of the subject public key info.
    pub spki_sha256: Option<[u8; 32]>,
    /// Labels that must all be there.
    pub labels: Vec<(String, String)>,
    /// Issued at or after.
    pub issued_after: Option<Timestamp>,
    /// Issued before.
    pub issued_before: Option<Timestamp>,
    /// Expires at or after.
    pub expires_after: Option<Timestamp>,
    /// Expires before.
    pub expires_before: Option<Timestamp>,
}

/// A search by subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameFilter {
    /// The name itself, of any type, in normal form.
    Exact(String),
    /// Every DNS name that ends in `.` and this, in normal form.
    DnsSuffix(String),
}

/// A certificate's status as clients see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateStatus {
    /// In force.
    Valid,
    /// Suspended and not expired.
    OnHold,
    /// Revoked (also when its validity has ended since).
    Revoked,
    /// Past its validity, and not revoked.
    Expired,
}

/// The column a listing is sorted by; the row breaks ties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SortKey {
    /// By time of issue.
    IssuedAt,
    /// By end of validity.
    NotAfter,
}

/// A page of a listing: keyset pagination, so that its cost does not grow with the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// The most rows, 1 to 1000.
    pub limit: u16,
    /// The sort column.
    pub sort: SortKey,
    /// Greatest first.
    pub descending: bool,
    /// The last row of the page before: its sort value and row.
    pub after: Option<(i64, i64)>,
}

/// A count under a key.
pub type Counts = BTreeMap<String, i64>;

/// A page of a listing. It may have fewer items than were asked for, or none, though another one follows: a page looks at a bounded number of
/// rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The place behind which the next page begins, sort value and row; `None` when this is the last.
    pub next: Option<(i64, i64)>,
}

/// Counts over the inventory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// The second up to which everything is counted, when that does not reach to the moment that was asked for.
    pub counted_until: Option<i64>,
    /// By status (`valid`, `on_hold`, `revoked`, `expired`).
    pub by_status: Counts,
    /// By profile.
    pub by_profile: Counts,
    /// By issuer row.
    pub by_issuer: BTreeMap<i32, i64>,
    /// Valid certificates by the week of their end: the Unix second of the Monday on which it begins; the next 53 weeks.
    pub expiring_by_week: BTreeMap<i64, i64>,
    /// Issued by day: the Unix second of its midnight; the last 30 days.
    pub issued_by_day: BTreeMap<i64, i64>,
}

/// The state of the connection pools, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// The most connections.
    pub size: usize,
    /// Connections in use.
    pub in_use: usize,
    /// Callers that wait for one.
    pub waiting: usize,
}
