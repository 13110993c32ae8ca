//! Search keys of subject alternative names. A DNS name is kept with its labels reversed, so that a suffix search is a range scan.

use std::collections::{BTreeMap, BTreeSet};

use crate::x509::{NameType, SubjectAltName};

/// The longest search key kept as it is; an index row of PostgreSQL has at most 2,704 octets.
const LONGEST_KEY: usize = 1024;

/// Returns the stored number of a name type.
pub(super) const fn type_code(name_type: NameType) -> i16 {
    match name_type {
        NameType::Dns => 0,
        NameType::Ip => 1,
        NameType::Uri => 2,
        NameType::Email => 3,
    }
}

/// Returns the search key of a name.
pub(super) fn search_key(name: &SubjectAltName) -> String {
    match name {
        SubjectAltName::Dns(dns) => dns_key(dns.as_str()),
        SubjectAltName::Ip(_) | SubjectAltName::Uri(_) | SubjectAltName::Email(_) => plain_key(&name.value()),
    }
}

/// Returns the types and search keys of names, each once.
pub(super) fn search_keys(names: &[SubjectAltName]) -> BTreeSet<(i16, String)> {
    names.iter().map(|name| (type_code(name.name_type()), search_key(name))).collect()
}

/// Returns the search key of a DNS name in normal form: `www.example.com` becomes `com.example.www`.
pub(super) fn dns_key(name: &str) -> String {
    name.rsplit('.').collect::<Vec<_>>().join(".")
}

/// Returns the search key of another name: itself, or its beginning and its digest when it is too long for an index.
pub(super) fn plain_key(value: &str) -> String {
    if value.len() <= LONGEST_KEY {
        return value.to_owned();
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, value.as_bytes());
    let beginning: String = value.chars().take(LONGEST_KEY / 8).collect();
    format!("{beginning} sha256:{}", hex::encode(digest))
}

/// Returns the range of search keys, from the first to before the second, of every DNS name that ends in `.` and `suffix`.
pub(super) fn suffix_range(suffix: &str) -> (String, String) {
    let key = dns_key(suffix);
    // `/` is the character after `.`.
    (format!("{key}."), format!("{key}/"))
}

/// Encodes labels for the certificate's row; `None` without labels.
pub(super) fn encode_labels(labels: &BTreeMap<String, String>) -> crate::error::Result<Option<String>> {
    if labels.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(labels)
        .map(Some)
        .map_err(|error| crate::error::Error::internal("labels cannot be encoded").with_source(error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_range_holds_names_below_and_not_the_name_itself_or_its_lookalikes() {
        let (from, to) = suffix_range("example.com");
        let within = |name: &str| (from.as_str()..to.as_str()).contains(&dns_key(name).as_str());
        for name in ["www.example.com", "*.example.com", "a.b.example.com", "zzz.example.com", "_x.example.com"] {
            assert!(within(name), "{name} ends in .example.com");
        }
        for name in ["example.com", "wwwexample.com", "example.com.evil.org", "example.co", "example.comm", "com"] {
            assert!(!within(name), "{name} does not end in .example.com");
        }
    }

    #[test]
    fn long_names_get_distinct_keys_that_fit_an_index() {
        let first = plain_key(&format!("urn:{}a", "x".repeat(5000)));
        let second = plain_key(&format!("urn:{}b", "x".repeat(5000)));
        assert_ne!(first, second);
        assert!(first.len() <= LONGEST_KEY);
    }
}
