//! Requests made by `openssl req`, Python's `cryptography`, `certtool`, Java's `keytool` and Go: each gives a certificate for the key and the
//! names it asks for, and every judge accepts it.

use serde_json::{Value, json};

use super::judges::{Court, Purpose};
use crate::support::client::Client;
use crate::support::service::{Database, Service, issue_with};
use crate::support::tools::{Scratch, attempt, fixture, openssl, python_script, run};

/// A request by somebody else's program.
struct Foreign {
    /// Who made it, for messages.
    maker: String,
    /// The key algorithm as we write it.
    algorithm: &'static str,
    /// The DNS name it asks for.
    name: String,
    /// The request, PEM.
    csr: String,
}

/// Issues every request, checks that the certificate is for that key and name, and has them all judged.
fn all_are_certified(requests: &[Foreign]) {
    let client = Service::shared(Database::Sqlite).administrator();
    let mut court: Option<Court> = None;
    for request in requests {
        let record = certified(&client, request);
        court.get_or_insert_with(|| Court::of(&record)).bring(&record, &request.name, Purpose::Server);
    }
    court.unwrap().judge();
}

fn certified(client: &Client, request: &Foreign) -> Value {
    let Foreign { maker, algorithm, name, csr } = request;
    let answer = client.post("/api/v1/certificates").json(&json!({"csr": csr, "profile": "server"})).send();
    assert_eq!(answer.status, 201, "{maker}, {algorithm}: {}", answer.text());
    let record = answer.json();
    assert_eq!(record["key"]["algorithm"], *algorithm, "{maker}");
    let names = record["subject_alt_names"].as_array().unwrap();
    assert!(names.contains(&json!({"type": "dns", "value": name})), "{maker}: {names:?}");

    let scratch = Scratch::new();
    let csr_file = scratch.write("csr.pem", csr);
    let certificate = scratch.write("certificate.pem", record["certificate"].as_str().unwrap());
    let requested_key = openssl(&format!("req -in {} -noout -pubkey", csr_file.display()));
    let certified_key = openssl(&format!("x509 -in {} -noout -pubkey", certificate.display()));
    assert_eq!(requested_key, certified_key, "{maker}, {algorithm}");
    let requested_subject = openssl(&format!("req -in {} -noout -subject -nameopt RFC2253,utf8", csr_file.display()));
    let certified_subject =
        openssl(&format!("x509 -in {} -noout -subject -nameopt RFC2253,utf8", certificate.display()));
    assert_eq!(requested_subject, certified_subject, "{maker}, {algorithm}: the whole subject, in its order");
    record
}

#[test]
fn requests_by_openssl() {
    let scratch = Scratch::new();
    let requests: Vec<Foreign> = [
        ("ecdsa-p256", "ec -pkeyopt ec_paramgen_curve:P-256"),
        ("ecdsa-p384", "ec -pkeyopt ec_paramgen_curve:P-384"),
        ("ed25519", "ed25519"),
        ("rsa-2048", "rsa:2048"),
        ("rsa-3072", "rsa:3072"),
        ("rsa-4096", "rsa:4096"),
    ]
    .into_iter()
    .map(|(algorithm, kind)| {
        let name = format!("{algorithm}.openssl.internal");
        let file = scratch.file(algorithm);
        openssl(&format!(
            "req -newkey {kind} -noenc -keyout {0}.key -out {0} -subj /C=GB/O=OpenSSL/OU=first/OU=second/CN={name} \
             -addext subjectAltName=DNS:{name},IP:10.1.2.3 -addext keyUsage=digitalSignature",
            file.display()
        ));
        Foreign { maker: "openssl req".to_owned(), algorithm, name, csr: scratch.read(algorithm) }
    })
    .collect();
    all_are_certified(&requests);
}

#[test]
fn requests_by_python() {
    let scratch = Scratch::new();
    let name = "python.internal";
    python_script("interop/make_csrs.py", &[scratch.path().to_str().unwrap(), name]);
    let requests: Vec<Foreign> = ["ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048"]
        .into_iter()
        .map(|algorithm| Foreign {
            maker: "Python's cryptography".to_owned(),
            algorithm,
            name: name.to_owned(),
            csr: scratch.read(&format!("{algorithm}.csr.pem")),
        })
        .collect();
    all_are_certified(&requests);
}

