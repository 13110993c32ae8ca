//! Tests of requests: made by other programs (`tests/fixtures/csr`), and made wrong on purpose.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use proptest::prelude::*;

use super::*;
use crate::error::{Error, ErrorKind};
use crate::x509::certificate::assemble;
use crate::x509::distinguished_name::AttributeType;
use crate::x509::extension::{Extension, oids};
use crate::x509::testing::Authority;
use crate::x509::{KeyAlgorithm, KeyUsage, encoding, inspect, pem};

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/csr/{name}.pem", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn parse(name: &str) -> Result<CertificateRequest> {
    CertificateRequest::parse(&fixture(name))
}

fn names(request: &CertificateRequest) -> Vec<String> {
    request
        .requested()
        .names
        .iter()
        .map(|name| match name {
            RequestedName::Name(name) => name.to_string(),
            RequestedName::Malformed(malformed) => format!("malformed {}", malformed.value),
            RequestedName::Unsupported { kind, value } => format!("unsupported {kind} {value}"),
        })
        .collect()
}

#[test]
fn every_supported_key_and_digest_is_verified() {
    for (name, key, signature) in [
        ("ecdsa-p256", KeyAlgorithm::EcdsaP256, SignatureAlgorithm::EcdsaSha256),
        ("ecdsa-p256-sha512", KeyAlgorithm::EcdsaP256, SignatureAlgorithm::EcdsaSha512),
        ("ecdsa-p384-sha256", KeyAlgorithm::EcdsaP384, SignatureAlgorithm::EcdsaSha256),
        ("ecdsa-p384", KeyAlgorithm::EcdsaP384, SignatureAlgorithm::EcdsaSha384),
        ("ecdsa-p521", KeyAlgorithm::EcdsaP521, SignatureAlgorithm::EcdsaSha512),
        ("ed25519", KeyAlgorithm::Ed25519, SignatureAlgorithm::Ed25519),
        ("ml-dsa-44", KeyAlgorithm::MlDsa44, SignatureAlgorithm::MlDsa44),
        ("ml-dsa-65", KeyAlgorithm::MlDsa65, SignatureAlgorithm::MlDsa65),
        ("ml-dsa-87", KeyAlgorithm::MlDsa87, SignatureAlgorithm::MlDsa87),
        ("rsa-2048", KeyAlgorithm::Rsa(2048), SignatureAlgorithm::RsaSha256),
        ("rsa-3072-sha384", KeyAlgorithm::Rsa(3072), SignatureAlgorithm::RsaSha384),
        ("rsa-4096-sha512", KeyAlgorithm::Rsa(4096), SignatureAlgorithm::RsaSha512),
    ] {
        let request = parse(name).unwrap();
        assert_eq!(request.public_key().algorithm(), Ok(key), "{name}");
        assert_eq!(request.signature_algorithm(), signature, "{name}");
        assert_eq!(request.public_key().weaknesses(), [], "{name}");
        assert_eq!(request.subject().to_string(), "CN=a.example,O=Example,C=DE");
        assert_eq!(
            names(&request),
            [
                "dns:a.example",
                "dns:*.b.example",
                "ip:10.0.0.1",
                "ip:2001:db8::1",
                "uri:spiffe://example/x",
                "email:ops@example.com"
            ]
        );
        assert_eq!(request.requested().key_usage, Some([KeyUsage::DigitalSignature].into()));
        let usages = request.requested().extended_key_usage.clone().unwrap();
        assert_eq!(usages.iter().map(ToString::to_string).collect::<Vec<_>>(), ["server_auth", "client_auth"]);
        assert_eq!(request.requested().other, []);
    }
}

#[test]
fn unsupported_keys_are_refused_by_name() {
    for (name, key) in [
        ("dsa", "dsa"),
        ("secp256k1", "secp256k1"),
        ("brainpool", "brainpoolP256r1"),
        ("ecdsa-p224", "ecdsa-p224"),
        ("ed448", "ed448"),
        ("ec-explicit", "ec-explicit-parameters"),
        ("rsa-pss", "rsassa-pss"),
    ] {
        let error = parse(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PolicyViolation, "{name}: {error}");
        assert_eq!(error.violations().len(), 1);
        assert_eq!(error.violations()[0].code, "key_not_allowed");
        assert_eq!(error.violations()[0].value, key);
    }
}

#[test]
fn weak_signatures_are_refused_by_name() {
    for (name, algorithm) in
        [("rsa-sha1", "sha1WithRSAEncryption"), ("rsa-md5", "md5WithRSAEncryption"), ("ecdsa-sha1", "ecdsa-with-SHA1")]
    {
        let error = parse(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadCsr, "{name}");
        assert!(error.detail().contains(algorithm), "{error}");
    }
}

