//! The shapes of ACME's objects (RFC 8555, section 7.1), as clients get them, with the header fields that belong to them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::acme::{AcmeClient, ExternalKey, base64url, challenge, identifiers};
use crate::support::client::Answer;
use crate::support::csr::Csr;
use crate::support::service::{Database, Service};
use crate::support::tools::{Scratch, openssl};

/// A client of the profile `server` whose binding proves control of every name.
fn trusted(service: &Service) -> AcmeClient {
    let key = ExternalKey::create(service, &json!({"profile": "server", "proves_control": true}));
    let mut client = AcmeClient::for_profile(service, "server");
    client.register_bound(&key);
    client
}

/// Replaces what differs from run to run: the address of the service, numbers, moments and tokens, each by its kind.
fn steady(service: &Service, value: &Value) -> Value {
    match value {
        Value::String(text) => json!(steady_text(service, text)),
        Value::Array(values) => values.iter().map(|value| steady(service, value)).collect(),
        Value::Object(object) => {
            object.iter().map(|(name, value)| (name.clone(), steady_member(service, name, value))).collect()
        }
        other => other.clone(),
    }
}

fn steady_member(service: &Service, name: &str, value: &Value) -> Value {
    match (name, value) {
        ("expires" | "validated" | "start" | "end", Value::String(moment)) => {
            moment.parse::<chancery::x509::Timestamp>().unwrap();
            json!("[moment]")
        }
        ("token", Value::String(token)) => {
            assert_eq!(token.len(), 43, "{token}");
            json!("[token]")
        }
        ("protected" | "payload" | "signature", Value::String(_)) => json!("[base64url]"),
        (_, value) => steady(service, value),
    }
}

/// Replaces the address of the service and the numbers within addresses.
fn steady_text(service: &Service, text: &str) -> String {
    let Some(path) = text.strip_prefix(service.api()) else { return text.to_owned() };
    let part = |part: &str| {
        if part.parse::<i64>().is_ok_and(|number| number > 99) { "[number]".to_owned() } else { part.to_owned() }
    };
    format!("https://ca.internal{}", path.split('/').map(part).collect::<Vec<_>>().join("/"))
}

/// An answer with the header fields that ACME gives a meaning.
fn shown(service: &Service, answer: &Answer) -> Value {
    let mut fields = BTreeMap::new();
    for name in ["content-type", "location", "retry-after", "cache-control"] {
        if !answer.header(name).is_empty() {
            fields.insert(name, json!(steady_text(service, answer.header(name))));
        }
    }
    let links = answer.headers("link");
    let links: Vec<String> = links
        .iter()
        .map(|link| {
            let (address, relation) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
            format!("<{}>{relation}", steady_text(service, address))
        })
        .collect();
    fields.insert("link", json!(links));
    json!({"status": answer.status, "fields": fields, "body": steady(service, &answer.json())})
}

#[test]
fn an_account() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let mut client = AcmeClient::new(service);
        let made = client.register_with(&json!({"contact": ["mailto:ops@example.internal"]}));
        insta::assert_json_snapshot!("account_made", shown(service, &made));
        let read = client.fetch(client.account_url()).expect(200);
        insta::assert_json_snapshot!("account_read", shown(service, &read));
    }
}

#[test]
fn a_bound_account_shows_its_binding_as_it_was_sent() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let key = ExternalKey::create(service, &json!({"profile": "server"}));
        let mut client = AcmeClient::for_profile(service, "server");
        let binding = client.binding(&key);
        let made = client.register_with(&json!({"externalAccountBinding": binding}));
        assert_eq!(made.json()["externalAccountBinding"], binding);
        assert!(made.text().contains(&binding.to_string()), "{}", made.text());
        insta::assert_json_snapshot!("account_bound", shown(service, &made));
    }
}

#[test]
fn an_order_that_is_pending() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let mut client = AcmeClient::new(service);
        client.register();
        let payload = json!({"identifiers": identifiers(&["Shape.internal", "10.1.2.3"]), "profile": "server"});
        let made = client.post(&client.url("newOrder"), &payload).expect(201);
        insta::assert_json_snapshot!("order_pending", shown(service, &made));
        let url = made.header("location").to_owned();
        assert_eq!(client.read(&url), made.json());
        let authorizations = made.json()["authorizations"].as_array().unwrap().clone();
        for (authorization, name) in authorizations.iter().zip(["authorization_dns", "authorization_ip"]) {
            let read = client.fetch(authorization.as_str().unwrap()).expect(200);
            insta::assert_json_snapshot!(name, shown(service, &read));
        }
        let authorization = client.read(authorizations[0].as_str().unwrap());
        let read = client.fetch(challenge(&authorization, "dns-01")["url"].as_str().unwrap()).expect(200);
        insta::assert_json_snapshot!("challenge_pending", shown(service, &read));
    }
}

#[test]
fn dns_persist_01_says_what_the_record_must_hold() {
    let settings =
        [("CHANCERY__ACME__ISSUER_DOMAIN_NAMES", "ca.internal"), ("CHANCERY__ACME__CHALLENGES", "dns-persist-01")];
    let service = Service::start_with(Database::Sqlite, &settings);
    let mut client = AcmeClient::new(&service);
    client.register();
    let order = client.new_order(&["persist.internal"]);
    let authorization = &client.authorizations(&order)[0];
    assert_eq!(authorization["challenges"].as_array().unwrap().len(), 1);
    let challenge = challenge(authorization, "dns-persist-01");
    assert_eq!(challenge["issuer-domain-names"], json!(["ca.internal"]));
    assert_eq!(challenge["accounturi"], client.account_url());
    assert_eq!(client.directory()["accountHashPrefix"], format!("{}/acme/account-hash/", service.api()));
}

