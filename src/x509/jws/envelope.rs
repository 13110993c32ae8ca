//! The three parts of a JWS: how they are written, and what is signed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};
use crate::x509::json::{self, Text};

/// The most characters of a protected header: two addresses of 2 KiB and an RSA key of 8192 bits leave half of it.
const PROTECTED_LIMIT: usize = 12 * 1024;
/// The most characters of a payload; what may be in it has its own limits.
const PAYLOAD_LIMIT: usize = 256 * 1024;
/// The most characters of a signature: one by an RSA key of 8192 bits has 1366.
const SIGNATURE_LIMIT: usize = 1366;

/// The flattened JSON serialisation (RFC 7515, section 7.2.2), without an unprotected header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FlattenedSignature {
    /// The protected header, base64url.
    pub protected: String,
    /// The payload, base64url.
    pub payload: String,
    /// The signature, base64url.
    pub signature: String,
}

/// An object of the three members, each once. Others are ignored (RFC 7515, section 7.2.1), except for those of other serialisations.
impl<'de> Deserialize<'de> for FlattenedSignature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts: Flattened<'de> = json::object(deserializer)?;
        Ok(Self {
            protected: parts.protected.into_owned(),
            payload: parts.payload.into_owned(),
            signature: parts.signature.into_owned(),
        })
    }
}

#[derive(Deserialize)]
struct Flattened<'a> {
    #[serde(borrow)]
    protected: Text<'a>,
    #[serde(borrow)]
    payload: Text<'a>,
    #[serde(borrow)]
    signature: Text<'a>,
    /// Nothing unprotected is taken (RFC 8555, section 6.2).
    #[serde(default, rename = "header", deserialize_with = "no_header")]
    _header: (),
    /// Nor several signatures.
    #[serde(default, rename = "signatures", deserialize_with = "no_signatures")]
    _signatures: (),
}

fn no_header<'de, D: Deserializer<'de>>(_deserializer: D) -> Result<(), D::Error> {
    Err(D::Error::custom("the member `header` is not accepted: everything is in `protected`"))
}

fn no_signatures<'de, D: Deserializer<'de>>(_deserializer: D) -> Result<(), D::Error> {
    Err(D::Error::custom("the member `signatures` is not accepted: there is one signature"))
}

/// A JWS whose parts have been decoded; nothing about it is verified.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    /// The octets of the header.
    pub(super) header: Vec<u8>,
    /// What is signed: header and payload as they were sent, with a dot between them.
    pub(super) signed: Vec<u8>,
    /// The octets of the payload.
    pub(super) payload: Vec<u8>,
    /// The octets of the signature or the MAC.
    pub(super) signature: Vec<u8>,
}

impl Envelope {
    /// Reads the flattened JSON serialisation.
    ///
    /// # Errors
    /// `Malformed`: see [`Envelope::decode`]; another serialisation (`signatures`), an unprotected header (`header`), a payload that is not
    /// there. Other members are ignored.
    pub(super) fn parse(octets: &[u8]) -> Result<Self> {
        let parts: Flattened<'_> = json::parse_object(
            octets,
            "not a JWS in the flattened JSON serialisation with `protected`, `payload` and `signature` (RFC 7515, section 7.2.2)",
        )?;
        Self::decode(&parts.protected, &parts.payload, &parts.signature)
    }

    /// Decodes the three parts.
    ///
    /// # Errors
    /// `Malformed`: a part that is too long or not base64url, which here means the one encoding without padding, an empty header.
    pub(super) fn decode(protected: &str, payload: &str, signature: &str) -> Result<Self> {
        let header = part("header", protected, PROTECTED_LIMIT)?;
        if header.is_empty() {
            return Err(Error::malformed("the JWS has no protected header"));
        }
        let signature = part("signature", signature, SIGNATURE_LIMIT)?;
        let decoded = part("payload", payload, PAYLOAD_LIMIT)?;
        let signed = [protected.as_bytes(), b".", payload.as_bytes()].concat();
        Ok(Self { header, signed, payload: decoded, signature })
    }

    /// Refuses an empty signature. Asked once the algorithm is known, so that `none`, which has an empty one, is refused for what it is.
    pub(super) fn require_signature(&self) -> Result<()> {
        if self.signature.is_empty() {
            return Err(Error::malformed("the JWS is not signed: its signature is empty"));
        }
        Ok(())
    }
}

fn part(what: &str, text: &str, limit: usize) -> Result<Vec<u8>> {
    if text.len() > limit {
        return Err(Error::malformed(format!(
            "the {what} of the JWS has {} characters; at most {limit} are accepted",
            text.len()
        )));
    }
    base64url(&format_args!("the {what} of the JWS"), text)
}

/// Decodes base64url without padding (RFC 7515, section 2), of which every octet string has exactly one.
pub(super) fn base64url(what: &dyn std::fmt::Display, text: &str) -> Result<Vec<u8>> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|error| Error::malformed(format!("{what} is not base64url without padding")).with_source(error))
}
