//! Tables: the vectors of the draft, records that prove, and records that do not.

use super::*;

const ACCOUNT: &str = "https://ca.example/acct/123";
const THUMBPRINT: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
const FORMER: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const HASHED: &str = "https://ca.example/account-hash/sha-256/5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw";
const HASHED_FOR_ANY: &str = "https://ca.example/account-hash/sha-256/NpDnSwUthQK8zCgFdefYxAdAVPnygMLbs9US6oO-5ug";
const NOW: i64 = 1_800_000_000;

fn ask(records: &[&str], wildcard: bool) -> Result<Option<i64>, PersistRefusal> {
    let records: Vec<String> = records.iter().map(|&record| record.to_owned()).collect();
    let issuers = ["authority.example".to_owned(), "ca.example.net".to_owned()];
    evaluate(
        &records,
        &PersistQuestion {
            name: "example.com",
            wildcard,
            issuers: &issuers,
            account_url: ACCOUNT,
            thumbprints: &[THUMBPRINT, FORMER],
            now: NOW,
        },
    )
}

#[test]
fn the_vectors_of_the_draft_come_out() {
    assert_eq!(account_hash_prefix(ACCOUNT), "https://ca.example/account-hash/");
    assert_eq!(hashed_account_uri("example.com", THUMBPRINT, ACCOUNT), HASHED);
    assert_eq!(hashed_account_uri("*", THUMBPRINT, ACCOUNT), HASHED_FOR_ANY);
    assert_eq!(
        account_hash_prefix("https://ca.internal:8443/acme/accounts/7"),
        "https://ca.internal:8443/acme/account-hash/"
    );
}

#[test]
fn records_that_prove_control_do() {
    for (record, until) in [
        (format!("authority.example; accounturi={HASHED}"), None),
        (format!("authority.example;accounturi={HASHED_FOR_ANY}"), None),
        (format!("ca.example.net; accounturi={ACCOUNT}"), None),
        (format!("authority.example; accounturi={}", hashed_account_uri("example.com", FORMER, ACCOUNT)), None),
        (format!(" \tAuthority.EXAMPLE. ;\taccounturi = {ACCOUNT} "), None),
        (format!("authority.example; AccountUri={ACCOUNT}; PERSISTUNTIL={}", NOW + 1), Some(NOW + 1)),
        (format!("authority.example; persistUntil={NOW}; accounturi={ACCOUNT}"), Some(NOW)),
        (format!("authority.example; accounturi={ACCOUNT}; future=1; future=2; x-y="), None),
        (format!("authority.example; accounturi={ACCOUNT}; policy=other"), None),
        (format!("authority.example; accounturi={ACCOUNT}; policy=wildcard"), None),
        (format!("authority.example; accounturi={ACCOUNT}; persistUntil=99999999999999999999999999"), Some(LATEST)),
        (format!("authority.example; accounturi={ACCOUNT}; persistUntil=0001900000000"), Some(1_900_000_000)),
    ] {
        assert_eq!(ask(&[&record], false), Ok(until), "{record}");
    }
}

#[test]
fn malformed_records_of_this_ca_are_named() {
    for record in [
        "authority.example".to_owned(),
        "authority.example;".to_owned(),
        "authority.example; accounturi=".to_owned(),
        "authority.example; policy=wildcard".to_owned(),
        format!("authority.example; accounturi={ACCOUNT};"),
        format!("authority.example; accounturi={ACCOUNT};; policy=wildcard"),
        format!("authority.example; accounturi={ACCOUNT}; accounturi={ACCOUNT}"),
        format!("authority.example; accounturi={ACCOUNT}; ACCOUNTURI={ACCOUNT}"),
        format!("authority.example; accounturi={ACCOUNT}; policy=wildcard; policy=wildcard"),
        format!("authority.example; accounturi={ACCOUNT}; persistUntil=1900000000; persistUntil=1900000000"),
        format!("authority.example; accounturi={ACCOUNT}; persistUntil="),
        format!("authority.example; accounturi={ACCOUNT}; persistUntil=soon"),
        format!("authority.example; accounturi={ACCOUNT}; persistUntil=-1"),
        format!("authority.example; accounturi={ACCOUNT}; persistUntil=+1900000000"),
        format!("authority.example; accounturi={ACCOUNT}; persistUntil=1900000000.5"),
        format!("authority.example; accounturi={ACCOUNT} policy=wildcard"),
        format!("authority.example; accounturi={ACCOUNT}; flag"),
        format!("authority.example; accounturi={ACCOUNT}; a_b=c"),
        format!("authority.example; accounturi={ACCOUNT}; a=\u{e9}"),
        "authority.example; accounturi=https://ca.example/account-hash/sha-512/abc".to_owned(),
        "authority.example; accounturi=https://ca.example/account-hash/sha-256".to_owned(),
        "authority.example; accounturi=https://ca.example/account-hash/sha-256/short".to_owned(),
        format!("authority.example; accounturi={HASHED}="),
        format!("authority.example; accounturi=https://ca.example/account-hash/sha-256/{}", "!".repeat(43)),
    ] {
        let refusal = ask(&[&record], false).expect_err("it proves nothing");
        assert!(matches!(refusal, PersistRefusal::Malformed(_)), "{record}: {refusal:?}");
    }
}

