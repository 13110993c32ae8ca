//! Reads the inventory: listing, search and export, and one certificate in every representation.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::query::{Conditions, IssuerChoice, ListParameters, ListQuery};
use super::record::{self, CertificateDocument, Representation};
use super::{JSON, State, export};
use crate::auth::permission::ReadCertificates;
use crate::error::{Error, Result};
use crate::http::accept;
use crate::http::extract::{Auth, Parameters};
use crate::http::problem::shorten;

/// A page of certificates.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = CertificatePage)]
pub struct Page {
    /// The certificates, without `chain` and `root` unless asked for.
    pub items: Vec<CertificateDocument>,
    /// What to pass as `cursor` for the next page; null when there is none. A page looks at a bounded number of certificates: it may have fewer
    /// than `limit`, or none, though another one follows.
    pub next_cursor: Option<String>,
}

/// Lists, searches and exports certificates.
///
/// All conditions that are given hold together. A requester sees its own certificates only. Pages are stable under inserts. With `format` every
/// certificate that matches is answered as CSV or as one JSON record a line, however many there are.
#[utoipa::path(
    get, path = "/api/v1/certificates", operation_id = "listCertificates", tag = "certificates",
    params(Conditions, ListParameters),
    responses((status = 200, description = "A page, or the export.", content(
        (Page = "application/json", example = json!(record::page_example())),
        (String = "text/csv"),
        (String = "application/x-ndjson"),
    )))
)]
pub async fn list(
    authorization: Auth<ReadCertificates>,
    state: State,
    query: Parameters<ListQuery>,
) -> Result<HttpResponse> {
    let Parameters(ListQuery { conditions, list }) = query;
    let filter = conditions.filter(&state.ca)?;
    if let Some(format) = list.format {
        return export::answer(state.ca.clone(), authorization.0, filter, list, format).await;
    }
    let page = state.ca.certificates(&authorization, filter, list.page()?).await?;
    let items = page.items.iter().map(|view| CertificateDocument::of(view, list.chain)).collect::<Result<_>>()?;
    Ok(HttpResponse::Ok().json(Page { items, next_cursor: list.next_cursor(page.next) }))
}

/// What `GET /certificates/{serial}` offers: the record, then the representations.
const OFFERED: [&str; 7] = [
    JSON,
    "application/x-pem-file",
    "application/pem-certificate-chain",
    "application/pkix-cert",
    "application/pkcs7-mime",
    "application/x-pkcs7-certificates",
    "text/plain",
];

/// Reads a certificate.
///
/// By `Accept`: the record (JSON), the certificate (`application/x-pem-file`), with the CA certificates above it without the root
/// (`application/pem-certificate-chain`), DER (`application/pkix-cert`), PKCS #7 (`application/pkcs7-mime`), or described for people (`text/plain`).
#[utoipa::path(
    get, path = "/api/v1/certificates/{serial}", operation_id = "readCertificate", tag = "certificates",
    params(("serial" = String, Path, description = "The serial number, hex; colons and upper case are taken.", example = "0198a3f2c1d04b7e9a6c35d2f81e0b4477aa91c3"), IssuerChoice),
    responses((status = 200, description = "The certificate.", content(
        (CertificateDocument = "application/json", example = json!(record::example(true))),
        (String = "application/x-pem-file"),
        (String = "application/pem-certificate-chain"),
        (Vec<u8> = "application/pkix-cert"),
        (Vec<u8> = "application/pkcs7-mime"),
        (String = "text/plain"),
    ), headers(("Vary" = String, description = "`Accept`."))))
)]
pub async fn read(
    authorization: Auth<ReadCertificates>,
    state: State,
    path: web::Path<String>,
    request: HttpRequest,
    choice: Parameters<IssuerChoice>,
) -> Result<HttpResponse> {
    let representation = match OFFERED.get(accept::choose(&request, &OFFERED)?).copied() {
        Some("application/x-pem-file") => Some(Representation::Pem),
        Some("application/pem-certificate-chain") => Some(Representation::FullChain),
        Some("application/pkix-cert") => Some(Representation::Der),
        Some("application/pkcs7-mime" | "application/x-pkcs7-certificates") => Some(Representation::Pkcs7),
        Some("text/plain") => Some(Representation::Text),
        _ => None,
    };
    let view = state.ca.certificate(&authorization, &choice.0.of(&path)?).await?;
    let mut response = HttpResponse::Ok();
    response.insert_header(("Vary", "Accept"));
    Ok(match representation {
        Some(representation) => response.content_type(representation.media_type()).body(representation.encode(&view)?),
        None => response.json(CertificateDocument::of(&view, true)?),
    })
}

/// Reads a certificate in the form of a suffix.
///
/// `.pem` is the certificate, `.fullchain.pem` with the CA certificates above it without the root, `.der` the certificate in DER, `.p7b` certificate and
/// chain as PKCS #7 in DER, `.txt` described for people.
#[utoipa::path(
    get, path = "/api/v1/certificates/{serial}.{format}", operation_id = "downloadCertificate", tag = "certificates",
    params(
        ("serial" = String, Path, description = "The serial number, hex; colons and upper case are taken.", example = "0198a3f2c1d04b7e9a6c35d2f81e0b4477aa91c3"),
        ("format" = String, Path, description = "`pem`, `fullchain.pem`, `der`, `p7b` or `txt`.", example = "pem"),
        IssuerChoice,
    ),
    responses((status = 200, description = "The certificate.", content(
        (String = "application/x-pem-file"),
        (String = "application/pem-certificate-chain"),
        (Vec<u8> = "application/pkix-cert"),
        (Vec<u8> = "application/pkcs7-mime"),
        (String = "text/plain"),
    )))
)]
pub async fn read_as(
    authorization: Auth<ReadCertificates>,
    state: State,
    path: web::Path<(String, String)>,
    choice: Parameters<IssuerChoice>,
) -> Result<HttpResponse> {
    let (text, suffix) = path.into_inner();
    let representation = Representation::of_suffix(&suffix).ok_or_else(|| {
        Error::not_found(format!(
            "there is no form `{}`; known are pem, fullchain.pem, der, p7b, txt",
            shorten(&suffix)
        ))
    })?;
    let view = state.ca.certificate(&authorization, &choice.0.of(&text)?).await?;
    Ok(HttpResponse::Ok().content_type(representation.media_type()).body(representation.encode(&view)?))
}
