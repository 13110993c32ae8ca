//! Accounts: made once for each key, found, listed, changed, ended with all that is open, given another key.

use chancery::ErrorKind;
use chancery::storage::{
    AcmeAccountChange, AcmeAccountCreated, AcmeAccountFilter, AcmeAccountStatus, AcmeAuthorizationStatus,
    AcmeKeyChanged, AcmeOrderCreated, AcmeOrderStatus, AuditFilter, OrderAuthorization,
};

use super::super::fixture::{Fixture, at, event};
use super::super::on_both_databases;
use super::rate_limits::charge;
use super::{account, at_once, order, place, problem, ready_order, register, thumbprint, with_account};

on_both_databases!(
    an_account_is_found_as_it_was_by_number_and_by_key,
    of_32_accounts_with_one_key_one_is_made_and_the_others_find_it,
    an_account_that_is_limited_is_not_made,
    a_number_that_is_taken_is_a_conflict,
    accounts_are_listed_newest_first_and_by_what_is_asked_for,
    a_change_leaves_what_it_does_not_name,
    an_ended_account_takes_what_is_open_with_it_and_nothing_more,
    an_ended_account_orders_nothing,
    of_orders_made_while_their_account_ends_none_stays_open,
    an_account_ends_while_orders_use_what_it_has_proven,
    another_key_takes_the_place_of_the_account_s,
    of_32_accounts_that_want_one_key_one_gets_it,
    changes_are_audited_and_refusals_are_not,
);

async fn an_account_is_found_as_it_was_by_number_and_by_key(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    let new = account(1);
    let found = storage.acme_account(1).await.unwrap().unwrap();
    assert_eq!((found.id, found.status), (1, AcmeAccountStatus::Valid));
    assert_eq!((found.thumbprint, &found.jwk, &found.contacts), (new.thumbprint, &new.jwk, &new.contacts));
    assert_eq!((&found.terms_of_service, &found.created_from), (&new.terms_of_service, &new.created_from));
    assert_eq!((found.created_at, &found.rate_limits), (at(0), &None));
    assert_eq!((&found.external_account_key, &found.external_account_binding), (&None, &None));
    assert_eq!(storage.acme_account_by_key(&thumbprint(1)).await.unwrap(), Some(found));
    assert_eq!(storage.acme_account(2).await.unwrap(), None);
    assert_eq!(storage.acme_account_by_key(&thumbprint(2)).await.unwrap(), None);
}

async fn of_32_accounts_with_one_key_one_is_made_and_the_others_find_it(fixture: Fixture) {
    let storage = fixture.open().await;
    let answers = at_once(&storage, |storage, number| async move {
        let mut new = account(100 + number);
        new.thumbprint = thumbprint(7);
        storage.create_acme_account(new, vec![charge("accounts", 0)], event("acme.account.create", "x")).await.unwrap()
    })
    .await;
    let made = storage.acme_account_by_key(&thumbprint(7)).await.unwrap().unwrap();
    assert_eq!(answers.iter().filter(|answer| **answer == AcmeAccountCreated::Created).count(), 1);
    let existing = AcmeAccountCreated::Exists(Box::new(made));
    assert_eq!(answers.iter().filter(|answer| **answer == existing).count(), 31);
    // Only the one that was made is charged.
    for _ in 0..9 {
        assert_eq!(storage.charge_rate_limits(vec![charge("accounts", 0)]).await.unwrap(), None);
    }
}

async fn an_account_that_is_limited_is_not_made(fixture: Fixture) {
    let storage = fixture.open().await;
    for _ in 0..10 {
        storage.charge_rate_limits(vec![charge("accounts", 0)]).await.unwrap();
    }
    let answer = storage.create_acme_account(account(1), vec![charge("accounts", 0)], event("x", "y")).await.unwrap();
    assert!(matches!(answer, AcmeAccountCreated::RateLimited(_)));
    assert_eq!(storage.acme_account(1).await.unwrap(), None);
    assert_eq!(storage.audit_events(&AuditFilter::default(), None, 10).await.unwrap().items.len(), 0);
}

