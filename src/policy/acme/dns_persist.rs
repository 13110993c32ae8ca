//! PURE: the records of dns-persist-01 (draft-ietf-acme-dns-persist-02): what must stand at `_validation-persist.<name>`, and whether it does.
//!
//! The account is named by a hash of name, key and address (draft 02), or by its address (drafts 00 and 01, which clients still write).
//! Only the name itself and its wildcard are proven: the draft leaves it to the CA whether `policy=wildcard` also covers names below.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::issue_value::{self, IssueValue};

/// The label before the name (section 4).
pub const LABEL: &str = "_validation-persist";

/// The hash algorithm of hashed account addresses (section 4.1), as the registry of RFC 6920 names it.
const HASH_NAME: &str = "sha-256";

/// The length of a SHA-256 digest in base64url.
const DIGEST_LENGTH: usize = 43;

/// What stands for the name in a hash that is to hold for every name (section 4.1).
const ANY_NAME: &str = "*";

/// The latest moment that certificates and authorizations can name: the end of the year 9999.
const LATEST: i64 = 253_402_300_799;

/// What the records must say.
#[derive(Clone, Copy, Debug)]
pub struct PersistQuestion<'a> {
    /// The name, without `*.`.
    pub name: &'a str,
    /// Whether its wildcard is to be proven.
    pub wildcard: bool,
    /// The names that stand for this CA: lower case, A-labels, no dot at the end.
    pub issuers: &'a [String],
    /// The account's address.
    pub account_url: &'a str,
    /// Thumbprints (RFC 7638, base64url) of the account's keys: the present one, and former ones where they are known (section 4.2).
    pub thumbprints: &'a [&'a str],
    /// The present moment in Unix seconds.
    pub now: i64,
}

/// Why no record proves control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersistRefusal {
    /// No record names this CA.
    NotNamed,
    /// A record names this CA and is malformed.
    Malformed(&'static str),
    /// A record names this CA and does not admit the request.
    Unauthorized(String),
}

/// A record that names this CA.
#[derive(Debug)]
struct PersistRecord<'a> {
    account_uri: &'a str,
    wildcard: bool,
    until: Option<i64>,
}

/// Returns the prefix of hashed account addresses (section 4.1), the `accountHashPrefix` of the directory: beside the addresses of accounts, so
/// that `https://ca.internal/acme/accounts/1` gives `https://ca.internal/acme/account-hash/`.
#[must_use]
pub fn account_hash_prefix(account_url: &str) -> String {
    let parent = account_url.rsplitn(3, '/').nth(2).unwrap_or_default();
    format!("{parent}/account-hash/")
}

/// Returns the hashed address of an account for a name (section 4.1).
#[must_use]
pub fn hashed_account_uri(name: &str, thumbprint: &str, account_url: &str) -> String {
    let mut input = Vec::with_capacity(1 + name.len() + thumbprint.len() + account_url.len());
    // Names are at most 253 octets long.
    input.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    input.extend_from_slice(name.as_bytes());
    input.extend_from_slice(thumbprint.as_bytes());
    input.extend_from_slice(account_url.as_bytes());
    let digest = digest::digest(&digest::SHA256, &input);
    format!("{}{HASH_NAME}/{}", account_hash_prefix(account_url), URL_SAFE_NO_PAD.encode(digest))
}

/// Returns the record that would prove control, as the client must publish it.
#[must_use]
pub fn expected_record(question: &PersistQuestion<'_>) -> String {
    let issuer = question.issuers.first().map_or("", String::as_str);
    let account = question.thumbprints.first().map_or_else(
        || question.account_url.to_owned(),
        |thumbprint| hashed_account_uri(question.name, thumbprint, question.account_url),
    );
    format!("{issuer}; accounturi={account}{}", if question.wildcard { "; policy=wildcard" } else { "" })
}

