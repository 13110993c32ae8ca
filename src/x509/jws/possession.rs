//! Signatures that carry the key they are made with: what they prove is possession of that key, and nothing of who has it.

use serde::Deserialize;

use super::FlattenedSignature;
use super::algorithm::JwsAlgorithm;
use super::envelope::Envelope;
use super::header::Header;
use crate::error::{Error, Result};
use crate::x509::PublicKey;

/// A signature as it was sent.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(untagged, expecting = "expected a compact JWS or an object with `protected`, `payload` and `signature`")]
pub enum JsonWebSignature {
    /// The compact serialisation: header, payload and signature in base64url with dots between them.
    Compact(String),
    /// The flattened JSON serialisation.
    Flattened(FlattenedSignature),
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

impl JsonWebSignature {
    /// Verifies the signature with the key in the protected header.
    ///
    /// # Errors
    /// `Malformed`: not a JWS, no `jwk` or one beside `kid`, critical parameters, an algorithm that is unknown or does not fit the key, a
    /// signature that does not verify.
    pub fn verify(&self) -> Result<VerifiedSignature> {
        let envelope = self.envelope()?;
        let header = Header::parse(&envelope.header)?;
        let algorithm = JwsAlgorithm::named(header.algorithm()?, JwsAlgorithm::POSSESSION)?;
        envelope.require_signature()?;
        let public_key = match (&header.jwk, &header.kid) {
            (Some(jwk), None) => jwk.0.public_key()?,
            (None, _) => {
                return Err(Error::malformed("the header of the JWS has no `jwk`, which is the key to verify it with"));
            }
            (Some(_), Some(_)) => {
                return Err(Error::malformed("the header of the JWS has `kid` beside `jwk`; leave out `kid`"));
            }
        };
        algorithm.verify(&public_key, &envelope.signed, &envelope.signature)?;
        Ok(VerifiedSignature { public_key, payload: envelope.payload })
    }

    fn envelope(&self) -> Result<Envelope> {
        match self {
            Self::Flattened(parts) => Envelope::decode(&parts.protected, &parts.payload, &parts.signature),
            Self::Compact(text) => {
                let mut parts = text.trim_ascii().split('.');
                match (parts.next(), parts.next(), parts.next(), parts.next()) {
                    (Some(protected), Some(payload), Some(signature), None) => {
                        Envelope::decode(protected, payload, signature)
                    }
                    _ => Err(Error::malformed("the JWS is not header, payload and signature with dots between them")),
                }
            }
        }
    }
}
