//! Patterns for URIs: `spiffe://cluster.internal/ns/*/**`, `https://**.internal/app`, `urn:uuid:**`, `spiffe://**`, `**`.
//!
//! The scheme is literal, the host a literal or a DNS pattern, `*` one path segment, `**` at the end any rest. Query and
//! fragment belong to the rest. Where two spellings mean the same resource, an allowed pattern admits less and a denied one more.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use super::Pattern;
use super::dns::{DnsPattern, Purpose};

/// A compiled pattern for URIs.
#[derive(Clone, Debug)]
pub(super) enum UriPattern {
    /// `**`: any URI.
    Any,
    /// `spiffe://**` or `urn:uuid:**`: any URI that begins so, with something behind.
    Prefix(String),
    /// `urn:example:1`: this URI without an authority.
    Opaque(String),
    /// A URI with an authority.
    Hierarchical {
        /// The scheme, in lower case.
        scheme: String,
        /// The host.
        host: Host,
        /// The port as written.
        port: Option<String>,
        /// The segments of the path.
        path: Vec<Segment>,
        /// Whether the path ends with `**`.
        open: bool,
    },
}

/// The host of a pattern.
#[derive(Clone, Debug)]
pub(super) enum Host {
    /// A name or an IPv4 address, by the DNS patterns.
    Name(DnsPattern),
    /// An IPv6 address in brackets, or an IPv4 address.
    Address(String),
}

/// One path segment of a pattern.
#[derive(Clone, Debug)]
pub(super) enum Segment {
    /// Exactly this segment.
    Literal(String),
    /// `*`: any one segment that is not empty.
    One,
}

/// The parts of a URI with an authority.
#[derive(Clone, Copy, Debug)]
struct Parts<'a> {
    scheme: &'a str,
    has_user: bool,
    host: &'a str,
    port: Option<&'a str>,
    /// Path, query and fragment, without the first slash.
    rest: &'a str,
}

impl<'a> Parts<'a> {
    fn of(uri: &'a str) -> Option<Self> {
        let (scheme, behind) = uri.split_once("://")?;
        let end = behind.find(['/', '?', '#']).unwrap_or(behind.len());
        let (authority, rest) = behind.split_at_checked(end)?;
        let (has_user, place) = match authority.rsplit_once('@') {
            Some((_, place)) => (true, place),
            None => (false, authority),
        };
        let (host, port) = match place.rsplit_once(':') {
            // A colon within brackets belongs to an IPv6 address.
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            Some(_) | None => (place, None),
        };
        // A missing path is the same as `/` (RFC 3986, section 6.2.3).
        Some(Self { scheme, has_user, host, port, rest: rest.strip_prefix('/').unwrap_or(rest) })
    }
}

impl Pattern for UriPattern {
    type Name = str;

    fn compile(text: &str) -> Result<Self, String> {
        if text == "**" {
            return Ok(Self::Any);
        }
        if !text.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err("has characters outside printable ASCII; write them percent-encoded".to_owned());
        }
        if text.contains(['?', '#']) {
            return Err("has a query or fragment; `**` at the end admits them".to_owned());
        }
        let Some((scheme, behind)) = text.split_once(':') else {
            return Err(
                "has no scheme; write for example `spiffe://cluster.internal/**`, or `**` for any URI".to_owned()
            );
        };
        let of_scheme = |octet: u8| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet);
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(of_scheme) {
            return Err(format!("has the scheme `{scheme}`; it must be literal, such as `spiffe` or `https`"));
        }
        let scheme = scheme.to_ascii_lowercase();
        match behind {
            "" => Err("has nothing behind its scheme; write `**` there for any rest".to_owned()),
            "//**" => Ok(Self::Prefix(format!("{scheme}://"))),
            _ if behind.starts_with("//") => hierarchical(scheme, text),
            _ => opaque(&scheme, behind),
        }
    }

    fn admits(&self, name: &str) -> bool {
        let name = &*decoded(name);
        // A path that says `..` is another resource than it looks like: no pattern but one for any URI is sure to know it.
        if has_dot_segment(name) {
            return false;
        }
        match self {
            Self::Any => true,
            Self::Prefix(prefix) => name.strip_prefix(prefix.as_str()).is_some_and(|rest| !rest.is_empty()),
            Self::Opaque(literal) => name == literal,
            Self::Hierarchical { scheme, host, port, path, open } => Parts::of(name).is_some_and(|parts| {
                parts.scheme == scheme
                    && !parts.has_user
                    && parts.port == port.as_deref()
                    && host_matches(host, parts.host, Purpose::Allow)
                    && path_matches(path, *open, parts.rest)
            }),
        }
    }

    fn denies(&self, name: &str) -> bool {
        let name = &*decoded(name);
        match self {
            Self::Any => true,
            Self::Prefix(prefix) => {
                name.get(..prefix.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(prefix))
            }
            Self::Opaque(literal) => without_query(name).eq_ignore_ascii_case(literal),
            Self::Hierarchical { scheme, host, port, path, open } => Parts::of(name).is_some_and(|parts| {
                parts.scheme == scheme
                    && port.as_ref().is_none_or(|port| parts.port == Some(port.as_str()))
                    && host_matches(host, parts.host, Purpose::Deny)
                    && path_matches(path, *open, without_query(parts.rest))
            }),
        }
    }
}

