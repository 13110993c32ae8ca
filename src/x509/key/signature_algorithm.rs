//! Signature algorithms: their identifiers, and what verifies them.
//!
//! Signing is in `signer/`.

use std::fmt;

use aws_lc_rs::signature::{self, VerificationAlgorithm};

use super::{KeyAlgorithm, names};
use crate::error::{Error, Result};
use crate::x509::decoding;

/// A signature algorithm that Chancery makes or accepts. SHA-1 and MD5 are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// `ecdsa-with-SHA256` (RFC 5758).
    EcdsaSha256,
    /// `ecdsa-with-SHA384`.
    EcdsaSha384,
    /// `ecdsa-with-SHA512`.
    EcdsaSha512,
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// ML-DSA-44, without a digest before it and with an empty context (RFC 9881, section 3).
    MlDsa44,
    /// ML-DSA-65.
    MlDsa65,
    /// ML-DSA-87.
    MlDsa87,
    /// `sha256WithRSAEncryption` (RFC 4055).
    RsaSha256,
    /// `sha384WithRSAEncryption`.
    RsaSha384,
    /// `sha512WithRSAEncryption`.
    RsaSha512,
}

impl SignatureAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 10] = [
        Self::EcdsaSha256,
        Self::EcdsaSha384,
        Self::EcdsaSha512,
        Self::Ed25519,
        Self::MlDsa44,
        Self::MlDsa65,
        Self::MlDsa87,
        Self::RsaSha256,
        Self::RsaSha384,
        Self::RsaSha512,
    ];

    /// Returns the name used in JSON and messages, such as `ecdsa-sha256`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaSha256 => "ecdsa-sha256",
            Self::EcdsaSha384 => "ecdsa-sha384",
            Self::EcdsaSha512 => "ecdsa-sha512",
            Self::Ed25519 => "ed25519",
            Self::MlDsa44 => "ml-dsa-44",
            Self::MlDsa65 => "ml-dsa-65",
            Self::MlDsa87 => "ml-dsa-87",
            Self::RsaSha256 => "rsa-sha256",
            Self::RsaSha384 => "rsa-sha384",
            Self::RsaSha512 => "rsa-sha512",
        }
    }

    /// Returns the DER of the `AlgorithmIdentifier`, with the parameters the RFCs ask for (NULL for RSA, none otherwise).
    #[must_use]
    pub const fn identifier_der(self) -> &'static [u8] {
        match self {
            Self::EcdsaSha256 => &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
            Self::EcdsaSha384 => &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03],
            Self::EcdsaSha512 => &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04],
            Self::Ed25519 => &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70],
            Self::MlDsa44 => &[0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x11],
            Self::MlDsa65 => &[0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x12],
            Self::MlDsa87 => &[0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x13],
            Self::RsaSha256 => {
                &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00]
            }
            Self::RsaSha384 => {
                &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c, 0x05, 0x00]
            }
            Self::RsaSha512 => {
                &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d, 0x05, 0x00]
            }
        }
    }

    /// Reads a DER `AlgorithmIdentifier`.
    ///
    /// # Errors
    /// `Malformed`, naming the algorithm (by name where it is known: MD5, SHA-1, RSA-PSS ...) and the accepted ones.
    pub fn from_identifier_der(der: &[u8]) -> Result<Self> {
        if let Some(found) = Self::ALL.into_iter().find(|algorithm| algorithm.identifier_der() == der) {
            return Ok(found);
        }
        let (oid, has_parameters) = decoding::algorithm(der, "signature algorithm")?;
        // RFC 4055, section 5: implementations must accept absent parameters for RSA, too.
        let same = |algorithm: &Self| same_object_identifier(algorithm.identifier_der(), oid.as_bytes());
        match (Self::ALL.iter().find(|algorithm| same(algorithm)), has_parameters) {
            (Some(found @ (Self::RsaSha256 | Self::RsaSha384 | Self::RsaSha512)), false) => Ok(*found),
            (Some(found), _) => Err(Error::malformed(format!(
                "the signature algorithm `{found}` has parameters that it must not have (RFC 5758, RFC 4055, RFC 8410, RFC 9881)"
            ))),
            (None, _) => Err(Error::malformed(format!(
                "the signature algorithm `{}` is not accepted; accepted are {}",
                names::signature_algorithm(&oid),
                Self::ALL.map(Self::as_str).join(", ")
            ))),
        }
    }

    /// Returns the algorithm a CA key of this kind signs with by default: the digest that matches the curve, SHA-256 for RSA.
    #[must_use]
    pub const fn for_key(key: KeyAlgorithm) -> Self {
        match key {
            KeyAlgorithm::EcdsaP384 => Self::EcdsaSha384,
            KeyAlgorithm::EcdsaP521 => Self::EcdsaSha512,
            KeyAlgorithm::Ed25519 => Self::Ed25519,
            KeyAlgorithm::MlDsa44 => Self::MlDsa44,
            KeyAlgorithm::MlDsa65 => Self::MlDsa65,
            KeyAlgorithm::MlDsa87 => Self::MlDsa87,
            KeyAlgorithm::EcdsaP256 => Self::EcdsaSha256,
            KeyAlgorithm::Rsa(_) => Self::RsaSha256,
        }
    }
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether an `AlgorithmIdentifier` of at most 127 octets begins with this object identifier.
fn same_object_identifier(identifier_der: &[u8], oid: &[u8]) -> bool {
    identifier_der.get(4..).is_some_and(|rest| rest.starts_with(oid))
        && identifier_der.get(3).copied().map(usize::from) == Some(oid.len())
}

