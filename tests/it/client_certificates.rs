//! Callers that show a TLS client certificate: who they are, what they may, and when they are refused.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::csr::{Csr, Key};
use crate::support::service::{Database, Service, issue_with};
use crate::support::tools::{Scratch, openssl};

const CONFIGURATION: &str = r#"
[[authentication.client_certificates]]
name = "deployer"
ca = "issuer:issuing"
subject_alt_names = ["deployer.internal", "spiffe://cluster.internal/ns/deploy/**"]
role = "requester"
grants = { profiles = ["server"] }
"#;

/// Issues a certificate and returns its record and what a client shows: chain and key, PEM.
fn identity(service: &Service, csr: &Csr, profile: &str) -> (Value, String) {
    let key = Key::new();
    let record = issue_with(&service.administrator(), &json!({"csr": csr.pem_with(&key), "profile": profile}));
    let shown =
        format!("{}{}{}", record["certificate"].as_str().unwrap(), record["chain"][0].as_str().unwrap(), key.to_pem());
    (record, shown)
}

fn client(service: &Service, identity: &str) -> Client {
    Client::with_certificate(service.api(), &service.root_pem(), identity)
}

#[test]
fn a_client_certificate_is_a_credential_until_it_is_revoked() {
    for database in Database::ALL {
        let service = Service::configured(database, CONFIGURATION, &[]);
        let (record, shown) = identity(&service, &Csr::for_dns(&["deployer.internal"]), "client");
        let deployer = client(&service, &shown);
        let me = deployer.get("/api/v1/whoami").expect(200).json();
        assert_eq!((&me["method"], &me["role"]), (&json!("client_certificate"), &json!("requester")), "{me}");
        let principal = me["principal"].as_str().unwrap();
        assert!(principal.starts_with("certificate:deployer:"), "{principal}");

        let body = json!({"csr": Csr::for_dns(&["app.internal"]).pem(), "profile": "server"});
        assert_eq!(issue_with(&deployer, &body)["requester"], principal);
        let peer = json!({"csr": Csr::for_dns(&["app.internal"]).pem(), "profile": "peer"});
        assert_eq!(deployer.post("/api/v1/certificates").json(&peer).expect(403).problem_code(), "forbidden");
        assert_eq!(deployer.get("/api/v1/audit").expect(403).problem_code(), "forbidden");

        // A bad token is not made good by a good certificate.
        let both = deployer.bearer(&format!("chy_{}", "A".repeat(43)));
        assert_eq!(both.get("/api/v1/whoami").expect(401).problem_code(), "unauthenticated");

        let revoke = format!("/api/v1/certificates/{}/revoke", record["serial"].as_str().unwrap());
        service.administrator().post(&revoke).json(&json!({"reason": "superseded"})).expect(200);
        // On the connection that is open, and on a new one.
        for again in [deployer, client(&service, &shown)] {
            assert_eq!(again.get("/api/v1/whoami").expect(401).problem_code(), "unauthenticated", "{database:?}");
        }
    }
}

#[test]
fn a_client_certificate_under_a_revoked_ca_is_a_credential_no_longer() {
    let service = Service::configured(Database::Sqlite, CONFIGURATION, &[]);
    let (_, shown) = identity(&service, &Csr::for_dns(&["deployer.internal"]), "client");
    let deployer = client(&service, &shown);
    deployer.get("/api/v1/whoami").expect(200);
    let administrator = service.administrator();
    let issuing = administrator.get("/api/v1/issuers/issuing").expect(200).json();
    let revoke = format!("/api/v1/certificates/{}/revoke", issuing["serial"].as_str().unwrap());
    administrator.post(&revoke).json(&json!({"reason": "ca_compromise"})).expect(200);
    let started = std::time::Instant::now();
    while deployer.get("/api/v1/whoami").attempt().is_ok_and(|answer| answer.status == 200) {
        assert!(started.elapsed().as_secs() < 30, "the revocation of the CA is not noticed");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn other_certificates_are_not_credentials() {
    let service = Service::configured(Database::Sqlite, CONFIGURATION, &[]);
    let (_, uri) = identity(&service, &Csr::new().uri("spiffe://cluster.internal/ns/deploy/sa/a"), "client");
    assert_eq!(client(&service, &uri).get("/api/v1/whoami").expect(200).json()["role"], "requester");
    for (what, csr, profile) in [
        ("another name", Csr::for_dns(&["other.internal"]), "client"),
        ("a name below", Csr::for_dns(&["a.deployer.internal"]), "client"),
        ("the name as common name only", Csr::for_dns(&["other.internal"]).common_name("deployer.internal"), "client"),
        ("another namespace", Csr::new().uri("spiffe://cluster.internal/ns/other/sa/a"), "client"),
        ("a server's certificate", Csr::for_dns(&["deployer.internal"]), "server"),
    ] {
        let (_, shown) = identity(&service, &csr, profile);
        // Refused in the handshake or after it, but never let in.
        if let Ok(answer) = client(&service, &shown).get("/api/v1/whoami").attempt() {
            assert_eq!(
                (answer.status, answer.problem_code().as_str()),
                (401, "unauthenticated"),
                "{what}: {}",
                answer.text()
            );
        }
    }
    let scratch = Scratch::new();
    openssl(&format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout {0}/key.pem -out {0}/certificate.pem -days 2 \
         -subj /CN=deployer.internal -addext subjectAltName=DNS:deployer.internal -addext extendedKeyUsage=clientAuth",
        scratch.path().display()
    ));
    let foreign = format!("{}{}", scratch.read("certificate.pem"), scratch.read("key.pem"));
    if let Ok(answer) = client(&service, &foreign).get("/api/v1/whoami").attempt() {
        assert_eq!(answer.status, 401, "a foreign certificate: {}", answer.text());
    }
    // Nobody was kept out who brings none.
    service.administrator().get("/api/v1/whoami").expect(200);
    assert_eq!(service.anonymous().get("/api/v1/whoami").expect(401).problem_code(), "unauthenticated");
}
