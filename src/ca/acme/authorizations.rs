//! Authorizations (RFC 8555, section 7.5): as clients see them, read, made ahead of orders, deactivated. How challenges are answered is in
//! `authorizations/answering.rs`.

mod answering;

use serde::{Deserialize, Serialize};

use super::orders::{recorded_authorization, subproblem};
use super::{Acme, AcmeCaller};
use crate::error::{AcmeErrorType, Error, ErrorKind, Result};
use crate::policy::acme::ChallengeType;
use crate::policy::acme::identifier::WrittenIdentifier;
use crate::storage::{
    AcmeAuthorizationRecord, AcmeAuthorizationStatus, AcmeChallengeState, AcmeOrderCreated, AcmeProblem,
};
use crate::x509::Timestamp;

/// The status of an authorization as clients see it (RFC 8555, section 7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthorizationStatus {
    /// Control has yet to be proven.
    Pending,
    /// Control was proven.
    Valid,
    /// The proof failed, or never came.
    Invalid,
    /// Its account does not want it any more.
    Deactivated,
    /// Control was proven, and would have to be again.
    Expired,
}

/// The status of a challenge as clients see it (RFC 8555, section 7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChallengeStatus {
    /// It was not answered.
    Pending,
    /// It was answered, and is being looked at.
    Processing,
    /// It was met.
    Valid,
    /// It was not met.
    Invalid,
}

/// An authorization as of a moment.
#[derive(Clone, Debug)]
pub struct AuthorizationView {
    /// The record.
    pub record: AcmeAuthorizationRecord,
    /// The status.
    pub status: AuthorizationStatus,
    /// The challenges that can be answered; after one was, that one; none where an external account binding proves control.
    pub challenges: Vec<ChallengeView>,
    /// The seconds after which to look again, while a challenge is looked at.
    pub retry_after: Option<u32>,
}

/// A challenge of an authorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengeView {
    /// The kind.
    pub challenge_type: ChallengeType,
    /// The status.
    pub status: ChallengeStatus,
    /// The token. dns-persist-01 does without, but clients that do not know it look for one in every challenge.
    pub token: String,
    /// The names that dns-persist-01 records may know this CA by; of other challenges empty.
    pub issuer_domain_names: Vec<String>,
    /// When it was met.
    pub validated: Option<Timestamp>,
    /// Why it is not met, so far or for good.
    pub error: Option<AcmeProblem>,
}

impl AuthorizationView {
    /// Returns the challenge of a kind.
    ///
    /// # Errors
    /// `NotFound` when the authorization has none.
    pub fn challenge(&self, challenge: ChallengeType) -> Result<&ChallengeView> {
        let found = self.challenges.iter().find(|offered| offered.challenge_type == challenge);
        found.ok_or_else(|| Error::not_found(format!("this authorization has no challenge `{challenge}`")))
    }
}

/// Tells the status of an authorization at a moment.
#[must_use]
pub fn status(record: &AcmeAuthorizationRecord, now: Timestamp) -> AuthorizationStatus {
    let has_ended = record.expires_at <= now;
    match record.status {
        // What ended before it was proven never became anything (RFC 8555, section 7.1.6: only what is valid expires).
        AcmeAuthorizationStatus::Pending if has_ended => AuthorizationStatus::Invalid,
        AcmeAuthorizationStatus::Pending => AuthorizationStatus::Pending,
        AcmeAuthorizationStatus::Valid if has_ended => AuthorizationStatus::Expired,
        AcmeAuthorizationStatus::Valid => AuthorizationStatus::Valid,
        AcmeAuthorizationStatus::Invalid => AuthorizationStatus::Invalid,
        AcmeAuthorizationStatus::Deactivated => AuthorizationStatus::Deactivated,
    }
}

impl Acme {
    /// Looks at an authorization as of now.
    #[must_use]
    pub fn authorization_view(&self, record: AcmeAuthorizationRecord) -> AuthorizationView {
        let status = status(&record, self.ca.clock.now());
        let challenges = match record.challenge {
            // What is no longer waited for will not be looked at again.
            Some((challenge, AcmeChallengeState::Processing)) if status != AuthorizationStatus::Pending => {
                vec![self.answered(&record, challenge, AcmeChallengeState::Invalid)]
            }
            Some((challenge, state)) => vec![self.answered(&record, challenge, state)],
            None => {
                let open = if status == AuthorizationStatus::Pending { self.offered(&record) } else { Vec::new() };
                open.into_iter().map(|challenge| self.unanswered(&record, challenge)).collect()
            }
        };
        let retry_after = match (status, record.challenge) {
            (AuthorizationStatus::Pending, Some((_, AcmeChallengeState::Processing))) => Some(self.wait(&record)),
            _ => None,
        };
        AuthorizationView { record, status, challenges, retry_after }
    }

    /// Returns the kinds of challenges that an authorization can be proven by.
    pub(super) fn offered(&self, record: &AcmeAuthorizationRecord) -> Vec<ChallengeType> {
        let is_offered = |challenge: &ChallengeType| {
            let is_possible = match challenge {
                ChallengeType::DnsPersist01 => !self.settings.issuer_domain_names.is_empty(),
                ChallengeType::Http01
                | ChallengeType::Dns01
                | ChallengeType::TlsAlpn01
                | ChallengeType::DnsAccount01 => true,
            };
            is_possible && challenge.proves(&record.identifier)
        };
        self.settings.challenges.iter().copied().filter(is_offered).collect()
    }

