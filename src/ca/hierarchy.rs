//! Creates the first CAs, a root and an issuing CA below it, and certifies the service's own listener.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::issuance::Purpose;
use super::issuers::certify::{CaTemplate, Signatory, period};
use super::issuers::creation::{check_name, check_subject};
use super::issuers::described;
use super::settings::IssuerSettings;
use super::{CertificateAuthority, CertificateView, IssuanceRequest};
use crate::auth::Caller;
use crate::error::{Error, Result};
use crate::policy::{self, Adjustments, CompiledProfile, Evaluation, Grants};
use crate::signer::Signer;
use crate::signer::key_store::KeyPlace;
use crate::storage::{AuditOutcome, IssuerState, NewIssuer, NewKey, SignedBy, Source};
use crate::x509::{Certificate, CertificateRequest, DistinguishedName, KeyAlgorithm};

/// The profile name under which CA certificates stand in the inventory.
pub const CA_PROFILE: &str = "chancery.ca";
/// The profile name under which the listener's own certificates stand in the inventory.
pub const LISTENER_PROFILE: &str = "chancery.listener";

/// The lease under which the first issuers are created.
const INIT_LEASE: &str = "init";
/// How long creating them may take (RSA keys take seconds); a process that was killed holds others up no longer.
const INIT_LEASE_TIME: Duration = Duration::from_secs(60);

/// A CA to be created.
#[derive(Clone, Debug)]
pub struct NewCa {
    /// The issuer's name: 1 to 63 of `a-z`, `0-9`, `-`, starting with a letter.
    pub name: String,
    /// The subject.
    pub subject: DistinguishedName,
    /// The key.
    pub key: KeyAlgorithm,
    /// How long the certificate is valid.
    pub validity: Duration,
    /// Where the key is kept.
    pub place: KeyPlace,
}

/// A CA whose certificate was signed and that is about to be recorded.
struct Created {
    new: NewIssuer,
    certificate: Certificate,
    signer: Arc<dyn Signer>,
}

