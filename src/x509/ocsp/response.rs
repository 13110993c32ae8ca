//! OCSP responses (RFC 6960, section 4.2) as a responder writes them: by key, with its delegated certificate in them.

use super::request::{nonce_extension, primitive};
use crate::x509::crl::RevocationReason;
use crate::x509::encoding::{self, context_constructed};
use crate::x509::{SignatureAlgorithm, Timestamp};

/// The content of `id-pkix-ocsp-basic` with its header.
pub(super) const BASIC_RESPONSE: &[u8] = &[0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];

/// What a responder says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateStatus {
    /// It was issued and is not revoked.
    Good,
    /// It was revoked, or is on hold.
    Revoked {
        /// Since when.
        revoked_at: Timestamp,
        /// Why; `unspecified` is not written.
        reason: RevocationReason,
    },
    /// It is not known here.
    Unknown,
}

/// The answer for one certificate.
#[derive(Clone, Copy, Debug)]
pub struct SingleResponse<'a> {
    /// The identifier, octet for octet as the request has it.
    pub cert_id: &'a [u8],
    /// The status.
    pub status: CertificateStatus,
    /// The moment at which it is known to be so.
    pub this_update: Timestamp,
    /// By when there is newer information.
    pub next_update: Timestamp,
}

/// Everything that is signed in a basic response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseTemplate<'a> {
    /// The SHA-1 of the responder's key bits: see [`super::key_hash`].
    pub responder_key_hash: &'a [u8; 20],
    /// When it is signed.
    pub produced_at: Timestamp,
    /// The answers, in the order of the request.
    pub responses: &'a [SingleResponse<'a>],
    /// The request's nonce.
    pub nonce: Option<&'a [u8]>,
}

impl ResponseTemplate<'_> {
    /// Encodes `ResponseData`, which is to be signed.
    #[must_use]
    pub fn to_be_signed(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.responses.len().saturating_mul(160).saturating_add(256));
        // byKey [2] EXPLICIT KeyHash.
        encoding::header(&mut out, context_constructed(2), 22);
        encoding::append(&mut out, encoding::OCTET_STRING, self.responder_key_hash);
        out.extend(encoding::generalized_time(self.produced_at));
        let start = out.len();
        for response in self.responses {
            append_response(&mut out, response);
        }
        encoding::wrap(&mut out, start, encoding::SEQUENCE);
        if let Some(nonce) = self.nonce {
            let list = encoding::sequence(&[&nonce_extension(nonce)]);
            encoding::append(&mut out, context_constructed(1), &list);
        }
        encoding::wrap(&mut out, 0, encoding::SEQUENCE);
        out
    }
}

fn append_response(out: &mut Vec<u8>, response: &SingleResponse<'_>) {
    let start = out.len();
    out.extend_from_slice(response.cert_id);
    match response.status {
        CertificateStatus::Good => encoding::header(out, primitive(0), 0),
        CertificateStatus::Revoked { revoked_at, reason } => {
            let mut information = encoding::generalized_time(revoked_at);
            // RFC 5280, section 5.3.1: the code should be absent instead of unspecified.
            if reason != RevocationReason::Unspecified {
                let code = encoding::value(encoding::ENUMERATED, &[reason.code()]);
                encoding::append(&mut information, context_constructed(0), &code);
            }
            encoding::append(out, context_constructed(1), &information);
        }
        CertificateStatus::Unknown => encoding::header(out, primitive(2), 0),
    }
    out.extend(encoding::generalized_time(response.this_update));
    encoding::append(out, context_constructed(0), &encoding::generalized_time(response.next_update));
    encoding::wrap(out, start, encoding::SEQUENCE);
}

/// Joins signed bytes, their signature and the responder's certificate to a whole `OCSPResponse`.
#[must_use]
pub fn assemble(to_be_signed: &[u8], algorithm: SignatureAlgorithm, signature: &[u8], certificate: &[u8]) -> Vec<u8> {
    // successful(0).
    let status = encoding::value(encoding::ENUMERATED, &[0]);
    let certificates =
        encoding::constructed(context_constructed(0), &[&encoding::value(encoding::SEQUENCE, certificate)]);
    let basic = encoding::sequence(&[
        to_be_signed,
        algorithm.identifier_der(),
        &encoding::bit_string(signature),
        &certificates,
    ]);
    let bytes = encoding::sequence(&[BASIC_RESPONSE, &encoding::value(encoding::OCTET_STRING, &basic)]);
    encoding::sequence(&[&status, &encoding::constructed(context_constructed(0), &[&bytes])])
}

/// Why there is no answer (RFC 6960, section 4.2.1). `sigRequired` is never said: everybody may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorStatus {
    /// The request is not one.
    MalformedRequest,
    /// The responder has failed.
    InternalError,
    /// The responder cannot answer just now.
    TryLater,
    /// The responder does not answer for this CA (RFC 5019, section 2.2.3).
    Unauthorized,
}

impl ErrorStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::MalformedRequest, Self::InternalError, Self::TryLater, Self::Unauthorized];

    /// Returns the code of the `OCSPResponseStatus` enumeration.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::MalformedRequest => 1,
            Self::InternalError => 2,
            Self::TryLater => 3,
            Self::Unauthorized => 6,
        }
    }

    /// Returns the whole response, which nobody signs.
    #[must_use]
    pub const fn to_der(self) -> &'static [u8] {
        match self {
            Self::MalformedRequest => &[0x30, 0x03, 0x0a, 0x01, 1],
            Self::InternalError => &[0x30, 0x03, 0x0a, 0x01, 2],
            Self::TryLater => &[0x30, 0x03, 0x0a, 0x01, 3],
            Self::Unauthorized => &[0x30, 0x03, 0x0a, 0x01, 6],
        }
    }

    /// Returns the name used in metrics, such as `try_later`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformed_request",
            Self::InternalError => "internal_error",
            Self::TryLater => "try_later",
            Self::Unauthorized => "unauthorized",
        }
    }
}
