//! Certificates and revocations that issuers signed elsewhere.

use std::sync::Arc;

use chancery::storage::{
    AuditFilter, CertificateFilter, CertificateImported, CertificateRecord, CertificateState, ImportedCertificate,
    ImportedRevocation, NewCertificate, PageRequest, RevocationRecord, SortKey, Source, Storage,
};
use chancery::x509::SerialNumber;
use chancery::x509::crl::RevocationReason;

use super::fixture::{Fixture, at, certificate, dns, event, found, issue, issuer, list, revocation, serial};
use super::on_both_databases;

on_both_databases!(
    imported_certificates_are_recorded_with_their_revocations_and_events,
    what_is_recorded_keeps_its_requester_and_is_revoked_when_that_is_said,
    no_import_changes_an_earlier_revocation,
    a_certificate_whose_key_is_blocked_is_revoked,
    another_certificate_with_the_serial_number_is_told_apart,
    a_serial_number_that_was_known_as_revoked_revokes_its_certificate,
    revoked_serial_numbers_are_recorded_once_and_raise_the_crl_number,
    a_key_that_was_compromised_elsewhere_is_blocked,
    many_importers_of_the_same_certificates_record_each_once,
);

async fn with_root(fixture: &Fixture) -> Arc<dyn Storage> {
    let storage = fixture.open().await;
    assert!(storage.create_issuers(vec![issuer("old", None, true)], None).await.unwrap());
    storage
}

fn imported(certificate: NewCertificate, revocation: Option<RevocationRecord>) -> ImportedCertificate {
    let audit = event("certificate.import", &format!("certificate:{}", certificate.serial));
    let certificate = NewCertificate {
        source: Source::Import,
        profile: "chancery.imported".to_owned(),
        requester: "token:importer".to_owned(),
        ..certificate
    };
    ImportedCertificate { certificate, revocation, internal: true, audit }
}

const VALID: CertificateImported = CertificateImported::New { revoked: false };
const REVOKED: CertificateImported = CertificateImported::New { revoked: true };

fn new(results: &[(SerialNumber, CertificateImported)]) -> usize {
    results.iter().filter(|(_, result)| matches!(result, CertificateImported::New { .. })).count()
}

async fn import(storage: &dyn Storage, one: ImportedCertificate) -> CertificateImported {
    storage.import_certificates(vec![one]).await.unwrap()[0].1
}

async fn events(storage: &dyn Storage, action: &str) -> usize {
    let filter = AuditFilter { action: Some(action.to_owned()), ..AuditFilter::default() };
    storage.audit_events(&filter, None, 1000).await.unwrap().items.len()
}

async fn crl_entries(storage: &dyn Storage) -> usize {
    storage.revoked_certificates(1, None, at(0), (0, 0), 1000).await.unwrap().len()
}

async fn imported_certificates_are_recorded_with_their_revocations_and_events(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let (valid, revoked, held) = (certificate(&["a.internal"]), certificate(&["b.internal"]), certificate(&[]));
    let batch = vec![
        imported(valid.clone(), None),
        imported(revoked.clone(), Some(revocation(RevocationReason::Superseded))),
        imported(held.clone(), Some(revocation(RevocationReason::CertificateHold))),
    ];
    let recorded = storage.import_certificates(batch).await.unwrap();
    let expected = [(&valid, VALID), (&revoked, REVOKED), (&held, REVOKED)];
    assert_eq!(recorded, expected.map(|(certificate, imported)| (certificate.serial.clone(), imported)));
    let states = |record: &CertificateRecord| (record.state, record.revocation.map(|revocation| revocation.reason));
    let found_valid = found(&*storage, &valid.serial).await.unwrap();
    assert_eq!(states(&found_valid), (CertificateState::Valid, None));
    assert_eq!((found_valid.source, found_valid.requester.as_str()), (Source::Import, "token:importer"));
    let found_revoked = found(&*storage, &revoked.serial).await.unwrap();
    assert_eq!(states(&found_revoked), (CertificateState::Revoked, Some(RevocationReason::Superseded)));
    assert_eq!(found_revoked.revocation, Some(revocation(RevocationReason::Superseded)));
    let found_held = found(&*storage, &held.serial).await.unwrap();
    assert_eq!(states(&found_held), (CertificateState::OnHold, Some(RevocationReason::CertificateHold)));
    assert_eq!(storage.issuers().await.unwrap()[0].revocations, 2, "the CRL is due");
    assert_eq!(crl_entries(&*storage).await, 2);
    assert_eq!(events(&*storage, "certificate.import").await, 3);
    let filter = chancery::storage::CertificateFilter {
        name: Some(chancery::storage::NameFilter::Exact(dns("b.internal").value().to_owned())),
        ..Default::default()
    };
    assert_eq!(list(&*storage, filter).await.len(), 1, "its names are found");
}

