//! The threads on which calls to a token run: as many as it has sessions, and a breaker that lets callers fail at once while it is away.
//!
//! PKCS #11 has no timeouts. A call that takes too long is abandoned with its thread, which ends when the call does; another thread
//! takes its place as long as not too many hang.

use std::collections::VecDeque;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::failure::{Class, Failure};
use super::token::Device;

/// The most calls that wait for a thread. Each has a caller that waits on a thread of its own.
const LONGEST_QUEUE: usize = 128;

/// How long after a failure the token is tried again, by one caller at a time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
/// The same when it stays away.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The threads of one token.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    device: Arc<Device>,
    state: Mutex<State>,
    work: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({})", self.device.settings.name)
    }
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// Threads that are at work or wait for it.
    threads: usize,
    idle: usize,
    /// Threads whose call was abandoned and has not returned.
    hanging: usize,
    next_job: u64,
    /// The calls under way, by number; an abandoned one is taken out.
    running: Vec<u64>,
    breaker: Option<Breaker>,
    closed: bool,
}

/// The token is away.
struct Breaker {
    reason: String,
    pause: Duration,
    next_trial: Instant,
    trying: bool,
}

struct Job {
    number: u64,
    work: Box<dyn FnOnce(&mut Connection) + Send>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.work.notify_all();
    }
}

impl Pool {
    pub(super) fn new(device: Arc<Device>) -> Self {
        Self { shared: Arc::new(Shared { device, state: Mutex::default(), work: Condvar::new() }) }
    }

    pub(super) fn device(&self) -> &Device {
        &self.shared.device
    }

    pub(super) fn is_away(&self) -> bool {
        self.shared.state().breaker.is_some()
    }

    /// Has some work done by one of the threads and waits for it, for `timeout` at most.
    pub(super) fn call<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, answer) = mpsc::sync_channel(1);
        let number = self.submit(Box::new(move |connection| {
            // The caller may have stopped waiting.
            drop(reply.send(work(connection)));
        }))?;
        let outcome = match answer.recv_timeout(timeout) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => Err(self.shared.abandon(number, timeout)),
            Err(RecvTimeoutError::Disconnected) => Err(Failure::refused("a call to it ended badly")),
        };
        self.shared.judge(outcome.as_ref().err());
        outcome
    }

    fn submit(&self, work: Box<dyn FnOnce(&mut Connection) + Send>) -> Result<u64, Failure> {
        let mut state = self.shared.state();
        if let Some(breaker) = &state.breaker
            && (breaker.trying || Instant::now() < breaker.next_trial)
        {
            return Err(Failure::away(breaker.reason.clone()));
        }
        if state.queue.len() >= LONGEST_QUEUE {
            return Err(Failure::new(Class::Busy, format!("{LONGEST_QUEUE} calls wait for it already")));
        }
        let sessions = self.shared.device.settings.sessions;
        if state.idle <= state.queue.len() && state.threads < sessions && state.hanging < sessions {
            self.spawn(&mut state)?;
        }
        if state.threads == 0 {
            return Err(Failure::away(format!("{} calls to it hang", state.hanging)));
        }
        if let Some(breaker) = &mut state.breaker {
            breaker.trying = true;
        }
        let number = state.next_job;
        state.next_job = state.next_job.wrapping_add(1);
        state.queue.push_back(Job { number, work });
        drop(state);
        self.shared.work.notify_one();
        Ok(number)
    }

    fn spawn(&self, state: &mut State) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        let name = format!("pkcs11-{}", shared.device.settings.name);
        match std::thread::Builder::new().name(name).spawn(move || shared.serve()) {
            Ok(_detached) => state.threads = state.threads.saturating_add(1),
            // Those that are there will come to it.
            Err(_error) if state.threads > 0 => {}
            Err(error) => {
                return Err(Failure::new(Class::Busy, format!("no thread can be started for it: {error}")));
            }
        }
        Ok(())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a thread.
    fn serve(&self) {
        let mut connection = Connection::new(Arc::clone(&self.device));
        while let Some(Job { number, work }) = self.next() {
            let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&mut connection)));
            if worked.is_err() {
                tracing::error!(token = %self.device.settings.name, "a call to the token panicked");
                connection.close();
            }
            let mut state = self.state();
            let before = state.running.len();
            state.running.retain(|running| *running != number);
            if state.running.len() == before {
                // The caller gave up, and another thread may be in our place.
                state.hanging = state.hanging.saturating_sub(1);
                drop(state);
                tracing::info!(token = %self.device.settings.name, "a call to the token that hung has returned");
                break;
            }
        }
        connection.close();
    }

    /// Waits for the next call; `None` when the pool is gone.
    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.closed {
                state.threads = state.threads.saturating_sub(1);
                return None;
            }
            if let Some(job) = state.queue.pop_front() {
                state.running.push(job.number);
                return Some(job);
            }
            state.idle = state.idle.saturating_add(1);
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle = state.idle.saturating_sub(1);
        }
    }

    /// Gives a call up whose time is over.
    fn abandon(&self, number: u64, timeout: Duration) -> Failure {
        let mut state = self.state();
        let before = state.queue.len();
        state.queue.retain(|job| job.number != number);
        if state.queue.len() < before {
            return Failure::new(Class::Busy, format!("the turn of a call did not come within {timeout:?}"));
        }
        let before = state.running.len();
        state.running.retain(|running| *running != number);
        if state.running.len() < before {
            state.threads = state.threads.saturating_sub(1);
            state.hanging = state.hanging.saturating_add(1);
        }
        Failure::away(format!("a call to it did not return within {timeout:?}"))
    }

    /// Opens the breaker after a call that found the token away, and closes it after one that did not.
    fn judge(&self, failure: Option<&Failure>) {
        let token = &self.device.settings.name;
        let mut state = self.state();
        let is_away = match failure.map(|failure| failure.class) {
            // One key that is missing is no matter of the others.
            None | Some(Class::Refused | Class::KeyMissing) => false,
            Some(Class::Lost | Class::Away) => true,
            Some(Class::Busy) => {
                if let Some(breaker) = &mut state.breaker {
                    breaker.trying = false;
                }
                return;
            }
        };
        let now = Instant::now();
        match (&mut state.breaker, failure.filter(|_failure| is_away)) {
            (None, None) => {}
            (breaker @ Some(_), None) => {
                *breaker = None;
                tracing::info!(%token, "the token is back");
            }
            (breaker @ None, Some(failure)) => {
                tracing::warn!(%token, reason = %failure, "the token is away");
                let (reason, pause) = (failure.to_string(), SHORTEST_PAUSE);
                *breaker = Some(Breaker { reason, pause, next_trial: now + pause, trying: false });
            }
            // Others that had begun before may fail while nobody is to try.
            (Some(breaker), Some(failure)) if now >= breaker.next_trial => {
                breaker.reason = failure.to_string();
                breaker.pause = breaker.pause.saturating_mul(2).min(LONGEST_PAUSE);
                breaker.next_trial = now + breaker.pause;
                breaker.trying = false;
            }
            (Some(_), Some(_)) => {}
        }
    }
}
