//! Revocation of a key by proof of possession.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::csr::{Csr, Key};
use crate::support::service::{Database, Service, issue_with};
use crate::support::tools::{Scratch, openssl};

const PATH: &str = "/api/v1/revocations/by-key";

fn serial(record: &Value) -> String {
    record["serial"].as_str().unwrap().to_owned()
}

fn digest_of(key: &Key) -> String {
    hex::encode(digest(&SHA256, &key.spki()))
}

fn issue(client: &Client, key: &Key, name: &str) -> String {
    serial(&issue_with(client, &json!({"csr": Csr::for_dns(&[name]).pem_with(key), "profile": "server"})))
}

fn by_csr(client: &Client, csr: &Csr, key: &Key) -> Answer {
    client.post(PATH).json(&json!({"csr": csr.pem_with(key)})).send()
}

fn reason(client: &Client, serial: &str) -> Value {
    client.get(&format!("/api/v1/certificates/{serial}")).expect(200).json()["revocation"]["reason"].clone()
}

fn base64(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

fn seconds() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// Header, payload and signature of a statement, base64url.
fn statement(key: &Key, payload: &Value) -> [String; 3] {
    let (x, y) = key.coordinates();
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": base64(&x), "y": base64(&y)});
    let header = base64(json!({"alg": "ES256", "jwk": jwk}).to_string().as_bytes());
    let payload = base64(payload.to_string().as_bytes());
    let signature = base64(&key.sign_fixed(format!("{header}.{payload}").as_bytes()));
    [header, payload, signature]
}

fn by_statement(client: &Client, key: &Key, payload: &Value) -> Answer {
    client.post(PATH).json(&json!({"jws": statement(key, payload).join(".")})).send()
}

#[test]
fn every_certificate_of_the_key_is_revoked_and_the_key_refused_ever_after() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = service.with_role("operator");
        let (key, other) = (Key::new(), Key::new());
        let first = issue(&client, &key, "first.internal");
        let of_requester = issue(&service.with_role("requester"), &key, "second.internal");
        let held = issue(&client, &key, "held.internal");
        let superseded = issue(&client, &key, "superseded.internal");
        let of_other_key = issue(&client, &other, "other.internal");
        for (serial, reason) in [(&held, "certificate_hold"), (&superseded, "superseded")] {
            let revoke = format!("/api/v1/certificates/{serial}/revoke");
            client.post(&revoke).json(&json!({"reason": reason})).expect(200);
        }

        // An operator may revoke all of them anyway: any request with the key will do.
        let answer = by_csr(&client, &Csr::for_dns(&["first.internal"]), &key).expect(200).json();
        let mut expected = vec![first.clone(), of_requester.clone(), held.clone()];
        let mut revoked: Vec<String> = serde_json::from_value(answer["revoked"].clone()).unwrap();
        expected.sort();
        revoked.sort();
        assert_eq!(revoked, expected, "{database:?}");
        assert_eq!(answer["already_revoked"], json!([superseded]));
        assert_eq!((&answer["spki_sha256"], &answer["key_blocked"]), (&json!(digest_of(&key)), &json!(true)));
        for serial in [&first, &of_requester, &held] {
            assert_eq!(reason(&client, serial), "key_compromise");
        }
        assert_eq!(reason(&client, &superseded), "superseded");
        assert_eq!(reason(&client, &of_other_key), Value::Null);

        let again = by_csr(&client, &Csr::for_dns(&["first.internal"]), &key).expect(200).json();
        assert_eq!(again, answer, "the same again");
        let administrator = service.administrator();
        let path = format!("/api/v1/audit?action=key.block&outcome=success&object=key:{}", digest_of(&key));
        let events = administrator.get(&path).expect(200).json();
        let events = events["items"].as_array().unwrap();
        assert_eq!(events.len(), 1, "{events:?}");
        let details = &events[0]["details"];
        assert_eq!((&details["proof"], &details["blocked_now"]), (&json!("csr"), &json!(true)), "{details}");
        assert_eq!(details["revoked"].as_array().unwrap().len(), 3, "{details}");
        let path = format!("/api/v1/audit?action=certificate.revoke&outcome=success&object=certificate:{of_requester}");
        assert_eq!(administrator.get(&path).expect(200).json()["items"].as_array().unwrap().len(), 1);

        let body = json!({"csr": Csr::for_dns(&["again.internal"]).pem_with(&key), "profile": "server"});
        assert_eq!(client.post("/api/v1/certificates").json(&body).expect(422).violation_codes(), ["key_blocked"]);
        let check = client.post("/api/v1/certificates/check").json(&body).expect(200);
        assert_eq!(
            (check.violation_codes(), &check.json()["would_issue"]),
            (vec!["key_blocked".to_owned()], &json!(false))
        );
        let renewal = json!({"csr": Csr::for_dns(&["other.internal"]).pem_with(&key)});
        let renew = client.post(&format!("/api/v1/certificates/{of_other_key}/renew")).json(&renewal).expect(422);
        assert_eq!(renew.violation_codes(), ["key_blocked"]);
    }
}

