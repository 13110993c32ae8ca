//! Issuers: a CA certificate, its chain and its key; prepares to-be-signed bytes once and signs them once.

mod constant;
mod loading;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use constant::IssuerTexts;

use self::constant::ConstantExtensions;
use super::Settings;
use super::crl::CrlPolicy;
use super::settings::IssuerSettings;
use crate::auth::client_certificate::OwnIssuer;
use crate::error::{Error, ErrorKind, Result};
use crate::policy::{ApprovedRequest, IssuerLimits};
use crate::signer::Signer;
use crate::storage::{IssuerRecord, IssuerState, KeyLocation};
use crate::tasks;
use crate::x509::crl::CrlBuilder;
use crate::x509::extension::Extension;
use crate::x509::{
    Certificate, CertificateTemplate, NameConstraints, SerialNumber, SignatureAlgorithm, certificate, lint,
};

/// One generation of an issuer, that is one CA key, with its chains; ready to sign when its key is at hand.
#[derive(Debug)]
pub struct Issuer {
    /// The row.
    pub id: i32,
    /// The name, the same for every generation.
    pub name: String,
    /// The generation, from 1.
    pub generation: i32,
    /// The name in URLs, which stay the same for ever: the name, and from the second generation on a dot and the generation.
    pub path_name: String,
    /// The name in URLs of the issuer that signed it; `None` for a root and when somebody else signed it.
    pub parent: Option<String>,
    /// The state.
    pub state: IssuerState,
    /// Whether requests that name no issuer come here.
    pub is_default: bool,
    /// What differs from the process's settings.
    pub settings: IssuerSettings,
    /// Its primary certificate.
    pub certificate: Certificate,
    /// Its primary certificate and those above it, the root last.
    pub chain: Vec<Certificate>,
    /// What its primary chain allows to be signed.
    pub limits: IssuerLimits,
    /// The other ways from it to a root, by its own other certificates (cross-certificates, earlier ones of the same key) and by those of the
    /// issuers above.
    pub alternate_chains: Vec<Vec<Certificate>>,
    /// The subject of the first certificate on its primary chain that is revoked or on hold, or whose key is blocked: then it signs no
    /// certificates.
    pub revoked: Option<String>,
    /// The record.
    pub record: IssuerRecord,
    /// Its certificates as the API shows them.
    pub texts: IssuerTexts,
    /// What is the same in every certificate that it signs.
    constant: ConstantExtensions,
    /// `None` when the key is kept in a file that is not there: an offline root.
    signer: Option<Arc<dyn Signer>>,
}

/// An issuer that has a key and waits for its first certificate, which somebody else is to sign.
#[derive(Debug)]
pub struct PendingIssuer {
    /// The name, the same for every generation.
    pub name: String,
    /// The name in URLs.
    pub path_name: String,
    /// The record, with the CSR.
    pub record: IssuerRecord,
}

/// Every issuer, by row.
#[derive(Debug, Default)]
pub struct Issuers {
    all: Vec<Arc<Issuer>>,
    pending: Vec<Arc<PendingIssuer>>,
}

impl Issuers {
    /// Returns every issuer that has a certificate, each generation on its own.
    #[must_use]
    pub fn all(&self) -> &[Arc<Issuer>] {
        &self.all
    }

    /// Returns the issuers that wait for their first certificate.
    #[must_use]
    pub fn pending(&self) -> &[Arc<PendingIssuer>] {
        &self.pending
    }

