//! Requests that get no answer: each the error that RFC 6960 has for it, never a failure of HTTP.

use chancery::x509::ocsp::{ErrorStatus, HashAlgorithm, MAXIMUM_CERT_IDS, MAXIMUM_REQUEST, OcspRequest};

use super::asking::{Asked, Relying, serial};
use crate::support::client::{Answer, Client};
use crate::support::service::{Database, Service};

fn refusal(answer: &Answer, relying: &Relying) -> ErrorStatus {
    assert_eq!(answer.header("cache-control"), "no-store");
    Asked::read(answer, &relying.issuer).refusal().unwrap()
}

#[test]
fn what_is_no_request_is_malformed() {
    let service = Service::shared(Database::Sqlite);
    let relying = Relying::of(service);
    let good = relying.request(serial(&service.issue(&["asked.internal"])));
    let id = relying.id(HashAlgorithm::Sha1, "01");
    let mut bodies = vec![
        Vec::new(),
        b"hello".to_vec(),
        good[..good.len() - 1].to_vec(),
        [good.as_slice(), &[0]].concat(),
        vec![0x30; MAXIMUM_REQUEST + 1],
        vec![0; 1024 * 1024],
        OcspRequest::encode(&[], None),
        OcspRequest::encode(&vec![id.clone(); MAXIMUM_CERT_IDS + 1], None),
        OcspRequest::encode(std::slice::from_ref(&id), Some(&[])),
        OcspRequest::encode(std::slice::from_ref(&id), Some(&[0; 129])),
    ];
    // Each octet changed is another request or none, and never more than that.
    for position in 0..good.len() {
        let mut changed = good.clone();
        changed[position] ^= 0x41;
        let answer = relying.post(changed);
        let said = Asked::read(&answer, &relying.issuer);
        assert!(!matches!(said.refusal(), Some(ErrorStatus::InternalError | ErrorStatus::TryLater)), "{position}");
    }
    for body in bodies.drain(..) {
        let shown = hex::encode(body.get(..20).unwrap_or(&body));
        assert_eq!(refusal(&relying.post(body), &relying), ErrorStatus::MalformedRequest, "{shown}");
    }
    let client = Client::new(service.public(), None);
    for media_type in ["application/json", "text/plain", "application/ocsp-response"] {
        let answer = client.post("/ocsp/issuing").body(media_type, good.clone()).send();
        assert_eq!(refusal(&answer, &relying), ErrorStatus::MalformedRequest, "{media_type}");
    }
    let answer = client.post("/ocsp/issuing").body("application/ocsp-request", good.clone());
    let answer = answer.header("content-encoding", "gzip").send();
    assert_eq!(refusal(&answer, &relying), ErrorStatus::MalformedRequest);
    for path in ["/ocsp/issuing/", "/ocsp/issuing/***", "/ocsp/issuing/MAAA", "/ocsp/issuing/%", "/ocsp/issuing/%4"] {
        assert_eq!(refusal(&client.get(path).send(), &relying), ErrorStatus::MalformedRequest, "{path}");
    }
}

#[test]
fn certificates_of_other_cas_are_none_of_ours() {
    let service = Service::shared(Database::Sqlite);
    let relying = Relying::of(service);
    let root = Relying::of_issuer(service, "root");
    let record = service.issue(&["foreign.internal"]);
    // The right certificate at the wrong responder, and the wrong one at the right responder.
    let at = |name: &str, request: Vec<u8>| {
        let client = Client::new(service.public(), None);
        client.post(&format!("/ocsp/{name}")).body("application/ocsp-request", request).send()
    };
    let elsewhere = Relying::of(Service::shared(Database::Postgres));
    for answer in [
        at("root", relying.request(serial(&record))),
        at("issuing", root.request(serial(&record))),
        at("issuing", elsewhere.request(serial(&record))),
        at("nobody", relying.request(serial(&record))),
        at("issuing.2", relying.request(serial(&record))),
    ] {
        assert_eq!(refusal(&answer, &relying), ErrorStatus::Unauthorized);
    }
}

#[test]
fn other_methods_are_not_taken() {
    let service = Service::shared(Database::Sqlite);
    let client = Client::new(service.public(), None);
    assert_eq!(client.get("/ocsp/issuing").expect(405).header("allow"), "POST");
    assert_eq!(client.put("/ocsp/issuing").expect(405).header("allow"), "POST");
    assert_eq!(client.post("/ocsp/issuing/MAAA").expect(405).header("allow"), "GET, HEAD");
    assert_eq!(client.get("/ocsp").send().status, 404);
}
