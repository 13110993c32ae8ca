//! Judges the subject of a request against a profile, and adds the profile's fixed attributes.
//!
//! What is wrong with a single value is found in `x509/distinguished_name.rs`.

use std::borrow::Cow;

use super::names::describe;
use super::profile::Presence;
use super::{CompiledProfile, Evaluation, authority, listed, shown, violation};
use crate::error::Violation;
use crate::x509::distinguished_name::{Attribute, AttributeType};
use crate::x509::{DistinguishedName, NameType, SubjectAltName};

/// The clause that bounds attribute values.
const BOUNDS_RULE: &str = "RFC 5280, appendix A.1";

/// Judges the subject; `names` are the names that will be signed. The CSR's subject is kept octet for octet unless
/// a fixed attribute is missing in it.
pub(super) fn judge(
    evaluation: &Evaluation<'_>,
    names: &[SubjectAltName],
) -> Result<DistinguishedName, Vec<Violation>> {
    let mut violations = Vec::new();
    let given = match &evaluation.adjustments.subject {
        None => Cow::Borrowed(evaluation.request.subject()),
        Some(attributes) => match adjusted(attributes, &mut violations) {
            Some(subject) => Cow::Owned(subject),
            None => return Err(violations),
        },
    };
    let judgement = Judgement {
        profile: evaluation.profile,
        names_are_granted: evaluation.grants.names().is_some(),
        place: place(evaluation),
    };
    if given.is_multi_valued() {
        violations.push(judgement.multi_valued(&given));
    }
    violations.extend(given.attributes().iter().filter_map(|attribute| judgement.attribute(attribute, names)));
    judgement.common_name(&given, names, &mut violations);
    if !violations.is_empty() {
        return Err(violations);
    }
    let subject = with_fixed(&given, &judgement).map_err(|refused| vec![refused])?;
    if subject.is_empty() && judgement.profile.profile().certificate_authority.is_some() {
        return Err(vec![authority::nameless(judgement.place)]);
    }
    Ok(subject)
}

/// Returns where the subject is in the request.
pub(super) const fn place(evaluation: &Evaluation<'_>) -> &'static str {
    if evaluation.adjustments.subject.is_some() { "subject" } else { "csr.subject" }
}

/// Encodes the subject of the request body; without it when not even its well-formed attributes make a name.
fn adjusted(attributes: &[(AttributeType, String)], violations: &mut Vec<Violation>) -> Option<DistinguishedName> {
    let joint = match DistinguishedName::from_attributes(attributes) {
        Ok(subject) => return Some(subject),
        Err(error) => error,
    };
    let before = violations.len();
    let mut well_formed = Vec::with_capacity(attributes.len());
    for attribute in attributes {
        match DistinguishedName::from_attributes(std::slice::from_ref(attribute)) {
            Ok(_) => well_formed.push(attribute.clone()),
            Err(error) => violations.push(malformed(
                format!("subject.{}", attribute.0.as_str()),
                &attribute.1,
                format!("the subject attribute `{}` is malformed: {error}", attribute.0.as_str()),
            )),
        }
    }
    if violations.len() == before {
        violations.push(malformed("subject".to_owned(), "", format!("the subject is malformed: {joint}")));
        return None;
    }
    DistinguishedName::from_attributes(&well_formed).ok()
}

fn malformed(field: String, value: &str, message: String) -> Violation {
    violation("subject_attribute_malformed", field, value, BOUNDS_RULE, message)
}

/// Adds the fixed attributes that are missing.
fn with_fixed(given: &DistinguishedName, judgement: &Judgement<'_>) -> Result<DistinguishedName, Violation> {
    let fixed = &judgement.profile.profile().subject.fixed;
    let missing: Vec<_> = fixed.iter().filter(|(kind, _)| given.values(**kind).next().is_none()).collect();
    if missing.is_empty() {
        return Ok(given.clone());
    }
    let mut attributes: Vec<(AttributeType, String)> = given
        .attributes()
        .iter()
        .filter_map(|attribute| attribute.attribute_type.map(|kind| (kind, attribute.value.clone())))
        .chain(missing.into_iter().map(|(kind, value)| (*kind, value.clone())))
        .collect();
    // The sort is stable: several domain components or units keep their order.
    attributes.sort_by_key(|(kind, _)| place_in_name(*kind));
    DistinguishedName::from_attributes(&attributes).map_err(|error| {
        malformed(
            judgement.place.to_owned(),
            "",
            format!("the subject with its fixed attributes is malformed: {error}"),
        )
    })
}

/// Returns where an attribute stands in a subject that is put together here: from the widest to the common name.
const fn place_in_name(kind: AttributeType) -> u8 {
    match kind {
        AttributeType::DomainComponent => 0,
        AttributeType::Country => 1,
        AttributeType::State => 2,
        AttributeType::Locality => 3,
        AttributeType::PostalCode => 4,
        AttributeType::StreetAddress => 5,
        AttributeType::Organization => 6,
        AttributeType::OrganizationIdentifier => 7,
        AttributeType::OrganizationalUnit => 8,
        AttributeType::Title => 9,
        AttributeType::Surname => 10,
        AttributeType::GivenName => 11,
        AttributeType::SerialNumber => 12,
        AttributeType::UserId => 13,
        AttributeType::EmailAddress => 14,
        AttributeType::CommonName => 15,
    }
}

/// What the single checks need.
struct Judgement<'a> {
    profile: &'a CompiledProfile,
    /// Whether the caller's grants say which names it may have signed: then a common name is one of them under every profile, since
    /// there are services that take a common name for an identity.
    names_are_granted: bool,
    place: &'static str,
}

