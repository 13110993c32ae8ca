//! Durable state in the words of a CA: the [`Storage`] trait, its values, and the choice of a backend by URL.
//!
//! Each method is one transaction and none leaks. Failure is never "not found". A method that changes something takes the audit event
//! that belongs to it and commits both or neither. Backends know nothing of their callers; this file names no database library.

mod acme;
mod audit_chain;
mod configuration;
mod crl_values;
mod failure;
mod group_commit;
mod migrations;
mod names;
mod ocsp;
#[cfg(feature = "postgres")]
mod postgres;
mod row_numbers;
mod rows;
mod schema;
#[cfg(feature = "sqlite")]
mod sqlite;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

pub use acme::*;
pub use configuration::*;
pub use crl_values::*;
pub use ocsp::*;
pub use values::*;

use crate::error::{Error, Result};
use crate::signer::sealing::Sealed;
use crate::x509::{SerialNumber, Timestamp};

/// How to reach the database.
#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    /// `sqlite://path` or `postgres://...`; may hold a password.
    pub url: SecretString,
    /// The most connections for reading and single writes.
    pub connections: usize,
    /// PEM roots for TLS to PostgreSQL; the system's if absent.
    pub root_certificates: Option<PathBuf>,
    /// The longest a statement may take.
    pub statement_timeout: Duration,
    /// The longest a connection may take to open.
    pub connect_timeout: Duration,
    /// The longest that an operation waits for a connection, or for its turn to be written.
    pub maximum_wait: Duration,
}

/// Counts a caller as waiting for as long as it lives.
struct WaitingCaller<'a>(&'a AtomicUsize);

impl<'a> WaitingCaller<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for WaitingCaller<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the CA keeps, and how.
#[async_trait]
pub trait Storage: AcmeStorage + Send + Sync + std::fmt::Debug {
    // ---- issuance

    /// Records a certificate, its names, its audit event and its idempotency key in one durable commit, shared with others that wait;
    /// nothing when its key is on the block list.
    async fn record_issuance(&self, issuance: Issuance) -> Result<Recorded>;

    /// Finds what an idempotency key led to, if it is still held at `now`.
    async fn idempotent_answer(&self, caller: &str, key: &str, now: Timestamp) -> Result<Option<IdempotencyAnswer>>;

    /// Whether a key (SHA-256 of its subject public key info) is on the block list.
    async fn key_is_blocked(&self, spki_sha256: &[u8; 32]) -> Result<bool>;

    // ---- inventory

    /// Finds the certificates with a serial number by issuer row: one, unless CAs were imported that gave it too; at most 100.
    async fn certificates_by_serial(&self, serial: &SerialNumber) -> Result<Vec<CertificateRecord>>;

    /// Lists certificates. A page looks at a bounded number of rows, so that it may have fewer than were asked for.
    async fn certificates(&self, filter: &CertificateFilter, page: PageRequest) -> Result<Page<CertificateRecord>>;

    /// Counts over the inventory, from what [`Self::count_certificates`] has counted and what came since.
    async fn statistics(&self, now: Timestamp) -> Result<Statistics>;

    /// Counts certificates that were issued since the last time; answers whether more are left than one transaction counts.
    async fn count_certificates(&self, now: Timestamp) -> Result<bool>;

    // ---- revocation

    /// Changes a certificate's state by one conditional statement, counts it at its issuer, and writes the event. That of an issuer's own
    /// certificate is also a change of the issuers.
    async fn change_state(&self, change: StateChange, audit: AuditEvent) -> Result<StateChanged>;

    /// Puts a key on the block list and revokes a batch of its certificates as `key_compromise`, in one transaction with the event, to whose
    /// details the serial numbers are added; no event when nothing changed. No certificate for the key is recorded after it began. That of an
    /// issuer's key is also a change of the issuers.
    async fn revoke_key(&self, revocation: KeyRevocation, audit: AuditEvent) -> Result<KeyRevoked>;

    // ---- CRLs

    /// Lists an issuer's certificates, of one shard or of all, that are revoked or on hold and end at `not_after` or later, by shard and row,
    /// at most `limit` after this shard and row.
    async fn revoked_certificates(
        &self,
        issuer_id: i32,
        shard: Option<i32>,
        not_after: Timestamp,
        after: (i32, i64),
        limit: u32,
    ) -> Result<Vec<RevokedCertificate>>;

