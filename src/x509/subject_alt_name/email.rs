//! E-mail addresses as `rfc822Name` has them: a dot-atom, `@`, and a host name (RFC 5280, section 4.2.1.6; RFC 5321, section 4.1.2).
//!
//! Quoted local parts, comments, display names and addresses with other than ASCII characters are not taken.

use super::dns;

const MAXIMUM_LOCAL_PART: usize = 64;
const MAXIMUM_ADDRESS: usize = 254;

/// Returns the normal form: the local part as given, the domain in lower case.
pub(super) fn parse(value: &str) -> Result<String, String> {
    let (local, domain) =
        value.split_once('@').ok_or_else(|| "has no `@`; an e-mail address is such as `ops@example.com`".to_owned())?;
    if domain.contains('@') {
        return Err("has more than one `@`".to_owned());
    }
    if value.len() > MAXIMUM_ADDRESS {
        return Err(format!("has {} octets; an e-mail address has {MAXIMUM_ADDRESS} at most", value.len()));
    }
    if local.is_empty() || local.len() > MAXIMUM_LOCAL_PART {
        return Err(format!("the part before `@` has 1 to {MAXIMUM_LOCAL_PART} octets, not {}", local.len()));
    }
    let is_atom_octet = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet);
    if !local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atom_octet)) {
        return Err(
            "the part before `@` is letters, digits and !#$%&'*+-/=?^_`{|}~ with single dots between".to_owned()
        );
    }
    let domain = dns::parse(domain, dns::Wildcard::Refused).map_err(|message| format!("the domain {message}"))?;
    if domain.contains('_') {
        return Err("the domain has an underscore".to_owned());
    }
    Ok(format!("{local}@{domain}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn only_the_domain_becomes_lower_case() {
        assert_eq!(parse("Ops.Team+x@Example.COM").as_deref(), Ok("Ops.Team+x@example.com"));
        assert_eq!(parse("root@localhost").as_deref(), Ok("root@localhost"));
    }

    #[test]
    fn malformed_addresses_are_refused() {
        for given in [
            "",
            "ops",
            "@example.com",
            "ops@",
            "a@b@example.com",
            "a..b@example.com",
            ".a@example.com",
            "a.@example.com",
            "\"a b\"@example.com",
            "a b@example.com",
            "a@*.example.com",
            "a@[10.0.0.1]",
            "a@10.0.0.1",
            "ü@example.com",
            "a@example.com.",
            "Ops <ops@example.com>",
            "a\0@example.com",
            "a@ex_ample.com",
        ] {
            assert!(parse(given).is_err(), "{given:?}");
        }
        assert!(parse(&format!("{}@example.com", "a".repeat(65))).is_err());
    }
}
