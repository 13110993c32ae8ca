//! Tests of CRLs: what is written is read again, by us and by others; what is odd is refused.

use super::*;
use crate::x509::testing::Authority;
use crate::x509::{SerialNumber, SignatureAlgorithm, Timestamp};

fn entry(serial: &[u8], reason: RevocationReason, invalidity_date: Option<Timestamp>) -> RevokedEntry {
    RevokedEntry {
        serial: SerialNumber::from_bytes(serial).unwrap(),
        revoked_at: "2026-01-02T03:04:05Z".parse().unwrap(),
        reason,
        invalidity_date,
    }
}

fn removed(serial: u8) -> RemovedEntry {
    RemovedEntry {
        serial: SerialNumber::from_bytes(&[serial]).unwrap(),
        removed_at: "2026-01-02T03:04:05Z".parse().unwrap(),
    }
}

fn template(authority: &Authority) -> CrlTemplate<'_> {
    CrlTemplate {
        signature_algorithm: SignatureAlgorithm::EcdsaSha256,
        issuer: &authority.certificate.subject,
        authority_key_identifier: authority.certificate.subject_key_identifier.as_deref().unwrap(),
        number: 300,
        this_update: "2026-01-03T00:00:00Z".parse().unwrap(),
        next_update: "2055-01-04T00:00:00Z".parse().unwrap(),
        distribution_point: None,
        base_number: None,
        freshest_crl: None,
    }
}

fn built(
    authority: &Authority,
    template: &CrlTemplate<'_>,
    entries: &[RevokedEntry],
    removed: &[RemovedEntry],
) -> Vec<u8> {
    let mut builder = template.begin(0).unwrap();
    entries.iter().for_each(|entry| builder.push(entry));
    removed.iter().for_each(|entry| builder.push_removed(entry));
    let unsigned = builder.finish();
    let signed = authority.sign(unsigned.to_be_signed());
    let signature = certificate_signature(&signed);
    let der = unsigned.with_signature(&signature);
    assert_eq!(der, signed);
    der
}

/// Takes the signature out of a signed object.
fn certificate_signature(der: &[u8]) -> Vec<u8> {
    crate::x509::certificate::Signed::from_der(der, "object").unwrap().signature.to_vec()
}

fn list(authority: &Authority, entries: &[RevokedEntry]) -> Vec<u8> {
    built(authority, &template(authority), entries, &[])
}

/// One entry of each reason, some with an invalidity date, serial numbers of every length.
fn entries() -> Vec<RevokedEntry> {
    RevocationReason::ALL
        .into_iter()
        .zip(1_u8..)
        .map(|(reason, number)| {
            let serial = vec![number * 28; usize::from(number) * 2];
            entry(&serial, reason, (number % 2 == 0).then_some(Timestamp::from_unix(1_700_000_000)))
        })
        .collect()
}

#[test]
fn what_is_built_is_what_is_parsed() {
    let authority = Authority::root("Root");
    let parsed = CertificateList::from_der(&list(&authority, &entries())).unwrap();
    assert_eq!(parsed.entries, entries());
    assert_eq!(parsed.number, Some(300));
    assert_eq!(parsed.issuer, authority.certificate.subject);
    assert_eq!(parsed.this_update.to_string(), "2026-01-03T00:00:00Z");
    assert_eq!(parsed.next_update.map(|moment| moment.to_string()).as_deref(), Some("2055-01-04T00:00:00Z"));
    assert_eq!((parsed.is_delta(), parsed.base_number, parsed.distribution_point.clone()), (false, None, None));
    assert_eq!((parsed.removed.as_slice(), parsed.freshest_crl.len()), (&[][..], 0));
    parsed.verify(&authority.certificate).unwrap();
    assert!(parsed.verify(&Authority::root("Root").certificate).is_err());
}

#[test]
fn the_library_reads_the_same() {
    use x509_parser::asn1_rs::FromDer as _;
    use x509_parser::revocation_list::CertificateRevocationList;

    let authority = Authority::root("Root");
    let der = list(&authority, &entries());
    let (rest, theirs) = CertificateRevocationList::from_der(&der).unwrap();
    assert!(rest.is_empty());
    let theirs: Vec<_> = theirs
        .iter_revoked_certificates()
        .map(|entry| {
            let reason = entry.reason_code().map_or(0, |(_critical, reason)| reason.0);
            let invalidity = entry.invalidity_date().map(|(_critical, moment)| moment.timestamp());
            (entry.raw_serial().to_vec(), entry.revocation_date.timestamp(), reason, invalidity)
        })
        .collect();
    let ours: Vec<_> = entries()
        .into_iter()
        .map(|entry| {
            let serial = entry.serial.to_der_content();
            (serial, entry.revoked_at.unix(), entry.reason.code(), entry.invalidity_date.map(Timestamp::unix))
        })
        .collect();
    assert_eq!(theirs, ours);
}

