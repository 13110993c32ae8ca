//! The values of what an operator sets up: issuers and their keys, profiles, API tokens. The inventory's are in `values.rs`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{AuditEvent, NewCertificate};
use crate::signer::sealing::Sealed;
use crate::x509::Timestamp;

/// An issuer about to be recorded.
#[derive(Clone, Debug)]
pub struct NewIssuer {
    /// The name, unique.
    pub name: String,
    /// The name of the issuer that signed it; `None` for a root.
    pub parent: Option<String>,
    /// Whether it becomes the default issuer (then no other is).
    pub is_default: bool,
    /// The key.
    pub key: NewKey,
    /// The issuer's certificate for the inventory; its `issuer_id` is filled in by the storage (the parent's row, or its own).
    pub certificate: NewCertificate,
    /// The event.
    pub audit: AuditEvent,
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
    /// The name.
    pub name: String,
    /// The row of the issuer that signed it; `None` for a root.
    pub parent_id: Option<i32>,
    /// The state.
    pub state: IssuerState,
    /// Whether requests that name no issuer come here.
    pub is_default: bool,
    /// Its certificate.
    pub certificate_der: Vec<u8>,
    /// Where its private key is.
    pub key: KeyLocation,
    /// When it was created.
    pub created_at: Timestamp,
    /// How many revocations it has seen; a CRL is out of date when it was made at a smaller count.
    pub revocations: i64,
    /// The last CRL number that was given to it; 0 before the first.
    pub crl_number: i64,
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
