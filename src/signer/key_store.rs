//! Finds and makes issuer keys wherever they are kept: sealed in the database, in an encrypted file, or in an HSM.
//!
//! The core asks it for a [`Signer`] and never sees a private key.

use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::import::ImportedKey;
use super::key_files::KeyFiles;
use super::key_ring::KeyRing;
use super::sealing::Sealed;
use super::software::SoftwareSigner;
use super::tokens::Tokens;
use super::{Signer, generate};
use crate::error::{Error, Result};
use crate::storage::{KeyLocation, KeyRecord, NewKey};
use crate::tasks;
use crate::x509::{KeyAlgorithm, PublicKey};

/// Where a new key is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// In the database, sealed under the key-encryption key.
    Database,
    /// In this file, encrypted under the file's passphrase.
    File(PathBuf),
    /// In an HSM.
    Pkcs11 {
        /// The token, by its name in the configuration.
        token: String,
        /// The label of the key.
        label: String,
    },
}

/// The way to every issuer key.
#[derive(Clone, Debug)]
pub struct KeyStore {
    ring: Arc<KeyRing>,
    files: Arc<KeyFiles>,
    tokens: Arc<Tokens>,
}

impl KeyStore {
    /// Makes a key store.
    #[must_use]
    pub fn new(ring: KeyRing, files: KeyFiles, tokens: Tokens) -> Self {
        Self { ring: Arc::new(ring), files: Arc::new(files), tokens: Arc::new(tokens) }
    }

