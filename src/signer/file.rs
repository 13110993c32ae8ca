//! Keys in files: PKCS #8 in PEM, encrypted (PBES2) or plain, as OpenSSL reads and writes them.
//! Which keys may sign is decided in `software.rs`; how a secret file is guarded in `secret_file.rs`.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use der::asn1::{AnyRef, ContextSpecific, OctetStringRef};
use der::{Decode, Reader, Tag, TagNumber, Tagged};
use pkcs8::{AlgorithmIdentifierRef, ObjectIdentifier, PrivateKeyInfo, SecretDocument};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{pbes2, secret_file};
use crate::error::{Error, Result};

/// The least length, in characters, of a passphrase that new secrets are protected with.
pub const MINIMUM_PASSPHRASE_LENGTH: usize = 12;

const ID_EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Reads a private key file: `ENCRYPTED PRIVATE KEY` (PBES2 with PBKDF2 or scrypt, AES), `PRIVATE KEY`, `EC PRIVATE KEY` or
/// `RSA PRIVATE KEY`; returns PKCS #8 DER. Refused when group or others may read the file.
///
/// # Errors
/// `Configuration` naming the file: permissions, no passphrase for an encrypted key, a wrong one, not a key.
pub fn read(path: &Path, passphrase: Option<&SecretString>) -> Result<Zeroizing<Vec<u8>>> {
    let content = secret_file::read(path)?;
    decode(&content, passphrase)
        .map_err(|error| Error::configuration(format!("the key file `{}` cannot be used: {error}", path.display())))
}

/// Writes a private key as encrypted PKCS #8 (PBES2: PBKDF2-HMAC-SHA256 with 600,000 iterations, AES-256-CBC), mode 0600, never overwriting;
/// the file and its directory are synced before this returns.
///
/// # Errors
/// `Configuration` when the file exists or cannot be written, or the passphrase has fewer than 12 characters; `Malformed` when the key
/// is not PKCS #8 DER.
pub fn write_encrypted(path: &Path, pkcs8_der: &[u8], passphrase: &SecretString) -> Result<()> {
    refuse_short_passphrase(passphrase)?;
    let info = PrivateKeyInfo::from_der(pkcs8_der).map_err(|_octets| Error::malformed("the key is not PKCS #8 DER"))?;
    // Version 1, without the public key: OpenSSL 3.0 does not read version 2.
    let version_1 = wrap(info.algorithm, info.private_key)?;
    let der = pbes2::encrypt(&version_1, passphrase)?;
    let pem = pem_rfc7468::encode_string("ENCRYPTED PRIVATE KEY", pem_rfc7468::LineEnding::LF, &der)
        .map_err(|error| Error::internal("a key cannot be written as PEM").with_source(error))?;
    secret_file::create(path, pem.as_bytes())
}

/// Reads a private key in PEM, as [`read`] does, from memory.
///
/// # Errors
/// `Malformed`: no passphrase for an encrypted key, a wrong one, not a key.
pub fn decode(pem: &[u8], passphrase: Option<&SecretString>) -> Result<Zeroizing<Vec<u8>>> {
    let (kind, body) = find_key(pem)?;
    if is_traditionally_encrypted(body) {
        return Err(Error::malformed(format!(
            "it is encrypted in the traditional way of OpenSSL (`DEK-Info`), which protects badly and is not supported; {}",
            pbes2::CONVERSION
        )));
    }
    let der = decode_base64(body)?;
    match kind {
        KeyBlock::Encrypted => {
            let passphrase =
                passphrase.ok_or_else(|| Error::malformed("it is encrypted and no passphrase is given"))?;
            let plaintext = pbes2::decrypt(&der, passphrase)?;
            // One wrong passphrase in 256 leaves padding that looks right, and noise.
            PrivateKeyInfo::from_der(&plaintext).map_err(|_noise| pbes2::wrong_passphrase())?;
            Ok(plaintext)
        }
        KeyBlock::Pkcs8 | KeyBlock::EllipticCurve | KeyBlock::Rsa => to_pkcs8(kind, der),
    }
}

/// Refuses a passphrase of fewer than 12 characters.
///
/// # Errors
/// `Configuration`, stating the limit.
pub fn refuse_short_passphrase(passphrase: &SecretString) -> Result<()> {
    if passphrase.expose_secret().chars().count() < MINIMUM_PASSPHRASE_LENGTH {
        return Err(Error::configuration(format!(
            "the passphrase is too short; at least {MINIMUM_PASSPHRASE_LENGTH} characters are needed"
        )));
    }
    Ok(())
}

/// The PEM blocks that hold a private key.
#[derive(Clone, Copy)]
pub(super) enum KeyBlock {
    Encrypted,
    Pkcs8,
    EllipticCurve,
    Rsa,
}

