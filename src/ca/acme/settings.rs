//! What operators decide about ACME.

use std::time::Duration;

use super::rate_limits::RateLimits;
use crate::policy::acme::ChallengeType;

/// Settings of ACME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeSettings {
    /// The profiles that can be had over ACME; every profile that makes no CAs and takes DNS names or IP addresses if absent.
    pub profiles: Option<Vec<String>>,
    /// The profile of orders in the default directory that name none.
    pub default_profile: String,
    /// The terms of service that accounts must agree to.
    pub terms_of_service: Option<String>,
    /// A page about this CA.
    pub website: Option<String>,
    /// Whether accounts need an external account binding.
    pub external_account_required: bool,
    /// The names by which CAA records know this CA; CAA records are not looked at if empty.
    pub caa_identities: Vec<String>,
    /// The names by which dns-persist-01 records know this CA; that challenge is not offered if empty.
    pub issuer_domain_names: Vec<String>,
    /// The challenges that are offered.
    pub challenges: Vec<ChallengeType>,
    /// The most identifiers of an order.
    pub maximum_identifiers: usize,
    /// The most orders of an account that are neither finalized nor ended.
    pub maximum_pending_orders: u32,
    /// How long an order, and an authorization that is not proven, stays pending.
    pub order_lifetime: Duration,
    /// How long a proof holds, for this order and later ones.
    pub authorization_lifetime: Duration,
    /// Whether orders are finalized in the background, after the answer.
    pub asynchronous_finalize: bool,
    /// How challenges are looked at.
    pub validation: ValidationSchedule,
    /// The limits.
    pub limits: RateLimits,
    /// How long orders and authorizations stay after their end, for operators to look at.
    pub retention: Duration,
    /// After what time clients are to ask for renewal information again.
    pub renewal_poll_interval: Duration,
}

impl Default for AcmeSettings {
    fn default() -> Self {
        Self {
            profiles: None,
            default_profile: "server".to_owned(),
            terms_of_service: None,
            website: None,
            external_account_required: false,
            caa_identities: Vec::new(),
            issuer_domain_names: Vec::new(),
            challenges: ChallengeType::ALL.to_vec(),
            maximum_identifiers: 100,
            maximum_pending_orders: 1000,
            order_lifetime: Duration::from_secs(7 * 86_400),
            authorization_lifetime: Duration::from_secs(30 * 86_400),
            asynchronous_finalize: false,
            validation: ValidationSchedule::default(),
            limits: RateLimits::default(),
            retention: Duration::from_secs(30 * 86_400),
            renewal_poll_interval: Duration::from_secs(6 * 3600),
        }
    }
}

/// How challenges are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidationSchedule {
    /// The most looks at one time in this process.
    pub concurrency: usize,
    /// The most looks at one challenge.
    pub attempts: u32,
    /// The wait after the first look that failed; it doubles with each one after.
    pub backoff: Duration,
    /// The longest that one look takes.
    pub attempt_timeout: Duration,
}

impl Default for ValidationSchedule {
    fn default() -> Self {
        Self { concurrency: 64, attempts: 4, backoff: Duration::from_secs(1), attempt_timeout: Duration::from_secs(20) }
    }
}
