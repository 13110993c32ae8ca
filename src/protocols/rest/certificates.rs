//! Issues certificates, and tells beforehand whether one would be issued.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::{Value, json};

use super::record::{self, CertificateDocument, KeyDocument, NameDocument, Representation};
use super::request::{IssuanceBody, IssuanceSubmission, RawParameters};
use super::{JSON, PEM_CHAIN, PEM_FILE, State};
use crate::auth::permission::IssueCertificates;
use crate::ca::CheckedIssuance;
use crate::ca::issuance::Issued;
use crate::error::{Error, Result, Violation};
use crate::http::accept;
use crate::http::extract::{Auth, IdempotencyHeader};
use crate::policy::ApprovedRequest;
use crate::x509::{KeyUsage, NameConstraintsDocument, Timestamp};

/// Issues a certificate.
///
/// Takes a certificate signing request as JSON, or raw (PKCS #10 in DER, PEM or base64) with the rest as query parameters, which JSON bodies
/// may not have. The profile decides what is signed; what it does not allow is refused, with every violation. With
/// `Accept: application/pem-certificate-chain` or `application/x-pem-file` the answer is the certificate and the CA certificates above it, without
/// the root; otherwise it is the record. When `Idempotency-Key` was used before with the same request, the answer is the same certificate.
#[utoipa::path(
    post, path = "/api/v1/certificates", operation_id = "issueCertificate", tag = "certificates",
    params(RawParameters, IdempotencyHeader),
    request_body(description = "The request.", content(
        (IssuanceBody = "application/json", example = json!(request_example())),
        (String = "application/pkcs10", example = json!(csr_example())),
        (String = "application/x-pem-file", example = json!(csr_example())),
    )),
    responses((status = 201, description = "The certificate.", content(
        (CertificateDocument = "application/json", example = json!(record::example(true))),
        (String = "application/pem-certificate-chain"),
        (String = "application/x-pem-file"),
    ), headers(("Location" = String, description = "The record's path."), ("Idempotency-Replayed" = bool, description = "`true` when an earlier request with the same key issued it."))))
)]
pub async fn issue(
    authorization: Auth<IssueCertificates>,
    state: State,
    request: HttpRequest,
    submission: IssuanceSubmission,
) -> Result<HttpResponse> {
    // Before issuing: a certificate that cannot be answered must not be made.
    let as_pem = wants_pem(&request)?;
    let issuance = submission.into_request(&state, authorization.caller(), "certificate.issue").await?;
    let issued = state.ca.issue(&authorization, issuance).await?;
    created(&issued, as_pem)
}

/// Whether the client would rather have PEM than the record; answers the media type.
///
/// # Errors
/// `NotAcceptable`.
pub(crate) fn wants_pem(request: &HttpRequest) -> Result<Option<&'static str>> {
    let offered = [JSON, PEM_CHAIN, PEM_FILE];
    let place = accept::choose(request, &offered)?;
    Ok(offered.get(place).copied().filter(|media_type| *media_type != JSON))
}

/// About how many octets a record has together with the chain: what grows is copied each time.
const USUAL_LENGTH: usize = 4096;

/// Answers a certificate that was issued.
///
/// # Errors
/// `Internal` when it cannot be encoded.
pub(crate) fn created(issued: &Issued, as_pem: Option<&'static str>) -> Result<HttpResponse> {
    let view = &issued.certificate;
    let mut response = HttpResponse::Created();
    response.insert_header((header::LOCATION, format!("/api/v1/certificates/{}", view.record.serial)));
    if issued.replayed {
        response.insert_header(("Idempotency-Replayed", "true"));
    }
    Ok(match as_pem {
        Some(media_type) => response.content_type(media_type).body(Representation::FullChain.encode(view)?),
        None => {
            let document = CertificateDocument::of(view, true)?;
            let mut body = Vec::with_capacity(USUAL_LENGTH);
            serde_json::to_writer(&mut body, &document)
                .map_err(|error| Error::internal("a certificate's record cannot be written").with_source(error))?;
            response.content_type(JSON).body(body)
        }
    })
}

/// Tells whether a certificate would be issued.
///
/// Takes the same body as issuing, and issues nothing: the answer shows the certificate as it would be, or every violation.
#[utoipa::path(
    post, path = "/api/v1/certificates/check", operation_id = "checkCertificate", tag = "certificates",
    params(RawParameters),
    request_body(description = "The request.", content(
        (IssuanceBody = "application/json", example = json!(request_example())),
        (String = "application/pkcs10", example = json!(csr_example())),
        (String = "application/x-pem-file", example = json!(csr_example())),
    )),
    responses((status = 200, description = "What would be issued, or why not.", body = CheckDocument, example = json!(check_example())))
)]
pub async fn check(
    authorization: Auth<IssueCertificates>,
    state: State,
    submission: IssuanceSubmission,
) -> Result<HttpResponse> {
    let issuance = submission.into_request(&state, authorization.caller(), "certificate.check").await?;
    let profile = issuance.profile.clone();
    let checked = state.ca.check(&authorization, issuance).await?;
    Ok(HttpResponse::Ok().json(CheckDocument::of(profile, checked)))
}

