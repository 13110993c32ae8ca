//! Which certificates: the conditions of listing, export and bulk revocation, the same names in a query and in JSON, and the page.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::limit;
use crate::ca::CertificateAuthority;
use crate::ca::CertificateReference;
use crate::error::{Error, Result};
use crate::http::cursor::{self, Listing};
use crate::http::extract::{Fields, FromFields};
use crate::http::problem::shorten;
use crate::storage::{CertificateFilter, CertificateStatus, NameFilter, PageRequest, SortKey};
use crate::x509::{NameType, SerialNumber, SubjectAltName, Timestamp};

/// Conditions on certificates; all that are given hold together.
#[derive(Clone, Debug, Default, utoipa::IntoParams, utoipa::ToSchema)]
#[into_params(parameter_in = Query)]
#[schema(as = CertificateConditions)]
pub struct Conditions {
    /// The status now.
    #[param(inline)]
    pub status: Option<CertificateStatus>,
    /// The profile's name.
    #[param(example = "server")]
    pub profile: Option<String>,
    /// The issuer's name, for all its generations; or with a dot and a number for one of them.
    #[param(example = "issuing")]
    pub issuer: Option<String>,
    /// The principal that asked for it.
    #[param(example = "token:deploy")]
    pub requester: Option<String>,
    /// A part of the subject (RFC 4514), in either case.
    #[param(example = "O=Example")]
    pub subject: Option<String>,
    /// A subject alternative name of any type, or `*.` and a domain for every DNS name below it.
    #[param(example = "*.internal")]
    pub name: Option<String>,
    /// The serial number, hex, with or without colons.
    pub serial: Option<String>,
    /// SHA-256 of the certificate, hex, with or without colons.
    pub fingerprint: Option<String>,
    /// SHA-256 of the subject public key info, hex, with or without colons.
    pub key: Option<String>,
    /// A label, `key:value`; may be repeated, and then all must be there.
    #[param(value_type = Option<Vec<String>>, style = Form, explode = true, example = json!(["team:payments"]))]
    #[schema(value_type = Vec<String>)]
    pub label: Vec<String>,
    /// Issued at or after.
    pub issued_after: Option<Timestamp>,
    /// Issued before.
    pub issued_before: Option<Timestamp>,
    /// Ends at or after.
    pub expires_after: Option<Timestamp>,
    /// Ends before.
    pub expires_before: Option<Timestamp>,
}

impl FromFields for Conditions {
    fn from_fields(fields: &mut Fields) -> Result<Self> {
        Ok(Self {
            status: fields.word("status")?,
            profile: fields.one("profile")?,
            issuer: fields.one("issuer")?,
            requester: fields.one("requester")?,
            subject: fields.one("subject")?,
            name: fields.one("name")?,
            serial: fields.one("serial")?,
            fingerprint: fields.one("fingerprint")?,
            key: fields.one("key")?,
            label: fields.all("label"),
            issued_after: fields.parsed("issued_after")?,
            issued_before: fields.parsed("issued_before")?,
            expires_after: fields.parsed("expires_after")?,
            expires_before: fields.parsed("expires_before")?,
        })
    }
}

impl Conditions {
    /// Reads the conditions of a JSON object.
    ///
    /// # Errors
    /// `Malformed`, naming the field.
    pub fn from_json(object: &Map<String, Value>) -> Result<Self> {
        let mut fields = Fields::from_json(object)?;
        let conditions = Self::from_fields(&mut fields)?;
        fields.finish()?;
        Ok(conditions)
    }

    /// The order that is meant when none is said: who asks for ends wants them in order.
    const fn usual_order(&self) -> Sort {
        if self.expires_after.is_some() || self.expires_before.is_some() {
            Sort { key: SortKey::NotAfter, descending: false }
        } else if matches!(self.status, Some(CertificateStatus::Expired)) {
            Sort { key: SortKey::NotAfter, descending: true }
        } else {
            Sort { key: SortKey::IssuedAt, descending: true }
        }
    }

