//! Whether one name lies in one subtree. Asked in two ways, because verifiers differ: what a permitted subtree admits is what all of them
//! find in it; what an excluded one refuses is what any of them finds in it.

use std::net::IpAddr;

use super::Subtree;
use crate::x509::DistinguishedName;
use crate::x509::distinguished_name::Attribute;

/// A name as constraints see it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name<'a> {
    /// A DNS name in lower case, perhaps with a wildcard.
    Dns(&'a str),
    /// An address.
    Ip(IpAddr),
    /// An e-mail address; its host in lower case.
    Email { local: &'a str, host: &'a str },
    /// The host of a URI, in lower case.
    UriHost(&'a str),
    /// A distinguished name.
    Directory(&'a DistinguishedName),
}

/// How a question is answered when verifiers differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// The name is in only if it is for all of them.
    Out,
    /// The name is in if it is for any of them.
    In,
}

impl Subtree {
    /// Whether the name is permitted when this subtree is.
    pub(super) fn admits(&self, name: Name<'_>) -> bool {
        self.covers(name, Doubt::Out)
    }

    /// Whether the name is excluded when this subtree is.
    pub(super) fn refuses(&self, name: Name<'_>) -> bool {
        self.covers(name, Doubt::In)
    }

    /// Whether there may be a name that both subtrees cover; `true` when in doubt.
    pub(super) fn may_meet(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dns { name: one, .. }, Self::Dns { name: other, .. }) => hosts_meet(one, other),
            (Self::Ip(one), Self::Ip(other)) => one.contains(other) || other.contains(one),
            (Self::Email { host: one, .. }, Self::Email { host: other, .. })
            | (Self::Uri { host: one, .. }, Self::Uri { host: other, .. }) => hosts_meet(one, other),
            (Self::Directory(one), Self::Directory(other)) => {
                directory(one, other, Doubt::In) || directory(other, one, Doubt::In)
            }
            (Self::Unprocessed { .. }, _) | (_, Self::Unprocessed { .. }) => true,
            _ => false,
        }
    }

    /// Whether every name that the other subtree covers is in this one; `false` when in doubt.
    pub(super) fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dns { name: base, only_below }, Self::Dns { name, only_below: other_below }) => {
                base.is_empty() || is_below(base, name) || (name == base && (!only_below || *other_below))
            }
            (Self::Ip(block), Self::Ip(other)) => block.contains(other),
            (Self::Directory(base), Self::Directory(name)) => directory(base, name, Doubt::Out),
            _ => false,
        }
    }

    fn covers(&self, name: Name<'_>, doubt: Doubt) -> bool {
        match (self, name) {
            (Self::Dns { name: base, only_below }, Name::Dns(name)) => dns(base, *only_below, name, doubt),
            (Self::Ip(block), Name::Ip(address)) => block.contains(&address),
            (Self::Email { local: base, host: base_host, only_below }, Name::Email { local, host }) => {
                // The part before `@` is compared letter by letter (RFC 5280, section 7.5), but not by every mail server.
                let same_local = base.as_ref().is_none_or(|base| match doubt {
                    Doubt::Out => base == local,
                    Doubt::In => base.eq_ignore_ascii_case(local),
                });
                same_local && self::host(base_host, *only_below, host, doubt)
            }
            (Self::Uri { host: base, only_below }, Name::UriHost(host)) => self::host(base, *only_below, host, doubt),
            (Self::Directory(base), Name::Directory(name)) => directory(base, name, doubt),
            (Self::Unprocessed { .. }, _) => doubt == Doubt::In,
            _ => false,
        }
    }
}

/// Whether `name` ends in `base`, with at least one label more.
fn is_below(base: &str, name: &str) -> bool {
    name.strip_suffix(base).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
}

/// Whether one host or domain is the other, or below it.
fn hosts_meet(one: &str, other: &str) -> bool {
    one == other || one.is_empty() || other.is_empty() || is_below(one, other) || is_below(other, one)
}

fn dns(base: &str, only_below: bool, name: &str, doubt: Doubt) -> bool {
    if base.is_empty() || is_below(base, name) {
        return true;
    }
    match doubt {
        Doubt::Out => name == base && !only_below,
        // `*.example.com` stands for names that `a.example.com` covers. A wildcard is one label, but not to every verifier.
        Doubt::In => name == base || name.strip_prefix("*.").is_some_and(|rest| rest == base || is_below(rest, base)),
    }
}

fn host(base: &str, only_below: bool, host: &str, doubt: Doubt) -> bool {
    match (only_below, doubt) {
        (false, _) => host == base,
        (true, Doubt::Out) => is_below(base, host),
        (true, Doubt::In) => host == base || is_below(base, host),
    }
}

/// Whether a name begins with all of the base (RFC 5280, section 7.1: case and runs of blanks do not count).
fn directory(base: &DistinguishedName, name: &DistinguishedName, doubt: Doubt) -> bool {
    // Relative names of several attributes are compared as sets by verifiers, and are not signed here.
    if doubt == Doubt::Out && (base.is_multi_valued() || name.is_multi_valued()) {
        return base.is_empty();
    }
    let (base, name) = (base.attributes(), name.attributes());
    base.len() <= name.len() && base.iter().zip(name).all(|(base, name)| same_attribute(base, name, doubt))
}

fn same_attribute(base: &Attribute, name: &Attribute, doubt: Doubt) -> bool {
    base.oid == name.oid && canonical(&base.value, doubt) == canonical(&name.value, doubt)
}

fn canonical(value: &str, doubt: Doubt) -> String {
    let words = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    match doubt {
        Doubt::Out => words.to_ascii_lowercase(),
        Doubt::In => words.to_lowercase(),
    }
}
