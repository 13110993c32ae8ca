//! A database that is far away: everything that passes is held up for a while, in order, however much there is.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The way to a database; it ends when this is dropped.
pub(crate) struct Distance {
    url: String,
    _runtime: tokio::runtime::Runtime,
}

impl Distance {
    /// Makes a way to the database of a URL on which each direction takes `hold_up`.
    pub(crate) fn to(url: &str, hold_up: Duration) -> Self {
        let (before, after) = url.split_once('@').expect("a URL with a user");
        let (host, rest) = after.split_once('/').expect("a URL with a database");
        let there: SocketAddr = host.parse().expect("an address and a port");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let here = listener.local_addr().expect("an address");
        runtime.spawn(async move {
            loop {
                let (client, _) = listener.accept().await.expect("a connection");
                let server = TcpStream::connect(there).await.expect("the database listens");
                for stream in [&client, &server] {
                    stream.set_nodelay(true).expect("an option of TCP");
                }
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(carry(from_client, to_server, hold_up));
                tokio::spawn(carry(from_server, to_client, hold_up));
            }
        });
        Self { url: format!("{before}@{here}/{rest}"), _runtime: runtime }
    }

    /// The address of the database over the way.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// Carries octets; the end of one side is the end of the other.
async fn carry(
    mut from: impl AsyncRead + Unpin + Send + 'static,
    mut to: impl AsyncWrite + Unpin + Send + 'static,
    hold_up: Duration,
) {
    let (send, mut receive) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    tokio::spawn(async move {
        while let Some((due, octets)) = receive.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&octets).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if send.send((Instant::now() + hold_up, buffer[..read].to_vec())).await.is_err() {
            return;
        }
    }
}
