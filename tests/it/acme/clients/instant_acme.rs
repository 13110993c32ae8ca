//! instant-acme, a client in Rust: profiles, external accounts, change of the account's key, renewal information with replaces, revocation.

use std::time::Duration;

use ::instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeType, ExternalAccountKey,
    Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy, RevocationReason, RevocationRequest,
};
use data_encoding::BASE64URL_NOPAD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, Der};
use serde_json::json;

use super::{Lab, Serial};
use crate::support::client::RUNTIME;
use crate::support::csr::{Csr, Key};
use crate::support::service::Database;

type Error = ::instant_acme::Error;

const POLLING: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(100)).timeout(Duration::from_secs(60));

async fn register(lab: &Lab, external: Option<&ExternalAccountKey>) -> Result<(Account, AccountCredentials), Error> {
    let new =
        NewAccount { contact: &["mailto:ops@app.test"], terms_of_service_agreed: true, only_return_existing: false };
    Account::builder_with_root(lab.scratch.file("root.pem"))?.create(&new, lab.directory(), external).await
}

/// Orders, proves by dns-01 what is not proven yet, finalizes with the key, and writes what came to `file`.
async fn obtain(lab: &Lab, account: &Account, order: &NewOrder<'_>, key: &Key, file: &str) -> Result<(), Error> {
    let mut placed = account.new_order(order).await?;
    let mut authorizations = placed.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let mut challenge = authorization.challenge(ChallengeType::Dns01).unwrap();
        let Identifier::Dns(name) = challenge.identifier().identifier.clone() else { panic!("dns-01 for an address") };
        lab.dns.add_txt(&format!("_acme-challenge.{name}"), &challenge.key_authorization().dns_value());
        challenge.set_ready().await?;
    }
    assert_eq!(placed.poll_ready(&POLLING).await?, OrderStatus::Ready);
    let names: Vec<&str> = order
        .identifiers()
        .iter()
        .map(|identifier| match identifier {
            Identifier::Dns(name) => name.as_str(),
            other => panic!("{other:?} has no place in this request"),
        })
        .collect();
    placed.finalize_csr(&Csr::for_dns(&names).der_with(key)).await?;
    let chain = placed.poll_certificate(&POLLING).await?;
    lab.scratch.write(file, chain);
    Ok(())
}

fn dns(names: &[&str]) -> Vec<Identifier> {
    names.iter().map(|name| Identifier::Dns((*name).to_owned())).collect()
}

/// What instant-acme knows a certificate by: its parts are taken from the text that OpenSSL shows.
fn identifier_of(lab: &Lab, file: &str) -> CertificateIdentifier<'static> {
    let path = lab.scratch.file(file);
    let shown =
        crate::support::tools::openssl(&format!("x509 -in {} -noout -ext authorityKeyIdentifier", path.display()));
    let octets = |text: &str| hex::decode(text.trim().trim_start_matches("keyid:").replace(':', "")).unwrap();
    let key = octets(shown.lines().last().unwrap());
    let mut serial = octets(&Serial::of(&path).0);
    if serial[0] >= 0x80 {
        serial.insert(0, 0);
    }
    CertificateIdentifier::new(Der::from_slice(&key), Der::from_slice(&serial)).into_owned()
}

/// The type of the problem that the service answered with.
#[track_caller]
fn problem<T>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Api(problem)) => problem.r#type.unwrap(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was accepted"),
    }
}

