//! The values of ACME orders: orders, authorizations, looks at challenges, renewal windows. Those of accounts are in `accounts.rs`.

use crate::policy::acme::{ChallengeType, Identifier};
use crate::storage::{AuditEvent, RateLimitCharge, RateLimited};
use crate::x509::{SerialNumber, Timestamp};

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
    /// Only rows of this number or greater: what is asked of the time of creation, when the caller numbered rows by it.
    pub from_row: Option<i64>,
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
