//! Rate limits: what is counted, by the generic cell rate algorithm in the database, so that replicas agree.
//!
//! Charges are made here and taken by the storage, in the transaction of what they limit, so that nothing is charged for what fails.

use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::digest;
use ipnet::Ipv6Net;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Account, Acme, AcmeCaller};
use crate::error::{AcmeError, AcmeErrorType, Error, Result};
use crate::policy::acme::Identifier;
use crate::policy::duration;
use crate::storage::{RateLimitCharge, RateLimited};
use crate::x509::json;

/// The most refusals that are audited of one key or address; all are logged and counted.
const AUDITED_REFUSALS: RateLimit = RateLimit { count: 60, period: Duration::from_secs(3600) };

/// The most orders in place of one certificate that no other limit counts.
const EXEMPT_REPLACEMENTS: RateLimit = RateLimit { count: 5, period: Duration::from_secs(86_400) };
/// The limit of [`EXEMPT_REPLACEMENTS`].
pub(super) const EXEMPT: &str = "exempt_replacements";
/// The identifiers of an order that count as one order.
const IDENTIFIERS_OF_ONE: usize = 10;

/// So many in a period: all at once, then evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// How many; 0: no limit.
    #[schema(example = 300)]
    pub count: u32,
    /// In what time.
    #[serde(with = "duration")]
    #[schema(value_type = String, example = "3h")]
    pub period: Duration,
}

/// The limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// New accounts of one address (IPv6: of one /64).
    pub accounts_per_address: RateLimit,
    /// New orders of one account: one for every ten identifiers that an order begins.
    pub orders_per_account: RateLimit,
    /// New orders of all accounts without external account binding at one address (IPv6: of one /64), counted in the same way.
    pub orders_per_address: RateLimit,
    /// Failed validations of one account and identifier.
    pub failed_validations: RateLimit,
    /// Orders of one account for the same set of identifiers.
    pub certificates_per_name: RateLimit,
}

impl Default for RateLimits {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Self {
            accounts_per_address: RateLimit { count: 1_000, period: hour },
            orders_per_account: RateLimit { count: 20_000, period: hour },
            orders_per_address: RateLimit { count: 50_000, period: hour },
            failed_validations: RateLimit { count: 60, period: hour },
            certificates_per_name: RateLimit { count: 500, period: Duration::from_secs(7 * 86_400) },
        }
    }
}

/// What holds for one account instead of the configured limits; what is absent holds as configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = AcmeAccountRateLimits)]
pub struct AccountRateLimits {
    /// New orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orders_per_account: Option<RateLimit>,
    /// Failed validations of one identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_validations: Option<RateLimit>,
    /// Orders for the same set of identifiers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates_per_name: Option<RateLimit>,
}

/// The fields of [`AccountRateLimits`] as they are read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    orders_per_account: Option<RateLimit>,
    failed_validations: Option<RateLimit>,
    certificates_per_name: Option<RateLimit>,
}

impl<'de> Deserialize<'de> for AccountRateLimits {
    /// Reads an object and nothing else: what serde derives would also take the empty list, and read it as no override at all.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { orders_per_account, failed_validations, certificates_per_name } = json::object(deserializer)?;
        Ok(Self { orders_per_account, failed_validations, certificates_per_name })
    }
}

/// What becomes of one limit of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitChange {
    /// It stays as it is.
    #[default]
    Keep,
    /// The configured limit holds again.
    Reset,
    /// This one holds.
    Set(RateLimit),
}

impl<'de> Deserialize<'de> for LimitChange {
    /// Reads a limit, or null for the configured one. What is absent stays: see the default.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Reset, Self::Set))
    }
}

impl LimitChange {
    fn applied_to(self, limit: Option<RateLimit>) -> Option<RateLimit> {
        match self {
            Self::Keep => limit,
            Self::Reset => None,
            Self::Set(limit) => Some(limit),
        }
    }
}

/// A change of what holds for one account instead of the configured limits: what is absent stays, and for what is null the configured limit holds
/// again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, utoipa::ToSchema)]
#[schema(as = AcmeAccountRateLimitsUpdate)]
pub struct AccountRateLimitsChange {
    /// New orders.
    #[schema(value_type = Option<RateLimit>)]
    pub orders_per_account: LimitChange,
    /// Failed validations of one identifier.
    #[schema(value_type = Option<RateLimit>)]
    pub failed_validations: LimitChange,
    /// Orders for the same set of identifiers.
    #[schema(value_type = Option<RateLimit>)]
    pub certificates_per_name: LimitChange,
}

