//! The `[keys]` section: where the key-encryption keys come from, and the passphrases of key files. They are used in `signer/`.

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
    /// Earlier key-encryption keys, which open what was sealed under them until `chancery keys reseal` has been run.
    pub previous: Vec<PreviousKey>,
    /// The passphrase of key files that have none of their own.
    pub file_passphrase: Option<SecretString>,
    /// The passphrases of single key files.
    pub files: Vec<KeyFile>,
}

/// An earlier key-encryption key: exactly one of the three.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreviousKey {
    /// A file that holds it.
    pub key_encryption_key_file: Option<PathBuf>,
    /// The key itself: 64 hex digits, or base64 of 32 octets.
    pub key_encryption_key: Option<SecretString>,
    /// The passphrase from which it is derived.
    pub passphrase: Option<SecretString>,
}

/// A key file and its passphrase.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// The file.
    pub path: PathBuf,
    /// The passphrase.
    pub passphrase: SecretString,
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
        self.present().source().unwrap_or_else(|| KeySource::File(data_dir.join("key-encryption.key")))
    }

    /// The present key in the form of previous ones.
    fn present(&self) -> PreviousKey {
        PreviousKey {
            key_encryption_key_file: self.key_encryption_key_file.clone(),
            key_encryption_key: self.key_encryption_key.clone(),
            passphrase: self.passphrase.clone(),
        }
    }

    pub(super) fn validate(&self, problems: &mut Vec<String>) {
        let given = self.present().given("keys");
        if given.len() > 1 {
            problems.push(format!(
                "at most one source of the key-encryption key may be given, not `{}`",
                given.join("` and `")
            ));
        }
        self.present().validate("keys", problems);
        for (index, previous) in self.previous.iter().enumerate() {
            let setting = format!("keys.previous[{index}]");
            if previous.given(&setting).len() != 1 {
                problems.push(format!(
                    "`{setting}` must have exactly one of `key_encryption_key_file`, `key_encryption_key` and `passphrase`"
                ));
            }
            previous.validate(&setting, problems);
        }
        let default = self.file_passphrase.iter().map(|passphrase| ("keys.file_passphrase".to_owned(), passphrase));
        let single = self.files.iter().enumerate();
        let single = single.map(|(index, file)| (format!("keys.files[{index}].passphrase"), &file.passphrase));
        for (setting, passphrase) in default.chain(single) {
            if let Err(error) = refuse_short_passphrase(passphrase) {
                problems.push(format!("`{setting}`: {error}"));
            }
        }
        for (index, file) in self.files.iter().enumerate() {
            if self.files.iter().take(index).any(|other| other.path == file.path) {
                problems.push(format!("`keys.files` has the file `{}` more than once", file.path.display()));
            }
        }
    }
}

impl PreviousKey {
    /// Returns the one source, or `None` when none is given.
    #[must_use]
    pub fn source(&self) -> Option<KeySource> {
        match (&self.passphrase, &self.key_encryption_key, &self.key_encryption_key_file) {
            (Some(passphrase), _, _) => Some(KeySource::Passphrase(passphrase.clone())),
            (None, Some(key), _) => Some(KeySource::Text(key.clone())),
            (None, None, Some(file)) => Some(KeySource::File(file.clone())),
            (None, None, None) => None,
        }
    }

    fn given(&self, setting: &str) -> Vec<String> {
        let given = [
            ("key_encryption_key_file", self.key_encryption_key_file.is_some()),
            ("key_encryption_key", self.key_encryption_key.is_some()),
            ("passphrase", self.passphrase.is_some()),
        ];
        given.iter().filter(|(_, is_given)| *is_given).map(|(name, _)| format!("{setting}.{name}")).collect()
    }

    fn validate(&self, setting: &str, problems: &mut Vec<String>) {
        if let Some(Err(error)) = self.key_encryption_key.as_ref().map(KeyEncryptionKey::from_text) {
            problems.push(format!("`{setting}.key_encryption_key`: {error}"));
        }
        if let Some(Err(error)) = self.passphrase.as_ref().map(refuse_short_passphrase) {
            problems.push(format!("`{setting}.passphrase`: {error}"));
        }
    }
}
