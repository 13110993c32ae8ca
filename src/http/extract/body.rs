//! Request bodies: read within a limit and a time, with the idempotency key that was sent along.

use std::time::Duration;

use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpRequest, dev, web};
use aws_lc_rs::digest;
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;

use crate::ca::issuance::Idempotency;
use crate::error::{Error, ErrorKind, Result};
use crate::http::problem::shorten;
use crate::http::{AppState, HttpSettings, admission};

/// The most octets of an unread body that are taken off the connection, and the longest that takes.
const DISCARD_LIMIT: usize = 4 * 1024 * 1024;
const DISCARD_WAIT: Duration = Duration::from_secs(2);

/// The most octets of an idempotency key.
const IDEMPOTENCY_KEY_LIMIT: usize = 255;

/// Describes the idempotency key to the OpenAPI document.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes what `idempotency` reads")]
pub struct IdempotencyHeader {
    /// The same key with the same request gives the same answer for 24 hours; with another request it is refused. Keys belong to the caller.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$",
        example = "deploy-7-web-1"
    )]
    key: Option<String>,
}

/// A body as it came, with its media type and idempotency key.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The octets.
    pub octets: Bytes,
    /// The media type in lower case without parameters; empty if none was given.
    pub media_type: String,
    /// The idempotency key, if the request has one.
    pub idempotency: Option<Idempotency>,
}

/// A submission is read within the limit for CSRs.
impl FromRequest for Submission {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let limit = limits(&request)?.0;
            read(&request, payload, limit).await
        })
    }
}

/// Returns the limits for a body with a CSR and for any other.
pub(super) fn limits(request: &HttpRequest) -> Result<(usize, usize)> {
    let state =
        request.app_data::<web::Data<AppState>>().ok_or_else(|| Error::internal("the application state is missing"))?;
    Ok((state.settings.csr_limit, state.settings.body_limit))
}

/// Returns how long a body may take to arrive.
fn timeout(request: &HttpRequest) -> Duration {
    let state = request.app_data::<web::Data<AppState>>();
    state.map_or_else(|| HttpSettings::default().body_timeout, |state| state.settings.body_timeout)
}

/// Reads a body without a CSR limit: a bundle of certificates, a CRL.
///
/// # Errors
/// As for a [`Submission`].
pub(crate) async fn read_document(request: &HttpRequest, payload: dev::Payload) -> Result<Submission> {
    read(request, payload, limits(request)?.1).await
}

/// Reads a body of at most `limit` octets.
///
/// # Errors
/// `PayloadTooLarge`; `UnsupportedMediaType` for a compressed body; `Malformed` when it is cut short, too slow, or its idempotency key is bad;
/// `Overloaded` when its turn does not come in time.
pub(crate) async fn read(request: &HttpRequest, mut payload: dev::Payload, limit: usize) -> Result<Submission> {
    let submission = read_whole(request, &mut payload, limit).await;
    if submission.is_err() && !admission::is_short_of_memory(request) {
        discard(&mut payload).await;
    }
    submission
}

/// Takes what is left of a body off the connection, within limits: over HTTP/2 an answer while the client still sends ends in a reset stream,
/// and the client never sees why it was refused.
pub(crate) async fn discard(payload: &mut dev::Payload) {
    let rest = async {
        let mut octets = 0_usize;
        while let Some(Ok(chunk)) = payload.next().await {
            octets = octets.saturating_add(chunk.len());
            if octets > DISCARD_LIMIT {
                break;
            }
        }
    };
    if tokio::time::timeout(DISCARD_WAIT, rest).await.is_err() {
        tracing::debug!("a client was too slow with a body that nobody reads");
    }
}

async fn read_whole(request: &HttpRequest, payload: &mut dev::Payload, limit: usize) -> Result<Submission> {
    let media_type = media_type(request.headers())?;
    if let Some(encoding) = request.headers().get(header::CONTENT_ENCODING)
        && encoding.as_bytes() != b"identity"
    {
        return Err(Error::new(
            ErrorKind::UnsupportedMediaType,
            "compressed bodies are not taken; send it without `Content-Encoding`",
        ));
    }
    // Slow clients are cut off.
    let longest = timeout(request);
    let octets = tokio::time::timeout(longest, collect(request, payload, limit)).await.map_err(|error| {
        Error::malformed(format!("the body did not arrive within {} seconds", longest.as_secs())).with_source(error)
    })??;
    // Its turn comes when the body is there, and before anybody looks at it.
    admission::enter(request).await?;
    let idempotency = idempotency(request, &media_type, &octets)?;
    Ok(Submission { octets, media_type, idempotency })
}

async fn collect(request: &HttpRequest, payload: &mut dev::Payload, limit: usize) -> Result<Bytes> {
    let too_large =
        || Error::new(ErrorKind::PayloadTooLarge, format!("the body has more than {limit} octets, the limit here"));
    let announced =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut octets = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| {
            Error::malformed("the body ended early or is not well-formed").with_source(error.to_string())
        })?;
        if octets.len().saturating_add(chunk.len()) > limit {
            return Err(too_large());
        }
        admission::hold(request, chunk.len())?;
        octets.extend_from_slice(&chunk);
    }
    Ok(octets.freeze())
}

