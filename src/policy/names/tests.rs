//! Tests of the name rules as a whole, and the laws of allow and deny.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

fn rules(allow: &[String], deny: &[String]) -> NameRules {
    let dns = DnsSection { allow: allow.to_vec(), deny: deny.to_vec(), wildcards: true, ..DnsSection::default() };
    NameRules::compile(&NameSections { dns: Some(dns), ..NameSections::default() }).unwrap()
}

fn dns(value: &str) -> SubjectAltName {
    SubjectAltName::parse(NameType::Dns, value).unwrap()
}

fn admits(rules: &NameRules, name: &SubjectAltName) -> bool {
    rules.violations(std::slice::from_ref(name), &["subject_alt_names[0]".to_owned()], "rules").is_empty()
}

#[test]
fn without_sections_every_name_is_refused() {
    let rules = NameRules::compile(&NameSections::default()).unwrap();
    for (name_type, value) in [
        (NameType::Dns, "localhost"),
        (NameType::Ip, "::1"),
        (NameType::Uri, "spiffe://td/a"),
        (NameType::Email, "a@b.example"),
    ] {
        let name = SubjectAltName::parse(name_type, value).unwrap();
        let violations = rules.violations(&[name], &["x".to_owned()], "rules");
        assert_eq!(violations.len(), 1);
        assert_eq!(violations[0].code, "name_type_not_allowed");
        assert_eq!(violations[0].rule, format!("rules.{}", name_type.as_str()));
    }
}

#[test]
fn a_section_that_says_nothing_admits_nothing_and_has_the_default_maximum() {
    let sections: NameSections = serde_json::from_str(r#"{"dns": {}, "ip": {"allow": ["**"]}}"#).unwrap();
    assert_eq!(sections.dns.as_ref().unwrap().maximum, 100);
    assert_eq!(sections.ip.as_ref().unwrap().maximum, 100);
    assert_eq!(DnsSection::default().maximum, 100);
    assert_eq!(NameSection::default().maximum, 100);
    let rules = NameRules::compile(&sections).unwrap();
    let violations = rules.violations(&[dns("localhost")], &["x".to_owned()], "rules");
    assert_eq!(violations[0].message, "the DNS name `localhost` matches no allowed pattern; allowed: none");
}

#[test]
fn names_every_pattern_that_cannot_be_compiled() {
    let list = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<String>>();
    let section = |allow: &[&str]| Some(NameSection { allow: list(allow), ..NameSection::default() });
    let error = NameRules::compile(&NameSections {
        dns: Some(DnsSection { allow: list(&[".a", "ok.internal"]), deny: list(&["b."]), ..DnsSection::default() }),
        ip: section(&["10.0.0.1/8"]),
        uri: section(&["nothing"]),
        email: section(&["@x"]),
    })
    .unwrap_err();
    insta::assert_snapshot!(error.detail());
}

#[test]
fn only_so_many_names_without_section_are_reported() {
    let names: Vec<SubjectAltName> = (0..500).map(|index| dns(&format!("a{index}.internal"))).collect();
    let fields = vec!["x".to_owned(); names.len()];
    let violations = NameRules::default().violations(&names, &fields, "rules");
    assert_eq!(violations.len(), REPORTED_WITHOUT_SECTION);
}

/// Labels from a small alphabet, so that names and patterns meet often.
fn label() -> impl Strategy<Value = String> {
    prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("internal".to_owned())]
}

fn name() -> impl Strategy<Value = SubjectAltName> {
    (any::<bool>(), prop::collection::vec(label(), 1..5)).prop_map(|(wildcard, labels)| {
        let prefix = if wildcard { "*." } else { "" };
        dns(&format!("{prefix}{}", labels.join(".")))
    })
}

fn pattern() -> impl Strategy<Value = String> {
    let label = prop_oneof![3 => label(), 1 => Just("*".to_owned()), 1 => Just("**".to_owned())];
    prop::collection::vec(label, 1..5).prop_map(|labels| labels.join("."))
}

fn patterns() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(pattern(), 0..4)
}

