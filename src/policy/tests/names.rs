//! Names: collected from CSR and body, judged by profile and grants.

use super::support::{Case, Csr, bare, other_name, values};
use crate::policy::names::NameSections;
use crate::policy::profile::{DnsSection, NameSection};
use crate::policy::{RequestedSubjectAltName, TypedName};
use crate::x509::NameType;

fn approved(case: &Case) -> Vec<String> {
    values(case.approved().names())
}

fn granted(allow: &[&str]) -> Option<NameSections> {
    let allow = allow.iter().map(|pattern| (*pattern).to_owned()).collect();
    Some(NameSections { dns: Some(DnsSection { allow, ..DnsSection::default() }), ..NameSections::default() })
}

#[test]
fn joins_the_names_of_csr_and_body_without_duplicates() {
    let mut case = Case::new(Csr::new().dns("B.internal").dns("a.internal").dns("b.INTERNAL").ip([10, 0, 0, 1]));
    case.adjustments.subject_alt_names =
        vec![bare("10.0.0.1"), bare("A.Internal"), bare("c.internal"), bare("FD00::1")];
    assert_eq!(approved(&case), ["dns:b.internal", "dns:a.internal", "ip:10.0.0.1", "dns:c.internal", "ip:fd00::1"]);
}

#[test]
fn finds_the_type_of_bare_values() {
    let mut case = Case::new(Csr::new()).profile("peer", |_| {});
    case.adjustments.subject_alt_names =
        ["spiffe://td/a", "a@b.internal", "10.0.0.1", "::1", "app.internal"].map(bare).to_vec();
    assert_eq!(
        approved(&case),
        ["uri:spiffe://td/a", "email:a@b.internal", "ip:10.0.0.1", "ip:::1", "dns:app.internal"]
    );
}

#[test]
fn typed_values_are_of_their_type_only() {
    let mut case = Case::new(Csr::new());
    let typed =
        |name_type, value: &str| RequestedSubjectAltName::Typed(TypedName { name_type, value: value.to_owned() });
    case.adjustments.subject_alt_names = vec![typed(NameType::Ip, "10.0.0.1"), typed(NameType::Dns, "a.internal")];
    assert_eq!(approved(&case), ["ip:10.0.0.1", "dns:a.internal"]);
    for (name_type, value) in
        [(NameType::Dns, "10.0.0.1"), (NameType::Ip, "a.internal"), (NameType::Email, "a.internal")]
    {
        case.adjustments.subject_alt_names = vec![typed(name_type, value)];
        case.is_refused("name_malformed", "subject_alt_names[0]", "RFC 5280, section 4.2.1.6");
    }
}

