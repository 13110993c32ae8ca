//! Writes CRLs: full ones, those of a shard, and deltas. The entries go straight into the buffer that will be served.

use super::entry::{self, RemovedEntry, RevokedEntry};
use crate::error::{Error, Result};
use crate::x509::encoding;
use crate::x509::extension::Extension;
use crate::x509::{DistinguishedName, SignatureAlgorithm, Timestamp};

/// The most octets that an identifier and a length take: a length of 8 octets is more than there is memory.
const HEADER: usize = 10;

/// Everything that goes into a CRL except its entries (RFC 5280, section 5.1).
#[derive(Clone, Debug)]
pub struct CrlTemplate<'a> {
    /// The algorithm of the issuer's signature.
    pub signature_algorithm: SignatureAlgorithm,
    /// The issuer's subject name, raw.
    pub issuer: &'a DistinguishedName,
    /// The issuer certificate's subject key identifier.
    pub authority_key_identifier: &'a [u8],
    /// The CRL number (section 5.2.3), which only rises.
    pub number: u64,
    /// When the CRL was made.
    pub this_update: Timestamp,
    /// By when the next one comes.
    pub next_update: Timestamp,
    /// For a CRL of some of the certificates: the address that stands in them as CRL distribution point (section 5.2.5).
    pub distribution_point: Option<&'a str>,
    /// For a delta CRL: the number of the CRL that it builds on (section 5.2.4).
    pub base_number: Option<u64>,
    /// For a CRL that a delta CRL builds on: the address of the delta (section 5.2.6).
    pub freshest_crl: Option<&'a str>,
}

/// A CRL whose entries are being appended. Nothing is kept beside the one buffer, so that a million entries need little more memory than
/// their octets.
#[derive(Debug)]
pub struct CrlBuilder {
    /// Room for headers and the fields before the entries, then the entries.
    buffer: Vec<u8>,
    /// The fields before the entries.
    fields: Vec<u8>,
    /// The field after them.
    extensions: Vec<u8>,
    algorithm: SignatureAlgorithm,
}

/// A CRL that lacks only its signature.
#[derive(Debug)]
pub struct UnsignedCrl {
    buffer: Vec<u8>,
    /// Where what is signed begins; before it is room for one header.
    start: usize,
    algorithm: SignatureAlgorithm,
}

impl CrlTemplate<'_> {
    /// Begins the CRL. `capacity` is how many octets the entries may take, as far as is known; there may be more or fewer.
    ///
    /// # Errors
    /// `Internal` for a delta CRL that points to a delta (RFC 5280, section 5.2.6), and for one that ends before it begins.
    pub fn begin(&self, capacity: usize) -> Result<CrlBuilder> {
        if self.base_number.is_some() && self.freshest_crl.is_some() {
            return Err(Error::internal("a delta CRL does not name a freshest CRL (RFC 5280, section 5.2.6)"));
        }
        if self.next_update <= self.this_update {
            return Err(Error::internal("the CRL would end before it begins"));
        }
        // Version 2.
        let mut fields = encoding::unsigned(1);
        fields.extend_from_slice(self.signature_algorithm.identifier_der());
        fields.extend_from_slice(self.issuer.as_der());
        encoding::append_time(&mut fields, self.this_update);
        encoding::append_time(&mut fields, self.next_update);
        let list = Extension::list_to_der(&self.extensions());
        let extensions = encoding::constructed(encoding::context_constructed(0), &[&list]);
        let headroom = 3 * HEADER + fields.len();
        // The signature comes after: 4 KiB hold the largest one that is made here.
        let mut buffer = Vec::with_capacity(headroom.saturating_add(capacity).saturating_add(extensions.len() + 8192));
        buffer.resize(headroom, 0);
        Ok(CrlBuilder { buffer, fields, extensions, algorithm: self.signature_algorithm })
    }

    fn extensions(&self) -> Vec<Extension> {
        let mut extensions = vec![
            Extension::authority_key_identifier(self.authority_key_identifier),
            Extension::crl_number(self.number),
        ];
        extensions.extend(self.base_number.map(Extension::delta_crl_indicator));
        extensions.extend(self.distribution_point.map(Extension::issuing_distribution_point));
        extensions.extend(self.freshest_crl.map(|uri| Extension::freshest_crl(&[uri.to_owned()])));
        extensions
    }
}

impl CrlBuilder {
    /// Appends a revoked certificate.
    pub fn push(&mut self, entry: &RevokedEntry) {
        entry::append_revoked(&mut self.buffer, entry);
    }

    /// Appends a certificate that was released; only for a delta CRL.
    pub fn push_removed(&mut self, entry: &RemovedEntry) {
        entry::append_removed(&mut self.buffer, entry);
    }

    /// Puts what is around the entries around them.
    #[must_use]
    pub fn finish(mut self) -> UnsignedCrl {
        let headroom = 3 * HEADER + self.fields.len();
        let entries = self.buffer.len().saturating_sub(headroom);
        self.buffer.reserve_exact(self.extensions.len());
        self.buffer.extend_from_slice(&self.extensions);
        let mut before = self.fields;
        // RFC 5280, section 5.1.2.6: without revoked certificates the list must be absent.
        if entries > 0 {
            encoding::header(&mut before, encoding::SEQUENCE, entries);
        }
        let length = before.len() + entries + self.extensions.len();
        let mut header = Vec::with_capacity(HEADER);
        encoding::header(&mut header, encoding::SEQUENCE, length);
        let start = put_before(&mut self.buffer, headroom, &before);
        let start = put_before(&mut self.buffer, start, &header);
        UnsignedCrl { buffer: self.buffer, start, algorithm: self.algorithm }
    }
}

impl UnsignedCrl {
    /// Returns the DER of the `TBSCertList`, which is what is signed.
    #[must_use]
    pub fn to_be_signed(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Returns the algorithm that it has to be signed with.
    #[must_use]
    pub const fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Adds the signature and returns the DER of the whole CRL, in the same memory.
    #[must_use]
    pub fn with_signature(mut self, signature: &[u8]) -> Vec<u8> {
        let algorithm = self.algorithm.identifier_der();
        let bits = encoding::bit_string(signature);
        self.buffer.reserve_exact(algorithm.len() + bits.len());
        self.buffer.extend_from_slice(algorithm);
        self.buffer.extend_from_slice(&bits);
        let mut header = Vec::with_capacity(HEADER);
        encoding::header(&mut header, encoding::SEQUENCE, self.buffer.len().saturating_sub(self.start));
        let start = put_before(&mut self.buffer, self.start, &header);
        self.buffer.drain(..start);
        self.buffer
    }
}

/// Writes octets so that they end at `end`, into room that was left for them, and returns where they begin.
fn put_before(buffer: &mut [u8], end: usize, octets: &[u8]) -> usize {
    let start = end.saturating_sub(octets.len());
    if let Some(room) = buffer.get_mut(start..end)
        && room.len() == octets.len()
    {
        room.copy_from_slice(octets);
    }
    start
}
