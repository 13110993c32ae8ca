//! What is allowed but perhaps not meant: warnings of `config check` and of the start.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::acme::{Acme, HTTP_01_PORT, TLS_ALPN_01_PORT};
use super::authentication::ClientCa;
use super::database::{Backend, PostgresTls};
use super::{Config, Tls};
use crate::policy::acme::ChallengeType;

/// Lists what is allowed but perhaps not meant, and files that are not there.
#[must_use]
pub fn check(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let server = &config.server;
    if server.tls == Tls::Off && !server.listen.ip().is_loopback() {
        warnings.push(format!(
            "`server.tls` is `off` and `server.listen` is `{}`: tokens travel the network unencrypted unless a proxy in front ends TLS",
            server.listen
        ));
    }
    if server.tls == Tls::Off && server.trusted_proxies.is_empty() {
        warnings.push(
            "`server.tls` is `off` and `server.trusted_proxies` is empty: the audit log will show the proxy's address, not the clients'"
                .to_owned(),
        );
    }
    if server.tls == Tls::Off && !config.authentication.client_certificates.is_empty() {
        warnings.push(
            "`server.tls` is `off`: the rules in `authentication.client_certificates` cannot match anybody".to_owned(),
        );
    }
    if server.public_listen.is_none() {
        warnings.push(
            "`server.public_listen` is `off`: CRLs and issuer certificates must be served to relying parties by other means"
                .to_owned(),
        );
    }
    if let Some(address) = server.metrics_listen
        && !address.ip().is_loopback()
    {
        warnings.push(format!(
            "`server.metrics_listen` is `{address}`: metrics are served to the network without authentication"
        ));
    }
    match &config.public_url {
        None if server.public_listen.is_none_or(|address| address.ip().is_unspecified() || address.ip().is_loopback()) => {
            warnings.push(
                "`public_url` is not set: certificates will point to an address that other machines may not reach".to_owned(),
            );
        }
        Some(url) if url.starts_with("https:") => warnings.push(
            "`public_url` is `https`: checking its certificate may need the CRL that it serves (RFC 5280, section 8); `http` is meant for this"
                .to_owned(),
        ),
        _ => {}
    }
    if let Backend::Postgres { tls, shown } = config.database_url().backend()
        && *tls != PostgresTls::VerifyFull
        && !is_local(shown)
    {
        warnings.push(
            "`database.url` does not say `sslmode=verify-full`: the PostgreSQL server is not authenticated".to_owned(),
        );
    }
    if config.crl.refresh * 2 > config.crl.validity {
        warnings.push(
            "`crl.refresh` is more than half of `crl.validity`: one publication that fails leaves little time to mend it"
                .to_owned(),
        );
    }
    if config.acme.enabled {
        warn_of_acme(&config.acme, &mut warnings);
        warn_of_profiles(config, &mut warnings);
    }
    for (setting, path) in files(config) {
        if !path.is_file() {
            warnings.push(format!("`{setting}` names the file `{}`, which is not there", path.display()));
        }
    }
    warnings
}

fn warn_of_acme(acme: &Acme, warnings: &mut Vec<String>) {
    for (setting, port, standard) in [
        ("http_01_port", acme.http_01_port, HTTP_01_PORT),
        ("tls_alpn_01_port", acme.tls_alpn_01_port, TLS_ALPN_01_PORT),
    ] {
        if port != standard {
            warnings.push(format!(
                "`acme.{setting}` is {port}, not {standard}: whoever may listen there on a host can have certificates for its name"
            ));
        }
    }
    let loopback =
        |network: &ipnet::IpNet| network.addr().is_loopback() || network.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST));
    if acme.allowed_addresses.iter().flatten().any(loopback) {
        warnings.push(
            "`acme.allowed_addresses` holds loopback addresses: challenges may lead to services of this machine"
                .to_owned(),
        );
    }
    if acme.challenges.is_empty() {
        warnings.push(
            "`acme.challenges` is empty: only accounts whose external account binding proves control can have certificates"
                .to_owned(),
        );
    }
    let is_persistent = |challenge: &ChallengeType| *challenge == ChallengeType::DnsPersist01;
    if !acme.challenges.is_empty() && acme.challenges.iter().all(is_persistent) && acme.issuer_domain_names.is_empty() {
        warnings.push(
            "`acme.challenges` is `dns-persist-01` alone and `acme.issuer_domain_names` is empty: no challenge is ever offered"
                .to_owned(),
        );
    }
    if acme.base_url.as_ref().is_some_and(|url| url.starts_with("http:")) {
        warnings.push(
            "`acme.base_url` is `http`: ACME is for HTTPS (RFC 8555, section 6.1), and most clients take nothing else"
                .to_owned(),
        );
    }
    if !acme.issuer_domain_names.is_empty() && acme.base_url.is_none() {
        warnings.push(
            "`acme.issuer_domain_names` is set and `acme.base_url` is not: dns-persist-01 records hold the address of an account, which then differs with the name that a client reaches this service by"
                .to_owned(),
        );
    }
}

/// Warns of names that no profile of the configuration nor a built-in one has.
fn warn_of_profiles(config: &Config, warnings: &mut Vec<String>) {
    let built_in = crate::policy::profile::defaults();
    let known: Vec<&str> = config.profiles.iter().chain(&built_in).map(|profile| profile.name.as_str()).collect();
    for name in config.acme.profiles.iter().flatten().filter(|name| !known.contains(&name.as_str())) {
        warnings.push(format!(
            "`acme.profiles` has `{name}`, which is neither built in nor in `[[profiles]]`: unless it was made over the API, nothing can be had under it"
        ));
    }
}

/// Whether a PostgreSQL address without password is this machine.
fn is_local(shown: &str) -> bool {
    let hosts = shown.split_once("://").map_or(shown, |(_, rest)| rest);
    let hosts = hosts.rsplit_once('@').map_or(hosts, |(_, hosts)| hosts);
    let hosts = hosts.split('/').next().unwrap_or_default();
    hosts.split(',').all(|host| {
        let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
        matches!(name, "" | "localhost" | "127.0.0.1" | "[::1]")
    })
}

fn files(config: &Config) -> Vec<(String, &Path)> {
    let mut files = vec![
        ("server.certificate".to_owned(), config.server.certificate.as_deref()),
        ("server.private_key".to_owned(), config.server.private_key.as_deref()),
        ("database.root_certificates".to_owned(), config.database.root_certificates.as_deref()),
    ];
    for (index, jwt) in config.authentication.jwt.iter().enumerate() {
        let setting = format!("authentication.jwt[{index}]");
        files.push((format!("{setting}.jwks_file"), jwt.jwks_file.as_deref()));
        files.push((format!("{setting}.public_key_file"), jwt.public_key_file.as_deref()));
        files.push((format!("{setting}.ca_certificates"), jwt.ca_certificates.as_deref()));
    }
    for (index, rule) in config.authentication.client_certificates.iter().enumerate() {
        if let ClientCa::File(path) = &rule.ca {
            files.push((format!("authentication.client_certificates[{index}].ca"), Some(path.as_path())));
        }
    }
    files.into_iter().filter_map(|(setting, path)| Some((setting, path?))).collect()
}
