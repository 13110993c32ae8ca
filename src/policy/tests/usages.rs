//! Usages and extensions.

use super::support::{Case, Csr, ED25519, ML_DSA_65, P256, RSA, tlv};
use crate::policy::profile::MustStaple;
use crate::x509::{KeyAlgorithm, KeyUsage};

const KEY_USAGE: &str = "2.5.29.15";
const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
const CLIENT_AUTH: &str = "1.3.6.1.5.5.7.3.2";

/// A TLS feature extension that asks for `status_request`.
fn stapling(csr: Csr) -> Csr {
    csr.extension("1.3.6.1.5.5.7.1.24", false, &[0x30, 3, 2, 1, 5])
}

fn key_usages(case: &Case) -> Vec<&'static str> {
    case.approved().key_usage().iter().map(|usage| usage.as_str()).collect()
}

fn extended(case: &Case) -> Vec<String> {
    case.approved().extended_key_usage().iter().map(ToString::to_string).collect()
}

#[test]
fn key_encipherment_is_added_for_rsa_keys_only() {
    assert_eq!(key_usages(&Case::new(Csr::new().key(&P256).dns("app.internal"))), ["digital_signature"]);
    assert_eq!(key_usages(&Case::new(Csr::new().key(&ED25519).dns("app.internal"))), ["digital_signature"]);
    assert_eq!(
        key_usages(&Case::new(Csr::new().key(&RSA).dns("app.internal"))),
        ["digital_signature", "key_encipherment"]
    );
}

#[test]
fn usages_that_a_key_cannot_have_are_left_out() {
    let all = [
        KeyUsage::DigitalSignature,
        KeyUsage::ContentCommitment,
        KeyUsage::KeyEncipherment,
        KeyUsage::DataEncipherment,
        KeyUsage::KeyAgreement,
    ];
    for (key, expected) in [
        (&*P256, &["digital_signature", "content_commitment", "key_agreement"][..]),
        (&*ED25519, &["digital_signature", "content_commitment"]),
        (&*ML_DSA_65, &["digital_signature", "content_commitment"]),
        (&*RSA, &["digital_signature", "content_commitment", "key_encipherment", "data_encipherment"]),
    ] {
        let case = Case::new(Csr::new().key(key).dns("app.internal")).profile("server", |profile| {
            profile.keys.push(KeyAlgorithm::MlDsa65);
            profile.key_usage = all.to_vec();
        });
        assert_eq!(key_usages(&case), expected);
    }
}

#[test]
fn refuses_encryption_and_agreement_for_an_ml_dsa_key() {
    for (octets, usage) in
        [([3, 2, 5, 0x20], "key_encipherment"), ([3, 2, 4, 0x10], "data_encipherment"), ([3, 2, 3, 8], "key_agreement")]
    {
        let csr = Csr::new().key(&ML_DSA_65).extension(KEY_USAGE, true, &octets).dns("app.internal");
        let case = Case::new(csr).profile("server", |profile| {
            profile.keys = vec![KeyAlgorithm::MlDsa65];
            profile.key_usage.extend([KeyUsage::KeyEncipherment, KeyUsage::DataEncipherment, KeyUsage::KeyAgreement]);
        });
        case.is_refused("key_usage_not_allowed", "csr.key_usage", "profiles.server.key_usage");
        assert_eq!(
            case.violation().message,
            format!("a key of the kind `ml-dsa-65` cannot have the key usage `{usage}`; allowed: `digital_signature`")
        );
    }
}

#[test]
fn a_csr_may_ask_for_less_than_is_written() {
    let csr = Csr::new().key(&RSA).extension(KEY_USAGE, true, &[3, 2, 5, 0x20]).dns("app.internal");
    assert_eq!(key_usages(&Case::new(csr)), ["digital_signature", "key_encipherment"]);
}

#[test]
fn refuses_key_usages_that_are_not_written() {
    for (octets, usage) in
        [([3, 2, 5, 0x20], "key_encipherment"), ([3, 2, 2, 4], "key_cert_sign"), ([3, 2, 1, 2], "crl_sign")]
    {
        let case = Case::new(Csr::new().extension(KEY_USAGE, true, &octets).dns("app.internal"));
        case.is_refused("key_usage_not_allowed", "csr.key_usage", "profiles.server.key_usage");
        assert_eq!(case.violation().value, usage);
        assert!(case.violation().message.ends_with("allowed: `digital_signature`"));
    }
}

