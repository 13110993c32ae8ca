//! Tables: the examples of RFC 8659 and RFC 8657, and what must be refused.

use super::*;

const ACCOUNT: &str = "https://ca.internal/acme/accounts/123";

/// A record as zone files write it: `flags tag value`.
fn record(text: &str) -> CaaRecord {
    let mut parts = text.splitn(3, ' ');
    CaaRecord {
        flags: parts.next().unwrap().parse().unwrap(),
        tag: parts.next().unwrap().to_owned(),
        value: parts.next().unwrap().as_bytes().to_vec(),
    }
}

fn judge(
    records: &[&str],
    identities: &[&str],
    wildcard: bool,
    challenge: Option<ChallengeType>,
) -> Result<(), String> {
    let records: Vec<CaaRecord> = records.iter().map(|text| record(text)).collect();
    let identities: Vec<String> = identities.iter().map(|&name| name.to_owned()).collect();
    evaluate(&records, &CaaRequest { wildcard, identities: &identities, account_url: ACCOUNT, challenge })
}

/// Judges for `ca1.example.net` and dns-01.
fn admits(records: &[&str], wildcard: bool) -> bool {
    judge(records, &["ca1.example.net"], wildcard, Some(ChallengeType::Dns01)).is_ok()
}

#[test]
fn the_examples_of_rfc_8659_come_out_as_it_says() {
    // (section and records, whether ca1.example.net may issue for the name, whether for the wildcard)
    let table: &[(&[&str], bool, bool)] = &[
        // 4.2: "requests that no certificates be issued for the FQDN 'nocerts.example.com' by any issuer".
        (&["0 issue ;"], false, false),
        // 4.2: "certificates be issued for the FQDN 'certs.example.com' only by the ca1.example.net issuer".
        (&["0 issue ca1.example.net"], true, true),
        (&["0 issue ca2.example.org"], false, false),
        // 4.2: the malformed property, and that it does not harm beside a good one.
        (&["0 issue %%%%%"], false, false),
        (&["0 issue ca1.example.net", "0 issue %%%%%"], true, true),
        // 4.2: several issuers.
        (&["0 issue ca1.example.net", "0 issue ca2.example.org"], true, true),
        // 4.2: parameters that are not known are the business of the issuer that gives them; here there are none.
        (&["0 issue ca1.example.net; account=230123"], true, true),
        (&["0 issue ca1.example.net; policy=ev"], true, true),
        // 4.3: wild.example.com, which admits ca1 for the name and ca2 for the wildcard.
        (&["0 issue ca1.example.net", "0 issuewild ca2.example.org"], true, false),
        // 4.3: wild2.example.com: nothing for the name, ca1 for the wildcard; and the other way round.
        (&["0 issue ;", "0 issuewild ca1.example.net"], false, true),
        (&["0 issue ca1.example.net", "0 issuewild ;"], true, false),
        // 4.3: `issuewild` alone says nothing about names that are no wildcards.
        (&["0 issuewild ;"], true, false),
        (&["0 issuewild ca1.example.net"], true, true),
        // 4.4: a report address restricts nobody.
        (&["0 iodef mailto:security@example.com"], true, true),
        (&["128 iodef mailto:security@example.com"], true, true),
        // 4.5: "critical" on a property that is not known.
        (&["0 issue ca1.example.net", "128 tbs Unknown"], false, false),
        (&["0 issue ca1.example.net", "0 tbs Unknown"], true, true),
        (&[], true, true),
    ];
    for (records, name, wildcard) in table {
        assert_eq!(admits(records, false), *name, "{records:?} for the name");
        assert_eq!(admits(records, true), *wildcard, "{records:?} for the wildcard");
    }
}

#[test]
fn case_of_tags_and_issuers_does_not_matter() {
    assert!(admits(&["0 ISSUE CA1.Example.NET"], false));
    assert!(!admits(&["0 IssueWild ;"], true));
    assert!(!admits(&["0 Issue ;"], false));
}

#[test]
fn any_of_several_identities_is_enough_and_a_part_of_one_is_not() {
    let identities = ["ca.internal", "ca1.example.net"];
    assert!(judge(&["0 issue ca1.example.net"], &identities, false, None).is_ok());
    assert!(judge(&["0 issue CA.INTERNAL"], &identities, false, None).is_ok());
    for other in ["internal", "x.ca.internal", "ca.internal.example", "ca.internal."] {
        assert!(judge(&[&format!("0 issue {other}")], &identities, false, None).is_err(), "{other}");
    }
}

#[test]
fn only_critical_flags_of_unknown_properties_refuse() {
    for (flags, refused) in [(0, false), (128, true), (129, true), (1, true), (2, false), (64, false), (255, true)] {
        assert_eq!(!admits(&[&format!("{flags} future x")], false), refused, "{flags}");
        assert!(admits(&[&format!("{flags} issue ca1.example.net")], false), "{flags}");
        assert!(admits(&[&format!("{flags} issuemail ;")], false), "{flags}");
    }
}

