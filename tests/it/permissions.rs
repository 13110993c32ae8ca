//! Every route with every role, and without a credential: what the table of routes says is what happens, and nothing else.

use std::collections::BTreeSet;

use chancery::auth::Role;
use chancery::http::endpoint::Listener;
use chancery::http::routes;
use serde_json::json;

use crate::support::client::{Client, Request};
use crate::support::csr::Csr;
use crate::support::service::{Database, Service};

/// What the roles may, written down once more and independently: method, path, roles (A, O, R, U for auditor).
const EXPECTED: &[(&str, &str, &str)] = &[
    ("POST", "/api/v1/certificates", "AOR"),
    ("POST", "/api/v1/certificates/check", "AOR"),
    ("POST", "/api/v1/certificates/revoke", "AOR"),
    ("POST", "/api/v1/certificates/import", "AO"),
    ("GET", "/api/v1/certificates", "AORU"),
    ("GET", "/api/v1/certificates/{serial}.{format}", "AORU"),
    ("GET", "/api/v1/certificates/{serial}", "AORU"),
    ("POST", "/api/v1/certificates/{serial}/revoke", "AOR"),
    ("POST", "/api/v1/certificates/{serial}/release", "AO"),
    ("POST", "/api/v1/certificates/{serial}/renew", "AOR"),
    ("POST", "/api/v1/revocations/by-key", "AOR"),
    ("GET", "/api/v1/keys", "A"),
    ("POST", "/api/v1/keys/reseal", "A"),
    ("GET", "/api/v1/issuers", "AOU"),
    ("POST", "/api/v1/issuers", "A"),
    ("GET", "/api/v1/issuers/{name}", "AOU"),
    ("PATCH", "/api/v1/issuers/{name}", "A"),
    ("GET", "/api/v1/issuers/{name}/csr", "AOU"),
    ("PUT", "/api/v1/issuers/{name}/certificate", "A"),
    ("POST", "/api/v1/issuers/{name}/rollover", "A"),
    ("POST", "/api/v1/issuers/{name}/cross-sign", "A"),
    ("GET", "/api/v1/issuers/{name}/certificate", "AOU"),
    ("GET", "/api/v1/issuers/{name}/chain", "AOU"),
    ("GET", "/api/v1/issuers/{name}/crl", "AOU"),
    ("POST", "/api/v1/issuers/{name}/crl", "AO"),
    ("GET", "/api/v1/profiles", "AOU"),
    ("GET", "/api/v1/profiles/{name}", "AOU"),
    ("PUT", "/api/v1/profiles/{name}", "A"),
    ("DELETE", "/api/v1/profiles/{name}", "A"),
    ("GET", "/api/v1/tokens", "AU"),
    ("POST", "/api/v1/tokens", "A"),
    ("DELETE", "/api/v1/tokens/{id}", "A"),
    ("GET", "/api/v1/acme/external-account-keys", "AORU"),
    ("POST", "/api/v1/acme/external-account-keys", "AOR"),
    ("GET", "/api/v1/acme/external-account-keys/{key_id}", "AORU"),
    ("DELETE", "/api/v1/acme/external-account-keys/{key_id}", "AOR"),
    ("GET", "/api/v1/acme/accounts", "AOU"),
    ("GET", "/api/v1/acme/accounts/{id}", "AOU"),
    ("PATCH", "/api/v1/acme/accounts/{id}", "AO"),
    ("POST", "/api/v1/acme/accounts/{id}/deactivate", "AO"),
    ("GET", "/api/v1/acme/orders", "AOU"),
    ("GET", "/api/v1/acme/orders/{id}", "AOU"),
    ("GET", "/api/v1/acme/renewal-windows", "AOU"),
    ("POST", "/api/v1/acme/renewal-windows", "AO"),
    ("DELETE", "/api/v1/acme/renewal-windows/{id}", "AO"),
    ("GET", "/api/v1/audit", "AU"),
    ("GET", "/api/v1/audit/verify", "AU"),
    ("POST", "/api/v1/inspect", "AORU"),
    ("GET", "/api/v1/statistics", "AOU"),
    ("GET", "/api/v1/whoami", "AORU"),
];

fn letter(role: Role) -> char {
    match role {
        Role::Administrator => 'A',
        Role::Operator => 'O',
        Role::Requester => 'R',
        Role::Auditor => 'U',
    }
}

