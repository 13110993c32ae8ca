//! What operators see and do: accounts and orders in lists with the reasons of failures, limits of single accounts, and the end of accounts.

use serde_json::json;

use super::changes::account_ended;
use super::{Account, object};
use crate::auth::permission::{ManageAcme, ReadAcme};
use crate::auth::{Authorized, Caller};
use crate::ca::acme::rate_limits::{AccountRateLimits, AccountRateLimitsChange};
use crate::ca::acme::{Acme, OrderStatus, OrderView, first_row_of};
use crate::error::{Error, Result};
use crate::storage::{
    AcmeAccountChange, AcmeAccountFilter, AcmeAccountRecord, AcmeAccountStatus, AcmeOrderFilter, AcmeOrderStatus,
    AuditOutcome, Page,
};

/// The most rows that a page of orders of one status reads: whether an order is ready follows from its authorizations, so those that are
/// pending are read with it.
const MOST_ROWS: usize = 1000;
/// The most orders that are read at once: each is read with its authorizations, of which it may have a thousand.
const MOST_ORDERS: u16 = 100;

/// A page of orders.
#[derive(Clone, Debug)]
pub struct OrderPage {
    /// The orders, newest first.
    pub orders: Vec<OrderView>,
    /// The row before which the next page begins; `None` when there is none.
    pub next: Option<i64>,
}

impl Acme {
    /// Lists accounts, newest first, at most `limit` before row `before`.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn list_accounts(
        &self,
        _authorization: &Authorized<ReadAcme>,
        filter: &AcmeAccountFilter,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Page<AcmeAccountRecord>> {
        self.ca.storage.acme_accounts(filter, before, limit).await
    }

    /// Reads an account.
    ///
    /// # Errors
    /// `NotFound`; those of the storage.
    pub async fn read_account(&self, _authorization: &Authorized<ReadAcme>, id: i64) -> Result<AcmeAccountRecord> {
        self.account_record(id).await
    }

    /// Changes the limits that hold for an account instead of the configured ones.
    ///
    /// # Errors
    /// `NotFound`; `Malformed` for a limit without a period; `Conflict` for an account that ended; those of the storage.
    pub async fn limit_account(
        &self,
        authorization: &Authorized<ManageAcme>,
        id: i64,
        change: AccountRateLimitsChange,
    ) -> Result<AcmeAccountRecord> {
        let caller = authorization.caller();
        let outcome = self.put_limits(caller, id, change).await;
        self.ca.audited(caller, "acme_account.limit", object(id), outcome).await
    }

    async fn put_limits(&self, caller: &Caller, id: i64, change: AccountRateLimitsChange) -> Result<AcmeAccountRecord> {
        let limits = change.applied_to(Account::limits_of(&self.account_record(id).await?)?);
        limits.check()?;
        let change = AcmeAccountChange { rate_limits: Some(limits.to_stored()?), ..AcmeAccountChange::default() };
        let details = json!({ "rate_limits": limits });
        let event = self.ca.event(caller, "acme_account.limit", AuditOutcome::Success, object(id), details);
        let changed = self.ca.storage.change_acme_account(id, change, event).await?;
        self.accounts.forget_all();
        match changed {
            Some(record) => Ok(record),
            None => {
                let record = self.account_record(id).await?;
                Err(Error::conflict(format!("the account `{}` has ended", record.id)))
            }
        }
    }

    /// Ends an account. One that ended already stays as it is. Its certificates stay as they are.
    ///
    /// # Errors
    /// `NotFound`; those of the storage.
    pub async fn revoke_account(&self, authorization: &Authorized<ManageAcme>, id: i64) -> Result<AcmeAccountRecord> {
        let caller = authorization.caller();
        let result = async {
            let event = self.ca.event(caller, "acme_account.revoke", AuditOutcome::Success, object(id), json!({}));
            let problem = account_ended("the account was ended by the operator of this CA");
            self.ca.storage.end_acme_account(id, AcmeAccountStatus::Revoked, &problem, event).await?;
            self.accounts.forget_all();
            self.account_record(id).await
        };
        let outcome = result.await;
        self.ca.audited(caller, "acme_account.revoke", object(id), outcome).await
    }

    /// Lists orders, newest first, before row `before`, at most 100 however many are asked for. With a status the page may have fewer than `limit` though there is a next one. Orders
    /// that expired are listed as invalid once the clean-up has been at them.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn list_orders(
        &self,
        _authorization: &Authorized<ReadAcme>,
        filter: &AcmeOrderFilter,
        status: Option<OrderStatus>,
        before: Option<i64>,
        limit: u16,
    ) -> Result<OrderPage> {
        let from_row = filter.created_after.map(first_row_of);
        let filter = AcmeOrderFilter { status: status.map(stored_status), from_row, ..filter.clone() };
        let before = before.into_iter().chain(filter.created_before.map(first_row_of)).min();
        let limit = limit.min(MOST_ORDERS);
        let (mut orders, mut next, mut read) = (Vec::new(), before, 0_usize);
        loop {
            let page = self.ca.storage.acme_orders(&filter, next, limit).await?;
            let behind = page.next.map(|(_, row)| row);
            let is_short = page.items.len() < usize::from(limit);
            read = read.saturating_add(page.items.len());
            let now = self.ca.clock.now();
            for (record, authorizations) in page.items {
                let id = record.id;
                let view = OrderView::at(record, authorizations, now);
                if status.is_some_and(|status| view.status != status) {
                    next = Some(id);
                    continue;
                }
                if orders.len() >= usize::from(limit) {
                    return Ok(OrderPage { orders, next });
                }
                next = Some(id);
                orders.push(view);
            }
            // A short page has looked at all that one request should.
            if behind.is_none() || is_short || orders.len() >= usize::from(limit) || read >= MOST_ROWS {
                return Ok(OrderPage { orders, next: behind });
            }
            next = behind;
        }
    }

    /// Reads an order of any account.
    ///
    /// # Errors
    /// `NotFound`; those of the storage.
    pub async fn read_order(&self, _authorization: &Authorized<ReadAcme>, id: i64) -> Result<OrderView> {
        let found = self.ca.storage.acme_order(id, None).await?;
        let (record, authorizations) =
            found.ok_or_else(|| Error::not_found(format!("there is no ACME order `{id}`")))?;
        Ok(OrderView::at(record, authorizations, self.ca.clock.now()))
    }

    async fn account_record(&self, id: i64) -> Result<AcmeAccountRecord> {
        let record = self.ca.storage.acme_account(id).await?;
        record.ok_or_else(|| Error::not_found(format!("there is no ACME account `{id}`")))
    }
}

impl Account {
    /// Returns the limits that hold for a recorded account instead of the configured ones.
    ///
    /// # Errors
    /// `Internal` when they are not what this version wrote.
    pub fn limits_of(record: &AcmeAccountRecord) -> Result<AccountRateLimits> {
        Ok(record.rate_limits.as_deref().map(AccountRateLimits::from_stored).transpose()?.unwrap_or_default())
    }
}

/// Returns the stored status of orders that have a status.
const fn stored_status(status: OrderStatus) -> AcmeOrderStatus {
    match status {
        OrderStatus::Pending | OrderStatus::Ready => AcmeOrderStatus::Pending,
        OrderStatus::Processing => AcmeOrderStatus::Processing,
        OrderStatus::Valid => AcmeOrderStatus::Valid,
        OrderStatus::Invalid => AcmeOrderStatus::Invalid,
    }
}
