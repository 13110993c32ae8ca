//! The section `[acme]`: what can be had over ACME, how challenges are looked at, and how much of it.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::{problem_of_public_url, read, server};
use crate::ca::acme::AcmeSettings;
use crate::ca::acme::rate_limits::{RateLimit, RateLimits};
use crate::ca::acme::settings::ValidationSchedule;
use crate::policy::acme::ChallengeType;
use crate::policy::duration;

/// The port of http-01 (RFC 8555, section 8.3).
pub(super) const HTTP_01_PORT: u16 = 80;
/// The port of tls-alpn-01 (RFC 8737, section 3).
pub(super) const TLS_ALPN_01_PORT: u16 = 443;
/// The most names in a list of names.
const MOST_NAMES: usize = 100;

/// What can be had over ACME.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Acme {
    /// Whether ACME is served.
    pub enabled: bool,
    /// The address that clients reach the API by, without a slash at its end; that of each request if absent.
    pub base_url: Option<String>,
    /// The profiles that can be had; every profile that makes no CAs and takes DNS names or IP addresses if absent.
    pub profiles: Option<Vec<String>>,
    /// The terms of service that accounts must agree to; none if empty.
    pub terms_of_service: String,
    /// A page about this CA; none if empty.
    pub website: String,
    /// Whether accounts need an external account binding.
    pub external_account_required: bool,
    /// The names by which CAA records know this CA; CAA records are not looked at if empty.
    pub caa_identities: Vec<String>,
    /// The names by which dns-persist-01 records know this CA; that challenge is not offered if empty.
    pub issuer_domain_names: Vec<String>,
    /// The challenges that are offered.
    pub challenges: Vec<ChallengeType>,
    /// The port that http-01 connects to.
    pub http_01_port: u16,
    /// The port that tls-alpn-01 connects to.
    pub tls_alpn_01_port: u16,
    /// The DNS servers that are asked; those of the operating system if empty.
    #[serde(deserialize_with = "read::name_servers")]
    pub resolvers: Vec<SocketAddr>,
    /// Zones with DNS servers of their own.
    pub zones: Vec<Zone>,
    /// The addresses that may be contacted; private and public unicast addresses, without those that lead to this machine or its link, if absent.
    #[serde(deserialize_with = "read::optional_blocks")]
    pub allowed_addresses: Option<Vec<IpNet>>,
    /// The addresses that may not be contacted although they would be allowed.
    #[serde(deserialize_with = "read::blocks")]
    pub denied_addresses: Vec<IpNet>,
    /// The most identifiers of an order.
    pub maximum_identifiers: usize,
    /// The most orders of an account that are neither finalized nor ended.
    pub maximum_pending_orders: u32,
    /// How long an order, and an authorization that is not proven, stays pending.
    #[serde(with = "duration")]
    pub order_lifetime: Duration,
    /// How long a proof holds, for this order and later ones.
    #[serde(with = "duration")]
    pub authorization_lifetime: Duration,
    /// Whether certificates are issued in the background, after the answer.
    pub asynchronous_finalize: bool,
    /// How challenges are looked at.
    pub validation: Validation,
    /// How often things may be done.
    pub limits: AcmeLimits,
    /// How long orders and authorizations stay after their end, for operators to look at.
    #[serde(with = "duration")]
    pub retention: Duration,
    /// After what time clients are to ask for renewal information again.
    #[serde(with = "duration")]
    pub renewal_poll_interval: Duration,
}

/// A zone with DNS servers of its own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// The zone: this name and all names below.
    pub zone: String,
    /// The DNS servers that are asked.
    #[serde(deserialize_with = "read::name_servers")]
    pub resolvers: Vec<SocketAddr>,
}

