//! What stands between x509-parser and the rest of `x509/`: strictness before it, our types after it.
//!
//! x509-parser reads every structure. It is made to read what is out there, so it accepts lengths that are not minimal, ignores the class
//! of tags, and drops what follows the last field it knows. For a CA that would mean to judge something else than
//! what was signed, so `shape.rs` checks the DER against its grammar first. [`Reader`] splits values without reading them, for
//! the octets that x509-parser does not hand out: signed parts, identifiers of algorithms, attributes of requests, general names.

pub(crate) mod shape;

use const_oid::ObjectIdentifier;
use x509_parser::asn1_rs::{Any, FromDer, Oid};
use x509_parser::nom;
use x509_parser::time::ASN1Time;
use x509_parser::x509::AlgorithmIdentifier;

use super::Timestamp;
use super::encoding;
use crate::error::{Error, Result};

/// One value: its identifier octet, its content, and all its octets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    /// The identifier octet.
    pub(crate) tag: u8,
    /// The content octets.
    pub(crate) content: &'a [u8],
    /// Identifier, length and content octets.
    pub(crate) raw: &'a [u8],
}

impl<'a> Value<'a> {
    /// Returns a reader over the content.
    pub(crate) const fn reader(&self) -> Reader<'a> {
        Reader::new(self.content)
    }
}

/// Splits octets into values, strictly: definite minimal lengths, nothing copied, no recursion.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `input`.
    pub(crate) const fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// Whether nothing is left.
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Fails when something is left.
    pub(crate) fn finish(&self, what: &str) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Error::malformed(format!("{what}: {} octets of trailing data", self.rest.len())))
    }

    /// Returns the identifier octet of the next value.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Reads the next value, whatever it is.
    pub(crate) fn any(&mut self, what: &str) -> Result<Value<'a>> {
        let cut = || Error::malformed(format!("{what}: the DER ends too early"));
        let [tag, first, after @ ..] = self.rest else { return Err(cut()) };
        if tag & 0x1f == 0x1f {
            return Err(Error::malformed(format!("{what}: multi-octet tags are not used in X.509")));
        }
        let (length, after) =
            if *first < 0x80 { (usize::from(*first), after) } else { long_length(*first, after, what)? };
        let (content, rest) = after.split_at_checked(length).ok_or_else(cut)?;
        let (raw, _) = self.rest.split_at_checked(self.rest.len().saturating_sub(rest.len())).ok_or_else(cut)?;
        self.rest = rest;
        Ok(Value { tag: *tag, content, raw })
    }

    /// Reads the next value, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8, what: &str) -> Result<Value<'a>> {
        let value = self.any(what)?;
        if value.tag == tag {
            return Ok(value);
        }
        Err(Error::malformed(format!("{what}: expected tag 0x{tag:02x}, found 0x{:02x}", value.tag)))
    }
}

/// Reads input that must be exactly one SEQUENCE, and returns a reader over its content.
pub(crate) fn only_sequence<'a>(input: &'a [u8], what: &str) -> Result<Reader<'a>> {
    let mut reader = Reader::new(input);
    let content = reader.expect(encoding::SEQUENCE, what)?.reader();
    reader.finish(what)?;
    Ok(content)
}

fn long_length<'a>(first: u8, after: &'a [u8], what: &str) -> Result<(usize, &'a [u8])> {
    let not_der = || Error::malformed(format!("{what}: the length is not DER (indefinite, not minimal or too large)"));
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 {
        return Err(not_der());
    }
    let (octets, rest) = after.split_at_checked(count).ok_or_else(not_der)?;
    let length = octets.iter().fold(0_usize, |length, octet| length << 8 | usize::from(*octet));
    if octets.first() == Some(&0) || length < 0x80 {
        return Err(not_der());
    }
    Ok((length, rest))
}

/// Takes the outcome of one of x509-parser's functions: the value, when it is all of the input.
pub(crate) fn complete<T, E>(parsed: nom::IResult<&[u8], T, E>, what: &str) -> Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match parsed {
        Ok(([], value)) => Ok(value),
        Ok((rest, _)) => Err(Error::malformed(format!("{what}: {} octets of trailing data", rest.len()))),
        Err(nom::Err::Incomplete(_)) => Err(Error::malformed(format!("{what}: the DER ends too early"))),
        Err(nom::Err::Error(error) | nom::Err::Failure(error)) => {
            Err(Error::malformed(format!("{what}: {error}")).with_source(error))
        }
    }
}

