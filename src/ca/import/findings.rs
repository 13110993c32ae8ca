//! What a CA left behind, put together from its files: certificates, each verified with the CA's key before it is taken, and revocations. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{openssl_index, step_revocations};
use crate::error::{Error, Result};
use crate::storage::RevocationRecord;
use crate::x509::crl::{CertificateList, RevocationReason};
use crate::x509::extension::oids;
use crate::x509::{Certificate, SerialNumber, Timestamp, pem};

/// The greatest number of an earlier CRL that is taken over: the numbers that follow it must not run out.
const GREATEST_CRL_NUMBER: i64 = 1 << 62;
/// The most certificates of one import.
const MAXIMUM_CERTIFICATES: usize = 1_000_000;
/// The most revocations of one import.
const MAXIMUM_REVOCATIONS: usize = 5_000_000;
/// The most things that were skipped which a report names one by one.
const MAXIMUM_LISTED: usize = 1000;

/// A certificate that the CA issued.
#[derive(Clone, Debug)]
pub struct FoundCertificate {
    /// The certificate.
    pub certificate: Certificate,
    /// Why and when it was revoked.
    pub revocation: Option<RevocationRecord>,
}

/// A serial number that the CA revoked, whose certificate was not found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRevocation {
    /// The serial number.
    pub serial: SerialNumber,
    /// Why and when.
    pub revocation: RevocationRecord,
    /// The end of the certificate's validity, if known.
    pub not_after: Option<Timestamp>,
}

/// Something that was not taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Skipped {
    /// Where it stands: a file, with a line or the place of a PEM block.
    #[schema(example = "certificates[1]")]
    pub origin: String,
    /// The serial number, if it could be read.
    #[schema(value_type = Option<String>, example = "1001")]
    #[serde(serialize_with = "shown")]
    pub serial: Option<SerialNumber>,
    /// Why.
    #[schema(example = "it is not signed by the CA `CN=Old CA`")]
    pub reason: String,
}

fn shown<S: serde::Serializer>(serial: &Option<SerialNumber>, serializer: S) -> Result<S::Ok, S::Error> {
    serial.as_ref().map(ToString::to_string).serialize(serializer)
}

/// What was not taken over, in bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkippedList {
    /// The first 1000.
    pub listed: Vec<Skipped>,
    /// How many there are in all.
    pub total: usize,
}

impl SkippedList {
    /// Adds one.
    pub fn push(&mut self, origin: impl Into<String>, serial: Option<SerialNumber>, reason: impl Into<String>) {
        self.total += 1;
        if self.listed.len() < MAXIMUM_LISTED {
            self.listed.push(Skipped { origin: origin.into(), serial, reason: reason.into() });
        }
    }

    /// Adds those of another list.
    pub fn append(&mut self, other: Self) {
        self.total += other.total;
        let room = MAXIMUM_LISTED.saturating_sub(self.listed.len());
        self.listed.extend(other.listed.into_iter().take(room));
    }
}

/// Everything that was found of a CA.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The certificates, by serial number.
    pub certificates: Vec<FoundCertificate>,
    /// Revoked serial numbers without certificate.
    pub revocations: Vec<FoundRevocation>,
    /// The greatest number of its CRLs; 0 when there was none.
    pub crl_number: i64,
    /// How many certificates were found more than once.
    pub duplicates: usize,
    /// What was not taken, and why.
    pub skipped: SkippedList,
}

/// Collects what a CA left behind.
#[derive(Debug)]
pub struct Collector<'a> {
    issuer: &'a Certificate,
    certificates: BTreeMap<SerialNumber, Certificate>,
    revocations: BTreeMap<SerialNumber, (RevocationRecord, Option<Timestamp>)>,
    /// Serial numbers that an index knows as not revoked, and in which line.
    listed: BTreeMap<SerialNumber, String>,
    crl_number: i64,
    repeated: usize,
    skipped: SkippedList,
}

