//! External account keys: made, listed and deleted by principals, and the bindings made with them (RFC 8555, section 7.3.4).
//!
//! A key is tied to a principal, a profile and grants: an account bound by it orders as that principal, under that profile, within those
//! grants. Whoever has grants gives no more than these.

mod binding;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use zeroize::Zeroizing;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub(super) use binding::Binding;

use super::Acme;
use crate::auth::permission::{ManageExternalAccountKeys, ReadExternalAccountKeys};
use crate::auth::principal::Role;
use crate::auth::{Authorized, Caller};
use crate::ca::issuance::{IDEMPOTENCY_KEY_LIFETIME, Idempotency, key_reused};
use crate::ca::tokens::sealing_context;
use crate::error::{Error, ErrorKind, Result};
use crate::policy::Grants;
use crate::policy::grants::GrantsDocument;
use crate::storage::{
    AuditOutcome, ExternalAccountKeyRecord, IdempotencyAnswer, IdempotencyClaim, IdempotencyResult,
    NewExternalAccountKey, Recorded,
};
use crate::x509::Timestamp;
use crate::x509::printable;

/// The octets of a MAC key: as many as the longest MAC has, so that it may be used with each of HS256, HS384 and HS512 (RFC 7518, section 3.2).
const KEY_LENGTH: usize = 64;
/// The octets of a key's identifier.
const ID_LENGTH: usize = 16;
/// The most characters of a principal.
const MAXIMUM_PRINCIPAL: usize = 255;

/// A request for an external account key.
#[derive(Clone, Debug)]
pub struct ExternalAccountKeyRequest {
    /// The profile that accounts bound by it may order under.
    pub profile: String,
    /// What they may have signed; what the caller may if absent.
    pub grants: Option<GrantsDocument>,
    /// Whether the binding itself proves control of every name within the grants.
    pub proves_control: bool,
    /// Whether it binds one account only.
    pub single_use: bool,
    /// When it ends to be valid; never if absent.
    pub expires_at: Option<Timestamp>,
    /// The principal that their certificates belong to; the caller if absent.
    pub principal: Option<String>,
    /// The idempotency key.
    pub idempotency: Option<Idempotency>,
}

/// An external account key that was made, with its secret.
#[derive(Clone, Debug)]
pub struct CreatedExternalAccountKey {
    /// The record.
    pub key: ExternalAccountKeyRecord,
    /// The MAC key in base64url, as clients take it; shown this once.
    pub hmac_key: SecretString,
    /// Whether an earlier request with the same idempotency key made it.
    pub replayed: bool,
}

impl Acme {
    /// Makes an external account key.
    ///
    /// # Errors
    /// `Malformed` for an unknown profile, bad grants or principal, or a past expiry; `Forbidden` for what the caller's role or grants do not
    /// admit; `IdempotencyKeyReused`; those of the storage.
    pub async fn create_external_account_key(
        &self,
        authorization: &Authorized<ManageExternalAccountKeys>,
        request: ExternalAccountKeyRequest,
    ) -> Result<CreatedExternalAccountKey> {
        let caller = authorization.caller();
        if let Some(created) = self.replay_external_account_key(caller, request.idempotency.as_ref()).await? {
            return Ok(created);
        }
        let object = format!("profile:{}", printable::text(&request.profile));
        let outcome = match self.store_external_account_key(caller, request.clone()).await {
            // Of two rows of one millisecond with the same random bits the second is refused.
            Err(error) if error.kind() == ErrorKind::Conflict => self.store_external_account_key(caller, request).await,
            outcome => outcome,
        };
        self.ca.audited(caller, "acme_external_account_key.create", object, outcome).await
    }

    /// Lists the keys that are not deleted, newest first, at most `limit` before row `before`; a requester sees its own.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn list_external_account_keys(
        &self,
        authorization: &Authorized<ReadExternalAccountKeys>,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Vec<ExternalAccountKeyRecord>> {
        self.ca.storage.external_account_keys(authorization.owner(), before, limit).await
    }

