//! What makes a profile document valid. Name patterns are checked where they are compiled, in `policy/names.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use const_oid::ObjectIdentifier;

use super::{MustStaple, Presence, Profile};
use crate::policy::{duration, listed, shown, usages};
use crate::x509::distinguished_name::AttributeType;
use crate::x509::{DistinguishedName, KeyAlgorithm, KeyUsage};

/// The most characters of a description.
const MAXIMUM_DESCRIPTION: usize = 1_000;

/// Extensions with rules of their own, which cannot be ignored: subject alternative name, key usage, extended key usage,
/// basic constraints.
const RULED_EXTENSIONS: [(ObjectIdentifier, &str); 4] = [
    (ObjectIdentifier::new_unwrap("2.5.29.17"), "the name sections"),
    (ObjectIdentifier::new_unwrap("2.5.29.15"), "`key_usage`"),
    (ObjectIdentifier::new_unwrap("2.5.29.37"), "`extended_key_usage`"),
    (ObjectIdentifier::new_unwrap("2.5.29.19"), "`certificate_authority`"),
];

/// The key usages of a CA, all of them and no other.
const AUTHORITY_USAGES: [KeyUsage; 2] = [KeyUsage::KeyCertSign, KeyUsage::CrlSign];

/// Adds every problem of a document, except those of its name patterns and object identifiers.
pub(super) fn check(profile: &Profile, problems: &mut Vec<String>) {
    check_texts(profile, problems);
    check_validity(profile, problems);
    check_keys(profile, problems);
    check_usages(profile, problems);
    check_subject(profile, problems);
    check_authority(profile, problems);
    let sections = [profile.dns.is_some(), profile.ip.is_some(), profile.uri.is_some(), profile.email.is_some()];
    if profile.names_required && !sections.contains(&true) {
        problems.push("`names_required` is set, but no section `dns`, `ip`, `uri` or `email` allows a name".to_owned());
    }
}

/// Whether a text can name a profile or an issuer: 1 to 63 of `a-z`, `0-9`, `-`, starting with a letter.
fn is_name(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
}

fn check_texts(profile: &Profile, problems: &mut Vec<String>) {
    let names = [("name", &profile.name)]
        .into_iter()
        .chain(profile.issuer.iter().map(|issuer| ("issuer", issuer)))
        .chain(profile.additional_issuers.iter().map(|issuer| ("additional_issuers", issuer)));
    for (field, name) in names {
        if !is_name(name) {
            problems.push(format!(
                "`{field}`: `{}` is not a name; names are 1 to 63 of `a-z`, `0-9` and `-`, starting with a letter",
                shown(name)
            ));
        }
    }
    if let Some(description) = &profile.description
        && description.chars().count() > MAXIMUM_DESCRIPTION
    {
        problems.push(format!("`description` is over {MAXIMUM_DESCRIPTION} characters"));
    }
}

fn check_validity(profile: &Profile, problems: &mut Vec<String>) {
    let validity = &profile.validity;
    if validity.minimum < Duration::from_secs(1) {
        problems.push("`validity.minimum` is under `1s`".to_owned());
    }
    if validity.maximum > duration::MAXIMUM {
        problems.push(format!("`validity.maximum` is over `{}`", duration::format(duration::MAXIMUM)));
    }
    if validity.minimum > validity.maximum {
        problems.push(format!(
            "`validity.minimum` is `{}`, over `validity.maximum` of `{}`",
            duration::format(validity.minimum),
            duration::format(validity.maximum)
        ));
    } else if !(validity.minimum..=validity.maximum).contains(&validity.default) {
        problems.push(format!(
            "`validity.default` is `{}`, not from `validity.minimum` of `{}` to `validity.maximum` of `{}`",
            duration::format(validity.default),
            duration::format(validity.minimum),
            duration::format(validity.maximum)
        ));
    }
    if validity.backdate > validity.maximum {
        problems.push("`validity.backdate` is over `validity.maximum`".to_owned());
    }
}

fn check_keys(profile: &Profile, problems: &mut Vec<String>) {
    if profile.keys.is_empty() {
        problems.push("`keys` is empty; list at least one, such as `ecdsa-p256`".to_owned());
    }
    for key in &profile.keys {
        match key {
            KeyAlgorithm::Rsa(bits) if !(2048..=8192).contains(bits) => {
                problems.push(format!("`keys`: `{key}` is not from `rsa-2048` to `rsa-8192`"));
            }
            KeyAlgorithm::Rsa(_)
            | KeyAlgorithm::EcdsaP256
            | KeyAlgorithm::EcdsaP384
            | KeyAlgorithm::EcdsaP521
            | KeyAlgorithm::Ed25519
            | KeyAlgorithm::MlDsa44
            | KeyAlgorithm::MlDsa65
            | KeyAlgorithm::MlDsa87 => {}
        }
    }
}

