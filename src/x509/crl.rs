//! Certificate revocation lists (RFC 5280, section 5) as bytes. When to publish one is decided in `ca/crl.rs`.

mod parse;

use serde::{Deserialize, Serialize};

use super::encoding;
use super::extension::{Extension, oids};
use super::{DistinguishedName, SerialNumber, SignatureAlgorithm, Timestamp};
use crate::error::Result;

pub use parse::CertificateList;

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

/// One entry of a CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedEntry {
    /// The serial number of the revoked certificate.
    pub serial: SerialNumber,
    /// When it was revoked.
    pub revoked_at: Timestamp,
    /// Why; `unspecified` writes no reason code (section 5.3.1).
    pub reason: RevocationReason,
    /// Since when it is known or suspected to be bad (section 5.3.2).
    pub invalidity_date: Option<Timestamp>,
}

/// Everything that goes into a full CRL except its entries.
#[derive(Clone, Debug)]
pub struct CrlTemplate<'a> {
    /// The algorithm of the issuer's signature.
    pub signature_algorithm: SignatureAlgorithm,
    /// The issuer's subject name, raw.
    pub issuer: &'a DistinguishedName,
    /// The issuer certificate's subject key identifier.
    pub authority_key_identifier: &'a [u8],
    /// The CRL number (section 5.2.3), which only rises.
    pub number: u64,
    /// When the CRL was made.
    pub this_update: Timestamp,
    /// By when the next one comes.
    pub next_update: Timestamp,
}

impl CrlTemplate<'_> {
    /// Encodes the `TBSCertList` with these entries. Encoding streams: a million entries need little more memory than their bytes.
    ///
    /// # Errors
    /// `Internal` when a value cannot be encoded.
    pub fn to_be_signed(&self, entries: impl Iterator<Item = RevokedEntry>) -> Result<Vec<u8>> {
        // One buffer from the first octet to the last: headers are put in front of what is already there.
        let mut out = Vec::new();
        // Version 2.
        out.extend(encoding::unsigned(1));
        out.extend_from_slice(self.signature_algorithm.identifier_der());
        out.extend_from_slice(self.issuer.as_der());
        out.extend(encoding::time(self.this_update));
        out.extend(encoding::time(self.next_update));
        let start = out.len();
        for entry in entries {
            append_entry(&mut out, &entry);
        }
        // RFC 5280, section 5.1.2.6: without revoked certificates the list must be absent.
        if out.len() > start {
            encoding::wrap(&mut out, start, encoding::SEQUENCE);
        }
        let extensions =
            [Extension::authority_key_identifier(self.authority_key_identifier), Extension::crl_number(self.number)];
        out.extend(encoding::constructed(encoding::context_constructed(0), &[&Extension::list_to_der(&extensions)]));
        encoding::wrap(&mut out, 0, encoding::SEQUENCE);
        Ok(out)
    }
}

fn append_entry(out: &mut Vec<u8>, entry: &RevokedEntry) {
    let start = out.len();
    encoding::append(out, encoding::INTEGER, &entry.serial.to_der_content());
    out.extend(encoding::time(entry.revoked_at));
    let mut extensions = Vec::new();
    if entry.reason != RevocationReason::Unspecified {
        let value = encoding::value(encoding::ENUMERATED, &[entry.reason.code()]);
        extensions.push(Extension { oid: oids::REASON_CODE, critical: false, value });
    }
    if let Some(moment) = entry.invalidity_date {
        // Always a GeneralizedTime (section 5.3.2).
        let value = encoding::generalized_time(moment);
        extensions.push(Extension { oid: oids::INVALIDITY_DATE, critical: false, value });
    }
    if !extensions.is_empty() {
        out.extend(Extension::list_to_der(&extensions));
    }
    encoding::wrap(out, start, encoding::SEQUENCE);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::x509::testing::Authority;

    fn entry(serial: u8, reason: RevocationReason, invalidity_date: Option<Timestamp>) -> RevokedEntry {
        RevokedEntry {
            serial: SerialNumber::from_bytes(&[serial]).unwrap(),
            revoked_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            reason,
            invalidity_date,
        }
    }

    fn list(authority: &Authority, entries: Vec<RevokedEntry>) -> Vec<u8> {
        let template = CrlTemplate {
            signature_algorithm: SignatureAlgorithm::EcdsaSha256,
            issuer: &authority.certificate.subject,
            authority_key_identifier: authority.certificate.subject_key_identifier.as_deref().unwrap(),
            number: 300,
            this_update: "2026-01-03T00:00:00Z".parse().unwrap(),
            next_update: "2055-01-04T00:00:00Z".parse().unwrap(),
        };
        authority.sign(&template.to_be_signed(entries.into_iter()).unwrap())
    }

    #[test]
    fn what_is_built_is_what_is_parsed() {
        let authority = Authority::root("Root");
        let entries: Vec<RevokedEntry> = RevocationReason::ALL
            .into_iter()
            .zip(1_u8..)
            .map(|(reason, serial)| {
                entry(serial * 28, reason, (serial % 2 == 0).then_some(Timestamp::from_unix(1_700_000_000)))
            })
            .collect();
        let parsed = CertificateList::from_der(&list(&authority, entries.clone())).unwrap();
        assert_eq!(parsed.entries, entries);
        assert_eq!(parsed.number, Some(300));
        assert_eq!(parsed.issuer, authority.certificate.subject);
        assert_eq!(parsed.this_update.to_string(), "2026-01-03T00:00:00Z");
        assert_eq!(parsed.next_update.map(|moment| moment.to_string()).as_deref(), Some("2055-01-04T00:00:00Z"));
        parsed.verify(&authority.certificate).unwrap();
        assert!(parsed.verify(&Authority::root("Root").certificate).is_err());
    }

    #[test]
    fn without_entries_the_list_is_absent() {
        let authority = Authority::root("Root");
        let der = list(&authority, Vec::new());
        let parsed = CertificateList::from_der(&der).unwrap();
        assert!(parsed.entries.is_empty());
        // After nextUpdate comes the [0] of the extensions at once.
        let next_update = der.windows(15).position(|window| window == b"20550104000000Z").unwrap();
        assert_eq!(der[next_update + 15], 0xa0);
    }

    #[test]
    fn an_unspecified_reason_is_not_written() {
        let mut out = Vec::new();
        append_entry(&mut out, &entry(5, RevocationReason::Unspecified, None));
        assert_eq!(hex::encode(out), "3012020105170d3236303130323033303430355a");
    }

    #[test]
    fn truncated_lists_are_malformed() {
        let authority = Authority::root("Root");
        let der = list(&authority, vec![entry(5, RevocationReason::KeyCompromise, None)]);
        for length in 0..der.len() {
            assert!(CertificateList::from_der(&der[..length]).is_err());
        }
    }
}
