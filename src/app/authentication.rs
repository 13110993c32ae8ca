//! Turns the `[authentication]` section into the settings of the authenticator.

use crate::auth::client_certificate::{ClientCertificateAuthority, ClientCertificateRule};
use crate::auth::jwt::{JwtKeySource, JwtProviderSettings, JwtRule};
use crate::auth::{Authenticator, AuthenticatorSettings};
use crate::ca::CertificateAuthority;
use crate::config::authentication::{ClientCa, JwtKeys};
use crate::config::{ClientCertificate, Config, Jwt};
use crate::error::{Error, Result};
use crate::http::tls;

/// Makes the authenticator that the configuration describes.
///
/// # Errors
/// `Configuration` naming the setting; those of the storage.
pub(super) async fn authenticator(config: &Config, ca: &CertificateAuthority) -> Result<Authenticator> {
    let settings = AuthenticatorSettings {
        jwt: config.authentication.jwt.iter().map(provider).collect::<Result<_>>()?,
        client_certificates: config.authentication.client_certificates.iter().map(rule).collect::<Result<_>>()?,
    };
    Authenticator::new(settings, ca.storage().clone(), ca.clock().clone(), ca.issuers().for_authentication()).await
}

fn provider(jwt: &Jwt) -> Result<JwtProviderSettings> {
    let keys = match jwt.keys() {
        Some(JwtKeys::Url(url)) => {
            JwtKeySource::JwksUrl { url: url.to_owned(), ca_certificates: jwt.ca_certificates.clone() }
        }
        Some(JwtKeys::JwksFile(path)) => JwtKeySource::JwksFile(path.to_owned()),
        Some(JwtKeys::PublicKeyFile(path)) => JwtKeySource::PublicKeyFile(path.to_owned()),
        None => return Err(Error::configuration(format!("the JWT issuer `{}` has no keys", jwt.name))),
    };
    let rules = jwt.rules.iter().map(|rule| JwtRule {
        claims: rule.claims.iter().map(|(path, values)| (path.clone(), values.accepted().to_vec())).collect(),
        role: rule.role,
        grants: rule.grants.clone(),
    });
    Ok(JwtProviderSettings {
        name: jwt.name.clone(),
        issuer: jwt.issuer.clone(),
        audience: jwt.audience.clone(),
        algorithms: jwt.algorithms.clone(),
        keys,
        refresh: jwt.refresh,
        leeway: jwt.leeway,
        maximum_age: jwt.maximum_age,
        subject_claim: jwt.subject_claim.clone(),
        role: jwt.role,
        rules: rules.collect(),
    })
}

fn rule(rule: &ClientCertificate) -> Result<ClientCertificateRule> {
    let authority = match &rule.ca {
        ClientCa::Issuer(name) => ClientCertificateAuthority::Issuer(name.clone()),
        ClientCa::File(path) => ClientCertificateAuthority::Certificates(tls::certificates_from_file(path)?),
    };
    Ok(ClientCertificateRule {
        name: rule.name.clone(),
        authority,
        subject_alt_names: rule.subject_alt_names.clone().unwrap_or_default(),
        common_name: rule.common_name.clone(),
        fingerprints_sha256: rule.fingerprint_sha256.iter().map(|fingerprint| fingerprint.0).collect(),
        role: rule.role,
        grants: rule.grants.clone(),
    })
}
