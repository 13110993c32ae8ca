//! Revocation (RFC 8555, section 7.6; lines 84 to 87 of the checklist): by the account that ordered, by one that has proven every name, by the
//! certificate's key, and by nobody else.

use serde_json::{Value, json};

use super::renewal::{identifier, replacing};
use crate::support::acme::{AccountKey, AcmeClient, ExternalKey, Http01, base64url, decode_base64url};
use crate::support::csr::{Csr, Key};
use crate::support::service::{Database, Service, issue_with, unique};

/// An account whose orders are ready at once, under a principal of its own.
pub(super) fn vouched(service: &Service, principal: &str) -> AcmeClient {
    let mut client = AcmeClient::new(service);
    let key = json!({"profile": "server", "proves_control": true, "principal": principal});
    client.register_bound(&ExternalKey::create(service, &key));
    client
}

/// The first certificate of a chain, DER.
pub(super) fn leaf(chain: &str) -> Vec<u8> {
    let end = chain.find("-----END CERTIFICATE-----").unwrap() + "-----END CERTIFICATE-----".len();
    pem_rfc7468::decode_vec(chain[..end].trim().as_bytes()).unwrap().1
}

fn request(der: &[u8], reason: Option<i64>) -> Value {
    match reason {
        Some(reason) => json!({"certificate": base64url(der), "reason": reason}),
        None => json!({"certificate": base64url(der)}),
    }
}

fn serial(der: &[u8]) -> String {
    chancery::x509::Certificate::from_der(der).unwrap().serial.to_string()
}

/// What the inventory says of a certificate.
fn inventory(service: &Service, der: &[u8]) -> Value {
    service.administrator().get(&format!("/api/v1/certificates/{}", serial(der))).expect(200).json()
}

#[test]
fn the_account_that_ordered_a_certificate_revokes_it_once() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = vouched(service, &unique("token:revoker-"));
        for reason in [None, Some(0), Some(1), Some(3), Some(4), Some(5)] {
            let der = leaf(&client.issue(&["revoked.internal"]));
            let answer = client.post(&client.url("revokeCert"), &request(&der, reason)).expect(200);
            assert_eq!(answer.text(), "", "an empty body");
            assert!(!answer.header("replay-nonce").is_empty());
            assert_eq!(inventory(service, &der)["status"], "revoked");
            for again in [reason, Some(4)] {
                client.post(&client.url("revokeCert"), &request(&der, again)).refused(400, "alreadyRevoked");
            }
        }
    }
}

#[test]
fn of_many_that_revoke_at_once_one_does() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = vouched(service, &unique("token:revoker-"));
        let der = leaf(&client.issue(&["revoked.internal"]));
        let answers: Vec<u16> = std::thread::scope(|scope| {
            let calls: Vec<_> = (0..32)
                .map(|_| scope.spawn(|| client.post(&client.url("revokeCert"), &request(&der, Some(4))).send().status))
                .collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        });
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|status| **status == 400).count(), 31, "{answers:?}");
    }
}

#[test]
fn nobody_revokes_what_other_accounts_ordered_nor_what_the_principal_had_signed_over_rest() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let (administrator, name) = (service.administrator(), unique("revoker"));
        let token = administrator.post("/api/v1/tokens").json(&json!({"name": name, "role": "requester"})).expect(201);
        let issuing = administrator.bearer(token.json()["token"].as_str().unwrap());
        let principal = format!("token:{name}");
        let (one, other) = (vouched(service, &principal), vouched(service, &principal));
        // It may order the same names, and has proven none.
        let stranger = vouched(service, &unique("token:stranger-"));
        stranger.issue(&["revoked.internal"]);
        let der = leaf(&one.issue(&["revoked.internal"]));
        let url = one.url("revokeCert");
        let mut newcomer = AcmeClient::new(service);
        newcomer.register();
        for client in [&stranger, &newcomer, &other] {
            client.post(&url, &request(&der, None)).refused(403, "unauthorized");
        }
        let body = json!({"csr": Csr::for_dns(&["revoked.internal"]).pem(), "profile": "server"});
        let signed = leaf(issue_with(&issuing, &body)["certificate"].as_str().unwrap());
        for client in [&one, &other] {
            client.post(&url, &request(&signed, Some(1))).refused(403, "unauthorized");
        }
        assert_eq!(inventory(service, &signed)["status"], "valid");
        assert_eq!(inventory(service, &der)["status"], "valid");
        one.post(&url, &request(&der, None)).expect(200);
        // Whoever may not revoke does not learn what became of it.
        stranger.post(&url, &request(&der, None)).refused(403, "unauthorized");
        let audited = service.administrator().get(&format!("/api/v1/audit?object=certificate:{}", serial(&der)));
        let audited = audited.expect(200).json();
        let outcomes: Vec<&Value> =
            audited["items"].as_array().unwrap().iter().map(|event| &event["outcome"]).collect();
        assert!(outcomes.contains(&&json!("refused")) && outcomes.contains(&&json!("success")), "{audited}");
    }
}

