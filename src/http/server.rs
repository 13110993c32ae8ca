//! The listeners: bound first, so that their real addresses are known, then served until the service stops.

use std::any::Any;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::BoxBody;
use actix_web::dev::{Extensions, ServerHandle, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer, web};

use super::endpoint::Listener;
use super::extract::ClientCertificate;
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
    /// The most connections of one worker.
    pub max_connections: usize,
    /// The longest a request's head may take to arrive, and a TLS handshake.
    pub header_timeout: Duration,
    /// How long an idle connection is kept open.
    pub keep_alive: Duration,
    /// The longest that requests in flight are waited for when the service stops.
    pub shutdown_timeout: Duration,
    /// How long the service keeps accepting after readiness has turned false, for load balancers to notice.
    pub drain_delay: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            workers: None,
            max_connections: 10_000,
            header_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(15),
            shutdown_timeout: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
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
    let mut servers = vec![start(listeners.api, Listener::Api, &settings, &state, tls)?];
    if let Some(public) = listeners.public {
        servers.push(start(public, Listener::Public, &settings, &state, None)?);
    }
    if let Some(metrics) = listeners.metrics {
        servers.push(start(metrics, Listener::Metrics, &settings, &state, None)?);
    }
    let handles: Vec<ServerHandle> = servers.iter().map(actix_web::dev::Server::handle).collect();
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
    tls: Option<Arc<rustls::ServerConfig>>,
) -> Result<actix_web::dev::Server> {
    let state = state.clone();
    let mut server = HttpServer::new(move || application(state.clone(), kind))
        .disable_signals()
        .keep_alive(settings.keep_alive)
        .client_request_timeout(settings.header_timeout)
        .client_disconnect_timeout(settings.header_timeout)
        .tls_handshake_timeout(settings.header_timeout)
        .max_connections(settings.max_connections)
        .shutdown_timeout(settings.shutdown_timeout.as_secs())
        .on_connect(keep_client_certificate);
    match (kind, settings.workers) {
        (Listener::Api, Some(workers)) => server = server.workers(workers.max(1)),
        (Listener::Api, None) => {}
        (Listener::Public, _) => server = server.workers(2),
        (Listener::Metrics, _) => server = server.workers(1),
    }
    let bound = match tls {
        Some(config) => server.listen_rustls_0_23(listener, rustls::ServerConfig::clone(&config)),
        None => server.listen(listener),
    };
    Ok(bound.map_err(|error| Error::configuration("a listener cannot be served").with_source(error))?.run())
}

/// Puts the client's certificate, which the handshake verified, where the authentication finds it.
fn keep_client_certificate(connection: &dyn Any, data: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<TlsStream<TcpStream>>() else { return };
    let (_, session) = stream.get_ref();
    if let Some((certificate, intermediates)) = session.peer_certificates().and_then(<[_]>::split_first) {
        data.insert(ClientCertificate {
            certificate: Arc::new(certificate.as_ref().to_vec()),
            intermediates: Arc::new(intermediates.iter().map(|link| link.as_ref().to_vec()).collect()),
        });
    }
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
