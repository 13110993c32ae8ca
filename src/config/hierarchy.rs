//! The `[hierarchy]` section: the root and the issuing CA that `init` and `quickstart` create. Once they exist, only where their keys
//! are kept counts.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

use super::keys::Keys;
use super::pkcs11::Pkcs11;
use super::read;
use crate::signer::file::refuse_short_passphrase;
use crate::signer::generate;
use crate::x509::KeyAlgorithm;

const DAY: u64 = 86_400;

/// The greatest number of characters in a common name or an organization (RFC 5280, appendix A.1, `ub-common-name`).
const LONGEST_ATTRIBUTE: usize = 64;

/// The first CAs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hierarchy {
    /// The root CA, self-signed.
    #[serde(deserialize_with = "root")]
    pub root: Authority,
    /// The issuing CA, signed by the root; the default issuer.
    #[serde(deserialize_with = "issuing")]
    pub issuing: Authority,
}

/// A CA to create.
#[derive(Clone, Debug)]
pub struct Authority {
    /// The issuer's name in the API and in URLs.
    pub name: String,
    /// The common name of its subject.
    pub common_name: String,
    /// The organization of its subject.
    pub organization: Option<String>,
    /// The algorithm of its key.
    pub key: KeyAlgorithm,
    /// How long its certificate is valid.
    pub validity: Duration,
    /// Where its key is kept.
    pub storage: KeyStorage,
    /// The file of its key; `<name>.key` in the data directory if absent. Only for storage in a file.
    pub file: Option<PathBuf>,
    /// The passphrase that encrypts the file. Only for storage in a file, and needed there unless `keys` has one.
    pub passphrase: Option<SecretString>,
    /// The token, by its name in `pkcs11`. Only for storage in an HSM, and needed there.
    pub token: Option<String>,
}

/// Where the key of a CA is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStorage {
    /// In the database, sealed under the key-encryption key.
    Database,
    /// In a file, as encrypted PKCS #8.
    File,
    /// In an HSM.
    Pkcs11,
}

impl Default for Hierarchy {
    fn default() -> Self {
        Self { root: default_root(), issuing: default_issuing() }
    }
}

fn default_root() -> Authority {
    Authority {
        name: "root".to_owned(),
        common_name: "Chancery Root CA".to_owned(),
        organization: None,
        key: KeyAlgorithm::EcdsaP256,
        validity: Duration::from_secs(3650 * DAY),
        storage: KeyStorage::Database,
        file: None,
        passphrase: None,
        token: None,
    }
}

fn default_issuing() -> Authority {
    Authority {
        name: "issuing".to_owned(),
        common_name: "Chancery Issuing CA".to_owned(),
        validity: Duration::from_secs(1825 * DAY),
        ..default_root()
    }
}

/// An authority as written: what is absent is the default of its place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Option<String>,
    common_name: Option<String>,
    organization: Option<String>,
    key: Option<KeyAlgorithm>,
    #[serde(default, deserialize_with = "read::optional_duration")]
    validity: Option<Duration>,
    storage: Option<KeyStorage>,
    file: Option<PathBuf>,
    passphrase: Option<SecretString>,
    token: Option<String>,
}

impl Written {
    fn over(self, default: Authority) -> Authority {
        Authority {
            name: self.name.unwrap_or(default.name),
            common_name: self.common_name.unwrap_or(default.common_name),
            organization: self.organization,
            key: self.key.unwrap_or(default.key),
            validity: self.validity.unwrap_or(default.validity),
            storage: self.storage.unwrap_or(default.storage),
            file: self.file,
            passphrase: self.passphrase,
            token: self.token,
        }
    }
}

fn root<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Authority, D::Error> {
    Written::deserialize(deserializer).map(|written| written.over(default_root()))
}

fn issuing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Authority, D::Error> {
    Written::deserialize(deserializer).map(|written| written.over(default_issuing()))
}

impl Hierarchy {
    pub(super) fn validate(&self, keys: &Keys, tokens: &[Pkcs11], problems: &mut Vec<String>) {
        for (setting, authority) in [("hierarchy.root", &self.root), ("hierarchy.issuing", &self.issuing)] {
            authority.validate(setting, problems);
            authority.validate_place(setting, keys, tokens, problems);
        }
        if self.root.name == self.issuing.name {
            problems.push(format!("`hierarchy.root.name` and `hierarchy.issuing.name` are both `{}`", self.root.name));
        }
        if self.issuing.validity > self.root.validity {
            problems.push("`hierarchy.issuing.validity` is longer than `hierarchy.root.validity`".to_owned());
        }
        if self.root.file.is_some() && self.root.file == self.issuing.file {
            problems.push("`hierarchy.root.file` and `hierarchy.issuing.file` are the same".to_owned());
        }
    }
}

impl Authority {
    fn validate(&self, setting: &str, problems: &mut Vec<String>) {
        read::named(problems, &format!("{setting}.name"), &self.name);
        let attributes = [("common_name", Some(&self.common_name)), ("organization", self.organization.as_ref())];
        for (attribute, value) in attributes {
            let Some(value) = value else { continue };
            let length = value.chars().count();
            if !(1..=LONGEST_ATTRIBUTE).contains(&length)
                || value.trim() != value
                || value.chars().any(char::is_control)
            {
                problems.push(format!(
                    "`{setting}.{attribute}` must have 1 to {LONGEST_ATTRIBUTE} characters, with no white space around them"
                ));
            }
        }
        if !generate::is_possible(self.key) {
            problems.push(format!("`{setting}.key` is `{}`; keys can be made for {}", self.key, generate::POSSIBLE));
        }
        read::lasting(problems, &format!("{setting}.validity"), self.validity, 3600, 36_500 * DAY);
    }

    /// Checks that what goes with the place of the key is there, and nothing that goes with another place.
    fn validate_place(&self, setting: &str, keys: &Keys, tokens: &[Pkcs11], problems: &mut Vec<String>) {
        if self.storage != KeyStorage::File && (self.file.is_some() || self.passphrase.is_some()) {
            problems.push(format!(
                "`{setting}.file` and `{setting}.passphrase` have no use unless `{setting}.storage` is `file`"
            ));
        }
        if self.storage != KeyStorage::Pkcs11 && self.token.is_some() {
            problems.push(format!("`{setting}.token` has no use unless `{setting}.storage` is `pkcs11`"));
        }
        match self.storage {
            KeyStorage::Database => {}
            KeyStorage::File => match &self.passphrase {
                None if keys.file_passphrase.is_none() && keys.files.is_empty() => {
                    problems.push(format!("`{setting}.passphrase` is needed when `{setting}.storage` is `file`"));
                }
                None => {}
                Some(passphrase) => {
                    if let Err(error) = refuse_short_passphrase(passphrase) {
                        problems.push(format!("`{setting}.passphrase`: {error}"));
                    }
                }
            },
            KeyStorage::Pkcs11 => match &self.token {
                None => problems.push(format!("`{setting}.token` is needed when `{setting}.storage` is `pkcs11`")),
                Some(name) if tokens.iter().all(|token| token.name != *name) => {
                    problems
                        .push(format!("`{setting}.token` is `{name}`, which no section `[[pkcs11]]` has as its name"));
                }
                Some(_) => {}
            },
        }
    }
}
