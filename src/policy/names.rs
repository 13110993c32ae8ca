//! Which names may be signed: patterns for DNS, URI and e-mail, blocks for IP, allow and deny.
//!
//! A name is matched in its normal form only (see `x509/subject_alt_name.rs`); patterns are normalised the same way when compiled.
//! Which names a request asks for is found out in `requested_names.rs`.

mod dns;
mod email;
mod ip;
mod uri;

use serde::{Deserialize, Serialize};

use self::dns::DnsPatterns;
use self::email::EmailPattern;
use self::ip::IpPattern;
use self::uri::UriPattern;
use super::profile::{DnsSection, NameSection};
use super::{listed, shown, violation};
use crate::error::{Error, Result, Violation};
use crate::x509::subject_alt_name::DnsName;
use crate::x509::{NameType, SubjectAltName};

/// The most names without a section that are reported one by one, so that an answer stays short.
const REPORTED_WITHOUT_SECTION: usize = 100;

/// The four sections of name rules as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NameSections {
    /// DNS names; without this section they are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsSection>,
    /// IP addresses; without this section they are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<NameSection>,
    /// URIs; without this section they are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<NameSection>,
    /// E-mail addresses; without this section they are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<NameSection>,
}

/// A pattern for one type of name.
trait Pattern: Sized {
    /// What is matched.
    type Name: ?Sized;

    /// Compiles a pattern; the error says what is wrong with it and what would be accepted.
    fn compile(text: &str) -> Result<Self, String>;

    /// Whether the pattern, as an allowed one, admits the name.
    fn admits(&self, name: &Self::Name) -> bool;

    /// Whether the pattern, as a denied one, refuses the name; at least what [`Self::admits`] admits.
    fn denies(&self, name: &Self::Name) -> bool;
}

/// Compiled rules for one type of name.
#[derive(Clone, Debug)]
struct Section<P> {
    allow: Vec<P>,
    deny: Vec<(String, P)>,
    bounds: Bounds,
}

/// Compiled rules for DNS names.
#[derive(Clone, Debug)]
struct DnsRules {
    allow: DnsPatterns,
    deny: DnsPatterns,
    wildcards: bool,
    underscores: bool,
    bounds: Bounds,
}

/// What every section has, and what its messages need.
#[derive(Clone, Debug)]
struct Bounds {
    allowed: Vec<String>,
    maximum: usize,
}

/// What a section says about one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict<'a> {
    Admitted,
    Denied(&'a str),
    NotAllowed,
}

/// Compiled rules for names. The default refuses every name.
#[derive(Clone, Debug, Default)]
pub struct NameRules {
    dns: Option<DnsRules>,
    ip: Option<Section<IpPattern>>,
    uri: Option<Section<UriPattern>>,
    email: Option<Section<EmailPattern>>,
}

impl NameRules {
    /// Compiles the sections.
    ///
    /// # Errors
    /// `Malformed` with every pattern that is not one and what would be accepted.
    pub fn compile(sections: &NameSections) -> Result<Self> {
        let mut problems = Vec::new();
        let rules = Self::compile_into(sections, &mut problems);
        if problems.is_empty() {
            Ok(rules)
        } else {
            Err(Error::malformed(format!("the name rules are not valid: {}", problems.join("; "))))
        }
    }

    /// Compiles the sections; rules without the patterns that are named in `problems`.
    pub(super) fn compile_into(sections: &NameSections, problems: &mut Vec<String>) -> Self {
        Self {
            dns: sections.dns.as_ref().map(|section| DnsRules::compile(section, problems)),
            ip: sections.ip.as_ref().map(|section| Section::compile(section, NameType::Ip, problems)),
            uri: sections.uri.as_ref().map(|section| Section::compile(section, NameType::Uri, problems)),
            email: sections.email.as_ref().map(|section| Section::compile(section, NameType::Email, problems)),
        }
    }

    /// Judges every name (already without duplicates). `rule_prefix` names the rule's owner in violations, such as
    /// `profiles.server` or `grants.names`; `fields` gives the field of each name, such as `csr.subject_alt_names[0]`.
    #[must_use]
    pub fn violations(&self, names: &[SubjectAltName], fields: &[String], rule_prefix: &str) -> Vec<Violation> {
        let mut violations = Vec::new();
        let field = |index: usize| fields.get(index).cloned().unwrap_or_else(|| format!("subject_alt_names[{index}]"));
        self.judge(names, field, rule_prefix, &mut violations);
        violations
    }

