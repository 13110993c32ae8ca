//! The life of issuers: requests for certificates out, certificates in, rollover, cross-signing, states and settings.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use const_oid::ObjectIdentifier;
use serde::Deserialize;

use super::creation::{InitialState, KeyBody, constraints, created, identifiers};
use super::document::example;
use super::{IssuerDocument, download};
use crate::auth::permission::{ManageIssuers, ReadIssuers};
use crate::ca::issuers::certify::CaBounds;
use crate::ca::issuers::cross_signing::CrossSigningRequest;
use crate::ca::issuers::outside::OutsideCertificate;
use crate::ca::issuers::rollover::RolloverRequest;
use crate::ca::issuers::states::IssuerUpdate;
use crate::ca::settings::{IssuerCrlSettings, IssuerOcspSettings, IssuerUrls};
use crate::error::{Error, Result};
use crate::http::accept;
use crate::http::extract::body::unsupported;
use crate::http::extract::{Auth, Fields, FromFields, IdempotencyHeader, JsonBody, Parameters, RequestBody, json};
use crate::protocols::rest::record::{self, CertificateDocument};
use crate::protocols::rest::request::{PKCS10, optional_duration, validity};
use crate::protocols::rest::{DER_CERTIFICATE, JSON, PEM_CHAIN, PEM_FILE, State, certificates};
use crate::storage::IssuerState;
use crate::x509::{Certificate, NameConstraintsDocument, Timestamp, pem};

/// The most certificates of a bundle.
const MOST_CERTIFICATES: usize = 16;

/// Downloads the request for an issuer's certificate.
///
/// What somebody outside is to sign: PEM, or DER with `Accept: application/pkcs10`. It asks for basic constraints, key usages, name constraints
/// and the other bounds as given when the issuer was created.
#[utoipa::path(
    get, path = "/api/v1/issuers/{name}/csr", operation_id = "downloadIssuerCsr", tag = "issuers",
    params(("name" = String, Path, description = "The issuer's name.", example = "issuing")),
    responses((status = 200, description = "The request.", content((String = "application/x-pem-file"), (Vec<u8> = "application/pkcs10")), headers(("Vary" = String, description = "`Accept`."))))
)]
pub async fn csr(
    authorization: Auth<ReadIssuers>,
    state: State,
    path: web::Path<String>,
    request: HttpRequest,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let place = accept::choose(&request, &[PEM_FILE, PKCS10])?;
    let csr = state.ca.issuer_csr(&authorization, &path).await?;
    Ok(match place {
        1 => download(PKCS10, csr.as_der().to_vec()),
        _ => download(PEM_FILE, pem::encode("CERTIFICATE REQUEST", csr.as_der()).into_bytes()),
    })
}

/// A certificate that was signed outside.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OutsideCertificate)]
pub struct CertificateBody {
    /// The certificate and, unless an issuer here signed it, those above it, PEM.
    #[schema(example = "-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n")]
    pub certificate: String,
    /// Whether it stands beside the issuer's present certificate rather than in its place.
    #[serde(default)]
    pub alternate: bool,
    /// What an issuer that waited for it becomes.
    #[serde(default)]
    pub state: InitialState,
}

/// What a raw body cannot say.
#[derive(Clone, Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CertificateQuery {
    /// Whether the certificate stands beside the issuer's present one rather than in its place. Not with a JSON body.
    #[param(value_type = Option<bool>)]
    pub alternate: bool,
    /// What an issuer that waited for it becomes; `active` if absent. Not with a JSON body.
    #[param(inline)]
    pub state: Option<InitialState>,
}

impl FromFields for CertificateQuery {
    fn from_fields(fields: &mut Fields) -> Result<Self> {
        Ok(Self { alternate: fields.flag("alternate")?, state: fields.word("state")? })
    }
}

