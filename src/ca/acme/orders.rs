//! Orders (RFC 8555, section 7.4): read and listed. How they are made is in `orders/creation.rs`, who may order what in `orders/rights.rs`; what
//! follows their authorizations is in `finalization.rs`.

mod creation;
mod rights;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

pub(super) use creation::recorded_authorization;

use super::{Acme, AcmeCaller};
use crate::error::{AcmeErrorType, AcmeSubproblem, Error, Result};
use crate::policy::acme::identifier::WrittenIdentifier;
use crate::policy::acme::{Identifier, order};
use crate::storage::{AcmeAuthorizationRecord, AcmeAuthorizationStatus, AcmeOrderRecord, AcmeOrderStatus, AcmeProblem};
use crate::x509::Timestamp;

/// How many orders a page of an account's list has.
const PAGE: u16 = 100;
/// After how many seconds clients are to look again at an order that is processing.
const PROCESSING_RETRY: u32 = 1;

/// The status of an order as clients see it (RFC 8555, section 7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Authorizations are missing.
    Pending,
    /// It can be finalized.
    Ready,
    /// Its certificate is being issued.
    Processing,
    /// Its certificate can be fetched.
    Valid,
    /// It came to nothing.
    Invalid,
}

impl OrderStatus {
    /// Returns the name as ACME writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Processing => "processing",
            Self::Valid => "valid",
            Self::Invalid => "invalid",
        }
    }
}

/// An order with its authorizations, as of a moment.
#[derive(Clone, Debug)]
pub struct OrderView {
    /// The record. Of one that came to nothing without anybody doing anything, its `error` says why.
    pub record: AcmeOrderRecord,
    /// Its authorizations, in the order of its identifiers.
    pub authorizations: Vec<AcmeAuthorizationRecord>,
    /// The status.
    pub status: OrderStatus,
}

impl OrderView {
    /// Looks at an order at a moment.
    #[must_use]
    pub fn at(mut record: AcmeOrderRecord, authorizations: Vec<AcmeAuthorizationRecord>, now: Timestamp) -> Self {
        let status = match record.status {
            AcmeOrderStatus::Pending => match lapse(&record, &authorizations, now) {
                Some(problem) => {
                    record.error.get_or_insert(problem);
                    OrderStatus::Invalid
                }
                None if is_proven(&record, &authorizations, now) => OrderStatus::Ready,
                None => OrderStatus::Pending,
            },
            AcmeOrderStatus::Processing => OrderStatus::Processing,
            AcmeOrderStatus::Valid => OrderStatus::Valid,
            AcmeOrderStatus::Invalid => OrderStatus::Invalid,
        };
        Self { record, authorizations, status }
    }

    /// Refuses an order whose names are not all proven at a moment, whatever its status: right before a certificate is signed.
    ///
    /// # Errors
    /// `unauthorized`, or why an authorization failed, with a subproblem for each identifier.
    pub(super) fn require_proven(&self, now: Timestamp) -> Result<()> {
        if is_proven(&self.record, &self.authorizations, now) {
            return Ok(());
        }
        match lost_proof(&self.authorizations, now) {
            Some(problem) => Err(order::joined(problem.subproblems, self.record.identifiers.len() > 1)),
            None => {
                let detail = "not every name of the order has a valid authorization any more; make another order";
                Err(Error::acme(AcmeErrorType::Unauthorized, detail))
            }
        }
    }

    /// Returns the seconds after which to look again, where something happens in the background.
    #[must_use]
    pub const fn retry_after(&self) -> Option<u32> {
        match self.status {
            OrderStatus::Processing => Some(PROCESSING_RETRY),
            OrderStatus::Pending | OrderStatus::Ready | OrderStatus::Valid | OrderStatus::Invalid => None,
        }
    }
}

/// Whether every authorization is valid at a moment, and every identifier of the order has one.
fn is_proven(record: &AcmeOrderRecord, authorizations: &[AcmeAuthorizationRecord], now: Timestamp) -> bool {
    let is_valid = |authorization: &AcmeAuthorizationRecord| match authorization.status {
        AcmeAuthorizationStatus::Valid => now < authorization.expires_at,
        AcmeAuthorizationStatus::Pending | AcmeAuthorizationStatus::Invalid | AcmeAuthorizationStatus::Deactivated => {
            false
        }
    };
    let proven: HashSet<&Identifier> =
        authorizations.iter().filter(|each| is_valid(each)).map(|each| &each.identifier).collect();
    !record.identifiers.is_empty()
        && authorizations.iter().all(is_valid)
        && record.identifiers.iter().all(|identifier| proven.contains(identifier))
}

