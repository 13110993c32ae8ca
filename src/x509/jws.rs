//! JSON Web Signatures (RFC 7515) that carry the key they are made with: what they prove is possession of that key, and nothing of who
//! has it.
//!
//! Tokens of callers are another thing and are in `auth/jwt`: there a key in the header is never believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::encoding;
use super::key::jwk::JsonWebKey;
use super::{KeyAlgorithm, PublicKey, SignatureAlgorithm};
use crate::error::{Error, Result};

/// A signature as it was sent.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(untagged, expecting = "expected a compact JWS or an object with `protected`, `payload` and `signature`")]
pub enum JsonWebSignature {
    /// The compact serialisation: header, payload and signature in base64url with dots between them.
    Compact(String),
    /// The flattened JSON serialisation.
    Flattened(FlattenedSignature),
}

/// The flattened JSON serialisation (RFC 7515, section 7.2.2), without an unprotected header.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FlattenedSignature {
    /// The protected header, base64url.
    pub protected: String,
    /// The payload, base64url.
    pub payload: String,
    /// The signature, base64url.
    pub signature: String,
}

/// A payload whose signature was verified with the key that came with it: holding one is proof of possession.
#[derive(Clone, Debug)]
pub struct VerifiedSignature {
    public_key: PublicKey,
    payload: Vec<u8>,
}

impl VerifiedSignature {
    /// Returns the key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Returns what was signed.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// The header parameters that are looked at; all others are ignored (RFC 7515, section 4), addresses of keys above all.
#[derive(Deserialize)]
struct Header {
    alg: String,
    jwk: Option<JsonWebKey>,
    kid: Option<IgnoredAny>,
    crit: Option<IgnoredAny>,
}

impl JsonWebSignature {
    /// Verifies the signature with the key in the protected header.
    ///
    /// # Errors
    /// `Malformed`: not a JWS, no `jwk` or one beside `kid`, critical parameters, an algorithm that is unknown or does not fit the key, a
    /// signature that does not verify.
    pub fn verify(&self) -> Result<VerifiedSignature> {
        let (protected, payload, signature) = self.parts()?;
        let header: Header = serde_json::from_slice(&decode("header", protected)?).map_err(|error| {
            Error::malformed(format!("the header of the JWS is not a header: {error}")).with_source(error)
        })?;
        if header.crit.is_some() {
            return Err(Error::malformed(
                "the header of the JWS has critical parameters (`crit`), none of which is known here",
            ));
        }
        let key = match (&header.jwk, &header.kid) {
            (Some(jwk), None) => jwk.public_key()?,
            (None, _) => {
                return Err(Error::malformed("the header of the JWS has no `jwk`, which is the key to verify it with"));
            }
            (Some(_), Some(_)) => {
                return Err(Error::malformed("the header of the JWS has `kid` beside `jwk`; leave out `kid`"));
            }
        };
        let (algorithm, signature) = fitting(&header.alg, &key, decode("signature", signature)?)?;
        let signed = [protected.as_bytes(), b".", payload.as_bytes()].concat();
        key.verify(algorithm, &signed, &signature)?;
        Ok(VerifiedSignature { public_key: key, payload: decode("payload", payload)? })
    }

    fn parts(&self) -> Result<(&str, &str, &str)> {
        match self {
            Self::Flattened(parts) => Ok((&parts.protected, &parts.payload, &parts.signature)),
            Self::Compact(text) => {
                let mut parts = text.trim_ascii().split('.');
                match (parts.next(), parts.next(), parts.next(), parts.next()) {
                    (Some(protected), Some(payload), Some(signature), None) => Ok((protected, payload, signature)),
                    _ => Err(Error::malformed("the JWS is not header, payload and signature with dots between them")),
                }
            }
        }
    }
}

/// Returns the algorithm of a name, and the signature in the form that X.509 has it in, when key, algorithm and signature fit (RFC 7518,
/// section 3.1; RFC 8037, section 3.1; RFC 9864).
fn fitting(name: &str, key: &PublicKey, signature: Vec<u8>) -> Result<(SignatureAlgorithm, Vec<u8>)> {
    let (algorithm, fits) = match name {
        "ES256" => (SignatureAlgorithm::EcdsaSha256, key.algorithm() == Ok(KeyAlgorithm::EcdsaP256)),
        "ES384" => (SignatureAlgorithm::EcdsaSha384, key.algorithm() == Ok(KeyAlgorithm::EcdsaP384)),
        "ES512" => (SignatureAlgorithm::EcdsaSha512, key.algorithm() == Ok(KeyAlgorithm::EcdsaP521)),
        "EdDSA" | "Ed25519" => (SignatureAlgorithm::Ed25519, key.algorithm() == Ok(KeyAlgorithm::Ed25519)),
        "RS256" => (SignatureAlgorithm::RsaSha256, matches!(key.algorithm(), Ok(KeyAlgorithm::Rsa(_)))),
        "RS384" => (SignatureAlgorithm::RsaSha384, matches!(key.algorithm(), Ok(KeyAlgorithm::Rsa(_)))),
        "RS512" => (SignatureAlgorithm::RsaSha512, matches!(key.algorithm(), Ok(KeyAlgorithm::Rsa(_)))),
        other => {
            let shown: String = other.chars().take(40).flat_map(char::escape_default).collect();
            return Err(Error::malformed(format!(
                "the algorithm `{shown}` of the JWS is not accepted; accepted are ES256, ES384, ES512, EdDSA, RS256, RS384, RS512"
            )));
        }
    };
    if !fits {
        return Err(Error::malformed(format!(
            "the algorithm `{name}` of the JWS does not fit its key, which is of the kind `{}`",
            key.algorithm_name()
        )));
    }
    match algorithm {
        SignatureAlgorithm::EcdsaSha256 => Ok((algorithm, ecdsa_der(&signature, 32)?)),
        SignatureAlgorithm::EcdsaSha384 => Ok((algorithm, ecdsa_der(&signature, 48)?)),
        SignatureAlgorithm::EcdsaSha512 => Ok((algorithm, ecdsa_der(&signature, 66)?)),
        _ => Ok((algorithm, signature)),
    }
}

/// Turns the two numbers one behind the other (RFC 7518, section 3.4) into an `ECDSA-Sig-Value` (RFC 3279, section 2.2.3).
fn ecdsa_der(signature: &[u8], length: usize) -> Result<Vec<u8>> {
    match signature.split_at_checked(length) {
        Some((r, s)) if s.len() == length => {
            Ok(encoding::sequence(&[&encoding::unsigned_octets(r), &encoding::unsigned_octets(s)]))
        }
        _ => Err(Error::malformed(format!(
            "the signature of the JWS has {} octets instead of {}",
            signature.len(),
            length.saturating_mul(2)
        ))),
    }
}

fn decode(what: &str, text: &str) -> Result<Vec<u8>> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|error| Error::malformed(format!("the {what} of the JWS is not base64url")).with_source(error))
}

#[cfg(test)]
mod tests;
