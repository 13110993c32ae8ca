//! Revokes certificates, puts them on hold and releases them, one or many.

use serde_json::{Value, json};

use super::inventory::no_certificate;
use super::{CertificateAuthority, CertificateReference, CertificateView};
use crate::auth::permission::{ReleaseCertificates, RevokeCertificates};
use crate::auth::{Authorized, Caller, Role};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{
    AuditOutcome, CertificateFilter, CertificateRecord, CertificateState, Page, PageRequest, RevocationRecord, SortKey,
    Source, StateChange, StateChanged,
};
use crate::x509::crl::RevocationReason;
use crate::x509::{SerialNumber, Timestamp};

/// How many certificates one page of a bulk revocation reads.
const BULK_PAGE: u16 = 500;
/// How many serial numbers the answer of a bulk revocation lists.
const BULK_LISTED: usize = 1000;

/// Why a certificate is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationRequest {
    /// The reason.
    pub reason: RevocationReason,
    /// Since when the key is known or suspected to be bad; not in the future.
    pub invalidity_date: Option<Timestamp>,
}

/// What a bulk revocation did or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkRevocation {
    /// How many certificates match the filter and can be revoked.
    pub matched: u64,
    /// How many were revoked now; 0 in a dry run.
    pub revoked: u64,
    /// The serial numbers, at most 1000 of them.
    pub serials: Vec<SerialNumber>,
}

impl CertificateAuthority {
    /// Revokes a certificate that the caller may touch, or puts it on hold. Again with the same reason changes nothing and succeeds.
    ///
    /// # Errors
    /// As [`Self::certificate`]; `Conflict` when it is revoked for another reason or with another invalidity date, or a revoked one is to be held; `Forbidden` for the
    /// service's own certificates unless the caller is an administrator; `Malformed` for an invalidity date in the future.
    pub async fn revoke(
        &self,
        authorization: &Authorized<RevokeCertificates>,
        reference: &CertificateReference,
        request: RevocationRequest,
    ) -> Result<CertificateView> {
        let (caller, owner) = (authorization.caller(), authorization.owner());
        let outcome = async {
            self.check_invalidity_date(request.invalidity_date)?;
            let present = self.visible_certificate(owner, reference).await?;
            self.revoke_one(caller, owner, present, request).await
        };
        self.audited(caller, "certificate.revoke", object(&reference.serial), outcome.await).await
    }

    /// Releases a certificate from hold.
    ///
    /// # Errors
    /// As [`Self::certificate`]; `Conflict` when it is not on hold.
    pub async fn release(
        &self,
        authorization: &Authorized<ReleaseCertificates>,
        reference: &CertificateReference,
    ) -> Result<CertificateView> {
        let caller = authorization.caller();
        let outcome = self.release_one(caller, authorization.owner(), reference).await;
        self.audited(caller, "certificate.release", object(&reference.serial), outcome).await
    }

    /// Revokes every certificate that matches the filter and is valid or on hold; the filter must hold at least one condition. The
    /// service's own certificates are left out. Each certificate is a commit of its own.
    ///
    /// # Errors
    /// `Malformed` for an empty filter; those of the storage, after which the certificates revoked so far stay revoked.
    pub async fn revoke_matching(
        &self,
        authorization: &Authorized<RevokeCertificates>,
        filter: CertificateFilter,
        request: RevocationRequest,
        dry_run: bool,
    ) -> Result<BulkRevocation> {
        let (caller, action) = (authorization.caller(), "certificate.revoke_matching");
        let outcome = self.revoke_all(authorization, filter, request, dry_run).await;
        self.audited(caller, action, String::new(), outcome).await
    }

