//! Delegated responders (RFC 6960, section 4.2.2.2): one for each issuer, made and renewed here, its key sealed in the database.
//!
//! So replicas share it, answers can be signed while the issuer's own key is away, and that key signs one certificate in weeks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::answers::Refusal;
use crate::auth::Caller;
use crate::ca::CertificateAuthority;
use crate::ca::issuance::key_algorithm;
use crate::ca::issuer::{Issuer, linted};
use crate::error::{Error, Result};
use crate::signer::Signer;
use crate::signer::key_store::KeyPlace;
use crate::storage::{
    AuditOutcome, IssuerState, KeyLocation, NewCertificate, NewOcspResponder, OcspResponderRecord, Source,
};
use crate::x509::distinguished_name::AttributeType;
use crate::x509::extension::Extension;
use crate::x509::ocsp::{ErrorStatus, key_hash};
use crate::x509::{Certificate, CertificateTemplate, DistinguishedName, KeyAlgorithm, KeyUsage, PublicKey, Timestamp};

/// The profile name under which responder certificates stand in the inventory.
pub const RESPONDER_PROFILE: &str = "chancery.ocsp";

/// How far before the present their validity begins, for clocks that are behind.
const BACKDATE: Duration = Duration::from_secs(300);
/// How long one process may take to make a responder (an RSA key takes a second); one that was killed holds others up no longer.
const LEASE: Duration = Duration::from_secs(30);

/// How long a responder is left alone that cannot be opened here.
const YOUNG: Duration = Duration::from_secs(600);

/// A responder that is ready to sign.
#[derive(Debug)]
pub(super) struct Responder {
    pub(super) certificate: Certificate,
    pub(super) signer: Arc<dyn Signer>,
    pub(super) key_hash: [u8; 20],
}

impl Responder {
    /// Whether two thirds of its time have gone.
    fn is_due(&self, now: Timestamp) -> bool {
        is_due(self.certificate.not_before, self.certificate.not_after, now)
    }
}

fn is_due(not_before: Timestamp, not_after: Timestamp, now: Timestamp) -> bool {
    let made = not_before + BACKDATE;
    now >= made + not_after.since(made) / 3 * 2
}

impl CertificateAuthority {
    /// Returns the responder of an issuer, if its certificate is valid now.
    pub(super) fn responder(&self, issuer: &Issuer, now: Timestamp) -> Result<Arc<Responder>, Refusal> {
        let responders = self.ocsp.responders.load();
        let responder = responders
            .get(&issuer.id)
            .filter(|responder| responder.certificate.not_before <= now && now <= responder.certificate.not_after);
        responder.cloned().ok_or(Refusal::Status(ErrorStatus::TryLater))
    }

