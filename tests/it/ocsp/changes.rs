//! Changes of state: seen at once where they are made, within seconds elsewhere, and never undone by a look that began before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chancery::x509::ocsp::{CertificateStatus, ErrorStatus, HashAlgorithm, OcspRequest};
use serde_json::json;

use super::asking::{Asked, Relying, serial};
use crate::support::client::RUNTIME;
use crate::support::postgres;
use crate::support::service::{Database, Service};

/// While others ask without pause, with and without nonce, nobody is told `good` after the revocation was answered.
#[test]
fn nobody_is_told_the_old_status_after_the_change_was_answered() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let relying = Relying::of(service);
        let client = service.administrator();
        for round in 0..6 {
            let record = service.issue(&["raced.internal"]);
            let id = relying.id(HashAlgorithm::Sha1, serial(&record));
            let revoked = Arc::new(AtomicBool::new(false));
            let askers: Vec<_> = (0..12)
                .map(|number| {
                    let (relying, revoked, id) = (relying.clone(), Arc::clone(&revoked), id.clone());
                    let nonce = (number % 2 == 0).then_some([3_u8; 16]);
                    RUNTIME.spawn(async move {
                        let request = OcspRequest::encode(&[id], nonce.as_ref().map(<[u8; 16]>::as_slice));
                        let mut after = 0;
                        while after < 5 {
                            let begun_after = revoked.load(Ordering::SeqCst);
                            let said = relying.clone().post_elsewhere(request.clone()).await;
                            let good = said.statuses()[0] == CertificateStatus::Good;
                            assert!(!(begun_after && good), "told `good` after the revocation was answered");
                            after += u32::from(begun_after);
                        }
                    })
                })
                .collect();
            // The first round asks on a cold entry, later ones on a warm one.
            if round > 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
            let path = format!("/api/v1/certificates/{}/revoke", serial(&record));
            client.post(&path).json(&json!({"reason": "key_compromise"})).expect(200);
            revoked.store(true, Ordering::SeqCst);
            for asker in askers {
                RUNTIME.block_on(asker).unwrap();
            }
        }
    }
}

#[test]
fn replicas_share_a_responder_and_learn_of_changes_within_seconds() {
    let url = crate::support::new_postgres_database();
    let sealing = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let settings = [("CHANCERY__DATABASE__URL", url.as_str()), ("CHANCERY__KEYS__KEY_ENCRYPTION_KEY", sealing)];
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| Service::start_with(Database::Sqlite, &settings));
        let two = scope.spawn(|| Service::start_with(Database::Sqlite, &settings));
        (one.join().unwrap(), two.join().unwrap())
    });
    let (here, there) = (Relying::of(&one), Relying::of(&two));
    let responders = one.administrator().get("/api/v1/certificates?profile=chancery.ocsp").expect(200).json();
    assert_eq!(responders["items"].as_array().unwrap().len(), 2, "one for each issuer, though both started at once");
    let eventually = |what: &str, holds: &dyn Fn() -> bool| {
        let started = Instant::now();
        while !holds() {
            // Two seconds, and what a busy machine adds.
            assert!(started.elapsed() < Duration::from_secs(15), "{what} did not come to hold");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    // A replica that started while the other made it takes the responder that is there.
    eventually("a responder at both", &|| {
        let certificates = |relying: &Relying| match relying.ask(&["01"], None) {
            Asked::Answer(basic) => basic.certificates[0].as_der().to_vec(),
            Asked::Refused(_) => Vec::new(),
        };
        let (first, second) = (certificates(&here), certificates(&there));
        !first.is_empty() && first == second
    });
    let record = one.issue(&["followed.internal"]);
    let path = format!("/api/v1/certificates/{}", serial(&record));
    for relying in [&here, &there] {
        assert_eq!(relying.status(serial(&record)), CertificateStatus::Good);
    }
    one.administrator().post(&format!("{path}/revoke")).json(&json!({"reason": "certificate_hold"})).expect(200);
    assert_ne!(here.status(serial(&record)), CertificateStatus::Good);
    eventually("the hold at the other replica", &|| there.status(serial(&record)) != CertificateStatus::Good);
    two.administrator().post(&format!("{path}/release")).expect(200);
    assert_eq!(there.status(serial(&record)), CertificateStatus::Good);
    eventually("the release at the first", &|| here.status(serial(&record)) == CertificateStatus::Good);

    // Revoked before the CA came here: only the serial number is known.
    assert_eq!(here.status("0777"), CertificateStatus::Unknown);
    RUNTIME.block_on(postgres::execute(
        &url,
        "UPDATE issuers SET revocations = revocations + 1 WHERE name = 'issuing'; \
         INSERT INTO revoked_serials (issuer_id, serial, revoked_at, revocation_reason, change_number) \
         SELECT id, '\\x0777', 1700000000, 4, revocations FROM issuers WHERE name = 'issuing'",
    ));
    assert!(
        matches!(here.status("0777"), CertificateStatus::Revoked { revoked_at, .. } if revoked_at.unix() == 1_700_000_000)
    );

    // A disabled issuer signs nothing, whatever is in memory.
    RUNTIME.block_on(postgres::execute(
        &url,
        "UPDATE issuers SET state = 3 WHERE name = 'issuing'; UPDATE generation SET value = value + 1",
    ));
    for relying in [&here, &there] {
        eventually("the issuer is disabled", &|| {
            relying.ask(&[serial(&record)], None).refusal() == Some(ErrorStatus::Unauthorized)
        });
    }
}
