//! Tests of name constraints: both forms, and what each type of constraint covers. Other programs judge the same in `tests/it/interop`.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::x509::testing::Authority;
use crate::x509::{NameType, SubjectAltName};

fn document(value: serde_json::Value) -> NameConstraintsDocument {
    serde_json::from_value(value).unwrap()
}

fn constraints(value: serde_json::Value) -> NameConstraints {
    document(value).compile("name_constraints").unwrap()
}

fn name(text: &str) -> SubjectAltName {
    let (kind, value) = text.split_once(':').unwrap();
    let name_type = NameType::ALL.into_iter().find(|name_type| name_type.as_str() == kind).unwrap();
    SubjectAltName::parse(name_type, value).unwrap()
}

fn conflicts_of(
    constraints: &NameConstraints,
    subject: &str,
    names: &[&str],
    common_name: CommonNameUse,
) -> Vec<String> {
    let names: Vec<SubjectAltName> = names.iter().map(|text| name(text)).collect();
    let subject = DistinguishedName::parse(subject).unwrap();
    let conflicts = constraints.conflicts(&JudgedNames { subject: &subject, names: &names, common_name });
    conflicts.iter().map(|conflict| format!("{:?} {}", conflict.place, conflict.value)).collect()
}

/// Whether one alternative name passes.
fn passes(constraints: &NameConstraints, text: &str) -> bool {
    conflicts_of(constraints, "", &[text], CommonNameUse::Nothing).is_empty()
}

/// Reads constraints of one permitted or excluded `GeneralSubtree` with this base.
fn foreign(list: u8, base: &[u8]) -> NameConstraints {
    let subtree = encoding::sequence(&[base]);
    let list = encoding::constructed(encoding::context_constructed(list), &[&subtree]);
    NameConstraints::from_der(&encoding::sequence(&[&list])).unwrap()
}

#[test]
fn constraints_that_leave_nothing_below_others_are_found() {
    let above = constraints(json!({
        "permitted": {"dns": ["internal"], "ip": ["10.0.0.0/8"], "email": ["example.com"], "directory": ["O=Example"]},
        "excluded": {"dns": ["secret.internal"]},
    }));
    let lost = |own: serde_json::Value| {
        let forms = constraints(json!({"permitted": own})).unreachable_below(&above);
        forms.into_iter().map(NameForm::as_str).collect::<Vec<_>>()
    };
    assert_eq!(lost(json!({"dns": ["other.com", "notinternal"]})), ["dns"]);
    assert_eq!(lost(json!({"dns": ["a.secret.internal", "secret.internal"]})), ["dns"]);
    assert_eq!(lost(json!({"ip": ["192.168.0.0/16"], "email": ["example.org"]})), ["ip", "email"]);
    assert_eq!(lost(json!({"directory": ["O=Other"]})), ["directory"]);
    for possible in [
        json!({"dns": ["other.com", "a.internal"]}),
        json!({"dns": ["internal"]}),
        json!({"ip": ["10.1.0.0/16"]}),
        json!({"ip": ["0.0.0.0/0"]}),
        json!({"email": ["ops@example.com"]}),
        json!({"directory": ["OU=Unit,O=Example"]}),
        json!({"uri": ["other.com"]}),
    ] {
        assert_eq!(lost(possible.clone()), [""; 0], "{possible}");
    }
}

#[test]
fn dns_names_are_permitted_with_all_below_them() {
    let permitted = constraints(json!({"permitted": {"dns": ["Example.COM", "internal"]}}));
    for admitted in ["example.com", "a.example.com", "a.b.example.com", "*.example.com", "x.internal", "*.x.internal"] {
        assert!(passes(&permitted, &format!("dns:{admitted}")), "{admitted}");
    }
    // webpki rejects a wildcard before one label.
    for refused in ["*.internal", "com", "notexample.com", "example.com.evil", "*.com", "example.org", "internal.x"] {
        assert!(!passes(&permitted, &format!("dns:{refused}")), "{refused}");
    }
    // Other types are not constrained.
    for free in ["ip:10.0.0.1", "email:a@example.org", "uri:https://example.org/", "uri:urn:x"] {
        assert!(passes(&permitted, free), "{free}");
    }
}

