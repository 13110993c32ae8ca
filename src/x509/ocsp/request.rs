//! OCSP requests, both ways (RFC 6960, section 4.1): read strictly for the responder, written for clients of it.
//!
//! A signature on a request is not looked at: answers are public, so nothing depends on who asks (RFC 5019, section 2.1.1).

use const_oid::ObjectIdentifier;

use super::{IssuerHashes, MAXIMUM_CERT_IDS, MAXIMUM_NONCE, MAXIMUM_REQUEST};
use crate::error::{Error, Result};
use crate::x509::SerialNumber;
use crate::x509::decoding::{self, Reader, Value};
use crate::x509::encoding::{self, context, context_constructed};

const WHAT: &str = "OCSP request";
/// `id-pkix-ocsp-nonce`.
pub(super) const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// A hash by which a request names an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// SHA-1, which nearly all clients use (RFC 5019, section 2.1.1).
    Sha1,
    /// SHA-256 (RFC 6960, section 4.3).
    Sha256,
}

impl HashAlgorithm {
    const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Sha1 => SHA1,
            Self::Sha256 => SHA256,
        }
    }
}

/// What a request names one certificate by (RFC 6960, section 4.1.1).
#[derive(Clone, Copy, Debug)]
pub struct CertId<'a> {
    /// All octets, which the answer gives back.
    pub der: &'a [u8],
    /// The hash; `None` for one that is not known here.
    pub hash_algorithm: Option<HashAlgorithm>,
    /// The digest of the issuer's name.
    pub issuer_name_hash: &'a [u8],
    /// The digest of the issuer's key bits.
    pub issuer_key_hash: &'a [u8],
    /// The content octets of the serial number, minimal; it may be negative, zero or longer than any that we sign.
    pub serial: &'a [u8],
}

impl CertId<'_> {
    /// Returns the serial number, or `None` when it is one that no certificate of ours has: negative, zero, over 20 octets.
    #[must_use]
    pub fn serial_number(&self) -> Option<SerialNumber> {
        match self.serial.first() {
            Some(first) if first & 0x80 == 0 => SerialNumber::from_bytes(self.serial).ok(),
            Some(_) | None => None,
        }
    }

    /// Encodes the identifier of a certificate, for clients.
    #[must_use]
    pub fn encode(hash: HashAlgorithm, issuer: &IssuerHashes, serial: &SerialNumber) -> Vec<u8> {
        let (name, key) = match hash {
            HashAlgorithm::Sha1 => (issuer.name_sha1.as_slice(), issuer.key_sha1.as_slice()),
            HashAlgorithm::Sha256 => (issuer.name_sha256.as_slice(), issuer.key_sha256.as_slice()),
        };
        let algorithm =
            encoding::sequence(&[&encoding::object_identifier(&hash.oid()), &encoding::value(encoding::NULL, &[])]);
        encoding::sequence(&[
            &algorithm,
            &encoding::value(encoding::OCTET_STRING, name),
            &encoding::value(encoding::OCTET_STRING, key),
            &encoding::value(encoding::INTEGER, &serial.to_der_content()),
        ])
    }
}

/// A request: the certificates it asks for, and its nonce.
#[derive(Clone, Debug)]
pub struct OcspRequest<'a> {
    /// The certificates, 1 to [`MAXIMUM_CERT_IDS`].
    pub cert_ids: Vec<CertId<'a>>,
    /// The nonce, 1 to [`MAXIMUM_NONCE`] octets (RFC 9654).
    pub nonce: Option<&'a [u8]>,
}

impl<'a> OcspRequest<'a> {
    /// Reads DER.
    ///
    /// # Errors
    /// `Malformed` when it is not exactly one request of version 1, is over a limit, or has a critical extension that is not known here.
    pub fn from_der(der: &'a [u8]) -> Result<Self> {
        if der.len() > MAXIMUM_REQUEST {
            return Err(Error::malformed(format!("{WHAT}: over {MAXIMUM_REQUEST} octets")));
        }
        let mut reader = decoding::only_sequence(der, WHAT)?;
        let request = to_be_signed(reader.expect(encoding::SEQUENCE, WHAT)?.reader())?;
        if reader.peek() == Some(context_constructed(0)) {
            check_signature(&reader.any(WHAT)?)?;
        }
        reader.finish(WHAT)?;
        Ok(request)
    }

