//! What the wiring tells the validator: ports, addresses, bounds. Nothing of it comes from a client.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::dns::DnsSettings;

/// How challenges are looked at.
#[derive(Clone, Debug)]
pub struct ValidationSettings {
    /// The port of http-01: 80 but for tests and networks that translate ports (RFC 8555, section 8.3).
    pub http_01_port: u16,
    /// The port of tls-alpn-01: 443 but for the same (RFC 8737, section 3).
    pub tls_alpn_01_port: u16,
    /// The networks whose addresses may be contacted. `None`: private and public unicast addresses, without those that lead to this
    /// machine, to its link, or nowhere.
    pub allowed_addresses: Option<Vec<IpNet>>,
    /// The networks whose addresses may not be contacted although they would be allowed.
    pub denied_addresses: Vec<IpNet>,
    /// Where this service listens, and where its database does: never contacted, not under any address of this machine either.
    pub own_listeners: Vec<SocketAddr>,
    /// How long one address may take to answer a connection attempt.
    pub connect_timeout: Duration,
    /// How long a look may take as a whole, with every name, address and redirect.
    pub attempt_timeout: Duration,
    /// How many redirects of http-01 are followed.
    pub maximum_redirects: usize,
    /// What stands in `User-Agent`.
    pub user_agent: String,
    /// What records of the DNS must say about this CA.
    pub dns: DnsSettings,
}

impl Default for ValidationSettings {
    fn default() -> Self {
        Self {
            http_01_port: 80,
            tls_alpn_01_port: 443,
            allowed_addresses: None,
            denied_addresses: Vec::new(),
            own_listeners: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(20),
            maximum_redirects: 10,
            user_agent: concat!("chancery/", env!("CARGO_PKG_VERSION"), " (ACME validation)").to_owned(),
            dns: DnsSettings::default(),
        }
    }
}