    /// Lists an issuer's certificates, of one shard or of all, whose last change of state comes after the one of number `after`, by number, at
    /// most `limit`.
    async fn changed_certificates(
        &self,
        issuer_id: i32,
        shard: Option<i32>,
        after: i64,
        limit: u32,
    ) -> Result<Vec<ChangedCertificate>>;

    /// Lists the serial numbers that an issuer revoked before it was imported, whose changes have a number above `changed_after`, and that end
    /// at `not_after` or later or at a moment that is not known, by serial number, at most `limit` after `after`.
    async fn revoked_serials(
        &self,
        issuer_id: i32,
        changed_after: i64,
        not_after: Timestamp,
        after: Option<&SerialNumber>,
        limit: u32,
    ) -> Result<Vec<RevokedSerial>>;

    /// Returns what decides which CRLs of an issuer are due.
    async fn crl_counters(&self, issuer_id: i32) -> Result<CrlCounters>;

    /// Makes an issuer's greatest shard at least this one, and counts that as a change of the issuers.
    async fn raise_maximum_shard(&self, issuer_id: i32, shard: i32) -> Result<()>;

    /// Takes the issuer's next CRL numbers, so many, and returns the last of them; numbers only rise, and are never given twice.
    async fn take_crl_numbers(&self, issuer_id: i32, count: u32) -> Result<i64>;

    /// Publishes CRLs, each unless one of the same shard and kind with the same or a greater number is there; answers for each whether it was.
    /// The event is written if any was.
    async fn publish_crls(&self, crls: Vec<Arc<CrlRecord>>, audit: AuditEvent) -> Result<Vec<bool>>;

    /// Lists an issuer's published CRLs by shard, without their octets.
    async fn published_crls(&self, issuer_id: i32) -> Result<Vec<CrlSummary>>;

    /// Returns the published CRL, or delta CRL, of a shard of an issuer.
    async fn current_crl(&self, issuer_id: i32, shard: i32, is_delta: bool) -> Result<Option<CrlRecord>>;

    // ---- import

    /// Records certificates that issuers here signed elsewhere, each with its event. What is known of a serial number as revoked stays, unless it
    /// is a hold and more was said; one whose key is blocked is revoked as `key_compromise`. One that is there and valid, or on hold, is revoked as is
    /// said, and stays as it is in all else. Answers what became of each, in their order.
    async fn import_certificates(
        &self,
        certificates: Vec<ImportedCertificate>,
    ) -> Result<Vec<(SerialNumber, CertificateImported)>>;

    /// Records serial numbers that an issuer revoked elsewhere, unless they or their certificates are recorded, and sees to it that its next
    /// CRL number is greater than `crl_number`. Answers how many are new; the event is written in any case.
    async fn import_revoked_serials(
        &self,
        issuer_id: i32,
        revocations: Vec<ImportedRevocation>,
        crl_number: i64,
        audit: AuditEvent,
    ) -> Result<usize>;

    // ---- OCSP

    /// Returns the status of a serial number of an issuer, also of one that was revoked before the issuer was imported; `None` when the
    /// issuer never gave it.
    async fn certificate_status(&self, issuer_id: i32, serial: &SerialNumber) -> Result<Option<SerialStatus>>;

    /// Lists every issuer's row with its count of changes of state.
    async fn issuer_change_counts(&self) -> Result<Vec<(i32, i64)>>;

    /// Lists the serial numbers whose state changed after the issuer's count was `after`: all, unless there are `limit` or more.
    async fn changed_serials(&self, issuer_id: i32, after: i64, limit: u32) -> Result<Vec<SerialNumber>>;

    /// Lists the delegated responders by issuer row.
    async fn ocsp_responders(&self) -> Result<Vec<OcspResponderRecord>>;

    /// Records a responder with its certificate and event, in place of the one with the certificate `replaces`; answers `false`, writing
    /// nothing, when that is no longer the one that is there.
    async fn put_ocsp_responder(&self, responder: NewOcspResponder, replaces: Option<Vec<u8>>) -> Result<bool>;

    // ---- issuers

