//! CORE: the only place that issues, renews, revokes and publishes. It knows `policy`, `x509`, the plain values of `auth`, and two
//! traits, `Storage` and `Signer`; no HTTP and no database library.

pub mod acme;
pub mod audit;
pub mod crl;
pub mod hierarchy;
pub mod import;
pub mod inventory;
pub mod issuance;
pub mod issuer;
pub mod issuers;
pub mod key_revocation;
pub mod keys;
mod labels;
pub mod ocsp;
pub mod profiles;
pub mod renewal;
pub mod revocation;
pub mod settings;
pub mod tokens;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

pub use inventory::{CertificateReference, CertificateView};
pub use issuance::{CheckedIssuance, IssuanceRequest};

use crate::environment::{Clock, RandomSource};
use crate::error::Result;
use crate::signer::key_store::KeyStore;
use crate::storage::Storage;

/// Settings of the core.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address that relying parties fetch CRLs and issuer certificates from, without trailing slash, such as `http://pki.internal`.
    pub public_url: String,
    /// How long a CRL is valid.
    pub crl_validity: Duration,
    /// How old a CRL gets before the next one is made.
    pub crl_refresh: Duration,
    /// How long before the end of an issuer it is warned of.
    pub expiry_warning: Duration,
    /// How many shards the CRL of an issuer has that does not say; 0: none.
    pub crl_shards: u16,
    /// How old a delta CRL gets before the next one is made, of issuers that do not say; `None`: there are none.
    pub crl_delta_interval: Option<Duration>,
    /// OCSP answers.
    pub ocsp: ocsp::OcspSettings,
}

/// A certificate authority over one database.
#[derive(Debug)]
pub struct CertificateAuthority {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn RandomSource>,
    keys: Arc<KeyStore>,
    settings: Settings,
    /// Names this process in leases.
    instance: String,
    issuers: ArcSwap<issuer::Issuers>,
    profiles: ArcSwap<profiles::Profiles>,
    crls: ArcSwap<crl::PublishedCrls>,
    crl_watch: crl::Watch,
    ocsp: ocsp::Ocsp,
    /// One CRL at a time in this process; other processes are kept out by a lease.
    publishing: tokio::sync::Mutex<()>,
    refreshing: tokio::sync::Mutex<()>,
    /// One check of the audit log at a time: it reads all of it.
    verifying: tokio::sync::Mutex<()>,
    /// Told of every change of a certificate's state.
    revocation: tokio::sync::Notify,
    generation: AtomicI64,
}

impl CertificateAuthority {
    /// Opens the CA: loads issuers, their keys, profiles and published CRLs.
    ///
    /// # Errors
    /// `Configuration` when an issuer's key cannot be opened; those of the storage.
    pub async fn open(
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn RandomSource>,
        keys: Arc<KeyStore>,
        settings: Settings,
    ) -> Result<Self> {
        let mut instance = [0; 8];
        random.fill(&mut instance)?;
        let authority = Self {
            storage,
            clock,
            random,
            keys,
            ocsp: ocsp::Ocsp::new(settings.ocsp),
            settings,
            instance: hex::encode(instance),
            issuers: ArcSwap::default(),
            profiles: ArcSwap::default(),
            crls: ArcSwap::default(),
            crl_watch: crl::Watch::default(),
            publishing: tokio::sync::Mutex::new(()),
            refreshing: tokio::sync::Mutex::new(()),
            verifying: tokio::sync::Mutex::new(()),
            revocation: tokio::sync::Notify::new(),
            generation: AtomicI64::new(-1),
        };
        authority.refresh().await?;
        authority.load_crls().await?;
        Ok(authority)
    }

    /// Returns the storage.
    #[must_use]
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Returns the clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Returns the settings.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Loads issuers and profiles anew if any replica changed them, and tells whether that was so. Called every second by a job and
    /// after every change made here.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn refresh(&self) -> Result<bool> {
        // One at a time, so that nothing older is stored over something newer.
        let _one_at_a_time = self.refreshing.lock().await;
        // Read before the objects: a change in between makes the next call load once more, never once too few.
        let generation = self.storage.generation().await?;
        if generation == self.generation() {
            return Ok(false);
        }
        self.load_issuers(self.generation() < 0).await?;
        self.load_profiles().await?;
        self.generation.store(generation, Ordering::Release);
        Ok(true)
    }

    /// Returns the generation of what is loaded: whoever keeps something derived from it compares.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.generation.load(Ordering::Acquire)
    }
}