#[test]
fn extended_key_usages_are_the_required_ones_and_those_asked_for() {
    let both = |profile: &mut crate::policy::Profile| {
        let client = profile.extended_key_usage.required.clone();
        profile.extended_key_usage.allowed.extend(client);
        profile.extended_key_usage.allowed.push(CLIENT_AUTH.parse().unwrap());
    };
    let case = Case::new(Csr::new().dns("app.internal")).profile("server", both);
    assert_eq!(extended(&case), ["server_auth"]);
    let csr = Csr::new().extended_key_usage(&[CLIENT_AUTH, SERVER_AUTH, CLIENT_AUTH]).dns("app.internal");
    assert_eq!(extended(&Case::new(csr.clone()).profile("server", both)), ["server_auth", "client_auth"]);
    assert_eq!(extended(&Case::new(csr).profile("peer", |_| {})), ["server_auth", "client_auth"]);
}

#[test]
fn refuses_extended_key_usages_that_are_not_allowed() {
    let case = Case::new(Csr::new().extended_key_usage(&[SERVER_AUTH, CLIENT_AUTH]).dns("app.internal"));
    case.is_refused("extended_key_usage_not_allowed", "csr.extended_key_usage", "profiles.server.extended_key_usage");
    assert_eq!(case.violation().message, "the extended key usage `client_auth` is not allowed; allowed: `server_auth`");
    let case = Case::new(Csr::new().extended_key_usage(&["1.2.3.4", "2.5.29.37.0"]).dns("app.internal"));
    let values: Vec<String> = case.violations().into_iter().map(|violation| violation.value).collect();
    assert_eq!(values, ["1.2.3.4", "any"]);
}

#[test]
fn a_choice_of_extended_key_usages_must_be_made() {
    let choice = |profile: &mut crate::policy::Profile| {
        profile.extended_key_usage.required.clear();
        profile.extended_key_usage.allowed = vec![SERVER_AUTH.parse().unwrap(), CLIENT_AUTH.parse().unwrap()];
    };
    Case::new(Csr::new().dns("app.internal")).profile("server", choice).is_refused(
        "extended_key_usage_not_allowed",
        "csr.extended_key_usage",
        "profiles.server.extended_key_usage",
    );
    let csr = Csr::new().extended_key_usage(&[CLIENT_AUTH]).dns("app.internal");
    assert_eq!(extended(&Case::new(csr).profile("server", choice)), ["client_auth"]);
    let none = Case::new(Csr::new().dns("app.internal")).profile("server", |profile| {
        profile.extended_key_usage = crate::policy::profile::ExtendedKeyUsageRule::default();
    });
    assert!(extended(&none).is_empty());
}

#[test]
fn refuses_ca_certificates_where_the_profile_makes_none() {
    let csr = Csr::new().extension("2.5.29.19", true, &[0x30, 3, 1, 1, 0xff]).dns("app.internal");
    Case::new(csr).is_refused("ca_not_allowed", "csr.basic_constraints", "profiles.server");
    Case::new(Csr::new().extension("2.5.29.19", true, &[0x30, 0]).dns("app.internal")).approved();
}

#[test]
fn must_staple_is_forbidden_allowed_or_required() {
    let plain = || Csr::new().dns("app.internal");
    let with =
        |setting: MustStaple, csr: Csr| Case::new(csr).profile("server", |profile| profile.must_staple = setting);
    assert!(!with(MustStaple::Forbidden, plain()).approved().must_staple());
    with(MustStaple::Forbidden, stapling(plain())).is_refused(
        "must_staple_not_allowed",
        "csr.extensions[1.3.6.1.5.5.7.1.24]",
        "profiles.server.must_staple",
    );
    assert!(!with(MustStaple::Allowed, plain()).approved().must_staple());
    assert!(with(MustStaple::Allowed, stapling(plain())).approved().must_staple());
    assert!(with(MustStaple::Required, plain()).approved().must_staple());
    let ignored = Case::new(stapling(plain()))
        .profile("server", |profile| profile.ignore_extensions = vec!["1.3.6.1.5.5.7.1.24".to_owned()]);
    assert!(!ignored.approved().must_staple());
}

#[test]
fn refuses_other_extensions_unless_they_are_ignored() {
    let csr = Csr::new().extension("1.3.6.1.4.1.99999.7", false, &tlv(0x0c, b"x")).dns("app.internal");
    let case = Case::new(csr.clone());
    case.is_refused(
        "extension_not_allowed",
        "csr.extensions[1.3.6.1.4.1.99999.7]",
        "profiles.server.ignore_extensions",
    );
    Case::new(csr)
        .profile("server", |profile| profile.ignore_extensions = vec!["1.3.6.1.4.1.99999.7".to_owned()])
        .approved();
}
