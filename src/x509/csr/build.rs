//! Writes certificate signing requests (RFC 2986, section 4), for the keys of our own issuers that somebody else is to certify.

use crate::x509::extension::{Extension, oids};
use crate::x509::{DistinguishedName, PublicKey, encoding};

/// Everything that goes into a request.
#[derive(Clone, Debug)]
pub struct CertificateRequestTemplate<'a> {
    /// The subject asked for.
    pub subject: &'a DistinguishedName,
    /// The public key.
    pub public_key: &'a PublicKey,
    /// The extensions asked for (RFC 2985, section 5.4.2), in order of encoding.
    pub extensions: &'a [Extension],
}

impl CertificateRequestTemplate<'_> {
    /// Encodes the `CertificationRequestInfo`.
    #[must_use]
    pub fn to_be_signed(&self) -> Vec<u8> {
        let attribute = encoding::sequence(&[
            &encoding::object_identifier(&oids::EXTENSION_REQUEST),
            &encoding::constructed(encoding::SET, &[&Extension::list_to_der(self.extensions)]),
        ]);
        // [0] IMPLICIT SET OF Attribute.
        let attributes = encoding::constructed(encoding::context_constructed(0), &[&attribute]);
        encoding::sequence(&[&encoding::unsigned(0), self.subject.as_der(), self.public_key.spki_der(), &attributes])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::x509::testing::Authority;
    use crate::x509::{CertificateRequest, KeyUsage};

    #[test]
    fn what_is_written_is_what_is_read() {
        let authority = Authority::root("Root");
        let (subject, public_key) = (&authority.certificate.subject, &authority.certificate.public_key);
        let extensions = [
            Extension::basic_constraints(Some(Some(0))),
            Extension::key_usage(&[KeyUsage::KeyCertSign, KeyUsage::CrlSign].into()),
            Extension::subject_key_identifier(public_key),
        ];
        let template = CertificateRequestTemplate { subject, public_key, extensions: &extensions };
        let csr = CertificateRequest::parse(&authority.sign(&template.to_be_signed())).unwrap();
        assert_eq!(csr.subject(), subject);
        assert_eq!(csr.public_key(), public_key);
        assert!(csr.requested().certificate_authority);
        assert_eq!(csr.requested().key_usage, Some([KeyUsage::KeyCertSign, KeyUsage::CrlSign].into()));
        assert_eq!(csr.requested().other, []);
    }
}