#[test]
fn an_account_is_compared_exactly() {
    let with = |value: &str| admits(&[&format!("0 issue ca1.example.net; accounturi={value}")], false);
    assert!(with(ACCOUNT));
    assert!(!with("https://ca.internal/acme/accounts/12"));
    assert!(!with("https://CA.internal/acme/accounts/123"));
    assert!(!with("https://ca.internal/acme/accounts/123/"));
    assert!(!with(""));
    assert!(!with(&format!("{ACCOUNT};accounturi={ACCOUNT}")), "several cannot be satisfied");
    // Another property may admit what one does not.
    assert!(admits(&["0 issue ca1.example.net; accounturi=https://other.example/1", "0 issue ca1.example.net"], false));
}

#[test]
fn validation_methods_hold_the_one_that_was_used() {
    let with = |value: &str, challenge| {
        judge(&[&format!("0 issue ca1.example.net; validationmethods={value}")], &["ca1.example.net"], false, challenge)
            .is_ok()
    };
    for (value, challenge, expected) in [
        ("dns-01", Some(ChallengeType::Dns01), true),
        ("http-01,dns-01", Some(ChallengeType::Dns01), true),
        ("http-01,dns-01", Some(ChallengeType::Http01), true),
        ("http-01", Some(ChallengeType::Dns01), false),
        ("dns-account-01,dns-persist-01", Some(ChallengeType::DnsPersist01), true),
        ("DNS-01", Some(ChallengeType::Dns01), false),
        ("", Some(ChallengeType::Dns01), false),
        ("dns-01,", Some(ChallengeType::Dns01), false),
        ("dns-01,a_b", Some(ChallengeType::Dns01), false),
        ("dns-01;validationmethods=dns-01", Some(ChallengeType::Dns01), false),
        ("dns-01", None, false),
        ("ca-external-account", None, true),
        ("ca-external-account", Some(ChallengeType::Dns01), false),
    ] {
        assert_eq!(with(value, challenge), expected, "{value} {challenge:?}");
    }
}

#[test]
fn both_parameters_bind_within_one_property() {
    let matching = format!("0 issue ca1.example.net; accounturi={ACCOUNT}; validationmethods=dns-01");
    assert!(admits(&[&matching], false));
    let account_only = format!("0 issue ca1.example.net; accounturi={ACCOUNT}; validationmethods=http-01");
    let method_only = "0 issue ca1.example.net; accounturi=https://other.example/1; validationmethods=dns-01";
    assert!(!admits(&[&account_only, method_only], false), "what two properties give together is not enough");
}

#[test]
fn refusals_say_what_was_found() {
    let refusal = |records: &[&str]| {
        judge(records, &["ca.internal"], false, Some(ChallengeType::Dns01)).expect_err("it is refused")
    };
    assert_eq!(refusal(&["0 issue ;"]), "the property `issue` admits no CA");
    assert_eq!(
        refusal(&["0 issue ca2.example.org", "0 issue a.example"]),
        "the property `issue` admits `ca2.example.org`, `a.example` only"
    );
    assert!(refusal(&["0 issue ca.internal; accounturi=x"]).contains("another than that of this account"));
    assert!(refusal(&["0 issue ca.internal; validationmethods=http-01"]).contains("do not hold `dns-01`"));
    assert!(refusal(&["128 future x"]).contains("`future` is marked critical"));
    let many: Vec<String> = (0..40).map(|number| format!("0 issue ca{number}.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(refusal(&many).ends_with("`ca4.example` and 35 more only"));
}

#[test]
fn octets_that_are_no_text_name_nobody() {
    let records = [CaaRecord { flags: 0, tag: "issue".to_owned(), value: vec![0xff, 0xfe] }];
    let request = CaaRequest { wildcard: false, identities: &[], account_url: ACCOUNT, challenge: None };
    assert!(evaluate(&records, &request).is_err());
    let records = [CaaRecord { flags: 128, tag: "\u{7f}\n".to_owned(), value: Vec::new() }];
    let refusal = evaluate(&records, &request).expect_err("it is refused");
    assert!(!refusal.contains('\n'), "{refusal}");
}

proptest::proptest! {
    #[test]
    fn no_value_admits_a_ca_that_it_does_not_name(value: Vec<u8>, flags: u8) {
        let records = [CaaRecord { flags, tag: "issue".to_owned(), value: value.clone() }];
        let identities = ["ca.internal".to_owned()];
        let request = CaaRequest { wildcard: false, identities: &identities, account_url: ACCOUNT, challenge: None };
        let named = String::from_utf8_lossy(&value).to_ascii_lowercase().contains("ca.internal");
        proptest::prop_assert!(evaluate(&records, &request).is_err() || named);
    }
}
