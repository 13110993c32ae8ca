//! `chancery serve`: binds, opens, serves, and stops when it is told to, finishing what was accepted.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::init;
use super::{block_on, files};
use crate::app::{self, Service};
use crate::ca::CertificateAuthority;
use crate::config::{self, Config, Tls};
use crate::error::{Error, Result};
use crate::http::server::{self, Addresses, Bound, Listeners};
use crate::telemetry;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Run `init` first: create issuers, default profiles and the administrator token unless they are there.
    #[arg(long)]
    init: bool,
}

pub(super) fn run(config: Config, arguments: Arguments) -> Result<ExitCode> {
    telemetry::start(&config.log)?;
    for warning in config::check(&config) {
        tracing::warn!("{warning}");
    }
    block_on(async move {
        let opened = open(&config).await?;
        if arguments.init {
            files::create_directory(&config.data_dir)?;
            init::prepare(&config, &opened.ca, true).await?;
        } else {
            opened.ca.apply_configured_profiles(config.profiles.clone()).await?;
            if config.data_dir.join("chain.pem").exists() {
                // The default issuer may have been rolled over since the files were written.
                init::write_chain(&config, &opened.ca)?;
            }
        }
        let service = Service::prepare(&config, Arc::clone(&opened.ca), opened.listeners.bound()).await?;
        let stop = stop_on_signal()?;
        let endpoints = endpoints(&config, opened.listeners.bound());
        tracing::info!(api = %endpoints.api, public = endpoints.public, metrics = endpoints.metrics, "ready");
        service.run(opened.listeners, stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// A CA with listeners that are bound already, so that the public address stands in certificates from the first one on.
pub(super) struct Opened {
    pub(super) listeners: Listeners,
    pub(super) ca: Arc<CertificateAuthority>,
}

pub(super) async fn open(config: &Config) -> Result<Opened> {
    let listeners = server::bind(&Addresses {
        api: config.server.listen,
        public: config.server.public_listen,
        metrics: config.server.metrics_listen,
    })?;
    let ca = app::open_at(config, app::public_url(config, listeners.bound().public)).await?;
    Ok(Opened { listeners, ca })
}

/// What clients connect to.
#[derive(Clone, Debug)]
pub(super) struct Endpoints {
    pub(super) api: String,
    pub(super) public: Option<String>,
    pub(super) metrics: Option<String>,
}

pub(super) fn endpoints(config: &Config, bound: Bound) -> Endpoints {
    let http = |address: SocketAddr| format!("http://{address}");
    Endpoints {
        api: match config.server.tls {
            Tls::On => format!("https://{}", bound.api),
            Tls::Off => http(bound.api),
        },
        public: bound.public.map(http),
        metrics: bound.metrics.map(http),
    }
}

/// Writes `endpoints.json`, for programs that start the service on free ports.
pub(super) fn write_endpoints(config: &Config, endpoints: &Endpoints) -> Result<()> {
    let value = json!({ "api": endpoints.api, "public": endpoints.public, "metrics": endpoints.metrics });
    files::write_public(&config.data_dir.join("endpoints.json"), format!("{value:#}\n").as_bytes())
}

/// Turns true on the first SIGTERM or SIGINT.
pub(super) fn stop_on_signal() -> Result<watch::Receiver<bool>> {
    let failed = |error: std::io::Error| Error::internal("signals cannot be waited for").with_source(error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Nobody waits any more when the service ended by itself.
        let _unheard = stop.send(true);
    });
    Ok(stopped)
}
