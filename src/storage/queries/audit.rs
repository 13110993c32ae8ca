//! The audit log: append to a chain, list. The check of the chains is in `verification.rs`.

use diesel::{ExpressionMethods, OptionalExtension, QueryDsl};
use diesel_async::RunQueryDsl;

use super::walk::{Clause, Fragment, Index, Range, Source, Walk};
use super::{Connection, dialect};
use crate::error::Result;
use crate::storage::audit_chain::{self, EncodedEvent};
use crate::storage::rows::{AUDIT_COLUMNS, AuditRow, NewAuditRow};
use crate::storage::schema::{audit_chains, audit_events};
use crate::storage::{AuditEvent, AuditFilter, AuditOutcome, Page, StoredAuditEvent, row_numbers};
use crate::x509::Timestamp;

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

const TABLE: &str = "audit_events";
const ACTOR: Index = of_events("audit_events_actor", &["actor"]);
const OBJECT: Index = of_events("audit_events_object", &["object"]);
const RARE_ACTION: Index =
    Index { partial: Some("action <> 'certificate.issue'"), ..of_events("audit_events_rare_action", &["action"]) };
const REFUSED: Index = Index { partial: Some("outcome <> 0"), ..of_events("audit_events_refused", &["outcome"]) };

const fn of_events(name: &'static str, columns: &'static [&'static str]) -> Index {
    Index { table: TABLE, name: Some(name), columns, row: "id", partial: None }
}

/// The most actions that one beginning is looked for in.
const ACTIONS: usize = 200;

/// Lists events, newest first.
pub(in super::super) async fn list(
    connection: &mut Connection,
    filter: AuditFilter,
    before: Option<i64>,
    limit: u16,
) -> Result<Page<StoredAuditEvent>> {
    let first = |moment: Timestamp| row_numbers::first_event_of(moment.unix().saturating_mul(1000));
    let range = Range {
        low: filter.after.map_or(-1, |moment| first(moment).saturating_sub(1)),
        high: filter.before.map_or(i64::MAX, first),
    };
    let mut clauses = Vec::new();
    if let Some(object) = filter.object {
        clauses.push(equal(&OBJECT, "object", vec![audit_chain::column_text(object)]));
    }
    if let Some(action) = filter.action {
        clauses.push(with_action(connection, action).await?);
    }
    if let Some(outcome) = filter.outcome {
        let code = audit_chain::outcome_code(outcome);
        let condition = Fragment::new(format!("audit_events.outcome = {code}"));
        clauses.push(if outcome == AuditOutcome::Success {
            Clause::filter(condition)
        } else {
            Clause::exactly(condition, Source::Entries(&REFUSED, vec![vec![code.into()]]))
        });
    }
    if let Some(actor) = filter.actor {
        clauses.push(equal(&ACTOR, "actor", vec![audit_chain::column_text(actor)]));
    }
    let walk = Walk::choose(connection, TABLE, clauses, range.behind(before, true), true).await?;
    let rows: Vec<AuditRow> = walk.page(AUDIT_COLUMNS, limit).load(connection).await?;
    let numbers: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let next = walk.next(connection, limit, &numbers).await?;
    let items = rows.into_iter().map(AuditRow::into_event).collect::<Result<_>>()?;
    Ok(Page { items, next: next.map(|row| (0, row)) })
}

fn equal(index: &'static Index, column: &str, values: Vec<String>) -> Clause {
    let marks = vec!["?"; values.len()].join(", ");
    let mut condition = Fragment::new(format!("audit_events.{column} IN ({marks})"));
    condition.binds = values.iter().map(|value| value.as_str().into()).collect();
    Clause::exactly(condition, Source::Entries(index, values.into_iter().map(|value| vec![value.into()]).collect()))
}

/// The condition of an action, or of all that begin with what stands before `*`.
async fn with_action(connection: &mut Connection, action: String) -> Result<Clause> {
    let Some(prefix) = action.strip_suffix('*') else {
        if action == ISSUANCE {
            return Ok(Clause::filter(Fragment::new("audit_events.action = ?").bind(action)));
        }
        return Ok(equal(&RARE_ACTION, "action", vec![action]));
    };
    // A range, not LIKE: SQLite's LIKE ignores case and takes no index.
    let end = format!("{prefix}\u{10ffff}");
    let actions = if ISSUANCE.starts_with(prefix) { Vec::new() } else { actions(connection, prefix, &end).await? };
    if actions.is_empty() || actions.len() >= ACTIONS {
        let range = Fragment::new("audit_events.action >= ? AND audit_events.action < ?");
        return Ok(Clause::filter(range.bind(prefix).bind(end)));
    }
    Ok(equal(&RARE_ACTION, "action", actions))
}

/// Finds which rare actions there are in a range, one look at the index for each.
async fn actions(connection: &mut Connection, from: &str, to: &str) -> Result<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    let mut operator = ">=";
    while found.len() < ACTIONS {
        let last = found.last().map_or(from, String::as_str);
        let next: Option<Action> = Fragment::new(format!(
            "SELECT action FROM audit_events WHERE action {operator} ? AND action < ? \
             AND action <> 'certificate.issue' ORDER BY action LIMIT 1"
        ))
        .bind(last)
        .bind(to)
        .statement()
        .get_result(connection)
        .await
        .optional()?;
        let Some(next) = next else { break };
        found.push(next.action);
        operator = ">";
    }
    Ok(found)
}

/// An action as read.
#[derive(Debug, diesel::QueryableByName)]
struct Action {
    #[diesel(sql_type = diesel::sql_types::Text)]
    action: String,
}
