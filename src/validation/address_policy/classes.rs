//! The kinds of addresses that are not hosts to be validated: the special-purpose registries of IANA (RFC 6890), and the addresses at
//! which clouds answer questions about the machine that asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata and credential services: whoever asks them from this machine gets the machine's own secrets.
const METADATA_V4: &[Ipv4Addr] = &[
    // AWS, Azure, Google Cloud, OpenStack, DigitalOcean and others.
    Ipv4Addr::new(169, 254, 169, 254),
    // AWS: the resolver and the clock of a network.
    Ipv4Addr::new(169, 254, 169, 253),
    Ipv4Addr::new(169, 254, 169, 123),
    // AWS: credentials of tasks (ECS) and pods (EKS).
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    // Tencent Cloud.
    Ipv4Addr::new(169, 254, 0, 23),
    // Scaleway.
    Ipv4Addr::new(169, 254, 42, 42),
    // Alibaba Cloud.
    Ipv4Addr::new(100, 100, 100, 200),
    // Azure's wire server.
    Ipv4Addr::new(168, 63, 129, 16),
    // Oracle Cloud.
    Ipv4Addr::new(192, 0, 0, 192),
];

const METADATA_V6: &[Ipv6Addr] = &[
    // AWS: metadata, the resolver, credentials of pods.
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    // Google Cloud.
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    // OpenStack.
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
    // Scaleway.
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
];

/// Whether an address is one of a metadata service.
pub(super) fn is_metadata(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => METADATA_V4.contains(&v4),
        IpAddr::V6(v6) => METADATA_V6.contains(&v6),
    }
}

/// Returns what an address is when it is not a unicast address of some host's, private or public.
pub(super) fn special(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

/// The registry of RFC 6890 for IPv4. Private addresses (RFC 1918) and shared ones (RFC 6598) are those of hosts.
const fn special_v4(v4: Ipv4Addr) -> Option<&'static str> {
    match v4.octets() {
        [0, 0, 0, 0] => Some("the unspecified address"),
        [0, ..] => Some("an address of \"this network\""),
        [127, ..] => Some("a loopback address"),
        [169, 254, ..] => Some("a link-local address"),
        [192, 0, 0, _] => Some("an address of protocol assignments"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some("an address of documentation"),
        [192, 88, 99, _] => Some("an address of 6to4 relays"),
        [198, 18 | 19, ..] => Some("an address of benchmarks"),
        [224..=239, ..] => Some("a multicast address"),
        [255, 255, 255, 255] => Some("the broadcast address"),
        [240..=255, ..] => Some("a reserved address"),
        _ => None,
    }
}

/// The registry of RFC 6890 for IPv6. What is neither global unicast (`2000::/3`), unique local (`fc00::/7`) nor NAT64 is not a host's.
const fn special_v6(v6: Ipv6Addr) -> Option<&'static str> {
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("the unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback address"),
        // NAT64 (RFC 6052, section 2.1): judged by the IPv4 address within.
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => None,
        // RFC 8215: where the IPv4 address is depends on the network.
        [0x64, 0xff9b, 1, ..] => Some("an address of a network's own NAT64"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xfec0..=0xfeff, ..] => Some("a site-local address, which RFC 3879 has abolished"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Some("an address of documentation"),
        [0x2001, 2, 0, ..] => Some("an address of benchmarks"),
        // ORCHID (RFC 4843, RFC 7343).
        [0x2001, 0x10..=0x2f, ..] => Some("an identifier of cryptographic hashes, not an address"),
        [0x2000..=0x3fff, ..] | [0xfc00..=0xfdff, ..] => None,
        _ => Some("a reserved address"),
    }
}
