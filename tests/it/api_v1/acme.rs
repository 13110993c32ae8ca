//! `/api/v1/acme`: external account keys, accounts and orders as operators see them.

use serde_json::{Value, json};

use crate::support::acme::{AcmeClient, ExternalKey};
use crate::support::service::{Database, Service, unique};

const KEYS: &str = "/api/v1/acme/external-account-keys";

fn number(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

fn items(page: &Value) -> &Vec<Value> {
    page["items"].as_array().unwrap()
}

#[test]
fn an_external_account_key_is_made_listed_read_and_deleted() {
    for database in Database::ALL {
        let service = Service::start(database);
        let client = service.administrator();
        let grants = json!({"names": {"dns": {"allow": ["*.shop.internal"]}}});
        let body = json!({"profile": "server", "grants": grants, "proves_control": true, "single_use": true, "expires": "90d", "principal": "token:shop"});
        let made = client.post(KEYS).json(&body).expect(201);
        assert_eq!(made.header("cache-control"), "no-store");
        let key = made.json();
        let (id, secret) = (key["key_id"].as_str().unwrap(), key["hmac_key"].as_str().unwrap());
        assert_eq!((id.len(), secret.len()), (32, 86));
        assert!(!secret.starts_with('-'), "{secret}");
        assert_eq!(made.header("location"), format!("{KEYS}/{id}"));
        assert_eq!((&key["principal"], &key["created_by"]), (&json!("token:shop"), &json!("token:admin")));
        let read = client.get(made.header("location")).expect(200).json();
        assert_eq!(
            (&read["grants"]["names"]["dns"]["allow"], read.get("hmac_key")),
            (&json!(["*.shop.internal"]), None)
        );
        assert_eq!(items(&client.get(KEYS).expect(200).json()), &vec![read]);
        client.delete(made.header("location")).expect(204);
        client.get(made.header("location")).expect(404);
        client.delete(made.header("location")).expect(404);
        assert!(items(&client.get(KEYS).expect(200).json()).is_empty());
        // The secret is nowhere.
        let events = client.get("/api/v1/audit?action=acme_external_account_key.*").expect(200);
        assert_eq!(items(&events.json()).len(), 3, "{}", events.text());
        assert!(!events.text().contains(secret) && !service.log().contains(secret));
        if database == Database::Sqlite {
            let octets = std::fs::read(service.data().join("chancery.db")).unwrap();
            let raw = crate::support::acme::decode_base64url(secret);
            assert!(!octets.windows(raw.len()).any(|window| window == raw), "the secret is in the database");
            assert!(!octets.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
    }
}

#[test]
fn the_same_idempotency_key_gives_the_same_external_account_key() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let name = unique("eab");
        let make = |body: Value| client.post(KEYS).header("Idempotency-Key", &name).json(&body);
        let first = make(json!({"profile": "server"})).expect(201);
        let again = make(json!({"profile": "server"})).expect(201);
        assert_eq!(first.json(), again.json());
        assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
        assert_eq!(make(json!({"profile": "client"})).expect(422).problem_code(), "idempotency_key_reused");
    }
}

#[test]
fn requesters_see_and_make_their_own_keys_only() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let (one, other) = (service.with_role("requester"), service.with_role("requester"));
        let key = one.post(KEYS).json(&json!({"profile": "server"})).expect(201);
        let path = key.header("location").to_owned();
        assert_eq!(items(&one.get(KEYS).expect(200).json()).len(), 1);
        assert!(items(&other.get(KEYS).expect(200).json()).is_empty());
        other.get(&path).expect(404);
        other.delete(&path).expect(404);
        let foreign = json!({"profile": "server", "principal": "token:admin"});
        assert_eq!(other.post(KEYS).json(&foreign).expect(403).problem_code(), "forbidden");
        service.administrator().get(&path).expect(200);
        // Auditors read everything but secrets.
        let auditor = service.with_role("auditor");
        let seen = auditor.get(&path).expect(200).json();
        assert_eq!((&seen["key_id"], &seen["hmac_key"]), (&key.json()["key_id"], &Value::Null));
        auditor.get(KEYS).expect(200);
        auditor.delete(&path).expect(403);
        one.delete(&path).expect(204);
    }
}

#[test]
fn whoever_has_grants_makes_keys_with_these() {
    let service = Service::shared(Database::Sqlite);
    let grants = json!({"profiles": ["server"], "names": {"dns": {"allow": ["*.shop.internal"]}}});
    let shop = service.with_grants("requester", &grants);
    let made = shop.post(KEYS).json(&json!({"profile": "server"})).expect(201).json();
    assert_eq!(made["grants"]["names"]["dns"]["allow"], grants["names"]["dns"]["allow"]);
    assert_eq!(made["grants"]["profiles"], grants["profiles"]);
    let wider = json!({"profile": "server", "grants": {}});
    assert!(shop.post(KEYS).json(&wider).expect(403).text().contains("leave out `grants`"));
    shop.post(KEYS).json(&json!({"profile": "client"})).expect(403);
}

