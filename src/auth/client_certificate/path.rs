//! The path from a client certificate to a rule's CA (RFC 5280, section 6.1), found and verified by rustls-webpki.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::OwnIssuer;
use crate::error::{Error, ErrorKind, Result};
use crate::x509::{Certificate, Timestamp};

/// Verifies that a certificate chains to one of the anchors for client authentication; returns the certificates in between.
///
/// # Errors
/// `Unauthenticated` when it does not.
pub(crate) fn verify(
    certificate: &Certificate,
    intermediates: &[Vec<u8>],
    anchors: &[&Certificate],
    issuers: &[OwnIssuer],
    now: Timestamp,
) -> Result<Vec<Certificate>> {
    let failed = |error: webpki::Error| {
        Error::new(ErrorKind::Unauthenticated, "the client certificate does not chain to the CA").with_source(error)
    };
    // webpki does not look at an anchor's validity.
    let anchors: Vec<CertificateDer<'_>> = anchors
        .iter()
        .filter(|anchor| anchor.not_before <= now && now <= anchor.not_after)
        .map(|anchor| CertificateDer::from(anchor.as_der()))
        .collect();
    let anchors: Vec<_> = anchors.iter().map(anchor_from_trusted_cert).collect::<Result<_, _>>().map_err(failed)?;
    let intermediates: Vec<CertificateDer<'_>> = intermediates
        .iter()
        .map(|der| CertificateDer::from(der.as_slice()))
        .chain(
            issuers
                .iter()
                .filter(|issuer| !issuer.disabled)
                .map(|issuer| CertificateDer::from(issuer.certificate.as_der())),
        )
        .collect();
    let leaf = CertificateDer::from(certificate.as_der());
    let leaf = EndEntityCert::try_from(&leaf).map_err(failed)?;
    let seconds = u64::try_from(now.unix()).unwrap_or(0);
    let path = leaf
        .verify_for_usage(
            rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all,
            &anchors,
            &intermediates,
            UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
            KeyUsage::client_auth(),
            None,
            None,
        )
        .map_err(failed)?;
    path.intermediate_certificates().map(|between| Certificate::from_der(&between.der())).collect()
}
