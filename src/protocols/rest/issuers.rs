//! Issuers: their state, certificates, chains and CRLs.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};

use super::record::KeyDocument;
use super::{DER_CERTIFICATE, DER_CRL, NamePage, NamePageParameters, PEM_CHAIN, PEM_FILE, PKCS7, State};
use crate::auth::Authorized;
use crate::auth::permission::{PublishCrl, ReadIssuers};
use crate::ca::issuer::Issuer;
use crate::error::{Error, Result};
use crate::http::accept;
use crate::http::cursor::Listing;
use crate::http::extract::{Auth, Parameters};
use crate::http::problem::shorten;
use crate::storage::{CrlRecord, IssuerState};
use crate::x509::{Certificate, Timestamp, pem, pkcs7};

/// An issuer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Issuer)]
pub struct IssuerDocument {
    /// The name.
    #[schema(example = "issuing")]
    pub name: String,
    /// The issuer that signed it; null for a root.
    #[schema(example = "root")]
    pub parent: Option<String>,
    /// The state.
    pub state: IssuerState,
    /// Whether requests that name no issuer, under profiles that name none, come here.
    pub default: bool,
    /// The subject, RFC 4514.
    #[schema(example = "CN=Chancery Issuing CA")]
    pub subject: String,
    /// The serial number of its certificate, hex.
    pub serial: String,
    /// Its key.
    pub key: KeyDocument,
    /// The first second of validity.
    pub not_before: Timestamp,
    /// The last second of validity.
    pub not_after: Timestamp,
    /// SHA-256 of its certificate, hex.
    pub fingerprint_sha256: String,
    /// Its certificate, PEM.
    pub certificate: String,
    /// The CA certificates above it, PEM, nearest first, the root last; empty for a root.
    pub chain: Vec<String>,
    /// Its published CRL; null before the first.
    pub crl: Option<CrlDocument>,
}

/// A published CRL.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Crl)]
pub struct CrlDocument {
    /// The CRL number.
    #[schema(example = 12)]
    pub number: i64,
    /// When it was made.
    pub this_update: Timestamp,
    /// By when the next one comes.
    pub next_update: Timestamp,
    /// Where anybody can fetch it.
    #[schema(example = "http://pki.internal/pki/issuing.crl")]
    pub url: String,
}

/// A page of issuers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = IssuerPage)]
pub struct Page {
    /// The issuers by name.
    pub items: Vec<IssuerDocument>,
    /// What to pass as `cursor` for the next page; null when there is none.
    pub next_cursor: Option<String>,
}

impl CrlDocument {
    fn of(state: &State, issuer: &str, crl: &CrlRecord) -> Self {
        let url = format!("{}/pki/{issuer}.crl", state.ca.settings().public_url);
        Self { number: crl.number, this_update: crl.this_update, next_update: crl.next_update, url }
    }
}

impl IssuerDocument {
    fn of(state: &State, issuer: &Issuer) -> Self {
        let certificate = &issuer.certificate;
        let key = &certificate.public_key;
        let above = issuer.chain.get(1..).unwrap_or_default();
        Self {
            name: issuer.name.clone(),
            parent: issuer.parent.clone(),
            state: issuer.state,
            default: issuer.is_default,
            subject: certificate.subject.to_string(),
            serial: certificate.serial.to_string(),
            key: KeyDocument {
                algorithm: key.algorithm().map_or_else(str::to_owned, |algorithm| algorithm.to_string()),
                spki_sha256: hex::encode(key.spki_sha256()),
            },
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            fingerprint_sha256: hex::encode(certificate.fingerprint_sha256()),
            certificate: certificate.to_pem(),
            chain: above.iter().map(Certificate::to_pem).collect(),
            crl: state.ca.published_crls().of_issuer(issuer.id).map(|crl| CrlDocument::of(state, &issuer.name, crl)),
        }
    }
}

/// Lists the issuers.
///
/// Every issuer by name, with its certificate and its published CRL.
#[utoipa::path(
    get, path = "/api/v1/issuers", operation_id = "listIssuers", tag = "issuers", params(NamePageParameters),
    responses((status = 200, description = "A page.", body = Page, example = json!({"items": [example()], "next_cursor": null})))
)]
pub async fn list(authorization: Auth<ReadIssuers>, state: State, page: Parameters<NamePage>) -> Result<HttpResponse> {
    let issuers = state.ca.list_issuers(&authorization).all().to_vec();
    let (issuers, next_cursor) = page.0.cut(Listing::Issuers, issuers, |issuer: &Arc<Issuer>| &issuer.name)?;
    let items = issuers.iter().map(|issuer| IssuerDocument::of(&state, issuer)).collect();
    Ok(HttpResponse::Ok().json(Page { items, next_cursor }))
}

/// Reads an issuer.
///
/// Its state, its certificate with the chain above it, and its published CRL.
#[utoipa::path(
    get, path = "/api/v1/issuers/{name}", operation_id = "readIssuer", tag = "issuers",
    params(("name" = String, Path, description = "The issuer's name.", example = "issuing")),
    responses((status = 200, description = "The issuer.", body = IssuerDocument, example = json!(example())))
)]
pub async fn read(
    authorization: Auth<ReadIssuers>,
    state: State,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let issuer = find(&state, &authorization, &path)?;
    Ok(HttpResponse::Ok().json(IssuerDocument::of(&state, &issuer)))
}

