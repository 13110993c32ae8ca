//! Authorizations and challenges (RFC 8555, sections 7.5 and 8).

use serde_json::json;

use super::site::Site;
use crate::support::acme::{AccountKey, AcmeClient, challenge, identifiers};
use crate::support::csr::Csr;
use crate::support::service::Database;

#[test]
fn an_authorization_has_every_field_and_tokens_of_256_bits() {
    for database in Database::ALL {
        let site = Site::shared(database);
        let client = site.client();
        let name = site.name();
        let order = client.new_order(&[&name, "127.0.0.1"]);
        let authorizations = client.authorizations(&order);
        assert_eq!(authorizations[0]["identifier"], json!({"type": "dns", "value": name}));
        assert_eq!(authorizations[1]["identifier"], json!({"type": "ip", "value": "127.0.0.1"}));
        let mut tokens = Vec::new();
        for (authorization, kinds) in [
            (&authorizations[0], vec!["http-01", "dns-01", "tls-alpn-01", "dns-account-01"]),
            (&authorizations[1], vec!["http-01", "tls-alpn-01"]),
        ] {
            assert_eq!(authorization["status"], "pending");
            assert!(authorization["expires"].as_str().unwrap().ends_with('Z'));
            let challenges = authorization["challenges"].as_array().unwrap();
            let offered: Vec<&str> = challenges.iter().map(|challenge| challenge["type"].as_str().unwrap()).collect();
            assert_eq!(offered, kinds);
            for challenge in challenges {
                assert_eq!(challenge["status"], "pending");
                assert!(challenge["validated"].is_null() && challenge["error"].is_null());
                assert!(challenge["url"].as_str().unwrap().starts_with(site.service.api()));
                let token = challenge["token"].as_str().unwrap();
                assert_eq!(crate::support::acme::decode_base64url(token).len(), 32);
                assert!(!token.contains('='));
            }
            tokens.push(challenges[0]["token"].as_str().unwrap().to_owned());
        }
        assert_ne!(tokens[0], tokens[1]);
    }
}

#[test]
fn only_an_object_answers_a_challenge_and_the_answer_leads_up() {
    let site = Site::shared(Database::Sqlite);
    let client = site.client();
    let name = site.name();
    let order = client.new_order(&[&name]);
    let authorization = client.authorizations(&order).remove(0);
    let answered = site.answer(&client, &authorization);
    let url = answered["url"].as_str().unwrap();
    // Reading it begins nothing, nor does what is no object.
    let read = client.fetch(url).expect(200);
    assert_eq!(read.json(), answered);
    for payload in ["[]", "1", "\"{}\"", "null", "{", " "] {
        client.post_octets(url, payload.as_bytes()).refused(400, "malformed");
    }
    assert_eq!(client.authorizations(&order).remove(0)["challenges"].as_array().unwrap().len(), 4);
    assert!(!site.http_01.asked().iter().any(|asked| asked.contains(&name)));

    let answer = client.respond(&answered);
    let up = format!("<{}>;rel=\"up\"", order.body["authorizations"][0].as_str().unwrap());
    assert!(answer.headers("link").contains(&up.as_str()), "{:?}", answer.headers("link"));
    assert!(["processing", "valid"].contains(&answer.json()["status"].as_str().unwrap()));
    let done = client.poll(order.body["authorizations"][0].as_str().unwrap(), "valid");
    let met = challenge(&done, "http-01");
    assert_eq!(met["status"], "valid");
    assert!(met["validated"].as_str().unwrap().ends_with('Z'));
    assert_eq!(done["challenges"].as_array().unwrap().len(), 1);
}

#[test]
fn answers_from_32_threads_are_one_look() {
    for database in Database::ALL {
        let site = Site::shared(database);
        let client = site.client();
        let name = site.name();
        let order = client.new_order(&[&name]);
        let answered = site.answer(&client, &client.authorizations(&order).remove(0));
        std::thread::scope(|scope| {
            for _answer in 0..32 {
                let client = client.clone();
                let answered = &answered;
                scope.spawn(move || client.respond(answered));
            }
        });
        client.poll(order.body["authorizations"][0].as_str().unwrap(), "valid");
        // Once more when it is valid: 200, and nothing happens.
        assert_eq!(client.respond(&answered).json()["status"], "valid");
        assert_eq!(site.http_01.asked().iter().filter(|asked| asked.starts_with(&name)).count(), 1);
    }
}

#[test]
fn a_challenge_that_is_not_offered_is_no_answer() {
    let site = Site::shared(Database::Sqlite);
    let client = site.client();
    let order = client.new_order(&[&format!("*.{}", site.name()), "127.0.0.1"]);
    for (index, kinds) in [(0, vec!["http-01", "tls-alpn-01", "dns-persist-01"]), (1, vec!["dns-01", "dns-account-01"])]
    {
        let authorization = order.body["authorizations"][index].as_str().unwrap();
        for kind in kinds {
            let url = format!("{}/{kind}", authorization.replace("/authorizations/", "/challenges/"));
            client.post(&url, &json!({})).refused(400, "malformed");
        }
        let unknown = format!("{}/tls-sni-01", authorization.replace("/authorizations/", "/challenges/"));
        client.post(&unknown, &json!({})).refused(404, "malformed");
    }
}

#[test]
fn the_key_of_the_answer_counts_also_when_it_is_another_by_then() {
    for database in Database::ALL {
        let site = Site::shared(database);
        let mut client = site.client();
        let name = site.name();
        let order = client.new_order(&[&name]);
        let authorization = client.authorizations(&order).remove(0);
        // The key changes between the order and the answer.
        client.roll_over(AccountKey::new());
        let answered = site.answer(&client, &authorization);
        client.respond(&answered);
        client.poll(order.body["authorizations"][0].as_str().unwrap(), "valid");
        client.finalize(&order, &Csr::for_dns(&[&name]));
    }
}

