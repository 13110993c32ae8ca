//! Password-based encryption of private keys: PKCS #8 `EncryptedPrivateKeyInfo` with PBES2 (RFC 8018, section 6.2).
//!
//! The structures are pkcs5's; the work is aws-lc-rs's where it can, because it is fast in every build and clears what it derives.
//! pkcs5 itself does scrypt, `ciphers.rs` Triple DES. Bounds come first: the costs in the file are chosen by whoever wrote it.

use std::num::NonZeroU32;

use aws_lc_rs::{cipher, iv, pbkdf2, rand};
use der::asn1::{AnyRef, OctetStringRef};
use der::{Decode, Encode};
use pkcs8::pkcs5::pbes2::{EncryptionScheme, Kdf, PBES2_OID, Parameters, Pbkdf2Params, Pbkdf2Prf};
use pkcs8::{AlgorithmIdentifierRef, EncryptedPrivateKeyInfo, ObjectIdentifier};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::ciphers::Cipher;
use crate::error::{Error, Result};

/// Iterations of PBKDF2-HMAC-SHA256 when writing.
pub(super) const ITERATIONS: u32 = 600_000;

/// The most iterations of PBKDF2 that are done when reading: some ten seconds of one core.
pub(super) const MAXIMUM_ITERATIONS: u32 = 20_000_000;

/// The most memory, in octets, that scrypt may use when reading (`128 * N * r`).
const MAXIMUM_SCRYPT_MEMORY: u64 = 256 << 20;

/// The greatest parallelisation of scrypt that is accepted when reading; it multiplies the time, not the memory.
const MAXIMUM_SCRYPT_PARALLELIZATION: u16 = 16;

/// The command that turns any other private key file into one that can be read.
pub(super) const CONVERSION: &str = "convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in <old> -out <new>`";

const DES_EDE3_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.3.7");

/// Encrypts PKCS #8 DER: PBKDF2-HMAC-SHA256, 16 octets of salt, AES-256-CBC.
pub(super) fn encrypt(pkcs8_der: &[u8], passphrase: &SecretString) -> Result<Vec<u8>> {
    let mut salt = [0; 16];
    rand::fill(&mut salt).map_err(no_random)?;
    let mut initialization_vector = [0; 16];
    rand::fill(&mut initialization_vector).map_err(no_random)?;
    let parameters = Parameters::pbkdf2_sha256_aes256cbc(ITERATIONS, &salt, &initialization_vector)
        .map_err(|error| Error::internal(format!("PBES2 parameters are not accepted: {error}")))?;

    let iterations = NonZeroU32::new(ITERATIONS).ok_or_else(|| Error::internal("no iterations"))?;
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        &salt,
        passphrase.expose_secret().as_bytes(),
        key.as_mut_slice(),
    );
    // Room for the padding from the start, so that growing leaves no copy of the plaintext behind.
    let mut buffer = Zeroizing::new(Vec::with_capacity(pkcs8_der.len() + 16));
    buffer.extend_from_slice(pkcs8_der);
    let cipher_failed = |error| Error::internal("AES-256-CBC encryption failed").with_source(error);
    cipher::UnboundCipherKey::new(&cipher::AES_256, key.as_slice())
        .and_then(cipher::PaddedBlockEncryptingKey::cbc_pkcs7)
        .and_then(|cipher| {
            let context = cipher::EncryptionContext::Iv128(iv::FixedLength::from(initialization_vector));
            cipher.less_safe_encrypt(&mut *buffer, context)
        })
        .map_err(cipher_failed)?;
    EncryptedPrivateKeyInfo { encryption_algorithm: parameters.into(), encrypted_data: &buffer }
        .to_der()
        .map_err(|error| Error::internal("an EncryptedPrivateKeyInfo cannot be encoded").with_source(error))
}

/// Decrypts an `EncryptedPrivateKeyInfo`. What comes out with a wrong passphrase may be noise: the caller must parse it.
///
/// # Errors
/// `Malformed` when it is not one, its algorithms are not supported or too costly, or the passphrase is wrong.
pub(super) fn decrypt(der: &[u8], passphrase: &SecretString) -> Result<Zeroizing<Vec<u8>>> {
    let (algorithm, encrypted) = AnyRef::from_der(der)
        .and_then(|any| {
            any.sequence(|reader| {
                let algorithm = AlgorithmIdentifierRef::decode(reader)?;
                Ok((algorithm, OctetStringRef::decode(reader)?.as_bytes()))
            })
        })
        .map_err(not_one)?;
    decrypt_with(algorithm, encrypted, passphrase)
}

