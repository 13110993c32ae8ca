//! Accounts (RFC 8555, section 7.3): made, read, changed, ended, their orders, and their keys.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};

use super::addresses::Addresses;
use super::objects::{AccountDocument, OrderListDocument};
use super::request::{AccountRequest, KeyRequest};
use super::{State, answers, number};
use crate::ca::acme::AcmeCaller;
use crate::error::{AcmeErrorType, Error, Result};
use crate::http::extract::{Fields, FromFields, Parameters, Public};
use crate::x509::jws::FlattenedSignature;

/// Makes an account.
///
/// Signed with the account's key, which is in `jwk` (RFC 8555, section 7.3). The payload: `contact`, `termsOfServiceAgreed`, `onlyReturnExisting` and
/// `externalAccountBinding`, each of which may be absent. A key that has an account gets that one.
#[utoipa::path(
    post, path = "/acme/new-account", operation_id = "createAcmeAccount", tag = "acme",
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed with the key of the account to be.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImp3ayI6...", "payload": "eyJ0ZXJtc09mU2VydmljZUFncmVlZCI6dHJ1ZX0", "signature": "MEUCIQ..."})),
    responses(
        (status = 201, description = "The new account.", body = AccountDocument,
         headers(("Location" = String, description = "The account's address, which is its `kid`.")),
         example = json!({"status": "valid", "contact": ["mailto:ops@example.internal"], "orders": "https://ca.internal/acme/accounts/7/orders"})),
        (status = 200, description = "The account that the key has already.", body = AccountDocument,
         headers(("Location" = String, description = "The account's address, which is its `kid`.")),
         example = json!({"status": "valid", "contact": ["mailto:ops@example.internal"], "orders": "https://ca.internal/acme/accounts/7/orders"})),
    )
)]
pub async fn create(
    _public: Public,
    state: State,
    request: KeyRequest,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    create_in(&state, request, None).await
}

/// Makes an account through the directory of a profile.
///
/// As through the default directory: accounts are the same for all of them.
#[utoipa::path(
    post, path = "/acme/{profile}/new-account", operation_id = "createAcmeAccountInProfile", tag = "acme",
    params(("profile" = String, Path, description = "The profile.", example = "server")),
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed with the key of the account to be.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImp3ayI6...", "payload": "eyJ0ZXJtc09mU2VydmljZUFncmVlZCI6dHJ1ZX0", "signature": "MEUCIQ..."})),
    responses(
        (status = 201, description = "The new account.", body = AccountDocument,
         headers(("Location" = String, description = "The account's address, which is its `kid`.")),
         example = json!({"status": "valid", "contact": ["mailto:ops@example.internal"], "orders": "https://ca.internal/acme/accounts/7/orders"})),
        (status = 200, description = "The account that the key has already.", body = AccountDocument,
         headers(("Location" = String, description = "The account's address, which is its `kid`.")),
         example = json!({"status": "valid", "contact": ["mailto:ops@example.internal"], "orders": "https://ca.internal/acme/accounts/7/orders"})),
    )
)]
pub async fn create_in_profile(
    _public: Public,
    state: State,
    request: KeyRequest,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    create_in(&state, request, Some(&path)).await
}

async fn create_in(state: &State, request: KeyRequest, directory: Option<&str>) -> Result<HttpResponse> {
    if directory.is_some() {
        state.acme.directory_profiles(directory)?;
    }
    let body = request.payload.object()?;
    let registered = state.acme.new_account(&request.caller, directory, body).await?;
    let status = if registered.created { StatusCode::CREATED } else { StatusCode::OK };
    answers::account(&state.acme, &registered.account, request.caller.base_url(), status)
}

/// Reads, changes or ends an account.
///
/// Signed by the account itself. With the empty text as payload it is read; else the payload may have `contact`, `termsOfServiceAgreed`, and the `status`
/// `deactivated`, which ends it (RFC 8555, sections 7.3.2 to 7.3.6). Certificates stay as they are.
#[utoipa::path(
    post, path = "/acme/accounts/{id}", operation_id = "acmeAccount", tag = "acme",
    params(("id" = i64, Path, description = "The account's number.", example = 7)),
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed by the account.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImtpZCI6...", "payload": "eyJjb250YWN0IjpbXX0", "signature": "MEUCIQ..."})),
    responses((status = 200, description = "The account.", body = AccountDocument,
        headers(("Location" = String, description = "The account's address.")),
        example = json!({"status": "valid", "contact": [], "orders": "https://ca.internal/acme/accounts/7/orders"})))
)]
pub async fn account(
    _public: Public,
    state: State,
    request: AccountRequest,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    require_own(&request.caller, &path)?;
    let account = if request.payload.is_empty() {
        request.caller.account().clone()
    } else {
        state.acme.update_account(&request.caller, request.payload.object()?).await?
    };
    answers::account(&state.acme, &account, request.caller.base_url(), StatusCode::OK)
}

