//! Subjects: allowed and fixed attributes, common names, the CSR's octets.

use super::support::{Case, Csr, bare};
use crate::policy::profile::Presence;
use crate::x509::CertificateRequest;
use crate::x509::distinguished_name::AttributeType;

fn text(pairs: &[(AttributeType, &str)]) -> Option<Vec<(AttributeType, String)>> {
    Some(pairs.iter().map(|(kind, value)| (*kind, (*value).to_owned())).collect())
}

#[test]
fn keeps_the_csrs_subject_octet_for_octet() {
    let csr = Csr::new()
        .common_name("app.internal")
        .attribute("2.5.4.11", "second unit")
        .attribute("2.5.4.11", "first unit")
        .attribute("2.5.4.6", "DE")
        .dns("app.internal");
    let case = Case::new(csr);
    assert_eq!(case.approved().subject().as_der(), case.request.subject().as_der());
}

#[test]
fn takes_the_subject_of_the_body_instead() {
    let mut case =
        Case::new(Csr::new().common_name("other.example").attribute("2.5.4.9", "Street").dns("app.internal"));
    case.adjustments.subject =
        text(&[(AttributeType::CommonName, "app.internal"), (AttributeType::Organization, "Example")]);
    assert_eq!(case.approved().subject().to_string(), "O=Example,CN=app.internal");
    case.adjustments.subject = text(&[]);
    assert!(case.approved().subject().is_empty());
}

#[test]
fn refuses_attributes_that_are_not_allowed() {
    let case = Case::new(Csr::new().attribute("2.5.4.9", "Street 1").dns("app.internal"));
    case.is_refused("subject_attribute_not_allowed", "csr.subject.street_address", "profiles.server.subject.allowed");
    assert_eq!(
        case.violation().message,
        "the subject attribute `street_address` is not allowed; allowed: `common_name`, `country`, `state`, `locality`, \
         `organization`, `organizational_unit`"
    );
    Case::new(Csr::new().attribute("1.2.3.4", "x").dns("app.internal")).is_refused(
        "subject_attribute_not_allowed",
        "csr.subject.1.2.3.4",
        "profiles.server.subject.allowed",
    );
    let mut case = Case::new(Csr::new().dns("app.internal"));
    case.adjustments.subject = text(&[(AttributeType::EmailAddress, "a@b.internal")]);
    case.is_refused("subject_attribute_not_allowed", "subject.email_address", "profiles.server.subject.allowed");
}

#[test]
fn refuses_malformed_attributes() {
    for (csr, field) in [
        (Csr::new().attribute("2.5.4.6", "DEU"), "csr.subject.country"),
        (Csr::new().attribute("2.5.4.10", "a\0b"), "csr.subject.organization"),
        (Csr::new().attribute("2.5.4.10", &"a".repeat(65)), "csr.subject.organization"),
    ] {
        Case::new(csr.dns("app.internal")).is_refused("subject_attribute_malformed", field, "RFC 5280, appendix A.1");
    }
    let mut case = Case::new(Csr::new().dns("app.internal"));
    case.adjustments.subject = text(&[
        (AttributeType::Country, "Germany"),
        (AttributeType::Organization, "Example"),
        (AttributeType::StreetAddress, "Street 1"),
    ]);
    let found: Vec<_> = case.violations().into_iter().map(|violation| (violation.code, violation.field)).collect();
    assert_eq!(
        found,
        [
            ("subject_attribute_malformed", "subject.country".to_owned()),
            ("subject_attribute_not_allowed", "subject.street_address".to_owned()),
        ]
    );
}

#[test]
fn refuses_a_relative_name_of_several_attributes() {
    Case::new(Csr::new().joint(("2.5.4.3", "app.internal"), ("2.5.4.10", "x")).dns("app.internal")).is_refused(
        "subject_multi_valued",
        "csr.subject",
        "profiles.server.subject",
    );
}

#[test]
fn adds_missing_fixed_attributes_with_the_common_name_last() {
    let fixed = |profile: &mut crate::policy::Profile| {
        profile.subject.fixed.insert(AttributeType::Organization, "Example".to_owned());
        profile.subject.fixed.insert(AttributeType::Country, "DE".to_owned());
    };
    let csr = Csr::new().common_name("app.internal").attribute("2.5.4.11", "b").attribute("2.5.4.11", "a");
    let case = Case::new(csr.dns("app.internal")).profile("server", fixed);
    assert_eq!(case.approved().subject().to_string(), "CN=app.internal,OU=a,OU=b,O=Example,C=DE");

    let csr = Csr::new().common_name("app.internal").attribute("2.5.4.10", "Example").attribute("2.5.4.6", "DE");
    let case = Case::new(csr.dns("app.internal")).profile("server", fixed);
    assert_eq!(case.approved().subject().as_der(), case.request.subject().as_der());

    let case = Case::new(Csr::new().dns("app.internal")).profile("server", fixed);
    assert_eq!(case.approved().subject().to_string(), "O=Example,C=DE");
}

