//! The certificate of the API's own listener: issued by the default issuer, renewed when a third of its time is left or that issuer changes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use zeroize::Zeroizing;

use crate::ca::CertificateAuthority;
use crate::ca::hierarchy::LISTENER_PROFILE;
use crate::ca::issuer::Issuer;
use crate::error::{Error, ErrorKind, Result};
use crate::http::tls::{SwappableCertificate, TlsCertificate};
use crate::policy::profile::{DnsSection, ExtendedKeyUsageRule, NameSection, Presence, SubjectRule, Validity};
use crate::policy::{CompiledProfile, Profile};
use crate::x509::{
    Certificate, CertificateRequest, ExtendedKeyUsage, KeyAlgorithm, KeyUsage, SubjectAltName, Timestamp,
};

/// How long the listener's certificate is valid. Short, because nobody has to carry it anywhere.
const VALIDITY: Duration = Duration::from_secs(30 * 86_400);

/// Keeps the listener's certificate fresh.
#[derive(Debug)]
pub struct ListenerCertificate {
    names: Vec<SubjectAltName>,
    profile: CompiledProfile,
    served: Arc<SwappableCertificate>,
    present: Mutex<Present>,
}

/// What decides when the certificate is renewed.
#[derive(Clone, Debug)]
struct Present {
    not_before: Timestamp,
    not_after: Timestamp,
    /// SHA-256 of the issuer's certificate and of those above it that are served.
    chain: Vec<[u8; 32]>,
}

impl ListenerCertificate {
    /// Issues a first certificate for the names that clients reach the listener by.
    ///
    /// # Errors
    /// `Configuration` when they cannot be names of a certificate; those of issuance.
    pub async fn issue(names: Vec<SubjectAltName>, ca: &CertificateAuthority) -> Result<Self> {
        // In order and once each, so that the profile and the certificate do not depend on how they were found.
        let names: Vec<SubjectAltName> = names.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let profile = CompiledProfile::compile(profile(&names)?)?;
        let (certificate, present) = match issue(&names, &profile, ca).await {
            // What needs no signature is served all the same, to those who take a certificate that nobody vouches for.
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::PolicyViolation) => {
                let violations: Vec<&str> =
                    error.violations().iter().map(|violation| violation.message.as_str()).collect();
                tracing::error!(
                    %error, violations = violations.join("; "),
                    "the listener has a temporary certificate until the default issuer can sign one for it"
                );
                temporary(&names, ca.clock().now())?
            }
            issued => issued?,
        };
        let served = Arc::new(SwappableCertificate::new(certificate));
        Ok(Self { names, profile, served, present: Mutex::new(present) })
    }

    /// Returns the certificate as handshakes take it.
    #[must_use]
    pub fn served(&self) -> Arc<SwappableCertificate> {
        Arc::clone(&self.served)
    }

    /// Issues a new certificate when a third of the time is left or the default issuer is another one now.
    ///
    /// # Errors
    /// Those of issuance; the certificate that is served stays.
    pub async fn renew_if_due(&self, ca: &CertificateAuthority) -> Result<()> {
        let issuers = ca.issuers();
        let chain = issuers.default_issuer().map(|issuer| fingerprints(issuer));
        // A device that is away is tried by another job.
        let can_sign = issuers.default_issuer().is_some_and(|issuer| issuer.can_sign());
        if !can_sign || !self.is_due(ca.clock().now(), chain.as_ref()) {
            return Ok(());
        }
        let (certificate, present) = issue(&self.names, &self.profile, ca).await?;
        self.served.replace(certificate);
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = present;
        Ok(())
    }

    fn is_due(&self, now: Timestamp, chain: Option<&Vec<[u8; 32]>>) -> bool {
        let present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let lifetime = present.not_after.since(present.not_before);
        chain != Some(&present.chain) || present.not_after.since(now) < lifetime / 3
    }
}

fn fingerprints(issuer: &Issuer) -> Vec<[u8; 32]> {
    std::iter::once(&issuer.certificate).chain(issuer.widest_chain()).map(Certificate::fingerprint_sha256).collect()
}

async fn issue(
    names: &[SubjectAltName],
    profile: &CompiledProfile,
    ca: &CertificateAuthority,
) -> Result<(TlsCertificate, Present)> {
    let (key, csr) = request(&admitted(names, ca))?;
    let issued = ca.issue_for_listener(csr, profile).await?;
    let chain = std::iter::once(&issued.certificate).chain(issued.issuer.widest_chain());
    let certificate = TlsCertificate::from_der(chain.map(|link| link.as_der().to_vec()).collect(), key)?;
    let Certificate { not_before, not_after, .. } = issued.certificate;
    tracing::info!(serial = %issued.record.serial, %not_after, "the listener has a new certificate");
    if issued.issuer.chain.iter().any(|link| link.public_key.algorithm().is_ok_and(KeyAlgorithm::is_post_quantum)) {
        tracing::warn!(
            issuer = %issued.issuer.name,
            "the chain of the listener's certificate has ML-DSA signatures, which TLS clients on OpenSSL before 3.5 cannot verify; \
             for them set `server.certificate` and `server.private_key`"
        );
    }
    Ok((certificate, Present { not_before, not_after, chain: fingerprints(&issued.issuer) }))
}

