//! A web server that answers http-01 challenges (RFC 8555, section 8.3) on a port of the loopback interface, and nothing else.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A running server; it ends when this is dropped.
pub(crate) struct Http01 {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    answers: Mutex<HashMap<String, String>>,
    asked: Mutex<Vec<String>>,
    ended: AtomicBool,
}

impl Http01 {
    /// Starts a server on a free port.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.ended.load(Ordering::SeqCst) {
                    break;
                }
                let serving = Arc::clone(&serving);
                // One thread for each connection, so that one that says nothing holds up no other.
                std::thread::spawn(move || stream.map(|stream| serving.answer(&stream)));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// The port.
    pub(crate) const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Has a token answered with this text.
    pub(crate) fn put(&self, token: &str, text: &str) {
        self.shared.answers.lock().unwrap().insert(token.to_owned(), text.to_owned());
    }

    /// The hosts and paths that were asked for: `127.0.0.1:1234/.well-known/...`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Drop for Http01 {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn answer(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut host = String::new();
        for line in lines {
            let line = line?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("host")
            {
                value.trim().clone_into(&mut host);
            }
        }
        self.asked.lock().unwrap().push(format!("{host}{path}"));
        let token = path.strip_prefix("/.well-known/acme-challenge/").unwrap_or_default();
        let found = self.answers.lock().unwrap().get(token).cloned();
        let (status, body) = found.map_or(("404 Not Found", String::new()), |body| ("200 OK", body));
        let mut stream = stream;
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: application/octet-stream\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }
}