    /// Loads the responders that other replicas made, and makes those that are missing or due. Called by a job, and once before the service
    /// serves.
    ///
    /// # Errors
    /// The first of storage or signer; the responders of other issuers are made all the same.
    pub async fn renew_ocsp_responders(&self) -> Result<()> {
        let _one_at_a_time = self.ocsp.renewing.lock().await;
        let records = self.load_responders().await?;
        let mut first_error = None;
        let mut changed = false;
        for issuer in self.issuers().all() {
            match issuer.state {
                IssuerState::Active | IssuerState::Staged | IssuerState::Retired => {}
                IssuerState::Disabled => continue,
            }
            let present = records.iter().find(|record| record.issuer_id == issuer.id);
            let is_revoked = self.is_revoked(issuer).await?;
            if !self.needs_responder(issuer, is_revoked) {
                continue;
            }
            match self.renew_responder(issuer, present).await {
                Ok(renewed) => changed |= renewed,
                Err(error) => {
                    tracing::error!(issuer = %issuer.path_name, %error, "the OCSP responder could not be made");
                    first_error.get_or_insert(error);
                }
            }
        }
        if changed {
            self.load_responders().await?;
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Whether the certificate of the responder is revoked or on hold: verifiers are told not to ask (RFC 6960, section 4.2.2.2.1), so that only
    /// another one in its place helps.
    async fn is_revoked(&self, issuer: &Issuer) -> Result<bool> {
        let serial = self.ocsp.responders.load().get(&issuer.id).map(|responder| responder.certificate.serial.clone());
        let Some(serial) = serial else { return Ok(false) };
        let status = self.storage.certificate_status(issuer.id, &serial).await?;
        Ok(status.is_some_and(|status| status.revocation.is_some()))
    }

    /// Whether a responder is missing, revoked, or due when a new one would be valid for longer; an issuer whose key is away makes none.
    fn needs_responder(&self, issuer: &Issuer, is_revoked: bool) -> bool {
        let now = self.clock.now();
        let end = self.responder_end(issuer, now);
        if !issuer.can_sign() || end <= now {
            return false;
        }
        let responders = self.ocsp.responders.load();
        responders.get(&issuer.id).is_none_or(|responder| {
            let known = &responder.certificate;
            // One of an earlier name of the issuer is believed by nobody.
            is_revoked
                || responder.is_due(now) && end > known.not_after
                || known.issuer.as_der() != issuer.certificate.subject.as_der()
        })
    }

    /// Returns the last second of a responder that is made now: no issuer's certificate outlives itself.
    fn responder_end(&self, issuer: &Issuer, now: Timestamp) -> Timestamp {
        // The end is inclusive (RFC 5280, section 4.1.2.5).
        (now + self.ocsp.settings.responder_validity - Duration::from_secs(1)).min(issuer.certificate.not_after)
    }

    /// Makes a responder under a lease, in place of the one that was there when we looked; answers whether there is another one now.
    async fn renew_responder(&self, issuer: &Issuer, present: Option<&OcspResponderRecord>) -> Result<bool> {
        let now = self.clock.now();
        if self.is_to_be_left(issuer, present, now) {
            return Ok(false);
        }
        let lease = format!("ocsp:{}", issuer.id);
        if !self.storage.acquire_lease(&lease, &self.instance, now, now + LEASE).await? {
            return Ok(false);
        }
        let new = self.new_responder(issuer).await?;
        let (serial, not_after) = (new.certificate.serial.clone(), new.responder.not_after);
        let replaces = present.map(|record| record.certificate.clone());
        let recorded = self.storage.put_ocsp_responder(new, replaces).await?;
        if recorded {
            tracing::info!(issuer = %issuer.path_name, %serial, %not_after, "made an OCSP responder");
        }
        // Another replica need not wait for its end.
        let now = self.clock.now();
        self.storage.acquire_lease(&lease, &self.instance, now, now).await?;
        // When another one was faster, that one is to be loaded.
        Ok(true)
    }

    /// Whether a responder that cannot be opened here is too young to be replaced: replicas with different key-encryption keys would
    /// take turns without end.
    fn is_to_be_left(&self, issuer: &Issuer, present: Option<&OcspResponderRecord>, now: Timestamp) -> bool {
        let opened = self.ocsp.responders.load().contains_key(&issuer.id);
        !opened && present.is_some_and(|record| now < record.not_before + BACKDATE + YOUNG)
    }

    async fn new_responder(&self, issuer: &Issuer) -> Result<NewOcspResponder> {
        let algorithm = issuer.certificate.public_key.algorithm().map_err(|name| {
            Error::internal(format!("the issuer `{}` has a key of the algorithm `{name}`", issuer.path_name))
        })?;
        let (key, signer) = self.keys.create(responder_key(algorithm), &KeyPlace::Database).await?;
        let KeyLocation::Database(sealed) = key.location else {
            return Err(Error::internal("a key for the database was put elsewhere"));
        };
        let now = self.clock.now();
        let subject = responder_subject(issuer)?;
        let serial = self.new_serial()?;
        let to_be_signed = linted(&CertificateTemplate {
            serial: &serial,
            signature_algorithm: issuer.signature_algorithm()?,
            issuer: &issuer.certificate.subject,
            not_before: now - BACKDATE,
            not_after: self.responder_end(issuer, now),
            subject: &subject,
            public_key: signer.public_key(),
            extensions: &extensions(issuer, signer.public_key())?,
        })?;
        let certificate = Certificate::from_der(&issuer.sign_object(to_be_signed).await?)?;
        let caller = Caller::system();
        let details = json!({
            "serial": certificate.serial.to_string(),
            "key_algorithm": key.algorithm,
            "not_after": certificate.not_after,
            "fingerprint_sha256": hex::encode(certificate.fingerprint_sha256()),
        });
        let object = format!("issuer:{}", issuer.path_name);
        let audit = self.event(&caller, "ocsp.responder", AuditOutcome::Success, object, details);
        let responder = OcspResponderRecord {
            issuer_id: issuer.id,
            certificate: certificate.as_der().to_vec(),
            key: sealed,
            not_before: certificate.not_before,
            not_after: certificate.not_after,
        };
        let certificate = inventory_entry(&caller, issuer, &certificate, now);
        Ok(NewOcspResponder { responder, certificate, audit })
    }

    /// Reads the responders and opens the keys of new ones. One whose key cannot be opened is as good as missing.
    async fn load_responders(&self) -> Result<Vec<OcspResponderRecord>> {
        let records = self.storage.ocsp_responders().await?;
        let before = self.ocsp.responders.load_full();
        let mut responders = BTreeMap::new();
        for record in &records {
            let known = before.get(&record.issuer_id).filter(|known| known.certificate.as_der() == record.certificate);
            let responder = match known {
                Some(known) => Ok(Arc::clone(known)),
                None => self.open_responder(record).await.map(Arc::new),
            };
            match responder {
                Ok(responder) => {
                    responders.insert(record.issuer_id, responder);
                }
                Err(error) => {
                    tracing::warn!(issuer_id = record.issuer_id, %error, "an OCSP responder cannot be used");
                }
            }
        }
        self.ocsp.responders.store(Arc::new(responders));
        Ok(records)
    }

    async fn open_responder(&self, record: &OcspResponderRecord) -> Result<Responder> {
        let certificate = Certificate::from_der(&record.certificate)?;
        let signer = self.keys.open(&KeyLocation::Database(record.key.clone()), &certificate.public_key).await?;
        let key_hash = key_hash(&certificate.public_key);
        Ok(Responder { certificate, signer, key_hash })
    }
}

/// Returns the kind of key that a responder has: its issuer's, so that whoever verifies the one verifies the other, but no larger than
/// what is verified once and signs often needs to be.
const fn responder_key(issuer: KeyAlgorithm) -> KeyAlgorithm {
    match issuer {
        KeyAlgorithm::Rsa(_) => KeyAlgorithm::Rsa(2048),
        // Keys on P-521 are not made here.
        KeyAlgorithm::EcdsaP521 => KeyAlgorithm::EcdsaP384,
        KeyAlgorithm::EcdsaP256
        | KeyAlgorithm::EcdsaP384
        | KeyAlgorithm::Ed25519
        | KeyAlgorithm::MlDsa44
        | KeyAlgorithm::MlDsa65
        | KeyAlgorithm::MlDsa87 => issuer,
    }
}

/// Names the responder below its issuer's organisation, where name constraints of the CA admit it if they admit anything.
fn responder_subject(issuer: &Issuer) -> Result<DistinguishedName> {
    let named = issuer.certificate.subject.attributes().iter().filter_map(|attribute| {
        let kind = attribute.attribute_type.filter(|kind| *kind != AttributeType::CommonName)?;
        attribute.defect.is_none().then(|| (kind, attribute.value.clone()))
    });
    let mut attributes: Vec<(AttributeType, String)> = named.collect();
    attributes.push((AttributeType::CommonName, format!("OCSP {}", issuer.name.chars().take(59).collect::<String>())));
    DistinguishedName::from_attributes(&attributes)
}

/// What a responder's certificate says: that it answers for its issuer, and that nobody need ask whether it is revoked. For that reason
/// it names neither CRL nor responder.
fn extensions(issuer: &Issuer, public_key: &PublicKey) -> Result<Vec<Extension>> {
    Ok(vec![
        Extension::basic_constraints(None),
        Extension::key_usage(&BTreeSet::from([KeyUsage::DigitalSignature])),
        Extension::extended_key_usage(&["ocsp_signing".parse()?]),
        Extension::ocsp_no_check(),
        Extension::subject_key_identifier(public_key),
        Extension::authority_key_identifier(&issuer.key_identifier()),
    ])
}

fn inventory_entry(caller: &Caller, issuer: &Issuer, certificate: &Certificate, now: Timestamp) -> NewCertificate {
    NewCertificate {
        serial: certificate.serial.clone(),
        issuer_id: issuer.id,
        profile: RESPONDER_PROFILE.to_owned(),
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
        crl_shard: 0,
        der: certificate.as_der().to_vec(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_responder_is_due_when_two_thirds_of_its_time_have_gone() {
        let at = |seconds: i64| Timestamp::from_unix(1_000_000 + seconds);
        let (start, end) = (at(0) - BACKDATE, at(300));
        assert!(!is_due(start, end, at(199)));
        assert!(is_due(start, end, at(200)));
    }
}
