//! What is the same in every certificate and answer of an issuer, made once when it is loaded.

use std::sync::Arc;

use super::{Settings, certificate_url, key_identifier, ocsp_url, without_root};
use crate::ca::settings::IssuerSettings;
use crate::error::Result;
use crate::x509::Certificate;
use crate::x509::extension::Extension;
use crate::x509::pem::PemText;

/// The certificates of an issuer's primary chain, written once: they are in the answer to each issuance.
#[derive(Clone, Debug)]
pub struct IssuerTexts {
    /// The chain without the root.
    pub chain_without_root: Arc<[PemText]>,
    /// The root.
    pub root: PemText,
}

/// The extensions that depend on the issuer and the settings of the process alone.
#[derive(Clone, Debug)]
pub(super) struct ConstantExtensions {
    pub(super) authority_key_identifier: Extension,
    pub(super) authority_information_access: Option<Extension>,
}

impl IssuerTexts {
    pub(super) fn of(chain: &[Certificate], certificate: &Certificate) -> Result<Self> {
        Ok(Self {
            chain_without_root: without_root(chain).iter().map(Certificate::to_pem_text).collect::<Result<_>>()?,
            root: chain.last().unwrap_or(certificate).to_pem_text()?,
        })
    }
}

impl ConstantExtensions {
    /// Makes those of an issuer, with the addresses of its certificate and of its OCSP responder (RFC 5280, section 4.2.2.1), unless its settings say
    /// otherwise.
    pub(super) fn of(
        certificate: &Certificate,
        of_issuer: &IssuerSettings,
        settings: &Settings,
        names: (&str, &str),
    ) -> Self {
        let (name, path_name) = names;
        let ca_issuers =
            of_issuer.urls.ca_issuers.clone().unwrap_or_else(|| vec![certificate_url(settings, path_name)]);
        let ocsp = ocsp_urls(of_issuer, settings, name);
        let has_addresses = !ca_issuers.is_empty() || !ocsp.is_empty();
        Self {
            authority_key_identifier: Extension::authority_key_identifier(&key_identifier(certificate)),
            authority_information_access: has_addresses
                .then(|| Extension::authority_information_access(&ca_issuers, &ocsp)),
        }
    }
}

/// Returns the addresses at which OCSP is asked: one for all generations of the name, unless the issuer's settings say otherwise.
fn ocsp_urls(of_issuer: &IssuerSettings, settings: &Settings, name: &str) -> Vec<String> {
    of_issuer.urls.ocsp.clone().unwrap_or_else(|| vec![ocsp_url(settings, name)])
}
