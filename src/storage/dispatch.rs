//! [`Storage`] in terms of a backend's `Database`, which reads, writes and queues. Compiled once per backend, like `queries/`.

use async_trait::async_trait;
use futures_util::FutureExt;

use super::{Database, queries};
use crate::error::Result;
use crate::signer::sealing::Sealed;
use crate::storage::group_commit::Write;
use crate::storage::{
    AuditEvent, AuditFilter, AuditVerification, CertificateFilter, CertificateRecord, CrlRecord, IdempotencyAnswer,
    IdempotencyClaim, Issuance, IssuerRecord, NewIssuer, NewProfileVersion, NewToken, PageRequest, PoolStatus,
    ProfilePut, ProfileRecord, Recorded, RevokedCertificate, StateChange, StateChanged, Statistics, Storage,
    StoredAuditEvent, TokenRecord,
};
use crate::x509::{SerialNumber, Timestamp};

#[async_trait]
impl Storage for Database {
    async fn record_issuance(&self, issuance: Issuance) -> Result<Recorded> {
        self.enqueue(Write::issuance(issuance)?).await
    }

    async fn idempotent_answer(&self, caller: &str, key: &str, now: Timestamp) -> Result<Option<IdempotencyAnswer>> {
        let (caller, key) = (caller.to_owned(), key.to_owned());
        self.read(move |connection| queries::idempotency::answer(connection, caller, key, now).boxed()).await
    }

    async fn key_is_blocked(&self, spki_sha256: &[u8; 32]) -> Result<bool> {
        let spki_sha256 = *spki_sha256;
        self.read(move |connection| queries::certificates::key_is_blocked(connection, spki_sha256).boxed()).await
    }

    async fn certificate_by_serial(&self, serial: &SerialNumber) -> Result<Option<CertificateRecord>> {
        let serial = serial.clone();
        self.read(move |connection| async move { queries::certificates::by_serial(connection, &serial).await }.boxed())
            .await
    }

    async fn certificates(&self, filter: &CertificateFilter, page: PageRequest) -> Result<Vec<CertificateRecord>> {
        let filter = filter.clone();
        self.read(move |connection| queries::search::certificates(connection, filter, page).boxed()).await
    }

    async fn statistics(&self, now: Timestamp) -> Result<Statistics> {
        self.read(move |connection| queries::statistics::statistics(connection, now).boxed()).await
    }

    async fn change_state(&self, change: StateChange, audit: AuditEvent) -> Result<StateChanged> {
        self.write(move |connection| queries::certificates::change_state(connection, change, audit).boxed()).await
    }

    async fn revoked_certificates(
        &self,
        issuer_id: i32,
        not_after: Timestamp,
        after: i64,
        limit: u32,
    ) -> Result<Vec<RevokedCertificate>> {
        self.read(move |connection| {
            queries::certificates::revoked(connection, issuer_id, not_after, after, limit).boxed()
        })
        .await
    }

    async fn next_crl_number(&self, issuer_id: i32) -> Result<i64> {
        self.write(move |connection| queries::crls::next_number(connection, issuer_id).boxed()).await
    }

    async fn publish_crl(&self, crl: CrlRecord, audit: AuditEvent) -> Result<bool> {
        self.write(move |connection| queries::crls::publish(connection, crl, audit).boxed()).await
    }

    async fn current_crl(&self, issuer_id: i32) -> Result<Option<CrlRecord>> {
        self.read(move |connection| queries::crls::current(connection, issuer_id).boxed()).await
    }

    async fn create_issuers(&self, issuers: Vec<NewIssuer>) -> Result<bool> {
        self.write(move |connection| queries::issuers::create(connection, issuers).boxed()).await
    }

    async fn issuers(&self) -> Result<Vec<IssuerRecord>> {
        self.read(|connection| queries::issuers::list(connection).boxed()).await
    }

    async fn put_profile(&self, profile: NewProfileVersion, audit: AuditEvent) -> Result<ProfilePut> {
        self.write(move |connection| queries::profiles::put(connection, profile, audit).boxed()).await
    }

