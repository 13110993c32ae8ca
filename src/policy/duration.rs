//! Durations as people write them: a whole number and a unit, `30s`, `15m`, `36h`, `90d`; also as a serde `with` module.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

use super::shown;
use crate::error::{Error, Result};

/// The most days that a duration may have: 100 years.
const MAXIMUM_DAYS: u64 = 36_500;

/// The greatest duration.
pub const MAXIMUM: Duration = Duration::from_secs(MAXIMUM_DAYS * 86_400);

/// The units and their seconds, greatest first.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Reads a duration: digits and one of `s`, `m`, `h`, `d`; at most 36,500 days.
///
/// # Errors
/// `Malformed` when it is anything else.
pub fn parse(text: &str) -> Result<Duration> {
    let refused = || {
        Error::malformed(format!(
            "`{}` is not a duration; write a whole number and `s`, `m`, `h` or `d`, such as `90d`, at most `{MAXIMUM_DAYS}d`",
            shown(text)
        ))
    };
    let (unit_at, seconds) = match text.char_indices().next_back() {
        Some((at, unit)) => (at, UNITS.iter().find(|(name, _)| *name == unit).map(|(_, seconds)| *seconds)),
        None => return Err(refused()),
    };
    let digits = text.get(..unit_at).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(refused());
    }
    let count: u64 = digits.parse().map_err(|error| refused().with_source(error))?;
    seconds
        .and_then(|seconds| count.checked_mul(seconds))
        .filter(|total| *total <= MAXIMUM.as_secs())
        .map(Duration::from_secs)
        .ok_or_else(refused)
}

/// Writes a duration with the greatest unit that divides it; fractions of a second are left out.
#[must_use]
pub fn format(duration: Duration) -> String {
    let total = duration.as_secs();
    let fits = UNITS.iter().find(|(_, seconds)| total > 0 && total.is_multiple_of(*seconds));
    match fits {
        Some((unit, seconds)) => format!("{}{unit}", total / seconds),
        None => format!("{total}s"),
    }
}

/// Writes a duration as a string.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// Reads a duration from a string.
///
/// # Errors
/// As [`parse`].
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_a_number_and_a_unit() {
        for (text, seconds) in [
            ("0s", 0),
            ("30s", 30),
            ("15m", 900),
            ("36h", 129_600),
            ("90d", 7_776_000),
            ("36500d", 3_153_600_000),
            ("3153600000s", 3_153_600_000),
        ] {
            assert_eq!(parse(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "d",
            "90",
            "90 d",
            " 90d",
            "90d ",
            "-1d",
            "+1d",
            "1.5h",
            "1h30m",
            "90D",
            "1w",
            "36501d",
            "9\u{0664}d",
            "٣d",
            "99999999999999999999d",
            "18446744073709551615d",
            "1é",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.detail().contains("such as `90d`"), "{text}: {error}");
        }
    }

    #[test]
    fn writes_the_greatest_unit_that_divides() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (3_600, "1h"), (5_400, "90m"), (86_400, "1d"), (90_000, "25h")]
        {
            assert_eq!(format(Duration::from_secs(seconds)), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(seconds in 0..=MAXIMUM.as_secs()) {
            let duration = Duration::from_secs(seconds);
            prop_assert_eq!(parse(&format(duration)).unwrap(), duration);
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,12}") {
            if let Ok(duration) = parse(&text) {
                prop_assert!(duration <= MAXIMUM);
            }
        }
    }
}
