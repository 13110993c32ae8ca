//! THE table of every path: method and path (from the handler's `#[utoipa::path]`), handler, what it asks of its caller, its errors.
//!
//! Both the servers and the OpenAPI document are made from [`table`], so that neither can know a path that the other does not.

use std::collections::BTreeMap;

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, web};

use super::acme;
use super::admission::Work;
use super::endpoint::{Endpoint, Listener, endpoint};
use super::extract::Public;
use super::extract::body::discard;
use super::problem::{shorten, unknown_path};
use crate::auth::permission::{
    ImportCertificates, Inspect, IssueCertificates, ManageAcme, ManageExternalAccountKeys, ManageIssuers, ManageKeys,
    ManageProfiles, ManageTokens, PublishCrl, ReadAcme, ReadAudit, ReadCertificates, ReadExternalAccountKeys,
    ReadIssuers, ReadProfiles, ReadStatistics, ReadTokens, ReleaseCertificates, RenewCertificates, RevokeCertificates,
};
use crate::error::{Error, ErrorKind};
use crate::protocols::acme::{
    accounts as acme_accounts, authorizations as acme_authorizations, certificates as acme_certificates,
    directory as acme_directory, orders as acme_orders,
};
use crate::protocols::rest::acme::{
    accounts as acme_accounts_api, external_account_keys, orders as acme_orders_api, renewal_windows,
};
use crate::protocols::rest::issuers::{creation as issuer_creation, lifecycle as issuer_life};
use crate::protocols::rest::{
    audit, certificate_import, certificates, crls, inspect, inventory, issuers, key_revocation, keys, profiles,
    renewal, revocation, statistics, tokens, whoami,
};
use crate::protocols::{crl, ocsp, operation};

/// Listeners of what probes ask: plain HTTP beside the API, for those that cannot verify its certificate.
const PROBED: &[Listener] = &[Listener::Api, Listener::Metrics];

/// Listeners of what relying parties fetch.
const EVERYWHERE: &[Listener] = &[Listener::Api, Listener::Public];

/// Errors of operations that issue.
const ISSUING: &[ErrorKind] = &[
    ErrorKind::Malformed,
    ErrorKind::BadCsr,
    ErrorKind::NotFound,
    ErrorKind::NotAcceptable,
    ErrorKind::Conflict,
    ErrorKind::PayloadTooLarge,
    ErrorKind::UnsupportedMediaType,
    ErrorKind::PolicyViolation,
    ErrorKind::IdempotencyKeyReused,
];

/// Errors of operations that change something by a JSON body.
const CHANGING: &[ErrorKind] = &[
    ErrorKind::Malformed,
    ErrorKind::NotFound,
    ErrorKind::Conflict,
    ErrorKind::PayloadTooLarge,
    ErrorKind::UnsupportedMediaType,
];

/// Errors of operations that take a proof of possession.
const PROVING: &[ErrorKind] = &[
    ErrorKind::Malformed,
    ErrorKind::BadCsr,
    ErrorKind::PayloadTooLarge,
    ErrorKind::UnsupportedMediaType,
    ErrorKind::PolicyViolation,
];

/// Errors of operations that make a token.
const CREATING: &[ErrorKind] = &[
    ErrorKind::Malformed,
    ErrorKind::Conflict,
    ErrorKind::PayloadTooLarge,
    ErrorKind::UnsupportedMediaType,
    ErrorKind::IdempotencyKeyReused,
];

/// Errors of operations that make issuers and certify CAs.
const MAKING_ISSUERS: &[ErrorKind] = &[
    ErrorKind::Malformed,
    ErrorKind::NotFound,
    ErrorKind::Conflict,
    ErrorKind::PayloadTooLarge,
    ErrorKind::UnsupportedMediaType,
    ErrorKind::PolicyViolation,
    ErrorKind::IdempotencyKeyReused,
];

/// Errors of listings.
const LISTING: &[ErrorKind] = &[ErrorKind::Malformed];

/// Errors of reading one object.
const READING: &[ErrorKind] = &[ErrorKind::Malformed, ErrorKind::NotFound];

/// Errors of reading one object that has several representations.
const NEGOTIATED: &[ErrorKind] = &[ErrorKind::Malformed, ErrorKind::NotFound, ErrorKind::NotAcceptable];

