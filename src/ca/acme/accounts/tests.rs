//! Accounts over a real database. What clients see of them over HTTP is in `tests/it/acme`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::*;
use crate::ca::acme::AcmeSettings;
use crate::ca::acme::rate_limits::{RateLimit, RateLimits};
use crate::ca::acme::test_support::{BASE, Fixture, TestKey, admit, key_caller, origin, register};
use crate::storage::{AuditFilter, AuditOutcome};

async fn audited(acme: &Acme, action: &str, outcome: AuditOutcome) -> usize {
    let filter = AuditFilter { action: Some(action.to_owned()), outcome: Some(outcome), ..AuditFilter::default() };
    acme.ca().storage().audit_events(&filter, None, 1000).await.unwrap().items.len()
}

fn key_change(old: &TestKey, new: &TestKey, account: &str) -> Value {
    let header = json!({"alg": "ES256", "jwk": new.jwk(), "url": format!("{BASE}/acme/key-change")});
    new.sign(&header, json!({"account": account, "oldKey": old.jwk()}).to_string().as_bytes())
}

async fn roll_over(acme: &Acme, old: &TestKey, new: &TestKey, id: i64) -> Result<Arc<Account>> {
    let kid = format!("{BASE}/acme/accounts/{id}");
    let request = old.with_kid(&acme.new_nonce()?, &kid, "/acme/key-change", &key_change(old, new, &kid));
    let (caller, verified) = acme.authenticate(request, origin()).await?;
    acme.change_account_key(&caller, &verified).await
}

#[tokio::test]
async fn a_key_has_one_account_of_many_that_ask_at_once() {
    let fixture = Fixture::new().await;
    let key = TestKey::new();
    let outcomes = join_all((0..16).map(|_| register(&fixture.acme, &key, json!({})))).await;
    let registered: Vec<Registered> = outcomes.into_iter().map(Result::unwrap).collect();
    assert_eq!(registered.iter().filter(|one| one.created).count(), 1);
    assert!(registered.iter().all(|one| one.account.record.id == registered[0].account.record.id));
    assert_eq!(audited(&fixture.acme, "acme_account.create", AuditOutcome::Success).await, 1);
}

#[tokio::test]
async fn the_principal_of_an_account_without_binding_is_its_own() {
    let fixture = Fixture::new().await;
    let key = TestKey::new();
    let account = register(&fixture.acme, &key, json!({})).await.unwrap().account;
    let caller = admit(&fixture.acme, &key, account.record.id).await.unwrap();
    assert_eq!(caller.caller().principal.name, format!("acme:{}", account.record.id));
    assert_eq!(caller.caller().principal.role, Role::Requester);
    assert_eq!(caller.account_url(), format!("{BASE}/acme/accounts/{}", account.record.id));
}

#[tokio::test]
async fn only_the_address_of_an_account_names_it() {
    let fixture = Fixture::new().await;
    let key = TestKey::new();
    let id = register(&fixture.acme, &key, json!({})).await.unwrap().account.record.id;
    for kid in [
        format!("{BASE}/acme/accounts/{}", id + 1),
        format!("{BASE}/acme/accounts/0{id}"),
        format!("{BASE}/acme/accounts/+{id}"),
        format!("{BASE}/acme/accounts/{id}/"),
        format!("{BASE}/acme/accounts/"),
        format!("https://other.internal/acme/accounts/{id}"),
        id.to_string(),
        String::new(),
    ] {
        let nonce = fixture.acme.new_nonce().unwrap();
        let request = key.with_kid(&nonce, &kid, "/acme/new-order", &json!({}));
        let refused = fixture.acme.authenticate(request, origin()).await.unwrap_err();
        assert_eq!(refused.acme_token(), "accountDoesNotExist", "{kid}");
    }
}

#[tokio::test]
async fn a_key_changed_by_another_replica_is_known_at_once() {
    let fixture = Fixture::new().await;
    let (here, there) = (&fixture.acme, fixture.replica().await);
    let (old, new) = (TestKey::new(), TestKey::new());
    let id = register(here, &old, json!({})).await.unwrap().account.record.id;
    // Both hold the account in memory.
    admit(here, &old, id).await.unwrap();
    admit(&there, &old, id).await.unwrap();
    roll_over(here, &old, &new, id).await.unwrap();
    admit(&there, &new, id).await.unwrap();
    admit(here, &new, id).await.unwrap();
    assert_eq!(admit(here, &old, id).await.unwrap_err().acme_token(), "malformed");
}

