//! [`AcmeStorage`] in terms of a backend's `Database`. Compiled once per backend, like `queries/`.

use async_trait::async_trait;
use futures_util::FutureExt;

use super::{Database, queries};
use crate::error::{ErrorKind, Result};
use crate::policy::acme::Identifier;
use crate::signer::sealing::Sealed;
use crate::storage::group_commit::Ending;
use crate::storage::*;
use crate::x509::{SerialNumber, Timestamp};

#[async_trait]
impl AcmeStorage for Database {
    async fn nonce_epoch(&self) -> Result<[u8; 16]> {
        self.epoch().await
    }

    async fn take_nonce(&self, epoch: &[u8; 16], nonce: &[u8; 16], expires_at: Timestamp) -> Result<NonceTaken> {
        self.take(*epoch, *nonce, expires_at).await
    }

    async fn forget_used_nonces(&self, now: Timestamp) -> Result<u64> {
        use queries::acme::clean_up::BATCH;

        let mut count: u64 = 0;
        loop {
            let deleted = self.forget_nonces(now, BATCH).await?;
            count = count.saturating_add(deleted);
            if deleted < BATCH.unsigned_abs() {
                break;
            }
        }
        self.bound_nonces().await?;
        Ok(count)
    }

    async fn charge_rate_limits(&self, charges: Vec<RateLimitCharge>) -> Result<Option<RateLimited>> {
        self.write_or_undo(move |connection| {
            async move {
                Ok(match queries::acme::rate_limits::charge(connection, charges).await? {
                    None => Ending::Commit(None),
                    limited => Ending::Undo(limited),
                })
            }
            .boxed()
        })
        .await
    }

    async fn check_rate_limits(&self, charges: Vec<RateLimitCharge>) -> Result<Option<RateLimited>> {
        self.read(move |connection| queries::acme::rate_limits::check(connection, charges).boxed()).await
    }

    async fn create_external_account_key(
        &self,
        key: NewExternalAccountKey,
        idempotency: Option<(IdempotencyClaim, Sealed)>,
        audit: AuditEvent,
    ) -> Result<Recorded> {
        self.write(move |connection| {
            queries::acme::external_accounts::create(connection, key, idempotency, audit).boxed()
        })
        .await
    }

    async fn external_account_key(&self, key_id: &str) -> Result<Option<ExternalAccountKeyRecord>> {
        let key_id = key_id.to_owned();
        self.read(move |connection| queries::acme::external_accounts::find(connection, key_id).boxed()).await
    }

