//! Key changes: each check of RFC 8555, section 7.3.5, with its own message.

use serde_json::{Value, json};

use super::super::KeyChange;
use super::keys::{Key, ed25519, every, p256, with};

const URL: &str = "https://ca.internal/acme/key-change";
const ACCOUNT: &str = "https://ca.internal/acme/accounts/1";

fn header(algorithm: &str, key: &Key) -> Value {
    json!({"alg": algorithm, "jwk": key.jwk, "url": URL})
}

fn payload(old: &Key) -> Vec<u8> {
    json!({"account": ACCOUNT, "oldKey": old.jwk}).to_string().into_bytes()
}

#[track_caller]
fn refused(body: &[u8], token: &str) -> String {
    let error = KeyChange::verify(body, URL).unwrap_err();
    assert_eq!(error.acme_token(), token, "{error}");
    assert_eq!(error.kind().entry().status, 400);
    error.detail().to_owned()
}

#[test]
fn a_new_key_of_any_kind_takes_the_place_of_the_old_one() {
    let old = p256();
    for (algorithm, new) in every() {
        let change = KeyChange::verify(&new.request(&header(algorithm, &new), &payload(&old)), URL).unwrap();
        let key = change.for_account(ACCOUNT, &old.account_key()).unwrap();
        assert_eq!(key, new.account_key(), "{algorithm}");
    }
}

#[test]
fn the_inner_jws_is_signed_by_the_new_key() {
    let (old, new, other) = (p256(), p256(), p256());
    let by_other = other.request(&header("ES256", &new), &payload(&old));
    assert!(refused(&by_other, "malformed").contains("in the inner JWS of the key change: the `ES256` signature"));
    let by_old = old.request(&header("ES256", &new), &payload(&old));
    assert!(refused(&by_old, "malformed").contains("does not verify"));
    let mut changed = new.flattened(&header("ES256", &new), &payload(&old));
    changed["payload"] = old.flattened(&json!({}), &payload(&other))["payload"].clone();
    assert!(refused(changed.to_string().as_bytes(), "malformed").contains("does not verify"));
}

#[test]
fn the_inner_header_has_the_key_and_the_address_and_no_nonce() {
    let (old, new) = (p256(), p256());
    let of = |header: &Value| refused(&new.request(header, &payload(&old)), "malformed");
    let good = header("ES256", &new);
    assert!(of(&with(&good, "jwk", Value::Null)).contains("no `jwk`"));
    assert!(of(&with(&with(&good, "jwk", Value::Null), "kid", json!(ACCOUNT))).contains("no `jwk`"));
    assert!(of(&with(&good, "kid", json!(ACCOUNT))).contains("`kid` beside `jwk`"));
    assert!(of(&with(&good, "nonce", json!("e30"))).contains("has a `nonce`"));
    assert!(of(&with(&good, "url", Value::Null)).contains("no `url`"));
    for url in ["", "https://ca.internal/acme/new-account", "https://ca.internal/acme/key-change/", "/acme/key-change"]
    {
        assert!(of(&with(&good, "url", json!(url))).contains("is not that of the request around it"), "{url}");
    }
    assert!(of(&with(&good, "crit", json!(["url"]))).contains("`crit`"));
}

#[test]
fn the_inner_algorithm_and_key_are_judged_like_those_of_requests() {
    let (old, new) = (p256(), p256());
    for algorithm in ["none", "HS256", "RS512", "ES384", "EdDSA"] {
        refused(&new.request(&header(algorithm, &new), &payload(&old)), "badSignatureAlgorithm");
    }
    let mut off_curve = p256();
    off_curve.jwk["y"] = off_curve.jwk["x"].clone();
    let detail = refused(&new.request(&header("ES256", &off_curve), &payload(&old)), "badPublicKey");
    assert!(detail.contains("not on its curve"), "{detail}");
    let unsupported = with(&header("ES256", &new), "jwk", json!({"kty": "oct"}));
    refused(&new.request(&unsupported, &payload(&old)), "badPublicKey");
}

#[test]
fn what_is_no_jws_or_no_key_change_is_malformed() {
    let new = p256();
    for body in ["", "{}", "[]", "null", r#"{"account":"x","oldKey":{}}"#] {
        assert!(refused(body.as_bytes(), "malformed").contains("in the inner JWS of the key change"), "{body}");
    }
    let of = |payload: &[u8]| refused(&new.request(&header("ES256", &new), payload), "malformed");
    assert!(of(b"").contains("the payload of the inner JWS is not a key change"));
    assert!(of(b"{}").contains("missing field `account`"));
    assert!(of(json!({"account": ACCOUNT}).to_string().as_bytes()).contains("missing field `oldKey`"));
    assert!(of(json!({"account": 1, "oldKey": new.jwk}).to_string().as_bytes()).contains("invalid type"));
    assert!(of(json!({"account": ACCOUNT, "oldKey": "key"}).to_string().as_bytes()).contains("expected an object"));
    assert!(of(json!({"account": ACCOUNT, "oldKey": {"kty": "oct"}}).to_string().as_bytes()).contains("`oldKey`"));
}

#[test]
fn the_change_is_for_this_account_and_from_its_key_to_another() {
    let (old, new) = (p256(), ed25519());
    let change = |signer: &Key, algorithm: &str, old: &Key| {
        KeyChange::verify(&signer.request(&header(algorithm, signer), &payload(old)), URL).unwrap()
    };
    let refused = |change: KeyChange, account: &str, current: &Key| {
        let error = change.for_account(account, &current.account_key()).unwrap_err();
        assert_eq!(error.acme_token(), "malformed");
        error.detail().to_owned()
    };
    let other_account = refused(change(&new, "EdDSA", &old), "https://ca.internal/acme/accounts/2", &old);
    assert!(other_account.contains("`account` of the key change is not the account"), "{other_account}");
    let other_key = refused(change(&new, "EdDSA", &p256()), ACCOUNT, &old);
    assert!(other_key.contains("`oldKey` of the key change is not the key"), "{other_key}");
    let same_key = refused(change(&old, "ES256", &old), ACCOUNT, &old);
    assert!(same_key.contains("has already"), "{same_key}");
}
