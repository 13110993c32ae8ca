//! The protected header (RFC 7515, section 4; RFC 8555, section 6.2): the parameters that are looked at.
//!
//! All others are ignored, addresses of keys (`jku`, `x5u`) and certificates above all.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::x509::json::{self, Object, Text};
use crate::x509::key::jwk::JsonWebKey;
use crate::x509::printable;

/// The most parameters that are ignored; no client sends half as many.
const MAXIMUM_UNKNOWN: usize = 16;

/// The parameters as they were sent.
#[derive(Debug, Default)]
pub(super) struct Header<'a> {
    algorithm: Option<Text<'a>>,
    /// The key.
    pub(super) jwk: Option<Object<JsonWebKey<'a>>>,
    /// The name of the key.
    pub(super) kid: Option<Text<'a>>,
    /// The nonce.
    pub(super) nonce: Option<Text<'a>>,
    /// The address.
    pub(super) url: Option<Text<'a>>,
}

impl<'a> Header<'a> {
    /// Reads a header.
    ///
    /// # Errors
    /// `Malformed`: not one JSON object, a parameter that is there twice or of the wrong type, `crit` or `b64`, which change how the rest is
    /// read (RFC 7515, section 4.1.11; RFC 7797).
    pub(super) fn parse(octets: &'a [u8]) -> Result<Self> {
        json::parse_object(octets, "the header of the JWS is not a header")
    }

    /// Returns the name of the algorithm.
    pub(super) fn algorithm(&self) -> Result<&str> {
        self.algorithm.as_deref().ok_or_else(|| Error::malformed("the header of the JWS has no `alg`"))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Header<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Parameters)
    }
}

struct Parameters;

impl<'de> Visitor<'de> for Parameters {
    type Value = Header<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header<'de>, A::Error> {
        let mut header = Header::default();
        let mut unknown: Vec<Text<'de>> = Vec::new();
        while let Some(name) = map.next_key::<Text<'de>>()? {
            match &*name {
                "alg" => once(&mut header.algorithm, "alg", &mut map)?,
                "jwk" => once(&mut header.jwk, "jwk", &mut map)?,
                "kid" => once(&mut header.kid, "kid", &mut map)?,
                "nonce" => once(&mut header.nonce, "nonce", &mut map)?,
                "url" => once(&mut header.url, "url", &mut map)?,
                "crit" => {
                    return Err(A::Error::custom("it has critical parameters (`crit`), none of which is known here"));
                }
                "b64" => return Err(A::Error::custom("it has `b64`, but payloads are always base64url here")),
                other if unknown.iter().any(|seen| &**seen == other) => {
                    return Err(A::Error::custom(format_args!("duplicate field `{}`", printable::text(other))));
                }
                _other if unknown.len() == MAXIMUM_UNKNOWN => {
                    return Err(A::Error::custom(format_args!(
                        "it has more than {MAXIMUM_UNKNOWN} unknown parameters"
                    )));
                }
                // Read as a value, so that how deep it may go is bounded.
                _other => {
                    drop(map.next_value::<Value>()?);
                    unknown.push(name);
                }
            }
        }
        Ok(header)
    }
}

/// Reads the value of a parameter that was not there before.
fn once<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    slot: &mut Option<T>,
    name: &'static str,
    map: &mut A,
) -> Result<(), A::Error> {
    if slot.is_some() {
        return Err(A::Error::duplicate_field(name));
    }
    *slot = Some(map.next_value()?);
    Ok(())
}
