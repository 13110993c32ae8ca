//! An ACME server on a database of its own, with a clock that stands still and a validator that answers what it is told, for the tests of the core.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rcgen::{CertificateParams, DistinguishedName as Subject, DnType, KeyPair, PublicKeyData as _};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::authorizations::AuthorizationView;
use super::orders::NewOrderRequest;
use super::validation::{CaaQuestion, ChallengeValidator, Validated, ValidationAttempt, ValidationFailure};
use super::{Acme, AcmeCaller, AcmeSettings, AuthorizationStatus, OrderView};
use crate::auth::Caller;
use crate::ca::hierarchy::NewCa;
use crate::ca::{CertificateAuthority, Settings};
use crate::environment::{Clock, SystemRandomSource};
use crate::policy::acme::ChallengeType;
use crate::policy::acme::identifier::WrittenIdentifier;
use crate::signer::key_files::KeyFiles;
use crate::signer::key_ring::KeyRing;
use crate::signer::key_store::{KeyPlace, KeyStore};
use crate::signer::sealing::{KeyEncryptionKey, Sealed};
use crate::signer::tokens::Tokens;
use crate::storage::{
    self, AcmeAccountRecord, AcmeAccountStatus, AuditEvent, AuditOutcome, DatabaseOptions, NewAcmeAccount,
    NewExternalAccountKey, Storage,
};
use crate::x509::jws::OfferedKey;
use crate::x509::{DistinguishedName, KeyAlgorithm, PublicKey, Timestamp};

/// 2030-01-01T00:00:00Z, in Unix milliseconds.
const START_MS: i64 = 1_893_456_000_000;
/// The longest that something in the background is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A clock that moves when told to.
#[derive(Debug)]
pub(super) struct TestClock(AtomicI64);

impl TestClock {
    pub(super) fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn unix_milliseconds(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// What the validator does.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Proof,
    ProofUntil(i64),
    Failure(ValidationFailure),
    Panic,
    Hang,
}

/// A validator that answers in turn what it is told, and then that it saw proofs.
#[derive(Debug)]
pub(super) struct Script {
    answers: Mutex<VecDeque<Answer>>,
    caa: Mutex<VecDeque<ValidationFailure>>,
    pub(super) asked: Mutex<Vec<ValidationAttempt>>,
    pub(super) caa_asked: Mutex<Vec<CaaQuestion>>,
    /// A look ends when it gets one of these.
    pub(super) gate: Semaphore,
    /// A CAA question is answered when it gets one of these.
    pub(super) caa_gate: Semaphore,
    running: AtomicUsize,
    pub(super) most_running: AtomicUsize,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            answers: Mutex::default(),
            caa: Mutex::default(),
            asked: Mutex::default(),
            caa_asked: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            caa_gate: Semaphore::new(Semaphore::MAX_PERMITS),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
        }
    }
}

impl Script {
    pub(super) fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.answers.lock().unwrap().extend(answers);
    }

    pub(super) fn refuse_caa(&self, failure: ValidationFailure) {
        self.caa.lock().unwrap().push_back(failure);
    }

    /// Lets no look end until [`Self::open`].
    pub(super) fn close(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(super) fn open(&self) {
        self.gate.add_permits(1 << 20);
    }

    pub(super) fn times_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

#[async_trait]
impl ChallengeValidator for Script {
    async fn validate(&self, attempt: &ValidationAttempt) -> Result<Validated, ValidationFailure> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        self.asked.lock().unwrap().push(attempt.clone());
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Answer::Proof);
        let permit = self.gate.acquire().await.unwrap();
        self.running.fetch_sub(1, Ordering::SeqCst);
        drop(permit);
        match answer {
            Answer::Proof => Ok(Validated::default()),
            Answer::ProofUntil(until) => Ok(Validated { until: Some(until), ..Validated::default() }),
            Answer::Failure(failure) => Err(failure),
            Answer::Panic => panic!("as the script says"),
            Answer::Hang => std::future::pending().await,
        }
    }

    async fn check_caa(&self, question: &CaaQuestion) -> Result<(), ValidationFailure> {
        self.caa_asked.lock().unwrap().push(question.clone());
        drop(self.caa_gate.acquire().await.unwrap());
        self.caa.lock().unwrap().pop_front().map_or(Ok(()), Err)
    }
}

/// An ACME server with what it stands on.
#[derive(Debug)]
pub(in crate::ca) struct World {
    pub(in crate::ca) acme: Arc<Acme>,
    pub(super) clock: Arc<TestClock>,
    pub(super) validator: Arc<Script>,
    pub(super) settings: AcmeSettings,
    _directory: TempDir,
}

