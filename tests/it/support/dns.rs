//! A DNS server for tests: UDP and TCP on one loopback port, with records that tests change while it runs, and with every fault a resolver
//! meets. It has a thread of its own, so that blocking tests can use it.
//!
//! It answers as a recursive resolver that knows nothing but its records: aliases are followed unless [`DnsServer::follow_aliases`] says no.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::oneshot;

/// The most aliases that the server follows itself; a loop ends there.
const FOLLOWED: usize = 16;

/// The payload of UDP where the question says nothing (RFC 1035, section 4.2.1).
const PLAIN_PAYLOAD: usize = 512;

/// What happens to questions for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The answer has this code and nothing else.
    Code(ResponseCode),
    /// There is no answer.
    Silence,
    /// Over UDP the answer is empty and marked as cut short; over TCP it is whole.
    Truncated,
    /// The answer is marked as cut short over TCP too.
    AlwaysTruncated,
    /// The answer has the right id, and octets that are no message.
    Garbage,
    /// Before the answer comes one with another id, which holds [`FORGED`].
    ForgedId,
    /// The only answer has another id.
    WrongId,
    /// Before the answer comes one to another question, which holds [`FORGED`].
    ForgedQuestion,
    /// The answer repeats names in capital letters.
    Capitals,
    /// Questions with EDNS are refused as malformed, as very old servers do.
    NoEdns,
}

/// What stands in forged answers.
pub(crate) const FORGED: &str = "forged";

/// A question that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The type of the records.
    pub(crate) kind: RecordType,
    /// Whether it came over TCP.
    pub(crate) tcp: bool,
}

#[derive(Default)]
struct State {
    records: BTreeMap<String, Vec<RData>>,
    faults: BTreeMap<String, (Option<RecordType>, Fault)>,
    asked: BTreeMap<String, Vec<Asked>>,
    leave_aliases: bool,
}

/// The running server; it ends when this is dropped.
pub(crate) struct DnsServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl DnsServer {
    /// Starts a server without records: every name does not exist.
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let (stop, stopped) = oneshot::channel();
        let (ready, address) = std::sync::mpsc::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let (udp, tcp) = listen().await;
                ready.send(udp.local_addr().unwrap()).unwrap();
                let (udp_state, tcp_state) = (Arc::clone(&shared), shared);
                tokio::spawn(async move { serve_udp(Arc::new(udp), udp_state).await });
                tokio::spawn(async move { serve_tcp(tcp, tcp_state).await });
                // An error means that the handle is gone, which ends the server as well.
                let _ = stopped.await;
            });
        });
        Self { address: address.recv().unwrap(), state, stop: Some(stop), thread: Some(thread) }
    }

    /// Returns where it listens, over UDP and TCP.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds an A or AAAA record.
    pub(crate) fn add_address(&self, name: &str, address: impl Into<IpAddr>) {
        self.add(
            name,
            match address.into() {
                IpAddr::V4(address) => RData::A(A(address)),
                IpAddr::V6(address) => RData::AAAA(AAAA(address)),
            },
        );
    }

    /// Adds a TXT record of one string; strings longer than 255 octets are split.
    pub(crate) fn add_txt(&self, name: &str, text: &str) {
        let mut strings: Vec<&[u8]> = text.as_bytes().chunks(255).collect();
        if strings.is_empty() {
            // A record has at least one string (RFC 1035, section 3.3.14).
            strings.push(b"");
        }
        self.add_txt_strings(name, &strings);
    }

    /// Adds a TXT record of these strings.
    pub(crate) fn add_txt_strings(&self, name: &str, strings: &[&[u8]]) {
        self.add(name, RData::TXT(TXT::from_bytes(strings.to_vec())));
    }

    /// Adds a CNAME record.
    pub(crate) fn add_alias(&self, name: &str, target: &str) {
        self.add(name, RData::CNAME(CNAME(absolute(target))));
    }

    /// Adds a CAA record.
    pub(crate) fn add_caa(&self, name: &str, flags: u8, tag: &str, value: &str) {
        // hickory's type has no constructor for arbitrary properties; the octets of the record do (RFC 8659, section 4.1).
        let mut octets = vec![flags, u8::try_from(tag.len()).unwrap()];
        octets.extend_from_slice(tag.as_bytes());
        octets.extend_from_slice(value.as_bytes());
        let length = u16::try_from(octets.len()).unwrap();
        let mut decoder = hickory_proto::serialize::binary::BinDecoder::new(&octets);
        let data = RData::read(&mut decoder, RecordType::CAA, hickory_proto::serialize::binary::Restrict::new(length));
        self.add(name, data.unwrap());
    }

    /// Adds a record.
    pub(crate) fn add(&self, name: &str, data: RData) {
        self.state().records.entry(key(name)).or_default().push(data);
    }

    /// Takes away all records of a name.
    pub(crate) fn remove(&self, name: &str) {
        self.state().records.remove(&key(name));
    }

    /// Lets questions for a name, of every type, meet a fault.
    pub(crate) fn fail(&self, name: &str, fault: Fault) {
        self.state().faults.insert(key(name), (None, fault));
    }

    /// Lets questions for records of one type of a name meet a fault.
    pub(crate) fn fail_kind(&self, name: &str, kind: RecordType, fault: Fault) {
        self.state().faults.insert(key(name), (Some(kind), fault));
    }

    /// Ends the fault of a name.
    pub(crate) fn heal(&self, name: &str) {
        self.state().faults.remove(&key(name));
    }

    /// Says whether answers hold what aliases lead to; they do at first.
    pub(crate) fn follow_aliases(&self, follow: bool) {
        self.state().leave_aliases = !follow;
    }

    /// Returns the questions that were asked for a name, in order.
    pub(crate) fn asked(&self, name: &str) -> Vec<Asked> {
        self.state().asked.get(&key(name)).cloned().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        // The thread may be gone already when the server panicked; the join says so.
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the DNS server of the test panicked");
        }
    }
}

