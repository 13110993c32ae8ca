//! `Idempotency-Key`: one certificate for one key, however many callers, through a restart, on both databases.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::client::{Client, Request};
use crate::support::csr::Csr;
use crate::support::service::{Database, Service, unique};

fn request(client: &Client, body: &Value, key: &str) -> Request {
    client.post("/api/v1/certificates").json(body).header("idempotency-key", key)
}

fn body(name: &str) -> Value {
    json!({"csr": Csr::for_dns(&[name]).pem(), "profile": "server"})
}

#[test]
fn thirty_two_concurrent_callers_get_one_certificate() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = service.administrator();
        for round in 0..3 {
            let name = format!("{}.internal", unique("raced"));
            let body = body(&name);
            let key = unique("key");
            let answers: Vec<_> = std::thread::scope(|scope| {
                let callers: Vec<_> = (0..32).map(|_| scope.spawn(|| request(&client, &body, &key).send())).collect();
                callers.into_iter().map(|caller| caller.join().unwrap()).collect()
            });
            let certificates: BTreeSet<String> = answers
                .iter()
                .map(|answer| answer.clone().expect(201).json()["certificate"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(certificates.len(), 1, "{database:?}, round {round}");
            let first = answers.iter().filter(|answer| answer.header("idempotency-replayed") != "true").count();
            assert_eq!(first, 1, "{database:?}, round {round}: one was not a replay");
            let listed = client.get(&format!("/api/v1/certificates?name={name}")).expect(200).json();
            assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{database:?}, round {round}");
        }
    }
}

#[test]
fn the_answer_survives_a_restart_and_a_kill() {
    for database in Database::ALL {
        let mut service = Service::start(database);
        let body = body("restarted.internal");
        let first = request(&service.administrator(), &body, "once").expect(201).json();
        assert!(service.stop().success(), "{}", service.log());
        service.restart();
        let again = request(&service.administrator(), &body, "once").expect(201);
        assert_eq!(
            (again.header("idempotency-replayed"), &again.json()["certificate"]),
            ("true", &first["certificate"])
        );
        service.kill_and_restart();
        let again = request(&service.administrator(), &body, "once").expect(201).json();
        assert_eq!(again["certificate"], first["certificate"]);
        let listed = service.administrator().get("/api/v1/certificates?name=restarted.internal").expect(200).json();
        assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{database:?}");
    }
}

#[test]
fn another_request_under_the_same_key_is_refused() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let key = unique("reused");
        let first = body("first.internal");
        request(&client, &first, &key).expect(201);
        let mut changed = first.clone();
        changed["validity"] = json!("1d");
        let pem = first["csr"].as_str().unwrap().to_owned();
        for (what, other) in [
            ("another CSR", request(&client, &body("first.internal"), &key)),
            ("another validity", request(&client, &changed, &key)),
            (
                "another path",
                client
                    .post("/api/v1/certificates?profile=server")
                    .body("application/pkcs10", pem)
                    .header("idempotency-key", &key),
            ),
        ] {
            assert_eq!(other.expect(422).problem_code(), "idempotency_key_reused", "{what}");
        }
        request(&client, &first, &key).expect(201);
    }
}

#[test]
fn keys_belong_to_their_caller() {
    let service = Service::shared(Database::Sqlite);
    let (one, other) = (service.with_role("requester"), service.with_role("requester"));
    let key = unique("shared");
    let body = body("caller.internal");
    let first = request(&one, &body, &key).expect(201).json();
    let second = request(&other, &body, &key).expect(201).json();
    assert_ne!(first["serial"], second["serial"]);
}

/// A refusal does not use up the key: the corrected request may be sent under it.
#[test]
fn a_refusal_leaves_the_key_free() {
    let client = Service::shared(Database::Sqlite).administrator();
    let key = unique("refused");
    request(&client, &body("www.example.org"), &key).expect(422);
    request(&client, &body("good.internal"), &key).expect(201);
}

/// What was answered once is answered again, whatever would be refused by now.
#[test]
fn an_answer_outlives_the_profile_that_it_was_given_under() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let profile = unique("short-lived");
        let path = format!("/api/v1/profiles/{profile}");
        client.put(&path).json(&json!({"dns": {"allow": ["**.internal"]}})).expect(201);
        let body = json!({"csr": Csr::for_dns(&["outlives.internal"]).pem(), "profile": profile});
        let key = unique("outlives");
        let first = request(&client, &body, &key).expect(201).json();
        client.put(&path).json(&json!({"dns": {"allow": ["**.elsewhere"]}})).expect(200);
        request(&client, &body, &unique("new")).expect(422);
        let again = request(&client, &body, &key).expect(201);
        assert_eq!((again.header("idempotency-replayed"), &again.json()["serial"]), ("true", &first["serial"]));
        client.request("DELETE", &path).send();
        let again = request(&client, &body, &key).expect(201);
        assert_eq!(again.json()["serial"], first["serial"]);
    }
}

#[test]
fn renewals_and_tokens_are_idempotent_too() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = service.administrator();
        let record = service.issue(&["idempotent.internal"]);
        let renew = client
            .post(&format!("/api/v1/certificates/{}/renew", record["serial"].as_str().unwrap()))
            .json(&json!({}))
            .header("idempotency-key", &unique("renewal"));
        let first = renew.clone().expect(201).json();
        assert_eq!(renew.expect(201).json()["serial"], first["serial"]);

        let token = client
            .post("/api/v1/tokens")
            .json(&json!({"name": unique("idempotent"), "role": "auditor"}))
            .header("idempotency-key", &unique("token"));
        let first = token.clone().expect(201);
        let again = token.expect(201);
        assert_eq!(again.json(), first.json(), "the secret too");
        assert_eq!((first.header("cache-control"), again.header("cache-control")), ("no-store", "no-store"));
    }
}
