//! PURE: the issuance policy. One function, [`evaluate`], judges exactly the names, key, usages and validity that will be signed.
//!
//! Every front door goes through it, and it reports every violation at once. It knows no database and no clock: the moment is an argument.

pub mod acme;
mod authority;
pub mod duration;
pub mod grants;
pub mod issuer;
mod keys;
pub mod names;
pub mod profile;
mod requested_names;
mod subject;
mod usages;
mod validity;

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use const_oid::ObjectIdentifier;
use serde::{Deserialize, Serialize};

pub use authority::ApprovedAuthority;
pub use grants::Grants;
pub use issuer::IssuerLimits;
pub use keys::key_blocked;
pub use profile::{CompiledProfile, Profile};

use self::issuer::{Candidate, Part};
use self::requested_names::RequestedNames;
use self::usages::Usages;
use crate::error::Violation;
use crate::x509::distinguished_name::AttributeType;
use crate::x509::usage::KeyUsages;
use crate::x509::{CertificateRequest, DistinguishedName, ExtendedKeyUsage, PublicKey, SubjectAltName, Timestamp};

/// What a caller asks for beside the CSR: fields of the request body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adjustments {
    /// Replaces the CSR's subject.
    pub subject: Option<Vec<(AttributeType, String)>>,
    /// Names added to the CSR's.
    pub subject_alt_names: Vec<RequestedSubjectAltName>,
    /// How long the certificate is to be valid from now; the profile's default if neither this nor `not_after` is given.
    pub validity: Option<RequestedValidity>,
    /// When validity is to start (ACME `notBefore`); now, backdated, if absent.
    pub not_before: Option<Timestamp>,
}

/// The end of validity as a caller states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestedValidity {
    /// A length from now.
    Duration(Duration),
    /// A fixed moment.
    NotAfter(Timestamp),
}

/// A name as a caller writes it in JSON: `{"type": "dns", "value": "a.internal"}`, or the bare value, whose type is then found out:
/// with `://` a URI, with `@` an e-mail address, an IP address by its form, else a DNS name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum RequestedSubjectAltName {
    /// Type and value.
    Typed(TypedName),
    /// The value alone.
    Bare(String),
}

/// A name with its type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TypedName {
    /// The type of name.
    #[serde(rename = "type")]
    pub name_type: crate::x509::NameType,
    /// The name.
    #[schema(example = "app.internal")]
    pub value: String,
}

/// Everything that one evaluation judges.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation<'a> {
    /// The parsed request, whose possession of the key is proven.
    pub request: &'a CertificateRequest,
    /// What the caller asks for beside it.
    pub adjustments: &'a Adjustments,
    /// The profile.
    pub profile: &'a CompiledProfile,
    /// The caller's grants, a further restriction.
    pub grants: &'a Grants,
    /// The issuer's bounds.
    pub issuer: &'a IssuerLimits,
    /// Whether the key is on the block list.
    pub key_is_blocked: bool,
    /// The present.
    pub now: Timestamp,
}

/// A request that the policy admits: what will be signed, exactly. Only [`evaluate`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovedRequest {
    subject: DistinguishedName,
    names: Vec<SubjectAltName>,
    public_key: PublicKey,
    key_usage: KeyUsages,
    extended_key_usage: Vec<ExtendedKeyUsage>,
    not_before: Timestamp,
    not_after: Timestamp,
    certificate_policies: Vec<ObjectIdentifier>,
    must_staple: bool,
    certificate_authority: Option<ApprovedAuthority>,
}

impl ApprovedRequest {
    /// Returns the subject.
    #[must_use]
    pub const fn subject(&self) -> &DistinguishedName {
        &self.subject
    }
    /// Returns the names, without duplicates, in the order asked for.
    #[must_use]
    pub fn names(&self) -> &[SubjectAltName] {
        &self.names
    }
    /// Returns the subject's public key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }
    /// Returns the key usages.
    #[must_use]
    pub const fn key_usage(&self) -> &KeyUsages {
        &self.key_usage
    }
    /// Returns the extended key usages.
    #[must_use]
    pub fn extended_key_usage(&self) -> &[ExtendedKeyUsage] {
        &self.extended_key_usage
    }
    /// Returns the first second of validity, backdated as the profile says.
    #[must_use]
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }
    /// Returns the last second of validity.
    #[must_use]
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }
    /// Returns the certificate policy identifiers.
    #[must_use]
    pub fn certificate_policies(&self) -> &[ObjectIdentifier] {
        &self.certificate_policies
    }
    /// Whether the certificate asks for OCSP must-staple.
    #[must_use]
    pub const fn must_staple(&self) -> bool {
        self.must_staple
    }
    /// Returns what makes it the certificate of a CA, if it is one.
    #[must_use]
    pub const fn certificate_authority(&self) -> Option<&ApprovedAuthority> {
        self.certificate_authority.as_ref()
    }
}

/// The most violations in one answer, so that it cannot grow with a hostile request.
const MAXIMUM_VIOLATIONS: usize = 1_000;

