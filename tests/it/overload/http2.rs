//! What one HTTP/2 client can make the service hold: frames written by hand, because no client library sends such things.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::metric;
use crate::support::service::{Database, Service};

/// The types of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// Their flags: an acknowledgement or the end of a stream, the end of a block of fields.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Error codes (RFC 9113, section 7).
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
/// Settings (RFC 9113, section 6.5.2).
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_HEADER_LIST_SIZE: u16 = 6;

/// The longest payload of a frame.
const PAYLOAD: usize = 16 * 1024;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn number(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }
}

struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    settings: Vec<(u16, u32)>,
}

impl Connection {
    /// Connects, and waits for the service's settings. `settings` are the client's.
    fn open(service: &Service, settings: &[(u16, u32)]) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(service.root_pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut connection =
            Self { stream: StreamOwned::new(session, super::connect(service.api())), settings: Vec::new() };
        connection.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        assert!(connection.send(SETTINGS, 0, 0, &payload));
        let theirs = connection.wait_for(|frame| frame.kind == SETTINGS && frame.flags & ACK == 0).unwrap();
        connection.settings = theirs
            .payload
            .chunks_exact(6)
            .map(|six| (u16::from_be_bytes([six[0], six[1]]), u32::from_be_bytes(six[2..].try_into().unwrap())))
            .collect();
        assert!(connection.send(SETTINGS, ACK, 0, &[]));
        connection
    }

    fn setting(&self, name: u16) -> Option<u32> {
        self.settings.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// Sends a frame; `false` when the service has closed the connection.
    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.stream.write_all(&frame).and_then(|()| self.stream.flush()).is_ok()
    }

    /// Sends a block of fields in as many frames as it needs.
    fn send_block(&mut self, stream: u32, end_stream: bool, block: &[u8]) -> bool {
        let count = block.len().div_ceil(PAYLOAD);
        block.chunks(PAYLOAD).enumerate().all(|(number, part)| {
            let (kind, end) = if number == 0 { (HEADERS, u8::from(end_stream)) } else { (CONTINUATION, 0) };
            let end_headers = if number + 1 == count { END_HEADERS } else { 0 };
            self.send(kind, end | end_headers, stream, part)
        })
    }

    /// Reads a frame; nothing when the service has closed the connection.
    fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        self.stream.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads until a frame is the one; nothing when the service has closed the connection before.
    fn wait_for(&mut self, is_it: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.read()?;
            if is_it(&frame) {
                return Some(frame);
            }
        }
    }

    /// Has the service answer a PING: it has read everything before it.
    fn is_read(&mut self) -> bool {
        self.send(PING, 0, 0, b"all read")
            && self.wait_for(|frame| frame.kind == PING && frame.flags & ACK != 0).is_some()
    }
}

