//! Accounts (RFC 8555, section 7.3): who signed a request, and the accounts that are kept in memory for a second.
//!
//! How accounts are made is in `registration.rs`, how they change in `changes.rs`, what operators do in `administration.rs`.

mod administration;
mod changes;
mod contacts;
mod registration;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use serde_json::json;

pub use changes::AccountUpdate;
pub use registration::{NewAccountRequest, Registered};

use super::external_accounts::compiled_grants;
use super::rate_limits::AccountRateLimits;
use super::{Acme, row_number};
use crate::auth::Caller;
use crate::auth::principal::{Method, Principal, Role};
use crate::error::{AcmeErrorType, Error, ErrorKind, Result};
use crate::policy::Grants;
use crate::storage::{AcmeAccountRecord, AcmeAccountStatus};
use crate::x509::PublicKey;
use crate::x509::jws::{AccountKey, KeyReference, OfferedKey, SignedRequest, VerifiedRequest};

/// How long an account is believed without asking the storage: a change by another replica is seen after this.
const CACHED_FOR: Duration = Duration::from_secs(1);
/// The most accounts held at once; the least used give way.
const CAPACITY: u64 = 10_000;
/// What stands before the number in an account's address.
const ACCOUNT_PATH: &str = "/acme/accounts/";

/// The accounts that are kept in memory for a second.
#[derive(Debug)]
pub struct Accounts {
    entries: Cache<i64, (u64, Arc<Account>)>,
    /// Rises with every change made here: what was looked up before one must not be believed after it.
    epoch: AtomicU64,
}

impl Default for Accounts {
    fn default() -> Self {
        let entries = Cache::builder().max_capacity(CAPACITY).time_to_live(CACHED_FOR).build();
        Self { entries, epoch: AtomicU64::new(0) }
    }
}

impl Accounts {
    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    fn find(&self, id: i64) -> Option<Arc<Account>> {
        self.entries.get(&id).filter(|(epoch, _)| *epoch == self.epoch()).map(|(_, account)| account)
    }

    /// Drops all accounts: something of one, or of an external account key, changed here.
    pub(super) fn forget_all(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.entries.invalidate_all();
    }
}

/// An account with its key and what its certificates are bounded by.
#[derive(Clone, Debug)]
pub struct Account {
    /// The record.
    pub record: AcmeAccountRecord,
    /// Its key.
    pub key: AccountKey,
    /// The compiled grants of its external account key; unrestricted without one.
    pub grants: Grants,
    /// What holds for it instead of the configured limits.
    pub rate_limits: AccountRateLimits,
    principal: Arc<Principal>,
}

impl Account {
    /// Reads a record.
    ///
    /// # Errors
    /// `Internal` when key, grants or limits are not what this version wrote: then nothing may be done with the account.
    pub(super) fn from_record(record: AcmeAccountRecord) -> Result<Self> {
        let key = AccountKey::from_stored(&record.jwk)?;
        let grants = match &record.external_account_key {
            Some(key) => compiled_grants(&key.grants)?,
            None => Grants::unrestricted(),
        };
        let rate_limits = record.rate_limits.as_deref().map(AccountRateLimits::from_stored).transpose()?;
        let name = Self::principal_name(&record);
        let principal = Principal { name, role: Role::Requester, grants: grants.clone(), method: Method::AcmeAccount };
        Ok(Self { record, key, grants, rate_limits: rate_limits.unwrap_or_default(), principal: Arc::new(principal) })
    }

    /// Returns the name of the principal that the certificates of a recorded account belong to.
    #[must_use]
    pub fn principal_name(record: &AcmeAccountRecord) -> String {
        match &record.external_account_key {
            Some(key) => key.principal.clone(),
            None => format!("acme:{}", record.id),
        }
    }

    /// Returns its key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    /// Returns the principal that its certificates belong to: that of its external account key, else `acme:` and its number.
    #[must_use]
    pub const fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// Returns its address as clients of a base address know it.
    #[must_use]
    pub fn url(&self, base_url: &str) -> String {
        account_url(base_url, self.record.id)
    }

    /// Refuses an account that ended (RFC 8555, section 7.3.6: with 401).
    fn require_valid(&self) -> Result<()> {
        require_valid(self.record.status)
    }
}

/// Somebody whose request was signed with the key of a valid account, and whose nonce was taken. Only this module makes one.
#[derive(Clone, Debug)]
pub struct AcmeCaller {
    account: Arc<Account>,
    base_url: String,
    caller: Arc<Caller>,
}

impl AcmeCaller {
    fn new(account: Arc<Account>, origin: RequestOrigin) -> Self {
        let caller = Caller {
            principal: Arc::clone(&account.principal),
            remote_address: origin.remote_address,
            request_id: origin.request_id,
        };
        Self { account, base_url: origin.base_url, caller: Arc::new(caller) }
    }