/// Compiles a pattern with an authority.
fn hierarchical(scheme: String, text: &str) -> Result<UriPattern, String> {
    let Some(parts) = Parts::of(text) else {
        return Err("has no host; write for example `spiffe://cluster.internal/**`".to_owned());
    };
    if parts.has_user {
        return Err("has a user before the host; such URIs are admitted by `**` alone".to_owned());
    }
    if parts.host.is_empty() {
        return Err("has no host; write for example `spiffe://cluster.internal/**`".to_owned());
    }
    let port = match parts.port {
        None => None,
        Some(port) if !port.is_empty() && port.bytes().all(|octet| octet.is_ascii_digit()) => Some(port.to_owned()),
        Some(port) => return Err(format!("has the port `{port}`, which is not a number")),
    };
    let host = if let Some(inner) = parts.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address: Ipv6Addr =
            inner.parse().map_err(|error| format!("has the host `[{inner}]`, not an IPv6 address ({error})"))?;
        Host::Address(format!("[{address}]"))
    } else if parts.host.parse::<std::net::Ipv4Addr>().is_ok() {
        Host::Address(parts.host.to_owned())
    } else {
        Host::Name(DnsPattern::compile(parts.host).map_err(|problem| format!("has a host that {problem}"))?)
    };
    let (path, open) = match parts.rest {
        "**" => ("", true),
        rest => match rest.strip_suffix("/**") {
            Some(path) => (path, true),
            None => (rest, false),
        },
    };
    let none = open && parts.rest == "**";
    let path = if none { Vec::new() } else { path.split('/').map(segment).collect::<Result<_, _>>()? };
    Ok(UriPattern::Hierarchical { scheme, host, port, path, open })
}

/// Compiles a pattern without an authority.
fn opaque(scheme: &str, behind: &str) -> Result<UriPattern, String> {
    let (literal, open) = match behind.strip_suffix("**") {
        Some(literal) => (literal, true),
        None => (behind, false),
    };
    if literal.contains('*') {
        return Err("has `*` in a URI without a host; only `**` at the end is possible there".to_owned());
    }
    let literal = decoded(&format!("{scheme}:{literal}")).into_owned();
    Ok(if open { UriPattern::Prefix(literal) } else { UriPattern::Opaque(literal) })
}

/// Compiles one path segment.
fn segment(text: &str) -> Result<Segment, String> {
    match text {
        "*" => Ok(Segment::One),
        "**" => Err("has `**` before its end; write `*` for each single segment".to_owned()),
        _ if text.contains('*') => {
            Err(format!("has `*` within the segment `{text}`; `*` and `**` stand for whole segments only"))
        }
        _ => {
            let literal = decoded(text).into_owned();
            if literal == "." || literal == ".." {
                return Err(format!("has the segment `{text}`; such URIs are never admitted"));
            }
            Ok(Segment::Literal(literal))
        }
    }
}

fn host_matches(host: &Host, name: &str, purpose: Purpose) -> bool {
    match host {
        Host::Name(pattern) => pattern.matches(name, purpose),
        Host::Address(address) => address.eq_ignore_ascii_case(name),
    }
}

/// Whether a path (without its first slash, perhaps with query and fragment behind) matches.
fn path_matches(expected: &[Segment], open: bool, path: &str) -> bool {
    let mut segments = path.split('/');
    for expected in expected {
        let fits = segments.next().is_some_and(|segment| match expected {
            Segment::Literal(literal) => literal == segment,
            Segment::One => !segment.is_empty() && !segment.contains(['?', '#']),
        });
        if !fits {
            return false;
        }
    }
    segments.next().is_some() == open
}

fn without_query(text: &str) -> &str {
    text.split(['?', '#']).next().unwrap_or(text)
}

/// Whether the path has a segment `.` or `..`.
fn has_dot_segment(uri: &str) -> bool {
    let path = without_query(uri);
    path.contains("/.") && path.split('/').any(|segment| segment == "." || segment == "..")
}

