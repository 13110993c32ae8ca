//! Orders: made with their authorizations, found, listed, replaced once, failed with what they depend on.

use chancery::ErrorKind;
use chancery::storage::{
    AcmeAuthorizationStatus, AcmeOrderCreated, AcmeOrderFilter, AcmeOrderStatus, OrderAuthorization,
};

use super::super::fixture::{Fixture, at};
use super::super::on_both_databases;
use super::rate_limits::charge;
use super::{at_once, authorization, dns, order, place, problem, ready_order, register, with_account};

on_both_databases!(
    an_order_is_found_as_it_was_with_its_authorizations_in_order,
    an_order_is_found_by_its_account_only,
    an_order_shares_authorizations_that_are_there,
    an_authorization_that_ended_is_shared_by_no_new_order,
    the_latest_valid_authorization_is_found_for_each_identifier,
    of_32_orders_that_replace_a_certificate_one_is_made,
    a_certificate_is_replaceable_again_when_its_order_failed_or_expired,
    an_account_s_orders_are_listed_but_for_invalid_ones,
    orders_are_listed_newest_first_and_by_what_is_asked_for,
    an_order_fails_once_with_its_reason,
    a_deactivated_authorization_fails_pending_orders_that_depend_on_it,
    authorizations_are_made_ahead_of_orders,
    an_order_of_a_hundred_names_is_kept,
);

async fn an_order_is_found_as_it_was_with_its_authorizations_in_order(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    let mut new = order(11, 1, &["b.internal", "*.a.internal", "a.internal"]);
    new.identifiers.push(chancery::policy::acme::Identifier::Ip("fd00::1".parse().unwrap()));
    let mut of_address = authorization(114, 1, "x");
    of_address.identifier = new.identifiers[3].clone();
    of_address.status = AcmeAuthorizationStatus::Valid;
    new.authorizations.push(OrderAuthorization::New(of_address));
    new.not_before = Some(at(10));
    new.not_after = Some(at(20));
    place(&*storage, new.clone()).await;
    let (found, authorizations) = storage.acme_order(11, Some(1)).await.unwrap().unwrap();
    assert_eq!((found.id, found.account_id, found.profile.as_str()), (11, 1, "server"));
    assert_eq!((found.status, &found.identifiers), (AcmeOrderStatus::Pending, &new.identifiers));
    assert_eq!((found.not_before, found.not_after, &found.replaces), (new.not_before, new.not_after, &None));
    assert_eq!((found.created_at, found.expires_at), (at(0), at(1000)));
    assert_eq!((&found.error, &found.csr, &found.certificate, found.finalized_at), (&None, &None, &None, None));
    let identifiers: Vec<_> = authorizations.iter().map(|one| one.identifier.clone()).collect();
    assert_eq!(identifiers, new.identifiers);
    let first = &authorizations[0];
    assert_eq!((first.id, first.account_id, first.status), (110, 1, AcmeAuthorizationStatus::Pending));
    assert_eq!((&first.token, first.created_at, first.expires_at), (&format!("{:043}", 110), at(0), at(1000)));
    assert_eq!((first.challenge, first.attempts, first.next_attempt_at_ms), (None, 0, None));
    assert_eq!((first.validated_at, &first.error), (None, &None));
    assert_eq!(authorizations[3].validated_at, Some(at(0)), "one that is valid from birth");
    assert_eq!(storage.acme_authorization(110, Some(1)).await.unwrap().as_ref(), Some(first));
}

async fn an_order_is_found_by_its_account_only(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    place(&*storage, order(11, 1, &["a.internal"])).await;
    assert!(storage.acme_order(11, None).await.unwrap().is_some());
    assert_eq!(storage.acme_order(11, Some(2)).await.unwrap(), None);
    assert_eq!(storage.acme_order(12, None).await.unwrap(), None);
    assert_eq!(storage.acme_authorization(110, Some(2)).await.unwrap(), None);
    assert!(storage.acme_authorization(110, None).await.unwrap().is_some());
}

