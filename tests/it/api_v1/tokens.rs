//! `/api/v1/tokens`: made, listed, revoked; the secret is shown once.

use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::support::csr::Csr;
use crate::support::service::{Database, Service, unique};

#[test]
fn a_token_works_until_it_is_revoked() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let administrator = service.administrator();
        let name = unique("short-lived");
        let body = json!({"name": name, "role": "operator", "validity": "1h"});
        let created = administrator.post("/api/v1/tokens").json(&body).expect(201);
        assert_eq!(created.header("cache-control"), "no-store");
        let token = created.json();
        let secret = token["token"].as_str().unwrap();
        assert!(secret.starts_with("chy_") && secret.len() == 47, "{secret}");
        let client = administrator.bearer(secret);
        client.get("/api/v1/certificates").expect(200);
        administrator.post("/api/v1/tokens").json(&body).expect(409);
        let path = created.header("location").to_owned();
        administrator.delete(&path).expect(204);
        assert_eq!(client.get("/api/v1/certificates").expect(401).problem_code(), "unauthenticated");
        administrator.delete(&path).expect(404);
        administrator.post("/api/v1/tokens").json(&body).expect(201);
    }
}

#[test]
fn lists_show_everything_but_secrets() {
    let service = Service::start(Database::Sqlite);
    let client = service.administrator();
    let grants = json!({"profiles": ["server"], "names": {"dns": {"allow": ["*.shop.internal"]}}});
    let body = json!({"name": "shop", "role": "requester", "grants": grants, "expires_at": "2999-01-01T00:00:00Z"});
    let created = client.post("/api/v1/tokens").json(&body).expect(201).json();
    let listed = client.get("/api/v1/tokens").expect(200);
    assert!(!listed.text().contains("chy_"), "{}", listed.text());
    assert_json_snapshot!(listed.json(), {
        ".items[].id" => "[id]",
        ".items[].created_at" => "[time]",
    });
    let database = std::fs::read(service.data().join("chancery.db")).unwrap();
    let secret = created["token"].as_str().unwrap().as_bytes();
    assert!(!database.windows(secret.len()).any(|window| window == secret), "the secret is in the database");
    assert!(!service.log().contains(created["token"].as_str().unwrap()), "the secret is in the log");
}

#[test]
fn an_expired_token_is_refused() {
    let service = Service::shared(Database::Sqlite);
    let client = service.administrator();
    let body = json!({"name": unique("expiring"), "role": "auditor", "validity": "1s"});
    let token = client.post("/api/v1/tokens").json(&body).expect(201).json();
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let answer = client.bearer(token["token"].as_str().unwrap()).get("/api/v1/audit").expect(401);
    assert_eq!(answer.problem_code(), "unauthenticated");
    assert!(answer.header("www-authenticate").starts_with("Bearer"), "{}", answer.header("www-authenticate"));
}

#[test]
fn bad_tokens_are_refused() {
    let client = Service::shared(Database::Sqlite).administrator();
    for body in [
        json!({}),
        json!({"name": "x"}),
        json!({"role": "auditor"}),
        json!({"name": "", "role": "auditor"}),
        json!({"name": "Upper", "role": "auditor"}),
        json!({"name": "a b", "role": "auditor"}),
        json!({"name": "a".repeat(64), "role": "auditor"}),
        json!({"name": "role", "role": "root"}),
        json!({"name": "past", "role": "auditor", "expires_at": "2000-01-01T00:00:00Z"}),
        json!({"name": "both", "role": "auditor", "expires_at": "2999-01-01T00:00:00Z", "validity": "1d"}),
        json!({"name": "field", "role": "auditor", "colour": "red"}),
        json!({"name": "grants", "role": "requester", "grants": {"profile": ["server"]}}),
        json!({"name": "pattern", "role": "requester", "grants": {"names": {"dns": {"allow": ["a..b"]}}}}),
    ] {
        let answer = client.post("/api/v1/tokens").json(&body).send();
        assert_eq!((answer.status, answer.problem_code().as_str()), (400, "malformed"), "{body}: {}", answer.text());
    }
}

/// The pages of a listing, one by one.
#[test]
fn pages_visit_every_token_once() {
    let service = Service::start(Database::Sqlite);
    let client = service.administrator();
    for number in 0..5 {
        client.post("/api/v1/tokens").json(&json!({"name": format!("t{number}"), "role": "auditor"})).expect(201);
    }
    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("/api/v1/tokens?limit=2{cursor}")).expect(200).json();
        names.extend(page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        match &page["next_cursor"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => break,
        }
    }
    assert_eq!(names, ["t4", "t3", "t2", "t1", "t0", "admin"]);
}

/// Grants hold for everything the token does, and a grant on no profile means none.
#[test]
fn grants_that_name_nothing_admit_nothing() {
    let service = Service::shared(Database::Sqlite);
    let client = service.with_grants("requester", &json!({"profiles": []}));
    let body = json!({"csr": Csr::for_dns(&["a.internal"]).pem(), "profile": "server"});
    assert_eq!(client.post("/api/v1/certificates").json(&body).expect(403).problem_code(), "forbidden");
}

#[test]
fn grants_for_what_does_not_exist_are_refused() {
    let client = Service::shared(Database::Sqlite).administrator();
    for (grants, said) in [
        (json!({"profiles": ["server", "no-such"]}), "there is no profile `no-such`"),
        (json!({"issuers": ["no-such"]}), "there is no issuer `no-such`"),
    ] {
        let body = json!({"name": unique("misspelt"), "role": "requester", "grants": grants});
        let refused = client.post("/api/v1/tokens").json(&body).expect(400);
        assert!(refused.text().contains(said), "{}", refused.text());
    }
}
