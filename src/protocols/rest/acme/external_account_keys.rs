//! External account keys: made, listed, read and deleted; the MAC key is shown once.

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use secrecy::ExposeSecret as _;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::auth::permission::{ManageExternalAccountKeys, ReadExternalAccountKeys};
use crate::ca::acme::external_accounts::ExternalAccountKeyRequest;
use crate::error::{Error, Result};
use crate::http::cursor::Listing;
use crate::http::extract::{Auth, IdempotencyHeader, JsonBody, Parameters, RequestBody};
use crate::policy::duration;
use crate::policy::grants::GrantsDocument;
use crate::protocols::rest::State;
use crate::protocols::rest::tokens::PageQuery;
use crate::storage::ExternalAccountKeyRecord;
use crate::x509::Timestamp;

/// An external account key, without its secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ExternalAccountKey)]
pub struct KeyDocument {
    /// The identifier that clients give as `kid`.
    #[schema(example = "8c0f5a1be2d34f60917e3bb2a41c76d5")]
    pub key_id: String,
    /// The profile that accounts bound by it may order under.
    #[schema(example = "server")]
    pub profile: String,
    /// The principal that their certificates belong to.
    #[schema(example = "token:deploy")]
    pub principal: String,
    /// What they may have signed.
    pub grants: GrantsDocument,
    /// Whether the binding itself proves control of every name within the grants, so that no challenge is needed.
    pub proves_control: bool,
    /// Whether it binds one account only.
    pub single_use: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// The principal that made it.
    #[schema(example = "token:admin")]
    pub created_by: String,
    /// When it ends to be valid; null if never.
    pub expires_at: Option<Timestamp>,
}

impl KeyDocument {
    fn of(record: &ExternalAccountKeyRecord) -> Result<Self> {
        let grants = serde_json::from_str(&record.grants).map_err(|error| {
            Error::internal(format!("the grants of the external account key `{}` cannot be read", record.key_id))
                .with_source(error)
        })?;
        Ok(Self {
            key_id: record.key_id.clone(),
            profile: record.profile.clone(),
            principal: record.principal.clone(),
            grants,
            proves_control: record.proves_control,
            single_use: record.single_use,
            created_at: record.created_at,
            created_by: record.created_by.clone(),
            expires_at: record.expires_at,
        })
    }
}

/// A page of external account keys.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ExternalAccountKeyPage)]
pub struct Page {
    /// The keys, newest first; expired ones too.
    pub items: Vec<KeyDocument>,
    /// What to pass as `cursor` for the next page; null when there is none.
    pub next_cursor: Option<String>,
}

/// Lists the external account keys.
///
/// Newest first, expired ones too, deleted ones not; a requester sees its own. Never a secret.
#[utoipa::path(
    get, path = "/api/v1/acme/external-account-keys", operation_id = "listExternalAccountKeys", tag = "acme administration", params(PageQuery),
    responses((status = 200, description = "A page.", body = Page, example = json!({"items": [example()], "next_cursor": null})))
)]
pub async fn list(
    authorization: Auth<ReadExternalAccountKeys>,
    state: State,
    query: Parameters<PageQuery>,
) -> Result<HttpResponse> {
    let page = query.0;
    let before = page.before(Listing::ExternalAccountKeys)?;
    let keys = state.acme.list_external_account_keys(&authorization, before, page.limit).await?;
    let rows: Vec<i64> = keys.iter().map(|key| key.id).collect();
    let items = keys.iter().map(KeyDocument::of).collect::<Result<_>>()?;
    Ok(HttpResponse::Ok().json(Page { items, next_cursor: page.next_cursor(Listing::ExternalAccountKeys, &rows) }))
}

/// The end of a key: a moment, or a time from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// A moment.
    At(Timestamp),
    /// A time from now.
    In(std::time::Duration),
}

impl<'de> Deserialize<'de> for Expiry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Ok(length) = duration::parse(&text) {
            return Ok(Self::In(length));
        }
        text.parse().map(Self::At).map_err(|_not_a_moment: Error| {
            D::Error::custom("neither a time such as `2030-01-31T12:00:00Z` nor a duration such as `90d`")
        })
    }
}

/// A request for an external account key.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ExternalAccountKeyRequest)]
pub struct KeyBody {
    /// The profile that accounts bound by it may order under.
    #[schema(example = "server")]
    pub profile: String,
    /// What they may have signed; everything that the profile allows if absent. Callers who have grants leave it out: the key has theirs.
    #[serde(default)]
    pub grants: Option<GrantsDocument>,
    /// Whether the binding itself proves control of every name within the grants, so that no challenge is needed; no if absent.
    #[serde(default)]
    pub proves_control: bool,
    /// Whether it binds one account only; any number if absent.
    #[serde(default)]
    pub single_use: bool,
    /// When it ends to be valid, or how long it is from now; never ends if absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "90d")]
    pub expires: Option<Expiry>,
    /// The principal that their certificates belong to; the caller if absent. Only administrators and operators without grants may name another.
    #[serde(default)]
    #[schema(example = "token:deploy")]
    pub principal: Option<String>,
}

impl RequestBody for KeyBody {}

