//! Checks to-be-signed certificates against RFC 5280 before the key touches them: a last net below policy, for our own defects.

use super::extension::{Extension, decode, general_name, oids};
use super::usage::KeyUsages;
use super::{CertificateTemplate, ExtendedKeyUsage, KeyUsage};
use crate::error::Result;
use const_oid::ObjectIdentifier;

/// The extended key usage of servers, whose certificates need names.
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");

/// Returns what RFC 5280 would object to in the certificate, each with its section; empty when there is nothing.
#[must_use]
pub fn lint(template: &CertificateTemplate<'_>) -> Vec<String> {
    let mut findings = Vec::new();
    check_fields(template, &mut findings);
    check_criticality(template.extensions, &mut findings);
    match Decoded::read(template.extensions) {
        Ok(decoded) => {
            check_authority(template, &decoded, &mut findings);
            check_names(template, &decoded, &mut findings);
            check_usages(template, &decoded, &mut findings);
        }
        Err(error) => findings.push(format!("an extension does not decode: {error} (RFC 5280, section 4.2)")),
    }
    findings
}

/// What the extensions say.
struct Decoded {
    ca: Option<Option<u8>>,
    has_basic_constraints: bool,
    key_usage: Option<KeyUsages>,
    extended_key_usage: Option<Vec<ExtendedKeyUsage>>,
    names: Option<usize>,
    subject_key_identifier: Option<Vec<u8>>,
    authority_key_identifier: Option<Vec<u8>>,
}

impl Decoded {
    fn read(extensions: &[Extension]) -> Result<Self> {
        let value = |oid: ObjectIdentifier| {
            extensions.iter().find(|extension| extension.oid == oid).map(|extension| extension.value.as_slice())
        };
        Ok(Self {
            ca: value(oids::BASIC_CONSTRAINTS).map(decode::basic_constraints).transpose()?.flatten(),
            has_basic_constraints: value(oids::BASIC_CONSTRAINTS).is_some(),
            key_usage: value(oids::KEY_USAGE).map(decode::key_usage).transpose()?,
            extended_key_usage: value(oids::EXTENDED_KEY_USAGE).map(decode::extended_key_usage).transpose()?,
            names: value(oids::SUBJECT_ALT_NAME).map(general_name::read_all).transpose()?.map(|names| names.len()),
            subject_key_identifier: value(oids::SUBJECT_KEY_IDENTIFIER)
                .map(decode::subject_key_identifier)
                .transpose()?,
            authority_key_identifier: value(oids::AUTHORITY_KEY_IDENTIFIER)
                .map(decode::authority_key_identifier)
                .transpose()?
                .flatten(),
        })
    }
}

fn check_fields(template: &CertificateTemplate<'_>, findings: &mut Vec<String>) {
    if template.serial.to_der_content().len() > 20 {
        findings.push("the serial number has more than 20 octets (RFC 5280, section 4.1.2.2)".to_owned());
    }
    if template.not_before > template.not_after {
        findings.push("the validity ends before it begins (RFC 5280, section 4.1.2.5)".to_owned());
    }
    if template.issuer.is_empty() {
        findings.push("the issuer name is empty (RFC 5280, section 4.1.2.4)".to_owned());
    }
    for (name, field) in [(template.issuer, "issuer"), (template.subject, "subject")] {
        for attribute in name.attributes() {
            if let Some(defect) = &attribute.defect {
                findings.push(format!("the {field} attribute `{}`: {defect} (RFC 5280, appendix A.1)", attribute.oid));
            }
        }
    }
    if let Err(name) = template.public_key.algorithm() {
        findings.push(format!("the key algorithm `{name}` is not supported (RFC 5280, section 4.1.2.7)"));
    }
    for (index, extension) in template.extensions.iter().enumerate() {
        let earlier = template.extensions.iter().take(index);
        if earlier.into_iter().any(|earlier| earlier.oid == extension.oid) {
            let name = oids::name(&extension.oid);
            findings.push(format!("the extension `{name}` is there twice (RFC 5280, section 4.2)"));
        }
    }
}

