//! Cross-signing: an issuer here certifies the key of another CA, so that whoever trusts the one believes what the other signs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::certify::{CaBounds, CaTemplate, bounds_of, key_identifier_of, period};
use super::{AnyIssuer, described, inventory_entry, refuse_ungranted, with};
use crate::auth::permission::ManageIssuers;
use crate::auth::{Authorized, Caller};
use crate::ca::CertificateAuthority;
use crate::ca::issuance::{Idempotency, Issued, recorded};
use crate::ca::issuer::Issuer;
use crate::error::{Error, Result, Violation};
use crate::policy::RequestedValidity;
use crate::storage::{
    AuditEvent, AuditOutcome, IdempotencyResult, Issuance, NewCertificate, NewIssuerCertificate, Recorded, SignedBy,
    Source,
};
use crate::x509::extension::Extension;
use crate::x509::{Certificate, KeyUsage};

/// A request to certify another CA.
#[derive(Clone, Debug)]
pub struct CrossSigningRequest {
    /// The other CA's certificate and, unless it signed itself or an issuer here signed it, that which verifies it.
    pub certificates: Vec<Certificate>,
    /// The validity; until either CA ends if absent.
    pub validity: Option<RequestedValidity>,
    /// The bounds; where one is absent that of the CA's own certificate holds, and for the path length what the issuer's chain allows.
    pub bounds: CaBounds,
    /// The idempotency key.
    pub idempotency: Option<Idempotency>,
}

impl CertificateAuthority {
    /// Certifies another CA. When it is an issuer here, the certificate gives that an alternate chain.
    ///
    /// # Errors
    /// `Malformed` when it is no CA or nothing shows that the CA has the key; `PolicyViolation` for a weak key or what the issuer's chain does
    /// not allow; `Conflict` when the issuer cannot sign; `NotFound`; `Forbidden`; `IdempotencyKeyReused`.
    pub async fn cross_sign(
        &self,
        authorization: &Authorized<ManageIssuers>,
        reference: &str,
        request: CrossSigningRequest,
    ) -> Result<Issued> {
        let caller = authorization.caller();
        if let Some(issued) = self.replay(caller, request.idempotency.as_ref()).await? {
            return Ok(issued);
        }
        let object = format!("issuer:{}", reference.escape_default());
        let outcome = self.certify(caller, reference, request).await;
        self.audited(caller, "issuer.cross_sign", object, outcome).await
    }

    async fn certify(&self, caller: &Caller, reference: &str, request: CrossSigningRequest) -> Result<Issued> {
        // What another replica did a moment ago counts.
        self.refresh().await?;
        request.bounds.check()?;
        let issuer = self.signing_parent(caller, reference)?;
        let Some((subject, above)) = request.certificates.split_first() else {
            return Err(Error::malformed("there is no certificate of the other CA"));
        };
        self.check_other(&issuer, subject, above).await?;
        if let Some(known) = self.issuer_of(subject) {
            // It gets one more chain.
            refuse_ungranted(caller, &known.name)?;
        }
        let template = self.cross_template(&issuer, subject, &request)?;
        let violations = issuer.judge(&template)?;
        if !violations.is_empty() {
            return Err(Error::policy(violations));
        }
        let signatory = issuer.signatory(&self.settings)?;
        let certificate = self.sign_ca(&template, &subject.public_key, &signatory).await?;
        let entry = NewCertificate {
            issuer_id: issuer.id,
            ..inventory_entry(caller, &certificate, Source::Internal, self.clock.now())
        };
        let event = with(described(&certificate), "issuer", json!(issuer.path_name));
        let object = format!("certificate:{}", certificate.serial);
        let audit = self.event(caller, "issuer.cross_sign", AuditOutcome::Success, object, event);
        self.record_cross(caller, &issuer, entry, audit, request.idempotency.as_ref()).await
    }

    /// Records the certificate: beside those of an issuer here when it is for one, else in the inventory alone.
    async fn record_cross(
        &self,
        caller: &Caller,
        issuer: &Arc<Issuer>,
        entry: NewCertificate,
        audit: AuditEvent,
        idempotency: Option<&Idempotency>,
    ) -> Result<Issued> {
        let certificate = Certificate::from_der(&entry.der)?;
        let claim = idempotency.map(|idempotency| self.claim(caller, idempotency));
        let record = recorded(&entry);
        let is_recorded = match self.issuer_of(&certificate) {
            Some(known) => {
                let new = NewIssuerCertificate {
                    inventory: Some(entry.clone()),
                    ..self.issuer_certificate(caller, &certificate, SignedBy::Issuer(issuer.id))
                };
                let claim = claim.map(|claim| (claim, IdempotencyResult::Certificate(entry.serial.clone())));
                let added = self.storage.add_issuer_certificate(known.id, new, false, Vec::new(), claim, audit).await?;
                self.refresh().await?;
                added
            }
            None => {
                let issuance = Issuance {
                    certificate: entry,
                    audit: audit.with_written_details()?,
                    idempotency: claim,
                    order: None,
                };
                self.storage.record_issuance(issuance).await? == Recorded::Committed
            }
        };
        if is_recorded {
            let certificate = self.view_with(record, certificate, Arc::clone(issuer));
            return Ok(Issued { certificate: Box::new(certificate), replayed: false });
        }
        // What was signed here is dropped and never leaves: its key was blocked meanwhile, or another request was recorded first.
        self.refuse_blocked(&certificate.public_key.spki_sha256(), "certificate").await?;
        let replayed = self.replay(caller, idempotency).await?;
        replayed.ok_or_else(|| Error::internal("a cross-certificate was not recorded, and nobody else was first"))
    }

