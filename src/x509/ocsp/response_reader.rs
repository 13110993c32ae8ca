//! OCSP responses read and verified, as a relying party does it (RFC 6960, section 3.2), for tests and for whoever asks our responder.

use x509_parser::asn1_rs::FromDer as _;
use x509_parser::time::ASN1Time;

use super::request::{cert_id, extensions, primitive};
use super::response::BASIC_RESPONSE;
use super::{CertificateStatus, ErrorStatus, key_hash};
use crate::error::{Error, Result};
use crate::x509::crl::RevocationReason;
use crate::x509::decoding::{self, Reader, shape};
use crate::x509::encoding::{self, context_constructed};
use crate::x509::extension::oids;
use crate::x509::{Certificate, SerialNumber, SignatureAlgorithm, Timestamp};

const WHAT: &str = "OCSP response";
const OCSP_SIGNING: &str = "ocsp_signing";

/// A response as it comes.
#[derive(Clone, Debug)]
pub enum OcspResponse {
    /// An answer.
    Successful(Box<BasicResponse>),
    /// None, and why.
    Error(ErrorStatus),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct BasicResponse {
    to_be_signed: Vec<u8>,
    signature_algorithm: SignatureAlgorithm,
    signature: Vec<u8>,
    /// The SHA-1 of the responder's key bits.
    pub responder_key_hash: Vec<u8>,
    /// When it was signed.
    pub produced_at: Timestamp,
    /// The answers.
    pub responses: Vec<ReadSingleResponse>,
    /// The nonce.
    pub nonce: Option<Vec<u8>>,
    /// The certificates that come with it.
    pub certificates: Vec<Certificate>,
}

/// The answer for one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadSingleResponse {
    /// The identifier in DER.
    pub cert_id: Vec<u8>,
    /// The serial number in it; `None` when it is none that a certificate has.
    pub serial: Option<SerialNumber>,
    /// The status.
    pub status: CertificateStatus,
    /// The moment at which it is known to be so.
    pub this_update: Timestamp,
    /// By when there is newer information.
    pub next_update: Option<Timestamp>,
}

impl OcspResponse {
    /// Reads DER.
    ///
    /// # Errors
    /// `Malformed` when it is not exactly one response, or an answer of another type than basic by key.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        let mut reader = decoding::only_sequence(der, WHAT)?;
        let status = match reader.expect(encoding::ENUMERATED, WHAT)?.content {
            [status] => *status,
            _ => return Err(Error::malformed(format!("{WHAT}: its status is none"))),
        };
        if status != 0 {
            reader.finish(WHAT)?;
            return ErrorStatus::ALL
                .into_iter()
                .find(|known| known.code() == status)
                .map(Self::Error)
                .ok_or_else(|| Error::malformed(format!("{WHAT}: the status `{status}` is not known")));
        }
        let bytes = reader.expect(context_constructed(0), WHAT)?;
        reader.finish(WHAT)?;
        let mut bytes = decoding::only_sequence(bytes.content, WHAT)?;
        if bytes.expect(encoding::OBJECT_IDENTIFIER, WHAT)?.raw != BASIC_RESPONSE {
            return Err(Error::malformed(format!("{WHAT}: not a basic one")));
        }
        let basic = bytes.expect(encoding::OCTET_STRING, WHAT)?.content;
        bytes.finish(WHAT)?;
        Ok(Self::Successful(Box::new(BasicResponse::from_der(basic)?)))
    }
}

impl BasicResponse {
    fn from_der(der: &[u8]) -> Result<Self> {
        let mut reader = decoding::only_sequence(der, WHAT)?;
        let data = reader.expect(encoding::SEQUENCE, WHAT)?;
        let algorithm = reader.expect(encoding::SEQUENCE, WHAT)?.raw;
        let [0, signature @ ..] = reader.expect(encoding::BIT_STRING, WHAT)?.content else {
            return Err(Error::malformed(format!("{WHAT}: the signature is not whole octets")));
        };
        let mut certificates = Vec::new();
        if !reader.is_empty() {
            let list = reader.expect(context_constructed(0), WHAT)?;
            let mut list = decoding::only_sequence(list.content, WHAT)?;
            while !list.is_empty() {
                certificates.push(Certificate::from_der(list.any(WHAT)?.raw)?);
            }
        }
        reader.finish(WHAT)?;

        let mut fields = data.reader();
        let mut responder = fields.expect(context_constructed(2), WHAT)?.reader();
        let responder_key_hash = responder.expect(encoding::OCTET_STRING, WHAT)?.content.to_vec();
        responder.finish(WHAT)?;
        let produced_at = time(&mut fields)?;
        let mut list = fields.expect(encoding::SEQUENCE, WHAT)?.reader();
        let mut responses = Vec::new();
        while !list.is_empty() {
            responses.push(single(list.expect(encoding::SEQUENCE, WHAT)?.reader())?);
        }
        let nonce = match fields.peek() {
            Some(_) => extensions(&fields.expect(context_constructed(1), WHAT)?, true)?.map(<[u8]>::to_vec),
            None => None,
        };
        fields.finish(WHAT)?;
        Ok(Self {
            to_be_signed: data.raw.to_vec(),
            signature_algorithm: SignatureAlgorithm::from_identifier_der(algorithm)?,
            signature: signature.to_vec(),
            responder_key_hash,
            produced_at,
            responses,
            nonce,
            certificates,
        })
    }