/// Checks the extensions whose criticality RFC 5280 fixes.
fn check_criticality(extensions: &[Extension], findings: &mut Vec<String>) {
    let rules = [
        (oids::SUBJECT_KEY_IDENTIFIER, false, "4.2.1.2"),
        (oids::AUTHORITY_KEY_IDENTIFIER, false, "4.2.1.1"),
        (oids::KEY_USAGE, true, "4.2.1.3"),
        (oids::NAME_CONSTRAINTS, true, "4.2.1.10"),
        (oids::AUTHORITY_INFORMATION_ACCESS, false, "4.2.2.1"),
        (oids::CRL_DISTRIBUTION_POINTS, false, "4.2.1.13"),
        (oids::FRESHEST_CRL, false, "4.2.1.15"),
    ];
    for extension in extensions {
        if let Some((_, critical, section)) =
            rules.iter().find(|(oid, critical, _)| *critical != extension.critical && *oid == extension.oid)
        {
            let name = oids::name(&extension.oid);
            let wanted = if *critical { "must be critical" } else { "must not be critical" };
            findings.push(format!("the extension `{name}` {wanted} (RFC 5280, section {section})"));
        }
    }
}

fn check_authority(template: &CertificateTemplate<'_>, decoded: &Decoded, findings: &mut Vec<String>) {
    let signs_certificates = decoded.key_usage.as_ref().is_some_and(|usages| usages.contains(&KeyUsage::KeyCertSign));
    let self_issued = template.subject.as_der() == template.issuer.as_der();
    let critical_basic_constraints =
        template.extensions.iter().any(|extension| extension.oid == oids::BASIC_CONSTRAINTS && extension.critical);
    if decoded.ca.is_some() {
        if !critical_basic_constraints {
            findings.push("basic constraints of a CA must be critical (RFC 5280, section 4.2.1.9)".to_owned());
        }
        if !signs_certificates {
            findings.push("a CA needs the key usage `key_cert_sign` (RFC 5280, section 4.2.1.3)".to_owned());
        }
        if decoded.subject_key_identifier.is_none() {
            findings.push("a CA needs a subject key identifier (RFC 5280, section 4.2.1.2)".to_owned());
        }
        if template.subject.is_empty() {
            findings.push("the subject of a CA is empty (RFC 5280, section 4.1.2.6)".to_owned());
        }
    } else if signs_certificates {
        findings.push("the key usage `key_cert_sign` without a CA (RFC 5280, section 4.2.1.9)".to_owned());
    }
    let has = |oid| template.extensions.iter().any(|extension| extension.oid == oid);
    if has(oids::NAME_CONSTRAINTS) && decoded.ca.is_none() {
        findings.push("name constraints without a CA (RFC 5280, section 4.2.1.10)".to_owned());
    }
    if decoded.has_basic_constraints && decoded.ca.is_none() && !critical_basic_constraints {
        findings.push("basic constraints are written critical here (RFC 5280, section 4.2.1.9)".to_owned());
    }
    let may_lack_authority = self_issued && decoded.ca.is_some();
    if decoded.authority_key_identifier.as_ref().is_none_or(Vec::is_empty) && !may_lack_authority {
        findings.push("there is no authority key identifier (RFC 5280, section 4.2.1.1)".to_owned());
    }
}

fn check_names(template: &CertificateTemplate<'_>, decoded: &Decoded, findings: &mut Vec<String>) {
    let alternative = template.extensions.iter().find(|extension| extension.oid == oids::SUBJECT_ALT_NAME);
    if decoded.names == Some(0) {
        findings.push("the subject alternative name extension is empty (RFC 5280, section 4.2.1.6)".to_owned());
    }
    if template.subject.is_empty() && !alternative.is_some_and(|extension| extension.critical) {
        findings
            .push("an empty subject needs critical subject alternative names (RFC 5280, section 4.2.1.6)".to_owned());
    }
    if !template.subject.is_empty() && alternative.is_some_and(|extension| extension.critical) {
        findings.push(
            "subject alternative names must not be critical when there is a subject (RFC 5280, section 4.2.1.6)"
                .to_owned(),
        );
    }
    let is_server =
        decoded.extended_key_usage.as_ref().is_some_and(|usages| usages.iter().any(|usage| usage.oid() == SERVER_AUTH));
    if is_server && decoded.ca.is_none() && decoded.names.unwrap_or(0) == 0 {
        findings.push("a server certificate needs subject alternative names (RFC 9525, section 6.1)".to_owned());
    }
}

