//! Certificate revocation lists from DER (RFC 5280, section 5.1).

use x509_parser::asn1_rs::{Enumerated, FromDer, Integer};
use x509_parser::revocation_list::{CertificateRevocationList, RevokedCertificate};
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

use super::{RevocationReason, RevokedEntry};
use crate::error::{Error, Result};
use crate::x509::certificate::{Signed, inner_algorithm};
use crate::x509::decoding::{self, shape};
use crate::x509::extension::{Extension, oids};
use crate::x509::{Certificate, DistinguishedName, KeyUsage, SerialNumber, Timestamp};

const WHAT: &str = "certificate revocation list";

/// A parsed CRL.
#[derive(Clone, Debug)]
pub struct CertificateList {
    der: Vec<u8>,
    /// The issuer name.
    pub issuer: DistinguishedName,
    /// The CRL number; `None` when there is none, or when it is 2^64 or more.
    pub number: Option<u64>,
    /// When the CRL was made.
    pub this_update: Timestamp,
    /// By when the next one comes.
    pub next_update: Option<Timestamp>,
    /// The revoked certificates, in order.
    pub entries: Vec<RevokedEntry>,
    extensions: Vec<Extension>,
}

impl CertificateList {
    /// Parses DER.
    ///
    /// # Errors
    /// `Malformed` when it is not one CRL, or one whose entries need something that is not understood here (indirect CRLs).
    pub fn from_der(der: &[u8]) -> Result<Self> {
        shape::CERTIFICATE_LIST.check(der, WHAT)?;
        let signed = Signed::from_der(der, WHAT)?;
        let parsed = decoding::complete(CertificateRevocationList::from_der(der), WHAT)?.tbs_cert_list;
        if parsed.as_ref() != signed.to_be_signed {
            return Err(Error::malformed("the certificate revocation list has fields that it must not have"));
        }
        if parsed.version.is_some_and(|version| version != X509Version::V2) {
            return Err(Error::malformed("the certificate revocation list is not of version 1 or 2"));
        }
        if inner_algorithm(signed.to_be_signed)? != signed.algorithm {
            return Err(Error::malformed("the two signature algorithms of the certificate revocation list differ"));
        }
        let issuer = DistinguishedName::from_parsed(&parsed.issuer)?;
        let this_update = decoding::timestamp(parsed.this_update, "`this_update` of the CRL")?;
        let next_update =
            parsed.next_update.map(|moment| decoding::timestamp(moment, "`next_update` of the CRL")).transpose()?;
        let entries = parsed.revoked_certificates.iter().map(entry).collect::<Result<_>>()?;
        let extensions = Extension::from_parsed(parsed.extensions())?;
        let number = match extensions.iter().find(|extension| extension.oid == oids::CRL_NUMBER) {
            Some(extension) => {
                shape::UNSIGNED.check(&extension.value, "CRL number")?;
                let number = decoding::complete(Integer::from_der(&extension.value), "CRL number")?;
                // The one thing that can be wrong with it now is that it is too large.
                number.as_u64().ok()
            }
            None => None,
        };
        Ok(Self { der: der.to_vec(), issuer, number, this_update, next_update, entries, extensions })
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

    /// Returns the name of the algorithm of the issuer's signature, accepted or not.
    #[must_use]
    pub fn signature_algorithm_name(&self) -> String {
        Signed::from_der(&self.der, WHAT).map_or_else(|_error| "unknown".to_owned(), |signed| signed.algorithm_name())
    }

    /// Verifies the signature with the issuer's key, that the names match, and that the issuer may sign CRLs.
    ///
    /// # Errors
    /// `Malformed` with the reason.
    pub fn verify(&self, issuer: &Certificate) -> Result<()> {
        if self.issuer.as_der() != issuer.subject.as_der() {
            let message = format!("the CRL is issued by `{}`, not by `{}`", self.issuer, issuer.subject);
            return Err(Error::malformed(message));
        }
        if issuer.key_usage.as_ref().is_some_and(|usages| !usages.contains(&KeyUsage::CrlSign)) {
            return Err(Error::malformed(format!("the key usage of `{}` does not allow to sign CRLs", issuer.subject)));
        }
        Signed::from_der(&self.der, WHAT)?.verify(&issuer.public_key)
    }
}

fn entry(parsed: &RevokedCertificate<'_>) -> Result<RevokedEntry> {
    const WHAT: &str = "entry of the CRL";
    let mut entry = RevokedEntry {
        serial: SerialNumber::from_bytes(parsed.raw_serial())?,
        revoked_at: decoding::timestamp(parsed.revocation_date, "revocation date in the CRL")?,
        reason: RevocationReason::Unspecified,
        invalidity_date: None,
    };
    for extension in Extension::from_parsed(parsed.extensions())? {
        let value = extension.value.as_slice();
        match extension.oid {
            oids::REASON_CODE => entry.reason = reason(value)?,
            oids::INVALIDITY_DATE => {
                shape::TIME.check(value, WHAT)?;
                let moment = decoding::complete(ASN1Time::from_der(value), WHAT)?;
                entry.invalidity_date = Some(decoding::timestamp(moment, "invalidity date in the CRL")?);
            }
            oid if extension.critical => {
                let message = format!(
                    "an entry of the CRL has the critical extension `{}`, which is not understood",
                    oids::name(&oid)
                );
                return Err(Error::malformed(message));
            }
            _ => {}
        }
    }
    Ok(entry)
}

fn reason(value: &[u8]) -> Result<RevocationReason> {
    const WHAT: &str = "reason code in the CRL";
    shape::ENUMERATED.check(value, WHAT)?;
    let Enumerated(code) = decoding::complete(Enumerated::from_der(value), WHAT)?;
    u8::try_from(code)
        .ok()
        .and_then(RevocationReason::from_code)
        .ok_or_else(|| Error::malformed(format!("the reason code {code} in the CRL is not one that a full CRL has")))
}
