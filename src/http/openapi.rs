//! The OpenAPI document, made from the table of routes: what utoipa knows of each handler, and security, errors and headers from the table.

use actix_web::http::Method;
use serde_json::json;
use utoipa::PartialSchema as _;
use utoipa::openapi::path::{Operation, PathsBuilder};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, ContactBuilder, ContentBuilder, HeaderBuilder, InfoBuilder, LicenseBuilder, ObjectBuilder,
    OpenApi, OpenApiBuilder, Ref, RefOr, Response, ResponseBuilder, ServerBuilder, Tag, Type,
};

use super::admission::Work;
use super::endpoint::{Endpoint, Listener};
use super::problem::acme::AcmeProblemDocument;
use super::problem::{self, Problem};
use super::{acme, routes};
use crate::error::ErrorKind;

/// The request id of examples.
const EXAMPLE_ID: &str = "01980d3e-7a44-7b1c-9f2e-0f5f4b6a8c11";
const BEARER: &str = "bearer";
const CLIENT_CERTIFICATE: &str = "client_certificate";

const DESCRIPTION: &str = "\
A certificate authority over HTTP: issues X.509 certificates for certificate signing requests under named profiles, keeps the inventory, \
revokes, publishes CRLs, and writes everything it does into an audit log.\n\n\
**Errors** are problem details (RFC 9457) with a stable `code`; refusals by the issuance policy list every `violation` at once. \
**Unknown fields** and query parameters are refused. **Times** are RFC 3339 in UTC, **durations** like `30s`, `15m`, `36h`, `90d`, \
**serial numbers** lower-case hex, **digests** hex. **Lists** come in pages: pass `next_cursor` as `cursor` until it is null. \
**Idempotency-Key** on a POST that creates: the same key with the same request gives the same answer for 24 hours. \
Every answer carries `X-Request-Id`.";

/// Makes the document.
#[must_use]
pub fn document() -> OpenApi {
    let table: Vec<Endpoint> =
        routes::table().into_iter().filter(|endpoint| endpoint.listeners.contains(&Listener::Api)).collect();
    let mut paths = PathsBuilder::new();
    let mut schemas = vec![("Problem".to_owned(), Problem::schema())];
    <Problem as utoipa::ToSchema>::schemas(&mut schemas);
    schemas.push(("AcmeProblem".to_owned(), AcmeProblemDocument::schema()));
    <AcmeProblemDocument as utoipa::ToSchema>::schemas(&mut schemas);
    for endpoint in &table {
        let item = utoipa::openapi::PathItem::new(endpoint.document_method.clone(), operation(endpoint));
        paths = paths.path(endpoint.path.clone(), item);
        (endpoint.schemas)(&mut schemas);
    }
    schemas.sort_by(|(left, _), (right, _)| left.cmp(right));
    schemas.dedup_by(|(left, _), (right, _)| left == right);
    let components =
        ComponentsBuilder::new().schemas_from_iter(schemas).security_scheme(BEARER, bearer_scheme()).security_scheme(
            CLIENT_CERTIFICATE,
            SecurityScheme::MutualTls {
                description: Some(
                    "A TLS client certificate from a configured CA; its revocation is checked on each request."
                        .to_owned(),
                ),
                deprecated: None,
                extensions: None,
            },
        );
    OpenApiBuilder::new()
        .info(info())
        .servers(Some([ServerBuilder::new()
            .url("/")
            .description(Some("The service that serves this document."))
            .build()]))
        .tags(Some(tags()))
        .paths(paths)
        .components(Some(components.build()))
        .build()
}

/// Writes the document as indented JSON that ends in a newline.
///
/// # Errors
/// `Internal` when it cannot be encoded.
pub fn document_json() -> crate::Result<String> {
    let mut text = serde_json::to_string_pretty(&document())
        .map_err(|error| crate::Error::internal("the OpenAPI document cannot be encoded").with_source(error))?;
    text.push('\n');
    Ok(text)
}

fn info() -> utoipa::openapi::Info {
    InfoBuilder::new()
        .title("Chancery")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .contact(Some(ContactBuilder::new().name(Some("The operator of this service")).build()))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
        .build()
}

fn bearer_scheme() -> SecurityScheme {
    let mut http = Http::new(HttpAuthScheme::Bearer);
    http.description = Some("An API token (`chy_...`), or a JSON Web Token of a configured issuer.".to_owned());
    SecurityScheme::Http(http)
}

