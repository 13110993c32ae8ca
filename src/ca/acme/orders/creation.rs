//! New orders (RFC 8555, section 7.4): judged before anything is proven, so that clients do no work in vain.

use std::time::Duration;

use super::{NewOrderRequest, OrderView};
use crate::ca::acme::rate_limits::EXEMPT;
use crate::ca::acme::{Account, Acme, AcmeCaller};
use crate::error::{AcmeErrorType, Error, ErrorKind, Result};
use crate::policy::acme::Identifier;
use crate::policy::acme::order;
use crate::storage::{
    AcmeAuthorizationRecord, AcmeAuthorizationStatus, AcmeOrderCreated, AcmeOrderRecord, AcmeOrderStatus,
    NewAcmeAuthorization, NewAcmeOrder, OrderAuthorization, RateLimitCharge,
};
use crate::x509::Timestamp;

/// The most characters of a certificate identifier (RFC 9773, section 4.1): two numbers of at most 20 octets or so in base64url.
const MAXIMUM_REPLACES: usize = 255;

/// After how many seconds an account with too many pending orders may try again.
const PENDING_RETRY: u32 = 60;

/// What a new order is made of, judged.
struct Draft {
    profile: String,
    identifiers: Vec<Identifier>,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
    replaces: Option<String>,
    /// What the limits count.
    charges: Vec<RateLimitCharge>,
    /// What is counted instead for a renewal in time, as long as there are few of them.
    exempt: Option<RateLimitCharge>,
}

impl Acme {
    /// Makes an order in a directory: that of a profile, or the default one.
    ///
    /// # Errors
    /// `malformed`, `unsupportedIdentifier`, `rejectedIdentifier` with subproblems, `invalidProfile`, `rateLimited`, `alreadyReplaced`,
    /// `unauthorized` outside what the account's binding admits, `externalAccountRequired`, `userActionRequired`; `NotFound` for a directory that is
    /// none; those of the storage.
    pub async fn new_order(
        &self,
        caller: &AcmeCaller,
        directory: Option<&str>,
        request: NewOrderRequest,
    ) -> Result<OrderView> {
        let outcome = match self.draft(caller, directory, request).await {
            Ok(draft) => self.create_order(caller.account(), draft).await,
            Err(error) => Err(error),
        };
        let view = self.judged(caller, "acme.order", outcome).await?;
        let profile = view.record.profile.clone();
        metrics::counter!("chancery_acme_orders_total", "profile" => profile).increment(1);
        Ok(view)
    }

    /// Hands on how a request of an account ended. What policy or rights refused is written down; what was merely written badly is not worth it.
    pub(in crate::ca::acme) async fn judged<T>(
        &self,
        caller: &AcmeCaller,
        action: &'static str,
        outcome: Result<T>,
    ) -> Result<T> {
        let is_of_policy = outcome.as_ref().err().is_some_and(|error| match error.kind() {
            ErrorKind::Forbidden | ErrorKind::PolicyViolation => true,
            _ => ["rejectedIdentifier", "invalidProfile", "compound"].contains(&error.acme_token()),
        });
        if !is_of_policy {
            return outcome;
        }
        let object = format!("acme-account:{}", caller.account().record.id);
        self.audited(caller.caller(), action, object, outcome).await
    }

    async fn draft(&self, caller: &AcmeCaller, directory: Option<&str>, request: NewOrderRequest) -> Result<Draft> {
        let account = caller.account();
        let scope = self.order_scope(caller, directory, request.profile.as_deref())?;
        let rules = self.order_rules(account, &scope);
        let identifiers = rules.identifiers(&request.identifiers)?;
        let not_before = moment("notBefore", request.not_before.as_deref())?;
        let not_after = moment("notAfter", request.not_after.as_deref())?;
        rules.validity(&order::adjustments(&identifiers, not_before, not_after), self.ca.clock.now())?;
        let is_renewal = match &request.replaces {
            Some(replaces) if replaces.len() > MAXIMUM_REPLACES => {
                return Err(Error::malformed("`replaces` is no certificate identifier (RFC 9773, section 4.1)"));
            }
            Some(replaces) => self.check_replacement(account, replaces, &identifiers).await?.exempt,
            None => false,
        };
        let replaces = request.replaces;
        // Who renews when told to is not held up (RFC 9773, section 5).
        let exempt = replaces.as_deref().filter(|_| is_renewal).and_then(|replaces| self.replacement_charge(replaces));
        let mut charges = self.order_charges(caller, identifiers.len());
        charges.extend(self.certificate_charge(account, &identifiers));
        let profile = scope.profile.record.name.clone();
        Ok(Draft { profile, identifiers, not_before, not_after, replaces, charges, exempt })
    }

    async fn create_order(&self, account: &Account, mut draft: Draft) -> Result<OrderView> {
        let now = self.ca.clock.now();
        let expires_at = now + self.settings.order_lifetime;
        let mut again = true;
        loop {
            let proven = self.reusable(account, &draft.identifiers, expires_at).await?;
            let (order, authorizations) = self.numbered(account, &draft, &proven, now, expires_at)?;
            let view = OrderView::at(recorded(&order), authorizations, now);
            let charges = draft.exempt.clone().map_or_else(|| draft.charges.clone(), |exempt| vec![exempt]);
            match self.ca.storage.create_acme_order(order, charges).await {
                Ok(AcmeOrderCreated::Created) => return Ok(view),
                // Too many orders in place of one certificate: the limits count them as any other.
                Ok(AcmeOrderCreated::RateLimited(limited)) if limited.limit == EXEMPT => draft.exempt = None,
                Ok(other) => return Err(self.not_created(other)),
                // A row number that is taken already, once in four million times at the same millisecond; or an authorization that was to be used
                // ended meanwhile.
                Err(error) if error.kind() == ErrorKind::Conflict && again => again = false,
                Err(error) => return Err(error),
            }
        }
    }

