//! The values of ACME, and the part of the storage that keeps them: [`AcmeStorage`].
//!
//! Rows are numbered by the caller. Changes of state are single conditional statements: whoever loses a race is told so.

use async_trait::async_trait;

use super::{AuditEvent, CertificateRecord, IdempotencyClaim, Recorded};
use crate::error::Result;
use crate::policy::acme::{ChallengeType, Identifier};
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
    ) -> Result<Vec<AcmeAccountRecord>>;

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
    ) -> Result<Vec<(AcmeOrderRecord, Vec<AcmeAuthorizationRecord>)>>;

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

/// What became of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceTaken {
    /// It was not used before, and is now.
    Taken,
    /// It was used before.
    Used,
    /// Its epoch is over.
    EpochEnded,
}

/// A charge of one limit by the generic cell rate algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitCharge {
    /// The limit's name, for messages.
    pub limit: &'static str,
    /// What is limited, such as `orders:17`; at most 512 octets.
    pub key: String,
    /// Milliseconds that one costs: the period over the count.
    pub cost_ms: i64,
    /// How far the arrival time may run ahead of the clock, in milliseconds: the period.
    pub period_ms: i64,
    /// The present.
    pub now_ms: i64,
}

/// A limit that is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimited {
    /// The limit's name.
    pub limit: &'static str,
    /// When the same charge would pass, in Unix milliseconds.
    pub retry_at_ms: i64,
}

/// An external account key about to be recorded.
#[derive(Clone, Debug)]
pub struct NewExternalAccountKey {
    /// The row.
    pub id: i64,
    /// The identifier that clients give as `kid`.
    pub key_id: String,
    /// The profile that accounts bound by it may order under.
    pub profile: String,
    /// The principal that certificates of such accounts belong to.
    pub principal: String,
    /// The grants document, JSON.
    pub grants: String,
    /// Whether the binding itself proves control of every name within the grants.
    pub proves_control: bool,
    /// Whether it binds one account only.
    pub single_use: bool,
    /// The key of the MAC.
    pub sealed: Sealed,
    /// The principal that made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ends to be valid.
    pub expires_at: Option<Timestamp>,
}

/// An external account key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAccountKeyRecord {
    /// The row.
    pub id: i64,
    /// The identifier that clients give as `kid`.
    pub key_id: String,
    /// The profile that accounts bound by it may order under.
    pub profile: String,
    /// The principal that certificates of such accounts belong to.
    pub principal: String,
    /// The grants document, JSON.
    pub grants: String,
    /// Whether the binding itself proves control of every name within the grants.
    pub proves_control: bool,
    /// Whether it binds one account only.
    pub single_use: bool,
    /// The key of the MAC.
    pub sealed: Sealed,
    /// The principal that made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ends to be valid.
    pub expires_at: Option<Timestamp>,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
}

impl ExternalAccountKeyRecord {
    /// Whether it may be used at a moment.
    #[must_use]
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.deleted_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// The status of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AcmeAccountStatus {
    /// It may be used.
    Valid,
    /// Its holder ended it.
    Deactivated,
    /// An operator ended it.
    Revoked,
}

/// An account about to be recorded.
#[derive(Clone, Debug)]
pub struct NewAcmeAccount {
    /// The row.
    pub id: i64,
    /// RFC 7638 thumbprint of its key.
    pub thumbprint: [u8; 32],
    /// Its key, canonical JSON.
    pub jwk: String,
    /// Its contacts.
    pub contacts: Vec<String>,
    /// The terms of service it agreed to.
    pub terms_of_service: Option<String>,
    /// The row of the external account key and the binding as it was sent.
    pub binding: Option<(i64, String)>,
    /// When.
    pub created_at: Timestamp,
    /// The client's address.
    pub created_from: Option<String>,
}

/// What became of a new account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcmeAccountCreated {
    /// It was recorded.
    Created,
    /// There is one with this key; nothing was written.
    Exists(Box<AcmeAccountRecord>),
    /// The external account key is deleted, expired, or has bound the one account it may; nothing was written.
    BindingUnusable,
    /// A limit is used up; nothing was written.
    RateLimited(RateLimited),
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeAccountRecord {
    /// The row.
    pub id: i64,
    /// The status.
    pub status: AcmeAccountStatus,
    /// RFC 7638 thumbprint of its key.
    pub thumbprint: [u8; 32],
    /// Its key, canonical JSON.
    pub jwk: String,
    /// Its contacts.
    pub contacts: Vec<String>,
    /// The terms of service it agreed to.
    pub terms_of_service: Option<String>,
    /// The external account key it is bound by.
    pub external_account_key: Option<ExternalAccountKeyRecord>,
    /// The binding as it was sent, JSON.
    pub external_account_binding: Option<String>,
    /// Overrides of rate limits, JSON.
    pub rate_limits: Option<String>,
    /// When.
    pub created_at: Timestamp,
    /// The client's address.
    pub created_from: Option<String>,
}

