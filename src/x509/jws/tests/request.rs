//! Requests of ACME clients: what is taken, and every way to be refused with its ACME type.

use aws_lc_rs::signature::RSA_PKCS1_SHA512;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{KeyReference, SignedRequest};
use super::keys::{Key, base64, ed25519, every, p256, rsa, with};
use crate::Error;

const URL: &str = "https://ca.internal/acme/new-account";
const KID: &str = "https://ca.internal/acme/accounts/1";

fn header(algorithm: &str, key: &Key) -> Value {
    json!({"alg": algorithm, "jwk": key.jwk, "nonce": "bm9uY2U", "url": URL})
}

fn account_header(algorithm: &str) -> Value {
    json!({"alg": algorithm, "kid": KID, "nonce": "bm9uY2U", "url": URL})
}

#[track_caller]
fn refused(body: impl AsRef<[u8]>) -> Error {
    SignedRequest::parse(body.as_ref()).unwrap_err()
}

/// The detail of a refusal as malformed.
#[track_caller]
fn malformed(body: impl AsRef<[u8]>) -> String {
    let error = refused(body);
    assert_eq!(error.acme_token(), "malformed", "{error}");
    assert_eq!(error.kind().entry().status, 400);
    assert!(error.detail().chars().count() < 600 && !error.detail().contains(char::is_control), "{error}");
    error.detail().to_owned()
}

#[test]
fn requests_by_every_kind_of_key_are_verified_with_their_key_or_that_of_their_account() {
    for (algorithm, key) in every() {
        let body = key.request(&header(algorithm, &key), b"{\"termsOfServiceAgreed\":true}");
        let parsed = SignedRequest::parse(&body).unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        assert_eq!((parsed.algorithm().as_str(), parsed.nonce(), parsed.url()), (algorithm, "bm9uY2U", URL));
        assert_eq!(parsed.key(), &KeyReference::Jwk(key.offered()));
        let verified = parsed.verify_with_jwk().unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        assert_eq!(verified.payload(), b"{\"termsOfServiceAgreed\":true}");
        assert!(!verified.is_post_as_get());

        let body = key.request(&account_header(algorithm), b"");
        let parsed = SignedRequest::parse(&body).unwrap();
        let verified = parsed.verify(key.account_key().public_key()).unwrap();
        assert!(verified.is_post_as_get());
        assert_eq!((verified.nonce(), verified.url()), ("bm9uY2U", URL));
        assert_eq!(verified.into_parts(), (KeyReference::Kid(KID.to_owned()), Vec::new()));
    }
}

#[test]
fn only_the_empty_text_reads() {
    let key = p256();
    for payload in ["{}", " ", "\"\"", "null"] {
        let body = key.request(&account_header("ES256"), payload.as_bytes());
        let verified = SignedRequest::parse(&body).unwrap().verify(key.offered().public_key()).unwrap();
        assert!(!verified.is_post_as_get(), "{payload}");
    }
}

#[test]
fn another_key_or_another_text_does_not_verify() {
    let (key, other) = (p256(), p256());
    let body = key.request(&account_header("ES256"), b"{}");
    let error = SignedRequest::parse(&body).unwrap().verify(other.offered().public_key()).unwrap_err();
    assert_eq!(error.acme_token(), "malformed");
    assert!(error.detail().contains("does not verify"), "{error}");

    // The key of the header is that of somebody else.
    let body = key.request(&header("ES256", &other), b"{}");
    let error = SignedRequest::parse(&body).unwrap().verify_with_jwk().unwrap_err();
    assert_eq!(error.acme_token(), "malformed");

    let mut changed = key.flattened(&account_header("ES256"), b"{\"status\":\"valid\"}");
    changed["payload"] = json!(base64(b"{\"status\":\"deactivated\"}"));
    let error = SignedRequest::parse(changed.to_string().as_bytes()).unwrap();
    error.verify(key.offered().public_key()).unwrap_err();
}

#[test]
fn a_request_is_verified_in_the_way_that_it_says() {
    let key = p256();
    let with_key = SignedRequest::parse(&key.request(&header("ES256", &key), b"{}")).unwrap();
    let error = with_key.verify(key.offered().public_key()).unwrap_err();
    assert!(error.detail().contains("which `kid` names"), "{error}");
    let with_account = SignedRequest::parse(&key.request(&account_header("ES256"), b"{}")).unwrap();
    let error = with_account.verify_with_jwk().unwrap_err();
    assert!(error.detail().contains("carry their key, which is `jwk`"), "{error}");
}