/// The request that a certificate was asked for with lies in tickets; who finds it must not be able to revoke with it.
#[test]
fn a_requester_needs_a_request_that_was_made_to_revoke() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let (owner, thief) = (service.with_role("requester"), service.with_role("requester"));
        let key = Key::new();
        let serial = issue(&owner, &key, "revoked-by-nobody.internal");
        let enrolment = Csr::for_dns(&["revoked-by-nobody.internal"]).common_name("revoked-by-nobody.internal");
        for (what, csr) in [
            ("the request that it was asked for with", enrolment),
            ("a common name that begins otherwise", Csr::new().common_name("please revoke")),
            ("no subject", Csr::new()),
            ("a name that may be a host's", Csr::new().common_name("revoke-service")),
            ("names beside it", Csr::for_dns(&["revoked-by-nobody.internal"]).common_name("revoke")),
        ] {
            let refused = by_csr(&thief, &csr, &key).expect(403);
            assert_eq!(refused.problem_code(), "forbidden", "{what}");
            let detail = refused.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("common name must be `revoke` and nothing else"), "{detail}");
            assert!(detail.contains("openssl req -new -key KEY.pem -subj /CN=revoke"), "{detail}");
        }
        // The same answer for a key that is nobody's: it tells nothing.
        let unknown = by_csr(&thief, &Csr::for_dns(&["x.internal"]), &Key::new()).expect(403).json();
        let known = by_csr(&thief, &Csr::for_dns(&["x.internal"]), &key).expect(403).json();
        assert_eq!(unknown["detail"], known["detail"]);
        assert_eq!(reason(&owner, &serial), Value::Null);
        let issued_again = issue(&owner, &key, "revoked-by-nobody.internal");

        let path = format!("/api/v1/audit?action=key.block&outcome=refused&object=key:{}", digest_of(&key));
        let refusals = service.administrator().get(&path).expect(200).json();
        assert_eq!(refusals["items"].as_array().unwrap().len(), 6, "{refusals}");

        // Who has the key can make one, and needs to own nothing.
        let answer = by_csr(&thief, &Csr::new().common_name("Revoke"), &key).expect(200).json();
        let mut revoked: Vec<String> = serde_json::from_value(answer["revoked"].clone()).unwrap();
        let mut expected = vec![serial.clone(), issued_again];
        revoked.sort();
        expected.sort();
        assert_eq!(revoked, expected);
        assert_eq!(reason(&owner, &serial), "key_compromise");
    }
}

#[test]
fn the_owner_of_all_certificates_of_a_key_may_use_any_request() {
    let service = Service::shared(Database::Sqlite);
    let (owner, other) = (service.with_role("requester"), service.with_role("requester"));
    let key = Key::new();
    let serial = issue(&owner, &key, "mine.internal");
    let enrolment = Csr::for_dns(&["mine.internal"]);
    by_csr(&other, &enrolment, &key).expect(403);
    assert_eq!(by_csr(&owner, &enrolment, &key).expect(200).json()["revoked"], json!([serial]));
    assert_eq!(by_csr(&owner, &enrolment, &key).expect(200).json()["revoked"], json!([serial]), "again");

    let shared = Key::new();
    let mine = issue(&owner, &shared, "mine.internal");
    let theirs = issue(&other, &shared, "theirs.internal");
    by_csr(&owner, &enrolment, &shared).expect(403);
    assert_eq!((reason(&owner, &mine), reason(&other, &theirs)), (Value::Null, Value::Null));
}