    async fn revoke_all(
        &self,
        authorization: &Authorized<RevokeCertificates>,
        filter: CertificateFilter,
        request: RevocationRequest,
        dry_run: bool,
    ) -> Result<BulkRevocation> {
        // The moment alone is no condition.
        if (CertificateFilter { now: None, ..filter.clone() }) == CertificateFilter::default() {
            return Err(Error::malformed("the filter is empty; give at least one condition"));
        }
        self.check_invalidity_date(request.invalidity_date)?;
        let now = self.clock.now();
        let owner = authorization.owner().map(str::to_owned);
        let filter = CertificateFilter { owner, now: Some(now), ..filter };
        let mut result = BulkRevocation { matched: 0, revoked: 0, serials: Vec::new() };
        let mut after = None;
        loop {
            let page = PageRequest { limit: BULK_PAGE, sort: SortKey::IssuedAt, descending: false, after };
            let Page { items: records, next } = self.storage.certificates(&filter, page).await?;
            for record in
                records.into_iter().filter(|record| !self.is_own(record) && can_be_revoked(record, request.reason, now))
            {
                let serial = record.serial.clone();
                if !dry_run {
                    let present = self.view(record).await?;
                    match self.revoke_one(authorization.caller(), authorization.owner(), present, request).await {
                        Ok(_) => result.revoked += 1,
                        // Somebody else changed it in the meantime: it no longer matches.
                        Err(error) if error.kind() == ErrorKind::Conflict => continue,
                        Err(error) => return Err(error),
                    }
                }
                result.matched += 1;
                if result.serials.len() < BULK_LISTED {
                    result.serials.push(serial);
                }
            }
            if next.is_none() {
                return Ok(result);
            }
            after = next;
        }
    }

    async fn revoke_one(
        &self,
        caller: &Caller,
        owner: Option<&str>,
        present: CertificateView,
        request: RevocationRequest,
    ) -> Result<CertificateView> {
        let serial = present.record.serial.clone();
        if self.is_own(&present.record) && caller.principal.role != Role::Administrator {
            return Err(Error::new(
                ErrorKind::Forbidden,
                "only an administrator may revoke the service's own certificates",
            ));
        }
        if already(&present.record, request) {
            return Ok(present);
        }
        if let Some(revocation) = present.record.revocation.filter(|earlier| earlier.reason == request.reason) {
            let date = revocation.invalidity_date.map_or_else(|| "none".to_owned(), |date| format!("`{date}`"));
            return Err(Error::conflict(format!(
                "the certificate is {} with another invalidity date, {date}, which stays; ask without one",
                describe(&present.record)
            )));
        }
        let details = json!({ "reason": request.reason, "invalidity_date": request.invalidity_date });
        let from = admitted_states(request.reason);
        match self.change_to_revoked(caller, owner, &present.record, request, from, details).await? {
            StateChanged::Changed(record) => self.view(*record).await,
            StateChanged::Unchanged(record) if already(&record, request) => self.view(*record).await,
            StateChanged::Unchanged(record) => Err(Error::conflict(format!(
                "the certificate is {} and cannot be revoked as `{}`",
                describe(&record),
                request.reason.as_str()
            ))),
            StateChanged::NotFound => Err(no_certificate(&serial)),
        }
    }

    /// Revokes a certificate that is in one of the states `from`, by one statement, and tells those who publish.
    pub(super) async fn change_to_revoked(
        &self,
        caller: &Caller,
        owner: Option<&str>,
        present: &CertificateRecord,
        request: RevocationRequest,
        from: &'static [CertificateState],
        details: Value,
    ) -> Result<StateChanged> {
        let serial = &present.serial;
        // A compromise that comes to light later changes the reason, not the moment since when the certificate is revoked.
        let revoked_at = match (present.state, present.revocation) {
            (CertificateState::Revoked, Some(earlier)) => earlier.revoked_at,
            (CertificateState::Valid | CertificateState::OnHold | CertificateState::Revoked, _) => self.clock.now(),
        };
        let revocation =
            RevocationRecord { reason: request.reason, revoked_at, invalidity_date: request.invalidity_date };
        let change = StateChange {
            issuer_id: present.issuer_id,
            serial: serial.clone(),
            from,
            revocation: Some(revocation),
            owner: owner.map(str::to_owned),
            block_key: request.reason.is_compromise(),
        };
        let event = self.event(caller, "certificate.revoke", AuditOutcome::Success, object(serial), details);
        let changed = self.storage.change_state(change, event).await?;
        self.forget_status(present.issuer_id, serial);
        if let StateChanged::Changed(_) = &changed {
            self.revocation.notify_one();
            self.refresh_issuers().await;
            metrics::counter!("chancery_certificates_revoked_total", "reason" => request.reason.as_str()).increment(1);
        }
        Ok(changed)
    }

