//! The client's word that it has answered a challenge (RFC 8555, section 7.5.1).

use std::sync::Arc;

use super::{AuthorizationStatus, AuthorizationView};
use crate::ca::acme::{Acme, AcmeCaller};
use crate::error::{Error, Result};
use crate::policy::acme::ChallengeType;
use crate::storage::{RateLimited, StartValidation};

/// The most challenges of one account that wait for a look or are looked at, however few identifiers an order may have.
const MOST_PROCESSING: u32 = 64;
/// After how many milliseconds to answer more, when so many are looked at.
const PROCESSING_WAIT_MS: i64 = 5000;

impl Acme {
    /// Returns how many challenges of one account may be looked at: those of two orders of the largest kind, so that a client can answer all
    /// of one at once.
    fn most_processing(&self) -> u32 {
        u32::try_from(self.settings.maximum_identifiers).unwrap_or(u32::MAX).saturating_mul(2).max(MOST_PROCESSING)
    }

    /// Takes the client's word that it has answered a challenge, and has it looked at. Once: while it is looked at, and when the authorization is
    /// valid, nothing changes.
    ///
    /// # Errors
    /// `NotFound`; `malformed` for a challenge that is not offered and an authorization that ended; `rateLimited`; those of the storage.
    pub async fn respond(
        self: &Arc<Self>,
        caller: &AcmeCaller,
        id: i64,
        challenge: ChallengeType,
    ) -> Result<AuthorizationView> {
        let view = self.authorization(caller, id).await?;
        if !is_open(&view, challenge)? {
            return Ok(view);
        }
        let account = caller.account();
        let limit = self.failed_validation_charge(account, &view.record.identifier);
        // Whoever answers is looked at at once if there is room; if not, the lease has ended as soon as it begins, and whichever replica has room
        // first takes it up.
        let place = self.scheduling.place();
        let now_ms = self.ca.clock.unix_milliseconds();
        let start = StartValidation {
            id,
            account_id: account.record.id,
            challenge,
            // Of the key that signed this request: after a change of keys it is the new one.
            thumbprint: account.record.thumbprint,
            account_url: caller.account_url(),
            holder: self.ca.instance.clone(),
            now_ms,
            lease_until_ms: now_ms.saturating_add(self.lease_ms(place.as_ref())),
            limit: limit.clone(),
            most_processing: self.most_processing(),
        };
        let lease_until_ms = start.lease_until_ms;
        match self.ca.storage.start_validation(start).await? {
            Some(record) => {
                if let Some(place) = place {
                    self.look(record.clone(), place, lease_until_ms);
                }
                Ok(self.authorization_view(record))
            }
            // A limit is used up, somebody else was first, or the account ended meanwhile.
            None => {
                if let Some(limited) = self.ca.storage.check_rate_limits(limit.into_iter().collect()).await? {
                    return Err(self.rate_limited(&limited));
                }
                let view = self.authorization(caller, id).await?;
                if is_open(&view, challenge)? {
                    let most = self.most_processing();
                    if self.ca.storage.processing_validations(account.record.id, most).await? >= most {
                        let retry_at_ms = now_ms.saturating_add(PROCESSING_WAIT_MS);
                        return Err(self.rate_limited(&RateLimited { limit: "processing_challenges", retry_at_ms }));
                    }
                    return Err(Error::malformed(
                        "the account is not valid any more, so that its challenges are not looked at",
                    ));
                }
                Ok(view)
            }
        }
    }
}

/// Whether the challenge can be answered now; `false` when it was already, and nothing is to be done.
fn is_open(view: &AuthorizationView, challenge: ChallengeType) -> Result<bool> {
    let has_it = view.challenges.iter().any(|offered| offered.challenge_type == challenge);
    match view.status {
        AuthorizationStatus::Pending | AuthorizationStatus::Valid if !has_it => {
            let others: Vec<String> =
                view.challenges.iter().map(|offered| format!("`{}`", offered.challenge_type)).collect();
            let others = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
            Err(Error::malformed(format!(
                "the challenge `{challenge}` cannot be answered (any more); there are: {others}"
            )))
        }
        AuthorizationStatus::Pending => Ok(view.record.challenge.is_none()),
        AuthorizationStatus::Valid => Ok(false),
        AuthorizationStatus::Invalid | AuthorizationStatus::Deactivated | AuthorizationStatus::Expired => {
            Err(Error::malformed(
                "the authorization has ended, so that its challenges cannot be answered any more; make a new order",
            ))
        }
    }
}
