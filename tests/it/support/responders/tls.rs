//! TLS servers: those that answer tls-alpn-01 with scripted certificates, and those that speak HTTP within.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::super::csr::Key;
use super::super::der;
use super::certificate::ChallengeCertificate;
use super::{Asked, Reply, Script, answer, listen, read_request};

/// What a server presents.
#[derive(Clone, Debug)]
pub(crate) struct Presented {
    chain: Vec<Vec<u8>>,
    key_pem: String,
    protocols: Vec<Vec<u8>>,
    versions: Vec<&'static SupportedProtocolVersion>,
}

impl Presented {
    /// Presents one certificate, with `acme-tls/1`, in TLS 1.2 and 1.3.
    pub(crate) fn one(certificate: &ChallengeCertificate) -> Self {
        Self::chain(vec![certificate.der()], &certificate.key)
    }

    /// Presents a chain that need not be one.
    pub(crate) fn chain(chain: Vec<Vec<u8>>, key: &Key) -> Self {
        Self {
            chain,
            key_pem: key.to_pem(),
            protocols: vec![b"acme-tls/1".to_vec()],
            versions: vec![&rustls::version::TLS12, &rustls::version::TLS13],
        }
    }

    /// Speaks other protocols; none: ignores what the client offers.
    pub(crate) fn protocols(self, protocols: &[&[u8]]) -> Self {
        Self { protocols: protocols.iter().map(|protocol| protocol.to_vec()).collect(), ..self }
    }

    /// Speaks one version of TLS only.
    pub(crate) fn version(self, version: &'static SupportedProtocolVersion) -> Self {
        Self { versions: vec![version], ..self }
    }
}

/// A client as it introduced itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Greeted {
    /// The name in SNI.
    pub(crate) server_name: Option<String>,
    /// The protocols in ALPN.
    pub(crate) protocols: Vec<String>,
}

/// What happened on the connections of a server.
#[derive(Debug, Default)]
struct Log {
    greeted: Vec<Greeted>,
    /// How many octets each connection brought after its handshake, and whether the client ended it as TLS asks for.
    ended: Vec<(usize, bool)>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

#[derive(Debug)]
struct Presenter {
    certified: Arc<CertifiedKey>,
    log: Arc<Mutex<Log>>,
}

impl ResolvesServerCert for Presenter {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let protocols =
            hello.alpn().into_iter().flatten().map(|protocol| String::from_utf8_lossy(protocol).into_owned());
        self.log
            .lock()
            .unwrap()
            .greeted
            .push(Greeted { server_name: hello.server_name().map(str::to_owned), protocols: protocols.collect() });
        Some(Arc::clone(&self.certified))
    }
}

/// A TLS server.
pub(crate) struct TlsResponder {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
    task: JoinHandle<()>,
}

impl TlsResponder {
    /// Starts a server on 127.0.0.1 that makes handshakes and waits for their end.
    pub(crate) fn start(presented: Presented) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), presented)
    }

    /// Starts one at an address.
    pub(crate) fn start_at(address: SocketAddr, presented: Presented) -> Self {
        Self::serve(address, presented, None)
    }

    /// Starts one that answers HTTP requests.
    pub(crate) fn https(presented: Presented, script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve((Ipv4Addr::LOCALHOST, 0).into(), presented.protocols(&[b"http/1.1"]), Some(Arc::new(script)))
    }

    fn serve(address: SocketAddr, presented: Presented, script: Option<Script>) -> Self {
        let log = Arc::new(Mutex::new(Log::default()));
        let acceptor = TlsAcceptor::from(Arc::new(server_config(presented, &log)));
        let shared = Arc::clone(&log);
        let (address, task) = listen(address, move |stream| {
            let (acceptor, log, script) = (acceptor.clone(), Arc::clone(&shared), script.clone());
            async move { converse(stream, acceptor, &log, script).await }
        });
        Self { address, log, task }
    }

    /// Its port.
    pub(crate) const fn port(&self) -> u16 {
        self.address.port()
    }

    /// The clients so far.
    pub(crate) fn greeted(&self) -> Vec<Greeted> {
        self.log.lock().unwrap().greeted.clone()
    }

    /// The HTTP requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().asked.lock().unwrap().clone()
    }

    /// How the connections so far ended: octets after the handshake, and whether with `close_notify`. Waits for the first.
    pub(crate) fn ended(&self) -> Vec<(usize, bool)> {
        for _ in 0..1000 {
            let ended = self.log.lock().unwrap().ended.clone();
            if !ended.is_empty() {
                return ended;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("no connection has ended");
    }
}

impl Drop for TlsResponder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn server_config(presented: Presented, log: &Arc<Mutex<Log>>) -> ServerConfig {
    let key = PrivateKeyDer::try_from(der::from_pem("PRIVATE KEY", &presented.key_pem)).unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let chain = presented.chain.into_iter().map(CertificateDer::from).collect();
    // `CertifiedKey::new` does not compare certificate and key, so that they can differ.
    let certified = Arc::new(CertifiedKey::new(chain, key));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&presented.versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Presenter { certified, log: Arc::clone(log) }));
    config.alpn_protocols = presented.protocols;
    config
}

async fn converse(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    log: &Mutex<Log>,
    script: Option<Script>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    if let Some(script) = script {
        let asked = Arc::clone(&log.lock().unwrap().asked);
        let reply = read_request(&mut stream, &asked, &script).await?;
        return answer(stream, reply).await;
    }
    let mut rest = Vec::new();
    // rustls reports an end without `close_notify` as an error.
    let ended = stream.read_to_end(&mut rest).await;
    log.lock().unwrap().ended.push((rest.len(), ended.is_ok()));
    Ok(())
}
