//! Answers: each status, several certificates, nonces, both ways to ask, and what caches are told.

use std::collections::BTreeSet;

use chancery::x509::Timestamp;
use chancery::x509::crl::RevocationReason;
use chancery::x509::ocsp::{CertificateStatus, HashAlgorithm, OcspRequest};
use serde_json::json;

use super::asking::{Asked, Relying, serial};
use crate::support::client::{Client, RUNTIME};
use crate::support::service::{Database, Service};
use crate::support::tools::{Scratch, openssl};

/// A serial number that was never given.
const NEVER: &str = "0190000000000000000000000000000000000001";

#[test]
fn each_certificate_has_its_status_at_once() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let relying = Relying::of(service);
        let client = service.administrator();
        let record = service.issue(&["status.internal"]);
        let path = format!("/api/v1/certificates/{}", serial(&record));
        assert_eq!(relying.status(serial(&record)), CertificateStatus::Good, "{database:?}");
        assert_eq!(relying.status(NEVER), CertificateStatus::Unknown);

        client.post(&format!("{path}/revoke")).json(&json!({"reason": "certificate_hold"})).expect(200);
        let CertificateStatus::Revoked { reason, .. } = relying.status(serial(&record)) else {
            panic!("it is on hold")
        };
        assert_eq!(reason, RevocationReason::CertificateHold);
        client.post(&format!("{path}/release")).expect(200);
        assert_eq!(relying.status(serial(&record)), CertificateStatus::Good);

        let revoked = client.post(&format!("{path}/revoke")).json(&json!({"reason": "superseded"})).expect(200).json();
        let revoked_at: Timestamp = revoked["revocation"]["revoked_at"].as_str().unwrap().parse().unwrap();
        let expected = CertificateStatus::Revoked { revoked_at, reason: RevocationReason::Superseded };
        assert_eq!(relying.status(serial(&record)), expected);
        // A compromise that comes to light later changes the reason.
        client.post(&format!("{path}/revoke")).json(&json!({"reason": "key_compromise"})).expect(200);
        let expected = CertificateStatus::Revoked { revoked_at, reason: RevocationReason::KeyCompromise };
        assert_eq!(relying.status(serial(&record)), expected);
    }
}

#[test]
fn one_request_may_ask_for_several_certificates_under_either_hash() {
    let service = Service::shared(Database::Sqlite);
    let relying = Relying::of(service);
    let (good, bad) = (service.issue(&["one.internal"]), service.issue(&["two.internal"]));
    let path = format!("/api/v1/certificates/{}/revoke", serial(&bad));
    service.administrator().post(&path).json(&json!({"reason": "unspecified"})).expect(200);
    let other = Relying::of_issuer(service, "root");
    let ids = [
        relying.id(HashAlgorithm::Sha256, serial(&good)),
        relying.id(HashAlgorithm::Sha1, serial(&bad)),
        relying.id(HashAlgorithm::Sha1, NEVER),
        // A certificate of another CA.
        other.id(HashAlgorithm::Sha1, serial(&good)),
        relying.id(HashAlgorithm::Sha1, serial(&good)),
    ];
    for nonce in [None, Some([5_u8; 32].as_slice())] {
        let basic = Asked::read(&relying.post(OcspRequest::encode(&ids, nonce)), &relying.issuer).basic();
        let given: Vec<_> = basic.responses.iter().map(|response| response.cert_id.clone()).collect();
        assert_eq!(given, ids, "the identifiers come back octet for octet, in their order");
        assert_eq!(basic.nonce.as_deref(), nonce);
        let words: Vec<_> = basic
            .responses
            .iter()
            .map(|response| match response.status {
                CertificateStatus::Good => "good",
                CertificateStatus::Revoked { reason: RevocationReason::Unspecified, .. } => "revoked",
                CertificateStatus::Revoked { .. } => "revoked for a reason",
                CertificateStatus::Unknown => "unknown",
            })
            .collect();
        assert_eq!(words, ["good", "revoked", "unknown", "unknown", "good"]);
    }
}

#[test]
fn an_answer_without_nonce_is_signed_once_and_one_with_nonce_each_time() {
    let service = Service::shared(Database::Sqlite);
    let relying = Relying::of(service);
    let record = service.issue(&["kept.internal"]);
    let request = relying.request(serial(&record));
    let first = relying.post(request.clone()).body;
    assert_eq!(relying.post(request.clone()).body, first);
    assert_eq!(relying.get(&request, &[]).body, first);
    // Under the other hash it is another answer, which is kept beside it.
    let other = OcspRequest::encode(&[relying.id(HashAlgorithm::Sha256, serial(&record))], None);
    let second = relying.post(other.clone()).body;
    assert_ne!(second, first);
    assert_eq!((relying.post(other).body, relying.post(request).body), (second, first));
    for nonce in [[1_u8; 1].as_slice(), &[2; 128]] {
        let basic = relying.ask(&[serial(&record)], Some(nonce)).basic();
        assert_eq!(basic.nonce.as_deref(), Some(nonce));
        assert_eq!(basic.responses[0].status, CertificateStatus::Good);
    }
}

