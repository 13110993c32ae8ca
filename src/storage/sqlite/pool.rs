//! The connections that read: made when they are needed, kept, at most as many as configured.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::{Connection, connection, now};
use crate::error::Result;
use crate::storage::{PoolStatus, WaitingCaller, failure};
use crate::tasks;

/// A pool of connections that read.
pub(super) struct ReadPool {
    path: Arc<PathBuf>,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    size: usize,
    waiting: AtomicUsize,
    maximum_wait: Duration,
}

impl std::fmt::Debug for ReadPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadPool").field("path", &self.path).field("status", &self.status()).finish()
    }
}

impl ReadPool {
    /// Makes a pool without any connection yet.
    pub(super) fn new(path: PathBuf, size: usize, maximum_wait: Duration) -> Self {
        Self {
            path: Arc::new(path),
            idle: Arc::default(),
            permits: Arc::new(Semaphore::new(size)),
            size,
            waiting: AtomicUsize::new(0),
            maximum_wait,
        }
    }

    /// Runs an operation on a blocking thread with a connection of the pool.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let waiting = WaitingCaller::new(&self.waiting);
        let permit = match tokio::time::timeout(self.maximum_wait, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(permit) => permit.map_err(|_closed| failure::closed())?,
            Err(_elapsed) => return Err(failure::overloaded()),
        };
        drop(waiting);
        let (path, idle) = (Arc::clone(&self.path), Arc::clone(&self.idle));
        tasks::spawn_blocking(move || {
            let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = kept.map_or_else(|| connection::open_reader(&path), Ok)?;
            let outcome = now(work(&mut connection));
            if connection::is_clean(&mut connection) {
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
            drop(permit);
            outcome
        })
        .await
    }

    /// Returns the pool's state.
    pub(super) fn status(&self) -> PoolStatus {
        PoolStatus {
            size: self.size,
            in_use: self.size.saturating_sub(self.permits.available_permits()),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    /// Admits nobody more, waits for those who read, and closes the connections.
    pub(super) async fn close(&self) {
        let all = u32::try_from(self.size).unwrap_or(u32::MAX);
        if let Ok(permits) = self.permits.acquire_many(all).await {
            self.permits.close();
            drop(permits);
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
