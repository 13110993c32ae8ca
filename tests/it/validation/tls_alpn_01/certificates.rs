//! Certificates that answer the challenge in every way but the right one (RFC 8737, section 3).

use super::super::fixture::{Bench, NAME, assert_failure, digest};
use super::look_at;
use crate::support::csr::Key;
use crate::support::der;
use crate::support::responders::certificate::{ACME_IDENTIFIER, ChallengeCertificate, acme_identifier, dns, ip, names};
use crate::support::responders::tls::{Presented, TlsResponder};
use chancery::policy::acme::ChallengeType;

/// Asserts that a certificate is refused, and why.
#[track_caller]
fn refused(certificate: &ChallengeCertificate, why: &str) {
    let outcome = look_at(Presented::one(certificate));
    let parts = ["does not meet the challenge", why, NAME, "127.0.0.1"];
    assert_failure(outcome, "unauthorized", false, &parts);
}

/// Extensions whose names are right, with this one instead of `acmeIdentifier`.
fn with_identifier(extension: Vec<u8>) -> ChallengeCertificate {
    ChallengeCertificate::new(vec![names(&[dns(NAME)]), extension])
}

/// Extensions with the right `acmeIdentifier` and these names.
fn with_names(general_names: &[Vec<u8>]) -> ChallengeCertificate {
    ChallengeCertificate::new(vec![names(general_names), acme_identifier(&digest())])
}

#[test]
fn the_name_is_compared_without_case() {
    look_at(Presented::one(&with_names(&[dns("APP.Internal")]))).unwrap();
}

#[test]
fn other_extensions_do_not_matter() {
    let basic_constraints = der::extension("2.5.29.19", true, &der::wrap(der::SEQUENCE, &[]));
    let unknown = der::extension("1.2.3.4", true, b"anything");
    let certificate =
        ChallengeCertificate::new(vec![basic_constraints, acme_identifier(&digest()), unknown, names(&[dns(NAME)])]);
    look_at(Presented::one(&certificate)).unwrap();
}

#[test]
fn the_identifier_must_be_there_once_and_critical() {
    refused(&ChallengeCertificate::new(vec![names(&[dns(NAME)])]), "no acmeIdentifier extension");
    refused(&ChallengeCertificate::new(Vec::new()), "no acmeIdentifier extension");
    let octets = der::tlv(der::OCTET_STRING, &digest());
    refused(&with_identifier(der::extension(ACME_IDENTIFIER, false, &octets)), "must be critical");
    let twice = vec![names(&[dns(NAME)]), acme_identifier(&digest()), acme_identifier(&digest())];
    refused(&ChallengeCertificate::new(twice), "acmeIdentifier extension more than once");
}

#[test]
fn the_identifier_of_a_draft_is_told_apart() {
    let octets = der::tlv(der::OCTET_STRING, &digest());
    let draft = der::extension("1.3.6.1.5.5.7.1.30.1", true, &octets);
    refused(&with_identifier(draft), "of a draft (1.3.6.1.5.5.7.1.30.1)");
}

#[test]
fn the_identifier_must_hold_the_digest_and_nothing_else() {
    let extension = |value: &[u8]| with_identifier(der::extension(ACME_IDENTIFIER, true, value));
    let octets = der::tlv(der::OCTET_STRING, &digest());
    refused(&with_identifier(acme_identifier(&[0; 32])), "another token or account key");
    refused(&with_identifier(acme_identifier(&digest()[..31])), "32 octets, and holds 31");
    refused(&with_identifier(acme_identifier(&[&digest()[..], &[0]].concat())), "32 octets, and holds 33");
    refused(&with_identifier(acme_identifier(&[])), "32 octets, and holds 0");
    refused(&extension(&[&octets[..], &[0, 0]].concat()), "2 octets after the OCTET STRING");
    refused(&extension(&digest()), "must hold an OCTET STRING");
    refused(&extension(&der::tlv(der::UTF8_STRING, &digest())), "must hold an OCTET STRING");
    refused(&extension(&der::wrap(0x24, std::slice::from_ref(&octets))), "must hold an OCTET STRING");
    refused(&extension(&[0x04, 0x81, 0x20]), "must hold an OCTET STRING");
    refused(&extension(&[]), "must hold an OCTET STRING");
    // The digest in hexadecimal, which is a frequent mistake.
    let hexadecimal: String = digest().iter().map(|octet| format!("{octet:02x}")).collect();
    refused(&with_identifier(acme_identifier(hexadecimal.as_bytes())), "32 octets, and holds 64");
}

