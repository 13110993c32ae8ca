//! ML-DSA issuers and leaves (RFC 9881), alone and mixed with ECDSA. The second implementation is the OpenSSL (3.5 or later) in the wheel
//! of Python's `cryptography`: it makes the requests and the keys, and verifies every signature; pkilint judges the rest. OpenSSL 3.0,
//! which has no ML-DSA, reads all of it.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, UnixTime};
use serde_json::{Value, json};

use super::judges::lint;
use crate::support::client::Client;
use crate::support::der;
use crate::support::service::{Database, Service, issue_with};
use crate::support::tools::{Scratch, attempt, fixture, openssl, python, python_script, run};

const LEAVES: [&str; 4] = ["ml-dsa-44", "ml-dsa-65", "ml-dsa-87", "ecdsa-p256"];

/// Has the default profile `peer` admit post-quantum keys.
fn admit_post_quantum_keys(client: &Client) {
    let mut document = client.get("/api/v1/profiles/peer").expect(200).json()["document"].clone();
    let keys = document["keys"].as_array_mut().unwrap();
    keys.extend(["ml-dsa-44", "ml-dsa-65", "ml-dsa-87"].map(|key| json!(key)));
    client.put("/api/v1/profiles/peer").json(&document).expect(200);
}

/// Requests and keys for a name, made by the second implementation: `<kind>.csr.pem` and `<kind>.key.pem`.
fn requests(name: &str) -> Scratch {
    let scratch = Scratch::new();
    python_script("interop/make_csrs.py", &[scratch.path().to_str().unwrap(), name]);
    scratch
}

fn issue(client: &Client, requests: &Scratch, kind: &str) -> Value {
    let csr = requests.read(&format!("{kind}.csr.pem"));
    let record = issue_with(client, &json!({"csr": csr, "profile": "peer"}));
    assert_eq!(record["key"]["algorithm"], kind);
    record
}

/// A hierarchy, leaves of every kind under it and CRLs of both CAs, before every judge.
fn a_hierarchy_is_judged(root: &str, issuing: &str) {
    let service = Service::start_with(
        Database::Sqlite,
        &[("CHANCERY__HIERARCHY__ROOT__KEY", root), ("CHANCERY__HIERARCHY__ISSUING__KEY", issuing)],
    );
    let client = service.administrator();
    admit_post_quantum_keys(&client);
    let requests = requests("judged.internal");
    let scratch = Scratch::new();
    let at = |name: &str| scratch.file(name).display().to_string();
    scratch.write("root.pem", service.root_pem());
    let mut objects = vec![format!("{0}>{0}", at("root.pem")), format!("{}>{}", at("root.pem"), at("issuing.pem"))];
    for kind in LEAVES {
        let record = issue(&client, &requests, kind);
        scratch.write("issuing.pem", record["chain"][0].as_str().unwrap());
        let name = format!("{kind}.pem");
        scratch.write(&name, record["certificate"].as_str().unwrap());
        objects.push(format!("{}>{}", at("issuing.pem"), at(&name)));
        let path = format!("/api/v1/certificates/{}/revoke", record["serial"].as_str().unwrap());
        client.post(&path).json(&json!({"reason": "superseded"})).expect(200);
    }
    for issuer in ["root", "issuing"] {
        client.post(&format!("/api/v1/issuers/{issuer}/crl")).expect(200);
        let crl = client.get(&format!("{}/pki/{issuer}.crl", service.public())).expect(200);
        scratch.write(&format!("{issuer}.crl"), &crl.body);
        objects.push(format!("{}>{}", at(&format!("{issuer}.pem")), at(&format!("{issuer}.crl"))));
    }

    let mut arguments = vec!["verify".to_owned()];
    arguments.extend_from_slice(&objects);
    let said = python_script("interop/post_quantum.py", &arguments);
    assert!(said.contains("verified 8 objects, found 16 alterations"), "{said}");
    assert!(said.contains("revoked 0\n") && said.contains("revoked 4\n"), "{said}");
    let signed_by = |algorithm: &str| said.matches(&format!("signed by {algorithm}\n")).count();
    let shown = |key: &str| match key {
        "ecdsa-p256" => "ecdsa on secp256r1".to_owned(),
        "ecdsa-p384" => "ecdsa on secp384r1".to_owned(),
        other => other.to_owned(),
    };
    // The root signs itself, the issuing CA and its CRL; the issuing CA signs the leaves and its CRL.
    let expected = if root == issuing { [8, 8] } else { [3, 5] };
    assert_eq!([signed_by(&shown(root)), signed_by(&shown(issuing))], expected, "{said}");

    lint(&objects.iter().map(|object| for_lint(object)).collect::<Vec<_>>());
    verifies_with_webpki(&scratch);
    older_programs_read(&scratch);
    inspection_names_the_algorithms(&client, &scratch, issuing);
}

