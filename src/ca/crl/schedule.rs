//! When CRLs are published, and for how long they may be cached: decided from what is known of them, without doing anything.

use std::time::Duration;

use crate::ca::Settings;
use crate::ca::settings::IssuerSettings;
use crate::storage::{CrlCounters, CrlSummary};
use crate::x509::Timestamp;

/// How far the clocks of replicas may be apart.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);
/// The shortest time for which a delta CRL is valid.
const SHORTEST_DELTA: Duration = Duration::from_secs(60);
/// For how long, at most, caches may keep a CRL that is replaced soon after a revocation.
const CHANGING_AGE: Duration = Duration::from_secs(3600);
/// For how long, at most, caches may keep a CRL whose successor is late.
const LATE_AGE: Duration = Duration::from_secs(60);

/// When the CRLs of one issuer are published: its settings, and the process's where it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrlPolicy {
    /// How many shards there are for new certificates; 0: none.
    pub shards: i32,
    /// How long a CRL is valid.
    pub validity: Duration,
    /// How old a CRL gets before the next one is made.
    pub refresh: Duration,
    /// How old a delta CRL gets before the next one is made; `None`: there are none.
    pub delta_interval: Option<Duration>,
}

/// Why CRLs are published now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// The job looks what is due.
    Schedule,
    /// Somebody asked for it: the full CRL, and whatever does not have the latest revocations.
    Request,
}

/// The CRLs of one shard that are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// The shard, 0 for the full CRL.
    pub(super) shard: i32,
    /// The complete CRL of the shard, as opposed to only its delta.
    pub(super) base: bool,
    /// Its delta CRL.
    pub(super) delta: bool,
}

impl CrlPolicy {
    /// Fills in the process's settings.
    #[must_use]
    pub fn of(issuer: &IssuerSettings, process: &Settings) -> Self {
        let delta_interval = issuer.crl.delta_interval.or(process.crl_delta_interval);
        Self {
            shards: i32::from(issuer.crl.shards.unwrap_or(process.crl_shards)),
            validity: issuer.crl.validity.unwrap_or(process.crl_validity),
            refresh: issuer.crl.refresh.unwrap_or(process.crl_refresh),
            delta_interval: delta_interval.filter(|interval| !interval.is_zero()),
        }
    }

    /// Returns for how long a delta CRL is valid: through one publication that fails.
    pub(super) fn delta_validity(&self, interval: Duration) -> Duration {
        interval.saturating_mul(2).max(SHORTEST_DELTA).min(self.validity)
    }

    /// Returns for how long caches may keep a CRL.
    ///
    /// Not to its end: the next one comes before. One that is replaced soon after each revocation is kept for an hour at most, because whoever
    /// keeps it does not see the revocation; asking again costs little when nothing has changed.
    #[must_use]
    pub fn cache_age(&self, crl: &CrlSummary, now: Timestamp) -> Duration {
        let (interval, is_changing) = match (crl.base_number, self.delta_interval) {
            (Some(_), interval) => (interval.unwrap_or_default(), true),
            (None, Some(_)) => (self.refresh, false),
            (None, None) => (self.refresh, true),
        };
        let next = match (crl.this_update + interval).since(now) {
            Duration::ZERO => LATE_AGE,
            next if is_changing => next.min(CHANGING_AGE),
            next => next,
        };
        next.min(crl.next_update.since(now))
    }

    /// Finds what is due, by shard. `published` is what there is of the issuer's CRLs.
    ///
    /// Where there are deltas, a revocation makes the delta due, and the complete CRL follows its own time. The full CRL of an issuer with
    /// shards, which no certificate names but those from before the shards, is not made anew for a revocation in one of them.
    pub(super) fn due(
        &self,
        counters: &CrlCounters,
        published: &[CrlSummary],
        occasion: Occasion,
        now: Timestamp,
    ) -> Vec<Due> {
        let greatest = counters.maximum_shard.max(self.shards);
        let find = |shard: i32, is_delta: bool| {
            published.iter().find(|crl| crl.shard == shard && crl.base_number.is_some() == is_delta)
        };
        (0..=greatest)
            .map(|shard| {
                let (base, delta) = (find(shard, false), find(shard, true));
                let of_shard = counters.last_changes.get(&shard).copied().unwrap_or_default();
                let last_change = if greatest == 0 { counters.revocations } else { of_shard };
                let base_due = self.base_is_due(base, last_change, occasion, now, delta)
                    || (shard == 0 && occasion == Occasion::Request);
                // The delta of the full CRL is small whatever the shards: it has the changes of all of them.
                let last_change = if shard == 0 { counters.revocations } else { of_shard };
                let delta_due = self
                    .delta_interval
                    .is_some_and(|interval| base_due || delta_is_due(delta, base, interval, last_change, now));
                Due { shard, base: base_due, delta: delta_due }
            })
            .filter(|due| due.base || due.delta)
            .collect()
    }

