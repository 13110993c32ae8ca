//! Problem documents (RFC 8555, section 6.7). Lines 23 to 28 of the checklist.

use serde_json::{Value, json};

use super::{account, check_common, is_nonce, service, trusted_account};
use crate::support::acme::{AcmeClient, ERRORS, acme_error, identifiers};
use crate::support::csr::Csr;
use crate::support::service::{Database, Service};

/// The types of RFC 8555, section 6.7, RFC 9773, section 7.4, and draft-ietf-acme-profiles.
const REGISTERED: [&str; 26] = [
    "accountDoesNotExist",
    "alreadyReplaced",
    "alreadyRevoked",
    "badCSR",
    "badNonce",
    "badPublicKey",
    "badRevocationReason",
    "badSignatureAlgorithm",
    "caa",
    "compound",
    "connection",
    "dns",
    "externalAccountRequired",
    "incorrectResponse",
    "invalidContact",
    "invalidProfile",
    "malformed",
    "orderNotReady",
    "rateLimited",
    "rejectedIdentifier",
    "serverInternal",
    "tls",
    "unauthorized",
    "unsupportedContact",
    "unsupportedIdentifier",
    "userActionRequired",
];

#[test]
fn refusals_have_the_types_and_statuses_of_the_standard() {
    let client = account();
    let order = |payload: Value| client.post(&client.url("newOrder"), &payload);
    let contact = |contact: &str| client.post(client.account_url(), &json!({"contact": [contact]}));
    let pending = client.new_order(&["pending.internal"]);
    let csr = Csr::for_dns(&["pending.internal"]).der();
    for (request, status, token) in [
        (
            client.fetch(client.account_url()).header("kid", json!(format!("{}7", client.account_url()))),
            400,
            "accountDoesNotExist",
        ),
        (client.fetch(client.account_url()).header("nonce", json!("AAAA")), 400, "badNonce"),
        (client.fetch(client.account_url()).header("alg", json!("none")), 400, "badSignatureAlgorithm"),
        (client.fetch(client.account_url()).header("url", json!("https://x.internal")), 403, "unauthorized"),
        (contact("mailto:a@example.com,b@example.com"), 400, "invalidContact"),
        (contact("tel:+4612345678"), 400, "unsupportedContact"),
        (order(json!({"identifiers": [{"type": "email", "value": "a@example.com"}]})), 400, "unsupportedIdentifier"),
        (order(json!({"identifiers": identifiers(&["a..internal"])})), 400, "malformed"),
        (order(json!({"identifiers": identifiers(&["www.example.com"])})), 400, "rejectedIdentifier"),
        (order(json!({"identifiers": identifiers(&["a.internal"]), "profile": "nonsense"})), 400, "invalidProfile"),
        (order(json!([])), 400, "malformed"),
        (client.finalization(&pending, &csr), 403, "orderNotReady"),
    ] {
        let problem = request.refused(status, token);
        assert!(REGISTERED.contains(&token));
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            !detail.to_ascii_lowercase().contains("select ")
                && !detail.contains("panicked")
                && !detail.contains(".rs:")
        );
    }
    let owner = trusted_account(service());
    let ready = owner.new_order(&["ready.internal"]);
    owner.finalization(&ready, &Csr::for_dns(&["other.internal"]).der()).refused(400, "badCSR");
    owner.finalization(&ready, b"\x30\x00").refused(400, "badCSR");
}

#[test]
fn each_identifier_that_is_refused_has_a_problem_of_its_own() {
    let client = account();
    let names = ["fine.internal", "www.example.com", "mail.example.org", "192.0.2.1"];
    let payload = json!({"identifiers": identifiers(&names)});
    let answer = client.post(&client.url("newOrder"), &payload).expect(400);
    acme_error(&answer);
    let problem = answer.json();
    let subproblems = problem["subproblems"].as_array().unwrap_or_else(|| panic!("no subproblems in {problem}"));
    let mut refused: Vec<&Value> = subproblems.iter().map(|subproblem| &subproblem["identifier"]).collect();
    refused.sort_by_key(|identifier| identifier["value"].to_string());
    assert_eq!(
        refused,
        [
            &json!({"type": "ip", "value": "192.0.2.1"}),
            &json!({"type": "dns", "value": "mail.example.org"}),
            &json!({"type": "dns", "value": "www.example.com"}),
        ]
    );
    for subproblem in subproblems {
        assert_eq!(subproblem["type"], format!("{ERRORS}rejectedIdentifier"));
        assert!(subproblem["detail"].as_str().is_some_and(|detail| detail.contains("allowed")), "{subproblem}");
    }
    let orders = client.read(&format!("{}/orders", client.account_url()));
    assert_eq!(orders["orders"], json!([]));
}

