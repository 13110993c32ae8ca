//! What revocation costs at a million revoked certificates, on both databases: a full CRL, one shard after one revocation, OCSP answers.
//!
//! `cargo bench --bench revocation` starts the release program, fills its database, and prints a table with the CPU time of the service (of
//! the process, not of PostgreSQL) and its extra memory; the last line is the same as JSON. `-- --entries 100000` takes fewer. Nothing here
//! asserts a time: machines differ, and `docs/performance.md` says how to read the figures.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark ends at the first surprise, and prints"
)]

mod load;
mod process;
#[path = "../../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, clippy::print_stderr, reason = "made for the tests, which use more of it")]
mod support;

use std::time::{Duration, Instant};

use chancery::x509::ocsp::{CertId, HashAlgorithm, IssuerHashes, OcspRequest};
use chancery::x509::{Certificate, SerialNumber};
use serde_json::{Value, json};

use crate::process::{Usage, measure};
use crate::support::service::{Database, Service};

/// Into how many shards the entries go.
const SHARDS: u64 = 64;
/// How many revocations the cost of one shard is measured over.
const REVOCATIONS: u32 = 10;
/// How many certificates OCSP is asked about: enough that the cache is one, few enough that all of them are in it.
const ASKED: u64 = 20_000;
/// How long a load lasts.
const LOAD: Duration = Duration::from_secs(5);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let entries = arguments
        .iter()
        .position(|argument| argument == "--entries")
        .and_then(|at| arguments.get(at + 1))
        .map_or(1_000_000, |number| number.parse().expect("a number of entries"));
    let mut rows = Vec::new();
    for database in Database::ALL {
        println!("{database:?}: {entries} revoked certificates");
        rows.extend(run(database, entries));
    }
    println!("{}", Value::Array(rows));
}

/// Writes one line of the table.
fn row(database: Database, case: &str, usage: &Usage, count: u64, size: usize) -> Value {
    let rate = count as f64 / usage.wall.as_secs_f64();
    let each = usage.cpu.as_secs_f64() * 1e6 / count as f64;
    let extra = usage.extra_memory as f64 / f64::from(1 << 20);
    println!(
        "  {case:<44} {count:>8} in {:>7.3} s, {rate:>9.1}/s, service CPU {each:>11.1} us each, +{extra:>6.1} MiB, {size:>9} octets",
        usage.wall.as_secs_f64()
    );
    json!({
        "database": format!("{database:?}"), "case": case, "count": count, "seconds": usage.wall.as_secs_f64(), "per_second": rate,
        "service_cpu_us_each": each, "extra_memory_bytes": usage.extra_memory, "size_bytes": size,
    })
}

fn run(database: Database, entries: u64) -> Vec<Value> {
    let mut service =
        Service::start_with(database, &[("CHANCERY__CRL__REFRESH", "12h"), ("CHANCERY__CRL__VALIDITY", "24h")]);
    // The first CRL is there, so that the one that is measured is due by the revocations alone.
    assert!(service.stop().success());
    seed(&service, database, entries);
    let mut rows = Vec::new();

    // The full CRL is due at once; what the start itself costs is measured beside it by a second start, at which nothing is due.
    service.restart();
    await_crl(&service, "/pki/issuing.crl", entries, 0);
    let size = fetch(&service, "/pki/issuing.crl").len();
    service.execute("UPDATE issuers SET revocations = revocations + 1 WHERE name = 'issuing'; UPDATE crl_scopes SET last_change = last_change + 1");
    let before = number(&service);
    let usage = measure(service.process_id(), || {
        service.administrator().post("/api/v1/issuers/issuing/crl").expect(200);
    });
    assert!(number(&service) > before);
    rows.push(row(database, "full CRL", &usage, 1, size));

    rows.push(one_shard(database, &mut service, entries));
    rows.extend(ocsp(database, &service, entries));
    rows
}

/// Fills the inventory by SQL: the rows are what revocation reads, their certificates are left empty.
fn seed(service: &Service, database: Database, entries: u64) {
    let (serial, digest, der, numbers) = match database {
        Database::Sqlite => (
            "unhex('0190' || printf('%036x', number))",
            "zeroblob(32)",
            "x'3000'",
            format!(
                "WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < {entries}) "
            ),
        ),
        Database::Postgres => (
            "decode('0190' || lpad(to_hex(number), 36, '0'), 'hex')",
            "'\\x00'::BYTEA",
            "'\\x3000'::BYTEA",
            format!("WITH numbers AS (SELECT generate_series(1, {entries}) AS number) "),
        ),
    };
    let columns = "INSERT INTO certificates (serial, issuer_id, profile, profile_version, requester, source, subject, key_algorithm, \
                   spki_sha256, fingerprint_sha256, not_before, not_after, issued_at, state, revoked_at, revocation_reason, der, change_number) ";
    let values = format!(
        "SELECT {serial}, (SELECT id FROM issuers WHERE name = 'issuing'), 'server', 1, 'seed', 0, 'CN=seed', 'ecdsa-p256', \
         {digest}, {digest}, 1767225600, 2082758400, 1767225600, 2, 1767225600 + number % 1000000, 1 + number % 5, {der}, number FROM numbers"
    );
    // SQLite wants the list of numbers in front of its insertion, PostgreSQL takes it there too.
    service.execute(&format!("{numbers}{columns}{values};"));
    service.execute(&format!(
        "UPDATE issuers SET revocations = {entries} WHERE name = 'issuing'; \
         INSERT INTO crl_scopes (issuer_id, shard, last_change) SELECT id, 0, {entries} FROM issuers WHERE name = 'issuing'"
    ));
}

