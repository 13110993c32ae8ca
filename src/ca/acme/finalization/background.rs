//! Finalizing after the answer: the order is `processing`, its CSR is kept with it, and who works on it has a lease, so that another replica takes
//! over from one that ended.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::{Finalizer, no_order, require_ready};
use crate::auth::permission::IssueCertificates;
use crate::auth::{Authorized, Caller};
use crate::ca::IssuanceRequest;
use crate::ca::acme::{Acme, OrderStatus, OrderView};
use crate::error::{AcmeErrorType, Error, ErrorKind, Result};
use crate::policy::acme::order;
use crate::storage::{AcmeOrderStatus, AcmeProblem};
use crate::x509::{CertificateRequest, Timestamp};

/// The least that a lease of an order lasts; longer where CAA questions may take longer.
const LEASE: Duration = Duration::from_secs(60);
/// What a lease lasts beyond the CAA questions: signing and writing it down.
const MARGIN: Duration = Duration::from_secs(20);
/// The waits before an order is tried again here, after failures of the service that may pass.
const WAITS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
];
/// The most orders that one round takes up, all at one time: so none waits for another while its lease runs.
const BATCH: u16 = 16;

/// An order that is worked on in the background, for whom as far as no record says it.
#[derive(Clone, Debug)]
struct Work {
    id: i64,
    account_id: i64,
    /// The account's address, as the client knows it; absent after a restart: then that of an answered challenge counts.
    account_url: Option<String>,
    remote_address: Option<String>,
    request_id: Option<String>,
}

impl Acme {
    /// Takes a request of a ready order, answers `processing`, and issues in the background.
    pub(super) async fn finalize_later(
        self: &Arc<Self>,
        finalizer: &Finalizer,
        view: OrderView,
        request: CertificateRequest,
    ) -> Result<OrderView> {
        // All that another CSR could mend is told now, while the order is still ready.
        self.check_request(finalizer, &view, &request).await?;
        let now = self.ca.clock.now();
        let lease_until = now + self.order_lease();
        let (id, account_id) = (view.record.id, view.record.account_id);
        let holder = self.ca.instance.as_str();
        let begun =
            self.ca.storage.begin_acme_finalization(id, account_id, request.as_der(), holder, now, lease_until).await?;
        if !begun {
            let found = self.ca.storage.acme_order(id, Some(account_id)).await?;
            let (record, authorizations) = found.ok_or_else(no_order)?;
            require_ready(&OrderView::at(record, authorizations, self.ca.clock.now()))?;
            return Err(Error::acme(AcmeErrorType::Unauthorized, "the account is not valid any more"));
        }
        let mut view = view;
        view.record.status = AcmeOrderStatus::Processing;
        view.record.csr = Some(request.as_der().to_vec());
        view.status = OrderStatus::Processing;
        let work = Work {
            id,
            account_id,
            account_url: Some(finalizer.account_url.clone()),
            remote_address: finalizer.caller.remote_address.clone(),
            request_id: finalizer.caller.request_id.clone(),
        };
        let acme = Arc::clone(self);
        // What is lost with the process, or not done while the lease lasts, is taken up when it has ended.
        tokio::spawn(async move { acme.unless_stopped(acme.work_while_leased(&work, lease_until)).await });
        Ok(view)
    }