#[test]
fn wildcards_must_not_cover_what_is_excluded() {
    let excluded = constraints(json!({"excluded": {"dns": ["secret.example.com", "a.b.example.org"]}}));
    for refused in
        ["secret.example.com", "x.secret.example.com", "*.secret.example.com", "*.example.com", "*.b.example.org"]
    {
        assert!(!passes(&excluded, &format!("dns:{refused}")), "{refused}");
    }
    for admitted in ["example.com", "a.example.com", "*.a.example.com", "nosecret.example.com", "b.example.org"] {
        assert!(passes(&excluded, &format!("dns:{admitted}")), "{admitted}");
    }
}

#[test]
fn a_dot_before_a_dns_name_permits_what_is_below_and_excludes_the_name_too() {
    let base = encoding::value(encoding::context(2), b".Example.com");
    let permitted = foreign(0, &base);
    assert!(passes(&permitted, "dns:a.example.com") && passes(&permitted, "dns:*.example.com"));
    assert!(!passes(&permitted, "dns:example.com") && !passes(&permitted, "dns:aexample.com"));
    let excluded = foreign(1, &base);
    assert!(!passes(&excluded, "dns:a.example.com") && !passes(&excluded, "dns:example.com"));
    assert!(!passes(&excluded, "dns:*.example.com") && !passes(&excluded, "dns:*.com"));
    assert!(passes(&excluded, "dns:example.org"));
}

#[test]
fn the_empty_dns_name_and_directory_name_are_everything() {
    assert!(passes(&foreign(0, &encoding::value(encoding::context(2), b"")), "dns:anything.example"));
    let permitted = foreign(0, &encoding::value(encoding::context_constructed(4), &encoding::sequence(&[])));
    assert_eq!(conflicts_of(&permitted, "CN=x", &[], CommonNameUse::Host), [""; 0]);
    let excluded = constraints(json!({"excluded": {"dns": [""], "directory": [""]}}));
    assert!(!passes(&excluded, "dns:anything.example") && passes(&excluded, "ip:10.0.0.1"));
    assert_eq!(conflicts_of(&excluded, "O=x", &[], CommonNameUse::Host), ["Subject O=x"]);
    // An empty subject is no name.
    assert_eq!(conflicts_of(&excluded, "", &["ip:10.0.0.1"], CommonNameUse::Host), [""; 0]);
}

#[test]
fn addresses_are_matched_within_their_family() {
    let permitted = constraints(json!({"permitted": {"ip": ["10.0.0.0/8", "192.168.1.1/32"]}}));
    assert!(passes(&permitted, "ip:10.255.0.1") && passes(&permitted, "ip:192.168.1.1"));
    assert!(!passes(&permitted, "ip:11.0.0.1") && !passes(&permitted, "ip:192.168.1.2"));
    assert!(!passes(&permitted, "ip:fd00::1"), "only IPv4 is permitted");
    let excluded = constraints(json!({"excluded": {"ip": ["fd00::/8"]}}));
    assert!(!passes(&excluded, "ip:fd12::1") && passes(&excluded, "ip:10.0.0.1") && passes(&excluded, "ip:fe80::1"));
    let all = constraints(json!({"excluded": {"ip": ["0.0.0.0/0", "::/0"]}}));
    assert!(!passes(&all, "ip:10.0.0.1") && !passes(&all, "ip:::1"));
}

#[test]
fn mailboxes_hosts_and_domains_are_different_constraints() {
    let permitted = constraints(json!({"permitted": {"email": ["Root@example.com", "host.org", ".domain.net"]}}));
    for admitted in ["Root@example.com", "any@host.org", "any@a.domain.net", "any@a.b.domain.net"] {
        assert!(passes(&permitted, &format!("email:{admitted}")), "{admitted}");
    }
    for refused in ["root@example.com", "a@example.com", "a@x.host.org", "a@domain.net", "a@xdomain.net"] {
        assert!(!passes(&permitted, &format!("email:{refused}")), "{refused}");
    }
    let excluded = constraints(json!({"excluded": {"email": ["Root@example.com", "host.org", ".domain.net"]}}));
    for refused in ["ROOT@example.com", "any@host.org", "any@domain.net", "any@a.domain.net"] {
        assert!(!passes(&excluded, &format!("email:{refused}")), "{refused}");
    }
    for admitted in ["a@example.com", "a@x.host.org"] {
        assert!(passes(&excluded, &format!("email:{admitted}")), "{admitted}");
    }
}

