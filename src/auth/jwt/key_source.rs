//! Where a provider's keys come from, and when they are read again.
//!
//! Keys are read at start, then every `refresh`, and at once for a token whose key is not known, but at most once per 30 seconds.
//! When reading fails the last good keys stay. The address is the configuration's, never the token's (`jku` and `x5u` are ignored).

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, USER_AGENT};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::sync::Mutex;
use url::Url;

use super::keys::KeySet;
use crate::environment::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::tasks::spawn_blocking;

/// The most octets of a key file or a JWKS answer.
const MAXIMUM_OCTETS: usize = 256 * 1024;
/// The longest that one answer may take, connection included.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The least time between two attempts for keys that are not known, and after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// Where the system keeps its roots.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Where a provider's keys are.
#[derive(Clone, Debug)]
pub enum JwtKeySource {
    /// A PEM file with one or more `PUBLIC KEY` blocks.
    PublicKeyFile(PathBuf),
    /// A file with a JSON Web Key Set (RFC 7517, section 5).
    JwksFile(PathBuf),
    /// The `https` address of a JSON Web Key Set; `http` only on a loopback address.
    JwksUrl {
        /// The address.
        url: String,
        /// PEM roots for its TLS certificate; the system's if absent.
        ca_certificates: Option<PathBuf>,
    },
}

#[derive(Debug)]
enum Source {
    PublicKeyFile(PathBuf),
    JwksFile(PathBuf),
    JwksUrl { url: Url, client: reqwest::Client },
}

/// The keys of one provider, kept fresh.
#[derive(Debug)]
pub(crate) struct KeySource {
    provider: String,
    source: Source,
    refresh: Duration,
    clock: Arc<dyn Clock>,
    keys: ArcSwapOption<KeySet>,
    /// When the last attempt began, Unix milliseconds; `i64::MIN` before the first.
    attempted_at: AtomicI64,
    /// Lets one caller read while the others wait for what it finds.
    reading: Mutex<()>,
}

impl KeySource {
    /// Opens a source. Files must be readable now; an address that does not answer is only logged, and asked again later.
    ///
    /// # Errors
    /// `Configuration` for a file or an address that cannot be used.
    pub(crate) async fn open(
        provider: &str,
        source: JwtKeySource,
        refresh: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let source = match source {
            JwtKeySource::PublicKeyFile(path) => Source::PublicKeyFile(path),
            JwtKeySource::JwksFile(path) => Source::JwksFile(path),
            JwtKeySource::JwksUrl { url, ca_certificates } => {
                let url = address(&url)?;
                let client = client(&url, ca_certificates).await?;
                Source::JwksUrl { url, client }
            }
        };
        let opened = Self {
            provider: provider.to_owned(),
            source,
            refresh: refresh.max(RETRY_INTERVAL),
            clock,
            keys: ArcSwapOption::empty(),
            attempted_at: AtomicI64::new(i64::MIN),
            reading: Mutex::new(()),
        };
        if let Err(error) = opened.read().await {
            match &opened.source {
                Source::PublicKeyFile(path) | Source::JwksFile(path) => {
                    return Err(Error::configuration(format!("`{}`: {error}", path.display())).with_source(error));
                }
                Source::JwksUrl { .. } => {}
            }
        }
        Ok(opened)
    }

    /// Returns the present keys.
    ///
    /// # Errors
    /// `Unavailable` when none could be read so far.
    pub(crate) fn keys(&self) -> Result<Arc<KeySet>> {
        self.keys.load_full().ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                format!("the keys of the token issuer `{}` cannot be read at the moment", self.provider),
            )
            .with_retry_after(u32::try_from(RETRY_INTERVAL.as_secs()).unwrap_or(u32::MAX))
        })
    }

    /// Reads the keys again when their time has come; answers whether that was done and went well. A failure keeps the last good keys.
    pub(crate) async fn refresh_when_due(&self) -> bool {
        let interval = if self.keys.load().is_some() { self.refresh } else { RETRY_INTERVAL };
        self.read_after(interval).await
    }

    /// Reads the keys again when nobody has in twice the time, or there are none: a stopped job must not keep old keys alive for ever.
    pub(crate) async fn refresh_when_overdue(&self) -> bool {
        let interval = if self.keys.load().is_some() { self.refresh.saturating_mul(2) } else { RETRY_INTERVAL };
        self.read_after(interval).await
    }

    /// Reads the keys again for a token whose key is not among `seen`, at most once per 30 seconds; callers that come meanwhile wait for
    /// the same answer. Answers whether there are other keys than `seen` now.
    pub(crate) async fn refresh_for_unknown_key(&self, seen: &Arc<KeySet>) -> bool {
        if !self.read_after(RETRY_INTERVAL).await {
            // Another caller may be reading at this moment; what it finds serves this one too.
            drop(self.reading.lock().await);
        }
        self.keys.load().as_ref().is_some_and(|keys| !Arc::ptr_eq(keys, seen))
    }

    /// Reads when the last attempt is at least `interval` ago, by one caller at a time.
    async fn read_after(&self, interval: Duration) -> bool {
        if !self.is_due(interval) {
            return false;
        }
        let _reading = self.reading.lock().await;
        self.is_due(interval) && self.read().await.is_ok()
    }

    fn is_due(&self, interval: Duration) -> bool {
        let attempted_at = self.attempted_at.load(Ordering::Acquire);
        let now = self.clock.unix_milliseconds();
        let interval = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        // A clock that was set back must not put the next attempt far off.
        now < attempted_at || now.saturating_sub(attempted_at) >= interval
    }

    async fn read(&self) -> Result<()> {
        self.attempted_at.store(self.clock.unix_milliseconds(), Ordering::Release);
        let read = match &self.source {
            Source::PublicKeyFile(path) => file(path.clone()).await.and_then(|text| KeySet::from_pem(&text)),
            Source::JwksFile(path) => file(path.clone()).await.and_then(|text| KeySet::from_jwks(&text)),
            Source::JwksUrl { url, client } => fetch(client, url).await.and_then(|text| KeySet::from_jwks(&text)),
        };
        let outcome = if read.is_ok() { "success" } else { "failure" };
        metrics::counter!("chancery_jwt_key_refreshes_total", "provider" => self.provider.clone(), "outcome" => outcome)
            .increment(1);
        match read {
            Ok(keys) => {
                tracing::debug!(provider = %self.provider, keys = keys.len(), "the keys of a token issuer were read");
                self.keys.store(Some(Arc::new(keys)));
                Ok(())
            }
            Err(error) => {
                tracing::warn!(
                    provider = %self.provider, error = %error, cause = ?error, last_good_keys = self.keys.load().is_some(),
                    "the keys of a token issuer cannot be read"
                );
                Err(error)
            }
        }
    }
}

