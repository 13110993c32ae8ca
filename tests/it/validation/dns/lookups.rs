//! What the resolver makes of answers, faults and silence.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use chancery::ca::acme::validation::ValidationFailure;
use chancery::validation::{ResolverSettings, ZoneResolvers};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::{assert_failure, patient, resolver, resolver_with};
use crate::support::client::RUNTIME;
use crate::support::dns::{Asked, DnsServer, FORGED, Fault};

fn txt_from(servers: &[SocketAddr], name: &str) -> Result<Vec<String>, ValidationFailure> {
    let resolver = resolver(servers);
    RUNTIME.block_on(resolver.txt(name))
}

fn txt(server: &DnsServer, name: &str) -> Result<Vec<String>, ValidationFailure> {
    txt_from(&[server.address()], name)
}

fn addresses(server: &DnsServer, name: &str) -> Result<Vec<IpAddr>, ValidationFailure> {
    let resolver = resolver(&[server.address()]);
    RUNTIME.block_on(resolver.addresses(name))
}

/// Servers that are silent are waited for in these tests; the others are given time enough.
fn impatient(resolvers: Vec<SocketAddr>) -> ResolverSettings {
    ResolverSettings { resolvers, timeout: Duration::from_millis(300), ..ResolverSettings::default() }
}

#[test]
fn each_way_of_failing_is_told_apart() {
    let server = DnsServer::start();
    let asked = server.address().to_string();
    server.add_address("here.internal", [192, 0, 2, 1]);
    server.add_txt("below.between.internal", "x");
    assert_failure(txt(&server, "gone.internal"), "dns", &["`gone.internal` does not exist (NXDOMAIN", "TXT"]);
    assert_failure(txt(&server, "here.internal"), "dns", &["`here.internal` has no TXT record"]);
    assert_failure(txt(&server, "between.internal"), "dns", &["`between.internal` has no TXT record"]);
    for (code, said) in [
        (ResponseCode::ServFail, "answered SERVFAIL"),
        (ResponseCode::Refused, "answered REFUSED"),
        (ResponseCode::NotAuth, "answered with the error 9"),
    ] {
        server.fail("here.internal", Fault::Code(code));
        assert_failure(txt(&server, "here.internal"), "dns", &["the TXT records of `here.internal`", said]);
        // Which servers the operator asks is told to nobody who asks for a certificate.
        assert!(!txt(&server, "here.internal").unwrap_err().detail.contains(&asked), "{said}");
    }
    server.fail("here.internal", Fault::Garbage);
    assert_failure(txt(&server, "here.internal"), "dns", &["no answer to the question"]);
    server.fail("here.internal", Fault::AlwaysTruncated);
    assert_failure(txt(&server, "here.internal"), "dns", &["cut its answer short over TCP"]);
}

#[test]
fn silence_ends_in_time_and_is_asked_again() {
    let server = DnsServer::start();
    for fault in [Fault::Silence, Fault::WrongId] {
        server.fail("quiet.internal", fault);
        let before = server.asked("quiet.internal").len();
        let resolver = resolver_with(impatient(vec![server.address()]));
        let outcome = RUNTIME.block_on(resolver.txt("quiet.internal"));
        assert_failure(outcome, "dns", &["`quiet.internal`", "did not answer within 300ms"]);
        assert!(server.asked("quiet.internal").len() - before >= 2, "asked once only: {fault:?}");
    }
}

#[test]
fn a_server_that_nothing_can_be_sent_to_is_told_apart() {
    // No datagram goes to port 0.
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let said = ["the TXT records of `a.internal`", "a DNS server could not be reached"];
    assert_failure(txt_from(&[nowhere], "a.internal"), "dns", &said);
    let server = DnsServer::start();
    server.add_txt("a.internal", "found");
    assert_eq!(txt_from(&[nowhere, server.address()], "a.internal").unwrap(), ["found"]);
}

#[test]
fn the_next_server_is_asked_when_one_fails() {
    let (broken, healthy) = (DnsServer::start(), DnsServer::start());
    healthy.add_txt("a.internal", "found");
    let servers = [broken.address(), healthy.address()];
    for fault in [
        Fault::Code(ResponseCode::ServFail),
        Fault::Code(ResponseCode::Refused),
        Fault::Garbage,
        Fault::AlwaysTruncated,
    ] {
        broken.fail("a.internal", fault);
        assert_eq!(txt_from(&servers, "a.internal").unwrap(), ["found"], "{fault:?}");
    }
    broken.fail("a.internal", Fault::Silence);
    let resolver = resolver_with(ResolverSettings { timeout: Duration::from_secs(2), ..impatient(servers.to_vec()) });
    assert_eq!(RUNTIME.block_on(resolver.txt("a.internal")).unwrap(), ["found"]);

    // All of them failed: what each said is told.
    broken.fail("a.internal", Fault::Code(ResponseCode::ServFail));
    healthy.fail("a.internal", Fault::Code(ResponseCode::Refused));
    assert_failure(txt_from(&servers, "a.internal"), "dns", &["answered SERVFAIL", "answered REFUSED"]);
}

