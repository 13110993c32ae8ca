//! Finalizing and fetching certificates (RFC 8555, sections 7.4 and 7.4.2), and CAA records (RFC 8659).

use serde_json::{Value, json};

use super::site::Site;
use crate::support::acme::{AccountKey, AcmeClient, Order, base64url};
use crate::support::csr::{Csr, Key};
use crate::support::service::Database;
use crate::support::tools::{Scratch, openssl};

/// Finalizes with a CSR that must be refused, after which the order is still ready.
#[track_caller]
fn refused(client: &AcmeClient, order: &Order, csr: &[u8], token: &str) -> String {
    let problem = client.finalization(order, csr).refused(if token == "caa" { 403 } else { 400 }, token);
    assert_eq!(client.read(&order.url)["status"], "ready");
    problem["detail"].as_str().unwrap().to_owned()
}

fn certificates_of(site: &Site, name: &str) -> usize {
    let found = site.service.administrator().get(&format!("/api/v1/certificates?name={name}")).expect(200).json();
    found["items"].as_array().unwrap().len()
}

#[test]
fn only_an_order_that_is_ready_is_finalized() {
    for database in Database::ALL {
        let site = Site::shared(database);
        let client = site.client();
        let name = site.name();
        let order = client.new_order(&[&name]);
        let csr = Csr::for_dns(&[&name]).der();
        client.finalization(&order, &csr).refused(403, "orderNotReady");
        site.prove(&client, &order);
        let answer = client.finalization(&order, &csr).expect(200);
        assert_eq!(answer.header("location"), order.url);
        let done = answer.json();
        assert_eq!(done["status"], "valid");
        assert!(done["certificate"].as_str().is_some());
        assert_eq!(client.read(&order.url), done);
        client.finalization(&order, &csr).refused(403, "orderNotReady");
    }
}

#[test]
fn a_csr_that_does_not_fit_is_refused_with_the_fix_and_another_is_taken() {
    for database in Database::ALL {
        let site = Site::shared(database);
        let client = site.client();
        let name = site.name();
        let other = site.name();
        let order = site.ready_order(&client, &[&name]);
        let fit = || Csr::for_dns(&[&name]);
        for (csr, why) in [
            (Csr::new(), "it does not ask for all names of the order"),
            (Csr::for_dns(&[&other]), "missing in its subject alternative names"),
            (fit().dns(&other), "it asks for names that are not in the order"),
            (fit().ip(&[127, 0, 0, 1]), "`127.0.0.1`"),
            (fit().email("a@b.internal"), "orders are for DNS names and IP addresses only"),
            (fit().uri("https://app.internal/"), "orders are for DNS names and IP addresses only"),
            (fit().common_name(&other), "is no DNS name of the order"),
            (fit().common_name("127.0.0.1"), "is no DNS name of the order"),
            (fit().common_name_and_organization(&name, "Example"), "its subject holds `organization`"),
            (fit().extension("2.5.29.19", true, &[0x30, 3, 1, 1, 0xff]), "CA"),
            (fit().extension("1.2.3.4", false, &[5, 0]), "1.2.3.4"),
            (fit().version(1), ""),
            (fit().trailing(&[0]), ""),
        ] {
            let detail = refused(&client, &order, &csr.der(), "badCSR");
            assert!(detail.contains(why), "{detail} has no {why}");
        }
        // Signed by another key than the one in it; PEM; nothing at all.
        refused(&client, &order, &fit().der_signed_by(Key::new().spki(), &Key::new()), "badCSR");
        refused(&client, &order, fit().pem().as_bytes(), "badCSR");
        refused(&client, &order, b"", "badCSR");
        let finalize = order.body["finalize"].as_str().unwrap();
        let padded = format!("{}=", base64url(fit().der()));
        for payload in [json!({}), json!({"csr": 1}), json!({"csr": padded}), json!({"csr": "+/+/"}), json!([])] {
            client.post(finalize, &payload).refused(400, "malformed");
        }
        assert_eq!(client.finalize(&order, &fit().common_name(&name)).matches("BEGIN CERTIFICATE").count(), 2);
    }
}

