//! Rows of what changes rarely: CA keys, issuers, profiles, API tokens.

use diesel::prelude::{Insertable, Queryable, Selectable};

use super::{corrupt, sealed};
use crate::error::{Error, Result};
use crate::storage::schema::{api_tokens, ca_keys, profile_versions};
use crate::storage::{
    IssuerRecord, IssuerState, KeyLocation, NewKey, NewProfileVersion, NewToken, ProfileOrigin, ProfileRecord,
    TokenRecord,
};
use crate::x509::Timestamp;

pub(in super::super) const fn origin_code(origin: ProfileOrigin) -> i16 {
    match origin {
        ProfileOrigin::Default => 0,
        ProfileOrigin::Configuration => 1,
        ProfileOrigin::Api => 2,
    }
}

/// The stored number of the issuer state `active`.
pub(in super::super) const ISSUER_ACTIVE: i16 = 0;

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
        let (sealed, path) = match &key.location {
            KeyLocation::Database(sealed) => (Some(sealed), None),
            KeyLocation::File(path) => {
                let text = path.to_str().ok_or_else(|| {
                    Error::configuration(format!("the key file's path `{}` is not UTF-8", path.display()))
                })?;
                (None, Some(text))
            }
        };
        Ok(Self {
            algorithm: &key.algorithm,
            spki_sha256: &key.spki_sha256,
            key_encryption_key_id: sealed.map(|sealed| sealed.key_encryption_key_id.as_str()),
            sealed: sealed.map(|sealed| sealed.ciphertext.as_slice()),
            path,
        })
    }
}

/// An issuer as read, with its key and certificate.
#[derive(Debug, Queryable)]
pub(in super::super) struct IssuerRow {
    id: i32,
    name: String,
    parent_id: Option<i32>,
    state: i16,
    is_default: bool,
    created_at: i64,
    revocations: i64,
    crl_number: i64,
    key_encryption_key_id: Option<String>,
    sealed: Option<Vec<u8>>,
    path: Option<String>,
    certificate_der: Vec<u8>,
}

impl IssuerRow {
    pub(in super::super) fn into_record(self) -> Result<IssuerRecord> {
        let state = match self.state {
            ISSUER_ACTIVE => IssuerState::Active,
            1 => IssuerState::Staged,
            2 => IssuerState::Retired,
            3 => IssuerState::Disabled,
            other => return Err(corrupt("an issuer's state", other)),
        };
        let key = match (sealed(self.key_encryption_key_id, self.sealed), self.path) {
            (Some(sealed), None) => KeyLocation::Database(sealed),
            (None, Some(path)) => KeyLocation::File(path.into()),
            _ => return Err(Error::internal(format!("the key of issuer `{}` has no single location", self.name))),
        };
        Ok(IssuerRecord {
            id: self.id,
            name: self.name,
            parent_id: self.parent_id,
            state,
            is_default: self.is_default,
            certificate_der: self.certificate_der,
            key,
            created_at: Timestamp::from_unix(self.created_at),
            revocations: self.revocations,
            crl_number: self.crl_number,
        })
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
