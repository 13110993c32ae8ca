//! `POST /api/v1/inspect`: what a person pastes, parsed.

use serde_json::{Value, json};

use crate::support::csr::Csr;
use crate::support::service::{Database, Service};

#[test]
fn every_kind_of_object_is_parsed() {
    let service = Service::shared(Database::Sqlite);
    let client = service.administrator();
    let record = service.issue(&["inspected.internal"]);
    let csr = Csr::for_dns(&["inspected.internal"]).common_name("inspected.internal").pem();
    let crl = client.get("/api/v1/issuers/issuing/crl").expect(200).text();
    let certificate = record["certificate"].as_str().unwrap();
    let all = format!("{csr}{certificate}{}{crl}", record["chain"][0].as_str().unwrap());
    let items = client.post("/api/v1/inspect").json(&json!({"input": all})).expect(200).json();
    let items = items["items"].as_array().unwrap();
    assert_eq!(items.len(), 4, "{items:?}");
    let text: Vec<String> = items.iter().map(Value::to_string).collect();
    assert!(text[0].contains("inspected.internal") && text[1].contains(record["serial"].as_str().unwrap()), "{text:?}");
    let raw = client.post("/api/v1/inspect").body("application/x-pem-file", all).expect(200).json();
    assert_eq!(raw["items"].as_array().unwrap(), items);
    let der = crate::support::der::from_pem("CERTIFICATE", certificate);
    let raw = client.post("/api/v1/inspect").body("application/pkix-cert", der).expect(200).json();
    assert_eq!(raw["items"][0], items[1]);
}

#[test]
fn what_is_not_an_object_is_refused() {
    let client = Service::shared(Database::Sqlite).administrator();
    for input in ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "MIIB"] {
        let answer = client.post("/api/v1/inspect").json(&json!({"input": input})).send();
        assert_eq!(answer.status, 400, "{input:?}: {}", answer.text());
        assert!(["malformed", "bad_csr"].contains(&answer.problem_code().as_str()));
    }
}

/// A private key that was pasted by mistake is not shown again.
#[test]
fn private_keys_are_not_echoed() {
    let client = Service::shared(Database::Sqlite).administrator();
    let key = crate::support::csr::Key::new().to_pem();
    let answer = client.post("/api/v1/inspect").json(&json!({"input": key})).send();
    let body = key.lines().nth(1).unwrap();
    assert!(!answer.text().contains(body), "{}", answer.text());
}
