//! A PostgreSQL that stops, comes back, or cuts its connections, under a storage that stays open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery::ErrorKind;
use chancery::storage::{Issuance, Recorded, open};

use super::fixture::{Fixture, certificate, claim, event, found, issuance, issue, list, options};
use crate::support::postgres::{self, Server, eventually};

/// Longer than any sum of the timeouts in the tests' options.
const BOUND: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stopped_postgresql_is_unavailable_in_bounded_time_and_works_again_when_it_is_back() {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let url = server.create_database().await;
    let storage = open(&options(&url)).await.unwrap();
    let before = issue(&*storage, certificate(&["before.example.com"])).await;

    let server = tokio::task::spawn_blocking(move || {
        server.stop();
        server
    })
    .await
    .unwrap();
    let began = Instant::now();
    let write = storage.record_issuance(issuance(certificate(&[]))).await.unwrap_err();
    let read = storage.certificates_by_serial(&before).await.unwrap_err();
    let single = storage.acquire_lease("x", "y", super::fixture::at(0), super::fixture::at(1)).await.unwrap_err();
    let ready = storage.ready().await.unwrap_err();
    for error in [write, read, single, ready] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!((1..=5).contains(&error.retry_after_seconds().unwrap()), "{error}");
    }
    let calls: Vec<_> = (0..300)
        .map(|_| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move { storage.record_issuance(issuance(certificate(&[]))).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert!(began.elapsed() < BOUND, "it took {:?}", began.elapsed());

    let server = tokio::task::spawn_blocking(move || {
        server.resume();
        server
    })
    .await
    .unwrap();
    eventually("readiness", || async { storage.ready().await.is_ok() }).await;
    eventually("writing", || async { storage.record_audit(event("certificate.issue", "")).await.is_ok() }).await;
    assert!(found(&*storage, &before).await.is_some());
    issue(&*storage, certificate(&["after.example.com"])).await;
    let verification = storage.verify_audit().await.unwrap();
    assert_eq!(verification.failures, Vec::<String>::new());
    storage.close().await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cut_connections_lose_nothing_and_issue_nothing_twice() {
    let fixture = Fixture::postgres().await;
    let storage = fixture.open().await;
    let cutter = {
        let url = fixture.url.clone();
        tokio::spawn(async move {
            for _ in 0..15 {
                let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE datname = current_database() AND pid <> pg_backend_pid()";
                postgres::execute(&url, cut).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    };
    let callers: Vec<_> = (0..16)
        .map(|caller| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for number in 0..40 {
                    acknowledged.push(issue_until_answered(&*storage, &format!("{caller}-{number}")).await);
                }
                acknowledged
            })
        })
        .collect();
    let mut acknowledged = Vec::new();
    for caller in callers {
        acknowledged.extend(caller.await.unwrap());
    }
    cutter.await.unwrap();
    eventually("readiness", || async { storage.ready().await.is_ok() }).await;
    acknowledged.sort();
    let mut stored: Vec<_> = list(&*storage, Default::default()).await.into_iter().map(|one| one.serial).collect();
    stored.sort();
    assert_eq!(stored.len(), 640, "one certificate for each key");
    assert_eq!(stored, acknowledged);
    let verification = storage.verify_audit().await.unwrap();
    assert_eq!((verification.events, verification.failures), (640, Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cut_connections_complete_each_order_once() {
    const ORDERS: i64 = 200;
    let fixture = Fixture::postgres().await;
    let storage = super::acme::with_account(&fixture).await;
    for id in 0..ORDERS {
        super::acme::place(&*storage, super::acme::ready_order(id, 1, &["a.internal"])).await;
    }
    let cutter = {
        let url = fixture.url.clone();
        tokio::spawn(async move {
            for _ in 0..15 {
                let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE datname = current_database() AND pid <> pg_backend_pid()";
                postgres::execute(&url, cut).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    };
    // Two callers for each order, who ask again until they are answered.
    let callers: Vec<_> = (0..ORDERS * 2)
        .map(|number| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move { complete_until_answered(&*storage, number % ORDERS).await })
        })
        .collect();
    let mut acknowledged = Vec::new();
    for caller in callers {
        acknowledged.extend(caller.await.unwrap());
    }
    cutter.await.unwrap();
    eventually("readiness", || async { storage.ready().await.is_ok() }).await;
    let mut stored: Vec<_> = list(&*storage, Default::default()).await.into_iter().map(|one| one.serial).collect();
    let mut named = Vec::new();
    for id in 0..ORDERS {
        let (order, _) = storage.acme_order(id, None).await.unwrap().unwrap();
        named.push(order.certificate.expect("each order has a certificate").1);
    }
    stored.sort();
    named.sort();
    assert_eq!(stored, named, "one certificate for each order, and the one that it names");
    assert!(acknowledged.iter().all(|serial| stored.binary_search(serial).is_ok()));
    assert_eq!(storage.verify_audit().await.unwrap().failures, Vec::<String>::new());
}

/// Tries to complete an order until it is answered; returns the serial number if it was this caller.
async fn complete_until_answered(
    storage: &dyn chancery::storage::Storage,
    order: i64,
) -> Option<chancery::x509::SerialNumber> {
    loop {
        let mut completing = issuance(certificate(&["a.internal"]));
        let serial = completing.certificate.serial.clone();
        completing.order = Some(chancery::storage::OrderCompletion {
            order_id: order,
            account_id: 1,
            from: chancery::storage::AcmeOrderStatus::Pending,
            holder: None,
        });
        match storage.record_issuance(completing).await {
            Ok(Recorded::Committed) => return Some(serial),
            Ok(Recorded::OrderTaken) => return None,
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Asks again with the same idempotency key, as a client does after 503, and returns the certificate of the key.
async fn issue_until_answered(storage: &dyn chancery::storage::Storage, key: &str) -> chancery::x509::SerialNumber {
    loop {
        let new = certificate(&["www.example.com"]);
        let serial = new.serial.clone();
        let issuance = Issuance { idempotency: Some(claim(key, 3600)), ..issuance(new) };
        match storage.record_issuance(issuance).await {
            Ok(Recorded::Committed) => return serial,
            Ok(Recorded::Replayed(answer)) => match answer.result {
                chancery::storage::IdempotencyResult::Certificate(serial) => return serial,
                other => panic!("the key led to {other:?}"),
            },
            Ok(Recorded::KeyBlocked) => panic!("no key was blocked"),
            Ok(Recorded::OrderTaken) => panic!("there is no order"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_absent_postgresql_is_unavailable_at_once_and_the_error_holds_no_password() {
    let url = "postgres://chancery:hunter2@127.0.0.1:1/nothing?sslmode=disable";
    let began = Instant::now();
    let error = open(&options(url)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!format!("{error:?}").contains("hunter2"));
    assert!(began.elapsed() < BOUND);
}
