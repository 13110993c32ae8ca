//! Admission: how many requests of a kind are worked on at once, and how long more of them may wait. A request that would wait longer is refused
//! at once, before its body is parsed, so that refusing costs next to nothing and those who are admitted are answered in time.
//!
//! Each kind of work has places of its own: a flood of one does not keep out the others. What is answered from memory needs none. How many
//! connections there may be is decided in `entrance.rs`.

mod refusals;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpMessage as _, HttpRequest, web};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::refusals::{Refusals, refuse};
use super::AppState;
use crate::error::{Error, Result};

/// A kind of work, by what it costs and whom it must not keep waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Answered from memory, or nearly so: health, metrics, CRLs, OCSP, nonces. Never refused.
    Free,
    /// Reads the database.
    Read,
    /// Changes something; revocations above all, which no flood of issuance may keep out.
    Change,
    /// Leads to a certificate.
    Issue,
}

/// Limits of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionSettings {
    /// The most requests of one kind that are worked on at once.
    pub places: usize,
    /// The longest that a request waits for its turn.
    pub maximum_wait: Duration,
    /// The most octets that requests hold at once before they are answered, bodies above all.
    pub memory: usize,
}

impl Default for AdmissionSettings {
    fn default() -> Self {
        Self { places: 512, maximum_wait: Duration::from_millis(500), memory: 128 * 1024 * 1024 }
    }
}

/// The places of all kinds of work.
#[derive(Debug)]
pub struct Admission {
    reads: Arc<Gate>,
    changes: Arc<Gate>,
    issues: Arc<Gate>,
    memory: Arc<Memory>,
    refusals: Refusals,
}

impl Admission {
    /// Makes the places; all are free.
    #[must_use]
    pub fn new(settings: AdmissionSettings) -> Self {
        let gate = |work| Arc::new(Gate::new(work, settings));
        Self {
            reads: gate("read"),
            changes: gate("change"),
            issues: gate("issue"),
            memory: Arc::new(Memory { held: AtomicUsize::new(0), most: settings.memory }),
            refusals: Refusals::new(settings.maximum_wait),
        }
    }

    fn gate(&self, work: Work) -> Option<&Arc<Gate>> {
        match work {
            Work::Free => None,
            Work::Read => Some(&self.reads),
            Work::Change => Some(&self.changes),
            Work::Issue => Some(&self.issues),
        }
    }

    /// Sets the gauges of what is worked on and what waits.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floating point; counts are far below 2^52")]
    pub(crate) fn measure(&self) {
        for gate in [&self.reads, &self.changes, &self.issues] {
            let busy = gate.places.saturating_sub(gate.free.available_permits());
            metrics::gauge!("chancery_requests_in_progress", "work" => gate.work).set(busy as f64);
            metrics::gauge!("chancery_requests_waiting", "work" => gate.work)
                .set(gate.waiting.load(Ordering::Relaxed) as f64);
        }
    }
}

/// The octets that requests hold: anybody can make the service hold a request that never becomes whole.
#[derive(Debug)]
struct Memory {
    held: AtomicUsize,
    most: usize,
}

/// The places of one kind of work, and those who wait for one in the order in which they came.
#[derive(Debug)]
struct Gate {
    work: &'static str,
    places: usize,
    maximum_wait: Duration,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// How many places have become free so far.
    left: AtomicU64,
    pace: Mutex<Pace>,
}

/// How fast places become free while somebody waits.
#[derive(Debug)]
struct Pace {
    since: Instant,
    left: u64,
    /// Not known until somebody has waited for a while.
    per_second: Option<f64>,
}

impl Gate {
    fn new(work: &'static str, settings: AdmissionSettings) -> Self {
        Self {
            work,
            places: settings.places,
            maximum_wait: settings.maximum_wait,
            free: Arc::new(Semaphore::new(settings.places)),
            waiting: AtomicUsize::new(0),
            left: AtomicU64::new(0),
            pace: Mutex::new(Pace { since: Instant::now(), left: 0, per_second: None }),
        }
    }

