//! Where the keys of new issuers are kept: an offline root in a file, issuing keys in an HSM, what is refused, what stays after a failure.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::creation::{below, issue_under, profile_for, root};
use super::rollover::until;
use crate::support::client::Client;
use crate::support::csr::Csr;
use crate::support::hsm::Hsm;
use crate::support::service::{Database, Service, unique};
use crate::support::tools::{Scratch, attempt, openssl, run};

const PASSPHRASE: &str = "a passphrase for key files";

/// Starts a service that has the token and a passphrase for key files.
fn start(database: Database, hsm: &Hsm) -> Service {
    let mut settings = hsm.settings();
    settings.push(("CHANCERY__KEYS__FILE_PASSPHRASE".to_owned(), PASSPHRASE.to_owned()));
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Service::start_with(database, &settings)
}

/// Every place of a key, by the name in URLs of its issuer.
fn place_of(service: &Service, issuer: &str) -> Value {
    let listed = service.command(&["keys", "list"]).json();
    let key = listed["items"].as_array().unwrap().iter().find(|key| key["issuers"] == json!([issuer]));
    key.unwrap_or_else(|| panic!("{listed}"))["location"].clone()
}

/// OpenSSL opens the file with the passphrase and not without, and finds the issuer's key in it.
fn assert_key_file(path: &Path, issuer: &Value) {
    let shown = path.display().to_string();
    assert!(std::fs::read_to_string(path).unwrap().contains("BEGIN ENCRYPTED PRIVATE KEY"));
    let public = run("openssl", &["pkey", "-in", &shown, "-passin", &format!("pass:{PASSPHRASE}"), "-pubout"]);
    let scratch = Scratch::new();
    let certificate = scratch.write("ca.pem", issuer["certificate"].as_str().unwrap());
    assert_eq!(public, openssl(&format!("x509 -in {} -noout -pubkey", certificate.display())));
}

/// A key file, which goes into the safe and comes back; the service is started anew each time.
struct Offline {
    file: PathBuf,
    safe: PathBuf,
}

impl Offline {
    fn put_away(&self, service: &mut Service) {
        std::fs::rename(&self.file, &self.safe).unwrap();
        service.kill_and_restart();
    }

    fn bring_back(&self, service: &mut Service) {
        std::fs::rename(&self.safe, &self.file).unwrap();
        service.kill_and_restart();
    }
}

#[test]
fn an_offline_root_and_issuing_keys_in_an_hsm_roll_over_on_sqlite() {
    offline_root_and_hsm(Database::Sqlite);
}

#[test]
fn an_offline_root_and_issuing_keys_in_an_hsm_roll_over_on_postgresql() {
    offline_root_and_hsm(Database::Postgres);
}

