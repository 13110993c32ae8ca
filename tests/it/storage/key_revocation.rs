//! Revocation of keys and the block list, which issuance cannot get past.

use std::sync::Arc;

use chancery::storage::{
    AuditFilter, CertificateFilter, CertificateState, Issuance, IssuerState, KeyLocation, KeyRevocation, KeyRevoked,
    NewCertificate, Recorded, Source, StateChange, StateChanged, Storage,
};
use chancery::x509::SerialNumber;
use chancery::x509::crl::RevocationReason;

use super::fixture::{
    Fixture, at, certificate, claim, event, found, issuance, issue, issuer, list, revocation as revoked_for, serial,
};
use super::on_both_databases;

on_both_databases!(
    every_certificate_of_a_key_is_revoked_whoever_signed_it,
    a_key_without_certificates_is_blocked_too,
    again_nothing_new_happens,
    many_certificates_are_revoked_batch_by_batch,
    a_key_of_others_or_of_the_service_is_left_alone,
    of_32_callers_one_has_an_effect,
    a_blocked_key_is_not_certified_and_its_group_is,
    an_earlier_answer_is_given_though_the_key_is_blocked_since,
    no_certificate_slips_past_a_key_that_is_being_blocked,
    no_certificate_slips_past_a_revocation_as_compromised,
    a_serial_number_of_two_issuers_is_changed_at_the_one_that_is_meant,
);

const KEY: [u8; 32] = [0xaa; 32];

fn of_key(key: [u8; 32]) -> NewCertificate {
    NewCertificate { spki_sha256: key, ..certificate(&[]) }
}

fn revocation(key: [u8; 32]) -> KeyRevocation {
    KeyRevocation {
        spki_sha256: key,
        now: at(200),
        owner: None,
        internal: false,
        certificate_event: event("certificate.revoke", ""),
    }
}

async fn revoke(storage: &dyn Storage, revocation: KeyRevocation) -> KeyRevoked {
    storage.revoke_key(revocation, event("key.block", "key:aa")).await.unwrap()
}

async fn events(storage: &dyn Storage, action: &str) -> Vec<chancery::storage::AuditEvent> {
    let filter = AuditFilter { action: Some(action.to_owned()), ..AuditFilter::default() };
    let mut events = storage.audit_events(&filter, None, 1000).await.unwrap().items;
    events.reverse();
    events.into_iter().map(|event| event.event).collect()
}

async fn with_issuers(fixture: &Fixture) -> Arc<dyn Storage> {
    let storage = fixture.open().await;
    let mut second = issuer("issuing", None, false);
    second.generation = 2;
    second.state = IssuerState::Staged;
    let issuers = vec![issuer("root", None, false), issuer("issuing", Some("root"), true), second];
    assert!(storage.create_issuers(issuers, None).await.unwrap());
    storage
}

async fn counts(storage: &dyn Storage) -> Vec<i64> {
    storage.issuers().await.unwrap().iter().map(|issuer| issuer.revocations).collect()
}

async fn state(storage: &dyn Storage, serial: &SerialNumber) -> (CertificateState, Option<RevocationReason>) {
    let record = found(storage, serial).await.unwrap();
    (record.state, record.revocation.map(|revocation| revocation.reason))
}

async fn change(storage: &dyn Storage, serial: &SerialNumber, reason: RevocationReason) {
    let change = StateChange {
        issuer_id: 2,
        serial: serial.clone(),
        from: &[CertificateState::Valid],
        revocation: Some(revoked_for(reason)),
        owner: None,
        block_key: false,
    };
    let changed = storage.change_state(change, event("certificate.change", "x")).await.unwrap();
    assert!(matches!(changed, StateChanged::Changed(_)));
}

