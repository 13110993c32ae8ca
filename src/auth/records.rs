//! The two records that checking a credential needs from the storage, so that nothing here can reach for more.

use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;
use crate::storage::{CertificateRecord, Storage, TokenRecord};
use crate::x509::SerialNumber;

/// Finds the records behind credentials.
#[async_trait]
pub(crate) trait CredentialRecords: Send + Sync + std::fmt::Debug {
    /// Finds a token by the SHA-256 of its secret, revoked or expired ones too.
    async fn token(&self, secret_sha256: &[u8; 32]) -> Result<Option<TokenRecord>>;

    /// Finds the certificates with a serial number: one, unless CAs were imported that gave it too.
    async fn certificates(&self, serial: &SerialNumber) -> Result<Vec<CertificateRecord>>;
}

/// The records of a storage.
#[derive(Debug)]
pub(crate) struct StoredRecords(pub(crate) Arc<dyn Storage>);

#[async_trait]
impl CredentialRecords for StoredRecords {
    async fn token(&self, secret_sha256: &[u8; 32]) -> Result<Option<TokenRecord>> {
        self.0.token_by_secret(secret_sha256).await
    }

    async fn certificates(&self, serial: &SerialNumber) -> Result<Vec<CertificateRecord>> {
        self.0.certificates_by_serial(serial).await
    }
}
