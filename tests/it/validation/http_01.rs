//! http-01 (RFC 8555, section 8.3) against HTTP servers that answer rightly and wrongly.

mod connections;
mod hostile;
mod redirects;

use chancery::ca::acme::validation::{Validated, ValidationFailure};
use chancery::policy::acme::ChallengeType;

use super::fixture::{Bench, KEY_AUTHORIZATION, NAME, TOKEN, assert_failure};
use crate::support::responders::{HttpResponder, Reply};

/// Looks at the challenge of [`NAME`] at a server.
fn look(server: &HttpResponder) -> Result<Validated, ValidationFailure> {
    Bench::new().http(server.port()).look(NAME, ChallengeType::Http01)
}

/// Looks at the challenge at a server that always gives the same answer.
fn look_at(reply: Reply) -> Result<Validated, ValidationFailure> {
    look(&HttpResponder::always(reply))
}

#[test]
fn the_well_known_file_is_asked_for_once() {
    let server = HttpResponder::always(Reply::status(200, KEY_AUTHORIZATION));
    let validated = look(&server).unwrap();
    let [asked] = <[_; 1]>::try_from(server.asked()).unwrap();
    assert_eq!(asked.line(), format!("GET /.well-known/acme-challenge/{TOKEN} HTTP/1.1"));
    assert_eq!(asked.field("host"), [format!("{NAME}:{}", server.port())]);
    assert_eq!(asked.field("connection"), ["close"]);
    assert_eq!(asked.field("accept-encoding"), ["identity"]);
    assert!(asked.field("user-agent")[0].starts_with("chancery/"), "{}", asked.head);
    assert_eq!(asked.head.lines().filter(|line| !line.is_empty()).count(), 6, "{}", asked.head);
    assert_eq!(
        validated.evidence,
        [
            format!("{NAME} has 127.0.0.1"),
            format!("{}: connected", server.address()),
            format!("http at {NAME} port {}: status 200", server.port())
        ]
    );
    assert_eq!(validated.until, None);
}

#[test]
fn any_content_type_and_any_framing_will_do() {
    for fields in [
        &[][..],
        &[("Content-Type", "application/octet-stream")],
        &[("Content-Type", "text/html; charset=utf-16")],
        &[("Content-Type", "nonsense"), ("Content-Encoding", "identity")],
    ] {
        look_at(Reply::with_fields(200, fields, KEY_AUTHORIZATION)).unwrap();
    }
    let (first, second) = KEY_AUTHORIZATION.split_at(40);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x};a=b\r\n{second}\r\n0\r\nTrailer: x\r\n\r\n",
        first.len(),
        second.len()
    );
    look_at(Reply::Octets(chunked.into_bytes())).unwrap();
    look_at(Reply::Octets(format!("HTTP/1.0 200 OK\r\n\r\n{KEY_AUTHORIZATION}").into_bytes())).unwrap();
    let early = format!(
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200\r\nContent-Length: {}\r\n\r\n{KEY_AUTHORIZATION}",
        KEY_AUTHORIZATION.len()
    );
    look_at(Reply::Octets(early.into_bytes())).unwrap();
}

#[test]
fn whitespace_counts_before_the_key_authorization_and_not_after_it() {
    for end in ["\n", "\r\n", " ", "\t\n \r\n"] {
        look_at(Reply::status(200, format!("{KEY_AUTHORIZATION}{end}"))).unwrap();
    }
    for start in ["\n", " ", "\r\n"] {
        let outcome = look_at(Reply::status(200, format!("{start}{KEY_AUTHORIZATION}")));
        assert_failure(outcome, "unauthorized", false, &["whitespace before"]);
    }
}

#[test]
fn only_the_status_200_will_do() {
    for status in [201, 202, 203, 205, 206, 400, 401, 403, 404, 410, 418, 429, 500, 503, 599] {
        let outcome = look_at(Reply::status(status, KEY_AUTHORIZATION));
        assert_failure(outcome, "unauthorized", false, &[&format!("its HTTP status is {status}, expected is 200")]);
    }
    // Neither has a body, whatever follows.
    for status in [204, 304] {
        let outcome = look_at(Reply::Octets(format!("HTTP/1.1 {status} X\r\n\r\n").into_bytes()));
        let error_type = if status == 204 { "unauthorized" } else { "incorrectResponse" };
        assert_failure(outcome, error_type, false, &[&status.to_string()]);
    }
}

#[test]
fn another_body_is_refused_and_not_shown() {
    for (body, why) in [
        ("SECRET", "something else"),
        ("", "body is empty"),
        ("<html>SECRET</html>", "looks like a web page"),
        ("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA", "the token alone"),
        ("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.SECRET", "another account key"),
    ] {
        let detail =
            assert_failure(look_at(Reply::status(200, body)), "unauthorized", false, &[why, NAME, "127.0.0.1"]);
        assert!(!detail.contains("SECRET"), "{detail}");
    }
    let outcome = look_at(Reply::with_fields(200, &[("Content-Encoding", "gzip")], "\x1f\u{8}SECRET"));
    assert_failure(outcome, "unauthorized", false, &["content coding"]);
}

#[test]
fn an_address_is_asked_for_by_itself() {
    for (address, host) in [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")] {
        let listen = std::net::SocketAddr::new(address.parse().unwrap(), 0);
        let server = HttpResponder::start_at(listen, |_| Reply::status(200, KEY_AUTHORIZATION));
        let bench = Bench::new().http(server.port());
        let validated = bench.look(address, ChallengeType::Http01).unwrap();
        assert_eq!(server.asked()[0].field("host"), [format!("{host}:{}", server.port())]);
        assert_eq!(validated.evidence[0], format!("{}: connected", server.address()));
        assert!(bench.dns.asked(address).is_empty());
    }
}

#[test]
fn wildcards_are_not_looked_at() {
    let server = HttpResponder::always(Reply::status(200, KEY_AUTHORIZATION));
    let outcome = Bench::new().http(server.port()).look(&format!("*.{NAME}"), ChallengeType::Http01);
    assert_failure(outcome, "malformed", true, &["`http-01` does not prove control of `*.app.internal`"]);
    assert_eq!(server.asked(), []);
}
