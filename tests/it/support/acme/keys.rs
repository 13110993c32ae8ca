//! Account keys of every algorithm, and JSON Web Signatures made with them: honest ones, and any others.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The algorithms that accounts may sign with.
pub(crate) const ALGORITHMS: [&str; 6] = ["ES256", "ES384", "ES512", "EdDSA", "Ed25519", "RS256"];

/// Encodes octets in base64url without padding.
pub(crate) fn base64url(octets: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

/// An account key.
pub(crate) struct AccountKey {
    algorithm: &'static str,
    jwk: Value,
    pair: Pair,
}

enum Pair {
    Elliptic(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl AccountKey {
    /// Makes a P-256 key.
    pub(crate) fn new() -> Self {
        Self::with_algorithm("ES256")
    }

    /// Makes a key that signs with one of [`ALGORITHMS`].
    pub(crate) fn with_algorithm(algorithm: &'static str) -> Self {
        match algorithm {
            "ES256" => Self::elliptic(algorithm, "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
            "ES384" => Self::elliptic(algorithm, "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
            "ES512" => Self::elliptic(algorithm, "P-521", &ECDSA_P521_SHA512_FIXED_SIGNING),
            "EdDSA" | "Ed25519" => {
                let pair = Ed25519KeyPair::generate().unwrap();
                let jwk = json!({"crv": "Ed25519", "kty": "OKP", "x": base64url(pair.public_key())});
                Self { algorithm, jwk, pair: Pair::Ed25519(pair) }
            }
            "RS256" => Self::rsa(KeySize::Rsa2048),
            other => panic!("no keys for {other}"),
        }
    }

    /// Takes a PKCS #8 key on P-256, such as that of a certificate.
    pub(crate) fn from_p256_pem(text: &str) -> Self {
        let (_label, der) = pem_rfc7468::decode_vec(text.as_bytes()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).unwrap();
        Self::of_elliptic_pair("ES256", "P-256", pair)
    }

    /// Makes an RSA key.
    pub(crate) fn rsa(size: KeySize) -> Self {
        let pair = RsaKeyPair::generate(size).unwrap();
        let number = |octets: &[u8]| base64url(octets.strip_prefix(&[0]).unwrap_or(octets));
        let jwk = json!({
            "e": number(pair.public_key().exponent().big_endian_without_leading_zero()),
            "kty": "RSA",
            "n": number(pair.public_key().modulus().big_endian_without_leading_zero()),
        });
        Self { algorithm: "RS256", jwk, pair: Pair::Rsa(pair) }
    }

    fn elliptic(algorithm: &'static str, curve: &str, signing: &'static EcdsaSigningAlgorithm) -> Self {
        Self::of_elliptic_pair(algorithm, curve, EcdsaKeyPair::generate(signing).unwrap())
    }

    fn of_elliptic_pair(algorithm: &'static str, curve: &str, pair: EcdsaKeyPair) -> Self {
        let point = &pair.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        let jwk = json!({"crv": curve, "kty": "EC", "x": base64url(x), "y": base64url(y)});
        Self { algorithm, jwk, pair: Pair::Elliptic(pair) }
    }

    /// The name of the algorithm it signs with.
    pub(crate) const fn algorithm(&self) -> &'static str {
        self.algorithm
    }

    /// The public key as JWK, its members in lexicographic order.
    pub(crate) const fn jwk(&self) -> &Value {
        &self.jwk
    }

    /// The private key, PKCS #8 DER, where other programs read it.
    pub(crate) fn to_pkcs8(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Elliptic(pair) => pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
            Pair::Rsa(pair) => {
                use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
                let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
                der.as_ref().to_vec()
            }
        }
    }

    /// The thumbprint (RFC 7638), base64url.
    pub(crate) fn thumbprint(&self) -> String {
        base64url(digest::digest(&digest::SHA256, self.jwk.to_string().as_bytes()))
    }

    /// The key authorization for a token (RFC 8555, section 8.1).
    pub(crate) fn authorize(&self, token: &str) -> String {
        format!("{token}.{}", self.thumbprint())
    }

    /// The value of the TXT record for a token (RFC 8555, section 8.4).
    pub(crate) fn txt_value(&self, token: &str) -> String {
        base64url(digest::digest(&digest::SHA256, self.authorize(token).as_bytes()))
    }

    /// Signs octets.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Elliptic(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// Signs a header, exactly as this text, and a payload: a flattened JWS.
    pub(crate) fn sign_jws(&self, header: &str, payload: &[u8]) -> Value {
        let (protected, payload) = (base64url(header), base64url(payload));
        let signature = base64url(self.sign(format!("{protected}.{payload}").as_bytes()));
        json!({"protected": protected, "payload": payload, "signature": signature})
    }
}

/// Makes a flattened JWS with a MAC (RFC 8555, section 7.3.4). The hash is that of `HS256`, `HS384` or `HS512` in `alg`, else SHA-256.
pub(crate) fn mac_jws(header: &Value, secret: &[u8], payload: &[u8]) -> Value {
    let algorithm = match header["alg"].as_str() {
        Some("HS384") => hmac::HMAC_SHA384,
        Some("HS512") => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    let (protected, payload) = (base64url(header.to_string()), base64url(payload));
    let mac = hmac::sign(&hmac::Key::new(algorithm, secret), format!("{protected}.{payload}").as_bytes());
    json!({"protected": protected, "payload": payload, "signature": base64url(mac)})
}

/// Decodes base64url without padding.
pub(crate) fn decode_base64url(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}