/// A change of an account; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcmeAccountChange {
    /// The new contacts.
    pub contacts: Option<Vec<String>>,
    /// The terms of service that are agreed to now.
    pub terms_of_service: Option<String>,
    /// The row of an external account key and the binding as it was sent, of an account that has none.
    pub binding: Option<(i64, String)>,
    /// The new overrides of rate limits, JSON; `Some(None)` takes them away.
    pub rate_limits: Option<Option<String>>,
}

/// What became of a change of an account's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcmeKeyChanged {
    /// It was made.
    Changed,
    /// This account has the new key; nothing was written.
    Taken(i64),
    /// The account is not valid, or has another key by now; nothing was written.
    Stale,
}

/// Which accounts to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcmeAccountFilter {
    /// Only this status.
    pub status: Option<AcmeAccountStatus>,
    /// Only those bound by the key of this identifier.
    pub external_account_key: Option<String>,
    /// Only those bound by keys of this principal.
    pub principal: Option<String>,
    /// Only the one with this thumbprint.
    pub thumbprint: Option<[u8; 32]>,
}

/// A problem as it is stored and shown: of a challenge or an order.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AcmeProblem {
    /// The token under `urn:ietf:params:acme:error:`.
    #[serde(rename = "type")]
    pub error_type: String,
    /// What was wrong.
    pub detail: String,
    /// One for each identifier that has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subproblems: Vec<crate::error::AcmeSubproblem>,
}

/// The stored status of an order. That it is ready follows from its authorizations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AcmeOrderStatus {
    /// It waits for its authorizations, or is ready.
    Pending,
    /// Its certificate is being issued in the background.
    Processing,
    /// Its certificate was issued.
    Valid,
    /// It came to nothing.
    Invalid,
}

/// The status of an authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AcmeAuthorizationStatus {
    /// Control has yet to be proven.
    Pending,
    /// Control was proven.
    Valid,
    /// The proof failed.
    Invalid,
    /// Its account does not want it any more.
    Deactivated,
}

/// The state of the challenge that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcmeChallengeState {
    /// It is being looked at.
    Processing,
    /// It was met.
    Valid,
    /// It was not met.
    Invalid,
}

/// An order about to be recorded.
#[derive(Clone, Debug)]
pub struct NewAcmeOrder {
    /// The row.
    pub id: i64,
    /// The account.
    pub account_id: i64,
    /// The profile.
    pub profile: String,
    /// The identifiers.
    pub identifiers: Vec<Identifier>,
    /// The first second of validity that was asked for.
    pub not_before: Option<Timestamp>,
    /// The last second of validity that was asked for.
    pub not_after: Option<Timestamp>,
    /// The certificate identifier (RFC 9773, section 4.1) that it replaces.
    pub replaces: Option<String>,
    /// When.
    pub created_at: Timestamp,
    /// When it ends to be pending.
    pub expires_at: Timestamp,
    /// The most orders of the account that are pending at one time, this one with them.
    pub maximum_pending: u32,
    /// One for each identifier, in their order.
    pub authorizations: Vec<OrderAuthorization>,
}

/// An authorization of a new order.
#[derive(Clone, Debug)]
pub enum OrderAuthorization {
    /// One that is there already.
    Existing(i64),
    /// One that is recorded with the order.
    New(NewAcmeAuthorization),
}

/// An authorization about to be recorded.
#[derive(Clone, Debug)]
pub struct NewAcmeAuthorization {
    /// The row.
    pub id: i64,
    /// The account.
    pub account_id: i64,
    /// The identifier.
    pub identifier: Identifier,
    /// `Pending`, or `Valid` when an external account binding proves control.
    pub status: AcmeAuthorizationStatus,
    /// The token of its challenges: 43 characters of base64url, 256 random bits.
    pub token: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ends to be pending, or valid.
    pub expires_at: Timestamp,
}

/// What became of a new order or authorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcmeOrderCreated {
    /// It was recorded.
    Created,
    /// A limit is used up; nothing was written.
    RateLimited(RateLimited),
    /// This order, which is not invalid, replaces the same certificate; nothing was written.
    AlreadyReplaced(i64),
    /// The account has as many pending orders as it may have; nothing was written.
    TooManyPending,
    /// The account is not valid any more; nothing was written.
    AccountEnded,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeOrderRecord {
    /// The row.
    pub id: i64,
    /// The account.
    pub account_id: i64,
    /// The profile.
    pub profile: String,
    /// The stored status.
    pub status: AcmeOrderStatus,
    /// The identifiers.
    pub identifiers: Vec<Identifier>,
    /// The first second of validity that was asked for.
    pub not_before: Option<Timestamp>,
    /// The last second of validity that was asked for.
    pub not_after: Option<Timestamp>,
    /// The certificate identifier (RFC 9773, section 4.1) that it replaces.
    pub replaces: Option<String>,
    /// When.
    pub created_at: Timestamp,
    /// When it ends to be pending.
    pub expires_at: Timestamp,
    /// Why it is invalid.
    pub error: Option<AcmeProblem>,
    /// The request of one that is processing, DER.
    pub csr: Option<Vec<u8>>,
    /// The issuer's row and the serial number of its certificate.
    pub certificate: Option<(i32, SerialNumber)>,
    /// When its certificate was issued.
    pub finalized_at: Option<Timestamp>,
}

