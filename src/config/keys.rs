//! The `[keys]` section: where the key-encryption key comes from. It is used in `signer/sealing.rs`.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;

use crate::signer::file::refuse_short_passphrase;
use crate::signer::sealing::KeyEncryptionKey;

/// Where the key-encryption key comes from: at most one of the three.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// A file that holds it; `key-encryption.key` in the data directory if none of the three is given.
    pub key_encryption_key_file: Option<PathBuf>,
    /// The key itself: 64 hex digits, or base64 of 32 octets.
    pub key_encryption_key: Option<SecretString>,
    /// A passphrase from which the key is derived.
    pub passphrase: Option<SecretString>,
}

/// Where the key-encryption key comes from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A file, made at first start unless it is there.
    File(PathBuf),
    /// The key itself as text.
    Text(SecretString),
    /// A passphrase from which the key is derived.
    Passphrase(SecretString),
}

impl Keys {
    /// Returns the one source.
    pub(super) fn source(&self, data_dir: &Path) -> KeySource {
        match (&self.passphrase, &self.key_encryption_key, &self.key_encryption_key_file) {
            (Some(passphrase), _, _) => KeySource::Passphrase(passphrase.clone()),
            (None, Some(key), _) => KeySource::Text(key.clone()),
            (None, None, Some(file)) => KeySource::File(file.clone()),
            (None, None, None) => KeySource::File(data_dir.join("key-encryption.key")),
        }
    }

    pub(super) fn validate(&self, problems: &mut Vec<String>) {
        let given = [
            ("keys.key_encryption_key_file", self.key_encryption_key_file.is_some()),
            ("keys.key_encryption_key", self.key_encryption_key.is_some()),
            ("keys.passphrase", self.passphrase.is_some()),
        ];
        let given: Vec<&str> = given.iter().filter(|(_, is_given)| *is_given).map(|(setting, _)| *setting).collect();
        if given.len() > 1 {
            problems.push(format!(
                "at most one source of the key-encryption key may be given, not `{}`",
                given.join("` and `")
            ));
        }
        if let Some(Err(error)) = self.key_encryption_key.as_ref().map(KeyEncryptionKey::from_text) {
            problems.push(format!("`keys.key_encryption_key`: {error}"));
        }
        if let Some(Err(error)) = self.passphrase.as_ref().map(refuse_short_passphrase) {
            problems.push(format!("`keys.passphrase`: {error}"));
        }
    }
}
