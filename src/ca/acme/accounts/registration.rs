//! newAccount (RFC 8555, section 7.3): the account of a key, found or made, and bound to an external account if that is asked for.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Account, KeyCaller, contacts, described, no_such_account, object, require_valid, terms_not_agreed};
use crate::ca::acme::Acme;
use crate::ca::acme::external_accounts::Binding;
use crate::error::{AcmeErrorType, Error, ErrorKind, Result};
use crate::storage::{
    AcmeAccountChange, AcmeAccountCreated, AcmeAccountRecord, AcmeAccountStatus, AuditOutcome,
    ExternalAccountKeyRecord, NewAcmeAccount,
};
use crate::x509::jws::AccountKey;

/// The body of newAccount (RFC 8555, section 7.3); other members are ignored.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewAccountRequest {
    /// Addresses of people, such as `mailto:ops@example.com`.
    #[serde(default)]
    pub contact: Vec<String>,
    /// Whether the terms of service are agreed to.
    #[serde(default)]
    pub terms_of_service_agreed: bool,
    /// Whether no account is to be made.
    #[serde(default)]
    pub only_return_existing: bool,
    /// The binding, a JWS (RFC 8555, section 7.3.4).
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub external_account_binding: Option<Value>,
}

/// The account of a key, and whether it is new.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The account.
    pub account: Arc<Account>,
    /// Whether this request made it: 201, else 200.
    pub created: bool,
}

impl Acme {
    /// Finds the account of the key that signed, or makes one. For a key that has an account the rest of the request is ignored, except for a
    /// binding of an account that has none.
    ///
    /// # Errors
    /// `accountDoesNotExist` when none is to be made; `unauthorized` with 401 when the account of the key ended; `badPublicKey`;
    /// `userActionRequired` without agreement to the terms; `invalidContact`, `unsupportedContact`; `externalAccountRequired`; `malformed` and
    /// `unauthorized` for a binding that does not hold; `rateLimited`; those of the storage.
    pub async fn new_account(
        &self,
        caller: &KeyCaller,
        directory: Option<&str>,
        request: NewAccountRequest,
    ) -> Result<Registered> {
        let key = caller.key().clone().into_account_key()?;
        let existing = self.ca.storage.acme_account_by_key(key.thumbprint()).await?;
        if existing.is_none() && request.only_return_existing {
            // An answer, not a refusal: clients ask so to find their account.
            return Err(no_such_account());
        }
        let what = match &existing {
            Some(record) => object(record.id),
            None => caller.caller().principal.name.clone(),
        };
        let outcome = match existing {
            Some(record) => self.existing_account(caller, directory, &key, record, &request).await,
            None => self.create_account(caller, directory, &key, &request).await,
        };
        self.audited(caller.caller(), "acme_account.create", what, outcome).await
    }

    async fn existing_account(
        &self,
        caller: &KeyCaller,
        directory: Option<&str>,
        key: &AccountKey,
        record: AcmeAccountRecord,
        request: &NewAccountRequest,
    ) -> Result<Registered> {
        require_valid(record.status)?;
        let is_lookup = request.only_return_existing || record.external_account_key.is_some();
        let record = match &request.external_account_binding {
            Some(binding) if !is_lookup => {
                let binding = self.verify_binding(binding, caller.url(), key, directory).await?;
                self.bind(caller, record.id, binding).await?
            }
            Some(_) | None => record,
        };
        Ok(Registered { account: Arc::new(Account::from_record(record)?), created: false })
    }

    /// Binds an account that has no binding yet.
    async fn bind(&self, caller: &KeyCaller, id: i64, binding: Binding) -> Result<AcmeAccountRecord> {
        let details = json!({ "external_account_key": binding.key.key_id, "principal": binding.key.principal });
        let event = self.ca.event(caller.caller(), "acme_account.update", AuditOutcome::Success, object(id), details);
        let change =
            AcmeAccountChange { binding: Some((binding.key.id, binding.as_sent)), ..AcmeAccountChange::default() };
        let changed = self.ca.storage.change_acme_account(id, change, event).await?;
        self.accounts.forget_all();
        changed.ok_or_else(|| binding_unusable(&binding.key))
    }

