//! PURE: what a set of CAA records says about a request (RFC 8659, with the parameters of RFC 8657).
//!
//! Where the set comes from, the climb through the tree of names and what a failed look-up means, is in `validation/caa.rs`.

use super::ChallengeType;
use super::issue_value::{IssueValue, is_label};

/// The validation method, in `validationmethods`, of names that an external account binding proves: RFC 8657, section 4, leaves names that
/// begin with `ca-` to the CA.
pub const EXTERNAL_ACCOUNT_METHOD: &str = "ca-external-account";

/// The flag "Issuer Critical" (RFC 8659, section 4.1).
const CRITICAL: u8 = 0b1000_0000;

/// The bit that many zones set instead, reading "bit 0" from the other end. RFC 8659 reserves it; who sets it means the flag.
const CRITICAL_MISREAD: u8 = 0b0000_0001;

/// The properties that are understood and say nothing about a certificate of a server: where to report (RFC 8659, section 4.4), S/MIME
/// (RFC 9495), and contacts.
const WITHOUT_MEANING_HERE: [&str; 4] = ["iodef", "issuemail", "contactemail", "contactphone"];

/// The most issuers that a refusal names.
const MAXIMUM_NAMED: usize = 5;

/// A CAA record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaaRecord {
    /// The flags.
    pub flags: u8,
    /// The tag of the property.
    pub tag: String,
    /// The value of the property, as it came.
    pub value: Vec<u8>,
}

/// What is to be issued, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct CaaRequest<'a> {
    /// Whether the name is a wildcard.
    pub wildcard: bool,
    /// The names that stand for this CA.
    pub identities: &'a [String],
    /// The account's address.
    pub account_url: &'a str,
    /// How control of the name was proven; `None` when an external account binding did.
    pub challenge: Option<ChallengeType>,
}

/// Judges the relevant set of records, the one that the climb found; an empty one admits everybody.
///
/// # Errors
/// Why the set does not admit the request, for people; nothing stands in it that is not a well-formed name.
pub fn evaluate(records: &[CaaRecord], request: &CaaRequest<'_>) -> Result<(), String> {
    let mut issue = Vec::new();
    let mut wild = Vec::new();
    for record in records {
        if record.tag.eq_ignore_ascii_case("issue") {
            issue.push(record);
        } else if record.tag.eq_ignore_ascii_case("issuewild") {
            wild.push(record);
        } else if record.flags & (CRITICAL | CRITICAL_MISREAD) != 0
            && !WITHOUT_MEANING_HERE.iter().any(|known| record.tag.eq_ignore_ascii_case(known))
        {
            return Err(format!(
                "a property {}is marked critical and not understood (RFC 8659, section 4.1)",
                if is_label(&record.tag) { format!("`{}` ", short(&record.tag)) } else { String::new() }
            ));
        }
    }
    // RFC 8659, section 4.3: `issuewild` is for wildcards only, and where there is one, `issue` is not.
    let (tag, properties) = if request.wildcard && !wild.is_empty() { ("issuewild", wild) } else { ("issue", issue) };
    if properties.is_empty() {
        return Ok(());
    }
    let mut others = Vec::new();
    let mut unmet = None;
    for property in properties {
        let Some(value) = naming(property) else {
            continue;
        };
        if !request.identities.iter().any(|identity| identity.eq_ignore_ascii_case(value.issuer)) {
            others.push(value.issuer.to_owned());
            continue;
        }
        match unsatisfied(&value, request) {
            None => return Ok(()),
            Some(reason) => unmet = Some(reason),
        }
    }
    Err(match unmet {
        Some(reason) => format!("the property `{tag}` names this CA, but {reason}"),
        None if others.is_empty() => format!("the property `{tag}` admits no CA"),
        None => format!("the property `{tag}` admits {} only", listed(&others)),
    })
}

/// Returns the value of a property that names an issuer. What is malformed names nobody (RFC 8659, section 4.2).
fn naming(property: &CaaRecord) -> Option<IssueValue<'_>> {
    let Ok(text) = std::str::from_utf8(&property.value) else {
        return None;
    };
    match IssueValue::parse(text) {
        Ok(value) if !value.issuer.is_empty() => Some(value),
        Ok(_) | Err(_) => None,
    }
}

/// Returns why the parameters of RFC 8657 do not admit the request.
fn unsatisfied(value: &IssueValue<'_>, request: &CaaRequest<'_>) -> Option<String> {
    let mut accounts = value.values("accounturi");
    match (accounts.next(), accounts.next()) {
        (None, _) => {}
        // RFC 8657, section 3: several of them cannot be satisfied, nor can one that is not recognized.
        (Some(_), Some(_)) => return Some("has several `accounturi`".to_owned()),
        (Some(account), None) if account == request.account_url => {}
        (Some(_), None) => {
            return Some(format!("its `accounturi` is another than that of this account, `{}`", request.account_url));
        }
    }
    let mut methods = value.values("validationmethods");
    match (methods.next(), methods.next()) {
        (None, _) => None,
        (Some(_), Some(_)) => Some("has several `validationmethods`".to_owned()),
        (Some(list), None) => {
            let used = request.challenge.map_or(EXTERNAL_ACCOUNT_METHOD, ChallengeType::as_str);
            let well_formed = list.split(',').all(is_label);
            (!well_formed || !list.split(',').any(|method| method == used)).then(|| {
                format!("its `validationmethods` do not hold `{used}`, by which control of the name was proven")
            })
        }
    }
}

/// Lists issuers for a message.
fn listed(issuers: &[String]) -> String {
    let named: Vec<String> = issuers.iter().take(MAXIMUM_NAMED).map(|issuer| format!("`{}`", short(issuer))).collect();
    match issuers.len().saturating_sub(MAXIMUM_NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// Cuts a name that has been seen to be ASCII.
fn short(name: &str) -> &str {
    name.get(..name.len().min(80)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
