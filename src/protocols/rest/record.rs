//! The certificate record as clients see it, and the representations of a certificate beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::Serialize;
use serde_json::{Value, json};

use super::{DER_CERTIFICATE, PEM_CHAIN, PEM_FILE, PKCS7};
use crate::ca::CertificateView;
use crate::error::Result;
use crate::storage::{CertificateStatus, RevocationRecord, Source};
use crate::x509::crl::RevocationReason;
use crate::x509::pem::PemText;
use crate::x509::{Certificate, NameType, SubjectAltName, Timestamp, pkcs7, text};

/// A certificate with everything that is recorded of it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Certificate)]
pub struct CertificateDocument {
    /// The serial number, lower-case hex.
    #[schema(example = "0198a3f2c1d04b7e9a6c35d2f81e0b4477aa91c3")]
    pub serial: String,
    /// The status now.
    pub status: CertificateStatus,
    /// The issuer's name.
    #[schema(example = "issuing")]
    pub issuer: String,
    /// The profile's name.
    #[schema(example = "server")]
    pub profile: String,
    /// The version of the profile under which it was issued.
    #[schema(example = 1)]
    pub profile_version: i32,
    /// The subject, RFC 4514.
    #[schema(example = "CN=app.internal,O=Example")]
    pub subject: String,
    /// The subject alternative names, in normal form.
    pub subject_alt_names: Vec<NameDocument>,
    /// The subject's key.
    pub key: KeyDocument,
    /// The first second of validity.
    pub not_before: Timestamp,
    /// The last second of validity.
    pub not_after: Timestamp,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// SHA-256 of the certificate, hex.
    #[schema(example = "3b9c0f6fd8f0c7b7a5a3c4b2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2")]
    pub fingerprint_sha256: String,
    /// The principal that asked for it.
    #[schema(example = "token:deploy")]
    pub requester: String,
    /// The front door through which it was asked for.
    pub source: Source,
    /// The labels given with the request.
    pub labels: BTreeMap<String, String>,
    /// Why and when it was revoked or put on hold; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation: Option<RevocationDocument>,
    /// The certificate, PEM.
    #[schema(value_type = String)]
    pub certificate: PemText,
    /// The CA certificates above it, PEM, nearest first, without the root; in lists only with `chain=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub chain: Option<Arc<[PemText]>>,
    /// The root, PEM; in lists only with `chain=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub root: Option<PemText>,
}

/// A subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = SubjectAltName)]
pub struct NameDocument {
    /// The type.
    #[serde(rename = "type")]
    pub name_type: NameType,
    /// The value.
    #[schema(example = "app.internal")]
    pub value: String,
}

impl From<&SubjectAltName> for NameDocument {
    fn from(name: &SubjectAltName) -> Self {
        Self { name_type: name.name_type(), value: name.value() }
    }
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Key)]
pub struct KeyDocument {
    /// The algorithm, as in profiles.
    #[schema(example = "ecdsa-p256")]
    pub algorithm: String,
    /// SHA-256 of the subject public key info, hex.
    #[schema(example = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90")]
    pub spki_sha256: String,
}

/// Why and when a certificate was revoked or put on hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Revocation)]
pub struct RevocationDocument {
    /// Why.
    pub reason: RevocationReason,
    /// When.
    pub revoked_at: Timestamp,
    /// Since when the key is known or suspected to be bad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalidity_date: Option<Timestamp>,
}

impl From<RevocationRecord> for RevocationDocument {
    fn from(record: RevocationRecord) -> Self {
        Self { reason: record.reason, revoked_at: record.revoked_at, invalidity_date: record.invalidity_date }
    }
}

impl CertificateDocument {
    /// Describes a certificate, with the chain above it if asked for.
    ///
    /// # Errors
    /// `Internal` when it cannot be written as PEM.
    pub fn of(view: &CertificateView, with_chain: bool) -> Result<Self> {
        let record = &view.record;
        Ok(Self {
            serial: record.serial.to_string(),
            status: view.status,
            issuer: view.issuer.name.clone(),
            profile: record.profile.clone(),
            profile_version: record.profile_version,
            subject: record.subject.clone(),
            subject_alt_names: view.certificate.names.iter().map(NameDocument::from).collect(),
            key: KeyDocument {
                algorithm: record.key_algorithm.clone(),
                spki_sha256: HEXLOWER.encode(&record.spki_sha256),
            },
            not_before: record.not_before,
            not_after: record.not_after,
            issued_at: record.issued_at,
            fingerprint_sha256: HEXLOWER.encode(&record.fingerprint_sha256),
            requester: record.requester.clone(),
            source: record.source,
            labels: record.labels.clone(),
            revocation: record.revocation.map(RevocationDocument::from),
            certificate: view.certificate.to_pem_text()?,
            chain: with_chain.then(|| Arc::clone(&view.issuer.texts.chain_without_root)),
            root: with_chain.then(|| view.issuer.texts.root.clone()),
        })
    }
}

