//! Listing and searching certificates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chancery::storage::{
    CertificateFilter, CertificateState, CertificateStatus, NameFilter, PageRequest, SortKey, StateChange, Storage,
};
use chancery::x509::crl::RevocationReason;
use chancery::x509::{NameType, SerialNumber, SubjectAltName};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::fixture::{Fixture, NOW, at, certificate, dns, event, issue, issuer, list, revocation};
use super::on_both_databases;

on_both_databases!(
    pages_visit_every_row_once_while_rows_are_inserted,
    a_name_is_found_exactly_and_by_suffix_without_lookalikes,
    names_of_every_type_are_found,
    each_filter_keeps_what_it_names,
    a_part_of_the_subject_is_taken_literally_and_without_case,
    the_owner_narrows_every_filter,
    status_counts_what_has_expired,
    a_walk_finds_the_few_among_many_behind_short_pages,
);

async fn pages_visit_every_row_once_while_rows_are_inserted(fixture: Fixture) {
    let storage = fixture.open().await;
    // Few distinct times, so that rows with equal sort values straddle pages.
    let times = proptest::collection::vec((0i64..6, 0i64..6), 60..90);
    let mut runner = TestRunner::deterministic();
    let mut present = Vec::new();
    for (issued, ends) in times.new_tree(&mut runner).unwrap().current() {
        let mut new = certificate(&[]);
        new.issued_at = at(issued);
        new.not_after = at(1000 + ends);
        present.push(issue(&*storage, new).await);
    }
    let done = Arc::new(AtomicBool::new(false));
    let inserter = tokio::spawn(insert_until(Arc::clone(&storage), Arc::clone(&done)));
    let cases = (1u16..40, proptest::bool::ANY, proptest::bool::ANY);
    for _ in 0..25 {
        let (limit, by_issue, descending) = cases.new_tree(&mut runner).unwrap().current();
        let sort = if by_issue { SortKey::IssuedAt } else { SortKey::NotAfter };
        let seen = walk(&*storage, PageRequest { limit, sort, descending, after: None }).await;
        for serial in &present {
            let times = seen.iter().filter(|one| *one == serial).count();
            assert_eq!(times, 1, "{serial} in pages of {limit} by {sort:?}, descending: {descending}");
        }
        let mut distinct = seen.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), seen.len(), "no row is seen twice");
    }
    done.store(true, Ordering::Relaxed);
    assert!(inserter.await.unwrap() > 0, "rows were inserted meanwhile");
}

async fn insert_until(storage: Arc<dyn Storage>, done: Arc<AtomicBool>) -> usize {
    let mut inserted = 0;
    // At most so many that a walk comes to its end.
    while !done.load(Ordering::Relaxed) && inserted < 400 {
        let mut new = certificate(&[]);
        new.issued_at = at(i64::try_from(inserted % 6).unwrap());
        new.not_after = at(1000 + i64::try_from(inserted % 5).unwrap());
        issue(&*storage, new).await;
        inserted += 1;
    }
    inserted
}

/// Reads page after page and checks the order.
async fn walk(storage: &dyn Storage, mut page: PageRequest) -> Vec<SerialNumber> {
    let mut seen = Vec::new();
    let mut last: Option<(i64, i64)> = None;
    loop {
        let records = storage.certificates(&CertificateFilter::default(), page).await.unwrap().items;
        assert!(records.len() <= usize::from(page.limit));
        for record in &records {
            let value = match page.sort {
                SortKey::IssuedAt => record.issued_at.unix(),
                SortKey::NotAfter => record.not_after.unix(),
            };
            let place = (value, record.id);
            assert!(last.is_none_or(|last| if page.descending { place < last } else { place > last }));
            last = Some(place);
            seen.push(record.serial.clone());
        }
        if records.len() < usize::from(page.limit) {
            return seen;
        }
        page.after = last;
    }
}