#[test]
fn both_forms_are_read_from_json() {
    let read: Vec<RequestedSubjectAltName> =
        serde_json::from_str(r#"["a.internal", {"type": "ip", "value": "10.0.0.1"}]"#).unwrap();
    let parsed: Vec<String> = read.iter().map(|name| name.parse().unwrap().to_string()).collect();
    assert_eq!(parsed, ["dns:a.internal", "ip:10.0.0.1"]);
    for refused in
        [r#"[{"type": "ip"}]"#, r#"[{"type": "ip", "value": "::1", "x": 1}]"#, "[1]", r#"[{"type": "x", "value": ""}]"#]
    {
        assert!(serde_json::from_str::<Vec<RequestedSubjectAltName>>(refused).is_err(), "{refused}");
    }
}

#[test]
fn refuses_malformed_names() {
    for name in [
        "app.internal.",
        "a..internal",
        "",
        ".internal",
        "*",
        "a.*.internal",
        "a*.internal",
        "10.0.0.1",
        "a\0.internal",
        "a b",
    ] {
        let case = Case::new(Csr::new().dns(name).dns("ok.internal"));
        case.is_refused("name_malformed", "csr.subject_alt_names[0]", "RFC 5280, section 4.2.1.6");
    }
    let mut case = Case::new(Csr::new().dns("ok.internal"));
    for value in ["bücher.internal", "::ffff:10.0.0.1", "https://", "@"] {
        case.adjustments.subject_alt_names = vec![bare("b.internal"), bare(value)];
        case.is_refused("name_malformed", "subject_alt_names[1]", "RFC 5280, section 4.2.1.6");
    }
}

#[test]
fn refuses_types_that_are_never_signed() {
    let case = Case::new(Csr::new().dns("ok.internal").general_name(other_name()));
    case.is_refused("name_type_not_supported", "csr.subject_alt_names[1]", "RFC 5280, section 4.2.1.6");
}

#[test]
fn refuses_types_without_a_section() {
    for (csr, rule) in [
        (Csr::new().uri("spiffe://td/a"), "profiles.server.uri"),
        (Csr::new().email("a@b.internal"), "profiles.server.email"),
    ] {
        Case::new(csr).is_refused("name_type_not_allowed", "csr.subject_alt_names[0]", rule);
    }
    Case::new(Csr::new().ip([10, 0, 0, 1])).profile("server", |profile| profile.ip = None).is_refused(
        "name_type_not_allowed",
        "csr.subject_alt_names[0]",
        "profiles.server.ip",
    );
}

#[test]
fn refuses_names_that_are_not_allowed() {
    for name in [
        "www.example.org",
        "internal",
        "evilinternal",
        "app.internal.evil.example",
        "localhost.example",
        "app.internalx",
        "*.example",
    ] {
        Case::new(Csr::new().dns("ok.internal").dns(name)).is_refused(
            "name_not_allowed",
            "csr.subject_alt_names[1]",
            "profiles.server.dns.allow",
        );
    }
    for address in [[8, 8, 8, 8], [172, 32, 0, 1], [169, 254, 169, 254], [0, 0, 0, 0]] {
        Case::new(Csr::new().ip(address)).is_refused(
            "name_not_allowed",
            "csr.subject_alt_names[0]",
            "profiles.server.ip.allow",
        );
    }
    let case = Case::new(Csr::new().dns("WWW.example.org"));
    let violation = case.violation();
    assert_eq!(violation.value, "www.example.org");
    assert_eq!(
        violation.message,
        "the DNS name `www.example.org` matches no allowed pattern; allowed: `localhost`, `**.localhost`, `**.internal`, \
         `**.test`, `**.local`"
    );
}

#[test]
fn a_denied_name_is_refused_even_if_allowed() {
    for name in ["admin.internal", "ADMIN.internal", "*.internal"] {
        let case = Case::new(Csr::new().dns(name)).profile("server", |profile| {
            profile.dns.as_mut().unwrap().deny = vec!["Admin.internal".to_owned()];
        });
        case.is_refused("name_denied", "csr.subject_alt_names[0]", "profiles.server.dns.deny");
    }
    let case = Case::new(Csr::new().ip([10, 0, 0, 1])).profile("server", |profile| {
        profile.ip.as_mut().unwrap().deny = vec!["10.0.0.0/24".to_owned()];
    });
    case.is_refused("name_denied", "csr.subject_alt_names[0]", "profiles.server.ip.deny");
}

#[test]
fn wildcards_need_permission() {
    assert_eq!(approved(&Case::new(Csr::new().dns("*.app.internal"))), ["dns:*.app.internal"]);
    Case::new(Csr::new().dns("*.app.internal"))
        .profile("server", |profile| profile.dns.as_mut().unwrap().wildcards = false)
        .is_refused("wildcard_not_allowed", "csr.subject_alt_names[0]", "profiles.server.dns.wildcards");
}

#[test]
fn underscores_need_permission() {
    let csr = Csr::new().dns("_sip.internal");
    Case::new(csr.clone()).is_refused(
        "underscore_not_allowed",
        "csr.subject_alt_names[0]",
        "profiles.server.dns.underscores",
    );
    let case = Case::new(csr).profile("server", |profile| profile.dns.as_mut().unwrap().underscores = true);
    assert_eq!(approved(&case), ["dns:_sip.internal"]);
}

#[test]
fn at_most_so_many_names_of_a_type() {
    let csr = ["a", "b", "c"].iter().fold(Csr::new(), |csr, name| csr.dns(&format!("{name}.internal")));
    let maximum = |maximum: usize| {
        Case::new(csr.clone().ip([10, 0, 0, 1]).dns("a.internal"))
            .profile("server", |profile| profile.dns.as_mut().unwrap().maximum = maximum)
    };
    maximum(3).approved();
    let case = maximum(2);
    case.is_refused("too_many_names", "csr.subject_alt_names[2]", "profiles.server.dns.maximum");
    assert_eq!(case.violation().value, "3");
}

#[test]
fn some_name_is_required() {
    let rule = "profiles.server.names_required";
    Case::new(Csr::new()).is_refused("names_required", "csr.subject_alt_names", rule);
    Case::new(Csr::new().common_name("Alice")).profile("client", |_| {}).approved();
}

#[test]
fn names_must_pass_both_profile_and_grants() {
    let mut case = Case::new(Csr::new().dns("a.team.internal"));
    case.grants.names = granted(&["**.team.internal", "**.example"]);
    case.approved();
    case.grants.names = granted(&["**.other.internal"]);
    case.is_refused("name_not_allowed", "csr.subject_alt_names[0]", "grants.names.dns.allow");
    let mut case = Case::new(Csr::new().dns("a.example"));
    case.grants.names = granted(&["**.example"]);
    case.is_refused("name_not_allowed", "csr.subject_alt_names[0]", "profiles.server.dns.allow");
    let mut case = Case::new(Csr::new().ip([10, 0, 0, 1]));
    case.grants.names = granted(&["**"]);
    case.is_refused("name_type_not_allowed", "csr.subject_alt_names[0]", "grants.names.ip");
    let mut case = Case::new(Csr::new().dns("*.internal"));
    case.grants.names = granted(&["**"]);
    case.is_refused("wildcard_not_allowed", "csr.subject_alt_names[0]", "grants.names.dns.wildcards");
    let mut case = Case::new(Csr::new().dns("www.example.org"));
    case.grants.names = Some(NameSections { ip: Some(NameSection::default()), ..NameSections::default() });
    let codes: Vec<&str> = case.violations().iter().map(|violation| violation.code).collect();
    assert_eq!(codes, ["name_not_allowed", "name_type_not_allowed"]);
}
