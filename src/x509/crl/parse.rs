//! Certificate revocation lists from DER (RFC 5280, section 5.1): full ones, those of one distribution point, and deltas.

use x509_parser::asn1_rs::{FromDer, Integer};
use x509_parser::extensions::GeneralName;

use super::entry::{self, Entry, RemovedEntry, RevokedEntry};
use crate::error::{Error, Result};
use crate::x509::certificate::{Signed, inner_algorithm};
use crate::x509::decoding::{self, shape};
use crate::x509::extension::{Extension, decode, general_name, oids};
use crate::x509::{Certificate, DistinguishedName, KeyUsage, Timestamp, encoding};

const WHAT: &str = "certificate revocation list";

/// A parsed CRL.
#[derive(Clone, Debug)]
pub struct CertificateList {
    der: Vec<u8>,
    /// The issuer name.
    pub issuer: DistinguishedName,
    /// The CRL number; `None` when there is none, or when it is 2^64 or more.
    pub number: Option<u64>,
    /// For a delta CRL: the number of the CRL that it builds on (section 5.2.4).
    pub base_number: Option<u64>,
    /// Which certificates it is about (section 5.2.5); all of the issuer's when absent.
    pub distribution_point: Option<IssuingDistributionPoint>,
    /// Where the delta CRL is (section 5.2.6).
    pub freshest_crl: Vec<String>,
    /// When the CRL was made.
    pub this_update: Timestamp,
    /// By when the next one comes.
    pub next_update: Option<Timestamp>,
    /// The revoked certificates, in order.
    pub entries: Vec<RevokedEntry>,
    /// The certificates that a delta CRL takes off the CRL it builds on, in order.
    pub removed: Vec<RemovedEntry>,
    extensions: Vec<Extension>,
}

/// Which certificates a CRL is about (RFC 5280, section 5.2.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuingDistributionPoint {
    /// The addresses, one of which the certificates have as their CRL distribution point, printable; empty when it is about them all.
    pub full_name: Vec<String>,
    /// Only certificates of end entities.
    pub only_contains_user_certificates: bool,
    /// Only certificates of CAs.
    pub only_contains_ca_certificates: bool,
    /// Only some of the reasons.
    pub only_some_reasons: bool,
    /// Certificates of other issuers too.
    pub indirect_crl: bool,
    /// Only attribute certificates.
    pub only_contains_attribute_certificates: bool,
}

impl CertificateList {
    /// Parses DER. The memory it takes is bounded by a small multiple of the input.
    ///
    /// # Errors
    /// `Malformed` when it is not one CRL, or one whose entries need something that is not understood here (indirect CRLs).
    pub fn from_der(der: &[u8]) -> Result<Self> {
        shape::CERTIFICATE_LIST.check(der, WHAT)?;
        let signed = Signed::from_der(der, WHAT)?;
        if inner_algorithm(signed.to_be_signed)? != signed.algorithm {
            return Err(Error::malformed("the two signature algorithms of the certificate revocation list differ"));
        }
        // Read field by field, and not by x509-parser as a whole, for the sake of the entries: see `entry.rs`.
        let mut fields = decoding::only_sequence(signed.to_be_signed, WHAT)?;
        let has_version = fields.peek() == Some(encoding::INTEGER);
        if has_version && fields.any(WHAT)?.content != [1] {
            return Err(Error::malformed("the certificate revocation list is not of version 1 or 2"));
        }
        fields.expect(encoding::SEQUENCE, WHAT)?;
        let issuer = DistinguishedName::from_der(fields.any(WHAT)?.raw)?;
        let this_update = entry::time(fields.any(WHAT)?.raw, "`this_update` of the CRL")?;
        let next_update = match fields.peek() {
            Some(encoding::UTC_TIME | encoding::GENERALIZED_TIME) => {
                Some(entry::time(fields.any(WHAT)?.raw, "`next_update` of the CRL")?)
            }
            _ => None,
        };
        let revoked = match fields.peek() {
            Some(encoding::SEQUENCE) => Some(fields.any(WHAT)?),
            _ => None,
        };
        let extensions = if fields.is_empty() { Vec::new() } else { Extension::read_list(fields.any(WHAT)?.content)? };
        let mut list = Self {
            der: der.to_vec(),
            issuer,
            number: None,
            base_number: None,
            distribution_point: None,
            freshest_crl: Vec::new(),
            this_update,
            next_update,
            entries: Vec::new(),
            removed: Vec::new(),
            extensions: Vec::new(),
        };
        for extension in &extensions {
            list.read_extension(extension)?;
        }
        list.extensions = extensions;
        let is_delta = list.is_delta();
        let mut entries = revoked.map(|revoked| revoked.reader());
        while let Some(reader) = entries.as_mut().filter(|reader| !reader.is_empty()) {
            match entry::read(reader.any(WHAT)?, is_delta)? {
                Entry::Revoked(entry) => list.entries.push(entry),
                Entry::Removed(entry) => list.removed.push(entry),
            }
        }
        Ok(list)
    }

    fn read_extension(&mut self, extension: &Extension) -> Result<()> {
        let value = extension.value.as_slice();
        match extension.oid {
            oids::CRL_NUMBER => self.number = number(value, "CRL number")?,
            oids::DELTA_CRL_INDICATOR => self.base_number = number(value, "delta CRL indicator")?,
            oids::ISSUING_DISTRIBUTION_POINT => {
                self.distribution_point = Some(IssuingDistributionPoint::from_der(value)?);
            }
            // The same syntax.
            oids::FRESHEST_CRL => self.freshest_crl = decode::crl_distribution_points(value)?,
            _ => {}
        }
        Ok(())
    }

