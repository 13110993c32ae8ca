//! Contacts of accounts (RFC 8555, section 7.3): `mailto` addresses, one person each.

use crate::error::{AcmeErrorType, Error, Result};
use crate::x509::printable;
use crate::x509::{NameType, SubjectAltName};

/// The most contacts of an account.
const MOST: usize = 10;
const SCHEME: &str = "mailto:";

/// Checks contacts.
///
/// # Errors
/// `unsupportedContact` for another scheme than `mailto`; `invalidContact` for more than 10, and for an address with header fields
/// (`?subject=`), with several recipients, or that is none.
pub(super) fn check(contacts: &[String]) -> Result<()> {
    if contacts.len() > MOST {
        return Err(invalid(format!("there are {} contacts; an account has at most {MOST}", contacts.len())));
    }
    contacts.iter().try_for_each(|contact| check_one(contact))
}

fn check_one(contact: &str) -> Result<()> {
    let shown = printable::text(contact);
    let Some((scheme, _)) = contact.split_once(':') else {
        return Err(invalid(format!("the contact `{shown}` is not a URL; write `{SCHEME}` and an address")));
    };
    // RFC 3986, section 3.1: schemes are compared without regard to case.
    if !format!("{scheme}:").eq_ignore_ascii_case(SCHEME) {
        let detail = format!("the contact `{shown}` is not supported; supported are `{SCHEME}` addresses");
        return Err(Error::acme(AcmeErrorType::UnsupportedContact, detail));
    }
    let address = contact.get(SCHEME.len()..).unwrap_or_default();
    if address.contains('?') {
        return Err(invalid(format!("the contact `{shown}` has header fields; leave out what begins with `?`")));
    }
    // RFC 6068, section 2: a comma stands between recipients, and one within an address is written `%2C`.
    if address.contains(',') {
        return Err(invalid(format!("the contact `{shown}` has more than one recipient; write one contact for each")));
    }
    if address.contains('%') {
        return Err(invalid(format!("the contact `{shown}` has percent-encoded characters, which are not taken")));
    }
    match SubjectAltName::parse(NameType::Email, address) {
        Ok(_address) => Ok(()),
        Err(malformed) => Err(invalid(format!("the contact `{shown}` is not an address: {}", malformed.message))),
    }
}

fn invalid(detail: String) -> Error {
    Error::acme(AcmeErrorType::InvalidContact, detail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn token(contact: &str) -> &'static str {
        check(&[contact.to_owned()]).unwrap_err().acme_token()
    }

    #[test]
    fn one_address_each_is_taken() {
        check(&[]).unwrap();
        check(&["mailto:ops@example.internal".to_owned(), "MAILTO:a.b+c@example.com".to_owned()]).unwrap();
    }

    #[test]
    fn header_fields_several_recipients_and_what_is_no_address_are_invalid() {
        for contact in [
            "mailto:ops@example.com?subject=hello",
            "mailto:a@example.com,b@example.com",
            "mailto:a%2Cb@example.com",
            "mailto:",
            "mailto:ops",
            "mailto:ops@",
            "mailto:@example.com",
            "mailto:a b@example.com",
            "mailto:a@example.com\r\nBcc: b@example.com",
            "ops@example.com",
            "",
        ] {
            assert_eq!(token(contact), "invalidContact", "{contact}");
        }
    }

    #[test]
    fn other_schemes_are_not_supported() {
        for contact in ["tel:+12025551212", "https://example.com/", "xmpp:a@example.com"] {
            assert_eq!(token(contact), "unsupportedContact", "{contact}");
        }
    }

    #[test]
    fn more_than_ten_are_refused() {
        let contact = "mailto:ops@example.com".to_owned();
        check(&vec![contact.clone(); 10]).unwrap();
        assert_eq!(check(&vec![contact; 11]).unwrap_err().acme_token(), "invalidContact");
    }
}
