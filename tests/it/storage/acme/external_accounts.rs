//! External account keys: kept, bound, deleted, and sealed anew.

use chancery::ErrorKind;
use chancery::signer::sealing::Sealed;
use chancery::storage::{
    AcmeAccountChange, AcmeAccountCreated, AcmeAccountFilter, IdempotencyResult, NewExternalAccountKey, Recorded,
    SecretOwner, Storage,
};

use super::super::configuration::token;
use super::super::fixture::{Fixture, at, claim, event};
use super::super::on_both_databases;
use super::{account, at_once, register};

on_both_databases!(
    a_key_is_found_as_it_was,
    a_key_made_again_with_an_idempotency_key_is_made_once,
    keys_are_listed_until_they_are_deleted,
    an_account_is_bound_by_a_key_that_may_be_used,
    of_32_accounts_with_a_key_for_single_use_one_is_bound,
    an_account_without_binding_gets_one_once,
    a_token_takes_its_keys_with_it,
    keys_are_sealed_anew,
);

pub(super) fn key(id: i64, principal: &str) -> NewExternalAccountKey {
    NewExternalAccountKey {
        id,
        key_id: format!("kid-{id}"),
        profile: "server".to_owned(),
        principal: principal.to_owned(),
        grants: "{\"names\":[]}".to_owned(),
        proves_control: true,
        single_use: false,
        sealed: Sealed { key_encryption_key_id: "old".to_owned(), ciphertext: vec![1, 2, 3] },
        created_by: "token:admin".to_owned(),
        created_at: at(0),
        expires_at: Some(at(100)),
    }
}

async fn create(storage: &dyn Storage, key: NewExternalAccountKey) {
    let recorded = storage.create_external_account_key(key, None, event("acme.key.create", "x")).await.unwrap();
    assert_eq!(recorded, Recorded::Committed);
}