fn tags() -> Vec<Tag> {
    [
        ("certificates", "Issue, search, renew and revoke certificates."),
        ("issuers", "CA certificates, their chains and CRLs."),
        ("profiles", "What certificates may contain."),
        ("tokens", "API tokens."),
        ("acme administration", "External account keys, and ACME accounts and orders as operators see them."),
        ("audit", "The audit log."),
        ("tools", "Parsing, statistics, and who the caller is."),
        (
            "relying parties",
            "What anybody needs who verifies certificates; also served without TLS by the public listener.",
        ),
        (
            "acme",
            "RFC 8555 for ACME clients: requests are signed, and errors are problem documents of RFC 8555, section 6.7.",
        ),
        ("operation", "The state of the service, and this document."),
    ]
    .into_iter()
    .map(|(name, description)| TagBuilder::new().name(name).description(Some(description)).build())
    .collect()
}

/// Completes what utoipa knows of a handler by what the table says.
fn operation(endpoint: &Endpoint) -> Operation {
    let mut operation = (endpoint.operation)();
    operation.tags = Some((endpoint.tags)().into_iter().map(str::to_owned).collect());
    operation.security = Some(match endpoint.permission {
        Some(_) => vec![
            SecurityRequirement::new(BEARER, Vec::<String>::new()),
            SecurityRequirement::new(CLIENT_CERTIFICATE, Vec::<String>::new()),
        ],
        None => Vec::new(),
    });
    if let Some(permission) = endpoint.permission {
        let roles: Vec<&str> = permission.roles().iter().map(|role| role.as_str()).collect();
        let needs = format!("Needs the permission `{}`; roles: {}.", permission.as_str(), roles.join(", "));
        operation.description = Some(match operation.description.take() {
            Some(description) => format!("{description}\n\n{needs}"),
            None => needs,
        });
    }
    let is_acme = endpoint.path.starts_with(acme::PREFIX);
    for (status, kinds) in errors_by_status(endpoint) {
        let response = if is_acme { acme_error_response(&kinds) } else { error_response(&kinds) };
        operation.responses.responses.insert(status.to_string(), RefOr::T(response));
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            let id = HeaderBuilder::new()
                .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
                .description(Some("The request's id, as in the log and in the audit log."));
            response.headers.insert("X-Request-Id".to_owned(), RefOr::T(id.build()));
            if is_acme && endpoint.method == Method::POST {
                let nonce = HeaderBuilder::new()
                    .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
                    .description(Some("A nonce for the next request."));
                response.headers.insert("Replay-Nonce".to_owned(), RefOr::T(nonce.build()));
            }
        }
    }
    operation
}

/// Groups what an operation can fail with by its status, in the order of statuses.
fn errors_by_status(endpoint: &Endpoint) -> Vec<(u16, Vec<ErrorKind>)> {
    let mut kinds = endpoint.errors.to_vec();
    if endpoint.permission.is_some() {
        kinds.extend([ErrorKind::Unauthenticated, ErrorKind::Forbidden, ErrorKind::Unavailable]);
        kinds.push(ErrorKind::Internal);
    }
    if endpoint.work() != Work::Free {
        kinds.push(ErrorKind::Overloaded);
    }
    let mut grouped: std::collections::BTreeMap<u16, Vec<ErrorKind>> = std::collections::BTreeMap::new();
    for kind in kinds {
        grouped.entry(kind.entry().status).or_default().push(kind);
    }
    grouped.into_iter().collect()
}

fn error_response(kinds: &[ErrorKind]) -> Response {
    let text = |kind: &ErrorKind| format!("{} (`{}`).", kind.entry().title, kind.entry().code);
    let description = kinds.iter().map(text).collect::<Vec<_>>().join(" ");
    let mut content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
    if let Some(kind) = kinds.first() {
        content = content.example(Some(example(*kind)));
    }
    let mut response = ResponseBuilder::new().description(description).content(problem::MEDIA_TYPE, content.build());
    let header = |name: &str| {
        HeaderBuilder::new()
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .description(Some(name))
            .build()
    };
    for kind in kinds {
        match kind {
            ErrorKind::Unauthenticated => {
                response = response.header("WWW-Authenticate", header("The scheme that is accepted: `Bearer`."))
            }
            ErrorKind::Unavailable | ErrorKind::Overloaded | ErrorKind::RateLimited => {
                response = response.header("Retry-After", header("Seconds after which the same request may succeed."));
            }
            ErrorKind::Malformed
            | ErrorKind::BadCsr
            | ErrorKind::Forbidden
            | ErrorKind::NotFound
            | ErrorKind::MethodNotAllowed
            | ErrorKind::NotAcceptable
            | ErrorKind::Conflict
            | ErrorKind::PayloadTooLarge
            | ErrorKind::UnsupportedMediaType
            | ErrorKind::PolicyViolation
            | ErrorKind::IdempotencyKeyReused
            | ErrorKind::Configuration
            | ErrorKind::Internal => {}
        }
    }
    response.build()
}

