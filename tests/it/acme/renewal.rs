//! Renewal information (RFC 9773; lines 89 to 92 of the checklist): windows by age, by operators and after revocation, and what an order
//! replaces.

use chancery::policy::acme::certificate_id::CertificateIdentifier;
use chancery::x509::{Certificate, Timestamp};
use serde_json::{Value, json};

use super::revocation::{leaf, vouched};
use crate::support::acme::{AcmeClient, ExternalKey, base64url, identifiers};
use crate::support::service::{Database, Service, unique};

/// The identifier of the first certificate of a chain.
pub(super) fn identifier(chain: &str) -> String {
    CertificateIdentifier::of(&Certificate::from_der(&leaf(chain)).unwrap()).unwrap().to_string()
}

/// Reads a window: begin, end, explanation.
fn window(client: &AcmeClient, id: &str) -> (Timestamp, Timestamp, Option<String>) {
    let answer = client.http().get(&format!("/acme/renewal-info/{id}")).expect(200);
    let body = answer.json();
    let moment = |name: &str| body["suggestedWindow"][name].as_str().unwrap().parse::<Timestamp>().unwrap();
    let seconds: u32 = answer.header("retry-after").parse().unwrap();
    assert!((60..=86_400).contains(&seconds), "{seconds}");
    let (start, end) = (moment("start"), moment("end"));
    assert!(start < end, "{body}");
    (start, end, body["explanationURL"].as_str().map(str::to_owned))
}

pub(super) fn replacing(client: &AcmeClient, names: &[&str], id: &str) -> Value {
    let answer =
        client.post(&client.url("newOrder"), &json!({"identifiers": identifiers(names), "replaces": id})).send();
    assert_eq!(answer.status, 201, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["replaces"], id);
    assert_eq!(client.read(answer.header("location"))["replaces"], id);
    body
}

#[test]
fn anybody_is_told_when_a_certificate_is_to_be_renewed() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = vouched(service, &unique("token:renewer-"));
        let chain = client.issue(&["renewed.internal"]);
        let certificate = Certificate::from_der(&leaf(&chain)).unwrap();
        let directory = client.directory()["renewalInfo"].as_str().unwrap();
        assert!(directory.ends_with("/acme/renewal-info"), "{directory}");
        let (start, end, explanation) = window(&client, &identifier(&chain));
        assert!(certificate.not_before < start && end < certificate.not_after);
        assert_eq!(explanation, None);
    }
}

#[test]
fn what_names_no_certificate_of_ours_is_refused() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = vouched(service, &unique("token:renewer-"));
        let id = identifier(&client.issue(&["renewed.internal"]));
        let (key, serial) = id.split_once('.').unwrap();
        let get = |id: &str| client.http().get(&format!("/acme/renewal-info/{id}")).send();
        for (unknown, status) in [
            (format!("{}.{serial}", base64url([7; 20])), 404),
            (format!("{key}.{}", base64url([7; 20])), 404),
            ("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE".to_owned(), 404),
            (format!("{id}="), 400),
            (key.to_owned(), 400),
            (format!("{id}.{serial}"), 400),
            (format!("{key}."), 400),
        ] {
            let answer = get(&unknown);
            assert_eq!(answer.status, status, "{unknown}: {}", answer.text());
            assert_eq!(crate::support::acme::acme_error(&answer), "malformed");
        }
    }
}

#[test]
fn a_revoked_certificate_is_to_be_renewed_at_once() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = vouched(service, &unique("token:renewer-"));
        let chain = client.issue(&["renewed.internal"]);
        client
            .post(&client.url("revokeCert"), &json!({"certificate": base64url(leaf(&chain)), "reason": 4}))
            .expect(200);
        let (_, end, _) = window(&client, &identifier(&chain));
        let certificate = Certificate::from_der(&leaf(&chain)).unwrap();
        assert!(end < certificate.not_before + std::time::Duration::from_secs(3600), "it is over");
    }
}