/// Gives an issuer a certificate that was signed outside.
///
/// The certificate with those above it: PEM, one certificate in DER, or JSON. It must be for the issuer's key and the subject that was asked for,
/// be a CA's, be valid now, and verify with the next certificate of the chain or an issuer here. An issuer that waited for it becomes active, and the
/// generation before it retires. For an issuer that has a certificate it takes the present one's place, which stays as an alternate chain; with
/// `alternate` it stands beside it. A certificate that is there already changes nothing.
#[utoipa::path(
    put, path = "/api/v1/issuers/{name}/certificate", operation_id = "installIssuerCertificate", tag = "issuers",
    params(("name" = String, Path, description = "The issuer's name.", example = "issuing"), CertificateQuery),
    request_body(description = "The certificate and those above it.", content(
        (CertificateBody = "application/json", example = json!({"certificate": "-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n"})),
        (String = "application/pem-certificate-chain", example = json!("-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n")),
        (String = "application/x-pem-file", example = json!("-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n")),
        (Vec<u8> = "application/pkix-cert", example = json!("(DER)")),
    )),
    responses((status = 200, description = "The issuer.", body = IssuerDocument, example = json!(example())))
)]
pub async fn install_certificate(
    authorization: Auth<ManageIssuers>,
    state: State,
    path: web::Path<String>,
    body: Installation,
) -> Result<HttpResponse> {
    let outside = body.read()?;
    let changed = state.ca.install_certificate(&authorization, &path, outside).await?;
    Ok(HttpResponse::Ok().json(IssuerDocument::of(&state.ca, &changed.issuer)?))
}

/// A certificate in one of its forms, not read yet.
#[derive(Clone, Debug)]
pub struct Installation {
    query: String,
    media_type: String,
    octets: web::Bytes,
}

impl Installation {
    fn read(self) -> Result<OutsideCertificate> {
        match self.media_type.as_str() {
            JSON => {
                Parameters::<()>::read(&self.query)?;
                let CertificateBody { certificate, alternate, state } = json::parse(&self.octets)?;
                let certificates = certificates_of_pem(&certificate)?;
                Ok(OutsideCertificate { certificates, alternate, staged: state == InitialState::Staged })
            }
            PEM_CHAIN | PEM_FILE | DER_CERTIFICATE => {
                let CertificateQuery { alternate, state } = Parameters::<CertificateQuery>::read(&self.query)?.0;
                let certificates = match pem::text_of(&self.octets) {
                    Some(text) => certificates_of_pem(text)?,
                    None => vec![certificate_of_der(&self.octets)?],
                };
                Ok(OutsideCertificate { certificates, alternate, staged: state == Some(InitialState::Staged) })
            }
            other => Err(unsupported(other, &[JSON, PEM_CHAIN, PEM_FILE, DER_CERTIFICATE])),
        }
    }
}

impl actix_web::FromRequest for Installation {
    type Error = Error;
    type Future = futures_util::future::LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut actix_web::dev::Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let submission = crate::http::extract::body::read_document(&request, payload).await?;
            let query = request.query_string().to_owned();
            Ok(Self { query, media_type: submission.media_type, octets: submission.octets })
        })
    }
}

/// Reads a body that has no PEM block.
fn certificate_of_der(octets: &[u8]) -> Result<Certificate> {
    Certificate::from_der(octets).map_err(|error| {
        Error::malformed(format!(
            "the body is neither PEM, which begins with `-----BEGIN CERTIFICATE-----`, nor the DER of one certificate: {}",
            error.detail()
        ))
        .with_source(error)
    })
}

/// Reads the certificates of a PEM text.
///
/// # Errors
/// `Malformed` when there is none, or more than 16, or one does not parse.
pub(crate) fn certificates_of_pem(text: &str) -> Result<Vec<Certificate>> {
    let blocks = pem::decode_all(text)?;
    let certificates: Vec<&Vec<u8>> =
        blocks.iter().filter(|(label, _)| pem::is_certificate(label)).map(|(_, der)| der).collect();
    if certificates.is_empty() || certificates.len() > MOST_CERTIFICATES {
        return Err(Error::malformed(format!(
            "there are {} `CERTIFICATE` PEM blocks; 1 to {MOST_CERTIFICATES} are taken",
            certificates.len()
        )));
    }
    certificates.into_iter().map(|der| Certificate::from_der(der)).collect()
}

