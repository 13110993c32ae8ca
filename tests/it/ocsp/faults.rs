//! The database goes away and comes back: what is known is answered, what is not is told to try later, and nobody restarts anything.

use std::time::{Duration, Instant};

use chancery::x509::ocsp::{CertificateStatus, ErrorStatus};
use serde_json::json;

use super::asking::{Relying, serial};
use crate::support::client::RUNTIME;
use crate::support::postgres::Server;
use crate::support::service::{Database, Service};

#[test]
fn answers_go_on_while_the_database_is_away() {
    let server = Server::start();
    let url = RUNTIME.block_on(server.create_database());
    let service = Service::start_with(Database::Sqlite, &[("CHANCERY__DATABASE__URL", &url)]);
    let relying = Relying::of(&service);
    let (known, revoked, other) =
        (service.issue(&["known.internal"]), service.issue(&["revoked.internal"]), service.issue(&["other.internal"]));
    let path = format!("/api/v1/certificates/{}/revoke", serial(&revoked));
    service.administrator().post(&path).json(&json!({"reason": "superseded"})).expect(200);
    assert_eq!(relying.status(serial(&known)), CertificateStatus::Good);
    let kept = relying.post(relying.request(serial(&known))).body;
    assert!(matches!(relying.status(serial(&revoked)), CertificateStatus::Revoked { .. }));

    server.stop();
    for _ in 0..20 {
        assert_eq!(relying.post(relying.request(serial(&known))).body, kept);
        assert!(matches!(relying.status(serial(&revoked)), CertificateStatus::Revoked { .. }));
        // With a nonce it is signed anew, as of when it was last known.
        let basic = relying.ask(&[serial(&known), serial(&revoked)], Some(&[1; 16])).basic();
        assert_eq!(basic.responses[0].status, CertificateStatus::Good);
        assert!(basic.responses[0].this_update <= basic.produced_at);
    }
    let asked = Instant::now();
    for nonce in [None, Some([1_u8; 16].as_slice())] {
        assert_eq!(relying.ask(&[serial(&other)], nonce).refusal(), Some(ErrorStatus::TryLater));
    }
    assert!(asked.elapsed() < Duration::from_secs(20), "it took {:?}", asked.elapsed());

    server.resume();
    let started = Instant::now();
    while relying.ask(&[serial(&other)], None).refusal().is_some() {
        assert!(started.elapsed() < Duration::from_secs(30), "no recovery");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(relying.status(serial(&other)), CertificateStatus::Good);
    let path = format!("/api/v1/certificates/{}/revoke", serial(&known));
    let revoke = || service.administrator().post(&path).json(&json!({"reason": "superseded"})).send().status;
    while revoke() != 200 {
        assert!(started.elapsed() < Duration::from_secs(60), "no revocation");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(matches!(relying.status(serial(&known)), CertificateStatus::Revoked { .. }));
}

/// More requests than may wait come while the database does not answer: whoever may wait is told in time, whoever may not at once, and what
/// is known is answered as if nothing were.
#[test]
fn a_flood_of_requests_that_need_the_database_does_not_hold_up_the_others() {
    let url = crate::support::new_postgres_database();
    let service = Service::start_with(Database::Sqlite, &[("CHANCERY__DATABASE__URL", &url)]);
    let relying = Relying::of(&service);
    let record = service.issue(&["calm.internal"]);
    assert_eq!(relying.status(serial(&record)), CertificateStatus::Good);
    let lock = RUNTIME.spawn(async move {
        let stop = "BEGIN; LOCK TABLE certificates IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(6); COMMIT";
        crate::support::postgres::execute(&url, stop).await;
    });
    std::thread::sleep(Duration::from_millis(500));
    let flood: Vec<_> = (0..400_u32)
        .map(|number| RUNTIME.spawn(relying.clone().post_elsewhere(relying.request(&format!("77{number:06x}")))))
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(relying.status(serial(&record)), CertificateStatus::Good);
    assert!(!lock.is_finished(), "it was answered while nobody could read the certificates");
    for one in flood {
        assert_eq!(RUNTIME.block_on(one).unwrap().refusal(), Some(ErrorStatus::TryLater));
    }
    RUNTIME.block_on(lock).unwrap();
    let started = Instant::now();
    while relying.ask(&["77000001"], None).refusal().is_some() {
        assert!(started.elapsed() < Duration::from_secs(30), "no recovery");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(relying.status("77000001"), CertificateStatus::Unknown);
}

#[test]
fn an_answer_is_signed_anew_when_half_of_its_time_has_gone() {
    let service = Service::start_with(Database::Sqlite, &[("CHANCERY__OCSP__VALIDITY", "8s")]);
    let relying = Relying::of(&service);
    let record = service.issue(&["fresh.internal"]);
    let first = relying.ask(&[serial(&record)], None).basic();
    let started = Instant::now();
    loop {
        let basic = relying.ask(&[serial(&record)], None).basic();
        let single = &basic.responses[0];
        assert_eq!(single.status, CertificateStatus::Good);
        if single.this_update != first.responses[0].this_update {
            let age = single.this_update.since(first.responses[0].this_update).as_secs();
            assert!((3..8).contains(&age), "{age}");
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "never signed anew");
        std::thread::sleep(Duration::from_millis(200));
    }
}
