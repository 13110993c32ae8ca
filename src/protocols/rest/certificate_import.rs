//! Imports certificates that an issuer here signed elsewhere.

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};

use super::State;
use crate::auth::permission::ImportCertificates;
use crate::ca::import::certificates::{CertificateImport, ImportOutcome};
use crate::ca::import::findings::Skipped;
use crate::error::Result;
use crate::http::extract::{Auth, JsonBody, Parameters, RequestBody};
use crate::storage::RevocationRecord;
use crate::x509::Timestamp;
use crate::x509::crl::RevocationReason;

/// That imported certificates are revoked.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportedRevocation {
    /// The reason (RFC 5280, section 5.3.1); `certificate_hold` may be released again.
    pub reason: RevocationReason,
    /// When they were revoked; now if absent, not in the future. Certificates that begin later are skipped.
    #[serde(default)]
    pub revoked_at: Option<Timestamp>,
    /// Since when the keys are known or suspected to be bad; not in the future.
    #[serde(default)]
    pub invalidity_date: Option<Timestamp>,
}

/// Certificates to be imported.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CertificateImport)]
pub struct ImportBody {
    /// 1 to 1000 certificates, PEM.
    #[schema(example = "-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----\n")]
    pub certificates: String,
    /// That all of them are revoked, also those that are recorded and valid; absent: none is, except those whose serial number is known to be
    /// and those whose keys are blocked.
    #[serde(default)]
    pub revocation: Option<ImportedRevocation>,
}

impl RequestBody for ImportBody {}

/// What became of an import.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ImportOutcome)]
pub struct ImportDocument {
    /// How many certificates were recorded.
    #[schema(example = 1)]
    pub imported: usize,
    /// How many of them are revoked or on hold, and how many that were here already were revoked by this.
    #[schema(example = 0)]
    pub revoked: usize,
    /// Their serial numbers, at most 1000 of them.
    pub serials: Vec<String>,
    /// How many were here already, or were given more than once, and stay as they are.
    #[schema(example = 0)]
    pub already_there: usize,
    /// What was not taken, and why; at most 1000 of them.
    pub skipped: Vec<Skipped>,
    /// How many were not taken.
    #[schema(example = 0)]
    pub skipped_total: usize,
}

impl ImportDocument {
    /// Shows an outcome.
    #[must_use]
    pub fn of(outcome: ImportOutcome) -> Self {
        Self {
            imported: outcome.imported,
            revoked: outcome.revoked,
            serials: outcome.serials.iter().map(ToString::to_string).collect(),
            already_there: outcome.already_there,
            skipped: outcome.skipped.listed,
            skipped_total: outcome.skipped.total,
        }
    }
}

/// Imports certificates that an issuer here signed and that are not recorded.
///
/// Each signature is checked against the issuers of every generation and state; what none of them signed is skipped, with the reason. What is recorded
/// already stays as it is, except that a valid certificate is revoked when the request says so; an earlier revocation stays. A certificate whose key is
/// blocked is recorded as revoked. Afterwards they are found, listed and revoked as any others.
#[utoipa::path(
    post, path = "/api/v1/certificates/import", operation_id = "importCertificates", tag = "certificates",
    request_body(content = ImportBody, description = "Which.", example = json!({"certificates": "-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----\n", "revocation": {"reason": "superseded", "revoked_at": "2026-01-31T12:00:00Z"}})),
    responses((status = 200, description = "What was taken and what was skipped.", body = ImportDocument, example = json!({"imported": 1, "revoked": 1, "serials": ["1001"], "already_there": 0, "skipped": [], "skipped_total": 0})))
)]
pub async fn import(
    authorization: Auth<ImportCertificates>,
    state: State,
    _query: Parameters<()>,
    body: JsonBody<ImportBody>,
) -> Result<HttpResponse> {
    let now = state.ca.clock().now();
    let revocation = body.value.revocation.map(|revocation| RevocationRecord {
        reason: revocation.reason,
        revoked_at: revocation.revoked_at.unwrap_or(now),
        invalidity_date: revocation.invalidity_date,
    });
    let import = CertificateImport { certificates: body.value.certificates.into_bytes(), revocation };
    let outcome = state.ca.import_certificates(&authorization, import).await?;
    // A client certificate may have become known as revoked.
    state.authenticator.forget_all();
    Ok(HttpResponse::Ok().json(ImportDocument::of(outcome)))
}
