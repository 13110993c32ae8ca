//! Outside signing: the request of an issuer for its certificate goes out, and the certificate that somebody else signed comes in, once the
//! match of the two has been checked.

use std::sync::Arc;

use serde_json::json;

use super::{AnyIssuer, ChangedIssuer, change_of, described, inventory_entry, no_issuer, refuse_ungranted, with};
use crate::auth::permission::{ManageIssuers, ReadIssuers};
use crate::auth::{Authorized, Caller};
use crate::ca::CertificateAuthority;
use crate::ca::issuer::Issuer;
use crate::error::{Error, Result};
use crate::storage::{AuditOutcome, IssuerChange, IssuerState, NewIssuerCertificate, SignedBy, Source};
use crate::x509::{Certificate, CertificateRequest, KeyUsage, Timestamp, chain};

/// A certificate that somebody signed for an issuer here.
#[derive(Clone, Debug)]
pub struct OutsideCertificate {
    /// The certificate and those above it, in any order.
    pub certificates: Vec<Certificate>,
    /// Whether it stands beside the issuer's present certificate rather than in its place.
    pub alternate: bool,
    /// Whether an issuer that waited for it stays staged rather than become active.
    pub staged: bool,
}

impl CertificateAuthority {
    /// Returns the request for an issuer's certificate.
    ///
    /// # Errors
    /// `NotFound` when there is no such issuer, or nobody outside was ever asked to sign it.
    pub async fn issuer_csr(
        &self,
        authorization: &Authorized<ReadIssuers>,
        reference: &str,
    ) -> Result<CertificateRequest> {
        let found = self.find_issuer(authorization, |issuers| issuers.expecting(reference)).await?;
        let issuer = found.ok_or_else(|| no_issuer(&self.issuers(), reference))?;
        let csr = issuer.record().csr.as_deref().ok_or_else(|| {
            Error::not_found(format!(
                "the issuer `{}` has no request for a certificate; one is made by a rollover with `outside`",
                issuer.path_name()
            ))
        })?;
        CertificateRequest::parse(csr)
    }

    /// Takes a certificate that somebody signed for an issuer: its first one, which makes it active; a new one in place of the present; or one
    /// beside it.
    ///
    /// # Errors
    /// `Malformed` when it is not for this issuer or does not verify; `PolicyViolation` when the issuer's key is blocked; `NotFound`; `Conflict`;
    /// `Forbidden` outside the caller's grants.
    pub async fn install_certificate(
        &self,
        authorization: &Authorized<ManageIssuers>,
        reference: &str,
        outside: OutsideCertificate,
    ) -> Result<ChangedIssuer> {
        let caller = authorization.caller();
        let object = format!("issuer:{}", reference.escape_default());
        let outcome = self.install(caller, reference, outside).await;
        self.audited(caller, "issuer.certificate", object, outcome).await
    }

    async fn install(&self, caller: &Caller, reference: &str, outside: OutsideCertificate) -> Result<ChangedIssuer> {
        // What another replica did a moment ago counts.
        self.refresh().await?;
        let issuers = self.issuers();
        let target =
            if outside.alternate { issuers.by_reference(reference).cloned().map(AnyIssuer::Ready) } else { None };
        let target = target.or_else(|| issuers.expecting(reference)).ok_or_else(|| no_issuer(&issuers, reference))?;
        refuse_ungranted(caller, target.name())?;
        if target.record().state == IssuerState::Disabled {
            return Err(Error::conflict(format!("the issuer `{}` is disabled", target.path_name())));
        }
        let (certificate, above) = self.matching(&target, outside.certificates)?;
        if target.record().certificates.iter().any(|known| known.der == certificate.as_der()) {
            return Ok(ChangedIssuer { issuer: target, replayed: true });
        }
        self.refuse_blocked(&target.record().spki_sha256, "certificate").await?;
        let (signed_by, upper_chain) = self.signer_of(&certificate, &above)?;
        let event = with(described(&certificate), "alternate", json!(outside.alternate));
        let object = format!("issuer:{}", target.path_name());
        let audit = self.event(caller, "issuer.certificate", AuditOutcome::Success, object, event);
        let changes = match &target {
            AnyIssuer::Pending(_) if outside.alternate => {
                return Err(Error::conflict(
                    "an issuer needs a certificate of its own before another stands beside it",
                ));
            }
            AnyIssuer::Pending(_) if outside.staged => vec![change_of(target.record())],
            AnyIssuer::Pending(_) => self.activation_of(&target),
            AnyIssuer::Ready(_) => vec![change_of(target.record())],
        };
        let new = NewIssuerCertificate {
            upper_chain,
            inventory: self.unknown_entry(caller, &certificate, &signed_by).await?,
            ..self.issuer_certificate(caller, &certificate, signed_by)
        };
        let id = target.record().id;
        if !self.storage.add_issuer_certificate(id, new, !outside.alternate, changes, None, audit).await? {
            self.refresh().await?;
            self.refuse_blocked(&target.record().spki_sha256, "certificate").await?;
            return Err(Error::conflict(format!(
                "the issuer `{}` was changed meanwhile; look at it and try again",
                target.path_name()
            )));
        }
        self.changed(target.path_name()).await
    }

