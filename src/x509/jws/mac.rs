//! The inner JWS of an external account binding (RFC 8555, section 7.3.4): a MAC over the account key, under a key that the operator gave out.

use aws_lc_rs::hmac;

use super::FlattenedSignature;
use super::account_key::{AccountKey, OfferedKey};
use super::algorithm::unsupported;
use super::envelope::Envelope;
use super::header::Header;
use super::request::required_url;
use crate::error::{AcmeErrorType, Error, Result};
use crate::x509::printable;

/// The least octets of a key (RFC 7518, section 3.2, for HS256). Keys of 64 octets suit every algorithm.
const MINIMUM_KEY: usize = 32;

/// A binding in the right form whose MAC nobody has looked at yet.
#[derive(Debug)]
pub struct MacRequest {
    algorithm: hmac::Algorithm,
    key_id: String,
    url: String,
    envelope: Envelope,
}

/// A binding whose MAC, address and account key were verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedBinding {
    key_id: String,
}

impl VerifiedBinding {
    /// Returns the id of the key it was made with.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }
}

impl MacRequest {
    /// The names of the algorithms that are accepted.
    pub const ALGORITHMS: &'static [&'static str] = &["HS256", "HS384", "HS512"];

    /// Reads the value of `externalAccountBinding`.
    ///
    /// # Errors
    /// `malformed`: not a JWS with `kid` and `url` and without `nonce` and `jwk`; `badSignatureAlgorithm`: another algorithm than HMAC with
    /// SHA-2.
    pub fn parse(jws: &FlattenedSignature) -> Result<Self> {
        let envelope = Envelope::decode(&jws.protected, &jws.payload, &jws.signature).map_err(binding)?;
        let header = Header::parse(&envelope.header).map_err(binding)?;
        let algorithm = match header.algorithm().map_err(binding)? {
            "HS256" => hmac::HMAC_SHA256,
            "HS384" => hmac::HMAC_SHA384,
            "HS512" => hmac::HMAC_SHA512,
            other => {
                let message = format!(
                    "the algorithm `{}` of the external account binding is not accepted; accepted are {}",
                    printable::text(other),
                    Self::ALGORITHMS.join(", ")
                );
                return Err(unsupported(message, Self::ALGORITHMS));
            }
        };
        envelope.require_signature().map_err(binding)?;
        if header.jwk.is_some() {
            return Err(Error::malformed(
                "the header of the external account binding has `jwk`; its key is named by `kid` and the account key is its payload",
            ));
        }
        if header.nonce.is_some() {
            return Err(Error::malformed(
                "the header of the external account binding has a `nonce`; it must not (RFC 8555, section 7.3.4)",
            ));
        }
        let Some(key_id) = header.kid.filter(|kid| !kid.is_empty()) else {
            return Err(Error::malformed(
                "the header of the external account binding has no `kid`, which is the id of the key it is made with",
            ));
        };
        let (key_id, url) = (key_id.into_owned(), required_url(header.url).map_err(binding)?);
        Ok(Self { algorithm, key_id, url, envelope })
    }

    /// Returns the id of the key that it says it is made with.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Verifies the MAC, in constant time, and that it binds this account key through a request to this address.
    ///
    /// # Errors
    /// `unauthorized`: the MAC is not that of the key; `malformed`: it is for another address or another account key; `Internal`: the key is
    /// too short to be one of ours.
    pub fn verify(self, key: &[u8], outer_url: &str, account_key: &AccountKey) -> Result<VerifiedBinding> {
        if key.len() < MINIMUM_KEY {
            return Err(Error::internal(format!(
                "a key for external account bindings has {} octets, fewer than {MINIMUM_KEY}",
                key.len()
            )));
        }
        let key = hmac::Key::new(self.algorithm, key);
        hmac::verify(&key, &self.envelope.signed, &self.envelope.signature).map_err(|error| {
            Error::acme(
                AcmeErrorType::Unauthorized,
                "the MAC of the external account binding is not that of its key; check the key id and the HMAC key",
            )
            .with_source(error)
        })?;
        if self.url != outer_url {
            return Err(Error::malformed(
                "the `url` of the external account binding is not that of the request around it",
            ));
        }
        let bound = OfferedKey::from_jwk(&self.envelope.payload).map_err(|error| {
            Error::malformed(format!("the payload of the external account binding is no key: {}", error.detail()))
                .with_source(error)
        })?;
        if !account_key.is(&bound) {
            return Err(Error::malformed(
                "the payload of the external account binding is not the key that signed the request around it",
            ));
        }
        Ok(VerifiedBinding { key_id: self.key_id })
    }
}

/// Says which of the two JWS is meant.
fn binding(error: Error) -> Error {
    Error::malformed(format!("in the external account binding: {}", error.detail())).with_source(error)
}
