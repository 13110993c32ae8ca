//! The process is killed under load, again and again: every certificate that was acknowledged is there afterwards, no serial number was
//! given twice, CRL numbers rise, the audit chains are whole.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::RUNTIME;
use crate::support::csr::Csr;
use crate::support::service::{Database, Service};

/// How often the process is killed.
const KILLS: usize = 4;
/// How many callers keep it busy.
const CALLERS: usize = 8;

/// What the service acknowledged: serial numbers with certificates, and which of them it said were revoked.
#[derive(Default)]
struct Acknowledged {
    issued: Vec<(String, String)>,
    revoked: Vec<String>,
}

#[test]
fn nothing_acknowledged_is_lost_on_sqlite() {
    survive(Database::Sqlite);
}

#[test]
fn nothing_acknowledged_is_lost_on_postgresql() {
    survive(Database::Postgres);
}

fn survive(database: Database) {
    let mut service = Service::start_with(database, &[("CHANCERY__CRL__DELAY_AFTER_REVOCATION", "1s")]);
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    let mut revoked: Vec<String> = Vec::new();
    let mut crl_number = published_number(&service);
    for round in 0..KILLS {
        let answers = load_until_killed(&mut service, Duration::from_millis(700 + 250 * u64::try_from(round).unwrap()));
        assert!(
            answers.issued.len() > CALLERS,
            "round {round}: only {} were issued before the kill",
            answers.issued.len()
        );
        for (serial, certificate) in answers.issued {
            let twice = all.insert(serial.clone(), certificate);
            assert!(twice.is_none(), "round {round}: the serial number {serial} was given twice");
        }
        revoked.extend(answers.revoked);
        service.restart();
        let number = published_number(&service);
        assert!(number >= crl_number, "round {round}: the CRL number fell from {crl_number} to {number}");
        let next = publish(&service);
        assert!(next > number, "round {round}: CRL {next} after {number}");
        crl_number = next;
        check(&service, &all, &revoked, &format!("{database:?}, round {round}"));
    }
    assert!(!revoked.is_empty(), "no revocation was acknowledged");
}

fn published_number(service: &Service) -> i64 {
    service.administrator().get("/api/v1/issuers/issuing").expect(200).json()["crl"]["number"].as_i64().unwrap()
}

/// Publishes a CRL and returns its number. A process that was killed while it published one keeps others from it for a while.
fn publish(service: &Service) -> i64 {
    let started = Instant::now();
    loop {
        let answer = service.administrator().post("/api/v1/issuers/issuing/crl").send();
        if answer.status == 200 {
            return answer.json()["number"].as_i64().unwrap();
        }
        assert_eq!(answer.status, 409, "{}", answer.text());
        assert!(
            started.elapsed() < Duration::from_secs(180),
            "the killed process still has its lease: {}",
            answer.text()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Issues and revokes from several callers until the process is killed, and collects what was acknowledged.
fn load_until_killed(service: &mut Service, length: Duration) -> Acknowledged {
    let client = service.administrator();
    let bodies: Vec<Value> = (0..CALLERS)
        .map(|caller| json!({"csr": Csr::for_dns(&[&format!("caller-{caller}.internal")]).pem(), "profile": "server"}))
        .collect();
    let callers: Vec<_> = bodies
        .into_iter()
        .map(|body| {
            let client = client.clone();
            RUNTIME.spawn(async move {
                let mut acknowledged = Acknowledged::default();
                // An answer that does not come ends the caller: the process is gone.
                while let Ok(answer) = client.post("/api/v1/certificates").json(&body).try_send().await {
                    assert_eq!(answer.status, 201, "{}", answer.text());
                    let record = answer.json();
                    let serial = record["serial"].as_str().unwrap().to_owned();
                    acknowledged.issued.push((serial.clone(), record["certificate"].as_str().unwrap().to_owned()));
                    if acknowledged.issued.len() % 5 == 0 {
                        let path = format!("/api/v1/certificates/{serial}/revoke");
                        let reason = json!({"reason": "superseded"});
                        match client.post(&path).json(&reason).try_send().await {
                            Ok(answer) => {
                                assert_eq!(answer.status, 200, "{}", answer.text());
                                acknowledged.revoked.push(serial);
                            }
                            Err(_gone) => break,
                        }
                    }
                }
                acknowledged
            })
        })
        .collect();
    std::thread::sleep(length);
    service.kill();
    let mut all = Acknowledged::default();
    for caller in callers {
        let mut acknowledged = RUNTIME.block_on(caller).unwrap();
        all.issued.append(&mut acknowledged.issued);
        all.revoked.append(&mut acknowledged.revoked);
    }
    all
}

fn check(service: &Service, all: &BTreeMap<String, String>, revoked: &[String], when: &str) {
    let client = service.administrator();
    let export = client.get("/api/v1/certificates?format=ndjson").expect(200).text();
    let mut found: BTreeMap<String, (String, String)> = BTreeMap::new();
    for line in export.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let text = |field: &str| record[field].as_str().unwrap().to_owned();
        let twice = found.insert(text("serial"), (text("certificate"), text("status")));
        assert!(twice.is_none(), "{when}: two rows of one serial number");
    }
    for (serial, certificate) in all {
        let (stored, _) = found.get(serial).unwrap_or_else(|| panic!("{when}: {serial} was acknowledged and is lost"));
        assert_eq!(stored, certificate, "{when}");
    }
    for serial in revoked {
        assert_eq!(found[serial].1, "revoked", "{when}: the revocation of {serial} is lost");
    }
    let verified = client.get("/api/v1/audit/verify").expect(200).json();
    assert_eq!((&verified["intact"], &verified["failures"]), (&json!(true), &json!([])), "{when}: {verified}");
    let events = verified["events"].as_u64().unwrap();
    assert!(events >= u64::try_from(all.len() + revoked.len()).unwrap(), "{when}: {events} events");
}