#[test]
fn e_mail_addresses_in_the_subject_are_judged() {
    let permitted = constraints(json!({"permitted": {"email": ["example.com"]}}));
    let judge = |subject: &str| conflicts_of(&permitted, subject, &["email:a@example.com"], CommonNameUse::Nothing);
    assert_eq!(judge("emailAddress=b@EXAMPLE.com,CN=x"), [""; 0]);
    assert_eq!(judge("emailAddress=b@example.org"), ["EmailAddress b@example.org"]);
    assert_eq!(judge("emailAddress=nobody"), ["EmailAddress nobody"]);
}

#[test]
fn uris_are_judged_by_their_host() {
    let permitted = constraints(json!({"permitted": {"uri": ["td.internal", ".example.com"]}}));
    for admitted in
        ["spiffe://td.internal/ns/a", "https://td.internal:8443/x", "https://td.internal", "https://a.example.com/?q"]
    {
        assert!(passes(&permitted, &format!("uri:{admitted}")), "{admitted}");
    }
    for refused in [
        "https://example.com/",
        "https://x.td.internal/",
        "https://td.internal.evil/",
        "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "https://10.0.0.1/",
        "https://[2001:db8::1]/",
        // OpenSSL takes `td.internal/a` and `td.internal?a` for hosts.
        "https://td.internal/a:b",
        "https://td.internal?a",
    ] {
        assert!(!passes(&permitted, &format!("uri:{refused}")), "{refused}");
    }
    let excluded = constraints(json!({"excluded": {"uri": [".example.com"]}}));
    assert!(!passes(&excluded, "uri:https://a.example.com/") && !passes(&excluded, "uri:https://example.com/"));
    assert!(passes(&excluded, "uri:https://example.org/"));
    assert!(!passes(&excluded, "uri:urn:x"), "without a host it cannot be judged");
}

#[test]
fn subjects_are_judged_by_what_they_begin_with() {
    let permitted = constraints(json!({"permitted": {"directory": ["O=Example  AB,C=SE"]}}));
    let judge = |subject: &str| conflicts_of(&permitted, subject, &[], CommonNameUse::Nothing).is_empty();
    for admitted in ["O=Example AB,C=SE", "CN=x,O=example ab,C=SE", "CN=x,OU=y,O=Example AB,C=se"] {
        assert!(judge(admitted), "{admitted}");
    }
    for refused in ["C=SE", "CN=x,O=Example,C=SE", "C=SE,O=Example AB", "CN=x,O=Example AB,OU=y,C=SE", "CN=x"] {
        assert!(!judge(refused), "{refused}");
    }
    let excluded = constraints(json!({"excluded": {"directory": ["O=Öl,C=SE"]}}));
    assert_eq!(conflicts_of(&excluded, "CN=x,O=öl,C=SE", &[], CommonNameUse::Nothing).len(), 1);
    assert_eq!(conflicts_of(&excluded, "CN=x,C=SE", &[], CommonNameUse::Nothing), [""; 0]);
}

#[test]
fn a_common_name_is_judged_where_it_is_taken_for_a_host() {
    let permitted = constraints(json!({"permitted": {"dns": ["example.com"]}}));
    let judge = |subject: &str, names: &[&str], common_name| conflicts_of(&permitted, subject, names, common_name);
    for (common_name, host, perhaps) in [
        ("a.example.com", true, true),
        ("A.Example.com", true, true),
        ("a.example.org", false, false),
        ("10.0.0.1", false, false),
        ("Alice", false, true),
        ("Alice Smith Jr.", false, true),
    ] {
        let subject = format!("CN={common_name}");
        assert_eq!(judge(&subject, &[], CommonNameUse::Host).is_empty(), host, "{common_name}");
        assert_eq!(judge(&subject, &[], CommonNameUse::PerhapsHost).is_empty(), perhaps, "{common_name}");
        assert_eq!(judge(&subject, &[], CommonNameUse::Nothing), [""; 0]);
        assert_eq!(judge(&subject, &["dns:b.example.com"], CommonNameUse::Host), [""; 0]);
    }
}

