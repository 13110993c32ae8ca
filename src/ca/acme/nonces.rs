//! Nonces (RFC 8555, section 6.5): made without the database, taken once through it.
//!
//! A nonce is the moment it was made, random octets, and a MAC over both and the present epoch, under a key that all replicas share. So a
//! forged or an old one is refused without a statement, and the database holds used ones only, for as long as they could be used again. An
//! epoch ends when the memory of used nonces is lost: nonces of the one before are refused, so that none is ever taken twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::Acme;
use crate::ca::CertificateAuthority;
use crate::error::{AcmeErrorType, Error, Result};
use crate::storage::{NonceTaken, Storage};
use crate::x509::Timestamp;

/// How long a nonce may be used: longer than a client waits between two requests of one order.
const LIFETIME: Duration = Duration::from_secs(3600);
/// How long the epoch is believed when a MAC does not fit: another replica may have begun a new one, and forged nonces must not make every
/// request a question to the database.
const EPOCH_BELIEVED_MS: i64 = 1000;
/// The name of the key among the settings of the database.
const KEY_SETTING: &str = "acme_nonce_key";

const TIME_LENGTH: usize = 8;
const RANDOM_LENGTH: usize = 16;
/// RFC 2104, section 5: half of the MAC is left.
const MAC_LENGTH: usize = 16;
const LENGTH: usize = TIME_LENGTH + RANDOM_LENGTH + MAC_LENGTH;

/// What nonces are made with.
#[derive(Debug)]
pub struct Nonces {
    storage: Arc<dyn Storage>,
    key: hmac::Key,
    epoch: ArcSwap<[u8; 16]>,
    epoch_read_at_ms: AtomicI64,
}

/// A nonce that was made here, or by another replica, in this epoch.
#[derive(Clone, Copy, Debug)]
struct Genuine {
    epoch: [u8; 16],
    random: [u8; RANDOM_LENGTH],
    expires_at: Timestamp,
}

impl Nonces {
    /// Reads the key that all replicas share, or makes it, and the present epoch.
    pub(super) async fn open(ca: &CertificateAuthority) -> Result<Self> {
        let mut initial = Zeroizing::new([0; 32]);
        ca.random.fill(initial.as_mut_slice())?;
        let key = Zeroizing::new(ca.storage.setting_or_insert(KEY_SETTING, initial.as_slice()).await?);
        Ok(Self {
            storage: Arc::clone(&ca.storage),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            epoch: ArcSwap::from_pointee(ca.storage.nonce_epoch().await?),
            epoch_read_at_ms: AtomicI64::new(ca.clock.unix_milliseconds()),
        })
    }

    fn make(&self, now_ms: i64, random: [u8; RANDOM_LENGTH]) -> String {
        let time = now_ms.to_be_bytes();
        let mac = self.mac(&self.epoch.load(), &time, &random);
        let mut octets = Vec::with_capacity(LENGTH);
        octets.extend_from_slice(&time);
        octets.extend_from_slice(&random);
        octets.extend(mac.as_ref().iter().take(MAC_LENGTH));
        URL_SAFE_NO_PAD.encode(octets)
    }

    /// Refuses a nonce that was not made here, or too long ago. The database is asked at most once a second, for the epoch.
    async fn check(&self, nonce: &str, now_ms: i64) -> Result<Genuine> {
        // RFC 8555, section 6.5.2: what is not base64url is malformed, and no new nonce cures that.
        let octets = URL_SAFE_NO_PAD.decode(nonce).map_err(|error| {
            Error::malformed("the `nonce` in the header of the JWS is not base64url without padding").with_source(error)
        })?;
        let not_ours = || bad_nonce("it was not given out here, or before a restart");
        let (time, rest) = octets.split_first_chunk::<TIME_LENGTH>().ok_or_else(not_ours)?;
        let (random, mac) = rest.split_first_chunk::<RANDOM_LENGTH>().ok_or_else(not_ours)?;
        let mut epoch = **self.epoch.load();
        if !self.has_mac(&epoch, time, random, mac) {
            if !self.read_epoch_again(now_ms).await? {
                return Err(not_ours());
            }
            epoch = **self.epoch.load();
            if !self.has_mac(&epoch, time, random, mac) {
                return Err(not_ours());
            }
        }
        let made_at_ms = i64::from_be_bytes(*time);
        let expires_at = Timestamp::from_unix(made_at_ms.div_euclid(1000)) + LIFETIME;
        if Timestamp::from_unix(now_ms.div_euclid(1000)) >= expires_at {
            return Err(bad_nonce("it is more than an hour old"));
        }
        Ok(Genuine { epoch, random: *random, expires_at })
    }

