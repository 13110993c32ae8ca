//! `{claim}` placeholders in grants: a claim's value takes their place as a literal, never as a pattern.
//!
//! A value is admitted only where it cannot change the shape of the pattern around it: one label of a DNS name, one segment of a path,
//! or the whole name. Anything else refuses the token rather than widening its grants.

use std::net::IpAddr;

use serde_json::Value;

use super::rules::{ClaimPath, text};
use crate::error::{Error, ErrorKind, Result};
use crate::policy::Grants;
use crate::policy::grants::GrantsDocument;
use crate::policy::names::NameSections;
use crate::policy::profile::{DnsSection, NameSection};
use crate::x509::{NameType, SubjectAltName};

/// The most octets of a value put in the place of a placeholder.
const MAXIMUM_VALUE: usize = 253;

/// Grants that are the same for every token, or are filled from each token's claims.
#[derive(Clone, Debug)]
pub(crate) enum GrantsTemplate {
    /// Without placeholders.
    Fixed(Box<Grants>),
    /// With placeholders.
    Filled(Box<GrantsDocument>),
}

impl GrantsTemplate {
    /// Checks the grants: with each placeholder filled by a sample they must compile.
    ///
    /// # Errors
    /// `Configuration` for a brace without its partner, a placeholder where none can stand, or a bad pattern.
    pub(crate) fn compile(document: GrantsDocument) -> Result<Self> {
        let sample = |slot: &Slot<'_>| Ok(slot.sample().to_owned());
        let filled = fill_document(&document, &sample)
            .and_then(Grants::compile)
            .map_err(|error| Error::configuration(format!("the grants cannot be used: {error}")).with_source(error))?;
        if filled.document() == &document {
            return Ok(Self::Fixed(Box::new(filled)));
        }
        Ok(Self::Filled(Box::new(document)))
    }

    /// Returns the grants of a token with these claims.
    ///
    /// # Errors
    /// `Unauthenticated` when a claim is missing or its value cannot be a literal where the placeholder stands.
    pub(crate) fn fill(&self, claims: &Value) -> Result<Grants> {
        let document = match self {
            Self::Fixed(grants) => return Ok(Grants::clone(grants)),
            Self::Filled(document) => document,
        };
        let value = |slot: &Slot<'_>| {
            let value = slot.claim.find(claims).and_then(text).ok_or_else(|| slot.refused("is missing or not text"))?;
            slot.admit(&value)?;
            Ok(value)
        };
        Grants::compile(fill_document(document, &value)?).map_err(|error| {
            Error::new(ErrorKind::Unauthenticated, "the claims of the token cannot be used in the grants of its rule")
                .with_source(error)
        })
    }
}

/// Gives the value for a placeholder.
type ValueOf<'a> = &'a dyn Fn(&Slot<'_>) -> Result<String>;

/// What kind of text a placeholder stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The name of a profile or an issuer.
    Identifier,
    /// A pattern for names of this type.
    Name(NameType),
}

fn fill_document(document: &GrantsDocument, value: ValueOf<'_>) -> Result<GrantsDocument> {
    let identifiers =
        |texts: &Option<Vec<String>>| texts.as_ref().map(|texts| fill_all(texts, Place::Identifier, value)).transpose();
    Ok(GrantsDocument {
        profiles: identifiers(&document.profiles)?,
        issuers: identifiers(&document.issuers)?,
        names: document.names.as_ref().map(|names| fill_names(names, value)).transpose()?,
    })
}

fn fill_names(names: &NameSections, value: ValueOf<'_>) -> Result<NameSections> {
    let section = |section: &Option<NameSection>, name_type| -> Result<Option<NameSection>> {
        let Some(section) = section else { return Ok(None) };
        Ok(Some(NameSection {
            allow: fill_all(&section.allow, Place::Name(name_type), value)?,
            deny: fill_all(&section.deny, Place::Name(name_type), value)?,
            ..section.clone()
        }))
    };
    let dns = match &names.dns {
        Some(dns) => Some(DnsSection {
            allow: fill_all(&dns.allow, Place::Name(NameType::Dns), value)?,
            deny: fill_all(&dns.deny, Place::Name(NameType::Dns), value)?,
            ..dns.clone()
        }),
        None => None,
    };
    Ok(NameSections {
        dns,
        ip: section(&names.ip, NameType::Ip)?,
        uri: section(&names.uri, NameType::Uri)?,
        email: section(&names.email, NameType::Email)?,
    })
}

fn fill_all(texts: &[String], place: Place, value: ValueOf<'_>) -> Result<Vec<String>> {
    texts.iter().map(|text| fill(text, place, value)).collect()
}