/// Errors of reading one certificate, whose serial number may be that of several.
const NEGOTIATED_OF_SEVERAL: &[ErrorKind] =
    &[ErrorKind::Malformed, ErrorKind::NotFound, ErrorKind::NotAcceptable, ErrorKind::Conflict];

/// Errors of operations on an object without a body.
const ACTING: &[ErrorKind] = &[ErrorKind::Malformed, ErrorKind::NotFound, ErrorKind::Conflict];

/// Errors of signed requests to the ACME server.
const SIGNED: &[ErrorKind] = &[
    ErrorKind::Malformed,
    ErrorKind::Unauthenticated,
    ErrorKind::Forbidden,
    ErrorKind::NotFound,
    ErrorKind::PayloadTooLarge,
    ErrorKind::UnsupportedMediaType,
    ErrorKind::Unavailable,
    ErrorKind::Internal,
];

/// Errors of signed requests to the ACME server that make or change something.
const SIGNED_CHANGE: &[ErrorKind] = &[
    ErrorKind::Malformed,
    ErrorKind::Unauthenticated,
    ErrorKind::Forbidden,
    ErrorKind::NotFound,
    ErrorKind::Conflict,
    ErrorKind::PayloadTooLarge,
    ErrorKind::UnsupportedMediaType,
    ErrorKind::RateLimited,
    ErrorKind::Unavailable,
    ErrorKind::Internal,
];

/// Writes an entry: what it asks of its caller, then the handler.
macro_rules! entry {
    ($access:ty, $($module:ident)::+ / $description:ident / $handler:ident) => {
        endpoint::<$access, _, _, _>($($module)::+::$description, $($module)::+::$handler)
    };
}

/// Returns the table of every path.
#[must_use]
pub fn table() -> Vec<Endpoint> {
    let mut table = certificate_entries();
    table.extend(administration_entries());
    table.extend(acme_administration_entries());
    table.extend(public_entries());
    table.extend(acme_entries());
    table
}

fn certificate_entries() -> Vec<Endpoint> {
    vec![
        entry!(IssueCertificates, certificates / __path_issue / issue).fails(ISSUING).is(Work::Issue),
        entry!(IssueCertificates, certificates / __path_check / check).fails(ISSUING).is(Work::Read),
        entry!(RevokeCertificates, revocation / __path_revoke_matching / revoke_matching).fails(CHANGING),
        entry!(ImportCertificates, certificate_import / __path_import / import).fails(CREATING_NOTHING),
        entry!(ReadCertificates, inventory / __path_list / list).fails(LISTING),
        entry!(ReadCertificates, inventory / __path_read_as / read_as).fails(ACTING),
        entry!(ReadCertificates, inventory / __path_read / read).fails(NEGOTIATED_OF_SEVERAL),
        entry!(RevokeCertificates, revocation / __path_revoke / revoke).fails(CHANGING),
        entry!(ReleaseCertificates, revocation / __path_release / release).fails(ACTING),
        entry!(RenewCertificates, renewal / __path_renew / renew).fails(ISSUING).is(Work::Issue),
        entry!(RevokeCertificates, key_revocation / __path_revoke_key / revoke_key).fails(PROVING),
    ]
}

