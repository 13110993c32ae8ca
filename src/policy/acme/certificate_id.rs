//! The identifier of a certificate (RFC 9773, section 4.1): its issuer's key identifier and its serial number, in one form only.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{Error, Result};
use crate::x509::{Certificate, SerialNumber};

/// The longest key identifier: twice that of SHA-512.
const MAXIMUM_KEY_IDENTIFIER: usize = 128;

/// Names a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateIdentifier {
    /// The key identifier of the authority key identifier extension.
    pub key_identifier: Vec<u8>,
    /// The serial number.
    pub serial: SerialNumber,
}

impl CertificateIdentifier {
    /// Reads an identifier: two parts in base64url without padding, a dot between them.
    ///
    /// # Errors
    /// `malformed` for anything else, and for a serial number that is not written as DER writes it: otherwise one certificate had many
    /// identifiers.
    pub fn parse(text: &str) -> Result<Self> {
        let malformed = |why: &str| {
            Error::malformed(format!(
                "this is no certificate identifier (RFC 9773, section 4.1): {why}; write the key identifier of the authority key \
                 identifier and the serial number, each in base64url without padding, with a dot between them"
            ))
        };
        let (key, serial) = text.split_once('.').ok_or_else(|| malformed("it has no dot"))?;
        let decode = |part: &str, what: &str| {
            URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|error| malformed(&format!("the {what} is not in base64url")).with_source(error))
        };
        let key_identifier = decode(key, "part before the dot")?;
        let content = decode(serial, "part after the dot")?;
        if key_identifier.is_empty() || key_identifier.len() > MAXIMUM_KEY_IDENTIFIER {
            return Err(malformed("the part before the dot is no key identifier"));
        }
        let serial = SerialNumber::from_bytes(&content)
            .ok()
            .filter(|serial| serial.to_der_content() == content)
            .ok_or_else(|| malformed("the part after the dot is not the content of a positive DER INTEGER"))?;
        Ok(Self { key_identifier, serial })
    }

    /// Returns the identifier of a certificate; `None` for one that does not say which key signed it.
    #[must_use]
    pub fn of(certificate: &Certificate) -> Option<Self> {
        let key_identifier = certificate.authority_key_identifier.clone()?;
        Some(Self { key_identifier, serial: certificate.serial.clone() })
    }
}

impl fmt::Display for CertificateIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let serial = URL_SAFE_NO_PAD.encode(self.serial.to_der_content());
        write!(f, "{}.{serial}", URL_SAFE_NO_PAD.encode(&self.key_identifier))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    /// RFC 9773, appendix A.
    const VECTOR: &str = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE";

    #[test]
    fn the_vector_of_the_rfc_is_read_and_written() {
        let identifier = CertificateIdentifier::parse(VECTOR).unwrap();
        assert_eq!(hex::encode_upper(&identifier.key_identifier), "69885B6B87464041E1B37B847BA0AE2CDE01C8D4");
        assert_eq!(identifier.serial.to_der_content(), [0, 0x87, 0x65, 0x43, 0x21]);
        assert_eq!(identifier.to_string(), VECTOR);
    }

    #[test]
    fn a_certificate_has_one_identifier_only() {
        for text in [
            "",
            ".",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.",
            ".AIdlQyE",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ=.AIdlQyE=",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE.AIdlQyE",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyF",
            // Without the leading zero octet it is negative; with two it is not minimal; zero is no serial number.
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.h2VDIQ",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AACHZUMh",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AA",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AH8",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ .AIdlQyE",
            "aYhba4dGQEHhs3uEe6CuLN4ByN+.AIdlQyE",
        ] {
            let error = CertificateIdentifier::parse(text).unwrap_err();
            assert_eq!(error.acme_token(), "malformed", "{text}");
        }
        let long = format!("{}.AIdlQyE", "A".repeat(4 * MAXIMUM_KEY_IDENTIFIER));
        CertificateIdentifier::parse(&long).unwrap_err();
        let long = format!("aYhba4dGQEHhs3uEe6CuLN4ByNQ.{}", "f".repeat(100));
        CertificateIdentifier::parse(&long).unwrap_err();
    }
}