#[test]
fn there_must_be_exactly_one_name_and_the_right_one() {
    refused(&ChallengeCertificate::new(vec![acme_identifier(&digest())]), "no subject alternative name");
    refused(&with_names(&[]), "exactly one name, and holds 0");
    refused(&with_names(&[dns(NAME), dns(NAME)]), "exactly one name, and holds 2");
    refused(&with_names(&[dns(NAME), dns("other.internal")]), "exactly one name, and holds 2");
    refused(&with_names(&[dns(NAME), ip([127, 0, 0, 1].into())]), "exactly one name, and holds 2");
    refused(&with_names(&[dns("other.internal")]), "is not the identifier");
    refused(&with_names(&[dns("*.internal")]), "is not the identifier");
    refused(&with_names(&[dns("app.internal.")]), "is not the identifier");
    refused(&with_names(&[dns("app.internal\0")]), "is not the identifier");
    refused(&with_names(&[ip([127, 0, 0, 1].into())]), "must be one dNSName");
    refused(&with_names(&[der::tlv(der::NAME_EMAIL, NAME.as_bytes())]), "must be one dNSName");
    refused(&with_names(&[der::tlv(der::NAME_URI, NAME.as_bytes())]), "must be one dNSName");
    let twice = vec![names(&[dns(NAME)]), names(&[dns(NAME)]), acme_identifier(&digest())];
    refused(&ChallengeCertificate::new(twice), "subject alternative name more than once");
    let unreadable = der::extension("2.5.29.17", false, b"\x30\x05\x82\x01");
    refused(&ChallengeCertificate::new(vec![unreadable, acme_identifier(&digest())]), "cannot be read");
}

#[test]
fn the_name_of_an_address_must_be_the_address() {
    for (names_there, why) in [
        (vec![ip([127, 0, 0, 2].into())], "is not the identifier"),
        (vec![der::tlv(der::NAME_IP, &[127, 0, 0, 1, 255, 255, 255, 255])], "is not the identifier"),
        (vec![ip("::ffff:127.0.0.1".parse().unwrap())], "is not the identifier"),
        (vec![dns("127.0.0.1")], "must be one iPAddress"),
        (vec![dns("1.0.0.127.in-addr.arpa")], "must be one iPAddress"),
    ] {
        let server = TlsResponder::start(Presented::one(&with_names(&names_there)));
        let outcome = Bench::new().tls(server.port()).look("127.0.0.1", ChallengeType::TlsAlpn01);
        assert_failure(outcome, "unauthorized", false, &[why]);
    }
}

#[test]
fn the_certificate_must_be_self_signed() {
    let right = || ChallengeCertificate::for_name(NAME, &digest());
    let issued = ChallengeCertificate { issuer: "Some CA", ..right() };
    refused(&issued, "its issuer is not its subject");
    let forged = ChallengeCertificate { signer: Some(Key::new()), ..right() };
    refused(&forged, "does not verify with its own key");
}

#[test]
fn there_must_be_exactly_one_certificate() {
    let certificate = ChallengeCertificate::for_name(NAME, &digest());
    let other = ChallengeCertificate::new(Vec::new()).der();
    let two = Presented::chain(vec![certificate.der(), other], &certificate.key);
    assert_failure(look_at(two), "unauthorized", false, &["exactly one certificate, and showed 2"]);
}

#[test]
fn a_certificate_without_its_key_proves_nothing() {
    let certificate = ChallengeCertificate::for_name(NAME, &digest());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let stolen = Presented::chain(vec![certificate.der()], &Key::new()).version(version);
        assert_failure(look_at(stolen), "tls", false, &["does not hold the key of its certificate"]);
    }
}

#[test]
fn what_is_no_certificate_is_refused() {
    let certificate = ChallengeCertificate::for_name(NAME, &digest());
    let nonsense = Presented::chain(vec![b"nonsense".to_vec()], &certificate.key);
    assert_failure(look_at(nonsense), "tls", false, &["certificate cannot be read"]);
    let trailing = ChallengeCertificate { trailing: vec![0], ..ChallengeCertificate::for_name(NAME, &digest()) };
    refused(&trailing, "not a DER-encoded X.509 certificate");
}
