//! What the chain of an issuer allows: the bounds of every CA certificate above, so that nothing is signed that its own chain rejects.
//!
//! What a profile allows is judged elsewhere; this is what no profile can give.

mod policies;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_SERVER_AUTH};

use self::policies::PolicyLimits;
use super::{listed, shown, violation};
use crate::error::Violation;
use crate::x509::name_constraints::{Cause, CommonNameUse, Conflict, JudgedNames, NameForm, Place};
use crate::x509::{Certificate, DistinguishedName, ExtendedKeyUsage, NameConstraints, SubjectAltName, Timestamp};

/// The most comparisons of names with constraints that one certificate may cost those who verify it; webpki gives up beyond it.
const MAXIMUM_COMPARISONS: usize = 250_000;

/// What the chosen issuer bounds. Made once per issuer and shared.
#[derive(Clone, Debug)]
pub struct IssuerLimits {
    /// The first second of the issuer certificate.
    pub not_before: Timestamp,
    /// The last second of the issuer certificate.
    pub not_after: Timestamp,
    subjects: Vec<DistinguishedName>,
    name_constraints: Vec<(String, NameConstraints)>,
    extended_key_usages: Vec<(String, Vec<ExtendedKeyUsage>)>,
    path_length: Option<PathLength>,
    policies: PolicyLimits,
}

/// How many CA certificates may still follow, and which certificate says so.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PathLength {
    remaining: u8,
    subject: String,
    written: u8,
}

/// A certificate that is about to be signed, as far as its chain bounds it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The subject; `None` when it was refused already, so that there will be none.
    pub subject: Option<&'a DistinguishedName>,
    /// The subject alternative names.
    pub names: &'a [SubjectAltName],
    /// The extended key usages; empty for none.
    pub extended_key_usage: &'a [ExtendedKeyUsage],
    /// The certificate policies; empty for none.
    pub certificate_policies: &'a [ObjectIdentifier],
    /// For a CA certificate, its path length.
    pub certificate_authority: Option<Option<u8>>,
}

/// The parts of a candidate that a violation can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The subject, or one of its attributes.
    Subject(Option<&'static str>),
    /// The subject alternative name of this index.
    Name(usize),
    /// The extended key usages.
    ExtendedKeyUsage,
    /// The certificate policies.
    CertificatePolicies,
    /// The basic constraints.
    BasicConstraints,
}

impl IssuerLimits {
    /// Takes the limits of an issuer from its certificate and those above it, the next one first.
    #[must_use]
    pub fn of_chain(certificate: &Certificate, above: &[Certificate]) -> Self {
        let chain: Vec<&Certificate> = std::iter::once(certificate).chain(above).collect();
        let subject = |certificate: &Certificate| certificate.subject.to_string();
        let name_constraints = chain.iter().filter_map(|ca| Some((subject(ca), ca.name_constraints.clone()?)));
        let extended_key_usages = chain.iter().filter_map(|ca| Some((subject(ca), ca.extended_key_usage.clone()?)));
        Self {
            subjects: chain.iter().map(|ca| ca.subject.clone()).collect(),
            name_constraints: name_constraints.collect(),
            extended_key_usages: extended_key_usages.collect(),
            path_length: path_length(&chain),
            policies: PolicyLimits::of_chain(&chain),
            ..Self::lasting(certificate.not_before, certificate.not_after)
        }
    }

    /// Returns the limits of an issuer that is bounded by its validity alone.
    #[must_use]
    pub fn lasting(not_before: Timestamp, not_after: Timestamp) -> Self {
        Self {
            not_before,
            not_after,
            subjects: Vec::new(),
            name_constraints: Vec::new(),
            extended_key_usages: Vec::new(),
            path_length: None,
            policies: PolicyLimits::default(),
        }
    }

    /// Keeps the names of further CAs from being given to one below: its CRLs would pass for theirs.
    #[must_use]
    pub fn reserving(mut self, subjects: &[DistinguishedName]) -> Self {
        self.subjects.extend_from_slice(subjects);
        self
    }

    fn is_reserved(&self, subject: &DistinguishedName) -> bool {
        self.subjects.iter().any(|reserved| reserved.is_equivalent(subject))
    }

    /// Returns how many CA certificates may follow below the issuer; `None` when nothing bounds it.
    #[must_use]
    pub fn remaining_path_length(&self) -> Option<u8> {
        self.path_length.as_ref().map(|limit| limit.remaining)
    }

    /// Whether the name constraints of the chain let the name pass.
    #[must_use]
    pub fn admit_name(&self, name: &SubjectAltName) -> bool {
        let judged = JudgedNames {
            subject: &DistinguishedName::default(),
            names: std::slice::from_ref(name),
            common_name: CommonNameUse::Nothing,
        };
        self.name_constraints.iter().all(|(_, constraints)| constraints.conflicts(&judged).is_empty())
    }

