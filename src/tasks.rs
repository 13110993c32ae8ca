//! The one place that moves work off the async workers.

use crate::error::{Error, Result};

/// Runs a closure that computes for long or blocks (RSA and HSM signatures, file reads) on the blocking pool.
///
/// # Errors
/// Those of the closure; `Internal` when it panics.
pub async fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
        .await
        .map_err(|error| Error::internal("a blocking task did not finish").with_source(error))?
}
