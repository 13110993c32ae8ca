//! A host to be contacted: what an identifier or the host of a redirect stands for.

use std::fmt;
use std::net::IpAddr;

use crate::policy::acme::Identifier;

/// The longest part of a host that messages show.
const MAXIMUM_SHOWN: usize = 64;

/// The longest DNS name (RFC 1035, section 2.3.4), in text and without a final dot.
const MAXIMUM_NAME: usize = 253;

/// A host to be contacted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Host {
    /// A name to be resolved, lower case, without a final dot.
    Name(String),
    /// An address, which is not resolved.
    Address(IpAddr),
}

impl Host {
    /// Takes the host that an identifier names; a wildcard's is the name below it.
    pub(super) fn of(identifier: &Identifier) -> Self {
        match identifier {
            Identifier::Dns { name, wildcard: _ } => Self::Name(name.clone()),
            Identifier::Ip(address) => Self::Address(*address),
        }
    }

    /// Takes the host of a URL. `None` when it is neither an address nor a name that a host may have: labels of letters, digits, hyphens
    /// and underscores.
    pub(super) fn of_url(url: &url::Url) -> Option<Self> {
        match url.host()? {
            url::Host::Ipv4(v4) => Some(Self::Address(IpAddr::V4(v4))),
            url::Host::Ipv6(v6) => Some(Self::Address(IpAddr::V6(v6))),
            url::Host::Domain(written) => {
                let name = written.strip_suffix('.').unwrap_or(written).to_ascii_lowercase();
                let is_label = |label: &str| {
                    (1..=63).contains(&label.len())
                        && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
                };
                (name.len() <= MAXIMUM_NAME && name.split('.').all(is_label)).then_some(Self::Name(name))
            }
        }
    }

    /// Returns the host as header fields and URLs have it, with the port unless it is the scheme's own (RFC 9110, section 7.2).
    pub(super) fn authority(&self, port: u16, default_port: u16) -> String {
        let host = match self {
            Self::Name(name) => name.clone(),
            Self::Address(IpAddr::V4(v4)) => v4.to_string(),
            Self::Address(IpAddr::V6(v6)) => format!("[{v6}]"),
        };
        if port == default_port { host } else { format!("{host}:{port}") }
    }
}

/// The host as messages show it: cut when it is long. It holds safe characters only.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => match name.get(..MAXIMUM_SHOWN) {
                Some(cut) if name.len() > MAXIMUM_SHOWN => write!(f, "{cut}..."),
                Some(_) | None => f.write_str(name),
            },
            Self::Address(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    fn of_url(text: &str) -> Option<Host> {
        Host::of_url(&url::Url::parse(text).unwrap())
    }

    #[test]
    fn hosts_of_urls_are_names_or_addresses() {
        assert_eq!(of_url("http://App.Internal./x"), Some(Host::Name("app.internal".to_owned())));
        assert_eq!(of_url("http://app/"), Some(Host::Name("app".to_owned())));
        assert_eq!(of_url("http://my_app.internal/"), Some(Host::Name("my_app.internal".to_owned())));
        // The URL standard reads these as addresses; they are judged as what they are.
        for spelling in ["http://127.1/", "http://0x7f000001/", "http://2130706433/", "http://017700000001/"] {
            assert_eq!(of_url(spelling), Some(Host::Address("127.0.0.1".parse().unwrap())), "{spelling}");
        }
        assert_eq!(of_url("http://[::1]/"), Some(Host::Address("::1".parse().unwrap())));
        for refused in
            ["http://a..b/", "http://a!b/", "http://a~b.internal/", "mailto:a@b", "http://../", "http://a.internal../"]
        {
            assert_eq!(of_url(refused), None, "{refused}");
        }
        assert_eq!(of_url(&format!("http://{}/", "a".repeat(64))), None);
        assert_eq!(of_url(&format!("http://{}a/", "a.".repeat(127))), None);
    }

    #[test]
    fn the_port_is_written_only_when_it_is_not_the_schemes_own() {
        let v6 = Host::Address("fd00::1".parse().unwrap());
        assert_eq!(v6.authority(80, 80), "[fd00::1]");
        assert_eq!(v6.authority(8080, 80), "[fd00::1]:8080");
        let name = Host::Name("app.internal".to_owned());
        assert_eq!(name.authority(443, 443), "app.internal");
        assert_eq!(name.authority(443, 80), "app.internal:443");
    }

    #[test]
    fn long_names_are_cut_in_messages() {
        let long = Host::Name(format!("{}.internal", "a".repeat(60)));
        assert_eq!(long.to_string(), format!("{}.int...", "a".repeat(60)));
        let short = Host::Name("a".repeat(63));
        assert_eq!(short.to_string(), "a".repeat(63));
    }
}
