//! Where SQLite differs in the shared queries.

use diesel::{EscapeExpressionMethods, QueryDsl, SelectableHelper, TextExpressionMethods};
use diesel_async::RunQueryDsl;

use super::Connection;
pub(super) use super::acme::{
    FOR_SHARE, FOR_UPDATE, FOR_UPDATE_SKIP_LOCKED, IN_NUMBERS, IN_TEXTS, List, insert_authorizations, insert_links,
};
use super::queries::certificates::Listing;
use crate::error::Result;
use crate::storage::audit_chain::ChainHead;
use crate::storage::rows::ChainRow;
use crate::storage::schema::{audit_chains, certificates};

/// The one chain in use: there is one writer.
pub(super) const CHAIN: i32 = 0;

/// Takes the head of a chain; the transaction holds the only write lock.
pub(super) async fn lock_chain(connection: &mut Connection) -> Result<ChainHead> {
    let row: ChainRow = audit_chains::table.find(CHAIN).select(ChainRow::as_select()).first(connection).await?;
    Ok(row.into())
}

/// Makes changes of issuers, profiles and tokens wait for one another; here every write does.
#[expect(clippy::unused_async, reason = "PostgreSQL's counterpart asks the database")]
pub(super) async fn serialise_configuration(_connection: &mut Connection) -> Result<()> {
    Ok(())
}

/// Keeps issuance and changes of the block list apart; here every write waits for every other.
#[expect(clippy::unused_async, reason = "PostgreSQL's counterpart asks the database")]
pub(super) async fn lock_block_list(_connection: &mut Connection) -> Result<()> {
    Ok(())
}

/// Adds the condition that the subject has a part, regardless of ASCII case.
pub(super) fn subject_contains(query: Listing, pattern: String) -> Listing {
    query.filter(certificates::subject.like(pattern).escape('\\'))
}
