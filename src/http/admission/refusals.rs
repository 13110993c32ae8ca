//! What those are told who are refused, how soon, and what the log has of them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};

/// The refusals of this moment. Clients who come back at once, whatever they are told, would have the service do nothing but refuse them; so beyond
/// a number they are answered later, one after the other, which costs the service nothing and slows them down.
#[derive(Debug)]
pub(super) struct Refusals {
    told: Mutex<Told>,
    delay: Duration,
}

/// Which refusals were answered.
#[derive(Debug)]
struct Told {
    /// When the present window began, and how many were refused in it.
    since: Instant,
    count: u32,
    /// When the last one that is held back is answered.
    last: Instant,
}

impl Refusals {
    /// Starts with nobody refused; `delay` is the least that an answer is held back.
    pub(super) fn new(delay: Duration) -> Self {
        let now = Instant::now();
        Self { told: Mutex::new(Told { since: now, count: 0, last: now }), delay }
    }

    /// Counts a refusal, and returns how long its answer is held back.
    pub(super) fn count(&self, now: Instant) -> Option<Duration> {
        const WINDOW: Duration = Duration::from_millis(100);
        /// Refusals in a window that are answered at once: a thousand a second.
        const AT_ONCE: u32 = 100;
        /// What lies between two that are held back: another thousand a second, as long as they need not wait for longer than [`LONGEST`].
        const PACE: Duration = Duration::from_millis(1);
        /// The longest that one is held back, in times of what it would have waited for its turn.
        const LONGEST: u32 = 4;

        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(told.since) >= WINDOW {
            (told.since, told.count) = (now, 0);
        }
        told.count = told.count.saturating_add(1);
        if told.count <= AT_ONCE {
            return None;
        }
        let turn = told.last.saturating_duration_since(now).saturating_add(PACE);
        let delay = turn.clamp(self.delay, self.delay.saturating_mul(LONGEST));
        told.last = now + delay;
        Some(delay)
    }
}

/// Makes the refusal of a request, and counts it.
pub(super) fn refuse(work: &'static str, reason: &'static str) -> Error {
    metrics::counter!("chancery_requests_shed_total", "work" => work, "reason" => reason).increment(1);
    tell();
    let detail = "more is asked for than the service can do in time; nothing was done, try again later";
    Error::new(ErrorKind::Overloaded, detail).with_retry_after(retry_after())
}

/// Returns when to come back: 1 to 5 seconds, in turns, so that those who were refused together do not come back together.
fn retry_after() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const SPREAD: u32 = 5;
    1 + NEXT.fetch_add(1, Ordering::Relaxed) % SPREAD
}

/// Writes down once in a while that requests are refused, and how many: a line for each would feed the overload.
fn tell() {
    static TOLD: Mutex<Option<(Instant, u64)>> = Mutex::new(None);
    const INTERVAL: Duration = Duration::from_secs(10);
    // Whoever does not get the lock is counted by the metric only.
    let Ok(mut told) = TOLD.try_lock() else { return };
    match &mut *told {
        Some((since, refused)) if since.elapsed() < INTERVAL => *refused += 1,
        earlier => {
            let before = earlier.map_or(0, |(_, refused)| refused);
            *earlier = Some((Instant::now(), 0));
            drop(told);
            tracing::warn!(
                about_refused_before = before,
                "the service is overloaded and refuses requests; `chancery_requests_shed_total` counts them"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn refusals_beyond_a_number_are_held_back_and_answered_one_after_the_other() {
        let (refusals, now) = (Refusals::new(Duration::from_millis(500)), Instant::now());
        let held_back: Vec<Option<Duration>> = (0..5_000).map(|_| refusals.count(now)).collect();
        assert!(held_back[..100].iter().all(Option::is_none));
        let delays: Vec<u128> = held_back[100..].iter().map(|delay| delay.unwrap().as_millis()).collect();
        assert_eq!(delays[..3], [500, 501, 502]);
        // A thousand a second, until the last of them would wait for too long.
        assert_eq!((delays[1_000], delays[1_500], delays[4_899]), (1_500, 2_000, 2_000));
        // Those who are refused later wait for no longer than those before them.
        let later = now + Duration::from_secs(1);
        let next: Vec<_> = (0..102).map(|_| refusals.count(later)).collect();
        assert_eq!((next[99], next[100].unwrap().as_millis()), (None, 1_001));
        let much_later = now + Duration::from_secs(60);
        assert_eq!(
            (0..101).filter_map(|_| refusals.count(much_later)).collect::<Vec<_>>(),
            [Duration::from_millis(500)]
        );
    }

    #[test]
    fn those_who_are_refused_together_are_told_to_come_back_apart() {
        let told: std::collections::BTreeSet<u32> = (0..5).map(|_| retry_after()).collect();
        assert!(told.len() > 1 && told.iter().all(|seconds| (1..=5).contains(seconds)), "{told:?}");
    }
}