#[test]
fn a_shard_names_its_distribution_point_and_its_delta() {
    let authority = Authority::root("Root");
    let template = CrlTemplate {
        distribution_point: Some("http://pki.example/pki/issuing/3.crl"),
        freshest_crl: Some("http://pki.example/pki/issuing/3/delta.crl"),
        ..template(&authority)
    };
    let parsed = CertificateList::from_der(&built(&authority, &template, &entries(), &[])).unwrap();
    let point = parsed.distribution_point.clone().unwrap();
    assert_eq!(point.full_name, ["http://pki.example/pki/issuing/3.crl"]);
    assert_eq!(point, IssuingDistributionPoint { full_name: point.full_name.clone(), ..Default::default() });
    assert_eq!(parsed.freshest_crl, ["http://pki.example/pki/issuing/3/delta.crl"]);
    assert!(!parsed.is_delta());
    let criticality: Vec<_> = parsed.extensions().iter().map(|one| (one.oid.to_string(), one.critical)).collect();
    assert_eq!(
        criticality,
        [("2.5.29.35", false), ("2.5.29.20", false), ("2.5.29.28", true), ("2.5.29.46", false)]
            .map(|(oid, critical)| (oid.to_owned(), critical))
    );
    parsed.verify(&authority.certificate).unwrap();
}

#[test]
fn a_delta_names_its_base_and_takes_certificates_off_it() {
    let authority = Authority::root("Root");
    let template = CrlTemplate { base_number: Some(299), ..template(&authority) };
    let der = built(&authority, &template, &entries(), &[removed(1), removed(0x80)]);
    let parsed = CertificateList::from_der(&der).unwrap();
    assert_eq!((parsed.is_delta(), parsed.base_number, parsed.number), (true, Some(299), Some(300)));
    assert_eq!(parsed.entries, entries());
    assert_eq!(parsed.removed, [removed(1), removed(0x80)]);
    let indicator = parsed.extensions().iter().find(|one| one.oid.to_string() == "2.5.29.27").unwrap();
    assert!(indicator.critical);
    parsed.verify(&authority.certificate).unwrap();
}

#[test]
fn only_a_delta_takes_certificates_off() {
    let authority = Authority::root("Root");
    let error = CertificateList::from_der(&built(&authority, &template(&authority), &[], &[removed(1)])).unwrap_err();
    assert_eq!(error.detail(), "the reason code 8 in the CRL is not one that a full CRL has");
}

#[test]
fn what_makes_no_sense_is_not_begun() {
    let authority = Authority::root("Root");
    let both = CrlTemplate { base_number: Some(1), freshest_crl: Some("http://a/"), ..template(&authority) };
    assert!(both.begin(0).is_err());
    let ended = CrlTemplate { next_update: template(&authority).this_update, ..template(&authority) };
    assert!(ended.begin(0).is_err());
}

#[test]
fn a_crl_with_an_unknown_critical_extension_is_shown_but_not_relied_on() {
    let authority = Authority::root("Root");
    let template = CrlTemplate { distribution_point: Some("http://a/1.crl"), ..template(&authority) };
    let mut changed = built(&authority, &template, &[], &[]);
    let position = changed.windows(5).position(|window| window == [0x06, 0x03, 0x55, 0x1d, 28]).unwrap();
    changed[position + 4] = 0x7f;
    let parsed = CertificateList::from_der(&changed).unwrap();
    assert_eq!(parsed.distribution_point, None);
    let error = parsed.verify(&authority.certificate).unwrap_err();
    assert_eq!(error.detail(), "the CRL has the critical extension `2.5.29.127`, which is not understood");
}

#[test]
fn without_entries_the_list_is_absent() {
    let authority = Authority::root("Root");
    let der = list(&authority, &[]);
    let parsed = CertificateList::from_der(&der).unwrap();
    assert!(parsed.entries.is_empty());
    // After nextUpdate comes the [0] of the extensions at once.
    let next_update = der.windows(15).position(|window| window == b"20550104000000Z").unwrap();
    assert_eq!(der[next_update + 15], 0xa0);
}

#[test]
fn an_unspecified_reason_is_not_written() {
    let mut out = Vec::new();
    entry::append_revoked(&mut out, &entry(&[5], RevocationReason::Unspecified, None));
    assert_eq!(hex::encode(out), "3012020105170d3236303130323033303430355a");
}

#[test]
fn truncated_lists_are_malformed() {
    let authority = Authority::root("Root");
    let der = list(&authority, &[entry(&[5], RevocationReason::KeyCompromise, None)]);
    for length in 0..der.len() {
        assert!(CertificateList::from_der(&der[..length]).is_err());
    }
}

#[test]
fn flipped_bits_never_panic_and_never_verify() {
    let authority = Authority::root("Root");
    let template =
        CrlTemplate { base_number: Some(2), distribution_point: Some("http://a/1.crl"), ..template(&authority) };
    let der = built(&authority, &template, &entries()[..3], &[removed(9)]);
    for position in 0..der.len() {
        for bit in [1, 0x20, 0x80] {
            let mut changed = der.clone();
            changed[position] ^= bit;
            if let Ok(list) = CertificateList::from_der(&changed) {
                assert!(list.verify(&authority.certificate).is_err(), "{position} {bit}");
            }
        }
    }
}
