//! [`Storage`] in terms of a backend's `Database`, which reads, writes and queues. Compiled once per backend, like `queries/`.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;

use super::{Database, queries};
use crate::error::Result;
use crate::signer::sealing::Sealed;
use crate::storage::group_commit::Write;
use crate::storage::{
    AuditEvent, AuditFilter, AuditVerification, CertificateFilter, CertificateImported, CertificateRecord,
    ChangedCertificate, CrlCounters, CrlRecord, CrlSummary, IdempotencyAnswer, IdempotencyClaim, IdempotencyResult,
    ImportedCertificate, ImportedRevocation, Issuance, IssuerChange, IssuerRecord, KeyLocation, KeyRecord,
    KeyRevocation, KeyRevoked, NewIssuer, NewIssuerCertificate, NewOcspResponder, NewProfileVersion, NewToken,
    OcspResponderRecord, Page, PageRequest, PoolStatus, ProfilePut, ProfileRecord, Recorded, RevokedCertificate,
    RevokedSerial, SealedSecret, SecretOwner, SerialStatus, StateChange, StateChanged, Statistics, Storage,
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

    async fn certificates_by_serial(&self, serial: &SerialNumber) -> Result<Vec<CertificateRecord>> {
        let serial = serial.clone();
        self.read(move |connection| async move { queries::certificates::by_serial(connection, &serial).await }.boxed())
            .await
    }

    async fn certificates(&self, filter: &CertificateFilter, page: PageRequest) -> Result<Page<CertificateRecord>> {
        let filter = filter.clone();
        self.read(move |connection| queries::search::certificates(connection, filter, page).boxed()).await
    }

    async fn statistics(&self, now: Timestamp) -> Result<Statistics> {
        self.read(move |connection| queries::statistics::statistics(connection, now).boxed()).await
    }

    async fn count_certificates(&self, now: Timestamp) -> Result<bool> {
        self.write(move |connection| queries::counts::advance(connection, now).boxed()).await
    }

    async fn change_state(&self, change: StateChange, audit: AuditEvent) -> Result<StateChanged> {
        self.write(move |connection| queries::certificates::change_state(connection, change, audit).boxed()).await
    }

    async fn revoke_key(&self, revocation: KeyRevocation, audit: AuditEvent) -> Result<KeyRevoked> {
        self.write(move |connection| queries::key_revocation::revoke(connection, revocation, audit).boxed()).await
    }

    async fn revoked_certificates(
        &self,
        issuer_id: i32,
        shard: Option<i32>,
        not_after: Timestamp,
        after: (i32, i64),
        limit: u32,
    ) -> Result<Vec<RevokedCertificate>> {
        self.read(move |connection| {
            queries::revoked::certificates(connection, issuer_id, shard, not_after, after, limit).boxed()
        })
        .await
    }

    async fn changed_certificates(
        &self,
        issuer_id: i32,
        shard: Option<i32>,
        after: i64,
        limit: u32,
    ) -> Result<Vec<ChangedCertificate>> {
        self.read(move |connection| queries::revoked::changes(connection, issuer_id, shard, after, limit).boxed()).await
    }

    async fn revoked_serials(
        &self,
        issuer_id: i32,
        changed_after: i64,
        not_after: Timestamp,
        after: Option<&SerialNumber>,
        limit: u32,
    ) -> Result<Vec<RevokedSerial>> {
        // No serial number is zero, so all of them come after the empty one.
        let after = after.map(|serial| serial.as_bytes().to_vec()).unwrap_or_default();
        self.read(move |connection| {
            queries::revoked::serials(connection, issuer_id, changed_after, not_after, after, limit).boxed()
        })
        .await
    }

    async fn crl_counters(&self, issuer_id: i32) -> Result<CrlCounters> {
        self.read(move |connection| queries::crls::counters(connection, issuer_id).boxed()).await
    }

    async fn raise_maximum_shard(&self, issuer_id: i32, shard: i32) -> Result<()> {
        self.write(move |connection| queries::crls::raise_maximum_shard(connection, issuer_id, shard).boxed()).await
    }

    async fn take_crl_numbers(&self, issuer_id: i32, count: u32) -> Result<i64> {
        self.write(move |connection| queries::crls::take_numbers(connection, issuer_id, count).boxed()).await
    }

    async fn publish_crls(&self, crls: Vec<Arc<CrlRecord>>, audit: AuditEvent) -> Result<Vec<bool>> {
        self.write(move |connection| queries::crls::publish(connection, crls, audit).boxed()).await
    }

    async fn published_crls(&self, issuer_id: i32) -> Result<Vec<CrlSummary>> {
        self.read(move |connection| queries::crls::published(connection, issuer_id).boxed()).await
    }

    async fn current_crl(&self, issuer_id: i32, shard: i32, is_delta: bool) -> Result<Option<CrlRecord>> {
        self.read(move |connection| queries::crls::current(connection, issuer_id, shard, is_delta).boxed()).await
    }

    async fn import_certificates(
        &self,
        certificates: Vec<ImportedCertificate>,
    ) -> Result<Vec<(SerialNumber, CertificateImported)>> {
        self.write(move |connection| queries::import::certificates(connection, certificates).boxed()).await
    }

    async fn import_revoked_serials(
        &self,
        issuer_id: i32,
        revocations: Vec<ImportedRevocation>,
        crl_number: i64,
        audit: AuditEvent,
    ) -> Result<usize> {
        self.write(move |connection| {
            queries::import::revoked_serials(connection, issuer_id, revocations, crl_number, audit).boxed()
        })
        .await
    }

    async fn certificate_status(&self, issuer_id: i32, serial: &SerialNumber) -> Result<Option<SerialStatus>> {
        let serial = serial.clone();
        self.read(move |connection| queries::ocsp::status(connection, issuer_id, serial).boxed()).await
    }

    async fn issuer_change_counts(&self) -> Result<Vec<(i32, i64)>> {
        self.read(|connection| queries::ocsp::change_counts(connection).boxed()).await
    }

    async fn changed_serials(&self, issuer_id: i32, after: i64, limit: u32) -> Result<Vec<SerialNumber>> {
        self.read(move |connection| queries::ocsp::changed_serials(connection, issuer_id, after, limit).boxed()).await
    }

    async fn ocsp_responders(&self) -> Result<Vec<OcspResponderRecord>> {
        self.read(|connection| queries::ocsp::responders(connection).boxed()).await
    }

    async fn put_ocsp_responder(&self, responder: NewOcspResponder, replaces: Option<Vec<u8>>) -> Result<bool> {
        self.write(move |connection| queries::ocsp::put_responder(connection, responder, replaces).boxed()).await
    }

    async fn create_issuers(
        &self,
        issuers: Vec<NewIssuer>,
        idempotency: Option<(IdempotencyClaim, IdempotencyResult)>,
    ) -> Result<bool> {
        self.write(move |connection| queries::issuers::create(connection, issuers, idempotency).boxed()).await
    }

    async fn issuers(&self) -> Result<Vec<IssuerRecord>> {
        self.read(|connection| queries::issuers::list(connection).boxed()).await
    }

    async fn change_issuers(&self, changes: Vec<IssuerChange>, audit: AuditEvent) -> Result<bool> {
        self.write(move |connection| queries::issuers::change(connection, changes, audit).boxed()).await
    }

    async fn add_issuer_certificate(
        &self,
        issuer_id: i32,
        certificate: NewIssuerCertificate,
        is_primary: bool,
        changes: Vec<IssuerChange>,
        idempotency: Option<(IdempotencyClaim, IdempotencyResult)>,
        audit: AuditEvent,
    ) -> Result<bool> {
        self.write(move |connection| {
            queries::issuers::add_certificate(
                connection,
                (issuer_id, is_primary),
                certificate,
                changes,
                idempotency,
                audit,
            )
            .boxed()
        })
        .await
    }

    async fn keys(&self) -> Result<Vec<KeyRecord>> {
        self.read(|connection| queries::keys::list(connection).boxed()).await
    }

    async fn move_key(&self, id: i32, from: &KeyLocation, to: &KeyLocation, audit: AuditEvent) -> Result<bool> {
        let (from, to) = (from.clone(), to.clone());
        self.write(move |connection| queries::keys::relocate(connection, id, from, to, audit).boxed()).await
    }

    async fn other_secrets(
        &self,
        key_encryption_key_id: &str,
        after: Option<&SecretOwner>,
        limit: u16,
    ) -> Result<Vec<SealedSecret>> {
        let (id, after) = (key_encryption_key_id.to_owned(), after.cloned());
        self.read(move |connection| queries::secrets::not_under(connection, id, after, limit).boxed()).await
    }

    async fn reseal_other(&self, owner: &SecretOwner, from: &Sealed, to: &Sealed) -> Result<bool> {
        let (owner, from, to) = (owner.clone(), from.clone(), to.clone());
        self.write(move |connection| queries::secrets::replace(connection, owner, from, to).boxed()).await
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
    ) -> Result<Page<StoredAuditEvent>> {
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