fn check_usages(profile: &Profile, problems: &mut Vec<String>) {
    if profile.key_usage.is_empty() {
        problems.push("`key_usage` is empty; list at least one, such as `digital_signature`".to_owned());
        return;
    }
    for usage in AUTHORITY_USAGES {
        if profile.key_usage.contains(&usage) && profile.certificate_authority.is_none() {
            problems.push(format!(
                "`key_usage`: `{}` is for CAs; a profile that makes CAs has a section `certificate_authority`",
                usage.as_str()
            ));
        }
    }
    for usage in [KeyUsage::EncipherOnly, KeyUsage::DecipherOnly] {
        if profile.key_usage.contains(&usage) && !profile.key_usage.contains(&KeyUsage::KeyAgreement) {
            problems.push(format!("`key_usage`: `{}` means nothing without `key_agreement`", usage.as_str()));
        }
    }
    for key in &profile.keys {
        if usages::written(&profile.key_usage, Some(*key)).is_empty() {
            let names: Vec<&str> = profile.key_usage.iter().map(|usage| usage.as_str()).collect();
            problems.push(format!("`key_usage`: `{key}` keys can have none of {}", listed(&names)));
        }
    }
}

/// Checks what a profile for CAs must have, and what makes no sense in one.
fn check_authority(profile: &Profile, problems: &mut Vec<String>) {
    if profile.certificate_authority.is_none() {
        return;
    }
    let usages = &profile.key_usage;
    if usages.len() != AUTHORITY_USAGES.len() || !AUTHORITY_USAGES.iter().all(|usage| usages.contains(usage)) {
        problems.push(
            "`key_usage` of a profile with `certificate_authority` must be `key_cert_sign` and `crl_sign`, nothing else".to_owned(),
        );
    }
    let settings = [
        (profile.names_required, "`names_required`", "a CA is known by its subject"),
        (profile.common_name_in_names, "`common_name_in_names`", "a CA is known by its subject"),
        (profile.server_generated_keys, "`server_generated_keys`", "a CA makes its own key"),
        (profile.must_staple != MustStaple::Forbidden, "`must_staple`", "it is for TLS servers"),
    ];
    for (_, setting, why) in settings.iter().filter(|(is_set, _, _)| *is_set) {
        problems.push(format!("{setting} is set in a profile with `certificate_authority`: {why}"));
    }
}

fn check_subject(profile: &Profile, problems: &mut Vec<String>) {
    for (attribute_type, value) in &profile.subject.fixed {
        if value.is_empty() {
            problems.push(format!("`subject.fixed.{}` is empty", attribute_type.as_str()));
        } else if let Err(error) = DistinguishedName::from_attributes(&[(*attribute_type, value.clone())]) {
            problems.push(format!("`subject.fixed.{}`: {error}", attribute_type.as_str()));
        }
    }
    let fixed = profile.subject.fixed.contains_key(&AttributeType::CommonName);
    if fixed && profile.subject.common_name == Presence::Forbidden {
        problems.push("`subject.fixed` has a common name, which `subject.common_name` forbids".to_owned());
    }
}

/// Reads object identifiers, each at most once.
pub(super) fn identifiers(field: &str, texts: &[String], problems: &mut Vec<String>) -> Vec<ObjectIdentifier> {
    let mut seen = BTreeSet::new();
    let mut identifiers = Vec::with_capacity(texts.len());
    for text in texts {
        match ObjectIdentifier::new(text) {
            Ok(oid) if seen.insert(oid) => identifiers.push(oid),
            Ok(_) => problems.push(format!("`{field}`: `{text}` is there twice")),
            Err(error) => problems.push(format!(
                "`{field}`: `{}` is not a dotted object identifier such as `2.23.140.1.2.1` ({error})",
                shown(text)
            )),
        }
    }
    identifiers
}

/// Refuses to ignore what has rules of its own: nothing asked for there may be dropped silently.
pub(super) fn check_ignored(ignored: &[ObjectIdentifier], problems: &mut Vec<String>) {
    for (oid, ruler) in &RULED_EXTENSIONS {
        if ignored.contains(oid) {
            problems.push(format!("`ignore_extensions`: `{oid}` cannot be ignored, {ruler} decides about it"));
        }
    }
}
