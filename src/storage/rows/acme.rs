//! Rows of ACME: what is read, and how values become columns. Statuses are written as numbers in the queries too, because the planners see
//! through no bound value to a partial index.

mod accounts;

use diesel::QueryableByName;
use diesel::prelude::{Insertable, Queryable, Selectable};
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, SmallInt, Text};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{corrupt, digest};
use crate::error::{Error, Result};
use crate::policy::acme::identifier::WrittenIdentifier;
use crate::policy::acme::{ChallengeType, Identifier};
use crate::storage::schema::{acme_authorizations, acme_orders, acme_renewal_windows};
use crate::storage::{
    AcmeAccountStatus, AcmeAuthorizationRecord, AcmeAuthorizationStatus, AcmeChallengeState, AcmeOrderRecord,
    AcmeOrderStatus, RenewalWindowRecord,
};
use crate::x509::{SerialNumber, Timestamp};

pub(in super::super) use accounts::{AccountRow, ExternalAccountKeyRow, NewAccountRow, NewExternalAccountKeyRow};

/// The columns of [`OrderRow`].
pub(in super::super) const ORDER_COLUMNS: &str = "acme_orders.id, acme_orders.account_id, acme_orders.profile, \
    acme_orders.status, acme_orders.identifiers, acme_orders.not_before, acme_orders.not_after, acme_orders.replaces, \
    acme_orders.created_at, acme_orders.expires_at, acme_orders.error, acme_orders.csr, \
    acme_orders.certificate_issuer_id, acme_orders.certificate_serial, acme_orders.finalized_at";

/// The same columns by the names that [`JoinedOrderRow`] has for them.
pub(in super::super) const JOINED_ORDER_COLUMNS: &str = "acme_orders.id AS order_id, acme_orders.account_id AS order_account_id, acme_orders.profile AS order_profile, \
    acme_orders.status AS order_status, acme_orders.identifiers AS order_identifiers, acme_orders.not_before AS order_not_before, \
    acme_orders.not_after AS order_not_after, acme_orders.replaces AS order_replaces, acme_orders.created_at AS order_created_at, \
    acme_orders.expires_at AS order_expires_at, acme_orders.error AS order_error, acme_orders.csr AS order_csr, \
    acme_orders.certificate_issuer_id AS order_certificate_issuer_id, acme_orders.certificate_serial AS order_certificate_serial, acme_orders.finalized_at AS order_finalized_at";

/// The columns of [`AuthorizationRow`].
pub(in super::super) const AUTHORIZATION_COLUMNS: &str = "acme_authorizations.id, acme_authorizations.account_id, \
    acme_authorizations.identifier_type, acme_authorizations.identifier, acme_authorizations.wildcard, \
    acme_authorizations.status, acme_authorizations.token, acme_authorizations.created_at, \
    acme_authorizations.expires_at, acme_authorizations.challenge_type, acme_authorizations.challenge_state, \
    acme_authorizations.thumbprint, acme_authorizations.account_url, acme_authorizations.attempts, \
    acme_authorizations.next_attempt_at, acme_authorizations.validated_at, acme_authorizations.error";

pub(in super::super) const fn account_status_code(status: AcmeAccountStatus) -> i16 {
    match status {
        AcmeAccountStatus::Valid => 0,
        AcmeAccountStatus::Deactivated => 1,
        AcmeAccountStatus::Revoked => 2,
    }
}

pub(in super::super) const fn order_status_code(status: AcmeOrderStatus) -> i16 {
    match status {
        AcmeOrderStatus::Pending => 0,
        AcmeOrderStatus::Processing => 1,
        AcmeOrderStatus::Valid => 2,
        AcmeOrderStatus::Invalid => 3,
    }
}

pub(in super::super) const fn authorization_status_code(status: AcmeAuthorizationStatus) -> i16 {
    match status {
        AcmeAuthorizationStatus::Pending => 0,
        AcmeAuthorizationStatus::Valid => 1,
        AcmeAuthorizationStatus::Invalid => 2,
        AcmeAuthorizationStatus::Deactivated => 3,
    }
}

pub(in super::super) const fn identifier_type_code(identifier: &Identifier) -> i16 {
    match identifier {
        Identifier::Dns { .. } => 0,
        Identifier::Ip(_) => 1,
    }
}

/// Writes a value as JSON.
pub(in super::super) fn encode(what: &str, value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal(format!("{what} cannot be encoded")).with_source(error))
}

fn decode<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| Error::internal(format!("stored {what} cannot be decoded")).with_source(error))
}

/// Writes the identifiers of an order.
pub(in super::super) fn encode_identifiers(identifiers: &[Identifier]) -> Result<String> {
    let written: Vec<WrittenIdentifier> = identifiers.iter().map(Identifier::written).collect();
    encode("identifiers", &written)
}