#[test]
fn weak_keys_are_named_as_such() {
    for (name, code) in [("rsa-1024", "key_too_small"), ("rsa-exponent-3", "key_exponent")] {
        let codes: Vec<&str> =
            parse(name).unwrap().public_key().weaknesses().iter().map(|weakness| weakness.code).collect();
        assert_eq!(codes, [code]);
    }
    // The library verifies neither of these.
    for name in ["rsa-512", "rsa-1024-sha384"] {
        let error = parse(name).unwrap_err();
        assert_eq!(error.violations().first().map(|violation| violation.code), Some("key_too_small"), "{error}");
    }
}

#[test]
fn what_is_asked_for_is_kept() {
    let request = parse("ca-true").unwrap();
    assert!(request.requested().certificate_authority);
    let request = parse("ca-false").unwrap();
    assert!(!request.requested().certificate_authority);
    assert_eq!(request.requested().other, []);
    assert!(parse("must-staple").unwrap().requested().must_staple);
    let other: Vec<String> =
        parse("other-extensions").unwrap().requested().other.iter().map(|(_, name)| name.clone()).collect();
    assert_eq!(other, ["certificate_policies", "netscape_comment", "1.2.3.4"]);
    assert_eq!(
        names(&parse("other-names").unwrap()),
        [
            "unsupported otherName a00a06032a0304a0030c0178",
            "unsupported registeredID 1.2.3.4",
            "malformed bad..example",
            "ip:10.0.0.1"
        ]
    );
    assert_eq!(parse("no-extensions").unwrap().requested(), &RequestedExtensions::default());
    assert!(parse("empty-subject").unwrap().subject().is_empty());
    assert_eq!(names(&parse("challenge-password").unwrap()), ["dns:a.example"]);
    assert_eq!(parse("new-label").unwrap().subject().to_string(), "CN=a.example");
}

#[test]
fn a_key_identifier_counts_only_when_the_key_does_not_give_it() {
    assert_eq!(parse("key-identifier").unwrap().requested().other, []);
    let other = parse("foreign-key-identifier").unwrap().requested().other.clone();
    assert_eq!(other, [(oids::SUBJECT_KEY_IDENTIFIER, "subject_key_identifier".to_owned())]);
}

#[test]
fn requests_of_other_programs_are_read() {
    for name in ["keytool", "certtool", "python"] {
        let request = parse(name).unwrap();
        assert_eq!(request.subject().values(AttributeType::CommonName).collect::<Vec<_>>(), ["a.example"], "{name}");
        assert!(request.subject().attributes().iter().all(|attribute| attribute.defect.is_none()), "{name}");
        assert_eq!(names(&request)[0], "dns:a.example", "{name}");
        assert_eq!(request.requested().other, [], "{name}");
    }
}

#[test]
fn der_and_text_around_pem_are_taken() {
    let text = String::from_utf8(fixture("ecdsa-p256")).unwrap();
    let der = pem::decode_all(&text).unwrap().remove(0).1;
    assert_eq!(CertificateRequest::parse(&der).unwrap().as_der(), der);
    let around = format!("0 is where it starts\r\n{}\r\nbye", text.replace('\n', "\r\n"));
    assert_eq!(CertificateRequest::parse(around.as_bytes()).unwrap().as_der(), der);
    assert!(CertificateRequest::parse(format!("{text}{text}").as_bytes()).is_err());
}

#[test]
fn input_that_is_no_request_is_bad() {
    let der = pem::decode_all(&String::from_utf8(fixture("ecdsa-p256")).unwrap()).unwrap().remove(0).1;
    let mut trailing = der.clone();
    trailing.push(0);
    let certificate = Authority::root("Root").certificate;
    for input in [
        &b""[..],
        b"hello",
        b"\xff",
        b"-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n",
        b"-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n",
        b"-----BEGIN CERTIFICATE REQUEST-----\n!!\n-----END CERTIFICATE REQUEST-----\n",
        &trailing,
        &[0x30; MAXIMUM_LENGTH + 1],
        certificate.as_der(),
        certificate.to_pem().as_bytes(),
    ] {
        assert_eq!(CertificateRequest::parse(input).unwrap_err().kind(), ErrorKind::BadCsr);
    }
    for length in 0..der.len() {
        assert_eq!(CertificateRequest::parse(&der[..length]).unwrap_err().kind(), ErrorKind::BadCsr);
    }
}

#[test]
fn a_changed_octet_is_refused() {
    let der = pem::decode_all(&String::from_utf8(fixture("ecdsa-p256")).unwrap()).unwrap().remove(0).1;
    for position in 0..der.len() {
        let mut changed = der.clone();
        changed[position] ^= 1;
        assert!(CertificateRequest::parse(&changed).is_err(), "{position}");
    }
}