impl Judgement<'_> {
    fn rule(&self, setting: &str) -> String {
        self.profile.rule(setting)
    }

    fn multi_valued(&self, given: &DistinguishedName) -> Violation {
        let message =
            "the subject has several attributes in one relative distinguished name (`CN=a+O=b`); write each by itself"
                .to_owned();
        violation("subject_multi_valued", self.place, &given.to_string(), self.rule("subject"), message)
    }

    /// Judges one attribute by itself.
    fn attribute(&self, attribute: &Attribute, names: &[SubjectAltName]) -> Option<Violation> {
        let name = match attribute.attribute_type {
            Some(kind) => kind.as_str().to_owned(),
            None => attribute.oid.to_string(),
        };
        let field = || format!("{}.{name}", self.place);
        if let Some(defect) = &attribute.defect {
            let message = format!("the subject attribute `{name}` is malformed: {defect}");
            return Some(malformed(field(), &attribute.value, message));
        }
        let subject = &self.profile.profile().subject;
        if attribute.attribute_type == Some(AttributeType::EmailAddress)
            && self.names_are_granted
            && !is_among(&attribute.value, names)
        {
            let message = format!(
                "the e-mail address `{}` in the subject is not among the subject alternative names; ask for it there",
                shown(&attribute.value)
            );
            let rule = "grants.names".to_owned();
            return Some(violation("email_address_not_in_names", field(), &attribute.value, rule, message));
        }
        if let Some(kind) = attribute.attribute_type {
            if let Some(fixed) = subject.fixed.get(&kind) {
                let message = || {
                    format!(
                        "the subject attribute `{name}` must be `{}`, not `{}`; leave it out and it is added",
                        shown(fixed),
                        shown(&attribute.value)
                    )
                };
                return (*fixed != attribute.value).then(|| {
                    let rule = self.rule(&format!("subject.fixed.{name}"));
                    violation("subject_fixed_value", field(), &attribute.value, rule, message())
                });
            }
            if kind == AttributeType::CommonName || subject.allowed.contains(&kind) {
                return None;
            }
        }
        let message = format!("the subject attribute `{name}` is not allowed; allowed: {}", self.allowed());
        Some(violation(
            "subject_attribute_not_allowed",
            field(),
            &attribute.value,
            self.rule("subject.allowed"),
            message,
        ))
    }

    /// Lists the attributes that may be there.
    fn allowed(&self) -> String {
        let subject = &self.profile.profile().subject;
        let mut names: Vec<&str> = Vec::new();
        if subject.common_name != Presence::Forbidden {
            names.push(AttributeType::CommonName.as_str());
        }
        for kind in subject.allowed.iter().chain(subject.fixed.keys()) {
            if *kind != AttributeType::CommonName && !names.contains(&kind.as_str()) {
                names.push(kind.as_str());
            }
        }
        listed(&names)
    }

    /// Judges how many common names there are, and whether they are among the names.
    fn common_name(&self, given: &DistinguishedName, names: &[SubjectAltName], violations: &mut Vec<Violation>) {
        let field = || format!("{}.common_name", self.place);
        let subject = &self.profile.profile().subject;
        let mut all =
            given.attributes().iter().filter(|attribute| attribute.attribute_type == Some(AttributeType::CommonName));
        let first = all.next();
        let further = all.count();
        if further > 0 {
            let message = format!("the subject has {} common names; at most one is allowed", further.saturating_add(1));
            violations.push(malformed(field(), first.map_or("", |attribute| &attribute.value), message));
        }
        let fixed = subject.fixed.get(&AttributeType::CommonName);
        let value = first.map(|attribute| attribute.value.as_str()).or(fixed.map(String::as_str));
        match (subject.common_name, value) {
            (Presence::Required, None) => {
                let message = "the subject has no common name, and the profile requires one".to_owned();
                violations.push(violation(
                    "common_name_required",
                    field(),
                    "",
                    self.rule("subject.common_name"),
                    message,
                ));
            }
            (Presence::Forbidden, Some(value)) => {
                let message = format!(
                    "the subject has the common name `{}`, and the profile forbids one; ask for names as subject alternative names",
                    shown(value)
                );
                violations.push(violation(
                    "common_name_forbidden",
                    field(),
                    value,
                    self.rule("subject.common_name"),
                    message,
                ));
            }
            (Presence::Required | Presence::Optional, Some(value)) => {
                let has_defect = first.is_some_and(|attribute| attribute.defect.is_some());
                let rule = match (self.profile.profile().common_name_in_names, self.names_are_granted) {
                    (true, _) => Some(self.rule("common_name_in_names")),
                    (false, true) => Some("grants.names".to_owned()),
                    (false, false) => None,
                };
                if let Some(rule) = rule.filter(|_rule| !has_defect && !is_among(value, names)) {
                    violations.push(violation("common_name_not_in_names", field(), value, rule, not_in_names(value)));
                }
            }
            (Presence::Forbidden | Presence::Optional, None) => {}
        }
    }
}

