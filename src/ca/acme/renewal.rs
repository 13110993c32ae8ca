//! Renewal information (RFC 9773): when a certificate is to be renewed, by its age and by what operators say, and which orders may replace it.

use serde_json::json;

use super::revocation::identifier;
use super::{Account, Acme, OrderStatus, OrderView};
use crate::auth::permission::{ManageAcme, ReadAcme};
use crate::auth::{Authorized, Caller};
use crate::error::{AcmeErrorType, Error, ErrorKind, Result};
use crate::policy::acme::Identifier;
use crate::policy::acme::certificate_id::CertificateIdentifier;
use crate::policy::acme::renewal_window::{RenewalWindow, poll_seconds};
use crate::storage::{AuditOutcome, CertificateRecord, CertificateState, RenewalWindowRecord};
use crate::x509::{Certificate, SerialNumber, Timestamp};

/// The most characters of the address of an explanation.
const MAXIMUM_URL: usize = 2048;

/// When a certificate is to be renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalInformation {
    /// The begin of the window.
    pub start: Timestamp,
    /// Its end, after its begin.
    pub end: Timestamp,
    /// A page that says why.
    pub explanation_url: Option<String>,
    /// Seconds after which to ask again.
    pub retry_after: u32,
}

/// What an order that replaces a certificate has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// Whether the certificate is to be renewed now, and the order is for nothing that it does not hold, so that no limits hold.
    pub exempt: bool,
}

/// A request for a renewal window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRenewalWindow {
    /// The issuer's name; with its generation, such as `issuing.2`, when it has several. That of the certificate if absent.
    pub issuer: Option<String>,
    /// Only the certificate with this serial number.
    pub serial: Option<SerialNumber>,
    /// Only certificates issued before this moment.
    pub issued_before: Option<Timestamp>,
    /// The begin of the window.
    pub starts_at: Timestamp,
    /// Its end, after its begin.
    pub ends_at: Timestamp,
    /// A page that says why.
    pub explanation_url: Option<String>,
}

/// A renewal window with the name of its issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalWindowView {
    /// The record.
    pub record: RenewalWindowRecord,
    /// The issuer with its generation; its row for one that another replica made a moment ago.
    pub issuer: String,
}

impl Acme {
    /// Judges whether an order of an account may replace a certificate (RFC 9773, section 5): one that it
    /// ordered, or one of the principal that it is bound to, with an identifier of the order, that no other order replaces. Two orders at once are told apart when they are recorded.
    ///
    /// # Errors
    /// `malformed`, also for a certificate that was not issued here and for one without a name of the order; `unauthorized`,
    /// `alreadyReplaced`; those of the storage.
    pub async fn check_replacement(
        &self,
        account: &Account,
        replaces: &str,
        identifiers: &[Identifier],
    ) -> Result<Replacement> {
        let named = CertificateIdentifier::parse(replaces)?;
        let (record, certificate) = self
            .identified(&named)
            .await?
            .ok_or_else(|| Error::malformed("`replaces` names a certificate that was not issued by this CA"))?;
        if !self.may_replace(account, &record).await? {
            return Err(Error::acme(
                AcmeErrorType::Unauthorized,
                "`replaces` names a certificate that was not ordered by this account",
            ));
        }
        let held: Vec<Identifier> = certificate.names.iter().filter_map(identifier).collect();
        if !held.iter().any(|name| identifiers.contains(name)) {
            return Err(Error::malformed("`replaces` names a certificate that has none of the order's identifiers"));
        }
        let now = self.ca.clock.now();
        if let Some(order) = self.ca.storage.acme_replacement(replaces).await?
            && let Some((order, authorizations)) = self.ca.storage.acme_order(order, None).await?
            && OrderView::at(order, authorizations, now).status != OrderStatus::Invalid
        {
            return Err(already_replaced());
        }
        let (window, _explanation) = self.window_of(&record, now).await?;
        let asks_for_no_more = identifiers.iter().all(|name| held.contains(name));
        Ok(Replacement { exempt: window.start <= now && asks_for_no_more })
    }

    /// Whether an account may replace a certificate: its own; and while it is bound by an external account key that may be used, one of the key's
    /// principal, so that a service that comes back with a new account renews where the old one left off.
    async fn may_replace(&self, account: &Account, record: &CertificateRecord) -> Result<bool> {
        let now = self.ca.clock.now();
        let is_of_principal = match &account.record.external_account_key {
            Some(key) => key.is_usable(now) && record.requester == key.principal,
            // The orders of what ended long ago are cleaned up.
            None => record.requester == account.principal().name,
        };
        Ok(is_of_principal || self.has_ordered(account, record).await?)
    }

