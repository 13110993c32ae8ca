//! Certificate revocation lists (RFC 5280, section 5) as bytes. When to publish one is decided in `ca/crl.rs`.

mod encode;
mod entry;
mod parse;

use serde::{Deserialize, Serialize};

pub use encode::{CrlBuilder, CrlTemplate, UnsignedCrl};
pub use entry::{RemovedEntry, RevokedEntry};
pub use parse::{CertificateList, IssuingDistributionPoint};

/// A revocation reason (RFC 5280, section 5.3.1), by its name in `snake_case`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevocationReason {
    /// No reason given; no reason code is written.
    Unspecified,
    /// The private key is, or may be, known to others.
    KeyCompromise,
    /// The CA's key is, or may be, known to others.
    CaCompromise,
    /// A name or other information has changed.
    AffiliationChanged,
    /// A newer certificate replaces it.
    Superseded,
    /// It is no longer needed.
    CessationOfOperation,
    /// Suspended; may be released or revoked for good.
    CertificateHold,
    /// The right to it was withdrawn.
    PrivilegeWithdrawn,
    /// The attribute authority was compromised.
    AaCompromise,
}

impl RevocationReason {
    /// Whether it says that others may have the private key; of a CA, `ca_compromise` does (RFC 5280, section 5.3.1).
    #[must_use]
    pub const fn is_compromise(self) -> bool {
        match self {
            Self::KeyCompromise | Self::CaCompromise => true,
            Self::Unspecified
            | Self::AffiliationChanged
            | Self::Superseded
            | Self::CessationOfOperation
            | Self::CertificateHold
            | Self::PrivilegeWithdrawn
            | Self::AaCompromise => false,
        }
    }

    /// Every reason, by code.
    pub const ALL: [Self; 9] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::CaCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::CertificateHold,
        Self::PrivilegeWithdrawn,
        Self::AaCompromise,
    ];

    /// Returns the code of the `CRLReason` enumeration (7 is not used; `remove_from_crl` is 8 and never stored).
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::CaCompromise => 2,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::CertificateHold => 6,
            Self::PrivilegeWithdrawn => 9,
            Self::AaCompromise => 10,
        }
    }

    /// Finds the reason of a code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// Returns the name used in JSON, such as `key_compromise`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key_compromise",
            Self::CaCompromise => "ca_compromise",
            Self::AffiliationChanged => "affiliation_changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation_of_operation",
            Self::CertificateHold => "certificate_hold",
            Self::PrivilegeWithdrawn => "privilege_withdrawn",
            Self::AaCompromise => "aa_compromise",
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests;