/// How challenges are looked at.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Validation {
    /// The most looks at one time in this process.
    pub concurrency: usize,
    /// The most looks at one challenge.
    pub attempts: u32,
    /// The wait after the first look that failed; it doubles with each one after.
    #[serde(with = "duration")]
    pub backoff: Duration,
    /// The longest that one look takes.
    #[serde(with = "duration")]
    pub attempt_timeout: Duration,
    /// The longest that one address may take to accept a connection.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// The longest that one DNS server may take for one answer.
    #[serde(with = "duration")]
    pub dns_timeout: Duration,
}

/// How often things may be done.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AcmeLimits {
    /// New accounts of one address (IPv6: of one /64).
    pub accounts_per_address: Limit,
    /// New orders of one account: one for every ten identifiers that an order begins.
    pub orders_per_account: Limit,
    /// New orders of all accounts without external account binding at one address (IPv6: of one /64), counted in the same way.
    pub orders_per_address: Limit,
    /// Failed validations of one account and identifier.
    pub failed_validations: Limit,
    /// Orders of one account for the same set of identifiers.
    pub certificates_per_name: Limit,
}

/// So many in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// How many; 0: no limit.
    pub count: u32,
    /// In what time.
    #[serde(with = "duration")]
    pub period: Duration,
}

impl Default for Acme {
    fn default() -> Self {
        let settings = AcmeSettings::default();
        Self {
            enabled: true,
            base_url: None,
            profiles: settings.profiles,
            terms_of_service: settings.terms_of_service.unwrap_or_default(),
            website: settings.website.unwrap_or_default(),
            external_account_required: settings.external_account_required,
            caa_identities: settings.caa_identities,
            issuer_domain_names: settings.issuer_domain_names,
            challenges: settings.challenges,
            http_01_port: HTTP_01_PORT,
            tls_alpn_01_port: TLS_ALPN_01_PORT,
            resolvers: Vec::new(),
            zones: Vec::new(),
            allowed_addresses: None,
            denied_addresses: Vec::new(),
            maximum_identifiers: settings.maximum_identifiers,
            maximum_pending_orders: settings.maximum_pending_orders,
            order_lifetime: settings.order_lifetime,
            authorization_lifetime: settings.authorization_lifetime,
            asynchronous_finalize: settings.asynchronous_finalize,
            validation: Validation::default(),
            limits: AcmeLimits::default(),
            retention: settings.retention,
            renewal_poll_interval: settings.renewal_poll_interval,
        }
    }
}

impl Default for Validation {
    fn default() -> Self {
        let ValidationSchedule { concurrency, attempts, backoff, attempt_timeout } = ValidationSchedule::default();
        Self {
            concurrency,
            attempts,
            backoff,
            attempt_timeout,
            connect_timeout: Duration::from_secs(5),
            dns_timeout: Duration::from_secs(2),
        }
    }
}

impl Default for AcmeLimits {
    fn default() -> Self {
        let RateLimits {
            accounts_per_address,
            orders_per_account,
            orders_per_address,
            failed_validations,
            certificates_per_name,
        } = RateLimits::default();
        Self {
            accounts_per_address: accounts_per_address.into(),
            orders_per_account: orders_per_account.into(),
            orders_per_address: orders_per_address.into(),
            failed_validations: failed_validations.into(),
            certificates_per_name: certificates_per_name.into(),
        }
    }
}

impl From<RateLimit> for Limit {
    fn from(RateLimit { count, period }: RateLimit) -> Self {
        Self { count, period }
    }
}

impl From<Limit> for RateLimit {
    fn from(Limit { count, period }: Limit) -> Self {
        Self { count, period }
    }
}