    /// Refuses a request that would wait too long, by how many wait before it and how fast they go.
    fn look(&self) -> Result<()> {
        /// How long places are counted until a pace is known.
        const WINDOW: Duration = Duration::from_millis(100);
        /// The most that wait for each place while no pace is known.
        const QUEUE: usize = 8;

        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting == 0 {
            return Ok(());
        }
        if waiting >= self.places.saturating_mul(QUEUE) {
            return Err(self.refuse("queue_full"));
        }
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = pace.since.elapsed();
        if elapsed >= WINDOW {
            let left = self.left.load(Ordering::Relaxed);
            let now = count(left.saturating_sub(pace.left)) / elapsed.as_secs_f64();
            let known = pace.per_second.map_or(now, |before| f64::midpoint(before, now));
            *pace = Pace { since: Instant::now(), left, per_second: Some(known) };
        }
        let wait = pace.per_second.map(|per_second| count(waiting as u64) / per_second.max(f64::MIN_POSITIVE));
        drop(pace);
        if wait.is_some_and(|wait| wait > self.maximum_wait.as_secs_f64()) {
            return Err(self.refuse("expected_wait"));
        }
        Ok(())
    }

    /// Takes a place, waiting for it as long as one may.
    async fn enter(self: &Arc<Self>) -> Result<Place> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(Place { gate: Arc::clone(self), _permit: permit });
        }
        let _waiting = Waiting::new(self);
        match tokio::time::timeout(self.maximum_wait, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place { gate: Arc::clone(self), _permit: permit }),
            Ok(Err(_)) | Err(_) => Err(self.refuse("waited")),
        }
    }

    fn refuse(&self, reason: &'static str) -> Error {
        refuse(self.work, reason)
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate; counts within a second are far below 2^52")]
const fn count(number: u64) -> f64 {
    number as f64
}

/// Counts a request as waiting for as long as it lives; the first one starts to count the pace.
struct Waiting<'a>(&'a Gate);

impl<'a> Waiting<'a> {
    fn new(gate: &'a Gate) -> Self {
        if gate.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            let left = gate.left.load(Ordering::Relaxed);
            *gate.pace.lock().unwrap_or_else(PoisonError::into_inner) =
                Pace { since: Instant::now(), left, per_second: None };
        }
        Self(gate)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place that is taken; dropped when the work is done.
#[derive(Debug)]
struct Place {
    gate: Arc<Gate>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.left.fetch_add(1, Ordering::Relaxed);
    }
}

/// Marks a request, in its extensions, that was refused for want of memory.
struct ShortOfMemory;

/// A request's way through admission, in its extensions.
struct Visit {
    /// Absent for what needs no place.
    gate: Option<Arc<Gate>>,
    place: Option<Place>,
    memory: Arc<Memory>,
    held: usize,
}

