//! The values of OCSP: what is known of a serial number, and the delegated responders with their sealed keys.

use super::{AuditEvent, CertificateState, NewCertificate, RevocationRecord};
use crate::signer::sealing::Sealed;
use crate::x509::Timestamp;

/// What is known of a serial number that an issuer gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialStatus {
    /// The state.
    pub state: CertificateState,
    /// Present exactly when the state is not `valid`.
    pub revocation: Option<RevocationRecord>,
}

/// A delegated responder of an issuer (RFC 6960, section 4.2.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcspResponderRecord {
    /// The issuer's row.
    pub issuer_id: i32,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Sealed,
    /// The first second of the certificate's validity.
    pub not_before: Timestamp,
    /// The last second of the certificate's validity.
    pub not_after: Timestamp,
}

/// A delegated responder about to be recorded.
#[derive(Clone, Debug)]
pub struct NewOcspResponder {
    /// The responder.
    pub responder: OcspResponderRecord,
    /// Its certificate for the inventory.
    pub certificate: NewCertificate,
    /// The event.
    pub audit: AuditEvent,
}
