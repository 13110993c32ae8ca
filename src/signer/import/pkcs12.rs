//! PKCS #12 (RFC 7292) in password integrity mode: the private key and the certificates of a `.p12` or `.pfx` file.
//!
//! Taken apart by hand, because every cost in the file has to be bounded before it is spent, also in the parts that are encrypted. Which of
//! the certificates belongs to the key is found out by its public key, not by the attributes of the bags.

use aws_lc_rs::{digest, hmac};
use der::asn1::ObjectIdentifier;
use pkcs8::PrivateKeyInfo;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::pbe::{self, Use};
use super::{ImportedKey, MAXIMUM_CERTIFICATES, is_pkcs12, refuse_length};
use crate::error::{Error, Result};
use crate::signer::pbes2;
use crate::x509::decoding::{Reader, Value, algorithm, only_sequence};
use crate::x509::encoding::{self, context, context_constructed};

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ENCRYPTED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.6");
const KEY_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.1");
const SHROUDED_KEY_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.2");
const CERTIFICATE_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.3");
const SAFE_CONTENTS_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.6");
const X509_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.22.1");
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

const WHAT: &str = "PKCS #12 file";

/// The most parts that are decrypted: each may cost seconds.
const MAXIMUM_ENCRYPTED_PARTS: usize = 8;
/// The most private keys that are looked at before they are refused for being several.
const MAXIMUM_KEYS: usize = 8;
/// How deep bags may hold bags.
const MAXIMUM_DEPTH: u8 = 4;

/// Reads a PKCS #12 file: the one private key in it and every certificate. An empty password is the same as none.
///
/// # Errors
/// `Malformed`: not PKCS #12 in DER, a password that is wrong, missing or not needed, no private key or several, algorithms that are not
/// supported or cost too much.
pub fn decode(input: &[u8], password: Option<&SecretString>) -> Result<ImportedKey> {
    refuse_length(input)?;
    refuse_other_formats(input)?;
    let mut parts = only_sequence(input, WHAT)?;
    parts.expect(encoding::INTEGER, WHAT)?;
    let (content_type, content) = content_info(parts.expect(encoding::SEQUENCE, WHAT)?)?;
    if content_type != DATA {
        return Err(Error::malformed(
            "the PKCS #12 file is protected by a signature instead of a password, which is not supported",
        ));
    }
    let safe = content.expect(encoding::OCTET_STRING)?;
    let mut reader = Contents::new(password);
    if !parts.is_empty() {
        reader.check_mac(parts.expect(encoding::SEQUENCE, WHAT)?, safe)?;
        parts.finish(WHAT)?;
    }
    reader.authenticated_safe(safe)?;
    reader.finish()
}

/// Says plainly what PEM and BER files are: both come under the same file names.
fn refuse_other_formats(input: &[u8]) -> Result<()> {
    if input.starts_with(&[0x30, 0x80]) {
        return Err(Error::malformed(
            "the PKCS #12 file is not in DER (indefinite lengths); convert it with `openssl pkcs12 -in <old> -out <new.pem>` and import key and certificate from there",
        ));
    }
    if !is_pkcs12(input) {
        return Err(Error::malformed("it is not a PKCS #12 file (`PFX` of version 3 in DER)"));
    }
    Ok(())
}

/// The content of a `ContentInfo`, whose type the caller has yet to look at.
struct Content<'a>(Reader<'a>);

impl<'a> Content<'a> {
    fn expect(mut self, tag: u8) -> Result<&'a [u8]> {
        let value = self.0.expect(tag, WHAT)?;
        self.0.finish(WHAT)?;
        Ok(value.content)
    }
}

fn content_info(value: Value<'_>) -> Result<(ObjectIdentifier, Content<'_>)> {
    let mut parts = value.reader();
    let content_type = object_identifier(&mut parts)?;
    let content = parts.expect(context_constructed(0), WHAT)?.reader();
    parts.finish(WHAT)?;
    Ok((content_type, Content(content)))
}

fn object_identifier(parts: &mut Reader<'_>) -> Result<ObjectIdentifier> {
    let value = parts.expect(encoding::OBJECT_IDENTIFIER, WHAT)?;
    ObjectIdentifier::from_bytes(value.content)
        .map_err(|error| Error::malformed(format!("{WHAT}: an object identifier cannot be read")).with_source(error))
}

