//! CA keys: where each is kept, and sealing them anew. Never the keys themselves; moving them needs files and is for the command line.

use actix_web::HttpResponse;
use serde::Serialize;
use serde_json::Value;

use super::State;
use crate::auth::Authorized;
use crate::auth::permission::ManageKeys;
use crate::ca::CertificateAuthority;
use crate::ca::keys::{KeyView, Resealed, described};
use crate::error::Result;
use crate::http::extract::{Auth, Parameters};
use crate::storage::KeyLocation;

/// The CA keys.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = CaKeys)]
pub struct KeysDocument {
    /// The keys, in the order in which they were made.
    pub items: Vec<CaKeyDocument>,
    /// The identifier of the present key-encryption key.
    #[schema(example = "5d1f0a2b3c4d5e6f")]
    pub key_encryption_key: String,
    /// How many secrets in the database, CA keys among them, are still sealed under an earlier key-encryption key.
    #[schema(example = 0)]
    pub sealed_under_previous_keys: u64,
}

/// A CA key.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = CaKey)]
pub struct CaKeyDocument {
    /// The issuers that sign with it, by their names in URLs.
    #[schema(example = json!(["issuing"]))]
    pub issuers: Vec<String>,
    /// Its algorithm.
    #[schema(example = "ecdsa-p256")]
    pub algorithm: String,
    /// SHA-256 of its subject public key info, hex.
    pub spki_sha256: String,
    /// Where it is: `place` is `database`, `file` or `pkcs11`, with `key_encryption_key`, `path` or `uri`.
    #[schema(value_type = Object, example = json!({"place": "database", "key_encryption_key": "5d1f0a2b3c4d5e6f"}))]
    pub location: Value,
}

impl KeysDocument {
    /// Lists the keys.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn of(ca: &CertificateAuthority, authorization: &Authorized<ManageKeys>) -> Result<Self> {
        let keys = ca.keys(authorization).await?;
        let present = ca.key_encryption_key_id();
        let is_behind = |key: &&KeyView| match &key.record.location {
            KeyLocation::Database(sealed) => sealed.key_encryption_key_id != present,
            KeyLocation::File(_) | KeyLocation::Pkcs11(_) => false,
        };
        let behind = u64::try_from(keys.iter().filter(is_behind).count()).unwrap_or(u64::MAX);
        let others = ca.secrets_under_previous_keys(authorization).await?;
        Ok(Self {
            key_encryption_key: present.to_owned(),
            sealed_under_previous_keys: behind.saturating_add(others),
            items: keys.into_iter().map(CaKeyDocument::from).collect(),
        })
    }
}

impl From<KeyView> for CaKeyDocument {
    fn from(key: KeyView) -> Self {
        Self {
            issuers: key.issuers,
            algorithm: key.record.algorithm,
            spki_sha256: hex::encode(key.record.spki_sha256),
            location: described(&key.record.location),
        }
    }
}

/// Lists the CA keys.
///
/// Where each is kept, and how many secrets are still sealed under an earlier key-encryption key.
#[utoipa::path(
    get, path = "/api/v1/keys", operation_id = "listKeys", tag = "issuers",
    responses((status = 200, description = "The keys.", body = KeysDocument, example = json!({
        "items": [{
            "issuers": ["issuing"],
            "algorithm": "ecdsa-p256",
            "spki_sha256": "b1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90",
            "location": {"place": "database", "key_encryption_key": "5d1f0a2b3c4d5e6f"},
        }],
        "key_encryption_key": "5d1f0a2b3c4d5e6f",
        "sealed_under_previous_keys": 0,
    })))
)]
pub async fn list(authorization: Auth<ManageKeys>, state: State, _query: Parameters<()>) -> Result<HttpResponse> {
    Ok(HttpResponse::Ok().json(KeysDocument::of(&state.ca, &authorization).await?))
}

/// Seals every secret anew.
///
/// Everything in the database that is sealed under an earlier key-encryption key is sealed under the present one, while the service goes
/// on issuing. Again: nothing is left to do.
#[utoipa::path(
    post, path = "/api/v1/keys/reseal", operation_id = "resealKeys", tag = "issuers",
    responses((status = 200, description = "What was sealed anew.", body = Resealed, example = json!({
        "key_encryption_key": "5d1f0a2b3c4d5e6f", "ca_keys": 2, "ocsp_responders": 2, "external_account_keys": 3, "idempotency_answers": 0,
        "failures": []
    })))
)]
pub async fn reseal(authorization: Auth<ManageKeys>, state: State, _query: Parameters<()>) -> Result<HttpResponse> {
    Ok(HttpResponse::Ok().json(state.ca.reseal(&authorization).await?))
}
