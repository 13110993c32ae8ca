//! Load over plain HTTP/1.1 that costs little itself: prepared requests on connections that stay open, answers read by their length.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const THREADS: usize = 2;
/// Connections of each thread, each with one request on its way.
const CONNECTIONS: usize = 32;

/// Prepares a POST.
pub(crate) fn post(path: &str, media_type: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// Sends each request once, and returns the size of the last answer.
pub(crate) fn each_once(address: &str, requests: &[Vec<u8>]) -> usize {
    let next = AtomicUsize::new(0);
    let size = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut connections = connect(address);
                loop {
                    let from = next.fetch_add(CONNECTIONS, Ordering::Relaxed);
                    let Some(batch) = requests.get(from..requests.len().min(from + CONNECTIONS)) else { break };
                    if batch.is_empty() {
                        break;
                    }
                    size.store(exchange(&mut connections, batch.iter()), Ordering::Relaxed);
                }
            });
        }
    });
    size.into_inner()
}

/// Sends the requests over and over for some time, and returns how many were answered.
pub(crate) fn for_a_while(address: &str, requests: &[Vec<u8>], time: Duration) -> u64 {
    let answered = AtomicU64::new(0);
    let end = Instant::now() + time;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let answered = &answered;
            scope.spawn(move || {
                let mut connections = connect(address);
                let mut stream = requests.iter().cycle().skip(thread * requests.len() / THREADS);
                while Instant::now() < end {
                    exchange(&mut connections, stream.by_ref().take(CONNECTIONS));
                    answered.fetch_add(CONNECTIONS as u64, Ordering::Relaxed);
                }
            });
        }
    });
    answered.into_inner()
}

fn connect(address: &str) -> Vec<BufReader<TcpStream>> {
    let open = |_| {
        let stream = TcpStream::connect(address).expect("the service listens");
        stream.set_nodelay(true).expect("an option of TCP");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("an option of TCP");
        BufReader::new(stream)
    };
    (0..CONNECTIONS).map(open).collect()
}

/// Sends one request on each connection, then reads the answers; returns the size of the last.
fn exchange<'a>(connections: &mut [BufReader<TcpStream>], requests: impl Iterator<Item = &'a Vec<u8>>) -> usize {
    let mut sent = 0;
    for (connection, request) in connections.iter_mut().zip(requests) {
        connection.get_mut().write_all(request).expect("the service reads");
        sent += 1;
    }
    connections.iter_mut().take(sent).map(answer).last().unwrap_or_default()
}

fn answer(connection: &mut BufReader<TcpStream>) -> usize {
    let (mut line, mut length, mut first) = (String::new(), 0, true);
    loop {
        line.clear();
        connection.read_line(&mut line).expect("the service answers");
        if first {
            assert!(line.starts_with("HTTP/1.1 200"), "{line}");
            first = false;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).expect("the body is whole");
    // A successful OCSP answer begins with SEQUENCE { ENUMERATED 0 ...: errors are short.
    assert!(length > 100, "an error: {body:02x?}");
    length
}
