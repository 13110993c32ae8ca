//! Directories (RFC 8555, section 7.1.1; lines 29 and 30 of the checklist): what they offer, where, and under which address.

use serde_json::{Value, json};

use crate::support::acme::{AcmeClient, JOSE, acme_error, identifiers};
use crate::support::client::Client;
use crate::support::service::{Database, Service};

/// A directory with what differs from start to start replaced.
fn described(service: &Service, path: &str) -> Value {
    let text = service.anonymous().get(path).expect(200).text();
    serde_json::from_str(&text.replace(service.api(), "https://ca.internal")).unwrap()
}

#[test]
fn the_default_directory_offers_every_profile() {
    for database in Database::ALL {
        insta::assert_json_snapshot!("the_default_directory", described(Service::shared(database), "/acme/directory"));
    }
}

#[test]
fn the_directory_of_a_profile_offers_that_one() {
    for database in Database::ALL {
        let directory = described(Service::shared(database), "/acme/server/directory");
        insta::assert_json_snapshot!("the_directory_of_a_profile", directory);
    }
}

#[test]
fn settings_show_in_the_directory() {
    let configuration = r#"
        [acme]
        profiles = ["web", "absent"]
        terms_of_service = "https://ca.internal/terms"
        website = "https://ca.internal/"
        external_account_required = true
        caa_identities = ["ca.internal"]
        [[profiles]]
        name = "web"
        description = "Web servers"
        [profiles.dns]
        allow = ["**.internal"]
        [[profiles]]
        name = "orders"
        [profiles.dns]
        allow = ["**.internal"]
        [[profiles]]
        name = "people"
        [profiles.email]
        allow = ["*@example.internal"]
    "#;
    let service = Service::configured(Database::Sqlite, configuration, &[]);
    let directory = described(&service, "/acme/directory");
    assert_eq!(
        directory["meta"],
        json!({
            "termsOfService": "https://ca.internal/terms",
            "website": "https://ca.internal/",
            "caaIdentities": ["ca.internal"],
            "externalAccountRequired": true,
            "profiles": {"web": "Web servers"},
        })
    );
    let client = service.anonymous();
    for hidden in ["server", "people", "absent", "nobody", "Web", "subordinate"] {
        let answer = client.get(&format!("/acme/{hidden}/directory")).expect(404);
        assert_eq!(acme_error(&answer), "malformed", "{hidden}");
    }
}

/// A profile may be called as a part of other addresses is; those lead where they lead.
#[test]
fn profiles_hide_no_resource() {
    let profile = |name: &str| format!("[[profiles]]\nname = \"{name}\"\n[profiles.dns]\nallow = [\"**.internal\"]\n");
    let names = ["orders", "accounts", "authorizations", "challenges", "certificates", "renewal-info", "new-order"];
    let service = Service::configured(Database::Sqlite, &names.map(profile).concat(), &[]);
    let mut client = AcmeClient::new(&service);
    for name in names {
        assert!(client.directory()["meta"]["profiles"][name].is_string(), "{name}");
    }
    client.register();
    let order = client.order_with(&json!({"identifiers": identifiers(&["a.internal"]), "profile": "orders"}));
    assert_eq!(client.read(&order.url)["profile"], "orders");
    for (name, status) in [("orders", 405), ("accounts", 405), ("challenges", 200), ("new-order", 200)] {
        client.http().get(&format!("/acme/{name}/directory")).expect(status);
    }
    let answer = client.http().get("/acme/renewal-info/directory").send();
    assert!(matches!(answer.status, 400 | 404), "{}", answer.status);
    assert_eq!(acme_error(&answer), "malformed");
}

/// The address of newNonce in the default directory, as somebody gets it who sends these fields.
#[track_caller]
fn new_nonce(service: &Service, fields: &[(&str, &str)]) -> String {
    let request = service.anonymous().get("/acme/directory");
    let request = fields.iter().fold(request, |request, (name, value)| request.header(name, value));
    request.expect(200).json()["newNonce"].as_str().unwrap().to_owned()
}