    /// Finds what the account has proven already and for long enough. What a binding proves is proven anew each time.
    pub(in crate::ca::acme) async fn reusable(
        &self,
        account: &Account,
        identifiers: &[Identifier],
        until: Timestamp,
    ) -> Result<Vec<AcmeAuthorizationRecord>> {
        if binding_proves_control(account) {
            return Ok(Vec::new());
        }
        self.ca.storage.valid_acme_authorizations(account.record.id, identifiers, until).await
    }

    /// Gives an order its row and each identifier its authorization, and returns them as they will be read.
    fn numbered(
        &self,
        account: &Account,
        draft: &Draft,
        proven: &[AcmeAuthorizationRecord],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(NewAcmeOrder, Vec<AcmeAuthorizationRecord>)> {
        let mut links = Vec::with_capacity(draft.identifiers.len());
        let mut authorizations = Vec::with_capacity(draft.identifiers.len());
        for identifier in &draft.identifiers {
            // A name that was proven is not its wildcard, nor the other way round: identifiers tell them apart.
            match proven.iter().find(|record| record.identifier == *identifier) {
                Some(record) => {
                    links.push(OrderAuthorization::Existing(record.id));
                    authorizations.push(record.clone());
                }
                None => {
                    let new = self.draft_authorization(account, identifier, now, self.settings.order_lifetime)?;
                    authorizations.push(recorded_authorization(&new));
                    links.push(OrderAuthorization::New(new));
                }
            }
        }
        let order = NewAcmeOrder {
            id: self.new_row()?,
            account_id: account.record.id,
            profile: draft.profile.clone(),
            identifiers: draft.identifiers.clone(),
            not_before: draft.not_before,
            not_after: draft.not_after,
            replaces: draft.replaces.clone(),
            created_at: now,
            expires_at,
            maximum_pending: self.settings.maximum_pending_orders,
            authorizations: links,
        };
        Ok((order, authorizations))
    }

    /// Makes an authorization, born valid when the account's binding proves control: the name has been judged by its grants.
    pub(in crate::ca::acme) fn draft_authorization(
        &self,
        account: &Account,
        identifier: &Identifier,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<NewAcmeAuthorization> {
        let status = if binding_proves_control(account) {
            AcmeAuthorizationStatus::Valid
        } else {
            AcmeAuthorizationStatus::Pending
        };
        Ok(NewAcmeAuthorization {
            id: self.new_row()?,
            account_id: account.record.id,
            identifier: identifier.clone(),
            status,
            token: self.new_token()?,
            created_at: now,
            expires_at: now + lifetime,
        })
    }

    /// Makes the error for an order or authorization that was not written.
    pub(in crate::ca::acme) fn not_created(&self, outcome: AcmeOrderCreated) -> Error {
        match outcome {
            AcmeOrderCreated::RateLimited(limited) => self.rate_limited(&limited),
            AcmeOrderCreated::TooManyPending => Error::acme(
                AcmeErrorType::RateLimited,
                format!(
                    "the account has {} orders that are not finalized; finalize them, or wait until they expire",
                    self.settings.maximum_pending_orders
                ),
            )
            .with_retry_after(PENDING_RETRY),
            AcmeOrderCreated::AlreadyReplaced(_) => Error::acme(
                AcmeErrorType::AlreadyReplaced,
                "another order replaces this certificate already; order without `replaces`, or let that order come to an end",
            ),
            AcmeOrderCreated::AccountEnded => {
                Error::acme(AcmeErrorType::Unauthorized, "the account is not valid any more")
            }
            AcmeOrderCreated::Created => Error::internal("what was created is no failure"),
        }
    }
}

/// Whether the account's binding itself proves control of the names that it admits.
fn binding_proves_control(account: &Account) -> bool {
    account.record.external_account_key.as_ref().is_some_and(|key| key.proves_control)
}

fn moment(member: &str, text: Option<&str>) -> Result<Option<Timestamp>> {
    let parse = |text: &str| {
        text.parse::<Timestamp>().map_err(|error| {
            Error::malformed(format!(
                "`{member}` is no RFC 3339 time such as `2030-01-31T12:00:00Z` of the years 1950 to 9999"
            ))
            .with_source(error)
        })
    };
    text.map(parse).transpose()
}

/// The record of an order that is about to be written.
fn recorded(order: &NewAcmeOrder) -> AcmeOrderRecord {
    AcmeOrderRecord {
        id: order.id,
        account_id: order.account_id,
        profile: order.profile.clone(),
        status: AcmeOrderStatus::Pending,
        identifiers: order.identifiers.clone(),
        not_before: order.not_before,
        not_after: order.not_after,
        replaces: order.replaces.clone(),
        created_at: order.created_at,
        expires_at: order.expires_at,
        error: None,
        csr: None,
        certificate: None,
        finalized_at: None,
    }
}

/// The record of an authorization that is about to be written.
pub(in crate::ca::acme) fn recorded_authorization(new: &NewAcmeAuthorization) -> AcmeAuthorizationRecord {
    AcmeAuthorizationRecord {
        id: new.id,
        account_id: new.account_id,
        identifier: new.identifier.clone(),
        status: new.status,
        token: new.token.clone(),
        created_at: new.created_at,
        expires_at: new.expires_at,
        challenge: None,
        thumbprint: None,
        account_url: None,
        attempts: 0,
        next_attempt_at_ms: None,
        validated_at: None,
        error: None,
    }
}
