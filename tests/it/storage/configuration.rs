//! Issuers, profiles, tokens, and the generation that rises with their changes; leases and readiness.

use std::sync::Arc;

use chancery::ErrorKind;
use chancery::signer::sealing::Sealed;
use chancery::storage::{
    AuditFilter, IdempotencyResult, IssuerState, KeyLocation, NewProfileVersion, NewToken, ProfileOrigin, ProfilePut,
    Recorded, Storage,
};

use super::fixture::{Fixture, at, certificate, claim, event, found, issue, issuer};
use super::on_both_databases;

on_both_databases!(
    issuers_are_recorded_with_key_and_certificate,
    a_taken_name_writes_none_of_the_issuers,
    an_unknown_parent_writes_none_of_the_issuers,
    profile_versions_are_never_used_again,
    a_profile_is_put_only_on_the_expected_version,
    of_32_callers_with_one_expected_version_one_writes,
    a_token_is_found_by_its_secret_until_it_is_revoked_and_after,
    a_token_name_is_unique_among_tokens_not_revoked,
    a_token_with_an_idempotency_key_is_made_once,
    tokens_are_listed_newest_first,
    the_generation_rises_with_configuration_and_with_nothing_else,
    a_setting_is_written_once_by_one_of_many,
    a_lease_has_one_holder,
    a_migrated_database_is_ready,
);

async fn issuers_are_recorded_with_key_and_certificate(fixture: Fixture) {
    let storage = fixture.open().await;
    let root = issuer("root", None, false);
    let mut issuing = issuer("issuing", Some("root"), true);
    issuing.key.location = KeyLocation::File("/etc/chancery/issuing.key".into());
    let certificates = (root.certificate.clone().unwrap(), issuing.certificate.clone().unwrap());
    assert!(storage.create_issuers(vec![root, issuing], None).await.unwrap());
    let issuers = storage.issuers().await.unwrap();
    let [root, issuing] = issuers.as_slice() else { panic!("there are two issuers") };
    assert_eq!((root.name.as_str(), root.certificates[0].parent_id, root.is_default), ("root", None, false));
    assert_eq!(
        (issuing.name.as_str(), issuing.certificates[0].parent_id, issuing.is_default),
        ("issuing", Some(root.id), true)
    );
    assert_eq!((root.state, root.revocations, root.created_at), (IssuerState::Active, 0, at(0)));
    assert_eq!(root.certificates[0].der, certificates.0.der);
    assert_eq!(issuing.certificates[0].der, certificates.1.der);
    let sealed = Sealed { key_encryption_key_id: "key-1".to_owned(), ciphertext: vec![1, 2, 3] };
    assert_eq!(root.key, KeyLocation::Database(sealed));
    assert_eq!(issuing.key, KeyLocation::File("/etc/chancery/issuing.key".into()));
    for new in [certificates.0, certificates.1] {
        let record = found(&*storage, &new.inventory.unwrap().serial).await.unwrap();
        assert_eq!(record.issuer_id, root.id);
    }
    assert!(storage.create_issuers(vec![issuer("second", Some("root"), true)], None).await.unwrap());
    let defaults: Vec<_> =
        storage.issuers().await.unwrap().into_iter().filter(|one| one.is_default).map(|one| one.name).collect();
    assert_eq!(defaults, ["second"]);
    assert_eq!(storage.verify_audit().await.unwrap().events, 3);
}

async fn a_taken_name_writes_none_of_the_issuers(fixture: Fixture) {
    let storage = fixture.open().await;
    assert!(storage.create_issuers(vec![issuer("root", None, true)], None).await.unwrap());
    let fresh = issuer("fresh", None, true);
    let serial = fresh.certificate.clone().unwrap().inventory.unwrap().serial;
    assert!(!storage.create_issuers(vec![fresh, issuer("root", None, false)], None).await.unwrap());
    let issuers = storage.issuers().await.unwrap();
    assert_eq!(issuers.len(), 1);
    assert!(issuers[0].is_default);
    assert!(found(&*storage, &serial).await.is_none());
    assert_eq!(storage.verify_audit().await.unwrap().events, 1);
}