#[test]
fn an_answer_that_nothing_is_there_is_believed() {
    let (first, second) = (DnsServer::start(), DnsServer::start());
    second.add_txt("a.internal", "found");
    assert_failure(txt_from(&[first.address(), second.address()], "a.internal"), "dns", &["does not exist"]);
    assert!(second.asked("a.internal").is_empty());
}

#[test]
fn answers_are_not_kept() {
    let server = DnsServer::start();
    let resolver = resolver(&[server.address()]);
    for value in ["one", "two"] {
        server.add_txt("a.internal", value);
        assert_eq!(RUNTIME.block_on(resolver.txt("a.internal")).unwrap(), [value]);
        server.remove("a.internal");
        assert_failure(RUNTIME.block_on(resolver.txt("a.internal")), "dns", &["does not exist"]);
    }
}

#[test]
fn what_is_cut_short_is_asked_for_over_tcp() {
    let server = DnsServer::start();
    server.add_txt("a.internal", "found");
    server.fail("a.internal", Fault::Truncated);
    assert_eq!(txt(&server, "a.internal").unwrap(), ["found"]);
    let asked = server.asked("a.internal");
    assert_eq!(asked.first(), Some(&Asked { kind: RecordType::TXT, tcp: false }));
    assert_eq!(asked.last(), Some(&Asked { kind: RecordType::TXT, tcp: true }));

    // More than fits into a datagram.
    let texts: Vec<String> = (0..300).map(|number| format!("{number:03}{}", "x".repeat(150))).collect();
    texts.iter().for_each(|text| server.add_txt("many.internal", text));
    assert_eq!(txt(&server, "many.internal").unwrap(), texts);
    assert!(server.asked("many.internal").contains(&Asked { kind: RecordType::TXT, tcp: true }));
}

#[test]
fn forged_answers_are_not_believed() {
    let server = DnsServer::start();
    server.add_txt("a.internal", "honest");
    for fault in [Fault::ForgedId, Fault::ForgedQuestion] {
        server.fail("a.internal", fault);
        let found = txt(&server, "a.internal").unwrap();
        assert_eq!(found, ["honest"], "{fault:?}");
        assert!(!found.contains(&FORGED.to_owned()));
    }
}

#[test]
fn names_in_other_case_and_servers_without_edns_are_understood() {
    let server = DnsServer::start();
    server.add_alias("a.internal", "b.internal");
    server.add_txt("b.internal", "found");
    for fault in [Fault::Capitals, Fault::NoEdns] {
        server.fail("a.internal", fault);
        assert_eq!(txt(&server, "A.Internal").unwrap(), ["found"], "{fault:?}");
    }
}

#[test]
fn strings_of_a_record_are_joined_and_odd_octets_do_no_harm() {
    let server = DnsServer::start();
    server.add_txt_strings("a.internal", &[b"one ", b"", b"two"]);
    server.add_txt_strings("a.internal", &[b"\xff\xfe", b"\xf0\x9f", b"\xa4\xa3"]);
    server.add_txt("a.internal", &"long".repeat(200));
    assert_eq!(
        txt(&server, "a.internal").unwrap(),
        ["one two".to_owned(), "\u{fffd}\u{fffd}\u{1f923}".to_owned(), "long".repeat(200)]
    );
}

#[test]
fn aliases_are_followed_by_the_server_or_by_us() {
    let server = DnsServer::start();
    server.add_alias("a.internal", "b.internal");
    server.add_alias("b.internal", "c.internal");
    server.add_txt("c.internal", "found");
    server.add_alias("dangling.internal", "gone.internal");
    server.add_alias("other.internal", "empty.internal");
    server.add_address("empty.internal", [192, 0, 2, 1]);
    for follow in [true, false] {
        server.follow_aliases(follow);
        assert_eq!(txt(&server, "a.internal").unwrap(), ["found"], "{follow}");
        assert_failure(
            txt(&server, "dangling.internal"),
            "dns",
            &["`gone.internal`, to which `dangling.internal` is an alias, does not exist"],
        );
        assert_failure(
            txt(&server, "other.internal"),
            "dns",
            &["`empty.internal`, to which `other.internal` is an alias, has no TXT record"],
        );
    }
    server.fail("c.internal", Fault::Code(ResponseCode::ServFail));
    assert_failure(
        txt(&server, "a.internal"),
        "dns",
        &["`c.internal` (to which `a.internal` is an alias)", "SERVFAIL"],
    );
}