/// The fields of [`AccountRateLimitsChange`] as they are read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenChange {
    #[serde(default)]
    orders_per_account: LimitChange,
    #[serde(default)]
    failed_validations: LimitChange,
    #[serde(default)]
    certificates_per_name: LimitChange,
}

impl<'de> Deserialize<'de> for AccountRateLimitsChange {
    /// Reads an object and nothing else, as for [`AccountRateLimits`].
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let WrittenChange { orders_per_account, failed_validations, certificates_per_name } =
            json::object(deserializer)?;
        Ok(Self { orders_per_account, failed_validations, certificates_per_name })
    }
}

impl AccountRateLimitsChange {
    /// Returns the limits after the change.
    #[must_use]
    pub fn applied_to(self, limits: AccountRateLimits) -> AccountRateLimits {
        AccountRateLimits {
            orders_per_account: self.orders_per_account.applied_to(limits.orders_per_account),
            failed_validations: self.failed_validations.applied_to(limits.failed_validations),
            certificates_per_name: self.certificates_per_name.applied_to(limits.certificates_per_name),
        }
    }
}

impl AccountRateLimits {
    /// Reads the stored document.
    ///
    /// # Errors
    /// `Internal` when it is not one that this version wrote.
    pub fn from_stored(document: &str) -> Result<Self> {
        serde_json::from_str(document)
            .map_err(|error| Error::internal("the stored rate limits of an account cannot be read").with_source(error))
    }

    /// Returns the document to be stored; `None` when nothing is overridden.
    ///
    /// # Errors
    /// `Internal` when it cannot be encoded.
    pub fn to_stored(self) -> Result<Option<String>> {
        if self == Self::default() {
            return Ok(None);
        }
        serde_json::to_string(&self)
            .map(Some)
            .map_err(|error| Error::internal("the rate limits of an account cannot be encoded").with_source(error))
    }

    /// Checks the values.
    ///
    /// # Errors
    /// `Malformed` for a limit whose period is no time at all.
    pub fn check(&self) -> Result<()> {
        let limits = [
            ("orders_per_account", self.orders_per_account),
            ("failed_validations", self.failed_validations),
            ("certificates_per_name", self.certificates_per_name),
        ];
        limits.iter().try_for_each(|(name, limit)| limit.map_or(Ok(()), |limit| limit.check(name)))
    }
}

impl RateLimit {
    /// Checks the values.
    ///
    /// # Errors
    /// `Malformed`, naming the limit, when its period is no time at all.
    pub fn check(&self, name: &str) -> Result<()> {
        if self.count > 0 && self.period.is_zero() {
            return Err(Error::malformed(format!(
                "the period of `{name}` is `0s`; give a time such as `3h`, or the count 0 for no limit"
            )));
        }
        Ok(())
    }

    /// Makes a charge of one; `None` where there is no limit. A limit that is changed counts anew: what a stricter one held back must not hold
    /// back a milder one.
    fn charge(self, limit: &'static str, whose: String, now_ms: i64) -> Option<RateLimitCharge> {
        self.charge_many(limit, whose, now_ms, 1)
    }

    /// Makes a charge of several at once. What costs more than the whole limit is admitted while nothing else was.
    fn charge_many(self, limit: &'static str, whose: String, now_ms: i64, many: usize) -> Option<RateLimitCharge> {
        let key = format!("{whose}@{}/{}", self.count, duration::format(self.period));
        let period_ms = i64::try_from(self.period.as_millis()).unwrap_or(i64::MAX);
        // A limit of more than one in a millisecond is as one in a millisecond.
        let one_ms = period_ms.checked_div(i64::from(self.count))?.max(1);
        let cost_ms = one_ms.saturating_mul(i64::try_from(many).unwrap_or(i64::MAX)).min(period_ms.max(one_ms));
        Some(RateLimitCharge { limit, key, cost_ms, period_ms, now_ms })
    }
}

impl Acme {
    /// Charges a new account to the address it comes from.
    #[must_use]
    pub fn new_account_charge(&self, remote_address: Option<&str>) -> Option<RateLimitCharge> {
        let network = network(remote_address?)?;
        let limit = self.settings.limits.accounts_per_address;
        limit.charge("accounts_per_address", format!("accounts:{network}"), self.now_ms())
    }