    /// Encodes an unsigned request for identifiers in DER, for clients.
    #[must_use]
    pub fn encode(cert_ids: &[Vec<u8>], nonce: Option<&[u8]>) -> Vec<u8> {
        let requests: Vec<Vec<u8>> = cert_ids.iter().map(|id| encoding::sequence(&[id])).collect();
        let mut to_be_signed = encoding::sequence(&[&requests.concat()]);
        if let Some(nonce) = nonce {
            let list = encoding::sequence(&[&nonce_extension(nonce)]);
            to_be_signed.extend(encoding::constructed(context_constructed(2), &[&list]));
        }
        encoding::sequence(&[&encoding::sequence(&[&to_be_signed])])
    }
}

/// Encodes the nonce extension, the same in requests and responses (RFC 9654, section 2.1).
pub(super) fn nonce_extension(nonce: &[u8]) -> Vec<u8> {
    let value = encoding::value(encoding::OCTET_STRING, &encoding::value(encoding::OCTET_STRING, nonce));
    encoding::sequence(&[&encoding::object_identifier(&NONCE), &value])
}

/// `TBSRequest`.
fn to_be_signed<'a>(mut reader: Reader<'a>) -> Result<OcspRequest<'a>> {
    if reader.peek() == Some(context_constructed(0)) {
        // A default that DER leaves out; some clients write it all the same, and it says nothing else.
        let mut version = reader.any(WHAT)?.reader();
        if version.expect(encoding::INTEGER, WHAT)?.content != [0] {
            return Err(Error::malformed(format!("{WHAT}: only version 1 is known")));
        }
        version.finish(WHAT)?;
    }
    if reader.peek() == Some(context_constructed(1)) {
        // Whoever asks gets the same answer.
        let mut requestor = reader.any(WHAT)?.reader();
        requestor.any(WHAT)?;
        requestor.finish(WHAT)?;
    }
    let mut list = reader.expect(encoding::SEQUENCE, WHAT)?.reader();
    let mut cert_ids = Vec::new();
    while !list.is_empty() {
        if cert_ids.len() == MAXIMUM_CERT_IDS {
            return Err(Error::malformed(format!("{WHAT}: asks for more than {MAXIMUM_CERT_IDS} certificates")));
        }
        cert_ids.push(request(list.expect(encoding::SEQUENCE, WHAT)?.reader())?);
    }
    if cert_ids.is_empty() {
        return Err(Error::malformed(format!("{WHAT}: asks for no certificate")));
    }
    let mut nonce = None;
    if reader.peek() == Some(context_constructed(2)) {
        nonce = extensions(&reader.any(WHAT)?, true)?;
    }
    reader.finish(WHAT)?;
    Ok(OcspRequest { cert_ids, nonce })
}

/// `Request`.
fn request<'a>(mut reader: Reader<'a>) -> Result<CertId<'a>> {
    let id = cert_id(&reader.expect(encoding::SEQUENCE, WHAT)?)?;
    if reader.peek() == Some(context_constructed(0)) {
        extensions(&reader.any(WHAT)?, false)?;
    }
    reader.finish(WHAT)?;
    Ok(id)
}

