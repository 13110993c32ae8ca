//! What is allowed but perhaps not meant: warnings of `config check` and of the start.

use std::path::Path;

use super::authentication::ClientCa;
use super::database::{Backend, PostgresTls};
use super::{Config, Tls};

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
    for (setting, path) in files(config) {
        if !path.is_file() {
            warnings.push(format!("`{setting}` names the file `{}`, which is not there", path.display()));
        }
    }
    warnings
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
