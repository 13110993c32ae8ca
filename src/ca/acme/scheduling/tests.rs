//! Looks at challenges: repeated, bounded, by one replica, after stops and failures of all kinds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::ca::acme::testing::{Answer, World};
use crate::ca::acme::validation::ValidationFailure;
use crate::ca::acme::{AuthorizationStatus, ChallengeStatus, OrderStatus};
use crate::environment::Clock as _;
use crate::error::AcmeErrorType;
use crate::policy::acme::ChallengeType;
use crate::storage::AcmeAuthorizationStatus;

const SECOND: Duration = Duration::from_secs(1);

fn refused() -> Answer {
    Answer::Failure(ValidationFailure::new(AcmeErrorType::Connection, "10.0.0.1:80 refused the connection"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_repeated_with_doubling_waits_and_then_final() {
    let world = World::new().await;
    let caller = world.account().await;
    world.validator.answer([refused(), refused(), refused(), refused()]);
    let order = world.order(&caller, &["app.internal", "www.internal"]).await;
    let id = order.authorizations[0].id;
    world.acme.respond(&caller, id, ChallengeType::Http01).await.unwrap();
    for (attempt, wait) in [(1, SECOND), (2, 2 * SECOND), (3, 4 * SECOND)] {
        let view = world.until_attempts(&caller, id, attempt).await;
        assert_eq!(
            (view.status, view.challenges[0].status),
            (AuthorizationStatus::Pending, ChallengeStatus::Processing)
        );
        assert_eq!(view.challenges[0].error.as_ref().unwrap().error_type, "connection");
        assert_eq!(u64::from(view.retry_after.unwrap()), wait.as_secs() + 1);
        // Not a moment too early.
        world.clock.advance(wait - Duration::from_millis(1));
        world.acme.validate_due().await.unwrap();
        assert_eq!(world.validator.times_asked(), usize::try_from(attempt).unwrap());
        world.clock.advance(Duration::from_millis(1));
        world.acme.validate_due().await.unwrap();
    }
    let view = world.until_attempts(&caller, id, 4).await;
    assert_eq!((view.status, view.challenges[0].status), (AuthorizationStatus::Invalid, ChallengeStatus::Invalid));
    let read = world.acme.order(&caller, order.record.id).await.unwrap();
    assert_eq!(read.status, OrderStatus::Invalid);
    let problem = read.record.error.unwrap();
    assert_eq!(
        (problem.error_type.as_str(), problem.subproblems[0].identifier.as_str()),
        ("connection", "app.internal")
    );
    assert_eq!(problem.detail, "10.0.0.1:80 refused the connection");
    assert_eq!(world.audited("acme.validation").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_another_look_cannot_mend_is_final_at_once() {
    let world = World::new().await;
    let caller = world.account().await;
    let failure =
        ValidationFailure::new(AcmeErrorType::Unauthorized, "169.254.169.254 may not be contacted").into_final();
    world.validator.answer([Answer::Failure(failure)]);
    let order = world.order(&caller, &["app.internal"]).await;
    world.respond(&caller, &order).await;
    let read = world.until_order(&caller, order.record.id, OrderStatus::Invalid).await;
    assert_eq!(read.authorizations[0].attempts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_look_can_succeed() {
    let world = World::new().await;
    let caller = world.account().await;
    world.validator.answer([refused(), Answer::Proof]);
    let order = world.order(&caller, &["app.internal"]).await;
    world.respond(&caller, &order).await;
    world.until_attempts(&caller, order.authorizations[0].id, 1).await;
    world.clock.advance(SECOND);
    world.acme.validate_due().await.unwrap();
    let read = world.until_order(&caller, order.record.id, OrderStatus::Ready).await;
    let view = world.authorization(&caller, read.authorizations[0].id).await;
    assert_eq!((view.challenges[0].status, &view.challenges[0].error), (ChallengeStatus::Valid, &None));
    assert_eq!(world.audited("acme.validation").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_our_own_are_no_attempts_of_the_client() {
    let world = World::with(|settings| settings.validation.attempts = 1).await;
    let caller = world.account().await;
    let own = || Answer::Failure(ValidationFailure::new(AcmeErrorType::ServerInternal, "no resolver answers"));
    world.validator.answer([own(), Answer::Panic, own(), Answer::Panic, own(), Answer::Proof]);
    let order = world.order(&caller, &["app.internal"]).await;
    world.respond(&caller, &order).await;
    for look in 1..=5 {
        let view = world
            .until(async || {
                let view = world.authorization(&caller, order.authorizations[0].id).await;
                let waits =
                    view.record.next_attempt_at_ms > Some(crate::environment::Clock::unix_milliseconds(&*world.clock));
                (world.validator.times_asked() == look && waits).then_some(view)
            })
            .await;
        assert_eq!((view.status, view.record.attempts), (AuthorizationStatus::Pending, 0));
        assert_eq!(view.challenges[0].error.as_ref().unwrap().error_type, "serverInternal");
        world.clock.advance(10 * SECOND);
        world.acme.validate_due().await.unwrap();
    }
    world.until_order(&caller, order.record.id, OrderStatus::Ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_never_ends_is_cut_off() {
    let world = World::with(|settings| settings.validation.attempt_timeout = Duration::from_millis(10)).await;
    let caller = world.account().await;
    world.validator.answer([Answer::Hang]);
    let order = world.order(&caller, &["app.internal"]).await;
    world.respond(&caller, &order).await;
    let id = order.authorizations[0].id;
    let view = world
        .until(async || {
            let view = world.authorization(&caller, id).await;
            view.challenges[0].error.is_some().then_some(view)
        })
        .await;
    assert_eq!((view.status, view.record.attempts), (AuthorizationStatus::Pending, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_are_looked_at_at_one_time_and_none_is_lost() {
    let world = World::with(|settings| settings.validation.concurrency = 3).await;
    let caller = world.account().await;
    let names: Vec<String> = (0..20).map(|number| format!("a{number}.internal")).collect();
    let order = world.order(&caller, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    world.validator.close();
    world.respond(&caller, &order).await;
    world.until(async || (world.validator.times_asked() == 3).then_some(())).await;
    world.acme.validate_due().await.unwrap();
    assert_eq!(world.validator.times_asked(), 3);
    world.validator.open();
    world.until_order(&caller, order.record.id, OrderStatus::Ready).await;
    assert_eq!(world.validator.most_running.load(Ordering::SeqCst), 3);
    assert_eq!(world.validator.times_asked(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_for_too_long_is_left_to_whoever_has_room() {
    let world = World::with(|settings| settings.validation.concurrency = 1).await;
    let caller = world.account().await;
    let order = world.order(&caller, &["a.internal", "b.internal"]).await;
    world.validator.close();
    world.respond(&caller, &order).await;
    world.until(async || (world.validator.times_asked() == 1).then_some(())).await;
    // The lease of the one that waits ends before its turn comes.
    world.clock.advance(120 * SECOND);
    world.validator.open();
    // The first was looked at for longer than its lease, and is still its holder's as nobody else took it up.
    world
        .until(async || {
            world.acme.validate_due().await.unwrap();
            let order = world.acme.order(&caller, order.record.id).await.unwrap();
            (order.status == OrderStatus::Ready).then_some(())
        })
        .await;
    assert_eq!(world.validator.most_running.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_looks_while_its_lease_lasts_and_then_another() {
    let world = World::new().await;
    let caller = world.account().await;
    let other = world.replica().await;
    let order = world.order(&caller, &["app.internal"]).await;
    world.validator.close();
    world.respond(&caller, &order).await;
    world.until(async || (world.validator.times_asked() == 1).then_some(())).await;
    for _round in 0..3 {
        other.validate_due().await.unwrap();
        world.acme.validate_due().await.unwrap();
    }
    assert_eq!(world.validator.times_asked(), 1);
    // As if the first had been killed: its lease ends, and the other looks; what the first brings later is not wanted.
    world.clock.advance(60 * SECOND);
    world.validator.answer([Answer::ProofUntil(crate::environment::Clock::now(&*world.clock).unix() + 3600)]);
    other.validate_due().await.unwrap();
    world.until(async || (world.validator.times_asked() == 2).then_some(())).await;
    world.validator.open();
    let read = world.until_order(&caller, order.record.id, OrderStatus::Ready).await;
    assert_eq!(read.authorizations[0].attempts, 1);
    assert_eq!(read.authorizations[0].expires_at, world.now() + 3600 * SECOND);
    assert_eq!(world.validator.times_asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stops_leaves_its_looks_to_others_at_once() {
    let world = World::with(|settings| settings.validation.concurrency = 2).await;
    let caller = world.account().await;
    let other = world.replica().await;
    let order = world.order(&caller, &["a.internal", "b.internal", "c.internal"]).await;
    world.validator.close();
    world.respond(&caller, &order).await;
    world.until(async || (world.validator.times_asked() == 2).then_some(())).await;
    world.acme.stop().await.unwrap();
    // Nothing begins any more.
    world.acme.validate_due().await.unwrap();
    assert_eq!(world.validator.times_asked(), 2);
    world.validator.open();
    world
        .until(async || {
            other.validate_due().await.unwrap();
            let order = world.acme.order(&caller, order.record.id).await.unwrap();
            (order.status == OrderStatus::Ready).then_some(())
        })
        .await;
    assert_eq!(world.validator.times_asked(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_to_a_process_that_stops_is_not_lost() {
    let world = World::new().await;
    let caller = world.account().await;
    let other = world.replica().await;
    world.acme.stop().await.unwrap();
    let order = world.order(&caller, &["app.internal"]).await;
    world.respond(&caller, &order).await;
    assert_eq!(world.validator.times_asked(), 0);
    other.validate_due().await.unwrap();
    world.until_order(&caller, order.record.id, OrderStatus::Ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_for_a_deactivated_authorization_is_dropped() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.order(&caller, &["app.internal"]).await;
    let id = order.authorizations[0].id;
    world.validator.close();
    world.respond(&caller, &order).await;
    world.until(async || (world.validator.times_asked() == 1).then_some(())).await;
    let view = world.acme.deactivate_authorization(&caller, id).await.unwrap();
    assert_eq!(view.challenges[0].status, ChallengeStatus::Invalid);
    world.validator.open();
    world.until(async || (Arc::strong_count(&world.acme) == 1).then_some(())).await;
    assert_eq!(world.authorization(&caller, id).await.status, AuthorizationStatus::Deactivated);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorization_past_its_end_is_not_looked_at() {
    let world = World::new().await;
    let caller = world.account().await;
    world.validator.answer([refused()]);
    let order = world.order(&caller, &["app.internal"]).await;
    world.respond(&caller, &order).await;
    world.until_attempts(&caller, order.authorizations[0].id, 1).await;
    world.clock.advance(world.settings.order_lifetime);
    world.acme.validate_due().await.unwrap();
    world.until(async || (Arc::strong_count(&world.acme) == 1).then_some(())).await;
    assert_eq!(world.validator.times_asked(), 1);
    let view = world.authorization(&caller, order.authorizations[0].id).await;
    assert_eq!((view.status, view.challenges[0].status), (AuthorizationStatus::Invalid, ChallengeStatus::Invalid));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorization_that_ends_while_its_challenge_is_looked_at_is_written_down_as_invalid() {
    let world = World::new().await;
    let caller = world.account().await;
    world.validator.answer([refused()]);
    let order = world.order(&caller, &["app.internal"]).await;
    let id = order.authorizations[0].id;
    world.acme.respond(&caller, id, ChallengeType::Http01).await.unwrap();
    world.until_attempts(&caller, id, 1).await;
    world.clock.advance(Duration::from_secs(60 * 86_400));
    world.acme.validate_due().await.unwrap();
    let stored = world
        .until(async || {
            let stored = world.storage().acme_authorization(id, None).await.unwrap().unwrap();
            (stored.status == AcmeAuthorizationStatus::Invalid).then_some(stored)
        })
        .await;
    assert!(stored.error.unwrap().detail.contains("before control was proven"));
    assert_eq!(world.validator.times_asked(), 1, "nobody is asked any more");
    let now = world.clock.unix_milliseconds();
    assert!(world.storage().due_validations("other", now + 999_999, now + 999_999, 10).await.unwrap().is_empty());
}
