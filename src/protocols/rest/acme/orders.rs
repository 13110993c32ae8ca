//! ACME orders as operators see them: with their authorizations, the challenges that were answered, and why they failed.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};

use super::number;
use crate::auth::permission::ReadAcme;
use crate::ca::acme::{
    Acme, AuthorizationStatus, AuthorizationView, ChallengeStatus, OrderStatus, OrderView, row_number,
};
use crate::error::{AcmeSubproblem, Error, Result};
use crate::http::cursor::{self, Listing};
use crate::http::extract::{Auth, Fields, FromFields, Parameters};
use crate::policy::acme::identifier::WrittenIdentifier;
use crate::policy::acme::{ChallengeType, Identifier};
use crate::protocols::rest::{State, limit};
use crate::storage::{AcmeAuthorizationRecord, AcmeOrderFilter, AcmeProblem};
use crate::x509::Timestamp;

/// An ACME order.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AcmeOrder)]
pub struct OrderDocument {
    /// The number, as it stands at the end of the order's address.
    #[schema(example = "901234567890999999")]
    pub id: String,
    /// The number of its account.
    #[schema(example = "901234567890123456")]
    pub account: String,
    /// The profile.
    #[schema(example = "server")]
    pub profile: String,
    /// The status.
    pub status: OrderStatus,
    /// What it is for.
    pub identifiers: Vec<WrittenIdentifier>,
    /// The first second of validity that was asked for.
    pub not_before: Option<Timestamp>,
    /// The last second of validity that was asked for.
    pub not_after: Option<Timestamp>,
    /// The certificate identifier (RFC 9773, section 4.1) that it replaces.
    pub replaces: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends to be pending.
    pub expires_at: Timestamp,
    /// When its certificate was issued.
    pub finalized_at: Option<Timestamp>,
    /// The serial number of its certificate.
    #[schema(example = "01980d3e7a447b1c9f2e0f5f4b6a8c11")]
    pub certificate_serial: Option<String>,
    /// Why it is invalid.
    pub error: Option<ProblemDocument>,
    /// Its authorizations, in the order of its identifiers.
    pub authorizations: Vec<AuthorizationDocument>,
}

/// Why something failed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AcmeFailure)]
pub struct ProblemDocument {
    /// The token under `urn:ietf:params:acme:error:`.
    #[serde(rename = "type")]
    #[schema(example = "dns")]
    pub error_type: String,
    /// What was wrong.
    #[schema(example = "the name `_acme-challenge.app.internal` does not exist")]
    pub detail: String,
    /// One for each identifier that has one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subproblems: Vec<AcmeSubproblem>,
}

impl ProblemDocument {
    fn of(problem: &AcmeProblem) -> Self {
        Self {
            error_type: problem.error_type.clone(),
            detail: problem.detail.clone(),
            subproblems: problem.subproblems.clone(),
        }
    }
}

/// An authorization of an order.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AcmeAuthorization)]
pub struct AuthorizationDocument {
    /// The number, as it stands at the end of the authorization's address.
    #[schema(example = "901234567890777777")]
    pub id: String,
    /// What control is proven of; with `*.` for a wildcard.
    pub identifier: WrittenIdentifier,
    /// The status.
    pub status: AuthorizationStatus,
    /// When it ends to be pending, or valid.
    pub expires_at: Timestamp,
    /// The challenge that was answered; null while none was, and when an external account binding proves control.
    #[schema(value_type = Option<String>, example = "dns-01")]
    pub challenge: Option<ChallengeType>,
    /// How far the validation of that challenge is.
    pub challenge_status: Option<ChallengeStatus>,
    /// How many times it was looked at.
    pub attempts: i32,
    /// When it is looked at next.
    pub next_attempt_at: Option<Timestamp>,
    /// When control was proven.
    pub validated_at: Option<Timestamp>,
    /// The last failure.
    pub error: Option<ProblemDocument>,
}

