//! A moment in UTC to the whole second, the finest that X.509 can say, and its RFC 3339 form.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::{Error, Result};

/// A moment in UTC, in whole seconds since 1970-01-01T00:00:00Z, within the years 1950 to 9999.
///
/// The range is what `UTCTime` and `GeneralizedTime` can express together (RFC 5280, section 4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1950-01-01T00:00:00Z, the first second of `UTCTime`.
    pub const MIN: Self = Self(-631_152_000);
    /// 9999-12-31T23:59:59Z, "no well-defined expiration" (RFC 5280, section 4.1.2.5).
    pub const MAX: Self = Self(253_402_300_799);

    /// Makes a moment from Unix seconds, clamped to the range that X.509 can express.
    #[must_use]
    pub fn from_unix(seconds: i64) -> Self {
        Self(seconds.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Returns the seconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn unix(self) -> i64 {
        self.0
    }

    /// Returns the time from `earlier` to this moment, or zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Returns the moment as a calendar date and time.
    #[must_use]
    pub fn to_date_time(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.0).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self::from_unix(self.0.saturating_add(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self::from_unix(self.0.saturating_sub(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_date_time().format(&Rfc3339).map_err(|_error| fmt::Error)?;
        f.write_str(&text)
    }
}

impl FromStr for Timestamp {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|error| {
            Error::malformed(format!("`{text}` is not an RFC 3339 time such as `2030-01-31T12:00:00Z`"))
                .with_source(error)
        })?;
        let seconds = moment.unix_timestamp();
        if !(Self::MIN.0..=Self::MAX.0).contains(&seconds) {
            return Err(Error::malformed(format!("`{text}` is outside the years 1950 to 9999 that X.509 can express")));
        }
        Ok(Self(seconds))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::DateTime)))
            .description(Some("A moment in UTC, RFC 3339."))
            .examples([serde_json::json!("2030-01-31T12:00:00Z")])
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}
