//! The way in: how many connections a listener has, in all and from one address, the TLS handshake, and the HTTP libraries behind it.
//!
//! The library's own listener lets so few handshakes be under way at once that clients who never finish theirs keep out all others; here a
//! handshake is bounded by its time, and counts as the connection that it will be. What happens on a connection is in `connection.rs`.

use std::collections::HashMap;
use std::future::ready;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_http::HttpService;
use actix_service::{
    IntoServiceFactory as _, Service as _, ServiceFactory, ServiceFactoryExt as _, fn_factory, fn_service, map_config,
};
use actix_web::dev::{AppConfig, Extensions};
use actix_web::rt::net::TcpStream;
use actix_web::web;
use ipnet::IpNet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::AppState;
use super::connection::{Activity, Connection, Patience, Transport};
use super::endpoint::Listener;
use super::extract::ClientCertificate;
use super::http2;
use super::server::{ServerSettings, application};

/// How much unsent data the kernel takes for a connection, in octets: more would be memory that slow clients hold, and hide that they are slow.
const UNSENT: u32 = 64 * 1024;
/// How long an HTTP/2 connection may be without a request, if idle connections are not kept longer; over HTTP/1.1 the library ends them.
const QUIET_HTTP2: Duration = Duration::from_secs(120);

/// A number of connections that must not be exceeded.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    open: AtomicUsize,
}

impl Connections {
    /// Allows so many.
    pub(super) const fn new(most: usize) -> Self {
        Self { most, open: AtomicUsize::new(0) }
    }

    fn count(&self) -> bool {
        if self.open.fetch_add(1, Ordering::Relaxed) < self.most {
            return true;
        }
        self.forget();
        false
    }

    fn forget(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether seven of eight are taken.
    fn are_scarce(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.most - self.most / 8
    }
}

/// The connections of one listener, counted over all its workers.
#[derive(Debug)]
pub(super) struct Entrance {
    /// Those of this listener; where it stops accepting is the server's matter.
    own: Connections,
    /// Those of all listeners that share the process's descriptors.
    together: Arc<Connections>,
    most_of_one: Option<usize>,
    /// Proxies, whose address is that of many.
    exempt: Vec<IpNet>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Entrance {
    /// Makes the entrance of a listener.
    pub(super) fn new(
        most: usize,
        most_of_one: Option<usize>,
        exempt: Vec<IpNet>,
        together: Arc<Connections>,
    ) -> Arc<Self> {
        Arc::new(Self { own: Connections::new(most), together, most_of_one, exempt, by_address: Mutex::default() })
    }

    /// Counts a connection, unless there are too many.
    pub(super) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let refused = |reason: &'static str| {
            metrics::counter!("chancery_connections_cut_total", "reason" => reason).increment(1);
        };
        // The kernel keeps connections waiting that a listener alone does not take; what is short here are descriptors.
        if !self.together.count() {
            refused("descriptors");
            return None;
        }
        let address = address.map(|address| address.to_canonical());
        let counted = address
            .filter(|address| self.most_of_one.is_some() && !self.exempt.iter().any(|net| net.contains(address)));
        if let (Some(address), Some(most)) = (counted, self.most_of_one) {
            let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            let open = by_address.entry(address).or_insert(0);
            if *open >= most {
                drop(by_address);
                self.together.forget();
                refused("address_limit");
                return None;
            }
            *open += 1;
        }
        self.own.open.fetch_add(1, Ordering::Relaxed);
        Some(Place { entrance: Arc::clone(self), counted })
    }
}

/// The place of one connection; dropped with it.
#[derive(Debug)]
pub(super) struct Place {
    entrance: Arc<Entrance>,
    counted: Option<IpAddr>,
}

impl Place {
    /// Whether so many connections are open that those without a request must make room: seven of eight.
    pub(super) fn connections_are_scarce(&self) -> bool {
        self.entrance.own.are_scarce() || self.entrance.together.are_scarce()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.entrance.own.forget();
        self.entrance.together.forget();
        let Some(address) = self.counted else { return };
        let mut by_address = self.entrance.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = by_address.get_mut(&address) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                by_address.remove(&address);
            }
        }
    }
}

/// The versions of HTTP that a connection may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// Turns a TCP connection into one that the HTTP libraries serve.
#[derive(Clone)]
struct Doorkeeper {
    entrance: Arc<Entrance>,
    tls: Option<TlsAcceptor>,
    handshake_timeout: Duration,
    patience: Patience,
}

impl Doorkeeper {
    /// Returns nothing for a connection that is not served; there is nobody to tell.
    async fn let_in(self, stream: TcpStream) -> Result<(Connection, Protocol, Option<SocketAddr>), ()> {
        let peer = stream.peer_addr().ok();
        let place = self.entrance.admit(peer.map(|peer| peer.ip())).ok_or(())?;
        // Neither is needed to serve.
        drop(stream.set_nodelay(true));
        drop(socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT));
        let Some(tls) = self.tls else {
            return Ok((Connection::new(Transport::Plain(stream), self.patience, place), Protocol::Http1, peer));
        };
        let shaken = tokio::time::timeout(self.handshake_timeout, tls.accept(stream)).await;
        let Ok(Ok(stream)) = shaken else {
            let reason = if shaken.is_err() { "slow_handshake" } else { "handshake" };
            metrics::counter!("chancery_connections_cut_total", "reason" => reason).increment(1);
            return Err(());
        };
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let quiet = self.patience.quiet;
        let (protocol, quiet) =
            if is_http2 { (Protocol::Http2, quiet.max(QUIET_HTTP2)) } else { (Protocol::Http1, quiet) };
        let patience = Patience { quiet, ..self.patience };
        Ok((Connection::new(Transport::Tls(Box::new(stream)), patience, place), protocol, peer))
    }
}

