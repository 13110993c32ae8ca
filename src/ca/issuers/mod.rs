//! What is done to issuers: they are created, signed outside, rolled over, cross-signed, and led from state to state. What an issuer is and
//! how it signs is in `issuer.rs`; the first ones are made in `hierarchy.rs`.

pub mod certify;
pub(super) mod chains;
pub mod creation;
pub mod cross_signing;
pub mod expiry;
pub mod key_making;
pub mod outside;
pub mod rollover;
pub mod states;

use std::sync::Arc;

use serde_json::{Value, json};

use super::CertificateAuthority;
use super::issuance::{IDEMPOTENCY_KEY_LIFETIME, Idempotency, key_reused};
use super::issuer::{Issuer, Issuers, PendingIssuer};
use super::tokens::sealing_context;
use crate::auth::permission::ReadIssuers;
use crate::auth::{Authorized, Caller};
use crate::error::{Error, ErrorKind, Result, Violation};
use crate::policy;
use crate::storage::{
    IdempotencyClaim, IdempotencyResult, IssuerChange, IssuerRecord, IssuerState, NewCertificate, NewIssuerCertificate,
    SignedBy, Source,
};
use crate::x509::{Certificate, CertificateRequest, DistinguishedName, Timestamp};

/// What the stored answer to a repeated request begins with.
const ANSWER: &str = "issuer:";

/// An issuer, whether it has a certificate or waits for its first.
#[derive(Clone, Debug)]
pub enum AnyIssuer {
    /// It has a certificate.
    Ready(Arc<Issuer>),
    /// It waits for its first certificate.
    Pending(Arc<PendingIssuer>),
}

/// An issuer that was created or changed, and whether this request did it.
#[derive(Clone, Debug)]
pub struct ChangedIssuer {
    /// The issuer as it is now.
    pub issuer: AnyIssuer,
    /// Whether an earlier request with the same idempotency key did it.
    pub replayed: bool,
}

impl AnyIssuer {
    /// Returns the name, the same for every generation.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Ready(issuer) => &issuer.name,
            Self::Pending(pending) => &pending.name,
        }
    }

    /// Returns the name in URLs.
    #[must_use]
    pub fn path_name(&self) -> &str {
        match self {
            Self::Ready(issuer) => &issuer.path_name,
            Self::Pending(pending) => &pending.path_name,
        }
    }

    /// Returns what says exactly this generation to the API: the name, a dot and the generation.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}.{}", self.name(), self.record().generation)
    }

    /// Returns the record.
    #[must_use]
    pub fn record(&self) -> &IssuerRecord {
        match self {
            Self::Ready(issuer) => &issuer.record,
            Self::Pending(pending) => &pending.record,
        }
    }

    /// Returns the subject: that of its certificate, or the one that was asked for.
    pub(super) fn subject(&self) -> Result<DistinguishedName> {
        match self {
            Self::Ready(issuer) => Ok(issuer.certificate.subject.clone()),
            Self::Pending(pending) => {
                let csr = pending.record.csr.as_deref();
                let csr = csr.ok_or_else(|| Error::internal("an issuer without certificate has no request for one"))?;
                Ok(CertificateRequest::parse(csr)?.subject().clone())
            }
        }
    }
}

impl Issuers {
    /// Finds an issuer whose subject is this name, waiting ones included, other than those that `except` leaves out.
    pub(super) fn named(
        &self,
        subject: &DistinguishedName,
        except: impl Fn(&AnyIssuer) -> bool,
    ) -> Result<Option<AnyIssuer>> {
        for issuer in self.every().filter(|issuer| !except(issuer)) {
            if issuer.subject()?.is_equivalent(subject) {
                return Ok(Some(issuer));
            }
        }
        Ok(None)
    }

    /// Returns every generation of every issuer, waiting ones too.
    pub fn every(&self) -> impl Iterator<Item = AnyIssuer> + '_ {
        let ready = self.all().iter().cloned().map(AnyIssuer::Ready);
        ready.chain(self.pending().iter().cloned().map(AnyIssuer::Pending))
    }

    /// Finds an issuer as the API names it, one that waits for its first certificate only when no other has the name.
    #[must_use]
    pub fn any_by_reference(&self, reference: &str) -> Option<AnyIssuer> {
        let ready = self.by_reference(reference).cloned().map(AnyIssuer::Ready);
        ready.or_else(|| self.pending_by_reference(reference).cloned().map(AnyIssuer::Pending))
    }

    /// Finds the issuer that a certificate from outside is for: one that waits for its first certificate before any other.
    #[must_use]
    pub fn expecting(&self, reference: &str) -> Option<AnyIssuer> {
        let pending = self.pending_by_reference(reference).cloned().map(AnyIssuer::Pending);
        pending.or_else(|| self.by_reference(reference).cloned().map(AnyIssuer::Ready))
    }

    /// Returns the newest generation of a name.
    fn newest(&self, name: &str) -> Option<AnyIssuer> {
        self.every().filter(|issuer| issuer.name() == name).max_by_key(|issuer| issuer.record().generation)
    }
}

