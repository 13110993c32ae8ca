//! For tests of this folder: a clock that is set, records in memory, and key pairs that sign tokens.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use async_trait::async_trait;
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::records::CredentialRecords;
use crate::environment::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{CertificateRecord, TokenRecord};
use crate::x509::SerialNumber;

/// A clock that stands still until it is set.
#[derive(Debug)]
pub(crate) struct SetClock(AtomicI64);

impl SetClock {
    pub(crate) fn at(unix_seconds: i64) -> Self {
        Self(AtomicI64::new(unix_seconds * 1000))
    }

    pub(crate) fn set(&self, unix_seconds: i64) {
        self.0.store(unix_seconds * 1000, Ordering::Release);
    }
}

impl Clock for SetClock {
    fn unix_milliseconds(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Records in memory.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) tokens: Mutex<HashMap<[u8; 32], TokenRecord>>,
    pub(crate) certificates: Mutex<Vec<CertificateRecord>>,
    pub(crate) fails: AtomicBool,
    asked: AtomicUsize,
}

impl Records {
    /// Returns how often anything was looked up.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn ask(&self) -> Result<()> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.fails.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "the database is away"));
        }
        Ok(())
    }
}

#[async_trait]
impl CredentialRecords for Records {
    async fn token(&self, secret_sha256: &[u8; 32]) -> Result<Option<TokenRecord>> {
        self.ask()?;
        Ok(self.tokens.lock().unwrap().get(secret_sha256).cloned())
    }

    async fn certificates(&self, serial: &SerialNumber) -> Result<Vec<CertificateRecord>> {
        self.ask()?;
        let certificates = self.certificates.lock().unwrap();
        Ok(certificates.iter().filter(|record| record.serial == *serial).cloned().collect())
    }
}

/// A key pair of a token issuer.
pub(crate) enum TokenKey {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl TokenKey {
    pub(crate) fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn p384() -> Self {
        Self::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    /// Signs as this algorithm says, which need not be one of this key's.
    pub(crate) fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) | Self::P384(key) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let padding: &dyn aws_lc_rs::signature::RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                key.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// Makes a token with this header and these claims.
    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let signature = self.sign(header["alg"].as_str().unwrap_or_default(), signed.as_bytes());
        format!("{signed}.{}", encode(&signature))
    }

    /// Returns the public key as a JWK, without `alg` and `use`.
    pub(crate) fn jwk(&self, id: Option<&str>) -> Value {
        let mut jwk = match self {
            Self::P256(key) => ec("P-256", key.public_key().as_ref()),
            Self::P384(key) => ec("P-384", key.public_key().as_ref()),
            Self::Ed25519(key) => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref())}),
            Self::Rsa(key) => json!({
                "kty": "RSA",
                "n": encode(key.public_key().modulus().big_endian_without_leading_zero()),
                "e": encode(key.public_key().exponent().big_endian_without_leading_zero()),
            }),
        };
        if let Some(id) = id {
            jwk["kid"] = json!(id);
        }
        jwk
    }

    /// Returns the public key as `SubjectPublicKeyInfo`, DER.
    pub(crate) fn spki(&self) -> Vec<u8> {
        let der = |der: PublicKeyX509Der<'_>| der.as_ref().to_vec();
        match self {
            Self::P256(key) | Self::P384(key) => der(key.public_key().as_der().unwrap()),
            Self::Ed25519(key) => der(key.public_key().as_der().unwrap()),
            Self::Rsa(key) => der(key.public_key().as_der().unwrap()),
        }
    }

    /// Returns the public key as PEM.
    pub(crate) fn pem(&self) -> String {
        crate::x509::pem::encode("PUBLIC KEY", &self.spki())
    }
}

/// Encodes base64url without padding.
pub(crate) fn encode(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

fn ec(curve: &str, point: &[u8]) -> Value {
    let (x, y) = point[1..].split_at((point.len() - 1) / 2);
    json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
}
