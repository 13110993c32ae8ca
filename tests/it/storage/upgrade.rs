//! A database of the first schema, with what it may hold, is brought to the present one.

use chancery::signer::sealing::Sealed;
use chancery::storage::{IssuerState, KeyLocation, migrate};

use super::fixture::{Fixture, at, issuer, serial};
use super::on_both_databases;

on_both_databases!(
    issuers_revocations_and_crls_of_the_first_schema_are_kept,
    an_upgraded_database_takes_new_issuers,
    an_upgraded_database_takes_acme_orders,
    a_migration_that_fails_is_undone_and_can_be_run_again,
    sums_of_the_first_schema_are_those_of_its_certificates,
);

/// A root, an issuing CA below it (the default), a revoked certificate of the latter, and its CRL.
const CONTENTS: &str = "
    INSERT INTO ca_keys (id, algorithm, spki_sha256, key_encryption_key_id, sealed, path) VALUES
        (1, 'ecdsa-p256', A1, 'key-1', HEX(aa), NULL), (2, 'ecdsa-p256', A2, NULL, NULL, '/keys/issuing.key');
    INSERT INTO issuers (id, name, parent_id, state, is_default, key_id, certificate_id, created_at, revocations, crl_number)
        VALUES (1, 'root', NULL, 0, FALSE, 1, NULL, 1767225600, 0, 3), (2, 'issuing', 1, 0, TRUE, 2, NULL, 1767225600, 4, 7);
    INSERT INTO certificates (id, serial, issuer_id, profile, profile_version, requester, source, subject, key_algorithm,
        spki_sha256, fingerprint_sha256, not_before, not_after, issued_at, state, revoked_at, revocation_reason, der) VALUES
        (1, HEX(11), 1, 'chancery.ca', 1, 'system', 2, 'CN=Root', 'ecdsa-p256', D1, F1, 0, 2000000000, 0, 0, NULL, NULL, HEX(3001)),
        (2, HEX(12), 1, 'chancery.ca', 1, 'system', 2, 'CN=Issuing', 'ecdsa-p256', D1, F2, 0, 2000000000, 0, 0, NULL, NULL, HEX(3002)),
        (3, HEX(13), 2, 'server', 1, 'token:a', 0, 'CN=a', 'ecdsa-p256', D1, F3, 0, 2000000000, 0, 2, 1767225700, 1, HEX(3003));
    UPDATE issuers SET certificate_id = id;
    INSERT INTO crls (issuer_id, number, this_update, next_update, revocations, der) VALUES (2, 7, 5, 6, 4, HEX(3007));
";

/// Makes a database as the first schema's version left it.
async fn first_schema(fixture: &Fixture) {
    let directory = if fixture.is_sqlite() { "sqlite" } else { "postgres" };
    let path = format!("{}/migrations/{directory}/2026-11-21-000001_initial/up.sql", env!("CARGO_MANIFEST_DIR"));
    fixture.execute(&std::fs::read_to_string(path).unwrap()).await;
    let digest = |octet: &str| format!("HEX({})", octet.repeat(32));
    let mut contents = CONTENTS.replace("D1", &digest("d1"));
    for digested in ["F1", "F2", "F3", "A1", "A2"] {
        contents = contents.replace(digested, &digest(&digested.to_lowercase()));
    }
    fixture.execute(&with_octets(&contents, fixture.is_sqlite())).await;
    if !fixture.is_sqlite() {
        for table in ["ca_keys", "issuers", "certificates"] {
            fixture.execute(&format!("SELECT setval(pg_get_serial_sequence('{table}', 'id'), 10)")).await;
        }
    }
    fixture
        .execute(
            "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL, \
             run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP); \
             INSERT INTO __diesel_schema_migrations (version) VALUES ('20261121000001');",
        )
        .await;
}

/// Writes `HEX(..)` as the database writes octets.
fn with_octets(text: &str, is_sqlite: bool) -> String {
    let mut parts = text.split("HEX(");
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (digits, rest) = part.split_once(')').unwrap();
        out += &if is_sqlite { format!("x'{digits}'") } else { format!("'\\x{digits}'::BYTEA") };
        out += rest;
    }
    out
}

