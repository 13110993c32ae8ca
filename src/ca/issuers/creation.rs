//! Creates issuers: roots, CAs below an issuer here, and CAs whose certificate somebody else is to sign.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::certify::{CaBounds, CaTemplate, Signatory, own_extensions, period};
use super::key_making::{KeyMaker, NewKeyPlace};
use super::{AnyIssuer, ChangedIssuer, described, no_issuer, refuse_ungranted, with};
use crate::auth::permission::ManageIssuers;
use crate::auth::{Authorized, Caller};
use crate::ca::CertificateAuthority;
use crate::ca::issuance::Idempotency;
use crate::ca::issuer::{Issuer, sign_with};
use crate::ca::settings::IssuerSettings;
use crate::error::{Error, Result, Violation};
use crate::policy::RequestedValidity;
use crate::signer::Signer;
use crate::storage::{AuditOutcome, IssuerState, NewIssuer, NewIssuerCertificate, SignedBy};
use crate::x509::csr::CertificateRequestTemplate;
use crate::x509::extension::Extension;
use crate::x509::{CertificateRequest, DistinguishedName, KeyAlgorithm};

/// How long a root and a subordinate CA are valid unless asked otherwise.
pub(super) const ROOT_VALIDITY: Duration = Duration::from_secs(3650 * 86_400);
pub(super) const SUBORDINATE_VALIDITY: Duration = Duration::from_secs(1825 * 86_400);

/// An issuer to be created.
#[derive(Clone, Debug)]
pub struct IssuerRequest {
    /// The name: 1 to 63 of `a-z`, `0-9`, `-`, starting with a letter.
    pub name: String,
    /// Who signs it.
    pub signed_by: IssuerSigner,
    /// The subject; no other issuer may have it.
    pub subject: DistinguishedName,
    /// The kind of key.
    pub key: KeyAlgorithm,
    /// Where the key is kept.
    pub place: NewKeyPlace,
    /// The validity; 10 years for a root and 5 for others, or until its issuer ends, if absent.
    pub validity: Option<RequestedValidity>,
    /// What bounds it. A path length that is absent is 0 below another CA.
    pub bounds: CaBounds,
    /// Whether it exists only and signs nothing for others yet.
    pub staged: bool,
    /// Whether it becomes the default issuer.
    pub is_default: bool,
    /// What differs from the process's settings.
    pub settings: IssuerSettings,
    /// The idempotency key.
    pub idempotency: Option<Idempotency>,
}

/// Who signs the certificate of a new issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerSigner {
    /// Its own key: a root.
    Itself,
    /// The active issuer of this name.
    Issuer(String),
    /// Somebody else, who gets the request that is stored.
    Outside,
}

impl CertificateAuthority {
    /// Creates an issuer with a new key.
    ///
    /// # Errors
    /// `Malformed` for values that cannot be; `PolicyViolation` for what the parent does not allow; `Conflict` when the name is taken or the
    /// parent cannot sign; `Forbidden` outside the caller's grants; `NotFound` for an unknown parent; `IdempotencyKeyReused`.
    pub async fn create_issuer(
        &self,
        authorization: &Authorized<ManageIssuers>,
        request: IssuerRequest,
    ) -> Result<ChangedIssuer> {
        let caller = authorization.caller();
        if let Some(replayed) = self.replay_issuer(caller, request.idempotency.as_ref()).await? {
            return Ok(replayed);
        }
        let object = format!("issuer:{}", request.name.escape_default());
        let outcome = self.create(caller, request).await;
        self.audited(caller, "issuer.create", object, outcome).await
    }

    async fn create(&self, caller: &Caller, request: IssuerRequest) -> Result<ChangedIssuer> {
        // What another replica did a moment ago counts.
        self.refresh().await?;
        self.check_request(caller, &request)?;
        let place = self.issuer_key_place(&request.place, &request.name)?;
        let maker = self.key_maker(place).await?;
        let outcome = self.create_with(caller, &request, &maker).await;
        maker.finish(outcome).await
    }

