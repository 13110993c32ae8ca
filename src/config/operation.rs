//! The sections `[crl]`, `[issuers]`, `[ocsp]`, `[limits]` and `[log]`: how the service runs.

use std::time::Duration;

use serde::Deserialize;

use super::read;
use crate::ca::ocsp::OcspSettings;
use crate::ca::settings::MAXIMUM_SHARDS;
use crate::policy::duration;

/// When CRLs are published.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Crl {
    /// How long a CRL is valid.
    #[serde(with = "duration")]
    pub validity: Duration,
    /// How long after its publication the next follows.
    #[serde(with = "duration")]
    pub refresh: Duration,
    /// How long after a revocation the next follows; revocations in between share it.
    #[serde(with = "duration")]
    pub delay_after_revocation: Duration,
    /// How many shards the CRL of an issuer has that does not say, at most 1024; 0: none.
    pub shards: u16,
    /// How long after a delta CRL the next follows, of issuers that do not say; without it there are none.
    #[serde(deserialize_with = "read::optional_duration")]
    pub delta_interval: Option<Duration>,
}

impl Default for Crl {
    fn default() -> Self {
        Self {
            validity: Duration::from_secs(86_400),
            refresh: Duration::from_secs(43_200),
            delay_after_revocation: Duration::from_secs(1),
            shards: 0,
            delta_interval: None,
        }
    }
}

impl Crl {
    pub(super) fn validate(&self, problems: &mut Vec<String>) {
        read::lasting(problems, "crl.validity", self.validity, 60, 365 * 86_400);
        read::lasting(problems, "crl.refresh", self.refresh, 1, 365 * 86_400);
        read::lasting(problems, "crl.delay_after_revocation", self.delay_after_revocation, 0, 86_400);
        read::within(problems, "crl.shards", usize::from(self.shards), 0, usize::from(MAXIMUM_SHARDS));
        if let Some(interval) = self.delta_interval {
            read::lasting(problems, "crl.delta_interval", interval, 60, 365 * 86_400);
            if interval >= self.refresh {
                problems.push(
                    "`crl.delta_interval` must be shorter than `crl.refresh`: deltas are for the time between"
                        .to_owned(),
                );
            }
        }
        if self.refresh >= self.validity {
            problems.push(
                "`crl.refresh` must be shorter than `crl.validity`: the next CRL has to be there before the last ends"
                    .to_owned(),
            );
        }
    }
}

/// The issuers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Issuers {
    /// How long before the end of an issuer's certificate `/readyz`, `/metrics` and `chancery doctor` warn of it.
    #[serde(with = "duration")]
    pub expiry_warning: Duration,
}

impl Default for Issuers {
    fn default() -> Self {
        Self { expiry_warning: Duration::from_secs(90 * 86_400) }
    }
}

impl Issuers {
    pub(super) fn validate(&self, problems: &mut Vec<String>) {
        read::lasting(problems, "issuers.expiry_warning", self.expiry_warning, 3600, 3650 * 86_400);
    }
}

/// How OCSP is answered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ocsp {
    /// How long an answer is valid.
    #[serde(with = "duration")]
    pub validity: Duration,
    /// How long the certificate of a responder is valid; the next one is made when two thirds of it have gone.
    #[serde(with = "duration")]
    pub responder_validity: Duration,
    /// The most octets of statuses and signed answers that are kept in memory.
    pub cache_size: u64,
}

impl Default for Ocsp {
    fn default() -> Self {
        let OcspSettings { validity, responder_validity, cache_size } = OcspSettings::default();
        Self { validity, responder_validity, cache_size }
    }
}

impl Ocsp {
    pub(super) fn validate(&self, problems: &mut Vec<String>) {
        read::lasting(problems, "ocsp.validity", self.validity, 1, 365 * 86_400);
        read::lasting(problems, "ocsp.responder_validity", self.responder_validity, 3, 398 * 86_400);
        let cache_size = usize::try_from(self.cache_size).unwrap_or(usize::MAX);
        read::within(problems, "ocsp.cache_size", cache_size, 1 << 20, 1 << 36);
        if self.responder_validity < self.validity * 3 {
            problems.push(
                "`ocsp.responder_validity` must be at least three times `ocsp.validity`: an answer ends with the certificate it is signed under"
                    .to_owned(),
            );
        }
    }
}

/// The greatest requests, in octets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The greatest body with a CSR.
    pub csr_body: usize,
    /// The greatest body of any other request.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { csr_body: 65_536, body: 1_048_576 }
    }
}

impl Limits {
    pub(super) fn validate(&self, problems: &mut Vec<String>) {
        read::within(problems, "limits.csr_body", self.csr_body, 4096, 1 << 24);
        read::within(problems, "limits.body", self.body, 4096, 1 << 26);
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// A level, or directives such as `info,chancery::storage=debug`.
    pub level: String,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

impl Log {
    pub(super) fn validate(&self, problems: &mut Vec<String>) {
        if self.level.is_empty() || tracing_subscriber::EnvFilter::try_new(&self.level).is_err() {
            problems.push(format!(
                "`log.level` is `{}`; write `error`, `warn`, `info`, `debug` or `trace`, or directives such as `info,chancery::storage=debug`",
                self.level
            ));
        }
    }
}
