//! The half of the validator that needs nothing but the DNS: dns-01, dns-account-01, dns-persist-01, and CAA.

use std::sync::Arc;

use super::resolver::Resolver;
use super::{caa, dns_01, dns_account_01, dns_persist_01};
use crate::ca::acme::validation::{CaaQuestion, Validated, ValidationAttempt, ValidationFailure};
use crate::environment::Clock;
use crate::error::AcmeErrorType;
use crate::policy::acme::{ChallengeType, Identifier};

/// The most TXT records of one name that are compared.
pub(super) const MAXIMUM_COMPARED: usize = 100;

/// What records must say about this CA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsSettings {
    /// The names by which records of dns-persist-01 name this CA: lower case, A-labels, no dot at the end.
    pub issuer_domain_names: Vec<String>,
    /// The names by which CAA records name this CA, written alike; CAA records are not looked at when there are none.
    pub caa_identities: Vec<String>,
}

/// Looks at challenges that are answered in the DNS.
#[derive(Debug)]
pub struct DnsValidator {
    resolver: Arc<Resolver>,
    settings: DnsSettings,
    clock: Arc<dyn Clock>,
}

impl DnsValidator {
    /// Makes a validator.
    #[must_use]
    pub const fn new(resolver: Arc<Resolver>, settings: DnsSettings, clock: Arc<dyn Clock>) -> Self {
        Self { resolver, settings, clock }
    }

    /// Looks whether a challenge is met.
    ///
    /// # Errors
    /// Why it is not. `serverInternal` for a challenge that is not answered in the DNS.
    pub async fn validate(&self, attempt: &ValidationAttempt) -> Result<Validated, ValidationFailure> {
        match attempt.challenge {
            ChallengeType::Dns01 => dns_01::validate(&self.resolver, attempt).await,
            ChallengeType::DnsAccount01 => dns_account_01::validate(&self.resolver, attempt).await,
            ChallengeType::DnsPersist01 => {
                let now = self.clock.now().unix();
                dns_persist_01::validate(&self.resolver, &self.settings, attempt, now).await
            }
            ChallengeType::Http01 | ChallengeType::TlsAlpn01 => Err(ValidationFailure::new(
                AcmeErrorType::ServerInternal,
                format!("`{}` is not answered in the DNS", attempt.challenge),
            )),
        }
    }

    /// Asks whether CAA records admit issuance.
    ///
    /// # Errors
    /// `caa` when they do not, `dns` when they could not be looked up.
    pub async fn check_caa(&self, question: &CaaQuestion) -> Result<(), ValidationFailure> {
        caa::check(&self.resolver, &self.settings, question).await
    }
}

/// Returns the name whose records prove control of an identifier: without `*.` (RFC 8555, section 8.4).
///
/// # Errors
/// `malformed` for an address, of which the DNS proves nothing (RFC 8738, section 7).
pub(super) fn base_name(identifier: &Identifier) -> Result<&str, ValidationFailure> {
    match identifier {
        Identifier::Dns { name, .. } => Ok(name),
        Identifier::Ip(address) => Err(ValidationFailure::new(
            AcmeErrorType::Malformed,
            format!("control of the address {address} cannot be proven by records of the DNS (RFC 8738, section 7)"),
        )
        .into_final()),
    }
}
