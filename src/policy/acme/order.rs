//! What a new order may ask for, before there is a CSR: its identifiers and its validity, by the rules of `policy::evaluate`; and what a refusal by
//! those rules is to ACME clients (RFC 8555, section 6.7).

use std::collections::HashSet;

use super::Identifier;
use super::identifier::WrittenIdentifier;
use crate::error::{AcmeError, AcmeErrorType, AcmeSubproblem, Error, Result, Violation};
use crate::policy::issuer::{Candidate, Part};
use crate::policy::validity::{self, Question};
use crate::policy::{
    Adjustments, CompiledProfile, Grants, IssuerLimits, RequestedSubjectAltName, RequestedValidity, TypedName, listed,
    shown,
};
use crate::x509::{NameType, SubjectAltName, Timestamp};

/// The most rules that one detail repeats.
const MAXIMUM_REPEATED: usize = 10;

/// What bounds an order.
#[derive(Clone, Copy, Debug)]
pub struct OrderRules<'a> {
    /// The most identifiers.
    pub maximum: usize,
    /// The profile.
    pub profile: &'a CompiledProfile,
    /// The account's grants.
    pub grants: &'a Grants,
    /// The bounds of the issuer that would sign.
    pub issuer: &'a IssuerLimits,
}

/// What is wrong with one identifier.
#[derive(Clone, Debug)]
struct Problem {
    identifier: WrittenIdentifier,
    error_type: AcmeErrorType,
    detail: String,
}

impl OrderRules<'_> {
    /// Reads the identifiers of an order, the first of equal ones, and judges them.
    ///
    /// # Errors
    /// `malformed`, `unsupportedIdentifier`, `rejectedIdentifier`; `compound` when several have problems of several kinds. Each that has one has
    /// a subproblem, unless it is the only one of the order (RFC 8555, section 6.7.1).
    pub fn identifiers(&self, written: &[WrittenIdentifier]) -> Result<Vec<Identifier>> {
        if written.is_empty() {
            return Err(Error::malformed("the order has no identifiers; name at least one in `identifiers`"));
        }
        let mut identifiers = Vec::new();
        let mut problems = Vec::new();
        let mut seen = HashSet::new();
        for each in written {
            match Identifier::parse(each) {
                Ok(identifier) => {
                    if seen.insert(identifier.clone()) {
                        identifiers.push(identifier);
                    }
                }
                Err(error) => problems.push(Problem {
                    identifier: WrittenIdentifier {
                        kind: shown(&each.kind).into_owned(),
                        value: shown(&each.value).into_owned(),
                    },
                    error_type: AcmeErrorType::from_token(error.acme_token()).unwrap_or(AcmeErrorType::Malformed),
                    detail: error.detail().to_owned(),
                }),
            }
        }
        let count = identifiers.len().saturating_add(problems.len());
        if count > self.maximum {
            return Err(Error::malformed(format!(
                "the order has {count} identifiers; at most {} are taken in one order",
                self.maximum
            )));
        }
        problems.extend(self.refused(&identifiers)?);
        if problems.is_empty() { Ok(identifiers) } else { Err(refusal_of(problems, written.len() > 1)) }
    }

    /// Judges the validity that an order asks for, as if its certificate were issued now.
    ///
    /// # Errors
    /// `malformed`, with every rule that it breaks.
    pub fn validity(&self, adjustments: &Adjustments, now: Timestamp) -> Result<()> {
        if adjustments.not_before.is_none() && adjustments.validity.is_none() {
            return Ok(());
        }
        let question = Question { adjustments, profile: self.profile, issuer: self.issuer, now };
        validity::judge_question(question).map(|_period| ()).map_err(|violations| {
            Error::malformed(format!("`notBefore` and `notAfter` cannot be had: {}", repeated(&violations)))
        })
    }

    /// Judges well formed identifiers by profile, grants and issuer.
    fn refused(&self, identifiers: &[Identifier]) -> Result<Vec<Problem>> {
        let names = identifiers.iter().map(Identifier::subject_alt_name).collect::<Result<Vec<SubjectAltName>>>()?;
        let place = |index: usize| index.to_string();
        let mut violations = Vec::new();
        self.profile.names().judge(&names, place, self.profile.rule_prefix(), &mut violations);
        if let Some(granted) = self.grants.names() {
            granted.judge(&names, place, "grants.names", &mut violations);
        }
        let candidate = Candidate {
            subject: None,
            names: &names,
            extended_key_usage: &[],
            certificate_policies: &[],
            certificate_authority: None,
        };
        violations.extend(self.issuer.violations(&candidate, |part| match part {
            Part::Name(index) => place(index),
            // Of the order as a whole: there is nothing else to judge yet.
            Part::Subject(_) | Part::ExtendedKeyUsage | Part::CertificatePolicies | Part::BasicConstraints => {
                String::new()
            }
        }));
        // How many names a certificate may have is no matter of any one of them.
        if let Some(too_many) = violations.iter().find(|violation| violation.code == "too_many_names") {
            return Err(Error::malformed(too_many.message.clone()));
        }
        let of = |index: usize| {
            let wanted = place(index);
            let own: Vec<Violation> =
                violations.iter().filter(|violation| violation.field == wanted).cloned().collect();
            (!own.is_empty()).then(|| repeated(&own))
        };
        let problems = identifiers.iter().enumerate().filter_map(|(index, identifier)| {
            Some(Problem {
                identifier: identifier.written(),
                error_type: AcmeErrorType::RejectedIdentifier,
                detail: of(index)?,
            })
        });
        let problems: Vec<Problem> = problems.collect();
        if problems.is_empty() && !violations.is_empty() {
            return Err(Error::acme(AcmeErrorType::RejectedIdentifier, repeated(&violations)));
        }
        Ok(problems)
    }
}

