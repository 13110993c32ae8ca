//! pkilint on CRLs and CA certificates, and on a certificate that deserves a finding, so that its silence means something.

use super::judges::lint;
use crate::support::csr::Csr;
use crate::support::service::{Database, Service, issue_with};
use crate::support::tools::{Scratch, attempt, fixture, openssl, python};

#[test]
fn crls_have_no_finding() {
    let service = Service::start(Database::Sqlite);
    let client = service.administrator();
    let scratch = Scratch::new();
    let mut objects = Vec::new();
    let mut save = |name: &str| {
        let crl = client.get(&format!("{}/pki/issuing.crl", service.public())).expect(200);
        objects.push(scratch.write(name, &crl.body).display().to_string());
    };
    client.post("/api/v1/issuers/issuing/crl").expect(200);
    save("empty.crl");
    for reason in ["unspecified", "key_compromise", "superseded", "certificate_hold", "cessation_of_operation"] {
        let csr = Csr::for_dns(&["revoked.internal"]).pem();
        let record = issue_with(&client, &serde_json::json!({"csr": csr, "profile": "server"}));
        let path = format!("/api/v1/certificates/{}/revoke", record["serial"].as_str().unwrap());
        client.post(&path).json(&serde_json::json!({"reason": reason})).expect(200);
    }
    client.post("/api/v1/issuers/issuing/crl").expect(200);
    save("full.crl");
    let root_crl = client.get(&format!("{}/pki/root.crl", service.public())).expect(200);
    objects.push(scratch.write("root.crl", &root_crl.body).display().to_string());
    lint(&objects);
    let shown = openssl(&format!("crl -inform DER -in {} -noout -text", objects[1]));
    assert_eq!(shown.matches("Serial Number:").count(), 5, "{shown}");
}

#[test]
fn pkilint_has_teeth() {
    let scratch = Scratch::new();
    let bad = scratch.file("bad.pem");
    openssl(&format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout {0}.key -out {0} -days 30 -subj /CN=bad \
         -set_serial 0 -addext basicConstraints=CA:TRUE -addext subjectAltName=email:not-an-address",
        bad.display()
    ));
    let output = attempt(python(), &[fixture("interop/lint.py"), bad]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("ERROR"), "{said}");
}
