//! Builds requests octet by octet, also such as no tool would make, and evaluates them.

use std::sync::LazyLock;
use std::time::Duration;

use const_oid::ObjectIdentifier;
use rcgen::{KeyPair, PublicKeyData, SigningKey};

use crate::error::Violation;
use crate::policy::grants::GrantsDocument;
use crate::policy::{
    Adjustments, ApprovedRequest, CompiledProfile, Evaluation, Grants, IssuerLimits, Profile, RequestedSubjectAltName,
    evaluate, profile,
};
use crate::x509::{CertificateRequest, SubjectAltName, Timestamp};

/// Returns 2030-01-01T00:00:00Z.
pub(super) fn now() -> Timestamp {
    Timestamp::from_unix(1_893_456_000)
}

pub(super) const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

/// Returns a default profile with changes.
pub(super) fn profile(name: &str, change: impl FnOnce(&mut Profile)) -> Profile {
    let mut found = profile::defaults().into_iter().find(|profile| profile.name == name).unwrap();
    change(&mut found);
    found
}

pub(super) fn values(names: &[SubjectAltName]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

pub(super) fn bare(value: &str) -> RequestedSubjectAltName {
    RequestedSubjectAltName::Bare(value.to_owned())
}

/// Everything that one evaluation takes, with defaults that pass: profile `server`, no adjustments, an issuer of five years.
pub(super) struct Case {
    pub(super) request: CertificateRequest,
    pub(super) adjustments: Adjustments,
    pub(super) profile: Profile,
    pub(super) grants: GrantsDocument,
    pub(super) issuer: IssuerLimits,
    pub(super) key_is_blocked: bool,
}

impl Case {
    pub(super) fn new(csr: Csr) -> Self {
        Self::of(CertificateRequest::parse(&csr.der()).unwrap())
    }

    pub(super) fn of(request: CertificateRequest) -> Self {
        Self {
            request,
            adjustments: Adjustments::default(),
            profile: profile("server", |_| {}),
            grants: GrantsDocument::default(),
            issuer: IssuerLimits::lasting(now() - days(100), now() + days(5 * 365)),
            key_is_blocked: false,
        }
    }

    pub(super) fn profile(mut self, name: &str, change: impl FnOnce(&mut Profile)) -> Self {
        self.profile = profile(name, change);
        self
    }

    pub(super) fn evaluate(&self) -> Result<ApprovedRequest, Vec<Violation>> {
        evaluate(&Evaluation {
            request: &self.request,
            adjustments: &self.adjustments,
            profile: &CompiledProfile::compile(self.profile.clone()).unwrap(),
            grants: &Grants::compile(self.grants.clone()).unwrap(),
            issuer: &self.issuer,
            key_is_blocked: self.key_is_blocked,
            now: now(),
        })
    }

    pub(super) fn approved(&self) -> ApprovedRequest {
        self.evaluate().unwrap()
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        let violations = self.evaluate().unwrap_err();
        assert!(!violations.is_empty());
        for violation in &violations {
            let first = violation.message.chars().next().unwrap();
            assert!(first.is_lowercase(), "{}", violation.message);
            assert!(!violation.field.is_empty() && !violation.rule.is_empty());
        }
        violations
    }

    /// Returns the one violation.
    pub(super) fn violation(&self) -> Violation {
        let mut violations = self.violations();
        assert_eq!(violations.len(), 1, "{violations:#?}");
        violations.remove(0)
    }

    /// Asserts that there is one violation, and which.
    #[track_caller]
    pub(super) fn is_refused(&self, code: &str, field: &str, rule: &str) {
        let violation = self.violation();
        assert_eq!((violation.code, violation.field.as_str(), violation.rule.as_str()), (code, field, rule));
    }
}

/// A request to be encoded and signed.
#[derive(Clone, Default)]
pub(super) struct Csr {
    /// Relative distinguished names, encoded.
    subject: Vec<Vec<u8>>,
    /// General names, encoded.
    names: Vec<Vec<u8>>,
    /// Further extensions, encoded.
    extensions: Vec<Vec<u8>>,
    key: Option<&'static TestKey>,
}

/// A key pair with the DER of its signature's algorithm identifier.
pub(super) struct TestKey {
    pair: KeyPair,
    algorithm: &'static str,
}

pub(super) static P256: LazyLock<TestKey> = LazyLock::new(|| TestKey {
    pair: KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
    algorithm: "300a06082a8648ce3d040302",
});
pub(super) static P521: LazyLock<TestKey> = LazyLock::new(|| TestKey {
    pair: KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap(),
    algorithm: "300a06082a8648ce3d040304",
});
pub(super) static ED25519: LazyLock<TestKey> = LazyLock::new(|| TestKey {
    pair: KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
    algorithm: "300506032b6570",
});
pub(super) static ML_DSA_65: LazyLock<TestKey> = LazyLock::new(|| TestKey {
    pair: KeyPair::generate_for(&rcgen::PKCS_ML_DSA_65).unwrap(),
    algorithm: "300b0609608648016503040312",
});
pub(super) static RSA: LazyLock<TestKey> = LazyLock::new(|| TestKey {
    pair: KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap(),
    algorithm: "300d06092a864886f70d01010b0500",
});

impl Csr {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn key(mut self, key: &'static TestKey) -> Self {
        self.key = Some(key);
        self
    }

    pub(super) fn common_name(self, value: &str) -> Self {
        self.attribute("2.5.4.3", value)
    }

    /// Adds an attribute as `UTF8String`, the country as `PrintableString`, an e-mail address as `IA5String`.
    pub(super) fn attribute(mut self, oid: &str, value: &str) -> Self {
        self.subject.push(tlv(0x31, &attribute(oid, value)));
        self
    }

    /// Adds two attributes in one relative distinguished name.
    pub(super) fn joint(mut self, first: (&str, &str), second: (&str, &str)) -> Self {
        self.subject.push(tlv(0x31, &[attribute(first.0, first.1), attribute(second.0, second.1)].concat()));
        self
    }

    pub(super) fn dns(self, name: &str) -> Self {
        self.general_name(tlv(0x82, name.as_bytes()))
    }

    pub(super) fn ip<const LENGTH: usize>(self, address: [u8; LENGTH]) -> Self {
        self.general_name(tlv(0x87, &address))
    }

    pub(super) fn uri(self, uri: &str) -> Self {
        self.general_name(tlv(0x86, uri.as_bytes()))
    }

    pub(super) fn email(self, address: &str) -> Self {
        self.general_name(tlv(0x81, address.as_bytes()))
    }

    pub(super) fn general_name(mut self, encoded: Vec<u8>) -> Self {
        self.names.push(encoded);
        self
    }

    /// Adds an extension with the DER of its value.
    pub(super) fn extension(mut self, oid: &str, critical: bool, value: &[u8]) -> Self {
        let critical = if critical { tlv(1, &[0xff]) } else { Vec::new() };
        self.extensions.push(tlv(0x30, &[object_identifier(oid), critical, tlv(4, value)].concat()));
        self
    }

    /// Adds an extended key usage extension.
    pub(super) fn extended_key_usage(self, oids: &[&str]) -> Self {
        let usages: Vec<u8> = oids.iter().flat_map(|oid| object_identifier(oid)).collect();
        self.extension("2.5.29.37", false, &tlv(0x30, &usages))
    }

    /// Encodes and signs the request.
    pub(super) fn der(&self) -> Vec<u8> {
        let key = self.key.unwrap_or(&P256);
        let mut with_names = self.clone();
        if !self.names.is_empty() {
            with_names = with_names.extension("2.5.29.17", false, &tlv(0x30, &self.names.concat()));
        }
        let attributes = if with_names.extensions.is_empty() {
            Vec::new()
        } else {
            let request = tlv(0x31, &tlv(0x30, &with_names.extensions.concat()));
            tlv(0x30, &[object_identifier("1.2.840.113549.1.9.14"), request].concat())
        };
        let information = tlv(
            0x30,
            &[
                tlv(2, &[0]),
                tlv(0x30, &self.subject.concat()),
                key.pair.subject_public_key_info(),
                tlv(0xa0, &attributes),
            ]
            .concat(),
        );
        let signature = [vec![0], key.pair.sign(&information).unwrap()].concat();
        tlv(0x30, &[information, hex::decode(key.algorithm).unwrap(), tlv(3, &signature)].concat())
    }
}

/// Encodes an `otherName`: a user principal name.
pub(super) fn other_name() -> Vec<u8> {
    let value = tlv(0xa0, &tlv(0x0c, b"user@example.com"));
    tlv(0xa0, &[object_identifier("1.3.6.1.4.1.311.20.2.3"), value].concat())
}

fn attribute(oid: &str, value: &str) -> Vec<u8> {
    let tag = match oid {
        "2.5.4.6" => 0x13,
        "1.2.840.113549.1.9.1" => 0x16,
        _ => 0x0c,
    };
    tlv(0x30, &[object_identifier(oid), tlv(tag, value.as_bytes())].concat())
}

fn object_identifier(oid: &str) -> Vec<u8> {
    tlv(6, ObjectIdentifier::new(oid).unwrap().as_bytes())
}

/// Encodes tag, length and value.
pub(super) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let octets = content.len().to_be_bytes();
    let length: Vec<u8> = octets.into_iter().skip_while(|octet| *octet == 0).collect();
    let mut encoded = vec![tag];
    if content.len() < 0x80 {
        encoded.push(u8::try_from(content.len()).unwrap());
    } else {
        encoded.push(0x80 | u8::try_from(length.len()).unwrap());
        encoded.extend(length);
    }
    encoded.extend_from_slice(content);
    encoded
}
