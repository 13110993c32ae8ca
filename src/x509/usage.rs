//! Key usages (RFC 5280, section 4.2.1.3) and extended key usages (section 4.2.1.12) by their standard names.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use const_oid::ObjectIdentifier;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// One bit of the key usage extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyUsage {
    /// Signatures other than on certificates and CRLs, as TLS makes them.
    DigitalSignature,
    /// `nonRepudiation`, also called content commitment.
    #[serde(alias = "non_repudiation")]
    ContentCommitment,
    /// Encryption of keys (RSA key transport).
    KeyEncipherment,
    /// Encryption of data.
    DataEncipherment,
    /// Key agreement (ECDH).
    KeyAgreement,
    /// Signatures on certificates.
    KeyCertSign,
    /// Signatures on CRLs.
    CrlSign,
    /// With key agreement: encryption only.
    EncipherOnly,
    /// With key agreement: decryption only.
    DecipherOnly,
}

impl KeyUsage {
    /// Every usage, by bit number.
    pub const ALL: [Self; 9] = [
        Self::DigitalSignature,
        Self::ContentCommitment,
        Self::KeyEncipherment,
        Self::DataEncipherment,
        Self::KeyAgreement,
        Self::KeyCertSign,
        Self::CrlSign,
        Self::EncipherOnly,
        Self::DecipherOnly,
    ];

    /// Returns the bit number in the `KeyUsage` BIT STRING.
    #[must_use]
    pub const fn bit(self) -> u8 {
        self as u8
    }

    /// Returns the name used in profiles and JSON, such as `digital_signature`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DigitalSignature => "digital_signature",
            Self::ContentCommitment => "content_commitment",
            Self::KeyEncipherment => "key_encipherment",
            Self::DataEncipherment => "data_encipherment",
            Self::KeyAgreement => "key_agreement",
            Self::KeyCertSign => "key_cert_sign",
            Self::CrlSign => "crl_sign",
            Self::EncipherOnly => "encipher_only",
            Self::DecipherOnly => "decipher_only",
        }
    }
}

/// A set of key usages.
pub type KeyUsages = BTreeSet<KeyUsage>;

/// An extended key usage: a name from [`ExtendedKeyUsage::NAMED`], or a dotted object identifier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedKeyUsage(ObjectIdentifier);

impl ExtendedKeyUsage {
    /// The usages with a name, and their object identifiers.
    pub const NAMED: [(&'static str, ObjectIdentifier); 8] = [
        ("server_auth", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1")),
        ("client_auth", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2")),
        ("code_signing", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3")),
        ("email_protection", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4")),
        ("time_stamping", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8")),
        ("ocsp_signing", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9")),
        ("any", ObjectIdentifier::new_unwrap("2.5.29.37.0")),
        ("smart_card_logon", ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.20.2.2")),
    ];

    /// Makes a usage from its object identifier.
    #[must_use]
    pub const fn from_oid(oid: ObjectIdentifier) -> Self {
        Self(oid)
    }

    /// Returns the object identifier.
    #[must_use]
    pub const fn oid(&self) -> ObjectIdentifier {
        self.0
    }
}

impl fmt::Display for ExtendedKeyUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMED.iter().find(|(_, oid)| *oid == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for ExtendedKeyUsage {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if let Some((_, oid)) = Self::NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(Self(*oid));
        }
        let names: Vec<&str> = Self::NAMED.iter().map(|(name, _)| *name).collect();
        ObjectIdentifier::new(text).map(Self).map_err(|error| {
            Error::malformed(format!(
                "`{text}` is not an extended key usage; known are {} and dotted object identifiers",
                names.join(", ")
            ))
            .with_source(error)
        })
    }
}

impl Serialize for ExtendedKeyUsage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ExtendedKeyUsage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
