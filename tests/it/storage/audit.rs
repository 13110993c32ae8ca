//! The audit log: filters, and tampering behind the storage's back, which the check finds.

use std::sync::Arc;

use chancery::storage::{AuditEvent, AuditFilter, AuditOutcome, Storage};

use super::fixture::{Fixture, NOW, at, certificate, event, issue};
use super::on_both_databases;

on_both_databases!(
    events_are_listed_newest_first_and_filtered,
    an_untouched_log_verifies_after_concurrent_writes,
    hostile_text_is_kept_and_verifies,
    altered_bytes_are_found,
    a_removed_last_event_is_found,
    a_removed_first_event_is_found,
    exchanged_events_are_found,
    an_altered_search_column_is_found,
    a_rewound_head_is_found,
    an_event_of_no_chain_is_found,
);

async fn record(storage: &dyn Storage, count: usize) {
    for number in 0..count {
        storage.record_audit(event("certificate.issue", &format!("certificate:{number:02}"))).await.unwrap();
    }
}

async fn events_are_listed_newest_first_and_filtered(fixture: Fixture) {
    let storage = fixture.open().await;
    for (second, actor, action, outcome) in [
        (0, "token:a", "certificate.issue", AuditOutcome::Success),
        (1, "token:b", "certificate.issue", AuditOutcome::Refused),
        (2, "token:a", "certificate.revoke", AuditOutcome::Success),
        (3, "token:a", "certificates.export", AuditOutcome::Success),
        (4, "system", "crl.publish", AuditOutcome::Success),
    ] {
        let event = AuditEvent {
            occurred_at_ms: (NOW + second) * 1000 + 500,
            actor: actor.to_owned(),
            outcome,
            ..event(action, &format!("object:{second}"))
        };
        storage.record_audit(event).await.unwrap();
    }
    let listed = |filter: AuditFilter| {
        let storage = Arc::clone(&storage);
        async move {
            let events = storage.audit_events(&filter, None, 100).await.unwrap().items;
            assert!(events.windows(2).all(|pair| pair[0].id > pair[1].id));
            events.into_iter().map(|stored| stored.event.object.replace("object:", "")).collect::<String>()
        }
    };
    let all = AuditFilter::default;
    assert_eq!(listed(all()).await, "43210");
    assert_eq!(listed(AuditFilter { actor: Some("token:a".to_owned()), ..all() }).await, "320");
    assert_eq!(listed(AuditFilter { action: Some("certificate.issue".to_owned()), ..all() }).await, "10");
    assert_eq!(listed(AuditFilter { action: Some("certificate.*".to_owned()), ..all() }).await, "210");
    assert_eq!(listed(AuditFilter { action: Some("*".to_owned()), ..all() }).await, "43210");
    assert_eq!(listed(AuditFilter { action: Some("CERTIFICATE.*".to_owned()), ..all() }).await, "");
    assert_eq!(listed(AuditFilter { outcome: Some(AuditOutcome::Refused), ..all() }).await, "1");
    assert_eq!(listed(AuditFilter { object: Some("object:2".to_owned()), ..all() }).await, "2");
    assert_eq!(listed(AuditFilter { after: Some(at(1)), before: Some(at(4)), ..all() }).await, "321");
    let first = storage.audit_events(&all(), None, 2).await.unwrap().items;
    let next = storage.audit_events(&all(), Some(first[1].id), 2).await.unwrap().items;
    assert_eq!(next[0].event.object, "object:2");
}

