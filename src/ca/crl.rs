//! Publishes CRLs: at start, before the last one ends, and shortly after a revocation. Bytes are made in `x509/crl.rs`.
//!
//! An issuer has one full CRL and, as its settings say, shards and deltas. What is due is decided in `schedule.rs`, made in `publication.rs`.
//! What was published is kept in the database, so that every replica serves the same octets, and in memory, so that serving needs no
//! database.

mod publication;
mod schedule;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use schedule::CrlPolicy;

use self::publication::LEASE;
use self::schedule::Occasion;
use super::CertificateAuthority;
use super::issuer::{Issuer, delta_url, shard_url};
use crate::auth::permission::PublishCrl;
use crate::auth::{Authorized, Caller};
use crate::error::{Error, Result};
use crate::storage::{CrlCounters, CrlRecord, CrlSummary, IssuerState};
use crate::x509::Timestamp;

/// How often a caller that wants a CRL now asks for the lease.
const LEASE_RETRY: Duration = Duration::from_millis(250);
/// How often what is published is compared though no number tells of anything new: a process that had lost its lease may have been late.
const RELIST: Duration = Duration::from_secs(60);

/// How long the job leaves an issuer alone after its first failure, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Which CRL of an issuer: its shard, 0 for the full one, and whether the complete one or its delta.
type Scope = (i32, bool);

/// The CRLs of every issuer as published.
#[derive(Clone, Debug, Default)]
pub struct PublishedCrls {
    by_issuer: BTreeMap<i32, BTreeMap<Scope, Arc<CrlRecord>>>,
}

/// What a request to publish led to.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The full CRL.
    pub full: Arc<CrlRecord>,
    /// Everything that was published, the full CRL included.
    pub published: Vec<Arc<CrlRecord>>,
}

/// What the job remembers of each issuer between two looks.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<BTreeMap<i32, Watched>>);

#[derive(Debug, Default)]
struct Watched {
    /// When what is published was last compared.
    listed_at: Option<Timestamp>,
    /// The greatest number in that list. Numbers are published in their order, so nothing below it is missing here. Those that are served say less:
    /// what this process published itself may be newer than something of another's that it has not read.
    listed_to: i64,
    /// Why its CRLs cannot be published, as was logged.
    failure: Option<String>,
    /// When it is tried again after a failure, and how long that wait is.
    pause: Option<(Instant, Duration)>,
}

impl PublishedCrls {
    /// Finds the full CRL of an issuer.
    #[must_use]
    pub fn of_issuer(&self, issuer_id: i32) -> Option<&Arc<CrlRecord>> {
        self.find(issuer_id, 0, false)
    }

    /// Finds the CRL of a shard, 0 for the full one, or its delta.
    #[must_use]
    pub fn find(&self, issuer_id: i32, shard: i32, is_delta: bool) -> Option<&Arc<CrlRecord>> {
        self.by_issuer.get(&issuer_id)?.get(&(shard, is_delta))
    }

    /// Returns every CRL of an issuer by shard, each before its delta.
    pub fn all_of(&self, issuer_id: i32) -> impl Iterator<Item = &Arc<CrlRecord>> {
        self.by_issuer.get(&issuer_id).into_iter().flat_map(BTreeMap::values)
    }
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Watched>> {
        // What is in it is never half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether enough time has passed since the last failure.
    fn may_try(&self, issuer_id: i32, now: Instant) -> bool {
        let watched = self.lock();
        let pause = watched.get(&issuer_id).and_then(|watched| watched.pause);
        pause.is_none_or(|(until, _length)| now >= until)
    }

    /// Writes down how an attempt ended: after each failure in a row the next one waits twice as long.
    fn tried(&self, issuer_id: i32, succeeded: bool, now: Instant) {
        let mut watched = self.lock();
        let watched = watched.entry(issuer_id).or_default();
        watched.pause = (!succeeded).then(|| {
            let length = watched.pause.map_or(FIRST_PAUSE, |(_until, length)| (length * 2).min(LONGEST_PAUSE));
            (now + length, length)
        });
    }
}

impl CertificateAuthority {
    /// Returns the published CRLs.
    #[must_use]
    pub fn published_crls(&self) -> Arc<PublishedCrls> {
        self.crls.load_full()
    }