#[test]
fn operators_set_windows_and_take_them_away() {
    for database in Database::ALL {
        // Of its own: the windows are those of the issuer.
        let service = Service::start(database);
        let client = vouched(&service, "token:renewer");
        let (one, other) = (client.issue(&["renewed.internal"]), client.issue(&["renewed.internal"]));
        let serial = Certificate::from_der(&leaf(&one)).unwrap().serial.to_string();
        let by_age = window(&client, &identifier(&one));
        let issuer =
            service.administrator().get(&format!("/api/v1/certificates/{serial}")).expect(200).json()["issuer"]
                .as_str()
                .unwrap()
                .to_owned();
        let operator = service.with_role("operator");
        let path = "/api/v1/acme/renewal-windows";
        let set = |changes: Value| {
            let mut body = json!({
                "issuer": issuer, "starts_at": "2020-01-01T00:00:00Z", "ends_at": "2020-01-02T00:00:00Z",
            });
            for (name, value) in changes.as_object().unwrap() {
                body[name] = value.clone();
            }
            operator.post(path).json(&body).send()
        };
        let page = "https://pki.example.com/incidents/7";
        let made = set(json!({"serial": serial, "explanation_url": page}));
        assert_eq!(made.status, 201, "{}", made.text());
        let location = made.header("location").to_owned();
        assert_eq!(location, format!("{path}/{}", made.json()["id"].as_str().unwrap()));
        let moment = |text: &str| text.parse::<Timestamp>().unwrap();
        let expected = (moment("2020-01-01T00:00:00Z"), moment("2020-01-02T00:00:00Z"), Some(page.to_owned()));
        assert_eq!(window(&client, &identifier(&one)), expected);
        assert_eq!(window(&client, &identifier(&other)).2, None, "only the one that is named");
        // All that were issued before a moment, and the earliest window holds.
        let all = set(json!({"issued_before": "2100-01-01T00:00:00Z", "starts_at": "2019-01-01T00:00:00Z"}));
        assert_eq!(all.status, 201);
        assert_eq!(window(&client, &identifier(&other)).0, moment("2019-01-01T00:00:00Z"));
        assert_eq!(window(&client, &identifier(&one)).0, moment("2019-01-01T00:00:00Z"));
        assert_eq!(
            set(json!({"issued_before": "2000-01-01T00:00:00Z", "starts_at": "2018-01-01T00:00:00Z"})).status,
            201
        );
        assert_eq!(window(&client, &identifier(&other)).0, moment("2019-01-01T00:00:00Z"));
        let listed = service.with_role("auditor").get(&format!("{path}?limit=2")).expect(200).json();
        assert_eq!(listed["items"].as_array().unwrap().len(), 2);
        assert_eq!(listed["items"][1]["id"], all.json()["id"]);
        let rest = format!("{path}?limit=2&cursor={}", listed["next_cursor"].as_str().unwrap());
        assert_eq!(operator.get(&rest).expect(200).json()["items"][0]["serial"], serial);
        operator.delete(&format!("{path}/{}", all.json()["id"].as_str().unwrap())).expect(204);
        operator.delete(&location).expect(204);
        operator.delete(&location).expect(404);
        assert_eq!(window(&client, &identifier(&one)), by_age);
        // The serial number alone says whose certificate it is.
        let alone = set(json!({"issuer": null, "serial": serial}));
        assert_eq!((alone.status, &alone.json()["issuer"]), (201, &json!(format!("{issuer}.1"))), "{}", alone.text());
        for refused in [
            json!({"issuer": "nobody"}),
            json!({"ends_at": "2020-01-01T00:00:00Z"}),
            json!({"explanation_url": "javascript:alert(1)"}),
            json!({"explanation_url": format!("https://a.internal/{}", "x".repeat(2048))}),
            json!({"serial": "not hex"}),
            json!({"serial": "aabb"}),
            json!({"issuer": null}),
            json!({"issuer": null, "serial": "aabb"}),
            json!({"starts_at": "soon"}),
            json!({"unknown": 1}),
        ] {
            assert_eq!(set(refused.clone()).status, 400, "{refused}");
        }
    }
}

#[test]
fn a_certificate_is_replaced_by_one_order() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = vouched(service, &unique("token:renewer-"));
        let id = identifier(&client.issue(&["renewed.internal", "other.internal"]));
        let url = client.url("newOrder");
        let body = |names: &[&str], id: &str| json!({"identifiers": identifiers(names), "replaces": id});
        client.post(&url, &body(&["third.internal"], &id)).refused(400, "malformed");
        let stranger = vouched(service, &unique("token:stranger-"));
        stranger.post(&url, &body(&["renewed.internal"], &id)).refused(403, "unauthorized");
        for unknown in ["", "x", "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"] {
            client.post(&url, &body(&["renewed.internal"], unknown)).refused(400, "malformed");
        }
        let order = replacing(&client, &["renewed.internal"], &id);
        client.post(&url, &body(&["renewed.internal"], &id)).refused(409, "alreadyReplaced");
        // An order that came to nothing replaces nothing.
        let authorization = order["authorizations"][0].as_str().unwrap();
        client.post(authorization, &json!({"status": "deactivated"})).expect(200);
        replacing(&client, &["renewed.internal", "third.internal"], &id);
        // An account that comes after it replaces, while its key may be used, what belongs to its principal.
        let principal = unique("token:renewer-");
        let before = vouched(service, &principal);
        let id_before = identifier(&before.issue(&["renewed.internal"]));
        let mut after = AcmeClient::new(service);
        let key = json!({"profile": "server", "proves_control": true, "principal": principal});
        after.register_bound(&ExternalKey::create(service, &key));
        replacing(&after, &["renewed.internal"], &id_before);
        client.post(&url, &body(&["other.internal"], &id)).refused(409, "alreadyReplaced");
    }
}
