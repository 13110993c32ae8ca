//! What ACME keeps, on both databases: the values of these tests, and nonces. The rest is in the files below.

mod accounts;
mod clean_up;
mod completion;
mod external_accounts;
mod orders;
mod plans;
mod rate_limits;
mod renewal;
mod validation;

use std::sync::Arc;

use chancery::policy::acme::Identifier;
use chancery::storage::{
    AcmeAccountCreated, AcmeAuthorizationStatus, AcmeOrderCreated, AcmeProblem, NewAcmeAccount, NewAcmeAuthorization,
    NewAcmeOrder, NonceTaken, OrderAuthorization, Storage,
};

use super::fixture::{Fixture, at, event};
use super::on_both_databases;

on_both_databases!(
    of_32_callers_with_one_nonce_one_takes_it,
    a_nonce_of_another_epoch_is_not_taken,
    a_nonce_that_is_forgotten_was_past_its_end,
    too_many_used_nonces_begin_a_new_epoch_on_postgresql,
);

pub(super) fn dns(name: &str) -> Identifier {
    match name.strip_prefix("*.") {
        Some(rest) => Identifier::Dns { name: rest.to_owned(), wildcard: true },
        None => Identifier::Dns { name: name.to_owned(), wildcard: false },
    }
}

pub(super) fn problem(detail: &str) -> AcmeProblem {
    AcmeProblem { error_type: "unauthorized".to_owned(), detail: detail.to_owned(), subproblems: Vec::new() }
}

/// A thumbprint that nobody else has.
pub(super) fn thumbprint(number: i64) -> [u8; 32] {
    let mut octets = [3; 32];
    octets[..8].copy_from_slice(&number.to_be_bytes());
    octets
}

pub(super) fn account(id: i64) -> NewAcmeAccount {
    NewAcmeAccount {
        id,
        thumbprint: thumbprint(id),
        jwk: format!("{{\"kty\":\"{id}\"}}"),
        contacts: vec!["mailto:ops@example.com".to_owned()],
        terms_of_service: Some("https://example.com/terms".to_owned()),
        binding: None,
        created_at: at(0),
        created_from: Some("192.0.2.7".to_owned()),
    }
}

pub(super) fn authorization(id: i64, account_id: i64, name: &str) -> NewAcmeAuthorization {
    NewAcmeAuthorization {
        id,
        account_id,
        identifier: dns(name),
        status: AcmeAuthorizationStatus::Pending,
        token: format!("{id:043}"),
        created_at: at(0),
        expires_at: at(1000),
    }
}

/// An order for names, with new authorizations numbered from ten times the order's number.
pub(super) fn order(id: i64, account_id: i64, names: &[&str]) -> NewAcmeOrder {
    let authorizations = (id * 10..)
        .zip(names)
        .map(|(number, name)| OrderAuthorization::New(authorization(number, account_id, name)))
        .collect();
    NewAcmeOrder {
        id,
        account_id,
        profile: "server".to_owned(),
        identifiers: names.iter().map(|name| dns(name)).collect(),
        not_before: None,
        not_after: None,
        replaces: None,
        created_at: at(0),
        expires_at: at(1000),
        maximum_pending: 1000,
        authorizations,
    }
}

/// The same with authorizations that are valid from birth.
pub(super) fn ready_order(id: i64, account_id: i64, names: &[&str]) -> NewAcmeOrder {
    let mut order = order(id, account_id, names);
    for authorization in &mut order.authorizations {
        if let OrderAuthorization::New(new) = authorization {
            new.status = AcmeAuthorizationStatus::Valid;
        }
    }
    order
}

pub(super) async fn register(storage: &dyn Storage, id: i64) {
    let created =
        storage.create_acme_account(account(id), Vec::new(), event("acme.account.create", "x")).await.unwrap();
    assert_eq!(created, AcmeAccountCreated::Created);
}

pub(super) async fn place(storage: &dyn Storage, order: NewAcmeOrder) {
    assert_eq!(storage.create_acme_order(order, Vec::new()).await.unwrap(), AcmeOrderCreated::Created);
}

/// A database with the account 1.
pub(super) async fn with_account(fixture: &Fixture) -> Arc<dyn Storage> {
    let storage = fixture.open().await;
    register(&*storage, 1).await;
    storage
}