    /// Finds a published CRL as it is served: a delta CRL that ended while there are none any more is gone. Any other that ended is served on,
    /// because whoever fetches it sees by itself that its successor is late.
    #[must_use]
    pub fn served_crl(&self, issuer: &Issuer, shard: i32, is_delta: bool) -> Option<Arc<CrlRecord>> {
        let crls = self.published_crls();
        let crl = crls.find(issuer.id, shard, is_delta)?;
        let has_deltas = CrlPolicy::of(&issuer.settings, &self.settings).delta_interval.is_some();
        let is_gone = is_delta && !has_deltas && crl.next_update < self.clock.now();
        (!is_gone).then(|| Arc::clone(crl))
    }

    /// Returns the address that a published CRL is fetched from.
    #[must_use]
    pub fn crl_address(&self, issuer: &Issuer, crl: &CrlRecord) -> String {
        match crl.base_number {
            None => shard_url(&self.settings, &issuer.path_name, crl.shard),
            Some(_) => delta_url(&self.settings, &issuer.path_name, crl.shard),
        }
    }

    /// Returns for how long caches may keep a published CRL.
    #[must_use]
    pub fn crl_cache_age(&self, issuer: &Issuer, crl: &CrlRecord) -> Duration {
        CrlPolicy::of(&issuer.settings, &self.settings).cache_age(&crl.summary(), self.clock.now())
    }

    /// Publishes an issuer's full CRL now, and every shard and delta that does not have the latest revocations.
    ///
    /// # Errors
    /// `NotFound` for an unknown issuer; `Conflict` for a disabled one or while another process publishes; `Unavailable` when the key is away.
    pub async fn publish_crl(&self, authorization: &Authorized<PublishCrl>, issuer: &str) -> Result<Publication> {
        let (caller, object) = (authorization.caller(), format!("issuer:{issuer}"));
        let outcome = self.publish_now(caller, issuer).await;
        self.audited(caller, "crl.publish", object, outcome).await
    }

    async fn publish_now(&self, caller: &Caller, issuer: &str) -> Result<Publication> {
        // What another replica did a moment ago counts.
        self.refresh().await?;
        let issuers = self.issuers();
        let issuer = issuers.by_reference(issuer).ok_or_else(|| {
            Error::not_found(format!("there is no issuer `{issuer}`; there are: {}", issuers.names()))
        })?;
        if issuer.state == IssuerState::Disabled {
            return Err(Error::conflict(format!("the issuer `{}` is disabled and signs nothing", issuer.path_name)));
        }
        // Before a number is taken for nothing.
        issuer.require_key()?;
        let give_up = Instant::now() + LEASE + LEASE_RETRY;
        loop {
            if let Some(published) = self.publish(caller, issuer, Occasion::Request).await? {
                let full = published.iter().find(|crl| crl.shard == 0 && crl.base_number.is_none());
                if let Some(full) = full.cloned() {
                    return Ok(Publication { full, published });
                }
            }
            if Instant::now() > give_up {
                let detail = format!("another process publishes the CRLs of `{}` right now", issuer.path_name);
                return Err(Error::conflict(detail).with_retry_after(2));
            }
            tokio::time::sleep(LEASE_RETRY).await;
        }
    }

