//! For tests of this folder: CAs with fresh P-256 keys.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

use super::certificate::assemble;
use super::extension::Extension;
use super::{
    Certificate, CertificateTemplate, DistinguishedName, KeyUsage, NameType, PublicKey, SerialNumber,
    SignatureAlgorithm, SubjectAltName, encoding,
};

/// A CA.
pub(crate) struct Authority {
    /// Its certificate.
    pub(crate) certificate: Certificate,
    key: EcdsaKeyPair,
}

fn generate() -> (EcdsaKeyPair, PublicKey) {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let algorithm = hex::decode("301306072a8648ce3d020106082a8648ce3d030107").unwrap();
    let spki = encoding::sequence(&[&algorithm, &encoding::bit_string(key.public_key().as_ref())]);
    let public_key = PublicKey::from_spki_der(&spki).unwrap();
    (key, public_key)
}

fn ca_extensions(public_key: &PublicKey, limit: Option<u8>) -> Vec<Extension> {
    vec![
        Extension::basic_constraints(Some(limit)),
        Extension::key_usage(&[KeyUsage::KeyCertSign, KeyUsage::CrlSign].into()),
        Extension::subject_key_identifier(public_key),
    ]
}

fn build(
    issuer: (&DistinguishedName, &EcdsaKeyPair),
    subject: &DistinguishedName,
    public_key: &PublicKey,
    extensions: &[Extension],
) -> Certificate {
    let template = CertificateTemplate {
        serial: &SerialNumber::from_bytes(&[1, 2]).unwrap(),
        signature_algorithm: SignatureAlgorithm::EcdsaSha256,
        issuer: issuer.0,
        not_before: "2026-01-01T00:00:00Z".parse().unwrap(),
        not_after: "2056-01-01T00:00:00Z".parse().unwrap(),
        subject,
        public_key,
        extensions,
    };
    Certificate::from_der(&sign(issuer.1, &template.to_be_signed().unwrap())).unwrap()
}

fn sign(key: &EcdsaKeyPair, to_be_signed: &[u8]) -> Vec<u8> {
    let signature = key.sign(&SystemRandom::new(), to_be_signed).unwrap();
    assemble(to_be_signed, SignatureAlgorithm::EcdsaSha256, signature.as_ref())
}

impl Authority {
    /// Makes a root.
    pub(crate) fn root(name: &str) -> Self {
        Self::root_with(name, &[])
    }

    /// Makes a root with further extensions.
    pub(crate) fn root_with(name: &str, further: &[Extension]) -> Self {
        let (key, public_key) = generate();
        let subject = DistinguishedName::parse(&format!("CN={name}")).unwrap();
        let mut extensions = ca_extensions(&public_key, None);
        extensions.extend_from_slice(further);
        Self { certificate: build((&subject, &key), &subject, &public_key, &extensions), key }
    }

    /// Makes a root as old programs did, without key usage.
    pub(crate) fn root_without_key_usage(name: &str) -> Self {
        let (key, public_key) = generate();
        let subject = DistinguishedName::parse(&format!("CN={name}")).unwrap();
        let mut extensions = ca_extensions(&public_key, None);
        extensions.retain(|extension| extension.oid != super::extension::oids::KEY_USAGE);
        Self { certificate: build((&subject, &key), &subject, &public_key, &extensions), key }
    }

    /// Makes a subordinate CA.
    pub(crate) fn subordinate(&self, name: &str, limit: Option<u8>) -> Self {
        self.subordinate_with(name, limit, &[])
    }

    /// Makes a subordinate CA with further extensions.
    pub(crate) fn subordinate_with(&self, name: &str, limit: Option<u8>, further: &[Extension]) -> Self {
        let (key, public_key) = generate();
        let subject = DistinguishedName::parse(&format!("CN={name}")).unwrap();
        let mut extensions = ca_extensions(&public_key, limit);
        extensions.extend_from_slice(further);
        extensions.push(Extension::authority_key_identifier(&self.key_identifier()));
        Self { certificate: build((&self.certificate.subject, &self.key), &subject, &public_key, &extensions), key }
    }

    /// Makes a delegated OCSP responder.
    pub(crate) fn responder(&self) -> Self {
        let (key, public_key) = generate();
        let extensions = [
            Extension::key_usage(&[KeyUsage::DigitalSignature].into()),
            Extension::extended_key_usage(&["ocsp_signing".parse().unwrap()]),
            Extension::ocsp_no_check(),
            Extension::subject_key_identifier(&public_key),
            Extension::authority_key_identifier(&self.key_identifier()),
        ];
        let subject = DistinguishedName::parse("CN=Responder").unwrap();
        Self { certificate: build((&self.certificate.subject, &self.key), &subject, &public_key, &extensions), key }
    }

    /// Signs without joining.
    pub(crate) fn signature(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    /// Issues a server certificate.
    pub(crate) fn leaf(&self, name: &str) -> Certificate {
        let (_key, public_key) = generate();
        let names = [SubjectAltName::parse(NameType::Dns, name).unwrap()];
        let uri = |path: &str| vec![format!("http://pki.example/{path}")];
        let extensions = [
            Extension::basic_constraints(None),
            Extension::key_usage(&[KeyUsage::DigitalSignature].into()),
            Extension::extended_key_usage(&["server_auth".parse().unwrap()]),
            Extension::subject_alt_name(&names, false),
            Extension::subject_key_identifier(&public_key),
            Extension::authority_key_identifier(&self.key_identifier()),
            Extension::crl_distribution_points(&uri("root.crl")),
            Extension::authority_information_access(&uri("root.crt"), &uri("ocsp")),
            Extension::certificate_policies(&[const_oid::ObjectIdentifier::new_unwrap("2.23.140.1.2.1")]),
            Extension::must_staple(),
        ];
        let subject = DistinguishedName::parse(&format!("CN={name}")).unwrap();
        build((&self.certificate.subject, &self.key), &subject, &public_key, &extensions)
    }

    /// Signs a to-be-signed object.
    pub(crate) fn sign(&self, to_be_signed: &[u8]) -> Vec<u8> {
        sign(&self.key, to_be_signed)
    }

    fn key_identifier(&self) -> Vec<u8> {
        self.certificate.subject_key_identifier.clone().unwrap()
    }
}
