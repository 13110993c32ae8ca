//! A connection as the HTTP library gets it: plain or TLS, closed when its client is too slow, takes nothing of its answer, or only keeps it open.
//!
//! The libraries bound the head of a connection's first request and HTTP/1.1 connections between requests. Here is what they leave open: later heads,
//! HTTP/2 connections without a request, answers that nobody reads, requests that are given up again and again. Who may connect at all is decided in
//! `entrance.rs`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::HttpMessage as _;
use actix_web::HttpRequest;
use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use super::entrance::Place;

/// What a client must take of an answer within [`Patience::writing`], in octets, unless it takes all: some 2 KiB a second.
const LEAST: usize = 64 * 1024;
/// How many more requests a client may give up than it waits for: each costs the service what was done for it.
const GIVEN_UP: usize = 200;

/// How long a connection may do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// Without a request: as long as an idle connection is kept and the next head may take.
    pub(super) quiet: Duration,
    /// The same while connections are scarce.
    pub(super) quiet_when_scarce: Duration,
    /// While an answer waits to be taken.
    pub(super) writing: Duration,
    /// How often connections are looked at.
    pub(super) tick: Duration,
}

/// What is done on a connection, shared with the requests on it.
#[derive(Debug)]
pub(super) struct Activity {
    secure: bool,
    requests: Cell<usize>,
    quiet_since: Cell<Instant>,
    /// Answers on their way over HTTP/2 by number, and since when each waits to be taken.
    answers: RefCell<BTreeMap<u64, Instant>>,
    next_answer: Cell<u64>,
    given_up: Cell<usize>,
}

impl Activity {
    /// Begins with nothing done.
    pub(super) fn new(secure: bool) -> Self {
        Self {
            secure,
            requests: Cell::new(0),
            quiet_since: Cell::new(Instant::now()),
            answers: RefCell::default(),
            next_answer: Cell::new(0),
            given_up: Cell::new(0),
        }
    }

    /// Whether the connection is encrypted.
    pub(super) const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Begins a request.
    pub(super) fn begin(self: &Rc<Self>) -> Ongoing {
        self.requests.set(self.requests.get().saturating_add(1));
        Ongoing(Rc::clone(self))
    }

    /// Begins a request that its client may give up.
    pub(super) fn attempt(self: &Rc<Self>) -> Attempt {
        Attempt { activity: Rc::clone(self), is_done: false, broke_off: Rc::default() }
    }

    /// Begins an answer that its client must take.
    pub(super) fn answering(self: &Rc<Self>) -> Answering {
        let number = self.next_answer.get();
        self.next_answer.set(number.wrapping_add(1));
        self.answers.borrow_mut().insert(number, Instant::now());
        Answering { activity: Rc::clone(self), number }
    }

    /// Whether an answer waits for longer than its client may take.
    fn is_left_waiting(&self, longest: Duration) -> bool {
        self.answers.borrow().values().any(|since| since.elapsed() >= longest)
    }

    fn is_quiet(&self, longest: Duration) -> bool {
        self.requests.get() == 0 && self.answers.borrow().is_empty() && self.quiet_since.get().elapsed() >= longest
    }
}

/// Returns what is known of a request's connection.
pub(super) fn of_connection<T: Clone + 'static>(request: &HttpRequest) -> Option<T> {
    // Over HTTP/1.1 the library keeps it, over HTTP/2 each request has it.
    request.conn_data::<T>().cloned().or_else(|| request.extensions().get::<T>().cloned())
}

/// A request over HTTP/2, which was given up when this is dropped before it is done, or when its body broke off.
#[derive(Debug)]
pub(super) struct Attempt {
    activity: Rc<Activity>,
    is_done: bool,
    broke_off: Rc<Cell<bool>>,
}

impl Attempt {
    /// The request has an answer; there may be nobody to take it.
    pub(super) fn done(mut self) {
        self.is_done = !self.broke_off.get();
    }

    /// Returns what its body tells that it breaks off.
    pub(super) fn breaks(&self) -> Breaks {
        Breaks(Rc::clone(&self.broke_off))
    }
}

/// What the body of a request tells that it breaks off.
#[derive(Debug)]
pub(super) struct Breaks(Rc<Cell<bool>>);

impl Breaks {
    /// It breaks off.
    pub(super) fn off(&self) {
        self.0.set(true);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let given_up = &self.activity.given_up;
        given_up.set(if self.is_done { given_up.get().saturating_sub(1) } else { given_up.get().saturating_add(1) });
    }
}

/// An answer over HTTP/2 on its way; dropped when all of it was taken.
#[derive(Debug)]
pub(super) struct Answering {
    activity: Rc<Activity>,
    number: u64,
}