async fn an_untouched_log_verifies_after_concurrent_writes(fixture: Fixture) {
    let storage = fixture.open().await;
    let calls: Vec<_> = (0..200)
        .map(|number| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move {
                if number % 10 == 0 {
                    storage.acquire_lease("x", &number.to_string(), at(number), at(number)).await.unwrap();
                }
                issue(&*storage, certificate(&["www.example.com"])).await;
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    let verification = storage.verify_audit().await.unwrap();
    assert_eq!((verification.events, verification.chains), (200, 16));
    assert_eq!(verification.failures, Vec::<String>::new());
}

async fn hostile_text_is_kept_and_verifies(fixture: Fixture) {
    let storage = fixture.open().await;
    let hostile = AuditEvent {
        actor: "nul \0 quote ' \u{202e} \u{10ffff}".to_owned(),
        details: serde_json::json!({"text": "\0\u{1}", "number": 18_446_744_073_709_551_615_u64, "float": 0.1}),
        ..event("certificate.issue", "\0")
    };
    storage.record_audit(hostile.clone()).await.unwrap();
    let filter = AuditFilter { actor: Some(hostile.actor.clone()), ..AuditFilter::default() };
    assert_eq!(storage.audit_events(&filter, None, 10).await.unwrap().items[0].event, hostile);
    assert_eq!(storage.verify_audit().await.unwrap().failures, Vec::<String>::new());
}

/// Writes eight events one after the other, tampers, and returns what the check says.
async fn after_tampering(fixture: &Fixture, sql: &str) -> Vec<String> {
    let storage = fixture.open().await;
    record(&*storage, 8).await;
    // One at a time, all go into the same chain.
    let before = storage.verify_audit().await.unwrap();
    assert_eq!((before.events, before.failures), (8, Vec::new()));
    fixture.execute(sql).await;
    storage.verify_audit().await.unwrap().failures
}

fn only(failures: &[String], expected: &str) {
    assert!(matches!(failures, [one] if one.contains(expected)), "{failures:?} is not one failure with `{expected}`");
}

async fn altered_bytes_are_found(fixture: Fixture) {
    let sql = if fixture.is_sqlite() {
        "UPDATE audit_events SET bytes = CAST(replace(CAST(bytes AS TEXT), 'server', 'sErver') AS BLOB) WHERE sequence = 3"
    } else {
        "UPDATE audit_events SET bytes = convert_to(replace(convert_from(bytes, 'UTF8'), 'server', 'sErver'), 'UTF8') \
         WHERE sequence = 3"
    };
    only(&after_tampering(&fixture, sql).await, "event 3: the event does not match its link");
}

async fn a_removed_last_event_is_found(fixture: Fixture) {
    let sql = "DELETE FROM audit_events WHERE sequence = 8";
    only(&after_tampering(&fixture, sql).await, "ends at event 7, its head says 8");
}

async fn a_removed_first_event_is_found(fixture: Fixture) {
    let sql = "DELETE FROM audit_events WHERE sequence = 1";
    only(&after_tampering(&fixture, sql).await, "event 1 is missing");
}

async fn exchanged_events_are_found(fixture: Fixture) {
    let sql = "UPDATE audit_events SET sequence = -1 WHERE sequence = 4; \
               UPDATE audit_events SET sequence = 4 WHERE sequence = 5; \
               UPDATE audit_events SET sequence = 5 WHERE sequence = -1";
    only(&after_tampering(&fixture, sql).await, "event 4: the event does not match its link");
}

async fn an_altered_search_column_is_found(fixture: Fixture) {
    for (column, value) in
        [("actor", "'token:other'"), ("action", "'x'"), ("outcome", "1"), ("object", "'y'"), ("occurred_at", "7")]
    {
        let fixture = if fixture.is_sqlite() { Fixture::sqlite() } else { Fixture::postgres().await };
        let sql = format!("UPDATE audit_events SET {column} = {value} WHERE sequence = 6");
        only(&after_tampering(&fixture, &sql).await, "event 6: the search columns do not match");
    }
}

async fn a_rewound_head_is_found(fixture: Fixture) {
    let sql = "UPDATE audit_chains SET sequence = 7, hash = (SELECT hash FROM audit_events WHERE sequence = 7) \
               WHERE sequence = 8";
    only(&after_tampering(&fixture, sql).await, "has event 8 after its head");
}

async fn an_event_of_no_chain_is_found(fixture: Fixture) {
    let sql = "UPDATE audit_chains SET sequence = 0 WHERE sequence = 8; UPDATE audit_events SET chain = 99";
    let failures = after_tampering(&fixture, sql).await;
    assert!(failures.iter().any(|failure| failure.contains("8 events belong to no chain")), "{failures:?}");
    assert!(failures.iter().any(|failure| failure.contains("the head does not match")), "{failures:?}");
}