    fn base_is_due(
        &self,
        base: Option<&CrlSummary>,
        last_change: i64,
        occasion: Occasion,
        now: Timestamp,
        delta: Option<&CrlSummary>,
    ) -> bool {
        let deltas_tell = self.delta_interval.is_some() && occasion == Occasion::Schedule;
        base.is_none_or(|base| {
            is_old(base, self.refresh, now)
                || (base.revocations < last_change && !deltas_tell)
                // From the first delta on the complete CRL says where it is.
                || match (self.delta_interval, delta) {
                    (Some(_), delta) => delta.is_none(),
                    // And when the last one has ended, without a successor, it says so no longer.
                    (None, delta) => delta
                        .is_some_and(|delta| delta.base_number == Some(base.number) && delta.next_update <= now),
                }
        })
    }
}

fn delta_is_due(
    delta: Option<&CrlSummary>,
    base: Option<&CrlSummary>,
    interval: Duration,
    last_change: i64,
    now: Timestamp,
) -> bool {
    delta.is_none_or(|delta| {
        is_old(delta, interval, now)
            || delta.revocations < last_change
            || delta.base_number != base.map(|base| base.number)
    })
}

fn is_old(crl: &CrlSummary, interval: Duration, now: Timestamp) -> bool {
    // One made by a clock that was ahead is refused by relying parties as not yet valid.
    now >= crl.this_update + interval || crl.this_update > now + CLOCK_TOLERANCE
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const NOW: i64 = 1_900_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(NOW + seconds)
    }

    fn policy(delta_interval: Option<u64>) -> CrlPolicy {
        CrlPolicy {
            shards: 0,
            validity: Duration::from_secs(86_400),
            refresh: Duration::from_secs(43_200),
            delta_interval: delta_interval.map(Duration::from_secs),
        }
    }

    fn crl(shard: i32, number: i64, base_number: Option<i64>, revocations: i64, age: i64) -> CrlSummary {
        CrlSummary {
            issuer_id: 1,
            shard,
            base_number,
            number,
            this_update: at(-age),
            next_update: at(86_400 - age),
            revocations,
            size: 500,
        }
    }

    fn counters(revocations: i64, maximum_shard: i32, last_changes: &[(i32, i64)]) -> CrlCounters {
        CrlCounters { revocations, crl_number: 9, maximum_shard, last_changes: last_changes.iter().copied().collect() }
    }

    fn base(shard: i32) -> Due {
        Due { shard, base: true, delta: false }
    }

    fn delta(shard: i32) -> Due {
        Due { shard, base: false, delta: true }
    }

    fn both(shard: i32) -> Due {
        Due { shard, base: true, delta: true }
    }

    fn due(policy: &CrlPolicy, counters: &CrlCounters, published: &[CrlSummary]) -> Vec<Due> {
        policy.due(counters, published, Occasion::Schedule, at(0))
    }

    #[test]
    fn without_shards_and_deltas_every_change_and_age_make_the_full_crl_due() {
        let policy = policy(None);
        assert_eq!(due(&policy, &counters(0, 0, &[]), &[]), [base(0)]);
        assert_eq!(due(&policy, &counters(3, 0, &[(0, 3)]), &[crl(0, 1, None, 3, 10)]), []);
        assert_eq!(due(&policy, &counters(4, 0, &[(0, 4)]), &[crl(0, 1, None, 3, 10)]), [base(0)]);
        assert_eq!(due(&policy, &counters(3, 0, &[]), &[crl(0, 1, None, 3, 43_199)]), []);
        assert_eq!(due(&policy, &counters(3, 0, &[]), &[crl(0, 1, None, 3, 43_200)]), [base(0)]);
        assert_eq!(due(&policy, &counters(3, 0, &[]), &[crl(0, 1, None, 3, -301)]), [base(0)]);
    }

    #[test]
    fn a_change_makes_only_its_shard_due() {
        let policy = CrlPolicy { shards: 2, ..policy(None) };
        let published =
            [crl(0, 1, None, 3, 10), crl(1, 2, None, 3, 10), crl(2, 3, None, 3, 10), crl(3, 4, None, 3, 10)];
        assert_eq!(due(&policy, &counters(4, 3, &[(0, 2), (2, 4)]), &published), [base(2)]);
        assert_eq!(due(&policy, &counters(4, 3, &[(0, 4), (2, 3)]), &published), [base(0)]);
        // The third is no longer used for new certificates and is published all the same.
        assert_eq!(due(&policy, &counters(4, 3, &[(3, 4)]), &published), [base(3)]);
        assert_eq!(due(&policy, &counters(3, 3, &[]), &published[..2]), [base(2), base(3)]);
    }

    #[test]
    fn with_deltas_a_change_makes_them_due_and_age_the_complete_crl() {
        let policy = policy(Some(600));
        let published = [crl(0, 1, None, 3, 100), crl(0, 1, Some(1), 3, 100)];
        assert_eq!(due(&policy, &counters(3, 0, &[]), &published), []);
        assert_eq!(due(&policy, &counters(4, 0, &[(0, 4)]), &published), [delta(0)]);
        assert_eq!(due(&policy, &counters(3, 0, &[]), &[published[0], crl(0, 2, Some(1), 3, 600)]), [delta(0)]);
        assert_eq!(due(&policy, &counters(3, 0, &[]), &[crl(0, 1, None, 3, 43_200), published[1]]), [both(0)]);
        // The delta of an earlier complete CRL; and the first delta of one that does not say where it is.
        assert_eq!(due(&policy, &counters(3, 0, &[]), &[crl(0, 3, None, 3, 10), published[1]]), [delta(0)]);
        assert_eq!(due(&policy, &counters(3, 0, &[]), &published[..1]), [both(0)]);
    }

    #[test]
    fn with_both_a_change_makes_two_small_deltas_due() {
        let policy = CrlPolicy { shards: 1, ..policy(Some(600)) };
        let published =
            [crl(0, 1, None, 3, 100), crl(0, 1, Some(1), 3, 100), crl(1, 2, None, 3, 100), crl(1, 2, Some(2), 3, 100)];
        assert_eq!(due(&policy, &counters(4, 1, &[(1, 4)]), &published), [delta(0), delta(1)]);
    }

    #[test]
    fn on_request_the_full_crl_and_all_that_lags_behind_are_due() {
        let policy = CrlPolicy { shards: 2, ..policy(Some(600)) };
        let shards = (0..3).flat_map(|shard| {
            let number = i64::from(shard) + 1;
            [crl(shard, number, None, 3, 100), crl(shard, number, Some(number), 3, 100)]
        });
        let due = policy.due(&counters(4, 2, &[(2, 4)]), &shards.collect::<Vec<_>>(), Occasion::Request, at(0));
        assert_eq!(due, [both(0), both(2)]);
    }

    #[test]
    fn when_deltas_end_the_complete_crl_that_names_them_is_replaced_once() {
        let ended = CrlSummary { next_update: at(0), ..crl(0, 1, Some(1), 3, 1200) };
        let lasting = CrlSummary { next_update: at(1), ..ended };
        assert_eq!(due(&policy(None), &counters(3, 0, &[]), &[crl(0, 1, None, 3, 1200), lasting]), []);
        assert_eq!(due(&policy(None), &counters(3, 0, &[]), &[crl(0, 1, None, 3, 1200), ended]), [base(0)]);
        let replaced = [crl(0, 2, None, 3, 10), ended];
        assert_eq!(due(&policy(None), &counters(3, 0, &[]), &replaced), []);
    }

    #[test]
    fn caches_keep_a_crl_no_longer_than_it_is_the_latest() {
        let age = |policy: CrlPolicy, crl: CrlSummary| policy.cache_age(&crl, at(0)).as_secs();
        // Replaced at any moment: an hour. Replaced by schedule: to then. The successor is late, or it ended: shortly, not at all.
        assert_eq!(age(policy(None), crl(0, 1, None, 0, 0)), 3600);
        assert_eq!(age(policy(None), crl(0, 1, None, 0, 43_000)), 200);
        assert_eq!(age(policy(Some(600)), crl(0, 1, None, 0, 200)), 43_000);
        assert_eq!(age(policy(Some(600)), crl(0, 1, Some(1), 0, 200)), 400);
        assert_eq!(age(policy(None), crl(0, 1, None, 0, 50_000)), 60);
        assert_eq!(age(policy(None), crl(0, 1, None, 0, 86_390)), 10);
        assert_eq!(age(policy(None), crl(0, 1, None, 0, 86_400)), 0);
    }

    #[test]
    fn issuers_follow_the_process_where_they_say_nothing() {
        let process = Settings {
            public_url: String::new(),
            crl_validity: Duration::from_secs(100),
            crl_refresh: Duration::from_secs(50),
            crl_shards: 4,
            crl_delta_interval: Some(Duration::from_secs(10)),
            ocsp: crate::ca::ocsp::OcspSettings::default(),
            expiry_warning: Duration::from_secs(90 * 86_400),
        };
        let filled = CrlPolicy::of(&IssuerSettings::default(), &process);
        assert_eq!((filled.shards, filled.delta_interval), (4, Some(Duration::from_secs(10))));
        let own = IssuerSettings::from_stored(r#"{"crl":{"shards":0,"delta_interval":"0s","refresh":"20s"}}"#).unwrap();
        let own = CrlPolicy::of(&own, &process);
        assert_eq!((own.shards, own.delta_interval, own.refresh.as_secs(), own.validity.as_secs()), (0, None, 20, 100));
    }
}
