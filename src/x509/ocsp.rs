//! OCSP messages (RFC 6960) as bytes: requests in, responses out. Who answers what, and when, is decided in `ca/ocsp.rs`.
//!
//! Requests are read here with [`super::decoding::Reader`], not with a library: a responder lives on reading them strictly and fast. They come from
//! anybody, they are a few hundred octets, and of each only the identifiers and the nonce count; the octets of an identifier are given back in
//! the answer as they came. The reader copies nothing, refuses whatever is not DER, and stops at the limits of this file.

mod request;
mod response;
mod response_reader;
#[cfg(test)]
mod tests;

use aws_lc_rs::digest;

use super::key::sha256;
use super::{Certificate, DistinguishedName, PublicKey};

pub use request::{CertId, HashAlgorithm, OcspRequest};
pub use response::{CertificateStatus, ErrorStatus, ResponseTemplate, SingleResponse, assemble};
pub use response_reader::{BasicResponse, OcspResponse, ReadSingleResponse};

/// The most octets of a request.
pub const MAXIMUM_REQUEST: usize = 8 * 1024;
/// The most certificates that one request may ask for.
pub const MAXIMUM_CERT_IDS: usize = 64;
/// The most octets of a nonce (RFC 9654, section 2.1; RFC 8954 had 32).
pub const MAXIMUM_NONCE: usize = 128;

/// Returns the SHA-1 of a key's BIT STRING: how OCSP names a responder's key, and by default an issuer's (RFC 6960, sections 4.1.1 and 4.2.1).
/// SHA-1 only finds a key here; nothing rests on its strength.
#[must_use]
pub fn key_hash(key: &PublicKey) -> [u8; 20] {
    sha1(key.key_bits())
}

fn sha1(octets: &[u8]) -> [u8; 20] {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, octets);
    let mut array = [0; 20];
    for (to, from) in array.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    array
}

/// The digests by which requests name an issuer: of its raw name and of its key's bits, under each hash that is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerHashes {
    name_sha1: [u8; 20],
    key_sha1: [u8; 20],
    name_sha256: [u8; 32],
    key_sha256: [u8; 32],
}

impl IssuerHashes {
    /// Computes the digests of an issuer's name and key.
    #[must_use]
    pub fn new(name: &DistinguishedName, key: &PublicKey) -> Self {
        Self {
            name_sha1: sha1(name.as_der()),
            key_sha1: key_hash(key),
            name_sha256: sha256(name.as_der()),
            key_sha256: sha256(key.key_bits()),
        }
    }

    /// Computes the digests of the issuer that a CA certificate stands for.
    #[must_use]
    pub fn of_certificate(certificate: &Certificate) -> Self {
        Self::new(&certificate.subject, &certificate.public_key)
    }

    /// Whether an identifier is one of a certificate of this issuer. One under a hash that is not known here never is.
    #[must_use]
    pub fn matches(&self, id: &CertId<'_>) -> bool {
        match id.hash_algorithm {
            Some(HashAlgorithm::Sha1) => id.issuer_name_hash == self.name_sha1 && id.issuer_key_hash == self.key_sha1,
            Some(HashAlgorithm::Sha256) => {
                id.issuer_name_hash == self.name_sha256 && id.issuer_key_hash == self.key_sha256
            }
            None => false,
        }
    }
}
