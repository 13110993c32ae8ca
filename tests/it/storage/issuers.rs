//! Issuers after their creation: states, the default, further certificates, generations, all or nothing.

use chancery::error::ErrorKind;
use chancery::storage::{
    CertificateFilter, CertificateState, IdempotencyClaim, IdempotencyResult, IssuerChange, IssuerState, KeyLocation,
    KeyRevocation, KeyRevoked, NewIssuer, NewIssuerCertificate, PageRequest, RevocationRecord, SignedBy, SortKey,
    StateChange, Storage,
};
use chancery::x509::crl::RevocationReason;
use chancery::x509::{SerialNumber, Timestamp};

use super::fixture::{Fixture, at, event, issuer};
use super::on_both_databases;

on_both_databases!(
    a_new_generation_retires_the_one_before,
    a_generation_or_key_that_is_taken_writes_nothing,
    changes_are_made_all_or_none,
    one_of_two_activations_wins,
    a_second_active_generation_is_a_conflict,
    certificates_are_added_beside_or_in_front,
    an_issuer_waits_for_its_certificate,
    what_old_and_new_key_sign_for_each_other_is_recorded_at_once,
    a_held_idempotency_key_writes_nothing,
    a_revoked_issuer_certificate_is_a_change_of_issuers,
    blocking_the_key_of_an_issuer_is_a_change_of_issuers,
    a_blocked_key_gets_no_issuer_certificate,
    a_key_moves_only_from_where_it_is,
);

/// The second generation of `issuing`, signed by the root in row 1.
fn second_generation(state: IssuerState) -> NewIssuer {
    let mut second = issuer("issuing", None, false);
    second.generation = 2;
    second.state = state;
    second.certificate.as_mut().unwrap().signed_by = SignedBy::Issuer(1);
    second
}

pub(super) async fn with_issuers(fixture: &Fixture) -> std::sync::Arc<dyn Storage> {
    let storage = fixture.open().await;
    let issuers = vec![issuer("root", None, false), issuer("issuing", Some("root"), true)];
    assert!(storage.create_issuers(issuers, None).await.unwrap());
    storage
}

fn to(id: i32, from: &[IssuerState], state: IssuerState) -> IssuerChange {
    IssuerChange { id, from: from.to_vec(), state: Some(state), ..IssuerChange::default() }
}

async fn states(storage: &dyn Storage) -> Vec<(String, IssuerState, bool)> {
    let issuers = storage.issuers().await.unwrap();
    issuers.into_iter().map(|issuer| (issuer.name, issuer.state, issuer.is_default)).collect()
}

async fn a_new_generation_retires_the_one_before(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let before = storage.generation().await.unwrap();
    let mut second = second_generation(IssuerState::Active);
    second.is_default = true;
    second.retires = vec![2];
    second.crl_number = 41;
    assert!(storage.create_issuers(vec![second], None).await.unwrap());
    assert!(storage.generation().await.unwrap() > before);
    assert_eq!(
        states(&*storage).await,
        [
            ("root".to_owned(), IssuerState::Active, false),
            ("issuing".to_owned(), IssuerState::Retired, false),
            ("issuing.2".to_owned(), IssuerState::Active, true),
        ]
    );
    let second = storage.issuers().await.unwrap().pop().unwrap();
    assert_eq!((second.base_name.as_str(), second.generation), ("issuing", 2));
    assert_eq!(second.certificates[0].parent_id, Some(1));
    assert_eq!(storage.take_crl_numbers(second.id, 1).await.unwrap(), 42);
}

async fn a_generation_or_key_that_is_taken_writes_nothing(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let key = storage.keys().await.unwrap().remove(0);
    let mut same_key = issuer("other", None, true);
    same_key.key.spki_sha256 = key.spki_sha256;
    assert!(!storage.create_issuers(vec![same_key], None).await.unwrap());
    let mut taken = second_generation(IssuerState::Staged);
    taken.generation = 1;
    assert!(!storage.create_issuers(vec![issuer("fresh", None, true), taken], None).await.unwrap());
    assert_eq!(storage.issuers().await.unwrap().len(), 2);
    assert_eq!(storage.keys().await.unwrap().len(), 2);
    assert_eq!(storage.verify_audit().await.unwrap().events, 2);
}

