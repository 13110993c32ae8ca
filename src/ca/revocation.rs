//! Revokes certificates, puts them on hold and releases them, one or many.

use serde_json::json;

use super::inventory::no_certificate;
use super::{CertificateAuthority, CertificateView};
use crate::auth::permission::{ReleaseCertificates, RevokeCertificates};
use crate::auth::{Authorized, Caller, Role};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{
    AuditOutcome, CertificateFilter, CertificateRecord, CertificateState, PageRequest, RevocationRecord, SortKey,
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
    /// `NotFound`; `Conflict` when it is revoked for another reason, or a revoked one is to be held; `Forbidden` for the service's own
    /// certificates unless the caller is an administrator; `Malformed` for an invalidity date in the future.
    pub async fn revoke(
        &self,
        authorization: &Authorized<RevokeCertificates>,
        serial: &SerialNumber,
        request: RevocationRequest,
    ) -> Result<CertificateView> {
        let caller = authorization.caller();
        let outcome = self.revoke_one(caller, authorization.owner(), serial, request).await;
        self.audited(caller, "certificate.revoke", object(serial), outcome).await
    }

    /// Releases a certificate from hold.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is not on hold.
    pub async fn release(
        &self,
        authorization: &Authorized<ReleaseCertificates>,
        serial: &SerialNumber,
    ) -> Result<CertificateView> {
        let caller = authorization.caller();
        let outcome = self.release_one(caller, authorization.owner(), serial).await;
        self.audited(caller, "certificate.release", object(serial), outcome).await
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
            let records = self.storage.certificates(&filter, page).await?;
            let Some(last) = records.last() else { return Ok(result) };
            after = Some((last.issued_at.unix(), last.id));
            for record in records.iter().filter(|record| can_be_revoked(record, request.reason, now)) {
                if !dry_run {
                    match self.revoke_one(authorization.caller(), authorization.owner(), &record.serial, request).await
                    {
                        Ok(_) => result.revoked += 1,
                        // Somebody else changed it in the meantime: it no longer matches.
                        Err(error) if error.kind() == ErrorKind::Conflict => continue,
                        Err(error) => return Err(error),
                    }
                }
                result.matched += 1;
                if result.serials.len() < BULK_LISTED {
                    result.serials.push(record.serial.clone());
                }
            }
        }
    }

    async fn revoke_one(
        &self,
        caller: &Caller,
        owner: Option<&str>,
        serial: &SerialNumber,
        request: RevocationRequest,
    ) -> Result<CertificateView> {
        self.check_invalidity_date(request.invalidity_date)?;
        let present = self.visible_certificate(owner, serial).await?;
        if present.record.source == Source::Internal && caller.principal.role != Role::Administrator {
            return Err(Error::new(
                ErrorKind::Forbidden,
                "only an administrator may revoke the service's own certificates",
            ));
        }
        if already(&present.record, request) {
            return Ok(present);
        }
        // A compromise that comes to light later changes the reason, not the moment since when the certificate is revoked.
        let revoked_at = match (present.record.state, present.record.revocation) {
            (CertificateState::Revoked, Some(earlier)) => earlier.revoked_at,
            (CertificateState::Valid | CertificateState::OnHold | CertificateState::Revoked, _) => self.clock.now(),
        };
        let revocation =
            RevocationRecord { reason: request.reason, revoked_at, invalidity_date: request.invalidity_date };
        let change = StateChange {
            serial: serial.clone(),
            from: admitted_states(request.reason),
            revocation: Some(revocation),
            owner: owner.map(str::to_owned),
            block_key: request.reason == RevocationReason::KeyCompromise,
        };
        let details = json!({ "reason": request.reason, "invalidity_date": request.invalidity_date });
        let event = self.event(caller, "certificate.revoke", AuditOutcome::Success, object(serial), details);
        match self.storage.change_state(change, event).await? {
            StateChanged::Changed(record) => {
                self.revocation.notify_one();
                metrics::counter!("chancery_certificates_revoked_total", "reason" => request.reason.as_str())
                    .increment(1);
                self.view(*record)
            }
            StateChanged::Unchanged(record) if already(&record, request) => self.view(*record),
            StateChanged::Unchanged(record) => Err(Error::conflict(format!(
                "the certificate is {} and cannot be revoked as `{}`",
                describe(&record),
                request.reason.as_str()
            ))),
            StateChanged::NotFound => Err(no_certificate(serial)),
        }
    }

    async fn release_one(
        &self,
        caller: &Caller,
        owner: Option<&str>,
        serial: &SerialNumber,
    ) -> Result<CertificateView> {
        let change = StateChange {
            serial: serial.clone(),
            from: &[CertificateState::OnHold],
            revocation: None,
            owner: owner.map(str::to_owned),
            block_key: false,
        };
        let event = self.event(caller, "certificate.release", AuditOutcome::Success, object(serial), json!({}));
        match self.storage.change_state(change, event).await? {
            StateChanged::Changed(record) => {
                self.revocation.notify_one();
                self.view(*record)
            }
            StateChanged::Unchanged(record) => {
                Err(Error::conflict(format!("the certificate is {}, not on hold", describe(&record))))
            }
            StateChanged::NotFound => Err(no_certificate(serial)),
        }
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
        RevocationReason::KeyCompromise => {
            &[CertificateState::Valid, CertificateState::OnHold, CertificateState::Revoked]
        }
        RevocationReason::Unspecified
        | RevocationReason::CaCompromise
        | RevocationReason::AffiliationChanged
        | RevocationReason::Superseded
        | RevocationReason::CessationOfOperation
        | RevocationReason::PrivilegeWithdrawn
        | RevocationReason::AaCompromise => &[CertificateState::Valid, CertificateState::OnHold],
    }
}

fn can_be_revoked(record: &CertificateRecord, reason: RevocationReason, now: Timestamp) -> bool {
    record.source != Source::Internal
        && record.state != CertificateState::Revoked
        && record.not_after >= now
        && admitted_states(reason).contains(&record.state)
}

/// Whether the certificate is already revoked (or held) for the reason that is asked for.
fn already(record: &CertificateRecord, request: RevocationRequest) -> bool {
    record.revocation.is_some_and(|revocation| revocation.reason == request.reason)
}

fn describe(record: &CertificateRecord) -> String {
    match (record.state, record.revocation) {
        (CertificateState::Valid, _) => "valid".to_owned(),
        (CertificateState::OnHold, _) => "on hold".to_owned(),
        (CertificateState::Revoked, Some(revocation)) => format!("revoked as `{}`", revocation.reason.as_str()),
        (CertificateState::Revoked, None) => "revoked".to_owned(),
    }
}

fn object(serial: &SerialNumber) -> String {
    format!("certificate:{serial}")
}