fn administration_entries() -> Vec<Endpoint> {
    vec![
        entry!(ReadIssuers, issuers / __path_list / list).fails(LISTING),
        entry!(ManageIssuers, issuer_creation / __path_create / create).fails(MAKING_ISSUERS),
        entry!(ReadIssuers, issuers / __path_read / read).fails(READING),
        entry!(ManageIssuers, issuer_life / __path_update / update).fails(CHANGING),
        entry!(ReadIssuers, issuer_life / __path_csr / csr).fails(NEGOTIATED),
        entry!(ManageIssuers, issuer_life / __path_install_certificate / install_certificate).fails(CHANGING),
        entry!(ManageIssuers, issuer_life / __path_roll_over / roll_over).fails(MAKING_ISSUERS),
        entry!(ManageIssuers, issuer_life / __path_cross_sign / cross_sign).fails(MAKING_ISSUERS),
        entry!(ReadIssuers, issuers / __path_certificate / certificate).fails(NEGOTIATED),
        entry!(ReadIssuers, issuers / __path_chain / chain).fails(NEGOTIATED),
        entry!(ReadIssuers, crls / __path_read / read).fails(NEGOTIATED),
        entry!(PublishCrl, crls / __path_publish / publish).fails(ACTING),
        entry!(ManageKeys, keys / __path_list / list),
        entry!(ManageKeys, keys / __path_reseal / reseal).fails(&[ErrorKind::Conflict]),
        entry!(ReadProfiles, profiles / __path_list / list).fails(LISTING),
        entry!(ReadProfiles, profiles / __path_read / read).fails(READING),
        entry!(ManageProfiles, profiles / __path_put / put).fails(CHANGING),
        entry!(ManageProfiles, profiles / __path_delete / delete).fails(ACTING),
        entry!(ReadTokens, tokens / __path_list / list).fails(LISTING),
        entry!(ManageTokens, tokens / __path_create / create).fails(CREATING),
        entry!(ManageTokens, tokens / __path_revoke / revoke).fails(READING),
        entry!(ReadAudit, audit / __path_list / list).fails(LISTING),
        entry!(ReadAudit, audit / __path_verify / verify).fails(LISTING),
        entry!(Inspect, inspect / __path_inspect / inspect).fails(CREATING_NOTHING).is(Work::Read),
        entry!(ReadStatistics, statistics / __path_read / read).fails(LISTING),
        entry!(Inspect, whoami / __path_read / read).fails(LISTING),
    ]
}

/// What operators do about ACME.
fn acme_administration_entries() -> Vec<Endpoint> {
    vec![
        entry!(ReadExternalAccountKeys, external_account_keys / __path_list / list).fails(LISTING),
        entry!(ManageExternalAccountKeys, external_account_keys / __path_create / create).fails(CREATING),
        entry!(ReadExternalAccountKeys, external_account_keys / __path_read / read).fails(READING),
        entry!(ManageExternalAccountKeys, external_account_keys / __path_delete / delete).fails(READING),
        entry!(ReadAcme, acme_accounts_api / __path_list / list).fails(LISTING),
        entry!(ReadAcme, acme_accounts_api / __path_read / read).fails(READING),
        entry!(ManageAcme, acme_accounts_api / __path_update / update).fails(CHANGING),
        entry!(ManageAcme, acme_accounts_api / __path_deactivate / deactivate).fails(READING),
        entry!(ReadAcme, acme_orders_api / __path_list / list).fails(LISTING),
        entry!(ReadAcme, acme_orders_api / __path_read / read).fails(READING),
        entry!(ReadAcme, renewal_windows / __path_list / list).fails(LISTING),
        entry!(ManageAcme, renewal_windows / __path_create / create).fails(CREATING_NOTHING),
        entry!(ManageAcme, renewal_windows / __path_delete / delete).fails(READING),
    ]
}

/// Errors of operations that only look at a body.
const CREATING_NOTHING: &[ErrorKind] =
    &[ErrorKind::Malformed, ErrorKind::PayloadTooLarge, ErrorKind::UnsupportedMediaType];

fn public_entries() -> Vec<Endpoint> {
    let table = vec![
        entry!(Public, crl / __path_issuer_certificate / issuer_certificate)
            .on(EVERYWHERE)
            .fails(&[ErrorKind::NotFound]),
        entry!(Public, crl / __path_issuer_crl / issuer_crl).on(EVERYWHERE).fails(&[ErrorKind::NotFound]),
        // Before that of the shards, whose pattern it matches too.
        entry!(Public, crl / __path_delta_crl / delta_crl).on(EVERYWHERE).fails(&[ErrorKind::NotFound]),
        entry!(Public, crl / __path_shard_crl / shard_crl).on(EVERYWHERE).fails(&[ErrorKind::NotFound]),
        entry!(Public, crl / __path_shard_delta_crl / shard_delta_crl).on(EVERYWHERE).fails(&[ErrorKind::NotFound]),
        entry!(Public, ocsp / __path_ask / ask).on(EVERYWHERE),
        entry!(Public, ocsp / __path_fetch / fetch).on(EVERYWHERE),
        entry!(Public, operation / __path_health / health).on(PROBED),
        entry!(Public, operation / __path_ready / ready).on(PROBED),
        entry!(Public, operation / __path_openapi_document / openapi_document),
        entry!(Public, operation / __path_documentation / documentation),
        entry!(Public, operation / __path_documentation_file / documentation_file).fails(&[ErrorKind::NotFound]),
        entry!(Public, operation / __path_metrics / metrics).on(&[Listener::Metrics]),
    ];
    // From memory or nearly so: these answer however busy the rest is.
    table.into_iter().map(|endpoint| endpoint.is(Work::Free)).collect()
}

