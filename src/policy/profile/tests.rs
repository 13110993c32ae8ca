//! Tests of profile documents: how they are read, what is valid, the defaults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use super::*;

fn server() -> Profile {
    defaults().remove(0)
}

/// Compiles a changed `server` profile and returns what is wrong with it.
fn problem(change: impl FnOnce(&mut Profile)) -> String {
    let mut profile = server();
    change(&mut profile);
    CompiledProfile::compile(profile).unwrap_err().detail().to_owned()
}

/// The profile of `api.md`.
const EXAMPLE: &str = r#"
name = "server"
issuer = "issuing"
validity = { default = "90d", maximum = "398d", minimum = "5m", backdate = "5m", beyond_issuer = "refuse" }
keys = ["ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096"]
key_usage = ["digital_signature"]
extended_key_usage = { required = ["server_auth"], allowed = ["server_auth", "client_auth"] }
subject = { common_name = "optional", allowed = ["organization", "country"], fixed = { organization = "Example" } }
common_name_in_names = true
names_required = true
certificate_policies = ["2.23.140.1.2.1"]
[dns]
allow = ["localhost", "*.svc.example.com", "**.internal"]
deny = ["admin.internal"]
wildcards = false
maximum = 100
[ip]
allow = ["10.0.0.0/8", "127.0.0.1/32", "::1/128"]
"#;

#[test]
fn reads_the_documented_example() {
    let profile: Profile = toml::from_str(EXAMPLE).unwrap();
    let compiled = CompiledProfile::compile(profile.clone()).unwrap();
    assert_eq!(compiled.profile(), &profile);
    assert_eq!(compiled.certificate_policies().len(), 1);
    assert_eq!(profile.validity, Validity::default());
    assert_eq!(profile.sections().ip.unwrap().maximum, 100);
    assert_eq!(profile.subject.fixed[&AttributeType::Organization], "Example");
}

#[test]
fn documents_survive_a_round_trip() {
    for profile in defaults().into_iter().chain([toml::from_str(EXAMPLE).unwrap()]) {
        let json = serde_json::to_string(&profile).unwrap();
        assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), profile);
        let toml = toml::to_string(&profile).unwrap();
        assert_eq!(toml::from_str::<Profile>(&toml).unwrap(), profile);
    }
}

#[test]
fn a_name_alone_is_a_profile_that_allows_no_name() {
    let profile: Profile = serde_json::from_str(r#"{"name": "least"}"#).unwrap();
    let compiled = CompiledProfile::compile(profile).unwrap();
    assert_eq!(compiled.profile().keys.len(), 6);
    assert!(compiled.profile().renew_same_key);
    assert_eq!(compiled.profile().sections(), NameSections::default());
}

#[test]
fn unknown_fields_are_refused_everywhere() {
    for text in [
        r#"{"name": "x", "nmae": 1}"#,
        r#"{"name": "x", "dns": {"alow": []}}"#,
        r#"{"name": "x", "ip": {"wildcards": true}}"#,
        r#"{"name": "x", "validity": {"max": "1d"}}"#,
        r#"{"name": "x", "subject": {"common_names": "optional"}}"#,
        r#"{"name": "x", "subject": {"allowed": ["organisation"]}}"#,
        r#"{"name": "x", "extended_key_usage": {"needed": []}}"#,
        r#"{"name": "x", "must_staple": "perhaps"}"#,
        r#"{"name": "x", "keys": ["rsa-1024"]}"#,
        r#"{"name": "x", "validity": {"default": "1y"}}"#,
        r#"{}"#,
    ] {
        assert!(serde_json::from_str::<Profile>(text).is_err(), "{text}");
    }
}

#[test]
fn the_defaults_are_valid_and_internal() {
    let profiles = defaults();
    let names: Vec<&str> = profiles.iter().map(|profile| profile.name.as_str()).collect();
    assert_eq!(names, ["server", "client", "peer"]);
    for profile in profiles {
        CompiledProfile::compile(profile).unwrap();
    }
    insta::assert_json_snapshot!(defaults());
}

#[test]
fn reports_each_problem_of_a_document() {
    type Change = fn(&mut Profile);
    let table: [(&str, Change); 26] = [
        ("`name`: `` is not a name", |profile| profile.name.clear()),
        ("`name`: `Server`", |profile| profile.name = "Server".to_owned()),
        ("`name`: `1a`", |profile| profile.name = "1a".to_owned()),
        ("`name`: `a/b`", |profile| profile.name = "a/b".to_owned()),
        ("`name`: `aaa", |profile| profile.name = "a".repeat(64)),
        ("`issuer`: `A`", |profile| profile.issuer = Some("A".to_owned())),
        ("`additional_issuers`: `b c`", |profile| profile.additional_issuers = vec!["b c".to_owned()]),
        ("`description` is over", |profile| profile.description = Some("x".repeat(1_001))),
        ("`validity.minimum` is under `1s`", |profile| profile.validity.minimum = Duration::ZERO),
        ("`validity.maximum` is over `36500d`", |profile| profile.validity.maximum = Duration::MAX),
        ("`validity.minimum` is `399d`", |profile| profile.validity.minimum = Duration::from_secs(399 * 86_400)),
        ("`validity.default` is `399d`", |profile| profile.validity.default = Duration::from_secs(399 * 86_400)),
        ("`validity.default` is `1s`", |profile| profile.validity.default = Duration::from_secs(1)),
        ("`validity.backdate`", |profile| profile.validity.backdate = Duration::from_secs(399 * 86_400)),
        ("`keys` is empty", |profile| profile.keys.clear()),
        ("`keys`: `rsa-1024`", |profile| profile.keys.push(KeyAlgorithm::Rsa(1024))),
        ("`key_usage` is empty", |profile| profile.key_usage.clear()),
        ("`key_cert_sign` is for CAs", |profile| profile.key_usage.push(KeyUsage::KeyCertSign)),
        ("`crl_sign` is for CAs", |profile| profile.key_usage.push(KeyUsage::CrlSign)),
        ("without `key_agreement`", |profile| profile.key_usage.push(KeyUsage::EncipherOnly)),
        ("`ed25519` keys can have none of `key_encipherment`", |profile| {
            profile.key_usage = vec![KeyUsage::KeyEncipherment];
        }),
        ("`certificate_policies`: `1`", |profile| profile.certificate_policies = vec!["1".to_owned()]),
        ("is there twice", |profile| profile.ignore_extensions = vec!["1.2.3".to_owned(), "1.2.3".to_owned()]),
        ("`2.5.29.17` cannot be ignored", |profile| profile.ignore_extensions = vec!["2.5.29.17".to_owned()]),
        ("no section `dns`, `ip`, `uri` or `email`", |profile| {
            profile.dns = None;
            profile.ip = None;
        }),
        ("`dns.allow`: the pattern `.internal`", |profile| {
            profile.dns.as_mut().unwrap().allow.push(".internal".to_owned());
        }),
    ];
    for (expected, change) in table {
        let problem = problem(change);
        assert!(problem.contains(expected), "expected `{expected}` in: {problem}");
    }
}

/// The profile of `docs/issuance.md`.
const AUTHORITY: &str = r#"
name = "subordinate"
issuer = "root"
validity = { default = "1825d", maximum = "3650d" }
key_usage = ["key_cert_sign", "crl_sign"]
subject = { common_name = "required", allowed = ["organization", "country"] }
[certificate_authority]
path_length = 0
[certificate_authority.name_constraints]
permitted = { dns = ["team.internal"], email = ["team.internal"] }
excluded = { ip = ["0.0.0.0/0", "::/0"], uri = [".team.internal"], directory = ["O=Other,C=SE"] }
"#;

#[test]
fn a_profile_that_makes_cas_says_so() {
    let profile: Profile = toml::from_str(AUTHORITY).unwrap();
    let compiled = CompiledProfile::compile(profile.clone()).unwrap();
    assert_eq!(compiled.name_constraints().map(NameConstraints::len), Some(6));
    let json = serde_json::to_string(&profile).unwrap();
    assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), profile);
    assert_eq!(toml::from_str::<Profile>(&toml::to_string(&profile).unwrap()).unwrap(), profile);
    let least: Profile = serde_json::from_str(
        r#"{"name": "x", "key_usage": ["crl_sign", "key_cert_sign"], "certificate_authority": {}}"#,
    )
    .unwrap();
    let compiled = CompiledProfile::compile(least).unwrap();
    assert_eq!(compiled.profile().certificate_authority.as_ref().unwrap().path_length, 0);
}

