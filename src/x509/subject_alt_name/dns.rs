//! DNS names: the preferred name syntax (RFC 1034, section 3.5) with A-labels (RFC 5890) and certificate wildcards (RFC 6125, section 6.4.3).
//!
//! Underscores pass here; policy judges them.

use std::net::IpAddr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// The most octets of a DNS name (RFC 1035, section 2.3.4) without the trailing dot.
const MAXIMUM_NAME: usize = 253;
/// The most octets of a label.
const MAXIMUM_LABEL: usize = 63;

/// Whether the first label may be `*`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wildcard {
    /// It may.
    Allowed,
    /// It may not: the name is a host of a URI or an e-mail address.
    Refused,
}

/// Returns the normal form of a DNS name, or what is wrong with it.
pub(super) fn parse(value: &str, wildcard: Wildcard) -> Result<String, String> {
    check_characters(value)?;
    let name = value.to_ascii_lowercase();
    if name.len() > MAXIMUM_NAME {
        return Err(format!("has {} octets; a DNS name has {MAXIMUM_NAME} at most", name.len()));
    }
    if name.ends_with('.') {
        return Err("ends in a dot; write the name without it".to_owned());
    }
    if name == "*" {
        return Err("a wildcard needs a name behind it, such as `*.example.com`".to_owned());
    }
    let host = match name.strip_prefix("*.") {
        Some(host) if wildcard == Wildcard::Allowed => host,
        _ => name.as_str(),
    };
    for label in host.split('.') {
        check_label(label)?;
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    if is_number(last) {
        return Err("reads as an IP address, as its last label is a number; ask for it as type `ip`".to_owned());
    }
    Ok(name)
}

fn check_characters(value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err("is empty".to_owned());
    }
    if value.parse::<IpAddr>().is_ok() {
        return Err("is an IP address; ask for it as type `ip`".to_owned());
    }
    if !value.is_ascii() {
        return Err(match idna::domain_to_ascii(value) {
            Ok(ascii) if ascii.is_ascii() && !ascii.is_empty() => {
                format!("has characters that are not ASCII; write it as `{ascii}`")
            }
            _ => "has characters that are not ASCII; write its A-labels (`xn--...`)".to_owned(),
        });
    }
    let refused = |octet: &u8| !(octet.is_ascii_alphanumeric() || b"-_.*".contains(octet));
    match value.bytes().find(|octet| refused(octet)) {
        Some(octet) => Err(format!(
            "has the character `{}`; a DNS name has letters, digits, hyphens and dots",
            char::from(octet).escape_default()
        )),
        None => Ok(()),
    }
}

fn check_label(label: &str) -> Result<(), String> {
    if label.is_empty() {
        return Err("has an empty label (two dots in a row, or a dot at the start)".to_owned());
    }
    if label.len() > MAXIMUM_LABEL {
        return Err(format!("has a label of {} octets; {MAXIMUM_LABEL} at most are allowed", label.len()));
    }
    if label.contains('*') {
        return Err("has a wildcard somewhere else than as the whole first label".to_owned());
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(format!("the label `{label}` starts or ends with a hyphen"));
    }
    if label.get(2..4) == Some("--") {
        return check_a_label(label);
    }
    Ok(())
}

/// Checks that a label with hyphens in third and fourth place is a valid A-label: decoding and encoding it gives the same again.
fn check_a_label(label: &str) -> Result<(), String> {
    if !label.starts_with("xn--") {
        return Err(format!("the label `{label}` has `--` in third place, which only A-labels (`xn--...`) may have"));
    }
    let processor = Uts46::new();
    let (unicode, decoded) = processor.to_unicode(label.as_bytes(), AsciiDenyList::STD3, Hyphens::Check);
    let again = processor.to_ascii(unicode.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, DnsLength::Verify);
    if decoded.is_ok() && !unicode.is_ascii() && again.is_ok_and(|again| again == label) {
        return Ok(());
    }
    Err(format!("the label `{label}` is not a valid A-label (RFC 5890)"))
}

/// Whether a last label makes the name an IPv4 address for the parsers of URLs: decimal digits, or hexadecimal ones after `0x`.
fn is_number(label: &str) -> bool {
    let digits = label.bytes().all(|octet| octet.is_ascii_digit());
    let hexadecimal = label.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|octet| octet.is_ascii_hexdigit()));
    digits || hexadecimal
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_names_become_lower_case() {
        for (given, expected) in [
            ("WWW.Example.COM", "www.example.com"),
            ("localhost", "localhost"),
            ("*.localhost", "*.localhost"),
            ("*.Example.com", "*.example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("*.XN--BCHER-KVA.example", "*.xn--bcher-kva.example"),
            ("_acme.example", "_acme.example"),
            ("1.example", "1.example"),
            ("a-b.c1", "a-b.c1"),
        ] {
            assert_eq!(parse(given, Wildcard::Allowed).as_deref(), Ok(expected));
        }
        let longest = format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61));
        assert_eq!(longest.len(), 253);
        assert!(parse(&longest, Wildcard::Allowed).is_ok());
        assert!(parse(&format!("{longest}e"), Wildcard::Allowed).is_err());
    }

    #[test]
    fn malformed_names_are_refused() {
        for given in [
            "",
            ".",
            "*",
            "*.",
            "*.*.example",
            "a.*.example",
            "a*.example",
            "**.example",
            "example.com.",
            ".example.com",
            "a..example",
            "-a.example",
            "a-.example",
            "a b.example",
            "a\0.example",
            "bücher.example",
            "xn--a.example",
            "xn--.example",
            "xn--abc-.example",
            "ab--c.example",
            "10.0.0.1",
            "::1",
            "[::1]",
            "0x7f.1",
            "1.2.3",
            "a.0x7f",
            "a.0x",
            "127.1",
            "2130706433",
            "a.example:80",
            "a/b",
            "a@b.example",
            "example.com\n",
            "*.1",
        ] {
            assert!(parse(given, Wildcard::Allowed).is_err(), "{given:?}");
        }
        assert!(parse(&format!("{}.example", "a".repeat(64)), Wildcard::Allowed).is_err());
        assert!(parse("*.example.com", Wildcard::Refused).is_err());
    }

    #[test]
    fn the_message_for_a_u_label_gives_the_a_label() {
        let message = parse("bücher.example", Wildcard::Allowed).unwrap_err();
        assert_eq!(message, "has characters that are not ASCII; write it as `xn--bcher-kva.example`");
    }
}
