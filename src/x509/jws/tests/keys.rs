//! Key pairs of every kind, and requests signed with them.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::super::{AccountKey, OfferedKey};

pub(super) fn base64(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

/// Signs a message.
pub(super) type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// A key pair with its JSON Web Key and its `SubjectPublicKeyInfo`.
pub(super) struct Key {
    pub(super) jwk: Value,
    pub(super) spki: Vec<u8>,
    pub(super) sign: Sign,
}

pub(super) fn elliptic(algorithm: &'static EcdsaSigningAlgorithm, curve: &str) -> Key {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let point = pair.public_key().as_ref()[1..].to_vec();
    let (x, y) = point.split_at(point.len() / 2);
    let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Key {
        jwk: json!({"kty": "EC", "crv": curve, "x": base64(x), "y": base64(y), "use": "sig"}),
        spki: der.as_ref().to_vec(),
        sign: Box::new(move |message| pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()),
    }
}

pub(super) fn p256() -> Key {
    elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256")
}

pub(super) fn ed25519() -> Key {
    let pair = Ed25519KeyPair::generate().unwrap();
    let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Key {
        jwk: json!({"kty": "OKP", "crv": "Ed25519", "x": base64(pair.public_key().as_ref())}),
        spki: der.as_ref().to_vec(),
        sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()),
    }
}

pub(super) fn rsa(encoding: &'static aws_lc_rs::signature::RsaSignatureEncoding) -> Key {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public = pair.public_key();
    let number = |octets: &[u8]| base64(octets.strip_prefix(&[0]).unwrap_or(octets));
    let der: PublicKeyX509Der<'_> = public.as_der().unwrap();
    Key {
        jwk: json!({
            "kty": "RSA",
            "n": number(public.modulus().big_endian_without_leading_zero()),
            "e": number(public.exponent().big_endian_without_leading_zero()),
        }),
        spki: der.as_ref().to_vec(),
        sign: Box::new(move |message| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        }),
    }
}

/// A key pair for each algorithm that ACME takes.
pub(super) fn every() -> Vec<(&'static str, Key)> {
    vec![
        ("ES256", p256()),
        ("ES384", elliptic(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384")),
        ("ES512", elliptic(&ECDSA_P521_SHA512_FIXED_SIGNING, "P-521")),
        ("EdDSA", ed25519()),
        ("Ed25519", ed25519()),
        ("RS256", rsa(&RSA_PKCS1_SHA256)),
    ]
}

impl Key {
    pub(super) fn offered(&self) -> OfferedKey {
        OfferedKey::from_jwk(self.jwk.to_string().as_bytes()).unwrap()
    }

    pub(super) fn account_key(&self) -> AccountKey {
        self.offered().into_account_key().unwrap()
    }

    /// Signs a header and a payload as a flattened JWS.
    pub(super) fn flattened(&self, header: &Value, payload: &[u8]) -> Value {
        let (protected, payload) = (base64(header.to_string().as_bytes()), base64(payload));
        let signature = base64(&(self.sign)(format!("{protected}.{payload}").as_bytes()));
        json!({"protected": protected, "payload": payload, "signature": signature})
    }

    /// The same as octets.
    pub(super) fn request(&self, header: &Value, payload: &[u8]) -> Vec<u8> {
        self.flattened(header, payload).to_string().into_bytes()
    }
}

/// Sets a member, or removes it when the value is null.
pub(super) fn with(object: &Value, name: &str, value: Value) -> Value {
    let mut changed = object.clone();
    let members = changed.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
    changed
}
