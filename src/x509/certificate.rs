//! Certificates: the to-be-signed bytes built exactly once from a template, and the parsed form of finished ones.

mod parse;
mod understood;

pub(super) use parse::inner_algorithm;

use aws_lc_rs::signature::{RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use const_oid::ObjectIdentifier;

use super::decoding;
use super::encoding;
use super::extension::Extension;
use super::key;
use super::pem::{self, PemText};
use super::usage::KeyUsages;
use super::{
    DistinguishedName, ExtendedKeyUsage, NameConstraints, PublicKey, SerialNumber, SignatureAlgorithm, SubjectAltName,
    Timestamp,
};
use crate::error::{Error, Result};

/// `sha1WithRSAEncryption`, which is read but not accepted.
const RSA_SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5");

/// Everything that goes into a certificate (RFC 5280, section 4.1.2), in the order it is encoded.
#[derive(Clone, Debug)]
pub struct CertificateTemplate<'a> {
    /// The serial number.
    pub serial: &'a SerialNumber,
    /// The algorithm of the issuer's signature.
    pub signature_algorithm: SignatureAlgorithm,
    /// The issuer's subject name, raw.
    pub issuer: &'a DistinguishedName,
    /// The first second of validity.
    pub not_before: Timestamp,
    /// The last second of validity (inclusive).
    pub not_after: Timestamp,
    /// The subject, raw.
    pub subject: &'a DistinguishedName,
    /// The subject's public key, raw.
    pub public_key: &'a PublicKey,
    /// The extensions, in order of encoding.
    pub extensions: &'a [Extension],
}

impl CertificateTemplate<'_> {
    /// Encodes the `TBSCertificate`. `UTCTime` through 2049, `GeneralizedTime` after (section 4.1.2.5).
    ///
    /// # Errors
    /// `Internal` when a value cannot be encoded.
    pub fn to_be_signed(&self) -> Result<Vec<u8>> {
        if self.extensions.is_empty() {
            return Err(Error::internal("a certificate without extensions cannot be of version 3"));
        }
        // In one piece: most are of some 500 octets.
        let mut out = Vec::with_capacity(1024);
        // [0] EXPLICIT INTEGER 2: version 3.
        encoding::append(&mut out, encoding::context_constructed(0), &[encoding::INTEGER, 1, 2]);
        encoding::append(&mut out, encoding::INTEGER, &self.serial.to_der_content());
        out.extend_from_slice(self.signature_algorithm.identifier_der());
        out.extend_from_slice(self.issuer.as_der());
        let validity = out.len();
        encoding::append_time(&mut out, self.not_before);
        encoding::append_time(&mut out, self.not_after);
        encoding::wrap(&mut out, validity, encoding::SEQUENCE);
        out.extend_from_slice(self.subject.as_der());
        out.extend_from_slice(self.public_key.spki_der());
        let extensions = out.len();
        Extension::append_list(&mut out, self.extensions);
        encoding::wrap(&mut out, extensions, encoding::context_constructed(3));
        encoding::wrap(&mut out, 0, encoding::SEQUENCE);
        Ok(out)
    }
}

impl CertificateTemplate<'_> {
    /// Returns the certificate that this template became, as parsing its DER would, without reading it again.
    ///
    /// # Errors
    /// `Internal` when an extension does not decode.
    pub fn certificate(&self, der: Vec<u8>) -> Result<Certificate> {
        parse::built(self, der)
    }
}

/// Joins to-be-signed bytes and their signature to the DER of a signed object: a certificate or a CRL.
#[must_use]
pub fn assemble(to_be_signed: &[u8], algorithm: SignatureAlgorithm, signature: &[u8]) -> Vec<u8> {
    encoding::sequence(&[to_be_signed, algorithm.identifier_der(), &encoding::bit_string(signature)])
}

/// The label of a certificate in PEM (RFC 7468, section 5.1).
const LABEL: &str = "CERTIFICATE";