    /// Returns when the certificate of an identifier (RFC 9773, section 4.1) is to be renewed.
    ///
    /// # Errors
    /// `malformed` for what is no such identifier, `NotFound` for a certificate that was not issued here; those of the storage.
    pub async fn renewal_information(&self, identifier: &str) -> Result<RenewalInformation> {
        let named = CertificateIdentifier::parse(identifier)?;
        let (record, _certificate) = self.identified(&named).await?.ok_or_else(|| {
            Error::not_found("there is no certificate with this identifier that was issued by this CA")
        })?;
        let (window, explanation_url) = self.window_of(&record, self.ca.clock.now()).await?;
        let mut random = [0; 4];
        self.ca.random.fill(&mut random)?;
        let retry_after = poll_seconds(
            self.settings.renewal_poll_interval,
            record.not_before,
            record.not_after,
            u32::from_be_bytes(random),
        );
        Ok(RenewalInformation { start: window.start, end: window.end, explanation_url, retry_after })
    }

    /// Finds the certificate of an identifier.
    async fn identified(&self, named: &CertificateIdentifier) -> Result<Option<(CertificateRecord, Certificate)>> {
        for record in self.ca.storage.certificates_by_serial(&named.serial).await? {
            let certificate = Certificate::from_der(&record.der)?;
            if certificate.authority_key_identifier.as_ref() == Some(&named.key_identifier) {
                return Ok(Some((record, certificate)));
            }
        }
        Ok(None)
    }

    /// Returns when a certificate is to be renewed, and a page that says why: at once when it is revoked, else when operators say, else by its
    /// age. Of several windows that operators set the one that begins first holds; one that begins after the certificate's end does not.
    async fn window_of(&self, record: &CertificateRecord, now: Timestamp) -> Result<(RenewalWindow, Option<String>)> {
        let windows = self.ca.storage.renewal_windows_of(record.issuer_id, &record.serial, record.issued_at).await?;
        let set = windows.into_iter().filter(|set| set.starts_at <= record.not_after).min_by_key(|set| set.starts_at);
        let explanation_url = set.as_ref().and_then(|set| set.explanation_url.clone());
        let window = match (record.state, set) {
            (CertificateState::Revoked, _) => RenewalWindow::at_once(now),
            (CertificateState::Valid | CertificateState::OnHold, Some(set)) => {
                RenewalWindow { start: set.starts_at, end: set.ends_at }
            }
            (CertificateState::Valid | CertificateState::OnHold, None) => {
                RenewalWindow::by_age(record.not_before, record.not_after)
            }
        };
        Ok((window, explanation_url))
    }

    /// Sets a window in which certificates of an issuer are to be renewed.
    ///
    /// # Errors
    /// `Malformed` for an issuer that does not exist or has several generations, a serial number that no certificate of it has, a window that does not end after its begin, and an explanation
    /// that is no address of a page; those of the storage.
    pub async fn create_renewal_window(
        &self,
        authorization: &Authorized<ManageAcme>,
        request: NewRenewalWindow,
    ) -> Result<RenewalWindowView> {
        let caller = authorization.caller();
        let subject = match (&request.issuer, &request.serial) {
            (Some(issuer), _) => format!("issuer:{issuer}"),
            (None, Some(serial)) => format!("certificate:{serial}"),
            (None, None) => "issuer:".to_owned(),
        };
        let outcome = self.set_window(caller, request).await;
        self.ca.audited(caller, "acme_renewal_window.create", subject, outcome).await
    }

