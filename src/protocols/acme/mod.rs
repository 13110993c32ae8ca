//! ACME (RFC 8555) over HTTP: requests are decoded and admitted, the core is asked, its answers become JSON. What every answer has (nonces,
//! links to the directory, problem documents) is added by `http/acme.rs` and `http/problem/acme.rs`.

pub mod accounts;
mod addresses;
mod answers;
pub mod authorizations;
pub mod certificates;
pub mod directory;
pub mod objects;
pub mod orders;
pub mod request;

use actix_web::web;

use crate::ca::acme::row_number;
use crate::error::{Error, Result};
use crate::http::AppState;
use crate::http::problem::shorten;

/// The shared state as handlers take it.
type State = web::Data<AppState>;

/// The media type of signed requests (RFC 8555, section 6.2).
const JOSE_JSON: &str = "application/jose+json";

/// Reads the number of an object out of an address, in the one form that addresses have.
///
/// # Errors
/// `NotFound`: there is no object with another number.
fn number(what: &str, text: &str) -> Result<i64> {
    row_number(text).ok_or_else(|| Error::not_found(format!("there is no {what} `{}` of this account", shorten(text))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn an_object_has_one_address() {
        assert_eq!(number("order", "17").unwrap(), 17);
        for text in ["", "017", "+17", "-17", "17 ", "0x11", "9223372036854775808", "directory"] {
            assert_eq!(number("order", text).unwrap_err().kind(), ErrorKind::NotFound, "{text}");
        }
    }
}
