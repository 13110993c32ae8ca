//! Distinguished names (RFC 5280, section 4.1.2.4): the raw DER that is signed, and the attributes in it that are checked.
//!
//! Which attributes a profile admits is decided in `policy/`.

mod attribute_type;
mod text;
mod value;

use std::fmt;

use const_oid::ObjectIdentifier;

use x509_parser::asn1_rs::FromDer;
use x509_parser::x509::X509Name;

use super::decoding::{self, shape};
use super::encoding;
use crate::error::Result;

pub use attribute_type::AttributeType;

/// One attribute of a distinguished name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// The attribute's object identifier.
    pub oid: ObjectIdentifier,
    /// The type, when it is one that profiles can name.
    pub attribute_type: Option<AttributeType>,
    /// The value as text; the hex of its DER when it is not a string.
    pub value: String,
    /// What is wrong with the value, if anything: a NUL or control character, over its upper bound, a country that is not
    /// two letters, a string type that cannot be decoded. Policy turns it into a violation.
    pub defect: Option<String>,
}

/// A distinguished name: its DER, kept octet for octet, and its attributes in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistinguishedName {
    der: Vec<u8>,
    attributes: Vec<Attribute>,
    /// Whether a relative distinguished name has more than one attribute.
    multi_valued: bool,
}

/// The empty name.
impl Default for DistinguishedName {
    fn default() -> Self {
        Self { der: encoding::sequence(&[]), attributes: Vec::new(), multi_valued: false }
    }
}

impl DistinguishedName {
    /// Parses the DER of a `Name`. Odd attribute values are kept and marked with their defect.
    ///
    /// # Errors
    /// `Malformed` when it is not a DER `RDNSequence`.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        const WHAT: &str = "distinguished name";
        shape::NAME.check(der, WHAT)?;
        Self::from_parsed(&decoding::complete(X509Name::from_der(der), WHAT)?)
    }

    /// Takes a name of x509-parser whose shape has been checked.
    pub(crate) fn from_parsed(name: &X509Name<'_>) -> Result<Self> {
        let mut attributes = Vec::new();
        let mut multi_valued = false;
        // x509-parser leaves out what it cannot read at the end of a name or a SET, so that has to be counted.
        let mut sets = decoding::only_sequence(name.as_raw(), "distinguished name")?;
        for relative_name in name.iter_rdn() {
            let mut set = sets.any("relative distinguished name")?.reader();
            let before = attributes.len();
            for pair in relative_name.iter() {
                set.any("attribute of a distinguished name")?;
                attributes.push(value::decode(pair)?);
            }
            set.finish("relative distinguished name")?;
            multi_valued |= attributes.len().saturating_sub(before) > 1;
        }
        sets.finish("distinguished name")?;
        Ok(Self { der: name.as_raw().to_vec(), attributes, multi_valued })
    }

    /// Encodes attributes, one per relative distinguished name, in the given order; `PrintableString` for country and
    /// serial number, `IA5String` for DC and e-mail, `UTF8String` otherwise (RFC 5280, section 4.1.2.4).
    ///
    /// # Errors
    /// `Malformed` when a value has a defect (see [`Attribute::defect`]).
    pub fn from_attributes(attributes: &[(AttributeType, String)]) -> Result<Self> {
        let mut names = Vec::new();
        for (attribute_type, text) in attributes {
            let oid = encoding::object_identifier(&attribute_type.oid());
            let encoded = value::encode(*attribute_type, text)?;
            names.extend(encoding::value(encoding::SET, &encoding::sequence(&[&oid, &encoded])));
        }
        Self::from_der(&encoding::sequence(&[&names]))
    }

    /// Reads OpenSSL's `/CN=x/O=y` or RFC 4514's `CN=x,O=y`. With commas the order is RFC 4514's (most specific first)
    /// and is reversed for encoding; with slashes it is the order of encoding.
    ///
    /// # Errors
    /// `Malformed` when it is neither.
    pub fn parse(text: &str) -> Result<Self> {
        Self::from_attributes(&text::parse(text)?)
    }

    /// Returns the DER.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// Returns the attributes in order of encoding.
    #[must_use]
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// Whether a relative distinguished name has more than one attribute.
    #[must_use]
    pub const fn is_multi_valued(&self) -> bool {
        self.multi_valued
    }

    /// Whether there is no attribute at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty()
    }

    /// Whether the other name is this one to somebody who minds neither case nor runs of blanks nor string types (RFC 5280, section 7.1).
    #[must_use]
    pub fn is_equivalent(&self, other: &Self) -> bool {
        let folded = |value: &str| value.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        self.attributes.len() == other.attributes.len()
            && self
                .attributes
                .iter()
                .zip(&other.attributes)
                .all(|(own, other)| own.oid == other.oid && folded(&own.value) == folded(&other.value))
    }

    /// Returns the values of one attribute type, in order.
    pub fn values(&self, attribute_type: AttributeType) -> impl Iterator<Item = &str> {
        self.attributes
            .iter()
            .filter(move |attribute| attribute.attribute_type == Some(attribute_type))
            .map(|attribute| attribute.value.as_str())
    }
}

