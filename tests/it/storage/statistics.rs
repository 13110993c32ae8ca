//! Counts over the inventory: what they say, and that it is the same whatever a job has counted beforehand.

use std::collections::BTreeMap;

use chancery::storage::{
    CertificateState, ImportedCertificate, KeyRevocation, NewCertificate, RevocationRecord, StateChange, StateChanged,
    Statistics, Storage,
};
use chancery::x509::SerialNumber;
use chancery::x509::crl::RevocationReason;

use super::fixture::{Fixture, NOW, at, certificate, event, issue, issuer};
use super::inventory::{many, one_of_each_status};
use super::on_both_databases;

on_both_databases!(
    statistics_count_by_status_profile_issuer_week_and_day,
    statistics_are_the_same_when_a_job_has_counted,
    every_change_of_state_counts_once_whenever_it_is_counted,
    what_ends_in_the_course_of_the_day_has_expired_to_the_second,
    a_day_is_counted_anew_in_batches_while_more_comes_late,
    every_day_is_counted_anew_when_it_is_over_also_before_days_without_any,
    more_than_can_be_counted_at_once_is_said_to_be_counted_up_to_a_moment,
);

/// Has everything counted that can be.
async fn count_all(storage: &dyn Storage, seconds: i64) {
    while storage.count_certificates(at(seconds)).await.unwrap() {}
}

/// Compares the sums that are kept with what the certificates say, and tells how many are counted.
pub(super) async fn sums_are_right(fixture: &Fixture, certificates: i64) {
    let of_all = "FROM certificates WHERE id <= (SELECT counted FROM certificate_counting)";
    let of_state = "FROM certificates WHERE state <> 0";
    let expected = [
        format!("SELECT (id >> 29) / 86400 AS day, 0 AS kind, issuer_id AS number, '' AS name, 1 AS count {of_all}"),
        format!("SELECT (id >> 29) / 86400, 1, 0, profile, 1 {of_all}"),
        format!("SELECT (id >> 29) / 86400, 2, (id >> 29) / 86400, '', 1 {of_all}"),
        format!("SELECT (id >> 29) / 86400, 3, not_after / 86400, '', 1 {of_all}"),
        format!("SELECT (id >> 29) / 86400, 4, not_after / 3600, '', 1 {of_all}"),
    ]
    .join(" UNION ALL ");
    let of_states = format!(
        "SELECT 3 + 2 * state AS kind, not_after / 86400 AS number, '' AS name, 1 AS count {of_state} \
         UNION ALL SELECT 4 + 2 * state, not_after / 3600, '', 1 {of_state}"
    );
    let by_day = "SELECT issued_day AS day, kind, number, name, -certificates AS count FROM certificate_counts";
    let totals = "SELECT kind, number, name, -certificates FROM certificate_totals";
    let differences = [
        format!(
            "SELECT COUNT(*) FROM (SELECT 1 AS one FROM ({expected} UNION ALL {by_day}) AS both_of_them \
             GROUP BY day, kind, number, name HAVING SUM(count) <> 0) AS different"
        ),
        format!(
            "SELECT COUNT(*) FROM (SELECT 1 AS one FROM (SELECT kind, number, name, count FROM ({expected}) AS all_of_them \
             UNION ALL {of_states} UNION ALL {totals}) AS both_of_them GROUP BY kind, number, name HAVING SUM(count) <> 0) AS different"
        ),
        "SELECT COUNT(*) FROM certificates LEFT JOIN counted_states ON counted_states.certificate_id = certificates.id \
         WHERE certificates.state <> COALESCE(counted_states.state, 0)"
            .to_owned(),
        "SELECT (SELECT COUNT(*) FROM fresh_counts) + (SELECT COUNT(*) FROM fresh_states) + (SELECT COUNT(*) FROM certificate_recounts)"
            .to_owned(),
        format!("SELECT (SELECT SUM(certificates) FROM certificate_totals WHERE kind = 0) - {certificates}"),
    ];
    for difference in differences {
        // A check that does not hold is an error on either database.
        let check = format!(
            "CREATE TEMPORARY TABLE differences (number INTEGER CHECK (number = 0)); INSERT INTO differences {difference};"
        );
        fixture.execute(&check).await;
    }
}

/// Adds up what is the same in any order.
fn count(statistics: &Statistics, status: &str) -> i64 {
    statistics.by_status.get(status).copied().unwrap_or_default()
}

