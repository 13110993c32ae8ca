//! Profiles that make CAs.

use serde_json::json;

use super::issuer::{constraints, limits};
use super::support::{Case, Csr, tlv};
use crate::policy::Profile;
use crate::policy::profile::CertificateAuthorityRule;
use crate::x509::testing::Authority;
use crate::x509::{KeyUsage, NameConstraintsDocument};

fn profile(path_length: u8) -> Profile {
    let mut profile: Profile = serde_json::from_value(json!({
        "name": "subordinate",
        "validity": {"default": "1825d", "maximum": "3650d"},
        "key_usage": ["key_cert_sign", "crl_sign"],
        "subject": {"common_name": "required", "allowed": ["organization"]},
    }))
    .unwrap();
    profile.certificate_authority =
        Some(CertificateAuthorityRule { path_length, ..CertificateAuthorityRule::default() });
    profile
}

fn case(csr: Csr, path_length: u8) -> Case {
    let mut case = Case::new(csr);
    case.profile = profile(path_length);
    case.issuer = limits(&[&Authority::root("Root")]);
    case
}

fn csr() -> Csr {
    Csr::new().common_name("Subordinate CA")
}

/// Basic constraints `CA:TRUE` with a path length.
fn asking(path_length: u8) -> Csr {
    csr().extension("2.5.29.19", true, &[0x30, 6, 1, 1, 0xff, 2, 1, path_length])
}

#[test]
fn approves_a_ca_with_the_path_length_asked_for_or_the_greatest() {
    let path_length = |case: Case| case.approved().certificate_authority().unwrap().path_length;
    let plain = csr().extension("2.5.29.19", true, &[0x30, 3, 1, 1, 0xff]);
    let with_usages = plain.clone().extension("2.5.29.15", true, &[3, 2, 1, 0x06]);
    for csr in [csr(), plain, with_usages] {
        assert_eq!(path_length(case(csr, 2)), 2);
    }
    assert_eq!(path_length(case(asking(1), 2)), 1);
    let approved = case(asking(0), 0).approved();
    assert_eq!(approved.key_usage(), &[KeyUsage::KeyCertSign, KeyUsage::CrlSign].into());
    assert!(approved.extended_key_usage().is_empty() && approved.names().is_empty());
    assert!(Case::new(Csr::new().dns("a.internal")).approved().certificate_authority().is_none());
}

#[test]
fn the_issuer_leaves_what_its_path_length_leaves() {
    let root = Authority::root("Root");
    let middle = root.subordinate("Middle", Some(2));
    let below = middle.subordinate("Below", None);
    let last = below.subordinate("Last", Some(5));
    let under = |csr: Csr, chain: &[&Authority]| {
        let mut case = case(csr, 3);
        case.issuer = limits(chain);
        case
    };
    let path_length = |case: Case| case.approved().certificate_authority().unwrap().path_length;
    assert_eq!(limits(&[&root]).remaining_path_length(), None);
    assert_eq!(path_length(under(csr(), &[&root])), 3);
    assert_eq!(path_length(under(csr(), &[&root, &middle])), 1);
    assert_eq!(path_length(under(csr(), &[&root, &middle, &below])), 0);
    insta::assert_json_snapshot!([
        under(asking(2), &[&root, &middle]).violation(),
        under(asking(1), &[&root, &middle, &below]).violation(),
        under(csr(), &[&root, &middle, &below, &last]).violation(),
        under(asking(0), &[&root, &middle, &below, &last]).violation(),
    ]);
}

#[test]
fn refuses_what_does_not_fit_a_ca() {
    let usages = |bits: &[u8]| csr().extension("2.5.29.15", true, bits);
    let refusals = [
        case(asking(1), 0).violation(),
        case(csr().extension("2.5.29.19", true, &[0x30, 0]), 0).violation(),
        case(usages(&[3, 2, 1, 0x86]), 0).violation(),
        case(csr().dns("a.internal"), 0).violation(),
        case(csr().extended_key_usage(&["1.3.6.1.5.5.7.3.1"]), 0).violation(),
        case(csr().extension("2.5.29.30", true, &tlv(0x30, &[])), 0).violation(),
        case(Csr::new().common_name("Root"), 0).violation(),
    ];
    insta::assert_json_snapshot!(refusals);
    let mut nameless = case(Csr::new(), 0);
    nameless.profile.subject.common_name = crate::policy::profile::Presence::Optional;
    nameless.is_refused("subject_required", "csr.subject", "RFC 5280, section 4.1.2.6");
    let mut taken = case(Csr::new().common_name("issuing ca"), 0);
    taken.approved();
    let issuing = crate::x509::DistinguishedName::parse("CN=Issuing CA").unwrap();
    taken.issuer = taken.issuer.reserving(&[issuing]);
    taken.is_refused("subject_of_issuer", "csr.subject", "RFC 5280, section 4.1.2.6");
}

#[test]
fn the_chain_bounds_a_ca_as_it_bounds_a_leaf() {
    let directory = constraints(json!({"permitted": {"directory": ["O=Example"], "dns": ["internal"]}}));
    let usages = crate::x509::extension::Extension::extended_key_usage(&["client_auth".parse().unwrap()]);
    let root = Authority::root_with("Root", &[directory, usages]);
    let under = |csr: Csr| {
        let mut case = case(csr, 0);
        case.issuer = limits(&[&root]);
        case
    };
    // The common name of a CA is no host, whatever it looks like.
    let sound = Csr::new().attribute("2.5.4.10", "Example").common_name("ca.example.org");
    under(sound.clone()).approved();
    under(csr()).is_refused("issuer_name_constraints", "csr.subject", "issuer.name_constraints.permitted.directory");
    let mut server = under(sound);
    server.profile.extended_key_usage.required = vec!["server_auth".parse().unwrap()];
    server.is_refused("issuer_extended_key_usage", "extended_key_usage", "issuer.extended_key_usage");
}

#[test]
fn the_profiles_name_constraints_are_approved_with_it() {
    let document: NameConstraintsDocument = serde_json::from_value(
        json!({"permitted": {"dns": ["team.internal"]}, "excluded": {"ip": ["0.0.0.0/0", "::/0"]}}),
    )
    .unwrap();
    let mut case = case(csr(), 0);
    case.profile.certificate_authority.as_mut().unwrap().name_constraints = Some(document.clone());
    let approved = case.approved();
    let written = approved.certificate_authority().unwrap().name_constraints.as_ref().unwrap();
    assert_eq!(NameConstraintsDocument::from(written), document);
}
