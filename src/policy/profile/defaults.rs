//! The profiles that exist at first start: `server`, `client` and `peer`, for internal names only.

use const_oid::ObjectIdentifier;

use super::{
    DnsSection, ExtendedKeyUsageRule, MustStaple, NameSection, Presence, Profile, SubjectRule, Validity,
    default_key_usage, default_keys,
};
use crate::x509::ExtendedKeyUsage;
use crate::x509::distinguished_name::AttributeType;

/// Names that never leave the network they are used in: RFC 6761 (`localhost`, `test`), RFC 6762 (`local`), and `internal`,
/// which ICANN has reserved for private use.
const DNS: [&str; 5] = ["localhost", "**.localhost", "**.internal", "**.test", "**.local"];

/// Loopback and private addresses (RFC 1918, RFC 4193).
const IP: [&str; 6] = ["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

const SERVER_AUTH: ExtendedKeyUsage = ExtendedKeyUsage::from_oid(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"));
const CLIENT_AUTH: ExtendedKeyUsage = ExtendedKeyUsage::from_oid(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2"));

/// Returns the three profiles that exist at first start: `server`, `client` and `peer`, for internal names only.
#[must_use]
pub fn defaults() -> Vec<Profile> {
    vec![
        Profile {
            common_name_in_names: true,
            names_required: true,
            dns: Some(dns(true)),
            ..base("server", "TLS servers: internal names and private addresses", vec![SERVER_AUTH])
        },
        Profile {
            dns: Some(dns(false)),
            uri: Some(section(&["spiffe://**"])),
            email: Some(section(&["**"])),
            ..base("client", "TLS clients: people, devices and services that log on to others", vec![CLIENT_AUTH])
        },
        Profile {
            names_required: true,
            dns: Some(dns(true)),
            uri: Some(section(&["spiffe://**"])),
            email: Some(section(&["**"])),
            ..base("peer", "services that are TLS server and TLS client to each other", vec![SERVER_AUTH, CLIENT_AUTH])
        },
    ]
}

/// What the three have in common.
fn base(name: &str, description: &str, usages: Vec<ExtendedKeyUsage>) -> Profile {
    Profile {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        issuer: None,
        additional_issuers: Vec::new(),
        validity: Validity::default(),
        keys: default_keys(),
        key_usage: default_key_usage(),
        extended_key_usage: ExtendedKeyUsageRule { required: usages.clone(), allowed: usages },
        subject: SubjectRule {
            common_name: Presence::Optional,
            allowed: vec![
                AttributeType::Country,
                AttributeType::State,
                AttributeType::Locality,
                AttributeType::Organization,
                AttributeType::OrganizationalUnit,
            ],
            ..SubjectRule::default()
        },
        common_name_in_names: false,
        names_required: false,
        certificate_policies: Vec::new(),
        dns: None,
        ip: Some(section(&IP)),
        uri: None,
        email: None,
        ignore_extensions: Vec::new(),
        must_staple: MustStaple::Forbidden,
        renew_same_key: true,
        server_generated_keys: false,
        certificate_authority: None,
    }
}

fn dns(wildcards: bool) -> DnsSection {
    DnsSection { allow: DNS.map(str::to_owned).to_vec(), wildcards, ..DnsSection::default() }
}

fn section(allow: &[&str]) -> NameSection {
    NameSection { allow: allow.iter().map(|&pattern| pattern.to_owned()).collect(), ..NameSection::default() }
}