    /// Reads a key that is not deleted; a requester reads its own.
    ///
    /// # Errors
    /// `NotFound`; those of the storage.
    pub async fn read_external_account_key(
        &self,
        authorization: &Authorized<ReadExternalAccountKeys>,
        key_id: &str,
    ) -> Result<ExternalAccountKeyRecord> {
        let owner = authorization.owner();
        self.find_external_account_key(key_id)
            .await?
            .filter(|key| key.deleted_at.is_none() && owner.is_none_or(|owner| key.principal == owner))
            .ok_or_else(|| no_such_key(key_id))
    }

    /// Deletes a key; accounts bound by it can order no more. A requester deletes its own.
    ///
    /// # Errors
    /// `NotFound`; those of the storage.
    pub async fn delete_external_account_key(
        &self,
        authorization: &Authorized<ManageExternalAccountKeys>,
        key_id: &str,
    ) -> Result<()> {
        const ACTION: &str = "acme_external_account_key.delete";
        let (caller, object) = (authorization.caller(), object(key_id));
        let result = async {
            let event = self.ca.event(caller, ACTION, AuditOutcome::Success, object.clone(), json!({}));
            let deleted = match is_key_id(key_id) {
                true => {
                    let (owner, now) = (authorization.owner(), self.ca.clock.now());
                    self.ca.storage.delete_external_account_key(key_id, owner, now, event).await?
                }
                false => false,
            };
            self.accounts.forget_all();
            if deleted { Ok(()) } else { Err(no_such_key(key_id)) }
        };
        let outcome = result.await;
        self.ca.audited(caller, ACTION, object, outcome).await
    }

    async fn store_external_account_key(
        &self,
        caller: &Caller,
        request: ExternalAccountKeyRequest,
    ) -> Result<CreatedExternalAccountKey> {
        let now = self.ca.clock.now();
        if let Some(expires_at) = request.expires_at.filter(|expires_at| *expires_at <= now) {
            return Err(Error::malformed(format!("the expiry `{expires_at}` is not in the future")));
        }
        let principal = principal_for(caller, request.principal.as_deref())?;
        // Profile and grants may name what another replica made a moment ago.
        self.ca.refresh().await?;
        let grants = self.grants_for(caller, request.grants, &request.profile)?;
        let (key_id, secret) = self.new_secret()?;
        let new = NewExternalAccountKey {
            id: self.new_row()?,
            profile: request.profile,
            principal: principal.to_owned(),
            grants: serde_json::to_string(&grants)
                .map_err(|error| Error::internal("grants could not be encoded").with_source(error))?,
            proves_control: request.proves_control,
            single_use: request.single_use,
            sealed: self.ca.keys.seal(secret.as_slice(), &key_context(&key_id))?,
            created_by: caller.principal.name.clone(),
            created_at: now,
            expires_at: request.expires_at,
            key_id: key_id.clone(),
        };
        let claim = match &request.idempotency {
            Some(idempotency) => Some((
                IdempotencyClaim {
                    caller: caller.principal.name.clone(),
                    key: idempotency.key.clone(),
                    request_sha256: idempotency.request_sha256,
                    expires_at: now + IDEMPOTENCY_KEY_LIFETIME,
                },
                // The answer is put together from the record, which holds the secret sealed already.
                self.ca.keys.seal(key_id.as_bytes(), &sealing_context(&caller.principal.name, &idempotency.key))?,
            )),
            None => None,
        };
        let details = json!({
            "profile": new.profile,
            "principal": new.principal,
            "grants": grants,
            "proves_control": new.proves_control,
            "single_use": new.single_use,
            "expires_at": new.expires_at,
        });
        let event =
            self.ca.event(caller, "acme_external_account_key.create", AuditOutcome::Success, object(&key_id), details);
        let recorded = self.ca.storage.create_external_account_key(new, claim, event).await?;
        match (recorded, &request.idempotency) {
            (Recorded::Committed, _) => self.created_external_account_key(&key_id, false).await,
            (Recorded::Replayed(answer), Some(idempotency)) => {
                self.replayed_external_account_key(caller, &answer, idempotency).await
            }
            (Recorded::Replayed(_), None) => Err(Error::internal("a request without idempotency key was replayed")),
            (Recorded::KeyBlocked | Recorded::OrderTaken, _) => {
                Err(Error::internal("an external account key was refused for what it does not have"))
            }
        }
    }