#[test]
fn requests_by_certtool() {
    let scratch = Scratch::new();
    let name = "gnutls.internal";
    let template = scratch.write(
        "template",
        format!("cn = \"{name}\"\norganization = \"GnuTLS\"\ndns_name = \"{name}\"\nip_address = \"127.0.0.1\"\ntls_www_server\nsigning_key\n"),
    );
    let requests: Vec<Foreign> = [
        ("ecdsa-p256", vec!["--key-type=ecdsa", "--curve=secp256r1"]),
        ("ecdsa-p384", vec!["--key-type=ecdsa", "--curve=secp384r1"]),
        ("ed25519", vec!["--key-type=ed25519"]),
        ("rsa-3072", vec!["--key-type=rsa", "--bits=3072"]),
    ]
    .into_iter()
    .map(|(algorithm, kind)| {
        let key = format!("{}.key", scratch.file(algorithm).display());
        let key_file = format!("--outfile={key}");
        let mut arguments = vec!["--generate-privkey", key_file.as_str()];
        arguments.extend(kind);
        run("certtool", &arguments);
        run(
            "certtool",
            &[
                "--generate-request".to_owned(),
                format!("--load-privkey={key}"),
                format!("--template={}", template.display()),
                format!("--outfile={}", scratch.file(algorithm).display()),
            ],
        );
        Foreign { maker: "certtool".to_owned(), algorithm, name: name.to_owned(), csr: scratch.read(algorithm) }
    })
    .collect();
    all_are_certified(&requests);
}

#[test]
fn requests_by_keytool() {
    let scratch = Scratch::new();
    let name = "java.internal";
    let requests: Vec<Foreign> = [
        ("ecdsa-p256", vec!["-keyalg", "EC", "-groupname", "secp256r1"]),
        ("ecdsa-p384", vec!["-keyalg", "EC", "-groupname", "secp384r1"]),
        ("ed25519", vec!["-keyalg", "Ed25519"]),
        ("rsa-2048", vec!["-keyalg", "RSA", "-keysize", "2048"]),
    ]
    .into_iter()
    .map(|(algorithm, kind)| {
        let store = format!("{}.p12", scratch.file(algorithm).display());
        let csr = scratch.file(algorithm).display().to_string();
        let dname = format!("CN={name}, O=Java, C=GB");
        let subject_alt_name = format!("san=dns:{name},ip:192.168.7.9");
        let common = ["-alias", "a", "-keystore", store.as_str(), "-storepass", "changeit", "-storetype", "PKCS12"];
        let mut generate = vec!["-genkeypair", "-dname", dname.as_str()];
        generate.extend(common);
        generate.extend(kind);
        run("keytool", &generate);
        let mut request = vec!["-certreq", "-ext", subject_alt_name.as_str(), "-file", csr.as_str()];
        request.extend(common);
        run("keytool", &request);
        Foreign { maker: "keytool".to_owned(), algorithm, name: name.to_owned(), csr: scratch.read(algorithm) }
    })
    .collect();
    all_are_certified(&requests);
}

/// Requests as Go's `crypto/x509` encodes them, made once and committed; and made now where there is a Go.
#[test]
fn requests_by_go() {
    const KINDS: [(&str, &str); 4] =
        [("ecdsa-p256", "p256"), ("ecdsa-p384", "p384"), ("ed25519", "ed25519"), ("rsa-2048", "rsa2048")];
    let name = "go.internal";
    let mut requests: Vec<Foreign> = KINDS
        .into_iter()
        .map(|(algorithm, kind)| Foreign {
            maker: "Go, committed".to_owned(),
            algorithm,
            name: name.to_owned(),
            csr: std::fs::read_to_string(fixture(&format!("go_csr/{kind}.csr.pem"))).unwrap(),
        })
        .collect();
    let has_go = std::process::Command::new("go").arg("version").output().is_ok_and(|output| output.status.success());
    if has_go {
        let scratch = Scratch::new();
        let program = scratch.file("make").display().to_string();
        run("go", &["build", "-o", program.as_str(), fixture("go_csr/main.go").to_str().unwrap()]);
        for (algorithm, kind) in KINDS {
            let (csr, key) = (scratch.file(kind).display().to_string(), scratch.file("key").display().to_string());
            run(&program, &[kind, name, csr.as_str(), key.as_str()]);
            requests.push(Foreign {
                maker: "Go".to_owned(),
                algorithm,
                name: name.to_owned(),
                csr: scratch.read(kind),
            });
        }
    }
    all_are_certified(&requests);
}