impl World {
    pub(in crate::ca) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut AcmeSettings)) -> Self {
        let directory = TempDir::new().unwrap();
        let url = format!("sqlite://{}", directory.path().join("chancery.db").display());
        let options = DatabaseOptions {
            url: url.into(),
            connections: 4,
            root_certificates: None,
            statement_timeout: PATIENCE,
            connect_timeout: PATIENCE,
            maximum_wait: PATIENCE,
        };
        let storage = storage::open(&options).await.unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(START_MS)));
        let ca = authority(storage, Arc::clone(&clock)).await;
        let ca_of = |name: &str| NewCa {
            name: name.to_owned(),
            subject: DistinguishedName::parse(&format!("CN={name}")).unwrap(),
            key: KeyAlgorithm::EcdsaP256,
            validity: Duration::from_secs(3650 * 86_400),
            place: KeyPlace::Database,
        };
        ca.create_first_issuers(&Caller::system(), ca_of("root"), ca_of("issuing")).await.unwrap();
        let mut settings = AcmeSettings::default();
        change(&mut settings);
        let validator = Arc::new(Script::default());
        let acme = Acme::open(ca, settings.clone(), validator_of(&validator)).await.unwrap();
        Self { acme, clock, validator, settings, _directory: directory }
    }

    /// Opens another replica on the same database, with the same clock and validator.
    pub(super) async fn replica(&self) -> Arc<Acme> {
        let ca = authority(Arc::clone(&self.acme.ca.storage), Arc::clone(&self.clock)).await;
        Acme::open(ca, self.settings.clone(), validator_of(&self.validator)).await.unwrap()
    }

    pub(super) fn storage(&self) -> &Arc<dyn Storage> {
        &self.acme.ca.storage
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Makes an account with a key of its own.
    pub(super) async fn account(&self) -> AcmeCaller {
        self.bound_account(None).await
    }

    async fn bound_account(&self, key: Option<i64>) -> AcmeCaller {
        let pair = KeyPair::generate().unwrap();
        let key_of_account =
            OfferedKey::from_public_key(PublicKey::from_spki_der(&pair.subject_public_key_info()).unwrap())
                .and_then(OfferedKey::into_account_key)
                .unwrap();
        let account = NewAcmeAccount {
            id: self.acme.new_row().unwrap(),
            thumbprint: *key_of_account.thumbprint(),
            jwk: key_of_account.jwk().to_owned(),
            contacts: Vec::new(),
            terms_of_service: None,
            binding: key.map(|key| (key, "{}".to_owned())),
            created_at: self.now(),
            created_from: None,
        };
        let id = account.id;
        let created = self.storage().create_acme_account(account, Vec::new(), event()).await.unwrap();
        assert_eq!(created, storage::AcmeAccountCreated::Created);
        self.caller(id).await
    }

    /// Makes an account that is bound by an external account key.
    pub(super) async fn account_bound_by(&self, change: impl FnOnce(&mut NewExternalAccountKey)) -> AcmeCaller {
        let id = self.acme.new_row().unwrap();
        let mut key = NewExternalAccountKey {
            id,
            key_id: format!("key-{id}"),
            profile: "server".to_owned(),
            principal: "token:team".to_owned(),
            grants: r#"{"names": {"dns": {"allow": ["**.team.internal"]}}}"#.to_owned(),
            proves_control: false,
            single_use: false,
            sealed: Sealed { key_encryption_key_id: "none".to_owned(), ciphertext: vec![0; 32] },
            created_by: "token:team".to_owned(),
            created_at: self.now(),
            expires_at: None,
        };
        change(&mut key);
        self.storage().create_external_account_key(key, None, event()).await.unwrap();
        self.bound_account(Some(id)).await
    }

    /// Reads an account as it is now.
    pub(super) async fn caller(&self, id: i64) -> AcmeCaller {
        let record: AcmeAccountRecord = self.storage().acme_account(id).await.unwrap().unwrap();
        assert_eq!(record.status, AcmeAccountStatus::Valid);
        AcmeCaller::for_tests(record, "https://ca.internal")
    }

    pub(super) async fn order(&self, caller: &AcmeCaller, names: &[&str]) -> OrderView {
        self.acme.new_order(caller, None, request(names)).await.unwrap()
    }

    /// Answers http-01, or dns-01 where only that is offered, of every pending authorization of an order.
    pub(super) async fn respond(&self, caller: &AcmeCaller, order: &OrderView) {
        for authorization in &order.authorizations {
            if self.authorization(caller, authorization.id).await.status == AuthorizationStatus::Pending {
                let challenge =
                    if authorization.identifier.is_wildcard() { ChallengeType::Dns01 } else { ChallengeType::Http01 };
                self.acme.respond(caller, authorization.id, challenge).await.unwrap();
            }
        }
    }

    /// Makes an order and proves control of its names.
    pub(super) async fn ready_order(&self, caller: &AcmeCaller, names: &[&str]) -> OrderView {
        let order = self.order(caller, names).await;
        self.respond(caller, &order).await;
        self.until_order(caller, order.record.id, super::OrderStatus::Ready).await
    }

    pub(super) async fn authorization(&self, caller: &AcmeCaller, id: i64) -> AuthorizationView {
        self.acme.authorization(caller, id).await.unwrap()
    }

    /// Waits until an order has a status.
    pub(super) async fn until_order(&self, caller: &AcmeCaller, id: i64, status: super::OrderStatus) -> OrderView {
        self.until(async || {
            let order = self.acme.order(caller, id).await.unwrap();
            (order.status == status).then_some(order)
        })
        .await
    }

    /// Waits until an authorization has had so many looks.
    pub(super) async fn until_attempts(&self, caller: &AcmeCaller, id: i64, attempts: i32) -> AuthorizationView {
        self.until(async || {
            let view = self.authorization(caller, id).await;
            (view.record.attempts == attempts).then_some(view)
        })
        .await
    }

    /// Waits until something is so.
    pub(super) async fn until<T>(&self, is_so: impl AsyncFn() -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Some(found) = is_so().await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap()
    }

    /// Returns the audit events of certificates that were issued, or refused.
    pub(super) async fn issuances(&self, outcome: AuditOutcome) -> Vec<AuditEvent> {
        let filter = storage::AuditFilter {
            action: Some("certificate.issue".to_owned()),
            outcome: Some(outcome),
            ..storage::AuditFilter::default()
        };
        let events = self.storage().audit_events(&filter, None, 500).await.unwrap().items;
        events.into_iter().map(|stored| stored.event).collect()
    }

    /// Returns how many refusals of certificates were audited.
    pub(super) async fn refused_issuances(&self) -> usize {
        self.issuances(AuditOutcome::Refused).await.len()
    }

    /// Returns how many audit events of an action there are.
    pub(super) async fn audited(&self, action: &str) -> usize {
        let events = self.storage().audit_events(&storage::AuditFilter::default(), None, 500).await.unwrap().items;
        events.iter().filter(|stored| stored.event.action == action).count()
    }
}