#[test]
fn an_order_from_ready_to_valid() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = trusted(service);
        let made =
            client.post(&client.url("newOrder"), &json!({"identifiers": identifiers(&["ready.internal"])})).expect(201);
        insta::assert_json_snapshot!("order_ready", shown(service, &made));
        let authorization = client.fetch(made.json()["authorizations"][0].as_str().unwrap()).expect(200);
        assert_eq!(authorization.json()["status"], "valid");
        let url = made.header("location").to_owned();
        let csr = Csr::for_dns(&["ready.internal"]).der();
        let payload = json!({"csr": base64url(&csr)});
        let finalized = client.post(made.json()["finalize"].as_str().unwrap(), &payload).expect(200);
        assert_eq!(finalized.header("location"), url);
        insta::assert_json_snapshot!("order_valid", shown(service, &finalized));
        let list = client.fetch(&format!("{}/orders", client.account_url())).expect(200);
        assert_eq!(list.json(), json!({"orders": [url]}));
    }
}

#[test]
fn a_certificate_is_strict_pem_from_the_leaf_upwards() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = trusted(service);
        let order = client.new_order(&["chain.internal"]);
        let chain = client.finalize(&order, &Csr::for_dns(&["chain.internal"]));
        let url = client.read(&order.url)["certificate"].as_str().unwrap().to_owned();
        let answer = client.fetch(&url).expect(200);
        assert_eq!(answer.header("content-type"), "application/pem-certificate-chain");
        assert_eq!(answer.text(), chain);
        assert_eq!(answer.header("cache-control"), "no-store");
        let blocks = chain.matches("-----BEGIN CERTIFICATE-----\n").count();
        assert_eq!(blocks, 2, "leaf and issuing CA, without the root:\n{chain}");
        let outside = chain.split("-----END CERTIFICATE-----\n").map(|part| part.split("-----BEGIN").next().unwrap());
        assert!(outside.collect::<String>().is_empty(), "text around the blocks:\n{chain}");
        for (which, status) in [("/1", 404), ("/0", 404), ("/01", 404), ("/x", 404), ("/65536", 404)] {
            client.fetch(&format!("{url}{which}")).expect(status);
        }
        client.post(&url, &json!({})).refused(400, "malformed");
        let stranger = client.another();
        let refused = stranger.fetch(&url).expect(404).json();
        let absent = stranger.fetch(&format!("{url}7")).expect(404).json();
        assert_eq!(refused["detail"], absent["detail"], "not yours and not there look alike");
    }
}

#[test]
fn orders_come_in_pages() {
    let service = Service::shared(Database::Sqlite);
    let client = trusted(service);
    let made: Vec<String> = (0..130).map(|_| client.new_order(&["pages.internal"]).url).collect();
    let mut url = format!("{}/orders", client.account_url());
    let mut listed: Vec<String> = Vec::new();
    let mut pages = 0;
    loop {
        let answer = client.fetch(&url).expect(200);
        listed.extend(answer.json()["orders"].as_array().unwrap().iter().map(|url| url.as_str().unwrap().to_owned()));
        pages += 1;
        let links = answer.headers("link");
        match links.iter().find_map(|link| link.strip_prefix('<')?.strip_suffix(">;rel=\"next\"")) {
            Some(next) => next.clone_into(&mut url),
            None => break,
        }
    }
    let mut expected = made;
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(listed.len(), expected.len());
    listed.sort_unstable();
    assert_eq!(listed, expected);
    assert!(expected.len() <= 100 || pages > 1, "{pages}");
    for query in ["?cursor=x", "?cursor=1&cursor=2", "?limit=1", "?"] {
        let answer = client.fetch(&format!("{}/orders{query}", client.account_url())).send();
        assert!(matches!(answer.status, 400 | 404), "{query}: {}", answer.status);
    }
}

#[test]
fn members_that_nobody_knows_are_ignored_and_double_ones_refused() {
    let service = Service::shared(Database::Sqlite);
    let mut client = AcmeClient::new(service);
    client.register();
    let url = client.url("newOrder");
    let order = r#"{"identifiers":[{"type":"dns","value":"extra.internal","x":1}],"unknown":{"deep":[1,2]}}"#;
    client.post_octets(&url, order.as_bytes()).expect(201);
    for payload in [
        r#"{"identifiers":[{"type":"dns","value":"a.internal"}],"identifiers":[]}"#.to_owned(),
        r#"{"identifiers":[{"type":"dns","value":"a.internal"}],"x":1,"x":2}"#.to_owned(),
        r#"[[{"type":"dns","value":"a.internal"}]]"#.to_owned(),
        r#"{"identifiers":[{"type":"dns","value":"a.internal"}]}{}"#.to_owned(),
        r#"{"identifiers":"a.internal"}"#.to_owned(),
        format!(r#"{{"x":{}{}}}"#, "[".repeat(1000), "]".repeat(1000)),
        "{\"identifiers\":".to_owned(),
        "\u{feff}{}".to_owned(),
        "null".to_owned(),
    ] {
        client.post_octets(&url, payload.as_bytes()).refused(400, "malformed");
    }
}

#[test]
fn the_chain_of_an_order_is_accepted_by_openssl() {
    let service = Service::shared(Database::Sqlite);
    let chain = trusted(service).issue(&["judged.internal"]);
    let scratch = Scratch::new();
    let (chain, root) = (scratch.write("chain.pem", &chain), scratch.write("root.pem", service.root_pem()));
    let (chain, root) = (chain.display(), root.display());
    let verified = openssl(&format!("verify -x509_strict -CAfile {root} -untrusted {chain} {chain}"));
    assert!(verified.contains("OK"), "{verified}");
}
