//! Issuers whose certificates somebody outside signs: the request out, the certificate in.

use serde_json::{Value, json};

use super::creation::{below, issue_under, root};
use crate::support::service::{Database, Service, unique};
use crate::support::tools::{Scratch, openssl};

/// A root that OpenSSL made, whose key is in an encrypted file.
pub(super) struct OfflineRoot {
    scratch: Scratch,
}

impl OfflineRoot {
    /// Makes key and certificate.
    pub(super) fn new() -> Self {
        let scratch = Scratch::new();
        scratch.write("pass", "correct horse battery");
        let this = Self { scratch };
        let (key, pass) = (this.path("root.key"), this.path("pass"));
        openssl(&format!(
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass file:{pass} -out {key}"
        ));
        openssl(&format!(
            "req -x509 -new -key {key} -passin file:{pass} -days 3650 -subj /CN=Offline-Root -out {} \
             -addext keyUsage=critical,keyCertSign,cRLSign",
            this.path("root.pem")
        ));
        this
    }

    /// The path of one of its files.
    pub(super) fn path(&self, name: &str) -> String {
        self.scratch.file(name).display().to_string()
    }

    /// The root certificate, PEM.
    pub(super) fn pem(&self) -> String {
        self.scratch.read("root.pem")
    }

    /// Signs a request for `days`, with the extensions it asks for unless others are given.
    pub(super) fn sign(&self, csr: &str, days: u32, extensions: Option<&str>) -> String {
        self.scratch.write("in.csr", csr);
        let own = extensions.map_or_else(|| "authorityKeyIdentifier=keyid\n".to_owned(), str::to_owned);
        self.scratch.write("ext", own);
        let copied = if extensions.is_some() { "none" } else { "copy" };
        openssl(&format!(
            "x509 -req -in {} -CA {} -CAkey {} -passin file:{} -CAcreateserial -days {days} -copy_extensions {copied} \
             -extfile {} -out {}",
            self.path("in.csr"),
            self.path("root.pem"),
            self.path("root.key"),
            self.path("pass"),
            self.path("ext"),
            self.path("out.pem")
        ));
        self.scratch.read("out.pem")
    }
}

#[test]
fn an_offline_root_signs_and_the_chain_works_when_its_key_is_gone() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let offline = OfflineRoot::new();
        let name = unique("outside");
        let body =
            json!({"kind": "subordinate", "name": name, "outside": true, "subject": format!("CN={name},O=Example")});
        let created = client.post("/api/v1/issuers").json(&body).expect(201).json();
        assert_eq!((&created["pending"], &created["state"]), (&json!(true), &json!("staged")));
        assert_eq!(
            (&created["certificate"], &created["subject"]),
            (&Value::Null, &json!(format!("CN={name},O=Example")))
        );
        let path = format!("/api/v1/issuers/{name}");
        let csr = client.get(&format!("{path}/csr")).expect(200).text();
        let scratch = Scratch::new();
        let csr_file = scratch.write("csr", &csr).display().to_string();
        let text = openssl(&format!("req -in {csr_file} -noout -text -verify"));
        for expected in ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "Subject Key Identifier"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        let der = client.get(&format!("{path}/csr")).header("accept", "application/pkcs10").expect(200).body;
        let der_file = scratch.write("der", der).display().to_string();
        openssl(&format!("req -inform DER -in {der_file} -noout -verify"));
        // Waiting, it is used for nothing.
        client.get(&format!("{path}/certificate")).expect(404);
        assert_eq!(client.patch(&path).json(&json!({"state": "active"})).expect(409).problem_code(), "conflict");

        let signed = offline.sign(&csr, 700, None);
        std::fs::remove_file(offline.path("root.key")).unwrap();
        let alone = client.put(&format!("{path}/certificate")).body("application/x-pem-file", signed.clone());
        assert_eq!(alone.expect(400).problem_code(), "malformed");
        let bundle = format!("{signed}{}", offline.pem());
        let answer =
            client.put(&format!("{path}/certificate")).body("application/pem-certificate-chain", bundle.clone());
        let installed = answer.expect(200).json();
        assert_eq!((&installed["state"], &installed["pending"]), (&json!("active"), &json!(false)));
        // Again changes nothing.
        client.put(&format!("{path}/certificate")).json(&json!({"certificate": bundle})).expect(200);
        let leaf = issue_under(&client, &name);
        let leaf_file = scratch.write("leaf", leaf["certificate"].as_str().unwrap()).display().to_string();
        let chain = scratch.write("chain", client.get(&format!("{path}/chain")).expect(200).text());
        let (root, chain) = (offline.path("root.pem"), chain.display().to_string());
        openssl(&format!("verify -x509_strict -CAfile {root} -untrusted {chain} {leaf_file}"));
    }
}

