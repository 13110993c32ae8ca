//! Issuers whose keys are compromised: they sign no certificates, and nobody certifies their keys again.

use serde_json::{Value, json};

use super::creation::{below, issue_under, profile_for, root};
use super::outside::OfflineRoot;
use crate::support::client::{Answer, Client};
use crate::support::csr::Csr;
use crate::support::service::{Database, Service, unique};
use crate::support::tools::openssl;

fn revoke(client: &Client, issuer: &Value, reason: &str) {
    let path = format!("/api/v1/certificates/{}/revoke", issuer["serial"].as_str().unwrap());
    client.post(&path).json(&json!({"reason": reason})).expect(200);
}

fn block(client: &Client, csr: &str) {
    client.post("/api/v1/revocations/by-key").json(&json!({"csr": csr})).expect(200);
}

fn roll_over(client: &Client, issuer: &Value, body: &Value) -> Answer {
    client.post(&format!("/api/v1/issuers/{}/rollover", issuer["name"].as_str().unwrap())).json(body).send()
}

fn assert_blocked(answer: &Answer) {
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert_eq!(answer.violation_codes(), ["key_blocked"]);
}

/// The offline root, imported with its key.
fn imported(offline: &OfflineRoot, name: &str) -> Value {
    let key = std::fs::read_to_string(offline.path("root.key")).unwrap();
    json!({
        "kind": "import",
        "name": name,
        "certificate": offline.pem(),
        "private_key": key,
        "passphrase": "correct horse battery",
    })
}

/// A request that says that the root's key is to be revoked.
fn proof(offline: &OfflineRoot) -> String {
    let (key, pass, out) = (offline.path("root.key"), offline.path("pass"), offline.path("revoke.csr"));
    openssl(&format!("req -new -key {key} -passin file:{pass} -subj /CN=revoke -out {out}"));
    std::fs::read_to_string(out).unwrap()
}

#[test]
fn an_issuer_that_was_revoked_as_compromised_gets_no_other_certificate() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let parent = root(&client);
        for reason in ["ca_compromise", "key_compromise"] {
            let issuer = below(&client, parent["name"].as_str().unwrap(), &json!({}));
            let name = issuer["name"].as_str().unwrap();
            let profile = profile_for(&client, name);
            issue_under(&client, name);
            revoke(&client, &issuer, reason);
            let body = json!({"csr": Csr::for_dns(&["leaf.internal"]).pem(), "profile": profile});
            client.post("/api/v1/certificates").json(&body).expect(409);
            assert_blocked(&roll_over(&client, &issuer, &json!({"renew_only": true})));
            assert_blocked(&roll_over(&client, &issuer, &json!({"renew_only": true, "outside": true})));
            let next = roll_over(&client, &issuer, &json!({}));
            assert_eq!(next.status, 201, "a new key helps: {}", next.text());
            client.post("/api/v1/certificates").json(&body).expect(201);
        }
        // Whether the key may stay depends on the reason.
        for (reason, status) in [
            ("superseded", 201),
            ("affiliation_changed", 201),
            ("unspecified", 409),
            ("privilege_withdrawn", 409),
            ("certificate_hold", 409),
        ] {
            let issuer = below(&client, parent["name"].as_str().unwrap(), &json!({}));
            revoke(&client, &issuer, reason);
            let answer = roll_over(&client, &issuer, &json!({"renew_only": true}));
            assert_eq!(answer.status, status, "{reason}: {}", answer.text());
        }
    }
}

#[test]
fn an_outside_certificate_for_a_blocked_key_is_refused() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let name = unique("blocked");
        let body = json!({"kind": "subordinate", "name": name, "outside": true, "subject": format!("CN={name}")});
        client.post("/api/v1/issuers").json(&body).expect(201);
        let csr = client.get(&format!("/api/v1/issuers/{name}/csr")).expect(200).text();
        block(&client, &csr);
        let offline = OfflineRoot::new();
        let bundle = format!("{}{}", offline.sign(&csr, 300, None), offline.pem());
        let put = client.put(&format!("/api/v1/issuers/{name}/certificate")).json(&json!({"certificate": bundle}));
        assert_blocked(&put.send());
        assert_eq!(client.get(&format!("/api/v1/issuers/{name}")).expect(200).json()["pending"], true);
    }
}

#[test]
fn a_blocked_key_is_not_imported_as_an_issuer() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let offline = OfflineRoot::new();
        block(&client, &proof(&offline));
        let name = unique("imported");
        assert_blocked(&client.post("/api/v1/issuers").json(&imported(&offline, &name)).send());
        client.get(&format!("/api/v1/issuers/{name}")).expect(404);
    }
}

#[test]
fn a_root_whose_key_is_blocked_signs_nothing_and_is_not_certified_by_the_next() {
    let url = crate::support::new_postgres_database();
    let settings = [
        ("CHANCERY__DATABASE__URL", url.as_str()),
        ("CHANCERY__KEYS__KEY_ENCRYPTION_KEY", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
    ];
    let first = Service::start_with(Database::Sqlite, &settings);
    let second = Service::start_with(Database::Sqlite, &settings);
    let (client, elsewhere) = (first.administrator(), second.administrator());
    let offline = OfflineRoot::new();
    let name = unique("imported");
    let issuer = client.post("/api/v1/issuers").json(&imported(&offline, &name)).expect(201).json();
    let profile = profile_for(&client, &name);
    let body = json!({"csr": Csr::for_dns(&["leaf.internal"]).pem(), "profile": profile});
    client.post("/api/v1/certificates").json(&body).expect(201);
    super::rollover::until("the other replica knows the issuer", || {
        elsewhere.post("/api/v1/certificates").json(&body).send().status == 201
    });
    block(&client, &proof(&offline));
    client.post("/api/v1/certificates").json(&body).expect(409);
    super::rollover::until("the other replica notices", || {
        elsewhere.post("/api/v1/certificates").json(&body).send().status == 409
    });
    let shown = client.get(&format!("/api/v1/issuers/{name}")).expect(200).json();
    assert_eq!(shown["revoked"], true, "{shown}");
    assert_blocked(&roll_over(&client, &issuer, &json!({"renew_only": true})));
    assert_blocked(&roll_over(&client, &issuer, &json!({})));
    let next = roll_over(&client, &issuer, &json!({"cross_certificates": false}));
    assert_eq!(next.status, 201, "{}", next.text());
    client.post("/api/v1/certificates").json(&body).expect(201);
}
