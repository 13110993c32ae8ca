//! Work that no request asks for. Every job is safe to run twice and on two replicas; a job that fails is logged and runs again.

mod acme;
mod listener_certificate;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use listener_certificate::ListenerCertificate;

use crate::auth::Authenticator;
use crate::ca::CertificateAuthority;
use crate::ca::acme::Acme;
use crate::error::{Error, Result};
use crate::http::metrics;
use crate::http::tls::SwappableRoots;

/// How often changes by other replicas and by the command line are looked for: cached rights live about this long.
const REFRESH: Duration = Duration::from_secs(1);
/// How often CRLs are looked at when nothing is revoked here.
const CRL: Duration = Duration::from_secs(2);
/// How often OCSP responders are looked at when no issuer changed.
const OCSP_RESPONDERS: Duration = Duration::from_secs(10);
/// How often a listener certificate of our own is looked at.
const LISTENER_CERTIFICATE: Duration = Duration::from_secs(5);
/// How often keys in devices that are away are tried.
const AWAY_KEYS: Duration = Duration::from_secs(2);
/// How often all keys in devices are tried, so that one that went away between signatures is noticed.
const DEVICE_KEYS: Duration = Duration::from_secs(30);
/// How often the keys of token issuers are looked at; each has a refresh time of its own.
const TOKEN_KEYS: Duration = Duration::from_secs(10);
/// How often certificates are counted: a minute or two of their issue; what is not counted yet is counted when statistics are asked for.
const COUNTS: Duration = Duration::from_secs(10);
/// The most transactions of one round of counting; a long one would keep the end of the service waiting.
const COUNT_BATCHES: usize = 2500;
/// How often rows that have served their time are deleted.
const CLEAN_UP: Duration = Duration::from_secs(600);

/// What the jobs work on.
#[derive(Clone, Debug)]
pub struct Jobs {
    /// The core.
    pub ca: Arc<CertificateAuthority>,
    /// The ACME server, if there is one.
    pub acme: Option<Arc<Acme>>,
    /// Forgets cached rights when something changed.
    pub authenticator: Arc<Authenticator>,
    /// The CAs whose client certificates the handshake admits, rebuilt when the issuers change.
    pub client_roots: Arc<SwappableRoots>,
    /// The listener's own certificate, unless it comes from files.
    pub listener_certificate: Option<Arc<ListenerCertificate>>,
    /// How long after a revocation its CRL is published.
    pub crl_delay: Duration,
    /// The generation that rights and roots were last derived from.
    pub seen: Arc<AtomicI64>,
}

impl Jobs {
    /// Starts every job on the present runtime; they end when `stop` turns true.
    #[must_use]
    pub fn start(self, stop: &watch::Receiver<bool>) -> JoinSet<()> {
        let mut jobs = JoinSet::new();
        // What a change of the configuration leads to and may take long has jobs of its own, which it wakes.
        let (changed, _) = watch::channel(());
        let this = self.clone();
        let wake = changed.clone();
        jobs.spawn(every("refresh", REFRESH, stop.clone(), move || {
            let (this, wake) = (this.clone(), wake.clone());
            async move { this.refresh(&wake).await }
        }));
        jobs.spawn(publish_crls(Arc::clone(&self.ca), self.crl_delay, stop.clone()));
        for (name, interval, all) in [("away_keys", AWAY_KEYS, false), ("device_keys", DEVICE_KEYS, true)] {
            let ca = Arc::clone(&self.ca);
            jobs.spawn(every(name, interval, stop.clone(), move || {
                let ca = Arc::clone(&ca);
                async move {
                    ca.try_keys(all).await;
                    Ok(())
                }
            }));
        }
        let ca = Arc::clone(&self.ca);
        let woken = changed.subscribe();
        jobs.spawn(every_or_when("ocsp_responders", OCSP_RESPONDERS, woken, stop.clone(), move || {
            let ca = Arc::clone(&ca);
            async move { ca.renew_ocsp_responders().await }
        }));
        let ca = Arc::clone(&self.ca);
        jobs.spawn(every("ocsp_statuses", REFRESH, stop.clone(), move || {
            let ca = Arc::clone(&ca);
            async move { ca.follow_status_changes().await }
        }));
        let authenticator = Arc::clone(&self.authenticator);
        jobs.spawn(every("token_keys", TOKEN_KEYS, stop.clone(), move || {
            let authenticator = Arc::clone(&authenticator);
            async move {
                authenticator.refresh_due_keys().await;
                Ok(())
            }
        }));
        let ca = Arc::clone(&self.ca);
        jobs.spawn(every("counts", COUNTS, stop.clone(), move || {
            let ca = Arc::clone(&ca);
            async move { count(&ca).await }
        }));
        let ca = Arc::clone(&self.ca);
        jobs.spawn(every("clean_up", CLEAN_UP, stop.clone(), move || {
            let ca = Arc::clone(&ca);
            async move {
                let deleted = ca.storage().clean_up(ca.clock().now()).await?;
                tracing::debug!(deleted, "cleaned up");
                Ok(())
            }
        }));
        if let Some(acme) = self.acme {
            acme::start(&mut jobs, acme, stop);
        }
        if let Some(certificate) = self.listener_certificate {
            let ca = self.ca;
            let woken = changed.subscribe();
            jobs.spawn(every_or_when("listener_certificate", LISTENER_CERTIFICATE, woken, stop.clone(), move || {
                let (certificate, ca) = (Arc::clone(&certificate), Arc::clone(&ca));
                async move { certificate.renew_if_due(&ca).await }
            }));
        }
        jobs
    }

