//! Accounts (RFC 8555, section 7.3; lines 31 to 37 and 39 to 41 of the checklist): made, read, changed, given another key, ended.

use serde_json::{Value, json};

use crate::support::acme::{AccountKey, AcmeClient, acme_error};
use crate::support::service::{Database, Service};

fn link<'a>(links: &[&'a str], relation: &str) -> Option<&'a str> {
    let end = format!(">;rel=\"{relation}\"");
    links.iter().find_map(|link| link.strip_prefix('<')?.strip_suffix(end.as_str()))
}

/// A copy of a P-256 key: an account whose service got another address is found again by it.
fn copy(key: &AccountKey) -> AccountKey {
    let pem = pem_rfc7468::encode_string("PRIVATE KEY", pem_rfc7468::LineEnding::LF, &key.to_pkcs8()).unwrap();
    AccountKey::from_p256_pem(&pem)
}

#[test]
fn a_new_account_is_201_and_the_same_key_finds_it_again() {
    for database in Database::ALL {
        let mut client = AcmeClient::new(Service::shared(database));
        let contact = json!(["mailto:ops@example.internal", "mailto:web@example.internal"]);
        let made = client.register_with(&json!({"contact": contact, "unknown": {"member": 1}}));
        assert_eq!(made.status, 201);
        let account = made.json();
        assert_eq!((&account["status"], &account["contact"]), (&json!("valid"), &contact));
        assert_eq!(account["orders"], format!("{}/orders", client.account_url()));
        let url = client.account_url().to_owned();
        // What the second request says of the account is ignored (RFC 8555, section 7.3.1).
        let again = client.register_with(&json!({"contact": ["mailto:other@example.internal"]}));
        assert_eq!((again.status, again.header("location")), (200, url.as_str()));
        assert_eq!(again.json()["contact"], contact);
        let found = client.register_with(&json!({"onlyReturnExisting": true}));
        assert_eq!((found.status, found.header("location")), (200, url.as_str()));
    }
}

#[test]
fn keys_of_every_algorithm_make_accounts() {
    for algorithm in crate::support::acme::ALGORITHMS {
        let mut client =
            AcmeClient::new(Service::shared(Database::Sqlite)).with_key(AccountKey::with_algorithm(algorithm));
        assert_eq!(client.register().status, 201, "{algorithm}");
        let url = client.account_url().to_owned();
        assert_eq!(client.read(&url)["status"], "valid", "{algorithm}");
    }
}

#[test]
fn looking_for_an_account_makes_none() {
    for database in Database::ALL {
        let client = AcmeClient::new(Service::shared(database));
        for _ in 0..2 {
            let look = client.post(&client.url("newAccount"), &json!({"onlyReturnExisting": true}));
            look.refused(400, "accountDoesNotExist");
        }
    }
}

#[test]
fn of_many_requests_with_one_key_one_makes_the_account() {
    for database in Database::ALL {
        let client = AcmeClient::new(Service::shared(database));
        let url = client.url("newAccount");
        let bodies: Vec<Value> =
            (0..12).map(|_| client.post(&url, &json!({})).header("nonce", json!(client.new_nonce())).jws()).collect();
        let mut answers: Vec<(u16, String)> = std::thread::scope(|scope| {
            let sent: Vec<_> = bodies.iter().map(|body| scope.spawn(|| client.send(&url, body.to_string()))).collect();
            sent.into_iter()
                .map(|answer| answer.join().unwrap())
                .map(|answer| (answer.status, answer.header("location").to_owned()))
                .collect()
        });
        answers.sort_unstable();
        assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 1, "{database:?}: {answers:?}");
        assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 11, "{database:?}: {answers:?}");
        assert!(answers.iter().all(|(_, location)| *location == answers[0].1), "{answers:?}");
    }
}

