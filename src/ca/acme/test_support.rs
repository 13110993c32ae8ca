//! For tests of this folder: the ACME server over a real CA with a real SQLite database, a clock that is set, and keys that sign requests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::accounts::{NewAccountRequest, Registered};
use super::validation::{CaaQuestion, ChallengeValidator, Validated, ValidationAttempt, ValidationFailure};
use super::{Acme, AcmeCaller, AcmeSettings, KeyCaller, RequestOrigin};
use crate::ca::ocsp::OcspSettings;
use crate::ca::{CertificateAuthority, Settings};
use crate::environment::{Clock, SystemRandomSource};
use crate::error::Result;
use crate::policy::profile;
use crate::signer::key_files::KeyFiles;
use crate::signer::key_ring::KeyRing;
use crate::signer::key_store::KeyStore;
use crate::signer::sealing::KeyEncryptionKey;
use crate::signer::tokens::Tokens;
use crate::storage::{self, DatabaseOptions};
use crate::x509::jws::SignedRequest;

/// The moment at which the tests begin: 2026-01-01T00:00:00Z.
pub(super) const NOW_MS: i64 = 1_767_225_600_000;
/// Scheme and host of requests.
pub(super) const BASE: &str = "https://ca.internal";

/// A clock that stands still until it is moved.
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

/// Looks at nothing.
#[derive(Debug)]
struct Blind;

#[async_trait]
impl ChallengeValidator for Blind {
    async fn validate(&self, _attempt: &ValidationAttempt) -> Result<Validated, ValidationFailure> {
        Ok(Validated::default())
    }

    async fn check_caa(&self, _question: &CaaQuestion) -> Result<(), ValidationFailure> {
        Ok(())
    }
}

/// A database with replicas over it.
#[derive(Debug)]
pub(super) struct Fixture {
    pub(super) acme: Arc<Acme>,
    pub(super) clock: Arc<TestClock>,
    directory: TempDir,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        Self::with(AcmeSettings::default()).await
    }

    pub(super) async fn with(settings: AcmeSettings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(NOW_MS)));
        let ca = open(&directory, &clock).await;
        ca.apply_configured_profiles(profile::defaults()).await.unwrap();
        let acme = Acme::open(ca, settings, Arc::new(Blind)).await.unwrap();
        Self { acme, clock, directory }
    }

    /// Another server with the same connection to the database.
    pub(super) async fn replica(&self) -> Arc<Acme> {
        self.replica_with(self.acme.settings.clone()).await
    }

    /// Another server with other settings.
    pub(super) async fn replica_with(&self, settings: AcmeSettings) -> Arc<Acme> {
        Acme::open(Arc::clone(&self.acme.ca), settings, Arc::new(Blind)).await.unwrap()
    }

    /// The server as it is after a restart of the process.
    pub(super) async fn restarted(&self) -> Arc<Acme> {
        let ca = open(&self.directory, &self.clock).await;
        Acme::open(ca, self.acme.settings.clone(), Arc::new(Blind)).await.unwrap()
    }
}

async fn open(directory: &TempDir, clock: &Arc<TestClock>) -> Arc<CertificateAuthority> {
    let options = DatabaseOptions {
        url: SecretString::from(format!("sqlite://{}/chancery.db", directory.path().display())),
        connections: 4,
        root_certificates: None,
        statement_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(10),
        maximum_wait: Duration::from_secs(10),
    };
    let storage = storage::open(&options).await.unwrap();
    let ring = KeyRing::from(KeyEncryptionKey::from_bytes([7; 32]));
    let keys = KeyStore::new(ring, KeyFiles::default(), Tokens::new(Vec::new()).unwrap());
    let settings = Settings {
        public_url: "http://pki.internal".to_owned(),
        crl_validity: Duration::from_secs(7 * 86_400),
        crl_refresh: Duration::from_secs(86_400),
        expiry_warning: Duration::from_secs(30 * 86_400),
        crl_shards: 0,
        crl_delta_interval: None,
        ocsp: OcspSettings {
            validity: Duration::from_secs(3600),
            responder_validity: Duration::from_secs(86_400),
            cache_size: 1024 * 1024,
        },
    };
    let (clock, random) = (Arc::clone(clock), Arc::new(SystemRandomSource::default()));
    Arc::new(CertificateAuthority::open(storage, clock, random, Arc::new(keys), settings).await.unwrap())
}

/// An account key on P-256.
pub(super) struct TestKey(EcdsaKeyPair);

impl TestKey {
    pub(super) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(super) fn jwk(&self) -> Value {
        let point = self.0.public_key().as_ref();
        let text = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
        json!({"crv": "P-256", "kty": "EC", "x": text(&point[1..33]), "y": text(&point[33..])})
    }

    pub(super) fn sign(&self, header: &Value, payload: &[u8]) -> Value {
        let (protected, payload) = (URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.0.sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes()).unwrap();
        json!({"protected": protected, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(signature.as_ref())})
    }

    /// A request that carries the key.
    pub(super) fn with_jwk(&self, nonce: &str, path: &str, payload: &Value) -> SignedRequest {
        let header = json!({"alg": "ES256", "jwk": self.jwk(), "nonce": nonce, "url": format!("{BASE}{path}")});
        SignedRequest::parse(self.sign(&header, payload.to_string().as_bytes()).to_string().as_bytes()).unwrap()
    }

    /// A request of an account.
    pub(super) fn with_kid(&self, nonce: &str, kid: &str, path: &str, payload: &Value) -> SignedRequest {
        let header = json!({"alg": "ES256", "kid": kid, "nonce": nonce, "url": format!("{BASE}{path}")});
        SignedRequest::parse(self.sign(&header, payload.to_string().as_bytes()).to_string().as_bytes()).unwrap()
    }
}

/// Where requests come from.
pub(super) fn origin() -> RequestOrigin {
    RequestOrigin { base_url: BASE.to_owned(), remote_address: Some("10.1.2.3".to_owned()), request_id: None }
}

/// Whoever has a key.
pub(super) async fn key_caller(acme: &Acme, key: &TestKey) -> KeyCaller {
    let request = key.with_jwk(&acme.new_nonce().unwrap(), "/acme/new-account", &json!({}));
    acme.authenticate_key(request, origin()).await.unwrap().0
}

/// Makes an account.
pub(super) async fn register(acme: &Acme, key: &TestKey, body: Value) -> Result<Registered> {
    let request: NewAccountRequest = serde_json::from_value(body).unwrap();
    acme.new_account(&key_caller(acme, key).await, None, request).await
}

/// Admits a request of an account.
pub(super) async fn admit(acme: &Acme, key: &TestKey, id: i64) -> Result<AcmeCaller> {
    let kid = format!("{BASE}/acme/accounts/{id}");
    let request = key.with_kid(&acme.new_nonce()?, &kid, "/acme/new-order", &json!({}));
    Ok(acme.authenticate(request, origin()).await?.0)
}