    /// Finalizes the orders that are processing and that nobody works on, until the service stops. Called by a job.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn finalize_due(self: &Arc<Self>) -> Result<()> {
        while !self.scheduling.is_stopping() {
            let now = self.ca.clock.now();
            let lease_until = now + self.order_lease();
            let due = self.ca.storage.due_acme_finalizations(&self.ca.instance, now, lease_until, BATCH).await?;
            let is_last = due.len() < usize::from(BATCH);
            let works = due.into_iter().map(|record| Work {
                id: record.id,
                account_id: record.account_id,
                account_url: None,
                remote_address: None,
                request_id: None,
            });
            let all = stream::iter(works).for_each_concurrent(usize::from(BATCH), |work| async move {
                self.work_on(&work).await;
            });
            self.unless_stopped(all).await;
            if is_last {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Does something until it is done or the service stops: what is left then is for other replicas and the next start.
    async fn unless_stopped(&self, work: impl Future<Output = ()>) {
        tokio::select! {
            () = self.scheduling.stopped() => {}
            () = work => {}
        }
    }

    /// Tries again after failures that may pass, as long as the order is leased to this process.
    async fn work_while_leased(&self, work: &Work, lease_until: Timestamp) {
        for wait in WAITS {
            if self.work_on(work).await || self.ca.clock.now() + wait >= lease_until {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// How long a lease of an order lasts: no shorter than one try takes.
    fn order_lease(&self) -> Duration {
        LEASE.max(self.caa_limit(usize::MAX).saturating_add(MARGIN))
    }

    /// Issues for an order that is processing. A failure of the service leaves it for later, any other ends it. Answers whether there is nothing
    /// left to do.
    async fn work_on(&self, work: &Work) -> bool {
        let id = work.id;
        let (finalizer, view) = match self.current(work).await {
            Ok(current) => current,
            Err(error) => {
                tracing::warn!(order = id, %error, "an order could not be taken up and will be again");
                return false;
            }
        };
        let error = match self.issue_processing(&finalizer, &view).await {
            Ok(()) => return true,
            // Another worker was faster, or the order changed: who takes it up next reads what it is.
            Err(error) if error.acme_token() == AcmeErrorType::OrderNotReady.token() => return true,
            Err(error) => error,
        };
        let is_passing = may_pass(&error) && self.ca.clock.now() < view.record.expires_at;
        tracing::warn!(order = id, %error, is_passing, "an order could not be finalized in the background");
        if is_passing {
            return false;
        }
        match self.ca.storage.fail_acme_order(id, &problem(&error)).await {
            Ok(false) => true,
            Ok(true) => {
                let written = self.audited_refusal::<()>(&finalizer.caller, id, Err(error)).await;
                tracing::debug!(order = id, outcome = ?written, "the order came to nothing");
                true
            }
            Err(error) => {
                tracing::warn!(order = id, %error, "the failure of an order could not be written down and will be again");
                false
            }
        }
    }

    /// Reads an order with its authorizations and its account as they are now: between two tries all of them may change.
    async fn current(&self, work: &Work) -> Result<(Finalizer, OrderView)> {
        let found = self.ca.storage.acme_order(work.id, Some(work.account_id)).await?;
        let (record, authorizations) = found.ok_or_else(no_order)?;
        let account = self.account(work.account_id).await?;
        // Unknown after a restart where a binding alone proved control, and then CAA records that name an account forbid issuance.
        let account_url = work
            .account_url
            .clone()
            .or_else(|| authorizations.iter().find_map(|authorization| authorization.account_url.clone()));
        let caller = Caller {
            principal: Arc::clone(account.principal()),
            remote_address: work.remote_address.clone(),
            request_id: work.request_id.clone(),
        };
        let finalizer = Finalizer { account, caller: Arc::new(caller), account_url: account_url.unwrap_or_default() };
        Ok((finalizer, OrderView::at(record, authorizations, self.ca.clock.now())))
    }

    async fn issue_processing(&self, finalizer: &Finalizer, view: &OrderView) -> Result<()> {
        if view.status != OrderStatus::Processing {
            return Ok(());
        }
        let Some(csr) = &view.record.csr else {
            return Err(Error::internal("an order that is processing has no request"));
        };
        view.require_proven(self.ca.clock.now())?;
        let request = self.request_of(finalizer, view, csr)?;
        self.require_caa(finalizer, view).await?;
        let account = self.account(finalizer.account.record.id).await?;
        self.require_binding(&account, &view.record.profile)?;
        self.issue_for(finalizer, view, request, AcmeOrderStatus::Processing).await?;
        Ok(())
    }

    /// Judges a request by the whole policy, issuing nothing.
    async fn check_request(&self, finalizer: &Finalizer, view: &OrderView, request: &CertificateRequest) -> Result<()> {
        let authorization = Authorized::<IssueCertificates>::check(Arc::clone(&finalizer.caller))?;
        // As of no order: then what is asked only within the commit, whether the key is blocked, is asked now.
        let issuance =
            IssuanceRequest { order: None, ..self.issuance_of(view, request.clone(), AcmeOrderStatus::Pending) };
        let checked = self.ca.check(&authorization, issuance).await.map_err(|error| super::refused(error, view))?;
        if checked.violations.is_empty() {
            return Ok(());
        }
        Err(order::refusal(&checked.violations, &view.record.identifiers))
    }
}

/// Whether a failure is none of the client's and may pass: of the service, or of the name servers that were asked for CAA records.
fn may_pass(error: &Error) -> bool {
    let passes = |token: &str| {
        [AcmeErrorType::Dns, AcmeErrorType::ServerInternal].iter().any(|error_type| error_type.token() == token)
    };
    match (error.kind(), error.acme_error()) {
        (ErrorKind::Unavailable | ErrorKind::Internal | ErrorKind::Configuration, _) => true,
        // Of several names each has its own, and one that is refused for good is enough.
        (_, Some(acme)) if !acme.subproblems.is_empty() => {
            acme.subproblems.iter().all(|problem| passes(&problem.error_type))
        }
        (_, Some(_)) => passes(error.acme_token()),
        (_, None) => false,
    }
}

/// Returns an error as it stands in an order. What only the log may see stays there.
fn problem(error: &Error) -> AcmeProblem {
    let detail = match error.kind() {
        ErrorKind::Internal | ErrorKind::Configuration => "the order could not be finalized in its time".to_owned(),
        _ => error.detail().to_owned(),
    };
    AcmeProblem {
        error_type: error.acme_token().to_owned(),
        detail,
        subproblems: error.acme_error().map(|acme| acme.subproblems.clone()).unwrap_or_default(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests;
