//! API tokens: made here, shown once, stored as a digest.

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::CertificateAuthority;
use super::issuance::{IDEMPOTENCY_KEY_LIFETIME, Idempotency, key_reused};
use crate::auth::permission::{ManageTokens, ReadTokens};
use crate::auth::{Authorized, Caller, Role, api_token};
use crate::error::{Error, Result};
use crate::policy::Grants;
use crate::policy::grants::GrantsDocument;
use crate::storage::{
    AuditOutcome, IdempotencyAnswer, IdempotencyClaim, IdempotencyResult, NewToken, Recorded, TokenRecord,
};
use crate::x509::Timestamp;

/// A request for a token.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The name: 1 to 63 of `a-z`, `0-9`, `-`, `_`, `.`.
    pub name: String,
    /// The role.
    pub role: Role,
    /// The grants.
    pub grants: GrantsDocument,
    /// When it ends to be valid; never if absent.
    pub expires_at: Option<Timestamp>,
    /// The idempotency key.
    pub idempotency: Option<Idempotency>,
}

/// A token that was made, with its secret.
#[derive(Clone, Debug)]
pub struct CreatedToken {
    /// The record.
    pub token: TokenRecord,
    /// The secret, `chy_` and 43 characters of base64url; shown this once.
    pub secret: SecretString,
    /// Whether an earlier request with the same idempotency key made it.
    pub replayed: bool,
}

impl CertificateAuthority {
    /// Makes a token.
    ///
    /// # Errors
    /// `Malformed` for a bad name, grant or a past expiry; `Conflict` when the name is taken.
    pub async fn create_token(
        &self,
        authorization: &Authorized<ManageTokens>,
        request: TokenRequest,
    ) -> Result<CreatedToken> {
        let caller = authorization.caller();
        if let Some(created) = self.replay_token(caller, request.idempotency.as_ref()).await? {
            return Ok(created);
        }
        let object = format!("token:{}", request.name);
        let outcome = self.store_token(caller, request).await;
        self.audited(caller, "token.create", object, outcome).await
    }

