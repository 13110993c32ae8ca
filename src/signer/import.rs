//! Private keys as people have them, made ready for `software.rs`: PKCS #8, PKCS #1 and SEC 1 in PEM or DER, plain or encrypted in any
//! way that OpenSSL ever did by default, and PKCS #12.
//!
//! It reads what nothing here writes: old encryption protects badly, so what is imported is sealed or encrypted anew (`sealing.rs`,
//! `file.rs`). Whether a certificate may be an issuer's is decided in `ca/`. No message shows an octet of a key.

mod pbe;
mod pkcs12;
#[cfg(test)]
mod tests;
mod traditional;

use std::fmt;

use pkcs8::{ObjectIdentifier, PrivateKeyInfo};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::file::{self, Blocks, KeyBlock};
use super::pbes2::wrong_passphrase;
use super::software::SoftwareSigner;
use super::{Signer, secret_file};
use crate::error::{Error, Result};
use crate::x509::decoding::{Reader, only_sequence};
use crate::x509::{PublicKey, encoding, pem};

pub use pkcs12::decode as decode_pkcs12;

/// The longest input that is read, in octets: a PKCS #12 file with a long chain takes some ten thousand.
const MAXIMUM_LENGTH: usize = 1 << 20;

/// The most certificates that are taken from beside a key.
const MAXIMUM_CERTIFICATES: usize = 100;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The least bits of an RSA modulus.
const MINIMUM_RSA_BITS: usize = 2048;

/// A private key and the certificates that were found beside it.
pub struct ImportedKey {
    /// The key: unencrypted PKCS #8 DER.
    pub pkcs8_der: Zeroizing<Vec<u8>>,
    /// Certificates in DER, in the order found; not looked at.
    pub certificates: Vec<Vec<u8>>,
}

impl fmt::Debug for ImportedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImportedKey(with {} certificates)", self.certificates.len())
    }
}

impl ImportedKey {
    /// Loads the key.
    ///
    /// # Errors
    /// `Malformed`: the key is of a kind that cannot sign here, too small or otherwise weak, or damaged.
    pub fn signer(&self) -> Result<SoftwareSigner> {
        refuse_small_rsa(&self.pkcs8_der)?;
        let signer = SoftwareSigner::from_pkcs8_der(&self.pkcs8_der)?;
        if let Some(weakness) = signer.public_key().weaknesses().into_iter().next() {
            return Err(Error::malformed(format!("the private key is weak: {}", weakness.message)));
        }
        Ok(signer)
    }

    /// Loads the key that belongs to a certificate.
    ///
    /// # Errors
    /// Those of [`signer`](Self::signer), and `Malformed` when it is the key of another certificate.
    pub fn signer_for(&self, public_key: &PublicKey) -> Result<SoftwareSigner> {
        let signer = self.signer()?;
        if signer.public_key().key_bits() != public_key.key_bits() {
            return Err(Error::malformed(format!(
                "the private key does not fit the certificate: it is a `{}` key with the SHA-256 `{}`, the certificate's is a `{}` key with `{}`",
                signer.public_key().algorithm_name(),
                hex::encode(signer.public_key().spki_sha256()),
                public_key.algorithm_name(),
                hex::encode(public_key.spki_sha256()),
            )));
        }
        Ok(signer)
    }
}

/// Reads a private key in PEM or DER: PKCS #8, plain or encrypted (PBES2, PBES1, PKCS #12's algorithms), PKCS #1 (RSA) and SEC 1 (EC), in
/// PEM also with OpenSSL's traditional encryption (`DEK-Info`). Certificates beside it in the same PEM text are returned with it.
///
/// # Errors
/// `Malformed`: not a key, several keys, encrypted without a passphrase, a passphrase that is wrong or not needed, encryption that is not
/// supported or costs too much.
pub fn decode(input: &[u8], passphrase: Option<&SecretString>) -> Result<ImportedKey> {
    refuse_length(input)?;
    if pem::text_of(input).is_none() && input.first() == Some(&encoding::SEQUENCE) {
        let pkcs8_der = decode_der(input, passphrase)?;
        return Ok(ImportedKey { pkcs8_der, certificates: Vec::new() });
    }
    let (kind, body) = file::find_key(input)?;
    let pkcs8_der = match kind {
        KeyBlock::EllipticCurve | KeyBlock::Rsa if file::is_traditionally_encrypted(body) => {
            let plaintext = traditional::decrypt(body, needed(passphrase)?)?;
            // One wrong passphrase in 256 leaves padding that looks right, and noise.
            unencrypted(plaintext).map_err(|_noise| wrong_passphrase())?
        }
        KeyBlock::Encrypted | KeyBlock::Pkcs8 | KeyBlock::EllipticCurve | KeyBlock::Rsa => {
            decode_der(&file::decode_base64(body)?, passphrase)?
        }
    };
    Ok(ImportedKey { pkcs8_der, certificates: certificates(input)? })
}

/// Reads a private key file as [`decode`] does. Refused when group or others may read the file.
///
/// # Errors
/// Those of [`decode`], and `Configuration` for the file, as `Configuration` naming it.
pub fn read(path: &std::path::Path, passphrase: Option<&SecretString>) -> Result<ImportedKey> {
    let content = secret_file::read(path)?;
    decode(&content, passphrase)
        .map_err(|error| Error::configuration(format!("the key file `{}` cannot be used: {error}", path.display())))
}

/// Reads a PKCS #12 file as [`decode_pkcs12`] does. Refused when group or others may read the file.
///
/// # Errors
/// Those of [`decode_pkcs12`], as `Configuration` naming the file, and for the file itself.
pub fn read_pkcs12(path: &std::path::Path, password: Option<&SecretString>) -> Result<ImportedKey> {
    let content = secret_file::read(path)?;
    decode_pkcs12(&content, password)
        .map_err(|error| Error::configuration(format!("the file `{}` cannot be used: {error}", path.display())))
}

