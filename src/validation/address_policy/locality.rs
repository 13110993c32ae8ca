//! Whether an address is one of this machine. The operating system knows; sockets are bound and connected, but no packet is sent.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses that no machine has (RFC 5737, RFC 3849), although one that may bind any address can bind them.
const NOBODYS_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const NOBODYS_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// Whether an address is one of this machine. When the system does not say, it is taken to be.
pub(super) fn is_of_this_machine(ip: IpAddr) -> bool {
    if ip.is_loopback() || ip.is_unspecified() || is_source_towards(ip) {
        return true;
    }
    if !can_bind(ip) {
        return false;
    }
    // Machines that share an address by turns may bind addresses that are not theirs (`ip_nonlocal_bind`); then binding proves nothing.
    let nobodys = if ip.is_ipv4() { NOBODYS_V4 } else { NOBODYS_V6 };
    !can_bind(nobodys)
}

/// Whether packets to an address would have that address as their source, which is so only for the machine's own.
fn is_source_towards(ip: IpAddr) -> bool {
    let unspecified = match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    // An error means that there is no way to the address at all: it is not one of this machine's.
    UdpSocket::bind((unspecified, 0))
        .and_then(|socket| socket.connect(SocketAddr::new(ip, 9)).and_then(|()| socket.local_addr()))
        .is_ok_and(|source| source.ip() == ip)
}

/// Whether a socket can have this address, which is so for every address of the machine, also those that it does not send from.
fn can_bind(ip: IpAddr) -> bool {
    match UdpSocket::bind((ip, 0)) {
        Ok(_) => true,
        Err(error) => {
            !matches!(
                error.kind(),
                // Link-local addresses without a zone are invalid input; they are not dialled without one either.
                ErrorKind::AddrNotAvailable | ErrorKind::InvalidInput | ErrorKind::Unsupported
            ) && !is_family_unsupported(&error)
        }
    }
}

/// A system without IPv6 has no IPv6 addresses. The standard library has no kind of error for it.
fn is_family_unsupported(error: &std::io::Error) -> bool {
    /// `EAFNOSUPPORT` of Linux.
    const ADDRESS_FAMILY_NOT_SUPPORTED: i32 = 97;
    error.raw_os_error() == Some(ADDRESS_FAMILY_NOT_SUPPORTED)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_system_tells_its_own_addresses_from_others() {
        for own in ["127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "::1", "::"] {
            assert!(is_of_this_machine(own.parse().unwrap()), "{own}");
        }
        for foreign in ["192.0.2.1", "198.51.100.7", "2001:db8::1", "fe80::1"] {
            assert!(!is_of_this_machine(foreign.parse().unwrap()), "{foreign}");
        }
    }

    /// The address that packets leave from is one of the machine's, and it is not loopback.
    #[test]
    fn the_address_towards_the_network_is_our_own() {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        // A machine without any network but loopback has no other address to try.
        if socket.connect("192.0.2.1:9").is_ok() {
            let own = socket.local_addr().unwrap().ip();
            assert!(is_of_this_machine(own), "{own}");
        }
    }
}
