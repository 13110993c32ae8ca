//! Password-based encryption as an `AlgorithmIdentifier` names it: PBES2 (`pbes2.rs`), and what came before it, PBES1 (RFC 8018, section
//! 6.1) and the algorithms of PKCS #12 (RFC 7292, appendix C). Reading only; every cost is bounded.

use aws_lc_rs::digest;
use der::Decode;
use md5::{Digest, Md5};
use pkcs8::{AlgorithmIdentifierRef, ObjectIdentifier};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::signer::ciphers::Cipher;
use crate::signer::pbes2;
use crate::x509::decoding::only_sequence;
use crate::x509::encoding;

const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
const PBE_MD5_DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.3");
const PBE_MD5_RC2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.6");
const PBE_SHA1_DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.10");
const PBE_SHA1_RC2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.11");
const PKCS12_SHA1_3DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.3");
const PKCS12_SHA1_2DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.4");
const PKCS12_SHA1_RC2_128: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.5");
const PKCS12_SHA1_RC2_40: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.6");

/// The most iterations of the older key derivations: some seconds of one core.
pub(super) const MAXIMUM_ITERATIONS: u32 = 5_000_000;

/// The longest salt, in octets.
const MAXIMUM_SALT: usize = 1024;

/// What a key derived as in PKCS #12 is for (RFC 7292, appendix B.3).
#[derive(Clone, Copy)]
pub(super) enum Use {
    Encryption = 1,
    InitializationVector = 2,
    Mac = 3,
}

/// Decrypts what stands beside this DER `AlgorithmIdentifier`. What comes out with a wrong passphrase may be noise: the caller must parse it.
///
/// # Errors
/// `Malformed`: an algorithm that is not supported, a cost out of range, a wrong passphrase.
pub(super) fn decrypt(algorithm: &[u8], encrypted: &[u8], passphrase: &SecretString) -> Result<Zeroizing<Vec<u8>>> {
    let identifier = AlgorithmIdentifierRef::from_der(algorithm)
        .map_err(|error| Error::malformed("the encryption algorithm cannot be read").with_source(error))?;
    match identifier.oid {
        PBES2 => pbes2::decrypt_with(identifier, encrypted, passphrase),
        PBE_MD5_DES => pbes1(algorithm, Hash::Md5, Cipher::Des, encrypted, passphrase),
        PBE_MD5_RC2 => pbes1(algorithm, Hash::Md5, Cipher::Rc2(8), encrypted, passphrase),
        PBE_SHA1_DES => pbes1(algorithm, Hash::Sha1, Cipher::Des, encrypted, passphrase),
        PBE_SHA1_RC2 => pbes1(algorithm, Hash::Sha1, Cipher::Rc2(8), encrypted, passphrase),
        PKCS12_SHA1_3DES => pkcs12(algorithm, Cipher::TripleDes, encrypted, passphrase),
        PKCS12_SHA1_2DES => pkcs12(algorithm, Cipher::TwoKeyTripleDes, encrypted, passphrase),
        PKCS12_SHA1_RC2_128 => pkcs12(algorithm, Cipher::Rc2(16), encrypted, passphrase),
        PKCS12_SHA1_RC2_40 => pkcs12(algorithm, Cipher::Rc2(5), encrypted, passphrase),
        other => Err(Error::malformed(format!(
            "it is encrypted with the unsupported algorithm `{other}`; accepted are PBES2 and, for old files, PBES1 and PKCS #12 with DES, Triple DES and RC2; {}",
            pbes2::CONVERSION
        ))),
    }
}

#[derive(Clone, Copy)]
enum Hash {
    Md5,
    Sha1,
}

/// PBES1: PBKDF1 gives the key and the initialisation vector, eight octets each.
fn pbes1(
    algorithm: &[u8],
    hash: Hash,
    cipher: Cipher,
    encrypted: &[u8],
    passphrase: &SecretString,
) -> Result<Zeroizing<Vec<u8>>> {
    let (salt, iterations) = parameters(algorithm)?;
    let mut derived = Zeroizing::new([passphrase.expose_secret().as_bytes(), salt].concat());
    for _ in 0..iterations {
        derived = Zeroizing::new(match hash {
            Hash::Md5 => Md5::digest(derived.as_slice()).to_vec(),
            Hash::Sha1 => digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &derived).as_ref().to_vec(),
        });
    }
    let (key, rest) = derived.split_at_checked(8).unwrap_or_default();
    let vector = rest.get(..8).unwrap_or_default();
    finish(cipher, key, vector, encrypted)
}

