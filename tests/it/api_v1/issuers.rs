//! `/api/v1/issuers`: list, read, certificate, chain, CRL; what changes issuers is in the files of this folder.

mod blocked;
mod creation;
mod keys;
mod outside;
mod refusals;
mod rollover;
mod states;

use insta::assert_json_snapshot;

use crate::support::service::{Database, Service};
use crate::support::tools::{Scratch, openssl};

#[test]
fn root_and_issuing_ca_are_listed() {
    let service = Service::start(Database::Sqlite);
    let client = service.administrator();
    let listed = client.get("/api/v1/issuers").expect(200).json();
    assert_json_snapshot!(listed, {
        ".items[].serial" => "[serial]",
        ".items[].key.spki_sha256" => "[digest]",
        ".items[].not_before" => "[time]",
        ".items[].not_after" => "[time]",
        ".items[].fingerprint_sha256" => "[digest]",
        ".items[].certificate" => "[pem]",
        ".items[].certificates[].serial" => "[serial]",
        ".items[].certificates[].not_before" => "[time]",
        ".items[].certificates[].not_after" => "[time]",
        ".items[].certificates[].fingerprint_sha256" => "[digest]",
        ".items[].created_at" => "[time]",
        ".items[].chain[]" => "[pem]",
        ".items[].crl.this_update" => "[time]",
        ".items[].crl.next_update" => "[time]",
        ".items[].crl.number" => "[number]",
        ".items[].crl.url" => "[url]",
    });
    assert_eq!(client.get("/api/v1/issuers/issuing").expect(200).json(), listed["items"][0]);
    assert_eq!(client.get("/api/v1/issuers/nobody").expect(404).problem_code(), "not_found");
}

#[test]
fn downloads_are_what_openssl_reads() {
    let service = Service::shared(Database::Sqlite);
    let client = service.administrator();
    let scratch = Scratch::new();
    let get = |path: &str, accept: &str| {
        client.get(&format!("/api/v1/issuers/issuing/{path}")).header("accept", accept).expect(200).body
    };
    let save = |name: &str, body: Vec<u8>| scratch.write(name, body).display().to_string();
    let pem = save("a", get("certificate", "*/*"));
    let der = save("b", get("certificate", "application/pkix-cert"));
    let fingerprint = |arguments: &str| openssl(&format!("x509 {arguments} -noout -fingerprint -sha256"));
    assert_eq!(fingerprint(&format!("-in {pem}")), fingerprint(&format!("-inform DER -in {der}")));
    let chain = String::from_utf8(get("chain", "*/*")).unwrap();
    assert_eq!(chain, service.file("chain.pem"));
    let bundle = save("c", get("chain", "application/pkcs7-mime"));
    let shown = openssl(&format!("pkcs7 -inform DER -in {bundle} -print_certs -noout"));
    assert_eq!(shown.matches("subject=").count(), 2, "{shown}");
    let crl = save("d", get("crl", "application/pkix-crl"));
    let text = save("e", get("crl", "*/*"));
    let number = |arguments: &str| openssl(&format!("crl {arguments} -noout -crlnumber"));
    assert_eq!(number(&format!("-inform DER -in {crl}")), number(&format!("-in {text}")));
    client.get("/api/v1/issuers/issuing/certificate").header("accept", "image/png").expect(406);
}
