//! Rollover: a new key under the same name, or a new certificate for the same key. What the earlier key signed stays valid under its own
//! certificate, and its CRLs and OCSP answers go on.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::certify::{CaTemplate, Period, Signatory, bounds_of, key_identifier_of, own_extensions, period};
use super::creation::make_csr;
use super::key_making::{KeyMaker, NewKeyPlace};
use super::{AnyIssuer, ChangedIssuer, change_of, described, no_issuer, refuse_ungranted, with};
use crate::auth::permission::ManageIssuers;
use crate::auth::{Authorized, Caller};
use crate::ca::CertificateAuthority;
use crate::ca::issuance::Idempotency;
use crate::ca::issuer::{Issuer, Issuers};
use crate::error::{Error, Result, Violation};
use crate::policy::{self, RequestedValidity};
use crate::signer::Signer;
use crate::storage::{
    AuditOutcome, CertificateState, IssuerChange, IssuerState, KeyLocation, NewIssuer, NewIssuerCertificate, SignedBy,
};
use crate::x509::crl::RevocationReason;
use crate::x509::{Certificate, KeyAlgorithm};

/// A request to roll an issuer over.
#[derive(Clone, Debug, Default)]
pub struct RolloverRequest {
    /// The kind of the new key; that of the present one if absent.
    pub key: Option<KeyAlgorithm>,
    /// Where the new key is kept; in the same kind of place as the present one (a new file, the same token) if absent.
    pub place: Option<NewKeyPlace>,
    /// The validity; as long as that of the present certificate, or until the signing issuer ends, if absent.
    pub validity: Option<RequestedValidity>,
    /// Whether the new generation exists only and signs nothing for others yet.
    pub staged: bool,
    /// Whether the key stays and only gets a new certificate.
    pub renew_only: bool,
    /// Whether somebody outside is to sign, though an issuer here signed the present certificate.
    pub outside: bool,
    /// Whether a root does without the certificates that the old and the new key sign for each other (RFC 4210, section 4.4).
    pub without_cross_certificates: bool,
    /// The newest generation that the caller knows of: when there is another by now, nothing is done.
    pub expected_generation: Option<i32>,
    /// The idempotency key.
    pub idempotency: Option<Idempotency>,
}

/// Who signs the next certificate of an issuer.
enum NextSigner {
    Itself,
    Parent(Arc<Issuer>),
    Outside,
}

impl CertificateAuthority {
    /// Rolls an issuer over.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when another generation is staged or waits already, the generation is not the expected one, or the parent cannot
    /// sign, or `renew_only` would certify a key whose certificate was revoked for a reason that may be the key; `PolicyViolation` for what
    /// the parent does not allow and for a blocked key; `Unavailable` when a key that must sign is not at hand; `Forbidden`.
    pub async fn roll_over(
        &self,
        authorization: &Authorized<ManageIssuers>,
        reference: &str,
        request: RolloverRequest,
    ) -> Result<ChangedIssuer> {
        let caller = authorization.caller();
        if let Some(replayed) = self.replay_issuer(caller, request.idempotency.as_ref()).await? {
            return Ok(replayed);
        }
        let action = if request.renew_only { "issuer.renew" } else { "issuer.rollover" };
        let object = format!("issuer:{}", reference.escape_default());
        let outcome = async {
            // What another replica did a moment ago counts.
            self.refresh().await?;
            let issuers = self.issuers();
            let present = find(&issuers, reference, &request)?;
            refuse_ungranted(caller, &present.name)?;
            if request.renew_only {
                self.refuse_renewal(&present).await?;
            }
            let signer = self.next_signer(caller, &present, &request)?;
            if request.renew_only {
                self.renew_issuer(caller, &present, signer, &request).await
            } else {
                self.next_generation(caller, &present, signer, &request).await
            }
        }
        .await;
        self.audited(caller, action, object, outcome).await
    }