/// Reads a file that must not be longer than a JWKS may be.
async fn file(path: PathBuf) -> Result<Vec<u8>> {
    spawn_blocking(move || bounded(&path, MAXIMUM_OCTETS)).await
}

fn bounded(path: &Path, limit: usize) -> Result<Vec<u8>> {
    let unreadable = |error: std::io::Error| Error::configuration("the file cannot be read").with_source(error);
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut content = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() > limit {
        return Err(Error::configuration(format!("the file is over {limit} octets")));
    }
    Ok(content)
}

/// Gets a JWKS; nothing of the answer is repeated in the error.
async fn fetch(client: &reqwest::Client, url: &Url) -> Result<Vec<u8>> {
    let failed = |error: reqwest::Error| {
        Error::new(ErrorKind::Unavailable, "the JSON Web Key Set cannot be fetched").with_source(error)
    };
    let request = client.get(url.clone()).header(ACCEPT, "application/json").header(USER_AGENT, "chancery");
    let mut response = request.send().await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        return Err(Error::new(
            ErrorKind::Unavailable,
            format!("the address of the JSON Web Key Set answers {} instead of 200", response.status().as_u16()),
        ));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len().saturating_add(chunk.len()) > MAXIMUM_OCTETS {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("the JSON Web Key Set is over {MAXIMUM_OCTETS} octets"),
            ));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Checks the address: keys that come unprotected over a network would let anybody on it make tokens.
fn address(text: &str) -> Result<Url> {
    let url = Url::parse(text)
        .map_err(|error| Error::configuration(format!("`{text}` is not an address")).with_source(error))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::configuration("the address of a JSON Web Key Set cannot hold a user name or a password"));
    }
    let loopback = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        _ => {
            Err(Error::configuration(format!("`{text}` is not `https`; `http` is accepted on a loopback address only")))
        }
    }
}

async fn client(url: &Url, ca_certificates: Option<PathBuf>) -> Result<reqwest::Client> {
    let roots = if url.scheme() == "https" {
        spawn_blocking(move || roots(ca_certificates.as_deref().unwrap_or_else(|| Path::new(SYSTEM_ROOTS)))).await?
    } else {
        RootCertStore::empty()
    };
    let unusable = |error: rustls::Error| Error::internal("the TLS client cannot be made").with_source(error);
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(FETCH_TIMEOUT)
        .connect_timeout(FETCH_TIMEOUT)
        .pool_max_idle_per_host(0)
        .build()
        .map_err(|error| Error::internal("the HTTP client cannot be made").with_source(error))
}

/// Reads PEM roots.
fn roots(path: &Path) -> Result<RootCertStore> {
    // The system's bundle is about 200 KiB; private ones are far smaller.
    const MAXIMUM_BUNDLE: usize = 4 * 1024 * 1024;
    let named = |error: Error| Error::configuration(format!("`{}`: {error}", path.display())).with_source(error);
    let text = bounded(path, MAXIMUM_BUNDLE).map_err(named)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate =
            certificate.map_err(|error| named(Error::configuration("the file is not PEM").with_source(error)))?;
        // A system bundle may hold a root that this TLS library does not take; the others still serve.
        if let Err(error) = roots.add(certificate) {
            tracing::debug!(file = %path.display(), reason = %error, "a root certificate is left out");
        }
    }
    if roots.is_empty() {
        return Err(named(Error::configuration("the file has no root certificate that can be used")));
    }
    Ok(roots)
}
