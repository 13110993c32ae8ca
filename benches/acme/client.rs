//! An ACME client that costs little itself: one connection of plain HTTP/1.1, one P-256 key.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::csr::Key;

/// The key of an account.
pub(crate) struct AccountKey {
    key: Key,
    jwk: Value,
}

impl AccountKey {
    /// Makes a key.
    pub(crate) fn new() -> Self {
        let key = Key::new();
        let (x, y) = key.coordinates();
        let jwk = json!({ "crv": "P-256", "kty": "EC", "x": encode(&x), "y": encode(&y) });
        Self { key, jwk }
    }

    /// Returns the thumbprint (RFC 7638) in base64url: the members stand in order.
    pub(crate) fn thumbprint(&self) -> String {
        encode(digest::digest(&digest::SHA256, self.jwk.to_string().as_bytes()).as_ref())
    }
}

/// A client with its connection and the next nonce.
pub(crate) struct Client<'a> {
    connection: BufReader<TcpStream>,
    base: String,
    host: String,
    key: &'a AccountKey,
    nonce: String,
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
    /// Connects and fetches the first nonce.
    pub(crate) fn connect(address: &str, key: &'a AccountKey) -> Self {
        let stream = TcpStream::connect(address).expect("the service listens");
        stream.set_nodelay(true).expect("an option of TCP");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("an option of TCP");
        let mut client = Self {
            connection: BufReader::new(stream),
            base: format!("http://{address}"),
            host: address.to_owned(),
            key,
            nonce: String::new(),
        };
        client.exchange("GET", "/acme/new-nonce", "");
        client
    }

    /// Makes the account, and returns its address.
    pub(crate) fn new_account(&mut self) -> String {
        let jwk = json!({ "jwk": self.key.jwk });
        self.post(jwk, "/acme/new-account", &json!({ "termsOfServiceAgreed": true }).to_string()).location
    }

    /// Orders a certificate for a name, from the order to the chain.
    pub(crate) fn order(&mut self, account: &str, name: &str, csr: &[u8]) {
        let order = json!({ "identifiers": [{ "type": "dns", "value": name }] }).to_string();
        let order = self.signed(account, "/acme/new-order", &order).json();
        let authorization = self.path(&order["authorizations"][0]);
        let challenges = self.signed(account, &authorization, "").json();
        let challenge = challenges["challenges"].as_array().expect("challenges").iter();
        let challenge = challenge.clone().find(|challenge| challenge["type"] == "http-01").expect("http-01 is offered");
        let challenge = self.path(&challenge["url"]);
        self.signed(account, &challenge, "{}");
        loop {
            let status = self.signed(account, &authorization, "").json();
            match status["status"].as_str() {
                Some("valid") => break,
                Some("pending") => std::thread::sleep(Duration::from_millis(5)),
                _ => panic!("the authorization came to nothing: {status}"),
            }
        }
        let finalize = self.path(&order["finalize"]);
        let finalized = self.signed(account, &finalize, &json!({ "csr": encode(csr) }).to_string()).json();
        let certificate = self.path(&finalized["certificate"]);
        let chain = self.signed(account, &certificate, "").body;
        assert!(chain.starts_with(b"-----BEGIN CERTIFICATE-----"), "a chain");
    }

    fn path(&self, url: &Value) -> String {
        url.as_str()
            .and_then(|url| url.strip_prefix(&self.base))
            .unwrap_or_else(|| panic!("an address of ours: {url}"))
            .to_owned()
    }

    fn signed(&mut self, account: &str, path: &str, payload: &str) -> Answer {
        self.post(json!({ "kid": account }), path, payload)
    }

    fn post(&mut self, mut header: Value, path: &str, payload: &str) -> Answer {
        header["alg"] = json!("ES256");
        header["nonce"] = json!(std::mem::take(&mut self.nonce));
        header["url"] = json!(format!("{}{path}", self.base));
        let (protected, payload) = (encode(header.to_string().as_bytes()), encode(payload.as_bytes()));
        let signature = encode(&self.key.key.sign_fixed(format!("{protected}.{payload}").as_bytes()));
        let body = json!({ "protected": protected, "payload": payload, "signature": signature }).to_string();
        self.exchange("POST", path, &body)
    }

    fn exchange(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/jose+json\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.connection.get_mut().write_all(request.as_bytes()).expect("the service reads");
        let (mut status, mut length, mut location) = (String::new(), 0, String::new());
        self.connection.read_line(&mut status).expect("the service answers");
        loop {
            let mut line = String::new();
            self.connection.read_line(&mut line).expect("the service answers");
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().expect("a length"),
                "replay-nonce" => value.clone_into(&mut self.nonce),
                "location" => value.clone_into(&mut location),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.connection.read_exact(&mut body).expect("the body is whole");
        assert!(status.starts_with("HTTP/1.1 20"), "{method} {path}: {status}{}", String::from_utf8_lossy(&body));
        Answer { location, body }
    }
}

fn encode(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}
