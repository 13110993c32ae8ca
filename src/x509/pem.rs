//! PEM (RFC 7468) in and out.
//!
//! Reading is lax about line lengths and line ends, as other programs write them in every manner, and strict about the rest.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::{Error, Result};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Writes one PEM block with this label, 64 columns, ending in a newline.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    block(label, der, "\n", "")
}

/// Writes one PEM block with this end of lines, between quotes.
fn block(label: &str, der: &[u8], end: &str, quote: &str) -> String {
    /// What makes a line of 64 columns.
    const OCTETS: usize = 48;
    let base64 = der.len().div_ceil(3) * 4;
    let around = 2 * (BEGIN.len() + label.len() + DASHES.len() + end.len() + quote.len());
    let mut text = String::with_capacity(base64 + der.len().div_ceil(OCTETS) * end.len() + around);
    for part in [quote, BEGIN, label, DASHES, end] {
        text.push_str(part);
    }
    for line in der.chunks(OCTETS) {
        STANDARD.encode_string(line, &mut text);
        text.push_str(end);
    }
    for part in [END, label, DASHES, end, quote] {
        text.push_str(part);
    }
    text
}

/// A PEM block as JSON has it: a string whose newlines are escaped. It is written as it is, where any other string would be searched for what
/// must be escaped.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct PemText(Arc<RawValue>);

impl PemText {
    /// Writes one PEM block with this label.
    ///
    /// # Errors
    /// `Internal` never: a label of letters and base64 are a JSON string.
    pub fn new(label: &str, der: &[u8]) -> Result<Self> {
        let text = block(label, der, "\\n", "\"");
        let text = RawValue::from_string(text)
            .map_err(|error| Error::internal("a PEM block is not a JSON string").with_source(error))?;
        Ok(Self(text.into()))
    }
}

/// Reads every PEM block of a text: label and DER. Text around and between the blocks is ignored.
///
/// # Errors
/// `Malformed` when a block is not terminated or not base64.
pub fn decode_all(text: &str) -> Result<Vec<(String, Vec<u8>)>> {
    decode_matching(text, |_label| true)
}

/// Reads the PEM blocks whose label matches, as [`decode_all`] does; others, private keys above all, are not decoded.
///
/// # Errors
/// `Malformed` when a block is not terminated, or one that matches is not base64.
pub fn decode_matching(text: &str, matches: impl Fn(&str) -> bool) -> Result<Vec<(String, Vec<u8>)>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(DASHES)) else { continue };
        let base64 = body(&mut lines, label)?;
        if !matches(label) {
            continue;
        }
        let der = STANDARD.decode(&base64).map_err(|error| {
            Error::malformed(format!("the PEM block `{}` is not base64", shown(label))).with_source(error)
        })?;
        blocks.push((label.to_owned(), der));
    }
    Ok(blocks)
}

/// Returns the input as text when it holds a PEM block, and `None` when it does not: then it may be DER.
pub(crate) fn text_of(input: &[u8]) -> Option<&str> {
    // DER of more than 127 octets is never UTF-8, because of its length octets.
    std::str::from_utf8(input).ok().filter(|text| text.contains(BEGIN))
}

/// Whether a label is one of those that certificates have had.
pub(crate) fn is_certificate(label: &str) -> bool {
    matches!(label, "CERTIFICATE" | "X509 CERTIFICATE")
}

/// Whether a label is one of those that certificate signing requests have had.
pub(crate) fn is_certificate_request(label: &str) -> bool {
    matches!(label, "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST")
}

/// Collects the base64 of one block up to its END line; header lines as RFC 1421 had them are left out.
fn body<'a>(lines: &mut impl Iterator<Item = &'a str>, label: &str) -> Result<String> {
    let mut base64 = String::with_capacity(1024);
    for line in lines {
        if let Some(end) = line.strip_prefix(END) {
            if end.strip_suffix(DASHES) == Some(label) {
                return Ok(base64);
            }
            return Err(Error::malformed(format!("the PEM block `{}` ends with another label", shown(label))));
        }
        if line.starts_with(BEGIN) {
            break;
        }
        if line.as_bytes().contains(&b':') {
            continue;
        }
        // Nearly always false, and cheap to find out when nothing ends the search early.
        if line.bytes().fold(false, |found, octet| found | octet.is_ascii_whitespace()) {
            base64.extend(line.chars().filter(|character| !character.is_ascii_whitespace()));
        } else {
            base64.push_str(line);
        }
    }
    Err(Error::malformed(format!("the PEM block `{}` has no END line", shown(label))))
}

/// Returns a label fit for a message: its printable start.
fn shown(label: &str) -> String {
    label.chars().filter(|character| !character.is_control()).take(40).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writes_lines_of_64_columns() {
        let text = encode("CERTIFICATE", &[7; 100]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "-----BEGIN CERTIFICATE-----");
        assert_eq!(lines[1].len(), 64);
        assert_eq!(lines.last(), Some(&"-----END CERTIFICATE-----"));
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn ignores_text_around_blocks_and_takes_any_line_ends() {
        let text = "subject=CN\r\n-----BEGIN A-----\r\nAQI=\r\n-----END A-----\r\nmore\n-----BEGIN B-----\nA\nwQ=\n-----END B-----";
        assert_eq!(decode_all(text).unwrap(), [("A".to_owned(), vec![1, 2]), ("B".to_owned(), vec![3, 4])]);
    }

    #[test]
    fn refuses_a_block_without_end_or_with_other_characters() {
        for text in [
            "-----BEGIN A-----\nAQI=\n",
            "-----BEGIN A-----\nAQI=\n-----END B-----\n",
            "-----BEGIN A-----\nA*I=\n-----END A-----\n",
            "-----BEGIN A-----\n-----BEGIN A-----\nAQI=\n-----END A-----\n",
        ] {
            assert!(decode_all(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_block_in_json_is_the_same_block(der in proptest::collection::vec(any::<u8>(), 0..300)) {
            let json = serde_json::to_string(&[PemText::new("X Y", &der).unwrap()]).unwrap();
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), vec![encode("X Y", &der)]);
        }

        #[test]
        fn blocks_survive_a_round_trip(der in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(decode_all(&encode("X", &der)).unwrap(), vec![("X".to_owned(), der)]);
        }
    }
}
