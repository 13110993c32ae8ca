//! What the issuer's chain allows: names, usages and policies of leaves.

use serde_json::{Value, json};

use super::support::{Case, Csr, bare, now, tlv};
use crate::policy::{IssuerLimits, RequestedSubjectAltName, TypedName};
use crate::x509::extension::{Extension, oids};
use crate::x509::testing::Authority;
use crate::x509::{Certificate, NameConstraintsDocument, NameType};

/// Returns name constraints as an extension.
pub(super) fn constraints(document: Value) -> Extension {
    let document: NameConstraintsDocument = serde_json::from_value(document).unwrap();
    document.compile("name_constraints").unwrap().to_extension()
}

/// Returns the limits of the lowest of these CAs, given from the root downwards.
pub(super) fn limits(chain: &[&Authority]) -> IssuerLimits {
    let mut certificates: Vec<Certificate> = chain.iter().rev().map(|ca| ca.certificate.clone()).collect();
    let issuer = certificates.remove(0);
    let limits = IssuerLimits::of_chain(&issuer, &certificates);
    assert!(limits.not_before < now() && limits.not_after > now());
    limits
}

fn case(csr: Csr, chain: &[&Authority]) -> Case {
    let mut case = Case::new(csr).profile("peer", |profile| {
        profile.dns.as_mut().unwrap().allow = vec!["**".to_owned()];
        profile.ip.as_mut().unwrap().allow = vec!["**".to_owned()];
        profile.uri.as_mut().unwrap().allow = vec!["**".to_owned()];
        profile.subject.allowed.push(crate::x509::distinguished_name::AttributeType::EmailAddress);
    });
    case.issuer = limits(chain);
    case
}

#[test]
fn every_name_is_judged_by_every_ca_above() {
    let root =
        Authority::root_with("Root", &[constraints(json!({"excluded": {"ip": ["10.9.0.0/16"], "uri": ["evil"]}}))]);
    let middle = root.subordinate_with(
        "Middle",
        None,
        &[constraints(
            json!({"permitted": {"dns": ["internal"], "email": ["example.com"], "uri": ["cluster.internal"]}}),
        )],
    );
    let issuing = middle.subordinate_with(
        "Issuing",
        Some(0),
        &[constraints(json!({"excluded": {"dns": ["secret.a.internal"], "directory": ["O=Other"]}}))],
    );
    let good = Csr::new()
        .attribute("2.5.4.10", "Example")
        .dns("a.internal")
        .ip([10, 0, 0, 1])
        .email("a@example.com")
        .uri("spiffe://cluster.internal/a");
    case(good, &[&root, &middle, &issuing]).approved();
    let limits = limits(&[&root, &middle, &issuing]);
    let admitted = |text: &str| limits.admit_name(&bare(text).parse().unwrap());
    assert!(admitted("a.internal") && admitted("10.0.0.1"));
    assert!(!admitted("localhost") && !admitted("10.9.0.1") && !admitted("secret.a.internal"));
    let bad = Csr::new()
        .attribute("2.5.4.10", "other")
        .attribute("1.2.840.113549.1.9.1", "b@example.org")
        .dns("*.a.internal")
        .dns("*.internal")
        .dns("www.example.org")
        .ip([10, 9, 1, 1])
        .email("a@sub.example.com")
        .uri("spiffe://other.internal/a")
        .uri("urn:a");
    let mut bad = case(bad, &[&root, &middle, &issuing]);
    bad.adjustments.subject_alt_names = vec![bare("x.secret.a.internal")];
    insta::assert_json_snapshot!(bad.violations());
}

#[test]
fn a_common_name_that_passes_for_a_host_is_judged() {
    let root = Authority::root_with("Root", &[constraints(json!({"permitted": {"dns": ["internal"]}}))]);
    let with_address = |common_name: &str| case(Csr::new().common_name(common_name).ip([10, 0, 0, 1]), &[&root]);
    let refused = with_address("10.0.0.1").violation();
    assert_eq!((refused.code, refused.field.as_str()), ("issuer_name_constraints", "csr.subject.common_name"));
    assert_eq!(
        refused.message,
        "the common name `10.0.0.1`, which is taken for a DNS name where there is none, is not permitted by the name constraints of the \
         CA `CN=Root`; permitted: `internal`"
    );
    with_address("a.internal").approved();
    // For a client it is a person's name.
    let client = |common_name: &str| {
        let mut case = Case::new(Csr::new().common_name(common_name)).profile("client", |_| {});
        case.issuer = limits(&[&root]);
        case
    };
    client("Alice Smith").approved();
    client("alice.smith").is_refused(
        "issuer_name_constraints",
        "csr.subject.common_name",
        "issuer.name_constraints.permitted.dns",
    );
}