async fn an_unknown_parent_writes_none_of_the_issuers(fixture: Fixture) {
    let storage = fixture.open().await;
    let error = storage
        .create_issuers(vec![issuer("root", None, true), issuer("issuing", Some("nobody"), false)], None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.detail().contains("`nobody`"));
    assert!(storage.issuers().await.unwrap().is_empty());
    assert_eq!(storage.generation().await.unwrap(), 1);
}

fn profile(name: &str, document: &str) -> NewProfileVersion {
    NewProfileVersion {
        name: name.to_owned(),
        document: document.to_owned(),
        origin: ProfileOrigin::Api,
        created_by: "token:admin".to_owned(),
        created_at: at(5),
        only_if_absent: false,
        expected_version: None,
    }
}

async fn put(storage: &dyn Storage, profile: NewProfileVersion) -> ProfilePut {
    storage.put_profile(profile, event("profile.put", "profile:server")).await.unwrap()
}

fn version_of(put: ProfilePut) -> (bool, i32) {
    match put {
        ProfilePut::Created(record) => (true, record.version),
        ProfilePut::Unchanged(record) => (false, record.version),
        ProfilePut::VersionMismatch(present) => panic!("the present version is {present:?}"),
    }
}

async fn profile_versions_are_never_used_again(fixture: Fixture) {
    let storage = fixture.open().await;
    assert_eq!(version_of(put(&*storage, profile("server", "{1}")).await), (true, 1));
    assert_eq!(version_of(put(&*storage, profile("server", "{1}")).await), (false, 1));
    assert_eq!(version_of(put(&*storage, profile("server", "{2}")).await), (true, 2));
    let from_configuration = NewProfileVersion { origin: ProfileOrigin::Configuration, ..profile("server", "{2}") };
    assert_eq!(version_of(put(&*storage, from_configuration).await), (true, 3));
    let absent = NewProfileVersion { only_if_absent: true, ..profile("server", "{other}") };
    assert_eq!(version_of(put(&*storage, absent.clone()).await), (false, 3));

    let present = storage.profiles().await.unwrap();
    assert_eq!(present.len(), 1);
    assert_eq!((present[0].version, present[0].origin), (3, ProfileOrigin::Configuration));
    assert_eq!((present[0].created_by.as_str(), present[0].created_at), ("token:admin", at(5)));
    assert!(storage.delete_profile("server", event("profile.delete", "profile:server")).await.unwrap());
    assert!(!storage.delete_profile("server", event("profile.delete", "profile:server")).await.unwrap());
    assert!(!storage.delete_profile("nothing", event("profile.delete", "profile:nothing")).await.unwrap());
    assert!(storage.profiles().await.unwrap().is_empty());
    assert_eq!(storage.profile_version("server", 2).await.unwrap().unwrap().document, "{2}");
    assert_eq!(storage.profile_version("server", 4).await.unwrap(), None);
    assert_eq!(version_of(put(&*storage, absent).await), (false, 3), "a deleted default does not come back");
    assert!(storage.profiles().await.unwrap().is_empty());
    assert_eq!(version_of(put(&*storage, profile("server", "{2}")).await), (true, 4));
    // Four versions and one deletion.
    assert_eq!(storage.verify_audit().await.unwrap().events, 5);
}

async fn a_profile_is_put_only_on_the_expected_version(fixture: Fixture) {
    let storage = fixture.open().await;
    let expecting = |version| NewProfileVersion { expected_version: Some(version), ..profile("server", "{x}") };
    assert_eq!(put(&*storage, expecting(1)).await, ProfilePut::VersionMismatch(None));
    put(&*storage, profile("server", "{1}")).await;
    assert_eq!(put(&*storage, expecting(2)).await, ProfilePut::VersionMismatch(Some(1)));
    assert_eq!(version_of(put(&*storage, expecting(1)).await), (true, 2));
}

async fn of_32_callers_with_one_expected_version_one_writes(fixture: Fixture) {
    let storage = fixture.open().await;
    put(&*storage, profile("server", "{1}")).await;
    let calls: Vec<_> = (0..32)
        .map(|number| {
            let storage = Arc::clone(&storage);
            let next =
                NewProfileVersion { expected_version: Some(1), ..profile("server", &format!("{{by {number}}}")) };
            tokio::spawn(async move { put(&*storage, next).await })
        })
        .collect();
    let mut created = 0;
    for call in calls {
        match call.await.unwrap() {
            ProfilePut::Created(record) => {
                assert_eq!(record.version, 2);
                created += 1;
            }
            other => assert_eq!(other, ProfilePut::VersionMismatch(Some(2))),
        }
    }
    assert_eq!(created, 1);
}

