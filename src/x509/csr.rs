//! Certificate signing requests (PKCS #10, RFC 2986): parsed once, proof of possession verified once, everything that was
//! asked for kept, so that policy can refuse by name what it does not allow.

mod build;
mod parse;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests;

use const_oid::ObjectIdentifier;

use super::subject_alt_name::MalformedName;
use super::usage::KeyUsages;
use super::{DistinguishedName, ExtendedKeyUsage, PublicKey, SignatureAlgorithm, SubjectAltName};
use crate::error::Result;

/// The most octets of DER (or PEM text) taken as a request: 64 KiB.
pub const MAXIMUM_LENGTH: usize = 64 * 1024;

pub use build::CertificateRequestTemplate;
pub(crate) use parse::Unverified;

/// A parsed request whose self-signature has been verified: holding one is proof of possession.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    der: Vec<u8>,
    subject: DistinguishedName,
    public_key: PublicKey,
    signature_algorithm: SignatureAlgorithm,
    requested: RequestedExtensions,
}

/// What the `extensionRequest` attribute (RFC 2985, section 5.4.2) asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestedExtensions {
    /// Subject alternative names in order, well formed or not.
    pub names: Vec<RequestedName>,
    /// The key usage extension, if present.
    pub key_usage: Option<KeyUsages>,
    /// The extended key usage extension, if present.
    pub extended_key_usage: Option<Vec<ExtendedKeyUsage>>,
    /// Whether basic constraints ask for a CA certificate.
    pub certificate_authority: bool,
    /// Whether basic constraints ask for a certificate that is not a CA's, as against saying nothing.
    pub end_entity: bool,
    /// The path length that basic constraints ask for.
    pub path_length: Option<u8>,
    /// The TLS feature extension asks for OCSP must-staple.
    pub must_staple: bool,
    /// Every other extension: identifier and a name for it (or its dotted form). A subject key identifier counts as other only when
    /// it is not derived from the key by one of the usual methods (RFC 5280, section 4.2.1.2; RFC 7093): those that are, such as
    /// Java's `keytool` sends, mean the same as ours. Basic constraints with CA:FALSE do not count.
    pub other: Vec<(ObjectIdentifier, String)>,
}

/// One requested subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestedName {
    /// Well formed.
    Name(SubjectAltName),
    /// Of a type that is signed, but not well formed.
    Malformed(MalformedName),
    /// Of a type that is never signed here (`directoryName`, `otherName`, `registeredID` ...), with its name and a printable value.
    Unsupported {
        /// The ASN.1 name of the type.
        kind: String,
        /// The value, printable.
        value: String,
    },
}

impl CertificateRequest {
    /// Parses DER or PEM (`CERTIFICATE REQUEST` or `NEW CERTIFICATE REQUEST`, text around it ignored) and verifies the signature.
    ///
    /// # Errors
    /// `BadCsr`: not PEM or DER, trailing data, over [`MAXIMUM_LENGTH`], a duplicate extension, a weak or unknown signature algorithm
    /// (RFC 2986; MD5 and SHA-1 by name), a signature that does not verify. `PolicyViolation` with code `key_not_allowed` when the key's
    /// algorithm is one whose signatures cannot be verified (DSA, secp256k1 ...).
    pub fn parse(input: &[u8]) -> Result<Self> {
        let der = parse::to_der(input)?;
        let unverified = Unverified::from_der(&der)?;
        unverified.verify()
    }

    /// Returns the DER of the whole request.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }
    /// Returns the subject as asked for.
    #[must_use]
    pub const fn subject(&self) -> &DistinguishedName {
        &self.subject
    }
    /// Returns the public key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }
    /// Returns the algorithm of the request's own signature.
    #[must_use]
    pub const fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.signature_algorithm
    }
    /// Returns the requested extensions.
    #[must_use]
    pub const fn requested(&self) -> &RequestedExtensions {
        &self.requested
    }

    /// Returns the request without the key usages that it asks for, and with only those extended key usages that `keep` names. [`Self::as_der`]
    /// stays as it was sent.
    #[must_use]
    pub fn with_usages(mut self, keep: impl Fn(&ExtendedKeyUsage) -> bool) -> Self {
        self.requested.key_usage = None;
        if let Some(usages) = &mut self.requested.extended_key_usage {
            usages.retain(keep);
        }
        self
    }

    /// Makes a request out of a certificate that this CA issued before, for a renewal with the same key: subject, names and
    /// usages are the certificate's; possession was proven when it was issued. It has no DER of its own:
    /// [`CertificateRequest::as_der`] is empty.
    #[must_use]
    pub fn from_certificate(certificate: &super::Certificate) -> Self {
        let requested = RequestedExtensions {
            names: certificate.names.iter().cloned().map(RequestedName::Name).collect(),
            key_usage: certificate.key_usage.clone(),
            extended_key_usage: certificate.extended_key_usage.clone(),
            certificate_authority: certificate.certificate_authority.is_some(),
            end_entity: certificate.certificate_authority.is_none(),
            path_length: certificate.certificate_authority.flatten(),
            must_staple: certificate.must_staple,
            other: Vec::new(),
        };
        // There was no signature by this key here. A key that is not supported is refused by policy whatever this says.
        let signature_algorithm =
            certificate.public_key.algorithm().map_or(SignatureAlgorithm::EcdsaSha256, SignatureAlgorithm::for_key);
        Self {
            der: Vec::new(),
            subject: certificate.subject.clone(),
            public_key: certificate.public_key.clone(),
            signature_algorithm,
            requested,
        }
    }
}