    /// Whether there is none, waiting ones included.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.pending.is_empty()
    }

    /// Finds the current generation of a name: the active one, else the newest.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.generations(name).max_by_key(|issuer| (issuer.state == IssuerState::Active, issuer.generation))
    }

    /// Returns every generation of a name.
    pub fn generations<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a Arc<Issuer>> + use<'a, 'n> {
        self.all.iter().filter(move |issuer| issuer.name == name)
    }

    /// Finds an issuer as the API names it: `issuing` is the current generation, `issuing.2` exactly the second.
    #[must_use]
    pub fn by_reference(&self, reference: &str) -> Option<&Arc<Issuer>> {
        match generation_of(reference) {
            Some((name, generation)) => self.generations(name).find(|issuer| issuer.generation == generation),
            None => self.by_name(reference),
        }
    }

    /// Returns the rows that a name stands for where any of its generations will do: all of them, or the one that is named.
    ///
    /// # Errors
    /// `Malformed` when there is no such issuer.
    pub fn rows(&self, reference: &str) -> Result<Vec<i32>> {
        let mut rows: Vec<i32> = self.generations(reference).map(|issuer| issuer.id).collect();
        if rows.is_empty() {
            rows.extend(self.by_reference(reference).map(|issuer| issuer.id));
        }
        if rows.is_empty() {
            let shown: String = reference.chars().take(80).flat_map(char::escape_default).collect();
            return Err(Error::malformed(format!("`issuer` is not valid: there is no issuer `{shown}`")));
        }
        Ok(rows)
    }

    /// Finds an issuer by its name in URLs: `issuing` is the first generation, `issuing.2` the second.
    #[must_use]
    pub fn by_path_name(&self, path_name: &str) -> Option<&Arc<Issuer>> {
        let (name, generation) = generation_of(path_name).unwrap_or((path_name, 1));
        self.generations(name).find(|issuer| issuer.generation == generation)
    }

    /// Finds an issuer that waits for its first certificate, by name or by name and generation.
    #[must_use]
    pub fn pending_by_reference(&self, reference: &str) -> Option<&Arc<PendingIssuer>> {
        let (name, generation) = match generation_of(reference) {
            Some((name, generation)) => (name, Some(generation)),
            None => (reference, None),
        };
        let found = self.pending.iter().filter(|pending| {
            pending.name == name && generation.is_none_or(|generation| pending.record.generation == generation)
        });
        found.max_by_key(|pending| pending.record.generation)
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
                // Nor does anybody believe what a revoked CA vouches for.
                IssuerState::Active | IssuerState::Staged | IssuerState::Retired => issuer.revoked.is_some(),
            },
            certificate: issuer.certificate.clone(),
        };
        self.all.iter().map(own).collect()
    }

    /// Returns the names, for error messages.
    #[must_use]
    pub fn names(&self) -> String {
        let names: BTreeSet<&str> = self.all.iter().map(|issuer| issuer.name.as_str()).collect();
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }
}

/// To-be-signed bytes that were linted, for one signature.
#[derive(Debug)]
pub(super) struct PreparedCertificate {
    to_be_signed: Vec<u8>,
    serial: SerialNumber,
    crl_shard: i32,
    extensions: Vec<Extension>,
}

/// A signed certificate that has not been recorded yet: it must not leave the core.
#[derive(Debug)]
pub(super) struct SignedCertificate {
    pub(super) certificate: Certificate,
    pub(super) serial: SerialNumber,
    /// The shard of the CRL that its distribution point names; 0 for the full CRL.
    pub(super) crl_shard: i32,
}

impl Issuer {
    /// Returns the certificate at the end of the chain: the root, unless the issuer was imported without it.
    #[must_use]
    pub fn root(&self) -> &Certificate {
        self.chain.last().unwrap_or(&self.certificate)
    }

    /// Returns the chain without the root; for a root itself nothing.
    #[must_use]
    pub fn chain_without_root(&self) -> &[Certificate] {
        without_root(&self.chain)
    }

    /// Returns what most clients can verify by, without the root: where the root was rolled over, the primary chain with the certificate that the
    /// root before signed for its key.
    #[must_use]
    pub fn widest_chain(&self) -> &[Certificate] {
        let (primary, root) = (self.chain_without_root(), self.root());
        let longer = |chain: &&[Certificate]| {
            let begins = primary.iter().zip(chain.iter()).all(|(left, right)| left.as_der() == right.as_der());
            let next = chain.get(primary.len());
            begins && next.is_some_and(|next| next.public_key == root.public_key && next.subject == root.subject)
        };
        self.alternate_chains.iter().map(|chain| without_root(chain)).find(longer).unwrap_or(primary)
    }

