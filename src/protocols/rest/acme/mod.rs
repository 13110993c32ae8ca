//! ACME as operators see it: external account keys, accounts, orders with the reasons of their failures, and renewal windows. What ACME clients talk to is in
//! `protocols/acme`.

pub mod accounts;
pub mod external_account_keys;
pub mod orders;
pub mod renewal_windows;

use crate::ca::acme::row_number;
use crate::error::{Error, Result};
use crate::http::problem::shorten;

/// Reads the number of an account or order. It is written as text: it has more digits than a number of JavaScript holds.
///
/// # Errors
/// `NotFound`: what is no number is the number of nothing.
pub(super) fn number(text: &str, what: &str) -> Result<i64> {
    row_number(text).ok_or_else(|| Error::not_found(format!("there is no {what} `{}`", shorten(text))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn numbers_are_read_in_one_form_only() {
        assert_eq!(number("901234567890123456", "account").unwrap(), 901_234_567_890_123_456);
        for text in ["", "x", "+1", "01", "1.0", " 1", "9223372036854775808", "-0"] {
            assert_eq!(number(text, "account").unwrap_err().kind(), crate::ErrorKind::NotFound, "{text}");
        }
    }
}