    /// Turns the conditions into what the core takes.
    ///
    /// # Errors
    /// `Malformed` for a name, serial number, digest or label that is none, and for an issuer that does not exist.
    pub fn filter(self, ca: &CertificateAuthority) -> Result<CertificateFilter> {
        let issuer_ids = self.issuer.as_deref().map(|name| ca.issuers().rows(name)).transpose()?;
        Ok(CertificateFilter { issuer_ids, ..self.without_issuer()? })
    }

    fn without_issuer(self) -> Result<CertificateFilter> {
        let texts = [("profile", &self.profile), ("requester", &self.requester), ("subject", &self.subject)];
        if let Some((name, _)) = texts.iter().find(|(_, text)| text.as_deref() == Some("")) {
            // Every subject holds the empty text: a variable that was not set must not revoke everything.
            return Err(Error::malformed(format!("`{name}` is empty; leave it out or give a value")));
        }
        Ok(CertificateFilter {
            owner: None,
            status: self.status,
            now: None,
            profile: self.profile,
            issuer_ids: None,
            requester: self.requester,
            subject: self.subject,
            name: self.name.as_deref().map(name_filter).transpose()?,
            serial: self.serial.as_deref().map(serial).transpose()?,
            fingerprint_sha256: self.fingerprint.as_deref().map(|text| sha256("fingerprint", text)).transpose()?,
            spki_sha256: self.key.as_deref().map(|text| sha256("key", text)).transpose()?,
            labels: self.label.iter().map(|text| label(text)).collect::<Result<_>>()?,
            issued_after: self.issued_after,
            issued_before: self.issued_before,
            expires_after: self.expires_after,
            expires_before: self.expires_before,
        })
    }
}

/// Reads a serial number.
///
/// # Errors
/// `Malformed`, showing the text.
pub(crate) fn serial(text: &str) -> Result<SerialNumber> {
    text.parse().map_err(|error: Error| {
        Error::malformed(format!("`{}` is not a serial number, which is hex of at most 20 octets", shorten(text)))
            .with_source(error)
    })
}

/// The issuer beside a serial number.
#[derive(Clone, Debug, Default, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct IssuerChoice {
    /// The issuer, by name, or by name and generation as in `issuing.2`. Needed only when several imported issuers gave the same serial number.
    #[param(example = "issuing")]
    pub issuer: Option<String>,
}

impl FromFields for IssuerChoice {
    fn from_fields(fields: &mut Fields) -> Result<Self> {
        Ok(Self { issuer: fields.one("issuer")? })
    }
}

impl IssuerChoice {
    /// Joins the choice to the serial number of the path.
    ///
    /// # Errors
    /// `Malformed` when that is no serial number.
    pub(crate) fn of(self, serial_text: &str) -> Result<CertificateReference> {
        Ok(CertificateReference { serial: serial(serial_text)?, issuer: self.issuer })
    }
}

/// Reads a label, `key:value`.
///
/// # Errors
/// `Malformed` without a colon or with an empty key.
pub(crate) fn label(text: &str) -> Result<(String, String)> {
    match text.split_once(':') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Error::malformed(format!("`{}` is not a label, which is written `key:value`", shorten(text)))),
    }
}

fn sha256(name: &str, text: &str) -> Result<[u8; 32]> {
    let refuse = || {
        Error::malformed(format!(
            "`{name}` is not valid: `{}` is not a SHA-256 digest, which has 64 hex digits",
            shorten(text)
        ))
    };
    let octets = hex::decode(text.replace(':', "")).map_err(|error| refuse().with_source(error))?;
    octets.try_into().map_err(|_octets| refuse())
}

