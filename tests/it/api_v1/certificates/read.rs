//! `GET /api/v1/certificates/{serial}`: the record and every other form, by suffix and by `Accept`.

use crate::support::der;
use crate::support::service::{Database, Service};
use crate::support::tools::{Scratch, openssl};

#[test]
fn every_form_is_the_same_certificate() {
    let service = Service::shared(Database::Sqlite);
    let client = service.administrator();
    let record = service.issue(&["forms.internal"]);
    let serial = record["serial"].as_str().unwrap();
    let pem = record["certificate"].as_str().unwrap();
    let chain = record["chain"][0].as_str().unwrap();
    let der = der::from_pem("CERTIFICATE", pem);
    let path = format!("/api/v1/certificates/{serial}");
    for (suffix, media_type) in [
        (".pem", "application/x-pem-file"),
        (".fullchain.pem", "application/pem-certificate-chain"),
        (".der", "application/pkix-cert"),
        (".p7b", "application/pkcs7-mime"),
        (".txt", "text/plain"),
    ] {
        let by_suffix = client.get(&format!("{path}{suffix}")).expect(200);
        let by_accept = client.get(&path).header("accept", media_type).expect(200);
        assert_eq!(by_suffix.body, by_accept.body, "{suffix}");
        assert!(by_suffix.header("content-type").starts_with(media_type), "{}", by_suffix.header("content-type"));
        assert_eq!(by_suffix.header("content-type"), by_accept.header("content-type"));
        assert_eq!(by_accept.header("vary"), "Accept");
        match suffix {
            ".pem" => assert_eq!(by_suffix.text(), pem),
            ".fullchain.pem" => assert_eq!(by_suffix.text(), format!("{pem}{chain}")),
            ".der" => assert_eq!(by_suffix.body, der),
            ".p7b" => {
                let scratch = Scratch::new();
                let file = scratch.write("certificate.p7b", &by_suffix.body);
                let shown = openssl(&format!("pkcs7 -inform DER -in {} -print_certs", file.display()));
                assert_eq!(shown.matches("-----BEGIN CERTIFICATE-----").count(), 2, "{shown}");
                assert!(shown.contains("forms.internal") || shown.contains(pem.lines().nth(1).unwrap()), "{shown}");
            }
            _ => assert!(by_suffix.text().contains("forms.internal"), "{}", by_suffix.text()),
        }
    }
    assert_eq!(client.get(&path).header("accept", "text/html, */*;q=0.1").expect(200).json(), record);
    assert_eq!(client.get(&path).header("accept", "image/png").expect(406).problem_code(), "not_acceptable");
}

#[test]
fn serials_may_have_colons_and_upper_case() {
    let service = Service::shared(Database::Sqlite);
    let client = service.administrator();
    let record = service.issue(&["serial.internal"]);
    let serial = record["serial"].as_str().unwrap().to_uppercase();
    let colons: Vec<&str> = (0..20).map(|at| &serial[at * 2..at * 2 + 2]).collect();
    assert_eq!(client.get(&format!("/api/v1/certificates/{serial}")).expect(200).json(), record);
    assert_eq!(client.get(&format!("/api/v1/certificates/{}", colons.join(":"))).expect(200).json(), record);
}

#[test]
fn what_does_not_exist_is_not_found() {
    let service = Service::shared(Database::Sqlite);
    let client = service.administrator();
    let serial = service.issue(&["exists.internal"])["serial"].as_str().unwrap().to_owned();
    for (path, status, code) in [
        ("/api/v1/certificates/0123456789abcdef".to_owned(), 404, "not_found"),
        (format!("/api/v1/certificates/{serial}.exe"), 404, "not_found"),
        (format!("/api/v1/certificates/{serial}/key"), 404, "not_found"),
        ("/api/v1/certificates/xyz".to_owned(), 400, "malformed"),
        (format!("/api/v1/certificates/{}", "a".repeat(100)), 400, "malformed"),
        ("/api/v2/certificates".to_owned(), 404, "not_found"),
    ] {
        assert_eq!(client.get(&path).expect(status).problem_code(), code, "{path}");
    }
}
