//! Distinguished names as text: RFC 4514 out, RFC 4514 and OpenSSL's slashes in.

use std::fmt;

use x509_parser::asn1_rs::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::{AttributeType, value};
use crate::error::{Error, Result};
use crate::x509::{decoding, printable};

/// Writes the DER of a name as RFC 4514 has it.
pub(super) fn write(der: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let text = to_text(der).map_err(|_error| fmt::Error)?;
    f.write_str(&text)
}

fn to_text(der: &[u8]) -> Result<String> {
    let name = decoding::complete(X509Name::from_der(der), "distinguished name")?;
    let mut relative_names = Vec::new();
    for relative_name in name.iter_rdn() {
        let attributes: Vec<String> = relative_name.iter().map(attribute_text).collect::<Result<_>>()?;
        relative_names.push(attributes.join("+"));
    }
    relative_names.reverse();
    Ok(relative_names.join(","))
}

fn attribute_text(pair: &AttributeTypeAndValue<'_>) -> Result<String> {
    let oid = decoding::object_identifier(pair.attr_type(), "attribute type")?;
    let value = pair.attr_value();
    Ok(match (AttributeType::from_oid(&oid), value::decode_string(value)) {
        (Some(attribute_type), Ok(text)) => format!("{}={}", attribute_type.short_name(), escape(&text)),
        (Some(attribute_type), Err(_)) => format!("{}=#{}", attribute_type.short_name(), value::hex(value)),
        // RFC 4514, section 2.4: a dotted type goes with the hex form.
        (None, _) => format!("{oid}=#{}", value::hex(value)),
    })
}

/// Escapes a value (RFC 4514, section 2.4); control characters become hex pairs, so that the text is one printable line.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (index, character) in text.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => {
                escaped.push('\\');
                escaped.push(character);
            }
            '#' if index == 0 => escaped.push_str("\\#"),
            ' ' if index == 0 || index == last => escaped.push_str("\\ "),
            _ if printable::needs_escape(character) => {
                let mut octets = [0; 4];
                for octet in character.encode_utf8(&mut octets).bytes() {
                    escaped.push_str(&format!("\\{octet:02X}"));
                }
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Reads either notation to attributes in order of encoding.
pub(super) fn parse(text: &str) -> Result<Vec<(AttributeType, String)>> {
    if text.is_empty() || text == "/" {
        return Ok(Vec::new());
    }
    if let Some(rest) = text.strip_prefix('/') {
        return split(rest, '/')?.into_iter().map(|part| pair(text, part)).collect();
    }
    let mut attributes: Vec<(AttributeType, String)> =
        split(text, ',')?.into_iter().map(|part| pair(text, part)).collect::<Result<_>>()?;
    attributes.reverse();
    Ok(attributes)
}

/// Splits at separators that no backslash precedes.
fn split(text: &str, separator: char) -> Result<Vec<&str>> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (index, character) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == separator {
            parts.push(text.get(start..index).unwrap_or_default());
            start = index.saturating_add(character.len_utf8());
        }
    }
    if escaped {
        return Err(malformed(text, "it ends in a backslash"));
    }
    parts.push(text.get(start..).unwrap_or_default());
    Ok(parts)
}

fn pair(whole: &str, part: &str) -> Result<(AttributeType, String)> {
    let (name, raw) = part.split_once('=').ok_or_else(|| {
        malformed(whole, "each part is a type, `=` and a value; put a backslash before a separator inside of a value")
    })?;
    let name = name.trim();
    let attribute_type = AttributeType::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = AttributeType::ALL.into_iter().map(AttributeType::short_name).collect();
        malformed(
            whole,
            &format!("`{}` is not a known attribute type; known are {}", printable::text(name), known.join(", ")),
        )
    })?;
    Ok((attribute_type, unescape(whole, raw)?))
}

fn unescape(whole: &str, raw: &str) -> Result<String> {
    let raw = raw.trim_start_matches(' ');
    if raw.starts_with('#') {
        return Err(malformed(whole, "values in hex form (`#...`) are not taken; escape a leading `#` as `\\#`"));
    }
    let mut octets: Vec<u8> = Vec::with_capacity(raw.len());
    // The length up to which trailing blanks belong to the value, because they were escaped or something follows them.
    let mut keep = 0;
    let mut characters = raw.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                push_escaped(whole, &mut characters, &mut octets)?;
                keep = octets.len();
            }
            '+' => return Err(malformed(whole, "multi-valued names (`+`) are not taken; write `\\+` for a plus sign")),
            _ => {
                octets.extend(character.encode_utf8(&mut [0; 4]).bytes());
                if character != ' ' {
                    keep = octets.len();
                }
            }
        }
    }
    octets.truncate(keep);
    String::from_utf8(octets).map_err(|error| malformed(whole, "an escaped value is not UTF-8").with_source(error))
}

fn push_escaped(whole: &str, characters: &mut std::str::Chars<'_>, octets: &mut Vec<u8>) -> Result<()> {
    let first = characters.next().ok_or_else(|| malformed(whole, "it ends in a backslash"))?;
    let Some(high) = first.to_digit(16) else {
        octets.extend(first.encode_utf8(&mut [0; 4]).bytes());
        return Ok(());
    };
    let low = characters
        .next()
        .and_then(|second| second.to_digit(16))
        .ok_or_else(|| malformed(whole, "a backslash is followed by one special character or two hex digits"))?;
    octets.push(u8::try_from(high * 16 + low).unwrap_or(u8::MAX));
    Ok(())
}

fn malformed(whole: &str, reason: &str) -> Error {
    Error::malformed(format!(
        "`{}` is not a distinguished name such as `CN=www.example.com,O=Example` or `/O=Example/CN=www.example.com`: {reason}",
        printable::text(whole)
    ))
}
