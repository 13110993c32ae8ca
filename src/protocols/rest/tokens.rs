//! API tokens: made, listed and revoked; the secret is shown once.

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::request::optional_duration;
use super::{State, limit};
use crate::auth::Role;
use crate::auth::permission::{ManageTokens, ReadTokens};
use crate::ca::tokens::TokenRequest;
use crate::error::{Error, Result};
use crate::http::cursor::{self, Listing};
use crate::http::extract::{Auth, Fields, FromFields, IdempotencyHeader, JsonBody, Parameters, RequestBody};
use crate::policy::grants::GrantsDocument;
use crate::storage::TokenRecord;
use crate::x509::Timestamp;

/// An API token, without its secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Token)]
pub struct TokenDocument {
    /// The identifier.
    #[schema(example = "01980d3e7a447b1c9f2e0f5f4b6a8c11")]
    pub id: String,
    /// The name; the principal is `token:` and the name.
    #[schema(example = "deploy")]
    pub name: String,
    /// The role.
    #[schema(example = "requester")]
    pub role: String,
    /// What it may have signed.
    pub grants: GrantsDocument,
    /// When it was made.
    pub created_at: Timestamp,
    /// The principal that made it.
    #[schema(example = "token:admin")]
    pub created_by: String,
    /// When it ends to be valid; null if never.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked; null if it was not.
    pub revoked_at: Option<Timestamp>,
}

impl TokenDocument {
    fn of(record: &TokenRecord) -> Result<Self> {
        let grants = serde_json::from_str(&record.grants).map_err(|error| {
            Error::internal(format!("the grants of the token `{}` cannot be read", record.id)).with_source(error)
        })?;
        Ok(Self {
            id: record.id.clone(),
            name: record.name.clone(),
            role: record.role.clone(),
            grants,
            created_at: record.created_at,
            created_by: record.created_by.clone(),
            expires_at: record.expires_at,
            revoked_at: record.revoked_at,
        })
    }
}

/// A page of tokens.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = TokenPage)]
pub struct Page {
    /// The tokens, newest first; revoked and expired ones too.
    pub items: Vec<TokenDocument>,
    /// What to pass as `cursor` for the next page; null when there is none.
    pub next_cursor: Option<String>,
}

/// The page of a listing by row.
#[derive(Clone, Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// The most items of the page, 1 to 1000; 100 if absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: u16,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl FromFields for PageQuery {
    fn from_fields(fields: &mut Fields) -> Result<Self> {
        Ok(Self { limit: limit(fields)?, cursor: fields.one("cursor")? })
    }
}

impl PageQuery {
    /// Returns the row before which the page begins.
    ///
    /// # Errors
    /// `Malformed` for a cursor of another listing.
    pub(crate) fn before(&self, listing: Listing) -> Result<Option<i64>> {
        cursor::before_row(listing, self.cursor.as_deref())
    }

    /// Returns the cursor of the next page, given the rows of this one.
    pub(crate) fn next_cursor(&self, listing: Listing, rows: &[i64]) -> Option<String> {
        rows.last().filter(|_| rows.len() >= usize::from(self.limit)).map(|row| cursor::after_row(listing, 0, *row))
    }
}

/// Lists the API tokens.
///
/// Newest first, revoked and expired ones too; never a secret.
#[utoipa::path(
    get, path = "/api/v1/tokens", operation_id = "listTokens", tag = "tokens", params(PageQuery),
    responses((status = 200, description = "A page.", body = Page, example = json!({"items": [example()], "next_cursor": null})))
)]
pub async fn list(authorization: Auth<ReadTokens>, state: State, query: Parameters<PageQuery>) -> Result<HttpResponse> {
    let page = query.0;
    let tokens = state.ca.tokens(&authorization, page.before(Listing::Tokens)?, page.limit).await?;
    let rows: Vec<i64> = tokens.iter().map(|token| token.row).collect();
    let items = tokens.iter().map(TokenDocument::of).collect::<Result<_>>()?;
    Ok(HttpResponse::Ok().json(Page { items, next_cursor: page.next_cursor(Listing::Tokens, &rows) }))
}

/// A request for a token.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenRequest)]
pub struct TokenBody {
    /// The name, unique among tokens that are not revoked: 1 to 63 of `a-z`, `0-9`, `-`, `_`, `.`.
    #[schema(example = "deploy")]
    pub name: String,
    /// The role.
    pub role: Role,
    /// What it may have signed; everything that profiles allow if absent.
    #[serde(default)]
    pub grants: GrantsDocument,
    /// When it ends to be valid; never if this and `validity` are absent.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// How long it is valid from now, instead of `expires_at`.
    #[serde(default, deserialize_with = "optional_duration")]
    #[schema(value_type = Option<String>, example = "90d")]
    pub validity: Option<Duration>,
}