async fn changes_are_made_all_or_none(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let refused =
        vec![to(1, &[IssuerState::Active], IssuerState::Disabled), to(2, &[IssuerState::Staged], IssuerState::Retired)];
    assert!(!storage.change_issuers(refused, event("issuer.change", "issuer:root")).await.unwrap());
    assert_eq!(states(&*storage).await[0].1, IssuerState::Active);
    assert_eq!(storage.verify_audit().await.unwrap().events, 2);
    let settings = r#"{"crl":{"shards":4}}"#;
    let changes = vec![
        to(2, &[IssuerState::Active], IssuerState::Retired),
        IssuerChange {
            id: 1,
            from: vec![IssuerState::Active],
            is_default: Some(true),
            settings: Some(settings.to_owned()),
            ..IssuerChange::default()
        },
    ];
    assert!(storage.change_issuers(changes, event("issuer.change", "issuer:root")).await.unwrap());
    assert_eq!(
        states(&*storage).await,
        [("root".to_owned(), IssuerState::Active, true), ("issuing".to_owned(), IssuerState::Retired, false)]
    );
    assert_eq!(storage.issuers().await.unwrap()[0].settings, settings);
    let unknown = vec![to(99, &[IssuerState::Active], IssuerState::Retired)];
    assert!(!storage.change_issuers(unknown, event("issuer.change", "issuer:x")).await.unwrap());
    assert_eq!(storage.verify_audit().await.unwrap().events, 3);
}

async fn one_of_two_activations_wins(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    assert!(storage.create_issuers(vec![second_generation(IssuerState::Staged)], None).await.unwrap());
    let attempts: Vec<_> = (0..16)
        .map(|_| {
            let storage = std::sync::Arc::clone(&storage);
            tokio::spawn(async move {
                let changes = vec![
                    to(2, &[IssuerState::Active], IssuerState::Retired),
                    to(3, &[IssuerState::Staged], IssuerState::Active),
                ];
                storage.change_issuers(changes, event("issuer.change", "issuer:issuing")).await.unwrap()
            })
        })
        .collect();
    let mut won = 0;
    for attempt in attempts {
        won += i32::from(attempt.await.unwrap());
    }
    assert_eq!(won, 1);
    assert_eq!(states(&*storage).await[2].1, IssuerState::Active);
}

fn certificate_of(octet: u8, signed_by: SignedBy) -> NewIssuerCertificate {
    NewIssuerCertificate {
        signed_by,
        fingerprint_sha256: [octet; 32],
        der: vec![0x30, 1, octet],
        upper_chain: vec![vec![0x30, 0], vec![0x31, 0]],
        created_at: at(7),
        inventory: None,
    }
}

