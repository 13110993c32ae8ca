//! CAA records (RFC 8659, RFC 8657): the climb, and look-ups that fail.

use std::sync::Arc;

use chancery::ca::acme::validation::CaaQuestion;
use chancery::environment::SystemClock;
use chancery::policy::acme::ChallengeType::{Dns01, Http01};
use chancery::policy::acme::Identifier;
use chancery::validation::DnsValidator;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::{ACCOUNT, assert_failure, check_caa, identifier, resolver, settings};
use crate::support::client::RUNTIME;
use crate::support::dns::{DnsServer, Fault};

#[test]
fn without_records_anybody_may_issue_and_every_name_is_asked_for() {
    let server = DnsServer::start();
    assert_eq!(check_caa(&server, "a.b.corp.internal", Some(Dns01)), Ok(()));
    for name in ["a.b.corp.internal", "b.corp.internal", "corp.internal", "internal"] {
        let asked = server.asked(name);
        assert!(asked.iter().any(|asked| asked.kind == RecordType::CAA), "{name}: {asked:?}");
    }
}

#[test]
fn the_closest_records_count() {
    let server = DnsServer::start();
    server.add_caa("internal", 0, "issue", "other.example");
    assert_failure(
        check_caa(&server, "a.corp.internal", Some(Dns01)),
        "caa",
        &["the CAA records of `internal` forbid", "`a.corp.internal`", "`other.example` only", "`ca.internal`"],
    );
    server.add_caa("corp.internal", 0, "issue", "ca2.internal");
    assert_eq!(check_caa(&server, "a.corp.internal", Some(Dns01)), Ok(()));
    server.add_caa("a.corp.internal", 0, "issue", ";");
    assert_failure(check_caa(&server, "a.corp.internal", Some(Dns01)), "caa", &["`a.corp.internal`", "admits no CA"]);
    assert_eq!(check_caa(&server, "b.corp.internal", Some(Dns01)), Ok(()));
}

#[test]
fn names_and_wildcards_have_properties_of_their_own() {
    let server = DnsServer::start();
    server.add_caa("corp.internal", 0, "issue", "ca.internal");
    server.add_caa("corp.internal", 0, "issuewild", ";");
    assert_eq!(check_caa(&server, "corp.internal", Some(Dns01)), Ok(()));
    assert_failure(check_caa(&server, "*.corp.internal", Some(Dns01)), "caa", &["`*.corp.internal`", "`issuewild`"]);
}

#[test]
fn an_alias_has_the_records_of_where_it_leads_to() {
    let server = DnsServer::start();
    server.add_alias("a.corp.internal", "host.cloud.example");
    server.add_caa("corp.internal", 0, "issue", "ca.internal");
    // RFC 8659, section 3: the records at the target count, those above the target do not.
    server.add_address("host.cloud.example", [192, 0, 2, 1]);
    server.add_caa("cloud.example", 0, "issue", "other.example");
    for follow in [true, false] {
        server.follow_aliases(follow);
        assert_eq!(check_caa(&server, "a.corp.internal", Some(Dns01)), Ok(()));
    }
    server.add_caa("host.cloud.example", 0, "issue", "other.example");
    for follow in [true, false] {
        server.follow_aliases(follow);
        assert_failure(check_caa(&server, "a.corp.internal", Some(Dns01)), "caa", &["`other.example` only"]);
    }
}

#[test]
fn account_and_method_are_compared() {
    let server = DnsServer::start();
    let parameters = format!("ca.internal; accounturi={ACCOUNT}; validationmethods=dns-01,dns-persist-01");
    server.add_caa("corp.internal", 0, "issue", &parameters);
    assert_eq!(check_caa(&server, "corp.internal", Some(Dns01)), Ok(()));
    assert_failure(check_caa(&server, "corp.internal", Some(Http01)), "caa", &["`validationmethods`", "`http-01`"]);
    assert_failure(check_caa(&server, "corp.internal", None), "caa", &["`ca-external-account`"]);
    server.remove("corp.internal");
    server.add_caa("corp.internal", 0, "issue", &format!("ca.internal; accounturi={ACCOUNT}0"));
    assert_failure(check_caa(&server, "corp.internal", Some(Dns01)), "caa", &["`accounturi`"]);
}

#[test]
fn critical_properties_that_are_not_understood_refuse() {
    for (flags, refused) in [(0, false), (128, true), (1, true)] {
        let server = DnsServer::start();
        server.add_caa("corp.internal", 0, "issue", "ca.internal");
        server.add_caa("corp.internal", flags, "future", "x");
        let outcome = check_caa(&server, "corp.internal", Some(Dns01));
        if refused {
            assert_failure(outcome, "caa", &["`future`", "critical"]);
        } else {
            assert_eq!(outcome, Ok(()));
        }
    }
}

#[test]
fn what_could_not_be_looked_up_may_forbid() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let server = DnsServer::start();
        server.fail("corp.internal", Fault::Code(code));
        assert_failure(
            check_caa(&server, "a.corp.internal", Some(Dns01)),
            "dns",
            &["CAA could not be checked for `a.corp.internal`", "the CAA records of `corp.internal`"],
        );
        // Below it there are records: what stands above does not matter.
        server.add_caa("a.corp.internal", 0, "issue", "ca.internal");
        assert_eq!(check_caa(&server, "a.corp.internal", Some(Dns01)), Ok(()));
    }
}

#[test]
fn none_of_very_many_records_is_overlooked() {
    let server = DnsServer::start();
    for number in 0..101 {
        server.add_caa("corp.internal", 0, "issue", &format!("ca{number}.internal"));
    }
    assert_failure(check_caa(&server, "corp.internal", Some(Dns01)), "caa", &["101 CAA records"]);
}

#[test]
fn nothing_is_asked_where_configuration_says_so_nor_for_addresses() {
    let server = DnsServer::start();
    server.add_caa("corp.internal", 0, "issue", ";");
    let question =
        |identifier: Identifier| CaaQuestion { identifier, challenge: Some(Dns01), account_url: ACCOUNT.to_owned() };
    let validator = DnsValidator::new(Arc::new(resolver(&[server.address()])), settings(false), Arc::new(SystemClock));
    assert_eq!(RUNTIME.block_on(validator.check_caa(&question(identifier("corp.internal")))), Ok(()));
    let validator = DnsValidator::new(Arc::new(resolver(&[server.address()])), settings(true), Arc::new(SystemClock));
    assert_eq!(RUNTIME.block_on(validator.check_caa(&question(Identifier::Ip([192, 0, 2, 1].into())))), Ok(()));
    assert!(server.asked("corp.internal").is_empty());
}
