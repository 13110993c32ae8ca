//! `/api/v1/audit`: who did what, found again, in unbroken chains.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::csr::Csr;
use crate::support::service::{Database, Service};

fn events(client: &Client, query: &str) -> Vec<Value> {
    let page = client.get(&format!("/api/v1/audit?{query}")).expect(200).json();
    page["items"].as_array().unwrap().clone()
}

#[test]
fn every_action_writes_an_event() {
    for database in Database::ALL {
        let service = Service::start(database);
        let client = service.administrator();
        let record = service.issue(&["audited.internal"]);
        let serial = record["serial"].as_str().unwrap();
        let bad = json!({"csr": Csr::for_dns(&["www.example.org"]).pem(), "profile": "server"});
        let refused = client.post("/api/v1/certificates").json(&bad).expect(422);
        let path = |action: &str| format!("/api/v1/certificates/{serial}/{action}");
        client.post(&path("renew")).json(&json!({})).expect(201);
        client.post(&path("revoke")).json(&json!({"reason": "certificate_hold"})).expect(200);
        client.post(&path("release")).expect(200);
        client.post(&path("revoke")).json(&json!({"reason": "superseded"})).expect(200);
        client.put("/api/v1/profiles/audited").json(&json!({"dns": {"allow": ["**.internal"]}})).expect(201);
        client.delete("/api/v1/profiles/audited").expect(204);
        let token = client.post("/api/v1/tokens").json(&json!({"name": "audited", "role": "auditor"})).expect(201);
        client.delete(token.header("location")).expect(204);
        client.post("/api/v1/issuers/issuing/crl").expect(200);

        let mine = events(&client, "actor=token:admin&limit=1000");
        let shown: Vec<String> = mine
            .iter()
            .rev()
            .map(|event| format!("{} {}", event["action"].as_str().unwrap(), event["outcome"].as_str().unwrap()))
            .collect();
        insta::allow_duplicates! {
            insta::assert_json_snapshot!("every_action_writes_an_event", shown);
        }
        for event in &mine {
            assert_eq!(event["remote_address"], "127.0.0.1", "{event}");
            assert!(!event.to_string().contains("chy_"), "{event}");
        }
        let refusal = events(&client, "outcome=refused");
        assert_eq!(refusal.len(), 1);
        assert_eq!(refusal[0]["request_id"], refused.header("x-request-id"));
        let about = events(&client, &format!("object=certificate:{serial}&action=certificate.*"));
        assert_eq!(about.len(), 4, "{about:?}");
        assert!(events(&client, "action=certificate.iss").is_empty());
        assert!(events(&client, "before=2000-01-01T00:00:00Z").is_empty());
        let verified = client.get("/api/v1/audit/verify").expect(200).json();
        assert_eq!((&verified["intact"], &verified["failures"]), (&json!(true), &json!([])), "{verified}");
        assert!(verified["events"].as_u64().unwrap() >= 11, "{verified}");
    }
}

#[test]
fn pages_visit_every_event_once_newest_first() {
    let service = Service::start(Database::Sqlite);
    let client = service.administrator();
    for _ in 0..5 {
        service.issue(&["paged.internal"]);
    }
    let all = events(&client, "limit=1000");
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("/api/v1/audit?limit=3{cursor}")).expect(200).json();
        seen.extend(page["items"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, all);
    assert!(all.windows(2).all(|pair| number(&pair[0]) > number(&pair[1])));
}

/// The number of an event, which is written as a string.
fn number(event: &Value) -> i64 {
    event["id"].as_str().unwrap().parse().unwrap()
}

/// Somebody alters the database behind the service's back: the check says where.
#[test]
fn tampering_is_noticed() {
    for statement in [
        // One octet of the stored event.
        "UPDATE audit_events SET bytes = CAST(substr(bytes, 1, length(bytes) - 2) || '?' || substr(bytes, -1) AS BLOB) WHERE id = ?",
        // The searchable copy of what the event says.
        "UPDATE audit_events SET actor = 'token:innocent' WHERE id = ?",
        "DELETE FROM audit_events WHERE id = ?",
    ] {
        let mut service = Service::start(Database::Sqlite);
        let serial = service.issue(&["tampered.internal"])["serial"].as_str().unwrap().to_owned();
        service.issue(&["after.internal"]);
        let client = service.administrator();
        assert_eq!(client.get("/api/v1/audit/verify").expect(200).json()["intact"], true);
        let event = events(&client, &format!("action=certificate.issue&object=certificate:{serial}"));
        let id = number(&event[0]).to_string();
        assert!(service.stop().success());
        alter(&service, statement, &id);
        service.restart();
        let verified = service.administrator().get("/api/v1/audit/verify").expect(200).json();
        assert_eq!(verified["intact"], false, "{statement}: {verified}");
        assert_eq!(verified["failures"].as_array().unwrap().len(), 1, "{verified}");
    }
}

/// Runs a statement with Python's `sqlite3` on one row.
fn alter(service: &Service, statement: &str, id: &str) {
    let script = r#"
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
changed = database.execute(sys.argv[2], [int(sys.argv[3])]).rowcount
assert changed == 1, changed
database.commit()
"#;
    let output = Command::new(crate::support::tools::python())
        .args(["-c", script])
        .arg(service.data().join("chancery.db"))
        .args([statement, id])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a caller wanted to change and could not be read is a refusal too; a question that cannot be read is not.
#[test]
fn unreadable_requests_for_a_change_are_written_down() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let events = || client.get("/api/v1/audit?outcome=refused&limit=200").expect(200).json()["items"].clone();
        let written = |id: &str| events().as_array().unwrap().iter().find(|event| event["request_id"] == id).cloned();
        let unreadable = client.post("/api/v1/certificates").body("application/json", "{").expect(400);
        let event = written(unreadable.header("x-request-id")).unwrap();
        assert_eq!(
            (&event["actor"], &event["action"]),
            (&json!("token:admin"), &json!("certificates.issue")),
            "{event}"
        );
        let unknown =
            client.post("/api/v1/tokens").json(&json!({"name": "x", "role": "auditor", "colour": "red"})).expect(400);
        assert_eq!(written(unknown.header("x-request-id")).unwrap()["action"], "tokens.manage");
        let question = client.get("/api/v1/certificates?colour=red").expect(400);
        assert_eq!(written(question.header("x-request-id")), None);
    }
}
