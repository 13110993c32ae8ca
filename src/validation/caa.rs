//! Asks the DNS for CAA records and climbs from the name towards the root until there are some (RFC 8659, section 3). What they say is judged by
//! `policy/acme/caa.rs`.

use futures_util::{StreamExt, stream};

use super::dns::DnsSettings;
use super::resolver::Resolver;
use crate::ca::acme::validation::{CaaQuestion, ValidationFailure};
use crate::error::AcmeErrorType;
use crate::policy::acme::Identifier;
use crate::policy::acme::caa::{self, CaaRequest};

/// How many names of one climb are asked for at once. Most climbs find nothing and need every answer.
const AT_ONCE: usize = 4;

/// Checks whether CAA records admit issuance. They do where they are not looked at by configuration, and for addresses.
///
/// # Errors
/// `caa` when they do not, `dns` when one of the names up to the first that has records could not be looked up: what is not known may
/// forbid.
pub(super) async fn check(
    resolver: &Resolver,
    settings: &DnsSettings,
    question: &CaaQuestion,
) -> Result<(), ValidationFailure> {
    if settings.caa_identities.is_empty() {
        return Ok(());
    }
    let Identifier::Dns { name, wildcard } = &question.identifier else {
        return Ok(());
    };
    let questions: Vec<_> = climb(name).map(|place| async move { (place, resolver.caa(place).await) }).collect();
    let mut answers = stream::iter(questions).buffered(AT_ONCE);
    while let Some((place, answer)) = answers.next().await {
        let records = answer.map_err(|mut failure| {
            failure.detail = format!("CAA could not be checked for `{name}`: {}", failure.detail);
            failure
        })?;
        if records.is_empty() {
            continue;
        }
        let request = CaaRequest {
            wildcard: *wildcard,
            identities: &settings.caa_identities,
            account_url: &question.account_url,
            challenge: question.challenge,
        };
        return caa::evaluate(&records, &request).map_err(|why| {
            ValidationFailure::new(
                AcmeErrorType::Caa,
                format!(
                    "the CAA records of `{place}` forbid a certificate for `{}`: {why}. This CA is `{}`",
                    question.identifier,
                    settings.caa_identities.join("` or `")
                ),
            )
        });
    }
    Ok(())
}

/// Returns a name and all names above it but the root.
fn climb(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |place| place.split_once('.').map(|(_, parent)| parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_climb_ends_below_the_root() {
        assert_eq!(climb("a.b.internal").collect::<Vec<_>>(), ["a.b.internal", "b.internal", "internal"]);
        assert_eq!(climb("internal").collect::<Vec<_>>(), ["internal"]);
    }
}
