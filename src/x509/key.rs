//! Public keys and signature algorithms: what a key is, whether it is weak, and how signatures are verified.
//!
//! Private keys live in `signer/`. Which keys are admitted is decided in `policy/keys.rs`.

pub(super) mod jwk;
pub(super) mod names;
mod signature_algorithm;
mod weakness;

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use aws_lc_rs::signature::UnparsedPublicKey;
use const_oid::ObjectIdentifier;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use x509_parser::asn1_rs::{Any, FromDer};
use x509_parser::public_key::RSAPublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::decoding::{self, shape};
use super::{KeyUsage, encoding};
use crate::error::{Error, Result};

pub use signature_algorithm::SignatureAlgorithm;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
/// The identifiers of ML-DSA (RFC 9881, section 2), with the octets that a public key has (FIPS 204, section 4, table 2).
const ML_DSA: [(ObjectIdentifier, KeyAlgorithm, usize); 3] = [
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17"), KeyAlgorithm::MlDsa44, 1312),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18"), KeyAlgorithm::MlDsa65, 1952),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19"), KeyAlgorithm::MlDsa87, 2592),
];

/// The key algorithms by name, for messages.
pub(super) const KNOWN: &str =
    "ecdsa-p256, ecdsa-p384, ecdsa-p521, ed25519, ml-dsa-44, ml-dsa-65, ml-dsa-87 and rsa-2048 to rsa-8192";

/// The sizes of RSA modulus that can be named; which are admitted is a matter of weakness and policy.
const RSA_BITS: std::ops::RangeInclusive<u16> = 512..=16384;

/// A public key algorithm with its size, written as in profiles: `ecdsa-p256`, `ed25519`, `ml-dsa-65`, `rsa-2048`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// ECDSA on P-521.
    EcdsaP521,
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// ML-DSA-44 (FIPS 204, RFC 9881), against quantum computers: security category 2.
    MlDsa44,
    /// ML-DSA-65: security category 3.
    MlDsa65,
    /// ML-DSA-87: security category 5.
    MlDsa87,
    /// RSA with a modulus of this many bits.
    Rsa(u16),
}

impl KeyAlgorithm {
    /// Whether signatures by such keys withstand quantum computers, and so are not known to many verifiers yet.
    #[must_use]
    pub const fn is_post_quantum(self) -> bool {
        match self {
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => true,
            Self::EcdsaP256 | Self::EcdsaP384 | Self::EcdsaP521 | Self::Ed25519 | Self::Rsa(_) => false,
        }
    }

    /// Whether a key of this kind can have the usage: RSA keys agree on no keys (RFC 3279, section 2.3.1), EC keys encrypt nothing
    /// (RFC 8813, section 3), Ed25519 keys (RFC 8410, section 5) and ML-DSA keys (RFC 9881, section 5) sign only.
    #[must_use]
    pub const fn permits(self, usage: KeyUsage) -> bool {
        match usage {
            KeyUsage::DigitalSignature | KeyUsage::ContentCommitment | KeyUsage::KeyCertSign | KeyUsage::CrlSign => {
                true
            }
            KeyUsage::KeyEncipherment | KeyUsage::DataEncipherment => match self {
                Self::Rsa(_) => true,
                Self::EcdsaP256 | Self::EcdsaP384 | Self::EcdsaP521 | Self::Ed25519 => false,
                Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => false,
            },
            KeyUsage::KeyAgreement | KeyUsage::EncipherOnly | KeyUsage::DecipherOnly => match self {
                Self::EcdsaP256 | Self::EcdsaP384 | Self::EcdsaP521 => true,
                Self::Ed25519 | Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 | Self::Rsa(_) => false,
            },
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EcdsaP256 => f.write_str("ecdsa-p256"),
            Self::EcdsaP384 => f.write_str("ecdsa-p384"),
            Self::EcdsaP521 => f.write_str("ecdsa-p521"),
            Self::Ed25519 => f.write_str("ed25519"),
            Self::MlDsa44 => f.write_str("ml-dsa-44"),
            Self::MlDsa65 => f.write_str("ml-dsa-65"),
            Self::MlDsa87 => f.write_str("ml-dsa-87"),
            Self::Rsa(bits) => write!(f, "rsa-{bits}"),
        }
    }
}

impl FromStr for KeyAlgorithm {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "ecdsa-p256" => Ok(Self::EcdsaP256),
            "ecdsa-p384" => Ok(Self::EcdsaP384),
            "ecdsa-p521" => Ok(Self::EcdsaP521),
            "ed25519" => Ok(Self::Ed25519),
            "ml-dsa-44" => Ok(Self::MlDsa44),
            "ml-dsa-65" => Ok(Self::MlDsa65),
            "ml-dsa-87" => Ok(Self::MlDsa87),
            _ => text
                .strip_prefix("rsa-")
                .and_then(|bits| bits.parse().ok())
                .filter(|bits| (2048..=8192).contains(bits))
                .map(Self::Rsa)
                .ok_or_else(|| Error::malformed(format!("`{text}` is not a key algorithm; known are {KNOWN}"))),
        }
    }
}