#[test]
fn a_request_whose_signature_does_not_verify_is_shown_as_such() {
    let text = String::from_utf8(fixture("ecdsa-p256")).unwrap();
    let mut der = pem::decode_all(&text).unwrap().remove(0).1;
    let valid = |der: &[u8]| inspect::inspect(der).unwrap()[0].fields["signature_valid"].clone();
    assert_eq!(valid(&der), true);
    let position = der.windows(9).position(|window| window == b"a.example").unwrap();
    der[position] = b'b';
    assert_eq!(valid(&der), false);
    let unsupported = inspect::inspect(&fixture("secp256k1")).unwrap();
    assert_eq!(unsupported[0].fields["key"]["algorithm"], "secp256k1");
    assert_eq!(unsupported[0].fields["signature_valid"], false);
}

#[test]
fn a_renewal_asks_for_what_the_certificate_has() {
    let certificate = Authority::root("Root").leaf("a.example");
    let request = CertificateRequest::from_certificate(&certificate);
    assert_eq!(request.subject(), &certificate.subject);
    assert_eq!(request.public_key(), &certificate.public_key);
    assert_eq!(names(&request), ["dns:a.example"]);
    assert_eq!(request.requested().key_usage, certificate.key_usage);
    assert!(request.requested().must_staple);
    assert!(!request.requested().certificate_authority);
    assert!(request.as_der().is_empty());
}

/// Signs a request of these parts with a fresh key.
fn signed(version: u8, attributes: &[&[u8]]) -> Vec<u8> {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let algorithm = hex::decode("301306072a8648ce3d020106082a8648ce3d030107").unwrap();
    let spki = encoding::sequence(&[&algorithm, &encoding::bit_string(key.public_key().as_ref())]);
    let subject = DistinguishedName::parse("CN=a.example").unwrap();
    let attributes = encoding::constructed(encoding::context_constructed(0), attributes);
    let version = encoding::unsigned(u64::from(version));
    signed_information(&key, &[&version, subject.as_der(), &spki, &attributes])
}

fn signed_information(key: &EcdsaKeyPair, fields: &[&[u8]]) -> Vec<u8> {
    let information = encoding::sequence(fields);
    let signature = key.sign(&SystemRandom::new(), &information).unwrap();
    assemble(&information, SignatureAlgorithm::EcdsaSha256, signature.as_ref())
}

fn extension_request(oid: ObjectIdentifier, extensions: &[Extension]) -> Vec<u8> {
    let list = Extension::list_to_der(extensions);
    encoding::sequence(&[&encoding::object_identifier(&oid), &encoding::value(encoding::SET, &list)])
}

fn alternative_names(content: &[u8]) -> Extension {
    Extension { oid: oids::SUBJECT_ALT_NAME, critical: false, value: encoding::sequence(&[content]) }
}

fn requested_with(extensions: &[Extension]) -> Result<CertificateRequest, Error> {
    CertificateRequest::parse(&signed(0, &[&extension_request(oids::EXTENSION_REQUEST, extensions)]))
}

#[test]
fn repeated_extensions_and_carriers_are_bad() {
    let names = alternative_names(&encoding::value(encoding::context(2), b"a.example"));
    let error = requested_with(&[names.clone(), names.clone()]).unwrap_err();
    assert_eq!((error.kind(), error.detail()), (ErrorKind::BadCsr, "the extension `subject_alt_name` is there twice"));
    let standard = extension_request(oids::EXTENSION_REQUEST, std::slice::from_ref(&names));
    let microsoft = extension_request(oids::MICROSOFT_EXTENSION_REQUEST, &[names]);
    for carriers in [[&standard, &standard], [&standard, &microsoft]] {
        let error = CertificateRequest::parse(&signed(0, &carriers.map(Vec::as_slice))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadCsr);
    }
    let request = CertificateRequest::parse(&signed(0, &[&microsoft])).unwrap();
    assert_eq!(self::names(&request), ["dns:a.example"]);
    assert_eq!(CertificateRequest::parse(&signed(2, &[])).unwrap_err().kind(), ErrorKind::BadCsr);
}