fn whole_life(database: Database) {
    let lab = Lab::new(database, &[]);
    let (first, second) = (lab.scratch.file("first.pem"), lab.scratch.file("second.pem"));
    let (mut account, old) = RUNTIME.block_on(register(&lab, None)).unwrap();
    assert!(account.profiles().any(|profile| profile.name == "peer"));
    let names = ["rust.test", "*.rust.test"];
    let identifiers = dns(&names);
    let plain = NewOrder::new(&identifiers);
    let of_peers = NewOrder::new(&identifiers).profile("peer");
    RUNTIME.block_on(obtain(&lab, &account, &of_peers, &Key::new(), "first.pem")).unwrap();
    lab.verify(&first, &names);
    assert_eq!(lab.record(&first)["profile"], "peer");
    let nowhere = NewOrder::new(&identifiers).profile("nowhere");
    let refused = RUNTIME.block_on(account.new_order(&nowhere)).map(drop);
    assert_eq!(problem(refused), "urn:ietf:params:acme:error:invalidProfile");

    // Another key, and the account goes on; the old key is nobody's.
    let new = RUNTIME.block_on(account.update_key()).unwrap();
    let [stale, account] = [old, new].map(|credentials| {
        let builder = Account::builder_with_root(lab.scratch.file("root.pem")).unwrap();
        RUNTIME.block_on(builder.from_credentials(credentials)).unwrap()
    });
    assert_eq!(stale.id(), account.id());
    problem(RUNTIME.block_on(stale.new_order(&plain)).map(drop));

    // Its renewal: the window first lies in the future; an order may say what it replaces at any time, but once.
    let identifier = identifier_of(&lab, "first.pem");
    let (information, wait) = RUNTIME.block_on(account.renewal_info(&identifier)).unwrap();
    let (start, end) = (information.suggested_window.start, information.suggested_window.end);
    assert!(start < end && wait > Duration::ZERO, "{information:?} {wait:?}");
    lab.renew_between(&first, -7200, -3600);
    let (information, _) = RUNTIME.block_on(account.renewal_info(&identifier)).unwrap();
    assert!(information.suggested_window.end < start, "{information:?}");
    assert_eq!(information.explanation_url.as_deref(), Some("https://status.internal/renew"));
    let replacing = NewOrder::new(&identifiers).replaces(identifier);
    RUNTIME.block_on(obtain(&lab, &account, &replacing, &Key::new(), "second.pem")).unwrap();
    lab.verify(&second, &names);
    let again = RUNTIME.block_on(account.new_order(&replacing)).map(drop);
    assert_eq!(problem(again), "urn:ietf:params:acme:error:alreadyReplaced");

    let gone = CertificateDer::from_pem_file(&first).unwrap();
    let request = RevocationRequest { certificate: &gone, reason: Some(RevocationReason::Superseded) };
    RUNTIME.block_on(account.revoke(&request)).unwrap();
    assert_eq!(lab.record(&first)["revocation"]["reason"], "superseded");
    assert_eq!(problem(RUNTIME.block_on(account.revoke(&request))), "urn:ietf:params:acme:error:alreadyRevoked");

    RUNTIME.block_on(account.update_contacts(&["mailto:other@app.test"])).unwrap();
    RUNTIME.block_on(account.clone().deactivate()).unwrap();
    problem(RUNTIME.block_on(account.new_order(&plain)).map(drop));
    assert_eq!(lab.record(&second)["status"], "valid");
}

#[test]
fn instant_acme_goes_through_a_whole_life_on_sqlite() {
    whole_life(Database::Sqlite);
}

#[test]
fn instant_acme_goes_through_a_whole_life_on_postgresql() {
    whole_life(Database::Postgres);
}

#[test]
fn instant_acme_binds_its_account_to_an_external_one() {
    let lab = Lab::with(Database::Sqlite, &[], "external_account_required = true");
    let grants = json!({"names": {"dns": {"allow": ["eab.test"]}}});
    let (key_id, key) = lab.external_account(&json!({"profile": "peer", "grants": grants}));
    let external = |octets: &[u8]| ExternalAccountKey::new(key_id.clone(), octets);
    let octets = BASE64URL_NOPAD.decode(key.as_bytes()).unwrap();
    let refused = RUNTIME.block_on(register(&lab, None)).map(drop);
    assert_eq!(problem(refused), "urn:ietf:params:acme:error:externalAccountRequired");
    problem(RUNTIME.block_on(register(&lab, Some(&external(&[7; 32])))).map(drop));
    let (account, _) = RUNTIME.block_on(register(&lab, Some(&external(&octets)))).unwrap();
    let identifiers = dns(&["eab.test"]);
    // An order that names no profile is under that of the key.
    RUNTIME.block_on(obtain(&lab, &account, &NewOrder::new(&identifiers), &Key::new(), "eab.pem")).unwrap();
    let bundle = lab.scratch.file("eab.pem");
    lab.verify(&bundle, &["eab.test"]);
    assert_eq!(lab.record(&bundle)["profile"], "peer");
    let elsewhere = dns(&["elsewhere.test"]);
    let refused = RUNTIME.block_on(account.new_order(&NewOrder::new(&elsewhere))).map(drop);
    assert_eq!(problem(refused), "urn:ietf:params:acme:error:rejectedIdentifier");
}

/// An order that was finalized in the background is polled for.
#[test]
fn instant_acme_waits_for_an_order_that_is_finalized_in_the_background() {
    let lab = Lab::with(Database::Sqlite, &[], "asynchronous_finalize = true");
    RUNTIME.block_on(async {
        let (account, _) = register(&lab, None).await.unwrap();
        let identifiers = dns(&["later.test"]);
        obtain(&lab, &account, &NewOrder::new(&identifiers), &Key::new(), "later.pem").await.unwrap();
    });
    lab.verify(&lab.scratch.file("later.pem"), &["later.test"]);
}
