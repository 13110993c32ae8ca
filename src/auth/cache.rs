//! A cache of principals that lives seconds and is dropped on change. It holds successes only: a refusal is always checked anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::future::Cache;

use super::principal::Principal;
use crate::x509::Timestamp;

/// The most credentials held at once; the least used give way.
const CAPACITY: u64 = 10_000;

/// Principals by the SHA-256 of the credential that proved them.
#[derive(Debug)]
pub(crate) struct PrincipalCache {
    entries: Cache<[u8; 32], Entry>,
    epoch: AtomicU64,
}

/// When a check began: an answer that was looked up before the cache was dropped must not enter it afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

#[derive(Clone, Debug)]
struct Entry {
    epoch: Epoch,
    principal: Arc<Principal>,
    /// The credential's own end, which may come before the cache's.
    last_valid: Timestamp,
}

impl PrincipalCache {
    /// Makes a cache whose entries live `time_to_live`.
    pub(crate) fn new(time_to_live: Duration) -> Self {
        Self {
            entries: Cache::builder().max_capacity(CAPACITY).time_to_live(time_to_live).build(),
            epoch: AtomicU64::new(0),
        }
    }

    /// Returns the present epoch; taken before a check begins and given to [`PrincipalCache::insert`].
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Finds the principal of a credential that is still valid at `now`.
    pub(crate) async fn find(&self, digest: &[u8; 32], now: Timestamp) -> Option<Arc<Principal>> {
        let entry = self.entries.get(digest).await?;
        (entry.epoch == self.epoch() && now <= entry.last_valid).then_some(entry.principal)
    }

    /// Holds a principal whose credential is valid through `last_valid`.
    pub(crate) async fn insert(
        &self,
        digest: [u8; 32],
        epoch: Epoch,
        principal: Arc<Principal>,
        last_valid: Timestamp,
    ) {
        self.entries.insert(digest, Entry { epoch, principal, last_valid }).await;
    }

    /// Drops everything, also what is being looked up at this moment.
    pub(crate) fn forget_all(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.entries.invalidate_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;
    use crate::auth::{Method, Role};
    use crate::policy::Grants;

    fn principal() -> Arc<Principal> {
        Arc::new(Principal {
            name: "token:a".to_owned(),
            role: Role::Auditor,
            grants: Grants::unrestricted(),
            method: Method::ApiToken,
        })
    }

    #[tokio::test]
    async fn holds_a_principal_until_its_credential_ends() {
        let cache = PrincipalCache::new(Duration::from_secs(60));
        cache.insert([1; 32], cache.epoch(), principal(), Timestamp::from_unix(100)).await;
        assert!(cache.find(&[1; 32], Timestamp::from_unix(100)).await.is_some());
        assert!(cache.find(&[1; 32], Timestamp::from_unix(101)).await.is_none());
        assert!(cache.find(&[2; 32], Timestamp::from_unix(100)).await.is_none());
    }

    #[tokio::test]
    async fn does_not_hold_what_was_looked_up_before_everything_was_forgotten() {
        let cache = PrincipalCache::new(Duration::from_secs(60));
        let before = cache.epoch();
        cache.forget_all();
        cache.insert([1; 32], before, principal(), Timestamp::MAX).await;
        assert!(cache.find(&[1; 32], Timestamp::from_unix(0)).await.is_none());
    }
}