    async fn create_with(
        &self,
        caller: &Caller,
        request: &IssuerRequest,
        maker: &KeyMaker<'_>,
    ) -> Result<ChangedIssuer> {
        if maker.waited() {
            if let Some(replayed) = self.replay_issuer(caller, request.idempotency.as_ref()).await? {
                return Ok(replayed);
            }
            self.refresh().await?;
            self.check_request(caller, request)?;
        }
        let made = match &request.signed_by {
            IssuerSigner::Itself => self.make_root(caller, request, maker).await?,
            IssuerSigner::Issuer(parent) => self.make_subordinate(caller, request, maker, parent).await?,
            IssuerSigner::Outside => self.make_pending(caller, request, maker).await?,
        };
        let claim = self.issuer_claim(caller, request.idempotency.as_ref(), &request.name)?;
        if self.storage.create_issuers(vec![made], claim).await? {
            return self.changed(&request.name).await;
        }
        let detail = format!("the issuer `{}` exists already, or its key is another issuer's", request.name);
        self.lost(caller, request.idempotency.as_ref(), detail).await
    }

    fn check_request(&self, caller: &Caller, request: &IssuerRequest) -> Result<()> {
        check_name(&request.name)?;
        check_subject(&request.name, &request.subject)?;
        refuse_ungranted(caller, &request.name)?;
        request.settings.check(&self.settings)?;
        request.bounds.check()?;
        if request.is_default && (request.staged || request.signed_by == IssuerSigner::Outside) {
            return Err(Error::malformed(
                "only an active issuer can be the default one; make it the default when it has become active",
            ));
        }
        let issuers = self.issuers();
        if issuers.every().any(|issuer| issuer.name() == request.name) {
            return Err(Error::conflict(format!(
                "the issuer `{}` exists already; roll it over for a new key or a new certificate",
                request.name
            )));
        }
        if let Some(issuer) = issuers.named(&request.subject, |_| false)? {
            return Err(Error::policy(vec![Violation {
                code: "subject_not_unique",
                field: "subject".to_owned(),
                value: request.subject.to_string(),
                rule: "RFC 5280, section 4.1.2.6".to_owned(),
                message: format!(
                    "the subject `{}` is that of the issuer `{}`; a CA needs one of its own",
                    request.subject,
                    issuer.name()
                ),
            }]));
        }
        Ok(())
    }

    async fn make_root(&self, caller: &Caller, request: &IssuerRequest, maker: &KeyMaker<'_>) -> Result<NewIssuer> {
        let period = period(self.clock.now(), request.validity.as_ref(), ROOT_VALIDITY, None)?;
        let template = CaTemplate {
            subject: request.subject.clone(),
            period,
            path_length: request.bounds.path_length,
            bounds: request.bounds.extensions(),
            key_identifier: None,
        };
        let (key, signer) = maker.make(request.key).await?;
        let signatory = Signatory::itself(&template.subject, &signer);
        let certificate = self.sign_ca(&template, signer.public_key(), &signatory).await?;
        let event = with(described(&certificate), "state", json!(state(request)));
        let audit = self.event(caller, "issuer.create", AuditOutcome::Success, object(request), event);
        let certificate = self.issuer_certificate(caller, &certificate, SignedBy::Itself);
        first_generation(request, key, Some(certificate), None, request.is_default, audit)
    }

    async fn make_subordinate(
        &self,
        caller: &Caller,
        request: &IssuerRequest,
        maker: &KeyMaker<'_>,
        parent: &str,
    ) -> Result<NewIssuer> {
        let parent = self.signing_parent(caller, parent)?;
        let period =
            period(self.clock.now(), request.validity.as_ref(), SUBORDINATE_VALIDITY, Some(&parent.certificate))?;
        let template = CaTemplate {
            subject: request.subject.clone(),
            period,
            path_length: Some(request.bounds.path_length.unwrap_or_default()),
            bounds: request.bounds.extensions(),
            key_identifier: None,
        };
        let mut violations = parent.judge(&template)?;
        let constraints = request.bounds.name_constraints.as_ref();
        violations.extend(constraints.into_iter().flat_map(|constraints| parent.limits.unreachable(constraints)));
        if !violations.is_empty() {
            return Err(Error::policy(violations));
        }
        // Before a key is made, which may stay in a file or a token.
        let signatory = parent.signatory(&self.settings)?;
        let (key, signer) = maker.make(request.key).await?;
        let certificate = self.sign_ca(&template, signer.public_key(), &signatory).await?;
        let event = with(described(&certificate), "state", json!(state(request)));
        let event = with(event, "parent", json!(parent.path_name));
        let audit = self.event(caller, "issuer.create", AuditOutcome::Success, object(request), event);
        let certificate = self.issuer_certificate(caller, &certificate, SignedBy::Issuer(parent.id));
        // Where there is no default issuer, the first that signs for others is it.
        let is_first = !request.staged && self.issuers().default_issuer().is_none();
        first_generation(request, key, Some(certificate), None, request.is_default || is_first, audit)
    }