/// Makes the error for an issuer that does not exist.
pub(super) fn no_issuer(issuers: &Issuers, reference: &str) -> Error {
    let reference: String = reference.chars().take(64).flat_map(char::escape_default).collect();
    Error::not_found(format!("there is no issuer `{reference}`; there are: {}", issuers.names()))
}

/// Refuses an issuer that the caller's grants leave out.
pub(super) fn refuse_ungranted(caller: &Caller, name: &str) -> Result<()> {
    if caller.principal.grants.allow_issuer(name) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Forbidden, format!("the caller's grants do not include the issuer `{name}`")))
}

/// What the audit log says of an issuer's certificate.
pub(super) fn described(certificate: &Certificate) -> Value {
    json!({
        "subject": certificate.subject.to_string(),
        "serial": certificate.serial.to_string(),
        "issued_by": certificate.issuer.to_string(),
        "key_algorithm": certificate.public_key.algorithm_name(),
        "not_after": certificate.not_after,
        "fingerprint_sha256": hex::encode(certificate.fingerprint_sha256()),
    })
}

/// Adds a field to a JSON object.
fn with(mut object: Value, field: &str, value: Value) -> Value {
    if let Value::Object(map) = &mut object {
        map.insert(field.to_owned(), value);
    }
    object
}

/// Makes the change that leads an issuer out of one state.
fn change_of(issuer: &IssuerRecord) -> IssuerChange {
    IssuerChange { id: issuer.id, from: vec![issuer.state], ..IssuerChange::default() }
}

