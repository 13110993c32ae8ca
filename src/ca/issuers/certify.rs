//! CA certificates: what they say, within which bounds, and how they are signed by an issuer or by their own key.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use const_oid::ObjectIdentifier;

use crate::ca::crl::CrlPolicy;
use crate::ca::issuer::{Issuer, certificate_url, crl_url, delta_url, linted, ocsp_url, sign_with};
use crate::ca::settings::IssuerSettings;
use crate::ca::{CertificateAuthority, Settings};
use crate::error::{Error, Result, Violation};
use crate::policy::issuer::{Candidate, Part};
use crate::policy::{RequestedValidity, duration};
use crate::signer::Signer;
use crate::x509::extension::{Extension, decode, oids};
use crate::x509::{
    Certificate, CertificateTemplate, DistinguishedName, ExtendedKeyUsage, KeyUsage, NameConstraints, PublicKey,
    Timestamp,
};

/// How far before the present CA certificates begin, for clocks that are behind: as far as the default profiles backdate.
const BACKDATE: Duration = Duration::from_secs(300);
/// The shortest and the longest life of a CA.
const SHORTEST: Duration = Duration::from_secs(3600);
const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

/// The extensions that bound what a CA signs, which the next certificate for the same CA has too. The path length is not among them.
const BOUNDS: [ObjectIdentifier; 6] = [
    oids::NAME_CONSTRAINTS,
    oids::CERTIFICATE_POLICIES,
    oids::POLICY_MAPPINGS,
    oids::POLICY_CONSTRAINTS,
    oids::INHIBIT_ANY_POLICY,
    oids::EXTENDED_KEY_USAGE,
];

/// What a CA certificate says of the CA, whoever signs it.
#[derive(Clone, Debug)]
pub(in crate::ca) struct CaTemplate {
    pub(in crate::ca) subject: DistinguishedName,
    pub(in crate::ca) period: Period,
    pub(in crate::ca) path_length: Option<u8>,
    /// Name constraints, policies and the like, in order of encoding.
    pub(in crate::ca) bounds: Vec<Extension>,
    /// The subject key identifier, when the key has one already, by which what it signed refers to it; else it is derived from the key.
    pub(in crate::ca) key_identifier: Option<Extension>,
}

/// The first and the last second of validity.
#[derive(Clone, Copy, Debug)]
pub(in crate::ca) struct Period {
    pub(in crate::ca) not_before: Timestamp,
    pub(in crate::ca) not_after: Timestamp,
}

/// What bounds a CA that is to be created or cross-signed.
#[derive(Clone, Debug, Default)]
pub struct CaBounds {
    /// How many CAs may follow below it; bounded by its issuer.
    pub path_length: Option<u8>,
    /// The names that certificates below it may and may not have.
    pub name_constraints: Option<NameConstraints>,
    /// The certificate policies.
    pub certificate_policies: Vec<ObjectIdentifier>,
    /// The extended key usages that certificates below it may have; any when empty.
    pub extended_key_usage: Vec<ExtendedKeyUsage>,
}

impl CaBounds {
    /// Checks that nothing is asked for twice.
    ///
    /// # Errors
    /// `Malformed`, naming the field and the value.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |field: &str, value: &dyn std::fmt::Display| {
            Err(Error::malformed(format!("`{field}` has `{value}` more than once; each may stand there once")))
        };
        // RFC 5280, section 4.2.1.4.
        if let Some(policy) = repeated(&self.certificate_policies) {
            return refuse("certificate_policies", policy);
        }
        match repeated(&self.extended_key_usage) {
            Some(usage) => refuse("extended_key_usage", usage),
            None => Ok(()),
        }
    }

    /// Returns the extensions, but for the basic constraints.
    pub(super) fn extensions(&self) -> Vec<Extension> {
        let mut extensions: Vec<Extension> =
            self.name_constraints.as_ref().map(NameConstraints::to_extension).into_iter().collect();
        if !self.certificate_policies.is_empty() {
            extensions.push(Extension::certificate_policies(&self.certificate_policies));
        }
        if !self.extended_key_usage.is_empty() {
            extensions.push(Extension::extended_key_usage(&self.extended_key_usage));
        }
        extensions
    }
}