    async fn create_account(
        &self,
        caller: &KeyCaller,
        directory: Option<&str>,
        key: &AccountKey,
        request: &NewAccountRequest,
    ) -> Result<Registered> {
        self.require_unblocked(key).await?;
        let terms = self.settings.terms_of_service.clone();
        if let Some(terms) = terms.as_ref().filter(|_| !request.terms_of_service_agreed) {
            let detail =
                format!("read the terms of service at `{terms}`, and agree to them with `termsOfServiceAgreed`");
            return Err(terms_not_agreed(detail, terms));
        }
        contacts::check(&request.contact)?;
        let binding = match &request.external_account_binding {
            Some(binding) => Some(self.verify_binding(binding, caller.url(), key, directory).await?),
            None if self.settings.external_account_required => return Err(binding_required()),
            None => None,
        };
        let new = |id| NewAcmeAccount {
            id,
            thumbprint: *key.thumbprint(),
            jwk: key.jwk().to_owned(),
            contacts: request.contact.clone(),
            terms_of_service: terms.clone(),
            binding: binding.as_ref().map(|binding| (binding.key.id, binding.as_sent.clone())),
            created_at: self.ca.clock.now(),
            created_from: caller.caller().remote_address.clone(),
        };
        let bound_by = || binding.as_ref().map(|binding| binding.key.clone());
        match self.store_account(caller, new(self.new_row()?), bound_by()).await {
            // Of two rows of one millisecond with the same random bits the second is refused.
            Err(error) if error.kind() == ErrorKind::Conflict => {
                self.store_account(caller, new(self.new_row()?), bound_by()).await
            }
            outcome => outcome,
        }
    }

    async fn store_account(
        &self,
        caller: &KeyCaller,
        new: NewAcmeAccount,
        external_account_key: Option<ExternalAccountKeyRecord>,
    ) -> Result<Registered> {
        let account = Account::from_record(AcmeAccountRecord {
            id: new.id,
            status: AcmeAccountStatus::Valid,
            thumbprint: new.thumbprint,
            jwk: new.jwk.clone(),
            contacts: new.contacts.clone(),
            terms_of_service: new.terms_of_service.clone(),
            external_account_key: external_account_key.clone(),
            external_account_binding: new.binding.as_ref().map(|(_, as_sent)| as_sent.clone()),
            rate_limits: None,
            created_at: new.created_at,
            created_from: new.created_from.clone(),
        })?;
        let mut event = self.ca.event(
            caller.caller(),
            "acme_account.create",
            AuditOutcome::Success,
            object(new.id),
            described(&account),
        );
        event.actor.clone_from(&account.principal().name);
        let charges = self.new_account_charge(caller.caller().remote_address.as_deref()).into_iter().collect();
        match self.ca.storage.create_acme_account(new, charges, event).await? {
            AcmeAccountCreated::Created => Ok(Registered { account: Arc::new(account), created: true }),
            // Another request with the same key came first.
            AcmeAccountCreated::Exists(record) => {
                require_valid(record.status)?;
                Ok(Registered { account: Arc::new(Account::from_record(*record)?), created: false })
            }
            AcmeAccountCreated::BindingUnusable => match external_account_key {
                Some(key) => Err(binding_unusable(&key)),
                None => Err(Error::internal("an account without a binding was refused for its binding")),
            },
            AcmeAccountCreated::RateLimited(limited) => Err(self.rate_limited(&limited)),
        }
    }
}

/// RFC 8555, section 7.3.4.
fn binding_required() -> Error {
    Error::acme(
        AcmeErrorType::ExternalAccountRequired,
        "accounts of this CA are bound to an external account: ask its operator for a key id and an HMAC key, and give them to the client",
    )
}

/// What the storage says when a key was usable a moment ago.
fn binding_unusable(key: &ExternalAccountKeyRecord) -> Error {
    let why = if key.single_use { "it is for one account, and has one" } else { "it was deleted or has expired" };
    Error::acme(
        AcmeErrorType::Unauthorized,
        format!(
            "the external account key `{}` cannot be used: {why}; ask the operator of this CA for another",
            key.key_id
        ),
    )
}