    /// Records issuers, parents first, all or none; answers `false`, writing nothing, when any name with its generation, or any key, is taken,
    /// a key that would be certified is blocked, an issuer that would be retired is not active any more, or the idempotency key is held already.
    async fn create_issuers(
        &self,
        issuers: Vec<NewIssuer>,
        idempotency: Option<(IdempotencyClaim, IdempotencyResult)>,
    ) -> Result<bool>;

    /// Lists the issuers by row.
    async fn issuers(&self) -> Result<Vec<IssuerRecord>>;

    /// Changes issuers in the order given, all or none; answers `false`, writing nothing, when any is in none of the states it names.
    async fn change_issuers(&self, changes: Vec<IssuerChange>, audit: AuditEvent) -> Result<bool>;

    /// Adds a certificate to an issuer, as the primary one or beside it, and makes the changes (the first certificate also brings the
    /// issuer out of waiting); answers `false`, writing nothing, when it has this certificate already, its key is blocked, a change is not
    /// admitted, or the idempotency key is held already.
    async fn add_issuer_certificate(
        &self,
        issuer_id: i32,
        certificate: NewIssuerCertificate,
        is_primary: bool,
        changes: Vec<IssuerChange>,
        idempotency: Option<(IdempotencyClaim, IdempotencyResult)>,
        audit: AuditEvent,
    ) -> Result<bool>;

    /// Lists the CA keys by row.
    async fn keys(&self) -> Result<Vec<KeyRecord>>;

    /// Writes down another place for a CA key; answers `false`, writing nothing, when it is no longer where `from` says.
    async fn move_key(&self, id: i32, from: &KeyLocation, to: &KeyLocation, audit: AuditEvent) -> Result<bool>;

    /// Lists sealed secrets that are no CA keys and not under this key-encryption key, at most `limit`, in a fixed order after the one of
    /// `after`.
    async fn other_secrets(
        &self,
        key_encryption_key_id: &str,
        after: Option<&SecretOwner>,
        limit: u16,
    ) -> Result<Vec<SealedSecret>>;

    /// Puts the same secret, sealed anew, in its place; answers `false`, writing nothing, when it is no longer there as `from`.
    async fn reseal_other(&self, owner: &SecretOwner, from: &Sealed, to: &Sealed) -> Result<bool>;

    // ---- profiles

    /// Writes a profile version.
    async fn put_profile(&self, profile: NewProfileVersion, audit: AuditEvent) -> Result<ProfilePut>;

    /// Deletes a profile (its versions stay for the record); answers whether there was one.
    async fn delete_profile(&self, name: &str, audit: AuditEvent) -> Result<bool>;

    /// Lists the present version of every profile that is not deleted, by name.
    async fn profiles(&self) -> Result<Vec<ProfileRecord>>;

    /// Finds one version of a profile, deleted or not.
    async fn profile_version(&self, name: &str, version: i32) -> Result<Option<ProfileRecord>>;

    // ---- tokens

    /// Records an API token; with an idempotency key and its sealed answer in the same commit. `Conflict` when the name is taken.
    async fn create_token(
        &self,
        token: NewToken,
        idempotency: Option<(IdempotencyClaim, Sealed)>,
        audit: AuditEvent,
    ) -> Result<Recorded>;

    /// Finds a token by the SHA-256 of its secret, revoked or expired ones too.
    async fn token_by_secret(&self, secret_sha256: &[u8; 32]) -> Result<Option<TokenRecord>>;

    /// Lists tokens by row, newest first, at most `limit` before row `before`.
    async fn tokens(&self, before: Option<i64>, limit: u16) -> Result<Vec<TokenRecord>>;

    /// Revokes a token, and deletes the external account keys of its principal; answers it, or `None` when there is none that is not revoked.
    async fn revoke_token(&self, id: &str, now: Timestamp, audit: AuditEvent) -> Result<Option<TokenRecord>>;

    // ---- audit

    /// Writes an event on its own (a refusal), in a commit shared with others that wait.
    async fn record_audit(&self, event: AuditEvent) -> Result<()>;