fn check_usages(template: &CertificateTemplate<'_>, decoded: &Decoded, findings: &mut Vec<String>) {
    if let Some(usages) = &decoded.extended_key_usage {
        for (index, usage) in usages.iter().enumerate() {
            if usages.iter().take(index).any(|earlier| earlier == usage) {
                findings.push(format!("the extended key usage `{usage}` is there twice (RFC 5280, section 4.2.1.12)"));
            }
        }
    }
    if let (Some(usages), Ok(key)) = (&decoded.key_usage, template.public_key.algorithm()) {
        for usage in usages.iter().filter(|usage| !key.permits(**usage)) {
            findings.push(format!(
                "a key of the kind `{key}` cannot have the key usage `{}` (RFC 3279, section 2.3.1; RFC 8813, section 3; RFC 8410, \
                 section 5; RFC 9881, section 5)",
                usage.as_str()
            ));
        }
    }
    if let Some(usages) = &decoded.key_usage
        && (usages.contains(&KeyUsage::EncipherOnly) || usages.contains(&KeyUsage::DecipherOnly))
        && !usages.contains(&KeyUsage::KeyAgreement)
    {
        findings.push(
            "`encipher_only` and `decipher_only` mean nothing without `key_agreement` (RFC 5280, section 4.2.1.3)"
                .to_owned(),
        );
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::x509::testing::Authority;
    use crate::x509::{DistinguishedName, NameType, SerialNumber, SignatureAlgorithm, SubjectAltName, Timestamp};

    fn name(value: &str) -> SubjectAltName {
        SubjectAltName::parse(NameType::Dns, value).unwrap()
    }

    fn leaf_extensions(authority: &Authority) -> Vec<Extension> {
        vec![
            Extension::basic_constraints(None),
            Extension::key_usage(&[KeyUsage::DigitalSignature].into()),
            Extension::extended_key_usage(&["server_auth".parse().unwrap()]),
            Extension::subject_alt_name(&[name("a.example")], false),
            Extension::subject_key_identifier(&authority.certificate.public_key),
            Extension::authority_key_identifier(&[1; 20]),
        ]
    }

    /// Lints a leaf that was changed by `change`.
    fn findings(subject: &str, change: impl FnOnce(&mut Vec<Extension>)) -> Vec<String> {
        let authority = Authority::root("Root");
        let mut extensions = leaf_extensions(&authority);
        change(&mut extensions);
        lint(&CertificateTemplate {
            serial: &SerialNumber::from_bytes(&[1]).unwrap(),
            signature_algorithm: SignatureAlgorithm::EcdsaSha256,
            issuer: &authority.certificate.subject,
            not_before: Timestamp::from_unix(0),
            not_after: Timestamp::from_unix(1),
            subject: &DistinguishedName::parse(subject).unwrap(),
            public_key: &authority.certificate.public_key,
            extensions: &extensions,
        })
    }

    #[test]
    fn a_sound_certificate_has_no_finding() {
        assert_eq!(findings("CN=a.example", |_extensions| {}), [""; 0]);
        assert_eq!(
            findings("", |extensions| extensions[3] = Extension::subject_alt_name(&[name("a.example")], true)),
            [""; 0]
        );
    }

    #[test]
    fn each_defect_is_found() {
        type Change = fn(&mut Vec<Extension>);
        let cases: [(&str, &str, Change); 13] = [
            ("CN=a", "basic constraints are written critical", |all| all[0].critical = false),
            ("CN=a", "`key_cert_sign` without a CA", |all| {
                all[1] = Extension::key_usage(&[KeyUsage::KeyCertSign].into());
            }),
            ("CN=a", "`ecdsa-p256` cannot have the key usage `key_encipherment`", |all| {
                all[1] = Extension::key_usage(&[KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment].into());
            }),
            ("CN=a", "a CA needs the key usage", |all| all[0] = Extension::basic_constraints(Some(None))),
            ("CN=a", "needs subject alternative names", |all| drop(all.remove(3))),
            ("", "an empty subject needs critical", |_all| {}),
            ("CN=a", "must not be critical when there is a subject", |all| all[3].critical = true),
            ("CN=a", "no authority key identifier", |all| drop(all.pop())),
            ("CN=a", "`key_usage` is there twice", |all| all.push(all[1].clone())),
            ("CN=a", "is empty", |all| all[3] = Extension::subject_alt_name(&[], false)),
            ("CN=a", "does not decode", |all| all[0].value = vec![0x30, 6, 1, 1, 0, 2, 1, 0]),
            ("CN=a", "`key_usage` must be critical", |all| all[1].critical = false),
            ("CN=a", "`server_auth` is there twice", |all| {
                let usage: ExtendedKeyUsage = "server_auth".parse().unwrap();
                all[2] = Extension::extended_key_usage(&[usage.clone(), usage]);
            }),
        ];
        for (subject, expected, change) in cases {
            let found = findings(subject, change);
            assert!(found.iter().any(|finding| finding.contains(expected)), "{expected}: {found:?}");
        }
    }
}