/// Without TLS these tests' client speaks HTTP/1.1, where it may call the host what it likes.
#[test]
fn addresses_are_those_that_the_client_uses() {
    let plain = ("CHANCERY__SERVER__TLS", "off");
    let forwarded = [("x-forwarded-host", "acme.internal"), ("x-forwarded-proto", "https")];
    let service = Service::start_with(Database::Sqlite, &[plain]);
    assert_eq!(new_nonce(&service, &[("host", "CA.Internal:8080")]), "http://ca.internal:8080/acme/new-nonce");
    assert_eq!(new_nonce(&service, &[("host", "ca.internal:80")]), "http://ca.internal/acme/new-nonce");
    // Nobody trusts this proxy.
    assert_eq!(new_nonce(&service, &forwarded), format!("{}/acme/new-nonce", service.api()));

    let trusting = ("CHANCERY__SERVER__TRUSTED_PROXIES", "127.0.0.1");
    let service = Service::start_with(Database::Sqlite, &[plain, trusting]);
    assert_eq!(new_nonce(&service, &forwarded), "https://acme.internal/acme/new-nonce");
    let answer = service.anonymous().get("/acme/new-nonce").header("x-forwarded-host", "acme.internal").expect(204);
    assert_eq!(answer.header("link"), "<http://acme.internal/acme/directory>;rel=\"index\"");

    let fixed = ("CHANCERY__ACME__BASE_URL", "https://acme.internal:8443");
    let service = Service::start_with(Database::Sqlite, &[plain, trusting, fixed]);
    assert_eq!(new_nonce(&service, &forwarded), "https://acme.internal:8443/acme/new-nonce");
}

#[test]
fn over_tls_addresses_are_https() {
    let service = Service::shared(Database::Sqlite);
    assert_eq!(new_nonce(service, &[]), format!("{}/acme/new-nonce", service.api()));
    assert!(service.api().starts_with("https://"));
    let forwarded = [("x-forwarded-host", "evil.example"), ("x-forwarded-proto", "http")];
    assert_eq!(new_nonce(service, &forwarded), format!("{}/acme/new-nonce", service.api()));
}

#[test]
fn hosts_that_are_none_are_refused() {
    let service = Service::start_with(Database::Sqlite, &[("CHANCERY__SERVER__TLS", "off")]);
    for host in ["a:b", "a:1:2", "[::1", "a;b", "ca.internal>;rel=\"x\""] {
        let answer = service.anonymous().get("/acme/directory").header("host", host).expect(400);
        assert_eq!(acme_error(&answer), "malformed", "{host}");
        assert_eq!(answer.header("link"), "", "{host}");
    }
}

#[test]
fn acme_can_be_turned_off() {
    let service = Service::start_with(Database::Sqlite, &[("CHANCERY__ACME__ENABLED", "false")]);
    let client = service.anonymous();
    for path in ["/acme/directory", "/acme/new-nonce", "/acme/server/directory"] {
        let answer = client.get(path).expect(404);
        assert_eq!(answer.problem_code(), "not_found");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    let answer = client.post("/acme/new-account").body(JOSE, "{}").expect(404);
    assert_eq!(answer.header("replay-nonce"), "");
}

/// What relying parties fetch over plain HTTP is no place for accounts.
#[test]
fn other_listeners_serve_no_acme() {
    let service = Service::shared(Database::Sqlite);
    for base in [service.public(), service.metrics()] {
        let answer = Client::new(base, None).get("/acme/directory").expect(404);
        assert_eq!((answer.problem_code().as_str(), answer.header("link")), ("not_found", ""));
        let posted = Client::new(base, None).post("/acme/new-account").body(JOSE, "{}").expect(404);
        assert_eq!(posted.header("replay-nonce"), "");
    }
}

#[test]
fn quickstart_names_the_directory() {
    let service = Service::shared(Database::Sqlite);
    assert!(service.log().contains(&format!("{}/acme/directory", service.api())), "{}", service.log());
}
