//! Whole ACME orders: http-01, one name, the account exists (RFC 8555, section 7.4). A name server and a web server here answer every challenge.
//!
//! The floor of an order is its cryptography: the signature of each request, that of the CSR, and one signature by the issuer.

mod client;
mod network;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use futures_util::future::join_all;

use self::client::{AccountKey, Client};
use crate::floor;
use crate::load::{Outcome, Target};
use crate::machine::{self, Usage, thread_time};
use crate::options::Options;
use crate::report::Report;
use crate::requests::KeyType;
use crate::support::client::RUNTIME;
use crate::support::service::{Database, Service};
use crate::support::{postgres, statements};

/// Clients of the loaded service, each with one order on its way.
const CLIENTS: usize = 32;
/// Orders before the clock runs: connections, statements and caches are made.
const WARM_UP: usize = 200;
/// Orders whose statements are read from the log of PostgreSQL.
const LOGGED: usize = 64;
/// How long the service is left alone for its jobs' own statements to be known.
const QUIET: Duration = Duration::from_secs(4);

/// Runs the part.
pub(crate) fn run(options: &Options, database: Database, report: &mut Report) {
    let key = AccountKey::new();
    let names = network::answer_names();
    let challenges = network::answer_challenges(key.thumbprint());
    for tls in [true, false] {
        let service = Service::start_with(
            database,
            &[
                ("CHANCERY__SERVER__TLS", if tls { "on" } else { "off" }),
                ("CHANCERY__ACME__HTTP_01_PORT", &challenges.to_string()),
                ("CHANCERY__ACME__RESOLVERS", &format!("[\"127.0.0.1:{names}\"]")),
                ("CHANCERY__ACME__ALLOWED_ADDRESSES", "[\"127.0.0.0/8\"]"),
            ],
        );
        let mut subject = Subject::new(&service, database, &key);
        let transport = if tls { "TLS" } else { "no TLS" };
        subject.load(CLIENTS, WARM_UP);
        // Without TLS only what many clients get: the rest is the same.
        let cases = [(CLIENTS, options.count(6_000)), (1, options.count(500))];
        for (clients, count) in cases.into_iter().take(if tls { 2 } else { 1 }) {
            let (outcome, signed, usage) = subject.load(clients, count);
            let each = signed as f64 / count as f64;
            report.add(format!("{transport}, {clients} clients"), &figures(&outcome, &usage, each));
        }
        if tls && database == Database::Postgres {
            let (statements, commits) = subject.statements();
            report.add("statements of an order", &[("statements", statements), ("durable_commits", commits)]);
        }
    }
}

/// The service that is measured.
struct Subject<'a> {
    service: &'a Service,
    database: Database,
    target: Target,
    key: &'a AccountKey,
    account: String,
    /// The number of the next name: names are used once, so that no proof is used again.
    next: usize,
}

impl<'a> Subject<'a> {
    fn new(service: &'a Service, database: Database, key: &'a AccountKey) -> Self {
        let target = Target::new(service.api(), &service.root_pem());
        let account =
            RUNTIME.block_on(async { Client::connect(&target, service.api(), key).await.new_account().await });
        Self { service, database, target, key, account, next: 0 }
    }

    /// Has certificates ordered; returns how long each took, how many signed requests that were, and what it cost.
    fn load(&mut self, clients: usize, orders: usize) -> (Outcome, usize, Usage) {
        let generator = KeyType::P256.generator();
        let first = self.next;
        self.next += orders;
        let requests: Vec<(String, Vec<u8>)> = (first..self.next)
            .map(|number| format!("host-{number}.bench.internal"))
            .map(|name| (name.clone(), generator.csr(&name)))
            .collect();
        let ((outcome, signed), usage) =
            machine::measure(self.service, self.database, || self.order_all(clients, &requests));
        assert_eq!(outcome.answered(), orders, "every order comes to a certificate");
        (outcome, signed, usage)
    }

    fn order_all(&self, clients: usize, requests: &[(String, Vec<u8>)]) -> (Outcome, usize) {
        let next = AtomicUsize::new(0);
        // One thread: what it costs is little beside what the service does.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let began = Instant::now();
        let ended = runtime.block_on(join_all((0..clients).map(|_| self.order_some(&next, requests))));
        let mut outcome = Outcome { wall: began.elapsed(), ..Outcome::default() };
        let mut signed = 0;
        for (latencies, requests) in ended {
            outcome.latencies.extend(latencies);
            signed += requests;
        }
        outcome.latencies.sort_unstable();
        (outcome, signed)
    }

    /// Orders what is left, one after the other.
    async fn order_some(&self, next: &AtomicUsize, requests: &[(String, Vec<u8>)]) -> (Vec<Duration>, usize) {
        let mut client = Client::connect(&self.target, self.service.api(), self.key).await;
        let mut latencies = Vec::new();
        while let Some((name, csr)) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
            latencies.push(client.order(&self.account, name, csr).await);
        }
        (latencies, client.signed)
    }

    /// Returns how many statements and durable commits an order costs PostgreSQL, by its own log.
    fn statements(&mut self) -> (f64, f64) {
        let server = postgres::shared();
        RUNTIME.block_on(server.log_statements());
        std::thread::sleep(QUIET);
        let quiet = server.log();
        let idle: BTreeSet<String> =
            statements::read(&quiet).into_iter().filter(|one| !one.is_frame()).map(|one| one.text).collect();
        self.load(1, LOGGED);
        let log = server.log();
        RUNTIME.block_on(server.log_no_statements());
        let (statements, commits) = statements::count(&statements::read(&log[quiet.len()..]), &idle);
        (statements as f64 / LOGGED as f64, commits as f64 / LOGGED as f64)
    }
}

fn figures(outcome: &Outcome, usage: &Usage, signed: f64) -> Vec<(&'static str, f64)> {
    let count = outcome.answered();
    let cpu = usage.cpu_us(count);
    let floor = (verification().mul_f64(signed) + floor::measure(KeyType::P256)).as_secs_f64() * 1e6;
    vec![
        ("per_second", outcome.per_second()),
        ("p50_ms", outcome.per_mille(500)),
        ("p99_ms", outcome.per_mille(990)),
        ("requests", signed),
        ("service_cpu_us", machine::microseconds(usage.service, count)),
        ("database_cpu_us", machine::microseconds(usage.database, count)),
        ("cpu_us", cpu),
        ("floor_us", floor),
        ("ratio", cpu / floor),
    ]
}

/// What verifying the signature of a request takes: CPU time on one thread.
fn verification() -> Duration {
    const ROUNDS: u32 = 2_000;
    let message = [b'e'; 700];
    let key = AccountKey::new();
    let signature = key.sign(&message);
    let public = key.public();
    let began = thread_time();
    for _ in 0..ROUNDS {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public)
            .verify(&message, &signature)
            .expect("an honest signature");
    }
    (thread_time() - began) / ROUNDS
}