    fn has_mac(&self, epoch: &[u8; 16], time: &[u8], random: &[u8], mac: &[u8]) -> bool {
        let expected = self.mac(epoch, time, random);
        expected
            .as_ref()
            .first_chunk::<MAC_LENGTH>()
            .is_some_and(|expected| constant_time::verify_slices_are_equal(expected, mac).is_ok())
    }

    fn mac(&self, epoch: &[u8; 16], time: &[u8], random: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(epoch);
        context.update(time);
        context.update(random);
        context.sign()
    }

    /// Reads the epoch again unless that was done a moment ago; answers whether it was done.
    async fn read_epoch_again(&self, now_ms: i64) -> Result<bool> {
        let last = self.epoch_read_at_ms.load(Ordering::Acquire);
        let is_recent = (0..EPOCH_BELIEVED_MS).contains(&now_ms.saturating_sub(last));
        if is_recent
            || self.epoch_read_at_ms.compare_exchange(last, now_ms, Ordering::AcqRel, Ordering::Acquire).is_err()
        {
            return Ok(false);
        }
        self.read_epoch().await?;
        Ok(true)
    }

    async fn read_epoch(&self) -> Result<()> {
        self.epoch.store(Arc::new(self.storage.nonce_epoch().await?));
        Ok(())
    }
}

impl Acme {
    /// Makes a nonce: 54 characters of base64url.
    ///
    /// # Errors
    /// `Internal` when the random source fails.
    pub fn new_nonce(&self) -> Result<String> {
        let mut random = [0; RANDOM_LENGTH];
        self.ca.random.fill(&mut random)?;
        Ok(self.nonces.make(self.ca.clock.unix_milliseconds(), random))
    }

    /// Checks a nonce without taking it: what costs more than a MAC is done for nobody who did not ask for a nonce within the hour.
    ///
    /// # Errors
    /// `malformed` for what is not base64url; `badNonce` for one that is not ours or too old.
    pub async fn check_nonce(&self, nonce: &str) -> Result<()> {
        self.nonces.check(nonce, self.ca.clock.unix_milliseconds()).await.map(|_genuine| ())
    }

    /// Takes a nonce.
    ///
    /// # Errors
    /// `malformed` for what is not base64url; `badNonce` for one that is not ours, too old, or used before; those of the storage.
    pub async fn take_nonce(&self, nonce: &str) -> Result<()> {
        let genuine = self.nonces.check(nonce, self.ca.clock.unix_milliseconds()).await?;
        match self.ca.storage.take_nonce(&genuine.epoch, &genuine.random, genuine.expires_at).await? {
            NonceTaken::Taken => Ok(()),
            NonceTaken::Used => Err(bad_nonce("it was used before")),
            NonceTaken::EpochEnded => {
                // So that the nonce of this very answer is one that can be used.
                self.nonces.read_epoch().await?;
                Err(bad_nonce("it was given out before a restart of the database"))
            }
        }
    }
}

fn bad_nonce(why: &str) -> Error {
    Error::acme(
        AcmeErrorType::BadNonce,
        format!("the nonce cannot be used: {why}; repeat the request with the one in `Replay-Nonce` of this answer"),
    )
}

#[cfg(test)]
mod tests;
