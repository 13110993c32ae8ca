//! Keys and signatures that are weak, outdated, unlisted or blocked. The requests were made once and committed; see `tests/fixtures/refused_csr/make.py`.

use serde_json::json;

use super::Table;
use crate::support::csr::{Csr, Key};
use crate::support::service::issue_with;
use crate::support::tools::fixture;

pub(super) fn rows(table: &mut Table<'_>) {
    let read = |name: &str| std::fs::read_to_string(fixture(&format!("refused_csr/{name}.pem"))).unwrap();
    for (name, violations) in [
        ("rsa-1024", ["key_too_small"].as_slice()),
        ("rsa-9216", &["key_too_large"]),
        ("rsa-2560", &["key_not_allowed"]),
        ("rsa-2048-exponent-3", &["key_exponent"]),
        ("rsa-2048-close-primes", &["key_close_primes"]),
        ("rsa-2048-small-factor", &["key_small_factor"]),
        ("rsa-2048-roca", &["key_roca"]),
        ("ecdsa-p521", &["key_not_allowed"]),
        ("ecdsa-p224", &["key_not_allowed"]),
        ("ecdsa-secp256k1", &["key_not_allowed"]),
        ("ecdsa-p256-explicit", &["key_not_allowed"]),
        ("ed448", &["key_not_allowed"]),
        ("dsa-2048", &["key_not_allowed"]),
    ] {
        table.violates(name, &json!({"csr": read(name), "profile": "server"}), violations);
    }
    for name in ["rsa-2048-md5", "rsa-2048-sha1", "ecdsa-p256-sha1"] {
        let request =
            table.administrator.post("/api/v1/certificates").json(&json!({"csr": read(name), "profile": "server"}));
        table.add(name, request, 400, "bad_csr");
    }

    let key = Key::new();
    let body = json!({"csr": Csr::for_dns(&["compromised.internal"]).pem_with(&key), "profile": "server"});
    let record = issue_with(&table.administrator, &body);
    let path = format!("/api/v1/certificates/{}/revoke", record["serial"].as_str().unwrap());
    table.administrator.post(&path).json(&json!({"reason": "key_compromise"})).expect(200);
    let again = json!({"csr": Csr::for_dns(&["other.internal"]).pem_with(&key), "profile": "server"});
    table.violates("a key that was revoked as compromised", &again, &["key_blocked"]);
    let renewal = format!("/api/v1/certificates/{}/renew", record["serial"].as_str().unwrap());
    table.add("renewal of a revoked certificate", table.administrator.post(&renewal).json(&json!({})), 409, "conflict");
}
