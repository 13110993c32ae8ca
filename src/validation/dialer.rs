//! Opens TCP connections to hosts: resolves, has every address judged, and dials only what was judged.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::address_policy::{AddressPolicy, Permitted, Refusal};
use super::host::Host;
use super::resolver::Resolver;
use super::trail::{Stage, Trail};
use crate::ca::acme::validation::ValidationFailure;
use crate::error::AcmeErrorType;

/// Opens TCP connections to hosts.
#[derive(Debug)]
pub(super) struct Dialer {
    policy: AddressPolicy,
    resolver: Arc<Resolver>,
    connect_timeout: Duration,
}

impl Dialer {
    /// Takes the rules, what resolves names, and how long one address may take.
    pub(super) fn new(policy: AddressPolicy, resolver: Arc<Resolver>, connect_timeout: Duration) -> Self {
        Self { policy, resolver, connect_timeout }
    }

    /// Connects to a host: its first permitted IPv6 address, and when no connection is made, its first permitted IPv4 address. A host
    /// with more addresses answers at each of them or is not set up; to try them all would let a client have us knock at many doors.
    pub(super) async fn dial(&self, host: &Host, port: u16, trail: &mut Trail) -> Result<TcpStream, ValidationFailure> {
        let addresses = match host {
            Host::Name(name) => {
                trail.enter(Stage::Resolving);
                let addresses = self.resolver.addresses(name).await?;
                trail.resolved(&host.to_string(), &addresses);
                addresses
            }
            Host::Address(address) => vec![*address],
        };
        let candidates = self.candidates(host, port, &addresses, trail)?;
        trail.enter(Stage::Connecting);
        let mut last = "no address was tried";
        for candidate in candidates {
            let connecting = TcpStream::connect(candidate.address());
            last = match tokio::time::timeout(self.connect_timeout, connecting).await {
                Ok(Ok(stream)) => {
                    trail.connected(candidate.address());
                    return Ok(stream);
                }
                Ok(Err(error)) => in_words(&error),
                Err(_elapsed) => "no answer in time",
            };
            trail.failed(candidate.address(), last);
        }
        Err(ValidationFailure::new(
            AcmeErrorType::Connection,
            format!("no connection to `{host}` at port {port} could be made: {last}"),
        ))
    }

    /// The addresses to be dialled, in order.
    fn candidates(
        &self,
        host: &Host,
        port: u16,
        addresses: &[IpAddr],
        trail: &mut Trail,
    ) -> Result<Vec<Permitted>, ValidationFailure> {
        let mut refused: Option<(SocketAddr, Refusal)> = None;
        let mut first = |is_wanted: fn(&IpAddr) -> bool| {
            addresses.iter().filter(|ip| is_wanted(&ip.to_canonical())).find_map(|ip| {
                let address = SocketAddr::new(*ip, port);
                self.policy
                    .permit(address)
                    .map_err(|refusal| {
                        trail.failed(address, "may not be contacted");
                        refused.get_or_insert((address, refusal));
                    })
                    .ok()
            })
        };
        let candidates: Vec<Permitted> =
            [first(IpAddr::is_ipv6), first(IpAddr::is_ipv4)].into_iter().flatten().collect();
        match (candidates.is_empty(), refused) {
            (false, _) => Ok(candidates),
            (true, Some((address, refusal))) => Err(ValidationFailure::new(
                AcmeErrorType::Connection,
                format!("the address `{}` of `{host}` may not be contacted: {refusal}", address.ip()),
            )
            .into_final()),
            (true, None) => {
                Err(ValidationFailure::new(AcmeErrorType::Dns, format!("the name `{host}` has no addresses")))
            }
        }
    }
}

/// An error of a socket, in our own words.
pub(super) fn in_words(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => "connection reset",
        ErrorKind::TimedOut => "no answer in time",
        ErrorKind::HostUnreachable => "host unreachable",
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown | ErrorKind::AddrNotAvailable => "network unreachable",
        ErrorKind::PermissionDenied => "forbidden by this machine's firewall",
        ErrorKind::UnexpectedEof => "connection closed",
        _ => "connection failed",
    }
}
