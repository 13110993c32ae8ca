//! The audit log as auditors read it.

use actix_web::HttpResponse;
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::State;
use super::tokens::PageQuery;
use crate::auth::permission::ReadAudit;
use crate::error::{Error, Result};
use crate::http::cursor::{self, Listing};
use crate::http::extract::{Auth, Fields, FromFields, Parameters};
use crate::storage::{AuditFilter, AuditOutcome, StoredAuditEvent};
use crate::x509::Timestamp;

/// An event of the audit log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AuditEvent)]
pub struct EventDocument {
    /// Its number: a string, as it has more digits than a number in JavaScript.
    #[schema(example = "3984588216125849600")]
    pub id: String,
    /// When, to the millisecond.
    #[schema(example = "2030-01-31T12:00:00.123Z", format = DateTime)]
    pub occurred_at: String,
    /// Who.
    #[schema(example = "token:deploy")]
    pub actor: String,
    /// What.
    #[schema(example = "certificate.issue")]
    pub action: String,
    /// The outcome.
    pub outcome: AuditOutcome,
    /// The object; empty if there is none.
    #[schema(example = "certificate:0198a3f2c1d04b7e9a6c35d2f81e0b4477aa91c3")]
    pub object: String,
    /// The client's address; null for what the service did itself.
    #[schema(example = "192.0.2.7")]
    pub remote_address: Option<String>,
    /// The request id; null for what the service did itself.
    #[schema(example = "01980d3e-7a44-7b1c-9f2e-0f5f4b6a8c11")]
    pub request_id: Option<String>,
    /// Whatever else was kept.
    #[schema(value_type = Object)]
    pub details: Value,
    /// The chain it belongs to.
    #[schema(example = 1)]
    pub chain: i32,
    /// Its place in the chain, from 1.
    #[schema(example = 42)]
    pub sequence: i64,
    /// SHA-256 over the event and the hash before, hex.
    #[schema(example = "5b9c0f6fd8f0c7b7a5a3c4b2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2")]
    pub hash: String,
}

/// A page of events.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AuditPage)]
pub struct Page {
    /// The events, newest first.
    pub items: Vec<EventDocument>,
    /// What to pass as `cursor` for the next page; null when there is none. A page looks at a bounded number of events: it may have fewer than
    /// `limit`, or none, though another one follows.
    pub next_cursor: Option<String>,
}

impl EventDocument {
    fn of(stored: StoredAuditEvent) -> Result<Self> {
        let event = stored.event;
        Ok(Self {
            id: stored.id.to_string(),
            occurred_at: moment(event.occurred_at_ms)?,
            actor: event.actor,
            action: event.action,
            outcome: event.outcome,
            object: event.object,
            remote_address: event.remote_address,
            request_id: event.request_id,
            details: event.details,
            chain: stored.chain,
            sequence: stored.sequence,
            hash: hex::encode(stored.hash),
        })
    }
}

/// Writes a moment to the millisecond, always with three digits, so that texts sort as moments do.
fn moment(milliseconds: i64) -> Result<String> {
    let failed = "the moment of an audit event cannot be written";
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000)
        .map_err(|error| Error::internal(failed).with_source(error))?
        .format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"))
        .map_err(|error| Error::internal(failed).with_source(error))
}

/// Which events.
#[derive(Clone, Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Conditions {
    /// The actor.
    #[param(example = "token:deploy")]
    pub actor: Option<String>,
    /// The action, or the beginning of it and `*`.
    #[param(example = "certificate.*")]
    pub action: Option<String>,
    /// The outcome.
    #[param(inline)]
    pub outcome: Option<AuditOutcome>,
    /// The object.
    pub object: Option<String>,
    /// At or after.
    pub after: Option<Timestamp>,
    /// Before.
    pub before: Option<Timestamp>,
}

/// The query of a listing.
#[derive(Clone, Debug)]
pub struct ListQuery {
    filter: AuditFilter,
    page: PageQuery,
}

