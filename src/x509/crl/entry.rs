//! The entries of a CRL (RFC 5280, section 5.3), written and read without anything being kept on the heap: there may be a million.
//!
//! They are not read by x509-parser, which makes a vector and a map for each of them. By the time they are read here, `shape.rs` has checked
//! that every octet is where DER wants it.

use x509_parser::asn1_rs::FromDer;
use x509_parser::time::ASN1Time;

use super::RevocationReason;
use crate::error::{Error, Result};
use crate::x509::decoding::{self, Value};
use crate::x509::extension::{Extension, oids};
use crate::x509::{SerialNumber, Timestamp, encoding};

const WHAT: &str = "entry of the CRL";

/// The code of `removeFromCRL`, which takes a certificate off a CRL again and is no reason to revoke one (section 5.3.1).
const REMOVE_FROM_CRL: u8 = 8;

/// The whole reason code extension but its last octet, the code.
const REASON_EXTENSION: [u8; 11] = [0x30, 0x0a, 0x06, 0x03, 0x55, 0x1d, 0x15, 0x04, 0x03, 0x0a, 0x01];
/// The whole invalidity date extension but its value, a `GeneralizedTime` always (section 5.3.2).
const INVALIDITY_EXTENSION: [u8; 9] = [0x30, 0x18, 0x06, 0x03, 0x55, 0x1d, 0x18, 0x04, 0x11];
const REASON_LENGTH: usize = REASON_EXTENSION.len() + 1;
const INVALIDITY_LENGTH: usize = INVALIDITY_EXTENSION.len() + 17;

/// One revoked certificate of a CRL.
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

/// A certificate that a delta CRL takes off the CRL it builds on: it was on hold and is so no longer (`removeFromCRL`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedEntry {
    /// The serial number of the certificate.
    pub serial: SerialNumber,
    /// When it was released.
    pub removed_at: Timestamp,
}

/// What an entry says.
pub(super) enum Entry {
    Revoked(RevokedEntry),
    Removed(RemovedEntry),
}

/// Appends the entry of a revoked certificate.
pub(super) fn append_revoked(out: &mut Vec<u8>, entry: &RevokedEntry) {
    let code = (entry.reason != RevocationReason::Unspecified).then(|| entry.reason.code());
    append(out, &entry.serial, entry.revoked_at, code, entry.invalidity_date);
}

/// Appends the entry of a certificate that was released.
pub(super) fn append_removed(out: &mut Vec<u8>, entry: &RemovedEntry) {
    append(out, &entry.serial, entry.removed_at, Some(REMOVE_FROM_CRL), None);
}

fn append(
    out: &mut Vec<u8>,
    serial: &SerialNumber,
    moment: Timestamp,
    code: Option<u8>,
    invalidity_date: Option<Timestamp>,
) {
    let octets = serial.as_bytes();
    let serial_length = octets.len() + usize::from(serial.has_top_bit());
    let extensions = code.map_or(0, |_code| REASON_LENGTH) + invalidity_date.map_or(0, |_moment| INVALIDITY_LENGTH);
    let extensions_length = if extensions == 0 { 0 } else { 2 + extensions };
    encoding::header(out, encoding::SEQUENCE, 2 + serial_length + encoding::time_length(moment) + extensions_length);
    encoding::header(out, encoding::INTEGER, serial_length);
    if serial.has_top_bit() {
        out.push(0);
    }
    out.extend_from_slice(octets);
    encoding::append_time(out, moment);
    if extensions > 0 {
        encoding::header(out, encoding::SEQUENCE, extensions);
    }
    if let Some(code) = code {
        out.extend_from_slice(&REASON_EXTENSION);
        out.push(code);
    }
    if let Some(moment) = invalidity_date {
        out.extend_from_slice(&INVALIDITY_EXTENSION);
        encoding::append_generalized_time(out, moment);
    }
}

/// Reads an entry, whose shape has been checked. Only a delta CRL may take certificates off.
pub(super) fn read(value: Value<'_>, is_delta: bool) -> Result<Entry> {
    let mut fields = value.reader();
    let serial = SerialNumber::from_bytes(fields.any(WHAT)?.content)?;
    let moment = time(fields.any(WHAT)?.raw, "revocation date in the CRL")?;
    let (mut code, mut invalidity_date) = (None, None);
    if !fields.is_empty() {
        let extensions = fields.any(WHAT)?;
        let mut reader = extensions.reader();
        while !reader.is_empty() {
            let extension = reader.any(WHAT)?;
            let mut parts = extension.reader();
            let oid = parts.any(WHAT)?;
            let mut inner = parts.any(WHAT)?;
            if inner.tag == encoding::BOOLEAN {
                inner = parts.any(WHAT)?;
            }
            if oid.content == oids::REASON_CODE.as_bytes() && code.is_none() {
                code = Some(reason_code(inner.content)?);
            } else if oid.content == oids::INVALIDITY_DATE.as_bytes() && invalidity_date.is_none() {
                invalidity_date = Some(time(inner.content, "invalidity date in the CRL")?);
            } else {
                // One that is not known, or twice there.
                check_others(extensions.raw)?;
            }
        }
    }
    let reason = match code {
        None => RevocationReason::Unspecified,
        Some(REMOVE_FROM_CRL) if is_delta => {
            return Ok(Entry::Removed(RemovedEntry { serial, removed_at: moment }));
        }
        Some(code) => RevocationReason::from_code(code).ok_or_else(|| {
            Error::malformed(format!("the reason code {code} in the CRL is not one that a full CRL has"))
        })?,
    };
    Ok(Entry::Revoked(RevokedEntry { serial, revoked_at: moment, reason, invalidity_date }))
}

/// Checks the extensions of an entry that has more than those that are known here.
fn check_others(der: &[u8]) -> Result<()> {
    let known = [oids::REASON_CODE, oids::INVALIDITY_DATE];
    let extensions = Extension::read_list(der)?;
    match extensions.iter().find(|extension| extension.critical && !known.contains(&extension.oid)) {
        None => Ok(()),
        Some(extension) => Err(Error::malformed(format!(
            "an entry of the CRL has the critical extension `{}`, which is not understood",
            oids::name(&extension.oid)
        ))),
    }
}

fn reason_code(der: &[u8]) -> Result<u8> {
    match der {
        [encoding::ENUMERATED, 1, code] => Ok(*code),
        _ => Err(Error::malformed("reason code in the CRL: not an ENUMERATED of one octet")),
    }
}

/// Reads a `Time`.
pub(super) fn time(der: &[u8], what: &str) -> Result<Timestamp> {
    decoding::shape::TIME.check(der, what)?;
    decoding::timestamp(decoding::complete(ASN1Time::from_der(der), what)?, what)
}
