//! TLS to hosts whose certificates prove nothing yet: any certificate is taken, but the peer must hold its key. What a certificate must
//! look like is judged by the challenge, after the handshake.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, PeerIncompatible, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::dialer;
use super::trail::{Stage, Trail};
use crate::ca::acme::validation::ValidationFailure;
use crate::error::{AcmeErrorType, Error, Result};

/// The protocol of tls-alpn-01 (RFC 8737, section 6.2).
pub(super) const ACME_TLS: &[u8] = b"acme-tls/1";

/// What the validator's TLS clients offer; they never resume a session, in which no certificate would be shown.
#[derive(Clone, Debug)]
pub(super) struct TlsClients {
    /// For redirects of http-01 to `https`.
    pub(super) https: Arc<ClientConfig>,
    /// For tls-alpn-01.
    pub(super) acme_tls: Arc<ClientConfig>,
}

impl TlsClients {
    /// Sets the clients up: TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// `Internal` when rustls does not take its own provider.
    pub(super) fn new() -> Result<Self> {
        Ok(Self { https: client(b"http/1.1")?, acme_tls: client(ACME_TLS)? })
    }
}

fn client(protocol: &[u8]) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| Error::internal("TLS cannot be set up").with_source(error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate { provider }))
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Makes a handshake over a connection.
pub(super) async fn handshake(
    client: &Arc<ClientConfig>,
    server_name: ServerName<'static>,
    stream: TcpStream,
    trail: &mut Trail,
) -> std::result::Result<TlsStream<TcpStream>, ValidationFailure> {
    trail.enter(Stage::Handshake);
    TlsConnector::from(Arc::clone(client)).connect(server_name, stream).await.map_err(|error| {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => ValidationFailure::new(AcmeErrorType::Tls, in_words(tls)),
            None => ValidationFailure::new(
                AcmeErrorType::Connection,
                format!("the connection failed during the TLS handshake: {}", dialer::in_words(&error)),
            ),
        }
    })
}

/// An error of a handshake in our own words: the peer chooses among them, but writes none.
fn in_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "the server ended the TLS handshake with the alert `no_application_protocol`: what listens there does not speak `acme-tls/1`; \
             the ACME client's responder must answer at this address and port while the challenge is looked at (RFC 8737, section 3)"
                .to_owned()
        }
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "the server ended the TLS handshake with the alert `unrecognized_name`: it knows no certificate for the name that was asked for"
                .to_owned()
        }
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerSentHelloRetryRequestWithUnknownExtension,
        ) => "the server speaks neither TLS 1.2 nor TLS 1.3".to_owned(),
        rustls::Error::AlertReceived(alert) => {
            format!("the server ended the TLS handshake with the alert {}", u8::from(*alert))
        }
        rustls::Error::InvalidMessage(_) | rustls::Error::InappropriateMessage { .. } => {
            "what listens there does not speak TLS as it should".to_owned()
        }
        rustls::Error::PeerIncompatible(_) => "the server supports no parameters of TLS that are supported here".to_owned(),
        rustls::Error::NoCertificatesPresented => "the server presented no certificate".to_owned(),
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            "the server does not hold the key of its certificate: the signature of the TLS handshake does not verify".to_owned()
        }
        rustls::Error::InvalidCertificate(_) => {
            "the server's certificate cannot be read, or its key is of a kind that is not supported in TLS here".to_owned()
        }
        _ => "the TLS handshake failed".to_owned(),
    }
}

/// Takes any certificate whose key has signed the handshake.
///
/// webpki is not asked to read the certificate: it refuses critical extensions that it does not know, and `acmeIdentifier` must be one.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

/// Returns the key of a certificate.
fn key_of(certificate: &CertificateDer<'_>) -> std::result::Result<SubjectPublicKeyInfoDer<'static>, rustls::Error> {
    match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => Ok(SubjectPublicKeyInfoDer::from(parsed.tbs_certificate.subject_pki.raw.to_vec())),
        Err(_not_a_certificate) => Err(CertificateError::BadEncoding.into()),
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let spki = key_of(certificate)?;
        let bad = || rustls::Error::from(CertificateError::BadSignature);
        let key = webpki::RawPublicKeyEntity::try_from(&spki).map_err(|_unreadable| CertificateError::BadEncoding)?;
        // In TLS 1.2 a scheme of ECDSA does not fix the curve (RFC 5246, section 7.4.1.4.1): each that it may have is tried.
        let (_, algorithms) = self
            .provider
            .signature_verification_algorithms
            .mapping
            .iter()
            .find(|(scheme, _)| *scheme == signature.scheme)
            .ok_or_else(bad)?;
        let verifies = |algorithm: &&dyn rustls_pki_types::SignatureVerificationAlgorithm| {
            key.verify_signature(*algorithm, message, signature.signature()).is_ok()
        };
        if algorithms.iter().any(verifies) { Ok(HandshakeSignatureValid::assertion()) } else { Err(bad()) }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key_of(certificate)?, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