/// Makes a certificate that the key itself signs, and that is due for renewal from the first moment.
fn temporary(names: &[SubjectAltName], now: Timestamp) -> Result<(TlsCertificate, Present)> {
    let failed = |error: rcgen::Error| {
        Error::internal("the listener's temporary certificate could not be made").with_source(error)
    };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params =
        CertificateParams::new(names.iter().map(SubjectAltName::value).collect::<Vec<_>>()).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "temporary: the issuer cannot sign");
    let certificate = params.self_signed(&key).map_err(failed)?;
    let certificate = TlsCertificate::from_der(vec![certificate.der().to_vec()], Zeroizing::new(key.serialize_der()))?;
    Ok((certificate, Present { not_before: now, not_after: now, chain: Vec::new() }))
}

/// Leaves out the names that the default issuer's chain does not let pass, so that a CA limited to certain names can still serve under
/// those. When none is left, all are kept, and issuance says why not.
fn admitted(names: &[SubjectAltName], ca: &CertificateAuthority) -> Vec<SubjectAltName> {
    let issuers = ca.issuers();
    let Some(issuer) = issuers.default_issuer() else { return names.to_vec() };
    let (admitted, refused): (Vec<_>, Vec<_>) = names.iter().cloned().partition(|name| issuer.limits.admit_name(name));
    if admitted.is_empty() || refused.is_empty() {
        return names.to_vec();
    }
    let refused = refused.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    tracing::warn!(issuer = %issuer.name, refused, "the listener's certificate leaves out names that its chain does not permit");
    admitted
}

/// Makes a key and a CSR; the key lives in this process only.
fn request(names: &[SubjectAltName]) -> Result<(Zeroizing<Vec<u8>>, CertificateRequest)> {
    let failed = |error: rcgen::Error| Error::internal("the listener's CSR could not be made").with_source(error);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params =
        CertificateParams::new(names.iter().map(SubjectAltName::value).collect::<Vec<_>>()).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let csr = params.serialize_request(&key).map_err(failed)?;
    Ok((Zeroizing::new(key.serialize_der()), CertificateRequest::parse(csr.der())?))
}

/// A profile that admits exactly these names.
fn profile(names: &[SubjectAltName]) -> Result<Profile> {
    let mut dns = Vec::new();
    let mut ip = Vec::new();
    for name in names {
        match name {
            SubjectAltName::Dns(name) => dns.push(name.as_str().to_owned()),
            SubjectAltName::Ip(address) => ip.push(ipnet::IpNet::from(*address).to_string()),
            SubjectAltName::Uri(_) | SubjectAltName::Email(_) => {
                return Err(Error::configuration(format!(
                    "`server.names`: `{name}` is neither a DNS name nor an IP address"
                )));
            }
        }
    }
    Ok(Profile {
        // A profile's own name has no dot; this one is never stored, records name `LISTENER_PROFILE`.
        name: LISTENER_PROFILE.replace('.', "-"),
        description: None,
        issuer: None,
        additional_issuers: Vec::new(),
        validity: Validity {
            default: VALIDITY,
            maximum: VALIDITY,
            beyond_issuer: crate::policy::profile::BeyondIssuer::Truncate,
            ..Validity::default()
        },
        keys: vec![KeyAlgorithm::EcdsaP256],
        key_usage: vec![KeyUsage::DigitalSignature],
        extended_key_usage: ExtendedKeyUsageRule {
            required: vec!["server_auth".parse::<ExtendedKeyUsage>()?],
            allowed: Vec::new(),
        },
        subject: SubjectRule { common_name: Presence::Forbidden, ..SubjectRule::default() },
        common_name_in_names: false,
        names_required: true,
        certificate_policies: Vec::new(),
        dns: Some(DnsSection { allow: dns, wildcards: true, underscores: true, ..DnsSection::default() }),
        ip: Some(NameSection { allow: ip, ..NameSection::default() }),
        uri: None,
        email: None,
        ignore_extensions: Vec::new(),
        must_staple: crate::policy::profile::MustStaple::Forbidden,
        renew_same_key: true,
        server_generated_keys: false,
        certificate_authority: None,
    })
}
