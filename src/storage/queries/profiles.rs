//! Profiles and their versions.

use diesel::{ExpressionMethods, OptionalExtension, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;

use super::{Connection, audit, dialect, operation};
use crate::error::Result;
use crate::storage::rows::{self, ProfileVersionRow};
use crate::storage::schema::{profile_versions, profiles};
use crate::storage::{AuditEvent, NewProfileVersion, ProfilePut, ProfileRecord};

/// Writes a profile version.
pub(in super::super) async fn put(
    connection: &mut Connection,
    profile: NewProfileVersion,
    event: AuditEvent,
) -> Result<ProfilePut> {
    dialect::serialise_configuration(connection).await?;
    let known: Option<(i32, bool)> = profiles::table
        .find(&profile.name)
        .select((profiles::version, profiles::deleted))
        .first(connection)
        .await
        .optional()?;
    let present = known.and_then(|(version, deleted)| (!deleted).then_some(version));
    if profile.expected_version.is_some() && profile.expected_version != present {
        return Ok(ProfilePut::VersionMismatch(present));
    }
    if let Some((version, deleted)) = known
        && let Some(last) = stored_version(connection, &profile.name, version).await?
    {
        // A default profile that was deleted does not come back at the next start.
        let same = !deleted && last.document == profile.document && last.origin == rows::origin_code(profile.origin);
        if same || profile.only_if_absent {
            return Ok(ProfilePut::Unchanged(last.into_record()?));
        }
    }
    let row = write(connection, profile, known.map(|(version, _)| version)).await?;
    audit::append(connection, vec![event]).await?;
    operation::raise_generation(connection).await?;
    Ok(ProfilePut::Created(row.into_record()?))
}

async fn write(
    connection: &mut Connection,
    profile: NewProfileVersion,
    last: Option<i32>,
) -> Result<ProfileVersionRow> {
    let version = last.unwrap_or(0).saturating_add(1);
    if last.is_some() {
        diesel::update(profiles::table.find(&profile.name))
            .set((profiles::version.eq(version), profiles::deleted.eq(false)))
            .execute(connection)
            .await?;
    } else {
        diesel::insert_into(profiles::table)
            .values((profiles::name.eq(&profile.name), profiles::version.eq(version), profiles::deleted.eq(false)))
            .execute(connection)
            .await?;
    }
    let row = ProfileVersionRow::new(profile, version);
    diesel::insert_into(profile_versions::table).values(&row).execute(connection).await?;
    Ok(row)
}

/// Deletes a profile; its versions stay.
pub(in super::super) async fn delete(connection: &mut Connection, name: String, event: AuditEvent) -> Result<bool> {
    dialect::serialise_configuration(connection).await?;
    let deleted = diesel::update(profiles::table.find(name).filter(profiles::deleted.eq(false)))
        .set(profiles::deleted.eq(true))
        .execute(connection)
        .await?;
    if deleted == 0 {
        return Ok(false);
    }
    audit::append(connection, vec![event]).await?;
    operation::raise_generation(connection).await?;
    Ok(true)
}

/// Lists the present version of every profile that is not deleted, by name.
pub(in super::super) async fn list(connection: &mut Connection) -> Result<Vec<ProfileRecord>> {
    let rows: Vec<ProfileVersionRow> = profile_versions::table
        .inner_join(profiles::table)
        .filter(profiles::deleted.eq(false))
        .filter(profiles::version.eq(profile_versions::version))
        .order(profiles::name)
        .select(ProfileVersionRow::as_select())
        .load(connection)
        .await?;
    rows.into_iter().map(ProfileVersionRow::into_record).collect()
}

/// Finds one version of a profile, deleted or not.
pub(in super::super) async fn version(
    connection: &mut Connection,
    name: &str,
    version: i32,
) -> Result<Option<ProfileRecord>> {
    stored_version(connection, name, version).await?.map(ProfileVersionRow::into_record).transpose()
}

async fn stored_version(connection: &mut Connection, name: &str, version: i32) -> Result<Option<ProfileVersionRow>> {
    Ok(profile_versions::table
        .find((name, version))
        .select(ProfileVersionRow::as_select())
        .first(connection)
        .await
        .optional()?)
}
