//! Wiring: turns a configuration into a running service. The only place, with `cli/` and `config/`, that knows every concrete type.

mod acme;
mod authentication;
pub(crate) mod descriptors;
pub(crate) mod keys;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::watch;

use crate::auth::Caller;
use crate::ca::hierarchy::NewCa;
use crate::ca::ocsp::OcspSettings;
use crate::ca::{CertificateAuthority, Settings};
use crate::config::{Authority, Config, Tls};
use crate::environment::{SystemClock, SystemRandomSource};
use crate::error::{Error, ErrorKind, Result};
use crate::http::admission::AdmissionSettings;
use crate::http::server::{self, Bound, Listeners, ServerSettings};
use crate::http::tls::{self, SwappableCertificate, SwappableRoots, TlsCertificate};
use crate::http::{AppState, HttpSettings, metrics};
use crate::jobs::{Jobs, ListenerCertificate};
use crate::storage;
use crate::x509::distinguished_name::AttributeType;
use crate::x509::{DistinguishedName, NameType, SubjectAltName};

/// Opens the CA that the configuration describes, with the public address as configured.
///
/// # Errors
/// `Configuration` and `Unavailable`, as storage and keys say.
pub async fn open(config: &Config) -> Result<Arc<CertificateAuthority>> {
    open_at(config, public_url(config, config.server.public_listen)).await
}

/// Opens the CA with this public address.
///
/// # Errors
/// As [`open`].
pub async fn open_at(config: &Config, public_url: String) -> Result<Arc<CertificateAuthority>> {
    let storage = storage::open(&config.database_options()).await?;
    let keys = Arc::new(keys::key_store(config, storage.as_ref()).await?);
    let settings = Settings {
        public_url,
        crl_validity: config.crl.validity,
        crl_refresh: config.crl.refresh,
        expiry_warning: config.issuers.expiry_warning,
        crl_shards: config.crl.shards,
        crl_delta_interval: config.crl.delta_interval,
        ocsp: OcspSettings {
            validity: config.ocsp.validity,
            responder_validity: config.ocsp.responder_validity,
            cache_size: config.ocsp.cache_size,
        },
    };
    let random = Arc::new(SystemRandomSource::default());
    let ca = CertificateAuthority::open(storage, Arc::new(SystemClock), random, keys, settings).await?;
    Ok(Arc::new(ca))
}

/// Returns the address that relying parties reach the public listener by: as configured, else as bound.
#[must_use]
pub fn public_url(config: &Config, bound: Option<SocketAddr>) -> String {
    if let Some(url) = &config.public_url {
        return url.clone();
    }
    let address = bound.unwrap_or(config.server.listen);
    // All addresses is none that anybody can fetch from.
    let host = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    format!("http://{}", SocketAddr::new(host, address.port()))
}

/// Creates the root and the issuing CA as configured, unless there is any issuer already.
///
/// # Errors
/// As [`CertificateAuthority::create_first_issuers`].
pub async fn create_first_issuers(config: &Config, ca: &CertificateAuthority, caller: &Caller) -> Result<bool> {
    let root = new_ca(config, &config.hierarchy.root)?;
    let issuing = new_ca(config, &config.hierarchy.issuing)?;
    ca.create_first_issuers(caller, root, issuing).await
}

fn new_ca(config: &Config, authority: &Authority) -> Result<NewCa> {
    let mut subject = Vec::new();
    if let Some(organization) = &authority.organization {
        subject.push((AttributeType::Organization, organization.clone()));
    }
    subject.push((AttributeType::CommonName, authority.common_name.clone()));
    Ok(NewCa {
        name: authority.name.clone(),
        subject: DistinguishedName::from_attributes(&subject)?,
        key: authority.key,
        validity: authority.validity,
        place: keys::place(config, authority)?,
    })
}

/// A service that is ready to be run.
#[derive(Debug)]
pub struct Service {
    state: AppState,
    settings: ServerSettings,
    tls: Option<Arc<rustls::ServerConfig>>,
    jobs: Jobs,
}

