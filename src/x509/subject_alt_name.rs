//! Subject alternative names (RFC 5280, section 4.2.1.6) in the one normal form that is checked, signed and stored.
//!
//! Whether a name may be signed is decided in `policy/names.rs`.

mod dns;
mod email;
mod uri;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::printable;

/// The types of name that Chancery signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NameType {
    /// A `dNSName`.
    Dns,
    /// An `iPAddress`.
    Ip,
    /// A `uniformResourceIdentifier`.
    Uri,
    /// An `rfc822Name`.
    Email,
}

impl NameType {
    /// Every type, in the order of the configuration file.
    pub const ALL: [Self; 4] = [Self::Dns, Self::Ip, Self::Uri, Self::Email];

    /// Returns the name used in JSON, profiles and search: `dns`, `ip`, `uri` or `email`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Ip => "ip",
            Self::Uri => "uri",
            Self::Email => "email",
        }
    }
}

/// A subject alternative name in normal form.
///
/// DNS names are lower-case A-labels without a trailing dot, perhaps with a wildcard as whole first label; IP addresses
/// are plain addresses (IPv4-mapped IPv6 is refused); URIs are absolute with lower-case scheme and host; the domain of an
/// e-mail address is lower-case. Values are made by [`SubjectAltName::parse`] only, so holding one means it is well formed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectAltName {
    /// A DNS name.
    Dns(DnsName),
    /// An IP address.
    Ip(IpAddr),
    /// A URI.
    Uri(UriName),
    /// An e-mail address.
    Email(EmailName),
}

/// A well-formed DNS name in normal form; see [`SubjectAltName`]. Underscores are let through here and judged by policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(String);

/// A well-formed absolute URI; see [`SubjectAltName`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UriName(String);

/// A well-formed e-mail address; see [`SubjectAltName`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmailName(String);

impl DnsName {
    /// Returns the normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the first label is `*`.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// Whether any label has an underscore (host names may not, but service names do).
    #[must_use]
    pub fn has_underscore(&self) -> bool {
        self.0.contains('_')
    }

    /// Returns the labels from left to right.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }
}

impl UriName {
    /// Returns the normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl EmailName {
    /// Returns the normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a well-formed name: a sentence in lower case that says what would be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedName {
    /// The type the name was given as.
    pub name_type: NameType,
    /// The text as given (control characters and invalid UTF-8 escaped, cut at 300 characters).
    pub value: String,
    /// What is wrong and what would be accepted.
    pub message: String,
}

impl SubjectAltName {
    /// Parses and normalises a name of a given type.
    ///
    /// # Errors
    /// [`MalformedName`] for anything that is not a well-formed name of the type: for DNS a trailing dot, an empty or
    /// over-long label, over 253 octets, a U-label, an invalid A-label, an IP literal, a wildcard anywhere but as the
    /// whole first label (and with at least two labels behind it or a single one such as `*.localhost`), NUL or other characters.
    pub fn parse(name_type: NameType, value: &str) -> Result<Self, MalformedName> {
        let parsed = match name_type {
            NameType::Dns => dns::parse(value, dns::Wildcard::Allowed).map(|name| Self::Dns(DnsName(name))),
            NameType::Ip => parse_ip(value).map(Self::Ip),
            NameType::Uri => uri::parse(value).map(|uri| Self::Uri(UriName(uri))),
            NameType::Email => email::parse(value).map(|email| Self::Email(EmailName(email))),
        };
        parsed.map_err(|message| MalformedName { name_type, value: printable::text(value), message })
    }

    /// Reads the content octets of a `GeneralName` of this type, strictly: `IA5String` is ASCII, an address has 4 or 16 octets.
    ///
    /// # Errors
    /// [`MalformedName`] as for [`SubjectAltName::parse`].
    pub(crate) fn from_general_name(name_type: NameType, content: &[u8]) -> Result<Self, MalformedName> {
        let malformed = |message: String| MalformedName { name_type, value: printable::octets(content), message };
        if name_type == NameType::Ip {
            let address = <[u8; 4]>::try_from(content)
                .map(IpAddr::from)
                .or_else(|_error| <[u8; 16]>::try_from(content).map(IpAddr::from))
                .map_err(|_error| MalformedName {
                    name_type,
                    value: hex::encode(content.get(..64).unwrap_or(content)),
                    message: format!("an IP address has 4 or 16 octets, this one has {}", content.len()),
                })?;
            return Self::parse(name_type, &address.to_string());
        }
        match std::str::from_utf8(content) {
            Ok(text) if text.is_ascii() => Self::parse(name_type, text),
            _ => Err(malformed(format!(
                "has octets that are not ASCII, but the name is an IA5String{}",
                if name_type == NameType::Dns {
                    "; write the A-labels (`xn--...`) of an international name"
                } else {
                    ""
                }
            ))),
        }
    }

