//! Certificate signing requests made by hand: any names, any extensions, honestly signed with a fresh P-256 key unless told otherwise.
//!
//! Requests by other people's programs are made in `tools.rs`.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
};

use super::der;

const COMMON_NAME: &str = "2.5.4.3";
const ORGANIZATION: &str = "2.5.4.10";
const EXTENSION_REQUEST: &str = "1.2.840.113549.1.9.14";
const SUBJECT_ALT_NAME: &str = "2.5.29.17";

/// A P-256 key pair.
pub(crate) struct Key(EcdsaKeyPair);

impl Key {
    /// Makes a key.
    pub(crate) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    /// The `SubjectPublicKeyInfo`.
    pub(crate) fn spki(&self) -> Vec<u8> {
        let key: PublicKeyX509Der<'_> = self.0.public_key().as_der().unwrap();
        key.as_ref().to_vec()
    }

    /// The private key, PKCS #8 in PEM.
    pub(crate) fn to_pem(&self) -> String {
        let key = self.0.to_pkcs8v1().unwrap();
        der::pem("PRIVATE KEY", key.as_ref())
    }

    /// Signs with ECDSA and SHA-256 in the form of JSON Web Signatures: the two numbers one behind the other (RFC 7518, section 3.4).
    pub(crate) fn sign_fixed(&self, message: &[u8]) -> Vec<u8> {
        let key = self.0.to_pkcs8v1().unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref()).unwrap();
        pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    /// The coordinates of the public point.
    pub(crate) fn coordinates(&self) -> (Vec<u8>, Vec<u8>) {
        let point = self.0.public_key().as_ref();
        (point[1..33].to_vec(), point[33..].to_vec())
    }

    /// Signs with ECDSA and SHA-256.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }
}

/// A request in the making.
pub(crate) struct Csr {
    subject: Vec<u8>,
    names: Vec<Vec<u8>>,
    extensions: Vec<Vec<u8>>,
    version: u8,
    trailing: Vec<u8>,
}

impl Csr {
    /// Starts a request with an empty subject and no names.
    pub(crate) fn new() -> Self {
        Self { subject: der::name(&[]), names: Vec::new(), extensions: Vec::new(), version: 0, trailing: Vec::new() }
    }

    /// A request for DNS names.
    pub(crate) fn for_dns(names: &[&str]) -> Self {
        names.iter().fold(Self::new(), |csr, name| csr.dns(name))
    }

    /// Sets the subject to a common name.
    pub(crate) fn common_name(self, value: &str) -> Self {
        self.subject(&[(COMMON_NAME, der::UTF8_STRING, value.as_bytes())])
    }

    /// Sets the subject to a common name and an organisation.
    pub(crate) fn common_name_and_organization(self, common_name: &str, organization: &str) -> Self {
        self.subject(&[
            (ORGANIZATION, der::UTF8_STRING, organization.as_bytes()),
            (COMMON_NAME, der::UTF8_STRING, common_name.as_bytes()),
        ])
    }

    /// Sets the subject to any attributes: identifier, tag, value.
    pub(crate) fn subject(mut self, attributes: &[(&str, u8, &[u8])]) -> Self {
        self.subject = der::name(attributes);
        self
    }

    /// Adds a DNS name.
    pub(crate) fn dns(self, name: &str) -> Self {
        self.name(der::NAME_DNS, name.as_bytes())
    }

    /// Adds an IP address of 4 or 16 octets, or of a wrong number.
    pub(crate) fn ip(self, octets: &[u8]) -> Self {
        self.name(der::NAME_IP, octets)
    }

    /// Adds a URI.
    pub(crate) fn uri(self, uri: &str) -> Self {
        self.name(der::NAME_URI, uri.as_bytes())
    }

    /// Adds an e-mail address.
    pub(crate) fn email(self, address: &str) -> Self {
        self.name(der::NAME_EMAIL, address.as_bytes())
    }

    /// Adds a name of any type.
    pub(crate) fn name(mut self, tag: u8, content: &[u8]) -> Self {
        self.names.push(der::tlv(tag, content));
        self
    }

    /// Adds an extension.
    pub(crate) fn extension(mut self, kind: &str, critical: bool, value: &[u8]) -> Self {
        self.extensions.push(der::extension(kind, critical, value));
        self
    }

    /// Sets the version, which must be 0 (RFC 2986, section 4.1).
    pub(crate) fn version(mut self, version: u8) -> Self {
        self.version = version;
        self
    }

    /// Adds octets behind the request.
    pub(crate) fn trailing(mut self, octets: &[u8]) -> Self {
        self.trailing = octets.to_vec();
        self
    }

    /// The `CertificationRequestInfo` for a key.
    fn info(&self, spki: Vec<u8>) -> Vec<u8> {
        let mut extensions = self.extensions.clone();
        if !self.names.is_empty() {
            extensions.push(der::extension(SUBJECT_ALT_NAME, false, &der::wrap(der::SEQUENCE, &self.names)));
        }
        let attributes = if extensions.is_empty() {
            der::tlv(0xa0, &[])
        } else {
            let list = der::wrap(der::SEQUENCE, &extensions);
            der::wrap(0xa0, &[der::wrap(der::SEQUENCE, &[der::oid(EXTENSION_REQUEST), der::wrap(der::SET, &[list])])])
        };
        der::wrap(der::SEQUENCE, &[der::tlv(der::INTEGER, &[self.version]), self.subject.clone(), spki, attributes])
    }

    /// Signs with a key.
    pub(crate) fn der_with(&self, key: &Key) -> Vec<u8> {
        self.der_signed_by(key.spki(), key)
    }

    /// Puts one key in the request and signs with another: no proof of possession unless they are the same.
    pub(crate) fn der_signed_by(&self, spki: Vec<u8>, key: &Key) -> Vec<u8> {
        let info = self.info(spki);
        let signature = key.sign(&info);
        let algorithm = der::wrap(der::SEQUENCE, &[der::oid("1.2.840.10045.4.3.2")]);
        let mut request = der::wrap(der::SEQUENCE, &[info, algorithm, der::bit_string(&signature)]);
        request.extend_from_slice(&self.trailing);
        request
    }

    /// The request in DER, with a fresh key.
    pub(crate) fn der(&self) -> Vec<u8> {
        self.der_with(&Key::new())
    }

    /// The request in PEM, with a fresh key.
    pub(crate) fn pem(&self) -> String {
        der::pem("CERTIFICATE REQUEST", &self.der())
    }

    /// The request in PEM, with a given key.
    pub(crate) fn pem_with(&self, key: &Key) -> String {
        der::pem("CERTIFICATE REQUEST", &self.der_with(key))
    }
}
