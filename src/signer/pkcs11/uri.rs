//! The names of keys on tokens: PKCS #11 URIs (RFC 7512), of which the attributes that find a private key are understood.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// What every such URI begins with.
const SCHEME: &str = "pkcs11:";

/// The longest URI that is read, in octets.
const LONGEST: usize = 1024;

/// The name of a private key on a token: `pkcs11:token=...;serial=...;id=%01%02;object=...;type=private`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyUri {
    /// The token's label.
    pub token: Option<String>,
    /// The token's serial number.
    pub serial: Option<String>,
    /// `CKA_ID`.
    pub id: Option<Vec<u8>>,
    /// `CKA_LABEL`.
    pub object: Option<String>,
}

impl FromStr for KeyUri {
    type Err = Error;

    /// Reads a URI. Attributes that would have to be compared and are not understood are refused: ignoring one could find another key.
    fn from_str(text: &str) -> Result<Self> {
        if text.len() > LONGEST {
            return Err(refused(format!("is longer than {LONGEST} octets")));
        }
        let path = text.strip_prefix(SCHEME).ok_or_else(|| refused("does not begin with `pkcs11:`".to_owned()))?;
        if path.contains('?') {
            // RFC 7512, section 2.4: PINs and modules stand there.
            return Err(refused("has a query part; the module and the PIN belong into the configuration".to_owned()));
        }
        let mut uri = Self::default();
        let mut is_private = false;
        for attribute in path.split(';') {
            let (name, value) =
                attribute.split_once('=').ok_or_else(|| refused(format!("has the part `{attribute}` without `=`")))?;
            let octets = decode(value)?;
            let again = match name {
                "token" => uri.token.replace(utf8(name, octets)?).is_some(),
                "serial" => uri.serial.replace(utf8(name, octets)?).is_some(),
                "object" => uri.object.replace(utf8(name, octets)?).is_some(),
                "id" => uri.id.replace(octets).is_some(),
                "type" if octets == b"private" => std::mem::replace(&mut is_private, true),
                "type" => return Err(refused("names no private key: `type` must be `private`".to_owned())),
                _ => {
                    return Err(refused(format!(
                        "has the attribute `{name}`; accepted are `token`, `serial`, `id`, `object` and `type`"
                    )));
                }
            };
            if again {
                return Err(refused(format!("has the attribute `{name}` twice")));
            }
        }
        if uri.id.as_ref().is_none_or(Vec::is_empty) && uri.object.as_ref().is_none_or(String::is_empty) {
            return Err(refused("names no key: `id` or `object` is needed".to_owned()));
        }
        Ok(uri)
    }
}

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        let text = |value: &Option<String>| value.as_ref().map(|value| encode(value.as_bytes(), false));
        let attributes = [
            ("token", text(&self.token)),
            ("serial", text(&self.serial)),
            // RFC 7512, section 2.3: every octet of an id is percent-encoded.
            ("id", self.id.as_ref().map(|id| encode(id, true))),
            ("object", text(&self.object)),
        ];
        for (name, value) in attributes {
            if let Some(value) = value {
                write!(f, "{name}={value};")?;
            }
        }
        f.write_str("type=private")
    }
}

fn refused(why: String) -> Error {
    Error::malformed(format!("a PKCS #11 URI (RFC 7512) {why}"))
}

fn utf8(name: &str, octets: Vec<u8>) -> Result<String> {
    String::from_utf8(octets)
        .map_err(|error| refused(format!("has an attribute `{name}` that is not UTF-8")).with_source(error))
}

/// Undoes percent-encoding (RFC 3986, section 2.1).
fn decode(text: &str) -> Result<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            if !is_plain(octet) {
                return Err(refused(format!(
                    "has the character `{}` where it must be percent-encoded",
                    char::from(octet).escape_debug()
                )));
            }
            octets.push(octet);
            continue;
        }
        let digit = |octet: Option<u8>| octet.and_then(|octet| char::from(octet).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err(refused("has a `%` without two hex digits".to_owned()));
        };
        octets.push(u8::try_from(high * 16 + low).unwrap_or(u8::MAX));
    }
    Ok(octets)
}