    /// As [`Self::violations`], with fields made only for names that are refused.
    pub(super) fn judge(
        &self,
        names: &[SubjectAltName],
        field: impl Fn(usize) -> String,
        rule_prefix: &str,
        violations: &mut Vec<Violation>,
    ) {
        let mut counts = Counts::default();
        for (index, name) in names.iter().enumerate() {
            let refusal = Refusal { name, rule_prefix, field: || field(index) };
            let count = counts.next(name.name_type());
            let Some(bounds) = self.bounds(name.name_type()) else {
                if count <= REPORTED_WITHOUT_SECTION {
                    violations.push(refusal.without_section());
                }
                continue;
            };
            // Names over the maximum are refused together, once: an answer must not grow with them.
            if count > bounds.maximum {
                if count == bounds.maximum.saturating_add(1) {
                    let total = names.iter().filter(|other| other.name_type() == name.name_type()).count();
                    violations.push(refusal.too_many(total, bounds.maximum));
                }
                continue;
            }
            if let (SubjectAltName::Dns(dns), Some(rules)) = (name, &self.dns) {
                rules.judge_form(dns, &refusal, violations);
            }
            match self.verdict(name) {
                Verdict::Admitted => {}
                Verdict::Denied(pattern) => violations.push(refusal.denied(pattern)),
                Verdict::NotAllowed => violations.push(refusal.not_allowed(&bounds.allowed)),
            }
        }
    }

    /// Judges one name by the patterns alone.
    fn verdict(&self, name: &SubjectAltName) -> Verdict<'_> {
        match name {
            SubjectAltName::Dns(dns) => self.dns.as_ref().map(|rules| rules.verdict(dns.as_str())),
            SubjectAltName::Ip(address) => self.ip.as_ref().map(|section| section.verdict(address)),
            SubjectAltName::Uri(uri) => self.uri.as_ref().map(|section| section.verdict(uri.as_str())),
            SubjectAltName::Email(email) => self.email.as_ref().map(|section| section.verdict(email.as_str())),
        }
        .unwrap_or(Verdict::NotAllowed)
    }

    fn bounds(&self, name_type: NameType) -> Option<&Bounds> {
        match name_type {
            NameType::Dns => self.dns.as_ref().map(|rules| &rules.bounds),
            NameType::Ip => self.ip.as_ref().map(|section| &section.bounds),
            NameType::Uri => self.uri.as_ref().map(|section| &section.bounds),
            NameType::Email => self.email.as_ref().map(|section| &section.bounds),
        }
    }
}

impl<P: Pattern> Section<P> {
    fn compile(section: &NameSection, name_type: NameType, problems: &mut Vec<String>) -> Self {
        let mut patterns = |list: &str, texts: &[String]| -> Vec<(String, P)> {
            let mut compiled = Vec::with_capacity(texts.len());
            for text in texts {
                match P::compile(text) {
                    Ok(pattern) => compiled.push((text.clone(), pattern)),
                    Err(problem) => problems.push(pattern_problem(name_type, list, text, &problem)),
                }
            }
            compiled
        };
        let allow = patterns("allow", &section.allow).into_iter().map(|(_, pattern)| pattern).collect();
        let deny = patterns("deny", &section.deny);
        Self { allow, deny, bounds: Bounds { allowed: section.allow.clone(), maximum: section.maximum } }
    }

    fn verdict(&self, name: &P::Name) -> Verdict<'_> {
        if let Some((text, _)) = self.deny.iter().find(|(_, pattern)| pattern.denies(name)) {
            Verdict::Denied(text)
        } else if self.allow.iter().any(|pattern| pattern.admits(name)) {
            Verdict::Admitted
        } else {
            Verdict::NotAllowed
        }
    }
}

impl DnsRules {
    fn compile(section: &DnsSection, problems: &mut Vec<String>) -> Self {
        let mut patterns = |list: &str, texts: &[String]| {
            let (patterns, refused) = DnsPatterns::compile(texts);
            problems.extend(refused.iter().map(|(text, problem)| pattern_problem(NameType::Dns, list, text, problem)));
            patterns
        };
        Self {
            allow: patterns("allow", &section.allow),
            deny: patterns("deny", &section.deny),
            wildcards: section.wildcards,
            underscores: section.underscores,
            bounds: Bounds { allowed: section.allow.clone(), maximum: section.maximum },
        }
    }