/// Decrypts what stands beside this algorithm, as [`decrypt`] does.
pub(super) fn decrypt_with(
    algorithm: AlgorithmIdentifierRef<'_>,
    encrypted: &[u8],
    passphrase: &SecretString,
) -> Result<Zeroizing<Vec<u8>>> {
    let parameters = parse(algorithm)?;
    refuse_excess(&parameters)?;
    let mut buffer = Zeroizing::new(encrypted.to_vec());
    let passphrase = passphrase.expose_secret().as_bytes();
    let length = match native(&parameters)? {
        Some(native) => native.decrypt(passphrase, &mut buffer)?,
        None => parameters.decrypt_in_place(passphrase, &mut buffer).map_err(|_decryption| wrong_passphrase())?.len(),
    };
    buffer.truncate(length);
    Ok(buffer)
}

const WRONG_PASSPHRASE: &str = "the passphrase is wrong, or the file is damaged";

/// Returns the error for a passphrase that does not fit.
pub(super) fn wrong_passphrase() -> Error {
    Error::malformed(WRONG_PASSPHRASE)
}

/// Whether an error is [`wrong_passphrase`]'s, for callers that have better words for it.
pub(super) fn is_wrong_passphrase(error: &Error) -> bool {
    error.detail() == WRONG_PASSPHRASE
}

fn no_random(error: aws_lc_rs::error::Unspecified) -> Error {
    Error::internal("the system's random source fails").with_source(error)
}

fn not_one(error: der::Error) -> Error {
    Error::malformed(format!("it is not a PKCS #8 EncryptedPrivateKeyInfo: {error}")).with_source(error)
}

/// Takes the parameters apart by hand: pkcs5's own decoder indexes into a Triple DES initialisation vector without looking at its length.
fn parse(outer: AlgorithmIdentifierRef<'_>) -> Result<Parameters<'_>> {
    if outer.oid != PBES2_OID {
        return Err(unsupported(&format!("algorithm `{}`", outer.oid)));
    }
    let (kdf, encryption) = outer
        .parameters
        .ok_or_else(|| Error::malformed("the PBES2 parameters are missing"))?
        .sequence(|reader| Ok((AlgorithmIdentifierRef::decode(reader)?, AlgorithmIdentifierRef::decode(reader)?)))
        .map_err(not_one)?;
    if encryption.oid == DES_EDE3_CBC {
        let vector = encryption.parameters.map(|parameters| parameters.value().len());
        if vector != Some(8) {
            return Err(Error::malformed("the Triple DES initialisation vector is not 8 octets long"));
        }
    }
    let kdf = Kdf::try_from(kdf).map_err(|error| unsupported(&format!("key derivation ({error})")))?;
    let encryption =
        EncryptionScheme::try_from(encryption).map_err(|error| unsupported(&format!("cipher ({error})")))?;
    Ok(Parameters { kdf, encryption })
}

fn unsupported(what: &str) -> Error {
    Error::malformed(format!(
        "it is encrypted with an unsupported {what}; accepted are PBES2 with PBKDF2 or scrypt and AES-CBC; {CONVERSION}"
    ))
}

fn refuse_excess(parameters: &Parameters<'_>) -> Result<()> {
    let (length, excess) = match &parameters.kdf {
        Kdf::Pbkdf2(pbkdf2) => {
            let excess = !(1..=MAXIMUM_ITERATIONS).contains(&pbkdf2.iteration_count);
            (pbkdf2.key_length, excess.then(|| format!("1 to {MAXIMUM_ITERATIONS} iterations of PBKDF2")))
        }
        Kdf::Scrypt(scrypt) => {
            let cost = scrypt.cost_parameter;
            let memory = cost.checked_mul(128).and_then(|octets| octets.checked_mul(scrypt.block_size.into()));
            // pkcs5 takes the logarithm of the cost, which zero has not.
            let excess = !(cost.is_power_of_two() && cost > 1)
                || memory.is_none_or(|memory| memory > MAXIMUM_SCRYPT_MEMORY)
                || !(1..=MAXIMUM_SCRYPT_PARALLELIZATION).contains(&scrypt.parallelization);
            let limit = format!(
                "a scrypt cost that is a power of two, at most {} MiB of memory, and parallelisation 1 to {MAXIMUM_SCRYPT_PARALLELIZATION}",
                MAXIMUM_SCRYPT_MEMORY >> 20
            );
            (scrypt.key_length, excess.then_some(limit))
        }
        // The type is open to additions; what is new is not known to be bounded.
        _ => return Err(unsupported("key derivation")),
    };
    if let Some(limit) = excess {
        return Err(Error::malformed(format!("the cost of its key derivation is out of range; accepted is {limit}")));
    }
    if length.is_some_and(|length| usize::from(length) != parameters.encryption.key_size()) {
        return Err(Error::malformed("the length of the derived key does not fit the cipher"));
    }
    Ok(())
}

/// PBKDF2 by aws-lc-rs, and a cipher of ours.
struct Native<'a> {
    kdf: &'a Pbkdf2Params<'a>,
    digest: pbkdf2::Algorithm,
    cipher: Cipher,
    initialization_vector: &'a [u8],
}