impl Answering {
    /// The client has taken what there was.
    pub(super) fn goes_on(&self) {
        self.activity.answers.borrow_mut().insert(self.number, Instant::now());
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.activity.answers.borrow_mut().remove(&self.number);
        self.activity.quiet_since.set(Instant::now());
    }
}

/// A request on a connection; dropped when it is answered.
#[derive(Debug)]
pub(super) struct Ongoing(Rc<Activity>);

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.0.requests.set(self.0.requests.get().saturating_sub(1));
        self.0.quiet_since.set(Instant::now());
    }
}

/// What octets travel over.
#[derive(Debug)]
pub(super) enum Transport {
    /// As they are.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    transport: Transport,
    activity: Rc<Activity>,
    patience: Patience,
    tick: Pin<Box<Sleep>>,
    /// Whether the last attempt to write had to wait.
    blocked: bool,
    /// Since when an answer waits to be taken, and how many octets were taken since.
    waits_since: Instant,
    taken: usize,
    ended: bool,
    place: Place,
}

impl Connection {
    /// Takes over a connection whose handshake is done.
    pub(super) fn new(transport: Transport, patience: Patience, place: Place) -> Self {
        let now = Instant::now();
        let secure = matches!(transport, Transport::Tls(_));
        Self {
            transport,
            activity: Rc::new(Activity::new(secure)),
            patience,
            tick: Box::pin(tokio::time::sleep(patience.tick)),
            blocked: false,
            waits_since: now,
            taken: 0,
            ended: false,
            place,
        }
    }

    /// Returns what is done on the connection.
    pub(super) fn activity(&self) -> Rc<Activity> {
        Rc::clone(&self.activity)
    }

    /// Returns what octets travel over.
    pub(super) const fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Looks at the connection whenever it is time to; polled wherever the connection waits, so that it is woken for it.
    fn look(&mut self, context: &mut Context<'_>) -> Verdict {
        while self.tick.as_mut().poll(context).is_ready() {
            let verdict = self.judge();
            if verdict != Verdict::Stay {
                self.ended = true;
                return verdict;
            }
            self.tick.as_mut().reset(tokio::time::Instant::now() + self.patience.tick);
        }
        Verdict::Stay
    }

    fn judge(&mut self) -> Verdict {
        if self.taken > 0 {
            self.activity.quiet_since.set(Instant::now());
        }
        if self.blocked {
            if self.waits_since.elapsed() < self.patience.writing {
                return Verdict::Stay;
            }
            if self.taken < LEAST {
                metrics::counter!("chancery_connections_cut_total", "reason" => "slow_reader").increment(1);
                return Verdict::Break;
            }
        }
        // Over HTTP/2 the client may keep an answer waiting while other octets pass.
        if self.activity.is_left_waiting(self.patience.writing) {
            metrics::counter!("chancery_connections_cut_total", "reason" => "slow_reader").increment(1);
            return Verdict::Break;
        }
        self.waits_since = Instant::now();
        self.taken = 0;
        let scarce = self.place.connections_are_scarce();
        let longest = if scarce { self.patience.quiet_when_scarce } else { self.patience.quiet };
        if !self.blocked && self.activity.is_quiet(longest) {
            metrics::counter!("chancery_connections_cut_total", "reason" => "quiet").increment(1);
            return Verdict::End;
        }
        Verdict::Stay
    }

    fn transport_mut(&mut self) -> Pin<&mut dyn Duplex> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream),
            Transport::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }

    /// Notes how an attempt to write went; breaks the connection when its client takes nothing for too long.
    fn after_write(&mut self, context: &mut Context<'_>, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match wrote {
            Poll::Ready(Ok(octets)) => {
                self.blocked = false;
                self.taken = self.taken.saturating_add(octets);
                wrote
            }
            Poll::Ready(Err(_)) => wrote,
            Poll::Pending => {
                self.blocked = true;
                match self.look(context) {
                    Verdict::Stay | Verdict::End => Poll::Pending,
                    Verdict::Break => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                }
            }
        }
    }
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It stays open.
    Stay,
    /// It ends, as if its client had closed it.
    End,
    /// It is cut off.
    Break,
}