    /// Decides who signs: whoever signed the present certificate, by the key it has now.
    fn next_signer(&self, caller: &Caller, present: &Issuer, request: &RolloverRequest) -> Result<NextSigner> {
        let issuers = self.issuers();
        let parent = present.record.certificates.first().and_then(|certificate| certificate.parent_id);
        let parent = parent.and_then(|id| issuers.by_id(id)).map(|parent| parent.name.as_str());
        match parent {
            _ if request.outside => Ok(NextSigner::Outside),
            Some(parent) if parent != present.name => self.signing_parent(caller, parent).map(NextSigner::Parent),
            Some(_) | None if present.certificate.is_self_signed() => Ok(NextSigner::Itself),
            Some(_) | None => Ok(NextSigner::Outside),
        }
    }

    async fn next_generation(
        &self,
        caller: &Caller,
        present: &Arc<Issuer>,
        signer: NextSigner,
        request: &RolloverRequest,
    ) -> Result<ChangedIssuer> {
        let generation = next_generation_of(&self.issuers(), present);
        let place = match &request.place {
            Some(place) => place.clone(),
            None => self.same_kind_of_place(present)?,
        };
        let place = self.issuer_key_place(&place, &format!("{}.{generation}", present.name))?;
        let maker = self.key_maker(place).await?;
        let outcome = self.next_generation_with(caller, (present, generation), signer, request, &maker).await;
        maker.finish(outcome).await
    }

    /// A key does not move out of a file or a token by an omission.
    fn same_kind_of_place(&self, present: &Issuer) -> Result<NewKeyPlace> {
        Ok(match &present.record.key {
            KeyLocation::Database(_) => NewKeyPlace::Database,
            KeyLocation::File(_) => NewKeyPlace::File(None),
            KeyLocation::Pkcs11(uri) => NewKeyPlace::Pkcs11(self.keys.tokens().name_of(uri)?),
        })
    }

    async fn next_generation_with(
        &self,
        caller: &Caller,
        (present, generation): (&Arc<Issuer>, i32),
        signer: NextSigner,
        request: &RolloverRequest,
        maker: &KeyMaker<'_>,
    ) -> Result<ChangedIssuer> {
        if maker.waited() {
            if let Some(replayed) = self.replay_issuer(caller, request.idempotency.as_ref()).await? {
                return Ok(replayed);
            }
            self.refresh().await?;
        }
        let issuers = self.issuers();
        // As the place of the key was decided, so it stays.
        if next_generation_of(&issuers, present) != generation {
            return Err(meanwhile(present));
        }
        let path_name = format!("{}.{generation}", present.name);
        let algorithm = match request.key {
            Some(algorithm) => algorithm,
            None => present.record.key_algorithm.parse()?,
        };
        // Everything that can be refused is, before a key is made.
        let template = self.next_template(present, &signer, request)?;
        let wants_pair = matches!(signer, NextSigner::Itself) && !request.without_cross_certificates;
        let is_cross_signed = wants_pair && self.clock.now() < present.certificate.not_after;
        if wants_pair && !is_cross_signed {
            tracing::warn!(issuer = %present.path_name, "it has ended: nobody would believe certificates of the old and the new key for each other, so there are none");
        }
        if is_cross_signed {
            self.refuse_crossing(present).await?;
        }
        if is_cross_signed && !present.can_sign() {
            return Err(Error::conflict(format!(
                "the key of `{}` is not at hand to sign for the new one; bring it back, or ask for none with `cross_certificates`: false",
                present.path_name
            )));
        }
        let (key, new_signer) = maker.make(algorithm).await?;
        let mut new = NewIssuer {
            base_name: present.name.clone(),
            generation,
            state: if request.staged { IssuerState::Staged } else { IssuerState::Active },
            is_default: false,
            settings: present.record.settings.clone(),
            key: key.clone(),
            csr: None,
            certificate: None,
            crl_number: 0,
            retires: issuers
                .generations(&present.name)
                .filter(|issuer| !request.staged && issuer.state == IssuerState::Active)
                .map(|issuer| issuer.id)
                .collect(),
            cross_certificates: Vec::new(),
            audit: self.event(caller, "issuer.rollover", AuditOutcome::Success, String::new(), json!({})),
        };
        let mut details = json!({ "key_algorithm": key.algorithm, "generation": generation });
        if let Some(template) = template {
            let (certificate, signed_by) = self.sign_next(&template, &signer, &new_signer).await?;
            details = with(described(&certificate), "generation", json!(generation));
            new.certificate = Some(self.issuer_certificate(caller, &certificate, signed_by));
            if is_cross_signed {
                new.cross_certificates = self.cross_pair(caller, present, &certificate, &new_signer).await?;
            }
        } else {
            new.state = IssuerState::Staged;
            new.retires.clear();
            new.csr = Some(self.next_csr(present, &new_signer).await?);
        }
        let details = with(details, "state", json!(new.state));
        let object = format!("issuer:{path_name}");
        new.audit = self.event(caller, "issuer.rollover", AuditOutcome::Success, object, details);
        let claim = self.issuer_claim(caller, request.idempotency.as_ref(), &path_name)?;
        if self.storage.create_issuers(vec![new], claim).await? {
            return self.changed(&path_name).await;
        }
        let detail = meanwhile(present).detail().to_owned();
        self.lost(caller, request.idempotency.as_ref(), detail).await
    }

