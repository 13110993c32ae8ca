//! Tokens that are accepted, and all the ways in which one is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod key_addresses;

use std::io::Write as _;
use std::path::PathBuf;

use aws_lc_rs::hmac;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::auth::test_support::{SetClock, TokenKey, encode};

const NOW: i64 = 1_900_000_000;

fn claims() -> Value {
    json!({"iss": "https://idp.internal", "aud": "chancery", "sub": "ann", "iat": NOW - 10, "exp": NOW + 300, "team": "payments"})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn settings(keys: JwtKeySource) -> JwtProviderSettings {
    JwtProviderSettings {
        name: "idp".to_owned(),
        issuer: "https://idp.internal".to_owned(),
        audience: vec!["chancery".to_owned(), "pki".to_owned()],
        algorithms: JwtAlgorithm::ALL.to_vec(),
        keys,
        refresh: Duration::from_secs(600),
        leeway: Duration::from_secs(30),
        maximum_age: None,
        subject_claim: "sub".to_owned(),
        role: None,
        rules: vec![JwtRule {
            claims: [("team".to_owned(), vec!["payments".to_owned()])].into(),
            role: Role::Requester,
            grants: serde_json::from_value(
                json!({"profiles": ["{team}"], "names": {"dns": {"allow": ["*.{team}.internal"]}}}),
            )
            .unwrap(),
        }],
    }
}

/// Providers whose keys are in a file.
struct Fixture {
    providers: JwtProviders,
    clock: Arc<SetClock>,
    _directory: TempDir,
}

impl Fixture {
    async fn open(content: &str, jwks: bool, change: impl FnOnce(&mut JwtProviderSettings)) -> Result<Self> {
        let directory = tempfile::tempdir().unwrap();
        let path: PathBuf = directory.path().join("keys");
        std::fs::File::create(&path).unwrap().write_all(content.as_bytes()).unwrap();
        let source = if jwks { JwtKeySource::JwksFile(path) } else { JwtKeySource::PublicKeyFile(path) };
        let mut settings = settings(source);
        change(&mut settings);
        let clock = Arc::new(SetClock::at(NOW));
        let providers = JwtProviders::open(vec![settings], Arc::clone(&clock) as Arc<dyn Clock>).await?;
        Ok(Self { providers, clock, _directory: directory })
    }

    async fn with_keys(keys: Value) -> Self {
        Self::open(&json!({"keys": keys}).to_string(), true, |_settings| {}).await.unwrap()
    }

    async fn name(&self, token: &str) -> Result<String> {
        self.providers.authenticate(token).await.map(|principal| principal.name.clone())
    }

    async fn refusal(&self, token: &str) -> String {
        let error = self.name(token).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        error.detail().to_owned()
    }
}

/// One provider with one P-256 key `k`, and what it says of these claims.
async fn judge(claims: &Value, change: impl FnOnce(&mut JwtProviderSettings)) -> Result<String> {
    let key = TokenKey::p256();
    let fixture = Fixture::open(&json!({"keys": [key.jwk(Some("k"))]}).to_string(), true, change).await.unwrap();
    fixture.name(&key.token(&json!({"alg": "ES256", "kid": "k"}), claims)).await
}

async fn judged(claims: &Value) -> String {
    judge(claims, |_settings| {}).await.unwrap_or_else(|error| error.detail().to_owned())
}

#[tokio::test]
async fn accepts_every_configured_algorithm_from_jwks_and_from_pem() {
    let (p256, p384, ed25519, rsa) = (TokenKey::p256(), TokenKey::p384(), TokenKey::ed25519(), TokenKey::rsa());
    for algorithm in JwtAlgorithm::ALL {
        let key = match algorithm {
            JwtAlgorithm::Es256 => &p256,
            JwtAlgorithm::Es384 => &p384,
            JwtAlgorithm::EdDsa => &ed25519,
            _ => &rsa,
        };
        let token = key.token(&json!({"alg": algorithm.as_str(), "kid": "k", "typ": "JWT"}), &claims());
        let jwks = Fixture::with_keys(json!([key.jwk(Some("k"))])).await;
        assert_eq!(jwks.name(&token).await.unwrap(), "jwt:idp:ann", "{algorithm}");
        let pem = Fixture::open(&key.pem(), false, |_settings| {}).await.unwrap();
        assert_eq!(pem.name(&token).await.unwrap(), "jwt:idp:ann", "{algorithm}");
    }
}

#[tokio::test]
async fn gives_role_and_grants_by_the_rules() {
    let key = TokenKey::p256();
    let fixture = Fixture::with_keys(json!([key.jwk(Some("k"))])).await;
    let header = json!({"alg": "ES256", "kid": "k"});
    let principal = fixture.providers.authenticate(&key.token(&header, &claims())).await.unwrap();
    assert_eq!((principal.role, principal.method), (Role::Requester, Method::Jwt));
    let names = principal.grants.document().names.clone().unwrap();
    assert_eq!(names.dns.unwrap().allow, ["*.payments.internal"]);
    assert!(principal.grants.allow_profile("payments") && !principal.grants.allow_profile("server"));
    let refusal = fixture.refusal(&key.token(&header, &with("team", json!("*")))).await;
    assert_eq!(refusal, "the token is valid, but its claims match no rule of its provider");
}

#[tokio::test]
async fn never_makes_a_pattern_of_a_claim() {
    let rule = JwtRule {
        claims: [("aud".to_owned(), vec!["chancery".to_owned()])].into(),
        role: Role::Requester,
        grants: serde_json::from_value(json!({"names": {"dns": {"allow": ["*.{team}.internal"]}}})).unwrap(),
    };
    for team in ["*", "**", "a.*", "a.b", "", "{sub}", "a b"] {
        let rule = rule.clone();
        let error = judge(&with("team", json!(team)), |settings| settings.rules = vec![rule]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(
            error.detail().starts_with("the token's claim `team`, which its rule puts into the grants,"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn checks_the_times_with_leeway() {
    let expired = "the token expired at 2030-03-17T17:46:10Z";
    assert_eq!(judged(&with("exp", json!(NOW - 29))).await, "jwt:idp:ann");
    assert_eq!(judged(&with("exp", json!(NOW - 30))).await, expired);
    assert_eq!(judged(&with("exp", json!((NOW - 30) as f64 + 0.5))).await, expired);
    assert_eq!(judged(&without("exp")).await, "the token has no expiry (`exp`)");
    assert_eq!(judged(&with("exp", json!("2030"))).await, "the token's `exp` is not a number of seconds");
    assert_eq!(judged(&with("exp", json!(null))).await, "the token's `exp` is not a number of seconds");
    assert_eq!(judged(&with("exp", json!(1e300))).await, "jwt:idp:ann");
    assert_eq!(judged(&with("nbf", json!(NOW + 30))).await, "jwt:idp:ann");
    assert_eq!(judged(&with("nbf", json!(NOW + 31))).await, "the token is not valid before 2030-03-17T17:47:11Z");
    assert_eq!(
        judged(&with("iat", json!(NOW + 31))).await,
        "the token was issued in the future, at 2030-03-17T17:47:11Z"
    );
    assert_eq!(judged(&with("iat", json!([]))).await, "the token's `iat` is not a number of seconds");
}

#[tokio::test]
async fn checks_the_age_when_configured() {
    let change = |settings: &mut JwtProviderSettings| settings.maximum_age = Some(Duration::from_secs(60));
    assert!(judge(&with("iat", json!(NOW - 89)), change).await.is_ok());
    let old = judge(&with("iat", json!(NOW - 90)), change).await.unwrap_err();
    assert_eq!(old.detail(), "the token is older than 60 seconds, the most that is accepted");
    let ageless = judge(&without("iat"), change).await.unwrap_err();
    assert_eq!(ageless.detail(), "the token does not say when it was issued (`iat`)");
}

#[tokio::test]
async fn checks_issuer_audience_subject_and_binding() {
    let other = "the token's issuer `https://evil.internal` is not configured";
    assert_eq!(judged(&with("iss", json!("https://evil.internal"))).await, other);
    assert_eq!(judged(&without("iss")).await, "the token has no issuer (`iss`)");
    assert_eq!(judged(&with("iss", json!(["https://idp.internal"]))).await, "the token has no issuer (`iss`)");
    assert_eq!(judged(&with("aud", json!(["x", "pki"]))).await, "jwt:idp:ann");
    let audience = "the token is not for this service; its audience (`aud`) must be `chancery` or `pki`";
    for aud in [json!("other"), json!(["other"]), json!([]), json!(null), json!({"chancery": 1}), json!("chancery ")] {
        assert_eq!(judged(&with("aud", aud)).await, audience);
    }
    assert_eq!(judged(&without("aud")).await, audience);
    for sub in [json!(null), json!(7), json!(""), json!("a\nb"), json!("a".repeat(256))] {
        assert!(judged(&with("sub", sub)).await.starts_with("the token's claim `sub`, which names the caller, is"));
    }
    let bound = "the token is bound to a key (`cnf`) and cannot be used as a bearer token";
    assert_eq!(judged(&with("cnf", json!({"jkt": "x"}))).await, bound);
}

#[tokio::test]
async fn refuses_tokens_without_signature() {
    let key = TokenKey::p256();
    let fixture = Fixture::with_keys(json!([key.jwk(Some("k"))])).await;
    for algorithm in ["none", "None", "NONE", "nOnE", ""] {
        let header = encode(json!({"alg": algorithm, "kid": "k"}).to_string().as_bytes());
        let payload = encode(claims().to_string().as_bytes());
        for signature in ["", "AAAA"] {
            let refusal = fixture.refusal(&format!("{header}.{payload}.{signature}")).await;
            assert!(refusal.starts_with("the token's algorithm is refused: "), "{refusal}");
        }
    }
    let good = key.token(&json!({"alg": "ES256", "kid": "k"}), &claims());
    let unsigned = good.rsplit_once('.').unwrap().0;
    assert_eq!(
        fixture.refusal(&format!("{unsigned}.")).await,
        "the token's signature does not verify with its issuer's key"
    );
}

#[tokio::test]
async fn refuses_macs_made_with_the_public_key() {
    for key in [TokenKey::rsa(), TokenKey::p256()] {
        let jwks = Fixture::with_keys(json!([key.jwk(Some("k"))])).await;
        let pem = Fixture::open(&key.pem(), false, |_settings| {}).await.unwrap();
        let secrets =
            [key.pem().into_bytes(), key.pem().trim_end().as_bytes().to_vec(), key.spki(), key.spki()[26..].to_vec()];
        for secret in secrets {
            for (algorithm, hash) in
                [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
            {
                let header = encode(json!({"alg": algorithm, "kid": "k"}).to_string().as_bytes());
                let signed = format!("{header}.{}", encode(claims().to_string().as_bytes()));
                let mac = hmac::sign(&hmac::Key::new(hash, &secret), signed.as_bytes());
                let token = format!("{signed}.{}", encode(mac.as_ref()));
                for fixture in [&jwks, &pem] {
                    assert!(fixture.refusal(&token).await.starts_with("the token's algorithm is refused: "));
                }
            }
        }
    }
}

#[tokio::test]
async fn refuses_algorithms_that_are_not_listed() {
    let rsa = TokenKey::rsa();
    let keys = json!({"keys": [rsa.jwk(Some("k"))]}).to_string();
    let only = |settings: &mut JwtProviderSettings| settings.algorithms = vec![JwtAlgorithm::Rs256];
    let fixture = Fixture::open(&keys, true, only).await.unwrap();
    assert!(fixture.name(&rsa.token(&json!({"alg": "RS256", "kid": "k"}), &claims())).await.is_ok());
    let refusal = fixture.refusal(&rsa.token(&json!({"alg": "PS256", "kid": "k"}), &claims())).await;
    assert_eq!(refusal, "the token's algorithm `PS256` is not accepted from its issuer");
}

#[tokio::test]
async fn honours_what_a_jwk_says_it_is_for() {
    let (rsa, p256) = (TokenKey::rsa(), TokenKey::p256());
    let mut pinned = rsa.jwk(Some("k"));
    pinned["alg"] = json!("RS256");
    let fixture = Fixture::with_keys(json!([pinned, p256.jwk(Some("other"))])).await;
    assert!(fixture.name(&rsa.token(&json!({"alg": "RS256", "kid": "k"}), &claims())).await.is_ok());
    let refusal = fixture.refusal(&rsa.token(&json!({"alg": "RS384", "kid": "k"}), &claims())).await;
    assert_eq!(refusal, "the token's key `k` is not one of its issuer's keys for `RS384`");
    for (member, value) in
        [("use", json!("enc")), ("key_ops", json!(["encrypt"])), ("alg", json!("RSA-OAEP")), ("alg", json!("ES256"))]
    {
        let mut left_out = rsa.jwk(Some("k"));
        left_out[member] = value;
        let fixture =
            Fixture::with_keys(json!([left_out, p256.jwk(Some("other")), {"kty": "oct", "k": "AAAA", "kid": "k"}]))
                .await;
        fixture.refusal(&rsa.token(&json!({"alg": "RS256", "kid": "k"}), &claims())).await;
    }
}

#[tokio::test]
async fn chooses_keys_by_kid_and_guesses_only_when_one_would_do() {
    let (one, two) = (TokenKey::p256(), TokenKey::p256());
    let named = Fixture::with_keys(json!([one.jwk(Some("1")), two.jwk(Some("2"))])).await;
    let es256 = |kid: Option<&str>| kid.map_or(json!({"alg": "ES256"}), |kid| json!({"alg": "ES256", "kid": kid}));
    assert!(named.name(&one.token(&es256(Some("1")), &claims())).await.is_ok());
    let wrong = named.refusal(&one.token(&es256(Some("2")), &claims())).await;
    assert_eq!(wrong, "the token's signature does not verify with its issuer's key");
    let unnamed = named.refusal(&one.token(&es256(None), &claims())).await;
    assert_eq!(unnamed, "the token names no key (`kid`), and its issuer does not have exactly one for `ES256`");
    let anonymous = Fixture::with_keys(json!([one.jwk(None), TokenKey::p384().jwk(None)])).await;
    assert!(anonymous.name(&one.token(&es256(None), &claims())).await.is_ok());
    assert!(anonymous.name(&one.token(&es256(Some("x")), &claims())).await.is_ok());
    let two_anonymous = Fixture::with_keys(json!([one.jwk(None), two.jwk(None)])).await;
    two_anonymous.refusal(&one.token(&es256(None), &claims())).await;
}

#[tokio::test]
async fn ignores_keys_and_addresses_in_the_header() {
    let (ours, theirs) = (TokenKey::p256(), TokenKey::p256());
    let fixture = Fixture::with_keys(json!([ours.jwk(Some("k"))])).await;
    let header = json!({"alg": "ES256", "kid": "k", "jwk": theirs.jwk(Some("k")), "jku": "https://evil.internal/", "x5c": ["AAAA"]});
    fixture.refusal(&theirs.token(&header, &claims())).await;
    assert!(fixture.name(&ours.token(&header, &claims())).await.is_ok());
}

#[tokio::test]
async fn refuses_critical_parameters_and_other_types_of_token() {
    let key = TokenKey::p256();
    let fixture = Fixture::with_keys(json!([key.jwk(Some("k"))])).await;
    for crit in [json!(["exp"]), json!([]), json!(["b64"])] {
        let refusal = fixture.refusal(&key.token(&json!({"alg": "ES256", "kid": "k", "crit": crit}), &claims())).await;
        assert!(refusal.contains("`crit`"), "{refusal}");
    }
    for typ in ["dpop+jwt", "logout+jwt", "secevent+jwt", "JOSE"] {
        let refusal = fixture.refusal(&key.token(&json!({"alg": "ES256", "kid": "k", "typ": typ}), &claims())).await;
        assert_eq!(refusal, format!("the token's type `{}` is not `JWT` or `at+jwt`", typ.to_ascii_lowercase()));
    }
    for typ in ["jwt", "at+JWT"] {
        assert!(fixture.name(&key.token(&json!({"alg": "ES256", "kid": "k", "typ": typ}), &claims())).await.is_ok());
    }
}

#[tokio::test]
async fn refuses_tampered_foreign_malformed_and_oversized_tokens() {
    let key = TokenKey::p256();
    let fixture = Fixture::with_keys(json!([key.jwk(Some("k"))])).await;
    let header = json!({"alg": "ES256", "kid": "k"});
    let good = key.token(&header, &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let altered = encode(with("sub", json!("root")).to_string().as_bytes());
    fixture.refusal(&format!("{}.{altered}.{}", parts[0], parts[2])).await;
    fixture.refusal(&TokenKey::p256().token(&header, &claims())).await;
    for bad in ["", ".", "..", "...", "a.b.c", "a.b", "Basic", &format!("{good}.x"), &format!("{good}=")] {
        fixture.refusal(bad).await;
    }
    fixture.refusal(&key.token(&header, &json!(["not", "claims"]))).await;
    fixture.refusal(&key.token(&json!([]), &claims())).await;
    let refusal = fixture.refusal(&key.token(&header, &with("pad", json!("x".repeat(MAXIMUM_TOKEN))))).await;
    assert_eq!(refusal, "the token is over 16384 octets");
}

#[tokio::test]
async fn a_token_that_was_believed_ends_when_it_ends() {
    let key = TokenKey::p256();
    let fixture = Fixture::with_keys(json!([key.jwk(Some("k"))])).await;
    let token = key.token(&json!({"alg": "ES256", "kid": "k"}), &claims());
    fixture.name(&token).await.unwrap();
    fixture.clock.set(NOW + 329);
    fixture.name(&token).await.unwrap();
    fixture.clock.set(NOW + 330);
    assert!(fixture.refusal(&token).await.starts_with("the token expired"));
}

#[tokio::test]
async fn refuses_settings_that_would_accept_too_much_or_nothing() {
    let keys = json!({"keys": [TokenKey::p256().jwk(None)]}).to_string();
    let changes: [fn(&mut JwtProviderSettings); 8] = [
        |settings| settings.audience.clear(),
        |settings| settings.algorithms.clear(),
        |settings| settings.issuer.clear(),
        |settings| settings.rules.clear(),
        |settings| settings.leeway = Duration::from_secs(601),
        |settings| "a:b".clone_into(&mut settings.name),
        |settings| settings.subject_claim.clear(),
        |settings| settings.keys = JwtKeySource::JwksFile("/nonexistent".into()),
    ];
    for change in changes {
        let error = Fixture::open(&keys, true, change).await.map(|_fixture| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.detail().starts_with("token issuer `"), "{error}");
    }
    let weak = json!({"keys": [{"kty": "RSA", "n": encode(&[0xff; 128]), "e": "AQAB"}]}).to_string();
    let off_curve =
        json!({"keys": [{"kty": "EC", "crv": "P-256", "x": encode(&[1; 32]), "y": encode(&[1; 32])}]}).to_string();
    for keys in ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, &weak, &off_curve] {
        assert!(Fixture::open(keys, true, |_settings| {}).await.is_err(), "{keys}");
    }
    for pem in
        ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "-----BEGIN PUBLIC KEY-----\nAAAA\n"]
    {
        assert!(Fixture::open(pem, false, |_settings| {}).await.is_err(), "{pem}");
    }
}
