//! The `[[pkcs11]]` sections: the HSMs, or tokens, that keys can be kept in. They are used in `signer/pkcs11/`.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::read;
use crate::policy::duration;

/// A token of an HSM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pkcs11 {
    /// The name by which `hierarchy` and the API mean it.
    pub name: String,
    /// The manufacturer's PKCS #11 library.
    pub module: PathBuf,
    /// The token's label. One of this, `serial` and `slot` is needed.
    #[serde(default)]
    pub token_label: Option<String>,
    /// The token's serial number.
    #[serde(default)]
    pub serial: Option<String>,
    /// The number of the token's slot.
    #[serde(default)]
    pub slot: Option<u64>,
    /// The user's PIN; this or `pin_file`, unless the token needs no login.
    #[serde(default)]
    pub pin: Option<SecretString>,
    /// A file with the PIN, which its group and others may not read.
    #[serde(default)]
    pub pin_file: Option<PathBuf>,
    /// The most sessions, and so signatures at once.
    #[serde(default = "four")]
    pub sessions: usize,
    /// How long a signature may take, waiting for its turn included.
    #[serde(default = "ten_seconds", with = "duration")]
    pub timeout: Duration,
}

const fn four() -> usize {
    4
}

const fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

impl Pkcs11 {
    pub(super) fn validate(&self, setting: &str, problems: &mut Vec<String>) {
        read::named(problems, &format!("{setting}.name"), &self.name);
        let selectors =
            [self.token_label.is_some(), self.serial.is_some(), self.slot.is_some()].into_iter().filter(|given| *given);
        if selectors.count() != 1 {
            problems.push(format!("`{setting}` must have exactly one of `token_label`, `serial` and `slot`"));
        }
        // The fields of a token's description have this many octets (PKCS #11, section 3.2).
        for (name, value, longest) in [("token_label", &self.token_label, 32), ("serial", &self.serial, 16)] {
            if value.as_ref().is_some_and(|value| value.is_empty() || value.len() > longest) {
                problems.push(format!("`{setting}.{name}` must have 1 to {longest} octets"));
            }
        }
        if self.module.as_os_str().is_empty() {
            problems.push(format!("`{setting}.module` is empty"));
        }
        if self.pin.is_some() && self.pin_file.is_some() {
            problems.push(format!("`{setting}` must not have both `pin` and `pin_file`"));
        }
        if self.pin.as_ref().is_some_and(|pin| pin.expose_secret().is_empty()) {
            problems.push(format!("`{setting}.pin` is empty; leave it out when the token needs no login"));
        }
        read::within(problems, &format!("{setting}.sessions"), self.sessions, 1, 64);
        read::lasting(problems, &format!("{setting}.timeout"), self.timeout, 1, 60);
    }
}
