//! The listeners: bound first, so that their real addresses are known, then served until the service stops.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::dev::{Server, ServerHandle, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::{App, web};

use super::connection::Patience;
use super::endpoint::Listener;
use super::entrance::{self, Connections, Entrance};
use super::{AppState, middleware, routes};
use crate::error::{Error, Result};

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The API.
    pub api: SocketAddr,
    /// What relying parties fetch; not served on a listener of its own if absent.
    pub public: Option<SocketAddr>,
    /// Metrics; not served if absent.
    pub metrics: Option<SocketAddr>,
}

/// Limits of the listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// How many threads serve the API; one for each processor if absent.
    pub workers: Option<usize>,
    /// The most connections of each listener.
    pub max_connections: usize,
    /// The most connections of the API and what relying parties fetch together.
    pub max_connections_together: usize,
    /// The most connections from one address, unless it is that of a trusted proxy; no limit if absent.
    pub max_connections_per_address: Option<usize>,
    /// The longest a request's head may take to arrive, and a TLS handshake.
    pub header_timeout: Duration,
    /// How long an idle connection is kept open.
    pub keep_alive: Duration,
    /// How long a client may take next to nothing of an answer.
    pub write_timeout: Duration,
    /// The longest that requests in flight are waited for when the service stops.
    pub shutdown_timeout: Duration,
    /// How long the service keeps accepting after readiness has turned false, for load balancers to notice.
    pub drain_delay: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            workers: None,
            max_connections: 20_000,
            max_connections_together: 40_000,
            max_connections_per_address: None,
            header_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(15),
            write_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
        }
    }
}

impl ServerSettings {
    /// Returns how long a connection may do nothing.
    pub(super) fn patience(&self) -> Patience {
        const RARELY: Duration = Duration::from_secs(5);
        const OFTEN: Duration = Duration::from_millis(50);
        let quiet = self.keep_alive.saturating_add(self.header_timeout);
        let shortest = self.keep_alive.min(self.header_timeout).min(self.write_timeout);
        Patience {
            quiet,
            quiet_when_scarce: shortest.min(Duration::from_secs(1)),
            writing: self.write_timeout,
            tick: (shortest / 2).clamp(OFTEN, RARELY),
        }
    }
}

/// The real addresses of the listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The API.
    pub api: SocketAddr,
    /// What relying parties fetch.
    pub public: Option<SocketAddr>,
    /// Metrics.
    pub metrics: Option<SocketAddr>,
}

/// Listeners that are bound and not yet served; connections wait in their backlog.
#[derive(Debug)]
pub struct Listeners {
    api: TcpListener,
    public: Option<TcpListener>,
    metrics: Option<TcpListener>,
    bound: Bound,
}

impl Listeners {
    /// Returns the real addresses.
    #[must_use]
    pub const fn bound(&self) -> Bound {
        self.bound
    }
}

/// The most connections of the listener of metrics.
const METRICS_CONNECTIONS: usize = 256;
/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Binds the listeners; port 0 takes a free port.
///
/// # Errors
/// `Configuration`, naming the listener and the address that cannot be bound.
pub fn bind(addresses: &Addresses) -> Result<Listeners> {
    let (api, api_address) = bind_one("API", addresses.api)?;
    let public = addresses.public.map(|address| bind_one("public", address)).transpose()?;
    let metrics = addresses.metrics.map(|address| bind_one("metrics", address)).transpose()?;
    let bound = Bound {
        api: api_address,
        public: public.as_ref().map(|(_, address)| *address),
        metrics: metrics.as_ref().map(|(_, address)| *address),
    };
    Ok(Listeners { api, public: public.map(|(l, _)| l), metrics: metrics.map(|(l, _)| l), bound })
}

fn bind_one(name: &str, address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let refuse =
        |error| Error::configuration(format!("the {name} listener cannot be bound to `{address}`")).with_source(error);
    let listener = TcpListener::bind(address).map_err(refuse)?;
    // The standard library asks for so few that a burst of new clients waits for its packets to be sent again. The kernel has the last word.
    socket2::SockRef::from(&listener).listen(BACKLOG).map_err(refuse)?;
    listener.set_nonblocking(true).map_err(refuse)?;
    let real = listener.local_addr().map_err(refuse)?;
    Ok((listener, real))
}

/// Makes the application of one listener: its routes, with what surrounds every request.
pub fn application(
    state: web::Data<AppState>,
    listener: Listener,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let acme = state.settings.acme_enabled;
    App::new()
        .app_data(state)
        .configure(|config| routes::configure(config, listener, acme))
        .wrap(from_fn(middleware::observe))
}

