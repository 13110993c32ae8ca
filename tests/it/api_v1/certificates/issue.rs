//! `POST /api/v1/certificates`: what comes back, and what is in the certificate.

use insta::assert_json_snapshot;
use serde_json::json;

use crate::support::csr::Csr;
use crate::support::der;
use crate::support::service::{Database, Service, issue_with, unique};
use crate::support::tools::{Scratch, openssl};

#[test]
fn the_record_has_everything_and_the_location_leads_to_it() {
    let service = Service::shared(Database::Sqlite);
    let client = service.administrator();
    let csr = Csr::for_dns(&["APP.Internal", "app.internal", "*.app.internal"])
        .ip(&[127, 0, 0, 1])
        .common_name_and_organization("app.internal", "Müller & Söhne");
    let answer = client
        .post("/api/v1/certificates")
        .json(&json!({
            "csr": csr.pem(),
            "profile": "server",
            "validity": "36h",
            "subject_alt_names": ["added.internal", {"type": "ip", "value": "fd00:0:0::1"}, "app.internal"],
            "labels": {"team": "shop", "env": ""},
        }))
        .expect(201);
    let record = answer.json();
    assert_json_snapshot!(record, {
        ".serial" => "[serial]",
        ".key.spki_sha256" => "[digest]",
        ".not_before" => "[time]",
        ".not_after" => "[time]",
        ".issued_at" => "[time]",
        ".fingerprint_sha256" => "[digest]",
        ".certificate" => "[pem]",
        ".chain[]" => "[pem]",
        ".root" => "[pem]",
    });
    let location = answer.header("location").to_owned();
    assert_eq!(location, format!("/api/v1/certificates/{}", record["serial"].as_str().unwrap()));
    assert_eq!(client.get(&location).expect(200).json(), record);
    assert_eq!(record["root"], service.root_pem());
}

/// What OpenSSL sees in a certificate, line by line.
#[test]
fn the_certificate_is_as_documented() {
    let service = Service::shared(Database::Sqlite);
    let record = issue_with(
        &service.administrator(),
        &json!({"csr": Csr::for_dns(&["shown.internal"]).common_name("shown.internal").pem(), "profile": "server", "validity": "1d"}),
    );
    let scratch = Scratch::new();
    let file = scratch.write("certificate.pem", record["certificate"].as_str().unwrap());
    let text = openssl(&format!(
        "x509 -in {} -noout -text -certopt no_pubkey,no_sigdump,no_validity,no_serial",
        file.display()
    ));
    let public = service.public();
    let text = text
        .replace(public, "http://[public]")
        .lines()
        .map(|line| {
            if line.trim().len() == 59 && line.contains(':') { "                [key identifier]" } else { line }
                .trim_end()
        })
        .collect::<Vec<_>>()
        .join("\n");
    insta::assert_snapshot!(text);

    let serial = openssl(&format!("x509 -in {} -noout -serial", file.display()));
    assert_eq!(serial.trim().trim_start_matches("serial=").to_lowercase(), record["serial"].as_str().unwrap());
    assert_eq!(record["serial"].as_str().unwrap().len(), 40, "20 octets");
    let root = scratch.write("root.pem", record["root"].as_str().unwrap());
    let intermediate = scratch.write("issuing.pem", record["chain"][0].as_str().unwrap());
    let issuing = openssl(&format!("x509 -in {} -noout -ext basicConstraints,keyUsage", intermediate.display()));
    assert!(issuing.contains("CA:TRUE, pathlen:0") && issuing.contains("Certificate Sign, CRL Sign"), "{issuing}");
    let root_text = openssl(&format!("x509 -in {} -noout -ext basicConstraints,keyUsage", root.display()));
    assert!(root_text.contains("CA:TRUE") && !root_text.contains("pathlen"), "{root_text}");
}

#[test]
fn an_empty_subject_makes_the_names_critical() {
    let service = Service::shared(Database::Sqlite);
    let record = service.issue(&["nameless.internal"]);
    let scratch = Scratch::new();
    let file = scratch.write("certificate.pem", record["certificate"].as_str().unwrap());
    let text = openssl(&format!("x509 -in {} -noout -ext subjectAltName", file.display()));
    assert!(text.contains("Subject Alternative Name: critical"), "{text}");
    assert_eq!(record["subject"], "");
}