async fn what_is_recorded_keeps_its_requester_and_is_revoked_when_that_is_said(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let original = NewCertificate { crl_shard: 3, ..certificate(&["a.internal"]) };
    issue(&*storage, original.clone()).await;
    assert_eq!(import(&*storage, imported(original.clone(), None)).await, CertificateImported::Unchanged);
    assert_eq!(events(&*storage, "certificate.import").await + events(&*storage, "certificate.revoke").await, 0);
    assert_eq!(storage.issuers().await.unwrap()[0].revocations, 0);

    let said = imported(original.clone(), Some(revocation(RevocationReason::KeyCompromise)));
    let results = storage.import_certificates(vec![said.clone(), said]).await.unwrap();
    let expected = [CertificateImported::Revoked, CertificateImported::Unchanged];
    assert_eq!(results, expected.map(|result| (original.serial.clone(), result)));
    let record = found(&*storage, &original.serial).await.unwrap();
    assert_eq!((record.state, record.source), (CertificateState::Revoked, Source::Rest));
    assert_eq!(record.revocation, Some(revocation(RevocationReason::KeyCompromise)));
    assert_eq!(record.requester, "token:deploy");
    assert!(storage.key_is_blocked(&original.spki_sha256).await.unwrap());
    assert_eq!(events(&*storage, "certificate.revoke").await, 1);
    assert_eq!(storage.issuers().await.unwrap()[0].revocations, 1, "the CRL is due");
    assert_eq!(storage.crl_counters(1).await.unwrap().last_changes.get(&3), Some(&1), "that of its shard");
    assert_eq!(
        storage.changed_serials(1, 0, 10).await.unwrap(),
        std::slice::from_ref(&original.serial),
        "OCSP notices"
    );
    let revoked = ImportedRevocation {
        serial: original.serial.clone(),
        revocation: revocation(RevocationReason::Superseded),
        not_after: None,
    };
    assert_eq!(storage.import_revoked_serials(1, vec![revoked], 0, event("x", "y")).await.unwrap(), 0);

    // The service's own is an administrator's.
    let root = storage.issuers().await.unwrap().remove(0);
    let own = storage.certificates(&CertificateFilter::default(), FIRST).await.unwrap().items;
    let own = own.into_iter().find(|record| record.source == Source::Internal).unwrap();
    let again = NewCertificate {
        serial: own.serial.clone(),
        spki_sha256: own.spki_sha256,
        fingerprint_sha256: own.fingerprint_sha256,
        ..certificate(&[])
    };
    let mut said = imported(again, Some(revocation(RevocationReason::CaCompromise)));
    said.internal = false;
    let before = storage.generation().await.unwrap();
    assert_eq!(import(&*storage, said.clone()).await, CertificateImported::Internal);
    assert_eq!(found(&*storage, &own.serial).await.unwrap().state, CertificateState::Valid);
    assert_eq!(storage.generation().await.unwrap(), before);
    said.internal = true;
    assert_eq!(import(&*storage, said).await, CertificateImported::Revoked);
    assert!(storage.generation().await.unwrap() > before, "what the issuer may sign has changed");
    assert!(storage.key_is_blocked(&root.spki_sha256).await.unwrap());
}

const FIRST: PageRequest = PageRequest { limit: 1000, sort: SortKey::IssuedAt, descending: false, after: None };

async fn no_import_changes_an_earlier_revocation(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let hold = || Some(revocation(RevocationReason::CertificateHold));
    let (known, recorded) = (certificate(&[]), certificate(&[]));
    let superseded = ImportedRevocation {
        serial: known.serial.clone(),
        revocation: revocation(RevocationReason::Superseded),
        not_after: None,
    };
    storage.import_revoked_serials(1, vec![superseded], 0, event("x", "y")).await.unwrap();
    assert_eq!(import(&*storage, imported(known.clone(), hold())).await, REVOKED);
    let first = imported(recorded.clone(), Some(revocation(RevocationReason::Superseded)));
    assert_eq!(import(&*storage, first).await, REVOKED);
    for reason in [RevocationReason::CertificateHold, RevocationReason::PrivilegeWithdrawn] {
        let result = import(&*storage, imported(recorded.clone(), Some(revocation(reason)))).await;
        assert_eq!(result, CertificateImported::RevokedOtherwise(RevocationReason::Superseded));
    }
    for serial in [&known.serial, &recorded.serial] {
        let record = found(&*storage, serial).await.unwrap();
        assert_eq!(record.state, CertificateState::Revoked);
        assert_eq!(record.revocation, Some(revocation(RevocationReason::Superseded)));
    }
    // A hold is followed by what ends it for good.
    let held = certificate(&[]);
    issue(&*storage, held.clone()).await;
    assert_eq!(import(&*storage, imported(held.clone(), hold())).await, CertificateImported::Revoked);
    assert_eq!(found(&*storage, &held.serial).await.unwrap().state, CertificateState::OnHold);
    let more = imported(held.clone(), Some(revocation(RevocationReason::Superseded)));
    assert_eq!(import(&*storage, more).await, CertificateImported::Revoked);
    assert_eq!(found(&*storage, &held.serial).await.unwrap().state, CertificateState::Revoked);
}

