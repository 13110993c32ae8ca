//! Renews certificates.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::State;
use super::certificates::{created, wants_pem};
use super::query::IssuerChoice;
use super::record::{self, CertificateDocument};
use super::request::{optional_duration, parse_csr, validity};
use crate::auth::permission::RenewCertificates;
use crate::ca::renewal::RenewalRequest;
use crate::error::Result;
use crate::http::extract::{Auth, IdempotencyHeader, JsonBody, Parameters, RequestBody};
use crate::x509::Timestamp;

/// What is to change by a renewal; an empty body is an empty object.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = RenewalRequest)]
pub struct RenewalBody {
    /// A new certificate signing request, PEM or base64 of DER; without one the same key is certified again, if the profile allows.
    pub csr: Option<String>,
    /// How long it is to be valid from now; the profile's default if this and `not_after` are absent.
    #[serde(deserialize_with = "optional_duration")]
    #[schema(value_type = Option<String>, example = "90d")]
    pub validity: Option<Duration>,
    /// When its validity is to end, instead of `validity`.
    pub not_after: Option<Timestamp>,
    /// New labels; those of the certificate if absent.
    pub labels: Option<BTreeMap<String, String>>,
}

impl RequestBody for RenewalBody {
    const CARRIES_CSR: bool = true;

    fn when_empty() -> Option<Self> {
        Some(Self::default())
    }
}

/// Renews a certificate.
///
/// The new certificate has the same names and profile; the policy and the caller's grants are judged anew. The old one stays as it is. A requester renews
/// its own certificates only.
#[utoipa::path(
    post, path = "/api/v1/certificates/{serial}/renew", operation_id = "renewCertificate", tag = "certificates",
    params(
        ("serial" = String, Path, description = "The serial number, hex.", example = "0198a3f2c1d04b7e9a6c35d2f81e0b4477aa91c3"),
        IssuerChoice,
        IdempotencyHeader,
    ),
    request_body(content = Option<RenewalBody>, description = "What is to change; may be left out.", example = json!({"validity": "90d"})),
    responses((status = 201, description = "The new certificate.", content(
        (CertificateDocument = "application/json", example = json!(record::example(true))),
        (String = "application/pem-certificate-chain"),
        (String = "application/x-pem-file"),
    ), headers(("Location" = String, description = "The record's path."), ("Idempotency-Replayed" = bool, description = "`true` when an earlier request with the same key issued it."))))
)]
pub async fn renew(
    authorization: Auth<RenewCertificates>,
    state: State,
    path: web::Path<String>,
    request: HttpRequest,
    choice: Parameters<IssuerChoice>,
    body: JsonBody<RenewalBody>,
) -> Result<HttpResponse> {
    let as_pem = wants_pem(&request)?;
    let RenewalBody { csr, validity: length, not_after, labels } = body.value;
    let certificate = choice.0.of(&path)?;
    let validity = validity(length, not_after)?;
    let csr = match csr {
        Some(text) => Some(parse_csr(&state, authorization.caller(), "certificate.renew", text.as_bytes()).await?),
        None => None,
    };
    let renewal = RenewalRequest { certificate, csr, validity, labels, idempotency: body.idempotency };
    let issued = state.ca.renew(&authorization, renewal).await?;
    created(&issued, as_pem)
}