#[test]
fn what_is_judged_is_the_subject_with_its_fixed_attributes() {
    let root = Authority::root_with("Root", &[constraints(json!({"permitted": {"directory": ["O=Example,C=SE"]}}))]);
    let with = |country: &str| {
        let mut case = Case::new(Csr::new().dns("a.internal")).profile("server", |profile| {
            use crate::x509::distinguished_name::AttributeType::{Country, Organization};
            profile.subject.fixed = [(Country, country.to_owned()), (Organization, "Example".to_owned())].into();
        });
        case.issuer = limits(&[&root]);
        case
    };
    with("SE").approved();
    with("NO").is_refused("issuer_name_constraints", "csr.subject", "issuer.name_constraints.permitted.directory");
    assert!(with("NO").violation().message.contains("permitted: `O=Example,C=SE`"));
}

#[test]
fn a_constraint_that_cannot_be_processed_refuses_its_type() {
    let subtree = tlv(0x30, &tlv(0x82, b"*.internal"));
    let value = tlv(0x30, &tlv(0xa0, &subtree));
    let root = Authority::root_with("Root", &[Extension { oid: oids::NAME_CONSTRAINTS, critical: true, value }]);
    let refused = case(Csr::new().dns("a.internal"), &[&root]).violation();
    assert_eq!(refused.rule, "issuer.name_constraints.dns");
    assert!(refused.message.ends_with("; use another issuer"), "{}", refused.message);
    case(Csr::new().ip([10, 0, 0, 1]), &[&root]).approved();
}

#[test]
fn more_names_than_verifiers_compare_are_refused_together() {
    let blocks: Vec<String> = (0..250).map(|number| format!("10.{number}.0.0/16")).collect();
    let root = Authority::root_with("Root", &[constraints(json!({"excluded": {"ip": blocks}}))]);
    let mut many = case(Csr::new().dns("a.internal"), &[&root]);
    many.profile.dns.as_mut().unwrap().maximum = 5_000;
    let name = |number| {
        RequestedSubjectAltName::Typed(TypedName { name_type: NameType::Dns, value: format!("a{number}.internal") })
    };
    many.adjustments.subject_alt_names = (0..998).map(name).collect();
    many.approved();
    many.adjustments.subject_alt_names = (0..999).map(name).collect();
    let refused = many.violation();
    assert_eq!((refused.code, refused.value.as_str()), ("issuer_name_constraints", "1000"));
    assert!(refused.message.contains("at most 999 names"), "{}", refused.message);
}

#[test]
fn extended_key_usages_are_nested_in_those_of_every_ca() {
    let usages = |usages: &[&str]| {
        let usages: Vec<_> = usages.iter().map(|usage| usage.parse().unwrap()).collect();
        Extension::extended_key_usage(&usages)
    };
    let root = Authority::root_with("Root", &[usages(&["server_auth", "client_auth", "any"])]);
    let issuing = root.subordinate_with("Issuing", Some(0), &[usages(&["server_auth", "email_protection"])]);
    let refused = case(Csr::new().dns("a.internal"), &[&root, &issuing]).violation();
    insta::assert_json_snapshot!(refused);
    case(Csr::new().dns("a.internal"), &[&root]).approved();
    let mut server = case(Csr::new().dns("a.internal"), &[&root, &issuing]);
    server.profile = super::support::profile("server", |_| {});
    server.approved();
    // `any` alone frees nothing: OpenSSL and GnuTLS reject a server below it.
    let any = Authority::root_with("Root", &[usages(&["any"])]);
    server.issuer = limits(&[&any]);
    server.is_refused("issuer_extended_key_usage", "extended_key_usage", "issuer.extended_key_usage");
    // Without usages of its own a certificate has those of its chain.
    server.profile.extended_key_usage = crate::policy::profile::ExtendedKeyUsageRule::default();
    server.approved();
}

/// Certificate policies, and what requires them.
fn policies(policies: &[&str]) -> Extension {
    let policies: Vec<_> = policies.iter().map(|policy| policy.parse().unwrap()).collect();
    Extension::certificate_policies(&policies)
}

fn extension(oid: const_oid::ObjectIdentifier, value: &[u8]) -> Extension {
    Extension { oid, critical: true, value: value.to_vec() }
}