async fn every_certificate_of_a_key_is_revoked_whoever_signed_it(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let storage = &*storage;
    let of =
        |issuer_id: i32, requester: &str| NewCertificate { issuer_id, requester: requester.to_owned(), ..of_key(KEY) };
    let valid = issue(storage, of(2, "token:a")).await;
    let of_other_generation = issue(storage, of(3, "token:b")).await;
    let held = issue(storage, of(2, "token:b")).await;
    change(storage, &held, RevocationReason::CertificateHold).await;
    let superseded = issue(storage, of(2, "token:a")).await;
    change(storage, &superseded, RevocationReason::Superseded).await;
    let expired = issue(storage, NewCertificate { not_after: at(199), ..of(2, "token:a") }).await;
    let ends_now = issue(storage, NewCertificate { not_after: at(200), ..of(2, "token:a") }).await;
    let other_key = issue(storage, NewCertificate { issuer_id: 2, ..of_key([0xbb; 32]) }).await;
    assert_eq!(counts(storage).await, [0, 2, 0]);

    let done = revoke(storage, revocation(KEY)).await;
    let KeyRevoked::Done { blocked_now: true, mut revoked_now, more: false } = done else { panic!("{done:?}") };
    revoked_now.sort();
    let mut expected =
        vec![(2, valid.clone()), (2, held.clone()), (2, ends_now.clone()), (3, of_other_generation.clone())];
    expected.sort();
    assert_eq!(revoked_now, expected);
    let compromised = (CertificateState::Revoked, Some(RevocationReason::KeyCompromise));
    for serial in [&valid, &of_other_generation, &held, &ends_now] {
        assert_eq!(state(storage, serial).await, compromised);
    }
    assert_eq!(found(storage, &held).await.unwrap().revocation.unwrap().revoked_at, at(200));
    assert_eq!(state(storage, &superseded).await, (CertificateState::Revoked, Some(RevocationReason::Superseded)));
    assert_eq!(state(storage, &expired).await, (CertificateState::Valid, None));
    assert_eq!(state(storage, &other_key).await, (CertificateState::Valid, None));
    assert_eq!(counts(storage).await, [0, 5, 1], "each counts at its issuer");
    assert!(storage.key_is_blocked(&KEY).await.unwrap());

    let of_key = events(storage, "key.block").await;
    assert_eq!(of_key.len(), 1);
    assert_eq!(of_key[0].details["blocked_now"], true);
    let mut named: Vec<&str> =
        of_key[0].details["revoked"].as_array().unwrap().iter().map(|serial| serial.as_str().unwrap()).collect();
    named.sort_unstable();
    let mut serials: Vec<String> = expected.iter().map(|(_, serial)| serial.to_string()).collect();
    serials.sort();
    assert_eq!(named, serials);
    let mut objects: Vec<String> =
        events(storage, "certificate.revoke").await.into_iter().map(|event| event.object).collect();
    objects.sort();
    let expected: Vec<String> = serials.iter().map(|serial| format!("certificate:{serial}")).collect();
    assert_eq!(objects, expected);
    assert!(storage.verify_audit().await.unwrap().failures.is_empty());
}

async fn a_key_without_certificates_is_blocked_too(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let done = revoke(&*storage, revocation(KEY)).await;
    assert_eq!(done, KeyRevoked::Done { blocked_now: true, revoked_now: Vec::new(), more: false });
    assert!(storage.key_is_blocked(&KEY).await.unwrap());
    assert_eq!(counts(&*storage).await, [0, 0, 0]);
    assert_eq!(events(&*storage, "key.block").await.len(), 1);
}

async fn again_nothing_new_happens(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    issue(&*storage, of_key(KEY)).await;
    revoke(&*storage, revocation(KEY)).await;
    let before = storage.audit_events(&AuditFilter::default(), None, 1000).await.unwrap().items.len();
    let counts_before = counts(&*storage).await;
    let again = revoke(&*storage, KeyRevocation { now: at(300), ..revocation(KEY) }).await;
    assert_eq!(again, KeyRevoked::Done { blocked_now: false, revoked_now: Vec::new(), more: false });
    assert_eq!(storage.audit_events(&AuditFilter::default(), None, 1000).await.unwrap().items.len(), before);
    assert_eq!(counts(&*storage).await, counts_before);
}