async fn an_order_shares_authorizations_that_are_there(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    place(&*storage, ready_order(11, 1, &["a.internal"])).await;
    let mut second = order(12, 1, &["a.internal", "b.internal"]);
    second.authorizations[0] = OrderAuthorization::Existing(110);
    place(&*storage, second).await;
    let (_, authorizations) = storage.acme_order(12, None).await.unwrap().unwrap();
    assert_eq!(authorizations.iter().map(|one| one.id).collect::<Vec<_>>(), [110, 121]);
}

async fn an_authorization_that_ended_is_shared_by_no_new_order(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    register(&*storage, 2).await;
    place(&*storage, ready_order(11, 1, &["a.internal"])).await;
    place(&*storage, ready_order(21, 2, &["a.internal"])).await;
    storage.deactivate_acme_authorization(110, 1, &problem("x")).await.unwrap();
    for existing in [110, 210, 999] {
        let mut second = order(12, 1, &["a.internal"]);
        second.authorizations = vec![OrderAuthorization::Existing(existing)];
        let error = storage.create_acme_order(second, vec![charge("orders", 0)]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{existing}");
    }
    assert_eq!(storage.acme_order(12, None).await.unwrap(), None);
}

async fn the_latest_valid_authorization_is_found_for_each_identifier(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    register(&*storage, 2).await;
    let make = async |id, account, name: &str, status, end| {
        let mut new = authorization(id, account, name);
        new.status = status;
        new.expires_at = at(end);
        assert_eq!(storage.create_acme_authorization(new, Vec::new()).await.unwrap(), AcmeOrderCreated::Created);
    };
    let (valid, pending) = (AcmeAuthorizationStatus::Valid, AcmeAuthorizationStatus::Pending);
    make(1, 1, "a.internal", valid, 500).await;
    make(2, 1, "a.internal", valid, 700).await;
    make(3, 1, "a.internal", valid, 600).await;
    make(4, 1, "a.internal", pending, 900).await;
    make(5, 1, "*.a.internal", valid, 400).await;
    make(6, 1, "b.internal", valid, 100).await;
    make(7, 2, "c.internal", valid, 900).await;
    let all = [dns("a.internal"), dns("*.a.internal"), dns("b.internal"), dns("c.internal"), dns("d.internal")];
    let find = async |until| {
        let mut found: Vec<i64> =
            storage.valid_acme_authorizations(1, &all, at(until)).await.unwrap().iter().map(|one| one.id).collect();
        found.sort_unstable();
        found
    };
    assert_eq!(find(0).await, [2, 5, 6]);
    assert_eq!(find(100).await, [2, 5], "one that ends then does not last beyond");
    assert_eq!(find(699).await, [2]);
    assert!(find(700).await.is_empty());
    assert_eq!(storage.valid_acme_authorizations(1, &all[1..2], at(0)).await.unwrap()[0].id, 5);
    assert!(storage.valid_acme_authorizations(1, &[], at(0)).await.unwrap().is_empty());
}

async fn of_32_orders_that_replace_a_certificate_one_is_made(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    let answers = at_once(&storage, |storage, number| async move {
        let mut order = order(100 + number, 1, &["a.internal"]);
        order.replaces = Some("aki.serial".to_owned());
        storage.create_acme_order(order, Vec::new()).await.unwrap()
    })
    .await;
    let winner = storage.acme_replacement("aki.serial").await.unwrap().unwrap();
    for (number, answer) in (100..).zip(answers) {
        let expected =
            if number == winner { AcmeOrderCreated::Created } else { AcmeOrderCreated::AlreadyReplaced(winner) };
        assert_eq!(answer, expected);
    }
    assert_eq!(storage.acme_order(winner, None).await.unwrap().unwrap().0.replaces.as_deref(), Some("aki.serial"));
    assert_eq!(storage.acme_account_orders(1, None, 100).await.unwrap(), [winner]);
    assert_eq!(storage.acme_replacement("aki.other").await.unwrap(), None);
}

async fn a_certificate_is_replaceable_again_when_its_order_failed_or_expired(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    let replacing = |id, created| {
        let mut order = order(id, 1, &["a.internal"]);
        order.replaces = Some("aki.serial".to_owned());
        order.created_at = at(created);
        order.expires_at = at(created + 1000);
        order
    };
    place(&*storage, replacing(11, 0)).await;
    assert!(storage.fail_acme_order(11, &problem("x")).await.unwrap());
    place(&*storage, replacing(12, 0)).await;
    let taken = storage.create_acme_order(replacing(13, 999), Vec::new()).await.unwrap();
    assert_eq!(taken, AcmeOrderCreated::AlreadyReplaced(12));
    place(&*storage, replacing(14, 1000)).await;
    let (expired, _) = storage.acme_order(12, None).await.unwrap().unwrap();
    assert_eq!(expired.status, AcmeOrderStatus::Invalid);
    assert!(expired.error.unwrap().detail.contains("expired"));
    assert_eq!(storage.acme_replacement("aki.serial").await.unwrap(), Some(14));
}

async fn an_account_s_orders_are_listed_but_for_invalid_ones(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    register(&*storage, 2).await;
    for id in 11..=15 {
        place(&*storage, order(id, 1, &["a.internal"])).await;
    }
    place(&*storage, order(21, 2, &["a.internal"])).await;
    storage.fail_acme_order(13, &problem("x")).await.unwrap();
    assert_eq!(storage.acme_account_orders(1, None, 100).await.unwrap(), [11, 12, 14, 15]);
    assert_eq!(storage.acme_account_orders(1, Some(12), 1).await.unwrap(), [14]);
    assert!(storage.acme_account_orders(1, Some(15), 10).await.unwrap().is_empty());
}

async fn orders_are_listed_newest_first_and_by_what_is_asked_for(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    register(&*storage, 2).await;
    for (id, account, names) in [
        (11, 1, ["a.internal", "b.internal"]),
        (12, 1, ["c.internal", "*.b.internal"]),
        (13, 2, ["a.internal", "d.internal"]),
    ] {
        let mut new = order(id, account, &names);
        new.created_at = at(id);
        if id == 12 {
            new.profile = "short".to_owned();
        }
        place(&*storage, new).await;
    }
    storage.fail_acme_order(13, &problem("x")).await.unwrap();
    let list = async |filter: AcmeOrderFilter, before, limit| -> Vec<i64> {
        let orders = storage.acme_orders(&filter, before, limit).await.unwrap().items;
        for (order, authorizations) in &orders {
            let identifiers: Vec<_> = authorizations.iter().map(|one| one.identifier.clone()).collect();
            assert_eq!(identifiers, order.identifiers);
        }
        orders.into_iter().map(|(order, _)| order.id).collect()
    };
    let all = AcmeOrderFilter::default;
    assert_eq!(list(all(), None, 10).await, [13, 12, 11]);
    assert_eq!(list(all(), Some(13), 1).await, [12]);
    assert_eq!(list(AcmeOrderFilter { account_id: Some(1), ..all() }, None, 10).await, [12, 11]);
    assert_eq!(list(AcmeOrderFilter { status: Some(AcmeOrderStatus::Invalid), ..all() }, None, 10).await, [13]);
    assert_eq!(list(AcmeOrderFilter { profile: Some("short".to_owned()), ..all() }, None, 10).await, [12]);
    let named = |name: &str| AcmeOrderFilter { identifier: Some(name.to_owned()), ..all() };
    assert_eq!(list(named("a.internal"), None, 10).await, [13, 11]);
    assert_eq!(list(named("b.internal"), None, 10).await, [11]);
    assert_eq!(list(named("*.b.internal"), None, 10).await, [12]);
    assert!(list(named("e.internal"), None, 10).await.is_empty());
    let between = AcmeOrderFilter { created_after: Some(at(12)), created_before: Some(at(13)), ..all() };
    assert_eq!(list(between.clone(), None, 10).await, [12]);
    assert!(list(AcmeOrderFilter { identifier: Some("a.internal".to_owned()), ..between }, None, 10).await.is_empty());
}

async fn an_order_fails_once_with_its_reason(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    place(&*storage, order(11, 1, &["a.internal"])).await;
    assert!(storage.fail_acme_order(11, &problem("first")).await.unwrap());
    assert!(!storage.fail_acme_order(11, &problem("second")).await.unwrap());
    assert!(!storage.fail_acme_order(12, &problem("x")).await.unwrap());
    let (order, _) = storage.acme_order(11, None).await.unwrap().unwrap();
    assert_eq!((order.status, order.error), (AcmeOrderStatus::Invalid, Some(problem("first"))));
}

async fn a_deactivated_authorization_fails_pending_orders_that_depend_on_it(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    place(&*storage, ready_order(11, 1, &["a.internal"])).await;
    for id in [12, 13] {
        let mut second = order(id, 1, &["a.internal", "b.internal"]);
        second.authorizations[0] = OrderAuthorization::Existing(110);
        place(&*storage, second).await;
    }
    place(&*storage, order(14, 1, &["c.internal"])).await;
    storage.fail_acme_order(13, &problem("earlier")).await.unwrap();
    assert!(!storage.deactivate_acme_authorization(110, 2, &problem("x")).await.unwrap(), "another's");
    assert!(storage.deactivate_acme_authorization(110, 1, &problem("it ended")).await.unwrap());
    assert!(!storage.deactivate_acme_authorization(110, 1, &problem("x")).await.unwrap(), "only once");
    let state = async |id| {
        let (order, _) = storage.acme_order(id, None).await.unwrap().unwrap();
        (order.status, order.error.map(|error| error.detail))
    };
    for id in [11, 12] {
        assert_eq!(state(id).await, (AcmeOrderStatus::Invalid, Some("it ended".to_owned())));
    }
    assert_eq!(state(13).await, (AcmeOrderStatus::Invalid, Some("earlier".to_owned())));
    assert_eq!(state(14).await, (AcmeOrderStatus::Pending, None));
    let status = storage.acme_authorization(110, None).await.unwrap().unwrap().status;
    assert_eq!(status, AcmeAuthorizationStatus::Deactivated);
}

async fn authorizations_are_made_ahead_of_orders(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    let answer = storage.create_acme_authorization(authorization(5, 1, "a.internal"), vec![charge("a", 0)]).await;
    assert_eq!(answer.unwrap(), AcmeOrderCreated::Created);
    let found = storage.acme_authorization(5, Some(1)).await.unwrap().unwrap();
    assert_eq!((found.identifier, found.status), (dns("a.internal"), AcmeAuthorizationStatus::Pending));
    for _ in 0..9 {
        storage.charge_rate_limits(vec![charge("a", 0)]).await.unwrap();
    }
    let answer = storage.create_acme_authorization(authorization(6, 1, "a.internal"), vec![charge("a", 0)]).await;
    assert!(matches!(answer.unwrap(), AcmeOrderCreated::RateLimited(_)));
    assert_eq!(storage.acme_authorization(6, None).await.unwrap(), None);
}

async fn an_order_of_a_hundred_names_is_kept(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    let names: Vec<String> = (0..100).map(|number| format!("n{number}.internal")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    place(&*storage, order(11, 1, &names)).await;
    let (found, authorizations) = storage.acme_order(11, None).await.unwrap().unwrap();
    assert_eq!(authorizations.iter().map(|one| one.identifier.clone()).collect::<Vec<_>>(), found.identifiers);
    assert_eq!(found.identifiers.len(), 100);
}
