//! Nonces that were used, in memory: there is one process. A restart begins a new epoch, whose nonces are all unused.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::storage::NonceTaken;
use crate::x509::Timestamp;

/// The most nonces that are remembered; with one more a new epoch begins. About 40 octets each.
const LIMIT: usize = 1 << 20;
/// How many seconds of ends are kept together.
const BUCKET_SECONDS: i64 = 60;

/// The memory.
#[derive(Debug)]
pub(super) struct Nonces {
    memory: Mutex<Memory>,
    limit: usize,
}

#[derive(Debug)]
struct Memory {
    epoch: [u8; 16],
    /// By the minute in which they end.
    used: BTreeMap<i64, HashSet<[u8; 16]>>,
    count: usize,
}

fn random() -> Result<[u8; 16]> {
    let mut octets = [0; 16];
    aws_lc_rs::rand::fill(&mut octets)
        .map_err(|error| Error::internal("the random source failed").with_source(error))?;
    Ok(octets)
}

impl Nonces {
    /// Begins the first epoch.
    pub(super) fn new() -> Result<Self> {
        Self::with_limit(LIMIT)
    }

    fn with_limit(limit: usize) -> Result<Self> {
        Ok(Self { memory: Mutex::new(Memory { epoch: random()?, used: BTreeMap::new(), count: 0 }), limit })
    }

    /// Returns the epoch.
    pub(super) fn epoch(&self) -> [u8; 16] {
        self.lock().epoch
    }

    /// Takes a nonce.
    pub(super) fn take(&self, epoch: [u8; 16], nonce: [u8; 16], expires_at: Timestamp) -> Result<NonceTaken> {
        let mut memory = self.lock();
        if memory.epoch != epoch {
            return Ok(NonceTaken::EpochEnded);
        }
        if memory.count >= self.limit {
            // Nothing may be forgotten that could be taken again, so all that is out ends.
            *memory = Memory { epoch: random()?, used: BTreeMap::new(), count: 0 };
            return Ok(NonceTaken::EpochEnded);
        }
        if !memory.used.entry(expires_at.unix().div_euclid(BUCKET_SECONDS)).or_default().insert(nonce) {
            return Ok(NonceTaken::Used);
        }
        memory.count = memory.count.saturating_add(1);
        Ok(NonceTaken::Taken)
    }

    /// Forgets what is too old to be taken again; answers how many.
    pub(super) fn forget(&self, now: Timestamp) -> u64 {
        let mut memory = self.lock();
        let kept = memory.used.split_off(&now.unix().div_euclid(BUCKET_SECONDS));
        let ended = std::mem::replace(&mut memory.used, kept);
        let forgotten: usize = ended.values().map(HashSet::len).sum();
        memory.count = memory.count.saturating_sub(forgotten);
        u64::try_from(forgotten).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_000_000 + seconds)
    }

    #[test]
    fn a_nonce_is_remembered_until_its_end_and_no_longer() {
        let nonces = Nonces::new().unwrap();
        let epoch = nonces.epoch();
        assert_eq!(nonces.take(epoch, [1; 16], at(100)).unwrap(), NonceTaken::Taken);
        assert_eq!(nonces.take(epoch, [2; 16], at(1000)).unwrap(), NonceTaken::Taken);
        assert_eq!(nonces.forget(at(90)), 0);
        assert_eq!(nonces.take(epoch, [1; 16], at(100)).unwrap(), NonceTaken::Used);
        assert_eq!(nonces.forget(at(200)), 1);
        assert_eq!(nonces.take(epoch, [2; 16], at(1000)).unwrap(), NonceTaken::Used);
        assert_eq!(nonces.lock().count, 1);
    }

    #[test]
    fn a_full_memory_begins_a_new_epoch_and_takes_nothing_twice() {
        let nonces = Nonces::with_limit(2).unwrap();
        let epoch = nonces.epoch();
        for nonce in [[1; 16], [2; 16]] {
            assert_eq!(nonces.take(epoch, nonce, at(100)).unwrap(), NonceTaken::Taken);
        }
        assert_eq!(nonces.take(epoch, [3; 16], at(100)).unwrap(), NonceTaken::EpochEnded);
        assert_ne!(nonces.epoch(), epoch);
        assert_eq!(nonces.take(epoch, [1; 16], at(100)).unwrap(), NonceTaken::EpochEnded);
        assert_eq!(nonces.take(nonces.epoch(), [1; 16], at(100)).unwrap(), NonceTaken::Taken);
    }
}