/// `CertID`, in requests and in responses.
pub(super) fn cert_id<'a>(value: &Value<'a>) -> Result<CertId<'a>> {
    const WHAT: &str = "identifier of a certificate";
    let mut reader = value.reader();
    let mut algorithm = reader.expect(encoding::SEQUENCE, WHAT)?.reader();
    let oid = algorithm.expect(encoding::OBJECT_IDENTIFIER, WHAT)?.content;
    // Absent and NULL both mean that there are none (RFC 5754, section 2); anything else makes it another algorithm.
    let no_parameters = match algorithm.peek() {
        None => true,
        Some(_) => algorithm.any(WHAT)?.raw == [encoding::NULL, 0],
    };
    algorithm.finish(WHAT)?;
    let known = [HashAlgorithm::Sha1, HashAlgorithm::Sha256];
    let hash_algorithm = known.into_iter().find(|known| no_parameters && known.oid().as_bytes() == oid);
    let issuer_name_hash = reader.expect(encoding::OCTET_STRING, WHAT)?.content;
    let issuer_key_hash = reader.expect(encoding::OCTET_STRING, WHAT)?.content;
    let serial = reader.expect(encoding::INTEGER, WHAT)?.content;
    match serial {
        [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => {
            return Err(Error::malformed(format!("{WHAT}: the serial number is not a minimal INTEGER")));
        }
        [_, ..] => {}
    }
    reader.finish(WHAT)?;
    Ok(CertId { der: value.raw, hash_algorithm, issuer_name_hash, issuer_key_hash, serial })
}

/// `[n] EXPLICIT Extensions`: returns the nonce where one may be.
pub(super) fn extensions<'a>(value: &Value<'a>, may_have_nonce: bool) -> Result<Option<&'a [u8]>> {
    const WHAT: &str = "extension of an OCSP message";
    let mut seen: Vec<&[u8]> = Vec::new();
    let mut nonce = None;
    let mut list = decoding::only_sequence(value.content, WHAT)?;
    while !list.is_empty() {
        let mut extension = list.expect(encoding::SEQUENCE, WHAT)?.reader();
        let oid = extension.expect(encoding::OBJECT_IDENTIFIER, WHAT)?.content;
        let critical = extension.peek() == Some(encoding::BOOLEAN);
        if critical && extension.any(WHAT)?.content != [0xff] {
            return Err(Error::malformed(format!("{WHAT}: a criticality that DER leaves out or does not have")));
        }
        let inner = extension.expect(encoding::OCTET_STRING, WHAT)?.content;
        extension.finish(WHAT)?;
        if seen.contains(&oid) {
            return Err(Error::malformed(format!("{WHAT}: one is there twice")));
        }
        seen.push(oid);
        if may_have_nonce && oid == NONCE.as_bytes() {
            nonce = Some(read_nonce(inner)?);
        } else if critical {
            return Err(Error::malformed(format!("{WHAT}: a critical one that is not known")));
        }
    }
    Ok(nonce)
}

fn read_nonce(value: &[u8]) -> Result<&[u8]> {
    const WHAT: &str = "nonce";
    let mut reader = Reader::new(value);
    let nonce = reader.expect(encoding::OCTET_STRING, WHAT)?.content;
    reader.finish(WHAT)?;
    if !(1..=MAXIMUM_NONCE).contains(&nonce.len()) {
        return Err(Error::malformed(format!("{WHAT}: has {} octets, not 1 to {MAXIMUM_NONCE}", nonce.len())));
    }
    Ok(nonce)
}

/// `[0] EXPLICIT Signature`: its shape only.
fn check_signature(value: &Value<'_>) -> Result<()> {
    const WHAT: &str = "signature of an OCSP request";
    let mut signature = decoding::only_sequence(value.content, WHAT)?;
    signature.expect(encoding::SEQUENCE, WHAT)?;
    let bits = signature.expect(encoding::BIT_STRING, WHAT)?;
    if bits.content.first() != Some(&0) {
        return Err(Error::malformed(format!("{WHAT}: not whole octets")));
    }
    if signature.peek() == Some(context_constructed(0)) {
        let mut certificates = decoding::only_sequence(signature.any(WHAT)?.content, WHAT)?;
        while !certificates.is_empty() {
            certificates.expect(encoding::SEQUENCE, WHAT)?;
        }
    }
    signature.finish(WHAT)
}

/// The identifier octet of `[n]` for a status with primitive content, as responses use it.
pub(super) const fn primitive(number: u8) -> u8 {
    context(number)
}