/// A rollover.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RolloverRequest)]
pub struct RolloverBody {
    /// The new key; what is absent is as with the present one.
    #[serde(default)]
    pub key: Option<KeyBody>,
    /// How long the new certificate is valid from now; as long as the present one, or until the parent ends, if this and `not_after` are absent.
    #[serde(default, deserialize_with = "optional_duration")]
    #[schema(value_type = Option<String>, example = "1825d")]
    pub validity: Option<Duration>,
    /// When it ends, instead of `validity`.
    #[serde(default)]
    pub not_after: Option<Timestamp>,
    /// `active`: the present generation retires at once. `staged`: it goes on until the new one is made active.
    #[serde(default)]
    pub state: InitialState,
    /// Whether the key stays and only gets a new certificate. The present one stays as an alternate chain.
    #[serde(default)]
    pub renew_only: bool,
    /// Whether somebody outside signs, though an issuer here signed the present certificate.
    #[serde(default)]
    pub outside: bool,
    /// For roots: whether the old and the new key sign for each other, so that clients that trust either verify everything. True if absent.
    #[serde(default)]
    pub cross_certificates: Option<bool>,
    /// The newest generation there is, as far as the caller knows; when there is another by now, nothing is done (409).
    #[schema(example = 1)]
    #[serde(default)]
    pub expected_generation: Option<i32>,
}

impl RequestBody for RolloverBody {
    fn when_empty() -> Option<Self> {
        Some(Self::default())
    }
}

/// Rolls an issuer over.
///
/// Makes a new generation under the same name: a new key, certified by whoever certified the present one. The present generation retires: what it
/// signed stays valid, and its CRLs and OCSP answers go on. With `renew_only` the same key gets a new certificate. When somebody outside signs, the
/// new generation waits for its certificate, and the present one goes on until then.
#[utoipa::path(
    post, path = "/api/v1/issuers/{name}/rollover", operation_id = "rollOverIssuer", tag = "issuers",
    params(("name" = String, Path, description = "The issuer's name.", example = "issuing"), IdempotencyHeader),
    request_body(content = Option<RolloverBody>, description = "What differs from the present.", example = json!({"state": "staged", "expected_generation": 1})),
    responses((status = 201, description = "The new generation, or with `renew_only` the issuer.", body = IssuerDocument, headers(("Location" = String, description = "The generation's path."), ("Idempotency-Replayed" = bool, description = "`true` when an earlier request with the same key did it.")), example = json!(example())))
)]
pub async fn roll_over(
    authorization: Auth<ManageIssuers>,
    state: State,
    path: web::Path<String>,
    _query: Parameters<()>,
    body: JsonBody<RolloverBody>,
) -> Result<HttpResponse> {
    let request = body.value;
    let rollover = RolloverRequest {
        key: request.key.as_ref().and_then(|key| key.algorithm),
        place: request.key.as_ref().map(KeyBody::place).transpose()?.flatten(),
        validity: validity(request.validity, request.not_after)?,
        staged: request.state == InitialState::Staged,
        renew_only: request.renew_only,
        outside: request.outside,
        without_cross_certificates: request.cross_certificates == Some(false),
        expected_generation: request.expected_generation,
        idempotency: body.idempotency,
    };
    let changed = state.ca.roll_over(&authorization, &path, rollover).await?;
    created(&state.ca, &changed)
}

/// Another CA that is to be certified.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CrossSigningRequest)]
pub struct CrossSigningBody {
    /// The other CA's certificate, PEM; after it the one that verifies it, unless it signed itself or an issuer here signed it.
    #[schema(example = "-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n")]
    pub certificate: String,
    /// How long the cross-certificate is valid from now; until either CA ends if this and `not_after` are absent.
    #[serde(default, deserialize_with = "optional_duration")]
    #[schema(value_type = Option<String>, example = "365d")]
    pub validity: Option<Duration>,
    /// When it ends, instead of `validity`.
    #[serde(default)]
    pub not_after: Option<Timestamp>,
    /// How many CAs may follow below the other CA; as its own certificate and the chain of the issuer allow, if absent.
    #[serde(default)]
    #[schema(example = 0)]
    pub path_length: Option<u8>,
    /// The names that certificates below it may and may not have; those of its own certificate if absent.
    #[serde(default)]
    pub name_constraints: Option<NameConstraintsDocument>,
    /// The certificate policies, dotted identifiers; those of its own certificate if absent.
    #[serde(default, deserialize_with = "identifiers")]
    #[schema(value_type = Vec<String>, example = json!([]))]
    pub certificate_policies: Vec<ObjectIdentifier>,
}