#[test]
fn terms_of_service_are_agreed_to_and_again_when_they_change() {
    for database in Database::ALL {
        const TERMS: &str = "CHANCERY__ACME__TERMS_OF_SERVICE";
        let mut service = Service::start_with(database, &[(TERMS, "https://ca.internal/terms-1")]);
        let mut client = AcmeClient::new(&service);
        assert_eq!(client.directory()["meta"]["termsOfService"], "https://ca.internal/terms-1");
        for payload in [json!({}), json!({"termsOfServiceAgreed": false})] {
            let refused = client.post(&client.url("newAccount"), &payload).send().expect(403);
            assert_eq!(acme_error(&refused), "userActionRequired");
            assert_eq!(link(&refused.headers("link"), "terms-of-service"), Some("https://ca.internal/terms-1"));
        }
        assert_eq!(client.register_with(&json!({"termsOfServiceAgreed": true})).status, 201);
        client.new_order(&["a.internal"]);

        service.set(TERMS, "https://ca.internal/terms-2");
        service.kill_and_restart();
        let mut client = AcmeClient::new(&service).with_key(copy(client.key()));
        assert_eq!(client.register_with(&json!({"onlyReturnExisting": true})).status, 200);
        let order = json!({"identifiers": [{"type": "dns", "value": "b.internal"}]});
        let refused = client.post(&client.url("newOrder"), &order).send().expect(403);
        assert_eq!(acme_error(&refused), "userActionRequired");
        assert_eq!(link(&refused.headers("link"), "terms-of-service"), Some("https://ca.internal/terms-2"));
        let url = client.account_url().to_owned();
        client.post(&url, &json!({"termsOfServiceAgreed": true})).expect(200);
        client.order_with(&order);
    }
}

#[test]
fn contacts_are_mail_addresses_of_one_person_each() {
    let client = AcmeClient::new(Service::shared(Database::Sqlite));
    let url = client.url("newAccount");
    for (contact, token) in [
        (json!(["mailto:a@example.com?subject=hello"]), "invalidContact"),
        (json!(["mailto:a@example.com,b@example.com"]), "invalidContact"),
        (json!(["mailto:nobody"]), "invalidContact"),
        (json!(["a@example.com"]), "invalidContact"),
        (json!(vec!["mailto:a@example.com"; 11]), "invalidContact"),
        (json!(["tel:+12025551212"]), "unsupportedContact"),
        (json!(["mailto:a@example.com", "https://example.com/"]), "unsupportedContact"),
        (json!("mailto:a@example.com"), "malformed"),
        (json!([7]), "malformed"),
    ] {
        client.post(&url, &json!({"contact": contact})).refused(400, token);
    }
    client.post(&url, &json!({"onlyReturnExisting": true})).refused(400, "accountDoesNotExist");
}

#[test]
fn an_update_changes_contacts_and_nothing_else() {
    for database in Database::ALL {
        let mut client = AcmeClient::new(Service::shared(database));
        client.register_with(&json!({"contact": ["mailto:ops@example.internal"]}));
        let url = client.account_url().to_owned();
        let before = client.read(&url);
        let update = json!({"contact": ["mailto:new@example.internal"], "orders": "https://elsewhere/", "status": "revoked", "x": 1});
        let after = client.post(&url, &update).expect(200).json();
        assert_eq!(after["contact"], json!(["mailto:new@example.internal"]));
        assert_eq!((&after["status"], &after["orders"]), (&before["status"], &before["orders"]));
        assert_eq!(client.read(&url), after);
        client.post(&url, &json!({"contact": ["tel:1"]})).refused(400, "unsupportedContact");
        assert_eq!(client.post(&url, &json!({})).expect(200).json(), after);
        let cleared = client.post(&url, &json!({"contact": []})).expect(200).json();
        assert_eq!(cleared.get("contact").cloned().unwrap_or_else(|| json!([])), json!([]));
        assert_eq!(client.read(&url), cleared);
    }
}

#[test]
fn an_account_is_read_by_its_own_key_only() {
    let mut client = AcmeClient::new(Service::shared(Database::Sqlite));
    client.register();
    let other = client.another();
    let url = client.account_url().to_owned();
    for payload in [String::new(), r#"{"contact": []}"#.to_owned(), r#"{"status": "deactivated"}"#.to_owned()] {
        other.post_octets(&url, payload.as_bytes()).refused(403, "unauthorized");
        // Signed by a key that is not that of the account.
        client.post_octets(&url, payload.as_bytes()).signed_by(other.key()).refused(400, "malformed");
    }
    assert_eq!(client.read(&url)["status"], "valid");
    client.http().get(&url).expect(405);
}

