//! One answer: from the cache, or looked up and signed within bounds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::SemaphorePermit;

use super::responders::Responder;
use super::statuses::{Entry, Known};
use super::{CertificateAuthority, SignedAnswer};
use crate::ca::issuer::Issuer;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{CertificateState, IssuerState, SerialStatus};
use crate::tasks;
use crate::x509::ocsp::{
    CertId, CertificateStatus, ErrorStatus, OcspRequest, ResponseTemplate, SingleResponse, assemble,
};
use crate::x509::{SerialNumber, Timestamp, key};

/// How long a request waits in all: for the database, for somebody else's signature and for its own.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long it may be believed that a serial number is not known: its certificate may be imported.
const UNKNOWN_VALIDITY: Duration = Duration::from_secs(300);
/// What an answer takes beside the responder's certificate: the signature of the largest kind of key apart.
const ANSWER_OVERHEAD: usize = 512;

/// Why there is no signed answer.
#[derive(Debug)]
pub(super) enum Refusal {
    /// What the request or the responder's state leads to.
    Status(ErrorStatus),
    /// Something failed.
    Failure(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failure(error)
    }
}

impl Refusal {
    const TRY_LATER: Self = Self::Status(ErrorStatus::TryLater);

    /// Returns what the client is told; a failure is logged.
    pub(super) fn into_status(self) -> ErrorStatus {
        match self {
            Self::Status(status) => status,
            Self::Failure(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::debug!(%error, "an OCSP request could not be answered now");
                ErrorStatus::TryLater
            }
            Self::Failure(error) => {
                tracing::error!(%error, cause = std::error::Error::source(&error), "an OCSP request could not be answered");
                ErrorStatus::InternalError
            }
        }
    }
}

/// What is to be said of one certificate.
struct Finding<'a> {
    cert_id: &'a [u8],
    status: CertificateStatus,
    /// When that was last known to be true.
    as_of: Timestamp,
}