    /// Charges a new order, or a pre-authorization, of so many identifiers to its account, and where nobody answers for the account to the
    /// address it comes from: whoever may make accounts at will is not bounded by what one of them may do.
    #[must_use]
    pub fn order_charges(&self, caller: &AcmeCaller, identifiers: usize) -> Vec<RateLimitCharge> {
        let (account, now_ms) = (caller.account(), self.now_ms());
        let many = identifiers.div_ceil(IDENTIFIERS_OF_ONE).max(1);
        let limit = account.rate_limits.orders_per_account.unwrap_or(self.settings.limits.orders_per_account);
        let whose = format!("orders:{}", account.record.id);
        let of_account = limit.charge_many("orders_per_account", whose, now_ms, many);
        let network = match account.record.external_account_key {
            None => caller.caller().remote_address.as_deref().and_then(network),
            Some(_) => None,
        };
        let of_address = network.and_then(|network| {
            let limit = self.settings.limits.orders_per_address;
            limit.charge_many("orders_per_address", format!("orders-from:{network}"), now_ms, many)
        });
        of_account.into_iter().chain(of_address).collect()
    }

    /// Charges a new order to the set of its identifiers. Each account is counted alone: nothing is proven yet, and nobody is to use up what
    /// another has for its own names.
    #[must_use]
    pub fn certificate_charge(&self, account: &Account, identifiers: &[Identifier]) -> Option<RateLimitCharge> {
        let limit = account.rate_limits.certificates_per_name.unwrap_or(self.settings.limits.certificates_per_name);
        let whose = format!("certificates:{}:{}", digest_of(identifiers), account.record.id);
        limit.charge("certificates_per_name", whose, self.now_ms())
    }

    /// Charges an order that no other limit counts to the certificate that it replaces.
    #[must_use]
    pub fn replacement_charge(&self, replaces: &str) -> Option<RateLimitCharge> {
        let certificate = hex::encode(digest::digest(&digest::SHA256, replaces.as_bytes()));
        EXEMPT_REPLACEMENTS.charge(EXEMPT, format!("replacements:{certificate}"), self.now_ms())
    }

    /// Charges a failed validation to its account and identifier.
    #[must_use]
    pub fn failed_validation_charge(&self, account: &Account, identifier: &Identifier) -> Option<RateLimitCharge> {
        let limit = account.rate_limits.failed_validations.unwrap_or(self.settings.limits.failed_validations);
        let identifier = digest_of(std::slice::from_ref(identifier));
        limit.charge("failed_validations", format!("failures:{}:{identifier}", account.record.id), self.now_ms())
    }

    /// Charges a refusal that is to be audited to whoever was refused.
    pub(super) fn refusal_charge(&self, who: &str) -> Option<RateLimitCharge> {
        AUDITED_REFUSALS.charge("audited_refusals", format!("refusals:{who}"), self.now_ms())
    }

    /// Makes the refusal of a request whose limit is used up (RFC 8555, section 6.6).
    #[must_use]
    pub fn rate_limited(&self, limited: &RateLimited) -> Error {
        let wait_ms = limited.retry_at_ms.saturating_sub(self.now_ms()).max(1);
        let seconds = u32::try_from(wait_ms.saturating_add(999) / 1000).unwrap_or(u32::MAX);
        let detail = format!("the limit `{}` is used up; try again in {seconds} seconds", limited.limit);
        Error::acme(AcmeErrorType::RateLimited, detail).with_retry_after(seconds).with_acme(AcmeError {
            error_type: AcmeErrorType::RateLimited,
            subproblems: Vec::new(),
            algorithms: &[],
            location: None,
            link: self.settings.website.clone().map(|website| ("help", website)),
        })
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.ca.clock.unix_milliseconds()
    }
}

/// Returns what is counted as one place: an IPv4 address, and with IPv6 the /64 that one customer has at least.
pub(super) fn network(remote_address: &str) -> Option<String> {
    match remote_address.parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(address) => Some(address.to_string()),
        IpAddr::V6(address) => Ipv6Net::new(address, 64).ok().map(|network| network.trunc().to_string()),
    }
}

/// Returns a digest of a set of identifiers: names may have more octets than a key of the storage.
fn digest_of(identifiers: &[Identifier]) -> String {
    let mut sorted: Vec<&Identifier> = identifiers.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut context = digest::Context::new(&digest::SHA256);
    for identifier in sorted {
        context.update(identifier.kind().as_bytes());
        context.update(b":");
        context.update(identifier.to_string().as_bytes());
        context.update(b"\n");
    }
    hex::encode(context.finish())
}

#[cfg(test)]
mod tests;
