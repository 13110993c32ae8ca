//! Certificate serial numbers: positive, at most 20 octets (RFC 5280, section 4.1.2.2), made time-led so that
//! database indexes grow at their edge, written as lower-case hex.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

const MAXIMUM_OCTETS: usize = 20;

/// A certificate serial number: the minimal big-endian octets of a positive integer, 20 at most.
///
/// The octets are kept in place, because a CRL may have a million of them. Ordered as numbers are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SerialNumber {
    length: u8,
    /// The octets, then zeros.
    octets: [u8; MAXIMUM_OCTETS],
}

impl SerialNumber {
    /// The number of random octets in a serial number made here: 112 bits.
    pub const RANDOM_OCTETS: usize = 14;

    const ONE: Self = {
        let mut octets = [0; MAXIMUM_OCTETS];
        octets[0] = 1;
        Self { length: 1, octets }
    };

    /// Makes a serial number of 20 octets: 6 octets of Unix milliseconds, then `random`.
    #[must_use]
    pub fn from_time(unix_milliseconds: i64, random: [u8; Self::RANDOM_OCTETS]) -> Self {
        let milliseconds = u64::try_from(unix_milliseconds).unwrap_or(0) & 0x7fff_ffff_ffff;
        let time: Vec<u8> = milliseconds.to_be_bytes().into_iter().skip(2).collect();
        let octets: Vec<u8> = time.into_iter().chain(random).collect();
        // Only a broken random source at the first millisecond of 1970 makes a zero, which is not a serial number.
        Self::minimal(&octets).unwrap_or(Self::ONE)
    }

    /// Takes the content octets of a DER INTEGER or its minimal form; leading zero octets are dropped.
    ///
    /// # Errors
    /// `Malformed` when it is zero, empty or over 20 octets.
    pub fn from_bytes(octets: &[u8]) -> Result<Self> {
        Self::minimal(octets).ok_or_else(|| match octets.iter().skip_while(|octet| **octet == 0).count() {
            0 => Error::malformed("a serial number is a positive integer, not zero"),
            length => {
                Error::malformed(format!("a serial number has at most {MAXIMUM_OCTETS} octets, this one has {length}"))
            }
        })
    }

    /// Drops leading zeros; `None` when nothing is left, or too much.
    fn minimal(octets: &[u8]) -> Option<Self> {
        let zeros = octets.iter().take_while(|octet| **octet == 0).count();
        let significant = octets.get(zeros..).filter(|significant| !significant.is_empty())?;
        let mut own = [0; MAXIMUM_OCTETS];
        own.get_mut(..significant.len())?.copy_from_slice(significant);
        Some(Self { length: u8::try_from(significant.len()).ok()?, octets: own })
    }

    /// Returns the minimal big-endian octets, without a leading zero.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.octets.get(..usize::from(self.length)).unwrap_or(&self.octets)
    }

    /// Returns the content octets of the DER INTEGER: with a leading zero octet when the top bit is set.
    #[must_use]
    pub fn to_der_content(&self) -> Vec<u8> {
        let mut content = Vec::with_capacity(MAXIMUM_OCTETS + 1);
        if self.has_top_bit() {
            content.push(0);
        }
        content.extend_from_slice(self.as_bytes());
        content
    }

    /// Whether the DER INTEGER begins with a zero octet, so that it is not negative.
    pub(crate) fn has_top_bit(&self) -> bool {
        self.as_bytes().first().is_some_and(|first| first & 0x80 != 0)
    }
}

impl fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        data_encoding::HEXLOWER.encode_display(self.as_bytes()).fmt(f)
    }
}

impl fmt::Debug for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SerialNumber {
    type Err = Error;
    /// Reads hex in either case, with or without colons and a `0x` prefix; leading zeros are ignored.
    fn from_str(text: &str) -> Result<Self> {
        let malformed = || {
            let shown: String = text.chars().filter(|character| !character.is_control()).take(100).collect();
            Error::malformed(format!("`{shown}` is not a serial number: up to {} hex digits", 2 * MAXIMUM_OCTETS))
        };
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        let digits: String = digits.chars().filter(|character| *character != ':').collect();
        if digits.is_empty() || digits.len() > 200 {
            return Err(malformed());
        }
        let even = if digits.len().is_multiple_of(2) { digits } else { format!("0{digits}") };
        let octets = hex::decode(even).map_err(|error| malformed().with_source(error))?;
        Self::from_bytes(&octets)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn is_time_led_and_has_20_octets() {
        let earlier = SerialNumber::from_time(1_790_000_000_000, [0xff; 14]);
        let later = SerialNumber::from_time(1_790_000_000_001, [0; 14]);
        assert_eq!(earlier.as_bytes().len(), 20);
        assert_eq!(later.as_bytes().len(), 20);
        assert!(earlier < later);
        assert_eq!(earlier.to_der_content().len(), 20);
    }

    #[test]
    fn is_ordered_as_a_number() {
        let number = |octets: &[u8]| SerialNumber::from_bytes(octets).unwrap();
        assert!(number(&[2]) < number(&[1, 0]));
        assert!(number(&[1, 0]) < number(&[1, 1]));
    }

    #[test]
    fn is_positive_at_any_time() {
        assert_eq!(SerialNumber::from_time(-5, [0; 14]).as_bytes(), [1]);
        assert_eq!(SerialNumber::from_time(i64::MAX, [0xff; 14]).to_der_content().len(), 20);
    }

    #[test]
    fn reads_the_usual_ways_of_writing_hex() {
        for text in ["01ab", "1AB", "0x01ab", "01:AB", "00:00:01:ab"] {
            assert_eq!(text.parse::<SerialNumber>().unwrap().to_string(), "01ab");
        }
    }

    #[test]
    fn refuses_zero_empty_overlong_and_other_characters() {
        for text in ["", "0", "00", "xyz", "-1", &"f".repeat(41), "0x", "1 2"] {
            assert!(text.parse::<SerialNumber>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_set_top_bit_gets_a_leading_zero_octet() {
        assert_eq!(SerialNumber::from_bytes(&[0x80]).unwrap().to_der_content(), [0, 0x80]);
        assert_eq!(SerialNumber::from_bytes(&[0, 0x80]).unwrap().as_bytes(), [0x80]);
    }

    proptest! {
        #[test]
        fn serial_numbers_survive_a_round_trip(octets in proptest::collection::vec(any::<u8>(), 1..=20)) {
            prop_assume!(octets.iter().any(|octet| *octet != 0));
            let serial = SerialNumber::from_bytes(&octets).unwrap();
            prop_assert_eq!(&SerialNumber::from_bytes(&serial.to_der_content()).unwrap(), &serial);
            prop_assert_eq!(&serial.to_string().parse::<SerialNumber>().unwrap(), &serial);
        }
    }
}