fn offline_root_and_hsm(database: Database) {
    let hsm = Hsm::new();
    let mut service = start(database, &hsm);
    let client = service.administrator();
    let body = json!({
        "kind": "root", "name": "offline", "subject": "CN=Offline Root", "path_length": 1,
        "key": {"algorithm": "ecdsa-p384", "storage": "file"},
    });
    let root = client.post("/api/v1/issuers").json(&body).expect(201).json();
    let offline =
        Offline { file: service.data().join("keys/offline.key"), safe: service.data().join("offline.key.safe") };
    assert_key_file(&offline.file, &root);
    assert_eq!(place_of(&service, "offline"), json!({"place": "file", "path": offline.file}));

    let body = json!({
        "kind": "subordinate", "name": "plant", "parent": "offline", "subject": "CN=Plant CA",
        "key": {"storage": "pkcs11", "token": "hsm"},
    });
    let first = client.post("/api/v1/issuers").json(&body).expect(201).json();
    let uri = place_of(&service, "plant")["uri"].clone();
    assert!(uri.as_str().unwrap().ends_with(";object=plant;type=private"), "{uri}");
    until("both have CRLs", || ["offline", "plant"].iter().all(|name| crl(&service, name).is_some()));

    // The root goes into the safe; the CA below it issues, and nothing new can be made below the root.
    offline.put_away(&mut service);
    let client = service.administrator();
    let first_leaf = issue_under(&client, "plant");
    let more = json!({
        "kind": "subordinate", "name": "too-late", "parent": "offline", "subject": "CN=Too Late",
        "key": {"storage": "file"},
    });
    let refused = client.post("/api/v1/issuers").json(&more).send();
    assert!([409, 503].contains(&refused.status), "{} {}", refused.status, refused.text());
    let refused = client.post("/api/v1/issuers/plant/rollover").send();
    assert!([409, 503].contains(&refused.status), "{} {}", refused.status, refused.text());
    assert!(!service.data().join("keys/too-late.key").exists(), "a key was made for what could not be signed");

    // It comes back for the rollover, and goes again.
    offline.bring_back(&mut service);
    let client = service.administrator();
    let second = client.post("/api/v1/issuers/plant/rollover").expect(201).json();
    assert_eq!((&second["generation"], &second["state"]), (&json!(2), &json!("active")));
    let uri = place_of(&service, "plant.2")["uri"].clone();
    assert!(uri.as_str().unwrap().ends_with(";object=plant.2;type=private"), "the new key is in the token: {uri}");
    until("the new generation has a CRL", || crl(&service, "plant.2").is_some());
    offline.put_away(&mut service);
    let client = service.administrator();
    let second_leaf = issue_under(&client, "plant");
    assert_eq!(client.get("/api/v1/issuers/plant.1").expect(200).json()["state"], "retired");
    assert_eq!((&first_leaf["chain"][0], &second_leaf["chain"][0]), (&first["certificate"], &second["certificate"]));

    for (name, leaf) in [("plant", &first_leaf), ("plant.2", &second_leaf)] {
        assert!(verified(&service, &root, name, leaf).contains("leaf.pem: OK"), "{name}");
        assert!(ocsp(&service, &root, leaf).contains("leaf.pem: good"), "{name}");
    }
    // The retired key in the HSM goes on to sign CRLs and answers.
    let revoke = format!("/api/v1/certificates/{}/revoke", first_leaf["serial"].as_str().unwrap());
    client.post(&revoke).json(&json!({"reason": "superseded"})).expect(200);
    until("the old leaf is in the CRL", || {
        verified(&service, &root, "plant", &first_leaf).contains("certificate revoked")
    });
    until("OCSP says so", || ocsp(&service, &root, &first_leaf).contains("leaf.pem: revoked"));
    assert!(verified(&service, &root, "plant.2", &second_leaf).contains("leaf.pem: OK"));
}

/// The CRL at an issuer's address, DER.
fn crl(service: &Service, path_name: &str) -> Option<Vec<u8>> {
    let answer = service.anonymous().get(&format!("{}/pki/{path_name}.crl", service.public())).send();
    (answer.status == 200).then(|| answer.body.to_vec())
}

/// What OpenSSL says of a leaf with its chain and CRLs against the root alone.
fn verified(service: &Service, root: &Value, issuer: &str, leaf: &Value) -> String {
    let scratch = Scratch::new();
    let file = |name: &str| scratch.file(name).display().to_string();
    scratch.write("root.pem", root["certificate"].as_str().unwrap());
    scratch.write("ca.pem", leaf["chain"][0].as_str().unwrap());
    scratch.write("leaf.pem", leaf["certificate"].as_str().unwrap());
    for name in ["offline", issuer] {
        scratch.write("crl.der", crl(service, name).unwrap());
        openssl(&format!("crl -inform DER -in {} -out {}", file("crl.der"), file(&format!("{name}.crl"))));
    }
    let output = attempt(
        "openssl",
        &[
            "verify",
            "-x509_strict",
            "-crl_check_all",
            "-CAfile",
            &file("root.pem"),
            "-untrusted",
            &file("ca.pem"),
            "-CRLfile",
            &file("offline.crl"),
            "-CRLfile",
            &file(&format!("{issuer}.crl")),
            &file("leaf.pem"),
        ],
    );
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What OpenSSL is told of a leaf over OCSP, once it has verified the answer.
fn ocsp(service: &Service, root: &Value, leaf: &Value) -> String {
    let scratch = Scratch::new();
    let file = |name: &str| scratch.file(name).display().to_string();
    scratch.write("root.pem", root["certificate"].as_str().unwrap());
    scratch.write("ca.pem", leaf["chain"][0].as_str().unwrap());
    scratch.write("leaf.pem", leaf["certificate"].as_str().unwrap());
    let url = format!("{}/ocsp/plant", service.public());
    let (root, ca, leaf) = (file("root.pem"), file("ca.pem"), file("leaf.pem"));
    let arguments = ["ocsp", "-issuer", &ca, "-CAfile", &root, "-verify_other", &ca, "-cert", &leaf, "-url", &url];
    let output = attempt("openssl", &arguments);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("Response verify OK"), "{said}");
    said
}

