//! Looks at challenges: begun once, leased to one, written down by the holder of the lease, and what a failure takes with it.

use chancery::policy::acme::ChallengeType;
use chancery::storage::{
    AcmeAccountStatus, AcmeAuthorizationStatus, AcmeChallengeState, AcmeOrderStatus, AuditFilter, OrderAuthorization,
    StartValidation, Storage, ValidationOutcome, ValidationResult,
};

use super::super::fixture::{Fixture, NOW, at, event};
use super::super::on_both_databases;
use super::rate_limits::charge;
use super::{at_once, order, place, problem, ready_order, register, thumbprint, with_account};

on_both_databases!(
    of_32_answers_to_challenges_one_begins_the_look,
    what_is_not_pending_is_not_looked_at,
    a_challenge_that_is_met_makes_its_authorization_valid,
    a_look_that_is_to_be_repeated_is_due_again_then,
    a_failure_for_good_fails_pending_orders_that_depend_on_it,
    only_the_holder_of_the_lease_writes_the_result,
    of_32_that_write_the_result_one_does,
    what_ended_while_it_was_looked_at_is_due_and_becomes_invalid,
    a_failure_is_charged_though_the_limit_is_used_up,
    due_looks_are_leased_to_one,
    accounts_take_turns_and_what_is_looked_at_counts,
    so_many_challenges_of_one_account_are_looked_at,
    one_past_its_end_is_due_so_that_it_is_ended,
    an_order_made_while_its_authorization_fails_does_not_stay_pending,
);

const NOW_MS: i64 = NOW * 1000;

fn start(id: i64, holder: &str) -> StartValidation {
    StartValidation {
        id,
        account_id: 1,
        challenge: ChallengeType::Dns01,
        thumbprint: thumbprint(1),
        account_url: "https://ca.internal/acme/accounts/1".to_owned(),
        holder: holder.to_owned(),
        now_ms: NOW_MS,
        lease_until_ms: NOW_MS + 5000,
        limit: None,
        most_processing: 100,
    }
}

fn result(id: i64, holder: &str, outcome: ValidationOutcome) -> ValidationResult {
    ValidationResult { id, holder: holder.to_owned(), now: at(1), outcome, charges: Vec::new(), audit: None }
}

fn failed(id: i64, holder: &str) -> ValidationResult {
    let outcome = ValidationOutcome::Invalid { error: problem("no TXT record") };
    ValidationResult { audit: Some(event("acme.validation.fail", "x")), ..result(id, holder, outcome) }
}

/// An account with an order whose one authorization, 110, is looked at by `me`.
async fn with_look(fixture: &Fixture) -> std::sync::Arc<dyn Storage> {
    let storage = with_account(fixture).await;
    place(&*storage, order(11, 1, &["a.internal"])).await;
    assert!(storage.start_validation(start(110, "me")).await.unwrap().is_some());
    storage
}

async fn of_32_answers_to_challenges_one_begins_the_look(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    place(&*storage, order(11, 1, &["a.internal"])).await;
    let answers = at_once(&storage, |storage, number| async move {
        storage.start_validation(start(110, &format!("holder {number}"))).await.unwrap()
    })
    .await;
    let begun: Vec<_> = answers.into_iter().flatten().collect();
    assert_eq!(begun.len(), 1);
    let authorization = storage.acme_authorization(110, None).await.unwrap().unwrap();
    assert_eq!(begun[0], authorization);
    assert_eq!(authorization.challenge, Some((ChallengeType::Dns01, AcmeChallengeState::Processing)));
    assert_eq!((authorization.thumbprint, authorization.attempts), (Some(thumbprint(1)), 0));
    assert_eq!(authorization.account_url.as_deref(), Some("https://ca.internal/acme/accounts/1"));
    assert_eq!(
        (authorization.status, authorization.next_attempt_at_ms),
        (AcmeAuthorizationStatus::Pending, Some(NOW_MS))
    );
}

async fn what_is_not_pending_is_not_looked_at(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    register(&*storage, 2).await;
    place(&*storage, order(11, 1, &["a.internal", "b.internal"])).await;
    place(&*storage, ready_order(12, 1, &["a.internal"])).await;
    place(&*storage, order(21, 2, &["a.internal"])).await;
    let begin = async |start| storage.start_validation(start).await.unwrap();
    assert_eq!(begin(start(120, "me")).await, None, "valid");
    assert_eq!(begin(start(999, "me")).await, None, "not there");
    assert_eq!(begin(start(210, "me")).await, None, "another account's");
    assert_eq!(begin(StartValidation { now_ms: NOW_MS + 1_000_000, ..start(110, "me") }).await, None, "past its end");
    storage.deactivate_acme_authorization(111, 1, &problem("x")).await.unwrap();
    assert_eq!(begin(start(111, "me")).await, None, "deactivated");
    storage.end_acme_account(2, AcmeAccountStatus::Revoked, &problem("x"), event("x", "y")).await.unwrap();
    assert_eq!(begin(StartValidation { account_id: 2, ..start(210, "me") }).await, None, "its account ended");
    assert!(begin(start(110, "me")).await.is_some());
}

