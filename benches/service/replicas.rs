//! Several processes of the service on one PostgreSQL: how much faster they are together, what limits them, and whether every certificate that was
//! acknowledged is there once.
//!
//! On a machine with few processors these are the limit, and more processes are not faster. So the same is measured with a database that is far
//! away: each message is held up on its way. Then waiting is the limit, and what processes do at the same time adds up, unless a lock of one makes
//! the others wait.

mod distance;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_postgres::NoTls;

use self::distance::Distance;
use crate::load::{self, Target};
use crate::machine::{self, Usage};
use crate::options::Options;
use crate::report::Report;
use crate::requests::KeyType;
use crate::support;
use crate::support::client::{Client, RUNTIME};
use crate::support::service::{Database, Service};

/// Connections of all clients together when processors are the limit.
const CONNECTIONS: usize = 64;
/// Connections of the clients of each process when waiting is.
const CONNECTIONS_EACH: usize = 32;
/// How long each message is held up on its way to the database and back.
const HOLD_UP: Duration = Duration::from_millis(2);
/// How often what the database's processes wait for is looked at.
const SAMPLING: Duration = Duration::from_millis(20);

/// Runs the part.
pub(crate) fn run(options: &Options, database: Database, report: &mut Report) {
    if database == Database::Sqlite {
        return;
    }
    for count in [1, 2, 4] {
        near(options, count, report);
    }
    for count in [1, 2, 4] {
        far(options, count, report);
    }
}

/// Processes beside their database.
fn near(options: &Options, count: usize, report: &mut Report) {
    let url = support::new_postgres_database();
    let replicas = Replicas::start(count, &url, &url);
    replicas.issue(CONNECTIONS / count, &replicas.requests(2_000));
    let requests = replicas.requests(options.count(40_000));
    let before = replicas.groups();
    let processes: Vec<u32> = replicas.services.iter().map(Service::process_id).collect();
    let (issued, usage) =
        machine::measure_all(&processes, Database::Postgres, || replicas.issue(CONNECTIONS / count, &requests));
    let after = replicas.groups();
    let mut figures = replicas.figures(&issued, before, after);
    figures.extend(cpu(&usage, &issued));
    // Looking at waits costs the database something, so it has a load of its own.
    let (_, waits) = replicas.issue_watched(CONNECTIONS / count, &replicas.requests(options.count(20_000)));
    replicas.verify();
    report.add(format!("{count} beside the database"), &figures);
    waits.print();
    let mut figures = waits.figures();
    figures.push(("chains_in_use", replicas.chains()));
    report.add(format!("{count} beside the database, waits"), &figures);
}

/// Processes far from their database.
fn far(options: &Options, count: usize, report: &mut Report) {
    let url = support::new_postgres_database();
    let distance = Distance::to(&url, HOLD_UP);
    let replicas = Replicas::start(count, distance.url(), &url);
    replicas.issue(CONNECTIONS_EACH, &replicas.requests(500));
    let requests = replicas.requests(options.count(10_000) * count);
    let before = replicas.groups();
    let (issued, waits) = replicas.issue_watched(CONNECTIONS_EACH, &requests);
    let after = replicas.groups();
    let mut figures = replicas.figures(&issued, before, after);
    replicas.verify();
    figures.extend(waits.figures());
    figures.push(("chains_in_use", replicas.chains()));
    report.add(format!("{count} at {} ms from the database", HOLD_UP.as_millis() * 2), &figures);
    waits.print();
}

fn cpu(usage: &Usage, issued: &Issued) -> Vec<(&'static str, f64)> {
    let count = issued.latencies.len();
    let all = (usage.service + usage.database).as_secs_f64() / usage.wall.as_secs_f64() * 100.0;
    vec![
        ("service_cpu_us", machine::microseconds(usage.service, count)),
        ("database_cpu_us", machine::microseconds(usage.database, count)),
        ("cpu_percent", all),
    ]
}

/// What was issued.
#[derive(Debug, Default)]
struct Issued {
    /// How long each took, the shortest first.
    latencies: Vec<Duration>,
    serials: Vec<String>,
    wall: Duration,
}

/// The processes, and every serial number that they acknowledged.
struct Replicas {
    services: Vec<Service>,
    targets: Vec<Target>,
    url: String,
    authorization: String,
    acknowledged: Mutex<Vec<String>>,
}

