//! Tests of [`evaluate`](super::evaluate): each violation, their order, and what is approved.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod acme;
mod authority;
mod issuer;
mod keys;
mod names;
mod subject;
mod support;
mod usages;
mod validity;

use support::{Case, Csr, bare, days, now, other_name};

use super::*;
use crate::x509::usage::KeyUsage;

#[test]
fn approves_exactly_what_was_asked_for() {
    let case = Case::new(Csr::new().common_name("app.internal").dns("app.internal").dns("10.internal"));
    let approved = case.approved();
    assert_eq!(approved.subject(), case.request.subject());
    assert_eq!(support::values(approved.names()), ["dns:app.internal", "dns:10.internal"]);
    assert_eq!(approved.public_key(), case.request.public_key());
    assert_eq!(approved.key_usage(), &KeyUsages::from([KeyUsage::DigitalSignature]));
    let usages: Vec<String> = approved.extended_key_usage().iter().map(ToString::to_string).collect();
    assert_eq!(usages, ["server_auth"]);
    assert_eq!(approved.not_before(), now() - Duration::from_secs(300));
    assert_eq!(approved.not_after(), now() + days(90));
    assert!(approved.certificate_policies().is_empty());
    assert!(!approved.must_staple());
}

#[test]
fn writes_the_profiles_certificate_policies() {
    let mut case = Case::new(Csr::new().dns("app.internal"));
    case.profile.certificate_policies = vec!["2.23.140.1.2.1".to_owned(), "1.3.6.1.4.1.99999.1".to_owned()];
    let policies: Vec<String> = case.approved().certificate_policies().iter().map(ToString::to_string).collect();
    assert_eq!(policies, ["2.23.140.1.2.1", "1.3.6.1.4.1.99999.1"]);
}

#[test]
fn reports_everything_at_once_and_in_order() {
    let csr = Csr::new()
        .common_name("www.example.org")
        .attribute("2.5.4.9", "Street 1")
        .dns("evil.example")
        .dns("app.internal.")
        .dns("*.internal")
        .dns("_x.internal")
        .ip([8, 8, 8, 8])
        .email("a@b.internal")
        .general_name(other_name())
        .extension("2.5.29.15", true, &[3, 2, 2, 0x24])
        .extension("2.5.29.19", true, &[0x30, 3, 1, 1, 0xff])
        .extension("2.5.29.54", false, &[2, 1, 0])
        .extension("1.3.6.1.5.5.7.1.24", false, &[0x30, 3, 2, 1, 5]);
    let mut case = Case::new(csr).profile("server", |profile| {
        profile.keys = vec![crate::x509::KeyAlgorithm::Rsa(2048)];
        let dns = profile.dns.as_mut().unwrap();
        dns.wildcards = false;
        dns.deny = vec!["admin.internal".to_owned()];
    });
    case.key_is_blocked = true;
    case.adjustments.subject_alt_names = vec![bare("admin.internal")];
    case.adjustments.validity = Some(RequestedValidity::Duration(days(5_000)));
    // The second is of the blocked key, which is made anew for each run.
    insta::assert_json_snapshot!(case.violations(), { "[1].value" => "[digest]", "[1].message" => "[digest]" });
}

#[test]
fn an_answer_does_not_grow_with_a_hostile_request() {
    let mut case = Case::new(Csr::new().dns("app.internal"));
    case.adjustments.subject_alt_names = (0..5_000).map(|index| bare(&format!("{index}..internal"))).collect();
    assert_eq!(case.violations().len(), MAXIMUM_VIOLATIONS);
}

#[test]
fn long_values_are_cut_and_control_characters_escaped() {
    assert_eq!(shown("a\0b\nc"), "a\\u{0}b\\nc");
    assert_eq!(shown(&"é".repeat(1_000)).chars().count(), MAXIMUM_SHOWN + 3);
    assert_eq!(shown("plain"), "plain");
}

#[test]
fn lists_at_most_ten_values() {
    assert_eq!(listed::<&str>(&[]), "none");
    assert_eq!(listed(&["a", "b"]), "`a`, `b`");
    let many: Vec<usize> = (0..13).collect();
    assert_eq!(listed(&many), "`0`, `1`, `2`, `3`, `4`, `5`, `6`, `7`, `8`, `9` and 3 more");
}
