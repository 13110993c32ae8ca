//! TLS to PostgreSQL: which server certificates are accepted, as libpq's `sslmode` has it.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::error::{Error, Result};

/// Where systems keep the roots they trust.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// What is verified of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verification {
    /// Nothing: encryption against listeners only.
    None,
    /// That the chain leads to a root, whatever the name.
    Chain,
    /// Chain and name.
    Full,
}

/// Makes the configuration of TLS to the server.
pub(super) fn client_config(verification: Verification, roots: Option<&Path>) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal("TLS cannot be set up").with_source(error))?;
    let chain = match verification {
        Verification::None => None,
        Verification::Chain | Verification::Full => Some(chain_verifier(roots, Arc::clone(&provider))?),
    };
    let config = match (verification, chain) {
        (Verification::Full, Some(chain)) => builder.with_webpki_verifier(chain),
        (_, chain) => {
            let verifier = Arc::new(LenientVerifier { chain, provider });
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
    };
    Ok(config.with_no_client_auth())
}

fn chain_verifier(roots: Option<&Path>, provider: Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>> {
    let path = match roots {
        Some(path) => path,
        None => SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.is_file()).ok_or_else(|| {
            Error::configuration("no root certificates were found on this system: set `database.root_certificates`")
        })?,
    };
    let unreadable = |error: rustls_pki_types::pem::Error| {
        Error::configuration(format!("the root certificates in `{}` cannot be read", path.display())).with_source(error)
    };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let (added, _ignored) = store.add_parsable_certificates([certificate.map_err(unreadable)?]);
        // A system's store may hold what rustls does not take; a file given by the operator may not.
        if added == 0 && roots.is_some() {
            return Err(Error::configuration(format!(
                "`{}` holds a certificate that cannot be a root",
                path.display()
            )));
        }
    }
    if store.is_empty() {
        return Err(Error::configuration(format!("`{}` holds no root certificate", path.display())));
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
        .build()
        .map_err(|error| Error::configuration("the root certificates cannot be used").with_source(error))
}

/// Accepts what `sslmode` says is enough: any certificate, or any with a good chain. Handshake signatures are verified always.
#[derive(Debug)]
struct LenientVerifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for LenientVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is checked last, when the chain is known to be good.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