#[test]
fn an_account_that_has_proven_every_name_revokes_but_not_as_compromised() {
    for database in Database::ALL {
        let http_01 = Http01::start();
        let service = Service::start_with(
            database,
            &[
                ("CHANCERY__ACME__HTTP_01_PORT", &http_01.port().to_string()),
                ("CHANCERY__ACME__ALLOWED_ADDRESSES", "[\"127.0.0.0/8\"]"),
            ],
        );
        let owner = vouched(&service, &unique("token:owner-"));
        let address = Csr::new().ip(&[127, 0, 0, 1]);
        let both = owner.new_order(&["127.0.0.1", "other.internal"]);
        let both = leaf(&owner.finalize(&both, &Csr::new().ip(&[127, 0, 0, 1]).dns("other.internal")));
        let one = leaf(&owner.finalize(&owner.new_order(&["127.0.0.1"]), &address));
        let mut client = AcmeClient::new(&service);
        client.register();
        let url = client.url("revokeCert");
        client.post(&url, &request(&one, Some(4))).refused(403, "unauthorized");
        let order = client.new_order(&["127.0.0.1"]);
        client.prove_http_01(&order, &http_01);
        client.post(&url, &request(&both, Some(4))).refused(403, "unauthorized");
        let refused = client.post(&url, &request(&one, Some(1))).refused(400, "badRevocationReason");
        assert!(refused["detail"].as_str().unwrap().contains("4 (superseded)"), "{refused}");
        client.post(&url, &request(&one, Some(4))).expect(200);
        assert_eq!(inventory(&service, &one)["status"], "revoked");
        assert_eq!(inventory(&service, &both)["status"], "valid");
        // Bound later, it is still the account that ordered: it replaces and revokes what it ordered before.
        let chain = client.finalize(&client.new_order(&["127.0.0.1"]), &address);
        let key = json!({"profile": "server", "proves_control": true, "principal": "token:late"});
        assert_eq!(client.register_bound(&ExternalKey::create(&service, &key)).status, 200);
        replacing(&client, &["127.0.0.1"], &identifier(&chain));
        client.post(&url, &request(&leaf(&chain), Some(1))).expect(200);
    }
}