impl<'a> Collector<'a> {
    /// Begins with nothing; `issuer` is the CA whose key has signed what will be found.
    #[must_use]
    pub fn new(issuer: &'a Certificate) -> Self {
        Self {
            issuer,
            certificates: BTreeMap::new(),
            revocations: BTreeMap::new(),
            listed: BTreeMap::new(),
            crl_number: 0,
            repeated: 0,
            skipped: SkippedList::default(),
        }
    }

    /// Takes the certificates of a file: PEM with any number of them, or one in DER. Answers whether it was a file with certificates; what is
    /// anything else is left alone.
    ///
    /// # Errors
    /// `Malformed` when there are more certificates than one import may have.
    pub fn add_certificates(&mut self, origin: &str, content: &[u8]) -> Result<bool> {
        let blocks = match certificates_of(content) {
            Ok(blocks) if blocks.is_empty() => return Ok(false),
            Ok(blocks) => blocks,
            Err(error) => {
                self.skipped.push(origin, None, error.detail());
                return Ok(true);
            }
        };
        let many = blocks.len() > 1;
        for (index, der) in blocks.iter().enumerate() {
            let place = if many { format!("{origin}, certificate {}", index + 1) } else { origin.to_owned() };
            self.add_certificate(&place, der)?;
        }
        Ok(true)
    }

    fn add_certificate(&mut self, origin: &str, der: &[u8]) -> Result<()> {
        let certificate = match Certificate::from_der(der) {
            Ok(certificate) => certificate,
            Err(error) => {
                self.skipped.push(origin, None, format!("it cannot be read: {error}"));
                return Ok(());
            }
        };
        let serial = certificate.serial.clone();
        if certificate.as_der() == self.issuer.as_der() {
            self.skipped.push(origin, Some(serial), "it is the CA's own certificate");
            return Ok(());
        }
        if let Err(error) = certificate.verify_once_issued_by(self.issuer) {
            let reason = format!("it is not signed by the CA `{}`: {error}", self.issuer.subject);
            self.skipped.push(origin, Some(serial), reason);
            return Ok(());
        }
        match self.certificates.get(&serial) {
            Some(known) if known.as_der() == certificate.as_der() => self.repeated += 1,
            Some(_) => self.skipped.push(
                origin,
                Some(serial),
                "another certificate with this serial number was found before it; a CA must not use one twice",
            ),
            None if self.certificates.len() >= MAXIMUM_CERTIFICATES => {
                return Err(Error::malformed(format!(
                    "there are more than {MAXIMUM_CERTIFICATES} certificates; import them in parts"
                )));
            }
            None => {
                self.certificates.insert(serial, certificate);
            }
        }
        Ok(())
    }

    /// Takes the revocations and the number of a full CRL, PEM or DER, which the CA must have signed.
    ///
    /// # Errors
    /// `Malformed`: not a CRL, not signed by the CA, a delta CRL, a number that cannot be counted on from.
    pub fn add_crl(&mut self, content: &[u8]) -> Result<()> {
        let list = CertificateList::from_der(&crl_of(content)?)?;
        list.verify_once_issued_by(self.issuer)?;
        let has = |oid| list.extensions().iter().any(|extension| extension.oid == oid);
        if has(oids::DELTA_CRL_INDICATOR) {
            return Err(Error::malformed("the CRL is a delta CRL, which lacks most revocations; a full one is needed"));
        }
        let number = match list.number {
            Some(number) => i64::try_from(number).ok().filter(|number| *number <= GREATEST_CRL_NUMBER),
            None if has(oids::CRL_NUMBER) => None,
            None => Some(0),
        };
        let number = number.ok_or_else(|| {
            Error::malformed(
                "the CRL's number is greater than 2^62, which leaves too little room for the numbers that follow it",
            )
        })?;
        self.crl_number = self.crl_number.max(number);
        for entry in list.entries {
            let revocation = RevocationRecord {
                reason: entry.reason,
                revoked_at: entry.revoked_at,
                invalidity_date: entry.invalidity_date,
            };
            self.revoke(entry.serial, revocation, None)?;
        }
        Ok(())
    }

