//! Finds and makes issuer keys wherever they are kept: sealed in the database, or in an encrypted file.
//!
//! The core asks it for a [`Signer`] and never sees a private key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::SecretString;

use super::sealing::{KeyEncryptionKey, Sealed};
use super::software::SoftwareSigner;
use super::{Signer, file, generate};
use crate::error::{Error, Result};
use crate::storage::{KeyLocation, NewKey};
use crate::tasks;
use crate::x509::{KeyAlgorithm, PublicKey};

/// Where a new key is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// In the database, sealed under the key-encryption key.
    Database,
    /// In this file, encrypted under the file's passphrase.
    File(PathBuf),
}

/// The way to every issuer key.
#[derive(Debug)]
pub struct KeyStore {
    key_encryption_key: Arc<KeyEncryptionKey>,
    passphrases: BTreeMap<PathBuf, SecretString>,
}

impl KeyStore {
    /// Makes a key store. `passphrases` open and protect key files.
    #[must_use]
    pub const fn new(key_encryption_key: Arc<KeyEncryptionKey>, passphrases: BTreeMap<PathBuf, SecretString>) -> Self {
        Self { key_encryption_key, passphrases }
    }

    /// Opens the private key that belongs to `public_key`.
    ///
    /// # Errors
    /// `Configuration` when it cannot be opened with the key-encryption key or passphrase at hand, or is another key.
    pub async fn open(&self, location: &KeyLocation, public_key: &PublicKey) -> Result<Arc<dyn Signer>> {
        let key_encryption_key = Arc::clone(&self.key_encryption_key);
        let (location, public_key) = (location.clone(), public_key.clone());
        let passphrase = match &location {
            KeyLocation::Database(_) => None,
            KeyLocation::File(path) => self.passphrases.get(path).cloned(),
        };
        tasks::spawn_blocking(move || {
            let pkcs8 = match &location {
                KeyLocation::Database(sealed) => key_encryption_key.open(sealed, &context(&public_key))?,
                KeyLocation::File(path) => file::read(path, passphrase.as_ref())?,
            };
            let signer = SoftwareSigner::from_pkcs8_der(&pkcs8)?;
            if signer.public_key().spki_der() != public_key.spki_der() {
                return Err(Error::configuration("the private key does not belong to the issuer's certificate"));
            }
            Ok(Arc::new(signer) as Arc<dyn Signer>)
        })
        .await
    }

    /// Makes a key, keeps it in its place (a file is written and synced before this returns) and gives what is to be recorded. A key file
    /// that is there is taken as it is.
    ///
    /// # Errors
    /// `Configuration` when the file holds another kind of key, cannot be read or written, or there is no passphrase for it; `Malformed` for a key that cannot be made.
    pub async fn create(&self, algorithm: KeyAlgorithm, place: &KeyPlace) -> Result<(NewKey, Arc<dyn Signer>)> {
        let key_encryption_key = Arc::clone(&self.key_encryption_key);
        let place = place.clone();
        let passphrase = match &place {
            KeyPlace::Database => None,
            KeyPlace::File(path) => self.passphrases.get(path).cloned(),
        };
        tasks::spawn_blocking(move || {
            let (signer, location) = match place {
                KeyPlace::Database => {
                    let pkcs8 = generate::generate_pkcs8(algorithm)?;
                    let signer = SoftwareSigner::from_pkcs8_der(&pkcs8)?;
                    let sealed = key_encryption_key.seal(&pkcs8, &context(signer.public_key()))?;
                    (signer, KeyLocation::Database(sealed))
                }
                KeyPlace::File(path) => (key_file(&path, algorithm, passphrase.as_ref())?, KeyLocation::File(path)),
            };
            let spki_sha256 = signer.public_key().spki_sha256();
            Ok((
                NewKey { algorithm: algorithm.to_string(), spki_sha256, location },
                Arc::new(signer) as Arc<dyn Signer>,
            ))
        })
        .await
    }

    /// Seals another secret, bound to a context.
    ///
    /// # Errors
    /// `Internal` when the random source fails.
    pub fn seal(&self, plaintext: &[u8], context: &str) -> Result<Sealed> {
        self.key_encryption_key.seal(plaintext, context)
    }

    /// Opens another sealed secret.
    ///
    /// # Errors
    /// `Configuration` when it was sealed under another key; `Internal` when it was altered.
    pub fn unseal(&self, sealed: &Sealed, context: &str) -> Result<zeroize::Zeroizing<Vec<u8>>> {
        self.key_encryption_key.open(sealed, context)
    }
}

/// Writes a new key file; takes the one that is there, which an attempt that did not get further left behind or an operator made.
fn key_file(path: &Path, algorithm: KeyAlgorithm, passphrase: Option<&SecretString>) -> Result<SoftwareSigner> {
    let passphrase = passphrase.ok_or_else(|| {
        Error::configuration(format!(
            "a passphrase is needed for the key file `{}`: set `hierarchy.root.passphrase` or `hierarchy.issuing.passphrase`",
            path.display()
        ))
    })?;
    if !path.exists() {
        let pkcs8 = generate::generate_pkcs8(algorithm)?;
        file::write_encrypted(path, &pkcs8, passphrase)?;
        return SoftwareSigner::from_pkcs8_der(&pkcs8);
    }
    let signer = SoftwareSigner::from_pkcs8_der(&file::read(path, Some(passphrase))?)?;
    if signer.public_key().algorithm() != Ok(algorithm) {
        return Err(Error::configuration(format!(
            "the key file `{}` is there and holds another kind of key than `{algorithm}`",
            path.display()
        )));
    }
    Ok(signer)
}

/// Binds a sealed private key to its public key, so that rows cannot be swapped.
fn context(public_key: &PublicKey) -> String {
    format!("issuer-key:{}", hex::encode(public_key.spki_sha256()))
}