/// What ACME clients ask for (RFC 8555, section 7.1). Who they are is proven by signatures within their requests.
fn acme_entries() -> Vec<Endpoint> {
    let table = vec![
        entry!(Public, acme_directory / __path_read / read).fails(LISTING).is(Work::Free),
        entry!(Public, acme_directory / __path_read_signed / read_signed).fails(SIGNED),
        entry!(Public, acme_directory / __path_nonce / nonce).fails(LISTING).is(Work::Free),
        entry!(Public, acme_directory / __path_nonce_signed / nonce_signed).fails(SIGNED),
        entry!(Public, acme_accounts / __path_create / create).fails(SIGNED_CHANGE),
        entry!(Public, acme_orders / __path_create / create).fails(SIGNED_CHANGE),
        entry!(Public, acme_authorizations / __path_create / create).fails(SIGNED_CHANGE),
        entry!(Public, acme_accounts / __path_change_key / change_key).fails(SIGNED_CHANGE),
        entry!(Public, acme_certificates / __path_revoke / revoke).fails(SIGNED_CHANGE),
        entry!(Public, acme_certificates / __path_renewal_information / renewal_information).fails(READING),
        entry!(Public, acme_accounts / __path_account / account).fails(SIGNED_CHANGE),
        entry!(Public, acme_accounts / __path_orders / orders).fails(SIGNED),
        entry!(Public, acme_orders / __path_read / read).fails(SIGNED),
        entry!(Public, acme_orders / __path_finalize / finalize).fails(SIGNED_CHANGE),
        entry!(Public, acme_authorizations / __path_authorization / authorization).fails(SIGNED_CHANGE),
        entry!(Public, acme_authorizations / __path_challenge / challenge).fails(SIGNED_CHANGE),
        entry!(Public, acme_certificates / __path_read / read).fails(SIGNED),
        entry!(Public, acme_certificates / __path_alternate / alternate).fails(SIGNED),
        // Last: a profile that is called as one of those above is hidden by it, and has no directory of its own.
        entry!(Public, acme_directory / __path_read_profile / read_profile).fails(READING).is(Work::Free),
        entry!(Public, acme_directory / __path_read_profile_signed / read_profile_signed).fails(SIGNED),
        entry!(Public, acme_accounts / __path_create_in_profile / create_in_profile).fails(SIGNED_CHANGE),
        entry!(Public, acme_orders / __path_create_in_profile / create_in_profile).fails(SIGNED_CHANGE),
        entry!(Public, acme_authorizations / __path_create_in_profile / create_in_profile).fails(SIGNED_CHANGE),
    ];
    // Whoever enrols asks much and reads little; what is signed must wait behind no other kind of work.
    let enrols = |endpoint: &Endpoint| endpoint.method == Method::POST && !endpoint.path.ends_with("/revoke-cert");
    table.into_iter().map(|endpoint| if enrols(&endpoint) { endpoint.is(Work::Issue) } else { endpoint }).collect()
}

