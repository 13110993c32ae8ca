//! What ACME orders and their CSRs may ask for.

use super::support::{Case, Csr, P521, RSA, days, now, other_name, profile, tlv};
use crate::error::{Error, Violation};
use crate::policy::acme::identifier::WrittenIdentifier;
use crate::policy::acme::order::{self, OrderRules};
use crate::policy::acme::{Identifier, csr};
use crate::policy::profile::{BeyondIssuer, DnsSection};
use crate::policy::{Adjustments, CompiledProfile, Grants, IssuerLimits, Profile};
use crate::x509::{CertificateRequest, Timestamp};

fn written(kind: &str, value: &str) -> WrittenIdentifier {
    WrittenIdentifier { kind: kind.to_owned(), value: value.to_owned() }
}

fn dns(values: &[&str]) -> Vec<WrittenIdentifier> {
    values.iter().map(|value| written("dns", value)).collect()
}

fn parsed(values: &[(&str, &str)]) -> Vec<Identifier> {
    values.iter().map(|(kind, value)| Identifier::parse(&written(kind, value)).unwrap()).collect()
}

/// The rules of the profile `server` with changes, and grants.
struct Rules {
    profile: CompiledProfile,
    grants: Grants,
    issuer: IssuerLimits,
}

impl Rules {
    fn new(change: impl FnOnce(&mut Profile)) -> Self {
        Self {
            profile: CompiledProfile::compile(super::support::profile("server", change)).unwrap(),
            grants: Grants::unrestricted(),
            issuer: IssuerLimits::lasting(now() - days(100), now() + days(5 * 365)),
        }
    }

    fn granting(mut self, document: &str) -> Self {
        self.grants = Grants::compile(serde_json::from_str(document).unwrap()).unwrap();
        self
    }

    fn identifiers(&self, written: &[WrittenIdentifier]) -> Result<Vec<Identifier>, Error> {
        self.rules().identifiers(written)
    }

    fn rules(&self) -> OrderRules<'_> {
        OrderRules { maximum: 5, profile: &self.profile, grants: &self.grants, issuer: &self.issuer }
    }

    fn validity(&self, not_before: Option<Timestamp>, not_after: Option<Timestamp>) -> Result<(), Error> {
        self.rules().validity(&order::adjustments(&[], not_before, not_after), now())
    }
}

/// Returns type and subproblems (type, identifier) of an error.
fn told(error: &Error) -> (&str, Vec<(&str, &str)>) {
    let subproblems = error.acme_error().map(|acme| acme.subproblems.as_slice()).unwrap_or_default();
    let told = subproblems.iter().map(|problem| (problem.error_type.as_str(), problem.identifier.as_str()));
    (error.acme_token(), told.collect())
}

#[test]
fn the_first_of_equal_identifiers_is_kept_in_order() {
    let rules = Rules::new(|_| {});
    let written = [
        written("dns", "b.internal"),
        written("ip", "10.0.0.1"),
        written("dns", "B.Internal"),
        written("dns", "a.internal"),
        written("ip", "10.0.0.1"),
    ];
    assert_eq!(
        rules.identifiers(&written).unwrap(),
        parsed(&[("dns", "b.internal"), ("ip", "10.0.0.1"), ("dns", "a.internal")])
    );
}

#[test]
fn a_wildcard_and_its_base_are_two_identifiers() {
    let rules = Rules::new(|_| {});
    let identifiers = rules.identifiers(&dns(&["*.app.internal", "app.internal", "a.app.internal"])).unwrap();
    assert_eq!(identifiers.len(), 3);
    assert_eq!(identifiers.iter().filter(|identifier| identifier.is_wildcard()).count(), 1);
}