async fn a_name_is_found_exactly_and_by_suffix_without_lookalikes(fixture: Fixture) {
    let storage = fixture.open().await;
    let names = [
        "example.com",
        "www.example.com",
        "*.example.com",
        "a.b.example.com",
        "wwwexample.com",
        "example.com.evil.org",
        "com.example.www",
        "example.comx.org",
        "xn--bcher-kva.example.com",
        "a_b.example.com",
    ];
    for name in names {
        issue(&*storage, certificate(&[name])).await;
    }
    let found = |name: NameFilter| {
        let storage = Arc::clone(&storage);
        async move {
            let records = list(&*storage, CertificateFilter { name: Some(name), ..CertificateFilter::default() }).await;
            records.into_iter().map(|record| record.subject.trim_start_matches("CN=").to_owned()).collect::<Vec<_>>()
        }
    };
    let below = ["www.example.com", "*.example.com", "a.b.example.com", "xn--bcher-kva.example.com", "a_b.example.com"];
    assert_eq!(found(NameFilter::DnsSuffix("example.com".to_owned())).await, below);
    assert_eq!(found(NameFilter::DnsSuffix("b.example.com".to_owned())).await, ["a.b.example.com"]);
    assert_eq!(found(NameFilter::DnsSuffix("www.example.com".to_owned())).await, Vec::<String>::new());
    assert_eq!(found(NameFilter::DnsSuffix("%".to_owned())).await, Vec::<String>::new());
    for name in names {
        assert_eq!(found(NameFilter::Exact(name.to_owned())).await, [name]);
    }
    assert_eq!(found(NameFilter::Exact("b.example.com".to_owned())).await, Vec::<String>::new());
}

async fn names_of_every_type_are_found(fixture: Fixture) {
    let storage = fixture.open().await;
    let long = format!("https://example.com/{}", "x".repeat(2000));
    let names = [
        SubjectAltName::parse(NameType::Ip, "192.0.2.1").unwrap(),
        SubjectAltName::parse(NameType::Ip, "2001:db8::1").unwrap(),
        SubjectAltName::parse(NameType::Uri, "spiffe://example.org/service").unwrap(),
        SubjectAltName::parse(NameType::Uri, &long).unwrap(),
        SubjectAltName::parse(NameType::Email, "Alice@example.com").unwrap(),
        dns("1.2.0.192.example"),
    ];
    let mut serials = Vec::new();
    for name in &names {
        let mut new = certificate(&[]);
        new.names = vec![name.clone()];
        serials.push(issue(&*storage, new).await);
    }
    for (name, serial) in names.iter().zip(&serials) {
        let filter = CertificateFilter { name: Some(NameFilter::Exact(name.value())), ..CertificateFilter::default() };
        let found: Vec<_> = list(&*storage, filter).await.into_iter().map(|record| record.serial).collect();
        assert_eq!(found, std::slice::from_ref(serial), "{name}");
    }
}