#[test]
fn bad_external_account_keys_are_refused() {
    let client = Service::shared(Database::Sqlite).administrator();
    for body in [
        json!({}),
        json!({"profile": "nobody"}),
        json!({"profile": "server", "expires": "soon"}),
        json!({"profile": "server", "expires": "0s"}),
        json!({"profile": "server", "expires": "2000-01-01T00:00:00Z"}),
        json!({"profile": "server", "grants": {"profile": ["server"]}}),
        json!({"profile": "server", "grants": {"profiles": ["client"]}}),
        json!({"profile": "server", "grants": []}),
        json!({"profile": "server", "principal": "acme:1"}),
        json!({"profile": "server", "hmac_key": "AAAA"}),
        json!({"profile": "server", "proves_control": "yes"}),
    ] {
        let answer = client.post(KEYS).json(&body).send();
        assert_eq!((answer.status, answer.problem_code().as_str()), (400, "malformed"), "{body}: {}", answer.text());
    }
}

#[test]
fn accounts_are_found_by_what_they_are() {
    for database in Database::ALL {
        let service = Service::start(database);
        let operator = service.with_role("operator");
        let key = ExternalKey::create(&service, &json!({"profile": "server", "principal": "token:shop"}));
        let mut bound = AcmeClient::new(&service);
        bound.register_bound(&key);
        let mut plain = AcmeClient::new(&service);
        plain.register_with(&json!({"contact": ["mailto:ops@example.internal"]}));
        let ids = |query: &str| -> Vec<String> {
            let page = operator.get(&format!("/api/v1/acme/accounts{query}")).expect(200).json();
            items(&page).iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
        };
        let (bound_id, plain_id) = (number(bound.account_url()), number(plain.account_url()));
        assert_eq!(ids(""), [plain_id, bound_id]);
        assert_eq!(ids(&format!("?external_account_key={}", key.id)), [bound_id]);
        assert_eq!(ids("?principal=token:shop"), [bound_id]);
        assert_eq!(ids("?status=valid"), [plain_id, bound_id]);
        assert!(ids("?status=revoked").is_empty());
        let account = operator.get(&format!("/api/v1/acme/accounts/{plain_id}")).expect(200).json();
        assert_eq!(ids(&format!("?thumbprint={}", account["thumbprint"].as_str().unwrap())), [plain_id]);
        assert_eq!(account["contacts"], json!(["mailto:ops@example.internal"]));
        assert_eq!(
            (&account["principal"], &account["created_from"]),
            (&json!(format!("acme:{plain_id}")), &json!("127.0.0.1"))
        );
        let first = operator.get("/api/v1/acme/accounts?limit=1").expect(200).json();
        let cursor = first["next_cursor"].as_str().unwrap();
        assert_eq!(ids(&format!("?limit=1&cursor={cursor}")), [bound_id]);
        for bad in ["nobody", "1", "-1", "01"] {
            operator.get(&format!("/api/v1/acme/accounts/{bad}")).expect(404);
        }
        operator.get("/api/v1/acme/accounts?thumbprint=abc").expect(400);
    }
}

#[test]
fn an_operator_ends_an_account() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let operator = service.with_role("operator");
        let mut client = AcmeClient::new(service);
        client.register();
        let order = client.new_order(&["ended.internal"]);
        let path = format!("/api/v1/acme/accounts/{}/deactivate", number(client.account_url()));
        for _ in 0..2 {
            assert_eq!(operator.post(&path).expect(200).json()["status"], "revoked");
        }
        let refused = client.fetch(client.account_url()).refused(401, "unauthorized");
        assert!(refused["detail"].as_str().unwrap().contains("operator"), "{refused}");
        client.post(&client.url("newAccount"), &json!({})).with_jwk().refused(401, "unauthorized");
        let seen = operator.get(&format!("/api/v1/acme/orders/{}", number(&order.url))).expect(200).json();
        assert_eq!(seen["status"], "invalid");
        let audited = service.administrator().get("/api/v1/audit?action=acme_account.revoke&limit=1000").expect(200);
        assert!(audited.text().contains(number(client.account_url())), "{}", audited.text());
    }
}

