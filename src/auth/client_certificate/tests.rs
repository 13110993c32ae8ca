//! Client certificates that are accepted, and all the ways in which one is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use serde_json::json;

use super::*;
use crate::auth::Role;
use crate::auth::test_support::Records;
use crate::storage::{CertificateRecord, Source};
use crate::x509::distinguished_name::AttributeType;

const NOW: i64 = 1_900_000_000;

fn now() -> Timestamp {
    Timestamp::from_unix(NOW)
}

fn moment(unix: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(unix).unwrap()
}

/// A CA with its key.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

impl Ca {
    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = moment(NOW - 1000);
        params.not_after = moment(NOW + 1000);
        params
    }

    fn root(name: &str) -> Self {
        let (params, key) = (Self::params(name), KeyPair::generate().unwrap());
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), der }
    }

    fn subordinate(&self, name: &str) -> Self {
        let (params, key) = (Self::params(name), KeyPair::generate().unwrap());
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), der }
    }

    fn certificate(&self) -> Certificate {
        Certificate::from_der(&self.der).unwrap()
    }

    fn client(&self, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["agent.clients.internal".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "agent");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = moment(NOW - 100);
        params.not_after = moment(NOW + 100);
        change(&mut params);
        params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().der().to_vec()
    }
}

fn rule(authority: ClientCertificateAuthority) -> ClientCertificateRule {
    ClientCertificateRule {
        name: "agents".to_owned(),
        authority,
        subject_alt_names: vec!["*.clients.internal".to_owned()],
        common_name: None,
        fingerprints_sha256: Vec::new(),
        role: Role::Requester,
        grants: serde_json::from_value(json!({"profiles": ["server"]})).unwrap(),
    }
}

fn outside(ca: &Ca) -> ClientCertificateRule {
    rule(ClientCertificateAuthority::Certificates(vec![ca.der.clone()]))
}

fn own(name: &str, ca: &Ca) -> OwnIssuer {
    OwnIssuer { name: name.to_owned(), disabled: false, certificate: ca.certificate() }
}

fn checker(rules: Vec<ClientCertificateRule>, records: &Arc<Records>, issuers: Vec<OwnIssuer>) -> ClientCertificates {
    ClientCertificates::new(rules, Arc::clone(records) as Arc<dyn CredentialRecords>, issuers).unwrap()
}

fn record(records: &Records, der: &[u8], state: CertificateState) {
    let certificate = Certificate::from_der(der).unwrap();
    let record = CertificateRecord {
        id: 1,
        serial: certificate.serial.clone(),
        issuer_id: 1,
        profile: "client".to_owned(),
        profile_version: 1,
        requester: "system".to_owned(),
        source: Source::Rest,
        subject: certificate.subject.to_string(),
        key_algorithm: "ecdsa-p256".to_owned(),
        spki_sha256: [0; 32],
        fingerprint_sha256: certificate.fingerprint_sha256(),
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        issued_at: certificate.not_before,
        labels: BTreeMap::new(),
        state,
        crl_shard: 0,
        revocation: None,
        der: der.to_vec(),
    };
    let mut certificates = records.certificates.lock().unwrap();
    certificates.retain(|other| other.fingerprint_sha256 != record.fingerprint_sha256);
    certificates.push(record);
}

