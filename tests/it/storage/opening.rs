//! Opening a database: migrations by several at once, databases of a newer version, settings, refusals.

use std::os::unix::fs::PermissionsExt;

use chancery::ErrorKind;
use chancery::storage::{migrate, open};
use diesel::Connection;
use diesel::prelude::*;

use super::fixture::{Fixture, certificate, event, issue, list, options};
use super::on_both_databases;

on_both_databases!(
    several_that_open_at_once_all_succeed,
    a_second_migration_has_nothing_to_do,
    two_storages_on_one_database_share_it,
    a_newer_database_is_refused,
);

async fn several_that_open_at_once_all_succeed(fixture: Fixture) {
    let opens: Vec<_> = (0..6)
        .map(|_| {
            let options = fixture.options();
            tokio::spawn(async move { open(&options).await.unwrap() })
        })
        .collect();
    for (number, opened) in opens.into_iter().enumerate() {
        let storage = opened.await.unwrap();
        storage.ready().await.unwrap();
        storage.record_audit(event("certificate.issue", &number.to_string())).await.unwrap();
    }
    let storage = fixture.open().await;
    let verification = storage.verify_audit().await.unwrap();
    assert_eq!((verification.events, verification.chains), (6, 16));
    assert_eq!(verification.failures, Vec::<String>::new());
}

async fn a_second_migration_has_nothing_to_do(fixture: Fixture) {
    let first = migrate(&fixture.options()).await.unwrap();
    assert_eq!(
        first,
        [
            "2026-11-21-000001_initial",
            "2026-11-21-000002_issuers_and_revocation",
            "2026-11-21-000003_acme",
            "2026-11-21-000004_rows_by_time",
            "2026-11-21-000005_counts_in_sums",
            "2026-11-21-000006_rows_as_parameters"
        ]
    );
    assert_eq!(migrate(&fixture.options()).await.unwrap(), Vec::<String>::new());
}

async fn two_storages_on_one_database_share_it(fixture: Fixture) {
    let (first, second) = (fixture.open().await, fixture.open().await);
    let writes: Vec<_> = (0..60)
        .map(|number| {
            let storage = std::sync::Arc::clone(if number % 2 == 0 { &first } else { &second });
            tokio::spawn(async move { issue(&*storage, certificate(&[])).await })
        })
        .collect();
    for write in writes {
        write.await.unwrap();
    }
    assert_eq!(list(&*first, Default::default()).await.len(), 60);
    assert_eq!(second.verify_audit().await.unwrap().failures, Vec::<String>::new());
}

async fn a_newer_database_is_refused(fixture: Fixture) {
    migrate(&fixture.options()).await.unwrap();
    fixture.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('29991231235959')").await;
    let error = open(&fixture.options()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.detail().contains("`29991231235959`"), "{error}");
}

#[tokio::test]
async fn the_file_is_for_its_owner_only_and_synced_at_every_commit() {
    let fixture = Fixture::sqlite();
    let storage = fixture.open().await;
    issue(&*storage, certificate(&[])).await;
    let path = fixture.directory.as_ref().unwrap().path().join("chancery.db");
    for file in [path.clone(), path.with_extension("db-wal")] {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    #[derive(QueryableByName)]
    struct Mode {
        #[diesel(sql_type = diesel::sql_types::Text)]
        journal_mode: String,
    }
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let mode: Mode = diesel::sql_query("PRAGMA journal_mode").get_result(&mut connection).unwrap();
    assert_eq!(mode.journal_mode, "wal");
}

#[tokio::test]
async fn a_missing_directory_is_refused_by_name() {
    let error = open(&options("sqlite:///nowhere/at/all/chancery.db")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.detail().contains("`/nowhere/at/all`"), "{error}");
}

#[tokio::test]
async fn other_urls_are_refused_without_repeating_their_password() {
    for url in ["mysql://root:hunter2@localhost/ca", "hunter2", "sqlite://", "sqlite://:memory:", ""] {
        let error = open(&options(url)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{url}");
        assert!(!error.detail().contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_not_harmed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes.txt");
    let notes = "not a database, ".repeat(100);
    std::fs::write(&path, &notes).unwrap();
    let error = open(&options(&format!("sqlite://{}", path.display()))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), notes);
}
