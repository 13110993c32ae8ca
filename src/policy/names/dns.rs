//! Patterns for DNS names: `*` is exactly one label, `**` one or more, both only as whole labels, at any place.
//!
//! Names come here in normal form; what a well-formed name is, is decided in `x509/subject_alt_name.rs`.

use std::collections::HashSet;
use std::net::IpAddr;

/// One label of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Label {
    /// Exactly this label.
    Literal(Box<str>),
    /// `*`: any one label.
    One,
    /// `**`: one or more labels.
    Many,
}

/// How the `*` label of a wildcard name meets a literal label of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Every name that the wildcard covers must match, so that `*` never meets a literal label.
    Allow,
    /// One covered name that matches is enough, so that `*` meets every label.
    Deny,
}

/// A compiled pattern for DNS names (also the host of a URI and the domain of an e-mail address).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DnsPattern {
    labels: Box<[Label]>,
}

impl DnsPattern {
    /// Compiles a pattern; upper case is folded. The error says what is wrong and what would be accepted.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty; write a name such as `app.internal`, or `**` for any name".to_owned());
        }
        if text.len() > 253 {
            return Err("is over 253 octets, more than any DNS name has".to_owned());
        }
        if text.ends_with('.') {
            return Err("ends with a dot; names are matched without the trailing dot".to_owned());
        }
        if let Some(parent) = text.strip_prefix('.') {
            return Err(format!("starts with a dot; write `**.{parent}` for every name below `{parent}`"));
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err("is an IP address; addresses belong in the `ip` section".to_owned());
        }
        let labels = text.split('.').map(label).collect::<Result<Box<[Label]>, String>>()?;
        Ok(Self { labels })
    }

    /// Returns the name itself, folded, when the pattern has no `*` or `**`.
    fn as_literal(&self) -> Option<String> {
        let labels: Option<Vec<&str>> = self
            .labels
            .iter()
            .map(|label| match label {
                Label::Literal(text) => Some(text.as_ref()),
                Label::One | Label::Many => None,
            })
            .collect();
        labels.map(|labels| labels.join("."))
    }

    /// Whether a name in normal form matches. Time is at most labels of the pattern times labels of the name.
    pub(super) fn matches(&self, name: &str, purpose: Purpose) -> bool {
        let mut labels = name.split('.');
        let mut pattern = self.labels.iter();
        // Where to go on when a label does not fit: behind the last `**`, which then takes one label more. Only the last
        // one needs to be tried again, because an earlier one that took more could leave nothing that this one cannot.
        let mut again = None;
        loop {
            match (labels.next(), pattern.next()) {
                (None, None) => return true,
                (None, Some(_)) => return false,
                (Some(""), _) => return false,
                (Some(_), Some(Label::Many)) => again = Some((labels.clone(), pattern.clone())),
                (Some(label), Some(expected)) if fits(label, expected, purpose) => {}
                (Some(_), _) => {
                    let Some((longer, behind)) = again.as_mut() else { return false };
                    if longer.next().is_none() {
                        return false;
                    }
                    labels = longer.clone();
                    pattern = behind.clone();
                }
            }
        }
    }
}

/// Whether one label of a name meets one label of a pattern.
fn fits(label: &str, expected: &Label, purpose: Purpose) -> bool {
    match expected {
        Label::One | Label::Many => true,
        Label::Literal(literal) => **literal == *label || (label == "*" && purpose == Purpose::Deny),
    }
}

/// Compiles one label.
fn label(text: &str) -> Result<Label, String> {
    match text {
        "*" => return Ok(Label::One),
        "**" => return Ok(Label::Many),
        "" => return Err("has an empty label; labels are separated by one dot".to_owned()),
        _ => {}
    }
    if text.contains('*') {
        return Err(format!("has `*` within the label `{text}`; `*` and `**` stand for whole labels only"));
    }
    if !text.is_ascii() {
        let hint = match idna::domain_to_ascii(text) {
            Ok(ascii) if !ascii.is_empty() => format!("; write it as `{ascii}`"),
            Ok(_) | Err(_) => String::new(),
        };
        return Err(format!("has the label `{text}` with characters outside ASCII{hint}"));
    }
    if text.len() > 63 {
        return Err(format!("has the label `{text}` of over 63 octets"));
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(format!("has the label `{text}` with a hyphen at its edge"));
    }
    if !text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_') {
        return Err(format!(
            "has the label `{text}`; labels are letters, digits, hyphens and underscores, or `*` or `**`"
        ));
    }
    Ok(Label::Literal(text.to_ascii_lowercase().into_boxed_str()))
}

/// Many patterns for DNS names: those without `*` are looked up, the others tried in turn.
#[derive(Clone, Debug, Default)]
pub(super) struct DnsPatterns {
    literals: HashSet<String>,
    patterns: Vec<(String, DnsPattern)>,
}

impl DnsPatterns {
    /// Compiles patterns, with every problem as text of the pattern and what is wrong with it.
    pub(super) fn compile(texts: &[String]) -> (Self, Vec<(String, String)>) {
        let mut compiled = Self::default();
        let mut problems = Vec::new();
        for text in texts {
            match DnsPattern::compile(text) {
                Ok(pattern) => match pattern.as_literal() {
                    Some(literal) => {
                        compiled.literals.insert(literal);
                    }
                    None => compiled.patterns.push((text.clone(), pattern)),
                },
                Err(problem) => problems.push((text.clone(), problem)),
            }
        }
        (compiled, problems)
    }

    /// Whether some pattern admits the name; a wildcard only when every name it covers is admitted.
    pub(super) fn admits(&self, name: &str) -> bool {
        self.literals.contains(name) || self.patterns.iter().any(|(_, pattern)| pattern.matches(name, Purpose::Allow))
    }

