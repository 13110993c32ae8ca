//! ACME (RFC 8555): accounts, orders, authorizations and challenges, and the way from them to `ca::issuance`. No HTTP and no network:
//! requests come decoded and verified from `protocols/acme`, challenges are looked at through [`validation::ChallengeValidator`].

pub mod accounts;
pub mod authorizations;
pub mod external_accounts;
pub mod finalization;
pub mod nonces;
pub mod orders;
pub mod rate_limits;
pub mod renewal;
pub mod revocation;
pub mod scheduling;
pub mod settings;
#[cfg(test)]
mod test_support;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
pub(super) mod testing;
pub mod validation;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub use accounts::{Account, AcmeCaller, KeyCaller, RequestOrigin};
pub use authorizations::{AuthorizationStatus, AuthorizationView, ChallengeStatus, ChallengeView};
pub use finalization::OrderCertificate;
pub use orders::{OrderStatus, OrderView};
pub use settings::AcmeSettings;

use self::validation::ChallengeValidator;
use super::CertificateAuthority;
use crate::error::Result;
use crate::x509::Timestamp;

/// The moment from which row numbers count: 2020-01-01T00:00:00Z, in Unix milliseconds.
const ROW_EPOCH_MS: i64 = 1_577_836_800_000;
/// How many bits of a row number are random.
const ROW_RANDOM_BITS: u32 = 22;

/// Reads the number of a row as addresses and documents have it: in decimal, and in no other way.
#[must_use]
pub fn row_number(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|number| *number >= 0 && number.to_string() == text)
}

/// Returns the first row number that something made in a second can have.
fn first_row_of(moment: Timestamp) -> i64 {
    let elapsed = moment.unix().saturating_mul(1000).saturating_sub(ROW_EPOCH_MS);
    elapsed.clamp(0, i64::MAX >> ROW_RANDOM_BITS) << ROW_RANDOM_BITS
}

/// The ACME server over one CA.
#[derive(Debug)]
pub struct Acme {
    ca: Arc<CertificateAuthority>,
    settings: AcmeSettings,
    validator: Arc<dyn ChallengeValidator>,
    nonces: nonces::Nonces,
    accounts: accounts::Accounts,
    scheduling: scheduling::Scheduling,
}

impl Acme {
    /// Opens the ACME server: reads the key of its nonces, which all replicas share.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn open(
        ca: Arc<CertificateAuthority>,
        settings: AcmeSettings,
        validator: Arc<dyn ChallengeValidator>,
    ) -> Result<Arc<Self>> {
        let nonces = nonces::Nonces::open(&ca).await?;
        let scheduling = scheduling::Scheduling::new(&settings);
        Ok(Arc::new(Self { ca, settings, validator, nonces, accounts: accounts::Accounts::default(), scheduling }))
    }

    /// Returns the settings.
    #[must_use]
    pub const fn settings(&self) -> &AcmeSettings {
        &self.settings
    }

    /// Returns the CA.
    #[must_use]
    pub const fn ca(&self) -> &Arc<CertificateAuthority> {
        &self.ca
    }

    /// Deletes what has served its time. Called by a job.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn clean_up(&self) -> Result<()> {
        let now = self.ca.clock.now();
        let deleted = self.ca.storage.clean_up_acme(now, now - self.settings.retention).await?;
        tracing::debug!(deleted, "cleaned up ACME");
        Ok(())
    }

    /// Forgets the nonces that are too old to be used again. Called by a job.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn forget_nonces(&self) -> Result<()> {
        let deleted = self.ca.storage.forget_used_nonces(self.ca.clock.now()).await?;
        tracing::debug!(deleted, "forgot used nonces");
        Ok(())
    }

    /// Makes the token of an authorization's challenges: 43 characters of base64url, 256 random bits (RFC 8555, section 8.1).
    fn new_token(&self) -> Result<String> {
        let mut random = [0; 32];
        self.ca.random.fill(&mut random)?;
        Ok(URL_SAFE_NO_PAD.encode(random))
    }

    /// Makes a row number: the time first, then random bits, so that replicas need not agree. Two in the same millisecond may be equal once
    /// in four million times; then the database refuses the second, and the caller makes another.
    fn new_row(&self) -> Result<i64> {
        let mut random = [0; 4];
        self.ca.random.fill(&mut random)?;
        let elapsed = self.ca.clock.unix_milliseconds().saturating_sub(ROW_EPOCH_MS).max(0);
        let random = i64::from(u32::from_be_bytes(random) >> (u32::BITS - ROW_RANDOM_BITS));
        Ok((elapsed << ROW_RANDOM_BITS) | random)
    }
}
