//! Every default profile with every key type, under issuers of every kind of key: accepted by every judge, without a finding of pkilint.

use serde_json::{Value, json};

use super::judges::{Court, Purpose};
use crate::support::csr::Csr;
use crate::support::service::{Database, Service, issue_with};
use crate::support::tools::{Scratch, openssl};

const KEYS: [(&str, &str); 6] = [
    ("ecdsa-p256", "ec -pkeyopt ec_paramgen_curve:P-256"),
    ("ecdsa-p384", "ec -pkeyopt ec_paramgen_curve:P-384"),
    ("ed25519", "ed25519"),
    ("rsa-2048", "rsa:2048"),
    ("rsa-3072", "rsa:3072"),
    ("rsa-4096", "rsa:4096"),
];

fn profiles_and_keys_are_judged(service: &Service, keys: &[(&str, &str)]) {
    let client = service.administrator();
    let scratch = Scratch::new();
    let mut court: Option<Court> = None;
    for (algorithm, kind) in keys {
        let key = scratch.file(algorithm);
        openssl(&format!(
            "req -newkey {kind} -noenc -keyout {0} -out {0}.csr -subj /CN=judged.internal",
            key.display()
        ));
        let csr = scratch.read(&format!("{algorithm}.csr"));
        for profile in ["server", "client", "peer"] {
            let mut names = vec![json!("judged.internal"), json!({"type": "ip", "value": "fd00::1"})];
            if profile != "server" {
                names.push(json!("someone@example.com"));
            }
            let record = issue_with(&client, &json!({"csr": csr, "profile": profile, "subject_alt_names": names}));
            assert_eq!(record["key"]["algorithm"], *algorithm);
            let court = court.get_or_insert_with(|| Court::of(&record));
            for purpose in purposes(profile) {
                court.bring(&record, "judged.internal", *purpose);
            }
            assert_usages(&record, profile, algorithm);
        }
    }
    court.unwrap().judge();
}

fn purposes(profile: &str) -> &'static [Purpose] {
    match profile {
        "server" => &[Purpose::Server],
        "client" => &[Purpose::Client],
        _ => &[Purpose::Server, Purpose::Client],
    }
}

fn assert_usages(record: &Value, profile: &str, algorithm: &str) {
    let scratch = Scratch::new();
    let file = scratch.write("certificate.pem", record["certificate"].as_str().unwrap());
    let shown = openssl(&format!("x509 -in {} -noout -ext keyUsage,extendedKeyUsage,basicConstraints", file.display()));
    assert_eq!(shown.contains("Key Encipherment"), algorithm.starts_with("rsa"), "{profile}, {algorithm}: {shown}");
    assert!(shown.contains("Digital Signature"), "{shown}");
    assert!(shown.contains("CA:FALSE"), "{shown}");
    assert_eq!(shown.contains("TLS Web Server Authentication"), profile != "client", "{profile}: {shown}");
    assert_eq!(shown.contains("TLS Web Client Authentication"), profile != "server", "{profile}: {shown}");
}

#[test]
fn every_key_type_under_a_p256_issuer() {
    profiles_and_keys_are_judged(Service::shared(Database::Sqlite), &KEYS);
}

#[test]
fn workload_identities_are_accepted() {
    let client = Service::shared(Database::Sqlite).administrator();
    let csr = Csr::for_dns(&["judged.internal"]).uri("spiffe://cluster.internal/ns/default/sa/web").pem();
    let mut court: Option<Court> = None;
    for profile in ["client", "peer"] {
        let record = issue_with(&client, &json!({"csr": csr, "profile": profile}));
        let court = court.get_or_insert_with(|| Court::of(&record));
        for purpose in purposes(profile) {
            court.bring(&record, "judged.internal", *purpose);
        }
    }
    court.unwrap().judge_without_lint();
}

#[test]
fn a_p384_hierarchy() {
    hierarchy("ecdsa-p384", "ecdsa-p384");
}

#[test]
fn a_p521_hierarchy() {
    hierarchy("ecdsa-p521", "ecdsa-p521");
}

#[test]
fn an_ed25519_issuer_under_an_rsa_root() {
    hierarchy("rsa-3072", "ed25519");
}

#[test]
fn an_rsa_issuer_under_a_p384_root() {
    hierarchy("ecdsa-p384", "rsa-2048");
}

fn hierarchy(root: &str, issuing: &str) {
    let service = Service::start_with(
        Database::Sqlite,
        &[("CHANCERY__HIERARCHY__ROOT__KEY", root), ("CHANCERY__HIERARCHY__ISSUING__KEY", issuing)],
    );
    profiles_and_keys_are_judged(&service, &KEYS[..4]);
}