#[test]
fn what_cannot_be_processed_lets_no_name_of_its_form_pass() {
    let cases: [(u8, &[u8], &str); 7] = [
        (encoding::context(2), b"*.example.com", "dns:a.example.com"),
        (encoding::context(2), b"example.com.", "dns:a.example.com"),
        (encoding::context_constructed(2), b"example.com", "dns:a.example.com"),
        (encoding::context(7), &[10, 0, 0, 0, 255, 0, 255, 0], "ip:10.0.0.1"),
        (encoding::context(7), &[10, 0, 0, 0], "ip:10.0.0.1"),
        (encoding::context(1), b"", "email:a@example.com"),
        (encoding::context(6), b"https://example.com/", "uri:https://example.com/"),
    ];
    for (tag, content, refused) in cases {
        for list in [0, 1] {
            let read = foreign(list, &encoding::value(tag, content));
            assert_eq!(read.unprocessed().count(), 1, "{content:?}");
            assert!(!passes(&read, refused), "{refused}");
            assert!(passes(&read, "dns:other.example") || refused.starts_with("dns"), "{refused}");
            assert_eq!(NameConstraints::from_der(&read.to_extension().value).unwrap(), read);
        }
    }
    // Minimum 1, and a registered identifier: nothing of that type is ever signed here.
    let base = encoding::value(encoding::context(2), b"example.com");
    let minimum = encoding::value(encoding::context(0), &[1]);
    let list = encoding::constructed(encoding::context_constructed(0), &[&encoding::sequence(&[&base, &minimum])]);
    let read = NameConstraints::from_der(&encoding::sequence(&[&list])).unwrap();
    assert!(!passes(&read, "dns:example.com") && passes(&read, "ip:10.0.0.1"));
    let registered = foreign(0, &encoding::value(encoding::context(8), &[0x2a, 3]));
    assert!(passes(&registered, "dns:example.com"));
    assert_eq!(NameConstraintsDocument::from(&registered).permitted.other, ["other:300488022a03"]);
}

#[test]
fn the_encoding_is_that_of_the_standard() {
    let value = json!({
        "permitted": {"dns": ["a.b"], "ip": ["10.0.0.0/8"], "directory": ["C=SE"]},
        "excluded": {"email": ["x@a.b", ".a.b"], "uri": ["a.b"]},
    });
    let read = constraints(value.clone());
    let extension = read.to_extension();
    assert!(extension.critical);
    assert_eq!(
        hex::encode(&extension.value),
        "3042a02630058203612e62300a87080a000000ff0000003011a40f300d310b30090603\
         55040613025345a118300781057840612e62300681042e612e6230058603612e62"
    );
    assert_eq!(NameConstraints::from_der(&extension.value).unwrap(), read);
    assert_eq!(serde_json::to_value(NameConstraintsDocument::from(&read)).unwrap(), value);
}

