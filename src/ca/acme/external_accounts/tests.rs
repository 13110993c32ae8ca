//! Who may make which keys, and what is no binding.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::*;
use crate::auth::{Method, Principal};
use crate::ca::acme::AcmeSettings;
use crate::ca::acme::test_support::{BASE, Fixture, NOW_MS, TestKey, admit, register};
use crate::storage::AuditFilter;

const URL: &str = "https://ca.internal/acme/new-account";

fn caller(name: &str, role: Role, grants: &Value) -> Authorized<ManageExternalAccountKeys> {
    let grants = Grants::compile(serde_json::from_value(grants.clone()).unwrap()).unwrap();
    let principal = Principal { name: name.to_owned(), role, grants, method: Method::ApiToken };
    let caller = Caller { principal: Arc::new(principal), remote_address: None, request_id: None };
    Authorized::check(Arc::new(caller)).unwrap()
}

fn administrator() -> Authorized<ManageExternalAccountKeys> {
    caller("token:admin", Role::Administrator, &json!({}))
}

fn request(profile: &str) -> ExternalAccountKeyRequest {
    ExternalAccountKeyRequest {
        profile: profile.to_owned(),
        grants: None,
        proves_control: false,
        single_use: false,
        expires_at: None,
        principal: None,
        idempotency: None,
    }
}

async fn create(acme: &Acme, request: ExternalAccountKeyRequest) -> CreatedExternalAccountKey {
    acme.create_external_account_key(&administrator(), request).await.unwrap()
}

fn secret(key: &CreatedExternalAccountKey) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(key.hmac_key.expose_secret()).unwrap()
}

fn mac(header: &Value, secret: &[u8], payload: &Value) -> Value {
    let (protected, payload) =
        (URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload.to_string()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mac = hmac::sign(&key, format!("{protected}.{payload}").as_bytes());
    json!({"protected": protected, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(mac.as_ref())})
}

/// A binding that is right.
fn binding(created: &CreatedExternalAccountKey, account_key: &TestKey) -> Value {
    let header = json!({"alg": "HS256", "kid": created.key.key_id, "url": URL});
    mac(&header, &secret(created), &account_key.jwk())
}

fn bound(binding: &Value) -> Value {
    json!({"externalAccountBinding": binding})
}

/// What whoever makes keys may read.
fn reading(authorization: &Authorized<ManageExternalAccountKeys>) -> Authorized<ReadExternalAccountKeys> {
    Authorized::check(std::sync::Arc::clone(authorization.caller())).unwrap()
}

#[tokio::test]
async fn a_key_belongs_to_its_maker_and_is_shown_once() {
    let fixture = Fixture::new().await;
    let created = create(&fixture.acme, request("server")).await;
    assert_eq!((created.key.principal.as_str(), created.key.created_by.as_str()), ("token:admin", "token:admin"));
    assert_eq!((created.key.grants.as_str(), created.replayed), ("{}", false));
    assert_eq!((created.key.key_id.len(), secret(&created).len()), (32, 64));
    let other = create(&fixture.acme, request("server")).await;
    assert_ne!((&other.key.key_id, secret(&other)), (&created.key.key_id, secret(&created)));
    let listed = fixture.acme.list_external_account_keys(&reading(&administrator()), None, 10).await.unwrap();
    assert_eq!(listed.len(), 2);
    let events = fixture.acme.ca().storage().audit_events(&AuditFilter::default(), None, 100).await.unwrap().items;
    let written = format!("{events:?}");
    assert!(written.contains(&created.key.key_id) && !written.contains(created.hmac_key.expose_secret()));
}

#[tokio::test]
async fn keys_of_the_random_source_never_look_like_options() {
    let fixture = Fixture::new().await;
    for _ in 0..200 {
        let (_, secret) = fixture.acme.new_secret().unwrap();
        assert!(!URL_SAFE_NO_PAD.encode(secret.as_slice()).starts_with('-'));
    }
}

#[tokio::test]
async fn whoever_has_grants_gives_exactly_these() {
    let fixture = Fixture::new().await;
    let grants = json!({"profiles": ["server"], "names": {"dns": {"allow": ["*.shop.internal"]}}});
    for role in [Role::Requester, Role::Operator, Role::Administrator] {
        let shop = caller("token:shop", role, &grants);
        let make = |request| fixture.acme.create_external_account_key(&shop, request);
        let created = make(request("server")).await.unwrap();
        let stored: Value = serde_json::from_str(&created.key.grants).unwrap();
        assert_eq!(stored, serde_json::to_value(shop.caller().principal.grants.document()).unwrap());
        let refused = make(request("client")).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Forbidden, "{}", refused.detail());
        let wider = ExternalAccountKeyRequest { grants: Some(GrantsDocument::default()), ..request("server") };
        assert!(make(wider).await.unwrap_err().detail().contains("leave out `grants`"));
        let other = ExternalAccountKeyRequest { principal: Some("token:other".to_owned()), ..request("server") };
        assert_eq!(make(other).await.unwrap_err().kind(), ErrorKind::Forbidden);
        let own = ExternalAccountKeyRequest { principal: Some("token:shop".to_owned()), ..request("server") };
        make(own).await.unwrap();
    }
}