async fn each_filter_keeps_what_it_names(fixture: Fixture) {
    let storage = fixture.open().await;
    let plain = issue(&*storage, certificate(&["plain.example.com"])).await;
    let mut special = certificate(&["special.example.com"]);
    special.profile = "client".to_owned();
    special.issuer_id = 2;
    special.requester = "token:other".to_owned();
    special.labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
    special.issued_at = at(500);
    special.not_after = at(5000);
    let (fingerprint, spki) = (special.fingerprint_sha256, special.spki_sha256);
    let special = issue(&*storage, special).await;
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let none = CertificateFilter::default;
    let only_special = [
        CertificateFilter { profile: Some("client".to_owned()), ..none() },
        CertificateFilter { issuer_ids: Some(vec![2]), ..none() },
        CertificateFilter { requester: Some("token:other".to_owned()), ..none() },
        CertificateFilter { owner: Some("token:other".to_owned()), ..none() },
        CertificateFilter { subject: Some("SPECIAL.ex".to_owned()), ..none() },
        CertificateFilter { serial: Some(special.clone()), ..none() },
        CertificateFilter { fingerprint_sha256: Some(fingerprint), ..none() },
        CertificateFilter { spki_sha256: Some(spki), ..none() },
        CertificateFilter { labels: vec![label("a", "1")], ..none() },
        CertificateFilter { labels: vec![label("a", "1"), label("b", "2")], ..none() },
        CertificateFilter { issued_after: Some(at(500)), ..none() },
        CertificateFilter { expires_before: Some(at(5001)), ..none() },
    ];
    for filter in only_special {
        let found: Vec<_> = list(&*storage, filter.clone()).await.into_iter().map(|record| record.serial).collect();
        assert_eq!(found, std::slice::from_ref(&special), "{filter:?}");
    }
    let only_plain = [
        CertificateFilter { issued_before: Some(at(500)), ..none() },
        CertificateFilter { expires_after: Some(at(5001)), ..none() },
    ];
    for filter in only_plain {
        let found: Vec<_> = list(&*storage, filter.clone()).await.into_iter().map(|record| record.serial).collect();
        assert_eq!(found, std::slice::from_ref(&plain), "{filter:?}");
    }
    let nothing = [
        CertificateFilter { labels: vec![label("a", "2")], ..none() },
        CertificateFilter { labels: vec![label("a", "1"), label("b", "1")], ..none() },
        CertificateFilter { profile: Some("client".to_owned()), issuer_ids: Some(vec![1]), ..none() },
        CertificateFilter { issued_before: Some(at(0)), ..none() },
    ];
    for filter in nothing {
        assert!(list(&*storage, filter.clone()).await.is_empty(), "{filter:?}");
    }
}

async fn a_part_of_the_subject_is_taken_literally_and_without_case(fixture: Fixture) {
    let storage = fixture.open().await;
    for subject in ["CN=100% Sure,O=A_B", "CN=100 Sure,O=AxB", r"CN=back\\slash,O=Example"] {
        let mut new = certificate(&[]);
        new.subject = subject.to_owned();
        issue(&*storage, new).await;
    }
    for (part, count) in
        [("100%", 1), ("a_b", 1), ("o=a", 2), (r"K\\S", 1), ("%", 1), ("_", 1), ("SURE", 2), ("", 3), ("'", 0)]
    {
        let filter = CertificateFilter { subject: Some(part.to_owned()), ..CertificateFilter::default() };
        assert_eq!(list(&*storage, filter).await.len(), count, "{part}");
    }
}

async fn the_owner_narrows_every_filter(fixture: Fixture) {
    let storage = fixture.open().await;
    issue(&*storage, certificate(&["www.example.com"])).await;
    let filters = [
        CertificateFilter { requester: Some("token:deploy".to_owned()), ..CertificateFilter::default() },
        CertificateFilter {
            name: Some(NameFilter::Exact("www.example.com".to_owned())),
            ..CertificateFilter::default()
        },
        CertificateFilter::default(),
    ];
    for filter in filters {
        let of_other = CertificateFilter { owner: Some("token:other".to_owned()), ..filter.clone() };
        assert_eq!(list(&*storage, of_other).await.len(), 0);
        let own = CertificateFilter { owner: Some("token:deploy".to_owned()), ..filter };
        assert_eq!(list(&*storage, own).await.len(), 1);
    }
}

/// Issues one certificate of each status, with these ends of validity.
pub(super) async fn one_of_each_status(storage: &dyn Storage) {
    assert!(storage.create_issuers(vec![issuer("root", None, true)], None).await.unwrap());
    let change = |serial: &SerialNumber, reason| StateChange {
        issuer_id: 1,
        serial: serial.clone(),
        from: &[CertificateState::Valid],
        revocation: Some(revocation(reason)),
        owner: None,
        block_key: false,
    };
    for (profile, reason, ends) in [
        ("valid", None, 1000),
        ("held", Some(RevocationReason::CertificateHold), 1000),
        ("held-expired", Some(RevocationReason::CertificateHold), -1),
        ("revoked", Some(RevocationReason::Superseded), 1000),
        ("revoked-expired", Some(RevocationReason::Superseded), -1),
        ("expired", None, -1),
        ("last-second", None, 0),
    ] {
        let mut new = certificate(&[]);
        new.profile = profile.to_owned();
        new.not_after = at(ends);
        let serial = issue(storage, new).await;
        if let Some(reason) = reason {
            storage.change_state(change(&serial, reason), event("certificate.revoke", "")).await.unwrap();
        }
    }
}

