//! External account binding (RFC 8555, section 7.3.4; line 38 of the checklist): required, verified in every part, echoed, and what it bounds.

use serde_json::{Value, json};

use crate::support::acme::{AccountKey, AcmeClient, ExternalKey, acme_error, mac_jws};
use crate::support::service::{Database, Service, unique};

fn bound(binding: &Value) -> Value {
    json!({"termsOfServiceAgreed": true, "externalAccountBinding": binding})
}

#[test]
fn where_a_binding_is_required_there_is_no_account_without() {
    for database in Database::ALL {
        let service = Service::start_with(database, &[("CHANCERY__ACME__EXTERNAL_ACCOUNT_REQUIRED", "true")]);
        let mut client = AcmeClient::new(&service);
        assert_eq!(client.directory()["meta"]["externalAccountRequired"], true);
        let refused = client.post(&client.url("newAccount"), &json!({})).refused(403, "externalAccountRequired");
        assert!(refused["detail"].as_str().unwrap().contains("key id"), "{refused}");
        let key = ExternalKey::create(&service, &json!({"profile": "server"}));
        assert_eq!(client.register_bound(&key).status, 201);
        client.new_order(&["a.internal"]);
    }
}

#[test]
fn a_verified_binding_is_echoed_as_it_was_sent() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let mut client = AcmeClient::new(service);
        let key = ExternalKey::create(service, &json!({"profile": "server"}));
        let binding = client.binding(&key);
        let made = client.register_with(&bound(&binding));
        assert_eq!((made.status, &made.json()["externalAccountBinding"]), (201, &binding));
        assert_eq!(client.read(client.account_url())["externalAccountBinding"], binding);
        client.roll_over(AccountKey::new());
        assert_eq!(client.read(client.account_url())["externalAccountBinding"], binding);
    }
}

#[test]
fn every_part_of_a_binding_is_verified() {
    let service = Service::shared(Database::Sqlite);
    let client = AcmeClient::new(service);
    let (url, new_order) = (client.url("newAccount"), client.url("newOrder"));
    let key = ExternalKey::create(service, &json!({"profile": "server"}));
    let jwk = client.key().jwk().to_string();
    let header = |changes: Value| {
        let mut header = json!({"alg": "HS256", "kid": key.id, "url": url});
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(header.as_object_mut().unwrap().remove(name)),
                value => header[name] = value.clone(),
            }
        }
        header
    };
    let signed = |changes: Value| mac_jws(&header(changes), &key.secret, jwk.as_bytes());
    let mut no_signature = signed(json!({}));
    no_signature["signature"] = json!("");
    let mut with_header = signed(json!({}));
    with_header["header"] = json!({"kid": key.id});
    for (what, binding, status, token) in [
        ("an asymmetric algorithm", signed(json!({"alg": "ES256"})), 400, "badSignatureAlgorithm"),
        ("no algorithm", signed(json!({"alg": "none"})), 400, "badSignatureAlgorithm"),
        ("a nonce", signed(json!({"nonce": client.new_nonce()})), 400, "malformed"),
        ("no kid", signed(json!({"kid": null})), 400, "malformed"),
        ("an unknown kid", signed(json!({"kid": "0".repeat(32)})), 403, "unauthorized"),
        ("a kid of another form", signed(json!({"kid": "'; DROP TABLE"})), 403, "unauthorized"),
        ("no url", signed(json!({"url": null})), 400, "malformed"),
        ("another url", signed(json!({"url": new_order})), 400, "malformed"),
        ("another MAC key", mac_jws(&header(json!({})), &[7; 64], jwk.as_bytes()), 403, "unauthorized"),
        (
            "another account key",
            mac_jws(&header(json!({})), &key.secret, AccountKey::new().jwk().to_string().as_bytes()),
            400,
            "malformed",
        ),
        ("no account key", mac_jws(&header(json!({})), &key.secret, b""), 400, "malformed"),
        ("no signature", no_signature, 400, "malformed"),
        ("an unprotected header", with_header, 400, "malformed"),
        ("no JWS", json!("binding"), 400, "malformed"),
        ("members left out", json!({"protected": "e30"}), 400, "malformed"),
    ] {
        let answer = client.post(&url, &bound(&binding)).send();
        assert_eq!((answer.status, acme_error(&answer).as_str()), (status, token), "{what}: {}", answer.text());
        assert!(!answer.text().contains("externalAccountBinding\":{"), "{what}: reflected: {}", answer.text());
    }
    client.post(&url, &json!({"onlyReturnExisting": true})).refused(400, "accountDoesNotExist");
}

#[test]
fn each_length_of_hash_is_taken() {
    let service = Service::shared(Database::Sqlite);
    let key = ExternalKey::create(service, &json!({"profile": "server"}));
    for algorithm in ["HS256", "HS384", "HS512"] {
        let mut client = AcmeClient::new(service);
        let header = json!({"alg": algorithm, "kid": key.id, "url": client.url("newAccount")});
        let binding = mac_jws(&header, &key.secret, client.key().jwk().to_string().as_bytes());
        assert_eq!(client.register_with(&bound(&binding)).status, 201, "{algorithm}");
    }
}

