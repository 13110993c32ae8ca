//! Accounts.

use diesel::sql_types::BigInt;
use diesel::{ExpressionMethods, OptionalExtension, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;

use super::walk::{Clause, Fragment, Index, Range, Source, Walk};
use super::{Connection, Statement, audit, dialect, external_accounts, rate_limits};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::group_commit::Ending;
use crate::storage::rows::acme::{AccountRow, ExternalAccountKeyRow, NewAccountRow, account_status_code, encode};
use crate::storage::schema::{acme_accounts, acme_external_account_keys};
use crate::storage::{
    AcmeAccountChange, AcmeAccountCreated, AcmeAccountFilter, AcmeAccountRecord, AcmeAccountStatus, AcmeKeyChanged,
    AcmeProblem, AuditEvent, NewAcmeAccount, Page, RateLimitCharge,
};
use crate::x509::Timestamp;

/// A row number as read.
#[derive(Debug, diesel::QueryableByName)]
pub(super) struct Row {
    #[diesel(sql_type = BigInt)]
    pub(super) id: i64,
}

/// Accounts joined with their external account keys.
macro_rules! accounts_with_keys {
    () => {
        acme_accounts::table
            .left_join(acme_external_account_keys::table)
            .select((AccountRow::as_select(), Option::<ExternalAccountKeyRow>::as_select()))
    };
}

/// Records an account.
pub(in super::super::super) async fn create(
    connection: &mut Connection,
    account: NewAcmeAccount,
    charges: Vec<RateLimitCharge>,
    event: AuditEvent,
) -> Result<Ending<AcmeAccountCreated>> {
    let inserted = diesel::insert_into(acme_accounts::table)
        .values(NewAccountRow::new(&account)?)
        .on_conflict(acme_accounts::thumbprint)
        .do_nothing()
        .execute(connection)
        .await?;
    if inserted == 0 {
        let there = by_key(connection, account.thumbprint).await?;
        // It was given another key between the statements (PostgreSQL): the same request may win next time.
        let there = there.ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "the account's key is being released").with_retry_after(1)
        })?;
        return Ok(Ending::Undo(AcmeAccountCreated::Exists(Box::new(there))));
    }
    if let Some((key, _binding)) = account.binding
        && !external_accounts::take(connection, key, account.created_at).await?
    {
        return Ok(Ending::Undo(AcmeAccountCreated::BindingUnusable));
    }
    if let Some(limited) = rate_limits::charge(connection, charges).await? {
        return Ok(Ending::Undo(AcmeAccountCreated::RateLimited(limited)));
    }
    audit::append(connection, vec![event]).await?;
    Ok(Ending::Commit(AcmeAccountCreated::Created))
}

/// Finds an account by row.
pub(in super::super::super) async fn find(connection: &mut Connection, id: i64) -> Result<Option<AcmeAccountRecord>> {
    let row: Option<(AccountRow, Option<ExternalAccountKeyRow>)> =
        accounts_with_keys!().filter(acme_accounts::id.eq(id)).first(connection).await.optional()?;
    row.map(|(account, key)| account.into_record(key)).transpose()
}

/// Finds an account by the thumbprint of its key.
pub(in super::super::super) async fn by_key(
    connection: &mut Connection,
    thumbprint: [u8; 32],
) -> Result<Option<AcmeAccountRecord>> {
    let row: Option<(AccountRow, Option<ExternalAccountKeyRow>)> = accounts_with_keys!()
        .filter(acme_accounts::thumbprint.eq(thumbprint.as_slice()))
        .first(connection)
        .await
        .optional()?;
    row.map(|(account, key)| account.into_record(key)).transpose()
}

const TABLE: &str = "acme_accounts";
const ENDED: Index = Index {
    table: TABLE,
    name: Some("acme_accounts_ended"),
    columns: &["status"],
    row: "id",
    partial: Some("status <> 0"),
};

/// Lists accounts, newest first.
pub(in super::super::super) async fn list(
    connection: &mut Connection,
    filter: AcmeAccountFilter,
    before: Option<i64>,
    limit: u16,
) -> Result<Page<AcmeAccountRecord>> {
    let mut clauses = Vec::new();
    if let Some(thumbprint) = filter.thumbprint {
        let condition = Fragment::new("acme_accounts.thumbprint = ?").bind(thumbprint.as_slice());
        let select = Fragment::new("SELECT id FROM acme_accounts WHERE thumbprint = ?").bind(thumbprint.as_slice());
        clauses.push(Clause::exactly(condition, Source::Few(select)));
    }
    if let Some(key_id) = filter.external_account_key {
        clauses.push(of_keys("key_id", &key_id));
    }
    if let Some(principal) = filter.principal {
        clauses.push(of_keys("principal", &principal));
    }
    if let Some(status) = filter.status {
        let code = account_status_code(status);
        let condition = Fragment::new(format!("acme_accounts.status = {code}"));
        clauses.push(match status {
            AcmeAccountStatus::Valid => Clause::filter(condition),
            AcmeAccountStatus::Deactivated | AcmeAccountStatus::Revoked => {
                Clause::exactly(condition, Source::Entries(&ENDED, vec![vec![code.into()]]))
            }
        });
    }
    let range = Range::ALL.behind(before, true);
    let walk = Walk::choose(connection, TABLE, clauses, range, true).await?;
    let found: Vec<Row> = walk.page("acme_accounts.id", limit).load(connection).await?;
    let ids: Vec<i64> = found.iter().map(|row| row.id).collect();
    let next = walk.next(connection, limit, &ids).await?.map(|row| (0, row));
    if ids.is_empty() {
        return Ok(Page { items: Vec::new(), next });
    }
    let rows: Vec<(AccountRow, Option<ExternalAccountKeyRow>)> = accounts_with_keys!()
        .filter(acme_accounts::id.eq_any(ids))
        .order(acme_accounts::id.desc())
        .load(connection)
        .await?;
    let items = rows.into_iter().map(|(account, key)| account.into_record(key)).collect::<Result<_>>()?;
    Ok(Page { items, next })
}

