//! What holders change of their accounts: contacts, agreement to the terms, the key, and that it ends (RFC 8555, sections 7.3.2 to 7.3.6).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use super::{Account, AcmeCaller, account_url, contacts, object, require_valid};
use crate::ca::acme::Acme;
use crate::error::{AcmeError, AcmeErrorType, Error, Result};
use crate::storage::{AcmeAccountChange, AcmeAccountStatus, AcmeKeyChanged, AcmeProblem, AuditOutcome};
use crate::x509::jws::{AccountKey, KeyChange, VerifiedRequest};

/// The body of an update of an account (RFC 8555, section 7.3.2); other members are ignored.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountUpdate {
    /// The new contacts.
    pub contact: Option<Vec<String>>,
    /// `deactivated` ends the account; everything else is ignored.
    pub status: Option<String>,
    /// Whether the terms of service are agreed to.
    #[serde(default)]
    pub terms_of_service_agreed: bool,
}

impl Acme {
    /// Updates an account, or ends it.
    ///
    /// # Errors
    /// `invalidContact`, `unsupportedContact`; `unauthorized` with 401 when it ended meanwhile; those of the storage.
    pub async fn update_account(&self, caller: &AcmeCaller, update: AccountUpdate) -> Result<Arc<Account>> {
        let id = caller.account.record.id;
        if update.status.as_deref() == Some("deactivated") {
            let outcome = self.deactivate_account(caller).await;
            return self.audited(&caller.caller, "acme_account.deactivate", object(id), outcome).await;
        }
        let outcome = self.change_account(caller, update).await;
        self.audited(&caller.caller, "acme_account.update", object(id), outcome).await
    }

    async fn change_account(&self, caller: &AcmeCaller, update: AccountUpdate) -> Result<Arc<Account>> {
        if let Some(contacts) = &update.contact {
            contacts::check(contacts)?;
        }
        let record = &caller.account.record;
        let terms = self.settings.terms_of_service.clone().filter(|_| update.terms_of_service_agreed);
        let change = AcmeAccountChange {
            contacts: update.contact,
            terms_of_service: terms.filter(|terms| record.terms_of_service.as_ref() != Some(terms)),
            ..AcmeAccountChange::default()
        };
        if change == AcmeAccountChange::default() {
            return Ok(Arc::clone(&caller.account));
        }
        let details = json!({ "contacts": change.contacts, "terms_of_service": change.terms_of_service });
        let event =
            self.ca.event(&caller.caller, "acme_account.update", AuditOutcome::Success, object(record.id), details);
        let changed = self.ca.storage.change_acme_account(record.id, change, event).await?;
        self.accounts.forget_all();
        match changed {
            Some(record) => Ok(Arc::new(Account::from_record(record)?)),
            None => Err(self.ended(record.id).await),
        }
    }

    /// Ends an account. Its certificates stay as they are (RFC 8555, section 7.3.6).
    async fn deactivate_account(&self, caller: &AcmeCaller) -> Result<Arc<Account>> {
        let id = caller.account.record.id;
        let event =
            self.ca.event(&caller.caller, "acme_account.deactivate", AuditOutcome::Success, object(id), json!({}));
        let problem = account_ended("the account was deactivated by its holder");
        let was_valid = self.ca.storage.end_acme_account(id, AcmeAccountStatus::Deactivated, &problem, event).await?;
        self.accounts.forget_all();
        if was_valid { self.account(id).await } else { Err(self.ended(id).await) }
    }

    /// Puts another key in the place of the account's (RFC 8555, section 7.3.5).
    ///
    /// # Errors
    /// `malformed`, `badSignatureAlgorithm`, `badPublicKey` for an inner JWS that is not right; `Conflict`, with the address of its account, when
    /// the new key has one; `Conflict` when the key was changed meanwhile; `unauthorized` with 401 when the account ended meanwhile; those of the
    /// storage.
    pub async fn change_account_key(&self, caller: &AcmeCaller, request: &VerifiedRequest) -> Result<Arc<Account>> {
        let outcome = self.put_key(caller, request).await;
        let object = object(caller.account.record.id);
        self.audited(&caller.caller, "acme_account.change_key", object, outcome).await
    }

    async fn put_key(&self, caller: &AcmeCaller, request: &VerifiedRequest) -> Result<Arc<Account>> {
        let Account { record, key: current, .. } = caller.account.as_ref();
        let change = KeyChange::verify(request.payload(), request.url())?;
        let new: AccountKey = change.for_account(&caller.account_url(), current)?;
        self.require_unblocked(&new).await?;
        let (from, to) = (current.thumbprint(), new.thumbprint());
        let details = json!({ "from": hex::encode(from), "to": hex::encode(to) });
        let event =
            self.ca.event(&caller.caller, "acme_account.change_key", AuditOutcome::Success, object(record.id), details);
        let changed = self.ca.storage.change_acme_account_key(record.id, from, to, new.jwk(), event).await?;
        self.accounts.forget_all();
        match changed {
            AcmeKeyChanged::Changed => self.account(record.id).await,
            AcmeKeyChanged::Taken(other) => Err(key_is_taken(&account_url(caller.base_url(), other))),
            AcmeKeyChanged::Stale => match self.account(record.id).await?.require_valid() {
                Ok(()) => Err(Error::conflict("the key of the account was changed by another request meanwhile")),
                Err(ended) => Err(ended),
            },
        }
    }

    /// Says why an account that was valid a moment ago could not be changed.
    async fn ended(&self, id: i64) -> Error {
        match self.account(id).await.map(|account| require_valid(account.record.status)) {
            Ok(Ok(())) => Error::conflict("the account was changed by another request meanwhile"),
            Ok(Err(error)) | Err(error) => error,
        }
    }
}

/// RFC 8555, section 7.3.5: with 409 and the address of the account in `Location`.
fn key_is_taken(location: &str) -> Error {
    Error::conflict("the new key is that of another account; take one that no account has").with_acme(AcmeError {
        error_type: AcmeErrorType::Malformed,
        subproblems: Vec::new(),
        algorithms: &[],
        location: Some(location.to_owned()),
        link: None,
    })
}

/// Why the pending orders of an account that ended are invalid.
pub(super) fn account_ended(detail: &str) -> AcmeProblem {
    AcmeProblem {
        error_type: AcmeErrorType::Unauthorized.token().to_owned(),
        detail: detail.to_owned(),
        subproblems: Vec::new(),
    }
}