    /// Returns every way in which verifiers would reject the candidate for its chain, in the order names, usages, path length, policies.
    /// `field` names its parts in violations.
    #[must_use]
    pub fn violations(&self, candidate: &Candidate<'_>, field: impl Fn(Part) -> String) -> Vec<Violation> {
        let mut violations = Vec::new();
        self.judge_names(candidate, &field, &mut violations);
        self.judge_usages(candidate, &field, &mut violations);
        self.judge_authority(candidate, &field, &mut violations);
        violations.extend(self.policies.violation(candidate, &field));
        violations
    }

    /// Returns the forms of name of which the name constraints of a CA below the issuer permit some, and those of the chain none of them: it could
    /// never sign a name of that form.
    #[must_use]
    pub fn unreachable(&self, constraints: &NameConstraints) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (ca, above) in &self.name_constraints {
            for form in constraints.unreachable_below(above) {
                let of_form = |constraints: &NameConstraints| {
                    let subtrees = constraints.permitted().iter().filter(|subtree| subtree.form() == form);
                    subtrees.map(ToString::to_string).collect::<Vec<_>>()
                };
                let (own, permitted) = (of_form(constraints), of_form(above));
                let what = if permitted.is_empty() {
                    "all are excluded there".to_owned()
                } else {
                    format!("permitted there: {}", listed(&permitted))
                };
                let message = format!(
                    "no {} could ever pass: what is to be permitted lies outside of what the name constraints of the CA `{}` leave; {what}",
                    form.described(),
                    shown(ca)
                );
                let field = format!("name_constraints.permitted.{}", form.as_str());
                let rule = format!("issuer.name_constraints.permitted.{}", form.as_str());
                violations.push(violation("issuer_name_constraints", field, &own.join(", "), rule, message));
            }
        }
        violations
    }

    fn judge_names(&self, candidate: &Candidate<'_>, field: &impl Fn(Part) -> String, violations: &mut Vec<Violation>) {
        if self.name_constraints.is_empty() {
            return;
        }
        let subtrees: usize = self.name_constraints.iter().map(|(_, constraints)| constraints.len()).sum();
        let comparisons = subtrees.saturating_mul(candidate.names.len().saturating_add(1));
        if comparisons > MAXIMUM_COMPARISONS {
            let message = format!(
                "the request has {} names, and its chain {subtrees} name constraints, which is more than verifiers compare; ask for at most {} names",
                candidate.names.len(),
                (MAXIMUM_COMPARISONS / subtrees.max(1)).saturating_sub(1)
            );
            let (field, value) = (field(Part::Name(0)), candidate.names.len().to_string());
            violations.push(violation("issuer_name_constraints", field, &value, "issuer.name_constraints", message));
            return;
        }
        let nobody = DistinguishedName::default();
        let judged = JudgedNames {
            subject: candidate.subject.unwrap_or(&nobody),
            names: candidate.names,
            common_name: common_name_use(candidate),
        };
        for (ca, constraints) in &self.name_constraints {
            let conflicts = constraints.conflicts(&judged);
            violations.extend(conflicts.iter().map(|conflict| name_violation(ca, constraints, conflict, field)));
        }
    }

    /// Every verifier takes the extended key usages of a CA for limits of what is below. `anyExtendedKeyUsage` there lifts them
    /// for none but the relying parties that ask for no purpose: OpenSSL, GnuTLS and webpki reject a server below it.
    fn judge_usages(
        &self,
        candidate: &Candidate<'_>,
        field: &impl Fn(Part) -> String,
        violations: &mut Vec<Violation>,
    ) {
        for (ca, allowed) in &self.extended_key_usages {
            for usage in candidate.extended_key_usage.iter().filter(|usage| !allowed.contains(usage)) {
                let message = format!(
                    "the extended key usage `{usage}` is not among those of the CA `{}`, which bound all that is below it; there: {}",
                    shown(ca),
                    listed(allowed)
                );
                let (field, value) = (field(Part::ExtendedKeyUsage), usage.to_string());
                let rule = "issuer.extended_key_usage";
                violations.push(violation("issuer_extended_key_usage", field, &value, rule, message));
            }
        }
    }

    fn judge_authority(
        &self,
        candidate: &Candidate<'_>,
        field: &impl Fn(Part) -> String,
        violations: &mut Vec<Violation>,
    ) {
        let Some(asked) = candidate.certificate_authority else { return };
        if let Some(subject) = candidate.subject.filter(|subject| self.is_reserved(subject)) {
            let message = format!(
                "the subject `{}` is that of another CA; each needs a name of its own, by which certificates and CRLs refer to it",
                shown(&subject.to_string())
            );
            let rule = "RFC 5280, section 4.1.2.6";
            violations.push(violation(
                "subject_of_issuer",
                field(Part::Subject(None)),
                &subject.to_string(),
                rule,
                message,
            ));
        }
        let Some(limit) = &self.path_length else { return };
        let ca = shown(&limit.subject);
        let message = match limit.remaining.checked_sub(1) {
            None => format!(
                "no CA can be below this issuer: the path length of the CA `{ca}` is {}, and as many are below it already; use an issuer that \
                 may have CAs below it",
                limit.written
            ),
            Some(greatest) if asked.is_none_or(|asked| asked > greatest) => format!(
                "the path length is too long: that of the CA `{ca}` above is {}; ask for at most {greatest}",
                limit.written
            ),
            Some(_) => return,
        };
        let value = asked.map_or_else(String::new, |asked| asked.to_string());
        let rule = "issuer.path_length";
        violations.push(violation("issuer_path_length", field(Part::BasicConstraints), &value, rule, message));
    }
}

