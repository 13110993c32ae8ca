//! An ACME client (RFC 8555) that does what it is told, right or wrong: every part of a request can be another than it should be. Nothing is
//! tried again and nothing hidden; whole answers come back.
//!
//! ```ignore
//! let mut client = AcmeClient::new(&service);
//! client.register();
//! let order = client.new_order(&["127.0.0.1"]);
//! client.prove_http_01(&order, &http_01);
//! let certificate = client.finalize(&order, &Csr::new().ip(&[127, 0, 0, 1]));
//! client.post(&order.url, &json!({})).header("alg", json!("none")).refused(400, "badSignatureAlgorithm");
//! ```

mod http_01;
mod keys;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::client::{Answer, Client};
use super::csr::Csr;
use super::service::Service;

pub(crate) use http_01::Http01;
pub(crate) use keys::{ALGORITHMS, AccountKey, base64url, decode_base64url, mac_jws};

/// What the types of problems begin with.
pub(crate) const ERRORS: &str = "urn:ietf:params:acme:error:";
/// The media type of requests.
pub(crate) const JOSE: &str = "application/jose+json";
/// How long a status may take to change.
const POLL_LIMIT: Duration = Duration::from_secs(60);

/// A client of one directory with one key, and an account if it has registered.
#[derive(Clone)]
pub(crate) struct AcmeClient {
    http: Client,
    directory_url: String,
    directory: Value,
    key: Arc<AccountKey>,
    account: Option<String>,
    nonces: Arc<Mutex<Vec<String>>>,
    /// What addresses begin with, and where that is, when the service goes by another address than its own.
    proxied: Option<(String, String)>,
}

/// An order as it was made.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// Its address.
    pub(crate) url: String,
    /// The order.
    pub(crate) body: Value,
}

impl AcmeClient {
    /// A client of the default directory with a new P-256 key.
    pub(crate) fn new(service: &Service) -> Self {
        Self::at(service, "/acme/directory")
    }

    /// A client of a profile's directory with a new P-256 key.
    pub(crate) fn for_profile(service: &Service, profile: &str) -> Self {
        Self::at(service, &format!("/acme/{profile}/directory"))
    }

    /// A client of the directory at a path with a new P-256 key.
    pub(crate) fn at(service: &Service, path: &str) -> Self {
        let http = service.anonymous();
        let directory = http.get(path).expect(200).json();
        Self {
            http,
            directory_url: format!("{}{path}", service.api()),
            directory,
            key: Arc::new(AccountKey::new()),
            account: None,
            nonces: Arc::default(),
            proxied: None,
        }
    }

    /// The same client and account at a service that goes by this base address, wherever it listens.
    pub(crate) fn behind(&self, service: &Service, base: &str) -> Self {
        let proxied = Some((base.to_owned(), service.api().to_owned()));
        Self { http: service.anonymous(), proxied, nonces: Arc::default(), ..self.clone() }
    }

    /// Where an address is.
    fn place(&self, url: &str) -> String {
        match &self.proxied {
            Some((base, api)) => url.replacen(base.as_str(), api, 1),
            None => url.to_owned(),
        }
    }

    /// A client of the same directory with another key and without an account.
    pub(crate) fn with_key(&self, key: AccountKey) -> Self {
        Self { key: Arc::new(key), account: None, ..self.clone() }
    }

    /// A client of the same directory with a new key and a new account.
    pub(crate) fn another(&self) -> Self {
        let mut other = self.with_key(AccountKey::new());
        other.register();
        other
    }

    /// The HTTP client, for requests that are not signed.
    pub(crate) const fn http(&self) -> &Client {
        &self.http
    }

    /// The address of the directory.
    pub(crate) fn directory_url(&self) -> &str {
        &self.directory_url
    }

    /// The directory.
    pub(crate) const fn directory(&self) -> &Value {
        &self.directory
    }

    /// The address of a resource of the directory, such as `newOrder`.
    #[track_caller]
    pub(crate) fn url(&self, resource: &str) -> String {
        self.directory[resource].as_str().unwrap_or_else(|| panic!("no {resource} in {}", self.directory)).to_owned()
    }

    /// The key.
    pub(crate) fn key(&self) -> &AccountKey {
        &self.key
    }

    /// The address of the account.
    #[track_caller]
    pub(crate) fn account_url(&self) -> &str {
        self.account.as_deref().expect("the client has registered")
    }