/// Returns the parameters when pkcs5 is not needed.
fn native<'a>(parameters: &'a Parameters<'a>) -> Result<Option<Native<'a>>> {
    let Kdf::Pbkdf2(kdf) = &parameters.kdf else { return Ok(None) };
    let digest = match kdf.prf {
        Pbkdf2Prf::HmacWithSha1 => pbkdf2::PBKDF2_HMAC_SHA1,
        Pbkdf2Prf::HmacWithSha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        Pbkdf2Prf::HmacWithSha384 => pbkdf2::PBKDF2_HMAC_SHA384,
        Pbkdf2Prf::HmacWithSha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        Pbkdf2Prf::HmacWithSha224 => return Ok(None),
        _ => return Err(unsupported("digest of PBKDF2")),
    };
    let (cipher, initialization_vector): (_, &[u8]) = match parameters.encryption {
        EncryptionScheme::Aes128Cbc { iv } => (Cipher::Aes128, iv),
        EncryptionScheme::Aes192Cbc { iv } => (Cipher::Aes192, iv),
        EncryptionScheme::Aes256Cbc { iv } => (Cipher::Aes256, iv),
        EncryptionScheme::DesEde3Cbc { iv } => (Cipher::TripleDes, iv),
        _ => return Err(unsupported("cipher")),
    };
    Ok(Some(Native { kdf, digest, cipher, initialization_vector }))
}

