//! Sealed secrets beside CA keys: found when they are not under the present key-encryption key, and replaced only when unchanged.

use chancery::signer::sealing::Sealed;
use chancery::storage::{SealedSecret, SecretOwner, Storage};

use super::configuration::token;
use super::fixture::{Fixture, claim, event};
use super::on_both_databases;

on_both_databases!(
    secrets_are_found_page_by_page_until_they_are_under_the_present_key,
    a_secret_is_replaced_only_when_it_is_unchanged
);

fn sealed(key: &str, octet: u8) -> Sealed {
    Sealed { key_encryption_key_id: key.to_owned(), ciphertext: vec![octet; 40] }
}

/// A database with two OCSP responders and five sealed answers under `old`, and one answer under `new`.
async fn with_secrets(fixture: &Fixture) -> std::sync::Arc<dyn Storage> {
    let storage = super::issuers::with_issuers(fixture).await;
    let (certificate, ciphertext) = match fixture.is_sqlite() {
        true => ("x'3001'", "x'09'"),
        false => ("'\\x3001'", "'\\x09'"),
    };
    for issuer in [1, 2] {
        fixture
            .execute(&format!(
                "INSERT INTO ocsp_responders (issuer_id, certificate, key_encryption_key_id, sealed, not_before, not_after) \
                 VALUES ({issuer}, {certificate}, 'old', {ciphertext}, 1, 2)"
            ))
            .await;
    }
    for (number, key) in ["old", "old", "new", "old", "old", "old"].into_iter().enumerate() {
        let octet = u8::try_from(number).unwrap();
        let answer = (claim(&format!("key-{number}"), 100), sealed(key, octet));
        let token = token(&format!("id-{number}"), &format!("name-{number}"), octet);
        storage.create_token(token, Some(answer), event("token.create", "x")).await.unwrap();
    }
    storage
}

async fn all(storage: &dyn Storage, limit: u16) -> Vec<SealedSecret> {
    let mut found: Vec<SealedSecret> = Vec::new();
    loop {
        let after = found.last().map(|secret| secret.owner.clone());
        let page = storage.other_secrets("new", after.as_ref(), limit).await.unwrap();
        assert!(page.len() <= usize::from(limit));
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

async fn secrets_are_found_page_by_page_until_they_are_under_the_present_key(fixture: Fixture) {
    let storage = with_secrets(&fixture).await;
    let found = all(&*storage, 100).await;
    let owners: Vec<String> = found
        .iter()
        .map(|secret| match &secret.owner {
            SecretOwner::OcspResponder { issuer_id, certificate } => {
                assert_eq!(certificate, &[0x30, 1]);
                format!("responder {issuer_id}")
            }
            SecretOwner::ExternalAccountKey { .. } => panic!("there is no external account key"),
            SecretOwner::IdempotencyAnswer { key, .. } => key.clone(),
        })
        .collect();
    assert_eq!(owners, ["responder 1", "responder 2", "key-0", "key-1", "key-3", "key-4", "key-5"]);
    for limit in [1, 2, 3] {
        assert_eq!(all(&*storage, limit).await, found, "pages of {limit}");
    }
    for secret in &found {
        assert!(storage.reseal_other(&secret.owner, &secret.sealed, &sealed("new", 77)).await.unwrap());
    }
    assert!(all(&*storage, 2).await.is_empty());
    let other = storage.other_secrets("newer", None, 100).await.unwrap();
    assert_eq!(other.iter().filter(|secret| secret.sealed == sealed("new", 77)).count(), found.len());
}

async fn a_secret_is_replaced_only_when_it_is_unchanged(fixture: Fixture) {
    let storage = with_secrets(&fixture).await;
    for secret in all(&*storage, 100).await {
        let other_key = Sealed { key_encryption_key_id: "other".to_owned(), ..secret.sealed.clone() };
        let other_octets = Sealed { ciphertext: vec![1, 2, 3], ..secret.sealed.clone() };
        for from in [other_key, other_octets] {
            assert!(!storage.reseal_other(&secret.owner, &from, &sealed("new", 1)).await.unwrap());
        }
        // Of two at once one wins.
        let (one, other) = (sealed("new", 1), sealed("new", 2));
        let (first, second) = tokio::join!(
            storage.reseal_other(&secret.owner, &secret.sealed, &one),
            storage.reseal_other(&secret.owner, &secret.sealed, &other)
        );
        assert!(first.unwrap() ^ second.unwrap());
    }
    let gone = SecretOwner::IdempotencyAnswer { caller: "token:nobody".to_owned(), key: "none".to_owned() };
    assert!(!storage.reseal_other(&gone, &sealed("old", 0), &sealed("new", 0)).await.unwrap());
}