/// Describes failures in the form of RFC 8555, section 6.7.
fn acme_error_response(kinds: &[ErrorKind]) -> Response {
    let text = |kind: &ErrorKind| format!("{} (`{}` and more special types).", kind.entry().title, kind.entry().acme);
    let description = kinds.iter().map(text).collect::<Vec<_>>().join(" ");
    let mut content = ContentBuilder::new().schema(Some(Ref::from_schema_name("AcmeProblem")));
    if let Some(kind) = kinds.first() {
        let error = crate::error::Error::new(*kind, acme_example_detail(*kind));
        content = content.example(serde_json::to_value(AcmeProblemDocument::of(&error, Some(EXAMPLE_ID))).ok());
    }
    let mut response = ResponseBuilder::new().description(description).content(problem::MEDIA_TYPE, content.build());
    let passes = |kind: &ErrorKind| {
        matches!(kind, ErrorKind::Unavailable | ErrorKind::Overloaded | ErrorKind::RateLimited | ErrorKind::Internal)
    };
    if kinds.iter().any(passes) {
        let header = HeaderBuilder::new()
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .description(Some("Seconds after which the same request may succeed."));
        response = response.header("Retry-After", header.build());
    }
    response.build()
}

fn example(kind: ErrorKind) -> serde_json::Value {
    let entry = kind.entry();
    let mut example = json!({
        "type": problem::type_uri(entry.code),
        "title": entry.title,
        "status": entry.status,
        "detail": example_detail(kind),
        "code": entry.code,
        "request_id": EXAMPLE_ID,
    });
    if kind == ErrorKind::PolicyViolation
        && let Some(object) = example.as_object_mut()
    {
        let violation = json!({
            "code": "name_not_allowed",
            "field": "subject_alt_names[0]",
            "value": "www.example.org",
            "rule": "profiles.server.dns.allow",
            "message": example_detail(kind),
        });
        object.insert("violations".to_owned(), json!([violation]));
    }
    example
}

const fn acme_example_detail(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Malformed => "the payload is empty; this resource takes an object",
        ErrorKind::Unauthenticated => "the account can be used no more: it was deactivated by its holder",
        ErrorKind::Forbidden => "an account may be asked for with its own key only",
        ErrorKind::NotFound => "there is no order `12` of this account",
        ErrorKind::Conflict => "the new key is that of another account; take one that no account has",
        ErrorKind::UnsupportedMediaType => "`application/json` is not taken here; accepted are application/jose+json",
        ErrorKind::BadCsr
        | ErrorKind::MethodNotAllowed
        | ErrorKind::NotAcceptable
        | ErrorKind::PayloadTooLarge
        | ErrorKind::PolicyViolation
        | ErrorKind::IdempotencyKeyReused
        | ErrorKind::RateLimited
        | ErrorKind::Unavailable
        | ErrorKind::Overloaded
        | ErrorKind::Configuration
        | ErrorKind::Internal => example_detail(kind),
    }
}