#[test]
fn documents_that_verifiers_would_read_differently_are_refused() {
    let table = [
        (json!({}), "constrains nothing"),
        (json!({"permitted": {"dns": [".example.com"]}}), "write `example.com`"),
        (json!({"permitted": {"dns": ["*.example.com"]}}), "has a `*`"),
        (
            json!({"permitted": {"dns": ["example.com."]}}),
            "`name_constraints.permitted.dns`: `example.com.` ends in a dot",
        ),
        (json!({"permitted": {"dns": ["10.0.0.1"]}}), "is an IP address"),
        (json!({"permitted": {"dns": ["a.b", "A.b"]}}), "`A.b` is there twice"),
        (json!({"permitted": {"dns": [""]}}), "permits every name; leave it out"),
        (json!({"permitted": {"directory": [""]}}), "permits every name; leave it out"),
        (json!({"permitted": {"ip": ["10.0.0.1/8"]}}), "write `10.0.0.0/8`"),
        (json!({"permitted": {"ip": ["10.0.0.1"]}}), "is not a block"),
        (json!({"permitted": {"ip": ["::ffff:10.0.0.0/104"]}}), "IPv4-mapped"),
        (json!({"excluded": {"email": [""]}}), "permit only a host that does not exist"),
        (json!({"excluded": {"email": ["a@b@c"]}}), "more than one `@`"),
        (json!({"excluded": {"uri": ["https://a.b/"]}}), "write its host alone"),
        (json!({"excluded": {"uri": [""]}}), "is empty"),
        (json!({"excluded": {"directory": ["Example"]}}), "is not a distinguished name"),
        (json!({"excluded": {"other": ["other:3000"]}}), "`name_constraints.excluded.other` is only shown"),
        (json!({"excluded": {"dns": (0..501).map(|n| format!("a{n}")).collect::<Vec<_>>()}}), "at most 500"),
    ];
    for (value, expected) in table {
        let error = document(value.clone()).compile("name_constraints").unwrap_err();
        assert!(error.detail().contains(expected), "{value}: {error}");
    }
    assert!(serde_json::from_value::<NameConstraintsDocument>(json!({"permited": {}})).is_err());
    assert!(serde_json::from_value::<NameConstraintsDocument>(json!({"permitted": {"DNS": []}})).is_err());
}

#[test]
fn ca_certificates_show_their_constraints_and_what_is_not_understood() {
    let own = constraints(json!({"permitted": {"dns": ["internal"]}}));
    let unknown =
        |critical| Extension { oid: const_oid::ObjectIdentifier::new_unwrap("1.2.3.4"), critical, value: vec![5, 0] };
    let sound = Authority::root_with("Root", &[own.to_extension(), unknown(false)]).certificate;
    assert_eq!(sound.name_constraints, Some(own));
    assert_eq!(sound.not_understood(), [""; 0]);
    let text = crate::x509::text::describe(&sound);
    assert!(text.contains("        Name constraints (critical):\n            Permitted: dns:internal\n"), "{text}");
    let odd = foreign(1, &encoding::value(encoding::context(2), b"*.a")).to_extension();
    let odd = Authority::root_with("Root", &[odd, unknown(true)]).certificate;
    assert_eq!(
        odd.not_understood(),
        [
            "the critical extension `1.2.3.4`",
            "the name constraint `dns:300582032a2e61`, which has a `*`; a constraint covers what is below it without",
        ]
    );
}

#[test]
fn policy_rules_are_read() {
    let hex = |text: &str| hex::decode(text.replace(' ', "")).unwrap();
    let extension = |oid, value: &str| Extension { oid, critical: true, value: hex(value) };
    let certificate =
        Authority::root_with("Root", &[extension(oids::CERTIFICATE_POLICIES, "3007 3005 06032a0304")]).certificate;
    assert_eq!(certificate.policies.policies.as_ref().map(Vec::len), Some(1));
    let certificate = Authority::root_with(
        "Root",
        &[
            extension(oids::POLICY_MAPPINGS, "300c 300a 06032a0304 06032a0305"),
            extension(oids::POLICY_CONSTRAINTS, "3006 800100 810102"),
            extension(oids::INHIBIT_ANY_POLICY, "020105"),
        ],
    )
    .certificate;
    let rules = &certificate.policies;
    assert_eq!(rules.mappings.len(), 1);
    assert_eq!((rules.require_explicit_policy, rules.inhibit_policy_mapping), (Some(0), Some(2)));
    assert_eq!(rules.inhibit_any_policy, Some(5));
    assert_eq!(certificate.not_understood(), [""; 0]);
}

fn any_dns() -> impl Strategy<Value = String> {
    "(\\*\\.)?([ab]\\.){0,3}[ab]".prop_filter("well formed", |text| SubjectAltName::parse(NameType::Dns, text).is_ok())
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        any_dns().prop_map(|text| format!("dns:{text}")),
        "[12]\\.[01]\\.0\\.[01]".prop_map(|text| format!("ip:{text}")),
        "[aA]@([ab]\\.){0,2}[ab]".prop_map(|text| format!("email:{text}")),
        "s://([ab]\\.){0,2}[ab](:1)?(/[a:?]{0,2})?".prop_map(|text| format!("uri:{text}")),
    ]
}

