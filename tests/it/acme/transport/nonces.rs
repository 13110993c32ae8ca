//! Nonces are good once (RFC 8555, section 6.5), on both databases. Lines 13 to 17 of the checklist.

use std::sync::Barrier;

use serde_json::{Value, json};

use super::{Resources, account, is_nonce};
use crate::support::acme::{AcmeClient, acme_error, base64url, decode_base64url, identifiers};
use crate::support::service::{Database, Service};

/// As many as try at the same time.
const CALLERS: usize = 32;

#[test]
fn every_answer_to_a_signed_request_has_a_fresh_nonce() {
    let Resources { client, order, urls } = Resources::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut fresh = |answer: crate::support::client::Answer| {
        let nonce = answer.header("replay-nonce").to_owned();
        assert!(is_nonce(&nonce), "{} {}", answer.status, answer.text());
        assert_eq!(answer.headers("replay-nonce").len(), 1);
        assert!(seen.insert(nonce), "a nonce was given out twice");
    };
    for (_, url) in &urls {
        fresh(client.fetch(url).send());
        fresh(client.post_octets(url, b"[1]").send());
        fresh(client.fetch(url).content_type("text/plain").expect(415));
        fresh(client.send(url, "rubbish").expect(400));
    }
    fresh(client.fetch(&format!("{}9", order.url)).expect(404));
    fresh(client.fetch(client.account_url()).header("nonce", json!("AAAA")).expect(400));
    fresh(client.fetch(client.account_url()).header("url", json!("https://x.internal")).send());
}

#[test]
fn the_nonce_of_a_bad_nonce_is_good() {
    for database in Database::ALL {
        let mut client = AcmeClient::new(Service::shared(database));
        client.register();
        for nonce in [base64url([7; 40]), base64url("x"), base64url([0; 200])] {
            let answer = client.fetch(client.account_url()).header("nonce", json!(nonce)).expect(400);
            assert_eq!(acme_error(&answer), "badNonce");
            let fresh = answer.header("replay-nonce");
            client.fetch(client.account_url()).header("nonce", json!(fresh)).expect(200);
        }
    }
}

#[test]
fn a_request_is_good_once() {
    for database in Database::ALL {
        let mut client = AcmeClient::new(Service::shared(database));
        client.register();
        let url = client.url("newOrder");
        let request = client.post(&url, &json!({"identifiers": identifiers(&["once.internal"])})).jws().to_string();
        let first = client.send(&url, request.clone()).expect(201);
        for _again in 0..2 {
            let replayed = client.send(&url, request.clone()).expect(400);
            assert_eq!(acme_error(&replayed), "badNonce");
        }
        let orders = client.read(&format!("{}/orders", client.account_url()));
        assert_eq!(orders["orders"], json!([first.header("location")]));
    }
}

#[test]
fn a_nonce_is_there_and_is_base64url() {
    let client = account();
    let of = |nonce: Value| client.fetch(client.account_url()).header("nonce", nonce);
    of(Value::Null).refused(400, "badNonce");
    of(json!("")).refused(400, "badNonce");
    for wrong in [json!("a+/b"), json!("AAAA=="), json!("a b c d"), json!("\u{e9}"), json!(1), json!(["AAAA"])] {
        of(wrong).refused(400, "malformed");
    }
    // One that was given out and then changed in one octet is none.
    let nonce = decode_base64url(&client.new_nonce());
    for place in 0..nonce.len() {
        let mut changed = nonce.clone();
        changed[place] ^= 1;
        of(json!(base64url(&changed))).refused(400, "badNonce");
    }
    of(json!(base64url(&nonce))).expect(200);
}

