//! What is refused of issuers because nothing that they sign would be worth anything, because the caller may not, or because it would pass for
//! another CA; and the words in which it is.

use serde_json::{Value, json};

use super::creation::{below, root};
use super::outside::OfflineRoot;
use crate::support::service::{Database, Service, unique};
use crate::support::tools::{Scratch, openssl};

const AUTHORITY: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n";

/// Makes a root with OpenSSL: its certificate and its key, PEM.
fn openssl_root(subject: &str, key_options: &str, more: &str) -> (String, String) {
    let scratch = Scratch::new();
    let (key, certificate) = (scratch.file("key").display().to_string(), scratch.file("crt").display().to_string());
    openssl(&format!("genpkey {key_options} -out {key}"));
    openssl(&format!("req -x509 -new -key {key} -days 3650 -subj {subject} -out {certificate} {more}"));
    (scratch.read("crt"), scratch.read("key"))
}

const P256: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";

/// An issuer that waits for its certificate: its name and its request.
fn waiting(client: &crate::support::client::Client) -> (String, String) {
    let name = unique("waiting");
    let body = json!({"kind": "subordinate", "name": name, "outside": true, "subject": format!("CN={name}")});
    client.post("/api/v1/issuers").json(&body).expect(201);
    let csr = client.get(&format!("/api/v1/issuers/{name}/csr")).expect(200).text();
    (name, csr)
}

#[test]
fn grants_bound_imports_and_the_chains_that_issuers_get() {
    let service = Service::shared(Database::Sqlite);
    let client = service.administrator();
    let (signing, other) = (root(&client), root(&client));
    let confined = service.with_grants("administrator", &json!({"issuers": [signing["name"]]}));
    let (certificate, key) = openssl_root("/CN=Ungranted", P256, "");
    let body = json!({"kind": "import", "name": unique("ungranted"), "certificate": certificate, "private_key": key});
    assert_eq!(confined.post("/api/v1/issuers").json(&body).expect(403).problem_code(), "forbidden");
    let path = format!("/api/v1/issuers/{}/cross-sign", signing["name"].as_str().unwrap());
    let body = json!({"certificate": other["certificate"], "validity": "30d"});
    assert_eq!(confined.post(&path).json(&body).expect(403).problem_code(), "forbidden");
    client.post(&path).json(&body).expect(201);
}

#[test]
fn no_other_ca_may_have_the_name_of_an_issuer() {
    let client = Service::shared(Database::Sqlite).administrator();
    let signing = root(&client);
    let path = format!("/api/v1/issuers/{}/cross-sign", signing["name"].as_str().unwrap());
    let other = unique("other");
    let body = json!({"kind": "root", "name": other, "subject": format!("CN={other}")});
    client.post("/api/v1/issuers").json(&body).expect(201);
    let (pending, _csr) = waiting(&client);
    for name in [other, pending.clone()] {
        let (certificate, _key) = openssl_root(&format!("/CN={name}"), P256, "");
        let answer = client.post(&path).json(&json!({"certificate": certificate, "validity": "30d"})).expect(400);
        assert!(answer.text().contains(&format!("is the subject of the issuer `{name}` here")), "{}", answer.text());
    }
    let body = json!({"kind": "root", "name": unique("same"), "subject": format!("CN={pending}")});
    assert!(client.post("/api/v1/issuers").json(&body).expect(422).text().contains("subject_not_unique"));
}

#[test]
fn a_certificate_that_verifiers_reject_makes_no_issuer_active() {
    let client = Service::shared(Database::Sqlite).administrator();
    let offline = OfflineRoot::new();
    let (name, csr) = waiting(&client);
    let put = |body: String| {
        let request = client.put(&format!("/api/v1/issuers/{name}/certificate"));
        request.body("application/pem-certificate-chain", body).expect(400).text()
    };
    let unknown = offline.sign(&csr, 100, Some(&format!("{AUTHORITY}1.2.3.4=critical,ASN1:NULL\n")));
    let answer = put(format!("{unknown}{}", offline.pem()));
    assert!(answer.contains("the critical extension `1.2.3.4`"), "{answer}");
    let scratch = Scratch::new();
    scratch.write("csr", &csr);
    scratch.write("ext", AUTHORITY);
    let file = |name: &str| scratch.file(name).display().to_string();
    openssl(&format!(
        "x509 -req -sha1 -in {} -CA {} -CAkey {} -passin file:{} -days 100 -extfile {} -set_serial 77 -out {}",
        file("csr"),
        offline.path("root.pem"),
        offline.path("root.key"),
        offline.path("pass"),
        file("ext"),
        file("sha1")
    ));
    let answer = put(format!("{}{}", scratch.read("sha1"), offline.pem()));
    assert!(answer.contains("cannot be taken") && answer.to_lowercase().contains("sha1"), "{answer}");
    // A root that has ended.
    openssl(&format!(
        "x509 -in {} -signkey {} -passin file:{} -days -1 -out {}",
        offline.path("root.pem"),
        offline.path("root.key"),
        offline.path("pass"),
        file("ended")
    ));
    let sound = offline.sign(&csr, 100, Some(AUTHORITY));
    let answer = put(format!("{sound}{}", scratch.read("ended")));
    assert!(answer.contains("`CN=Offline-Root` is valid from") && answer.contains("not now"), "{answer}");
    let answer = put("x".to_owned());
    assert!(answer.contains("neither PEM") && answer.contains("BEGIN CERTIFICATE"), "{answer}");
    assert_eq!(client.get(&format!("/api/v1/issuers/{name}")).expect(200).json()["pending"], true);
}

