//! The part of the storage that keeps ACME: [`AcmeStorage`]. Its values are in `acme/`.
//!
//! Rows are numbered by the caller. Changes of state are single conditional statements: whoever loses a race is told so.

mod accounts;
mod orders;

use async_trait::async_trait;

pub use accounts::*;
pub use orders::*;

use super::{AuditEvent, CertificateRecord, IdempotencyClaim, Page, Recorded};
use crate::error::Result;
use crate::policy::acme::Identifier;
use crate::signer::sealing::Sealed;
use crate::x509::{SerialNumber, Timestamp};

/// What ACME keeps, and how.
#[async_trait]
pub trait AcmeStorage: Send + Sync + std::fmt::Debug {
    // ---- nonces

    /// Returns the epoch that nonces of now belong to. It changes when the memory of used nonces is lost.
    async fn nonce_epoch(&self) -> Result<[u8; 16]>;

    /// Takes a nonce of an epoch, once: by one of many callers.
    async fn take_nonce(&self, epoch: &[u8; 16], nonce: &[u8; 16], expires_at: Timestamp) -> Result<NonceTaken>;

    /// Deletes, in small transactions, used nonces of the past. Where too many are left nonetheless, a new epoch begins, and those of the one
    /// before are good for nothing. Answers how many were deleted.
    async fn forget_used_nonces(&self, now: Timestamp) -> Result<u64>;

    // ---- rate limits

    /// Charges all of the limits, or none when one of them is used up.
    async fn charge_rate_limits(&self, charges: Vec<RateLimitCharge>) -> Result<Option<RateLimited>>;

    /// Tells which of the limits is used up, charging none.
    async fn check_rate_limits(&self, charges: Vec<RateLimitCharge>) -> Result<Option<RateLimited>>;

    // ---- external account keys

    /// Records an external account key; with an idempotency key and its sealed answer in the same commit.
    async fn create_external_account_key(
        &self,
        key: NewExternalAccountKey,
        idempotency: Option<(IdempotencyClaim, Sealed)>,
        audit: AuditEvent,
    ) -> Result<Recorded>;

    /// Finds a key by its identifier, deleted and expired ones too.
    async fn external_account_key(&self, key_id: &str) -> Result<Option<ExternalAccountKeyRecord>>;

