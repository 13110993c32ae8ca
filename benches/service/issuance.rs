//! Issuance over REST: certificates a second, latencies, and CPU time of service and database for each certificate beside the floor.
//!
//! Everything is on that a production server has on: an API token, policy, audit log, an idempotency key for each request, `fsync`.

use serde_json::json;

use crate::floor;
use crate::load::{self, Outcome, Target};
use crate::machine::{self, Usage};
use crate::options::Options;
use crate::report::Report;
use crate::requests::KeyType;
use crate::support::client::{Client, RUNTIME};
use crate::support::postgres;
use crate::support::service::{Database, Service};

/// Connections of the loaded service.
const CONNECTIONS: usize = 64;
/// Requests before the clock runs: connections, statements and caches are made.
const WARM_UP: usize = 2_000;

/// Runs the part.
pub(crate) fn run(options: &Options, database: Database, report: &mut Report) {
    for tls in [true, false] {
        let settings: &[(&str, &str)] = if tls { &[] } else { &[("CHANCERY__SERVER__TLS", "off")] };
        let service = Service::start_with(database, settings);
        if database == Database::Postgres {
            RUNTIME.block_on(run_in());
        }
        let subject = Subject::new(&service, database);
        let transport = if tls { "TLS" } else { "no TLS" };
        for key_type in KeyType::ALL {
            // Other keys cost what they cost with or without TLS.
            if !tls && key_type != KeyType::P256 {
                continue;
            }
            let whole = if key_type == KeyType::P256 { 60_000 } else { 15_000 };
            let count = options.count(whole);
            let requests = subject.requests(key_type, WARM_UP + count);
            let floor = floor::measure(key_type);
            let (warm_up, measured) = requests.split_at(WARM_UP);
            subject.load(CONNECTIONS, warm_up);
            let before = Groups::of(&service);
            let (outcome, usage) = subject.load(CONNECTIONS, measured);
            let group = Groups::of(&service).since(&before);
            let case = format!("{}, {transport}, {CONNECTIONS} connections", key_type.name());
            let mut figures = figures(&outcome, &usage, floor);
            figures.push(("group", group));
            report.add(case, &figures);
        }
        let requests = subject.requests(KeyType::P256, options.count(5_000));
        let floor = floor::measure(KeyType::P256);
        let (outcome, usage) = subject.load(1, &requests);
        report.add(format!("P-256, {transport}, 1 connection"), &figures(&outcome, &usage, floor));
    }
}

/// Brings a new PostgreSQL to where one that has run for a while is: it writes its log into files that it has, where a new one fills each with
/// zeros first.
async fn run_in() {
    /// 512 MB of log: more than is written until the next checkpoint frees what was used.
    const FILES: usize = 32;
    let url = postgres::shared().url("postgres");
    postgres::execute(&url, "ALTER SYSTEM SET min_wal_size = '1GB'").await;
    postgres::execute(&url, "SELECT pg_reload_conf()").await;
    for _file in 0..FILES {
        postgres::execute(&url, "SELECT pg_logical_emit_message(false, 'bench', 'x'); SELECT pg_switch_wal()").await;
    }
    postgres::execute(&url, "CHECKPOINT").await;
}

/// The service that is measured.
pub(crate) struct Subject<'a> {
    service: &'a Service,
    database: Database,
    target: Target,
    token: String,
}

impl<'a> Subject<'a> {
    /// Makes a token for a requester.
    pub(crate) fn new(service: &'a Service, database: Database) -> Self {
        let created = service
            .administrator()
            .post("/api/v1/tokens")
            .json(&json!({"name": "bench", "role": "requester", "grants": {"profiles": ["server"]}}))
            .expect(201)
            .json();
        let token = created["token"].as_str().expect("a token").to_owned();
        Self { service, database, target: Target::new(service.api(), &service.root_pem()), token }
    }

    /// Prepares requests for distinct certificates, each with an idempotency key.
    pub(crate) fn requests(&self, key_type: KeyType, count: usize) -> Vec<Vec<u8>> {
        let run = crate::support::service::unique("run");
        let csrs = key_type.generator().many(count);
        let authorization = format!("Bearer {}", self.token);
        let request = |(number, csr): (usize, String)| {
            let body = json!({"csr": csr, "profile": "server"}).to_string();
            let key = format!("{run}-{number}");
            let headers = [
                ("Authorization", authorization.as_str()),
                ("Content-Type", "application/json"),
                ("Idempotency-Key", &key),
            ];
            load::request("POST", "/api/v1/certificates", &headers, body.as_bytes())
        };
        csrs.into_iter().enumerate().map(request).collect()
    }

    /// Has the requests answered.
    pub(crate) fn load(&self, connections: usize, requests: &[Vec<u8>]) -> (Outcome, Usage) {
        let (outcome, usage) =
            machine::measure(self.service, self.database, || load::each_once(&self.target, connections, 201, requests));
        assert_eq!(outcome.answered(), requests.len(), "every request is answered with a certificate");
        (outcome, usage)
    }
}

/// How many groups were committed, and how many writes were in them, as the metrics tell.
struct Groups {
    groups: f64,
    writes: f64,
}

impl Groups {
    fn of(service: &Service) -> Self {
        let text = Client::new(service.metrics(), None).get("/metrics").expect(200).text();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.map_or(0.0, |value| value.parse().expect("a number"))
        };
        Self { groups: value("chancery_commit_batch_size_count"), writes: value("chancery_commit_batch_size_sum") }
    }

    /// The writes of a group, on average.
    fn since(&self, before: &Self) -> f64 {
        (self.writes - before.writes) / (self.groups - before.groups)
    }
}

/// The figures of a load that issued.
pub(crate) fn figures(outcome: &Outcome, usage: &Usage, floor: std::time::Duration) -> Vec<(&'static str, f64)> {
    let count = outcome.answered();
    let cpu = usage.cpu_us(count);
    let floor = floor.as_secs_f64() * 1e6;
    vec![
        ("per_second", outcome.per_second()),
        ("p50_ms", outcome.per_mille(500)),
        ("p99_ms", outcome.per_mille(990)),
        ("service_cpu_us", machine::microseconds(usage.service, count)),
        ("database_cpu_us", machine::microseconds(usage.database, count)),
        ("cpu_us", cpu),
        ("floor_us", floor),
        ("ratio", cpu / floor),
    ]
}