/// Makes what serves the connections of a listener on one worker: one application for both versions of HTTP.
pub(super) fn serving(
    entrance: Arc<Entrance>,
    tls: Option<Arc<rustls::ServerConfig>>,
    settings: ServerSettings,
    kind: Listener,
    state: web::Data<AppState>,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = (), InitError = ()> {
    let doorkeeper = Doorkeeper {
        entrance,
        tls: tls.map(TlsAcceptor::from),
        handshake_timeout: settings.header_timeout,
        patience: settings.patience(),
    };
    fn_factory(move || {
        let (doorkeeper, state) = (doorkeeper.clone(), state.clone());
        async move {
            let application =
                application(state, kind).into_factory().map_err(|error: actix_web::Error| error.error_response());
            let application = map_config(application, |()| AppConfig::default());
            let application = Rc::new(application.new_service(()).await?);
            let shared = Rc::clone(&application);
            let http1 = HttpService::build()
                .keep_alive(settings.keep_alive)
                .client_request_timeout(settings.header_timeout)
                .client_disconnect_timeout(settings.header_timeout)
                .on_connect_ext(introduce)
                .h1(fn_factory(move || ready(Ok::<_, ()>(Rc::clone(&shared)))));
            let http1 = Rc::new(http1.new_service(()).await?);
            Ok(fn_service(move |stream: TcpStream| {
                let (doorkeeper, application, http1) = (doorkeeper.clone(), Rc::clone(&application), Rc::clone(&http1));
                async move {
                    let (connection, protocol, peer) = doorkeeper.let_in(stream).await?;
                    match protocol {
                        Protocol::Http1 => http1.call((connection, peer)).await.map_err(drop),
                        Protocol::Http2 => {
                            http2::serve(connection, peer, application).await;
                            Ok(())
                        }
                    }
                }
            }))
        }
    })
}

/// Puts what requests must know of their connection where they find it: what is done on it, and the client's certificate.
fn introduce(connection: &Connection, data: &mut Extensions) {
    data.insert::<Rc<Activity>>(connection.activity());
    let Transport::Tls(stream) = connection.transport() else { return };
    if let Some(certificate) = client_certificate(stream) {
        data.insert(certificate);
    }
}

/// Returns the client's certificates, which the handshake verified, if it has shown any.
pub(super) fn client_certificate(stream: &TlsStream<TcpStream>) -> Option<ClientCertificate> {
    let (_, session) = stream.get_ref();
    let (certificate, intermediates) = session.peer_certificates()?.split_first()?;
    Some(ClientCertificate {
        certificate: Arc::new(certificate.as_ref().to_vec()),
        intermediates: Arc::new(intermediates.iter().map(|link| link.as_ref().to_vec()).collect()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;

    fn together(most: usize) -> Arc<Connections> {
        Arc::new(Connections::new(most))
    }

    #[test]
    fn one_address_has_so_many_connections_and_others_have_theirs() {
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let proxy: IpAddr = "10.1.2.3".parse().unwrap();
        let entrance = Entrance::new(100, Some(2), vec!["10.0.0.0/8".parse().unwrap()], together(100));
        let first = entrance.admit(Some(one)).unwrap();
        let _second = entrance.admit(Some("::ffff:192.0.2.1".parse().unwrap())).unwrap();
        assert!(entrance.admit(Some(one)).is_none());
        let _other = entrance.admit(Some(other)).unwrap();
        let _proxied: Vec<Place> = (0..5).map(|_| entrance.admit(Some(proxy)).unwrap()).collect();
        drop(first);
        let _third = entrance.admit(Some(one)).unwrap();
        assert_eq!(entrance.own.open.load(Ordering::Relaxed), 8);
        assert_eq!(entrance.together.open.load(Ordering::Relaxed), 8);
        assert_eq!(entrance.by_address.lock().unwrap().len(), 2);
    }

    #[test]
    fn connections_are_scarce_from_seven_of_eight_on() {
        let entrance = Entrance::new(16, None, Vec::new(), together(100));
        let mut places: Vec<Place> = (0..13).map(|_| entrance.admit(None).unwrap()).collect();
        assert!(!places[0].connections_are_scarce());
        places.push(entrance.admit(None).unwrap());
        assert!(places[0].connections_are_scarce());
        drop(places);
        assert_eq!(entrance.own.open.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn listeners_share_what_they_have_together() {
        let together = together(8);
        let (one, other) = [(); 2].map(|()| Entrance::new(6, None, Vec::new(), Arc::clone(&together))).into();
        let places: Vec<Place> = (0..5).map(|_| one.admit(None).unwrap()).collect();
        let others: Vec<Place> = (0..3).map(|_| other.admit(None).unwrap()).collect();
        assert!(others[0].connections_are_scarce());
        assert!(one.admit(None).is_none() && other.admit(None).is_none());
        drop(places);
        assert!(!others[0].connections_are_scarce() && other.admit(None).is_some());
        drop(others);
        assert_eq!(together.open.load(Ordering::Relaxed), 0);
    }
}
