//! Bodies that are not requests: syntax, encoding, media types, sizes, fields, and CSRs that prove nothing.

use serde_json::json;

use super::Table;
use crate::support::csr::{Csr, Key};
use crate::support::der;

const RAW: &str = "/api/v1/certificates?profile=server";

pub(super) fn rows(table: &mut Table<'_>) {
    raw(table);
    forged(table);
    fields(table);
}

fn raw(table: &mut Table<'_>) {
    let client = table.administrator.clone();
    let good = Csr::for_dns(&["good.internal"]).der();
    let good_pem = der::pem("CERTIFICATE REQUEST", &good);
    let mut octets = |what: &str, body: Vec<u8>| {
        table.add(what, client.post(RAW).body("application/pkcs10", body), 400, "bad_csr");
    };
    octets("text instead of a request", b"please sign".to_vec());
    octets("PEM of something else", good_pem.replace("CERTIFICATE REQUEST", "CERTIFICATE").into_bytes());
    octets("PEM whose end is missing", good_pem.as_bytes()[..good_pem.len() / 2].to_vec());
    octets("PEM with a character that is not base64", good_pem.replacen("\nM", "\n*", 1).into_bytes());
    octets("two requests in one body", format!("{good_pem}{good_pem}").into_bytes());
    octets("half a request", good[..good.len() / 2].to_vec());
    octets("a request and another octet", Csr::for_dns(&["good.internal"]).trailing(&[0]).der());
    octets("a request of version 2", Csr::for_dns(&["good.internal"]).version(1).der());
    octets("indefinite length, which is BER", [&[0x30, 0x80], &good[4..], &[0, 0]].concat());
    octets("an empty sequence", vec![0x30, 0]);
    octets("a length far beyond the end", vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff]);
    octets("a thousand nested sequences", b"\x30\x80".repeat(1000));
    let name = der::wrap(der::SEQUENCE, &[der::tlv(der::NAME_DNS, b"twice.internal")]);
    octets("the same extension twice", Csr::for_dns(&["good.internal"]).extension("2.5.29.17", false, &name).der());
    octets("an extension that is not what it says", Csr::new().extension("2.5.29.17", false, b"\x30\x05\x82").der());

    let long = vec![b'A'; 70 * 1024];
    table.add("a CSR over 64 KiB", client.post(RAW).body("application/pkcs10", long.clone()), 413, "payload_too_large");
    let body = json!({"csr": String::from_utf8(long).unwrap(), "profile": "server"});
    table.add("a CSR over 64 KiB in JSON", client.post("/api/v1/certificates").json(&body), 413, "payload_too_large");
    table.add(
        "an unknown media type",
        client.post(RAW).body("application/xml", "<csr/>"),
        415,
        "unsupported_media_type",
    );
}

/// Requests whose signature does not prove that the caller has the key.
fn forged(table: &mut Table<'_>) {
    let client = table.administrator.clone();
    let key = Key::new();
    let good = Csr::for_dns(&["good.internal"]).der_with(&key);
    let mut flipped = |what: &str, index: usize| {
        let mut body = good.clone();
        body[index] ^= 1;
        table.add(what, client.post(RAW).body("application/pkcs10", body), 400, "bad_csr");
    };
    let name = good.windows(13).position(|window| window == b"good.internal").unwrap();
    flipped("a flipped bit in the signature", good.len() - 3);
    flipped("a flipped bit in the name", name);
    let spki = key.spki();
    let other = Csr::for_dns(&["good.internal"]).der_signed_by(spki, &Key::new());
    table.add("signed with another key", client.post(RAW).body("application/pkcs10", other), 400, "bad_csr");
    let swapped = {
        // The honest signature over other content, as somebody would send who saw a request pass by.
        let mut body = good.clone();
        let at = body.windows(13).position(|window| window == b"good.internal").unwrap();
        body[at..at + 13].copy_from_slice(b"evil.internal");
        body
    };
    table.add(
        "a stolen request with another name",
        client.post(RAW).body("application/pkcs10", swapped),
        400,
        "bad_csr",
    );
}

fn fields(table: &mut Table<'_>) {
    let client = table.administrator.clone();
    let csr = Csr::for_dns(&["good.internal"]).pem();
    let mut text = |what: &str, body: String| {
        table.add(what, client.post("/api/v1/certificates").body("application/json", body), 400, "malformed");
    };
    text("no JSON", "{".to_owned());
    text("JSON and something behind it", json!({"csr": csr, "profile": "server"}).to_string() + "x");
    text("JSON that is not an object", "[]".to_owned());
    text("no body", String::new());
    text("text that is not UTF-8 escaped", "{\"csr\": \"\\ud800\"}".to_owned());
    text("without a CSR", json!({"profile": "server"}).to_string());
    text("without a profile", json!({"csr": csr}).to_string());
    text("an unknown field", json!({"csr": csr, "profile": "server", "colour": "red"}).to_string());
    text("a misspelt field", json!({"csr": csr, "profile": "server", "validty": "1d"}).to_string());
    text("a field twice", format!("{{\"csr\": {0}, \"profile\": \"client\", \"profile\": \"server\"}}", json!(csr)));
    text("a number as profile", json!({"csr": csr, "profile": 5}).to_string());
    text("nested a thousand deep", format!("{}{}", "{\"labels\":".repeat(1000), "}".repeat(1000)));
    text("a duration without unit", json!({"csr": csr, "profile": "server", "validity": "90"}).to_string());
    text("a negative duration", json!({"csr": csr, "profile": "server", "validity": "-1d"}).to_string());
    text(
        "a time without zone",
        json!({"csr": csr, "profile": "server", "not_after": "2030-01-01T00:00:00"}).to_string(),
    );
    let both = json!({"csr": csr, "profile": "server", "validity": "1d", "not_after": "2030-01-01T00:00:00Z"});
    text("two ends of validity", both.to_string());
    let typed = json!({"csr": csr, "profile": "server", "subject_alt_names": [{"type": "other", "value": "x"}]});
    text("an unknown type of name", typed.to_string());
    let labels: serde_json::Map<String, serde_json::Value> =
        (0..33).map(|number| (format!("label-{number}"), json!("x"))).collect();
    text("33 labels", json!({"csr": csr, "profile": "server", "labels": labels}).to_string());
    let label = json!({"csr": csr, "profile": "server", "labels": {"a": "x".repeat(256)}});
    text("a label of 256 characters", label.to_string());

    let good = json!({"csr": csr, "profile": "server"});
    let post = |path: &str| client.post(path).json(&good);
    table.add("an unknown query parameter", post("/api/v1/certificates?dry_run=true"), 400, "malformed");
    table.add(
        "an idempotency key of 256 characters",
        post("/api/v1/certificates").header("idempotency-key", &"k".repeat(256)),
        400,
        "malformed",
    );
    table.add("a method that is not there", client.put("/api/v1/certificates").json(&good), 405, "method_not_allowed");
    let unknown = json!({"csr": csr, "profile": "sever"});
    table.add("an unknown profile", client.post("/api/v1/certificates").json(&unknown), 404, "not_found");
    let unknown = json!({"csr": csr, "profile": "server", "issuer": "other"});
    table.add("an unknown issuer", client.post("/api/v1/certificates").json(&unknown), 404, "not_found");
    let nul = json!({"csr": csr, "profile": "server\u{0}"});
    table.add("NUL in the profile", client.post("/api/v1/certificates").json(&nul), 404, "not_found");
}
