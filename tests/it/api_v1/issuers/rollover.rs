//! Rollover and cross-signing: clients of the old and of the new root verify what both sign, old CRLs go on, the listener follows.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::creation::{below, issue_under, root};
use super::outside::OfflineRoot;
use crate::support::client::Client;
use crate::support::service::{Database, Service};
use crate::support::tools::{Scratch, openssl};

/// Waits until a condition holds.
#[track_caller]
pub(super) fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The chain of an issuer that ends in the certificate with this fingerprint.
fn chain_to(client: &Client, issuer: &str, root_fingerprint: &Value) -> String {
    let document = client.get(&format!("/api/v1/issuers/{issuer}")).expect(200).json();
    let alternates = document["alternate_chains"].as_array().unwrap();
    let ends = |chain: &&Value| chain["fingerprints_sha256"].as_array().unwrap().last() == Some(root_fingerprint);
    let path = alternates
        .iter()
        .find(ends)
        .map_or_else(|| format!("/api/v1/issuers/{issuer}/chain"), |chain| chain["path"].as_str().unwrap().to_owned());
    client.get(&path).expect(200).text()
}

#[test]
fn clients_of_the_old_and_the_new_root_verify_old_and_new_certificates() {
    for database in Database::ALL {
        let service = Service::start(database);
        let client = service.administrator();
        let old_root = client.get("/api/v1/issuers/root").expect(200).json();
        let old_leaf = service.issue(&["old.internal"]);

        let new_root = client.post("/api/v1/issuers/root/rollover").expect(201).json();
        assert_eq!((&new_root["generation"], &new_root["state"]), (&json!(2), &json!("active")));
        assert_eq!(client.get("/api/v1/issuers/root.1").expect(200).json()["state"], "retired");
        let rolled =
            client.post("/api/v1/issuers/issuing/rollover").json(&json!({"state": "staged"})).expect(201).json();
        assert_eq!(
            (&rolled["state"], &rolled["parent"], &rolled["default"]),
            (&json!("staged"), &json!("root.2"), &json!(false))
        );
        assert_eq!(service.issue(&["between.internal"])["issuer"], "issuing");
        let second = client.post("/api/v1/issuers/issuing/rollover").expect(409);
        assert_eq!(second.problem_code(), "conflict");
        let active = client.patch("/api/v1/issuers/issuing.2").json(&json!({"state": "active"})).expect(200).json();
        assert_eq!((&active["state"], &active["default"]), (&json!("active"), &json!(true)));
        let first = client.get("/api/v1/issuers/issuing.1").expect(200).json();
        assert_eq!((&first["state"], &first["default"]), (&json!("retired"), &json!(false)));
        let new_leaf = service.issue(&["new.internal"]);

        let scratch = Scratch::new();
        let file = |name: &str, text: &str| scratch.write(name, text).display().to_string();
        for (leaf, issuer) in [(&old_leaf, "issuing.1"), (&new_leaf, "issuing.2")] {
            let leaf = file("leaf", leaf["certificate"].as_str().unwrap());
            for root in [&old_root, &new_root] {
                let anchor = file("anchor", root["certificate"].as_str().unwrap());
                let chain = file("chain", &chain_to(&client, issuer, &root["fingerprint_sha256"]));
                openssl(&format!("verify -x509_strict -CAfile {anchor} -untrusted {chain} {leaf}"));
            }
        }

        // The old leaf's CRL stays where it was, signed by the old key.
        let revoke = format!("/api/v1/certificates/{}/revoke", old_leaf["serial"].as_str().unwrap());
        client.post(&revoke).json(&json!({"reason": "superseded"})).expect(200);
        let public = Client::new(service.public(), None);
        let serial = old_leaf["serial"].as_str().unwrap().to_uppercase();
        let crl = |path: &str| scratch.write("crl", public.get(path).expect(200).body).display().to_string();
        until("the old CRL lists the old leaf", || {
            openssl(&format!("crl -inform DER -in {} -noout -text", crl("/pki/issuing.crl"))).contains(&serial)
        });
        let issuer = file("issuer", first["certificate"].as_str().unwrap());
        let (leaf, text) = (file("leaf", new_leaf["certificate"].as_str().unwrap()), crl("/pki/issuing.crl"));
        openssl(&format!("crl -inform DER -in {text} -CAfile {issuer} -noout"));
        assert!(openssl(&format!("x509 -in {leaf} -noout -text")).contains("/pki/issuing.2.crl"));
        until("the new generation has a CRL", || public.get("/pki/issuing.2.crl").send().status == 200);

        // The listener follows, and both kinds of clients reach it.
        let old_client = Client::new(service.api(), old_root["certificate"].as_str());
        until("clients of the new root reach the API", || {
            Client::new(service.api(), new_root["certificate"].as_str()).get("/healthz").attempt().is_ok()
        });
        old_client.get("/healthz").expect(200);
    }
}

