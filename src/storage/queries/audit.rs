//! The audit log: append to a chain, list. The check of the chains is in `verification.rs`.

use diesel::sql_types::Bool;
use diesel::{ExpressionMethods, QueryDsl, SelectableHelper};
use diesel_async::RunQueryDsl;

use super::{Backend, Connection, dialect};
use crate::error::Result;
use crate::storage::audit_chain::{self, EncodedEvent};
use crate::storage::rows::{AuditRow, NewAuditRow};
use crate::storage::schema::{audit_chains, audit_events};
use crate::storage::{AuditEvent, AuditFilter, AuditOutcome, StoredAuditEvent};

/// The action of which there are far more events than of all others; the partial index of the others names it too.
const ISSUANCE: &str = "certificate.issue";

/// Appends events to one chain, which stays locked until the transaction ends: the last thing a transaction does.
pub(super) async fn append(connection: &mut Connection, events: Vec<AuditEvent>) -> Result<()> {
    let events: Vec<EncodedEvent> = events.into_iter().map(audit_chain::encode).collect::<Result<_>>()?;
    if events.is_empty() {
        return Ok(());
    }
    let mut head = dialect::lock_chain(connection).await?;
    for event in &events {
        let row = NewAuditRow::link(event, &mut head);
        diesel::insert_into(audit_events::table).values(row).execute(connection).await?;
    }
    diesel::update(audit_chains::table.find(head.chain))
        .set((audit_chains::sequence.eq(head.sequence), audit_chains::hash.eq(head.hash)))
        .execute(connection)
        .await?;
    Ok(())
}

/// Lists events, newest first.
pub(in super::super) async fn list(
    connection: &mut Connection,
    filter: AuditFilter,
    before: Option<i64>,
    limit: u16,
) -> Result<Vec<StoredAuditEvent>> {
    let mut query: audit_events::BoxedQuery<'static, Backend> = audit_events::table.into_boxed();
    if let Some(row) = before {
        query = query.filter(audit_events::id.lt(row));
    }
    if let Some(actor) = filter.actor {
        query = query.filter(audit_events::actor.eq(audit_chain::column_text(&actor)));
    }
    if let Some(action) = filter.action {
        if action != ISSUANCE && action.strip_suffix('*').is_none_or(|prefix| !ISSUANCE.starts_with(prefix)) {
            // The condition of a partial index, written out for the planners.
            query = query.filter(diesel::dsl::sql::<Bool>("audit_events.action <> 'certificate.issue'"));
        }
        query = match action.strip_suffix('*') {
            // A range, not LIKE: SQLite's LIKE ignores case and takes no index.
            Some(prefix) => query
                .filter(audit_events::action.ge(prefix.to_owned()))
                .filter(audit_events::action.lt(format!("{prefix}\u{10ffff}"))),
            None => query.filter(audit_events::action.eq(action)),
        };
    }
    if let Some(outcome) = filter.outcome {
        if outcome != AuditOutcome::Success {
            query = query.filter(diesel::dsl::sql::<Bool>("audit_events.outcome <> 0"));
        }
        query = query.filter(audit_events::outcome.eq(audit_chain::outcome_code(outcome)));
    }
    if let Some(object) = filter.object {
        query = query.filter(audit_events::object.eq(audit_chain::column_text(&object)));
    }
    if let Some(moment) = filter.after {
        query = query.filter(audit_events::occurred_at.ge(moment.unix().saturating_mul(1000)));
    }
    if let Some(moment) = filter.before {
        query = query.filter(audit_events::occurred_at.lt(moment.unix().saturating_mul(1000)));
    }
    let rows: Vec<AuditRow> = query
        .order(audit_events::id.desc())
        .limit(i64::from(limit))
        .select(AuditRow::as_select())
        .load(connection)
        .await?;
    rows.into_iter().map(AuditRow::into_event).collect()
}