    /// Finds the certificate that is for this issuer, checks it and those above it.
    fn matching(&self, target: &AnyIssuer, certificates: Vec<Certificate>) -> Result<(Certificate, Vec<Certificate>)> {
        let of_key = |certificate: &Certificate| certificate.public_key.spki_sha256() == target.record().spki_sha256;
        check_signatures(&certificates)?;
        let mut chain = chain::order(certificates)?;
        let certificate = if chain.is_empty() { None } else { Some(chain.remove(0)) };
        let certificate = certificate.filter(of_key).ok_or_else(|| {
            Error::malformed(format!(
                "the first certificate of the chain is not for the key of `{}` (public key info SHA-256 `{}`)",
                target.path_name(),
                hex::encode(target.record().spki_sha256)
            ))
        })?;
        let subject = target.subject()?;
        if certificate.subject.as_der() != subject.as_der() {
            return Err(Error::malformed(format!(
                "the certificate is for the subject `{}`, not for `{subject}` (octet for octet), as was asked for",
                certificate.subject
            )));
        }
        Self::check_authority(&certificate)?;
        let now = self.clock.now();
        for certificate in std::iter::once(&certificate).chain(&chain) {
            check_time(certificate, now)?;
            refuse_what_is_not_understood(certificate)?;
        }
        Ok((certificate, chain))
    }

    fn check_authority(certificate: &Certificate) -> Result<()> {
        let may = |usage| certificate.key_usage.as_ref().is_none_or(|usages| usages.contains(&usage));
        if certificate.certificate_authority.is_none() || !may(KeyUsage::KeyCertSign) || !may(KeyUsage::CrlSign) {
            return Err(Error::malformed(
                "the certificate is not one of a CA that signs certificates and CRLs: it needs basic constraints with `CA:TRUE` and the key \
                 usages `key_cert_sign` and `crl_sign`",
            ));
        }
        Ok(())
    }

    /// Finds who signed the certificate: an issuer here, else the first of those that came with it, which are then kept.
    fn signer_of(&self, certificate: &Certificate, above: &[Certificate]) -> Result<(SignedBy, Vec<Vec<u8>>)> {
        let issuers = self.issuers();
        let here = |issuer: &&Arc<Issuer>| certificate.verify_issued_by(&issuer.certificate).is_ok();
        let (parent, signed_by, kept) = match (issuers.all().iter().find(here), above) {
            _ if certificate.is_self_signed() => return Ok((SignedBy::Itself, Vec::new())),
            (Some(issuer), _) => {
                check_time(&issuer.certificate, self.clock.now())?;
                refuse_too_deep(certificate, issuer)?;
                (&issuer.certificate, SignedBy::Issuer(issuer.id), &[][..])
            }
            (None, [first, ..]) => (first, SignedBy::Outside, above),
            (None, []) => {
                return Err(Error::malformed(format!(
                    "the certificate is signed by `{}`, which is no issuer here; send the certificates above it, too",
                    certificate.issuer
                )));
            }
        };
        // RFC 5280, section 4.2.1.1: verifiers choose the issuer's certificate by it.
        if let (Some(authority), Some(subject)) =
            (&certificate.authority_key_identifier, &parent.subject_key_identifier)
            && authority != subject
        {
            return Err(Error::malformed(format!(
                "the authority key identifier of the certificate is `{}`; that of `{}` is `{}`",
                hex::encode(authority),
                parent.subject,
                hex::encode(subject)
            )));
        }
        Ok((signed_by, kept.iter().map(|certificate| certificate.as_der().to_vec()).collect()))
    }

