//! Orders.

use std::collections::BTreeMap;

use diesel::{
    BoolExpressionMethods, ExpressionMethods, JoinOnDsl, NullableExpressionMethods, OptionalExtension, QueryDsl,
    SelectableHelper,
};
use diesel_async::RunQueryDsl;

use super::accounts::{Row, hold_valid};
use super::{Connection, Statement, authorizations, dialect, rate_limits};
use crate::error::{Error, Result};
use crate::storage::group_commit::Ending;
use crate::storage::rows::CertificateRow;
use crate::storage::rows::acme::{
    AUTHORIZATION_COLUMNS, JOINED_ORDER_COLUMNS, JoinedOrderRow, ORDER_COLUMNS, OrderAuthorizationRow, OrderRow,
    encode, encode_identifiers,
};
use crate::storage::schema::{acme_orders, certificates};
use crate::storage::{
    AcmeAuthorizationRecord, AcmeOrderCreated, AcmeOrderRecord, AcmeProblem, CertificateRecord, NewAcmeAuthorization,
    NewAcmeOrder, OrderAuthorization, RateLimitCharge,
};
use crate::x509::{SerialNumber, Timestamp};

/// Records an order with its new authorizations.
pub(in super::super::super) async fn create(
    connection: &mut Connection,
    order: NewAcmeOrder,
    charges: Vec<RateLimitCharge>,
) -> Result<Ending<AcmeOrderCreated>> {
    if let Some(limited) = rate_limits::charge(connection, charges).await? {
        return Ok(Ending::Undo(AcmeOrderCreated::RateLimited(limited)));
    }
    let mut links = Vec::with_capacity(order.authorizations.len());
    let mut new = Vec::new();
    let mut existing = Vec::new();
    for authorization in &order.authorizations {
        match authorization {
            OrderAuthorization::Existing(id) => {
                links.push(*id);
                existing.push(*id);
            }
            OrderAuthorization::New(authorization) => {
                links.push(authorization.id);
                new.push(authorization.clone());
            }
        }
    }
    // The account is locked before authorizations and other orders, as whoever ends it does. The statement that inserts does so by itself; the
    // order that is replaced in its place comes after the authorizations, as where they fail.
    let is_of_valid_account = match order.replaces {
        Some(_) => hold_valid(connection, order.account_id).await?,
        None => insert(connection, &order, "").await?,
    };
    if !is_of_valid_account {
        let is_valid = order.replaces.is_none() && hold_valid(connection, order.account_id).await?;
        let refused = if is_valid { AcmeOrderCreated::TooManyPending } else { AcmeOrderCreated::AccountEnded };
        return Ok(Ending::Undo(refused));
    }
    if !existing.is_empty() && !authorizations::hold(connection, order.account_id, existing).await? {
        return Err(Error::conflict("an authorization that the order was to use ended meanwhile; try again"));
    }
    if let Some(replaces) = order.replaces.clone()
        && !insert_replacing(connection, &order, &replaces).await?
    {
        // It became invalid between the statements (PostgreSQL): the same request may win next time.
        let holder = replacement(connection, replaces).await?;
        if holder.is_none() && !has_room(connection, &order).await? {
            return Ok(Ending::Undo(AcmeOrderCreated::TooManyPending));
        }
        let holder = holder.ok_or_else(|| Error::conflict("the certificate is being replaced by another order"))?;
        return Ok(Ending::Undo(AcmeOrderCreated::AlreadyReplaced(holder)));
    }
    if !new.is_empty() {
        dialect::insert_authorizations(connection, &new).await?;
    }
    dialect::insert_links(connection, order.id, links).await?;
    Ok(Ending::Commit(AcmeOrderCreated::Created))
}

/// Inserts an order that replaces a certificate, unless another one does.
async fn insert_replacing(connection: &mut Connection, order: &NewAcmeOrder, replaces: &str) -> Result<bool> {
    // One that is past its end does not count any more, though nobody has written that down yet.
    Statement::new(
        "UPDATE acme_orders SET status = 3, error = ? WHERE replaces = ? AND status <> 3 AND status = 0 AND expires_at <= ?",
    )
    .bind(encode("a problem", &expired())?)
    .bind(replaces)
    .bind(order.created_at.unix())
    .execute(connection)
    .await?;
    insert(connection, order, " ON CONFLICT (replaces) WHERE replaces IS NOT NULL AND status <> 3 DO NOTHING").await
}

