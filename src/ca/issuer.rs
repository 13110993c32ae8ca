//! Issuers: a CA certificate, its chain and its key; prepares to-be-signed bytes once and signs them once.

use std::sync::Arc;

use super::{CertificateAuthority, Settings};
use crate::auth::Authorized;
use crate::auth::client_certificate::OwnIssuer;
use crate::auth::permission::ReadIssuers;
use crate::error::{Error, ErrorKind, Result};
use crate::policy::ApprovedRequest;
use crate::signer::Signer;
use crate::storage::{IssuerRecord, IssuerState, KeyLocation};
use crate::tasks;
use crate::x509::extension::Extension;
use crate::x509::{Certificate, CertificateTemplate, SerialNumber, SignatureAlgorithm, certificate, lint};

/// An issuer with its chain, ready to sign when its key is at hand.
#[derive(Debug)]
pub struct Issuer {
    /// The row.
    pub id: i32,
    /// The name.
    pub name: String,
    /// The name of the issuer that signed it; `None` for a root.
    pub parent: Option<String>,
    /// The state.
    pub state: IssuerState,
    /// Whether requests that name no issuer come here.
    pub is_default: bool,
    /// Its certificate.
    pub certificate: Certificate,
    /// Its own certificate and those above it, the root last.
    pub chain: Vec<Certificate>,
    /// The record.
    pub record: IssuerRecord,
    /// `None` when the key is kept in a file that is not there: an offline root.
    signer: Option<Arc<dyn Signer>>,
}

/// Every issuer, by row.
#[derive(Debug, Default)]
pub struct Issuers {
    all: Vec<Arc<Issuer>>,
}

impl Issuers {
    /// Returns every issuer.
    #[must_use]
    pub fn all(&self) -> &[Arc<Issuer>] {
        &self.all
    }

    /// Finds an issuer by name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.all.iter().find(|issuer| issuer.name == name)
    }

    /// Finds an issuer by row.
    #[must_use]
    pub fn by_id(&self, id: i32) -> Option<&Arc<Issuer>> {
        self.all.iter().find(|issuer| issuer.id == id)
    }

    /// Returns the default issuer.
    #[must_use]
    pub fn default_issuer(&self) -> Option<&Arc<Issuer>> {
        self.all.iter().find(|issuer| issuer.is_default)
    }

    /// Returns the issuers as those who check client certificates know them.
    #[must_use]
    pub fn for_authentication(&self) -> Vec<OwnIssuer> {
        let own = |issuer: &Arc<Issuer>| OwnIssuer {
            name: issuer.name.clone(),
            disabled: match issuer.state {
                IssuerState::Disabled => true,
                IssuerState::Active | IssuerState::Staged | IssuerState::Retired => false,
            },
            certificate: issuer.certificate.clone(),
        };
        self.all.iter().map(own).collect()
    }

    /// Returns the names, for error messages.
    #[must_use]
    pub fn names(&self) -> String {
        self.all.iter().map(|issuer| format!("`{}`", issuer.name)).collect::<Vec<_>>().join(", ")
    }
}

/// To-be-signed bytes that were linted, for one signature.
#[derive(Debug)]
pub(super) struct PreparedCertificate {
    to_be_signed: Vec<u8>,
    serial: SerialNumber,
}

/// A signed certificate that has not been recorded yet: it must not leave the core.
#[derive(Debug)]
pub(super) struct SignedCertificate {
    pub(super) der: Vec<u8>,
    pub(super) serial: SerialNumber,
}

impl Issuer {
    /// Returns the root at the end of the chain.
    #[must_use]
    pub fn root(&self) -> &Certificate {
        self.chain.last().unwrap_or(&self.certificate)
    }

    /// Returns the chain without the root; for a root itself nothing.
    #[must_use]
    pub fn chain_without_root(&self) -> &[Certificate] {
        self.chain.split_last().map_or(&[], |(_root, rest)| rest)
    }

    /// Whether the private key is at hand.
    #[must_use]
    pub const fn can_sign(&self) -> bool {
        self.signer.is_some()
    }

    /// Returns the identifier that certificates and CRLs refer to the key by: the certificate's own (RFC 5280, section 4.2.1.1).
    #[must_use]
    pub fn key_identifier(&self) -> Vec<u8> {
        self.certificate
            .subject_key_identifier
            .clone()
            .unwrap_or_else(|| self.certificate.public_key.key_identifier().to_vec())
    }

    /// Builds and lints what will be signed for an approved request.
    pub(super) fn prepare(
        &self,
        approved: &ApprovedRequest,
        serial: SerialNumber,
        settings: &Settings,
    ) -> Result<PreparedCertificate> {
        let extensions = self.leaf_extensions(approved, settings);
        let template = CertificateTemplate {
            serial: &serial,
            signature_algorithm: self.signature_algorithm()?,
            issuer: &self.certificate.subject,
            not_before: approved.not_before(),
            not_after: approved.not_after(),
            subject: approved.subject(),
            public_key: approved.public_key(),
            extensions: &extensions,
        };
        let to_be_signed = linted(&template)?;
        Ok(PreparedCertificate { to_be_signed, serial })
    }

    /// Signs prepared bytes. The only call that touches the key for a certificate.
    pub(super) async fn sign(&self, prepared: PreparedCertificate) -> Result<SignedCertificate> {
        let PreparedCertificate { to_be_signed, serial } = prepared;
        let der = self.sign_object(to_be_signed).await?;
        Ok(SignedCertificate { der, serial })
    }

    /// Signs to-be-signed bytes of a certificate or CRL and joins them to the whole object.
    pub(super) async fn sign_object(&self, to_be_signed: Vec<u8>) -> Result<Vec<u8>> {
        sign_with(self.signer()?, to_be_signed).await
    }

