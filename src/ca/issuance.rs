//! Issues certificates: the whole way from a request to a durably recorded certificate, top to bottom in one function.

mod choice;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use serde::Serialize;
use serde_json::Value;

use super::issuer::Issuer;
use super::labels::check_labels;
use super::profiles::ActiveProfile;
use super::{CertificateAuthority, CertificateView};
use crate::auth::permission::IssueCertificates;
use crate::auth::{Authorized, Caller};
use crate::error::{AcmeErrorType, Error, ErrorKind, Result, Violation};
use crate::policy::{self, Adjustments, ApprovedRequest, Evaluation};
use crate::storage::{
    AuditOutcome, CertificateRecord, CertificateState, IdempotencyAnswer, IdempotencyClaim, IdempotencyResult,
    Issuance, NewCertificate, OrderCompletion, Recorded, Source,
};
use crate::x509::{Certificate, CertificateRequest, SerialNumber, Timestamp};

/// How long an idempotency key is held.
pub(super) const IDEMPOTENCY_KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A request for a certificate, decoded by a front door.
#[derive(Clone, Debug)]
pub struct IssuanceRequest {
    /// The parsed CSR.
    pub csr: CertificateRequest,
    /// The profile's name.
    pub profile: String,
    /// The issuer's name; the profile's if absent.
    pub issuer: Option<String>,
    /// Subject, names and validity beside the CSR.
    pub adjustments: Adjustments,
    /// Labels for the inventory: at most 32, keys of 1 to 63 and values of at most 255 characters.
    pub labels: BTreeMap<String, String>,
    /// The front door.
    pub source: Source,
    /// The idempotency key and the SHA-256 of the request it belongs to.
    pub idempotency: Option<Idempotency>,
    /// The ACME order that it completes: within the commit of the certificate.
    pub order: Option<OrderCompletion>,
}

/// An idempotency key with the digest of the request it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The key: 1 to 255 visible ASCII characters.
    pub key: String,
    /// SHA-256 over method, path, query, media type and body.
    pub request_sha256: [u8; 32],
}

/// A certificate that was recorded, and whether this request did it.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The record.
    pub certificate: Box<CertificateView>,
    /// Whether an earlier request with the same idempotency key did it.
    pub replayed: bool,
}

/// What a request would lead to.
#[derive(Clone, Debug)]
pub struct CheckedIssuance {
    /// What would be signed, if no rule is broken.
    pub certificate: Option<ApprovedRequest>,
    /// The issuer that would sign.
    pub issuer: String,
    /// Every rule that is broken.
    pub violations: Vec<Violation>,
}

/// Who asks, and how it is written down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose<'a> {
    /// Who.
    pub(super) caller: &'a Caller,
    /// The audited action.
    pub(super) action: &'static str,
    /// The certificate that is renewed.
    pub(super) renews: Option<&'a SerialNumber>,
    /// The ACME order with how its names were proven, as it is written down.
    pub(super) acme: Option<&'a Value>,
}

impl CertificateAuthority {
    /// Issues a certificate: policy, to-be-signed bytes, signature, durable record, in this order.
    ///
    /// # Errors
    /// `PolicyViolation` with every violation; `Forbidden` outside the caller's grants; `NotFound` for an unknown profile or issuer;
    /// `IdempotencyKeyReused`; `Unavailable` when the database or the key is away, and then nothing was issued.
    pub async fn issue(
        &self,
        authorization: &Authorized<IssueCertificates>,
        request: IssuanceRequest,
    ) -> Result<Issued> {
        let purpose = Purpose { caller: authorization.caller(), action: "certificate.issue", renews: None, acme: None };
        self.issue_audited(purpose, Box::new(request)).await
    }

    /// Issues the certificate of an ACME order as [`Self::issue`] does, and writes down with it what is known of the order. A refusal is left to the
    /// ACME server to write down: anybody can make accounts there.
    ///
    /// # Errors
    /// Those of [`Self::issue`]; `orderNotReady` when the order cannot be completed any more.
    pub(super) async fn issue_for_order(
        &self,
        authorization: &Authorized<IssueCertificates>,
        request: IssuanceRequest,
        order: &Value,
    ) -> Result<Issued> {
        let purpose =
            Purpose { caller: authorization.caller(), action: "certificate.issue", renews: None, acme: Some(order) };
        self.issue_measured(purpose, Box::new(request)).await
    }

