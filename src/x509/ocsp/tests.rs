//! Tests of OCSP messages: our own reader, the OpenSSL command line, and whatever can be done to a request.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;
use crate::x509::crl::RevocationReason;
use crate::x509::testing::Authority;
use crate::x509::{SerialNumber, SignatureAlgorithm, Timestamp, encoding};

fn serial(octets: &[u8]) -> SerialNumber {
    SerialNumber::from_bytes(octets).unwrap()
}

fn id(authority: &Authority, hash: HashAlgorithm, octets: &[u8]) -> Vec<u8> {
    CertId::encode(hash, &IssuerHashes::of_certificate(&authority.certificate), &serial(octets))
}

fn answer(responder: &Authority, responses: &[SingleResponse<'_>], nonce: Option<&[u8]>) -> Vec<u8> {
    let template = ResponseTemplate {
        responder_key_hash: &key_hash(&responder.certificate.public_key),
        produced_at: "2026-11-01T00:00:00Z".parse().unwrap(),
        responses,
        nonce,
    };
    let data = template.to_be_signed();
    assemble(&data, SignatureAlgorithm::EcdsaSha256, &responder.signature(&data), responder.certificate.as_der())
}

fn single(cert_id: &[u8], status: CertificateStatus) -> SingleResponse<'_> {
    SingleResponse {
        cert_id,
        status,
        this_update: "2026-11-01T00:00:00Z".parse().unwrap(),
        next_update: "2055-11-01T12:00:00Z".parse().unwrap(),
    }
}

fn basic(der: &[u8]) -> BasicResponse {
    match OcspResponse::from_der(der).unwrap() {
        OcspResponse::Successful(basic) => *basic,
        OcspResponse::Error(status) => panic!("an answer is expected, not {status:?}"),
    }
}

fn openssl(directory: &Path, arguments: &str) -> (bool, String) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .output()
        .expect("the openssl command line is installed");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_request_gives_its_identifiers_and_its_nonce() {
    let (ours, other) = (Authority::root("Root"), Authority::root("Other"));
    let ids = [
        id(&ours, HashAlgorithm::Sha1, &[1, 2]),
        id(&ours, HashAlgorithm::Sha256, &[0xff]),
        id(&other, HashAlgorithm::Sha1, &[3]),
    ];
    let der = OcspRequest::encode(&ids, Some(&[7; 32]));
    let request = OcspRequest::from_der(&der).unwrap();
    assert_eq!(request.nonce, Some([7_u8; 32].as_slice()));
    let hashes = IssuerHashes::of_certificate(&ours.certificate);
    let found: Vec<_> = request
        .cert_ids
        .iter()
        .map(|id| (id.der.to_vec(), hashes.matches(id), id.serial_number().unwrap().to_string()))
        .collect();
    let expected =
        ids.into_iter().zip([(true, "0102"), (true, "ff"), (false, "03")]).map(|(id, (m, s))| (id, m, s.to_owned()));
    assert_eq!(found, expected.collect::<Vec<_>>());
}

#[test]
fn a_nonce_has_1_to_128_octets() {
    let ids = [id(&Authority::root("Root"), HashAlgorithm::Sha1, &[1])];
    for (length, accepted) in [(0, false), (1, true), (32, true), (128, true), (129, false)] {
        let der = OcspRequest::encode(&ids, Some(&vec![1; length]));
        assert_eq!(OcspRequest::from_der(&der).is_ok(), accepted, "{length}");
    }
}

#[test]
fn a_request_is_bounded() {
    let root = Authority::root("Root");
    for (count, accepted) in [(0, false), (1, true), (MAXIMUM_CERT_IDS, true), (MAXIMUM_CERT_IDS + 1, false)] {
        let der = OcspRequest::encode(&vec![id(&root, HashAlgorithm::Sha256, &[1; 20]); count], None);
        assert!(der.len() <= MAXIMUM_REQUEST, "the count is reached before the size");
        assert_eq!(OcspRequest::from_der(&der).is_ok(), accepted, "{count}");
    }
    let large = encoding::value(encoding::SEQUENCE, &[0; MAXIMUM_REQUEST]);
    assert!(OcspRequest::from_der(&large).unwrap_err().detail().contains("8192"));
}

