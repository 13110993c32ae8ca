//! From a ready order to its certificate: one commit holds both, and of many that complete an order one does.

use std::sync::Arc;

use chancery::storage::{
    AcmeOrderStatus, CertificateFilter, Issuance, KeyRevocation, OrderAuthorization, OrderCompletion, Recorded, Storage,
};
use chancery::x509::SerialNumber;

use super::super::fixture::{Fixture, at, certificate, claim, event, found, issuance, list};
use super::super::on_both_databases;
use super::{at_once, order, place, problem, ready_order, with_account};

on_both_databases!(
    a_completed_order_is_valid_with_its_certificate,
    of_32_that_complete_one_order_one_certificate_is_recorded,
    a_group_with_members_that_lose_records_the_others,
    two_groups_that_complete_the_same_orders_in_other_orders_do_not_wait_for_one_another,
    what_an_order_does_not_admit_completes_it_not,
    an_order_that_is_processing_is_completed_by_its_holder_only,
    an_order_without_all_its_proofs_is_not_completed,
    a_blocked_key_leaves_the_order_as_it_was,
    an_issuance_that_fails_leaves_the_order_as_it_was,
    an_order_and_an_idempotency_key_are_refused_together,
    a_request_is_kept_for_a_ready_order_only,
    of_32_that_begin_one_finalization_one_does,
    due_finalizations_are_leased_to_one,
);

fn completion(order_id: i64) -> OrderCompletion {
    OrderCompletion { order_id, account_id: 1, from: AcmeOrderStatus::Pending, holder: None }
}

fn completing(completion: OrderCompletion) -> Issuance {
    Issuance { order: Some(completion), ..issuance(certificate(&["a.internal"])) }
}

async fn count(storage: &dyn Storage) -> usize {
    list(storage, CertificateFilter::default()).await.len()
}

async fn a_completed_order_is_valid_with_its_certificate(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    place(&*storage, ready_order(11, 1, &["a.internal"])).await;
    let issuance = completing(completion(11));
    let (serial, issuer) = (issuance.certificate.serial.clone(), issuance.certificate.issuer_id);
    assert_eq!(storage.record_issuance(issuance).await.unwrap(), Recorded::Committed);
    let (order, _) = storage.acme_order(11, Some(1)).await.unwrap().unwrap();
    assert_eq!((order.status, order.finalized_at), (AcmeOrderStatus::Valid, Some(at(0))));
    assert_eq!(order.certificate, Some((issuer, serial.clone())));
    assert!(found(&*storage, &serial).await.is_some());
    assert!(!storage.fail_acme_order(11, &problem("x")).await.unwrap(), "for good");
    let of = async |issuer, account| storage.acme_order_of_certificate(issuer, &serial, account).await.unwrap();
    assert_eq!(of(issuer, 1).await, Some(11));
    assert_eq!(of(issuer, 2).await, None, "another account's");
    assert_eq!(of(issuer + 1, 1).await, None, "another issuer's of the same number");
}

async fn of_32_that_complete_one_order_one_certificate_is_recorded(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    place(&*storage, ready_order(11, 1, &["a.internal"])).await;
    let answers = at_once(&storage, |storage, _| async move {
        let issuance = completing(completion(11));
        (issuance.certificate.serial.clone(), storage.record_issuance(issuance).await.unwrap())
    })
    .await;
    let committed: Vec<&SerialNumber> =
        answers.iter().filter(|(_, answer)| *answer == Recorded::Committed).map(|(serial, _)| serial).collect();
    let taken = answers.iter().filter(|(_, answer)| *answer == Recorded::OrderTaken).count();
    assert_eq!((committed.len(), taken), (1, 31));
    assert_eq!(count(&*storage).await, 1);
    let (order, _) = storage.acme_order(11, None).await.unwrap().unwrap();
    assert_eq!(order.certificate.as_ref().map(|(_, serial)| serial), Some(committed[0]));
    let verification = storage.verify_audit().await.unwrap();
    assert_eq!((verification.events, verification.failures), (2, Vec::new()), "the account's and one more");
}