/// Returns the media type in lower case, without parameters.
fn media_type(headers: &HeaderMap) -> Result<String> {
    let mut values = headers.get_all(header::CONTENT_TYPE);
    let Some(value) = values.next() else { return Ok(String::new()) };
    if values.next().is_some() {
        return Err(Error::malformed("the header `Content-Type` is there more than once"));
    }
    let text = value.to_str().map_err(|error| {
        Error::malformed("the header `Content-Type` holds something else than visible ASCII").with_source(error)
    })?;
    Ok(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Takes the idempotency key and ties it to method, path, query, media type and body.
fn idempotency(request: &HttpRequest, media_type: &str, octets: &[u8]) -> Result<Option<Idempotency>> {
    let mut values = request.headers().get_all("idempotency-key");
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::malformed("the header `Idempotency-Key` is there more than once"));
    }
    let is_key =
        |octets: &[u8]| (1..=IDEMPOTENCY_KEY_LIMIT).contains(&octets.len()) && octets.iter().all(u8::is_ascii_graphic);
    let key = value.to_str().ok().filter(|key| is_key(key.as_bytes())).ok_or_else(|| {
        Error::malformed(format!(
            "the header `Idempotency-Key` must be 1 to {IDEMPOTENCY_KEY_LIMIT} visible ASCII characters"
        ))
    })?;
    let method = request.method().as_str();
    let mut context = digest::Context::new(&digest::SHA256);
    for part in
        [method.as_bytes(), request.path().as_bytes(), request.query_string().as_bytes(), media_type.as_bytes(), octets]
    {
        // Length first, so that no two requests give the same octets.
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let request_sha256 =
        context.finish().as_ref().try_into().map_err(|error: std::array::TryFromSliceError| {
            Error::internal("SHA-256 has 32 octets").with_source(error)
        })?;
    Ok(Some(Idempotency { key: key.to_owned(), request_sha256 }))
}

/// Refuses a media type, naming the accepted ones.
pub(crate) fn unsupported(media_type: &str, accepted: &[&str]) -> Error {
    let given = if media_type.is_empty() {
        "the body has no `Content-Type`".to_owned()
    } else {
        format!("`{}` is not taken here", shorten(media_type))
    };
    Error::new(ErrorKind::UnsupportedMediaType, format!("{given}; accepted are {}", accepted.join(", ")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use actix_web::test::TestRequest;

    use super::*;

    async fn submit(request: TestRequest, limit: usize) -> Result<Submission> {
        let (request, payload) = request.to_http_parts();
        read(&request, payload, limit).await
    }

    #[actix_web::test]
    async fn a_body_at_the_limit_passes_and_one_octet_more_does_not() {
        assert_eq!(submit(TestRequest::post().set_payload("12345"), 5).await.unwrap().octets, "12345");
        let error = submit(TestRequest::post().set_payload("123456"), 5).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
        assert!(error.detail().contains('5'));
    }

    #[actix_web::test]
    async fn an_announced_length_over_the_limit_is_refused_before_reading() {
        let request = TestRequest::post().insert_header(("Content-Length", "99999999999"));
        assert_eq!(submit(request, 5).await.unwrap_err().kind(), ErrorKind::PayloadTooLarge);
    }

    #[actix_web::test]
    async fn compressed_bodies_are_refused() {
        let request = TestRequest::post().insert_header(("Content-Encoding", "gzip")).set_payload("x");
        assert_eq!(submit(request, 5).await.unwrap_err().kind(), ErrorKind::UnsupportedMediaType);
    }

    #[actix_web::test]
    async fn the_digest_covers_path_query_media_type_and_body() {
        let digest = |uri: &'static str, media: &'static str, body: &'static str| async move {
            let request = TestRequest::post()
                .uri(uri)
                .insert_header(("Content-Type", media))
                .insert_header(("Idempotency-Key", "k"))
                .set_payload(body);
            submit(request, 100).await.unwrap().idempotency.unwrap().request_sha256
        };
        let first = digest("/a?b", "text/plain", "c").await;
        assert_eq!(first, digest("/a?b", "Text/Plain; charset=utf-8", "c").await);
        for (uri, media, body) in [
            ("/a?bc", "text/plain", ""),
            ("/a", "text/plain", "c"),
            ("/a?b", "text/csv", "c"),
            ("/a?b", "text/plain", "d"),
        ] {
            assert_ne!(first, digest(uri, media, body).await, "{uri} {media} {body}");
        }
    }

    #[actix_web::test]
    async fn bad_idempotency_keys_are_refused() {
        for key in ["", "a b", "schl\u{fc}ssel", &"x".repeat(256)] {
            let request = TestRequest::post().insert_header(("Idempotency-Key", key));
            assert_eq!(submit(request, 5).await.unwrap_err().kind(), ErrorKind::Malformed, "{key}");
        }
        let twice = TestRequest::post().append_header(("Idempotency-Key", "a")).append_header(("Idempotency-Key", "a"));
        assert_eq!(submit(twice, 5).await.unwrap_err().kind(), ErrorKind::Malformed);
        let longest = TestRequest::post().insert_header(("Idempotency-Key", "x".repeat(255)));
        assert!(submit(longest, 5).await.unwrap().idempotency.is_some());
    }
}
