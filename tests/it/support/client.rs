//! An HTTP client as tests want it: blocking calls, the service's root as only trust, whole answers.

use std::sync::LazyLock;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

/// Runs the clients' connections; tests call it from their own threads.
pub(crate) static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    // An error means that somebody installed it before, which is as good.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

/// A caller of the service, with or without a credential.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    bearer: Option<String>,
}

impl Client {
    /// A client for a base address that trusts one PEM bundle only.
    pub(crate) fn new(base: &str, roots_pem: Option<&str>) -> Self {
        Self::build(base, roots_pem, None)
    }

    /// A client that shows a certificate (certificate chain and key, PEM) in the handshake.
    pub(crate) fn with_certificate(base: &str, roots_pem: &str, identity_pem: &str) -> Self {
        Self::build(base, Some(roots_pem), Some(identity_pem))
    }

    fn build(base: &str, roots_pem: Option<&str>, identity_pem: Option<&str>) -> Self {
        let _entered = RUNTIME.enter();
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(60));
        let roots =
            roots_pem.map_or_else(Vec::new, |pem| reqwest::Certificate::from_pem_bundle(pem.as_bytes()).unwrap());
        builder = builder.tls_certs_only(roots);
        if let Some(pem) = identity_pem {
            builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        }
        Self { http: builder.build().unwrap(), base: base.to_owned(), bearer: None }
    }

    /// The same connections with another bearer token.
    pub(crate) fn bearer(&self, token: &str) -> Self {
        Self { bearer: Some(token.to_owned()), ..self.clone() }
    }

    /// Starts a request.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.bearer {
            headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
        }
        Request {
            http: self.http.clone(),
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            url,
            headers,
            body: Vec::new(),
        }
    }

    /// Starts a GET.
    pub(crate) fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    /// Starts a POST.
    pub(crate) fn post(&self, path: &str) -> Request {
        self.request("POST", path)
    }

    /// Starts a PUT.
    pub(crate) fn put(&self, path: &str) -> Request {
        self.request("PUT", path)
    }

    /// Starts a PATCH.
    pub(crate) fn patch(&self, path: &str) -> Request {
        self.request("PATCH", path)
    }

    /// Starts a DELETE.
    pub(crate) fn delete(&self, path: &str) -> Request {
        self.request("DELETE", path)
    }
}

/// A request in the making.
#[derive(Clone)]
pub(crate) struct Request {
    http: reqwest::Client,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Request {
    /// Sets a header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        self
    }

    /// Sets a JSON body.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Sets a body.
    pub(crate) fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    /// Sends the request; `Err` when there is no HTTP answer (refused connection, failed handshake).
    pub(crate) async fn try_send(self) -> Result<Answer, String> {
        let described = format!("{} {}", self.method, self.url);
        let sent = self.http.request(self.method, &self.url).headers(self.headers).body(self.body).send().await;
        let answer = sent.map_err(|error| format!("{described}: {}", with_causes(&error)))?;
        let status = answer.status().as_u16();
        let headers = answer.headers().clone();
        let body = answer.bytes().await.map_err(|error| format!("{described}: {}", with_causes(&error)))?.to_vec();
        Ok(Answer { described, status, headers, body })
    }

    /// Sends the request and waits for the answer.
    #[track_caller]
    pub(crate) fn send(self) -> Answer {
        self.attempt().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Sends the request and waits for the answer or the failure.
    pub(crate) fn attempt(self) -> Result<Answer, String> {
        RUNTIME.block_on(self.try_send())
    }

    /// Sends the request, which must be answered with this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Answer {
        self.send().expect(status)
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    described: String,
    /// The status code.
    pub(crate) status: u16,
    headers: HeaderMap,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Fails unless the status is this.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} answered {}: {}", self.described, self.status, self.text());
        self
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{} answered no JSON ({error}): {}", self.described, self.text()))
    }

    /// A header, empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Every value of a header, in order.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    /// The `code` of a problem document, whose form is checked on the way.
    #[track_caller]
    pub(crate) fn problem_code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}: {}", self.described, self.text());
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{}: {problem}", self.described);
        for field in ["type", "title", "detail", "code", "request_id"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "no {field} in {problem}");
        }
        assert_eq!(problem["request_id"], self.header("x-request-id"), "{}", self.described);
        problem["code"].as_str().unwrap().to_owned()
    }

    /// The codes of the violations of a problem document or of a check, in order.
    #[track_caller]
    pub(crate) fn violation_codes(&self) -> Vec<String> {
        let body = self.json();
        let Some(violations) = body["violations"].as_array() else {
            return Vec::new();
        };
        violations
            .iter()
            .map(|violation| {
                for field in ["code", "field", "value", "rule", "message"] {
                    assert!(violation[field].is_string(), "no {field} in {violation}");
                }
                violation["code"].as_str().unwrap().to_owned()
            })
            .collect()
    }
}