    fn unanswered(&self, record: &AcmeAuthorizationRecord, challenge: ChallengeType) -> ChallengeView {
        let is_persistent = challenge == ChallengeType::DnsPersist01;
        ChallengeView {
            challenge_type: challenge,
            status: ChallengeStatus::Pending,
            token: record.token.clone(),
            issuer_domain_names: if is_persistent { self.settings.issuer_domain_names.clone() } else { Vec::new() },
            validated: None,
            error: None,
        }
    }

    fn answered(
        &self,
        record: &AcmeAuthorizationRecord,
        challenge: ChallengeType,
        state: AcmeChallengeState,
    ) -> ChallengeView {
        let status = match state {
            AcmeChallengeState::Processing => ChallengeStatus::Processing,
            AcmeChallengeState::Valid => ChallengeStatus::Valid,
            AcmeChallengeState::Invalid => ChallengeStatus::Invalid,
        };
        let validated = record.validated_at.filter(|_moment| status == ChallengeStatus::Valid);
        let error = record.error.clone().filter(|_error| status != ChallengeStatus::Valid);
        ChallengeView { status, validated, error, ..self.unanswered(record, challenge) }
    }

    /// Returns the seconds until the next look is over, or nearly.
    fn wait(&self, record: &AcmeAuthorizationRecord) -> u32 {
        let until = record.next_attempt_at_ms.map_or(0, |next| next.saturating_sub(self.ca.clock.unix_milliseconds()));
        u32::try_from(until.max(0) / 1000).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Reads an authorization of the caller's account.
    ///
    /// # Errors
    /// `NotFound` (the same for what is not there and what is another account's); those of the storage.
    pub async fn authorization(&self, caller: &AcmeCaller, id: i64) -> Result<AuthorizationView> {
        let record = self.ca.storage.acme_authorization(id, Some(caller.account().record.id)).await?;
        record.map(|record| self.authorization_view(record)).ok_or_else(no_authorization)
    }

    /// Makes an authorization ahead of an order (RFC 8555, section 7.4.1); answers the valid one if there is one, with `false`.
    ///
    /// # Errors
    /// As for orders; `rejectedIdentifier` for a wildcard, which only orders can ask for.
    pub async fn new_authorization(
        &self,
        caller: &AcmeCaller,
        directory: Option<&str>,
        identifier: WrittenIdentifier,
    ) -> Result<(AuthorizationView, bool)> {
        let outcome = self.make_authorization(caller, directory, identifier).await;
        self.judged(caller, "acme.authorization", outcome).await
    }

    async fn make_authorization(
        &self,
        caller: &AcmeCaller,
        directory: Option<&str>,
        written: WrittenIdentifier,
    ) -> Result<(AuthorizationView, bool)> {
        let account = caller.account();
        let scope = self.order_scope(caller, directory, None)?;
        let rules = self.order_rules(account, &scope);
        let identifier = match <[_; 1]>::try_from(rules.identifiers(std::slice::from_ref(&written))?) {
            Ok([identifier]) => identifier,
            Err(_other) => return Err(Error::internal("one identifier was read as several")),
        };
        if identifier.is_wildcard() {
            return Err(Error::acme(
                AcmeErrorType::RejectedIdentifier,
                format!(
                    "the wildcard `{identifier}` cannot be authorized ahead of an order (RFC 8555, section 7.4.1); order it"
                ),
            ));
        }
        let now = self.ca.clock.now();
        let until = now + self.settings.order_lifetime;
        let proven = self.reusable(account, std::slice::from_ref(&identifier), until).await?;
        if let Some(record) = proven.into_iter().next() {
            return Ok((self.authorization_view(record), false));
        }
        let mut again = true;
        loop {
            let new = self.draft_authorization(account, &identifier, now, self.settings.order_lifetime)?;
            let record = recorded_authorization(&new);
            let charges = self.order_charges(caller, 1);
            match self.ca.storage.create_acme_authorization(new, charges).await {
                Ok(AcmeOrderCreated::Created) => return Ok((self.authorization_view(record), true)),
                Ok(other) => return Err(self.not_created(other)),
                Err(error) if error.kind() == ErrorKind::Conflict && again => again = false,
                Err(error) => return Err(error),
            }
        }
    }

    /// Deactivates an authorization (RFC 8555, section 7.5.2).
    ///
    /// # Errors
    /// `NotFound`; `malformed` for one that is neither pending nor valid; those of the storage.
    pub async fn deactivate_authorization(&self, caller: &AcmeCaller, id: i64) -> Result<AuthorizationView> {
        let mut view = self.authorization(caller, id).await?;
        let identifier = &view.record.identifier;
        let token = AcmeErrorType::Unauthorized.token().to_owned();
        let detail = format!("the authorization for `{identifier}` was deactivated");
        let error = AcmeProblem {
            error_type: token.clone(),
            detail: detail.clone(),
            subproblems: vec![subproblem(identifier, token, detail)],
        };
        let account = caller.account().record.id;
        let has_ended = match view.status {
            AuthorizationStatus::Pending | AuthorizationStatus::Valid => false,
            AuthorizationStatus::Invalid | AuthorizationStatus::Deactivated | AuthorizationStatus::Expired => true,
        };
        if has_ended || !self.ca.storage.deactivate_acme_authorization(id, account, &error).await? {
            return Err(Error::malformed(
                "the authorization has ended already; only one that is pending or valid can be deactivated",
            ));
        }
        view.record.status = AcmeAuthorizationStatus::Deactivated;
        Ok(self.authorization_view(view.record))
    }
}

/// Makes the error for an authorization that does not exist or is another account's: the same for both, so that nobody can tell them apart.
pub(super) fn no_authorization() -> Error {
    Error::not_found("there is no such authorization of this account")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests;