async fn many_certificates_are_revoked_batch_by_batch(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let calls: Vec<_> = (0..620)
        .map(|_| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move { issue(&*storage, of_key(KEY)).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    let mut sizes = Vec::new();
    loop {
        match revoke(&*storage, revocation(KEY)).await {
            KeyRevoked::Done { revoked_now, more, .. } => {
                sizes.push(revoked_now.len());
                if !more {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sizes, [500, 120]);
    let filter = CertificateFilter { spki_sha256: Some(KEY), ..CertificateFilter::default() };
    let records = list(&*storage, filter).await;
    assert_eq!(records.len(), 620);
    assert!(records.iter().all(|record| record.state == CertificateState::Revoked));
    assert_eq!(counts(&*storage).await, [620, 0, 0]);
    // Each change has a number of its own: a walk by number, as delta CRLs are made, sees every certificate once.
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = storage.changed_certificates(1, None, after, 77).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.change_number;
        seen.extend(page.into_iter().map(|change| change.serial));
    }
    seen.sort();
    let mut expected: Vec<SerialNumber> = records.into_iter().map(|record| record.serial).collect();
    expected.sort();
    assert_eq!(seen, expected);
    assert_eq!(events(&*storage, "key.block").await.len(), 2, "one of each batch");
}

async fn a_key_of_others_or_of_the_service_is_left_alone(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let storage = &*storage;
    let by = |owner: &str, key| KeyRevocation { owner: Some(owner.to_owned()), ..revocation(key) };
    assert_eq!(revoke(storage, by("token:deploy", KEY)).await, KeyRevoked::NotOwned, "a key that nobody has");
    let own = issue(storage, of_key(KEY)).await;
    assert_eq!(revoke(storage, by("token:other", KEY)).await, KeyRevoked::NotOwned);
    let of_other = NewCertificate { requester: "token:other".to_owned(), not_after: at(1), ..of_key(KEY) };
    issue(storage, of_other).await;
    assert_eq!(revoke(storage, by("token:deploy", KEY)).await, KeyRevoked::NotOwned, "another one had it");

    let of_service: [u8; 32] = [0xcc; 32];
    issue(storage, NewCertificate { source: Source::Internal, ..of_key(of_service) }).await;
    assert_eq!(revoke(storage, revocation(of_service)).await, KeyRevoked::Internal);
    let mut waiting = issuer("waiting", None, false);
    waiting.certificate = None;
    waiting.state = IssuerState::Staged;
    waiting.csr = Some(vec![1]);
    waiting.key.spki_sha256 = [0xdd; 32];
    waiting.key.location = KeyLocation::File("/nowhere".into());
    assert!(storage.create_issuers(vec![waiting], None).await.unwrap());
    assert_eq!(revoke(storage, revocation([0xdd; 32])).await, KeyRevoked::Internal, "an issuer without certificate");

    assert_eq!(state(storage, &own).await, (CertificateState::Valid, None));
    for key in [KEY, of_service, [0xdd; 32]] {
        assert!(!storage.key_is_blocked(&key).await.unwrap());
    }
    assert!(events(storage, "key.block").await.is_empty());

    let by_administrator = KeyRevocation { internal: true, ..revocation(of_service) };
    assert!(matches!(revoke(storage, by_administrator).await, KeyRevoked::Done { blocked_now: true, .. }));
    let mine: [u8; 32] = [0xee; 32];
    let serial = issue(storage, of_key(mine)).await;
    assert!(matches!(revoke(storage, by("token:deploy", mine)).await, KeyRevoked::Done { blocked_now: true, .. }));
    assert_eq!(state(storage, &serial).await.0, CertificateState::Revoked);
    let again = revoke(storage, by("token:deploy", mine)).await;
    assert_eq!(again, KeyRevoked::Done { blocked_now: false, revoked_now: Vec::new(), more: false });
}

async fn of_32_callers_one_has_an_effect(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    for issuer_id in [2, 3, 2] {
        issue(&*storage, NewCertificate { issuer_id, ..of_key(KEY) }).await;
    }
    let callers: Vec<_> = (0..32)
        .map(|_| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move { revoke(&*storage, revocation(KEY)).await })
        })
        .collect();
    let (mut blocked, mut revoked) = (0, 0);
    for caller in callers {
        match caller.await.unwrap() {
            KeyRevoked::Done { blocked_now, revoked_now, .. } => {
                blocked += usize::from(blocked_now);
                revoked += revoked_now.len();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((blocked, revoked), (1, 3));
    assert_eq!(counts(&*storage).await, [0, 2, 1]);
    assert_eq!(events(&*storage, "key.block").await.len(), 1);
    assert_eq!(events(&*storage, "certificate.revoke").await.len(), 3);
}

async fn a_blocked_key_is_not_certified_and_its_group_is(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    revoke(&*storage, revocation(KEY)).await;
    let before = storage.audit_events(&AuditFilter::default(), None, 1000).await.unwrap().items.len();
    // Many at once, so that the refused are in groups with others; pairs share an idempotency key.
    let calls: Vec<_> = (0..200)
        .map(|number: usize| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move {
                let new = if number.is_multiple_of(3) { of_key(KEY) } else { certificate(&["good.example.com"]) };
                let idempotency = number.is_multiple_of(2).then(|| claim(&format!("claim-{}", number / 4), 3600));
                let recorded = storage.record_issuance(Issuance { idempotency, ..issuance(new) }).await.unwrap();
                (number, recorded)
            })
        })
        .collect();
    let mut committed = 0;
    for call in calls {
        let (number, recorded) = call.await.unwrap();
        match recorded {
            Recorded::KeyBlocked => assert_eq!(number % 3, 0, "a good key was refused"),
            Recorded::Committed => {
                assert_ne!(number % 3, 0, "a blocked key was certified");
                committed += 1;
            }
            Recorded::Replayed(_) => assert_eq!(number % 2, 0, "nothing was claimed"),
            Recorded::OrderTaken => panic!("there is no order"),
        }
    }
    let filter = CertificateFilter { spki_sha256: Some(KEY), ..CertificateFilter::default() };
    assert!(list(&*storage, filter).await.is_empty());
    assert_eq!(
        storage.audit_events(&AuditFilter::default(), None, 1000).await.unwrap().items.len(),
        before + committed
    );
    assert!(storage.verify_audit().await.unwrap().failures.is_empty());
    // Of claims 0, 4, 8 ...: number 4 * n and 4 * n + 2 have one claim; where one of the two had the blocked key, the other one won it.
    let alone = storage.idempotent_answer("token:deploy", "claim-0", at(0)).await.unwrap();
    assert!(alone.is_some(), "number 0 was refused and left its claim to number 2");
    let refused = Issuance { idempotency: Some(claim("left-free", 3600)), ..issuance(of_key(KEY)) };
    assert_eq!(storage.record_issuance(refused).await.unwrap(), Recorded::KeyBlocked);
    assert_eq!(storage.idempotent_answer("token:deploy", "left-free", at(0)).await.unwrap(), None);
}

async fn an_earlier_answer_is_given_though_the_key_is_blocked_since(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let first = Issuance { idempotency: Some(claim("first", 3600)), ..issuance(of_key(KEY)) };
    assert_eq!(storage.record_issuance(first).await.unwrap(), Recorded::Committed);
    revoke(&*storage, revocation(KEY)).await;
    let again = Issuance { idempotency: Some(claim("first", 3600)), ..issuance(of_key(KEY)) };
    assert!(matches!(storage.record_issuance(again).await.unwrap(), Recorded::Replayed(_)));
    let mut late = Issuance { idempotency: Some(claim("first", 9000)), ..issuance(of_key(KEY)) };
    late.certificate.issued_at = at(3600);
    assert_eq!(storage.record_issuance(late).await.unwrap(), Recorded::KeyBlocked, "the answer is no longer held");
}

/// Issues for a key from many callers while `block` runs; answers how many certificates of it are valid afterwards, and how many there are.
async fn raced<F>(storage: &Arc<dyn Storage>, key: [u8; 32], block: F) -> (usize, usize)
where
    F: Future<Output = ()>,
{
    let calls: Vec<_> = (0..60)
        .map(|number: u64| {
            let storage = Arc::clone(storage);
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_micros(number * 150)).await;
                storage.record_issuance(issuance(of_key(key))).await.unwrap()
            })
        })
        .collect();
    tokio::time::sleep(std::time::Duration::from_millis(4)).await;
    block.await;
    let mut committed = 0;
    for call in calls {
        committed += usize::from(call.await.unwrap() == Recorded::Committed);
    }
    let filter = CertificateFilter { spki_sha256: Some(key), ..CertificateFilter::default() };
    let records = list(&**storage, filter).await;
    assert!(records.len() >= committed);
    (records.iter().filter(|record| record.state == CertificateState::Valid).count(), records.len())
}