    /// Returns a pattern that the name, or a name that it covers, matches.
    pub(super) fn denies(&self, name: &str) -> Option<&str> {
        if let Some(literal) = self.literals.get(name) {
            return Some(literal);
        }
        if let Some(parent) = name.strip_prefix("*.") {
            let covered = |literal: &&String| literal.split_once('.').is_some_and(|(_, rest)| rest == parent);
            // The least one, so that the message does not change from run to run.
            if let Some(literal) = self.literals.iter().filter(covered).min() {
                return Some(literal);
            }
        }
        self.patterns.iter().find(|(_, pattern)| pattern.matches(name, Purpose::Deny)).map(|(text, _)| text.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        DnsPattern::compile(pattern).unwrap().matches(name, Purpose::Allow)
    }

    #[test]
    fn matches_whole_labels_only() {
        let table = [
            ("localhost", "localhost", true),
            ("localhost", "localhost.evil", false),
            ("LocalHost", "localhost", true),
            ("*.internal", "a.internal", true),
            ("*.internal", "a.b.internal", false),
            ("*.internal", "internal", false),
            ("*.internal", ".internal", false),
            ("**.internal", "a.internal", true),
            ("**.internal", "a.b.c.internal", true),
            ("**.internal", "internal", false),
            ("**.internal", "evilinternal", false),
            ("**.internal", "a.evilinternal", false),
            ("**.internal", "internal.evil.example", false),
            ("**.internal", "a.internal.evil", false),
            ("**.internal", "a.internal.", false),
            ("**.internal", "a..internal", false),
            ("**", "anything", true),
            ("**", "a.b.c", true),
            ("**", "", false),
            ("*", "single", true),
            ("*", "two.labels", false),
            ("*.svc.*.example.com", "a.svc.b.example.com", true),
            ("*.svc.*.example.com", "a.svc.b.c.example.com", false),
            ("*.svc.**.example.com", "a.svc.b.c.example.com", true),
            ("**.svc.**", "a.svc.b", true),
            ("**.svc.**", "svc.b", false),
            ("**.svc.**", "a.svc", false),
            ("**.svc.**", "svc.svc.svc", true),
            ("**.a.b.**.c", "x.a.a.b.y.c", true),
            ("**.a.b.**.c", "x.a.a.y.c", false),
            ("**.**", "one", false),
            ("**.**", "one.two", true),
            ("**.*.internal", "a.internal", false),
            ("**.*.internal", "b.a.internal", true),
            ("app.**", "app.x.y", true),
            ("app.**", "app", false),
            ("_sip.internal", "_sip.internal", true),
            ("xn--bcher-kva.internal", "xn--bcher-kva.internal", true),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(matches(pattern, name), expected, "`{pattern}` against `{name}`");
        }
    }

    #[test]
    fn admits_a_wildcard_only_when_everything_it_covers_is_admitted() {
        let table = [
            ("**.internal", "*.internal", true),
            ("*.internal", "*.internal", true),
            ("**.foo.internal", "*.foo.internal", true),
            ("foo.internal", "*.internal", false),
            ("*.foo.internal", "*.internal", false),
            ("**", "*.internal", true),
            ("**.foo.internal", "*.internal", false),
        ];
        for (pattern, name, expected) in table {
            let (patterns, problems) = DnsPatterns::compile(&[pattern.to_owned()]);
            assert!(problems.is_empty());
            assert_eq!(patterns.admits(name), expected, "`{pattern}` against `{name}`");
        }
    }

    #[test]
    fn denies_a_wildcard_that_covers_a_denied_name() {
        let table = [
            ("admin.internal", "*.internal", true),
            ("admin.internal", "admin.internal", true),
            ("admin.internal", "*.admin.internal", false),
            ("a.admin.internal", "*.internal", false),
            ("*.internal", "*.internal", true),
            ("**.internal", "*.internal", true),
            ("**.admin.internal", "*.internal", false),
            ("**.admin.internal", "*.admin.internal", true),
            ("admin.**", "*.internal", true),
            ("internal", "*.internal", false),
        ];
        for (pattern, name, expected) in table {
            let (patterns, problems) = DnsPatterns::compile(&[pattern.to_owned()]);
            assert!(problems.is_empty());
            assert_eq!(patterns.denies(name).is_some(), expected, "`{pattern}` against `{name}`");
        }
    }

    #[test]
    fn refuses_patterns_that_cannot_match_as_meant() {
        let table = [
            ("", "is empty"),
            (".internal", "write `**.internal`"),
            ("internal.", "ends with a dot"),
            ("a..internal", "empty label"),
            ("a*.internal", "whole labels only"),
            ("***.internal", "whole labels only"),
            ("10.0.0.1", "`ip` section"),
            ("::1", "`ip` section"),
            ("bücher.internal", "xn--bcher-kva"),
            ("-a.internal", "hyphen at its edge"),
            ("a b.internal", "letters, digits"),
            ("a.internal/8", "letters, digits"),
        ];
        for (pattern, expected) in table {
            let problem = DnsPattern::compile(pattern).unwrap_err();
            assert!(problem.contains(expected), "`{pattern}`: {problem}");
        }
        assert!(DnsPattern::compile(&"a".repeat(64)).is_err());
        assert!(DnsPattern::compile(&["a"; 130].join(".")).is_err());
    }

    #[test]
    fn many_stars_do_not_take_long() {
        let pattern = DnsPattern::compile(&["**"; 60].join(".").replace("**.**.**.", "**.a.**.")).unwrap();
        let name = ["a"; 126].join(".");
        assert!(!DnsPattern::compile(&format!("{}.b", ["**.a"; 40].join("."))).unwrap().matches(&name, Purpose::Allow));
        assert!(pattern.matches(&name, Purpose::Allow));
    }
}