/// Calls 32 times at once and returns the answers.
pub(super) async fn at_once<T, F>(storage: &Arc<dyn Storage>, call: impl Fn(Arc<dyn Storage>, i64) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let calls: Vec<_> = (0..32).map(|number| tokio::spawn(call(Arc::clone(storage), number))).collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    answers
}

async fn of_32_callers_with_one_nonce_one_takes_it(fixture: Fixture) {
    let storage = fixture.open().await;
    let epochs = at_once(&storage, |storage, _| async move { storage.nonce_epoch().await.unwrap() }).await;
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "the first to ask make one epoch");
    for nonce in [[1; 16], [2; 16]] {
        let epoch = epochs[0];
        let answers =
            at_once(
                &storage,
                move |storage, _| async move { storage.take_nonce(&epoch, &nonce, at(100)).await.unwrap() },
            )
            .await;
        assert_eq!(answers.iter().filter(|answer| **answer == NonceTaken::Taken).count(), 1);
        assert_eq!(answers.iter().filter(|answer| **answer == NonceTaken::Used).count(), 31);
    }
}

async fn a_nonce_of_another_epoch_is_not_taken(fixture: Fixture) {
    let storage = fixture.open().await;
    let epoch = storage.nonce_epoch().await.unwrap();
    assert_eq!(storage.take_nonce(&[9; 16], &[1; 16], at(100)).await.unwrap(), NonceTaken::EpochEnded);
    assert_eq!(storage.take_nonce(&epoch, &[1; 16], at(100)).await.unwrap(), NonceTaken::Taken);
    if fixture.is_sqlite() {
        // A restart forgets which nonces were used, and with them the epoch.
        storage.close().await;
    } else {
        // What a crash does to tables that are not logged.
        fixture.execute("TRUNCATE acme_nonce_epochs, acme_used_nonces").await;
    }
    let storage = if fixture.is_sqlite() { fixture.open().await } else { storage };
    assert_eq!(storage.take_nonce(&epoch, &[1; 16], at(100)).await.unwrap(), NonceTaken::EpochEnded);
    let next = storage.nonce_epoch().await.unwrap();
    assert_ne!(next, epoch);
    assert_eq!(storage.take_nonce(&next, &[1; 16], at(100)).await.unwrap(), NonceTaken::Taken);
}

async fn a_nonce_that_is_forgotten_was_past_its_end(fixture: Fixture) {
    let storage = fixture.open().await;
    let epoch = storage.nonce_epoch().await.unwrap();
    for (nonce, end) in [([1; 16], 60), ([2; 16], 6000)] {
        assert_eq!(storage.take_nonce(&epoch, &nonce, at(end)).await.unwrap(), NonceTaken::Taken);
    }
    assert_eq!(storage.clean_up_acme(at(1000), at(-1000)).await.unwrap(), 1);
    assert_eq!(storage.take_nonce(&epoch, &[2; 16], at(6000)).await.unwrap(), NonceTaken::Used);
}

/// SQLite's nonces are in memory, where a unit test counts them.
async fn too_many_used_nonces_begin_a_new_epoch_on_postgresql(fixture: Fixture) {
    let storage = fixture.open().await;
    let epoch = storage.nonce_epoch().await.unwrap();
    assert_eq!(storage.take_nonce(&epoch, &[1; 16], at(100)).await.unwrap(), NonceTaken::Taken);
    assert_eq!(storage.forget_used_nonces(at(1)).await.unwrap(), 0);
    assert_eq!(storage.nonce_epoch().await.unwrap(), epoch);
    assert_eq!(storage.take_nonce(&epoch, &[1; 16], at(100)).await.unwrap(), NonceTaken::Used);
    if fixture.is_sqlite() {
        return;
    }
    fixture.execute("UPDATE pg_class SET reltuples = 4000001 WHERE relname = 'acme_used_nonces'").await;
    storage.forget_used_nonces(at(1)).await.unwrap();
    let next = storage.nonce_epoch().await.unwrap();
    assert_ne!(next, epoch);
    assert_eq!(storage.take_nonce(&epoch, &[2; 16], at(100)).await.unwrap(), NonceTaken::EpochEnded);
    assert_eq!(storage.take_nonce(&next, &[1; 16], at(100)).await.unwrap(), NonceTaken::Taken, "none are kept");
    storage.forget_used_nonces(at(1)).await.unwrap();
    assert_eq!(storage.nonce_epoch().await.unwrap(), next, "once");
}
