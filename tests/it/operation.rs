//! What those who run the service ask of it: health, readiness, metrics, documents, limits, and an orderly stop.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{Client, RUNTIME};
use crate::support::csr::Csr;
use crate::support::service::{Database, Service, chancery};

#[test]
fn health_and_readiness_answer_anybody() {
    for database in Database::ALL {
        let client = Service::shared(database).anonymous();
        let health = client.get("/healthz").expect(200);
        assert_eq!((health.json(), health.header("cache-control")), (json!({"status": "ok"}), "no-store"));
        assert_eq!(client.get("/readyz").expect(200).json()["status"], "ready");
        client.request("HEAD", "/healthz").expect(200);
    }
}

#[test]
fn metrics_count_what_happened() {
    let service = Service::start(Database::Sqlite);
    let client = service.administrator();
    service.issue(&["measured.internal"]);
    let bad = json!({"csr": Csr::for_dns(&["www.example.org"]).pem(), "profile": "server"});
    client.post("/api/v1/certificates").json(&bad).expect(422);
    let read = || Client::new(service.metrics(), None).get("/metrics").expect(200).text();
    let text = read();
    let value = |start: &str, label: &str| -> f64 {
        text.lines()
            .filter(|line| line.starts_with(start) && line.contains(label))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    };
    assert!(value("chancery_certificates_issued_total", "profile=\"server\"") >= 1.0, "{text}");
    assert!(value("chancery_certificates_refused_total", "profile=\"server\"") >= 1.0, "{text}");
    for name in [
        "chancery_http_request_duration_seconds",
        "chancery_commit_batch_size",
        "chancery_crl_age_seconds",
        "chancery_issuer_expires_in_days",
        "chancery_database_connections",
    ] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} is not in the metrics:\n{text}");
    }
    assert!(!text.contains("measured.internal") && !text.contains("chy_"), "metrics name no subject and no secret");
}

#[test]
fn every_answer_has_a_request_id_and_takes_none_from_strangers_unchecked() {
    let client = Service::shared(Database::Sqlite).anonymous();
    let first = client.get("/healthz").expect(200).header("x-request-id").to_owned();
    let second = client.get("/nothing").expect(404).header("x-request-id").to_owned();
    assert!(!first.is_empty() && first != second);
    let hostile = "x".repeat(5000);
    let answer = client.get("/healthz").header("x-request-id", &hostile).send();
    assert_ne!(answer.header("x-request-id"), hostile);
}

#[test]
fn the_documents_are_served_and_need_nothing_from_elsewhere() {
    let client = Service::shared(Database::Sqlite).anonymous();
    let document = client.get("/openapi.json").expect(200).json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let mut answer = client.get("/docs").send();
    if (300..400).contains(&answer.status) {
        answer = client.get(answer.header("location")).send();
    }
    let page = answer.expect(200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(!page.text().contains("//cdn") && !page.text().contains("src=\"http"), "{}", page.text());
}

/// Every operation of the OpenAPI document says what it does, who may, and how it fails.
#[test]
fn the_openapi_document_is_complete() {
    let document = Service::shared(Database::Sqlite).anonymous().get("/openapi.json").expect(200).json();
    let mut operations = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let name = format!("{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name}: no summary");
            assert!(operation["operationId"].is_string(), "{name}: no operationId");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with(['2', '3'])), "{name}: no success");
            if path.starts_with("/api/") {
                assert!(operation["security"].as_array().is_some_and(|list| !list.is_empty()), "{name}: no security");
                for status in ["401", "403"] {
                    assert!(responses.contains_key(status), "{name}: no {status}");
                }
            }
            operations += 1;
        }
    }
    assert!(operations >= 30, "only {operations} operations");
}

