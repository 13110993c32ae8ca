//! The values of known extensions: their shape checked, then read by x509-parser.
//!
//! By value rather than from x509-parser's own list of parsed extensions: there, one that does not parse looks like one that is not known.

use const_oid::ObjectIdentifier;
use x509_parser::asn1_rs::{FromDer, Oid};
use x509_parser::extensions as parser;
use x509_parser::nom::IResult;

use super::{general_name, oids};
use crate::error::{Error, Result};
use crate::x509::csr::RequestedName;
use crate::x509::decoding;
use crate::x509::decoding::shape::{self, Shape};
use crate::x509::usage::KeyUsages;
use crate::x509::{ExtendedKeyUsage, KeyUsage, SubjectAltName, encoding};

/// Checks the shape, then lets x509-parser read.
fn read<'a, T, E>(
    shape: Shape,
    parse: impl FnOnce(&'a [u8]) -> IResult<&'a [u8], T, E>,
    der: &'a [u8],
    what: &str,
) -> Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    shape.check(der, what)?;
    decoding::complete(parse(der), what)
}

/// Reads basic constraints: `None` when not a CA. Path lengths above 255 are as good as 255.
pub(crate) fn basic_constraints(der: &[u8]) -> Result<Option<Option<u8>>> {
    let parsed = read(shape::BASIC_CONSTRAINTS, parser::BasicConstraints::from_der, der, "basic constraints")?;
    let limit = parsed.path_len_constraint.map(|limit| u8::try_from(limit).unwrap_or(u8::MAX));
    match (parsed.ca, limit) {
        (true, limit) => Ok(Some(limit)),
        (false, None) => Ok(None),
        (false, Some(_)) => {
            Err(Error::malformed("basic constraints: a path length without a CA (RFC 5280, section 4.2.1.9)"))
        }
    }
}

/// Reads key usages.
pub(crate) fn key_usage(der: &[u8]) -> Result<KeyUsages> {
    let parsed = read(shape::KEY_USAGE, parser::KeyUsage::from_der, der, "key usage")?;
    // Identifier, length, unused bits, and two octets at most: x509-parser would fold more of them into one number.
    if der.len() > 5 {
        return Err(Error::malformed("key usage: not a BIT STRING of 9 bits at most"));
    }
    if parsed.flags >> 9 != 0 {
        return Err(Error::malformed("key usage: a bit is set that has no meaning (RFC 5280, section 4.2.1.3)"));
    }
    let usages: KeyUsages = KeyUsage::ALL.into_iter().filter(|usage| parsed.flags >> usage.bit() & 1 != 0).collect();
    if usages.is_empty() {
        return Err(Error::malformed("key usage: no bit is set (RFC 5280, section 4.2.1.3)"));
    }
    Ok(usages)
}

/// Reads extended key usages, in order; x509-parser's type for them forgets the order.
pub(crate) fn extended_key_usage(der: &[u8]) -> Result<Vec<ExtendedKeyUsage>> {
    const WHAT: &str = "extended key usage";
    let parsed = read(shape::EXTENDED_KEY_USAGE, <Vec<Oid<'_>>>::from_der, der, WHAT)?;
    if parsed.is_empty() {
        return Err(Error::malformed("extended key usage: none is given (RFC 5280, section 4.2.1.12)"));
    }
    parsed.iter().map(|oid| decoding::object_identifier(oid, WHAT).map(ExtendedKeyUsage::from_oid)).collect()
}

/// Reads the alternative names that are well formed and of a type that is signed here.
pub(crate) fn supported_names(der: &[u8]) -> Result<Vec<SubjectAltName>> {
    let names = general_name::read_all(der)?;
    Ok(names
        .into_iter()
        .filter_map(|name| match name {
            RequestedName::Name(name) => Some(name),
            RequestedName::Malformed(_) | RequestedName::Unsupported { .. } => None,
        })
        .collect())
}

/// Reads a subject key identifier.
pub(crate) fn subject_key_identifier(der: &[u8]) -> Result<Vec<u8>> {
    let parsed = read(shape::KEY_IDENTIFIER, parser::KeyIdentifier::from_der, der, "subject key identifier")?;
    Ok(parsed.0.to_vec())
}

/// Reads the key identifier of an authority key identifier, if it has one.
pub(crate) fn authority_key_identifier(der: &[u8]) -> Result<Option<Vec<u8>>> {
    const WHAT: &str = "authority key identifier";
    let parsed = read(shape::AUTHORITY_KEY_IDENTIFIER, parser::AuthorityKeyIdentifier::from_der, der, WHAT)?;
    Ok(parsed.key_identifier.map(|identifier| identifier.0.to_vec()))
}

/// Reads the numbers of a TLS feature extension (RFC 7633), which x509-parser knows the syntax of, but not the extension.
pub(crate) fn tls_features(der: &[u8]) -> Result<Vec<u64>> {
    read(shape::TLS_FEATURES, <Vec<u64>>::from_der, der, "TLS feature")
}

/// Reads the access methods and locations of an information access extension, printable.
pub(crate) fn information_access(der: &[u8]) -> Result<Vec<(String, String)>> {
    const WHAT: &str = "information access";
    // Subject information access has the same syntax.
    let parsed = read(shape::INFORMATION_ACCESS, parser::AuthorityInfoAccess::from_der, der, WHAT)?;
    let describe = |description: &parser::AccessDescription<'_>| {
        let method = oids::name(&decoding::object_identifier(&description.access_method, WHAT)?);
        Ok((method, general_name::show(&description.access_location)))
    };
    parsed.accessdescs.iter().map(describe).collect()
}

