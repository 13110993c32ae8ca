//! Loads the issuers: their records, chains and limits, and the keys of those that are new. Making them is in `ca/issuers/`.

use std::sync::Arc;

use super::constant::ConstantExtensions;
use super::{Issuer, IssuerTexts, Issuers, PendingIssuer};
use crate::auth::Authorized;
use crate::auth::permission::ReadIssuers;
use crate::ca::CertificateAuthority;
use crate::ca::issuers::chains;
use crate::ca::settings::IssuerSettings;
use crate::error::{Error, Result};
use crate::policy::IssuerLimits;
use crate::signer::Signer;
use crate::storage::{IssuerRecord, IssuerState, KeyLocation};
use crate::x509::{Certificate, CertificateRequest, DistinguishedName};

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
    pub(in crate::ca) async fn load_issuers(&self, starting: bool) -> Result<()> {
        let before = self.issuers();
        let records = self.storage.issuers().await?;
        let subjects = subjects(&records)?;
        let (mut all, mut pending) = (Vec::new(), Vec::new());
        for record in &records {
            let Some(primary) = record.certificates.first() else {
                pending.push(Arc::new(PendingIssuer {
                    name: record.base_name.clone(),
                    path_name: record.name.clone(),
                    record: record.clone(),
                }));
                continue;
            };
            let certificate = Certificate::from_der(&primary.der)?;
            let known = before.by_id(record.id).filter(|issuer| issuer.record.key == record.key);
            // The key in its earlier place. What is in memory signs on when the new place cannot be opened here: a move must not end it.
            let earlier = before
                .by_id(record.id)
                .and_then(|issuer| issuer.signer.clone())
                .filter(|signer| signer.public_key() == &certificate.public_key);
            let signer = match known.and_then(|issuer| issuer.signer.clone()) {
                Some(_) if record.state == IssuerState::Disabled => None,
                Some(signer) => Some(signer),
                None => match self.open_key(record, &certificate).await {
                    Err(error) if !starting => {
                        let signs_on = earlier.is_some();
                        tracing::error!(issuer = %record.name, %error, signs_on, "the key of the issuer cannot be opened");
                        earlier
                    }
                    opened => opened?,
                },
            };
            let parent = records.iter().find(|parent| Some(parent.id) == primary.parent_id);
            let mut chains = chains::chains(record, &records)?;
            let alternate_chains = chains.split_off(1.min(chains.len()));
            let chain = chains.pop().unwrap_or_default();
            let limits = IssuerLimits::of_chain(&certificate, chain.get(1..).unwrap_or_default()).reserving(&subjects);
            let settings = IssuerSettings::from_stored(&record.settings)?;
            all.push(Arc::new(Issuer {
                id: record.id,
                name: record.base_name.clone(),
                generation: record.generation,
                path_name: record.name.clone(),
                parent: parent.map(|parent| parent.name.clone()),
                state: record.state,
                is_default: record.is_default,
                texts: IssuerTexts::of(&chain, &certificate)?,
                constant: ConstantExtensions::of(
                    &certificate,
                    &settings,
                    &self.settings,
                    (&record.base_name, &record.name),
                ),
                settings,
                certificate,
                chain,
                limits,
                alternate_chains,
                revoked: chains::revoked(record, &records)?,
                record: record.clone(),
                signer,
            }));
        }
        self.issuers.store(Arc::new(Issuers { all, pending }));
        Ok(())
    }

    async fn open_key(&self, record: &IssuerRecord, certificate: &Certificate) -> Result<Option<Arc<dyn Signer>>> {
        if record.state == IssuerState::Disabled {
            return Ok(None);
        }
        match (self.keys.open(&record.key, &certificate.public_key).await, &record.key) {
            (Ok(signer), _) => Ok(Some(signer)),
            // No reason not to serve what needs no signature: and a service that is started again and again with a wrong PIN locks the token.
            (Err(error), KeyLocation::Pkcs11(_)) => {
                tracing::error!(issuer = %record.name, %error, "the issuer's key in a token cannot be used; it cannot sign");
                Ok(None)
            }
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

/// Returns the subjects of all issuers, waiting ones included.
fn subjects(records: &[IssuerRecord]) -> Result<Vec<DistinguishedName>> {
    let mut subjects = Vec::with_capacity(records.len());
    for record in records {
        match (record.certificates.first(), &record.csr) {
            (Some(certificate), _) => subjects.push(Certificate::from_der(&certificate.der)?.subject),
            (None, Some(csr)) => subjects.push(CertificateRequest::parse(csr)?.subject().clone()),
            (None, None) => {}
        }
    }
    Ok(subjects)
}