    /// Makes what the next certificate says; `None` when somebody else decides.
    fn next_template(
        &self,
        present: &Issuer,
        signer: &NextSigner,
        request: &RolloverRequest,
    ) -> Result<Option<CaTemplate>> {
        let parent = match signer {
            NextSigner::Outside if request.validity.is_some() => {
                return Err(Error::malformed("whoever signs the certificate outside decides how long it is valid"));
            }
            NextSigner::Outside => return Ok(None),
            NextSigner::Itself => None,
            NextSigner::Parent(parent) => Some(parent),
        };
        let before = &present.certificate;
        let length = before.not_after.since(before.not_before) + Duration::from_secs(1);
        let issuer = parent.map(|parent| &parent.certificate);
        let template = CaTemplate {
            subject: before.subject.clone(),
            period: period(self.clock.now(), request.validity.as_ref(), length, issuer)?,
            path_length: before.certificate_authority.flatten(),
            bounds: bounds_of(before),
            key_identifier: request.renew_only.then(|| key_identifier_of(before)).flatten(),
        };
        let violations = parent.map(|parent| parent.judge(&template)).transpose()?.unwrap_or_default();
        if violations.is_empty() { Ok(Some(template)) } else { Err(Error::policy(violations)) }
    }

    async fn sign_next(
        &self,
        template: &CaTemplate,
        signer: &NextSigner,
        key: &Arc<dyn Signer>,
    ) -> Result<(Certificate, SignedBy)> {
        match signer {
            NextSigner::Parent(parent) => {
                let signatory = parent.signatory(&self.settings)?;
                let certificate = self.sign_ca(template, key.public_key(), &signatory).await?;
                Ok((certificate, SignedBy::Issuer(parent.id)))
            }
            NextSigner::Itself => {
                let signatory = Signatory::itself(&template.subject, key);
                let certificate = self.sign_ca(template, key.public_key(), &signatory).await?;
                Ok((certificate, SignedBy::Itself))
            }
            NextSigner::Outside => Err(Error::internal("a certificate that is signed outside cannot be signed here")),
        }
    }

    async fn next_csr(&self, present: &Issuer, key: &Arc<dyn Signer>) -> Result<Vec<u8>> {
        let before = &present.certificate;
        let path_length = before.certificate_authority.flatten();
        let is_same_key = key.public_key() == &before.public_key;
        let key_identifier = key_identifier_of(before).filter(|_identifier| is_same_key);
        let extensions = own_extensions(path_length, &bounds_of(before), key.public_key(), key_identifier.as_ref());
        Ok(make_csr(&before.subject, &extensions, key).await?.as_der().to_vec())
    }