    async fn release_one(
        &self,
        caller: &Caller,
        owner: Option<&str>,
        reference: &CertificateReference,
    ) -> Result<CertificateView> {
        let serial = &reference.serial;
        let present = self.visible_certificate(owner, reference).await?;
        let change = StateChange {
            issuer_id: present.record.issuer_id,
            serial: serial.clone(),
            from: &[CertificateState::OnHold],
            revocation: None,
            owner: owner.map(str::to_owned),
            block_key: false,
        };
        let event = self.event(caller, "certificate.release", AuditOutcome::Success, object(serial), json!({}));
        let changed = self.storage.change_state(change, event).await?;
        self.forget_status(present.record.issuer_id, serial);
        match changed {
            StateChanged::Changed(record) => {
                self.revocation.notify_one();
                self.view(*record).await
            }
            StateChanged::Unchanged(record) => {
                Err(Error::conflict(format!("the certificate is {}, not on hold", describe(&record))))
            }
            StateChanged::NotFound => Err(no_certificate(serial)),
        }
    }

    /// Loads the issuers anew if a change was one of theirs. What was done is done: a failure is logged, and the next look comes within seconds.
    pub(super) async fn refresh_issuers(&self) {
        if let Err(error) = self.refresh().await {
            tracing::warn!(%error, "the issuers could not be loaded anew after a revocation");
        }
    }

    /// Whether a certificate is the service's own: made for itself, or of a CA of ours, whoever recorded it (it may have been imported, or issued
    /// for a request and installed later).
    pub(super) fn is_own(&self, record: &CertificateRecord) -> bool {
        let issuers = self.issuers();
        record.source == Source::Internal
            || issuers.every().any(|issuer| issuer.record().spki_sha256 == record.spki_sha256)
    }

    fn check_invalidity_date(&self, invalidity_date: Option<Timestamp>) -> Result<()> {
        match invalidity_date {
            Some(date) if date > self.clock.now() => Err(Error::malformed(format!(
                "the invalidity date `{date}` is in the future; it may be now or earlier"
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

/// A hold is for valid certificates; any other reason also ends a hold for good; and a key that was compromised is so whatever was said before.
const fn admitted_states(reason: RevocationReason) -> &'static [CertificateState] {
    match reason {
        RevocationReason::CertificateHold => &[CertificateState::Valid],
        RevocationReason::KeyCompromise | RevocationReason::CaCompromise => {
            &[CertificateState::Valid, CertificateState::OnHold, CertificateState::Revoked]
        }
        RevocationReason::Unspecified
        | RevocationReason::AffiliationChanged
        | RevocationReason::Superseded
        | RevocationReason::CessationOfOperation
        | RevocationReason::PrivilegeWithdrawn
        | RevocationReason::AaCompromise => &[CertificateState::Valid, CertificateState::OnHold],
    }
}

fn can_be_revoked(record: &CertificateRecord, reason: RevocationReason, now: Timestamp) -> bool {
    record.state != CertificateState::Revoked
        && record.not_after >= now
        && admitted_states(reason).contains(&record.state)
}

/// Whether the certificate is already revoked (or held) for the reason that is asked for, and nothing else is said of the date.
fn already(record: &CertificateRecord, request: RevocationRequest) -> bool {
    record.revocation.is_some_and(|revocation| {
        revocation.reason == request.reason
            && (request.invalidity_date.is_none() || request.invalidity_date == revocation.invalidity_date)
    })
}

fn describe(record: &CertificateRecord) -> String {
    match (record.state, record.revocation) {
        (CertificateState::Valid, _) => "valid".to_owned(),
        (CertificateState::OnHold, _) => "on hold".to_owned(),
        (CertificateState::Revoked, Some(revocation)) => format!("revoked as `{}`", revocation.reason.as_str()),
        (CertificateState::Revoked, None) => "revoked".to_owned(),
    }
}

pub(super) fn object(serial: &SerialNumber) -> String {
    format!("certificate:{serial}")
}
