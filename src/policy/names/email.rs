//! Patterns for e-mail addresses: `name@example.com`, `*@example.com`, `*@**.example.com` and `**`.

use super::Pattern;
use super::dns::{DnsPattern, Purpose};

/// A compiled pattern for e-mail addresses.
#[derive(Clone, Debug)]
pub(super) enum EmailPattern {
    /// `**`: any address.
    Any,
    /// Addresses of a domain.
    Mailbox {
        /// The part before the `@`; any if absent.
        local: Option<String>,
        /// The domain.
        domain: DnsPattern,
    },
}

impl Pattern for EmailPattern {
    type Name = str;

    fn compile(text: &str) -> Result<Self, String> {
        if text == "**" {
            return Ok(Self::Any);
        }
        let Some((local, domain)) = text.rsplit_once('@') else {
            return Err("has no `@`; write `name@example.com`, `*@example.com`, or `**` for any address".to_owned());
        };
        let allowed = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'+-/=?^_`{|}~.".contains(&octet);
        let local = match local {
            "*" => None,
            _ if !local.is_empty() && local.bytes().all(allowed) => Some(local.to_owned()),
            _ => {
                return Err(format!(
                    "has `{local}` before its `@`; write the whole local part, or `*` for any (`**` stands for labels of a domain)"
                ));
            }
        };
        let domain = DnsPattern::compile(domain).map_err(|problem| format!("has a domain that {problem}"))?;
        Ok(Self::Mailbox { local, domain })
    }

    fn admits(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Mailbox { local: expected, domain: pattern } => {
                name.rsplit_once('@').is_some_and(|(local, domain)| {
                    expected.as_ref().is_none_or(|expected| expected == local)
                        && pattern.matches(domain, Purpose::Allow)
                })
            }
        }
    }

    /// As [`Self::admits`], but without regard to the case of the local part: nearly every mail system delivers to the
    /// same mailbox.
    fn denies(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Mailbox { local: expected, domain: pattern } => {
                name.rsplit_once('@').is_some_and(|(local, domain)| {
                    expected.as_ref().is_none_or(|expected| expected.eq_ignore_ascii_case(local))
                        && pattern.matches(domain, Purpose::Deny)
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn matches_local_part_and_domain() {
        let table = [
            ("alice@example.com", "alice@example.com", true),
            ("alice@Example.COM", "alice@example.com", true),
            ("alice@example.com", "Alice@example.com", false),
            ("alice@example.com", "alice@example.com.evil", false),
            ("alice@example.com", "malice@example.com", false),
            ("*@example.com", "bob@example.com", true),
            ("*@example.com", "bob@mail.example.com", false),
            ("*@example.com", "bob@evilexample.com", false),
            ("*@**.example.com", "bob@mail.example.com", true),
            ("*@**.example.com", "bob@example.com", false),
            ("*@example.com", "bob@example.com@evil.example", false),
            ("**", "anyone@anywhere", true),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(EmailPattern::compile(pattern).unwrap().admits(name), expected, "`{pattern}` against `{name}`");
        }
    }

    #[test]
    fn denies_whatever_the_case_of_the_local_part() {
        let pattern = EmailPattern::compile("root@example.com").unwrap();
        for name in ["root@example.com", "Root@example.com", "ROOT@example.com"] {
            assert!(pattern.denies(name), "{name}");
        }
        assert!(!pattern.denies("roots@example.com"));
    }

    #[test]
    fn refuses_patterns_that_cannot_match_as_meant() {
        for pattern in ["", "example.com", "@example.com", "**@example.com", "a*@example.com", "a@", "a@b c", "a@.com"]
        {
            assert!(EmailPattern::compile(pattern).is_err(), "{pattern}");
        }
    }
}