#[test]
fn serial_numbers_that_no_certificate_has_are_none() {
    let root = Authority::root("Root");
    let der = id(&root, HashAlgorithm::Sha1, &[0x55; 20]);
    let replaced = |content: &[u8]| {
        let mut fields = crate::x509::decoding::only_sequence(&der, "id").unwrap();
        let mut parts: Vec<Vec<u8>> = (0..3).map(|_| fields.any("field").unwrap().raw.to_vec()).collect();
        parts.push(encoding::value(encoding::INTEGER, content));
        OcspRequest::encode(&[encoding::sequence(&[&parts.concat()])], None)
    };
    for content in [&[0][..], &[0x80], &[1; 21], &[0xff, 0x7f]] {
        let der = replaced(content);
        assert_eq!(OcspRequest::from_der(&der).unwrap().cert_ids[0].serial_number(), None, "{content:?}");
    }
    for content in [&[][..], &[0, 1], &[0xff, 0x80]] {
        assert!(OcspRequest::from_der(&replaced(content)).is_err(), "{content:?}");
    }
}

#[test]
fn unknown_critical_extensions_trailing_octets_and_other_versions_are_refused() {
    let identifier = encoding::sequence(&[&id(&Authority::root("Root"), HashAlgorithm::Sha1, &[1])]);
    let list = encoding::sequence(&[&identifier]);
    let request = |before: &[u8], after: &[u8]| encoding::sequence(&[&encoding::sequence(&[before, &list, after])]);
    let extension = |critical: &[u8]| {
        let oid = encoding::object_identifier(&const_oid::ObjectIdentifier::new_unwrap("1.2.3"));
        let extension = encoding::sequence(&[&oid, critical, &encoding::value(encoding::OCTET_STRING, &[])]);
        encoding::constructed(0xa2, &[&encoding::sequence(&[&extension])])
    };
    for (before, after, accepted) in [
        (vec![], vec![], true),
        (vec![0xa0, 3, 2, 1, 0], vec![], true),
        (vec![0xa0, 3, 2, 1, 1], vec![], false),
        (vec![], extension(&[]), true),
        (vec![], extension(&[1, 1, 0xff]), false),
        (vec![], extension(&[1, 1, 0]), false),
        (vec![], vec![5, 0], false),
    ] {
        let der = request(&before, &after);
        assert_eq!(OcspRequest::from_der(&der).is_ok(), accepted, "{}", hex::encode(&der));
        assert!(OcspRequest::from_der(&[der.as_slice(), &[0]].concat()).is_err());
    }
}

#[test]
fn requests_of_openssl_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let root = Authority::root("Root");
    std::fs::write(directory.path().join("root.pem"), root.certificate.to_pem()).unwrap();
    let hashes = IssuerHashes::of_certificate(&root.certificate);
    for (digest, nonce) in [("sha1", "-no_nonce"), ("sha256", "-nonce")] {
        let arguments =
            format!("ocsp -{digest} -issuer root.pem -serial 0x0102 -serial 0xfedc {nonce} -reqout request.der");
        let (ok, text) = openssl(directory.path(), &arguments);
        assert!(ok, "{text}");
        let der = std::fs::read(directory.path().join("request.der")).unwrap();
        let request = OcspRequest::from_der(&der).unwrap();
        assert!(request.cert_ids.iter().all(|id| hashes.matches(id)));
        assert_eq!(request.cert_ids[1].serial_number(), Some(serial(&[0xfe, 0xdc])));
        assert_eq!(request.nonce.is_some(), nonce == "-nonce");
    }
}

#[test]
fn what_is_built_is_what_is_read() {
    let root = Authority::root("Root");
    let responder = root.responder();
    let revoked_at = Timestamp::from_unix(1_790_000_000);
    let statuses = [CertificateStatus::Good, CertificateStatus::Unknown]
        .into_iter()
        .chain(RevocationReason::ALL.map(|reason| CertificateStatus::Revoked { revoked_at, reason }));
    let ids: Vec<_> = (1_u8..).zip(statuses).map(|(n, s)| (id(&root, HashAlgorithm::Sha256, &[n]), s)).collect();
    let responses: Vec<_> = ids.iter().map(|(id, status)| single(id, *status)).collect();
    let read = basic(&answer(&responder, &responses, Some(&[9; 16])));
    let expected: Vec<_> = (1_u8..)
        .zip(&responses)
        .map(|(n, single)| ReadSingleResponse {
            cert_id: single.cert_id.to_vec(),
            serial: Some(serial(&[n])),
            status: single.status,
            this_update: single.this_update,
            next_update: Some(single.next_update),
        })
        .collect();
    assert_eq!(read.responses, expected);
    assert_eq!(read.nonce.as_deref(), Some([9_u8; 16].as_slice()));
    assert!(read.responder_needs_no_check());
    read.verify(&root.certificate).unwrap();
    assert!(read.verify(&Authority::root("Root").certificate).is_err());
}