const fn example_detail(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Malformed => "unknown field `profil`; known are `csr`, `profile`, `issuer` (at `profil`)",
        ErrorKind::BadCsr => "the signature of the request does not verify",
        ErrorKind::Unauthenticated => "the request has no credential",
        ErrorKind::Forbidden => {
            "the role `auditor` does not have the permission `certificates.issue`; roles that have it: administrator, operator, requester"
        }
        ErrorKind::NotFound => "there is no certificate `0198a4`",
        ErrorKind::MethodNotAllowed => "`/api/v1/certificates` does not take `PUT`; allowed are GET, HEAD, POST",
        ErrorKind::NotAcceptable => {
            "nothing here matches `Accept`; on offer are application/json, application/x-pem-file"
        }
        ErrorKind::Conflict => "the certificate is revoked for another reason, `superseded`",
        ErrorKind::PayloadTooLarge => "the body has more than 65536 octets, the limit here",
        ErrorKind::UnsupportedMediaType => {
            "`text/xml` is not taken here; accepted are application/json, application/pkcs10, application/x-pem-file"
        }
        ErrorKind::PolicyViolation => {
            "the DNS name `www.example.org` matches no allowed pattern; allowed: `**.internal`"
        }
        ErrorKind::IdempotencyKeyReused => "the idempotency key `a1` was used before with another request",
        ErrorKind::RateLimited => "too many requests",
        ErrorKind::Unavailable => "the database cannot be reached",
        ErrorKind::Overloaded => "more is asked for than the service can do in time; nothing was done, try again later",
        ErrorKind::Configuration | ErrorKind::Internal => {
            "the request could not be completed; the operator finds the cause in the log under this request id"
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn operations() -> Vec<(String, String, Value)> {
        let document: Value = serde_json::from_str(&document_json().unwrap()).unwrap();
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                operations.push((path.clone(), method.clone(), operation.clone()));
            }
        }
        operations
    }

    #[test]
    fn every_entry_of_the_table_on_the_api_is_an_operation() {
        let expected = routes::table().iter().filter(|endpoint| endpoint.listeners.contains(&Listener::Api)).count();
        assert_eq!(operations().len(), expected);
    }

    #[test]
    fn every_operation_has_an_identifier_a_summary_a_description_and_a_tag() {
        let mut identifiers = BTreeSet::new();
        for (path, method, operation) in operations() {
            for field in ["operationId", "summary", "description"] {
                assert!(operation[field].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}: {field}");
            }
            assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{method} {path}");
            assert!(identifiers.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}");
        }
    }

    #[test]
    fn every_operation_states_its_security_and_its_errors() {
        for (path, method, operation) in operations() {
            let security = operation["security"].as_array().expect("security");
            assert_eq!(security.is_empty(), !path.starts_with("/api/"), "{method} {path}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(response["headers"]["X-Request-Id"].is_object(), "{method} {path} {status}");
                if !status.starts_with(['2', '3']) && path.starts_with("/api/") {
                    assert!(
                        response["content"]["application/problem+json"]["example"]["code"].is_string(),
                        "{method} {path} {status}"
                    );
                }
            }
            if path.starts_with("/api/") {
                assert!(
                    operation["responses"]["401"].is_object() && operation["responses"]["403"].is_object(),
                    "{method} {path}"
                );
            }
        }
    }

    #[test]
    fn every_body_and_every_successful_json_answer_has_an_example() {
        for (path, method, operation) in operations() {
            if let Some(content) = operation["requestBody"]["content"].as_object() {
                for (media_type, content) in content {
                    let has = content["example"] != Value::Null || content["examples"] != Value::Null;
                    assert!(has, "{method} {path}: request {media_type}");
                }
            }
            for (status, response) in operation["responses"].as_object().unwrap() {
                let Some(content) = response["content"].get("application/json") else { continue };
                let has = content["example"] != Value::Null || content["examples"] != Value::Null;
                assert!(has, "{method} {path}: {status}");
            }
        }
    }

    #[test]
    fn no_two_types_share_the_name_of_a_schema() {
        let mut schemas = Vec::new();
        for endpoint in routes::table() {
            (endpoint.schemas)(&mut schemas);
        }
        let mut by_name = std::collections::BTreeMap::new();
        for (name, schema) in schemas {
            let text = serde_json::to_string(&schema).unwrap();
            assert_eq!(by_name.entry(name.clone()).or_insert_with(|| text.clone()), &text, "{name}");
        }
    }

    #[test]
    fn the_document_is_the_same_each_time() {
        assert_eq!(document_json().unwrap(), document_json().unwrap());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document: Value = serde_json::from_str(&document_json().unwrap()).unwrap();
        let mut pending = vec![&document];
        let mut references = 0;
        while let Some(value) = pending.pop() {
            match value {
                Value::Array(values) => pending.extend(values),
                Value::Object(object) => {
                    if let Some(Value::String(reference)) = object.get("$ref") {
                        references += 1;
                        let pointer = reference.strip_prefix('#').expect("a local reference");
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    pending.extend(object.values());
                }
                _ => {}
            }
        }
        assert!(references > 20);
    }
}
