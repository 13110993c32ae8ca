//! `GET /api/v1/statistics`: counts over the inventory.

use serde_json::json;

use crate::support::service::{Database, Service};

#[test]
fn counts_follow_what_happens() {
    for database in Database::ALL {
        let service = Service::start(database);
        let client = service.administrator();
        let read = || client.get("/api/v1/statistics").expect(200).json();
        let count =
            |statistics: &serde_json::Value, group: &str, name: &str| statistics[group][name].as_i64().unwrap_or(0);
        let before = read();
        let serials: Vec<String> =
            (0..4).map(|_| service.issue(&["counted.internal"])["serial"].as_str().unwrap().to_owned()).collect();
        for (serial, reason) in serials.iter().zip(["superseded", "certificate_hold"]) {
            let path = format!("/api/v1/certificates/{serial}/revoke");
            client.post(&path).json(&json!({"reason": reason})).expect(200);
        }
        let after = read();
        for (group, name, difference) in [
            ("by_status", "valid", 2),
            ("by_status", "revoked", 1),
            ("by_status", "on_hold", 1),
            ("by_status", "expired", 0),
            ("by_profile", "server", 4),
            ("by_issuer", "issuing", 4),
        ] {
            let found = count(&after, group, name) - count(&before, group, name);
            assert_eq!(found, difference, "{database:?}: {group}.{name}: {after}");
        }
        let today: i64 =
            after["issued_by_day"].as_array().unwrap().iter().map(|day| day["certificates"].as_i64().unwrap()).sum();
        assert!(today >= 4, "{after}");
        assert!(!after["expiring_by_week"].as_array().unwrap().is_empty(), "{after}");
    }
}