/// Reads the full names of CRL distribution points, printable.
pub(crate) fn crl_distribution_points(der: &[u8]) -> Result<Vec<String>> {
    const WHAT: &str = "CRL distribution points";
    let parsed = read(shape::DISTRIBUTION_POINTS, parser::CRLDistributionPoints::from_der, der, WHAT)?;
    let mut names = Vec::new();
    for point in parsed.points {
        if let Some(parser::DistributionPointName::FullName(full_name)) = point.distribution_point {
            names.extend(full_name.iter().map(general_name::show));
        }
    }
    Ok(names)
}

/// Reads the identifiers of certificate policies.
pub(crate) fn certificate_policies(der: &[u8]) -> Result<Vec<ObjectIdentifier>> {
    const WHAT: &str = "certificate policies";
    shape::CERTIFICATE_POLICIES.check(der, WHAT)?;
    let mut policies = Vec::new();
    let mut reader = decoding::only_sequence(der, WHAT)?;
    // x509-parser's reader of the whole extension is not public.
    while !reader.is_empty() {
        let policy = reader.any(WHAT)?.reader().any(WHAT)?;
        let oid = decoding::complete(Oid::from_der(policy.raw), WHAT)?;
        policies.push(decoding::object_identifier(&oid, WHAT)?);
    }
    Ok(policies)
}

/// Reads the pairs of policy mappings: the issuer's policy, and the subject's.
pub(crate) fn policy_mappings(der: &[u8]) -> Result<Vec<(ObjectIdentifier, ObjectIdentifier)>> {
    const WHAT: &str = "policy mappings";
    shape::POLICY_MAPPINGS.check(der, WHAT)?;
    let mut mappings = Vec::new();
    let mut reader = decoding::only_sequence(der, WHAT)?;
    while !reader.is_empty() {
        let mut pair = reader.any(WHAT)?.reader();
        let mut next = || {
            let oid = decoding::complete(Oid::from_der(pair.any(WHAT)?.raw), WHAT)?;
            decoding::object_identifier(&oid, WHAT)
        };
        mappings.push((next()?, next()?));
    }
    Ok(mappings)
}

/// Reads policy constraints: `requireExplicitPolicy` and `inhibitPolicyMapping`.
pub(crate) fn policy_constraints(der: &[u8]) -> Result<(Option<u32>, Option<u32>)> {
    const WHAT: &str = "policy constraints";
    shape::POLICY_CONSTRAINTS.check(der, WHAT)?;
    let mut reader = decoding::only_sequence(der, WHAT)?;
    let (mut explicit, mut mapping) = (None, None);
    while !reader.is_empty() {
        let field = reader.any(WHAT)?;
        let count = Some(skip_certificates(field.content, WHAT)?);
        if field.tag == encoding::context(0) {
            explicit = count;
        } else {
            mapping = count;
        }
    }
    Ok((explicit, mapping))
}

/// Reads inhibit any-policy.
pub(crate) fn inhibit_any_policy(der: &[u8]) -> Result<u32> {
    const WHAT: &str = "inhibit any-policy";
    shape::UNSIGNED.check(der, WHAT)?;
    skip_certificates(decoding::Reader::new(der).any(WHAT)?.content, WHAT)
}

/// Reads the content of a `SkipCerts`: an INTEGER that is not negative. Longer chains than 2^32 do not exist.
fn skip_certificates(content: &[u8], what: &str) -> Result<u32> {
    match content {
        [] | [0x80..=0xff, ..] => Err(Error::malformed(format!("{what}: not a number of certificates"))),
        [..] if content.len() > 5 => Ok(u32::MAX),
        [..] => {
            let number = content.iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
            Ok(u32::try_from(number).unwrap_or(u32::MAX))
        }
    }
}