/// A parsed certificate: its DER and the parts that are asked for.
#[derive(Clone, Debug)]
pub struct Certificate {
    der: Vec<u8>,
    /// The version: 3, or 1 or 2 for old certificates without extensions.
    pub version: u8,
    /// The serial number.
    pub serial: SerialNumber,
    /// The issuer name.
    pub issuer: DistinguishedName,
    /// The subject name.
    pub subject: DistinguishedName,
    /// The first second of validity.
    pub not_before: Timestamp,
    /// The last second of validity.
    pub not_after: Timestamp,
    /// The public key.
    pub public_key: PublicKey,
    /// The subject alternative names of types that are signed here.
    pub names: Vec<SubjectAltName>,
    /// The key usage extension.
    pub key_usage: Option<KeyUsages>,
    /// The extended key usage extension.
    pub extended_key_usage: Option<Vec<ExtendedKeyUsage>>,
    /// `Some` for a CA certificate, with its path length.
    pub certificate_authority: Option<Option<u8>>,
    /// The subject key identifier.
    pub subject_key_identifier: Option<Vec<u8>>,
    /// The authority key identifier.
    pub authority_key_identifier: Option<Vec<u8>>,
    /// Whether the TLS feature extension asks for must-staple.
    pub must_staple: bool,
    /// The name constraints of a CA certificate.
    pub name_constraints: Option<NameConstraints>,
    /// The certificate policies and what limits them.
    pub policies: PolicyRules,
    extensions: Vec<Extension>,
}

/// What a certificate says about certificate policies (RFC 5280, sections 4.2.1.4, 4.2.1.5, 4.2.1.11 and 4.2.1.14).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyRules {
    /// The certificate policies, if it has the extension.
    pub policies: Option<Vec<ObjectIdentifier>>,
    /// Policy mappings of a CA certificate: a policy of its issuer's domain, and the one of its own that is equal to it.
    pub mappings: Vec<(ObjectIdentifier, ObjectIdentifier)>,
    /// `requireExplicitPolicy`: after how many more certificates a valid policy is needed.
    pub require_explicit_policy: Option<u32>,
    /// `inhibitPolicyMapping`: after how many more certificates policies are not mapped.
    pub inhibit_policy_mapping: Option<u32>,
    /// `inhibitAnyPolicy`: after how many more certificates `anyPolicy` stands for nothing.
    pub inhibit_any_policy: Option<u32>,
}