/// `requireExplicitPolicy` after so many certificates.
fn explicit(skip: u8) -> Extension {
    extension(oids::POLICY_CONSTRAINTS, &[0x30, 3, 0x80, 1, skip])
}

const ANY_POLICY: &str = "2.5.29.32.0";

#[test]
fn a_policy_is_needed_where_a_ca_requires_one() {
    let root = Authority::root("Root");
    let with = |extensions: &[Extension], of_profile: &[&str]| {
        let issuing = root.subordinate_with("Issuing", Some(0), extensions);
        let mut case = case(Csr::new().dns("a.internal"), &[&root, &issuing]);
        case.profile.certificate_policies = of_profile.iter().map(|policy| (*policy).to_owned()).collect();
        case
    };
    let refused = |case: &Case| {
        case.is_refused("issuer_certificate_policies", "certificate_policies", "issuer.policy_constraints");
    };
    with(&[policies(&["1.2.3.4"])], &[]).approved();
    with(&[policies(&["1.2.3.4"]), explicit(0)], &["1.2.3.4"]).approved();
    with(&[policies(&["1.2.3.4"]), explicit(0)], &["1.2.3.5", "1.2.3.4"]).approved();
    with(&[policies(&[ANY_POLICY]), explicit(1)], &["1.2.3.5"]).approved();
    // It is required two certificates further on, where there is none.
    with(&[policies(&["1.2.3.4"]), explicit(2)], &[]).approved();
    refused(&with(&[policies(&["1.2.3.4"]), explicit(1)], &[]));
    refused(&with(&[policies(&["1.2.3.4"]), explicit(0)], &["1.2.3.5"]));
    refused(&with(&[explicit(0)], &["1.2.3.4"]));
    insta::assert_json_snapshot!([
        with(&[policies(&["1.2.3.4"]), explicit(0)], &[]).violation(),
        with(&[policies(&["1.2.3.4"]), explicit(0)], &["1.2.3.5"]).violation(),
        with(&[policies(&[ANY_POLICY]), explicit(0)], &[]).violation(),
        with(&[explicit(0)], &["1.2.3.4"]).violation(),
    ]);
}

#[test]
fn policies_are_mapped_and_inhibited_as_the_chain_says() {
    // 1.2.3.4 of the issuer is 1.2.3.9 of the subject.
    let mapping = extension(oids::POLICY_MAPPINGS, &[0x30, 12, 0x30, 10, 6, 3, 0x2a, 3, 4, 6, 3, 0x2a, 3, 9]);
    let inhibit_mapping = extension(oids::POLICY_CONSTRAINTS, &[0x30, 6, 0x80, 1, 0, 0x81, 1, 0]);
    let inhibit_any = extension(oids::INHIBIT_ANY_POLICY, &[2, 1, 0]);
    let root = Authority::root("Root");
    let valid = |middle: &[Extension], issuing: &[Extension], policy: &str| {
        let middle = root.subordinate_with("Middle", None, middle);
        let issuing = middle.subordinate_with("Issuing", Some(0), issuing);
        let mut case = case(Csr::new().dns("a.internal"), &[&root, &middle, &issuing]);
        case.profile.certificate_policies = vec![policy.to_owned()];
        case.evaluate().is_ok()
    };
    let middle = [policies(&["1.2.3.4"]), explicit(0)];
    assert!(valid(&middle, &[policies(&["1.2.3.4"])], "1.2.3.4"));
    assert!(!valid(&middle, &[policies(&["1.2.3.5"])], "1.2.3.5"), "not a policy of the CA above");
    let middle = [policies(&["1.2.3.4"]), explicit(0), mapping.clone()];
    assert!(valid(&middle, &[policies(&["1.2.3.9"])], "1.2.3.9"));
    assert!(!valid(&middle, &[policies(&["1.2.3.4"])], "1.2.3.4"), "it was mapped to another");
    let inhibited = [policies(&["1.2.3.4"]), inhibit_mapping];
    assert!(!valid(&inhibited, &[policies(&["1.2.3.4"]), mapping], "1.2.3.9"));
    let middle = [policies(&["1.2.3.4"]), explicit(0)];
    assert!(valid(&middle, &[policies(&[ANY_POLICY])], "1.2.3.4"));
    let middle = [policies(&["1.2.3.4"]), explicit(0), inhibit_any];
    assert!(!valid(&middle, &[policies(&[ANY_POLICY])], "1.2.3.4"), "`anyPolicy` stands for nothing there");
}
