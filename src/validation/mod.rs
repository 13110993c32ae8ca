//! BACKEND: looks at ACME challenges over the network, and asks the DNS for CAA records. What is to be proven, and what follows from a
//! proof, is the core's matter (`ca/acme/`); this knows only the trait [`ChallengeValidator`].
//!
//! Every address that is contacted for http-01 and tls-alpn-01 passes `address_policy.rs` first, after resolution and again for each
//! redirect: whoever may order a certificate could otherwise have this machine send requests to wherever it has access
//! (docs/adr/0012).

mod address_policy;
mod caa;
mod dialer;
mod dns;
mod dns_01;
mod dns_account_01;
mod dns_persist_01;
mod host;
mod http_01;
mod resolver;
mod settings;
mod tls;
mod tls_alpn_01;
mod trail;

use std::sync::Arc;

use async_trait::async_trait;
use hyper::header::HeaderValue;

use crate::ca::acme::validation::{CaaQuestion, ChallengeValidator, Validated, ValidationAttempt, ValidationFailure};
use crate::environment::Clock;
use crate::error::{AcmeErrorType, Error, Result};
use crate::policy::acme::ChallengeType;

pub use address_policy::{AddressPolicy, Refusal};
pub use dns::{DnsSettings, DnsValidator};
pub use resolver::{Resolver, ResolverSettings, ZoneResolvers, parse_server};
pub use settings::ValidationSettings;

use dialer::Dialer;
use tls::TlsClients;
use trail::Trail;

/// Looks at challenges over the network.
#[derive(Debug)]
pub struct NetworkValidator {
    settings: ValidationSettings,
    dns: DnsValidator,
    dialer: Dialer,
    tls: TlsClients,
}

impl NetworkValidator {
    /// Makes a validator. Sends nothing.
    ///
    /// # Errors
    /// `Configuration` for bounds and ports of zero and for a user agent that no header field can hold; `Internal` when TLS cannot be set
    /// up.
    pub fn new(settings: ValidationSettings, resolver: Arc<Resolver>, clock: Arc<dyn Clock>) -> Result<Self> {
        if settings.connect_timeout.is_zero() || settings.attempt_timeout.is_zero() {
            return Err(Error::configuration("the time-outs of validation must be more than zero"));
        }
        if settings.http_01_port == 0 || settings.tls_alpn_01_port == 0 {
            return Err(Error::configuration("the ports of validation must be more than zero; they are 80 and 443"));
        }
        HeaderValue::from_str(&settings.user_agent).map_err(|error| {
            Error::configuration("the user agent of validation must be visible ASCII characters").with_source(error)
        })?;
        let dialer = Dialer::new(AddressPolicy::new(&settings), Arc::clone(&resolver), settings.connect_timeout);
        let dns = DnsValidator::new(resolver, settings.dns.clone(), clock);
        Ok(Self { dns, dialer, tls: TlsClients::new()?, settings })
    }

    async fn look(
        &self,
        attempt: &ValidationAttempt,
        trail: &mut Trail,
    ) -> std::result::Result<Validated, ValidationFailure> {
        let settings = &self.settings;
        match attempt.challenge {
            ChallengeType::Http01 => {
                http_01::validate(&self.dialer, &self.tls.https, settings, attempt, trail).await?;
                Ok(Validated::default())
            }
            ChallengeType::TlsAlpn01 => {
                tls_alpn_01::validate(&self.dialer, &self.tls.acme_tls, settings, attempt, trail).await?;
                Ok(Validated::default())
            }
            ChallengeType::Dns01 | ChallengeType::DnsAccount01 | ChallengeType::DnsPersist01 => {
                self.dns.validate(attempt).await
            }
        }
    }
}

#[async_trait]
impl ChallengeValidator for NetworkValidator {
    async fn validate(&self, attempt: &ValidationAttempt) -> std::result::Result<Validated, ValidationFailure> {
        if !attempt.challenge.proves(&attempt.identifier) {
            let why = format!("`{}` does not prove control of `{}`", attempt.challenge, attempt.identifier);
            return Err(ValidationFailure::new(AcmeErrorType::Malformed, why).into_final());
        }
        let mut trail = Trail::default();
        let bound = self.settings.attempt_timeout;
        let outcome = match tokio::time::timeout(bound, self.look(attempt, &mut trail)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(trail.out_of_time(bound)),
        };
        match outcome {
            Ok(validated) => {
                let mut evidence = trail.into_evidence();
                evidence.extend(validated.evidence);
                Ok(Validated { evidence, ..validated })
            }
            Err(failure) => Err(trail.explain(failure)),
        }
    }

    async fn check_caa(&self, question: &CaaQuestion) -> std::result::Result<(), ValidationFailure> {
        let bound = self.settings.attempt_timeout;
        match tokio::time::timeout(bound, self.dns.check_caa(question)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(Trail::default().out_of_time(bound)),
        }
    }
}
