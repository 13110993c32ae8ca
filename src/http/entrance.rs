//! The way in: how many connections a listener has, in all and from one address, the TLS handshake, and the HTTP library behind it.
//!
//! The library's own listener lets so few handshakes be under way at once that clients who never finish theirs keep out all others; here a
//! handshake is bounded by its time, and counts as the connection that it will be. What happens on a connection is in `connection.rs`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_http::{HttpService, Protocol};
use actix_service::{IntoServiceFactory as _, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::{AppConfig, Extensions};
use actix_web::rt::net::TcpStream;
use actix_web::web;
use ipnet::IpNet;
use tokio_rustls::TlsAcceptor;

use super::AppState;
use super::connection::{Activity, Connection, Patience, Transport};
use super::endpoint::Listener;
use super::extract::ClientCertificate;
use super::server::{ServerSettings, application};

/// How much unsent data the kernel takes for a connection, in octets: more would be memory that slow clients hold, and hide that they are slow.
const UNSENT: u32 = 64 * 1024;
/// How long an HTTP/2 connection may be without a request, if idle connections are not kept longer; over HTTP/1.1 the library ends them.
const QUIET_HTTP2: Duration = Duration::from_secs(120);

/// The connections of one listener, counted over all its workers.
#[derive(Debug)]
pub(super) struct Entrance {
    most: usize,
    most_of_one: Option<usize>,
    /// Proxies, whose address is that of many.
    exempt: Vec<IpNet>,
    open: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Entrance {
    /// Makes the entrance of a listener.
    pub(super) fn new(most: usize, most_of_one: Option<usize>, exempt: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self { most, most_of_one, exempt, open: AtomicUsize::new(0), by_address: Mutex::default() })
    }

    /// Counts a connection, unless there are too many.
    pub(super) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let refused = |reason: &'static str| {
            metrics::counter!("chancery_connections_cut_total", "reason" => reason).increment(1);
        };
        let address = address.map(|address| address.to_canonical());
        let counted = address
            .filter(|address| self.most_of_one.is_some() && !self.exempt.iter().any(|net| net.contains(address)));
        if let (Some(address), Some(most)) = (counted, self.most_of_one) {
            let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            let open = by_address.entry(address).or_insert(0);
            if *open >= most {
                refused("address_limit");
                return None;
            }
            *open += 1;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
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
        let most = self.entrance.most;
        self.entrance.open.load(Ordering::Relaxed) >= most - most / 8
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.entrance.open.fetch_sub(1, Ordering::Relaxed);
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

/// Turns a TCP connection into one that the HTTP library serves.
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

/// Makes what serves the connections of a listener on one worker.
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
    let application = application(state, kind).into_factory().map_err(|error: actix_web::Error| error.error_response());
    let http = HttpService::build()
        .keep_alive(settings.keep_alive)
        .client_request_timeout(settings.header_timeout)
        .client_disconnect_timeout(settings.header_timeout)
        .on_connect_ext(introduce)
        .finish(map_config(application, |()| AppConfig::default()));
    fn_service(move |stream: TcpStream| doorkeeper.clone().let_in(stream)).and_then(http.map_err(drop))
}

/// Puts what requests must know of their connection where they find it: what is done on it, and the client's certificate, which the handshake
/// verified.
fn introduce(connection: &Connection, data: &mut Extensions) {
    data.insert::<Rc<Activity>>(connection.activity());
    let Transport::Tls(stream) = connection.transport() else { return };
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
    fn one_address_has_so_many_connections_and_others_have_theirs() {
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let proxy: IpAddr = "10.1.2.3".parse().unwrap();
        let entrance = Entrance::new(100, Some(2), vec!["10.0.0.0/8".parse().unwrap()]);
        let first = entrance.admit(Some(one)).unwrap();
        let _second = entrance.admit(Some("::ffff:192.0.2.1".parse().unwrap())).unwrap();
        assert!(entrance.admit(Some(one)).is_none());
        let _other = entrance.admit(Some(other)).unwrap();
        let _proxied: Vec<Place> = (0..5).map(|_| entrance.admit(Some(proxy)).unwrap()).collect();
        drop(first);
        let _third = entrance.admit(Some(one)).unwrap();
        assert_eq!(entrance.open.load(Ordering::Relaxed), 8);
        assert_eq!(entrance.by_address.lock().unwrap().len(), 2);
    }

    #[test]
    fn connections_are_scarce_from_seven_of_eight_on() {
        let entrance = Entrance::new(16, None, Vec::new());
        let mut places: Vec<Place> = (0..13).map(|_| entrance.admit(None).unwrap()).collect();
        assert!(!places[0].connections_are_scarce());
        places.push(entrance.admit(None).unwrap());
        assert!(places[0].connections_are_scarce());
        drop(places);
        assert_eq!(entrance.open.load(Ordering::Relaxed), 0);
    }
}