#[test]
fn the_answer_made_with_an_old_key_does_not_count() {
    let site = Site::start(Database::Sqlite, "[acme.validation]\nattempts = 1");
    let mut client = site.client();
    let order = client.new_order(&[&site.name()]);
    let authorization = client.authorizations(&order).remove(0);
    let answered = site.answer(&client, &authorization);
    client.roll_over(AccountKey::new());
    client.respond(&answered);
    let failed = client.poll(order.body["authorizations"][0].as_str().unwrap(), "invalid");
    let kind = challenge(&failed, "http-01")["error"]["type"].as_str().unwrap().to_owned();
    assert!(kind.ends_with(":incorrectResponse") || kind.ends_with(":unauthorized"), "{kind}");
}

#[test]
fn a_deactivated_authorization_ends_its_orders_and_is_not_used_again() {
    for database in Database::ALL {
        let site = Site::shared(database);
        let client = site.client();
        let name = site.name();
        let order = site.ready_order(&client, &[&name]);
        let url = order.body["authorizations"][0].as_str().unwrap();
        for payload in [json!({"status": "valid"}), json!({"status": "invalid"}), json!({}), json!({"status": 1})] {
            client.post(url, &payload).refused(400, "malformed");
        }
        let deactivate = json!({"status": "deactivated"});
        assert_eq!(client.post(url, &deactivate).expect(200).json()["status"], "deactivated");
        assert_eq!(client.read(url)["status"], "deactivated");
        assert_eq!(client.read(&order.url)["status"], "invalid");
        client.finalization(&order, &Csr::for_dns(&[&name]).der()).refused(403, "orderNotReady");
        let again = client.new_order(&[&name]);
        assert_eq!(again.body["status"], "pending");
        assert_ne!(again.body["authorizations"], order.body["authorizations"]);
        client.post(url, &deactivate).refused(400, "malformed");
        // Nor can its challenges be answered.
        let answered = format!("{}/http-01", url.replace("/authorizations/", "/challenges/"));
        client.post(&answered, &json!({})).refused(400, "malformed");
    }
}

#[test]
fn names_can_be_proven_ahead_of_orders_but_not_wildcards() {
    for database in Database::ALL {
        let site = Site::shared(database);
        let client = site.client();
        let name = site.name();
        let url = client.url("newAuthz");
        let ahead = |kind: &str, value: &str| json!({"identifier": {"type": kind, "value": value}});
        let made = client.post(&url, &ahead("dns", &name)).expect(201);
        let location = made.header("location").to_owned();
        let answered = site.answer(&client, &made.json());
        client.respond(&answered);
        client.poll(&location, "valid");
        assert_eq!(client.new_order(&[&name]).body["status"], "ready");
        let found = client.post(&url, &ahead("dns", &name)).expect(200);
        assert_eq!(found.header("location"), location);
        client.post(&url, &ahead("dns", &format!("*.{name}"))).refused(400, "rejectedIdentifier");
        client.post(&url, &ahead("dns", "www.example.org")).refused(400, "rejectedIdentifier");
        client.post(&url, &ahead("dns", "a..b")).refused(400, "malformed");
        client.post(&url, &ahead("email", "a@b.internal")).refused(400, "unsupportedIdentifier");
        for payload in [json!({}), json!({"identifiers": identifiers(&[&name])}), json!({"identifier": name})] {
            client.post(&url, &payload).refused(400, "malformed");
        }
    }
}

#[test]
fn persistent_records_are_offered_where_the_ca_has_names_for_them() {
    let site = Site::start(Database::Sqlite, "issuer_domain_names = [\"ca.internal\"]");
    let client = site.client();
    let name = site.name();
    let wildcard = format!("*.{name}");
    let order = client.new_order(&[&wildcard, &name]);
    let authorization = client.authorizations(&order).remove(0);
    let offered = challenge(&authorization, "dns-persist-01");
    assert_eq!(offered["issuer-domain-names"], json!(["ca.internal"]));
    assert_eq!(offered["accounturi"], client.account_url());
    let record = format!("ca.internal; accounturi={}; policy=wildcard", client.account_url());
    site.dns.add_txt(&format!("_validation-persist.{name}"), &record);
    for index in 0..2 {
        let authorization = client.authorizations(&order).remove(index);
        client.respond(&challenge(&authorization, "dns-persist-01"));
        client.poll(order.body["authorizations"][index].as_str().unwrap(), "valid");
    }
    client.finalize(&order, &Csr::for_dns(&[&wildcard, &name]));
}

#[test]
fn failures_of_one_name_are_limited_before_anything_is_looked_at() {
    for database in Database::ALL {
        let lines =
            "[acme.validation]\nattempts = 1\n[acme.limits]\nfailed_validations = { count = 1, period = \"1h\" }";
        let site = Site::start(database, lines);
        let client = site.client();
        let name = site.name();
        let fail = |client: &AcmeClient| {
            let order = client.new_order(&[&name]);
            let authorization = client.authorizations(&order).remove(0);
            (order, challenge(&authorization, "http-01"))
        };
        let (order, answered) = fail(&client);
        client.respond(&answered);
        client.poll(order.body["authorizations"][0].as_str().unwrap(), "invalid");
        let (order, answered) = fail(&client);
        client.post(answered["url"].as_str().unwrap(), &json!({})).refused(429, "rateLimited");
        assert_eq!(client.authorizations(&order).remove(0)["status"], "pending");
        // Another account has a count of its own.
        let other = client.another();
        let (order, answered) = fail(&other);
        other.respond(&answered);
        other.poll(order.body["authorizations"][0].as_str().unwrap(), "invalid");
    }
}
