//! What an order asks for: DNS names (RFC 8555, section 7.1.4) and IP addresses (RFC 8738), in normal form.
//!
//! Whether an identifier may be had is judged by profile and grants, not here.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::error::{AcmeErrorType, Error, Result};
use crate::policy::shown;
use crate::x509::{NameType, SubjectAltName};

/// An identifier as ACME writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WrittenIdentifier {
    /// `dns` or `ip`.
    #[serde(rename = "type")]
    #[schema(example = "dns")]
    pub kind: String,
    /// The name, or the address in its canonical form (RFC 5952).
    #[schema(example = "app.internal")]
    pub value: String,
}

/// An identifier in normal form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identifier {
    /// A DNS name, lower case, A-labels; `wildcard` when the certificate is to hold `*.` and the name.
    Dns {
        /// The name, without `*.`.
        name: String,
        /// Whether `*.` stands before it in the order.
        wildcard: bool,
    },
    /// An IP address.
    Ip(IpAddr),
}

impl Identifier {
    /// Reads an identifier of an order.
    ///
    /// # Errors
    /// `unsupportedIdentifier` for another type than `dns` and `ip`; `malformed` for a value that is not in the form the type asks for.
    pub fn parse(written: &WrittenIdentifier) -> Result<Self> {
        let refuse = |why: &str| {
            Err(Error::malformed(format!(
                "the {} identifier `{}` is malformed: {why}",
                shown(&written.kind),
                shown(&written.value)
            )))
        };
        match written.kind.as_str() {
            "dns" => match SubjectAltName::parse(NameType::Dns, &written.value) {
                Ok(name) => Self::of_name(&name).ok_or_else(|| Error::internal("a DNS name is no identifier")),
                Err(malformed) => refuse(&malformed.message),
            },
            "ip" => match written.value.parse::<IpAddr>() {
                Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
                    refuse("it is an IPv4 address mapped to IPv6; write the IPv4 address itself")
                }
                Ok(address) if address.to_string() == written.value => Ok(Self::Ip(address)),
                Ok(address) => refuse(&format!("write it as `{address}` (RFC 5952, section 4)")),
                Err(_not_an_address) => refuse("it is not an IPv4 or IPv6 address"),
            },
            other => Err(Error::acme(
                AcmeErrorType::UnsupportedIdentifier,
                format!("identifiers of the type `{}` are not supported; supported are `dns` and `ip`", shown(other)),
            )),
        }
    }

    /// Takes a subject alternative name of a type that orders know.
    #[must_use]
    pub fn of_name(name: &SubjectAltName) -> Option<Self> {
        match name {
            SubjectAltName::Dns(name) => Some(match name.as_str().strip_prefix("*.") {
                Some(rest) => Self::Dns { name: rest.to_owned(), wildcard: true },
                None => Self::Dns { name: name.as_str().to_owned(), wildcard: false },
            }),
            SubjectAltName::Ip(address) => Some(Self::Ip(*address)),
            SubjectAltName::Uri(_) | SubjectAltName::Email(_) => None,
        }
    }

    /// Returns the type as ACME writes it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Dns { .. } => "dns",
            Self::Ip(_) => "ip",
        }
    }

    /// Returns the identifier of its authorization: without `*.` (RFC 8555, section 7.1.4).
    #[must_use]
    pub fn authorization_value(&self) -> String {
        match self {
            Self::Dns { name, .. } => name.clone(),
            Self::Ip(address) => address.to_string(),
        }
    }

    /// Whether it is a wildcard.
    #[must_use]
    pub const fn is_wildcard(&self) -> bool {
        match self {
            Self::Dns { wildcard, .. } => *wildcard,
            Self::Ip(_) => false,
        }
    }

    /// Returns the identifier as an order writes it.
    #[must_use]
    pub fn written(&self) -> WrittenIdentifier {
        WrittenIdentifier { kind: self.kind().to_owned(), value: self.to_string() }
    }

    /// Returns the subject alternative name that the certificate gets.
    ///
    /// # Errors
    /// `Internal`: every identifier in normal form is a name.
    pub fn subject_alt_name(&self) -> Result<SubjectAltName> {
        let name_type = match self {
            Self::Dns { .. } => NameType::Dns,
            Self::Ip(_) => NameType::Ip,
        };
        SubjectAltName::parse(name_type, &self.to_string()).map_err(|malformed| {
            Error::internal(format!("an identifier in normal form is no name: {}", malformed.message))
        })
    }
}

/// The identifier as an order writes it, with `*.`.
impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns { name, wildcard: true } => write!(f, "*.{name}"),
            Self::Dns { name, wildcard: false } => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    fn parse(kind: &str, value: &str) -> Result<Identifier> {
        Identifier::parse(&WrittenIdentifier { kind: kind.to_owned(), value: value.to_owned() })
    }

    #[test]
    fn names_are_folded_and_wildcards_are_told_apart() {
        let name = parse("dns", "App.Internal").unwrap();
        assert_eq!(name, Identifier::Dns { name: "app.internal".to_owned(), wildcard: false });
        let wildcard = parse("dns", "*.app.internal").unwrap();
        assert!(wildcard.is_wildcard());
        assert_eq!(wildcard.authorization_value(), "app.internal");
        assert_eq!(wildcard.to_string(), "*.app.internal");
        assert_eq!(wildcard.subject_alt_name().unwrap().value(), "*.app.internal");
    }

    #[test]
    fn what_is_no_name_is_malformed() {
        for value in [
            "",
            "a.internal.",
            ".a",
            "a..b",
            "*",
            "*.",
            "*.*.a",
            "a*.b",
            "b.*.c",
            "10.0.0.1",
            "fd00::1",
            "m\u{fc}nchen.internal",
            "a b.internal",
            "-a.internal",
            "a-.internal",
            &format!("{}.internal", "x".repeat(64)),
            &"a.".repeat(130),
        ] {
            let error = parse("dns", value).unwrap_err();
            assert_eq!(error.acme_token(), "malformed", "{value}");
        }
    }

    #[test]
    fn addresses_are_taken_in_their_canonical_form_only() {
        for value in ["10.0.0.1", "fd00::1", "::1", "2001:db8::a00:1"] {
            let identifier = parse("ip", value).unwrap();
            assert_eq!(identifier.to_string(), value);
            assert_eq!(identifier.subject_alt_name().unwrap().value(), value);
        }
        for value in [
            "::ffff:10.0.0.1",
            "::ffff:a00:1",
            "FD00::1",
            "fd00:0::1",
            "010.0.0.1",
            "fe80::1%eth0",
            "10.0.0.1/32",
            "app.internal",
            "",
        ] {
            assert_eq!(parse("ip", value).unwrap_err().acme_token(), "malformed", "{value}");
        }
    }

    #[test]
    fn other_types_are_not_supported() {
        assert_eq!(parse("email", "a@b.internal").unwrap_err().acme_token(), "unsupportedIdentifier");
        assert_eq!(parse("DNS", "a.internal").unwrap_err().acme_token(), "unsupportedIdentifier");
    }
}
