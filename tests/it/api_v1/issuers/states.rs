//! `PATCH /api/v1/issuers/{name}`: states, the default issuer, settings; and issuers that must not sign.

use serde_json::json;

use super::creation::{below, issue_under, profile_for, root};
use crate::support::client::Client;
use crate::support::csr::Csr;
use crate::support::service::{Database, Service};
use crate::support::tools::{Scratch, openssl};

#[test]
fn states_follow_each_other_as_documented() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let parent = root(&client);
        let issuer = below(&client, parent["name"].as_str().unwrap(), &json!({"state": "staged"}));
        let name = issuer["name"].as_str().unwrap();
        let path = format!("/api/v1/issuers/{name}");
        let profile = profile_for(&client, name);
        let issue = || {
            let body = json!({"csr": Csr::for_dns(&["a.internal"]).pem(), "profile": profile});
            client.post("/api/v1/certificates").json(&body)
        };
        let steps = [
            ("retired", 200),
            ("staged", 409),
            ("active", 200),
            ("active", 200),
            ("staged", 409),
            ("retired", 200),
            ("active", 200),
            ("disabled", 200),
            ("active", 409),
            ("staged", 200),
            ("disabled", 200),
            ("retired", 200),
        ];
        for (state, status) in steps {
            let before = client.get(&path).expect(200).json()["state"].clone();
            let answer = client.patch(&path).json(&json!({"state": state})).expect(status);
            let after = client.get(&path).expect(200).json()["state"].clone();
            if status == 200 {
                assert_eq!((&answer.json()["state"], &after), (&json!(state), &json!(state)));
            } else {
                assert_eq!(answer.problem_code(), "conflict");
                assert_eq!(after, before);
            }
            assert_eq!(issue().send().status, if after == "active" { 201 } else { 409 }, "{after}");
        }
        client.patch(&path).json(&json!({"state": "gone"})).expect(400);
        client.patch(&path).json(&json!({"unknown": true})).expect(400);
        client.patch("/api/v1/issuers/nobody").json(&json!({"state": "retired"})).expect(404);
        let confined = Service::shared(database).with_grants("administrator", &json!({"issuers": ["issuing"]}));
        confined.patch(&path).json(&json!({"state": "active"})).expect(403);
    }
}

#[test]
fn there_is_always_one_default_issuer() {
    let service = Service::start(Database::Sqlite);
    let client = service.administrator();
    let other = below(&client, "root", &json!({}));
    let other = format!("/api/v1/issuers/{}", other["name"].as_str().unwrap());
    for body in [json!({"state": "disabled"}), json!({"state": "retired"}), json!({"default": false})] {
        assert_eq!(client.patch("/api/v1/issuers/issuing").json(&body).expect(409).problem_code(), "conflict");
    }
    assert_eq!(client.patch(&other).json(&json!({"default": true})).expect(200).json()["default"], true);
    assert_eq!(client.get("/api/v1/issuers/issuing").expect(200).json()["default"], false);
    client.patch("/api/v1/issuers/issuing").json(&json!({"state": "disabled"})).expect(200);
    client.patch("/api/v1/issuers/issuing").json(&json!({"default": true})).expect(409);
    assert_eq!(service.issue(&["elsewhere.internal"])["issuer"], other.rsplit('/').next().unwrap());
}

#[test]
fn settings_are_kept_and_checked() {
    let client = Service::shared(Database::Postgres).administrator();
    let issuer = root(&client);
    let path = format!("/api/v1/issuers/{}", issuer["name"].as_str().unwrap());
    let urls = json!({"crl": ["http://elsewhere.internal/a.crl"], "ca_issuers": []});
    let answer = client.patch(&path).json(&json!({"urls": urls, "crl": {"validity": "3d"}})).expect(200).json();
    assert_eq!(answer["settings"], json!({"crl": {"validity": "3d"}, "urls": urls}));
    let child = below(&client, issuer["name"].as_str().unwrap(), &json!({}));
    let scratch = Scratch::new();
    let file = scratch.write("ca", child["certificate"].as_str().unwrap()).display().to_string();
    let text = openssl(&format!("x509 -in {file} -noout -text"));
    assert!(!text.contains("CA Issuers"), "{text}");
    assert!(text.contains("http://elsewhere.internal/a.crl"), "{text}");
    let of_leaf = |client: &Client| {
        let leaf = issue_under(client, issuer["name"].as_str().unwrap());
        let file = scratch.write("leaf", leaf["certificate"].as_str().unwrap()).display().to_string();
        openssl(&format!("x509 -in {file} -noout -text"))
    };
    let text = of_leaf(&client);
    assert!(text.contains("OCSP - URI") && !text.contains("CA Issuers"), "{text}");
    let more = json!({"crl": ["http://elsewhere.internal/a.crl"], "ca_issuers": [], "ocsp": []});
    let deltas = json!({"validity": "3d", "delta_interval": "1h"});
    client.patch(&path).json(&json!({"urls": more, "crl": deltas})).expect(200);
    let text = of_leaf(&client);
    assert!(!text.contains("Authority Information Access"), "{text}");
    let child = below(&client, issuer["name"].as_str().unwrap(), &json!({}));
    let file = scratch.write("ca", child["certificate"].as_str().unwrap()).display().to_string();
    let text = openssl(&format!("x509 -in {file} -noout -text"));
    assert!(!text.contains("Authority Information Access"), "{text}");
    assert!(text.contains("Freshest CRL") && text.contains("/delta.crl"), "{text}");
    client.patch(&path).json(&json!({"urls": urls})).expect(200);
    client.patch(&path).json(&json!({"crl": {"shards": 9999}})).expect(400);
    let answer = client.patch(&path).json(&json!({"crl": {}})).expect(200).json();
    assert_eq!(answer["settings"], json!({"urls": urls}));
}

