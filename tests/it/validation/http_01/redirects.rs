//! Redirects: which are followed, how far, and where to.

use chancery::policy::acme::ChallengeType;

use super::super::fixture::{Bench, KEY_AUTHORIZATION, NAME, TOKEN, assert_failure};
use super::{look, look_at};
use crate::support::responders::certificate::ChallengeCertificate;
use crate::support::responders::tls::{Presented, TlsResponder};
use crate::support::responders::{HttpResponder, Reply};

/// A server that redirects from the first path to a location, and has the key authorization at `/there`.
fn redirecting(status: u16, location: &'static str) -> HttpResponder {
    HttpResponder::start(move |asked| match asked.path() {
        "/there" | "/there?a=b" => Reply::status(200, KEY_AUTHORIZATION),
        _ => Reply::redirect(status, location),
    })
}

#[test]
fn redirects_are_followed_with_301_302_307_and_308() {
    for status in [301, 302, 307, 308] {
        let server = redirecting(status, "/there");
        let validated = look(&server).unwrap();
        assert_eq!(server.asked()[1].line(), "GET /there HTTP/1.1");
        let port = server.port();
        assert_eq!(validated.evidence[2], format!("http at {NAME} port {port}: status {status}"));
        assert_eq!(validated.evidence[5], format!("http at {NAME} port {port}: status 200"));
    }
}

#[test]
fn redirects_with_other_statuses_are_refused() {
    for status in [300, 303, 304, 305, 306, 399] {
        let server = redirecting(status, "/there");
        let refused = format!("redirects with the status {status}");
        assert_failure(look(&server), "incorrectResponse", false, &[&refused, "301, 302, 307 and 308"]);
        assert_eq!(server.asked().len(), 1);
    }
}

#[test]
fn a_fragment_is_left_out_and_a_query_is_kept() {
    let server = redirecting(301, "/there?a=b#fragment");
    look(&server).unwrap();
    assert_eq!(server.asked()[1].line(), "GET /there?a=b HTTP/1.1");
}

#[test]
fn a_redirect_may_lead_to_another_host_which_is_resolved() {
    let there = HttpResponder::always(Reply::status(200, KEY_AUTHORIZATION));
    let port = there.port();
    let elsewhere = std::net::SocketAddr::from(([127, 0, 0, 2], port));
    let here = HttpResponder::start_at(elsewhere, move |_| {
        Reply::redirect(302, &format!("http://Other.Internal.:{port}/there"))
    });
    let bench = Bench::new().http(port);
    bench.dns.add_address("first.internal", here.address().ip());
    bench.dns.add_address("other.internal", there.address().ip());
    bench.look("first.internal", ChallengeType::Http01).unwrap();
    assert_eq!(here.asked().len(), 1);
    assert_eq!(there.asked()[0].line(), "GET /there HTTP/1.1");
    assert_eq!(there.asked()[0].field("host"), [format!("other.internal:{port}")]);
}

/// Web servers send everything to `https`, also when the certificate is the one that is yet to be renewed.
#[test]
fn a_redirect_may_lead_to_https_with_any_certificate() {
    let secure = TlsResponder::https(Presented::one(&ChallengeCertificate::new(Vec::new())), |_| {
        Reply::status(200, KEY_AUTHORIZATION)
    });
    for (host, server_name) in [(NAME, Some(NAME.to_owned())), ("127.0.0.1", None)] {
        let location = format!("https://{host}:{}/.well-known/acme-challenge/{TOKEN}", secure.port());
        let server = HttpResponder::start(move |_| Reply::redirect(301, &location));
        let bench = Bench::new().http(server.port()).tls(secure.port());
        bench.look(NAME, ChallengeType::Http01).unwrap();
        let greeted = secure.greeted().pop().unwrap();
        assert_eq!((greeted.server_name, greeted.protocols), (server_name, vec!["http/1.1".to_owned()]));
        let asked = secure.asked().pop().unwrap();
        assert_eq!(asked.line(), format!("GET /.well-known/acme-challenge/{TOKEN} HTTP/1.1"));
        assert_eq!(asked.field("host"), [format!("{host}:{}", secure.port())]);
    }
}