/// Matches by trying every way, as the definition has it.
fn matches_by_definition(pattern: &[&str], name: &[&str]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((&"**", behind)), Some((_, rest))) => {
            matches_by_definition(behind, rest) || matches_by_definition(pattern, rest)
        }
        (Some((expected, behind)), Some((label, rest))) => {
            (*expected == "*" || expected == label) && matches_by_definition(behind, rest)
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

proptest! {
    #[test]
    fn matching_is_as_defined(pattern in pattern(), labels in prop::collection::vec(label(), 1..7)) {
        let name = labels.join(".");
        let expected = matches_by_definition(
            &pattern.split('.').collect::<Vec<_>>(),
            &labels.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        let compiled = super::dns::DnsPattern::compile(&pattern).unwrap();
        prop_assert_eq!(compiled.matches(&name, super::dns::Purpose::Allow), expected);
        prop_assert_eq!(compiled.matches(&name, super::dns::Purpose::Deny), expected);
    }

    #[test]
    fn a_denied_name_is_never_admitted(name in name(), allow in patterns(), deny in patterns(), denied in pattern()) {
        let mut all = deny;
        all.push(denied.clone());
        if admits(&rules(&[denied], &[]), &name) {
            prop_assert!(!admits(&rules(&allow, &all), &name));
        }
    }

    #[test]
    fn another_allowed_pattern_takes_nothing_away(
        name in name(), allow in patterns(), deny in patterns(), more in pattern()
    ) {
        let before = admits(&rules(&allow, &deny), &name);
        let mut wider = allow;
        wider.push(more);
        prop_assert!(!before || admits(&rules(&wider, &deny), &name));
    }

    #[test]
    fn another_denied_pattern_adds_nothing(name in name(), allow in patterns(), deny in patterns(), more in pattern()) {
        let before = admits(&rules(&allow, &deny), &name);
        let mut narrower = deny;
        narrower.push(more);
        prop_assert!(before || !admits(&rules(&allow, &narrower), &name));
    }

    #[test]
    fn a_wildcard_is_admitted_only_if_what_it_covers_is(
        labels in prop::collection::vec(label(), 1..4), covered in label(), allow in patterns(), deny in patterns()
    ) {
        let rules = rules(&allow, &deny);
        let parent = labels.join(".");
        if admits(&rules, &dns(&format!("*.{parent}"))) {
            let covered = dns(&format!("{covered}.{parent}"));
            prop_assert!(admits(&rules, &covered));
        }
    }

    #[test]
    fn case_makes_no_difference(name in name(), allow in patterns(), deny in patterns()) {
        let upper = |texts: &[String]| texts.iter().map(|text| text.to_ascii_uppercase()).collect::<Vec<_>>();
        let shouted = dns(&name.value().to_ascii_uppercase());
        prop_assert_eq!(&shouted, &name);
        prop_assert_eq!(
            admits(&rules(&allow, &deny), &name),
            admits(&rules(&upper(&allow), &upper(&deny)), &shouted)
        );
    }

    #[test]
    fn compiling_never_panics(text in "(\\PC|[*./:@#%\\[\\]a-z0-9]){0,24}") {
        let texts = vec![text];
        let section = || Some(NameSection { allow: texts.clone(), deny: texts.clone(), ..NameSection::default() });
        let sections = NameSections {
            dns: Some(DnsSection { allow: texts.clone(), deny: texts.clone(), ..DnsSection::default() }),
            ip: section(),
            uri: section(),
            email: section(),
        };
        let mut problems = Vec::new();
        let rules = NameRules::compile_into(&sections, &mut problems);
        // Whatever compiled refuses what it denies.
        for name_type in NameType::ALL {
            if let Ok(name) = SubjectAltName::parse(name_type, &texts[0]) {
                prop_assert!(!admits(&rules, &name));
            }
        }
    }

    #[test]
    fn uri_patterns_deny_at_least_what_they_allow(
        scheme in prop_oneof![Just("https"), Just("x")],
        host in prop_oneof![Just("a.internal"), Just("*.internal"), Just("**"), Just("a.internal:1")],
        path in prop::collection::vec(prop_oneof![Just("a"), Just("*"), Just("%61"), Just("b")], 0..3),
        open in any::<bool>(),
        name_host in prop_oneof![Just("a.internal"), Just("b.a.internal"), Just("a.internal:1"), Just("[::1]")],
        name_path in prop_oneof![Just(""), Just("/"), Just("/a"), Just("/a/b"), Just("/%61/b?q"), Just("?q/a"), Just("/a/#f")],
    ) {
        let mut text = format!("{scheme}://{host}");
        for segment in path {
            text.push('/');
            text.push_str(segment);
        }
        if open {
            text.push_str("/**");
        }
        let pattern = UriPattern::compile(&text).unwrap();
        let name = format!("{scheme}://{name_host}{name_path}");
        prop_assert!(!pattern.admits(&name) || pattern.denies(&name), "`{}` against `{}`", text, name);
    }
}