/// The PEM blocks of a text: label and body, which may begin with headers.
pub(super) struct Blocks<'a> {
    rest: &'a str,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(pem: &'a [u8]) -> Result<Self> {
        std::str::from_utf8(pem).map(|rest| Self { rest }).map_err(|_position| no_key())
    }

    /// Takes the next block; text around blocks is passed over.
    pub(super) fn next(&mut self) -> Result<Option<(&'a str, &'a str)>> {
        let Some((_, after_begin)) = self.rest.split_once("-----BEGIN ") else { return Ok(None) };
        let (label, after_label) = after_begin.split_once("-----").ok_or_else(unterminated)?;
        let (body, after_body) = after_label.split_once("-----END ").ok_or_else(unterminated)?;
        self.rest = after_body
            .strip_prefix(label)
            .and_then(|remaining| remaining.strip_prefix("-----"))
            .ok_or_else(unterminated)?;
        Ok(Some((label, body)))
    }
}

/// Finds the one private key among the PEM blocks; others, such as the `EC PARAMETERS` of `openssl ecparam` or certificates, are passed over.
pub(super) fn find_key(pem: &[u8]) -> Result<(KeyBlock, &str)> {
    let mut found = None;
    let mut blocks = Blocks::new(pem)?;
    while let Some((label, body)) = blocks.next()? {
        let kind = match label {
            "ENCRYPTED PRIVATE KEY" => KeyBlock::Encrypted,
            "PRIVATE KEY" => KeyBlock::Pkcs8,
            "EC PRIVATE KEY" => KeyBlock::EllipticCurve,
            "RSA PRIVATE KEY" => KeyBlock::Rsa,
            other if other.ends_with("PRIVATE KEY") => {
                let shown: String = other.chars().filter(|c| !c.is_control()).take(40).collect();
                return Err(Error::malformed(format!("a PEM block `{shown}` is not supported; {}", pbes2::CONVERSION)));
            }
            _ => continue,
        };
        if found.replace((kind, body)).is_some() {
            return Err(Error::malformed("it holds more than one private key"));
        }
    }
    found.ok_or_else(no_key)
}

/// Whether a PEM block has the headers of OpenSSL's traditional encryption.
pub(super) fn is_traditionally_encrypted(body: &str) -> bool {
    body.contains("DEK-Info") || body.contains("Proc-Type")
}

/// Puts a key of an unencrypted block into PKCS #8.
pub(super) fn to_pkcs8(kind: KeyBlock, der: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>> {
    match kind {
        KeyBlock::Encrypted | KeyBlock::Pkcs8 => {
            // The parser's message may show octets of the key: it is not passed on.
            PrivateKeyInfo::from_der(&der).map_err(|_octets| not_a_key("PKCS #8"))?;
            Ok(der)
        }
        KeyBlock::EllipticCurve => wrap_elliptic_curve(&der),
        KeyBlock::Rsa => wrap(AlgorithmIdentifierRef { oid: RSA_ENCRYPTION, parameters: Some(AnyRef::NULL) }, &der),
    }
}

fn no_key() -> Error {
    Error::malformed(
        "it holds no private key in PEM; accepted are `ENCRYPTED PRIVATE KEY`, `PRIVATE KEY`, `EC PRIVATE KEY` and `RSA PRIVATE KEY`",
    )
}

fn unterminated() -> Error {
    Error::malformed("a PEM block in it is not terminated by its `END` line")
}

fn not_a_key(form: &str) -> Error {
    Error::malformed(format!("its content is not a private key in {form} form"))
}

/// Decodes without leaving copies: both buffers have their final size from the start and are cleared.
pub(super) fn decode_base64(body: &str) -> Result<Zeroizing<Vec<u8>>> {
    let mut compact = Zeroizing::new(Vec::with_capacity(body.len()));
    compact.extend(body.bytes().filter(|octet| !octet.is_ascii_whitespace()));
    let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(compact.len())]);
    // The cause shows an octet of the key: it is not passed on.
    let length = STANDARD
        .decode_slice(compact.as_slice(), &mut der)
        .map_err(|_octet| Error::malformed("the PEM block of its key is not base64"))?;
    der.truncate(length);
    Ok(der)
}

/// Puts an `ECPrivateKey` (RFC 5915, section 3) into PKCS #8; the curve is the one it names.
fn wrap_elliptic_curve(der: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let curve = AnyRef::from_der(der)
        .and_then(|any| {
            any.sequence(|reader| {
                reader.decode::<u8>()?;
                OctetStringRef::decode(reader)?;
                let mut curve = None;
                while !reader.is_finished() {
                    let field = reader.decode::<ContextSpecific<AnyRef<'_>>>()?;
                    if field.tag_number == TagNumber::N0 && field.value.tag() == Tag::ObjectIdentifier {
                        curve = Some(field.value);
                    }
                }
                Ok(curve)
            })
        })
        .map_err(|_octets| not_a_key("RFC 5915"))?;
    let curve =
        curve.ok_or_else(|| Error::malformed(format!("its EC key does not name its curve; {}", pbes2::CONVERSION)))?;
    wrap(AlgorithmIdentifierRef { oid: ID_EC_PUBLIC_KEY, parameters: Some(curve) }, der)
}

fn wrap(algorithm: AlgorithmIdentifierRef<'_>, private_key: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    SecretDocument::try_from(PrivateKeyInfo::new(algorithm, private_key))
        .map(|document| document.to_bytes())
        .map_err(|error| Error::internal("a key cannot be written as PKCS #8").with_source(error))
}
