//! Turns the `[acme]` section into a running ACME server with its eyes on the network.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::ca::CertificateAuthority;
use crate::ca::acme::Acme;
use crate::config::{self, Config};
use crate::error::Result;
use crate::http::server::Bound;
use crate::storage;
use crate::validation::{DnsSettings, NetworkValidator, Resolver, ResolverSettings, ValidationSettings, ZoneResolvers};

/// Opens the ACME server that the configuration describes.
///
/// # Errors
/// `Configuration` for settings that cannot be used; those of [`Acme::open`].
pub(super) async fn open(config: &Config, ca: &Arc<CertificateAuthority>, bound: Bound) -> Result<Arc<Acme>> {
    let resolver = Arc::new(Resolver::new(resolver_settings(&config.acme))?);
    let mut own = vec![bound.api];
    own.extend(bound.public);
    own.extend(bound.metrics);
    own.extend(storage::addresses(&config.database_options()).await?);
    let validator = NetworkValidator::new(validation_settings(&config.acme, own), resolver, ca.clock().clone())?;
    let settings = config.acme.settings(config.default_profile.as_deref());
    Acme::open(Arc::clone(ca), settings, Arc::new(validator)).await
}

fn resolver_settings(acme: &config::Acme) -> ResolverSettings {
    let zone = |zone: &config::acme::Zone| ZoneResolvers { zone: zone.zone.clone(), resolvers: zone.resolvers.clone() };
    ResolverSettings {
        resolvers: acme.resolvers.clone(),
        zones: acme.zones.iter().map(zone).collect(),
        timeout: acme.validation.dns_timeout,
        ..ResolverSettings::default()
    }
}

fn validation_settings(acme: &config::Acme, own_listeners: Vec<SocketAddr>) -> ValidationSettings {
    ValidationSettings {
        http_01_port: acme.http_01_port,
        tls_alpn_01_port: acme.tls_alpn_01_port,
        allowed_addresses: acme.allowed_addresses.clone(),
        denied_addresses: acme.denied_addresses.clone(),
        own_listeners,
        connect_timeout: acme.validation.connect_timeout,
        attempt_timeout: acme.validation.attempt_timeout,
        dns: DnsSettings {
            issuer_domain_names: acme.issuer_domain_names.clone(),
            caa_identities: acme.caa_identities.clone(),
        },
        ..ValidationSettings::default()
    }
}