#[test]
fn one_of_many_with_the_same_nonce_wins() {
    for database in Database::ALL {
        let mut client = AcmeClient::new(Service::shared(database));
        client.register();
        let url = client.url("newOrder");
        let nonce = client.new_nonce();
        // Signed beforehand, each for something else, so that nothing but the nonce can tell them apart.
        let requests: Vec<String> = (0..CALLERS)
            .map(|number| {
                let payload = json!({"identifiers": identifiers(&[&format!("race-{number}.internal")])});
                client.post(&url, &payload).header("nonce", json!(nonce)).jws().to_string()
            })
            .collect();
        let barrier = Barrier::new(CALLERS);
        let statuses: Vec<(u16, String)> = std::thread::scope(|scope| {
            let callers: Vec<_> = requests
                .into_iter()
                .map(|request| {
                    scope.spawn(|| {
                        barrier.wait();
                        let answer = client.send(&url, request);
                        let token = if answer.status == 201 { String::new() } else { acme_error(&answer) };
                        (answer.status, token)
                    })
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|(status, _)| *status == 201).count(), 1, "{database:?}: {statuses:?}");
        assert!(
            statuses.iter().all(|(status, token)| *status == 201 || (*status == 400 && token == "badNonce")),
            "{statuses:?}"
        );
        let orders = client.read(&format!("{}/orders", client.account_url()));
        assert_eq!(orders["orders"].as_array().unwrap().len(), 1, "{database:?}");
    }
}

#[test]
fn nonces_are_good_in_any_order() {
    for database in Database::ALL {
        let mut client = AcmeClient::new(Service::shared(database));
        client.register();
        let nonces: Vec<String> = (0..20).map(|_| client.new_nonce()).collect();
        for nonce in nonces.iter().rev() {
            client.fetch(client.account_url()).header("nonce", json!(nonce)).expect(200);
        }
        for nonce in &nonces {
            client.fetch(client.account_url()).header("nonce", json!(nonce)).refused(400, "badNonce");
        }
    }
}

#[test]
fn a_restart_costs_clients_a_new_nonce_at_most_and_makes_no_nonce_good_again() {
    for database in Database::ALL {
        let mut service = Service::start_with(database, &[("CHANCERY__ACME__BASE_URL", "https://ca.internal")]);
        let mut client = AcmeClient::at(&service, "/acme/directory").behind(&service, "https://ca.internal");
        client.register();
        let used = client.new_nonce();
        client.fetch(client.account_url()).header("nonce", json!(used)).expect(200);
        let unused = client.new_nonce();
        service.kill_and_restart();
        let client = client.behind(&service, "https://ca.internal");
        let replayed = client.fetch(client.account_url()).header("nonce", json!(used)).expect(400);
        assert_eq!(acme_error(&replayed), "badNonce", "{database:?}");
        let answer = client.fetch(client.account_url()).header("nonce", json!(unused)).send();
        if answer.status != 200 {
            assert_eq!((answer.status, acme_error(&answer).as_str()), (400, "badNonce"), "{database:?}");
            let fresh = answer.header("replay-nonce");
            client.fetch(client.account_url()).header("nonce", json!(fresh)).expect(200);
        }
    }
}

#[test]
fn replicas_take_each_others_nonces_once() {
    let url = crate::support::new_postgres_database();
    let settings = [
        ("CHANCERY__DATABASE__URL", url.as_str()),
        ("CHANCERY__KEYS__KEY_ENCRYPTION_KEY", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
        ("CHANCERY__ACME__BASE_URL", "https://ca.internal"),
    ];
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| Service::start_with(Database::Sqlite, &settings));
        let two = scope.spawn(|| Service::start_with(Database::Sqlite, &settings));
        (one.join().unwrap(), two.join().unwrap())
    });
    let mut here = AcmeClient::at(&one, "/acme/directory").behind(&one, "https://ca.internal");
    here.register();
    let there = here.behind(&two, "https://ca.internal");
    let nonce = here.new_nonce();
    there.fetch(there.account_url()).header("nonce", json!(nonce)).expect(200);
    here.fetch(here.account_url()).header("nonce", json!(nonce)).refused(400, "badNonce");
    let nonce = there.new_nonce();
    here.fetch(here.account_url()).header("nonce", json!(nonce)).expect(200);
    there.fetch(there.account_url()).header("nonce", json!(nonce)).refused(400, "badNonce");
}
