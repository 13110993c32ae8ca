//! ACME accounts: listed, read, limited and ended by operators.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::number;
use crate::auth::permission::{ManageAcme, ReadAcme};
use crate::ca::acme::Account;
use crate::ca::acme::rate_limits::{AccountRateLimits, AccountRateLimitsChange};
use crate::error::{Error, Result};
use crate::http::cursor::{self, Listing};
use crate::http::extract::{Auth, Fields, FromFields, JsonBody, Parameters, RequestBody};
use crate::http::problem::shorten;
use crate::protocols::rest::{State, limit};
use crate::storage::{AcmeAccountFilter, AcmeAccountRecord, AcmeAccountStatus};
use crate::x509::Timestamp;

/// An ACME account.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AcmeAccount)]
pub struct AccountDocument {
    /// The number, as it stands at the end of the account's address.
    #[schema(example = "901234567890123456")]
    pub id: String,
    /// The status: `deactivated` by its holder, `revoked` by an operator.
    pub status: AcmeAccountStatus,
    /// RFC 7638 thumbprint of its key, hex.
    pub thumbprint: String,
    /// Addresses of people.
    #[schema(example = json!(["mailto:ops@example.internal"]))]
    pub contacts: Vec<String>,
    /// The terms of service it agreed to; null if there were none.
    pub terms_of_service: Option<String>,
    /// The identifier of the external account key it is bound by; null if it is not bound.
    pub external_account_key: Option<String>,
    /// The principal that its certificates belong to.
    #[schema(example = "token:deploy")]
    pub principal: String,
    /// What holds for it instead of the configured limits.
    pub rate_limits: AccountRateLimits,
    /// When it was made.
    pub created_at: Timestamp,
    /// The address it was made from.
    #[schema(example = "10.1.2.3")]
    pub created_from: Option<String>,
}

impl AccountDocument {
    fn of(record: &AcmeAccountRecord) -> Result<Self> {
        let key = record.external_account_key.as_ref();
        Ok(Self {
            id: record.id.to_string(),
            status: record.status,
            thumbprint: hex::encode(record.thumbprint),
            contacts: record.contacts.clone(),
            terms_of_service: record.terms_of_service.clone(),
            external_account_key: key.map(|key| key.key_id.clone()),
            principal: Account::principal_name(record),
            rate_limits: Account::limits_of(record)?,
            created_at: record.created_at,
            created_from: record.created_from.clone(),
        })
    }
}

/// A page of ACME accounts.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AcmeAccountPage)]
pub struct Page {
    /// The accounts, newest first.
    pub items: Vec<AccountDocument>,
    /// What to pass as `cursor` for the next page; null when there is none.
    pub next_cursor: Option<String>,
}

/// Which accounts, and how many.
#[derive(Clone, Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// The status.
    #[param(inline)]
    pub status: Option<AcmeAccountStatus>,
    /// The identifier of the external account key they are bound by.
    pub external_account_key: Option<String>,
    /// The principal of the external account keys they are bound by.
    #[param(example = "token:deploy")]
    pub principal: Option<String>,
    /// RFC 7638 thumbprint of the key, hex.
    pub thumbprint: Option<String>,
    /// The most items of the page, 1 to 1000; 100 if absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: u16,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl FromFields for ListQuery {
    fn from_fields(fields: &mut Fields) -> Result<Self> {
        Ok(Self {
            status: fields.word("status")?,
            external_account_key: fields.one("external_account_key")?,
            principal: fields.one("principal")?,
            thumbprint: fields.one("thumbprint")?,
            limit: limit(fields)?,
            cursor: fields.one("cursor")?,
        })
    }
}

impl ListQuery {
    fn filter(&self) -> Result<AcmeAccountFilter> {
        Ok(AcmeAccountFilter {
            status: self.status,
            external_account_key: self.external_account_key.clone(),
            principal: self.principal.clone(),
            thumbprint: self.thumbprint.as_deref().map(thumbprint).transpose()?,
        })
    }
}

fn thumbprint(text: &str) -> Result<[u8; 32]> {
    let octets = hex::decode(text).ok().and_then(|octets| <[u8; 32]>::try_from(octets).ok());
    octets.ok_or_else(|| {
        Error::malformed(format!(
            "the query parameter `thumbprint` is not valid: `{}` does not have 64 hex digits",
            shorten(text)
        ))
    })
}