    async fn delete_profile(&self, name: &str, audit: AuditEvent) -> Result<bool> {
        let name = name.to_owned();
        self.write(move |connection| queries::profiles::delete(connection, name, audit).boxed()).await
    }

    async fn profiles(&self) -> Result<Vec<ProfileRecord>> {
        self.read(|connection| queries::profiles::list(connection).boxed()).await
    }

    async fn profile_version(&self, name: &str, version: i32) -> Result<Option<ProfileRecord>> {
        let name = name.to_owned();
        self.read(move |connection| async move { queries::profiles::version(connection, &name, version).await }.boxed())
            .await
    }

    async fn create_token(
        &self,
        token: NewToken,
        idempotency: Option<(IdempotencyClaim, Sealed)>,
        audit: AuditEvent,
    ) -> Result<Recorded> {
        self.write(move |connection| queries::tokens::create(connection, token, idempotency, audit).boxed()).await
    }

    async fn token_by_secret(&self, secret_sha256: &[u8; 32]) -> Result<Option<TokenRecord>> {
        let secret_sha256 = *secret_sha256;
        self.read(move |connection| queries::tokens::by_secret(connection, secret_sha256).boxed()).await
    }

    async fn tokens(&self, before: Option<i64>, limit: u16) -> Result<Vec<TokenRecord>> {
        self.read(move |connection| queries::tokens::list(connection, before, limit).boxed()).await
    }

    async fn revoke_token(&self, id: &str, now: Timestamp, audit: AuditEvent) -> Result<Option<TokenRecord>> {
        let id = id.to_owned();
        self.write(move |connection| queries::tokens::revoke(connection, id, now, audit).boxed()).await
    }

    async fn record_audit(&self, event: AuditEvent) -> Result<()> {
        self.enqueue(Write::audit(event)?).await.map(|_recorded| ())
    }

    async fn audit_events(
        &self,
        filter: &AuditFilter,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Vec<StoredAuditEvent>> {
        let filter = filter.clone();
        self.read(move |connection| queries::audit::list(connection, filter, before, limit).boxed()).await
    }

    async fn verify_audit(&self) -> Result<AuditVerification> {
        self.read_long(|connection| queries::verification::verify(connection).boxed()).await
    }

    async fn generation(&self) -> Result<i64> {
        self.read(|connection| queries::operation::generation(connection).boxed()).await
    }

    async fn setting_or_insert(&self, name: &str, initial: &[u8]) -> Result<Vec<u8>> {
        let (name, initial) = (name.to_owned(), initial.to_vec());
        self.write(move |connection| queries::operation::setting_or_insert(connection, name, initial).boxed()).await
    }

    async fn acquire_lease(&self, name: &str, holder: &str, now: Timestamp, until: Timestamp) -> Result<bool> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.write(move |connection| queries::operation::acquire_lease(connection, name, holder, now, until).boxed())
            .await
    }

    async fn clean_up(&self, now: Timestamp) -> Result<u64> {
        let leases =
            self.write(move |connection| queries::operation::delete_ended_leases(connection, now).boxed()).await?;
        let mut deleted = u64::try_from(leases).unwrap_or(u64::MAX);
        // In small transactions, so that issuance goes on between them.
        loop {
            let keys =
                self.write(move |connection| queries::operation::delete_free_keys(connection, now).boxed()).await?;
            deleted = deleted.saturating_add(u64::try_from(keys).unwrap_or(u64::MAX));
            if i64::try_from(keys).unwrap_or(i64::MAX) < queries::operation::CLEAN_UP_BATCH {
                return Ok(deleted);
            }
        }
    }

    async fn ready(&self) -> Result<()> {
        self.read(|connection| queries::operation::ready(connection).boxed()).await
    }

    fn pool_status(&self) -> PoolStatus {
        self.status()
    }

    async fn close(&self) {
        self.finish().await;
    }
}