/// pkilint looks at CRLs and roots by themselves.
fn for_lint(object: &str) -> String {
    let (issuer, path) = object.split_once('>').unwrap();
    if issuer == path || path.ends_with(".crl") { path.to_owned() } else { object.to_owned() }
}

/// A verifier that builds paths, as rustls does for connections.
fn verifies_with_webpki(scratch: &Scratch) {
    let read = |name: &str| -> CertificateDer<'static> { der::from_pem("CERTIFICATE", &scratch.read(name)).into() };
    let root = read("root.pem");
    let anchors = [webpki::anchor_from_trusted_cert(&root).unwrap()];
    let intermediates = [read("issuing.pem")];
    let now = UnixTime::since_unix_epoch(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap());
    for kind in LEAVES {
        let leaf = read(&format!("{kind}.pem"));
        for usage in [webpki::KeyUsage::server_auth(), webpki::KeyUsage::client_auth()] {
            webpki::EndEntityCert::try_from(&leaf)
                .unwrap()
                .verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &intermediates, now, usage, None, None)
                .unwrap_or_else(|error| panic!("webpki refuses {kind}: {error}"));
        }
    }
}

/// OpenSSL 3.0 and GnuTLS 3.7 name neither keys nor signatures, but parse every object.
fn older_programs_read(scratch: &Scratch) {
    for kind in LEAVES {
        let path = scratch.file(&format!("{kind}.pem"));
        let said = openssl(&format!("x509 -in {} -noout -text", path.display()));
        assert!(said.contains("DNS:judged.internal") && said.contains("TLS Web Server Authentication"), "{said}");
    }
    for name in ["root", "issuing"] {
        let said = openssl(&format!("x509 -in {} -noout -text", scratch.file(&format!("{name}.pem")).display()));
        assert!(said.contains("CA:TRUE") && said.contains("Certificate Sign, CRL Sign"), "{said}");
    }
    let said = run(
        "certtool",
        &["--certificate-info".to_owned(), format!("--infile={}", scratch.file("issuing.pem").display())],
    );
    assert!(said.contains("Certificate Authority (CA): TRUE"), "{said}");
    let said = openssl(&format!("crl -inform DER -in {} -noout -text", scratch.file("issuing.crl").display()));
    assert_eq!(said.matches("Serial Number:").count(), 4, "{said}");
}

fn inspection_names_the_algorithms(client: &Client, scratch: &Scratch, issuing: &str) {
    for kind in LEAVES {
        let pem = scratch.read(&format!("{kind}.pem"));
        let said = client.post("/api/v1/inspect").json(&json!({"input": pem})).expect(200).json().to_string();
        assert!(said.contains(&format!("\"algorithm\":\"{kind}\"")), "{said}");
        let signature = if issuing == "ecdsa-p256" { "ecdsa-sha256" } else { issuing };
        assert!(said.contains(&format!("\"signature_algorithm\":\"{signature}\"")), "{said}");
    }
}

#[test]
fn an_ml_dsa_44_hierarchy() {
    a_hierarchy_is_judged("ml-dsa-44", "ml-dsa-44");
}

#[test]
fn an_ml_dsa_65_hierarchy() {
    a_hierarchy_is_judged("ml-dsa-65", "ml-dsa-65");
}

#[test]
fn an_ml_dsa_87_hierarchy() {
    a_hierarchy_is_judged("ml-dsa-87", "ml-dsa-87");
}

#[test]
fn a_p256_issuer_under_an_ml_dsa_87_root() {
    a_hierarchy_is_judged("ml-dsa-87", "ecdsa-p256");
}

#[test]
fn an_ml_dsa_65_issuer_under_a_p384_root() {
    a_hierarchy_is_judged("ecdsa-p384", "ml-dsa-65");
}

