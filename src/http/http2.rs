//! HTTP/2: hyper in front of the same application that actix-http serves over HTTP/1.1, because its limits can be set.
//!
//! actix-http takes windows and nothing else: any number of streams, and 16 MiB of header fields each, which half a megabyte of compressed octets
//! makes 27 MiB of memory. Here a connection holds a bounded amount whatever its client does. How connections come in is in `entrance.rs`, how
//! they are ended in `connection.rs`.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_http::body::{BodySize, BoxBody, MessageBody as _};
use actix_http::error::PayloadError;
use actix_http::header::{HeaderName, HeaderValue};
use actix_http::{HttpMessage as _, Method, Payload, Request, Response, Uri, Version};
use actix_service::Service;
use actix_web::web::Bytes;
use futures_util::Stream;
use hyper::StatusCode;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::CONTENT_LENGTH;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::connection::{Activity, Answering, Attempt, Breaks, Connection, Transport};
use super::entrance::client_certificate;

/// The most requests at once on one connection.
const STREAMS: u32 = 128;
/// The most octets of a request's header fields, each counted with 32 more (RFC 9113, section 6.5.2).
const HEADERS: u32 = 32 * 1024;
/// The most header fields, about as many as the other library takes over HTTP/1.1: each takes 400 octets whatever is in it.
const FIELDS: usize = 128;
/// How many octets of a body, and of all bodies of a connection, may arrive before somebody reads them: a CSR fits.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// How many octets of an answer wait for the client to allow more.
const UNSENT: usize = 64 * 1024;
/// The most requests that are reset before anybody looked at them.
const UNSEEN_RESETS: usize = 20;
/// The most requests that are reset because of what the client sent, those beyond [`STREAMS`] among them.
const ERRORS: usize = 256;

/// Runs what the library does beside a connection on the same thread.
#[derive(Clone, Copy, Debug)]
struct SameThread;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for SameThread {
    fn execute(&self, future: F) {
        drop(actix_web::rt::spawn(future));
    }
}

/// Serves a connection until it ends.
pub(super) async fn serve<S, R>(connection: Connection, peer: Option<SocketAddr>, application: Rc<S>)
where
    S: Service<Request, Response = R> + 'static,
    R: Into<Response<BoxBody>>,
    S::Error: Into<Response<BoxBody>>,
{
    let activity = connection.activity();
    let certificate = match connection.transport() {
        Transport::Tls(stream) => client_certificate(stream),
        Transport::Plain(_) => None,
    };
    let answer = move |request: hyper::Request<Incoming>| {
        let (activity, certificate, application) = (Rc::clone(&activity), certificate.clone(), Rc::clone(&application));
        async move {
            // Counted as given up unless it comes to its answer.
            let attempt = activity.attempt();
            let is_head = request.method() == hyper::Method::HEAD;
            let request = match translate(request, peer, &attempt) {
                Ok(request) => request,
                Err(status) => {
                    attempt.done();
                    return Ok::<_, Infallible>(refused(status));
                }
            };
            request.extensions_mut().insert(Rc::clone(&activity));
            if let Some(certificate) = certificate {
                request.extensions_mut().insert(certificate);
            }
            let response = application.call(request).await.map_or_else(Into::into, Into::into);
            attempt.done();
            Ok(translate_back(response, is_head, &activity))
        }
    };
    let served = Builder::new(SameThread)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(UNSENT)
        .max_pending_accept_reset_streams(UNSEEN_RESETS)
        .max_local_error_reset_streams(ERRORS)
        .serve_connection(TokioIo::new(connection), service_fn(answer))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP/2 connection ended");
    }
}

/// Makes the library's request one that the application takes; they name the same things by types of two versions.
///
/// # Errors
/// The status for a request with too many fields, or that the application's own types cannot say.
fn translate(
    request: hyper::Request<Incoming>,
    peer: Option<SocketAddr>,
    attempt: &Attempt,
) -> Result<Request, StatusCode> {
    let (parts, body) = request.into_parts();
    if parts.headers.len() > FIELDS {
        return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    let payload: Payload = if body.is_end_stream() {
        Payload::None
    } else {
        Payload::Stream { payload: Box::pin(Received { body, breaks: attempt.breaks() }) }
    };
    let mut request = Request::with_payload(payload);
    let head = request.head_mut();
    head.method = Method::from_bytes(parts.method.as_str().as_bytes()).map_err(unspeakable)?;
    head.uri = uri(&parts.uri).ok_or(StatusCode::BAD_REQUEST)?;
    head.version = Version::HTTP_2;
    head.peer_addr = peer;
    for (name, value) in &parts.headers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).map_err(unspeakable)?;
        head.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).map_err(unspeakable)?);
    }
    Ok(request)
}

fn unspeakable(error: impl std::error::Error) -> StatusCode {
    tracing::debug!(%error, "a request over HTTP/2 is not well-formed");
    StatusCode::BAD_REQUEST
}