/// Lists the ACME accounts.
///
/// Newest first, those that ended too.
#[utoipa::path(
    get, path = "/api/v1/acme/accounts", operation_id = "listAcmeAccounts", tag = "acme administration", params(ListQuery),
    responses((status = 200, description = "A page.", body = Page, example = json!({"items": [example()], "next_cursor": null})))
)]
pub async fn list(authorization: Auth<ReadAcme>, state: State, query: Parameters<ListQuery>) -> Result<HttpResponse> {
    let query = query.0;
    let before = cursor::before_row(Listing::AcmeAccounts, query.cursor.as_deref())?;
    let page = state.acme.list_accounts(&authorization, &query.filter()?, before, query.limit).await?;
    let next_cursor = page.next.map(|(_, row)| cursor::after_row(Listing::AcmeAccounts, 0, row));
    let items = page.items.iter().map(AccountDocument::of).collect::<Result<_>>()?;
    Ok(HttpResponse::Ok().json(Page { items, next_cursor }))
}

/// Reads an ACME account.
#[utoipa::path(
    get, path = "/api/v1/acme/accounts/{id}", operation_id = "showAcmeAccount", tag = "acme administration",
    params(("id" = String, Path, description = "The account's number.", example = "901234567890123456")),
    responses((status = 200, description = "The account.", body = AccountDocument, example = json!(example())))
)]
pub async fn read(
    authorization: Auth<ReadAcme>,
    state: State,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let account = state.acme.read_account(&authorization, number(&path, "ACME account")?).await?;
    Ok(HttpResponse::Ok().json(AccountDocument::of(&account)?))
}

/// A change of an ACME account.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AcmeAccountUpdate)]
pub struct UpdateBody {
    /// What is to hold for it instead of the configured limits: what is absent stays, null takes one back. A count of 0 is no limit.
    pub rate_limits: AccountRateLimitsChange,
}

impl RequestBody for UpdateBody {}

/// Changes the rate limits of an ACME account.
#[utoipa::path(
    patch, path = "/api/v1/acme/accounts/{id}", operation_id = "updateAcmeAccount", tag = "acme administration",
    params(("id" = String, Path, description = "The account's number.", example = "901234567890123456")),
    request_body(content = UpdateBody, description = "The change.", example = json!({"rate_limits": {"orders_per_account": {"count": 5000, "period": "1h"}}})),
    responses((status = 200, description = "The account.", body = AccountDocument, example = json!(example())))
)]
pub async fn update(
    authorization: Auth<ManageAcme>,
    state: State,
    path: web::Path<String>,
    _query: Parameters<()>,
    body: JsonBody<UpdateBody>,
) -> Result<HttpResponse> {
    let id = number(&path, "ACME account")?;
    let account = state.acme.limit_account(&authorization, id, body.value.rate_limits).await?;
    Ok(HttpResponse::Ok().json(AccountDocument::of(&account)?))
}

/// Ends an ACME account.
///
/// Its requests are refused from now on, by every replica within a second; its pending orders become invalid. Its certificates stay. An account
/// that ended already stays as it is.
#[utoipa::path(
    post, path = "/api/v1/acme/accounts/{id}/deactivate", operation_id = "deactivateAcmeAccount", tag = "acme administration",
    params(("id" = String, Path, description = "The account's number.", example = "901234567890123456")),
    responses((status = 200, description = "The account, `revoked`.", body = AccountDocument, example = json!(ended_example())))
)]
pub async fn deactivate(
    authorization: Auth<ManageAcme>,
    state: State,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let account = state.acme.revoke_account(&authorization, number(&path, "ACME account")?).await?;
    Ok(HttpResponse::Ok().json(AccountDocument::of(&account)?))
}

fn example() -> Value {
    json!({
        "id": "901234567890123456",
        "status": "valid",
        "thumbprint": "2b1f0e6c3a5d4978aa11c0de90f3b2d4785e6612fe0c9ab7d3481e5f60a7bc29",
        "contacts": ["mailto:ops@example.internal"],
        "terms_of_service": "https://ca.internal/terms",
        "external_account_key": "8c0f5a1be2d34f60917e3bb2a41c76d5",
        "principal": "token:deploy",
        "rate_limits": {"orders_per_account": {"count": 5000, "period": "1h"}},
        "created_at": "2030-01-31T12:00:00Z",
        "created_from": "10.1.2.3",
    })
}

fn ended_example() -> Value {
    let mut example = example();
    if let Some(object) = example.as_object_mut() {
        object.insert("status".to_owned(), json!("revoked"));
    }
    example
}