impl Replicas {
    /// Starts them on a database that they reach by one address and this program by another.
    fn start(count: usize, theirs: &str, url: &str) -> Self {
        let sealing = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        let settings = [("CHANCERY__DATABASE__URL", theirs), ("CHANCERY__KEYS__KEY_ENCRYPTION_KEY", sealing)];
        // Not `Database::Postgres`, which makes a database for each.
        let services: Vec<Service> = (0..count).map(|_| Service::start_with(Database::Sqlite, &settings)).collect();
        let targets = services.iter().map(|service| Target::new(service.api(), &service.root_pem())).collect();
        let token = json!({"name": "bench", "role": "requester", "grants": {"profiles": ["server"]}});
        let created = services[0].administrator().post("/api/v1/tokens").json(&token).expect(201).json();
        let secret = created["token"].as_str().expect("a token");
        // The others know of it within seconds.
        for service in &services {
            let client = service.anonymous().bearer(secret);
            let began = Instant::now();
            while client.get("/api/v1/whoami").send().status != 200 {
                assert!(began.elapsed() < Duration::from_secs(20), "the token is not known everywhere");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        let authorization = format!("Bearer {secret}");
        Self { services, targets, url: url.to_owned(), authorization, acknowledged: Mutex::default() }
    }

    /// Prepares requests for distinct certificates, each with an idempotency key.
    fn requests(&self, count: usize) -> Vec<Vec<u8>> {
        let run = support::service::unique("run");
        let csrs = KeyType::P256.generator().many(count);
        let request = |(number, csr): (usize, String)| {
            let body = json!({"csr": csr, "profile": "server"}).to_string();
            let key = format!("{run}-{number}");
            let headers = [
                ("Authorization", self.authorization.as_str()),
                ("Content-Type", "application/json"),
                ("Idempotency-Key", &key),
            ];
            load::request("POST", "/api/v1/certificates", &headers, body.as_bytes())
        };
        csrs.into_iter().enumerate().map(request).collect()
    }

    /// Has the requests answered, by all processes at once: each has a thread of clients of its own.
    fn issue(&self, connections_each: usize, requests: &[Vec<u8>]) -> Issued {
        let next = AtomicUsize::new(0);
        let ready = std::sync::Barrier::new(self.targets.len() + 1);
        let issued = std::thread::scope(|scope| {
            let (next, ready) = (&next, &ready);
            let work = move |target: &Target| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    let mut streams = Vec::new();
                    for _ in 0..connections_each {
                        streams.push(target.connect().await);
                    }
                    ready.wait();
                    let each = streams.iter_mut().map(|stream| async move {
                        let (mut done, mut buffer) = (Vec::new(), Vec::with_capacity(16 * 1024));
                        while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                            let began = Instant::now();
                            let status = load::exchange(stream, request, &mut buffer).await;
                            let took = began.elapsed();
                            let answer = String::from_utf8_lossy(&buffer);
                            assert_eq!(status, 201, "{answer}");
                            done.push((took, serial(&answer)));
                        }
                        done
                    });
                    futures_util::future::join_all(each).await
                })
            };
            let workers: Vec<_> = self.targets.iter().map(|target| scope.spawn(move || work(target))).collect();
            ready.wait();
            let began = Instant::now();
            let mut issued = Issued::default();
            let done = workers.into_iter().flat_map(|worker| worker.join().expect("a thread ends well"));
            for (took, serial) in done.flatten() {
                issued.latencies.push(took);
                issued.serials.push(serial);
            }
            issued.wall = began.elapsed();
            issued.latencies.sort_unstable();
            issued
        });
        self.acknowledged.lock().expect("nobody panicked").extend(issued.serials.iter().cloned());
        issued
    }

    /// The same, with a look at what the database's processes wait for meanwhile.
    fn issue_watched(&self, connections_each: usize, requests: &[Vec<u8>]) -> (Issued, Waits) {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watching = scope.spawn(|| RUNTIME.block_on(watch(&self.url, &stop)));
            let issued = self.issue(connections_each, requests);
            stop.store(true, Ordering::Relaxed);
            (issued, watching.join().expect("the watch ends"))
        })
    }

    /// Groups committed so far, and writes in them.
    fn groups(&self) -> (f64, f64) {
        let value = |text: &str, name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
        };
        let each = self.services.iter().map(|service| {
            let text = Client::new(service.metrics(), None).get("/metrics").expect(200).text();
            (value(&text, "chancery_commit_batch_size_count"), value(&text, "chancery_commit_batch_size_sum"))
        });
        each.fold((0.0, 0.0), |(groups, writes), (more, others)| (groups + more, writes + others))
    }

    fn figures(&self, issued: &Issued, before: (f64, f64), after: (f64, f64)) -> Vec<(&'static str, f64)> {
        let at = |part: usize| {
            let last = issued.latencies.len().saturating_sub(1);
            issued.latencies.get(last * part / 1000).map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        vec![
            ("per_second", issued.latencies.len() as f64 / issued.wall.as_secs_f64()),
            ("p50_ms", at(500)),
            ("p99_ms", at(990)),
            ("group_size", (after.1 - before.1) / (after.0 - before.0).max(1.0)),
        ]
    }

    /// How many audit chains have an event.
    fn chains(&self) -> f64 {
        let rows = RUNTIME.block_on(query(&self.url, "SELECT count(*)::text FROM audit_chains WHERE sequence > 0"));
        rows[0].parse().expect("a number")
    }

    /// Every acknowledged certificate is there once, and the audit chains are whole.
    fn verify(&self) {
        let rows = RUNTIME.block_on(query(&self.url, "SELECT encode(serial, 'hex') FROM certificates"));
        let stored: BTreeSet<&str> = rows.iter().map(String::as_str).collect();
        assert_eq!(stored.len(), rows.len(), "a serial number is there twice");
        let acknowledged = self.acknowledged.lock().expect("nobody panicked");
        let distinct: BTreeSet<&str> = acknowledged.iter().map(String::as_str).collect();
        assert_eq!(distinct.len(), acknowledged.len(), "a serial number was given twice");
        assert!(distinct.is_subset(&stored), "a certificate that was acknowledged is not there");
        let verified: Value = self.services[0].administrator().get("/api/v1/audit/verify").expect(200).json();
        assert_eq!(verified["intact"], true, "{verified}");
    }
}

