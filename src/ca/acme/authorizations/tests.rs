//! Authorizations: the challenges that are offered, answered once, and given up.

use std::time::Duration;

use super::{AuthorizationStatus, ChallengeStatus};
use crate::ca::acme::OrderStatus;
use crate::ca::acme::rate_limits::RateLimit;
use crate::ca::acme::testing::{Answer, World, identifiers};
use crate::ca::acme::validation::ValidationFailure;
use crate::error::AcmeErrorType;
use crate::policy::acme::ChallengeType;
use crate::policy::acme::challenge::key_authorization;

#[tokio::test(flavor = "multi_thread")]
async fn challenges_are_offered_that_can_prove_the_identifier() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.order(&caller, &["app.internal", "*.app.internal", "10.0.0.1"]).await;
    let mut offered = Vec::new();
    for authorization in &order.authorizations {
        let view = world.authorization(&caller, authorization.id).await;
        assert_eq!((view.status, view.retry_after), (AuthorizationStatus::Pending, None));
        for challenge in &view.challenges {
            assert_eq!(challenge.status, ChallengeStatus::Pending);
            assert_eq!(challenge.token, authorization.token);
            assert_eq!((challenge.token.len(), challenge.validated, &challenge.error), (43, None, &None));
        }
        offered.push(view.challenges.iter().map(|challenge| challenge.challenge_type.as_str()).collect::<Vec<_>>());
    }
    assert_eq!(offered[0], ["http-01", "dns-01", "tls-alpn-01", "dns-account-01"]);
    assert_eq!(offered[1], ["dns-01", "dns-account-01"]);
    assert_eq!(offered[2], ["http-01", "tls-alpn-01"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn persistent_records_are_offered_where_the_ca_has_names_for_them() {
    let world = World::with(|settings| {
        settings.challenges = vec![ChallengeType::DnsPersist01, ChallengeType::Dns01];
        settings.issuer_domain_names = vec!["ca.internal".to_owned()];
    })
    .await;
    let caller = world.account().await;
    let order = world.order(&caller, &["app.internal"]).await;
    let view = world.authorization(&caller, order.authorizations[0].id).await;
    let persistent = view.challenge(ChallengeType::DnsPersist01).unwrap();
    assert_eq!(persistent.issuer_domain_names, ["ca.internal"]);
    assert!(view.challenge(ChallengeType::Dns01).unwrap().issuer_domain_names.is_empty());
    assert!(view.challenge(ChallengeType::Http01).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_authorization_has_a_token_of_its_own() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.order(&caller, &["a.internal", "b.internal"]).await;
    assert_ne!(order.authorizations[0].token, order.authorizations[1].token);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answered_challenge_is_processing_and_looked_at_once() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.order(&caller, &["app.internal"]).await;
    let id = order.authorizations[0].id;
    world.validator.close();
    let answers = (0..32).map(|_| world.acme.respond(&caller, id, ChallengeType::Http01));
    for view in futures_util::future::join_all(answers).await {
        let view = view.unwrap();
        assert_eq!(view.status, AuthorizationStatus::Pending);
        assert_eq!(view.challenges.len(), 1);
        assert_eq!(view.challenges[0].status, ChallengeStatus::Processing);
        assert!(view.retry_after.is_some_and(|seconds| seconds >= 1));
    }
    // Another challenge of the authorization cannot be answered any more.
    let error = world.acme.respond(&caller, id, ChallengeType::Dns01).await.unwrap_err();
    assert_eq!(error.acme_token(), "malformed");
    world.validator.open();
    world.until_order(&caller, order.record.id, OrderStatus::Ready).await;
    world.acme.validate_due().await.unwrap();
    assert_eq!(world.validator.times_asked(), 1);

    let valid = world.acme.respond(&caller, id, ChallengeType::Http01).await.unwrap();
    assert_eq!(valid.status, AuthorizationStatus::Valid);
    assert_eq!(valid.challenges[0].status, ChallengeStatus::Valid);
    assert_eq!(valid.challenges[0].validated, Some(world.now()));
    assert_eq!(valid.record.expires_at, world.now() + world.settings.authorization_lifetime);
    assert_eq!(world.validator.times_asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_validator_is_told_everything_it_needs() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.ready_order(&caller, &["*.app.internal"]).await;
    let asked = world.validator.asked.lock().unwrap().remove(0);
    let token = &order.authorizations[0].token;
    assert_eq!(asked.challenge, ChallengeType::Dns01);
    assert_eq!(
        (asked.identifier.authorization_value().as_str(), asked.identifier.is_wildcard()),
        ("app.internal", true)
    );
    assert_eq!(asked.key_authorization, key_authorization(token, &caller.account().record.thumbprint));
    assert_eq!(asked.account_url, caller.account_url());
    assert!(asked.account_url.starts_with("https://ca.internal/acme/accounts/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_that_is_not_offered_cannot_be_answered() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.order(&caller, &["*.app.internal", "10.0.0.1"]).await;
    for (authorization, challenge) in [
        (0, ChallengeType::Http01),
        (0, ChallengeType::TlsAlpn01),
        (0, ChallengeType::DnsPersist01),
        (1, ChallengeType::Dns01),
    ] {
        let id = order.authorizations[authorization].id;
        let error = world.acme.respond(&caller, id, challenge).await.unwrap_err();
        assert_eq!(error.acme_token(), "malformed");
    }
    assert_eq!(world.validator.times_asked(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_cannot_be_answered() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.order(&caller, &["a.internal", "b.internal", "c.internal"]).await;
    let [first, second, third] = [0, 1, 2].map(|index: usize| order.authorizations[index].id);
    world.acme.deactivate_authorization(&caller, first).await.unwrap();
    let failure = ValidationFailure::new(AcmeErrorType::Connection, "refused").into_final();
    world.validator.answer([Answer::Failure(failure)]);
    world.acme.respond(&caller, second, ChallengeType::Http01).await.unwrap();
    world.until_attempts(&caller, second, 1).await;
    world.clock.advance(world.settings.order_lifetime);
    for id in [first, second, third] {
        let error = world.acme.respond(&caller, id, ChallengeType::Http01).await.unwrap_err();
        assert_eq!(error.acme_token(), "malformed");
    }
    assert_eq!(world.authorization(&caller, third).await.status, AuthorizationStatus::Invalid);
    assert_eq!(world.validator.times_asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_authorization_takes_its_order_along_and_is_not_used_again() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.ready_order(&caller, &["a.internal"]).await;
    let id = order.authorizations[0].id;
    let view = world.acme.deactivate_authorization(&caller, id).await.unwrap();
    assert_eq!(view.status, AuthorizationStatus::Deactivated);
    assert_eq!(world.authorization(&caller, id).await.status, AuthorizationStatus::Deactivated);
    let read = world.acme.order(&caller, order.record.id).await.unwrap();
    assert_eq!(read.status, OrderStatus::Invalid);
    let problem = read.record.error.unwrap();
    assert_eq!((problem.error_type.as_str(), problem.subproblems.len()), ("unauthorized", 1));
    assert_eq!(world.order(&caller, &["a.internal"]).await.status, OrderStatus::Pending);
    let again = world.acme.deactivate_authorization(&caller, id).await.unwrap_err();
    assert_eq!(again.acme_token(), "malformed");
}

#[tokio::test(flavor = "multi_thread")]
async fn authorizations_can_be_made_ahead() {
    let world = World::new().await;
    let caller = world.account().await;
    let ahead = |name: &'static str| world.acme.new_authorization(&caller, None, identifiers(&[name]).remove(0));
    let (made, is_new) = ahead("app.internal").await.unwrap();
    assert!(is_new);
    assert_eq!((made.status, made.challenges.len()), (AuthorizationStatus::Pending, 4));
    world.acme.respond(&caller, made.record.id, ChallengeType::Http01).await.unwrap();
    world.until_attempts(&caller, made.record.id, 1).await;
    let (found, is_new) = ahead("app.internal").await.unwrap();
    assert_eq!((found.record.id, found.status, is_new), (made.record.id, AuthorizationStatus::Valid, false));
    assert_eq!(world.order(&caller, &["app.internal"]).await.status, OrderStatus::Ready);
    for (refused, token) in
        [("*.app.internal", "rejectedIdentifier"), ("www.example.org", "rejectedIdentifier"), ("a..b", "malformed")]
    {
        assert_eq!(ahead(refused).await.unwrap_err().acme_token(), token, "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_one_name_are_limited() {
    let world = World::with(|settings| {
        settings.validation.attempts = 1;
        settings.limits.failed_validations = RateLimit { count: 2, period: Duration::from_secs(3600) };
    })
    .await;
    let caller = world.account().await;
    for _failure in 0..2 {
        world.validator.answer([Answer::Failure(ValidationFailure::new(AcmeErrorType::Connection, "refused"))]);
        let order = world.order(&caller, &["app.internal"]).await;
        world.respond(&caller, &order).await;
        world.until_order(&caller, order.record.id, OrderStatus::Invalid).await;
    }
    let order = world.order(&caller, &["app.internal", "www.internal"]).await;
    let [app, www] = [0, 1].map(|index: usize| order.authorizations[index].id);
    let error = world.acme.respond(&caller, app, ChallengeType::Http01).await.unwrap_err();
    assert_eq!(error.acme_token(), "rateLimited");
    // Nothing was begun, and other names are not held up.
    assert_eq!(world.authorization(&caller, app).await.challenges.len(), 4);
    world.acme.respond(&caller, www, ChallengeType::Http01).await.unwrap();
    // Before the clock takes its lease away.
    world.until_attempts(&caller, www, 1).await;
    world.clock.advance(Duration::from_secs(1800));
    world.acme.respond(&caller, app, ChallengeType::Http01).await.unwrap();
    world.until_order(&caller, order.record.id, OrderStatus::Ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_challenges_of_one_account_are_looked_at_and_others_are_not_kept_waiting() {
    let world = World::with(|settings| settings.maximum_identifiers = 32).await;
    let caller = world.account().await;
    let names: Vec<String> = (0..32).map(|number| format!("a{number}.internal")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.validator.close();
    for _order in 0..2 {
        let order = world.order(&caller, &names).await;
        world.respond(&caller, &order).await;
    }
    let order = world.order(&caller, &["b.internal"]).await;
    let id = order.authorizations[0].id;
    let limited = world.acme.respond(&caller, id, ChallengeType::Http01).await.unwrap_err();
    assert_eq!((limited.acme_token(), limited.retry_after_seconds()), ("rateLimited", Some(5)));
    assert!(limited.detail().contains("processing_challenges"), "{}", limited.detail());
    let other = world.account().await;
    let order = world.order(&other, &["b.internal"]).await;
    world.respond(&other, &order).await;
    world.validator.open();
    world.until(async || world.acme.respond(&caller, id, ChallengeType::Http01).await.ok()).await;
}