impl CertificateAuthority {
    /// Answers a request. One responder signs the whole answer, that of the first certificate which is one of ours; certificates of
    /// other CAs, and of other generations, are unknown to it.
    pub(super) async fn answer_request(
        &self,
        name: &str,
        request: &OcspRequest<'_>,
    ) -> Result<Arc<SignedAnswer>, Refusal> {
        let identities = self.identities();
        let issuer = request.cert_ids.iter().find_map(|id| identities.find(name, id));
        let issuer = issuer.ok_or(Refusal::Status(ErrorStatus::Unauthorized))?;
        match issuer.state {
            IssuerState::Disabled => return Err(Refusal::Status(ErrorStatus::Unauthorized)),
            IssuerState::Active | IssuerState::Staged | IssuerState::Retired => {}
        }
        let serial_of = |id: &CertId<'_>| {
            let found = identities.find(name, id).filter(|found| found.id == issuer.id);
            found.and_then(|_ours| id.serial_number())
        };
        if let ([id], None) = (request.cert_ids.as_slice(), request.nonce)
            && let Some(serial) = serial_of(id)
        {
            return self.answer_single(issuer, id, &serial).await;
        }
        let _admitted = self.admit()?;
        let answer = async {
            let mut findings = Vec::with_capacity(request.cert_ids.len());
            for id in &request.cert_ids {
                findings.push(match serial_of(id) {
                    Some(serial) => {
                        // Before the entry is taken: whatever is confirmed later may have dropped it.
                        let confirmed = self.ocsp.confirmed();
                        let entry = self.ocsp.statuses.entry(issuer.id, &serial, self.answer_size(issuer));
                        self.find_out(issuer, id, &serial, &entry, confirmed).await?
                    }
                    None => Finding { cert_id: id.der, status: CertificateStatus::Unknown, as_of: self.clock.now() },
                });
            }
            self.sign_answer(issuer, &findings, request.nonce).await
        };
        // All of them together: however many certificates are asked for, what was admitted is out again by then.
        patiently(answer).await?
    }

    /// Answers for one certificate without nonce: with what is there, unless half of its time has gone and something newer can be said.
    async fn answer_single(
        &self,
        issuer: &Issuer,
        id: &CertId<'_>,
        serial: &SerialNumber,
    ) -> Result<Arc<SignedAnswer>, Refusal> {
        let now = self.clock.now();
        let confirmed = self.ocsp.confirmed();
        let entry = self.ocsp.statuses.present(issuer.id, serial);
        let present = entry.as_ref().and_then(|entry| entry.answer(id)).filter(|answer| now < answer.next_update);
        if let Some(present) = &present
            && (now < present.refresh_at || confirmed <= present.this_update)
        {
            return Ok(Arc::clone(present));
        }
        let entry = entry.unwrap_or_else(|| self.ocsp.statuses.entry(issuer.id, serial, self.answer_size(issuer)));
        match (self.renew_answer(issuer, id, serial, &entry, confirmed, present.as_ref()).await, present) {
            (Ok(answer), _) => Ok(answer),
            (Err(refusal), None) => Err(refusal),
            (Err(refusal), Some(present)) => {
                // A newer one would be better, but this one is not wrong.
                tracing::debug!(?refusal, "an OCSP answer could not be renewed");
                Ok(present)
            }
        }
    }

    /// Signs an answer and keeps it; of many requests for it one does, and the others wait or take what is there.
    async fn renew_answer(
        &self,
        issuer: &Issuer,
        id: &CertId<'_>,
        serial: &SerialNumber,
        entry: &Entry,
        confirmed: Timestamp,
        present: Option<&Arc<SignedAnswer>>,
    ) -> Result<Arc<SignedAnswer>, Refusal> {
        let _admitted = self.admit()?;
        patiently(self.renew_admitted(issuer, id, serial, entry, confirmed, present)).await?
    }

    async fn renew_admitted(
        &self,
        issuer: &Issuer,
        id: &CertId<'_>,
        serial: &SerialNumber,
        entry: &Entry,
        confirmed: Timestamp,
        present: Option<&Arc<SignedAnswer>>,
    ) -> Result<Arc<SignedAnswer>, Refusal> {
        let _one_at_a_time = match (entry.signing.try_lock(), present) {
            (Ok(guard), _) => guard,
            (Err(_), Some(present)) => return Ok(Arc::clone(present)),
            (Err(_), None) => entry.signing.lock().await,
        };
        let now = self.clock.now();
        if let Some(answer) = entry.answer(id).filter(|answer| now < answer.refresh_at) {
            return Ok(answer);
        }
        let finding = self.find_out(issuer, id, serial, entry, confirmed).await?;
        let answer = self.sign_answer(issuer, std::slice::from_ref(&finding), None).await?;
        match finding.status {
            CertificateStatus::Good | CertificateStatus::Revoked { .. } => entry.keep(id, &answer),
            // Its entry is gone: nobody can make us keep what was never issued.
            CertificateStatus::Unknown => {}
        }
        Ok(answer)
    }

    /// Finds what is to be said of a serial number of this issuer: what is known, else what the database says.
    async fn find_out<'a>(
        &self,
        issuer: &Issuer,
        id: &CertId<'a>,
        serial: &SerialNumber,
        entry: &Entry,
        confirmed: Timestamp,
    ) -> Result<Finding<'a>, Refusal> {
        let look = || async {
            let looked_up = self.clock.now();
            let found = self.storage.certificate_status(issuer.id, serial).await?;
            Ok::<_, Error>(Known { status: status_of(found), looked_up })
        };
        let known = *entry.known.get_or_try_init(look).await?;
        if known.status == CertificateStatus::Unknown {
            self.ocsp.forget(issuer.id, serial);
        }
        Ok(Finding { cert_id: id.der, status: known.status, as_of: known.looked_up.max(confirmed) })
    }

    async fn sign_answer(
        &self,
        issuer: &Issuer,
        findings: &[Finding<'_>],
        nonce: Option<&[u8]>,
    ) -> Result<Arc<SignedAnswer>, Refusal> {
        let now = self.clock.now();
        let responder = self.responder(issuer, now)?;
        let validity = issuer.settings.ocsp.validity.unwrap_or(self.ocsp.settings.validity);
        let responses: Vec<SingleResponse<'_>> =
            findings.iter().map(|finding| single_response(finding, validity, &responder)).collect();
        let this_update = responses.iter().map(|response| response.this_update).min().unwrap_or(now);
        let next_update = responses.iter().map(|response| response.next_update).min().unwrap_or(now);
        if next_update <= now {
            // The database is away for so long that nothing is known any more.
            return Err(Refusal::TRY_LATER);
        }
        let template = ResponseTemplate {
            responder_key_hash: &responder.key_hash,
            produced_at: now,
            responses: &responses,
            nonce,
        };
        let der = self.sign_response(&responder, template.to_be_signed()).await?;
        let digest = nonce.is_none().then(|| key::sha256(&der));
        let refresh_at = this_update + next_update.since(this_update) / 2;
        Ok(Arc::new(SignedAnswer { der, digest, this_update, refresh_at, next_update }))
    }

    /// Signs in line when that takes microseconds, else on the blocking pool, few at a time.
    async fn sign_response(&self, responder: &Arc<Responder>, to_be_signed: Vec<u8>) -> Result<Vec<u8>, Refusal> {
        if responder.signer.signs_in_line() {
            return Ok(signed(responder, &to_be_signed)?);
        }
        let _few = self.ocsp.signing.acquire().await.map_err(|_closed| Refusal::TRY_LATER)?;
        let responder = Arc::clone(responder);
        Ok(tasks::spawn_blocking(move || signed(&responder, &to_be_signed)).await?)
    }

    /// Lets a request in that needs the database or a signature, unless too many wait already.
    fn admit(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.ocsp.admission.try_acquire().map_err(|_full| Refusal::TRY_LATER)
    }

    /// Returns about what a signed answer of this issuer takes.
    fn answer_size(&self, issuer: &Issuer) -> usize {
        let responders = self.ocsp.responders.load();
        let certificate = responders.get(&issuer.id).map_or(0, |responder| responder.certificate.as_der().len());
        // The certificate holds a key and a signature, so it is larger than the one signature of the answer.
        certificate.saturating_mul(2).saturating_add(ANSWER_OVERHEAD)
    }
}