impl Service {
    /// Prepares everything that must work before the first request: credentials, the listener's certificate, CRLs.
    ///
    /// # Errors
    /// `Configuration` for files and settings that cannot be used; those of issuance for the listener's certificate.
    pub async fn prepare(config: &Config, ca: Arc<CertificateAuthority>, bound: Bound) -> Result<Self> {
        metrics::install()?;
        let authenticator = Arc::new(authentication::authenticator(config, &ca).await?);
        let client_roots =
            Arc::new(SwappableRoots::new(&authenticator.client_authorities(ca.issuers().for_authentication()))?);
        let (tls, listener_certificate) = listener_tls(config, &ca, bound, &client_roots).await?;
        match ca.publish_due_crls().await {
            // A device that holds a key may have gone away; the job tries again.
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::error!(%error, "a CRL could not be published at the start");
            }
            published => published?,
        }
        match ca.renew_ocsp_responders().await {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::error!(%error, "an OCSP responder could not be certified at the start");
            }
            renewed => renewed?,
        }
        let acme = acme::open(config, &ca, bound).await?;
        let state = AppState::new(
            Arc::clone(&acme),
            Arc::clone(&authenticator),
            HttpSettings {
                csr_limit: config.limits.csr_body,
                body_limit: config.limits.body,
                body_timeout: config.server.client_body_timeout,
                admission: AdmissionSettings {
                    places: config.server.concurrent_requests,
                    maximum_wait: config.server.maximum_wait,
                    ..AdmissionSettings::default()
                },
                trusted_proxies: config.server.trusted_proxies.clone(),
                acme_enabled: config.acme.enabled,
                acme_base_url: config.acme.base_url.clone(),
                default_profile: config.default_profile.clone(),
            },
        );
        let limit = descriptors::raise();
        if let Some(problem) = descriptors::problem(config, limit) {
            tracing::warn!("{problem}");
        }
        let connections = descriptors::connections(config, limit);
        let settings = ServerSettings {
            workers: config.server.workers,
            max_connections: connections.each,
            max_connections_together: connections.together,
            max_connections_per_address: config.server.maximum_connections_per_address,
            header_timeout: config.server.client_header_timeout,
            keep_alive: config.server.keep_alive,
            write_timeout: config.server.client_write_timeout,
            shutdown_timeout: config.server.shutdown_timeout,
            ..ServerSettings::default()
        };
        let crl_delay = config.crl.delay_after_revocation;
        let acme = Some(acme);
        let jobs =
            Jobs { ca, acme, authenticator, client_roots, listener_certificate, crl_delay, seen: Arc::default() };
        Ok(Self { state, settings, tls, jobs })
    }

    /// Serves until `stop` turns true, finishes what was accepted, and closes the storage.
    ///
    /// # Errors
    /// Those of the listeners.
    pub async fn run(self, listeners: Listeners, stop: watch::Receiver<bool>) -> Result<()> {
        let Self { state, settings, tls, jobs } = self;
        let ca = Arc::clone(&state.ca);
        let (stop_jobs, jobs_stop) = watch::channel(false);
        let mut jobs = jobs.start(&jobs_stop);
        let mut stop = stop;
        let stopped = async move {
            // An error means that nobody can tell us to stop any more: stop.
            let _stopped = stop.wait_for(|stop| *stop).await;
        };
        let served = server::serve(listeners, settings, state, tls, stopped).await;
        stop_jobs.send_replace(true);
        while let Some(ended) = jobs.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a job ended badly");
            }
        }
        ca.storage().close().await;
        tracing::info!("stopped");
        served
    }
}

/// Makes the API's TLS configuration and, unless its certificate comes from files, has that certificate issued.
async fn listener_tls(
    config: &Config,
    ca: &CertificateAuthority,
    bound: Bound,
    client_roots: &Arc<SwappableRoots>,
) -> Result<(Option<Arc<rustls::ServerConfig>>, Option<Arc<ListenerCertificate>>)> {
    if config.server.tls == Tls::Off {
        return Ok((None, None));
    }
    let (served, own) = match (&config.server.certificate, &config.server.private_key) {
        (Some(certificate), Some(key)) => {
            (Arc::new(SwappableCertificate::new(TlsCertificate::from_files(certificate, key)?)), None)
        }
        (Some(_) | None, _) => {
            let own = Arc::new(ListenerCertificate::issue(listener_names(config, bound)?, ca).await?);
            (own.served(), Some(own))
        }
    };
    let tls = tls::server_config(served, Arc::clone(client_roots))?;
    Ok((Some(tls), own))
}

fn listener_names(config: &Config, bound: Bound) -> Result<Vec<SubjectAltName>> {
    let mut names = config.server.certificate_names();
    if !bound.api.ip().is_unspecified() {
        names.push(bound.api.ip().to_string());
    }
    names
        .iter()
        .map(|name| {
            let kind = if name.parse::<IpAddr>().is_ok() { NameType::Ip } else { NameType::Dns };
            SubjectAltName::parse(kind, name)
                .map_err(|error| Error::configuration(format!("`server.names`: `{}`: {}", error.value, error.message)))
        })
        .collect()
}
