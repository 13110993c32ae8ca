//! Rows of what changes rarely: CA keys, issuers, profiles, API tokens.

use diesel::prelude::{Insertable, Queryable, Selectable};

use super::{corrupt, digest, sealed};
use crate::error::{Error, Result};
use crate::storage::schema::{api_tokens, ca_keys, issuer_certificates, issuers, profile_versions};
use crate::storage::{
    CertificateState, IssuerCertificateRecord, IssuerRecord, IssuerState, KeyLocation, KeyRecord, NewIssuer, NewKey,
    NewProfileVersion, NewToken, ProfileOrigin, ProfileRecord, TokenRecord,
};
use crate::x509::Timestamp;

pub(in super::super) const fn origin_code(origin: ProfileOrigin) -> i16 {
    match origin {
        ProfileOrigin::Default => 0,
        ProfileOrigin::Configuration => 1,
        ProfileOrigin::Api => 2,
    }
}

/// Returns the stored number of an issuer's state; the migrations know that of `active`.
pub(in super::super) const fn issuer_state_code(state: IssuerState) -> i16 {
    match state {
        IssuerState::Active => 0,
        IssuerState::Staged => 1,
        IssuerState::Retired => 2,
        IssuerState::Disabled => 3,
    }
}

/// What the URI of a key in a token begins with (RFC 7512, section 2.3), and no path of a file does: those are absolute.
const PKCS11_SCHEME: &str = "pkcs11:";

/// The columns that say where a key is: key-encryption key, sealed key, path or URI.
pub(in super::super) type LocationColumns<'a> = (Option<&'a str>, Option<&'a [u8]>, Option<&'a str>);

/// Turns the place of a key into columns.
pub(in super::super) fn location_columns(location: &KeyLocation) -> Result<LocationColumns<'_>> {
    match location {
        KeyLocation::Database(sealed) => {
            Ok((Some(sealed.key_encryption_key_id.as_str()), Some(sealed.ciphertext.as_slice()), None))
        }
        KeyLocation::File(path) => {
            let text = path.to_str().ok_or_else(|| {
                Error::configuration(format!("the key file's path `{}` is not UTF-8", path.display()))
            })?;
            Ok((None, None, Some(text)))
        }
        KeyLocation::Pkcs11(uri) => Ok((None, None, Some(uri))),
    }
}

fn location(
    key_encryption_key_id: Option<String>,
    ciphertext: Option<Vec<u8>>,
    path: Option<String>,
) -> Result<KeyLocation> {
    match (sealed(key_encryption_key_id, ciphertext), path) {
        (Some(sealed), None) => Ok(KeyLocation::Database(sealed)),
        (None, Some(uri)) if uri.starts_with(PKCS11_SCHEME) => Ok(KeyLocation::Pkcs11(uri)),
        (None, Some(path)) => Ok(KeyLocation::File(path.into())),
        _ => Err(Error::internal("a CA key in the database has no single location")),
    }
}

/// A CA key to be inserted.
#[derive(Debug, Insertable)]
#[diesel(table_name = ca_keys, treat_none_as_default_value = false)]
pub(in super::super) struct NewKeyRow<'a> {
    algorithm: &'a str,
    spki_sha256: &'a [u8],
    key_encryption_key_id: Option<&'a str>,
    sealed: Option<&'a [u8]>,
    path: Option<&'a str>,
}

impl<'a> NewKeyRow<'a> {
    pub(in super::super) fn new(key: &'a NewKey) -> Result<Self> {
        let (key_encryption_key_id, sealed, path) = location_columns(&key.location)?;
        Ok(Self { algorithm: &key.algorithm, spki_sha256: &key.spki_sha256, key_encryption_key_id, sealed, path })
    }
}

/// A CA key as read.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = ca_keys)]
pub(in super::super) struct KeyRow {
    id: i32,
    algorithm: String,
    spki_sha256: Vec<u8>,
    key_encryption_key_id: Option<String>,
    sealed: Option<Vec<u8>>,
    path: Option<String>,
}

impl KeyRow {
    pub(in super::super) fn spki_sha256(&self) -> &[u8] {
        &self.spki_sha256
    }

    pub(in super::super) fn into_record(self) -> Result<KeyRecord> {
        Ok(KeyRecord {
            id: self.id,
            algorithm: self.algorithm,
            spki_sha256: digest("a key's digest", self.spki_sha256)?,
            location: location(self.key_encryption_key_id, self.sealed, self.path)?,
        })
    }
}

/// An issuer to be inserted.
#[derive(Debug, Insertable)]
#[diesel(table_name = issuers, treat_none_as_default_value = false)]
pub(in super::super) struct NewIssuerRow<'a> {
    name: String,
    base_name: &'a str,
    generation: i32,
    state: i16,
    is_default: bool,
    key_id: i32,
    settings: &'a str,
    csr: Option<&'a [u8]>,
    created_at: i64,
    crl_number: i64,
}

impl<'a> NewIssuerRow<'a> {
    pub(in super::super) fn new(issuer: &'a NewIssuer, is_default: bool, key_id: i32) -> Self {
        let name = match issuer.generation {
            1 => issuer.base_name.clone(),
            later => format!("{}.{later}", issuer.base_name),
        };
        Self {
            name,
            base_name: &issuer.base_name,
            generation: issuer.generation,
            state: issuer_state_code(issuer.state),
            is_default,
            key_id,
            settings: &issuer.settings,
            csr: issuer.csr.as_deref(),
            created_at: issuer.audit.occurred_at_ms.div_euclid(1000),
            crl_number: issuer.crl_number,
        }
    }
}

