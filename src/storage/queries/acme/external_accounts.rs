//! External account keys.

use diesel::{BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;

use super::{Backend, Connection, Statement, audit, idempotency};
use crate::error::Result;
use crate::signer::sealing::Sealed;
use crate::storage::rows::IdempotencyRow;
use crate::storage::rows::acme::{ExternalAccountKeyRow, NewExternalAccountKeyRow};
use crate::storage::schema::acme_external_account_keys;
use crate::storage::{
    AuditEvent, ExternalAccountKeyRecord, IdempotencyClaim, IdempotencyResult, NewExternalAccountKey, Recorded,
};
use crate::x509::Timestamp;

/// Records a key, with an idempotency key and its sealed answer.
pub(in super::super::super) async fn create(
    connection: &mut Connection,
    key: NewExternalAccountKey,
    idempotency: Option<(IdempotencyClaim, Sealed)>,
    event: AuditEvent,
) -> Result<Recorded> {
    if let Some((claim, sealed)) = idempotency {
        let row = IdempotencyRow::new(claim, IdempotencyResult::Sealed(sealed));
        if let Some(holder) = idempotency::claim(connection, &row, key.created_at).await? {
            return Ok(Recorded::Replayed(holder.into_answer()?));
        }
    }
    diesel::insert_into(acme_external_account_keys::table)
        .values(NewExternalAccountKeyRow::from(&key))
        .execute(connection)
        .await?;
    audit::append(connection, vec![event]).await?;
    Ok(Recorded::Committed)
}

/// Finds a key by its identifier.
pub(in super::super::super) async fn find(
    connection: &mut Connection,
    key_id: String,
) -> Result<Option<ExternalAccountKeyRecord>> {
    let row: Option<ExternalAccountKeyRow> = acme_external_account_keys::table
        .filter(acme_external_account_keys::key_id.eq(key_id))
        .select(ExternalAccountKeyRow::as_select())
        .first(connection)
        .await
        .optional()?;
    Ok(row.map(ExternalAccountKeyRecord::from))
}

/// Lists keys that are not deleted, newest first.
pub(in super::super::super) async fn list(
    connection: &mut Connection,
    principal: Option<String>,
    before: Option<i64>,
    limit: u16,
) -> Result<Vec<ExternalAccountKeyRecord>> {
    let mut query: acme_external_account_keys::BoxedQuery<'static, Backend> =
        acme_external_account_keys::table.into_boxed();
    if let Some(principal) = principal {
        query = query.filter(acme_external_account_keys::principal.eq(principal));
    }
    let rows: Vec<ExternalAccountKeyRow> = query
        .filter(
            acme_external_account_keys::deleted_at
                .is_null()
                .and(acme_external_account_keys::id.lt(before.unwrap_or(i64::MAX))),
        )
        .order(acme_external_account_keys::id.desc())
        .limit(i64::from(limit))
        .select(ExternalAccountKeyRow::as_select())
        .load(connection)
        .await?;
    Ok(rows.into_iter().map(ExternalAccountKeyRecord::from).collect())
}

/// Deletes a key; answers whether there was one.
pub(in super::super::super) async fn delete(
    connection: &mut Connection,
    key_id: String,
    principal: Option<String>,
    now: Timestamp,
    event: AuditEvent,
) -> Result<bool> {
    let deleted = Statement::new(
        "UPDATE acme_external_account_keys SET deleted_at = ? WHERE key_id = ? AND deleted_at IS NULL \
         AND principal = COALESCE(?, principal)",
    )
    .bind(now.unix())
    .bind(key_id)
    .bind(principal)
    .execute(connection)
    .await?;
    if deleted == 0 {
        return Ok(false);
    }
    audit::append(connection, vec![event]).await?;
    Ok(true)
}

/// Deletes the keys of a principal that is no more, and those that it made for others.
pub(in super::super) async fn delete_of_principal(
    connection: &mut Connection,
    principal: String,
    now: Timestamp,
) -> Result<()> {
    for of_principal in ["principal", "created_by"] {
        Statement::new(format!(
            "UPDATE acme_external_account_keys SET deleted_at = ? WHERE {of_principal} = ? AND deleted_at IS NULL"
        ))
        .bind(now.unix())
        .bind(principal.as_str())
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// Binds an account by a key; answers whether the key may be used for it.
pub(super) async fn take(connection: &mut Connection, id: i64, now: Timestamp) -> Result<bool> {
    // Of two that use a key for single use at once, the second waits and finds it used.
    let bound = Statement::new(
        "UPDATE acme_external_account_keys SET bound_at = ? WHERE id = ? AND deleted_at IS NULL \
         AND (expires_at IS NULL OR expires_at > ?) AND (bound_at IS NULL OR NOT single_use)",
    )
    .bind(now.unix())
    .bind(id)
    .bind(now.unix())
    .execute(connection)
    .await?;
    Ok(bound == 1)
}
