//! What ACME clients run so that their challenges can be looked at, right and wrong in every way: HTTP servers with scripted answers here,
//! TLS servers with scripted certificates in `responders/tls.rs`. They listen on loopback, on port 0, and end when they are dropped.

pub(crate) mod certificate;
pub(crate) mod tls;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::client::RUNTIME;

/// The most octets that are read of a request.
const MAXIMUM_REQUEST: usize = 16 * 1024;

/// How long a connection is held open at most; tests end far earlier.
const MAXIMUM_PATIENCE: Duration = Duration::from_secs(60);

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Everything up to the empty line.
    pub(crate) head: String,
}

impl Asked {
    /// The request line.
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The target of the request line.
    pub(crate) fn path(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }

    /// The values of a header field.
    pub(crate) fn field(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }
}

/// What a server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Sends octets and closes the connection.
    Octets(Vec<u8>),
    /// Sends octets and then nothing, until the peer goes away.
    Stall(Vec<u8>),
    /// Sends the first octets, then the second again and again, until the peer goes away.
    Endless(Vec<u8>, Vec<u8>),
    /// Ends the connection with a reset.
    Reset,
}

impl Reply {
    /// An honest answer.
    pub(crate) fn status(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self::with_fields(status, &[], body)
    }

    /// An honest answer with further header fields.
    pub(crate) fn with_fields(status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut octets = format!("HTTP/1.1 {status} Any Reason\r\nContent-Length: {}\r\n", body.len()).into_bytes();
        for (name, value) in fields {
            octets.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        octets.extend_from_slice(b"\r\n");
        octets.extend_from_slice(body);
        Self::Octets(octets)
    }

    /// A redirect.
    pub(crate) fn redirect(status: u16, location: &str) -> Self {
        Self::with_fields(status, &[("Location", location)], "moved")
    }
}

type Script = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// An HTTP server.
pub(crate) struct HttpResponder {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl HttpResponder {
    /// Starts a server on 127.0.0.1.
    pub(crate) fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), script)
    }

    /// Starts a server at an address.
    pub(crate) fn start_at(address: SocketAddr, script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, script): (_, Script) = (Arc::clone(&asked), Arc::new(script));
        let (address, task) = listen(address, move |stream| {
            let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
            async move { converse(stream, &seen, &script).await }
        });
        Self { address, asked, task }
    }

    /// Starts one that always gives the same answer.
    pub(crate) fn always(reply: Reply) -> Self {
        Self::start(move |_| reply.clone())
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub(crate) const fn port(&self) -> u16 {
        self.address.port()
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Ends it, after which its port is free.
    pub(crate) fn stop(mut self) {
        self.task.abort();
        // The error says that it was aborted.
        drop(RUNTIME.block_on(&mut self.task));
    }
}

impl Drop for HttpResponder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns a port for listeners on several loopback addresses. It is below those that the system gives to connections: one that is free on the first
/// address may by then be a connection's on the second.
pub(crate) fn common_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(port < 30_000, "no port is free");
        // On every address at once.
        if std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}

/// Accepts connections and converses over each until its task is aborted.
fn listen<F>(address: SocketAddr, converse: impl Fn(TcpStream) -> F + Send + 'static) -> (SocketAddr, JoinHandle<()>)
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = RUNTIME.block_on(TcpListener::bind(address)).unwrap();
    let bound = listener.local_addr().unwrap();
    let task = RUNTIME.spawn(async move {
        // Dropped with the task, and the connections with it.
        let mut conversations = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let conversation = tokio::time::timeout(MAXIMUM_PATIENCE, converse(stream));
            // A peer that goes away in the middle is what many tests are about.
            conversations.spawn(async move { drop(conversation.await) });
        }
    });
    (bound, task)
}

async fn converse(stream: TcpStream, seen: &Mutex<Vec<Asked>>, script: &Script) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = stream;
    let reply = read_request(&mut stream, seen, script).await?;
    if matches!(reply, Reply::Reset) {
        stream.set_zero_linger()?;
        return Ok(());
    }
    answer(stream, reply).await
}

/// Reads one request and asks the script what is to be done.
async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut S,
    seen: &Mutex<Vec<Asked>>,
    script: &Script,
) -> std::io::Result<Reply> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < MAXIMUM_REQUEST {
        head.push(stream.read_u8().await?);
    }
    let asked = Asked { head: String::from_utf8(head).unwrap() };
    seen.lock().unwrap().push(asked.clone());
    Ok(script(&asked))
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Octets(octets) => {
            stream.write_all(&octets).await?;
            stream.shutdown().await?;
        }
        Reply::Stall(octets) => {
            stream.write_all(&octets).await?;
            stream.flush().await?;
        }
        Reply::Endless(first, again) => {
            stream.write_all(&first).await?;
            loop {
                stream.write_all(&again).await?;
            }
        }
        Reply::Reset => {}
    }
    // Until the peer closes: else the kernel answers what it has yet to read with a reset.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.map(drop)
}

/// An address that takes no connection and refuses none: attempts to connect hang.
pub(crate) struct SilentAddress {
    address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<JoinHandle<()>>,
}

impl SilentAddress {
    /// Listens without accepting, and fills the queue.
    pub(crate) fn start(ip: IpAddr) -> Self {
        let _entered = RUNTIME.enter();
        let socket = if ip.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
        socket.bind((ip, 0).into()).unwrap();
        // Linux queues one connection more than it is told to; what comes then is dropped without an answer.
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let waiting = (0..4)
            .map(|_| {
                RUNTIME.spawn(async move {
                    if let Ok(stream) = TcpStream::connect(address).await {
                        tokio::time::sleep(MAXIMUM_PATIENCE).await;
                        drop(stream);
                    }
                })
            })
            .collect();
        // The queue is full when a connection that is given time for it is not made.
        RUNTIME.block_on(async {
            for _ in 0..10 {
                let attempt = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address));
                match attempt.await {
                    Ok(Ok(stream)) => drop(stream),
                    Ok(Err(error)) => panic!("{address} refuses connections: {error}"),
                    Err(_elapsed) => return,
                }
            }
            panic!("{address} takes every connection");
        });
        Self { address, _listener: listener, _waiting: waiting }
    }

    /// The address.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for SilentAddress {
    fn drop(&mut self) {
        self._waiting.iter().for_each(JoinHandle::abort);
    }
}

/// A port of 127.0.0.1 and `::1` at which nothing listens.
pub(crate) fn closed_port() -> u16 {
    // The system gives a port that was free just now to others last.
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
