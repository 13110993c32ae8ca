//! Delegated responders: what they may, where they are found, how they are renewed, and that the issuer's key may be away.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chancery::x509::ocsp::{CertificateStatus, ErrorStatus};
use chancery::x509::{Certificate, KeyUsage};

use super::asking::{Relying, serial};
use crate::support::service::{Database, Service};

fn responder(relying: &Relying, serial: &str) -> Certificate {
    let basic = relying.ask(&[serial], Some(&[1; 16])).basic();
    assert_eq!(basic.certificates.len(), 1);
    basic.certificates[0].clone()
}

#[test]
fn a_responder_may_do_nothing_else_and_stands_in_inventory_and_audit_log() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = service.administrator();
        for name in ["root", "issuing"] {
            let relying = Relying::of_issuer(service, name);
            let certificate = responder(&relying, "01");
            assert_eq!(certificate.key_usage, Some(BTreeSet::from([KeyUsage::DigitalSignature])));
            let purposes: Vec<_> = certificate.extended_key_usage.iter().flatten().map(ToString::to_string).collect();
            assert_eq!(purposes, ["ocsp_signing"]);
            assert_eq!(certificate.certificate_authority, None);
            assert!(certificate.names.is_empty());
            assert_eq!(certificate.not_after.since(certificate.not_before).as_secs(), 30 * 86_400 + 300 - 1);
            assert_eq!(certificate.public_key.algorithm(), relying.issuer.public_key.algorithm());
            let record = client.get(&format!("/api/v1/certificates/{}", certificate.serial)).expect(200).json();
            assert_eq!(
                (&record["profile"], &record["source"], &record["issuer"]),
                (&"chancery.ocsp".into(), &"internal".into(), &name.into())
            );
            let events = client.get("/api/v1/audit?action=ocsp.responder").expect(200).json();
            let events: Vec<_> = events["items"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|event| event["object"] == format!("issuer:{name}"))
                .collect();
            assert_eq!(events.len(), 1, "{events:?}");
            assert_eq!(events[0]["details"]["serial"], certificate.serial.to_string());
            // Its own status can be asked like any other.
            assert_eq!(relying.status(&certificate.serial.to_string()), CertificateStatus::Good);
        }
    }
}

#[test]
fn a_restarted_service_goes_on_with_its_responder() {
    let mut service = Service::start(Database::Sqlite);
    let before = responder(&Relying::of(&service), "01");
    service.kill_and_restart();
    assert_eq!(responder(&Relying::of(&service), "01").as_der(), before.as_der());
}

#[test]
fn a_responder_is_renewed_before_it_ends() {
    let settings = [("CHANCERY__OCSP__VALIDITY", "10s"), ("CHANCERY__OCSP__RESPONDER_VALIDITY", "36s")];
    let service = Service::start_with(Database::Sqlite, &settings);
    let relying = Relying::of(&service);
    let record = service.issue(&["renewed.internal"]);
    let first = responder(&relying, serial(&record));
    let started = Instant::now();
    loop {
        // Whatever is said verifies, with the certificate of the moment, and ends with it.
        let basic = relying.ask(&[serial(&record)], None).basic();
        let certificate = &basic.certificates[0];
        assert!(basic.responses[0].next_update.unwrap() <= certificate.not_after);
        if certificate.as_der() != first.as_der() {
            assert!(basic.produced_at < first.not_after, "before the first one ended");
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "the responder was not renewed");
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn a_revoked_responder_is_replaced() {
    let service = Service::start(Database::Sqlite);
    let relying = Relying::of(&service);
    let record = service.issue(&["answered.internal"]);
    let first = responder(&relying, serial(&record));
    let path = format!("/api/v1/certificates/{}/revoke", first.serial);
    service.administrator().post(&path).json(&serde_json::json!({"reason": "key_compromise"})).expect(200);
    let started = Instant::now();
    while responder(&relying, serial(&record)).as_der() == first.as_der() {
        assert!(started.elapsed() < Duration::from_secs(60), "the responder was not replaced");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// The root's key is taken away; what the root signed can be asked for all the same, and nothing else.
#[test]
fn an_issuer_whose_key_is_away_is_still_answered_for() {
    let file = [
        ("CHANCERY__HIERARCHY__ROOT__STORAGE", "file"),
        ("CHANCERY__HIERARCHY__ROOT__PASSPHRASE", "correct horse battery"),
    ];
    let mut service = Service::start_with(Database::Sqlite, &file);
    let issuing = Relying::of(&service).issuer;
    service.kill();
    std::fs::remove_file(service.data().join("root.key")).unwrap();
    service.restart();
    let root = Relying::of_issuer(&service, "root");
    assert_eq!(root.status(&issuing.serial.to_string()), CertificateStatus::Good);

    // Without a responder nobody can answer until the key is back.
    let settings = [file[0], file[1], ("CHANCERY__OCSP__VALIDITY", "1s"), ("CHANCERY__OCSP__RESPONDER_VALIDITY", "3s")];
    let mut service = Service::start_with(Database::Sqlite, &settings);
    let key = service.data().join("root.key");
    let octets = std::fs::read(&key).unwrap();
    service.kill();
    std::fs::remove_file(&key).unwrap();
    std::thread::sleep(Duration::from_secs(4));
    service.restart();
    let root = Relying::of_issuer(&service, "root");
    assert_eq!(root.ask(&["01"], None).refusal(), Some(ErrorStatus::TryLater));
    service.kill();
    std::fs::write(&key, octets).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    service.restart();
    let root = Relying::of_issuer(&service, "root");
    let serial = Relying::of(&service).issuer.serial.to_string();
    assert_eq!(root.status(&serial), CertificateStatus::Good);
}