/// Reads an identifier that was in normal form when it was written.
fn identifier(is_address: bool, value: &str, wildcard: bool) -> Result<Identifier> {
    if !is_address {
        return Ok(Identifier::Dns { name: value.to_owned(), wildcard });
    }
    value.parse().map(Identifier::Ip).map_err(|error| corrupt("an IP address", value).with_source(error))
}

fn decode_identifiers(text: &str) -> Result<Vec<Identifier>> {
    let written: Vec<WrittenIdentifier> = decode("identifiers", text)?;
    written
        .iter()
        .map(|written| match (written.kind.as_str(), written.value.strip_prefix("*.")) {
            ("dns", Some(rest)) => identifier(false, rest, true),
            ("dns", None) => identifier(false, &written.value, false),
            ("ip", _) => identifier(true, &written.value, false),
            (other, _) => Err(corrupt("a type of identifiers", other)),
        })
        .collect()
}

/// An order as read.
#[derive(Debug, Queryable, Selectable, QueryableByName)]
#[diesel(table_name = acme_orders)]
pub(in super::super) struct OrderRow {
    id: i64,
    account_id: i64,
    profile: String,
    status: i16,
    identifiers: String,
    not_before: Option<i64>,
    not_after: Option<i64>,
    replaces: Option<String>,
    created_at: i64,
    expires_at: i64,
    error: Option<String>,
    csr: Option<Vec<u8>>,
    certificate_issuer_id: Option<i32>,
    certificate_serial: Option<Vec<u8>>,
    finalized_at: Option<i64>,
}

impl OrderRow {
    pub(in super::super) fn into_record(self) -> Result<AcmeOrderRecord> {
        let status = match self.status {
            0 => AcmeOrderStatus::Pending,
            1 => AcmeOrderStatus::Processing,
            2 => AcmeOrderStatus::Valid,
            3 => AcmeOrderStatus::Invalid,
            other => return Err(corrupt("an order's status", other)),
        };
        let certificate = match (self.certificate_issuer_id, self.certificate_serial) {
            (Some(issuer_id), Some(serial)) => Some((issuer_id, SerialNumber::from_bytes(&serial)?)),
            (None, None) => None,
            _ => return Err(Error::internal("a stored order has half a certificate")),
        };
        Ok(AcmeOrderRecord {
            id: self.id,
            account_id: self.account_id,
            profile: self.profile,
            status,
            identifiers: decode_identifiers(&self.identifiers)?,
            not_before: self.not_before.map(Timestamp::from_unix),
            not_after: self.not_after.map(Timestamp::from_unix),
            replaces: self.replaces,
            created_at: Timestamp::from_unix(self.created_at),
            expires_at: Timestamp::from_unix(self.expires_at),
            error: self.error.map(|text| decode("problems", &text)).transpose()?,
            csr: self.csr,
            certificate,
            finalized_at: self.finalized_at.map(Timestamp::from_unix),
        })
    }
}

/// An authorization as read.
#[derive(Debug, Queryable, Selectable, QueryableByName)]
#[diesel(table_name = acme_authorizations)]
pub(in super::super) struct AuthorizationRow {
    id: i64,
    account_id: i64,
    identifier_type: i16,
    identifier: String,
    wildcard: bool,
    status: i16,
    token: String,
    created_at: i64,
    expires_at: i64,
    challenge_type: Option<String>,
    challenge_state: Option<i16>,
    thumbprint: Option<Vec<u8>>,
    account_url: Option<String>,
    attempts: i32,
    next_attempt_at: Option<i64>,
    validated_at: Option<i64>,
    error: Option<String>,
}

/// An authorization with one of the orders that depend on it.
#[derive(Debug, QueryableByName)]
pub(in super::super) struct OrderAuthorizationRow {
    #[diesel(sql_type = BigInt)]
    pub(in super::super) order_id: i64,
    #[diesel(embed)]
    pub(in super::super) authorization: AuthorizationRow,
}

