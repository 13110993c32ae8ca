//! Looks after the keys of issuers where they are kept: lists them, seals them anew under another key-encryption key, and moves them.
//! Making and using them is elsewhere; what a place is, is in `signer/key_store.rs`.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::CertificateAuthority;
use super::acme::external_accounts;
use super::tokens::sealing_context;
use crate::auth::permission::ManageKeys;
use crate::auth::{Authorized, Caller};
use crate::error::{Error, ErrorKind, Result};
use crate::signer::Signer;
use crate::signer::key_store::KeyPlace;
use crate::signer::sealing::Sealed;
use crate::storage::{AuditOutcome, IssuerRecord, KeyLocation, KeyRecord, SealedSecret, SecretOwner};
use crate::tasks;
use crate::x509::{Certificate, CertificateRequest, PublicKey};

/// How many secrets are read at once.
const PAGE: u16 = 500;

/// How often what another process changed meanwhile is looked at again.
const ATTEMPTS: usize = 5;

/// A key and the issuers that sign with it.
#[derive(Clone, Debug)]
pub struct KeyView {
    /// The record.
    pub record: KeyRecord,
    /// The names in URLs of its issuers.
    pub issuers: Vec<String>,
}

/// What re-sealing did.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct Resealed {
    /// The identifier of the key-encryption key that everything is sealed under now.
    pub key_encryption_key: String,
    /// How many CA keys were sealed anew.
    pub ca_keys: u64,
    /// How many keys of OCSP responders.
    pub ocsp_responders: u64,
    /// How many external account keys.
    pub external_account_keys: u64,
    /// How many answers kept for repeated requests.
    pub idempotency_answers: u64,
    /// What could not be sealed anew, and why.
    pub failures: Vec<String>,
}

/// What a move did.
#[derive(Clone, Debug)]
pub struct Moved {
    /// Where the key was.
    pub from: KeyLocation,
    /// Where it is.
    pub to: KeyLocation,
    /// Whether it was moved; not when it was there already.
    pub moved: bool,
}