#[test]
fn the_limits_of_one_account_are_its_own() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let operator = service.with_role("operator");
        let mut client = AcmeClient::new(service);
        client.register();
        let other = client.another();
        let path = format!("/api/v1/acme/accounts/{}", number(client.account_url()));
        let limits = json!({"orders_per_account": {"count": 2, "period": "1h"}});
        let changed = operator.patch(&path).json(&json!({"rate_limits": limits})).expect(200).json();
        assert_eq!(changed["rate_limits"], limits);
        client.new_order(&["one.internal"]);
        client.new_order(&["two.internal"]);
        let order = json!({"identifiers": [{"type": "dns", "value": "three.internal"}]});
        let refused = client.post(&client.url("newOrder"), &order).send().expect(429);
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=1800).contains(&wait), "{wait}");
        assert_eq!(crate::support::acme::acme_error(&refused), "rateLimited");
        other.order_with(&order);
        // A change says what changes, and `null` takes one limit back.
        let more = json!({"rate_limits": {"certificates_per_name": {"count": 9, "period": "1d"}}});
        let both = operator.patch(&path).json(&more).expect(200).json();
        assert_eq!(both["rate_limits"]["orders_per_account"], limits["orders_per_account"]);
        assert_eq!(both["rate_limits"]["certificates_per_name"]["count"], 9);
        assert_eq!(operator.patch(&path).json(&json!({"rate_limits": {}})).expect(200).json(), both);
        let less = json!({"rate_limits": {"orders_per_account": null}});
        let left = operator.patch(&path).json(&less).expect(200).json();
        assert_eq!(left["rate_limits"], more["rate_limits"]);
        client.order_with(&order);
        for bad in [
            json!({}),
            json!({"rate_limits": {"accounts_per_address": {"count": 1, "period": "1h"}}}),
            json!({"rate_limits": {"orders_per_account": {"count": 1, "period": "0s"}}}),
            json!({"rate_limits": {"orders_per_account": {"count": -1, "period": "1h"}}}),
            json!({"rate_limits": {}, "status": "valid"}),
        ] {
            operator.patch(&path).json(&bad).expect(400);
        }
        operator.patch("/api/v1/acme/accounts/1").json(&json!({"rate_limits": {}})).expect(404);
        client.post(client.account_url(), &json!({"status": "deactivated"})).expect(200);
        operator.patch(&path).json(&json!({"rate_limits": {}})).expect(409);
    }
}

#[test]
fn orders_are_found_by_what_they_are_and_tell_what_became_of_them() {
    for database in Database::ALL {
        let service = Service::start(database);
        let auditor = service.with_role("auditor");
        let key = ExternalKey::create(&service, &json!({"profile": "server", "proves_control": true}));
        let mut client = AcmeClient::new(&service);
        client.register_bound(&key);
        let mut plain = AcmeClient::new(&service);
        plain.register();
        let pending = plain.new_order(&["pending.internal", "10.0.0.1"]);
        let ready = client.new_order(&["ready.internal"]);
        client.issue(&["valid.internal"]);
        let found = |query: &str| -> Vec<Value> {
            items(&auditor.get(&format!("/api/v1/acme/orders?{query}")).expect(200).json()).clone()
        };
        assert_eq!(found("").len(), 3);
        let only = |query: &str| {
            let mut orders = found(query);
            assert_eq!(orders.len(), 1, "{query}: {orders:?}");
            orders.remove(0)
        };
        assert_eq!(only("status=ready")["id"], number(&ready.url));
        let seen = only("status=pending");
        assert_eq!(
            (&seen["id"], &seen["account"]),
            (&json!(number(&pending.url)), &json!(number(plain.account_url())))
        );
        assert_eq!(seen["identifiers"][1], json!({"type": "ip", "value": "10.0.0.1"}));
        assert_eq!(
            (&seen["authorizations"][1]["status"], &seen["authorizations"][1]["attempts"]),
            (&json!("pending"), &json!(0))
        );
        let valid = only("status=valid");
        let serial = valid["certificate_serial"].as_str().unwrap();
        auditor.get(&format!("/api/v1/certificates/{serial}")).expect(200);
        assert!(found("status=invalid").is_empty());
        assert_eq!(only("name=10.0.0.1")["id"], number(&pending.url));
        assert_eq!(only("name=Ready.Internal")["id"], number(&ready.url));
        assert_eq!(found(&format!("account={}", number(client.account_url()))).len(), 2);
        assert_eq!(found("profile=server&created_after=2020-01-01T00:00:00Z").len(), 3);
        assert!(found("created_before=2020-01-01T00:00:00Z").is_empty());
        let page = auditor.get("/api/v1/acme/orders?limit=2").expect(200).json();
        let rest = found(&format!("limit=2&cursor={}", page["next_cursor"].as_str().unwrap()));
        assert_eq!((items(&page).len(), rest.len()), (2, 1));
        assert_eq!(auditor.get(&format!("/api/v1/acme/orders/{}", number(&pending.url))).expect(200).json(), seen);
        auditor.get("/api/v1/acme/orders/7").expect(404);
    }
}
