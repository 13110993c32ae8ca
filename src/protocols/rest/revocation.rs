//! Revokes certificates, one or all that match, and releases them from hold.

use actix_web::{HttpResponse, web};
use serde::de::{Error as _, IntoDeserializer as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::State;
use super::query::{Conditions, IssuerChoice};
use super::record::{self, CertificateDocument};
use crate::auth::permission::{ReleaseCertificates, RevokeCertificates};
use crate::ca::revocation::RevocationRequest;
use crate::error::{Error, Result};
use crate::http::extract::{Auth, JsonBody, Parameters, RequestBody};
use crate::storage::CertificateFilter;
use crate::x509::Timestamp;
use crate::x509::crl::RevocationReason;

/// Why a certificate is revoked.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RevocationRequest)]
pub struct RevocationBody {
    /// The reason (RFC 5280, section 5.3.1); `certificate_hold` may be released again.
    #[serde(deserialize_with = "reason")]
    pub reason: RevocationReason,
    /// Since when the key is known or suspected to be bad; not in the future.
    #[serde(default)]
    pub invalidity_date: Option<Timestamp>,
}

impl RequestBody for RevocationBody {}

/// Reads a reason. `removeFromCRL` is one by the standard, but not one to revoke for (RFC 5280, section 5.3.1).
fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RevocationReason, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "remove_from_crl" {
        return Err(D::Error::custom(
            "`remove_from_crl` is not a reason to revoke; to take a certificate off hold, `POST /api/v1/certificates/{serial}/release`",
        ));
    }
    RevocationReason::deserialize(text.into_deserializer())
}

/// Revokes a certificate or puts it on hold.
///
/// Again with the same reason changes nothing and gives the same answer. A requester revokes its own certificates only. The issuer's CRL follows
/// within seconds. A key revoked as `key_compromise` or `ca_compromise` is never certified again.
#[utoipa::path(
    post, path = "/api/v1/certificates/{serial}/revoke", operation_id = "revokeCertificate", tag = "certificates",
    params(("serial" = String, Path, description = "The serial number, hex.", example = "0198a3f2c1d04b7e9a6c35d2f81e0b4477aa91c3"), IssuerChoice),
    request_body(content = RevocationBody, description = "Why.", example = json!({"reason": "superseded"})),
    responses((status = 200, description = "The certificate as it is now.", body = CertificateDocument, example = json!(record::revoked_example("revoked", "superseded"))))
)]
pub async fn revoke(
    authorization: Auth<RevokeCertificates>,
    state: State,
    path: web::Path<String>,
    choice: Parameters<IssuerChoice>,
    body: JsonBody<RevocationBody>,
) -> Result<HttpResponse> {
    let request = RevocationRequest { reason: body.value.reason, invalidity_date: body.value.invalidity_date };
    let view = state.ca.revoke(&authorization, &choice.0.of(&path)?, request).await?;
    // It may be a client certificate that is believed right now.
    state.authenticator.forget_all();
    Ok(HttpResponse::Ok().json(CertificateDocument::of(&view, true)?))
}

/// Releases a certificate from hold.
///
/// It is valid again, and leaves the CRL.
#[utoipa::path(
    post, path = "/api/v1/certificates/{serial}/release", operation_id = "releaseCertificate", tag = "certificates",
    params(("serial" = String, Path, description = "The serial number, hex.", example = "0198a3f2c1d04b7e9a6c35d2f81e0b4477aa91c3"), IssuerChoice),
    responses((status = 200, description = "The certificate as it is now.", body = CertificateDocument, example = json!(record::example(true))))
)]
pub async fn release(
    authorization: Auth<ReleaseCertificates>,
    state: State,
    path: web::Path<String>,
    choice: Parameters<IssuerChoice>,
) -> Result<HttpResponse> {
    let view = state.ca.release(&authorization, &choice.0.of(&path)?).await?;
    Ok(HttpResponse::Ok().json(CertificateDocument::of(&view, true)?))
}

/// Which certificates to revoke, and why.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BulkRevocationRequest)]
pub struct BulkBody {
    /// The conditions, by the same names as in the query of `GET /api/v1/certificates`; at least one.
    #[schema(value_type = Conditions)]
    pub filter: Map<String, Value>,
    /// The reason.
    #[serde(deserialize_with = "reason")]
    pub reason: RevocationReason,
    /// Since when the keys are known or suspected to be bad; not in the future.
    #[serde(default)]
    pub invalidity_date: Option<Timestamp>,
    /// Whether to tell only what would be revoked.
    #[serde(default)]
    pub dry_run: bool,
}

impl RequestBody for BulkBody {}

/// What a bulk revocation did or would do.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = BulkRevocation)]
pub struct BulkDocument {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// How many certificates match and can be revoked.
    #[schema(example = 2)]
    pub matched: u64,
    /// How many were revoked; 0 in a dry run.
    #[schema(example = 2)]
    pub revoked: u64,
    /// Their serial numbers, at most 1000 of them.
    pub serials: Vec<String>,
}

/// Revokes every certificate that matches.
///
/// The filter takes the same conditions as the listing and must have one at least; `dry_run` tells beforehand what would be revoked.
#[utoipa::path(
    post, path = "/api/v1/certificates/revoke", operation_id = "revokeCertificates", tag = "certificates",
    request_body(content = BulkBody, description = "Which, and why.", example = json!({"filter": {"label": ["host:web-7"], "status": "valid"}, "reason": "key_compromise", "dry_run": true})),
    responses((status = 200, description = "What was, or would be, revoked.", body = BulkDocument, example = json!({"dry_run": true, "matched": 1, "revoked": 0, "serials": ["0198a3f2c1d04b7e9a6c35d2f81e0b4477aa91c3"]})))
)]
pub async fn revoke_matching(
    authorization: Auth<RevokeCertificates>,
    state: State,
    _query: Parameters<()>,
    body: JsonBody<BulkBody>,
) -> Result<HttpResponse> {
    let body = body.value;
    let filter = Conditions::from_json(&body.filter)?.filter(&state.ca)?;
    if filter == CertificateFilter::default() {
        // The core refuses it too; what would revoke everything is worth two locks.
        return Err(Error::malformed("`filter` is empty; give at least one condition"));
    }
    let request = RevocationRequest { reason: body.reason, invalidity_date: body.invalidity_date };
    let outcome = state.ca.revoke_matching(&authorization, filter, request, body.dry_run).await?;
    state.authenticator.forget_all();
    Ok(HttpResponse::Ok().json(BulkDocument {
        dry_run: body.dry_run,
        matched: outcome.matched,
        revoked: outcome.revoked,
        serials: outcome.serials.iter().map(ToString::to_string).collect(),
    }))
}