/// Reads a name in the normal form in which it is stored; `*.` and a domain finds every DNS name below, wildcards too.
fn name_filter(text: &str) -> Result<NameFilter> {
    let parse = |name_type, value: &str| {
        SubjectAltName::parse(name_type, value)
            .map_err(|malformed| Error::malformed(format!("`name` is not valid: {}", malformed.message)))
    };
    if let Some(domain) = text.strip_prefix("*.") {
        return Ok(NameFilter::DnsSuffix(parse(NameType::Dns, domain)?.value()));
    }
    let name_type = if text.contains("://") {
        NameType::Uri
    } else if text.contains('@') {
        NameType::Email
    } else if text.parse::<IpAddr>().is_ok() {
        NameType::Ip
    } else {
        NameType::Dns
    };
    Ok(NameFilter::Exact(parse(name_type, text)?.value()))
}

/// How a listing is cut and written.
#[derive(Clone, Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// The order: `issued_at` or `not_after`, with `-` before it the other way round. If absent: `not_after` with `expires_after` or
    /// `expires_before`, `-not_after` for `status=expired`, else `-issued_at` (newest first).
    #[param(value_type = Option<String>, pattern = "^-?(issued_at|not_after)$", example = "-issued_at")]
    pub sort: Sort,
    /// The most items of the page, 1 to 1000; 100 if absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000, example = 100)]
    pub limit: u16,
    /// `next_cursor` of the page before, with the same `sort`.
    pub cursor: Option<String>,
    /// Whether each record comes with `chain` and `root`.
    #[param(value_type = Option<bool>)]
    pub chain: bool,
    /// `csv` or `ndjson` answers every certificate that matches, without pages; `limit`, `cursor` and `chain` are refused then.
    #[param(value_type = Option<String>, pattern = "^(csv|ndjson)$")]
    pub format: Option<ExportFormat>,
}

/// The order of a listing of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// The column.
    pub key: SortKey,
    /// Greatest first.
    pub descending: bool,
}

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// Comma-separated values (RFC 4180) with a header line.
    Csv,
    /// One JSON record a line.
    Ndjson,
}

/// The query of a listing.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// Which certificates.
    pub conditions: Conditions,
    /// How.
    pub list: ListParameters,
}

impl FromFields for ListQuery {
    fn from_fields(fields: &mut Fields) -> Result<Self> {
        let conditions = Conditions::from_fields(fields)?;
        let format: Option<ExportFormat> = fields.word("format")?;
        let sort = fields.parsed("sort")?.unwrap_or_else(|| conditions.usual_order());
        if format.is_some() {
            // Not taken, so that `finish` refuses them.
            let list = ListParameters { sort, limit: 1000, cursor: None, chain: false, format };
            return Ok(Self { conditions, list });
        }
        let list = ListParameters {
            sort,
            limit: limit(fields)?,
            cursor: fields.one("cursor")?,
            chain: fields.flag("chain")?,
            format,
        };
        Ok(Self { conditions, list })
    }
}

impl std::str::FromStr for Sort {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (key, descending) = text.strip_prefix('-').map_or((text, false), |key| (key, true));
        let key = match key {
            "issued_at" => SortKey::IssuedAt,
            "not_after" => SortKey::NotAfter,
            _ => {
                return Err(Error::malformed(format!(
                    "`{}` is not an order; known are issued_at, -issued_at, not_after, -not_after",
                    shorten(text)
                )));
            }
        };
        Ok(Self { key, descending })
    }
}

impl Sort {
    const fn listing(self) -> Listing {
        match (self.key, self.descending) {
            (SortKey::IssuedAt, false) => Listing::CertificatesByIssuedAt,
            (SortKey::IssuedAt, true) => Listing::CertificatesByIssuedAtDescending,
            (SortKey::NotAfter, false) => Listing::CertificatesByNotAfter,
            (SortKey::NotAfter, true) => Listing::CertificatesByNotAfterDescending,
        }
    }
}

