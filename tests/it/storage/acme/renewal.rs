//! Renewal windows that operators set.

use chancery::storage::{AuditFilter, RenewalWindowRecord};

use super::super::fixture::{Fixture, at, event, serial};
use super::super::on_both_databases;

on_both_databases!(windows_are_listed_newest_first_until_they_are_deleted, windows_hold_for_the_certificates_they_name);

fn window(id: i64) -> RenewalWindowRecord {
    RenewalWindowRecord {
        id,
        issuer_id: 1,
        serial: None,
        issued_before: None,
        starts_at: at(100 - id),
        ends_at: at(200),
        explanation_url: Some("https://example.com/incident".to_owned()),
        created_by: "token:admin".to_owned(),
        created_at: at(0),
    }
}

async fn windows_are_listed_newest_first_until_they_are_deleted(fixture: Fixture) {
    let storage = fixture.open().await;
    for id in 1..=4 {
        storage.create_renewal_window(window(id), event("acme.renewal_window.create", "x")).await.unwrap();
    }
    assert_eq!(storage.renewal_windows(None, 2).await.unwrap(), [window(4), window(3)]);
    assert_eq!(storage.renewal_windows(Some(3), 10).await.unwrap(), [window(2), window(1)]);
    let delete = || storage.delete_renewal_window(3, event("acme.renewal_window.delete", "x"));
    assert!(delete().await.unwrap());
    assert!(!delete().await.unwrap());
    assert_eq!(storage.renewal_windows(None, 10).await.unwrap().len(), 3);
    assert_eq!(storage.audit_events(&AuditFilter::default(), None, 10).await.unwrap().items.len(), 5);
}

async fn windows_hold_for_the_certificates_they_name(fixture: Fixture) {
    let storage = fixture.open().await;
    let (one, other) = (serial(), serial());
    let windows = [
        window(1),
        RenewalWindowRecord { issuer_id: 2, ..window(2) },
        RenewalWindowRecord { serial: Some(one.clone()), ..window(3) },
        RenewalWindowRecord { issued_before: Some(at(50)), ..window(4) },
        RenewalWindowRecord { serial: Some(other.clone()), ..window(5) },
    ];
    for window in windows {
        storage.create_renewal_window(window, event("x", "y")).await.unwrap();
    }
    let of = async |issuer, serial, issued| -> Vec<i64> {
        let windows = storage.renewal_windows_of(issuer, serial, at(issued)).await.unwrap();
        windows.into_iter().map(|window| window.id).collect()
    };
    // The earliest first.
    assert_eq!(of(1, &one, 49).await, [4, 3, 1]);
    assert_eq!(of(1, &one, 50).await, [3, 1]);
    assert_eq!(of(1, &other, 60).await, [5, 1]);
    assert_eq!(of(2, &one, 0).await, [2]);
    assert!(of(3, &one, 0).await.is_empty());
}
