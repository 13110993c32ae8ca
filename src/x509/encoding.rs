//! Writes DER (ITU-T X.690): the few types that X.509 is made of, straight into octets.
//!
//! Only encoding: what is encoded, and whether it makes sense, is the caller's matter. Reading is in `decoding.rs`.

use const_oid::ObjectIdentifier;
use time::OffsetDateTime;

use super::Timestamp;

/// BOOLEAN.
pub(crate) const BOOLEAN: u8 = 0x01;
/// INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// BIT STRING.
pub(crate) const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// NULL.
pub(crate) const NULL: u8 = 0x05;
/// OBJECT IDENTIFIER.
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
/// ENUMERATED.
pub(crate) const ENUMERATED: u8 = 0x0a;
/// `UTF8String`.
pub(crate) const UTF8_STRING: u8 = 0x0c;
/// `NumericString`.
pub(crate) const NUMERIC_STRING: u8 = 0x12;
/// `PrintableString`.
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
/// `TeletexString`.
pub(crate) const TELETEX_STRING: u8 = 0x14;
/// `IA5String`.
pub(crate) const IA5_STRING: u8 = 0x16;
/// `UTCTime`.
pub(crate) const UTC_TIME: u8 = 0x17;
/// `GeneralizedTime`.
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
/// `VisibleString`.
pub(crate) const VISIBLE_STRING: u8 = 0x1a;
/// `UniversalString`.
pub(crate) const UNIVERSAL_STRING: u8 = 0x1c;
/// `BMPString`.
pub(crate) const BMP_STRING: u8 = 0x1e;
/// SEQUENCE and SEQUENCE OF.
pub(crate) const SEQUENCE: u8 = 0x30;
/// SET and SET OF.
pub(crate) const SET: u8 = 0x31;

/// Returns the identifier octet of a context-specific tag with primitive content. `number` is below 31.
pub(crate) const fn context(number: u8) -> u8 {
    0x80 | number
}

/// Returns the identifier octet of a context-specific tag with constructed content. `number` is below 31.
pub(crate) const fn context_constructed(number: u8) -> u8 {
    0xa0 | number
}

/// Appends the identifier octet and the length octets of a value with `length` octets of content.
pub(crate) fn header(out: &mut Vec<u8>, tag: u8, length: usize) {
    out.push(tag);
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let octets = length.to_be_bytes();
            let significant = octets.iter().skip_while(|octet| **octet == 0);
            let count = significant.clone().count();
            // A usize has at most 8 octets, so the count always fits.
            out.push(0x80 | u8::try_from(count).unwrap_or(0x7f));
            out.extend(significant);
        }
    }
}

/// Appends a whole value.
pub(crate) fn append(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    header(out, tag, content.len());
    out.extend_from_slice(content);
}

/// Puts a header in front of everything that was appended since `start`, in place.
pub(crate) fn wrap(out: &mut Vec<u8>, start: usize, tag: u8) {
    let end = out.len();
    let start = start.min(end);
    header(out, tag, end - start);
    // The header was appended; what it belongs to goes behind it.
    if let Some(value) = out.get_mut(start..) {
        value.rotate_left(end - start);
    }
}

/// Returns one value.
pub(crate) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len().saturating_add(6));
    append(&mut out, tag, content);
    out
}

/// Returns one constructed value out of its parts.
pub(crate) fn constructed(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(usize::saturating_add(length, 6));
    header(&mut out, tag, length);
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// Returns a SEQUENCE of its parts.
pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    constructed(SEQUENCE, parts)
}

/// Returns an OBJECT IDENTIFIER.
pub(crate) fn object_identifier(oid: &ObjectIdentifier) -> Vec<u8> {
    value(OBJECT_IDENTIFIER, oid.as_bytes())
}

/// Returns BOOLEAN TRUE. (FALSE is a default everywhere in X.509 and therefore never written.)
pub(crate) const fn boolean_true() -> [u8; 3] {
    [BOOLEAN, 1, 0xff]
}

/// Returns the content octets of a non-negative INTEGER with this value.
pub(crate) fn unsigned_content(number: u64) -> Vec<u8> {
    minimal(&number.to_be_bytes())
}

/// Returns the content octets of a non-negative INTEGER: no leading zeros but the one that keeps it from being negative.
fn minimal(octets: &[u8]) -> Vec<u8> {
    let mut content: Vec<u8> = octets.iter().copied().skip_while(|octet| *octet == 0).collect();
    if content.first().is_none_or(|first| first & 0x80 != 0) {
        content.insert(0, 0);
    }
    content
}

/// Returns a non-negative INTEGER.
pub(crate) fn unsigned(number: u64) -> Vec<u8> {
    value(INTEGER, &unsigned_content(number))
}