impl CertificateAuthority {
    /// Finds something among the issuers; when it is not there, once more after a look at the storage: another replica may have made it a
    /// moment ago.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn find_issuer<T>(
        &self,
        _authorization: &Authorized<ReadIssuers>,
        find: impl Fn(&Issuers) -> Option<T>,
    ) -> Result<Option<T>> {
        if let Some(found) = find(&self.issuers()) {
            return Ok(Some(found));
        }
        self.refresh().await?;
        Ok(find(&self.issuers()))
    }

    /// Makes the record of a certificate that an issuer here signed (or the issuer itself) for one of our issuers.
    pub(super) fn issuer_certificate(
        &self,
        caller: &Caller,
        certificate: &Certificate,
        signed_by: SignedBy,
    ) -> NewIssuerCertificate {
        let now = self.clock.now();
        NewIssuerCertificate {
            signed_by,
            fingerprint_sha256: certificate.fingerprint_sha256(),
            der: certificate.as_der().to_vec(),
            upper_chain: Vec::new(),
            created_at: now,
            inventory: Some(inventory_entry(caller, certificate, Source::Internal, now)),
        }
    }

    /// Ties an answer, the issuer with this name in URLs, to an idempotency key.
    fn issuer_claim(
        &self,
        caller: &Caller,
        idempotency: Option<&Idempotency>,
        path_name: &str,
    ) -> Result<Option<(IdempotencyClaim, IdempotencyResult)>> {
        let Some(idempotency) = idempotency else { return Ok(None) };
        let answer = format!("{ANSWER}{path_name}");
        let sealed = self.keys.seal(answer.as_bytes(), &sealing_context(&caller.principal.name, &idempotency.key))?;
        Ok(Some((self.claim(caller, idempotency), IdempotencyResult::Sealed(sealed))))
    }

    fn claim(&self, caller: &Caller, idempotency: &Idempotency) -> IdempotencyClaim {
        IdempotencyClaim {
            caller: caller.principal.name.clone(),
            key: idempotency.key.clone(),
            request_sha256: idempotency.request_sha256,
            expires_at: self.clock.now() + IDEMPOTENCY_KEY_LIFETIME,
        }
    }

    /// Finds the issuer that an earlier request with the same idempotency key led to.
    async fn replay_issuer(&self, caller: &Caller, idempotency: Option<&Idempotency>) -> Result<Option<ChangedIssuer>> {
        let Some(idempotency) = idempotency else { return Ok(None) };
        let now = self.clock.now();
        let Some(answer) = self.storage.idempotent_answer(&caller.principal.name, &idempotency.key, now).await? else {
            return Ok(None);
        };
        let (IdempotencyResult::Sealed(sealed), true) =
            (&answer.result, answer.request_sha256 == idempotency.request_sha256)
        else {
            return Err(key_reused(&idempotency.key));
        };
        let text = self.keys.unseal(sealed, &sealing_context(&caller.principal.name, &idempotency.key))?;
        let path_name = std::str::from_utf8(&text).ok().and_then(|text| text.strip_prefix(ANSWER));
        let path_name = path_name.ok_or_else(|| key_reused(&idempotency.key))?;
        self.refresh().await?;
        let issuer = self.issuers().every().find(|issuer| issuer.path_name() == path_name);
        let issuer =
            issuer.ok_or_else(|| Error::internal("the issuer of an idempotency key is not in the database"))?;
        Ok(Some(ChangedIssuer { issuer, replayed: true }))
    }

    /// Loads what was just changed, has its CRL published soon, and answers it.
    async fn changed(&self, id_or_path: &str) -> Result<ChangedIssuer> {
        self.refresh().await?;
        self.revocation.notify_one();
        let issuer = self.issuers().every().find(|issuer| issuer.path_name() == id_or_path);
        let issuer = issuer.ok_or_else(|| Error::internal("an issuer that was just changed is not there"))?;
        Ok(ChangedIssuer { issuer, replayed: false })
    }

    /// Explains a write that was not made: a repetition gets the first one's answer, anybody else is told to look again.
    async fn lost(&self, caller: &Caller, idempotency: Option<&Idempotency>, detail: String) -> Result<ChangedIssuer> {
        if let Some(replayed) = self.replay_issuer(caller, idempotency).await? {
            return Ok(replayed);
        }
        self.refresh().await?;
        Err(Error::conflict(detail))
    }

    /// Refuses a key that is on the block list: nobody certifies it any more. The commit of a certificate looks again.
    pub(super) async fn refuse_blocked(&self, spki_sha256: &[u8; 32], field: &str) -> Result<()> {
        if self.storage.key_is_blocked(spki_sha256).await? {
            let violation = Violation { field: field.to_owned(), ..policy::key_blocked(spki_sha256) };
            return Err(Error::policy(vec![violation]));
        }
        Ok(())
    }

    /// Refuses an issuer that must not sign certificates now: not active, without its key, ended, or under a revoked certificate or a blocked
    /// key.
    pub(super) fn refuse_unfit(&self, issuer: &Issuer) -> Result<()> {
        let name = &issuer.path_name;
        match issuer.state {
            IssuerState::Active => {}
            IssuerState::Staged | IssuerState::Retired | IssuerState::Disabled => {
                return Err(Error::conflict(format!("the issuer `{name}` is not active and signs no certificates")));
            }
        }
        if let Some(revoked) = &issuer.revoked {
            return Err(Error::conflict(format!(
                "the issuer `{name}` signs no certificates: that of `{revoked}` in its chain is revoked or on hold, or its key is blocked"
            )));
        }
        let end = issuer.certificate.not_after;
        if end < self.clock.now() {
            return Err(Error::conflict(format!(
                "the certificate of the issuer `{name}` ended on `{end}`; roll the issuer over or renew its certificate"
            )));
        }
        Ok(())
    }
}

/// Makes the inventory's entry of a CA certificate.
pub(super) fn inventory_entry(
    caller: &Caller,
    certificate: &Certificate,
    source: Source,
    now: Timestamp,
) -> NewCertificate {
    NewCertificate {
        serial: certificate.serial.clone(),
        // Filled in by the storage, which alone knows the rows.
        issuer_id: 0,
        profile: super::hierarchy::CA_PROFILE.to_owned(),
        profile_version: 1,
        requester: caller.principal.name.clone(),
        source,
        subject: certificate.subject.to_string(),
        names: certificate.names.clone(),
        key_algorithm: super::issuance::key_algorithm(certificate),
        spki_sha256: certificate.public_key.spki_sha256(),
        fingerprint_sha256: certificate.fingerprint_sha256(),
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        issued_at: now,
        labels: std::collections::BTreeMap::new(),
        crl_shard: 0,
        der: certificate.as_der().to_vec(),
    }
}
