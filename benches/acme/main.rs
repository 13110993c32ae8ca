//! What a whole ACME order costs, on both databases: http-01, one name, the account exists (RFC 8555, section 7.4).
//!
//! `cargo bench --bench acme` starts the release program without TLS, and a name server and a web server that answer every challenge; clients
//! on 32 connections order one certificate after the other. Printed are orders a second, the CPU time of the service and, for PostgreSQL, how
//! often its log was forced to disk. `-- --orders 20000` takes more. Nothing here asserts a time.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark ends at the first surprise, and prints"
)]

mod client;
mod network;
#[path = "../revocation/process.rs"]
#[allow(dead_code, reason = "made for the other benchmark, which looks at memory too")]
mod process;
#[path = "../../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, clippy::print_stderr, reason = "made for the tests, which use more of it")]
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{AccountKey, Client};
use crate::process::measure;
use crate::support::csr::Csr;
use crate::support::service::{Database, Service};

/// Connections, each with one order on its way.
const CLIENTS: usize = 32;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let orders = arguments
        .iter()
        .position(|argument| argument == "--orders")
        .and_then(|at| arguments.get(at + 1))
        .map_or(3_000, |number| number.parse().expect("a number of orders"));
    let rows: Vec<Value> = Database::ALL.into_iter().map(|database| run(database, orders)).collect();
    println!("{}", Value::Array(rows));
}

fn run(database: Database, orders: usize) -> Value {
    let key = AccountKey::new();
    let names = network::answer_names();
    let challenges = network::answer_challenges(key.thumbprint());
    let service = Service::start_with(
        database,
        &[
            ("CHANCERY__SERVER__TLS", "off"),
            ("CHANCERY__ACME__HTTP_01_PORT", &challenges.to_string()),
            ("CHANCERY__ACME__RESOLVERS", &format!("[\"127.0.0.1:{names}\"]")),
            ("CHANCERY__ACME__ALLOWED_ADDRESSES", "[\"127.0.0.0/8\"]"),
        ],
    );
    let address = service.api().strip_prefix("http://").expect("plain HTTP").to_owned();
    let mut first = Client::connect(&address, &key);
    let account = first.new_account();
    let requests: Vec<(String, Vec<u8>)> = (0..orders)
        .map(|number| {
            let name = format!("host-{number}.bench.internal");
            let csr = Csr::for_dns(&[&name]).der();
            (name, csr)
        })
        .collect();

    // Connections and statements are prepared before the clock runs.
    let (warm, measured) = requests.split_at(CLIENTS.min(orders));
    order_all(&address, &key, &account, warm);
    let forced = log_forced(&service, database);
    let mut latencies = Vec::new();
    let usage = measure(service.process_id(), || latencies = order_all(&address, &key, &account, measured));
    let forced = log_forced(&service, database).zip(forced).map(|(after, before)| after - before);
    latencies.sort_unstable();

    let count = measured.len();
    let rate = count as f64 / usage.wall.as_secs_f64();
    let cpu = usage.cpu.as_secs_f64() * 1e6 / count as f64;
    let percentile = |part: usize| latencies[(latencies.len() - 1) * part / 100].as_secs_f64() * 1e3;
    let forced = forced.map(|forced| forced as f64 / count as f64);
    println!(
        "{database:?}: {count} orders in {:.2} s, {rate:.0}/s, service CPU {cpu:.0} us each, p50 {:.1} ms, p99 {:.1} ms, log forced {} times each",
        usage.wall.as_secs_f64(),
        percentile(50),
        percentile(99),
        forced.map_or_else(|| "?".to_owned(), |forced| format!("{forced:.2}")),
    );
    json!({
        "database": format!("{database:?}"), "orders": count, "seconds": usage.wall.as_secs_f64(), "per_second": rate,
        "service_cpu_us_each": cpu, "p50_ms": percentile(50), "p99_ms": percentile(99), "log_forced_each": forced,
    })
}

/// Orders every certificate, and returns how long each order took.
fn order_all(address: &str, key: &AccountKey, account: &str, requests: &[(String, Vec<u8>)]) -> Vec<Duration> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || {
            let mut client = Client::connect(address, key);
            let mut latencies = Vec::new();
            while let Some((name, csr)) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let began = Instant::now();
                client.order(account, name, csr);
                latencies.push(began.elapsed());
            }
            latencies
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client ends well")).collect()
    })
}

/// Returns how often PostgreSQL has forced its log to disk.
fn log_forced(service: &Service, database: Database) -> Option<i64> {
    if database == Database::Sqlite {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&service.database_url(), tokio_postgres::NoTls).await.expect("PostgreSQL answers");
        let driver = tokio::spawn(connection);
        let row = client.query_one("SELECT wal_sync FROM pg_stat_wal", &[]).await.expect("PostgreSQL 14 or later");
        driver.abort();
        Some(row.get(0))
    })
}