/// As when two replicas each know of another generation.
async fn a_second_active_generation_is_a_conflict(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let error = storage.create_issuers(vec![second_generation(IssuerState::Active)], None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(storage.create_issuers(vec![second_generation(IssuerState::Staged)], None).await.unwrap());
    let id = storage.issuers().await.unwrap()[2].id;
    let activation = vec![to(id, &[IssuerState::Staged], IssuerState::Active)];
    let error = storage.change_issuers(activation, event("issuer.activate", "issuer:x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

async fn certificates_are_added_beside_or_in_front(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let add = |octet, is_primary| {
        let certificate = certificate_of(octet, SignedBy::Outside);
        storage.add_issuer_certificate(
            2,
            certificate,
            is_primary,
            Vec::new(),
            None,
            event("issuer.certificate", "issuer:issuing"),
        )
    };
    assert!(add(8, false).await.unwrap());
    assert!(!add(8, true).await.unwrap(), "it has this one already");
    assert!(add(9, true).await.unwrap());
    let certificates = storage.issuers().await.unwrap().remove(1).certificates;
    let seen: Vec<(u8, bool, Option<i32>)> =
        certificates.iter().map(|one| (one.der.last().copied().unwrap(), one.is_primary, one.parent_id)).collect();
    assert_eq!((seen[0], seen[1]), ((9, true, None), (8, false, None)));
    assert_eq!((seen[2].1, seen[2].2), (false, Some(1)));
    assert_eq!((certificates[0].upper_chain.as_slice(), certificates[0].created_at), (&[0x30, 0, 0x31, 0][..], at(7)));
    let not_admitted = vec![to(2, &[IssuerState::Staged], IssuerState::Active)];
    let refused = storage
        .add_issuer_certificate(2, certificate_of(10, SignedBy::Issuer(1)), true, not_admitted, None, event("x", "x"))
        .await;
    assert!(!refused.unwrap());
    assert_eq!(storage.issuers().await.unwrap()[1].certificates.len(), 3);
}

async fn an_issuer_waits_for_its_certificate(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let mut waiting = issuer("outside", None, false);
    waiting.certificate = None;
    waiting.csr = Some(vec![0x30, 3]);
    waiting.state = IssuerState::Staged;
    assert!(storage.create_issuers(vec![waiting], None).await.unwrap());
    let record = storage.issuers().await.unwrap().pop().unwrap();
    assert_eq!((record.csr, record.certificates.len()), (Some(vec![0x30, 3]), 0));
    let changes = vec![to(3, &[IssuerState::Staged], IssuerState::Active)];
    let certificate = certificate_of(8, SignedBy::Outside);
    assert!(
        storage
            .add_issuer_certificate(3, certificate, true, changes, None, event("x", "issuer:outside"))
            .await
            .unwrap()
    );
    let record = storage.issuers().await.unwrap().pop().unwrap();
    assert_eq!((record.state, record.certificates.len()), (IssuerState::Active, 1));
    assert!(record.certificates[0].is_primary);
}

async fn a_key_moves_only_from_where_it_is(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let key = storage.keys().await.unwrap().remove(0);
    let places = [
        KeyLocation::File("/keys/root.key".into()),
        KeyLocation::Pkcs11("pkcs11:token=hsm;id=%01".to_owned()),
        key.location.clone(),
    ];
    let mut from = key.location.clone();
    for place in places {
        let elsewhere = KeyLocation::File("/keys/elsewhere.key".into());
        assert!(!storage.move_key(key.id, &elsewhere, &place, event("key.move", "x")).await.unwrap());
        assert!(storage.move_key(key.id, &from, &place, event("key.move", "x")).await.unwrap());
        assert_eq!(storage.keys().await.unwrap()[0].location, place);
        assert_eq!(storage.issuers().await.unwrap()[0].key, place);
        from = place;
    }
    assert_eq!(storage.verify_audit().await.unwrap().events, 5);
}

async fn what_old_and_new_key_sign_for_each_other_is_recorded_at_once(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let mut second = issuer("root", None, false);
    second.generation = 2;
    second.retires = vec![1];
    second.cross_certificates = vec![
        (None, certificate_of(8, SignedBy::Issuer(1))),
        (Some(1), certificate_of(9, SignedBy::New("root".to_owned()))),
    ];
    assert!(storage.create_issuers(vec![second], None).await.unwrap());
    let issuers = storage.issuers().await.unwrap();
    let parents = |index: usize| -> Vec<(bool, Option<i32>)> {
        issuers[index].certificates.iter().map(|one| (one.is_primary, one.parent_id)).collect()
    };
    assert_eq!(parents(0), [(true, None), (false, Some(3))]);
    assert_eq!(parents(2), [(true, None), (false, Some(1))]);
    // The one before is not active any more: whoever thought so comes too late.
    let mut third = issuer("root", None, false);
    third.generation = 3;
    third.retires = vec![1];
    assert!(!storage.create_issuers(vec![third], None).await.unwrap());
}

async fn a_held_idempotency_key_writes_nothing(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let claim = || {
        let claim = IdempotencyClaim {
            caller: "token:a".to_owned(),
            key: "k".to_owned(),
            request_sha256: [1; 32],
            expires_at: Timestamp::from_unix(i64::from(u32::MAX)),
        };
        Some((claim, IdempotencyResult::Certificate(SerialNumber::from_bytes(&[7]).unwrap())))
    };
    assert!(storage.create_issuers(vec![issuer("other", None, false)], claim()).await.unwrap());
    assert!(!storage.create_issuers(vec![issuer("third", None, false)], claim()).await.unwrap());
    let certificate = certificate_of(8, SignedBy::Outside);
    assert!(
        !storage.add_issuer_certificate(2, certificate, false, Vec::new(), claim(), event("x", "x")).await.unwrap()
    );
    let issuers = storage.issuers().await.unwrap();
    assert_eq!((issuers.len(), issuers[1].certificates.len()), (3, 1));
}

async fn a_revoked_issuer_certificate_is_a_change_of_issuers(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let record = storage.issuers().await.unwrap().remove(1);
    assert_eq!(record.certificates[0].state, CertificateState::Valid);
    let filter = CertificateFilter { issuer_ids: Some(vec![1]), ..CertificateFilter::default() };
    let page = PageRequest { limit: 10, sort: SortKey::IssuedAt, descending: false, after: None };
    let listed = storage.certificates(&filter, page).await.unwrap().items;
    let of_issuing = listed.into_iter().find(|one| one.der == record.certificates[0].der).unwrap();
    let before = storage.generation().await.unwrap();
    let change = StateChange {
        issuer_id: 1,
        serial: of_issuing.serial,
        from: &[CertificateState::Valid],
        revocation: Some(RevocationRecord {
            reason: RevocationReason::Superseded,
            revoked_at: at(5),
            invalidity_date: None,
        }),
        owner: None,
        block_key: false,
    };
    storage.change_state(change, event("certificate.revoke", "certificate:x")).await.unwrap();
    assert!(storage.generation().await.unwrap() > before);
    assert_eq!(storage.issuers().await.unwrap()[1].certificates[0].state, CertificateState::Revoked);
}

async fn block(storage: &dyn Storage, spki_sha256: [u8; 32]) {
    let revocation = KeyRevocation {
        spki_sha256,
        now: at(200),
        owner: None,
        internal: true,
        certificate_event: event("certificate.revoke", ""),
    };
    let done = storage.revoke_key(revocation, event("key.block", "key:x")).await.unwrap();
    assert!(matches!(done, KeyRevoked::Done { blocked_now: true, more: false, .. }), "{done:?}");
}

async fn blocked(storage: &dyn Storage) -> Vec<bool> {
    storage.issuers().await.unwrap().iter().map(|issuer| issuer.key_blocked).collect()
}

async fn blocking_the_key_of_an_issuer_is_a_change_of_issuers(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let before = storage.generation().await.unwrap();
    block(&*storage, [0xdd; 32]).await;
    assert_eq!(storage.generation().await.unwrap(), before, "nobody's key");
    assert_eq!(blocked(&*storage).await, [false, false]);
    block(&*storage, storage.issuers().await.unwrap()[1].spki_sha256).await;
    assert!(storage.generation().await.unwrap() > before);
    assert_eq!(blocked(&*storage).await, [false, true]);
}

async fn a_blocked_key_gets_no_issuer_certificate(fixture: Fixture) {
    let storage = with_issuers(&fixture).await;
    let imported = issuer("imported", None, false);
    block(&*storage, imported.key.spki_sha256).await;
    assert!(!storage.create_issuers(vec![imported], None).await.unwrap());

    let certificate = || issuer("any", None, false).certificate.unwrap();
    let add = |id| {
        storage.add_issuer_certificate(id, certificate(), true, Vec::new(), None, event("issuer.renew", "issuer:x"))
    };
    assert!(add(2).await.unwrap());
    block(&*storage, storage.issuers().await.unwrap()[1].spki_sha256).await;
    assert!(!add(2).await.unwrap());
    assert!(add(1).await.unwrap(), "the other goes on");
    assert_eq!(storage.issuers().await.unwrap()[1].certificates.len(), 2);

    // Nor does a new key certify it in passing.
    let mut second = second_generation(IssuerState::Staged);
    second.cross_certificates = vec![(Some(2), certificate())];
    assert!(!storage.create_issuers(vec![second.clone()], None).await.unwrap());
    second.cross_certificates.clear();
    assert!(storage.create_issuers(vec![second], None).await.unwrap());
}