async fn a_certificate_whose_key_is_blocked_is_revoked(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let (bad, with_same_key) = (certificate(&[]), certificate(&[]));
    let with_same_key = NewCertificate { spki_sha256: bad.spki_sha256, ..with_same_key };
    let attempt = imported(bad, Some(revocation(RevocationReason::CaCompromise)));
    assert_eq!(import(&*storage, attempt).await, REVOKED);
    assert_eq!(import(&*storage, imported(with_same_key.clone(), None)).await, REVOKED);
    let record = found(&*storage, &with_same_key.serial).await.unwrap();
    assert_eq!(record.revocation.unwrap().reason, RevocationReason::KeyCompromise);
    assert_eq!(record.revocation.unwrap().revoked_at, at(0), "the moment of the import");
}

async fn another_certificate_with_the_serial_number_is_told_apart(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let original = certificate(&[]);
    issue(&*storage, original.clone()).await;
    let other = NewCertificate { fingerprint_sha256: [0xcc; 32], ..original.clone() };
    let said = imported(other, Some(revocation(RevocationReason::Superseded)));
    assert_eq!(import(&*storage, said).await, CertificateImported::OtherCertificate);
    assert_eq!(found(&*storage, &original.serial).await.unwrap().state, CertificateState::Valid);
}

async fn a_serial_number_that_was_known_as_revoked_revokes_its_certificate(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let late = certificate(&["late.internal"]);
    let known = ImportedRevocation {
        serial: late.serial.clone(),
        revocation: revocation(RevocationReason::AffiliationChanged),
        not_after: Some(at(1000)),
    };
    assert_eq!(storage.import_revoked_serials(1, vec![known.clone()], 7, event("x", "y")).await.unwrap(), 1);
    let recorded = storage.import_certificates(vec![imported(late.clone(), None)]).await.unwrap();
    assert_eq!(recorded, [(late.serial.clone(), REVOKED)]);
    let record = found(&*storage, &late.serial).await.unwrap();
    assert_eq!(record.revocation, Some(revocation(RevocationReason::AffiliationChanged)));
    // It is the certificate's now, and does not come back.
    assert_eq!(storage.import_revoked_serials(1, vec![known], 7, event("x", "y")).await.unwrap(), 0);
    assert_eq!(crl_entries(&*storage).await, 1);
}

async fn revoked_serial_numbers_are_recorded_once_and_raise_the_crl_number(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let known: Vec<ImportedRevocation> = (0..3)
        .map(|_| ImportedRevocation {
            serial: serial(),
            revocation: revocation(RevocationReason::Superseded),
            not_after: None,
        })
        .collect();
    let import = |crl_number| {
        let event = event("issuer.import_revocations", "issuer:old");
        storage.import_revoked_serials(1, known.clone(), crl_number, event)
    };
    assert_eq!(import(41).await.unwrap(), 3);
    assert_eq!(import(40).await.unwrap(), 0);
    assert_eq!(storage.take_crl_numbers(1, 1).await.unwrap(), 42, "it follows the greatest number that was imported");
    assert!(storage.issuers().await.unwrap()[0].revocations > 0);
    assert_eq!(storage.revoked_serials(1, 0, at(0), None, 100).await.unwrap().len(), 3, "they stand in the CRL");
    assert_eq!(events(&*storage, "issuer.import_revocations").await, 2);
    storage.import_revoked_serials(1, Vec::new(), 99, event("x", "y")).await.unwrap();
    assert_eq!(storage.take_crl_numbers(1, 1).await.unwrap(), 100);
    let unknown = storage.import_revoked_serials(77, known.clone(), 0, event("x", "y")).await;
    assert!(unknown.is_err(), "there is no such issuer");
}

async fn a_key_that_was_compromised_elsewhere_is_blocked(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let bad = certificate(&[]);
    let attempt = imported(bad.clone(), Some(revocation(RevocationReason::KeyCompromise)));
    storage.import_certificates(vec![attempt]).await.unwrap();
    assert!(storage.key_is_blocked(&bad.spki_sha256).await.unwrap());
}

async fn many_importers_of_the_same_certificates_record_each_once(fixture: Fixture) {
    let storage = with_root(&fixture).await;
    let batch: Vec<ImportedCertificate> = (0..20)
        .map(|number| {
            let revoked = (number % 2 == 0).then(|| revocation(RevocationReason::Superseded));
            imported(certificate(&[]), revoked)
        })
        .collect();
    let importers: Vec<_> = (0..8)
        .map(|_| {
            let (storage, batch) = (Arc::clone(&storage), batch.clone());
            tokio::spawn(async move { new(&storage.import_certificates(batch).await.unwrap()) })
        })
        .collect();
    let mut recorded = 0;
    for importer in importers {
        recorded += importer.await.unwrap();
    }
    assert_eq!(recorded, 20);
    assert_eq!(events(&*storage, "certificate.import").await, 20);
    assert_eq!(crl_entries(&*storage).await, 10);
}
