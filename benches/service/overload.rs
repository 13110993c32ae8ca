//! Overload: what becomes of those who are served, of those who are refused and of memory when more is asked for than can be done; and whether
//! clients who only connect, or are slow, disturb others.
//!
//! Arrivals keep their schedule whatever the service does, as long as there are free connections; how many found none in time is told. Nobody who is
//! refused comes back, as if `Retry-After` were longer than the run. Connections are opened before memory is looked at: what is told is what overload
//! adds to them.

mod arrivals;
mod idlers;

use std::sync::Arc;
use std::time::Duration;

use chancery::x509::Certificate;
use chancery::x509::ocsp::{CertId, HashAlgorithm, IssuerHashes, OcspRequest};
use serde_json::json;

use self::arrivals::{Arrivals, Crowd};
use self::idlers::{Idlers, Manner};
use crate::load::{self, Outcome, Target};
use crate::machine;
use crate::options::Options;
use crate::report::Report;
use crate::requests::KeyType;
use crate::support;
use crate::support::service::{Database, Service};

/// Connections that arrivals use: as many requests can be on their way.
const CONNECTIONS: usize = 8_000;
/// Connections of the load that says what the service can do.
const STEADY: usize = 64;
/// Distinct requests; they are sent over and over, without idempotency keys.
const REQUESTS: usize = 10_000;
/// Connections that do nothing.
const IDLE: usize = 10_000;
/// Connections that do next to nothing, of each manner, while one manner is looked at alone; and beside all those that do nothing.
const SLOW: usize = 1_500;
const SLOW_BESIDE: usize = 300;

/// Runs the part.
pub(crate) fn run(options: &Options, database: Database, report: &mut Report) {
    // What is measured are connections; a machine that allows few measures fewer.
    let limit = raise_descriptors();
    let time = Duration::from_secs(if options.quick { 2 } else { 6 });
    for tls in [true, false] {
        more_than_can_be_done(options, database, tls, time, report);
    }
    for tls in [true, false] {
        let most = limit.saturating_sub(Manner::ALL.len() * SLOW_BESIDE + 500);
        assert!(options.quick || most >= IDLE, "{limit} file descriptors are too few for {IDLE} connections");
        beside_idlers(options, database, tls, options.count(IDLE), report);
    }
    beside_ocsp(options, database, time, report);
}

fn start(database: Database, tls: bool, settings: &[(&str, &str)]) -> Service {
    let mut all = vec![("CHANCERY__SERVER__TLS", if tls { "on" } else { "off" })];
    all.extend(settings);
    Service::start_with(database, &all)
}

const fn transport(tls: bool) -> &'static str {
    if tls { "TLS" } else { "no TLS" }
}

/// Prepares requests for certificates.
fn requests(service: &Service, count: usize) -> Vec<Vec<u8>> {
    let token =
        json!({"name": support::service::unique("bench"), "role": "requester", "grants": {"profiles": ["server"]}});
    let created = service.administrator().post("/api/v1/tokens").json(&token).expect(201).json();
    let authorization = format!("Bearer {}", created["token"].as_str().expect("a token"));
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
    let request = |csr: String| {
        let body = json!({"csr": csr, "profile": "server"}).to_string();
        load::request("POST", "/api/v1/certificates", &headers, body.as_bytes())
    };
    KeyType::P256.generator().many(count).into_iter().map(request).collect()
}

fn megabytes(octets: u64) -> f64 {
    octets as f64 / f64::from(1 << 20)
}