async fn a_challenge_that_is_met_makes_its_authorization_valid(fixture: Fixture) {
    let storage = with_look(&fixture).await;
    let valid = result(110, "me", ValidationOutcome::Valid { expires_at: at(5000) });
    assert!(storage.finish_validation(valid).await.unwrap());
    let (order, authorizations) = storage.acme_order(11, None).await.unwrap().unwrap();
    let found = &authorizations[0];
    assert_eq!((found.status, found.expires_at), (AcmeAuthorizationStatus::Valid, at(5000)));
    assert_eq!(found.challenge, Some((ChallengeType::Dns01, AcmeChallengeState::Valid)));
    assert_eq!((found.validated_at, found.attempts), (Some(at(1)), 1));
    assert_eq!((found.next_attempt_at_ms, &found.error), (None, &None));
    assert_eq!(order.status, AcmeOrderStatus::Pending);
    assert!(storage.begin_acme_finalization(11, 1, &[1], "me", at(2), at(60)).await.unwrap(), "it is ready");
}

async fn a_look_that_is_to_be_repeated_is_due_again_then(fixture: Fixture) {
    let storage = with_look(&fixture).await;
    let retry = ValidationOutcome::Retry { error: problem("timeout"), next_attempt_at_ms: NOW_MS + 2000, counts: true };
    assert!(storage.finish_validation(result(110, "me", retry)).await.unwrap());
    let found = storage.acme_authorization(110, None).await.unwrap().unwrap();
    assert_eq!((found.status, found.attempts), (AcmeAuthorizationStatus::Pending, 1));
    assert_eq!(found.challenge, Some((ChallengeType::Dns01, AcmeChallengeState::Processing)));
    assert_eq!((found.next_attempt_at_ms, found.error), (Some(NOW_MS + 2000), Some(problem("timeout"))));
    assert_eq!(storage.acme_order(11, None).await.unwrap().unwrap().0.status, AcmeOrderStatus::Pending);
    let due = async |now| storage.due_validations("you", NOW_MS + now, NOW_MS + now + 5000, 10).await.unwrap();
    assert!(due(1999).await.is_empty());
    let leased = due(2000).await;
    assert_eq!((leased.len(), leased[0].id, leased[0].attempts), (1, 110, 1));
    assert!(due(6999).await.is_empty(), "leased");
    assert_eq!(due(7000).await.len(), 1, "its holder has gone");
}

async fn a_failure_for_good_fails_pending_orders_that_depend_on_it(fixture: Fixture) {
    let storage = with_look(&fixture).await;
    for id in [12, 13, 14] {
        let mut other = order(id, 1, &["a.internal", "b.internal"]);
        if id != 14 {
            other.authorizations[0] = OrderAuthorization::Existing(110);
        }
        place(&*storage, other).await;
    }
    storage.fail_acme_order(13, &problem("earlier")).await.unwrap();
    assert!(storage.finish_validation(failed(110, "me")).await.unwrap());
    let state = async |id| {
        let (order, _) = storage.acme_order(id, None).await.unwrap().unwrap();
        (order.status, order.error.map(|error| error.detail))
    };
    for id in [11, 12] {
        assert_eq!(state(id).await, (AcmeOrderStatus::Invalid, Some("no TXT record".to_owned())));
    }
    assert_eq!(state(13).await, (AcmeOrderStatus::Invalid, Some("earlier".to_owned())));
    assert_eq!(state(14).await, (AcmeOrderStatus::Pending, None));
    let found = storage.acme_authorization(110, None).await.unwrap().unwrap();
    assert_eq!(found.status, AcmeAuthorizationStatus::Invalid);
    assert_eq!(found.challenge, Some((ChallengeType::Dns01, AcmeChallengeState::Invalid)));
    assert_eq!((found.attempts, found.error), (1, Some(problem("no TXT record"))));
    let filter = AuditFilter { action: Some("acme.validation.fail".to_owned()), ..AuditFilter::default() };
    assert_eq!(storage.audit_events(&filter, None, 10).await.unwrap().items.len(), 1);
}