async fn status_counts_what_has_expired(fixture: Fixture) {
    let storage = fixture.open().await;
    one_of_each_status(&*storage).await;
    let cases = [
        (CertificateStatus::Valid, vec!["root", "valid", "last-second"]),
        (CertificateStatus::OnHold, vec!["held"]),
        (CertificateStatus::Revoked, vec!["revoked", "revoked-expired"]),
        (CertificateStatus::Expired, vec!["held-expired", "expired"]),
    ];
    for (status, expected) in cases {
        let filter = CertificateFilter { status: Some(status), now: Some(at(0)), ..CertificateFilter::default() };
        let found: Vec<_> = list(&*storage, filter).await.into_iter().map(|record| record.profile).collect();
        assert_eq!(found, expected, "{status:?}");
    }
}

/// Writes certificates behind the storage's back, one a second before the tests play.
pub(super) async fn many(fixture: &Fixture, count: u32) {
    let (numbers, serial, digest) = if fixture.is_sqlite() {
        (
            format!(
                "(WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) SELECT n FROM numbers)"
            ),
            "unhex(printf('01%014x', n))",
            "x'0707070707070707070707070707070707070707070707070707070707070707'",
        )
    } else {
        (
            format!("(SELECT n FROM generate_series(1, {count}) AS numbers (n))"),
            "decode('01' || lpad(to_hex(n), 14, '0'), 'hex')",
            "decode(repeat('07', 32), 'hex')",
        )
    };
    fixture
        .execute(&format!(
            "INSERT INTO certificates (id, serial, issuer_id, profile, profile_version, requester, source, subject, key_algorithm, spki_sha256, \
             fingerprint_sha256, not_before, not_after, issued_at, der) \
             SELECT (CAST({NOW} - n AS BIGINT) << 29) | 18, {serial}, 1, 'many', 1, 'token:many', 0, 'CN=many', 'ecdsa-p256', {digest}, {digest}, \
             {NOW} - n, {NOW} + 1000000 + n, {NOW} - n, {digest} FROM {numbers} AS made"
        ))
        .await;
}

async fn a_walk_finds_the_few_among_many_behind_short_pages(fixture: Fixture) {
    let storage = fixture.open().await;
    let mut oldest = certificate(&["one.internal"]);
    oldest.issued_at = at(-100_000);
    oldest.not_after = at(3_000_000);
    let oldest = issue(&*storage, oldest).await;
    let newest = issue(&*storage, certificate(&["two.internal"])).await;
    many(&fixture, 10_000).await;
    let filter = CertificateFilter { subject: Some(".INTERNAL".to_owned()), ..CertificateFilter::default() };
    for sort in [SortKey::IssuedAt, SortKey::NotAfter] {
        for descending in [false, true] {
            let (mut found, mut pages, mut after) = (Vec::new(), 0, None);
            loop {
                let page = PageRequest { limit: 100, sort, descending, after };
                let page = storage.certificates(&filter, page).await.unwrap();
                found.extend(page.items.into_iter().map(|record| record.serial));
                pages += 1;
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let mut expected = vec![oldest.clone(), newest.clone()];
            if descending {
                expected.reverse();
            }
            assert_eq!(found, expected, "{sort:?}, descending: {descending}");
            assert_eq!(pages, 3, "of 4,000 rows each");
        }
    }
}
