//! Name constraints from DER. Whatever is odd in one subtree makes that one unprocessed, never the whole forgotten.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{NameConstraints, NameForm, Subtree};
use crate::error::{Error, Result};
use crate::x509::decoding::{Reader, Value, only_sequence, shape};
use crate::x509::{DistinguishedName, NameType, SubjectAltName, encoding};

const WHAT: &str = "name constraints";

/// The most subtrees that are read; verifiers give up on fewer.
const MAXIMUM_SUBTREES: usize = 4_096;

/// Reads the value of the extension.
pub(super) fn name_constraints(der: &[u8]) -> Result<NameConstraints> {
    shape::NAME_CONSTRAINTS.check(der, WHAT)?;
    let mut constraints = NameConstraints::default();
    let mut lists = only_sequence(der, WHAT)?;
    while !lists.is_empty() {
        let list = lists.any(WHAT)?;
        let subtrees = if list.tag == encoding::context_constructed(0) {
            &mut constraints.permitted
        } else {
            &mut constraints.excluded
        };
        *subtrees = read_list(list.reader())?;
    }
    Ok(constraints)
}

fn read_list(mut list: Reader<'_>) -> Result<Vec<Subtree>> {
    let mut subtrees = Vec::new();
    while !list.is_empty() {
        if subtrees.len() == MAXIMUM_SUBTREES {
            return Err(Error::malformed(format!("{WHAT}: more than {MAXIMUM_SUBTREES} subtrees")));
        }
        subtrees.push(read_subtree(list.any(WHAT)?)?);
    }
    Ok(subtrees)
}

fn read_subtree(subtree: Value<'_>) -> Result<Subtree> {
    let mut fields = subtree.reader();
    let base = fields.any(WHAT)?;
    let form = form(base.tag);
    let read = if fields.is_empty() {
        read_base(form, base)
    } else {
        Err("has a minimum or maximum, which RFC 5280 does not allow".to_owned())
    };
    Ok(read.unwrap_or_else(|reason| Subtree::Unprocessed { form, der: subtree.raw.to_vec(), reason }))
}

/// Returns the form of a general name by the number of its tag, whether that is written primitive or constructed.
const fn form(tag: u8) -> NameForm {
    match tag & 0x1f {
        1 => NameForm::Email,
        2 => NameForm::Dns,
        4 => NameForm::Directory,
        6 => NameForm::Uri,
        7 => NameForm::Ip,
        other => NameForm::Other(other),
    }
}

fn read_base(form: NameForm, base: Value<'_>) -> Result<Subtree, String> {
    let expected = match form {
        NameForm::Dns => encoding::context(2),
        NameForm::Ip => encoding::context(7),
        NameForm::Email => encoding::context(1),
        NameForm::Uri => encoding::context(6),
        NameForm::Directory => encoding::context_constructed(4),
        NameForm::Other(_) => return Err("is of a type of name that is not supported here".to_owned()),
    };
    if base.tag != expected {
        return Err(format!("has the tag 0x{:02x} instead of 0x{expected:02x}", base.tag));
    }
    match form {
        NameForm::Dns => dns(text(base.content)?),
        NameForm::Ip => ip(base.content),
        NameForm::Email => email(text(base.content)?),
        NameForm::Uri => uri(text(base.content)?),
        NameForm::Directory => DistinguishedName::from_der(base.content)
            .map(Subtree::Directory)
            .map_err(|error| format!("is not a distinguished name: {error}")),
        NameForm::Other(_) => Err("is of a type of name that is not supported here".to_owned()),
    }
}

fn text(content: &[u8]) -> Result<&str, String> {
    match std::str::from_utf8(content) {
        Ok(text) if text.is_ascii() => Ok(text),
        _ => Err("has octets that are not ASCII".to_owned()),
    }
}

/// Reads the base of a DNS constraint.
pub(super) fn dns(text: &str) -> Result<Subtree, String> {
    if text.is_empty() {
        return Ok(Subtree::Dns { name: String::new(), only_below: false });
    }
    let (name, only_below) = host(text)?;
    Ok(Subtree::Dns { name, only_below })
}

/// Reads the base of an e-mail constraint.
pub(super) fn email(text: &str) -> Result<Subtree, String> {
    if text.contains('@') {
        let address = SubjectAltName::parse(NameType::Email, text).map_err(|malformed| malformed.message)?.value();
        let (local, host) = address.split_once('@').unwrap_or_default();
        return Ok(Subtree::Email { local: Some(local.to_owned()), host: host.to_owned(), only_below: false });
    }
    let (host, only_below) = host(text)?;
    Ok(Subtree::Email { local: None, host, only_below })
}

/// Reads the base of a URI constraint.
pub(super) fn uri(text: &str) -> Result<Subtree, String> {
    let (host, only_below) = host(text)?;
    Ok(Subtree::Uri { host, only_below })
}

/// Reads a host, or a domain with a dot in front.
fn host(text: &str) -> Result<(String, bool), String> {
    let (name, only_below) = text.strip_prefix('.').map_or((text, false), |rest| (rest, true));
    if name.contains('*') {
        return Err("has a `*`; a constraint covers what is below it without".to_owned());
    }
    let parsed = SubjectAltName::parse(NameType::Dns, name).map_err(|malformed| malformed.message)?;
    Ok((parsed.value(), only_below))
}

/// Reads address and mask.
fn ip(content: &[u8]) -> Result<Subtree, String> {
    let halves = content.split_at_checked(content.len() / 2).unwrap_or_default();
    let (address, mask) = match (halves, content.len()) {
        ((address, mask), 8) => (v4(address)?, v4(mask)?),
        ((address, mask), 32) => (v6(address)?, v6(mask)?),
        _ => return Err(format!("is an address and a mask of 4 or 16 octets each, not {} octets", content.len())),
    };
    let prefix = ipnet::ip_mask_to_prefix(mask).map_err(|error| format!("has a mask with holes ({error})"))?;
    let block = IpNet::new(address, prefix).map_err(|error| format!("is not a block: {error}"))?;
    Ok(Subtree::Ip(block.trunc()))
}

fn v4(octets: &[u8]) -> Result<IpAddr, String> {
    let octets: [u8; 4] = octets.try_into().map_err(|error| format!("is not an IPv4 address ({error})"))?;
    Ok(IpAddr::V4(Ipv4Addr::from(octets)))
}

fn v6(octets: &[u8]) -> Result<IpAddr, String> {
    let octets: [u8; 16] = octets.try_into().map_err(|error| format!("is not an IPv6 address ({error})"))?;
    Ok(IpAddr::V6(Ipv6Addr::from(octets)))
}