#[test]
fn the_certificate_s_key_revokes_it_and_blocks_itself_when_it_is_compromised() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = vouched(service, &unique("token:owner-"));
        let key = Key::new();
        let certificate_key = AccountKey::from_p256_pem(&key.to_pem());
        let issue = || {
            let order = client.new_order(&["keyed.internal"]);
            client.finalization(&order, &Csr::for_dns(&["keyed.internal"]).der_with(&key)).expect(200);
            let done = client.poll(&order.url, "valid");
            leaf(&client.fetch(done["certificate"].as_str().unwrap()).expect(200).text())
        };
        let (first, second) = (issue(), issue());
        let url = client.url("revokeCert");
        let by_key = |der: &[u8], reason| {
            let keyed = client.with_key(AccountKey::from_p256_pem(&key.to_pem()));
            keyed.post(&url, &request(der, reason)).with_jwk().send()
        };
        let another = client.with_key(AccountKey::new());
        another.post(&url, &request(&first, Some(1))).with_jwk().refused(403, "unauthorized");
        assert_eq!(by_key(&first, Some(6)).status, 400);
        assert_eq!(by_key(&first, Some(4)).status, 200);
        assert_eq!(by_key(&first, Some(4)).status, 400, "already");
        client.post(&url, &request(&first, Some(1))).refused(400, "alreadyRevoked");
        // That it is compromised may come to light later.
        assert_eq!(by_key(&first, Some(1)).status, 200);
        assert_eq!(by_key(&first, Some(1)).status, 400, "already");
        assert_eq!(inventory(service, &first)["revocation"]["reason"], "key_compromise");
        // The key gets no other certificate.
        let order = client.new_order(&["keyed.internal"]);
        let refused = client.finalization(&order, &Csr::for_dns(&["keyed.internal"]).der_with(&key)).send();
        assert!((400..500).contains(&refused.status), "{}", refused.text());
        assert_eq!(by_key(&second, None).status, 200);
        // Nor does it come to an account.
        let blocked = client.with_key(AccountKey::from_p256_pem(&key.to_pem()));
        blocked.post(&client.url("newAccount"), &json!({})).with_jwk().refused(400, "badPublicKey");
        client.post(&client.url("keyChange"), &client.key_change(blocked.key())).refused(400, "badPublicKey");
        // Whoever signs with it has no account.
        let signed_for_account = client.with_key(certificate_key);
        assert!(signed_for_account.post(&url, &request(&second, None)).with_jwk().send().status >= 400);
    }
}

#[test]
fn what_is_not_ours_or_not_well_formed_is_refused() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let client = vouched(service, &unique("token:owner-"));
        let url = client.url("revokeCert");
        let der = leaf(&client.issue(&["revoked.internal"]));
        // The same serial number in another certificate: one octet of the signature differs.
        let mut forged = der.clone();
        *forged.last_mut().unwrap() ^= 1;
        client.post(&url, &request(&forged, None)).refused(404, "malformed");
        // A certificate of another CA.
        let foreign = rcgen::generate_simple_self_signed(["revoked.internal".to_owned()]).unwrap();
        client.post(&url, &request(foreign.cert.der(), None)).refused(404, "malformed");
        for certificate in [
            json!(""),
            json!("AAAA"),
            json!(format!("{}=", base64url(&der))),
            json!(base64url(&der[1..])),
            json!(base64url([der.as_slice(), &[0]].concat())),
            json!(7),
            json!(null),
        ] {
            client.post(&url, &json!({"certificate": certificate})).refused(400, "malformed");
        }
        client.post(&url, &json!({})).refused(400, "malformed");
        for reason in [2, 6, 7, 8, 9, 10, 11, -1, 256, i64::MAX] {
            let refused = client.post(&url, &request(&der, Some(reason))).refused(400, "badRevocationReason");
            assert!(refused["detail"].as_str().unwrap().contains("1 (key_compromise)"), "{refused}");
        }
        for reason in [json!("1"), json!(1.5), json!([])] {
            let body = json!({"certificate": base64url(&der), "reason": reason});
            client.post(&url, &body).refused(400, "malformed");
        }
        assert_eq!(decode_base64url(&base64url(&der)), der);
        assert_eq!(inventory(service, &der)["status"], "valid");
    }
}

#[test]
fn a_certificate_that_has_expired_is_not_revoked() {
    for database in Database::ALL {
        let service = Service::start(database);
        let client = vouched(&service, "token:owner");
        let der = leaf(&client.issue(&["revoked.internal"]));
        service.execute("UPDATE certificates SET not_after = 1000 WHERE source = 1");
        client.post(&client.url("revokeCert"), &request(&der, None)).refused(400, "malformed");
    }
}

#[test]
fn the_service_s_own_certificates_are_not_revoked_over_acme() {
    for database in Database::ALL {
        let service = Service::shared(database);
        let mut client = AcmeClient::new(service);
        client.register();
        let root = chancery::x509::Certificate::from_pem(&service.root_pem()).unwrap();
        client.post(&client.url("revokeCert"), &request(root.as_der(), None)).refused(403, "unauthorized");
    }
}