#[tokio::test]
async fn operators_make_keys_for_others_and_requesters_for_themselves() {
    let fixture = Fixture::new().await;
    let for_other = || ExternalAccountKeyRequest { principal: Some("token:other".to_owned()), ..request("server") };
    for role in [Role::Administrator, Role::Operator] {
        let operator = caller("token:op", role, &json!({}));
        let created = fixture.acme.create_external_account_key(&operator, for_other()).await.unwrap();
        assert_eq!((created.key.principal.as_str(), created.key.created_by.as_str()), ("token:other", "token:op"));
    }
    let requester = caller("token:other", Role::Requester, &json!({}));
    let others = caller("token:third", Role::Requester, &json!({}));
    let refused = fixture.acme.create_external_account_key(&others, for_other()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Forbidden);
    let third = fixture.acme.create_external_account_key(&others, request("server")).await.unwrap().key;
    // A requester sees and deletes what is its own, whoever made it.
    assert_eq!(fixture.acme.list_external_account_keys(&reading(&requester), None, 10).await.unwrap().len(), 2);
    let not_found = fixture.acme.read_external_account_key(&reading(&requester), &third.key_id).await.unwrap_err();
    assert_eq!(not_found.kind(), ErrorKind::NotFound);
    let not_found = fixture.acme.delete_external_account_key(&requester, &third.key_id).await.unwrap_err();
    assert_eq!(not_found.kind(), ErrorKind::NotFound);
    fixture.acme.delete_external_account_key(&others, &third.key_id).await.unwrap();
    fixture.acme.read_external_account_key(&reading(&others), &third.key_id).await.unwrap_err();
}

#[tokio::test]
async fn keys_that_could_do_nothing_are_refused() {
    let fixture = Fixture::new().await;
    let grants = |value: Value| Some(serde_json::from_value::<GrantsDocument>(value).unwrap());
    let principal = |name: &str| Some(name.to_owned());
    let past = Some(Timestamp::from_unix(NOW_MS / 1000));
    for (bad, said) in [
        (request("nobody"), "there is no profile `nobody`"),
        (ExternalAccountKeyRequest { expires_at: past, ..request("server") }, "not in the future"),
        (
            ExternalAccountKeyRequest { grants: grants(json!({"profiles": ["client"]})), ..request("server") },
            "does not name the profile",
        ),
        (
            ExternalAccountKeyRequest { grants: grants(json!({"profiles": ["no-such"]})), ..request("server") },
            "no profile `no-such`",
        ),
        (ExternalAccountKeyRequest { principal: principal(""), ..request("server") }, "not the name of a principal"),
        (ExternalAccountKeyRequest { principal: principal("a b"), ..request("server") }, "not the name of a principal"),
        (ExternalAccountKeyRequest { principal: principal("system"), ..request("server") }, "gives out itself"),
        (ExternalAccountKeyRequest { principal: principal("acme:7"), ..request("server") }, "gives out itself"),
    ] {
        let refused = fixture.acme.create_external_account_key(&administrator(), bad).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Malformed);
        assert!(refused.detail().contains(said), "{said}: {}", refused.detail());
    }
}

#[tokio::test]
async fn a_repetition_gives_the_same_key_and_another_request_is_refused() {
    let fixture = Fixture::new().await;
    let idempotency = |digest| Some(Idempotency { key: "k-1".to_owned(), request_sha256: [digest; 32] });
    let make = |digest| {
        create(&fixture.acme, ExternalAccountKeyRequest { idempotency: idempotency(digest), ..request("server") })
    };
    let all = join_all((0..8).map(|_| make(1))).await;
    assert_eq!(all.iter().filter(|created| !created.replayed).count(), 1);
    assert!(all.iter().all(|created| secret(created) == secret(&all[0]) && created.key == all[0].key));
    let other = ExternalAccountKeyRequest { idempotency: idempotency(2), ..request("server") };
    let refused = fixture.acme.create_external_account_key(&administrator(), other).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::IdempotencyKeyReused);
}

