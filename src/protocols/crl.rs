//! What relying parties fetch: issuer certificates and CRLs in DER, from memory, with caching headers (RFC 5280, section 4.2.1.13; RFC 2585).
//!
//! An anonymous request never leads to a signature or a look into the database: what is published is what the core holds.

use actix_web::http::header::{self, ETag, EntityTag, HttpDate, LastModified};
use std::sync::Arc;

use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};

use super::conditional::is_fresh_at;
use crate::error::{Error, Result};
use crate::http::AppState;
use crate::http::extract::Public;
use crate::http::problem::shorten;
use crate::storage::CrlRecord;
use crate::x509::Timestamp;

/// How long, in seconds, an issuer certificate may be cached: a day; another one under the same name is rare and announced.
const CERTIFICATE_AGE: u64 = 86_400;

/// Fetches an issuer's certificate.
///
/// The certificate in DER, as the caIssuers access method points to it (RFC 5280, section 4.2.2.1).
#[utoipa::path(
    get, path = "/pki/{issuer}.crt", operation_id = "fetchIssuerCertificate", tag = "relying parties",
    params(("issuer" = String, Path, description = "The issuer's name.", example = "issuing")),
    responses(
        (status = 200, description = "The certificate.", content_type = "application/pkix-cert", body = Vec<u8>,
         headers(("ETag" = String, description = "Changes with the certificate."), ("Last-Modified" = String, description = "When its validity began."), ("Cache-Control" = String, description = "How long it may be cached."))),
        (status = 304, description = "Not changed since `If-None-Match` or `If-Modified-Since`."),
    )
)]
pub async fn issuer_certificate(
    _public: Public,
    state: web::Data<AppState>,
    path: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse> {
    let issuers = state.ca.issuers();
    let issuer = issuers.by_path_name(&path).ok_or_else(|| unknown(&path))?;
    let certificate = &issuer.certificate;
    let tag = EntityTag::new_strong(hex::encode(certificate.fingerprint_sha256()));
    let document =
        Document { tag, modified: certificate.not_before, age: CERTIFICATE_AGE, media_type: "application/pkix-cert" };
    Ok(document.answer(&request, Bytes::copy_from_slice(certificate.as_der())))
}

/// Fetches an issuer's CRL.
///
/// The published full CRL in DER. Certificates name it as their CRL distribution point unless the issuer has shards.
#[utoipa::path(
    get, path = "/pki/{issuer}.crl", operation_id = "fetchCrl", tag = "relying parties",
    params(("issuer" = String, Path, description = "The issuer's name; from its second generation on with a dot and the generation.", example = "issuing")),
    responses(
        (status = 200, description = "The CRL.", content_type = "application/pkix-crl", body = Vec<u8>,
         headers(("ETag" = String, description = "Changes with the CRL number."), ("Last-Modified" = String, description = "Its `thisUpdate`."), ("Cache-Control" = String, description = "How long it may be cached: until the next one is expected, an hour at most for one that a revocation replaces, never beyond `nextUpdate`."))),
        (status = 304, description = "Not changed since `If-None-Match` or `If-Modified-Since`."),
    )
)]
pub async fn issuer_crl(
    _public: Public,
    state: web::Data<AppState>,
    path: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse> {
    answer(&state, &request, &path, 0, false)
}

/// Fetches an issuer's delta CRL.
///
/// What changed since the full CRL (RFC 5280, section 5.2.4), in DER; certificates and the full CRL name it as their freshest CRL.
#[utoipa::path(
    get, path = "/pki/{issuer}/delta.crl", operation_id = "fetchDeltaCrl", tag = "relying parties",
    params(("issuer" = String, Path, description = "The issuer's name; from its second generation on with a dot and the generation.", example = "issuing")),
    responses(
        (status = 200, description = "The CRL.", content_type = "application/pkix-crl", body = Vec<u8>,
         headers(("ETag" = String, description = "Changes with the CRL number."), ("Last-Modified" = String, description = "Its `thisUpdate`."), ("Cache-Control" = String, description = "How long it may be cached: until the next one is expected, an hour at most for one that a revocation replaces, never beyond `nextUpdate`."))),
        (status = 304, description = "Not changed since `If-None-Match` or `If-Modified-Since`."),
    )
)]
pub async fn delta_crl(
    _public: Public,
    state: web::Data<AppState>,
    path: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse> {
    answer(&state, &request, &path, 0, true)
}

/// Fetches a shard of an issuer's CRL.
///
/// The CRL of the certificates that name this address as their CRL distribution point, in DER; it says so itself (RFC 5280, section 5.2.5).
#[utoipa::path(
    get, path = "/pki/{issuer}/{shard}.crl", operation_id = "fetchCrlShard", tag = "relying parties",
    params(
        ("issuer" = String, Path, description = "The issuer's name; from its second generation on with a dot and the generation.", example = "issuing"),
        ("shard" = u16, Path, description = "The shard, from 1.", example = 3),
    ),
    responses(
        (status = 200, description = "The CRL.", content_type = "application/pkix-crl", body = Vec<u8>,
         headers(("ETag" = String, description = "Changes with the CRL number."), ("Last-Modified" = String, description = "Its `thisUpdate`."), ("Cache-Control" = String, description = "How long it may be cached: until the next one is expected, an hour at most for one that a revocation replaces, never beyond `nextUpdate`."))),
        (status = 304, description = "Not changed since `If-None-Match` or `If-Modified-Since`."),
    )
)]
pub async fn shard_crl(
    _public: Public,
    state: web::Data<AppState>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse> {
    answer(&state, &request, &path.0, shard(&path.1)?, false)
}

/// Fetches the delta CRL of a shard.
///
/// What changed since the CRL of the shard, in DER.
#[utoipa::path(
    get, path = "/pki/{issuer}/{shard}/delta.crl", operation_id = "fetchDeltaCrlShard", tag = "relying parties",
    params(
        ("issuer" = String, Path, description = "The issuer's name; from its second generation on with a dot and the generation.", example = "issuing"),
        ("shard" = u16, Path, description = "The shard, from 1.", example = 3),
    ),
    responses(
        (status = 200, description = "The CRL.", content_type = "application/pkix-crl", body = Vec<u8>,
         headers(("ETag" = String, description = "Changes with the CRL number."), ("Last-Modified" = String, description = "Its `thisUpdate`."), ("Cache-Control" = String, description = "How long it may be cached: until the next one is expected, an hour at most for one that a revocation replaces, never beyond `nextUpdate`."))),
        (status = 304, description = "Not changed since `If-None-Match` or `If-Modified-Since`."),
    )
)]
pub async fn shard_delta_crl(
    _public: Public,
    state: web::Data<AppState>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse> {
    answer(&state, &request, &path.0, shard(&path.1)?, true)
}

/// Answers with a published CRL.
fn answer(
    state: &AppState,
    request: &HttpRequest,
    path_name: &str,
    shard: i32,
    is_delta: bool,
) -> Result<HttpResponse> {
    let issuers = state.ca.issuers();
    let issuer = issuers.by_path_name(path_name).ok_or_else(|| unknown(path_name))?;
    let crl = state.ca.served_crl(issuer, shard, is_delta).ok_or_else(|| not_published(path_name, is_delta))?;
    let document = Document {
        tag: EntityTag::new_strong(format!("{}-{}", crl.number, crl.this_update.unix())),
        modified: crl.this_update,
        age: state.ca.crl_cache_age(issuer, &crl).as_secs(),
        media_type: "application/pkix-crl",
    };
    Ok(document.answer(request, octets(&crl)))
}

/// Returns a CRL as the body of an answer: shared, not copied, because it is large and a slow client reads it for long.
pub(super) fn octets(crl: &Arc<CrlRecord>) -> Bytes {
    Bytes::from_owner(Shared(Arc::clone(crl)))
}

/// Reads a shard, in the one way in which it is written, so that each address exists once.
fn shard(text: &str) -> Result<i32> {
    let shard = text.parse().ok().filter(|shard: &i32| *shard > 0 && shard.to_string() == text);
    shard.ok_or_else(|| Error::not_found(format!("there is no CRL shard `{}`", shorten(text))))
}

fn not_published(path_name: &str, is_delta: bool) -> Error {
    let kind = if is_delta { "delta CRL" } else { "CRL" };
    Error::not_found(format!("the issuer `{}` has not published this {kind}", shorten(path_name)))
}

fn unknown(name: &str) -> Error {
    Error::not_found(format!("there is no issuer `{}`", shorten(name)))
}

/// A published CRL as the body of answers.
struct Shared(Arc<CrlRecord>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0.der
    }
}