/// Registers the entries of one listener: a resource for each path, 405 with `Allow` for its other methods, 404 for other paths.
/// Those of the ACME server are left out unless it is served.
pub fn configure(config: &mut web::ServiceConfig, listener: Listener, serves_acme: bool) {
    let mut paths: Vec<String> = Vec::new();
    let mut by_path: BTreeMap<String, Vec<Endpoint>> = BTreeMap::new();
    if serves_acme && listener == Listener::Api {
        config.app_data(acme::Served);
    }
    let served = |endpoint: &Endpoint| {
        endpoint.listeners.contains(&listener) && (serves_acme || !endpoint.path.starts_with(acme::PREFIX))
    };
    for endpoint in table().into_iter().filter(served) {
        if !by_path.contains_key(&endpoint.path) {
            paths.push(endpoint.path.clone());
        }
        by_path.entry(endpoint.path.clone()).or_default().push(endpoint);
    }
    for path in paths {
        let endpoints = by_path.remove(&path).unwrap_or_default();
        let methods: Vec<Method> = endpoints.iter().flat_map(Endpoint::methods).collect();
        let mut resource = web::resource(pattern(&path));
        for route in endpoints.iter().flat_map(Endpoint::routes) {
            resource = resource.route(route);
        }
        config.service(resource.default_service(web::to(move |request: HttpRequest, payload: web::Payload| {
            let answer = method_not_allowed(&request, &methods);
            async move {
                discard(&mut payload.into_inner()).await;
                answer
            }
        })));
    }
    config.default_service(web::to(unknown_path));
}

/// The limit that actix-web is told for the serial number, which has no dot, so that `{serial}` and `{serial}.{format}` never overlap.
const SERIAL_LIMIT: &str = ":[^/.]+";
/// The end of a path, with slashes: a file below `/docs/`, an OCSP request in base64.
const REST_LIMIT: &str = ":.*";

/// Turns a path of the OpenAPI document into a pattern of actix-web.
fn pattern(path: &str) -> String {
    path.replace("{serial}", &format!("{{serial{SERIAL_LIMIT}}}"))
        .replace("{file}", &format!("{{file{REST_LIMIT}}}"))
        .replace("{request}", &format!("{{request{REST_LIMIT}}}"))
}

/// Turns a pattern of actix-web back into the path, for metrics and logs.
pub(super) fn path_of_pattern(pattern: &str) -> String {
    pattern.replace(SERIAL_LIMIT, "").replace(REST_LIMIT, "")
}

fn method_not_allowed(request: &HttpRequest, methods: &[Method]) -> HttpResponse {
    if request.method() == Method::OPTIONS && acme::is_acme(request) {
        return acme::preflight(methods);
    }
    let allowed = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let error = Error::new(
        ErrorKind::MethodNotAllowed,
        format!(
            "`{}` does not take `{}`; allowed are {allowed}",
            shorten(request.path()),
            shorten(request.method().as_str())
        ),
    );
    let mut response = HttpResponse::from_error(error);
    if let Ok(value) = header::HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use std::collections::BTreeSet;

    use super::*;
    use crate::auth::Permission;

    #[test]
    fn every_method_and_path_is_there_once() {
        let mut seen = BTreeSet::new();
        for endpoint in table() {
            assert!(seen.insert(format!("{} {}", endpoint.method, endpoint.path)), "{endpoint:?}");
        }
    }

    #[test]
    fn everything_under_api_needs_a_permission_and_nothing_else_does() {
        for endpoint in table() {
            assert_eq!(endpoint.permission.is_some(), endpoint.path.starts_with("/api/"), "{endpoint:?}");
        }
    }

    #[test]
    fn every_permission_is_asked_for_somewhere() {
        for permission in Permission::ALL {
            assert!(table().iter().any(|endpoint| endpoint.permission == Some(*permission)), "{permission:?}");
        }
    }

    #[test]
    fn the_public_listener_serves_nothing_but_what_relying_parties_fetch() {
        let public: Vec<String> = table()
            .into_iter()
            .filter(|endpoint| endpoint.listeners.contains(&Listener::Public))
            .map(|endpoint| endpoint.path)
            .collect();
        assert_eq!(
            public,
            [
                "/pki/{issuer}.crt",
                "/pki/{issuer}.crl",
                "/pki/{issuer}/delta.crl",
                "/pki/{issuer}/{shard}.crl",
                "/pki/{issuer}/{shard}/delta.crl",
                "/ocsp/{issuer}",
                "/ocsp/{issuer}/{request}"
            ]
        );
    }

    #[test]
    fn patterns_turn_back_into_paths() {
        for endpoint in table() {
            assert_eq!(path_of_pattern(&pattern(&endpoint.path)), endpoint.path);
        }
    }
}
