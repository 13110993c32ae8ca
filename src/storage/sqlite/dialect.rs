//! Where SQLite differs in the shared queries.

use diesel::query_dsl::LoadQuery;
use diesel::sqlite::SqliteConnection;
use diesel::{ExpressionMethods, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;

pub(super) use super::acme::{
    FOR_SHARE, FOR_UPDATE, FOR_UPDATE_SKIP_LOCKED, IN_NUMBERS, IN_TEXTS, JOIN_AUTHORIZATIONS, List,
    insert_authorizations, insert_links,
};
use super::queries::statement::Bind;
use super::queries::walk::{Fragment, Index};
use super::{Connection, connection};
use crate::error::Result;
use crate::storage::audit_chain::ChainHead;
use crate::storage::row_numbers;
use crate::storage::rows::ChainRow;
use crate::storage::schema::{audit_chains, certificates};
use crate::x509::Timestamp;

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

/// Loads rows without the wrapper, which copies every value of every row before it is read: for what reads many rows, or one very often.
#[expect(clippy::unused_async, reason = "PostgreSQL's counterpart asks the database")]
pub(super) async fn load<Q, R>(connection: &mut Connection, query: Q) -> Result<Vec<R>>
where
    Q: LoadQuery<'static, SqliteConnection, R> + Send + 'static,
    R: Send + 'static,
{
    connection::direct(connection, move |inner| Ok(diesel::RunQueryDsl::load(query, inner)?))
}

/// Returns a row for a certificate that is recorded without the event of an issuance: behind those of its second.
pub(super) async fn next_certificate(connection: &mut Connection, issued_at: Timestamp) -> Result<i64> {
    let rows = row_numbers::certificates_of(issued_at.unix());
    let last: Option<i64> = certificates::table
        .filter(certificates::id.between(*rows.start(), *rows.end()))
        .select(diesel::dsl::max(certificates::id))
        .first(connection)
        .await?;
    let mut number = last.map_or(0, |last| row_numbers::count(last).saturating_add(1));
    loop {
        let row = row_numbers::certificate(issued_at.unix(), number, row_numbers::APART);
        let taken: i64 = certificates::table.filter(certificates::id.eq(row)).count().get_result(connection).await?;
        if taken == 0 {
            return Ok(row);
        }
        // The counts of the second have come around.
        number = number.saturating_add(1);
    }
}

/// Labels are their own index.
pub(super) const LABELS: Option<&str> = None;

/// Names the index of changes of state to take.
pub(super) const BY_CHANGE: &str = " INDEXED BY certificates_changed";

/// The changes of state that are not counted; behind it a condition can stand.
pub(super) fn changed_behind_counted(counted: &str, _most: i64) -> String {
    format!(
        "issuers CROSS JOIN certificates AS changed INDEXED BY certificates_changed \
         ON changed.issuer_id = issuers.id AND changed.change_number > {counted}"
    )
}

/// The operator that compares a text with a pattern, regardless of ASCII case.
pub(super) const LIKE: &str = "LIKE";

/// Writes the condition for the entries of an index with certain values and rows between two numbers.
pub(super) fn index_range(index: &Index, values: &[Bind], low: i64, high: i64) -> Fragment {
    let mut sql = String::new();
    for column in index.columns {
        sql.push_str(column);
        sql.push_str(" = ? AND ");
    }
    let row = index.row;
    sql.push_str(&format!("{row} > ? AND {row} < ?"));
    Fragment { sql, binds: values.iter().cloned().chain([low.into(), high.into()]).collect() }
}

/// The order of a page of a walk: that of the walk, which is the outer side of a join that says so. Asked for once more, SQLite would read all
/// of the window and sort it.
pub(super) const fn order_of_walk(_columns: &[String], _direction: &str) -> String {
    String::new()
}

/// Whether a walk reads rows together with the entries of an index: it would copy every column of every row that it meets.
pub(super) const ROWS_WITH_ENTRIES: bool = false;

/// Joins the rows of a table that a walk found, in this order, which SQLite does not change.
pub(super) fn rows_of(walk: &str, table: &str) -> String {
    format!("CROSS JOIN {table} WHERE {table}.id = {walk}.id")
}

/// Names the index to take: statistics that somebody had gathered do not decide.
pub(super) fn indexed_by(index: &Index) -> String {
    index.name.map_or_else(String::new, |name| format!(" INDEXED BY {name}"))
}