impl CertificateAuthority {
    /// Creates the root, the issuing CA below it (path length 0, the default issuer) and the default profiles, unless there is any issuer
    /// already. Answers whether it did; safe to run on several replicas at once.
    ///
    /// # Errors
    /// `Malformed` for a bad name or validity; those of storage and key store.
    pub async fn create_first_issuers(&self, caller: &Caller, root: NewCa, issuing: NewCa) -> Result<bool> {
        check(&root, &issuing)?;
        // One process at a time: two must not both write key files.
        loop {
            self.refresh().await?;
            if !self.issuers().is_empty() {
                return Ok(false);
            }
            let now = self.clock.now();
            if self.storage.acquire_lease(INIT_LEASE, &self.instance, now, now + INIT_LEASE_TIME).await? {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // Whoever had the lease before may have been done between our look and its end.
        self.refresh().await?;
        if !self.issuers().is_empty() {
            return Ok(false);
        }
        self.store_default_profiles(caller).await?;
        let root = self.create_root(caller, root).await?;
        let issuing = self.create_subordinate(caller, issuing, &root).await?;
        let created = self.storage.create_issuers(vec![root.new, issuing.new], None).await?;
        let now = self.clock.now();
        self.storage.acquire_lease(INIT_LEASE, &self.instance, now, now).await?;
        self.refresh().await?;
        Ok(created)
    }

    async fn create_root(&self, caller: &Caller, ca: NewCa) -> Result<Created> {
        let (key, signer) = self.keys.create(ca.key, &ca.place).await?;
        let template = self.first_template(&ca, None)?;
        let signatory = Signatory::itself(&template.subject, &signer);
        let certificate = self.sign_ca(&template, signer.public_key(), &signatory).await?;
        Ok(self.created(caller, &ca, None, key, certificate, signer))
    }

    async fn create_subordinate(&self, caller: &Caller, ca: NewCa, parent: &Created) -> Result<Created> {
        let (key, signer) = self.keys.create(ca.key, &ca.place).await?;
        let template = self.first_template(&ca, Some(0))?;
        let (parent_name, settings) = (&parent.new.base_name, IssuerSettings::default());
        let signatory =
            Signatory::of(&parent.certificate, (parent_name, parent_name), &settings, &self.settings, &parent.signer);
        let certificate = self.sign_ca(&template, signer.public_key(), &signatory).await?;
        Ok(self.created(caller, &ca, Some(parent_name.clone()), key, certificate, signer))
    }

    fn first_template(&self, ca: &NewCa, path_length: Option<u8>) -> Result<CaTemplate> {
        Ok(CaTemplate {
            subject: ca.subject.clone(),
            period: period(self.clock.now(), None, ca.validity, None)?,
            path_length,
            bounds: Vec::new(),
            key_identifier: None,
        })
    }

    fn created(
        &self,
        caller: &Caller,
        ca: &NewCa,
        parent: Option<String>,
        key: NewKey,
        certificate: Certificate,
        signer: Arc<dyn Signer>,
    ) -> Created {
        let object = format!("issuer:{}", ca.name);
        let audit = self.event(caller, "issuer.create", AuditOutcome::Success, object, described(&certificate));
        let is_default = parent.is_some();
        let signed_by = parent.map_or(SignedBy::Itself, SignedBy::New);
        let new = NewIssuer {
            base_name: ca.name.clone(),
            generation: 1,
            state: IssuerState::Active,
            is_default,
            settings: "{}".to_owned(),
            key,
            csr: None,
            certificate: Some(self.issuer_certificate(caller, &certificate, signed_by)),
            crl_number: 0,
            retires: Vec::new(),
            cross_certificates: Vec::new(),
            audit,
        };
        Created { new, certificate, signer }
    }

    /// Certifies the service's own listener: policy, record and audit as for anybody, under a profile made for exactly this. Also while the issuer's own
    /// certificate is revoked: without it there would be no way in to put that right, and clients judge the chain.
    ///
    /// # Errors
    /// `Conflict` when there is no default issuer; `PolicyViolation` when a configured name cannot be signed.
    pub async fn issue_for_listener(
        &self,
        csr: CertificateRequest,
        profile: &CompiledProfile,
    ) -> Result<CertificateView> {
        let issuers = self.issuers();
        let issuer = issuers
            .default_issuer()
            .ok_or_else(|| Error::conflict("there is no default issuer; run `chancery init`"))?;
        let adjustments = Adjustments::default();
        let approved = policy::evaluate(&Evaluation {
            request: &csr,
            adjustments: &adjustments,
            profile,
            grants: &Grants::unrestricted(),
            issuer: &issuer.limits,
            key_is_blocked: false,
            now: self.clock.now(),
        })
        .map_err(Error::policy)?;
        let caller = Caller::system();
        let purpose = Purpose { caller: &caller, action: "certificate.issue", renews: None, acme: None };
        let request = IssuanceRequest {
            csr,
            profile: LISTENER_PROFILE.to_owned(),
            issuer: None,
            adjustments,
            labels: BTreeMap::new(),
            source: Source::Internal,
            idempotency: None,
            order: None,
        };
        let issued = self.sign_and_record(purpose, approved, (LISTENER_PROFILE, 1), issuer, Box::new(request)).await?;
        Ok(*issued.certificate)
    }
}

fn check(root: &NewCa, issuing: &NewCa) -> Result<()> {
    for ca in [root, issuing] {
        check_name(&ca.name)?;
        check_subject(&ca.name, &ca.subject)?;
    }
    if root.name == issuing.name || root.subject == issuing.subject {
        return Err(Error::malformed("root and issuing CA need different names and different subjects"));
    }
    if issuing.validity > root.validity {
        return Err(Error::malformed("the issuing CA cannot be valid for longer than its root"));
    }
    Ok(())
}