/// The encryption of PKCS #12: key and initialisation vector come from its own derivation with SHA-1.
fn pkcs12(algorithm: &[u8], cipher: Cipher, encrypted: &[u8], passphrase: &SecretString) -> Result<Zeroizing<Vec<u8>>> {
    let (salt, iterations) = parameters(algorithm)?;
    let sha1 = &digest::SHA1_FOR_LEGACY_USE_ONLY;
    let attempt = |password: &[u8]| {
        let key = derive(sha1, password, salt, iterations, Use::Encryption, cipher.key_length());
        let vector = derive(sha1, password, salt, iterations, Use::InitializationVector, cipher.block_length());
        finish(cipher, &key, &vector, encrypted)
    };
    attempt(&bmp_string(passphrase)).or_else(|error| {
        // Some programs write the empty password as nothing at all instead of an empty string with its end.
        if passphrase.expose_secret().is_empty() { attempt(&[]) } else { Err(error) }
    })
}

fn finish(cipher: Cipher, key: &[u8], vector: &[u8], encrypted: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(encrypted.to_vec());
    let length = cipher.decrypt(key, vector, &mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

/// Reads `PBEParameter`: the salt and the count of iterations.
fn parameters(algorithm: &[u8]) -> Result<(&[u8], u32)> {
    const WHAT: &str = "parameters of the encryption";
    let mut parts = only_sequence(algorithm, WHAT)?;
    parts.any(WHAT)?;
    let mut parameters = parts.expect(encoding::SEQUENCE, WHAT)?.reader();
    let salt = parameters.expect(encoding::OCTET_STRING, WHAT)?.content;
    let iterations = iterations(parameters.expect(encoding::INTEGER, WHAT)?.content)?;
    parameters.finish(WHAT)?;
    refuse_long_salt(salt)?;
    Ok((salt, iterations))
}

/// Refuses a salt whose length would cost.
pub(super) fn refuse_long_salt(salt: &[u8]) -> Result<()> {
    if salt.len() > MAXIMUM_SALT {
        return Err(Error::malformed(format!("the salt of the encryption is longer than {MAXIMUM_SALT} octets")));
    }
    Ok(())
}

/// Reads a count of iterations from the content of an INTEGER.
///
/// # Errors
/// `Malformed` when it is not 1 to [`MAXIMUM_ITERATIONS`].
pub(super) fn iterations(content: &[u8]) -> Result<u32> {
    let positive = content.first().is_some_and(|first| *first < 0x80) && content.len() <= 4;
    let count = content.iter().fold(0_u64, |count, octet| count << 8 | u64::from(*octet));
    u32::try_from(count).ok().filter(|count| positive && (1..=MAXIMUM_ITERATIONS).contains(count)).ok_or_else(|| {
        Error::malformed(format!(
            "the cost of its key derivation is out of range; accepted is 1 to {MAXIMUM_ITERATIONS} iterations"
        ))
    })
}

/// Writes a password as PKCS #12 has it: UTF-16, most significant octet first, with two zero octets at the end (RFC 7292, appendix B.1).
pub(super) fn bmp_string(password: &SecretString) -> Zeroizing<Vec<u8>> {
    let text = password.expose_secret();
    // Four octets at most for one of UTF-8, so that growing leaves no copy behind.
    let mut octets = Zeroizing::new(Vec::with_capacity(4 * text.len() + 2));
    for unit in text.encode_utf16().chain([0]) {
        octets.extend_from_slice(&unit.to_be_bytes());
    }
    octets
}

/// The key derivation of PKCS #12 (RFC 7292, appendix B.2); `password` is a [`bmp_string`].
pub(super) fn derive(
    algorithm: &'static digest::Algorithm,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    purpose: Use,
    length: usize,
) -> Zeroizing<Vec<u8>> {
    let block = algorithm.block_len();
    // Steps 1 to 4: D is the purpose repeated, I the salt and the password, each repeated to whole blocks.
    let diversifier = vec![purpose as u8; block];
    let mut input = Zeroizing::new(Vec::new());
    for part in [salt, password] {
        let filled = part.len().div_ceil(block) * block;
        input.extend(part.iter().copied().cycle().take(if part.is_empty() { 0 } else { filled }));
    }
    let mut derived = Zeroizing::new(Vec::with_capacity(length + algorithm.output_len()));
    loop {
        // Step 6 a: the hash of D and I, hashed again and again.
        let mut first = digest::Context::new(algorithm);
        first.update(&diversifier);
        first.update(&input);
        let mut hash = Zeroizing::new(first.finish().as_ref().to_vec());
        for _ in 1..iterations {
            let next = digest::digest(algorithm, &hash);
            hash.copy_from_slice(next.as_ref());
        }
        derived.extend_from_slice(&hash);
        if derived.len() >= length {
            derived.truncate(length);
            return derived;
        }
        // Steps 6 b and c: B + 1 is added to each block of I.
        for chunk in input.chunks_mut(block) {
            let mut carry = 1_u16;
            let repeated = (0..block).map(|index| hash.get(index % hash.len()).copied().unwrap_or(0));
            let repeated: Zeroizing<Vec<u8>> = Zeroizing::new(repeated.collect());
            for (octet, addend) in chunk.iter_mut().zip(repeated.iter()).rev() {
                let sum = u16::from(*octet) + u16::from(*addend) + carry;
                [_, *octet] = sum.to_be_bytes();
                carry = sum >> 8;
            }
        }
    }
}
