//! Revocation, hold and release, one by one and in bulk, and the CRL that follows.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::csr::Csr;
use crate::support::service::{Database, Service, issue_with, unique};
use crate::support::tools::{Scratch, openssl};

fn act(client: &Client, serial: &str, action: &str, body: &Value) -> crate::support::client::Answer {
    client.post(&format!("/api/v1/certificates/{serial}/{action}")).json(body).send()
}

fn serial(record: &Value) -> String {
    record["serial"].as_str().unwrap().to_owned()
}

#[test]
fn revoking_again_with_the_same_reason_changes_nothing() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = service.administrator();
        let serial = serial(&service.issue(&["revoke.internal"]));
        let reason = json!({"reason": "superseded"});
        let first = act(&client, &serial, "revoke", &reason).expect(200).json();
        assert_eq!((&first["status"], &first["revocation"]["reason"]), (&json!("revoked"), &json!("superseded")));
        assert_eq!(act(&client, &serial, "revoke", &reason).expect(200).json(), first);
        let other = act(&client, &serial, "revoke", &json!({"reason": "affiliation_changed"})).expect(409);
        assert_eq!(other.problem_code(), "conflict");
        assert_eq!(act(&client, &serial, "release", &json!({})).expect(409).problem_code(), "conflict");
        assert_eq!(act(&client, &serial, "renew", &json!({})).expect(409).problem_code(), "conflict");
    }
}

#[test]
fn a_hold_is_lifted_or_becomes_a_revocation() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = service.administrator();
        let number = serial(&service.issue(&["hold.internal"]));
        assert_eq!(act(&client, &number, "release", &json!({})).expect(409).problem_code(), "conflict");
        let held = act(&client, &number, "revoke", &json!({"reason": "certificate_hold"})).expect(200).json();
        assert_eq!(held["status"], "on_hold");
        let released = client.post(&format!("/api/v1/certificates/{number}/release")).expect(200).json();
        assert_eq!((&released["status"], &released["revocation"]), (&json!("valid"), &Value::Null));
        act(&client, &number, "revoke", &json!({"reason": "certificate_hold"})).expect(200);
        let revoked = act(&client, &number, "revoke", &json!({"reason": "key_compromise"})).expect(200).json();
        assert_eq!(
            (&revoked["status"], &revoked["revocation"]["reason"]),
            (&json!("revoked"), &json!("key_compromise"))
        );
    }
}

#[test]
fn bad_revocations_are_refused() {
    let service = Service::shared(Database::Sqlite);
    let client = service.administrator();
    let number = serial(&service.issue(&["refused.internal"]));
    for (body, status) in [
        (json!({}), 400),
        (json!({"reason": "because"}), 400),
        (json!({"reason": "remove_from_crl"}), 400),
        (json!({"reason": 1}), 400),
        (json!({"reason": "superseded", "colour": "red"}), 400),
        (json!({"reason": "superseded", "invalidity_date": "2999-01-01T00:00:00Z"}), 400),
    ] {
        assert_eq!(act(&client, &number, "revoke", &body).expect(status).problem_code(), "malformed", "{body}");
    }
    let removed = act(&client, &number, "revoke", &json!({"reason": "remove_from_crl"})).expect(400).json();
    let detail = removed["detail"].as_str().unwrap();
    assert!(detail.contains("/release`") && detail.contains("reason"), "{detail}");
    let unknown = act(&client, "0123456789abcdef", "revoke", &json!({"reason": "superseded"})).expect(404);
    assert_eq!(unknown.problem_code(), "not_found");
    let record = client.get(&format!("/api/v1/certificates/{number}")).expect(200).json();
    assert_eq!(record["status"], "valid");
}

/// The number of a CRL and the serial numbers in it with their reasons, as OpenSSL reads them, once it verified the signature.
fn read_crl(service: &Service, der: &[u8]) -> (i64, Vec<(String, String)>) {
    let scratch = Scratch::new();
    let file = scratch.write("crl", der);
    let chain = scratch.write("chain.pem", service.file("chain.pem"));
    openssl(&format!("crl -inform DER -in {} -noout -CAfile {} -verify", file.display(), chain.display()));
    let text = openssl(&format!("crl -inform DER -in {} -noout -text", file.display()));
    let after = |label: &str, text: &str| {
        text.split_once(label).map(|(_, rest)| rest.split_whitespace().next().unwrap().to_owned())
    };
    let number = after("X509v3 CRL Number:", &text).unwrap().parse().unwrap();
    let entries = text
        .split("Serial Number: ")
        .skip(1)
        .map(|part| {
            let serial = part.split_whitespace().next().unwrap().to_lowercase();
            let reason =
                part.split_once("X509v3 CRL Reason Code:").map_or("", |(_, rest)| rest.trim().lines().next().unwrap());
            (serial, reason.to_owned())
        })
        .collect();
    (number, entries)
}

