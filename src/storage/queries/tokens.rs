//! API tokens.

use diesel::{ExpressionMethods, OptionalExtension, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;

use super::acme::external_accounts;
use super::{Connection, audit, dialect, idempotency, operation};
use crate::error::{Error, Result};
use crate::signer::sealing::Sealed;
use crate::storage::rows::{IdempotencyRow, NewTokenRow, TokenRow};
use crate::storage::schema::api_tokens;
use crate::storage::{AuditEvent, IdempotencyClaim, IdempotencyResult, NewToken, Recorded, TokenRecord};
use crate::x509::Timestamp;

/// Records an API token, with an idempotency key and its sealed answer.
pub(in super::super) async fn create(
    connection: &mut Connection,
    token: NewToken,
    idempotency: Option<(IdempotencyClaim, Sealed)>,
    event: AuditEvent,
) -> Result<Recorded> {
    dialect::serialise_configuration(connection).await?;
    if let Some((claim, sealed)) = idempotency {
        let row = IdempotencyRow::new(claim, IdempotencyResult::Sealed(sealed));
        if let Some(holder) = idempotency::claim(connection, &row, token.created_at).await? {
            return Ok(Recorded::Replayed(holder.into_answer()?));
        }
    }
    let inserted = diesel::insert_into(api_tokens::table)
        .values(NewTokenRow::from(&token))
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    if inserted == 0 {
        return Err(Error::conflict(format!("a token named `{}` exists and is not revoked", token.name)));
    }
    audit::append(connection, vec![event]).await?;
    operation::raise_generation(connection).await?;
    Ok(Recorded::Committed)
}

/// Finds a token by the SHA-256 of its secret.
pub(in super::super) async fn by_secret(
    connection: &mut Connection,
    secret_sha256: [u8; 32],
) -> Result<Option<TokenRecord>> {
    let row: Option<TokenRow> = api_tokens::table
        .filter(api_tokens::secret_sha256.eq(secret_sha256.as_slice()))
        .select(TokenRow::as_select())
        .first(connection)
        .await
        .optional()?;
    Ok(row.map(TokenRecord::from))
}

/// Lists tokens by row, newest first.
pub(in super::super) async fn list(
    connection: &mut Connection,
    before: Option<i64>,
    limit: u16,
) -> Result<Vec<TokenRecord>> {
    let rows: Vec<TokenRow> = api_tokens::table
        .filter(api_tokens::number.lt(before.unwrap_or(i64::MAX)))
        .order(api_tokens::number.desc())
        .limit(i64::from(limit))
        .select(TokenRow::as_select())
        .load(connection)
        .await?;
    Ok(rows.into_iter().map(TokenRecord::from).collect())
}

/// Revokes a token, and deletes the external account keys of its principal and those that it made; answers it, or `None` when there is none that is not revoked.
pub(in super::super) async fn revoke(
    connection: &mut Connection,
    id: String,
    now: Timestamp,
    event: AuditEvent,
) -> Result<Option<TokenRecord>> {
    dialect::serialise_configuration(connection).await?;
    let row: Option<TokenRow> =
        diesel::update(api_tokens::table.filter(api_tokens::id.eq(id)).filter(api_tokens::revoked_at.is_null()))
            .set(api_tokens::revoked_at.eq(now.unix()))
            .returning(TokenRow::as_returning())
            .get_result(connection)
            .await
            .optional()?;
    if let Some(row) = &row {
        // What it handed out ends with it.
        external_accounts::delete_of_principal(connection, format!("token:{}", row.name()), now).await?;
        audit::append(connection, vec![event]).await?;
        operation::raise_generation(connection).await?;
    }
    Ok(row.map(TokenRecord::from))
}
