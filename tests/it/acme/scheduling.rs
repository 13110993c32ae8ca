//! Challenges while processes come and go: a restart in the middle of a validation, and two replicas on one database.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::site::configuration;
use crate::support::acme::{AccountKey, AcmeClient, Http01, Order, challenge};
use crate::support::csr::Csr;
use crate::support::dns::DnsServer;
use crate::support::service::{Database, Service};

/// How long something may take that the service does by itself.
const PATIENCE: Duration = Duration::from_secs(90);

#[track_caller]
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what} did not come to hold");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A copy of the key, for an account whose service has another address.
fn elsewhere(client: &AcmeClient, service: &Service) -> AcmeClient {
    let pem = pem_rfc7468::encode_string("PRIVATE KEY", pem_rfc7468::LineEnding::LF, &client.key().to_pkcs8()).unwrap();
    let mut found = AcmeClient::new(service).with_key(AccountKey::from_p256_pem(&pem));
    assert_eq!(found.register().status, 200);
    found
}

/// The address of something at a service that has another address now.
fn at(service: &Service, url: &Value) -> String {
    let path = url.as_str().unwrap().splitn(4, '/').nth(3).unwrap();
    format!("{}/{path}", service.api())
}

fn moved(order: &Order, service: &Service) -> Order {
    let mut body = order.body.clone();
    body["finalize"] = json!(at(service, &order.body["finalize"]));
    body["authorizations"] = json!([at(service, &order.body["authorizations"][0])]);
    Order { url: at(service, &json!(order.url)), body }
}

/// Starts the validation of an order's only authorization, and returns the token.
fn answered(client: &AcmeClient, order: &Order) -> String {
    let challenge = challenge(&client.authorizations(order).remove(0), "http-01");
    client.respond(&challenge);
    challenge["token"].as_str().unwrap().to_owned()
}

/// Waits for a connection.
fn accept(listener: &std::net::TcpListener) -> std::net::TcpStream {
    listener.set_nonblocking(true).unwrap();
    let started = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => return stream,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
        }
        assert!(started.elapsed() < PATIENCE, "nobody connected");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How often a token was asked for.
fn asked(http_01: &Http01, token: &str) -> usize {
    http_01.asked().iter().filter(|asked| asked.ends_with(token)).count()
}

#[test]
fn a_validation_goes_on_after_a_restart() {
    for (database, signal) in [(Database::Sqlite, "KILL"), (Database::Postgres, "TERM")] {
        let (http_01, dns) = (Http01::start(), DnsServer::start());
        let lines = "[acme.validation]\nattempts = 20";
        let mut service = Service::configured(database, &configuration(&http_01, &dns, lines), &[]);
        let mut client = AcmeClient::new(&service);
        client.register();
        let order = client.new_order(&["127.0.0.1"]);
        let token = answered(&client, &order);
        eventually("the first look", || asked(&http_01, &token) >= 1);
        match signal {
            "KILL" => service.kill(),
            _ => assert!(service.stop().success()),
        }
        // What it looks for is only there while it is away.
        http_01.put(&token, &client.key().authorize(&token));
        service.restart();
        let client = elsewhere(&client, &service);
        let order = moved(&order, &service);
        client.poll(order.body["authorizations"][0].as_str().unwrap(), "valid");
        client.finalize(&order, &Csr::new().ip(&[127, 0, 0, 1]));
    }
}