#[test]
fn refuses_another_value_than_the_fixed_one() {
    for value in ["Other", "example", "Example "] {
        let case =
            Case::new(Csr::new().attribute("2.5.4.10", value).dns("app.internal")).profile("server", |profile| {
                profile.subject.fixed.insert(AttributeType::Organization, "Example".to_owned());
            });
        case.is_refused(
            "subject_fixed_value",
            "csr.subject.organization",
            "profiles.server.subject.fixed.organization",
        );
        assert!(case.violation().message.contains("must be `Example`"));
    }
}

#[test]
fn common_names_are_required_optional_or_forbidden() {
    let with = Csr::new().common_name("app.internal").dns("app.internal");
    let without = Csr::new().dns("app.internal");
    let presence =
        |presence: Presence| move |profile: &mut crate::policy::Profile| profile.subject.common_name = presence;
    for csr in [&with, &without] {
        Case::new(csr.clone()).profile("server", presence(Presence::Optional)).approved();
    }
    let rule = "profiles.server.subject.common_name";
    Case::new(with.clone()).profile("server", presence(Presence::Required)).approved();
    Case::new(without.clone()).profile("server", presence(Presence::Required)).is_refused(
        "common_name_required",
        "csr.subject.common_name",
        rule,
    );
    Case::new(without).profile("server", presence(Presence::Forbidden)).approved();
    Case::new(with).profile("server", presence(Presence::Forbidden)).is_refused(
        "common_name_forbidden",
        "csr.subject.common_name",
        rule,
    );
}

#[test]
fn refuses_a_second_common_name() {
    let case = Case::new(Csr::new().common_name("app.internal").common_name("b.internal").dns("app.internal"));
    case.is_refused("subject_attribute_malformed", "csr.subject.common_name", "RFC 5280, appendix A.1");
    assert!(case.violation().message.contains("2 common names; at most one"));
}

#[test]
fn a_common_name_is_one_of_the_names_in_normal_form() {
    for csr in [
        Csr::new().common_name("App.INTERNAL").dns("app.internal"),
        Csr::new().common_name("app.internal").dns("b.internal").dns("APP.internal"),
        Csr::new().common_name("10.0.0.1").ip([10, 0, 0, 1]),
        Csr::new().common_name("FD00:0::1").ip([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ] {
        Case::new(csr).approved();
    }
    let mut case = Case::new(Csr::new().common_name("app.internal"));
    case.adjustments.subject_alt_names = vec![bare("app.internal")];
    case.approved();
}

#[test]
fn refuses_a_common_name_that_is_not_one_of_the_names() {
    for common_name in ["www.internal", "app.internal.", "app", "My Server", "10.0.0.1", "*.internal"] {
        let case = Case::new(Csr::new().common_name(common_name).dns("app.internal"));
        case.is_refused("common_name_not_in_names", "csr.subject.common_name", "profiles.server.common_name_in_names");
    }
    let case = Case::new(Csr::new().common_name("www.internal").dns("app.internal"));
    assert!(case.violation().message.contains("`openssl req -addext \"subjectAltName=DNS:www.internal\" ...`"));
    let case = Case::new(Csr::new().common_name("10.0.0.1").dns("app.internal"));
    assert!(case.violation().message.contains("\"subjectAltName=IP:10.0.0.1\""));
}

#[test]
fn other_profiles_take_any_common_name() {
    Case::new(Csr::new().common_name("Alice Example")).profile("client", |_| {}).approved();
}

#[test]
fn refuses_a_certificate_that_names_nobody() {
    Case::new(Csr::new()).profile("client", |_| {}).is_refused(
        "names_required",
        "csr.subject_alt_names",
        "RFC 5280, section 4.1.2.6",
    );
}

#[test]
fn granted_names_bind_the_common_name_under_every_profile() {
    let names = crate::policy::names::NameSections {
        dns: Some(crate::policy::profile::DnsSection {
            allow: vec!["**.team.internal".to_owned()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut case = Case::new(Csr::new().common_name("admin").dns("a.team.internal")).profile("client", |_| {});
    case.approved();
    case.grants.names = Some(names);
    case.is_refused("common_name_not_in_names", "csr.subject.common_name", "grants.names");
    case.request =
        CertificateRequest::parse(&Csr::new().common_name("a.team.internal").dns("a.team.internal").der()).unwrap();
    case.approved();
}

#[test]
fn granted_names_bind_an_email_address_in_the_subject() {
    let names = crate::policy::names::NameSections {
        email: Some(crate::policy::profile::NameSection {
            allow: vec!["*@team.internal".to_owned()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let asked = || {
        let mut case = Case::new(Csr::new())
            .profile("client", |profile| profile.subject.allowed.push(AttributeType::EmailAddress));
        case.adjustments.subject = Some(vec![(AttributeType::EmailAddress, "admin@team.internal".to_owned())]);
        case
    };
    asked().approved();
    let mut case = asked();
    case.grants.names = Some(names);
    case.is_refused("email_address_not_in_names", "subject.email_address", "grants.names");
    case.adjustments.subject_alt_names = vec![bare("admin@team.internal")];
    case.approved();
}