impl Certificate {
    /// Parses DER.
    ///
    /// # Errors
    /// `Malformed` when it is not one X.509 certificate of version 1 (then without any extension, and no CA as far as can be told) to 3.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        parse::certificate(der)
    }

    /// Parses the first certificate of a PEM text.
    ///
    /// # Errors
    /// `Malformed` when there is none or it does not parse.
    pub fn from_pem(text: &str) -> Result<Self> {
        let blocks = pem::decode_all(text)?;
        let (_, der) = blocks
            .iter()
            .find(|(label, _)| pem::is_certificate(label))
            .ok_or_else(|| Error::malformed("there is no `CERTIFICATE` PEM block"))?;
        Self::from_der(der)
    }

    /// Returns the DER.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// Returns the PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode(LABEL, &self.der)
    }

    /// Returns the PEM as JSON has it.
    ///
    /// # Errors
    /// Those of [`PemText::new`].
    pub fn to_pem_text(&self) -> Result<PemText> {
        PemText::new(LABEL, &self.der)
    }

    /// Returns the SHA-256 digest of the DER.
    #[must_use]
    pub fn fingerprint_sha256(&self) -> [u8; 32] {
        key::sha256(&self.der)
    }

    /// Whether subject and issuer are the same name, signature or no.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.subject.as_der() == self.issuer.as_der()
    }

    /// Whether subject and issuer are the same name and the certificate verifies with its own key.
    #[must_use]
    pub fn is_self_signed(&self) -> bool {
        self.verify_issued_by(self).is_ok()
    }

    /// Explains why a certificate that bears its own name did not verify with its own key.
    pub(crate) fn not_its_own_signature(&self, error: Error) -> Error {
        let subject = &self.subject;
        let detail = match (self.public_key.algorithm(), self.signature_algorithm()) {
            (Err(name), _) => format!("the key of `{subject}` is of the algorithm `{name}`, which is not supported"),
            (Ok(_), Err(unsupported)) => format!("the signature of `{subject}` cannot be verified: {unsupported}"),
            (Ok(_), Ok(_)) => format!("`{subject}` bears its own name but did not sign itself"),
        };
        Error::malformed(detail).with_source(error)
    }

    /// Verifies the certificate's signature with the issuer's key, and that the names chain.
    ///
    /// # Errors
    /// `Malformed` with the reason.
    pub fn verify_issued_by(&self, issuer: &Self) -> Result<()> {
        if self.issuer.as_der() != issuer.subject.as_der() {
            return Err(Error::malformed(format!(
                "`{}` is issued by `{}`, not by `{}`",
                self.subject, self.issuer, issuer.subject
            )));
        }
        Signed::from_der(&self.der, "certificate")?.verify(&issuer.public_key)
    }

    /// Verifies as [`verify_issued_by`](Self::verify_issued_by) does, but accepts RSA signatures with SHA-1, too: for taking over what a CA
    /// signed long ago, never for deciding whom to trust.
    ///
    /// # Errors
    /// `Malformed` with the reason.
    pub fn verify_once_issued_by(&self, issuer: &Self) -> Result<()> {
        let verified = self.verify_issued_by(issuer);
        if verified.is_ok() || self.issuer.as_der() != issuer.subject.as_der() {
            return verified;
        }
        let signed = Signed::from_der(&self.der, "certificate")?;
        if signed.verifies_with_sha1(&issuer.public_key) { Ok(()) } else { verified }
    }

    /// Returns every extension in order.
    #[must_use]
    pub fn extensions(&self) -> &[Extension] {
        &self.extensions
    }

    /// Returns the criticality and the DER value of an extension, if the certificate has it.
    #[must_use]
    pub fn extension_value(&self, oid: &ObjectIdentifier) -> Option<(bool, Vec<u8>)> {
        self.extensions
            .iter()
            .find(|extension| extension.oid == *oid)
            .map(|extension| (extension.critical, extension.value.clone()))
    }

    /// Returns the algorithm of the issuer's signature.
    ///
    /// # Errors
    /// `Malformed`, naming the algorithm, when it is not one that is accepted here.
    pub fn signature_algorithm(&self) -> Result<SignatureAlgorithm> {
        SignatureAlgorithm::from_identifier_der(Signed::from_der(&self.der, "certificate")?.algorithm)
    }

    /// Returns the name of the algorithm of the issuer's signature, accepted or not.
    #[must_use]
    pub fn signature_algorithm_name(&self) -> String {
        Signed::from_der(&self.der, "certificate")
            .map_or_else(|_error| "unknown".to_owned(), |signed| signed.algorithm_name())
    }
}

