//! Revocation at a million revoked certificates: a full CRL, one shard after one revocation, OCSP answers.
//!
//! `--certificates` bounds the number of entries. Of the database's CPU time SQLite's is the service's.

use std::time::{Duration, Instant};

use chancery::x509::ocsp::{CertId, HashAlgorithm, IssuerHashes, OcspRequest};
use chancery::x509::{Certificate, SerialNumber};
use serde_json::{Value, json};

use crate::load::{self, Target};
use crate::machine::{self, Usage};
use crate::options::Options;
use crate::report::Report;
use crate::support;
use crate::support::service::{Database, Service};

/// How many certificates are revoked.
const ENTRIES: u64 = 1_000_000;
/// Into how many shards the entries go.
const SHARDS: u64 = 64;
/// How many revocations the cost of one shard is measured over.
const REVOCATIONS: u32 = 10;
/// How many certificates OCSP is asked about: enough that the cache is one, few enough that all of them are in it.
const ASKED: u64 = 20_000;
/// How long a load lasts.
const LOAD: Duration = Duration::from_secs(5);

/// Connections that ask.
const CONNECTIONS: usize = 64;

/// Runs the part.
pub(crate) fn run(options: &Options, database: Database, report: &mut Report) {
    let entries = options.certificates.min(if options.quick { ENTRIES / 10 } else { ENTRIES });
    let mut service =
        Service::start_with(database, &[("CHANCERY__CRL__REFRESH", "12h"), ("CHANCERY__CRL__VALIDITY", "24h")]);
    // The first CRL is there, so that the one that is measured is due by the revocations alone.
    assert!(service.stop().success());
    seed(&service, database, entries);

    // The full CRL is due at the start. It is measured after another one, at which nothing is due, so that no memory is there that was freed.
    service.restart();
    await_crl(&service, "/pki/issuing.crl", entries);
    assert!(service.stop().success());
    service.restart();
    await_crl(&service, "/pki/issuing.crl", entries);
    let size = fetch(&service, "/pki/issuing.crl").len();
    service.execute(
        "UPDATE issuers SET revocations = revocations + 1 WHERE name = 'issuing'; \
         UPDATE crl_scopes SET last_change = last_change + 1",
    );
    let before = number(&service);
    let ((), usage) = machine::measure(&service, database, || {
        service.administrator().post("/api/v1/issuers/issuing/crl").expect(200);
    });
    assert!(number(&service) > before);
    report.add(format!("full CRL of {entries}"), &crl_figures(&usage, 1, size));

    one_shard(database, &mut service, entries, report);
    ocsp(options, database, &service, entries, report);
}

fn crl_figures(usage: &Usage, count: u32, size: usize) -> Vec<(&'static str, f64)> {
    let each = |time: Duration| time.as_secs_f64() / f64::from(count);
    vec![
        ("service_cpu_s", each(usage.service)),
        ("database_cpu_s", each(usage.database)),
        ("wall_s", each(usage.wall)),
        ("extra_mib", machine::mebibytes(usage.extra_memory)),
        ("size_mib", machine::mebibytes(size as u64)),
    ]
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
    let columns = "INSERT INTO certificates (id, serial, issuer_id, profile, profile_version, requester, source, subject, key_algorithm, \
                   spki_sha256, fingerprint_sha256, not_before, not_after, issued_at, state, revoked_at, revocation_reason, der, change_number) ";
    let values = format!(
        "SELECT number, {serial}, (SELECT id FROM issuers WHERE name = 'issuing'), 'server', 1, 'seed', 0, 'CN=seed', 'ecdsa-p256', \
         {digest}, {digest}, 1767225600, 2082758400, 1767225600, 2, 1767225600 + number % 1000000, 1 + number % 5, {der}, number FROM numbers"
    );
    // SQLite wants the list of numbers in front of its insertion, PostgreSQL takes it there too.
    service.execute(&format!("{numbers}{columns}{values};"));
    service.execute(&format!(
        "UPDATE issuers SET revocations = {entries} WHERE name = 'issuing'; \
         INSERT INTO crl_scopes (issuer_id, shard, last_change) SELECT id, 0, {entries} FROM issuers WHERE name = 'issuing'; \
         DELETE FROM counted_changes; INSERT INTO counted_changes (issuer_id, change_number) SELECT id, revocations FROM issuers; \
         INSERT INTO counted_states (certificate_id, state) SELECT id, state FROM certificates WHERE state = 2"
    ));
}