impl RequestBody for CrossSigningBody {}

/// Certifies another CA.
///
/// The issuer signs a certificate for the subject and the key of another CA, so that clients that trust the issuer believe what the other CA signs.
/// It stands in the inventory, and can be revoked as any other. When the other CA is an issuer here, too, it gets an alternate chain by it.
#[utoipa::path(
    post, path = "/api/v1/issuers/{name}/cross-sign", operation_id = "crossSign", tag = "issuers",
    params(("name" = String, Path, description = "The issuer that signs.", example = "root"), IdempotencyHeader),
    request_body(content = CrossSigningBody, description = "The other CA.", example = json!({"certificate": "-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n", "validity": "365d"})),
    responses((status = 201, description = "The cross-certificate.", body = CertificateDocument, headers(("Location" = String, description = "The record's path."), ("Idempotency-Replayed" = bool, description = "`true` when an earlier request with the same key issued it.")), example = json!(record::example(true))))
)]
pub async fn cross_sign(
    authorization: Auth<ManageIssuers>,
    state: State,
    path: web::Path<String>,
    _query: Parameters<()>,
    body: JsonBody<CrossSigningBody>,
) -> Result<HttpResponse> {
    let request = body.value;
    let bounds = CaBounds {
        path_length: request.path_length,
        name_constraints: constraints(request.name_constraints.as_ref())?,
        certificate_policies: request.certificate_policies,
        ..CaBounds::default()
    };
    let cross_signing = CrossSigningRequest {
        certificates: certificates_of_pem(&request.certificate)?,
        validity: validity(request.validity, request.not_after)?,
        bounds,
        idempotency: body.idempotency,
    };
    let issued = state.ca.cross_sign(&authorization, &path, cross_signing).await?;
    certificates::created(&issued, None)
}

/// A change of an issuer; what is absent stays.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = IssuerUpdate)]
pub struct UpdateBody {
    /// The new state. From `staged` or `retired` to `active`, from `active` to `retired`, from any to `disabled`, from `disabled` to `staged` or
    /// `retired`. When a staged generation becomes active, the one before it retires.
    pub state: Option<IssuerState>,
    /// `true`: it becomes the default issuer.
    pub default: Option<bool>,
    /// The settings of its CRLs, all of them; `{}` for those of the configuration.
    pub crl: Option<IssuerCrlSettings>,
    /// The settings of its OCSP answers, all of them.
    pub ocsp: Option<IssuerOcspSettings>,
    /// The addresses that it writes into certificates, all of them.
    pub urls: Option<IssuerUrls>,
}

impl RequestBody for UpdateBody {}

/// Changes an issuer.
///
/// Its state, whether it is the default issuer, and its settings: all of what is asked for, or nothing.
#[utoipa::path(
    patch, path = "/api/v1/issuers/{name}", operation_id = "updateIssuer", tag = "issuers",
    params(("name" = String, Path, description = "The issuer's name, with a generation (`issuing.2`) unless the present one is meant.", example = "issuing.2")),
    request_body(content = UpdateBody, description = "The change.", example = json!({"state": "active"})),
    responses((status = 200, description = "The issuer.", body = IssuerDocument, example = json!(example())))
)]
pub async fn update(
    authorization: Auth<ManageIssuers>,
    state: State,
    path: web::Path<String>,
    _query: Parameters<()>,
    body: JsonBody<UpdateBody>,
) -> Result<HttpResponse> {
    let UpdateBody { state: next, default, crl, ocsp, urls } = body.value;
    let update = IssuerUpdate { state: next, is_default: default, crl, ocsp, urls };
    let changed = state.ca.update_issuer(&authorization, &path, update).await?;
    Ok(HttpResponse::Ok().json(IssuerDocument::of(&state.ca, &changed.issuer)?))
}
