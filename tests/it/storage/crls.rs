//! What stands in CRLs and what was published of them.

use std::sync::Arc;

use chancery::ErrorKind;
use chancery::storage::{AuditFilter, CrlRecord, NewCertificate, RevocationRecord, StateChange, Storage};
use chancery::x509::SerialNumber;
use chancery::x509::crl::RevocationReason;

use super::fixture::{Fixture, at, certificate, event, issue, revocation};
use super::on_both_databases;
use super::revocation::{release, revoke, with_root};

on_both_databases!(
    revoked_certificates_are_paged_by_shard_and_row_and_drop_out_when_they_end,
    changes_are_listed_by_number_with_releases,
    serial_numbers_without_certificates_are_listed,
    counters_tell_the_last_change_of_each_shard,
    the_greatest_shard_only_rises,
    crl_numbers_only_rise,
    a_crl_is_replaced_by_a_greater_number_only,
    a_large_crl_is_read_as_it_was_written,
    whoever_reads_while_others_publish_gets_a_whole_crl,
);

async fn change(storage: &dyn Storage, change: StateChange) {
    let changed = storage.change_state(change, event("certificate.revoke", "x")).await.unwrap();
    assert!(matches!(changed, chancery::storage::StateChanged::Changed(_)), "{changed:?}");
}

async fn issue_in(storage: &dyn Storage, shard: i32, ends: i64) -> SerialNumber {
    let new = NewCertificate { crl_shard: shard, not_after: at(ends), ..certificate(&[]) };
    issue(storage, new).await
}

/// Reads every page, with few rows on each.
async fn revoked(storage: &dyn Storage, shard: Option<i32>, ends: i64) -> Vec<SerialNumber> {
    let (mut seen, mut after) = (Vec::new(), (0, 0));
    loop {
        let page = storage.revoked_certificates(1, shard, at(ends), after, 7).await.unwrap();
        let Some(last) = page.last() else { return seen };
        assert!(page.len() <= 7 && page.iter().all(|entry| (entry.shard, entry.id) > after));
        assert!(page.iter().all(|entry| entry.revocation.reason == RevocationReason::Superseded));
        assert!(page.iter().all(|entry| entry.revocation.invalidity_date.is_none()));
        after = (last.shard, last.id);
        seen.extend(page.into_iter().map(|entry| entry.serial));
    }
}

async fn revoked_certificates_are_paged_by_shard_and_row_and_drop_out_when_they_end(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let mut by_shard = [Vec::new(), Vec::new(), Vec::new()];
    for number in 0..40 {
        let shard = number % 3;
        let mut new = NewCertificate {
            crl_shard: i32::try_from(shard).unwrap(),
            not_after: at(1000 + number),
            ..certificate(&[])
        };
        if number == 3 {
            new.issuer_id = 2;
        }
        let issuer_id = new.issuer_id;
        let serial = issue(&*storage, new).await;
        if number % 5 == 4 {
            continue;
        }
        let record = RevocationRecord { invalidity_date: None, ..revocation(RevocationReason::Superseded) };
        let revoke =
            StateChange { issuer_id, revocation: Some(record), ..revoke(&serial, RevocationReason::Superseded) };
        if issuer_id == 1 {
            change(&*storage, revoke).await;
            by_shard[usize::try_from(shard).unwrap()].push((number, serial));
        }
    }
    // The first ends at the moment asked for: it is still valid in that second, so it is among them.
    for since in [1000, 1010] {
        let expected = |shard: usize| {
            let of_shard = by_shard[shard].iter().filter(|(number, _)| 1000 + number >= since);
            of_shard.map(|(_, serial)| serial.clone()).collect::<Vec<_>>()
        };
        for shard in 0..3 {
            let of_shard = revoked(&*storage, Some(i32::try_from(shard).unwrap()), since).await;
            assert_eq!(of_shard, expected(shard), "{shard}");
        }
        assert_eq!(revoked(&*storage, None, since).await, (0..3).flat_map(expected).collect::<Vec<_>>());
    }
    assert_eq!(revoked(&*storage, Some(3), 0).await, []);
}

