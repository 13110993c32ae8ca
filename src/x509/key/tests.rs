//! Tests of key algorithms: their names, their usages, and ML-DSA keys as RFC 9881 writes them.

use super::*;

const ALGORITHMS: [KeyAlgorithm; 8] = [
    KeyAlgorithm::EcdsaP256,
    KeyAlgorithm::EcdsaP384,
    KeyAlgorithm::EcdsaP521,
    KeyAlgorithm::Ed25519,
    KeyAlgorithm::MlDsa44,
    KeyAlgorithm::MlDsa65,
    KeyAlgorithm::MlDsa87,
    KeyAlgorithm::Rsa(2048),
];

/// A `SubjectPublicKeyInfo` with any parameters and octets.
fn spki(oid: &ObjectIdentifier, parameters: &[u8], bits: &[u8]) -> Vec<u8> {
    let algorithm = encoding::sequence(&[&encoding::object_identifier(oid), parameters]);
    encoding::sequence(&[&algorithm, &encoding::bit_string(bits)])
}

#[test]
fn every_algorithm_is_read_by_the_name_it_is_written_by() {
    for algorithm in ALGORITHMS {
        assert_eq!(algorithm.to_string().parse::<KeyAlgorithm>().unwrap(), algorithm);
    }
    for unknown in ["ml-dsa-45", "mldsa65", "ML-DSA-65", "ml-dsa", "rsa-1024", ""] {
        let error = unknown.parse::<KeyAlgorithm>().unwrap_err();
        assert_eq!(
            error.detail(),
            format!(
                "`{unknown}` is not a key algorithm; known are ecdsa-p256, ecdsa-p384, ecdsa-p521, ed25519, ml-dsa-44, ml-dsa-65, \
                 ml-dsa-87 and rsa-2048 to rsa-8192"
            )
        );
    }
}

#[test]
fn signing_is_all_that_ml_dsa_and_ed25519_keys_do() {
    let signing = [KeyUsage::DigitalSignature, KeyUsage::ContentCommitment, KeyUsage::KeyCertSign, KeyUsage::CrlSign];
    for algorithm in ALGORITHMS {
        for usage in signing {
            assert!(algorithm.permits(usage), "{algorithm}");
        }
        let others: Vec<KeyUsage> = KeyUsage::ALL.into_iter().filter(|usage| algorithm.permits(*usage)).collect();
        match algorithm {
            KeyAlgorithm::Ed25519 | KeyAlgorithm::MlDsa44 | KeyAlgorithm::MlDsa65 | KeyAlgorithm::MlDsa87 => {
                assert_eq!(others, signing, "{algorithm}");
            }
            KeyAlgorithm::Rsa(_) => {
                assert!(algorithm.permits(KeyUsage::KeyEncipherment) && !algorithm.permits(KeyUsage::KeyAgreement));
            }
            KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 | KeyAlgorithm::EcdsaP521 => {
                assert!(!algorithm.permits(KeyUsage::KeyEncipherment) && algorithm.permits(KeyUsage::KeyAgreement));
            }
        }
    }
}

#[test]
fn ml_dsa_keys_have_the_size_of_their_algorithm_and_no_parameters() {
    for (oid, algorithm, length) in ML_DSA {
        let bits = vec![7; length];
        let key = PublicKey::from_spki_der(&spki(&oid, &[], &bits)).unwrap();
        assert_eq!(key.algorithm(), Ok(algorithm));
        assert_eq!((key.key_bits(), key.weaknesses()), (bits.as_slice(), Vec::new()));

        let whole = spki(&oid, &[], &bits);
        for wrong in [&bits[1..], &[bits.as_slice(), &[7]].concat(), &[], &[7; 32], &whole] {
            let error = PublicKey::from_spki_der(&spki(&oid, &[], wrong)).unwrap_err();
            let expected = format!(
                "a key of the algorithm `{algorithm}` has {length} octets, this one has {} (RFC 9881, section 4)",
                wrong.len()
            );
            assert_eq!(error.detail(), expected);
        }
        let error = PublicKey::from_spki_der(&spki(&oid, &[5, 0], &bits)).unwrap_err();
        assert_eq!(error.detail(), format!("the key algorithm `{algorithm}` has no parameters (RFC 9881, section 2)"));
    }
}

#[test]
fn an_ml_dsa_signature_verifies_under_its_own_algorithm_and_message_only() {
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::signature::{KeyPair as _, ML_DSA_65_SIGNING, PqdsaKeyPair};

    let pair = PqdsaKeyPair::generate(&ML_DSA_65_SIGNING).unwrap();
    let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let key = PublicKey::from_spki_der(der.as_ref()).unwrap();
    let mut signature = vec![0; ML_DSA_65_SIGNING.signature_len()];
    pair.sign(b"message", &mut signature).unwrap();
    key.verify(SignatureAlgorithm::MlDsa65, b"message", &signature).unwrap();
    for algorithm in SignatureAlgorithm::ALL {
        let verified = key.verify(algorithm, b"message", &signature).is_ok();
        assert_eq!(verified, algorithm == SignatureAlgorithm::MlDsa65, "{algorithm}");
    }
    assert!(key.verify(SignatureAlgorithm::MlDsa65, b"another", &signature).is_err());
    for position in [0, signature.len() / 2, signature.len() - 1] {
        let mut tampered = signature.clone();
        tampered[position] ^= 1;
        assert!(key.verify(SignatureAlgorithm::MlDsa65, b"message", &tampered).is_err(), "{position}");
    }
    assert!(key.verify(SignatureAlgorithm::MlDsa65, b"message", &signature[1..]).is_err());
    assert!(key.verify(SignatureAlgorithm::MlDsa65, b"message", &[]).is_err());
}
