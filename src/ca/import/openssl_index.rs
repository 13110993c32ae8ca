//! `index.txt`, the database of `openssl ca`: one certificate a line, six fields between tabs. Pure.
//!
//! The fields are: status (`V`, `R`, `E`), end of validity, time of revocation (with its reason, and what belongs to the reason, after commas), serial
//! number in hex, file name or `unknown`, subject. See OpenSSL's `apps/lib/apps.c` (`unpack_revinfo`) for the reasons.

use time::{Date, Month, PrimitiveDateTime, Time};

use crate::error::{Error, Result};
use crate::storage::RevocationRecord;
use crate::x509::crl::RevocationReason;
use crate::x509::{SerialNumber, Timestamp};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The serial number.
    pub(super) serial: SerialNumber,
    /// The end of validity.
    pub(super) not_after: Timestamp,
    /// Why and when it was revoked.
    pub(super) revocation: Option<RevocationRecord>,
}

/// Reads every line: the entry, or the reason why the line (counted from 1) cannot be understood. Empty lines and comments are passed over.
pub(super) fn parse(text: &str) -> impl Iterator<Item = (usize, Result<Entry>)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim_end_matches('\r')))
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(number, line)| (number, entry(line)))
}

fn entry(line: &str) -> Result<Entry> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [status, not_after, revoked, serial, _file, _subject] = fields.as_slice() else {
        return Err(Error::malformed(format!("it has {} fields between tabs, not 6", fields.len())));
    };
    let revocation = match *status {
        "V" | "E" if revoked.is_empty() => None,
        "R" => revocation(revoked)?,
        "V" | "E" => return Err(Error::malformed("it has a time of revocation and is not revoked")),
        other => {
            let shown: String = other.chars().filter(|c| !c.is_control()).take(10).collect();
            return Err(Error::malformed(format!("the status `{shown}` is none of `V`, `R` and `E`")));
        }
    };
    Ok(Entry { serial: serial.parse()?, not_after: moment(not_after)?, revocation })
}

/// Reads `time[,reason[,argument]]`. `removeFromCRL` means that it is revoked no more.
fn revocation(field: &str) -> Result<Option<RevocationRecord>> {
    let mut parts = field.splitn(3, ',');
    let revoked_at = moment(parts.next().unwrap_or_default())?;
    let (name, argument) = (parts.next(), parts.next());
    let mut invalidity_date = None;
    // OpenSSL compares without regard to case.
    let reason = match name.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "unspecified") => RevocationReason::Unspecified,
        Some("keycompromise") => RevocationReason::KeyCompromise,
        Some("cacompromise") => RevocationReason::CaCompromise,
        Some("affiliationchanged") => RevocationReason::AffiliationChanged,
        Some("superseded") => RevocationReason::Superseded,
        Some("cessationofoperation") => RevocationReason::CessationOfOperation,
        // The instruction (an object identifier) is deprecated and was never more than advice.
        Some("certificatehold" | "holdinstruction") => RevocationReason::CertificateHold,
        Some("privilegewithdrawn") => RevocationReason::PrivilegeWithdrawn,
        Some("aacompromise") => RevocationReason::AaCompromise,
        Some("keytime") => {
            invalidity_date = Some(moment(argument.unwrap_or_default())?);
            RevocationReason::KeyCompromise
        }
        Some("cakeytime") => {
            invalidity_date = Some(moment(argument.unwrap_or_default())?);
            RevocationReason::CaCompromise
        }
        Some("removefromcrl") => return Ok(None),
        Some(other) => {
            let shown: String = other.chars().filter(|c| !c.is_control()).take(40).collect();
            return Err(Error::malformed(format!("the reason `{shown}` is not one that OpenSSL writes")));
        }
    };
    Ok(Some(RevocationRecord { reason, revoked_at, invalidity_date }))
}

