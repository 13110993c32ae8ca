//! Rate limits: the arithmetic, all or none, and callers at once.

use chancery::storage::{AcmeOrderCreated, RateLimitCharge, RateLimited, Storage};

use super::super::fixture::{Fixture, NOW};
use super::super::on_both_databases;
use super::{at_once, order, with_account};

on_both_databases!(
    so_many_pass_at_once_and_then_one_in_each_part_of_the_period,
    a_limit_that_rests_is_full_again_and_no_fuller,
    all_limits_are_charged_or_none,
    of_32_callers_so_many_pass_as_the_limit_admits,
    an_order_that_is_limited_is_not_written,
    a_look_at_limits_charges_none,
    callers_with_the_same_limits_in_different_orders_do_not_wait_for_one_another,
);

/// Ten in ten seconds.
pub(super) fn charge(key: &str, milliseconds: i64) -> RateLimitCharge {
    RateLimitCharge {
        limit: "tests",
        key: key.to_owned(),
        cost_ms: 1000,
        period_ms: 10_000,
        now_ms: NOW * 1000 + milliseconds,
    }
}

async fn passes(storage: &dyn Storage, key: &str, milliseconds: i64) -> bool {
    storage.charge_rate_limits(vec![charge(key, milliseconds)]).await.unwrap().is_none()
}

async fn so_many_pass_at_once_and_then_one_in_each_part_of_the_period(fixture: Fixture) {
    let storage = fixture.open().await;
    for number in 0..10 {
        assert!(passes(&*storage, "a", 0).await, "number {number}");
    }
    let limited = storage.charge_rate_limits(vec![charge("a", 0)]).await.unwrap().unwrap();
    assert_eq!(limited, RateLimited { limit: "tests", retry_at_ms: NOW * 1000 + 1000 });
    assert!(passes(&*storage, "b", 0).await, "another key has its own limit");
    assert!(!passes(&*storage, "a", 999).await);
    assert!(passes(&*storage, "a", 1000).await);
    assert!(!passes(&*storage, "a", 1000).await);
    assert!(!passes(&*storage, "a", 1999).await);
    assert!(passes(&*storage, "a", 3000).await);
    assert!(passes(&*storage, "a", 3000).await);
    assert!(!passes(&*storage, "a", 3000).await);
}

async fn a_limit_that_rests_is_full_again_and_no_fuller(fixture: Fixture) {
    let storage = fixture.open().await;
    for _ in 0..10 {
        assert!(passes(&*storage, "a", 0).await);
    }
    for number in 0..10 {
        assert!(passes(&*storage, "a", 1_000_000).await, "number {number}");
    }
    assert!(!passes(&*storage, "a", 1_000_000).await);
    // A clock that goes back gains nothing.
    assert!(!passes(&*storage, "a", 0).await);
}

async fn all_limits_are_charged_or_none(fixture: Fixture) {
    let storage = fixture.open().await;
    for _ in 0..10 {
        assert!(passes(&*storage, "m", 0).await);
    }
    for _ in 0..20 {
        let limited = storage.charge_rate_limits(vec![charge("z", 0), charge("m", 0), charge("a", 0)]).await.unwrap();
        assert!(limited.is_some());
    }
    for key in ["a", "z"] {
        for number in 0..10 {
            assert!(passes(&*storage, key, 0).await, "{key} {number}");
        }
        assert!(!passes(&*storage, key, 0).await);
    }
}

async fn of_32_callers_so_many_pass_as_the_limit_admits(fixture: Fixture) {
    let storage = fixture.open().await;
    let answers = at_once(&storage, |storage, _| async move { passes(&*storage, "a", 0).await }).await;
    assert_eq!(answers.iter().filter(|passed| **passed).count(), 10);
}

async fn an_order_that_is_limited_is_not_written(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    let answers = at_once(&storage, |storage, number| async move {
        let order = order(100 + number, 1, &["a.internal"]);
        storage.create_acme_order(order, vec![charge("other", 0), charge("orders:1", 0)]).await.unwrap()
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| **answer == AcmeOrderCreated::Created).count(), 10);
    assert!(answers.iter().all(|answer| match answer {
        AcmeOrderCreated::Created => true,
        AcmeOrderCreated::RateLimited(limited) => limited.retry_at_ms == NOW * 1000 + 1000,
        AcmeOrderCreated::AlreadyReplaced(_) | AcmeOrderCreated::TooManyPending | AcmeOrderCreated::AccountEnded => {
            false
        }
    }));
    assert_eq!(storage.acme_account_orders(1, None, 100).await.unwrap().len(), 10);
}

async fn a_look_at_limits_charges_none(fixture: Fixture) {
    let storage = fixture.open().await;
    assert_eq!(storage.check_rate_limits(Vec::new()).await.unwrap(), None);
    for _ in 0..12 {
        assert_eq!(storage.check_rate_limits(vec![charge("a", 0), charge("b", 0)]).await.unwrap(), None);
    }
    for _ in 0..10 {
        assert!(passes(&*storage, "b", 0).await);
    }
    let limited = storage.check_rate_limits(vec![charge("a", 0), charge("b", 0)]).await.unwrap().unwrap();
    assert_eq!(limited.retry_at_ms, NOW * 1000 + 1000);
    assert_eq!(storage.check_rate_limits(vec![charge("b", 1000)]).await.unwrap(), None);
}

async fn callers_with_the_same_limits_in_different_orders_do_not_wait_for_one_another(fixture: Fixture) {
    let storage = fixture.open().await;
    for _round in 0..5 {
        let answers = at_once(&storage, |storage, number| async move {
            let mut charges: Vec<_> = ["a", "b", "c", "d"].into_iter().map(|key| charge(key, 0)).collect();
            charges.rotate_left(usize::try_from(number % 4).unwrap());
            storage.charge_rate_limits(charges).await
        })
        .await;
        assert!(answers.into_iter().all(|answer| answer.is_ok()));
    }
}
