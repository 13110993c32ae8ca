//! The values of ACME accounts: nonces, rate limits, external account keys, accounts. Those of orders are in `orders.rs`.

use crate::signer::sealing::Sealed;
use crate::x509::Timestamp;

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
