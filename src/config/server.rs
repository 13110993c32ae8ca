//! The `[server]` section: listeners, the service's own certificate, and limits of connections.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::read;
use crate::policy::duration;

/// Listeners, the service's own certificate, and limits of connections.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Where the API listens.
    #[serde(deserialize_with = "read::address")]
    pub listen: SocketAddr,
    /// Where CRLs, OCSP and issuer certificates are served over plain HTTP; `off` for nowhere.
    #[serde(deserialize_with = "read::address_or_off")]
    pub public_listen: Option<SocketAddr>,
    /// Where metrics are served over plain HTTP; `off` for nowhere.
    #[serde(deserialize_with = "read::address_or_off")]
    pub metrics_listen: Option<SocketAddr>,
    /// Whether the API speaks TLS.
    pub tls: Tls,
    /// The certificate chain in PEM that the API shows; its own default issuer issues one if absent.
    pub certificate: Option<PathBuf>,
    /// The private key in PEM of `certificate`.
    pub private_key: Option<PathBuf>,
    /// Names in the service's own certificate beside those of [`Server::certificate_names`].
    pub names: Vec<String>,
    /// The proxies whose forwarded headers are believed.
    #[serde(deserialize_with = "read::blocks")]
    pub trusted_proxies: Vec<IpNet>,
    /// Worker threads; one per core if absent.
    pub workers: Option<usize>,
    /// How long accepted requests may take to finish when the service stops.
    #[serde(with = "duration")]
    pub shutdown_timeout: Duration,
    /// How long a client may take to send the head of a request.
    #[serde(with = "duration")]
    pub client_header_timeout: Duration,
    /// How long a client may take to send the body of a request.
    #[serde(with = "duration")]
    pub client_body_timeout: Duration,
    /// How long a client may take next to nothing of an answer.
    #[serde(with = "duration")]
    pub client_write_timeout: Duration,
    /// How long a connection is kept open between requests.
    #[serde(with = "duration")]
    pub keep_alive: Duration,
    /// The most connections at once on each listener.
    pub maximum_connections: usize,
    /// The most connections at once from one address, but for those of `trusted_proxies`; no limit if absent.
    pub maximum_connections_per_address: Option<usize>,
    /// The most requests of one kind (issuing, other changes, reading) that are worked on at once.
    pub concurrent_requests: usize,
    /// The longest that a request waits for its turn; one that would wait longer is refused at once.
    #[serde(deserialize_with = "read::short_duration")]
    pub maximum_wait: Duration,
}

/// Whether the API speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// HTTPS.
    On,
    /// Plain HTTP, for use behind a proxy that ends TLS.
    Off,
}

impl Default for Server {
    fn default() -> Self {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            listen: loopback(8443),
            public_listen: Some(loopback(8080)),
            metrics_listen: Some(loopback(9090)),
            tls: Tls::On,
            certificate: None,
            private_key: None,
            names: Vec::new(),
            trusted_proxies: Vec::new(),
            workers: None,
            shutdown_timeout: Duration::from_secs(30),
            client_header_timeout: Duration::from_secs(10),
            client_body_timeout: Duration::from_secs(30),
            client_write_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
            maximum_connections: 20_000,
            maximum_connections_per_address: None,
            concurrent_requests: 512,
            maximum_wait: Duration::from_millis(500),
        }
    }
}

impl Server {
    /// Returns the names of the service's own certificate: `localhost`, `127.0.0.1`, `::1`, the address of `listen` unless it is
    /// all addresses, and `names`, each once.
    #[must_use]
    pub fn certificate_names(&self) -> Vec<String> {
        let mut names = vec!["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string()];
        let address = self.listen.ip();
        let address = (!address.is_unspecified()).then(|| address.to_string());
        for name in address.into_iter().chain(self.names.iter().cloned()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    pub(super) fn validate(&self, problems: &mut Vec<String>) {
        if self.certificate.is_some() != self.private_key.is_some() {
            problems.push("`server.certificate` and `server.private_key` must be given both or neither".to_owned());
        }
        if self.tls == Tls::Off && self.certificate.is_some() {
            problems.push("`server.certificate` has no use when `server.tls` is `off`".to_owned());
        }
        for (index, name) in self.names.iter().enumerate() {
            if !is_host(name) {
                problems.push(format!(
                    "`server.names[{index}]` must be a DNS name in lower case or an IP address, not `{name}`"
                ));
            }
        }
        let mut listeners = vec![("server.listen", self.listen)];
        listeners.extend(self.public_listen.map(|address| ("server.public_listen", address)));
        listeners.extend(self.metrics_listen.map(|address| ("server.metrics_listen", address)));
        for (index, (setting, address)) in listeners.iter().enumerate() {
            // Port 0 is another free port each time.
            let earlier = listeners.iter().take(index).find(|(_, other)| other == address && address.port() != 0);
            if let Some((other, _)) = earlier {
                problems.push(format!("`{other}` and `{setting}` are both `{address}`"));
            }
        }
        if let Some(workers) = self.workers {
            read::within(problems, "server.workers", workers, 1, 1024);
        }
        read::lasting(problems, "server.shutdown_timeout", self.shutdown_timeout, 0, 3600);
        read::lasting(problems, "server.client_header_timeout", self.client_header_timeout, 1, 300);
        read::lasting(problems, "server.client_body_timeout", self.client_body_timeout, 1, 3600);
        read::lasting(problems, "server.client_write_timeout", self.client_write_timeout, 1, 3600);
        read::lasting(problems, "server.keep_alive", self.keep_alive, 1, 3600);
        read::within(problems, "server.maximum_connections", self.maximum_connections, 1, 1_000_000);
        if let Some(most) = self.maximum_connections_per_address {
            read::within(problems, "server.maximum_connections_per_address", most, 1, 1_000_000);
        }
        read::within(problems, "server.concurrent_requests", self.concurrent_requests, 1, 100_000);
        read::shortly(problems, "server.maximum_wait", self.maximum_wait, 10, 60_000);
    }
}

fn is_host(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok() || is_dns_name(name)
}

/// Whether a text is a DNS name in lower case.
pub(super) fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let numeric_end = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|octet| octet.is_ascii_digit()));
    name.len() <= 253 && name.split('.').all(label) && !numeric_end
}