    /// Lists tokens, newest first, at most `limit` before row `before`.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn tokens(
        &self,
        _authorization: &Authorized<ReadTokens>,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Vec<TokenRecord>> {
        self.storage.tokens(before, limit).await
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// `NotFound` when there is none that is not revoked.
    pub async fn revoke_token(&self, authorization: &Authorized<ManageTokens>, id: &str) -> Result<TokenRecord> {
        let (caller, object) = (authorization.caller(), format!("token:{id}"));
        let result = async {
            let event = self.event(caller, "token.revoke", AuditOutcome::Success, object.clone(), json!({ "id": id }));
            // An id is hex; anything else is none, and not a question for the database.
            let revoked = match id.chars().all(|c| c.is_ascii_hexdigit()) {
                true => self.storage.revoke_token(id, self.clock.now(), event).await?,
                false => None,
            };
            revoked.ok_or_else(|| {
                let id = id.escape_default();
                Error::not_found(format!("there is no token with the id `{id}` that is not revoked"))
            })
        };
        let outcome = result.await;
        self.audited(caller, "token.revoke", object, outcome).await
    }

    async fn store_token(&self, caller: &Caller, request: TokenRequest) -> Result<CreatedToken> {
        let now = self.clock.now();
        check_request(&request, now)?;
        // The grants may name an issuer or a profile that another replica made a moment ago.
        self.refresh().await?;
        self.check_grants(&request.grants)?;
        let secret = api_token::generate(self.random.as_ref())?;
        let token = self.new_token(caller, &request, &secret, now)?;
        let claim = match &request.idempotency {
            Some(idempotency) => Some((
                IdempotencyClaim {
                    caller: caller.principal.name.clone(),
                    key: idempotency.key.clone(),
                    request_sha256: idempotency.request_sha256,
                    expires_at: now + IDEMPOTENCY_KEY_LIFETIME,
                },
                self.keys.seal(
                    secret.expose_secret().as_bytes(),
                    &sealing_context(&caller.principal.name, &idempotency.key),
                )?,
            )),
            None => None,
        };
        let details =
            json!({ "id": token.id, "role": request.role, "grants": request.grants, "expires_at": request.expires_at });
        let event =
            self.event(caller, "token.create", AuditOutcome::Success, format!("token:{}", request.name), details);
        match (self.storage.create_token(token, claim, event).await?, &request.idempotency) {
            (Recorded::Committed, _) => self.created_token(secret, false).await,
            (Recorded::Replayed(answer), Some(idempotency)) => self.replayed_token(caller, &answer, idempotency).await,
            (Recorded::Replayed(_), None) => Err(Error::internal("a request without idempotency key was replayed")),
            (Recorded::KeyBlocked | Recorded::OrderTaken, _) => {
                Err(Error::internal("a token was refused for a key that it does not have"))
            }
        }
    }

    /// Refuses grants for what does not exist: a misspelt name would grant nothing, or later something else.
    pub(super) fn check_grants(&self, grants: &GrantsDocument) -> Result<()> {
        if let Some(name) = grants.profiles.iter().flatten().find(|name| self.active_profile(name).is_none()) {
            return Err(Error::malformed(format!("`grants.profiles`: there is no profile `{}`", name.escape_debug())));
        }
        let issuers = self.issuers();
        if let Some(name) = grants.issuers.iter().flatten().find(|name| issuers.by_name(name).is_none()) {
            return Err(Error::malformed(format!("`grants.issuers`: there is no issuer `{}`", name.escape_debug())));
        }
        Ok(())
    }

    async fn replay_token(&self, caller: &Caller, idempotency: Option<&Idempotency>) -> Result<Option<CreatedToken>> {
        let Some(idempotency) = idempotency else { return Ok(None) };
        let now = self.clock.now();
        match self.storage.idempotent_answer(&caller.principal.name, &idempotency.key, now).await? {
            Some(answer) => self.replayed_token(caller, &answer, idempotency).await.map(Some),
            None => Ok(None),
        }
    }

    async fn replayed_token(
        &self,
        caller: &Caller,
        answer: &IdempotencyAnswer,
        idempotency: &Idempotency,
    ) -> Result<CreatedToken> {
        match &answer.result {
            IdempotencyResult::Sealed(sealed) if answer.request_sha256 == idempotency.request_sha256 => {
                let secret = self.keys.unseal(sealed, &sealing_context(&caller.principal.name, &idempotency.key))?;
                let secret = std::str::from_utf8(&secret)
                    .map_err(|error| Error::internal("a sealed token is not text").with_source(error))?;
                self.created_token(SecretString::from(secret), true).await
            }
            IdempotencyResult::Sealed(_) | IdempotencyResult::Certificate(_) => Err(key_reused(&idempotency.key)),
        }
    }

    async fn created_token(&self, secret: SecretString, replayed: bool) -> Result<CreatedToken> {
        let token = self.storage.token_by_secret(&api_token::digest(&secret)).await?;
        let token = token.ok_or_else(|| Error::internal("a token that was just made is not in the database"))?;
        Ok(CreatedToken { token, secret, replayed })
    }

    fn new_token(
        &self,
        caller: &Caller,
        request: &TokenRequest,
        secret: &SecretString,
        now: Timestamp,
    ) -> Result<NewToken> {
        let mut id = [0; 8];
        self.random.fill(&mut id)?;
        Ok(NewToken {
            id: hex::encode(id),
            name: request.name.clone(),
            secret_sha256: api_token::digest(secret),
            role: request.role.as_str().to_owned(),
            grants: serde_json::to_string(&request.grants)
                .map_err(|error| Error::internal("grants could not be encoded").with_source(error))?,
            created_at: now,
            created_by: caller.principal.name.clone(),
            expires_at: request.expires_at,
        })
    }
}

fn check_request(request: &TokenRequest, now: Timestamp) -> Result<()> {
    let name_is_well_formed = (1..=63).contains(&request.name.len())
        && request.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
    if !name_is_well_formed {
        return Err(Error::malformed(format!(
            "the token name `{}` is not 1 to 63 of `a-z 0-9 - _ .`",
            request.name.escape_debug()
        )));
    }
    if let Some(expires_at) = request.expires_at.filter(|expires_at| *expires_at <= now) {
        return Err(Error::malformed(format!("the expiry `{expires_at}` is not in the future")));
    }
    Grants::compile(request.grants.clone()).map(|_compiled| ())
}

/// Binds a sealed secret to whoever may ask for it again.
pub(super) fn sealing_context(caller: &str, key: &str) -> String {
    format!("idempotency:{caller}:{key}")
}