impl ListParameters {
    /// Returns the page as the core takes it.
    ///
    /// # Errors
    /// `Malformed` for a cursor of another listing or order.
    pub(crate) fn page(&self) -> Result<PageRequest> {
        let after = self.cursor.as_deref().map(|text| cursor::row(self.sort.listing(), text)).transpose()?;
        Ok(PageRequest { limit: self.limit, sort: self.sort.key, descending: self.sort.descending, after })
    }

    /// Returns the cursor of the page behind this one, if there is one.
    pub(crate) fn next_cursor(&self, next: Option<(i64, i64)>) -> Option<String> {
        next.map(|(value, row)| cursor::after_row(self.sort.listing(), value, row))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;
    use crate::http::extract::Parameters;

    fn read(query: &str) -> Result<ListQuery> {
        Parameters::read(query).map(|parameters: Parameters<ListQuery>| parameters.0)
    }

    fn detail(query: &str) -> String {
        read(query).unwrap_err().detail().to_owned()
    }

    #[test]
    fn the_default_is_newest_first_in_pages_of_a_hundred() {
        let query = read("").unwrap();
        assert_eq!(query.conditions.without_issuer().unwrap(), CertificateFilter::default());
        assert_eq!(
            query.list.page().unwrap(),
            PageRequest { limit: 100, sort: SortKey::IssuedAt, descending: true, after: None }
        );
    }

    #[test]
    fn conditions_are_read() {
        let query = read(
            "status=on_hold&profile=server&label=team:a:b&label=env:&issued_after=2030-01-01T00:00:00Z&sort=not_after",
        )
        .unwrap();
        let filter = query.conditions.without_issuer().unwrap();
        assert_eq!(filter.status, Some(CertificateStatus::OnHold));
        assert_eq!(filter.labels, [("team".to_owned(), "a:b".to_owned()), ("env".to_owned(), String::new())]);
        assert_eq!(filter.issued_after.unwrap().unix(), 1_893_456_000);
        assert_eq!(query.list.page().unwrap().sort, SortKey::NotAfter);
        assert!(!query.list.page().unwrap().descending);
    }

    #[test]
    fn bad_conditions_are_refused_by_name() {
        assert!(detail("status=gone").contains("`valid`"));
        assert!(detail("sort=name").contains("not_after"));
        assert!(detail("colour=red").starts_with("unknown query parameter `colour`; known are `status`, `profile`"));
        assert!(detail("status=valid&status=revoked").contains("more than once"));
        assert!(detail("issued_after=yesterday").contains("RFC 3339"));
        let filter = |query: &str| read(query).unwrap().conditions.without_issuer().unwrap_err().detail().to_owned();
        assert!(filter("label=team").contains("key:value"));
        assert!(filter("fingerprint=abc").contains("64 hex digits"));
        assert!(filter("key=00").contains("`key`"));
    }

    #[test]
    fn an_export_has_no_pages() {
        assert_eq!(read("format=csv").unwrap().list.format, Some(ExportFormat::Csv));
        assert!(detail("format=csv&limit=5").contains("unknown query parameter `limit`"));
        assert!(detail("format=xml").contains("`csv`"));
    }

    #[test]
    fn a_cursor_is_bound_to_its_order() {
        let cursor = cursor::after_row(Listing::CertificatesByIssuedAt, 5, 6);
        assert_eq!(read(&format!("sort=issued_at&cursor={cursor}")).unwrap().list.page().unwrap().after, Some((5, 6)));
        assert!(read(&format!("sort=-issued_at&cursor={cursor}")).unwrap().list.page().is_err());
    }

    #[test]
    fn json_has_the_same_names() {
        let object = json!({"profile": "server", "label": ["a:1", "b:2"], "status": "valid"});
        let conditions = Conditions::from_json(object.as_object().unwrap()).unwrap();
        assert_eq!(conditions.label.len(), 2);
        let error = Conditions::from_json(json!({"limit": 5}).as_object().unwrap()).unwrap_err();
        assert!(error.detail().starts_with("unknown field `limit`; known are `status`"));
    }
}