    fn verdict(&self, name: &str) -> Verdict<'_> {
        if let Some(text) = self.deny.denies(name) {
            Verdict::Denied(text)
        } else if self.allow.admits(name) {
            Verdict::Admitted
        } else {
            Verdict::NotAllowed
        }
    }

    /// Judges wildcards and underscores, whatever the patterns say.
    fn judge_form<F: Fn() -> String>(&self, name: &DnsName, refusal: &Refusal<'_, F>, violations: &mut Vec<Violation>) {
        let value = name.as_str();
        if name.is_wildcard() && !self.wildcards {
            let message = format!("the wildcard `{}` is not allowed; ask for each name by itself", shown(value));
            violations.push(refusal.violation("wildcard_not_allowed", "wildcards", message));
        }
        if name.has_underscore() && !self.underscores {
            let message = format!(
                "the DNS name `{}` has an underscore, which host names may not have; use letters, digits and hyphens",
                shown(value)
            );
            violations.push(refusal.violation("underscore_not_allowed", "underscores", message));
        }
    }
}

/// How many names of each type have been seen.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    dns: usize,
    ip: usize,
    uri: usize,
    email: usize,
}

impl Counts {
    /// Counts one more of the type, and returns how many there are now.
    const fn next(&mut self, name_type: NameType) -> usize {
        let count = match name_type {
            NameType::Dns => &mut self.dns,
            NameType::Ip => &mut self.ip,
            NameType::Uri => &mut self.uri,
            NameType::Email => &mut self.email,
        };
        *count = count.saturating_add(1);
        *count
    }
}

/// What the violations of one name have in common.
struct Refusal<'a, F> {
    name: &'a SubjectAltName,
    rule_prefix: &'a str,
    field: F,
}

impl<F: Fn() -> String> Refusal<'_, F> {
    /// Makes a violation of the setting of the name's section.
    fn violation(&self, code: &'static str, setting: &str, message: String) -> Violation {
        let rule = format!("{}.{}.{setting}", self.rule_prefix, self.name.name_type().as_str());
        violation(code, (self.field)(), &self.name.value(), rule, message)
    }

    fn described(&self) -> String {
        format!("the {} `{}`", describe(self.name.name_type()), shown(&self.name.value()))
    }

    fn without_section(&self) -> Violation {
        let name_type = self.name.name_type();
        let message = format!(
            "{} is not allowed: `{}` has no section `{}`, so that names of this type are refused",
            self.described(),
            self.rule_prefix,
            name_type.as_str()
        );
        let rule = format!("{}.{}", self.rule_prefix, name_type.as_str());
        violation("name_type_not_allowed", (self.field)(), &self.name.value(), rule, message)
    }

    fn too_many(&self, total: usize, maximum: usize) -> Violation {
        let message = format!(
            "the request has {total} names of the type `{}`; at most {maximum} are allowed in one certificate",
            self.name.name_type().as_str()
        );
        let mut refused = self.violation("too_many_names", "maximum", message);
        refused.value = total.to_string();
        refused
    }

    fn denied(&self, pattern: &str) -> Violation {
        let message = match self.name {
            SubjectAltName::Dns(name) if name.is_wildcard() => {
                format!("{} covers names that are denied by `{pattern}`; ask for each name by itself", self.described())
            }
            _ => format!("{} is denied by `{pattern}`; ask for another name", self.described()),
        };
        self.violation("name_denied", "deny", message)
    }

    fn not_allowed(&self, allowed: &[String]) -> Violation {
        let subject = self.described();
        let message = match self.name.name_type() {
            NameType::Ip => format!("{subject} is in no allowed block; allowed: {}", listed(allowed)),
            NameType::Dns | NameType::Uri | NameType::Email => {
                format!("{subject} matches no allowed pattern; allowed: {}", listed(allowed))
            }
        };
        self.violation("name_not_allowed", "allow", message)
    }
}

/// Returns the type of name as people call it.
pub(super) const fn describe(name_type: NameType) -> &'static str {
    match name_type {
        NameType::Dns => "DNS name",
        NameType::Ip => "IP address",
        NameType::Uri => "URI",
        NameType::Email => "e-mail address",
    }
}

fn pattern_problem(name_type: NameType, list: &str, text: &str, problem: &str) -> String {
    format!("`{}.{list}`: the pattern `{}` {problem}", name_type.as_str(), shown(text))
}

#[cfg(test)]
mod tests;