    /// Returns the name that the API takes for exactly this generation, such as `issuing.1`.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}.{}", self.name, self.generation)
    }

    /// Whether the private key is at hand: not in a file that is not there, nor in a device that is away.
    #[must_use]
    pub fn can_sign(&self) -> bool {
        self.signer.as_ref().is_some_and(|signer| !signer.is_away())
    }

    /// Returns the identifier that certificates and CRLs refer to the key by: the certificate's own (RFC 5280, section 4.2.1.1).
    #[must_use]
    pub fn key_identifier(&self) -> Vec<u8> {
        key_identifier(&self.certificate)
    }

    /// Builds and lints what will be signed for an approved request.
    pub(super) fn prepare(
        &self,
        approved: &ApprovedRequest,
        serial: SerialNumber,
        settings: &Settings,
    ) -> Result<PreparedCertificate> {
        let crl_shard = self.crl_shard(&serial, settings);
        let extensions = self.leaf_extensions(approved, settings, crl_shard);
        let to_be_signed = linted(&self.template(approved, &serial, &extensions)?)?;
        Ok(PreparedCertificate { to_be_signed, serial, crl_shard, extensions })
    }

    fn template<'a>(
        &'a self,
        approved: &'a ApprovedRequest,
        serial: &'a SerialNumber,
        extensions: &'a [Extension],
    ) -> Result<CertificateTemplate<'a>> {
        Ok(CertificateTemplate {
            serial,
            signature_algorithm: self.signature_algorithm()?,
            issuer: &self.certificate.subject,
            not_before: approved.not_before(),
            not_after: approved.not_after(),
            subject: approved.subject(),
            public_key: approved.public_key(),
            extensions,
        })
    }

    /// Signs what was prepared for an approved request. The only call that touches the key for a certificate.
    pub(super) async fn sign(
        &self,
        approved: &ApprovedRequest,
        prepared: PreparedCertificate,
    ) -> Result<SignedCertificate> {
        let PreparedCertificate { to_be_signed, serial, crl_shard, extensions } = prepared;
        let der = self.sign_object(to_be_signed).await?;
        let certificate = self.template(approved, &serial, &extensions)?.certificate(der)?;
        debug_assert_eq!(
            Certificate::from_der(certificate.as_der()).map(|parsed| format!("{parsed:?}")).unwrap_or_default(),
            format!("{certificate:?}"),
            "what was signed is what others read"
        );
        Ok(SignedCertificate { certificate, serial, crl_shard })
    }

    /// Signs to-be-signed bytes of a certificate or CRL and joins them to the whole object.
    pub(super) async fn sign_object(&self, to_be_signed: Vec<u8>) -> Result<Vec<u8>> {
        sign_with(self.signer()?, to_be_signed).await
    }

    /// Closes and signs a CRL, in its own memory. It may have a million entries, so that its digest alone is too much for an async worker.
    pub(super) async fn sign_crl(&self, crl: CrlBuilder) -> Result<Vec<u8>> {
        let signer = Arc::clone(self.signer()?);
        tasks::spawn_blocking(move || {
            let unsigned = crl.finish();
            let signature = signer.sign(unsigned.to_be_signed())?;
            Ok(unsigned.with_signature(&signature))
        })
        .await
    }

    /// Refuses when the private key is not at hand, before work is done that would be lost.
    pub(super) fn require_key(&self) -> Result<()> {
        if self.signer()?.is_away() {
            let detail = format!("the device with the key of the issuer `{}` is away", self.path_name);
            return Err(Error::new(ErrorKind::Unavailable, detail).with_retry_after(60));
        }
        Ok(())
    }

    /// Returns the algorithm this issuer signs with.
    pub(super) fn signature_algorithm(&self) -> Result<SignatureAlgorithm> {
        Ok(self.signer()?.signature_algorithm())
    }

    /// Whether the key is in a device that is away or refuses us.
    #[must_use]
    pub fn device_is_away(&self) -> bool {
        match (&self.record.key, self.state) {
            (KeyLocation::Pkcs11(_), IssuerState::Active | IssuerState::Staged | IssuerState::Retired) => {
                !self.can_sign()
            }
            (KeyLocation::Pkcs11(_), IssuerState::Disabled) => false,
            (KeyLocation::Database(_) | KeyLocation::File(_), _) => false,
        }
    }

    /// Returns the key when it is in a device, which may be away and come back.
    pub(super) fn device_key(&self) -> Option<Arc<dyn Signer>> {
        match self.record.key {
            KeyLocation::Pkcs11(_) => self.signer.clone(),
            KeyLocation::Database(_) | KeyLocation::File(_) => None,
        }
    }

    pub(super) fn signer(&self) -> Result<&Arc<dyn Signer>> {
        self.signer.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, format!("the key of the issuer `{}` is not at hand", self.path_name))
                .with_retry_after(60)
        })
    }

    /// Returns where the CRL of a shard is fetched, as certificates say it.
    fn crl_distribution_points(&self, settings: &Settings, crl_shard: i32) -> Vec<String> {
        match &self.settings.urls.crl {
            Some(addresses) if crl_shard == 0 => addresses.clone(),
            Some(_) | None => vec![shard_url(settings, &self.path_name, crl_shard)],
        }
    }

    /// Chooses the shard of the CRL for a new certificate by the random end of its serial number. A shard that was never published is not
    /// chosen: whoever gets the certificate must find its CRL.
    fn crl_shard(&self, serial: &SerialNumber, settings: &Settings) -> i32 {
        let shards = CrlPolicy::of(&self.settings, settings).shards.min(self.record.maximum_shard);
        let random = serial.as_bytes().iter().rev().take(7).fold(0_i64, |sum, octet| sum << 8 | i64::from(*octet));
        random.checked_rem(i64::from(shards)).map_or(0, |place| i32::try_from(place + 1).unwrap_or(0))
    }

    fn leaf_extensions(&self, approved: &ApprovedRequest, settings: &Settings, crl_shard: i32) -> Vec<Extension> {
        let mut extensions = vec![Extension::key_usage(approved.key_usage())];
        if !approved.extended_key_usage().is_empty() {
            extensions.push(Extension::extended_key_usage(approved.extended_key_usage()));
        }
        let authority = approved.certificate_authority();
        extensions.push(Extension::basic_constraints(authority.map(|authority| Some(authority.path_length))));
        extensions.extend(
            authority.and_then(|authority| authority.name_constraints.as_ref()).map(NameConstraints::to_extension),
        );
        extensions.push(Extension::subject_key_identifier(approved.public_key()));
        extensions.push(self.constant.authority_key_identifier.clone());
        extensions.extend(self.constant.authority_information_access.clone());
        if !approved.names().is_empty() {
            extensions.push(Extension::subject_alt_name(approved.names(), approved.subject().is_empty()));
        }
        if !approved.certificate_policies().is_empty() {
            extensions.push(Extension::certificate_policies(approved.certificate_policies()));
        }
        let points = self.crl_distribution_points(settings, crl_shard);
        if !points.is_empty() {
            extensions.push(Extension::crl_distribution_points(&points));
            if CrlPolicy::of(&self.settings, settings).delta_interval.is_some() {
                extensions.push(Extension::freshest_crl(&[delta_url(settings, &self.path_name, crl_shard)]));
            }
        }
        if approved.must_staple() {
            extensions.push(Extension::must_staple());
        }
        extensions
    }
}