#[test]
fn the_account_key_is_not_certified() {
    let site = Site::shared(Database::Sqlite);
    let name = site.name();
    let key = Key::new();
    let mut client = AcmeClient::new(&site.service).with_key(AccountKey::from_p256_pem(&key.to_pem()));
    client.register();
    let order = site.ready_order(&client, &[&name]);
    let detail = refused(&client, &order, &Csr::for_dns(&[&name]).der_with(&key), "badCSR");
    assert!(detail.contains("its key is that of the account"), "{detail}");
    client.finalize(&order, &Csr::for_dns(&[&name]));
}

#[test]
fn keys_that_the_profile_does_not_take_and_blocked_ones_are_bad() {
    let site = Site::start(Database::Postgres, "");
    let administrator = site.service.administrator();
    let client = site.client();
    let name = site.name();
    let order = site.ready_order(&client, &[&name]);
    let key = Key::new();
    let proof = Csr::new().common_name("revoke").pem_with(&key);
    administrator.post("/api/v1/revocations/by-key").json(&json!({"csr": proof})).expect(200);
    let detail = refused(&client, &order, &Csr::for_dns(&[&name]).der_with(&key), "badCSR");
    assert!(detail.contains("key"), "{detail}");
    client.finalize(&order, &Csr::for_dns(&[&name]));
}

#[test]
fn a_name_in_the_common_name_alone_is_in_the_certificate() {
    let site = Site::shared(Database::Sqlite);
    let client = site.client();
    let name = site.name();
    let order = site.ready_order(&client, &[&name]);
    let chain = client.finalize(&order, &Csr::new().common_name(&name));
    let text = leaf_text(&chain);
    assert!(text.contains(&format!("DNS:{name}")), "{text}");
}

fn leaf_text(chain: &str) -> String {
    let scratch = Scratch::new();
    scratch.write("chain.pem", chain);
    openssl(&format!("x509 -in {} -noout -text", scratch.file("chain.pem").display()))
}

#[test]
fn an_address_is_proven_and_certified_as_one() {
    for database in Database::ALL {
        let site = Site::shared(database);
        let client = site.client();
        let order = site.ready_order(&client, &["127.0.0.1"]);
        refused(&client, &order, &Csr::for_dns(&["127.0.0.1"]).der(), "badCSR");
        let text = leaf_text(&client.finalize(&order, &Csr::new().ip(&[127, 0, 0, 1])));
        assert!(text.contains("IP Address:127.0.0.1"), "{text}");
    }
}

#[test]
fn of_32_finalizations_at_once_one_makes_a_certificate() {
    for database in Database::ALL {
        let site = Site::shared(database);
        let client = site.client();
        let name = site.name();
        let order = site.ready_order(&client, &[&name]);
        let same = Csr::for_dns(&[&name]).der();
        let answers: Vec<(u16, Value)> = std::thread::scope(|scope| {
            let calls: Vec<_> = (0..32)
                .map(|call| {
                    let (client, order) = (client.clone(), &order);
                    let csr = if call % 2 == 0 { same.clone() } else { Csr::for_dns(&[&name]).der() };
                    scope.spawn(move || {
                        let answer = client.finalization(order, &csr).send();
                        (answer.status, answer.json())
                    })
                })
                .collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        });
        for (status, body) in &answers {
            match status {
                200 => assert_eq!(body["status"], "valid"),
                403 => assert!(body["type"].as_str().unwrap().ends_with(":orderNotReady"), "{body}"),
                _ => panic!("{status}: {body}"),
            }
        }
        assert!(answers.iter().any(|(status, _)| *status == 200));
        assert_eq!(certificates_of(site, &name), 1);
    }
}

#[test]
fn an_order_is_finalized_in_the_background() {
    for database in Database::ALL {
        let site = Site::start(database, "asynchronous_finalize = true");
        let client = site.client();
        let name = site.name();
        let order = site.ready_order(&client, &[&name]);
        refused(&client, &order, &Csr::for_dns(&["www.internal"]).der(), "badCSR");
        let answer = client.finalization(&order, &Csr::for_dns(&[&name]).der()).expect(200);
        assert_eq!(
            (answer.json()["status"].as_str().unwrap(), answer.header("location")),
            ("processing", order.url.as_str())
        );
        assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
        assert!(answer.json()["certificate"].is_null());
        client.finalization(&order, &Csr::for_dns(&[&name]).der()).refused(403, "orderNotReady");
        let done = client.poll(&order.url, "valid");
        client.fetch(done["certificate"].as_str().unwrap()).expect(200);
        assert_eq!(certificates_of(&site, &name), 1);
    }
}