    /// Returns the grants of a new key: those of a caller that has some, else those that are asked for.
    fn grants_for(&self, caller: &Caller, asked: Option<GrantsDocument>, profile: &str) -> Result<GrantsDocument> {
        let own = &caller.principal.grants;
        let is_restricted = *own.document() != GrantsDocument::default();
        if is_restricted && asked.is_some() {
            return Err(forbidden(
                "a key that you make has exactly your own grants, since you have some; leave out `grants`",
            ));
        }
        let grants = match asked {
            Some(asked) => {
                self.ca.check_grants(&asked)?;
                Grants::compile(asked)?
            }
            None => own.clone(),
        };
        let Some(active) = self.ca.active_profile(profile) else {
            return Err(Error::malformed(format!("`profile`: there is no profile `{}`", printable::text(profile))));
        };
        if !self.is_offered(active.compiled.profile()) {
            let offered = self.directory_profiles(None)?;
            let names: Vec<&str> = offered.iter().map(|(name, _)| name.as_str()).collect();
            return Err(Error::malformed(format!(
                "`profile`: certificates under `{profile}` cannot be had over ACME; those that can are `{}`",
                names.join("`, `")
            )));
        }
        match (grants.allow_profile(profile), is_restricted) {
            (true, _) => Ok(grants.document().clone()),
            (false, true) => Err(forbidden(&format!("your grants do not admit the profile `{profile}`"))),
            (false, false) => Err(Error::malformed(format!(
                "`grants.profiles` does not name the profile `{profile}`, so the key could be used for nothing"
            ))),
        }
    }

    fn new_secret(&self) -> Result<(String, Zeroizing<[u8; KEY_LENGTH]>)> {
        let mut id = [0; ID_LENGTH];
        self.ca.random.fill(&mut id)?;
        let mut secret = Zeroizing::new([0; KEY_LENGTH]);
        self.ca.random.fill(secret.as_mut_slice())?;
        // In base64url it must not begin with `-`, which command lines take for an option. One bit of 512 is given for that.
        let [first, ..] = &mut *secret;
        *first &= 0x7f;
        Ok((hex::encode(id), secret))
    }

    async fn replay_external_account_key(
        &self,
        caller: &Caller,
        idempotency: Option<&Idempotency>,
    ) -> Result<Option<CreatedExternalAccountKey>> {
        let Some(idempotency) = idempotency else { return Ok(None) };
        let now = self.ca.clock.now();
        match self.ca.storage.idempotent_answer(&caller.principal.name, &idempotency.key, now).await? {
            Some(answer) => self.replayed_external_account_key(caller, &answer, idempotency).await.map(Some),
            None => Ok(None),
        }
    }

    async fn replayed_external_account_key(
        &self,
        caller: &Caller,
        answer: &IdempotencyAnswer,
        idempotency: &Idempotency,
    ) -> Result<CreatedExternalAccountKey> {
        match &answer.result {
            IdempotencyResult::Sealed(sealed) if answer.request_sha256 == idempotency.request_sha256 => {
                let context = sealing_context(&caller.principal.name, &idempotency.key);
                let key_id = self.ca.keys.unseal(sealed, &context)?;
                let key_id = std::str::from_utf8(&key_id)
                    .map_err(|error| Error::internal("a sealed key id is not text").with_source(error))?;
                self.created_external_account_key(key_id, true).await
            }
            IdempotencyResult::Sealed(_) | IdempotencyResult::Certificate(_) => Err(key_reused(&idempotency.key)),
        }
    }