    /// Judges a request without issuing anything.
    ///
    /// # Errors
    /// As [`Self::issue`], except policy violations, which are the answer.
    pub async fn check(
        &self,
        authorization: &Authorized<IssueCertificates>,
        request: IssuanceRequest,
    ) -> Result<CheckedIssuance> {
        check_labels(&request.labels)?;
        let caller = authorization.caller();
        let profile = self.usable_profile(caller, &request.profile)?;
        let issuer = match self.usable_issuer(caller, &profile, request.issuer.as_deref()) {
            Ok(issuer) => issuer,
            Err(error) if error.kind() == ErrorKind::PolicyViolation => {
                let issuer = request.issuer.unwrap_or_default();
                return Ok(CheckedIssuance { certificate: None, issuer, violations: error.violations().to_vec() });
            }
            Err(error) => return Err(error),
        };
        let (certificate, violations) = match self.evaluate(caller, &request, &profile, &issuer).await? {
            Ok(approved) => (Some(approved), Vec::new()),
            Err(violations) => (None, violations),
        };
        Ok(CheckedIssuance { certificate, issuer: issuer.name.clone(), violations })
    }

    /// Issues, and writes a refusal down. What is large, and what is rarely waited for, is in boxes from here on: each function on the way would
    /// otherwise keep room for it in its future, which is made anew for each request.
    pub(super) async fn issue_audited(&self, purpose: Purpose<'_>, request: Box<IssuanceRequest>) -> Result<Issued> {
        let profile = request.profile.clone();
        match self.issue_measured(purpose, request).await {
            Ok(issued) => Ok(issued),
            Err(error) => {
                let object = format!("profile:{}", shown(&profile));
                Err(Box::pin(self.record_refusal(purpose.caller, purpose.action, object, error)).await)
            }
        }
    }

    /// Issues and counts.
    async fn issue_measured(&self, purpose: Purpose<'_>, request: Box<IssuanceRequest>) -> Result<Issued> {
        let profile = request.profile.clone();
        let started = Instant::now();
        match self.issue_for(purpose, request).await {
            Ok(issued) => {
                Series::with(&profile, |series| series.duration.record(started.elapsed()));
                Ok(issued)
            }
            Err(error) => {
                // A name that is no profile's comes from outside and is no label.
                let label = if self.active_profile(&profile).is_some() { profile } else { "unknown".to_owned() };
                let code = error.kind().entry().code;
                metrics::counter!("chancery_certificates_refused_total", "profile" => label, "code" => code)
                    .increment(1);
                Err(error)
            }
        }
    }

    /// Issues. What was answered before under the same idempotency key is found by the commit, and looked up beforehand only for a request that is
    /// refused: one that is the first of its key, as nearly all are, asks the database once.
    async fn issue_for(&self, purpose: Purpose<'_>, request: Box<IssuanceRequest>) -> Result<Issued> {
        let idempotency = request.idempotency.clone();
        match self.issue_anew(purpose, request).await {
            // The database or the key is away, or there is too much to do: nothing more is asked of them.
            Err(error) if error.kind() != ErrorKind::Unavailable => {
                Box::pin(self.replay(purpose.caller, idempotency.as_ref())).await?.ok_or(error)
            }
            finished => finished,
        }
    }

    async fn issue_anew(&self, purpose: Purpose<'_>, request: Box<IssuanceRequest>) -> Result<Issued> {
        let caller = purpose.caller;
        check_labels(&request.labels)?;
        let profile = self.usable_profile(caller, &request.profile)?;
        let issuer = self.usable_issuer(caller, &profile, request.issuer.as_deref())?;
        // The commit looks at the block list; here it is looked at only to name all violations at once.
        let approved = match self.evaluate_with(caller, &request, &profile, &issuer, false) {
            Ok(approved) => approved,
            Err(_) => Box::pin(self.evaluate(caller, &request, &profile, &issuer)).await?.map_err(Error::policy)?,
        };
        let version = (profile.record.name.as_str(), profile.record.version);
        self.sign_and_record(purpose, approved, version, &issuer, request).await
    }

