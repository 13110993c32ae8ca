//! Sealing: AES-256-GCM under the key-encryption key, for private keys and other secrets kept in the database.

use std::path::Path;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox, SecretString};
use zeroize::{Zeroize, Zeroizing};

use super::{file, secret_file};
use crate::error::{Error, Result};

/// The length, in octets, of the salt that a passphrase is derived with.
pub const SALT_LENGTH: usize = 16;

/// Memory in KiB, passes and lanes: RFC 9106, section 4, second recommended option.
const ARGON2ID: (u32, u32, u32) = (64 * 1024, 3, 4);

/// The key-encryption key: 32 octets that are never in the database, and its identifier.
pub struct KeyEncryptionKey {
    key: SecretBox<[u8; 32]>,
    id: String,
}

impl std::fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyEncryptionKey({})", self.id)
    }
}

/// A sealed secret: what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The identifier of the key-encryption key.
    pub key_encryption_key_id: String,
    /// The nonce, 12 octets, then ciphertext and tag.
    pub ciphertext: Vec<u8>,
}

impl KeyEncryptionKey {
    /// Takes 32 octets. The identifier is derived from the key by a one-way function.
    #[must_use]
    pub fn from_bytes(mut key: [u8; 32]) -> Self {
        let boxed = SecretBox::init_with_mut(|boxed: &mut [u8; 32]| boxed.copy_from_slice(&key));
        key.zeroize();
        Self::from_box(boxed)
    }

    fn from_box(key: SecretBox<[u8; 32]>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"chancery key-encryption-key id");
        context.update(key.expose_secret());
        let mut id = hex::encode(context.finish());
        id.truncate(16);
        Self { key, id }
    }

    /// Derives a key from a passphrase by Argon2id (RFC 9106, second recommended option: 64 MiB, 3 passes, 4 lanes).
    ///
    /// # Errors
    /// `Configuration` when the passphrase is shorter than 12 characters or the salt is not 16 octets.
    pub fn from_passphrase(passphrase: &SecretString, salt: &[u8]) -> Result<Self> {
        file::refuse_short_passphrase(passphrase)?;
        if salt.len() != SALT_LENGTH {
            return Err(Error::configuration(format!(
                "the salt of the key-encryption passphrase has {} octets instead of {SALT_LENGTH}",
                salt.len()
            )));
        }
        let failed = |error: argon2::Error| Error::internal(format!("Argon2id fails: {error}"));
        let (memory, passes, lanes) = ARGON2ID;
        let parameters = Params::new(memory, passes, lanes, Some(32)).map_err(failed)?;
        let mut blocks = vec![Block::new(); parameters.block_count()];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
        let mut key = SecretBox::<[u8; 32]>::default();
        let derived = argon2.hash_password_into_with_memory(
            passphrase.expose_secret().as_bytes(),
            salt,
            key.expose_secret_mut(),
            &mut blocks,
        );
        // The last blocks are all that is between an observer and the key.
        for block in &mut blocks {
            block.as_mut().zeroize();
        }
        derived.map_err(failed)?;
        Ok(Self::from_box(key))
    }

    /// Reads a key from text: 64 hex digits or base64 of 32 octets, white space around it ignored.
    ///
    /// # Errors
    /// `Configuration` when it is neither; the text is not shown.
    pub fn from_text(text: &SecretString) -> Result<Self> {
        Self::decode(text.expose_secret().as_bytes())
            .ok_or_else(|| Error::configuration(malformed_key("the key-encryption key")))
    }

    /// Reads a key file: 64 hex digits or base64 of 32 octets, refused when its group or others may read it.
    ///
    /// # Errors
    /// `Configuration` naming the file and what is wrong.
    pub fn from_file(path: &Path) -> Result<Self> {
        let content = secret_file::read(path)?;
        Self::decode(&content).ok_or_else(|| {
            Error::configuration(malformed_key(&format!("the key-encryption key file `{}`", path.display())))
        })
    }

    fn decode(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii();
        let mut key = SecretBox::<[u8; 32]>::default();
        if hex::decode_to_slice(text, key.expose_secret_mut()).is_ok() {
            return Some(Self::from_box(key));
        }
        // One octet more than fits, so that a longer key is seen as such.
        let mut octets = Zeroizing::new([0; 36]);
        let length = STANDARD.decode_slice(text, octets.as_mut_slice()).ok()?;
        let octets = octets.get(..length).filter(|octets| octets.len() == 32)?;
        key.expose_secret_mut().copy_from_slice(octets);
        Some(Self::from_box(key))
    }

    /// Makes a new key file (mode 0600, never overwriting) and returns its key.
    ///
    /// # Errors
    /// `Configuration` when the file exists or cannot be written.
    pub fn create_file(path: &Path) -> Result<Self> {
        let mut key = SecretBox::<[u8; 32]>::default();
        rand::fill(key.expose_secret_mut()).map_err(no_random)?;
        let mut text = Zeroizing::new([b'\n'; 65]);
        let (digits, _newline) = text.split_at_mut(64);
        hex::encode_to_slice(key.expose_secret(), digits)
            .map_err(|error| Error::internal("a key cannot be written in hex").with_source(error))?;
        secret_file::create(path, text.as_slice())?;
        Ok(Self::from_box(key))
    }

    /// Returns the identifier.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Seals a secret with a fresh nonce, bound to `context` (such as `issuer-key:<spki sha256>`), which must be given again to open it.
    ///
    /// # Errors
    /// `Internal` when the random source fails.
    pub fn seal(&self, plaintext: &[u8], context: &str) -> Result<Sealed> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(no_random)?;
        let mut body = Zeroizing::new(plaintext.to_vec());
        let tag = self
            .cipher()?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated_data(context, &self.id)),
                &mut body,
            )
            .map_err(|error| Error::internal("a secret cannot be sealed").with_source(error))?;
        let ciphertext = [nonce.as_slice(), body.as_slice(), tag.as_ref()].concat();
        Ok(Sealed { key_encryption_key_id: self.id.clone(), ciphertext })
    }

    /// Opens a sealed secret.
    ///
    /// # Errors
    /// `Configuration` when it was sealed under another key (naming both identifiers); `Internal` when it was altered or belongs to another context.
    pub fn open(&self, sealed: &Sealed, context: &str) -> Result<Zeroizing<Vec<u8>>> {
        if sealed.key_encryption_key_id != self.id {
            return Err(Error::configuration(format!(
                "a secret in the database is sealed under the key-encryption key `{}`, but the configured key is `{}`; configure the key it was sealed under",
                sealed.key_encryption_key_id, self.id
            )));
        }
        let altered =
            || Error::internal(format!("the sealed secret `{context}` was altered or belongs to something else"));
        let (nonce, body) = sealed.ciphertext.split_at_checked(NONCE_LEN).ok_or_else(altered)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|error| altered().with_source(error))?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self
            .cipher()?
            .open_in_place(nonce, Aad::from(associated_data(context, &self.id)), &mut body)
            .map_err(|error| altered().with_source(error))?
            .len();
        body.truncate(length);
        Ok(body)
    }

    fn cipher(&self) -> Result<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, self.key.expose_secret())
            .map(LessSafeKey::new)
            .map_err(|error| Error::internal("AES-256-GCM does not take the key").with_source(error))
    }
}