#[test]
fn attributes_that_ask_for_nothing_do_not_matter() {
    let names = alternative_names(&encoding::value(encoding::context(2), b"a.example"));
    let request = extension_request(oids::EXTENSION_REQUEST, &[names]);
    let challenge = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.7");
    for tag in [encoding::IA5_STRING, encoding::BMP_STRING, encoding::UTF8_STRING, encoding::SEQUENCE] {
        let values = encoding::value(encoding::SET, &encoding::value(tag, b"no"));
        let password = encoding::sequence(&[&encoding::object_identifier(&challenge), &values]);
        for attributes in [[&password, &request], [&request, &password]] {
            let parsed = CertificateRequest::parse(&signed(0, &attributes.map(Vec::as_slice))).unwrap();
            assert_eq!(self::names(&parsed), ["dns:a.example"], "{tag:#x}");
        }
    }
}

#[test]
fn attributes_may_be_left_out_and_nothing_may_follow_them() {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let algorithm = hex::decode("301306072a8648ce3d020106082a8648ce3d030107").unwrap();
    let bits = encoding::bit_string(key.public_key().as_ref());
    let spki = encoding::sequence(&[&algorithm, &bits]);
    let subject = DistinguishedName::parse("CN=a.example").unwrap();
    let (version, empty, null) = (encoding::unsigned(0), [0xa0, 0], [5, 0]);
    let without = signed_information(&key, &[&version, subject.as_der(), &spki]);
    let request = CertificateRequest::parse(&without).unwrap();
    assert_eq!(request.subject(), &subject);
    assert_eq!(request.public_key().spki_der(), spki);
    // x509-parser would read all of these, without what is too much.
    let long = encoding::sequence(&[&algorithm, &bits, &null]);
    let attribute = hex::decode("3009060355040a0c016f0500").unwrap();
    let trailing_attribute = encoding::sequence(&[&encoding::value(encoding::SET, &attribute)]);
    for fields in [
        [&version, subject.as_der(), &spki, &[0xa0, 0, 5, 0]],
        [&version, subject.as_der(), &long, &empty],
        [&version, &trailing_attribute, &spki, &empty],
        [&version, &[0x30, 2, 5, 0], &spki, &empty],
        [&version, subject.as_der(), &spki, &null],
    ] {
        let error = CertificateRequest::parse(&signed_information(&key, &fields)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadCsr, "{fields:02x?}");
    }
}

#[test]
fn malformed_names_are_kept_for_policy_to_refuse() {
    let general = |number: u8, content: &[u8]| encoding::value(encoding::context(number), content);
    for (name, expected) in [
        (general(2, b"a.example\0.evil"), "malformed a.example\\u{0}.evil"),
        (general(2, b"b\xc3\xbccher.example"), "malformed bücher.example"),
        (general(2, b"\xff.example"), "malformed \\xff.example"),
        (general(2, b"10.0.0.1"), "malformed 10.0.0.1"),
        (general(2, b""), "malformed "),
        (general(7, &[10, 0, 0]), "malformed 0a0000"),
        (general(7, &[0; 8]), "malformed 0000000000000000"),
        (general(1, b"ops@@example.com"), "malformed ops@@example.com"),
        (general(6, b"/relative"), "malformed /relative"),
        (general(2, b"A.Example"), "dns:a.example"),
    ] {
        assert_eq!(names(&requested_with(&[alternative_names(&name)]).unwrap()), [expected]);
    }
    let directory = DistinguishedName::parse("CN=x").unwrap();
    let name = encoding::value(encoding::context_constructed(4), directory.as_der());
    assert_eq!(names(&requested_with(&[alternative_names(&name)]).unwrap()), ["unsupported directoryName CN=x"]);
    assert_eq!(names(&requested_with(&[alternative_names(&[])]).unwrap()), [""; 0]);
}

#[test]
fn extensions_that_do_not_decode_are_bad() {
    let broken = |oid, value: &[u8]| Extension { oid, critical: false, value: value.to_vec() };
    for extension in [
        broken(oids::KEY_USAGE, &[3, 2, 0, 0]),
        broken(oids::KEY_USAGE, &[3, 1, 0]),
        broken(oids::KEY_USAGE, &[3, 2, 7, 0xff]),
        broken(oids::EXTENDED_KEY_USAGE, &[0x30, 0]),
        broken(oids::BASIC_CONSTRAINTS, &[0x30, 3, 2, 1, 0]),
        broken(oids::BASIC_CONSTRAINTS, &[0x30, 3, 1, 1, 1]),
        broken(oids::SUBJECT_ALT_NAME, &[0x30, 5, 0x82, 1]),
        broken(oids::TLS_FEATURE, &[0x30, 3, 2, 1, 0x80]),
    ] {
        let error = requested_with(std::slice::from_ref(&extension)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadCsr, "{extension:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(mut input in proptest::collection::vec(any::<u8>(), 1..200)) {
        input[0] = 0x30;
        prop_assert!(CertificateRequest::parse(&input).is_err());
        prop_assert!(inspect::inspect(&input).is_err());
    }
}