/// Moves the entries into shards, publishes them, and measures what one revocation then costs.
fn one_shard(database: Database, service: &mut Service, entries: u64) -> Value {
    assert!(service.stop().success());
    service.execute(&format!("UPDATE certificates SET crl_shard = 1 + id % {SHARDS} WHERE state = 2"));
    service.execute(&format!(
        "UPDATE issuers SET maximum_shard = {SHARDS}, settings = '{{\"crl\":{{\"shards\":{SHARDS}}}}}' WHERE name = 'issuing'"
    ));
    service.restart();
    service.administrator().post("/api/v1/issuers/issuing/crl").expect(200);
    await_crl(service, "/pki/issuing/1.crl", entries / SHARDS, 0);
    let leaves: Vec<Value> = (0..REVOCATIONS).map(|_| service.issue(&["shard.internal"])).collect();
    let administrator = service.administrator();
    let mut size = 0;
    let usage = measure(service.process_id(), || {
        for leaf in &leaves {
            let path = shard_path(leaf);
            let before = fetch(service, &path);
            let revoke = format!("/api/v1/certificates/{}/revoke", leaf["serial"].as_str().unwrap());
            administrator.post(&revoke).json(&json!({"reason": "superseded"})).expect(200);
            let began = Instant::now();
            while fetch(service, &path) == before {
                assert!(began.elapsed() < Duration::from_secs(60), "the shard was not published");
                std::thread::sleep(Duration::from_millis(50));
            }
            size = before.len();
        }
    });
    row(database, "one shard of 64 after one revocation", &usage, u64::from(REVOCATIONS), size)
}

/// Finds the path of the CRL that a leaf names.
fn shard_path(leaf: &Value) -> String {
    let scratch = support::tools::Scratch::new();
    let file = scratch.write("leaf.pem", leaf["certificate"].as_str().unwrap());
    let text = support::tools::openssl(&format!("x509 -noout -ext crlDistributionPoints -in {}", file.display()));
    let uri = text.split("URI:").nth(1).expect("the leaf names a CRL").split_whitespace().next().unwrap().to_owned();
    format!("/pki/{}", uri.split_once("/pki/").unwrap().1)
}

fn ocsp(database: Database, service: &Service, entries: u64) -> Vec<Value> {
    let pem = service.administrator().get("/api/v1/issuers/issuing/certificate").expect(200).text();
    let issuer = IssuerHashes::of_certificate(&Certificate::from_pem(&pem).unwrap());
    let asked = ASKED.min(entries);
    let requests: Vec<Vec<u8>> = (1..=asked)
        .map(|number| {
            let mut serial = vec![0x01, 0x90];
            serial.extend([0; 10]);
            serial.extend(number.to_be_bytes());
            let serial = SerialNumber::from_bytes(&serial).unwrap();
            let request = OcspRequest::encode(&[CertId::encode(HashAlgorithm::Sha1, &issuer, &serial)], None);
            load::post("/ocsp/issuing", "application/ocsp-request", &request)
        })
        .collect();
    let address = service.public().trim_start_matches("http://").to_owned();
    let mut rows = Vec::new();
    let mut size = 0;
    let usage = measure(service.process_id(), || size = load::each_once(&address, &requests));
    rows.push(row(database, "OCSP, first asked: looked up and signed", &usage, asked, size));
    let mut answered = 0;
    let usage = measure(service.process_id(), || answered = load::for_a_while(&address, &requests, LOAD));
    rows.push(row(database, "OCSP, asked again", &usage, answered, size));
    rows
}

fn fetch(service: &Service, path: &str) -> Vec<u8> {
    support::client::Client::new(service.public(), None).get(path).expect(200).body
}

fn number(service: &Service) -> u64 {
    service.administrator().get("/api/v1/issuers/issuing").expect(200).json()["crl"]["number"].as_u64().unwrap()
}

/// Waits until a CRL has grown to what so many entries need at least: 37 octets each, the number of a small one.
fn await_crl(service: &Service, path: &str, entries: u64, began_with: usize) {
    let began = Instant::now();
    while (fetch(service, path).len() as u64) < entries * 37 + began_with as u64 {
        assert!(began.elapsed() < Duration::from_secs(300), "`{path}` was not published");
        std::thread::sleep(Duration::from_millis(500));
    }
}