fn any_document() -> impl Strategy<Value = NameConstraintsDocument> {
    let list = |pattern: &'static str| proptest::collection::hash_set(pattern, 0..3);
    let subtrees = move || {
        (
            list("([ab]\\.){0,2}[ab]"),
            list("([12]\\.0\\.0\\.0/8|1\\.1\\.0\\.0/16|::/0)"),
            list("(a@|A@|\\.)?([ab]\\.){0,1}[ab]"),
            list("\\.?([ab]\\.){0,1}[ab]"),
        )
            .prop_map(|(dns, ip, email, uri)| SubtreesDocument {
                dns: dns.into_iter().collect(),
                ip: ip.into_iter().collect(),
                email: email.into_iter().collect(),
                uri: uri.into_iter().collect(),
                ..SubtreesDocument::default()
            })
    };
    (subtrees(), subtrees()).prop_map(|(permitted, excluded)| NameConstraintsDocument { permitted, excluded })
}

fn compiled(document: &NameConstraintsDocument) -> NameConstraints {
    let mut problems = Vec::new();
    document.compile_into("name_constraints", &mut problems)
}

proptest! {
    #[test]
    fn both_forms_survive_a_round_trip(document in any_document()) {
        let built = compiled(&document);
        prop_assert_eq!(&NameConstraints::from_der(&built.to_extension().value).unwrap(), &built);
        prop_assert_eq!(&NameConstraintsDocument::from(&built), &document);
    }

    #[test]
    fn what_a_subtree_permits_it_also_excludes(document in any_document(), name in any_name()) {
        let permitted = compiled(&NameConstraintsDocument { excluded: SubtreesDocument::default(), ..document.clone() });
        let excluded =
            compiled(&NameConstraintsDocument { permitted: SubtreesDocument::default(), excluded: document.permitted });
        let form = name.split_once(':').unwrap().0;
        let is_constrained = permitted.permitted().iter().any(|subtree| subtree.form().as_str() == form);
        if is_constrained && passes(&permitted, &name) {
            prop_assert!(!passes(&excluded, &name), "{}", name);
        }
        if !is_constrained {
            prop_assert!(passes(&permitted, &name) && passes(&excluded, &name), "{}", name);
        }
    }

    #[test]
    fn an_exclusion_never_lets_more_pass(document in any_document(), name in any_name()) {
        let without = compiled(&NameConstraintsDocument { excluded: SubtreesDocument::default(), ..document.clone() });
        if passes(&compiled(&document), &name) {
            prop_assert!(passes(&without, &name), "{}", name);
        }
    }

    #[test]
    fn whatever_is_below_a_permitted_dns_name_is_permitted(base in "([ab]\\.){0,2}[ab]", name in any_dns()) {
        let permitted = constraints(json!({"permitted": {"dns": [base]}}));
        if passes(&permitted, &format!("dns:{name}")) && !name.starts_with('*') {
            let below = format!("dns:x.{name}");
            prop_assert!(passes(&permitted, &below));
        }
    }

    #[test]
    fn every_name_that_a_passing_wildcard_stands_for_passes(document in any_document(), name in any_dns(), label in "[abx]") {
        let built = compiled(&document);
        if let Some(rest) = name.strip_prefix("*.")
            && passes(&built, &format!("dns:{name}"))
        {
            let one_of_them = format!("dns:{label}.{rest}");
            prop_assert!(passes(&built, &one_of_them));
        }
    }

    #[test]
    fn arbitrary_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..40)) {
        for tag in [0xa0, 0xa1] {
            let list = encoding::value(tag, &encoding::value(encoding::SEQUENCE, &octets));
            if let Ok(read) = NameConstraints::from_der(&encoding::sequence(&[&list])) {
                prop_assert_eq!(NameConstraints::from_der(&read.to_extension().value).unwrap(), read);
            }
        }
    }
}
