//! CRLs as tests want them: fetched as relying parties do, and parsed by the service's own inspection.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::Client;
use super::der;
use super::service::Service;
use super::tools::{Scratch, openssl};

/// Waits until something holds; a revocation is published within a few seconds.
#[track_caller]
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what} did not come to hold");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Returns the addresses in one extension of a certificate, by OpenSSL's name for it.
pub(crate) fn addresses(record: &Value, extension: &str) -> Vec<String> {
    let scratch = Scratch::new();
    let leaf = scratch.write("leaf.pem", record["certificate"].as_str().unwrap());
    let text = openssl(&format!("x509 -in {} -noout -ext {extension}", leaf.display()));
    text.split("URI:").skip(1).map(|part| part.split_whitespace().next().unwrap().to_owned()).collect()
}

/// Returns where a certificate says that its CRL is, and its delta CRL, if it has one.
pub(crate) fn distribution(record: &Value) -> (String, Option<String>) {
    let points = addresses(record, "crlDistributionPoints");
    assert_eq!(points.len(), 1, "{points:?}");
    let mut freshest = addresses(record, "freshestCRL");
    assert!(freshest.len() < 2, "{freshest:?}");
    (points[0].clone(), freshest.pop())
}

/// Fetches a CRL as anybody does.
#[track_caller]
pub(crate) fn fetch(service: &Service, address: &str) -> Vec<u8> {
    let address = address.find("/pki/").map_or(address, |at| &address[at..]);
    Client::new(service.public(), None).get(address).expect(200).body
}

/// Fetches a CRL and returns what the service's inspection finds in it.
#[track_caller]
pub(crate) fn inspected(service: &Service, address: &str) -> Value {
    let crl = fetch(service, address);
    let found = service.administrator().post("/api/v1/inspect").body("application/pkix-crl", crl).expect(200).json();
    assert_eq!(found["items"][0]["type"], "crl", "{found}");
    found["items"][0].clone()
}

/// Returns the serial numbers of one list of an inspected CRL: `entries` or `removed`.
pub(crate) fn serials(crl: &Value, list: &str) -> Vec<String> {
    let entries = crl[list].as_array().unwrap();
    entries.iter().map(|entry| entry["serial"].as_str().unwrap().to_owned()).collect()
}

/// Changes the state of a certificate: `revoke` with a reason, or `release`.
#[track_caller]
pub(crate) fn revoke(service: &Service, record: &Value, reason: &str) {
    let path = format!("/api/v1/certificates/{}/revoke", record["serial"].as_str().unwrap());
    service.administrator().post(&path).json(&json!({"reason": reason})).expect(200);
}

/// Releases a certificate from hold.
#[track_caller]
pub(crate) fn release(service: &Service, record: &Value) {
    let path = format!("/api/v1/certificates/{}/release", record["serial"].as_str().unwrap());
    service.administrator().post(&path).expect(200);
}

/// Publishes the CRLs of the issuing CA now, and returns the answer.
#[track_caller]
pub(crate) fn publish(service: &Service) -> Value {
    service.administrator().post("/api/v1/issuers/issuing/crl").expect(200).json()
}

/// Turns DER into PEM.
pub(crate) fn to_pem(crl: &[u8]) -> String {
    der::pem("X509 CRL", crl)
}
