//! Orders (RFC 8555, sections 7.1.3 and 7.4), and profiles (draft-ietf-acme-profiles).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::site::Site;
use crate::support::acme::{AcmeClient, acme_error, challenge, identifiers};
use crate::support::csr::Csr;
use crate::support::service::Database;

/// The identifiers of the subproblems of a problem document.
fn subproblems(problem: &Value) -> BTreeSet<String> {
    let listed = problem["subproblems"].as_array().map(Vec::as_slice).unwrap_or_default();
    listed
        .iter()
        .map(|each| {
            let kind = each["type"].as_str().unwrap().rsplit(':').next().unwrap();
            format!("{kind} {}", each["identifier"]["value"].as_str().unwrap())
        })
        .collect()
}

#[track_caller]
fn refused(client: &AcmeClient, names: &[&str], token: &str) -> Value {
    client.post(&client.url("newOrder"), &json!({"identifiers": identifiers(names)})).refused(400, token)
}

#[test]
fn a_new_order_is_201_with_location_and_everything_that_follows_from_it() {
    for database in Database::ALL {
        let site = Site::shared(database);
        let client = site.client();
        let names = [site.name(), site.name()];
        let written = identifiers(&[&names[0], &names[1], "127.0.0.1"]);
        let answer = client.post(&client.url("newOrder"), &json!({"identifiers": written})).expect(201);
        let order = answer.json();
        assert!(answer.header("location").starts_with(&format!("{}/acme/orders/", site.service.api())));
        assert_eq!(order["status"], "pending");
        assert_eq!(order["identifiers"], json!(written));
        assert_eq!(order["profile"], "server");
        assert!(order["expires"].as_str().unwrap().ends_with('Z'));
        assert!(order["certificate"].is_null() && order["error"].is_null());
        assert_eq!(order["finalize"], format!("{}/finalize", answer.header("location")));
        let authorizations: BTreeSet<&str> =
            order["authorizations"].as_array().unwrap().iter().map(|url| url.as_str().unwrap()).collect();
        assert_eq!(authorizations.len(), 3);
        assert_eq!(client.read(answer.header("location")), order);
    }
}

#[test]
fn equal_identifiers_are_one_and_names_are_lower_case() {
    let site = Site::shared(Database::Sqlite);
    let client = site.client();
    let order = client.new_order(&["App.Internal", "app.internal", "b.internal", "APP.INTERNAL", "b.internal"]);
    assert_eq!(order.body["identifiers"], json!(identifiers(&["app.internal", "b.internal"])));
    assert_eq!(order.body["authorizations"].as_array().unwrap().len(), 2);
}

#[test]
fn malformed_names_are_told_apart_from_those_that_are_not_allowed() {
    let site = Site::shared(Database::Sqlite);
    let client = site.client();
    let long_label = format!("{}.internal", "a".repeat(64));
    let long_name = format!("{}.internal", vec!["a".repeat(60); 5].join("."));
    for name in [
        "m\u{fc}nchen.internal",
        "app.internal.",
        "app..internal",
        ".internal",
        "",
        "a b.internal",
        "-a.internal",
        "xn--a.internal",
        "*",
        "*.*.internal",
        "a*.internal",
        "a.*.internal",
        "app.internal:443",
        "https://app.internal/",
        &long_label,
        &long_name,
    ] {
        let payload = json!({"identifiers": [{"type": "dns", "value": name}]});
        client.post(&client.url("newOrder"), &payload).refused(400, "malformed");
    }
    for (kind, value) in [
        ("dns", "10.0.0.1"),
        ("dns", "fd00::1"),
        ("ip", "FD00::1"),
        ("ip", "010.0.0.1"),
        ("ip", "::ffff:10.0.0.1"),
        ("ip", "app.internal"),
    ] {
        let payload = json!({"identifiers": [{"type": kind, "value": value}]});
        client.post(&client.url("newOrder"), &payload).refused(400, "malformed");
    }
    let problem = refused(&client, &["www.example.org"], "rejectedIdentifier");
    assert!(problem["detail"].as_str().unwrap().contains("`www.example.org` matches no allowed pattern"), "{problem}");
}