    /// Signs what was approved and records it; the certificate leaves only after the commit.
    pub(super) async fn sign_and_record(
        &self,
        purpose: Purpose<'_>,
        approved: ApprovedRequest,
        (profile, profile_version): (&str, i32),
        issuer: &Arc<Issuer>,
        request: Box<IssuanceRequest>,
    ) -> Result<Issued> {
        let caller = purpose.caller;
        let request = *request;
        let prepared = issuer.prepare(&approved, self.new_serial()?, &self.settings)?;
        let signed = issuer.sign(&approved, prepared).await?;
        let certificate = signed.certificate;
        let issued_at = self.clock.now();
        let row = NewCertificate {
            serial: signed.serial,
            issuer_id: issuer.id,
            profile: profile.to_owned(),
            profile_version,
            requester: caller.principal.name.clone(),
            source: request.source,
            subject: certificate.subject.to_string(),
            names: certificate.names.clone(),
            key_algorithm: key_algorithm(&certificate),
            spki_sha256: certificate.public_key.spki_sha256(),
            fingerprint_sha256: certificate.fingerprint_sha256(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            issued_at,
            labels: request.labels,
            crl_shard: signed.crl_shard,
            der: certificate.as_der().to_vec(),
        };
        let audit = self.event(
            caller,
            purpose.action,
            AuditOutcome::Success,
            format!("certificate:{}", row.serial),
            IssuanceDetails::new(&row, &issuer.name, purpose),
        );
        let audit = audit.with_written_details()?;
        let idempotency = request.idempotency.as_ref().map(|idempotency| IdempotencyClaim {
            caller: caller.principal.name.clone(),
            key: idempotency.key.clone(),
            request_sha256: idempotency.request_sha256,
            expires_at: issued_at + IDEMPOTENCY_KEY_LIFETIME,
        });
        let record = recorded(&row);
        match (
            self.storage
                .record_issuance(Issuance { certificate: row, audit, idempotency, order: request.order })
                .await?,
            request.idempotency,
        ) {
            (Recorded::Committed, _) => {
                Series::with(profile, |series| series.issued.increment(1));
                let certificate = Box::new(self.view_with(record, certificate, Arc::clone(issuer)));
                Ok(Issued { certificate, replayed: false })
            }
            // Another request with the same key was recorded first; what was signed here is dropped and never leaves.
            (Recorded::Replayed(answer), Some(idempotency)) => Box::pin(self.replayed(&answer, &idempotency)).await,
            (Recorded::Replayed(_), None) => Err(Error::internal("a request without idempotency key was replayed")),
            // Another request finalized the order first, or the account ended; what was signed here is dropped and never leaves.
            (Recorded::OrderTaken, _) => Err(Error::acme(
                AcmeErrorType::OrderNotReady,
                "the order is being finalized by another request, or is not ready any more; read it again",
            )),
            // Blocked since the policy was evaluated; what was signed here is dropped and never leaves.
            (Recorded::KeyBlocked, _) => Err(Error::policy(vec![policy::key_blocked(&record.spki_sha256)])),
        }
    }

    /// Finds the answer of an earlier request with the same idempotency key.
    pub(super) async fn replay(&self, caller: &Caller, idempotency: Option<&Idempotency>) -> Result<Option<Issued>> {
        let Some(idempotency) = idempotency else { return Ok(None) };
        let now = self.clock.now();
        match self.storage.idempotent_answer(&caller.principal.name, &idempotency.key, now).await? {
            Some(answer) => self.replayed(&answer, idempotency).await.map(Some),
            None => Ok(None),
        }
    }

    async fn replayed(&self, answer: &IdempotencyAnswer, idempotency: &Idempotency) -> Result<Issued> {
        let IdempotencyResult::Certificate(serial) = &answer.result else { return Err(key_reused(&idempotency.key)) };
        if answer.request_sha256 != idempotency.request_sha256 {
            return Err(key_reused(&idempotency.key));
        }
        // Serial numbers made here are unique; an imported certificate with the same one has another source.
        let records = self.storage.certificates_by_serial(serial).await?;
        let record = records.into_iter().find(|record| record.source != Source::Import).ok_or_else(|| {
            Error::internal(format!("the certificate `{serial}` of an idempotency key is not in the database"))
        })?;
        Ok(Issued { certificate: Box::new(self.view(record).await?), replayed: true })
    }

    /// Evaluates the policy with the block list, so that all violations are named at once.
    async fn evaluate(
        &self,
        caller: &Caller,
        request: &IssuanceRequest,
        profile: &ActiveProfile,
        issuer: &Issuer,
    ) -> Result<Result<ApprovedRequest, Vec<Violation>>> {
        // That of an order has nothing to add to what is refused with it.
        let key_is_blocked = match request.order {
            None => self.storage.key_is_blocked(&request.csr.public_key().spki_sha256()).await?,
            Some(_) => false,
        };
        Ok(self.evaluate_with(caller, request, profile, issuer, key_is_blocked))
    }

    fn evaluate_with(
        &self,
        caller: &Caller,
        request: &IssuanceRequest,
        profile: &ActiveProfile,
        issuer: &Issuer,
        key_is_blocked: bool,
    ) -> Result<ApprovedRequest, Vec<Violation>> {
        policy::evaluate(&Evaluation {
            request: &request.csr,
            adjustments: &request.adjustments,
            profile: &profile.compiled,
            grants: &caller.principal.grants,
            issuer: &issuer.limits,
            key_is_blocked,
            now: self.clock.now(),
        })
    }

    /// Makes a serial number from the clock and the random source.
    pub(super) fn new_serial(&self) -> Result<SerialNumber> {
        let mut random = [0; SerialNumber::RANDOM_OCTETS];
        self.random.fill(&mut random)?;
        Ok(SerialNumber::from_time(self.clock.unix_milliseconds(), random))
    }
}

/// Returns a name as an error or a log may show it: whoever sent it may have sent anything.
fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_default).collect()
}

