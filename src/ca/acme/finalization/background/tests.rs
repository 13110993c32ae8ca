//! Finalizing in the background: exactly once, by whoever is there, as long as everything holds that held when it began.

use std::sync::Arc;
use std::time::Duration;

use rcgen::KeyPair;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::auth::Caller;
use crate::ca::acme::finalization::tests::issued;
use crate::ca::acme::testing::{World, csr, csr_with};
use crate::ca::acme::validation::ValidationFailure;
use crate::ca::acme::{OrderStatus, OrderView};
use crate::error::AcmeErrorType;
use crate::storage::{AcmeOrderStatus, AuditOutcome};

const DAY: Duration = Duration::from_secs(86_400);

/// Leaves an order as a replica does that was killed after its answer and before its work, and whose lease has ended.
async fn left_behind(world: &World, order: &OrderView, names: &[&str]) {
    let now = world.now();
    let (id, account) = (order.record.id, order.record.account_id);
    let csr = csr(names);
    let begun = world.storage().begin_acme_finalization(id, account, &csr, "dead", now, now);
    assert!(begun.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_finalized_in_the_background() {
    let world = World::with(|settings| settings.asynchronous_finalize = true).await;
    let caller = world.account().await;
    let order = world.ready_order(&caller, &["app.internal"]).await;
    let id = order.record.id;
    // What another CSR can mend is told before anything begins.
    let error = world.acme.finalize(&caller, id, &csr(&["www.internal"])).await.unwrap_err();
    assert_eq!(error.acme_token(), "badCSR");
    let curve = csr_with(&["app.internal"], None, &KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap());
    assert_eq!(world.acme.finalize(&caller, id, &curve).await.unwrap_err().acme_token(), "badCSR");
    assert_eq!(world.acme.order(&caller, id).await.unwrap().status, OrderStatus::Ready);

    let begun = world.acme.finalize(&caller, id, &csr(&["app.internal"])).await.unwrap();
    assert_eq!((begun.status, begun.retry_after()), (OrderStatus::Processing, Some(1)));
    let done = world.until_order(&caller, id, OrderStatus::Valid).await;
    assert_eq!(done.record.csr, None);
    assert_eq!(world.acme.order_certificate(&caller, id, 0).await.unwrap().chain.len(), 2);
    let again = world.acme.finalize(&caller, id, &csr(&["app.internal"])).await.unwrap_err();
    assert_eq!(again.acme_token(), "orderNotReady");
    assert_eq!(issued(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_background_finalizations_one_begins() {
    let world = World::with(|settings| settings.asynchronous_finalize = true).await;
    let caller = world.account().await;
    let order = world.ready_order(&caller, &["app.internal"]).await;
    let csrs: Vec<Vec<u8>> = (0..32).map(|_| csr(&["app.internal"])).collect();
    let calls = csrs.iter().map(|csr| world.acme.finalize(&caller, order.record.id, csr));
    let outcomes = futures_util::future::join_all(calls).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for error in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(error.acme_token(), "orderNotReady", "{error}");
    }
    world.until_order(&caller, order.record.id, OrderStatus::Valid).await;
    assert_eq!(issued(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_in_the_background_ends_the_order() {
    let world = World::with(|settings| settings.asynchronous_finalize = true).await;
    let caller = world.account().await;
    let order = world.ready_order(&caller, &["app.internal"]).await;
    world.validator.refuse_caa(ValidationFailure::new(AcmeErrorType::Caa, "other CAs are named"));
    world.acme.finalize(&caller, order.record.id, &csr(&["app.internal"])).await.unwrap();
    let read = world.until_order(&caller, order.record.id, OrderStatus::Invalid).await;
    let problem = read.record.error.unwrap();
    assert_eq!((problem.error_type.as_str(), problem.detail.as_str()), ("caa", "other CAs are named"));
    assert_eq!(issued(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_takes_over_what_a_dead_one_left() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.ready_order(&caller, &["app.internal"]).await;
    let id = order.record.id;
    // A replica that was killed after its answer and before its work.
    let now = world.now();
    let (account, lease) = (order.record.account_id, now + Duration::from_secs(60));
    let csr = csr(&["app.internal"]);
    assert!(world.storage().begin_acme_finalization(id, account, &csr, "dead", now, lease).await.unwrap());
    world.acme.finalize_due().await.unwrap();
    assert_eq!(world.acme.order(&caller, id).await.unwrap().status, OrderStatus::Processing);
    world.clock.advance(Duration::from_secs(61));
    world.acme.finalize_due().await.unwrap();
    let read = world.acme.order(&caller, id).await.unwrap();
    assert_eq!((read.status, read.record.status), (OrderStatus::Valid, AcmeOrderStatus::Valid));
    assert_eq!(issued(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_refused_in_the_background_is_audited() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.ready_order(&caller, &["app.internal"]).await;
    left_behind(&world, &order, &["app.internal"]).await;
    world.validator.refuse_caa(ValidationFailure::new(AcmeErrorType::Caa, "other CAs are named"));
    world.acme.finalize_due().await.unwrap();
    assert_eq!(world.refused_issuances().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_proof_ended_while_it_was_processing_is_not_issued() {
    for is_deactivated in [true, false] {
        let world = World::with(|settings| settings.authorization_lifetime = DAY).await;
        let caller = world.account().await;
        let order = world.ready_order(&caller, &["app.internal", "www.internal"]).await;
        left_behind(&world, &order, &["app.internal", "www.internal"]).await;
        let why = if is_deactivated {
            world.acme.deactivate_authorization(&caller, order.authorizations[0].id).await.unwrap();
            "was deactivated"
        } else {
            world.clock.advance(DAY);
            "ended on"
        };
        world.acme.finalize_due().await.unwrap();
        let read = world.acme.order(&caller, order.record.id).await.unwrap();
        assert_eq!(read.status, OrderStatus::Invalid);
        let problem = read.record.error.unwrap();
        assert_eq!(problem.error_type, "unauthorized");
        assert!(problem.subproblems[0].detail.contains(why), "{problem:?}");
        assert_eq!(issued(&world).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn caa_records_that_could_not_be_had_are_asked_for_again_in_the_background() {
    let world = World::new().await;
    let caller = world.account().await;
    let names = ["app.internal", "www.internal"];
    let order = world.ready_order(&caller, &names).await;
    left_behind(&world, &order, &names).await;
    for error_type in [AcmeErrorType::Dns, AcmeErrorType::ServerInternal] {
        world.validator.refuse_caa(ValidationFailure::new(error_type, "no answer"));
    }
    world.acme.finalize_due().await.unwrap();
    assert_eq!(world.acme.order(&caller, order.record.id).await.unwrap().status, OrderStatus::Processing);
    world.clock.advance(world.settings.validation.attempt_timeout * 6 + Duration::from_secs(60));
    world.acme.finalize_due().await.unwrap();
    assert_eq!(world.acme.order(&caller, order.record.id).await.unwrap().status, OrderStatus::Valid);

    let order = world.ready_order(&caller, &names).await;
    left_behind(&world, &order, &names).await;
    world.validator.refuse_caa(ValidationFailure::new(AcmeErrorType::Dns, "no answer"));
    world.validator.refuse_caa(ValidationFailure::new(AcmeErrorType::Caa, "other CAs are named"));
    world.acme.finalize_due().await.unwrap();
    assert_eq!(world.acme.order(&caller, order.record.id).await.unwrap().status, OrderStatus::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_were_left_behind_are_finalized_at_one_time_until_the_service_stops() {
    let world = World::new().await;
    let caller = world.account().await;
    for name in ["a.internal", "b.internal", "c.internal"] {
        let order = world.ready_order(&caller, &[name]).await;
        left_behind(&world, &order, &[name]).await;
    }
    // No CAA question is answered any more.
    world.validator.caa_gate.forget_permits(Semaphore::MAX_PERMITS);
    let acme = Arc::clone(&world.acme);
    let working = tokio::spawn(async move { acme.finalize_due().await });
    world.until(async || (world.validator.caa_asked.lock().unwrap().len() == 3).then_some(())).await;
    // None is due while its lease lasts, which is longer than the questions may take.
    world.clock.advance(world.settings.validation.attempt_timeout * 5);
    let now = world.now();
    assert!(world.storage().due_acme_finalizations("other", now, now, 10).await.unwrap().is_empty());
    world.acme.stop().await.unwrap();
    working.await.unwrap().unwrap();
    assert_eq!(issued(&world).await, 0);
    world.validator.caa_gate.add_permits(100);
    world.replica().await.finalize_due().await.unwrap();
    assert_eq!(issued(&world).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_account_key_that_was_deleted_meanwhile_ends_an_order_in_the_background() {
    let world = World::new().await;
    let mut key = String::new();
    let caller = world
        .account_bound_by(|new| {
            new.proves_control = true;
            key.clone_from(&new.key_id);
        })
        .await;
    let order = world.order(&caller, &["a.team.internal"]).await;
    left_behind(&world, &order, &["a.team.internal"]).await;
    world.validator.refuse_caa(ValidationFailure::new(AcmeErrorType::Dns, "no answer"));
    world.acme.finalize_due().await.unwrap();
    let event = world.acme.ca.event(&Caller::internal("test"), "test", AuditOutcome::Success, String::new(), json!({}));
    assert!(world.storage().delete_external_account_key(&key, None, world.now(), event).await.unwrap());
    world.acme.forget_accounts();
    world.clock.advance(world.settings.validation.attempt_timeout * 6 + Duration::from_secs(60));
    world.acme.finalize_due().await.unwrap();
    let read = world.acme.order(&caller, order.record.id).await.unwrap();
    assert_eq!((read.status, read.record.error.unwrap().error_type.as_str()), (OrderStatus::Invalid, "unauthorized"));
    assert_eq!(issued(&world).await, 0);
}
