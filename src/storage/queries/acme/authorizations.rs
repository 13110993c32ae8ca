//! Authorizations and the looks at their challenges.

use std::collections::BTreeSet;

use diesel::OptionalExtension;
use diesel_async::RunQueryDsl;

use super::accounts::Row;
use super::{Connection, Statement, audit, dialect, orders, rate_limits};
use crate::error::Result;
use crate::policy::acme::Identifier;
use crate::storage::group_commit::Ending;
use crate::storage::rows::acme::{AUTHORIZATION_COLUMNS, AuthorizationRow, encode};
use crate::storage::{AcmeAuthorizationRecord, AcmeProblem, StartValidation, ValidationOutcome, ValidationResult};
use crate::x509::Timestamp;

/// The most valid authorizations that are read to find the latest for each identifier.
const MOST_VALID: i64 = 10_000;

/// Lists the latest valid authorization for each of these identifiers.
pub(in super::super::super) async fn valid(
    connection: &mut Connection,
    account_id: i64,
    identifiers: Vec<Identifier>,
    until: Timestamp,
) -> Result<Vec<AcmeAuthorizationRecord>> {
    let mut values: BTreeSet<String> = identifiers.iter().map(Identifier::authorization_value).collect();
    let select = |condition: &str| {
        Statement::new(format!(
            "SELECT {AUTHORIZATION_COLUMNS} FROM acme_authorizations WHERE account_id = ? AND identifier {condition} \
             AND status = 1 AND expires_at > ? ORDER BY expires_at DESC, id DESC LIMIT ?"
        ))
        .bind(account_id)
    };
    let statement = match values.pop_first() {
        // Most orders have one: of a list PostgreSQL may make a filter behind the index, and then reads all that the account has proven.
        Some(only) if values.is_empty() => select("= ?").bind(only),
        first => {
            values.extend(first);
            select(dialect::IN_TEXTS).bind(dialect::List::texts(values.into_iter().collect())?)
        }
    };
    let rows: Vec<AuthorizationRow> = statement.bind(until.unix()).bind(MOST_VALID).load(connection).await?;
    let mut wanted: BTreeSet<Identifier> = identifiers.into_iter().collect();
    let mut found = Vec::new();
    for row in rows {
        let record = row.into_record()?;
        if wanted.remove(&record.identifier) {
            found.push(record);
        }
    }
    Ok(found)
}

/// Whether authorizations of an account are pending or valid; they stay so until the transaction ends.
pub(super) async fn hold(connection: &mut Connection, account_id: i64, ids: Vec<i64>) -> Result<bool> {
    let distinct: BTreeSet<i64> = ids.into_iter().collect();
    let found: Vec<Row> = Statement::new(format!(
        "SELECT id FROM acme_authorizations WHERE id {} AND account_id = ? AND status < 2 ORDER BY id{}",
        dialect::IN_NUMBERS,
        dialect::FOR_SHARE
    ))
    .bind(dialect::List::numbers(distinct.iter().copied().collect())?)
    .bind(account_id)
    .load(connection)
    .await?;
    Ok(found.len() == distinct.len())
}

/// Finds an authorization.
pub(in super::super::super) async fn find(
    connection: &mut Connection,
    id: i64,
    account_id: Option<i64>,
) -> Result<Option<AcmeAuthorizationRecord>> {
    let row: Option<AuthorizationRow> = Statement::new(format!(
        "SELECT {AUTHORIZATION_COLUMNS} FROM acme_authorizations WHERE id = ? AND account_id = COALESCE(?, account_id)"
    ))
    .bind(id)
    .bind(account_id)
    .get_result(connection)
    .await
    .optional()?;
    row.map(AuthorizationRow::into_record).transpose()
}

/// Deactivates a pending or valid authorization.
pub(in super::super::super) async fn deactivate(
    connection: &mut Connection,
    id: i64,
    account_id: i64,
    error: AcmeProblem,
) -> Result<bool> {
    let deactivated = Statement::new(
        "UPDATE acme_authorizations SET status = 3, next_attempt_at = NULL, lease_holder = NULL, lease_until = NULL \
         WHERE id = ? AND account_id = ? AND status < 2",
    )
    .bind(id)
    .bind(account_id)
    .execute(connection)
    .await?;
    if deactivated == 0 {
        return Ok(false);
    }
    orders::fail_dependent(connection, id, &error).await?;
    Ok(true)
}

