//! dns-persist-01 (draft-ietf-acme-dns-persist-02): a TXT record that stays names CA and account. What it must say is in
//! `policy/acme/dns_persist.rs`.

use super::dns::{DnsSettings, MAXIMUM_COMPARED, base_name};
use super::resolver::Resolver;
use crate::ca::acme::validation::{Validated, ValidationAttempt, ValidationFailure};
use crate::error::AcmeErrorType;
use crate::policy::acme::dns_persist::{self, LABEL, PersistQuestion, PersistRefusal};

/// Looks for the record at a moment in Unix seconds. One of several is enough.
///
/// # Errors
/// `dns` when nothing is there or the question was not answered, `malformed` when a record names this CA and cannot be read, `unauthorized` when
/// none admits the account, `serverInternal` when this CA has no name that a record could hold.
pub(super) async fn validate(
    resolver: &Resolver,
    settings: &DnsSettings,
    attempt: &ValidationAttempt,
    now: i64,
) -> Result<Validated, ValidationFailure> {
    if settings.issuer_domain_names.is_empty() {
        return Err(ValidationFailure::new(
            AcmeErrorType::ServerInternal,
            "this service has no issuer domain name that a record of dns-persist-01 could hold",
        )
        .into_final());
    }
    let name = base_name(&attempt.identifier)?;
    let record = format!("{LABEL}.{name}");
    let mut found = resolver.txt(&record).await?;
    found.truncate(MAXIMUM_COMPARED);
    // The key authorization ends in the thumbprint of the account's key of now (RFC 8555, section 8.1).
    let thumbprint = attempt.key_authorization.rsplit_once('.').map(|(_, thumbprint)| thumbprint);
    let question = PersistQuestion {
        name,
        wildcard: attempt.identifier.is_wildcard(),
        issuers: &settings.issuer_domain_names,
        account_url: &attempt.account_url,
        thumbprints: thumbprint.as_slice(),
        now,
    };
    match dns_persist::evaluate(&found, &question) {
        Ok(until) => Ok(Validated { evidence: vec![format!("TXT {record}")], until }),
        Err(refusal) => Err(failure(&record, found.len(), &refusal, &question)),
    }
}

fn failure(record: &str, count: usize, refusal: &PersistRefusal, question: &PersistQuestion<'_>) -> ValidationFailure {
    let (error_type, what) = match refusal {
        PersistRefusal::NotNamed => (
            AcmeErrorType::Unauthorized,
            format!("none of the {count} TXT records of `{record}` begins with an issuer domain name of this service"),
        ),
        PersistRefusal::Malformed(why) => {
            (AcmeErrorType::Malformed, format!("a TXT record of `{record}` names this service and is malformed: {why}"))
        }
        PersistRefusal::Unauthorized(why) => (
            AcmeErrorType::Unauthorized,
            format!("a TXT record of `{record}` names this service and does not admit the request: {why}"),
        ),
    };
    ValidationFailure::new(error_type, format!("{what}. Publish `{}`", dns_persist::expected_record(question)))
}