#[test]
fn many_at_once_make_one_key_in_a_token() {
    for database in Database::ALL {
        let hsm = Hsm::new();
        let service = start(database, &hsm);
        let client = service.administrator();
        let post = |client: &Client, path: &str, body: &Value| client.post(path).json(body).send();
        let at_once = |path: &str, body: &Value| -> Vec<u16> {
            std::thread::scope(|scope| {
                let callers: Vec<_> = (0..6).map(|_| scope.spawn(|| post(&client, path, body).status)).collect();
                callers.into_iter().map(|caller| caller.join().unwrap()).collect()
            })
        };
        let body = json!({
            "kind": "subordinate", "name": "crowd", "parent": "root", "subject": "CN=Crowd CA",
            "key": {"storage": "pkcs11", "token": "hsm"},
        });
        for (path, body) in
            [("/api/v1/issuers", body), ("/api/v1/issuers/crowd/rollover", json!({"expected_generation": 1}))]
        {
            let statuses = at_once(path, &body);
            assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
            assert!(statuses.iter().all(|status| [201, 409].contains(status)), "{statuses:?}");
        }
        let keys = service.command(&["keys", "check"]);
        assert!(keys.succeeded && keys.output.contains("crowd.2"), "{}", keys.output);
        // One that waits for a certificate from outside has its key there, too.
        let body = json!({
            "kind": "subordinate", "name": "waiting", "outside": true, "subject": "CN=Waiting CA",
            "key": {"algorithm": "rsa-2048", "storage": "pkcs11", "token": "hsm"},
        });
        client.post("/api/v1/issuers").json(&body).expect(201);
        let scratch = Scratch::new();
        let csr = client.get("/api/v1/issuers/waiting/csr").expect(200).text();
        openssl(&format!("req -in {} -noout -verify", scratch.write("csr", csr).display()));
        assert_eq!(place_of(&service, "waiting")["place"], "pkcs11");
    }
}

#[test]
fn a_rollover_keeps_the_kind_of_place_unless_told() {
    let hsm = Hsm::new();
    let service = start(Database::Sqlite, &hsm);
    let client = service.administrator();
    let body = json!({
        "kind": "root", "name": "filed", "subject": "CN=Filed", "key": {"algorithm": "ecdsa-p384", "storage": "file"}
    });
    client.post("/api/v1/issuers").json(&body).expect(201);
    let second = client.post("/api/v1/issuers/filed/rollover").expect(201).json();
    assert_key_file(&service.data().join("keys/filed.2.key"), &second);
    let roll = |body: Value| client.post("/api/v1/issuers/filed/rollover").json(&body).expect(201).json();
    let third = roll(json!({"key": {"storage": "pkcs11", "token": "hsm"}}));
    assert_eq!(third["key"]["algorithm"], "ecdsa-p384", "the kind of key stays, too");
    assert_eq!(place_of(&service, "filed.3")["place"], "pkcs11");
    roll(json!({"key": {"storage": "database"}}));
    assert_eq!(place_of(&service, "filed.4")["place"], "database");
    roll(json!({"key": {"algorithm": "ecdsa-p256"}}));
    assert_eq!(place_of(&service, "filed.5")["place"], "database");
}