    /// Takes the content of OpenSSL's file `crlnumber`: the number of the next CRL, hex.
    ///
    /// # Errors
    /// `Malformed` when it is no such number.
    pub fn add_openssl_crl_number(&mut self, text: &str) -> Result<()> {
        let next = i64::from_str_radix(text.trim(), 16).ok().filter(|next| (0..=GREATEST_CRL_NUMBER).contains(next));
        let next = next.ok_or_else(|| Error::malformed("`crlnumber` does not hold a hex number of at most 2^62"))?;
        self.crl_number = self.crl_number.max(next.saturating_sub(1));
        Ok(())
    }

    /// Takes what OpenSSL's `index.txt` says.
    ///
    /// # Errors
    /// `Malformed` when there are more revocations than one import may have.
    pub fn add_openssl_index(&mut self, origin: &str, text: &str) -> Result<()> {
        for (line, entry) in openssl_index::parse(text) {
            let place = format!("{origin}, line {line}");
            match entry {
                Ok(entry) => match entry.revocation {
                    Some(revocation) => self.revoke(entry.serial, revocation, Some(entry.not_after))?,
                    None => {
                        self.listed.insert(entry.serial, place);
                    }
                },
                Err(error) => self.skipped.push(place, None, error.detail()),
            }
        }
        Ok(())
    }

    /// Takes revocations as step-ca records them.
    ///
    /// # Errors
    /// `Malformed` when it is not JSON, or there are more revocations than one import may have.
    pub fn add_step_revocations(&mut self, origin: &str, text: &str) -> Result<()> {
        for (number, record) in step_revocations::parse(text)? {
            match record {
                Ok((serial, revocation)) => self.revoke(serial, revocation, None)?,
                Err(error) => self.skipped.push(format!("{origin}, record {number}"), None, error.detail()),
            }
        }
        Ok(())
    }

    /// Names something that was not taken.
    pub fn skip(&mut self, origin: &str, reason: &str) {
        self.skipped.push(origin, None, reason);
    }

    /// Puts what several files say about one serial number together: revoked for good outweighs a hold, the earlier time the later.
    fn revoke(
        &mut self,
        serial: SerialNumber,
        revocation: RevocationRecord,
        not_after: Option<Timestamp>,
    ) -> Result<()> {
        if self.revocations.len() >= MAXIMUM_REVOCATIONS {
            return Err(Error::malformed(format!("there are more than {MAXIMUM_REVOCATIONS} revocations")));
        }
        let entry = self.revocations.entry(serial).or_insert((revocation, not_after));
        let rank = |revocation: &RevocationRecord| {
            (revocation.reason == RevocationReason::CertificateHold, revocation.revoked_at)
        };
        let (known, end) = entry;
        let invalidity_date = known.invalidity_date.or(revocation.invalidity_date);
        if rank(&revocation) < rank(known) {
            *known = revocation;
        }
        known.invalidity_date = invalidity_date;
        *end = end.or(not_after);
        Ok(())
    }

    /// Gives everything that was found.
    #[must_use]
    pub fn finish(mut self) -> Findings {
        for (serial, origin) in std::mem::take(&mut self.listed) {
            if !self.certificates.contains_key(&serial) && !self.revocations.contains_key(&serial) {
                let reason = "its certificate was not found; it stays unknown here until it is imported";
                self.skipped.push(origin, Some(serial), reason);
            }
        }
        let certificates = self
            .certificates
            .into_iter()
            .map(|(serial, certificate)| {
                let revocation = self.revocations.remove(&serial).map(|(revocation, _)| revocation);
                FoundCertificate { certificate, revocation }
            })
            .collect();
        let revocations = self
            .revocations
            .into_iter()
            .map(|(serial, (revocation, not_after))| FoundRevocation { serial, revocation, not_after })
            .collect();
        Findings {
            certificates,
            revocations,
            crl_number: self.crl_number,
            duplicates: self.repeated,
            skipped: self.skipped,
        }
    }
}

