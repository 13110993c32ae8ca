//! What surrounds every request: its id, problem details for whatever failed, one line of access log, metrics, security headers.
//!
//! `tracing-actix-web` is not used: it opens a span with a dozen fields per request, where one line at the end says the same.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpResponse, web};

use super::connection::{Activity, Ongoing, of_connection};
use super::endpoint::MatchedPath;
use super::extract::{PrincipalName, RequestId, remote_address};
use super::problem::OnlyCounted;
use super::routes::path_of_pattern;
use super::state::InFlight;
use super::{AppState, acme, problem};
use crate::error::{Error, ErrorKind};

/// How many octets of a body are given to the HTTP library at a time.
const SLICE: usize = 32 * 1024;

/// The name of the request id's header.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request an id (always our own: one that a client chose would let it write into the audit log), and sees it to its answer.
pub(super) async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let started = Instant::now();
    let id = uuid::Uuid::now_v7().to_string();
    request.extensions_mut().insert(RequestId(id.clone()));
    let state = request.app_data::<web::Data<AppState>>().cloned();
    let remote = state.as_ref().and_then(|state| remote_address(request.head(), &state.settings.trusted_proxies));
    let form = if acme::is_acme(request.request()) { problem::acme::answer } else { problem::answer };
    let in_flight = state.as_ref().map(|state| state.stopping.enter());
    let ongoing = of_connection::<Rc<Activity>>(request.request()).map(|activity| activity.begin());
    let mut response = match in_flight {
        Some(None) => ServiceResponse::new(request.into_parts().0, form(&stopping(), &id)),
        in_flight => {
            let kept = Kept { _in_flight: in_flight.flatten(), _ongoing: ongoing };
            keep_in_flight(with_problem(next.call(request).await?, &id, form), kept)
        }
    };
    let api = response.request().path().starts_with("/api/");
    decorate(response.headers_mut(), &id, api);
    if let Some(state) = state.as_ref().filter(|_| acme::is_acme(response.request())) {
        acme::complete(&mut response, state);
    }
    let mut response = response.map_body(|_, body| slowly(body));
    if state.is_some_and(|state| state.stopping.has_begun()) {
        // Idle connections would otherwise be waited for.
        response.response_mut().head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
    }
    record(&response, &id, remote.as_deref(), started);
    Ok(response)
}

fn stopping() -> Error {
    Error::new(ErrorKind::Unavailable, "the service is stopping; try again")
}

/// Marks a request, in its extensions, that was refused because there are too many.
struct Shed;

/// What lives until a request is answered.
struct Kept {
    _in_flight: Option<InFlight>,
    _ongoing: Option<Ongoing>,
}

/// Counts a streamed answer as in flight until its end; any other is written at once.
fn keep_in_flight(response: ServiceResponse<BoxBody>, kept: Kept) -> ServiceResponse<BoxBody> {
    if response.response().body().size() != BodySize::Stream {
        return response;
    }
    response.map_body(|_, body| BoxBody::new(Streaming { body, _kept: kept }))
}

/// A streamed body that keeps its request in flight.
struct Streaming {
    body: BoxBody,
    _kept: Kept,
}

impl MessageBody for Streaming {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<web::Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(context)
    }
}

/// Has a large body written slice by slice: the HTTP library copies whatever it is given for each connection, and a CRL of a million certificates in
/// the hands of a hundred slow clients would fill the memory.
fn slowly(body: BoxBody) -> BoxBody {
    match body.size() {
        BodySize::Sized(octets) if octets > SLICE as u64 => match body.try_into_bytes() {
            Ok(rest) => BoxBody::new(Sliced { rest }),
            Err(body) => body,
        },
        BodySize::None | BodySize::Sized(_) | BodySize::Stream => body,
    }
}

/// A body that is written slice by slice.
struct Sliced {
    rest: web::Bytes,
}

impl MessageBody for Sliced {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Result<web::Bytes, Self::Error>>> {
        let rest = &mut self.get_mut().rest;
        let slice = rest.split_to(rest.len().min(SLICE));
        Poll::Ready((!slice.is_empty()).then_some(Ok(slice)))
    }
}