    async fn refresh(&self, changed: &watch::Sender<()>) -> Result<()> {
        metrics::upkeep();
        self.ca.refresh().await?;
        // Somebody else may have loaded the change: what counts is whether it has reached what is kept here.
        let generation = self.ca.generation();
        if self.seen.load(Ordering::Acquire) != generation {
            // Rights first: nothing that takes long may keep a revoked token or role alive.
            self.authenticator.forget_all();
            self.client_roots
                .replace(&self.authenticator.client_authorities(self.ca.issuers().for_authentication()))?;
            // Only now: what failed is done again at the next look.
            self.seen.store(generation, Ordering::Release);
            // A new issuer is answered for at once, and a new default issuer, or a new generation of it, certifies the listener.
            changed.send_replace(());
        }
        Ok(())
    }
}

/// Counts what was issued since the last time.
async fn count(ca: &CertificateAuthority) -> Result<()> {
    for _batch in 0..COUNT_BATCHES {
        if !ca.storage().count_certificates(ca.clock().now()).await? {
            break;
        }
    }
    Ok(())
}

/// Publishes CRLs: `delay` after a revocation made here, so that several share one, and for those of other replicas and CRLs that grow
/// old every [`CRL`].
async fn publish_crls(ca: Arc<CertificateAuthority>, delay: Duration, mut stop: watch::Receiver<bool>) {
    loop {
        run("crl", ca.publish_due_crls()).await;
        tokio::select! {
            () = tokio::time::sleep(CRL.max(delay)) => {}
            () = async {
                ca.revocation_happened().await;
                tokio::time::sleep(delay).await;
            } => {}
            _changed = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Runs a job, waits, and again, until `stop`.
async fn every<F>(name: &'static str, interval: Duration, stop: watch::Receiver<bool>, job: impl Fn() -> F + Send)
where
    F: Future<Output = Result<()>> + Send,
{
    let (_never, woken) = watch::channel(());
    every_or_when(name, interval, woken, stop, job).await;
}

/// Runs a job, waits until the interval has passed or it is woken, and again, until `stop`.
async fn every_or_when<F>(
    name: &'static str,
    interval: Duration,
    mut woken: watch::Receiver<()>,
    mut stop: watch::Receiver<bool>,
    job: impl Fn() -> F + Send,
) where
    F: Future<Output = Result<()>> + Send,
{
    loop {
        run(name, job()).await;
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            // A wake-up while the job ran counts. When nobody can wake it any more, the interval is left.
            Ok(()) = woken.changed() => {}
            // An error means that nobody can tell us to stop any more: stop.
            _changed = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Runs a job once; a failure is logged and counted.
async fn run(name: &'static str, job: impl Future<Output = Result<()>>) {
    // A panic must not end the job for good.
    let outcome = AssertUnwindSafe(job).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|_panic| Err(Error::internal("the job panicked")));
    if let Err(error) = outcome {
        tracing::warn!(job = name, %error, cause = std::error::Error::source(&error), "a job failed and will run again");
        ::metrics::counter!("chancery_job_failures_total", "job" => name).increment(1);
    }
}
