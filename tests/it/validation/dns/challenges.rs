//! dns-01 (RFC 8555, section 8.4) and dns-account-01.

use chancery::policy::acme::ChallengeType::{Dns01, DnsAccount01};
use chancery::policy::acme::{ChallengeType, Identifier};
use hickory_proto::op::ResponseCode;

use super::{ACCOUNT, DIGEST, KEY_AUTHORIZATION, assert_failure, attempt, look, validator};
use crate::support::client::RUNTIME;
use crate::support::dns::{DnsServer, Fault};

/// `_`, base32 in lower case of the first ten octets of SHA-256 of [`ACCOUNT`], made with `openssl dgst` and `basenc --base32`.
const ACCOUNT_LABEL: &str = "_vs2rhvzvhdjwajuy";

fn record(name: &str, challenge: ChallengeType) -> String {
    match challenge {
        DnsAccount01 => format!("{ACCOUNT_LABEL}._acme-challenge.{name}"),
        _ => format!("_acme-challenge.{name}"),
    }
}

#[test]
fn the_digest_of_the_key_authorization_proves_control() {
    for challenge in [Dns01, DnsAccount01] {
        let server = DnsServer::start();
        let record = record("app.internal", challenge);
        server.add_txt(&record, DIGEST);
        let validated = look(&server, "app.internal", challenge).unwrap();
        assert_eq!(validated.evidence, [format!("TXT {record}")]);
        assert_eq!(validated.until, None);
        // `*.x` is proven at the place of `x`.
        assert!(look(&server, "*.app.internal", challenge).is_ok());
        assert_failure(look(&server, "other.internal", challenge), "dns", &["other.internal` does not exist"]);
    }
}

#[test]
fn one_of_several_records_is_enough_in_one_string_or_several() {
    for challenge in [Dns01, DnsAccount01] {
        let server = DnsServer::start();
        let record = record("app.internal", challenge);
        server.add_txt(&record, "something else");
        server.add_txt_strings(&record, &[b"\xff\xfe"]);
        let (start, rest) = DIGEST.as_bytes().split_at(20);
        server.add_txt_strings(&record, &[start, b"", rest]);
        assert!(look(&server, "app.internal", challenge).is_ok());
    }
}

#[test]
fn the_name_may_be_an_alias() {
    for challenge in [Dns01, DnsAccount01] {
        let server = DnsServer::start();
        server.add_alias(&record("app.internal", challenge), "app.acme-dns.internal");
        server.add_alias("app.acme-dns.internal", "x.acme-dns.internal");
        server.add_txt("x.acme-dns.internal", DIGEST);
        for follow in [true, false] {
            server.follow_aliases(follow);
            assert!(look(&server, "app.internal", challenge).is_ok(), "{follow}");
        }
    }
}

#[test]
fn nothing_there_something_else_and_no_answer_are_told_apart() {
    for challenge in [Dns01, DnsAccount01] {
        let server = DnsServer::start();
        let record = record("app.internal", challenge);
        let look = || look(&server, "app.internal", challenge);
        assert_failure(look(), "dns", &[&format!("`{record}` does not exist (NXDOMAIN")]);
        server.add_address(&record, [192, 0, 2, 1]);
        assert_failure(look(), "dns", &[&format!("`{record}` has no TXT record")]);
        server.add_txt(&record, "a value that messages do not repeat");
        assert_failure(look(), "unauthorized", &[&format!("`{record}` holds `{DIGEST}`"), "the one record there"]);
        server.add_txt(&record, &format!("{DIGEST}="));
        assert_failure(look(), "unauthorized", &["the 2 records there"]);
        assert!(!look().unwrap_err().detail.contains("do not repeat"));
        server.fail(&record, Fault::Code(ResponseCode::ServFail));
        assert_failure(look(), "dns", &[&record, "SERVFAIL"]);
        // The record may come later: each of these is looked at again.
        assert!(!look().unwrap_err().is_final);
        server.heal(&record);
        server.add_txt(&record, DIGEST);
        assert!(look().is_ok());
    }
}

#[test]
fn what_is_nearly_the_digest_proves_nothing() {
    let server = DnsServer::start();
    for value in [
        format!(" {DIGEST}"),
        format!("{DIGEST} "),
        format!("\"{DIGEST}\""),
        DIGEST.to_ascii_lowercase(),
        DIGEST[..42].to_owned(),
        KEY_AUTHORIZATION.to_owned(),
        String::new(),
    ] {
        server.add_txt("_acme-challenge.app.internal", &value);
    }
    // What proves control at one place does not at the other.
    server.add_txt(&format!("{ACCOUNT_LABEL}._acme-challenge.app.internal"), DIGEST);
    assert_failure(look(&server, "app.internal", Dns01), "unauthorized", &["the 7 records there"]);
}

#[test]
fn only_so_many_records_are_compared() {
    let server = DnsServer::start();
    for number in 0..150 {
        server.add_txt("_acme-challenge.app.internal", &format!("other {number}"));
    }
    server.add_txt("_acme-challenge.app.internal", DIGEST);
    assert_failure(look(&server, "app.internal", Dns01), "unauthorized", &["the first 100 of 151 records"]);
}

#[test]
fn an_account_has_its_own_label() {
    let server = DnsServer::start();
    server.add_txt(&format!("{ACCOUNT_LABEL}._acme-challenge.app.internal"), DIGEST);
    assert!(look(&server, "app.internal", DnsAccount01).is_ok());
    let mut other = attempt("app.internal", DnsAccount01);
    other.account_url = format!("{ACCOUNT}0");
    let validator = validator(&server);
    assert_failure(
        RUNTIME.block_on(validator.validate(&other)),
        "dns",
        &["._acme-challenge.app.internal` does not exist"],
    );
}

#[test]
fn addresses_and_names_too_long_are_refused_for_good() {
    let server = DnsServer::start();
    let validator = validator(&server);
    for challenge in [Dns01, DnsAccount01, ChallengeType::DnsPersist01] {
        let mut address = attempt("app.internal", challenge);
        address.identifier = Identifier::Ip([192, 0, 2, 1].into());
        let failure = RUNTIME.block_on(validator.validate(&address)).unwrap_err();
        assert_eq!(failure.error_type.token(), "malformed");
        assert!(failure.is_final);

        let long = format!("{}.internal", "a".repeat(60) + &format!(".{}", "b".repeat(60)).repeat(3));
        assert_eq!(long.len(), 252);
        let failure = RUNTIME.block_on(validator.validate(&attempt(&long, challenge))).unwrap_err();
        assert_eq!(failure.error_type.token(), "dns");
        assert!(failure.is_final, "{}", failure.detail);
    }
}

#[test]
fn challenges_of_other_kinds_are_not_looked_at() {
    let server = DnsServer::start();
    for challenge in [ChallengeType::Http01, ChallengeType::TlsAlpn01] {
        assert_failure(look(&server, "app.internal", challenge), "serverInternal", &[challenge.as_str()]);
    }
}
