//! Certificates for tls-alpn-01 (RFC 8737, section 3), made by hand so that each part can be wrong.

use std::net::IpAddr;

use super::super::csr::Key;
use super::super::der;

/// The extension of RFC 8737.
pub(crate) const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";
const SUBJECT_ALT_NAME: &str = "2.5.29.17";
const COMMON_NAME: &str = "2.5.4.3";
/// ecdsa-with-SHA256 (RFC 5758, section 3.2).
const ECDSA_SHA256: &str = "1.2.840.10045.4.3.2";

/// A certificate in the making.
pub(crate) struct ChallengeCertificate {
    /// Its key.
    pub(crate) key: Key,
    /// Who signs it, when it is not its own key.
    pub(crate) signer: Option<Key>,
    /// The common name of the issuer and that of the subject.
    pub(crate) issuer: &'static str,
    pub(crate) subject: &'static str,
    /// The extensions, in DER.
    pub(crate) extensions: Vec<Vec<u8>>,
    /// What is appended to the DER.
    pub(crate) trailing: Vec<u8>,
}

impl ChallengeCertificate {
    /// The right certificate for a name.
    pub(crate) fn for_name(name: &str, digest: &[u8]) -> Self {
        Self::new(vec![names(&[dns(name)]), acme_identifier(digest)])
    }

    /// The right certificate for an address.
    pub(crate) fn for_address(address: IpAddr, digest: &[u8]) -> Self {
        Self::new(vec![names(&[ip(address)]), acme_identifier(digest)])
    }

    /// A self-signed certificate with any extensions.
    pub(crate) fn new(extensions: Vec<Vec<u8>>) -> Self {
        let name = "ACME challenge";
        Self { key: Key::new(), signer: None, issuer: name, subject: name, extensions, trailing: Vec::new() }
    }

    /// Signs it and returns the DER.
    pub(crate) fn der(&self) -> Vec<u8> {
        let algorithm = der::wrap(der::SEQUENCE, &[der::oid(ECDSA_SHA256)]);
        let name = |common| der::name(&[(COMMON_NAME, der::UTF8_STRING, str::as_bytes(common))]);
        /// `UTCTime`.
        const UTC_TIME: u8 = 0x17;
        let validity =
            der::wrap(der::SEQUENCE, &[der::tlv(UTC_TIME, b"250101000000Z"), der::tlv(UTC_TIME, b"491231235959Z")]);
        let mut fields = vec![
            der::wrap(0xa0, &[der::tlv(der::INTEGER, &[2])]),
            der::tlv(der::INTEGER, &[1]),
            algorithm.clone(),
            name(self.issuer),
            validity,
            name(self.subject),
            self.key.spki(),
        ];
        if !self.extensions.is_empty() {
            fields.push(der::wrap(0xa3, &[der::wrap(der::SEQUENCE, &self.extensions)]));
        }
        let to_be_signed = der::wrap(der::SEQUENCE, &fields);
        let signature = self.signer.as_ref().unwrap_or(&self.key).sign(&to_be_signed);
        let mut octets = der::wrap(der::SEQUENCE, &[to_be_signed, algorithm, der::bit_string(&signature)]);
        octets.extend_from_slice(&self.trailing);
        octets
    }
}

/// A `dNSName`.
pub(crate) fn dns(name: &str) -> Vec<u8> {
    der::tlv(der::NAME_DNS, name.as_bytes())
}

/// An `iPAddress`.
pub(crate) fn ip(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => der::tlv(der::NAME_IP, &v4.octets()),
        IpAddr::V6(v6) => der::tlv(der::NAME_IP, &v6.octets()),
    }
}

/// The extension subject alternative name.
pub(crate) fn names(names: &[Vec<u8>]) -> Vec<u8> {
    der::extension(SUBJECT_ALT_NAME, false, &der::wrap(der::SEQUENCE, names))
}

/// The extension that answers the challenge.
pub(crate) fn acme_identifier(digest: &[u8]) -> Vec<u8> {
    der::extension(ACME_IDENTIFIER, true, &der::tlv(der::OCTET_STRING, digest))
}
