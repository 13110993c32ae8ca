//! How requests come in and answers go out (RFC 8555, section 6): media types, methods, what every answer carries. Lines 1 to 5, 12 and 18 to
//! 21 of the checklist; signatures, nonces and errors are in the files below.

mod errors;
mod nonces;
mod signatures;

use serde_json::{Value, json};

use crate::support::acme::{AccountKey, AcmeClient, ExternalKey, JOSE, Order, acme_error, identifiers};
use crate::support::client::Answer;
use crate::support::service::{Database, Service};

/// A service that tests of this folder share.
fn service() -> &'static Service {
    Service::shared(Database::Sqlite)
}

/// A client with a new account.
fn account() -> AcmeClient {
    let mut client = AcmeClient::new(service());
    client.register();
    client
}

/// A client whose account proves control of its names by its external account key.
fn trusted_account(service: &Service) -> AcmeClient {
    let key = ExternalKey::create(service, &json!({"profile": "server", "proves_control": true}));
    let mut client = AcmeClient::for_profile(service, "server");
    client.register_bound(&key);
    client
}

/// An order with an authorization, a challenge and a certificate: the address of one resource of every kind, by its kind.
struct Resources {
    client: AcmeClient,
    order: Order,
    urls: Vec<(&'static str, String)>,
}

impl Resources {
    fn new() -> Self {
        let client = account();
        let order = client.new_order(&["resources.internal"]);
        let authorization = order.body["authorizations"][0].as_str().unwrap().to_owned();
        let challenge = client.read(&authorization)["challenges"][0]["url"].as_str().unwrap().to_owned();
        let urls = vec![
            ("account", client.account_url().to_owned()),
            ("orders", format!("{}/orders", client.account_url())),
            ("order", order.url.clone()),
            ("finalize", order.body["finalize"].as_str().unwrap().to_owned()),
            ("authorization", authorization),
            ("challenge", challenge),
            ("certificate", order.url.replace("/orders/", "/certificates/")),
        ];
        Self { client, order, urls }
    }
}

/// The resources of a directory that take signed requests only.
const SIGNED: [&str; 4] = ["newAccount", "newOrder", "revokeCert", "keyChange"];

/// Checks what every answer carries.
#[track_caller]
fn check_common(answer: &Answer, client: &AcmeClient) {
    let index = format!("<{}>;rel=\"index\"", client.directory_url());
    assert!(answer.headers("link").contains(&index.as_str()), "{:?} without {index}", answer.headers("link"));
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let exposed: Vec<&str> = answer.header("access-control-expose-headers").split(',').map(str::trim).collect();
    for field in ["Link", "Replay-Nonce", "Location", "Retry-After"] {
        assert!(exposed.contains(&field), "{field} is not among {exposed:?}");
    }
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(!answer.header("x-request-id").is_empty());
}

fn is_nonce(text: &str) -> bool {
    text.len() >= 22 && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
}

#[test]
fn any_client_is_served_whatever_it_calls_itself_and_reads() {
    let client = account();
    for (name, value) in
        [("user-agent", ""), ("user-agent", "acme/0.0 \u{b5}"), ("accept-language", "tlh"), ("accept", "text/html")]
    {
        client.fetch(client.account_url()).http_header(name, value).expect(200);
        client.http().get(client.directory_url()).header(name, value).expect(200);
    }
    let answer = client.fetch(client.account_url()).expect(200);
    assert!(answer.header("content-type").starts_with("application/json"), "{}", answer.header("content-type"));
}

#[test]
fn bodies_have_a_limit() {
    let client = account();
    let answer = client.post(&client.url("newOrder"), &json!({"x": "x".repeat(1 << 20)})).expect(413);
    assert_eq!(acme_error(&answer), "malformed");
    check_common(&answer, &client);
}

#[test]
fn requests_are_of_one_media_type() {
    let client = account();
    for media_type in ["application/json", "text/plain", "application/jose", "application/x-www-form-urlencoded"] {
        let answer = client.fetch(client.account_url()).content_type(media_type).expect(415);
        assert_eq!(acme_error(&answer), "malformed", "{media_type}");
        check_common(&answer, &client);
    }
    let without = client.http().request("POST", client.account_url()).expect(415);
    assert_eq!(acme_error(&without), "malformed");
    client.fetch(client.account_url()).content_type("application/jose+json").expect(200);
    client.fetch(client.account_url()).content_type("Application/JOSE+JSON").expect(200);
}

#[test]
fn only_directory_and_nonces_are_had_without_a_signature() {
    let Resources { client, urls, .. } = Resources::new();
    let named = SIGNED.map(|name| (name, client.url(name)));
    for (kind, url) in urls.into_iter().chain(named) {
        for method in ["GET", "PUT", "DELETE", "PATCH"] {
            let answer = client.http().request(method, &url).expect(405);
            assert_eq!(acme_error(&answer), "malformed", "{method} {kind}");
            assert!(answer.header("allow").contains("POST"), "{method} {kind}: {}", answer.header("allow"));
            check_common(&answer, &client);
        }
        let head = client.http().request("HEAD", &url).send();
        assert_eq!(head.status, 405, "HEAD {kind}");
    }
    client.http().get(client.directory_url()).expect(200);
    client.http().get(&client.url("newNonce")).expect(204);
}

#[test]
fn what_is_only_fetched_takes_the_empty_text_and_not_an_object() {
    let Resources { client, order, urls } = Resources::new();
    for (kind, url) in &urls {
        if !["orders", "order", "certificate"].contains(kind) {
            continue;
        }
        for payload in ["{}", "null", "\"\"", " "] {
            client.post_octets(url, payload.as_bytes()).refused(400, "malformed");
        }
    }
    assert_eq!(client.read(&order.url)["status"], "pending");
    for (kind, url) in &urls {
        if ["account", "orders", "order", "authorization", "challenge"].contains(kind) {
            client.fetch(url).expect(200);
        }
    }
    // What takes an object does not take nothing.
    for url in [client.url("newOrder"), client.url("keyChange"), order.body["finalize"].as_str().unwrap().to_owned()] {
        client.fetch(&url).refused(400, "malformed");
    }
}

#[test]
fn directory_and_nonces_are_had_with_a_signature_too() {
    let client = account();
    let signed = client.fetch(client.directory_url()).expect(200);
    assert_eq!(signed.json(), *client.directory());
    assert!(is_nonce(signed.header("replay-nonce")));
    let nonce = client.fetch(&client.url("newNonce")).send();
    assert!(matches!(nonce.status, 200 | 204), "{}", nonce.status);
    assert!(is_nonce(nonce.header("replay-nonce")));
    client.post(client.directory_url(), &json!({})).refused(400, "malformed");
}

#[test]
fn a_resource_has_one_address() {
    let Resources { client, order, .. } = Resources::new();
    let new_order = client.url("newOrder");
    let id = order.url.rsplit('/').next().unwrap();
    let variants = [
        format!("{new_order}/"),
        format!("{new_order}?"),
        format!("{new_order}?x=1"),
        new_order.replace("/acme/", "//acme/"),
        new_order.replace("/acme/", "/acme//"),
        new_order.replace("new-order", "new%2Dorder"),
        new_order.replace("new-order", "New-Order"),
        format!("{}/0{id}", order.url.trim_end_matches(id).trim_end_matches('/')),
        format!("{}/+{id}", order.url.trim_end_matches(id).trim_end_matches('/')),
        format!("{}%20", order.url),
    ];
    let payload = json!({"identifiers": identifiers(&["variant.internal"])});
    for variant in variants {
        // Signed as it is sent, and sent to another address than it is signed for.
        for request in [client.post(&variant, &payload), client.post(&new_order, &payload).to(&variant)] {
            let answer = request.send();
            assert!((400..500).contains(&answer.status), "{variant}: {} {}", answer.status, answer.text());
            acme_error(&answer);
        }
    }
    // What the URL parser of this client would tidy away is sent by the signature alone.
    for url in [
        new_order.replace("/acme/", "/./acme/./"),
        new_order.replace("/acme/", "/x/../acme/"),
        new_order.to_uppercase(),
        new_order.replace("https://", "HTTPS://"),
    ] {
        let answer = client.post(&url, &payload).to(&new_order).send();
        assert_eq!(acme_error(&answer), "unauthorized", "{url}");
    }
}

#[test]
fn nonces_are_asked_for_by_head_and_get_and_never_kept_by_caches() {
    let client = AcmeClient::new(service());
    for (method, status) in [("HEAD", 200), ("GET", 204)] {
        let answer = client.http().request(method, &client.url("newNonce")).expect(status);
        assert!(is_nonce(answer.header("replay-nonce")), "{method}: {}", answer.header("replay-nonce"));
        assert!(answer.header("cache-control").contains("no-store"), "{method}");
        assert!(answer.body.is_empty());
        check_common(&answer, &client);
    }
    let (one, two) = (client.new_nonce(), client.new_nonce());
    assert_ne!(one, two);
}

#[test]
fn a_nonce_in_the_header_of_a_request_means_nothing() {
    // RFC 8555, section 6.5.1: clients must not send it, and servers must ignore it.
    let client = account();
    client.fetch(client.account_url()).http_header("replay-nonce", "not-a-nonce").expect(200);
    client
        .fetch(client.account_url())
        .header("nonce", Value::Null)
        .http_header("replay-nonce", &client.new_nonce())
        .refused(400, "badNonce");
}

#[test]
fn every_answer_leads_to_the_directory_and_may_be_read_by_browsers() {
    let Resources { client, order, urls } = Resources::new();
    for (_, url) in &urls {
        check_common(&client.fetch(url).send(), &client);
        check_common(&client.post_octets(url, b"[]").send(), &client);
    }
    check_common(&client.fetch(&format!("{}x", order.url)).expect(404), &client);
    check_common(&client.http().get(&order.url).expect(405), &client);
    // The directory itself does not lead to itself.
    let directory = client.http().get(client.directory_url()).expect(200);
    assert!(
        directory.headers("link").iter().all(|link| !link.contains("rel=\"index\"")),
        "{:?}",
        directory.headers("link")
    );
    assert_eq!(directory.header("access-control-allow-origin"), "*");
    // Those of a profile lead to their own.
    let of_profile = AcmeClient::for_profile(service(), "server").with_key(AccountKey::new());
    let answer = of_profile.post(&of_profile.url("newAccount"), &json!({"onlyReturnExisting": true})).send();
    check_common(&answer, &of_profile);
}

#[test]
fn browsers_are_told_what_they_may_send() {
    let client = account();
    let ask = |url: &str, method: &str| {
        client
            .http()
            .request("OPTIONS", url)
            .header("origin", "https://panel.internal")
            .header("access-control-request-method", method)
            .header("access-control-request-headers", "content-type")
            .send()
    };
    for (url, method) in
        [(client.url("newOrder"), "POST"), (client.directory_url().to_owned(), "GET"), (client.url("newNonce"), "HEAD")]
    {
        let answer = ask(&url, method);
        assert!(matches!(answer.status, 200 | 204), "{url}: {}", answer.status);
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert!(
            answer.header("access-control-allow-methods").contains(method),
            "{}",
            answer.header("access-control-allow-methods")
        );
        assert!(answer.header("access-control-allow-headers").to_ascii_lowercase().contains("content-type"));
        // Any page may ask, so none may come with the credentials of the browser.
        assert_eq!(answer.header("access-control-allow-credentials"), "");
    }
    let signed = client
        .fetch(client.account_url())
        .content_type(JOSE)
        .http_header("origin", "https://panel.internal")
        .expect(200);
    assert_eq!(signed.header("access-control-allow-origin"), "*");
}
