//! Published CRLs and their numbers.

use diesel::sql_types::{BigInt, Binary, Integer};
use diesel::{ExpressionMethods, OptionalExtension, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;

use super::{Connection, audit};
use crate::error::{Error, Result};
use crate::storage::rows::CrlRow;
use crate::storage::schema::{crls, issuers};
use crate::storage::{AuditEvent, CrlRecord};

/// Takes the issuer's next CRL number.
pub(in super::super) async fn next_number(connection: &mut Connection, issuer_id: i32) -> Result<i64> {
    diesel::update(issuers::table.find(issuer_id))
        .set(issuers::crl_number.eq(issuers::crl_number + 1))
        .returning(issuers::crl_number)
        .get_result(connection)
        .await
        .optional()?
        .ok_or_else(|| Error::not_found(format!("there is no issuer with row `{issuer_id}`")))
}

/// Publishes a CRL unless one with the same or a greater number is there.
pub(in super::super) async fn publish(connection: &mut Connection, crl: CrlRecord, event: AuditEvent) -> Result<bool> {
    let written = diesel::sql_query(
        "INSERT INTO crls (issuer_id, number, this_update, next_update, revocations, der) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (issuer_id) DO UPDATE SET number = excluded.number, \
         this_update = excluded.this_update, next_update = excluded.next_update, revocations = excluded.revocations, \
         der = excluded.der WHERE crls.number < excluded.number",
    )
    .bind::<Integer, _>(crl.issuer_id)
    .bind::<BigInt, _>(crl.number)
    .bind::<BigInt, _>(crl.this_update.unix())
    .bind::<BigInt, _>(crl.next_update.unix())
    .bind::<BigInt, _>(crl.revocations)
    .bind::<Binary, _>(crl.der)
    .execute(connection)
    .await?;
    if written == 0 {
        return Ok(false);
    }
    audit::append(connection, vec![event]).await?;
    Ok(true)
}

/// Returns the issuer's published CRL.
pub(in super::super) async fn current(connection: &mut Connection, issuer_id: i32) -> Result<Option<CrlRecord>> {
    let row: Option<CrlRow> =
        crls::table.find(issuer_id).select(CrlRow::as_select()).first(connection).await.optional()?;
    Ok(row.map(CrlRecord::from))
}
