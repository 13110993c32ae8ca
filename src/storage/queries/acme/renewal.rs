//! Windows in which operators want certificates renewed.

use diesel::{BoolExpressionMethods, ExpressionMethods, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;

use super::{Connection, audit};
use crate::error::Result;
use crate::storage::rows::acme::RenewalWindowRow;
use crate::storage::schema::acme_renewal_windows;
use crate::storage::{AuditEvent, RenewalWindowRecord};
use crate::x509::{SerialNumber, Timestamp};

/// The most windows that are looked at for one certificate.
const MOST: i64 = 1000;

/// Records a window.
pub(in super::super::super) async fn create(
    connection: &mut Connection,
    window: RenewalWindowRecord,
    event: AuditEvent,
) -> Result<()> {
    diesel::insert_into(acme_renewal_windows::table).values(RenewalWindowRow::from(window)).execute(connection).await?;
    audit::append(connection, vec![event]).await
}

/// Lists the windows, newest first.
pub(in super::super::super) async fn list(
    connection: &mut Connection,
    before: Option<i64>,
    limit: u16,
) -> Result<Vec<RenewalWindowRecord>> {
    let rows: Vec<RenewalWindowRow> = acme_renewal_windows::table
        .filter(acme_renewal_windows::id.lt(before.unwrap_or(i64::MAX)))
        .order(acme_renewal_windows::id.desc())
        .limit(i64::from(limit))
        .select(RenewalWindowRow::as_select())
        .load(connection)
        .await?;
    rows.into_iter().map(RenewalWindowRow::into_record).collect()
}

/// Lists the windows that hold for a certificate, the earliest first.
pub(in super::super::super) async fn of_certificate(
    connection: &mut Connection,
    issuer_id: i32,
    serial: SerialNumber,
    issued_at: Timestamp,
) -> Result<Vec<RenewalWindowRecord>> {
    let of_serial =
        acme_renewal_windows::serial.is_null().or(acme_renewal_windows::serial.eq(serial.as_bytes().to_vec()));
    let of_age =
        acme_renewal_windows::issued_before.is_null().or(acme_renewal_windows::issued_before.gt(issued_at.unix()));
    let rows: Vec<RenewalWindowRow> = acme_renewal_windows::table
        .filter(acme_renewal_windows::issuer_id.eq(issuer_id))
        .filter(of_serial)
        .filter(of_age)
        .order((acme_renewal_windows::starts_at, acme_renewal_windows::id))
        .limit(MOST)
        .select(RenewalWindowRow::as_select())
        .load(connection)
        .await?;
    rows.into_iter().map(RenewalWindowRow::into_record).collect()
}

/// Deletes a window; answers whether there was one.
pub(in super::super::super) async fn delete(connection: &mut Connection, id: i64, event: AuditEvent) -> Result<bool> {
    let deleted = diesel::delete(acme_renewal_windows::table.find(id)).execute(connection).await?;
    if deleted == 0 {
        return Ok(false);
    }
    audit::append(connection, vec![event]).await?;
    Ok(true)
}