async fn issuers_revocations_and_crls_of_the_first_schema_are_kept(fixture: Fixture) {
    first_schema(&fixture).await;
    assert_eq!(
        migrate(&fixture.options()).await.unwrap(),
        [
            "2026-11-21-000002_issuers_and_revocation",
            "2026-11-21-000003_acme",
            "2026-11-21-000004_rows_by_time",
            "2026-11-21-000005_counts_in_sums",
            "2026-11-21-000006_rows_as_parameters",
        ]
    );
    let storage = fixture.open().await;
    let issuers = storage.issuers().await.unwrap();
    let [root, issuing] = issuers.as_slice() else { panic!("there are two issuers") };
    assert_eq!((root.name.as_str(), root.base_name.as_str(), root.generation), ("root", "root", 1));
    assert_eq!((root.state, root.is_default, root.crl_number), (IssuerState::Active, false, 3));
    let sealed = Sealed { key_encryption_key_id: "key-1".to_owned(), ciphertext: vec![0xaa] };
    assert_eq!(root.key, KeyLocation::Database(sealed));
    assert_eq!((root.certificates[0].parent_id, &root.certificates[0].der), (None, &vec![0x30, 1]));
    assert_eq!((issuing.is_default, issuing.revocations, issuing.crl_number), (true, 4, 7));
    assert_eq!(issuing.key, KeyLocation::File("/keys/issuing.key".into()));
    assert_eq!((issuing.certificates[0].parent_id, &issuing.certificates[0].der), (Some(1), &vec![0x30, 2]));
    assert!(issuing.certificates[0].is_primary);
    let crl = storage.current_crl(2, 0, false).await.unwrap().unwrap();
    assert_eq!((crl.number, crl.revocations, crl.base_number, crl.der), (7, 4, None, vec![0x30, 7]));
    assert_eq!(storage.take_crl_numbers(2, 1).await.unwrap(), 8);
    let revoked =
        storage.certificates_by_serial(&chancery::x509::SerialNumber::from_bytes(&[0x13]).unwrap()).await.unwrap();
    assert_eq!((revoked.len(), revoked[0].crl_shard), (1, 0));
    assert!(revoked[0].revocation.is_some());
}

async fn an_upgraded_database_takes_new_issuers(fixture: Fixture) {
    first_schema(&fixture).await;
    let storage = fixture.open().await;
    let mut second = issuer("issuing", Some("root"), true);
    second.generation = 2;
    second.retires = vec![2];
    let own = second.certificate.as_mut().unwrap();
    own.inventory.as_mut().unwrap().serial = serial();
    own.created_at = at(0);
    assert!(storage.create_issuers(vec![second], None).await.unwrap());
    let issuers = storage.issuers().await.unwrap();
    assert_eq!((issuers[1].state, issuers[1].is_default), (IssuerState::Retired, false));
    assert_eq!(
        (issuers[2].name.as_str(), issuers[2].state, issuers[2].is_default),
        ("issuing.2", IssuerState::Active, true)
    );
    assert_eq!(issuers[2].certificates[0].parent_id, Some(1));
}

async fn an_upgraded_database_takes_acme_orders(fixture: Fixture) {
    first_schema(&fixture).await;
    let storage = super::acme::with_account(&fixture).await;
    super::acme::place(&*storage, super::acme::ready_order(11, 1, &["a.internal"])).await;
    let epoch = storage.nonce_epoch().await.unwrap();
    assert_eq!(storage.take_nonce(&epoch, &[1; 16], at(100)).await.unwrap(), chancery::storage::NonceTaken::Taken);
    let mut completing = super::fixture::issuance(super::fixture::certificate(&["a.internal"]));
    completing.order = Some(chancery::storage::OrderCompletion {
        order_id: 11,
        account_id: 1,
        from: chancery::storage::AcmeOrderStatus::Pending,
        holder: None,
    });
    assert_eq!(storage.record_issuance(completing).await.unwrap(), chancery::storage::Recorded::Committed);
}

async fn a_migration_that_fails_is_undone_and_can_be_run_again(fixture: Fixture) {
    first_schema(&fixture).await;
    // In the way of a table that the fourth migration makes in its course, behind some that it has made and filled.
    fixture.execute("CREATE TABLE audit_events_next (unused INTEGER)").await;
    let error = migrate(&fixture.options()).await.unwrap_err();
    assert!(error.to_string().contains("the migration `2026-11-21-000004_rows_by_time`"), "{error}");
    // The certificates have their numbers, the names of what was made on the way are free.
    fixture
        .execute(
            "CREATE TEMPORARY TABLE checked (number INTEGER CHECK (number = 6)); INSERT INTO checked SELECT SUM(id) FROM certificates; \
             CREATE TABLE certificates_next (unused INTEGER); DROP TABLE certificates_next; DROP TABLE audit_events_next",
        )
        .await;
    assert!(!migrate(&fixture.options()).await.unwrap().is_empty());
    let storage = fixture.open().await;
    assert_eq!(storage.issuers().await.unwrap().len(), 2);
}

async fn sums_of_the_first_schema_are_those_of_its_certificates(fixture: Fixture) {
    first_schema(&fixture).await;
    let storage = fixture.open().await;
    super::statistics::sums_are_right(&fixture, 3).await;
    let statistics = storage.statistics(at(0)).await.unwrap();
    assert_eq!((statistics.by_status["valid"], statistics.by_status["revoked"]), (2, 1));
    assert_eq!(statistics.by_profile["chancery.ca"], 2);
}