impl Visit {
    fn hold(&mut self, octets: usize) -> Result<()> {
        let before = self.memory.held.fetch_add(octets, Ordering::Relaxed);
        self.held = self.held.saturating_add(octets);
        if before.saturating_add(octets) > self.memory.most {
            return Err(refuse(self.gate.as_ref().map_or("free", |gate| gate.work), "memory"));
        }
        Ok(())
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

/// Refuses a request at its head when it would wait too long. A place is taken later, by [`enter`]: whoever sends a body slowly must not have one
/// meanwhile.
///
/// # Errors
/// `Overloaded`.
pub(super) async fn knock(request: &HttpRequest, work: Work) -> Result<()> {
    let Some(state) = request.app_data::<web::Data<AppState>>() else { return Ok(()) };
    let gate = state.admission.gate(work).cloned();
    if gate.is_none() && request.method().is_safe() {
        // It has no body, and is answered at once.
        return Ok(());
    }
    let mut visit = Visit { gate, place: None, memory: Arc::clone(&state.admission.memory), held: 0 };
    let refusal = match (visit.hold(held_by_head(request)), &visit.gate) {
        (Ok(()), Some(gate)) => gate.look().err().map(|error| (error, true)),
        (Ok(()), None) => None,
        // What memory is short of is not held back.
        (Err(error), _) => Some((error, false)),
    };
    match refusal {
        None => {
            request.extensions_mut().insert(visit);
            Ok(())
        }
        Some((error, may_wait)) => {
            if !may_wait {
                request.extensions_mut().insert(ShortOfMemory);
            } else if let Some(delay) = state.admission.refusals.count(Instant::now()) {
                tokio::time::sleep(delay).await;
            }
            Err(error)
        }
    }
}

/// Returns how many octets a request holds beside its body, about: over HTTP/2 a few octets on the wire are some ten thousand here.
fn held_by_head(request: &HttpRequest) -> usize {
    const REQUEST: usize = 8 * 1024;
    /// What a field takes beside its name and value, in the library's map.
    const FIELD: usize = 400;
    let field = |(name, value): (&HeaderName, &HeaderValue)| FIELD + name.as_str().len() + value.len();
    request.headers().iter().map(field).fold(REQUEST, usize::saturating_add)
}

/// Accounts for octets of the request's body that arrived.
///
/// # Errors
/// `Overloaded` when all requests together hold too much.
pub(super) fn hold(request: &HttpRequest, octets: usize) -> Result<()> {
    let held = request.extensions_mut().get_mut::<Visit>().map_or(Ok(()), |visit| visit.hold(octets));
    held.inspect_err(|_refusal| {
        request.extensions_mut().insert(ShortOfMemory);
    })
}

/// Takes a place for the request unless it has one, once its body is there.
///
/// # Errors
/// `Overloaded` when there is none in time.
pub(super) async fn enter(request: &HttpRequest) -> Result<()> {
    let gate = match request.extensions().get::<Visit>() {
        Some(Visit { gate: Some(gate), place: None, .. }) => Arc::clone(gate),
        Some(_) | None => return Ok(()),
    };
    let place = gate.enter().await?;
    if let Some(visit) = request.extensions_mut().get_mut::<Visit>() {
        visit.place = Some(place);
    }
    Ok(())
}

/// Gives the request's place back; what it holds in memory it holds until it leaves.
pub(super) fn step_down(request: &HttpRequest) {
    if let Some(visit) = request.extensions_mut().get_mut::<Visit>() {
        visit.place = None;
    }
}

/// Whether the request was refused for want of memory: it must not stay for a moment.
pub(super) fn is_short_of_memory(request: &HttpRequest) -> bool {
    request.extensions().contains::<ShortOfMemory>()
}

/// Ends the request's way through admission.
pub(super) fn leave(request: &HttpRequest) {
    drop(request.extensions_mut().remove::<Visit>());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;
    use crate::error::ErrorKind;

    fn gate(places: usize, maximum_wait: Duration) -> Arc<Gate> {
        Arc::new(Gate::new("issue", AdmissionSettings { places, maximum_wait, ..AdmissionSettings::default() }))
    }

    #[tokio::test]
    async fn a_place_is_given_to_those_who_wait_in_their_order() {
        let gate = gate(1, Duration::from_secs(60));
        let first = gate.enter().await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiters: Vec<_> = (0..3)
            .map(|number| {
                let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
                tokio::spawn(async move {
                    let _place = gate.enter().await.unwrap();
                    order.lock().unwrap().push(number);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(gate.waiting.load(Ordering::Relaxed), 3);
        drop(first);
        for waiter in waiters {
            waiter.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
        assert_eq!((gate.waiting.load(Ordering::Relaxed), gate.free.available_permits()), (0, 1));
    }

    #[tokio::test]
    async fn who_waits_too_long_is_refused_and_told_when_to_come_back() {
        let gate = gate(1, Duration::from_millis(500));
        let _first = gate.enter().await.unwrap();
        let error = gate.enter().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        assert!((1..=5).contains(&error.retry_after_seconds().unwrap()));
        assert_eq!(gate.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn who_would_wait_too_long_is_refused_at_once() {
        let gate = gate(1, Duration::from_millis(500));
        let _first = gate.enter().await.unwrap();
        gate.look().unwrap();
        gate.waiting.store(6, Ordering::Relaxed);
        // Ten a second: six need 600 ms.
        *gate.pace.lock().unwrap() = Pace { since: Instant::now(), left: 0, per_second: Some(10.0) };
        assert_eq!(gate.look().unwrap_err().kind(), ErrorKind::Overloaded);
        gate.waiting.store(4, Ordering::Relaxed);
        gate.look().unwrap();
        // However fast they go, only so many wait.
        *gate.pace.lock().unwrap() = Pace { since: Instant::now(), left: 0, per_second: Some(1e9) };
        gate.waiting.store(8, Ordering::Relaxed);
        assert_eq!(gate.look().unwrap_err().kind(), ErrorKind::Overloaded);
    }
}
