//! The inner JWS of a key change (RFC 8555, section 7.3.5): the new key says that it is to take the place of the old one.

use serde::Deserialize;

use super::account_key::{AccountKey, OfferedKey};
use super::algorithm::JwsAlgorithm;
use super::envelope::Envelope;
use super::header::Header;
use super::request::{required_url, unusable};
use crate::error::{Error, Result};
use crate::x509::json::{self, Object, Text};
use crate::x509::key::jwk::JsonWebKey;

/// A change of keys that the new key has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    account: String,
    old_key: OfferedKey,
    new_key: OfferedKey,
}

/// What the new key signs. Members that are not known are ignored, as in all of ACME's objects.
#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    account: Text<'a>,
    #[serde(borrow, rename = "oldKey")]
    old_key: Object<JsonWebKey<'a>>,
}

impl KeyChange {
    /// Reads and verifies the inner JWS, which is the payload of a request to the address `outer_url`.
    ///
    /// # Errors
    /// `malformed`: not a JWS as [`super::SignedRequest::parse`] takes them, with `jwk`, without `kid` and `nonce`, for the same address; a
    /// signature that does not verify; a payload without `account` and `oldKey`. `badSignatureAlgorithm`, `badPublicKey`: of the new key.
    pub fn verify(payload: &[u8], outer_url: &str) -> Result<Self> {
        let envelope = Envelope::parse(payload).map_err(inner)?;
        let header = Header::parse(&envelope.header).map_err(inner)?;
        let algorithm = JwsAlgorithm::named(header.algorithm().map_err(inner)?, JwsAlgorithm::ACME)?;
        envelope.require_signature().map_err(inner)?;
        let new_key = match (&header.jwk, &header.kid) {
            (Some(jwk), None) => OfferedKey::from_json_web_key(&jwk.0)?,
            (None, _) => {
                return Err(Error::malformed("the inner JWS of the key change has no `jwk`, which is the new key"));
            }
            (Some(_), Some(_)) => {
                return Err(Error::malformed(
                    "the inner JWS of the key change has `kid` beside `jwk`; leave out `kid`",
                ));
            }
        };
        if header.nonce.is_some() {
            return Err(Error::malformed(
                "the inner JWS of the key change has a `nonce`; it must not (RFC 8555, section 7.3.5)",
            ));
        }
        let url = required_url(header.url).map_err(inner)?;
        algorithm
            .verify(new_key.public_key(), &envelope.signed, &envelope.signature)
            .map_err(|error| unusable(new_key.public_key(), inner(error)))?;
        if url != outer_url {
            return Err(Error::malformed(
                "the `url` of the inner JWS of the key change is not that of the request around it",
            ));
        }
        let Payload { account, old_key } =
            json::parse_object(&envelope.payload, "the payload of the inner JWS is not a key change")?;
        let old_key = OfferedKey::from_json_web_key(&old_key.0).map_err(|error| {
            Error::malformed(format!("`oldKey` of the key change is no key: {}", error.detail())).with_source(error)
        })?;
        Ok(Self { account: account.into_owned(), old_key, new_key })
    }

    /// Returns the new key for the account whose address and key signed the request around it.
    ///
    /// # Errors
    /// `malformed`: the change is meant for another account or another key, or the new key is the old one; `badPublicKey`: the new key is weak.
    pub fn for_account(self, account_url: &str, current: &AccountKey) -> Result<AccountKey> {
        if self.account != account_url {
            return Err(Error::malformed(
                "`account` of the key change is not the account that signed the request around it",
            ));
        }
        if !current.is(&self.old_key) {
            return Err(Error::malformed("`oldKey` of the key change is not the key that the account has"));
        }
        if current.is(&self.new_key) {
            return Err(Error::malformed("the new key of the key change is the key that the account has already"));
        }
        self.new_key.into_account_key()
    }
}

/// Says which of the two JWS is meant; the ACME type stays.
fn inner(error: Error) -> Error {
    let detail = format!("in the inner JWS of the key change: {}", error.detail());
    let outer = Error::new(error.kind(), detail);
    let outer = match error.acme_error() {
        Some(acme) => outer.with_acme(acme.clone()),
        None => outer,
    };
    outer.with_source(error)
}