#[test]
fn the_body_may_replace_the_subject() {
    let service = Service::shared(Database::Sqlite);
    let csr = Csr::for_dns(&["subject.internal"]).common_name("other.internal");
    let subject =
        json!({"common_name": "subject.internal", "organization": "Example", "organizational_unit": ["a", "b"]});
    let body = json!({"csr": csr.pem(), "profile": "server", "subject": subject});
    let record = issue_with(&service.administrator(), &body);
    let scratch = Scratch::new();
    let file = scratch.write("certificate.pem", record["certificate"].as_str().unwrap());
    let shown = openssl(&format!("x509 -in {} -noout -subject", file.display()));
    assert_eq!(shown.trim(), "subject=O = Example, OU = a, OU = b, CN = subject.internal");
}

/// Validity is what was asked for, counted from the moment of issue, with the backdating before it.
#[test]
fn validity_is_what_was_asked_for() {
    let client = Service::shared(Database::Sqlite).administrator();
    let seconds = |record: &serde_json::Value, name: &str| {
        time::OffsetDateTime::parse(record[name].as_str().unwrap(), &time::format_description::well_known::Rfc3339)
            .unwrap()
            .unix_timestamp()
    };
    let csr = Csr::for_dns(&["validity.internal"]).pem();
    let record = issue_with(&client, &json!({"csr": csr, "profile": "server", "validity": "10d"}));
    // Five minutes, unless the issuer is younger.
    let backdated = seconds(&record, "issued_at") - seconds(&record, "not_before");
    let issuing = client.get("/api/v1/issuers/issuing").expect(200).json();
    assert!(backdated == 300 || record["not_before"] == issuing["not_before"], "{backdated} seconds");
    let length = seconds(&record, "not_after") - seconds(&record, "issued_at");
    assert!((10 * 86_400 - 1..=10 * 86_400).contains(&length), "{length} seconds");
    let not_after = (time::OffsetDateTime::now_utc() + time::Duration::days(20)).replace_nanosecond(0).unwrap();
    let not_after = not_after.format(&time::format_description::well_known::Rfc3339).unwrap();
    let record = issue_with(&client, &json!({"csr": csr, "profile": "server", "not_after": not_after}));
    assert_eq!(record["not_after"], not_after);
}

#[test]
fn a_raw_request_takes_the_rest_from_the_query_and_the_form_of_the_answer_from_accept() {
    let client = Service::shared(Database::Sqlite).administrator();
    let answer = client
        .post("/api/v1/certificates?profile=client&validity=2h&label=team:a&label=team2:b:c")
        .header("accept", "application/pem-certificate-chain")
        .body("application/pkcs10", Csr::new().uri("spiffe://cluster.internal/web").email("a@example.com").der())
        .expect(201);
    assert_eq!(answer.header("content-type"), "application/pem-certificate-chain");
    assert_eq!(answer.text().matches("-----BEGIN CERTIFICATE-----").count(), 2, "leaf and issuing CA, not the root");
    let record = client.get(answer.header("location")).expect(200).json();
    assert_eq!(record["labels"], json!({"team": "a", "team2": "b:c"}));
    assert_eq!(record["profile"], "client");
    let certificate = record["certificate"].as_str().unwrap();
    assert!(answer.text().starts_with(certificate));
}

/// The request's own bytes are kept: names and subject in the certificate are those of the request, octet by octet.
#[test]
fn the_subject_is_copied_octet_by_octet() {
    let client = Service::shared(Database::Sqlite).administrator();
    let subject: [(&str, u8, &[u8]); 3] = [
        ("2.5.4.6", der::PRINTABLE_STRING, b"GB"),
        ("2.5.4.10", der::PRINTABLE_STRING, b"Printable"),
        ("2.5.4.11", der::UTF8_STRING, "Größe".as_bytes()),
    ];
    let csr = Csr::for_dns(&["raw.internal"]).subject(&subject);
    let record = issue_with(&client, &json!({"csr": csr.pem(), "profile": "server"}));
    let certificate = der::from_pem("CERTIFICATE", record["certificate"].as_str().unwrap());
    let raw = der::name(&subject);
    assert!(certificate.windows(raw.len()).any(|window| window == raw), "the subject's DER is in the certificate");
}

#[test]
fn a_requester_issues_within_its_grants_and_owns_the_certificate() {
    let service = Service::shared(Database::Sqlite);
    let grants = json!({"profiles": ["server"], "names": {"dns": {"allow": ["*.shop.internal"]}}});
    let requester = service.with_grants("requester", &grants);
    let name = format!("{}.shop.internal", unique("granted"));
    let record = issue_with(&requester, &json!({"csr": Csr::for_dns(&[&name]).pem(), "profile": "server"}));
    assert!(record["requester"].as_str().unwrap().starts_with("token:requester-"), "{record}");
    let listed = requester.get("/api/v1/certificates").expect(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(listed["items"][0]["serial"], record["serial"]);
}