/// Turns `notBefore` and `notAfter` of an order into what policy judges and issuance takes.
#[must_use]
pub fn adjustments(
    identifiers: &[Identifier],
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
) -> Adjustments {
    let typed = |identifier: &Identifier| {
        let name_type = match identifier {
            Identifier::Dns { .. } => NameType::Dns,
            Identifier::Ip(_) => NameType::Ip,
        };
        RequestedSubjectAltName::Typed(TypedName { name_type, value: identifier.to_string() })
    };
    Adjustments {
        subject: None,
        // All of them are named: a CSR may have one in its common name only (RFC 8555, section 7.4).
        subject_alt_names: identifiers.iter().map(typed).collect(),
        validity: not_after.map(RequestedValidity::NotAfter),
        not_before,
    }
}

/// Returns what a refusal by the issuance policy is to ACME clients: of names `rejectedIdentifier` with subproblems, of the validity that the order
/// asked for `malformed`, of anything else in the CSR `badCSR`.
#[must_use]
pub fn refusal(violations: &[Violation], identifiers: &[Identifier]) -> Error {
    let is_of_names = |violation: &&Violation| violation.field.contains("subject_alt_names");
    let of_names: Vec<&Violation> = violations.iter().filter(is_of_names).collect();
    if of_names.is_empty() {
        let is_of_validity =
            |violation: &Violation| ["not_before", "not_after", "validity"].contains(&violation.field.as_str());
        if !violations.is_empty() && violations.iter().all(is_of_validity) {
            return Error::malformed(format!(
                "the validity of the order cannot be had any more: {}",
                repeated(violations)
            ));
        }
        return Error::acme(AcmeErrorType::BadCsr, format!("the CSR is refused: {}", repeated(violations)));
    }
    let problems: Vec<Problem> = identifiers
        .iter()
        .filter_map(|identifier| {
            let value = identifier.to_string();
            let own: Vec<Violation> = of_names
                .iter()
                .filter(|violation| violation.value == value)
                .map(|&violation| violation.clone())
                .collect();
            (!own.is_empty()).then(|| Problem {
                identifier: identifier.written(),
                error_type: AcmeErrorType::RejectedIdentifier,
                detail: repeated(&own),
            })
        })
        .collect();
    if problems.is_empty() {
        return Error::acme(AcmeErrorType::RejectedIdentifier, repeated(violations));
    }
    refusal_of(problems, identifiers.len() > 1)
}

/// Joins several failures into one: for an order that has several identifiers each is a subproblem (RFC 8555, section 6.7.1).
#[must_use]
pub fn joined(mut subproblems: Vec<AcmeSubproblem>, of_several: bool) -> Error {
    let types: HashSet<&str> = subproblems.iter().map(|problem| problem.error_type.as_str()).collect();
    let error_type = match (types.len(), types.iter().next().and_then(|token| AcmeErrorType::from_token(token))) {
        (1, Some(only)) => only,
        _ => AcmeErrorType::Compound,
    };
    let detail = match subproblems.as_slice() {
        [only] => only.detail.clone(),
        many => {
            let names: Vec<&str> = many.iter().map(|problem| problem.identifier.as_str()).collect();
            format!("{} identifiers have problems, see `subproblems`: {}", many.len(), listed(&names))
        }
    };
    if !of_several {
        subproblems.clear();
    }
    Error::acme(error_type, detail).with_acme(AcmeError {
        error_type,
        subproblems,
        algorithms: &[],
        location: None,
        link: None,
    })
}

fn refusal_of(problems: Vec<Problem>, of_several: bool) -> Error {
    let subproblem = |problem: Problem| AcmeSubproblem {
        error_type: problem.error_type.token().to_owned(),
        detail: problem.detail,
        identifier_type: problem.identifier.kind,
        identifier: problem.identifier.value,
    };
    joined(problems.into_iter().map(subproblem).collect(), of_several)
}

/// Joins what violations say.
fn repeated(violations: &[Violation]) -> String {
    let mut text = String::new();
    for (index, violation) in violations.iter().enumerate() {
        if index == MAXIMUM_REPEATED {
            text.push_str(&format!("; and {} more", violations.len().saturating_sub(index)));
            break;
        }
        if index > 0 {
            text.push_str("; ");
        }
        text.push_str(&violation.message);
    }
    text
}
