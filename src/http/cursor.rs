//! Opaque cursors of listings: where a page ended, bound to the listing and the order it came from.
//!
//! A cursor carries no authority: the rows it points between are filtered anew on every request.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{Error, Result};

/// The version of the form below; a cursor of another version is refused.
const VERSION: u8 = 1;

/// The listings that have cursors. The number is part of the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    /// Certificates by time of issue, oldest first.
    CertificatesByIssuedAt = 1,
    /// Certificates by time of issue, newest first.
    CertificatesByIssuedAtDescending = 2,
    /// Certificates by end of validity, first to end first.
    CertificatesByNotAfter = 3,
    /// Certificates by end of validity, last to end first.
    CertificatesByNotAfterDescending = 4,
    /// Audit events.
    Audit = 5,
    /// API tokens.
    Tokens = 6,
    /// Issuers by name.
    Issuers = 7,
    /// Profiles by name.
    Profiles = 8,
    /// External account keys.
    ExternalAccountKeys = 9,
    /// ACME accounts.
    AcmeAccounts = 10,
    /// ACME orders.
    AcmeOrders = 11,
    /// Renewal windows.
    RenewalWindows = 12,
}

/// Writes the cursor behind a row: its sort value and its number.
pub(crate) fn after_row(listing: Listing, value: i64, row: i64) -> String {
    let mut octets = vec![VERSION, listing as u8];
    octets.extend_from_slice(&value.to_be_bytes());
    octets.extend_from_slice(&row.to_be_bytes());
    URL_SAFE_NO_PAD.encode(octets)
}

/// Reads a cursor made by [`after_row`].
///
/// # Errors
/// `Malformed` when it is not a cursor of this listing in this order.
pub(crate) fn row(listing: Listing, cursor: &str) -> Result<(i64, i64)> {
    let rest = open(listing, cursor)?;
    let (value, row) = rest.split_at_checked(8).ok_or_else(|| refusal(cursor))?;
    let value: [u8; 8] = value.try_into().map_err(|_error| refusal(cursor))?;
    let row: [u8; 8] = row.try_into().map_err(|_error| refusal(cursor))?;
    Ok((i64::from_be_bytes(value), i64::from_be_bytes(row)))
}

/// Reads a cursor made by [`after_row`] of a listing by row alone, if there is one.
///
/// # Errors
/// `Malformed` when it is not a cursor of this listing.
pub(crate) fn before_row(listing: Listing, cursor: Option<&str>) -> Result<Option<i64>> {
    cursor.map(|text| row(listing, text).map(|(_, row)| row)).transpose()
}

/// Writes the cursor behind a name.
pub(crate) fn after_name(listing: Listing, name: &str) -> String {
    let mut octets = vec![VERSION, listing as u8];
    octets.extend_from_slice(name.as_bytes());
    URL_SAFE_NO_PAD.encode(octets)
}

/// Reads a cursor made by [`after_name`].
///
/// # Errors
/// `Malformed` when it is not a cursor of this listing.
pub(crate) fn name(listing: Listing, cursor: &str) -> Result<String> {
    String::from_utf8(open(listing, cursor)?).map_err(|error| refusal(cursor).with_source(error))
}

fn open(listing: Listing, cursor: &str) -> Result<Vec<u8>> {
    let octets = URL_SAFE_NO_PAD.decode(cursor).map_err(|error| refusal(cursor).with_source(error))?;
    match octets.as_slice() {
        [VERSION, tag, rest @ ..] if *tag == listing as u8 => Ok(rest.to_vec()),
        _ => Err(refusal(cursor)),
    }
}

fn refusal(cursor: &str) -> Error {
    Error::malformed(format!(
        "`{}` is not a cursor of this listing in this order; take `next_cursor` of the page before, and keep `sort` as it was",
        super::problem::shorten(cursor)
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_row_cursor_reads_back(value: i64, number: i64) {
            let cursor = after_row(Listing::Audit, value, number);
            prop_assert_eq!(row(Listing::Audit, &cursor).unwrap(), (value, number));
        }

        #[test]
        fn no_text_makes_reading_panic(text in ".{0,64}") {
            let _ = row(Listing::Audit, &text);
            let _ = name(Listing::Profiles, &text);
        }
    }

    #[test]
    fn a_cursor_of_another_order_is_refused() {
        let cursor = after_row(Listing::CertificatesByIssuedAt, 1, 2);
        let error = row(Listing::CertificatesByIssuedAtDescending, &cursor).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Malformed);
    }

    #[test]
    fn a_cursor_of_another_version_or_length_is_refused() {
        let mut octets = URL_SAFE_NO_PAD.decode(after_row(Listing::Audit, 1, 2)).unwrap();
        octets.push(0);
        assert!(row(Listing::Audit, &URL_SAFE_NO_PAD.encode(&octets)).is_err());
        octets.pop();
        octets[0] = 2;
        assert!(row(Listing::Audit, &URL_SAFE_NO_PAD.encode(&octets)).is_err());
    }

    #[test]
    fn a_name_cursor_reads_back() {
        assert_eq!(name(Listing::Profiles, &after_name(Listing::Profiles, "server")).unwrap(), "server");
    }
}
