//! From a ready order to its certificate (RFC 8555, section 7.4): now, or in the background after the answer.
//!
//! Everything that another CSR could mend is judged before anything is written, so that the order stays ready. The certificate is signed first and
//! recorded in one commit with the order's change of state: of many finalizations of one order one is recorded, and what the others signed is
//! dropped. Work in the background is in `finalization/background.rs`, fetching the certificate in `finalization/certificate.rs`.

mod background;
mod certificate;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

pub use certificate::OrderCertificate;

use super::orders::{no_order, subproblem};
use super::validation::CaaQuestion;
use super::{Account, Acme, AcmeCaller, OrderStatus, OrderView};
use crate::auth::permission::IssueCertificates;
use crate::auth::{Authorized, Caller};
use crate::ca::issuance::Issued;
use crate::ca::{CertificateView, IssuanceRequest};
use crate::error::{AcmeErrorType, AcmeSubproblem, Error, ErrorKind, Result};
use crate::policy::acme::{csr, order};
use crate::storage::{AcmeOrderStatus, OrderCompletion, Source};
use crate::x509::CertificateRequest;

/// How many names' CAA records are asked for at one time.
const CAA_AT_ONCE: usize = 8;
/// The first octet of every CSR in DER.
const SEQUENCE: u8 = 0x30;

/// Who finalizes an order, and for whom.
#[derive(Clone, Debug)]
struct Finalizer {
    account: Arc<Account>,
    caller: Arc<Caller>,
    /// The account's address, as the client knows it.
    account_url: String,
}

impl Acme {
    /// Finalizes a ready order with a CSR, DER.
    ///
    /// # Errors
    /// `NotFound`, `orderNotReady`; `badCSR`, `caa` and `rejectedIdentifier`, after which the order stays ready; `invalidProfile` when the profile was
    /// withdrawn, `unauthorized` when the account's binding may not be used any more; those of issuance and storage.
    pub async fn finalize(self: &Arc<Self>, caller: &AcmeCaller, id: i64, csr: &[u8]) -> Result<OrderView> {
        let view = self.order(caller, id).await?;
        let finalizer = Finalizer {
            account: Arc::clone(caller.account()),
            caller: Arc::clone(caller.caller()),
            account_url: caller.account_url(),
        };
        let outcome = self.finalize_view(&finalizer, view, csr).await.inspect_err(|error| {
            metrics::counter!("chancery_acme_finalizations_refused_total", "type" => error.acme_token()).increment(1);
        });
        self.audited_refusal(caller.caller(), id, outcome).await
    }

    /// Writes down that no certificate is issued for an order, of so many refusals of an account. That it is not ready is no refusal.
    async fn audited_refusal<T>(&self, caller: &Caller, order: i64, outcome: Result<T>) -> Result<T> {
        match outcome {
            Err(error) if error.acme_token() == AcmeErrorType::OrderNotReady.token() => Err(error),
            outcome => self.audited(caller, "certificate.issue", format!("acme-order:{order}"), outcome).await,
        }
    }

    async fn finalize_view(self: &Arc<Self>, finalizer: &Finalizer, view: OrderView, csr: &[u8]) -> Result<OrderView> {
        require_ready(&view)?;
        let request = self.request_of(finalizer, &view, csr)?;
        if self.settings.asynchronous_finalize {
            return self.finalize_later(finalizer, view, request).await;
        }
        self.require_caa(finalizer, &view).await?;
        // The questions may have taken a while, and the storage does not look at the binding.
        let account = self.account(finalizer.account.record.id).await?;
        self.require_binding(&account, &view.record.profile)?;
        let key = request.public_key().spki_sha256();
        match self.issue_for(finalizer, &view, request, AcmeOrderStatus::Pending).await {
            Ok(issued) => Ok(completed(view, &issued.certificate)),
            // Another request was faster. When it was for the same key it is as good as this one.
            Err(error) if error.acme_token() == AcmeErrorType::OrderNotReady.token() => {
                self.outcome_of_other(view, &key, error).await
            }
            Err(error) => Err(error),
        }
    }

