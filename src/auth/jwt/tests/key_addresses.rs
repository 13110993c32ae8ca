//! Keys from an address: rotation, refreshes, and answers that are not taken.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A tiny HTTP server on loopback, over TLS when it has a configuration for it.
struct KeyServer {
    address: SocketAddr,
    answer: Arc<Mutex<String>>,
    hits: Arc<AtomicUsize>,
}

impl KeyServer {
    fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(String::new()));
        let hits = Arc::new(AtomicUsize::new(0));
        let (served, counted) = (Arc::clone(&answer), Arc::clone(&hits));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let answer = served.lock().unwrap().clone();
                counted.fetch_add(1, Ordering::Relaxed);
                match &tls {
                    None => exchange(stream, &answer),
                    Some(tls) => {
                        let connection = rustls::ServerConnection::new(Arc::clone(tls)).unwrap();
                        exchange(rustls::StreamOwned::new(connection, stream), &answer);
                    }
                }
            }
        });
        Self { address, answer, hits }
    }

    fn serve(&self, status: &str, headers: &str, body: &str) {
        *self.answer.lock().unwrap() =
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}", body.len());
    }

    fn serve_keys(&self, keys: &[Value]) {
        self.serve("200 OK", "Content-Type: application/json\r\n", &json!({"keys": keys}).to_string());
    }

    fn hits(&self) -> usize {
        self.hits.load(Ordering::Relaxed)
    }

    async fn providers(&self) -> (JwtProviders, Arc<SetClock>) {
        self.open(format!("http://{}/keys", self.address), None).await.unwrap()
    }

    async fn open(&self, url: String, ca_certificates: Option<PathBuf>) -> Result<(JwtProviders, Arc<SetClock>)> {
        let clock = Arc::new(SetClock::at(NOW));
        let settings = settings(JwtKeySource::JwksUrl { url, ca_certificates });
        let providers = JwtProviders::open(vec![settings], Arc::clone(&clock) as Arc<dyn Clock>).await?;
        Ok((providers, clock))
    }
}

/// Reads a request's head and answers. Failures are the client's to see.
fn exchange(mut stream: impl Read + Write, answer: &str) {
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut octet) {
            Ok(1) => head.push(octet[0]),
            _ => return,
        }
    }
    if stream.write_all(answer.as_bytes()).is_ok() {
        drop(stream.flush());
    }
}