/// Fills the placeholders of one text, from left to right.
fn fill(text: &str, place: Place, value: ValueOf<'_>) -> Result<String> {
    let unbalanced = || Error::configuration(format!("`{text}` has a brace without its partner"));
    let mut filled = String::new();
    let mut rest = text;
    while let Some((literal, behind)) = rest.split_once('{') {
        let (claim, behind) = behind.split_once('}').ok_or_else(unbalanced)?;
        if literal.contains('}') || claim.contains('{') {
            return Err(unbalanced());
        }
        filled.push_str(literal);
        let claim = ClaimPath::parse(claim)?;
        let position = Position::find(place, &filled, behind).ok_or_else(|| {
            Error::configuration(format!("`{text}` has the placeholder `{{{}}}` where none can stand", claim.as_str()))
        })?;
        filled.push_str(&value(&Slot { claim: &claim, position })?);
        rest = behind;
    }
    if rest.contains('}') {
        return Err(unbalanced());
    }
    filled.push_str(rest);
    Ok(filled)
}

/// A placeholder: which claim, and what may stand there.
#[derive(Clone, Copy, Debug)]
struct Slot<'a> {
    claim: &'a ClaimPath,
    position: Position,
}

/// What may stand in the place of a placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// The name of a profile or an issuer, or a part of it.
    Identifier,
    /// One IP address; never a block.
    Address,
    /// One label of a DNS name, or a part of it: more text of the name follows, so a dot would move the value to another place in it.
    Label,
    /// A DNS name: the placeholder is the whole name or its whole end.
    DnsName,
    /// The part of an e-mail address before the `@`.
    LocalPart,
    /// A whole e-mail address.
    Email,
    /// A whole URI.
    Uri,
    /// A segment of a URI's path, or a part of it.
    Segment,
}

impl Position {
    /// Returns what may stand between the texts `before` (already filled) and `after`; nothing may where this is `None`.
    fn find(place: Place, before: &str, after: &str) -> Option<Self> {
        let whole = before.is_empty() && after.is_empty();
        match place {
            Place::Identifier => Some(Self::Identifier),
            Place::Name(NameType::Ip) => whole.then_some(Self::Address),
            Place::Name(NameType::Dns) => Some(Self::in_dns_name(before, after.is_empty())),
            Place::Name(NameType::Email) => match before.split_once('@') {
                None if whole => Some(Self::Email),
                None => Some(Self::LocalPart),
                Some((_local, domain)) => Some(Self::in_dns_name(domain, after.is_empty())),
            },
            Place::Name(NameType::Uri) => match before.split_once("://") {
                None => whole.then_some(Self::Uri),
                Some((_scheme, behind)) if behind.contains(['/', '?', '#']) => Some(Self::Segment),
                Some((_scheme, host)) => Some(Self::in_dns_name(host, after.is_empty() || after.starts_with('/'))),
            },
        }
    }

    fn in_dns_name(before: &str, ends: bool) -> Self {
        if ends && (before.is_empty() || before.ends_with('.')) { Self::DnsName } else { Self::Label }
    }
}

impl Slot<'_> {
    /// Returns a value that can stand here, to check grants before any token comes.
    const fn sample(&self) -> &'static str {
        match self.position {
            Position::Identifier | Position::Label | Position::LocalPart | Position::Segment => "sample",
            Position::Address => "192.0.2.1",
            Position::DnsName => "sample.internal",
            Position::Email => "sample@sample.internal",
            Position::Uri => "sample://sample.internal/sample",
        }
    }

    /// Checks that a value is a literal that can stand here.
    fn admit(&self, value: &str) -> Result<()> {
        if value.is_empty() || value.len() > MAXIMUM_VALUE {
            return Err(self.refused(&format!("is empty or over {MAXIMUM_VALUE} octets")));
        }
        if value.contains(['*', '{', '}']) {
            return Err(self.refused("has a character that patterns are made of"));
        }
        let well_formed = match self.position {
            Position::Identifier => only(value, b"._-"),
            Position::Address => value.parse::<IpAddr>().is_ok(),
            Position::Label => is_label(value),
            Position::DnsName => SubjectAltName::parse(NameType::Dns, value).is_ok(),
            Position::LocalPart => only(value, b"._+-"),
            Position::Email => SubjectAltName::parse(NameType::Email, value).is_ok(),
            Position::Uri => SubjectAltName::parse(NameType::Uri, value).is_ok(),
            // A segment of dots alone would climb in the path (RFC 3986, section 5.2.4).
            Position::Segment => only(value, b"._~-") && !matches!(value, "." | ".."),
        };
        if well_formed {
            return Ok(());
        }
        Err(self.refused(match self.position {
            Position::Identifier => "is not a name of letters, digits, `.`, `_` and `-`",
            Position::Address => "is not an IP address",
            Position::Label => "is not one label of a DNS name",
            Position::DnsName => "is not a DNS name",
            Position::LocalPart => "is not the local part of an e-mail address",
            Position::Email => "is not an e-mail address",
            Position::Uri => "is not a URI",
            Position::Segment => "is not one segment of a path",
        }))
    }

    fn refused(&self, why: &str) -> Error {
        Error::new(
            ErrorKind::Unauthenticated,
            format!("the token's claim `{}`, which its rule puts into the grants, {why}", self.claim.as_str()),
        )
    }
}

fn only(value: &str, beside: &[u8]) -> bool {
    value.bytes().all(|octet| octet.is_ascii_alphanumeric() || beside.contains(&octet))
}