impl CertificateAuthority {
    /// Lists the CA keys.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn keys(&self, _authorization: &Authorized<ManageKeys>) -> Result<Vec<KeyView>> {
        let issuers = self.storage.issuers().await?;
        let keys = self.storage.keys().await?;
        let view = |record: KeyRecord| {
            let named = issuers.iter().filter(|issuer| issuer.key == record.location);
            KeyView { issuers: named.map(|issuer| issuer.name.clone()).collect(), record }
        };
        Ok(keys.into_iter().map(view).collect())
    }

    /// Opens a key and has it sign something.
    ///
    /// # Errors
    /// As [`crate::signer::key_store::KeyStore::open`] and [`Signer::check`].
    pub async fn check_key(&self, _authorization: &Authorized<ManageKeys>, key: &KeyView) -> Result<()> {
        let issuers = self.storage.issuers().await?;
        let issuer = issuers.iter().find(|issuer| issuer.key == key.record.location);
        let issuer = issuer.ok_or_else(|| Error::conflict("no issuer signs with this key"))?;
        let signer = self.keys.open(&key.record.location, &public_key(issuer)?).await?;
        check_signer(signer).await
    }

    /// Counts the secrets other than CA keys that are not sealed under the present key-encryption key.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn secrets_under_previous_keys(&self, _authorization: &Authorized<ManageKeys>) -> Result<u64> {
        let mut count = 0_u64;
        let mut after = None;
        loop {
            let page = self.storage.other_secrets(self.keys.key_encryption_key_id(), after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(count) };
            count = count.saturating_add(u64::try_from(page.len()).unwrap_or(u64::MAX));
            after = Some(last.owner.clone());
        }
    }

    /// Returns the identifier of the present key-encryption key.
    #[must_use]
    pub fn key_encryption_key_id(&self) -> &str {
        self.keys.key_encryption_key_id()
    }

    /// Seals every secret in the database under the present key-encryption key, each by a statement that changes it only if it still is
    /// what was opened. Safe while services run that know both keys, and to run twice or in two places.
    ///
    /// # Errors
    /// Those of the storage; what cannot be opened is told in the result.
    pub async fn reseal(&self, authorization: &Authorized<ManageKeys>) -> Result<Resealed> {
        let caller = authorization.caller();
        let key_encryption_key = self.keys.key_encryption_key_id().to_owned();
        let mut done = Resealed { key_encryption_key: key_encryption_key.clone(), ..Resealed::default() };
        self.reseal_ca_keys(caller, &mut done).await?;
        self.reseal_others(&mut done).await?;
        let changed = done.ca_keys > 0
            || done.ocsp_responders > 0
            || done.external_account_keys > 0
            || done.idempotency_answers > 0;
        if changed || !done.failures.is_empty() {
            let outcome = if done.failures.is_empty() { AuditOutcome::Success } else { AuditOutcome::Refused };
            let details = json!({
                "ca_keys": done.ca_keys,
                "ocsp_responders": done.ocsp_responders,
                "external_account_keys": done.external_account_keys,
                "idempotency_answers": done.idempotency_answers,
                "failures": done.failures,
            });
            let object = format!("key-encryption-key:{key_encryption_key}");
            self.storage.record_audit(self.event(caller, "keys.reseal", outcome, object, details)).await?;
        }
        Ok(done)
    }

    async fn reseal_ca_keys(&self, caller: &Caller, done: &mut Resealed) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let mut is_settled = true;
            done.failures.clear();
            for key in self.storage.keys().await? {
                let location = match self.keys.reseal_key(&key) {
                    Ok(Some(location)) => location,
                    Ok(None) => continue,
                    Err(error) => {
                        done.failures.push(format!("the CA key {}: {error}", hex::encode(key.spki_sha256)));
                        continue;
                    }
                };
                let details = json!({ "from": described(&key.location), "to": described(&location) });
                let event = self.event(caller, "key.reseal", AuditOutcome::Success, object(&key), details);
                if self.storage.move_key(key.id, &key.location, &location, event).await? {
                    done.ca_keys = done.ca_keys.saturating_add(1);
                } else {
                    is_settled = false;
                }
            }
            if is_settled {
                return Ok(());
            }
        }
        Err(Error::conflict("the places of CA keys change all the time; try again when nobody else changes them"))
    }

    /// Secrets that change meanwhile are sealed under the present key by whoever changes them.
    async fn reseal_others(&self, done: &mut Resealed) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.storage.other_secrets(self.keys.key_encryption_key_id(), after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.owner.clone());
            for secret in &page {
                match self.resealed(secret) {
                    Err(error) => done.failures.push(format!("{}: {error}", name_of(&secret.owner))),
                    Ok(None) => {}
                    Ok(Some(sealed)) => {
                        if !self.storage.reseal_other(&secret.owner, &secret.sealed, &sealed).await? {
                            continue;
                        }
                        let count = match &secret.owner {
                            SecretOwner::OcspResponder { .. } => &mut done.ocsp_responders,
                            SecretOwner::ExternalAccountKey { .. } => &mut done.external_account_keys,
                            SecretOwner::IdempotencyAnswer { .. } => &mut done.idempotency_answers,
                        };
                        *count = count.saturating_add(1);
                    }
                }
            }
        }
    }

    fn resealed(&self, secret: &SealedSecret) -> Result<Option<Sealed>> {
        match &secret.owner {
            SecretOwner::OcspResponder { certificate, .. } => {
                let spki_sha256 = Certificate::from_der(certificate)?.public_key.spki_sha256();
                self.keys.reseal_private_key(&secret.sealed, &spki_sha256)
            }
            SecretOwner::ExternalAccountKey { key_id, .. } => {
                self.keys.reseal(&secret.sealed, &external_accounts::key_context(key_id))
            }
            SecretOwner::IdempotencyAnswer { caller, key } => {
                self.keys.reseal(&secret.sealed, &sealing_context(caller, key))
            }
        }
    }

    /// Moves the key of an issuer to another place. A file is written and synced first; then the place is changed in the database by one
    /// statement, if it still is what was copied. A file that the key was in stays as it is.
    ///
    /// # Errors
    /// `NotFound` for an issuer that is not there; `Conflict` for a key that cannot be moved or was moved meanwhile; those of key store
    /// and storage.
    pub async fn move_key(
        &self,
        authorization: &Authorized<ManageKeys>,
        issuer: &str,
        place: &NewPlace,
    ) -> Result<Moved> {
        let caller = authorization.caller();
        let result = async {
            let (name, location) = self.key_of(issuer).await?;
            let place = match place {
                NewPlace::Database => KeyPlace::Database,
                NewPlace::File(Some(path)) => KeyPlace::File(path.clone()),
                NewPlace::File(None) => self.keys.file_place(&name)?,
            };
            let key = self.storage.keys().await?.into_iter().find(|key| key.location == location);
            let key = key.ok_or_else(|| moved_meanwhile(issuer))?;
            let Some(to) = self.keys.copy(&key, &place).await? else {
                return Ok(Moved { from: key.location.clone(), to: key.location, moved: false });
            };
            let details = json!({ "issuer": name, "from": described(&key.location), "to": described(&to) });
            let event = self.event(caller, "key.move", AuditOutcome::Success, object(&key), details);
            if !self.storage.move_key(key.id, &key.location, &to, event).await? {
                return Err(moved_meanwhile(issuer));
            }
            Ok(Moved { from: key.location, to, moved: true })
        };
        let outcome = result.await;
        self.audited(caller, "key.move", format!("issuer:{issuer}"), outcome).await
    }

    /// Finds the path name of an issuer, waiting ones included, and where its key is.
    async fn key_of(&self, issuer: &str) -> Result<(String, KeyLocation)> {
        // What another replica did a moment ago counts.
        self.refresh().await?;
        let issuers = self.issuers();
        if let Some(found) = issuers.by_reference(issuer) {
            return Ok((found.path_name.clone(), found.record.key.clone()));
        }
        if let Some(found) = issuers.pending_by_reference(issuer) {
            return Ok((found.path_name.clone(), found.record.key.clone()));
        }
        Err(Error::not_found(format!("there is no issuer `{}`; there are: {}", issuer.escape_debug(), issuers.names())))
    }

    /// Tries the keys of issuers: those of devices that were away, or all, so that one that went away unnoticed is noticed. Called every
    /// few seconds by a job.
    pub async fn try_keys(&self, all: bool) {
        for issuer in self.issuers().all() {
            let Some(signer) = issuer.device_key() else { continue };
            if !all && !signer.is_away() {
                continue;
            }
            if let Err(error) = check_signer(signer).await
                && error.kind() != ErrorKind::Unavailable
            {
                tracing::error!(issuer = %issuer.path_name, %error, "the issuer's key cannot be used");
            }
        }
    }
}

