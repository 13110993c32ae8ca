//! More than the service can do, and clients that are slow or only connect: refusals that say when to come back, and others who do not notice.
//! What it costs is measured by the part `overload` of the benchmark.

mod http2;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client, RUNTIME};
use crate::support::csr::Csr;
use crate::support::service::{Database, Service};

/// Callers of a burst.
const CALLERS: usize = 60;

/// Keeps everybody from writing to a service's database, until it is dropped.
struct Blockade {
    /// Its end is what the thread waits for.
    _end: mpsc::Sender<()>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Blockade {
    fn of(service: &Service) -> Self {
        let (end, ended) = mpsc::channel::<()>();
        let (begun, beginning) = mpsc::channel();
        let url = service.database_url();
        let thread = std::thread::spawn(move || match url.strip_prefix("sqlite://") {
            Some(path) => {
                let mut connection = diesel::SqliteConnection::establish(path).unwrap();
                connection.batch_execute("PRAGMA busy_timeout = 60000; BEGIN EXCLUSIVE").unwrap();
                begun.send(()).unwrap();
                // An error is the end of the blockade.
                let _ended = ended.recv();
                connection.batch_execute("ROLLBACK").unwrap();
            }
            None => RUNTIME.block_on(async {
                let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
                tokio::spawn(connection);
                client.batch_execute("BEGIN; LOCK TABLE audit_chains IN ACCESS EXCLUSIVE MODE").await.unwrap();
                begun.send(()).unwrap();
                let _ended = tokio::task::block_in_place(|| ended.recv());
                client.batch_execute("ROLLBACK").await.unwrap();
            }),
        });
        beginning.recv().unwrap();
        Self { _end: end, thread: Some(thread) }
    }

    fn lift(mut self) {
        let thread = self.thread.take().unwrap();
        drop(self);
        thread.join().unwrap();
    }
}

type Call = tokio::task::JoinHandle<Result<Answer, String>>;

/// Asks for a certificate from many callers at once.
fn burst(service: &Service, body: &Value) -> Vec<Call> {
    let client = service.administrator();
    let call = |number: usize| {
        let key = format!("burst-{number}");
        let request = client.post("/api/v1/certificates").json(body).header("idempotency-key", &key);
        RUNTIME.spawn(request.try_send())
    };
    (0..CALLERS).map(call).collect()
}

/// Waits until so many calls are answered, and takes them out.
fn take_answered(calls: &mut Vec<Call>, count: usize) -> Vec<Answer> {
    let began = Instant::now();
    while calls.iter().filter(|call| call.is_finished()).count() < count {
        assert!(began.elapsed() < Duration::from_secs(50), "too few were answered");
        std::thread::sleep(Duration::from_millis(10));
    }
    calls.extract_if(.., |call| call.is_finished()).map(|call| RUNTIME.block_on(call).unwrap().unwrap()).collect()
}

/// Issues what was admitted and what was acknowledged, and nothing else.
fn check(service: &Service, name: &str, issued: &[Answer]) {
    let mut acknowledged: Vec<String> =
        issued.iter().map(|answer| answer.clone().expect(201).json()["serial"].as_str().unwrap().to_owned()).collect();
    acknowledged.sort();
    let client = service.administrator();
    let listed = client.get(&format!("/api/v1/certificates?name={name}&limit=500")).expect(200).json();
    let serial = |record: &Value| record["serial"].as_str().unwrap().to_owned();
    let mut stored: Vec<String> = listed["items"].as_array().unwrap().iter().map(serial).collect();
    stored.sort();
    assert_eq!(stored, acknowledged);
    let verified = client.get("/api/v1/audit/verify").expect(200).json();
    assert_eq!(verified["intact"], true, "{verified}");
}

fn assert_told_when_to_come_back(answer: &Answer, code: &str) {
    assert_eq!((answer.status, answer.problem_code().as_str()), (503, code), "{}", answer.text());
    let seconds: u32 = answer.header("retry-after").parse().unwrap();
    assert!((1..=5).contains(&seconds), "{seconds}");
}

/// The log says that requests cannot be served and why, and how many; it has no line for each of them.
fn assert_told_of_together(service: &Service, refused: usize) {
    let log = service.log();
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).collect::<Vec<_>>();
    let told = lines("request could not be served now");
    assert!(!told.is_empty() && told.len() < refused, "{} lines for {refused}", told.len());
    assert!(told.iter().all(|line| line.contains("the database is too slow")), "{told:?}");
    let counted: usize = told
        .iter()
        .map(|line| {
            let (_, count) = line.split_once("counted_before=").unwrap();
            count.split(' ').next().unwrap().parse::<usize>().unwrap()
        })
        .sum();
    // The last ones are counted in the next line.
    assert!(told.len() + counted <= refused, "{told:?}");
    let answered = lines("status=503").into_iter().filter(|line| line.contains("/api/v1/certificates")).count();
    assert_eq!(answered, told.len(), "the access log has a line for those that are not only counted");
}

