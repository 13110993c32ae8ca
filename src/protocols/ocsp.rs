//! OCSP over HTTP (RFC 6960, appendix A; RFC 5019): decodes the request, has it answered, and says how long the answer may be cached.
//!
//! A request that cannot be answered still gets status 200 with an OCSP error, as clients expect; what is said is decided in `ca/ocsp.rs`.

use std::sync::Arc;
use std::time::SystemTime;

use actix_web::dev::Payload;
use actix_web::http::header::{self, ETag, EntityTag, Expires, HttpDate, LastModified};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::conditional::is_fresh_at;
use crate::ca::ocsp::{OcspAnswer, SignedAnswer};
use crate::http::AppState;
use crate::http::extract::Public;
use crate::http::extract::body;
use crate::x509::Timestamp;
use crate::x509::ocsp::{ErrorStatus, MAXIMUM_REQUEST};

const REQUEST: &str = "application/ocsp-request";
const RESPONSE: &str = "application/ocsp-response";

/// The most characters of a request in a path: base64, every character of it percent-encoded.
const MAXIMUM_PATH: usize = MAXIMUM_REQUEST / 3 * 4 * 3 + 16;

/// Base64 with or without padding: some clients leave it out of addresses.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Asks for the status of certificates.
///
/// The body is an OCSP request in DER (RFC 6960, section 4.1) for at most 64 certificates and of at most 8 KiB. Errors of OCSP have status 200 too.
/// An answer without nonce is signed ahead of time and may be cached until it is signed anew.
#[utoipa::path(
    post, path = "/ocsp/{issuer}", operation_id = "askOcsp", tag = "relying parties",
    params(("issuer" = String, Path, description = "The issuer's name, for all generations of its key.", example = "issuing")),
    request_body(content = Vec<u8>, content_type = "application/ocsp-request", description = "The request.",
        example = json!("0C0A0?0=0;0\t\u{6}\u{5}+\u{e}\u{3}\u{2}\u{1a}...")),
    responses(
        (status = 200, description = "The OCSP response: an answer or an error.", content_type = "application/ocsp-response", body = Vec<u8>,
         headers(("Cache-Control" = String, description = "How long an answer may be cached."))),
    )
)]
pub async fn ask(
    _public: Public,
    state: web::Data<AppState>,
    path: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    match read(&request, payload.into_inner()).await {
        Some(body) => respond(&state, &request, &path, &body).await,
        None => refused(ErrorStatus::MalformedRequest),
    }
}

/// Asks for the status of certificates in a form that can be cached.
///
/// The path ends with the OCSP request in base64, percent-encoded (RFC 6960, appendix A.1). Otherwise as with POST.
#[utoipa::path(
    get, path = "/ocsp/{issuer}/{request}", operation_id = "fetchOcsp", tag = "relying parties",
    params(
        ("issuer" = String, Path, description = "The issuer's name, for all generations of its key.", example = "issuing"),
        ("request" = String, Path, description = "The request in base64; it may hold slashes.", example = "MEMwQTA/MD0wOzAJBgUrDgMCGgUA"),
    ),
    responses(
        (status = 200, description = "The OCSP response: an answer or an error.", content_type = "application/ocsp-response", body = Vec<u8>,
         headers(("ETag" = String, description = "Changes with the answer."), ("Last-Modified" = String, description = "Its `thisUpdate`."),
                 ("Expires" = String, description = "Its `nextUpdate`."), ("Cache-Control" = String, description = "How long it may be cached."))),
        (status = 304, description = "Not changed since `If-None-Match` or `If-Modified-Since`."),
    )
)]
pub async fn fetch(_public: Public, state: web::Data<AppState>, request: HttpRequest) -> HttpResponse {
    // Out of the path as it came: decoding it once more than once would turn `%252B` into `+`.
    let rest = request.uri().path().strip_prefix("/ocsp/").and_then(|rest| rest.split_once('/'));
    match rest.and_then(|(name, encoded)| decode(encoded).map(|body| (name, body))) {
        Some((name, body)) => respond(&state, &request, name, &body).await,
        None => refused(ErrorStatus::MalformedRequest),
    }
}

/// Reads the body; `None` when it is of another type, too large or too slow: each is a malformed request to OCSP.
async fn read(request: &HttpRequest, payload: Payload) -> Option<Bytes> {
    match body::read(request, payload, MAXIMUM_REQUEST).await {
        Ok(body) if body.media_type == REQUEST => Some(body.octets),
        Ok(_other_type) => None,
        Err(error) => {
            tracing::debug!(%error, "the body of an OCSP request could not be read");
            None
        }
    }
}

/// Decodes the request in a path; `None` when it is not base64.
fn decode(encoded: &str) -> Option<Vec<u8>> {
    if encoded.len() > MAXIMUM_PATH {
        return None;
    }
    let decoded = percent_decoded(encoded)?;
    // A client whose address ends with a slash adds another one.
    let start = decoded.iter().position(|octet| *octet != b'/')?;
    BASE64.decode(decoded.get(start..)?).map_or_else(
        |error| {
            tracing::debug!(%error, "an OCSP request in a path is not base64");
            None
        },
        Some,
    )
}

/// Undoes percent-encoding (RFC 3986, section 2.1); `None` for a `%` without two hex digits.
fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        decoded.push(match octet {
            b'%' => {
                let mut digit = || char::from(octets.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high << 4 | low).ok()?
            }
            other => other,
        });
    }
    Some(decoded)
}

