//! `POST /api/v1/certificates/{serial}/renew`: same names, new validity, judged anew.

use serde_json::{Value, json};

use crate::support::csr::{Csr, Key};
use crate::support::service::{Database, Service, issue_with, unique};

fn path(record: &Value) -> String {
    format!("/api/v1/certificates/{}/renew", record["serial"].as_str().unwrap())
}

#[test]
fn the_same_key_is_certified_again_with_the_same_names() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let csr = Csr::for_dns(&["renewed.internal", "*.renewed.internal"]).common_name("renewed.internal");
        let body = json!({"csr": csr.pem(), "profile": "server", "validity": "1d", "labels": {"a": "b"}});
        let old = issue_with(&client, &body);
        let new = client.post(&path(&old)).expect(201).json();
        assert_ne!(new["serial"], old["serial"]);
        for field in ["subject", "subject_alt_names", "key", "profile", "issuer", "labels"] {
            assert_eq!(new[field], old[field], "{field}");
        }
        assert_ne!(new["not_after"], old["not_after"], "the profile's default validity, not the old one");
        let unchanged = client.get(&format!("/api/v1/certificates/{}", old["serial"].as_str().unwrap())).expect(200);
        assert_eq!(unchanged.json(), old, "the old one stays as it is");
    }
}

#[test]
fn a_new_key_may_be_brought() {
    let client = Service::shared(Database::Sqlite).administrator();
    let old = issue_with(&client, &json!({"csr": Csr::for_dns(&["rekeyed.internal"]).pem(), "profile": "server"}));
    for csr in [Csr::for_dns(&["rekeyed.internal"]), Csr::new()] {
        let body = json!({"csr": csr.pem(), "validity": "3d", "labels": {"new": "label"}});
        let new = client.post(&path(&old)).json(&body).expect(201).json();
        assert_ne!(new["key"], old["key"]);
        assert_eq!(new["subject_alt_names"], old["subject_alt_names"]);
        assert_eq!(new["labels"], json!({"new": "label"}));
    }
    let other = json!({"csr": Csr::for_dns(&["other.internal"]).pem()});
    let refused = client.post(&path(&old)).json(&other).send();
    assert!((400..=422).contains(&refused.status), "other names: {} {}", refused.status, refused.text());
}

/// A profile that became stricter holds for renewals too, and a compromised key is not certified again.
#[test]
fn the_policy_is_judged_anew() {
    let client = Service::shared(Database::Sqlite).administrator();
    let name = unique("tightened");
    let profile = format!("/api/v1/profiles/{name}");
    client.put(&profile).json(&json!({"dns": {"allow": ["**.internal"]}})).expect(201);
    let old = issue_with(&client, &json!({"csr": Csr::for_dns(&["old.internal"]).pem(), "profile": name}));
    client.put(&profile).json(&json!({"dns": {"allow": ["new.internal"]}})).expect(200);
    let refused = client.post(&path(&old)).json(&json!({})).expect(422);
    assert_eq!(refused.violation_codes(), ["name_not_allowed"]);
    client.put(&profile).json(&json!({"dns": {"allow": ["**.internal"]}, "renew_same_key": false})).expect(200);
    let refused = client.post(&path(&old)).json(&json!({})).send();
    assert!(matches!(refused.status, 409 | 422), "the same key: {} {}", refused.status, refused.text());
    client.post(&path(&old)).json(&json!({"csr": Csr::new().pem()})).expect(201);

    let key = Key::new();
    let issue = || {
        issue_with(&client, &json!({"csr": Csr::for_dns(&["blocked.internal"]).pem_with(&key), "profile": "server"}))
    };
    let (first, second) = (issue(), issue());
    let revoke = format!("/api/v1/certificates/{}/revoke", first["serial"].as_str().unwrap());
    client.post(&revoke).json(&json!({"reason": "key_compromise"})).expect(200);
    let refused = client.post(&path(&second)).json(&json!({})).expect(422);
    assert_eq!(refused.violation_codes(), ["key_blocked"]);
}

/// The answer to a repeated request does not depend on what became of the old certificate.
#[test]
fn a_repeated_renewal_gives_the_same_answer_after_the_old_certificate_was_revoked() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let old = issue_with(&client, &json!({"csr": Csr::for_dns(&["repeated.internal"]).pem(), "profile": "server"}));
        let key = unique("renewal");
        let renew = || client.post(&path(&old)).header("Idempotency-Key", &key).json(&json!({})).expect(201).json();
        let new = renew();
        let revoke = path(&old).replace("/renew", "/revoke");
        client.post(&revoke).json(&json!({"reason": "superseded"})).expect(200);
        assert_eq!(renew(), new);
        client.post(&path(&old)).json(&json!({})).expect(409);
    }
}