/// The condition that an account is bound by a key of which a column has a value.
fn of_keys(column: &str, value: &str) -> Clause {
    let condition = format!(
        "EXISTS (SELECT 1 FROM acme_external_account_keys WHERE acme_external_account_keys.id = \
         acme_accounts.external_account_key_id AND {column} = ? LIMIT 1 OFFSET 0)"
    );
    let select = format!(
        "SELECT acme_accounts.id FROM acme_external_account_keys JOIN acme_accounts \
         ON acme_accounts.external_account_key_id = acme_external_account_keys.id WHERE {column} = ?"
    );
    Clause::exactly(Fragment::new(condition).bind(value), Source::Unordered(Fragment::new(select).bind(value)))
}

/// Changes a valid account.
pub(in super::super::super) async fn change(
    connection: &mut Connection,
    id: i64,
    change: AcmeAccountChange,
    event: AuditEvent,
) -> Result<Ending<Option<AcmeAccountRecord>>> {
    let contacts = change.contacts.map(|contacts| encode("contacts", &contacts)).transpose()?;
    let (key, binding) = change.binding.unzip();
    let changed = Statement::new(
        "UPDATE acme_accounts SET contacts = COALESCE(?, contacts), terms_of_service = COALESCE(?, terms_of_service), \
         external_account_key_id = COALESCE(?, external_account_key_id), \
         external_account_binding = COALESCE(?, external_account_binding), \
         rate_limits = CASE WHEN ? THEN ? ELSE rate_limits END \
         WHERE id = ? AND status = 0 AND (external_account_key_id IS NULL OR ?)",
    )
    .bind(contacts)
    .bind(change.terms_of_service)
    .bind(key)
    .bind(binding)
    .bind(change.rate_limits.is_some())
    .bind(change.rate_limits.flatten())
    .bind(id)
    .bind(key.is_none())
    .execute(connection)
    .await?;
    if changed == 0 {
        return Ok(Ending::Undo(None));
    }
    if let Some(key) = key {
        let now = Timestamp::from_unix(event.occurred_at_ms.div_euclid(1000));
        if !external_accounts::take(connection, key, now).await? {
            return Ok(Ending::Undo(None));
        }
    }
    audit::append(connection, vec![event]).await?;
    Ok(Ending::Commit(find(connection, id).await?))
}

/// Ends a valid account with all that is open.
pub(in super::super::super) async fn end(
    connection: &mut Connection,
    id: i64,
    status: AcmeAccountStatus,
    error: AcmeProblem,
    event: AuditEvent,
) -> Result<bool> {
    let ended = Statement::new("UPDATE acme_accounts SET status = ? WHERE id = ? AND status = 0")
        .bind(account_status_code(status))
        .bind(id)
        .execute(connection)
        .await?;
    if ended == 0 {
        return Ok(false);
    }
    Statement::new(format!(
        "UPDATE acme_authorizations SET status = 3, next_attempt_at = NULL, lease_holder = NULL, lease_until = NULL \
         WHERE status = 0 AND id IN (SELECT id FROM acme_authorizations WHERE account_id = ? AND status = 0 \
         ORDER BY id{})",
        dialect::FOR_UPDATE
    ))
    .bind(id)
    .execute(connection)
    .await?;
    Statement::new(format!(
        "UPDATE acme_orders SET status = 3, error = ?, csr = NULL, lease_holder = NULL, lease_until = NULL \
         WHERE status < 2 AND id IN (SELECT id FROM acme_orders WHERE account_id = ? AND status < 2 ORDER BY id{})",
        dialect::FOR_UPDATE
    ))
    .bind(encode("a problem", &error)?)
    .bind(id)
    .execute(connection)
    .await?;
    audit::append(connection, vec![event]).await?;
    Ok(true)
}

/// Puts another key in the place of a valid account's.
pub(in super::super::super) async fn change_key(
    connection: &mut Connection,
    id: i64,
    from: [u8; 32],
    to: [u8; 32],
    jwk: String,
    event: AuditEvent,
) -> Result<AcmeKeyChanged> {
    let holder: Option<i64> = acme_accounts::table
        .filter(acme_accounts::thumbprint.eq(to.as_slice()))
        .select(acme_accounts::id)
        .first(connection)
        .await
        .optional()?;
    if let Some(holder) = holder {
        return Ok(AcmeKeyChanged::Taken(holder));
    }
    // Whoever takes the key between the statements makes this one fail, and the caller look again.
    let changed = Statement::new(
        "UPDATE acme_accounts SET thumbprint = ?, jwk = ? WHERE id = ? AND status = 0 AND thumbprint = ?",
    )
    .bind(to.as_slice())
    .bind(jwk)
    .bind(id)
    .bind(from.as_slice())
    .execute(connection)
    .await?;
    if changed == 0 {
        return Ok(AcmeKeyChanged::Stale);
    }
    audit::append(connection, vec![event]).await?;
    Ok(AcmeKeyChanged::Changed)
}

/// Whether an account is valid; it stays so until the transaction ends.
pub(super) async fn hold_valid(connection: &mut Connection, id: i64) -> Result<bool> {
    let found: Option<Row> =
        Statement::new(format!("SELECT id FROM acme_accounts WHERE id = ? AND status = 0{}", dialect::FOR_SHARE))
            .bind(id)
            .get_result(connection)
            .await
            .optional()?;
    Ok(found.is_some_and(|row| row.id == id))
}