#[test]
fn records_that_admit_something_else_are_refused() {
    let past = NOW - 1;
    for (record, reason) in [
        ("authority.example; accounturi=https://ca.example/acct/124".to_owned(), "accounturi"),
        ("authority.example; accounturi=https://CA.example/acct/123".to_owned(), "accounturi"),
        ("authority.example; accounturi=https://ca.example/acct/123/".to_owned(), "accounturi"),
        ("authority.example; accounturi=https://other.example/account-hash/md5/1".to_owned(), "accounturi"),
        (
            format!("authority.example; accounturi={}", hashed_account_uri("example.org", THUMBPRINT, ACCOUNT)),
            "accounturi",
        ),
        (format!("authority.example; accounturi={ACCOUNT}; persistUntil={past}"), "persistUntil"),
        (format!("authority.example; accounturi={ACCOUNT}; persistUntil=0"), "persistUntil"),
    ] {
        match ask(&[&record], false) {
            Err(PersistRefusal::Unauthorized(why)) => assert!(why.contains(reason), "{record}: {why}"),
            other => panic!("{record}: {other:?}"),
        }
    }
}

#[test]
fn records_of_other_authorities_are_ignored() {
    for records in [
        vec![],
        vec!["other.example; accounturi=https://other.example/1"],
        vec!["other.example; accounturi=x; accounturi=y"],
        vec![""],
        vec![";"],
        vec!["v=spf1 -all"],
        vec!["authority.example.evil; accounturi=https://ca.example/acct/123"],
        vec!["authority.example..; accounturi=https://ca.example/acct/123"],
        vec!["x.authority.example; accounturi=https://ca.example/acct/123"],
        vec!["\u{fffd}\u{fffd}"],
    ] {
        assert_eq!(ask(&records, false), Err(PersistRefusal::NotNamed), "{records:?}");
    }
}

#[test]
fn a_wildcard_needs_its_policy() {
    for (policy, proven) in [
        ("", false),
        ("; policy=other", false),
        ("; policy=", false),
        ("; policy=wildcard", true),
        ("; POLICY=WildCard", true),
        ("; policy=wildcards", false),
    ] {
        let record = format!("authority.example; accounturi={ACCOUNT}{policy}");
        assert_eq!(ask(&[&record], true).is_ok(), proven, "{record}");
        assert!(ask(&[&record], false).is_ok(), "{record}");
    }
}

#[test]
fn the_best_of_several_records_counts() {
    let good = format!("authority.example; accounturi={ACCOUNT}");
    let until = |moment: i64| format!("{good}; persistUntil={moment}");
    let (soon, later, past) = (until(NOW + 10), until(NOW + 20), until(NOW - 10));
    assert_eq!(ask(&[&soon, &later, &past], false), Ok(Some(NOW + 20)));
    assert_eq!(ask(&[&later, &soon], false), Ok(Some(NOW + 20)));
    assert_eq!(ask(&[&later, &good, &soon], false), Ok(None));
    assert_eq!(ask(&["other.example; x", "authority.example; x", &soon], false), Ok(Some(NOW + 10)));
    assert!(matches!(ask(&[&past, "authority.example", &past], false), Err(PersistRefusal::Malformed(_))));
}

#[test]
fn the_record_that_clients_are_told_proves_control() {
    let issuers = ["authority.example".to_owned()];
    for wildcard in [false, true] {
        for thumbprints in [&[THUMBPRINT][..], &[]] {
            let question = PersistQuestion {
                name: "example.com",
                wildcard,
                issuers: &issuers,
                account_url: ACCOUNT,
                thumbprints,
                now: NOW,
            };
            let record = expected_record(&question);
            assert_eq!(evaluate(std::slice::from_ref(&record), &question), Ok(None), "{record}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_text_proves_control_but_one_that_names_ca_and_account(text in "\\PC{0,200}|authority.example;[ -~]{0,120}") {
        let proven = ask(&[&text], false).is_ok();
        proptest::prop_assert!(!proven || text.contains(ACCOUNT) || text.contains("/account-hash/sha-256/"));
    }
}
