//! What the CSR of an order may hold: exactly the order's names, and nothing else that an ACME proof does not cover (RFC 8555, section 7.4).
//!
//! Key and extensions are judged by `policy::evaluate`, as of every request. Usages are judged here: of what ACME clients put into every CSR some
//! may be missing in the certificate, which a request over REST is refused for.

use std::collections::BTreeSet;

use const_oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};

use super::Identifier;
use crate::error::{AcmeErrorType, Error, Result};
use crate::policy::{Profile, listed, shown, usages};
use crate::x509::csr::RequestedName;
use crate::x509::distinguished_name::AttributeType;
use crate::x509::{CertificateRequest, ExtendedKeyUsage, KeyUsage, NameType, PublicKey, SubjectAltName};

/// Judges the CSR of an order under a profile, of an account with this key.
///
/// # Errors
/// `badCSR`, with everything that is wrong with it.
pub fn judge(
    request: &CertificateRequest,
    identifiers: &[Identifier],
    account_key: &PublicKey,
    profile: &Profile,
) -> Result<()> {
    let mut problems = Vec::new();
    if is_same_key(request.public_key(), account_key) {
        problems
            .push("its key is that of the account (RFC 8555, section 11.1); make a key of its own for it".to_owned());
    }
    let ordered: BTreeSet<&Identifier> = identifiers.iter().collect();
    let mut asked = requested(request, &mut problems);
    asked.extend(common_name(request, &ordered, &mut problems));
    let missing: Vec<&Identifier> = ordered.iter().copied().filter(|identifier| !asked.contains(identifier)).collect();
    let added: Vec<&Identifier> = asked.iter().filter(|identifier| !ordered.contains(identifier)).collect();
    if !missing.is_empty() {
        problems.push(format!(
            "it does not ask for all names of the order; missing in its subject alternative names: {}",
            listed(&missing)
        ));
    }
    if !added.is_empty() {
        problems.push(format!(
            "it asks for names that are not in the order: {}; the order has: {}",
            listed(&added),
            listed(identifiers)
        ));
    }
    judge_usages(request, profile, &mut problems);
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::acme(AcmeErrorType::BadCsr, format!("the CSR does not fit the order: {}", problems.join("; "))))
}

/// Refuses usages that the certificate would not have. Those that clients ask for in every CSR may be missing, as long as it has some of what is
/// asked for: acme.sh asks for the usages of TLS servers and clients, cert-manager for key encipherment for ECDSA keys too, and OpenSSL's example
/// configuration for content commitment.
fn judge_usages(request: &CertificateRequest, profile: &Profile, problems: &mut Vec<String>) {
    let written = usages::written(&profile.key_usage, request.public_key().algorithm().ok());
    let asked: Vec<KeyUsage> = request.requested().key_usage.iter().flatten().copied().collect();
    let is_usual = |usage: &KeyUsage| match usage {
        KeyUsage::DigitalSignature | KeyUsage::ContentCommitment | KeyUsage::KeyEncipherment => true,
        KeyUsage::DataEncipherment
        | KeyUsage::KeyAgreement
        | KeyUsage::KeyCertSign
        | KeyUsage::CrlSign
        | KeyUsage::EncipherOnly
        | KeyUsage::DecipherOnly => false,
    };
    let missing = missing(&asked, |usage| written.contains(usage), is_usual);
    if !missing.is_empty() {
        let missing: Vec<&str> = missing.into_iter().map(|usage| usage.as_str()).collect();
        let had: Vec<&str> = written.iter().map(|usage| usage.as_str()).collect();
        problems.push(not_had("key usage", &listed(&missing), profile, &listed(&had)));
    }
    let rule = &profile.extended_key_usage;
    let asked = request.requested().extended_key_usage.as_deref().unwrap_or_default();
    let has = |usage: &ExtendedKeyUsage| rule.required.contains(usage) || rule.allowed.contains(usage);
    let is_usual = |usage: &ExtendedKeyUsage| [ID_KP_SERVER_AUTH, ID_KP_CLIENT_AUTH].contains(&usage.oid());
    let missing = self::missing(asked, has, is_usual);
    if !missing.is_empty() {
        let had: BTreeSet<&ExtendedKeyUsage> = rule.required.iter().chain(&rule.allowed).collect();
        let had: Vec<&ExtendedKeyUsage> = had.into_iter().collect();
        problems.push(not_had("extended key usage", &listed(&missing), profile, &listed(&had)));
    }
}

