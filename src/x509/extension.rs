//! Certificate extensions (RFC 5280, section 4.2): their encodings, one function each, criticality included.

pub(crate) mod decode;
pub(crate) mod general_name;
pub(crate) mod oids;

use const_oid::ObjectIdentifier;

use x509_parser::extensions::{X509Extension, X509ExtensionParser};
use x509_parser::nom::Parser;

use super::decoding::{self, shape};
use super::encoding;
use super::usage::KeyUsages;
use super::{ExtendedKeyUsage, PublicKey, SubjectAltName};

use crate::error::{Error, Result};

/// The TLS extension number of `status_request` (RFC 6066), as the TLS feature extension lists it.
pub(crate) const STATUS_REQUEST: u64 = 5;

/// One extension: identifier, criticality, and the DER inside its OCTET STRING.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The identifier.
    pub oid: ObjectIdentifier,
    /// Whether a relying party that does not know it must reject the certificate.
    pub critical: bool,
    /// The DER of the extension's value.
    pub value: Vec<u8>,
}

impl Extension {
    /// Basic constraints (RFC 5280, section 4.2.1.9), critical. `None`: not a CA; `Some(limit)`: a CA with that path length.
    #[must_use]
    pub fn basic_constraints(ca: Option<Option<u8>>) -> Self {
        let value = match ca {
            None => encoding::sequence(&[]),
            Some(None) => encoding::sequence(&[&encoding::boolean_true()]),
            Some(Some(limit)) => {
                encoding::sequence(&[&encoding::boolean_true(), &encoding::unsigned(u64::from(limit))])
            }
        };
        Self { oid: oids::BASIC_CONSTRAINTS, critical: true, value }
    }
    /// Key usage (section 4.2.1.3), critical. The set must not be empty.
    #[must_use]
    pub fn key_usage(usages: &KeyUsages) -> Self {
        let mut bits = [0_u8; 2];
        for usage in usages {
            let bit = usage.bit();
            if let Some(octet) = bits.get_mut(usize::from(bit / 8)) {
                *octet |= 0x80 >> (bit % 8);
            }
        }
        // A named bit list ends at its last set bit (X.690, section 11.2.2).
        let content = match bits {
            [0, 0] => vec![0],
            [first, 0] => vec![trailing_zeros(first), first],
            [first, second] => vec![trailing_zeros(second), first, second],
        };
        Self { oid: oids::KEY_USAGE, critical: true, value: encoding::value(encoding::BIT_STRING, &content) }
    }
    /// Extended key usage (section 4.2.1.12), not critical.
    #[must_use]
    pub fn extended_key_usage(usages: &[ExtendedKeyUsage]) -> Self {
        let usages: Vec<Vec<u8>> = usages.iter().map(|usage| encoding::object_identifier(&usage.oid())).collect();
        Self { oid: oids::EXTENDED_KEY_USAGE, critical: false, value: encoding::sequence(&[&usages.concat()]) }
    }
    /// Subject alternative name (section 4.2.1.6); critical exactly when the subject is empty.
    #[must_use]
    pub fn subject_alt_name(names: &[SubjectAltName], critical: bool) -> Self {
        let mut value = Vec::new();
        for name in names {
            general_name::append(&mut value, name);
        }
        encoding::wrap(&mut value, 0, encoding::SEQUENCE);
        Self { oid: oids::SUBJECT_ALT_NAME, critical, value }
    }
    /// Subject key identifier (section 4.2.1.2).
    #[must_use]
    pub fn subject_key_identifier(key: &PublicKey) -> Self {
        let value = encoding::value(encoding::OCTET_STRING, &key.key_identifier());
        Self { oid: oids::SUBJECT_KEY_IDENTIFIER, critical: false, value }
    }
    /// Authority key identifier (section 4.2.1.1), the key identifier only. `key_identifier` is the issuer certificate's own SKI.
    #[must_use]
    pub fn authority_key_identifier(key_identifier: &[u8]) -> Self {
        let value = encoding::sequence(&[&encoding::value(encoding::context(0), key_identifier)]);
        Self { oid: oids::AUTHORITY_KEY_IDENTIFIER, critical: false, value }
    }
    /// CRL distribution points (section 4.2.1.13): one point whose full name is all the given URIs.
    #[must_use]
    pub fn crl_distribution_points(uris: &[String]) -> Self {
        Self { oid: oids::CRL_DISTRIBUTION_POINTS, critical: false, value: distribution_points(uris) }
    }
    /// Freshest CRL (sections 4.2.1.15 and 5.2.6): where the delta CRL is, for certificates and for full CRLs.
    #[must_use]
    pub fn freshest_crl(uris: &[String]) -> Self {
        Self { oid: oids::FRESHEST_CRL, critical: false, value: distribution_points(uris) }
    }
    /// Authority information access (section 4.2.2.1): CA issuers and OCSP URIs. Not to be used when both are empty.
    #[must_use]
    pub fn authority_information_access(ca_issuers: &[String], ocsp: &[String]) -> Self {
        let describe = |method: &ObjectIdentifier, uri: &str| {
            encoding::sequence(&[&encoding::object_identifier(method), &general_name::uri(uri)])
        };
        let issuers = ca_issuers.iter().map(|uri| describe(&oids::CA_ISSUERS, uri));
        let responders = ocsp.iter().map(|uri| describe(&oids::OCSP, uri));
        let descriptions: Vec<Vec<u8>> = responders.chain(issuers).collect();
        let value = encoding::sequence(&[&descriptions.concat()]);
        Self { oid: oids::AUTHORITY_INFORMATION_ACCESS, critical: false, value }
    }
    /// Certificate policies (section 4.2.1.4), without qualifiers.
    #[must_use]
    pub fn certificate_policies(policies: &[ObjectIdentifier]) -> Self {
        let policies: Vec<Vec<u8>> =
            policies.iter().map(|policy| encoding::sequence(&[&encoding::object_identifier(policy)])).collect();
        let value = encoding::sequence(&[&policies.concat()]);
        Self { oid: oids::CERTIFICATE_POLICIES, critical: false, value }
    }
    /// TLS feature `status_request`, "must-staple" (RFC 7633).
    #[must_use]
    pub fn must_staple() -> Self {
        let value = encoding::sequence(&[&encoding::unsigned(STATUS_REQUEST)]);
        Self { oid: oids::TLS_FEATURE, critical: false, value }
    }