#[test]
fn orders_are_listed_in_pages_and_to_their_account_only() {
    for database in Database::ALL {
        let mut client = AcmeClient::new(Service::shared(database));
        client.register();
        let orders = format!("{}/orders", client.account_url());
        assert_eq!(client.read(&orders)["orders"], json!([]));
        let mut made: Vec<String> = (0..3).map(|n| client.new_order(&[&format!("n{n}.internal")]).url).collect();
        let (mut listed, mut next) = (Vec::new(), Some(orders.clone()));
        while let Some(url) = next {
            let page = client.fetch(&url).expect(200);
            let urls = page.json()["orders"].as_array().unwrap().clone();
            listed.extend(urls.iter().map(|url| url.as_str().unwrap().to_owned()));
            next = link(&page.headers("link"), "next").map(str::to_owned);
            assert!(listed.len() <= made.len(), "{listed:?}");
        }
        listed.sort_unstable();
        made.sort_unstable();
        assert_eq!(listed, made);
        client.another().fetch(&orders).refused(403, "unauthorized");
    }
}

#[test]
fn an_account_gets_another_key_and_keeps_what_it_has() {
    for database in Database::ALL {
        let mut client = AcmeClient::new(Service::shared(database));
        client.register_with(&json!({"contact": ["mailto:ops@example.internal"]}));
        let order = client.new_order(&["keeps.internal"]);
        let (url, before) = (client.account_url().to_owned(), client.read(client.account_url()));
        let old = copy(client.key());
        let answer = client.roll_over(AccountKey::with_algorithm("ES384"));
        assert_eq!(answer.json(), before);
        assert_eq!(client.read(&url), before);
        assert_eq!(client.read(&order.url)["status"], "pending");
        assert_eq!(client.authorizations(&order)[0]["status"], "pending");
        let refused =
            client.fetch(&url).signed_by(&old).header("alg", json!("ES256")).refused(400, "badSignatureAlgorithm");
        assert!(!refused.to_string().contains("384") && !refused.to_string().contains("ecdsa"), "{refused}");
        // The old key has no account any more, and may have another.
        let mut other = client.with_key(old);
        other.post(&other.url("newAccount"), &json!({"onlyReturnExisting": true})).refused(400, "accountDoesNotExist");
        assert_eq!(other.register().status, 201);
        assert_ne!(other.account_url(), url);
        assert_eq!(client.register_with(&json!({"onlyReturnExisting": true})).header("location"), url);
    }
}

/// The inner JWS of a key change with one thing changed.
fn inner(client: &AcmeClient, new: &AccountKey, header: &Value, payload: &Value) -> Value {
    let mut all = json!({"alg": new.algorithm(), "jwk": new.jwk(), "url": client.url("keyChange")});
    merge(&mut all, header);
    let mut said = json!({"account": client.account_url(), "oldKey": client.key().jwk()});
    merge(&mut said, payload);
    new.sign_jws(&all.to_string(), said.to_string().as_bytes())
}

fn merge(into: &mut Value, changes: &Value) {
    let members = into.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(members.remove(name)),
            value => drop(members.insert(name.clone(), value.clone())),
        }
    }
}

#[test]
fn a_key_change_that_is_not_right_changes_nothing() {
    let mut client = AcmeClient::new(Service::shared(Database::Sqlite));
    client.register();
    let other = client.another();
    let (url, new, third) = (client.url("keyChange"), AccountKey::new(), AccountKey::new());
    let none = json!({});
    let mut bad_signature = inner(&client, &new, &none, &none);
    bad_signature["signature"] = inner(&client, &third, &none, &none)["signature"].clone();
    let mut weak = inner(&client, &new, &none, &none);
    weak["header"] = json!({"kid": "x"});
    for (what, inner, token) in [
        ("without jwk", inner(&client, &new, &json!({"jwk": null}), &none), "malformed"),
        ("with kid beside jwk", inner(&client, &new, &json!({"kid": client.account_url()}), &none), "malformed"),
        ("with a nonce", inner(&client, &new, &json!({"nonce": client.new_nonce()}), &none), "malformed"),
        ("without url", inner(&client, &new, &json!({"url": null}), &none), "malformed"),
        ("for another address", inner(&client, &new, &json!({"url": client.url("newOrder")}), &none), "malformed"),
        ("with another algorithm", inner(&client, &new, &json!({"alg": "HS256"}), &none), "badSignatureAlgorithm"),
        (
            "with an algorithm of another curve",
            inner(&client, &new, &json!({"alg": "ES384"}), &none),
            "badSignatureAlgorithm",
        ),
        ("with an unprotected header", weak, "malformed"),
        ("with a bad signature", bad_signature, "malformed"),
        ("for another account", inner(&client, &new, &none, &json!({"account": other.account_url()})), "malformed"),
        ("without account", inner(&client, &new, &none, &json!({"account": null})), "malformed"),
        ("with another old key", inner(&client, &new, &none, &json!({"oldKey": third.jwk()})), "malformed"),
        ("without old key", inner(&client, &new, &none, &json!({"oldKey": null})), "malformed"),
        ("to the same key", inner(&client, client.key(), &none, &none), "malformed"),
        ("that is none", json!({}), "malformed"),
    ] {
        let answer = client.post(&url, &inner).send();
        assert_eq!((answer.status, acme_error(&answer).as_str()), (400, token), "{what}: {}", answer.text());
    }
    client.fetch(&url).refused(400, "malformed");
    // The outer one must be the account's.
    client.post(&url, &inner(&client, &new, &none, &none)).signed_by(&new).refused(400, "malformed");
    other.post(&url, &inner(&client, &new, &none, &none)).refused(400, "malformed");
    client.post(&url, &inner(&client, &new, &none, &none)).with_jwk().refused(400, "malformed");
    assert_eq!(client.read(client.account_url())["status"], "valid");
    client.roll_over(new);
}