/// What was accepted is finished, then the process ends with 0, and nothing of it is lost.
#[test]
fn a_stop_finishes_what_was_accepted() {
    for database in Database::ALL {
        let mut service = Service::start(database);
        let client = service.administrator();
        let body = json!({"csr": Csr::for_dns(&["stopping.internal"]).pem(), "profile": "server"});
        let requests: Vec<_> =
            (0..64).map(|_| RUNTIME.spawn(client.post("/api/v1/certificates").json(&body).try_send())).collect();
        // Stopped in the midst of them: as soon as the first is answered.
        let began = Instant::now();
        while !requests.iter().any(tokio::task::JoinHandle::is_finished) && began.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let status = service.stop();
        assert!(status.success(), "{database:?}: {status}\n{}", service.log());
        let answers: Vec<_> = requests.into_iter().map(|request| RUNTIME.block_on(request).unwrap()).collect();
        service.restart();
        let mut issued = 0;
        for answer in answers.into_iter().flatten() {
            // Refused while stopping, or done: never half.
            assert!([201, 503].contains(&answer.status), "{}: {}", answer.status, answer.text());
            if answer.status == 201 {
                let path = answer.header("location").to_owned();
                service.administrator().get(&path).expect(200);
                issued += 1;
            }
        }
        assert!(issued > 0, "{database:?}: nothing was accepted before the stop");
    }
}

#[test]
fn slow_and_oversized_heads_are_cut_off() {
    let service = Service::start_with(Database::Sqlite, &[("CHANCERY__SERVER__CLIENT_HEADER_TIMEOUT", "1s")]);
    let address = service.public().trim_start_matches("http://").to_owned();
    let started = Instant::now();
    let mut slow = TcpStream::connect(&address).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    slow.write_all(b"GET /pki/issuing.crl HTTP/1.1\r\nHost: x\r\n").unwrap();
    let mut answer = Vec::new();
    // A reset is as good as an end.
    drop(slow.read_to_end(&mut answer));
    assert!(started.elapsed() < Duration::from_secs(20), "a slow client was kept");
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));

    let mut huge = TcpStream::connect(&address).unwrap();
    huge.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!("GET /pki/issuing.crl HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(1024 * 1024));
    // The service may close while we still write.
    drop(huge.write_all(head.as_bytes()));
    let mut answer = Vec::new();
    drop(huge.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(service.anonymous().get("/healthz").send().status, 200);
}

/// The probe of the container image, word by word, against a running service.
#[test]
fn the_health_check_of_the_image_tells_ready_from_gone() {
    let dockerfile = include_str!("../../docker/Dockerfile").replace("\\\n", " ");
    let line = dockerfile.lines().find(|line| line.starts_with("HEALTHCHECK")).unwrap();
    let command: Vec<String> = serde_json::from_str(&line[line.find('[').unwrap()..]).unwrap();
    let mut service = Service::start(Database::Sqlite);
    let port = service.metrics().rsplit(':').next().unwrap().to_owned();
    let probe = |port: &str| {
        let command: Vec<String> = command.iter().map(|part| part.replace("/9090", &format!("/{port}"))).collect();
        Command::new(&command[0]).args(&command[1..]).output().unwrap().status.success()
    };
    assert!(probe(&port), "a running service is ready");
    service.kill();
    assert!(!probe(&port), "a service that is gone is not");
}

#[test]
fn doctor_finds_a_good_installation_good() {
    let mut service = Service::start(Database::Sqlite);
    service.issue(&["examined.internal"]);
    assert!(service.stop().success());
    let output = chancery().args(["doctor", "--json"]).env("CHANCERY__DATA_DIR", service.data()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains("\"bad\""), "{said}");

    std::fs::remove_file(service.data().join("key-encryption.key")).unwrap();
    let output = chancery().args(["doctor", "--json"]).env("CHANCERY__DATA_DIR", service.data()).output().unwrap();
    assert!(!output.status.success(), "without its key: {}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_openapi_document_is_committed_printed_and_served_alike() {
    let output = chancery().arg("openapi").output().unwrap();
    assert!(output.status.success());
    let committed = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json")).unwrap();
    assert!(
        committed.as_bytes() == output.stdout,
        "openapi/openapi.json is out of date: cargo run -- openapi > openapi/openapi.json"
    );
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let served = Service::shared(Database::Sqlite).anonymous().get("/openapi.json").expect(200).json();
    assert_eq!(printed, served);
}