#[test]
fn limits_say_when_to_come_back_and_where_to_ask() {
    for database in Database::ALL {
        let configuration = "[acme]\nwebsite = \"https://ca.internal/help\"\n[acme.limits]\n\
                             orders_per_account = { count = 2, period = \"1h\" }\n";
        let service = Service::configured(database, configuration, &[]);
        let mut client = AcmeClient::new(&service);
        client.register();
        // What fails for another reason does not count.
        for _attempt in 0..4 {
            let payload = json!({"identifiers": identifiers(&["www.example.com"])});
            client.post(&client.url("newOrder"), &payload).refused(400, "rejectedIdentifier");
        }
        client.new_order(&["one.internal"]);
        client.new_order(&["two.internal"]);
        let payload = json!({"identifiers": identifiers(&["three.internal"])});
        let answer = client.post(&client.url("newOrder"), &payload).expect(429);
        assert_eq!(acme_error(&answer), "rateLimited", "{database:?}");
        let seconds: u32 = answer.header("retry-after").parse().unwrap();
        assert!((1..=3600).contains(&seconds), "{seconds}");
        assert!(
            answer.headers("link").iter().filter(|link| **link == "<https://ca.internal/help>;rel=\"help\"").count()
                == 1,
            "{:?}",
            answer.headers("link")
        );
        assert!(is_nonce(answer.header("replay-nonce")));
        check_common(&answer, &client);
        // Another account is not meant.
        client.another().new_order(&["three.internal"]);
    }
}

#[test]
fn new_terms_are_to_be_agreed_to_before_anything_else() {
    let mut service = Service::start_with(
        Database::Sqlite,
        &[
            ("CHANCERY__ACME__TERMS_OF_SERVICE", "https://ca.internal/terms/1"),
            ("CHANCERY__ACME__BASE_URL", "https://ca.internal"),
        ],
    );
    let mut client = AcmeClient::at(&service, "/acme/directory").behind(&service, "https://ca.internal");
    assert_eq!(client.directory()["meta"]["termsOfService"], "https://ca.internal/terms/1");
    client.register();
    client.new_order(&["before.internal"]);
    service.set("CHANCERY__ACME__TERMS_OF_SERVICE", "https://ca.internal/terms/2");
    service.stop();
    service.restart();
    let client = client.behind(&service, "https://ca.internal");
    let payload = json!({"identifiers": identifiers(&["after.internal"])});
    let answer = client.post(&client.url("newOrder"), &payload).expect(403);
    assert_eq!(acme_error(&answer), "userActionRequired");
    let terms = "<https://ca.internal/terms/2>;rel=\"terms-of-service\"";
    assert!(answer.headers("link").contains(&terms), "{:?}", answer.headers("link"));
    assert!(answer.json()["instance"].as_str().is_some_and(|instance| instance.starts_with("https://ca.internal/")));
    client.post(client.account_url(), &json!({"termsOfServiceAgreed": true})).expect(200);
    client.new_order(&["after.internal"]);
}

#[test]
fn what_is_not_there_is_a_problem_document_too() {
    let client = account();
    let base = client.directory_url().strip_suffix("/directory").unwrap();
    for path in [
        "/",
        "/nothing",
        "/orders",
        "/orders/",
        "/orders/x",
        "/accounts",
        "/certificates/1/x",
        "/server/nothing",
        "/nothing/directory",
        "/a/b/c/d",
    ] {
        let url = format!("{base}{path}");
        for answer in [client.http().get(&url).send(), client.fetch(&url).send()] {
            assert!(matches!(answer.status, 404 | 405), "{path}: {} {}", answer.status, answer.text());
            assert_eq!(acme_error(&answer), "malformed", "{path}");
        }
    }
    for path in ["/orders/1", "/authorizations/1", "/challenges/1/http-01", "/certificates/1", "/orders/1/finalize"] {
        let url = format!("{base}{path}");
        let answer = if path.ends_with("finalize") {
            client.post(&url, &json!({"csr": ""})).expect(404)
        } else {
            client.fetch(&url).expect(404)
        };
        assert_eq!(acme_error(&answer), "malformed", "{path}");
        assert!(is_nonce(answer.header("replay-nonce")));
        check_common(&answer, &client);
    }
}

#[test]
fn failures_of_the_service_say_nothing_of_its_inside_and_give_a_nonce() {
    let service = Service::start(Database::Sqlite);
    let mut client = AcmeClient::new(&service);
    client.register();
    let url = client.url("newOrder");
    let request = client.post(&url, &json!({"identifiers": identifiers(&["broken.internal"])})).jws();
    service.execute("ALTER TABLE acme_orders RENAME TO acme_orders_gone");
    let answer = client.send(&url, request.to_string());
    assert!((500..600).contains(&answer.status), "{}", answer.status);
    assert_eq!(acme_error(&answer), "serverInternal");
    assert!(!answer.text().contains("acme_orders"), "{}", answer.text());
    assert!(is_nonce(answer.header("replay-nonce")));
    assert!(!answer.header("retry-after").is_empty());
    check_common(&answer, &client);
    service.execute("ALTER TABLE acme_orders_gone RENAME TO acme_orders");
    client.new_order(&["broken.internal"]);
}