/// Returns the usages to refuse: those that the certificate would not have and that not everybody asks for; all if it would have none.
fn missing<T>(asked: &[T], has: impl Fn(&T) -> bool, is_usual: impl Fn(&T) -> bool) -> Vec<&T> {
    let has_some = asked.iter().any(&has);
    asked.iter().filter(|usage| !(has(usage) || has_some && is_usual(usage))).collect()
}

fn not_had(kind: &str, missing: &str, profile: &Profile, had: &str) -> String {
    let had = if had.is_empty() { "none" } else { had };
    format!(
        "it asks for the {kind} {missing}, which certificates under the profile `{}` do not have; they may have: {had}; ask for none, and the \
         profile decides",
        profile.name
    )
}

/// Collects the names of the extension request.
fn requested(request: &CertificateRequest, problems: &mut Vec<String>) -> BTreeSet<Identifier> {
    let mut asked = BTreeSet::new();
    for name in &request.requested().names {
        match name {
            RequestedName::Name(name) => match Identifier::of_name(name) {
                Some(identifier) => {
                    asked.insert(identifier);
                }
                None => problems.push(format!(
                    "it asks for the name `{}`; orders are for DNS names and IP addresses only",
                    shown(&name.to_string())
                )),
            },
            RequestedName::Malformed(malformed) => problems.push(format!(
                "its subject alternative name `{}` is malformed: {}",
                shown(&malformed.value),
                malformed.message
            )),
            RequestedName::Unsupported { kind, .. } => problems.push(format!(
                "it asks for a name of the type `{}`; orders are for DNS names and IP addresses only",
                shown(kind)
            )),
        }
    }
    asked
}

/// Judges the subject, and returns the name in it: its common name counts as one (RFC 8555, section 7.4).
fn common_name(
    request: &CertificateRequest,
    ordered: &BTreeSet<&Identifier>,
    problems: &mut Vec<String>,
) -> Option<Identifier> {
    let mut found = None;
    for attribute in request.subject().attributes() {
        if attribute.attribute_type != Some(AttributeType::CommonName) {
            let name =
                attribute.attribute_type.map_or_else(|| attribute.oid.to_string(), |kind| kind.as_str().to_owned());
            problems.push(format!(
                "its subject holds `{name}`, which an order does not prove; leave everything but the common name out, or the whole subject"
            ));
            continue;
        }
        let value = shown(&attribute.value);
        if found.is_some() {
            problems.push(format!("its subject has another common name, `{value}`; leave it out"));
            continue;
        }
        let identifier = match SubjectAltName::parse(NameType::Dns, &attribute.value) {
            Ok(name) => Identifier::of_name(&name).filter(|identifier| ordered.contains(identifier)),
            Err(_no_dns_name) => None,
        };
        match identifier {
            Some(identifier) => found = Some(identifier),
            None => problems.push(format!(
                "its common name `{value}` is no DNS name of the order; leave it out, or take one of: {}",
                listed(&dns_names(ordered))
            )),
        }
    }
    found
}

fn dns_names(ordered: &BTreeSet<&Identifier>) -> Vec<String> {
    let is_name = |identifier: &&&Identifier| match identifier {
        Identifier::Dns { .. } => true,
        Identifier::Ip(_) => false,
    };
    ordered.iter().filter(is_name).map(ToString::to_string).collect()
}

/// Whether two keys are the same, however their algorithm's parameters are written.
fn is_same_key(left: &PublicKey, right: &PublicKey) -> bool {
    left.algorithm() == right.algorithm() && left.key_bits() == right.key_bits()
}
