//! Rules that say which client certificates are believed, and as whom. The first rule that matches wins; unmatched means refused.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::OwnIssuer;
use crate::auth::Role;
use crate::error::{Error, Result};
use crate::policy::Grants;
use crate::policy::grants::GrantsDocument;
use crate::policy::names::{NameRules, NameSections};
use crate::policy::profile::{DnsSection, NameSection};
use crate::x509::Certificate;
use crate::x509::distinguished_name::AttributeType;

/// The CA that a rule takes certificates from.
#[derive(Clone, Debug)]
pub enum ClientCertificateAuthority {
    /// One of our own issuers, by name.
    Issuer(String),
    /// CA certificates, DER, such as those of a PEM file.
    Certificates(Vec<Vec<u8>>),
}

/// A rule as configured. Of the three conditions at least one is given, and all that are given must hold.
#[derive(Clone, Debug)]
pub struct ClientCertificateRule {
    /// The name, which is part of the principal's: 1 to 63 of `a-z`, `0-9`, `-`, `_`, `.`; unique.
    pub name: String,
    /// The CA.
    pub authority: ClientCertificateAuthority,
    /// Patterns of which one must match a subject alternative name: with `://` for URIs, with `@` for e-mail addresses, an IP address or
    /// block, else for DNS names; `**` for any name. None are asked for if empty.
    pub subject_alt_names: Vec<String>,
    /// The one common name that the subject must have, compared exactly.
    pub common_name: Option<String>,
    /// SHA-256 digests of which one must be the certificate's. None are asked for if empty.
    pub fingerprints_sha256: Vec<[u8; 32]>,
    /// The role it gives.
    pub role: Role,
    /// The grants it gives.
    pub grants: GrantsDocument,
}

/// A rule, checked.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) grants: Grants,
    authority: Authority,
    names: Option<NameRules>,
    common_name: Option<String>,
    fingerprints: Vec<[u8; 32]>,
}

#[derive(Debug)]
enum Authority {
    Issuer(String),
    Certificates(Vec<Certificate>),
}

/// Checks rules.
///
/// # Errors
/// `Configuration` naming the rule: a bad or repeated name, no condition, a bad pattern or grant, a certificate that is not a CA's.
pub(crate) fn compile(rules: Vec<ClientCertificateRule>) -> Result<Vec<Rule>> {
    let mut names = HashSet::new();
    let mut compiled = Vec::new();
    for rule in rules {
        let name = rule.name.clone();
        let in_rule = |error: Error| {
            Error::configuration(format!("client certificate rule `{name}`: {error}")).with_source(error)
        };
        if !names.insert(rule.name.clone()) {
            return Err(in_rule(Error::configuration("the name is there twice")));
        }
        compiled.push(Rule::compile(rule).map_err(in_rule)?);
    }
    Ok(compiled)
}

impl Rule {
    fn compile(rule: ClientCertificateRule) -> Result<Self> {
        let well_named = (1..=63).contains(&rule.name.len())
            && rule.name.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'));
        if !well_named {
            return Err(Error::configuration("the name is not 1 to 63 of `a-z`, `0-9`, `-`, `_`, `.`"));
        }
        if rule.subject_alt_names.is_empty() && rule.common_name.is_none() && rule.fingerprints_sha256.is_empty() {
            return Err(Error::configuration(
                "there is no condition; give `subject_alt_names` (`**` for any name), `common_name` or `fingerprint_sha256`",
            ));
        }
        let names = match rule.subject_alt_names.as_slice() {
            [] => None,
            patterns => Some(NameRules::compile(&sections(patterns))?),
        };
        Ok(Self {
            authority: Authority::compile(rule.authority)?,
            grants: Grants::compile(rule.grants)?,
            names,
            common_name: rule.common_name,
            fingerprints: rule.fingerprints_sha256,
            name: rule.name,
            role: rule.role,
        })
    }

    /// Returns the certificates that the rule's certificates chain to; none when its issuer does not exist or is disabled.
    pub(crate) fn anchors<'a>(&'a self, issuers: &'a [OwnIssuer]) -> Vec<&'a Certificate> {
        match &self.authority {
            Authority::Issuer(name) => issuers
                .iter()
                .filter(|issuer| &issuer.name == name && !issuer.disabled)
                .map(|issuer| &issuer.certificate)
                .collect(),
            Authority::Certificates(certificates) => certificates.iter().collect(),
        }
    }

    /// Returns the name by which a certificate fulfils every condition: the first subject alternative name that matches, or the common
    /// name, or the fingerprint; `None` when it does not.
    pub(crate) fn identity(&self, certificate: &Certificate, fingerprint: [u8; 32]) -> Option<String> {
        if !self.fingerprints.is_empty() && !self.fingerprints.contains(&fingerprint) {
            return None;
        }
        if let Some(expected) = &self.common_name {
            let mut values = certificate.subject.values(AttributeType::CommonName);
            // A second common name would leave open which one is meant.
            if values.next() != Some(expected.as_str()) || values.next().is_some() {
                return None;
            }
        }
        match (&self.names, &self.common_name) {
            (Some(rules), _) => certificate
                .names
                .iter()
                .find(|name| rules.violations(std::slice::from_ref(*name), &[String::new()], "").is_empty())
                .map(crate::x509::SubjectAltName::value),
            (None, Some(common_name)) => Some(common_name.clone()),
            (None, None) => Some(hex::encode(fingerprint)),
        }
    }
}

impl Authority {
    fn compile(authority: ClientCertificateAuthority) -> Result<Self> {
        match authority {
            ClientCertificateAuthority::Issuer(name) => Ok(Self::Issuer(name)),
            ClientCertificateAuthority::Certificates(ders) => {
                if ders.is_empty() {
                    return Err(Error::configuration("there is no CA certificate"));
                }
                let certificates: Vec<Certificate> =
                    ders.iter().map(|der| Certificate::from_der(der)).collect::<Result<_>>()?;
                if let Some(leaf) = certificates.iter().find(|certificate| certificate.certificate_authority.is_none())
                {
                    return Err(Error::configuration(format!("the certificate of `{}` is not a CA's", leaf.subject)));
                }
                Ok(Self::Certificates(certificates))
            }
        }
    }
}

/// Sorts patterns by the type of name that they are for.
fn sections(patterns: &[String]) -> NameSections {
    let (mut dns, mut ip, mut uri, mut email) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for pattern in patterns {
        if pattern == "**" {
            for of_type in [&mut dns, &mut ip, &mut uri, &mut email] {
                of_type.push(pattern.clone());
            }
        } else if pattern.contains("://") {
            uri.push(pattern.clone());
        } else if pattern.contains('@') {
            email.push(pattern.clone());
        } else if let Ok(address) = pattern.parse::<IpAddr>() {
            ip.push(IpNet::from(address).to_string());
        } else if pattern.parse::<IpNet>().is_ok() {
            ip.push(pattern.clone());
        } else {
            dns.push(pattern.clone());
        }
    }
    // One name is judged at a time.
    let section =
        |allow: Vec<String>| (!allow.is_empty()).then_some(NameSection { allow, deny: Vec::new(), maximum: 1 });
    NameSections {
        // A wildcard is the name of many hosts, so it identifies none of them.
        dns: (!dns.is_empty()).then_some(DnsSection {
            allow: dns,
            deny: Vec::new(),
            wildcards: false,
            underscores: true,
            maximum: 1,
        }),
        ip: section(ip),
        uri: section(uri),
        email: section(email),
    }
}
