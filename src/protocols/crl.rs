//! What relying parties fetch: issuer certificates and CRLs in DER, from memory, with caching headers (RFC 5280, section 4.2.1.13; RFC 2585).
//!
//! An anonymous request never leads to a signature or a look into the database: what is published is what the core holds.

use actix_web::http::header::{self, ETag, EntityTag, HttpDate, IfModifiedSince, IfNoneMatch, LastModified};
use std::sync::Arc;

use actix_web::web::Bytes;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};

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
    let issuer = issuers.by_name(&path).ok_or_else(|| unknown(&path))?;
    let certificate = &issuer.certificate;
    let tag = EntityTag::new_strong(hex::encode(certificate.fingerprint_sha256()));
    let document =
        Document { tag, modified: certificate.not_before, age: CERTIFICATE_AGE, media_type: "application/pkix-cert" };
    Ok(document.answer(&request, Bytes::copy_from_slice(certificate.as_der())))
}

/// Fetches an issuer's CRL.
///
/// The published full CRL in DER, as the CRL distribution points of certificates name it; it may be cached until its `nextUpdate`.
#[utoipa::path(
    get, path = "/pki/{issuer}.crl", operation_id = "fetchCrl", tag = "relying parties",
    params(("issuer" = String, Path, description = "The issuer's name.", example = "issuing")),
    responses(
        (status = 200, description = "The CRL.", content_type = "application/pkix-crl", body = Vec<u8>,
         headers(("ETag" = String, description = "Changes with the CRL number."), ("Last-Modified" = String, description = "Its `thisUpdate`."), ("Cache-Control" = String, description = "How long it may be cached."))),
        (status = 304, description = "Not changed since `If-None-Match` or `If-Modified-Since`."),
    )
)]
pub async fn issuer_crl(
    _public: Public,
    state: web::Data<AppState>,
    path: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse> {
    let issuers = state.ca.issuers();
    let issuer = issuers.by_name(&path).ok_or_else(|| unknown(&path))?;
    let crls = state.ca.published_crls();
    let crl = crls
        .of_issuer(issuer.id)
        .ok_or_else(|| Error::not_found(format!("the issuer `{}` has not published a CRL yet", shorten(&path))))?;
    let document = Document {
        tag: EntityTag::new_strong(format!("{}-{}", crl.number, crl.this_update.unix())),
        modified: crl.this_update,
        age: crl.next_update.since(state.ca.clock().now()).as_secs(),
        media_type: "application/pkix-crl",
    };
    // Shared, not copied: it is large, and a slow client reads it for long.
    Ok(document.answer(&request, Bytes::from_owner(Shared(Arc::clone(crl)))))
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
        if request.headers().contains_key(header::IF_NONE_MATCH) {
            return match request.get_header::<IfNoneMatch>() {
                Some(IfNoneMatch::Any) => true,
                Some(IfNoneMatch::Items(tags)) => tags.iter().any(|tag| tag.weak_eq(&self.tag)),
                None => false,
            };
        }
        request.get_header::<IfModifiedSince>().is_some_and(|since| modified <= since.0)
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