    /// Opens the private key that belongs to `public_key`. One in a token that is away is opened all the same; see
    /// [`Signer::is_away`].
    ///
    /// # Errors
    /// `Configuration` when it cannot be opened with the keys, passphrases and PINs at hand, or is another key.
    pub async fn open(&self, location: &KeyLocation, public_key: &PublicKey) -> Result<Arc<dyn Signer>> {
        let (this, location, public_key) = (self.clone(), location.clone(), public_key.clone());
        tasks::spawn_blocking(move || {
            let pkcs8 = match &location {
                KeyLocation::Database(sealed) => this.ring.open(sealed, &context(&public_key.spki_sha256()))?,
                KeyLocation::File(path) => this.files.read(path)?,
                KeyLocation::Pkcs11(uri) => return this.tokens.open(uri, &public_key),
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
    /// or key in a token that is there is taken as it is.
    ///
    /// # Errors
    /// `Configuration` when the place holds another kind of key, cannot be read or written, or there is no passphrase for the file;
    /// `Malformed` for a key that cannot be made or a token that is not configured; `Unavailable` when the token is away.
    pub async fn create(&self, algorithm: KeyAlgorithm, place: &KeyPlace) -> Result<(NewKey, Arc<dyn Signer>)> {
        let (this, place) = (self.clone(), place.clone());
        tasks::spawn_blocking(move || {
            let (signer, location): (Arc<dyn Signer>, _) = match place {
                KeyPlace::Database => {
                    let pkcs8 = generate::generate_pkcs8(algorithm)?;
                    let signer = SoftwareSigner::from_pkcs8_der(&pkcs8)?;
                    let sealed = this.ring.seal(&pkcs8, &context(&signer.public_key().spki_sha256()))?;
                    (Arc::new(signer), KeyLocation::Database(sealed))
                }
                KeyPlace::File(path) => (Arc::new(this.files.create(&path, algorithm)?), KeyLocation::File(path)),
                KeyPlace::Pkcs11 { token, label } => {
                    let (uri, signer) = this.tokens.create(&token, algorithm, &label)?;
                    (signer, KeyLocation::Pkcs11(uri))
                }
            };
            let spki_sha256 = signer.public_key().spki_sha256();
            Ok((NewKey { algorithm: algorithm.to_string(), spki_sha256, location }, signer))
        })
        .await
    }

    /// Takes over a key that was made elsewhere, checks that it belongs to `public_key`, keeps it in its place and gives what is to be
    /// recorded. A key file that is there must hold this key.
    ///
    /// # Errors
    /// `Malformed` when the key is weak, of a kind that cannot sign here, or another one, and for a place in a token; `Configuration` when the file
    /// holds another key, cannot be read or written, or there is no passphrase for it.
    pub async fn import(
        &self,
        key: ImportedKey,
        public_key: &PublicKey,
        place: &KeyPlace,
    ) -> Result<(NewKey, Arc<dyn Signer>)> {
        let (this, public_key, place) = (self.clone(), public_key.clone(), place.clone());
        tasks::spawn_blocking(move || {
            let signer = key.signer_for(&public_key)?;
            let spki_sha256 = signer.public_key().spki_sha256();
            let location = match place {
                KeyPlace::Database => KeyLocation::Database(this.ring.seal(&key.pkcs8_der, &context(&spki_sha256))?),
                KeyPlace::File(path) => {
                    this.files.keep(&path, &key.pkcs8_der)?;
                    KeyLocation::File(path)
                }
                KeyPlace::Pkcs11 { .. } => {
                    return Err(Error::malformed(
                        "a key that was made outside a token gains nothing by being put into it; make a new generation of the issuer there",
                    ));
                }
            };
            let algorithm = signer.public_key().algorithm_name();
            Ok((NewKey { algorithm, spki_sha256, location }, Arc::new(signer) as Arc<dyn Signer>))
        })
        .await
    }

    /// Writes a recorded key to another place (a file is written and synced before this returns) and gives that place; the key stays where
    /// it was, too. `None` when it is there already.
    ///
    /// # Errors
    /// `Conflict` for a key in a token, which it cannot leave, and for a place in a token; else as [`KeyStore::open`] and
    /// [`KeyStore::create`].
    pub async fn copy(&self, key: &KeyRecord, place: &KeyPlace) -> Result<Option<KeyLocation>> {
        let (this, key, place) = (self.clone(), key.clone(), place.clone());
        tasks::spawn_blocking(move || {
            let pkcs8 = match (&key.location, &place) {
                (KeyLocation::Database(_), KeyPlace::Database) => return Ok(None),
                (KeyLocation::File(from), KeyPlace::File(to)) if from == to => return Ok(None),
                (KeyLocation::Pkcs11(uri), _) => {
                    return Err(Error::conflict(format!("the key `{uri}` is in a token, which it cannot leave")));
                }
                (_, KeyPlace::Pkcs11 { .. }) => {
                    return Err(Error::conflict(
                        "a key that was made outside a token gains nothing by being put into it; make a new generation of the issuer there",
                    ));
                }
                (KeyLocation::Database(_) | KeyLocation::File(_), KeyPlace::Database | KeyPlace::File(_)) => {
                    this.private_key(&key)?
                }
            };
            match place {
                KeyPlace::Database => {
                    Ok(Some(KeyLocation::Database(this.ring.seal(&pkcs8, &context(&key.spki_sha256))?)))
                }
                KeyPlace::File(path) => {
                    this.files.keep(&path, &pkcs8)?;
                    Ok(Some(KeyLocation::File(path)))
                }
                KeyPlace::Pkcs11 { .. } => Ok(None),
            }
        })
        .await
    }

    /// Seals a recorded key anew under the present key-encryption key; `None` when it is not in the database or is sealed so already.
    ///
    /// # Errors
    /// `Configuration` when the key it is sealed under is not at hand; `Internal` when it was altered.
    pub fn reseal_key(&self, key: &KeyRecord) -> Result<Option<KeyLocation>> {
        match &key.location {
            KeyLocation::Database(sealed) => {
                Ok(self.reseal_private_key(sealed, &key.spki_sha256)?.map(KeyLocation::Database))
            }
            KeyLocation::File(_) | KeyLocation::Pkcs11(_) => Ok(None),
        }
    }

    /// Seals a private key of this store anew under the present key-encryption key, also one that is no CA's; `None` when it is sealed so
    /// already. `spki_sha256` is the digest of its public key.
    ///
    /// # Errors
    /// As [`KeyStore::unseal`].
    pub fn reseal_private_key(&self, sealed: &Sealed, spki_sha256: &[u8; 32]) -> Result<Option<Sealed>> {
        self.ring.reseal(sealed, &context(spki_sha256))
    }

    /// Returns the place of a new key file of this issuer, in the directory that the service keeps them in.
    ///
    /// # Errors
    /// `Configuration` when the directory cannot be made.
    pub fn file_place(&self, path_name: &str) -> Result<KeyPlace> {
        self.files.place(path_name).map(KeyPlace::File)
    }

    /// Refuses a place in which this store can keep no key, before one is made.
    ///
    /// # Errors
    /// `Malformed` for a token that is not configured or a build without tokens; `Conflict` when there is no passphrase for the file.
    pub fn check_place(&self, place: &KeyPlace) -> Result<()> {
        match place {
            KeyPlace::Database => Ok(()),
            KeyPlace::File(path) => self.files.check_passphrase(path),
            KeyPlace::Pkcs11 { token, .. } => self.tokens.check_name(token),
        }
    }

    /// Returns the identifier of the present key-encryption key.
    #[must_use]
    pub fn key_encryption_key_id(&self) -> &str {
        self.ring.id()
    }

    /// Returns the tokens.
    #[must_use]
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// Seals another secret, bound to a context.
    ///
    /// # Errors
    /// `Internal` when the random source fails.
    pub fn seal(&self, plaintext: &[u8], context: &str) -> Result<Sealed> {
        self.ring.seal(plaintext, context)
    }

    /// Opens another sealed secret.
    ///
    /// # Errors
    /// `Configuration` when it was sealed under a key that is not at hand; `Internal` when it was altered.
    pub fn unseal(&self, sealed: &Sealed, context: &str) -> Result<Zeroizing<Vec<u8>>> {
        self.ring.open(sealed, context)
    }

    /// Seals another secret anew under the present key-encryption key; `None` when it is sealed so already.
    ///
    /// # Errors
    /// As [`KeyStore::unseal`].
    pub fn reseal(&self, sealed: &Sealed, context: &str) -> Result<Option<Sealed>> {
        self.ring.reseal(sealed, context)
    }

    /// Opens a key as PKCS #8 DER, and makes sure that it is the recorded one.
    fn private_key(&self, key: &KeyRecord) -> Result<Zeroizing<Vec<u8>>> {
        let pkcs8 = match &key.location {
            KeyLocation::Database(sealed) => self.ring.open(sealed, &context(&key.spki_sha256))?,
            KeyLocation::File(path) => self.files.read(path)?,
            KeyLocation::Pkcs11(uri) => {
                return Err(Error::conflict(format!("the key `{uri}` is in a token, which it cannot leave")));
            }
        };
        if SoftwareSigner::from_pkcs8_der(&pkcs8)?.public_key().spki_sha256() != key.spki_sha256 {
            return Err(Error::configuration("the private key does not belong to the issuer's certificate"));
        }
        Ok(pkcs8)
    }
}

/// Binds a sealed private key to the digest of its public key, so that rows cannot be swapped.
fn context(spki_sha256: &[u8; 32]) -> String {
    format!("issuer-key:{}", hex::encode(spki_sha256))
}
