//! The values of what an operator sets up: issuers and their keys, profiles, API tokens. The inventory's are in `values.rs`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{AuditEvent, CertificateState, NewCertificate};
use crate::signer::sealing::Sealed;
use crate::x509::Timestamp;

/// An issuer about to be recorded: a new name, or a new generation of one.
#[derive(Clone, Debug)]
pub struct NewIssuer {
    /// The name without generation.
    pub base_name: String,
    /// The generation, from 1; with the name unique.
    pub generation: i32,
    /// The state.
    pub state: IssuerState,
    /// Whether it becomes the default issuer (then no other is).
    pub is_default: bool,
    /// The settings document, JSON.
    pub settings: String,
    /// The key.
    pub key: NewKey,
    /// The request for a certificate that somebody else is to sign, DER.
    pub csr: Option<Vec<u8>>,
    /// The certificate; `None` while somebody else has yet to sign it.
    pub certificate: Option<NewIssuerCertificate>,
    /// The number its first CRL comes after: 0, or that of the last CRL made elsewhere.
    pub crl_number: i64,
    /// Issuers that become `retired` in the same transaction: the generation that this one follows. When one of them is the default issuer,
    /// this one is it from then on.
    pub retires: Vec<i32>,
    /// Further certificates beside the primary one, of this issuer (`None`) or of the recorded one with this row: what old and new key sign for
    /// each other.
    pub cross_certificates: Vec<(Option<i32>, NewIssuerCertificate)>,
    /// The event.
    pub audit: AuditEvent,
}

/// A certificate of an issuer about to be recorded.
#[derive(Clone, Debug)]
pub struct NewIssuerCertificate {
    /// Who signed it.
    pub signed_by: SignedBy,
    /// SHA-256 of the certificate.
    pub fingerprint_sha256: [u8; 32],
    /// The certificate.
    pub der: Vec<u8>,
    /// The certificates above it, nearest first, when no issuer here signed it.
    pub upper_chain: Vec<Vec<u8>>,
    /// When.
    pub created_at: Timestamp,
    /// Its entry in the inventory when an issuer here signed it and it is not there yet; `issuer_id` is filled in by the storage.
    pub inventory: Option<NewCertificate>,
}

/// Who signed a certificate of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedBy {
    /// The issuer itself: a root.
    Itself,
    /// A recorded issuer.
    Issuer(i32),
    /// An issuer that is recorded in the same transaction, by its base name; it comes first.
    New(String),
    /// Somebody else.
    Outside,
}

/// A CA key about to be recorded.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The algorithm as in profiles.
    pub algorithm: String,
    /// SHA-256 of the subject public key info.
    pub spki_sha256: [u8; 32],
    /// Where the private key is.
    pub location: KeyLocation,
}

/// Where a private key is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyLocation {
    /// In the database, sealed.
    Database(Sealed),
    /// In a file.
    File(PathBuf),
    /// In a token: a PKCS #11 URI (RFC 7512), without PIN.
    Pkcs11(String),
}

/// The state of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IssuerState {
    /// Signs certificates, CRLs and OCSP answers.
    Active,
    /// Exists, and signs nothing for others yet.
    Staged,
    /// Signs CRLs and OCSP answers only.
    Retired,
    /// Signs nothing.
    Disabled,
}

/// A recorded issuer with its key.
#[derive(Clone, Debug)]
pub struct IssuerRecord {
    /// The row.
    pub id: i32,
    /// The name in URLs: the base name, and from the second generation on a dot and the generation.
    pub name: String,
    /// The name without generation.
    pub base_name: String,
    /// The generation, from 1.
    pub generation: i32,
    /// The state.
    pub state: IssuerState,
    /// Whether requests that name no issuer come here.
    pub is_default: bool,
    /// The settings document, JSON.
    pub settings: String,
    /// The request for a certificate that somebody else is to sign, DER.
    pub csr: Option<Vec<u8>>,
    /// Its certificates, the primary one first, then the newest; empty while somebody else has yet to sign the first.
    pub certificates: Vec<IssuerCertificateRecord>,
    /// Where its private key is.
    pub key: KeyLocation,
    /// SHA-256 of its subject public key info.
    pub spki_sha256: [u8; 32],
    /// Whether its key is on the block list.
    pub key_blocked: bool,
    /// The algorithm of its key as in profiles.
    pub key_algorithm: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// How many changes of state its certificates have seen; a CRL covers those up to the count it was made at.
    pub revocations: i64,
    /// The last CRL number that was given to it; 0 before the first.
    pub crl_number: i64,
    /// The greatest CRL shard that was ever in use; 0 when none was.
    pub maximum_shard: i32,
}

