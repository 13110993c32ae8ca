//! Requests are signed, in one form only (RFC 8555, sections 6.2 and 6.4). Lines 6 to 11 and 22 of the checklist.

use aws_lc_rs::rsa::KeySize;
use serde_json::{Value, json};

use super::{Resources, account, service, trusted_account};
use crate::support::acme::{ALGORITHMS, AccountKey, AcmeClient, acme_error, base64url, identifiers};
use crate::support::csr::Csr;

#[test]
fn only_the_flattened_serialisation_is_taken() {
    let client = account();
    let url = client.account_url();
    let post = || client.fetch(url);
    for (name, value) in [
        ("signatures", json!([])),
        ("header", json!({})),
        ("header", json!({"kid": client.account_url()})),
        ("payload", Value::Null),
        ("protected", Value::Null),
        ("signature", Value::Null),
        ("protected", json!("")),
        ("signature", json!("")),
        ("signature", json!(1)),
        ("payload", json!({})),
    ] {
        post().member(name, value.clone()).refused(400, "malformed");
    }
    // Members that nobody knows are ignored (RFC 7515, section 7.2.1).
    post().member("extra", json!(1)).expect(200);
    let jws = post().jws();
    let text = |name: &str| jws[name].as_str().unwrap();
    let (protected, payload, signature) = (text("protected"), text("payload"), text("signature"));
    let general = json!({"payload": payload, "signatures": [{"protected": protected, "signature": signature}]});
    let several = json!({"payload": payload, "signatures": [
        {"protected": protected, "signature": signature}, {"protected": protected, "signature": signature},
    ]});
    let nested = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    for body in [
        general.to_string(),
        several.to_string(),
        format!("{protected}.{payload}.{signature}"),
        json!([protected, payload, signature]).to_string(),
        format!("[{jws}]"),
        format!("{jws}{jws}"),
        format!(r#"{{"payload":"e30",{}"#, &jws.to_string()[1..]),
        format!(r#"{{"protected":{nested}}}"#),
        nested,
        "{}".to_owned(),
        "null".to_owned(),
        String::new(),
    ] {
        let answer = client.send(url, body).expect(400);
        assert_eq!(acme_error(&answer), "malformed");
    }
    // The request that all of these were made of is a good one.
    client.send(url, jws.to_string()).expect(200);
}

#[test]
fn parameters_that_change_how_the_rest_is_read_are_refused() {
    let client = account();
    for (name, value) in [("crit", json!(["b64"])), ("crit", json!([])), ("b64", json!(false)), ("b64", json!(true))] {
        client.fetch(client.account_url()).header(name, value).refused(400, "malformed");
    }
    client.fetch(client.account_url()).header("typ", json!("jose+json")).header("x", json!({"y": []})).expect(200);
}

#[test]
fn algorithms_that_are_not_accepted_are_refused_with_those_that_are() {
    let client = account();
    for algorithm in ["none", "HS256", "HS384", "HS512", "RS384", "RS512", "PS256", "ES256K", "es256"] {
        let by_account = client.fetch(client.account_url()).header("alg", json!(algorithm));
        let by_key = client.post(&client.url("newAccount"), &json!({})).with_jwk().header("alg", json!(algorithm));
        let unsigned =
            client.fetch(client.account_url()).header("alg", json!(algorithm)).member("signature", json!(""));
        for request in [by_account, by_key, unsigned] {
            let problem = request.refused(400, "badSignatureAlgorithm");
            let listed: Vec<&str> =
                problem["algorithms"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
            assert_eq!(listed, ["ES256", "ES384", "ES512", "EdDSA", "Ed25519", "RS256"]);
        }
    }
    client.fetch(client.account_url()).header("alg", Value::Null).refused(400, "malformed");
}

#[test]
fn accounts_sign_with_keys_of_every_kind_and_no_algorithm_of_another() {
    let first = AcmeClient::new(service());
    for algorithm in ALGORITHMS {
        let mut client = first.with_key(AccountKey::with_algorithm(algorithm));
        client.register().expect(201);
        client.fetch(client.account_url()).expect(200);
        for other in ALGORITHMS {
            let is_same_curve = ["EdDSA", "Ed25519"].contains(&algorithm) && ["EdDSA", "Ed25519"].contains(&other);
            if other == algorithm || is_same_curve {
                client.fetch(client.account_url()).header("alg", json!(other)).expect(200);
            } else {
                client.fetch(client.account_url()).header("alg", json!(other)).refused(400, "badSignatureAlgorithm");
            }
        }
    }
}

#[test]
fn a_request_names_a_key_or_an_account_as_its_resource_asks() {
    let Resources { client, order, urls } = Resources::new();
    let both = client.fetch(client.account_url()).header("jwk", client.key().jwk().clone());
    both.refused(400, "malformed");
    client.fetch(client.account_url()).header("kid", Value::Null).refused(400, "malformed");
    // newAccount takes the key.
    client.post(&client.url("newAccount"), &json!({"termsOfServiceAgreed": true})).refused(400, "malformed");
    // Everything else takes the account.
    for (_, url) in &urls {
        client.fetch(url).with_jwk().refused(400, "malformed");
    }
    let payload = json!({"identifiers": identifiers(&["by-key.internal"])});
    client.post(&client.url("newOrder"), &payload).with_jwk().refused(400, "malformed");
    client.post(&client.url("keyChange"), &payload).with_jwk().refused(400, "malformed");
    client.finalization(&order, &Csr::for_dns(&["by-key.internal"]).der()).with_jwk().refused(400, "malformed");
}

#[test]
fn an_account_is_named_by_its_address() {
    let client = account();
    let url = client.account_url();
    let (base, id) = url.rsplit_once('/').unwrap();
    let number: i64 = id.parse().unwrap();
    client.fetch(url).header("kid", json!(format!("{base}/{}", number + 1))).refused(400, "accountDoesNotExist");
    for kid in [
        id.to_owned(),
        format!("/acme/accounts/{id}"),
        format!("{url}/"),
        format!("{url}?"),
        format!("{base}/0{id}"),
        format!("{base}/"),
        url.replace("https://", "http://"),
        url.replace("127.0.0.1", "localhost"),
        url.replace("/accounts/", "/orders/"),
        format!("{base}/-1"),
        format!("{base}/99999999999999999999999"),
        String::new(),
    ] {
        let answer = client.fetch(url).header("kid", json!(kid)).expect(400);
        let token = acme_error(&answer);
        assert!(["accountDoesNotExist", "malformed"].contains(&token.as_str()), "{kid}: {token}");
    }
    for kid in [json!(1), json!([url]), json!({}), json!(true)] {
        client.fetch(url).header("kid", kid).refused(400, "malformed");
    }
}

#[test]
fn the_key_of_the_account_signs_and_no_other() {
    let (client, other) = (account(), account());
    client.fetch(client.account_url()).signed_by(other.key()).refused(400, "malformed");
    let foreign = client.fetch(client.account_url()).header("kid", json!(other.account_url()));
    foreign.refused(400, "malformed");
    let carried = client.post(&client.url("newAccount"), &json!({})).with_jwk().signed_by(other.key());
    carried.refused(400, "malformed");
}

#[test]
fn bad_keys_get_no_account() {
    let client = AcmeClient::new(service());
    let url = client.url("newAccount");
    let payload = json!({"termsOfServiceAgreed": true});
    let mut off_curve = client.key().jwk().clone();
    off_curve["y"] = off_curve["x"].clone();
    for (algorithm, jwk) in [
        ("ES256", off_curve),
        ("RS256", json!({"kty": "RSA", "n": base64url([0xa5; 128]), "e": "AQAB"})),
        ("RS256", json!({"kty": "RSA", "n": base64url([0xa5; 64]), "e": "AQAB"})),
        ("RS256", json!({"kty": "RSA", "n": base64url([0xa5; 1025]), "e": "AQAB"})),
        ("RS256", json!({"kty": "RSA", "n": base64url([0xa5; 256]), "e": "Aw"})),
        ("ES256", json!({"kty": "EC", "crv": "secp256k1", "x": base64url([1; 32]), "y": base64url([1; 32])})),
        ("EdDSA", json!({"kty": "OKP", "crv": "Ed448", "x": base64url([1; 57])})),
        ("ES256", json!({"kty": "oct"})),
    ] {
        let problem =
            client.post(&url, &payload).header("alg", json!(algorithm)).header("jwk", jwk).refused(400, "badPublicKey");
        assert!(problem["detail"].as_str().unwrap().contains("P-256"), "what would be accepted: {problem}");
    }
    // One that signs well and is weak all the same: other than the ones above, nothing is wrong with the request.
    let even_larger = client.with_key(AccountKey::rsa(KeySize::Rsa3072));
    even_larger.post(&url, &payload).expect(201);
    let private = {
        let mut jwk = client.key().jwk().clone();
        jwk["d"] = json!("c2VjcmV0");
        jwk
    };
    let problem = client.post(&url, &payload).header("jwk", private).refused(400, "malformed");
    assert!(!problem.to_string().contains("c2VjcmV0"));
}

#[test]
fn a_request_comes_to_the_address_it_is_signed_for() {
    let Resources { client, order, .. } = Resources::new();
    let url = client.account_url();
    for signed in [
        order.url.clone(),
        format!("{url}/"),
        url.replace("https://", "http://"),
        url.replace("127.0.0.1", "ca.internal"),
        url.replace("https://127.0.0.1", ""),
        String::new(),
    ] {
        let answer = client.fetch(&signed).to(url).send();
        assert!(matches!(answer.status, 401 | 403), "{signed}: {}", answer.status);
        assert_eq!(acme_error(&answer), "unauthorized");
    }
    for signed in [Value::Null, json!(1), json!([url])] {
        client.fetch(url).header("url", signed).refused(400, "malformed");
    }
    // A proxy that nobody has configured may say what it likes.
    client
        .fetch(url)
        .http_header("x-forwarded-proto", "http")
        .http_header("x-forwarded-host", "ca.internal")
        .expect(200);
}

#[test]
fn base64url_has_one_form_everywhere() {
    let client = trusted_account(service());
    let url = client.account_url();
    let jws = client.fetch(url).jws();
    for name in ["protected", "signature"] {
        let text = jws[name].as_str().unwrap();
        for wrong in [
            format!("{text}="),
            format!("{text}=="),
            format!("{text}\n"),
            format!("{}+", &text[1..]),
            format!("{}/", &text[1..]),
        ] {
            client.fetch(url).member(name, json!(wrong)).refused(400, "malformed");
        }
    }
    for wrong in ["e30=", "e30\n", "e+/0", " "] {
        client.post(url, &json!({})).member("payload", json!(wrong)).refused(400, "malformed");
    }
    // In the payload of finalize and of revokeCert as well.
    let order = client.new_order(&["base64.internal"]);
    let csr = Csr::for_dns(&["base64.internal"]).der();
    let standard = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(&csr)
    };
    let finalize = order.body["finalize"].as_str().unwrap();
    for wrong in
        [format!("{}=", base64url(&csr)), format!("{standard}=="), format!("{}\n", base64url(&csr)), "%%%%".to_owned()]
    {
        let answer = client.post(finalize, &json!({"csr": wrong})).expect(400);
        assert!(["malformed", "badCSR"].contains(&acme_error(&answer).as_str()), "{}", answer.text());
    }
    assert_eq!(client.read(&order.url)["status"], "ready", "a CSR that cannot be read spoils no order");
    for wrong in ["AAAA=", "AA+/", "\n"] {
        client.post(&client.url("revokeCert"), &json!({"certificate": wrong})).refused(400, "malformed");
    }
}

#[test]
fn no_octet_of_a_request_can_be_changed() {
    let client = account();
    let url = client.url("newOrder");
    let payload = json!({"identifiers": identifiers(&["flipped.internal"])});
    let good = client.post(&url, &payload).jws().to_string().into_bytes();
    let mut changed = good.clone();
    for place in 0..good.len() {
        for bit in [1, 0x20, 0x80] {
            changed[place] ^= bit;
            let answer = client.http().post(&url).body(crate::support::acme::JOSE, changed.clone()).send();
            assert!((400..500).contains(&answer.status), "octet {place}: {} {}", answer.status, answer.text());
            acme_error(&answer);
            changed[place] = good[place];
        }
    }
    let listed = client.read(&format!("{}/orders", client.account_url()));
    assert_eq!(listed["orders"], json!([]), "nothing was ordered");
    // And none of it has used up the nonce.
    client.send(&url, good).expect(201);
}
