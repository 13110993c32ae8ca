//! The floor of issuance: one verification of the CSR's signature and one signature by the issuer, with the library that the service uses.
//!
//! It is measured on all processors at once, as they are busy under load: two that share a core are slower together than alone.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

use crate::machine::thread_time;
use crate::requests::KeyType;

/// How often each is done: often enough that the clock's steps do not show.
const ROUNDS: usize = 10_000;

/// Measures the floor for CSRs of a key type under a P-256 issuer: CPU time of each.
pub(crate) fn measure(key_type: KeyType) -> Duration {
    let der = key_type.generator().csr("floor.bench.internal");
    let (_, request) = X509CertificationRequest::from_der(&der).expect("a CSR");
    let signed = request.certification_request_info.raw.to_vec();
    let signature = request.signature_value.data.to_vec();
    let key = request.certification_request_info.subject_pki.subject_public_key.data.to_vec();
    let algorithm: &dyn VerificationAlgorithm = match key_type {
        KeyType::P256 => &signature::ECDSA_P256_SHA256_ASN1,
        KeyType::P384 => &signature::ECDSA_P384_SHA384_ASN1,
        KeyType::Ed25519 => &signature::ED25519,
        KeyType::Rsa2048 => &signature::RSA_PKCS1_2048_8192_SHA256,
    };
    let issuer = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
    let work = || {
        let random = SystemRandom::new();
        let began = thread_time();
        for _ in 0..ROUNDS {
            UnparsedPublicKey::new(algorithm, &key).verify(&signed, &signature).expect("an honest signature");
            // As long as a certificate without its signature.
            std::hint::black_box(issuer.sign(&random, &[0x30; 480]).expect("a signature"));
        }
        thread_time() - began
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let total: Duration = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread ends well")).sum()
    });
    total / u32::try_from(ROUNDS * threads).expect("a small number")
}