fn validator_of(script: &Arc<Script>) -> Arc<dyn ChallengeValidator> {
    let script: Arc<Script> = Arc::clone(script);
    script
}

async fn authority(storage: Arc<dyn Storage>, clock: Arc<TestClock>) -> Arc<CertificateAuthority> {
    let ring = KeyRing::from(KeyEncryptionKey::from_bytes([7; 32]));
    let keys = KeyStore::new(ring, KeyFiles::default(), Tokens::new(Vec::new()).unwrap());
    let settings = Settings {
        public_url: "http://pki.internal".to_owned(),
        crl_validity: Duration::from_secs(7 * 86_400),
        crl_refresh: Duration::from_secs(86_400),
        expiry_warning: Duration::from_secs(30 * 86_400),
        crl_shards: 0,
        crl_delta_interval: None,
        ocsp: crate::ca::ocsp::OcspSettings::default(),
    };
    let random = Arc::new(SystemRandomSource::default());
    Arc::new(CertificateAuthority::open(storage, clock, random, Arc::new(keys), settings).await.unwrap())
}

fn event() -> AuditEvent {
    AuditEvent {
        occurred_at_ms: START_MS,
        actor: "system".to_owned(),
        action: "test".to_owned(),
        outcome: AuditOutcome::Success,
        object: String::new(),
        remote_address: None,
        request_id: None,
        details: serde_json::json!({}),
    }
}

/// Makes identifiers of names and addresses.
pub(super) fn identifiers(names: &[&str]) -> Vec<WrittenIdentifier> {
    let kind = |name: &str| if name.parse::<std::net::IpAddr>().is_ok() { "ip" } else { "dns" };
    names.iter().map(|name| WrittenIdentifier { kind: kind(name).to_owned(), value: (*name).to_owned() }).collect()
}

/// Makes the body of newOrder.
pub(super) fn request(names: &[&str]) -> NewOrderRequest {
    NewOrderRequest { identifiers: identifiers(names), ..NewOrderRequest::default() }
}

/// Makes a CSR with a new key for these names, DER.
pub(super) fn csr(names: &[&str]) -> Vec<u8> {
    csr_with(names, None, &KeyPair::generate().unwrap())
}

/// Makes a CSR with a key and a common name, DER.
pub(super) fn csr_with(names: &[&str], common_name: Option<&str>, key: &KeyPair) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = Subject::new();
    if let Some(common_name) = common_name {
        params.distinguished_name.push(DnType::CommonName, common_name);
    }
    params.serialize_request(key).unwrap().der().to_vec()
}
