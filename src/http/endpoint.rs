//! One entry of the table of routes: method, path, handler, and what it asks of its caller, tied together by types.
//!
//! [`endpoint`] takes the handler only if its first argument is the proof of the declared access, and runs the check before anything
//! else of the request is read. There is no other way into the table.

use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::{FromRequest, Handler, HttpMessage as _, HttpRequest, HttpResponse, Responder, Route, web};
use utoipa::openapi::path::{HttpMethod, Operation};
use utoipa::openapi::{RefOr, Schema};

use super::admission::{self, Work};
use super::extract::body::discard;
use super::extract::caller::{Access, record_unreadable};
use crate::auth::Permission;
use crate::error::ErrorKind;

/// A listener of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Everything except metrics.
    Api,
    /// Only what relying parties fetch.
    Public,
    /// Metrics.
    Metrics,
}

/// Schemas by name, as utoipa collects them.
pub(super) type Schemas = Vec<(String, RefOr<Schema>)>;

/// The path of the entry that a request was matched to, in its extensions: to match it once more for logs and metrics costs as much as
/// many a handler.
#[derive(Clone, Debug)]
pub(super) struct MatchedPath(pub(super) Arc<str>);

/// An entry of the table.
pub struct Endpoint {
    /// The method; a `GET` entry also answers `HEAD`.
    pub method: Method,
    /// The path with its parameters in braces, as in the OpenAPI document.
    pub path: String,
    /// The permission that is needed; `None` for a public path.
    pub permission: Option<Permission>,
    /// The errors it can answer with, beside those that follow from its access.
    pub errors: &'static [ErrorKind],
    /// The listeners that serve it.
    pub listeners: &'static [Listener],
    pub(super) operation: fn() -> Operation,
    pub(super) tags: fn() -> Vec<&'static str>,
    pub(super) schemas: fn(&mut Schemas),
    pub(super) document_method: HttpMethod,
    work: Option<Work>,
    route: Box<dyn Fn(Method, Work) -> Route>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {:?} {:?}", self.method, self.path, self.permission, self.listeners)
    }
}

/// Arguments of a handler that start with `First`.
pub trait StartsWith<First> {}

macro_rules! starts_with {
    ($($rest:ident)*) => {
        impl<First, $($rest),*> StartsWith<First> for (First, $($rest,)*) {}
    };
}
starts_with!();
starts_with!(B);
starts_with!(B C);
starts_with!(B C D);
starts_with!(B C D E);
starts_with!(B C D E F);

/// Makes an entry. `P` is utoipa's description of the handler and names method and path, `G` what it asks of its caller.
///
/// utoipa has no public name for the two traits that give a handler's schemas and tags; its own macros use the same hidden ones.
pub(super) fn endpoint<G, P, H, A>(_description: P, handler: H) -> Endpoint
where
    G: Access,
    P: utoipa::Path + utoipa::__dev::SchemaReferences + utoipa::__dev::Tags<'static>,
    H: Handler<A>,
    H::Output: Responder + 'static,
    A: FromRequest + StartsWith<G::Proof> + 'static,
{
    let document_method = P::methods().into_iter().next().unwrap_or(HttpMethod::Get);
    let method = method(&document_method);
    let path: Arc<str> = P::path().into();
    let route = move |method: Method, work: Work| {
        let (handler, path) = (handler.clone(), Arc::clone(&path));
        Route::new().method(method).to(move |request: HttpRequest, payload: web::Payload| {
            let handler = handler.clone();
            request.extensions_mut().insert(MatchedPath(Arc::clone(&path)));
            async move { run::<G, H, A>(handler, request, payload, work).await }
        })
    };
    Endpoint {
        method,
        path: P::path(),
        permission: G::PERMISSION,
        errors: &[],
        listeners: &[Listener::Api],
        operation: P::operation,
        tags: P::tags,
        schemas: P::schemas,
        document_method,
        work: None,
        route: Box::new(route),
    }
}

/// Admits the request, then the caller, then reads the arguments, then calls the handler.
async fn run<G, H, A>(handler: H, request: HttpRequest, payload: web::Payload, work: Work) -> HttpResponse
where
    G: Access,
    H: Handler<A>,
    H::Output: Responder + 'static,
    A: FromRequest,
{
    let mut payload = payload.into_inner();
    let response = match prepare::<G, A>(&request, &mut payload, work).await {
        Ok(arguments) => handler.call(arguments).await.respond_to(&request).map_into_boxed_body(),
        Err(error) => HttpResponse::from_error(error),
    };
    admission::step_down(&request);
    // Nothing is left when an argument was the body. What memory is short of is not waited for.
    if !admission::is_short_of_memory(&request) {
        discard(&mut payload).await;
    }
    admission::leave(&request);
    response
}

async fn prepare<G: Access, A: FromRequest>(
    request: &HttpRequest,
    payload: &mut Payload,
    work: Work,
) -> Result<A, actix_web::Error> {
    admission::knock(request, work).await?;
    G::admit(request).await?;
    match A::from_request(request, payload).await {
        Ok(arguments) => {
            // Where there was no body, nobody has asked yet.
            admission::enter(request).await?;
            Ok(arguments)
        }
        Err(error) => Err(record_unreadable(request, G::PERMISSION, error.into()).await),
    }
}

impl Endpoint {
    /// States the errors that the handler can answer with.
    pub(super) fn fails(mut self, errors: &'static [ErrorKind]) -> Self {
        self.errors = errors;
        self
    }

    /// States the listeners that serve the entry.
    pub(super) fn on(mut self, listeners: &'static [Listener]) -> Self {
        self.listeners = listeners;
        self
    }

    /// States what kind of work it is, where that does not follow from the method.
    pub(super) fn is(mut self, work: Work) -> Self {
        self.work = Some(work);
        self
    }

    /// Returns what kind of work it is: to ask is to read, all else changes something, unless the table says otherwise.
    #[must_use]
    pub fn work(&self) -> Work {
        self.work.unwrap_or(if self.method.is_safe() { Work::Read } else { Work::Change })
    }

    /// Makes the actix-web routes, one for each of [`Self::methods`].
    pub(super) fn routes(&self) -> impl Iterator<Item = Route> {
        let work = self.work();
        self.methods().into_iter().map(move |method| (self.route)(method, work))
    }

    /// Returns the methods that the entry answers.
    pub(super) fn methods(&self) -> Vec<Method> {
        if self.method == Method::GET { vec![Method::GET, Method::HEAD] } else { vec![self.method.clone()] }
    }
}

fn method(documented: &HttpMethod) -> Method {
    match documented {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Delete => Method::DELETE,
        HttpMethod::Options => Method::OPTIONS,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Trace => Method::TRACE,
    }
}
