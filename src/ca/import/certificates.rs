//! Imports certificates that one of our issuers signed and that are not recorded here: each signature is checked, and whoever imports a certificate
//! gets no hold of one that is there already: that can only be revoked by it, as by its serial number.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::IMPORT_PROFILE;
use super::findings::{FoundCertificate, FoundRevocation, SkippedList, certificates_of};
use crate::auth::permission::{ImportCertificates, RevokeCertificates};
use crate::auth::{Authorized, Caller, Role};
use crate::ca::CertificateAuthority;
use crate::ca::issuance::key_algorithm;
use crate::ca::issuer::Issuer;
use crate::error::{Error, Result};
use crate::storage::{
    AuditOutcome, CertificateImported, ImportedCertificate, ImportedRevocation, NewCertificate, RevocationRecord,
    Source,
};
use crate::x509::{Certificate, SerialNumber, Timestamp};

/// How many certificates one commit takes.
const BATCH: usize = 200;
/// How many revoked serial numbers one commit takes.
const REVOCATION_BATCH: usize = 500;
/// The most certificates of one request.
const MAXIMUM_CERTIFICATES: usize = 1000;
/// How many serial numbers an outcome lists.
const LISTED: usize = 1000;

/// Certificates to be imported.
#[derive(Clone, Debug)]
pub struct CertificateImport {
    /// PEM with any number of them up to 1000, or one in DER.
    pub certificates: Vec<u8>,
    /// That they are revoked, and why.
    pub revocation: Option<RevocationRecord>,
}

/// What became of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOutcome {
    /// How many certificates were recorded.
    pub imported: usize,
    /// How many of them are revoked or on hold, and how many that were here already were revoked by it.
    pub revoked: usize,
    /// Their serial numbers, at most 1000 of them.
    pub serials: Vec<SerialNumber>,
    /// How many revoked serial numbers without certificate were recorded.
    pub revoked_serials: usize,
    /// How many certificates were here already, or were given more than once, and stay as they are.
    pub already_there: usize,
    /// What was not taken, and why.
    pub skipped: SkippedList,
}

impl CertificateAuthority {
    /// Imports certificates that any of our issuers (of any generation and state) signed.
    ///
    /// # Errors
    /// `Malformed` when there is no certificate or more than 1000, or the revocation lies in the future; those of the storage.
    pub async fn import_certificates(
        &self,
        authorization: &Authorized<ImportCertificates>,
        import: CertificateImport,
    ) -> Result<ImportOutcome> {
        let caller = authorization.caller();
        let outcome = self.import_given(caller, import).await;
        self.audited(caller, "certificate.import", String::new(), outcome).await
    }

    async fn import_given(&self, caller: &Arc<Caller>, import: CertificateImport) -> Result<ImportOutcome> {
        if let Some(revocation) = &import.revocation {
            Authorized::<RevokeCertificates>::check(Arc::clone(caller))?;
            self.check_imported_revocation(revocation)?;
        }
        let ders = certificates_of(&import.certificates)?;
        if ders.is_empty() || ders.len() > MAXIMUM_CERTIFICATES {
            return Err(Error::malformed(format!(
                "`certificates` holds {} certificates; 1 to {MAXIMUM_CERTIFICATES} are taken at a time, in PEM, or one in DER",
                ders.len()
            )));
        }
        let mut skipped = SkippedList::default();
        let mut by_issuer: BTreeMap<i32, (Arc<Issuer>, Vec<FoundCertificate>)> = BTreeMap::new();
        for (index, der) in ders.iter().enumerate() {
            let origin = format!("certificates[{index}]");
            match self.signed_by_us(der) {
                Ok((certificate, _issuer)) if is_before(import.revocation, &certificate) => skipped.push(
                    origin,
                    Some(certificate.serial),
                    format!("`revocation.revoked_at` is before it begins, on `{}`", certificate.not_before),
                ),
                Ok((certificate, issuer)) => {
                    let found = FoundCertificate { certificate, revocation: import.revocation };
                    by_issuer.entry(issuer.id).or_insert_with(|| (issuer, Vec::new())).1.push(found);
                }
                Err((serial, reason)) => skipped.push(origin, serial, reason),
            }
        }
        let mut outcome = ImportOutcome { skipped, ..ImportOutcome::default() };
        for (issuer, found) in by_issuer.into_values() {
            let part = self.import_found(caller, &issuer, found).await?;
            outcome.imported += part.imported;
            outcome.revoked += part.revoked;
            outcome.already_there += part.already_there;
            outcome.skipped.append(part.skipped);
            outcome.serials.extend(part.serials);
            outcome.serials.truncate(LISTED);
        }
        if outcome.revoked > 0 {
            // The CRL is due.
            self.revocation.notify_one();
        }
        Ok(outcome)
    }

    /// Finds the issuer that signed a certificate.
    fn signed_by_us(
        &self,
        der: &[u8],
    ) -> std::result::Result<(Certificate, Arc<Issuer>), (Option<SerialNumber>, String)> {
        let certificate = Certificate::from_der(der).map_err(|error| (None, format!("it cannot be read: {error}")))?;
        let issuers = self.issuers();
        let named = issuers.all().iter().filter(|issuer| {
            issuer.certificate.subject.as_der() == certificate.issuer.as_der()
                && issuer.certificate.as_der() != certificate.as_der()
        });
        let mut reason = format!("none of the issuers here is its issuer `{}`", certificate.issuer);
        for issuer in named {
            match certificate.verify_once_issued_by(&issuer.certificate) {
                Ok(()) => return Ok((certificate, Arc::clone(issuer))),
                Err(error) => reason = format!("it is not signed by the issuer `{}`: {error}", issuer.path_name),
            }
        }
        Err((Some(certificate.serial), reason))
    }