#[test]
fn none_and_too_many_identifiers_are_malformed() {
    let rules = Rules::new(|_| {});
    assert_eq!(told(&rules.identifiers(&[]).unwrap_err()), ("malformed", vec![]));
    let six: Vec<String> = (0..6).map(|number| format!("a{number}.internal")).collect();
    let six = dns(&six.iter().map(String::as_str).collect::<Vec<_>>());
    let error = rules.identifiers(&six).unwrap_err();
    assert_eq!(told(&error), ("malformed", vec![]));
    assert_eq!(error.detail(), "the order has 6 identifiers; at most 5 are taken in one order");
    // Six of which two are equal are five.
    let mut five = six;
    five[5] = five[0].clone();
    assert_eq!(rules.identifiers(&five).unwrap().len(), 5);
    let narrow = Rules::new(|profile| {
        profile.dns = Some(DnsSection { allow: vec!["**".to_owned()], maximum: 2, ..DnsSection::default() });
    });
    let error = narrow.identifiers(&dns(&["a.internal", "b.internal", "c.internal"])).unwrap_err();
    assert_eq!(told(&error), ("malformed", vec![]));
    assert!(error.detail().contains("at most 2"), "{error}");
}

#[test]
fn a_single_identifier_is_refused_without_subproblems() {
    let rules = Rules::new(|_| {});
    assert_eq!(told(&rules.identifiers(&dns(&["www.example.org"])).unwrap_err()), ("rejectedIdentifier", vec![]));
    assert_eq!(told(&rules.identifiers(&dns(&["a..b"])).unwrap_err()), ("malformed", vec![]));
    let email = [written("email", "a@b.internal")];
    assert_eq!(told(&rules.identifiers(&email).unwrap_err()), ("unsupportedIdentifier", vec![]));
}

#[test]
fn each_refused_identifier_of_several_has_a_subproblem() {
    let rules = Rules::new(|_| {});
    let error = rules.identifiers(&dns(&["a.internal", "www.example.org", "example.org"])).unwrap_err();
    let expected = vec![("rejectedIdentifier", "www.example.org"), ("rejectedIdentifier", "example.org")];
    assert_eq!(told(&error), ("rejectedIdentifier", expected));
    let one = rules.identifiers(&dns(&["a.internal", "www.example.org"])).unwrap_err();
    assert_eq!(told(&one), ("rejectedIdentifier", vec![("rejectedIdentifier", "www.example.org")]));
    assert!(one.detail().contains("`www.example.org` matches no allowed pattern"), "{one}");
    let mixed = [written("dns", "www.example.org"), written("dns", "a..b"), written("email", "a@b.internal")];
    let error = rules.identifiers(&mixed).unwrap_err();
    let (token, mut problems) = told(&error);
    problems.sort_unstable();
    assert_eq!(token, "compound");
    assert_eq!(
        problems,
        [("malformed", "a..b"), ("rejectedIdentifier", "www.example.org"), ("unsupportedIdentifier", "a@b.internal")]
    );
}

#[test]
fn hostile_identifiers_come_back_short_and_escaped() {
    let rules = Rules::new(|_| {});
    let error = rules.identifiers(&dns(&["a.internal", &format!("\u{1b}[2J{}", "x".repeat(5000))])).unwrap_err();
    let (_, problems) = told(&error);
    assert!(problems[0].1.len() < 400 && !problems[0].1.contains('\u{1b}'));
    assert!(error.detail().len() < 2000 && !error.detail().contains('\u{1b}'));
}

