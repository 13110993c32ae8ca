//! Turns the settings about keys into the store of issuer keys: key-encryption keys, passphrases of key files, tokens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::config::hierarchy::KeyStorage;
use crate::config::{Authority, Config, KeySource, Pkcs11};
use crate::error::{Error, Result};
use crate::signer::key_files::KeyFiles;
use crate::signer::key_ring::KeyRing;
use crate::signer::key_store::{KeyPlace, KeyStore};
use crate::signer::sealing::KeyEncryptionKey;
use crate::signer::secret_file;
use crate::signer::tokens::{TokenSelector, TokenSettings, Tokens};
use crate::storage::Storage;

/// The name under which the database keeps the salt of key-encryption keys that are derived from a passphrase.
const SALT: &str = "key_encryption_key_salt";

/// Makes the key store that the configuration describes.
pub(super) async fn key_store(config: &Config, storage: &dyn Storage) -> Result<KeyStore> {
    let present = present_key(config, storage).await?;
    let mut previous = Vec::new();
    for key in config.keys.previous.iter().filter_map(|key| key.source()) {
        previous.push(opened(key, storage).await?);
    }
    let files = KeyFiles {
        directory: config.data_dir.join("keys"),
        default_passphrase: config.keys.file_passphrase.clone(),
        passphrases: passphrases(config)?,
    };
    let tokens = config.pkcs11.iter().map(token).collect::<Result<_>>()?;
    Ok(KeyStore::new(KeyRing::new(present, previous), files, Tokens::new(tokens)?))
}

/// Returns where the key of a CA that is created is kept.
pub(super) fn place(config: &Config, authority: &Authority) -> Result<KeyPlace> {
    Ok(match authority.storage {
        KeyStorage::Database => KeyPlace::Database,
        KeyStorage::File => match key_file(config, authority)? {
            Some(path) => KeyPlace::File(path),
            None => KeyPlace::Database,
        },
        KeyStorage::Pkcs11 => KeyPlace::Pkcs11 {
            token: authority.token.clone().ok_or_else(|| Error::configuration("a token for the key is not named"))?,
            label: authority.name.clone(),
        },
    })
}

/// Returns the file of an authority's key in full.
fn key_file(config: &Config, authority: &Authority) -> Result<Option<PathBuf>> {
    config.key_file(authority).map(|path| absolute(&path)).transpose()
}

/// Returns a path in full: the database keeps it, and the service may be started from another directory.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| {
        Error::configuration(format!("the key file `{}` has no place", path.display())).with_source(error)
    })
}

fn passphrases(config: &Config) -> Result<BTreeMap<PathBuf, SecretString>> {
    let mut passphrases = BTreeMap::new();
    for file in &config.keys.files {
        passphrases.insert(absolute(&file.path)?, file.passphrase.clone());
    }
    for authority in [&config.hierarchy.root, &config.hierarchy.issuing] {
        if let (Some(path), Some(passphrase)) = (key_file(config, authority)?, &authority.passphrase) {
            passphrases.insert(path, passphrase.clone());
        }
    }
    Ok(passphrases)
}

async fn present_key(config: &Config, storage: &dyn Storage) -> Result<KeyEncryptionKey> {
    match config.key_source() {
        KeySource::File(path) if path.exists() => KeyEncryptionKey::from_file(&path),
        // Only when nothing was ever sealed: a new key could not open what is there.
        KeySource::File(path) if storage.issuers().await?.is_empty() => KeyEncryptionKey::create_file(&path),
        KeySource::File(path) => Err(Error::configuration(format!(
            "the key-encryption key `{0}` is not there, and the database holds keys that were sealed: restore it from a backup, or, to change to a new one, make it with `chancery keys generate {0}` and name the old one in `keys.previous`",
            path.display()
        ))),
        source @ (KeySource::Text(_) | KeySource::Passphrase(_)) => opened(source, storage).await,
    }
}

async fn opened(source: KeySource, storage: &dyn Storage) -> Result<KeyEncryptionKey> {
    match source {
        KeySource::Text(text) => KeyEncryptionKey::from_text(&text),
        KeySource::File(path) => KeyEncryptionKey::from_file(&path),
        KeySource::Passphrase(passphrase) => {
            let mut salt = [0; 16];
            aws_lc_rs::rand::fill(&mut salt)
                .map_err(|error| Error::internal("the random source failed").with_source(error))?;
            let salt = storage.setting_or_insert(SALT, &salt).await?;
            crate::tasks::spawn_blocking(move || KeyEncryptionKey::from_passphrase(&passphrase, &salt)).await
        }
    }
}

fn token(section: &Pkcs11) -> Result<TokenSettings> {
    let pin = match (&section.pin, &section.pin_file) {
        (Some(pin), _) => Some(pin.clone()),
        (None, Some(path)) => Some(pin_of(path)?),
        (None, None) => None,
    };
    let selector = match (&section.token_label, &section.serial, section.slot) {
        (Some(label), _, _) => TokenSelector::Label(label.clone()),
        (None, Some(serial), _) => TokenSelector::Serial(serial.clone()),
        (None, None, Some(slot)) => TokenSelector::Slot(slot),
        (None, None, None) => {
            return Err(Error::configuration(format!("nothing finds the token `{}`", section.name)));
        }
    };
    Ok(TokenSettings {
        name: section.name.clone(),
        module: section.module.clone(),
        selector,
        pin,
        sessions: section.sessions,
        timeout: section.timeout,
    })
}

/// Reads a PIN, without the last line break.
fn pin_of(path: &Path) -> Result<SecretString> {
    let content = secret_file::read(path)?;
    let text = std::str::from_utf8(&content).map_err(|_octets| {
        Error::configuration(format!("the file `{}` is not UTF-8, which a PIN must be", path.display()))
    })?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() {
        return Err(Error::configuration(format!("the file `{}` is empty and should hold a PIN", path.display())));
    }
    Ok(text.into())
}
