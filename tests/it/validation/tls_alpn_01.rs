//! tls-alpn-01 (RFC 8737, RFC 8738) against TLS servers that answer rightly and wrongly.

mod certificates;
mod handshakes;

use chancery::ca::acme::validation::{Validated, ValidationFailure};
use chancery::policy::acme::ChallengeType;

use super::fixture::{Bench, NAME, assert_failure, digest};
use crate::support::responders::certificate::ChallengeCertificate;
use crate::support::responders::tls::{Greeted, Presented, TlsResponder};

/// Looks at the challenge of [`NAME`] at a server that presents this.
fn look_at(presented: Presented) -> Result<Validated, ValidationFailure> {
    let server = TlsResponder::start(presented);
    Bench::new().tls(server.port()).look(NAME, ChallengeType::TlsAlpn01)
}

fn right() -> Presented {
    Presented::one(&ChallengeCertificate::for_name(NAME, &digest()))
}

#[test]
fn the_name_and_the_protocol_are_asked_for_and_nothing_is_sent() {
    let server = TlsResponder::start(right());
    let validated = Bench::new().tls(server.port()).look(NAME, ChallengeType::TlsAlpn01).unwrap();
    let greeted = Greeted { server_name: Some(NAME.to_owned()), protocols: vec!["acme-tls/1".to_owned()] };
    assert_eq!(server.greeted(), [greeted]);
    assert_eq!(server.ended(), [(0, true)]);
    assert_eq!(
        validated.evidence,
        [
            format!("{NAME} has 127.0.0.1"),
            format!("127.0.0.1:{}: connected", server.port()),
            format!("TLS server name {NAME}, protocol acme-tls/1")
        ]
    );
}

#[test]
fn tls_1_2_and_tls_1_3_will_do() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        look_at(right().version(version)).unwrap();
    }
}

#[test]
fn an_address_is_asked_for_by_its_reverse_name() {
    for (address, reverse) in
        [("127.0.0.1", "1.0.0.127.in-addr.arpa".to_owned()), ("::1", format!("1.{}ip6.arpa", "0.".repeat(31)))]
    {
        let certificate = ChallengeCertificate::for_address(address.parse().unwrap(), &digest());
        let listen = std::net::SocketAddr::new(address.parse().unwrap(), 0);
        let server = TlsResponder::start_at(listen, Presented::one(&certificate));
        let bench = Bench::new().tls(server.port());
        bench.look(address, ChallengeType::TlsAlpn01).unwrap();
        assert_eq!(server.greeted()[0].server_name.as_deref(), Some(reverse.as_str()));
        assert!(bench.dns.asked(&reverse).is_empty());
    }
}

#[test]
fn ipv4_is_tried_when_ipv6_takes_no_connection() {
    let server = TlsResponder::start(right());
    let bench = Bench::new().tls(server.port());
    bench.dns.add_address(NAME, std::net::Ipv6Addr::LOCALHOST);
    let validated = bench.look(NAME, ChallengeType::TlsAlpn01).unwrap();
    assert_eq!(validated.evidence[1], format!("[::1]:{}: connection refused", server.port()));
}

#[test]
fn wildcards_are_not_looked_at() {
    let server = TlsResponder::start(right());
    let outcome = Bench::new().tls(server.port()).look(&format!("*.{NAME}"), ChallengeType::TlsAlpn01);
    assert_failure(outcome, "malformed", true, &["`tls-alpn-01` does not prove control of `*.app.internal`"]);
    assert_eq!(server.greeted(), []);
}