/// Downloads an issuer's certificate.
///
/// PEM, or DER with `Accept: application/pkix-cert`.
#[utoipa::path(
    get, path = "/api/v1/issuers/{name}/certificate", operation_id = "downloadIssuerCertificate", tag = "issuers",
    params(("name" = String, Path, description = "The issuer's name.", example = "issuing")),
    responses((status = 200, description = "The certificate.", content((String = "application/x-pem-file"), (Vec<u8> = "application/pkix-cert")), headers(("Vary" = String, description = "`Accept`."))))
)]
pub async fn certificate(
    authorization: Auth<ReadIssuers>,
    state: State,
    path: web::Path<String>,
    request: HttpRequest,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let place = accept::choose(&request, &[PEM_FILE, PEM_CHAIN, DER_CERTIFICATE])?;
    let issuer = find(&state, &authorization, &path)?;
    Ok(match place {
        2 => download(DER_CERTIFICATE, issuer.certificate.as_der().to_vec()),
        _ => download(PEM_FILE, issuer.certificate.to_pem().into_bytes()),
    })
}

/// Downloads an issuer's chain.
///
/// Its own certificate and those above it, the root last: PEM, or PKCS #7 in DER with `Accept: application/pkcs7-mime`.
#[utoipa::path(
    get, path = "/api/v1/issuers/{name}/chain", operation_id = "downloadIssuerChain", tag = "issuers",
    params(("name" = String, Path, description = "The issuer's name.", example = "issuing")),
    responses((status = 200, description = "The chain.", content((String = "application/pem-certificate-chain"), (Vec<u8> = "application/pkcs7-mime")), headers(("Vary" = String, description = "`Accept`."))))
)]
pub async fn chain(
    authorization: Auth<ReadIssuers>,
    state: State,
    path: web::Path<String>,
    request: HttpRequest,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let place = accept::choose(&request, &[PEM_CHAIN, PEM_FILE, "application/pkcs7-mime"])?;
    let issuer = find(&state, &authorization, &path)?;
    if place == 2 {
        let certificates: Vec<&[u8]> = issuer.chain.iter().map(Certificate::as_der).collect();
        return Ok(download(PKCS7, pkcs7::certificates_only(&certificates)?));
    }
    let text: String = issuer.chain.iter().map(Certificate::to_pem).collect();
    Ok(download(PEM_CHAIN, text.into_bytes()))
}

/// Downloads an issuer's CRL.
///
/// The published one: PEM, or DER with `Accept: application/pkix-crl`.
#[utoipa::path(
    get, path = "/api/v1/issuers/{name}/crl", operation_id = "downloadIssuerCrl", tag = "issuers",
    params(("name" = String, Path, description = "The issuer's name.", example = "issuing")),
    responses((status = 200, description = "The CRL.", content((String = "application/x-pem-file"), (Vec<u8> = "application/pkix-crl")), headers(("Vary" = String, description = "`Accept`."))))
)]
pub async fn crl(
    authorization: Auth<ReadIssuers>,
    state: State,
    path: web::Path<String>,
    request: HttpRequest,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let place = accept::choose(&request, &[PEM_FILE, DER_CRL])?;
    let issuer = find(&state, &authorization, &path)?;
    let crls = state.ca.published_crls();
    let crl = crls
        .of_issuer(issuer.id)
        .ok_or_else(|| Error::not_found(format!("the issuer `{}` has not published a CRL yet", issuer.name)))?;
    Ok(match place {
        1 => download(DER_CRL, crl.der.clone()),
        _ => download(PEM_FILE, pem::encode("X509 CRL", &crl.der).into_bytes()),
    })
}

/// Publishes an issuer's CRL now.
///
/// It is published on schedule and after each revocation anyhow.
#[utoipa::path(
    post, path = "/api/v1/issuers/{name}/crl", operation_id = "publishCrl", tag = "issuers",
    params(("name" = String, Path, description = "The issuer's name.", example = "issuing")),
    responses((status = 200, description = "The CRL that was published.", body = CrlDocument, example = json!(crl_example())))
)]
pub async fn publish_crl(
    authorization: Auth<PublishCrl>,
    state: State,
    path: web::Path<String>,
    _query: Parameters<()>,
) -> Result<HttpResponse> {
    let crl = state.ca.publish_crl(&authorization, &path).await?;
    Ok(HttpResponse::Ok().json(CrlDocument::of(&state, &path, &crl)))
}

fn find(state: &State, authorization: &Authorized<ReadIssuers>, name: &str) -> Result<Arc<Issuer>> {
    let issuers = state.ca.list_issuers(authorization);
    issuers.by_name(name).cloned().ok_or_else(|| Error::not_found(format!("there is no issuer `{}`", shorten(name))))
}

fn download(media_type: &'static str, body: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok().content_type(media_type).insert_header(("Vary", "Accept")).body(body)
}

fn crl_example() -> Value {
    json!({
        "number": 12,
        "this_update": "2030-01-31T12:00:00Z",
        "next_update": "2030-02-07T12:00:00Z",
        "url": "http://pki.internal/pki/issuing.crl",
    })
}

fn example() -> Value {
    let pem = "-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n";
    json!({
        "name": "issuing",
        "parent": "root",
        "state": "active",
        "default": true,
        "subject": "CN=Chancery Issuing CA",
        "serial": "0198a3f2c1d04b7e9a6c35d2f81e0b4477aa91c2",
        "key": {"algorithm": "ecdsa-p256", "spki_sha256": "b1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90"},
        "not_before": "2030-01-01T00:00:00Z",
        "not_after": "2034-12-31T23:59:59Z",
        "fingerprint_sha256": "4b9c0f6fd8f0c7b7a5a3c4b2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2",
        "certificate": pem,
        "chain": [pem],
        "crl": crl_example(),
    })
}