/// What caches need to know of a document.
struct Document {
    tag: EntityTag,
    modified: Timestamp,
    /// How long it may be cached, in seconds.
    age: u64,
    media_type: &'static str,
}

impl Document {
    /// Answers 304 when the client has it already (RFC 9110, section 13.2.2), else the document.
    fn answer(&self, request: &HttpRequest, body: Bytes) -> HttpResponse {
        let modified = HttpDate::from(std::time::SystemTime::from(self.modified.to_date_time()));
        let mut response =
            if self.is_fresh_at(request, modified) { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        response
            .insert_header(ETag(self.tag.clone()))
            .insert_header(LastModified(modified))
            .insert_header((header::CACHE_CONTROL, format!("public, max-age={}", self.age)));
        if self.is_fresh_at(request, modified) {
            return response.finish();
        }
        response.content_type(self.media_type).body(body)
    }

    fn is_fresh_at(&self, request: &HttpRequest, modified: HttpDate) -> bool {
        is_fresh_at(request, &self.tag, modified)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use actix_web::test::TestRequest;

    use super::*;

    fn document() -> Document {
        Document {
            tag: EntityTag::new_strong("7-1900000000".to_owned()),
            modified: Timestamp::from_unix(1_900_000_000),
            age: 60,
            media_type: "application/pkix-crl",
        }
    }

    fn status(name: &'static str, value: &str) -> u16 {
        let request = TestRequest::get().insert_header((name, value)).to_http_request();
        document().answer(&request, Bytes::from_static(b"crl")).status().as_u16()
    }

    #[test]
    fn a_client_that_has_it_is_told_so() {
        assert_eq!(status("If-None-Match", "\"7-1900000000\""), 304);
        assert_eq!(status("If-None-Match", "\"6-1\", W/\"7-1900000000\""), 304);
        assert_eq!(status("If-None-Match", "*"), 304);
        assert_eq!(status("If-Modified-Since", "Sun, 17 Mar 2030 17:46:40 GMT"), 304);
    }

    #[test]
    fn a_client_that_has_another_one_gets_it() {
        assert_eq!(status("If-None-Match", "\"6-1\""), 200);
        assert_eq!(status("If-Modified-Since", "Sun, 17 Mar 2030 17:46:39 GMT"), 200);
        assert_eq!(status("If-Modified-Since", "nonsense"), 200);
        assert_eq!(status("Accept", "*/*"), 200);
    }

    #[test]
    fn both_answers_carry_the_caching_headers() {
        for request in [TestRequest::get(), TestRequest::get().insert_header(("If-None-Match", "*"))] {
            let response = document().answer(&request.to_http_request(), Bytes::from_static(b"crl"));
            assert_eq!(response.headers().get("etag").unwrap(), "\"7-1900000000\"");
            assert_eq!(response.headers().get("cache-control").unwrap(), "public, max-age=60");
            assert_eq!(response.headers().get("last-modified").unwrap(), "Sun, 17 Mar 2030 17:46:40 GMT");
        }
    }
}