    /// Publishes whatever is due, and loads what other replicas published. Called every few seconds by a job. An issuer whose CRLs cannot be
    /// published is logged, once for each reason, and does not keep others from being served: it keeps serving the last ones.
    ///
    /// # Errors
    /// Those of the storage when it cannot tell what is due.
    pub async fn publish_due_crls(&self) -> Result<()> {
        for issuer in self.issuers().all() {
            let counters = self.storage.crl_counters(issuer.id).await?;
            self.load_newer(issuer.id, &counters).await?;
            self.publish_if_due(issuer, &counters).await;
        }
        Ok(())
    }

    /// Publishes what is due of one issuer: after its settings changed, so that a new shard has its CRL before the first certificate names it.
    ///
    /// # Errors
    /// Those of the storage when it cannot tell what is due.
    pub async fn publish_due_crls_of(&self, issuer_id: i32) -> Result<()> {
        let issuers = self.issuers();
        let Some(issuer) = issuers.by_id(issuer_id) else { return Ok(()) };
        let counters = self.storage.crl_counters(issuer.id).await?;
        self.publish_if_due(issuer, &counters).await;
        Ok(())
    }

    async fn publish_if_due(&self, issuer: &Arc<Issuer>, counters: &CrlCounters) {
        match issuer.state {
            IssuerState::Active | IssuerState::Staged | IssuerState::Retired => {}
            IssuerState::Disabled => return,
        }
        let policy = CrlPolicy::of(&issuer.settings, &self.settings);
        let served: Vec<CrlSummary> = self.published_crls().all_of(issuer.id).map(|crl| crl.summary()).collect();
        if policy.due(counters, &served, Occasion::Schedule, self.clock.now()).is_empty()
            && policy.shards <= counters.maximum_shard
        {
            return;
        }
        // Without the key, numbers would be taken and up to a million entries encoded for nothing. Another job looks for devices that are away.
        if let Err(error) = issuer.require_key() {
            self.note(issuer, Some(error));
            return;
        }
        if !self.crl_watch.may_try(issuer.id, Instant::now()) {
            return;
        }
        let outcome = self.publish(&Caller::system(), issuer, Occasion::Schedule).await;
        self.crl_watch.tried(issuer.id, outcome.is_ok(), Instant::now());
        self.note(issuer, outcome.err());
    }

    /// Logs that an issuer's CRLs cannot be published, or can be again, when that is news.
    fn note(&self, issuer: &Issuer, error: Option<Error>) {
        let failure = error.as_ref().map(|error| error.detail().to_owned());
        let before = {
            let mut watched = self.crl_watch.lock();
            let watched = watched.entry(issuer.id).or_default();
            if watched.failure == failure {
                return;
            }
            std::mem::replace(&mut watched.failure, failure)
        };
        match (error, before) {
            (Some(error), _) => {
                let cause = std::error::Error::source(&error);
                tracing::warn!(issuer = %issuer.path_name, %error, cause, "the CRLs cannot be published; the last ones are served on");
                metrics::counter!("chancery_crl_failures_total", "issuer" => issuer.path_name.clone()).increment(1);
            }
            (None, Some(_failure)) => tracing::info!(issuer = %issuer.path_name, "the CRLs are published again"),
            (None, None) => {}
        }
    }

    /// Loads the published CRLs of every issuer that are newer than those at hand.
    pub(super) async fn load_crls(&self) -> Result<()> {
        for issuer in self.issuers().all() {
            let counters = self.storage.crl_counters(issuer.id).await?;
            self.load_newer(issuer.id, &counters).await?;
        }
        Ok(())
    }