#[test]
fn an_issuer_under_a_revoked_certificate_signs_nothing_until_it_is_renewed() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let parent = root(&client);
        let issuer = below(&client, parent["name"].as_str().unwrap(), &json!({}));
        let name = issuer["name"].as_str().unwrap();
        issue_under(&client, name);
        let revoke = format!("/api/v1/certificates/{}/revoke", issuer["serial"].as_str().unwrap());
        client.post(&revoke).json(&json!({"reason": "superseded"})).expect(200);
        let profile = profile_for(&client, name);
        let body = json!({"csr": Csr::for_dns(&["a.internal"]).pem(), "profile": profile});
        let started = std::time::Instant::now();
        while client.post("/api/v1/certificates").json(&body).send().status == 201 {
            assert!(started.elapsed().as_secs() < 30, "the revocation is not noticed");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let answer = client.post("/api/v1/certificates").json(&body).expect(409);
        assert!(answer.text().contains("revoked"), "{}", answer.text());
        assert_eq!(client.get(&format!("/api/v1/issuers/{name}")).expect(200).json()["revoked"], true);
        client.post(&format!("/api/v1/issuers/{name}/rollover")).json(&json!({"renew_only": true})).expect(201);
        client.post("/api/v1/certificates").json(&body).expect(201);
    }
}

/// As it is with one that was imported, or issued for a request and installed later.
#[test]
fn the_certificate_of_an_issuer_is_an_administrators_to_revoke_whoever_recorded_it() {
    for database in Database::ALL {
        let service = Service::start(database);
        let client = service.administrator();
        let issuing = client.get("/api/v1/issuers/issuing").expect(200).json()["serial"].clone();
        service.execute("UPDATE certificates SET source = 0");
        let path = format!("/api/v1/certificates/{}/revoke", issuing.as_str().unwrap());
        let revocation = json!({"reason": "superseded"});
        let operator = service.with_role("operator");
        assert_eq!(operator.post(&path).json(&revocation).expect(403).problem_code(), "forbidden");
        let body = json!({"filter": {"issuer": "root"}, "reason": "superseded", "dry_run": true});
        let bulk = client.post("/api/v1/certificates/revoke").json(&body).expect(200).json();
        assert!(!bulk["serials"].as_array().unwrap().contains(&issuing), "{bulk}");
        client.post(&path).json(&revocation).expect(200);
    }
}

#[test]
fn what_ends_soon_is_warned_of_and_the_service_stays_ready() {
    let service = Service::start_with(Database::Sqlite, &[("CHANCERY__ISSUERS__EXPIRY_WARNING", "30d")]);
    let client = service.administrator();
    assert_eq!(client.get("/readyz").expect(200).json()["warnings"], json!([]));
    let issuer = below(&client, "root", &json!({"validity": "20d"}));
    let name = issuer["name"].as_str().unwrap();
    let ready = client.get("/readyz").expect(200).json();
    assert_eq!(ready["warnings"][0]["object"], format!("issuer:{name}"), "{ready}");
    let metrics = crate::support::client::Client::new(service.metrics(), None).get("/metrics").expect(200).text();
    assert!(metrics.contains("chancery_expiry_warnings 1"), "{metrics}");
    assert!(metrics.contains(&format!("chancery_issuer_expiry_timestamp_seconds{{issuer=\"{name}\"}}")), "{metrics}");
}