impl AuthorizationRow {
    pub(in super::super) fn into_record(self) -> Result<AcmeAuthorizationRecord> {
        let status = match self.status {
            0 => AcmeAuthorizationStatus::Pending,
            1 => AcmeAuthorizationStatus::Valid,
            2 => AcmeAuthorizationStatus::Invalid,
            3 => AcmeAuthorizationStatus::Deactivated,
            other => return Err(corrupt("an authorization's status", other)),
        };
        let is_address = match self.identifier_type {
            0 => false,
            1 => true,
            other => return Err(corrupt("a type of identifiers", other)),
        };
        let challenge = match (self.challenge_type, self.challenge_state) {
            (Some(name), Some(state)) => {
                let kind = ChallengeType::from_name(&name).ok_or_else(|| corrupt("a kind of challenges", &name))?;
                Some((kind, challenge_state(state)?))
            }
            (None, None) => None,
            _ => return Err(Error::internal("a stored authorization has half a challenge")),
        };
        Ok(AcmeAuthorizationRecord {
            id: self.id,
            account_id: self.account_id,
            identifier: identifier(is_address, &self.identifier, self.wildcard)?,
            status,
            token: self.token,
            created_at: Timestamp::from_unix(self.created_at),
            expires_at: Timestamp::from_unix(self.expires_at),
            challenge,
            thumbprint: self.thumbprint.map(|octets| digest("a thumbprint", octets)).transpose()?,
            account_url: self.account_url,
            attempts: self.attempts,
            next_attempt_at_ms: self.next_attempt_at,
            validated_at: self.validated_at.map(Timestamp::from_unix),
            error: self.error.map(|text| decode("problems", &text)).transpose()?,
        })
    }
}

fn challenge_state(code: i16) -> Result<AcmeChallengeState> {
    match code {
        0 => Ok(AcmeChallengeState::Processing),
        1 => Ok(AcmeChallengeState::Valid),
        2 => Ok(AcmeChallengeState::Invalid),
        other => Err(corrupt("a challenge's state", other)),
    }
}

/// A renewal window, read and written.
#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = acme_renewal_windows, treat_none_as_default_value = false)]
pub(in super::super) struct RenewalWindowRow {
    id: i64,
    issuer_id: i32,
    serial: Option<Vec<u8>>,
    issued_before: Option<i64>,
    starts_at: i64,
    ends_at: i64,
    explanation_url: Option<String>,
    created_by: String,
    created_at: i64,
}

impl From<RenewalWindowRecord> for RenewalWindowRow {
    fn from(window: RenewalWindowRecord) -> Self {
        Self {
            id: window.id,
            issuer_id: window.issuer_id,
            serial: window.serial.map(|serial| serial.as_bytes().to_vec()),
            issued_before: window.issued_before.map(Timestamp::unix),
            starts_at: window.starts_at.unix(),
            ends_at: window.ends_at.unix(),
            explanation_url: window.explanation_url,
            created_by: window.created_by,
            created_at: window.created_at.unix(),
        }
    }
}

impl RenewalWindowRow {
    pub(in super::super) fn into_record(self) -> Result<RenewalWindowRecord> {
        Ok(RenewalWindowRecord {
            id: self.id,
            issuer_id: self.issuer_id,
            serial: self.serial.map(|octets| SerialNumber::from_bytes(&octets)).transpose()?,
            issued_before: self.issued_before.map(Timestamp::from_unix),
            starts_at: Timestamp::from_unix(self.starts_at),
            ends_at: Timestamp::from_unix(self.ends_at),
            explanation_url: self.explanation_url,
            created_by: self.created_by,
            created_at: Timestamp::from_unix(self.created_at),
        })
    }
}

/// An order with one of its authorizations as read.
#[derive(Debug, QueryableByName)]
pub(in super::super) struct JoinedOrderRow {
    #[diesel(sql_type = BigInt)]
    order_id: i64,
    #[diesel(sql_type = BigInt)]
    order_account_id: i64,
    #[diesel(sql_type = Text)]
    order_profile: String,
    #[diesel(sql_type = SmallInt)]
    order_status: i16,
    #[diesel(sql_type = Text)]
    order_identifiers: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    order_not_before: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    order_not_after: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    order_replaces: Option<String>,
    #[diesel(sql_type = BigInt)]
    order_created_at: i64,
    #[diesel(sql_type = BigInt)]
    order_expires_at: i64,
    #[diesel(sql_type = Nullable<Text>)]
    order_error: Option<String>,
    #[diesel(sql_type = Nullable<Binary>)]
    order_csr: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Integer>)]
    order_certificate_issuer_id: Option<i32>,
    #[diesel(sql_type = Nullable<Binary>)]
    order_certificate_serial: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<BigInt>)]
    order_finalized_at: Option<i64>,
    #[diesel(embed)]
    authorization: AuthorizationRow,
}

impl JoinedOrderRow {
    /// Takes the two apart.
    pub(in super::super) fn split(self) -> (OrderRow, AuthorizationRow) {
        let order = OrderRow {
            id: self.order_id,
            account_id: self.order_account_id,
            profile: self.order_profile,
            status: self.order_status,
            identifiers: self.order_identifiers,
            not_before: self.order_not_before,
            not_after: self.order_not_after,
            replaces: self.order_replaces,
            created_at: self.order_created_at,
            expires_at: self.order_expires_at,
            error: self.order_error,
            csr: self.order_csr,
            certificate_issuer_id: self.order_certificate_issuer_id,
            certificate_serial: self.order_certificate_serial,
            finalized_at: self.order_finalized_at,
        };
        (order, self.authorization)
    }
}
