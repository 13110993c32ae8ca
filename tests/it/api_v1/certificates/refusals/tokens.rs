//! JSON Web Tokens that must not be believed: expired, of others, unsigned, key-confused, changed.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Table;
use crate::support::csr::{Csr, Key};
use crate::support::der;
use crate::support::service::Service;

/// A service that believes one provider, with one key, for one audience, by one algorithm.
pub(super) const CONFIGURATION: &str = r#"
[[authentication.jwt]]
name = "sso"
issuer = "https://sso.internal"
audience = ["chancery"]
algorithms = ["ES256"]
public_key_file = "{dir}/sso.pem"
leeway = "5s"

[[authentication.jwt.rules]]
claims = { groups = "pki" }
role = "operator"
"#;

static KEY: LazyLock<Key> = LazyLock::new(Key::new);
static PUBLIC_KEY: LazyLock<String> = LazyLock::new(|| der::pem("PUBLIC KEY", &KEY.spki()));

/// The files that the configuration names.
pub(super) fn files() -> [(&'static str, &'static str); 1] {
    [("sso.pem", PUBLIC_KEY.as_str())]
}

/// A token that is believed.
pub(super) fn good(_service: &Service) -> String {
    signed(&json!({"alg": "ES256", "typ": "JWT"}), &claims(), &KEY)
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn claims() -> Value {
    json!({"iss": "https://sso.internal", "aud": "chancery", "sub": "somebody", "groups": ["pki"], "iat": now(), "exp": now() + 600})
}

fn with(name: &str, value: Value) -> Value {
    let mut all = claims();
    all[name] = value;
    all
}

fn without(name: &str) -> Value {
    let mut all = claims();
    all.as_object_mut().unwrap().remove(name);
    all
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Signs with ECDSA; JWS wants the two numbers side by side, 32 octets each (RFC 7518, section 3.4).
fn signed(header: &Value, claims: &Value, key: &Key) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = fixed_length(&key.sign(message.as_bytes()));
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn fixed_length(der_signature: &[u8]) -> Vec<u8> {
    let mut rest = &der_signature[2..];
    let mut out = Vec::new();
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let significant = &number[number.len().saturating_sub(32)..];
        out.extend(vec![0; 32 - significant.len()]);
        out.extend_from_slice(significant);
        rest = &rest[2 + length..];
    }
    out
}

fn by_secret(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

pub(super) fn rows(table: &mut Table<'_>) {
    let header = json!({"alg": "ES256", "typ": "JWT"});
    let good = good(table.service);
    let parts: Vec<&str> = good.split('.').collect();
    let hour = 3600;
    let tokens = [
        ("an expired token", signed(&header, &with("exp", json!(now() - 60)), &KEY)),
        ("a token without end", signed(&header, &without("exp"), &KEY)),
        ("a token whose end is text", signed(&header, &with("exp", json!("tomorrow")), &KEY)),
        ("a token of the future", signed(&header, &with("nbf", json!(now() + hour)), &KEY)),
        ("another issuer", signed(&header, &with("iss", json!("https://sso.example.org")), &KEY)),
        ("no issuer", signed(&header, &without("iss"), &KEY)),
        ("another audience", signed(&header, &with("aud", json!("elsewhere")), &KEY)),
        ("no audience", signed(&header, &without("aud"), &KEY)),
        ("no subject", signed(&header, &without("sub"), &KEY)),
        ("a foreign key", signed(&header, &claims(), &Key::new())),
        ("the algorithm `none`", format!("{}.{}.", encode(&json!({"alg": "none"})), encode(&claims()))),
        ("the algorithm `None`, signed", format!("{}.{}.{}", encode(&json!({"alg": "None"})), parts[1], parts[2])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("another payload under a good signature", {
            let elevated = encode(&with("sub", json!("administrator")));
            format!("{}.{elevated}.{}", parts[0], parts[2])
        }),
        (
            "the public key as shared secret",
            by_secret(&json!({"alg": "HS256", "typ": "JWT"}), &claims(), PUBLIC_KEY.as_bytes()),
        ),
        ("the key's DER as shared secret", by_secret(&json!({"alg": "HS256"}), &claims(), &KEY.spki())),
        ("a shared secret under ES256", by_secret(&header, &claims(), PUBLIC_KEY.as_bytes())),
        ("an algorithm that is not listed", {
            let other = encode(&json!({"alg": "RS256", "typ": "JWT"}));
            format!("{other}.{}.{}", parts[1], parts[2])
        }),
        ("a key of the token's own", {
            let own = Key::new();
            let header = json!({"alg": "ES256", "jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, "jku": "https://sso.example.org/keys"});
            signed(&header, &claims(), &own)
        }),
        (
            "a critical header that nobody understands",
            signed(&json!({"alg": "ES256", "crit": ["x"], "x": 1}), &claims(), &KEY),
        ),
        ("no group that a rule knows", signed(&header, &with("groups", json!(["others"])), &KEY)),
    ];
    let body = json!({"csr": Csr::for_dns(&["good.internal"]).pem(), "profile": "server"});
    for (what, token) in tokens {
        let request = table.service.anonymous().bearer(&token).post("/api/v1/certificates").json(&body);
        table.add(what, request, 401, "unauthenticated");
    }
}