impl RequestBody for TokenBody {}

/// A token that was made, with its secret.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CreatedToken)]
pub struct CreatedDocument {
    /// The token.
    #[serde(flatten)]
    pub record: TokenDocument,
    /// The secret, shown this once: what goes after `Authorization: Bearer`.
    #[schema(example = "chy_...")]
    pub token: String,
}

/// Makes an API token.
///
/// The answer holds the secret, which is stored as a digest only and never shown again, except to a repetition of the same request with the same
/// `Idempotency-Key`.
#[utoipa::path(
    post, path = "/api/v1/tokens", operation_id = "createToken", tag = "tokens",
    params(IdempotencyHeader),
    request_body(content = TokenBody, description = "The token.", example = json!({"name": "deploy", "role": "requester", "grants": {"profiles": ["server"]}, "validity": "90d"})),
    responses((status = 201, description = "The token, with its secret.", body = CreatedDocument, headers(("Location" = String, description = "The token's path."), ("Cache-Control" = String, description = "`no-store`.")), example = json!(created_example())))
)]
pub async fn create(
    authorization: Auth<ManageTokens>,
    state: State,
    _query: Parameters<()>,
    body: JsonBody<TokenBody>,
) -> Result<HttpResponse> {
    let TokenBody { name, role, grants, expires_at, validity } = body.value;
    let expires_at = match (expires_at, validity) {
        (Some(_), Some(_)) => {
            return Err(Error::malformed("`expires_at` and `validity` exclude each other; give one of them"));
        }
        (Some(moment), None) => Some(moment),
        (None, length) => length.map(|length| state.ca.clock().now() + length),
    };
    let request = TokenRequest { name, role, grants, expires_at, idempotency: body.idempotency };
    let created = state.ca.create_token(&authorization, request).await?;
    let record = TokenDocument::of(&created.token)?;
    let mut response = HttpResponse::Created();
    response.insert_header((header::LOCATION, format!("/api/v1/tokens/{}", record.id)));
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    if created.replayed {
        response.insert_header(("Idempotency-Replayed", "true"));
    }
    Ok(response.json(CreatedDocument { record, token: created.secret.expose_secret().to_owned() }))
}

/// Revokes an API token.
///
/// It is refused from now on, by every replica within seconds.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}", operation_id = "revokeToken", tag = "tokens",
    params(("id" = String, Path, description = "The token's identifier.", example = "01980d3e7a447b1c9f2e0f5f4b6a8c11")),
    responses((status = 204, description = "It is revoked."))
)]
pub async fn revoke(
    authorization: Auth<ManageTokens>,
    state: State,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    state.ca.revoke_token(&authorization, &path).await?;
    // Refused here from this answer on, not only when the caches of rights have ended.
    state.authenticator.forget_all();
    // Its external account keys were deleted with it.
    state.acme.forget_accounts();
    Ok(HttpResponse::NoContent().finish())
}

fn example() -> Value {
    json!({
        "id": "01980d3e7a447b1c9f2e0f5f4b6a8c11",
        "name": "deploy",
        "role": "requester",
        "grants": {"profiles": ["server"]},
        "created_at": "2030-01-31T12:00:00Z",
        "created_by": "token:admin",
        "expires_at": "2030-05-01T12:00:00Z",
        "revoked_at": null,
    })
}

fn created_example() -> Value {
    let mut example = example();
    if let Some(object) = example.as_object_mut() {
        object.insert("token".to_owned(), json!("chy_..."));
    }
    example
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;

    fn page(query: &str) -> PageQuery {
        Parameters::<PageQuery>::read(query).unwrap().0
    }

    #[test]
    fn a_full_page_has_a_next_one() {
        let cursor = page("limit=2").next_cursor(Listing::Tokens, &[9, 8]).unwrap();
        assert_eq!(page(&format!("cursor={cursor}")).before(Listing::Tokens).unwrap(), Some(8));
        assert!(page(&format!("cursor={cursor}")).before(Listing::Audit).is_err());
        assert_eq!(page("limit=3").next_cursor(Listing::Tokens, &[9, 8]), None);
        assert_eq!(page("").next_cursor(Listing::Tokens, &[]), None);
    }
}
