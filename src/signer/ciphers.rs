//! The block ciphers that private keys are or were encrypted with, in CBC mode with PKCS #7 padding; decryption only.
//!
//! AES is aws-lc-rs's. DES, Triple DES and RC2 are there to read old files and are never used to write any.

use aws_lc_rs::{cipher, iv};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipher, BlockDecryptMut, InnerIvInit, KeyInit};
use des::{Des, TdesEde3};
use rc2::Rc2;

use super::pbes2::wrong_passphrase;
use crate::error::{Error, Result};

/// A block cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cipher {
    Aes128,
    Aes192,
    Aes256,
    /// Single DES.
    Des,
    /// Triple DES with three keys.
    TripleDes,
    /// Triple DES with two keys: the first is the third, too.
    TwoKeyTripleDes,
    /// RC2 with a key of this many octets, all of whose bits are effective.
    Rc2(usize),
}

impl Cipher {
    /// Returns the length of the key in octets.
    pub(super) const fn key_length(self) -> usize {
        match self {
            Self::Des => 8,
            Self::Aes128 | Self::TwoKeyTripleDes => 16,
            Self::Aes192 | Self::TripleDes => 24,
            Self::Aes256 => 32,
            Self::Rc2(length) => length,
        }
    }

    /// Returns the length of the initialisation vector in octets.
    pub(super) const fn block_length(self) -> usize {
        match self {
            Self::Aes128 | Self::Aes192 | Self::Aes256 => 16,
            Self::Des | Self::TripleDes | Self::TwoKeyTripleDes | Self::Rc2(_) => 8,
        }
    }

    /// Decrypts in place and returns the length of the plaintext, which is noise for one wrong key in 256.
    ///
    /// # Errors
    /// `Malformed` when the padding is none: the passphrase is wrong.
    pub(super) fn decrypt(self, key: &[u8], initialization_vector: &[u8], buffer: &mut [u8]) -> Result<usize> {
        if key.len() != self.key_length() || initialization_vector.len() != self.block_length() {
            return Err(Error::malformed("key or initialisation vector do not have the length that the cipher needs"));
        }
        match self {
            Self::Aes128 => aes(&cipher::AES_128, key, initialization_vector, buffer),
            Self::Aes192 => aes(&cipher::AES_192, key, initialization_vector, buffer),
            Self::Aes256 => aes(&cipher::AES_256, key, initialization_vector, buffer),
            Self::Des => cbc(Des::new_from_slice(key).map_err(length)?, initialization_vector, buffer),
            Self::TripleDes => cbc(TdesEde3::new_from_slice(key).map_err(length)?, initialization_vector, buffer),
            Self::TwoKeyTripleDes => {
                cbc(des::TdesEde2::new_from_slice(key).map_err(length)?, initialization_vector, buffer)
            }
            Self::Rc2(octets) => {
                cbc(Rc2::new_with_eff_key_len(key, octets.saturating_mul(8)), initialization_vector, buffer)
            }
        }
    }
}

fn aes(
    algorithm: &'static cipher::Algorithm,
    key: &[u8],
    initialization_vector: &[u8],
    buffer: &mut [u8],
) -> Result<usize> {
    let vector = iv::FixedLength::try_from(initialization_vector)
        .map_err(|error| Error::malformed("the initialisation vector is not 16 octets long").with_source(error))?;
    // The cause says nothing: every failure here is a padding that is none.
    cipher::UnboundCipherKey::new(algorithm, key)
        .and_then(cipher::PaddedBlockDecryptingKey::cbc_pkcs7)
        .and_then(|cipher| {
            cipher.decrypt(buffer, cipher::DecryptionContext::Iv128(vector)).map(|plaintext| plaintext.len())
        })
        .map_err(|_padding| wrong_passphrase())
}

fn cbc<C>(cipher: C, initialization_vector: &[u8], buffer: &mut [u8]) -> Result<usize>
where
    C: BlockCipher + BlockDecryptMut,
{
    cbc::Decryptor::inner_iv_slice_init(cipher, initialization_vector)
        .map_err(length)?
        .decrypt_padded_mut::<Pkcs7>(buffer)
        .map(<[u8]>::len)
        .map_err(|_padding| wrong_passphrase())
}

fn length(error: cbc::cipher::InvalidLength) -> Error {
    Error::internal("a length was checked and is wrong all the same").with_source(error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const CIPHERS: [Cipher; 9] = [
        Cipher::Aes128,
        Cipher::Aes192,
        Cipher::Aes256,
        Cipher::Des,
        Cipher::TripleDes,
        Cipher::TwoKeyTripleDes,
        Cipher::Rc2(5),
        Cipher::Rc2(8),
        Cipher::Rc2(16),
    ];

    #[test]
    fn known_answers_decrypt() {
        // FIPS PUB 81, appendix C: "Now is the time for all " under DES in CBC mode; here its first block alone.
        let mut buffer = hex::decode("e5c7cdde872bf27c").unwrap();
        let key = hex::decode("0123456789abcdef").unwrap();
        let vector = hex::decode("1234567890abcdef").unwrap();
        // Without padding at its end it is refused, and what was decrypted stands in the buffer.
        assert!(Cipher::Des.decrypt(&key, &vector, &mut buffer).is_err());
        assert_eq!(buffer, b"Now is t");
    }

    #[test]
    fn wrong_lengths_are_errors() {
        for cipher in CIPHERS {
            let (key, vector) = (vec![1; cipher.key_length()], vec![2; cipher.block_length()]);
            for length in [0, 1, 7, 9, 15, 17] {
                assert!(cipher.decrypt(&key, &vector, &mut vec![3; length]).is_err(), "{cipher:?} {length}");
            }
            assert!(cipher.decrypt(&key[1..], &vector, &mut [0; 16]).is_err());
            assert!(cipher.decrypt(&key, &vector[1..], &mut [0; 16]).is_err());
        }
    }
}