/// Makes the error for an idempotency key that belongs to another request.
pub(super) fn key_reused(key: &str) -> Error {
    Error::new(
        ErrorKind::IdempotencyKeyReused,
        format!(
            "the idempotency key `{key}` was used within 24 hours for another request; use a new key for a new request"
        ),
    )
}

/// Returns the algorithm of a certificate's key as written in records.
pub(super) fn key_algorithm(certificate: &Certificate) -> String {
    certificate.public_key.algorithm().map_or_else(str::to_owned, |algorithm| algorithm.to_string())
}

/// The record of a certificate that is about to be written; its row is not known yet.
pub(super) fn recorded(row: &NewCertificate) -> CertificateRecord {
    CertificateRecord {
        id: 0,
        serial: row.serial.clone(),
        issuer_id: row.issuer_id,
        profile: row.profile.clone(),
        profile_version: row.profile_version,
        requester: row.requester.clone(),
        source: row.source,
        subject: row.subject.clone(),
        key_algorithm: row.key_algorithm.clone(),
        spki_sha256: row.spki_sha256,
        fingerprint_sha256: row.fingerprint_sha256,
        not_before: row.not_before,
        not_after: row.not_after,
        issued_at: row.issued_at,
        labels: row.labels.clone(),
        state: CertificateState::Valid,
        revocation: None,
        crl_shard: row.crl_shard,
        der: row.der.clone(),
    }
}

/// What is written down of a certificate. The order of the fields is that of the audit log.
#[derive(Debug, Serialize)]
struct IssuanceDetails<'a> {
    issuer: &'a str,
    profile: &'a str,
    profile_version: i32,
    source: Source,
    subject: &'a str,
    subject_alt_names: Vec<String>,
    not_after: Timestamp,
    fingerprint_sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    renews: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acme: Option<&'a Value>,
}

impl<'a> IssuanceDetails<'a> {
    fn new(row: &'a NewCertificate, issuer: &'a str, purpose: Purpose<'a>) -> Self {
        Self {
            issuer,
            profile: &row.profile,
            profile_version: row.profile_version,
            source: row.source,
            subject: &row.subject,
            subject_alt_names: row.names.iter().map(ToString::to_string).collect(),
            not_after: row.not_after,
            fingerprint_sha256: HEXLOWER.encode(&row.fingerprint_sha256),
            renews: purpose.renews.map(ToString::to_string),
            acme: purpose.acme,
        }
    }
}

/// The metrics of the certificates of a profile. There are as many as there were profiles.
struct Series {
    issued: metrics::Counter,
    duration: metrics::Histogram,
}

impl Series {
    /// Lends the series of a profile under which something was issued. Each thread keeps them: to find them by their names costs more than to
    /// count.
    fn with(profile: &str, work: impl FnOnce(&Self)) {
        thread_local! {
            static KNOWN: RefCell<BTreeMap<String, Series>> = const { RefCell::new(BTreeMap::new()) };
        }
        KNOWN.with_borrow_mut(|known| {
            if let Some(series) = known.get(profile) {
                return work(series);
            }
            work(known.entry(profile.to_owned()).or_insert_with(|| Self {
                issued: metrics::counter!("chancery_certificates_issued_total", "profile" => profile.to_owned()),
                duration: metrics::histogram!("chancery_issuance_duration_seconds", "profile" => profile.to_owned()),
            }));
        });
    }
}
