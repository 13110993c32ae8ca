//! TLS client certificates: the checks on each request, beyond what the handshake proved (that the client has the key).
//!
//! A session may live for hours and be resumed; so validity, chain, usages and our own revocation state are checked here, per request,
//! with results held for two seconds. Which certificates are believed, and as whom, is decided by the rules in [`rules`].

mod path;
pub mod rules;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use const_oid::db::rfc5280::ID_KP_CLIENT_AUTH;

pub use rules::{ClientCertificateAuthority, ClientCertificateRule};

use super::api_token::sha256;
use super::cache::PrincipalCache;
use super::principal::{Method, Principal};
use super::records::CredentialRecords;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::CertificateState;
use crate::x509::{Certificate, ExtendedKeyUsage, KeyUsage, Timestamp};
use rules::Rule;

/// How long a checked certificate is believed without asking the storage, at the longest.
const CACHED_FOR: Duration = Duration::from_secs(2);
/// The most certificates that a client may send beside its own.
const MAXIMUM_INTERMEDIATES: usize = 8;

/// One of our own issuers, as a trust anchor and to know our own certificates by.
#[derive(Clone, Debug)]
pub struct OwnIssuer {
    /// The name.
    pub name: String,
    /// Whether it is disabled or revoked, and with it every certificate it signed.
    pub disabled: bool,
    /// Its certificate.
    pub certificate: Certificate,
}

/// Checks client certificates.
#[derive(Debug)]
pub(crate) struct ClientCertificates {
    records: Arc<dyn CredentialRecords>,
    rules: Vec<Rule>,
    issuers: ArcSwap<Vec<OwnIssuer>>,
    cache: PrincipalCache,
}

impl ClientCertificates {
    /// Checks the rules.
    ///
    /// # Errors
    /// `Configuration` naming the rule and what is wrong.
    pub(crate) fn new(
        rules: Vec<ClientCertificateRule>,
        records: Arc<dyn CredentialRecords>,
        issuers: Vec<OwnIssuer>,
    ) -> Result<Self> {
        Ok(Self {
            records,
            rules: rules::compile(rules)?,
            issuers: ArcSwap::from_pointee(issuers),
            cache: PrincipalCache::new(CACHED_FOR),
        })
    }

    /// Takes our own issuers as they are now and drops what is cached.
    pub(crate) fn replace_issuers(&self, issuers: Vec<OwnIssuer>) {
        self.issuers.store(Arc::new(issuers));
        self.forget_all();
    }

    pub(crate) fn forget_all(&self) {
        self.cache.forget_all();
    }

    /// Returns the certificates (DER) that client certificates may chain to, for the handshake.
    pub(crate) fn roots(&self) -> Vec<Vec<u8>> {
        let issuers = self.issuers.load();
        let mut roots: Vec<Vec<u8>> = Vec::new();
        for rule in &self.rules {
            for anchor in rule.anchors(&issuers) {
                if !roots.iter().any(|root| root == anchor.as_der()) {
                    roots.push(anchor.as_der().to_vec());
                }
            }
        }
        roots
    }

    /// Checks a certificate at `now`; `intermediates` are those that the client sent beside it.
    ///
    /// # Errors
    /// `Unauthenticated` with what is wrong; those of the storage.
    pub(crate) async fn authenticate(
        &self,
        leaf: &[u8],
        intermediates: &[Vec<u8>],
        now: Timestamp,
    ) -> Result<Arc<Principal>> {
        let fingerprint = sha256(leaf);
        if let Some(principal) = self.cache.find(&fingerprint, now).await {
            return Ok(principal);
        }
        if intermediates.len() > MAXIMUM_INTERMEDIATES {
            return Err(refused(format!("the client sent over {MAXIMUM_INTERMEDIATES} certificates beside its own")));
        }
        let epoch = self.cache.epoch();
        let certificate = Certificate::from_der(leaf)
            .map_err(|error| refused("the client certificate cannot be parsed").with_source(error))?;
        refuse_unsuitable(&certificate, now)?;
        let (rule, identity, path) = self.first_rule(&certificate, fingerprint, intermediates, now)?;
        for certificate in path.iter().chain([&certificate]) {
            self.refuse_if_revoked(certificate).await?;
        }
        let principal = Arc::new(Principal {
            name: format!("certificate:{}:{identity}", rule.name),
            role: rule.role,
            grants: rule.grants.clone(),
            method: Method::ClientCertificate,
        });
        self.cache.insert(fingerprint, epoch, Arc::clone(&principal), certificate.not_after).await;
        Ok(principal)
    }

