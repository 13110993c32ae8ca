//! An ACME client that costs little itself: one connection, one P-256 key, its requests signed with the account's address (RFC 8555, section 6.2).

use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::load::{self, Stream, Target};

/// How long a client waits before it asks whether its proof was seen, each time.
const POLL: Duration = Duration::from_millis(5);

/// The key of an account.
pub(crate) struct AccountKey {
    key: EcdsaKeyPair,
    jwk: Value,
}

impl AccountKey {
    /// Makes a key.
    pub(crate) fn new() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({ "crv": "P-256", "kty": "EC", "x": encode(x), "y": encode(y) });
        Self { key, jwk }
    }

    /// Returns the thumbprint (RFC 7638) in base64url: the members stand in order.
    pub(crate) fn thumbprint(&self) -> String {
        encode(digest::digest(&digest::SHA256, self.jwk.to_string().as_bytes()).as_ref())
    }

    /// Returns the public key.
    pub(crate) fn public(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }

    /// Signs for a JWS.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec()
    }
}

/// A client with its connection and the next nonce.
pub(crate) struct Client<'a> {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    base: String,
    key: &'a AccountKey,
    nonce: String,
    /// How many signed requests were sent.
    pub(crate) signed: usize,
}

/// An answer.
struct Answer {
    location: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON answer")
    }
}

impl<'a> Client<'a> {
    /// Connects and fetches the first nonce. `base` is scheme and host of the service.
    pub(crate) async fn connect(target: &Target, base: &str, key: &'a AccountKey) -> Self {
        let stream = target.connect().await;
        let buffer = Vec::with_capacity(16 * 1024);
        let mut client = Self { stream, buffer, base: base.to_owned(), key, nonce: String::new(), signed: 0 };
        client.exchange("GET", "/acme/new-nonce", "").await;
        client
    }

    /// Makes the account, and returns its address.
    pub(crate) async fn new_account(&mut self) -> String {
        let jwk = json!({ "jwk": self.key.jwk });
        self.post(jwk, "/acme/new-account", &json!({ "termsOfServiceAgreed": true }).to_string()).await.location
    }

    /// Orders a certificate for a name, from the order to the chain; returns how long that took.
    pub(crate) async fn order(&mut self, account: &str, name: &str, csr: &[u8]) -> Duration {
        let began = Instant::now();
        let order = json!({ "identifiers": [{ "type": "dns", "value": name }] }).to_string();
        let order = self.post_as(account, "/acme/new-order", &order).await.json();
        let authorization = self.path(&order["authorizations"][0]);
        let challenges = self.post_as(account, &authorization, "").await.json();
        let mut challenges = challenges["challenges"].as_array().expect("challenges").iter();
        let challenge = challenges.find(|challenge| challenge["type"] == "http-01").expect("http-01 is offered");
        let challenge = self.path(&challenge["url"]);
        self.post_as(account, &challenge, "{}").await;
        loop {
            // As clients do: the look at the challenge takes a moment.
            tokio::time::sleep(POLL).await;
            let status = self.post_as(account, &authorization, "").await.json();
            match status["status"].as_str() {
                Some("valid") => break,
                Some("pending") => {}
                _ => panic!("the authorization came to nothing: {status}"),
            }
        }
        let finalize = self.path(&order["finalize"]);
        let finalized = self.post_as(account, &finalize, &json!({ "csr": encode(csr) }).to_string()).await.json();
        let certificate = self.path(&finalized["certificate"]);
        let chain = self.post_as(account, &certificate, "").await.body;
        assert!(chain.starts_with(b"-----BEGIN CERTIFICATE-----"), "a chain");
        began.elapsed()
    }

    fn path(&self, url: &Value) -> String {
        url.as_str()
            .and_then(|url| url.strip_prefix(&self.base))
            .unwrap_or_else(|| panic!("an address of ours: {url}"))
            .to_owned()
    }

    async fn post_as(&mut self, account: &str, path: &str, payload: &str) -> Answer {
        self.post(json!({ "kid": account }), path, payload).await
    }

    async fn post(&mut self, mut header: Value, path: &str, payload: &str) -> Answer {
        header["alg"] = json!("ES256");
        header["nonce"] = json!(std::mem::take(&mut self.nonce));
        header["url"] = json!(format!("{}{path}", self.base));
        let (protected, payload) = (encode(header.to_string().as_bytes()), encode(payload.as_bytes()));
        let signature = encode(&self.key.sign(format!("{protected}.{payload}").as_bytes()));
        let body = json!({ "protected": protected, "payload": payload, "signature": signature }).to_string();
        self.signed += 1;
        self.exchange("POST", path, &body).await
    }

    async fn exchange(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let host = self.base.split_once("://").expect("an address with a scheme").1;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/jose+json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let status = load::exchange(&mut self.stream, request.as_bytes(), &mut self.buffer).await;
        let text = String::from_utf8_lossy(&self.buffer);
        assert!((200..300).contains(&status), "{method} {path}: {text}");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let mut answer = Answer { location: String::new(), body: body.as_bytes().to_vec() };
        for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
            match name.to_ascii_lowercase().as_str() {
                "replay-nonce" => value.clone_into(&mut self.nonce),
                "location" => value.clone_into(&mut answer.location),
                _ => {}
            }
        }
        answer
    }
}

fn encode(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}
