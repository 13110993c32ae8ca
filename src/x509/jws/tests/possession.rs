//! Signatures that carry their key and prove possession of it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
};

use super::super::JsonWebSignature;
use super::keys::{Key, base64, ed25519, elliptic, p256, rsa};

fn parts(header: &Value, key: &Key) -> (String, String, String) {
    let (protected, payload) = (base64(header.to_string().as_bytes()), base64(b"{\"a\":1}"));
    let signature = base64(&(key.sign)(format!("{protected}.{payload}").as_bytes()));
    (protected, payload, signature)
}

fn compact(header: &Value, key: &Key) -> JsonWebSignature {
    let (protected, payload, signature) = parts(header, key);
    JsonWebSignature::Compact(format!("{protected}.{payload}.{signature}"))
}

fn refusal(signature: &JsonWebSignature) -> String {
    let error = signature.verify().unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Malformed);
    error.detail().to_owned()
}

#[test]
fn signatures_by_every_kind_of_key_are_verified_and_the_key_is_that_of_certificates() {
    for (algorithm, key) in [
        ("ES256", p256()),
        ("ES384", elliptic(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384")),
        ("ES512", elliptic(&ECDSA_P521_SHA512_FIXED_SIGNING, "P-521")),
        ("EdDSA", ed25519()),
        ("Ed25519", ed25519()),
        ("RS256", rsa(&RSA_PKCS1_SHA256)),
        ("RS512", rsa(&RSA_PKCS1_SHA512)),
    ] {
        let header = json!({"alg": algorithm, "jwk": key.jwk, "typ": "anything"});
        let verified = compact(&header, &key).verify().unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        assert_eq!(verified.public_key().spki_der(), key.spki, "{algorithm}");
        assert_eq!(verified.payload(), b"{\"a\":1}");
        let (protected, payload, signature) = parts(&header, &key);
        let flattened = json!({"protected": protected, "payload": payload, "signature": signature});
        let flattened: JsonWebSignature = serde_json::from_value(flattened).unwrap();
        assert_eq!(flattened.verify().unwrap().payload(), b"{\"a\":1}");
    }
}

#[test]
fn a_signature_by_another_key_or_over_something_else_does_not_verify() {
    let (key, other) = (p256(), p256());
    let header = json!({"alg": "ES256", "jwk": key.jwk});
    assert!(refusal(&compact(&header, &other)).contains("does not verify"));
    let (protected, _payload, signature) = parts(&header, &key);
    let changed = JsonWebSignature::Compact(format!("{protected}.{}.{signature}", base64(b"{\"a\":2}")));
    assert!(refusal(&changed).contains("does not verify"));
}

#[test]
fn the_algorithm_must_be_known_and_fit_the_key() {
    let key = p256();
    for (algorithm, expected) in [
        ("none", "is not accepted"),
        ("HS256", "is not accepted"),
        ("PS256", "is not accepted"),
        ("es256", "is not accepted"),
        ("ES384", "does not fit its key"),
        ("ES512", "does not fit its key"),
        ("EdDSA", "does not fit its key"),
        ("RS256", "does not fit its key"),
    ] {
        let detail = refusal(&compact(&json!({"alg": algorithm, "jwk": key.jwk}), &key));
        assert!(detail.contains(expected), "{algorithm}: {detail}");
    }
    let unsigned = JsonWebSignature::Compact(format!(
        "{}.{}.",
        base64(json!({"alg": "none", "jwk": key.jwk}).to_string().as_bytes()),
        base64(b"{}")
    ));
    assert!(refusal(&unsigned).contains("is not accepted"));
}

#[test]
fn the_key_comes_from_the_protected_header_alone() {
    let key = p256();
    let of = |header: Value| refusal(&compact(&header, &key));
    assert!(of(json!({"alg": "ES256"})).contains("no `jwk`"));
    assert!(of(json!({"alg": "ES256", "kid": "1"})).contains("no `jwk`"));
    assert!(of(json!({"alg": "ES256", "jwk": key.jwk, "kid": "1"})).contains("`kid` beside `jwk`"));
    assert!(of(json!({"alg": "ES256", "jwk": key.jwk, "crit": ["b64"], "b64": false})).contains("`crit`"));
    let (protected, payload, signature) = parts(&json!({"alg": "ES256", "jwk": key.jwk}), &key);
    let unprotected =
        json!({"protected": protected, "payload": payload, "signature": signature, "header": {"kid": "1"}});
    assert!(serde_json::from_value::<JsonWebSignature>(unprotected).is_err());
}

#[test]
fn keys_that_are_none_are_refused_and_private_ones_never_repeated() {
    let key = p256();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut jwk = key.jwk.clone();
        change(&mut jwk);
        refusal(&compact(&json!({"alg": "ES256", "jwk": jwk}), &key))
    };
    let private = with(&|jwk| jwk["d"] = json!("c2VjcmV0"));
    assert!(private.contains("holds a private key") && !private.contains("c2VjcmV0"), "{private}");
    assert!(with(&|jwk| jwk["k"] = json!("c2VjcmV0")).contains("holds a private key"));
    assert!(with(&|jwk| jwk["crv"] = json!("secp256k1")).contains("not supported"));
    assert!(with(&|jwk| jwk["kty"] = json!("oct")).contains("not supported"));
    assert!(with(&|jwk| jwk["y"] = Value::Null).contains("no member `y`"));
    assert!(with(&|jwk| jwk["x"] = json!("AAAA")).contains("has 3 octets instead of 32"));
    assert!(with(&|jwk| jwk["x"] = json!("not base64url")).contains("not base64url"));
    assert!(with(&|jwk| *jwk = json!({"kty": "RSA", "n": "AAEC", "e": "AQAB"})).contains("begins with a zero octet"));
    assert!(with(&|jwk| jwk["y"] = jwk["x"].clone()).contains("does not verify"), "a point that is not on the curve");
}

#[test]
fn what_is_no_signature_is_refused() {
    for text in ["", "a", "a.b", "a.b.c.d", "a.b.c", "e30.e30.e30", "....."] {
        refusal(&JsonWebSignature::Compact(text.to_owned()));
    }
    let key = p256();
    let (protected, payload, signature) = parts(&json!({"alg": "ES256", "jwk": key.jwk}), &key);
    let short = URL_SAFE_NO_PAD.decode(&signature).unwrap();
    let short = JsonWebSignature::Compact(format!("{protected}.{payload}.{}", base64(&short[..63])));
    assert!(refusal(&short).contains("63 octets instead of 64"));
}