/// The second implementation refuses what another key of the same kind signed, so that its agreement means something.
#[test]
fn the_judge_has_teeth() {
    let scratch = Scratch::new();
    for name in ["ours", "others"] {
        let service = Service::start_with(
            Database::Sqlite,
            &[("CHANCERY__HIERARCHY__ROOT__KEY", "ml-dsa-44"), ("CHANCERY__HIERARCHY__ISSUING__KEY", "ml-dsa-44")],
        );
        scratch.write(&format!("{name}.pem"), service.root_pem());
    }
    let object = format!("{}>{}", scratch.file("ours.pem").display(), scratch.file("others.pem").display());
    let script = fixture("interop/post_quantum.py").display().to_string();
    let output = attempt(python(), &[script.as_str(), "verify", object.as_str()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("InvalidSignature"), "{said}");
}

/// Both ends of the API's own TLS with a chain that is post-quantum throughout, and a client whose own key is ML-DSA.
#[test]
fn a_post_quantum_client_certificate_is_a_credential() {
    const CONFIGURATION: &str = r#"
[hierarchy.root]
key = "ml-dsa-87"
[hierarchy.issuing]
key = "ml-dsa-65"
[[authentication.client_certificates]]
name = "deployer"
ca = "issuer:issuing"
subject_alt_names = ["deployer.internal"]
role = "requester"
"#;
    let mut service = Service::configured(Database::Sqlite, CONFIGURATION, &[]);
    let administrator = service.administrator();
    admit_post_quantum_keys(&administrator);
    // Of which those are told whose clients cannot.
    assert!(
        service.log().contains("the chain of the listener's certificate has ML-DSA signatures"),
        "{}",
        service.log()
    );
    let requests = requests("deployer.internal");
    for kind in LEAVES {
        let record = issue(&administrator, &requests, kind);
        let chain = record["chain"][0].as_str().unwrap();
        let key = requests.read(&format!("{kind}.key.pem"));
        let shown = format!("{}{chain}{key}", record["certificate"].as_str().unwrap());
        let deployer = Client::with_certificate(service.api(), &service.root_pem(), &shown);
        let me = deployer.get("/api/v1/whoami").expect(200).json();
        assert_eq!((&me["method"], &me["role"]), (&json!("client_certificate"), &json!("requester")), "{kind}: {me}");
        let path = format!("/api/v1/certificates/{}/revoke", record["serial"].as_str().unwrap());
        administrator.post(&path).json(&json!({"reason": "superseded"})).expect(200);
        deployer.get("/api/v1/whoami").expect(401);
    }
    // The sealed keys are opened again.
    service.kill_and_restart();
    issue(&service.administrator(), &requests, "ml-dsa-87");
}

/// A root key that the second implementation made and encrypted, and an issuing key of ours that it reads.
#[test]
fn key_files_are_read_by_either_side() {
    const PASSPHRASE: &str = "correct horse battery";
    let scratch = Scratch::new();
    let python_on_key = |arguments: &[&str]| -> String {
        let output = Command::new(python())
            .arg(fixture("interop/post_quantum.py"))
            .args(arguments)
            .env("PASSPHRASE", PASSPHRASE)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let file = |name: &str| scratch.file(name).display().to_string();
    let theirs = python_on_key(&["make-key", "ml-dsa-65", &file("root.key")]);
    let service = Service::start_with(
        Database::Sqlite,
        &[
            ("CHANCERY__HIERARCHY__ROOT__KEY", "ml-dsa-65"),
            ("CHANCERY__HIERARCHY__ROOT__STORAGE", "file"),
            ("CHANCERY__HIERARCHY__ROOT__FILE", &file("root.key")),
            ("CHANCERY__HIERARCHY__ROOT__PASSPHRASE", PASSPHRASE),
            ("CHANCERY__HIERARCHY__ISSUING__KEY", "ml-dsa-44"),
            ("CHANCERY__HIERARCHY__ISSUING__STORAGE", "file"),
            ("CHANCERY__HIERARCHY__ISSUING__FILE", &file("issuing.key")),
            ("CHANCERY__HIERARCHY__ISSUING__PASSPHRASE", PASSPHRASE),
        ],
    );
    let issuers = service.administrator().get("/api/v1/issuers").expect(200).json();
    let described = |name: &str| {
        let issuer = issuers["items"].as_array().unwrap().iter().find(|issuer| issuer["name"] == name).unwrap();
        format!("{} {}", issuer["key"]["algorithm"].as_str().unwrap(), issuer["key"]["spki_sha256"].as_str().unwrap())
    };
    assert_eq!(described("root"), theirs);
    assert!(Path::new(&file("issuing.key")).exists());
    assert_eq!(described("issuing"), python_on_key(&["read-key", &file("issuing.key")]));
}
