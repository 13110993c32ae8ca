//! Load over HTTP/1.1 on connections that stay open, with or without TLS: each connection sends its next request when it has read the answer to the
//! last one. It costs little itself: requests are prepared, of answers only status and length are read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Threads that send; the service has the same processors.
const THREADS: usize = 2;
/// The longest that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the load goes.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Target {
    /// Takes an address such as `https://127.0.0.1:8443`, and for TLS the root that signed its certificate.
    pub(crate) fn new(base: &str, root_pem: &str) -> Self {
        let (scheme, address) = base.split_once("://").expect("an address with a scheme");
        let tls = (scheme == "https").then(|| {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(root_pem.as_bytes()).expect("a certificate")).expect("a root");
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("the provider has them")
                .with_root_certificates(roots)
                .with_no_client_auth();
            TlsConnector::from(Arc::new(config))
        });
        Self { address: address.parse().expect("an address and a port"), tls }
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Box<dyn Stream> {
        self.over(TcpStream::connect(self.address).await.expect("the service listens")).await
    }

    /// Makes a TCP connection one to the target.
    pub(crate) async fn over(&self, stream: TcpStream) -> Box<dyn Stream> {
        stream.set_nodelay(true).expect("an option of TCP");
        match &self.tls {
            None => Box::new(stream),
            Some(connector) => {
                let name = ServerName::IpAddress(self.address.ip().into());
                Box::new(connector.connect(name, stream).await.expect("a handshake"))
            }
        }
    }
}

/// A connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What came of a load.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How long each answer took, the shortest first.
    pub(crate) latencies: Vec<Duration>,
    /// How many answers had a status that was not expected.
    pub(crate) refused: usize,
    /// The time from the first request to the last answer.
    pub(crate) wall: Duration,
}

impl Outcome {
    /// Answers with the expected status.
    pub(crate) fn answered(&self) -> usize {
        self.latencies.len()
    }

    /// Expected answers a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.answered() as f64 / self.wall.as_secs_f64()
    }

    /// The latency that `part` of a thousand answers stayed within, in milliseconds.
    pub(crate) fn per_mille(&self, part: usize) -> f64 {
        self.latencies
            .get(self.latencies.len().saturating_sub(1) * part / 1000)
            .map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}

/// Prepares a request.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let mut request = request.into_bytes();
    request.extend_from_slice(body);
    request
}

/// Sends each request once over so many connections, which are opened before the clock runs.
pub(crate) fn each_once(target: &Target, connections: usize, status: u16, requests: &[Vec<u8>]) -> Outcome {
    let next = AtomicUsize::new(0);
    spread(target, connections, status, &|| requests.get(next.fetch_add(1, Ordering::Relaxed)))
}

/// Sends the requests over and over for some time.
pub(crate) fn for_a_while(
    target: &Target,
    connections: usize,
    status: u16,
    requests: &[Vec<u8>],
    time: Duration,
) -> Outcome {
    let next = AtomicUsize::new(0);
    let end = Instant::now() + time;
    spread(target, connections, status, &|| {
        let number = next.fetch_add(1, Ordering::Relaxed) % requests.len();
        (Instant::now() < end).then(|| &requests[number])
    })
}

/// Runs the connections on a few threads; each takes requests until there are none.
fn spread<'a>(
    target: &Target,
    connections: usize,
    status: u16,
    next: &(dyn Fn() -> Option<&'a Vec<u8>> + Sync),
) -> Outcome {
    let threads = THREADS.min(connections);
    let ready = std::sync::Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        let work = |thread: usize| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut streams = Vec::new();
                for _ in (thread..connections).step_by(threads) {
                    streams.push(target.connect().await);
                }
                ready.wait();
                let each = streams.iter_mut().map(|stream| exchange_all(stream, status, next));
                futures_util::future::join_all(each).await
            })
        };
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        ready.wait();
        let began = Instant::now();
        let mut outcome = Outcome::default();
        for (latencies, refused) in workers.into_iter().flat_map(|worker| worker.join().expect("a thread ends well")) {
            outcome.latencies.extend(latencies);
            outcome.refused += refused;
        }
        outcome.wall = began.elapsed();
        outcome.latencies.sort_unstable();
        outcome
    })
}

async fn exchange_all<'a>(
    stream: &mut Box<dyn Stream>,
    status: u16,
    next: &(dyn Fn() -> Option<&'a Vec<u8>> + Sync),
) -> (Vec<Duration>, usize) {
    let (mut latencies, mut refused, mut buffer) = (Vec::new(), 0, Vec::with_capacity(16 * 1024));
    while let Some(request) = next() {
        let began = Instant::now();
        let got =
            tokio::time::timeout(PATIENCE, exchange(stream, request, &mut buffer)).await.expect("an answer in time");
        if got == status {
            latencies.push(began.elapsed());
        } else {
            if refused == 0 && !matches!(got, 429 | 503) {
                println!("  unexpected: {}", String::from_utf8_lossy(&buffer));
            }
            refused += 1;
        }
    }
    (latencies, refused)
}

/// Sends one request and reads its answer; returns the status. The answer stays in the buffer.
pub(crate) async fn exchange(stream: &mut Box<dyn Stream>, request: &[u8], buffer: &mut Vec<u8>) -> u16 {
    stream.write_all(request).await.expect("the service reads");
    stream.flush().await.expect("the service reads");
    buffer.clear();
    let mut length = None;
    loop {
        if let Some((head, status, body)) = length
            && buffer.len() >= head + body
        {
            return status;
        }
        let read = stream.read_buf(buffer).await.expect("the service answers");
        assert!(read > 0, "the connection was closed within an answer: {}", String::from_utf8_lossy(buffer));
        if length.is_none() {
            length = head(buffer);
        }
    }
}

/// Reads the head of an answer once it is whole: its length, the status, the length of the body.
fn head(buffer: &[u8]) -> Option<(usize, u16, usize)> {
    let end = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..end]).expect("a head in ASCII");
    let status = text.split(' ').nth(1).expect("a status").parse().expect("a number");
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().expect("a length"))
    });
    Some((end, status, length.unwrap_or(0)))
}