#[tokio::test]
async fn a_bound_account_orders_as_the_principal_of_its_key() {
    let fixture = Fixture::new().await;
    let grants = json!({"names": {"dns": {"allow": ["*.shop.internal"]}}});
    let created = create(
        &fixture.acme,
        ExternalAccountKeyRequest {
            principal: Some("token:shop".to_owned()),
            grants: Some(serde_json::from_value(grants).unwrap()),
            ..request("server")
        },
    )
    .await;
    let key = TestKey::new();
    let sent = binding(&created, &key);
    let account = register(&fixture.acme, &key, bound(&sent)).await.unwrap().account;
    assert_eq!(account.record.external_account_binding.as_deref(), Some(sent.to_string().as_str()));
    let caller = admit(&fixture.acme, &key, account.record.id).await.unwrap();
    assert_eq!(caller.caller().principal.name, "token:shop");
    assert_eq!(serde_json::to_string(caller.caller().principal.grants.document()).unwrap(), created.key.grants);
    assert_eq!(caller.account().record.external_account_key.as_ref(), Some(&created.key));
}

#[tokio::test]
async fn each_thing_that_is_wrong_with_a_binding_is_said() {
    let fixture = Fixture::new().await;
    let created = create(&fixture.acme, request("server")).await;
    let (key, other) = (TestKey::new(), TestKey::new());
    let secret = secret(&created);
    let good = |change: Value| {
        let mut header = json!({"alg": "HS256", "kid": created.key.key_id, "url": URL});
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => drop(header.as_object_mut().unwrap().remove(name)),
                value => header[name] = value.clone(),
            }
        }
        header
    };
    let signed = |change: Value| mac(&good(change), &secret, &key.jwk());
    let unknown = "0".repeat(32);
    for (sent, token, said) in [
        (signed(json!({"alg": "ES256"})), "badSignatureAlgorithm", "HS256"),
        (signed(json!({"alg": "none"})), "badSignatureAlgorithm", "HS256"),
        (signed(json!({"alg": null})), "malformed", "`alg`"),
        (signed(json!({"nonce": "AAAA"})), "malformed", "`nonce`"),
        (signed(json!({"kid": null})), "malformed", "`kid`"),
        (signed(json!({"jwk": key.jwk()})), "malformed", "`jwk`"),
        (signed(json!({"url": null})), "malformed", "`url`"),
        (signed(json!({"url": format!("{BASE}/acme/new-order")})), "malformed", "`url`"),
        (signed(json!({"kid": unknown})), "unauthorized", "there is no external account key"),
        (signed(json!({"kid": "deploy"})), "unauthorized", "there is no external account key"),
        (mac(&good(json!({})), &[1; 64], &key.jwk()), "unauthorized", "MAC"),
        (mac(&good(json!({})), &secret, &other.jwk()), "malformed", "not the key that signed"),
        (mac(&good(json!({})), &secret, &json!({})), "malformed", "no key"),
        (json!({"protected": "AAAA"}), "malformed", "`externalAccountBinding`"),
        (json!("AAAA"), "malformed", "`externalAccountBinding`"),
        (json!([]), "malformed", "`externalAccountBinding`"),
    ] {
        let refused = register(&fixture.acme, &key, bound(&sent)).await.unwrap_err();
        assert_eq!(refused.acme_token(), token, "{sent}: {}", refused.detail());
        assert!(refused.detail().contains(said), "{said}: {}", refused.detail());
    }
    // Nothing of it made an account.
    assert_eq!(
        register(&fixture.acme, &key, json!({"onlyReturnExisting": true})).await.unwrap_err().acme_token(),
        "accountDoesNotExist"
    );
}

#[tokio::test]
async fn a_key_that_ended_binds_nobody() {
    let fixture = Fixture::new().await;
    let expires_at = Some(Timestamp::from_unix(NOW_MS / 1000 + 60));
    let expiring = create(&fixture.acme, ExternalAccountKeyRequest { expires_at, ..request("server") }).await;
    let deleted = create(&fixture.acme, request("server")).await;
    fixture.acme.delete_external_account_key(&administrator(), &deleted.key.key_id).await.unwrap();
    fixture.clock.advance(Duration::from_secs(60));
    for (created, said) in [(expiring, "expired at 2026-01-01T00:01:00Z"), (deleted, "was deleted at")] {
        let key = TestKey::new();
        let refused = register(&fixture.acme, &key, bound(&binding(&created, &key))).await.unwrap_err();
        assert_eq!(refused.acme_token(), "unauthorized");
        assert!(refused.detail().contains(said), "{}", refused.detail());
    }
}