    /// Makes the inventory's entry of a certificate that an issuer here signed and that is not there yet.
    async fn unknown_entry(
        &self,
        caller: &Caller,
        certificate: &Certificate,
        signed_by: &SignedBy,
    ) -> Result<Option<crate::storage::NewCertificate>> {
        match signed_by {
            SignedBy::Outside | SignedBy::New(_) => return Ok(None),
            SignedBy::Itself | SignedBy::Issuer(_) => {}
        }
        let recorded = self.storage.certificates_by_serial(&certificate.serial).await?;
        if recorded.iter().any(|record| record.der == certificate.as_der()) {
            return Ok(None);
        }
        Ok(Some(inventory_entry(caller, certificate, Source::Import, self.clock.now())))
    }

    /// Makes the changes that lead to this generation being the active one of its name: the one before retires, and hands on that it is the
    /// default issuer.
    pub(super) fn activation_of(&self, target: &AnyIssuer) -> Vec<IssuerChange> {
        let issuers = self.issuers();
        let before = issuers.generations(target.name()).find(|issuer| issuer.state == IssuerState::Active);
        let mut changes = Vec::new();
        if let Some(before) = before.filter(|before| before.id != target.record().id) {
            changes.push(IssuerChange { state: Some(IssuerState::Retired), ..change_of(&before.record) });
        }
        let was_default = issuers.generations(target.name()).any(|issuer| issuer.is_default);
        let is_default = (was_default || issuers.default_issuer().is_none()).then_some(true);
        changes.push(IssuerChange { state: Some(IssuerState::Active), is_default, ..change_of(target.record()) });
        changes
    }
}

/// Refuses what is signed with an algorithm that is not accepted, before it is taken for a signature that does not verify.
fn check_signatures(certificates: &[Certificate]) -> Result<()> {
    // The signature of a root means nothing: whoever trusts it trusts the key as it is.
    for certificate in certificates.iter().filter(|certificate| !certificate.is_self_issued()) {
        certificate.signature_algorithm().map_err(|error| {
            let subject = &certificate.subject;
            Error::malformed(format!("the certificate `{subject}` cannot be taken: {error}")).with_source(error)
        })?;
    }
    Ok(())
}

fn check_time(certificate: &Certificate, now: Timestamp) -> Result<()> {
    if certificate.not_before > now || certificate.not_after < now {
        return Err(Error::malformed(format!(
            "the certificate `{}` is valid from `{}` to `{}`, not now",
            certificate.subject, certificate.not_before, certificate.not_after
        )));
    }
    Ok(())
}

/// Every verifier would reject what is signed below such a certificate.
fn refuse_what_is_not_understood(certificate: &Certificate) -> Result<()> {
    let not_understood = certificate.not_understood();
    if not_understood.is_empty() {
        return Ok(());
    }
    Err(Error::malformed(format!(
        "the certificate `{}` has what is not understood here (RFC 5280, section 4.2): {}",
        certificate.subject,
        not_understood.join("; ")
    )))
}

/// Refuses a certificate of a CA below an issuer here whose chain admits none.
fn refuse_too_deep(certificate: &Certificate, issuer: &Issuer) -> Result<()> {
    if certificate.is_self_issued() || issuer.limits.remaining_path_length() != Some(0) {
        return Ok(());
    }
    Err(Error::malformed(format!(
        "the certificate is signed by the issuer `{}`, whose path length admits no CA below it",
        issuer.path_name
    )))
}