/// A recorded certificate of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerCertificateRecord {
    /// The row.
    pub id: i32,
    /// The issuer whose certificate it is.
    pub issuer_id: i32,
    /// The row of the issuer here that signed it; `None` for a root and for what somebody else signed.
    pub parent_id: Option<i32>,
    /// Whether it is the one that stands in chains unless another is asked for.
    pub is_primary: bool,
    /// The certificate.
    pub der: Vec<u8>,
    /// The certificates above it, one after the other, when no issuer here signed it.
    pub upper_chain: Vec<u8>,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// Its state in the inventory; `valid` when it is not there, because somebody else signed it.
    pub state: CertificateState,
}

/// A change of a recorded issuer; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuerChange {
    /// The issuer.
    pub id: i32,
    /// The states in which the change is admitted.
    pub from: Vec<IssuerState>,
    /// The new state.
    pub state: Option<IssuerState>,
    /// `Some(true)`: it becomes the default issuer, and no other is.
    pub is_default: Option<bool>,
    /// The new settings document, JSON.
    pub settings: Option<String>,
    /// The new request for a certificate that somebody else is to sign, DER.
    pub csr: Option<Vec<u8>>,
}

/// A CA key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The row.
    pub id: i32,
    /// The algorithm as in profiles.
    pub algorithm: String,
    /// SHA-256 of the subject public key info.
    pub spki_sha256: [u8; 32],
    /// Where the private key is.
    pub location: KeyLocation,
}

/// A sealed secret that is no CA key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSecret {
    /// What it belongs to.
    pub owner: SecretOwner,
    /// The secret.
    pub sealed: Sealed,
}

/// What a sealed secret belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretOwner {
    /// The delegated OCSP responder of an issuer.
    OcspResponder {
        /// The issuer's row.
        issuer_id: i32,
        /// The responder's certificate, DER.
        certificate: Vec<u8>,
    },
    /// The answer kept for a request that is repeated.
    IdempotencyAnswer {
        /// The principal that asked.
        caller: String,
        /// The idempotency key.
        key: String,
    },
    /// The MAC key of an external account key (RFC 8555, section 7.3.4), deleted ones included.
    ExternalAccountKey {
        /// The row.
        id: i64,
        /// The identifier that clients give as `kid`.
        key_id: String,
    },
}

/// Who wrote a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProfileOrigin {
    /// The service, at first start.
    Default,
    /// The configuration file; the API may not change it.
    Configuration,
    /// The API or the command line.
    Api,
}

/// A version of a profile about to be recorded.
#[derive(Clone, Debug)]
pub struct NewProfileVersion {
    /// The name.
    pub name: String,
    /// The document, JSON.
    pub document: String,
    /// Who wrote it.
    pub origin: ProfileOrigin,
    /// The principal.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Only write when no profile of the name exists (first start).
    pub only_if_absent: bool,
    /// Only write when this is the present version (`If-Match`).
    pub expected_version: Option<i32>,
}

/// A version of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileRecord {
    /// The name.
    pub name: String,
    /// The version, from 1; never used again after a deletion.
    pub version: i32,
    /// The document, JSON.
    pub document: String,
    /// Who wrote it.
    pub origin: ProfileOrigin,
    /// The principal.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}

/// What became of a profile that was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfilePut {
    /// A new profile or version.
    Created(ProfileRecord),
    /// The document is the present one, or one exists and `only_if_absent`; nothing was written.
    Unchanged(ProfileRecord),
    /// The present version is another than expected (or none); nothing was written.
    VersionMismatch(Option<i32>),
}

/// An API token about to be recorded. The secret itself is never stored.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The identifier.
    pub id: String,
    /// The name, which is the principal `token:<name>`; unique among tokens that are not revoked.
    pub name: String,
    /// SHA-256 of the secret.
    pub secret_sha256: [u8; 32],
    /// The role.
    pub role: String,
    /// The grants document, JSON.
    pub grants: String,
    /// When.
    pub created_at: Timestamp,
    /// The principal that made it.
    pub created_by: String,
    /// When it ends to be valid.
    pub expires_at: Option<Timestamp>,
}

/// An API token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// The row, for cursors.
    pub row: i64,
    /// The identifier.
    pub id: String,
    /// The name.
    pub name: String,
    /// The role.
    pub role: String,
    /// The grants document, JSON.
    pub grants: String,
    /// When.
    pub created_at: Timestamp,
    /// The principal that made it.
    pub created_by: String,
    /// When it ends to be valid.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}