/// A representation of a certificate other than the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Representation {
    /// The certificate, PEM.
    Pem,
    /// The certificate and the CA certificates above it without the root, PEM.
    FullChain,
    /// The certificate, DER.
    Der,
    /// The certificate and the CA certificates above it without the root, PKCS #7 in DER.
    Pkcs7,
    /// The certificate, described for people.
    Text,
}

impl Representation {
    /// Finds the representation of a suffix of the path.
    pub(crate) fn of_suffix(suffix: &str) -> Option<Self> {
        match suffix {
            "pem" => Some(Self::Pem),
            "fullchain.pem" => Some(Self::FullChain),
            "der" => Some(Self::Der),
            "p7b" => Some(Self::Pkcs7),
            "txt" => Some(Self::Text),
            _ => None,
        }
    }

    /// Returns the media type.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Pem => PEM_FILE,
            Self::FullChain => PEM_CHAIN,
            Self::Der => DER_CERTIFICATE,
            Self::Pkcs7 => PKCS7,
            Self::Text => "text/plain; charset=utf-8",
        }
    }

    /// Writes the certificate so.
    ///
    /// # Errors
    /// `Internal` when it cannot be encoded.
    pub(crate) fn encode(self, view: &CertificateView) -> Result<Vec<u8>> {
        let chain = view.issuer.chain_without_root();
        Ok(match self {
            Self::Pem => view.certificate.to_pem().into_bytes(),
            Self::FullChain => {
                let mut pem = view.certificate.to_pem();
                for certificate in chain {
                    pem.push_str(&certificate.to_pem());
                }
                pem.into_bytes()
            }
            Self::Der => view.certificate.as_der().to_vec(),
            Self::Pkcs7 => {
                let mut certificates = vec![view.certificate.as_der()];
                certificates.extend(chain.iter().map(Certificate::as_der));
                pkcs7::certificates_only(&certificates)?
            }
            Self::Text => text::describe(&view.certificate).into_bytes(),
        })
    }
}

/// Returns the example of a record for the OpenAPI document.
pub(crate) fn example(with_chain: bool) -> Value {
    let pem = "-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n";
    let mut example = json!({
        "serial": "0198a3f2c1d04b7e9a6c35d2f81e0b4477aa91c3",
        "status": "valid",
        "issuer": "issuing",
        "profile": "server",
        "profile_version": 1,
        "subject": "CN=app.internal",
        "subject_alt_names": [{"type": "dns", "value": "app.internal"}],
        "key": {"algorithm": "ecdsa-p256", "spki_sha256": "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90"},
        "not_before": "2030-01-31T11:55:00Z",
        "not_after": "2030-05-01T12:00:00Z",
        "issued_at": "2030-01-31T12:00:00Z",
        "fingerprint_sha256": "3b9c0f6fd8f0c7b7a5a3c4b2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2",
        "requester": "token:deploy",
        "source": "rest",
        "labels": {"team": "payments"},
        "certificate": pem,
    });
    if with_chain && let Some(object) = example.as_object_mut() {
        object.insert("chain".to_owned(), json!([pem]));
        object.insert("root".to_owned(), json!(pem));
    }
    example
}

/// Returns the example of a page of records for the OpenAPI document.
pub(crate) fn page_example() -> Value {
    json!({"items": [example(false)], "next_cursor": null})
}

/// Returns the example of a revoked certificate for the OpenAPI document.
pub(crate) fn revoked_example(status: &str, reason: &str) -> Value {
    let mut example = example(true);
    if let Some(object) = example.as_object_mut() {
        object.insert("status".to_owned(), json!(status));
        object.insert("revocation".to_owned(), json!({"reason": reason, "revoked_at": "2030-02-01T09:30:00Z"}));
    }
    example
}
