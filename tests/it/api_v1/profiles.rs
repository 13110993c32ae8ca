//! `/api/v1/profiles`: versioned objects.

use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::support::csr::Csr;
use crate::support::service::{Database, Service, issue_with, unique};

#[test]
fn the_default_profiles_are_as_documented() {
    let service = Service::start(Database::Sqlite);
    let listed = service.administrator().get("/api/v1/profiles").expect(200).json();
    assert_json_snapshot!(listed, { ".items[].created_at" => "[time]" });
}

#[test]
fn each_change_is_a_version_and_certificates_keep_theirs() {
    for database in Database::ALL {
        let client = Service::shared(database).administrator();
        let name = unique("versioned");
        let path = format!("/api/v1/profiles/{name}");
        let first = json!({"dns": {"allow": ["**.internal"]}});
        let created = client.put(&path).json(&first).expect(201);
        assert_eq!((created.header("etag"), &created.json()["version"]), ("\"1\"", &json!(1)));
        assert_eq!(
            client.put(&path).json(&first).expect(200).json()["version"],
            1,
            "an equal document changes nothing"
        );
        let body = json!({"csr": Csr::for_dns(&["a.internal"]).pem(), "profile": name});
        let old = issue_with(&client, &body);
        let second = json!({"dns": {"allow": ["*.internal"]}, "validity": {"default": "5d"}});
        client.put(&path).json(&second).header("if-match", "\"7\"").expect(409);
        assert_eq!(client.put(&path).json(&second).header("if-match", "\"1\"").expect(200).header("etag"), "\"2\"");
        let new = issue_with(&client, &body);
        assert_eq!((&old["profile_version"], &new["profile_version"]), (&json!(1), &json!(2)));
        assert_eq!(
            client.get(&format!("{path}?version=1")).expect(200).json()["document"]["dns"]["allow"],
            json!(["**.internal"])
        );
        client.delete(&path).expect(204);
        assert_eq!(client.get(&path).expect(404).problem_code(), "not_found");
        client.get(&format!("{path}?version=2")).expect(200);
        assert_eq!(client.post("/api/v1/certificates").json(&body).expect(404).problem_code(), "not_found");
        client.delete(&path).expect(404);
    }
}

#[test]
fn documents_that_make_no_sense_are_refused() {
    let client = Service::shared(Database::Sqlite).administrator();
    let put = |name: &str, document: &Value| client.put(&format!("/api/v1/profiles/{name}")).json(document).send();
    for document in [
        json!({"colour": "red"}),
        json!({"name": "other"}),
        json!({"keys": []}),
        json!({"keys": ["rsa-1024"]}),
        json!({"keys": ["dsa"]}),
        json!({"key_usage": ["sign_everything"]}),
        json!({"key_usage": ["key_cert_sign"]}),
        json!({"validity": {"default": "10d", "maximum": "5d"}}),
        json!({"validity": {"default": "soon"}}),
        json!({"dns": {"allow": ["a..b"]}}),
        json!({"dns": {"allow": ["**"], "colour": 1}}),
        json!({"ip": {"allow": ["10.0.0.0/33"]}}),
        json!({"certificate_policies": ["no-oid"]}),
        json!({"subject": {"common_name": "maybe"}}),
        json!({"ignore_extensions": ["x"]}),
    ] {
        let answer = put("nonsense", &document);
        assert_eq!(
            (answer.status, answer.problem_code().as_str()),
            (400, "malformed"),
            "{document}: {}",
            answer.text()
        );
    }
    for name in ["Upper", "-x", "1x", "a_b"] {
        let answer = put(name, &json!({"dns": {"allow": ["**.internal"]}}));
        assert_eq!(answer.status, 400, "{name}: {}", answer.text());
    }
    let unknown_issuer = put("lost", &json!({"issuer": "nobody", "dns": {"allow": ["**.internal"]}}));
    assert_eq!(unknown_issuer.status, 409, "{}", unknown_issuer.text());
    assert_eq!(client.get("/api/v1/profiles/nonsense").expect(404).problem_code(), "not_found");
}