async fn only_the_holder_of_the_lease_writes_the_result(fixture: Fixture) {
    let storage = with_look(&fixture).await;
    let valid = || ValidationOutcome::Valid { expires_at: at(5000) };
    assert!(!storage.finish_validation(result(110, "you", valid())).await.unwrap());
    let late = ValidationResult { now: at(1000), ..result(110, "me", valid()) };
    assert!(!storage.finish_validation(late).await.unwrap(), "past its end");
    assert_eq!(storage.due_validations("you", NOW_MS + 5000, NOW_MS + 9000, 10).await.unwrap().len(), 1);
    assert!(!storage.finish_validation(failed(110, "me")).await.unwrap(), "it lost the lease");
    assert_eq!(storage.acme_order(11, None).await.unwrap().unwrap().0.status, AcmeOrderStatus::Pending);
    assert!(storage.deactivate_acme_authorization(110, 1, &problem("x")).await.unwrap());
    assert!(!storage.finish_validation(result(110, "you", valid())).await.unwrap(), "not pending any more");
    let status = storage.acme_authorization(110, None).await.unwrap().unwrap().status;
    assert_eq!(status, AcmeAuthorizationStatus::Deactivated);
    assert!(storage.due_validations("you", NOW_MS + 9999, NOW_MS + 99_999, 10).await.unwrap().is_empty());
}

async fn what_ended_while_it_was_looked_at_is_due_and_becomes_invalid(fixture: Fixture) {
    let storage = with_look(&fixture).await;
    let due = async || storage.due_validations("you", NOW_MS + 1_000_000, NOW_MS + 1_005_000, 10).await.unwrap();
    assert_eq!(due().await.len(), 1);
    let late = |result| ValidationResult { now: at(1000), ..result };
    let valid = ValidationOutcome::Valid { expires_at: at(5000) };
    assert!(!storage.finish_validation(late(result(110, "you", valid))).await.unwrap());
    assert!(storage.finish_validation(late(failed(110, "you"))).await.unwrap());
    let found = storage.acme_authorization(110, None).await.unwrap().unwrap();
    assert_eq!(found.status, AcmeAuthorizationStatus::Invalid);
    assert_eq!(storage.acme_order(11, None).await.unwrap().unwrap().0.status, AcmeOrderStatus::Invalid);
    assert!(storage.due_validations("me", NOW_MS + 9_000_000, NOW_MS + 9_005_000, 10).await.unwrap().is_empty());
}

async fn of_32_that_write_the_result_one_does(fixture: Fixture) {
    let storage = with_look(&fixture).await;
    let answers = at_once(&storage, |storage, number| async move {
        let result = if number % 2 == 0 {
            failed(110, "me")
        } else {
            result(110, "me", ValidationOutcome::Valid { expires_at: at(5000) })
        };
        storage.finish_validation(result).await.unwrap()
    })
    .await;
    assert_eq!(answers.iter().filter(|written| **written).count(), 1);
}

async fn a_failure_is_charged_though_the_limit_is_used_up(fixture: Fixture) {
    let storage = with_look(&fixture).await;
    // Not written, not charged.
    let charged = |holder: &str| ValidationResult { charges: vec![charge("failed", 0)], ..failed(110, holder) };
    assert!(!storage.finish_validation(charged("you")).await.unwrap());
    for number in 0..10 {
        assert_eq!(storage.charge_rate_limits(vec![charge("failed", 0)]).await.unwrap(), None, "number {number}");
    }
    assert!(storage.finish_validation(charged("me")).await.unwrap());
    place(&*storage, order(12, 1, &["b.internal"])).await;
    storage.start_validation(start(120, "me")).await.unwrap().unwrap();
    let other = ValidationResult { charges: vec![charge("other", 0)], ..failed(120, "me") };
    assert!(storage.finish_validation(other).await.unwrap());
    for number in 0..9 {
        assert_eq!(storage.charge_rate_limits(vec![charge("other", 0)]).await.unwrap(), None, "number {number}");
    }
    assert!(storage.charge_rate_limits(vec![charge("other", 0)]).await.unwrap().is_some());
}

async fn due_looks_are_leased_to_one(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    let second = fixture.open().await;
    for id in 0..40 {
        place(&*storage, order(id, 1, &["a.internal"])).await;
        let begin = StartValidation { lease_until_ms: NOW_MS + 10, ..start(id * 10, "gone") };
        storage.start_validation(begin).await.unwrap().unwrap();
    }
    let lease = |storage: std::sync::Arc<dyn Storage>, number: i64| async move {
        storage.due_validations(&format!("{number}"), NOW_MS + 10, NOW_MS + 500, 3).await.unwrap()
    };
    let (one, other) = tokio::join!(at_once(&storage, lease), at_once(&second, lease));
    let mut leased: Vec<i64> = one.iter().chain(&other).flatten().map(|one| one.id).collect();
    leased.sort_unstable();
    assert_eq!(leased, (0..40).map(|id| id * 10).collect::<Vec<_>>(), "each to one, and all of them");
    assert!(storage.due_validations("me", NOW_MS + 499, NOW_MS + 900, 100).await.unwrap().is_empty());
}