#[test]
fn files_of_the_data_directory_follow_at_the_next_start() {
    let mut service = Service::start(Database::Sqlite);
    let client = service.administrator();
    client.post("/api/v1/issuers/issuing/rollover").json(&json!({"key": {"algorithm": "ecdsa-p384"}})).expect(201);
    service.kill_and_restart();
    let chain = service.administrator().get("/api/v1/issuers/issuing/chain").expect(200).text();
    assert_eq!(service.file("chain.pem"), chain);
}

#[test]
fn one_of_many_rollovers_at_once_makes_the_new_generation() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let issuer = below(&client, root(&client)["name"].as_str().unwrap(), &json!({}));
        let path = format!("/api/v1/issuers/{}", issuer["name"].as_str().unwrap());
        let attempts: Vec<_> = (0..32)
            .map(|_| {
                let (client, path) = (client.clone(), path.clone());
                std::thread::spawn(move || {
                    let body = json!({"expected_generation": 1});
                    client.post(&format!("{path}/rollover")).json(&body).send().status
                })
            })
            .collect();
        let statuses: Vec<u16> = attempts.into_iter().map(|attempt| attempt.join().unwrap()).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| [201, 409].contains(status)), "{statuses:?}");
        assert_eq!(client.get(&path).expect(200).json()["generation"], 2);
        client.get(&format!("{path}.3")).expect(404);
    }
}

#[test]
fn a_repeated_rollover_makes_one_generation() {
    let client = Service::shared(Database::Postgres).administrator();
    let issuer = root(&client);
    let path = format!("/api/v1/issuers/{}", issuer["name"].as_str().unwrap());
    let post = || client.post(&format!("{path}/rollover")).header("idempotency-key", issuer["name"].as_str().unwrap());
    let first = post().expect(201).json();
    let again = post().expect(201);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.json()["fingerprint_sha256"], first["fingerprint_sha256"]);
    assert_eq!(client.get(&path).expect(200).json()["generation"], 2);
}

#[test]
fn a_generation_that_is_signed_outside_takes_over_with_its_certificate() {
    let client = Service::shared(Database::Sqlite).administrator();
    let issuer = below(&client, root(&client)["name"].as_str().unwrap(), &json!({}));
    let name = issuer["name"].as_str().unwrap();
    let rolled =
        client.post(&format!("/api/v1/issuers/{name}/rollover")).json(&json!({"outside": true})).expect(201).json();
    assert_eq!((&rolled["pending"], &rolled["generation"]), (&json!(true), &json!(2)));
    assert_eq!(client.get(&format!("/api/v1/issuers/{name}")).expect(200).json()["generation"], 1);
    let offline = OfflineRoot::new();
    let csr = client.get(&format!("/api/v1/issuers/{name}/csr")).expect(200).text();
    let bundle = format!("{}{}", offline.sign(&csr, 300, None), offline.pem());
    let installed = client.put(&format!("/api/v1/issuers/{name}/certificate")).json(&json!({"certificate": bundle}));
    assert_eq!(installed.expect(200).json()["state"], "active");
    assert_eq!(client.get(&format!("/api/v1/issuers/{name}.1")).expect(200).json()["state"], "retired");
    let leaf = issue_under(&client, name);
    assert_eq!(leaf["root"], offline.pem());
}

