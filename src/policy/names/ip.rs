//! Patterns for IP addresses: CIDR blocks, single addresses and `**`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Pattern;

/// A compiled pattern for IP addresses.
#[derive(Clone, Debug)]
pub(super) enum IpPattern {
    /// `**`: any address.
    Any,
    /// The addresses of a block.
    Block(IpNet),
}

impl Pattern for IpPattern {
    type Name = IpAddr;

    fn compile(text: &str) -> Result<Self, String> {
        if text == "**" {
            return Ok(Self::Any);
        }
        let accepted = "write a block such as `10.0.0.0/8` or `fd00::/8`, an address, or `**` for any";
        let block = match text.parse::<IpNet>() {
            Ok(block) => block,
            Err(_not_a_block) => match text.parse::<IpAddr>() {
                Ok(address) => IpNet::from(address),
                Err(error) => return Err(format!("is not a CIDR block ({error}); {accepted}")),
            },
        };
        if block.addr() != block.network() {
            return Err(format!("has address bits beyond its prefix; write `{}` or `{}`", block.trunc(), block.addr()));
        }
        if let IpAddr::V6(address) = block.addr()
            && address.to_ipv4_mapped().is_some()
        {
            return Err("is an IPv4-mapped block, whose addresses are never signed; write the IPv4 block".to_owned());
        }
        Ok(Self::Block(block))
    }

    fn admits(&self, name: &IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Block(block) => block.contains(name),
        }
    }

    fn denies(&self, name: &IpAddr) -> bool {
        self.admits(name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn matches_the_addresses_of_a_block() {
        let table = [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("172.16.0.0/12", "172.31.255.255", true),
            ("172.16.0.0/12", "172.32.0.0", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1/32", "127.0.0.1", true),
            ("::1/128", "::1", true),
            ("::1", "::2", false),
            ("fc00::/7", "fdff::1", true),
            ("fc00::/7", "fe80::1", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "8.8.8.8", false),
            ("**", "8.8.8.8", true),
            ("**", "2001:db8::1", true),
        ];
        for (pattern, address, expected) in table {
            let pattern_of = IpPattern::compile(pattern).unwrap();
            assert_eq!(pattern_of.admits(&address.parse().unwrap()), expected, "`{pattern}` against `{address}`");
        }
    }

    #[test]
    fn refuses_blocks_that_cannot_be_meant() {
        let table = [
            ("10.0.0.1/8", "`10.0.0.0/8`"),
            ("10.0.0.0/33", "not a CIDR block"),
            ("10.0.0.0 /8", "not a CIDR block"),
            ("*", "`**` for any"),
            ("010.0.0.1", "not a CIDR block"),
            ("::ffff:10.0.0.0/104", "IPv4-mapped"),
            ("localhost", "not a CIDR block"),
            ("", "not a CIDR block"),
        ];
        for (pattern, expected) in table {
            let problem = IpPattern::compile(pattern).unwrap_err();
            assert!(problem.contains(expected), "`{pattern}`: {problem}");
        }
    }
}