impl Serialize for KeyAlgorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyAlgorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A subject public key: its raw `SubjectPublicKeyInfo` DER and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    spki_der: Vec<u8>,
    /// How many octets at the end are those of the key's BIT STRING.
    bits_length: usize,
    /// The algorithm, or a name for one that is not supported, such as `secp256k1` or a dotted object identifier.
    algorithm: Result<KeyAlgorithm, String>,
}

/// A reason why a key must not be certified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyWeakness {
    /// The stable code: `key_too_small`, `key_too_large`, `key_exponent`, `key_roca`, `key_close_primes`, `key_small_factor`, `key_malformed`.
    pub code: &'static str,
    /// What is wrong and what would be accepted.
    pub message: String,
}

impl PublicKey {
    /// Takes the DER of a `SubjectPublicKeyInfo`. An algorithm that is not supported is kept by name, for policy to refuse.
    ///
    /// # Errors
    /// `Malformed` when it is not a `SubjectPublicKeyInfo`, or an ML-DSA key in it has another size than its algorithm's.
    pub fn from_spki_der(der: &[u8]) -> Result<Self> {
        shape::PUBLIC_KEY.check(der, "public key")?;
        Self::from_parsed(&decoding::complete(SubjectPublicKeyInfo::from_der(der), "public key")?)
    }

    /// Takes a key of x509-parser whose shape has been checked.
    pub(crate) fn from_parsed(info: &SubjectPublicKeyInfo<'_>) -> Result<Self> {
        let oid = decoding::object_identifier(&info.algorithm.algorithm, "public key algorithm")?;
        let bits = info.subject_public_key.data.as_ref();
        let algorithm = if oid == RSA_ENCRYPTION {
            RsaKey::from_der(bits)?.algorithm()
        } else if oid == EC_PUBLIC_KEY {
            curve(info.algorithm.parameters())?
        } else if oid == ED25519 {
            Ok(KeyAlgorithm::Ed25519)
        } else if let Some((_, algorithm, length)) = ML_DSA.iter().find(|(known, ..)| *known == oid) {
            check_ml_dsa(*algorithm, *length, info.algorithm.parameters().is_some(), bits)?;
            Ok(*algorithm)
        } else {
            Err(names::key_algorithm(&oid))
        };
        Ok(Self { spki_der: info.raw.to_vec(), bits_length: bits.len(), algorithm })
    }

    /// Returns the DER, octet for octet as given.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// Returns the algorithm.
    ///
    /// # Errors
    /// The name of the algorithm when it is not one that Chancery supports.
    pub fn algorithm(&self) -> Result<KeyAlgorithm, &str> {
        self.algorithm.as_ref().copied().map_err(String::as_str)
    }

    /// Returns the SHA-256 digest of the `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki_sha256(&self) -> [u8; 32] {
        sha256(&self.spki_der)
    }

    /// Returns the key identifier: the leftmost 160 bits of the SHA-256 of the key's BIT STRING (RFC 7093, section 2, method 1).
    #[must_use]
    pub fn key_identifier(&self) -> [u8; 20] {
        let digest = sha256(self.key_bits());
        let mut identifier = [0; 20];
        for (to, from) in identifier.iter_mut().zip(digest) {
            *to = from;
        }
        identifier
    }

    /// Returns every reason not to certify the key: size, exponent other than 65537, ROCA fingerprint, close primes
    /// (100 rounds of Fermat), a small prime factor, an EC point that is not on its curve.
    #[must_use]
    pub fn weaknesses(&self) -> Vec<KeyWeakness> {
        weakness::find(self)
    }

    /// Returns those of the [weaknesses](Self::weaknesses) that are found at little cost: all but those of RSA moduli.
    #[must_use]
    pub(crate) fn obvious_weaknesses(&self) -> Vec<KeyWeakness> {
        weakness::find_obvious(self)
    }

    /// Verifies a signature made with the key.
    ///
    /// # Errors
    /// `BadCsr`-free: `Malformed` when the algorithm does not fit the key or the signature does not verify.
    pub fn verify(&self, algorithm: SignatureAlgorithm, message: &[u8], signature: &[u8]) -> Result<()> {
        let key = self.algorithm().map_err(|name| {
            Error::malformed(format!("signatures by keys of the algorithm `{name}` cannot be verified here"))
        })?;
        let verification = signature_algorithm::verification(key, algorithm).ok_or_else(|| {
            Error::malformed(format!("a key of the algorithm `{key}` does not make `{algorithm}` signatures"))
        })?;
        UnparsedPublicKey::new(verification, self.key_bits()).verify(message, signature).map_err(|error| {
            Error::malformed(format!("the `{algorithm}` signature does not verify with the `{key}` key"))
                .with_source(error)
        })
    }

    /// Returns the octets of the key's BIT STRING.
    pub(crate) fn key_bits(&self) -> &[u8] {
        let start = self.spki_der.len().saturating_sub(self.bits_length);
        self.spki_der.get(start..).unwrap_or_default()
    }

    /// Returns the name of the algorithm, supported or not.
    pub(crate) fn algorithm_name(&self) -> String {
        self.algorithm().map_or_else(str::to_owned, |algorithm| algorithm.to_string())
    }

    /// Whether a key identifier is one that the usual methods derive from this key (RFC 5280, section 4.2.1.2; RFC 7093, section 2).
    pub(crate) fn derives_key_identifier(&self, identifier: &[u8]) -> bool {
        let bits = self.key_bits();
        let legacy = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bits);
        let tail: Vec<u8> = legacy.as_ref().iter().copied().skip(12).collect();
        // Method 2 of RFC 5280: the bits 0100, then the last 60 bits of the SHA-1.
        let short = match tail.as_slice() {
            [first, others @ ..] => [&[0x40 | (first & 0x0f)], others].concat(),
            [] => Vec::new(),
        };
        let leftmost = |algorithm: &'static digest::Algorithm, input: &[u8]| -> bool {
            let digest = digest::digest(algorithm, input);
            digest.as_ref().get(..20) == Some(identifier) || digest.as_ref() == identifier
        };
        legacy.as_ref() == identifier
            || short == identifier
            || [&digest::SHA256, &digest::SHA384, &digest::SHA512]
                .into_iter()
                .any(|algorithm| leftmost(algorithm, bits) || leftmost(algorithm, &self.spki_der))
            || digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.spki_der).as_ref() == identifier
    }
}

