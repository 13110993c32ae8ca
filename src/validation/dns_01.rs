//! dns-01 (RFC 8555, section 8.4): a TXT record at `_acme-challenge.<name>` holds the digest of the key authorization.

use super::dns::{MAXIMUM_COMPARED, base_name};
use super::resolver::Resolver;
use crate::ca::acme::validation::{Validated, ValidationAttempt, ValidationFailure};
use crate::error::AcmeErrorType;
use crate::policy::acme::challenge::txt_value;

/// The label before the name.
pub(super) const LABEL: &str = "_acme-challenge";

/// Looks for the record. One of several is enough.
///
/// # Errors
/// `dns` when nothing is there or the question was not answered, `unauthorized` when something else is there.
pub(super) async fn validate(resolver: &Resolver, attempt: &ValidationAttempt) -> Result<Validated, ValidationFailure> {
    let record = format!("{LABEL}.{}", base_name(&attempt.identifier)?);
    find_digest(resolver, record, attempt).await
}

/// Looks for the digest of the key authorization in the TXT records of a name.
pub(super) async fn find_digest(
    resolver: &Resolver,
    record: String,
    attempt: &ValidationAttempt,
) -> Result<Validated, ValidationFailure> {
    let expected = txt_value(&attempt.key_authorization);
    let found = resolver.txt(&record).await?;
    if found.iter().take(MAXIMUM_COMPARED).any(|text| *text == expected) {
        return Ok(Validated { evidence: vec![format!("TXT {record}")], until: None });
    }
    let count = match found.len() {
        1 => "the one record there holds".to_owned(),
        more if more > MAXIMUM_COMPARED => format!("the first {MAXIMUM_COMPARED} of {more} records there hold"),
        more => format!("the {more} records there hold"),
    };
    Err(ValidationFailure::new(
        AcmeErrorType::Unauthorized,
        format!(
            "no TXT record of `{record}` holds `{expected}`: {count} something else. Publish that value, and wait until every server of \
             the zone gives it"
        ),
    ))
}
