//! Revocations as step-ca records them, exported as JSON: the values of its table `x509_revoked_certs`, one object a line or all in one list. Pure.
//!
//! The serial number is decimal there, the reason a code of RFC 5280, section 5.3.1.

use num_bigint::BigUint;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::storage::RevocationRecord;
use crate::x509::crl::RevocationReason;
use crate::x509::{SerialNumber, Timestamp};

/// A revocation; other fields of step-ca's record say who did it and how, and are left out.
#[derive(Deserialize)]
struct Record {
    #[serde(rename = "Serial")]
    serial: String,
    #[serde(rename = "ReasonCode", default)]
    reason_code: u8,
    #[serde(rename = "RevokedAt")]
    revoked_at: Timestamp,
}

/// The place of a record, and what it says or why it cannot be understood.
type Numbered = (usize, Result<(SerialNumber, RevocationRecord)>);

/// Reads every record: serial number and revocation, or the reason why the record (counted from 1) cannot be understood.
///
/// # Errors
/// `Malformed` when the text is a JSON list that does not parse.
pub(super) fn parse(text: &str) -> Result<Vec<Numbered>> {
    if text.trim_start().starts_with('[') {
        let values: Vec<serde_json::Value> = serde_json::from_str(text)
            .map_err(|error| Error::malformed(format!("it is not a JSON list: {error}")).with_source(error))?;
        return Ok(numbered(values.into_iter().map(|value| record(serde_json::from_value(value)))));
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    Ok(numbered(lines.map(|line| record(serde_json::from_str(line)))))
}

fn numbered<T>(items: impl Iterator<Item = T>) -> Vec<(usize, T)> {
    items.enumerate().map(|(index, item)| (index + 1, item)).collect()
}

fn record(record: serde_json::Result<Record>) -> Result<(SerialNumber, RevocationRecord)> {
    let record = record.map_err(|error| {
        Error::malformed(format!(
            "it is not a JSON object with `Serial` (decimal), `ReasonCode` and `RevokedAt`, as step-ca records revocations: {error}"
        ))
        .with_source(error)
    })?;
    let reason = RevocationReason::from_code(record.reason_code).ok_or_else(|| {
        Error::malformed(format!("the reason code {} is not one of RFC 5280, section 5.3.1", record.reason_code))
    })?;
    let revocation = RevocationRecord { reason, revoked_at: record.revoked_at, invalidity_date: None };
    Ok((serial(&record.serial)?, revocation))
}

fn serial(text: &str) -> Result<SerialNumber> {
    // Bounded before it is parsed: 20 octets are 49 digits at most.
    let digits = Some(text).filter(|text| text.len() <= 60 && text.bytes().all(|octet| octet.is_ascii_digit()));
    let number = digits.and_then(|digits| BigUint::parse_bytes(digits.as_bytes(), 10)).ok_or_else(|| {
        let shown: String = text.chars().filter(|c| !c.is_control()).take(60).collect();
        Error::malformed(format!("the serial number `{shown}` is not decimal"))
    })?;
    SerialNumber::from_bytes(&number.to_bytes_be())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"Serial":"68719476741","ProvisionerID":"x","ReasonCode":4,"Reason":"new one","RevokedAt":"2026-01-02T03:04:05.123456789Z","ExpiresAt":"2026-02-01T00:00:00Z","TokenID":"","MTLS":false,"ACME":false}"#;

    #[test]
    fn lines_and_lists_are_read() {
        let expected = (
            "1000000005".parse().unwrap(),
            RevocationRecord {
                reason: RevocationReason::Superseded,
                revoked_at: "2026-01-02T03:04:05Z".parse().unwrap(),
                invalidity_date: None,
            },
        );
        for text in [format!("{LINE}\n"), format!("[{LINE}]"), format!("\n\n{LINE}")] {
            let records = parse(&text).unwrap();
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].1.as_ref().unwrap(), &expected);
        }
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_record_is_said() {
        for (text, reason) in [
            ("{}", "it is not a JSON object with `Serial`"),
            ("nonsense", "it is not a JSON object with `Serial`"),
            (r#"{"Serial":"0x1","RevokedAt":"2026-01-02T03:04:05Z"}"#, "the serial number `0x1` is not decimal"),
            (r#"{"Serial":"","RevokedAt":"2026-01-02T03:04:05Z"}"#, "the serial number `` is not decimal"),
            (r#"{"Serial":"0","RevokedAt":"2026-01-02T03:04:05Z"}"#, "a serial number is a positive integer"),
            (r#"{"Serial":"1","ReasonCode":8,"RevokedAt":"2026-01-02T03:04:05Z"}"#, "the reason code 8 is not one"),
        ] {
            let records = parse(text).unwrap();
            let error = records[0].1.as_ref().unwrap_err();
            assert!(error.detail().starts_with(reason), "{text}: {error}");
        }
        assert!(parse("[1").is_err());
        let long = format!(r#"{{"Serial":"{}","RevokedAt":"2026-01-02T03:04:05Z"}}"#, "9".repeat(60));
        assert!(parse(&long).unwrap()[0].1.is_err());
    }
}