#[test]
fn of_many_that_ask_at_once_one_has_it_signed() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let relying = Relying::of(service);
        let record = service.issue(&["crowded.internal"]);
        let request = relying.request(serial(&record));
        let asked: Vec<_> = (0..32).map(|_| RUNTIME.spawn(relying.clone().send(request.clone()))).collect();
        let answers: BTreeSet<Vec<u8>> = asked.into_iter().map(|one| RUNTIME.block_on(one).unwrap()).collect();
        // No two signatures of ECDSA are the same.
        assert_eq!(answers.len(), 1, "{database:?}");
        Asked::from_der(answers.first().unwrap(), &relying.issuer).basic();
    }
}

#[test]
fn caches_are_told_how_long_an_answer_may_be_kept() {
    let service = Service::shared(Database::Sqlite);
    let relying = Relying::of(service);
    let record = service.issue(&["cached.internal"]);
    let request = relying.request(serial(&record));
    let answer = relying.get(&request, &[]);
    let basic = Asked::read(&answer, &relying.issuer).basic();
    let single = &basic.responses[0];
    let control = answer.header("cache-control");
    let age: u64 = control
        .strip_prefix("max-age=")
        .and_then(|rest| rest.strip_suffix(", public, no-transform, must-revalidate"))
        .unwrap_or_else(|| panic!("{control}"))
        .parse()
        .unwrap();
    let validity = single.next_update.unwrap().since(single.this_update).as_secs();
    assert_eq!(validity, 12 * 3600);
    assert!(age > validity / 2 - 60 && age <= validity / 2, "{age}");
    let date = |moment: Timestamp| {
        actix_web::http::header::HttpDate::from(std::time::SystemTime::from(moment.to_date_time())).to_string()
    };
    assert_eq!(answer.header("last-modified"), date(single.this_update));
    assert_eq!(answer.header("expires"), date(single.next_update.unwrap()));
    let tag = answer.header("etag").to_owned();
    for headers in [[("if-none-match", tag.as_str())], [("if-modified-since", answer.header("last-modified"))]] {
        let again = relying.get(&request, &headers);
        assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, tag.as_str()));
    }
    assert_eq!(relying.get(&request, &[("if-none-match", "\"another\"")]).body, answer.body);
    let posted = relying.post(request);
    assert_eq!((posted.header("etag"), &posted.body), (tag.as_str(), &answer.body));
    let with_nonce = OcspRequest::encode(&[relying.id(HashAlgorithm::Sha1, serial(&record))], Some(&[1; 16]));
    let answer = relying.get(&with_nonce, &[]);
    assert_eq!((answer.header("cache-control"), answer.header("etag")), ("no-store", ""));
    // What is not known may be imported: nobody is to believe for long that it does not exist.
    let unknown = Asked::read(&relying.get(&relying.request(NEVER), &[]), &relying.issuer).basic();
    assert_eq!(unknown.responses[0].next_update.unwrap().since(unknown.responses[0].this_update).as_secs(), 300);
}

#[test]
fn the_address_stands_in_certificates_and_leads_there() {
    let service = Service::shared(Database::Sqlite);
    let record = service.issue(&["told.internal"]);
    let scratch = Scratch::new();
    for (pem, path) in [(&record["certificate"], "/ocsp/issuing"), (&record["chain"][0], "/ocsp/root")] {
        let file = scratch.write("certificate.pem", pem.as_str().unwrap());
        let address = openssl(&format!("x509 -in {} -noout -ocsp_uri", file.display()));
        assert_eq!(address.trim(), format!("{}{path}", service.public()));
        let issuer = path.trim_start_matches("/ocsp/");
        let serial = openssl(&format!("x509 -in {} -noout -serial", file.display()));
        let serial = serial.trim().trim_start_matches("serial=");
        assert_eq!(Relying::of_issuer(service, issuer).status(serial), CertificateStatus::Good);
    }
}

#[test]
fn the_api_listener_answers_too() {
    let service = Service::shared(Database::Sqlite);
    let relying = Relying::of(service);
    let record = service.issue(&["elsewhere.internal"]);
    let request = relying.request(serial(&record));
    let answer = service.anonymous().post("/ocsp/issuing").body("application/ocsp-request", request).expect(200);
    assert_eq!(Asked::read(&answer, &relying.issuer).statuses(), [CertificateStatus::Good]);
    let head = Client::new(service.public(), None);
    let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, relying.request(serial(&record)));
    // Slashes of base64 may stand in the path as they are.
    let answer = head.request("HEAD", &format!("/ocsp/issuing/{}", encoded.replace('=', "%3D"))).expect(200);
    assert_eq!((answer.body.len(), answer.header("content-type")), (0, "application/ocsp-response"));
}