async fn a_key_is_found_as_it_was(fixture: Fixture) {
    let storage = fixture.open().await;
    let new = key(1, "token:deploy");
    create(&*storage, new.clone()).await;
    let found = storage.external_account_key("kid-1").await.unwrap().unwrap();
    assert_eq!((found.id, &found.key_id, &found.profile), (1, &new.key_id, &new.profile));
    assert_eq!((&found.principal, &found.grants, &found.sealed), (&new.principal, &new.grants, &new.sealed));
    assert_eq!((found.proves_control, found.single_use, &found.created_by), (true, false, &new.created_by));
    assert_eq!((found.created_at, found.expires_at, found.deleted_at), (at(0), Some(at(100)), None));
    assert_eq!(storage.external_account_key("kid-2").await.unwrap(), None);
    let mut same = key(2, "token:deploy");
    same.key_id = new.key_id;
    let error = storage.create_external_account_key(same, None, event("x", "y")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

async fn a_key_made_again_with_an_idempotency_key_is_made_once(fixture: Fixture) {
    let storage = fixture.open().await;
    let sealed = Sealed { key_encryption_key_id: "old".to_owned(), ciphertext: vec![9] };
    let answers = at_once(&storage, move |storage, number| {
        let sealed = sealed.clone();
        async move {
            let claim = Some((claim("again", 100), sealed));
            storage.create_external_account_key(key(number, "token:deploy"), claim, event("x", "y")).await.unwrap()
        }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| **answer == Recorded::Committed).count(), 1);
    assert!(answers.iter().all(|answer| match answer {
        Recorded::Committed => true,
        Recorded::Replayed(answer) =>
            matches!(&answer.result, IdempotencyResult::Sealed(sealed) if sealed.ciphertext == [9]),
        Recorded::KeyBlocked | Recorded::OrderTaken => false,
    }));
    assert_eq!(storage.external_account_keys(None, None, 100).await.unwrap().len(), 1);
}

async fn keys_are_listed_until_they_are_deleted(fixture: Fixture) {
    let storage = fixture.open().await;
    for (id, principal) in [(1, "token:a"), (2, "token:b"), (3, "token:a"), (4, "token:a")] {
        create(&*storage, key(id, principal)).await;
    }
    let list = async |principal, before, limit| -> Vec<i64> {
        let keys = storage.external_account_keys(principal, before, limit).await.unwrap();
        keys.into_iter().map(|key| key.id).collect()
    };
    assert_eq!(list(None, None, 10).await, [4, 3, 2, 1]);
    assert_eq!(list(Some("token:a"), Some(4), 1).await, [3]);
    let delete = async |id, principal| {
        storage.delete_external_account_key(id, principal, at(5), event("acme.key.delete", "x")).await.unwrap()
    };
    assert!(!delete("kid-3", Some("token:b")).await, "another's");
    assert!(delete("kid-3", Some("token:a")).await);
    assert!(!delete("kid-3", Some("token:a")).await, "only once");
    assert!(delete("kid-2", None).await);
    assert!(!delete("kid-9", None).await);
    assert_eq!(list(None, None, 10).await, [4, 1]);
    assert_eq!(storage.external_account_key("kid-3").await.unwrap().unwrap().deleted_at, Some(at(5)));
}

async fn bind(storage: &dyn Storage, id: i64, key: i64, at_second: i64) -> AcmeAccountCreated {
    let mut new = account(id);
    new.binding = Some((key, format!("{{\"account\":{id}}}")));
    new.created_at = at(at_second);
    storage.create_acme_account(new, Vec::new(), event("acme.account.create", "x")).await.unwrap()
}

async fn an_account_is_bound_by_a_key_that_may_be_used(fixture: Fixture) {
    let storage = fixture.open().await;
    create(&*storage, key(1, "token:deploy")).await;
    assert_eq!(bind(&*storage, 1, 1, 0).await, AcmeAccountCreated::Created);
    assert_eq!(bind(&*storage, 2, 1, 99).await, AcmeAccountCreated::Created);
    assert_eq!(bind(&*storage, 3, 1, 100).await, AcmeAccountCreated::BindingUnusable, "expired");
    let found = storage.acme_account(1).await.unwrap().unwrap();
    assert_eq!(found.external_account_key.unwrap().key_id, "kid-1");
    assert_eq!(found.external_account_binding.as_deref(), Some("{\"account\":1}"));
    register(&*storage, 4).await;
    for filter in [
        AcmeAccountFilter { external_account_key: Some("kid-1".to_owned()), ..AcmeAccountFilter::default() },
        AcmeAccountFilter { principal: Some("token:deploy".to_owned()), ..AcmeAccountFilter::default() },
    ] {
        let bound = storage.acme_accounts(&filter, None, 10).await.unwrap().items;
        assert_eq!(bound.iter().map(|account| account.id).collect::<Vec<_>>(), [2, 1]);
    }
    storage.delete_external_account_key("kid-1", None, at(1), event("x", "y")).await.unwrap();
    assert_eq!(bind(&*storage, 5, 1, 1).await, AcmeAccountCreated::BindingUnusable, "deleted");
    assert_eq!(storage.acme_account(5).await.unwrap(), None);
    let key = storage.acme_account(1).await.unwrap().unwrap().external_account_key.unwrap();
    assert!(!key.is_usable(at(1)), "its accounts see it");
}

async fn of_32_accounts_with_a_key_for_single_use_one_is_bound(fixture: Fixture) {
    let storage = fixture.open().await;
    let mut single = key(1, "token:deploy");
    single.single_use = true;
    create(&*storage, single).await;
    let answers = at_once(&storage, |storage, number| async move { bind(&*storage, number, 1, 0).await }).await;
    assert_eq!(answers.iter().filter(|answer| **answer == AcmeAccountCreated::Created).count(), 1);
    assert_eq!(answers.iter().filter(|answer| **answer == AcmeAccountCreated::BindingUnusable).count(), 31);
    assert_eq!(storage.acme_accounts(&AcmeAccountFilter::default(), None, 100).await.unwrap().items.len(), 1);
}

async fn an_account_without_binding_gets_one_once(fixture: Fixture) {
    let storage = fixture.open().await;
    register(&*storage, 1).await;
    register(&*storage, 2).await;
    let mut single = key(1, "token:deploy");
    single.single_use = true;
    single.expires_at = None;
    create(&*storage, single).await;
    let change = |text: &str| AcmeAccountChange { binding: Some((1, text.to_owned())), ..AcmeAccountChange::default() };
    let bound = storage.change_acme_account(1, change("{\"one\":1}"), event("x", "y")).await.unwrap().unwrap();
    assert_eq!(bound.external_account_key.unwrap().id, 1);
    assert_eq!(storage.change_acme_account(1, change("{\"two\":2}"), event("x", "y")).await.unwrap(), None);
    assert_eq!(storage.change_acme_account(2, change("{\"two\":2}"), event("x", "y")).await.unwrap(), None);
    let found = storage.acme_account(2).await.unwrap().unwrap();
    assert_eq!((found.external_account_key, found.external_account_binding), (None, None));
}

async fn a_token_takes_its_keys_with_it(fixture: Fixture) {
    let storage = fixture.open().await;
    storage.create_token(token("id-1", "deploy", 1), None, event("x", "y")).await.unwrap();
    for (id, principal) in [(1, "token:deploy"), (2, "token:deploy2"), (3, "token:deploy")] {
        create(&*storage, key(id, principal)).await;
    }
    let mut handed_out = key(4, "token:other");
    handed_out.created_by = "token:deploy".to_owned();
    create(&*storage, handed_out).await;
    storage.revoke_token("id-1", at(7), event("token.revoke", "x")).await.unwrap().unwrap();
    let left = storage.external_account_keys(None, None, 10).await.unwrap();
    assert_eq!(left.iter().map(|key| key.id).collect::<Vec<_>>(), [2]);
    assert_eq!(storage.external_account_key("kid-1").await.unwrap().unwrap().deleted_at, Some(at(7)));
}

async fn keys_are_sealed_anew(fixture: Fixture) {
    let storage = fixture.open().await;
    let to = Sealed { key_encryption_key_id: "new".to_owned(), ciphertext: vec![4] };
    for id in 1..=5 {
        create(&*storage, key(id, "token:deploy")).await;
    }
    // Answers come after keys.
    let answer = Sealed { key_encryption_key_id: "old".to_owned(), ciphertext: vec![9] };
    storage.create_token(token("id-1", "deploy", 1), Some((claim("k", 100), answer)), event("x", "y")).await.unwrap();
    for limit in [1, 2, 3, 10] {
        let mut found: Vec<chancery::storage::SealedSecret> = Vec::new();
        loop {
            let after = found.last().map(|secret| secret.owner.clone());
            let page = storage.other_secrets("new", after.as_ref(), limit).await.unwrap();
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found.len(), 6, "pages of {limit}");
        for (number, secret) in (1..).zip(&found[..5]) {
            let owner = SecretOwner::ExternalAccountKey { id: number, key_id: format!("kid-{number}") };
            assert_eq!(secret.owner, owner);
        }
        assert!(matches!(found[5].owner, SecretOwner::IdempotencyAnswer { .. }));
    }
    let secret = storage.other_secrets("new", None, 1).await.unwrap().remove(0);
    assert!(storage.reseal_other(&secret.owner, &secret.sealed, &to).await.unwrap());
    assert!(!storage.reseal_other(&secret.owner, &secret.sealed, &to).await.unwrap());
    assert_eq!(storage.external_account_key("kid-1").await.unwrap().unwrap().sealed, to);
    assert_eq!(storage.other_secrets("new", None, 10).await.unwrap().len(), 5);
}