/// Judges a request against profile, grants and issuer. Whether the grants admit the profile and the issuer themselves is
/// the caller's to check ([`Grants::allow_profile`], [`Grants::allow_issuer`]): that is a question of permission.
///
/// # Errors
/// Every violation, in a stable order: key, subject, names, usages, basic constraints, extensions, validity, what the issuer's chain
/// does not allow; never empty, and at most 1,000.
pub fn evaluate(evaluation: &Evaluation<'_>) -> Result<ApprovedRequest, Vec<Violation>> {
    let requested = RequestedNames::collect(evaluation);
    let key = keys::judge(evaluation);
    let subject = subject::judge(evaluation, requested.names());
    let usages = usages::judge(evaluation);
    let authority = authority::judge(evaluation);
    let chain = judge_chain(evaluation, &requested, &subject, &usages, &authority);
    let subject_is_empty = subject.as_ref().is_ok_and(DistinguishedName::is_empty);
    let names = requested.judge(evaluation, subject_is_empty);
    let must_staple = usages::judge_extensions(evaluation);
    let period = validity::judge(evaluation);
    match (key, subject, names, usages, authority, must_staple, period, chain) {
        (Ok(()), Ok(subject), Ok(names), Ok(usages), Ok(authority), Ok(must_staple), Ok(period), Ok(())) => {
            Ok(ApprovedRequest {
                subject,
                names,
                public_key: evaluation.request.public_key().clone(),
                key_usage: usages.key_usage,
                extended_key_usage: usages.extended_key_usage,
                not_before: period.not_before,
                not_after: period.not_after,
                certificate_policies: evaluation.profile.certificate_policies().to_vec(),
                must_staple,
                certificate_authority: authority,
            })
        }
        (key, subject, names, usages, authority, must_staple, period, chain) => {
            let refusals = [
                key.err(),
                subject.err(),
                names.err(),
                usages.err(),
                authority.err(),
                must_staple.err(),
                period.err(),
                chain.err(),
            ];
            Err(refusals.into_iter().flatten().flatten().take(MAXIMUM_VIOLATIONS).collect())
        }
    }
}

/// Judges by the issuer's chain what was not refused already: exactly what would be signed.
fn judge_chain(
    evaluation: &Evaluation<'_>,
    requested: &RequestedNames,
    subject: &Result<DistinguishedName, Vec<Violation>>,
    usages: &Result<Usages, Vec<Violation>>,
    authority: &Result<Option<ApprovedAuthority>, Vec<Violation>>,
) -> Result<(), Vec<Violation>> {
    let is_authority = evaluation.profile.profile().certificate_authority.is_some();
    let path_length =
        authority.as_ref().map_or(Some(0), |approved| approved.as_ref().map(|approved| approved.path_length));
    let candidate = Candidate {
        subject: subject.as_ref().ok(),
        names: requested.names(),
        extended_key_usage: usages.as_ref().map_or(&[], |usages| usages.extended_key_usage.as_slice()),
        certificate_policies: evaluation.profile.certificate_policies(),
        certificate_authority: is_authority.then_some(path_length),
    };
    let violations = evaluation.issuer.violations(&candidate, |part| match part {
        Part::Subject(None) => subject::place(evaluation).to_owned(),
        Part::Subject(Some(attribute)) => format!("{}.{attribute}", subject::place(evaluation)),
        Part::Name(index) => requested.field(index),
        Part::ExtendedKeyUsage => "extended_key_usage".to_owned(),
        Part::CertificatePolicies => "certificate_policies".to_owned(),
        Part::BasicConstraints => authority::FIELD.to_owned(),
    });
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

/// Makes a violation.
fn violation(
    code: &'static str,
    field: impl Into<String>,
    value: &str,
    rule: impl Into<String>,
    message: String,
) -> Violation {
    Violation { code, field: field.into(), value: shown(value).into_owned(), rule: rule.into(), message }
}

/// The most characters of a value that messages repeat.
const MAXIMUM_SHOWN: usize = 300;

/// Returns a value as messages show it: control characters escaped, cut when it is long.
fn shown(value: &str) -> Cow<'_, str> {
    if value.len() <= MAXIMUM_SHOWN && !value.contains(char::is_control) {
        return Cow::Borrowed(value);
    }
    let mut text = String::with_capacity(MAXIMUM_SHOWN);
    for (index, character) in value.chars().enumerate() {
        if index == MAXIMUM_SHOWN {
            text.push_str("...");
            break;
        }
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    Cow::Owned(text)
}

/// The most accepted values that a message lists.
const MAXIMUM_LISTED: usize = 10;

/// Lists accepted values for a message: the first ten, and how many more there are.
fn listed<T: Display>(values: &[T]) -> String {
    if values.is_empty() {
        return "none".to_owned();
    }
    let first: Vec<String> = values.iter().take(MAXIMUM_LISTED).map(|value| format!("`{value}`")).collect();
    match values.len().saturating_sub(MAXIMUM_LISTED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests;