async fn a_group_with_members_that_lose_records_the_others(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    for id in 0..8 {
        place(&*storage, ready_order(id, 1, &["a.internal"])).await;
    }
    // Each order four times, among issuances of other kinds, of which two claim one key.
    let answers = at_once(&storage, |storage, number| async move {
        let other = Issuance { idempotency: Some(claim("k", 100)), ..issuance(certificate(&["b.internal"])) };
        let (one, other, plain) = tokio::join!(
            storage.record_issuance(completing(completion(number % 8))),
            storage.record_issuance(other),
            storage.record_issuance(issuance(certificate(&["c.internal"]))),
        );
        (one.unwrap(), other.unwrap(), plain.unwrap())
    })
    .await;
    assert_eq!(answers.iter().filter(|(one, _, _)| *one == Recorded::Committed).count(), 8);
    assert_eq!(answers.iter().filter(|(one, _, _)| *one == Recorded::OrderTaken).count(), 24);
    assert_eq!(answers.iter().filter(|(_, other, _)| *other == Recorded::Committed).count(), 1);
    assert!(answers.iter().all(|(_, _, plain)| *plain == Recorded::Committed));
    assert_eq!(count(&*storage).await, 8 + 1 + 32);
    assert_eq!(storage.verify_audit().await.unwrap().failures, Vec::<String>::new());
}

async fn two_groups_that_complete_the_same_orders_in_other_orders_do_not_wait_for_one_another(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    // Another replica with writers of its own.
    let second = fixture.open().await;
    for round in 0..4 {
        let ids: Vec<i64> = (round * 100..round * 100 + 40).collect();
        for id in &ids {
            place(&*storage, ready_order(*id, 1, &["a.internal"])).await;
        }
        let run = |storage: &Arc<dyn Storage>, ids: Vec<i64>| {
            let storage = Arc::clone(storage);
            let calls = ids.into_iter().map(move |id| {
                let storage = Arc::clone(&storage);
                async move { storage.record_issuance(completing(completion(id))).await.unwrap() }
            });
            futures_util::future::join_all(calls)
        };
        let (one, other) = tokio::join!(run(&storage, ids.clone()), run(&second, ids.iter().rev().copied().collect()));
        let won = one.iter().chain(&other).filter(|answer| **answer == Recorded::Committed).count();
        assert_eq!(won, 40);
        assert_eq!(one.len() + other.len(), 80);
    }
    assert_eq!(count(&*storage).await, 160);
}

async fn what_an_order_does_not_admit_completes_it_not(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    let mut expired = ready_order(12, 1, &["a.internal"]);
    expired.expires_at = at(0);
    place(&*storage, ready_order(11, 1, &["a.internal"])).await;
    place(&*storage, expired).await;
    let refused = [
        ("another account's", OrderCompletion { account_id: 2, ..completion(11) }),
        ("not there", completion(99)),
        ("past its end", completion(12)),
        (
            "not processing",
            OrderCompletion { from: AcmeOrderStatus::Processing, holder: Some("me".to_owned()), ..completion(11) },
        ),
        ("not valid", OrderCompletion { from: AcmeOrderStatus::Valid, ..completion(11) }),
        ("not invalid", OrderCompletion { from: AcmeOrderStatus::Invalid, ..completion(11) }),
    ];
    for (why, completion) in refused {
        let answer = storage.record_issuance(completing(completion)).await.unwrap();
        assert_eq!(answer, Recorded::OrderTaken, "{why}");
    }
    place(&*storage, order(13, 1, &["a.internal"])).await;
    storage.fail_acme_order(13, &problem("x")).await.unwrap();
    assert_eq!(storage.record_issuance(completing(completion(13))).await.unwrap(), Recorded::OrderTaken);
    // Only the account's status, as if it had ended while the certificate was signed.
    fixture.execute("UPDATE acme_accounts SET status = 1").await;
    assert_eq!(storage.record_issuance(completing(completion(11))).await.unwrap(), Recorded::OrderTaken);
    fixture.execute("UPDATE acme_accounts SET status = 0").await;
    assert_eq!(count(&*storage).await, 0);
    assert_eq!(storage.verify_audit().await.unwrap().events, 1, "nothing of them is written");
    assert_eq!(storage.record_issuance(completing(completion(11))).await.unwrap(), Recorded::Committed);
}

async fn an_order_that_is_processing_is_completed_by_its_holder_only(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    place(&*storage, ready_order(11, 1, &["a.internal"])).await;
    assert!(storage.begin_acme_finalization(11, 1, &[1, 2], "me", at(1), at(60)).await.unwrap());
    let by = |holder: Option<&str>| OrderCompletion {
        from: AcmeOrderStatus::Processing,
        holder: holder.map(str::to_owned),
        ..completion(11)
    };
    for refused in [by(None), by(Some("you")), completion(11)] {
        assert_eq!(storage.record_issuance(completing(refused)).await.unwrap(), Recorded::OrderTaken);
    }
    let due = storage.due_acme_finalizations("you", at(60), at(120), 10).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(storage.record_issuance(completing(by(Some("me")))).await.unwrap(), Recorded::OrderTaken, "it lost it");
    assert_eq!(storage.record_issuance(completing(by(Some("you")))).await.unwrap(), Recorded::Committed);
    let (order, _) = storage.acme_order(11, None).await.unwrap().unwrap();
    assert_eq!((order.status, order.csr), (AcmeOrderStatus::Valid, None));
    assert!(storage.due_acme_finalizations("you", at(9999), at(99_999), 10).await.unwrap().is_empty());
}