/// Returns the DER of every certificate of a file; none for a file of something else.
pub(super) fn certificates_of(content: &[u8]) -> Result<Vec<Vec<u8>>> {
    // OpenSSL writes a description before the block, whose names may be in any encoding.
    let text = String::from_utf8_lossy(content);
    if text.contains("-----BEGIN ") {
        return Ok(pem::decode_matching(&text, pem::is_certificate)?.into_iter().map(|(_, der)| der).collect());
    }
    Ok(if content.first() == Some(&0x30) { vec![content.to_vec()] } else { Vec::new() })
}

fn crl_of(content: &[u8]) -> Result<Vec<u8>> {
    let text = String::from_utf8_lossy(content);
    if !text.contains("-----BEGIN ") {
        return Ok(content.to_vec());
    }
    let mut lists = pem::decode_matching(&text, |label| label == "X509 CRL")?.into_iter().map(|(_, der)| der);
    match (lists.next(), lists.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Error::malformed("there is no `X509 CRL` PEM block")),
        (Some(_), Some(_)) => Err(Error::malformed("there is more than one CRL; give one at a time")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::x509::SignatureAlgorithm;
    use crate::x509::crl::{CrlTemplate, RevokedEntry};
    use crate::x509::testing::Authority;

    // The serial number of every certificate that x509::testing makes.
    const SERIAL: &str = "0102";

    fn record(reason: RevocationReason, at: &str) -> RevocationRecord {
        RevocationRecord { reason, revoked_at: at.parse().unwrap(), invalidity_date: None }
    }

    #[test]
    fn only_certificates_of_the_ca_are_taken_and_the_rest_is_named() {
        let root = Authority::root("Old");
        let leaf = root.leaf("a.example");
        let stranger = Authority::root("Old").leaf("b.example");
        let mut collector = Collector::new(&root.certificate);
        let bundle =
            [&leaf, &root.certificate, &stranger, &leaf, &root.leaf("other.example")].map(|c| c.to_pem()).concat();
        assert!(collector.add_certificates("bundle", bundle.as_bytes()).unwrap());
        assert!(collector.add_certificates("leaf.der", leaf.as_der()).unwrap());
        assert!(collector.add_certificates("key.der", &[0x30, 0]).unwrap());
        assert!(collector.add_certificates("broken.pem", b"-----BEGIN CERTIFICATE-----\n").unwrap());
        assert!(!collector.add_certificates("index.txt", b"V\t\t\t").unwrap());
        assert!(!collector.add_certificates("empty", b"").unwrap());
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(!collector.add_certificates("key.pem", key.as_bytes()).unwrap());
        let findings = collector.finish();
        assert_eq!(findings.certificates.len(), 1);
        assert_eq!(findings.certificates[0].certificate.as_der(), leaf.as_der());
        assert_eq!(findings.duplicates, 2);
        let listed: Vec<String> = findings
            .skipped
            .listed
            .iter()
            .map(|skipped| format!("{} {:?}: {}", skipped.origin, skipped.serial, skipped.reason))
            .collect();
        assert_eq!(
            listed,
            [
                "bundle, certificate 2 Some(0102): it is the CA's own certificate",
                "bundle, certificate 3 Some(0102): it is not signed by the CA `CN=Old`: the `ecdsa-sha256` signature does not verify with the `ecdsa-p256` key",
                "bundle, certificate 5 Some(0102): another certificate with this serial number was found before it; a CA must not use one twice",
                "key.der None: it cannot be read: certificate: the DER ends too early",
                "broken.pem None: the PEM block `CERTIFICATE` has no END line",
            ]
        );
    }

    #[test]
    fn what_an_index_says_belongs_to_the_certificates_or_stands_alone() {
        let root = Authority::root("Old");
        let mut collector = Collector::new(&root.certificate);
        collector.add_certificates("leaf", root.leaf("a.example").as_der()).unwrap();
        let index = "R\t301231235959Z\t260102030405Z,superseded\t0102\tunknown\t/CN=a\n\
                     R\t301231235959Z\t260102030406Z\t05\tunknown\t/CN=b\n\
                     V\t301231235959Z\t\t06\tunknown\t/CN=c\nnonsense\n";
        collector.add_openssl_index("index.txt", index).unwrap();
        collector.add_openssl_crl_number("1F\n").unwrap();
        assert!(collector.add_openssl_crl_number("-1").is_err());
        assert!(collector.add_openssl_crl_number("4000000000000001").is_err());
        assert!(collector.add_openssl_crl_number("").is_err());
        let findings = collector.finish();
        let superseded = record(RevocationReason::Superseded, "2026-01-02T03:04:05Z");
        assert_eq!(findings.certificates[0].revocation, Some(superseded));
        assert_eq!(
            findings.revocations,
            [FoundRevocation {
                serial: "05".parse().unwrap(),
                revocation: record(RevocationReason::Unspecified, "2026-01-02T03:04:06Z"),
                not_after: Some("2030-12-31T23:59:59Z".parse().unwrap()),
            }]
        );
        assert_eq!(findings.crl_number, 30);
        assert_eq!(findings.skipped.total, 2);
        assert_eq!(findings.skipped.listed[1].origin, "index.txt, line 3");
        assert_eq!(findings.skipped.listed[1].serial, Some("06".parse().unwrap()));
    }

    #[test]
    fn several_sources_are_put_together_and_the_graver_one_holds() {
        let root = Authority::root("Old");
        let hold = record(RevocationReason::CertificateHold, "2026-01-01T00:00:00Z");
        let late = record(RevocationReason::Superseded, "2026-03-01T00:00:00Z");
        let early = RevocationRecord {
            invalidity_date: Some("2025-01-01T00:00:00Z".parse().unwrap()),
            ..record(RevocationReason::KeyCompromise, "2026-02-01T00:00:00Z")
        };
        for order in [[hold, late, early], [early, late, hold], [late, hold, early], [late, early, hold]] {
            let mut collector = Collector::new(&root.certificate);
            for revocation in order {
                collector.revoke(SERIAL.parse().unwrap(), revocation, None).unwrap();
            }
            assert_eq!(collector.finish().revocations[0].revocation, early);
        }
    }

    fn crl(authority: &Authority, number: u64) -> Vec<u8> {
        let template = CrlTemplate {
            signature_algorithm: SignatureAlgorithm::EcdsaSha256,
            issuer: &authority.certificate.subject,
            authority_key_identifier: &authority.certificate.subject_key_identifier.clone().unwrap(),
            number,
            this_update: "2026-01-01T00:00:00Z".parse().unwrap(),
            next_update: "2026-02-01T00:00:00Z".parse().unwrap(),
            distribution_point: None,
            base_number: None,
            freshest_crl: None,
        };
        let entry = RevokedEntry {
            serial: SERIAL.parse().unwrap(),
            revoked_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            reason: RevocationReason::CertificateHold,
            invalidity_date: None,
        };
        let mut builder = template.begin(0).unwrap();
        builder.push(&entry);
        authority.sign(builder.finish().to_be_signed())
    }

    #[test]
    fn a_crl_counts_only_when_the_ca_signed_it() {
        let root = Authority::root("Old");
        let mut collector = Collector::new(&root.certificate);
        collector.add_crl(&crl(&root, 41)).unwrap();
        collector.add_crl(pem::encode("X509 CRL", &crl(&root, 7)).as_bytes()).unwrap();
        assert!(collector.add_crl(&crl(&Authority::root("Old"), 99)).is_err());
        assert!(collector.add_crl(b"-----BEGIN X509 CRL-----\n").is_err());
        assert!(collector.add_crl(root.certificate.to_pem().as_bytes()).is_err());
        let error = collector.add_crl(&crl(&root, u64::MAX)).unwrap_err();
        assert!(error.detail().contains("greater than 2^62"), "{error}");
        let findings = collector.finish();
        assert_eq!(findings.crl_number, 41);
        assert_eq!(findings.revocations[0].revocation.reason, RevocationReason::CertificateHold);
    }

    #[test]
    fn the_list_of_what_was_skipped_is_bounded() {
        let mut skipped = SkippedList::default();
        for index in 0..2000 {
            skipped.push(format!("file {index}"), None, "no");
        }
        assert_eq!((skipped.listed.len(), skipped.total), (1000, 2000));
    }
}