/// Which orders to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcmeOrderFilter {
    /// Only of this account.
    pub account_id: Option<i64>,
    /// Only with this stored status.
    pub status: Option<AcmeOrderStatus>,
    /// Only under this profile.
    pub profile: Option<String>,
    /// Only with this identifier, as orders write it.
    pub identifier: Option<String>,
    /// Created at or after.
    pub created_after: Option<Timestamp>,
    /// Created before.
    pub created_before: Option<Timestamp>,
}

/// An authorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeAuthorizationRecord {
    /// The row.
    pub id: i64,
    /// The account.
    pub account_id: i64,
    /// The identifier.
    pub identifier: Identifier,
    /// The stored status; one that is past its end is expired.
    pub status: AcmeAuthorizationStatus,
    /// The token of its challenges.
    pub token: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ends to be pending, or valid.
    pub expires_at: Timestamp,
    /// The challenge that was answered with its state.
    pub challenge: Option<(ChallengeType, AcmeChallengeState)>,
    /// RFC 7638 thumbprint of the account key at the moment of the answer.
    pub thumbprint: Option<[u8; 32]>,
    /// The account's address, as the client knew it at that moment.
    pub account_url: Option<String>,
    /// How many looks there were.
    pub attempts: i32,
    /// When the next look is due, in Unix milliseconds.
    pub next_attempt_at_ms: Option<i64>,
    /// When control was proven.
    pub validated_at: Option<Timestamp>,
    /// The last failure.
    pub error: Option<AcmeProblem>,
}

/// The beginning of a validation.
#[derive(Clone, Debug)]
pub struct StartValidation {
    /// The authorization.
    pub id: i64,
    /// Its account.
    pub account_id: i64,
    /// The challenge that is answered.
    pub challenge: ChallengeType,
    /// RFC 7638 thumbprint of the account key.
    pub thumbprint: [u8; 32],
    /// The account's address, as the client knows it.
    pub account_url: String,
    /// Who is to look.
    pub holder: String,
    /// The present, in Unix milliseconds.
    pub now_ms: i64,
    /// The end of the lease, in Unix milliseconds.
    pub lease_until_ms: i64,
    /// A limit that must not be used up; it is not charged.
    pub limit: Option<RateLimitCharge>,
    /// The most challenges of the account that may be looked at, this one among them. A few more when many are answered at once.
    pub most_processing: u32,
}

/// What a look at a challenge came to.
#[derive(Clone, Debug)]
pub struct ValidationResult {
    /// The authorization.
    pub id: i64,
    /// Who looked.
    pub holder: String,
    /// The present.
    pub now: Timestamp,
    /// The outcome.
    pub outcome: ValidationOutcome,
    /// What a failure for good is charged to.
    pub charges: Vec<RateLimitCharge>,
    /// The event of a failure for good.
    pub audit: Option<AuditEvent>,
}

/// The outcome of a look at a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidationOutcome {
    /// Control is proven until this moment.
    Valid {
        /// The end of the authorization.
        expires_at: Timestamp,
    },
    /// It failed, and is looked at again.
    Retry {
        /// Why.
        error: AcmeProblem,
        /// When, in Unix milliseconds.
        next_attempt_at_ms: i64,
        /// Whether it was an attempt of the client's, rather than a failure of our own.
        counts: bool,
    },
    /// It failed for good.
    Invalid {
        /// Why.
        error: AcmeProblem,
    },
}

/// The order that an issuance completes: within the commit of its certificate it becomes valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderCompletion {
    /// The order, whose authorizations must all be valid, and not past their ends when the certificate is issued.
    pub order_id: i64,
    /// Its account, which must be valid.
    pub account_id: i64,
    /// The stored status that it must have: `Pending`, or `Processing` under a lease of `holder`.
    pub from: AcmeOrderStatus,
    /// Who works on one that is processing.
    pub holder: Option<String>,
}

/// A moment from which, and one to which, certificates are to be renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalWindowRecord {
    /// The row.
    pub id: i64,
    /// The issuer's row.
    pub issuer_id: i32,
    /// Only the certificate with this serial number.
    pub serial: Option<SerialNumber>,
    /// Only certificates issued before this moment.
    pub issued_before: Option<Timestamp>,
    /// The begin of the window.
    pub starts_at: Timestamp,
    /// Its end, after its begin.
    pub ends_at: Timestamp,
    /// A page that says why.
    pub explanation_url: Option<String>,
    /// The principal that set it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}