#[test]
fn the_crl_follows_revocation_hold_and_release() {
    for database in Database::ALL {
        let service = Service::start_with(database, &[("CHANCERY__CRL__DELAY_AFTER_REVOCATION", "1s")]);
        let client = service.administrator();
        let fetch = || client.get(&format!("{}/pki/issuing.crl", service.public())).expect(200).body;
        let await_entries = |expected: &[(String, String)]| {
            let started = Instant::now();
            loop {
                let (number, mut entries) = read_crl(&service, &fetch());
                entries.sort();
                let mut expected = expected.to_vec();
                expected.sort();
                if entries == expected {
                    return number;
                }
                assert!(
                    started.elapsed() < Duration::from_secs(30),
                    "{database:?}: {entries:?} instead of {expected:?}"
                );
                std::thread::sleep(Duration::from_millis(100));
            }
        };
        let first = await_entries(&[]);
        let (one, two) = (serial(&service.issue(&["one.internal"])), serial(&service.issue(&["two.internal"])));
        let date = json!({"reason": "key_compromise", "invalidity_date": "2020-01-01T00:00:00Z"});
        act(&client, &one, "revoke", &date).expect(200);
        act(&client, &two, "revoke", &json!({"reason": "certificate_hold"})).expect(200);
        let compromised = (one, "Key Compromise".to_owned());
        let held = (two.clone(), "Certificate Hold".to_owned());
        let second = await_entries(&[compromised.clone(), held]);
        client.post(&format!("/api/v1/certificates/{two}/release")).expect(200);
        let third = await_entries(&[compromised]);
        assert!(first < second && second < third, "CRL numbers rise: {first}, {second}, {third}");
        let published = client.post("/api/v1/issuers/issuing/crl").expect(200).json();
        assert!(published["number"].as_i64().unwrap() > third, "{published}");
    }
}

#[test]
fn bulk_revocation_touches_what_the_filter_matches_and_nothing_else() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = service.administrator();
        let label = unique("bulk");
        let issue = |value: &str| {
            let csr = Csr::for_dns(&["bulk.internal"]).pem();
            serial(&issue_with(&client, &json!({"csr": csr, "profile": "server", "labels": {"bulk": value}})))
        };
        let chosen = [issue(&label), issue(&label), issue(&label)];
        let other = issue("another");
        act(&client, &chosen[2], "revoke", &json!({"reason": "affiliation_changed"})).expect(200);
        let mut body = json!({"filter": {"label": [format!("bulk:{label}")]}, "reason": "superseded", "dry_run": true});
        let dry = client.post("/api/v1/certificates/revoke").json(&body).expect(200).json();
        assert_eq!((&dry["dry_run"], &dry["matched"], &dry["revoked"]), (&json!(true), &json!(2), &json!(0)), "{dry}");
        let status =
            |serial: &str| client.get(&format!("/api/v1/certificates/{serial}")).expect(200).json()["status"].clone();
        assert_eq!(status(&chosen[0]), "valid");
        body["dry_run"] = json!(false);
        let done = client.post("/api/v1/certificates/revoke").json(&body).expect(200).json();
        assert_eq!((&done["matched"], &done["revoked"]), (&json!(2), &json!(2)), "{done}");
        assert_eq!(
            (status(&chosen[0]), status(&chosen[1]), status(&other)),
            (json!("revoked"), json!("revoked"), json!("valid"))
        );
        let kept = client.get(&format!("/api/v1/certificates/{}", chosen[2])).expect(200).json();
        assert_eq!(kept["revocation"]["reason"], "affiliation_changed");
        for filter in [json!({}), json!({"colour": "red"}), json!({"limit": 5})] {
            let body = json!({"filter": filter, "reason": "superseded"});
            assert_eq!(
                client.post("/api/v1/certificates/revoke").json(&body).expect(400).problem_code(),
                "malformed",
                "{body}"
            );
        }
    }
}

/// By key the filter finds the certificates of every name and profile, and as `key_compromise` the key is blocked with them.
#[test]
fn bulk_revocation_by_key_reaches_every_certificate_of_it() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let key = crate::support::csr::Key::new();
        let issue = |name: &str| {
            let csr = Csr::for_dns(&[name]).pem_with(&key);
            issue_with(&client, &json!({"csr": csr, "profile": "server"}))
        };
        let records = [issue("one.internal"), issue("two.internal")];
        let held = serial(&records[1]);
        act(&client, &held, "revoke", &json!({"reason": "certificate_hold"})).expect(200);
        let mut body =
            json!({"filter": {"key": records[0]["key"]["spki_sha256"]}, "reason": "key_compromise", "dry_run": true});
        let dry = client.post("/api/v1/certificates/revoke").json(&body).expect(200).json();
        assert_eq!((&dry["matched"], &dry["revoked"]), (&json!(2), &json!(0)), "{dry}");
        issue("the-key-is-free-still.internal");
        body["dry_run"] = json!(false);
        let done = client.post("/api/v1/certificates/revoke").json(&body).expect(200).json();
        assert_eq!((&done["matched"], &done["revoked"]), (&json!(3), &json!(3)), "{done}");
        let record = client.get(&format!("/api/v1/certificates/{held}")).expect(200).json();
        assert_eq!(record["revocation"]["reason"], "key_compromise");
        let again = json!({"csr": Csr::for_dns(&["three.internal"]).pem_with(&key), "profile": "server"});
        assert_eq!(client.post("/api/v1/certificates").json(&again).expect(422).violation_codes(), ["key_blocked"]);
    }
}

