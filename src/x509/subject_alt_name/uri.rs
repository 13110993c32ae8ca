//! Absolute URIs (RFC 3986) as `uniformResourceIdentifier` has them (RFC 5280, section 4.2.1.6), and SPIFFE identifiers among them.
//!
//! The normal form changes case only (scheme and host), so that an identifier survives as its owner wrote it; whatever a
//! normaliser would otherwise rewrite (dot segments) is refused.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::Url;

use super::dns;

const MAXIMUM_LENGTH: usize = 2048;

/// Returns the normal form of an absolute URI, or what is wrong with it.
pub(super) fn parse(value: &str) -> Result<String, String> {
    if value.len() > MAXIMUM_LENGTH {
        return Err(format!("has {} octets; a URI has {MAXIMUM_LENGTH} at most", value.len()));
    }
    check_characters(value)?;
    let (scheme, rest) = value
        .split_once(':')
        .filter(|(scheme, _)| is_scheme(scheme))
        .ok_or_else(|| "is not absolute; a URI starts with a scheme, such as `https://` or `spiffe://`".to_owned())?;
    let scheme = scheme.to_ascii_lowercase();
    let normal = match rest.strip_prefix("//") {
        Some(after) => {
            let end = after.find(['/', '?', '#']).unwrap_or(after.len());
            let (authority, tail) = after.split_at_checked(end).unwrap_or((after, ""));
            check_tail(tail)?;
            let authority = parse_authority(authority)?;
            if scheme == "spiffe" {
                check_spiffe(&authority, tail)?;
            }
            format!("{scheme}://{authority}{tail}")
        }
        None if scheme == "spiffe" => return Err("a SPIFFE identifier is `spiffe://trust-domain/path`".to_owned()),
        None if rest.is_empty() => return Err("has nothing behind its scheme".to_owned()),
        None => format!("{scheme}:{rest}"),
    };
    Url::parse(&normal).map_err(|error| format!("is not a URI: {error}"))?;
    Ok(normal)
}

fn check_characters(value: &str) -> Result<(), String> {
    let refused = |octet: &u8| !octet.is_ascii_graphic() || b"\"<>\\^`{|}".contains(octet);
    if let Some(octet) = value.bytes().find(|octet| refused(octet)) {
        let shown = char::from(octet).escape_default();
        return Err(format!("has the character `{shown}`; write it percent-encoded (RFC 3986, section 2.1)"));
    }
    let mut parts = value.split('%');
    parts.next();
    for part in parts {
        if !part.get(..2).is_some_and(|digits| digits.bytes().all(|octet| octet.is_ascii_hexdigit())) {
            return Err("has a `%` that two hex digits do not follow".to_owned());
        }
    }
    if value.matches('#').count() > 1 {
        return Err("has more than one `#`".to_owned());
    }
    Ok(())
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet))
}

/// Checks host and port and returns them in lower case.
fn parse_authority(authority: &str) -> Result<String, String> {
    if authority.contains('@') {
        return Err("has user information before the host, which is not taken".to_owned());
    }
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or_else(|| "the host has `[` without `]`".to_owned())?;
        let address: Ipv6Addr =
            address.parse().map_err(|_error| "the host in brackets is not an IPv6 address".to_owned())?;
        if address.to_ipv4_mapped().is_some() {
            return Err("the host is an IPv4 address mapped to IPv6".to_owned());
        }
        check_port(port)?;
        return Ok(format!("[{address}]{port}"));
    }
    let end = authority.find(':').unwrap_or(authority.len());
    let (host, port) = authority.split_at_checked(end).unwrap_or((authority, ""));
    check_port(port)?;
    if host.is_empty() {
        return Err("has no host between `//` and the path".to_owned());
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(format!("{address}{port}"));
    }
    let host = dns::parse(host, dns::Wildcard::Refused).map_err(|message| format!("the host {message}"))?;
    Ok(format!("{host}{port}"))
}

/// Checks `:port`, or nothing at all.
fn check_port(port: &str) -> Result<(), String> {
    let well_formed = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => digits.bytes().all(|octet| octet.is_ascii_digit()) && digits.parse::<u16>().is_ok(),
    };
    if well_formed { Ok(()) } else { Err("the port is not a number from 0 to 65535".to_owned()) }
}

/// Refuses dot segments, plain or percent-encoded: programs resolve them at different times.
fn check_tail(tail: &str) -> Result<(), String> {
    let path = tail.split(['?', '#']).next().unwrap_or_default();
    let dots = |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    if path.split('/').any(dots) {
        return Err("has a `.` or `..` segment in its path; write the path they lead to".to_owned());
    }
    Ok(())
}

/// Checks what the SPIFFE identifier specification (section 2) asks for beyond RFC 3986.
fn check_spiffe(authority: &str, tail: &str) -> Result<(), String> {
    let is_domain_octet = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-._".contains(&octet);
    if !authority.bytes().all(is_domain_octet) {
        return Err("the trust domain of a SPIFFE identifier is a name without port".to_owned());
    }
    let is_segment = |segment: &str| {
        !segment.is_empty() && segment.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(&octet))
    };
    if !tail.is_empty() && !tail.strip_prefix('/').is_some_and(|path| path.split('/').all(is_segment)) {
        return Err(
            "the path of a SPIFFE identifier has segments of letters, digits, `-`, `.` and `_`, no empty one, \
                    and no query or fragment"
                .to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn scheme_and_host_become_lower_case_and_the_rest_stays() {
        for (given, expected) in [
            ("HTTPS://Example.COM/Path?Q#F", "https://example.com/Path?Q#F"),
            ("spiffe://trust-domain/ns/Prod/sa/web", "spiffe://trust-domain/ns/Prod/sa/web"),
            ("spiffe://trust_domain.example", "spiffe://trust_domain.example"),
            ("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
            ("https://10.0.0.1:8443/", "https://10.0.0.1:8443/"),
            ("https://[2001:DB8::1]/a%20b", "https://[2001:db8::1]/a%20b"),
        ] {
            assert_eq!(parse(given).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn malformed_uris_are_refused() {
        for given in [
            "",
            "example.com",
            "/path",
            "//example.com/",
            "1a://x",
            "https://",
            "https:///path",
            "https://user@example.com/",
            "https://user:pass@example.com/",
            "https://example.com:99999/",
            "https://example.com:x/",
            "https://a b/",
            "https://example.com/ü",
            "https://example.com/%zz",
            "https://example.com/%2",
            "https://example.com/a/../b",
            "https://example.com/%2E%2e/b",
            "https://*.example.com/",
            "https://example.com./",
            "https://1.2.3/",
            "https://[::1",
            "https://[::ffff:1.2.3.4]/",
            "spiffe:///path",
            "spiffe:x",
            "spiffe://td:80/x",
            "spiffe://td/x?y",
            "spiffe://td/x#y",
            "spiffe://td/",
            "spiffe://td//x",
            "spiffe://td/x%20y",
            "urn:",
            "https://a/<b>",
            "a:b#c#d",
        ] {
            assert!(parse(given).is_err(), "{given:?}");
        }
        assert!(parse(&format!("https://example.com/{}", "a".repeat(2048))).is_err());
    }
}
