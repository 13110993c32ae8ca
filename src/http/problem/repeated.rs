//! Lines of the log that would be written for each request while something is away: the first is written at once, then one in a second for each cause,
//! with the number of those in between. A line each would cost more than the refusal, and fill a disk while the database stalls.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long after a line another one with the same cause may be written.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many causes are told apart; the rest is counted only, until one of these has been silent for [`INTERVAL`].
const CAUSES: usize = 16;

/// Which lines were written lately.
#[derive(Debug)]
pub(super) struct Repeated {
    lines: Mutex<Vec<Line>>,
}

/// The last line with one cause.
#[derive(Debug)]
struct Line {
    cause: String,
    written: Instant,
    /// How many were not written since.
    counted: u64,
}

impl Repeated {
    /// Starts with nothing written.
    pub(super) const fn new() -> Self {
        Self { lines: Mutex::new(Vec::new()) }
    }

    /// Whether a line with this cause is to be written now; if so, returns how many with the same cause were only counted before it.
    pub(super) fn write(&self, cause: &str, now: Instant) -> Option<u64> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |line: &Line| now.saturating_duration_since(line.written) >= INTERVAL;
        if let Some(line) = lines.iter_mut().find(|line| line.cause == cause) {
            if !is_old(line) {
                line.counted = line.counted.saturating_add(1);
                return None;
            }
            line.written = now;
            return Some(std::mem::take(&mut line.counted));
        }
        let line = Line { cause: cause.to_owned(), written: now, counted: 0 };
        if lines.len() < CAUSES {
            lines.push(line);
            return Some(0);
        }
        let oldest = lines.iter_mut().filter(|line| is_old(line)).min_by_key(|line| line.written)?;
        *oldest = line;
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn a_cause_is_written_at_once_and_then_once_a_second_with_the_number_of_those_in_between() {
        let (repeated, start) = (Repeated::new(), Instant::now());
        let at = |milliseconds: u64| start + Duration::from_millis(milliseconds);
        assert_eq!(repeated.write("away", at(0)), Some(0));
        for millisecond in 1..1000 {
            assert_eq!(repeated.write("away", at(millisecond)), None);
        }
        assert_eq!(repeated.write("away", at(1000)), Some(999));
        assert_eq!(repeated.write("away", at(1001)), None);
        assert_eq!(repeated.write("away", at(5000)), Some(1));
    }

    #[test]
    fn one_cause_does_not_hide_another() {
        let (repeated, now) = (Repeated::new(), Instant::now());
        assert_eq!(repeated.write("too slow", now), Some(0));
        assert_eq!(repeated.write("disk full", now), Some(0));
        assert_eq!(repeated.write("too slow", now), None);
    }

    #[test]
    fn any_number_of_causes_writes_a_bounded_number_of_lines_and_later_ones_are_heard() {
        let (repeated, start) = (Repeated::new(), Instant::now());
        let written = (0..1000).filter(|cause| repeated.write(&cause.to_string(), start).is_some()).count();
        assert_eq!(written, CAUSES);
        assert_eq!(repeated.write("new", start + INTERVAL), Some(0));
        assert_eq!(repeated.lines.lock().unwrap().len(), CAUSES);
    }
}