async fn statistics_count_by_status_profile_issuer_week_and_day(fixture: Fixture) {
    let storage = fixture.open().await;
    one_of_each_status(&*storage).await;
    let mut old = certificate(&[]);
    old.issued_at = at(-29 * 86_400);
    old.not_after = at(4 * 86_400);
    old.issuer_id = 2;
    issue(&*storage, old).await;
    let mut older = certificate(&[]);
    older.issued_at = at(-30 * 86_400);
    older.not_after = at(400 * 86_400);
    issue(&*storage, older).await;

    let statistics = storage.statistics(at(0)).await.unwrap();
    let counts = |pairs: &[(&str, i64)]| {
        pairs.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(statistics.by_status, counts(&[("valid", 5), ("on_hold", 1), ("revoked", 2), ("expired", 2)]));
    assert_eq!(statistics.by_profile["server"], 2);
    assert_eq!(statistics.by_profile["held"], 1);
    assert_eq!(statistics.by_issuer, BTreeMap::from([(1, 9), (2, 1)]));
    // 2026-01-01 is a Thursday: its week began on 2025-12-29.
    let monday = NOW - 3 * 86_400;
    let week = 7 * 86_400;
    let ends = BTreeMap::from([(monday, 2), (monday + week, 1), (monday + 13 * week, 1)]);
    assert_eq!(statistics.expiring_by_week, ends);
    assert_eq!(statistics.issued_by_day, BTreeMap::from([(NOW - 29 * 86_400, 1), (NOW, 8)]));
}

async fn statistics_are_the_same_when_a_job_has_counted(fixture: Fixture) {
    let storage = fixture.open().await;
    one_of_each_status(&*storage).await;
    let mut old = certificate(&[]);
    old.issued_at = at(-29 * 86_400);
    issue(&*storage, old).await;
    let before = storage.statistics(at(0)).await.unwrap();
    count_all(&*storage, 100).await;
    assert_eq!(storage.statistics(at(0)).await.unwrap(), before);
    sums_are_right(&fixture, 9).await;
    // What comes late is missed, what comes now is counted on demand; the late one when its day is counted anew.
    issue(&*storage, certificate(&[])).await;
    let mut late = certificate(&[]);
    late.issued_at = at(-86_400);
    issue(&*storage, late).await;
    assert_eq!(storage.statistics(at(0)).await.unwrap().by_issuer[&1], before.by_issuer[&1] + 1);
    let mut imported = certificate(&[]);
    imported.issued_at = at(-86_400);
    let import = ImportedCertificate {
        certificate: imported,
        revocation: None,
        internal: false,
        audit: event("certificate.import", "x"),
    };
    storage.import_certificates(vec![import]).await.unwrap();
    count_all(&*storage, 200).await;
    sums_are_right(&fixture, 12).await;
    assert_eq!(storage.statistics(at(0)).await.unwrap().by_issuer[&1], before.by_issuer[&1] + 3);
}

fn change(serial: &SerialNumber, from: &'static [CertificateState], reason: Option<RevocationReason>) -> StateChange {
    StateChange {
        issuer_id: 1,
        serial: serial.clone(),
        from,
        revocation: reason.map(|reason| RevocationRecord { reason, revoked_at: at(100), invalidity_date: None }),
        owner: None,
        block_key: false,
    }
}

async fn change_state(storage: &dyn Storage, change: StateChange) {
    let changed = storage.change_state(change, event("certificate.revoke", "x")).await.unwrap();
    assert!(matches!(changed, StateChanged::Changed(_)));
}

async fn every_change_of_state_counts_once_whenever_it_is_counted(fixture: Fixture) {
    use CertificateState::{OnHold, Revoked, Valid};
    let storage = fixture.open().await;
    assert!(storage.create_issuers(vec![issuer("root", None, true)], None).await.unwrap());
    let mut serials = Vec::new();
    for number in 0..8 {
        let mut new = certificate(&[]);
        new.not_after = at(if number % 2 == 0 { 40 * 86_400 } else { -5 });
        serials.push(issue(&*storage, new).await);
    }
    let hold = Some(RevocationReason::CertificateHold);
    let superseded = Some(RevocationReason::Superseded);
    let compromised = Some(RevocationReason::KeyCompromise);
    // Of each two the first is in force. What is changed in each step, and how many are then on hold and revoked.
    let steps: [(&[usize], &'static [CertificateState], _, _, _); 7] = [
        (&[0, 1, 2, 3], &[Valid], hold, 2, 0),
        (&[0, 1], &[OnHold], None, 1, 0),
        (&[2, 3, 4], &[OnHold, Valid], superseded, 0, 3),
        (&[0], &[Valid], hold, 1, 3),
        // A compromise that comes to light later changes no state.
        (&[2, 3], &[Revoked], compromised, 1, 3),
        (&[0], &[OnHold], None, 0, 3),
        (&[0, 5], &[Valid], superseded, 0, 5),
    ];
    // Counted after each step, after every second, after every third, and only at the end.
    for every in [1, 2, 3, 7] {
        for (step, (changed, from, reason, on_hold, revoked)) in steps.iter().enumerate() {
            for number in *changed {
                change_state(&*storage, change(&serials[*number], from, *reason)).await;
            }
            for counted in [false, true] {
                let statistics = storage.statistics(at(0)).await.unwrap();
                let of = |status| count(&statistics, status);
                assert_eq!((of("on_hold"), of("revoked")), (*on_hold, *revoked), "step {step}, counted: {counted}");
                assert_eq!(of("valid") + of("on_hold") + of("revoked") + of("expired"), 9);
                if (step + 1) % every != 0 {
                    break;
                }
                count_all(&*storage, 1000).await;
                sums_are_right(&fixture, 9).await;
            }
        }
        // As it was at the beginning, by means that no caller has.
        fixture
            .execute(
                "UPDATE certificates SET state = 0, revoked_at = NULL, revocation_reason = NULL, change_number = \
                 (SELECT revocations FROM issuers) + 1 WHERE state <> 0; UPDATE issuers SET revocations = revocations + 1",
            )
            .await;
        count_all(&*storage, 1000).await;
        sums_are_right(&fixture, 9).await;
    }
    // A key with more certificates than one, which one transaction revokes.
    let mut of_key = Vec::new();
    for _ in 0..3 {
        of_key.push(issue(&*storage, NewCertificate { spki_sha256: [5; 32], ..certificate(&[]) }).await);
    }
    change_state(&*storage, change(&of_key[0], &[Valid], hold)).await;
    count_all(&*storage, 1000).await;
    let revocation = KeyRevocation {
        spki_sha256: [5; 32],
        owner: None,
        internal: false,
        now: at(10),
        certificate_event: event("certificate.revoke", "x"),
    };
    storage.revoke_key(revocation, event("key.revoke", "x")).await.unwrap();
    assert_eq!(count(&storage.statistics(at(0)).await.unwrap(), "revoked"), 3);
    count_all(&*storage, 1000).await;
    assert_eq!(count(&storage.statistics(at(0)).await.unwrap(), "revoked"), 3);
    sums_are_right(&fixture, 12).await;
}

async fn what_ends_in_the_course_of_the_day_has_expired_to_the_second(fixture: Fixture) {
    let storage = fixture.open().await;
    assert!(storage.create_issuers(vec![issuer("root", None, true)], None).await.unwrap());
    // Ends around the borders of hours and days, in each state.
    let ends: Vec<i64> = [-86_400, 0, 3600, 7 * 3600, 86_400, 8 * 86_400, 60 * 86_400, 500 * 86_400]
        .iter()
        .flat_map(|border| [-1, 0, 1, 1800].map(|second| border + second))
        .collect();
    let states = [None, Some(RevocationReason::CertificateHold), Some(RevocationReason::Superseded)];
    let count_half = ends.len() / 2;
    for (place, end) in ends.iter().enumerate() {
        for reason in states {
            let mut new = certificate(&[]);
            new.issued_at = at(-100 * 86_400);
            new.not_after = at(*end);
            let serial = issue(&*storage, new).await;
            if reason.is_some() {
                change_state(&*storage, change(&serial, &[CertificateState::Valid], reason)).await;
            }
        }
        if place == count_half {
            count_all(&*storage, 0).await;
        }
    }
    for counted in [false, true] {
        for now in
            [-86_400, -1, 0, 1, 2, 1800, 1801, 3599, 3600, 3601, 7 * 3600 + 1, 86_399, 86_400, 9 * 86_400, 600 * 86_400]
        {
            let statistics = storage.statistics(at(now)).await.unwrap();
            let ended = ends.iter().filter(|end| **end < now).count() as i64;
            let in_force = ends.len() as i64 - ended;
            // The issuer's own is valid for 90 days.
            let own = i64::from(now <= 90 * 86_400);
            let statuses = ["valid", "on_hold", "revoked", "expired"].map(|status| count(&statistics, status));
            let expected = [in_force + own, in_force, ends.len() as i64, 2 * ended + 1 - own];
            assert_eq!(statuses, expected, "{now} s, counted: {counted}");
            let mut weeks: BTreeMap<i64, i64> = BTreeMap::new();
            let week = |second: i64| (NOW + second + 3 * 86_400).div_euclid(7 * 86_400);
            for end in ends.iter().chain([&(90 * 86_400)]).filter(|end| **end >= now && week(**end) < week(now) + 53) {
                *weeks.entry(week(*end) * 7 * 86_400 - 3 * 86_400).or_default() += 1;
            }
            assert_eq!(statistics.expiring_by_week, weeks, "{now} s, counted: {counted}");
        }
        count_all(&*storage, 1000).await;
        sums_are_right(&fixture, ends.len() as i64 * 3 + 1).await;
    }
}

async fn import_one(storage: &dyn Storage, seconds: i64) {
    let certificate = NewCertificate { issued_at: at(seconds), ..certificate(&[]) };
    let audit = event("certificate.import", "x");
    let import = ImportedCertificate { certificate, revocation: None, internal: false, audit };
    storage.import_certificates(vec![import]).await.unwrap();
}

async fn a_day_is_counted_anew_in_batches_while_more_comes_late(fixture: Fixture) {
    let storage = fixture.open().await;
    // All on the day before.
    many(&fixture, 9000).await;
    count_all(&*storage, 100).await;
    sums_are_right(&fixture, 9000).await;
    let mut late = certificate(&[]);
    late.issued_at = at(-8000);
    issue(&*storage, late).await;
    import_one(&*storage, -7000).await;
    // A batch of the day that the import asks for, then one more before what is counted anew, and one behind it.
    assert!(storage.count_certificates(at(100)).await.unwrap());
    assert_eq!(storage.statistics(at(0)).await.unwrap().by_profile["many"], 9000, "it counts as it did until then");
    import_one(&*storage, -8500).await;
    assert!(storage.count_certificates(at(100)).await.unwrap());
    import_one(&*storage, -10).await;
    count_all(&*storage, 100).await;
    sums_are_right(&fixture, 9004).await;
    assert_eq!(storage.statistics(at(0)).await.unwrap().by_issuer[&1], 9004);
}

async fn every_day_is_counted_anew_when_it_is_over_also_before_days_without_any(fixture: Fixture) {
    let storage = fixture.open().await;
    let day = 86_400;
    let on = |seconds: i64| NewCertificate { issued_at: at(seconds), ..certificate(&[]) };
    issue(&*storage, on(0)).await;
    issue(&*storage, on(200)).await;
    count_all(&*storage, 1000).await;
    issue(&*storage, on(100)).await;
    assert_eq!(storage.statistics(at(1000)).await.unwrap().by_issuer[&1], 2, "it came later than is waited for");
    // The day behind has none: nobody asks on it.
    issue(&*storage, on(3 * day)).await;
    count_all(&*storage, 3 * day + 1000).await;
    sums_are_right(&fixture, 4).await;
    issue(&*storage, on(3 * day + 10)).await;
    issue(&*storage, on(4 * day)).await;
    issue(&*storage, on(5 * day)).await;
    count_all(&*storage, 5 * day + 1000).await;
    sums_are_right(&fixture, 7).await;
}

async fn more_than_can_be_counted_at_once_is_said_to_be_counted_up_to_a_moment(fixture: Fixture) {
    let storage = fixture.open().await;
    assert!(storage.create_issuers(vec![issuer("root", None, true)], None).await.unwrap());
    let none = storage.statistics(at(0)).await.unwrap();
    assert_eq!(none.counted_until, None);
    // One a second, the oldest first.
    many(&fixture, 25_000).await;
    let statistics = storage.statistics(at(0)).await.unwrap();
    assert_eq!(statistics.by_profile["many"], 10_000);
    assert_eq!(statistics.counted_until, Some(NOW - 15_001));
    count_all(&*storage, 1000).await;
    let statistics = storage.statistics(at(0)).await.unwrap();
    assert_eq!((statistics.by_profile["many"], statistics.counted_until), (25_000, None));
    // One revoked each second, whose number is its place.
    fixture
        .execute(&format!(
            "UPDATE certificates SET state = 2, revoked_at = issued_at, revocation_reason = 4, change_number = issued_at - {NOW} + 25001 \
             WHERE profile = 'many' AND issued_at <= {NOW} - 15000; UPDATE issuers SET revocations = 20000"
        ))
        .await;
    let statistics = storage.statistics(at(0)).await.unwrap();
    assert_eq!(count(&statistics, "revoked"), 1000);
    assert_eq!(statistics.counted_until, Some(NOW - 24_001));
    count_all(&*storage, 1000).await;
    let statistics = storage.statistics(at(0)).await.unwrap();
    assert_eq!((count(&statistics, "revoked"), statistics.counted_until), (10_001, None));
    sums_are_right(&fixture, 25_001).await;
}