/// What a request would lead to.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Check)]
pub struct CheckDocument {
    /// Whether it would be issued.
    pub would_issue: bool,
    /// The profile.
    #[schema(example = "server")]
    pub profile: String,
    /// The issuer that would sign.
    #[schema(example = "issuing")]
    pub issuer: String,
    /// The certificate as it would be; null when it would not be issued.
    pub certificate: Option<PreviewDocument>,
    /// Every rule that is broken; empty when it would be issued.
    pub violations: Vec<Violation>,
}

/// A certificate as it would be.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = CertificatePreview)]
pub struct PreviewDocument {
    /// The subject, RFC 4514.
    pub subject: String,
    /// The subject alternative names, in normal form.
    pub subject_alt_names: Vec<NameDocument>,
    /// The subject's key.
    pub key: KeyDocument,
    /// The key usages.
    pub key_usage: Vec<KeyUsage>,
    /// The extended key usages, by name or dotted identifier.
    #[schema(example = json!(["server_auth"]))]
    pub extended_key_usage: Vec<String>,
    /// The certificate policy identifiers.
    pub certificate_policies: Vec<String>,
    /// Whether it would ask for OCSP must-staple.
    pub must_staple: bool,
    /// What would make it the certificate of a CA; absent for any other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<PreviewAuthorityDocument>,
    /// The first second of validity, if it were issued now.
    pub not_before: Timestamp,
    /// The last second of validity, if it were issued now.
    pub not_after: Timestamp,
}

/// What makes a certificate that of a CA.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = CertificateAuthorityPreview)]
pub struct PreviewAuthorityDocument {
    /// How many CA certificates may follow below it.
    pub path_length: u8,
    /// The names that may be signed below it; null for any.
    pub name_constraints: Option<NameConstraintsDocument>,
}

impl CheckDocument {
    fn of(profile: String, checked: CheckedIssuance) -> Self {
        Self {
            would_issue: checked.violations.is_empty() && checked.certificate.is_some(),
            profile,
            issuer: checked.issuer,
            certificate: checked.certificate.as_ref().map(PreviewDocument::of),
            violations: checked.violations,
        }
    }
}

impl PreviewDocument {
    fn of(approved: &ApprovedRequest) -> Self {
        let key = approved.public_key();
        let algorithm = key.algorithm().map_or_else(str::to_owned, |algorithm| algorithm.to_string());
        Self {
            subject: approved.subject().to_string(),
            subject_alt_names: approved.names().iter().map(NameDocument::from).collect(),
            key: KeyDocument { algorithm, spki_sha256: hex::encode(key.spki_sha256()) },
            key_usage: approved.key_usage().iter().copied().collect(),
            extended_key_usage: approved.extended_key_usage().iter().map(ToString::to_string).collect(),
            certificate_policies: approved.certificate_policies().iter().map(ToString::to_string).collect(),
            must_staple: approved.must_staple(),
            certificate_authority: approved.certificate_authority().map(|authority| PreviewAuthorityDocument {
                path_length: authority.path_length,
                name_constraints: authority.name_constraints.as_ref().map(NameConstraintsDocument::from),
            }),
            not_before: approved.not_before(),
            not_after: approved.not_after(),
        }
    }
}

fn csr_example() -> &'static str {
    "-----BEGIN CERTIFICATE REQUEST-----\nMIH...\n-----END CERTIFICATE REQUEST-----\n"
}

fn request_example() -> Value {
    json!({
        "csr": csr_example(),
        "profile": "server",
        "validity": "90d",
        "subject_alt_names": ["app.internal"],
        "labels": {"team": "payments"},
    })
}

fn check_example() -> Value {
    json!({
        "would_issue": true,
        "profile": "server",
        "issuer": "issuing",
        "certificate": {
            "subject": "CN=app.internal",
            "subject_alt_names": [{"type": "dns", "value": "app.internal"}],
            "key": {"algorithm": "ecdsa-p256", "spki_sha256": "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90"},
            "key_usage": ["digital_signature"],
            "extended_key_usage": ["server_auth"],
            "certificate_policies": [],
            "must_staple": false,
            "not_before": "2030-01-31T11:55:00Z",
            "not_after": "2030-05-01T12:00:00Z",
        },
        "violations": [],
    })
}