#[test]
fn only_the_flattened_serialisation_is_read() {
    let key = p256();
    let good = key.flattened(&account_header("ES256"), b"{}");
    let text = |name: &str| good[name].as_str().unwrap().to_owned();
    let (protected, payload, signature) = (text("protected"), text("payload"), text("signature"));

    let general = json!({"payload": payload, "signatures": [{"protected": protected, "signature": signature}]});
    assert!(malformed(general.to_string()).contains("the member `signatures` is not accepted"));
    let both = with(&good, "signatures", json!([{"protected": protected, "signature": signature}]));
    assert!(malformed(both.to_string()).contains("the member `signatures` is not accepted"));
    for unprotected in [json!({"kid": "1"}), json!({}), json!(false)] {
        let body = with(&good, "header", unprotected);
        assert!(malformed(body.to_string()).contains("the member `header` is not accepted"));
    }
    let null_header = format!(r#"{{"header":null,{}"#, &good.to_string()[1..]);
    assert!(malformed(null_header).contains("the member `header` is not accepted"));
    // What is not known is ignored (RFC 7515, section 7.2.1).
    for extra in [json!(1), json!({"a": [null]}), Value::Null] {
        SignedRequest::parse(with(&good, "extra", extra).to_string().as_bytes()).unwrap();
    }
    SignedRequest::parse(format!(r#"{{"extra":null,{}"#, &good.to_string()[1..]).as_bytes()).unwrap();
    for name in ["protected", "payload", "signature"] {
        let missing = with(&good, name, Value::Null);
        assert!(malformed(missing.to_string()).contains(&format!("missing field `{name}`")));
        let twice = format!(r#"{{"{name}":"e30",{}"#, &good.to_string()[1..]);
        assert!(malformed(twice).contains(&format!("duplicate field `{name}`")));
        for value in [json!(1), json!(["e30"]), json!({}), json!(true)] {
            assert!(malformed(with(&good, name, value).to_string()).contains("invalid type"));
        }
        let null = good.to_string().replace(&format!(r#""{}""#, text(name)), "null");
        assert!(malformed(null).contains("invalid type: null"));
    }
    assert!(malformed(json!([protected, payload, signature]).to_string()).contains("expected an object"));
    assert!(malformed(format!("{protected}.{payload}.{signature}")).contains("not a JWS"));
    for rubbish in ["", "{", "null", "\"\"", "[]", "\u{feff}{}", "{}\0"] {
        malformed(rubbish);
    }
    malformed(format!("{good}{good}"));
    malformed([b"{\"protected\":\"\xff\"}".as_slice()].concat());
}

#[test]
fn nothing_is_unsigned() {
    let key = p256();
    let good = key.flattened(&account_header("ES256"), b"{}");
    assert!(malformed(with(&good, "signature", json!("")).to_string()).contains("its signature is empty"));
    assert!(malformed(with(&good, "protected", json!("")).to_string()).contains("no protected header"));
    let short = with(&good, "signature", json!(base64(&[1; 63])));
    let short = SignedRequest::parse(short.to_string().as_bytes()).unwrap();
    assert!(short.verify(key.offered().public_key()).unwrap_err().detail().contains("does not verify"));
}

#[test]
fn base64url_has_one_form_only() {
    let key = p256();
    let good = key.flattened(&account_header("ES256"), b"{\"a\":\"???>>>~\"}");
    for name in ["protected", "payload", "signature"] {
        let text = good[name].as_str().unwrap();
        let standard = format!("{}+/", &text[..text.len() - 2]);
        let unused_bits = format!("{text}AB");
        for changed in [
            format!("{text}="),
            format!("{text}=="),
            format!(" {text}"),
            format!("{text}\n"),
            format!("{text}é"),
            standard,
        ] {
            let detail = malformed(with(&good, name, json!(changed)).to_string());
            assert!(detail.contains("is not base64url without padding"), "{name}: {detail}");
        }
        if unused_bits.len() % 4 == 2 {
            malformed(with(&good, name, json!(unused_bits)).to_string());
        }
    }
    // The last character of 64 octets holds four bits that mean nothing.
    let text = good["signature"].as_str().unwrap();
    let changed = with(&good, "signature", json!(format!("{}B", &text[..85])));
    assert!(malformed(changed.to_string()).contains("the signature of the JWS is not base64url without padding"));
}

#[test]
fn what_is_too_long_or_too_deep_is_refused() {
    let key = p256();
    let good = key.flattened(&account_header("ES256"), b"{}");
    for (name, limit) in [("protected", 12_288), ("payload", 262_144), ("signature", 1366)] {
        let detail = malformed(with(&good, name, json!("A".repeat(limit + 1))).to_string());
        assert!(detail.contains(&format!("at most {limit} are accepted")), "{detail}");
    }
    let bomb = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    malformed(&bomb);
    malformed(format!(r#"{{"protected":{bomb}}}"#));
    malformed(format!(r#"{{"header":{bomb}}}"#));
    let deep = format!(r#"{{"alg":"ES256","x":{}{}}}"#, "[".repeat(4000), "]".repeat(4000));
    let deep = with(&good, "protected", json!(base64(deep.as_bytes())));
    assert!(malformed(deep.to_string()).contains("recursion limit"));
    let mut many = account_header("ES256");
    for number in 0..17 {
        many[format!("x{number}")] = json!(number);
    }
    assert!(malformed(key.request(&many, b"")).contains("more than 16 unknown"));
}

#[test]
fn algorithms_that_are_not_accepted_are_answered_with_those_that_are() {
    let key = p256();
    for algorithm in
        ["none", "None", "HS256", "HS384", "HS512", "RS384", "RS512", "PS256", "ES256K", "es256", "", "Ed448"]
    {
        for header in [header(algorithm, &key), account_header(algorithm)] {
            let error = refused(key.request(&header, b"{}"));
            assert_eq!(error.acme_token(), "badSignatureAlgorithm", "{algorithm}");
            assert_eq!(error.kind().entry().status, 400);
            let acme = error.acme_error().unwrap();
            assert_eq!(acme.algorithms, ["ES256", "ES384", "ES512", "EdDSA", "Ed25519", "RS256"]);
        }
    }
    // As it is written by those who try: with an empty signature.
    let unsigned = with(&key.flattened(&account_header("none"), b"{}"), "signature", json!(""));
    assert_eq!(refused(unsigned.to_string()).acme_token(), "badSignatureAlgorithm");
    assert!(malformed(key.request(&with(&header("ES256", &key), "alg", Value::Null), b"{}")).contains("no `alg`"));
    malformed(key.request(&with(&header("ES256", &key), "alg", json!(["ES256"])), b"{}"));
}

#[test]
fn the_algorithm_fits_the_key() {
    let mismatches = |key: &Key, wrong: &[&str], fitting: &[&str]| {
        for algorithm in wrong {
            let in_header = refused(key.request(&header(algorithm, key), b"{}"));
            assert_eq!(in_header.acme_token(), "badSignatureAlgorithm", "{in_header}");
            assert_eq!(in_header.acme_error().unwrap().algorithms, fitting, "{in_header}");
            // The key of an account is no business of whoever names the account.
            let request = SignedRequest::parse(&key.request(&account_header(algorithm), b"{}")).unwrap();
            let of_account = request.verify(key.offered().public_key()).unwrap_err();
            assert_eq!(of_account.acme_token(), "badSignatureAlgorithm", "{of_account}");
            for kind in ["ES256", "EdDSA", "RS256", "ecdsa", "ed25519", "rsa"] {
                assert!(!of_account.detail().contains(kind), "{of_account}");
            }
        }
    };
    mismatches(&p256(), &["ES384", "ES512", "RS256", "EdDSA", "Ed25519"], &["ES256"]);
    mismatches(&ed25519(), &["ES256", "ES384", "ES512", "RS256"], &["EdDSA", "Ed25519"]);
    mismatches(&rsa(&RSA_PKCS1_SHA512), &["ES256", "EdDSA", "Ed25519"], &["RS256"]);
}

#[test]
fn one_of_key_and_account_is_named() {
    let key = p256();
    let both = with(&header("ES256", &key), "kid", json!(KID));
    assert!(malformed(key.request(&both, b"{}")).contains("both `jwk` and `kid`"));
    let neither = with(&account_header("ES256"), "kid", Value::Null);
    assert!(malformed(key.request(&neither, b"{}")).contains("neither `jwk` nor `kid`"));
    for value in [json!(1), json!({}), json!([KID]), json!(false)] {
        malformed(key.request(&with(&account_header("ES256"), "kid", value.clone()), b"{}"));
        malformed(key.request(&with(&header("ES256", &key), "jwk", value), b"{}"));
    }
    let null = format!(r#"{{"jwk":null,{}"#, &account_header("ES256").to_string()[1..]);
    let null = with(&key.flattened(&json!({}), b""), "protected", json!(base64(null.as_bytes())));
    malformed(null.to_string());
}

#[test]
fn parameters_that_change_the_meaning_of_others_are_refused_and_unknown_ones_ignored() {
    let key = p256();
    for (name, value) in [
        ("crit", json!(["b64"])),
        ("crit", json!([])),
        ("crit", json!("exp")),
        ("b64", json!(false)),
        ("b64", json!(true)),
    ] {
        assert!(
            malformed(key.request(&with(&account_header("ES256"), name, value), b"{}")).contains(&format!("`{name}`"))
        );
    }
    let extended = with(&account_header("ES256"), "typ", json!("jose+json"));
    let extended = with(&extended, "jku", json!("https://evil.internal/keys"));
    let extended = with(&extended, "x", json!([[[{}]]]));
    SignedRequest::parse(&key.request(&extended, b"{}")).unwrap().verify(key.offered().public_key()).unwrap();
}

#[test]
fn no_parameter_is_there_twice() {
    let key = p256();
    let of = |text: String| {
        let body = with(&key.flattened(&json!({}), b"{}"), "protected", json!(base64(text.as_bytes())));
        malformed(body.to_string())
    };
    for (name, value) in [("alg", "\"none\""), ("nonce", "\"e30\""), ("url", "\"e30\""), ("kid", "\"e30\""), ("x", "1")]
    {
        let header = with(&account_header("ES256"), "x", json!(2));
        let detail = of(format!(r#"{{"{name}":{value},{}"#, &header.to_string()[1..]));
        assert!(detail.contains(&format!("duplicate field `{name}`")), "{detail}");
    }
    let escaped = of(format!(r#"{{"\u0061lg":"none",{}"#, &account_header("ES256").to_string()[1..]));
    assert!(escaped.contains("duplicate field `alg`"), "{escaped}");
    of(format!("{}x", account_header("ES256")));
}

#[test]
fn a_nonce_that_is_missing_is_bad_and_one_that_is_no_base64url_is_malformed() {
    let key = p256();
    for value in [Value::Null, json!("")] {
        let error = refused(key.request(&with(&account_header("ES256"), "nonce", value), b"{}"));
        assert_eq!(error.acme_token(), "badNonce");
        assert_eq!(error.kind().entry().status, 400);
    }
    for value in [json!("a+/b"), json!("YQ=="), json!("a b"), json!("é"), json!("a"), json!(1), json!(["YQ"])] {
        malformed(key.request(&with(&account_header("ES256"), "nonce", value), b"{}"));
    }
}

#[test]
fn the_address_is_signed() {
    let key = p256();
    assert!(malformed(key.request(&with(&account_header("ES256"), "url", Value::Null), b"{}")).contains("no `url`"));
    malformed(key.request(&with(&account_header("ES256"), "url", json!(1)), b"{}"));
}

#[test]
fn a_key_with_which_nothing_verifies_is_a_bad_key() {
    let key = p256();
    let mut off_curve = p256();
    off_curve.jwk["y"] = off_curve.jwk["x"].clone();
    let small = json!({"kty": "RSA", "n": base64(&[0xa5; 64]), "e": "AQAB"});
    let even = json!({"kty": "RSA", "n": base64(&[0xa5; 256]), "e": "Ag"});
    let large = json!({"kty": "RSA", "n": base64(&[0xa5; 1025]), "e": "AQAB"});
    for (algorithm, jwk) in [("ES256", off_curve.jwk), ("RS256", small), ("RS256", even), ("RS256", large)] {
        let body = key.request(&with(&header(algorithm, &key), "jwk", jwk), b"{}");
        let error = SignedRequest::parse(&body).unwrap().verify_with_jwk().unwrap_err();
        assert_eq!(error.acme_token(), "badPublicKey", "{error}");
    }
}

#[test]
fn no_bit_of_a_request_can_be_changed() {
    for (algorithm, key) in [("ES256", p256()), ("EdDSA", ed25519())] {
        for by_account in [false, true] {
            let header = if by_account { account_header(algorithm) } else { header(algorithm, &key) };
            let good = key.request(&header, b"{\"status\":\"deactivated\"}");
            let account_key = key.account_key();
            let verify = |body: &[u8]| {
                let request = SignedRequest::parse(body)?;
                if by_account { request.verify(account_key.public_key()) } else { request.verify_with_jwk() }
            };
            verify(&good).unwrap();
            let mut changed = good.clone();
            for place in 0..good.len() {
                for bit in 0..8 {
                    changed[place] ^= 1 << bit;
                    let error = verify(&changed).expect_err("a changed request verified");
                    assert!((400..500).contains(&error.kind().entry().status), "{error}");
                    changed[place] = good[place];
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn no_text_is_taken_for_a_request_by_accident(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(SignedRequest::parse(&body).is_err());
    }

    #[test]
    fn headers_of_any_form_are_judged_without_a_panic(
        header in "\\{(\"(alg|jwk|kid|nonce|url|crit|kty|x)\":(\"(ES256|RS256|e30|EC)\"|1|null|\\{\"kty\":\"EC\"\\}|\\[\\]),?){0,6}\\}",
        payload in "[A-Za-z0-9_-]{0,20}",
    ) {
        let body = json!({"protected": base64(header.as_bytes()), "payload": payload, "signature": "e30"});
        if let Ok(request) = SignedRequest::parse(body.to_string().as_bytes()) {
            prop_assert!(request.verify_with_jwk().is_err());
        }
    }
}