/// Every part of a profile shows in the certificate.
#[test]
fn what_the_profile_writes_is_in_the_certificate() {
    let client = Service::shared(Database::Sqlite).administrator();
    let name = unique("full");
    let document = json!({
        "validity": {"default": "10d", "backdate": "1h"},
        "key_usage": ["digital_signature", "content_commitment"],
        "extended_key_usage": {"required": ["server_auth"], "allowed": ["server_auth", "client_auth", "1.3.6.1.4.1.99999.7"]},
        "subject": {"common_name": "optional", "allowed": ["organization"], "fixed": {"country": "DE"}},
        "certificate_policies": ["2.23.140.1.2.1", "1.3.6.1.4.1.99999.8"],
        "must_staple": "required",
        "ignore_extensions": ["1.3.6.1.4.1.99999.9"],
        "dns": {"allow": ["**.internal"], "underscores": true},
    });
    client.put(&format!("/api/v1/profiles/{name}")).json(&document).expect(201);
    let usages = [crate::support::der::oid("1.3.6.1.5.5.7.3.2"), crate::support::der::oid("1.3.6.1.4.1.99999.7")];
    let csr = Csr::for_dns(&["_service.internal"])
        .common_name_and_organization("x", "Example")
        .extension("2.5.29.37", false, &crate::support::der::wrap(0x30, &usages))
        .extension("1.3.6.1.4.1.99999.9", false, &[5, 0]);
    let record = issue_with(&client, &json!({"csr": csr.pem(), "profile": name}));
    let scratch = crate::support::tools::Scratch::new();
    let file = scratch.write("certificate.pem", record["certificate"].as_str().unwrap());
    let text = crate::support::tools::openssl(&format!("x509 -in {} -noout -text", file.display()));
    for part in [
        "Digital Signature, Non Repudiation",
        "TLS Web Server Authentication, TLS Web Client Authentication, 1.3.6.1.4.1.99999.7",
        "C = DE",
        "O = Example",
        "Policy: 2.23.140.1.2.1",
        "Policy: 1.3.6.1.4.1.99999.8",
        "status_request",
        "DNS:_service.internal",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains("99999.9:"), "an ignored extension was written: {text}");
}

/// What the check says, issuance does: a certificate for servers needs a name even where the profile does not ask for one.
#[test]
fn a_server_certificate_without_a_name_is_refused_by_check_and_issue_alike() {
    let client = Service::shared(Database::Sqlite).administrator();
    let name = unique("nameless");
    let document = json!({"extended_key_usage": {"required": ["server_auth"]}, "dns": {"allow": ["**"]}});
    client.put(&format!("/api/v1/profiles/{name}")).json(&document).expect(201);
    let body = json!({"csr": Csr::new().common_name("localhost").pem(), "profile": name});
    let checked = client.post("/api/v1/certificates/check").json(&body).expect(200).json();
    assert_eq!(checked["violations"][0]["code"], "names_required", "{checked}");
    assert_eq!(client.post("/api/v1/certificates").json(&body).expect(422).violation_codes(), ["names_required"]);
}

/// The configuration file is the whole truth about its profiles.
#[test]
fn a_profile_taken_out_of_the_configuration_file_is_gone_after_a_restart() {
    for database in Database::ALL {
        let with = "[[profiles]]\nname = \"extra\"\n[profiles.dns]\nallow = [\"**.internal\"]\n";
        let mut service = Service::configured(database, with, &[]);
        let document = service.administrator().get("/api/v1/profiles/extra").expect(200).json();
        assert_eq!(document["origin"], "configuration", "{document}");
        service.administrator().delete("/api/v1/profiles/extra").expect(409);
        assert!(service.stop().success());
        let file =
            service.data().ancestors().map(|path| path.join("chancery.toml")).find(|path| path.exists()).unwrap();
        std::fs::write(file, "").unwrap();
        service.restart();
        let client = service.administrator();
        client.get("/api/v1/profiles/extra").expect(404);
        let body = json!({"csr": Csr::for_dns(&["gone.internal"]).pem(), "profile": "extra"});
        client.post("/api/v1/certificates").json(&body).expect(404);
        client.get("/api/v1/profiles/server").expect(200);
    }
}
