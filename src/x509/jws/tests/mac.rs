//! External account bindings: each check of RFC 8555, section 7.3.4, with its own message.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::super::{FlattenedSignature, MacRequest, VerifiedBinding};
use super::keys::{Key, base64, p256, with};
use crate::Error;

const URL: &str = "https://ca.internal/acme/new-account";
const SECRET: [u8; 64] = [0x5a; 64];

fn header(algorithm: &str) -> Value {
    json!({"alg": algorithm, "kid": "key-1", "url": URL})
}

fn bind(algorithm: hmac::Algorithm, secret: &[u8], header: &Value, payload: &[u8]) -> FlattenedSignature {
    let (protected, payload) = (base64(header.to_string().as_bytes()), base64(payload));
    let mac = hmac::sign(&hmac::Key::new(algorithm, secret), format!("{protected}.{payload}").as_bytes());
    FlattenedSignature { protected, payload, signature: base64(mac.as_ref()) }
}

fn binding(header: &Value, key: &Key) -> FlattenedSignature {
    bind(hmac::HMAC_SHA256, &SECRET, header, key.jwk.to_string().as_bytes())
}

#[track_caller]
fn malformed(result: Result<impl std::fmt::Debug, Error>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.acme_token(), "malformed", "{error}");
    error.detail().to_owned()
}

#[test]
fn bindings_with_every_algorithm_are_verified() {
    let key = p256();
    let account_key = key.account_key();
    for (name, algorithm) in [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
    {
        for secret in [&SECRET[..], &SECRET[..32]] {
            let jws = bind(algorithm, secret, &header(name), key.jwk.to_string().as_bytes());
            let request = MacRequest::parse(&jws).unwrap();
            assert_eq!(request.key_id(), "key-1");
            let verified: VerifiedBinding = request.verify(secret, URL, &account_key).unwrap();
            assert_eq!(verified.key_id(), "key-1");
        }
    }
}

#[test]
fn a_mac_under_another_key_is_not_authorised() {
    let key = p256();
    let mut truncated = binding(&header("HS256"), &key);
    truncated.signature = truncated.signature[..20].to_owned();
    let wrong_key = bind(hmac::HMAC_SHA256, &[1; 64], &header("HS256"), key.jwk.to_string().as_bytes());
    let wrong_algorithm = bind(hmac::HMAC_SHA512, &SECRET, &header("HS256"), key.jwk.to_string().as_bytes());
    let mut changed = binding(&header("HS256"), &key);
    changed.payload = base64(p256().jwk.to_string().as_bytes());
    for jws in [truncated, wrong_key, wrong_algorithm, changed] {
        let error = MacRequest::parse(&jws).unwrap().verify(&SECRET, URL, &key.account_key()).unwrap_err();
        assert_eq!(error.acme_token(), "unauthorized");
        assert_eq!(error.kind().entry().status, 403);
        assert!(error.detail().contains("the MAC of the external account binding"), "{error}");
    }
}

#[test]
fn only_macs_with_sha_2_are_accepted() {
    let key = p256();
    for algorithm in ["none", "HS1", "ES256", "RS256", "EdDSA", "hs256", ""] {
        let error = MacRequest::parse(&binding(&header(algorithm), &key)).unwrap_err();
        assert_eq!(error.acme_token(), "badSignatureAlgorithm", "{algorithm}");
        assert_eq!(error.acme_error().unwrap().algorithms, ["HS256", "HS384", "HS512"]);
    }
}

#[test]
fn the_header_names_key_and_address_and_has_no_nonce() {
    let key = p256();
    let of = |header: &Value| malformed(MacRequest::parse(&binding(header, &key)));
    let good = header("HS256");
    assert!(of(&with(&good, "kid", Value::Null)).contains("has no `kid`"));
    assert!(of(&with(&good, "kid", json!(""))).contains("has no `kid`"));
    assert!(of(&with(&good, "kid", json!(1))).contains("in the external account binding"));
    assert!(of(&with(&good, "jwk", key.jwk.clone())).contains("has `jwk`"));
    assert!(of(&with(&good, "nonce", json!("e30"))).contains("has a `nonce`"));
    assert!(of(&with(&good, "url", Value::Null)).contains("no `url`"));
    assert!(of(&with(&good, "alg", Value::Null)).contains("no `alg`"));
    assert!(of(&with(&good, "crit", json!(["kid"]))).contains("`crit`"));
}

#[test]
fn the_binding_is_for_this_address_and_this_account_key() {
    let key = p256();
    let verify = |jws: &FlattenedSignature| MacRequest::parse(jws).unwrap().verify(&SECRET, URL, &key.account_key());
    let elsewhere = with(&header("HS256"), "url", json!("https://ca.internal/acme/server/new-account"));
    assert!(malformed(verify(&binding(&elsewhere, &key))).contains("is not that of the request around it"));
    assert!(malformed(verify(&binding(&header("HS256"), &p256()))).contains("is not the key that signed the request"));
    for payload in [&b""[..], b"{}", b"[]", b"\xff"] {
        let jws = bind(hmac::HMAC_SHA256, &SECRET, &header("HS256"), payload);
        assert!(malformed(verify(&jws)).contains("is no key"));
    }
    // Another writing of the same key is the same key.
    let mut reordered = key.jwk.clone();
    let x = reordered["x"].take();
    reordered.as_object_mut().unwrap().shift_remove("x");
    reordered["alg"] = json!("ES256");
    reordered["x"] = x;
    verify(&bind(hmac::HMAC_SHA256, &SECRET, &header("HS256"), reordered.to_string().as_bytes())).unwrap();
}

#[test]
fn keys_that_are_too_short_are_our_own_fault() {
    let key = p256();
    let jws = bind(hmac::HMAC_SHA256, &[1; 31], &header("HS256"), key.jwk.to_string().as_bytes());
    let error = MacRequest::parse(&jws).unwrap().verify(&[1; 31], URL, &key.account_key()).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Internal);
}

#[test]
fn the_object_is_read_strictly_and_written_as_it_was() {
    let jws = binding(&header("HS256"), &p256());
    let text = serde_json::to_string(&jws).unwrap();
    assert_eq!(serde_json::from_str::<FlattenedSignature>(&text).unwrap(), jws);
    let object = serde_json::to_value(&jws).unwrap();
    for wrong in [
        json!([jws.protected, jws.payload, jws.signature]),
        with(&object, "header", json!({})),
        with(&object, "payload", Value::Null),
        with(&object, "signature", json!(1)),
        json!("text"),
    ] {
        serde_json::from_value::<FlattenedSignature>(wrong).unwrap_err();
    }
    let padded = FlattenedSignature { payload: format!("{}=", jws.payload), ..jws.clone() };
    assert!(malformed(MacRequest::parse(&padded)).contains("is not base64url"));
    let unsigned = FlattenedSignature { signature: String::new(), ..jws };
    assert!(malformed(MacRequest::parse(&unsigned)).contains("its signature is empty"));
}