pub(super) fn token(id: &str, name: &str, secret: u8) -> NewToken {
    NewToken {
        id: id.to_owned(),
        name: name.to_owned(),
        secret_sha256: [secret; 32],
        role: "requester".to_owned(),
        grants: "{}".to_owned(),
        created_at: at(1),
        created_by: "token:admin".to_owned(),
        expires_at: Some(at(100)),
    }
}

async fn create(storage: &dyn Storage, token: NewToken) -> chancery::Result<Recorded> {
    storage.create_token(token, None, event("token.create", "token:x")).await
}

async fn a_token_is_found_by_its_secret_until_it_is_revoked_and_after(fixture: Fixture) {
    let storage = fixture.open().await;
    assert_eq!(create(&*storage, token("id-1", "deploy", 1)).await.unwrap(), Recorded::Committed);
    assert_eq!(storage.token_by_secret(&[2; 32]).await.unwrap(), None);
    let record = storage.token_by_secret(&[1; 32]).await.unwrap().unwrap();
    assert_eq!((record.id.as_str(), record.name.as_str(), record.role.as_str()), ("id-1", "deploy", "requester"));
    assert_eq!((record.grants.as_str(), record.created_by.as_str()), ("{}", "token:admin"));
    assert_eq!((record.created_at, record.expires_at, record.revoked_at), (at(1), Some(at(100)), None));
    let revoke = |id: &'static str, moment| storage.revoke_token(id, at(moment), event("token.revoke", "token:x"));
    let revoked = revoke("id-1", 7).await.unwrap().unwrap();
    assert_eq!(revoked.revoked_at, Some(at(7)));
    assert_eq!(revoke("id-1", 8).await.unwrap(), None);
    assert_eq!(revoke("id-2", 8).await.unwrap(), None);
    assert_eq!(storage.token_by_secret(&[1; 32]).await.unwrap(), Some(revoked));
    assert_eq!(storage.verify_audit().await.unwrap().events, 2);
}