#[test]
fn a_key_for_single_use_binds_one_account() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let key = ExternalKey::create(service, &json!({"profile": "server", "single_use": true}));
        let mut client = AcmeClient::new(service);
        assert_eq!(client.register_bound(&key).status, 201);
        // The account itself is found again.
        assert_eq!(client.register_bound(&key).status, 200);
        let other = client.with_key(AccountKey::new());
        let refused = other.post(&other.url("newAccount"), &bound(&other.binding(&key))).refused(403, "unauthorized");
        assert!(refused["detail"].as_str().unwrap().contains("for one account"), "{refused}");
    }
}

#[test]
fn a_deleted_key_binds_nobody_and_its_accounts_order_no_more() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let key = ExternalKey::create(service, &json!({"profile": "server", "proves_control": true}));
        let mut client = AcmeClient::new(service);
        client.register_bound(&key);
        client.new_order(&["before.internal"]);
        service.administrator().delete(&format!("/api/v1/acme/external-account-keys/{}", key.id)).expect(204);
        let order = json!({"identifiers": [{"type": "dns", "value": "after.internal"}]});
        client.post(&client.url("newOrder"), &order).refused(403, "unauthorized");
        assert_eq!(client.read(client.account_url())["status"], "valid");
        let other = client.with_key(AccountKey::new());
        let refused = other.post(&other.url("newAccount"), &bound(&other.binding(&key))).refused(403, "unauthorized");
        assert!(refused["detail"].as_str().unwrap().contains("deleted"), "{refused}");
    }
}

#[test]
fn a_binding_is_for_the_directory_of_its_profile_and_the_default_one() {
    let service = Service::shared(Database::Sqlite);
    let key = ExternalKey::create(service, &json!({"profile": "server"}));
    for (mut client, admitted) in [
        (AcmeClient::for_profile(service, "server"), true),
        (AcmeClient::new(service), true),
        (AcmeClient::for_profile(service, "client"), false),
    ] {
        if admitted {
            assert_eq!(client.register_bound(&key).status, 201);
        } else {
            let binding = client.binding(&key);
            let refused = client.post(&client.url("newAccount"), &bound(&binding)).refused(403, "unauthorized");
            assert!(refused["detail"].as_str().unwrap().contains("profile `server`"), "{refused}");
        }
    }
}

#[test]
fn an_account_without_binding_can_be_bound_later() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let mut client = AcmeClient::new(service);
        client.register();
        assert_eq!(client.read(client.account_url()).get("externalAccountBinding"), None);
        let key = ExternalKey::create(service, &json!({"profile": "server"}));
        let wrong = ExternalKey { secret: vec![1; 64], ..key.clone() };
        client.post(&client.url("newAccount"), &bound(&client.binding(&wrong))).with_jwk().refused(403, "unauthorized");
        assert_eq!(client.read(client.account_url()).get("externalAccountBinding"), None);
        assert_eq!(client.register_bound(&key).status, 200);
        assert_eq!(
            client.read(client.account_url())["externalAccountBinding"]["payload"],
            client.binding(&key)["payload"]
        );
    }
}

#[test]
fn the_grants_of_the_key_bound_what_its_account_may_order() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let shop = service.with_grants(
            "requester",
            &json!({"profiles": ["server"], "names": {"dns": {"allow": ["*.shop.internal"]}}}),
        );
        let key = ExternalKey::create_by(&shop, &json!({"profile": "server", "proves_control": true}));
        let mut client = AcmeClient::new(service);
        client.register_bound(&key);
        let name = format!("{}.shop.internal", unique("web"));
        let chain = client.issue(&[&name]);
        assert!(chain.contains("BEGIN CERTIFICATE"), "{chain}");
        let order = json!({"identifiers": [{"type": "dns", "value": "pay.bank.internal"}]});
        client.post(&client.url("newOrder"), &order).refused(400, "rejectedIdentifier");
        // The certificate belongs to the principal of the key.
        let own = shop.get(&format!("/api/v1/certificates?name={name}")).expect(200).json();
        assert_eq!(own["items"].as_array().unwrap().len(), 1, "{own}");
    }
}

#[test]
fn with_a_token_the_keys_of_its_principal_end() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let administrator = service.administrator();
        let name = unique("leaving");
        let token = administrator.post("/api/v1/tokens").json(&json!({"name": name, "role": "requester"})).expect(201);
        let leaving = administrator.bearer(token.json()["token"].as_str().unwrap());
        let key = ExternalKey::create_by(&leaving, &json!({"profile": "server", "proves_control": true}));
        let mut client = AcmeClient::new(service);
        client.register_bound(&key);
        client.new_order(&["stays.internal"]);
        administrator.delete(token.header("location")).expect(204);
        let order = json!({"identifiers": [{"type": "dns", "value": "gone.internal"}]});
        client.post(&client.url("newOrder"), &order).refused(403, "unauthorized");
    }
}
