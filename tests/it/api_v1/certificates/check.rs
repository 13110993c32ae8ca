//! `POST /api/v1/certificates/check`: the judgement without the certificate.

use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::support::csr::Csr;
use crate::support::service::{Database, Service, issue_with, unique};

const CHECK: &str = "/api/v1/certificates/check";

#[test]
fn tells_what_would_be_issued_and_issues_nothing() {
    let client = Service::shared(Database::Sqlite).administrator();
    let name = format!("{}.internal", unique("checked"));
    let body =
        json!({"csr": Csr::for_dns(&[&name]).pem(), "profile": "peer", "subject_alt_names": ["spiffe://a.internal/b"]});
    let answer = client.post(CHECK).json(&body).expect(200).json();
    assert_json_snapshot!(answer, {
        ".certificate.subject_alt_names[0].value" => "[name]",
        ".certificate.key.spki_sha256" => "[digest]",
        ".certificate.not_before" => "[time]",
        ".certificate.not_after" => "[time]",
    });
    let listed = client.get(&format!("/api/v1/certificates?name={name}")).expect(200).json();
    assert_eq!(listed["items"], json!([]));
}

#[test]
fn tells_every_violation_as_the_refusal_would() {
    let client = Service::shared(Database::Sqlite).administrator();
    let csr =
        Csr::for_dns(&["www.example.org", "a..internal", "_x.internal"]).ip(&[8, 8, 8, 8]).common_name("cn.internal");
    let body = json!({"csr": csr.pem(), "profile": "server", "validity": "4000d"});
    let checked = client.post(CHECK).json(&body).expect(200);
    let refused = client.post("/api/v1/certificates").json(&body).expect(422);
    // The messages name moments, which vary.
    assert_eq!(told(&checked.json()), told(&refused.json()));
    assert_json_snapshot!(checked.json(), {
        ".violations[].message" => insta::dynamic_redaction(|message, _path| without_moments(message.as_str().unwrap())),
    });
}

/// Returns the violations of an answer without their moments: a second may pass between two requests.
fn told(answer: &Value) -> Value {
    let mut violations = answer["violations"].clone();
    for violation in violations.as_array_mut().unwrap() {
        violation["message"] = json!(without_moments(violation["message"].as_str().unwrap()));
    }
    violations
}

/// Puts `[moment]` in place of each `2030-01-31T12:00:00Z`.
fn without_moments(text: &str) -> String {
    let parts: Vec<&str> = text
        .split('`')
        .map(|part| if part.len() == 20 && part.ends_with('Z') && part.contains('T') { "[moment]" } else { part })
        .collect();
    parts.join("`")
}

/// What is checked is what is issued: the preview and the certificate agree.
#[test]
fn the_preview_is_the_certificate() {
    let client = Service::shared(Database::Sqlite).administrator();
    let csr = Csr::for_dns(&["B.internal", "a.internal"]).ip(&[10, 0, 0, 1]).common_name("a.internal").pem();
    let body = json!({"csr": csr, "profile": "server"});
    let preview = client.post(CHECK).json(&body).expect(200).json()["certificate"].clone();
    let record = issue_with(&client, &body);
    for field in ["subject", "subject_alt_names", "key"] {
        assert_eq!(preview[field], record[field], "{field}");
    }
}