    /// A nonce: one of an answer before, else a new one.
    #[track_caller]
    pub(crate) fn nonce(&self) -> String {
        let kept = self.nonces.lock().unwrap().pop();
        kept.unwrap_or_else(|| self.new_nonce())
    }

    /// A nonce of newNonce.
    #[track_caller]
    pub(crate) fn new_nonce(&self) -> String {
        let answer = self.http.request("HEAD", &self.place(&self.url("newNonce"))).expect(200);
        answer.header("replay-nonce").to_owned()
    }

    /// Starts a request with a JSON payload: by the account, or with the key if there is none yet.
    pub(crate) fn post(&self, url: &str, payload: &Value) -> Post<'_> {
        self.post_octets(url, payload.to_string().as_bytes())
    }

    /// Starts a request that reads (RFC 8555, section 6.3).
    pub(crate) fn fetch(&self, url: &str) -> Post<'_> {
        self.post_octets(url, b"")
    }

    /// Starts a request with any payload.
    pub(crate) fn post_octets(&self, url: &str, payload: &[u8]) -> Post<'_> {
        let mut header = Map::new();
        header.insert("url".to_owned(), json!(url));
        match &self.account {
            Some(account) => header.insert("kid".to_owned(), json!(account)),
            None => header.insert("jwk".to_owned(), self.key.jwk().clone()),
        };
        Post {
            client: self,
            to: url.to_owned(),
            header,
            payload: payload.to_vec(),
            signer: None,
            members: Vec::new(),
            content_type: JOSE.to_owned(),
            http_headers: Vec::new(),
        }
    }

    /// Sends octets as a request, and keeps the nonce of the answer.
    #[track_caller]
    pub(crate) fn send(&self, url: &str, body: impl Into<Vec<u8>>) -> Answer {
        let answer = self.http.post(&self.place(url)).body(JOSE, body).send();
        self.keep_nonce(&answer);
        answer
    }

    fn keep_nonce(&self, answer: &Answer) {
        let nonce = answer.header("replay-nonce");
        if !nonce.is_empty() {
            self.nonces.lock().unwrap().push(nonce.to_owned());
        }
    }

    /// Makes an account, or finds that of the key, and uses it from here on.
    #[track_caller]
    pub(crate) fn register(&mut self) -> Answer {
        self.register_with(&json!({"termsOfServiceAgreed": true}))
    }

    /// Makes an account with a payload and uses it from here on.
    #[track_caller]
    pub(crate) fn register_with(&mut self, payload: &Value) -> Answer {
        let answer = self.post(&self.url("newAccount"), payload).with_jwk().send();
        assert!(matches!(answer.status, 200 | 201), "{}: {}", answer.status, answer.text());
        self.account = Some(answer.header("location").to_owned());
        answer
    }

    /// Makes an account bound to an external account key.
    #[track_caller]
    pub(crate) fn register_bound(&mut self, key: &ExternalKey) -> Answer {
        let binding = self.binding(key);
        self.register_with(&json!({"termsOfServiceAgreed": true, "externalAccountBinding": binding}))
    }

    /// An external account binding (RFC 8555, section 7.3.4).
    pub(crate) fn binding(&self, key: &ExternalKey) -> Value {
        let header = json!({"alg": "HS256", "kid": key.id, "url": self.url("newAccount")});
        mac_jws(&header, &key.secret, self.key.jwk().to_string().as_bytes())
    }

    /// The inner JWS that gives the account another key (RFC 8555, section 7.3.5).
    pub(crate) fn key_change(&self, new_key: &AccountKey) -> Value {
        let header = json!({"alg": new_key.algorithm(), "jwk": new_key.jwk(), "url": self.url("keyChange")});
        let payload = json!({"account": self.account_url(), "oldKey": self.key.jwk()});
        new_key.sign_jws(&header.to_string(), payload.to_string().as_bytes())
    }

    /// Gives the account another key and uses it from here on.
    #[track_caller]
    pub(crate) fn roll_over(&mut self, new_key: AccountKey) -> Answer {
        let answer = self.post(&self.url("keyChange"), &self.key_change(&new_key)).expect(200);
        self.key = Arc::new(new_key);
        answer
    }

    /// Makes an order for DNS names and IP addresses.
    #[track_caller]
    pub(crate) fn new_order(&self, names: &[&str]) -> Order {
        self.order_with(&json!({"identifiers": identifiers(names)}))
    }

    /// Makes an order with a payload.
    #[track_caller]
    pub(crate) fn order_with(&self, payload: &Value) -> Order {
        let answer = self.post(&self.url("newOrder"), payload).expect(201);
        Order { url: answer.header("location").to_owned(), body: answer.json() }
    }

    /// Reads a resource.
    #[track_caller]
    pub(crate) fn read(&self, url: &str) -> Value {
        self.fetch(url).expect(200).json()
    }

    /// Reads the authorizations of an order, in its order.
    #[track_caller]
    pub(crate) fn authorizations(&self, order: &Order) -> Vec<Value> {
        let urls = order.body["authorizations"].as_array().unwrap();
        urls.iter().map(|url| self.read(url.as_str().unwrap())).collect()
    }

    /// Says that a challenge is answered.
    #[track_caller]
    pub(crate) fn respond(&self, challenge: &Value) -> Answer {
        self.post(challenge["url"].as_str().unwrap(), &json!({})).expect(200)
    }

    /// Reads a resource until it is neither pending nor processing, and returns it; its status must be this.
    #[track_caller]
    pub(crate) fn poll(&self, url: &str, status: &str) -> Value {
        let started = Instant::now();
        loop {
            let body = self.read(url);
            match body["status"].as_str().unwrap() {
                "pending" | "processing" => {
                    assert!(started.elapsed() < POLL_LIMIT, "{url} does not change: {body}");
                    std::thread::sleep(Duration::from_millis(50));
                }
                other => {
                    assert_eq!(other, status, "{body}");
                    return body;
                }
            }
        }
    }

    /// Answers the http-01 challenge of every pending authorization of an order, and waits for them to be valid.
    #[track_caller]
    pub(crate) fn prove_http_01(&self, order: &Order, server: &Http01) {
        for (url, authorization) in
            order.body["authorizations"].as_array().unwrap().iter().zip(self.authorizations(order))
        {
            if authorization["status"] == "pending" {
                let challenge = challenge(&authorization, "http-01");
                let token = challenge["token"].as_str().unwrap();
                server.put(token, &self.key.authorize(token));
                self.respond(&challenge);
                self.poll(url.as_str().unwrap(), "valid");
            }
        }
    }

    /// Starts the request that finalizes an order with a CSR, DER.
    pub(crate) fn finalization(&self, order: &Order, csr: &[u8]) -> Post<'_> {
        self.post(order.body["finalize"].as_str().unwrap(), &json!({"csr": base64url(csr)}))
    }

    /// Finalizes an order, waits for it to be valid, and returns the chain, PEM.
    #[track_caller]
    pub(crate) fn finalize(&self, order: &Order, csr: &Csr) -> String {
        self.finalization(order, &csr.der()).expect(200);
        let done = self.poll(&order.url, "valid");
        self.fetch(done["certificate"].as_str().unwrap()).expect(200).text()
    }

    /// Orders a certificate for DNS names whose authorizations are valid from the start, and returns the chain, PEM.
    #[track_caller]
    pub(crate) fn issue(&self, names: &[&str]) -> String {
        let order = self.new_order(names);
        assert_eq!(order.body["status"], "ready", "{}", order.body);
        self.finalize(&order, &Csr::for_dns(names))
    }
}