/// Moves the entries into shards, publishes them, and measures what one revocation then costs.
fn one_shard(database: Database, service: &mut Service, entries: u64, report: &mut Report) {
    assert!(service.stop().success());
    service.execute(&format!("UPDATE certificates SET crl_shard = 1 + id % {SHARDS} WHERE state = 2"));
    service.execute(&format!(
        "UPDATE issuers SET maximum_shard = {SHARDS}, settings = '{{\"crl\":{{\"shards\":{SHARDS}}}}}' WHERE name = 'issuing'"
    ));
    service.restart();
    service.administrator().post("/api/v1/issuers/issuing/crl").expect(200);
    await_crl(service, "/pki/issuing/1.crl", entries / SHARDS);
    let leaves: Vec<Value> = (0..REVOCATIONS).map(|_| service.issue(&["shard.internal"])).collect();
    let administrator = service.administrator();
    let mut size = 0;
    let ((), usage) = machine::measure(service, database, || {
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
    report.add(format!("one shard of {SHARDS} after one revocation"), &crl_figures(&usage, REVOCATIONS, size));
}

/// Finds the path of the CRL that a leaf names.
fn shard_path(leaf: &Value) -> String {
    let scratch = support::tools::Scratch::new();
    let file = scratch.write("leaf.pem", leaf["certificate"].as_str().unwrap());
    let text = support::tools::openssl(&format!("x509 -noout -ext crlDistributionPoints -in {}", file.display()));
    let uri = text.split("URI:").nth(1).expect("the leaf names a CRL").split_whitespace().next().unwrap().to_owned();
    format!("/pki/{}", uri.split_once("/pki/").unwrap().1)
}

fn ocsp(options: &Options, database: Database, service: &Service, entries: u64, report: &mut Report) {
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
            let headers = [("Content-Type", "application/ocsp-request")];
            load::request("POST", "/ocsp/issuing", &headers, &request)
        })
        .collect();
    let public = Target::new(service.public(), &service.root_pem());
    let api = Target::new(service.api(), &service.root_pem());
    // Connections are opened before the clock runs, and statements prepared.
    let (first, rest) = requests.split_at(CONNECTIONS.min(requests.len()));
    load::each_once(&public, CONNECTIONS, 200, first);
    let ask = |case: &str, work: &dyn Fn() -> load::Outcome| {
        let (outcome, usage) = machine::measure(service, database, work);
        assert_eq!(outcome.refused, 0, "every question is answered");
        let figures = [
            ("per_second", outcome.per_second()),
            ("p50_ms", outcome.per_mille(500)),
            ("p99_ms", outcome.per_mille(990)),
            ("service_cpu_us", machine::microseconds(usage.service, outcome.answered())),
            ("database_cpu_us", machine::microseconds(usage.database, outcome.answered())),
            ("extra_mib", machine::mebibytes(usage.extra_memory)),
        ];
        (case.to_owned(), figures)
    };
    let time = if options.quick { LOAD / 5 } else { LOAD };
    for (case, figures) in [
        ask("OCSP, first asked: looked up and signed", &|| load::each_once(&public, CONNECTIONS, 200, rest)),
        ask("OCSP, asked again", &|| load::for_a_while(&public, CONNECTIONS, 200, &requests, time)),
        ask("OCSP, asked again, TLS", &|| load::for_a_while(&api, CONNECTIONS, 200, &requests, time)),
    ] {
        report.add(case, &figures);
    }
}

fn fetch(service: &Service, path: &str) -> Vec<u8> {
    support::client::Client::new(service.public(), None).get(path).expect(200).body
}

fn number(service: &Service) -> u64 {
    service.administrator().get("/api/v1/issuers/issuing").expect(200).json()["crl"]["number"].as_u64().unwrap()
}

/// Waits until a CRL has grown to what so many entries need at least: 37 octets each, the number of a small one.
fn await_crl(service: &Service, path: &str, entries: u64) {
    let began = Instant::now();
    while (fetch(service, path).len() as u64) < entries * 37 {
        assert!(began.elapsed() < Duration::from_secs(300), "`{path}` was not published");
        std::thread::sleep(Duration::from_millis(500));
    }
}
