//! The one place that moves work off the async workers.

use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// Runs a closure that computes for long or blocks (RSA and HSM signatures, file reads) on the blocking pool.
///
/// # Errors
/// Those of the closure; `Internal` when it panics.
pub async fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let span = tracing::Span::current();
    // In a box: a task of its own type for each closure made the program half a megabyte larger.
    let (answer, outcome) = oneshot::channel();
    let task: Box<dyn FnOnce() + Send> = Box::new(move || drop(answer.send(work())));
    tokio::task::spawn_blocking(move || span.in_scope(task));
    outcome.await.map_err(|error| Error::internal("a blocking task did not finish").with_source(error))?
}