async fn changes_are_listed_by_number_with_releases(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let mut serials = Vec::new();
    for shard in [0, 1, 1, 2] {
        let serial = issue_in(&*storage, shard, 5000).await;
        change(&*storage, revoke(&serial, RevocationReason::CertificateHold)).await;
        serials.push(serial);
    }
    change(&*storage, release(&serials[1])).await;
    change(&*storage, revoke(&serials[0], RevocationReason::KeyCompromise)).await;
    let listed = async |shard, after, limit| {
        let page = storage.changed_certificates(1, shard, after, limit).await.unwrap();
        assert!(page.iter().all(|row| row.not_after == at(5000)));
        let row = |row: chancery::storage::ChangedCertificate| {
            let place = serials.iter().position(|serial| *serial == row.serial).unwrap();
            (row.change_number, place, row.revocation.map(|revocation| revocation.reason))
        };
        page.into_iter().map(row).collect::<Vec<_>>()
    };
    use RevocationReason::{CertificateHold, KeyCompromise};
    let all = [(3, 2, Some(CertificateHold)), (4, 3, Some(CertificateHold)), (5, 1, None), (6, 0, Some(KeyCompromise))];
    assert_eq!(listed(None, 0, 100).await, all);
    assert_eq!(listed(None, 0, 2).await, all[..2]);
    assert_eq!(listed(None, 4, 100).await, all[2..]);
    assert_eq!(listed(Some(1), 0, 100).await, [all[0], all[2]]);
    assert_eq!(listed(Some(1), 3, 100).await, [all[2]]);
    assert_eq!(listed(Some(7), 0, 100).await, []);
}

async fn serial_numbers_without_certificates_are_listed(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let binary = |octets: &str| if fixture.is_sqlite() { format!("x'{octets}'") } else { format!("'\\x{octets}'") };
    let rows: Vec<String> = [("05", "NULL", 1), ("0102", "NULL", 2), ("ff", &at(100).unix().to_string(), 3)]
        .into_iter()
        .map(|(serial, ends, number)| format!("(1, {}, {}, 4, NULL, {ends}, {number})", binary(serial), at(10).unix()))
        .collect();
    fixture
        .execute(&format!(
            "INSERT INTO revoked_serials (issuer_id, serial, revoked_at, revocation_reason, invalidity_date, not_after, \
             change_number) VALUES {};",
            rows.join(", ")
        ))
        .await;
    let listed = async |changed_after, ends, after: Option<&str>, limit| {
        let after = after.map(|serial| serial.parse::<SerialNumber>().unwrap());
        let page = storage.revoked_serials(1, changed_after, at(ends), after.as_ref(), limit).await.unwrap();
        assert!(page.iter().all(|row| row.revocation.reason == RevocationReason::Superseded));
        assert!(page.iter().all(|row| row.revocation.revoked_at == at(10)));
        page.into_iter().map(|row| row.serial.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(listed(0, 100, None, 100).await, ["0102", "05", "ff"]);
    assert_eq!(listed(0, 101, None, 100).await, ["0102", "05"]);
    assert_eq!(listed(1, 0, None, 100).await, ["0102", "ff"]);
    assert_eq!(listed(0, 0, None, 1).await, ["0102"]);
    assert_eq!(listed(0, 0, Some("05"), 100).await, ["ff"]);
    assert_eq!(storage.revoked_serials(2, 0, at(0), None, 100).await.unwrap(), []);
}

async fn counters_tell_the_last_change_of_each_shard(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let counters = storage.crl_counters(1).await.unwrap();
    assert_eq!((counters.revocations, counters.crl_number, counters.maximum_shard), (0, 0, 0));
    assert!(counters.last_changes.is_empty());
    for shard in [2, 0, 2, 5] {
        let serial = issue_in(&*storage, shard, 5000).await;
        change(&*storage, revoke(&serial, RevocationReason::Superseded)).await;
    }
    storage.take_crl_numbers(1, 3).await.unwrap();
    let counters = storage.crl_counters(1).await.unwrap();
    assert_eq!((counters.revocations, counters.crl_number), (4, 3));
    assert_eq!(counters.last_changes.into_iter().collect::<Vec<_>>(), [(0, 2), (2, 3), (5, 4)]);
    assert_eq!(storage.crl_counters(99).await.unwrap_err().kind(), ErrorKind::NotFound);
}

async fn the_greatest_shard_only_rises(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let generation = storage.generation().await.unwrap();
    storage.raise_maximum_shard(1, 16).await.unwrap();
    assert_eq!(storage.crl_counters(1).await.unwrap().maximum_shard, 16);
    let raised = storage.generation().await.unwrap();
    assert!(raised > generation, "other replicas have to load the issuer anew");
    storage.raise_maximum_shard(1, 8).await.unwrap();
    assert_eq!(storage.crl_counters(1).await.unwrap().maximum_shard, 16);
    assert_eq!(storage.issuers().await.unwrap()[0].maximum_shard, 16);
    assert_eq!(storage.generation().await.unwrap(), raised);
}

async fn crl_numbers_only_rise(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move { storage.take_crl_numbers(1, 3).await.unwrap() })
        })
        .collect();
    let mut numbers = Vec::new();
    for call in calls {
        numbers.push(call.await.unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).map(|call| call * 3).collect::<Vec<i64>>());
    assert_eq!(storage.take_crl_numbers(99, 1).await.unwrap_err().kind(), ErrorKind::NotFound);
}

