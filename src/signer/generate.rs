//! Makes key pairs, with aws-lc-rs, from the operating system's random source.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, ML_DSA_44_SIGNING, ML_DSA_65_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair,
    PqdsaSigningAlgorithm,
};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::x509::KeyAlgorithm;

/// The algorithms that keys can be made for, for messages.
pub const POSSIBLE: &str = "ecdsa-p256, ecdsa-p384, ecdsa-p521, ed25519, ml-dsa-44, ml-dsa-65, ml-dsa-87, rsa-2048, rsa-3072, rsa-4096 \
                            and rsa-8192";

/// Whether keys of an algorithm can be made: RSA has four sizes.
#[must_use]
pub const fn is_possible(algorithm: KeyAlgorithm) -> bool {
    match algorithm {
        KeyAlgorithm::EcdsaP256
        | KeyAlgorithm::EcdsaP384
        | KeyAlgorithm::EcdsaP521
        | KeyAlgorithm::Ed25519
        | KeyAlgorithm::MlDsa44
        | KeyAlgorithm::MlDsa65
        | KeyAlgorithm::MlDsa87 => true,
        KeyAlgorithm::Rsa(bits) => matches!(bits, 2048 | 3072 | 4096 | 8192),
    }
}

/// Makes a key pair and returns it as unencrypted PKCS #8 DER. RSA takes long: call it through `tasks::spawn_blocking`.
///
/// # Errors
/// `Malformed` for an algorithm that cannot be generated (RSA sizes other than 2048, 3072, 4096 and 8192).
pub fn generate_pkcs8(algorithm: KeyAlgorithm) -> Result<Zeroizing<Vec<u8>>> {
    match algorithm {
        KeyAlgorithm::EcdsaP256 => generate_ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING),
        KeyAlgorithm::EcdsaP384 => generate_ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING),
        KeyAlgorithm::EcdsaP521 => generate_ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING),
        KeyAlgorithm::Ed25519 => generate_ed25519(),
        KeyAlgorithm::MlDsa44 => generate_ml_dsa(&ML_DSA_44_SIGNING),
        KeyAlgorithm::MlDsa65 => generate_ml_dsa(&ML_DSA_65_SIGNING),
        KeyAlgorithm::MlDsa87 => generate_ml_dsa(&ML_DSA_87_SIGNING),
        KeyAlgorithm::Rsa(2048) => generate_rsa(rsa::KeySize::Rsa2048),
        KeyAlgorithm::Rsa(3072) => generate_rsa(rsa::KeySize::Rsa3072),
        KeyAlgorithm::Rsa(4096) => generate_rsa(rsa::KeySize::Rsa4096),
        KeyAlgorithm::Rsa(8192) => generate_rsa(rsa::KeySize::Rsa8192),
        KeyAlgorithm::Rsa(_) => Err(Error::malformed(format!(
            "keys of the algorithm `{algorithm}` cannot be made here; those of {POSSIBLE} can"
        ))),
    }
}

fn generate_ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Result<Zeroizing<Vec<u8>>> {
    EcdsaKeyPair::generate(algorithm)
        .and_then(|key| key.to_pkcs8v1())
        .map(|document| Zeroizing::new(document.as_ref().to_vec()))
        .map_err(failed)
}

fn generate_ed25519() -> Result<Zeroizing<Vec<u8>>> {
    // Version 1: OpenSSL 3.0 does not read version 2, which carries the public key.
    Ed25519KeyPair::generate()
        .and_then(|key| key.to_pkcs8v1())
        .map(|document| Zeroizing::new(document.as_ref().to_vec()))
        .map_err(failed)
}

/// The private key is written as its seed (RFC 9881, section 6), the form that every other can be made from.
fn generate_ml_dsa(algorithm: &'static PqdsaSigningAlgorithm) -> Result<Zeroizing<Vec<u8>>> {
    PqdsaKeyPair::generate(algorithm)
        .and_then(|key| key.to_pkcs8v1())
        .map(|document| Zeroizing::new(document.as_ref().to_vec()))
        .map_err(failed)
}

fn generate_rsa(size: rsa::KeySize) -> Result<Zeroizing<Vec<u8>>> {
    let key = rsa::KeyPair::generate(size).map_err(failed)?;
    let der: Pkcs8V1Der<'_> = key.as_der().map_err(failed)?;
    Ok(Zeroizing::new(der.as_ref().to_vec()))
}

fn failed(error: aws_lc_rs::error::Unspecified) -> Error {
    Error::internal("a key pair cannot be made").with_source(error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::signer::Signer;
    use crate::signer::software::SoftwareSigner;

    #[test]
    fn every_algorithm_gives_its_own_key() {
        for algorithm in [
            KeyAlgorithm::EcdsaP256,
            KeyAlgorithm::EcdsaP384,
            KeyAlgorithm::EcdsaP521,
            KeyAlgorithm::Ed25519,
            KeyAlgorithm::MlDsa44,
            KeyAlgorithm::MlDsa65,
            KeyAlgorithm::MlDsa87,
            KeyAlgorithm::Rsa(2048),
            KeyAlgorithm::Rsa(3072),
        ] {
            assert!(is_possible(algorithm));
            let signer = SoftwareSigner::from_pkcs8_der(&generate_pkcs8(algorithm).unwrap()).unwrap();
            assert_eq!(signer.public_key().algorithm(), Ok(algorithm));
            let other = SoftwareSigner::from_pkcs8_der(&generate_pkcs8(algorithm).unwrap()).unwrap();
            assert_ne!(signer.public_key(), other.public_key());
        }
    }

    #[test]
    fn other_algorithms_are_refused_with_the_possible_ones() {
        for algorithm in [KeyAlgorithm::Rsa(2056), KeyAlgorithm::Rsa(1024)] {
            assert!(!is_possible(algorithm));
            let error = generate_pkcs8(algorithm).unwrap_err();
            assert_eq!(
                error.detail(),
                format!(
                    "keys of the algorithm `{algorithm}` cannot be made here; those of ecdsa-p256, ecdsa-p384, ecdsa-p521, ed25519, ml-dsa-44, ml-dsa-65, ml-dsa-87, rsa-2048, rsa-3072, rsa-4096 and rsa-8192 can"
                )
            );
        }
    }
}