    /// Judges what a client sent as CSR by the order.
    fn request_of(&self, finalizer: &Finalizer, view: &OrderView, csr: &[u8]) -> Result<CertificateRequest> {
        self.require_binding(&finalizer.account, &view.record.profile)?;
        let scope = self.scope_of(&finalizer.caller, &view.record.profile)?;
        if csr.first() != Some(&SEQUENCE) {
            let detail = "`csr` is not the DER of a PKCS #10 request; send it in base64url without PEM around it";
            return Err(Error::acme(AcmeErrorType::BadCsr, detail));
        }
        let request = CertificateRequest::parse(csr).map_err(|error| match error.kind() {
            ErrorKind::PolicyViolation => order::refusal(error.violations(), &view.record.identifiers),
            _ => error,
        })?;
        let profile = scope.profile.compiled.profile();
        csr::judge(&request, &view.record.identifiers, finalizer.account.public_key(), profile)?;
        // What is left are usages that clients put into every request, whatever the CA.
        let rule = &profile.extended_key_usage;
        Ok(request.with_usages(|usage| rule.required.contains(usage) || rule.allowed.contains(usage)))
    }

    /// Asks the CAA records of every name (RFC 8659, section 3: before each issuance).
    async fn require_caa(&self, finalizer: &Finalizer, view: &OrderView) -> Result<()> {
        let questions = view.authorizations.iter().map(|authorization| CaaQuestion {
            identifier: authorization.identifier.clone(),
            challenge: authorization.challenge.map(|(challenge, _)| challenge),
            account_url: finalizer.account_url.clone(),
        });
        let questions: Vec<CaaQuestion> = questions.collect();
        let ask = |question: CaaQuestion| async move {
            match self.validator.check_caa(&question).await {
                Ok(()) => None,
                Err(failure) => {
                    let token = failure.error_type.token().to_owned();
                    Some(subproblem(&question.identifier, token, failure.detail))
                }
            }
        };
        let answers = stream::iter(questions).map(ask).buffered(CAA_AT_ONCE).collect::<Vec<_>>();
        let limit = self.caa_limit(view.authorizations.len());
        let answers = tokio::time::timeout(limit, answers).await.map_err(|elapsed| {
            let detail = "the CAA records of the order's names could not be had in time; finalize it again";
            Error::new(ErrorKind::Unavailable, detail).with_retry_after(5).with_source(elapsed)
        })?;
        let refused: Vec<AcmeSubproblem> = answers.into_iter().flatten().collect();
        if refused.is_empty() {
            return Ok(());
        }
        tracing::info!(
            order = view.record.id,
            names = refused.len(),
            "CAA records forbid issuance or could not be had"
        );
        Err(order::joined(refused, view.record.identifiers.len() > 1))
    }

    /// The longest that all CAA questions of an order take: that of one look for each round of them.
    fn caa_limit(&self, names: usize) -> Duration {
        let rounds = u32::try_from(names.div_ceil(CAA_AT_ONCE)).unwrap_or(u32::MAX).min(4);
        self.settings.validation.attempt_timeout.saturating_mul(rounds.saturating_add(1))
    }

    /// Has the certificate of an order issued and recorded with the order's change of state.
    async fn issue_for(
        &self,
        finalizer: &Finalizer,
        view: &OrderView,
        request: CertificateRequest,
        from: AcmeOrderStatus,
    ) -> Result<Issued> {
        let authorization = Authorized::<IssueCertificates>::check(Arc::clone(&finalizer.caller))?;
        let issuance = self.issuance_of(view, request, from);
        self.ca.issue_for_order(&authorization, issuance, &proofs(view)).await.map_err(|error| refused(error, view))
    }

