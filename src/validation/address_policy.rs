//! Which addresses may be contacted. Every connection of the validator goes to a [`Permitted`] address, which is made only here.
//!
//! What is judged is an address and a port, after resolution, so a name that answers differently the second time gains nothing. An IPv6
//! address that carries an IPv4 address (mapped, NAT64, 6to4, Teredo, ISATAP) is judged as both.

mod classes;
mod embedded;
mod locality;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use super::settings::ValidationSettings;

/// Decides which addresses may be contacted.
#[derive(Clone, Debug)]
pub struct AddressPolicy {
    allowed: Option<Vec<IpNet>>,
    denied: Vec<IpNet>,
    own_listeners: Vec<SocketAddr>,
    /// Whether an address is one of this machine. It asks the operating system and sends nothing.
    is_local: fn(IpAddr) -> bool,
}

/// Why an address may not be contacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It belongs to the metadata service of a cloud, which hands out credentials. Never allowed.
    Metadata,
    /// This service or its database listens there. Never allowed.
    OwnListener,
    /// `denied_addresses` holds it.
    Denied,
    /// `allowed_addresses` does not hold it.
    NotAllowed,
    /// It is of a kind that is contacted only when `allowed_addresses` holds it.
    Special(&'static str),
}

/// The refusal as the end of a sentence about an address.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata => f.write_str("addresses of cloud metadata services are never contacted"),
            Self::OwnListener => f.write_str("the CA's own listeners are never contacted"),
            Self::Denied => f.write_str("the CA's configuration denies it (`denied_addresses`)"),
            Self::NotAllowed => f.write_str("the CA's configuration does not allow it (`allowed_addresses`)"),
            Self::Special(kind) => {
                write!(
                    f,
                    "it is {kind}, which is contacted only when the CA's configuration allows it (`allowed_addresses`)"
                )
            }
        }
    }
}

/// An address that may be contacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Permitted(SocketAddr);

impl Permitted {
    /// Returns the address.
    pub(super) const fn address(self) -> SocketAddr {
        self.0
    }
}

impl AddressPolicy {
    /// Takes the rules from the settings.
    #[must_use]
    pub fn new(settings: &ValidationSettings) -> Self {
        let normal = |networks: &[IpNet]| networks.iter().copied().map(without_mapping).collect();
        Self {
            allowed: settings.allowed_addresses.as_deref().map(normal),
            denied: normal(&settings.denied_addresses),
            own_listeners: settings
                .own_listeners
                .iter()
                .map(|own| SocketAddr::new(own.ip().to_canonical(), own.port()))
                .collect(),
            is_local: locality::is_of_this_machine,
        }
    }

    /// Judges an address.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn judge(&self, address: SocketAddr) -> Result<(), Refusal> {
        let (outer, port) = (address.ip().to_canonical(), address.port());
        let carried = embedded::addresses(outer);
        let inner = || carried.iter().copied().map(IpAddr::V4);
        let guessed = embedded::guesses(outer).into_iter().map(IpAddr::V4);
        // What is never allowed or is denied comes first: it is the graver reason, and for whoever set the rules the clearer one.
        std::iter::once(outer).chain(inner()).chain(guessed).try_for_each(|ip| self.not_forbidden(ip, port))?;
        std::iter::once(outer).chain(inner()).try_for_each(|ip| self.allowed(ip))
    }

    /// Judges an address and makes what may be dialled: IPv4 for an IPv4-mapped address.
    pub(super) fn permit(&self, address: SocketAddr) -> Result<Permitted, Refusal> {
        self.judge(address)?;
        Ok(Permitted(SocketAddr::new(address.ip().to_canonical(), address.port())))
    }

    /// What no `allowed_addresses` makes up for.
    fn not_forbidden(&self, ip: IpAddr, port: u16) -> Result<(), Refusal> {
        if classes::is_metadata(ip) {
            return Err(Refusal::Metadata);
        }
        if self.is_own_listener(ip, port) {
            return Err(Refusal::OwnListener);
        }
        if within(&self.denied, ip) {
            return Err(Refusal::Denied);
        }
        Ok(())
    }

    fn allowed(&self, ip: IpAddr) -> Result<(), Refusal> {
        match &self.allowed {
            Some(allowed) if within(allowed, ip) => Ok(()),
            Some(_) => Err(Refusal::NotAllowed),
            None => classes::special(ip).map_or(Ok(()), |kind| Err(Refusal::Special(kind))),
        }
    }

    /// A listener is refused under the address that it was given, and its port under every address of this machine: a listener on
    /// 0.0.0.0 has them all, and one on 127.0.0.1 may have a twin behind a proxy on the machine's other addresses.
    fn is_own_listener(&self, ip: IpAddr, port: u16) -> bool {
        let mut same_port = self.own_listeners.iter().filter(|own| own.port() == port).peekable();
        same_port.peek().is_some() && (same_port.any(|own| own.ip() == ip) || (self.is_local)(ip))
    }
}

fn within(networks: &[IpNet], ip: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&ip))
}

/// A network of IPv4-mapped addresses as the IPv4 network that it is.
fn without_mapping(network: IpNet) -> IpNet {
    if let IpNet::V6(v6) = network
        && let Some(mapped) = v6.addr().to_ipv4_mapped()
        && let Some(length) = v6.prefix_len().checked_sub(96)
        && let Ok(v4) = Ipv4Net::new(mapped, length)
    {
        return IpNet::V4(v4);
    }
    network
}

#[cfg(test)]
mod tests;