/// Reads `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`; two digits of a year are those of 1950 to 2049 (RFC 5280, section 4.1.2.5.1).
fn moment(text: &str) -> Result<Timestamp> {
    let malformed = || {
        let shown: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
        Error::malformed(format!("`{shown}` is not a time such as `301231235959Z` or `20501231235959Z`"))
    };
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()));
    let digits = digits.ok_or_else(malformed)?;
    let (year, rest) = match digits.len() {
        12 => digits.split_at_checked(2),
        14 => digits.split_at_checked(4),
        _ => None,
    }
    .ok_or_else(malformed)?;
    let short = year.len() == 2;
    let year: i32 = year.parse().map_err(|error| malformed().with_source(error))?;
    let year = match (short, year) {
        (false, year) => year,
        (true, year @ 0..50) => 2000 + year,
        (true, year) => 1900 + year,
    };
    let mut numbers = rest.as_bytes().chunks(2).map(|pair| match pair {
        [tens, ones] => (tens - b'0') * 10 + (ones - b'0'),
        _ => 0,
    });
    let mut next = || numbers.next().unwrap_or_default();
    let date = Month::try_from(next()).and_then(|month| Date::from_calendar_date(year, month, next()));
    let date = date.map_err(|error| malformed().with_source(error))?;
    let time = Time::from_hms(next(), next(), next()).map_err(|error| malformed().with_source(error))?;
    let unix = PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp();
    if unix < Timestamp::MIN.unix() {
        return Err(malformed());
    }
    Ok(Timestamp::from_unix(unix))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn one(line: &str) -> Entry {
        entry(line).unwrap()
    }

    fn revoked(reason: RevocationReason, invalidity_date: Option<&str>) -> Option<RevocationRecord> {
        Some(RevocationRecord {
            reason,
            revoked_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            invalidity_date: invalidity_date.map(|text| text.parse().unwrap()),
        })
    }

    #[test]
    fn lines_of_every_status_are_read() {
        let valid = one("V\t491231235959Z\t\t1A2B\tunknown\t/C=DE/CN=a.example");
        assert_eq!(valid.serial.to_string(), "1a2b");
        assert_eq!(valid.not_after.to_string(), "2049-12-31T23:59:59Z");
        assert_eq!(valid.revocation, None);
        assert_eq!(one("E\t20501231235959Z\t\t01\tunknown\t/CN=a").not_after.to_string(), "2050-12-31T23:59:59Z");
        assert_eq!(one("E\t500101000000Z\t\t01\tunknown\t/CN=a").not_after.to_string(), "1950-01-01T00:00:00Z");
        let line = "R\t301231235959Z\t260102030405Z\t01\tnewcerts/01.pem\t/CN=a";
        assert_eq!(one(line).revocation, revoked(RevocationReason::Unspecified, None));
    }

    #[test]
    fn every_reason_that_openssl_writes_is_understood() {
        let date = Some("2025-12-31T00:00:00Z");
        for (field, reason, invalidity) in [
            ("unspecified", RevocationReason::Unspecified, None),
            ("keyCompromise", RevocationReason::KeyCompromise, None),
            ("CACompromise", RevocationReason::CaCompromise, None),
            ("affiliationChanged", RevocationReason::AffiliationChanged, None),
            ("superseded", RevocationReason::Superseded, None),
            ("cessationOfOperation", RevocationReason::CessationOfOperation, None),
            ("certificateHold", RevocationReason::CertificateHold, None),
            ("holdInstruction,1.2.840.10040.2.1", RevocationReason::CertificateHold, None),
            ("keyTime,20251231000000Z", RevocationReason::KeyCompromise, date),
            ("CAkeyTime,20251231000000Z", RevocationReason::CaCompromise, date),
        ] {
            let line = format!("R\t301231235959Z\t260102030405Z,{field}\t01\tunknown\t/CN=a");
            assert_eq!(one(&line).revocation, revoked(reason, invalidity), "{field}");
        }
        let line = "R\t301231235959Z\t260102030405Z,removeFromCRL\t01\tunknown\t/CN=a";
        assert_eq!(one(line).revocation, None);
    }

    #[test]
    fn lines_that_cannot_be_understood_are_named_by_number_and_reason() {
        let text = "V\t301231235959Z\t\t01\tunknown\t/CN=a\n\n\
                    V\t301231235959Z\t\t01\tunknown\n\
                    X\t301231235959Z\t\t01\tunknown\t/CN=a\n\
                    V\t301331235959Z\t\t01\tunknown\t/CN=a\n\
                    V\t3012312359Z\t\t01\tunknown\t/CN=a\n\
                    V\t301231235959Z\t\tzz\tunknown\t/CN=a\n\
                    V\t301231235959Z\t260102030405Z\t01\tunknown\t/CN=a\n\
                    R\t301231235959Z\t\t01\tunknown\t/CN=a\n\
                    R\t301231235959Z\t260102030405Z,keyTime\t01\tunknown\t/CN=a\n\
                    R\t301231235959Z\t260102030405Z,because\t01\tunknown\t/CN=a\n";
        let outcomes: Vec<(usize, Option<String>)> =
            parse(text).map(|(line, outcome)| (line, outcome.err().map(|error| error.detail().to_owned()))).collect();
        let time = "is not a time such as `301231235959Z` or `20501231235959Z`";
        assert_eq!(
            outcomes,
            [
                (1, None),
                (3, Some("it has 5 fields between tabs, not 6".to_owned())),
                (4, Some("the status `X` is none of `V`, `R` and `E`".to_owned())),
                (5, Some(format!("`301331235959Z` {time}"))),
                (6, Some(format!("`3012312359Z` {time}"))),
                (7, Some("`zz` is not a serial number: up to 40 hex digits".to_owned())),
                (8, Some("it has a time of revocation and is not revoked".to_owned())),
                (9, Some(format!("`` {time}"))),
                (10, Some(format!("`` {time}"))),
                (11, Some("the reason `because` is not one that OpenSSL writes".to_owned())),
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[VRE\t0-9Z,a-zé\n]{0,200}") {
            parse(&text).for_each(drop);
            let _outcome = moment(&text);
        }
    }
}