async fn a_number_that_is_taken_is_a_conflict(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    let mut same = account(1);
    same.thumbprint = thumbprint(2);
    let error = storage.create_acme_account(same, Vec::new(), event("x", "y")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

async fn accounts_are_listed_newest_first_and_by_what_is_asked_for(fixture: Fixture) {
    let storage = fixture.open().await;
    for id in 1..=5 {
        register(&*storage, id).await;
    }
    let revoked = AcmeAccountStatus::Revoked;
    assert!(storage.end_acme_account(4, revoked, &problem("x"), event("x", "y")).await.unwrap());
    let list = async |filter: AcmeAccountFilter, before, limit| -> Vec<i64> {
        let accounts = storage.acme_accounts(&filter, before, limit).await.unwrap().items;
        accounts.into_iter().map(|account| account.id).collect()
    };
    assert_eq!(list(AcmeAccountFilter::default(), None, 10).await, [5, 4, 3, 2, 1]);
    assert_eq!(list(AcmeAccountFilter::default(), Some(4), 2).await, [3, 2]);
    let filter = |status| AcmeAccountFilter { status: Some(status), ..AcmeAccountFilter::default() };
    assert_eq!(list(filter(revoked), None, 10).await, [4]);
    assert_eq!(list(filter(AcmeAccountStatus::Valid), None, 10).await, [5, 3, 2, 1]);
    let filter = AcmeAccountFilter { thumbprint: Some(thumbprint(3)), ..AcmeAccountFilter::default() };
    assert_eq!(list(filter, None, 10).await, [3]);
    let filter = AcmeAccountFilter { principal: Some("token:none".to_owned()), ..AcmeAccountFilter::default() };
    assert!(list(filter, None, 10).await.is_empty());
}

async fn a_change_leaves_what_it_does_not_name(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    let before = storage.acme_account(1).await.unwrap().unwrap();
    let change = async |change| storage.change_acme_account(1, change, event("x", "y")).await.unwrap().unwrap();
    assert_eq!(change(AcmeAccountChange::default()).await, before);
    let changed = change(AcmeAccountChange { contacts: Some(Vec::new()), ..AcmeAccountChange::default() }).await;
    assert!(changed.contacts.is_empty());
    assert_eq!(changed.terms_of_service, before.terms_of_service);
    let limits = Some(Some("{\"orders\":1}".to_owned()));
    let changed = change(AcmeAccountChange { rate_limits: limits.clone(), ..AcmeAccountChange::default() }).await;
    assert_eq!((Some(&changed.rate_limits), changed.contacts.len()), (limits.as_ref(), 0));
    let terms = Some("https://example.com/newer".to_owned());
    let changed = change(AcmeAccountChange { terms_of_service: terms.clone(), ..AcmeAccountChange::default() }).await;
    assert_eq!((&changed.terms_of_service, Some(&changed.rate_limits)), (&terms, limits.as_ref()));
    let changed = change(AcmeAccountChange { rate_limits: Some(None), ..AcmeAccountChange::default() }).await;
    assert_eq!(changed.rate_limits, None);
    assert_eq!(storage.acme_account(1).await.unwrap(), Some(changed));
    assert_eq!(storage.change_acme_account(2, AcmeAccountChange::default(), event("x", "y")).await.unwrap(), None);
}

async fn an_ended_account_takes_what_is_open_with_it_and_nothing_more(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    register(&*storage, 2).await;
    place(&*storage, order(11, 1, &["a.internal", "b.internal"])).await;
    place(&*storage, ready_order(12, 1, &["a.internal"])).await;
    place(&*storage, ready_order(13, 1, &["a.internal"])).await;
    place(&*storage, order(21, 2, &["a.internal"])).await;
    assert!(storage.begin_acme_finalization(13, 1, &[1], "me", at(1), at(100)).await.unwrap());
    let error = problem("the account was deactivated");
    let end = || storage.end_acme_account(1, AcmeAccountStatus::Deactivated, &error, event("x", "y"));
    assert!(end().await.unwrap());
    assert!(!end().await.unwrap(), "only once");
    for id in [11, 12, 13] {
        let (order, _) = storage.acme_order(id, None).await.unwrap().unwrap();
        assert_eq!((order.status, order.error.as_ref()), (AcmeOrderStatus::Invalid, Some(&error)));
        assert_eq!(order.csr, None);
    }
    let status = async |id| storage.acme_authorization(id, None).await.unwrap().unwrap().status;
    assert_eq!(status(110).await, AcmeAuthorizationStatus::Deactivated);
    assert_eq!(status(111).await, AcmeAuthorizationStatus::Deactivated);
    assert_eq!(status(120).await, AcmeAuthorizationStatus::Valid);
    assert_eq!(status(210).await, AcmeAuthorizationStatus::Pending);
    assert_eq!(storage.acme_order(21, None).await.unwrap().unwrap().0.status, AcmeOrderStatus::Pending);
    assert_eq!(storage.acme_account(1).await.unwrap().unwrap().status, AcmeAccountStatus::Deactivated);
}

async fn an_ended_account_orders_nothing(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    storage.end_acme_account(1, AcmeAccountStatus::Deactivated, &problem("x"), event("x", "y")).await.unwrap();
    let charges = vec![charge("orders", 0)];
    let order = order(11, 1, &["a.internal"]);
    assert_eq!(storage.create_acme_order(order, charges.clone()).await.unwrap(), AcmeOrderCreated::AccountEnded);
    let authorization = super::authorization(5, 1, "a.internal");
    let answer = storage.create_acme_authorization(authorization, charges).await.unwrap();
    assert_eq!(answer, AcmeOrderCreated::AccountEnded);
    assert_eq!(storage.acme_order(11, None).await.unwrap(), None);
    assert_eq!(storage.change_acme_account(1, AcmeAccountChange::default(), event("x", "y")).await.unwrap(), None);
    let changed = storage.change_acme_account_key(1, &thumbprint(1), &thumbprint(2), "{}", event("x", "y")).await;
    assert_eq!(changed.unwrap(), AcmeKeyChanged::Stale);
}

async fn of_orders_made_while_their_account_ends_none_stays_open(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    at_once(&storage, |storage, number| async move {
        if number == 16 {
            let ended = AcmeAccountStatus::Revoked;
            assert!(storage.end_acme_account(1, ended, &problem("x"), event("x", "y")).await.unwrap());
        } else {
            storage.create_acme_order(order(100 + number, 1, &["a.internal"]), Vec::new()).await.unwrap();
        }
    })
    .await;
    assert!(storage.acme_account_orders(1, None, 100).await.unwrap().is_empty());
}

async fn an_account_ends_while_orders_use_what_it_has_proven(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    for account in 2..8 {
        register(&*storage, account).await;
        let base = account * 1000;
        place(&*storage, order(base, account, &["a.internal"])).await;
        let answers = at_once(&storage, move |storage, number| async move {
            if number == 16 {
                let ended = AcmeAccountStatus::Revoked;
                return storage.end_acme_account(account, ended, &problem("x"), event("x", "y")).await.map(|_| ());
            }
            let mut other = order(base + 1 + number, account, &["a.internal"]);
            other.authorizations = vec![OrderAuthorization::Existing(base * 10)];
            other.replaces = (number % 2 == 0).then(|| format!("{base}.{number}"));
            match storage.create_acme_order(other, Vec::new()).await {
                Err(error) if error.kind() == chancery::ErrorKind::Conflict => Ok(()),
                outcome => outcome.map(|_| ()),
            }
        })
        .await;
        // Nobody waits for somebody who waits for him.
        for answer in answers {
            answer.unwrap();
        }
        assert!(storage.acme_account_orders(account, None, 100).await.unwrap().is_empty());
    }
}

async fn another_key_takes_the_place_of_the_account_s(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    register(&*storage, 2).await;
    let change = async |from, to| {
        storage.change_acme_account_key(1, &thumbprint(from), &thumbprint(to), "{\"new\":1}", event("x", "y")).await
    };
    assert_eq!(change(1, 2).await.unwrap(), AcmeKeyChanged::Taken(2));
    assert_eq!(change(3, 4).await.unwrap(), AcmeKeyChanged::Stale);
    assert_eq!(change(1, 3).await.unwrap(), AcmeKeyChanged::Changed);
    assert_eq!(change(1, 4).await.unwrap(), AcmeKeyChanged::Stale);
    let found = storage.acme_account_by_key(&thumbprint(3)).await.unwrap().unwrap();
    assert_eq!((found.id, found.jwk.as_str()), (1, "{\"new\":1}"));
    assert_eq!(storage.acme_account_by_key(&thumbprint(1)).await.unwrap(), None);
}

async fn of_32_accounts_that_want_one_key_one_gets_it(fixture: Fixture) {
    let storage = fixture.open().await;
    for id in 0..32 {
        register(&*storage, id).await;
    }
    let answers = at_once(&storage, |storage, id| async move {
        storage.change_acme_account_key(id, &thumbprint(id), &thumbprint(99), "{}", event("x", "y")).await.unwrap()
    })
    .await;
    let holder = storage.acme_account_by_key(&thumbprint(99)).await.unwrap().unwrap().id;
    for (id, answer) in (0..).zip(answers) {
        assert_eq!(answer, if id == holder { AcmeKeyChanged::Changed } else { AcmeKeyChanged::Taken(holder) });
    }
}

async fn changes_are_audited_and_refusals_are_not(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    let count = async || storage.audit_events(&AuditFilter::default(), None, 100).await.unwrap().items.len();
    assert_eq!(count().await, 1);
    storage.change_acme_account(1, AcmeAccountChange::default(), event("x", "y")).await.unwrap();
    storage.change_acme_account_key(1, &thumbprint(1), &thumbprint(2), "{}", event("x", "y")).await.unwrap();
    assert_eq!(count().await, 3);
    storage.change_acme_account(9, AcmeAccountChange::default(), event("x", "y")).await.unwrap();
    storage.change_acme_account_key(1, &thumbprint(1), &thumbprint(3), "{}", event("x", "y")).await.unwrap();
    assert_eq!(count().await, 3);
    storage.end_acme_account(1, AcmeAccountStatus::Revoked, &problem("x"), event("x", "y")).await.unwrap();
    assert_eq!(count().await, 4);
    assert!(storage.verify_audit().await.unwrap().failures.is_empty());
}