    /// Returns the DER.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// Returns every extension in order.
    #[must_use]
    pub fn extensions(&self) -> &[Extension] {
        &self.extensions
    }

    /// Whether it only lists what changed since another CRL (section 5.2.4).
    #[must_use]
    pub fn is_delta(&self) -> bool {
        self.extensions.iter().any(|extension| extension.oid == oids::DELTA_CRL_INDICATOR)
    }

    /// Returns the name of the algorithm of the issuer's signature, accepted or not.
    #[must_use]
    pub fn signature_algorithm_name(&self) -> String {
        Signed::from_der(&self.der, WHAT).map_or_else(|_error| "unknown".to_owned(), |signed| signed.algorithm_name())
    }

    /// Verifies the signature with the issuer's key, that the names match, that the issuer may sign CRLs, and that the CRL has no critical
    /// extension that is not understood here (section 5.2).
    ///
    /// # Errors
    /// `Malformed` with the reason.
    pub fn verify(&self, issuer: &Certificate) -> Result<()> {
        self.check_issuer(issuer)?;
        Signed::from_der(&self.der, WHAT)?.verify(&issuer.public_key)
    }

    /// Verifies as [`verify`](Self::verify) does, but accepts RSA signatures with SHA-1, too: for taking over what a CA signed long ago.
    ///
    /// # Errors
    /// `Malformed` with the reason.
    pub fn verify_once_issued_by(&self, issuer: &Certificate) -> Result<()> {
        self.check_issuer(issuer)?;
        let signed = Signed::from_der(&self.der, WHAT)?;
        if signed.verifies_with_sha1(&issuer.public_key) { Ok(()) } else { signed.verify(&issuer.public_key) }
    }

    /// Checks everything but the signature.
    fn check_issuer(&self, issuer: &Certificate) -> Result<()> {
        const UNDERSTOOD: [const_oid::ObjectIdentifier; 5] = [
            oids::AUTHORITY_KEY_IDENTIFIER,
            oids::CRL_NUMBER,
            oids::DELTA_CRL_INDICATOR,
            oids::ISSUING_DISTRIBUTION_POINT,
            oids::FRESHEST_CRL,
        ];
        if self.issuer.as_der() != issuer.subject.as_der() {
            let message = format!("the CRL is issued by `{}`, not by `{}`", self.issuer, issuer.subject);
            return Err(Error::malformed(message));
        }
        if issuer.key_usage.as_ref().is_some_and(|usages| !usages.contains(&KeyUsage::CrlSign)) {
            return Err(Error::malformed(format!("the key usage of `{}` does not allow to sign CRLs", issuer.subject)));
        }
        let unknown = |extension: &&Extension| extension.critical && !UNDERSTOOD.contains(&extension.oid);
        if let Some(extension) = self.extensions.iter().find(unknown) {
            let name = oids::name(&extension.oid);
            return Err(Error::malformed(format!(
                "the CRL has the critical extension `{name}`, which is not understood"
            )));
        }
        Ok(())
    }
}

impl IssuingDistributionPoint {
    fn from_der(der: &[u8]) -> Result<Self> {
        const WHAT: &str = "issuing distribution point";
        shape::ISSUING_DISTRIBUTION_POINT.check(der, WHAT)?;
        let mut point = Self::default();
        let mut fields = decoding::only_sequence(der, WHAT)?;
        while !fields.is_empty() {
            let field = fields.any(WHAT)?;
            // x509-parser reads this extension only as one of a list, where one that does not parse looks like one that is not known.
            match field.tag & 0x1f {
                0 => point.full_name = full_name(field.reader(), WHAT)?,
                1 => point.only_contains_user_certificates = boolean(field.content, WHAT)?,
                2 => point.only_contains_ca_certificates = boolean(field.content, WHAT)?,
                3 => point.only_some_reasons = true,
                4 => point.indirect_crl = boolean(field.content, WHAT)?,
                _ => point.only_contains_attribute_certificates = boolean(field.content, WHAT)?,
            }
        }
        Ok(point)
    }
}

/// Reads a distribution point name, of which only full names are looked at: nobody uses names relative to the issuer's.
fn full_name(mut name: decoding::Reader<'_>, what: &str) -> Result<Vec<String>> {
    let name = name.any(what)?;
    let mut names = Vec::new();
    if name.tag == encoding::context_constructed(0) {
        let mut reader = name.reader();
        while !reader.is_empty() {
            let parsed = decoding::complete(GeneralName::from_der(reader.any(what)?.raw), what)?;
            names.push(general_name::show(&parsed));
        }
    }
    Ok(names)
}

fn boolean(content: &[u8], what: &str) -> Result<bool> {
    match content {
        [0] => Ok(false),
        [0xff] => Ok(true),
        _ => Err(Error::malformed(format!("{what}: a BOOLEAN is one octet, 0x00 or 0xff"))),
    }
}

/// Reads a CRL number; `None` when it is 2^64 or more.
fn number(der: &[u8], what: &str) -> Result<Option<u64>> {
    shape::UNSIGNED.check(der, what)?;
    let number = decoding::complete(Integer::from_der(der), what)?;
    // The one thing that can be wrong with it now is that it is too large.
    Ok(number.as_u64().ok())
}
