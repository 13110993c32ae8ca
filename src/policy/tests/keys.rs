//! Keys: listed or not, weak, blocked.

use super::support::{Case, Csr, ED25519, ML_DSA_65, P521, RSA};
use crate::x509::{CertificateRequest, KeyAlgorithm};

#[test]
fn every_listed_kind_of_key_passes() {
    for key in [&*ED25519, &*RSA] {
        Case::new(Csr::new().key(key).dns("app.internal")).approved();
    }
}

#[test]
fn refuses_a_key_that_is_not_listed() {
    let case = Case::new(Csr::new().key(&P521).dns("app.internal"));
    case.is_refused("key_not_allowed", "csr.public_key", "profiles.server.keys");
    let violation = case.violation();
    assert_eq!(violation.value, "ecdsa-p521");
    assert_eq!(
        violation.message,
        "a key of the kind `ecdsa-p521` is not allowed; allowed: `ecdsa-p256`, `ecdsa-p384`, `ed25519`, `rsa-2048`, `rsa-3072`, \
         `rsa-4096`"
    );
}

#[test]
fn post_quantum_keys_are_certified_where_a_profile_lists_them() {
    let case = Case::new(Csr::new().key(&ML_DSA_65).dns("app.internal"));
    case.is_refused("key_not_allowed", "csr.public_key", "profiles.server.keys");
    let listing = |keys: &'static [KeyAlgorithm]| {
        Case::new(Csr::new().key(&ML_DSA_65).dns("app.internal"))
            .profile("server", |profile| profile.keys = keys.to_vec())
    };
    listing(&[KeyAlgorithm::MlDsa65]).approved();
    listing(&[KeyAlgorithm::MlDsa44, KeyAlgorithm::MlDsa87]).is_refused(
        "key_not_allowed",
        "csr.public_key",
        "profiles.server.keys",
    );
}

#[test]
fn refuses_an_rsa_key_of_a_size_that_is_not_listed() {
    Case::new(Csr::new().key(&RSA).dns("app.internal"))
        .profile("server", |profile| profile.keys = vec![KeyAlgorithm::Rsa(3072), KeyAlgorithm::EcdsaP256])
        .is_refused("key_not_allowed", "csr.public_key", "profiles.server.keys");
}

#[test]
fn refuses_a_blocked_key() {
    let mut case = Case::new(Csr::new().dns("app.internal"));
    case.key_is_blocked = true;
    case.is_refused("key_blocked", "csr.public_key", "blocked_keys");
    assert_eq!(case.violation().value, hex::encode(case.request.public_key().spki_sha256()));
}

/// The requests were made with `openssl req -new -newkey rsa:1024 -nodes -subj / -addext subjectAltName=DNS:app.internal`
/// (and `-newkey rsa:2048 -pkeyopt rsa_keygen_pubexp:3`).
#[test]
fn refuses_weak_rsa_keys_by_their_weakness() {
    for (pem, code) in [
        (&include_bytes!("../../../tests/fixtures/csr/policy-rsa-1024.pem")[..], "key_too_small"),
        (&include_bytes!("../../../tests/fixtures/csr/policy-rsa-exponent-3.pem")[..], "key_exponent"),
    ] {
        let case = Case::of(CertificateRequest::parse(pem).unwrap());
        case.is_refused(code, "csr.public_key", "key_strength");
    }
}
