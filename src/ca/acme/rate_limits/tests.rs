//! What is charged, and what holds for one account.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use serde_json::json;

use super::*;
use crate::ca::acme::AcmeCaller;
use crate::ca::acme::AcmeSettings;
use crate::ca::acme::test_support::{BASE, Fixture, NOW_MS, TestKey, admit, register};
use crate::storage::AcmeAccountRecord;

fn limit(count: u32, seconds: u64) -> RateLimit {
    RateLimit { count, period: Duration::from_secs(seconds) }
}

fn dns(name: &str) -> Identifier {
    Identifier::Dns { name: name.to_owned(), wildcard: false }
}

#[test]
fn one_costs_the_period_over_the_count() {
    let charge = limit(300, 10_800).charge("orders_per_account", "orders:1".to_owned(), 5).unwrap();
    assert_eq!((charge.cost_ms, charge.period_ms, charge.now_ms), (36_000, 10_800_000, 5));
    assert_eq!(limit(u32::MAX, 1).charge("orders_per_account", String::new(), 0).unwrap().cost_ms, 1);
    assert!(limit(0, 60).charge("orders_per_account", String::new(), 0).is_none());
}

#[test]
fn an_address_counts_alone_and_with_ipv6_its_64() {
    assert_eq!(network("10.1.2.3").unwrap(), "10.1.2.3");
    assert_eq!(network("::ffff:10.1.2.3").unwrap(), "10.1.2.3");
    assert_eq!(network("2001:db8:1:2:3:4:5:6").unwrap(), "2001:db8:1:2::/64");
    assert_eq!(network("2001:db8:1:2::9"), network("2001:db8:1:2:ffff::1"));
    assert_ne!(network("2001:db8:1:2::9"), network("2001:db8:1:3::9"));
    assert_eq!(network("nobody"), None);
}

#[test]
fn a_set_of_names_is_the_same_in_any_order() {
    let wildcard = Identifier::Dns { name: "a.internal".to_owned(), wildcard: true };
    assert_eq!(
        digest_of(&[dns("a.internal"), dns("b.internal"), dns("a.internal")]),
        digest_of(&[dns("b.internal"), dns("a.internal")])
    );
    assert_ne!(digest_of(&[dns("a.internal")]), digest_of(&[wildcard]));
    assert_ne!(digest_of(&[dns("a.internal")]), digest_of(&[dns("a.internal"), dns("b.internal")]));
    let long: Vec<Identifier> = (0..100).map(|n| dns(&format!("{n}.{}", "a.".repeat(120)))).collect();
    assert_eq!(digest_of(&long).len(), 64);
}

#[test]
fn overrides_read_back_and_strangers_are_refused() {
    let limits = AccountRateLimits { orders_per_account: Some(limit(5, 3600)), ..AccountRateLimits::default() };
    let stored = limits.to_stored().unwrap().unwrap();
    assert_eq!(stored, r#"{"orders_per_account":{"count":5,"period":"1h"}}"#);
    assert_eq!(AccountRateLimits::from_stored(&stored).unwrap(), limits);
    assert_eq!(AccountRateLimits::default().to_stored().unwrap(), None);
    for stranger in ["[]", r#"{"accounts_per_address": {"count": 1, "period": "1h"}}"#, r#"{"orders_per_account": 5}"#]
    {
        assert!(AccountRateLimits::from_stored(stranger).is_err(), "{stranger}");
    }
    let endless = AccountRateLimits { failed_validations: Some(limit(5, 0)), ..AccountRateLimits::default() };
    assert!(endless.check().unwrap_err().detail().contains("`failed_validations`"));
    let none = AccountRateLimits { failed_validations: Some(limit(0, 0)), ..AccountRateLimits::default() };
    none.check().unwrap();
}

#[tokio::test]
async fn what_holds_for_one_account_takes_the_place_of_what_is_configured() {
    let fixture = Fixture::new().await;
    let account = register(&fixture.acme, &TestKey::new(), json!({})).await.unwrap().account;
    let first = |account: &Account| {
        let caller = AcmeCaller::for_tests(account.record.clone(), BASE);
        fixture.acme.order_charges(&caller, 1).remove(0)
    };
    assert_eq!(first(&account).key, format!("orders:{}@20000/1h", account.record.id));
    let rate_limits =
        r#"{"orders_per_account":{"count":2,"period":"1h"},"failed_validations":{"count":0,"period":"1h"}}"#;
    let record = AcmeAccountRecord { rate_limits: Some(rate_limits.to_owned()), ..account.record.clone() };
    let limited = Account::from_record(record).unwrap();
    let limited_charge = first(&limited);
    assert_eq!((limited_charge.cost_ms, limited_charge.key), (1_800_000, format!("orders:{}@2/1h", account.record.id)));
    assert_eq!(fixture.acme.failed_validation_charge(&limited, &dns("a.internal")), None);
    let names = [dns("a.internal")];
    assert_eq!(fixture.acme.certificate_charge(&limited, &names), fixture.acme.certificate_charge(&account, &names));
}

#[tokio::test]
async fn orders_are_counted_by_their_identifiers_for_the_account_and_for_the_address_of_one_that_nobody_answers_for() {
    let fixture = Fixture::new().await;
    let key = TestKey::new();
    let id = register(&fixture.acme, &key, json!({})).await.unwrap().account.record.id;
    let caller = admit(&fixture.acme, &key, id).await.unwrap();
    let costs = |identifiers: usize| {
        let charges = fixture.acme.order_charges(&caller, identifiers).into_iter();
        charges.map(|charge| (charge.limit, charge.cost_ms)).collect::<Vec<_>>()
    };
    assert_eq!(costs(1), [("orders_per_account", 180), ("orders_per_address", 72)]);
    assert_eq!(costs(10), costs(1));
    assert_eq!(costs(11), [("orders_per_account", 360), ("orders_per_address", 144)]);
    let of_address = fixture.acme.order_charges(&caller, 1).remove(1);
    assert_eq!(of_address.key, "orders-from:10.1.2.3@50000/1h");
    // What costs more than the whole limit takes all of it.
    assert_eq!(limit(2, 60).charge_many("x", String::new(), 0, 100).unwrap().cost_ms, 60_000);
}

#[tokio::test]
async fn a_refusal_says_when_to_come_back_and_where_to_read_about_it() {
    let settings = AcmeSettings { website: Some("https://ca.internal/limits".to_owned()), ..AcmeSettings::default() };
    let fixture = Fixture::with(settings).await;
    let refused = fixture.acme.rate_limited(&RateLimited { limit: "orders_per_account", retry_at_ms: NOW_MS + 1_001 });
    assert_eq!((refused.kind(), refused.acme_token()), (crate::ErrorKind::RateLimited, "rateLimited"));
    assert_eq!(refused.retry_after_seconds(), Some(2));
    assert_eq!(refused.acme_error().unwrap().link, Some(("help", "https://ca.internal/limits".to_owned())));
    let past = fixture.acme.rate_limited(&RateLimited { limit: "orders_per_account", retry_at_ms: NOW_MS - 5 });
    assert_eq!(past.retry_after_seconds(), Some(1));
}