async fn an_order_without_all_its_proofs_is_not_completed(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    place(&*storage, ready_order(11, 1, &["a.internal", "b.internal"])).await;
    place(&*storage, ready_order(12, 1, &["a.internal"])).await;
    assert!(storage.begin_acme_finalization(12, 1, &[1], "me", at(0), at(60)).await.unwrap());
    let processing =
        || OrderCompletion { from: AcmeOrderStatus::Processing, holder: Some("me".to_owned()), ..completion(12) };
    for (broken, mended) in [
        (
            "UPDATE acme_authorizations SET status = 3 WHERE id IN (111, 120)",
            "UPDATE acme_authorizations SET status = 1",
        ),
        (
            "UPDATE acme_authorizations SET status = 0 WHERE id IN (110, 120)",
            "UPDATE acme_authorizations SET status = 1",
        ),
        (
            // The moment of issuance is the first at which they have ended.
            "UPDATE acme_authorizations SET expires_at = 1767225600 WHERE id IN (111, 120)",
            "UPDATE acme_authorizations SET expires_at = 1767226600",
        ),
        (
            "UPDATE acme_order_authorizations SET authorization_id = authorization_id + 1000",
            "UPDATE acme_order_authorizations SET authorization_id = authorization_id - 1000",
        ),
        (
            "UPDATE acme_order_authorizations SET order_id = order_id + 1000",
            "UPDATE acme_order_authorizations SET order_id = order_id - 1000",
        ),
    ] {
        fixture.execute(broken).await;
        // In one group with one that has all.
        let other = issuance(certificate(&["b.internal"]));
        let (one, two, other) = tokio::join!(
            storage.record_issuance(completing(completion(11))),
            storage.record_issuance(completing(processing())),
            storage.record_issuance(other),
        );
        assert_eq!((one.unwrap(), two.unwrap()), (Recorded::OrderTaken, Recorded::OrderTaken), "{broken}");
        assert_eq!(other.unwrap(), Recorded::Committed);
        fixture.execute(mended).await;
    }
    assert_eq!(storage.record_issuance(completing(completion(11))).await.unwrap(), Recorded::Committed);
    assert_eq!(storage.record_issuance(completing(processing())).await.unwrap(), Recorded::Committed);
}

async fn a_blocked_key_leaves_the_order_as_it_was(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    place(&*storage, ready_order(11, 1, &["a.internal"])).await;
    place(&*storage, ready_order(12, 1, &["a.internal"])).await;
    let mut blocked = completing(completion(11));
    blocked.certificate.spki_sha256 = [8; 32];
    let revocation = KeyRevocation {
        spki_sha256: [8; 32],
        now: at(0),
        owner: None,
        internal: false,
        certificate_event: event("certificate.revoke", ""),
    };
    storage.revoke_key(revocation, event("key.revoke", "x")).await.unwrap();
    let (one, other) =
        tokio::join!(storage.record_issuance(blocked.clone()), storage.record_issuance(completing(completion(12))),);
    assert_eq!((one.unwrap(), other.unwrap()), (Recorded::KeyBlocked, Recorded::Committed));
    assert_eq!(storage.acme_order(11, None).await.unwrap().unwrap().0.status, AcmeOrderStatus::Pending);
    // With another one for the same order: the blocked one never has it.
    let (one, second) =
        tokio::join!(storage.record_issuance(blocked), storage.record_issuance(completing(completion(11))));
    assert!(matches!(one.unwrap(), Recorded::KeyBlocked | Recorded::OrderTaken));
    assert_eq!(second.unwrap(), Recorded::Committed);
    assert_eq!(count(&*storage).await, 2);
}

async fn an_issuance_that_fails_leaves_the_order_as_it_was(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    place(&*storage, ready_order(11, 1, &["a.internal"])).await;
    let first = certificate(&["a.internal"]);
    super::super::fixture::issue(&*storage, first.clone()).await;
    let mut bad = completing(completion(11));
    bad.certificate.serial = first.serial;
    storage.record_issuance(bad).await.unwrap_err();
    let (order, _) = storage.acme_order(11, None).await.unwrap().unwrap();
    assert_eq!((order.status, order.certificate), (AcmeOrderStatus::Pending, None));
    assert_eq!(storage.record_issuance(completing(completion(11))).await.unwrap(), Recorded::Committed);
}