/// Returns a chain without the self-issued certificate at its end, if there is one.
#[must_use]
pub fn without_root(chain: &[Certificate]) -> &[Certificate] {
    match chain.split_last() {
        Some((last, rest)) if last.subject.as_der() == last.issuer.as_der() => rest,
        Some(_) | None => chain,
    }
}

/// Splits `issuing.2` into name and generation; `None` for a name alone.
fn generation_of(reference: &str) -> Option<(&str, i32)> {
    let (name, generation) = reference.split_once('.')?;
    // Only the one way in which it is written, so that each address exists once.
    let generation = generation.parse().ok().filter(|number: &i32| *number > 0 && number.to_string() == generation)?;
    Some((name, generation))
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

fn key_identifier(certificate: &Certificate) -> Vec<u8> {
    certificate.subject_key_identifier.clone().unwrap_or_else(|| certificate.public_key.key_identifier().to_vec())
}

/// Returns the address of an issuer's certificate (RFC 5280, section 4.2.2.1, `caIssuers`).
pub(super) fn certificate_url(settings: &Settings, issuer: &str) -> String {
    format!("{}/pki/{issuer}.crt", settings.public_url)
}

/// Returns the address of an issuer's full CRL.
pub(super) fn crl_url(settings: &Settings, issuer: &str) -> String {
    format!("{}/pki/{issuer}.crl", settings.public_url)
}

/// Returns the address of a shard of an issuer's CRL; shard 0 is the full CRL.
pub(super) fn shard_url(settings: &Settings, issuer: &str, shard: i32) -> String {
    match shard {
        0 => crl_url(settings, issuer),
        shard => format!("{}/pki/{issuer}/{shard}.crl", settings.public_url),
    }
}

/// Returns the address of the delta CRL of a shard; shard 0 is the full CRL.
pub(super) fn delta_url(settings: &Settings, issuer: &str, shard: i32) -> String {
    match shard {
        0 => format!("{}/pki/{issuer}/delta.crl", settings.public_url),
        shard => format!("{}/pki/{issuer}/{shard}/delta.crl", settings.public_url),
    }
}

/// Returns the address of the OCSP responder of an issuer.
pub(super) fn ocsp_url(settings: &Settings, issuer: &str) -> String {
    format!("{}/ocsp/{issuer}", settings.public_url)
}
