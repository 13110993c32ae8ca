//! Creates the first CAs, a root and an issuing CA below it, and certifies the service's own listener.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::issuance::{Purpose, key_algorithm};
use super::issuer::{certificate_url, crl_url, linted, sign_with};
use super::{CertificateAuthority, CertificateView, IssuanceRequest};
use crate::auth::Caller;
use crate::error::{Error, Result};
use crate::policy::{self, Adjustments, CompiledProfile, Evaluation, Grants, IssuerLimits};
use crate::signer::Signer;
use crate::signer::key_store::KeyPlace;
use crate::storage::{AuditOutcome, NewCertificate, NewIssuer, NewKey, Source};
use crate::x509::extension::Extension;
use crate::x509::{
    Certificate, CertificateRequest, CertificateTemplate, DistinguishedName, KeyAlgorithm, KeyUsage, PublicKey,
    Timestamp,
};

/// The profile name under which CA certificates stand in the inventory.
pub const CA_PROFILE: &str = "chancery.ca";
/// The profile name under which the listener's own certificates stand in the inventory.
pub const LISTENER_PROFILE: &str = "chancery.listener";

/// How far before the present CA certificates begin, for clocks that are behind: as far as the default profiles backdate.
const BACKDATE: Duration = Duration::from_secs(300);

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
            if !self.issuers().all().is_empty() {
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
        if !self.issuers().all().is_empty() {
            return Ok(false);
        }
        self.store_default_profiles(caller).await?;
        let root = self.create_root(caller, root).await?;
        let issuing = self.create_subordinate(caller, issuing, &root).await?;
        let created = self.storage.create_issuers(vec![root.new, issuing.new]).await?;
        let now = self.clock.now();
        self.storage.acquire_lease(INIT_LEASE, &self.instance, now, now).await?;
        self.refresh().await?;
        Ok(created)
    }

    async fn create_root(&self, caller: &Caller, ca: NewCa) -> Result<Created> {
        let (key, signer) = self.keys.create(ca.key, &ca.place).await?;
        let extensions = ca_extensions(None, signer.public_key());
        let subject = ca.subject.clone();
        let certificate = self.sign_ca(&ca, &subject, signer.public_key(), &extensions, &signer).await?;
        Ok(self.created(caller, &ca, None, key, certificate, signer))
    }

    async fn create_subordinate(&self, caller: &Caller, ca: NewCa, parent: &Created) -> Result<Created> {
        let (key, signer) = self.keys.create(ca.key, &ca.place).await?;
        let mut extensions = ca_extensions(Some(0), signer.public_key());
        let parent_name = parent.new.name.as_str();
        extensions.push(Extension::authority_key_identifier(&parent.certificate.public_key.key_identifier()));
        extensions.push(Extension::authority_information_access(&[certificate_url(&self.settings, parent_name)], &[]));
        extensions.push(Extension::crl_distribution_points(&[crl_url(&self.settings, parent_name)]));
        let issuer = &parent.certificate.subject;
        let certificate = self.sign_ca(&ca, issuer, signer.public_key(), &extensions, &parent.signer).await?;
        Ok(self.created(caller, &ca, Some(parent_name.to_owned()), key, certificate, signer))
    }

    async fn sign_ca(
        &self,
        ca: &NewCa,
        issuer: &DistinguishedName,
        public_key: &PublicKey,
        extensions: &[Extension],
        signer: &Arc<dyn Signer>,
    ) -> Result<Certificate> {
        let now = self.clock.now();
        let to_be_signed = linted(&CertificateTemplate {
            serial: &self.new_serial()?,
            signature_algorithm: signer.signature_algorithm(),
            issuer,
            not_before: now - BACKDATE,
            // The end is inclusive (RFC 5280, section 4.1.2.5).
            not_after: now + ca.validity - Duration::from_secs(1),
            subject: &ca.subject,
            public_key,
            extensions,
        })?;
        Certificate::from_der(&sign_with(signer, to_be_signed).await?)
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
        let details = json!({
            "subject": certificate.subject.to_string(),
            "serial": certificate.serial.to_string(),
            "key_algorithm": key.algorithm,
            "not_after": certificate.not_after,
            "fingerprint_sha256": hex::encode(certificate.fingerprint_sha256()),
        });
        let audit = self.event(caller, "issuer.create", AuditOutcome::Success, format!("issuer:{}", ca.name), details);
        let new = NewIssuer {
            name: ca.name.clone(),
            is_default: parent.is_some(),
            parent,
            key,
            certificate: ca_record(caller, &certificate, self.clock.now()),
            audit,
        };
        Created { new, certificate, signer }
    }

    /// Certifies the service's own listener: policy, record and audit as for anybody, under a profile made for exactly this.
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
            issuer: IssuerLimits { not_before: issuer.certificate.not_before, not_after: issuer.certificate.not_after },
            key_is_blocked: false,
            now: self.clock.now(),
        })
        .map_err(Error::policy)?;
        let caller = Caller::system();
        let purpose = Purpose { caller: &caller, action: "certificate.issue", renews: None };
        let request = IssuanceRequest {
            csr,
            profile: LISTENER_PROFILE.to_owned(),
            issuer: None,
            adjustments,
            labels: BTreeMap::new(),
            source: Source::Internal,
            idempotency: None,
        };
        let issued = self.sign_and_record(purpose, approved, (LISTENER_PROFILE, 1), issuer, request).await?;
        Ok(issued.certificate)
    }
}

/// The extensions of a CA certificate but for those that name its issuer.
fn ca_extensions(path_length: Option<u8>, public_key: &PublicKey) -> Vec<Extension> {
    vec![
        Extension::basic_constraints(Some(path_length)),
        Extension::key_usage(&BTreeSet::from([KeyUsage::KeyCertSign, KeyUsage::CrlSign])),
        Extension::subject_key_identifier(public_key),
    ]
}

fn ca_record(caller: &Caller, certificate: &Certificate, now: Timestamp) -> NewCertificate {
    NewCertificate {
        serial: certificate.serial.clone(),
        // Filled in by the storage, which alone knows the rows.
        issuer_id: 0,
        profile: CA_PROFILE.to_owned(),
        profile_version: 1,
        requester: caller.principal.name.clone(),
        source: Source::Internal,
        subject: certificate.subject.to_string(),
        names: Vec::new(),
        key_algorithm: key_algorithm(certificate),
        spki_sha256: certificate.public_key.spki_sha256(),
        fingerprint_sha256: certificate.fingerprint_sha256(),
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        issued_at: now,
        labels: BTreeMap::new(),
        der: certificate.as_der().to_vec(),
    }
}

fn check(root: &NewCa, issuing: &NewCa) -> Result<()> {
    for ca in [root, issuing] {
        let well_formed = (1..=63).contains(&ca.name.len())
            && ca.name.starts_with(|c: char| c.is_ascii_lowercase())
            && ca.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !well_formed {
            return Err(Error::malformed(format!(
                "the issuer name `{}` is not 1 to 63 of `a-z 0-9 -` starting with a letter",
                ca.name.escape_debug()
            )));
        }
        if ca.subject.is_empty() {
            return Err(Error::malformed(format!(
                "the issuer `{}` needs a subject (RFC 5280, section 4.1.2.6)",
                ca.name
            )));
        }
    }
    if root.name == issuing.name || root.subject == issuing.subject {
        return Err(Error::malformed("root and issuing CA need different names and different subjects"));
    }
    if issuing.validity > root.validity {
        return Err(Error::malformed("the issuing CA cannot be valid for longer than its root"));
    }
    Ok(())
}
