//! When challenges are looked at: bounded at one time, again after failures, by one replica, also after a restart.
//!
//! A look belongs to whoever holds its lease in the database. An answered challenge is leased by the statement that writes the answer down and
//! is looked at here at once when there is room; what finds no room, fails and is due again, or was left behind by a process that ended, is
//! picked up by [`Acme::validate_due`]. How a look goes is in `scheduling/looks.rs`.

mod looks;
mod waiting;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use self::waiting::Waiting;
use super::{Acme, AcmeSettings};
use crate::error::Result;
use crate::storage::AcmeAuthorizationRecord;

/// The most looks that wait in memory for their turn; more wait in the database.
const QUEUE_LENGTH: usize = 1024;
/// The most that one statement leases.
const BATCH: u16 = 64;
/// What a lease lasts beyond the look itself: writing its result.
const MARGIN: Duration = Duration::from_secs(10);
/// The longest that a look waits in memory; then the database gives it to whoever has room.
const QUEUED_FOR: Duration = Duration::from_secs(10);
/// How long a process that stops waits for the results of looks to be written.
const STOP: Duration = Duration::from_secs(5);

/// The looks that are under way in this process.
#[derive(Debug)]
pub struct Scheduling {
    /// One for each look at one time.
    turns: Arc<Semaphore>,
    /// One for each look that is under way or waits for its turn.
    places: Arc<Semaphore>,
    /// The looks that wait for a turn: whoever gets one takes the next of these.
    waiting: Mutex<Waiting<Look>>,
    concurrency: u32,
    /// Whether something found no room here, or more may be due than was taken up.
    is_overfull: AtomicBool,
    /// Told when there is room again for that.
    room: Notify,
    stopping: watch::Sender<bool>,
}

/// Room for a look.
#[derive(Debug)]
pub(super) struct Place {
    /// Given back when the look is over.
    place: OwnedSemaphorePermit,
    /// Absent while others are before it.
    turn: Option<OwnedSemaphorePermit>,
}

/// A look that is to be made.
#[derive(Debug)]
struct Look {
    record: AcmeAuthorizationRecord,
    lease_until_ms: i64,
    /// Given back when the look is over.
    _place: OwnedSemaphorePermit,
}

impl Scheduling {
    pub(super) fn new(settings: &AcmeSettings) -> Self {
        let concurrency = settings.validation.concurrency.clamp(1, Semaphore::MAX_PERMITS >> 1);
        let (stopping, _) = watch::channel(false);
        Self {
            turns: Arc::new(Semaphore::new(concurrency)),
            places: Arc::new(Semaphore::new(concurrency.saturating_add(QUEUE_LENGTH))),
            waiting: Mutex::default(),
            concurrency: u32::try_from(concurrency).unwrap_or(u32::MAX),
            is_overfull: AtomicBool::new(false),
            room: Notify::new(),
            stopping,
        }
    }

    /// Takes room for a look, if there is any.
    pub(super) fn place(&self) -> Option<Place> {
        if *self.stopping.borrow() {
            return None;
        }
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => Some(Place { place, turn: Arc::clone(&self.turns).try_acquire_owned().ok() }),
            Err(_full) => {
                self.is_overfull.store(true, Ordering::Release);
                None
            }
        }
    }

    /// Whether the service stops.
    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits until the service stops.
    pub(super) async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // An error means that this is gone, and with it whoever could wait.
        let _stopped = stopping.wait_for(|stopping| *stopping).await;
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<Look>> {
        // Nothing panics while it is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn, and takes the look that comes next.
    async fn next_look(&self) -> Option<(OwnedSemaphorePermit, Look)> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok()?;
        let look = self.waiting().pop()?;
        Some((turn, look))
    }

    /// Returns how many looks can begin at once.
    fn idle(&self) -> usize {
        if *self.stopping.borrow() { 0 } else { self.turns.available_permits() }
    }
}

impl Acme {
    /// Looks at challenges that are due and that nobody looks at. Called by a job.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn validate_due(self: &Arc<Self>) -> Result<()> {
        self.scheduling.is_overfull.store(false, Ordering::Release);
        loop {
            let limit = u16::try_from(self.scheduling.idle()).unwrap_or(u16::MAX).min(BATCH);
            if limit == 0 {
                self.scheduling.is_overfull.store(true, Ordering::Release);
                return Ok(());
            }
            let now_ms = self.ca.clock.unix_milliseconds();
            let lease_until_ms = now_ms.saturating_add(millis(self.settings.validation.attempt_timeout + MARGIN));
            let due = self.ca.storage.due_validations(&self.ca.instance, now_ms, lease_until_ms, limit).await?;
            let taken = due.len();
            for record in due {
                // Between the count and now others may have answered; the lease of what finds no room ends by itself.
                if let Some(place) = self.scheduling.place() {
                    self.look(record, place, lease_until_ms);
                }
            }
            if taken < usize::from(limit) {
                return Ok(());
            }
        }
    }

    /// Waits until there is room again for what found none. So the job need not wait for its next turn.
    pub async fn room_for_validations(&self) {
        self.scheduling.room.notified().await;
    }

    /// Stops looking at challenges: those under way are left as they are, for other replicas and the next start, and so are orders that are being
    /// finalized in the background. Called once, by the job, before the storage closes.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn stop(&self) -> Result<()> {
        self.scheduling.stopping.send_replace(true);
        // Whoever writes a result is waited for; whoever still looks has heard the message and ends.
        let ended = self.scheduling.turns.acquire_many(self.scheduling.concurrency);
        if tokio::time::timeout(STOP, ended).await.is_err() {
            tracing::warn!("results of challenges were still being written when the time to stop was over");
        }
        self.ca.storage.release_acme_leases(&self.ca.instance).await
    }

    /// Returns how long the lease of an answered challenge lasts, in milliseconds: none without room.
    pub(super) fn lease_ms(&self, place: Option<&Place>) -> i64 {
        let look = self.settings.validation.attempt_timeout + MARGIN;
        match place {
            None => 0,
            Some(Place { turn: Some(_), .. }) => millis(look),
            Some(Place { turn: None, .. }) => millis(look + QUEUED_FOR),
        }
    }

    /// Looks at a challenge in the background, in its turn, while its lease lasts.
    pub(super) fn look(self: &Arc<Self>, record: AcmeAuthorizationRecord, place: Place, lease_until_ms: i64) {
        let acme = Arc::clone(self);
        metrics::gauge!("chancery_acme_validation_queue").increment(1.0);
        let account = record.account_id;
        let look = Look { record, lease_until_ms, _place: place.place };
        let begins = match place.turn {
            Some(turn) => Some((turn, look)),
            None => {
                self.scheduling.waiting().push(account, look);
                None
            }
        };
        tokio::spawn(async move {
            let begins = match begins {
                Some(begins) => Some(begins),
                // As many ask for a turn as looks wait; which of these it is for is decided when it comes.
                None => acme.scheduling.next_look().await,
            };
            if let Some((turn, look)) = begins {
                acme.look_in_turn(look, turn).await;
            }
            metrics::gauge!("chancery_acme_validation_queue").decrement(1.0);
            // Nobody waits for room as a rule, and then nobody need ask the database.
            if acme.scheduling.is_overfull.load(Ordering::Acquire) {
                acme.scheduling.room.notify_one();
            }
        });
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests;