/// Whether a common name is one of the names, both in normal form.
fn is_among(common_name: &str, names: &[SubjectAltName]) -> bool {
    names.iter().any(|name| match name {
        SubjectAltName::Dns(dns) => dns.as_str() == common_name,
        SubjectAltName::Ip(_) => false,
        SubjectAltName::Uri(uri) => uri.as_str() == common_name,
        SubjectAltName::Email(email) => email.as_str() == common_name,
    }) || as_name(common_name).is_some_and(|name| names.contains(&name))
}

/// Returns a common name as the DNS name or IP address that it is.
fn as_name(common_name: &str) -> Option<SubjectAltName> {
    [NameType::Dns, NameType::Ip].into_iter().find_map(|kind| SubjectAltName::parse(kind, common_name).ok())
}

fn not_in_names(common_name: &str) -> String {
    let fix = match as_name(common_name) {
        Some(name) => {
            let prefix = if name.name_type() == NameType::Ip { "IP" } else { "DNS" };
            format!(
                "add it as {}, with OpenSSL: `openssl req -addext \"subjectAltName={prefix}:{}\" ...`",
                describe(name.name_type()),
                name.value()
            )
        }
        None => "leave it out, or write one of the names there".to_owned(),
    };
    format!("the common name `{}` is not among the subject alternative names; {fix}", shown(common_name))
}