fn encode(octets: &[u8], every: bool) -> String {
    let mut text = String::with_capacity(octets.len().saturating_mul(3));
    for octet in octets {
        if !every && is_unreserved(*octet) {
            text.push(char::from(*octet));
        } else {
            text.push('%');
            text.push_str(&hex::encode_upper([*octet]));
        }
    }
    text
}

/// RFC 3986, section 2.3.
const fn is_unreserved(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~')
}

/// RFC 7512, section 2.3: `pk11-pchar` but for the percent sign.
const fn is_plain(octet: u8) -> bool {
    is_unreserved(octet)
        || matches!(
            octet,
            b':' | b'[' | b']' | b'@' | b'!' | b'$' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b'&' | b'/'
        )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_uri_is_written_as_the_rfc_says() {
        let uri = KeyUri {
            token: Some("The Software PKCS#11 softtoken".to_owned()),
            serial: Some("4a/1".to_owned()),
            id: Some(vec![0, 0x61, 0xff]),
            object: Some("issuing.2".to_owned()),
        };
        let text = "pkcs11:token=The%20Software%20PKCS%2311%20softtoken;serial=4a%2F1;id=%00%61%FF;object=issuing.2;type=private";
        assert_eq!(uri.to_string(), text);
        assert_eq!(text.parse::<KeyUri>().unwrap(), uri);
    }

    #[test]
    fn what_is_missing_stays_open() {
        let uri: KeyUri = "pkcs11:object=my-key".parse().unwrap();
        assert_eq!(uri, KeyUri { object: Some("my-key".to_owned()), ..KeyUri::default() });
    }

    #[test]
    fn what_names_no_private_key_for_certain_is_refused() {
        for (text, why) in [
            ("object=key", "does not begin with `pkcs11:`"),
            ("pkcs11:", "has the part `` without `=`"),
            ("pkcs11:token=t", "names no key: `id` or `object` is needed"),
            ("pkcs11:id=;token=t", "names no key: `id` or `object` is needed"),
            ("pkcs11:object=a;object=b", "has the attribute `object` twice"),
            ("pkcs11:object=a;type=public", "names no private key: `type` must be `private`"),
            (
                "pkcs11:object=a;slot-id=4",
                "has the attribute `slot-id`; accepted are `token`, `serial`, `id`, `object` and `type`",
            ),
            (
                "pkcs11:object=a?pin-value=1234",
                "has a query part; the module and the PIN belong into the configuration",
            ),
            ("pkcs11:object=%4", "has a `%` without two hex digits"),
            ("pkcs11:object=%zz", "has a `%` without two hex digits"),
            ("pkcs11:object=%ff", "has an attribute `object` that is not UTF-8"),
            ("pkcs11:object=a b", "has the character ` ` where it must be percent-encoded"),
        ] {
            let error = text.parse::<KeyUri>().unwrap_err();
            assert_eq!(error.detail(), format!("a PKCS #11 URI (RFC 7512) {why}"), "{text}");
        }
        assert!(format!("pkcs11:object={}", "a".repeat(1024)).parse::<KeyUri>().is_err());
    }

    proptest! {
        #[test]
        fn every_name_survives_the_round_trip(token in ".{0,20}", object in ".{1,20}", id in proptest::collection::vec(any::<u8>(), 1..32)) {
            let uri = KeyUri { token: Some(token), serial: None, id: Some(id), object: Some(object) };
            prop_assert_eq!(uri.to_string().parse::<KeyUri>().unwrap(), uri);
        }

        #[test]
        fn no_text_makes_it_panic(text in "(pkcs11:)?.{0,60}") {
            if let Ok(uri) = text.parse::<KeyUri>() {
                prop_assert_eq!(uri.to_string().parse::<KeyUri>().unwrap(), uri);
            }
        }
    }
}
