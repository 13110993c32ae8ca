//! Changes of state, the block list, CRLs.

use std::sync::Arc;

use chancery::ErrorKind;
use chancery::storage::{
    AuditFilter, CertificateState, CrlRecord, RevocationRecord, StateChange, StateChanged, Storage,
};
use chancery::x509::SerialNumber;
use chancery::x509::crl::RevocationReason;

use super::fixture::{Fixture, at, certificate, event, issue, issuer, revocation, serial};
use super::on_both_databases;

on_both_databases!(
    a_revocation_changes_the_record_counts_at_the_issuer_and_writes_its_event,
    of_32_callers_one_revokes,
    a_hold_is_released_and_a_revocation_is_not,
    only_the_owner_changes_what_is_its_own,
    a_blocked_key_stays_blocked,
    revoked_certificates_are_paged_by_row_and_drop_out_when_they_end,
    crl_numbers_only_rise,
    a_crl_is_replaced_by_a_greater_number_only,
);

const ADMITTED: &[CertificateState] = &[CertificateState::Valid, CertificateState::OnHold];

fn revoke(serial: &SerialNumber, reason: RevocationReason) -> StateChange {
    StateChange {
        serial: serial.clone(),
        from: ADMITTED,
        revocation: Some(revocation(reason)),
        owner: None,
        block_key: false,
    }
}

fn release(serial: &SerialNumber) -> StateChange {
    StateChange {
        serial: serial.clone(),
        from: &[CertificateState::OnHold],
        revocation: None,
        owner: None,
        block_key: false,
    }
}

async fn with_root(fixture: &Fixture) -> Arc<dyn Storage> {
    let storage = fixture.open().await;
    assert!(storage.create_issuers(vec![issuer("root", None, true)]).await.unwrap());
    storage
}

async fn revocation_events(storage: &dyn Storage) -> usize {
    let filter = AuditFilter { action: Some("certificate.revoke".to_owned()), ..AuditFilter::default() };
    storage.audit_events(&filter, None, 100).await.unwrap().len()
}

async fn a_revocation_changes_the_record_counts_at_the_issuer_and_writes_its_event(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let serial = issue(&*storage, certificate(&[])).await;
    let change = revoke(&serial, RevocationReason::KeyCompromise);
    let changed = storage.change_state(change.clone(), event("certificate.revoke", "x")).await.unwrap();
    let StateChanged::Changed(record) = changed else { panic!("{changed:?}") };
    assert_eq!(record.state, CertificateState::Revoked);
    assert_eq!(record.revocation, Some(revocation(RevocationReason::KeyCompromise)));
    let found = storage.certificate_by_serial(&serial).await.unwrap().unwrap();
    assert_eq!((found.state, found.revocation), (record.state, record.revocation));
    assert_eq!(storage.issuers().await.unwrap()[0].revocations, 1);
    assert_eq!(revocation_events(&*storage).await, 1);

    let again = storage.change_state(change, event("certificate.revoke", "x")).await.unwrap();
    assert!(matches!(again, StateChanged::Unchanged(record) if record.state == CertificateState::Revoked));
    let unknown = revoke(&super::fixture::serial(), RevocationReason::Superseded);
    let unknown = storage.change_state(unknown, event("certificate.revoke", "x")).await.unwrap();
    assert!(matches!(unknown, StateChanged::NotFound));
    assert_eq!(storage.issuers().await.unwrap()[0].revocations, 1);
    assert_eq!(revocation_events(&*storage).await, 1);
}

async fn of_32_callers_one_revokes(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let serial = issue(&*storage, certificate(&[])).await;
    let callers: Vec<_> = (0..32)
        .map(|number| {
            let (storage, serial) = (Arc::clone(&storage), serial.clone());
            let reason =
                if number % 2 == 0 { RevocationReason::Superseded } else { RevocationReason::CessationOfOperation };
            let change = revoke(&serial, reason);
            tokio::spawn(async move { storage.change_state(change, event("certificate.revoke", "x")).await.unwrap() })
        })
        .collect();
    let mut reasons = Vec::new();
    let mut changed = 0;
    for caller in callers {
        match caller.await.unwrap() {
            StateChanged::Changed(record) => {
                changed += 1;
                reasons.push(record.revocation.unwrap().reason);
            }
            StateChanged::Unchanged(record) => reasons.push(record.revocation.unwrap().reason),
            StateChanged::NotFound => panic!("the certificate exists"),
        }
    }
    assert_eq!(changed, 1);
    reasons.dedup();
    assert_eq!(reasons.len(), 1, "all saw the one revocation");
    assert_eq!(storage.issuers().await.unwrap()[0].revocations, 1);
    assert_eq!(revocation_events(&*storage).await, 1);
}

