//! Servers that are slow, endless, broken or curious about what we show.

use std::time::Duration;

use chancery::policy::acme::ChallengeType;

use super::super::fixture::{Bench, KEY_AUTHORIZATION, NAME, assert_failure};
use super::look_at;
use crate::support::responders::{HttpResponder, Reply};

const OK: &str = "HTTP/1.1 200 OK\r\n";

#[test]
fn a_body_may_be_128_octets_longer_than_the_key_authorization() {
    look_at(Reply::status(200, format!("{KEY_AUTHORIZATION}{}", " ".repeat(128)))).unwrap();
    let outcome = look_at(Reply::status(200, format!("{KEY_AUTHORIZATION}{}", " ".repeat(129))));
    assert_failure(outcome, "unauthorized", false, &["longer than the 87 octets expected"]);
}

#[test]
fn endless_bodies_are_cut_off() {
    let endless = Reply::Endless(format!("{OK}\r\n").into_bytes(), vec![b'a'; 4096]);
    assert_failure(look_at(endless), "unauthorized", false, &["longer than"]);
    let chunks = Reply::Endless(format!("{OK}Transfer-Encoding: chunked\r\n\r\n").into_bytes(), b"1\r\na\r\n".to_vec());
    assert_failure(look_at(chunks), "unauthorized", false, &["longer than"]);
    let announced =
        Reply::Stall(format!("{OK}Content-Length: 9223372036854775807\r\n\r\n{}", "a".repeat(500)).into_bytes());
    assert_failure(look_at(announced), "unauthorized", false, &["longer than"]);
}

#[test]
fn large_heads_are_cut_off() {
    let endless_field = Reply::Endless(format!("{OK}X: ").into_bytes(), vec![b'a'; 4096]);
    let endless_fields = Reply::Endless(OK.as_bytes().to_vec(), b"A: b\r\n".to_vec());
    let endless_status = Reply::Endless(b"HTTP/1.1 200 ".to_vec(), vec![b'a'; 4096]);
    let many: String = (0..101).map(|number| format!("X-{number}: y\r\n")).collect();
    let many = Reply::Octets(format!("{OK}{many}\r\n").into_bytes());
    for reply in [endless_field, endless_fields, endless_status, many] {
        assert_failure(look_at(reply), "incorrectResponse", false, &["16384 octets or 100 fields"]);
    }
    let fitting: String = (0..90).map(|number| format!("X-{number}: {}\r\n", "y".repeat(100))).collect();
    look_at(Reply::Octets(format!("{OK}{fitting}\r\n{KEY_AUTHORIZATION}").into_bytes())).unwrap();
}

#[test]
fn what_is_not_http_is_refused_and_not_shown() {
    for octets in [
        "SSH-2.0-SECRET\r\n",
        "220 SECRET ESMTP\r\n",
        "<html>SECRET</html>",
        "HTTP/2.0 200 SECRET\r\n\r\n",
        "HTTP/1.1 abc SECRET\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon SECRET\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: SECRET\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nSECRET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nSECRET\r\n",
        "\u{0}\u{1}\u{2}\u{3}\r\n\r\n",
    ] {
        let failure = look_at(Reply::Octets(octets.as_bytes().to_vec())).unwrap_err();
        let token = failure.error_type.token();
        assert!(token == "incorrectResponse" || token == "connection", "{octets:?}: {failure:?}");
        assert!(!failure.detail.contains("SECRET"), "{}", failure.detail);
        assert!(!failure.is_final);
    }
}

#[test]
fn connections_that_end_early_are_said_to() {
    for octets in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 87\r\n\r\nevaGx"] {
        let outcome = look_at(Reply::Octets(octets.as_bytes().to_vec()));
        assert_failure(outcome, "connection", false, &["ended before the HTTP answer was complete", "127.0.0.1"]);
    }
    assert_failure(
        look_at(Reply::Reset),
        "connection",
        false,
        &["ended before the HTTP answer was complete: connection reset"],
    );
}

#[test]
fn slow_answers_are_given_up_and_it_is_said_what_was_waited_for() {
    for (reply, awaited) in [
        (Reply::Stall(Vec::new()), "the head of the HTTP answer"),
        (Reply::Stall(format!("{OK}Content-").into_bytes()), "the head of the HTTP answer"),
        (Reply::Stall(format!("{OK}Content-Length: 87\r\n\r\nevaGx").into_bytes()), "the body of the HTTP answer"),
        (Reply::Stall(format!("{OK}\r\n{KEY_AUTHORIZATION}").into_bytes()), "the body of the HTTP answer"),
    ] {
        let server = HttpResponder::always(reply);
        let mut bench = Bench::new().http(server.port());
        bench.settings.attempt_timeout = Duration::from_millis(1500);
        let outcome = bench.look(NAME, ChallengeType::Http01);
        assert_failure(
            outcome,
            "connection",
            false,
            &["more than 1.5 seconds", awaited, &server.address().to_string()],
        );
    }
}

/// A server that sends an octet now and then does not keep a look alive: the bound is for the whole.
#[test]
fn interim_answers_without_end_are_given_up() {
    let server = HttpResponder::always(Reply::Endless(Vec::new(), b"HTTP/1.1 102 Processing\r\n\r\n".to_vec()));
    let mut bench = Bench::new().http(server.port());
    bench.settings.attempt_timeout = Duration::from_millis(1500);
    let outcome = bench.look(NAME, ChallengeType::Http01);
    assert_failure(outcome, "connection", false, &["the head of the HTTP answer"]);
}

#[test]
fn nothing_that_a_server_says_is_shown() {
    let fields = [("X-Secret", "SECRET"), ("Content-Type", "SECRET"), ("Server", "SECRET")];
    for status in [200, 404, 500, 301, 303] {
        let failure = look_at(Reply::with_fields(status, &fields, "SECRET")).unwrap_err();
        assert!(!failure.detail.contains("SECRET"), "{}", failure.detail);
        assert!(!failure.detail.contains("Any Reason"), "{}", failure.detail);
        assert!(failure.detail.is_ascii(), "{}", failure.detail);
    }
}