async fn a_token_name_is_unique_among_tokens_not_revoked(fixture: Fixture) {
    let storage = fixture.open().await;
    create(&*storage, token("id-1", "deploy", 1)).await.unwrap();
    let error = create(&*storage, token("id-2", "deploy", 2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.detail().contains("`deploy`"));
    storage.revoke_token("id-1", at(7), event("token.revoke", "token:x")).await.unwrap().unwrap();
    create(&*storage, token("id-2", "deploy", 2)).await.unwrap();
    assert_eq!(storage.verify_audit().await.unwrap().events, 3);
}

async fn a_token_with_an_idempotency_key_is_made_once(fixture: Fixture) {
    let storage = fixture.open().await;
    let calls: Vec<_> = (0..32u8)
        .map(|number| {
            let storage = Arc::clone(&storage);
            let sealed = Sealed { key_encryption_key_id: "key-1".to_owned(), ciphertext: vec![number] };
            let new = token(&format!("id-{number}"), "deploy", number);
            tokio::spawn(async move {
                let outcome =
                    storage.create_token(new, Some((claim("token", 60), sealed)), event("token.create", "t")).await;
                (number, outcome.unwrap())
            })
        })
        .collect();
    let mut winner = None;
    let mut answers = Vec::new();
    for call in calls {
        match call.await.unwrap() {
            (number, Recorded::Committed) => assert_eq!(winner.replace(number), None),
            (_, Recorded::Replayed(answer)) => answers.push(answer.result),
            (_, Recorded::KeyBlocked) => panic!("a token has no key"),
            (_, Recorded::OrderTaken) => panic!("a token has no order"),
        }
    }
    let sealed = Sealed { key_encryption_key_id: "key-1".to_owned(), ciphertext: vec![winner.unwrap()] };
    assert_eq!(answers, vec![IdempotencyResult::Sealed(sealed); 31]);
    assert_eq!(storage.tokens(None, 100).await.unwrap().len(), 1);
}

async fn tokens_are_listed_newest_first(fixture: Fixture) {
    let storage = fixture.open().await;
    for number in 0..7u8 {
        create(&*storage, token(&format!("id-{number}"), &format!("name-{number}"), number)).await.unwrap();
    }
    let first = storage.tokens(None, 4).await.unwrap();
    let second = storage.tokens(Some(first[3].row), 4).await.unwrap();
    let ids: Vec<_> = first.into_iter().chain(second).map(|token| token.id).collect();
    assert_eq!(ids, ["id-6", "id-5", "id-4", "id-3", "id-2", "id-1", "id-0"]);
}

async fn the_generation_rises_with_configuration_and_with_nothing_else(fixture: Fixture) {
    let storage = fixture.open().await;
    let mut last = storage.generation().await.unwrap();
    let mut rises = async |what: &str, expected: bool| {
        let now = storage.generation().await.unwrap();
        assert_eq!(now > last, expected, "{what}");
        last = now;
    };
    storage.create_issuers(vec![issuer("root", None, true)], None).await.unwrap();
    rises("an issuer", true).await;
    put(&*storage, profile("server", "{1}")).await;
    rises("a profile", true).await;
    put(&*storage, profile("server", "{1}")).await;
    rises("an unchanged profile", false).await;
    storage.delete_profile("server", event("profile.delete", "")).await.unwrap();
    rises("a deleted profile", true).await;
    create(&*storage, token("id-1", "deploy", 1)).await.unwrap();
    rises("a token", true).await;
    create(&*storage, token("id-2", "deploy", 2)).await.unwrap_err();
    rises("a refused token", false).await;
    storage.revoke_token("id-1", at(1), event("token.revoke", "")).await.unwrap();
    rises("a revoked token", true).await;
    issue(&*storage, certificate(&[])).await;
    storage.take_crl_numbers(1, 1).await.unwrap();
    storage.record_audit(event("certificate.issue", "")).await.unwrap();
    rises("certificates and CRLs", false).await;
}

async fn a_setting_is_written_once_by_one_of_many(fixture: Fixture) {
    let storage = fixture.open().await;
    let callers: Vec<_> = (0..32u8)
        .map(|number| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move { storage.setting_or_insert("salt", &[number; 16]).await.unwrap() })
        })
        .collect();
    let mut values = Vec::new();
    for caller in callers {
        values.push(caller.await.unwrap());
    }
    values.dedup();
    assert_eq!(values.len(), 1, "all got one value");
    assert_eq!(values[0], [values[0][0]; 16]);
    assert_eq!(storage.setting_or_insert("salt", b"later").await.unwrap(), values[0]);
    assert_eq!(storage.setting_or_insert("other", b"").await.unwrap(), b"");
}

async fn a_lease_has_one_holder(fixture: Fixture) {
    let storage = fixture.open().await;
    let acquire = |holder: &'static str, now, until| storage.acquire_lease("crl", holder, at(now), at(until));
    assert!(acquire("a", 0, 10).await.unwrap());
    assert!(!acquire("b", 9, 20).await.unwrap());
    assert!(acquire("a", 9, 20).await.unwrap(), "the holder extends");
    assert!(!acquire("b", 10, 20).await.unwrap());
    assert!(acquire("b", 20, 30).await.unwrap(), "an ended lease is free");
    assert!(!acquire("a", 21, 30).await.unwrap());
    assert_eq!(storage.clean_up(at(29)).await.unwrap(), 0);
    assert_eq!(storage.clean_up(at(30)).await.unwrap(), 1);

    let callers: Vec<_> = (0..16)
        .map(|number| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move {
                storage.acquire_lease("race", &format!("holder-{number}"), at(0), at(10)).await.unwrap()
            })
        })
        .collect();
    let mut holders = 0;
    for caller in callers {
        holders += usize::from(caller.await.unwrap());
    }
    assert_eq!(holders, 1);
    let issued = AuditFilter::default();
    assert!(storage.audit_events(&issued, None, 10).await.unwrap().items.is_empty());
}

async fn a_migrated_database_is_ready(fixture: Fixture) {
    let storage = fixture.open().await;
    storage.ready().await.unwrap();
    let status = storage.pool_status();
    assert_eq!((status.size, status.in_use, status.waiting), (4, 0, 0));
    fixture.execute("DELETE FROM __diesel_schema_migrations").await;
    assert_eq!(storage.ready().await.unwrap_err().kind(), ErrorKind::Unavailable);
}