/// Replaces the answer of a failure by its problem details, in the form of the server that was asked, which now know the request id.
fn with_problem(
    response: ServiceResponse<impl MessageBody + 'static>,
    id: &str,
    form: fn(&Error, &str) -> HttpResponse,
) -> ServiceResponse<BoxBody> {
    let Some(failure) = response.response().error() else { return response.map_into_boxed_body() };
    let mut answer = match failure.as_error::<Error>() {
        Some(error) => {
            if error.kind() == ErrorKind::Overloaded {
                response.request().extensions_mut().insert(Shed);
            }
            form(error, id)
        }
        None => form(&problem::from_actix(failure), id),
    };
    if let Some(allow) = response.headers().get(header::ALLOW) {
        answer.headers_mut().insert(header::ALLOW, allow.clone());
    }
    let (request, _) = response.into_parts();
    ServiceResponse::new(request, answer)
}

fn decorate(headers: &mut HeaderMap, id: &str, api: bool) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if api && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

fn record(response: &ServiceResponse<BoxBody>, id: &str, remote: Option<&str>, started: Instant) {
    let elapsed = started.elapsed();
    let request = response.request();
    let extensions = request.extensions();
    let matched = extensions.get::<MatchedPath>().map(|matched| Arc::clone(&matched.0));
    let route = matched.unwrap_or_else(|| {
        request.match_pattern().map_or_else(|| "unmatched".to_owned(), |pattern| path_of_pattern(&pattern)).into()
    });
    let status = response.status();
    let method = method_label(request.method());
    let principal = extensions.get::<PrincipalName>().map(|name| name.0.as_str());
    macro_rules! log {
        ($level:ident) => {
            tracing::$level!(
                target: "chancery::access",
                method,
                route = &*route,
                status = status.as_u16(),
                duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
                principal,
                remote,
                request_id = id,
                "request answered"
            )
        };
    }
    // A line for each request that is refused would feed the overload; `admission.rs` and `problem.rs` tell of them together.
    let is_counted = extensions.contains::<Shed>() || response.response().extensions().contains::<OnlyCounted>();
    let quiet = is_fetch(&route) && !status.is_server_error() || is_counted;
    if quiet {
        log!(debug)
    } else {
        log!(info)
    }
    Series::with(method, &route, status, |series| {
        series.requests.increment(1);
        series.duration.record(elapsed.as_secs_f64());
    });
}