/// Every reason that a certificate can be revoked for, as the CRL and OpenSSL name it, with the invalidity date where there is one.
#[test]
fn every_reason_stands_in_the_record() {
    let client = Service::shared(Database::Sqlite).administrator();
    for reason in [
        "unspecified",
        "key_compromise",
        "ca_compromise",
        "affiliation_changed",
        "superseded",
        "cessation_of_operation",
        "privilege_withdrawn",
        "aa_compromise",
    ] {
        let number = serial(&Service::shared(Database::Sqlite).issue(&["reasons.internal"]));
        let body = json!({"reason": reason, "invalidity_date": "2021-02-03T04:05:06Z"});
        let record = act(&client, &number, "revoke", &body).expect(200).json();
        assert_eq!(record["revocation"]["reason"], reason);
        assert_eq!(record["revocation"]["invalidity_date"], "2021-02-03T04:05:06Z");
    }
}

/// 32 callers revoke one certificate with two reasons: one reason wins, and everybody hears the same.
#[test]
fn concurrent_revocations_agree() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = service.administrator();
        let number = serial(&service.issue(&["raced.internal"]));
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..32)
                .map(|caller| {
                    let (client, number) = (client.clone(), number.clone());
                    let reason = if caller % 2 == 0 { "superseded" } else { "affiliation_changed" };
                    scope.spawn(move || act(&client, &number, "revoke", &json!({"reason": reason})).status)
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        let record = client.get(&format!("/api/v1/certificates/{number}")).expect(200).json();
        let winner = usize::from(record["revocation"]["reason"] != "superseded");
        for (caller, status) in statuses.into_iter().enumerate() {
            assert_eq!(status, if caller % 2 == winner { 200 } else { 409 }, "{database:?}: caller {caller}");
        }
        let path = format!("/api/v1/audit?action=certificate.revoke&outcome=success&object=certificate:{number}");
        let events = client.get(&path).expect(200).json();
        assert_eq!(events["items"].as_array().unwrap().len(), 1, "one event: {events}");
    }
}

/// What comes to light later counts: the reason becomes `key_compromise`, the moment stays, and the key is not certified again.
#[test]
fn a_compromise_found_after_another_revocation_blocks_the_key() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let body = json!({"csr": Csr::for_dns(&["found-later.internal"]).pem(), "profile": "server"});
        let serial = serial(&issue_with(&client, &body));
        let first = act(&client, &serial, "revoke", &json!({"reason": "superseded"})).expect(200).json();
        act(&client, &serial, "revoke", &json!({"reason": "privilege_withdrawn"})).expect(409);
        let second = act(&client, &serial, "revoke", &json!({"reason": "key_compromise"})).expect(200).json();
        assert_eq!(second["revocation"]["reason"], "key_compromise");
        assert_eq!(second["revocation"]["revoked_at"], first["revocation"]["revoked_at"]);
        let refused = client.post("/api/v1/certificates").json(&body).expect(422);
        assert_eq!(refused.violation_codes(), ["key_blocked"]);
    }
}

#[test]
fn another_invalidity_date_is_not_dropped_silently() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = service.with_role("operator");
        for reason in ["superseded", "key_compromise"] {
            let serial = serial(&service.issue(&["dated.internal"]));
            let dated = json!({"reason": reason, "invalidity_date": "2021-02-03T04:05:06Z"});
            act(&client, &serial, "revoke", &dated).expect(200);
            act(&client, &serial, "revoke", &dated).expect(200);
            act(&client, &serial, "revoke", &json!({"reason": reason})).expect(200);
            let other = json!({"reason": reason, "invalidity_date": "2020-01-01T00:00:00Z"});
            let refused = act(&client, &serial, "revoke", &other).expect(409);
            assert!(refused.text().contains("2021-02-03T04:05:06Z"), "{}", refused.text());
            let record = client.get(&format!("/api/v1/certificates/{serial}")).expect(200).json();
            assert_eq!(record["revocation"]["invalidity_date"], "2021-02-03T04:05:06Z");
        }
    }
}