/// A request for a route: harmless, as its object does not exist, but well formed, so that only the permission decides.
fn request(client: &Client, method: &str, path: &str) -> Request {
    let path = path
        .replace("{serial}", "0123456789abcdef")
        .replace("{format}", "pem")
        .replace("{name}", "nobody")
        .replace("{key_id}", "nobody")
        .replace("{id}", "nobody");
    let request = client.request(method, &path);
    let reason = json!({"filter": {"serial": "0123456789abcdef"}, "reason": "superseded"});
    match (method, path.as_str()) {
        ("POST", "/api/v1/certificates" | "/api/v1/certificates/check") => {
            request.json(&json!({"csr": Csr::for_dns(&["a.internal"]).pem(), "profile": "nobody"}))
        }
        ("POST", "/api/v1/certificates/import") => request.json(&json!({"certificates": "none"})),
        ("POST", "/api/v1/issuers") => request.json(&json!({"kind": "import", "name": "nobody"})),
        ("POST", "/api/v1/certificates/revoke") => request.json(&reason),
        ("POST", path) if path.ends_with("/revoke") => request.json(&json!({"reason": "superseded"})),
        ("POST", "/api/v1/revocations/by-key") => request.json(&json!({"csr": Csr::new().common_name("revoke").pem()})),
        ("POST", "/api/v1/tokens") => request.json(&json!({"name": "Not Valid", "role": "auditor"})),
        ("POST", "/api/v1/inspect") => request.json(&json!({"input": Csr::for_dns(&["a.internal"]).pem()})),
        ("POST", path) if path.ends_with("/rollover") => request.json(&json!({})),
        ("POST", path) if path.ends_with("/cross-sign") => request.json(&json!({"certificate": "nobody's"})),
        ("POST", "/api/v1/acme/external-account-keys") => request.json(&json!({"profile": "nobody"})),
        ("POST", "/api/v1/acme/renewal-windows") => request.json(&json!({
            "issuer": "nobody", "starts_at": "2030-01-31T12:00:00Z", "ends_at": "2030-02-02T12:00:00Z",
        })),
        ("PATCH", path) if path.starts_with("/api/v1/acme/") => request.json(&json!({"rate_limits": {}})),
        ("PATCH", _) => request.json(&json!({"state": "retired"})),
        ("PUT", path) if path.ends_with("/certificate") => request.json(&json!({"certificate": "nobody's"})),
        ("PUT", _) => request.json(&json!({"keys": []})),
        _ => request,
    }
}

#[test]
fn the_table_of_routes_is_as_expected() {
    let table: BTreeSet<(String, String, String)> = routes::table()
        .into_iter()
        .filter_map(|endpoint| {
            let roles = endpoint.permission?.roles();
            let letters: String = Role::ALL.into_iter().filter(|role| roles.contains(role)).map(letter).collect();
            Some((endpoint.method.to_string(), endpoint.path, letters))
        })
        .collect();
    let expected: BTreeSet<(String, String, String)> = EXPECTED
        .iter()
        .map(|(method, path, roles)| ((*method).to_owned(), (*path).to_owned(), (*roles).to_owned()))
        .collect();
    assert_eq!(table, expected);
}

#[test]
fn every_route_admits_its_roles_and_refuses_all_others() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let clients: Vec<(Role, Client)> =
            Role::ALL.into_iter().map(|role| (role, service.with_role(role.as_str()))).collect();
        let anonymous = service.anonymous();
        for (method, path, roles) in EXPECTED {
            let answer = request(&anonymous, method, path).expect(401);
            assert_eq!(answer.problem_code(), "unauthenticated", "{method} {path}");
            assert!(answer.header("www-authenticate").starts_with("Bearer"), "{method} {path}");
            for (role, client) in &clients {
                let answer = request(client, method, path).send();
                let what = format!("{database:?}: {role:?}: {method} {path}: {} {}", answer.status, answer.text());
                if roles.contains(letter(*role)) {
                    assert!(answer.status < 500 && ![401, 403, 405].contains(&answer.status), "{what}");
                } else {
                    assert_eq!(answer.status, 403, "{what}");
                    assert_eq!(answer.problem_code(), "forbidden");
                }
            }
        }
    }
}

#[test]
fn public_routes_need_no_credential_and_no_others_are_public() {
    let public: BTreeSet<String> = routes::table()
        .into_iter()
        .filter(|endpoint| endpoint.permission.is_none() && endpoint.listeners.contains(&Listener::Api))
        .map(|endpoint| endpoint.path)
        .collect();
    let expected = [
        "/acme/accounts/{id}",
        "/acme/accounts/{id}/orders",
        "/acme/authorizations/{id}",
        "/acme/certificates/{id}",
        "/acme/certificates/{id}/{chain}",
        "/acme/challenges/{id}/{type}",
        "/acme/directory",
        "/acme/key-change",
        "/acme/new-account",
        "/acme/new-authz",
        "/acme/new-nonce",
        "/acme/new-order",
        "/acme/orders/{id}",
        "/acme/orders/{id}/finalize",
        "/acme/renewal-info/{id}",
        "/acme/revoke-cert",
        "/acme/{profile}/directory",
        "/acme/{profile}/new-account",
        "/acme/{profile}/new-authz",
        "/acme/{profile}/new-order",
        "/docs",
        "/docs/{file}",
        "/healthz",
        "/ocsp/{issuer}",
        "/ocsp/{issuer}/{request}",
        "/openapi.json",
        "/pki/{issuer}.crl",
        "/pki/{issuer}.crt",
        "/pki/{issuer}/delta.crl",
        "/pki/{issuer}/{shard}.crl",
        "/pki/{issuer}/{shard}/delta.crl",
        "/readyz",
    ];
    assert_eq!(public, expected.into_iter().map(str::to_owned).collect());
    let anonymous = Service::shared(Database::Sqlite).anonymous();
    for path in ["/acme/directory", "/healthz", "/readyz", "/openapi.json", "/pki/issuing.crt", "/pki/issuing.crl"] {
        anonymous.get(path).expect(200);
    }
}

#[test]
fn other_methods_are_answered_with_those_allowed() {
    let client = Service::shared(Database::Sqlite).administrator();
    let answer = client.delete("/api/v1/certificates").expect(405);
    assert_eq!(answer.problem_code(), "method_not_allowed");
    let allowed: BTreeSet<&str> = answer.header("allow").split(", ").collect();
    assert_eq!(allowed, BTreeSet::from(["GET", "HEAD", "POST"]));
}