/// Finds a port that is free for UDP and TCP.
async fn listen() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for UDP and TCP");
}

async fn serve_udp(socket: Arc<UdpSocket>, state: Arc<Mutex<State>>) {
    let mut buffer = vec![0; 4096];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let Ok(question) = Message::from_vec(&buffer[..length]) else {
            continue;
        };
        for answer in answers(&state, &question, false) {
            socket.send_to(&answer, from).await.unwrap();
        }
    }
}

async fn serve_tcp(listener: TcpListener, state: Arc<Mutex<State>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let state = Arc::clone(&state);
        // Who closes the connection or sends something else ends it.
        tokio::spawn(async move { converse(stream, &state).await });
    }
}

/// Answers the questions of one connection; each message has its length before it (RFC 1035, section 4.2.2).
async fn converse(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut octets = vec![0; usize::from(length)];
        stream.read_exact(&mut octets).await?;
        let question = Message::from_vec(&octets).map_err(std::io::Error::other)?;
        for answer in answers(state, &question, true) {
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await?;
            stream.write_all(&answer).await?;
        }
    }
}

/// Makes the messages that answer a question, in the order they are sent in.
fn answers(state: &Mutex<State>, question: &Message, tcp: bool) -> Vec<Vec<u8>> {
    let mut state = state.lock().unwrap();
    let Some(query) = question.queries.first() else {
        return Vec::new();
    };
    let name = key(&query.name().to_ascii());
    let kind = query.query_type();
    state.asked.entry(name.clone()).or_default().push(Asked { kind, tcp });
    let fault =
        state.faults.get(&name).filter(|(only, _)| only.is_none_or(|only| only == kind)).map(|(_, fault)| *fault);

    let mut honest = response(question);
    (honest.metadata.response_code, honest.answers) = state.answer(query);
    let forged = || vec![Record::from_rdata(query.name().clone(), 0, RData::TXT(TXT::new(vec![FORGED.to_owned()])))];
    match fault {
        None => {}
        Some(Fault::Code(code)) => {
            honest.metadata.response_code = code;
            honest.answers.clear();
        }
        Some(Fault::Silence) => return Vec::new(),
        Some(Fault::Truncated) if tcp => {}
        Some(Fault::Truncated | Fault::AlwaysTruncated) => {
            honest.metadata.truncation = true;
            honest.answers.clear();
        }
        Some(Fault::Garbage) => {
            let mut octets = question.metadata.id.to_be_bytes().to_vec();
            octets.extend_from_slice(&[0xff; 40]);
            return vec![octets];
        }
        Some(Fault::ForgedId | Fault::WrongId) => {
            let mut other = response(question);
            other.metadata.id = question.metadata.id.wrapping_add(1);
            other.answers = forged();
            let mut sent = vec![other.to_vec().unwrap()];
            if fault == Some(Fault::ForgedId) {
                sent.push(honest.to_vec().unwrap());
            }
            return sent;
        }
        Some(Fault::ForgedQuestion) => {
            let mut other = response(question);
            other.queries = vec![Query::query(absolute("elsewhere.internal"), kind)];
            other.answers = forged();
            return vec![other.to_vec().unwrap(), honest.to_vec().unwrap()];
        }
        Some(Fault::Capitals) => {
            let capitals = |name: &Name| absolute(&name.to_ascii().to_ascii_uppercase());
            honest.queries.iter_mut().for_each(|query| query.name = capitals(&query.name));
            honest.answers.iter_mut().for_each(|record| record.name = capitals(&record.name));
        }
        Some(Fault::NoEdns) if question.edns.is_none() => {}
        Some(Fault::NoEdns) => {
            honest.metadata.response_code = ResponseCode::FormErr;
            honest.answers.clear();
        }
    }
    let payload = question.edns.as_ref().map_or(PLAIN_PAYLOAD, |edns| usize::from(edns.max_payload()));
    let mut octets = honest.to_vec().unwrap();
    if !tcp && octets.len() > payload {
        honest.metadata.truncation = true;
        honest.answers.clear();
        octets = honest.to_vec().unwrap();
    }
    vec![octets]
}

/// An answer to a question, so far without records.
fn response(question: &Message) -> Message {
    let mut message = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    message.metadata.recursion_desired = question.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.queries = question.queries.clone();
    message
}

impl State {
    /// Returns what the records say.
    fn answer(&self, query: &Query) -> (ResponseCode, Vec<Record>) {
        let mut found = Vec::new();
        let mut name = query.name().clone();
        for _ in 0..FOLLOWED {
            let here = key(&name.to_ascii());
            let Some(records) = self.records.get(&here) else {
                // A name with others below it exists, without records (RFC 8020).
                let below = format!(".{here}");
                let exists = self.records.keys().any(|known| known.ends_with(&below));
                return (if exists { ResponseCode::NoError } else { ResponseCode::NXDomain }, found);
            };
            let alias = records.iter().find_map(|data| match data {
                RData::CNAME(target) => Some(target.0.clone()),
                _ => None,
            });
            let of_kind = records.iter().filter(|data| data.record_type() == query.query_type() || alias.is_some());
            found.extend(of_kind.map(|data| Record::from_rdata(name.clone(), 0, data.clone())));
            match alias {
                Some(target) if !self.leave_aliases => name = target,
                _ => break,
            }
        }
        (ResponseCode::NoError, found)
    }
}

fn absolute(name: &str) -> Name {
    Name::from_ascii(format!("{}.", name.trim_end_matches('.'))).unwrap()
}

/// Names differ not by case.
fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
