//! The key-encryption keys at hand: the present one, which seals, and previous ones, which open what was sealed before.

use zeroize::Zeroizing;

use super::sealing::{KeyEncryptionKey, Sealed};
use crate::error::{Error, Result};

/// One present and any number of previous key-encryption keys.
#[derive(Debug)]
pub struct KeyRing {
    present: KeyEncryptionKey,
    previous: Vec<KeyEncryptionKey>,
}

impl From<KeyEncryptionKey> for KeyRing {
    fn from(present: KeyEncryptionKey) -> Self {
        Self::new(present, Vec::new())
    }
}

impl KeyRing {
    /// Takes the present key, and previous ones, which only open.
    #[must_use]
    pub const fn new(present: KeyEncryptionKey, previous: Vec<KeyEncryptionKey>) -> Self {
        Self { present, previous }
    }

    /// Returns the identifier of the present key.
    #[must_use]
    pub fn id(&self) -> &str {
        self.present.id()
    }

    /// Seals under the present key, as [`KeyEncryptionKey::seal`].
    ///
    /// # Errors
    /// `Internal` when the random source fails.
    pub fn seal(&self, plaintext: &[u8], context: &str) -> Result<Sealed> {
        self.present.seal(plaintext, context)
    }

    /// Opens with the key that it was sealed under.
    ///
    /// # Errors
    /// `Configuration` when that key is not at hand, naming those that are; `Internal` when it was altered or belongs to another context.
    pub fn open(&self, sealed: &Sealed, context: &str) -> Result<Zeroizing<Vec<u8>>> {
        let mut keys = std::iter::once(&self.present).chain(&self.previous);
        if let Some(key) = keys.find(|key| key.id() == sealed.key_encryption_key_id) {
            return key.open(sealed, context);
        }
        // Says which key is needed and which is there.
        self.present.open(sealed, context).map_err(|error| match self.previous.as_slice() {
            [] => error,
            previous => {
                let ids: Vec<String> = previous.iter().map(|key| format!("`{}`", key.id())).collect();
                Error::configuration(format!("{error}; previous keys at hand are {}", ids.join(", ")))
            }
        })
    }

    /// Seals anew under the present key what is sealed under a previous one; `None` when it is under the present one already.
    ///
    /// # Errors
    /// As [`KeyRing::open`].
    pub fn reseal(&self, sealed: &Sealed, context: &str) -> Result<Option<Sealed>> {
        if sealed.key_encryption_key_id == self.id() {
            return Ok(None);
        }
        self.seal(&self.open(sealed, context)?, context).map(Some)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn key(octet: u8) -> KeyEncryptionKey {
        KeyEncryptionKey::from_bytes([octet; 32])
    }

    #[test]
    fn what_a_previous_key_sealed_opens_and_new_secrets_are_under_the_present_one() {
        let old = key(1).seal(b"secret", "context").unwrap();
        let older = key(2).seal(b"secret", "context").unwrap();
        let ring = KeyRing::new(key(3), vec![key(1), key(2)]);
        for sealed in [&old, &older] {
            assert_eq!(ring.open(sealed, "context").unwrap().as_slice(), b"secret");
            assert_eq!(ring.open(sealed, "another").unwrap_err().kind(), ErrorKind::Internal);
            let anew = ring.reseal(sealed, "context").unwrap().unwrap();
            assert_eq!(anew.key_encryption_key_id, key(3).id());
            assert_eq!(KeyRing::from(key(3)).open(&anew, "context").unwrap().as_slice(), b"secret");
            assert_eq!(ring.reseal(&anew, "context").unwrap(), None);
        }
        assert_eq!(ring.seal(b"new", "context").unwrap().key_encryption_key_id, key(3).id());
    }

    #[test]
    fn a_key_that_is_not_at_hand_is_named_with_those_that_are() {
        let sealed = key(9).seal(b"secret", "context").unwrap();
        let error = KeyRing::new(key(3), vec![key(1)]).open(&sealed, "context").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        for id in [key(9).id(), key(3).id(), key(1).id()] {
            assert!(error.detail().contains(&format!("`{id}`")), "{error}");
        }
    }
}
