//! `POST /api/v1/issuers`: roots and CAs below them, what is refused, repetition.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::csr::Csr;
use crate::support::service::{Database, Service, issue_with, unique};
use crate::support::tools::{Scratch, openssl};

/// Creates a root with a name of its own and returns it.
pub(super) fn root(client: &Client) -> Value {
    let name = unique("root");
    let body = json!({"kind": "root", "name": name, "subject": format!("CN={name},O=Example"), "path_length": 2});
    client.post("/api/v1/issuers").json(&body).expect(201).json()
}

/// Creates a CA below another, with a name of its own, and returns it.
pub(super) fn below(client: &Client, parent: &str, more: &Value) -> Value {
    let name = unique("ca");
    let mut body = json!({"kind": "subordinate", "name": name, "parent": parent, "subject": format!("CN={name}")});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.post("/api/v1/issuers").json(&body).expect(201).json()
}

/// Makes a profile whose issuer is this one and returns its name.
pub(super) fn profile_for(client: &Client, issuer: &str) -> String {
    let name = unique("profile");
    let document = json!({
        "issuer": issuer,
        "keys": ["ecdsa-p256"],
        "validity": {"default": "1d", "maximum": "2d"},
        "extended_key_usage": {"required": ["server_auth"]},
        "dns": {"allow": ["**.internal"]},
    });
    let answer = client.put(&format!("/api/v1/profiles/{name}")).json(&document).send();
    assert!(answer.status < 300, "{}", answer.text());
    name
}

/// Issues a certificate under an issuer and returns its record.
pub(super) fn issue_under(client: &Client, issuer: &str) -> Value {
    let profile = profile_for(client, issuer);
    issue_with(client, &json!({"csr": Csr::for_dns(&["leaf.internal"]).pem(), "profile": profile}))
}

#[test]
fn a_root_and_a_ca_below_it_issue_what_openssl_accepts() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let root = root(&client);
        let name = root["name"].as_str().unwrap();
        assert_eq!(
            (&root["state"], &root["default"], &root["parent"]),
            (&json!("active"), &json!(false), &Value::Null)
        );
        let bounds = json!({
            "key": {"algorithm": "ecdsa-p384"},
            "validity": "100d",
            "certificate_policies": ["2.23.140.1.2.1"],
            "extended_key_usage": ["server_auth"],
            "crl": {"validity": "2d"},
        });
        let issuing = below(&client, name, &bounds);
        assert_eq!(issuing["parent"], *name);
        assert_eq!(issuing["settings"], json!({"crl": {"validity": "2d"}}));
        let leaf = issue_under(&client, issuing["name"].as_str().unwrap());
        let scratch = Scratch::new();
        let file = |name: &str, value: &Value| scratch.write(name, value.as_str().unwrap()).display().to_string();
        let (root_pem, ca_pem) = (file("root", &root["certificate"]), file("ca", &issuing["certificate"]));
        let leaf_pem = file("leaf", &leaf["certificate"]);
        openssl(&format!("verify -x509_strict -CAfile {root_pem} -untrusted {ca_pem} {leaf_pem}"));
        let text = openssl(&format!("x509 -in {ca_pem} -noout -text"));
        for expected in
            ["CA:TRUE, pathlen:0", "2.23.140.1.2.1", "TLS Web Server Authentication", "secp384r1", "Authority Key Id"]
        {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(text.contains(&format!("/pki/{name}.crl")), "{text}");
        let recorded = client.get(&format!("/api/v1/certificates/{}", issuing["serial"].as_str().unwrap())).expect(200);
        assert_eq!(recorded.json()["issuer"], *name);
    }
}

#[test]
fn what_cannot_be_is_refused_and_creates_nothing() {
    let service = Service::shared(Database::Sqlite);
    let client = service.administrator();
    let parent = root(&client);
    let parent = parent["name"].as_str().unwrap();
    let deepest = below(&client, parent, &json!({}));
    let deepest = deepest["name"].as_str().unwrap();
    let name = unique("refused");
    let with = |more: Value| {
        let mut body = json!({"kind": "subordinate", "name": name, "parent": parent, "subject": format!("CN={name}")});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let cases = [
        (with(json!({"name": "Not Valid"})), 400, "malformed"),
        (with(json!({"name": "issuing"})), 409, "conflict"),
        (with(json!({"subject": ""})), 400, "malformed"),
        (with(json!({"subject": "CN=Chancery Root CA"})), 422, "policy_violation"),
        (with(json!({"parent": "nobody"})), 404, "not_found"),
        (with(json!({"outside": true})), 400, "malformed"),
        (with(json!({"parent": null})), 400, "malformed"),
        (with(json!({"unknown": 1})), 400, "malformed"),
        (with(json!({"kind": "leaf"})), 400, "malformed"),
        (with(json!({"path_length": 2})), 422, "policy_violation"),
        (with(json!({"parent": deepest})), 422, "policy_violation"),
        (with(json!({"validity": "36000d"})), 422, "policy_violation"),
        (with(json!({"validity": "5m"})), 400, "malformed"),
        (with(json!({"validity": "5d", "not_after": "2040-01-01T00:00:00Z"})), 400, "malformed"),
        (with(json!({"key": {"algorithm": "rsa-1024"}})), 400, "malformed"),
        (with(json!({"key": {"storage": "elsewhere"}})), 400, "malformed"),
        (with(json!({"state": "staged", "default": true})), 400, "malformed"),
        (with(json!({"certificate_policies": ["server"]})), 400, "malformed"),
        (with(json!({"crl": {"shards": 5000}})), 400, "malformed"),
    ];
    for (body, status, code) in cases {
        let answer = client.post("/api/v1/issuers").json(&body).expect(status);
        assert_eq!(answer.problem_code(), code, "{body}: {}", answer.text());
    }
    client.get(&format!("/api/v1/issuers/{name}")).expect(404);
    let confined = service.with_grants("administrator", &json!({"issuers": ["issuing"]}));
    let answer = confined.post("/api/v1/issuers").json(&with(json!({}))).expect(403);
    assert_eq!(answer.problem_code(), "forbidden");
}

#[test]
fn a_repetition_gets_the_same_issuer_and_another_request_with_its_key_nothing() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let name = unique("repeated");
        let body = json!({"kind": "root", "name": name, "subject": format!("CN={name}")});
        let post = |body: &Value| client.post("/api/v1/issuers").header("idempotency-key", &name).json(body);
        let first = post(&body).expect(201);
        assert_eq!(first.header("location"), format!("/api/v1/issuers/{name}.1"));
        let again = post(&body).expect(201);
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!(again.json()["fingerprint_sha256"], first.json()["fingerprint_sha256"]);
        let other = json!({"kind": "root", "name": unique("other"), "subject": "CN=Other"});
        assert_eq!(post(&other).expect(422).problem_code(), "idempotency_key_reused");
        assert_eq!(client.post("/api/v1/issuers").json(&body).expect(409).problem_code(), "conflict");
    }
}
