//! `/pki`: what relying parties fetch over plain HTTP, with headers for caches.

use crate::support::client::Client;
use crate::support::service::{Database, Service};
use crate::support::tools::{Scratch, openssl};

#[test]
fn crl_and_certificate_come_with_headers_for_caches() {
    let service = Service::shared(Database::Sqlite);
    let client = Client::new(service.public(), None);
    for (path, media_type) in [
        ("/pki/issuing.crl", "application/pkix-crl"),
        ("/pki/root.crl", "application/pkix-crl"),
        ("/pki/issuing.crt", "application/pkix-cert"),
        ("/pki/root.crt", "application/pkix-cert"),
    ] {
        let answer = client.get(path).expect(200);
        assert_eq!(answer.header("content-type"), media_type, "{path}");
        assert!(answer.header("cache-control").starts_with("public, max-age="), "{}", answer.header("cache-control"));
        assert!(answer.header("last-modified").ends_with(" GMT"), "{}", answer.header("last-modified"));
        let tag = answer.header("etag").to_owned();
        let again = client.get(path).header("if-none-match", &tag).expect(304);
        assert_eq!((again.body.len(), again.header("etag")), (0, tag.as_str()), "{path}");
        client.get(path).header("if-modified-since", answer.header("last-modified")).expect(304);
        client.get(path).header("if-none-match", "\"another\"").expect(200);
        let head = client.request("HEAD", path).expect(200);
        assert_eq!((head.body.len(), head.header("etag")), (0, tag.as_str()));
    }
    assert_eq!(client.get("/pki/nobody.crl").expect(404).problem_code(), "not_found");
    assert_eq!(client.get("/pki/../issuing.crl").send().status, 404);
}

/// The addresses in a certificate lead to the CRL and the issuer that verify it.
#[test]
fn the_addresses_in_certificates_lead_there() {
    let service = Service::shared(Database::Sqlite);
    let record = service.issue(&["addressed.internal"]);
    let scratch = Scratch::new();
    let leaf = scratch.write("leaf.pem", record["certificate"].as_str().unwrap());
    let text = openssl(&format!("x509 -in {} -noout -ext crlDistributionPoints,authorityInfoAccess", leaf.display()));
    let addresses: Vec<&str> = text.split("URI:").skip(1).map(|part| part.split_whitespace().next().unwrap()).collect();
    assert_eq!(addresses.len(), 3, "{text}");
    let client = Client::new(service.public(), None);
    let crl = addresses.iter().find(|address| address.ends_with(".crl")).unwrap();
    let certificate = addresses.iter().find(|address| address.ends_with(".crt")).unwrap();
    let crl = scratch.write("crl.der", client.get(crl).expect(200).body);
    let issuing = scratch.write("issuing.der", client.get(certificate).expect(200).body);
    openssl(&format!("x509 -inform DER -in {} -out {}/issuing.pem", issuing.display(), scratch.path().display()));
    openssl(&format!("crl -inform DER -in {} -out {}/crl.pem", crl.display(), scratch.path().display()));
    scratch.write("root.pem", service.root_pem());
    let said = openssl(&format!(
        "verify -x509_strict -crl_check -CAfile {0}/root.pem -untrusted {0}/issuing.pem -CRLfile {0}/crl.pem {0}/leaf.pem",
        scratch.path().display()
    ));
    assert!(said.trim_end().ends_with(": OK"), "{said}");
}

/// The public listener and the metrics listener serve nothing else.
#[test]
fn other_listeners_serve_nothing_of_the_api() {
    let service = Service::shared(Database::Sqlite);
    for base in [service.public(), service.metrics()] {
        let client = Client::new(base, None).bearer(service.file("admin.token").trim());
        for path in ["/api/v1/certificates", "/api/v1/tokens", "/openapi.json", "/docs", "/"] {
            assert_eq!(client.get(path).send().status, 404, "{base}{path}");
        }
    }
    assert_eq!(Client::new(service.public(), None).get("/metrics").send().status, 404);
}
