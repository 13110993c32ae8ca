//! Finalizing: exactly one certificate with exactly what was ordered. In the background: `background/tests.rs`.

use std::time::Duration;

use rcgen::KeyPair;
use serde_json::json;

use crate::auth::permission::RevokeCertificates;
use crate::auth::{Authorized, Caller};
use crate::ca::acme::orders::NewOrderRequest;
use crate::ca::acme::testing::{World, csr, csr_with, request};
use crate::ca::acme::validation::ValidationFailure;
use crate::ca::acme::{OrderStatus, OrderView};
use crate::ca::key_revocation::KeyProof;
use crate::error::{AcmeErrorType, ErrorKind};
use crate::storage::{AuditOutcome, CertificateFilter, PageRequest, SortKey};
use crate::x509::{Certificate, CertificateRequest, KeyUsage};

const DAY: Duration = Duration::from_secs(86_400);

/// Counts the certificates that were issued over ACME.
pub(super) async fn issued(world: &World) -> usize {
    let filter = CertificateFilter { profile: Some("server".to_owned()), ..CertificateFilter::default() };
    let page = PageRequest { limit: 500, sort: SortKey::IssuedAt, descending: false, after: None };
    world.storage().certificates(&filter, page).await.unwrap().items.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_order_becomes_a_certificate_with_its_chain() {
    let world = World::new().await;
    let caller = world.account().await;
    let names = ["app.internal", "*.app.internal", "10.0.0.1"];
    let order = world.ready_order(&caller, &names).await;
    let id = order.record.id;
    let none = world.acme.order_certificate(&caller, id, 0).await.unwrap_err();
    assert_eq!((none.kind(), none.detail()), (ErrorKind::NotFound, "the order is `ready` and has no certificate"));
    let done = world.acme.finalize(&caller, id, &csr(&names)).await.unwrap();
    assert_eq!(done.status, OrderStatus::Valid);
    let read = world.acme.order(&caller, id).await.unwrap();
    assert_eq!((read.status, &read.record.certificate), (OrderStatus::Valid, &done.record.certificate));
    assert_eq!((read.record.finalized_at, &read.record.csr), (done.record.finalized_at, &None));

    let found = world.acme.order_certificate(&caller, id, 0).await.unwrap();
    assert_eq!((found.chain.len(), found.alternates), (2, 0));
    let leaf = Certificate::from_der(&found.chain[0]).unwrap();
    let mut in_it: Vec<String> = leaf.names.iter().map(|name| name.value()).collect();
    in_it.sort_unstable();
    assert_eq!(in_it, ["*.app.internal", "10.0.0.1", "app.internal"]);
    assert_eq!(leaf.not_after, world.now() + 90 * DAY);
    let issuing = Certificate::from_der(&found.chain[1]).unwrap();
    assert_eq!(issuing.subject.to_string(), "CN=issuing");
    for chain in [1, usize::MAX] {
        let missing = world.acme.order_certificate(&caller, id, chain).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_validity_of_the_order_is_that_of_the_certificate() {
    let world = World::new().await;
    let caller = world.account().await;
    world.ready_order(&caller, &["app.internal"]).await;
    let (start, end) = (world.now() + DAY, world.now() + 3 * DAY);
    let request = NewOrderRequest {
        not_before: Some(start.to_string()),
        not_after: Some(end.to_string()),
        ..request(&["app.internal"])
    };
    let order = world.acme.new_order(&caller, None, request).await.unwrap();
    world.acme.finalize(&caller, order.record.id, &csr(&["app.internal"])).await.unwrap();
    let found = world.acme.order_certificate(&caller, order.record.id, 0).await.unwrap();
    let leaf = Certificate::from_der(&found.chain[0]).unwrap();
    assert_eq!((leaf.not_before, leaf.not_after), (start, end));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_csr_leaves_the_order_ready_for_another() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.ready_order(&caller, &["app.internal"]).await;
    let id = order.record.id;
    let pem = rcgen::CertificateParams::new(vec!["app.internal".to_owned()])
        .unwrap()
        .serialize_request(&KeyPair::generate().unwrap())
        .unwrap()
        .pem()
        .unwrap();
    let mut forged = csr(&["app.internal"]);
    if let Some(last) = forged.last_mut() {
        *last ^= 1;
    }
    let curve = csr_with(&["app.internal"], None, &KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap());
    for (refused, why) in [
        (csr(&["www.internal"]), "the CSR does not fit the order"),
        (csr(&[]), "the CSR does not fit the order"),
        (csr(&["app.internal", "www.internal"]), "names that are not in the order: `www.internal`"),
        (csr_with(&["app.internal"], Some("www.internal"), &KeyPair::generate().unwrap()), "its common name"),
        (pem.into_bytes(), "not the DER"),
        (Vec::new(), "not the DER"),
        (forged, ""),
        (curve, "ecdsa-p521"),
    ] {
        let error = world.acme.finalize(&caller, id, &refused).await.unwrap_err();
        assert_eq!(error.acme_token(), "badCSR", "{error}");
        assert!(error.detail().contains(why), "{error} has no {why}");
        assert_eq!(world.acme.order(&caller, id).await.unwrap().status, OrderStatus::Ready);
    }
    world.acme.finalize(&caller, id, &csr(&["app.internal"])).await.unwrap();
}

/// acme.sh asks for the usages of TLS clients in every request, and cert-manager for key encipherment.
#[tokio::test(flavor = "multi_thread")]
async fn usages_that_clients_always_ask_for_are_left_to_the_profile() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.ready_order(&caller, &["app.internal"]).await;
    let mut params = rcgen::CertificateParams::new(vec!["app.internal".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.extended_key_usages =
        vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature, rcgen::KeyUsagePurpose::KeyEncipherment];
    let csr = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
    world.acme.finalize(&caller, order.record.id, csr.der()).await.unwrap();
    let found = world.acme.order_certificate(&caller, order.record.id, 0).await.unwrap();
    let leaf = Certificate::from_der(&found.chain[0]).unwrap();
    let usages: Vec<String> = leaf.extended_key_usage.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(usages, ["server_auth"]);
    assert_eq!(leaf.key_usage, Some([KeyUsage::DigitalSignature].into_iter().collect()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_csr_for_signing_code_is_refused_and_not_signed_for_servers() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.ready_order(&caller, &["app.internal"]).await;
    let mut params = rcgen::CertificateParams::new(vec!["app.internal".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::CodeSigning];
    let csr = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
    let error = world.acme.finalize(&caller, order.record.id, csr.der()).await.unwrap_err();
    assert_eq!(error.acme_token(), "badCSR");
    for told in ["`code_signing`", "`server_auth`"] {
        assert!(error.detail().contains(told), "{error}");
    }
    assert_eq!((issued(&world).await, world.refused_issuances().await), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_a_certificate_is_audited_once_and_so_many_in_an_hour() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.ready_order(&caller, &["app.internal"]).await;
    let id = order.record.id;
    let curve = csr_with(&["app.internal"], None, &KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap());
    world.acme.finalize(&caller, id, &csr(&["www.internal"])).await.unwrap_err();
    assert_eq!(world.refused_issuances().await, 1, "by the order");
    world.acme.finalize(&caller, id, &curve).await.unwrap_err();
    assert_eq!(world.refused_issuances().await, 2, "by policy");
    world.validator.refuse_caa(ValidationFailure::new(AcmeErrorType::Caa, "other CAs are named"));
    world.acme.finalize(&caller, id, &csr(&["app.internal"])).await.unwrap_err();
    assert_eq!(world.refused_issuances().await, 3, "by CAA records");
    for _ in 0..70 {
        world.acme.finalize(&caller, id, &curve).await.unwrap_err();
    }
    assert_eq!(world.refused_issuances().await, 60);
    world.acme.finalize(&caller, id, &csr(&["app.internal"])).await.unwrap();
    world.acme.finalize(&caller, id, &csr(&["app.internal"])).await.unwrap_err();
    assert_eq!(world.refused_issuances().await, 60, "an order that is not ready is no refusal");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_says_how_each_name_of_a_certificate_was_proven() {
    let world = World::new().await;
    let caller = world.account().await;
    let names = ["app.internal", "*.app.internal"];
    let order = world.ready_order(&caller, &names).await;
    world.acme.finalize(&caller, order.record.id, &csr(&names)).await.unwrap();
    let bound = world.account_bound_by(|key| key.proves_control = true).await;
    let without = world.order(&bound, &["a.team.internal"]).await;
    world.acme.finalize(&bound, without.record.id, &csr(&["a.team.internal"])).await.unwrap();
    let events = world.issuances(AuditOutcome::Success).await;
    let details: Vec<_> = events.iter().map(|event| event.details["acme"].clone()).collect();
    let moment = world.now().to_string();
    let proof = |order: &OrderView, place: usize, how: &str, moment: Option<&str>| {
        let authorization = &order.authorizations[place];
        json!({
            "identifier": authorization.identifier.to_string(), "authorization": authorization.id,
            "proof": how, "validated_at": moment,
        })
    };
    let expected = json!({
        "account": order.record.account_id, "order": order.record.id,
        "proofs": [proof(&order, 0, "http-01", Some(&moment)), proof(&order, 1, "dns-01", Some(&moment))],
    });
    assert!(details.contains(&expected), "{details:?} has no {expected}");
    let of_binding = details.iter().find(|acme| acme["order"] == without.record.id).unwrap();
    assert_eq!(of_binding["proofs"][0]["proof"], "external_account_binding");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_the_common_name_alone_is_signed_as_a_name() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.ready_order(&caller, &["app.internal"]).await;
    let csr = csr_with(&[], Some("app.internal"), &KeyPair::generate().unwrap());
    world.acme.finalize(&caller, order.record.id, &csr).await.unwrap();
    let found = world.acme.order_certificate(&caller, order.record.id, 0).await.unwrap();
    let leaf = Certificate::from_der(&found.chain[0]).unwrap();
    assert_eq!(leaf.names.iter().map(ToString::to_string).collect::<Vec<_>>(), ["dns:app.internal"]);
    assert_eq!(leaf.subject.to_string(), "CN=app.internal");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_ready_order_is_finalized() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.order(&caller, &["app.internal"]).await;
    let id = order.record.id;
    let csr = csr(&["app.internal"]);
    let pending = world.acme.finalize(&caller, id, &csr).await.unwrap_err();
    assert_eq!((pending.acme_token(), pending.kind()), ("orderNotReady", ErrorKind::Forbidden));
    world.respond(&caller, &order).await;
    world.until_order(&caller, id, OrderStatus::Ready).await;
    world.acme.finalize(&caller, id, &csr).await.unwrap();
    let valid = world.acme.finalize(&caller, id, &csr).await.unwrap_err();
    assert_eq!((valid.acme_token(), valid.kind()), ("orderNotReady", ErrorKind::Forbidden));
    assert_eq!(issued(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_32_finalizations_at_once_one_makes_a_certificate() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.ready_order(&caller, &["app.internal"]).await;
    let id = order.record.id;
    let same = csr(&["app.internal"]);
    let others: Vec<Vec<u8>> = (0..16).map(|_| csr(&["app.internal"])).collect();
    let calls = others.iter().chain(std::iter::repeat_n(&same, 16)).map(|csr| world.acme.finalize(&caller, id, csr));
    let outcomes = futures_util::future::join_all(calls).await;
    let mut certificates = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(view) => certificates.push(view.record.certificate.unwrap()),
            Err(error) => assert_eq!(error.acme_token(), "orderNotReady", "{error}"),
        }
    }
    assert!(!certificates.is_empty());
    certificates.dedup();
    assert_eq!(certificates.len(), 1);
    assert_eq!(issued(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn caa_records_are_asked_for_every_name_each_time() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.ready_order(&caller, &["app.internal", "*.app.internal"]).await;
    let failure = ValidationFailure::new(AcmeErrorType::Caa, "the CAA records of `app.internal` name other CAs");
    world.validator.refuse_caa(failure);
    let error =
        world.acme.finalize(&caller, order.record.id, &csr(&["app.internal", "*.app.internal"])).await.unwrap_err();
    assert_eq!((error.acme_token(), error.kind()), ("caa", ErrorKind::Forbidden));
    let subproblems = &error.acme_error().unwrap().subproblems;
    assert_eq!(subproblems.iter().map(|problem| problem.identifier.as_str()).collect::<Vec<_>>(), ["app.internal"]);
    assert_eq!(world.acme.order(&caller, order.record.id).await.unwrap().status, OrderStatus::Ready);
    world.acme.finalize(&caller, order.record.id, &csr(&["app.internal", "*.app.internal"])).await.unwrap();
    let asked = world.validator.caa_asked.lock().unwrap();
    let asked: Vec<(String, Option<&str>)> = asked
        .iter()
        .map(|question| (question.identifier.to_string(), question.challenge.map(|challenge| challenge.as_str())))
        .collect();
    let each = [("app.internal".to_owned(), Some("http-01")), ("*.app.internal".to_owned(), Some("dns-01"))];
    assert_eq!(asked, [each.clone(), each].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_under_a_withdrawn_profile_is_not_finalized() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.ready_order(&caller, &["app.internal"]).await;
    let mut narrow = crate::policy::profile::defaults().remove(0);
    narrow.dns = None;
    narrow.ip = None;
    narrow.uri =
        Some(crate::policy::profile::NameSection { allow: vec!["spiffe://**".to_owned()], ..Default::default() });
    narrow.names_required = false;
    narrow.common_name_in_names = false;
    world.acme.ca().apply_configured_profiles(vec![narrow]).await.unwrap();
    let error = world.acme.finalize(&caller, order.record.id, &csr(&["app.internal"])).await.unwrap_err();
    assert_eq!(error.acme_token(), "invalidProfile");
    assert!(world.acme.new_order(&caller, None, request(&["app.internal"])).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_policy_no_longer_admits_are_rejected() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.ready_order(&caller, &["app.internal", "www.internal"]).await;
    let mut narrow = crate::policy::profile::defaults().remove(0);
    narrow.dns =
        Some(crate::policy::profile::DnsSection { allow: vec!["app.internal".to_owned()], ..Default::default() });
    world.acme.ca().apply_configured_profiles(vec![narrow]).await.unwrap();
    let error =
        world.acme.finalize(&caller, order.record.id, &csr(&["app.internal", "www.internal"])).await.unwrap_err();
    assert_eq!(error.acme_token(), "rejectedIdentifier");
    let subproblems = &error.acme_error().unwrap().subproblems;
    assert_eq!(subproblems.iter().map(|problem| problem.identifier.as_str()).collect::<Vec<_>>(), ["www.internal"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_on_the_block_list_is_a_bad_csr_now_and_in_the_background() {
    for asynchronous in [false, true] {
        let world = World::with(|settings| settings.asynchronous_finalize = asynchronous).await;
        let caller = world.account().await;
        let key = KeyPair::generate().unwrap();
        let order = world.ready_order(&caller, &["app.internal"]).await;
        let csr = csr_with(&["app.internal"], None, &key);
        let administrator = Authorized::<RevokeCertificates>::check(Caller::internal("test")).unwrap();
        let proof = KeyProof::Csr(Box::new(CertificateRequest::parse(&csr_with(&[], Some("revoke"), &key)).unwrap()));
        world.acme.ca().revoke_key(&administrator, &proof).await.unwrap();
        let error = world.acme.finalize(&caller, order.record.id, &csr).await.unwrap_err();
        assert_eq!(error.acme_token(), "badCSR");
        assert_eq!(world.acme.order(&caller, order.record.id).await.unwrap().status, OrderStatus::Ready);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_ready_only_when_every_identifier_has_an_authorization() {
    let world = World::new().await;
    let caller = world.account().await;
    let order = world.ready_order(&caller, &["app.internal", "www.internal"]).await;
    let (record, mut authorizations) = (order.record, order.authorizations);
    let look = |authorizations: &[_]| OrderView::at(record.clone(), authorizations.to_vec(), world.now());
    assert_eq!(look(&authorizations).status, OrderStatus::Ready);
    assert!(look(&authorizations).require_proven(world.now()).is_ok());
    authorizations.pop();
    assert_eq!(look(&authorizations).status, OrderStatus::Pending);
    assert_eq!(look(&authorizations).require_proven(world.now()).unwrap_err().acme_token(), "unauthorized");
}