#[test]
fn policies_of_three_arcs_are_kept_and_nothing_is_asked_for_twice() {
    let client = Service::shared(Database::Sqlite).administrator();
    let parent = root(&client);
    let made = below(&client, parent["name"].as_str().unwrap(), &json!({"certificate_policies": ["1.2.3", "2.5.29"]}));
    let scratch = Scratch::new();
    let file = scratch.write("ca", made["certificate"].as_str().unwrap()).display().to_string();
    assert!(openssl(&format!("x509 -in {file} -noout -text")).contains("Policy: 1.2.3"));
    let name = unique("twice");
    for (field, value) in [("certificate_policies", "1.2.3"), ("extended_key_usage", "server_auth")] {
        let body = json!({"kind": "root", "name": name, "subject": format!("CN={name}"), field: [value, value]});
        let answer = client.post("/api/v1/issuers").json(&body).expect(400).text();
        assert!(answer.contains(&format!("`{field}` has `{value}` more than once")), "{answer}");
    }
}

#[test]
fn a_ca_below_whose_permitted_names_could_never_pass_is_refused() {
    let client = Service::shared(Database::Sqlite).administrator();
    let name = unique("narrow");
    let permitted = |dns: &str| json!({"permitted": {"dns": [dns]}});
    let body = json!({
        "kind": "root", "name": name, "subject": format!("CN={name}"), "name_constraints": permitted("example.internal"),
    });
    client.post("/api/v1/issuers").json(&body).expect(201);
    let child = unique("child");
    let mut body = json!({
        "kind": "subordinate", "name": child, "parent": name, "subject": format!("CN={child}"),
        "name_constraints": permitted("other.com"),
    });
    let answer = client.post("/api/v1/issuers").json(&body).expect(422).text();
    assert!(answer.contains("no DNS name could ever pass"), "{answer}");
    body["name_constraints"] = permitted("a.example.internal");
    client.post("/api/v1/issuers").json(&body).expect(201);
}

#[test]
fn errors_name_the_field_and_what_would_be_accepted_without_words_of_rust() {
    let client = Service::shared(Database::Sqlite).administrator();
    let cases: [(Value, &str); 7] = [
        (json!({"path_length": -1}), "expected a whole number from 0 to 255 (at `path_length`)"),
        (
            json!({"key": {"storage": "shoe"}}),
            "unknown value `shoe`; known are `database`, `file`, `pkcs11` (at `key.storage`)",
        ),
        (json!({"state": "retired"}), "unknown value `retired`; known are `active` or `staged` (at `state`)"),
        (json!({"key": [1]}), "(at `key"),
        (json!({"subject": 5}), "expected text (at `subject`)"),
        (json!({"colour": 5}), "unknown field `colour`; known are"),
        (json!({"kind": "leaf"}), "unknown value `leaf`; known are `root`, `subordinate`, `import` (at `kind`)"),
    ];
    for (more, expected) in cases {
        let mut body = json!({"kind": "root", "name": "words", "subject": "CN=Words"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = client.post("/api/v1/issuers").json(&body).expect(400).text();
        assert!(answer.contains(expected), "{expected}: {answer}");
        for word in ["u8", "variant", "struct", "elements", "enum "] {
            assert!(!answer.contains(word), "{word}: {answer}");
        }
    }
}

#[test]
fn an_import_says_which_key_is_not_supported_and_warns_of_a_missing_key_usage() {
    let client = Service::shared(Database::Sqlite).administrator();
    let import = |(certificate, key): (String, String)| {
        let body = json!({"kind": "import", "name": unique("old"), "certificate": certificate, "private_key": key});
        client.post("/api/v1/issuers").json(&body)
    };
    let name = unique("Old");
    let odd = openssl_root(&format!("/CN={name}"), "-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1", "");
    let answer = import(odd).expect(400).text();
    assert!(answer.contains("not supported") && !answer.contains("did not sign itself"), "{answer}");
    let plain = import(openssl_root(&format!("/CN={name}"), P256, "")).expect(201).json();
    assert!(plain["warnings"][0].as_str().unwrap().contains("has no key usage"), "{plain}");
}

#[test]
fn what_one_replica_made_the_other_finds_at_once() {
    let url = crate::support::new_postgres_database();
    let settings = [
        ("CHANCERY__DATABASE__URL", url.as_str()),
        ("CHANCERY__KEYS__KEY_ENCRYPTION_KEY", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
    ];
    let services = [(); 2].map(|()| Service::start_with(Database::Sqlite, &settings));
    let [first, second] = services.each_ref().map(Service::administrator);
    for round in 0..5 {
        let name = format!("made-{round}");
        let path = format!("/api/v1/issuers/{name}");
        let body = json!({"kind": "root", "name": name, "subject": format!("CN={name}"), "path_length": 2});
        first.post("/api/v1/issuers").json(&body).expect(201);
        if round % 2 == 0 {
            second.get(&path).expect(200);
        } else {
            second.get(&format!("{path}/chain")).expect(200);
        }
        let below = format!("below-{round}");
        let body = json!({"kind": "subordinate", "name": below, "outside": true, "subject": format!("CN={below}")});
        second.post("/api/v1/issuers").json(&body).expect(201);
        let request = first.put(&format!("/api/v1/issuers/{below}/certificate"));
        // It knows the issuer, and that the certificate is not for it.
        request.body("application/x-pem-file", OfflineRoot::new().pem()).expect(400);
    }
    first.get("/api/v1/issuers/nobody").expect(404);
}
