//! The clock and the random source, as arguments, so that every test is repeatable.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::error::{Error, Result};
use crate::x509::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Returns the milliseconds since 1970-01-01T00:00:00Z.
    fn unix_milliseconds(&self) -> i64;

    /// Returns the present to the whole second.
    fn now(&self) -> Timestamp {
        Timestamp::from_unix(self.unix_milliseconds().div_euclid(1000))
    }
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_milliseconds(&self) -> i64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Gives random octets.
pub trait RandomSource: Send + Sync + std::fmt::Debug {
    /// Fills the buffer.
    ///
    /// # Errors
    /// `Internal` when the source fails.
    fn fill(&self, buffer: &mut [u8]) -> Result<()>;
}

/// The operating system's random source.
#[derive(Debug, Default)]
pub struct SystemRandomSource(SystemRandom);

impl RandomSource for SystemRandomSource {
    fn fill(&self, buffer: &mut [u8]) -> Result<()> {
        self.0.fill(buffer).map_err(|error| Error::internal("the random source failed").with_source(error))
    }
}
