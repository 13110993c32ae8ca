//! Every statement of ACME finds its rows by an index: PostgreSQL counts what it read row by row when it was told not to. SQLite's plans are
//! looked at by the unit test in `src/storage/sqlite/acme.rs`.

use chancery::policy::acme::ChallengeType;
use chancery::storage::{
    AcmeAccountChange, AcmeAccountFilter, AcmeAccountStatus, AcmeOrderFilter, AcmeOrderStatus, OrderAuthorization,
    OrderCompletion, StartValidation, ValidationOutcome, ValidationResult,
};

use super::super::fixture::{Fixture, NOW, at, certificate, event, issuance, serial};
use super::rate_limits::charge;
use super::{account, dns, order, place, problem, ready_order, register, thumbprint};

/// Waits for the counts, which sessions report when they end, and fails with the tables that were read row by row.
const CHECK: &str = "DO $$ DECLARE found text; BEGIN
    FOR attempt IN 1..100 LOOP
        PERFORM pg_stat_clear_snapshot();
        EXIT WHEN (SELECT COALESCE(SUM(idx_scan), 0) FROM pg_stat_user_tables WHERE relname = 'acme_orders') > 0;
        PERFORM pg_sleep(0.1);
    END LOOP;
    SELECT string_agg(relname || ' ' || seq_scan, ', ') INTO found FROM pg_stat_user_tables
        WHERE relname LIKE 'acme\\_%' AND seq_scan > 0;
    IF found IS NOT NULL THEN RAISE EXCEPTION 'read row by row: %', found; END IF;
    IF (SELECT SUM(idx_scan) FROM pg_stat_user_tables WHERE relname = 'acme_orders') IS NULL THEN
        RAISE EXCEPTION 'nothing was counted'; END IF;
END $$";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgresql_reads_no_table_of_acme_row_by_row() {
    let fixture = Fixture::postgres().await;
    fixture.open().await.close().await;
    fixture
        .execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET enable_seqscan = off', current_database()); END $$; \
             SELECT pg_stat_reset()",
        )
        .await;
    let storage = fixture.open().await;
    let epoch = storage.nonce_epoch().await.unwrap();
    storage.take_nonce(&epoch, &[1; 16], at(1)).await.unwrap();
    storage
        .create_external_account_key(super::external_accounts::key(1, "token:a"), None, event("x", "y"))
        .await
        .unwrap();
    storage.external_account_key("kid-1").await.unwrap();
    storage.external_account_keys(Some("token:a"), None, 10).await.unwrap();
    let mut bound = account(9);
    bound.binding = Some((1, "{}".to_owned()));
    storage.create_acme_account(bound, vec![charge("a", 0)], event("x", "y")).await.unwrap();
    register(&*storage, 1).await;
    storage.acme_account(1).await.unwrap();
    storage.acme_account_by_key(&thumbprint(1)).await.unwrap();
    let filter = AcmeAccountFilter { principal: Some("token:a".to_owned()), ..AcmeAccountFilter::default() };
    storage.acme_accounts(&filter, None, 10).await.unwrap();
    storage.change_acme_account(1, AcmeAccountChange::default(), event("x", "y")).await.unwrap();
    storage.change_acme_account_key(1, &thumbprint(1), &thumbprint(2), "{}", event("x", "y")).await.unwrap();
    storage.check_rate_limits(vec![charge("a", 0)]).await.unwrap();
    place(&*storage, ready_order(11, 1, &["a.internal"])).await;
    let mut replacing = order(12, 1, &["a.internal", "b.internal"]);
    replacing.authorizations[0] = OrderAuthorization::Existing(110);
    replacing.replaces = Some("aki.serial".to_owned());
    place(&*storage, replacing.clone()).await;
    replacing.id = 13;
    storage.create_acme_order(replacing, Vec::new()).await.unwrap();
    storage.acme_replacement("aki.serial").await.unwrap();
    storage.valid_acme_authorizations(1, &[dns("a.internal")], at(0)).await.unwrap();
    storage.acme_order(11, Some(1)).await.unwrap();
    storage.acme_order_of_certificate(1, &serial(), 1).await.unwrap();
    storage.acme_account_orders(1, None, 10).await.unwrap();
    let named = AcmeOrderFilter { identifier: Some("a.internal".to_owned()), ..AcmeOrderFilter::default() };
    storage.acme_orders(&named, None, 10).await.unwrap();
    storage.acme_orders(&AcmeOrderFilter::default(), None, 10).await.unwrap();
    let start = StartValidation {
        id: 121,
        account_id: 1,
        challenge: ChallengeType::Http01,
        thumbprint: thumbprint(2),
        account_url: "x".to_owned(),
        holder: "me".to_owned(),
        now_ms: NOW * 1000,
        lease_until_ms: NOW * 1000,
        limit: None,
        most_processing: 100,
    };
    storage.start_validation(start).await.unwrap().unwrap();
    assert_eq!(storage.due_validations("me", NOW * 1000, NOW * 1000 + 1, 10).await.unwrap().len(), 1);
    let outcome = ValidationOutcome::Invalid { error: problem("x") };
    let result =
        ValidationResult { id: 121, holder: "me".to_owned(), now: at(0), outcome, charges: vec![], audit: None };
    assert!(storage.finish_validation(result).await.unwrap());
    assert!(storage.begin_acme_finalization(11, 1, &[1], "me", at(0), at(1)).await.unwrap());
    assert_eq!(storage.due_acme_finalizations("me", at(1), at(9), 10).await.unwrap().len(), 1);
    let mut completing = issuance(certificate(&["a.internal"]));
    completing.order = Some(OrderCompletion {
        order_id: 11,
        account_id: 1,
        from: AcmeOrderStatus::Processing,
        holder: Some("me".to_owned()),
    });
    storage.record_issuance(completing).await.unwrap();
    storage.deactivate_acme_authorization(110, 1, &problem("x")).await.unwrap();
    storage.fail_acme_order(12, &problem("x")).await.unwrap();
    storage.renewal_windows_of(1, &serial(), at(0)).await.unwrap();
    storage.end_acme_account(1, AcmeAccountStatus::Revoked, &problem("x"), event("x", "y")).await.unwrap();
    storage.delete_external_account_key("kid-1", None, at(0), event("x", "y")).await.unwrap();
    storage.clean_up_acme(at(2000), at(100_000_000)).await.unwrap();
    storage.close().await;
    fixture.execute(CHECK).await;
}
