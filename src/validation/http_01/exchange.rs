//! One request and its answer over a connection that is used for nothing else. Everything that the server sends is bounded.

use std::convert::Infallible;
use std::error::Error as _;
use std::pin::pin;

use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::dialer;
use super::super::trail::{Stage, Trail};
use super::target::Target;
use super::unlike;
use crate::ca::acme::validation::ValidationFailure;
use crate::error::AcmeErrorType;

/// The most octets of an answer's head.
const MAXIMUM_HEAD: usize = 16 * 1024;

/// The most fields of an answer's head.
const MAXIMUM_FIELDS: usize = 100;

/// What is the same in every request of a look.
pub(super) struct Asking<'a> {
    /// What stands in `User-Agent`.
    pub(super) user_agent: &'a str,
    /// The most octets that are read of a body.
    pub(super) body_limit: usize,
}

/// What a server answered.
pub(super) struct Answer {
    /// The status.
    pub(super) status: u16,
    /// The value of `Location`, when there is exactly one, in ASCII.
    pub(super) location: Option<String>,
    /// Whether the body has a content coding.
    pub(super) is_encoded: bool,
    /// The body of an answer with the status 200, `None` when it is longer than the limit. Other bodies are not read.
    pub(super) body: Option<Vec<u8>>,
}

/// Sends a GET and reads the answer.
pub(super) async fn get<S>(
    stream: S,
    target: &Target,
    asking: &Asking<'_>,
    trail: &mut Trail,
) -> Result<Answer, ValidationFailure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    trail.enter(Stage::Head);
    let request = request(target, asking)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(MAXIMUM_FIELDS)
        .max_header_size(MAXIMUM_HEAD)
        .max_buf_size(MAXIMUM_HEAD)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|error| in_words(&error))?;
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(|error| in_words(&error))?;
        // The sender lives until the body has been read: without it the connection ends.
        let answer = answer(response, asking.body_limit, trail).await;
        drop(sender);
        answer
    };
    // The connection moves octets while it is polled, and has nothing to say itself: its failures reach the exchange.
    let drive = async {
        drop(connection.await);
        std::future::pending::<Infallible>().await
    };
    match select(pin!(exchange), pin!(drive)).await {
        Either::Left((answer, _)) => answer,
        Either::Right((never, _)) => match never {},
    }
}

fn request(target: &Target, asking: &Asking<'_>) -> Result<Request<Empty<Bytes>>, ValidationFailure> {
    Request::get(&target.path)
        .header(header::HOST, target.authority())
        .header(header::USER_AGENT, asking.user_agent)
        .header(header::ACCEPT, "*/*")
        .header(header::ACCEPT_ENCODING, "identity")
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|_not_a_request| unlike(format!("the path at `{}` cannot be asked for", target.host)))
}

async fn answer(
    response: Response<Incoming>,
    body_limit: usize,
    trail: &mut Trail,
) -> Result<Answer, ValidationFailure> {
    let status = response.status().as_u16();
    let mut locations = response.headers().get_all(header::LOCATION).iter();
    let location = match (locations.next(), locations.next()) {
        (Some(only), None) => only.to_str().ok().map(str::to_owned),
        (None, _) | (Some(_), Some(_)) => None,
    };
    let mut codings = response.headers().get_all(header::CONTENT_ENCODING).iter();
    let is_encoded = codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let body = if status == 200 {
        trail.enter(Stage::Body);
        body(response.into_body(), body_limit).await?
    } else {
        None
    };
    Ok(Answer { status, location, is_encoded, body })
}

/// Reads a body up to a limit.
async fn body(mut incoming: Incoming, limit: usize) -> Result<Option<Vec<u8>>, ValidationFailure> {
    let mut read = Vec::new();
    while let Some(frame) = incoming.frame().await {
        // Trailers are no part of the body.
        if let Ok(data) = frame.map_err(|error| in_words(&error))?.into_data() {
            if read.len().saturating_add(data.len()) > limit {
                return Ok(None);
            }
            read.extend_from_slice(&data);
        }
    }
    Ok(Some(read))
}

/// An error of HTTP in our own words: the server chooses among them, but writes none.
fn in_words(error: &hyper::Error) -> ValidationFailure {
    if error.is_parse() {
        return unlike(format!(
            "what listens there does not speak HTTP/1.1 as it should, or its answer has a head of more than {MAXIMUM_HEAD} octets or \
             {MAXIMUM_FIELDS} fields"
        ));
    }
    let cause = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let what = match cause {
        Some(cause) => dialer::in_words(cause),
        None if error.is_incomplete_message() || error.is_closed() => "connection closed",
        None => "connection failed",
    };
    ValidationFailure::new(
        AcmeErrorType::Connection,
        format!("the connection ended before the HTTP answer was complete: {what}"),
    )
}