fn crl(shard: i32, number: i64, base_number: Option<i64>, size: usize) -> Arc<CrlRecord> {
    Arc::new(CrlRecord {
        issuer_id: 1,
        shard,
        base_number,
        number,
        this_update: at(number),
        next_update: at(number + 100),
        revocations: number,
        // Every octet tells the number, so that parts that do not belong together show.
        der: vec![u8::try_from(number).unwrap(); size],
    })
}

async fn a_crl_is_replaced_by_a_greater_number_only(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    assert_eq!(storage.current_crl(1, 0, false).await.unwrap(), None);
    let publish = async |crls| storage.publish_crls(crls, event("crl.publish", "issuer:root")).await.unwrap();
    for (number, published) in [(2, true), (1, false), (2, false), (3, true)] {
        assert_eq!(publish(vec![crl(0, number, None, 4)]).await, [published]);
    }
    // Each shard and each delta has numbers of its own; a base and the delta that is issued with it share one.
    let together = vec![crl(0, 2, None, 4), crl(0, 3, Some(3), 5), crl(7, 1, None, 6), crl(7, 1, Some(1), 7)];
    assert_eq!(publish(together).await, [false, true, true, true]);
    assert_eq!(storage.current_crl(1, 0, false).await.unwrap().as_ref(), Some(&*crl(0, 3, None, 4)));
    assert_eq!(storage.current_crl(1, 0, true).await.unwrap().as_ref(), Some(&*crl(0, 3, Some(3), 5)));
    assert_eq!(storage.current_crl(1, 7, true).await.unwrap().as_ref(), Some(&*crl(7, 1, Some(1), 7)));
    assert_eq!(storage.current_crl(1, 8, false).await.unwrap(), None);
    let expected = [crl(0, 3, None, 4), crl(0, 3, Some(3), 5), crl(7, 1, None, 6), crl(7, 1, Some(1), 7)];
    assert_eq!(storage.published_crls(1).await.unwrap(), expected.map(|crl| crl.summary()));
    assert_eq!(storage.published_crls(2).await.unwrap(), []);
    let filter = AuditFilter { action: Some("crl.publish".to_owned()), ..AuditFilter::default() };
    assert_eq!(
        storage.audit_events(&filter, None, 10).await.unwrap().items.len(),
        3,
        "one for each call that published"
    );
}

async fn a_large_crl_is_read_as_it_was_written(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    // Of several parts, of one exactly, and shorter again: nothing of an earlier one is left.
    for (number, size) in [(1, 3 * (1 << 20) + 17), (2, 1 << 20), (3, 0), (4, 5)] {
        let crl = crl(0, number, None, size);
        let published =
            storage.publish_crls(vec![Arc::clone(&crl)], event("crl.publish", "issuer:root")).await.unwrap();
        assert_eq!(published, [true]);
        assert!(storage.current_crl(1, 0, false).await.unwrap().as_ref() == Some(&*crl), "{size}");
    }
}

async fn whoever_reads_while_others_publish_gets_a_whole_crl(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let publish = async |storage: Arc<dyn Storage>, number| {
        let crls = vec![crl(0, number, None, 2_500_000)];
        assert_eq!(storage.publish_crls(crls, event("crl.publish", "issuer:root")).await.unwrap(), [true]);
    };
    publish(Arc::clone(&storage), 1).await;
    let writer = Arc::clone(&storage);
    let publishing = tokio::spawn(async move {
        for number in 2..12 {
            publish(Arc::clone(&writer), number).await;
        }
    });
    let mut last = 0;
    while !publishing.is_finished() {
        let read = storage.current_crl(1, 0, false).await.unwrap().unwrap();
        assert!(read == *crl(0, read.number, None, 2_500_000), "{} is not whole", read.number);
        assert!(read.number >= last);
        last = read.number;
    }
    publishing.await.unwrap();
    assert_eq!(storage.current_crl(1, 0, false).await.unwrap().unwrap().number, 11);
}