    async fn set_window(&self, caller: &Caller, request: NewRenewalWindow) -> Result<RenewalWindowView> {
        // What another replica did a moment ago counts.
        self.ca.refresh().await?;
        let issuer_id = self.issuer_of_window(&request).await?;
        if request.ends_at <= request.starts_at {
            return Err(Error::malformed("`ends_at` is not after `starts_at`"));
        }
        if let Some(text) = &request.explanation_url {
            check_page(text)?;
        }
        let now = self.ca.clock.now();
        let mut again = true;
        loop {
            let record = RenewalWindowRecord {
                id: self.new_row()?,
                issuer_id,
                serial: request.serial.clone(),
                issued_before: request.issued_before,
                starts_at: request.starts_at,
                ends_at: request.ends_at,
                explanation_url: request.explanation_url.clone(),
                created_by: caller.principal.name.clone(),
                created_at: now,
            };
            let issuer = self.issuer_name(issuer_id);
            let details = json!({
                "issuer": issuer,
                "serial": record.serial.as_ref().map(ToString::to_string),
                "issued_before": record.issued_before,
                "starts_at": record.starts_at,
                "ends_at": record.ends_at,
                "explanation_url": record.explanation_url,
            });
            let action = "acme_renewal_window.create";
            let event = self.ca.event(caller, action, AuditOutcome::Success, window_object(record.id), details);
            match self.ca.storage.create_renewal_window(record.clone(), event).await {
                Ok(()) => return Ok(RenewalWindowView { record, issuer }),
                // A row number that is taken already.
                Err(error) if error.kind() == ErrorKind::Conflict && again => again = false,
                Err(error) => return Err(error),
            }
        }
    }

    /// Finds the one issuer that a window is for: the one that is named, or that gave the serial number.
    async fn issuer_of_window(&self, request: &NewRenewalWindow) -> Result<i32> {
        let mut rows = match &request.issuer {
            Some(issuer) => Some(self.ca.issuers().rows(issuer)?),
            None => None,
        };
        if let Some(serial) = &request.serial {
            let mut holders: Vec<i32> =
                self.ca.storage.certificates_by_serial(serial).await?.iter().map(|found| found.issuer_id).collect();
            holders.retain(|holder| rows.as_ref().is_none_or(|rows| rows.contains(holder)));
            if holders.is_empty() {
                let whose = if rows.is_some() { " of this issuer" } else { "" };
                return Err(Error::malformed(format!("`serial`: there is no certificate `{serial}`{whose}")));
            }
            rows = Some(holders);
        }
        let rows = rows.ok_or_else(|| {
            Error::malformed(
                "give `issuer`, or `serial` for one certificate: a window is for certificates of one issuer",
            )
        })?;
        match rows.as_slice() {
            [issuer_id] => Ok(*issuer_id),
            several => {
                let names: Vec<String> = several.iter().map(|row| self.issuer_name(*row)).collect();
                Err(Error::malformed(format!(
                    "`issuer` does not say which of several is meant: `{}`",
                    names.join("`, `")
                )))
            }
        }
    }

    /// Lists the renewal windows that operators set, newest first, at most `limit` before row `before`.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn list_renewal_windows(
        &self,
        _authorization: &Authorized<ReadAcme>,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Vec<RenewalWindowView>> {
        let records = self.ca.storage.renewal_windows(before, limit).await?;
        let view =
            |record: RenewalWindowRecord| RenewalWindowView { issuer: self.issuer_name(record.issuer_id), record };
        Ok(records.into_iter().map(view).collect())
    }

    /// Deletes a renewal window: its certificates are to be renewed by their age again.
    ///
    /// # Errors
    /// `NotFound`; those of the storage.
    pub async fn delete_renewal_window(&self, authorization: &Authorized<ManageAcme>, id: i64) -> Result<()> {
        let (caller, action) = (authorization.caller(), "acme_renewal_window.delete");
        let event = self.ca.event(caller, action, AuditOutcome::Success, window_object(id), json!({}));
        let outcome = match self.ca.storage.delete_renewal_window(id, event).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::not_found(format!("there is no renewal window `{id}`"))),
            Err(error) => Err(error),
        };
        self.ca.audited(caller, action, window_object(id), outcome).await
    }

    fn issuer_name(&self, row: i32) -> String {
        self.ca.issuers().by_id(row).map_or_else(|| row.to_string(), |issuer| issuer.reference())
    }
}

/// Makes the error for a certificate that another order replaces (RFC 9773, section 7.4).
fn already_replaced() -> Error {
    Error::acme(AcmeErrorType::AlreadyReplaced, "another order replaces this certificate already")
}

/// Refuses what clients should not be sent to.
fn check_page(text: &str) -> Result<()> {
    let is_page = text.len() <= MAXIMUM_URL
        && url::Url::parse(text).is_ok_and(|page| matches!(page.scheme(), "https" | "http") && page.has_host());
    if is_page {
        return Ok(());
    }
    Err(Error::malformed(format!(
        "`explanation_url` is no address of a page: one with `https://`, of at most {MAXIMUM_URL} characters"
    )))
}

fn window_object(id: i64) -> String {
    format!("acme-renewal-window:{id}")
}
