//! The manufacturer's library: loaded once in a process, initialised, and initialised anew when that is what a lost device needs.
//!
//! A library keeps one state for the whole process: finalising it ends the sessions of every token and must not happen during a call.
//! So calls enter through a gate, which closes for a new start, and sessions belong to an epoch, which a new start ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as Pkcs11Error, RvError};

use super::failure::{Class, Failure};
use crate::error::{Error, Result};

/// Every library of this process, by its path. They stay loaded: unloading one that has threads ends badly.
static LOADED: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

/// How long a new start waits for calls that are under way. One that hangs for longer rules the new start out.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long after a new start the next may follow: each ends the sessions of all tokens of the library.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// The same when new starts bring nothing.
const LONGEST_INTERVAL: Duration = Duration::from_secs(10);

/// A library.
#[derive(Debug)]
pub(super) struct Module {
    path: PathBuf,
    context: Pkcs11,
    gate: Mutex<Gate>,
    changed: Condvar,
}

#[derive(Debug)]
struct Gate {
    /// How many calls are under way.
    calls: usize,
    /// A new start is under way.
    closed: bool,
    initialized: bool,
    /// Rises with each start.
    epoch: u64,
    last_start: Option<Instant>,
    interval: Duration,
}

/// A call under way. While it lives the library is not finalised.
#[derive(Debug)]
pub(super) struct Call<'a> {
    module: &'a Module,
    epoch: u64,
}

impl Call<'_> {
    /// The library's functions.
    pub(super) const fn context(&self) -> &Pkcs11 {
        &self.module.context
    }

    /// The epoch that sessions opened during this call belong to.
    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut gate = self.module.gate();
        gate.calls = gate.calls.saturating_sub(1);
        drop(gate);
        self.module.changed.notify_all();
    }
}

/// Opens the gate again, whatever became of the new start.
struct Reopen<'a> {
    module: &'a Module,
    initialized: bool,
}

impl Drop for Reopen<'_> {
    fn drop(&mut self) {
        let mut gate = self.module.gate();
        gate.closed = false;
        gate.initialized = self.initialized;
        gate.epoch = gate.epoch.wrapping_add(1);
        gate.last_start = Some(Instant::now());
        drop(gate);
        self.module.changed.notify_all();
    }
}

impl Module {
    /// Loads a library, or finds it among those that are loaded. It is not initialised yet.
    ///
    /// # Errors
    /// `Configuration` when the file is not there or is not a PKCS #11 library.
    pub(super) fn load(path: &Path) -> Result<Arc<Self>> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::configuration(format!("the PKCS #11 module `{}` cannot be loaded: {error}", path.display()))
                .with_source(error)
        };
        let path = path.canonicalize().map_err(|error| failed(error.into()))?;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = loaded.get(&path) {
            return Ok(Arc::clone(module));
        }
        let context = Pkcs11::new(&path).map_err(|error| failed(error.into()))?;
        let gate = Gate {
            calls: 0,
            closed: false,
            initialized: false,
            epoch: 0,
            last_start: None,
            interval: SHORTEST_INTERVAL,
        };
        let module = Arc::new(Self { path: path.clone(), context, gate: Mutex::new(gate), changed: Condvar::new() });
        loaded.insert(path, Arc::clone(&module));
        Ok(module)
    }

    /// Begins a call, initialising the library before the first.
    pub(super) fn enter(&self) -> Result<Call<'_>, Failure> {
        if !self.gate().initialized {
            self.start(None)?;
        }
        let mut gate = self.open_gate();
        if !gate.initialized {
            return Err(Failure::away("its PKCS #11 module cannot be initialised"));
        }
        gate.calls = gate.calls.saturating_add(1);
        Ok(Call { module: self, epoch: gate.epoch })
    }

    /// Finalises the library and initialises it anew, unless somebody did since `epoch`. The caller has no call under way.
    pub(super) fn restart(&self, epoch: u64) -> Result<(), Failure> {
        self.start(Some(epoch))
    }

    /// Tells that the device answers, so that the next new start need not be waited for.
    pub(super) fn works(&self) {
        self.gate().interval = SHORTEST_INTERVAL;
    }

    fn start(&self, from: Option<u64>) -> Result<(), Failure> {
        let mut gate = self.open_gate();
        if from.map_or(gate.initialized, |epoch| gate.epoch != epoch) {
            return Ok(());
        }
        if let Some(last) = gate.last_start
            && last.elapsed() < gate.interval
        {
            return Err(Failure::away("its PKCS #11 module was started anew a moment ago, and that did not help"));
        }
        gate.closed = true;
        let patience = Instant::now();
        while gate.calls > 0 {
            let left = PATIENCE.saturating_sub(patience.elapsed());
            if left.is_zero() {
                gate.closed = false;
                drop(gate);
                self.changed.notify_all();
                return Err(Failure::away("another call to its PKCS #11 module hangs"));
            }
            gate = self.changed.wait_timeout(gate, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        gate.interval = gate.interval.saturating_mul(2).min(LONGEST_INTERVAL);
        let was_initialized = gate.initialized;
        drop(gate);
        let mut reopen = Reopen { module: self, initialized: false };
        tracing::info!(module = %self.path.display(), again = was_initialized, "initialising the PKCS #11 module");
        if was_initialized && let Err(error) = self.context.clone().finalize() {
            // It may have been finalised by losing its device; what counts is whether it starts.
            tracing::warn!(module = %self.path.display(), %error, "the PKCS #11 module cannot be finalised");
        }
        match self.context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {
                reopen.initialized = true;
                Ok(())
            }
            Err(error) => {
                let cause = Failure::from(error);
                Err(Failure::new(Class::Away, format!("its PKCS #11 module cannot be initialised: {cause}")))
            }
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no new start is under way. Should one hang, so does this: the caller's caller does not wait for it.
    fn open_gate(&self) -> MutexGuard<'_, Gate> {
        self.changed.wait_while(self.gate(), |gate| gate.closed).unwrap_or_else(PoisonError::into_inner)
    }
}