/// Route, method and status.
type Labels = (Arc<str>, &'static str, u16);

/// The metrics of the requests of one method, route and status. There are as many as the table of routes and the errors allow.
struct Series {
    requests: metrics::Counter,
    duration: metrics::Histogram,
}

impl Series {
    /// Lends the series, which each thread keeps: to find them by their names costs more than to count.
    fn with(method: &'static str, route: &Arc<str>, status: StatusCode, work: impl FnOnce(&Self)) {
        thread_local! {
            static KNOWN: RefCell<BTreeMap<Labels, Series>> = const { RefCell::new(BTreeMap::new()) };
        }
        KNOWN.with_borrow_mut(|known| {
            let key = (Arc::clone(route), method, status.as_u16());
            work(known.entry(key).or_insert_with(|| Self {
                requests: metrics::counter!("chancery_http_requests_total", "method" => method, "route" => Arc::clone(route), "status" => status.as_str().to_owned()),
                duration: metrics::histogram!("chancery_http_request_duration_seconds", "route" => Arc::clone(route)),
            }));
        });
    }
}

/// Whether relying parties fetch it: by the thousand in a second, without a credential, each the same as the others. They are counted, and
/// written down only when asked for: a line each would cost more than the answer, and let anybody fill a disk.
fn is_fetch(route: &str) -> bool {
    route.starts_with("/ocsp/") || route.starts_with("/pki/")
}

/// Returns the method as a label. An extension method is a text of the client's choice: it would let anybody make time series.
const fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use actix_web::App;
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, call_service, init_service, read_body};
    use serde_json::Value;

    use super::*;
    use crate::http::endpoint::Listener;
    use crate::http::routes;

    async fn answer(request: TestRequest) -> ServiceResponse<BoxBody> {
        let application = App::new()
            .configure(|config| routes::configure(config, Listener::Api, true))
            .route("/broken", web::get().to(async || Err::<HttpResponse, _>(Error::internal("secret detail"))))
            .route("/actix", web::get().to(async |_: web::Path<u8>| HttpResponse::Ok()))
            .wrap(from_fn(observe));
        call_service(&init_service(application).await, request.to_request()).await
    }

    async fn problem(request: TestRequest) -> (StatusCode, HeaderMap, Value) {
        let response = answer(request).await;
        let (status, headers) = (response.status(), response.headers().clone());
        assert_eq!(headers.get("content-type").unwrap(), problem::MEDIA_TYPE);
        let document: Value = serde_json::from_slice(&read_body(response).await).unwrap();
        assert_eq!(document["request_id"], headers.get("x-request-id").unwrap().to_str().unwrap());
        assert_eq!(document["status"], status.as_u16());
        (status, headers, document)
    }

    #[actix_web::test]
    async fn every_answer_has_an_id_of_ours_and_is_not_sniffed() {
        let response = answer(TestRequest::get().uri("/healthz").insert_header(("X-Request-Id", "mine"))).await;
        assert_eq!(response.status(), 200);
        let id = response.headers().get("x-request-id").unwrap().to_str().unwrap().to_owned();
        assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 7);
        assert_eq!(response.headers().get("x-content-type-options").unwrap(), "nosniff");
    }

    #[actix_web::test]
    async fn a_large_body_is_written_slice_by_slice() {
        let octets: Vec<u8> = (0..100_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let mut body = slowly(BoxBody::new(web::Bytes::from(octets.clone())));
        assert_eq!(body.size(), BodySize::Sized(100_000));
        let mut written = Vec::new();
        while let Some(slice) = std::future::poll_fn(|context| Pin::new(&mut body).poll_next(context)).await {
            let slice = slice.unwrap();
            assert!(slice.len() <= SLICE);
            written.extend_from_slice(&slice);
        }
        assert_eq!(written, octets);
        assert!(slowly(BoxBody::new(web::Bytes::from_static(b"small"))).try_into_bytes().is_ok());
    }

    #[actix_web::test]
    async fn an_unknown_path_is_a_problem() {
        let (status, headers, document) = problem(TestRequest::get().uri("/api/v1/nothing")).await;
        assert_eq!(status, 404);
        assert_eq!(document["code"], "not_found");
        assert_eq!(headers.get("cache-control").unwrap(), "no-store");
        assert_eq!(problem(TestRequest::get().uri("/pki/a/b.crt")).await.0, 404);
    }

    #[actix_web::test]
    async fn another_method_is_refused_with_those_allowed() {
        let (status, headers, document) =
            problem(TestRequest::default().method(Method::PATCH).uri("/api/v1/certificates")).await;
        assert_eq!(status, 405);
        assert_eq!(headers.get("allow").unwrap(), "POST, GET, HEAD");
        assert_eq!(document["code"], "method_not_allowed");
    }

    #[actix_web::test]
    async fn an_internal_error_shows_the_request_id_only() {
        let (status, _, document) = problem(TestRequest::get().uri("/broken")).await;
        assert_eq!(status, 500);
        assert!(!document.to_string().contains("secret detail"));
    }

    #[actix_web::test]
    async fn errors_of_the_library_are_problems_too() {
        let (status, _, document) = problem(TestRequest::get().uri("/actix")).await;
        assert!(status.is_client_error(), "{status}");
        assert!(document["code"].is_string());
    }

    #[actix_web::test]
    async fn head_answers_like_get() {
        assert_eq!(answer(TestRequest::default().method(Method::HEAD).uri("/healthz")).await.status(), 200);
    }

    #[actix_web::test]
    async fn the_document_and_its_reader_are_served() {
        let response = answer(TestRequest::get().uri("/openapi.json")).await;
        let document: Value = serde_json::from_slice(&read_body(response).await).unwrap();
        assert_eq!(document["info"]["title"], "Chancery");
        assert_eq!(answer(TestRequest::get().uri("/docs")).await.headers().get("location").unwrap(), "/docs/");
        let response = answer(TestRequest::get().uri("/docs/")).await;
        assert!(response.headers().contains_key("content-security-policy"));
        assert!(String::from_utf8_lossy(&read_body(response).await).contains("swagger-ui"));
        let response = answer(TestRequest::get().uri("/docs/swagger-initializer.js")).await;
        assert!(String::from_utf8_lossy(&read_body(response).await).contains("/openapi.json"));
        assert_eq!(problem(TestRequest::get().uri("/docs/../Cargo.toml")).await.0, 404);
    }

    #[actix_web::test]
    async fn a_gated_handler_is_not_reached_without_its_check() {
        // There is no state here, so that nobody can be authenticated: the answer must be the failure, whatever the body is.
        let request = TestRequest::post().uri("/api/v1/certificates").set_payload("not even JSON");
        assert_eq!(problem(request).await.0, 500);
    }
}