    /// `id-pkix-ocsp-nocheck` (RFC 6960, section 4.2.2.2.1), for a responder's certificate: it is short-lived, and nobody need ask whether it is revoked.
    #[must_use]
    pub fn ocsp_no_check() -> Self {
        Self { oid: oids::OCSP_NO_CHECK, critical: false, value: encoding::value(encoding::NULL, &[]) }
    }

    /// Makes a CRL number (section 5.2.3), not critical.
    pub(crate) fn crl_number(number: u64) -> Self {
        Self { oid: oids::CRL_NUMBER, critical: false, value: encoding::unsigned(number) }
    }

    /// Makes a delta CRL indicator (section 5.2.4), critical, with the number of the CRL that the delta builds on.
    pub(crate) fn delta_crl_indicator(base_number: u64) -> Self {
        Self { oid: oids::DELTA_CRL_INDICATOR, critical: true, value: encoding::unsigned(base_number) }
    }

    /// Makes an issuing distribution point (section 5.2.5), critical: the CRL is complete for the certificates whose CRL distribution point
    /// has this very address, and says nothing of others.
    pub(crate) fn issuing_distribution_point(uri: &str) -> Self {
        let point = distribution_point_name(&[uri]);
        Self { oid: oids::ISSUING_DISTRIBUTION_POINT, critical: true, value: encoding::sequence(&[&point]) }
    }

    /// Appends the encoded extension.
    fn append(&self, out: &mut Vec<u8>) {
        let start = out.len();
        encoding::append(out, encoding::OBJECT_IDENTIFIER, self.oid.as_bytes());
        if self.critical {
            out.extend(encoding::boolean_true());
        }
        encoding::append(out, encoding::OCTET_STRING, &self.value);
        encoding::wrap(out, start, encoding::SEQUENCE);
    }

    /// Appends encoded `Extensions`.
    pub(crate) fn append_list(out: &mut Vec<u8>, extensions: &[Self]) {
        let start = out.len();
        extensions.iter().for_each(|extension| extension.append(out));
        encoding::wrap(out, start, encoding::SEQUENCE);
    }

    /// Encodes `Extensions`.
    pub(crate) fn list_to_der(extensions: &[Self]) -> Vec<u8> {
        let mut out = Vec::new();
        Self::append_list(&mut out, extensions);
        out
    }

    /// Reads the DER of `Extensions`, without their values.
    ///
    /// # Errors
    /// `Malformed` also when an extension is there twice (RFC 5280, section 4.2).
    pub(crate) fn read_list(der: &[u8]) -> Result<Vec<Self>> {
        const WHAT: &str = "extension";
        shape::EXTENSIONS.check(der, WHAT)?;
        let mut reader = decoding::only_sequence(der, WHAT)?;
        let mut parser = X509ExtensionParser::new().with_deep_parse_extensions(false);
        let mut extensions = Vec::new();
        while !reader.is_empty() {
            extensions.push(decoding::complete(parser.parse(reader.any(WHAT)?.raw), WHAT)?);
        }
        Self::from_parsed(&extensions)
    }