/// Decodes percent-encoded unreserved characters, which mean the same as the characters, and writes the other encodings
/// in upper case (RFC 3986, section 6.2.2).
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('%') {
        decoded.push_str(before);
        let encoded = behind
            .get(..2)
            .filter(|digits| digits.bytes().all(|octet| octet.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match encoded {
            Some(octet) => {
                if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
                    decoded.push(char::from(octet));
                } else {
                    decoded.push_str(&format!("%{octet:02X}"));
                }
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push('%');
                rest = behind;
            }
        }
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn matches_scheme_host_and_path() {
        let table = [
            ("spiffe://cluster.internal/**", "spiffe://cluster.internal/ns/a/sa/b", true),
            ("spiffe://cluster.internal/**", "spiffe://cluster.internal/", true),
            ("spiffe://cluster.internal/**", "spiffe://cluster.internal.evil/ns", false),
            ("spiffe://cluster.internal/**", "spiffe://evil.cluster.internal/ns", false),
            ("spiffe://cluster.internal/**", "https://cluster.internal/ns", false),
            ("SPIFFE://Cluster.Internal/**", "spiffe://cluster.internal/ns", true),
            ("spiffe://cluster.internal/**", "spiffe://evil@cluster.internal/ns", false),
            ("spiffe://cluster.internal/**", "spiffe://cluster.internal@evil/ns", false),
            ("spiffe://cluster.internal/**", "spiffe://cluster.internal:8443/ns", false),
            ("spiffe://cluster.internal:8443/**", "spiffe://cluster.internal:8443/ns", true),
            ("spiffe://cluster.internal/ns/*/sa/*", "spiffe://cluster.internal/ns/a/sa/b", true),
            ("spiffe://cluster.internal/ns/*/sa/*", "spiffe://cluster.internal/ns/a/b/sa/c", false),
            ("spiffe://cluster.internal/ns/*/sa/*", "spiffe://cluster.internal/ns//sa/b", false),
            ("spiffe://cluster.internal/ns/*", "spiffe://cluster.internal/ns/a/", false),
            ("spiffe://cluster.internal/ns/*", "spiffe://cluster.internal/ns/a?b", false),
            ("spiffe://cluster.internal/ns/**", "spiffe://cluster.internal/ns/a?b", true),
            ("spiffe://cluster.internal/ns/**", "spiffe://cluster.internal/ns", false),
            ("spiffe://cluster.internal/ns/**", "spiffe://cluster.internal/ns/../admin", false),
            ("spiffe://cluster.internal/ns/**", "spiffe://cluster.internal/ns/%2e%2E/admin", false),
            ("spiffe://cluster.internal/ns/**", "spiffe://cluster.internal/%6es/a", true),
            ("spiffe://cluster.internal/ns/**", "spiffe://cluster.internal/NS/a", false),
            ("spiffe://**", "spiffe://any.where/at/all", true),
            ("spiffe://**", "spiffe://any.where", true),
            ("spiffe://**", "spiffe://", false),
            ("spiffe://**", "https://any.where/", false),
            ("spiffe://*.internal/app", "spiffe://a.internal/app", true),
            ("spiffe://*.internal/app", "spiffe://a.b.internal/app", false),
            ("https://a.internal", "https://a.internal/", true),
            ("https://a.internal", "https://a.internal", true),
            ("https://a.internal", "https://a.internal/x", false),
            ("https://[::1]/**", "https://[::1]/x", true),
            ("https://[::1]/**", "https://[::2]/x", false),
            ("https://10.0.0.1/**", "https://10.0.0.1/x", true),
            ("urn:uuid:**", "urn:uuid:1234", true),
            ("urn:uuid:**", "urn:oid:1.2", false),
            ("urn:example:1", "urn:example:1", true),
            ("**", "anything:at-all", true),
            ("**", "https://a.internal/../b", false),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(UriPattern::compile(pattern).unwrap().admits(name), expected, "`{pattern}` against `{name}`");
        }
    }

    #[test]
    fn denies_other_spellings_of_the_same_resource() {
        let pattern = UriPattern::compile("https://admin.internal/secret/**").unwrap();
        for name in [
            "https://admin.internal/secret/a",
            "https://admin.internal:8443/secret/a",
            "https://user@admin.internal/secret/a",
            "https://admin.internal/%73ecret/a",
            "https://admin.internal/secret/a?query#fragment",
        ] {
            assert!(pattern.denies(name), "{name}");
        }
        assert!(!pattern.denies("https://admin.internal/public/a"));
        assert!(UriPattern::compile("https://admin.internal/**").unwrap().denies("https://admin.internal"));
        assert!(UriPattern::compile("urn:uuid:**").unwrap().denies("urn:UUID:1"));
    }

    #[test]
    fn refuses_patterns_that_cannot_match_as_meant() {
        for pattern in [
            "",
            "cluster.internal",
            "*://cluster.internal",
            "1x://cluster.internal",
            "spiffe:",
            "spiffe://",
            "spiffe:///path",
            "spiffe://user@cluster.internal/**",
            "spiffe://cluster.internal:http/**",
            "spiffe://cluster.internal/a**",
            "spiffe://cluster.internal/**/a",
            "spiffe://cluster.internal/a*/b",
            "spiffe://cluster.internal/../a",
            "spiffe://cluster.internal/a?b=*",
            "spiffe://clüster.internal/**",
            "spiffe://a*.internal/**",
            "https://[::zz]/**",
            "urn:*:a",
        ] {
            assert!(UriPattern::compile(pattern).is_err(), "{pattern}");
        }
    }
}
