//! Whether a certificate may be that of an issuer here (RFC 5280, section 6.1.4 (k) to (n), and what old CAs left out). Pure.

use crate::error::{Error, Result};
use crate::x509::{Certificate, KeyUsage, Timestamp};

/// Checks the certificate of an issuer that is about to be imported, and returns what is odd about it but no reason to refuse it. An issuer
/// that will only sign CRLs and OCSP answers (`retired`) may have expired.
///
/// # Errors
/// `Malformed` with the reason.
pub(super) fn check(certificate: &Certificate, retired: bool, now: Timestamp) -> Result<Vec<String>> {
    let subject = &certificate.subject;
    if subject.is_empty() {
        return Err(Error::malformed(
            "the certificate has no subject, which every CA needs (RFC 5280, section 4.1.2.6)",
        ));
    }
    is_ca(certificate)?;
    let not_understood = certificate.not_understood();
    if !not_understood.is_empty() {
        return Err(Error::malformed(format!(
            "the certificate `{subject}` has what is not understood here (RFC 5280, section 4.2): {}",
            not_understood.join("; ")
        )));
    }
    // The signature of a root means nothing: whoever trusts it trusts the key as it is.
    if !certificate.is_self_issued() {
        certificate.signature_algorithm().map_err(|error| {
            Error::malformed(format!("the certificate `{subject}` cannot be imported: {error}")).with_source(error)
        })?;
    }
    if certificate.not_before > now {
        return Err(Error::malformed(format!(
            "the certificate `{subject}` is not valid before {}",
            certificate.not_before
        )));
    }
    if certificate.not_after < now && !retired {
        return Err(Error::malformed(format!(
            "the certificate `{subject}` expired at {}; it can be imported as a retired issuer, which signs CRLs and OCSP answers only",
            certificate.not_after
        )));
    }
    Ok(warnings(certificate, now))
}

/// Checks that a certificate is a CA's: version 3 with basic constraints, or a root of version 1, which has no extensions.
pub(super) fn is_ca(certificate: &Certificate) -> Result<()> {
    let subject = &certificate.subject;
    let old_root = certificate.version < 3 && certificate.is_self_issued();
    if certificate.certificate_authority.is_none() && !old_root {
        return Err(Error::malformed(format!(
            "the certificate `{subject}` is not a CA's: its basic constraints do not say `CA:TRUE` (RFC 5280, section 4.2.1.9)"
        )));
    }
    if certificate.key_usage.as_ref().is_some_and(|usages| !usages.contains(&KeyUsage::KeyCertSign)) {
        return Err(Error::malformed(format!(
            "the key usage of the certificate `{subject}` does not allow to sign certificates (RFC 5280, section 4.2.1.3)"
        )));
    }
    Ok(())
}

fn warnings(certificate: &Certificate, now: Timestamp) -> Vec<String> {
    const MONTH: u64 = 30 * 24 * 3600;
    let mut warnings = Vec::new();
    let subject = &certificate.subject;
    if certificate.version < 3 {
        warnings.push(format!(
            "the certificate `{subject}` is of version {}, without extensions: some programs do not take it for a CA's",
            certificate.version
        ));
    }
    if certificate.key_usage.as_ref().is_some_and(|usages| !usages.contains(&KeyUsage::CrlSign)) {
        warnings.push(format!(
            "the key usage of the certificate `{subject}` does not allow to sign CRLs: programs that check this will refuse its CRLs"
        ));
    }
    if certificate.version >= 3 && certificate.key_usage.is_none() {
        warnings.push(format!(
            "the certificate `{subject}` has no key usage, which every CA's has by RFC 5280, section 4.2.1.3: strict verifiers, such as `openssl verify -x509_strict`, reject it"
        ));
    }
    if certificate.not_after >= now && certificate.not_after.since(now).as_secs() < MONTH {
        warnings.push(format!("the certificate `{subject}` expires at {}", certificate.not_after));
    }
    warnings
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::x509::testing::Authority;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_ca_in_its_time_is_admitted_without_a_word() {
        let root = Authority::root("Root");
        let below = root.subordinate("Below", Some(0));
        for certificate in [&root.certificate, &below.certificate] {
            assert!(check(certificate, false, at("2030-01-01T00:00:00Z")).unwrap().is_empty());
        }
        let warnings = check(&root.certificate, false, at("2055-12-20T00:00:00Z")).unwrap();
        assert_eq!(warnings, ["the certificate `CN=Root` expires at 2056-01-01T00:00:00Z"]);
    }

    #[test]
    fn an_expired_ca_is_admitted_as_retired_only() {
        let root = Authority::root("Root").certificate;
        let error = check(&root, false, at("2057-01-01T00:00:00Z")).unwrap_err();
        assert!(
            error.detail().starts_with("the certificate `CN=Root` expired at 2056-01-01T00:00:00Z; it can"),
            "{error}"
        );
        assert!(check(&root, true, at("2057-01-01T00:00:00Z")).unwrap().is_empty());
        let error = check(&root, true, at("2025-01-01T00:00:00Z")).unwrap_err();
        assert!(error.detail().ends_with("is not valid before 2026-01-01T00:00:00Z"), "{error}");
    }

    #[test]
    fn a_ca_without_key_usage_is_admitted_with_a_warning() {
        let root = Authority::root_without_key_usage("Root").certificate;
        let warnings = check(&root, false, at("2030-01-01T00:00:00Z")).unwrap();
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].contains("`CN=Root` has no key usage") && warnings[0].contains("-x509_strict"),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_leaf_is_no_ca() {
        let leaf = Authority::root("Root").leaf("a.example");
        let error = check(&leaf, false, at("2030-01-01T00:00:00Z")).unwrap_err();
        assert!(error.detail().contains("its basic constraints do not say `CA:TRUE`"), "{error}");
    }
}