    fn issuance_of(&self, view: &OrderView, request: CertificateRequest, from: AcmeOrderStatus) -> IssuanceRequest {
        let record = &view.record;
        let holder = match from {
            AcmeOrderStatus::Processing => Some(self.ca.instance.clone()),
            AcmeOrderStatus::Pending | AcmeOrderStatus::Valid | AcmeOrderStatus::Invalid => None,
        };
        let completion = OrderCompletion { order_id: record.id, account_id: record.account_id, from, holder };
        IssuanceRequest {
            csr: request,
            profile: record.profile.clone(),
            issuer: None,
            adjustments: order::adjustments(&record.identifiers, record.not_before, record.not_after),
            labels: BTreeMap::new(),
            source: Source::Acme,
            idempotency: None,
            order: Some(completion),
        }
    }

    /// Reads what another finalization made of an order; it is the answer to this one, too, when it was for the same key.
    async fn outcome_of_other(&self, view: OrderView, key: &[u8; 32], error: Error) -> Result<OrderView> {
        let found = self.ca.storage.acme_order(view.record.id, Some(view.record.account_id)).await?;
        let (record, authorizations) = found.ok_or_else(no_order)?;
        let Some((issuer_id, serial)) = &record.certificate else { return Err(error) };
        let records = self.ca.storage.certificates_by_serial(serial).await?;
        let is_same = records.iter().any(|found| found.issuer_id == *issuer_id && found.spki_sha256 == *key);
        if !is_same {
            return Err(error);
        }
        Ok(OrderView::at(record, authorizations, self.ca.clock.now()))
    }
}

/// Returns for the audit log for whom a certificate is issued, and how control of each name was proven.
fn proofs(view: &OrderView) -> Value {
    let proofs: Vec<Value> = view
        .authorizations
        .iter()
        .map(|authorization| {
            json!({
                "identifier": authorization.identifier.to_string(),
                "authorization": authorization.id,
                "proof": authorization.challenge.map_or("external_account_binding", |(challenge, _)| challenge.as_str()),
                "validated_at": authorization.validated_at.map(|moment| moment.to_string()),
            })
        })
        .collect();
    json!({ "account": view.record.account_id, "order": view.record.id, "proofs": proofs })
}

/// Refuses an order that is in another state (RFC 8555, section 7.4).
fn require_ready(view: &OrderView) -> Result<()> {
    let why = match view.status {
        OrderStatus::Ready => return Ok(()),
        OrderStatus::Pending => "its authorizations are not all valid yet".to_owned(),
        OrderStatus::Processing => "it is being finalized already".to_owned(),
        OrderStatus::Valid => "it has its certificate already".to_owned(),
        OrderStatus::Invalid => match &view.record.error {
            Some(problem) => format!("it came to nothing: {}", problem.detail),
            None => "it came to nothing".to_owned(),
        },
    };
    let detail = format!("the order is `{}`, not `ready`: {why}", view.status.as_str());
    Err(Error::acme(AcmeErrorType::OrderNotReady, detail))
}

/// The order after its certificate was recorded, without being read again.
fn completed(view: OrderView, certificate: &CertificateView) -> OrderView {
    let OrderView { mut record, authorizations, .. } = view;
    record.status = AcmeOrderStatus::Valid;
    record.certificate = Some((certificate.record.issuer_id, certificate.record.serial.clone()));
    record.finalized_at = Some(certificate.record.issued_at);
    record.csr = None;
    OrderView { record, authorizations, status: OrderStatus::Valid }
}

/// Returns what a refusal of issuance is to ACME clients.
fn refused(error: Error, view: &OrderView) -> Error {
    match error.kind() {
        ErrorKind::PolicyViolation => order::refusal(error.violations(), &view.record.identifiers),
        // That the profile's issuer is retired or has ended is nothing that a client can mend.
        ErrorKind::Conflict => {
            let detail = "no issuer signs under the profile of the order at the moment";
            Error::new(ErrorKind::Unavailable, detail).with_retry_after(60).with_source(error)
        }
        _ => error,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests;