/// Looks for a record that proves control (section 4.3.2). Returns when the proof ends by the record's own words, in Unix seconds; of several
/// records that prove it, the one that does so longest counts.
///
/// # Errors
/// Why there is none. What stands in records appears in it only where it is a number.
pub fn evaluate(records: &[String], question: &PersistQuestion<'_>) -> Result<Option<i64>, PersistRefusal> {
    let accounts: Vec<String> = std::iter::once(question.account_url.to_owned())
        .chain(question.thumbprints.iter().flat_map(|thumbprint| {
            [question.name, ANY_NAME].map(|name| hashed_account_uri(name, thumbprint, question.account_url))
        }))
        .collect();
    let mut proof: Option<Option<i64>> = None;
    let mut refusal = PersistRefusal::NotNamed;
    for text in records {
        let Some(record) = read(text, question) else {
            continue;
        };
        match record.and_then(|record| judge(&record, question, &accounts)) {
            Ok(until) => {
                // No end is later than any.
                let later = |known: Option<i64>| known.zip(until).map(|(known, until)| known.max(until));
                proof = Some(proof.map_or(until, later));
            }
            // What is malformed hides that a record was meant; it is said before anything else.
            Err(reason) if !matches!(refusal, PersistRefusal::Malformed(_)) => refusal = reason,
            Err(_) => {}
        }
    }
    proof.ok_or(refusal)
}

/// Reads a record. Returns nothing when it names another CA.
fn read<'a>(text: &'a str, question: &PersistQuestion<'_>) -> Option<Result<PersistRecord<'a>, PersistRefusal>> {
    let (issuer, parameters) = issue_value::split(text);
    // A dot at the end is no part of the syntax; DNS operators add it, and section 9.2 takes it away before comparing.
    let issuer = issuer.strip_suffix('.').unwrap_or(issuer);
    if !question.issuers.iter().any(|known| known.eq_ignore_ascii_case(issuer)) {
        return None;
    }
    Some(parameters_of(issuer, parameters.unwrap_or_default()).map_err(PersistRefusal::Malformed))
}

fn parameters_of<'a>(issuer: &'a str, parameters: &'a str) -> Result<PersistRecord<'a>, &'static str> {
    let value = IssueValue::new(issuer, parameters)?;
    let single = |tag: &str, several: &'static str| {
        let mut values = value.values(tag);
        match (values.next(), values.next()) {
            (first, None) => Ok(first),
            (_, Some(_)) => Err(several),
        }
    };
    let account_uri = single("accounturi", "it has several `accounturi`")?;
    let policy = single("policy", "it has several `policy`")?;
    let until = single("persistUntil", "it has several `persistUntil`")?;
    Ok(PersistRecord {
        account_uri: account_uri.filter(|uri| !uri.is_empty()).ok_or("it has no `accounturi`")?,
        wildcard: policy.is_some_and(|policy| policy.eq_ignore_ascii_case("wildcard")),
        until: until.map(moment).transpose()?,
    })
}

/// Reads Unix seconds in decimal digits; what lies beyond the year 9999 is its end.
fn moment(text: &str) -> Result<i64, &'static str> {
    if text.is_empty() || !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err("its `persistUntil` is no number of seconds since 1970, in decimal digits");
    }
    Ok(text.parse::<i64>().map_or(LATEST, |seconds| seconds.min(LATEST)))
}

fn judge(
    record: &PersistRecord<'_>,
    question: &PersistQuestion<'_>,
    accounts: &[String],
) -> Result<Option<i64>, PersistRefusal> {
    if !accounts.iter().any(|account| account == record.account_uri) {
        if let Some(rest) = record.account_uri.strip_prefix(&account_hash_prefix(question.account_url)) {
            let Some(hash) = rest.strip_prefix(HASH_NAME).and_then(|rest| rest.strip_prefix('/')) else {
                return Err(PersistRefusal::Malformed("its `accounturi` is made with a hash other than `sha-256`"));
            };
            if hash.len() != DIGEST_LENGTH || URL_SAFE_NO_PAD.decode(hash).is_err() {
                return Err(PersistRefusal::Malformed("its `accounturi` ends in no base64url of a SHA-256 digest"));
            }
        }
        return Err(PersistRefusal::Unauthorized("its `accounturi` is not that of this account".to_owned()));
    }
    if question.wildcard && !record.wildcard {
        return Err(PersistRefusal::Unauthorized("it has no `policy=wildcard`, which a wildcard needs".to_owned()));
    }
    match record.until {
        Some(until) if question.now > until => {
            Err(PersistRefusal::Unauthorized(format!("its `persistUntil`, {until}, is over")))
        }
        until => Ok(until),
    }
}

#[cfg(test)]
mod tests;