    async fn make_pending(&self, caller: &Caller, request: &IssuerRequest, maker: &KeyMaker<'_>) -> Result<NewIssuer> {
        if request.validity.is_some() {
            return Err(Error::malformed("whoever signs the certificate outside decides how long it is valid"));
        }
        let (key, signer) = maker.make(request.key).await?;
        let path_length = Some(request.bounds.path_length.unwrap_or_default());
        let extensions = own_extensions(path_length, &request.bounds.extensions(), signer.public_key(), None);
        let csr = make_csr(&request.subject, &extensions, &signer).await?;
        let event = json!({
            "subject": request.subject.to_string(),
            "key_algorithm": key.algorithm,
            "spki_sha256": hex::encode(key.spki_sha256),
            "state": "pending",
        });
        let audit = self.event(caller, "issuer.create", AuditOutcome::Success, object(request), event);
        first_generation(request, key, None, Some(csr.as_der().to_vec()), false, audit)
    }

    /// Finds the issuer that is to sign a CA certificate: active, fit, and within the caller's grants.
    pub(super) fn signing_parent(&self, caller: &Caller, reference: &str) -> Result<Arc<Issuer>> {
        let issuers = self.issuers();
        let parent = issuers.any_by_reference(reference).ok_or_else(|| no_issuer(&issuers, reference))?;
        refuse_ungranted(caller, parent.name())?;
        match parent {
            AnyIssuer::Ready(parent) => self.refuse_unfit(&parent).map(|()| parent),
            AnyIssuer::Pending(pending) => Err(Error::conflict(format!(
                "the issuer `{}` has no certificate yet and signs nothing",
                pending.path_name
            ))),
        }
    }
}

/// Makes a certificate signing request with a key of ours.
pub(super) async fn make_csr(
    subject: &DistinguishedName,
    extensions: &[Extension],
    signer: &Arc<dyn Signer>,
) -> Result<CertificateRequest> {
    let template = CertificateRequestTemplate { subject, public_key: signer.public_key(), extensions };
    let der = sign_with(signer, template.to_be_signed()).await?;
    CertificateRequest::parse(&der)
}

/// Refuses names that cannot stand in URLs.
pub(in crate::ca) fn check_name(name: &str) -> Result<()> {
    let well_formed = (1..=63).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if well_formed {
        return Ok(());
    }
    let shown: String = name.chars().take(64).flat_map(char::escape_default).collect();
    Err(Error::malformed(format!("the issuer name `{shown}` is not 1 to 63 of `a-z 0-9 -` starting with a letter")))
}

/// Refuses an empty subject.
pub(in crate::ca) fn check_subject(name: &str, subject: &DistinguishedName) -> Result<()> {
    if subject.is_empty() {
        return Err(Error::malformed(format!("the issuer `{name}` needs a subject (RFC 5280, section 4.1.2.6)")));
    }
    Ok(())
}

fn object(request: &IssuerRequest) -> String {
    format!("issuer:{}", request.name)
}

const fn state(request: &IssuerRequest) -> IssuerState {
    if request.staged { IssuerState::Staged } else { IssuerState::Active }
}

fn first_generation(
    request: &IssuerRequest,
    key: crate::storage::NewKey,
    certificate: Option<NewIssuerCertificate>,
    csr: Option<Vec<u8>>,
    is_default: bool,
    audit: crate::storage::AuditEvent,
) -> Result<NewIssuer> {
    // Without a certificate it can be nothing but staged.
    let state = if certificate.is_some() { state(request) } else { IssuerState::Staged };
    Ok(NewIssuer {
        base_name: request.name.clone(),
        generation: 1,
        state,
        is_default,
        settings: request.settings.to_stored()?,
        key,
        csr,
        certificate,
        crl_number: 0,
        retires: Vec::new(),
        cross_certificates: Vec::new(),
        audit,
    })
}