/// Finds the serial number in an answer.
fn serial(answer: &str) -> String {
    let rest = answer.split("\"serial\":\"").nth(1).expect("the answer has a serial number");
    rest.split('"').next().expect("it ends").to_owned()
}

/// What the database's processes were seen waiting for, and how often; nothing when they were at work.
#[derive(Debug, Default)]
struct Waits {
    looks: usize,
    seen: BTreeMap<String, usize>,
}

impl Waits {
    /// How many processes on average worked, waited for a lock, waited for the log, waited for their client within a transaction.
    fn figures(&self) -> Vec<(&'static str, f64)> {
        let sum = |of: &[&str]| {
            let matching = self.seen.iter().filter(|(event, _)| of.iter().any(|start| event.starts_with(start)));
            matching.map(|(_, count)| count).sum::<usize>() as f64 / self.looks.max(1) as f64
        };
        vec![
            ("working", sum(&["working"])),
            ("waiting_for_lock", sum(&["Lock"])),
            ("waiting_for_log", sum(&["IO:WAL", "LWLock:WAL"])),
            ("waiting_for_service", sum(&["Client"])),
        ]
    }

    fn print(&self) {
        let each =
            self.seen.iter().map(|(event, count)| format!("{event} {:.3}", *count as f64 / self.looks.max(1) as f64));
        println!("    of {} looks: {}", self.looks, each.collect::<Vec<_>>().join(", "));
    }
}

async fn watch(url: &str, stop: &AtomicBool) -> Waits {
    // Those within a transaction, whether they run a statement or wait for the next.
    let sql = "SELECT coalesce(wait_event_type || ':' || wait_event, 'working') FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL";
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database listens");
    let driver = tokio::spawn(connection);
    let statement = client.prepare(sql).await.expect("a statement");
    let mut waits = Waits::default();
    while !stop.load(Ordering::Relaxed) {
        for row in client.query(&statement, &[]).await.expect("an answer") {
            *waits.seen.entry(row.get(0)).or_default() += 1;
        }
        waits.looks += 1;
        tokio::time::sleep(SAMPLING).await;
    }
    drop(client);
    driver.await.expect("the connection ends").expect("without an error");
    waits
}

async fn query(url: &str, sql: &str) -> Vec<String> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database listens");
    let driver = tokio::spawn(connection);
    let rows = client.query(sql, &[]).await.expect("an answer");
    drop(client);
    driver.await.expect("the connection ends").expect("without an error");
    rows.iter().map(|row| row.get(0)).collect()
}