/// An external account key.
#[derive(Clone, Debug)]
pub(crate) struct ExternalKey {
    /// Its id.
    pub(crate) id: String,
    /// The HMAC key.
    pub(crate) secret: Vec<u8>,
}

impl ExternalKey {
    /// Has an administrator make a key, as `{"profile": "server", "proves_control": true}`.
    #[track_caller]
    pub(crate) fn create(service: &Service, body: &Value) -> Self {
        Self::create_by(&service.administrator(), body)
    }

    /// Has somebody make a key.
    #[track_caller]
    pub(crate) fn create_by(client: &Client, body: &Value) -> Self {
        let made = client.post("/api/v1/acme/external-account-keys").json(body).expect(201).json();
        let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("no {name} in {made}")).to_owned();
        Self { id: text("key_id"), secret: decode_base64url(&text("hmac_key")) }
    }
}

/// A request in the making. What is not said to be otherwise is as it should be.
pub(crate) struct Post<'a> {
    client: &'a AcmeClient,
    to: String,
    header: Map<String, Value>,
    payload: Vec<u8>,
    signer: Option<&'a AccountKey>,
    members: Vec<(String, Value)>,
    content_type: String,
    http_headers: Vec<(String, String)>,
}

impl<'a> Post<'a> {
    /// Carries the key instead of the account.
    pub(crate) fn with_jwk(self) -> Self {
        let jwk = self.signer.unwrap_or(&self.client.key).jwk().clone();
        self.header("kid", Value::Null).header("jwk", jwk)
    }