/// Finds a value that was there before.
fn repeated<T: PartialEq>(values: &[T]) -> Option<&T> {
    values
        .iter()
        .enumerate()
        .find(|(index, value)| values.iter().take(*index).any(|before| before == *value))
        .map(|(_, value)| value)
}

/// Returns the bounds that a CA certificate has, for the next one of the same CA.
pub(super) fn bounds_of(certificate: &Certificate) -> Vec<Extension> {
    BOUNDS
        .iter()
        .filter_map(|oid| {
            let (critical, value) = certificate.extension_value(oid)?;
            Some(Extension { oid: *oid, critical, value })
        })
        .collect()
}

/// Returns the subject key identifier of a CA certificate, for the next one of the same key.
pub(super) fn key_identifier_of(certificate: &Certificate) -> Option<Extension> {
    let oid = oids::SUBJECT_KEY_IDENTIFIER;
    certificate.extension_value(&oid).map(|(critical, value)| Extension { oid, critical, value })
}

/// Who signs a CA certificate.
#[derive(Debug)]
pub(in crate::ca) struct Signatory<'a> {
    name: &'a DistinguishedName,
    /// What leads to the signing CA: its key identifier and its addresses; nothing in a root.
    pointers: Vec<Extension>,
    signer: &'a Arc<dyn Signer>,
}

impl<'a> Signatory<'a> {
    /// The CA itself: a root.
    pub(in crate::ca) const fn itself(name: &'a DistinguishedName, signer: &'a Arc<dyn Signer>) -> Self {
        Self { name, pointers: Vec::new(), signer }
    }

    /// A CA with this certificate and this name in URLs.
    pub(in crate::ca) fn of(
        certificate: &'a Certificate,
        (name, path_name): (&str, &str),
        of_issuer: &IssuerSettings,
        settings: &Settings,
        signer: &'a Arc<dyn Signer>,
    ) -> Self {
        let key_identifier = certificate
            .subject_key_identifier
            .clone()
            .unwrap_or_else(|| certificate.public_key.key_identifier().to_vec());
        let urls = &of_issuer.urls;
        let mut pointers = vec![Extension::authority_key_identifier(&key_identifier)];
        let ca_issuers = urls.ca_issuers.clone().unwrap_or_else(|| vec![certificate_url(settings, path_name)]);
        let ocsp = urls.ocsp.clone().unwrap_or_else(|| vec![ocsp_url(settings, name)]);
        if !ca_issuers.is_empty() || !ocsp.is_empty() {
            pointers.push(Extension::authority_information_access(&ca_issuers, &ocsp));
        }
        let crl = urls.crl.clone().unwrap_or_else(|| vec![crl_url(settings, path_name)]);
        if !crl.is_empty() {
            pointers.push(Extension::crl_distribution_points(&crl));
            if CrlPolicy::of(of_issuer, settings).delta_interval.is_some() {
                pointers.push(Extension::freshest_crl(&[delta_url(settings, path_name, 0)]));
            }
        }
        Self { name: &certificate.subject, pointers, signer }
    }
}