#[test]
fn raw_requests_by_openssl_are_taken_in_every_form() {
    let client = Service::shared(Database::Sqlite).with_role("requester");
    let scratch = Scratch::new();
    let at = |name: &str| scratch.file(name).display().to_string();
    for (algorithm, kind) in [
        ("p256", "EC -pkeyopt ec_paramgen_curve:P-256"),
        ("p384", "EC -pkeyopt ec_paramgen_curve:P-384"),
        ("ed25519", "ED25519"),
        ("rsa", "RSA -pkeyopt rsa_keygen_bits:2048"),
    ] {
        let key = at(algorithm);
        openssl(&format!("genpkey -algorithm {kind} -out {key}"));
        let enrolment = format!("{key}.csr");
        openssl(&format!(
            "req -new -key {key} -subj /CN=a.internal -addext subjectAltName=DNS:a.internal -out {enrolment}"
        ));
        let body = json!({"csr": std::fs::read_to_string(&enrolment).unwrap(), "profile": "server"});
        let serial = serial(&issue_with(&client, &body));
        // The line of the refusal, with the key put in.
        openssl(&format!("req -new -key {key} -subj /CN=revoke -out {key}.pem"));
        openssl(&format!("req -in {key}.pem -outform DER -out {key}.der"));
        for (media_type, file) in [
            ("application/pkcs10", format!("{key}.der")),
            ("application/pkcs10", format!("{key}.pem")),
            ("application/x-pem-file", format!("{key}.pem")),
        ] {
            let answer = client.post(PATH).body(media_type, std::fs::read(file).unwrap()).expect(200).json();
            assert_eq!(answer["revoked"], json!([serial]), "{algorithm}");
        }
        let refused = client.post("/api/v1/certificates").json(&body).expect(422);
        assert_eq!(refused.violation_codes(), ["key_blocked"], "{algorithm}");
    }
}

#[test]
fn a_key_that_no_certificate_has_is_blocked_in_advance() {
    for database in Database::ALL {
        let client = Service::shared(database).with_role("requester");
        let key = Key::new();
        let answer = by_csr(&client, &Csr::new().common_name("revoke"), &key).expect(200).json();
        let expected =
            json!({"spki_sha256": digest_of(&key), "key_blocked": true, "revoked": [], "already_revoked": []});
        assert_eq!(answer, expected);
        let body = json!({"csr": Csr::for_dns(&["blocked.internal"]).pem_with(&key), "profile": "server"});
        assert_eq!(client.post("/api/v1/certificates").json(&body).expect(422).violation_codes(), ["key_blocked"]);
    }
}

#[test]
fn a_signed_statement_names_the_key_or_one_of_its_certificates() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let (owner, finder) = (service.with_role("requester"), service.with_role("requester"));
        let key = Key::new();
        let by_serial = issue(&owner, &key, "statement.internal");
        let said = json!({"revoke": by_serial, "iat": seconds()});
        assert_eq!(by_statement(&finder, &key, &said).expect(200).json()["revoked"], json!([by_serial]));
        assert_eq!(reason(&owner, &by_serial), "key_compromise");

        let key = Key::new();
        let by_digest = issue(&owner, &key, "statement.internal");
        let [protected, payload, signature] = statement(&key, &json!({"revoke": digest_of(&key), "iat": seconds()}));
        let flattened = json!({"jws": {"protected": protected, "payload": payload, "signature": signature}});
        assert_eq!(finder.post(PATH).json(&flattened).expect(200).json()["revoked"], json!([by_digest]));
        let path = format!("/api/v1/audit?action=key.block&object=key:{}", digest_of(&key));
        let events = service.administrator().get(&path).expect(200).json();
        assert_eq!(events["items"][0]["details"]["proof"], "jws");
    }
}

