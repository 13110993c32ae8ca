//! CA keys and where they are.

use diesel::{BoolExpressionMethods, ExpressionMethods, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;

use super::{Connection, audit, dialect, operation};
use crate::error::Result;
use crate::storage::rows::{KeyRow, location_columns};
use crate::storage::schema::ca_keys;
use crate::storage::{AuditEvent, KeyLocation, KeyRecord};

/// Lists the CA keys by row.
pub(in super::super) async fn list(connection: &mut Connection) -> Result<Vec<KeyRecord>> {
    let rows: Vec<KeyRow> = ca_keys::table.order(ca_keys::id).select(KeyRow::as_select()).load(connection).await?;
    rows.into_iter().map(KeyRow::into_record).collect()
}

/// Writes down another place for a key, if it still is where `from` says.
pub(in super::super) async fn relocate(
    connection: &mut Connection,
    id: i32,
    from: KeyLocation,
    to: KeyLocation,
    event: AuditEvent,
) -> Result<bool> {
    dialect::serialise_configuration(connection).await?;
    let (from_key, from_sealed, from_path) = location_columns(&from)?;
    let (key, sealed, path) = location_columns(&to)?;
    // Null is not equal to null, so each kind of place has its own condition.
    let there = ca_keys::table.filter(ca_keys::id.eq(id));
    let values = (ca_keys::key_encryption_key_id.eq(key), ca_keys::sealed.eq(sealed), ca_keys::path.eq(path));
    let written = match from_path {
        Some(path) => diesel::update(there.filter(ca_keys::path.eq(path))).set(values).execute(connection).await?,
        None => {
            let condition = ca_keys::key_encryption_key_id.eq(from_key).and(ca_keys::sealed.eq(from_sealed));
            diesel::update(there.filter(condition)).set(values).execute(connection).await?
        }
    };
    if written == 0 {
        return Ok(false);
    }
    audit::append(connection, vec![event]).await?;
    operation::raise_generation(connection).await?;
    Ok(true)
}
