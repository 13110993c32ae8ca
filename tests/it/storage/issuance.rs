//! Recording certificates: what is committed together, idempotency, groups with a bad member.

use std::collections::BTreeMap;
use std::sync::Arc;

use chancery::ErrorKind;
use chancery::storage::{
    AuditFilter, CertificateState, IdempotencyAnswer, IdempotencyResult, Issuance, Recorded, Source,
};

use super::fixture::{Fixture, at, certificate, claim, event, found, issuance, issue, list};
use super::on_both_databases;

on_both_databases!(
    a_recorded_certificate_is_found_as_it_was,
    the_event_is_committed_with_the_certificate,
    of_32_callers_with_one_key_one_commits_and_the_others_get_its_certificate,
    two_claims_of_one_key_in_one_group_have_one_winner,
    an_expired_key_is_free_again,
    keys_of_different_callers_do_not_meet,
    a_bad_member_does_not_fail_its_group,
    a_closed_storage_has_finished_what_it_accepted_and_takes_nothing_more,
);

async fn a_recorded_certificate_is_found_as_it_was(fixture: Fixture) {
    let storage = fixture.open().await;
    let mut new = certificate(&["www.example.com", "*.example.com"]);
    new.source = Source::Acme;
    new.labels = BTreeMap::from([("team".to_owned(), "päyments".to_owned()), ("env".to_owned(), "prod".to_owned())]);
    let serial = issue(&*storage, new.clone()).await;
    let record = found(&*storage, &serial).await.unwrap();
    assert!(record.id > 0);
    assert_eq!(record.serial, new.serial);
    assert_eq!(record.issuer_id, 1);
    assert_eq!((record.profile.as_str(), record.profile_version), ("server", 1));
    assert_eq!(record.requester, "token:deploy");
    assert_eq!(record.source, Source::Acme);
    assert_eq!(record.subject, "CN=www.example.com");
    assert_eq!(record.key_algorithm, "ecdsa_p256");
    assert_eq!(record.spki_sha256, new.spki_sha256);
    assert_eq!(record.fingerprint_sha256, new.fingerprint_sha256);
    assert_eq!((record.not_before, record.not_after, record.issued_at), (new.not_before, new.not_after, new.issued_at));
    assert_eq!(record.labels, new.labels);
    assert_eq!(record.state, CertificateState::Valid);
    assert_eq!(record.revocation, None);
    assert_eq!(record.der, new.der);
    assert!(found(&*storage, &super::fixture::serial()).await.is_none());
}

async fn the_event_is_committed_with_the_certificate(fixture: Fixture) {
    let storage = fixture.open().await;
    let new = certificate(&["www.example.com"]);
    let object = format!("certificate:{}", new.serial);
    issue(&*storage, new).await;
    let filter = AuditFilter { object: Some(object.clone()), ..AuditFilter::default() };
    let events = storage.audit_events(&filter, None, 10).await.unwrap().items;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event, event("certificate.issue", &object));
    assert_eq!(events[0].sequence, 1);
}

async fn of_32_callers_with_one_key_one_commits_and_the_others_get_its_certificate(fixture: Fixture) {
    let storage = fixture.open().await;
    let callers: Vec<_> = (0..32)
        .map(|_| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move {
                let new = certificate(&["www.example.com"]);
                let serial = new.serial.clone();
                let issuance = Issuance { idempotency: Some(claim("one", 3600)), ..issuance(new) };
                (serial, storage.record_issuance(issuance).await.unwrap())
            })
        })
        .collect();
    let mut committed = Vec::new();
    let mut replayed = Vec::new();
    for caller in callers {
        match caller.await.unwrap() {
            (serial, Recorded::Committed) => committed.push(serial),
            (_, Recorded::Replayed(answer)) => replayed.push(answer),
            (_, Recorded::KeyBlocked) => panic!("no key was blocked"),
            (_, Recorded::OrderTaken) => panic!("there is no order"),
        }
    }
    assert_eq!((committed.len(), replayed.len()), (1, 31));
    let expected =
        IdempotencyAnswer { request_sha256: [9; 32], result: IdempotencyResult::Certificate(committed[0].clone()) };
    assert!(replayed.iter().all(|answer| *answer == expected));
    assert_eq!(list(&*storage, Default::default()).await.len(), 1);
    assert_eq!(storage.audit_events(&Default::default(), None, 100).await.unwrap().items.len(), 1);
    assert_eq!(storage.idempotent_answer("token:deploy", "one", at(0)).await.unwrap(), Some(expected));
}

async fn two_claims_of_one_key_in_one_group_have_one_winner(fixture: Fixture) {
    // Many pairs at once, so that the two claims of a key are mostly in one group.
    let storage = fixture.open().await;
    let mut calls = Vec::new();
    for pair in 0..100 {
        for _ in 0..2 {
            let storage = Arc::clone(&storage);
            let issuance =
                Issuance { idempotency: Some(claim(&format!("pair-{pair}"), 60)), ..issuance(certificate(&[])) };
            calls.push(tokio::spawn(async move { storage.record_issuance(issuance).await.unwrap() }));
        }
    }
    let mut committed = 0;
    for call in calls {
        committed += usize::from(call.await.unwrap() == Recorded::Committed);
    }
    assert_eq!(committed, 100);
    assert_eq!(list(&*storage, Default::default()).await.len(), 100);
    assert_eq!(storage.verify_audit().await.unwrap().events, 100);
}