#[test]
fn places_that_cannot_be_are_refused_and_make_nothing() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = service.administrator();
        let name = unique("nowhere");
        let cases = [
            (json!({"storage": "file"}), 409, "keys.file_passphrase"),
            (json!({"storage": "file", "path": "/tmp/here.key"}), 400, "path"),
            (json!({"storage": "file", "token": "hsm"}), 400, "key.token"),
            (json!({"token": "hsm"}), 400, "key.token"),
            (json!({"storage": "pkcs11"}), 400, "key.token"),
            (json!({"storage": "pkcs11", "token": "no-such"}), 400, "there is no token `no-such`"),
            (json!({"storage": "paper"}), 400, "paper"),
        ];
        for (key, status, expected) in cases {
            let body = json!({"kind": "root", "name": name, "subject": format!("CN={name}"), "key": key});
            let answer = client.post("/api/v1/issuers").json(&body).expect(status);
            assert!(answer.text().contains(expected), "{key}: {}", answer.text());
            let answer = client.post("/api/v1/issuers/issuing/rollover").json(&json!({"key": key})).expect(status);
            assert!(answer.text().contains(expected), "{key}: {}", answer.text());
        }
        client.get(&format!("/api/v1/issuers/{name}")).expect(404);
    }
}

#[test]
fn a_key_file_that_a_failed_attempt_left_is_taken_by_the_next() {
    for database in Database::ALL {
        let service = Service::start_with(database, &[("CHANCERY__KEYS__FILE_PASSPHRASE", PASSPHRASE)]);
        let client = service.administrator();
        let (break_it, mend_it) = match database {
            Database::Sqlite => (
                "CREATE TRIGGER broken BEFORE INSERT ON issuers BEGIN SELECT RAISE(ABORT, 'broken'); END",
                "DROP TRIGGER broken",
            ),
            Database::Postgres => (
                "ALTER TABLE issuers ADD CONSTRAINT broken CHECK (generation > 1000) NOT VALID",
                "ALTER TABLE issuers DROP CONSTRAINT broken",
            ),
        };
        let body = json!({
            "kind": "subordinate", "name": "left", "parent": "root", "subject": "CN=Left", "key": {"storage": "file"}
        });
        service.execute(break_it);
        let failed = client.post("/api/v1/issuers").json(&body).send();
        assert!(failed.status >= 500, "{} {}", failed.status, failed.text());
        let path = service.data().join("keys/left.key");
        let before = std::fs::read(&path).unwrap();
        until("the log says so", || service.log().contains("the key file of an issuer that was not recorded stays"));
        client.get("/api/v1/issuers/left").expect(404);
        service.execute(mend_it);
        let mut other = body.clone();
        other["key"]["algorithm"] = json!("ed25519");
        let refused = client.post("/api/v1/issuers").json(&other).expect(409);
        assert!(refused.text().contains("another kind of key"), "{}", refused.text());
        let made = client.post("/api/v1/issuers").json(&body).expect(201).json();
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_key_file(&path, &made);
    }
}

#[test]
fn name_constraints_of_a_new_ca_stand_in_it_and_bind_what_is_below() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let root = root(&client);
        let constraints = json!({
            "permitted": {"dns": ["plant.internal"], "ip": ["10.1.0.0/16"]},
            "excluded": {"dns": ["office.plant.internal"]},
        });
        let ca = below(&client, root["name"].as_str().unwrap(), &json!({"name_constraints": constraints}));
        let scratch = Scratch::new();
        let file = |name: &str, value: &Value| scratch.write(name, value.as_str().unwrap()).display().to_string();
        let (root_pem, ca_pem) = (file("root", &root["certificate"]), file("ca", &ca["certificate"]));
        let text = openssl(&format!("x509 -in {ca_pem} -noout -text"));
        for expected in [
            "X509v3 Name Constraints: critical",
            "Permitted:",
            "DNS:plant.internal",
            "IP:10.1.0.0/255.255.0.0",
            "Excluded:",
            "DNS:office.plant.internal",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        let profile = profile_for(&client, ca["name"].as_str().unwrap());
        let ask = |name: &str| {
            let body = json!({"csr": Csr::for_dns(&[name]).pem(), "profile": profile});
            client.post("/api/v1/certificates").json(&body)
        };
        let leaf = ask("press.plant.internal").expect(201).json();
        let leaf = file("leaf", &leaf["certificate"]);
        openssl(&format!("verify -x509_strict -CAfile {root_pem} -untrusted {ca_pem} {leaf}"));
        for outside in ["press.internal", "mail.office.plant.internal", "notplant.internal"] {
            let refused = ask(outside).expect(422);
            assert!(refused.text().contains("issuer_name_constraints"), "{outside}: {}", refused.text());
        }
    }
}