/// Refuses an account that asks for another, whether that exists or not.
fn require_own(caller: &AcmeCaller, path: &str) -> Result<()> {
    if number("account", path)? == caller.account().record.id {
        return Ok(());
    }
    Err(Error::acme(AcmeErrorType::Unauthorized, "an account may be asked for with its own key only"))
}

/// The query of a list of orders.
#[derive(Clone, Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OrderListQuery {
    /// Where the page before ended: follow the link `next` instead of making one.
    pub cursor: Option<i64>,
}

impl FromFields for OrderListQuery {
    fn from_fields(fields: &mut Fields) -> Result<Self> {
        let Some(text) = fields.one("cursor")? else { return Ok(Self { cursor: None }) };
        let cursor = text.parse::<i64>().map_err(|error| {
            Error::malformed("the query parameter `cursor` is not one that a link `next` gave").with_source(error)
        })?;
        Ok(Self { cursor: Some(cursor) })
    }
}

/// Lists the orders of an account.
///
/// POST-as-GET by the account (RFC 8555, section 7.1.2.1): those that are not invalid, oldest first, in pages.
#[utoipa::path(
    post, path = "/acme/accounts/{id}/orders", operation_id = "listAcmeAccountOrders", tag = "acme",
    params(("id" = i64, Path, description = "The account's number.", example = 7), OrderListQuery),
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed by the account, with an empty payload.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImtpZCI6...", "payload": "", "signature": "MEUCIQ..."})),
    responses((status = 200, description = "A page of orders.", body = OrderListDocument,
        headers(("Link" = String, description = "With the relation `next` the address of the next page, unless this is the last.")),
        example = json!({"orders": ["https://ca.internal/acme/orders/12"]})))
)]
pub async fn orders(
    _public: Public,
    state: State,
    request: AccountRequest,
    path: web::Path<String>,
    query: Parameters<OrderListQuery>,
) -> Result<HttpResponse> {
    require_own(&request.caller, &path)?;
    request.payload.refuse_any()?;
    let addresses = Addresses(request.caller.base_url());
    let (numbers, more) = state.acme.order_numbers(&request.caller, query.0.cursor).await?;
    let mut response = HttpResponse::Ok();
    if let Some(last) = numbers.last().filter(|_| more) {
        let next = addresses.account_orders_after(request.caller.account().record.id, *last);
        response.append_header(answers::link(&next, "next"));
    }
    Ok(response.json(OrderListDocument { orders: numbers.into_iter().map(|id| addresses.order(id)).collect() }))
}

/// Gives an account another key.
///
/// Signed by the account with its present key; the payload is a JWS over `{"account", "oldKey"}` by the new key, which is in its `jwk` (RFC 8555, section 7.3.5).
#[utoipa::path(
    post, path = "/acme/key-change", operation_id = "changeAcmeAccountKey", tag = "acme",
    request_body(content = FlattenedSignature, content_type = "application/jose+json", description = "A request signed by the account.",
        example = json!({"protected": "eyJhbGciOiJFUzI1NiIsImtpZCI6...", "payload": "eyJwcm90ZWN0ZWQiOi...", "signature": "MEUCIQ..."})),
    responses((status = 200, description = "The account.", body = AccountDocument,
        headers(("Location" = String, description = "The account's address.")),
        example = json!({"status": "valid", "contact": [], "orders": "https://ca.internal/acme/accounts/7/orders"})))
)]
pub async fn change_key(
    _public: Public,
    state: State,
    request: AccountRequest,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let account = state.acme.change_account_key(&request.caller, request.payload.request()).await?;
    answers::account(&state.acme, &account, request.caller.base_url(), StatusCode::OK)
}