/// Arrivals at half, once, twice and four times what the service can do, then so many connections that always have a request on its way.
fn more_than_can_be_done(options: &Options, database: Database, tls: bool, time: Duration, report: &mut Report) {
    // While so many connect, the first of them must wait.
    let patient = [("CHANCERY__SERVER__KEEP_ALIVE", "1m"), ("CHANCERY__SERVER__CLIENT_HEADER_TIMEOUT", "1m")];
    let service = start(database, tls, &patient);
    let target = Target::new(service.api(), &service.root_pem());
    let requests = Arc::new(requests(&service, options.count(REQUESTS)));
    let steady = load::for_a_while(&target, STEADY, 201, &requests, time);
    let capacity = steady.per_second();
    report.add(format!("{}, {STEADY} connections", transport(tls)), &of_outcome(&steady));
    let crowd = Crowd::gather(&target, options.count(CONNECTIONS));
    for factor in [0.5, 1.0, 2.0, 4.0] {
        let before = machine::resident(service.process_id());
        let (arrivals, usage) =
            machine::measure(&service, database, || crowd.arrive(capacity * factor, time, &requests));
        // Memory that a moment of overload took may be given back with the connections that it needed.
        std::thread::sleep(Duration::from_secs(2));
        let after = machine::resident(service.process_id());
        let mut figures = of_arrivals(&arrivals);
        figures.extend([
            ("of_peak_percent", arrivals.served.len() as f64 / arrivals.wall.as_secs_f64() / capacity * 100.0),
            ("service_cpu_percent", usage.service.as_secs_f64() / usage.wall.as_secs_f64() * 100.0),
            ("rss_before_mib", megabytes(before)),
            ("rss_most_mib", megabytes(before + usage.extra_memory)),
            ("rss_after_mib", megabytes(after)),
        ]);
        report.add(format!("{}, arrivals at {factor} x capacity", transport(tls)), &figures);
    }
    drop(crowd);
    let (outcome, usage) =
        machine::measure(&service, database, || load::for_a_while(&target, 2_000, 201, &requests, time));
    let mut figures = of_outcome(&outcome);
    figures.push(("extra_memory_mib", megabytes(usage.extra_memory)));
    report.add(format!("{}, 2000 connections", transport(tls)), &figures);
}

fn of_arrivals(arrivals: &Arrivals) -> Vec<(&'static str, f64)> {
    let all = arrivals.served.len() + arrivals.refused.len();
    let rate = |count: usize| count as f64 / arrivals.wall.as_secs_f64();
    vec![
        ("offered_per_second", arrivals.offered),
        ("answered_per_second", rate(all)),
        ("issued_per_second", rate(arrivals.served.len())),
        ("refused_percent", arrivals.refused.len() as f64 / all.max(1) as f64 * 100.0),
        ("late_percent", arrivals.late as f64 / all.max(1) as f64 * 100.0),
        ("p50_ms", arrivals::per_mille(&arrivals.served, 500)),
        ("p99_ms", arrivals::per_mille(&arrivals.served, 990)),
        ("p50_since_due_ms", arrivals::per_mille(&arrivals.served_since_due, 500)),
        ("p99_since_due_ms", arrivals::per_mille(&arrivals.served_since_due, 990)),
        ("refused_p99_ms", arrivals::per_mille(&arrivals.refused, 990)),
    ]
}

fn of_outcome(outcome: &Outcome) -> Vec<(&'static str, f64)> {
    let all = outcome.answered() + outcome.refused;
    vec![
        ("issued_per_second", outcome.per_second()),
        ("refused_percent", outcome.refused as f64 / all.max(1) as f64 * 100.0),
        ("p50_ms", outcome.per_mille(500)),
        ("p99_ms", outcome.per_mille(990)),
    ]
}

/// One client that issues, alone and beside connections that do nothing or next to nothing.
fn beside_idlers(options: &Options, database: Database, tls: bool, count: usize, report: &mut Report) {
    let patient = [("CHANCERY__SERVER__KEEP_ALIVE", "10m"), ("CHANCERY__SERVER__CLIENT_HEADER_TIMEOUT", "5m")];
    let service = start(database, tls, &patient);
    let target = Target::new(service.api(), &service.root_pem());
    let requests = requests(&service, options.count(3_000));
    let alone = load::each_once(&target, 1, 201, &requests);
    report.add(format!("{}, one client alone", transport(tls)), &of_outcome(&alone));
    for manner in Manner::ALL {
        let count = if manner == Manner::Idle { count } else { count.min(SLOW) };
        let idlers = || vec![(Idlers::gather(&target, service.api(), manner, count, &requests[0]), count)];
        beside(&service, database, &target, &requests, (tls, manner.name()), idlers, report);
    }
    let slow = options.count(SLOW_BESIDE);
    let everybody = || {
        let gather = |manner: Manner| {
            let count = if manner == Manner::Idle { count } else { slow };
            (Idlers::gather(&target, service.api(), manner, count, &requests[0]), count)
        };
        Manner::ALL.map(gather).into()
    };
    beside(&service, database, &target, &requests, (tls, "all of them at once"), everybody, report);
}

