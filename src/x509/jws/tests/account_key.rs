//! Which keys accounts may have, and how they are kept.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use num_bigint::BigUint;
use serde_json::{Value, json};

use super::super::{AccountKey, OfferedKey};
use super::keys::{base64, every, p256};
use crate::x509::PublicKey;

fn offered(jwk: &Value) -> crate::Result<OfferedKey> {
    OfferedKey::from_jwk(jwk.to_string().as_bytes())
}

/// The detail of a refusal as `badPublicKey`, when the key is read or when it is judged.
fn bad_public_key(jwk: &Value) -> String {
    let error = offered(jwk).and_then(OfferedKey::into_account_key).unwrap_err();
    assert_eq!(error.acme_token(), "badPublicKey", "{error}");
    assert_eq!(error.kind().entry().status, 400);
    error.detail().to_owned()
}

fn rsa(modulus: &BigUint, exponent: u32) -> Value {
    json!({"kty": "RSA", "n": base64(&modulus.to_bytes_be()), "e": base64(&BigUint::from(exponent).to_bytes_be())})
}

#[test]
fn keys_of_every_kind_are_stored_and_read_again() {
    for (algorithm, key) in every() {
        let account_key = key.account_key();
        assert_eq!(account_key.public_key().spki_der(), key.spki, "{algorithm}");
        let stored = AccountKey::from_stored(account_key.jwk()).unwrap();
        assert_eq!(stored, account_key, "{algorithm}");
        assert!(stored.is(&key.offered()) && !stored.is(&p256().offered()));
        let certified = PublicKey::from_spki_der(&key.spki).unwrap();
        assert_eq!(OfferedKey::from_public_key(certified).unwrap(), key.offered(), "{algorithm}");
    }
}

#[test]
fn weak_keys_may_be_read_but_not_be_those_of_accounts() {
    let modulus = BigUint::from_bytes_be(
        &URL_SAFE_NO_PAD.decode("0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw").unwrap(),
    );
    assert!(offered(&rsa(&modulus, 65537)).unwrap().into_account_key().is_ok());
    assert!(bad_public_key(&rsa(&modulus, 3)).contains("the RSA public exponent is 3; only 65537 is accepted"));
    assert!(bad_public_key(&rsa(&(&modulus >> 1024_u32), 65537)).contains("the RSA modulus has 1024 bits"));
    assert!(bad_public_key(&rsa(&(&modulus >> 2000_u32), 65537)).contains("rsa-48"));
    assert!(bad_public_key(&rsa(&(&modulus << 6145_u32), 65537)).contains("the RSA modulus has 8193 bits"));
    assert!(bad_public_key(&rsa(&(&modulus + 1_u32), 65537)).contains("prime factor below"));
    let mut off_curve = p256().jwk;
    off_curve["y"] = off_curve["x"].clone();
    assert!(bad_public_key(&off_curve).contains("not on its curve"));
    let small_order = json!({"kty": "OKP", "crv": "Ed25519", "x": base64(&[0; 32])});
    assert!(bad_public_key(&small_order).contains("small order"));
}

#[test]
fn kinds_that_are_not_supported_are_bad_keys_and_what_is_no_key_is_malformed() {
    for unsupported in [
        json!({"kty": "EC", "crv": "secp256k1", "x": base64(&[1; 32]), "y": base64(&[1; 32])}),
        json!({"kty": "OKP", "crv": "Ed448", "x": base64(&[1; 57])}),
        json!({"kty": "OKP", "crv": "X25519", "x": base64(&[1; 32])}),
        json!({"kty": "AKP", "alg": "ML-DSA-65", "pub": base64(&[1; 1952])}),
        json!({"kty": "oct"}),
        json!({"kty": ""}),
    ] {
        assert!(bad_public_key(&unsupported).contains("supported are EC with P-256"), "{unsupported}");
    }
    let key = p256().jwk;
    let padded = format!("{}=", key["x"].as_str().unwrap());
    for (name, value) in [
        ("x", json!(padded)),
        ("x", json!("+/+/")),
        ("x", Value::Null),
        ("x", json!(7)),
        ("x", json!(base64(&[0; 31]))),
        ("kty", Value::Null),
        ("kty", json!(["EC"])),
        ("d", json!("c2VjcmV0")),
        ("k", json!("c2VjcmV0")),
    ] {
        let mut changed = key.clone();
        changed[name] = value;
        let error = offered(&changed).unwrap_err();
        assert_eq!(error.acme_token(), "malformed", "{changed}: {error}");
        assert!(!error.detail().contains("c2VjcmV0"));
    }
    // The members' values as a list, in the order in which the program has them.
    let list = json!(["EC", "P-256", key["x"], key["y"]]);
    assert!(offered(&list).unwrap_err().detail().contains("expected an object"));
    let twice = format!(r#"{{"kty":"EC",{}"#, &key.to_string()[1..]);
    assert!(OfferedKey::from_jwk(twice.as_bytes()).unwrap_err().detail().contains("duplicate field `kty`"));
}

#[test]
fn a_stored_key_that_is_none_is_our_own_fault() {
    let error = AccountKey::from_stored("{}").unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Internal);
}