fn shed(service: &Service) -> f64 {
    metric(service, "chancery_requests_shed_total{")
}

/// The sum of the metrics that begin so.
fn metric(service: &Service, start: &str) -> f64 {
    let text = Client::new(service.metrics(), None).get("/metrics").expect(200).text();
    let lines = text.lines().filter(|line| line.starts_with(start));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// What finds no place in time is refused at once and leaves nothing behind; what has one is done when the database works again.
#[test]
fn a_burst_beyond_what_can_be_worked_on_is_refused_and_the_rest_is_done() {
    const PLACES: usize = 8;
    for database in Database::ALL {
        let settings = [
            ("CHANCERY__SERVER__CONCURRENT_REQUESTS", "8"),
            ("CHANCERY__SERVER__MAXIMUM_WAIT", "200ms"),
            ("CHANCERY__DATABASE__MAXIMUM_WAIT", "1m"),
        ];
        let service = Service::start_with(database, &settings);
        let body = json!({"csr": Csr::for_dns(&["burst.internal"]).pem(), "profile": "server"});
        let before = shed(&service);
        let blockade = Blockade::of(&service);
        let mut calls = burst(&service, &body);
        let refused = take_answered(&mut calls, CALLERS - PLACES);
        assert_eq!(calls.len(), PLACES, "{database:?}: those that have a place wait");
        for answer in &refused {
            assert_told_when_to_come_back(answer, "overloaded");
        }
        // Others do not notice.
        let client = service.administrator();
        client.get("/healthz").expect(200);
        client.get("/api/v1/certificates?limit=1").expect(200);
        assert_eq!(shed(&service) - before, refused.len() as f64);
        blockade.lift();
        let issued = take_answered(&mut calls, PLACES);
        check(&service, "burst.internal", &issued);
        // A key whose request was refused is free.
        let retry = client.post("/api/v1/certificates").json(&body).header("idempotency-key", "burst-0").send();
        assert_eq!(retry.status, 201, "{}", retry.text());
    }
}

/// What waits too long for its turn at the database is told so, and is never written.
#[test]
fn who_waits_too_long_for_the_database_is_refused_and_nothing_is_written_for_him() {
    for database in Database::ALL {
        let settings = [("CHANCERY__DATABASE__MAXIMUM_WAIT", "1s"), ("CHANCERY__LOG__LEVEL", "chancery=info")];
        let service = Service::start_with(database, &settings);
        let body = json!({"csr": Csr::for_dns(&["slow.internal"]).pem(), "profile": "server"});
        let client = service.administrator();
        let blockade = Blockade::of(&service);
        // The first groups are taken and cannot be given back; what comes behind them can.
        let mut calls = Vec::new();
        let mut refused = Vec::new();
        let began = Instant::now();
        while refused.len() < 20 {
            assert!(began.elapsed() < Duration::from_secs(50), "nobody was refused");
            let request = client.post("/api/v1/certificates").json(&body);
            calls.extend((0..20).map(|_| RUNTIME.spawn(request.clone().try_send())));
            std::thread::sleep(Duration::from_millis(400));
            refused.extend(take_answered(&mut calls, 0));
        }
        for answer in &refused {
            assert_told_when_to_come_back(answer, "unavailable");
        }
        assert_told_of_together(&service, refused.len());
        blockade.lift();
        let count = calls.len();
        let mut answers = take_answered(&mut calls, count);
        let issued: Vec<Answer> = answers.extract_if(.., |answer| answer.status == 201).collect();
        assert!(!issued.is_empty(), "{database:?}: what was taken is written");
        for answer in &answers {
            assert_told_when_to_come_back(answer, "unavailable");
        }
        check(&service, "slow.internal", &issued);
    }
}

/// Reads until the service closes; a reset is as good.
fn rest(mut connection: &TcpStream) -> String {
    let mut octets = Vec::new();
    drop(connection.read_to_end(&mut octets));
    String::from_utf8_lossy(&octets).into_owned()
}

fn connect(address: &str) -> TcpStream {
    let connection = TcpStream::connect(address.split_once("://").unwrap().1).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    connection
}

/// Sends a request and reads its answer, which has a length.
fn ask(connection: &mut TcpStream, path: &str) -> String {
    connection.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut octets = Vec::new();
    let mut octet = [0];
    while !octets.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut octet).unwrap();
        octets.push(octet[0]);
    }
    let head = String::from_utf8(octets).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    connection.read_exact(&mut body).unwrap();
    head
}

