//! Collects the names that a request asks for, of the CSR and beside it, and judges them by profile and grants.
//!
//! How a single name is matched is in `names.rs`.

use std::collections::HashSet;

use const_oid::db::rfc5280::ID_KP_SERVER_AUTH;

use super::names::describe;
use super::{Evaluation, RequestedSubjectAltName, shown, violation};
use crate::error::Violation;
use crate::x509::csr::RequestedName;
use crate::x509::subject_alt_name::MalformedName;
use crate::x509::{NameType, SubjectAltName};

/// Where in a request a name was found.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Csr(usize),
    Adjustments(usize),
}

impl Origin {
    fn field(self) -> String {
        match self {
            Self::Csr(index) => format!("csr.subject_alt_names[{index}]"),
            Self::Adjustments(index) => format!("subject_alt_names[{index}]"),
        }
    }
}

/// The names of a request in normal form, without duplicates, in the order asked for.
pub(super) struct RequestedNames {
    names: Vec<SubjectAltName>,
    origins: Vec<Origin>,
    /// Of names that are not well formed or never signed.
    violations: Vec<Violation>,
}

impl RequestedNames {
    /// Collects the names of the CSR, then those beside it.
    pub(super) fn collect(evaluation: &Evaluation<'_>) -> Self {
        let of_request = &evaluation.request.requested().names;
        let beside = &evaluation.adjustments.subject_alt_names;
        let capacity = of_request.len().saturating_add(beside.len());
        let mut collected =
            Self { names: Vec::with_capacity(capacity), origins: Vec::with_capacity(capacity), violations: Vec::new() };
        for (index, requested) in of_request.iter().enumerate() {
            let origin = Origin::Csr(index);
            match requested {
                RequestedName::Name(name) => collected.add(name.clone(), origin),
                RequestedName::Malformed(malformed) => collected.refuse_malformed(malformed, origin),
                RequestedName::Unsupported { kind, value } => collected.refuse_unsupported(kind, value, origin),
            }
        }
        for (index, requested) in beside.iter().enumerate() {
            let origin = Origin::Adjustments(index);
            match requested.parse() {
                Ok(name) => collected.add(name, origin),
                Err(malformed) => collected.refuse_malformed(&malformed, origin),
            }
        }
        collected.remove_duplicates();
        collected
    }

    /// Returns the names that are well formed.
    pub(super) fn names(&self) -> &[SubjectAltName] {
        &self.names
    }

    /// Returns the field of the request that the name of this index comes from.
    pub(super) fn field(&self, index: usize) -> String {
        field_of(&self.origins, index)
    }

    /// Judges the names; `subject_is_empty` says whether nothing else tells whose certificate it is.
    pub(super) fn judge(
        self,
        evaluation: &Evaluation<'_>,
        subject_is_empty: bool,
    ) -> Result<Vec<SubjectAltName>, Vec<Violation>> {
        let Self { names, origins, mut violations } = self;
        if names.is_empty() && violations.is_empty() {
            violations.extend(missing(evaluation, subject_is_empty));
        }
        let field = |index: usize| field_of(&origins, index);
        let profile = evaluation.profile;
        profile.names().judge(&names, field, profile.rule_prefix(), &mut violations);
        if let Some(granted) = evaluation.grants.names() {
            granted.judge(&names, field, "grants.names", &mut violations);
        }
        if violations.is_empty() { Ok(names) } else { Err(violations) }
    }

    fn add(&mut self, name: SubjectAltName, origin: Origin) {
        self.names.push(name);
        self.origins.push(origin);
    }

    fn refuse_malformed(&mut self, malformed: &MalformedName, origin: Origin) {
        let message = format!(
            "the {} `{}` is malformed: {}",
            describe(malformed.name_type),
            shown(&malformed.value),
            malformed.message
        );
        self.violations.push(violation(
            "name_malformed",
            origin.field(),
            &malformed.value,
            "RFC 5280, section 4.2.1.6",
            message,
        ));
    }

    fn refuse_unsupported(&mut self, kind: &str, value: &str, origin: Origin) {
        let message = format!(
            "names of the type `{}` are never signed here; DNS names, IP addresses, URIs and e-mail addresses can be",
            shown(kind)
        );
        self.violations.push(violation(
            "name_type_not_supported",
            origin.field(),
            value,
            "RFC 5280, section 4.2.1.6",
            message,
        ));
    }

    /// Keeps the first of equal names.
    fn remove_duplicates(&mut self) {
        if self.names.len() < 2 {
            return;
        }
        let mut seen = HashSet::with_capacity(self.names.len());
        let firsts: Vec<bool> = self.names.iter().map(|name| seen.insert(name)).collect();
        if firsts.contains(&false) {
            let mut is_first = firsts.iter().copied();
            self.names.retain(|_| is_first.next().unwrap_or(true));
            let mut is_first = firsts.iter().copied();
            self.origins.retain(|_| is_first.next().unwrap_or(true));
        }
    }
}

fn field_of(origins: &[Origin], index: usize) -> String {
    origins.get(index).map_or_else(|| "subject_alt_names".to_owned(), |origin| origin.field())
}

/// Returns the violation of having no name, if that is one.
fn missing(evaluation: &Evaluation<'_>, subject_is_empty: bool) -> Option<Violation> {
    if evaluation.profile.profile().certificate_authority.is_some() {
        // A CA is known by its subject, which is judged there.
        return None;
    }
    let (rule, why) = if evaluation.profile.profile().names_required {
        (evaluation.profile.rule("names_required"), "the profile requires at least one")
    } else if subject_is_empty {
        ("RFC 5280, section 4.1.2.6".to_owned(), "its subject is empty, so that nothing says whose certificate it is")
    } else if is_for_servers(evaluation) {
        // Clients look for a server's name nowhere else.
        ("RFC 9525, section 2".to_owned(), "a certificate for TLS servers needs one")
    } else {
        return None;
    };
    let message = format!(
        "the request has no subject alternative name, and {why}; add one, with OpenSSL: `openssl req -addext \
         \"subjectAltName=DNS:app.internal\" ...`"
    );
    Some(violation("names_required", "csr.subject_alt_names", "", rule, message))
}

/// Whether the certificate would be for TLS servers, by the profile or because the CSR asks for it.
fn is_for_servers(evaluation: &Evaluation<'_>) -> bool {
    let required = evaluation.profile.profile().extended_key_usage.required.iter();
    let asked = evaluation.request.requested().extended_key_usage.iter().flatten();
    required.chain(asked).any(|usage| usage.oid() == ID_KP_SERVER_AUTH)
}

impl RequestedSubjectAltName {
    /// Parses and normalises the name. The type of a bare value is found out once; it is not tried as another.
    ///
    /// # Errors
    /// [`MalformedName`] as [`SubjectAltName::parse`].
    pub fn parse(&self) -> Result<SubjectAltName, MalformedName> {
        match self {
            Self::Typed(typed) => SubjectAltName::parse(typed.name_type, &typed.value),
            Self::Bare(value) => SubjectAltName::parse(bare_type(value), value),
        }
    }
}

/// Finds the type of a bare value.
fn bare_type(value: &str) -> NameType {
    if value.contains("://") {
        NameType::Uri
    } else if value.contains('@') {
        NameType::Email
    } else if value.parse::<std::net::IpAddr>().is_ok() {
        NameType::Ip
    } else {
        NameType::Dns
    }
}
