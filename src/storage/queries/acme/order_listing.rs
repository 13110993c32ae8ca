//! Orders as operators list them, by any of what they can be found by.

use diesel_async::RunQueryDsl;

use super::Connection;
use super::orders::authorizations_of;
use super::walk::{Clause, Fragment, Index, Range, Source, Walk};
use crate::error::Result;
use crate::storage::rows::acme::{ORDER_COLUMNS, OrderRow, order_status_code};
use crate::storage::{AcmeAuthorizationRecord, AcmeOrderFilter, AcmeOrderRecord, AcmeOrderStatus, Page};

const TABLE: &str = "acme_orders";
const ACCOUNT: Index = of_orders("acme_orders_account", &["account_id"]);
const PROFILE: Index = of_orders("acme_orders_profile", &["profile"]);
const INVALID: Index = Index { partial: Some("status = 3"), ..of_orders("acme_orders_invalid", &["status"]) };

const fn of_orders(name: &'static str, columns: &'static [&'static str]) -> Index {
    Index { table: TABLE, name: Some(name), columns, row: "id", partial: None }
}

/// Lists orders with their authorizations, newest first.
pub(in super::super::super) async fn list(
    connection: &mut Connection,
    filter: AcmeOrderFilter,
    before: Option<i64>,
    limit: u16,
) -> Result<Page<(AcmeOrderRecord, Vec<AcmeAuthorizationRecord>)>> {
    let low = filter.from_row.map_or(-1, |row| row.saturating_sub(1));
    let range = Range { low, ..Range::ALL }.behind(before, true);
    let walk = Walk::choose(connection, TABLE, clauses(filter), range, true).await?;
    let rows: Vec<OrderRow> = walk.page(ORDER_COLUMNS, limit).load(connection).await?;
    let orders: Vec<AcmeOrderRecord> = rows.into_iter().map(OrderRow::into_record).collect::<Result<_>>()?;
    let ids: Vec<i64> = orders.iter().map(|order| order.id).collect();
    let next = walk.next(connection, limit, &ids).await?.map(|row| (0, row));
    let mut authorizations = authorizations_of(connection, ids).await?;
    let with_authorizations = |order: AcmeOrderRecord| {
        let of_order = authorizations.remove(&order.id).unwrap_or_default();
        (order, of_order)
    };
    Ok(Page { items: orders.into_iter().map(with_authorizations).collect(), next })
}

fn clauses(filter: AcmeOrderFilter) -> Vec<Clause> {
    let mut clauses = Vec::new();
    if let Some(identifier) = filter.identifier {
        clauses.push(with_identifier(&identifier));
    }
    if let Some(account) = filter.account_id {
        let condition = Fragment::new("acme_orders.account_id = ?").bind(account);
        clauses.push(Clause::exactly(condition, Source::Entries(&ACCOUNT, vec![vec![account.into()]])));
    }
    if let Some(status) = filter.status {
        let code = order_status_code(status);
        let condition = Fragment::new(format!("acme_orders.status = {code}"));
        let ordered_by = |column: &str| {
            Source::Unordered(Fragment::new(format!(
                "SELECT id FROM acme_orders WHERE status = {code} AND {column} >= 0 ORDER BY {column}"
            )))
        };
        clauses.push(match status {
            AcmeOrderStatus::Pending => Clause::exactly(condition, ordered_by("expires_at")),
            AcmeOrderStatus::Processing => Clause::exactly(condition, ordered_by("lease_until")),
            AcmeOrderStatus::Valid => Clause::filter(condition),
            AcmeOrderStatus::Invalid => Clause::exactly(condition, Source::Entries(&INVALID, vec![vec![code.into()]])),
        });
    }
    if let Some(profile) = filter.profile {
        let condition = Fragment::new("acme_orders.profile = ?").bind(profile.as_str());
        clauses.push(Clause::exactly(condition, Source::Entries(&PROFILE, vec![vec![profile.into()]])));
    }
    if let Some(moment) = filter.created_after {
        clauses.push(Clause::filter(Fragment::new("acme_orders.created_at >= ?").bind(moment.unix())));
    }
    if let Some(moment) = filter.created_before {
        clauses.push(Clause::filter(Fragment::new("acme_orders.created_at < ?").bind(moment.unix())));
    }
    clauses
}

/// The condition that an order has an identifier, as orders write it.
fn with_identifier(identifier: &str) -> Clause {
    let rest = identifier.strip_prefix("*.");
    let (value, wildcard) = (rest.unwrap_or(identifier), rest.is_some());
    let condition = Fragment::new(
        "EXISTS (SELECT 1 FROM acme_order_authorizations AS linked JOIN acme_authorizations \
         ON acme_authorizations.id = linked.authorization_id WHERE linked.order_id = acme_orders.id \
         AND acme_authorizations.identifier = ? AND acme_authorizations.wildcard = ? LIMIT 1 OFFSET 0)",
    );
    let select = Fragment::new(
        "SELECT acme_order_authorizations.order_id AS id FROM acme_authorizations JOIN acme_order_authorizations \
         ON acme_order_authorizations.authorization_id = acme_authorizations.id \
         WHERE acme_authorizations.identifier = ? AND acme_authorizations.wildcard = ?",
    );
    Clause::exactly(condition.bind(value).bind(wildcard), Source::Unordered(select.bind(value).bind(wildcard)))
}