impl Native<'_> {
    /// Decrypts in place and returns the length of the plaintext.
    fn decrypt(&self, passphrase: &[u8], buffer: &mut [u8]) -> Result<usize> {
        let iterations = NonZeroU32::new(self.kdf.iteration_count)
            .ok_or_else(|| Error::malformed("the count of PBKDF2 iterations is zero"))?;
        let mut key = Zeroizing::new(vec![0; self.cipher.key_length()]);
        pbkdf2::derive(self.digest, iterations, self.kdf.salt, passphrase, &mut key);
        self.cipher.decrypt(&key, self.initialization_vector, buffer)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn passphrase() -> SecretString {
        SecretString::from("correct horse battery")
    }

    fn sequence(content: &[u8]) -> Vec<u8> {
        AnyRef::new(der::Tag::Sequence, content).unwrap().to_der().unwrap()
    }

    fn oid(text: &str) -> Vec<u8> {
        ObjectIdentifier::new(text).unwrap().to_der().unwrap()
    }

    fn octets(content: &[u8]) -> Vec<u8> {
        OctetStringRef::new(content).unwrap().to_der().unwrap()
    }

    /// An `EncryptedPrivateKeyInfo` with these two algorithms inside PBES2.
    fn encrypted(kdf: &[u8], encryption: &[u8]) -> Vec<u8> {
        let pbes2 = sequence(&[oid("1.2.840.113549.1.5.13"), sequence(&[kdf, encryption].concat())].concat());
        sequence(&[pbes2, octets(&[1; 32])].concat())
    }

    fn aes_256() -> Vec<u8> {
        sequence(&[oid("2.16.840.1.101.3.4.1.42"), octets(&[2; 16])].concat())
    }

    fn pbkdf2(iterations: u32) -> Vec<u8> {
        let prf = sequence(&[oid("1.2.840.113549.2.9"), vec![5, 0]].concat());
        let parameters = sequence(&[octets(&[3; 16]), iterations.to_der().unwrap(), prf].concat());
        sequence(&[oid("1.2.840.113549.1.5.12"), parameters].concat())
    }

    fn scrypt(cost: u64, block_size: u16, parallelization: u16) -> Vec<u8> {
        let numbers =
            [cost.to_der().unwrap(), block_size.to_der().unwrap(), parallelization.to_der().unwrap()].concat();
        let parameters = sequence(&[octets(&[3; 16]), numbers].concat());
        sequence(&[oid("1.3.6.1.4.1.11591.4.11"), parameters].concat())
    }

    fn refusal(der: &[u8]) -> String {
        decrypt(der, &passphrase()).unwrap_err().detail().to_owned()
    }

    #[test]
    fn what_is_encrypted_decrypts_again_with_its_passphrase_only() {
        for length in [0, 16, 138] {
            let plaintext = vec![9; length];
            let der = encrypt(&plaintext, &passphrase()).unwrap();
            assert_eq!(*decrypt(&der, &passphrase()).unwrap(), plaintext);
            match decrypt(&der, &SecretString::from("another passphrase")) {
                Err(error) => assert_eq!(error.detail(), "the passphrase is wrong, or the file is damaged"),
                Ok(noise) => assert_ne!(*noise, plaintext),
            }
        }
    }

    #[test]
    fn costs_out_of_range_are_refused_before_any_work() {
        for iterations in [0, 20_000_001, u32::MAX] {
            assert_eq!(
                refusal(&encrypted(&pbkdf2(iterations), &aes_256())),
                "the cost of its key derivation is out of range; accepted is 1 to 20000000 iterations of PBKDF2"
            );
        }
        for (cost, block_size, parallelization) in [
            (0, 8, 1),
            (1, 8, 1),
            (16_383, 8, 1),
            (1 << 40, 8, 1),
            (1 << 63, 8, 1),
            (1 << 18, 9, 1),
            (16_384, 8, 0),
            (16_384, 8, 17),
        ] {
            assert_eq!(
                refusal(&encrypted(&scrypt(cost, block_size, parallelization), &aes_256())),
                "the cost of its key derivation is out of range; accepted is a scrypt cost that is a power of two, at most 256 MiB of memory, and parallelisation 1 to 16"
            );
        }
        // A block size of zero passes the bounds and is refused by the library.
        assert_eq!(
            refusal(&encrypted(&scrypt(2, 0, 1), &aes_256())),
            "the passphrase is wrong, or the file is damaged"
        );
    }

    #[test]
    fn an_initialisation_vector_of_another_length_is_refused() {
        for length in [0, 7, 9] {
            let triple_des = sequence(&[oid("1.2.840.113549.3.7"), octets(&vec![2; length])].concat());
            assert_eq!(
                refusal(&encrypted(&pbkdf2(1), &triple_des)),
                "the Triple DES initialisation vector is not 8 octets long"
            );
        }
        for length in [0, 15, 17] {
            let aes = sequence(&[oid("2.16.840.1.101.3.4.1.42"), octets(&vec![2; length])].concat());
            assert!(refusal(&encrypted(&pbkdf2(1), &aes)).starts_with("it is encrypted with an unsupported cipher"));
        }
    }

    #[test]
    fn what_is_not_supported_is_named_with_the_conversion() {
        let pbes1 =
            sequence(&[oid("1.2.840.113549.1.5.3"), sequence(&[octets(&[1; 8]), vec![2, 1, 1]].concat())].concat());
        let error = refusal(&sequence(&[pbes1, octets(&[1; 32])].concat()));
        assert!(error.contains("`1.2.840.113549.1.5.3`") && error.contains("openssl pkcs8 -topk8"), "{error}");
        let unknown = sequence(&[oid("1.2.3.4"), octets(&[2; 16])].concat());
        assert!(refusal(&encrypted(&pbkdf2(1), &unknown)).contains("1.2.3.4"));
        assert!(refusal(&encrypted(&unknown, &aes_256())).contains("1.2.3.4"));
    }

    #[test]
    fn truncated_and_altered_structures_never_panic() {
        let whole = encrypted(&pbkdf2(1), &aes_256());
        for length in 0..whole.len() {
            assert!(decrypt(&whole[..length], &passphrase()).is_err());
        }
        for position in 0..whole.len() {
            for value in [0, 1, 4, 0x30, 0x7f, 0x80, 0xff] {
                let mut altered = whole.clone();
                altered[position] = value;
                // Most are refused; the iteration count may have become any number up to the limit, so it is kept small.
                let algorithm = |der| AnyRef::from_der(der)?.sequence(AlgorithmIdentifierRef::decode);
                if algorithm(&altered).is_ok_and(|algorithm| {
                    parse(algorithm).is_ok_and(|parameters| {
                        parameters.kdf.pbkdf2().is_some_and(|pbkdf2| pbkdf2.iteration_count < 1000)
                    })
                }) {
                    let _outcome = decrypt(&altered, &passphrase());
                }
            }
        }
    }
}