    /// Has the old and the new key of a root certify each other, so that whoever trusts one of them believes what the other signs.
    async fn cross_pair(
        &self,
        caller: &Caller,
        old: &Issuer,
        new: &Certificate,
        new_signer: &Arc<dyn Signer>,
    ) -> Result<Vec<(Option<i32>, NewIssuerCertificate)>> {
        let not_after = new.not_after.min(old.certificate.not_after);
        let template = |of: &Certificate| CaTemplate {
            subject: of.subject.clone(),
            period: Period { not_before: new.not_before, not_after },
            path_length: of.certificate_authority.flatten(),
            bounds: bounds_of(of),
            key_identifier: key_identifier_of(of),
        };
        let generation = self.issuers().newest(&old.name).map_or(old.generation, |issuer| issuer.record().generation);
        let path_name = format!("{}.{}", old.name, generation.saturating_add(1));
        let by_old = old.signatory(&self.settings)?;
        let by_new = Signatory::of(new, (&old.name, &path_name), &old.settings, &self.settings, new_signer);
        let new_with_old = self.sign_ca(&template(new), &new.public_key, &by_old).await?;
        let old_with_new = self.sign_ca(&template(&old.certificate), &old.certificate.public_key, &by_new).await?;
        Ok(vec![
            (None, self.issuer_certificate(caller, &new_with_old, SignedBy::Issuer(old.id))),
            (Some(old.id), self.issuer_certificate(caller, &old_with_new, SignedBy::New(old.name.clone()))),
        ])
    }

    /// Refuses to have a key that must not be believed and a new one certify each other.
    async fn refuse_crossing(&self, old: &Issuer) -> Result<()> {
        let name = &old.path_name;
        let advice = "ask for no cross-certificates with `cross_certificates`: false";
        if self.storage.key_is_blocked(&old.record.spki_sha256).await? {
            return Err(Error::policy(vec![Violation {
                field: "cross_certificates".to_owned(),
                message: format!("the key of `{name}` is blocked and is not certified again; {advice}"),
                ..policy::key_blocked(&old.record.spki_sha256)
            }]));
        }
        if old.revoked.is_some() {
            return Err(Error::conflict(format!("the certificate of `{name}` is revoked or on hold; {advice}")));
        }
        Ok(())
    }

    /// Refuses to give a key a new certificate when it is blocked, or when the one it has was revoked for a reason that may be the key.
    async fn refuse_renewal(&self, present: &Issuer) -> Result<()> {
        self.refuse_blocked(&present.record.spki_sha256, "renew_only").await?;
        for certificate in present.record.certificates.iter().filter(|one| one.state != CertificateState::Valid) {
            let serial = Certificate::from_der(&certificate.der)?.serial;
            let recorded = self.storage.certificates_by_serial(&serial).await?;
            let revocation = recorded.into_iter().find(|record| record.der == certificate.der);
            let Some(revocation) = revocation.and_then(|record| record.revocation) else { continue };
            let is_refused = match revocation.reason {
                RevocationReason::KeyCompromise | RevocationReason::CaCompromise | RevocationReason::AaCompromise => {
                    true
                }
                RevocationReason::Unspecified
                | RevocationReason::CertificateHold
                | RevocationReason::PrivilegeWithdrawn => certificate.is_primary,
                RevocationReason::AffiliationChanged
                | RevocationReason::Superseded
                | RevocationReason::CessationOfOperation => false,
            };
            if is_refused {
                return Err(Error::conflict(format!(
                    "the certificate `{serial}` of `{}` was revoked as `{}`, which leaves open whether its key can be trusted; roll over to a \
                     new key, without `renew_only`",
                    present.path_name,
                    revocation.reason.as_str()
                )));
            }
        }
        Ok(())
    }