    /// Returns the type.
    #[must_use]
    pub const fn name_type(&self) -> NameType {
        match self {
            Self::Dns(_) => NameType::Dns,
            Self::Ip(_) => NameType::Ip,
            Self::Uri(_) => NameType::Uri,
            Self::Email(_) => NameType::Email,
        }
    }

    /// Returns the value in normal form (IP addresses as RFC 5952 has them).
    #[must_use]
    pub fn value(&self) -> String {
        match self {
            Self::Dns(name) => name.as_str().to_owned(),
            Self::Ip(address) => address.to_string(),
            Self::Uri(uri) => uri.as_str().to_owned(),
            Self::Email(email) => email.as_str().to_owned(),
        }
    }
}

fn parse_ip(value: &str) -> Result<IpAddr, String> {
    let address: IpAddr = value.parse().map_err(|_error| {
        "not an IP address such as `10.0.0.1` or `2001:db8::1`, without brackets, prefix or zone".to_owned()
    })?;
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err("an IPv4 address mapped to IPv6; write the IPv4 address itself".to_owned())
        }
        IpAddr::V4(_) | IpAddr::V6(_) => Ok(address),
    }
}

impl fmt::Display for SubjectAltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name_type().as_str(), self.value())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(name_type: NameType, value: &str) -> String {
        SubjectAltName::parse(name_type, value).unwrap().value()
    }

    #[test]
    fn ip_addresses_take_their_one_form() {
        assert_eq!(normal(NameType::Ip, "2001:DB8:0:0:0:0:0:1"), "2001:db8::1");
        assert_eq!(normal(NameType::Ip, "10.0.0.1"), "10.0.0.1");
        for text in ["::ffff:10.0.0.1", "10.0.0", "10.0.0.01", "[::1]", "fe80::1%eth0", "10.0.0.0/8", "", " 10.0.0.1"] {
            assert!(SubjectAltName::parse(NameType::Ip, text).is_err(), "{text}");
        }
    }

    #[test]
    fn general_names_are_read_strictly() {
        assert_eq!(SubjectAltName::from_general_name(NameType::Ip, &[10, 0, 0, 1]).unwrap().to_string(), "ip:10.0.0.1");
        for (name_type, content) in [
            (NameType::Ip, &[10, 0, 0][..]),
            (NameType::Ip, &[0; 32]),
            (NameType::Ip, b""),
            (NameType::Ip, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1]),
            (NameType::Dns, b"a.example\0.test"),
            (NameType::Dns, b"b\xc3\xbccher.example"),
            (NameType::Dns, b"b\xfccher.example"),
            (NameType::Dns, b"a.example\n"),
            (NameType::Email, b"\xc3\xbc@a.example"),
            (NameType::Uri, b"https://a.example/\x00"),
        ] {
            assert!(SubjectAltName::from_general_name(name_type, content).is_err(), "{content:?}");
        }
    }

    #[test]
    fn the_value_of_a_malformed_name_is_printable() {
        let error = SubjectAltName::from_general_name(NameType::Dns, b"a\0b\xff").unwrap_err();
        assert_eq!(error.value, "a\\u{0}b\\xff");
        assert_eq!(error.name_type, NameType::Dns);
    }

    proptest! {
        #[test]
        fn the_normal_form_of_a_normal_form_is_itself(
            index in 0_usize..4,
            text in prop_oneof![
                "[a-zA-Z0-9_.*-]{1,40}",
                "(\\*\\.)?([a-zA-Z0-9-]{1,10}\\.){0,3}[a-z]{2,5}",
                "[a-z+.]{1,6}@[a-zA-Z0-9.-]{1,20}",
                "[a-zA-Z]{1,6}://[a-zA-Z0-9.:-]{1,20}(/[!-~]{0,10})?",
                "[0-9a-fA-F:.]{1,20}",
                ".{0,20}",
            ]
        ) {
            let name_type = NameType::ALL[index];
            if let Ok(name) = SubjectAltName::parse(name_type, &text) {
                prop_assert_eq!(SubjectAltName::parse(name_type, &name.value()).unwrap(), name.clone());
                prop_assert!(name.value().is_ascii());
                prop_assert!(name.value().bytes().all(|octet| octet.is_ascii_graphic()));
            }
        }
    }
}