    fn check_imported_revocation(&self, revocation: &RevocationRecord) -> Result<()> {
        let now = self.clock.now();
        for (field, moment) in
            [("revoked_at", Some(revocation.revoked_at)), ("invalidity_date", revocation.invalidity_date)]
        {
            if moment.is_some_and(|moment| moment > now) {
                return Err(Error::malformed(format!("`revocation.{field}` is in the future")));
            }
        }
        Ok(())
    }

    /// Records certificates whose signatures were checked, in batches.
    pub(super) async fn import_found(
        &self,
        caller: &Caller,
        issuer: &Issuer,
        found: Vec<FoundCertificate>,
    ) -> Result<ImportOutcome> {
        let mut outcome = ImportOutcome::default();
        let mut found = found.into_iter();
        loop {
            let batch: Vec<ImportedCertificate> =
                found.by_ref().take(BATCH).map(|found| self.imported(caller, issuer, found)).collect();
            if batch.is_empty() {
                // What issuers may sign depends on the state of their certificates.
                self.refresh().await?;
                return Ok(outcome);
            }
            for (serial, imported) in self.storage.import_certificates(batch).await? {
                self.count(issuer, serial, imported, &mut outcome);
            }
        }
    }

    /// Adds what became of one certificate, and forgets what OCSP said of it.
    fn count(&self, issuer: &Issuer, serial: SerialNumber, imported: CertificateImported, outcome: &mut ImportOutcome) {
        let mut skip = |serial: SerialNumber, reason: String| {
            outcome.skipped.push(format!("issuer {}", issuer.path_name), Some(serial), reason);
        };
        match imported {
            CertificateImported::New { revoked } => {
                self.forget_status(issuer.id, &serial);
                outcome.imported += 1;
                outcome.revoked += usize::from(revoked);
                if outcome.serials.len() < LISTED {
                    outcome.serials.push(serial);
                }
            }
            CertificateImported::Revoked => {
                self.forget_status(issuer.id, &serial);
                outcome.revoked += 1;
            }
            CertificateImported::Unchanged => outcome.already_there += 1,
            CertificateImported::RevokedOtherwise(reason) => {
                skip(serial, format!("it is here and revoked as `{}`, which stays", reason.as_str()));
            }
            CertificateImported::Internal => {
                skip(serial, "only an administrator may revoke the service's own certificates".to_owned());
            }
            CertificateImported::OtherCertificate => {
                skip(serial, "another certificate of the same issuer with the same serial number is here".to_owned());
            }
        }
    }

    /// Records revoked serial numbers without certificate, in batches, and the number of the last CRL; answers how many are new.
    pub(super) async fn import_revocations(
        &self,
        caller: &Caller,
        issuer: &Issuer,
        found: Vec<FoundRevocation>,
        crl_number: i64,
    ) -> Result<usize> {
        let mut recorded = 0;
        let mut found = found.into_iter();
        let mut first = true;
        loop {
            let batch: Vec<ImportedRevocation> = found
                .by_ref()
                .take(REVOCATION_BATCH)
                .map(|found| ImportedRevocation {
                    serial: found.serial,
                    revocation: found.revocation,
                    not_after: found.not_after,
                })
                .collect();
            if batch.is_empty() && !(first && crl_number > 0) {
                return Ok(recorded);
            }
            first = false;
            let details = json!({
                "crl_number": crl_number,
                "serials": batch.iter().map(|revoked| revoked.serial.to_string()).collect::<Vec<_>>(),
            });
            let object = format!("issuer:{}", issuer.path_name);
            let event = self.event(caller, "issuer.import_revocations", AuditOutcome::Success, object, details);
            recorded += self.storage.import_revoked_serials(issuer.id, batch, crl_number, event).await?;
        }
    }

    fn imported(&self, caller: &Caller, issuer: &Issuer, found: FoundCertificate) -> ImportedCertificate {
        let FoundCertificate { certificate, revocation } = found;
        let details = json!({
            "issuer": issuer.path_name,
            "subject": certificate.subject.to_string(),
            "not_after": certificate.not_after,
            "fingerprint_sha256": hex::encode(certificate.fingerprint_sha256()),
            "revocation": revocation.map(|revocation| json!({
                "reason": revocation.reason,
                "revoked_at": revocation.revoked_at,
                "invalidity_date": revocation.invalidity_date,
            })),
        });
        let object = format!("certificate:{}", certificate.serial);
        let audit = self.event(caller, "certificate.import", AuditOutcome::Success, object, details);
        ImportedCertificate {
            certificate: record(caller, issuer.id, &certificate, self.clock.now()),
            revocation,
            internal: caller.principal.role == Role::Administrator,
            audit,
        }
    }
}

/// Whether certificates are said to be revoked before this one began.
fn is_before(revocation: Option<RevocationRecord>, certificate: &Certificate) -> bool {
    revocation.is_some_and(|revocation| revocation.revoked_at < certificate.not_before)
}

fn record(caller: &Caller, issuer_id: i32, certificate: &Certificate, now: Timestamp) -> NewCertificate {
    NewCertificate {
        serial: certificate.serial.clone(),
        issuer_id,
        profile: IMPORT_PROFILE.to_owned(),
        profile_version: 1,
        requester: caller.principal.name.clone(),
        source: Source::Import,
        subject: certificate.subject.to_string(),
        names: certificate.names.clone(),
        key_algorithm: key_algorithm(certificate),
        spki_sha256: certificate.public_key.spki_sha256(),
        fingerprint_sha256: certificate.fingerprint_sha256(),
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        // When it really was is not known; it was not after now.
        issued_at: certificate.not_before.min(now),
        labels: BTreeMap::new(),
        crl_shard: 0,
        der: certificate.as_der().to_vec(),
    }
}
