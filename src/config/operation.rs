//! The sections `[crl]`, `[limits]` and `[log]`: how the service runs.

use std::time::Duration;

use serde::Deserialize;

use super::read;
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
}

impl Default for Crl {
    fn default() -> Self {
        Self {
            validity: Duration::from_secs(86_400),
            refresh: Duration::from_secs(43_200),
            delay_after_revocation: Duration::from_secs(1),
        }
    }
}

impl Crl {
    pub(super) fn validate(&self, problems: &mut Vec<String>) {
        read::lasting(problems, "crl.validity", self.validity, 60, 365 * 86_400);
        read::lasting(problems, "crl.refresh", self.refresh, 1, 365 * 86_400);
        read::lasting(problems, "crl.delay_after_revocation", self.delay_after_revocation, 0, 86_400);
        if self.refresh >= self.validity {
            problems.push(
                "`crl.refresh` must be shorter than `crl.validity`: the next CRL has to be there before the last ends"
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