    /// Makes a caller without a request.
    #[cfg(test)]
    pub(crate) fn for_tests(record: AcmeAccountRecord, base_url: &str) -> Self {
        let origin = RequestOrigin { base_url: base_url.to_owned(), ..RequestOrigin::default() };
        #[allow(clippy::unwrap_used, reason = "for tests")]
        Self::new(Arc::new(Account::from_record(record).unwrap()), origin)
    }

    /// Returns the account.
    #[must_use]
    pub const fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Returns scheme and host as the client knows them, without trailing slash.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Returns the account's address as the client knows it.
    #[must_use]
    pub fn account_url(&self) -> String {
        self.account.url(&self.base_url)
    }

    /// Returns who it is to policy and audit.
    #[must_use]
    pub const fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }
}

/// Somebody whose request was signed with the key that came with it, and whose nonce was taken. Only this module makes one. The key may be
/// weak: certificates of weak keys, too, are revoked with their keys.
#[derive(Clone, Debug)]
pub struct KeyCaller {
    key: OfferedKey,
    base_url: String,
    url: String,
    caller: Arc<Caller>,
}

impl KeyCaller {
    /// Returns the key.
    #[must_use]
    pub const fn key(&self) -> &OfferedKey {
        &self.key
    }

    /// Returns scheme and host as the client knows them, without trailing slash.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Returns the address that the request was signed for.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns who it is to the audit log: `acme-key:` and the thumbprint. It may do nothing by that name.
    #[must_use]
    pub const fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }
}

/// Where a request came from.
#[derive(Clone, Debug, Default)]
pub struct RequestOrigin {
    /// Scheme and host as the client knows them, without trailing slash.
    pub base_url: String,
    /// The client's address.
    pub remote_address: Option<String>,
    /// The request id.
    pub request_id: Option<String>,
}

impl Acme {
    /// Finds an account, valid or not, of the cache or the database.
    ///
    /// # Errors
    /// `accountDoesNotExist`; those of the storage.
    pub async fn account(&self, id: i64) -> Result<Arc<Account>> {
        match self.accounts.find(id) {
            Some(account) => Ok(account),
            None => self.account_of_storage(id).await,
        }
    }

    /// Drops the accounts that are kept in memory: something that bounds them was changed here by other means than this server's.
    pub fn forget_accounts(&self) {
        self.accounts.forget_all();
    }

    /// Admits a request that names its account by `kid` (RFC 8555, section 6.2).
    ///
    /// What costs least comes first: a nonce that was never given out is refused without a statement; account and signature are looked at
    /// before the nonce is taken, so that only requests that are authentic write. That the address the request was signed for is the one it
    /// came to is for the front door to see.
    ///
    /// # Errors
    /// `malformed`, `badNonce`, `badSignatureAlgorithm`; `accountDoesNotExist` when `kid` is not the address of an account; `unauthorized` with
    /// 401 when the account ended; those of the storage.
    pub async fn authenticate(
        &self,
        request: SignedRequest,
        origin: RequestOrigin,
    ) -> Result<(AcmeCaller, VerifiedRequest)> {
        self.check_nonce(request.nonce()).await?;
        let id = match request.key() {
            KeyReference::Kid(kid) => account_number(&origin.base_url, kid)?,
            KeyReference::Jwk(_) => {
                return Err(Error::malformed(
                    "the header of the JWS has `jwk`; requests for this resource are signed for an account, which `kid` names",
                ));
            }
        };
        let (account, verified) = self.verify(request, id).await?;
        account.require_valid()?;
        self.take_nonce(verified.nonce()).await?;
        Ok((AcmeCaller::new(account, origin), verified))
    }

    /// Admits a request that carries its key: newAccount, and revokeCert by the key of a certificate.
    ///
    /// # Errors
    /// `malformed`, `badNonce`, `badPublicKey`; those of the storage.
    pub async fn authenticate_key(
        &self,
        request: SignedRequest,
        origin: RequestOrigin,
    ) -> Result<(KeyCaller, VerifiedRequest)> {
        self.check_nonce(request.nonce()).await?;
        let verified = request.verify_with_jwk()?;
        self.take_nonce(verified.nonce()).await?;
        let KeyReference::Jwk(key) = verified.key().clone() else {
            return Err(Error::internal("a request that was verified with its key carries none"));
        };
        let principal = Principal {
            name: format!("acme-key:{}", hex::encode(key.thumbprint())),
            role: Role::Requester,
            grants: Grants::unrestricted(),
            method: Method::AcmeAccount,
        };
        let caller = Caller {
            principal: Arc::new(principal),
            remote_address: origin.remote_address,
            request_id: origin.request_id,
        };
        let url = verified.url().to_owned();
        Ok((KeyCaller { key, base_url: origin.base_url, url, caller: Arc::new(caller) }, verified))
    }

