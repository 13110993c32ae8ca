//! Judges the key usages, extended key usages and further extensions of a request against a profile.
//!
//! What is written comes from the profile; what a CSR asks for beyond it is refused, never dropped.

use super::profile::MustStaple;
use super::{Evaluation, listed, violation};
use crate::error::Violation;
use crate::x509::usage::KeyUsages;
use crate::x509::{ExtendedKeyUsage, KeyAlgorithm, KeyUsage};

/// The identifier of the TLS feature extension (RFC 7633).
const TLS_FEATURE: const_oid::ObjectIdentifier = const_oid::ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.24");

/// The usages of a certificate.
pub(super) struct Usages {
    pub(super) key_usage: KeyUsages,
    pub(super) extended_key_usage: Vec<ExtendedKeyUsage>,
}

/// Returns the usages that a profile's list means for a key: those that it can have, and for RSA keys `key_encipherment`
/// beside `digital_signature`. Without a known algorithm: the list.
pub(super) fn written(listed: &[KeyUsage], key: Option<KeyAlgorithm>) -> KeyUsages {
    let Some(key) = key else { return listed.iter().copied().collect() };
    let mut usages: KeyUsages = listed.iter().copied().filter(|usage| key.permits(*usage)).collect();
    if usages.contains(&KeyUsage::DigitalSignature) && matches!(key, KeyAlgorithm::Rsa(_)) {
        usages.insert(KeyUsage::KeyEncipherment);
    }
    usages
}

/// Judges key usage and extended key usage.
pub(super) fn judge(evaluation: &Evaluation<'_>) -> Result<Usages, Vec<Violation>> {
    let mut violations = Vec::new();
    let key_usage = key_usage(evaluation, &mut violations);
    let extended_key_usage = extended_key_usage(evaluation, &mut violations);
    if violations.is_empty() { Ok(Usages { key_usage, extended_key_usage }) } else { Err(violations) }
}

fn key_usage(evaluation: &Evaluation<'_>, violations: &mut Vec<Violation>) -> KeyUsages {
    let profile = evaluation.profile.profile();
    let key = evaluation.request.public_key().algorithm().ok();
    let written = written(&profile.key_usage, key);
    for usage in evaluation.request.requested().key_usage.iter().flatten() {
        if written.contains(usage) {
            continue;
        }
        let allowed: Vec<&str> = written.iter().map(|usage| usage.as_str()).collect();
        let allowed = listed(&allowed);
        let message = match key {
            Some(key) if !key.permits(*usage) => {
                format!("a key of the kind `{key}` cannot have the key usage `{}`; allowed: {allowed}", usage.as_str())
            }
            Some(_) | None => format!("the key usage `{}` is not allowed; allowed: {allowed}", usage.as_str()),
        };
        let rule = evaluation.profile.rule("key_usage");
        violations.push(violation("key_usage_not_allowed", "csr.key_usage", usage.as_str(), rule, message));
    }
    written
}

fn extended_key_usage(evaluation: &Evaluation<'_>, violations: &mut Vec<Violation>) -> Vec<ExtendedKeyUsage> {
    let rule = &evaluation.profile.profile().extended_key_usage;
    let requested = evaluation.request.requested().extended_key_usage.as_deref().unwrap_or_default();
    let mut written: Vec<ExtendedKeyUsage> = Vec::with_capacity(rule.required.len());
    for usage in &rule.required {
        if !written.contains(usage) {
            written.push(usage.clone());
        }
    }
    for usage in requested {
        if written.contains(usage) {
            continue;
        }
        if rule.allowed.contains(usage) {
            written.push(usage.clone());
            continue;
        }
        let message = format!("the extended key usage `{usage}` is not allowed; allowed: {}", choices(evaluation));
        violations.push(refused_extended(evaluation, &usage.to_string(), message));
    }
    // Without the extension a certificate serves every purpose, which is more than any choice from the list.
    if written.is_empty() && requested.is_empty() && !rule.allowed.is_empty() {
        let message = format!(
            "the request asks for no extended key usage, and the profile writes none by itself; ask for some of: {}",
            choices(evaluation)
        );
        violations.push(refused_extended(evaluation, "", message));
    }
    written
}

fn choices(evaluation: &Evaluation<'_>) -> String {
    let rule = &evaluation.profile.profile().extended_key_usage;
    let further = rule.allowed.iter().filter(|usage| !rule.required.contains(usage));
    let all: Vec<&ExtendedKeyUsage> = rule.required.iter().chain(further).collect();
    listed(&all)
}

fn refused_extended(evaluation: &Evaluation<'_>, value: &str, message: String) -> Violation {
    let rule = evaluation.profile.rule("extended_key_usage");
    violation("extended_key_usage_not_allowed", "csr.extended_key_usage", value, rule, message)
}

/// Judges must-staple and every other extension; returns whether must-staple is written.
pub(super) fn judge_extensions(evaluation: &Evaluation<'_>) -> Result<bool, Vec<Violation>> {
    let requested = evaluation.request.requested();
    let mut violations = Vec::new();
    let must_staple = match evaluation.profile.profile().must_staple {
        MustStaple::Required => true,
        MustStaple::Allowed => requested.must_staple,
        MustStaple::Forbidden => {
            if requested.must_staple && !evaluation.profile.ignores_extension(&TLS_FEATURE) {
                let message =
                    "the request asks for OCSP must-staple (TLS feature `status_request`), which the profile forbids; \
                               ask without it"
                        .to_owned();
                violations.push(violation(
                    "must_staple_not_allowed",
                    format!("csr.extensions[{TLS_FEATURE}]"),
                    "status_request",
                    evaluation.profile.rule("must_staple"),
                    message,
                ));
            }
            false
        }
    };
    for (oid, name) in &requested.other {
        if evaluation.profile.ignores_extension(oid) {
            continue;
        }
        let message = format!(
            "the extension `{}` (`{oid}`) is not allowed in a request; ask without it, or have it listed in the profile's \
             `ignore_extensions`",
            super::shown(name)
        );
        violations.push(violation(
            "extension_not_allowed",
            format!("csr.extensions[{oid}]"),
            name,
            evaluation.profile.rule("ignore_extensions"),
            message,
        ));
    }
    if violations.is_empty() { Ok(must_staple) } else { Err(violations) }
}