    async fn created_external_account_key(&self, key_id: &str, replayed: bool) -> Result<CreatedExternalAccountKey> {
        let key = self.ca.storage.external_account_key(key_id).await?;
        let key = key.ok_or_else(|| Error::internal("an external account key that was made is not in the database"))?;
        let secret = self.hmac_key(&key)?;
        let hmac_key = SecretString::from(URL_SAFE_NO_PAD.encode(secret.as_slice()));
        debug_assert!(!hmac_key.expose_secret().starts_with('-'), "command lines take it for an option");
        Ok(CreatedExternalAccountKey { key, hmac_key, replayed })
    }

    /// Finds a key, deleted and expired ones too. What cannot be an identifier is no question for the database.
    async fn find_external_account_key(&self, key_id: &str) -> Result<Option<ExternalAccountKeyRecord>> {
        if is_key_id(key_id) { self.ca.storage.external_account_key(key_id).await } else { Ok(None) }
    }

    fn hmac_key(&self, key: &ExternalAccountKeyRecord) -> Result<Zeroizing<Vec<u8>>> {
        self.ca.keys.unseal(&key.sealed, &key_context(&key.key_id))
    }
}

/// Compiles stored grants.
///
/// # Errors
/// `Internal` when they are not what this version wrote: an error in the path of authorisation never widens it.
pub(super) fn compiled_grants(document: &str) -> Result<Grants> {
    let read = || -> Result<Grants> {
        let document: GrantsDocument = serde_json::from_str(document)
            .map_err(|error| Error::malformed("the grants are not a grants document").with_source(error))?;
        Grants::compile(document)
    };
    read().map_err(|error| {
        Error::internal("the stored grants of an external account key cannot be read").with_source(error)
    })
}

/// Binds a sealed MAC key to its identifier, so that rows cannot be swapped.
pub(in crate::ca) fn key_context(key_id: &str) -> String {
    format!("acme-external-account-key:{key_id}")
}

/// Returns the principal of a new key: the caller, unless it may make keys for others.
fn principal_for<'a>(caller: &'a Caller, asked: Option<&'a str>) -> Result<&'a str> {
    let own = caller.principal.name.as_str();
    let Some(asked) = asked.filter(|asked| *asked != own) else { return Ok(own) };
    let is_restricted = *caller.principal.grants.document() != GrantsDocument::default();
    let may = match caller.principal.role {
        Role::Administrator | Role::Operator => !is_restricted,
        Role::Requester | Role::Auditor => false,
    };
    if !may {
        return Err(forbidden(
            "only administrators and operators without grants make keys for others; leave out `principal`",
        ));
    }
    let is_name = (1..=MAXIMUM_PRINCIPAL).contains(&asked.chars().count())
        && !asked.chars().any(|c| c.is_control() || c.is_whitespace());
    if !is_name {
        return Err(Error::malformed(format!(
            "`principal` is not the name of a principal: 1 to {MAXIMUM_PRINCIPAL} characters without spaces, such as `token:deploy`"
        )));
    }
    // The service's own name, and those of accounts without a binding, stand for nobody who asks here.
    if asked == "system" || ["acme:", "acme-key:"].iter().any(|prefix| asked.starts_with(prefix)) {
        return Err(Error::malformed(format!(
            "`principal`: `{}` is a name that this service gives out itself",
            printable::text(asked)
        )));
    }
    Ok(asked)
}

fn is_key_id(text: &str) -> bool {
    text.len() == 2 * ID_LENGTH && text.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'))
}

fn object(key_id: &str) -> String {
    format!("acme-external-account-key:{key_id}")
}

fn no_such_key(key_id: &str) -> Error {
    Error::not_found(format!("there is no external account key `{}`", printable::text(key_id)))
}

fn forbidden(detail: &str) -> Error {
    Error::new(ErrorKind::Forbidden, detail)
}

#[cfg(test)]
mod tests;