#[test]
fn the_chain_is_strict_pem_from_the_leaf_upwards_without_the_root() {
    for database in Database::ALL {
        let site = Site::shared(database);
        let client = site.client();
        let name = site.name();
        let order = site.ready_order(&client, &[&name]);
        client.finalization(&order, &Csr::for_dns(&[&name]).der()).expect(200);
        let url = client.read(&order.url)["certificate"].as_str().unwrap().to_owned();
        let answer = client.fetch(&url).expect(200);
        assert_eq!(answer.header("content-type"), "application/pem-certificate-chain");
        assert!(!answer.headers("link").iter().any(|link| link.contains("alternate")), "there is one chain");
        let text = answer.text();
        let lines = text.lines().filter(|line| line.starts_with("-----"));
        let expected = ["-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"];
        assert_eq!(lines.collect::<Vec<_>>(), [expected, expected].concat());
        assert!(text.starts_with(expected[0]) && text.trim_end().ends_with(expected[1]) && !text.contains('\r'));
        let blocks: Vec<_> = x509_parser::pem::Pem::iter_from_buffer(text.as_bytes()).map(Result::unwrap).collect();
        let (leaf, issuing) = (blocks[0].parse_x509().unwrap(), blocks[1].parse_x509().unwrap());
        leaf.verify_signature(Some(issuing.public_key())).unwrap();
        assert_ne!(issuing.subject(), issuing.issuer(), "the root is left out");
        // A chain that there is not, and what is no number.
        for missing in [format!("{url}/1"), format!("{url}/99"), format!("{url}/x")] {
            client.fetch(&missing).expect(404);
        }
        client.post(&url, &json!({})).refused(400, "malformed");
    }
}

#[test]
fn the_leaf_holds_what_profile_and_order_say() {
    let site = Site::shared(Database::Sqlite);
    let client = site.client();
    let name = site.name();
    let order = site.ready_order(&client, &[&name]);
    let chain = client.finalize(&order, &Csr::for_dns(&[&name]));
    let blocks: Vec<_> = x509_parser::pem::Pem::iter_from_buffer(chain.as_bytes()).map(Result::unwrap).collect();
    let (leaf, issuing) = (blocks[0].parse_x509().unwrap(), blocks[1].parse_x509().unwrap());
    assert!(leaf.raw_serial().len() > 8);
    assert!(!leaf.is_ca());
    assert!(leaf.validity().not_after <= issuing.validity().not_after);
    let days = (leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp()) / 86_400;
    assert_eq!(days, 90);
    let usage = leaf.extended_key_usage().unwrap().unwrap();
    assert!(usage.value.server_auth && !usage.value.client_auth);
    let scratch = Scratch::new();
    let path = |name: &str| scratch.file(name).display().to_string();
    scratch.write("chain.pem", &chain);
    scratch.write("root.pem", site.service.root_pem());
    let (root, chain) = (path("root.pem"), path("chain.pem"));
    let verified = openssl(&format!("verify -x509_strict -CAfile {root} -untrusted {chain} {chain}"));
    assert!(verified.ends_with("OK\n"), "{verified}");
}

#[test]
fn caa_records_are_asked_again_at_each_finalization() {
    for database in Database::ALL {
        let site = Site::start(database, "caa_identities = [\"ca.internal\"]");
        let client = site.client();
        let name = site.name();
        let order = site.ready_order(&client, &[&name]);
        site.dns.add_caa(&name, 0, "issue", "other.example");
        let detail = refused(&client, &order, &Csr::for_dns(&[&name]).der(), "caa");
        assert!(detail.contains(&name) || detail.contains("CAA"), "{detail}");
        site.dns.remove(&name);
        site.dns.add_caa(&name, 0, "issue", "ca.internal");
        client.finalize(&order, &Csr::for_dns(&[&name]));
    }
}