/// A field that is not compressed (RFC 7541, section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    // RFC 7541, section 5.1: a length that does not fit into seven bits goes on behind them.
    let length = |length: usize| match u8::try_from(length) {
        Ok(short @ ..127) => vec![short],
        _ => vec![127, u8::try_from((length - 127) % 128 + 128).unwrap(), u8::try_from((length - 127) / 128).unwrap()],
    };
    let text = |text: &str| [&length(text.len()), text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// A field that is remembered (RFC 7541, section 6.2.1), so that it can be sent again in one octet.
fn remembered(name: &str, value: &str) -> Vec<u8> {
    let mut octets = field(name, value);
    octets[0] = 0x40;
    octets
}

/// The field that was remembered last (RFC 7541, section 6.1).
const AGAIN: u8 = 0x80 | 62;

fn request(method: &str, path: &str) -> Vec<u8> {
    let fields = [(":method", method), (":scheme", "https"), (":path", path), (":authority", "127.0.0.1")];
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// The number of the client's stream.
fn stream(number: u32) -> u32 {
    1 + 2 * number
}

fn answered(service: &Service) -> f64 {
    metric(service, "chancery_http_requests_total{method=\"GET\",route=\"/healthz\"")
}

#[test]
fn a_head_of_any_number_of_fields_is_refused_and_never_kept() {
    let service = Service::start(Database::Sqlite);
    let before = answered(&service);
    // Too many, too many octets, and more than the library reads at all: half a megabyte would be sixteen of fields, and much more of memory.
    for count in [500, 2_000, 500_000] {
        let mut connection = Connection::open(&service, &[]);
        assert_eq!(connection.setting(MAX_HEADER_LIST_SIZE), Some(32 * 1024));
        let mut block = request("GET", "/healthz");
        block.extend(remembered("a", ""));
        block.extend(std::iter::repeat_n(AGAIN, count));
        // It may be closed before all of it is sent.
        let _sent = connection.send_block(1, true, &block);
        let refused = connection.wait_for(|frame| [HEADERS, RST_STREAM, GOAWAY].contains(&frame.kind));
        if count < 10_000 {
            let refused = refused.expect("an answer");
            assert_eq!((refused.kind, refused.stream), (HEADERS, 1), "431, on the connection that stays");
            assert!(connection.is_read());
        }
    }
    assert_eq!(answered(&service), before, "the application was asked");
    service.issue(&["beside.internal"]);
}

#[test]
fn fields_count_as_memory_that_all_requests_share() {
    let service = Service::start(Database::Sqlite);
    let mut connections = Vec::new();
    let shed = || metric(&service, "chancery_requests_shed_total{work=\"free\",reason=\"memory\"");
    let mut first = request("POST", "/ocsp/issuing");
    first.extend(remembered("a", &"b".repeat(3_900)));
    let mut again = request("POST", "/ocsp/issuing");
    for block in [&mut first, &mut again] {
        block.extend([AGAIN; 7]);
    }
    // Each takes some 38 KiB; 30 connections have 3,840 of them, which would be 140 MiB.
    while shed() == 0.0 {
        assert!(connections.len() < 30, "they are all kept");
        let mut connection = Connection::open(&service, &[]);
        for number in 0..128 {
            let block = if number == 0 { &first } else { &again };
            assert!(connection.send_block(stream(number), false, block));
        }
        assert!(connection.is_read());
        connections.push(connection);
    }
    drop(connections);
    service.issue(&["afterwards.internal"]);
}

#[test]
fn more_requests_at_once_than_were_announced_are_refused() {
    let service = Service::start(Database::Sqlite);
    let mut connection = Connection::open(&service, &[]);
    let most = connection.setting(MAX_CONCURRENT_STREAMS).expect("a limit is announced");
    // Their bodies never come.
    for number in 0..most + 20 {
        assert!(connection.send_block(stream(number), false, &request("POST", "/ocsp/issuing")));
    }
    for _ in 0..20 {
        let refused = connection.wait_for(|frame| frame.kind == RST_STREAM).expect("a refusal");
        assert_eq!(refused.number(), REFUSED_STREAM);
        assert!(refused.stream >= stream(most), "{}", refused.stream);
    }
    service.issue(&["beside.internal"]);
}

#[test]
fn requests_that_are_given_up_again_and_again_end_their_connection() {
    let service = Service::start(Database::Sqlite);
    let mut connection = Connection::open(&service, &[]);
    let mut next = 0;
    let mut is_open = true;
    while is_open {
        assert!(next < 2_000, "{next} requests were given up and the connection is open");
        let streams: Vec<u32> = (next..next + 50).map(stream).collect();
        next += 50;
        is_open = streams.iter().all(|number| connection.send_block(*number, false, &request("POST", "/ocsp/issuing")));
        // The service works on them when they are reset; what is reset before is the library's matter.
        is_open = is_open && connection.is_read() && connection.is_read();
        is_open =
            is_open && streams.iter().all(|number| connection.send(RST_STREAM, 0, *number, &CANCEL.to_be_bytes()));
        is_open = is_open && connection.is_read();
    }
    assert_eq!(metric(&service, "chancery_connections_cut_total{reason=\"given_up\"}"), 1.0);
    // Somebody who waits for his answers may ask as often as he likes.
    let mut connection = Connection::open(&service, &[]);
    for number in 0..400 {
        assert!(connection.send_block(stream(number), true, &request("GET", "/healthz")));
        connection
            .wait_for(|frame| frame.flags & END_STREAM != 0 && frame.stream == stream(number))
            .expect("an answer");
    }
}

#[test]
fn an_answer_that_finds_no_window_is_broken_off_though_others_are_taken() {
    let settings = [("CHANCERY__SERVER__CLIENT_WRITE_TIMEOUT", "1s")];
    let service = Service::start_with(Database::Sqlite, &settings);
    let mut connection = Connection::open(&service, &[(INITIAL_WINDOW_SIZE, 0)]);
    assert!(connection.send_block(1, true, &request("GET", "/openapi.json")));
    let began = Instant::now();
    let mut number = 1;
    // These need no window, and keep the connection in use.
    while connection.send_block(stream(number), true, &request("HEAD", "/healthz"))
        && connection.wait_for(|frame| frame.kind == HEADERS && frame.stream == stream(number)).is_some()
    {
        assert!(began.elapsed() < Duration::from_secs(50), "the answer waits for ever");
        std::thread::sleep(Duration::from_millis(100));
        number += 1;
    }
    assert_eq!(metric(&service, "chancery_connections_cut_total{reason=\"slow_reader\"}"), 1.0);
}

#[test]
fn a_body_in_single_octets_is_bounded_by_the_window() {
    let service = Service::start(Database::Sqlite);
    let mut connection = Connection::open(&service, &[]);
    let window = connection.setting(INITIAL_WINDOW_SIZE).expect("a window is announced");
    assert!(window <= 64 * 1024, "{window}");
    assert!(connection.send_block(1, false, &request("GET", "/healthz")));
    let is_open = (0..window + 1).all(|_| connection.send(DATA, 0, 1, b"x"));
    // Either such frames were too small for the library's patience, or more than the window; the request itself may have been answered before.
    let ended = connection.wait_for(|frame| [RST_STREAM, GOAWAY].contains(&frame.kind));
    assert!(!is_open || ended.is_some());
    service.issue(&["beside.internal"]);
}