    /// Takes extensions of x509-parser whose shape has been checked.
    ///
    /// # Errors
    /// `Malformed` also when an extension is there twice (RFC 5280, section 4.2), which x509-parser does not mind.
    pub(crate) fn from_parsed(parsed: &[X509Extension<'_>]) -> Result<Vec<Self>> {
        let mut extensions: Vec<Self> = Vec::with_capacity(parsed.len());
        for extension in parsed {
            let oid = decoding::object_identifier(&extension.oid, "extension")?;
            if extensions.iter().any(|earlier| earlier.oid == oid) {
                return Err(Error::malformed(format!("the extension `{}` is there twice", oids::name(&oid))));
            }
            extensions.push(Self { oid, critical: extension.critical, value: extension.value.to_vec() });
        }
        Ok(extensions)
    }
}

/// Returns `CRLDistributionPoints` of one point.
fn distribution_points(uris: &[String]) -> Vec<u8> {
    let uris: Vec<&str> = uris.iter().map(String::as_str).collect();
    encoding::sequence(&[&encoding::sequence(&[&distribution_point_name(&uris)])])
}

/// Returns the field `distributionPoint` that distribution points begin with: explicitly tagged, because it is a CHOICE.
fn distribution_point_name(uris: &[&str]) -> Vec<u8> {
    let names: Vec<Vec<u8>> = uris.iter().map(|uri| general_name::uri(uri)).collect();
    let full_name = encoding::constructed(encoding::context_constructed(0), &[&names.concat()]);
    encoding::constructed(encoding::context_constructed(0), &[&full_name])
}

fn trailing_zeros(octet: u8) -> u8 {
    // At most 8, so it fits.
    u8::try_from(octet.trailing_zeros()).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::x509::{KeyUsage, NameType};

    fn hex_of(extension: &Extension) -> (bool, String) {
        (extension.critical, hex::encode(&extension.value))
    }

    #[test]
    fn encodings_are_those_of_the_standards() {
        let cases = [
            (Extension::basic_constraints(None), true, "3000"),
            (Extension::basic_constraints(Some(None)), true, "30030101ff"),
            (Extension::basic_constraints(Some(Some(0))), true, "30060101ff020100"),
            (Extension::key_usage(&[KeyUsage::DigitalSignature].into()), true, "03020780"),
            (Extension::key_usage(&[KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment].into()), true, "030205a0"),
            (Extension::key_usage(&[KeyUsage::KeyCertSign, KeyUsage::CrlSign].into()), true, "03020106"),
            (Extension::key_usage(&[KeyUsage::DecipherOnly].into()), true, "0303070080"),
            (Extension::extended_key_usage(&["server_auth".parse().unwrap()]), false, "300a06082b06010505070301"),
            (Extension::authority_key_identifier(&[1, 2]), false, "300480020102"),
            (
                Extension::crl_distribution_points(&["http://a/".to_owned()]),
                false,
                "30113 00fa00da00b8609687474703a2f2f612f",
            ),
            (
                Extension::authority_information_access(&["http://a/".to_owned()], &[]),
                false,
                "30173015 06082b06010505073002 8609687474703a2f2f612f",
            ),
            (
                Extension::certificate_policies(&[ObjectIdentifier::new_unwrap("2.23.140.1.2.1")]),
                false,
                "300a3008060667810c010201",
            ),
            (Extension::must_staple(), false, "3003020105"),
            (Extension::freshest_crl(&["http://a/".to_owned()]), false, "30113 00fa00da00b8609687474703a2f2f612f"),
            (Extension::issuing_distribution_point("http://a/"), true, "300fa00da00b8609687474703a2f2f612f"),
            (Extension::delta_crl_indicator(128), true, "02020080"),
            (Extension::crl_number(7), false, "020107"),
            (Extension::ocsp_no_check(), false, "0500"),
        ];
        for (extension, critical, expected) in cases {
            assert_eq!(hex_of(&extension), (critical, expected.replace(' ', "")), "{}", oids::name(&extension.oid));
        }
    }

    #[test]
    fn key_usages_survive_a_round_trip() {
        for usages in [vec![0], vec![8], vec![0, 8], vec![5, 6], (0..9).collect::<Vec<_>>()] {
            let usages: KeyUsages = usages.into_iter().map(|index: usize| KeyUsage::ALL[index]).collect();
            assert_eq!(decode::key_usage(&Extension::key_usage(&usages).value).unwrap(), usages);
        }
    }

    #[test]
    fn alternative_names_survive_a_round_trip() {
        let names: Vec<SubjectAltName> = [
            (NameType::Dns, "*.example.com"),
            (NameType::Ip, "10.0.0.1"),
            (NameType::Ip, "2001:db8::1"),
            (NameType::Uri, "spiffe://example/x"),
            (NameType::Email, "ops@example.com"),
        ]
        .into_iter()
        .map(|(name_type, value)| SubjectAltName::parse(name_type, value).unwrap())
        .collect();
        let extension = Extension::subject_alt_name(&names, true);
        assert!(extension.critical);
        assert_eq!(decode::supported_names(&extension.value).unwrap(), names);
    }

    #[test]
    fn a_repeated_extension_is_refused() {
        let twice = Extension::list_to_der(&[Extension::must_staple(), Extension::must_staple()]);
        let error = Extension::read_list(&twice).unwrap_err();
        assert_eq!(error.detail(), "the extension `tls_feature` is there twice");
    }
}