async fn no_certificate_slips_past_a_key_that_is_being_blocked(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let mut refused_some = false;
    for round in 0..20 {
        let key = [round; 32];
        let (valid, recorded) = raced(&storage, key, async {
            assert!(matches!(revoke(&*storage, revocation(key)).await, KeyRevoked::Done { more: false, .. }));
        })
        .await;
        assert_eq!(valid, 0, "round {round}: a valid certificate of a blocked key");
        refused_some |= recorded < 60;
    }
    assert!(refused_some, "the block never came in between");
}

/// A revocation of one certificate leaves the others of its key valid, but after it there is no new one.
async fn no_certificate_slips_past_a_revocation_as_compromised(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    for round in 0..10 {
        let key = [0x40 | round; 32];
        let serial = issue(&*storage, of_key(key)).await;
        let mut at_block = 0;
        let (valid, recorded) = raced(&storage, key, async {
            let change = StateChange {
                issuer_id: 1,
                serial: serial.clone(),
                from: &[CertificateState::Valid],
                revocation: Some(revoked_for(RevocationReason::KeyCompromise)),
                owner: None,
                block_key: true,
            };
            let changed = storage.change_state(change, event("certificate.revoke", "x")).await.unwrap();
            assert!(matches!(changed, StateChanged::Changed(_)));
            let filter = CertificateFilter { spki_sha256: Some(key), ..CertificateFilter::default() };
            at_block = list(&*storage, filter).await.len();
        })
        .await;
        assert_eq!((valid, recorded), (at_block - 1, at_block), "round {round}: one was recorded behind the block");
    }
}

async fn a_serial_number_of_two_issuers_is_changed_at_the_one_that_is_meant(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let shared = serial();
    for issuer_id in [2, 3] {
        let new = NewCertificate { issuer_id, serial: shared.clone(), source: Source::Import, ..certificate(&[]) };
        issue(&*storage, new).await;
    }
    change(&*storage, &shared, RevocationReason::Superseded).await;
    let records = storage.certificates_by_serial(&shared).await.unwrap();
    let states: Vec<_> = records.iter().map(|record| (record.issuer_id, record.state)).collect();
    assert_eq!(states, [(2, CertificateState::Revoked), (3, CertificateState::Valid)]);
    assert_eq!(counts(&*storage).await, [0, 1, 0]);
}
