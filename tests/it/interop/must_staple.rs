//! OCSP must-staple (RFC 7633), from a request by OpenSSL to a certificate as OpenSSL and the linter read it, by each setting of a profile.

use serde_json::json;

use super::judges::{Court, Purpose};
use crate::support::client::Answer;
use crate::support::service::{Database, Service, unique};
use crate::support::tools::{Scratch, openssl};

/// Asks for a certificate under a profile with the setting.
fn ask(setting: &str, request_asks: bool) -> Answer {
    let client = Service::shared(Database::Sqlite).administrator();
    let profile = unique("staple");
    let document = json!({
        "extended_key_usage": {"required": ["server_auth"]}, "dns": {"allow": ["**.internal"]}, "must_staple": setting,
    });
    client.put(&format!("/api/v1/profiles/{profile}")).json(&document).expect(201);
    let scratch = Scratch::new();
    let feature = if request_asks { "-addext tlsfeature=status_request" } else { "" };
    openssl(&format!(
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout {0}/key -out {0}/csr -subj /CN=staple.internal \
         -addext subjectAltName=DNS:staple.internal {feature}",
        scratch.path().display()
    ));
    client.post("/api/v1/certificates").json(&json!({"csr": scratch.read("csr"), "profile": profile})).send()
}

fn extension(certificate: &str) -> String {
    let scratch = Scratch::new();
    let file = scratch.write("certificate.pem", certificate);
    let text = openssl(&format!("x509 -in {} -noout -ext tlsfeature", file.display()));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn must_staple_is_written_where_the_profile_says_so() {
    let mut court: Option<Court> = None;
    for (setting, request_asks, is_written) in [
        ("required", false, true),
        ("required", true, true),
        ("allowed", true, true),
        ("allowed", false, false),
        ("forbidden", false, false),
    ] {
        let record = ask(setting, request_asks).expect(201).json();
        let extension = extension(record["certificate"].as_str().unwrap());
        let what = format!("{setting}, asked for: {request_asks}: {extension}");
        assert_eq!(extension.contains("TLS Feature: status_request"), is_written, "{what}");
        assert!(!extension.contains("critical"), "{what}");
        court.get_or_insert_with(|| Court::of(&record)).bring(&record, "staple.internal", Purpose::Server);
    }
    court.unwrap().judge();
}

#[test]
fn a_request_for_it_is_refused_by_name_where_the_profile_does_not_allow_it() {
    let refused = ask("forbidden", true).expect(422);
    assert_eq!(refused.violation_codes(), ["must_staple_not_allowed"]);
    let violation = &refused.json()["violations"][0];
    assert!(violation["message"].as_str().unwrap().contains("OCSP must-staple"), "{violation}");
}