impl Acme {
    /// Returns the settings of the core. `default_profile` is for orders that name none.
    #[must_use]
    pub fn settings(&self, default_profile: Option<&str>) -> AcmeSettings {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let defaults = AcmeSettings::default();
        AcmeSettings {
            profiles: self.profiles.clone(),
            default_profile: default_profile.map_or(defaults.default_profile, str::to_owned),
            terms_of_service: given(&self.terms_of_service),
            website: given(&self.website),
            external_account_required: self.external_account_required,
            caa_identities: self.caa_identities.clone(),
            issuer_domain_names: self.issuer_domain_names.clone(),
            challenges: self.challenges.clone(),
            maximum_identifiers: self.maximum_identifiers,
            maximum_pending_orders: self.maximum_pending_orders,
            order_lifetime: self.order_lifetime,
            authorization_lifetime: self.authorization_lifetime,
            asynchronous_finalize: self.asynchronous_finalize,
            validation: ValidationSchedule {
                concurrency: self.validation.concurrency,
                attempts: self.validation.attempts,
                backoff: self.validation.backoff,
                attempt_timeout: self.validation.attempt_timeout,
            },
            limits: RateLimits {
                accounts_per_address: self.limits.accounts_per_address.into(),
                orders_per_account: self.limits.orders_per_account.into(),
                orders_per_address: self.limits.orders_per_address.into(),
                failed_validations: self.limits.failed_validations.into(),
                certificates_per_name: self.limits.certificates_per_name.into(),
            },
            retention: self.retention,
            renewal_poll_interval: self.renewal_poll_interval,
        }
    }

    pub(super) fn validate(&self, problems: &mut Vec<String>) {
        self.validate_names(problems);
        self.validate_network(problems);
        read::within(problems, "acme.maximum_identifiers", self.maximum_identifiers, 1, 1000);
        let pending = usize::try_from(self.maximum_pending_orders).unwrap_or(usize::MAX);
        read::within(problems, "acme.maximum_pending_orders", pending, 1, 1_000_000);
        read::lasting(problems, "acme.order_lifetime", self.order_lifetime, 60, 90 * 86_400);
        read::lasting(problems, "acme.authorization_lifetime", self.authorization_lifetime, 60, 398 * 86_400);
        read::lasting(problems, "acme.retention", self.retention, 0, 3650 * 86_400);
        read::lasting(problems, "acme.renewal_poll_interval", self.renewal_poll_interval, 60, 7 * 86_400);
        self.validation.validate(problems);
        self.limits.validate(problems);
    }

    fn validate_names(&self, problems: &mut Vec<String>) {
        if let Some(url) = &self.base_url
            && let Some(problem) = problem_of_public_url(url)
        {
            problems.push(format!("`acme.base_url` {problem}"));
        }
        for (setting, url) in [("terms_of_service", &self.terms_of_service), ("website", &self.website)] {
            if !url.is_empty() && !is_page(url) {
                problems.push(format!(
                    "`acme.{setting}` must be the `http://` or `https://` address of a page, of ASCII characters without spaces, `<`, `>` and `\"`"
                ));
            }
        }
        if let Some(profiles) = &self.profiles {
            if profiles.is_empty() {
                problems.push(
                    "`acme.profiles` is empty, so that no certificate could be had; leave it out for the default, or set `acme.enabled` to `false`"
                        .to_owned(),
                );
            }
            for (index, profile) in profiles.iter().enumerate() {
                read::named(problems, &format!("acme.profiles[{index}]"), profile);
            }
            read::distinct(problems, "acme.profiles", profiles.iter().map(String::as_str));
        }
        for (setting, names) in
            [("caa_identities", &self.caa_identities), ("issuer_domain_names", &self.issuer_domain_names)]
        {
            read::within(problems, &format!("acme.{setting}"), names.len(), 0, MOST_NAMES);
            for (index, name) in names.iter().enumerate().filter(|(_, name)| !server::is_dns_name(name)) {
                problems.push(format!("`acme.{setting}[{index}]` must be a DNS name in lower case, not `{name}`"));
            }
            read::distinct(problems, &format!("acme.{setting}"), names.iter().map(String::as_str));
        }
        let challenges = self.challenges.iter().map(|challenge| challenge.as_str());
        read::distinct(problems, "acme.challenges", challenges);
    }