    /// Finds the first rule whose CA the certificate chains to and whose conditions it fulfils; with the name it fulfils them by, and
    /// the certificates between it and the CA.
    fn first_rule(
        &self,
        certificate: &Certificate,
        fingerprint: [u8; 32],
        intermediates: &[Vec<u8>],
        now: Timestamp,
    ) -> Result<(&Rule, String, Vec<Certificate>)> {
        let issuers = self.issuers.load();
        let mut no_path = None;
        let mut chains = false;
        for rule in &self.rules {
            match path::verify(certificate, intermediates, &rule.anchors(&issuers), &issuers, now) {
                Ok(path) => {
                    if let Some(identity) = rule.identity(certificate, fingerprint) {
                        return Ok((rule, identity, path));
                    }
                    chains = true;
                }
                Err(error) => no_path = Some(error),
            }
        }
        if chains {
            return Err(refused("the client certificate matches no rule"));
        }
        let refusal =
            refused("the client certificate does not chain to a CA that client certificates are accepted from");
        Err(match no_path {
            Some(error) => refusal.with_source(error),
            None => refusal,
        })
    }

    /// Refuses a certificate of one of our issuers that is not in the inventory, or not valid there.
    async fn refuse_if_revoked(&self, certificate: &Certificate) -> Result<()> {
        let issuers = self.issuers.load_full();
        let Some(issuer) = issuers.iter().find(|issuer| {
            issuer.certificate.subject.as_der() == certificate.issuer.as_der()
                && certificate.verify_issued_by(&issuer.certificate).is_ok()
        }) else {
            return Ok(());
        };
        let record = self
            .records
            .certificates(&certificate.serial)
            .await?
            .into_iter()
            .find(|record| record.fingerprint_sha256 == certificate.fingerprint_sha256())
            .ok_or_else(|| {
                tracing::error!(
                    serial = %certificate.serial, issuer = %issuer.name,
                    "a certificate of our own issuer is presented that is not in the inventory"
                );
                refused(format!(
                    "the certificate `{}` is of the issuer `{}`, but not in its inventory",
                    certificate.serial, issuer.name
                ))
            })?;
        match record.state {
            CertificateState::Valid => Ok(()),
            CertificateState::OnHold => Err(refused(format!("the certificate `{}` is on hold", certificate.serial))),
            CertificateState::Revoked => Err(refused(format!("the certificate `{}` is revoked", certificate.serial))),
        }
    }
}

/// Checks what does not depend on any rule.
fn refuse_unsuitable(certificate: &Certificate, now: Timestamp) -> Result<()> {
    if now < certificate.not_before {
        return Err(refused(format!("the client certificate is not valid before {}", certificate.not_before)));
    }
    if now > certificate.not_after {
        return Err(refused(format!("the client certificate expired at {}", certificate.not_after)));
    }
    if certificate.certificate_authority.is_some() {
        return Err(refused("the client certificate is that of a CA"));
    }
    let client_auth = ExtendedKeyUsage::from_oid(ID_KP_CLIENT_AUTH);
    if !certificate.extended_key_usage.as_ref().is_some_and(|usages| usages.contains(&client_auth)) {
        return Err(refused("the client certificate is without the extended key usage `client_auth`"));
    }
    if certificate.key_usage.as_ref().is_some_and(|usages| !usages.contains(&KeyUsage::DigitalSignature)) {
        return Err(refused("the client certificate is without the key usage `digital_signature`"));
    }
    Ok(())
}

fn refused(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unauthenticated, detail)
}