/// Whether an account has fewer pending orders than it may have. Three values are bound: the account, the present and the most it may have.
const HAS_ROOM: &str =
    "NOT EXISTS (SELECT 1 FROM acme_orders WHERE account_id = ? AND status = 0 AND expires_at > ? LIMIT 1 OFFSET ?)";

/// Whether another order of the account could be recorded.
async fn has_room(connection: &mut Connection, order: &NewAcmeOrder) -> Result<bool> {
    let row: Option<Row> = Statement::new(format!("SELECT id FROM acme_accounts WHERE id = ? AND {HAS_ROOM}"))
        .bind(order.account_id)
        .bind(order.account_id)
        .bind(order.created_at.unix())
        .bind(i64::from(order.maximum_pending.saturating_sub(1)))
        .get_result(connection)
        .await
        .optional()?;
    Ok(row.is_some())
}

/// Inserts an order of a valid account that has room for it.
async fn insert(connection: &mut Connection, order: &NewAcmeOrder, conflict: &str) -> Result<bool> {
    let inserted = Statement::new(format!(
        "INSERT INTO acme_orders (id, account_id, profile, status, identifiers, not_before, not_after, replaces, \
         created_at, expires_at, ends_at) SELECT ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ? \
         WHERE EXISTS (SELECT 1 FROM acme_accounts WHERE id = ? AND status = 0{}) AND {HAS_ROOM}{conflict}",
        dialect::FOR_SHARE
    ))
    .bind(order.id)
    .bind(order.account_id)
    .bind(order.profile.as_str())
    .bind(encode_identifiers(&order.identifiers)?)
    .bind(order.not_before.map(Timestamp::unix))
    .bind(order.not_after.map(Timestamp::unix))
    .bind(order.replaces.clone())
    .bind(order.created_at.unix())
    .bind(order.expires_at.unix())
    .bind(order.expires_at.unix())
    .bind(order.account_id)
    .bind(order.account_id)
    .bind(order.created_at.unix())
    .bind(i64::from(order.maximum_pending.saturating_sub(1)))
    .execute(connection)
    .await?;
    Ok(inserted == 1)
}

/// Why an order that was not finalized in time is invalid.
pub(super) fn expired() -> AcmeProblem {
    AcmeProblem {
        error_type: "malformed".to_owned(),
        detail: "the order expired before it was finalized".to_owned(),
        subproblems: Vec::new(),
    }
}

/// Records an authorization that no order asked for.
pub(in super::super::super) async fn create_authorization(
    connection: &mut Connection,
    authorization: NewAcmeAuthorization,
    charges: Vec<RateLimitCharge>,
) -> Result<Ending<AcmeOrderCreated>> {
    if !hold_valid(connection, authorization.account_id).await? {
        return Ok(Ending::Undo(AcmeOrderCreated::AccountEnded));
    }
    if let Some(limited) = rate_limits::charge(connection, charges).await? {
        return Ok(Ending::Undo(AcmeOrderCreated::RateLimited(limited)));
    }
    dialect::insert_authorizations(connection, std::slice::from_ref(&authorization)).await?;
    Ok(Ending::Commit(AcmeOrderCreated::Created))
}

/// Finds an order with its authorizations in the order of its identifiers.
pub(in super::super::super) async fn find(
    connection: &mut Connection,
    id: i64,
    account_id: Option<i64>,
) -> Result<Option<(AcmeOrderRecord, Vec<AcmeAuthorizationRecord>)>> {
    let rows: Vec<JoinedOrderRow> = Statement::new(format!(
        "SELECT {JOINED_ORDER_COLUMNS}, {AUTHORIZATION_COLUMNS} FROM acme_orders \
         JOIN acme_order_authorizations ON acme_order_authorizations.order_id = acme_orders.id \
         {} WHERE acme_orders.id = ? AND acme_orders.account_id = COALESCE(?, acme_orders.account_id) \
         ORDER BY acme_order_authorizations.position",
        dialect::JOIN_AUTHORIZATIONS
    ))
    .bind(id)
    .bind(account_id)
    .load(connection)
    .await?;
    let mut order = None;
    let mut authorizations = Vec::with_capacity(rows.len());
    for row in rows {
        let (of_order, authorization) = row.split();
        order = Some(of_order);
        authorizations.push(authorization.into_record()?);
    }
    match order {
        Some(order) => Ok(Some((order.into_record()?, authorizations))),
        // There is none, or what it was made with has been cleaned up.
        None => Ok(find_alone(connection, id, account_id).await?.map(|order| (order, Vec::new()))),
    }
}