/// An issuer as read.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = issuers)]
pub(in super::super) struct IssuerRow {
    id: i32,
    name: String,
    base_name: String,
    generation: i32,
    state: i16,
    is_default: bool,
    settings: String,
    csr: Option<Vec<u8>>,
    created_at: i64,
    revocations: i64,
    crl_number: i64,
    maximum_shard: i32,
}

impl IssuerRow {
    pub(in super::super) fn into_record(
        self,
        key: KeyRow,
        certificates: Vec<IssuerCertificateRecord>,
        key_blocked: bool,
    ) -> Result<IssuerRecord> {
        let state = match self.state {
            0 => IssuerState::Active,
            1 => IssuerState::Staged,
            2 => IssuerState::Retired,
            3 => IssuerState::Disabled,
            other => return Err(corrupt("an issuer's state", other)),
        };
        let KeyRecord { algorithm, spki_sha256, location, .. } = key.into_record()?;
        Ok(IssuerRecord {
            id: self.id,
            name: self.name,
            base_name: self.base_name,
            generation: self.generation,
            state,
            is_default: self.is_default,
            settings: self.settings,
            csr: self.csr,
            certificates,
            key: location,
            spki_sha256,
            key_blocked,
            key_algorithm: algorithm,
            created_at: Timestamp::from_unix(self.created_at),
            revocations: self.revocations,
            crl_number: self.crl_number,
            maximum_shard: self.maximum_shard,
        })
    }
}

/// A certificate of an issuer to be inserted.
#[derive(Debug, Insertable)]
#[diesel(table_name = issuer_certificates, treat_none_as_default_value = false)]
pub(in super::super) struct NewIssuerCertificateRow<'a> {
    pub(in super::super) issuer_id: i32,
    pub(in super::super) parent_id: Option<i32>,
    pub(in super::super) is_primary: bool,
    pub(in super::super) fingerprint_sha256: &'a [u8],
    pub(in super::super) der: &'a [u8],
    pub(in super::super) upper_chain: Vec<u8>,
    pub(in super::super) created_at: i64,
}

/// A certificate of an issuer as read.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = issuer_certificates)]
pub(in super::super) struct IssuerCertificateRow {
    id: i32,
    issuer_id: i32,
    parent_id: Option<i32>,
    is_primary: bool,
    fingerprint_sha256: Vec<u8>,
    der: Vec<u8>,
    upper_chain: Vec<u8>,
    created_at: i64,
}

impl IssuerCertificateRow {
    pub(in super::super) fn fingerprint_sha256(&self) -> &[u8] {
        &self.fingerprint_sha256
    }

    /// Completes it with its state in the inventory.
    pub(in super::super) fn into_record(self, state: CertificateState) -> IssuerCertificateRecord {
        IssuerCertificateRecord {
            id: self.id,
            issuer_id: self.issuer_id,
            parent_id: self.parent_id,
            is_primary: self.is_primary,
            der: self.der,
            upper_chain: self.upper_chain,
            created_at: Timestamp::from_unix(self.created_at),
            state,
        }
    }
}

/// A version of a profile, read and written.
#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = profile_versions)]
pub(in super::super) struct ProfileVersionRow {
    pub(in super::super) name: String,
    pub(in super::super) version: i32,
    pub(in super::super) document: String,
    pub(in super::super) origin: i16,
    pub(in super::super) created_by: String,
    pub(in super::super) created_at: i64,
}

impl ProfileVersionRow {
    pub(in super::super) fn new(profile: NewProfileVersion, version: i32) -> Self {
        Self {
            name: profile.name,
            version,
            document: profile.document,
            origin: origin_code(profile.origin),
            created_by: profile.created_by,
            created_at: profile.created_at.unix(),
        }
    }

    pub(in super::super) fn into_record(self) -> Result<ProfileRecord> {
        let origin = match self.origin {
            0 => ProfileOrigin::Default,
            1 => ProfileOrigin::Configuration,
            2 => ProfileOrigin::Api,
            other => return Err(corrupt("a profile's origin", other)),
        };
        Ok(ProfileRecord {
            name: self.name,
            version: self.version,
            document: self.document,
            origin,
            created_by: self.created_by,
            created_at: Timestamp::from_unix(self.created_at),
        })
    }
}

/// An API token to be inserted.
#[derive(Debug, Insertable)]
#[diesel(table_name = api_tokens, treat_none_as_default_value = false)]
pub(in super::super) struct NewTokenRow<'a> {
    id: &'a str,
    name: &'a str,
    secret_sha256: &'a [u8],
    role: &'a str,
    grants: &'a str,
    created_at: i64,
    created_by: &'a str,
    expires_at: Option<i64>,
}

impl<'a> From<&'a NewToken> for NewTokenRow<'a> {
    fn from(token: &'a NewToken) -> Self {
        Self {
            id: &token.id,
            name: &token.name,
            secret_sha256: &token.secret_sha256,
            role: &token.role,
            grants: &token.grants,
            created_at: token.created_at.unix(),
            created_by: &token.created_by,
            expires_at: token.expires_at.map(Timestamp::unix),
        }
    }
}

/// An API token as read; the digest of its secret stays in the database.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = api_tokens)]
pub(in super::super) struct TokenRow {
    number: i64,
    id: String,
    name: String,
    role: String,
    grants: String,
    created_at: i64,
    created_by: String,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
}

impl TokenRow {
    pub(in super::super) fn name(&self) -> &str {
        &self.name
    }
}

impl From<TokenRow> for TokenRecord {
    fn from(row: TokenRow) -> Self {
        Self {
            row: row.number,
            id: row.id,
            name: row.name,
            role: row.role,
            grants: row.grants,
            created_at: Timestamp::from_unix(row.created_at),
            created_by: row.created_by,
            expires_at: row.expires_at.map(Timestamp::from_unix),
            revoked_at: row.revoked_at.map(Timestamp::from_unix),
        }
    }
}