    /// Lists keys that are not deleted, newest first, at most `limit` before row `before`; only of this principal if one is given.
    async fn external_account_keys(
        &self,
        principal: Option<&str>,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Vec<ExternalAccountKeyRecord>>;

    /// Deletes a key, only of this principal if one is given; answers whether there was one. Accounts bound by it can order no more.
    async fn delete_external_account_key(
        &self,
        key_id: &str,
        principal: Option<&str>,
        now: Timestamp,
        audit: AuditEvent,
    ) -> Result<bool>;

    // ---- accounts

    /// Records an account, charging the limits in the same transaction.
    async fn create_acme_account(
        &self,
        account: NewAcmeAccount,
        charges: Vec<RateLimitCharge>,
        audit: AuditEvent,
    ) -> Result<AcmeAccountCreated>;

    /// Finds an account by row.
    async fn acme_account(&self, id: i64) -> Result<Option<AcmeAccountRecord>>;

    /// Finds an account by the thumbprint of its key.
    async fn acme_account_by_key(&self, thumbprint: &[u8; 32]) -> Result<Option<AcmeAccountRecord>>;

    /// Lists accounts, newest first, at most `limit` before row `before`.
    async fn acme_accounts(
        &self,
        filter: &AcmeAccountFilter,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Page<AcmeAccountRecord>>;

    /// Changes a valid account; answers it, or `None` when there is none that is valid (or, with a binding, none that has none yet and whose
    /// key may still be used).
    async fn change_acme_account(
        &self,
        id: i64,
        change: AcmeAccountChange,
        audit: AuditEvent,
    ) -> Result<Option<AcmeAccountRecord>>;

    /// Ends a valid account: its pending authorizations are deactivated, and its orders that are pending or processing become invalid with
    /// `error`. Answers whether there was a valid one.
    async fn end_acme_account(
        &self,
        id: i64,
        status: AcmeAccountStatus,
        error: &AcmeProblem,
        audit: AuditEvent,
    ) -> Result<bool>;

    /// Puts another key in the place of a valid account's (RFC 8555, section 7.3.5).
    async fn change_acme_account_key(
        &self,
        id: i64,
        from: &[u8; 32],
        to: &[u8; 32],
        jwk: &str,
        audit: AuditEvent,
    ) -> Result<AcmeKeyChanged>;

    // ---- orders

    /// Lists the valid authorizations of an account for these identifiers that last beyond `until`: the latest for each.
    async fn valid_acme_authorizations(
        &self,
        account_id: i64,
        identifiers: &[Identifier],
        until: Timestamp,
    ) -> Result<Vec<AcmeAuthorizationRecord>>;

    /// Records an order with its new authorizations, charging the limits in the same transaction. Nothing is written unless the account is
    /// valid. `Conflict` when an authorization that is there already is neither pending nor valid any more.
    async fn create_acme_order(&self, order: NewAcmeOrder, charges: Vec<RateLimitCharge>) -> Result<AcmeOrderCreated>;

    /// Finds an order with its authorizations in the order of its identifiers, only of this account if one is given.
    async fn acme_order(
        &self,
        id: i64,
        account_id: Option<i64>,
    ) -> Result<Option<(AcmeOrderRecord, Vec<AcmeAuthorizationRecord>)>>;

    /// Finds the certificate of an account's order.
    async fn acme_order_certificate(&self, id: i64, account_id: i64) -> Result<Option<CertificateRecord>>;

    /// Finds the order of an account that a certificate was issued for.
    async fn acme_order_of_certificate(
        &self,
        issuer_id: i32,
        serial: &SerialNumber,
        account_id: i64,
    ) -> Result<Option<i64>>;

    /// Lists the row numbers of an account's orders that are not invalid, oldest first, at most `limit` after row `after`.
    async fn acme_account_orders(&self, account_id: i64, after: Option<i64>, limit: u16) -> Result<Vec<i64>>;

    /// Lists orders with their authorizations, newest first, at most `limit` before row `before`.
    async fn acme_orders(
        &self,
        filter: &AcmeOrderFilter,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Page<(AcmeOrderRecord, Vec<AcmeAuthorizationRecord>)>>;

    /// Makes an order that is pending or processing invalid; answers whether it was.
    async fn fail_acme_order(&self, id: i64, error: &AcmeProblem) -> Result<bool>;

    /// Keeps the request of a pending order whose authorizations are all valid at `now`, leased to `holder`, to be finalized in the
    /// background; answers whether it was so.
    async fn begin_acme_finalization(
        &self,
        id: i64,
        account_id: i64,
        csr: &[u8],
        holder: &str,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<bool>;

    /// Leases orders that are processing, and whose lease ended, to `holder`, at most `limit`.
    async fn due_acme_finalizations(
        &self,
        holder: &str,
        now: Timestamp,
        lease_until: Timestamp,
        limit: u16,
    ) -> Result<Vec<AcmeOrderRecord>>;

    /// Finds the order that replaces a certificate and is not invalid.
    async fn acme_replacement(&self, replaces: &str) -> Result<Option<i64>>;

    // ---- authorizations

    /// Records an authorization that no order asked for (RFC 8555, section 7.4.1); answers as for orders.
    async fn create_acme_authorization(
        &self,
        authorization: NewAcmeAuthorization,
        charges: Vec<RateLimitCharge>,
    ) -> Result<AcmeOrderCreated>;

    /// Finds an authorization, only of this account if one is given.
    async fn acme_authorization(&self, id: i64, account_id: Option<i64>) -> Result<Option<AcmeAuthorizationRecord>>;

    /// Deactivates a pending or valid authorization of an account: pending orders that depend on it become invalid with `error`. Answers
    /// whether it was so.
    async fn deactivate_acme_authorization(&self, id: i64, account_id: i64, error: &AcmeProblem) -> Result<bool>;

    /// Begins the validation of a pending authorization of a valid account whose challenges were not answered yet, leased to `holder`; answers
    /// it as it is now, or `None` when it was not so or the limit is used up.
    async fn start_validation(&self, start: StartValidation) -> Result<Option<AcmeAuthorizationRecord>>;

    /// Counts the challenges of an account that were answered and are not decided yet, up to `most`.
    async fn processing_validations(&self, account_id: i64, most: u32) -> Result<u32>;

    /// Leases authorizations whose next look is due, and whose lease ended, to `holder`, at most `limit`: in turns by account, the account
    /// first that has the fewest looked at. Those that are past their end are among them, so that they are ended.
    async fn due_validations(
        &self,
        holder: &str,
        now_ms: i64,
        lease_until_ms: i64,
        limit: u16,
    ) -> Result<Vec<AcmeAuthorizationRecord>>;

    /// Writes down what a look came to, unless the lease is another's or the authorization is not pending any more; answers whether it was
    /// written. One that fails for good makes pending orders that depend on it invalid with its error.
    async fn finish_validation(&self, result: ValidationResult) -> Result<bool>;

    /// Ends the leases of `holder`, which stops: validations and finalizations that it leaves behind are due at once.
    async fn release_acme_leases(&self, holder: &str) -> Result<()>;

    // ---- renewal information

    /// Records a renewal window.
    async fn create_renewal_window(&self, window: RenewalWindowRecord, audit: AuditEvent) -> Result<()>;

    /// Lists the renewal windows, newest first, at most `limit` before row `before`.
    async fn renewal_windows(&self, before: Option<i64>, limit: u16) -> Result<Vec<RenewalWindowRecord>>;

    /// Lists the windows that hold for a certificate.
    async fn renewal_windows_of(
        &self,
        issuer_id: i32,
        serial: &SerialNumber,
        issued_at: Timestamp,
    ) -> Result<Vec<RenewalWindowRecord>>;

    /// Deletes a renewal window; answers whether there was one.
    async fn delete_renewal_window(&self, id: i64, audit: AuditEvent) -> Result<bool>;

    // ---- clean-up

    /// Deletes, in small transactions, what has served its time: used nonces and rate limits of the past, authorizations and orders that ended
    /// before `before`; makes orders that expired invalid. Orders whose certificate is recorded stay until the certificate has ended. Answers
    /// how many rows.
    async fn clean_up_acme(&self, now: Timestamp, before: Timestamp) -> Result<u64>;
}
