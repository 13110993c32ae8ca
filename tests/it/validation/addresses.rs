//! Which addresses are contacted: for names, for addresses, and for where redirects lead (checked again at each).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chancery::policy::acme::ChallengeType;

use super::fixture::{Bench, KEY_AUTHORIZATION, NAME, assert_failure};
use crate::support::dns::DnsServer;
use crate::support::responders::{HttpResponder, Reply, common_port};

/// A server that would answer rightly, and must not be asked.
fn forbidden() -> HttpResponder {
    HttpResponder::always(Reply::status(200, KEY_AUTHORIZATION))
}

#[test]
fn loopback_is_not_contacted_unless_it_is_allowed() {
    let server = forbidden();
    let mut bench = Bench::new().http(server.port());
    bench.settings.allowed_addresses = None;
    for identifier in [NAME, "127.0.0.1", "::ffff:127.0.0.1"] {
        for challenge in [ChallengeType::Http01, ChallengeType::TlsAlpn01] {
            let outcome = bench.look(identifier, challenge);
            assert_failure(
                outcome,
                "connection",
                true,
                &["may not be contacted", "a loopback address", "`allowed_addresses`"],
            );
        }
    }
    assert_eq!(server.asked(), []);
}

#[test]
fn denied_addresses_are_not_contacted() {
    let server = forbidden();
    let mut bench = Bench::new().http(server.port());
    bench.settings.denied_addresses = vec!["127.0.0.1/32".parse().unwrap()];
    assert_failure(bench.look(NAME, ChallengeType::Http01), "connection", true, &["`denied_addresses`"]);
    assert_eq!(server.asked(), []);
}

#[test]
fn metadata_services_are_never_contacted() {
    let mut bench = Bench::new();
    bench.settings.allowed_addresses = Some(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
    bench.dns.add_address("metadata.internal", Ipv4Addr::new(169, 254, 169, 254));
    for identifier in ["metadata.internal", "169.254.169.254", "fd00:ec2::254", "64:ff9b::a9fe:a9fe", "100.100.100.200"]
    {
        let outcome = bench.look(identifier, ChallengeType::Http01);
        assert_failure(outcome, "connection", true, &["may not be contacted", "metadata"]);
    }
}

#[test]
fn own_listeners_are_never_contacted_under_any_address_of_this_machine() {
    let server = forbidden();
    for own in ["0.0.0.0", "127.0.0.1", "[::]"] {
        let mut bench = Bench::new().http(server.port());
        bench.settings.own_listeners = vec![format!("{own}:{}", server.port()).parse().unwrap()];
        for identifier in [NAME, "127.0.0.1", "127.0.0.9", "::1"] {
            let outcome = bench.look(identifier, ChallengeType::Http01);
            assert_failure(outcome, "connection", true, &["own listeners"]);
        }
    }
    assert_eq!(server.asked(), []);
    // Another port of the same machine is not one of ours.
    let mut bench = Bench::new().http(server.port());
    bench.settings.own_listeners = vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, 1))];
    bench.look(NAME, ChallengeType::Http01).unwrap();
}

#[test]
fn each_redirect_is_judged_again() {
    let secret =
        HttpResponder::start_at(([127, 0, 0, 9], common_port()).into(), |_| Reply::status(200, KEY_AUTHORIZATION));
    let port = secret.port();
    for (location, why) in [
        (format!("http://secret.internal:{port}/"), "`denied_addresses`"),
        (format!("http://127.0.0.9:{port}/"), "`denied_addresses`"),
        (format!("http://127.9:{port}/"), "`denied_addresses`"),
        (format!("http://[::ffff:127.0.0.9]:{port}/"), "`denied_addresses`"),
        ("http://169.254.169.254/latest/meta-data/".to_owned(), "metadata"),
        ("http://metadata.internal/".to_owned(), "metadata"),
        ("http://10.0.0.1/".to_owned(), "`allowed_addresses`"),
    ] {
        let elsewhere = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let target = location.clone();
        let server = HttpResponder::start_at(elsewhere, move |_| Reply::redirect(302, &target));
        let mut bench = Bench::new().http(port);
        bench.settings.denied_addresses = vec!["127.0.0.9/32".parse().unwrap()];
        bench.dns.add_address("secret.internal", Ipv4Addr::new(127, 0, 0, 9));
        bench.dns.add_address("metadata.internal", Ipv4Addr::new(169, 254, 169, 254));
        let outcome = bench.look(NAME, ChallengeType::Http01);
        assert_failure(outcome, "connection", true, &["may not be contacted", why]);
        assert_eq!(server.asked().len(), 1, "{location}");
        // The port is free again only when the task has ended.
        server.stop();
    }
    assert_eq!(secret.asked(), []);
}

/// A name whose owner changes its address between two looks of ours ("rebinding") is judged by the address that would be dialled.
#[test]
fn a_name_that_moves_is_judged_by_where_it_has_moved() {
    let secret =
        HttpResponder::start_at(([127, 0, 0, 9], common_port()).into(), |_| Reply::status(200, KEY_AUTHORIZATION));
    let port = secret.port();
    let dns = Arc::new(DnsServer::start());
    dns.add_address("moving.internal", Ipv4Addr::LOCALHOST);
    let (records, count) = (Arc::clone(&dns), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&count);
    let _server = HttpResponder::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), move |_| {
        seen.fetch_add(1, Ordering::SeqCst);
        records.remove("moving.internal");
        records.add_address("moving.internal", Ipv4Addr::new(127, 0, 0, 9));
        Reply::redirect(302, "/again")
    });
    let mut bench = Bench::with_dns(dns).http(port);
    bench.settings.denied_addresses = vec!["127.0.0.9/32".parse().unwrap()];
    let outcome = bench.look("moving.internal", ChallengeType::Http01);
    assert_failure(outcome, "connection", true, &["`127.0.0.9` of `moving.internal` may not be contacted"]);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(secret.asked(), []);
}

#[test]
fn forbidden_addresses_of_a_name_are_passed_over() {
    let server = HttpResponder::start_at(([127, 0, 0, 2], 0).into(), |_| Reply::status(200, KEY_AUTHORIZATION));
    let mut bench = Bench::new().http(server.port());
    bench.settings.denied_addresses = vec!["127.0.0.1/32".parse().unwrap(), "::1/128".parse().unwrap()];
    bench.dns.add_address("mixed.internal", Ipv4Addr::LOCALHOST);
    bench.dns.add_address("mixed.internal", Ipv4Addr::new(127, 0, 0, 2));
    bench.dns.add_address("mixed.internal", std::net::Ipv6Addr::LOCALHOST);
    let validated = bench.look("mixed.internal", ChallengeType::Http01).unwrap();
    assert!(validated.evidence.contains(&format!("[::1]:{}: may not be contacted", server.port())), "{validated:?}");
    assert_eq!(server.asked().len(), 1);
}