async fn refusal(checker: &ClientCertificates, der: &[u8]) -> String {
    let error = checker.authenticate(der, &[], now()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    error.detail().to_owned()
}

#[tokio::test]
async fn gives_name_role_and_grants_by_the_first_rule_that_matches() {
    let ca = Ca::root("outside");
    let der = ca.client(|_params| {});
    let records = Arc::new(Records::default());
    let other =
        ClientCertificateRule { name: "other".to_owned(), common_name: Some("other".to_owned()), ..outside(&ca) };
    let principal =
        checker(vec![other, outside(&ca)], &records, Vec::new()).authenticate(&der, &[], now()).await.unwrap();
    assert_eq!(principal.name, "certificate:agents:agent.clients.internal");
    assert_eq!((principal.role, principal.method), (Role::Requester, Method::ClientCertificate));
    assert!(principal.grants.allow_profile("server") && !principal.grants.allow_profile("client"));
    assert_eq!(records.asked(), 0, "a certificate of an outside CA is not in the inventory");
}

#[tokio::test]
async fn names_the_principal_by_what_matched() {
    let ca = Ca::root("outside");
    let der = ca.client(|params| {
        params.subject_alt_names = vec![
            SanType::DnsName("x.other.internal".try_into().unwrap()),
            SanType::URI("spiffe://t.internal/agent".try_into().unwrap()),
            SanType::IpAddress("10.0.0.7".parse().unwrap()),
        ];
    });
    let fingerprint = sha256(&der);
    let names = |patterns: &[&str]| ClientCertificateRule {
        subject_alt_names: patterns.iter().map(|pattern| (*pattern).to_owned()).collect(),
        ..outside(&ca)
    };
    let none = names(&[]);
    let cases = [
        (names(&["spiffe://t.internal/**", "10.0.0.0/8"]), "spiffe://t.internal/agent".to_owned()),
        (names(&["10.0.0.7"]), "10.0.0.7".to_owned()),
        (names(&["**"]), "x.other.internal".to_owned()),
        (ClientCertificateRule { common_name: Some("agent".to_owned()), ..none.clone() }, "agent".to_owned()),
        (ClientCertificateRule { fingerprints_sha256: vec![[0; 32], fingerprint], ..none }, hex::encode(fingerprint)),
    ];
    for (rule, expected) in cases {
        let checker = checker(vec![rule], &Arc::new(Records::default()), Vec::new());
        let principal = checker.authenticate(&der, &[], now()).await.unwrap();
        assert_eq!(principal.name, format!("certificate:agents:{expected}"));
    }
}

#[tokio::test]
async fn refuses_what_no_rule_matches() {
    let ca = Ca::root("outside");
    let records = Arc::new(Records::default());
    let der = ca.client(|_params| {});
    let wildcard = ca.client(|params| {
        params.subject_alt_names = vec![SanType::DnsName("*.clients.internal".try_into().unwrap())];
    });
    let two = ca.client(|params| params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "agent"));
    let strict = ClientCertificateRule { common_name: Some("agent".to_owned()), ..outside(&ca) };
    let strict = checker(vec![strict], &records, Vec::new());
    strict.authenticate(&der, &[], now()).await.unwrap();
    assert_eq!(refusal(&strict, &wildcard).await, "the client certificate matches no rule");
    assert_eq!(Certificate::from_der(&two).unwrap().subject.values(AttributeType::CommonName).count(), 2);
    assert_eq!(refusal(&strict, &two).await, "the client certificate matches no rule");
    let fingerprint = ClientCertificateRule { fingerprints_sha256: vec![[7; 32]], ..outside(&ca) };
    let fingerprint = checker(vec![fingerprint], &records, Vec::new());
    assert_eq!(refusal(&fingerprint, &der).await, "the client certificate matches no rule");
}

#[tokio::test]
async fn refuses_other_cas_and_forged_chains() {
    let (ca, other) = (Ca::root("outside"), Ca::root("outside"));
    let checker = checker(vec![outside(&ca)], &Arc::new(Records::default()), Vec::new());
    let foreign = "the client certificate does not chain to a CA that client certificates are accepted from";
    assert_eq!(refusal(&checker, &other.client(|_params| {})).await, foreign);
    let error =
        checker.authenticate(&other.client(|_params| {}), std::slice::from_ref(&other.der), now()).await.unwrap_err();
    assert_eq!(error.detail(), foreign);
    assert_eq!(refusal(&checker, b"not a certificate").await, "the client certificate cannot be parsed");
    let many = vec![other.der.clone(); 9];
    checker.authenticate(&ca.client(|_params| {}), &many, now()).await.unwrap_err();
    let nobody = super::tests::checker(Vec::new(), &Arc::new(Records::default()), Vec::new());
    assert_eq!(refusal(&nobody, &ca.client(|_params| {})).await, foreign);
}