    /// Gives the same key a new certificate, or a request for one.
    async fn renew_issuer(
        &self,
        caller: &Caller,
        present: &Issuer,
        signer: NextSigner,
        request: &RolloverRequest,
    ) -> Result<ChangedIssuer> {
        if request.key.is_some() || request.place.is_some() || request.staged {
            return Err(Error::malformed("`renew_only` keeps key and state; `key` and `state` have no use beside it"));
        }
        if present.state == IssuerState::Disabled {
            return Err(Error::conflict(format!("the issuer `{}` is disabled and signs nothing", present.path_name)));
        }
        let key = present.signer()?;
        let object = format!("issuer:{}", present.path_name);
        let done = match self.next_template(present, &signer, request)? {
            Some(template) => {
                let (certificate, signed_by) = self.sign_next(&template, &signer, key).await?;
                let event = described(&certificate);
                let audit = self.event(caller, "issuer.renew", AuditOutcome::Success, object, event);
                let claim = self.issuer_claim(caller, request.idempotency.as_ref(), &present.path_name)?;
                let new = self.issuer_certificate(caller, &certificate, signed_by);
                let changes = vec![change_of(&present.record)];
                self.storage.add_issuer_certificate(present.id, new, true, changes, claim, audit).await?
            }
            None => {
                let csr = self.next_csr(present, key).await?;
                let audit = self.event(
                    caller,
                    "issuer.renew",
                    AuditOutcome::Success,
                    object,
                    json!({ "signed_by": "outside" }),
                );
                let change = IssuerChange { csr: Some(csr), ..change_of(&present.record) };
                self.storage.change_issuers(vec![change], audit).await?
            }
        };
        if done {
            return self.changed(&present.path_name).await;
        }
        self.refuse_blocked(&present.record.spki_sha256, "renew_only").await?;
        let detail = format!("the issuer `{}` was changed by somebody else meanwhile", present.path_name);
        self.lost(caller, request.idempotency.as_ref(), detail).await
    }
}

/// Finds the issuer that is to be rolled over, and refuses it when that cannot be.
fn find(issuers: &Issuers, reference: &str, request: &RolloverRequest) -> Result<Arc<Issuer>> {
    let present = match issuers.any_by_reference(reference).ok_or_else(|| no_issuer(issuers, reference))? {
        AnyIssuer::Ready(issuer) => issuer,
        AnyIssuer::Pending(pending) => {
            return Err(Error::conflict(format!(
                "the issuer `{}` waits for its first certificate; send it before rolling over",
                pending.path_name
            )));
        }
    };
    let newest = issuers.newest(&present.name).unwrap_or_else(|| AnyIssuer::Ready(Arc::clone(&present)));
    let generation = newest.record().generation;
    if request.expected_generation.is_some_and(|expected| expected != generation) {
        return Err(Error::conflict(format!("the newest generation of `{}` is {generation} by now", present.name)));
    }
    if request.renew_only {
        return Ok(present);
    }
    let current = issuers.by_name(&present.name).is_some_and(|current| current.id == present.id);
    if !current {
        return Err(Error::conflict(format!(
            "`{reference}` is not the present generation; roll over `{}`, or renew its certificate",
            present.name
        )));
    }
    let waits = match &newest {
        AnyIssuer::Pending(_) => true,
        AnyIssuer::Ready(issuer) => issuer.state == IssuerState::Staged && issuer.id != present.id,
    };
    if waits && newest.record().state != IssuerState::Disabled {
        return Err(Error::conflict(format!(
            "generation {generation} of `{}` is there and waits; activate or disable it first",
            present.name
        )));
    }
    match present.state {
        IssuerState::Active | IssuerState::Retired | IssuerState::Staged => Ok(present),
        IssuerState::Disabled => Err(Error::conflict(format!("the issuer `{reference}` is disabled"))),
    }
}

/// Returns the generation that the next key of an issuer is.
fn next_generation_of(issuers: &Issuers, present: &Issuer) -> i32 {
    let newest = issuers.newest(&present.name).map_or(present.generation, |newest| newest.record().generation);
    newest.saturating_add(1)
}

fn meanwhile(present: &Issuer) -> Error {
    Error::conflict(format!("`{}` was rolled over or changed by somebody else meanwhile", present.name))
}