#[test]
fn grants_bound_the_identifiers_too() {
    let rules = Rules::new(|_| {}).granting(r#"{"names": {"dns": {"allow": ["app.internal"]}}}"#);
    assert_eq!(rules.identifiers(&dns(&["app.internal"])).unwrap().len(), 1);
    for refused in ["other.internal", "*.app.internal"] {
        let error = rules.identifiers(&dns(&[refused])).unwrap_err();
        assert_eq!(error.acme_token(), "rejectedIdentifier", "{refused}");
    }
    let address = rules.identifiers(&[written("ip", "10.0.0.1")]).unwrap_err();
    assert!(address.detail().contains("`grants.names` has no section `ip`"), "{address}");
}

#[test]
fn the_validity_of_an_order_is_judged_by_the_profile() {
    let rules = Rules::new(|_| {});
    rules.validity(None, None).unwrap();
    rules.validity(Some(now()), Some(now() + days(30))).unwrap();
    rules.validity(Some(now() + days(1)), None).unwrap();
    for (not_before, not_after) in [
        (None, Some(now() + days(399))),
        (None, Some(now() - days(1))),
        (Some(now() - days(1)), None),
        (Some(now() + days(2)), Some(now() + days(1))),
        (Some(now() + days(399)), None),
    ] {
        let error = rules.validity(not_before, not_after).unwrap_err();
        assert_eq!(error.acme_token(), "malformed", "{not_before:?} {not_after:?}");
        assert!(error.detail().starts_with("`notBefore` and `notAfter` cannot be had: "), "{error}");
    }
    let mut ending = Rules::new(|profile| profile.validity.beyond_issuer = BeyondIssuer::Refuse);
    ending.issuer = IssuerLimits::lasting(now() - days(1), now() + days(10));
    let error = ending.validity(None, Some(now() + days(11))).unwrap_err();
    assert!(error.detail().contains("after its issuer"), "{error}");
}

#[test]
fn adjustments_name_every_identifier() {
    let identifiers = parsed(&[("dns", "*.a.internal"), ("ip", "fd00::1")]);
    let Adjustments { subject, subject_alt_names, .. } = order::adjustments(&identifiers, None, None);
    let names: Vec<String> = subject_alt_names.iter().map(|name| name.parse().unwrap().to_string()).collect();
    assert_eq!(names, ["dns:*.a.internal", "ip:fd00::1"]);
    assert!(subject.is_none());
}

/// Judges a CSR for an order by an account whose key is that of [`RSA`].
fn judged(request: Csr, identifiers: &[(&str, &str)]) -> Result<(), String> {
    let account = CertificateRequest::parse(&Csr::new().key(&RSA).dns("account.internal").der()).unwrap();
    let request = CertificateRequest::parse(&request.der()).unwrap();
    csr::judge(&request, &parsed(identifiers), account.public_key(), &profile("server", |_| {})).map_err(|error| {
        assert_eq!(error.acme_token(), "badCSR");
        assert!(error.detail().starts_with("the CSR does not fit the order: "), "{error}");
        error.detail().to_owned()
    })
}

#[test]
fn a_csr_with_exactly_the_names_fits() {
    let order = [("dns", "app.internal"), ("dns", "*.app.internal"), ("ip", "10.0.0.1")];
    let names = || Csr::new().ip([10, 0, 0, 1]).dns("*.APP.internal").dns("app.internal").dns("App.Internal");
    judged(names(), &order).unwrap();
    judged(names().common_name("app.internal"), &order).unwrap();
    judged(names().common_name("*.App.Internal"), &order).unwrap();
}

#[test]
fn a_name_in_the_common_name_alone_counts() {
    judged(Csr::new().common_name("app.internal"), &[("dns", "app.internal")]).unwrap();
    let two = [("dns", "app.internal"), ("dns", "www.internal")];
    judged(Csr::new().common_name("app.internal").dns("www.internal"), &two).unwrap();
    let missing = judged(Csr::new().common_name("app.internal"), &two).unwrap_err();
    assert!(missing.contains("missing in its subject alternative names: `www.internal`"), "{missing}");
}

#[test]
fn each_way_not_to_fit_is_told() {
    let order = [("dns", "app.internal")];
    let app = || Csr::new().dns("app.internal");
    let full = tlv(0xa4, &tlv(0x30, &[]));
    for (request, why) in [
        (Csr::new(), "it does not ask for all names of the order"),
        (app().dns("www.internal"), "names that are not in the order: `www.internal`; the order has: `app.internal`"),
        (Csr::new().dns("*.app.internal"), "missing in its subject alternative names: `app.internal`"),
        (app().ip([10, 0, 0, 1]), "names that are not in the order: `10.0.0.1`"),
        (app().email("a@b.internal"), "it asks for the name `email:a@b.internal`"),
        (app().uri("https://app.internal/"), "it asks for the name `uri:https://app.internal/`"),
        (app().general_name(other_name()), "it asks for a name of the type `otherName`"),
        (app().general_name(full), "it asks for a name of the type `directoryName`"),
        (app().dns("a..b"), "its subject alternative name `a..b` is malformed"),
        (app().common_name("www.internal"), "its common name `www.internal` is no DNS name of the order"),
        (app().common_name("Some server"), "its common name `Some server` is no DNS name of the order"),
        (app().common_name("app.internal").common_name("app.internal"), "its subject has another common name"),
        (app().attribute("2.5.4.10", "Example"), "its subject holds `organization`"),
        (app().attribute("2.5.4.6", "DE"), "its subject holds `country`"),
        (app().attribute("1.2.3.4", "x"), "its subject holds `1.2.3.4`"),
        (app().key(&RSA), "its key is that of the account"),
    ] {
        let told = judged(request, &order).unwrap_err();
        assert!(told.contains(why), "{told} has no {why}");
    }
    judged(app().key(&P521), &order).unwrap();
}

/// A key usage extension with one octet of bits (RFC 5280, section 4.2.1.3).
fn with_key_usage(bits: u8) -> Csr {
    Csr::new().dns("app.internal").extension("2.5.29.15", true, &[3, 2, 0, bits])
}

#[test]
fn usages_that_the_certificate_would_not_have_are_refused() {
    const SERVER: &str = "1.3.6.1.5.5.7.3.1";
    const CLIENT: &str = "1.3.6.1.5.5.7.3.2";
    const CODE: &str = "1.3.6.1.5.5.7.3.3";
    let order = [("dns", "app.internal")];
    let extended = |oids: &[&str]| Csr::new().dns("app.internal").extended_key_usage(oids);
    for (request, why) in [
        (extended(&[CODE]), "asks for the extended key usage `code_signing`, which"),
        (extended(&[SERVER, CODE]), "`code_signing`, which certificates under the profile `server` do not have"),
        (extended(&[SERVER, "2.5.29.37.0"]), "the extended key usage `any`"),
        (extended(&[CLIENT]), "the extended key usage `client_auth`, which"),
        (extended(&[CLIENT]), "they may have: `server_auth`"),
        (with_key_usage(0x20), "the key usage `key_encipherment`, which"),
        (with_key_usage(0x40), "they may have: `digital_signature`"),
        (with_key_usage(0x84), "the key usage `key_cert_sign`, which"),
        (with_key_usage(0x88), "the key usage `key_agreement`, which"),
    ] {
        let told = judged(request, &order).unwrap_err();
        assert!(told.contains(why), "{told} has no {why}");
    }
    for request in [extended(&[SERVER]), extended(&[CLIENT, SERVER]), with_key_usage(0x80), with_key_usage(0xe0)] {
        judged(request, &order).unwrap();
    }
}

#[test]
fn an_address_is_one_in_the_csr_too() {
    let order = [("ip", "10.0.0.1")];
    judged(Csr::new().ip([10, 0, 0, 1]), &order).unwrap();
    let as_name = judged(Csr::new().dns("10.0.0.1"), &order).unwrap_err();
    assert!(as_name.contains("`10.0.0.1` is malformed"), "{as_name}");
    let as_common_name = judged(Csr::new().ip([10, 0, 0, 1]).common_name("10.0.0.1"), &order).unwrap_err();
    assert!(as_common_name.contains("its common name `10.0.0.1` is no DNS name of the order"), "{as_common_name}");
}

fn violations_of(request: Csr, change: impl FnOnce(&mut Profile)) -> Vec<Violation> {
    Case::new(request).profile("server", change).violations()
}

#[test]
fn refusals_of_policy_have_the_types_of_acme() {
    let order = parsed(&[("dns", "app.internal"), ("dns", "app.example.org")]);
    let names = || Csr::new().dns("app.internal").dns("app.example.org");
    let of_names = order::refusal(&violations_of(names(), |_| {}), &order);
    assert_eq!(told(&of_names), ("rejectedIdentifier", vec![("rejectedIdentifier", "app.example.org")]));

    let app = || Csr::new().dns("app.internal");
    let authority = app().extension("2.5.29.19", true, &[0x30, 3, 1, 1, 0xff]);
    for request in
        [authority, app().extended_key_usage(&["1.3.6.1.5.5.7.3.4"]), app().extension("1.2.3.4", false, &[5, 0])]
    {
        let error = order::refusal(&violations_of(request, |_| {}), &order);
        assert_eq!(told(&error), ("badCSR", vec![]), "{error}");
    }
    let weak = order::refusal(
        &violations_of(app(), |profile| profile.keys = vec![crate::x509::KeyAlgorithm::Ed25519]),
        &order,
    );
    assert_eq!(weak.acme_token(), "badCSR");

    let mut late = Case::new(app());
    late.adjustments = order::adjustments(&order[..1], Some(now() - days(7)), None);
    assert_eq!(order::refusal(&late.violations(), &order).acme_token(), "malformed");
}