#[tokio::test]
async fn takes_intermediates_from_the_client() {
    let root = Ca::root("outside");
    let between = root.subordinate("between");
    let der = between.client(|_params| {});
    let checker = checker(vec![outside(&root)], &Arc::new(Records::default()), Vec::new());
    refusal(&checker, &der).await;
    checker.authenticate(&der, std::slice::from_ref(&between.der), now()).await.unwrap();
}

#[tokio::test]
async fn refuses_certificates_that_are_unsuitable() {
    let ca = Ca::root("outside");
    let checker = checker(vec![outside(&ca)], &Arc::new(Records::default()), Vec::new());
    let expired = ca.client(|params| params.not_after = moment(NOW - 1));
    assert_eq!(refusal(&checker, &expired).await, "the client certificate expired at 2030-03-17T17:46:39Z");
    let early = ca.client(|params| params.not_before = moment(NOW + 1));
    assert_eq!(refusal(&checker, &early).await, "the client certificate is not valid before 2030-03-17T17:46:41Z");
    let is_ca = ca.client(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(refusal(&checker, &is_ca).await, "the client certificate is that of a CA");
    let without = "the client certificate is without the extended key usage `client_auth`";
    let server = ca.client(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert_eq!(refusal(&checker, &server).await, without);
    let none = ca.client(|params| params.extended_key_usages.clear());
    assert_eq!(refusal(&checker, &none).await, without);
    let any = ca.client(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]);
    assert_eq!(refusal(&checker, &any).await, without);
    let encipherment = ca.client(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]);
    assert_eq!(
        refusal(&checker, &encipherment).await,
        "the client certificate is without the key usage `digital_signature`"
    );
}

#[tokio::test]
async fn refuses_certificates_of_a_ca_that_ended() {
    let mut params = Ca::params("outside");
    params.not_after = moment(NOW - 1);
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    let ca = Ca { issuer: Issuer::new(params, key), der };
    let checker = checker(vec![outside(&ca)], &Arc::new(Records::default()), Vec::new());
    refusal(&checker, &ca.client(|_params| {})).await;
}

