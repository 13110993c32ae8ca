//! IPv4 addresses within IPv6 addresses: packets to such an address end at the IPv4 address, somewhere on the way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns the IPv4 addresses that an address carries. IPv4-mapped addresses are IPv4 addresses and have been turned into them before.
pub(super) fn addresses(ip: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(v6) = ip else { return Vec::new() };
    let segments = v6.segments();
    let mut found = Vec::new();
    let mut add = |high: u16, low: u16| found.push(joined(high, low));
    match segments {
        // NAT64 with the well-known prefix (RFC 6052, section 2.1), and with one of 96 bits of the network's own (RFC 8215).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] => add(high, low),
        // 6to4 (RFC 3056, section 2).
        [0x2002, high, low, ..] => add(high, low),
        // Teredo (RFC 4380, section 4): the server, and the client with its bits turned over.
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            add(server_high, server_low);
            add(!high, !low);
        }
        // IPv4-translated (RFC 2765, section 2.1) and IPv4-compatible (RFC 4291, section 2.5.5.1), both abolished.
        [0, 0, 0, 0, 0xffff, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] if !is_plain(v6) => add(high, low),
        // ISATAP (RFC 5214, section 6.1), below any prefix.
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => add(high, low),
        _ => {}
    }
    found
}

/// Returns the IPv4 addresses that an address may carry, for all that can be known here: the prefix of a network's own NAT64 below
/// `64:ff9b:1::/48` may have 64, 56 or 48 bits, too (RFC 8215; RFC 6052, section 2.2). Bits 64 to 71 are not used.
pub(super) fn guesses(ip: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(v6) = ip else { return Vec::new() };
    match v6.segments() {
        [0x64, 0xff9b, 1, third, fourth, fifth, sixth, _] => vec![
            joined(fourth << 8 | fifth >> 8, fifth << 8 | sixth >> 8),
            joined(third << 8 | (fourth & 0xff), fifth),
            joined(third, fourth << 8 | fifth >> 8),
        ],
        _ => Vec::new(),
    }
}

/// The unspecified and the loopback address carry nothing.
const fn is_plain(v6: Ipv6Addr) -> bool {
    v6.is_unspecified() || v6.is_loopback()
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}
