//! Nonces over a real database.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use futures_util::future::join_all;

use super::*;
use crate::ca::acme::test_support::{Fixture, TestKey, admit, register};

async fn token(acme: &Acme, nonce: &str) -> &'static str {
    acme.take_nonce(nonce).await.unwrap_err().acme_token()
}

#[tokio::test]
async fn a_nonce_is_taken_once_by_any_replica() {
    let fixture = Fixture::new().await;
    let (one, other) = (&fixture.acme, fixture.replica().await);
    let nonce = one.new_nonce().unwrap();
    assert_eq!(nonce.len(), 54);
    other.check_nonce(&nonce).await.unwrap();
    other.take_nonce(&nonce).await.unwrap();
    assert_eq!(token(one, &nonce).await, "badNonce");
    assert_eq!(token(&other, &nonce).await, "badNonce");
}

#[tokio::test]
async fn of_many_callers_one_takes_it() {
    let fixture = Fixture::new().await;
    let nonce = fixture.acme.new_nonce().unwrap();
    let outcomes = join_all((0..32).map(|_| fixture.acme.take_nonce(&nonce))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(|error| error.acme_token() == "badNonce"));
}

#[tokio::test]
async fn nonces_are_accepted_out_of_order() {
    let fixture = Fixture::new().await;
    let nonces: Vec<String> = (0..5).map(|_| fixture.acme.new_nonce().unwrap()).collect();
    for nonce in nonces.iter().rev() {
        fixture.acme.take_nonce(nonce).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_not_base64url_is_malformed() {
    let fixture = Fixture::new().await;
    let nonce = fixture.acme.new_nonce().unwrap();
    for bad in ["a b", "a+b/", "====", &format!("{nonce}="), "\u{e9}", "A"] {
        assert_eq!(token(&fixture.acme, bad).await, "malformed", "{bad}");
    }
    fixture.acme.take_nonce(&nonce).await.unwrap();
}

#[tokio::test]
async fn what_was_not_given_out_is_a_bad_nonce() {
    let fixture = Fixture::new().await;
    for bad in ["", "AAAA", &"A".repeat(54), &"A".repeat(53 * 4)] {
        assert_eq!(token(&fixture.acme, bad).await, "badNonce", "{bad}");
    }
    // Any octet of one that was.
    let octets = URL_SAFE_NO_PAD.decode(fixture.acme.new_nonce().unwrap()).unwrap();
    for place in 0..octets.len() {
        let mut changed = octets.clone();
        changed[place] ^= 1;
        assert_eq!(token(&fixture.acme, &URL_SAFE_NO_PAD.encode(changed)).await, "badNonce", "{place}");
    }
    let shortened = URL_SAFE_NO_PAD.encode(&octets[..octets.len() - 1]);
    assert_eq!(token(&fixture.acme, &shortened).await, "badNonce");
    fixture.acme.take_nonce(&URL_SAFE_NO_PAD.encode(octets)).await.unwrap();
}

#[tokio::test]
async fn a_nonce_ends_after_an_hour() {
    let fixture = Fixture::new().await;
    let (one, other) = (fixture.acme.new_nonce().unwrap(), fixture.acme.new_nonce().unwrap());
    fixture.clock.advance(Duration::from_secs(3599));
    fixture.acme.take_nonce(&one).await.unwrap();
    fixture.clock.advance(Duration::from_secs(1));
    let refused = fixture.acme.take_nonce(&other).await.unwrap_err();
    assert!(refused.detail().contains("an hour old"), "{}", refused.detail());
    assert_eq!(refused.acme_token(), "badNonce");
}

#[tokio::test]
async fn after_a_restart_old_nonces_are_bad_and_new_ones_are_good() {
    let fixture = Fixture::new().await;
    let used = fixture.acme.new_nonce().unwrap();
    fixture.acme.take_nonce(&used).await.unwrap();
    let unused = fixture.acme.new_nonce().unwrap();
    let restarted = fixture.restarted().await;
    for old in [&used, &unused] {
        assert_eq!(token(&restarted, old).await, "badNonce");
    }
    restarted.take_nonce(&restarted.new_nonce().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_replica_that_holds_an_old_epoch_learns_of_the_new_one() {
    let fixture = Fixture::new().await;
    let (behind, ahead) = (&fixture.acme, fixture.replica().await);
    // As if the database had lost its memory of used nonces, and this process had not noticed.
    behind.nonces.epoch.store(Arc::new([9; 16]));
    fixture.clock.advance(Duration::from_secs(1));
    behind.take_nonce(&ahead.new_nonce().unwrap()).await.unwrap();
    behind.nonces.epoch.store(Arc::new([9; 16]));
    // Its own are refused by the database, and the next ones are good.
    assert_eq!(token(behind, &behind.new_nonce().unwrap()).await, "badNonce");
    behind.take_nonce(&behind.new_nonce().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_request_that_is_not_authentic_takes_no_nonce() {
    let fixture = Fixture::new().await;
    let (key, other) = (TestKey::new(), TestKey::new());
    let id = register(&fixture.acme, &key, serde_json::json!({})).await.unwrap().account.record.id;
    admit(&fixture.acme, &other, id).await.unwrap_err();
    admit(&fixture.acme, &key, id).await.unwrap();
    let nonce = fixture.acme.new_nonce().unwrap();
    let kid = format!("{}/acme/accounts/{id}", crate::ca::acme::test_support::BASE);
    let request = |key: &TestKey| key.with_kid(&nonce, &kid, "/acme/new-order", &serde_json::json!({}));
    let origin = crate::ca::acme::test_support::origin;
    fixture.acme.authenticate(request(&other), origin()).await.unwrap_err();
    fixture.acme.authenticate(request(&key), origin()).await.unwrap();
    assert_eq!(fixture.acme.authenticate(request(&key), origin()).await.unwrap_err().acme_token(), "badNonce");
}