/// The challenges of an account that were answered and are not decided yet, up to a number.
const PROCESSING: &str = "SELECT 1 FROM acme_authorizations AS looked_at WHERE looked_at.account_id = ? \
    AND looked_at.status = 0 AND looked_at.challenge_state = 0 LIMIT ?";

/// A number as read.
#[derive(Debug, diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    number: i64,
}

/// Counts the challenges of an account that were answered and are not decided yet.
pub(in super::super::super) async fn processing(
    connection: &mut Connection,
    account_id: i64,
    most: u32,
) -> Result<u32> {
    let count: Count = Statement::new(format!("SELECT COUNT(*) AS number FROM ({PROCESSING}) AS processing"))
        .bind(account_id)
        .bind(i64::from(most))
        .get_result(connection)
        .await?;
    Ok(u32::try_from(count.number).unwrap_or(u32::MAX))
}

/// Begins a validation.
pub(in super::super::super) async fn start(
    connection: &mut Connection,
    start: StartValidation,
) -> Result<Option<AcmeAuthorizationRecord>> {
    let within_limit = match &start.limit {
        Some(_) => "AND NOT EXISTS (SELECT 1 FROM acme_rate_limits WHERE key = ? AND arrival > ?) ",
        None => "",
    };
    let statement = Statement::new(format!(
        "UPDATE acme_authorizations SET challenge_type = ?, challenge_state = 0, thumbprint = ?, account_url = ?, \
         next_attempt_at = ?, lease_holder = ?, lease_until = ? \
         WHERE id = ? AND account_id = ? AND status = 0 AND challenge_state IS NULL AND expires_at > ? \
         AND EXISTS (SELECT 1 FROM acme_accounts WHERE acme_accounts.id = acme_authorizations.account_id AND acme_accounts.status = 0) \
         AND (SELECT COUNT(*) FROM ({PROCESSING}) AS processing) < ? {within_limit}RETURNING {AUTHORIZATION_COLUMNS}"
    ))
    .bind(start.challenge.as_str())
    .bind(start.thumbprint.as_slice())
    .bind(start.account_url)
    .bind(start.now_ms)
    .bind(start.holder)
    .bind(start.lease_until_ms)
    .bind(start.id)
    .bind(start.account_id)
    .bind(start.now_ms.div_euclid(1000))
    .bind(start.account_id)
    .bind(i64::from(start.most_processing))
    .bind(i64::from(start.most_processing));
    let statement = match &start.limit {
        Some(limit) => statement.bind(limit.key.as_str()).bind(rate_limits::latest(limit)),
        None => statement,
    };
    let row: Option<AuthorizationRow> = statement.get_result(connection).await.optional()?;
    row.map(AuthorizationRow::into_record).transpose()
}

/// How many of those that are due the longest are put in turns by account. With the most that one account may have they are of many accounts.
const HEAD: i64 = 4096;

/// How many more than wanted are looked at, since others may lease some of them in the same moment.
const SPARE: i64 = 256;

/// Leases authorizations whose next look is due and that nobody looks at, in turns by account: what is looked at already counts, so that an
/// account whose looks take long does not keep others waiting. Also those past their end, for that to be written down.
pub(in super::super::super) async fn due(
    connection: &mut Connection,
    holder: String,
    now_ms: i64,
    lease_until_ms: i64,
    limit: u16,
) -> Result<Vec<AcmeAuthorizationRecord>> {
    let rows: Vec<AuthorizationRow> = Statement::new(format!(
        "WITH head AS MATERIALIZED (SELECT id, account_id, next_attempt_at, \
         CASE WHEN lease_until > ? THEN 0 ELSE 1 END AS waits FROM acme_authorizations \
         WHERE status = 0 AND challenge_state = 0 AND next_attempt_at <= ? ORDER BY next_attempt_at LIMIT ?), \
         turns AS MATERIALIZED (SELECT id, next_attempt_at, waits, \
         ROW_NUMBER() OVER (PARTITION BY account_id ORDER BY waits, next_attempt_at, id) AS turn FROM head), \
         candidates AS MATERIALIZED (SELECT id, turn, next_attempt_at FROM turns WHERE waits = 1 \
         ORDER BY turn, next_attempt_at, id LIMIT ?), \
         due AS MATERIALIZED (SELECT acme_authorizations.id FROM candidates CROSS JOIN acme_authorizations \
         WHERE acme_authorizations.id = candidates.id AND acme_authorizations.status = 0 \
         AND acme_authorizations.challenge_state = 0 \
         AND (acme_authorizations.lease_until IS NULL OR acme_authorizations.lease_until <= ?) \
         ORDER BY candidates.turn, candidates.next_attempt_at, candidates.id LIMIT ?{}) \
         UPDATE acme_authorizations SET lease_holder = ?, lease_until = ? \
         WHERE status = 0 AND id IN (SELECT id FROM due) RETURNING {AUTHORIZATION_COLUMNS}",
        dialect::FOR_UPDATE_SKIP_LOCKED
    ))
    .bind(now_ms)
    .bind(now_ms)
    .bind(HEAD)
    .bind(i64::from(limit).saturating_add(SPARE))
    .bind(now_ms)
    .bind(i64::from(limit))
    .bind(holder)
    .bind(lease_until_ms)
    .load(connection)
    .await?;
    rows.into_iter().map(AuthorizationRow::into_record).collect()
}