/// Where a key is to be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewPlace {
    /// Into the database.
    Database,
    /// Into this file, or the one that the service names.
    File(Option<std::path::PathBuf>),
}

async fn check_signer(signer: Arc<dyn Signer>) -> Result<()> {
    tasks::spawn_blocking(move || signer.check()).await
}

fn moved_meanwhile(issuer: &str) -> Error {
    Error::conflict(format!("the key of the issuer `{issuer}` was moved or sealed anew meanwhile; try again"))
}

/// The object of audit events.
fn object(key: &KeyRecord) -> String {
    format!("key:{}", hex::encode(key.spki_sha256))
}

/// Describes a place for the audit log and for people; nothing of the key.
#[must_use]
pub fn described(location: &KeyLocation) -> Value {
    match location {
        KeyLocation::Database(sealed) => {
            json!({ "place": "database", "key_encryption_key": sealed.key_encryption_key_id })
        }
        KeyLocation::File(path) => json!({ "place": "file", "path": path }),
        KeyLocation::Pkcs11(uri) => json!({ "place": "pkcs11", "uri": uri }),
    }
}

fn name_of(owner: &SecretOwner) -> String {
    match owner {
        SecretOwner::OcspResponder { issuer_id, .. } => format!("the key of the OCSP responder of issuer {issuer_id}"),
        SecretOwner::ExternalAccountKey { key_id, .. } => format!("the external account key `{key_id}`"),
        SecretOwner::IdempotencyAnswer { key, .. } => format!("the answer to the idempotency key `{key}`"),
    }
}

/// Returns the public key of an issuer: its certificate's, else that of the request that waits for a certificate.
fn public_key(issuer: &IssuerRecord) -> Result<PublicKey> {
    match (issuer.certificates.first(), &issuer.csr) {
        (Some(certificate), _) => Ok(Certificate::from_der(&certificate.der)?.public_key),
        (None, Some(csr)) => Ok(CertificateRequest::parse(csr)?.public_key().clone()),
        (None, None) => Err(Error::internal(format!("the issuer `{}` has neither certificate nor CSR", issuer.name))),
    }
}
