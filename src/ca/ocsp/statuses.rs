//! What is known of serial numbers, bounded: one entry each, with its status and the answers signed from it.
//!
//! An entry is looked up once. When a state changes, the entry is dropped as a whole after the commit: a look into the database that
//! began before the commit, or a signature over what it found, ends in an entry that nobody finds any more. So there is no moment
//! at which something old comes back, and no counting of versions.

use std::sync::{Arc, PoisonError};

use arc_swap::ArcSwapOption;
use moka::sync::Cache;
use tokio::sync::{Mutex, OnceCell};

use super::SignedAnswer;
use crate::x509::ocsp::{CertId, CertificateStatus, HashAlgorithm};
use crate::x509::{SerialNumber, Timestamp};

/// What an entry takes beside its answers: key, locks, and the cache's own records.
const OVERHEAD: usize = 512;
/// The most octets of a key: a row and a serial number.
const KEY: usize = 24;

/// What was found of a serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// The status.
    pub(super) status: CertificateStatus,
    /// When the question was put to the database.
    pub(super) looked_up: Timestamp,
}

/// One serial number of one issuer.
#[derive(Debug)]
pub(super) struct Entry {
    /// What was found; looked up by one request of many.
    pub(super) known: OnceCell<Known>,
    /// One signature at a time.
    pub(super) signing: Mutex<()>,
    /// The answers for an identifier under SHA-1 and under SHA-256.
    answers: [ArcSwapOption<Kept>; 2],
    weight: u32,
}

#[derive(Debug)]
struct Kept {
    cert_id: Vec<u8>,
    answer: Arc<SignedAnswer>,
}

impl Entry {
    fn new(weight: u32) -> Self {
        Self {
            known: OnceCell::new(),
            signing: Mutex::new(()),
            answers: [const { ArcSwapOption::const_empty() }; 2],
            weight,
        }
    }

    /// Returns the answer for exactly these octets: an identifier can be written with and without the parameters of its hash.
    pub(super) fn answer(&self, id: &CertId<'_>) -> Option<Arc<SignedAnswer>> {
        let kept = self.slot(id)?.load();
        kept.as_ref().filter(|kept| kept.cert_id == id.der).map(|kept| Arc::clone(&kept.answer))
    }

    /// Keeps an answer in place of the one before.
    pub(super) fn keep(&self, id: &CertId<'_>, answer: &Arc<SignedAnswer>) {
        if let Some(slot) = self.slot(id) {
            slot.store(Some(Arc::new(Kept { cert_id: id.der.to_vec(), answer: Arc::clone(answer) })));
        }
    }

    fn slot(&self, id: &CertId<'_>) -> Option<&ArcSwapOption<Kept>> {
        let [sha1, sha256] = &self.answers;
        match id.hash_algorithm? {
            HashAlgorithm::Sha1 => Some(sha1),
            HashAlgorithm::Sha256 => Some(sha256),
        }
    }
}

/// Entries by issuer row and serial number.
#[derive(Debug)]
pub(super) struct Statuses {
    entries: Cache<Vec<u8>, Arc<Entry>>,
    /// Held for the moment in which an entry is added, so that there is one for a serial number.
    adding: std::sync::Mutex<()>,
}

impl Statuses {
    /// Makes a cache of at most so many octets.
    pub(super) fn new(size: u64) -> Self {
        let entries = Cache::builder().max_capacity(size).weigher(|_key, entry: &Arc<Entry>| entry.weight).build();
        Self { entries, adding: std::sync::Mutex::default() }
    }

    /// Returns the entry if there is one.
    pub(super) fn present(&self, issuer_id: i32, serial: &SerialNumber) -> Option<Arc<Entry>> {
        let (key, length) = key(issuer_id, serial);
        self.entries.get(key.get(..length)?)
    }

    /// Returns the entry, a new one if there is none. `answer_size` is what one signed answer takes.
    pub(super) fn entry(&self, issuer_id: i32, serial: &SerialNumber, answer_size: usize) -> Arc<Entry> {
        let (key, length) = key(issuer_id, serial);
        let key = key.get(..length).unwrap_or_default();
        // Not `get_with`: there one that comes late may still be handed a value that was dropped meanwhile, by the one who waits with it.
        let _one_at_a_time = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = self.entries.get(key) {
            return entry;
        }
        let weight = u32::try_from(answer_size.saturating_mul(2).saturating_add(OVERHEAD)).unwrap_or(u32::MAX);
        let entry = Arc::new(Entry::new(weight));
        self.entries.insert(key.to_vec(), Arc::clone(&entry));
        entry
    }

    /// Drops the entry.
    pub(super) fn forget(&self, issuer_id: i32, serial: &SerialNumber) {
        let (key, length) = key(issuer_id, serial);
        if let Some(key) = key.get(..length) {
            self.entries.invalidate(key);
        }
    }

    /// Drops every entry.
    pub(super) fn forget_all(&self) {
        self.entries.invalidate_all();
    }
}

/// Writes the key on the stack: it is looked for at every request.
fn key(issuer_id: i32, serial: &SerialNumber) -> ([u8; KEY], usize) {
    let mut key = [0; KEY];
    let octets = issuer_id.to_be_bytes().into_iter().chain(serial.as_bytes().iter().copied());
    let mut length = 0;
    for (to, from) in key.iter_mut().zip(octets) {
        *to = from;
        length += 1;
    }
    (key, length)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn serial(octets: &[u8]) -> SerialNumber {
        SerialNumber::from_bytes(octets).unwrap()
    }

    #[test]
    fn an_entry_belongs_to_one_issuer_and_one_serial_number() {
        let statuses = Statuses::new(1 << 20);
        let first = statuses.entry(1, &serial(&[1; 20]), 100);
        assert!(Arc::ptr_eq(&first, &statuses.entry(1, &serial(&[1; 20]), 100)));
        assert!(!Arc::ptr_eq(&first, &statuses.entry(2, &serial(&[1; 20]), 100)));
        assert!(!Arc::ptr_eq(&first, &statuses.entry(1, &serial(&[1; 19]), 100)));
        assert!(statuses.present(3, &serial(&[1; 20])).is_none());
    }

    #[tokio::test]
    async fn what_was_looked_up_before_a_change_is_not_found_after_it() {
        let statuses = Statuses::new(1 << 20);
        let before = statuses.entry(1, &serial(&[1]), 100);
        statuses.forget(1, &serial(&[1]));
        // The look that began before the change ends after it.
        let known = Known { status: CertificateStatus::Good, looked_up: Timestamp::from_unix(1) };
        before.known.set(known).unwrap();
        assert!(statuses.present(1, &serial(&[1])).is_none());
        assert!(!statuses.entry(1, &serial(&[1]), 100).known.initialized());
        statuses.forget_all();
        assert!(statuses.present(1, &serial(&[1])).is_none());
    }

    #[test]
    fn entries_take_no_more_than_the_size() {
        let statuses = Statuses::new(100_000);
        for number in 1_u32..2000 {
            statuses.entry(1, &serial(&number.to_be_bytes()), 1000);
        }
        statuses.entries.run_pending_tasks();
        assert!(statuses.entries.weighted_size() <= 100_000);
        assert!(statuses.entries.entry_count() > 10);
    }
}