fn refuse_length(input: &[u8]) -> Result<()> {
    if input.len() > MAXIMUM_LENGTH {
        return Err(Error::malformed(format!("it is longer than {MAXIMUM_LENGTH} octets, too long for a private key")));
    }
    Ok(())
}

fn needed(passphrase: Option<&SecretString>) -> Result<&SecretString> {
    passphrase.ok_or_else(|| Error::malformed("the private key is encrypted and no passphrase is given"))
}

fn not_needed(passphrase: Option<&SecretString>) -> Result<()> {
    match passphrase {
        Some(_) => Err(Error::malformed("a passphrase is given, but the private key is not encrypted; leave it out")),
        None => Ok(()),
    }
}

fn decode_der(der: &[u8], passphrase: Option<&SecretString>) -> Result<Zeroizing<Vec<u8>>> {
    if matches!(first_two_tags(der), Ok((encoding::SEQUENCE, encoding::OCTET_STRING))) {
        return decrypt(der, needed(passphrase)?);
    }
    // What the key is comes first: a passphrase for something that is no key says little.
    let pkcs8_der = unencrypted(Zeroizing::new(der.to_vec()))?;
    not_needed(passphrase)?;
    Ok(pkcs8_der)
}

/// Decrypts an `EncryptedPrivateKeyInfo` (RFC 5958, section 3).
fn decrypt(der: &[u8], passphrase: &SecretString) -> Result<Zeroizing<Vec<u8>>> {
    const WHAT: &str = "encrypted private key";
    let mut parts = only_sequence(der, WHAT)?;
    let algorithm = parts.expect(encoding::SEQUENCE, WHAT)?;
    let encrypted = parts.expect(encoding::OCTET_STRING, WHAT)?;
    parts.finish(WHAT)?;
    let plaintext = pbe::decrypt(algorithm.raw, encrypted.content, passphrase)?;
    PrivateKeyInfo::try_from(plaintext.as_slice()).map_err(|_noise| wrong_passphrase())?;
    Ok(plaintext)
}

/// Tells the forms of a private key apart by their first two fields, and puts the key into PKCS #8.
fn unencrypted(der: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>> {
    const NONE: &str = "it is not a private key; accepted are PKCS #8, PKCS #1 (RSA) and SEC 1 (EC), in PEM or DER";
    // The cause would show octets of the key.
    let tags = first_two_tags(&der).map_err(|_octets| Error::malformed(NONE))?;
    let kind = match tags {
        (encoding::INTEGER, encoding::SEQUENCE) if is_pkcs12(&der) => {
            return Err(Error::malformed("it is a PKCS #12 file, not a private key; import it as PKCS #12"));
        }
        (encoding::INTEGER, encoding::SEQUENCE) => KeyBlock::Pkcs8,
        (encoding::INTEGER, encoding::INTEGER) => KeyBlock::Rsa,
        (encoding::INTEGER, encoding::OCTET_STRING) => KeyBlock::EllipticCurve,
        _ => return Err(Error::malformed(NONE)),
    };
    file::to_pkcs8(kind, der)
}

/// Returns the identifier octets of the first two fields of a SEQUENCE that fills the input.
fn first_two_tags(der: &[u8]) -> Result<(u8, u8)> {
    const WHAT: &str = "private key";
    let mut parts = only_sequence(der, WHAT)?;
    Ok((parts.any(WHAT)?.tag, parts.any(WHAT)?.tag))
}

/// Whether it begins as a `PFX` of version 3.
fn is_pkcs12(der: &[u8]) -> bool {
    only_sequence(der, "")
        .and_then(|mut parts| parts.expect(encoding::INTEGER, ""))
        .is_ok_and(|version| version.content == [3])
}

/// Returns the certificates of a PEM text in DER.
fn certificates(input: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    let mut blocks = Blocks::new(input)?;
    while let Some((label, body)) = blocks.next()? {
        if !pem::is_certificate(label) {
            continue;
        }
        if found.len() >= MAXIMUM_CERTIFICATES {
            return Err(Error::malformed(format!(
                "there are more than {MAXIMUM_CERTIFICATES} certificates beside the key"
            )));
        }
        found.push(file::decode_base64(body)?.to_vec());
    }
    Ok(found)
}

/// Refuses a small RSA key for its size: the library would call it not valid.
fn refuse_small_rsa(pkcs8_der: &[u8]) -> Result<()> {
    let rejected = |_octets| Error::malformed("the private key is damaged: it is not an RSA key in PKCS #1 form");
    let Ok(info) = PrivateKeyInfo::try_from(pkcs8_der) else { return Ok(()) };
    if info.algorithm.oid != RSA_ENCRYPTION {
        return Ok(());
    }
    let modulus = rsa_modulus(info.private_key).map_err(rejected)?;
    let leading = modulus.first().map_or(0, |octet| octet.leading_zeros() as usize);
    let bits = (modulus.len() * 8).saturating_sub(leading);
    if bits < MINIMUM_RSA_BITS {
        return Err(Error::malformed(format!(
            "the private key is weak: an RSA key of {bits} bits; at least {MINIMUM_RSA_BITS} are needed"
        )));
    }
    Ok(())
}

fn rsa_modulus(der: &[u8]) -> Result<&[u8]> {
    const WHAT: &str = "RSA private key";
    let mut parts: Reader<'_> = only_sequence(der, WHAT)?;
    parts.expect(encoding::INTEGER, WHAT)?;
    let modulus = parts.expect(encoding::INTEGER, WHAT)?.content;
    Ok(modulus.strip_prefix(&[0]).unwrap_or(modulus))
}