fn uri(uri: &hyper::Uri) -> Option<Uri> {
    let mut parts = actix_web::http::uri::Parts::default();
    if let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) {
        parts.scheme = Some(scheme.parse().ok()?);
        parts.authority = Some(authority.as_str().parse().ok()?);
    }
    parts.path_and_query = uri.path_and_query().map(|path| path.as_str().parse()).transpose().ok()?;
    Uri::from_parts(parts).ok()
}

fn refused(status: StatusCode) -> hyper::Response<Sent> {
    let mut response = hyper::Response::new(Sent { body: BoxBody::new(()), rest: Some(0), answering: None });
    *response.status_mut() = status;
    response
}

fn translate_back(response: Response<BoxBody>, is_head: bool, activity: &Rc<Activity>) -> hyper::Response<Sent> {
    let (head, body) = response.into_parts();
    let size = body.size();
    let has_body = !is_head && !matches!(size, BodySize::None | BodySize::Sized(0));
    let sent = if has_body {
        let rest = if let BodySize::Sized(octets) = size { Some(octets) } else { None };
        Sent { body, rest, answering: Some(activity.answering()) }
    } else {
        Sent { body: BoxBody::new(()), rest: Some(0), answering: None }
    };
    let mut response = hyper::Response::new(sent);
    *response.status_mut() = StatusCode::from_u16(head.status().as_u16()).unwrap_or_default();
    for (name, value) in head.headers() {
        // Connections are the library's matter; so are lengths.
        if matches!(name.as_str(), "connection" | "transfer-encoding" | "upgrade" | "keep-alive" | "content-length") {
            continue;
        }
        let name = hyper::header::HeaderName::from_bytes(name.as_str().as_bytes());
        let value = hyper::header::HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            response.headers_mut().append(name, value);
        }
    }
    if let BodySize::Sized(octets) = size {
        response.headers_mut().insert(CONTENT_LENGTH, octets.into());
    }
    response
}

/// The body of a request.
struct Received {
    body: Incoming,
    breaks: Breaks,
}

impl Stream for Received {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(context)) else { return Poll::Ready(None) };
            match frame.map(Frame::into_data) {
                Ok(Ok(octets)) => return Poll::Ready(Some(Ok(octets))),
                // Trailers, which nobody reads.
                Ok(Err(_other)) => {}
                Err(error) => {
                    this.breaks.off();
                    return Poll::Ready(Some(Err(PayloadError::Incomplete(Some(io::Error::other(error))))));
                }
            }
        }
    }
}

/// The body of an answer; asked for more whenever the client has taken what there was.
struct Sent {
    body: BoxBody,
    /// What is left, if the length is known.
    rest: Option<u64>,
    answering: Option<Answering>,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        if let Some(answering) = &this.answering {
            answering.goes_on();
        }
        let Some(octets) = ready!(Pin::new(&mut this.body).poll_next(context)) else { return Poll::Ready(None) };
        match octets {
            Ok(octets) => {
                this.rest = this.rest.map(|rest| rest.saturating_sub(octets.len() as u64));
                Poll::Ready(Some(Ok(Frame::data(octets))))
            }
            Err(error) => {
                tracing::error!(%error, "an answer broke off");
                Poll::Ready(Some(Err(io::Error::other(error.to_string()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.rest.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use actix_http::body::to_bytes;

    use super::*;

    fn activity() -> Rc<Activity> {
        Rc::new(Activity::new(true))
    }

    fn answer(octets: &'static str) -> Response<BoxBody> {
        let mut response = Response::with_body(actix_http::StatusCode::CREATED, BoxBody::new(octets));
        for (name, value) in [("location", "/a"), ("connection", "close"), ("link", "<b>"), ("link", "<c>")] {
            response.headers_mut().append(name.parse().unwrap(), value.parse().unwrap());
        }
        response
    }

    #[actix_web::test]
    async fn an_answer_keeps_status_fields_and_length_but_nothing_about_the_connection() {
        let mut response = translate_back(answer("whole"), false, &activity());
        assert_eq!(response.status(), 201);
        let headers = response.headers();
        assert_eq!((&headers["location"], &headers["content-length"]), (&"/a".parse().unwrap(), &"5".parse().unwrap()));
        assert_eq!(headers.get_all("link").iter().count(), 2);
        assert!(!headers.contains_key("connection"));
        assert_eq!(response.body().size_hint().exact(), Some(5));
        let body = response.body_mut();
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "whole");
        assert!(body.is_end_stream(), "the last octets end the stream");
    }

    #[actix_web::test]
    async fn an_answer_to_head_has_the_length_and_no_octets() {
        let response = translate_back(answer("whole"), true, &activity());
        assert_eq!(response.headers()["content-length"], "5");
        assert!(response.body().is_end_stream());
        assert!(to_bytes(response.into_body().body).await.unwrap().is_empty());
    }

    #[test]
    fn addresses_are_the_same_on_both_sides() {
        for text in ["https://ca.internal:8443/a/b?c=d%20e", "/only/a/path", "*"] {
            assert_eq!(uri(&text.parse().unwrap()).unwrap().to_string(), text);
        }
    }
}