impl AuthorizationDocument {
    fn of(acme: &Acme, record: &AcmeAuthorizationRecord) -> Self {
        let AuthorizationView { record, status, challenges, .. } = acme.authorization_view(record.clone());
        let answered = record.challenge.map(|(challenge, _state)| challenge);
        let view = challenges.iter().find(|view| answered == Some(view.challenge_type));
        Self {
            id: record.id.to_string(),
            identifier: record.identifier.written(),
            status,
            expires_at: record.expires_at,
            challenge: answered,
            challenge_status: view.map(|view| view.status),
            attempts: record.attempts,
            next_attempt_at: record.next_attempt_at_ms.map(|ms| Timestamp::from_unix(ms.div_euclid(1000))),
            validated_at: record.validated_at,
            error: record.error.as_ref().map(ProblemDocument::of),
        }
    }
}

impl OrderDocument {
    fn of(acme: &Acme, view: &OrderView) -> Self {
        let record = &view.record;
        Self {
            id: record.id.to_string(),
            account: record.account_id.to_string(),
            profile: record.profile.clone(),
            status: view.status,
            identifiers: record.identifiers.iter().map(Identifier::written).collect(),
            not_before: record.not_before,
            not_after: record.not_after,
            replaces: record.replaces.clone(),
            created_at: record.created_at,
            expires_at: record.expires_at,
            finalized_at: record.finalized_at,
            certificate_serial: record.certificate.as_ref().map(|(_issuer, serial)| serial.to_string()),
            error: record.error.as_ref().map(ProblemDocument::of),
            authorizations: view.authorizations.iter().map(|one| AuthorizationDocument::of(acme, one)).collect(),
        }
    }
}

/// A page of ACME orders.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AcmeOrderPage)]
pub struct Page {
    /// The orders, newest first. With `status` there may be fewer than `limit` though there is a next page.
    pub items: Vec<OrderDocument>,
    /// What to pass as `cursor` for the next page; null when there is none.
    pub next_cursor: Option<String>,
}

/// Which orders, and how many.
#[derive(Clone, Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// The number of the account.
    #[param(example = "901234567890123456")]
    pub account: Option<String>,
    /// The status. Orders that expired are found as `invalid` once the clean-up has been at them.
    #[param(inline)]
    pub status: Option<OrderStatus>,
    /// The profile.
    #[param(example = "server")]
    pub profile: Option<String>,
    /// An identifier: a DNS name, with `*.` for a wildcard, or an IP address.
    #[param(example = "app.internal")]
    pub name: Option<String>,
    /// Created at or after.
    pub created_after: Option<Timestamp>,
    /// Created before.
    pub created_before: Option<Timestamp>,
    /// The most items of the page, 1 to 1000; 100 if absent. A page of orders has at most 100.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: u16,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl FromFields for ListQuery {
    fn from_fields(fields: &mut Fields) -> Result<Self> {
        Ok(Self {
            account: fields.one("account")?,
            status: fields.word("status")?,
            profile: fields.one("profile")?,
            name: fields.one("name")?,
            created_after: fields.parsed("created_after")?,
            created_before: fields.parsed("created_before")?,
            limit: limit(fields)?,
            cursor: fields.one("cursor")?,
        })
    }
}

impl ListQuery {
    fn filter(&self) -> Result<AcmeOrderFilter> {
        let account_id = self.account.as_deref().map(|text| {
            row_number(text)
                .ok_or_else(|| Error::malformed("the query parameter `account` is not the number of an account"))
        });
        Ok(AcmeOrderFilter {
            from_row: None,
            account_id: account_id.transpose()?,
            status: None,
            profile: self.profile.clone(),
            identifier: self.name.as_deref().map(identifier).transpose()?,
            created_after: self.created_after,
            created_before: self.created_before,
        })
    }
}

/// Reads a name or address in the form in which orders hold it.
fn identifier(text: &str) -> Result<String> {
    let kind = if text.parse::<std::net::IpAddr>().is_ok() { "ip" } else { "dns" };
    let written = WrittenIdentifier { kind: kind.to_owned(), value: text.to_owned() };
    Identifier::parse(&written)
        .map(|identifier| identifier.to_string())
        .map_err(|error| Error::malformed(format!("the query parameter `name` is not valid: {}", error.detail())))
}