/// Begins a look of an account whose lease has ended, or not.
async fn begin(storage: &dyn Storage, id: i64, account_id: i64, lease_until_ms: i64) {
    place(storage, order(id, account_id, &["a.internal"])).await;
    let begin = StartValidation { account_id, lease_until_ms, ..start(id * 10, "gone") };
    storage.start_validation(begin).await.unwrap().unwrap();
}

async fn accounts_take_turns_and_what_is_looked_at_counts(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    register(&*storage, 2).await;
    register(&*storage, 3).await;
    for id in 0..30 {
        begin(&*storage, id, 1, NOW_MS).await;
    }
    for id in 30..33 {
        begin(&*storage, id, 2, NOW_MS).await;
    }
    // Two of this one are looked at.
    for (id, lease) in [(33, NOW_MS + 9000), (34, NOW_MS + 9000), (35, NOW_MS)] {
        begin(&*storage, id, 3, lease).await;
    }
    let lease = async |limit| -> Vec<i64> {
        let leased = storage.due_validations("me", NOW_MS + 10, NOW_MS + 5000, limit).await.unwrap();
        let mut accounts: Vec<i64> = leased.iter().map(|one| one.account_id).collect();
        accounts.sort_unstable();
        accounts
    };
    assert_eq!(lease(2).await, [1, 2]);
    assert_eq!(lease(2).await, [1, 2], "what was leased before counts, and so the third has two");
    assert_eq!(lease(3).await, [1, 2, 3]);
    assert_eq!(lease(100).await, [1; 27], "and who is alone has all");
}

async fn so_many_challenges_of_one_account_are_looked_at(fixture: Fixture) {
    let storage = with_account(&fixture).await;
    register(&*storage, 2).await;
    for id in 1..=4 {
        place(&*storage, order(id, 1, &["a.internal"])).await;
    }
    place(&*storage, order(5, 2, &["a.internal"])).await;
    let begin = async |id, account_id| {
        let begin = StartValidation { account_id, most_processing: 3, ..start(id, "me") };
        storage.start_validation(begin).await.unwrap().is_some()
    };
    assert!(begin(10, 1).await && begin(20, 1).await && begin(30, 1).await);
    assert!(!begin(40, 1).await);
    assert!(begin(50, 2).await, "another account's");
    let count = async |most| storage.processing_validations(1, most).await.unwrap();
    assert_eq!((count(2).await, count(3).await, count(9).await), (2, 3, 3));
    let valid = result(10, "me", ValidationOutcome::Valid { expires_at: at(5000) });
    assert!(storage.finish_validation(valid).await.unwrap());
    assert!(begin(40, 1).await);
}

async fn one_past_its_end_is_due_so_that_it_is_ended(fixture: Fixture) {
    let storage = with_look(&fixture).await;
    let late = NOW_MS + 1_000_000;
    assert_eq!(storage.due_validations("you", late, late + 5000, 10).await.unwrap().len(), 1);
    let valid = ValidationOutcome::Valid { expires_at: at(5000) };
    let ended = ValidationResult { now: at(1000), ..result(110, "you", valid) };
    assert!(!storage.finish_validation(ended).await.unwrap());
    let ended = ValidationResult { now: at(1000), ..failed(110, "you") };
    assert!(storage.finish_validation(ended).await.unwrap());
    let found = storage.acme_authorization(110, None).await.unwrap().unwrap();
    assert_eq!(found.status, AcmeAuthorizationStatus::Invalid);
    assert!(storage.due_validations("you", late + 9000, late + 9999, 10).await.unwrap().is_empty());
}

async fn an_order_made_while_its_authorization_fails_does_not_stay_pending(fixture: Fixture) {
    for round in 1..=5 {
        let storage = if round == 1 { with_account(&fixture).await } else { fixture.open().await };
        let base = round * 1000;
        place(&*storage, order(base, 1, &["a.internal"])).await;
        let authorization = base * 10;
        storage.start_validation(start(authorization, "me")).await.unwrap().unwrap();
        at_once(&storage, |storage, number| async move {
            if number == 16 {
                assert!(storage.finish_validation(failed(authorization, "me")).await.unwrap());
                return;
            }
            let mut other = order(base + 1 + number, 1, &["a.internal"]);
            other.authorizations = vec![OrderAuthorization::Existing(authorization)];
            if let Err(error) = storage.create_acme_order(other, Vec::new()).await {
                assert_eq!(error.kind(), chancery::ErrorKind::Conflict);
            }
        })
        .await;
        assert!(storage.acme_account_orders(1, None, 100).await.unwrap().is_empty());
    }
}