#[tokio::test]
async fn a_key_for_single_use_binds_one_account_of_many_that_ask_at_once() {
    let fixture = Fixture::new().await;
    let once = create(&fixture.acme, ExternalAccountKeyRequest { single_use: true, ..request("server") }).await;
    let keys: Vec<TestKey> = (0..8).map(|_| TestKey::new()).collect();
    let outcomes = join_all(keys.iter().map(|key| register(&fixture.acme, key, bound(&binding(&once, key))))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let refused = outcomes.into_iter().find_map(Result::err).unwrap();
    assert_eq!(refused.acme_token(), "unauthorized");
    assert!(refused.detail().contains("for one account"), "{}", refused.detail());
    let often = create(&fixture.acme, request("server")).await;
    for _ in 0..3 {
        let key = TestKey::new();
        register(&fixture.acme, &key, bound(&binding(&often, &key))).await.unwrap();
    }
}

#[tokio::test]
async fn a_binding_counts_in_the_directory_of_its_profile_and_in_the_default_one() {
    let fixture = Fixture::new().await;
    let created = create(&fixture.acme, request("server")).await;
    let key = TestKey::new();
    for (directory, admitted) in [(Some("client"), false), (Some("server"), true), (None, true)] {
        let account_key = key_of(&key);
        let verified = fixture.acme.verify_binding(&binding(&created, &key), URL, &account_key, directory).await;
        assert_eq!(verified.is_ok(), admitted, "{directory:?}");
        if let Err(refused) = verified {
            assert!(refused.detail().contains("for the profile `server`"), "{}", refused.detail());
        }
    }
}

fn key_of(key: &TestKey) -> crate::x509::jws::AccountKey {
    crate::x509::jws::AccountKey::from_stored(&key.jwk().to_string()).unwrap()
}

#[tokio::test]
async fn an_account_without_binding_can_be_bound_later_and_a_bound_one_stays_bound() {
    let fixture = Fixture::new().await;
    let key = TestKey::new();
    let id = register(&fixture.acme, &key, json!({})).await.unwrap().account.record.id;
    admit(&fixture.acme, &key, id).await.unwrap();
    let (one, other) = (create(&fixture.acme, request("server")).await, create(&fixture.acme, request("client")).await);
    let wrong = mac(&json!({"alg": "HS256", "kid": one.key.key_id, "url": URL}), &[0; 64], &key.jwk());
    assert_eq!(register(&fixture.acme, &key, bound(&wrong)).await.unwrap_err().acme_token(), "unauthorized");
    for created in [&one, &other] {
        let registered = register(&fixture.acme, &key, bound(&binding(created, &key))).await.unwrap();
        assert!(!registered.created);
        let by = registered.account.record.external_account_key.as_ref().unwrap().key_id.clone();
        assert_eq!(by, one.key.key_id);
    }
    let caller = admit(&fixture.acme, &key, id).await.unwrap();
    assert_eq!(caller.account().record.external_account_key.as_ref().unwrap().key_id, one.key.key_id);
}

#[tokio::test]
async fn where_a_binding_is_required_there_is_no_account_without() {
    let fixture = Fixture::with(AcmeSettings { external_account_required: true, ..AcmeSettings::default() }).await;
    let key = TestKey::new();
    let refused = register(&fixture.acme, &key, json!({})).await.unwrap_err();
    assert_eq!((refused.kind(), refused.acme_token()), (ErrorKind::Forbidden, "externalAccountRequired"));
    let created = create(&fixture.acme, request("server")).await;
    assert!(register(&fixture.acme, &key, bound(&binding(&created, &key))).await.unwrap().created);
    assert!(!register(&fixture.acme, &key, json!({})).await.unwrap().created);
}

#[tokio::test]
async fn deleting_a_key_is_seen_by_its_accounts_at_once() {
    let fixture = Fixture::new().await;
    let created = create(&fixture.acme, request("server")).await;
    let key = TestKey::new();
    let id = register(&fixture.acme, &key, bound(&binding(&created, &key))).await.unwrap().account.record.id;
    let now = Timestamp::from_unix(NOW_MS / 1000);
    let is_usable = |caller: &crate::ca::acme::AcmeCaller| {
        caller.account().record.external_account_key.as_ref().unwrap().is_usable(now)
    };
    assert!(is_usable(&admit(&fixture.acme, &key, id).await.unwrap()));
    fixture.acme.delete_external_account_key(&administrator(), &created.key.key_id).await.unwrap();
    assert!(!is_usable(&admit(&fixture.acme, &key, id).await.unwrap()));
}