impl FromFields for ListQuery {
    fn from_fields(fields: &mut Fields) -> Result<Self> {
        let filter = AuditFilter {
            actor: fields.one("actor")?,
            action: fields.one("action")?,
            outcome: fields.word("outcome")?,
            object: fields.one("object")?,
            after: fields.parsed("after")?,
            before: fields.parsed("before")?,
        };
        Ok(Self { filter, page: PageQuery::from_fields(fields)? })
    }
}

/// Lists audit events.
///
/// Newest first; all conditions that are given hold together.
#[utoipa::path(
    get, path = "/api/v1/audit", operation_id = "listAuditEvents", tag = "audit", params(Conditions, PageQuery),
    responses((status = 200, description = "A page.", body = Page, example = json!({"items": [example()], "next_cursor": null})))
)]
pub async fn list(authorization: Auth<ReadAudit>, state: State, query: Parameters<ListQuery>) -> Result<HttpResponse> {
    let ListQuery { filter, page } = query.0;
    let found = state.ca.audit_events(&authorization, &filter, page.before(Listing::Audit)?, page.limit).await?;
    let next_cursor = found.next.map(|(_, row)| cursor::after_row(Listing::Audit, 0, row));
    let items = found.items.into_iter().map(EventDocument::of).collect::<Result<_>>()?;
    Ok(HttpResponse::Ok().json(Page { items, next_cursor }))
}

/// What the check of the audit log found.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AuditVerification)]
pub struct VerificationDocument {
    /// Whether every chain is whole.
    pub intact: bool,
    /// How many events were checked.
    #[schema(example = 1042)]
    pub events: u64,
    /// How many chains there are.
    #[schema(example = 1)]
    pub chains: u32,
    /// The first break of each broken chain, in words; empty when every chain is whole.
    pub failures: Vec<String>,
}

/// Verifies the audit log.
///
/// Recomputes every link of the hash chains over the stored bytes. A broken chain is an answer, not an error.
#[utoipa::path(
    get, path = "/api/v1/audit/verify", operation_id = "verifyAudit", tag = "audit",
    responses((status = 200, description = "What was found.", body = VerificationDocument, example = json!({"intact": true, "events": 1042, "chains": 1, "failures": []})))
)]
pub async fn verify(authorization: Auth<ReadAudit>, state: State, _query: Parameters<()>) -> Result<HttpResponse> {
    let found = state.ca.verify_audit(&authorization).await?;
    Ok(HttpResponse::Ok().json(VerificationDocument {
        intact: found.failures.is_empty(),
        events: found.events,
        chains: found.chains,
        failures: found.failures,
    }))
}

fn example() -> Value {
    json!({
        "id": "3984588216125849600",
        "occurred_at": "2030-01-31T12:00:00.123Z",
        "actor": "token:deploy",
        "action": "certificate.issue",
        "outcome": "success",
        "object": "certificate:0198a3f2c1d04b7e9a6c35d2f81e0b4477aa91c3",
        "remote_address": "192.0.2.7",
        "request_id": "01980d3e-7a44-7b1c-9f2e-0f5f4b6a8c11",
        "details": {"profile": "server"},
        "chain": 1,
        "sequence": 42,
        "hash": "5b9c0f6fd8f0c7b7a5a3c4b2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2",
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn moments_have_milliseconds() {
        assert_eq!(moment(1_893_456_000_007).unwrap(), "2030-01-01T00:00:00.007Z");
        assert_eq!(moment(0).unwrap(), "1970-01-01T00:00:00.000Z");
        assert_eq!(moment(i64::MAX).unwrap_err().kind(), crate::ErrorKind::Internal);
    }

    #[test]
    fn conditions_are_read() {
        let query = Parameters::<ListQuery>::read("action=certificate.*&outcome=refused&limit=5").unwrap().0;
        assert_eq!(query.filter.outcome, Some(AuditOutcome::Refused));
        assert_eq!(query.filter.action.as_deref(), Some("certificate.*"));
        assert_eq!(query.page.limit, 5);
        assert!(Parameters::<ListQuery>::read("outcome=maybe").is_err());
    }
}