async fn respond(state: &AppState, request: &HttpRequest, name: &str, body: &[u8]) -> HttpResponse {
    match state.ca.answer_ocsp(name, body).await {
        OcspAnswer::Signed(answer) => signed(request, answer, state.ca.clock().now()),
        OcspAnswer::Refused(status) => refused(status),
    }
}

fn refused(status: ErrorStatus) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .content_type(RESPONSE)
        .body(Bytes::from_static(status.to_der()))
}

/// Answers with the headers of RFC 5019, section 6.2; with 304 when the client has it already.
fn signed(request: &HttpRequest, answer: Arc<SignedAnswer>, now: Timestamp) -> HttpResponse {
    let Some(digest) = answer.digest else {
        // With a nonce it is for this client alone.
        return HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .content_type(RESPONSE)
            .body(Bytes::from_owner(Shared(answer)));
    };
    let tag = EntityTag::new_strong(hex::encode(digest));
    let modified = http_date(answer.this_update);
    // Until there may be a newer one; when that is overdue because the database is away, for a short while.
    let age = answer.refresh_at.since(now).as_secs().max(1);
    let fresh = request.method().is_safe() && is_fresh_at(request, &tag, modified);
    let mut response = if fresh { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header(ETag(tag))
        .insert_header(LastModified(modified))
        .insert_header(Expires(http_date(answer.next_update)))
        .insert_header((header::CACHE_CONTROL, format!("max-age={age}, public, no-transform, must-revalidate")));
    if fresh {
        return response.finish();
    }
    response.content_type(RESPONSE).body(Bytes::from_owner(Shared(answer)))
}

fn http_date(moment: Timestamp) -> HttpDate {
    HttpDate::from(SystemTime::from(moment.to_date_time()))
}

/// A signed answer as the body of HTTP answers, not copied.
struct Shared(Arc<SignedAnswer>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0.der
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use actix_web::test::TestRequest;

    use super::*;

    fn answer(digest: Option<[u8; 32]>) -> Arc<SignedAnswer> {
        let at = |seconds: i64| Timestamp::from_unix(1_900_000_000 + seconds);
        let (this_update, refresh_at, next_update) = (at(0), at(600), at(1200));
        Arc::new(SignedAnswer { der: b"answer".to_vec(), digest, this_update, refresh_at, next_update })
    }

    fn header(response: &HttpResponse, name: &str) -> String {
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    #[test]
    fn requests_in_paths_are_base64_that_may_be_percent_encoded() {
        let octets = [0x30, 0xfb, 0xff, 0xbf, 1];
        let plain = base64::prelude::BASE64_STANDARD.encode(octets);
        assert_eq!(plain, "MPv/vwE=");
        for encoded in ["MPv/vwE=", "MPv%2FvwE%3D", "MPv%2fvwE", "/MPv/vwE=", "%4D%50v/vwE="] {
            assert_eq!(decode(encoded).as_deref(), Some(octets.as_slice()), "{encoded}");
        }
        for encoded in
            ["", "/", "MPv%252FvwE=", "MPv-vwE=", "MP v/vwE=", "%4", "%zz", "%", &"A".repeat(MAXIMUM_PATH + 1)]
        {
            assert_eq!(decode(encoded), None, "{encoded}");
        }
    }

    #[test]
    fn an_answer_may_be_cached_until_it_is_signed_anew() {
        let request = TestRequest::get().to_http_request();
        let response = signed(&request, answer(Some([0xab; 32])), Timestamp::from_unix(1_900_000_100));
        assert_eq!(header(&response, "cache-control"), "max-age=500, public, no-transform, must-revalidate");
        assert_eq!(header(&response, "etag"), format!("\"{}\"", "ab".repeat(32)));
        assert_eq!(header(&response, "last-modified"), "Sun, 17 Mar 2030 17:46:40 GMT");
        assert_eq!(header(&response, "expires"), "Sun, 17 Mar 2030 18:06:40 GMT");
        assert_eq!(header(&response, "content-type"), RESPONSE);
        let overdue = signed(&request, answer(Some([0; 32])), Timestamp::from_unix(1_900_000_700));
        assert!(header(&overdue, "cache-control").starts_with("max-age=1, "));
    }

    #[test]
    fn a_client_that_has_the_answer_is_told_so() {
        let has = |request: TestRequest| {
            let request =
                request.insert_header(("If-None-Match", format!("\"{}\"", "ab".repeat(32)))).to_http_request();
            signed(&request, answer(Some([0xab; 32])), Timestamp::from_unix(1_900_000_100)).status().as_u16()
        };
        assert_eq!(has(TestRequest::get()), 304);
        // RFC 9110, section 13.1.2: for other methods it would be 412, and the answer to a POST is not kept by its address.
        assert_eq!(has(TestRequest::post()), 200);
    }

    #[test]
    fn answers_with_a_nonce_and_errors_are_kept_by_nobody() {
        let request = TestRequest::get().to_http_request();
        let with_nonce = signed(&request, answer(None), Timestamp::from_unix(1_900_000_100));
        for response in [with_nonce, refused(ErrorStatus::TryLater)] {
            assert_eq!(response.status(), 200);
            assert_eq!(header(&response, "cache-control"), "no-store");
            assert_eq!(header(&response, "etag"), "");
            assert_eq!(header(&response, "content-type"), RESPONSE);
        }
    }
}