/// One client that issues beside connections, which are counted at the service before and after.
fn beside(
    service: &Service,
    database: Database,
    target: &Target,
    requests: &[Vec<u8>],
    (tls, name): (bool, &str),
    gather: impl FnOnce() -> Vec<(Idlers, usize)>,
    report: &mut Report,
) {
    let process = service.process_id();
    let (before, others) = (machine::resident(process), machine::descriptors(process));
    let idlers = gather();
    let count: usize = idlers.iter().map(|(_, count)| count).sum();
    let (after, open) = (machine::resident(process), machine::descriptors(process).saturating_sub(others));
    let (load, usage) = machine::measure(service, database, || load::each_once(target, 1, 201, requests));
    let ((), quiet) = machine::measure(service, database, || std::thread::sleep(Duration::from_secs(3)));
    let mut figures = of_outcome(&load);
    figures.extend([
        ("connections", count as f64),
        ("open_before", open as f64),
        ("open_after", machine::descriptors(process).saturating_sub(others) as f64),
        ("kib_each", after.saturating_sub(before) as f64 / 1024.0 / count as f64),
        ("extra_memory_mib", megabytes(usage.extra_memory)),
        ("quiet_cpu_percent", quiet.service.as_secs_f64() / quiet.wall.as_secs_f64() * 100.0),
    ]);
    report.add(format!("{}, one client beside {name}", transport(tls)), &figures);
    drop(idlers);
    std::thread::sleep(Duration::from_secs(1));
}

/// Issuance and OCSP at once: each as fast as it can, on listeners of their own.
fn beside_ocsp(options: &Options, database: Database, time: Duration, report: &mut Report) {
    let service = start(database, true, &[]);
    let target = Target::new(service.api(), &service.root_pem());
    let public = Target::new(service.public(), &service.root_pem());
    let requests = requests(&service, options.count(REQUESTS));
    let pem = service.administrator().get("/api/v1/issuers/issuing/certificate").expect(200).text();
    let issuer = IssuerHashes::of_certificate(&Certificate::from_pem(&pem).expect("a certificate"));
    let record = service.issue(&["asked.bench.internal"]);
    let leaf = Certificate::from_pem(record["certificate"].as_str().expect("PEM")).expect("a certificate");
    let asked = OcspRequest::encode(&[CertId::encode(HashAlgorithm::Sha1, &issuer, &leaf.serial)], None);
    let asked = vec![load::request("POST", "/ocsp/issuing", &[("Content-Type", "application/ocsp-request")], &asked)];
    let ocsp = |connections: usize| load::for_a_while(&public, connections, 200, &asked, time);
    let issue = |connections: usize| load::for_a_while(&target, connections, 201, &requests, time);
    for (name, issuing, asking) in
        [("issuance alone", 64, 0), ("OCSP alone", 0, 16), ("both", 64, 16), ("OCSP beside 2000 that issue", 2_000, 16)]
    {
        let (issued, answered) = std::thread::scope(|scope| {
            let issued = scope.spawn(|| if issuing > 0 { issue(issuing) } else { Outcome::default() });
            let answered = if asking > 0 { ocsp(asking) } else { Outcome::default() };
            (issued.join().expect("the load ends"), answered)
        });
        let mut figures = Vec::new();
        if issuing > 0 {
            figures.extend(of_outcome(&issued));
        }
        if asking > 0 {
            figures.extend([
                ("ocsp_per_second", answered.per_second()),
                ("ocsp_p50_ms", answered.per_mille(500)),
                ("ocsp_p99_ms", answered.per_mille(990)),
            ]);
        }
        report.add(format!("TLS, {name}"), &figures);
    }
}

/// Allows this process as many connections as it may have, and returns how many.
fn raise_descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    // What cannot be raised stays as it is.
    let _refused = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}