#[test]
fn another_replica_issues_by_the_new_generation_within_seconds() {
    let url = crate::support::new_postgres_database();
    let settings = [
        ("CHANCERY__DATABASE__URL", url.as_str()),
        ("CHANCERY__KEYS__KEY_ENCRYPTION_KEY", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
    ];
    let first = Service::start_with(Database::Sqlite, &settings);
    let second = Service::start_with(Database::Sqlite, &settings);
    let rolled = first.administrator().post("/api/v1/issuers/issuing/rollover").expect(201).json();
    until("the other replica signs by the new key", || {
        second.issue(&["replica.internal"])["chain"][0] == rolled["certificate"]
    });
}

#[test]
fn a_cross_certificate_lets_clients_of_one_root_believe_the_other() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let (ours, other) = (root(&client), root(&client));
        let issuing = below(&client, other["name"].as_str().unwrap(), &json!({}));
        let path = format!("/api/v1/issuers/{}/cross-sign", ours["name"].as_str().unwrap());
        let body = json!({"certificate": other["certificate"], "validity": "30d"});
        let post = || client.post(&path).header("idempotency-key", ours["name"].as_str().unwrap()).json(&body);
        let cross = post().expect(201).json();
        assert_eq!(cross["issuer"], ours["name"]);
        assert_eq!(post().expect(201).json()["serial"], cross["serial"]);
        let name = issuing["name"].as_str().unwrap();
        let leaf = issue_under(&client, name);
        let scratch = Scratch::new();
        let file = |name: &str, text: &str| scratch.write(name, text).display().to_string();
        let leaf = file("leaf", leaf["certificate"].as_str().unwrap());
        for root in [&ours, &other] {
            let anchor = file("anchor", root["certificate"].as_str().unwrap());
            let chain = file("chain", &chain_to(&client, name, &root["fingerprint_sha256"]));
            openssl(&format!("verify -x509_strict -CAfile {anchor} -untrusted {chain} {leaf}"));
        }
        // Somebody else's CA, which is no issuer here.
        let offline = OfflineRoot::new();
        let theirs = client.post(&path).json(&json!({"certificate": offline.pem()})).expect(201).json();
        assert_eq!(theirs["subject"], "CN=Offline-Root");
        let (cross, anchor) = (
            file("cross", theirs["certificate"].as_str().unwrap()),
            file("anchor", ours["certificate"].as_str().unwrap()),
        );
        openssl(&format!("verify -x509_strict -CAfile {anchor} {cross}"));
        assert!(openssl(&format!("x509 -in {cross} -noout -text")).contains("pathlen:1"));
    }
}

#[test]
fn what_is_no_other_ca_is_not_cross_signed() {
    let service = Service::shared(Database::Sqlite);
    let client = service.administrator();
    let ours = root(&client);
    let path = format!("/api/v1/issuers/{}/cross-sign", ours["name"].as_str().unwrap());
    let leaf = service.issue(&["leaf.internal"]);
    for (body, status) in [
        (json!({"certificate": leaf["certificate"]}), 400),
        (json!({"certificate": ours["certificate"]}), 400),
        (json!({"certificate": "nothing"}), 400),
        (json!({"certificate": OfflineRoot::new().pem(), "path_length": 2}), 422),
        (json!({"certificate": OfflineRoot::new().pem(), "validity": "9000d"}), 400),
    ] {
        client.post(&path).json(&body).expect(status);
    }
    client.post("/api/v1/issuers/nobody/cross-sign").json(&json!({"certificate": ours["certificate"]})).expect(404);
}