/// Writes down what a look came to. What it was charged to is given back when the result is not written.
pub(in super::super::super) async fn finish(
    connection: &mut Connection,
    result: ValidationResult,
) -> Result<Ending<bool>> {
    let ValidationResult { id, holder, now, outcome, charges, audit: event } = result;
    if let ValidationOutcome::Invalid { .. } = outcome {
        // Before the authorization, in the order of locks; undone if the result is not written.
        rate_limits::charge_where_possible(connection, charges).await?;
    }
    let counts = match outcome {
        ValidationOutcome::Valid { .. } | ValidationOutcome::Invalid { .. } => true,
        ValidationOutcome::Retry { counts, .. } => counts,
    };
    let ends = format!("attempts = attempts + {}, lease_holder = NULL, lease_until = NULL", i32::from(counts));
    // One that is past its end can still be ended, and comes to nothing else.
    let is_held = match outcome {
        ValidationOutcome::Invalid { .. } => "WHERE id = ? AND status = 0 AND challenge_state = 0 AND lease_holder = ?",
        ValidationOutcome::Valid { .. } | ValidationOutcome::Retry { .. } => {
            "WHERE id = ? AND status = 0 AND challenge_state = 0 AND lease_holder = ? AND expires_at > ?"
        }
    };
    let statement = match &outcome {
        ValidationOutcome::Valid { expires_at } => Statement::new(format!(
            "UPDATE acme_authorizations SET status = 1, challenge_state = 1, next_attempt_at = NULL, error = NULL, \
             validated_at = ?, expires_at = ?, {ends} {is_held}"
        ))
        .bind(now.unix())
        .bind(expires_at.unix()),
        ValidationOutcome::Retry { error, next_attempt_at_ms, .. } => {
            Statement::new(format!("UPDATE acme_authorizations SET next_attempt_at = ?, error = ?, {ends} {is_held}"))
                .bind(*next_attempt_at_ms)
                .bind(encode("a problem", error)?)
        }
        ValidationOutcome::Invalid { error } => Statement::new(format!(
            "UPDATE acme_authorizations SET status = 2, challenge_state = 2, next_attempt_at = NULL, error = ?, \
             {ends} {is_held}"
        ))
        .bind(encode("a problem", error)?),
    };
    let statement = statement.bind(id).bind(holder);
    let statement = match outcome {
        ValidationOutcome::Invalid { .. } => statement,
        ValidationOutcome::Valid { .. } | ValidationOutcome::Retry { .. } => statement.bind(now.unix()),
    };
    let written = statement.execute(connection).await?;
    if written == 0 {
        return Ok(Ending::Undo(false));
    }
    if let ValidationOutcome::Invalid { error } = &outcome {
        orders::fail_dependent(connection, id, error).await?;
    }
    audit::append(connection, event.into_iter().collect()).await?;
    Ok(Ending::Commit(true))
}

/// Ends the leases of a process that stops: of validations, and of orders that are finalized in the background.
pub(in super::super::super) async fn release(connection: &mut Connection, holder: String) -> Result<()> {
    Statement::new(
        "UPDATE acme_authorizations SET lease_until = 0 WHERE status = 0 AND challenge_state = 0 AND lease_holder = ?",
    )
    .bind(holder.clone())
    .execute(connection)
    .await?;
    Statement::new("UPDATE acme_orders SET lease_until = 0 WHERE status = 1 AND lease_holder = ?")
        .bind(holder)
        .execute(connection)
        .await?;
    Ok(())
}
