//! Parses what a person pastes.

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};

use super::request::PKCS10;
use super::{DER_CERTIFICATE, DER_CRL, JSON, PEM_CHAIN, PEM_FILE};
use crate::auth::permission::Inspect;
use crate::error::Result;
use crate::http::extract::body::unsupported;
use crate::http::extract::{Auth, Parameters, json};
use crate::tasks::spawn_blocking;
use crate::x509::inspect::{Inspected, inspect as parse};

/// What is to be parsed, as JSON.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = InspectionRequest)]
pub struct InspectionBody {
    /// PEM with any number of blocks, or base64 of one DER object.
    #[schema(example = "-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n")]
    pub input: String,
}

/// What was found.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Inspection)]
pub struct InspectionDocument {
    /// Each object, in order.
    pub items: Vec<Inspected>,
}

/// The media types of raw bodies.
const RAW: [&str; 9] = [
    PKCS10,
    PEM_FILE,
    PEM_CHAIN,
    DER_CERTIFICATE,
    DER_CRL,
    "application/x-x509-ca-cert",
    "application/octet-stream",
    "text/plain",
    JSON,
];

/// Parses certificate signing requests, certificates, chains and CRLs.
///
/// Raw PEM or DER, or JSON with the input as text. Nothing is stored or judged: a request whose signature does not verify is shown so.
#[utoipa::path(
    post, path = "/api/v1/inspect", operation_id = "inspect", tag = "tools",
    request_body(description = "What is to be parsed; at most 1 MiB.", content(
        (InspectionBody = "application/json", example = json!({"input": "-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n"})),
        (String = "application/x-pem-file", example = json!("-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n")),
        (String = "application/octet-stream", example = json!("-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n")),
    )),
    responses((status = 200, description = "What was found.", body = InspectionDocument, example = json!({"items": [{"type": "certificate", "subject": "CN=app.internal"}]})))
)]
pub async fn inspect(
    _authorization: Auth<Inspect>,
    _query: Parameters<()>,
    document: Document,
) -> Result<HttpResponse> {
    // A CRL within the limit may have tens of thousands of entries.
    let items = spawn_blocking(move || parse(&document.0)).await?;
    Ok(HttpResponse::Ok().json(InspectionDocument { items }))
}

/// What is to be parsed, out of either form.
#[derive(Clone, Debug)]
pub struct Document(Vec<u8>);

impl Document {
    fn read(media_type: &str, octets: &[u8]) -> Result<Self> {
        if media_type == JSON {
            let body: InspectionBody = json::parse(octets)?;
            return Ok(Self(super::request::without_base64(body.input.as_bytes())?.into_owned()));
        }
        if RAW.contains(&media_type) { Ok(Self(octets.to_vec())) } else { Err(unsupported(media_type, &RAW)) }
    }
}

impl actix_web::FromRequest for Document {
    type Error = crate::Error;
    type Future = futures_util::future::LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &actix_web::HttpRequest, payload: &mut actix_web::dev::Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let submission = crate::http::extract::body::read_document(&request, payload).await?;
            Self::read(&submission.media_type, &submission.octets)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn raw_and_json_give_the_same_octets() {
        assert_eq!(Document::read(PKCS10, b"\x30\x03").unwrap().0, b"\x30\x03");
        assert_eq!(Document::read(JSON, br#"{"input": "MAMCAQE="}"#).unwrap().0, b"\x30\x03\x02\x01\x01");
        assert_eq!(Document::read(JSON, br#"{"input": "-----BEGIN X-----"}"#).unwrap().0, b"-----BEGIN X-----");
    }

    #[test]
    fn other_media_types_are_refused() {
        assert_eq!(Document::read("image/png", b"x").unwrap_err().kind(), crate::ErrorKind::UnsupportedMediaType);
    }
}