/// What was found so far.
struct Contents {
    password: SecretString,
    /// Whether the password was of any use.
    password_used: bool,
    /// Whether the MAC has shown that the password is right.
    verified: bool,
    encrypted_parts: usize,
    keys: Vec<Zeroizing<Vec<u8>>>,
    certificates: Vec<Vec<u8>>,
}

impl Contents {
    fn new(password: Option<&SecretString>) -> Self {
        Self {
            password: password.cloned().unwrap_or_else(|| SecretString::from("")),
            password_used: false,
            verified: false,
            encrypted_parts: 0,
            keys: Vec::new(),
            certificates: Vec::new(),
        }
    }

    fn has_password(&self) -> bool {
        !self.password.expose_secret().is_empty()
    }

    fn wrong_password(&self) -> Error {
        if self.has_password() {
            Error::malformed("the password of the PKCS #12 file is wrong, or the file is damaged")
        } else {
            Error::malformed("the PKCS #12 file has a password and none is given")
        }
    }

    /// Checks `MacData` (RFC 7292, section 4).
    fn check_mac(&mut self, value: Value<'_>, protected: &[u8]) -> Result<()> {
        let mut parts = value.reader();
        let mut info = parts.expect(encoding::SEQUENCE, WHAT)?.reader();
        let (oid, _) = algorithm(info.expect(encoding::SEQUENCE, WHAT)?.raw, "MAC of the PKCS #12 file")?;
        let expected = info.expect(encoding::OCTET_STRING, WHAT)?.content;
        info.finish(WHAT)?;
        let salt = parts.expect(encoding::OCTET_STRING, WHAT)?.content;
        pbe::refuse_long_salt(salt)?;
        let iterations =
            if parts.is_empty() { 1 } else { pbe::iterations(parts.expect(encoding::INTEGER, WHAT)?.content)? };
        parts.finish(WHAT)?;
        let (hash, mac) = match oid {
            SHA1 => (&digest::SHA1_FOR_LEGACY_USE_ONLY, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
            SHA256 => (&digest::SHA256, hmac::HMAC_SHA256),
            SHA384 => (&digest::SHA384, hmac::HMAC_SHA384),
            SHA512 => (&digest::SHA512, hmac::HMAC_SHA512),
            other => {
                return Err(Error::malformed(format!(
                    "the PKCS #12 file has a MAC with the unsupported digest `{other}`; accepted are SHA-1, SHA-256, SHA-384 and SHA-512"
                )));
            }
        };
        let verifies = |password: &[u8]| {
            let key = pbe::derive(hash, password, salt, iterations, Use::Mac, hash.output_len());
            hmac::verify(&hmac::Key::new(mac, &key), protected, expected).is_ok()
        };
        // Some programs write the empty password as nothing at all instead of an empty string with its end.
        if !verifies(&pbe::bmp_string(&self.password)) && (self.has_password() || !verifies(&[])) {
            return Err(self.wrong_password());
        }
        self.password_used = true;
        self.verified = true;
        Ok(())
    }

    fn authenticated_safe(&mut self, der: &[u8]) -> Result<()> {
        let mut safes = only_sequence(der, WHAT)?;
        while !safes.is_empty() {
            let (content_type, content) = content_info(safes.expect(encoding::SEQUENCE, WHAT)?)?;
            match content_type {
                DATA => self.bags(content.expect(encoding::OCTET_STRING)?, 0)?,
                ENCRYPTED_DATA => {
                    let plaintext = self.encrypted_data(content.expect(encoding::SEQUENCE)?)?;
                    // With a wrong password and no MAC this is noise, whose octets are nobody's business.
                    self.bags(&plaintext, 0)
                        .map_err(|error| if self.verified { error } else { self.wrong_password() })?;
                }
                other => {
                    return Err(Error::malformed(format!(
                        "the PKCS #12 file has content of the type `{other}`, which is not supported; accepted are data and data encrypted with a password"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Decrypts an `EncryptedData` (RFC 5652, section 8).
    fn encrypted_data(&mut self, content: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let mut parts = Reader::new(content);
        parts.expect(encoding::INTEGER, WHAT)?;
        let mut info = parts.expect(encoding::SEQUENCE, WHAT)?.reader();
        object_identifier(&mut info)?;
        let algorithm = info.expect(encoding::SEQUENCE, WHAT)?.raw;
        let encrypted = info.expect(context(0), WHAT)?.content;
        self.decrypt(algorithm, encrypted)
    }

    fn decrypt(&mut self, algorithm: &[u8], encrypted: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        self.encrypted_parts += 1;
        if self.encrypted_parts > MAXIMUM_ENCRYPTED_PARTS {
            return Err(Error::malformed(format!(
                "the PKCS #12 file has more than {MAXIMUM_ENCRYPTED_PARTS} encrypted parts"
            )));
        }
        self.password_used = true;
        pbe::decrypt(algorithm, encrypted, &self.password)
            .map_err(|error| if pbes2::is_wrong_passphrase(&error) { self.wrong_password() } else { error })
    }

    /// Reads `SafeContents`.
    fn bags(&mut self, der: &[u8], depth: u8) -> Result<()> {
        if depth > MAXIMUM_DEPTH {
            return Err(Error::malformed(format!(
                "the PKCS #12 file has bags in bags, more than {MAXIMUM_DEPTH} deep"
            )));
        }
        let mut bags = only_sequence(der, WHAT)?;
        while !bags.is_empty() {
            let mut parts = bags.expect(encoding::SEQUENCE, WHAT)?.reader();
            let kind = object_identifier(&mut parts)?;
            let value = parts.expect(context_constructed(0), WHAT)?.content;
            match kind {
                KEY_BAG => self.key(Zeroizing::new(value.to_vec()))?,
                SHROUDED_KEY_BAG => {
                    let mut shrouded = only_sequence(value, WHAT)?;
                    let algorithm = shrouded.expect(encoding::SEQUENCE, WHAT)?.raw;
                    let encrypted = shrouded.expect(encoding::OCTET_STRING, WHAT)?.content;
                    let key = self.decrypt(algorithm, encrypted)?;
                    self.key(key)?;
                }
                CERTIFICATE_BAG => self.certificate(value)?,
                SAFE_CONTENTS_BAG => self.bags(value, depth + 1)?,
                // CRLs and secrets of other kinds are not what is imported.
                _ => {}
            }
        }
        Ok(())
    }

    fn key(&mut self, pkcs8_der: Zeroizing<Vec<u8>>) -> Result<()> {
        // The parser's message may show octets of the key: it is not passed on.
        PrivateKeyInfo::try_from(pkcs8_der.as_slice()).map_err(|_octets| {
            if self.password_used && !self.verified {
                self.wrong_password()
            } else {
                Error::malformed("a private key of the PKCS #12 file is not in PKCS #8 form")
            }
        })?;
        if !self.keys.contains(&pkcs8_der) {
            self.keys.push(pkcs8_der);
        }
        if self.keys.len() > MAXIMUM_KEYS {
            return Err(several_keys(self.keys.len()));
        }
        Ok(())
    }

    fn certificate(&mut self, value: &[u8]) -> Result<()> {
        let mut parts = only_sequence(value, WHAT)?;
        let kind = object_identifier(&mut parts)?;
        let mut content = parts.expect(context_constructed(0), WHAT)?.reader();
        if kind != X509_CERTIFICATE {
            return Err(Error::malformed(format!(
                "the PKCS #12 file has a certificate of the type `{kind}`; only X.509 is supported"
            )));
        }
        let der = content.expect(encoding::OCTET_STRING, WHAT)?.content.to_vec();
        if !self.certificates.contains(&der) {
            self.certificates.push(der);
        }
        if self.certificates.len() > MAXIMUM_CERTIFICATES {
            return Err(Error::malformed(format!(
                "the PKCS #12 file has more than {MAXIMUM_CERTIFICATES} certificates"
            )));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<ImportedKey> {
        if self.keys.len() > 1 {
            return Err(several_keys(self.keys.len()));
        }
        let pkcs8_der = self.keys.pop().ok_or_else(|| Error::malformed("the PKCS #12 file has no private key"))?;
        if self.has_password() && !self.password_used {
            return Err(Error::malformed("a password is given, but the PKCS #12 file has none; leave it out"));
        }
        Ok(ImportedKey { pkcs8_der, certificates: self.certificates })
    }
}

fn several_keys(count: usize) -> Error {
    Error::malformed(format!(
        "the PKCS #12 file has several private keys ({count} at least); export the one that is to be imported into a file of its own"
    ))
}
