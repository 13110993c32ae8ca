//! Durable state in the words of a CA: the [`Storage`] trait, its values, and the choice of a backend by URL.
//!
//! Each method is one transaction and none leaks. Failure is never "not found". A method that changes something takes the audit event
//! that belongs to it and commits both or neither. Backends know nothing of their callers; this file names no database library.

mod audit_chain;
mod configuration;
mod failure;
mod group_commit;
mod migrations;
mod names;
#[cfg(feature = "postgres")]
mod postgres;
mod rows;
mod schema;
#[cfg(feature = "sqlite")]
mod sqlite;
mod values;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

pub use configuration::*;
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
}

/// What the CA keeps, and how.
#[async_trait]
pub trait Storage: Send + Sync + std::fmt::Debug {
    // ---- issuance

    /// Records a certificate, its names, its audit event and its idempotency key in one durable commit, shared with others that wait.
    async fn record_issuance(&self, issuance: Issuance) -> Result<Recorded>;

    /// Finds what an idempotency key led to, if it is still held at `now`.
    async fn idempotent_answer(&self, caller: &str, key: &str, now: Timestamp) -> Result<Option<IdempotencyAnswer>>;

    /// Whether a key (SHA-256 of its subject public key info) is on the block list.
    async fn key_is_blocked(&self, spki_sha256: &[u8; 32]) -> Result<bool>;

    // ---- inventory

    /// Finds a certificate by serial number.
    async fn certificate_by_serial(&self, serial: &SerialNumber) -> Result<Option<CertificateRecord>>;

    /// Lists certificates.
    async fn certificates(&self, filter: &CertificateFilter, page: PageRequest) -> Result<Vec<CertificateRecord>>;

    /// Counts over the inventory.
    async fn statistics(&self, now: Timestamp) -> Result<Statistics>;

    // ---- revocation

    /// Changes a certificate's state by one conditional statement, counts it at its issuer, and writes the event.
    async fn change_state(&self, change: StateChange, audit: AuditEvent) -> Result<StateChanged>;

    /// Lists an issuer's certificates that are revoked or on hold and end at `not_after` or later, by row, at most `limit` after row `after`.
    async fn revoked_certificates(
        &self,
        issuer_id: i32,
        not_after: Timestamp,
        after: i64,
        limit: u32,
    ) -> Result<Vec<RevokedCertificate>>;

    /// Takes the issuer's next CRL number; numbers only rise, and are never given twice.
    async fn next_crl_number(&self, issuer_id: i32) -> Result<i64>;

    /// Publishes a CRL unless one with a greater number is there; answers whether it was.
    async fn publish_crl(&self, crl: CrlRecord, audit: AuditEvent) -> Result<bool>;

    /// Returns the issuer's published CRL.
    async fn current_crl(&self, issuer_id: i32) -> Result<Option<CrlRecord>>;

    // ---- issuers

    /// Records issuers, parents first, all or none; answers `false`, writing nothing, when any name is taken.
    async fn create_issuers(&self, issuers: Vec<NewIssuer>) -> Result<bool>;

    /// Lists the issuers by row.
    async fn issuers(&self) -> Result<Vec<IssuerRecord>>;

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

    /// Revokes a token; answers it, or `None` when there is none that is not revoked.
    async fn revoke_token(&self, id: &str, now: Timestamp, audit: AuditEvent) -> Result<Option<TokenRecord>>;

    // ---- audit

    /// Writes an event on its own (a refusal), in a commit shared with others that wait.
    async fn record_audit(&self, event: AuditEvent) -> Result<()>;

    /// Lists events, newest first, at most `limit` before row `before`.
    async fn audit_events(
        &self,
        filter: &AuditFilter,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Vec<StoredAuditEvent>>;

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

/// Makes the error for a backend that was not compiled in.
#[cfg(not(all(feature = "sqlite", feature = "postgres")))]
fn left_out(database: &str) -> Error {
    Error::configuration(format!("this build of the program has no support for {database}"))
}
