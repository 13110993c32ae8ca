//! Rows of ACME's accounts and external account keys.

use diesel::prelude::{Insertable, Queryable, Selectable};

use super::{account_status_code, decode, encode};
use crate::error::Result;
use crate::signer::sealing::Sealed;
use crate::storage::rows::{corrupt, digest};
use crate::storage::schema::{acme_accounts, acme_external_account_keys};
use crate::storage::{
    AcmeAccountRecord, AcmeAccountStatus, ExternalAccountKeyRecord, NewAcmeAccount, NewExternalAccountKey,
};
use crate::x509::Timestamp;

/// An external account key to be inserted.
#[derive(Debug, Insertable)]
#[diesel(table_name = acme_external_account_keys, treat_none_as_default_value = false)]
pub(in crate::storage) struct NewExternalAccountKeyRow<'a> {
    id: i64,
    key_id: &'a str,
    profile: &'a str,
    principal: &'a str,
    grants: &'a str,
    proves_control: bool,
    single_use: bool,
    key_encryption_key_id: &'a str,
    sealed: &'a [u8],
    created_by: &'a str,
    created_at: i64,
    expires_at: Option<i64>,
}

impl<'a> From<&'a NewExternalAccountKey> for NewExternalAccountKeyRow<'a> {
    fn from(key: &'a NewExternalAccountKey) -> Self {
        Self {
            id: key.id,
            key_id: &key.key_id,
            profile: &key.profile,
            principal: &key.principal,
            grants: &key.grants,
            proves_control: key.proves_control,
            single_use: key.single_use,
            key_encryption_key_id: &key.sealed.key_encryption_key_id,
            sealed: &key.sealed.ciphertext,
            created_by: &key.created_by,
            created_at: key.created_at.unix(),
            expires_at: key.expires_at.map(Timestamp::unix),
        }
    }
}

/// An external account key as read.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = acme_external_account_keys)]
pub(in crate::storage) struct ExternalAccountKeyRow {
    id: i64,
    key_id: String,
    profile: String,
    principal: String,
    grants: String,
    proves_control: bool,
    single_use: bool,
    key_encryption_key_id: String,
    sealed: Vec<u8>,
    created_by: String,
    created_at: i64,
    expires_at: Option<i64>,
    deleted_at: Option<i64>,
}

impl From<ExternalAccountKeyRow> for ExternalAccountKeyRecord {
    fn from(row: ExternalAccountKeyRow) -> Self {
        Self {
            id: row.id,
            key_id: row.key_id,
            profile: row.profile,
            principal: row.principal,
            grants: row.grants,
            proves_control: row.proves_control,
            single_use: row.single_use,
            sealed: Sealed { key_encryption_key_id: row.key_encryption_key_id, ciphertext: row.sealed },
            created_by: row.created_by,
            created_at: Timestamp::from_unix(row.created_at),
            expires_at: row.expires_at.map(Timestamp::from_unix),
            deleted_at: row.deleted_at.map(Timestamp::from_unix),
        }
    }
}

/// An account to be inserted.
#[derive(Debug, Insertable)]
#[diesel(table_name = acme_accounts, treat_none_as_default_value = false)]
pub(in crate::storage) struct NewAccountRow<'a> {
    id: i64,
    status: i16,
    thumbprint: &'a [u8],
    jwk: &'a str,
    contacts: String,
    terms_of_service: Option<&'a str>,
    external_account_key_id: Option<i64>,
    external_account_binding: Option<&'a str>,
    created_at: i64,
    created_from: Option<&'a str>,
}

impl<'a> NewAccountRow<'a> {
    pub(in crate::storage) fn new(account: &'a NewAcmeAccount) -> Result<Self> {
        Ok(Self {
            id: account.id,
            status: account_status_code(AcmeAccountStatus::Valid),
            thumbprint: &account.thumbprint,
            jwk: &account.jwk,
            contacts: encode("contacts", &account.contacts)?,
            terms_of_service: account.terms_of_service.as_deref(),
            external_account_key_id: account.binding.as_ref().map(|(id, _binding)| *id),
            external_account_binding: account.binding.as_ref().map(|(_id, binding)| binding.as_str()),
            created_at: account.created_at.unix(),
            created_from: account.created_from.as_deref(),
        })
    }
}

/// An account as read.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = acme_accounts)]
pub(in crate::storage) struct AccountRow {
    id: i64,
    status: i16,
    thumbprint: Vec<u8>,
    jwk: String,
    contacts: String,
    terms_of_service: Option<String>,
    external_account_binding: Option<String>,
    rate_limits: Option<String>,
    created_at: i64,
    created_from: Option<String>,
}

impl AccountRow {
    pub(in crate::storage) fn into_record(self, key: Option<ExternalAccountKeyRow>) -> Result<AcmeAccountRecord> {
        let status = match self.status {
            0 => AcmeAccountStatus::Valid,
            1 => AcmeAccountStatus::Deactivated,
            2 => AcmeAccountStatus::Revoked,
            other => return Err(corrupt("an account's status", other)),
        };
        Ok(AcmeAccountRecord {
            id: self.id,
            status,
            thumbprint: digest("a thumbprint", self.thumbprint)?,
            jwk: self.jwk,
            contacts: decode("contacts", &self.contacts)?,
            terms_of_service: self.terms_of_service,
            external_account_key: key.map(ExternalAccountKeyRecord::from),
            external_account_binding: self.external_account_binding,
            rate_limits: self.rate_limits,
            created_at: Timestamp::from_unix(self.created_at),
            created_from: self.created_from,
        })
    }
}
