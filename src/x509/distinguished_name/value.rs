//! Attribute values of distinguished names: their string types decoded, encoded, and checked for defects.

use x509_parser::asn1_rs::Any;
use x509_parser::x509::AttributeTypeAndValue;

use super::{Attribute, AttributeType};
use crate::error::{Error, Result};
use crate::x509::{decoding, encoding};

/// Takes one attribute as x509-parser has read it.
pub(super) fn decode(pair: &AttributeTypeAndValue<'_>) -> Result<Attribute> {
    let oid = decoding::object_identifier(pair.attr_type(), "attribute type of a distinguished name")?;
    let tag = decoding::identifier_octet(pair.attr_value());
    let attribute_type = AttributeType::from_oid(&oid);
    let (text, defect) = match decode_string(pair.attr_value()) {
        Ok(text) => {
            let defect = defect(attribute_type, tag, &text);
            (text, defect)
        }
        Err(defect) => (hex(pair.attr_value()), Some(defect)),
    };
    Ok(Attribute { oid, attribute_type, value: text, defect })
}

/// Returns the hex of the value's DER. Its lengths have been checked to be minimal, so this is what it was read from.
pub(super) fn hex(value: &Any<'_>) -> String {
    hex::encode(encoding::value(decoding::identifier_octet(value), value.data))
}

/// Encodes the text in the string type of its attribute type.
///
/// # Errors
/// `Malformed` when the text has a defect.
pub(super) fn encode(attribute_type: AttributeType, text: &str) -> Result<Vec<u8>> {
    let tag = attribute_type.only_string_type().map_or(encoding::UTF8_STRING, |(tag, _)| tag);
    if let Some(defect) = defect(Some(attribute_type), tag, text) {
        let shown = crate::x509::printable::text(text);
        return Err(Error::malformed(format!("the {} `{shown}`: {defect}", attribute_type.as_str())));
    }
    Ok(encoding::value(tag, text.as_bytes()))
}

/// Decodes a string value, or says why it cannot be. x509-parser decodes four of the string types, without their limits.
pub(super) fn decode_string(value: &Any<'_>) -> Result<String, String> {
    let octets = value.data;
    match decoding::identifier_octet(value) {
        encoding::UTF8_STRING => {
            std::str::from_utf8(octets).map(str::to_owned).map_err(|error| format!("not UTF-8: {error}"))
        }
        encoding::PRINTABLE_STRING | encoding::IA5_STRING | encoding::NUMERIC_STRING | encoding::VISIBLE_STRING
            if octets.is_ascii() =>
        {
            Ok(octets.iter().copied().map(char::from).collect())
        }
        encoding::PRINTABLE_STRING | encoding::IA5_STRING | encoding::NUMERIC_STRING | encoding::VISIBLE_STRING => {
            Err("has octets that are not ASCII; use a UTF8String".to_owned())
        }
        // T.61 in name, Latin-1 in practice.
        encoding::TELETEX_STRING => Ok(octets.iter().copied().map(char::from).collect()),
        encoding::BMP_STRING => {
            let units = octets.chunks(2).map(|pair| match pair {
                [high, low] => Ok(u16::from_be_bytes([*high, *low])),
                _ => Err("the BMPString has an odd number of octets".to_owned()),
            });
            let units: Vec<u16> = units.collect::<Result<_, _>>()?;
            String::from_utf16(&units).map_err(|error| format!("not a BMPString: {error}"))
        }
        encoding::UNIVERSAL_STRING => octets
            .chunks(4)
            .map(|unit| match unit {
                [a, b, c, d] => char::from_u32(u32::from_be_bytes([*a, *b, *c, *d])),
                _ => None,
            })
            .collect::<Option<String>>()
            .ok_or_else(|| "not a UniversalString".to_owned()),
        tag => Err(format!("not a string (tag 0x{tag:02x})")),
    }
}

fn defect(attribute_type: Option<AttributeType>, tag: u8, text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("is empty".to_owned());
    }
    if let Some(control) = text.chars().find(|character| character.is_control()) {
        return Some(format!("has the control character {}", control.escape_unicode()));
    }
    if tag == encoding::PRINTABLE_STRING
        && let Some(other) = text.chars().find(|character| !is_printable_string_character(*character))
    {
        return Some(format!("`{other}` may not be in a PrintableString"));
    }
    if tag == encoding::IA5_STRING && !text.is_ascii() {
        return Some("may have ASCII characters only".to_owned());
    }
    let attribute_type = attribute_type?;
    if let Some((only, name)) = attribute_type.only_string_type()
        && tag != only
    {
        return Some(format!("must be a {name} (RFC 5280, appendix A.1)"));
    }
    if attribute_type == AttributeType::Country
        && !(text.len() == 2 && text.chars().all(|character| character.is_ascii_alphabetic()))
    {
        return Some("a country is two letters, such as `DE` (ISO 3166-1)".to_owned());
    }
    let length = text.chars().count();
    let maximum = attribute_type.maximum_length();
    (length > maximum).then(|| format!("has {length} characters, {maximum} at most are allowed"))
}

/// The characters of ITU-T X.680, section 41.4.
fn is_printable_string_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || " '()+,-./:=?".contains(character)
}