    /// Returns the algorithm this issuer signs with.
    pub(super) fn signature_algorithm(&self) -> Result<SignatureAlgorithm> {
        Ok(self.signer()?.signature_algorithm())
    }

    fn signer(&self) -> Result<&Arc<dyn Signer>> {
        self.signer.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, format!("the key of the issuer `{}` is not at hand", self.name))
                .with_retry_after(60)
        })
    }

    fn leaf_extensions(&self, approved: &ApprovedRequest, settings: &Settings) -> Vec<Extension> {
        let mut extensions = vec![Extension::key_usage(approved.key_usage())];
        if !approved.extended_key_usage().is_empty() {
            extensions.push(Extension::extended_key_usage(approved.extended_key_usage()));
        }
        extensions.push(Extension::basic_constraints(None));
        extensions.push(Extension::subject_key_identifier(approved.public_key()));
        extensions.push(Extension::authority_key_identifier(&self.key_identifier()));
        extensions.push(Extension::authority_information_access(&[certificate_url(settings, &self.name)], &[]));
        if !approved.names().is_empty() {
            extensions.push(Extension::subject_alt_name(approved.names(), approved.subject().is_empty()));
        }
        if !approved.certificate_policies().is_empty() {
            extensions.push(Extension::certificate_policies(approved.certificate_policies()));
        }
        extensions.push(Extension::crl_distribution_points(&[crl_url(settings, &self.name)]));
        if approved.must_staple() {
            extensions.push(Extension::must_staple());
        }
        extensions
    }
}

/// Encodes a template after linting it: a finding is a defect of ours and stops the signature.
pub(super) fn linted(template: &CertificateTemplate<'_>) -> Result<Vec<u8>> {
    let findings = lint::lint(template);
    if findings.is_empty() {
        return template.to_be_signed();
    }
    Err(Error::internal(format!("the certificate was not signed, it would break RFC 5280: {}", findings.join("; "))))
}

/// Signs in line when that takes microseconds, else on the blocking pool, and joins bytes and signature.
pub(super) async fn sign_with(signer: &Arc<dyn Signer>, to_be_signed: Vec<u8>) -> Result<Vec<u8>> {
    let algorithm = signer.signature_algorithm();
    if signer.signs_in_line() {
        let signature = signer.sign(&to_be_signed)?;
        return Ok(certificate::assemble(&to_be_signed, algorithm, &signature));
    }
    let signer = Arc::clone(signer);
    tasks::spawn_blocking(move || {
        let signature = signer.sign(&to_be_signed)?;
        Ok(certificate::assemble(&to_be_signed, algorithm, &signature))
    })
    .await
}

/// Returns the address of an issuer's certificate (RFC 5280, section 4.2.2.1, `caIssuers`).
pub(super) fn certificate_url(settings: &Settings, issuer: &str) -> String {
    format!("{}/pki/{issuer}.crt", settings.public_url)
}

/// Returns the address of an issuer's CRL.
pub(super) fn crl_url(settings: &Settings, issuer: &str) -> String {
    format!("{}/pki/{issuer}.crl", settings.public_url)
}

impl CertificateAuthority {
    /// Returns every issuer as it is now, for the public listener and for the core.
    #[must_use]
    pub fn issuers(&self) -> Arc<Issuers> {
        self.issuers.load_full()
    }

    /// Lists the issuers.
    #[must_use]
    pub fn list_issuers(&self, _authorization: &Authorized<ReadIssuers>) -> Arc<Issuers> {
        self.issuers()
    }

    /// Loads the issuers and the keys of new ones; keys that were opened before stay open.
    ///
    /// At start a key that cannot be opened is an error; later it is logged, so that one bad issuer does not keep all else from being loaded.
    pub(super) async fn load_issuers(&self, starting: bool) -> Result<()> {
        let before = self.issuers();
        let mut all: Vec<Arc<Issuer>> = Vec::new();
        for record in self.storage.issuers().await? {
            let certificate = Certificate::from_der(&record.certificate_der)?;
            let known = before.by_id(record.id).filter(|issuer| issuer.record.key == record.key);
            let signer = match known.and_then(|issuer| issuer.signer.clone()) {
                Some(signer) => Some(signer),
                None => match self.open_key(&record, &certificate).await {
                    Err(error) if !starting => {
                        tracing::error!(issuer = %record.name, %error, "the issuer cannot sign");
                        None
                    }
                    opened => opened?,
                },
            };
            // A parent's row is always before its children's.
            let parent = record.parent_id.and_then(|id| all.iter().find(|issuer| issuer.id == id));
            let mut chain = vec![certificate.clone()];
            chain.extend(parent.iter().flat_map(|parent| parent.chain.iter().cloned()));
            all.push(Arc::new(Issuer {
                id: record.id,
                name: record.name.clone(),
                parent: parent.map(|parent| parent.name.clone()),
                state: record.state,
                is_default: record.is_default,
                certificate,
                chain,
                record,
                signer,
            }));
        }
        self.issuers.store(Arc::new(Issuers { all }));
        Ok(())
    }

    async fn open_key(&self, record: &IssuerRecord, certificate: &Certificate) -> Result<Option<Arc<dyn Signer>>> {
        if record.state == IssuerState::Disabled {
            return Ok(None);
        }
        match (self.keys.open(&record.key, &certificate.public_key).await, &record.key) {
            (Ok(signer), _) => Ok(Some(signer)),
            (Err(error), KeyLocation::File(path)) if !path.exists() => {
                tracing::warn!(issuer = %record.name, %error, "the issuer's key file is not there; it cannot sign");
                Ok(None)
            }
            (Err(error), _) => {
                Err(Error::configuration(format!("the key of the issuer `{}` cannot be opened", record.name))
                    .with_source(error))
            }
        }
    }
}
