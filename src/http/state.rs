//! What every handler can reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::admission::{Admission, AdmissionSettings};
use crate::auth::Authenticator;
use crate::ca::CertificateAuthority;
use crate::ca::acme::Acme;

/// The state that handlers share.
#[derive(Clone, Debug)]
pub struct AppState {
    /// The core.
    pub ca: Arc<CertificateAuthority>,
    /// The ACME server.
    pub acme: Arc<Acme>,
    /// Checks credentials.
    pub authenticator: Arc<Authenticator>,
    /// Limits and addresses.
    pub settings: Arc<HttpSettings>,
    /// Who waits and who is refused.
    pub admission: Arc<Admission>,
    /// Whether the service is stopping.
    pub stopping: Stopping,
}

impl AppState {
    /// Puts the state together; the service is not stopping.
    #[must_use]
    pub fn new(acme: Arc<Acme>, authenticator: Arc<Authenticator>, settings: HttpSettings) -> Self {
        let ca = Arc::clone(acme.ca());
        let admission = Arc::new(Admission::new(settings.admission));
        Self { ca, acme, authenticator, settings: Arc::new(settings), admission, stopping: Stopping::default() }
    }
}

/// How the service stops: first readiness turns false, then new requests are refused, then those in flight are waited for.
#[derive(Clone, Debug, Default)]
pub struct Stopping(Arc<Progress>);

#[derive(Debug, Default)]
struct Progress {
    begun: AtomicBool,
    refusing: AtomicBool,
    in_flight: AtomicUsize,
}

/// A request in flight; dropped when it is answered.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Progress>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Stopping {
    /// Says that the service is about to stop; it still answers.
    pub fn begin(&self) {
        self.0.begun.store(true, Ordering::SeqCst);
    }

    /// Whether the service is about to stop.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.begun.load(Ordering::SeqCst)
    }

    /// Refuses requests from now on.
    pub(super) fn refuse(&self) {
        self.begin();
        self.0.refusing.store(true, Ordering::SeqCst);
    }

    /// Lets a request in, unless requests are refused. It is counted before the look, so that [`Self::idle`] never misses one.
    pub(super) fn enter(&self) -> Option<InFlight> {
        self.0.in_flight.fetch_add(1, Ordering::SeqCst);
        let request = InFlight(Arc::clone(&self.0));
        (!self.0.refusing.load(Ordering::SeqCst)).then_some(request)
    }

    /// Waits until no request is in flight.
    pub(super) async fn idle(&self) {
        const LOOK: std::time::Duration = std::time::Duration::from_millis(10);
        while self.0.in_flight.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Settings of the HTTP layer.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The most octets of a CSR, raw or within JSON: 64 KiB by default.
    pub csr_limit: usize,
    /// The most octets of any other body: 1 MiB by default.
    pub body_limit: usize,
    /// The longest that a body may take to arrive.
    pub body_timeout: Duration,
    /// How much is worked on at once, and how long more may wait.
    pub admission: AdmissionSettings,
    /// Proxies whose `X-Forwarded-For` is believed, and for ACME `X-Forwarded-Proto` and `X-Forwarded-Host`.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Whether the ACME server is served.
    pub acme_enabled: bool,
    /// The address that ACME clients reach the service by, without a slash at its end; that of each request if absent.
    pub acme_base_url: Option<String>,
    /// The profile of requests that name none, if there is such a default.
    pub default_profile: Option<String>,
}

impl HttpSettings {
    /// Whether what this peer forwards is believed.
    pub(super) fn trusts(&self, peer: std::net::IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|network| network.contains(&peer))
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            csr_limit: 64 * 1024,
            body_limit: 1024 * 1024,
            body_timeout: Duration::from_secs(30),
            admission: AdmissionSettings::default(),
            trusted_proxies: Vec::new(),
            acme_enabled: true,
            acme_base_url: None,
            default_profile: None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;

    #[tokio::test]
    async fn what_was_let_in_is_waited_for_and_nothing_more_is_let_in() {
        let stopping = Stopping::default();
        let request = stopping.enter().unwrap();
        stopping.refuse();
        assert!(stopping.enter().is_none());
        assert!(tokio::time::timeout(std::time::Duration::from_millis(50), stopping.idle()).await.is_err());
        drop(request);
        stopping.idle().await;
    }
}