async fn a_hold_is_released_and_a_revocation_is_not(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let serial = issue(&*storage, certificate(&[])).await;
    let state = |changed: StateChanged| match changed {
        StateChanged::Changed(record) => (true, record.state, record.revocation.is_some()),
        StateChanged::Unchanged(record) => (false, record.state, record.revocation.is_some()),
        StateChanged::NotFound => panic!("the certificate exists"),
    };
    let run = |change| storage.change_state(change, event("certificate.revoke", "x"));
    use CertificateState::{OnHold, Revoked, Valid};
    assert_eq!(state(run(release(&serial)).await.unwrap()), (false, Valid, false));
    assert_eq!(state(run(revoke(&serial, RevocationReason::CertificateHold)).await.unwrap()), (true, OnHold, true));
    assert_eq!(state(run(release(&serial)).await.unwrap()), (true, Valid, false));
    assert_eq!(state(run(revoke(&serial, RevocationReason::CertificateHold)).await.unwrap()), (true, OnHold, true));
    assert_eq!(state(run(revoke(&serial, RevocationReason::Superseded)).await.unwrap()), (true, Revoked, true));
    assert_eq!(state(run(release(&serial)).await.unwrap()), (false, Revoked, true));
    assert_eq!(storage.issuers().await.unwrap()[0].revocations, 4);
}

async fn only_the_owner_changes_what_is_its_own(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let serial = issue(&*storage, certificate(&[])).await;
    let by =
        |owner: &str| StateChange { owner: Some(owner.to_owned()), ..revoke(&serial, RevocationReason::Superseded) };
    let other = storage.change_state(by("token:other"), event("certificate.revoke", "x")).await.unwrap();
    assert!(matches!(other, StateChanged::NotFound));
    let own = storage.change_state(by("token:deploy"), event("certificate.revoke", "x")).await.unwrap();
    assert!(matches!(own, StateChanged::Changed(_)));
    let other = storage.change_state(by("token:other"), event("certificate.revoke", "x")).await.unwrap();
    assert!(matches!(other, StateChanged::NotFound));
}

async fn a_blocked_key_stays_blocked(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let new = certificate(&[]);
    let spki = new.spki_sha256;
    let serial = issue(&*storage, new).await;
    assert!(!storage.key_is_blocked(&spki).await.unwrap());
    let change = StateChange { block_key: true, ..revoke(&serial, RevocationReason::KeyCompromise) };
    storage.change_state(change, event("certificate.revoke", "x")).await.unwrap();
    assert!(storage.key_is_blocked(&spki).await.unwrap());

    let mut second = certificate(&[]);
    second.spki_sha256 = spki;
    let second = issue(&*storage, second).await;
    let change = StateChange { block_key: true, ..revoke(&second, RevocationReason::KeyCompromise) };
    let changed = storage.change_state(change, event("certificate.revoke", "x")).await.unwrap();
    assert!(matches!(changed, StateChanged::Changed(_)), "a key that is blocked already is no obstacle");
}

async fn revoked_certificates_are_paged_by_row_and_drop_out_when_they_end(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let mut expected = Vec::new();
    for number in 0..25 {
        let mut new = certificate(&[]);
        new.not_after = at(1000 + number);
        if number == 3 {
            new.issuer_id = 2;
        }
        let serial = issue(&*storage, new).await;
        if number % 5 == 4 {
            continue;
        }
        let mut change = revoke(&serial, RevocationReason::Superseded);
        change.revocation =
            Some(RevocationRecord { invalidity_date: None, ..revocation(RevocationReason::Superseded) });
        storage.change_state(change, event("certificate.revoke", "x")).await.unwrap();
        if number != 3 {
            expected.push(serial);
        }
    }
    // The first ends at the moment asked for: it is still valid in that second, so it is among them.
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let page = storage.revoked_certificates(1, at(1000), after, 7).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 7 && page.iter().all(|entry| entry.id > after));
        assert!(page.iter().all(|entry| entry.revocation.reason == RevocationReason::Superseded));
        assert!(page.iter().all(|entry| entry.revocation.invalidity_date.is_none()));
        after = last.id;
        seen.extend(page.into_iter().map(|entry| entry.serial));
    }
    assert_eq!(seen, expected);
    assert_eq!(storage.revoked_certificates(2, at(0), 0, 100).await.unwrap().len(), 1);
}

async fn crl_numbers_only_rise(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move { storage.next_crl_number(1).await.unwrap() })
        })
        .collect();
    let mut numbers = Vec::new();
    for call in calls {
        numbers.push(call.await.unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<i64>>());
    assert_eq!(storage.next_crl_number(99).await.unwrap_err().kind(), ErrorKind::NotFound);
}

async fn a_crl_is_replaced_by_a_greater_number_only(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let crl = |number: i64| CrlRecord {
        issuer_id: 1,
        number,
        this_update: at(number),
        next_update: at(number + 100),
        revocations: number,
        der: vec![u8::try_from(number).unwrap(); 4],
    };
    assert_eq!(storage.current_crl(1).await.unwrap(), None);
    for (number, published) in [(2, true), (1, false), (2, false), (3, true)] {
        assert_eq!(storage.publish_crl(crl(number), event("crl.publish", "issuer:root")).await.unwrap(), published);
    }
    assert_eq!(storage.current_crl(1).await.unwrap(), Some(crl(3)));
    let filter = AuditFilter { action: Some("crl.publish".to_owned()), ..AuditFilter::default() };
    assert_eq!(storage.audit_events(&filter, None, 10).await.unwrap().len(), 2);
    assert!(storage.certificate_by_serial(&serial()).await.unwrap().is_none());
}