    /// Loads the published CRLs of an issuer that are newer than those at hand. CRLs are large: without a newer number none is read.
    async fn load_newer(&self, issuer_id: i32, counters: &CrlCounters) -> Result<()> {
        let now = self.clock.now();
        let served = self.published_crls();
        let (listed_to, listed_at) = {
            let watched = self.crl_watch.lock();
            watched.get(&issuer_id).map_or((0, None), |watched| (watched.listed_to, watched.listed_at))
        };
        let is_recent = listed_at.is_some_and(|listed_at| listed_at <= now && now < listed_at + RELIST);
        if counters.crl_number <= listed_to && is_recent {
            return Ok(());
        }
        let listed = self.storage.published_crls(issuer_id).await?;
        let greatest = listed.iter().map(|published| published.number).max().unwrap_or_default();
        for published in listed {
            let is_delta = published.base_number.is_some();
            let present = served.find(issuer_id, published.shard, is_delta);
            if present.is_none_or(|present| present.number < published.number)
                && let Some(crl) = self.storage.current_crl(issuer_id, published.shard, is_delta).await?
            {
                self.serve(&[Arc::new(crl)]);
            }
        }
        let mut watched = self.crl_watch.lock();
        let watched = watched.entry(issuer_id).or_default();
        watched.listed_at = Some(now);
        watched.listed_to = greatest;
        Ok(())
    }

    /// Waits until a certificate is revoked, held or released here, so that its CRL need not wait for the next look.
    pub async fn revocation_happened(&self) {
        self.revocation.notified().await;
    }

    /// Serves CRLs from now on, each unless a newer one is served already.
    fn serve(&self, crls: &[Arc<CrlRecord>]) {
        self.crls.rcu(|present| {
            let mut next = PublishedCrls::clone(present);
            for crl in crls {
                let of_issuer = next.by_issuer.entry(crl.issuer_id).or_default();
                let scope = (crl.shard, crl.base_number.is_some());
                if of_issuer.get(&scope).is_none_or(|served| served.number < crl.number) {
                    of_issuer.insert(scope, Arc::clone(crl));
                }
            }
            next
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ca::acme::testing::World;
    use crate::storage::AuditOutcome;

    #[test]
    fn an_issuer_that_fails_is_tried_ever_more_rarely_until_it_succeeds() {
        let (watch, start) = (Watch::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert!(watch.may_try(1, at(0)));
        watch.tried(1, false, at(0));
        assert!(!watch.may_try(1, start));
        assert!(watch.may_try(2, start));
        assert!(watch.may_try(1, at(1)));
        watch.tried(1, false, at(1));
        assert!(!watch.may_try(1, at(2)));
        assert!(watch.may_try(1, at(3)));
        for _failure in 0..20 {
            watch.tried(1, false, at(10));
        }
        assert!(!watch.may_try(1, at(69)));
        assert!(watch.may_try(1, at(70)));
        watch.tried(1, true, at(70));
        assert!(watch.may_try(1, at(70)));
    }

    #[tokio::test]
    async fn what_another_replica_published_just_before_is_served() {
        let world = World::new().await;
        let ca = world.acme.ca();
        let issuers = ca.issuers();
        let issuer = issuers.by_name("issuing").unwrap();
        // The second look finds that there is nothing newer than what the first one published.
        ca.publish_due_crls().await.unwrap();
        ca.publish_due_crls().await.unwrap();
        let full = ca.published_crls().of_issuer(issuer.id).unwrap().clone();
        // As another process does, of a shard.
        let number = ca.storage().take_crl_numbers(issuer.id, 1).await.unwrap();
        let theirs = CrlRecord { shard: 1, number, ..CrlRecord::clone(&full) };
        let event = ca.event(&Caller::system(), "crl.publish", AuditOutcome::Success, String::new(), json!({}));
        assert_eq!(ca.storage().publish_crls(vec![Arc::new(theirs)], event).await.unwrap(), [true]);
        // This one publishes the full CRL before it looks, and with a greater number.
        let published = ca.publish(&Caller::system(), issuer, Occasion::Request).await.unwrap().unwrap();
        assert!(published.iter().all(|crl| crl.shard == 0 && crl.number > number), "{published:?}");
        let served = || ca.published_crls().find(issuer.id, 1, false).map(|crl| crl.number);
        assert_eq!(served(), None);
        ca.publish_due_crls().await.unwrap();
        assert_eq!(served(), Some(number));
    }
}