/// Serves until `shutdown` completes, then turns readiness false, finishes the requests in flight within the timeout, and returns.
///
/// # Errors
/// `Configuration` when a listener cannot be served, `Internal` when one ends by itself.
pub async fn serve(
    listeners: Listeners,
    settings: ServerSettings,
    state: AppState,
    tls: Option<Arc<rustls::ServerConfig>>,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    super::metrics::install()?;
    let state = web::Data::new(state);
    let together = Arc::new(Connections::new(settings.max_connections_together));
    let mut servers = vec![start(listeners.api, Listener::Api, &settings, &state, &together, tls)?];
    if let Some(public) = listeners.public {
        servers.push(start(public, Listener::Public, &settings, &state, &together, None)?);
    }
    if let Some(metrics) = listeners.metrics {
        let own = Arc::new(Connections::new(METRICS_CONNECTIONS));
        servers.push(start(metrics, Listener::Metrics, &settings, &state, &own, None)?);
    }
    let handles: Vec<ServerHandle> = servers.iter().map(Server::handle).collect();
    let stop = async {
        shutdown.await;
        stop(&state, &handles, &settings).await;
    };
    let run = futures_util::future::try_join_all(servers);
    let (served, ()) = {
        futures_util::pin_mut!(stop);
        futures_util::pin_mut!(run);
        // The servers end when they are stopped; should one end by itself, there is no point in waiting for the signal.
        match futures_util::future::select(run, stop).await {
            futures_util::future::Either::Left((served, _)) => (served, ()),
            futures_util::future::Either::Right(((), run)) => (run.await, ()),
        }
    };
    served.map(|_units| ()).map_err(|error| Error::internal("a listener ended by itself").with_source(error))
}

/// Stops in order: readiness, new requests, those in flight. The servers' own graceful stop is not used: it waits for connections, and a client
/// that keeps an idle HTTP/2 connection open makes that the whole timeout.
async fn stop(state: &AppState, handles: &[ServerHandle], settings: &ServerSettings) {
    /// How long the last answers have to leave the buffers.
    const FLUSH: Duration = Duration::from_millis(250);

    state.stopping.begin();
    tracing::info!("stopping: readiness is false, requests in flight are finished");
    tokio::time::sleep(settings.drain_delay).await;
    futures_util::future::join_all(handles.iter().map(ServerHandle::pause)).await;
    state.stopping.refuse();
    if tokio::time::timeout(settings.shutdown_timeout, state.stopping.idle()).await.is_err() {
        tracing::warn!("requests were still in flight at the end of the shutdown timeout; they are cut off");
    }
    tokio::time::sleep(FLUSH).await;
    futures_util::future::join_all(handles.iter().map(|handle| handle.stop(false))).await;
}

fn start(
    listener: TcpListener,
    kind: Listener,
    settings: &ServerSettings,
    state: &web::Data<AppState>,
    together: &Arc<Connections>,
    tls: Option<Arc<rustls::ServerConfig>>,
) -> Result<Server> {
    let (state, settings) = (state.clone(), *settings);
    let processors = || std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
    let (name, workers, most) = match kind {
        Listener::Api => ("api", settings.workers.unwrap_or_else(processors).max(1), settings.max_connections),
        Listener::Public => ("public", 2, settings.max_connections),
        Listener::Metrics => ("metrics", 1, settings.max_connections.min(METRICS_CONNECTIONS)),
    };
    let exempt = state.settings.trusted_proxies.clone();
    let entrance = Entrance::new(most, settings.max_connections_per_address, exempt, Arc::clone(together));
    let serving = move || entrance::serving(Arc::clone(&entrance), tls.clone(), settings, kind, state.clone());
    let server = Server::build()
        .disable_signals()
        .workers(workers)
        .max_concurrent_connections(most.div_ceil(workers))
        .shutdown_timeout(settings.shutdown_timeout.as_secs())
        .listen(name, listener, serving)
        .map_err(|error| Error::configuration("a listener cannot be served").with_source(error))?;
    Ok(server.run())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn port_zero_takes_a_free_port_that_is_known_before_serving() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listeners = bind(&Addresses { api: any, public: Some(any), metrics: None }).unwrap();
        let bound = listeners.bound();
        assert_ne!(bound.api.port(), 0);
        assert_ne!(bound.public.unwrap().port(), bound.api.port());
        assert_eq!(bound.metrics, None);
    }

    #[test]
    fn an_address_in_use_is_named() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let taken = bind(&Addresses { api: any, public: None, metrics: None }).unwrap();
        let error = bind(&Addresses { api: taken.bound().api, public: None, metrics: None }).unwrap_err();
        assert!(error.detail().contains(&taken.bound().api.to_string()), "{error}");
    }
}
