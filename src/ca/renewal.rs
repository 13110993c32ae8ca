//! Renews certificates: same names and profile, new validity, the policy and the caller's rights judged anew.

use std::collections::{BTreeMap, BTreeSet};

use super::issuance::{Idempotency, Issued, Purpose};
use super::{CertificateAuthority, CertificateReference, CertificateView, IssuanceRequest};
use crate::auth::Authorized;
use crate::auth::permission::RenewCertificates;
use crate::error::{Error, Result, Violation};
use crate::policy::{Adjustments, RequestedSubjectAltName, RequestedValidity, TypedName};
use crate::storage::{CertificateStatus, Source};
use crate::x509::csr::RequestedName;
use crate::x509::{Certificate, CertificateRequest, SubjectAltName};

/// A request to renew.
#[derive(Clone, Debug)]
pub struct RenewalRequest {
    /// The certificate to renew.
    pub certificate: CertificateReference,
    /// A new CSR, whose names must be those of the certificate (or none); without one the same key is certified again, if the profile allows.
    pub csr: Option<CertificateRequest>,
    /// The new validity; the profile's default if absent.
    pub validity: Option<RequestedValidity>,
    /// New labels; those of the certificate if absent.
    pub labels: Option<BTreeMap<String, String>>,
    /// The idempotency key.
    pub idempotency: Option<Idempotency>,
}

impl CertificateAuthority {
    /// Renews a certificate that the caller may see. The old one stays as it is.
    ///
    /// # Errors
    /// As for issuing; `NotFound`; `Conflict` when the certificate is expired, revoked, on hold or the service's own.
    pub async fn renew(
        &self,
        authorization: &Authorized<RenewCertificates>,
        request: RenewalRequest,
    ) -> Result<Issued> {
        let caller = authorization.caller();
        let reference = request.certificate.clone();
        let serial = reference.serial.clone();
        let purpose = Purpose { caller, action: "certificate.renew", renews: Some(&serial), acme: None };
        // Before anything else: by now the old certificate may be revoked or expired, and the answer is still the first one.
        if let Some(issued) = self.replay(caller, request.idempotency.as_ref()).await? {
            return Ok(issued);
        }
        let prepared = async {
            let old = self.visible_certificate(authorization.owner(), &reference).await?;
            self.renewal_of(old, request)
        };
        match prepared.await {
            Ok(request) => self.issue_audited(purpose, Box::new(request)).await,
            Err(error) => {
                Err(self.record_refusal(caller, purpose.action, format!("certificate:{serial}"), error).await)
            }
        }
    }

    fn renewal_of(&self, old: CertificateView, request: RenewalRequest) -> Result<IssuanceRequest> {
        let CertificateView { record, certificate, status, issuer } = old;
        if record.source == Source::Internal {
            return Err(Error::conflict("the service's own certificates renew themselves"));
        }
        match status {
            CertificateStatus::Valid => {}
            CertificateStatus::OnHold => return Err(not_renewable("on hold; release it first")),
            CertificateStatus::Revoked => return Err(not_renewable("revoked; issue a new one")),
            CertificateStatus::Expired => return Err(not_renewable("expired; issue a new one")),
        }
        let (csr, adjustments) = match request.csr {
            Some(csr) => {
                let violations = differences(&certificate, &csr);
                if !violations.is_empty() {
                    return Err(Error::policy(violations));
                }
                (csr, same_subject_and_names(&certificate, request.validity))
            }
            None => {
                self.refuse_same_key(&record.profile)?;
                let adjustments = Adjustments { validity: request.validity, ..Adjustments::default() };
                (CertificateRequest::from_certificate(&certificate), adjustments)
            }
        };
        // The same issuer where the profile still admits it, else the one that the profile leads to now.
        let named = self
            .active_profile(&record.profile)
            .filter(|profile| profile.compiled.profile().additional_issuers.contains(&issuer.name))
            .map(|_profile| issuer.name.clone());
        Ok(IssuanceRequest {
            csr,
            profile: record.profile,
            issuer: named,
            adjustments,
            labels: request.labels.unwrap_or(record.labels),
            source: Source::Rest,
            idempotency: request.idempotency,
            order: None,
        })
    }

    fn refuse_same_key(&self, profile: &str) -> Result<()> {
        let Some(active) = self.active_profile(profile) else { return Ok(()) };
        if active.compiled.profile().renew_same_key {
            return Ok(());
        }
        Err(Error::policy(vec![Violation {
            code: "same_key_not_allowed",
            field: "csr".to_owned(),
            value: String::new(),
            rule: format!("profiles.{profile}.renew_same_key"),
            message: format!("the profile `{profile}` wants a new key for each renewal: send a `csr` made with one"),
        }]))
    }
}

fn not_renewable(why: &str) -> Error {
    Error::conflict(format!("the certificate is {why}"))
}

/// Tells where a CSR asks for something else than the certificate holds. It may leave subject and names out.
fn differences(certificate: &Certificate, csr: &CertificateRequest) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut differ = |code, field: &str, asked: String, held: String| {
        violations.push(Violation {
            code,
            field: field.to_owned(),
            message: format!(
                "a renewal keeps what the certificate holds, `{held}`; issue a new certificate for `{asked}`"
            ),
            value: asked,
            rule: "renewal".to_owned(),
        });
    };
    if !csr.subject().is_empty() && csr.subject().as_der() != certificate.subject.as_der() {
        differ("subject_differs", "csr.subject", csr.subject().to_string(), certificate.subject.to_string());
    }
    let held: BTreeSet<String> = certificate.names.iter().map(ToString::to_string).collect();
    let asked: BTreeSet<String> = csr.requested().names.iter().map(requested_text).collect();
    if !asked.is_empty() && asked != held {
        let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
        differ("names_differ", "csr.subject_alt_names", list(&asked), list(&held));
    }
    violations
}

fn requested_text(name: &RequestedName) -> String {
    match name {
        RequestedName::Name(name) => name.to_string(),
        RequestedName::Malformed(name) => name.value.clone(),
        RequestedName::Unsupported { kind, value } => format!("{kind}:{value}"),
    }
}

fn same_subject_and_names(certificate: &Certificate, validity: Option<RequestedValidity>) -> Adjustments {
    let attributes = certificate.subject.attributes().iter();
    let subject: Vec<_> =
        attributes.filter_map(|attribute| Some((attribute.attribute_type?, attribute.value.clone()))).collect();
    let typed = |name: &SubjectAltName| {
        RequestedSubjectAltName::Typed(TypedName { name_type: name.name_type(), value: name.value() })
    };
    Adjustments {
        subject: (!subject.is_empty()).then_some(subject),
        subject_alt_names: certificate.names.iter().map(typed).collect(),
        validity,
        not_before: None,
    }
}
