//! Servers that do not make the handshake that the challenge asks for, and one that is not rustls.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::super::fixture::{Bench, NAME, assert_failure, digest};
use super::{look_at, right};
use crate::support::responders::{HttpResponder, Reply, closed_port};
use crate::support::tools::{Scratch, openssl};
use chancery::policy::acme::ChallengeType;

#[test]
fn a_server_of_other_protocols_is_told_apart() {
    let outcome = look_at(right().protocols(&[b"h2", b"http/1.1"]));
    assert_failure(outcome, "tls", false, &["`no_application_protocol`", "does not speak `acme-tls/1`", "127.0.0.1"]);
    let outcome = look_at(right().protocols(&[]));
    assert_failure(outcome, "unauthorized", false, &["did not choose the protocol `acme-tls/1`"]);
    // `acme-tls/1` exactly.
    for close in [&b"acme-tls/1.1"[..], b"acme-tls/2", b"ACME-TLS/1", b"acme-tls"] {
        assert_failure(look_at(right().protocols(&[close])), "tls", false, &["`no_application_protocol`"]);
    }
    look_at(right().protocols(&[b"h2", b"acme-tls/1"])).unwrap();
}

#[test]
fn a_port_without_a_server_is_a_failure_of_connection() {
    let port = closed_port();
    let outcome = Bench::new().tls(port).look(NAME, ChallengeType::TlsAlpn01);
    let tried = format!("addresses tried: 127.0.0.1:{port} (connection refused)");
    assert_failure(outcome, "connection", false, &[&tried]);
}

/// Looks at a server that is no TLS server: it reads until an empty line, which a greeting of TLS may hold or not.
fn look_at_octets(
    octets: &[u8],
) -> Result<chancery::ca::acme::validation::Validated, chancery::ca::acme::validation::ValidationFailure> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let octets = octets.to_vec();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&octets).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Whether the peer ends or resets the connection is its matter.
        drop(std::io::copy(&mut stream, &mut std::io::sink()));
    });
    let outcome = Bench::new().tls(port).look(NAME, ChallengeType::TlsAlpn01);
    server.join().unwrap();
    outcome
}

#[test]
fn what_is_not_tls_is_refused_and_not_shown() {
    for octets in [&b"HTTP/1.1 400 SECRET\r\n\r\n"[..], b"220 SECRET ESMTP\r\n", b"SSH-2.0-SECRET\r\n"] {
        let detail = assert_failure(look_at_octets(octets), "tls", false, &["does not speak TLS as it should"]);
        assert!(!detail.contains("SECRET"), "{detail}");
    }
    assert_failure(look_at_octets(b""), "connection", false, &["during the TLS handshake: connection closed"]);
}

/// A greeting of a server that chose TLS 1.1 (RFC 4346, section 7.4.1.3).
#[test]
fn tls_1_1_is_too_old() {
    let mut hello = vec![0x03, 0x02];
    hello.extend_from_slice(&[7; 32]);
    // No session, TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, no compression.
    hello.extend_from_slice(&[0, 0xc0, 0x09, 0]);
    let length = u8::try_from(hello.len()).unwrap();
    let record = [&[0x16, 0x03, 0x02, 0, length + 4, 0x02, 0, 0, length][..], &hello].concat();
    assert_failure(look_at_octets(&record), "tls", false, &["neither TLS 1.2 nor TLS 1.3"]);
}

#[test]
fn alerts_are_shown_as_numbers() {
    // Fatal, internal_error (RFC 5246, section 7.2).
    let record = [0x15, 0x03, 0x03, 0, 2, 2, 80];
    assert_failure(look_at_octets(&record), "tls", false, &["with the alert 80"]);
    let record = [0x15, 0x03, 0x03, 0, 2, 2, 112];
    assert_failure(look_at_octets(&record), "tls", false, &["`unrecognized_name`"]);
    let record = [0x15, 0x03, 0x03, 0, 2, 2, 70];
    assert_failure(look_at_octets(&record), "tls", false, &["neither TLS 1.2 nor TLS 1.3"]);
}

#[test]
fn a_handshake_that_does_not_end_is_given_up() {
    // It waits for an empty line that does not come.
    let server = HttpResponder::always(Reply::Reset);
    let mut bench = Bench::new().tls(server.port());
    bench.settings.attempt_timeout = Duration::from_millis(1500);
    let outcome = bench.look(NAME, ChallengeType::TlsAlpn01);
    assert_failure(outcome, "connection", false, &["waited for the TLS handshake", "127.0.0.1"]);
}

/// A certificate that OpenSSL made, presented by OpenSSL, with an RSA key.
#[test]
fn openssl_answers_the_challenge() {
    let scratch = Scratch::new();
    let digest: Vec<String> = digest().iter().map(|octet| format!("{octet:02X}")).collect();
    let configuration = format!(
        "[req]\ndistinguished_name = dn\nx509_extensions = ext\nprompt = no\n[dn]\nCN = challenge\n[ext]\n\
         subjectAltName = DNS:{NAME}\n1.3.6.1.5.5.7.1.31 = critical, DER:04:20:{}\n",
        digest.join(":")
    );
    let config = scratch.write("challenge.cnf", configuration);
    let (key, certificate) = (scratch.file("key.pem"), scratch.file("certificate.pem"));
    let (config, key, certificate) = (config.display(), key.display(), certificate.display());
    openssl(&format!(
        "req -x509 -newkey rsa:2048 -nodes -sha256 -days 2 -config {config} -keyout {key} -out {certificate}"
    ));
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = format!(
            "s_server -accept 127.0.0.1:0 -alpn acme-tls/1 {version} -naccept 1 -key {key} -cert {certificate}"
        );
        let mut server = Command::new("openssl")
            .args(arguments.split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let port =
            lines.find_map(|line| line.unwrap().strip_prefix("ACCEPT 127.0.0.1:").map(|port| port.parse().unwrap()));
        let outcome = Bench::new().tls(port.unwrap()).look(NAME, ChallengeType::TlsAlpn01);
        server.kill().unwrap();
        server.wait().unwrap();
        outcome.unwrap();
    }
}