/// An external account key that was made, with its secret.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CreatedExternalAccountKey)]
pub struct CreatedDocument {
    /// The key.
    #[serde(flatten)]
    pub record: KeyDocument,
    /// The secret in base64url, as ACME clients take it, shown this once.
    #[schema(example = "Y2hhbmNlcnk...")]
    pub hmac_key: String,
}

/// Makes an external account key.
///
/// The answer holds the secret, which is stored sealed and never shown again, except to a repetition of the same request with the same
/// `Idempotency-Key`.
#[utoipa::path(
    post, path = "/api/v1/acme/external-account-keys", operation_id = "createExternalAccountKey", tag = "acme administration",
    params(IdempotencyHeader),
    request_body(content = KeyBody, description = "The key.", example = json!({"profile": "server", "grants": {"names": {"dns": {"allow": ["*.shop.internal"]}}}, "proves_control": true, "expires": "90d"})),
    responses((status = 201, description = "The key, with its secret.", body = CreatedDocument, headers(("Location" = String, description = "The key's path."), ("Cache-Control" = String, description = "`no-store`.")), example = json!(created_example())))
)]
pub async fn create(
    authorization: Auth<ManageExternalAccountKeys>,
    state: State,
    _query: Parameters<()>,
    body: JsonBody<KeyBody>,
) -> Result<HttpResponse> {
    let KeyBody { profile, grants, proves_control, single_use, expires, principal } = body.value;
    let expires_at = expires.map(|expires| match expires {
        Expiry::At(moment) => moment,
        Expiry::In(length) => state.ca.clock().now() + length,
    });
    let idempotency = body.idempotency;
    let request =
        ExternalAccountKeyRequest { profile, grants, proves_control, single_use, expires_at, principal, idempotency };
    let created = state.acme.create_external_account_key(&authorization, request).await?;
    let record = KeyDocument::of(&created.key)?;
    let mut response = HttpResponse::Created();
    response.insert_header((header::LOCATION, format!("/api/v1/acme/external-account-keys/{}", record.key_id)));
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    if created.replayed {
        response.insert_header(("Idempotency-Replayed", "true"));
    }
    Ok(response.json(CreatedDocument { record, hmac_key: created.hmac_key.expose_secret().to_owned() }))
}

/// Reads an external account key.
#[utoipa::path(
    get, path = "/api/v1/acme/external-account-keys/{key_id}", operation_id = "readExternalAccountKey", tag = "acme administration",
    params(("key_id" = String, Path, description = "The key's identifier.", example = "8c0f5a1be2d34f60917e3bb2a41c76d5")),
    responses((status = 200, description = "The key, without its secret.", body = KeyDocument, example = json!(example())))
)]
pub async fn read(
    authorization: Auth<ReadExternalAccountKeys>,
    state: State,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let key = state.acme.read_external_account_key(&authorization, &path).await?;
    Ok(HttpResponse::Ok().json(KeyDocument::of(&key)?))
}

/// Deletes an external account key.
///
/// No account is bound by it from now on, and those that are can order no more, on every replica within a second. Their certificates stay.
#[utoipa::path(
    delete, path = "/api/v1/acme/external-account-keys/{key_id}", operation_id = "deleteExternalAccountKey", tag = "acme administration",
    params(("key_id" = String, Path, description = "The key's identifier.", example = "8c0f5a1be2d34f60917e3bb2a41c76d5")),
    responses((status = 204, description = "It is deleted."))
)]
pub async fn delete(
    authorization: Auth<ManageExternalAccountKeys>,
    state: State,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    state.acme.delete_external_account_key(&authorization, &path).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn example() -> Value {
    json!({
        "key_id": "8c0f5a1be2d34f60917e3bb2a41c76d5",
        "profile": "server",
        "principal": "token:deploy",
        "grants": {"names": {"dns": {"allow": ["*.shop.internal"], "deny": [], "wildcards": false, "underscores": false, "maximum": 100}}},
        "proves_control": true,
        "single_use": false,
        "created_at": "2030-01-31T12:00:00Z",
        "created_by": "token:admin",
        "expires_at": "2030-05-01T12:00:00Z",
    })
}

fn created_example() -> Value {
    let mut example = example();
    if let Some(object) = example.as_object_mut() {
        object.insert("hmac_key".to_owned(), json!("Y2hhbmNlcnk..."));
    }
    example
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;
    use crate::http::extract::json::parse;

    #[test]
    fn the_end_is_a_moment_or_a_time_from_now() {
        let end = |text: &str| {
            parse::<KeyBody>(format!(r#"{{"profile": "server", "expires": {text}}}"#).as_bytes())
                .map(|body| body.expires)
        };
        assert_eq!(end(r#""90d""#).unwrap(), Some(Expiry::In(std::time::Duration::from_secs(90 * 86_400))));
        assert_eq!(
            end(r#""2030-01-31T12:00:00Z""#).unwrap(),
            Some(Expiry::At("2030-01-31T12:00:00Z".parse().unwrap()))
        );
        assert_eq!(end("null").unwrap(), None);
        for text in [r#""soon""#, r#""""#, "90"] {
            end(text).unwrap_err();
        }
        assert!(end(r#""soon""#).unwrap_err().detail().contains("`90d`"));
    }
}
