//! Structured logs on standard error, as text or JSON. Metrics live in `http/metrics.rs`.

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};
use crate::error::{Error, Result};

/// Starts logging for the process.
///
/// # Errors
/// `Configuration` when the level is not a valid filter or logging was started before.
pub fn start(log: &Log) -> Result<()> {
    // The libraries' own lines: what clients send them badly is no error of ours, nor that a token knows newer mechanisms.
    let directives = format!("actix_http=off,actix_server=warn,h2=error,cryptoki=off,rustls=error,{}", log.level);
    let filter = EnvFilter::try_new(directives).map_err(|error| {
        Error::configuration(format!("`log.level` is not a level or filter such as `info`: {error}")).with_source(error)
    })?;
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal);
    match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|error| Error::configuration("logging was started before").with_source(error))
}
