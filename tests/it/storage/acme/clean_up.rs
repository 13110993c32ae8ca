//! Clean-up: what has served its time goes, what somebody may still ask for stays.

use chancery::storage::{
    AcmeAuthorizationStatus, AcmeOrderStatus, OrderAuthorization, OrderCompletion, Recorded, Storage,
};

use super::super::fixture::{Fixture, at, certificate, issuance};
use super::super::on_both_databases;
use super::rate_limits::charge;
use super::{authorization, order, place, problem, ready_order, with_account};

on_both_databases!(
    an_order_that_was_not_finalized_in_time_is_invalid,
    failed_orders_go_with_what_only_they_showed,
    an_order_stays_with_its_authorizations_until_its_certificate_ended,
    a_limit_that_holds_nobody_back_goes,
    more_than_a_batch_is_seen_to,
);

async fn exists(storage: &dyn Storage, id: i64) -> (bool, bool) {
    let order = storage.acme_order(id, None).await.unwrap().is_some();
    (order, storage.acme_authorization(id * 10, None).await.unwrap().is_some())
}

async fn an_order_that_was_not_finalized_in_time_is_invalid(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    place(&*storage, order(11, 1, &["a.internal"])).await;
    place(&*storage, ready_order(12, 1, &["a.internal"])).await;
    assert!(storage.begin_acme_finalization(12, 1, &[1], "me", at(1), at(60)).await.unwrap());
    assert_eq!(storage.clean_up_acme(at(999), at(0)).await.unwrap(), 0);
    assert_eq!(storage.clean_up_acme(at(1000), at(0)).await.unwrap(), 1);
    assert_eq!(storage.clean_up_acme(at(1000), at(0)).await.unwrap(), 0);
    let (expired, _) = storage.acme_order(11, None).await.unwrap().unwrap();
    assert_eq!(expired.status, AcmeOrderStatus::Invalid);
    assert!(expired.error.unwrap().detail.contains("expired"));
    assert_eq!(storage.acme_order(12, None).await.unwrap().unwrap().0.status, AcmeOrderStatus::Processing);
}

async fn failed_orders_go_with_what_only_they_showed(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    place(&*storage, order(11, 1, &["a.internal"])).await;
    storage.fail_acme_order(11, &problem("x")).await.unwrap();
    let mut alone = authorization(5, 1, "a.internal");
    alone.status = AcmeAuthorizationStatus::Valid;
    storage.create_acme_authorization(alone, Vec::new()).await.unwrap();
    storage.clean_up_acme(at(1000), at(1000)).await.unwrap();
    assert_eq!(exists(&*storage, 11).await, (true, true));
    assert!(storage.acme_authorization(5, None).await.unwrap().is_some());
    storage.clean_up_acme(at(1001), at(1001)).await.unwrap();
    assert_eq!(exists(&*storage, 11).await, (false, false));
    assert_eq!(storage.acme_authorization(5, None).await.unwrap(), None);
    // The links went too.
    place(&*storage, order(11, 1, &["a.internal"])).await;
}

async fn an_order_stays_with_its_authorizations_until_its_certificate_ended(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    place(&*storage, ready_order(11, 1, &["a.internal", "b.internal"])).await;
    let mut second = ready_order(12, 1, &["a.internal"]);
    second.authorizations = vec![OrderAuthorization::Existing(110)];
    place(&*storage, second).await;
    for (id, end) in [(11, 5000), (12, 7000)] {
        let mut issuance = issuance(certificate(&["a.internal"]));
        issuance.certificate.not_after = at(end);
        issuance.order =
            Some(OrderCompletion { order_id: id, account_id: 1, from: AcmeOrderStatus::Pending, holder: None });
        assert_eq!(storage.record_issuance(issuance).await.unwrap(), Recorded::Committed);
    }
    let shown = async || -> Vec<Vec<i64>> {
        let mut all = Vec::new();
        for id in [11, 12] {
            let order = storage.acme_order(id, None).await.unwrap();
            all.push(order.map(|(_, all)| all.iter().map(|one| one.id).collect()).unwrap_or_default());
        }
        all
    };
    // Their authorizations ended long ago, and are shown.
    for before in [2000, 3000, 5000] {
        storage.clean_up_acme(at(before), at(before)).await.unwrap();
        assert_eq!(shown().await, [vec![110, 111], vec![110]]);
    }
    storage.clean_up_acme(at(5001), at(5001)).await.unwrap();
    assert_eq!(shown().await, [vec![], vec![110]]);
    assert_eq!(storage.acme_authorization(111, None).await.unwrap(), None);
    storage.clean_up_acme(at(7001), at(7001)).await.unwrap();
    assert_eq!(shown().await, [Vec::<i64>::new(), vec![]]);
    assert_eq!(storage.acme_authorization(110, None).await.unwrap(), None);
    assert_eq!(storage.clean_up_acme(at(9000), at(9000)).await.unwrap(), 0);
}

async fn a_limit_that_holds_nobody_back_goes(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    storage.charge_rate_limits(vec![charge("a", 0), charge("b", 5000)]).await.unwrap();
    assert_eq!(storage.clean_up_acme(at(0), at(0)).await.unwrap(), 0);
    assert_eq!(storage.clean_up_acme(at(1), at(0)).await.unwrap(), 1);
    assert_eq!(storage.clean_up_acme(at(6), at(0)).await.unwrap(), 1);
}

async fn more_than_a_batch_is_seen_to(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    let series = if fixture.is_sqlite() {
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)"
    } else {
        "WITH n AS (SELECT i FROM generate_series(1, 2500) AS i)"
    };
    fixture
        .execute(&format!(
            "INSERT INTO acme_orders (id, account_id, profile, status, identifiers, created_at, expires_at, ends_at) \
             {series} SELECT i, 1, 'server', 0, '[]', 0, 1000, 1000 FROM n;
             INSERT INTO acme_authorizations (id, account_id, identifier_type, identifier, wildcard, status, token, \
             created_at, expires_at) {series} SELECT i, 1, 0, 'a', FALSE, 0, '', 0, 1000 FROM n;
             INSERT INTO acme_order_authorizations (order_id, position, authorization_id) {series} SELECT i, 0, i FROM n;"
        ))
        .await;
    assert_eq!(storage.clean_up_acme(at(0), chancery::x509::Timestamp::from_unix(0)).await.unwrap(), 2500);
    assert!(storage.clean_up_acme(at(0), at(0)).await.unwrap() >= 2500);
    assert!(!exists(&*storage, 2500).await.0);
    assert_eq!(storage.acme_authorization(1, None).await.unwrap(), None);
    assert_eq!(storage.acme_authorization(2500, None).await.unwrap(), None);
    assert_eq!(storage.clean_up_acme(at(0), at(0)).await.unwrap(), 0);
}
