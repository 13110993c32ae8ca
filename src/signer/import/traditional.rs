//! OpenSSL's traditional encryption of PEM keys: headers as RFC 1421 had them, the key derived from the passphrase by one round of MD5.
//!
//! It is what `openssl genrsa -aes256` wrote before OpenSSL 3.0, and what Go's (and so step-ca's) EC keys are encrypted with. Reading only.

use md5::{Digest, Md5};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::signer::ciphers::Cipher;
use crate::signer::{file, pbes2};

/// How much of the initialisation vector is the salt (OpenSSL, `PKCS5_SALT_LEN`).
const SALT_LENGTH: usize = 8;

/// Decrypts the body of a PEM block with `Proc-Type` and `DEK-Info` headers. What comes out with a wrong passphrase may be noise: the
/// caller must parse it.
///
/// # Errors
/// `Malformed`: headers that are not understood, a cipher that is not supported, a wrong passphrase.
pub(super) fn decrypt(body: &str, passphrase: &SecretString) -> Result<Zeroizing<Vec<u8>>> {
    let (headers, base64) = split(body);
    let header = |name: &str| {
        headers
            .iter()
            .find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()))
    };
    if header("Proc-Type").map(|value| value.replace(' ', "")).as_deref() != Some("4,ENCRYPTED") {
        return Err(Error::malformed(
            "the `Proc-Type` header of the private key is not `4,ENCRYPTED`, the only kind that is understood",
        ));
    }
    let (name, vector) = header("DEK-Info")
        .and_then(|value| value.split_once(','))
        .ok_or_else(|| Error::malformed("the private key has no `DEK-Info` header with a cipher and its vector"))?;
    let cipher = cipher(name.trim())?;
    // The vector is no secret, but what stands there instead may be anything.
    let vector = hex::decode(vector.trim())
        .map_err(|_octets| Error::malformed("the initialisation vector in the `DEK-Info` header is not hex"))?;
    let salt = vector.get(..SALT_LENGTH).filter(|_| vector.len() == cipher.block_length()).ok_or_else(|| {
        Error::malformed(format!(
            "the initialisation vector in the `DEK-Info` header is not {} octets long",
            cipher.block_length()
        ))
    })?;
    let key = derive(passphrase, salt, cipher.key_length());
    let mut buffer = file::decode_base64(&base64)?;
    let length = cipher.decrypt(&key, &vector, &mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

/// Splits the body into header lines and base64.
fn split(body: &str) -> (Vec<&str>, String) {
    let (headers, base64): (Vec<&str>, Vec<&str>) = body.lines().partition(|line| line.contains(':'));
    (headers, base64.concat())
}

fn cipher(name: &str) -> Result<Cipher> {
    match name.to_ascii_uppercase().as_str() {
        "AES-128-CBC" => Ok(Cipher::Aes128),
        "AES-192-CBC" => Ok(Cipher::Aes192),
        "AES-256-CBC" => Ok(Cipher::Aes256),
        "DES-EDE3-CBC" => Ok(Cipher::TripleDes),
        "DES-CBC" => Ok(Cipher::Des),
        _ => {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
            Err(Error::malformed(format!(
                "the private key is encrypted with the unsupported cipher `{shown}`; accepted are AES-128-CBC, AES-192-CBC, AES-256-CBC, DES-EDE3-CBC and DES-CBC; {}",
                pbes2::CONVERSION
            )))
        }
    }
}

/// OpenSSL's `EVP_BytesToKey` with MD5 and one round: blocks of `MD5(block before, passphrase, salt)`.
fn derive(passphrase: &SecretString, salt: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(length + 16));
    let mut block = Zeroizing::new([0; 16]);
    while key.len() < length {
        let mut digest = Md5::new();
        if !key.is_empty() {
            digest.update(block.as_slice());
        }
        digest.update(passphrase.expose_secret().as_bytes());
        digest.update(salt);
        block.copy_from_slice(&digest.finalize());
        key.extend_from_slice(block.as_slice());
    }
    key.truncate(length);
    key
}