    /// Sets a parameter of the protected header, or leaves it out (null).
    pub(crate) fn header(mut self, name: &str, value: Value) -> Self {
        // A nonce that is to be left out must not be put in later.
        if value.is_null() && name != "nonce" && name != "alg" {
            self.header.remove(name);
        } else {
            self.header.insert(name.to_owned(), value);
        }
        self
    }

    /// Sets a member of the JWS after signing, or takes it away (null).
    pub(crate) fn member(mut self, name: &str, value: Value) -> Self {
        self.members.push((name.to_owned(), value));
        self
    }

    /// Signs with another key, while the header stays as it is.
    pub(crate) fn signed_by(mut self, key: &'a AccountKey) -> Self {
        self.signer = Some(key);
        self
    }

    /// Sends it to another address than the one that is signed.
    pub(crate) fn to(mut self, url: &str) -> Self {
        url.clone_into(&mut self.to);
        self
    }

    /// Sets the media type.
    pub(crate) fn content_type(mut self, media_type: &str) -> Self {
        media_type.clone_into(&mut self.content_type);
        self
    }

    /// Sets a field of the HTTP header.
    pub(crate) fn http_header(mut self, name: &str, value: &str) -> Self {
        self.http_headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Signs the request.
    #[track_caller]
    pub(crate) fn jws(&self) -> Value {
        let signer = self.signer.unwrap_or(&self.client.key);
        let mut header = Map::new();
        header.insert("alg".to_owned(), json!(signer.algorithm()));
        if !self.header.contains_key("nonce") {
            header.insert("nonce".to_owned(), json!(self.client.nonce()));
        }
        header.extend(self.header.clone());
        header.retain(|name, value| !(value.is_null() && (name == "nonce" || name == "alg")));
        let mut jws = signer.sign_jws(&Value::Object(header).to_string(), &self.payload);
        let members = jws.as_object_mut().unwrap();
        for (name, value) in &self.members {
            if value.is_null() {
                members.remove(name);
            } else {
                members.insert(name.clone(), value.clone());
            }
        }
        jws
    }

    /// Signs and sends the request.
    #[track_caller]
    pub(crate) fn send(self) -> Answer {
        let request =
            self.client.http.post(&self.client.place(&self.to)).body(&self.content_type, self.jws().to_string());
        let request = self.http_headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let answer = request.send();
        self.client.keep_nonce(&answer);
        answer
    }

    /// Sends the request, which must be answered with this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Answer {
        self.send().expect(status)
    }

    /// Sends the request, which must be refused with this status and this type; returns the problem.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, token: &str) -> Value {
        let answer = self.send().expect(status);
        assert_eq!(acme_error(&answer), token, "{}", answer.text());
        answer.json()
    }
}

/// The token of a problem document (RFC 8555, section 6.7), whose form is checked on the way.
#[track_caller]
pub(crate) fn acme_error(answer: &Answer) -> String {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text());
    let problem = answer.json();
    assert_eq!(problem["status"], answer.status, "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "no detail in {problem}");
    assert!(problem["identifier"].is_null(), "an identifier at the top of {problem}");
    let kind = problem["type"].as_str().unwrap_or_else(|| panic!("no type in {problem}"));
    kind.strip_prefix(ERRORS).unwrap_or_else(|| panic!("not an ACME type in {problem}")).to_owned()
}

/// Names and addresses as identifiers of an order.
pub(crate) fn identifiers(names: &[&str]) -> Vec<Value> {
    let kind = |name: &str| if name.parse::<IpAddr>().is_ok() { "ip" } else { "dns" };
    names.iter().map(|name| json!({"type": kind(name), "value": name})).collect()
}

/// The challenge of a kind in an authorization.
#[track_caller]
pub(crate) fn challenge(authorization: &Value, kind: &str) -> Value {
    let challenges = authorization["challenges"].as_array().unwrap();
    let found = challenges.iter().find(|challenge| challenge["type"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {authorization}")).clone()
}
