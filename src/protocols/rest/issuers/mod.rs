//! Issuers: their state, certificates and chains; their CRLs are in `crls.rs`. How they come to be and change is in the files of this folder.

pub mod creation;
pub mod document;
pub mod lifecycle;

use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

pub use document::IssuerDocument;
use document::example;

use super::{DER_CERTIFICATE, NamePage, NamePageParameters, PEM_CHAIN, PEM_FILE, PKCS7, State};
use crate::auth::Authorized;
use crate::auth::permission::ReadIssuers;
use crate::ca::issuer::Issuer;
use crate::ca::issuers::AnyIssuer;
use crate::error::{Error, Result};
use crate::http::accept;
use crate::http::cursor::Listing;
use crate::http::extract::{Auth, Fields, FromFields, Parameters};
use crate::http::problem::shorten;
use crate::x509::{Certificate, pkcs7};

/// A page of issuers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = IssuerPage)]
pub struct Page {
    /// The issuers by name.
    pub items: Vec<IssuerDocument>,
    /// What to pass as `cursor` for the next page; null when there is none.
    pub next_cursor: Option<String>,
}

/// Lists the issuers.
///
/// Every generation of every issuer by name, with its certificates and its published CRL; also those that wait for their first certificate.
#[utoipa::path(
    get, path = "/api/v1/issuers", operation_id = "listIssuers", tag = "issuers", params(NamePageParameters),
    responses((status = 200, description = "A page.", body = Page, example = json!({"items": [example()], "next_cursor": null})))
)]
pub async fn list(authorization: Auth<ReadIssuers>, state: State, page: Parameters<NamePage>) -> Result<HttpResponse> {
    let issuers: Vec<AnyIssuer> = state.ca.list_issuers(&authorization).every().collect();
    let (issuers, next_cursor) = page.0.cut(Listing::Issuers, issuers, AnyIssuer::path_name)?;
    let items = issuers.iter().map(|issuer| IssuerDocument::of(&state.ca, issuer)).collect::<Result<_>>()?;
    Ok(HttpResponse::Ok().json(Page { items, next_cursor }))
}

/// Reads an issuer.
///
/// Its state, its certificates with the chain above it, and its published CRL. `issuing` is the generation that is active, else the newest with a
/// certificate; `issuing.2` is exactly the second.
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
    let found = state.ca.find_issuer(&authorization, |issuers| issuers.any_by_reference(&path)).await?;
    let issuer = found.ok_or_else(|| unknown(&path))?;
    Ok(HttpResponse::Ok().json(IssuerDocument::of(&state.ca, &issuer)?))
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
    let issuer = find(&state, &authorization, &path).await?;
    Ok(match place {
        2 => download(DER_CERTIFICATE, issuer.certificate.as_der().to_vec()),
        _ => download(PEM_FILE, issuer.certificate.to_pem().into_bytes()),
    })
}

/// Which chain of an issuer is asked for.
#[derive(Clone, Copy, Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ChainQuery {
    /// The number of the alternate chain, from 1; the primary chain if absent.
    #[param(minimum = 1, example = 1)]
    pub alternate: Option<u16>,
}

impl FromFields for ChainQuery {
    fn from_fields(fields: &mut Fields) -> Result<Self> {
        Ok(Self { alternate: fields.parsed("alternate")? })
    }
}

impl ChainQuery {
    /// Returns the chain, the issuer's own certificate first.
    ///
    /// # Errors
    /// `NotFound` when there are not as many.
    pub(crate) fn of(self, issuer: &Issuer) -> Result<&[Certificate]> {
        let Some(number) = self.alternate else { return Ok(&issuer.chain) };
        let chain = usize::from(number).checked_sub(1).and_then(|index| issuer.alternate_chains.get(index));
        chain.map(Vec::as_slice).ok_or_else(|| {
            Error::not_found(format!(
                "the issuer `{}` has {} alternate chains; there is no number {number}",
                issuer.path_name,
                issuer.alternate_chains.len()
            ))
        })
    }
}

/// Downloads an issuer's chain.
///
/// Its own certificate and those above it, the root last: PEM, or PKCS #7 in DER with `Accept: application/pkcs7-mime`. Other chains, for clients
/// that trust another root, are chosen by `alternate`.
#[utoipa::path(
    get, path = "/api/v1/issuers/{name}/chain", operation_id = "downloadIssuerChain", tag = "issuers",
    params(("name" = String, Path, description = "The issuer's name.", example = "issuing"), ChainQuery),
    responses((status = 200, description = "The chain.", content((String = "application/pem-certificate-chain"), (Vec<u8> = "application/pkcs7-mime")), headers(("Vary" = String, description = "`Accept`."))))
)]
pub async fn chain(
    authorization: Auth<ReadIssuers>,
    state: State,
    path: web::Path<String>,
    request: HttpRequest,
    query: Parameters<ChainQuery>,
) -> Result<HttpResponse> {
    let place = accept::choose(&request, &[PEM_CHAIN, PEM_FILE, "application/pkcs7-mime"])?;
    let issuer = find(&state, &authorization, &path).await?;
    let chain = query.0.of(&issuer)?;
    if place == 2 {
        let certificates: Vec<&[u8]> = chain.iter().map(Certificate::as_der).collect();
        return Ok(download(PKCS7, pkcs7::certificates_only(&certificates)?));
    }
    let text: String = chain.iter().map(Certificate::to_pem).collect();
    Ok(download(PEM_CHAIN, text.into_bytes()))
}

pub(super) async fn find(state: &State, authorization: &Authorized<ReadIssuers>, name: &str) -> Result<Arc<Issuer>> {
    let found = state.ca.find_issuer(authorization, |issuers| issuers.by_reference(name).cloned()).await?;
    found.ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Error {
    Error::not_found(format!("there is no issuer `{}` that has a certificate", shorten(name)))
}

pub(super) fn download(media_type: &'static str, body: impl MessageBody + 'static) -> HttpResponse {
    HttpResponse::Ok().content_type(media_type).insert_header(("Vary", "Accept")).body(body)
}