    fn validate_network(&self, problems: &mut Vec<String>) {
        read::within(problems, "acme.http_01_port", usize::from(self.http_01_port), 1, usize::from(u16::MAX));
        read::within(problems, "acme.tls_alpn_01_port", usize::from(self.tls_alpn_01_port), 1, usize::from(u16::MAX));
        read::within(problems, "acme.resolvers", self.resolvers.len(), 0, MOST_RESOLVERS);
        reachable(problems, "acme.resolvers", &self.resolvers);
        if self.allowed_addresses.as_ref().is_some_and(Vec::is_empty) {
            problems.push(
                "`acme.allowed_addresses` is empty, so that no address could be contacted; leave it out for the default"
                    .to_owned(),
            );
        }
        for (index, zone) in self.zones.iter().enumerate() {
            let setting = format!("acme.zones[{index}]");
            if !server::is_dns_name(&zone.zone) {
                problems.push(format!("`{setting}.zone` must be a DNS name in lower case, not `{}`", zone.zone));
            }
            read::within(problems, &format!("{setting}.resolvers"), zone.resolvers.len(), 1, MOST_RESOLVERS);
            reachable(problems, &format!("{setting}.resolvers"), &zone.resolvers);
        }
        read::distinct(problems, "acme.zones", self.zones.iter().map(|zone| zone.zone.as_str()));
    }
}

/// The most DNS servers of a zone.
const MOST_RESOLVERS: usize = 8;

/// Notes a problem for every DNS server at port 0, where none can be.
fn reachable(problems: &mut Vec<String>, setting: &str, servers: &[SocketAddr]) {
    for (index, server) in servers.iter().enumerate().filter(|(_, server)| server.port() == 0) {
        problems.push(format!("`{setting}[{index}]` is `{server}`; accepted are the ports 1 to 65535"));
    }
}

/// Whether a text can stand in a header field `Link`.
fn is_page(text: &str) -> bool {
    let known = url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    known && text.bytes().all(|octet| octet.is_ascii_graphic() && !b"<>\"".contains(&octet))
}

impl Validation {
    fn validate(&self, problems: &mut Vec<String>) {
        let attempts = usize::try_from(self.attempts).unwrap_or(usize::MAX);
        read::within(problems, "acme.validation.concurrency", self.concurrency, 1, 10_000);
        read::within(problems, "acme.validation.attempts", attempts, 1, 20);
        read::lasting(problems, "acme.validation.backoff", self.backoff, 1, 3600);
        read::lasting(problems, "acme.validation.attempt_timeout", self.attempt_timeout, 1, 120);
        let defaults = Self::default();
        let shown = |value: Duration, default: Duration| {
            let note = if value == default { ", the default" } else { "" };
            format!("`{}`{note}", duration::format(value))
        };
        for (setting, value, default) in [
            ("connect_timeout", self.connect_timeout, defaults.connect_timeout),
            ("dns_timeout", self.dns_timeout, defaults.dns_timeout),
        ] {
            read::lasting(problems, &format!("acme.validation.{setting}"), value, 1, 60);
            if value > self.attempt_timeout {
                problems.push(format!(
                    "`acme.validation.{setting}` ({}) must not be longer than `acme.validation.attempt_timeout` ({}), which it is a part of",
                    shown(value, default),
                    shown(self.attempt_timeout, defaults.attempt_timeout)
                ));
            }
        }
    }
}

impl AcmeLimits {
    fn validate(&self, problems: &mut Vec<String>) {
        for (setting, limit) in [
            ("accounts_per_address", self.accounts_per_address),
            ("orders_per_account", self.orders_per_account),
            ("orders_per_address", self.orders_per_address),
            ("failed_validations", self.failed_validations),
            ("certificates_per_name", self.certificates_per_name),
        ] {
            read::lasting(problems, &format!("acme.limits.{setting}.period"), limit.period, 1, 365 * 86_400);
            // They are counted in milliseconds.
            if !limit.period.is_zero() && u128::from(limit.count) > limit.period.as_millis() {
                problems.push(format!(
                    "`acme.limits.{setting}.count` is {}, more than one in a millisecond; 0 is for no limit",
                    limit.count
                ));
            }
        }
    }
}