#[test]
fn the_key_of_another_account_is_taken() {
    for database in Database::ALL {
        let mut client = AcmeClient::new(Service::shared(database));
        client.register();
        let other = client.another();
        let change = inner(&client, &copy(other.key()), &json!({}), &json!({}));
        let refused = client.post(&client.url("keyChange"), &change).send().expect(409);
        assert_eq!(refused.header("location"), other.account_url());
        assert_eq!(acme_error(&refused), "malformed");
        client.read(client.account_url());
        other.read(other.account_url());
    }
}

#[test]
fn of_many_who_want_one_key_one_gets_it() {
    for database in Database::ALL {
        let mut first = AcmeClient::new(Service::shared(database));
        first.register();
        let (second, new) = (first.another(), AccountKey::new());
        let url = first.url("keyChange");
        let mut statuses: Vec<u16> = std::thread::scope(|scope| {
            let asked: Vec<_> = [&first, &second]
                .map(|client| {
                    let body = client.post(&url, &client.key_change(&new)).jws().to_string();
                    scope.spawn(|| client.send(&url, body).status)
                })
                .into_iter()
                .collect();
            asked.into_iter().map(|one| one.join().unwrap()).collect()
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{database:?}");
    }
}

#[test]
fn an_account_that_is_deactivated_can_do_nothing_more() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let mut client = AcmeClient::new(service);
        client.register();
        let order = client.new_order(&["ends.internal"]);
        let url = client.account_url().to_owned();
        let ended = client.post(&url, &json!({"status": "deactivated", "contact": ["tel:ignored"]})).expect(200);
        assert_eq!(ended.json()["status"], "deactivated");
        client.fetch(&url).refused(401, "unauthorized");
        client.post(&url, &json!({"status": "valid"})).refused(401, "unauthorized");
        client.fetch(&order.url).refused(401, "unauthorized");
        let identifiers = json!({"identifiers": [{"type": "dns", "value": "a.internal"}]});
        client.post(&client.url("newOrder"), &identifiers).refused(401, "unauthorized");
        client.post(&client.url("keyChange"), &client.key_change(&AccountKey::new())).refused(401, "unauthorized");
        client.post(&client.url("newAccount"), &json!({})).with_jwk().refused(401, "unauthorized");
        // What was pending is not any more.
        let number = order.url.rsplit('/').next().unwrap();
        let seen = service.administrator().get(&format!("/api/v1/acme/orders/{number}")).expect(200).json();
        assert_eq!((&seen["status"], &seen["authorizations"][0]["status"]), (&json!("invalid"), &json!("deactivated")));
        assert!(seen["error"]["detail"].as_str().unwrap().contains("deactivated"), "{seen}");
    }
}

#[test]
fn a_weak_key_makes_no_account() {
    let client = AcmeClient::new(Service::shared(Database::Sqlite));
    let weak = |jwk: Value| {
        client.post(&client.url("newAccount"), &json!({})).header("jwk", jwk).header("alg", json!("RS256"))
    };
    // 1024 bits; an exponent of 3.
    let modulus = |octets: usize| crate::support::acme::base64url(vec![0xc5; octets]);
    weak(json!({"e": "AQAB", "kty": "RSA", "n": modulus(128)})).refused(400, "badPublicKey");
    weak(json!({"e": "Aw", "kty": "RSA", "n": modulus(256)})).refused(400, "badPublicKey");
    weak(json!({"crv": "secp256k1", "kty": "EC", "x": modulus(32), "y": modulus(32)}))
        .header("alg", json!("ES256"))
        .refused(400, "badPublicKey");
}