/// Finds the certificate that leaves the fewest CA certificates below the issuer (RFC 5280, section 6.1.4 (l) and (m)).
fn path_length(chain: &[&Certificate]) -> Option<PathLength> {
    let mut below: u8 = 0;
    let mut least: Option<PathLength> = None;
    for certificate in chain {
        if let Some(written) = certificate.certificate_authority.flatten() {
            let remaining = written.saturating_sub(below);
            if least.as_ref().is_none_or(|least| remaining < least.remaining) {
                least = Some(PathLength { remaining, subject: certificate.subject.to_string(), written });
            }
        }
        if !certificate.is_self_issued() {
            below = below.saturating_add(1);
        }
    }
    least
}

fn common_name_use(candidate: &Candidate<'_>) -> CommonNameUse {
    let is_for_servers = |usage: &ExtendedKeyUsage| [ID_KP_SERVER_AUTH, ANY_EXTENDED_KEY_USAGE].contains(&usage.oid());
    if candidate.certificate_authority.is_some() {
        CommonNameUse::Nothing
    } else if candidate.extended_key_usage.is_empty() || candidate.extended_key_usage.iter().any(is_for_servers) {
        CommonNameUse::Host
    } else {
        CommonNameUse::PerhapsHost
    }
}

fn name_violation(
    ca: &str,
    constraints: &NameConstraints,
    conflict: &Conflict<'_>,
    field: &impl Fn(Part) -> String,
) -> Violation {
    let (form, ca) = (conflict.form, shown(ca));
    let value = shown(&conflict.value);
    let (part, name) = match conflict.place {
        Place::Subject => (Part::Subject(None), format!("the subject `{value}`")),
        Place::CommonName => (
            Part::Subject(Some("common_name")),
            format!("the common name `{value}`, which is taken for a DNS name where there is none,"),
        ),
        Place::EmailAddress => {
            (Part::Subject(Some("email_address")), format!("the e-mail address `{value}` in the subject"))
        }
        Place::Name(index) => (Part::Name(index), format!("the {} `{value}`", form.described())),
    };
    let of_ca = format!("the name constraints of the CA `{ca}`");
    let (rule, message) = match &conflict.cause {
        Cause::Excluded(subtree) => {
            let what = excluded(&subtree.to_string(), form);
            (".excluded", format!("{name} is excluded by {of_ca}: {what}; ask for another name"))
        }
        Cause::NotPermitted => {
            let of_form = constraints.permitted().iter().filter(|subtree| subtree.form() == form);
            let permitted: Vec<String> = of_form.map(ToString::to_string).collect();
            (".permitted", format!("{name} is not permitted by {of_ca}; permitted: {}", listed(&permitted)))
        }
        Cause::Unprocessed(subtree, reason) => (
            "",
            format!(
                "{name} cannot be signed: {of_ca} have an entry `{}` that {reason}; use another issuer",
                shown(&subtree.to_string())
            ),
        ),
        Cause::Unclear(reason) => ("", format!("{name} cannot be judged by {of_ca}: {reason}")),
    };
    let rule = format!("issuer.name_constraints{rule}.{}", form.as_str());
    violation("issuer_name_constraints", field(part), &conflict.value, rule, message)
}

/// Shows an excluded subtree; the empty one covers everything.
fn excluded(subtree: &str, form: NameForm) -> String {
    if subtree.is_empty() { format!("every {}", form.described()) } else { format!("`{}`", shown(subtree)) }
}
