//! Reads the inventory: records, search, counts, always within what the caller may see.

use std::sync::Arc;

use super::CertificateAuthority;
use super::issuer::Issuer;
use crate::auth::Authorized;
use crate::auth::permission::{ReadCertificates, ReadStatistics};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{
    CertificateFilter, CertificateRecord, CertificateState, CertificateStatus, Page, PageRequest, Statistics,
};
use crate::x509::{Certificate, SerialNumber, Timestamp};

/// Which certificate: a serial number is unique but for CAs that were imported, so an issuer may be named beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateReference {
    /// The serial number.
    pub serial: SerialNumber,
    /// The issuer's name, for any of its generations, or name and generation, such as `issuing.2`.
    pub issuer: Option<String>,
}

/// A recorded certificate with what belongs to it.
#[derive(Clone, Debug)]
pub struct CertificateView {
    /// The record.
    pub record: CertificateRecord,
    /// The parsed certificate.
    pub certificate: Certificate,
    /// Its status at the moment of reading.
    pub status: CertificateStatus,
    /// Its issuer, whose [`Issuer::chain`] leads to the root.
    pub issuer: Arc<Issuer>,
}

impl CertificateAuthority {
    /// Finds a certificate that the caller may see.
    ///
    /// # Errors
    /// `NotFound` when there is none, or it belongs to another requester; `Conflict` when several issuers gave the serial number and none
    /// is named; `Malformed` for an issuer that does not exist.
    pub async fn certificate(
        &self,
        authorization: &Authorized<ReadCertificates>,
        reference: &CertificateReference,
    ) -> Result<CertificateView> {
        self.visible_certificate(authorization.owner(), reference).await
    }

    /// Lists certificates that the caller may see. A page looks at a bounded number of rows: it may have fewer certificates than were asked
    /// for though another one follows.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn certificates(
        &self,
        authorization: &Authorized<ReadCertificates>,
        filter: CertificateFilter,
        page: PageRequest,
    ) -> Result<Page<CertificateView>> {
        let filter = CertificateFilter {
            owner: authorization.owner().map(str::to_owned),
            now: Some(self.clock.now()),
            ..filter
        };
        let Page { items, next } = self.storage.certificates(&filter, page).await?;
        let mut views = Vec::with_capacity(items.len());
        for record in items {
            views.push(self.view(record).await?);
        }
        Ok(Page { items: views, next })
    }

    /// Counts over the inventory.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn statistics(&self, _authorization: &Authorized<ReadStatistics>) -> Result<Statistics> {
        self.storage.statistics(self.clock.now()).await
    }

    /// Finds a certificate, and treats one of another requester than `owner` as absent.
    pub(super) async fn visible_certificate(
        &self,
        owner: Option<&str>,
        reference: &CertificateReference,
    ) -> Result<CertificateView> {
        let serial = &reference.serial;
        let rows = reference.issuer.as_deref().map(|name| self.issuers().rows(name)).transpose()?;
        let mut records = self.storage.certificates_by_serial(serial).await?;
        records.retain(|record| {
            owner.is_none_or(|owner| owner == record.requester)
                && rows.as_ref().is_none_or(|rows| rows.contains(&record.issuer_id))
        });
        match <[CertificateRecord; 1]>::try_from(records) {
            Ok([record]) => self.view(record).await,
            Err(none) if none.is_empty() => Err(no_certificate(serial)),
            Err(several) => Err(self.ambiguous(serial, &several)),
        }
    }

    /// Makes the error for a serial number that several issuers gave, which happens when CAs are imported.
    fn ambiguous(&self, serial: &SerialNumber, records: &[CertificateRecord]) -> Error {
        let issuers = self.issuers();
        // With their generations: the name alone would still be that of several.
        let names: Vec<String> = records
            .iter()
            .filter_map(|record| issuers.by_id(record.issuer_id))
            .map(|issuer| issuer.reference())
            .collect();
        Error::conflict(format!(
            "the serial number `{serial}` was given by the issuers `{}`: say which with `issuer`",
            names.join("`, `")
        ))
    }

    /// Adds to a record what belongs to it. An issuer that another replica made a moment ago is loaded.
    ///
    /// # Errors
    /// `Unavailable` when the issuer is not there all the same.
    pub(super) async fn view(&self, record: CertificateRecord) -> Result<CertificateView> {
        let certificate = Certificate::from_der(&record.der)?;
        let mut issuer = self.issuers().by_id(record.issuer_id).cloned();
        if issuer.is_none() {
            self.refresh().await?;
            issuer = self.issuers().by_id(record.issuer_id).cloned();
        }
        let issuer = issuer.ok_or_else(|| {
            let detail =
                format!("the issuer {} of the certificate `{}` is not loaded yet", record.issuer_id, record.serial);
            Error::new(ErrorKind::Unavailable, detail).with_retry_after(1)
        })?;
        Ok(self.view_with(record, certificate, issuer))
    }

    pub(super) fn view_with(
        &self,
        record: CertificateRecord,
        certificate: Certificate,
        issuer: Arc<Issuer>,
    ) -> CertificateView {
        let status = status(record.state, record.not_after, self.clock.now());
        CertificateView { record, certificate, status, issuer }
    }
}

/// Makes the error for a certificate that does not exist or is not visible: the same for both, so that nobody can tell them apart.
pub(super) fn no_certificate(serial: &SerialNumber) -> Error {
    Error::not_found(format!("there is no certificate with the serial number `{serial}`"))
}

/// Tells the status of a certificate at a moment: revoked stays revoked, anything else expires.
#[must_use]
pub fn status(state: CertificateState, not_after: Timestamp, now: Timestamp) -> CertificateStatus {
    match state {
        CertificateState::Revoked => CertificateStatus::Revoked,
        CertificateState::Valid | CertificateState::OnHold if not_after < now => CertificateStatus::Expired,
        CertificateState::Valid => CertificateStatus::Valid,
        CertificateState::OnHold => CertificateStatus::OnHold,
    }
}