/// Lists the ACME orders.
///
/// Newest first, each with its authorizations, the challenge that was answered, and the reason of each failure.
#[utoipa::path(
    get, path = "/api/v1/acme/orders", operation_id = "listAcmeOrders", tag = "acme administration", params(ListQuery),
    responses((status = 200, description = "A page.", body = Page, example = json!({"items": [example()], "next_cursor": null})))
)]
pub async fn list(authorization: Auth<ReadAcme>, state: State, query: Parameters<ListQuery>) -> Result<HttpResponse> {
    let query = query.0;
    let before = cursor::before_row(Listing::AcmeOrders, query.cursor.as_deref())?;
    let page = state.acme.list_orders(&authorization, &query.filter()?, query.status, before, query.limit).await?;
    let items = page.orders.iter().map(|order| OrderDocument::of(&state.acme, order)).collect();
    let next_cursor = page.next.map(|row| cursor::after_row(Listing::AcmeOrders, 0, row));
    Ok(HttpResponse::Ok().json(Page { items, next_cursor }))
}

/// Reads an ACME order.
#[utoipa::path(
    get, path = "/api/v1/acme/orders/{id}", operation_id = "showAcmeOrder", tag = "acme administration",
    params(("id" = String, Path, description = "The order's number.", example = "901234567890999999")),
    responses((status = 200, description = "The order.", body = OrderDocument, example = json!(example())))
)]
pub async fn read(
    authorization: Auth<ReadAcme>,
    state: State,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let order = state.acme.read_order(&authorization, number(&path, "ACME order")?).await?;
    Ok(HttpResponse::Ok().json(OrderDocument::of(&state.acme, &order)))
}

fn example() -> Value {
    let failure = json!({"type": "dns", "detail": "the name `_acme-challenge.app.internal` does not exist"});
    json!({
        "id": "901234567890999999",
        "account": "901234567890123456",
        "profile": "server",
        "status": "invalid",
        "identifiers": [{"type": "dns", "value": "app.internal"}],
        "not_before": null,
        "not_after": null,
        "replaces": null,
        "created_at": "2030-01-31T12:00:00Z",
        "expires_at": "2030-02-07T12:00:00Z",
        "finalized_at": null,
        "certificate_serial": null,
        "error": failure,
        "authorizations": [{
            "id": "901234567890777777",
            "identifier": {"type": "dns", "value": "app.internal"},
            "status": "invalid",
            "expires_at": "2030-02-07T12:00:00Z",
            "challenge": "dns-01",
            "challenge_status": "invalid",
            "attempts": 4,
            "next_attempt_at": null,
            "validated_at": null,
            "error": failure,
        }],
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;

    fn filter(query: &str) -> Result<AcmeOrderFilter> {
        Parameters::<ListQuery>::read(query).and_then(|parameters| parameters.0.filter())
    }

    #[test]
    fn conditions_are_read_in_normal_form() {
        let read = filter("account=12&name=*.App.Internal&profile=server&status=ready").unwrap();
        assert_eq!((read.account_id, read.identifier.as_deref()), (Some(12), Some("*.app.internal")));
        assert_eq!(filter("name=fd00::1").unwrap().identifier.as_deref(), Some("fd00::1"));
    }

    #[test]
    fn what_is_no_condition_is_refused_by_name() {
        for (query, said) in [
            ("account=x", "`account`"),
            ("account=01", "`account`"),
            ("name=a..b", "`name`"),
            ("status=gone", "`pending`"),
            ("created_after=yesterday", "RFC 3339"),
            ("colour=red", "unknown query parameter `colour`"),
        ] {
            let refused = filter(query).unwrap_err();
            assert!(refused.detail().contains(said), "{query}: {}", refused.detail());
        }
    }
}