impl Issuer {
    /// Returns this issuer as one that signs CA certificates.
    ///
    /// # Errors
    /// `Unavailable` when its key is not at hand.
    pub(super) fn signatory(&self, settings: &Settings) -> Result<Signatory<'_>> {
        let names = (self.name.as_str(), self.path_name.as_str());
        Ok(Signatory::of(&self.certificate, names, &self.settings, settings, self.signer()?))
    }

    /// Judges a CA certificate that this issuer is to sign: the rules of its chain that verifiers would hold against it.
    ///
    /// # Errors
    /// `Malformed` when a bound cannot be read.
    pub(super) fn judge(&self, template: &CaTemplate) -> Result<Vec<Violation>> {
        let bound = |oid: ObjectIdentifier| {
            template.bounds.iter().find(|extension| extension.oid == oid).map(|extension| extension.value.as_slice())
        };
        let usages = bound(oids::EXTENDED_KEY_USAGE).map(decode::extended_key_usage).transpose()?.unwrap_or_default();
        let policies =
            bound(oids::CERTIFICATE_POLICIES).map(decode::certificate_policies).transpose()?.unwrap_or_default();
        let candidate = Candidate {
            subject: Some(&template.subject),
            names: &[],
            extended_key_usage: &usages,
            certificate_policies: &policies,
            certificate_authority: Some(template.path_length),
        };
        let mut violations = self.limits.violations(&candidate, |part| {
            match part {
                Part::Subject(_) | Part::Name(_) => "subject",
                Part::ExtendedKeyUsage => "extended_key_usage",
                Part::CertificatePolicies => "certificate_policies",
                Part::BasicConstraints => "path_length",
            }
            .to_owned()
        });
        // Another certificate for an issuer has its subject with good reason, and one's own name does not count for path lengths (RFC 5280,
        // section 4.2.1.9). Whether a new issuer's subject is its own is judged where it is created.
        let is_self_issued = template.subject.as_der() == self.certificate.subject.as_der();
        violations.retain(|violation| {
            violation.code != "subject_of_issuer" && !(is_self_issued && violation.code == "issuer_path_length")
        });
        let end = self.certificate.not_after;
        if template.period.not_after > end {
            let value = template.period.not_after.to_string();
            violations.push(Violation {
                code: "validity_beyond_issuer",
                field: "validity".to_owned(),
                message: format!("it would end on `{value}`, after its issuer, which ends on `{end}`; ask for less"),
                value,
                rule: "issuer.not_after".to_owned(),
            });
        }
        Ok(violations)
    }
}

/// Decides the validity of a CA: as asked for, else `default`, which gives way to the end of the issuer.
///
/// # Errors
/// `Malformed` outside of 1 hour to 36500 days.
pub(in crate::ca) fn period(
    now: Timestamp,
    asked: Option<&RequestedValidity>,
    default: Duration,
    issuer: Option<&Certificate>,
) -> Result<Period> {
    // The end is inclusive (RFC 5280, section 4.1.2.5).
    let not_after = match asked {
        Some(RequestedValidity::NotAfter(end)) => *end,
        Some(RequestedValidity::Duration(length)) => now + *length - Duration::from_secs(1),
        None => {
            let end = now + default - Duration::from_secs(1);
            issuer.map_or(end, |issuer| end.min(issuer.not_after))
        }
    };
    let length = not_after.since(now) + Duration::from_secs(1);
    if length < SHORTEST || length > LONGEST {
        return Err(Error::malformed(format!(
            "a CA would end on `{not_after}`; it must be valid for `{}` to `{}`",
            duration::format(SHORTEST),
            duration::format(LONGEST)
        )));
    }
    let earliest = now - BACKDATE;
    let not_before = issuer.map_or(earliest, |issuer| earliest.max(issuer.not_before));
    Ok(Period { not_before, not_after })
}

/// The extensions that a CA certificate, or a request for one, has whoever signs it.
pub(super) fn own_extensions(
    path_length: Option<u8>,
    bounds: &[Extension],
    public_key: &PublicKey,
    key_identifier: Option<&Extension>,
) -> Vec<Extension> {
    let mut extensions = vec![
        Extension::basic_constraints(Some(path_length)),
        Extension::key_usage(&BTreeSet::from([KeyUsage::KeyCertSign, KeyUsage::CrlSign])),
    ];
    extensions.extend_from_slice(bounds);
    extensions.push(key_identifier.cloned().unwrap_or_else(|| Extension::subject_key_identifier(public_key)));
    extensions
}

impl CertificateAuthority {
    /// Signs a CA certificate. It must not leave before it is recorded.
    pub(in crate::ca) async fn sign_ca(
        &self,
        template: &CaTemplate,
        public_key: &PublicKey,
        signatory: &Signatory<'_>,
    ) -> Result<Certificate> {
        let mut extensions =
            own_extensions(template.path_length, &template.bounds, public_key, template.key_identifier.as_ref());
        extensions.extend_from_slice(&signatory.pointers);
        let to_be_signed = linted(&CertificateTemplate {
            serial: &self.new_serial()?,
            signature_algorithm: signatory.signer.signature_algorithm(),
            issuer: signatory.name,
            not_before: template.period.not_before,
            not_after: template.period.not_after,
            subject: &template.subject,
            public_key,
            extensions: &extensions,
        })?;
        Certificate::from_der(&sign_with(signatory.signer, to_be_signed).await?)
    }
}