#[test]
fn each_of_several_identifiers_that_are_refused_has_a_subproblem() {
    let site = Site::shared(Database::Sqlite);
    let client = site.client();
    let problem = refused(&client, &["app.internal", "a.example.org", "b.example.org"], "rejectedIdentifier");
    let expected = ["rejectedIdentifier a.example.org", "rejectedIdentifier b.example.org"];
    assert_eq!(subproblems(&problem), expected.map(str::to_owned).into());
    let mixed = json!({"identifiers": [
        {"type": "dns", "value": "a.example.org"}, {"type": "dns", "value": "a..b"}, {"type": "email", "value": "a@b.internal"}
    ]});
    let problem = client.post(&client.url("newOrder"), &mixed).refused(400, "compound");
    let expected = ["malformed a..b", "rejectedIdentifier a.example.org", "unsupportedIdentifier a@b.internal"];
    assert_eq!(subproblems(&problem), expected.map(str::to_owned).into());
}

#[test]
fn unsupported_types_no_identifiers_and_too_many_are_refused() {
    let site = Site::shared(Database::Sqlite);
    let client = site.client();
    let url = client.url("newOrder");
    let email = json!({"identifiers": [{"type": "email", "value": "a@b.internal"}]});
    client.post(&url, &email).refused(400, "unsupportedIdentifier");
    for payload in [json!({"identifiers": []}), json!({}), json!({"identifiers": "app.internal"}), json!([])] {
        client.post(&url, &payload).refused(400, "malformed");
    }
    let many: Vec<String> = (0..101).map(|number| format!("a{number}.internal")).collect();
    let problem = refused(&client, &many.iter().map(String::as_str).collect::<Vec<_>>(), "malformed");
    assert!(problem["detail"].as_str().unwrap().contains("at most 100"), "{problem}");
}

