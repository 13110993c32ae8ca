//! Serial numbers that several issuers gave, as happens when CAs are imported: the issuer is named beside them.

use std::time::{Duration, Instant};

use chancery::storage::{
    AuditEvent, AuditOutcome, DatabaseOptions, Issuance, IssuerState, KeyLocation, NewCertificate, NewIssuer,
    NewIssuerCertificate, NewKey, Recorded, SignedBy, Source, Storage, open,
};
use chancery::x509::{Certificate, Timestamp};
use serde_json::{Value, json};

use crate::support::client::{Client, RUNTIME};
use crate::support::csr::Csr;
use crate::support::service::{Database, Service, issue_with};
use crate::support::tools::{Scratch, openssl};

fn event(action: &str) -> AuditEvent {
    AuditEvent {
        occurred_at_ms: 0,
        actor: "test".to_owned(),
        action: action.to_owned(),
        outcome: AuditOutcome::Success,
        object: String::new(),
        remote_address: None,
        request_id: None,
        details: json!({}),
    }
}

/// Makes a CA of somebody else's with OpenSSL and one certificate of it with a serial number; answers both in DER.
fn foreign_ca(serial: &str) -> (Certificate, Certificate) {
    let scratch = Scratch::new();
    let at = scratch.path().display();
    openssl(&format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout {at}/ca.key -out {at}/ca.pem -days 30 -subj /CN=Imported"
    ));
    openssl(&format!(
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout {at}/leaf.key -out {at}/leaf.csr -subj /CN=twin.internal -addext subjectAltName=DNS:twin.internal"
    ));
    openssl(&format!(
        "x509 -req -in {at}/leaf.csr -CA {at}/ca.pem -CAkey {at}/ca.key -set_serial 0x{serial} -days 20 -copy_extensions copyall -out {at}/leaf.pem"
    ));
    for name in ["ca", "leaf"] {
        openssl(&format!("x509 -in {at}/{name}.pem -outform DER -out {at}/{name}.der"));
    }
    let read = |name: &str| Certificate::from_der(&std::fs::read(scratch.file(name)).unwrap()).unwrap();
    (read("ca.der"), read("leaf.der"))
}

/// Writes the CA as a second generation of `issuing` that cannot sign, and its certificate as an imported one.
async fn import(storage: &dyn Storage, ca: &Certificate, leaf: &Certificate) {
    let second = NewIssuer {
        base_name: "issuing".to_owned(),
        generation: 2,
        state: IssuerState::Retired,
        is_default: false,
        settings: "{}".to_owned(),
        key: NewKey {
            algorithm: "ecdsa-p256".to_owned(),
            spki_sha256: ca.public_key.spki_sha256(),
            location: KeyLocation::File("/nowhere/imported.key".into()),
        },
        csr: None,
        certificate: Some(NewIssuerCertificate {
            signed_by: SignedBy::Itself,
            fingerprint_sha256: ca.fingerprint_sha256(),
            der: ca.as_der().to_vec(),
            upper_chain: Vec::new(),
            created_at: ca.not_before,
            inventory: None,
        }),
        crl_number: 0,
        retires: Vec::new(),
        cross_certificates: Vec::new(),
        audit: event("issuer.import"),
    };
    assert!(storage.create_issuers(vec![second], None).await.unwrap());
    let row = storage.issuers().await.unwrap().into_iter().find(|issuer| issuer.name == "issuing.2").unwrap().id;
    let certificate = NewCertificate {
        serial: leaf.serial.clone(),
        issuer_id: row,
        profile: "imported".to_owned(),
        profile_version: 1,
        requester: "token:elsewhere".to_owned(),
        source: Source::Import,
        subject: leaf.subject.to_string(),
        names: Vec::new(),
        key_algorithm: "ecdsa-p256".to_owned(),
        spki_sha256: leaf.public_key.spki_sha256(),
        fingerprint_sha256: leaf.fingerprint_sha256(),
        not_before: leaf.not_before,
        not_after: leaf.not_after,
        issued_at: Timestamp::from_unix(leaf.not_before.unix()),
        labels: std::collections::BTreeMap::new(),
        crl_shard: 0,
        der: leaf.as_der().to_vec(),
    };
    let issuance = Issuance {
        certificate,
        audit: event("certificate.import").with_written_details().unwrap(),
        idempotency: None,
        order: None,
    };
    assert_eq!(storage.record_issuance(issuance).await.unwrap(), Recorded::Committed);
}

/// A service with a certificate of its own and an imported one of the same serial number.
fn with_twins(database: Database) -> (Service, String) {
    let service = Service::start(database);
    let body = json!({"csr": Csr::for_dns(&["twin.internal"]).pem(), "profile": "server"});
    let record = issue_with(&service.with_role("requester"), &body);
    let serial = record["serial"].as_str().unwrap().to_owned();
    let (ca, leaf) = foreign_ca(&serial);
    let options = DatabaseOptions {
        url: service.database_url().into(),
        connections: 1,
        root_certificates: None,
        statement_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(5),
        maximum_wait: Duration::from_secs(10),
    };
    RUNTIME.block_on(async {
        let storage = open(&options).await.unwrap();
        import(&*storage, &ca, &leaf).await;
        storage.close().await;
    });
    let client = service.administrator();
    let started = Instant::now();
    // The service learns of issuers that others made within a second or two.
    while client.get(&format!("/api/v1/certificates/{serial}?issuer=issuing.2")).send().status != 200 {
        assert!(started.elapsed() < Duration::from_secs(30), "the imported issuer is not seen");
        std::thread::sleep(Duration::from_millis(100));
    }
    (service, serial)
}

