//! Answers with what ACME puts beside the JSON: links, locations, and when to ask again.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder};

use super::addresses::Addresses;
use super::objects::{AccountDocument, OrderDocument};
use crate::ca::acme::{Account, Acme, OrderView};
use crate::error::Result;

/// The longest, in seconds, that a client is told to wait before it asks again.
const LONGEST_WAIT: u32 = 60;

/// Writes the value of a header field `Link` (RFC 8288).
pub(super) fn link(address: &str, relation: &str) -> (header::HeaderName, String) {
    (header::LINK, format!("<{address}>;rel=\"{relation}\""))
}

/// Answers with an account, its address, and the terms of service.
///
/// # Errors
/// Those of [`AccountDocument::of`].
pub(super) fn account(acme: &Acme, account: &Account, base_url: &str, status: StatusCode) -> Result<HttpResponse> {
    let addresses = Addresses(base_url);
    let mut response = HttpResponse::build(status);
    response.insert_header((header::LOCATION, addresses.account(account.record.id)));
    if let Some(terms) = &acme.settings().terms_of_service {
        // RFC 8555, section 7.3.3.
        response.append_header(link(terms, "terms-of-service"));
    }
    Ok(response.json(AccountDocument::of(account, addresses)?))
}

/// Answers with an order and its address, and when to ask again while its certificate is being issued.
pub(super) fn order(order: &OrderView, base_url: &str, status: StatusCode) -> HttpResponse {
    let addresses = Addresses(base_url);
    let mut response = HttpResponse::build(status);
    response.insert_header((header::LOCATION, addresses.order(order.record.id)));
    retry_after(&mut response, order.retry_after());
    response.json(OrderDocument::of(order, addresses))
}

/// Adds when to ask again, while there is something to wait for (RFC 8555, section 8.2).
pub(super) fn retry_after(response: &mut HttpResponseBuilder, seconds: Option<u32>) {
    if let Some(seconds) = seconds {
        response.insert_header((header::RETRY_AFTER, seconds.clamp(1, LONGEST_WAIT).to_string()));
    }
}