#[test]
fn loops_and_long_chains_of_aliases_end() {
    let server = DnsServer::start();
    server.add_alias("a.internal", "b.internal");
    server.add_alias("b.internal", "a.internal");
    server.add_alias("self.internal", "self.internal");
    for number in 0..12 {
        server.add_alias(&format!("n{number}.internal"), &format!("n{}.internal", number + 1));
    }
    server.add_txt("n12.internal", "end");
    for follow in [true, false] {
        server.follow_aliases(follow);
        assert_failure(
            txt(&server, "a.internal"),
            "dns",
            &["form a loop: `a.internal` -> `b.internal` -> `a.internal`"],
        );
        assert_failure(txt(&server, "self.internal"), "dns", &["form a loop"]);
        assert_failure(txt(&server, "n0.internal"), "dns", &["more than 8 aliases", "`n0.internal`"]);
        assert_eq!(txt(&server, "n4.internal").unwrap(), ["end"], "{follow}");
    }
    assert!(server.asked("n0.internal").len() <= 2);
}

#[test]
fn zones_have_servers_of_their_own_also_behind_aliases() {
    let (outside, corp, lab) = (DnsServer::start(), DnsServer::start(), DnsServer::start());
    for (server, value) in [(&outside, "outside"), (&corp, "corp"), (&lab, "lab")] {
        for name in ["a.example", "a.corp.internal", "a.lab.corp.internal"] {
            server.add_txt(name, value);
        }
    }
    // The server of the zone claims something about a name that is none of its business.
    corp.add_alias("away.corp.internal", "a.example");
    outside.add_alias("in.example", "a.lab.corp.internal");
    let zone =
        |zone: &str, server: &DnsServer| ZoneResolvers { zone: zone.to_owned(), resolvers: vec![server.address()] };
    let resolver = resolver_with(ResolverSettings {
        resolvers: vec![outside.address()],
        zones: vec![zone("corp.internal", &corp), zone("lab.corp.internal", &lab)],
        ..patient()
    });
    for (name, value) in [
        ("a.example", "outside"),
        ("a.corp.internal", "corp"),
        ("a.lab.corp.internal", "lab"),
        ("away.corp.internal", "outside"),
        ("in.example", "lab"),
    ] {
        assert_eq!(RUNTIME.block_on(resolver.txt(name)).unwrap(), [value], "{name}");
    }
}

#[test]
fn addresses_come_with_ipv6_first_and_bounded() {
    let server = DnsServer::start();
    server.add_address("both.internal", [192, 0, 2, 1]);
    server.add_address("both.internal", "fd00::1".parse::<IpAddr>().unwrap());
    server.add_address("four.internal", [192, 0, 2, 4]);
    server.add_alias("alias.internal", "both.internal");
    let both = ["fd00::1".parse::<IpAddr>().unwrap(), IpAddr::from([192, 0, 2, 1])];
    assert_eq!(addresses(&server, "both.internal").unwrap(), both);
    assert_eq!(addresses(&server, "alias.internal").unwrap(), both);
    assert_eq!(addresses(&server, "four.internal").unwrap(), [IpAddr::from([192, 0, 2, 4])]);
    for number in 0..200 {
        server.add_address("many.internal", [192, 0, 2, number]);
    }
    assert_eq!(addresses(&server, "many.internal").unwrap().len(), 8);
}

#[test]
fn one_family_is_enough_and_none_is_explained() {
    let server = DnsServer::start();
    server.add_txt("none.internal", "x");
    server.add_address("four.internal", [192, 0, 2, 4]);
    server.fail_kind("four.internal", RecordType::AAAA, Fault::Code(ResponseCode::ServFail));
    assert_eq!(addresses(&server, "four.internal").unwrap().len(), 1);
    assert_failure(addresses(&server, "none.internal"), "dns", &["`none.internal` has no AAAA or A record"]);
    assert_failure(addresses(&server, "gone.internal"), "dns", &["`gone.internal` does not exist"]);
    server.fail_kind("none.internal", RecordType::AAAA, Fault::Code(ResponseCode::ServFail));
    assert_failure(addresses(&server, "none.internal"), "dns", &["the AAAA records of `none.internal`", "SERVFAIL"]);
}

#[test]
fn what_is_no_name_is_not_asked_for() {
    let server = DnsServer::start();
    for name in ["a b.internal", "", "a..internal", "a`b.internal", &"a.".repeat(130)] {
        let failure = addresses(&server, name).unwrap_err();
        assert_eq!(failure.error_type.token(), "dns");
        assert!(failure.is_final, "{}", failure.detail);
        assert_eq!(failure.detail.matches('`').count(), 2, "{}", failure.detail);
    }
}