/// Takes an object identifier of x509-parser.
pub(crate) fn object_identifier(oid: &Oid<'_>, what: &str) -> Result<ObjectIdentifier> {
    let parsed = match oid.as_bytes() {
        // Three arcs in two octets, as `2.5.29` has: const-oid writes them, and reads none of less than three octets.
        &[roots, third] if roots < 0x80 && third < 0x80 => {
            let first = (roots / 40).min(2);
            let second = roots - first * 40;
            ObjectIdentifier::new(&format!("{first}.{second}.{third}"))
        }
        octets => ObjectIdentifier::from_bytes(octets),
    };
    parsed.map_err(|error| {
        Error::malformed(format!("{what}: not an object identifier that can be read")).with_source(error)
    })
}

/// Reads an `AlgorithmIdentifier`: the algorithm, and whether it has parameters.
pub(crate) fn algorithm(der: &[u8], what: &str) -> Result<(ObjectIdentifier, bool)> {
    shape::ALGORITHM_IDENTIFIER.check(der, what)?;
    let identifier = complete(AlgorithmIdentifier::from_der(der), what)?;
    Ok((object_identifier(&identifier.algorithm, what)?, identifier.parameters.is_some()))
}

/// Takes a `Time` (RFC 5280, section 4.1.2.5), whose shape has been checked.
pub(crate) fn timestamp(moment: ASN1Time, what: &str) -> Result<Timestamp> {
    let seconds = moment.timestamp();
    if seconds < Timestamp::MIN.unix() {
        return Err(Error::malformed(format!("{what}: before 1950, the first year that X.509 has")));
    }
    Ok(Timestamp::from_unix(seconds))
}

/// Returns the identifier octet of a value of x509-parser, whose tag is below 31.
pub(crate) fn identifier_octet(value: &Any<'_>) -> u8 {
    let constructed = if value.header.is_constructed() { 0x20 } else { 0 };
    let number = u8::try_from(value.tag().0).unwrap_or(0x1f) & 0x1f;
    (value.class() as u8) << 6 | constructed | number
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(der: &[u8]) -> Result<Timestamp> {
        shape::TIME.check(der, "time")?;
        timestamp(complete(ASN1Time::from_der(der), "time")?, "time")
    }

    #[test]
    fn refuses_lengths_that_are_not_der() {
        for input in [
            &[0x30, 0x80, 0, 0][..],
            &[0x30, 0x81, 0x01, 0],
            &[0x30, 0x82, 0x00, 0x80],
            &[0x30, 0x85, 1, 1, 1, 1, 1],
            &[0x30, 0x05, 0],
            &[0x3f, 0x01, 0],
            &[0x30],
            &[],
        ] {
            assert!(Reader::new(input).any("value").is_err(), "{input:02x?}");
        }
    }

    #[test]
    fn object_identifiers_of_three_arcs_are_read_back() {
        for text in ["1.2.3", "2.5.29", "0.9.1", "1.2.840.113549"] {
            let oid = ObjectIdentifier::new(text).unwrap();
            let der = encoding::object_identifier(&oid);
            let read = object_identifier(&complete(Oid::from_der(&der), "identifier").unwrap(), "identifier").unwrap();
            assert_eq!((read, read.to_string()), (oid, text.to_owned()));
        }
        let two_arcs = Oid::from_der(&[6, 1, 0x2a]).unwrap().1;
        assert!(object_identifier(&two_arcs, "identifier").is_err());
    }

    #[test]
    fn refuses_trailing_data() {
        let error = only_sequence(&[0x30, 0, 0], "value").unwrap_err();
        assert_eq!(error.detail(), "value: 1 octets of trailing data");
    }

    #[test]
    fn refuses_dates_that_do_not_exist() {
        for text in [&b"230230000000Z"[..], b"2302010000Z", b"230201000000+0100", b"231301000000Z", b"23020100000xZ"] {
            assert!(time(&encoding::value(encoding::UTC_TIME, text)).is_err());
        }
        assert!(time(&encoding::value(encoding::GENERALIZED_TIME, b"19491231235959Z")).is_err());
        assert!(time(&encoding::value(encoding::GENERALIZED_TIME, b"20300101000000.5Z")).is_err());
    }

    proptest! {
        #[test]
        fn times_survive_a_round_trip(seconds in Timestamp::MIN.unix()..=Timestamp::MAX.unix()) {
            let moment = Timestamp::from_unix(seconds);
            let mut der = Vec::new();
            encoding::append_time(&mut der, moment);
            prop_assert_eq!(time(&der).unwrap(), moment);
            prop_assert_eq!(time(&encoding::generalized_time(moment)).unwrap(), moment);
        }

        #[test]
        fn arbitrary_octets_never_panic(input in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Reader::new(&input);
            while let Ok(value) = reader.any("value") {
                prop_assert!(value.raw.ends_with(value.content));
            }
        }
    }
}
