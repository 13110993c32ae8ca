//! How many statements and durable commits an order costs PostgreSQL, read from its own log.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::acme::{AcmeClient, Http01, challenge};
use crate::support::csr::Csr;
use crate::support::postgres::Server;
use crate::support::service::{Database, Service};
use crate::support::statements;

/// How many writers the service has.
const WRITERS: usize = 4;
/// Orders that are counted.
const ORDERS: usize = 8;
/// The most statements of an order, without those that begin and end transactions.
const STATEMENTS: usize = 25;
/// The most transactions of an order that are forced to disk.
const COMMITS: usize = 6;

#[test]
fn an_order_stays_within_its_budget_of_statements_and_commits() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = Server::start();
    let url = runtime.block_on(server.create_database());
    let http_01 = Http01::start();
    let service = Service::start_with(
        Database::Sqlite,
        &[
            ("CHANCERY__DATABASE__URL", &url),
            ("CHANCERY__ACME__HTTP_01_PORT", &http_01.port().to_string()),
            ("CHANCERY__ACME__ALLOWED_ADDRESSES", "[\"127.0.0.0/8\"]"),
        ],
    );
    let (database, connection) = runtime
        .block_on(tokio_postgres::connect(&format!("{url}&application_name=test"), tokio_postgres::NoTls))
        .unwrap();
    let driver = runtime.spawn(connection);

    // Each order has an account of its own, so that none reuses the proof of another.
    let order = |client: &AcmeClient| {
        let order = client.new_order(&["127.0.0.1"]);
        let authorization = client.authorizations(&order).remove(0);
        let challenge = challenge(&authorization, "http-01");
        let token = challenge["token"].as_str().unwrap();
        http_01.put(token, &client.key().authorize(token));
        client.respond(&challenge);
        // Asked of the database, so that the service is asked once, however long it takes.
        for _ in 0..600 {
            let valid = "SELECT status = 1 FROM acme_authorizations WHERE token = $1";
            let row = runtime.block_on(database.query_one(valid, &[&token])).unwrap();
            if row.get::<_, bool>(0) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        client.poll(order.body["authorizations"][0].as_str().unwrap(), "valid");
        let finalized = client.finalization(&order, &Csr::new().ip(&[127, 0, 0, 1]).der()).expect(200).json();
        client.fetch(finalized["certificate"].as_str().unwrap()).expect(200);
    };
    let clients: Vec<AcmeClient> = (0..ORDERS + WRITERS)
        .map(|_| {
            let mut client = AcmeClient::new(&service);
            client.register_with(&json!({"termsOfServiceAgreed": true}));
            client
        })
        .collect();
    // The first ones prepare statements and connections: the writers take turns, and each connects when its first turn comes.
    let (first, measured) = clients.split_at(WRITERS);
    first.iter().for_each(order);

    runtime.block_on(server.log_statements());
    std::thread::sleep(std::time::Duration::from_secs(4));
    let quiet = server.log();
    let idle: BTreeSet<String> =
        statements::read(&quiet).into_iter().filter(|one| !one.is_frame()).map(|one| one.text).collect();
    assert!(!idle.is_empty(), "the log holds what the jobs ask for");
    measured.iter().for_each(order);
    let log = server.log();
    let logged = statements::read(&log[quiet.len()..]);
    let (counted, commits) = statements::count(&logged, &idle);
    driver.abort();
    let listing = || logged.iter().map(|one| one.text.as_str()).collect::<Vec<_>>().join("\n");
    assert!(
        counted >= ORDERS * 8 && commits >= ORDERS * 3,
        "statements are not all seen: {counted}, {commits}\n{}",
        listing()
    );
    println!("{ORDERS} orders cost {counted} statements and {commits} commits");
    assert!(counted <= ORDERS * STATEMENTS, "{counted} statements for {ORDERS} orders\n{}", listing());
    assert!(commits <= ORDERS * COMMITS, "{commits} commits for {ORDERS} orders\n{}", listing());
}