#[test]
fn proofs_that_do_not_hold_are_refused_and_revoke_nothing() {
    let service = Service::shared(Database::Sqlite);
    let client = service.administrator();
    let (key, other) = (Key::new(), Key::new());
    let serial = issue(&client, &key, "proof.internal");
    let of_other = issue(&client, &other, "proof.internal");
    let now = seconds();
    for (what, payload) in [
        ("signed too long ago", json!({"revoke": digest_of(&key), "iat": now - 660})),
        ("signed in the future", json!({"revoke": digest_of(&key), "iat": now + 660})),
        ("another key's digest", json!({"revoke": digest_of(&other), "iat": now})),
        ("another key's certificate", json!({"revoke": of_other, "iat": now})),
        ("no certificate", json!({"revoke": "00", "iat": now})),
        ("no time", json!({"revoke": digest_of(&key)})),
        ("time as text", json!({"revoke": digest_of(&key), "iat": now.to_string()})),
        ("something else beside it", json!({"revoke": digest_of(&key), "iat": now, "reason": "superseded"})),
        ("not a statement", json!("revoke")),
        ("an array of its members", json!([digest_of(&key), now])),
        ("an empty array", json!([])),
    ] {
        let answer = by_statement(&client, &key, &payload).expect(400);
        assert_eq!(answer.problem_code(), "malformed", "{what}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(!detail.contains("struct") && !detail.contains("expected"), "{what}: {detail}");
    }
    let good = statement(&key, &json!({"revoke": digest_of(&key), "iat": now}));
    let [header, payload, _] = &good;
    let by_other = base64(&other.sign_fixed(format!("{header}.{payload}").as_bytes()));
    for body in [
        json!({}),
        json!({"csr": null, "jws": null}),
        json!({"csr": Csr::new().common_name("revoke").pem_with(&key), "jws": good.join(".")}),
        json!({"jws": format!("{header}.{payload}.{by_other}")}),
        json!({"jws": "not a JWS"}),
        json!({"jws": {"payload": payload}}),
        json!({"jws": 7}),
        json!({"jws": good.join("."), "serial": serial}),
    ] {
        assert_eq!(client.post(PATH).json(&body).expect(400).problem_code(), "malformed", "{body}");
    }
    let forged = crate::support::der::pem("CERTIFICATE REQUEST", &Csr::new().der_signed_by(key.spki(), &other));
    assert_eq!(client.post(PATH).json(&json!({"csr": forged})).expect(400).problem_code(), "bad_csr");
    assert_eq!(client.post(PATH).body("text/plain", "x").expect(415).problem_code(), "unsupported_media_type");
    assert_eq!(client.post(&format!("{PATH}?all=true")).json(&json!({})).expect(400).problem_code(), "malformed");
    assert_eq!(reason(&client, &serial), Value::Null);
    let path = "/api/v1/audit?action=key.block&outcome=refused&actor=token:admin&limit=1000";
    let refusals = client.get(path).expect(200).json();
    assert!(refusals["items"].as_array().unwrap().len() >= 12, "{refusals}");
}

#[test]
fn of_32_callers_all_hear_the_same_and_one_event_is_written() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = service.administrator();
        let key = Key::new();
        let mut serials: Vec<String> = (0..4).map(|_| issue(&client, &key, "raced.internal")).collect();
        serials.sort();
        let csr = Csr::new().common_name("revoke").pem_with(&key);
        let answers: Vec<Value> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..32)
                .map(|_| {
                    let (client, csr) = (client.clone(), csr.clone());
                    scope.spawn(move || client.post(PATH).json(&json!({"csr": csr})).expect(200).json())
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        for answer in answers {
            let mut revoked: Vec<String> = serde_json::from_value(answer["revoked"].clone()).unwrap();
            revoked.sort();
            assert_eq!(revoked, serials, "{database:?}");
        }
        let path = format!("/api/v1/audit?action=key.block&object=key:{}", digest_of(&key));
        assert_eq!(client.get(&path).expect(200).json()["items"].as_array().unwrap().len(), 1);
    }
}
