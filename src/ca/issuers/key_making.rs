//! Makes the keys of new issuers where they are to be kept: decides the place, lets one process at a time make a key in a file or a token, and
//! says what stays there when the issuer is not recorded after all. What a place is, is in `signer/key_store.rs`.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::creation::check_name;
use crate::ca::CertificateAuthority;
use crate::error::{Error, ErrorKind, Result};
use crate::signer::Signer;
use crate::signer::key_store::KeyPlace;
use crate::storage::{KeyLocation, NewKey};
use crate::x509::KeyAlgorithm;

/// The lease under which a key is made in a file or a token: two at once could make two under one label.
const LEASE: &str = "issuer-key";
/// How long making it and recording the issuer may take; an RSA key in a token takes up to two minutes.
const LEASE_TIME: Duration = Duration::from_secs(180);
/// How long a caller waits for its turn: attempts, and the time between them.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(200);

/// Where the key of a new issuer is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewKeyPlace {
    /// In the database, sealed under the key-encryption key.
    Database,
    /// In this file, or the one that the service names after the issuer.
    File(Option<PathBuf>),
    /// In the token of this name in the configuration, labelled with the issuer's name.
    Pkcs11(String),
}

/// A place in which one key is made, and whether it has been.
#[derive(Debug)]
pub(super) struct KeyMaker<'a> {
    ca: &'a CertificateAuthority,
    place: KeyPlace,
    /// Names this turn in the lease; `None` where no turns are taken.
    holder: Option<String>,
    made: OnceLock<KeyLocation>,
}

impl CertificateAuthority {
    /// Decides where the key of the issuer with this name in URLs is kept, and refuses what cannot be before any key is made.
    ///
    /// # Errors
    /// `Malformed` for a name that cannot be and a token that is not configured; `Conflict` when there is no passphrase for the file;
    /// `Configuration` when the directory for key files cannot be used.
    pub(in crate::ca) fn issuer_key_place(&self, place: &NewKeyPlace, path_name: &str) -> Result<KeyPlace> {
        // It becomes part of a path.
        check_name(path_name.split_once('.').map_or(path_name, |(name, _generation)| name))?;
        let place = match place {
            NewKeyPlace::Database => KeyPlace::Database,
            NewKeyPlace::File(Some(path)) => KeyPlace::File(path.clone()),
            NewKeyPlace::File(None) => self.keys.file_place(path_name)?,
            NewKeyPlace::Pkcs11(token) => KeyPlace::Pkcs11 { token: token.clone(), label: path_name.to_owned() },
        };
        self.keys.check_place(&place)?;
        Ok(place)
    }

    /// Waits until a key may be made in this place. What was looked at before may have changed when this returns.
    pub(super) async fn key_maker(&self, place: KeyPlace) -> Result<KeyMaker<'_>> {
        let holder = match place {
            KeyPlace::Database => None,
            KeyPlace::File(_) | KeyPlace::Pkcs11 { .. } => Some(self.take_turn().await?),
        };
        Ok(KeyMaker { ca: self, place, holder, made: OnceLock::new() })
    }

    async fn take_turn(&self) -> Result<String> {
        let mut turn = [0; 8];
        self.random.fill(&mut turn)?;
        // Callers in this process wait for each other, too.
        let holder = format!("{}-{}", self.instance, hex::encode(turn));
        for _ in 0..ATTEMPTS {
            let now = self.clock.now();
            if self.storage.acquire_lease(LEASE, &holder, now, now + LEASE_TIME).await? {
                return Ok(holder);
            }
            tokio::time::sleep(PAUSE).await;
        }
        let detail = "the key of another issuer is being made in a file or a token; try again when that is done";
        Err(Error::new(ErrorKind::Unavailable, detail).with_retry_after(10))
    }
}

impl KeyMaker<'_> {
    /// Whether others may have made a key before it was this one's turn.
    pub(super) const fn waited(&self) -> bool {
        self.holder.is_some()
    }

    /// Makes the key.
    ///
    /// # Errors
    /// As [`crate::signer::key_store::KeyStore::create`].
    pub(super) async fn make(&self, algorithm: KeyAlgorithm) -> Result<(NewKey, Arc<dyn Signer>)> {
        let (key, signer) = self.ca.keys.create(algorithm, &self.place).await?;
        self.made.get_or_init(|| key.location.clone());
        Ok((key, signer))
    }

    /// Ends the turn; says in the error and the log what stays in a file or token though no issuer was recorded.
    pub(super) async fn finish<T>(self, outcome: Result<T>) -> Result<T> {
        if let Some(holder) = &self.holder {
            let now = self.ca.clock.now();
            if let Err(error) = self.ca.storage.acquire_lease(LEASE, holder, now, now).await {
                tracing::warn!(%error, "the lease for making keys was not given back; it ends by itself in {LEASE_TIME:?}");
            }
        }
        outcome.map_err(|error| self.explained(error))
    }

    fn explained(&self, error: Error) -> Error {
        let rest = match self.made.get() {
            None | Some(KeyLocation::Database(_)) => return error,
            Some(KeyLocation::File(path)) => {
                tracing::warn!(path = %path.display(), "the key file of an issuer that was not recorded stays");
                "the key that was made for it stays in its file, and the next attempt with this name takes it"
            }
            Some(KeyLocation::Pkcs11(uri)) => {
                tracing::warn!(key = %uri, "the key in a token of an issuer that was not recorded stays");
                "the key that was made for it stays in the token, and the next attempt with this name takes it"
            }
        };
        if !error.violations().is_empty() {
            return error;
        }
        let retry_after = error.retry_after_seconds();
        let explained = Error::new(error.kind(), format!("{}; {rest}", error.detail())).with_source(error);
        match retry_after {
            Some(seconds) => explained.with_retry_after(seconds),
            None => explained,
        }
    }
}