/// Returns a non-negative INTEGER of a number in big-endian octets, with leading zeros or without.
pub(crate) fn unsigned_octets(octets: &[u8]) -> Vec<u8> {
    value(INTEGER, &minimal(octets))
}

/// Returns a BIT STRING of whole octets.
pub(crate) fn bit_string(octets: &[u8]) -> Vec<u8> {
    constructed(BIT_STRING, &[&[0], octets])
}

/// Appends a `Time` as RFC 5280, section 4.1.2.5, wants it: `UTCTime` through 2049, `GeneralizedTime` from 2050.
pub(crate) fn append_time(out: &mut Vec<u8>, moment: Timestamp) {
    let calendar = moment.to_date_time();
    if calendar.year() > 2049 {
        // Rare: what is signed here ends before, and what is revoked was revoked before.
        out.extend(generalized_time(moment));
        return;
    }
    header(out, UTC_TIME, 13);
    push_two_digits(out, u8::try_from(calendar.year().rem_euclid(100)).unwrap_or(0));
    push_month_to_second(out, calendar);
}

/// Returns how many octets [`append_time`] appends.
pub(crate) fn time_length(moment: Timestamp) -> usize {
    if moment.to_date_time().year() > 2049 { 17 } else { 15 }
}

/// Returns a `GeneralizedTime` without fractions, in UTC (RFC 5280, section 4.1.2.5.2).
pub(crate) fn generalized_time(moment: Timestamp) -> Vec<u8> {
    let mut out = Vec::with_capacity(17);
    append_generalized_time(&mut out, moment);
    out
}

/// Appends a `GeneralizedTime` without fractions, in UTC (RFC 5280, section 4.1.2.5.2).
pub(crate) fn append_generalized_time(out: &mut Vec<u8>, moment: Timestamp) {
    let calendar = moment.to_date_time();
    header(out, GENERALIZED_TIME, 15);
    push_two_digits(out, u8::try_from(calendar.year().div_euclid(100)).unwrap_or(0));
    push_two_digits(out, u8::try_from(calendar.year().rem_euclid(100)).unwrap_or(0));
    push_month_to_second(out, calendar);
}

fn push_month_to_second(content: &mut Vec<u8>, calendar: OffsetDateTime) {
    let fields = [u8::from(calendar.month()), calendar.day(), calendar.hour(), calendar.minute(), calendar.second()];
    for field in fields {
        push_two_digits(content, field);
    }
    content.push(b'Z');
}

fn push_two_digits(content: &mut Vec<u8>, number: u8) {
    content.push(b'0' + number / 10 % 10);
    content.push(b'0' + number % 10);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_minimal() {
        for (length, expected) in [
            (0, vec![0x30, 0]),
            (0x7f, vec![0x30, 0x7f]),
            (0x80, vec![0x30, 0x81, 0x80]),
            (0x100, vec![0x30, 0x82, 1, 0]),
            (0x10_0000, vec![0x30, 0x83, 0x10, 0, 0]),
        ] {
            let mut out = Vec::new();
            header(&mut out, SEQUENCE, length);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn wrapping_equals_constructing() {
        let mut out = vec![1, 2, 3];
        out.extend_from_slice(&[9; 300]);
        wrap(&mut out, 3, SEQUENCE);
        let mut expected = vec![1, 2, 3];
        expected.extend(value(SEQUENCE, &[9; 300]));
        assert_eq!(out, expected);
    }

    #[test]
    fn integers_are_minimal_and_not_negative() {
        assert_eq!(unsigned(0), [2, 1, 0]);
        assert_eq!(unsigned(127), [2, 1, 127]);
        assert_eq!(unsigned(128), [2, 2, 0, 128]);
        assert_eq!(unsigned(u64::MAX).len(), 11);
    }

    fn time(moment: Timestamp) -> Vec<u8> {
        let mut out = Vec::new();
        append_time(&mut out, moment);
        out
    }

    #[test]
    fn years_to_2049_are_utc_time_and_later_ones_generalized_time() {
        let last: Timestamp = "2049-12-31T23:59:59Z".parse().unwrap();
        let next: Timestamp = "2050-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(time(last), value(UTC_TIME, b"491231235959Z"));
        assert_eq!(time(next), value(GENERALIZED_TIME, b"20500101000000Z"));
        assert_eq!(time(Timestamp::MAX), value(GENERALIZED_TIME, b"99991231235959Z"));
        assert_eq!(time(Timestamp::MIN), value(UTC_TIME, b"500101000000Z"));
        for moment in [last, next, Timestamp::MAX, Timestamp::MIN] {
            assert_eq!(time(moment).len(), time_length(moment));
        }
    }
}
