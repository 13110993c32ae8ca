//! Statuses, what changed since, and responders.

use std::sync::Arc;

use chancery::signer::sealing::Sealed;
use chancery::storage::{
    CertificateState, NewOcspResponder, OcspResponderRecord, SerialStatus, Source, StateChange, StateChanged, Storage,
};
use chancery::x509::SerialNumber;
use chancery::x509::crl::RevocationReason;

use super::fixture::{Fixture, at, certificate, event, found, issue, issuer, revocation, serial};
use super::on_both_databases;

on_both_databases!(
    a_status_is_that_of_the_issuer_who_gave_the_number,
    changes_are_listed_after_a_count,
    serials_of_an_imported_list_are_revoked,
    a_responder_replaces_only_the_one_that_was_seen,
    of_32_that_make_a_responder_one_records_it,
);

async fn with_issuers(fixture: &Fixture) -> Arc<dyn Storage> {
    let storage = fixture.open().await;
    assert!(
        storage
            .create_issuers(vec![issuer("root", None, false), issuer("issuing", Some("root"), true)], None)
            .await
            .unwrap()
    );
    storage
}

async fn revoke(storage: &dyn Storage, serial: &SerialNumber, reason: RevocationReason) {
    let change = StateChange {
        issuer_id: 1,
        serial: serial.clone(),
        from: &[CertificateState::Valid],
        revocation: Some(revocation(reason)),
        owner: None,
        block_key: false,
    };
    let changed = storage.change_state(change, event("certificate.revoke", "")).await.unwrap();
    assert!(matches!(changed, StateChanged::Changed(_)));
}

async fn a_status_is_that_of_the_issuer_who_gave_the_number(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let mut ended = certificate(&[]);
    ended.not_after = at(-10);
    let (valid, ended) = (issue(&*storage, certificate(&[])).await, issue(&*storage, ended).await);
    let good = SerialStatus { state: CertificateState::Valid, revocation: None };
    assert_eq!(storage.certificate_status(1, &valid).await.unwrap(), Some(good));
    assert_eq!(storage.certificate_status(1, &ended).await.unwrap(), Some(good), "also when its time is over");
    assert_eq!(storage.certificate_status(2, &valid).await.unwrap(), None, "another issuer did not give it");
    assert_eq!(storage.certificate_status(1, &serial()).await.unwrap(), None);
    revoke(&*storage, &valid, RevocationReason::CertificateHold).await;
    let held = SerialStatus {
        state: CertificateState::OnHold,
        revocation: Some(revocation(RevocationReason::CertificateHold)),
    };
    assert_eq!(storage.certificate_status(1, &valid).await.unwrap(), Some(held));
}

async fn changes_are_listed_after_a_count(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    assert_eq!(storage.issuer_change_counts().await.unwrap(), [(1, 0), (2, 0)]);
    let mut serials = Vec::new();
    for _ in 0..3 {
        let serial = issue(&*storage, certificate(&[])).await;
        revoke(&*storage, &serial, RevocationReason::Superseded).await;
        serials.push(serial);
    }
    assert_eq!(storage.issuer_change_counts().await.unwrap(), [(1, 3), (2, 0)]);
    for after in 0..=3 {
        let mut changed = storage.changed_serials(1, after, 100).await.unwrap();
        changed.sort();
        assert_eq!(changed, serials[usize::try_from(after).unwrap()..], "after {after}");
    }
    assert!(storage.changed_serials(2, 0, 100).await.unwrap().is_empty());
    assert_eq!(storage.changed_serials(1, 0, 2).await.unwrap().len(), 2);
}

async fn serials_of_an_imported_list_are_revoked(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let octets = if fixture.is_sqlite() { "x'0777'" } else { "'\\x0777'" };
    fixture
        .execute(&format!(
            "INSERT INTO revoked_serials (issuer_id, serial, revoked_at, revocation_reason, change_number) \
             VALUES (1, {octets}, 1700000000, 4, 1)"
        ))
        .await;
    let serial: SerialNumber = "0777".parse().unwrap();
    let status = storage.certificate_status(1, &serial).await.unwrap().unwrap();
    assert_eq!(status.state, CertificateState::Revoked);
    assert_eq!(status.revocation.unwrap().reason, RevocationReason::Superseded);
    assert_eq!(storage.certificate_status(2, &serial).await.unwrap(), None);
    assert_eq!(storage.changed_serials(1, 0, 10).await.unwrap(), [serial]);
}

fn responder(certificate_der: &[u8]) -> NewOcspResponder {
    let mut of_inventory = certificate(&[]);
    of_inventory.source = Source::Internal;
    NewOcspResponder {
        responder: OcspResponderRecord {
            issuer_id: 1,
            certificate: certificate_der.to_vec(),
            key: Sealed { key_encryption_key_id: "key-1".to_owned(), ciphertext: vec![1, 2, 3] },
            not_before: at(0),
            not_after: at(100),
        },
        certificate: of_inventory,
        audit: event("ocsp.responder", "issuer:root"),
    }
}

async fn a_responder_replaces_only_the_one_that_was_seen(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let (first, second) = (responder(b"first"), responder(b"second"));
    assert!(storage.put_ocsp_responder(first.clone(), None).await.unwrap());
    assert_eq!(storage.ocsp_responders().await.unwrap(), [first.responder]);
    for replaces in [None, Some(b"another".to_vec())] {
        assert!(!storage.put_ocsp_responder(second.clone(), replaces).await.unwrap());
    }
    assert!(found(&*storage, &second.certificate.serial).await.is_none(), "nothing of it was written");
    assert!(storage.put_ocsp_responder(second.clone(), Some(b"first".to_vec())).await.unwrap());
    assert_eq!(storage.ocsp_responders().await.unwrap(), [second.responder]);
    assert!(found(&*storage, &second.certificate.serial).await.is_some());
    assert_eq!(storage.verify_audit().await.unwrap().events, 4);
}

async fn of_32_that_make_a_responder_one_records_it(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let makers: Vec<_> = (0..32_u8)
        .map(|number| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move { storage.put_ocsp_responder(responder(&[number]), None).await.unwrap() })
        })
        .collect();
    let mut recorded = 0;
    for maker in makers {
        recorded += usize::from(maker.await.unwrap());
    }
    assert_eq!((recorded, storage.ocsp_responders().await.unwrap().len()), (1, 1));
}