async fn an_expired_key_is_free_again(fixture: Fixture) {
    let storage = fixture.open().await;
    let first = Issuance { idempotency: Some(claim("again", 10)), ..issuance(certificate(&[])) };
    let first_serial = first.certificate.serial.clone();
    assert_eq!(storage.record_issuance(first).await.unwrap(), Recorded::Committed);
    assert!(storage.idempotent_answer("token:deploy", "again", at(9)).await.unwrap().is_some());
    assert_eq!(storage.idempotent_answer("token:deploy", "again", at(10)).await.unwrap(), None);

    let mut early = Issuance { idempotency: Some(claim("again", 20)), ..issuance(certificate(&[])) };
    early.certificate.issued_at = at(9);
    let replayed = storage.record_issuance(early).await.unwrap();
    let Recorded::Replayed(answer) = replayed else { panic!("the key is still held") };
    assert_eq!(answer.result, IdempotencyResult::Certificate(first_serial));

    let mut late = Issuance { idempotency: Some(claim("again", 20)), ..issuance(certificate(&[])) };
    late.certificate.issued_at = at(10);
    let late_serial = late.certificate.serial.clone();
    assert_eq!(storage.record_issuance(late).await.unwrap(), Recorded::Committed);
    let answer = storage.idempotent_answer("token:deploy", "again", at(11)).await.unwrap().unwrap();
    assert_eq!(answer.result, IdempotencyResult::Certificate(late_serial));

    assert_eq!(storage.clean_up(at(19)).await.unwrap(), 0);
    assert_eq!(storage.clean_up(at(20)).await.unwrap(), 1);
    assert_eq!(storage.idempotent_answer("token:deploy", "again", at(11)).await.unwrap(), None);
}

async fn keys_of_different_callers_do_not_meet(fixture: Fixture) {
    let storage = fixture.open().await;
    for caller in ["token:a", "token:b"] {
        let mut claim = claim("same", 10);
        claim.caller = caller.to_owned();
        let issuance = Issuance { idempotency: Some(claim), ..issuance(certificate(&[])) };
        assert_eq!(storage.record_issuance(issuance).await.unwrap(), Recorded::Committed);
    }
    assert_eq!(storage.idempotent_answer("token:c", "same", at(0)).await.unwrap(), None);
}

async fn a_bad_member_does_not_fail_its_group(fixture: Fixture) {
    let storage = fixture.open().await;
    let taken = issue(&*storage, certificate(&[])).await;
    let calls: Vec<_> = (0..64)
        .map(|number| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move {
                let mut new = certificate(&["good.example.com"]);
                if number % 16 == 7 {
                    new.serial = "01".repeat(20).parse().unwrap();
                }
                if number == 8 {
                    new.serial =
                        storage.certificates(&Default::default(), first_page()).await.unwrap().items[0].serial.clone();
                }
                storage.record_issuance(issuance(new)).await
            })
        })
        .collect();
    // SQLite's statements go through diesel, which tells a lost race; the group statement of PostgreSQL only that it was refused.
    let refusal = if fixture.is_sqlite() { ErrorKind::Conflict } else { ErrorKind::Internal };
    let mut failures = 0;
    for call in calls {
        if let Err(error) = call.await.unwrap() {
            assert_eq!(error.kind(), refusal);
            failures += 1;
        }
    }
    // Three of four with one serial number, and one with the number that was taken before.
    assert_eq!(failures, 4);
    assert_eq!(list(&*storage, Default::default()).await.len(), 61);
    let verification = storage.verify_audit().await.unwrap();
    assert_eq!((verification.events, verification.failures), (61, Vec::<String>::new()));
    assert!(found(&*storage, &taken).await.is_some());
}

fn first_page() -> chancery::storage::PageRequest {
    chancery::storage::PageRequest {
        limit: 1,
        sort: chancery::storage::SortKey::IssuedAt,
        descending: false,
        after: None,
    }
}

async fn a_closed_storage_has_finished_what_it_accepted_and_takes_nothing_more(fixture: Fixture) {
    let storage = fixture.open().await;
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move { storage.record_issuance(issuance(certificate(&[]))).await })
        })
        .collect();
    storage.close().await;
    let mut committed = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(recorded) => {
                assert_eq!(recorded, Recorded::Committed);
                committed += 1;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
        }
    }
    let write = storage.record_audit(event("certificate.issue", "")).await.unwrap_err();
    assert_eq!(write.kind(), ErrorKind::Unavailable);
    assert_eq!(storage.generation().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(storage.take_crl_numbers(1, 1).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let again = fixture.open().await;
    assert_eq!(list(&*again, Default::default()).await.len(), committed);
}