#[test]
fn tls_1_2_is_enough_for_a_redirect() {
    let presented = Presented::one(&ChallengeCertificate::new(Vec::new())).version(&rustls::version::TLS12);
    let secure = TlsResponder::https(presented, |_| Reply::status(200, KEY_AUTHORIZATION));
    let location = format!("https://{NAME}:{}/", secure.port());
    let server = HttpResponder::start(move |_| Reply::redirect(301, &location));
    Bench::new().http(server.port()).tls(secure.port()).look(NAME, ChallengeType::Http01).unwrap();
}

#[test]
fn ten_redirects_are_followed_and_not_eleven() {
    let counting = |last: usize| {
        HttpResponder::start(move |asked| {
            let number = asked.path().strip_prefix("/hop/").map_or(0, |number| number.parse().unwrap());
            if number == last {
                Reply::status(200, KEY_AUTHORIZATION)
            } else {
                Reply::redirect(307, &format!("/hop/{}", number + 1))
            }
        })
    };
    let server = counting(10);
    look(&server).unwrap();
    assert_eq!(server.asked().len(), 11);
    let server = counting(11);
    assert_failure(look(&server), "incorrectResponse", false, &["more than 10 redirects"]);
    assert_eq!(server.asked().len(), 11);
}

#[test]
fn redirects_in_a_circle_are_noticed() {
    let server = HttpResponder::start(|asked| match asked.path() {
        "/a" => Reply::redirect(302, "/b"),
        "/b" => Reply::redirect(302, "/a#again"),
        _ => Reply::redirect(302, "/a"),
    });
    assert_failure(look(&server), "incorrectResponse", false, &["in a circle"]);
    assert_eq!(server.asked().len(), 3);
    let server = HttpResponder::start(|asked| Reply::redirect(302, asked.path()));
    assert_failure(look(&server), "incorrectResponse", false, &["in a circle"]);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn redirects_elsewhere_are_refused() {
    let long = format!("/{}", "a".repeat(2000));
    for (location, why) in [
        ("ftp://app.internal/", "another scheme"),
        ("gopher://app.internal:70/_x", "another scheme"),
        ("http://user:pass@app.internal/there", "user information"),
        ("http://app.internal:22/there", "port 22"),
        ("https://app.internal:80/there", "port 80"),
        ("http:///", "not a URL"),
        ("http://app!internal/", "neither a DNS name nor an address"),
        (&long, "a path of 2001 octets"),
        ("//[::1", "not a URL"),
    ] {
        let outcome = look_at(Reply::redirect(301, location));
        assert_failure(outcome, "incorrectResponse", false, &[why, "redirects to"]);
    }
}

#[test]
fn a_redirect_needs_exactly_one_location_in_ascii() {
    let without = "HTTP/1.1 301 X\r\nContent-Length: 0\r\n\r\n";
    let twice = "HTTP/1.1 301 X\r\nLocation: /a\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n";
    let foreign = "HTTP/1.1 301 X\r\nLocation: /\u{e4}\r\nContent-Length: 0\r\n\r\n";
    for octets in [without, twice, foreign] {
        let outcome = look_at(Reply::Octets(octets.as_bytes().to_vec()));
        assert_failure(outcome, "incorrectResponse", false, &["without exactly one `Location`"]);
    }
}

#[test]
fn what_a_location_says_is_not_shown_but_for_the_start_of_its_host() {
    let host = format!("{}.internal", "a".repeat(63));
    let location = format!("http://{host}:81/SECRET?SECRET#SECRET");
    let detail = assert_failure(look_at(Reply::redirect(301, &location)), "incorrectResponse", false, &["port 81"]);
    assert!(!detail.contains("SECRET") && !detail.contains(&host), "{detail}");
    assert!(detail.contains(&format!("`{}....`", "a".repeat(63))), "{detail}");
}