/// Binds a secret to what it is and to its key: a row cannot be swapped for another, nor an identifier be changed.
fn associated_data(context: &str, key_id: &str) -> Vec<u8> {
    [context.as_bytes(), &[0], key_id.as_bytes()].concat()
}

fn malformed_key(what: &str) -> String {
    format!("{what} must hold 64 hex digits or the base64 of 32 octets, and nothing else")
}

fn no_random(error: aws_lc_rs::error::Unspecified) -> Error {
    Error::internal("the system's random source fails").with_source(error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn key() -> KeyEncryptionKey {
        KeyEncryptionKey::from_bytes([7; 32])
    }

    #[test]
    fn the_identifier_is_the_digest_of_label_and_key() {
        // printf 'chancery key-encryption-key id' and 32 octets 07 through sha256sum.
        assert_eq!(key().id(), "e509ccfe48a463e1");
        assert_ne!(key().id(), KeyEncryptionKey::from_bytes([8; 32]).id());
    }

    #[test]
    fn what_is_sealed_opens_again_and_is_never_the_same_twice() {
        let key = key();
        for plaintext in [&b""[..], b"a", &[9; 5000]] {
            let sealed = key.seal(plaintext, "issuer-key:00").unwrap();
            assert_eq!(sealed.ciphertext.len(), 12 + plaintext.len() + 16);
            assert_eq!(sealed.key_encryption_key_id, key.id());
            assert_eq!(key.open(&sealed, "issuer-key:00").unwrap().as_slice(), plaintext);
            assert_ne!(key.seal(plaintext, "issuer-key:00").unwrap().ciphertext, sealed.ciphertext);
        }
    }

    #[test]
    fn another_context_or_any_changed_octet_is_refused() {
        let key = key();
        let sealed = key.seal(b"secret", "issuer-key:00").unwrap();
        assert_eq!(key.open(&sealed, "issuer-key:01").unwrap_err().kind(), ErrorKind::Internal);
        for position in 0..sealed.ciphertext.len() {
            let mut altered = sealed.clone();
            altered.ciphertext[position] ^= 1;
            let error = key.open(&altered, "issuer-key:00").unwrap_err();
            assert_eq!(error.detail(), "the sealed secret `issuer-key:00` was altered or belongs to something else");
        }
        for length in [0, 11, 12, 27, sealed.ciphertext.len() - 1] {
            let mut short = sealed.clone();
            short.ciphertext.truncate(length);
            assert_eq!(key.open(&short, "issuer-key:00").unwrap_err().kind(), ErrorKind::Internal);
        }
    }

    #[test]
    fn another_key_is_refused_by_name() {
        let (key, other) = (key(), KeyEncryptionKey::from_bytes([8; 32]));
        let sealed = key.seal(b"secret", "context").unwrap();
        let error = other.open(&sealed, "context").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.detail().contains(key.id()) && error.detail().contains(other.id()), "{error}");
        // Claiming the other identifier does not help.
        let relabelled = Sealed { key_encryption_key_id: other.id().to_owned(), ..sealed };
        assert_eq!(other.open(&relabelled, "context").unwrap_err().kind(), ErrorKind::Internal);
    }

    #[test]
    fn the_passphrase_is_stretched_as_argon2id_does() {
        let passphrase = SecretString::from("correct horse battery");
        let key = KeyEncryptionKey::from_passphrase(&passphrase, &[1; 16]).unwrap();
        // Argon2id, version 19, m=65536, t=3, p=4, computed by OpenSSL through Python's cryptography.
        assert_eq!(
            hex::encode(key.key.expose_secret()),
            "e26da06d44eae85c6159610eab926b3adad86e692018b586f5dcb98bdb03d293"
        );
    }

    #[test]
    fn a_short_passphrase_or_another_salt_is_refused() {
        let refusal = |passphrase: &str, salt: &[u8]| {
            KeyEncryptionKey::from_passphrase(&SecretString::from(passphrase), salt).unwrap_err().detail().to_owned()
        };
        assert_eq!(refusal("elevenchars", &[1; 16]), "the passphrase is too short; at least 12 characters are needed");
        assert_eq!(
            refusal("correct horse battery", &[1; 15]),
            "the salt of the key-encryption passphrase has 15 octets instead of 16"
        );
    }

    #[test]
    fn a_created_file_holds_the_key_and_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key-encryption.key");
        let key = KeyEncryptionKey::create_file(&path).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap()) & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).unwrap().len(), 65);
        let read = KeyEncryptionKey::from_file(&path).unwrap();
        assert_eq!(read.id(), key.id());
        assert_eq!(read.open(&key.seal(b"secret", "c").unwrap(), "c").unwrap().as_slice(), b"secret");
        assert!(KeyEncryptionKey::create_file(&path).unwrap_err().detail().contains("exists already"));
        assert_ne!(KeyEncryptionKey::create_file(&directory.path().join("second")).unwrap().id(), key.id());
    }

    #[test]
    fn a_key_is_read_from_hex_or_base64_and_nothing_else() {
        let hex = "07".repeat(32);
        for text in [hex.clone(), format!("{hex}\n"), hex.to_uppercase(), STANDARD.encode([7; 32])] {
            assert_eq!(KeyEncryptionKey::from_text(&SecretString::from(text)).unwrap().id(), key().id());
        }
        let wrong = [
            String::new(),
            "07".repeat(31),
            "07".repeat(33),
            format!("{hex} {hex}"),
            STANDARD.encode([7; 31]),
            STANDARD.encode([7; 33]),
            STANDARD.encode([7; 100]),
            "g".repeat(64),
        ];
        for text in wrong {
            let error = KeyEncryptionKey::from_text(&SecretString::from(text)).unwrap_err();
            assert_eq!(
                error.detail(),
                "the key-encryption key must hold 64 hex digits or the base64 of 32 octets, and nothing else"
            );
        }
    }

    #[test]
    fn debug_shows_the_identifier_only() {
        let shown = format!("{:?}", key());
        assert_eq!(shown, format!("KeyEncryptionKey({})", key().id()));
    }
}
