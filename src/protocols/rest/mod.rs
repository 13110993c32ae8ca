//! REST under `/api/v1`: one file for each thing that can be asked for, and what they share in `record`, `query` and `request`.

pub mod acme;
pub mod audit;
pub mod certificate_import;
pub mod certificates;
pub mod crls;
pub(crate) mod export;
pub mod inspect;
pub mod inventory;
pub mod issuer_import;
pub mod issuers;
pub mod key_revocation;
pub mod keys;
pub mod profiles;
pub mod query;
pub mod record;
pub mod renewal;
pub mod request;
pub mod revocation;
pub mod statistics;
pub mod tokens;
pub mod whoami;

use actix_web::web;

use crate::error::{Error, Result};
use crate::http::AppState;
use crate::http::extract::Fields;

/// The shared state as handlers take it.
type State = web::Data<AppState>;

/// The media type of one or more PEM certificates (RFC 8555, section 7.4.2).
pub(crate) const PEM_CHAIN: &str = "application/pem-certificate-chain";
/// The media type that many tools use for PEM.
pub(crate) const PEM_FILE: &str = "application/x-pem-file";
/// The media type of a DER certificate (RFC 2585, section 4.1).
pub(crate) const DER_CERTIFICATE: &str = "application/pkix-cert";
/// The media type of a DER CRL (RFC 2585, section 4.2).
pub(crate) const DER_CRL: &str = "application/pkix-crl";
/// The media type of a PKCS #7 bundle (RFC 8551, section 3.2).
pub(crate) const PKCS7: &str = "application/pkcs7-mime; smime-type=certs-only";
/// The media type of JSON.
pub(crate) const JSON: &str = "application/json";

/// The most items of a page.
const MOST_ITEMS: u16 = 1000;
/// The items of a page unless asked otherwise.
const DEFAULT_ITEMS: u16 = 100;

/// Takes `limit`.
///
/// # Errors
/// `Malformed` when it is not 1 to 1000.
pub(crate) fn limit(fields: &mut Fields) -> Result<u16> {
    let refuse = || {
        Error::malformed(format!(
            "the query parameter `limit` is not valid: it must be a number from 1 to {MOST_ITEMS}"
        ))
    };
    let Some(text) = fields.one("limit")? else { return Ok(DEFAULT_ITEMS) };
    let limit: u16 = text.parse().map_err(|error| refuse().with_source(error))?;
    if (1..=MOST_ITEMS).contains(&limit) { Ok(limit) } else { Err(refuse()) }
}

/// A page of a listing whose items all stand in memory, sorted by name.
#[derive(Clone, Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes to the OpenAPI document what `NamePage` reads")]
pub struct NamePageParameters {
    /// The most items of the page, 1 to 1000; 100 if absent.
    #[param(minimum = 1, maximum = 1000, example = 100)]
    limit: Option<u16>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What [`NamePageParameters`] describes, read.
#[derive(Clone, Debug)]
pub struct NamePage {
    limit: u16,
    cursor: Option<String>,
}

impl crate::http::extract::FromFields for NamePage {
    fn from_fields(fields: &mut Fields) -> Result<Self> {
        Ok(Self { limit: limit(fields)?, cursor: fields.one("cursor")? })
    }
}

impl NamePage {
    /// Cuts the page out of items, which are sorted by name here, and answers the cursor of the next.
    pub(crate) fn cut<T>(
        &self,
        listing: crate::http::cursor::Listing,
        mut items: Vec<T>,
        name: impl Fn(&T) -> &str,
    ) -> Result<(Vec<T>, Option<String>)> {
        items.sort_by(|left, right| name(left).cmp(name(right)));
        if let Some(cursor) = &self.cursor {
            let after = crate::http::cursor::name(listing, cursor)?;
            items.retain(|item| name(item) > after.as_str());
        }
        let more = items.len() > usize::from(self.limit);
        items.truncate(usize::from(self.limit));
        let next = items.last().filter(|_| more).map(|last| crate::http::cursor::after_name(listing, name(last)));
        Ok((items, next))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;
    use crate::http::cursor::Listing;
    use crate::http::extract::Parameters;

    fn page(query: &str) -> Result<NamePage> {
        Parameters::read(query).map(|parameters: Parameters<NamePage>| parameters.0)
    }

    #[test]
    fn limits_outside_one_to_a_thousand_are_refused() {
        for query in ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "limit=70000"] {
            assert!(page(query).unwrap_err().detail().contains("1 to 1000"), "{query}");
        }
        assert_eq!(page("limit=1000").unwrap().limit, 1000);
        assert_eq!(page("").unwrap().limit, 100);
    }

    #[test]
    fn pages_by_name_visit_every_item_once() {
        let items = vec!["d", "a", "c", "b", "e"];
        let mut seen = Vec::new();
        let mut query = "limit=2".to_owned();
        loop {
            let (part, next) = page(&query).unwrap().cut(Listing::Profiles, items.clone(), |item| item).unwrap();
            seen.extend(part);
            match next {
                Some(cursor) => query = format!("limit=2&cursor={cursor}"),
                None => break,
            }
        }
        assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    }
}