#[test]
fn a_wildcard_is_proven_over_dns_and_its_base_on_its_own() {
    for database in Database::ALL {
        let site = Site::shared(database);
        let client = site.client();
        let name = site.name();
        let wildcard = format!("*.{name}");
        let order = client.new_order(&[&wildcard, &name]);
        let authorizations = client.authorizations(&order);
        for authorization in &authorizations {
            assert_eq!(authorization["identifier"], json!({"type": "dns", "value": name}));
        }
        let kinds = |authorization: &Value| {
            let challenges = authorization["challenges"].as_array().unwrap();
            challenges.iter().map(|challenge| challenge["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            (&authorizations[0]["wildcard"], kinds(&authorizations[0])),
            (&json!(true), vec!["dns-01".to_owned(), "dns-account-01".to_owned()])
        );
        assert!(authorizations[1].get("wildcard").is_none());
        assert!(kinds(&authorizations[1]).contains(&"http-01".to_owned()));
        site.prove(&client, &order);
        let chain = client.finalize(&order, &Csr::for_dns(&[&name, &wildcard]));
        assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
    }
}

#[test]
fn the_validity_asked_for_is_honoured_or_refused() {
    let site = Site::shared(Database::Sqlite);
    let client = site.client();
    let name = site.name();
    let moment = |days: i64| {
        let at = time::OffsetDateTime::now_utc().replace_nanosecond(0).unwrap() + time::Duration::days(days);
        at.format(&time::format_description::well_known::Rfc3339).unwrap()
    };
    let (start, end) = (moment(1), moment(3));
    let order = client.order_with(&json!({"identifiers": identifiers(&[&name]), "notBefore": start, "notAfter": end}));
    assert_eq!((&order.body["notBefore"], &order.body["notAfter"]), (&json!(start), &json!(end)));
    site.prove(&client, &order);
    let chain = client.finalize(&order, &Csr::for_dns(&[&name]));
    let pem = chain.as_bytes();
    let (_, block) = x509_parser::pem::parse_x509_pem(pem).unwrap();
    let leaf = block.parse_x509().unwrap();
    let parsed =
        |text: &str| time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap();
    assert_eq!(leaf.validity().not_before.timestamp(), parsed(&start).unix_timestamp());
    assert_eq!(leaf.validity().not_after.timestamp(), parsed(&end).unix_timestamp());

    for (member, value) in [
        ("notAfter", moment(4000)),
        ("notAfter", moment(-1)),
        ("notBefore", moment(-30)),
        ("notBefore", moment(4000)),
        ("notAfter", "tomorrow".to_owned()),
        ("notBefore", String::new()),
    ] {
        let payload = json!({"identifiers": identifiers(&[&name]), member: value});
        client.post(&client.url("newOrder"), &payload).refused(400, "malformed");
    }
}

#[test]
fn an_order_whose_names_are_proven_is_born_ready_for_its_account_only() {
    for database in Database::ALL {
        let site = Site::shared(database);
        let client = site.client();
        let name = site.name();
        let first = site.ready_order(&client, &[&name]);
        let second = client.new_order(&[&name]);
        assert_eq!(second.body["status"], "ready");
        assert_eq!(second.body["authorizations"], first.body["authorizations"]);
        assert_eq!(client.new_order(&[&format!("*.{name}")]).body["status"], "pending");
        assert_eq!(client.another().new_order(&[&name]).body["status"], "pending");
    }
}

#[test]
fn an_order_is_ready_as_soon_as_its_last_authorization_is_valid() {
    let site = Site::shared(Database::Postgres);
    let client = site.client();
    let names = [site.name(), site.name()];
    let order = client.new_order(&[&names[0], &names[1]]);
    let authorizations = client.authorizations(&order);
    for (index, authorization) in authorizations.iter().enumerate() {
        let challenge = site.answer(&client, authorization);
        client.respond(&challenge);
        client.poll(order.body["authorizations"][index].as_str().unwrap(), "valid");
        // Right after, without waiting.
        let status = if index == 0 { "pending" } else { "ready" };
        assert_eq!(client.read(&order.url)["status"], status);
    }
}

#[test]
fn an_authorization_that_fails_makes_its_orders_invalid_and_says_why() {
    for database in Database::ALL {
        let site = Site::start(database, "[acme.validation]\nattempts = 1");
        let client = site.client();
        let name = site.name();
        let other = site.name();
        let order = client.new_order(&[&other, &name]);
        let authorization = client.authorizations(&order).remove(1);
        // Nothing was put where the answer is looked for.
        let answered = challenge(&authorization, "http-01");
        client.respond(&answered);
        let url = order.body["authorizations"][1].as_str().unwrap();
        let failed = client.poll(url, "invalid");
        let kept = challenge(&failed, "http-01");
        assert_eq!((&kept["status"], &kept["token"]), (&json!("invalid"), &answered["token"]));
        assert!(kept["error"]["detail"].as_str().unwrap().contains("404"), "{kept}");
        let read = client.read(&order.url);
        assert_eq!(read["status"], "invalid");
        assert_eq!(read["error"]["type"], kept["error"]["type"]);
        assert_eq!(read["error"]["subproblems"][0]["identifier"], json!({"type": "dns", "value": name}));
        client.finalization(&order, &Csr::for_dns(&[&other, &name]).der()).refused(403, "orderNotReady");
        // It is in no list any more.
        let list = client.read(&format!("{}/orders", client.account_url()));
        assert_eq!(list["orders"], json!([]));
    }
}

#[test]
fn an_order_that_expired_is_invalid() {
    for database in Database::ALL {
        let site = Site::start(database, "");
        let client = site.client();
        let name = site.name();
        let order = site.ready_order(&client, &[&name]);
        site.service.execute("UPDATE acme_orders SET expires_at = expires_at - 8 * 86400");
        let read = client.read(&order.url);
        assert_eq!(read["status"], "invalid");
        assert!(read["error"]["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{read}");
        client.finalization(&order, &Csr::for_dns(&[&name]).der()).refused(403, "orderNotReady");
    }
}

#[test]
fn a_proof_that_expired_before_finalizing_ends_the_order() {
    for database in Database::ALL {
        let site = Site::start(database, "");
        let client = site.client();
        let name = site.name();
        let order = site.ready_order(&client, &[&name]);
        site.service.execute("UPDATE acme_authorizations SET expires_at = expires_at - 40 * 86400");
        assert_eq!(client.read(order.body["authorizations"][0].as_str().unwrap())["status"], "expired");
        let problem = client.finalization(&order, &Csr::for_dns(&[&name]).der()).refused(403, "orderNotReady");
        assert!(problem["detail"].as_str().unwrap().contains(&name), "{problem}");
        assert_eq!(client.read(&order.url)["status"], "invalid");
        assert_eq!(client.new_order(&[&name]).body["status"], "pending");
    }
}

#[test]
fn what_is_anothers_and_what_is_not_there_are_told_in_the_same_words() {
    for database in Database::ALL {
        let site = Site::shared(database);
        let (owner, other) = (site.client(), site.client());
        let name = site.name();
        let order = site.ready_order(&owner, &[&name]);
        let authorization = order.body["authorizations"][0].as_str().unwrap();
        let challenge = challenge(&owner.read(authorization), "http-01")["url"].as_str().unwrap().to_owned();
        let (order_id, authorization_id) =
            (order.url.rsplit('/').next().unwrap(), authorization.rsplit('/').next().unwrap());
        let told = |url: &str, payload: Option<&Value>| {
            let post = payload.map_or_else(|| other.fetch(url), |payload| other.post(url, payload));
            let answer = post.expect(404);
            (acme_error(&answer), answer.json()["detail"].clone())
        };
        let csr = json!({"csr": crate::support::acme::base64url(Csr::for_dns(&[&name]).der())});
        for (url, id, payload) in [
            (order.url.clone(), order_id, None),
            (format!("{}/finalize", order.url), order_id, Some(csr)),
            (format!("{}/acme/certificates/{order_id}", site.service.api()), order_id, None),
            (authorization.to_owned(), authorization_id, None),
            (authorization.to_owned(), authorization_id, Some(json!({"status": "deactivated"}))),
            (challenge.clone(), authorization_id, None),
            (challenge, authorization_id, Some(json!({}))),
        ] {
            let missing = url.replace(id, "12345");
            assert_eq!(told(&url, payload.as_ref()), told(&missing, payload.as_ref()), "{url}");
        }
        assert_eq!(owner.read(&order.url)["status"], "ready");
    }
}

#[test]
fn directories_offer_profiles_and_orders_keep_theirs() {
    for database in Database::ALL {
        let site = Site::shared(database);
        let client = site.client();
        let offered = client.directory()["meta"]["profiles"].as_object().unwrap();
        for name in ["server", "client", "peer"] {
            assert!(offered[name].as_str().is_some_and(|description| !description.is_empty()), "{offered:?}");
        }
        let name = site.name();
        let order = client.order_with(&json!({"identifiers": identifiers(&[&name]), "profile": "peer"}));
        assert_eq!(order.body["profile"], "peer");
        site.prove(&client, &order);
        client.finalize(&order, &Csr::for_dns(&[&name]));
        assert_eq!(client.read(&order.url)["profile"], "peer");
        for profile in ["nothing", "Server", "", "chancery.listener", "chancery.ca"] {
            let payload = json!({"identifiers": identifiers(&[&name]), "profile": profile});
            client.post(&client.url("newOrder"), &payload).refused(400, "invalidProfile");
        }
        // The directory of a profile has no other.
        let mut peer = AcmeClient::for_profile(&site.service, "peer");
        peer.register();
        assert_eq!(peer.directory()["meta"]["profiles"].as_object().unwrap().len(), 1);
        assert_eq!(peer.new_order(&[&name]).body["profile"], "peer");
        let payload = json!({"identifiers": identifiers(&[&name]), "profile": "server"});
        peer.post(&peer.url("newOrder"), &payload).refused(400, "invalidProfile");
    }
}

#[test]
fn a_profile_that_was_withdrawn_finalizes_nothing() {
    for database in Database::ALL {
        let site = Site::start(database, "");
        let administrator = site.service.administrator();
        let document = json!({"dns": {"allow": ["**.internal"]}, "extended_key_usage": {"required": ["server_auth"]}});
        administrator.put("/api/v1/profiles/fleeting").json(&document).expect(201);
        let client = site.client();
        let name = site.name();
        let order = client.order_with(&json!({"identifiers": identifiers(&[&name]), "profile": "fleeting"}));
        site.prove(&client, &order);
        administrator.delete("/api/v1/profiles/fleeting").send().expect(204);
        client.finalization(&order, &Csr::for_dns(&[&name]).der()).refused(400, "invalidProfile");
    }
}

#[test]
fn orders_are_limited_with_the_time_to_wait() {
    for database in Database::ALL {
        let site = Site::start(database, "[acme.limits]\norders_per_account = { count = 2, period = \"1h\" }");
        let client = site.client();
        refused(&client, &["www.example.org"], "rejectedIdentifier");
        for _order in 0..2 {
            client.new_order(&[&site.name()]);
        }
        let payload = json!({"identifiers": identifiers(&[&site.name()])});
        let answer = client.post(&client.url("newOrder"), &payload).expect(429);
        assert_eq!(acme_error(&answer), "rateLimited");
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=1800).contains(&wait), "{wait}");
        client.another().new_order(&[&site.name()]);
    }
}
