//! PKCS #7 certificate bundles (`.p7b`): a degenerate CMS `SignedData` (RFC 5652, section 5) with certificates only.

use const_oid::ObjectIdentifier;

use super::{Certificate, encoding};
use crate::error::{Error, Result};

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");

/// Encodes certificates (DER, in the given order) as a degenerate `SignedData` in a `ContentInfo`, DER.
///
/// # Errors
/// `Internal` when a certificate does not parse.
pub fn certificates_only(certificates: &[&[u8]]) -> Result<Vec<u8>> {
    for der in certificates {
        Certificate::from_der(der)
            .map_err(|error| Error::internal("a certificate for a PKCS #7 bundle does not parse").with_source(error))?;
    }
    // Version 1: no attribute certificates, no signers, content of type data (RFC 5652, section 5.1).
    let version = encoding::unsigned(1);
    let digest_algorithms = encoding::value(encoding::SET, &[]);
    let content = encoding::sequence(&[&encoding::object_identifier(&DATA)]);
    let certificates = encoding::constructed(encoding::context_constructed(0), certificates);
    let signers = encoding::value(encoding::SET, &[]);
    let signed_data = encoding::sequence(&[&version, &digest_algorithms, &content, &certificates, &signers]);
    let explicit = encoding::value(encoding::context_constructed(0), &signed_data);
    Ok(encoding::sequence(&[&encoding::object_identifier(&SIGNED_DATA), &explicit]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use cms::content_info::ContentInfo;
    use cms::signed_data::SignedData;
    use der::{Decode, Encode};

    use super::*;
    use crate::x509::testing::Authority;

    #[test]
    fn the_certificates_come_back_in_order() {
        let root = Authority::root("Root");
        let leaf = root.leaf("a.example");
        let der = certificates_only(&[leaf.as_der(), root.certificate.as_der()]).unwrap();
        let info = ContentInfo::from_der(&der).unwrap();
        assert_eq!(info.content_type.to_string(), SIGNED_DATA.to_string());
        let content = info.content.to_der().unwrap();
        let has = |certificate: &Certificate| {
            content.windows(certificate.as_der().len()).position(|window| window == certificate.as_der())
        };
        assert!(has(&leaf).unwrap() < has(&root.certificate).unwrap());
        let sorted = certificates_only(&[root.certificate.as_der()]).unwrap();
        let signed: SignedData = ContentInfo::from_der(&sorted).unwrap().content.decode_as().unwrap();
        assert_eq!(signed.certificates.unwrap().0.len(), 1);
        assert!(signed.signer_infos.0.is_empty());
    }

    #[test]
    fn something_else_than_a_certificate_is_an_error() {
        assert!(certificates_only(&[&[0x30, 0]]).is_err());
    }
}
