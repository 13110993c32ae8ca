//! Changes of state and the block list. CRLs are in `crls.rs`.

use std::sync::Arc;

use chancery::storage::{AuditFilter, CertificateState, StateChange, StateChanged, Storage};
use chancery::x509::SerialNumber;
use chancery::x509::crl::RevocationReason;

use super::fixture::{Fixture, certificate, event, found, issue, issuer, revocation};
use super::on_both_databases;

on_both_databases!(
    a_revocation_changes_the_record_counts_at_the_issuer_and_writes_its_event,
    of_32_callers_one_revokes,
    a_hold_is_released_and_a_revocation_is_not,
    only_the_owner_changes_what_is_its_own,
    a_blocked_key_stays_blocked,
);

pub(super) const ADMITTED: &[CertificateState] = &[CertificateState::Valid, CertificateState::OnHold];

pub(super) fn revoke(serial: &SerialNumber, reason: RevocationReason) -> StateChange {
    StateChange {
        issuer_id: 1,
        serial: serial.clone(),
        from: ADMITTED,
        revocation: Some(revocation(reason)),
        owner: None,
        block_key: false,
    }
}

pub(super) fn release(serial: &SerialNumber) -> StateChange {
    StateChange {
        issuer_id: 1,
        serial: serial.clone(),
        from: &[CertificateState::OnHold],
        revocation: None,
        owner: None,
        block_key: false,
    }
}

pub(super) async fn with_root(fixture: &Fixture) -> Arc<dyn Storage> {
    let storage = fixture.open().await;
    assert!(storage.create_issuers(vec![issuer("root", None, true)], None).await.unwrap());
    storage
}

async fn revocation_events(storage: &dyn Storage) -> usize {
    let filter = AuditFilter { action: Some("certificate.revoke".to_owned()), ..AuditFilter::default() };
    storage.audit_events(&filter, None, 100).await.unwrap().items.len()
}

async fn a_revocation_changes_the_record_counts_at_the_issuer_and_writes_its_event(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let serial = issue(&*storage, certificate(&[])).await;
    let change = revoke(&serial, RevocationReason::KeyCompromise);
    let changed = storage.change_state(change.clone(), event("certificate.revoke", "x")).await.unwrap();
    let StateChanged::Changed(record) = changed else { panic!("{changed:?}") };
    assert_eq!(record.state, CertificateState::Revoked);
    assert_eq!(record.revocation, Some(revocation(RevocationReason::KeyCompromise)));
    let stored = found(&*storage, &serial).await.unwrap();
    assert_eq!((stored.state, stored.revocation), (record.state, record.revocation));
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
    let mut second = certificate(&[]);
    second.spki_sha256 = spki;
    let second = issue(&*storage, second).await;
    assert!(!storage.key_is_blocked(&spki).await.unwrap());
    let change = StateChange { block_key: true, ..revoke(&serial, RevocationReason::KeyCompromise) };
    storage.change_state(change, event("certificate.revoke", "x")).await.unwrap();
    assert!(storage.key_is_blocked(&spki).await.unwrap());

    let change = StateChange { block_key: true, ..revoke(&second, RevocationReason::KeyCompromise) };
    let changed = storage.change_state(change, event("certificate.revoke", "x")).await.unwrap();
    assert!(matches!(changed, StateChanged::Changed(_)), "a key that is blocked already is no obstacle");
}
