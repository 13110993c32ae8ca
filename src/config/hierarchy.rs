//! The `[hierarchy]` section: the root and the issuing CA that `init` and `quickstart` create. Once they exist, only where their keys
//! are kept counts.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

use super::read;
use crate::signer::file::refuse_short_passphrase;
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
    /// The passphrase that encrypts the file. Only for storage in a file, and needed there.
    pub passphrase: Option<SecretString>,
}

/// Where the key of a CA is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStorage {
    /// In the database, sealed under the key-encryption key.
    Database,
    /// In a file, as encrypted PKCS #8.
    File,
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
    pub(super) fn validate(&self, problems: &mut Vec<String>) {
        self.root.validate("hierarchy.root", problems);
        self.issuing.validate("hierarchy.issuing", problems);
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
        let can_be_made = matches!(
            self.key,
            KeyAlgorithm::EcdsaP256
                | KeyAlgorithm::EcdsaP384
                | KeyAlgorithm::Ed25519
                | KeyAlgorithm::Rsa(2048 | 3072 | 4096 | 8192)
        );
        if !can_be_made {
            problems.push(format!(
                "`{setting}.key` is `{}`; keys can be made for ecdsa-p256, ecdsa-p384, ed25519, rsa-2048, rsa-3072, rsa-4096 and rsa-8192",
                self.key
            ));
        }
        read::lasting(problems, &format!("{setting}.validity"), self.validity, 3600, 36_500 * DAY);
        match self.storage {
            KeyStorage::Database => {
                if self.file.is_some() || self.passphrase.is_some() {
                    problems.push(format!(
                        "`{setting}.file` and `{setting}.passphrase` have no use unless `{setting}.storage` is `file`"
                    ));
                }
            }
            KeyStorage::File => match &self.passphrase {
                None => problems.push(format!("`{setting}.passphrase` is needed when `{setting}.storage` is `file`")),
                Some(passphrase) => {
                    if let Err(error) = refuse_short_passphrase(passphrase) {
                        problems.push(format!("`{setting}.passphrase`: {error}"));
                    }
                }
            },
        }
    }
}
