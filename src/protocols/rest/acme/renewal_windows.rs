//! Renewal windows: when operators want certificates renewed (RFC 9773), such as after an incident, before a change of issuers, or spread over
//! a quiet week.

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::number;
use crate::auth::permission::{ManageAcme, ReadAcme};
use crate::ca::acme::renewal::{NewRenewalWindow, RenewalWindowView};
use crate::error::Result;
use crate::http::cursor::Listing;
use crate::http::extract::{Auth, JsonBody, Parameters, RequestBody};
use crate::protocols::rest::State;
use crate::protocols::rest::tokens::PageQuery;
use crate::x509::{SerialNumber, Timestamp};

/// A renewal window.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = RenewalWindow)]
pub struct WindowDocument {
    /// Its number, as text.
    #[schema(example = "901234567890123456")]
    pub id: String,
    /// The issuer whose certificates are to be renewed, with its generation.
    #[schema(example = "issuing.2")]
    pub issuer: String,
    /// Only the certificate with this serial number; null for all.
    #[schema(value_type = Option<String>, example = "01890a5dac96774bbcceb302099a8057a1b2c3d4")]
    pub serial: Option<String>,
    /// Only certificates issued before this moment; null for all.
    pub issued_before: Option<Timestamp>,
    /// The begin of the window.
    pub starts_at: Timestamp,
    /// Its end.
    pub ends_at: Timestamp,
    /// A page that says why; clients show it to people.
    #[schema(example = "https://pki.example.com/incidents/7")]
    pub explanation_url: Option<String>,
    /// The principal that set it.
    #[schema(example = "token:admin")]
    pub created_by: String,
    /// When it was set.
    pub created_at: Timestamp,
}

impl From<RenewalWindowView> for WindowDocument {
    fn from(view: RenewalWindowView) -> Self {
        let RenewalWindowView { record, issuer } = view;
        Self {
            id: record.id.to_string(),
            issuer,
            serial: record.serial.map(|serial| serial.to_string()),
            issued_before: record.issued_before,
            starts_at: record.starts_at,
            ends_at: record.ends_at,
            explanation_url: record.explanation_url,
            created_by: record.created_by,
            created_at: record.created_at,
        }
    }
}

/// A page of renewal windows.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = RenewalWindowPage)]
pub struct Page {
    /// The windows, newest first.
    pub items: Vec<WindowDocument>,
    /// What to pass as `cursor` for the next page; null when there is none.
    pub next_cursor: Option<String>,
}

/// Lists the renewal windows.
///
/// Newest first, those that are over too.
#[utoipa::path(
    get, path = "/api/v1/acme/renewal-windows", operation_id = "listRenewalWindows", tag = "acme administration", params(PageQuery),
    responses((status = 200, description = "A page.", body = Page, example = json!({"items": [example()], "next_cursor": null})))
)]
pub async fn list(authorization: Auth<ReadAcme>, state: State, query: Parameters<PageQuery>) -> Result<HttpResponse> {
    let page = query.0;
    let before = page.before(Listing::RenewalWindows)?;
    let windows = state.acme.list_renewal_windows(&authorization, before, page.limit).await?;
    let rows: Vec<i64> = windows.iter().map(|window| window.record.id).collect();
    let items = windows.into_iter().map(WindowDocument::from).collect();
    Ok(HttpResponse::Ok().json(Page { items, next_cursor: page.next_cursor(Listing::RenewalWindows, &rows) }))
}

/// A request for a renewal window.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RenewalWindowRequest)]
pub struct WindowBody {
    /// The issuer whose certificates are to be renewed; with its generation, such as `issuing.2`, when it has several. With `serial` it may be left
    /// out when no other issuer gave that number.
    #[serde(default)]
    #[schema(example = "issuing")]
    pub issuer: Option<String>,
    /// Only the certificate with this serial number; all if absent.
    #[serde(default)]
    #[schema(example = "01890a5dac96774bbcceb302099a8057a1b2c3d4")]
    pub serial: Option<String>,
    /// Only certificates issued before this moment; all if absent.
    #[serde(default)]
    pub issued_before: Option<Timestamp>,
    /// The begin of the window; one in the past has clients renew as soon as they ask.
    pub starts_at: Timestamp,
    /// Its end, after its begin.
    pub ends_at: Timestamp,
    /// A page that says why; clients show it to people.
    #[serde(default)]
    #[schema(example = "https://pki.example.com/incidents/7")]
    pub explanation_url: Option<String>,
}

impl RequestBody for WindowBody {}

/// Sets a renewal window.
///
/// Clients that ask for renewal information of these certificates are told this window instead of the one that follows from the certificate's
/// age. Of several the one that begins first holds. Certificates that are not renewed stay valid: nothing is revoked.
#[utoipa::path(
    post, path = "/api/v1/acme/renewal-windows", operation_id = "createRenewalWindow", tag = "acme administration",
    request_body(content = WindowBody, description = "The window.", example = json!({"issuer": "issuing", "issued_before": "2030-01-31T00:00:00Z", "starts_at": "2030-01-31T12:00:00Z", "ends_at": "2030-02-02T12:00:00Z", "explanation_url": "https://pki.example.com/incidents/7"})),
    responses((status = 201, description = "The window.", body = WindowDocument, example = json!(example())))
)]
pub async fn create(
    authorization: Auth<ManageAcme>,
    state: State,
    _query: Parameters<()>,
    body: JsonBody<WindowBody>,
) -> Result<HttpResponse> {
    let WindowBody { issuer, serial, issued_before, starts_at, ends_at, explanation_url } = body.value;
    let serial = serial.as_deref().map(str::parse::<SerialNumber>).transpose()?;
    let request = NewRenewalWindow { issuer, serial, issued_before, starts_at, ends_at, explanation_url };
    let created = WindowDocument::from(state.acme.create_renewal_window(&authorization, request).await?);
    let location = format!("/api/v1/acme/renewal-windows/{}", created.id);
    Ok(HttpResponse::Created().insert_header((header::LOCATION, location)).json(created))
}

/// Deletes a renewal window.
///
/// Clients are told the window that follows from the certificate's age again.
#[utoipa::path(
    delete, path = "/api/v1/acme/renewal-windows/{id}", operation_id = "deleteRenewalWindow", tag = "acme administration",
    params(("id" = String, Path, description = "The window's number.", example = "901234567890123456")),
    responses((status = 204, description = "It is deleted."))
)]
pub async fn delete(
    authorization: Auth<ManageAcme>,
    state: State,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let id = number(&path, "renewal window")?;
    state.acme.delete_renewal_window(&authorization, id).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn example() -> Value {
    json!({
        "id": "901234567890123456",
        "issuer": "issuing",
        "serial": null,
        "issued_before": "2030-01-31T00:00:00Z",
        "starts_at": "2030-01-31T12:00:00Z",
        "ends_at": "2030-02-02T12:00:00Z",
        "explanation_url": "https://pki.example.com/incidents/7",
        "created_by": "token:admin",
        "created_at": "2030-01-31T11:00:00Z",
    })
}
