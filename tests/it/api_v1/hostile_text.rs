//! Text that a database or an index could choke on: NUL characters and very long names, wherever a client may send text.

use serde_json::json;

use crate::support::csr::Csr;
use crate::support::service::{Database, Service};

#[test]
fn nul_characters_are_refused_and_break_nothing() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        for path in [
            "/api/v1/certificates?requester=%00",
            "/api/v1/certificates?profile=a%00",
            "/api/v1/certificates?subject=%00",
            "/api/v1/certificates?label=a:%00",
            "/api/v1/audit?actor=%00",
            "/api/v1/audit?action=%00",
            "/api/v1/audit?object=%00",
            "/api/v1/profiles/%00?version=1",
            "/api/v1/issuers/%00",
            "/api/v1/certificates/%00",
        ] {
            let answer = client.get(path).send();
            assert!(matches!(answer.status, 400 | 404), "{database:?} {path}: {} {}", answer.status, answer.text());
        }
        client.delete("/api/v1/tokens/%00").expect(404);
        client.delete("/api/v1/profiles/%00").expect(404);
        let body = json!({"filter": {"subject": "\u{0}"}, "reason": "superseded", "dry_run": true});
        client.post("/api/v1/certificates/revoke").json(&body).expect(400);
    }
}

#[test]
fn a_name_too_long_for_an_index_is_refused_and_the_refusal_is_audited() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        // Random enough not to be compressed under the limit of an index row.
        let long: String =
            (0..6000_u32).map(|n| char::from(b'a' + u8::try_from((n * n * 31 + n * 7) % 26).unwrap())).collect();
        let body = json!({"csr": Csr::for_dns(&["long.internal"]).pem(), "profile": long});
        let refused = client.post("/api/v1/certificates").json(&body).expect(404);
        assert!(refused.text().len() < 1000, "the name is not repeated whole: {}", refused.text());
        let request = refused.header("x-request-id").to_owned();
        let events = client.get("/api/v1/audit?action=certificate.issue&outcome=refused&limit=50").expect(200).json();
        let found = events["items"].as_array().unwrap().iter().any(|event| event["request_id"] == request.as_str());
        assert!(found, "{events}");
    }
}

#[test]
fn an_empty_condition_revokes_nothing() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        for filter in [json!({"subject": ""}), json!({"profile": ""}), json!({"requester": ""})] {
            let body = json!({"filter": filter, "reason": "superseded"});
            let refused = client.post("/api/v1/certificates/revoke").json(&body).expect(400);
            assert!(refused.text().contains("is empty"), "{}", refused.text());
        }
    }
}