/// The three parts that certificates, requests and CRLs have: what is signed, by which algorithm, and the signature.
pub(crate) struct Signed<'a> {
    /// The DER that is signed.
    pub(crate) to_be_signed: &'a [u8],
    /// The DER of the `AlgorithmIdentifier`.
    pub(crate) algorithm: &'a [u8],
    /// The signature.
    pub(crate) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Takes a signed object apart, without reading what is signed; x509-parser does not hand out the octets of the algorithm, and
    /// would read everything again. `what` names it in errors.
    pub(crate) fn from_der(der: &'a [u8], what: &str) -> Result<Self> {
        let mut parts = decoding::only_sequence(der, what)?;
        let to_be_signed = parts.expect(encoding::SEQUENCE, what)?.raw;
        let algorithm = parts.expect(encoding::SEQUENCE, what)?.raw;
        let [0, signature @ ..] = parts.expect(encoding::BIT_STRING, what)?.content else {
            return Err(Error::malformed(format!("{what}: the signature is not whole octets")));
        };
        parts.finish(what)?;
        Ok(Self { to_be_signed, algorithm, signature })
    }

    /// Verifies the signature.
    pub(crate) fn verify(&self, key: &PublicKey) -> Result<()> {
        let algorithm = SignatureAlgorithm::from_identifier_der(self.algorithm)?;
        key.verify(algorithm, self.to_be_signed, self.signature)
    }

    /// Whether the signature is one with RSA and SHA-1 and verifies.
    pub(crate) fn verifies_with_sha1(&self, key: &PublicKey) -> bool {
        let is_sha1 = decoding::algorithm(self.algorithm, "signature algorithm").is_ok_and(|(oid, _)| oid == RSA_SHA1);
        let is_rsa = matches!(key.algorithm(), Ok(super::KeyAlgorithm::Rsa(_)));
        let verification = &RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY;
        is_sha1
            && is_rsa
            && UnparsedPublicKey::new(verification, key.key_bits()).verify(self.to_be_signed, self.signature).is_ok()
    }

    /// Returns the name of the signature algorithm, accepted or not.
    pub(crate) fn algorithm_name(&self) -> String {
        let name = || -> Result<String> {
            let (oid, _) = decoding::algorithm(self.algorithm, "signature algorithm")?;
            Ok(key::names::signature_algorithm(&oid))
        };
        SignatureAlgorithm::from_identifier_der(self.algorithm)
            .map(|algorithm| algorithm.to_string())
            .or_else(|_not_accepted| name())
            .unwrap_or_else(|_unreadable| "unknown".to_owned())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::x509::testing::Authority;
    use crate::x509::{KeyUsage, NameType};

    #[test]
    fn what_is_built_is_what_is_parsed() {
        let root = Authority::root("Root");
        let leaf = root.leaf("a.example");
        assert_eq!(leaf.serial.to_string(), "0102");
        assert_eq!(leaf.issuer, root.certificate.subject);
        assert_eq!(leaf.names, [SubjectAltName::parse(NameType::Dns, "a.example").unwrap()]);
        assert_eq!(leaf.key_usage, Some([KeyUsage::DigitalSignature].into()));
        assert_eq!(leaf.certificate_authority, None);
        assert_eq!(leaf.authority_key_identifier, root.certificate.subject_key_identifier);
        assert_eq!(leaf.signature_algorithm().unwrap(), SignatureAlgorithm::EcdsaSha256);
        assert_eq!(Certificate::from_pem(&leaf.to_pem()).unwrap().as_der(), leaf.as_der());
        assert_eq!(root.certificate.certificate_authority, Some(None));
        assert!(root.certificate.is_self_signed());
        assert!(!leaf.is_self_signed());
        leaf.verify_issued_by(&root.certificate).unwrap();
    }

    #[test]
    fn the_certificate_of_a_template_is_the_one_that_is_parsed() {
        let root = Authority::root("Root");
        for parsed in [root.leaf("a.example"), root.certificate.clone()] {
            let template = CertificateTemplate {
                serial: &parsed.serial,
                signature_algorithm: parsed.signature_algorithm().unwrap(),
                issuer: &parsed.issuer,
                not_before: parsed.not_before,
                not_after: parsed.not_after,
                subject: &parsed.subject,
                public_key: &parsed.public_key,
                extensions: parsed.extensions(),
            };
            let built = template.certificate(parsed.as_der().to_vec()).unwrap();
            assert_eq!(format!("{built:?}"), format!("{parsed:?}"));
        }
    }

    #[test]
    fn a_changed_octet_breaks_the_signature() {
        let root = Authority::root("Root");
        let mut der = root.leaf("a.example").as_der().to_vec();
        let position = der.windows(9).position(|window| window == b"a.example").unwrap();
        der[position] = b'b';
        assert!(Certificate::from_der(&der).unwrap().verify_issued_by(&root.certificate).is_err());
    }

    #[test]
    fn another_issuer_of_the_same_name_does_not_verify() {
        let root = Authority::root("Root");
        let leaf = root.leaf("a.example");
        assert!(leaf.verify_issued_by(&Authority::root("Root").certificate).is_err());
        assert!(leaf.verify_issued_by(&Authority::root("Other").certificate).is_err());
    }

    #[test]
    fn truncated_certificates_and_trailing_data_are_malformed() {
        let der = Authority::root("Root").certificate.as_der().to_vec();
        for length in 0..der.len() {
            assert!(Certificate::from_der(&der[..length]).is_err(), "{length}");
        }
        assert!(Certificate::from_der(&[der.as_slice(), &[0]].concat()).is_err());
    }

    #[test]
    fn flipped_bits_never_panic() {
        let der = Authority::root("Root").leaf("a.example").as_der().to_vec();
        for position in 0..der.len() {
            for bit in [1, 0x20, 0x80] {
                let mut changed = der.clone();
                changed[position] ^= bit;
                if let Ok(certificate) = Certificate::from_der(&changed) {
                    let _text = crate::x509::text::describe(&certificate);
                    assert!(certificate.verify_issued_by(&certificate).is_err());
                }
            }
        }
    }
}
