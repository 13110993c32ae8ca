//! dns-account-01 (draft-ietf-acme-dns-account-label): as dns-01, at a name that belongs to one account, so that several accounts can prove
//! control of a name side by side.

use aws_lc_rs::digest;
use data_encoding::BASE32_NOPAD;

use super::dns::base_name;
use super::dns_01;
use super::resolver::Resolver;
use crate::ca::acme::validation::{Validated, ValidationAttempt, ValidationFailure};

/// How many octets of the hash of the account's address make the label.
const LABEL_OCTETS: usize = 10;

/// Looks for the record. One of several is enough.
///
/// # Errors
/// As [`dns_01::validate`].
pub(super) async fn validate(resolver: &Resolver, attempt: &ValidationAttempt) -> Result<Validated, ValidationFailure> {
    let label = account_label(&attempt.account_url);
    let record = format!("{label}.{}.{}", dns_01::LABEL, base_name(&attempt.identifier)?);
    dns_01::find_digest(resolver, record, attempt).await
}

/// Returns the label of an account: `_` and the first ten octets of the SHA-256 of its address, in base32 of lower case.
fn account_label(account_url: &str) -> String {
    let digest = digest::digest(&digest::SHA256, account_url.as_bytes());
    let octets: Vec<u8> = digest.as_ref().iter().copied().take(LABEL_OCTETS).collect();
    format!("_{}", BASE32_NOPAD.encode(&octets).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_is_that_of_the_draft() {
        // The example of the draft's section 3.2.
        assert_eq!(account_label("https://example.com/acme/acct/ExampleAccount"), "_ujmmovf2vn55tgye");
        assert_ne!(account_label("https://example.com/acme/acct/Example"), account_label("https://example.com/acme"));
    }
}