/// Writes RFC 4514 (`CN=www.example.com,O=Example`, most specific first, escaped); the empty name is the empty string.
impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write(&self.der, f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name_with(oid: &str, tag: u8, content: &[u8]) -> DistinguishedName {
        let oid = encoding::object_identifier(&ObjectIdentifier::new_unwrap(oid));
        let attribute = encoding::sequence(&[&oid, &encoding::value(tag, content)]);
        DistinguishedName::from_der(&encoding::sequence(&[&encoding::value(encoding::SET, &attribute)])).unwrap()
    }

    #[test]
    fn writes_most_specific_first_and_escapes() {
        let name = DistinguishedName::from_attributes(&[
            (AttributeType::Country, "DE".to_owned()),
            (AttributeType::Organization, "Beispiel, GmbH + Co".to_owned()),
            (AttributeType::CommonName, "#1 \"x\" ".to_owned()),
        ])
        .unwrap();
        assert_eq!(name.to_string(), r#"CN=\#1 \"x\"\ ,O=Beispiel\, GmbH \+ Co,C=DE"#);
        assert_eq!(DistinguishedName::parse(&name.to_string()).unwrap(), name);
    }

    #[test]
    fn reads_both_notations_to_the_same_name() {
        let slashes = DistinguishedName::parse("/C=DE/O=Example/CN=a.example").unwrap();
        let commas = DistinguishedName::parse("CN=a.example, O=Example, C=DE").unwrap();
        assert_eq!(slashes, commas);
        assert_eq!(slashes.to_string(), "CN=a.example,O=Example,C=DE");
    }

    #[test]
    fn the_empty_name_is_the_empty_string() {
        let name = DistinguishedName::from_attributes(&[]).unwrap();
        assert_eq!(name.as_der(), [0x30, 0]);
        assert_eq!(name.to_string(), "");
        assert_eq!(DistinguishedName::parse("").unwrap(), name);
        assert!(name.is_empty());
    }

    #[test]
    fn names_are_equivalent_whatever_their_case_and_blanks() {
        let name = DistinguishedName::parse("/C=SE/O=Example  AB").unwrap();
        for (other, expected) in
            [("/C=se/O=example ab", true), ("/C=SE/O=Example", false), ("/O=Example AB/C=SE", false)]
        {
            assert_eq!(name.is_equivalent(&DistinguishedName::parse(other).unwrap()), expected, "{other}");
        }
        let printable = |value: &[u8]| name_with("2.5.4.3", encoding::PRINTABLE_STRING, value);
        assert!(printable(b" a").is_equivalent(&name_with("2.5.4.3", encoding::UTF8_STRING, b"A ")));
        assert!(!name.is_equivalent(&DistinguishedName::default()));
    }

    #[test]
    fn keeps_repeated_attributes_in_order() {
        let name = DistinguishedName::parse("/DC=example/DC=ca/OU=a/OU=b").unwrap();
        assert_eq!(name.values(AttributeType::DomainComponent).collect::<Vec<_>>(), ["example", "ca"]);
        assert_eq!(name.values(AttributeType::OrganizationalUnit).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn refuses_texts_that_are_neither_notation() {
        for text in
            ["CN", "=x", "CN=a+O=b", "NOPE=x", "/CN=a/b", "CN=a,", "CN=a\\", "C=DEU", "CN=\0", "CN=", "CN=#04", "C=1%"]
        {
            assert!(DistinguishedName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn decodes_every_string_type() {
        for (tag, content, expected) in [
            (encoding::UTF8_STRING, &b"\xc3\xa9"[..], "é"),
            (encoding::PRINTABLE_STRING, b"e", "e"),
            (encoding::IA5_STRING, b"e@", "e@"),
            (encoding::TELETEX_STRING, b"\xe9", "é"),
            (encoding::BMP_STRING, b"\x00\xe9", "é"),
            (encoding::UNIVERSAL_STRING, b"\x00\x00\x00\xe9", "é"),
        ] {
            let name = name_with("2.5.4.3", tag, content);
            assert_eq!(name.attributes()[0].value, expected);
            assert_eq!(name.attributes()[0].defect, None);
        }
    }

    #[test]
    fn marks_values_with_their_defects() {
        for (oid, tag, content) in [
            ("2.5.4.3", encoding::UTF8_STRING, &b"a\0b"[..]),
            ("2.5.4.3", encoding::UTF8_STRING, b"\xff"),
            ("2.5.4.3", encoding::UTF8_STRING, b""),
            ("2.5.4.3", encoding::UTF8_STRING, &[b'a'; 65]),
            ("2.5.4.3", encoding::PRINTABLE_STRING, b"a*"),
            ("2.5.4.3", encoding::BMP_STRING, b"\x00"),
            ("2.5.4.3", encoding::SEQUENCE, b""),
            ("2.5.4.6", encoding::PRINTABLE_STRING, b"D1"),
            ("2.5.4.6", encoding::PRINTABLE_STRING, b"DEU"),
            ("2.5.4.6", encoding::UTF8_STRING, b"DE"),
        ] {
            let name = name_with(oid, tag, content);
            assert!(name.attributes()[0].defect.is_some(), "{tag:#x} {content:?}");
        }
    }

    #[test]
    fn writes_unknown_types_as_hex() {
        let name = name_with("1.2.3.4", encoding::UTF8_STRING, b"x");
        assert_eq!(name.to_string(), "1.2.3.4=#0c0178");
        assert_eq!(name.attributes()[0].value, "x");
    }

    #[test]
    fn notices_multi_valued_names() {
        let attribute = |oid: &str| {
            let oid = encoding::object_identifier(&ObjectIdentifier::new_unwrap(oid));
            encoding::sequence(&[&oid, &encoding::value(encoding::UTF8_STRING, b"x")])
        };
        let set = encoding::constructed(encoding::SET, &[&attribute("2.5.4.3"), &attribute("2.5.4.10")]);
        let name = DistinguishedName::from_der(&encoding::sequence(&[&set])).unwrap();
        assert!(name.is_multi_valued());
        assert_eq!(name.to_string(), "CN=x+O=x");
    }

    proptest! {
        #[test]
        fn names_survive_a_round_trip(
            values in proptest::collection::vec((0_usize..16, "[a-zA-Z ,+\"\\\\<>;=#/é0-9]{1,20}"), 0..6)
        ) {
            let attributes: Vec<(AttributeType, String)> = values
                .into_iter()
                .filter_map(|(index, text)| AttributeType::ALL.get(index).map(|found| (*found, text)))
                .filter(|(attribute_type, text)| value::encode(*attribute_type, text).is_ok())
                .collect();
            let name = DistinguishedName::from_attributes(&attributes).unwrap();
            prop_assert_eq!(&DistinguishedName::from_der(name.as_der()).unwrap(), &name);
            prop_assert_eq!(&DistinguishedName::parse(&name.to_string()).unwrap(), &name);
            let back: Vec<(AttributeType, String)> = name
                .attributes()
                .iter()
                .map(|attribute| (attribute.attribute_type.unwrap(), attribute.value.clone()))
                .collect();
            prop_assert_eq!(back, attributes);
        }
    }
}