async fn an_order_and_an_idempotency_key_are_refused_together(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    place(&*storage, ready_order(11, 1, &["a.internal"])).await;
    let both = Issuance { idempotency: Some(claim("k", 100)), ..completing(completion(11)) };
    storage.record_issuance(both).await.unwrap_err();
    assert_eq!(storage.idempotent_answer("token:deploy", "k", at(0)).await.unwrap(), None);
    assert_eq!(storage.record_issuance(completing(completion(11))).await.unwrap(), Recorded::Committed);
}

async fn a_request_is_kept_for_a_ready_order_only(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    place(&*storage, ready_order(11, 1, &["a.internal"])).await;
    let mut mixed = order(12, 1, &["b.internal", "a.internal"]);
    mixed.authorizations[1] = OrderAuthorization::Existing(110);
    place(&*storage, mixed).await;
    let mut early = ready_order(13, 1, &["c.internal"]);
    if let OrderAuthorization::New(new) = &mut early.authorizations[0] {
        new.expires_at = at(10);
    }
    place(&*storage, early).await;
    let begin = async |id, account, now| {
        storage.begin_acme_finalization(id, account, &[1, 2, 3], "me", at(now), at(60)).await.unwrap()
    };
    assert!(!begin(12, 1, 1).await, "one authorization is pending");
    assert!(!begin(13, 1, 10).await, "its authorization ended");
    assert!(!begin(11, 2, 1).await, "another account's");
    assert!(!begin(11, 1, 1000).await, "past its end");
    assert!(!begin(99, 1, 1).await, "not there");
    fixture.execute("UPDATE acme_accounts SET status = 1").await;
    assert!(!begin(11, 1, 1).await, "its account ended");
    fixture.execute("UPDATE acme_accounts SET status = 0").await;
    assert!(begin(13, 1, 9).await);
    assert!(begin(11, 1, 1).await);
    assert!(!begin(11, 1, 1).await, "only once");
    let (order, _) = storage.acme_order(11, None).await.unwrap().unwrap();
    assert_eq!((order.status, order.csr), (AcmeOrderStatus::Processing, Some(vec![1, 2, 3])));
    assert!(storage.fail_acme_order(11, &problem("x")).await.unwrap());
    let (order, _) = storage.acme_order(11, None).await.unwrap().unwrap();
    assert_eq!((order.status, order.csr), (AcmeOrderStatus::Invalid, None));
}

async fn of_32_that_begin_one_finalization_one_does(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    place(&*storage, ready_order(11, 1, &["a.internal"])).await;
    let answers = at_once(&storage, |storage, number| async move {
        let holder = format!("holder {number}");
        let begun = storage.begin_acme_finalization(11, 1, &[1], &holder, at(1), at(60)).await.unwrap();
        let recorded = storage.record_issuance(completing(completion(11))).await.unwrap();
        (begun, recorded)
    })
    .await;
    assert_eq!(answers.iter().filter(|(begun, _)| *begun).count(), 1);
    assert!(answers.iter().all(|(_, recorded)| *recorded == Recorded::OrderTaken));
}

async fn due_finalizations_are_leased_to_one(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    let second = fixture.open().await;
    for id in 0..40 {
        place(&*storage, ready_order(id, 1, &["a.internal"])).await;
        assert!(storage.begin_acme_finalization(id, 1, &[1], "gone", at(1), at(10 + id)).await.unwrap());
    }
    assert!(storage.due_acme_finalizations("me", at(9), at(100), 10).await.unwrap().is_empty(), "still leased");
    let one = at_once(&storage, |storage, number| async move {
        storage.due_acme_finalizations(&format!("one {number}"), at(50), at(100), 3).await.unwrap()
    });
    let other = at_once(&second, |storage, number| async move {
        storage.due_acme_finalizations(&format!("other {number}"), at(50), at(100), 3).await.unwrap()
    });
    let (one, other) = tokio::join!(one, other);
    let mut leased: Vec<i64> = one.iter().chain(&other).flatten().map(|order| order.id).collect();
    assert!(one.iter().chain(&other).all(|orders| orders.len() <= 3));
    leased.sort_unstable();
    assert_eq!(leased, (0..40).collect::<Vec<_>>(), "each to one, and all of them");
    assert!(storage.due_acme_finalizations("me", at(99), at(200), 100).await.unwrap().is_empty());
    assert_eq!(storage.due_acme_finalizations("me", at(100), at(200), 100).await.unwrap().len(), 40);
}
