//! Connections that do nothing, or next to nothing, on a thread of their own.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::load::{self, Stream, Target};

/// What the connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// One request, then nothing.
    Idle,
    /// Nothing at all, not even a handshake.
    Silent,
    /// One request, then the next one's head an octet a second.
    SlowHead,
    /// A request whose body comes an octet a second.
    SlowBody,
    /// Many requests whose answers nobody reads.
    NoReader,
}

impl Manner {
    pub(crate) const ALL: [Self; 5] = [Self::Idle, Self::Silent, Self::SlowHead, Self::SlowBody, Self::NoReader];

    /// The name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle connections",
            Self::Silent => "silent connections",
            Self::SlowHead => "slow heads",
            Self::SlowBody => "slow bodies",
            Self::NoReader => "clients that read nothing",
        }
    }
}

/// Connections; closed when they are dropped.
pub(crate) struct Idlers {
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Idlers {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the thread ends well");
        }
    }
}

impl Idlers {
    /// Opens so many connections, and returns when all of them do what they are for.
    pub(crate) fn gather(target: &Target, base: &str, manner: Manner, count: usize, issue: &[u8]) -> Self {
        let (end, ended) = tokio::sync::oneshot::channel();
        let (begun, beginning) = mpsc::channel();
        let (target, issue) = (target.clone(), issue.to_vec());
        let address: SocketAddr = base.split_once("://").expect("a scheme").1.parse().expect("an address");
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let mut silent = Vec::new();
                let mut streams: Vec<Box<dyn Stream>> = Vec::new();
                for _ in 0..count {
                    if manner == Manner::Silent {
                        silent.push(TcpStream::connect(address).await.expect("the service listens"));
                    } else {
                        streams.push(open(&target, address, manner, &issue).await);
                    }
                }
                begun.send(()).expect("somebody waits");
                let dribble = async {
                    let slow = matches!(manner, Manner::SlowHead | Manner::SlowBody);
                    if !slow {
                        std::future::pending::<()>().await;
                    }
                    loop {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        for stream in &mut streams {
                            // The service may have closed it, which is its right.
                            drop(stream.write_all(b"x").await);
                            drop(stream.flush().await);
                        }
                    }
                };
                tokio::select! {
                    _ = ended => {}
                    _ = dribble => {}
                }
            });
        });
        beginning.recv().expect("the connections are there");
        Self { end: Some(end), thread: Some(thread) }
    }
}

async fn open(target: &Target, address: SocketAddr, manner: Manner, issue: &[u8]) -> Box<dyn Stream> {
    let mut buffer = Vec::with_capacity(1024);
    let health = load::request("GET", "/healthz", &[], b"");
    if manner == Manner::NoReader {
        // With little room at the client, so that the answers wait at the service.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("an option");
        let stream = socket.connect(address).await.expect("the service listens");
        let mut stream = target.over(stream).await;
        let many = load::request("GET", "/openapi.json", &[], b"").repeat(8);
        stream.write_all(&many).await.expect("the service reads");
        stream.flush().await.expect("the service reads");
        return stream;
    }
    let mut stream = target.connect().await;
    match manner {
        Manner::Idle => assert_eq!(load::exchange(&mut stream, &health, &mut buffer).await, 200),
        Manner::SlowHead => {
            assert_eq!(load::exchange(&mut stream, &health, &mut buffer).await, 200);
            stream.write_all(b"POST /api/v1/certificates HTTP/1.1\r\nX-Slow: ").await.expect("the service reads");
        }
        Manner::SlowBody => {
            stream.write_all(&issue[..issue.len() - 200]).await.expect("the service reads");
        }
        Manner::Silent | Manner::NoReader => {}
    }
    stream.flush().await.expect("the service reads");
    stream
}
