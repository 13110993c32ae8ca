//! Tests of ML-DSA keys in the three forms of RFC 9881, section 6, against keys that OpenSSL derived from the same seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use aws_lc_rs::encoding::AsRawBytes as _;
use aws_lc_rs::signature::{
    ML_DSA_44_SIGNING, ML_DSA_65_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair, PqdsaSigningAlgorithm,
};
use der::asn1::OctetStringRef;
use der::{Encode as _, Tag, TagNumber};
use pkcs8::{AlgorithmIdentifierRef, ObjectIdentifier, PrivateKeyInfo};
use secrecy::SecretString;

use super::software::SoftwareSigner;
use super::{Signer as _, file, generate};
use crate::x509::{KeyAlgorithm, SignatureAlgorithm};

struct Kind {
    algorithm: KeyAlgorithm,
    signature: SignatureAlgorithm,
    signing: &'static PqdsaSigningAlgorithm,
    oid: ObjectIdentifier,
    /// The SHA-256 of the `SubjectPublicKeyInfo` that OpenSSL 4.0 makes of the seed 00 01 02 .. 1f, the one of RFC 9881, appendix C.
    public_key: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind {
        algorithm: KeyAlgorithm::MlDsa44,
        signature: SignatureAlgorithm::MlDsa44,
        signing: &ML_DSA_44_SIGNING,
        oid: ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17"),
        public_key: "837832708c5236d951581f1fddf2b79991b3424a0486d16da1ddad0fd69701be",
    },
    Kind {
        algorithm: KeyAlgorithm::MlDsa65,
        signature: SignatureAlgorithm::MlDsa65,
        signing: &ML_DSA_65_SIGNING,
        oid: ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18"),
        public_key: "b8b62131bfbe84433efb2273d7f5b87f7a22854a2cfd366fc2aead86d837c52d",
    },
    Kind {
        algorithm: KeyAlgorithm::MlDsa87,
        signature: SignatureAlgorithm::MlDsa87,
        signing: &ML_DSA_87_SIGNING,
        oid: ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19"),
        public_key: "07e57c4f14dbad1267f621ec3777b4e2e6c4fbc4c22fbb87510ff8e0b3c6a642",
    },
];

fn seed(first: u8) -> Vec<u8> {
    (first..first + 32).collect()
}

/// A DER value with a tag.
fn tagged(tag: Tag, content: &[u8]) -> Vec<u8> {
    let mut out = der::Header::new(tag, content.len()).unwrap().to_der().unwrap();
    out.extend_from_slice(content);
    out
}

/// `seed [0] IMPLICIT OCTET STRING`.
fn seed_form(seed: &[u8]) -> Vec<u8> {
    tagged(Tag::ContextSpecific { constructed: false, number: TagNumber::N0 }, seed)
}

/// `expandedKey OCTET STRING`.
fn expanded_form(kind: &Kind, seed: &[u8]) -> Vec<u8> {
    let pair = PqdsaKeyPair::from_seed(kind.signing, seed).unwrap();
    let raw = pair.private_key().as_raw_bytes().unwrap();
    OctetStringRef::new(raw.as_ref()).unwrap().to_der().unwrap()
}

/// `both SEQUENCE { seed OCTET STRING, expandedKey OCTET STRING }`.
fn both_form(seed: &[u8], expanded_form: &[u8]) -> Vec<u8> {
    tagged(Tag::Sequence, &[OctetStringRef::new(seed).unwrap().to_der().unwrap().as_slice(), expanded_form].concat())
}

fn pkcs8(kind: &Kind, private_key: &[u8]) -> Vec<u8> {
    let algorithm = AlgorithmIdentifierRef { oid: kind.oid, parameters: None };
    PrivateKeyInfo::new(algorithm, private_key).to_der().unwrap()
}

#[test]
fn the_three_forms_are_one_key_and_the_one_that_openssl_derives() {
    for kind in KINDS {
        let expanded = expanded_form(&kind, &seed(0));
        for form in [seed_form(&seed(0)), expanded.clone(), both_form(&seed(0), &expanded)] {
            let signer = SoftwareSigner::from_pkcs8_der(&pkcs8(&kind, &form)).unwrap();
            assert_eq!(hex::encode(signer.public_key().spki_sha256()), kind.public_key, "{}", kind.algorithm);
            assert_eq!(signer.public_key().algorithm(), Ok(kind.algorithm));
            assert_eq!(signer.signature_algorithm(), kind.signature);
            assert!(!signer.signs_in_line());
            assert_eq!(format!("{signer:?}"), format!("SoftwareSigner({})", kind.algorithm));
            let signature = signer.sign(b"to be signed").unwrap();
            signer.public_key().verify(kind.signature, b"to be signed", &signature).unwrap();
            assert!(signer.public_key().verify(kind.signature, b"something else", &signature).is_err());
        }
    }
}

#[test]
fn forms_that_contradict_themselves_or_are_damaged_are_refused() {
    for (position, kind) in KINDS.iter().enumerate() {
        let expanded = expanded_form(kind, &seed(0));
        let another = &KINDS[(position + 1) % KINDS.len()];
        for (what, form) in [
            ("a seed and the key of another", both_form(&seed(1), &expanded)),
            ("a short seed", seed_form(&seed(0)[1..])),
            ("a long seed", seed_form(&[seed(0), vec![0]].concat())),
            ("no seed", seed_form(&[])),
            ("a short expanded key", tagged(Tag::OctetString, &expanded[5..])),
            ("the expanded key of another algorithm", expanded_form(another, &seed(0))),
            ("nothing", Vec::new()),
            ("the bare seed", seed(0)),
        ] {
            let error = SoftwareSigner::from_pkcs8_der(&pkcs8(kind, &form)).expect_err(what);
            assert!(error.detail().starts_with("the private key is not valid"), "{what}: {error}");
        }
        let der = pkcs8(kind, &seed_form(&seed(0)));
        for length in 0..der.len() {
            assert!(SoftwareSigner::from_pkcs8_der(&der[..length]).is_err());
        }
    }
}

#[test]
fn a_new_key_is_written_as_its_seed_and_read_again_from_an_encrypted_file() {
    let passphrase = SecretString::from("correct horse battery");
    for kind in KINDS {
        let der = generate::generate_pkcs8(kind.algorithm).unwrap();
        let info = PrivateKeyInfo::try_from(der.as_slice()).unwrap();
        assert_eq!((info.private_key.len(), &info.private_key[..2]), (34, &[0x80, 32][..]), "[0] and 32 octets");
        assert_eq!(*der, pkcs8(&kind, info.private_key));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        file::write_encrypted(&path, &der, &passphrase).unwrap();
        let read = file::read(&path, Some(&passphrase)).unwrap();
        assert_eq!(read, der);
    }
}
