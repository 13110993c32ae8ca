//! Orders: what is refused, what is recorded, and what they look like later.

use std::time::Duration;

use crate::ca::acme::rate_limits::RateLimit;
use crate::ca::acme::testing::{World, csr, identifiers, request};
use crate::ca::acme::{AuthorizationStatus, OrderStatus};
use crate::error::ErrorKind;
use crate::policy::acme::certificate_id::CertificateIdentifier;
use crate::policy::duration;
use crate::policy::profile::{CertificateAuthorityRule, Profile};
use crate::storage::AcmeOrderStatus;
use crate::x509::Timestamp;

use super::NewOrderRequest;

const DAY: Duration = Duration::from_secs(86_400);

fn names(offered: &[(String, String)]) -> Vec<&str> {
    offered.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_offer_profiles_that_prove_names() {
    let world = World::new().await;
    let acme = &world.acme;
    assert_eq!(names(&acme.directory_profiles(None).unwrap()), ["client", "peer", "server"]);
    let server = acme.directory_profiles(Some("server")).unwrap();
    assert_eq!(names(&server), ["server"]);
    assert!(!server[0].1.is_empty());
    assert_eq!(acme.directory_profiles(Some("nothing")).unwrap_err().kind(), ErrorKind::NotFound);

    // One that makes CAs is not offered, even if it is listed.
    let mut profile = crate::policy::profile::defaults().remove(0);
    profile.name = "subordinate".to_owned();
    profile.key_usage = vec![crate::x509::KeyUsage::KeyCertSign, crate::x509::KeyUsage::CrlSign];
    profile.extended_key_usage = Default::default();
    profile.names_required = false;
    profile.common_name_in_names = false;
    profile.certificate_authority = Some(CertificateAuthorityRule::default());
    put(&world, profile).await;
    assert_eq!(names(&acme.directory_profiles(None).unwrap()), ["client", "peer", "server"]);
    let listed = World::with(|settings| {
        settings.profiles = Some(vec!["peer".to_owned(), "subordinate".to_owned(), "missing".to_owned()]);
    })
    .await;
    assert_eq!(names(&listed.acme.directory_profiles(None).unwrap()), ["peer"]);
    assert!(listed.acme.directory_profiles(Some("server")).is_err());
}

async fn put(world: &World, profile: Profile) {
    world.acme.ca().apply_configured_profiles(vec![profile]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_profile_of_an_order_is_named_or_that_of_the_directory_or_the_default() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = |directory: Option<&'static str>, profile: Option<&str>| {
        let request = NewOrderRequest { profile: profile.map(str::to_owned), ..request(&["app.internal"]) };
        let (acme, caller) = (&world.acme, &caller);
        async move { acme.new_order(caller, directory, request).await.map(|view| view.record.profile) }
    };
    assert_eq!(order(None, None).await.unwrap(), "server");
    assert_eq!(order(None, Some("peer")).await.unwrap(), "peer");
    assert_eq!(order(Some("client"), None).await.unwrap(), "client");
    assert_eq!(order(Some("client"), Some("client")).await.unwrap(), "client");
    for (directory, profile) in [(None, "nothing"), (Some("client"), "server"), (None, "Server"), (None, "")] {
        let error = order(directory, Some(profile)).await.unwrap_err();
        assert_eq!(error.acme_token(), "invalidProfile", "{profile}");
    }
    assert_eq!(order(Some("nothing"), None).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_order_reads_as_it_was_answered() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.order(&caller, &["*.app.internal", "app.internal", "APP.internal", "10.0.0.1"]).await;
    assert_eq!(order.status, OrderStatus::Pending);
    assert_eq!(order.record.expires_at, world.now() + world.settings.order_lifetime);
    let written: Vec<String> = order.record.identifiers.iter().map(ToString::to_string).collect();
    assert_eq!(written, ["*.app.internal", "app.internal", "10.0.0.1"]);
    let of_authorizations: Vec<String> =
        order.authorizations.iter().map(|authorization| authorization.identifier.to_string()).collect();
    assert_eq!(of_authorizations, written);
    let read = world.acme.order(&caller, order.record.id).await.unwrap();
    assert_eq!((read.record, read.authorizations, read.status), (order.record, order.authorizations, order.status));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_anothers_is_as_absent_as_what_is_not_there() {
    let world = World::new().await;
    let (owner, other) = (world.account().await, world.account().await);
    let order = world.ready_order(&owner, &["app.internal"]).await;
    let (id, authorization) = (order.record.id, order.authorizations[0].id);
    let text = |error: crate::error::Error| (error.kind(), error.detail().to_owned());
    for (real, missing) in [
        (text(world.acme.order(&other, id).await.unwrap_err()), text(world.acme.order(&owner, 1).await.unwrap_err())),
        (
            text(world.acme.authorization(&other, authorization).await.unwrap_err()),
            text(world.acme.authorization(&owner, 1).await.unwrap_err()),
        ),
        (
            text(world.acme.deactivate_authorization(&other, authorization).await.unwrap_err()),
            text(world.acme.deactivate_authorization(&owner, 1).await.unwrap_err()),
        ),
        (
            text(world.acme.finalize(&other, id, &csr(&["app.internal"])).await.unwrap_err()),
            text(world.acme.finalize(&owner, 1, &csr(&["app.internal"])).await.unwrap_err()),
        ),
        (
            text(world.acme.order_certificate(&other, id, 0).await.unwrap_err()),
            text(world.acme.order_certificate(&owner, 1, 0).await.unwrap_err()),
        ),
    ] {
        assert_eq!(real, missing);
        assert_eq!(real.0, ErrorKind::NotFound);
    }
    assert_eq!(world.acme.order(&owner, id).await.unwrap().status, OrderStatus::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_are_used_again_by_their_account_while_they_outlast_the_order() {
    let world = World::new().await;
    let caller = world.account().await;
    let first = world.ready_order(&caller, &["app.internal"]).await;
    let second = world.order(&caller, &["app.internal"]).await;
    assert_eq!(second.status, OrderStatus::Ready);
    assert_eq!(second.authorizations[0].id, first.authorizations[0].id);
    assert_eq!(world.validator.times_asked(), 1);
    // Not for the wildcard, nor for another account.
    assert_eq!(world.order(&caller, &["*.app.internal"]).await.status, OrderStatus::Pending);
    let other = world.account().await;
    assert_eq!(world.order(&other, &["app.internal"]).await.status, OrderStatus::Pending);
    // Only one of two is proven.
    let both = world.order(&caller, &["app.internal", "www.internal"]).await;
    assert_eq!(both.status, OrderStatus::Pending);
    assert_eq!(both.authorizations[0].id, first.authorizations[0].id);
    // In 24 days the proof of 30 days ends before an order of 7 days.
    world.clock.advance(24 * DAY);
    assert_eq!(world.order(&caller, &["app.internal"]).await.status, OrderStatus::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_past_its_end_is_invalid() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.ready_order(&caller, &["app.internal"]).await;
    world.clock.advance(world.settings.order_lifetime);
    let read = world.acme.order(&caller, order.record.id).await.unwrap();
    assert_eq!((read.status, read.record.status), (OrderStatus::Invalid, AcmeOrderStatus::Pending));
    assert!(read.record.error.unwrap().detail.contains("without having been finalized"));
    let error = world.acme.finalize(&caller, order.record.id, &csr(&["app.internal"])).await.unwrap_err();
    assert_eq!(error.acme_token(), "orderNotReady");
    assert!(error.detail().contains("without having been finalized"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_proof_ends_first_is_invalid() {
    let world = World::new().await;
    let caller = world.account().await;
    let until = world.now() + DAY;
    world.validator.answer([crate::ca::acme::testing::Answer::ProofUntil(until.unix())]);
    let order = world.ready_order(&caller, &["app.internal"]).await;
    assert_eq!(order.authorizations[0].expires_at, until);
    world.clock.advance(DAY);
    let read = world.acme.order(&caller, order.record.id).await.unwrap();
    assert_eq!(read.status, OrderStatus::Invalid);
    let problem = read.record.error.unwrap();
    assert_eq!(problem.subproblems[0].identifier, "app.internal");
    let view = world.authorization(&caller, read.authorizations[0].id).await;
    assert_eq!(view.status, AuthorizationStatus::Expired);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_validity_asked_for_is_kept_or_refused() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = |not_before: Option<String>, not_after: Option<String>| {
        let request = NewOrderRequest { not_before, not_after, ..request(&["app.internal"]) };
        let (acme, caller) = (&world.acme, &caller);
        async move { acme.new_order(caller, None, request).await }
    };
    let text = |moment: Timestamp| Some(moment.to_string());
    let (start, end) = (world.now() + DAY, world.now() + 3 * DAY);
    let view = order(text(start), text(end)).await.unwrap();
    assert_eq!((view.record.not_before, view.record.not_after), (Some(start), Some(end)));
    for (not_before, not_after) in [
        (None, text(world.now() + 1000 * DAY)),
        (text(world.now() - DAY), None),
        (text(end), text(start)),
        (None, Some("tomorrow".to_owned())),
        (Some("2030-13-01T00:00:00Z".to_owned()), None),
        (None, Some(String::new())),
    ] {
        let error = order(not_before.clone(), not_after.clone()).await.unwrap_err();
        assert_eq!(error.acme_token(), "malformed", "{not_before:?} {not_after:?}");
    }
    assert_eq!(duration::format(DAY), "1d");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_that_proves_control_spares_challenges() {
    let world = World::new().await;
    let caller = world.account_bound_by(|key| key.proves_control = true).await;
    let order = world.order(&caller, &["app.team.internal"]).await;
    assert_eq!(order.status, OrderStatus::Ready);
    assert!(world.authorization(&caller, order.authorizations[0].id).await.challenges.is_empty());
    let done = world.acme.finalize(&caller, order.record.id, &csr(&["app.team.internal"])).await.unwrap();
    assert_eq!(done.status, OrderStatus::Valid);
    assert_eq!(world.validator.times_asked(), 0);
    // CAA is asked all the same, without a method.
    assert_eq!(world.validator.caa_asked.lock().unwrap()[0].challenge, None);
    // The certificate belongs to the principal of the key.
    let (_, serial) = done.record.certificate.unwrap();
    let record = world.storage().certificates_by_serial(&serial).await.unwrap().remove(0);
    assert_eq!((record.requester.as_str(), record.source), ("token:team", crate::storage::Source::Acme));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_bounds_names_and_profile() {
    let world = World::new().await;
    let caller = world.account_bound_by(|_| {}).await;
    let order = world.order(&caller, &["app.team.internal"]).await;
    assert_eq!((order.status, order.record.profile.as_str()), (OrderStatus::Pending, "server"));
    let outside = world.acme.new_order(&caller, None, request(&["app.internal"])).await.unwrap_err();
    assert_eq!(outside.acme_token(), "rejectedIdentifier");
    assert_eq!(world.audited("acme.order").await, 1);
    let other = NewOrderRequest { profile: Some("peer".to_owned()), ..request(&["app.team.internal"]) };
    let error = world.acme.new_order(&caller, None, other).await.unwrap_err();
    assert_eq!((error.acme_token(), error.kind()), ("unauthorized", ErrorKind::Forbidden));
    // Where nothing is named, the profile of the key is taken.
    let peer = world.account_bound_by(|key| key.profile = "peer".to_owned()).await;
    assert_eq!(world.order(&peer, &["app.team.internal"]).await.record.profile, "peer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_that_ended_ends_orders() {
    let world = World::new().await;
    let end = world.now() + DAY;
    let caller = world.account_bound_by(|key| key.expires_at = Some(end)).await;
    let order = world.ready_order(&caller, &["app.team.internal"]).await;
    world.clock.advance(DAY);
    let caller = world.caller(caller.account().record.id).await;
    for error in [
        world.acme.new_order(&caller, None, request(&["b.team.internal"])).await.unwrap_err(),
        world.acme.finalize(&caller, order.record.id, &csr(&["app.team.internal"])).await.unwrap_err(),
        world.acme.new_authorization(&caller, None, identifiers(&["b.team.internal"]).remove(0)).await.unwrap_err(),
    ] {
        assert_eq!(error.acme_token(), "unauthorized");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_can_be_required() {
    let world = World::with(|settings| settings.external_account_required = true).await;
    let free = world.account().await;
    let error = world.acme.new_order(&free, None, request(&["app.internal"])).await.unwrap_err();
    assert_eq!((error.acme_token(), error.kind()), ("externalAccountRequired", ErrorKind::Forbidden));
    let bound = world.account_bound_by(|_| {}).await;
    assert_eq!(world.order(&bound, &["app.team.internal"]).await.status, OrderStatus::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_limited_and_what_is_refused_is_not_charged() {
    let world = World::with(|settings| {
        settings.limits.orders_per_account = RateLimit { count: 2, period: DAY };
    })
    .await;
    let caller = world.account().await;
    for _refused in 0..5 {
        let error = world.acme.new_order(&caller, None, request(&["www.example.org"])).await.unwrap_err();
        assert_eq!(error.acme_token(), "rejectedIdentifier");
    }
    world.order(&caller, &["a.internal"]).await;
    world.order(&caller, &["b.internal"]).await;
    let error = world.acme.new_order(&caller, None, request(&["c.internal"])).await.unwrap_err();
    assert_eq!((error.acme_token(), error.kind()), ("rateLimited", ErrorKind::RateLimited));
    assert_eq!(error.retry_after_seconds(), Some(43_200));
    world.order(&world.account().await, &["c.internal"]).await;
    world.clock.advance(DAY / 2);
    world.order(&caller, &["c.internal"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_for_the_same_names_are_limited_for_each_account_alone() {
    let world = World::with(|settings| {
        settings.limits.certificates_per_name = RateLimit { count: 1, period: DAY };
    })
    .await;
    let caller = world.account().await;
    world.order(&caller, &["a.internal", "b.internal"]).await;
    let error = world.acme.new_order(&caller, None, request(&["b.internal", "a.internal"])).await.unwrap_err();
    assert_eq!(error.acme_token(), "rateLimited");
    world.order(&caller, &["a.internal"]).await;
    // Whoever has proven nothing keeps nobody from his own names.
    world.order(&world.account().await, &["b.internal", "a.internal"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_so_many_pending_orders() {
    let world = World::with(|settings| settings.maximum_pending_orders = 2).await;
    let caller = world.account().await;
    let ready = world.ready_order(&caller, &["a.internal"]).await;
    world.order(&caller, &["b.internal"]).await;
    let error = world.acme.new_order(&caller, None, request(&["c.internal"])).await.unwrap_err();
    assert_eq!((error.acme_token(), error.kind()), ("rateLimited", ErrorKind::RateLimited));
    assert!(error.detail().contains("2 orders that are not finalized"), "{}", error.detail());
    assert_eq!(error.retry_after_seconds(), Some(60));
    world.order(&world.account().await, &["c.internal"]).await;
    // One that is finalized makes room, and so does one that expires.
    world.acme.finalize(&caller, ready.record.id, &csr(&["a.internal"])).await.unwrap();
    world.order(&caller, &["c.internal"]).await;
    world.acme.new_order(&caller, None, request(&["d.internal"])).await.unwrap_err();
    world.clock.advance(8 * DAY);
    let caller = world.caller(caller.account().record.id).await;
    world.order(&caller, &["d.internal"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_in_time_are_not_held_up_unless_they_ask_for_more_or_are_many() {
    let world = World::with(|settings| {
        settings.limits.certificates_per_name = RateLimit { count: 1, period: 365 * DAY };
    })
    .await;
    let caller = world.account().await;
    let names = ["a.internal", "b.internal"];
    let order = world.ready_order(&caller, &names).await;
    let issued = world.acme.finalize(&caller, order.record.id, &csr(&names)).await.unwrap();
    let (_issuer, serial) = issued.record.certificate.unwrap();
    let record = world.storage().certificates_by_serial(&serial).await.unwrap().remove(0);
    let certificate = crate::x509::Certificate::from_der(&record.der).unwrap();
    let replaces = CertificateIdentifier::of(&certificate).unwrap().to_string();
    // Two thirds of 90 days are over.
    world.clock.advance(70 * DAY);
    let caller = world.caller(caller.account().record.id).await;
    let renew = async |names: &[&str]| {
        let request = NewOrderRequest { replaces: Some(replaces.clone()), ..request(names) };
        let order = world.acme.new_order(&caller, None, request).await?;
        // The order ends, so that another one may replace the certificate.
        for authorization in &order.authorizations {
            let _ended_with_the_first = world.acme.deactivate_authorization(&caller, authorization.id).await;
        }
        Ok::<_, crate::Error>(order)
    };
    let more = ["a.internal", "c.internal"];
    renew(&more).await.unwrap();
    assert_eq!(renew(&more).await.unwrap_err().acme_token(), "rateLimited");
    for _exempt in 0..5 {
        renew(&names).await.unwrap();
    }
    // The limit of these names is used up by the first order.
    assert_eq!(renew(&names).await.unwrap_err().acme_token(), "rateLimited");
    world.clock.advance(DAY);
    let caller = world.caller(caller.account().record.id).await;
    let request = NewOrderRequest { replaces: Some(replaces.clone()), ..request(&names) };
    world.acme.new_order(&caller, None, request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_orders_has_pages() {
    let world = World::new().await;
    let caller = world.account().await;
    let mut made = Vec::new();
    for _order in 0..101 {
        world.clock.advance(Duration::from_millis(1));
        made.push(world.order(&caller, &["app.internal"]).await.record.id);
    }
    world.order(&world.account().await, &["app.internal"]).await;
    let (first, has_more) = world.acme.order_numbers(&caller, None).await.unwrap();
    assert_eq!((first.as_slice(), has_more), (&made[..100], true));
    let (rest, has_more) = world.acme.order_numbers(&caller, first.last().copied()).await.unwrap();
    assert_eq!((rest.as_slice(), has_more), (&made[100..], false));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_may_not_sign_is_a_failure_of_the_service() {
    let world = World::new().await;
    let caller = world.account().await;
    // Ten years later the issuing CA has ended.
    world.clock.advance(4000 * DAY);
    let caller = world.caller(caller.account().record.id).await;
    let error = world.acme.new_order(&caller, None, request(&["app.internal"])).await.unwrap_err();
    assert_eq!((error.kind(), error.acme_token()), (ErrorKind::Unavailable, "serverInternal"));
}
