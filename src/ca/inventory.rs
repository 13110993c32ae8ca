//! Reads the inventory: records, search, counts, always within what the caller may see.

use std::sync::Arc;

use super::CertificateAuthority;
use super::issuer::Issuer;
use crate::auth::Authorized;
use crate::auth::permission::{ReadCertificates, ReadStatistics};
use crate::error::{Error, Result};
use crate::storage::{
    CertificateFilter, CertificateRecord, CertificateState, CertificateStatus, PageRequest, Statistics,
};
use crate::x509::{Certificate, SerialNumber, Timestamp};

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
    /// `NotFound` when there is none, or it belongs to another requester.
    pub async fn certificate(
        &self,
        authorization: &Authorized<ReadCertificates>,
        serial: &SerialNumber,
    ) -> Result<CertificateView> {
        self.visible_certificate(authorization.owner(), serial).await
    }

    /// Lists certificates that the caller may see.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn certificates(
        &self,
        authorization: &Authorized<ReadCertificates>,
        filter: CertificateFilter,
        page: PageRequest,
    ) -> Result<Vec<CertificateView>> {
        let filter = CertificateFilter {
            owner: authorization.owner().map(str::to_owned),
            now: Some(self.clock.now()),
            ..filter
        };
        let records = self.storage.certificates(&filter, page).await?;
        records.into_iter().map(|record| self.view(record)).collect()
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
        serial: &SerialNumber,
    ) -> Result<CertificateView> {
        let record = self.storage.certificate_by_serial(serial).await?;
        match record {
            Some(record) if owner.is_none_or(|owner| owner == record.requester) => self.view(record),
            Some(_) | None => Err(no_certificate(serial)),
        }
    }

    /// Adds to a record what belongs to it.
    pub(super) fn view(&self, record: CertificateRecord) -> Result<CertificateView> {
        let certificate = Certificate::from_der(&record.der)?;
        let issuer = self.issuers().by_id(record.issuer_id).cloned().ok_or_else(|| {
            Error::internal(format!(
                "the issuer {} of the certificate `{}` is not loaded",
                record.issuer_id, record.serial
            ))
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