#[test]
fn an_answer_signed_by_anybody_else_does_not_verify() {
    let root = Authority::root("Root");
    let identifier = id(&root, HashAlgorithm::Sha1, &[1]);
    let responses = [single(&identifier, CertificateStatus::Good)];
    // Another CA's responder, and a CA below ours that was not made to answer.
    for responder in [Authority::root("Root").responder(), root.subordinate("Sub", None)] {
        assert!(basic(&answer(&responder, &responses, None)).verify(&root.certificate).is_err());
    }
}

#[test]
fn openssl_accepts_answers_and_refuses_altered_ones() {
    let directory = tempfile::tempdir().unwrap();
    let root = Authority::root("Root");
    let responder = root.responder();
    std::fs::write(directory.path().join("root.pem"), root.certificate.to_pem()).unwrap();
    let revoked = CertificateStatus::Revoked {
        revoked_at: Timestamp::from_unix(1_790_000_000),
        reason: RevocationReason::KeyCompromise,
    };
    for (octet, status, word) in [
        (1, CertificateStatus::Good, "0x01: good"),
        (2, revoked, "0x02: revoked"),
        (3, CertificateStatus::Unknown, "0x03: unknown"),
    ] {
        let identifier = id(&root, HashAlgorithm::Sha1, &[octet]);
        let der = answer(&responder, &[single(&identifier, status)], None);
        let judge = |der: &[u8]| {
            std::fs::write(directory.path().join("answer.der"), der).unwrap();
            let arguments = format!(
                "ocsp -issuer root.pem -CAfile root.pem -serial 0x0{octet} -respin answer.der -validity_period 1000000000"
            );
            openssl(directory.path(), &arguments)
        };
        let (ok, text) = judge(&der);
        assert!(ok && text.contains("Response verify OK") && text.contains(word), "{text}");
        if status == revoked {
            assert!(text.contains("Reason: keyCompromise") && text.contains("Revocation Time"), "{text}");
        }
        let mut altered = der;
        let position = altered.windows(4).position(|window| window == b"2026").unwrap();
        altered[position + 3] = b'5';
        let (_, text) = judge(&altered);
        assert!(!text.contains("Response verify OK"), "{text}");
    }
}

#[test]
fn error_answers_are_those_of_the_rfc() {
    for (status, der) in ErrorStatus::ALL.map(|status| (status, status.to_der())) {
        match OcspResponse::from_der(der).unwrap() {
            OcspResponse::Error(read) => assert_eq!(read, status),
            OcspResponse::Successful(_) => panic!("an error is not an answer"),
        }
    }
    assert_eq!(hex::encode(ErrorStatus::Unauthorized.to_der()), "30030a0106");
}

#[test]
fn every_cut_request_and_response_is_malformed() {
    let root = Authority::root("Root");
    let identifier = id(&root, HashAlgorithm::Sha256, &[1, 2, 3]);
    let request = OcspRequest::encode(std::slice::from_ref(&identifier), Some(&[1; 32]));
    for length in 0..request.len() {
        assert_eq!(OcspRequest::from_der(&request[..length]).unwrap_err().kind(), ErrorKind::Malformed);
    }
    let response = answer(&root.responder(), &[single(&identifier, CertificateStatus::Good)], Some(&[1; 32]));
    for length in 0..response.len() {
        assert_eq!(OcspResponse::from_der(&response[..length]).unwrap_err().kind(), ErrorKind::Malformed);
    }
}

proptest! {
    #[test]
    fn altered_requests_are_read_or_malformed(
        position in 0_usize..200, octet: u8, removed in 0_usize..3, inserted in proptest::collection::vec(any::<u8>(), 0..3),
    ) {
        let hashes = IssuerHashes { name_sha1: [1; 20], key_sha1: [2; 20], name_sha256: [3; 32], key_sha256: [4; 32] };
        let ids = [HashAlgorithm::Sha1, HashAlgorithm::Sha256].map(|hash| CertId::encode(hash, &hashes, &serial(&[5; 20])));
        let mut der = OcspRequest::encode(&ids, Some(&[6; 16]));
        let position = position % der.len();
        der[position] = octet;
        let end = (position + removed).min(der.len());
        der.splice(position..end, inserted);
        match OcspRequest::from_der(&der) {
            Ok(request) => {
                prop_assert!(!request.cert_ids.is_empty());
                for id in &request.cert_ids {
                    prop_assert!(der.windows(id.der.len()).any(|window| window == id.der));
                }
            }
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Malformed),
        }
    }

    #[test]
    fn any_octets_are_read_or_malformed(der in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Err(error) = OcspRequest::from_der(&der) {
            prop_assert_eq!(error.kind(), ErrorKind::Malformed);
        }
        if let Err(error) = OcspResponse::from_der(&der) {
            prop_assert_eq!(error.kind(), ErrorKind::Malformed);
        }
    }
}
