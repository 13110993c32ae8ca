//! Where PostgreSQL differs in the shared queries.

use diesel::sql_types::BigInt;
use diesel::{OptionalExtension, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;
use diesel_async::methods::LoadQuery;

pub(super) use super::acme::{
    FOR_SHARE, FOR_UPDATE, FOR_UPDATE_SKIP_LOCKED, IN_NUMBERS, IN_TEXTS, JOIN_AUTHORIZATIONS, List,
    insert_authorizations, insert_links,
};
use super::queries::statement::{Bind, Statement};
use super::queries::walk::{Fragment, Index};
use super::{BLOCK_LIST_LOCK, Connection, some_chain};
use crate::error::Result;
use crate::storage::audit_chain::ChainHead;
use crate::storage::row_numbers;
use crate::storage::rows::ChainRow;
use crate::storage::schema::{audit_chains, generation};
use crate::x509::Timestamp;

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

/// Loads rows.
pub(super) async fn load<'query, Q, R>(connection: &mut Connection, query: Q) -> Result<Vec<R>>
where
    Q: LoadQuery<'query, Connection, R> + 'query,
    R: Send,
{
    Ok(query.load(connection).await?)
}

/// Returns a row for a certificate that is recorded without the event of an issuance.
pub(super) async fn next_certificate(connection: &mut Connection, issued_at: Timestamp) -> Result<i64> {
    let number: Number =
        Statement::new("SELECT nextval('certificate_numbers') AS number").get_result(connection).await?;
    Ok(row_numbers::certificate(issued_at.unix(), number.number, row_numbers::APART))
}

/// The name of the index of labels.
pub(super) const LABELS: Option<&str> = Some("certificate_labels_search");

/// Names the index of changes of state to take.
pub(super) const BY_CHANGE: &str = "";

/// The changes of state that are not counted, at most so many of each issuer; behind it a condition can stand.
pub(super) fn changed_behind_counted(counted: &str, most: i64) -> String {
    format!(
        "issuers CROSS JOIN LATERAL (SELECT id, state, not_after, revoked_at, issued_at FROM certificates \
         WHERE issuer_id = issuers.id AND change_number > {counted} ORDER BY issuer_id, change_number LIMIT {most}) AS changed"
    )
}

/// The operator that compares a text with a pattern, regardless of case.
pub(super) const LIKE: &str = "ILIKE";

/// Writes the condition for the entries of an index with certain values and rows between two numbers. All columns are compared as one
/// value, so that no other index has the order that is asked for: the planner must not take one in which it hopes to find the first sooner.
pub(super) fn index_range(index: &Index, values: &[Bind], low: i64, high: i64) -> Fragment {
    let columns: Vec<&str> = index.columns.iter().copied().chain([index.row]).collect();
    let (list, marks) = (columns.join(", "), vec!["?"; columns.len()].join(", "));
    let binds = values.iter().cloned().chain([low.into()]).chain(values.iter().cloned()).chain([high.into()]).collect();
    Fragment { sql: format!("({list}) > ({marks}) AND ({list}) < ({marks})"), binds }
}

/// The order of a page of a walk.
pub(super) fn order_of_walk(columns: &[String], direction: &str) -> String {
    let ordered: Vec<String> = columns.iter().map(|column| format!("{column} {direction}")).collect();
    format!(" ORDER BY {}", ordered.join(", "))
}

/// Whether a walk reads rows together with the entries of an index: looking each one up by its number afterwards costs four blocks for one.
/// Columns that nobody asks for are not read.
pub(super) const ROWS_WITH_ENTRIES: bool = true;

/// Joins the rows of a table that a walk found: each is looked up by its number, whatever the planner believes that the conditions leave.
pub(super) fn rows_of(walk: &str, table: &str) -> String {
    format!(
        "CROSS JOIN LATERAL (SELECT * FROM {table} AS one WHERE one.id = {walk}.id OFFSET 0) AS {table} WHERE {table}.id = {walk}.id"
    )
}

/// Names the index to take; here the form of the condition does.
pub(super) const fn indexed_by(_index: &Index) -> String {
    String::new()
}

/// A number as read.
#[derive(Debug, diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}
