//! Where PostgreSQL differs in the shared queries.

use diesel::{EscapeExpressionMethods, OptionalExtension, PgTextExpressionMethods, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;

pub(super) use super::acme::{
    FOR_SHARE, FOR_UPDATE, FOR_UPDATE_SKIP_LOCKED, IN_NUMBERS, IN_TEXTS, List, insert_authorizations, insert_links,
};
use super::queries::certificates::Listing;
use super::{BLOCK_LIST_LOCK, Connection, some_chain};
use crate::error::Result;
use crate::storage::audit_chain::ChainHead;
use crate::storage::rows::ChainRow;
use crate::storage::schema::{audit_chains, certificates, generation};

/// Takes the head of a chain that no other transaction holds, or waits for one when all are held.
pub(super) async fn lock_chain(connection: &mut Connection) -> Result<ChainHead> {
    let free: Option<ChainRow> = audit_chains::table
        .order(audit_chains::id)
        .limit(1)
        .select(ChainRow::as_select())
        .for_update()
        .skip_locked()
        .first(connection)
        .await
        .optional()?;
    if let Some(row) = free {
        return Ok(row.into());
    }
    let row: ChainRow =
        audit_chains::table.find(some_chain()).select(ChainRow::as_select()).for_update().first(connection).await?;
    Ok(row.into())
}

/// Makes changes of issuers, profiles and tokens wait for one another.
pub(super) async fn serialise_configuration(connection: &mut Connection) -> Result<()> {
    let _locked: i64 = generation::table.select(generation::value).for_update().first(connection).await?;
    Ok(())
}

/// Makes issuance and other changes of the block list wait until the end of the transaction, and waits for those that are under way: who
/// issues holds the same lock, shared with others that issue.
pub(super) async fn lock_block_list(connection: &mut Connection) -> Result<()> {
    let lock = format!("SELECT pg_advisory_xact_lock({BLOCK_LIST_LOCK})");
    diesel_async::SimpleAsyncConnection::batch_execute(connection, &lock).await?;
    Ok(())
}

/// Adds the condition that the subject has a part, regardless of case.
pub(super) fn subject_contains(query: Listing, pattern: String) -> Listing {
    query.filter(certificates::subject.ilike(pattern).escape('\\'))
}