fn status(client: &Client, serial: &str, issuer: &str) -> Value {
    client.get(&format!("/api/v1/certificates/{serial}?issuer={issuer}")).expect(200).json()["status"].clone()
}

#[test]
fn the_issuer_is_named_where_the_serial_number_alone_is_that_of_several() {
    for database in Database::ALL {
        let (service, serial) = with_twins(database);
        let client = service.administrator();
        let path = |suffix: &str| format!("/api/v1/certificates/{serial}{suffix}");
        let superseded = json!({"reason": "superseded"});
        for ambiguous in [
            client.get(&path("")),
            client.get(&path(".pem")),
            client.get(&path("?issuer=issuing")),
            client.post(&path("/revoke")).json(&superseded),
            client.post(&path("/release")),
            client.post(&path("/renew")).json(&json!({})),
        ] {
            let answer = ambiguous.expect(409);
            assert_eq!(answer.problem_code(), "conflict");
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("`issuing.1`, `issuing.2`") && detail.ends_with("with `issuer`"), "{detail}");
        }
        for (issuer, status, code) in [("nobody", 400, "malformed"), ("root", 404, "not_found"), ("", 400, "malformed")]
        {
            assert_eq!(client.get(&path(&format!("?issuer={issuer}"))).expect(status).problem_code(), code);
        }
        let subject =
            |issuer: &str| client.get(&path(&format!("?issuer={issuer}"))).expect(200).json()["subject"].clone();
        assert_eq!((subject("issuing.1"), subject("issuing.2")), (json!(""), json!("CN=twin.internal")));
        assert_ne!(
            client.get(&path(".der?issuer=issuing.1")).expect(200).body,
            client.get(&path(".der?issuer=issuing.2")).expect(200).body
        );

        let hold = json!({"reason": "certificate_hold"});
        client.post(&path("/revoke?issuer=issuing.2")).json(&hold).expect(200);
        assert_eq!(
            (status_of(&client, &serial, 1), status_of(&client, &serial, 2)),
            (json!("valid"), json!("on_hold"))
        );
        client.post(&path("/release?issuer=issuing.2")).expect(200);
        client.post(&path("/renew?issuer=issuing.1")).json(&json!({})).expect(201);
        client.post(&path("/revoke?issuer=issuing.2")).json(&superseded).expect(200);
        assert_eq!(
            (status_of(&client, &serial, 1), status_of(&client, &serial, 2)),
            (json!("valid"), json!("revoked"))
        );
    }
}

fn status_of(client: &Client, serial: &str, generation: u8) -> Value {
    status(client, serial, &format!("issuing.{generation}"))
}

/// A filter by issuer means every generation of the name, and each of two certificates with one serial number is revoked.
#[test]
fn bulk_revocation_by_issuer_reaches_every_generation_and_both_twins() {
    for database in Database::ALL {
        let (service, serial) = with_twins(database);
        let client = service.administrator();
        let bulk = |filter: &Value, dry_run: bool| {
            let body = json!({"filter": filter, "reason": "cessation_of_operation", "dry_run": dry_run});
            client.post("/api/v1/certificates/revoke").json(&body).expect(200).json()
        };
        let of_name = json!({"issuer": "issuing", "serial": serial});
        assert_eq!(bulk(&of_name, true)["matched"], 2);
        assert_eq!((status_of(&client, &serial, 1), status_of(&client, &serial, 2)), (json!("valid"), json!("valid")));
        let second = json!({"issuer": "issuing.2"});
        assert_eq!(bulk(&second, false)["serials"], json!([serial]));
        assert_eq!(
            (status_of(&client, &serial, 1), status_of(&client, &serial, 2)),
            (json!("valid"), json!("revoked"))
        );
        let rest = bulk(&json!({"issuer": "issuing"}), false);
        assert!(rest["revoked"].as_u64().unwrap() >= 2, "the first generation's: {rest}");
        assert_eq!(
            (status_of(&client, &serial, 1), status_of(&client, &serial, 2)),
            (json!("revoked"), json!("revoked"))
        );
    }
}

/// What a requester cannot see does not make its own certificate ambiguous.
#[test]
fn a_requester_needs_no_issuer_for_its_own_certificate() {
    let (service, serial) = with_twins(Database::Sqlite);
    let administrator = service.administrator();
    let requester =
        administrator.get(&format!("/api/v1/certificates/{serial}?issuer=issuing.1")).expect(200).json()["requester"]
            .clone();
    let name = requester.as_str().unwrap().strip_prefix("token:").unwrap();
    let tokens = administrator.get("/api/v1/tokens?limit=1000").expect(200).json();
    let id = tokens["items"].as_array().unwrap().iter().find(|token| token["name"] == name).unwrap()["id"].clone();
    // Its successor under the same name sees the same certificates.
    administrator.delete(&format!("/api/v1/tokens/{}", id.as_str().unwrap())).expect(204);
    let created =
        administrator.post("/api/v1/tokens").json(&json!({"name": name, "role": "requester"})).expect(201).json();
    let client = administrator.bearer(created["token"].as_str().unwrap());
    client.get(&format!("/api/v1/certificates/{serial}")).expect(200);
    assert_eq!(
        client.get(&format!("/api/v1/certificates/{serial}?issuer=issuing.2")).expect(404).problem_code(),
        "not_found"
    );
}
