//! Names with several addresses, and addresses that do not answer.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use chancery::policy::acme::ChallengeType;

use super::super::fixture::{Bench, KEY_AUTHORIZATION, NAME, assert_failure};
use crate::support::dns::Fault;
use crate::support::responders::{HttpResponder, Reply, SilentAddress, closed_port};

const BOTH: &str = "both.internal";

/// A validator for a server at one of the addresses of [`BOTH`].
fn bench(port: u16) -> Bench {
    let bench = Bench::new().http(port);
    bench.dns.add_address(BOTH, Ipv4Addr::LOCALHOST);
    bench.dns.add_address(BOTH, Ipv6Addr::LOCALHOST);
    bench
}

#[test]
fn ipv6_is_tried_first() {
    let four = HttpResponder::always(Reply::status(200, "of IPv4"));
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, four.port()));
    let six = HttpResponder::start_at(six, |_| Reply::status(200, KEY_AUTHORIZATION));
    let validated = bench(four.port()).look(BOTH, ChallengeType::Http01).unwrap();
    assert_eq!(validated.evidence[0], format!("{BOTH} has ::1, 127.0.0.1"));
    assert_eq!(validated.evidence[1], format!("{}: connected", six.address()));
    assert_eq!((four.asked().len(), six.asked().len()), (0, 1));
}

#[test]
fn ipv4_is_tried_when_ipv6_takes_no_connection() {
    let four = HttpResponder::always(Reply::status(200, KEY_AUTHORIZATION));
    let validated = bench(four.port()).look(BOTH, ChallengeType::Http01).unwrap();
    assert_eq!(validated.evidence[1], format!("[::1]:{}: connection refused", four.port()));
    assert_eq!(validated.evidence[2], format!("{}: connected", four.address()));
}

#[test]
fn ipv4_is_not_tried_when_ipv6_answers_wrongly() {
    let four = HttpResponder::always(Reply::status(200, KEY_AUTHORIZATION));
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, four.port()));
    let six = HttpResponder::start_at(six, |_| Reply::status(404, "not here"));
    let tried = format!("addresses tried: {}", six.address());
    assert_failure(bench(four.port()).look(BOTH, ChallengeType::Http01), "unauthorized", false, &["404", &tried]);
    assert_eq!(four.asked(), []);
}

#[test]
fn one_address_of_each_family_is_tried_and_all_are_told() {
    let port = closed_port();
    let bench = bench(port);
    bench.dns.add_address(BOTH, Ipv4Addr::new(127, 0, 0, 2));
    bench.dns.add_address(BOTH, Ipv4Addr::new(127, 0, 0, 3));
    let tried = format!("addresses tried: [::1]:{port} (connection refused), 127.0.0.1:{port} (connection refused)");
    let detail =
        assert_failure(bench.look(BOTH, ChallengeType::Http01), "connection", false, &[&tried, "connection refused"]);
    assert!(!detail.contains("127.0.0.2"), "{detail}");
}

#[test]
fn an_address_that_does_not_answer_is_given_up_for_the_other_family() {
    let silent = SilentAddress::start(Ipv6Addr::LOCALHOST.into());
    let four = SocketAddr::from((Ipv4Addr::LOCALHOST, silent.address().port()));
    let four = HttpResponder::start_at(four, |_| Reply::status(200, KEY_AUTHORIZATION));
    let mut bench = bench(four.port());
    bench.settings.connect_timeout = Duration::from_millis(500);
    let validated = bench.look(BOTH, ChallengeType::Http01).unwrap();
    assert_eq!(validated.evidence[1], format!("{}: no answer in time", silent.address()));
}

#[test]
fn a_host_that_does_not_answer_is_a_failure_of_connection() {
    let silent = SilentAddress::start(Ipv4Addr::LOCALHOST.into());
    let mut bench = Bench::new().http(silent.address().port());
    bench.settings.connect_timeout = Duration::from_millis(500);
    let tried = format!("addresses tried: {} (no answer in time)", silent.address());
    assert_failure(bench.look(NAME, ChallengeType::Http01), "connection", false, &[&tried]);
    // The bound of the whole may come first.
    bench.settings.connect_timeout = Duration::from_secs(20);
    bench.settings.attempt_timeout = Duration::from_millis(500);
    assert_failure(bench.look(NAME, ChallengeType::Http01), "connection", false, &["waited for the connection"]);
}

#[test]
fn a_name_without_addresses_is_a_failure_of_the_dns() {
    let bench = Bench::new();
    assert_failure(bench.look("missing.internal", ChallengeType::Http01), "dns", false, &["missing.internal"]);
    bench.dns.fail("silent.internal", Fault::Silence);
    let mut bench = bench;
    bench.settings.attempt_timeout = Duration::from_millis(500);
    assert_failure(bench.look("silent.internal", ChallengeType::Http01), "dns", false, &["waited for the DNS"]);
}
