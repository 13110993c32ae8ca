//! When a certificate is to be renewed by its age (RFC 9773, section 4.2), and how often clients ask.

use std::time::Duration;

use crate::x509::Timestamp;

/// Certificates with a shorter validity than this are renewed at half of it, others at two thirds.
const SHORT: i64 = 10 * 86_400;
/// The least and the most seconds between two questions of a client (RFC 9773, section 4.3.2).
const POLL: (u64, u64) = (60, 86_400);

/// A window in which clients renew, each at a moment of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewalWindow {
    /// The begin.
    pub start: Timestamp,
    /// The end, after the begin.
    pub end: Timestamp,
}

impl RenewalWindow {
    /// Returns the window of a certificate that nothing is known against: a fiftieth of its validity wide, around the moment at which a third
    /// of the validity is left, or half of a short one.
    #[must_use]
    pub fn by_age(not_before: Timestamp, not_after: Timestamp) -> Self {
        // The last second counts.
        let validity = not_after.unix().saturating_sub(not_before.unix()).saturating_add(1).max(1);
        let left = if validity < SHORT { validity / 2 } else { validity / 3 };
        let ideal = not_after.unix().saturating_sub(left);
        let half = (validity / 100).max(1);
        let start = ideal.saturating_sub(half).max(not_before.unix());
        let end = ideal.saturating_add(half).max(start.saturating_add(1));
        Self { start: Timestamp::from_unix(start), end: Timestamp::from_unix(end) }
    }

    /// Returns the window of a certificate that is to be replaced at once: it is over.
    #[must_use]
    pub fn at_once(now: Timestamp) -> Self {
        let ago = |seconds: i64| Timestamp::from_unix(now.unix().saturating_sub(seconds));
        Self { start: ago(3600), end: ago(1800) }
    }
}

/// Returns after how many seconds a client asks again: a twenty-fourth of the validity, at most `interval`, a fifth more or less as `random`
/// says, so that clients do not come together.
#[must_use]
pub fn poll_seconds(interval: Duration, not_before: Timestamp, not_after: Timestamp, random: u32) -> u32 {
    let validity = not_after.since(not_before).as_secs();
    let seconds = interval.as_secs().min(validity / 24).clamp(POLL.0, POLL.1);
    // From 80 to 120 hundredths, in thousandths.
    let share = 800 + u64::from(random) % 401;
    let seconds = (seconds.saturating_mul(share) / 1000).clamp(POLL.0, POLL.1);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    fn window(validity: i64) -> (i64, i64) {
        let window = RenewalWindow::by_age(Timestamp::from_unix(1_000_000), Timestamp::from_unix(999_999 + validity));
        (window.start.unix() - 1_000_000, window.end.unix() - 1_000_000)
    }

    #[test]
    fn a_long_certificate_is_renewed_at_two_thirds_and_a_short_one_at_half() {
        let day = 86_400;
        // 90 days: around day 60, 1.8 days wide.
        assert_eq!(window(90 * day), (60 * day - 1 - 77_760, 60 * day - 1 + 77_760));
        assert_eq!(window(10 * day), (10 * day - 1 - 10 * day / 3 - 8640, 10 * day - 1 - 10 * day / 3 + 8640));
        assert_eq!(window(9 * day), (9 * day / 2 - 1 - 7776, 9 * day / 2 - 1 + 7776));
        assert_eq!(window(3600), (1799 - 36, 1799 + 36));
    }

    #[test]
    fn the_end_is_after_the_begin_however_short_the_certificate_is() {
        for validity in (-5..2000).chain([86_400, i64::from(u32::MAX)]) {
            let (start, end) = window(validity);
            assert!(start < end, "{validity}");
            assert!(start >= 0, "{validity}");
        }
    }

    #[test]
    fn a_certificate_that_is_to_be_replaced_at_once_has_a_window_that_is_over() {
        let window = RenewalWindow::at_once(Timestamp::from_unix(10_000));
        assert_eq!((window.start.unix(), window.end.unix()), (6400, 8200));
    }

    #[test]
    fn clients_ask_again_around_the_interval_and_more_often_when_little_time_is_left() {
        let poll = |hours: u64, validity: i64, random: u32| {
            let interval = Duration::from_secs(hours * 3600);
            poll_seconds(interval, Timestamp::from_unix(0), Timestamp::from_unix(validity), random)
        };
        let ninety_days = 90 * 86_400;
        assert_eq!(poll(6, ninety_days, 0), 17_280);
        assert_eq!(poll(6, ninety_days, 200), 21_600);
        assert_eq!(poll(6, ninety_days, 400), 25_920);
        assert_eq!(poll(6, ninety_days, 401), 17_280);
        assert_eq!(poll(6, 86_400, 200), 3600);
        assert_eq!(poll(6, 3600, 200), 150);
        for random in [0, 1, 200, 400, u32::MAX] {
            assert!((60..=72).contains(&poll(6, 10, random)), "never more than once a minute");
            assert!((69_120..=86_400).contains(&poll(1000, ninety_days * 10, random)), "at least once a day");
        }
    }
}