/// Says why a pending order can come to nothing any more: it is past its end, or one of its authorizations ended.
fn lapse(record: &AcmeOrderRecord, authorizations: &[AcmeAuthorizationRecord], now: Timestamp) -> Option<AcmeProblem> {
    if record.expires_at <= now {
        return Some(AcmeProblem {
            error_type: AcmeErrorType::Malformed.token().to_owned(),
            detail: format!("the order ended on `{}` without having been finalized", record.expires_at),
            subproblems: Vec::new(),
        });
    }
    lost_proof(authorizations, now)
}

/// Says which authorizations of an order ended: failed, were deactivated or are past their end.
fn lost_proof(authorizations: &[AcmeAuthorizationRecord], now: Timestamp) -> Option<AcmeProblem> {
    let ended = authorizations.iter().filter_map(|authorization| {
        let why = match authorization.status {
            AcmeAuthorizationStatus::Invalid => match &authorization.error {
                Some(error) => return Some((authorization, error.error_type.clone(), error.detail.clone())),
                None => "failed".to_owned(),
            },
            AcmeAuthorizationStatus::Deactivated => "was deactivated".to_owned(),
            AcmeAuthorizationStatus::Pending | AcmeAuthorizationStatus::Valid if authorization.expires_at <= now => {
                format!("ended on `{}`", authorization.expires_at)
            }
            AcmeAuthorizationStatus::Pending | AcmeAuthorizationStatus::Valid => return None,
        };
        let detail = format!("the authorization for `{}` {why}", authorization.identifier);
        Some((authorization, AcmeErrorType::Unauthorized.token().to_owned(), detail))
    });
    let subproblems: Vec<AcmeSubproblem> = ended
        .map(|(authorization, error_type, detail)| subproblem(&authorization.identifier, error_type, detail))
        .collect();
    let first = subproblems.first()?;
    Some(AcmeProblem { error_type: first.error_type.clone(), detail: first.detail.clone(), subproblems })
}

/// Makes the problem of one identifier.
pub(super) fn subproblem(identifier: &Identifier, error_type: String, detail: String) -> AcmeSubproblem {
    AcmeSubproblem {
        error_type,
        detail,
        identifier_type: identifier.kind().to_owned(),
        identifier: identifier.to_string(),
    }
}

/// The body of newOrder (RFC 8555, section 7.4; RFC 9773, section 5; draft-ietf-acme-profiles).
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewOrderRequest {
    /// What the certificate is to hold.
    pub identifiers: Vec<WrittenIdentifier>,
    /// When validity is to start, RFC 3339.
    pub not_before: Option<String>,
    /// When validity is to end, RFC 3339.
    pub not_after: Option<String>,
    /// The certificate that it replaces.
    pub replaces: Option<String>,
    /// The profile.
    pub profile: Option<String>,
}

impl Acme {
    /// Reads an order of the caller's account.
    ///
    /// # Errors
    /// `NotFound` (the same for what is not there and what is another account's); those of the storage.
    pub async fn order(&self, caller: &AcmeCaller, id: i64) -> Result<OrderView> {
        match self.ca.storage.acme_order(id, Some(caller.account().record.id)).await? {
            Some((record, authorizations)) => Ok(OrderView::at(record, authorizations, self.ca.clock.now())),
            None => Err(no_order()),
        }
    }

    /// Lists the numbers of the account's orders that are not invalid, oldest first, at most 100 after this one, and whether there are more.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn order_numbers(&self, caller: &AcmeCaller, after: Option<i64>) -> Result<(Vec<i64>, bool)> {
        let account = caller.account().record.id;
        let mut numbers = self.ca.storage.acme_account_orders(account, after, PAGE.saturating_add(1)).await?;
        let has_more = numbers.len() > usize::from(PAGE);
        numbers.truncate(usize::from(PAGE));
        Ok((numbers, has_more))
    }
}

/// Makes the error for an order that does not exist or is another account's: the same for both, so that nobody can tell them apart.
pub(super) fn no_order() -> Error {
    Error::not_found("there is no such order of this account")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests;
