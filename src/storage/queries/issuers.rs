//! Issuers with their keys and certificates.

use diesel::{ExpressionMethods, OptionalExtension, QueryDsl};
use diesel_async::RunQueryDsl;

use super::{Connection, audit, certificates as certificate_queries, dialect, operation};
use crate::error::{Error, Result};
use crate::storage::rows::{ISSUER_ACTIVE, IssuerRow, NewKeyRow};
use crate::storage::schema::{ca_keys, certificates, issuers};
use crate::storage::{IssuerRecord, NewIssuer};

/// Records issuers, parents first; answers `false`, writing nothing, when any name is taken.
pub(in super::super) async fn create(connection: &mut Connection, new_issuers: Vec<NewIssuer>) -> Result<bool> {
    dialect::serialise_configuration(connection).await?;
    let names: Vec<&str> = new_issuers.iter().map(|issuer| issuer.name.as_str()).collect();
    let taken: i64 = issuers::table.filter(issuers::name.eq_any(names)).count().get_result(connection).await?;
    if taken > 0 {
        return Ok(false);
    }
    for issuer in &new_issuers {
        insert(connection, issuer).await?;
    }
    audit::append(connection, new_issuers.into_iter().map(|issuer| issuer.audit).collect()).await?;
    operation::raise_generation(connection).await?;
    Ok(true)
}

async fn insert(connection: &mut Connection, issuer: &NewIssuer) -> Result<()> {
    let parent_id = match &issuer.parent {
        None => None,
        Some(parent) => Some(row_of(connection, parent).await?),
    };
    let key_id: i32 = diesel::insert_into(ca_keys::table)
        .values(NewKeyRow::new(&issuer.key)?)
        .returning(ca_keys::id)
        .get_result(connection)
        .await?;
    if issuer.is_default {
        diesel::update(issuers::table.filter(issuers::is_default.eq(true)))
            .set(issuers::is_default.eq(false))
            .execute(connection)
            .await?;
    }
    let id: i32 = diesel::insert_into(issuers::table)
        .values((
            issuers::name.eq(&issuer.name),
            issuers::parent_id.eq(parent_id),
            issuers::state.eq(ISSUER_ACTIVE),
            issuers::is_default.eq(issuer.is_default),
            issuers::key_id.eq(key_id),
            issuers::created_at.eq(issuer.certificate.issued_at.unix()),
        ))
        .returning(issuers::id)
        .get_result(connection)
        .await?;
    let certificate_id = certificate_queries::insert(connection, &issuer.certificate, parent_id.unwrap_or(id)).await?;
    diesel::update(issuers::table.find(id)).set(issuers::certificate_id.eq(certificate_id)).execute(connection).await?;
    Ok(())
}

async fn row_of(connection: &mut Connection, name: &str) -> Result<i32> {
    issuers::table
        .filter(issuers::name.eq(name))
        .select(issuers::id)
        .first(connection)
        .await
        .optional()?
        .ok_or_else(|| Error::not_found(format!("there is no issuer `{name}`")))
}

/// Lists the issuers by row.
pub(in super::super) async fn list(connection: &mut Connection) -> Result<Vec<IssuerRecord>> {
    let rows: Vec<IssuerRow> = issuers::table
        .inner_join(ca_keys::table)
        .inner_join(certificates::table)
        .order(issuers::id)
        .select((
            issuers::id,
            issuers::name,
            issuers::parent_id,
            issuers::state,
            issuers::is_default,
            issuers::created_at,
            issuers::revocations,
            issuers::crl_number,
            ca_keys::key_encryption_key_id,
            ca_keys::sealed,
            ca_keys::path,
            certificates::der,
        ))
        .load(connection)
        .await?;
    rows.into_iter().map(IssuerRow::into_record).collect()
}
