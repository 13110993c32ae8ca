//! The values that CRLs are made of and kept as. The inventory's are in `values.rs`.

use std::collections::BTreeMap;

use super::RevocationRecord;
use crate::x509::{SerialNumber, Timestamp};

/// A published CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlRecord {
    /// The issuer's row.
    pub issuer_id: i32,
    /// The shard, from 1; 0 for the full CRL.
    pub shard: i32,
    /// For a delta CRL the number of the CRL it adds to (RFC 5280, section 5.2.4).
    pub base_number: Option<i64>,
    /// The CRL number.
    pub number: i64,
    /// When it was made.
    pub this_update: Timestamp,
    /// By when the next one comes.
    pub next_update: Timestamp,
    /// The issuer's count of revocations when it was made.
    pub revocations: i64,
    /// The CRL.
    pub der: Vec<u8>,
}

/// A published CRL without its octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrlSummary {
    /// The issuer's row.
    pub issuer_id: i32,
    /// The shard, from 1; 0 for the full CRL.
    pub shard: i32,
    /// For a delta CRL the number of the CRL it adds to.
    pub base_number: Option<i64>,
    /// The CRL number.
    pub number: i64,
    /// When it was made.
    pub this_update: Timestamp,
    /// By when the next one comes.
    pub next_update: Timestamp,
    /// The issuer's count of revocations when it was made.
    pub revocations: i64,
    /// How many octets it has.
    pub size: usize,
}

impl CrlRecord {
    /// Returns what is known of it without its octets.
    #[must_use]
    pub fn summary(&self) -> CrlSummary {
        CrlSummary {
            issuer_id: self.issuer_id,
            shard: self.shard,
            base_number: self.base_number,
            number: self.number,
            this_update: self.this_update,
            next_update: self.next_update,
            revocations: self.revocations,
            size: self.der.len(),
        }
    }
}

/// What decides which CRLs of an issuer are due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrlCounters {
    /// How many changes of state there were.
    pub revocations: i64,
    /// The last CRL number that was taken; 0 before the first.
    pub crl_number: i64,
    /// The greatest shard that is or was in use.
    pub maximum_shard: i32,
    /// The last change in each shard, 0 for certificates that name the full CRL; shards without any are absent.
    pub last_changes: BTreeMap<i32, i64>,
}

/// A revoked certificate for a CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedCertificate {
    /// The shard, for the next page.
    pub shard: i32,
    /// The row, for the next page.
    pub id: i64,
    /// The serial number.
    pub serial: SerialNumber,
    /// Why and when.
    pub revocation: RevocationRecord,
}

/// A certificate whose state changed, for a delta CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedCertificate {
    /// The number of its last change, for the next page.
    pub change_number: i64,
    /// The serial number.
    pub serial: SerialNumber,
    /// The last second of validity.
    pub not_after: Timestamp,
    /// Why and when it was revoked; `None` when it was on hold and is so no longer.
    pub revocation: Option<RevocationRecord>,
}

/// A serial number that was revoked before its CA was imported, and whose certificate is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedSerial {
    /// The serial number.
    pub serial: SerialNumber,
    /// Why and when.
    pub revocation: RevocationRecord,
}
