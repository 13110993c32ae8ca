//! A new database per test, and values to put into it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chancery::signer::sealing::Sealed;
use chancery::storage::{
    AuditEvent, AuditOutcome, CertificateFilter, CertificateRecord, DatabaseOptions, IdempotencyClaim, Issuance,
    IssuerState, KeyLocation, NewCertificate, NewIssuer, NewIssuerCertificate, NewKey, PageRequest, RevocationRecord,
    SignedBy, SortKey, Source, Storage, open,
};
use chancery::x509::crl::RevocationReason;
use chancery::x509::{NameType, SerialNumber, SubjectAltName, Timestamp};
use diesel::Connection;
use diesel::connection::SimpleConnection;
use tempfile::TempDir;

use crate::support::postgres;

/// The moment at which the tests play: 2026-01-01T00:00:00Z, a Thursday.
pub(crate) const NOW: i64 = 1_767_225_600;

static SERIALS: AtomicU64 = AtomicU64::new(1);

/// A database of a test's own.
#[derive(Debug)]
pub(crate) struct Fixture {
    pub(crate) url: String,
    pub(crate) directory: Option<TempDir>,
}

impl Fixture {
    pub(crate) fn sqlite() -> Self {
        super::plans::observe();
        let directory = tempfile::tempdir().unwrap();
        Self { url: format!("sqlite://{}/chancery.db", directory.path().display()), directory: Some(directory) }
    }

    pub(crate) async fn postgres() -> Self {
        Self { url: postgres::database().await, directory: None }
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.directory.is_some()
    }

    pub(crate) fn options(&self) -> DatabaseOptions {
        options(&self.url)
    }

    pub(crate) async fn open(&self) -> Arc<dyn Storage> {
        open(&self.options()).await.unwrap()
    }

    /// Runs SQL behind the storage's back.
    pub(crate) async fn execute(&self, sql: &str) {
        if self.is_sqlite() {
            let path = self.url.strip_prefix("sqlite://").unwrap().to_owned();
            let sql = format!("PRAGMA busy_timeout = 10000; {sql}");
            tokio::task::spawn_blocking(move || {
                diesel::SqliteConnection::establish(&path).unwrap().batch_execute(&sql).unwrap();
            })
            .await
            .unwrap();
        } else {
            postgres::execute(&self.url, sql).await;
        }
    }
}

pub(crate) fn options(url: &str) -> DatabaseOptions {
    DatabaseOptions {
        url: url.into(),
        connections: 4,
        root_certificates: None,
        statement_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(3),
        maximum_wait: Duration::from_secs(10),
    }
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(NOW + seconds)
}

pub(crate) fn serial() -> SerialNumber {
    let number = SERIALS.fetch_add(1, Ordering::Relaxed);
    let mut random = [0; SerialNumber::RANDOM_OCTETS];
    random[..8].copy_from_slice(&number.to_be_bytes());
    SerialNumber::from_time(NOW * 1000, random)
}

pub(crate) fn dns(name: &str) -> SubjectAltName {
    SubjectAltName::parse(NameType::Dns, name).unwrap()
}

/// A certificate of the profile `server`, requested by `token:deploy`, valid for 90 days.
pub(crate) fn certificate(names: &[&str]) -> NewCertificate {
    let serial = serial();
    let mut digest = [7; 32];
    for (octet, of_serial) in digest.iter_mut().zip(serial.as_bytes()) {
        *octet = *of_serial;
    }
    NewCertificate {
        issuer_id: 1,
        profile: "server".to_owned(),
        profile_version: 1,
        requester: "token:deploy".to_owned(),
        source: Source::Rest,
        subject: format!("CN={}", names.first().unwrap_or(&"none")),
        names: names.iter().map(|name| dns(name)).collect(),
        key_algorithm: "ecdsa_p256".to_owned(),
        spki_sha256: digest,
        fingerprint_sha256: digest,
        not_before: at(-60),
        not_after: at(90 * 86_400),
        issued_at: at(0),
        labels: BTreeMap::new(),
        crl_shard: 0,
        der: serial.as_bytes().to_vec(),
        serial,
    }
}

pub(crate) fn event(action: &str, object: &str) -> AuditEvent {
    AuditEvent {
        occurred_at_ms: NOW * 1000 + 123,
        actor: "token:deploy".to_owned(),
        action: action.to_owned(),
        outcome: AuditOutcome::Success,
        object: object.to_owned(),
        remote_address: Some("192.0.2.7".to_owned()),
        request_id: Some("01890a5d-ac96-774b-bcce-b302099a8057".to_owned()),
        details: serde_json::json!({"z": 1, "a": ["x", null, 1.5], "profile": "server"}),
    }
}

pub(crate) fn issuance(certificate: NewCertificate) -> Issuance {
    let audit = event("certificate.issue", &format!("certificate:{}", certificate.serial));
    Issuance { certificate, audit: audit.with_written_details().unwrap(), idempotency: None, order: None }
}

pub(crate) fn claim(key: &str, expires: i64) -> IdempotencyClaim {
    IdempotencyClaim {
        caller: "token:deploy".to_owned(),
        key: key.to_owned(),
        request_sha256: [9; 32],
        expires_at: at(expires),
    }
}

pub(crate) fn issuer(name: &str, parent: Option<&str>, is_default: bool) -> NewIssuer {
    let mut certificate = certificate(&[]);
    certificate.source = Source::Internal;
    certificate.profile = "root".to_owned();
    certificate.issuer_id = -1;
    NewIssuer {
        base_name: name.to_owned(),
        generation: 1,
        state: IssuerState::Active,
        is_default,
        settings: "{}".to_owned(),
        key: NewKey {
            algorithm: "ecdsa_p256".to_owned(),
            spki_sha256: certificate.spki_sha256,
            location: KeyLocation::Database(Sealed {
                key_encryption_key_id: "key-1".to_owned(),
                ciphertext: vec![1, 2, 3],
            }),
        },
        csr: None,
        certificate: Some(NewIssuerCertificate {
            signed_by: parent.map_or(SignedBy::Itself, |parent| SignedBy::New(parent.to_owned())),
            fingerprint_sha256: certificate.fingerprint_sha256,
            der: certificate.der.clone(),
            upper_chain: Vec::new(),
            created_at: at(0),
            inventory: Some(certificate),
        }),
        crl_number: 0,
        retires: Vec::new(),
        cross_certificates: Vec::new(),
        audit: event("issuer.create", &format!("issuer:{name}")),
    }
}

pub(crate) fn revocation(reason: RevocationReason) -> RevocationRecord {
    RevocationRecord { reason, revoked_at: at(100), invalidity_date: Some(at(50)) }
}

/// Finds the one certificate with a serial number.
pub(crate) async fn found(storage: &dyn Storage, serial: &SerialNumber) -> Option<CertificateRecord> {
    let mut records = storage.certificates_by_serial(serial).await.unwrap();
    assert!(records.len() < 2, "only imported certificates share a serial number");
    records.pop()
}

/// Records a certificate and returns it.
pub(crate) async fn issue(storage: &dyn Storage, certificate: NewCertificate) -> SerialNumber {
    let serial = certificate.serial.clone();
    assert_eq!(storage.record_issuance(issuance(certificate)).await.unwrap(), chancery::storage::Recorded::Committed);
    serial
}

/// Lists the first page, oldest first.
pub(crate) async fn list(storage: &dyn Storage, filter: CertificateFilter) -> Vec<CertificateRecord> {
    let page = PageRequest { limit: 1000, sort: SortKey::IssuedAt, descending: false, after: None };
    storage.certificates(&filter, page).await.unwrap().items
}