async fn find_alone(connection: &mut Connection, id: i64, account_id: Option<i64>) -> Result<Option<AcmeOrderRecord>> {
    let row: Option<OrderRow> = Statement::new(format!(
        "SELECT {ORDER_COLUMNS} FROM acme_orders WHERE id = ? AND account_id = COALESCE(?, account_id)"
    ))
    .bind(id)
    .bind(account_id)
    .get_result(connection)
    .await
    .optional()?;
    row.map(OrderRow::into_record).transpose()
}

/// Finds the certificate of an order of an account.
pub(in super::super::super) async fn certificate(
    connection: &mut Connection,
    id: i64,
    account_id: i64,
) -> Result<Option<CertificateRecord>> {
    let is_its_own = certificates::serial
        .nullable()
        .eq(acme_orders::certificate_serial)
        .and(certificates::issuer_id.nullable().eq(acme_orders::certificate_issuer_id));
    let row: Option<CertificateRow> = acme_orders::table
        .inner_join(certificates::table.on(is_its_own))
        .filter(acme_orders::id.eq(id))
        .filter(acme_orders::account_id.eq(account_id))
        .select(CertificateRow::as_select())
        .first(connection)
        .await
        .optional()?;
    row.map(CertificateRow::into_record).transpose()
}

/// Finds the order of an account that a certificate was issued for.
pub(in super::super::super) async fn of_certificate(
    connection: &mut Connection,
    issuer_id: i32,
    serial: SerialNumber,
    account_id: i64,
) -> Result<Option<i64>> {
    let row: Option<Row> = Statement::new(
        "SELECT id FROM acme_orders WHERE certificate_serial = ? AND certificate_serial IS NOT NULL \
         AND certificate_issuer_id = ? AND account_id = ? ORDER BY id LIMIT 1",
    )
    .bind(serial.as_bytes())
    .bind(Some(issuer_id))
    .bind(account_id)
    .get_result(connection)
    .await
    .optional()?;
    Ok(row.map(|row| row.id))
}

/// Finds the authorizations of orders, each in the order of its identifiers.
pub(super) async fn authorizations_of(
    connection: &mut Connection,
    orders: Vec<i64>,
) -> Result<BTreeMap<i64, Vec<AcmeAuthorizationRecord>>> {
    let rows: Vec<OrderAuthorizationRow> = Statement::new(format!(
        "SELECT acme_order_authorizations.order_id, {AUTHORIZATION_COLUMNS} FROM acme_order_authorizations \
         JOIN acme_authorizations ON acme_authorizations.id = acme_order_authorizations.authorization_id \
         WHERE acme_order_authorizations.order_id {} \
         ORDER BY acme_order_authorizations.order_id, acme_order_authorizations.position",
        dialect::IN_NUMBERS
    ))
    .bind(dialect::List::numbers(orders)?)
    .load(connection)
    .await?;
    let mut found: BTreeMap<i64, Vec<AcmeAuthorizationRecord>> = BTreeMap::new();
    for row in rows {
        found.entry(row.order_id).or_default().push(row.authorization.into_record()?);
    }
    Ok(found)
}

