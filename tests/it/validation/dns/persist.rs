//! dns-persist-01 (draft-ietf-acme-dns-persist-02).

use std::sync::Arc;

use chancery::ca::acme::validation::{Validated, ValidationFailure};
use chancery::environment::{Clock, SystemClock};
use chancery::policy::acme::ChallengeType::DnsPersist01;
use chancery::policy::acme::dns_persist::hashed_account_uri;
use chancery::validation::{DnsSettings, DnsValidator};
use hickory_proto::op::ResponseCode;

use super::{ACCOUNT, KEY_AUTHORIZATION, assert_failure, attempt, look, resolver};
use crate::support::client::RUNTIME;
use crate::support::dns::{DnsServer, Fault};

const RECORD: &str = "_validation-persist.app.internal";

fn with(records: &[&str], name: &str) -> Result<Validated, ValidationFailure> {
    let server = DnsServer::start();
    records.iter().for_each(|record| server.add_txt(RECORD, record));
    look(&server, name, DnsPersist01)
}

fn hashed(name: &str) -> String {
    hashed_account_uri(name, KEY_AUTHORIZATION.split('.').nth(1).unwrap(), ACCOUNT)
}

#[test]
fn a_record_that_names_ca_and_account_proves_control() {
    for account in [ACCOUNT.to_owned(), hashed("app.internal"), hashed("*")] {
        for issuer in ["ca.internal", "ca2.internal", "CA.Internal."] {
            let record = format!("{issuer}; accounturi={account}; unknown=ignored");
            let validated = with(&["v=spf1 -all", "other.example; accounturi=x", &record], "app.internal").unwrap();
            assert_eq!(validated, Validated { evidence: vec![format!("TXT {RECORD}")], until: None }, "{record}");
        }
    }
}

#[test]
fn a_record_for_a_time_says_how_long_the_proof_holds() {
    let now = SystemClock.now().unix();
    let until = |moment: i64| format!("ca.internal; accounturi={ACCOUNT}; persistUntil={moment}");
    assert_eq!(with(&[&until(now + 3600)], "app.internal").unwrap().until, Some(now + 3600));
    assert_failure(with(&[&until(now - 3600)], "app.internal"), "unauthorized", &["`persistUntil`", "is over"]);
}

#[test]
fn a_wildcard_needs_its_policy() {
    let plain = format!("ca.internal; accounturi={ACCOUNT}");
    assert_failure(with(&[&plain], "*.app.internal"), "unauthorized", &["`policy=wildcard`", "; policy=wildcard`"]);
    assert!(with(&[&format!("{plain}; policy=WildCard")], "*.app.internal").is_ok());
    assert!(with(&[&format!("{plain}; policy=wildcard")], "app.internal").is_ok());
}

#[test]
fn other_records_say_why_they_prove_nothing() {
    assert_failure(with(&[], "app.internal"), "dns", &[RECORD, "does not exist"]);
    let expected = format!("Publish `ca.internal; accounturi={}`", hashed("app.internal"));
    assert_failure(
        with(&["other.example; accounturi=x"], "app.internal"),
        "unauthorized",
        &["none of the 1 TXT records", RECORD, &expected],
    );
    assert_failure(
        with(&[&format!("ca.internal; accounturi={ACCOUNT}0")], "app.internal"),
        "unauthorized",
        &["is not that of this account", &expected],
    );
    assert_failure(
        with(&[&format!("ca.internal; accounturi={}", hashed("other.internal"))], "app.internal"),
        "unauthorized",
        &["is not that of this account"],
    );
    for (record, why) in [
        ("ca.internal".to_owned(), "no `accounturi`"),
        (format!("ca.internal; accounturi={ACCOUNT}; accounturi={ACCOUNT}"), "several `accounturi`"),
        (format!("ca.internal; accounturi={ACCOUNT}; persistUntil=tomorrow"), "`persistUntil`"),
        (format!("ca.internal; accounturi={ACCOUNT};"), "semicolon"),
        ("ca.internal; accounturi=https://ca.internal/acme/account-hash/md5/abc".to_owned(), "`sha-256`"),
    ] {
        assert_failure(with(&[&record], "app.internal"), "malformed", &[RECORD, why, &expected]);
    }
}

#[test]
fn nothing_is_proven_without_an_answer_or_a_name_of_the_ca() {
    let server = DnsServer::start();
    server.add_txt(RECORD, &format!("ca.internal; accounturi={ACCOUNT}"));
    server.fail(RECORD, Fault::Code(ResponseCode::ServFail));
    assert_failure(look(&server, "app.internal", DnsPersist01), "dns", &["SERVFAIL"]);
    server.heal(RECORD);
    let nameless =
        DnsValidator::new(Arc::new(resolver(&[server.address()])), DnsSettings::default(), Arc::new(SystemClock));
    let outcome = RUNTIME.block_on(nameless.validate(&attempt("app.internal", DnsPersist01)));
    assert_failure(outcome, "serverInternal", &["issuer domain name"]);
}

#[test]
fn long_records_of_several_strings_are_read_whole() {
    let padding = format!("padding={}", "x".repeat(400));
    let record = format!("ca.internal; {padding}; accounturi={ACCOUNT}");
    assert!(record.len() > 255);
    assert!(with(&[&record], "app.internal").is_ok());
}
