//! The requests of ACME clients (RFC 8555, section 6.2): read strictly, and then verified.
//!
//! A [`VerifiedRequest`] comes from verification only, so what takes one need not ask whether it happened. That its nonce is one of ours and its
//! address that of the request is for the front door to see: both are texts here.

use super::account_key::{OfferedKey, bad_public_key};
use super::algorithm::JwsAlgorithm;
use super::envelope::{Envelope, base64url};
use super::header::Header;
use crate::error::{AcmeErrorType, Error, Result};
use crate::x509::PublicKey;
use crate::x509::json::Text;

/// Which key a request says it is signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyReference {
    /// The key itself.
    Jwk(OfferedKey),
    /// The address of the account that has it.
    Kid(String),
}

/// A request in the right form whose signature nobody has looked at yet.
#[derive(Clone, Debug)]
pub struct SignedRequest {
    algorithm: JwsAlgorithm,
    nonce: String,
    url: String,
    key: KeyReference,
    envelope: Envelope,
}

impl SignedRequest {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// - `malformed`: another serialisation than the flattened one, members or parameters that are missing, unknown, double or of the wrong
    ///   type, both of `jwk` and `kid` or neither, critical parameters, an empty signature, anything that is not base64url without padding;
    /// - `badSignatureAlgorithm`: an algorithm that is not accepted, or does not fit the key in `jwk`;
    /// - `badPublicKey`: a key of a kind that is not accepted;
    /// - `badNonce`: no nonce.
    pub fn parse(body: &[u8]) -> Result<Self> {
        let envelope = Envelope::parse(body)?;
        let header = Header::parse(&envelope.header)?;
        let algorithm = JwsAlgorithm::named(header.algorithm()?, JwsAlgorithm::ACME)?;
        envelope.require_signature()?;
        let key = match (header.jwk, header.kid) {
            (Some(jwk), None) => {
                let key = OfferedKey::from_json_web_key(&jwk.0)?;
                algorithm.check_key(key.public_key())?;
                KeyReference::Jwk(key)
            }
            (None, Some(kid)) => KeyReference::Kid(kid.into_owned()),
            (None, None) => {
                return Err(Error::malformed(
                    "the header of the JWS has neither `jwk` nor `kid`; one of them is needed (RFC 8555, section 6.2)",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(Error::malformed(
                    "the header of the JWS has both `jwk` and `kid`; they exclude each other (RFC 8555, section 6.2)",
                ));
            }
        };
        let nonce = nonce(header.nonce)?;
        let url = required_url(header.url)?;
        Ok(Self { algorithm, nonce, url, key, envelope })
    }

    /// Returns the algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> JwsAlgorithm {
        self.algorithm
    }

    /// Returns the nonce; it is base64url.
    #[must_use]
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Returns the address that the client meant.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns which key it says it is signed with.
    #[must_use]
    pub const fn key(&self) -> &KeyReference {
        &self.key
    }

    /// Verifies a request whose `kid` is the address of the account that has this key.
    ///
    /// # Errors
    /// `badSignatureAlgorithm`: the algorithm does not fit the key; `malformed`: the signature does not verify, or the request names no account. Of
    /// what kind the account's key is is not said: whoever asks may have no part in it.
    pub fn verify(self, key: &PublicKey) -> Result<VerifiedRequest> {
        match &self.key {
            KeyReference::Kid(_) => self.verified_with(key).map_err(|error| {
                if error.acme_token() == AcmeErrorType::BadSignatureAlgorithm.token() {
                    let detail = "the algorithm of the JWS is not one of the key of the account that `kid` names; the key may have been changed";
                    return Error::acme(AcmeErrorType::BadSignatureAlgorithm, detail).with_source(error);
                }
                Error::malformed(
                    "the signature of the JWS does not verify with the key of the account that `kid` names; the key may have been changed, and what \
                     is signed is `protected`, a dot and `payload`, as they are sent (RFC 7515, section 5.1)",
                )
                .with_source(error)
            }),
            KeyReference::Jwk(_) => Err(Error::malformed(
                "the header of the JWS has `jwk`; requests for this resource are signed for an account, which `kid` names",
            )),
        }
    }

    /// Verifies a request that carries its key.
    ///
    /// # Errors
    /// `malformed`: the signature does not verify, or the request carries no key; `badPublicKey`: nothing verifies with the key.
    pub fn verify_with_jwk(self) -> Result<VerifiedRequest> {
        match &self.key {
            KeyReference::Jwk(offered) => {
                let key = offered.public_key().clone();
                self.verified_with(&key).map_err(|error| unusable(&key, error))
            }
            KeyReference::Kid(_) => Err(Error::malformed(
                "the header of the JWS has `kid`; requests for this resource carry their key, which is `jwk`",
            )),
        }
    }

    fn verified_with(self, key: &PublicKey) -> Result<VerifiedRequest> {
        self.algorithm.verify(key, &self.envelope.signed, &self.envelope.signature)?;
        Ok(VerifiedRequest { nonce: self.nonce, url: self.url, key: self.key, payload: self.envelope.payload })
    }
}

/// A request whose signature was verified with the key it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRequest {
    nonce: String,
    url: String,
    key: KeyReference,
    payload: Vec<u8>,
}

impl VerifiedRequest {
    /// Returns the nonce.
    #[must_use]
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Returns the address that was signed.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the key, or the account, that signed it.
    #[must_use]
    pub const fn key(&self) -> &KeyReference {
        &self.key
    }

    /// Returns the payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Whether the request only reads: its payload is the empty text, not an empty object (RFC 8555, section 6.3).
    #[must_use]
    pub fn is_post_as_get(&self) -> bool {
        self.payload.is_empty()
    }

    /// Returns the key, or the account, and the payload.
    #[must_use]
    pub fn into_parts(self) -> (KeyReference, Vec<u8>) {
        (self.key, self.payload)
    }
}

/// RFC 8555, section 6.5.2: a nonce that is not base64url is `malformed`, so that only what may be cured by a new nonce is `badNonce`.
fn nonce(value: Option<Text<'_>>) -> Result<String> {
    match value {
        Some(text) if !text.is_empty() => {
            base64url(&"the `nonce` in the header of the JWS", &text)?;
            Ok(text.into_owned())
        }
        Some(_) | None => Err(Error::acme(
            AcmeErrorType::BadNonce,
            "the header of the JWS has no `nonce`; take one from the field `Replay-Nonce` of any answer",
        )),
    }
}

pub(super) fn required_url(value: Option<Text<'_>>) -> Result<String> {
    value.map(Text::into_owned).ok_or_else(|| {
        Error::malformed("the header of the JWS has no `url`, which is the address that the request is sent to")
    })
}

/// Says that a key is not acceptable where that is why nothing verifies with it.
pub(super) fn unusable(key: &PublicKey, error: Error) -> Error {
    match key.obvious_weaknesses().first() {
        Some(weakness) => bad_public_key(&weakness.message).with_source(error),
        None => error,
    }
}