#[test]
fn a_certificate_that_does_not_match_is_refused() {
    let client = Service::shared(Database::Sqlite).administrator();
    let offline = OfflineRoot::new();
    let waiting = |subject: &str| {
        let name = unique("mismatch");
        let body = json!({"kind": "subordinate", "name": name, "outside": true, "subject": format!("{subject}{name}")});
        client.post("/api/v1/issuers").json(&body).expect(201);
        let csr = client.get(&format!("/api/v1/issuers/{name}/csr")).expect(200).text();
        (name, csr)
    };
    let (name, csr) = waiting("CN=");
    let (_other, other_csr) = waiting("CN=");
    let root = offline.pem();
    let authority =
        "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n";
    let cases = [
        (offline.sign(&other_csr, 100, None), "not for the key"),
        (offline.sign(&csr, 100, Some("basicConstraints=critical,CA:FALSE\n")), "not a CA certificate"),
        (
            offline.sign(&csr, 100, Some("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n")),
            "signs certificates and CRLs",
        ),
    ];
    for (certificate, expected) in cases {
        let request = client.put(&format!("/api/v1/issuers/{name}/certificate"));
        let answer = request.json(&json!({"certificate": format!("{certificate}{root}")})).expect(400);
        assert!(answer.text().contains(expected), "{expected}: {}", answer.text());
    }
    // Another root of the same name: the signature does not verify.
    let stranger = OfflineRoot::new();
    let signed = offline.sign(&csr, 100, Some(authority));
    let request = client.put(&format!("/api/v1/issuers/{name}/certificate"));
    let answer = request.json(&json!({"certificate": format!("{signed}{}", stranger.pem())})).expect(400);
    assert_eq!(answer.problem_code(), "malformed");
    assert_eq!(client.get(&format!("/api/v1/issuers/{name}")).expect(200).json()["pending"], true);
}

#[test]
fn a_new_certificate_of_the_same_key_takes_the_place_and_another_stands_beside() {
    let client = Service::shared(Database::Postgres).administrator();
    let parent = root(&client);
    let parent = parent["name"].as_str().unwrap();
    let issuing = below(&client, parent, &json!({}));
    let path = format!("/api/v1/issuers/{}", issuing["name"].as_str().unwrap());
    assert_eq!(client.get(&format!("{path}/csr")).expect(404).problem_code(), "not_found");
    let asked = client.post(&format!("{path}/rollover")).json(&json!({"renew_only": true, "outside": true}));
    assert_eq!(asked.expect(201).json()["generation"], 1);
    let csr = client.get(&format!("{path}/csr")).expect(200).text();
    let offline = OfflineRoot::new();
    let bundle = format!("{}{}", offline.sign(&csr, 400, None), offline.pem());
    let put = |query: &str| {
        let request = client.put(&format!("{path}/certificate{query}"));
        request.body("application/pem-certificate-chain", bundle.clone())
    };
    let beside = put("?alternate=true").expect(200).json();
    assert_eq!(beside["fingerprint_sha256"], issuing["fingerprint_sha256"]);
    assert_eq!(beside["certificates"].as_array().unwrap().len(), 2);
    assert_eq!(beside["alternate_chains"][0]["root"], "CN=Offline-Root");
    let leaf = issue_under(&client, issuing["name"].as_str().unwrap());
    let scratch = Scratch::new();
    let leaf = scratch.write("leaf", leaf["certificate"].as_str().unwrap()).display().to_string();
    for (query, anchor) in [("", None), ("?alternate=1", Some(offline.path("root.pem")))] {
        let chain = client.get(&format!("{path}/chain{query}")).expect(200).text();
        let chain = scratch.write("chain", chain).display().to_string();
        let anchor = anchor.unwrap_or_else(|| {
            let root = client.get(&format!("/api/v1/issuers/{parent}/certificate")).expect(200).text();
            scratch.write("root", root).display().to_string()
        });
        openssl(&format!("verify -x509_strict -CAfile {anchor} -untrusted {chain} {leaf}"));
    }
    assert_eq!(client.get(&format!("{path}/chain?alternate=2")).expect(404).problem_code(), "not_found");
    let renewed =
        client.post(&format!("{path}/rollover")).json(&json!({"renew_only": true, "validity": "50d"})).expect(201);
    let renewed = renewed.json();
    assert_ne!(renewed["fingerprint_sha256"], issuing["fingerprint_sha256"]);
    assert_eq!(renewed["key"], issuing["key"]);
    assert_eq!(renewed["certificates"].as_array().unwrap().len(), 3);
}
