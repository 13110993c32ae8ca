//! Certificates from DER (RFC 5280, section 4.1).

use x509_parser::certificate::X509CertificateParser;
use x509_parser::nom::Parser;
use x509_parser::x509::X509Version;

use super::{Certificate, CertificateTemplate, PolicyRules, Signed};
use crate::error::{Error, Result};
use crate::x509::decoding::{self, shape};
use crate::x509::encoding;
use crate::x509::extension::{self, Extension, decode, oids};
use crate::x509::{DistinguishedName, NameConstraints, PublicKey, SerialNumber, Timestamp};

const WHAT: &str = "certificate";

/// Parses one certificate. Those of version 1, which have no extensions, are read, too: old CAs have signed many.
pub(super) fn certificate(der: &[u8]) -> Result<Certificate> {
    shape::CERTIFICATE.check(der, WHAT)?;
    let signed = Signed::from_der(der, WHAT)?;
    // The values of extensions are read below, so that one that does not parse is an error.
    let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
    let parsed = decoding::complete(parser.parse(der), WHAT)?.tbs_certificate;
    if parsed.as_ref() != signed.to_be_signed {
        return Err(Error::malformed("the certificate has fields that it must not have (RFC 5280, section 4.1)"));
    }
    let version = match parsed.version {
        X509Version::V3 => 3,
        // RFC 5280, section 4.1.2.9
        X509Version::V2 if parsed.extensions().is_empty() => 2,
        X509Version::V1 if parsed.extensions().is_empty() => 1,
        X509Version::V1 | X509Version::V2 => {
            return Err(Error::malformed("the certificate has extensions, which only version 3 may have"));
        }
        X509Version(_) => return Err(Error::malformed("the certificate is not of version 1, 2 or 3")),
    };
    if inner_algorithm(signed.to_be_signed)? != signed.algorithm {
        // RFC 5280, section 4.1.2.3
        return Err(Error::malformed("the two signature algorithms of the certificate differ"));
    }
    let serial = SerialNumber::from_bytes(parsed.raw_serial())?;
    let issuer = DistinguishedName::from_parsed(&parsed.issuer)?;
    let not_before = decoding::timestamp(parsed.validity.not_before, "`not_before` of the certificate")?;
    let not_after = decoding::timestamp(parsed.validity.not_after, "`not_after` of the certificate")?;
    let subject = DistinguishedName::from_parsed(&parsed.subject)?;
    let public_key = PublicKey::from_parsed(&parsed.subject_pki)?;
    let extensions = Extension::from_parsed(parsed.extensions())?;

    with_extensions(
        Fields { der: der.to_vec(), version, serial, issuer, subject, not_before, not_after, public_key },
        extensions,
    )
}

/// Returns the certificate that a template became.
pub(super) fn built(template: &CertificateTemplate<'_>, der: Vec<u8>) -> Result<Certificate> {
    let fields = Fields {
        der,
        version: 3,
        serial: template.serial.clone(),
        issuer: template.issuer.clone(),
        subject: template.subject.clone(),
        not_before: template.not_before,
        not_after: template.not_after,
        public_key: template.public_key.clone(),
    };
    with_extensions(fields, template.extensions.to_vec())
}

/// What a certificate has without its extensions.
struct Fields {
    der: Vec<u8>,
    version: u8,
    serial: SerialNumber,
    issuer: DistinguishedName,
    subject: DistinguishedName,
    not_before: Timestamp,
    not_after: Timestamp,
    public_key: PublicKey,
}

fn with_extensions(fields: Fields, extensions: Vec<Extension>) -> Result<Certificate> {
    let Fields { der, version, serial, issuer, subject, not_before, not_after, public_key } = fields;
    let mut certificate = Certificate {
        der,
        version,
        serial,
        issuer,
        subject,
        not_before,
        not_after,
        public_key,
        names: Vec::new(),
        key_usage: None,
        extended_key_usage: None,
        certificate_authority: None,
        subject_key_identifier: None,
        authority_key_identifier: None,
        must_staple: false,
        name_constraints: None,
        policies: PolicyRules::default(),
        extensions: Vec::new(),
    };
    for extension in &extensions {
        read_extension(&mut certificate, extension)?;
    }
    certificate.extensions = extensions;
    Ok(certificate)
}

fn read_extension(certificate: &mut Certificate, extension: &Extension) -> Result<()> {
    let value = extension.value.as_slice();
    match extension.oid {
        oids::SUBJECT_ALT_NAME => certificate.names = decode::supported_names(value)?,
        oids::KEY_USAGE => certificate.key_usage = Some(decode::key_usage(value)?),
        oids::EXTENDED_KEY_USAGE => certificate.extended_key_usage = Some(decode::extended_key_usage(value)?),
        oids::BASIC_CONSTRAINTS => certificate.certificate_authority = decode::basic_constraints(value)?,
        oids::SUBJECT_KEY_IDENTIFIER => {
            certificate.subject_key_identifier = Some(decode::subject_key_identifier(value)?);
        }
        oids::AUTHORITY_KEY_IDENTIFIER => {
            certificate.authority_key_identifier = decode::authority_key_identifier(value)?;
        }
        oids::TLS_FEATURE => {
            certificate.must_staple = decode::tls_features(value)?.contains(&extension::STATUS_REQUEST);
        }
        oids::NAME_CONSTRAINTS => certificate.name_constraints = Some(NameConstraints::from_der(value)?),
        oids::CERTIFICATE_POLICIES => certificate.policies.policies = Some(decode::certificate_policies(value)?),
        oids::POLICY_MAPPINGS => certificate.policies.mappings = decode::policy_mappings(value)?,
        oids::POLICY_CONSTRAINTS => {
            let (explicit, mapping) = decode::policy_constraints(value)?;
            certificate.policies.require_explicit_policy = explicit;
            certificate.policies.inhibit_policy_mapping = mapping;
        }
        oids::INHIBIT_ANY_POLICY => {
            certificate.policies.inhibit_any_policy = Some(decode::inhibit_any_policy(value)?);
        }
        _ => {}
    }
    Ok(())
}

/// Returns the octets of the algorithm inside of what is signed, the first SEQUENCE there, which x509-parser does not hand out.
pub(in crate::x509) fn inner_algorithm(to_be_signed: &[u8]) -> Result<&[u8]> {
    let mut fields = decoding::only_sequence(to_be_signed, WHAT)?;
    loop {
        let field = fields.any(WHAT)?;
        if field.tag == encoding::SEQUENCE {
            return Ok(field.raw);
        }
    }
}
