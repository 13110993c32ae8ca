//! Answers OCSP requests (RFC 6960): who may answer for which CA, what is said of a certificate, and how that stays cheap.
//! Bytes are made in `x509/ocsp.rs`, HTTP is `protocols/ocsp.rs`.
//!
//! Anybody may ask, so no request may cost much. What is known of a serial number is kept in one entry (`statuses.rs`) together with the
//! answers that were signed from it; whoever drops the entry drops all of it, and whatever is still on its way into it. A request without
//! nonce for one certificate is answered with octets that are there, and signs only when half of their time has gone; a request with
//! a nonce costs one signature and no look into the database (`answers.rs`). What is not there is looked up and signed for few requests at
//! a time; beyond that the answer is `tryLater`. Answers are signed by delegated responders (`responders.rs`), so an issuer whose key
//! goes offline is still answered for. Changes made by other replicas are followed by `changes.rs`.
//!
//! `thisUpdate` is the moment at which the status was last known to be true: when it was read, or when the database last said that nothing
//! has changed since. So while the database is away, what is known is answered until `nextUpdate`, and not a second longer.

mod answers;
mod changes;
mod responders;
mod statuses;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Semaphore;

use self::answers::Refusal;
use self::responders::Responder;
use self::statuses::Statuses;
use super::CertificateAuthority;
use super::issuer::{Issuer, Issuers};
use crate::x509::ocsp::{CertId, ErrorStatus, IssuerHashes, OcspRequest};
use crate::x509::{SerialNumber, Timestamp};

pub use responders::RESPONDER_PROFILE;

/// How many requests may wait for a look into the database or for a signature; more are told to try later.
const ADMITTED: usize = 256;

/// Settings of the responder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OcspSettings {
    /// How long an answer is valid, unless an issuer says otherwise.
    pub validity: Duration,
    /// How long a responder's certificate is valid; the next one is made when two thirds have gone.
    pub responder_validity: Duration,
    /// The most octets of statuses and signed answers that are kept.
    pub cache_size: u64,
}

impl Default for OcspSettings {
    fn default() -> Self {
        Self {
            validity: Duration::from_secs(12 * 3600),
            responder_validity: Duration::from_secs(30 * 86_400),
            cache_size: 64 * 1024 * 1024,
        }
    }
}

/// An answer to a request.
#[derive(Clone, Debug)]
pub enum OcspAnswer {
    /// A signed one.
    Signed(Arc<SignedAnswer>),
    /// None, and why.
    Refused(ErrorStatus),
}

/// A signed answer.
#[derive(Debug)]
pub struct SignedAnswer {
    /// The whole `OCSPResponse`.
    pub der: Vec<u8>,
    /// The SHA-256 of the response; `None` for one with a nonce, which is of use to nobody else.
    pub digest: Option<[u8; 32]>,
    /// When what it says was known to be true.
    pub this_update: Timestamp,
    /// From when on there may be a newer one: when half of its validity has gone.
    pub refresh_at: Timestamp,
    /// Until when it may be believed.
    pub next_update: Timestamp,
}

/// The responder's state.
#[derive(Debug)]
pub(super) struct Ocsp {
    settings: OcspSettings,
    statuses: Statuses,
    /// The responders by issuer row.
    responders: ArcSwap<BTreeMap<i32, Arc<Responder>>>,
    identities: ArcSwapOption<Identities>,
    /// The count of changes of each issuer up to which the statuses are true.
    seen: Mutex<BTreeMap<i32, i64>>,
    /// The Unix second at which the statuses were last known to be true.
    confirmed: AtomicI64,
    admission: Semaphore,
    /// For signatures that take long: at most half of the processors, the rest is for those who issue.
    signing: Semaphore,
    renewing: tokio::sync::Mutex<()>,
}

impl Ocsp {
    pub(super) fn new(settings: OcspSettings) -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            settings,
            statuses: Statuses::new(settings.cache_size),
            responders: ArcSwap::default(),
            identities: ArcSwapOption::empty(),
            seen: Mutex::default(),
            confirmed: AtomicI64::new(Timestamp::MIN.unix()),
            admission: Semaphore::new(ADMITTED),
            signing: Semaphore::new((processors / 2).max(1)),
            renewing: tokio::sync::Mutex::new(()),
        }
    }

    /// Forgets what is known of a serial number. To be called after every commit that changes its state, before that is answered: a
    /// request that comes later looks anew.
    pub(super) fn forget(&self, issuer_id: i32, serial: &SerialNumber) {
        self.statuses.forget(issuer_id, serial);
    }

    /// Returns the moment at which the statuses were last known to be true.
    fn confirmed(&self) -> Timestamp {
        Timestamp::from_unix(self.confirmed.load(Ordering::Acquire))
    }
}

/// Issuers by the digests that requests name them by.
#[derive(Debug)]
struct Identities {
    /// What they were computed from.
    issuers: Arc<Issuers>,
    hashes: Vec<(Arc<Issuer>, IssuerHashes)>,
}

impl Identities {
    fn new(issuers: Arc<Issuers>) -> Self {
        let mut hashes = Vec::new();
        for issuer in issuers.all() {
            // Certificates of the same key may carry different names; whoever holds one names the issuer by it.
            let others = issuer.alternate_chains.iter().filter_map(|chain| chain.first());
            for certificate in std::iter::once(&issuer.certificate).chain(others) {
                let found = IssuerHashes::of_certificate(certificate);
                if !hashes.iter().any(|(_, known)| *known == found) {
                    hashes.push((Arc::clone(issuer), found));
                }
            }
        }
        Self { issuers, hashes }
    }

    /// Finds the issuer that an identifier names among the generations of a name, each of which has a key of its own.
    fn find(&self, name: &str, id: &CertId<'_>) -> Option<&Arc<Issuer>> {
        let of_name = |issuer: &Issuer| issuer.name == name || issuer.path_name == name;
        self.hashes.iter().find(|(issuer, hashes)| of_name(issuer) && hashes.matches(id)).map(|(issuer, _)| issuer)
    }
}

impl CertificateAuthority {
    /// Answers a request in DER that came to the responder of the issuer `name`. Whatever happens there is an answer: failures of ours are
    /// `tryLater` or `internalError`, and logged.
    pub async fn answer_ocsp(&self, name: &str, request: &[u8]) -> OcspAnswer {
        let answer = match OcspRequest::from_der(request) {
            Ok(request) => self.answer_request(name, &request).await,
            Err(_malformed) => Err(Refusal::Status(ErrorStatus::MalformedRequest)),
        };
        let (answer, outcome) = match answer {
            Ok(signed) => (OcspAnswer::Signed(signed), "signed"),
            Err(refusal) => {
                let status = refusal.into_status();
                (OcspAnswer::Refused(status), status.as_str())
            }
        };
        metrics::counter!("chancery_ocsp_answers_total", "outcome" => outcome).increment(1);
        answer
    }

    /// Returns the digests of the issuers as they are now.
    fn identities(&self) -> Arc<Identities> {
        let issuers = self.issuers.load();
        if let Some(known) = self.ocsp.identities.load_full().filter(|known| Arc::ptr_eq(&known.issuers, &issuers)) {
            return known;
        }
        let identities = Arc::new(Identities::new(Arc::clone(&issuers)));
        self.ocsp.identities.store(Some(Arc::clone(&identities)));
        identities
    }

    /// Forgets what OCSP knows of a serial number, after a commit that changed its state or recorded it.
    pub(super) fn forget_status(&self, issuer_id: i32, serial: &SerialNumber) {
        self.ocsp.forget(issuer_id, serial);
    }
}