#[test]
fn a_head_that_never_ends_is_cut_off_on_a_connection_that_was_used_before() {
    let settings = [("CHANCERY__SERVER__CLIENT_HEADER_TIMEOUT", "1s"), ("CHANCERY__SERVER__KEEP_ALIVE", "1s")];
    let service = Service::start_with(Database::Sqlite, &settings);
    let mut connection = connect(service.public());
    assert!(ask(&mut connection, "/pki/issuing.crl").starts_with("http/1.1 200"));
    connection.write_all(b"GET /pki/issuing.crl HTTP/1.1\r\n").unwrap();
    let dribble = connection.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let mut dribble = &dribble;
        // Until the service has closed.
        while dribble.write_all(b"X-A: b\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    assert_eq!(rest(&connection), "");
    writer.join().unwrap();
}

#[test]
fn an_answer_that_nobody_reads_is_broken_off() {
    let settings = [("CHANCERY__SERVER__CLIENT_WRITE_TIMEOUT", "1s"), ("CHANCERY__SERVER__TLS", "off")];
    let service = Service::start_with(Database::Sqlite, &settings);
    let document = service.anonymous().get("/openapi.json").expect(200).body.len();
    let mut connection = connect(service.api());
    // More than all buffers between here and there hold.
    let requests = 64 * 1024 * 1024 / document;
    let request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(requests);
    // The service stops reading when too many requests wait; the rest is written when it has closed, and fails.
    drop(connection.write_all(&request));
    let began = Instant::now();
    while metric(&service, "chancery_connections_cut_total{reason=\"slow_reader\"}") == 0.0 {
        assert!(began.elapsed() < Duration::from_secs(50), "the connection was not cut off");
        std::thread::sleep(Duration::from_millis(100));
    }
    let read = rest(&connection).len();
    assert!(read < requests * document, "all {requests} answers were sent");
    assert_eq!(service.anonymous().get("/healthz").send().status, 200);
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let count = usize::try_from(limit.saturating_sub(400).min(1500)).unwrap();
    for tls in ["on", "off"] {
        let settings = [("CHANCERY__SERVER__CLIENT_HEADER_TIMEOUT", "5m"), ("CHANCERY__SERVER__TLS", tls)];
        let service = Service::start_with(Database::Sqlite, &settings);
        let silent: Vec<TcpStream> = (0..count / 2).map(|_| connect(service.api())).collect();
        let half: Vec<TcpStream> = (0..count / 2)
            .map(|_| {
                let mut connection = connect(service.api());
                // The beginning of a ClientHello, or of what is no request.
                connection.write_all(&[22, 3, 1, 0, 200, 1, 0]).unwrap();
                connection
            })
            .collect();
        service.issue(&["beside.internal"]);
        drop((silent, half));
    }
}

#[test]
fn one_address_has_so_many_connections_and_no_more() {
    let settings = [("CHANCERY__SERVER__MAXIMUM_CONNECTIONS_PER_ADDRESS", "3")];
    let service = Service::start_with(Database::Sqlite, &settings);
    let mut admitted: Vec<TcpStream> = (0..3).map(|_| connect(service.public())).collect();
    for connection in &mut admitted {
        assert!(ask(connection, "/pki/issuing.crl").starts_with("http/1.1 200"));
    }
    let mut one_more = connect(service.public());
    // It may be closed before this is written.
    drop(one_more.write_all(b"GET /pki/issuing.crl HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_eq!(rest(&one_more), "");
    drop(admitted.pop());
    // The service notices in a moment.
    let began = Instant::now();
    loop {
        let mut connection = connect(service.public());
        drop(connection.write_all(b"GET /pki/issuing.crl HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        if rest(&connection).starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "the place of a closed connection stays taken");
        std::thread::sleep(Duration::from_millis(50));
    }
}