#[test]
fn a_look_that_was_cut_off_is_repeated_when_its_lease_has_ended() {
    for database in Database::ALL {
        // A server that takes connections and says nothing: the look is under way when the process is killed.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let dns = DnsServer::start();
        let configuration = format!(
            "[acme]\nhttp_01_port = {}\nresolvers = [\"{}\"]\nallowed_addresses = [\"127.0.0.0/8\"]\n[acme.validation]\nattempt_timeout = \"5s\"\nconnect_timeout = \"2s\"\ndns_timeout = \"2s\"\n",
            silent.local_addr().unwrap().port(),
            dns.address()
        );
        let mut service = Service::configured(database, &configuration, &[]);
        let mut client = AcmeClient::new(&service);
        client.register();
        let order = client.new_order(&["127.0.0.1"]);
        answered(&client, &order);
        let first = accept(&silent);
        service.kill();
        drop(first);
        service.restart();
        let second = accept(&silent);
        let read = elsewhere(&client, &service).read(&at(&service, &order.body["authorizations"][0]));
        assert_eq!(read["status"], "pending");
        assert_eq!(challenge(&read, "http-01")["status"], "processing");
        drop(second);
    }
}

/// Two services on one PostgreSQL that validate against the same servers.
fn replicas(url: &str, http_01: &Http01, dns: &DnsServer, lines: &str) -> [Service; 2] {
    let sealing = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let configuration = format!(
        "[database]\nurl = \"{url}\"\n[keys]\nkey_encryption_key = \"{sealing}\"\n{}",
        configuration(http_01, dns, lines)
    );
    std::thread::scope(|scope| {
        let one = scope.spawn(|| Service::configured(Database::Sqlite, &configuration, &[]));
        let two = scope.spawn(|| Service::configured(Database::Sqlite, &configuration, &[]));
        [one.join().unwrap(), two.join().unwrap()]
    })
}

#[test]
fn replicas_share_validations_and_finalize_an_order_once() {
    let (http_01, dns) = (Http01::start(), DnsServer::start());
    let url = crate::support::new_postgres_database();
    let [one, two] = replicas(&url, &http_01, &dns, "[acme.validation]\nattempts = 20");
    let mut first = AcmeClient::new(&one);
    first.register();
    let second = elsewhere(&first, &two);
    let orders: Vec<Order> = (0..8)
        .map(|number| {
            let name = format!("replicated-{number}.internal");
            dns.add_address(&name, std::net::Ipv4Addr::LOCALHOST);
            first.new_order(&[&name])
        })
        .collect();
    // The first looks fail; whichever replica is there makes the next ones.
    let tokens: Vec<String> = orders.iter().map(|order| answered(&first, order)).collect();
    for token in &tokens {
        eventually("a second look", || asked(&http_01, token) >= 2);
        http_01.put(token, &first.key().authorize(token));
    }
    for (order, token) in orders.iter().zip(&tokens) {
        let there = at(&two, &order.body["authorizations"][0]);
        second.poll(&there, "valid");
        // As many looks as were written down: none was made twice.
        let id = there.rsplit('/').next().unwrap().to_owned();
        let attempts = attempts(&url, &id);
        assert_eq!(asked(&http_01, token), attempts, "{there}");
    }
    // Each order is finalized at both at once.
    for (number, order) in orders.iter().enumerate() {
        let name = format!("replicated-{number}.internal");
        let there = moved(order, &two);
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let calls: Vec<_> = (0..8)
                .map(|call| {
                    let (client, order) = if call % 2 == 0 { (&first, order) } else { (&second, &there) };
                    let csr = Csr::for_dns(&[&name]).der();
                    scope.spawn(move || client.finalization(order, &csr).send().status)
                })
                .collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| [200, 403].contains(status)), "{statuses:?}");
        let found = one.administrator().get(&format!("/api/v1/certificates?name={name}")).expect(200).json();
        assert_eq!(found["items"].as_array().unwrap().len(), 1);
        assert_eq!(second.read(&there.url)["status"], "valid");
    }
}

/// How many looks at an authorization were written down.
fn attempts(url: &str, id: &str) -> usize {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        let statement = format!("SELECT attempts FROM acme_authorizations WHERE id = {id}");
        let row = client.query_one(&statement, &[]).await.unwrap();
        driver.abort();
        usize::try_from(row.get::<_, i32>(0)).unwrap()
    })
}
