//! TLS for the API listener: versions, protocols, a server certificate and client roots that can be swapped while it runs.
//!
//! The handshake asks for a client certificate when there are roots for one, and never insists. What a client certificate may do is
//! checked on every request in `auth/client_certificate/`.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// The most octets of a certificate or key file.
const MAXIMUM_FILE: u64 = 1024 * 1024;

/// A server certificate with its key.
#[derive(Debug)]
pub struct TlsCertificate {
    certified: Arc<CertifiedKey>,
}

impl TlsCertificate {
    /// Takes a chain, the server's certificate first and the root left out, and the key as PKCS #8, all DER.
    ///
    /// # Errors
    /// `Configuration` when the chain is empty, a part cannot be parsed, or the key is not the certificate's.
    pub fn from_der(chain: Vec<Vec<u8>>, pkcs8: Zeroizing<Vec<u8>>) -> Result<Self> {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        // `PrivateKeyDer` is wiped when dropped (rustls-pki-types), as is the parameter.
        Self::new(chain, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.to_vec())))
    }

    /// Reads a PEM chain and a PEM key (`PRIVATE KEY`, `EC PRIVATE KEY` or `RSA PRIVATE KEY`, not encrypted). The key file must not be
    /// readable by group or others.
    ///
    /// # Errors
    /// `Configuration` naming the file and what is wrong.
    pub fn from_files(chain: &Path, key: &Path) -> Result<Self> {
        let text = read(chain, Access::Anybody)?;
        let certificates = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| in_file(chain, "it is not PEM").with_source(error))?;
        if certificates.is_empty() {
            return Err(in_file(chain, "it has no `CERTIFICATE` block"));
        }
        let text = read(key, Access::OwnerOnly)?;
        let private_key = PrivateKeyDer::from_pem_slice(&text)
            .map_err(|error| in_file(key, "it has no unencrypted private key in PEM").with_source(error))?;
        Self::new(certificates, private_key).map_err(|error| in_file(chain, &error.to_string()).with_source(error))
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self> {
        if chain.is_empty() {
            return Err(Error::configuration("the server certificate's chain is empty"));
        }
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            Error::configuration("the server certificate and its key cannot be used together").with_source(error)
        })?;
        Ok(Self { certified: Arc::new(certified) })
    }
}

/// The server certificate that new handshakes use; can be replaced while connections are open.
#[derive(Debug)]
pub struct SwappableCertificate {
    current: ArcSwap<CertifiedKey>,
}

impl SwappableCertificate {
    /// Starts with a certificate.
    #[must_use]
    pub fn new(certificate: TlsCertificate) -> Self {
        Self { current: ArcSwap::new(certificate.certified) }
    }

    /// Replaces the certificate for every handshake from now on.
    pub fn replace(&self, certificate: TlsCertificate) {
        self.current.store(certificate.certified);
    }
}

impl ResolvesServerCert for SwappableCertificate {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// The CAs whose client certificates handshakes admit; can be replaced while connections are open. Without any, none is asked for.
#[derive(Debug)]
pub struct SwappableRoots {
    provider: Arc<CryptoProvider>,
    current: ArcSwapOption<Verifier>,
}

/// A sized holder, as `ArcSwapOption` cannot hold a trait object itself.
#[derive(Debug)]
struct Verifier(Arc<dyn ClientCertVerifier>);

impl SwappableRoots {
    /// Starts with CA certificates, DER; perhaps none.
    ///
    /// # Errors
    /// As [`SwappableRoots::replace`].
    pub fn new(roots: &[Vec<u8>]) -> Result<Self> {
        let swappable = Self { provider: provider(), current: ArcSwapOption::empty() };
        swappable.replace(roots)?;
        Ok(swappable)
    }

    /// Replaces the CA certificates for every handshake from now on.
    ///
    /// # Errors
    /// `Configuration` when one cannot be used; the present ones then stay.
    pub fn replace(&self, roots: &[Vec<u8>]) -> Result<()> {
        if roots.is_empty() {
            self.current.store(None);
            return Ok(());
        }
        let unusable = |error: rustls::Error| {
            Error::configuration("a CA certificate for client certificates cannot be used").with_source(error)
        };
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(CertificateDer::from(root.clone())).map_err(unusable)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(&self.provider))
            .allow_unauthenticated()
            .build()
            .map_err(|error| {
                Error::configuration("the roots for client certificates cannot be used").with_source(error)
            })?;
        self.current.store(Some(Arc::new(Verifier(verifier))));
        Ok(())
    }
}

impl ClientCertVerifier for SwappableRoots {
    fn offer_client_auth(&self) -> bool {
        self.current.load().is_some()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// No hints: they would have to outlive a swap. A client then sends the certificate it has (RFC 8446, section 4.2.4).
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match self.current.load_full() {
            Some(verifier) => verifier.0.verify_client_cert(end_entity, intermediates, now),
            // The roots were taken away while this handshake was under way.
            None => Err(rustls::CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Returns the configuration of the API listener: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, client certificates if there are roots for them.
///
/// # Errors
/// `Internal` when the TLS library refuses it.
pub fn server_config(
    certificates: Arc<SwappableCertificate>,
    client_roots: Arc<SwappableRoots>,
) -> Result<Arc<ServerConfig>> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| Error::internal("the TLS server cannot be made").with_source(error))?
        .with_client_cert_verifier(client_roots)
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Reads every certificate of a PEM file, as DER, such as the CA of a rule for client certificates.
///
/// # Errors
/// `Configuration` naming the file when it cannot be read or holds none.
pub fn certificates_from_file(path: &Path) -> Result<Vec<Vec<u8>>> {
    let text = read(path, Access::Anybody)?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .map(|certificate| certificate.map(|der| der.to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| in_file(path, "it is not PEM").with_source(error))?;
    if certificates.is_empty() {
        return Err(in_file(path, "it has no `CERTIFICATE` block"));
    }
    Ok(certificates)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Who may be able to read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Anybody,
    OwnerOnly,
}

fn read(path: &Path, access: Access) -> Result<Zeroizing<Vec<u8>>> {
    let unreadable = |error: std::io::Error| in_file(path, "it cannot be read").with_source(error);
    let file = File::open(path).map_err(unreadable)?;
    // The opened file is judged, not the path, which may name another one a moment later.
    let metadata = file.metadata().map_err(unreadable)?;
    if access == Access::OwnerOnly && metadata.mode() & 0o077 != 0 {
        return Err(in_file(
            path,
            &format!("its mode {:04o} lets group or others at the key; `chmod 600` it", metadata.mode() & 0o7777),
        ));
    }
    if metadata.len() > MAXIMUM_FILE {
        return Err(in_file(path, &format!("it is over {MAXIMUM_FILE} octets")));
    }
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0)));
    file.take(MAXIMUM_FILE).read_to_end(&mut content).map_err(unreadable)?;
    Ok(content)
}

fn in_file(path: &Path, problem: &str) -> Error {
    Error::configuration(format!("`{}`: {problem}", path.display()))
}

#[cfg(test)]
mod tests;