/// Lists the row numbers of an account's orders that are not invalid, oldest first.
pub(in super::super::super) async fn of_account(
    connection: &mut Connection,
    account_id: i64,
    after: Option<i64>,
    limit: u16,
) -> Result<Vec<i64>> {
    let rows: Vec<Row> = Statement::new(
        "SELECT id FROM acme_orders WHERE account_id = ? AND id > ? AND status <> 3 ORDER BY id LIMIT ?",
    )
    .bind(account_id)
    .bind(after.unwrap_or(i64::MIN))
    .bind(i64::from(limit))
    .load(connection)
    .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Makes an order that is pending or processing invalid.
pub(in super::super::super) async fn fail(connection: &mut Connection, id: i64, error: AcmeProblem) -> Result<bool> {
    let failed = Statement::new(
        "UPDATE acme_orders SET status = 3, error = ?, csr = NULL, lease_holder = NULL, lease_until = NULL \
         WHERE id = ? AND status < 2",
    )
    .bind(encode("a problem", &error)?)
    .bind(id)
    .execute(connection)
    .await?;
    Ok(failed == 1)
}

/// Makes the pending orders invalid that depend on an authorization.
pub(super) async fn fail_dependent(connection: &mut Connection, authorization: i64, error: &AcmeProblem) -> Result<()> {
    Statement::new(format!(
        "UPDATE acme_orders SET status = 3, error = ? WHERE status = 0 AND id IN (SELECT id FROM acme_orders \
         WHERE status = 0 AND id IN (SELECT order_id FROM acme_order_authorizations WHERE authorization_id = ?) \
         ORDER BY id{})",
        dialect::FOR_UPDATE
    ))
    .bind(encode("a problem", error)?)
    .bind(authorization)
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps the request of an order that is ready.
pub(in super::super::super) async fn begin_finalization(
    connection: &mut Connection,
    (id, account_id): (i64, i64),
    csr: Vec<u8>,
    holder: String,
    now: Timestamp,
    lease_until: Timestamp,
) -> Result<bool> {
    let begun = Statement::new(
        "UPDATE acme_orders SET status = 1, csr = ?, lease_holder = ?, lease_until = ? \
         WHERE id = ? AND account_id = ? AND status = 0 AND expires_at > ? \
         AND EXISTS (SELECT 1 FROM acme_accounts WHERE acme_accounts.id = acme_orders.account_id AND acme_accounts.status = 0) \
         AND EXISTS (SELECT 1 FROM acme_order_authorizations WHERE order_id = acme_orders.id) \
         AND NOT EXISTS (SELECT 1 FROM acme_order_authorizations \
         LEFT JOIN acme_authorizations ON acme_authorizations.id = acme_order_authorizations.authorization_id \
         AND acme_authorizations.status = 1 AND acme_authorizations.expires_at > ? \
         WHERE acme_order_authorizations.order_id = acme_orders.id AND acme_authorizations.id IS NULL)",
    )
    .bind(csr)
    .bind(holder)
    .bind(lease_until.unix())
    .bind(id)
    .bind(account_id)
    .bind(now.unix())
    .bind(now.unix())
    .execute(connection)
    .await?;
    Ok(begun == 1)
}

/// Leases orders that are processing and that nobody works on.
pub(in super::super::super) async fn due(
    connection: &mut Connection,
    holder: String,
    now: Timestamp,
    lease_until: Timestamp,
    limit: u16,
) -> Result<Vec<AcmeOrderRecord>> {
    let rows: Vec<OrderRow> = Statement::new(format!(
        "WITH due AS MATERIALIZED (SELECT id FROM acme_orders WHERE status = 1 AND lease_until <= ? \
         ORDER BY lease_until LIMIT ?{}) UPDATE acme_orders SET lease_holder = ?, lease_until = ? \
         WHERE status = 1 AND id IN (SELECT id FROM due) RETURNING {ORDER_COLUMNS}",
        dialect::FOR_UPDATE_SKIP_LOCKED
    ))
    .bind(now.unix())
    .bind(i64::from(limit))
    .bind(holder)
    .bind(lease_until.unix())
    .load(connection)
    .await?;
    rows.into_iter().map(OrderRow::into_record).collect()
}

/// Finds the order that replaces a certificate and is not invalid.
pub(in super::super::super) async fn replacement(connection: &mut Connection, replaces: String) -> Result<Option<i64>> {
    let row: Option<Row> =
        Statement::new("SELECT id FROM acme_orders WHERE replaces = ? AND replaces IS NOT NULL AND status <> 3")
            .bind(replaces)
            .get_result(connection)
            .await
            .optional()?;
    Ok(row.map(|row| row.id))
}