/// A P-384 key whose request is signed with SHA-256: the certificate must hold the P-384 key.
#[test]
fn the_key_decides_not_the_signature_of_the_request() {
    let csr = std::fs::read_to_string(fixture("refused_csr/ecdsa-p384-sha256.pem")).unwrap();
    all_are_certified(&[Foreign {
        maker: "openssl req -sha256".to_owned(),
        algorithm: "ecdsa-p384",
        name: "weak.internal".to_owned(),
        csr,
    }]);
}

/// A wildcard name, which pkilint's rules for RFC 5280 do not know: OpenSSL and Python's verifier judge it alone.
#[test]
fn a_wildcard_certificate_is_good_for_the_names_it_covers() {
    let service = Service::shared(Database::Sqlite);
    let record = service.issue(&["*.wild.internal"]);
    let scratch = Scratch::new();
    let root = scratch.write("root.pem", service.root_pem());
    let intermediate = scratch.write("issuing.pem", record["chain"][0].as_str().unwrap());
    let leaf = scratch.write("leaf.pem", record["certificate"].as_str().unwrap());
    let arguments = |name: &str| {
        format!(
            "verify -x509_strict -verify_hostname {name} -CAfile {} -untrusted {} {}",
            root.display(),
            intermediate.display(),
            leaf.display()
        )
    };
    assert!(openssl(&arguments("a.wild.internal")).trim_end().ends_with(": OK"));
    for name in ["wild.internal", "a.b.wild.internal", "a.other.internal"] {
        let shown = arguments(name);
        let output = attempt("openssl", &shown.split(' ').collect::<Vec<_>>());
        assert!(!output.status.success(), "{name} is not covered");
    }
    let case = format!("server:a.wild.internal:{}", leaf.display());
    python_script("interop/verify.py", &[root.to_str().unwrap(), intermediate.to_str().unwrap(), case.as_str()]);
}

/// The same request as DER, as PEM and as base64 within JSON, raw and not: one certificate each, for the same key.
#[test]
fn every_form_of_body_is_taken() {
    use base64::Engine as _;

    let client = Service::shared(Database::Sqlite).administrator();
    let der = crate::support::csr::Csr::for_dns(&["forms.internal"]).der();
    let pem = crate::support::der::pem("CERTIFICATE REQUEST", &der);
    let old_pem = crate::support::der::pem("NEW CERTIFICATE REQUEST", &der);
    let base64 = base64::engine::general_purpose::STANDARD.encode(&der);
    let path = "/api/v1/certificates?profile=server";
    let mut keys: Vec<String> = Vec::new();
    for (content_type, body) in [
        ("application/pkcs10", der.clone()),
        ("application/pkcs10", pem.clone().into_bytes()),
        ("application/x-pem-file", pem.clone().into_bytes()),
        ("application/x-pem-file", format!("Some text before.\n{old_pem}and after").into_bytes()),
    ] {
        let record = client.post(path).body(content_type, body).expect(201).json();
        keys.push(record["key"]["spki_sha256"].as_str().unwrap().to_owned());
    }
    for csr in [pem, old_pem, base64] {
        let record = issue_with(&client, &json!({"csr": csr, "profile": "server"}));
        keys.push(record["key"]["spki_sha256"].as_str().unwrap().to_owned());
    }
    assert_eq!(keys.len(), 7);
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}