    /// Finds the issuer here whose name and key a certificate has.
    fn issuer_of(&self, certificate: &Certificate) -> Option<Arc<Issuer>> {
        let issuers = self.issuers();
        let is_for = |known: &&Arc<Issuer>| {
            known.certificate.public_key == certificate.public_key
                && known.certificate.subject.as_der() == certificate.subject.as_der()
        };
        issuers.all().iter().find(is_for).cloned()
    }

    /// Checks that the other certificate is a CA's that has its key, and that the key may be certified.
    async fn check_other(&self, issuer: &Issuer, subject: &Certificate, above: &[Certificate]) -> Result<()> {
        let name = &subject.subject;
        let signs = subject.key_usage.as_ref().is_none_or(|usages| usages.contains(&KeyUsage::KeyCertSign));
        if subject.certificate_authority.is_none() || !signs {
            return Err(Error::malformed(format!(
                "`{name}` is not a CA that signs certificates; a certificate for anybody else is issued under a profile"
            )));
        }
        if subject.public_key == issuer.certificate.public_key {
            return Err(Error::malformed(format!("`{name}` has the key of the issuer `{}` itself", issuer.path_name)));
        }
        let issuers = self.issuers();
        let is_verified = subject.is_self_signed()
            || above.first().is_some_and(|above| subject.verify_issued_by(above).is_ok())
            || issuers.all().iter().any(|issuer| subject.verify_issued_by(&issuer.certificate).is_ok());
        if !is_verified {
            return Err(Error::malformed(format!(
                "the signature of the certificate of `{name}` cannot be verified; send the certificate of `{}` after it",
                subject.issuer
            )));
        }
        let key = subject.public_key.spki_sha256();
        let is_its_own = |known: &AnyIssuer| known.record().spki_sha256 == key;
        if let Some(known) = issuers.named(name, |_| false)?
            && issuers.named(name, |known| !is_its_own(known))?.is_none()
        {
            // Its CRLs and certificates would pass for those of our issuer (RFC 5280, section 4.1.2.6).
            return Err(Error::malformed(format!(
                "`{name}` is the subject of the issuer `{}` here, whose key is another one; no other CA may have its name",
                known.path_name()
            )));
        }
        self.check_other_key(subject).await
    }

    async fn check_other_key(&self, subject: &Certificate) -> Result<()> {
        let key = &subject.public_key;
        let violation = |code, rule: &str, message| Violation {
            code,
            field: "certificate".to_owned(),
            value: key.algorithm_name(),
            rule: rule.to_owned(),
            message,
        };
        let mut violations: Vec<Violation> = key
            .weaknesses()
            .into_iter()
            .map(|weakness| violation(weakness.code, "weak keys", weakness.message))
            .collect();
        if let Err(name) = key.algorithm() {
            let message = format!("keys of the algorithm `{name}` are not supported");
            violations.push(violation("key_not_allowed", "supported key algorithms", message));
        }
        if self.storage.key_is_blocked(&key.spki_sha256()).await? {
            let message = "the key was reported as compromised and is never certified again".to_owned();
            violations.push(violation("key_blocked", "blocked keys", message));
        }
        if violations.is_empty() { Ok(()) } else { Err(Error::policy(violations)) }
    }

    fn cross_template(
        &self,
        issuer: &Issuer,
        subject: &Certificate,
        request: &CrossSigningRequest,
    ) -> Result<CaTemplate> {
        let now = self.clock.now();
        let end = subject.not_after.min(issuer.certificate.not_after);
        let length = end.since(now) + Duration::from_secs(1);
        let period = period(now, request.validity.as_ref(), length, Some(&issuer.certificate))?;
        if period.not_after > subject.not_after {
            return Err(Error::malformed(format!(
                "a certificate until `{}` would outlast the CA, whose own ends on `{}`",
                period.not_after, subject.not_after
            )));
        }
        let below = issuer.limits.remaining_path_length().map(|remaining| remaining.saturating_sub(1));
        let own = subject.certificate_authority.flatten();
        let narrower = own.map_or(below, |own| Some(below.map_or(own, |below| below.min(own))));
        Ok(CaTemplate {
            subject: subject.subject.clone(),
            period,
            path_length: request.bounds.path_length.or(narrower),
            bounds: merged(request.bounds.extensions(), bounds_of(subject)),
            key_identifier: key_identifier_of(subject),
        })
    }
}

/// Lets what was asked for stand in the place of what the certificate has.
fn merged(asked: Vec<Extension>, present: Vec<Extension>) -> Vec<Extension> {
    let kept: Vec<Extension> =
        present.into_iter().filter(|extension| asked.iter().all(|asked| asked.oid != extension.oid)).collect();
    kept.into_iter().chain(asked).collect()
}