    async fn external_account_keys(
        &self,
        principal: Option<&str>,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Vec<ExternalAccountKeyRecord>> {
        let principal = principal.map(str::to_owned);
        self.read(move |connection| {
            queries::acme::external_accounts::list(connection, principal, before, limit).boxed()
        })
        .await
    }

    async fn delete_external_account_key(
        &self,
        key_id: &str,
        principal: Option<&str>,
        now: Timestamp,
        audit: AuditEvent,
    ) -> Result<bool> {
        let (key_id, principal) = (key_id.to_owned(), principal.map(str::to_owned));
        self.write(move |connection| {
            queries::acme::external_accounts::delete(connection, key_id, principal, now, audit).boxed()
        })
        .await
    }

    async fn create_acme_account(
        &self,
        account: NewAcmeAccount,
        charges: Vec<RateLimitCharge>,
        audit: AuditEvent,
    ) -> Result<AcmeAccountCreated> {
        self.write_or_undo(move |connection| {
            queries::acme::accounts::create(connection, account, charges, audit).boxed()
        })
        .await
    }

    async fn acme_account(&self, id: i64) -> Result<Option<AcmeAccountRecord>> {
        self.read(move |connection| queries::acme::accounts::find(connection, id).boxed()).await
    }

    async fn acme_account_by_key(&self, thumbprint: &[u8; 32]) -> Result<Option<AcmeAccountRecord>> {
        let thumbprint = *thumbprint;
        self.read(move |connection| queries::acme::accounts::by_key(connection, thumbprint).boxed()).await
    }

    async fn acme_accounts(
        &self,
        filter: &AcmeAccountFilter,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Page<AcmeAccountRecord>> {
        let filter = filter.clone();
        self.read(move |connection| queries::acme::accounts::list(connection, filter, before, limit).boxed()).await
    }

    async fn change_acme_account(
        &self,
        id: i64,
        change: AcmeAccountChange,
        audit: AuditEvent,
    ) -> Result<Option<AcmeAccountRecord>> {
        self.write_or_undo(move |connection| queries::acme::accounts::change(connection, id, change, audit).boxed())
            .await
    }

    async fn end_acme_account(
        &self,
        id: i64,
        status: AcmeAccountStatus,
        error: &AcmeProblem,
        audit: AuditEvent,
    ) -> Result<bool> {
        let error = error.clone();
        self.write(move |connection| queries::acme::accounts::end(connection, id, status, error, audit).boxed()).await
    }

    async fn change_acme_account_key(
        &self,
        id: i64,
        from: &[u8; 32],
        to: &[u8; 32],
        jwk: &str,
        audit: AuditEvent,
    ) -> Result<AcmeKeyChanged> {
        let (from, to, jwk) = (*from, *to, jwk.to_owned());
        let change = || {
            let (jwk, audit) = (jwk.clone(), audit.clone());
            self.write(move |connection| {
                queries::acme::accounts::change_key(connection, id, from, to, jwk, audit).boxed()
            })
        };
        match change().await {
            // Somebody else took the key meanwhile, and is seen now.
            Err(error) if error.kind() == ErrorKind::Conflict => change().await,
            outcome => outcome,
        }
    }

    async fn valid_acme_authorizations(
        &self,
        account_id: i64,
        identifiers: &[Identifier],
        until: Timestamp,
    ) -> Result<Vec<AcmeAuthorizationRecord>> {
        let identifiers = identifiers.to_vec();
        self.read(move |connection| {
            queries::acme::authorizations::valid(connection, account_id, identifiers, until).boxed()
        })
        .await
    }

    async fn create_acme_order(&self, order: NewAcmeOrder, charges: Vec<RateLimitCharge>) -> Result<AcmeOrderCreated> {
        self.write_or_undo(move |connection| queries::acme::orders::create(connection, order, charges).boxed()).await
    }

    async fn acme_order(
        &self,
        id: i64,
        account_id: Option<i64>,
    ) -> Result<Option<(AcmeOrderRecord, Vec<AcmeAuthorizationRecord>)>> {
        self.read(move |connection| queries::acme::orders::find(connection, id, account_id).boxed()).await
    }

    async fn acme_order_certificate(&self, id: i64, account_id: i64) -> Result<Option<CertificateRecord>> {
        self.read(move |connection| queries::acme::orders::certificate(connection, id, account_id).boxed()).await
    }

    async fn acme_order_of_certificate(
        &self,
        issuer_id: i32,
        serial: &SerialNumber,
        account_id: i64,
    ) -> Result<Option<i64>> {
        let serial = serial.clone();
        self.read(move |connection| {
            queries::acme::orders::of_certificate(connection, issuer_id, serial, account_id).boxed()
        })
        .await
    }

    async fn acme_account_orders(&self, account_id: i64, after: Option<i64>, limit: u16) -> Result<Vec<i64>> {
        self.read(move |connection| queries::acme::orders::of_account(connection, account_id, after, limit).boxed())
            .await
    }

    async fn acme_orders(
        &self,
        filter: &AcmeOrderFilter,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Page<(AcmeOrderRecord, Vec<AcmeAuthorizationRecord>)>> {
        let filter = filter.clone();
        self.read(move |connection| queries::acme::order_listing::list(connection, filter, before, limit).boxed()).await
    }

    async fn fail_acme_order(&self, id: i64, error: &AcmeProblem) -> Result<bool> {
        let error = error.clone();
        self.write(move |connection| queries::acme::orders::fail(connection, id, error).boxed()).await
    }

    async fn begin_acme_finalization(
        &self,
        id: i64,
        account_id: i64,
        csr: &[u8],
        holder: &str,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<bool> {
        let (csr, holder) = (csr.to_vec(), holder.to_owned());
        self.write(move |connection| {
            queries::acme::orders::begin_finalization(connection, (id, account_id), csr, holder, now, lease_until)
                .boxed()
        })
        .await
    }

    async fn due_acme_finalizations(
        &self,
        holder: &str,
        now: Timestamp,
        lease_until: Timestamp,
        limit: u16,
    ) -> Result<Vec<AcmeOrderRecord>> {
        let holder = holder.to_owned();
        self.write(move |connection| queries::acme::orders::due(connection, holder, now, lease_until, limit).boxed())
            .await
    }

    async fn acme_replacement(&self, replaces: &str) -> Result<Option<i64>> {
        let replaces = replaces.to_owned();
        self.read(move |connection| queries::acme::orders::replacement(connection, replaces).boxed()).await
    }

    async fn create_acme_authorization(
        &self,
        authorization: NewAcmeAuthorization,
        charges: Vec<RateLimitCharge>,
    ) -> Result<AcmeOrderCreated> {
        self.write_or_undo(move |connection| {
            queries::acme::orders::create_authorization(connection, authorization, charges).boxed()
        })
        .await
    }

    async fn acme_authorization(&self, id: i64, account_id: Option<i64>) -> Result<Option<AcmeAuthorizationRecord>> {
        self.read(move |connection| queries::acme::authorizations::find(connection, id, account_id).boxed()).await
    }

    async fn deactivate_acme_authorization(&self, id: i64, account_id: i64, error: &AcmeProblem) -> Result<bool> {
        let error = error.clone();
        self.write(move |connection| {
            queries::acme::authorizations::deactivate(connection, id, account_id, error).boxed()
        })
        .await
    }

    async fn start_validation(&self, start: StartValidation) -> Result<Option<AcmeAuthorizationRecord>> {
        self.write(move |connection| queries::acme::authorizations::start(connection, start).boxed()).await
    }

    async fn processing_validations(&self, account_id: i64, most: u32) -> Result<u32> {
        self.read(move |connection| queries::acme::authorizations::processing(connection, account_id, most).boxed())
            .await
    }

    async fn due_validations(
        &self,
        holder: &str,
        now_ms: i64,
        lease_until_ms: i64,
        limit: u16,
    ) -> Result<Vec<AcmeAuthorizationRecord>> {
        let holder = holder.to_owned();
        self.write(move |connection| {
            queries::acme::authorizations::due(connection, holder, now_ms, lease_until_ms, limit).boxed()
        })
        .await
    }

    async fn finish_validation(&self, result: ValidationResult) -> Result<bool> {
        self.write_or_undo(move |connection| queries::acme::authorizations::finish(connection, result).boxed()).await
    }

    async fn release_acme_leases(&self, holder: &str) -> Result<()> {
        let holder = holder.to_owned();
        self.write(move |connection| queries::acme::authorizations::release(connection, holder).boxed()).await
    }

    async fn create_renewal_window(&self, window: RenewalWindowRecord, audit: AuditEvent) -> Result<()> {
        self.write(move |connection| queries::acme::renewal::create(connection, window, audit).boxed()).await
    }

    async fn renewal_windows(&self, before: Option<i64>, limit: u16) -> Result<Vec<RenewalWindowRecord>> {
        self.read(move |connection| queries::acme::renewal::list(connection, before, limit).boxed()).await
    }

    async fn renewal_windows_of(
        &self,
        issuer_id: i32,
        serial: &SerialNumber,
        issued_at: Timestamp,
    ) -> Result<Vec<RenewalWindowRecord>> {
        let serial = serial.clone();
        self.read(move |connection| {
            queries::acme::renewal::of_certificate(connection, issuer_id, serial, issued_at).boxed()
        })
        .await
    }

    async fn delete_renewal_window(&self, id: i64, audit: AuditEvent) -> Result<bool> {
        self.write(move |connection| queries::acme::renewal::delete(connection, id, audit).boxed()).await
    }

    async fn clean_up_acme(&self, now: Timestamp, before: Timestamp) -> Result<u64> {
        use queries::acme::clean_up::{self, BATCH};

        let mut count = self.forget_used_nonces(now).await?;
        let mut is_left = |seen: u64| {
            count = count.saturating_add(seen);
            seen >= BATCH.unsigned_abs()
        };
        let counted = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
        // In small transactions, so that orders go on between them.
        while is_left(counted(self.write(move |connection| clean_up::rate_limits(connection, now).boxed()).await?)) {}
        while is_left(counted(self.write(move |connection| clean_up::expire_orders(connection, now).boxed()).await?)) {}
        while is_left(counted(self.write(move |connection| clean_up::orders(connection, before).boxed()).await?)) {}
        while is_left(counted(
            self.write(move |connection| clean_up::authorizations(connection, before).boxed()).await?,
        )) {}
        Ok(count)
    }
}