    /// Verifies the answer: signed by the issuer itself, or by a certificate in it that the issuer signed for just this (RFC 6960, section 4.2.2.2)
    /// and that is valid when the answer was made.
    ///
    /// # Errors
    /// `Malformed` with the reason.
    pub fn verify(&self, issuer: &Certificate) -> Result<()> {
        let is_responder = |certificate: &&Certificate| {
            key_hash(&certificate.public_key).as_slice() == self.responder_key_hash.as_slice()
        };
        let responder = std::iter::once(issuer).chain(&self.certificates).find(is_responder);
        let responder =
            responder.ok_or_else(|| Error::malformed("the responder's certificate is not in the OCSP response"))?;
        if responder.as_der() != issuer.as_der() {
            responder.verify_issued_by(issuer)?;
            let purposes = responder.extended_key_usage.as_deref().unwrap_or_default();
            if !purposes.iter().any(|purpose| purpose.to_string() == OCSP_SIGNING) {
                return Err(Error::malformed("the responder's certificate is not made for `ocsp_signing`"));
            }
            if self.produced_at < responder.not_before || self.produced_at > responder.not_after {
                return Err(Error::malformed("the responder's certificate was not valid when the response was made"));
            }
        }
        responder.public_key.verify(self.signature_algorithm, &self.to_be_signed, &self.signature)
    }

    /// Whether the responder's certificate asks not to be looked up itself (RFC 6960, section 4.2.2.2.1).
    #[must_use]
    pub fn responder_needs_no_check(&self) -> bool {
        self.certificates.iter().all(|certificate| certificate.extension_value(&oids::OCSP_NO_CHECK).is_some())
    }
}

fn single(mut reader: Reader<'_>) -> Result<ReadSingleResponse> {
    let id = cert_id(&reader.expect(encoding::SEQUENCE, WHAT)?)?;
    let status = reader.any(WHAT)?;
    let status = match (status.tag, status.content) {
        (tag, []) if tag == primitive(0) => CertificateStatus::Good,
        (tag, []) if tag == primitive(2) => CertificateStatus::Unknown,
        (tag, _) if tag == context_constructed(1) => revoked(status.reader())?,
        (tag, _) => return Err(Error::malformed(format!("{WHAT}: the status `0x{tag:02x}` is none"))),
    };
    let this_update = time(&mut reader)?;
    let mut next_update = None;
    if reader.peek() == Some(context_constructed(0)) {
        let mut inner = reader.any(WHAT)?.reader();
        next_update = Some(time(&mut inner)?);
        inner.finish(WHAT)?;
    }
    if reader.peek() == Some(context_constructed(1)) {
        extensions(&reader.any(WHAT)?, false)?;
    }
    reader.finish(WHAT)?;
    Ok(ReadSingleResponse { cert_id: id.der.to_vec(), serial: id.serial_number(), status, this_update, next_update })
}

fn revoked(mut reader: Reader<'_>) -> Result<CertificateStatus> {
    let revoked_at = time(&mut reader)?;
    let mut reason = RevocationReason::Unspecified;
    if !reader.is_empty() {
        let mut inner = reader.expect(context_constructed(0), WHAT)?.reader();
        let code = inner.expect(encoding::ENUMERATED, WHAT)?.content;
        inner.finish(WHAT)?;
        let known = match code {
            [code] => RevocationReason::from_code(*code),
            _ => None,
        };
        reason = known.ok_or_else(|| Error::malformed(format!("{WHAT}: the reason is none that is known")))?;
    }
    reader.finish(WHAT)?;
    Ok(CertificateStatus::Revoked { revoked_at, reason })
}

fn time(reader: &mut Reader<'_>) -> Result<Timestamp> {
    let raw = reader.expect(encoding::GENERALIZED_TIME, WHAT)?.raw;
    shape::TIME.check(raw, WHAT)?;
    decoding::timestamp(decoding::complete(ASN1Time::from_der(raw), WHAT)?, WHAT)
}
