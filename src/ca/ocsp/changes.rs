//! Follows what other replicas, and this one, change: drops what is known of serial numbers whose state is another now.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::CertificateAuthority;
use crate::error::Result;

/// How many changed serial numbers are dropped one by one; after more changes everything is.
const CHANGES: u32 = 10_000;

impl CertificateAuthority {
    /// Drops what is known of certificates whose state changed since the last call. Called every second by a job; after the database
    /// was away, the next call catches up.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn follow_status_changes(&self) -> Result<()> {
        // What is not dropped below was true at this moment.
        let asked = self.clock.now();
        for (issuer_id, count) in self.storage.issuer_change_counts().await? {
            let seen = self.seen().get(&issuer_id).copied();
            match seen {
                Some(seen) if seen == count => continue,
                Some(seen) if seen < count => self.drop_changed(issuer_id, seen).await?,
                // The first look at the issuer, or a database that was put back to an earlier state.
                Some(_) | None => self.ocsp.statuses.forget_all(),
            }
            self.seen().insert(issuer_id, count);
        }
        self.ocsp.confirmed.store(asked.unix(), Ordering::Release);
        Ok(())
    }

    async fn drop_changed(&self, issuer_id: i32, seen: i64) -> Result<()> {
        let serials = self.storage.changed_serials(issuer_id, seen, CHANGES).await?;
        if serials.len() >= usize::try_from(CHANGES).unwrap_or(usize::MAX) {
            self.ocsp.statuses.forget_all();
        }
        for serial in &serials {
            self.ocsp.forget(issuer_id, serial);
        }
        Ok(())
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, std::collections::BTreeMap<i32, i64>> {
        // Every change of the map is one insertion: it is whole whatever happened to whoever held the lock.
        self.ocsp.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