#[tokio::test]
async fn of_two_keys_that_are_given_at_once_one_is_taken() {
    let fixture = Fixture::new().await;
    let old = TestKey::new();
    let id = register(&fixture.acme, &old, json!({})).await.unwrap().account.record.id;
    let (one, other) = (TestKey::new(), TestKey::new());
    let kid = format!("{BASE}/acme/accounts/{id}");
    let mut callers = Vec::new();
    for new in [&one, &other] {
        let nonce = fixture.acme.new_nonce().unwrap();
        let request = old.with_kid(&nonce, &kid, "/acme/key-change", &key_change(&old, new, &kid));
        callers.push(fixture.acme.authenticate(request, origin()).await.unwrap());
    }
    let outcomes =
        join_all(callers.iter().map(|(caller, request)| fixture.acme.change_account_key(caller, request))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let lost = outcomes.into_iter().find_map(Result::err).unwrap();
    assert_eq!(lost.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn an_account_that_ended_is_refused_with_401_and_its_key_makes_no_other() {
    let fixture = Fixture::new().await;
    let key = TestKey::new();
    let id = register(&fixture.acme, &key, json!({})).await.unwrap().account.record.id;
    let caller = admit(&fixture.acme, &key, id).await.unwrap();
    let update = AccountUpdate { status: Some("deactivated".to_owned()), ..AccountUpdate::default() };
    let ended = fixture.acme.update_account(&caller, update.clone()).await.unwrap();
    assert_eq!(ended.record.status, AcmeAccountStatus::Deactivated);
    for refused in [
        admit(&fixture.acme, &key, id).await.unwrap_err(),
        register(&fixture.acme, &key, json!({})).await.unwrap_err(),
        register(&fixture.acme, &key, json!({"onlyReturnExisting": true})).await.unwrap_err(),
        fixture.acme.update_account(&caller, update).await.unwrap_err(),
        fixture
            .acme
            .update_account(&caller, AccountUpdate { contact: Some(Vec::new()), ..AccountUpdate::default() })
            .await
            .unwrap_err(),
    ] {
        assert_eq!((refused.kind(), refused.acme_token()), (ErrorKind::Unauthenticated, "unauthorized"));
    }
    assert_eq!(audited(&fixture.acme, "acme_account.deactivate", AuditOutcome::Success).await, 1);
}

#[tokio::test]
async fn accounts_of_one_address_are_limited_and_failures_are_not_counted() {
    let accounts_per_address = RateLimit { count: 2, period: Duration::from_secs(3600) };
    let limits = RateLimits { accounts_per_address, ..RateLimits::default() };
    let fixture = Fixture::with(AcmeSettings { limits, ..AcmeSettings::default() }).await;
    let key = TestKey::new();
    for _ in 0..5 {
        register(&fixture.acme, &TestKey::new(), json!({"contact": ["tel:1"]})).await.unwrap_err();
    }
    assert!(register(&fixture.acme, &key, json!({})).await.unwrap().created);
    // One that is there is not another one.
    assert!(!register(&fixture.acme, &key, json!({})).await.unwrap().created);
    register(&fixture.acme, &TestKey::new(), json!({})).await.unwrap();
    let refused = register(&fixture.acme, &TestKey::new(), json!({})).await.unwrap_err();
    assert_eq!((refused.acme_token(), refused.retry_after_seconds()), ("rateLimited", Some(1800)));
    fixture.clock.advance(Duration::from_secs(1800));
    register(&fixture.acme, &TestKey::new(), json!({})).await.unwrap();
}

#[tokio::test]
async fn nobody_fills_the_audit_log_with_refusals() {
    let fixture = Fixture::new().await;
    for _ in 0..70 {
        register(&fixture.acme, &TestKey::new(), json!({"contact": ["tel:1"]})).await.unwrap_err();
    }
    assert_eq!(audited(&fixture.acme, "acme_account.create", AuditOutcome::Refused).await, 60);
    fixture.clock.advance(Duration::from_secs(60));
    register(&fixture.acme, &TestKey::new(), json!({"contact": ["tel:1"]})).await.unwrap_err();
    assert_eq!(audited(&fixture.acme, "acme_account.create", AuditOutcome::Refused).await, 61);
}

#[tokio::test]
async fn changed_terms_are_agreed_to_before_the_next_order() {
    let terms = |name: &str| AcmeSettings {
        terms_of_service: Some(format!("https://ca.internal/{name}")),
        ..AcmeSettings::default()
    };
    let fixture = Fixture::with(terms("first")).await;
    let key = TestKey::new();
    let refused = register(&fixture.acme, &key, json!({})).await.unwrap_err();
    let link = |error: &Error| error.acme_error().unwrap().link.clone().unwrap();
    assert_eq!(refused.acme_token(), "userActionRequired");
    assert_eq!(link(&refused), ("terms-of-service", "https://ca.internal/first".to_owned()));
    let id = register(&fixture.acme, &key, json!({"termsOfServiceAgreed": true})).await.unwrap().account.record.id;
    fixture.acme.require_terms(&admit(&fixture.acme, &key, id).await.unwrap()).unwrap();
    let changed = fixture.replica_with(terms("second")).await;
    let caller = admit(&changed, &key, id).await.unwrap();
    let refused = changed.require_terms(&caller).unwrap_err();
    assert_eq!((refused.kind(), refused.acme_token()), (ErrorKind::Forbidden, "userActionRequired"));
    assert_eq!(link(&refused), ("terms-of-service", "https://ca.internal/second".to_owned()));
    let update = AccountUpdate { terms_of_service_agreed: true, ..AccountUpdate::default() };
    changed.update_account(&caller, update).await.unwrap();
    changed.require_terms(&admit(&changed, &key, id).await.unwrap()).unwrap();
}

#[tokio::test]
async fn somebody_with_a_key_is_known_by_its_thumbprint() {
    let fixture = Fixture::new().await;
    let caller = key_caller(&fixture.acme, &TestKey::new()).await;
    assert!(caller.caller().principal.name.starts_with("acme-key:"));
    assert_eq!(caller.url(), format!("{BASE}/acme/new-account"));
}