async fn patiently<T>(work: impl Future<Output = T>) -> Result<T, Refusal> {
    tokio::time::timeout(PATIENCE, work).await.map_err(|_elapsed| Refusal::TRY_LATER)
}

fn signed(responder: &Responder, to_be_signed: &[u8]) -> Result<Vec<u8>> {
    let signature = responder.signer.sign(to_be_signed)?;
    let algorithm = responder.signer.signature_algorithm();
    Ok(assemble(to_be_signed, algorithm, &signature, responder.certificate.as_der()))
}

fn single_response<'a>(finding: &Finding<'a>, validity: Duration, responder: &Responder) -> SingleResponse<'a> {
    let validity = match finding.status {
        CertificateStatus::Good | CertificateStatus::Revoked { .. } => validity,
        CertificateStatus::Unknown => validity.min(UNKNOWN_VALIDITY),
    };
    SingleResponse {
        cert_id: finding.cert_id,
        status: finding.status,
        this_update: finding.as_of,
        // Nobody believes an answer for longer than its responder's certificate is valid.
        next_update: (finding.as_of + validity).min(responder.certificate.not_after),
    }
}

/// A hold is a revocation with the reason `certificateHold` (RFC 6960, section 2.2).
fn status_of(found: Option<SerialStatus>) -> CertificateStatus {
    match found {
        None => CertificateStatus::Unknown,
        Some(SerialStatus { revocation: Some(revocation), .. }) => {
            CertificateStatus::Revoked { revoked_at: revocation.revoked_at, reason: revocation.reason }
        }
        Some(SerialStatus { state: CertificateState::Valid, revocation: None }) => CertificateStatus::Good,
        // The database does not hold such a row; if it did, nobody could call the certificate good.
        Some(SerialStatus { state: CertificateState::OnHold | CertificateState::Revoked, revocation: None }) => {
            CertificateStatus::Unknown
        }
    }
}