fn is_label(value: &str) -> bool {
    value.len() <= 63 && only(value, b"_-") && !value.starts_with('-') && !value.ends_with('-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;

    fn document(json: Value) -> GrantsDocument {
        serde_json::from_value(json).unwrap()
    }

    fn filled(grants: Value, claims: &Value) -> Result<GrantsDocument> {
        GrantsTemplate::compile(document(grants)).unwrap().fill(claims).map(|grants| grants.document().clone())
    }

    #[test]
    fn puts_claims_into_profiles_issuers_and_every_type_of_name() {
        let grants = json!({
            "profiles": ["{team}-server"], "issuers": ["issuing"],
            "names": {
                "dns": {"allow": ["*.{team}.internal", "{host}"], "deny": ["admin.{team}.internal"]},
                "ip": {"allow": ["{address}"]},
                "uri": {"allow": ["spiffe://{domain}/ns/{team}/**", "{id}"]},
                "email": {"allow": ["{user}@{domain}", "{mail}"]},
            },
        });
        let claims = json!({
            "team": "payments", "host": "a.b.internal", "address": "10.0.0.7", "domain": "cluster.internal",
            "id": "spiffe://cluster.internal/x", "user": "ann.b", "mail": "c@d.internal",
        });
        let expected = json!({
            "profiles": ["payments-server"], "issuers": ["issuing"],
            "names": {
                "dns": {"allow": ["*.payments.internal", "a.b.internal"], "deny": ["admin.payments.internal"]},
                "ip": {"allow": ["10.0.0.7"]},
                "uri": {"allow": ["spiffe://cluster.internal/ns/payments/**", "spiffe://cluster.internal/x"]},
                "email": {"allow": ["ann.b@cluster.internal", "c@d.internal"]},
            },
        });
        assert_eq!(filled(grants, &claims).unwrap(), document(expected));
    }

    #[test]
    fn refuses_values_that_would_change_the_pattern() {
        let cases = [
            (
                json!({"names": {"dns": {"allow": ["*.{x}.internal"]}}}),
                vec!["*", "**", "a.b", "a*", "", ".", "-a", "a/b", "{x}"],
            ),
            (
                json!({"names": {"dns": {"allow": ["{x}"]}}}),
                vec!["*", "**", "*.internal", "**.internal", "", "a..b", "10.0.0.1"],
            ),
            (json!({"names": {"dns": {"allow": ["*.{x}"]}}}), vec!["*", "a..b", "*.b"]),
            (json!({"names": {"ip": {"allow": ["{x}"]}}}), vec!["0.0.0.0/0", "*", "**", "10.0.0.0/8", "a"]),
            (
                json!({"names": {"uri": {"allow": ["spiffe://t.internal/ns/{x}/**"]}}}),
                vec!["*", "**", "a/b", "..", ".", "a?b", "a#b", "%2e%2e", "a b"],
            ),
            (json!({"names": {"uri": {"allow": ["https://{x}/**"]}}}), vec!["evil.test/x", "a@b", "*", "a:1"]),
            (json!({"names": {"uri": {"allow": ["{x}"]}}}), vec!["**", "https://a/*", "a"]),
            (json!({"names": {"email": {"allow": ["{x}@a.internal"]}}}), vec!["*", "a@b", "a b"]),
            (json!({"names": {"email": {"allow": ["a@{x}.internal"]}}}), vec!["*", "**", "b.c"]),
            (json!({"profiles": ["{x}"]}), vec!["*", "a b", "a/b", ""]),
        ];
        for (grants, values) in cases {
            for value in values {
                let refusal = filled(grants.clone(), &json!({"x": value})).expect_err(value);
                assert_eq!(refusal.kind(), ErrorKind::Unauthenticated, "{grants} {value}");
            }
        }
    }

    #[test]
    fn refuses_a_missing_claim_and_one_that_is_not_text() {
        let grants = json!({"profiles": ["{x}"]});
        for claims in [json!({}), json!({"x": null}), json!({"x": ["a"]}), json!({"x": {"a": "b"}}), json!({"x": 1.5})]
        {
            assert!(filled(grants.clone(), &claims).is_err(), "{claims}");
        }
        assert!(filled(grants, &json!({"x": "a"})).is_ok());
    }

    #[test]
    fn refuses_templates_that_cannot_be_filled() {
        for pattern in ["{x", "x}", "{}", "{a{b}}"] {
            assert!(GrantsTemplate::compile(document(json!({"profiles": [pattern]}))).is_err(), "{pattern}");
        }
        assert!(GrantsTemplate::compile(document(json!({"names": {"ip": {"allow": ["10.{x}.0.0/16"]}}}))).is_err());
        assert!(GrantsTemplate::compile(document(json!({"names": {"uri": {"allow": ["{x}://a/b"]}}}))).is_err());
    }

    #[test]
    fn compiles_grants_without_placeholders_once() {
        let template = GrantsTemplate::compile(document(json!({"profiles": ["server"]}))).unwrap();
        assert!(matches!(template, GrantsTemplate::Fixed(_)));
    }
}