/// Returns what verifies signatures of this algorithm by a key of this kind; `None` when they do not fit together.
///
/// RSA keys down to 1024 bits verify here, so that a small key is refused for its size and not for its signature.
pub(super) fn verification(
    key: KeyAlgorithm,
    algorithm: SignatureAlgorithm,
) -> Option<&'static dyn VerificationAlgorithm> {
    use KeyAlgorithm::{EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, MlDsa44, MlDsa65, MlDsa87, Rsa};
    use SignatureAlgorithm as Signature;
    Some(match (key, algorithm) {
        (EcdsaP256, Signature::EcdsaSha256) => &signature::ECDSA_P256_SHA256_ASN1,
        (EcdsaP256, Signature::EcdsaSha384) => &signature::ECDSA_P256_SHA384_ASN1,
        (EcdsaP256, Signature::EcdsaSha512) => &signature::ECDSA_P256_SHA512_ASN1,
        (EcdsaP384, Signature::EcdsaSha256) => &signature::ECDSA_P384_SHA256_ASN1,
        (EcdsaP384, Signature::EcdsaSha384) => &signature::ECDSA_P384_SHA384_ASN1,
        (EcdsaP384, Signature::EcdsaSha512) => &signature::ECDSA_P384_SHA512_ASN1,
        (EcdsaP521, Signature::EcdsaSha256) => &signature::ECDSA_P521_SHA256_ASN1,
        (EcdsaP521, Signature::EcdsaSha384) => &signature::ECDSA_P521_SHA384_ASN1,
        (EcdsaP521, Signature::EcdsaSha512) => &signature::ECDSA_P521_SHA512_ASN1,
        (Ed25519, Signature::Ed25519) => &signature::ED25519,
        (MlDsa44, Signature::MlDsa44) => &signature::ML_DSA_44,
        (MlDsa65, Signature::MlDsa65) => &signature::ML_DSA_65,
        (MlDsa87, Signature::MlDsa87) => &signature::ML_DSA_87,
        (Rsa(_), Signature::RsaSha256) => &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        (Rsa(_), Signature::RsaSha384) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (Rsa(_), Signature::RsaSha512) => &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        (EcdsaP256 | EcdsaP384 | EcdsaP521, Signature::Ed25519 | Signature::RsaSha256)
        | (EcdsaP256 | EcdsaP384 | EcdsaP521, Signature::RsaSha384 | Signature::RsaSha512)
        | (Ed25519 | Rsa(_), Signature::EcdsaSha256 | Signature::EcdsaSha384 | Signature::EcdsaSha512)
        | (Ed25519, Signature::RsaSha256 | Signature::RsaSha384 | Signature::RsaSha512)
        | (Rsa(_), Signature::Ed25519)
        | (EcdsaP256 | EcdsaP384 | EcdsaP521, Signature::MlDsa44 | Signature::MlDsa65 | Signature::MlDsa87)
        | (Ed25519 | Rsa(_), Signature::MlDsa44 | Signature::MlDsa65 | Signature::MlDsa87)
        | (MlDsa44 | MlDsa65 | MlDsa87, Signature::EcdsaSha256 | Signature::EcdsaSha384 | Signature::EcdsaSha512)
        | (MlDsa44 | MlDsa65 | MlDsa87, Signature::RsaSha256 | Signature::RsaSha384 | Signature::RsaSha512)
        | (MlDsa44 | MlDsa65 | MlDsa87, Signature::Ed25519)
        | (MlDsa44, Signature::MlDsa65 | Signature::MlDsa87)
        | (MlDsa65, Signature::MlDsa44 | Signature::MlDsa87)
        | (MlDsa87, Signature::MlDsa44 | Signature::MlDsa65) => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use const_oid::ObjectIdentifier;

    use super::*;
    use crate::x509::encoding;

    fn identifier(oid: &str, parameters: &[u8]) -> Vec<u8> {
        let oid = encoding::object_identifier(&ObjectIdentifier::new_unwrap(oid));
        encoding::sequence(&[&oid, parameters])
    }

    #[test]
    fn identifiers_are_those_of_the_rfcs() {
        for (algorithm, oid, parameters) in [
            (SignatureAlgorithm::EcdsaSha256, "1.2.840.10045.4.3.2", &[][..]),
            (SignatureAlgorithm::EcdsaSha384, "1.2.840.10045.4.3.3", &[]),
            (SignatureAlgorithm::EcdsaSha512, "1.2.840.10045.4.3.4", &[]),
            (SignatureAlgorithm::Ed25519, "1.3.101.112", &[]),
            (SignatureAlgorithm::MlDsa44, "2.16.840.1.101.3.4.3.17", &[]),
            (SignatureAlgorithm::MlDsa65, "2.16.840.1.101.3.4.3.18", &[]),
            (SignatureAlgorithm::MlDsa87, "2.16.840.1.101.3.4.3.19", &[]),
            (SignatureAlgorithm::RsaSha256, "1.2.840.113549.1.1.11", &[5, 0]),
            (SignatureAlgorithm::RsaSha384, "1.2.840.113549.1.1.12", &[5, 0]),
            (SignatureAlgorithm::RsaSha512, "1.2.840.113549.1.1.13", &[5, 0]),
        ] {
            let der = identifier(oid, parameters);
            assert_eq!(algorithm.identifier_der(), der);
            assert_eq!(SignatureAlgorithm::from_identifier_der(&der).unwrap(), algorithm);
        }
    }

    #[test]
    fn rsa_may_lack_its_null_and_others_may_not_have_one() {
        let rsa = identifier("1.2.840.113549.1.1.11", &[]);
        assert_eq!(SignatureAlgorithm::from_identifier_der(&rsa).unwrap(), SignatureAlgorithm::RsaSha256);
        for oid in ["1.2.840.10045.4.3.2", "1.3.101.112", "2.16.840.1.101.3.4.3.18"] {
            let error = SignatureAlgorithm::from_identifier_der(&identifier(oid, &[5, 0])).unwrap_err();
            assert!(error.detail().contains("has parameters that it must not have"), "{error}");
        }
    }

    #[test]
    fn weak_algorithms_are_refused_by_name() {
        for (oid, name) in [
            ("1.2.840.113549.1.1.4", "md5WithRSAEncryption"),
            ("1.2.840.113549.1.1.5", "sha1WithRSAEncryption"),
            ("1.2.840.10045.4.1", "ecdsa-with-SHA1"),
            ("1.2.840.113549.1.1.10", "rsassa-pss"),
            // With a digest before it, which RFC 9881, section 8, keeps out of certificates.
            ("2.16.840.1.101.3.4.3.33", "hash-ml-dsa-65"),
            ("1.2.3.4", "1.2.3.4"),
        ] {
            let error = SignatureAlgorithm::from_identifier_der(&identifier(oid, &[5, 0])).unwrap_err();
            assert!(error.detail().contains(&format!("`{name}`")), "{error}");
        }
    }
}
