//! Several processes on one PostgreSQL that issue at once: no serial number twice, one certificate for one idempotency key, whole audit chains, and
//! nothing lost with one that is killed.
//! How fast they are together is measured by the part `replicas` of the benchmark.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::{Answer, RUNTIME};
use crate::support::csr::Csr;
use crate::support::service::{Database, Service};

/// Certificates that each replica is asked for.
const EACH: usize = 60;
/// Idempotency keys that every replica is asked to use.
const KEYS: usize = 20;

fn replicas(count: usize) -> Vec<Service> {
    let url = crate::support::new_postgres_database();
    let sealing = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    // On a busy machine nobody is to be refused.
    let settings = [
        ("CHANCERY__DATABASE__URL", url.as_str()),
        ("CHANCERY__KEYS__KEY_ENCRYPTION_KEY", sealing),
        ("CHANCERY__DATABASE__MAXIMUM_WAIT", "1m"),
        ("CHANCERY__SERVER__MAXIMUM_WAIT", "1m"),
    ];
    // The URL says that it is PostgreSQL: one for all, where each `Database::Postgres` has one of its own.
    std::thread::scope(|scope| {
        let starting: Vec<_> =
            (0..count).map(|_| scope.spawn(|| Service::start_with(Database::Sqlite, &settings))).collect();
        starting.into_iter().map(|service| service.join().unwrap()).collect()
    })
}

fn serial(answer: &Answer) -> String {
    answer.clone().expect(201).json()["serial"].as_str().unwrap().to_owned()
}

fn issue_at_once_on(count: usize) {
    let services = replicas(count);
    let body = json!({"csr": Csr::for_dns(&["replicas.internal"]).pem(), "profile": "server"});
    let before = events(&services[0]);
    // One caller for all: keys belong to their caller.
    let caller = services[0].with_role("requester");
    let at = |service: &Service, path: &str| format!("{}{path}", service.api());
    for service in &services {
        let began = Instant::now();
        while caller.get(&at(service, "/api/v1/whoami")).send().status != 200 {
            assert!(began.elapsed() < Duration::from_secs(30), "the token is not known everywhere");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let mut own = Vec::new();
    let mut shared = Vec::new();
    for service in &services {
        let request = caller.post(&at(service, "/api/v1/certificates")).json(&body);
        own.extend((0..EACH).map(|_| RUNTIME.spawn(request.clone().try_send())));
        shared.extend((0..KEYS).map(|key| {
            let request = request.clone().header("idempotency-key", &format!("shared-{key}"));
            RUNTIME.spawn(async move { (key, request.try_send().await) })
        }));
    }
    let own: Vec<String> = own.into_iter().map(|call| serial(&RUNTIME.block_on(call).unwrap().unwrap())).collect();
    let mut by_key = vec![BTreeSet::new(); KEYS];
    for call in shared {
        let (key, answer) = RUNTIME.block_on(call).unwrap();
        by_key[key].insert(serial(&answer.unwrap()));
    }
    assert!(by_key.iter().all(|serials| serials.len() == 1), "one certificate for each key: {by_key:?}");
    let all: BTreeSet<String> = own.iter().cloned().chain(by_key.into_iter().flatten()).collect();
    assert_eq!(all.len(), count * EACH + KEYS, "a serial number was given twice");
    for service in &services {
        let listed =
            service.administrator().get("/api/v1/certificates?name=replicas.internal&limit=500").expect(200).json();
        let stored: Vec<String> = listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| record["serial"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(stored.len(), all.len());
        assert_eq!(stored.into_iter().collect::<BTreeSet<_>>(), all);
    }
    // CRLs may have been published meanwhile.
    assert!(events(&services[count - 1]) - before >= all.len() as u64, "one event for each certificate");
}

/// The number of audit events, whose chains must be whole.
fn events(service: &Service) -> u64 {
    let verified: Value = service.administrator().get("/api/v1/audit/verify").expect(200).json();
    assert_eq!((&verified["intact"], &verified["failures"]), (&json!(true), &json!([])), "{verified}");
    verified["events"].as_u64().unwrap()
}

/// What a caller of one replica was given until it ended, and whether it ended by itself.
type Given = (Vec<String>, bool);

/// Issues on a replica until it is gone or `enough` is true.
fn keep_issuing(service: &Service, enough: &Arc<AtomicBool>) -> tokio::task::JoinHandle<Given> {
    let body = json!({"csr": Csr::for_dns(&["survivor.internal"]).pem(), "profile": "server"});
    let request = service.administrator().post("/api/v1/certificates").json(&body);
    let enough = Arc::clone(enough);
    RUNTIME.spawn(async move {
        let mut given = Vec::new();
        while !enough.load(Ordering::Relaxed) {
            match request.clone().try_send().await {
                Ok(answer) => given.push(serial(&answer)),
                Err(_gone) => return (given, true),
            }
        }
        (given, false)
    })
}

#[test]
fn a_replica_that_is_killed_loses_nothing_and_the_other_one_goes_on() {
    const CALLERS: usize = 8;
    let mut services = replicas(2);
    let enough = Arc::new(AtomicBool::new(false));
    let callers: Vec<Vec<_>> =
        services.iter().map(|service| (0..CALLERS).map(|_| keep_issuing(service, &enough)).collect()).collect();
    let grown = |service: &Service, most: u64| {
        let began = Instant::now();
        while events(service) < most {
            assert!(began.elapsed() < Duration::from_secs(50), "nothing is issued");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    grown(&services[1], events(&services[1]) + 50);
    services[0].kill();
    grown(&services[1], events(&services[1]) + 100);
    enough.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeSet::new();
    let mut all = 0;
    for (number, callers) in callers.into_iter().enumerate() {
        for caller in callers {
            let (given, is_gone) = RUNTIME.block_on(caller).unwrap();
            assert_eq!(is_gone, number == 0, "callers of the other one notice nothing");
            assert!(!given.is_empty());
            all += given.len();
            acknowledged.extend(given);
        }
    }
    assert_eq!(acknowledged.len(), all, "a serial number was given twice");
    services[0].restart();
    for service in &services {
        let export = service.administrator().get("/api/v1/certificates?format=ndjson").expect(200).text();
        let stored: Vec<String> = export
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["serial"].as_str().unwrap().to_owned())
            .collect();
        let distinct: BTreeSet<String> = stored.iter().cloned().collect();
        assert_eq!(distinct.len(), stored.len(), "two rows of one serial number");
        assert!(acknowledged.is_subset(&distinct), "a certificate that was acknowledged is lost");
        assert!(events(service) >= distinct.len() as u64);
        service.issue(&["afterwards.internal"]);
    }
}

#[test]
fn two_replicas_issue_at_once() {
    issue_at_once_on(2);
}

#[test]
fn four_replicas_issue_at_once() {
    issue_at_once_on(4);
}