#[tokio::test]
async fn asks_our_own_inventory_about_our_own_certificates() {
    let root = Ca::root("root");
    let issuing = root.subordinate("issuing");
    let der = issuing.client(|_params| {});
    let serial = Certificate::from_der(&der).unwrap().serial;
    let issuers = || vec![own("root", &root), own("issuing", &issuing)];
    let ours = || rule(ClientCertificateAuthority::Issuer("issuing".to_owned()));
    // The same answers when the rule names our CA by file, or the root above it.
    let above = || rule(ClientCertificateAuthority::Issuer("root".to_owned()));
    for rule in [ours(), outside(&issuing), above(), outside(&root)] {
        let records = Arc::new(Records::default());
        let checker = checker(vec![rule], &records, issuers());
        record(&records, &issuing.der, CertificateState::Valid);
        let missing = format!("the certificate `{serial}` is of the issuer `issuing`, but not in its inventory");
        assert_eq!(refusal(&checker, &der).await, missing);
        record(&records, &der, CertificateState::Valid);
        checker.authenticate(&der, &[], now()).await.unwrap();
        record(&records, &der, CertificateState::Revoked);
        checker.forget_all();
        assert_eq!(refusal(&checker, &der).await, format!("the certificate `{serial}` is revoked"));
        record(&records, &der, CertificateState::OnHold);
        assert_eq!(refusal(&checker, &der).await, format!("the certificate `{serial}` is on hold"));
        records.fails.store(true, std::sync::atomic::Ordering::Relaxed);
        let error = checker.authenticate(&der, &[], now()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}

/// A CA that was imported may have given a serial number that ours gave too: each certificate has its own state.
#[tokio::test]
async fn of_two_certificates_with_one_serial_number_only_the_revoked_one_is_refused() {
    let (ours, imported) = (Ca::root("ours"), Ca::root("imported"));
    let serial = rcgen::SerialNumber::from_slice(&[0x11; 16]);
    let client = |ca: &Ca| ca.client(|params| params.serial_number = Some(serial.clone()));
    let (one, twin) = (client(&ours), client(&imported));
    assert_eq!(Certificate::from_der(&one).unwrap().serial, Certificate::from_der(&twin).unwrap().serial);
    let rules = ["ours", "imported"].map(|name| ClientCertificateRule {
        name: name.to_owned(),
        ..rule(ClientCertificateAuthority::Issuer(name.to_owned()))
    });
    let records = Arc::new(Records::default());
    let checker = checker(rules.to_vec(), &records, vec![own("ours", &ours), own("imported", &imported)]);
    for (revoked, valid) in [(&one, &twin), (&twin, &one)] {
        record(&records, revoked, CertificateState::Revoked);
        record(&records, valid, CertificateState::Valid);
        checker.forget_all();
        assert!(refusal(&checker, revoked).await.ends_with("is revoked"));
        checker.authenticate(valid, &[], now()).await.unwrap();
    }
    // The twin in the inventory does not stand for one that is not there.
    records.certificates.lock().unwrap().retain(|record| record.fingerprint_sha256 != sha256(&twin));
    checker.forget_all();
    assert!(refusal(&checker, &twin).await.ends_with("but not in its inventory"));
}

#[tokio::test]
async fn refuses_certificates_under_a_revoked_subordinate() {
    let root = Ca::root("root");
    let sold = root.subordinate("sold");
    let der = sold.client(|_params| {});
    let records = Arc::new(Records::default());
    record(&records, &sold.der, CertificateState::Revoked);
    let checker = checker(vec![outside(&root)], &records, vec![own("root", &root)]);
    let error = checker.authenticate(&der, std::slice::from_ref(&sold.der), now()).await.unwrap_err();
    assert!(error.detail().ends_with("is revoked"), "{error}");
    record(&records, &sold.der, CertificateState::Valid);
    checker.authenticate(&der, std::slice::from_ref(&sold.der), now()).await.unwrap();
}

#[tokio::test]
async fn believes_no_certificate_of_a_disabled_or_unknown_issuer() {
    let issuing = Ca::root("issuing");
    let der = issuing.client(|_params| {});
    let records = Arc::new(Records::default());
    record(&records, &der, CertificateState::Valid);
    let ours = rule(ClientCertificateAuthority::Issuer("issuing".to_owned()));
    let checker = checker(vec![ours], &records, Vec::new());
    refusal(&checker, &der).await;
    assert!(checker.roots().is_empty());
    checker.replace_issuers(vec![own("issuing", &issuing)]);
    checker.authenticate(&der, &[], now()).await.unwrap();
    assert_eq!(checker.roots(), std::slice::from_ref(&issuing.der));
    checker.replace_issuers(vec![OwnIssuer { disabled: true, ..own("issuing", &issuing) }]);
    refusal(&checker, &der).await;
    assert!(checker.roots().is_empty());
}

#[test]
fn refuses_rules_that_match_everything_or_cannot_match() {
    let ca = Ca::root("outside");
    let leaf = ca.client(|_params| {});
    let good = outside(&ca);
    let bad = [
        ClientCertificateRule { subject_alt_names: Vec::new(), ..good.clone() },
        ClientCertificateRule { name: "a:b".to_owned(), ..good.clone() },
        ClientCertificateRule { subject_alt_names: vec!["a..b".to_owned()], ..good.clone() },
        ClientCertificateRule { authority: ClientCertificateAuthority::Certificates(Vec::new()), ..good.clone() },
        ClientCertificateRule { authority: ClientCertificateAuthority::Certificates(vec![leaf]), ..good.clone() },
    ];
    for rule in bad {
        assert_eq!(rules::compile(vec![rule]).unwrap_err().kind(), ErrorKind::Configuration);
    }
    assert!(rules::compile(vec![good.clone(), good]).is_err());
}