#[test]
fn reports_each_problem_of_a_profile_that_makes_cas() {
    type Change = fn(&mut Profile);
    let table: [(&str, Change); 8] = [
        ("`key_usage` of a profile with `certificate_authority` must be", |profile| {
            profile.key_usage.push(KeyUsage::DigitalSignature);
        }),
        ("`key_usage` of a profile with `certificate_authority` must be", |profile| profile.key_usage.truncate(1)),
        ("`names_required` is set", |profile| profile.names_required = true),
        ("`common_name_in_names` is set", |profile| profile.common_name_in_names = true),
        ("`server_generated_keys` is set", |profile| profile.server_generated_keys = true),
        ("`must_staple` is set", |profile| profile.must_staple = MustStaple::Allowed),
        ("`certificate_authority.name_constraints` constrains nothing", |profile| {
            let rule = profile.certificate_authority.as_mut().unwrap();
            rule.name_constraints = Some(NameConstraintsDocument::default());
        }),
        ("`certificate_authority.name_constraints.permitted.ip`: `10.0.0.1/8` has address bits", |profile| {
            let rule = profile.certificate_authority.as_mut().unwrap();
            rule.name_constraints.as_mut().unwrap().permitted.ip = vec!["10.0.0.1/8".to_owned()];
        }),
    ];
    for (expected, change) in table {
        let mut profile: Profile = toml::from_str(AUTHORITY).unwrap();
        change(&mut profile);
        let problem = CompiledProfile::compile(profile).unwrap_err();
        assert!(problem.detail().contains(expected), "expected `{expected}` in: {problem}");
    }
}

#[test]
fn fixed_attributes_must_be_possible() {
    for (kind, value) in
        [(AttributeType::Country, "Germany"), (AttributeType::Organization, ""), (AttributeType::Organization, "a\0b")]
    {
        let problem = problem(|profile| {
            profile.subject.fixed.insert(kind, value.to_owned());
        });
        assert!(problem.contains(&format!("`subject.fixed.{}`", kind.as_str())), "{problem}");
    }
    let contradiction = problem(|profile| {
        profile.subject.common_name = Presence::Forbidden;
        profile.subject.fixed.insert(AttributeType::CommonName, "a".to_owned());
    });
    assert!(contradiction.contains("forbids"), "{contradiction}");
}

#[test]
fn all_problems_are_in_the_one_message() {
    let problem = problem(|profile| {
        profile.keys.clear();
        profile.dns.as_mut().unwrap().deny.push("b.".to_owned());
        profile.certificate_policies = vec!["x".to_owned()];
    });
    insta::assert_snapshot!(problem);
}
