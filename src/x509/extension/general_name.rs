//! `GeneralName` (RFC 5280, section 4.2.1.6): written for the four types that are signed, read and shown for all of them.

use std::net::IpAddr;

use x509_parser::asn1_rs::{FromDer, Tag};
use x509_parser::extensions::GeneralName;

use crate::error::Result;
use crate::x509::csr::RequestedName;
use crate::x509::decoding::{self, Value};
use crate::x509::{DistinguishedName, NameType, SubjectAltName, encoding, printable};

const EMAIL: u8 = encoding::context(1);
const DNS: u8 = encoding::context(2);
const DIRECTORY: u8 = encoding::context_constructed(4);
const URI: u8 = encoding::context(6);
const IP: u8 = encoding::context(7);
const REGISTERED_ID: u8 = encoding::context(8);

/// Appends the encoding of a name.
pub(crate) fn append(out: &mut Vec<u8>, name: &SubjectAltName) {
    match name {
        SubjectAltName::Dns(dns) => encoding::append(out, DNS, dns.as_str().as_bytes()),
        SubjectAltName::Ip(IpAddr::V4(address)) => encoding::append(out, IP, &address.octets()),
        SubjectAltName::Ip(IpAddr::V6(address)) => encoding::append(out, IP, &address.octets()),
        SubjectAltName::Uri(uri) => encoding::append(out, URI, uri.as_str().as_bytes()),
        SubjectAltName::Email(email) => encoding::append(out, EMAIL, email.as_str().as_bytes()),
    }
}

/// Returns the encoding of a URI of our own, as it is.
pub(super) fn uri(uri: &str) -> Vec<u8> {
    encoding::value(URI, uri.as_bytes())
}

/// Reads `GeneralNames`.
///
/// x509-parser reads each name by itself, because it keeps neither the octets of names nor whether their tags are primitive.
pub(crate) fn read_all(der: &[u8]) -> Result<Vec<RequestedName>> {
    const WHAT: &str = "subject alternative names";
    let mut names = decoding::only_sequence(der, WHAT)?;
    let mut all = Vec::new();
    while !names.is_empty() {
        all.push(read(names.any(WHAT)?));
    }
    Ok(all)
}

fn read(value: Value<'_>) -> RequestedName {
    let name = decoding::complete(GeneralName::from_der(value.raw), "general name");
    match name.as_ref().ok().and_then(supported) {
        // To x509-parser, a constructed name is as good as a primitive one.
        Some((name_type, content)) if [DNS, IP, URI, EMAIL].contains(&value.tag) => named(name_type, content),
        _ => {
            let kind = kind(value.tag & 0x1f);
            let shown = name.ok().filter(|_| value.tag == DIRECTORY || value.tag == REGISTERED_ID);
            // A name that cannot be read is refused like the others of its type; its octets are what can be shown.
            let shown = shown.and_then(|name| text(&name)).unwrap_or_else(|| hex::encode(value.raw));
            RequestedName::Unsupported { kind: kind.to_owned(), value: printable::text(&shown) }
        }
    }
}

/// Returns the type and the content octets of a name of the types that are signed here.
fn supported<'a>(name: &GeneralName<'a>) -> Option<(NameType, &'a [u8])> {
    match name {
        GeneralName::DNSName(text) => Some((NameType::Dns, text.as_bytes())),
        GeneralName::URI(text) => Some((NameType::Uri, text.as_bytes())),
        GeneralName::RFC822Name(text) => Some((NameType::Email, text.as_bytes())),
        GeneralName::IPAddress(octets) => Some((NameType::Ip, octets)),
        // Not UTF-8, so it is not an IA5String either: malformed, but of its type.
        GeneralName::Invalid(Tag(1), octets) => Some((NameType::Email, octets)),
        GeneralName::Invalid(Tag(2), octets) => Some((NameType::Dns, octets)),
        GeneralName::Invalid(Tag(6), octets) => Some((NameType::Uri, octets)),
        _ => None,
    }
}

/// Judges the content octets: x509-parser takes any UTF-8 for an `IA5String` and any number of octets for an address.
fn named(name_type: NameType, content: &[u8]) -> RequestedName {
    match SubjectAltName::from_general_name(name_type, content) {
        Ok(name) => RequestedName::Name(name),
        Err(malformed) => RequestedName::Malformed(malformed),
    }
}

const fn kind(number: u8) -> &'static str {
    match number {
        0 => "otherName",
        3 => "x400Address",
        4 => "directoryName",
        5 => "ediPartyName",
        8 => "registeredID",
        _ => "unknown",
    }
}

/// Returns a directory name or a registered identifier as text.
fn text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DirectoryName(name) => {
            DistinguishedName::from_der(name.as_raw()).map(|name| name.to_string()).ok()
        }
        GeneralName::RegisteredID(oid) => {
            decoding::object_identifier(oid, "registeredID").map(|oid| oid.to_string()).ok()
        }
        _ => None,
    }
}

/// Returns any general name as printable text: a URI plainly, others with their type in front. For display only.
pub(crate) fn show(name: &GeneralName<'_>) -> String {
    let with_kind = |number: u8, shown: &str| format!("{}:{}", kind(number), printable::text(shown));
    match (name, supported(name)) {
        (_, Some((NameType::Uri, content))) => printable::octets(content),
        (_, Some((name_type, content))) => describe(&named(name_type, content)),
        (GeneralName::OtherName(oid, octets), _) => with_kind(0, &format!("{oid} {}", hex::encode(octets))),
        (GeneralName::X400Address(any), _) => with_kind(3, &hex::encode(any.data)),
        (GeneralName::DirectoryName(directory), _) => {
            with_kind(4, &text(name).unwrap_or_else(|| hex::encode(directory.as_raw())))
        }
        (GeneralName::EDIPartyName(any), _) => with_kind(5, &hex::encode(any.data)),
        (GeneralName::RegisteredID(oid), _) => with_kind(8, &oid.to_string()),
        (GeneralName::Invalid(tag, octets), _) => {
            with_kind(u8::try_from(tag.0).unwrap_or(u8::MAX), &hex::encode(octets))
        }
        _ => with_kind(u8::MAX, &name.to_string()),
    }
}

/// Returns a name with its type in front, printable.
pub(crate) fn describe(name: &RequestedName) -> String {
    match name {
        RequestedName::Name(name) => name.to_string(),
        RequestedName::Malformed(malformed) => format!("{}:{}", malformed.name_type.as_str(), malformed.value),
        RequestedName::Unsupported { kind, value } => format!("{kind}:{value}"),
    }
}