    /// Lists events, newest first, at most `limit` before row `before`. A page looks at a bounded number of rows.
    async fn audit_events(
        &self,
        filter: &AuditFilter,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Page<StoredAuditEvent>>;

    /// Checks every link of every chain over the stored bytes.
    async fn verify_audit(&self) -> Result<AuditVerification>;

    // ---- operation

    /// Returns a number that rises with every change of issuers, profiles or tokens, by any replica: when it is the same, caches are fresh.
    async fn generation(&self) -> Result<i64>;

    /// Returns the setting of this name, which never changes: `initial` is written if there is none, by one caller of many.
    async fn setting_or_insert(&self, name: &str, initial: &[u8]) -> Result<Vec<u8>>;

    /// Takes or extends a lease until `until`; answers whether `holder` has it now.
    async fn acquire_lease(&self, name: &str, holder: &str, now: Timestamp, until: Timestamp) -> Result<bool>;

    /// Deletes what has served its time: idempotency keys that are free again and leases that ended. Answers how many rows.
    async fn clean_up(&self, now: Timestamp) -> Result<u64>;

    /// Answers when the database can be reached and has every migration.
    async fn ready(&self) -> Result<()>;

    /// Returns the state of the connection pools.
    fn pool_status(&self) -> PoolStatus;

    /// Finishes what was accepted and closes; later calls answer `Unavailable`.
    async fn close(&self);
}

/// The backend that a URL names.
enum Location {
    /// SQLite and its file.
    Sqlite(PathBuf),
    /// PostgreSQL; the URL is read by its backend.
    Postgres,
}

impl Location {
    fn of(options: &DatabaseOptions) -> Result<Self> {
        let url = options.url.expose_secret();
        if let Some(path) = url.strip_prefix("sqlite://") {
            if path.is_empty() || path.starts_with(":memory:") {
                return Err(Error::configuration(
                    "the database URL names no file: write `sqlite://chancery.db` or `sqlite:///var/lib/chancery/chancery.db`",
                ));
            }
            return Ok(Self::Sqlite(PathBuf::from(path)));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres);
        }
        // The URL may hold a password and is not repeated.
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        Err(Error::configuration(format!(
            "the database URL has the scheme `{scheme}`: write `sqlite://path` or `postgres://user@host/database`"
        )))
    }
}

/// Runs the pending migrations (one replica at a time) and opens the database that the URL names.
///
/// # Errors
/// `Configuration` for a URL of another scheme or a backend left out of this build; `Unavailable` when the database cannot be reached.
pub async fn open(options: &DatabaseOptions) -> Result<Arc<dyn Storage>> {
    match Location::of(options)? {
        #[cfg(feature = "sqlite")]
        Location::Sqlite(path) => Ok(Arc::new(sqlite::Database::open(path, options).await?)),
        #[cfg(not(feature = "sqlite"))]
        Location::Sqlite(path) => Err(left_out(&format!("SQLite, which `{}` is for", path.display()))),
        #[cfg(feature = "postgres")]
        Location::Postgres => Ok(Arc::new(postgres::Database::open(options).await?)),
        #[cfg(not(feature = "postgres"))]
        Location::Postgres => Err(left_out("PostgreSQL")),
    }
}

/// Runs the pending migrations only, and returns their names.
///
/// # Errors
/// As [`open`].
pub async fn migrate(options: &DatabaseOptions) -> Result<Vec<String>> {
    match Location::of(options)? {
        #[cfg(feature = "sqlite")]
        Location::Sqlite(path) => sqlite::migrate(path).await,
        #[cfg(not(feature = "sqlite"))]
        Location::Sqlite(path) => Err(left_out(&format!("SQLite, which `{}` is for", path.display()))),
        #[cfg(feature = "postgres")]
        Location::Postgres => postgres::migrate(options).await,
        #[cfg(not(feature = "postgres"))]
        Location::Postgres => Err(left_out("PostgreSQL")),
    }
}

/// Finds the network addresses that the database has now, for whoever must keep away from it; none for one in a file.
///
/// # Errors
/// As [`open`].
pub async fn addresses(options: &DatabaseOptions) -> Result<Vec<SocketAddr>> {
    match Location::of(options)? {
        Location::Sqlite(_path) => Ok(Vec::new()),
        #[cfg(feature = "postgres")]
        Location::Postgres => postgres::addresses(options).await,
        #[cfg(not(feature = "postgres"))]
        Location::Postgres => Err(left_out("PostgreSQL")),
    }
}

/// Makes the error for a backend that was not compiled in.
#[cfg(not(all(feature = "sqlite", feature = "postgres")))]
fn left_out(database: &str) -> Error {
    Error::configuration(format!("this build of the program has no support for {database}"))
}