    /// Refuses an account that has yet to agree to the terms of service as they are now (RFC 8555, section 7.3.3).
    ///
    /// # Errors
    /// `userActionRequired` with the address of the terms.
    pub fn require_terms(&self, caller: &AcmeCaller) -> Result<()> {
        match &self.settings.terms_of_service {
            Some(terms) if caller.account.record.terms_of_service.as_ref() != Some(terms) => {
                let detail = format!(
                    "the terms of service have changed; read `{terms}`, then update the account with `termsOfServiceAgreed`"
                );
                Err(terms_not_agreed(detail, terms))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses the key of a new account, or a new key of one, whose compromise was reported: others have it, too.
    async fn require_unblocked(&self, key: &AccountKey) -> Result<()> {
        if self.ca.storage.key_is_blocked(&key.public_key().spki_sha256()).await? {
            let detail = "the key is blocked here, because its compromise was reported; make another one";
            return Err(Error::acme(AcmeErrorType::BadPublicKey, detail));
        }
        Ok(())
    }

    /// Verifies a request with the key of an account. When the key of the cache does not fit, another replica may have changed it.
    async fn verify(&self, request: SignedRequest, id: i64) -> Result<(Arc<Account>, VerifiedRequest)> {
        if let Some(account) = self.accounts.find(id)
            && let Ok(verified) = request.clone().verify(account.public_key())
        {
            return Ok((account, verified));
        }
        let account = self.account_of_storage(id).await?;
        let verified = request.verify(account.public_key())?;
        Ok((account, verified))
    }

    async fn account_of_storage(&self, id: i64) -> Result<Arc<Account>> {
        let epoch = self.accounts.epoch();
        let record = self.ca.storage.acme_account(id).await?.ok_or_else(no_such_account)?;
        let account = Arc::new(Account::from_record(record)?);
        self.accounts.entries.insert(id, (epoch, Arc::clone(&account)));
        Ok(account)
    }

    /// Hands on how an action ended, and writes a refusal down: so many for each account, or for each address where there is no account yet.
    /// Anybody can make an account key, and must not fill the audit log with it; all refusals are logged.
    pub(super) async fn audited<T>(
        &self,
        caller: &Caller,
        action: &'static str,
        object: String,
        outcome: Result<T>,
    ) -> Result<T> {
        let error = match outcome {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let who = match caller.remote_address.as_deref().and_then(super::rate_limits::network) {
            Some(network) if caller.principal.name.starts_with("acme-key:") => network,
            Some(_) | None => caller.principal.name.clone(),
        };
        let charges = self.refusal_charge(&who).into_iter().collect();
        if error.kind() == ErrorKind::RateLimited || self.ca.storage.charge_rate_limits(charges).await?.is_some() {
            tracing::info!(
                action,
                object,
                actor = caller.principal.name,
                detail = error.detail(),
                "refused, not audited"
            );
            return Err(error);
        }
        Err(self.ca.record_refusal(caller, action, object, error).await)
    }
}

/// Returns the number of an account by its address.
fn account_number(base_url: &str, kid: &str) -> Result<i64> {
    let number = kid.strip_prefix(base_url).and_then(|path| path.strip_prefix(ACCOUNT_PATH));
    // Written in another way it would be another address.
    number.and_then(row_number).ok_or_else(|| {
        Error::acme(
            AcmeErrorType::AccountDoesNotExist,
            format!(
                "`kid` is not the address of an account; those are written `{base_url}{ACCOUNT_PATH}` and a number"
            ),
        )
    })
}

/// Returns the address of an account.
fn account_url(base_url: &str, id: i64) -> String {
    format!("{base_url}{ACCOUNT_PATH}{id}")
}

fn no_such_account() -> Error {
    Error::acme(AcmeErrorType::AccountDoesNotExist, "there is no account with this address")
}

/// RFC 8555, section 7.3.6: requests by an account that ended are answered with 401.
fn require_valid(status: AcmeAccountStatus) -> Result<()> {
    let why = match status {
        AcmeAccountStatus::Valid => return Ok(()),
        AcmeAccountStatus::Deactivated => "it was deactivated by its holder",
        AcmeAccountStatus::Revoked => "it was ended by the operator of this CA",
    };
    let detail = format!("the account can be used no more: {why}; make another one, with another key");
    Err(Error::new(ErrorKind::Unauthenticated, detail).with_acme_type(AcmeErrorType::Unauthorized))
}

/// RFC 8555, section 7.3.3: the problem names the terms.
fn terms_not_agreed(detail: impl Into<String>, terms: &str) -> Error {
    Error::acme(AcmeErrorType::UserActionRequired, detail).with_acme(crate::error::AcmeError {
        error_type: AcmeErrorType::UserActionRequired,
        subproblems: Vec::new(),
        algorithms: &[],
        location: None,
        link: Some(("terms-of-service", terms.to_owned())),
    })
}

/// Returns the object of audit events about an account.
fn object(id: i64) -> String {
    format!("acme-account:{id}")
}

/// Returns what events say of an account.
fn described(account: &Account) -> serde_json::Value {
    json!({
        "thumbprint": hex::encode(account.record.thumbprint),
        "contacts": account.record.contacts,
        "external_account_key": account.record.external_account_key.as_ref().map(|key| &key.key_id),
    })
}

#[cfg(test)]
mod tests;
