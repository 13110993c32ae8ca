//! PURE: the issue-value of RFC 8659, section 4.2, that CAA properties and the records of dns-persist-01 are written in.
//!
//! It says what stands there; what follows from it is for [`super::caa`] and [`super::dns_persist`].

/// An issue-value in its parts, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IssueValue<'a> {
    /// The issuer domain name; empty when nobody is named.
    pub(super) issuer: &'a str,
    /// Tags and values, in order.
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> IssueValue<'a> {
    /// Reads an issue-value.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub(super) fn parse(text: &'a str) -> Result<Self, &'static str> {
        let (issuer, rest) = split(text);
        Self::new(issuer, rest.unwrap_or_default())
    }

    /// Reads an issue-value that is split already.
    ///
    /// # Errors
    /// As [`IssueValue::parse`].
    pub(super) fn new(issuer: &'a str, rest: &'a str) -> Result<Self, &'static str> {
        if !issuer.is_empty() && !is_domain_name(issuer) {
            return Err("the issuer domain name is not a domain name of letters, digits, hyphens and dots");
        }
        Ok(Self { issuer, parameters: parameters(rest)? })
    }

    /// Returns the values of a parameter; tags differ not by case.
    pub(super) fn values(&self, tag: &str) -> impl Iterator<Item = &'a str> {
        self.parameters.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(tag)).map(|(_, value)| *value)
    }
}

/// Splits at the first semicolon: the issuer domain name without white space around it, and what follows, if anything does.
pub(super) fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once(';') {
        Some((issuer, rest)) => (trim(issuer), Some(rest)),
        None => (trim(text), None),
    }
}

/// Reads what stands after the first semicolon. Nothing is allowed there, an empty parameter between two semicolons or at the end is not.
fn parameters(text: &str) -> Result<Vec<(&str, &str)>, &'static str> {
    if trim(text).is_empty() {
        return Ok(Vec::new());
    }
    text.split(';').map(parameter).collect()
}

fn parameter(text: &str) -> Result<(&str, &str), &'static str> {
    let text = trim(text);
    if text.is_empty() {
        return Err("a parameter is empty; write no semicolon at the end, and one between parameters");
    }
    let Some((tag, value)) = text.split_once('=') else {
        return Err("a parameter has no `=`; write `tag=value`");
    };
    let (tag, value) = (trim(tag), trim(value));
    if !is_label(tag) {
        return Err("the tag of a parameter is not made of letters, digits and hyphens");
    }
    if !value.bytes().all(|octet| matches!(octet, 0x21..=0x3a | 0x3c..=0x7e)) {
        return Err("the value of a parameter holds white space, or characters that are not printable ASCII");
    }
    Ok((tag, value))
}

/// Takes the white space of RFC 5234 (`WSP`) from both ends.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Whether a text is `label *("." label)`.
fn is_domain_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|label| label.len() <= 63 && is_label(label))
}

/// Whether a text is made of letters, digits and hyphens, with no hyphen at the ends.
pub(super) fn is_label(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        && !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_of_rfc_8659_is_taken() {
        type Parts = (&'static str, &'static [(&'static str, &'static str)]);
        let table: &[(&str, Parts)] = &[
            ("ca.example", ("ca.example", &[])),
            ("  ca.example\t", ("ca.example", &[])),
            ("ca.example;", ("ca.example", &[])),
            ("ca.example ; ", ("ca.example", &[])),
            (";", ("", &[])),
            ("", ("", &[])),
            (" \t", ("", &[])),
            ("; policy=ev", ("", &[("policy", "ev")])),
            ("ca.example; account=230123", ("ca.example", &[("account", "230123")])),
            ("ca.example;account = 230123 ;policy=", ("ca.example", &[("account", "230123"), ("policy", "")])),
            ("c-a.Example;a-b=c=d:/?#", ("c-a.Example", &[("a-b", "c=d:/?#")])),
            ("xn--caf-dma.example", ("xn--caf-dma.example", &[])),
        ];
        for (text, (issuer, parameters)) in table {
            let expected = IssueValue { issuer, parameters: parameters.to_vec() };
            assert_eq!(IssueValue::parse(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_in_the_grammar_is_refused() {
        let long = "a".repeat(64);
        for text in [
            "ca.example.",
            ".ca.example",
            "ca..example",
            "-ca.example",
            "ca-.example",
            "ca_1.example",
            "%%%%%",
            "ca example",
            "ca.example account=1",
            "caf\u{e9}.example",
            "ca.example; a",
            "ca.example; =b",
            "ca.example; a=b;",
            "ca.example; a=b;; c=d",
            "ca.example;; a=b",
            "ca.example; a=b c",
            "ca.example; a=b\u{e9}",
            "ca.example; a=b\u{0}",
            "ca.example; a_b=c",
            "ca.example; -a=c",
            "ca.example\n; a=c",
            &long,
        ] {
            assert!(IssueValue::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn tags_differ_not_by_case() {
        let value = IssueValue::parse("ca.example; AccountURI=a; accounturi=b").expect("the value is well-formed");
        assert_eq!(value.values("accounturi").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(value.values("policy").count(), 0);
    }
}