/// Both directions.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(Ok(()));
        }
        if this.activity.given_up.get() > GIVEN_UP {
            this.ended = true;
            metrics::counter!("chancery_connections_cut_total", "reason" => "given_up").increment(1);
            return Poll::Ready(Ok(()));
        }
        let read = this.transport_mut().poll_read(context, buffer);
        if read.is_ready() {
            return read;
        }
        match this.look(context) {
            Verdict::Stay => Poll::Pending,
            // No octets: the end.
            Verdict::End => Poll::Ready(Ok(())),
            Verdict::Break => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = this.transport_mut().poll_write(context, octets);
        this.after_write(context, wrote)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = this.transport_mut().poll_write_vectored(context, parts);
        this.after_write(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // What is encrypted waits here.
        let flushed = this.transport_mut().poll_flush(context).map_ok(|()| 0);
        this.after_write(context, flushed).map_ok(|_nothing| ())
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = this.transport_mut().poll_shutdown(context).map_ok(|()| 0);
        this.after_write(context, shut).map_ok(|_nothing| ())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use std::sync::Arc;

    use super::super::entrance::{Connections, Entrance};
    use super::*;

    const SHORT: Duration = Duration::from_millis(40);
    const LONG: Duration = Duration::from_secs(600);

    async fn pair(patience: Patience) -> (Connection, tokio::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let place = Entrance::new(10, None, Vec::new(), Arc::new(Connections::new(10))).admit(Some(peer.ip())).unwrap();
        (Connection::new(Transport::Plain(stream), patience, place), client)
    }

    #[tokio::test]
    async fn a_connection_without_a_request_ends() {
        let patience = Patience { quiet: SHORT, quiet_when_scarce: SHORT, writing: LONG, tick: SHORT };
        let (mut connection, mut client) = pair(patience).await;
        // Half a head is no request.
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let mut read = Vec::new();
        connection.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"GET / HTTP/1.1\r\n");
    }

    #[tokio::test]
    async fn a_connection_with_a_request_stays() {
        let patience = Patience { quiet: SHORT, quiet_when_scarce: SHORT, writing: LONG, tick: SHORT };
        let (mut connection, _client) = pair(patience).await;
        let request = connection.activity().begin();
        let mut buffer = [0; 8];
        let waited = tokio::time::timeout(SHORT * 5, connection.read(&mut buffer)).await;
        assert!(waited.is_err(), "it ended beside a request: {waited:?}");
        drop(request);
        assert_eq!(connection.read(&mut buffer).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_is_broken_off() {
        let patience = Patience { quiet: LONG, quiet_when_scarce: LONG, writing: SHORT, tick: SHORT };
        let (mut connection, _client) = pair(patience).await;
        let answer = vec![0; 64 * 1024 * 1024];
        let error = connection.write_all(&answer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn an_answer_that_waits_beside_others_is_broken_off() {
        let patience = Patience { quiet: LONG, quiet_when_scarce: LONG, writing: SHORT, tick: SHORT };
        let (mut connection, _client) = pair(patience).await;
        let activity = connection.activity();
        let _waits = activity.answering();
        let error = connection.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_connection_with_an_answer_on_its_way_is_not_quiet() {
        let patience = Patience { quiet: SHORT, quiet_when_scarce: SHORT, writing: LONG, tick: SHORT };
        let (mut connection, _client) = pair(patience).await;
        let answering = connection.activity().answering();
        answering.goes_on();
        let waited = tokio::time::timeout(SHORT * 5, connection.read(&mut [0; 8])).await;
        assert!(waited.is_err(), "it ended beside an answer: {waited:?}");
        drop(answering);
        assert_eq!(connection.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn who_gives_up_more_requests_than_he_waits_for_is_cut_off() {
        let patience = Patience { quiet: LONG, quiet_when_scarce: LONG, writing: LONG, tick: LONG };
        let (mut connection, mut client) = pair(patience).await;
        let activity = connection.activity();
        for _ in 0..GIVEN_UP * 3 {
            drop(activity.attempt());
            activity.attempt().done();
        }
        client.write_all(b"x").await.unwrap();
        assert_eq!(connection.read(&mut [0; 8]).await.unwrap(), 1, "he waits for as many as he gives up");
        for _ in 0..=GIVEN_UP {
            let attempt = activity.attempt();
            attempt.breaks().off();
            attempt.done();
        }
        client.write_all(b"x").await.unwrap();
        assert_eq!(connection.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn an_answer_that_is_taken_is_written_whole() {
        let patience = Patience { quiet: LONG, quiet_when_scarce: LONG, writing: SHORT * 25, tick: SHORT };
        let (mut connection, mut client) = pair(patience).await;
        let reader = tokio::spawn(async move {
            let mut read = Vec::new();
            client.read_to_end(&mut read).await.unwrap();
            read.len()
        });
        connection.write_all(&vec![0; 16 * 1024 * 1024]).await.unwrap();
        connection.shutdown().await.unwrap();
        drop(connection);
        assert_eq!(reader.await.unwrap(), 16 * 1024 * 1024);
    }
}