/// Refuses parameters and any other size than the algorithm's (RFC 9881, sections 2 and 4). The library would also take a whole
/// `SubjectPublicKeyInfo` in place of the key's octets, and find the algorithm by the size.
fn check_ml_dsa(algorithm: KeyAlgorithm, length: usize, has_parameters: bool, bits: &[u8]) -> Result<()> {
    if has_parameters {
        return Err(Error::malformed(format!(
            "the key algorithm `{algorithm}` has no parameters (RFC 9881, section 2)"
        )));
    }
    if bits.len() != length {
        return Err(Error::malformed(format!(
            "a key of the algorithm `{algorithm}` has {length} octets, this one has {} (RFC 9881, section 4)",
            bits.len()
        )));
    }
    Ok(())
}

/// Reads the parameters of an `id-ecPublicKey` algorithm (RFC 5480, section 2.1.1).
fn curve(parameters: Option<&Any<'_>>) -> Result<Result<KeyAlgorithm, String>> {
    let name = match parameters.map(|parameters| (decoding::identifier_octet(parameters), parameters)) {
        Some((encoding::OBJECT_IDENTIFIER, name)) => name,
        // Explicit and implicit curves are not used.
        Some((encoding::SEQUENCE, _)) => return Ok(Err("ec-explicit-parameters".to_owned())),
        Some((encoding::NULL, _)) | None => return Ok(Err("ec-implicit-curve".to_owned())),
        Some(_) => return Err(Error::malformed("public key algorithm: the parameters name no curve")),
    };
    let oid = name.as_oid().map_err(|error| {
        Error::malformed("curve of the public key: not an object identifier that can be read").with_source(error)
    })?;
    let oid = decoding::object_identifier(&oid, "curve of the public key")?;
    Ok(if oid == P256 {
        Ok(KeyAlgorithm::EcdsaP256)
    } else if oid == P384 {
        Ok(KeyAlgorithm::EcdsaP384)
    } else if oid == P521 {
        Ok(KeyAlgorithm::EcdsaP521)
    } else {
        Err(names::curve(&oid))
    })
}

/// The numbers of an RSA public key (RFC 8017, appendix A.1.1), big-endian and minimal.
struct RsaKey<'a> {
    modulus: &'a [u8],
    exponent: &'a [u8],
}

impl<'a> RsaKey<'a> {
    fn from_der(der: &'a [u8]) -> Result<Self> {
        const WHAT: &str = "RSA public key";
        shape::RSA_PUBLIC_KEY.check(der, WHAT)?;
        let RSAPublicKey { modulus, exponent } = decoding::complete(RSAPublicKey::from_der(der), WHAT)?;
        if modulus == [0] || exponent == [0] {
            return Err(Error::malformed("RSA public key: modulus and public exponent are positive"));
        }
        Ok(Self {
            modulus: modulus.strip_prefix(&[0]).unwrap_or(modulus),
            exponent: exponent.strip_prefix(&[0]).unwrap_or(exponent),
        })
    }

    fn algorithm(&self) -> Result<KeyAlgorithm, String> {
        let leading_zeros = self.modulus.first().map_or(0, |first| first.leading_zeros());
        let bits = self.modulus.len().saturating_mul(8).saturating_sub(usize::try_from(leading_zeros).unwrap_or(0));
        match u16::try_from(bits) {
            Ok(known) if RSA_BITS.contains(&known) => Ok(KeyAlgorithm::Rsa(known)),
            _ => Err(format!("rsa-{bits}")),
        }
    }
}

/// Returns the SHA-256 digest of octets.
pub(crate) fn sha256(octets: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, octets);
    let mut array = [0; 32];
    for (to, from) in array.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    array
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests;