fn token(key: &TokenKey, kid: &str) -> String {
    key.token(&json!({"alg": "ES256", "kid": kid}), &with("exp", json!(NOW + 100_000)))
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_at_most_once_per_half_minute() {
    let (old, new) = (TokenKey::p256(), TokenKey::p256());
    let server = KeyServer::start(None);
    server.serve_keys(&[old.jwk(Some("old"))]);
    let (providers, clock) = server.providers().await;
    assert_eq!(server.hits(), 1);
    providers.authenticate(&token(&old, "old")).await.unwrap();

    server.serve_keys(&[new.jwk(Some("new"))]);
    providers.authenticate(&token(&new, "new")).await.unwrap_err();
    assert_eq!(server.hits(), 1, "keys were read less than 30 seconds ago");
    clock.set(NOW + 30);
    providers.authenticate(&token(&new, "new")).await.unwrap();
    assert_eq!(server.hits(), 2);
    for unknown in ["a", "b", "c"] {
        providers.authenticate(&token(&new, unknown)).await.unwrap_err();
    }
    assert_eq!(server.hits(), 2);
    let refusal = providers.authenticate(&token(&old, "old")).await.unwrap_err();
    assert_eq!(refusal.detail(), "the token's key `old` is not one of its issuer's keys for `ES256`");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_with_an_unknown_key_cause_one_request() {
    let (old, new) = (TokenKey::p256(), TokenKey::p256());
    let server = KeyServer::start(None);
    server.serve_keys(&[old.jwk(Some("old"))]);
    let (providers, clock) = server.providers().await;
    server.serve_keys(&[new.jwk(Some("new"))]);
    clock.set(NOW + 30);
    let providers = Arc::new(providers);
    let token = token(&new, "new");
    let callers: Vec<_> = (0..32)
        .map(|_| {
            let (providers, token) = (Arc::clone(&providers), token.clone());
            tokio::spawn(async move { providers.authenticate(&token).await.map(|_principal| ()) })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(server.hits(), 2);
}

#[tokio::test]
async fn keys_are_read_again_in_time_and_dropped_keys_end() {
    let (old, new) = (TokenKey::p256(), TokenKey::p256());
    let server = KeyServer::start(None);
    server.serve_keys(&[old.jwk(Some("old"))]);
    let (providers, clock) = server.providers().await;
    providers.authenticate(&token(&old, "old")).await.unwrap();
    server.serve_keys(&[new.jwk(Some("new"))]);
    clock.set(NOW + 599);
    providers.refresh_due_keys().await;
    assert_eq!(server.hits(), 1);
    clock.set(NOW + 600);
    providers.refresh_due_keys().await;
    assert_eq!(server.hits(), 2);
    providers.authenticate(&token(&old, "old")).await.unwrap_err();
    providers.authenticate(&token(&new, "new")).await.unwrap();
}

#[tokio::test]
async fn the_last_good_keys_stay_when_no_others_can_be_read() {
    let key = TokenKey::p256();
    let server = KeyServer::start(None);
    server.serve_keys(&[key.jwk(Some("k"))]);
    let (providers, clock) = server.providers().await;
    let moved = format!("Location: http://{}/elsewhere\r\n", server.address);
    let keys = json!({"keys": [TokenKey::p256().jwk(Some("k"))]}).to_string();
    let padded = json!({"keys": [TokenKey::p256().jwk(Some("k"))], "pad": "x".repeat(256 * 1024)}).to_string();
    let bad = [
        ("500 Internal Server Error", "", keys.as_str()),
        ("302 Found", moved.as_str(), keys.as_str()),
        ("204 No Content", "", ""),
        ("200 OK", "", "<html>"),
        ("200 OK", "", r#"{"keys":[]}"#),
        ("200 OK", "", padded.as_str()),
    ];
    for (round, (status, headers, body)) in (1..).zip(bad) {
        server.serve(status, headers, body);
        clock.set(NOW + round * 600);
        providers.forget_all();
        providers.refresh_due_keys().await;
        assert_eq!(server.hits(), 1 + usize::try_from(round).unwrap(), "one request, no redirect followed: {status}");
        providers.authenticate(&token(&key, "k")).await.unwrap();
    }
}

#[tokio::test]
async fn an_address_that_does_not_answer_at_start_is_asked_again() {
    let key = TokenKey::p256();
    let server = KeyServer::start(None);
    server.serve("503 Service Unavailable", "", "");
    let (providers, clock) = server.providers().await;
    let error = providers.authenticate(&token(&key, "k")).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after_seconds()), (ErrorKind::Unavailable, Some(30)));
    server.serve_keys(&[key.jwk(Some("k"))]);
    clock.set(NOW + 30);
    providers.authenticate(&token(&key, "k")).await.unwrap();
    assert_eq!(server.hits(), 2);
}

#[tokio::test]
async fn keys_come_over_tls_from_a_server_of_the_configured_ca_only() {
    use crate::http::tls::{SwappableCertificate, SwappableRoots, TlsCertificate, server_config};

    let key = TokenKey::p256();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate =
        TlsCertificate::from_der(vec![cert.der().to_vec()], zeroize::Zeroizing::new(signing_key.serialize_der()))
            .unwrap();
    let tls =
        server_config(Arc::new(SwappableCertificate::new(certificate)), Arc::new(SwappableRoots::new(&[]).unwrap()))
            .unwrap();
    let server = KeyServer::start(Some(tls));
    server.serve_keys(&[key.jwk(Some("k"))]);
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, cert.pem()).unwrap();
    let url = format!("https://localhost:{}/keys", server.address.port());
    let (providers, _clock) = server.open(url.clone(), Some(ca)).await.unwrap();
    providers.authenticate(&token(&key, "k")).await.unwrap();

    let other = directory.path().join("other.pem");
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&other, stranger.cert.pem()).unwrap();
    let (providers, _clock) = server.open(url, Some(other)).await.unwrap();
    let error = providers.authenticate(&token(&key, "k")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn refuses_addresses_that_are_not_protected() {
    let server = KeyServer::start(None);
    for url in [
        "http://idp.internal/keys",
        "http://10.0.0.1/",
        "ftp://127.0.0.1/",
        "file:///etc/keys",
        "keys",
        "https://u:p@idp.internal/",
    ] {
        let error = server.open(url.to_owned(), None).await.map(|_opened| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{url}");
    }
    assert_eq!(server.hits(), 0);
}
