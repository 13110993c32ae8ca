//! Certificate signing requests from PEM or DER, and the proof of possession.

use x509_parser::asn1_rs::{FromDer, Oid};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::x509::X509Version;

use super::{CertificateRequest, MAXIMUM_LENGTH, RequestedExtensions};
use crate::error::{Error, ErrorKind, Result, Violation};
use crate::x509::certificate::Signed;
use crate::x509::decoding::{self, Reader, shape};
use crate::x509::extension::{self, Extension, decode, general_name, oids};
use crate::x509::{DistinguishedName, PublicKey, SignatureAlgorithm, encoding, key, pem};

const WHAT: &str = "certificate signing request";

/// A request whose structure has been read and whose signature has not been verified: fit for display only.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    der: &'a [u8],
    /// The subject asked for.
    pub(crate) subject: DistinguishedName,
    /// The public key.
    pub(crate) public_key: PublicKey,
    /// The extensions asked for.
    pub(crate) requested: RequestedExtensions,
    /// The requested extensions as they are.
    pub(crate) extensions: Vec<Extension>,
}

/// Returns the DER of a request given as DER or PEM.
pub(super) fn to_der(input: &[u8]) -> Result<Vec<u8>> {
    if input.len() > MAXIMUM_LENGTH {
        return Err(bad(format!("the request has {} octets; {MAXIMUM_LENGTH} at most are taken", input.len())));
    }
    let Some(text) = pem::text_of(input) else {
        if input.first() == Some(&encoding::SEQUENCE) {
            return Ok(input.to_vec());
        }
        return Err(bad("the request is neither DER nor a `CERTIFICATE REQUEST` PEM block"));
    };
    let mut requests = pem::decode_all(text)
        .map_err(as_bad_csr)?
        .into_iter()
        .filter(|(label, _)| pem::is_certificate_request(label))
        .map(|(_, der)| der);
    match (requests.next(), requests.next()) {
        (Some(der), None) => Ok(der),
        (Some(_), Some(_)) => Err(bad("there is more than one `CERTIFICATE REQUEST` PEM block")),
        (None, _) => Err(bad("there is no `CERTIFICATE REQUEST` PEM block")),
    }
}

impl<'a> Unverified<'a> {
    /// Reads the structure of a request (RFC 2986, section 4).
    ///
    /// # Errors
    /// `BadCsr`.
    pub(crate) fn from_der(der: &'a [u8]) -> Result<Self> {
        read(der).map_err(as_bad_csr)
    }

    /// Returns the name of the signature algorithm, accepted or not.
    pub(crate) fn signature_algorithm_name(&self) -> String {
        Signed::from_der(self.der, WHAT).map_or_else(|_error| "unknown".to_owned(), |signed| signed.algorithm_name())
    }

    /// Verifies the signature, which proves possession of the key.
    ///
    /// # Errors
    /// `BadCsr`; `PolicyViolation` when the key is one whose signature cannot or need not be verified, as it is never certified.
    pub(crate) fn verify(self) -> Result<CertificateRequest> {
        if let Err(name) = self.public_key.algorithm() {
            return Err(key_not_allowed(name));
        }
        let signed = Signed::from_der(self.der, WHAT).map_err(as_bad_csr)?;
        let signature_algorithm = SignatureAlgorithm::from_identifier_der(signed.algorithm).map_err(as_bad_csr)?;
        if let Err(error) = self.public_key.verify(signature_algorithm, signed.to_be_signed, signed.signature) {
            // The library refuses to work with some weak keys; say that the key is weak rather than that its signature is.
            let violations = weakness_violations(&self.public_key);
            return Err(if violations.is_empty() { as_bad_csr(error) } else { Error::policy(violations) });
        }
        Ok(CertificateRequest {
            der: self.der.to_vec(),
            subject: self.subject,
            public_key: self.public_key,
            signature_algorithm,
            requested: self.requested,
        })
    }
}

fn key_not_allowed(name: &str) -> Error {
    Error::policy(vec![Violation {
        code: "key_not_allowed",
        field: "public_key".to_owned(),
        value: name.to_owned(),
        rule: "supported key algorithms".to_owned(),
        message: format!("keys of the algorithm `{name}` are not supported; supported are {}", key::KNOWN),
    }])
}

fn weakness_violations(key: &PublicKey) -> Vec<Violation> {
    key.weaknesses()
        .into_iter()
        .map(|weakness| Violation {
            code: weakness.code,
            field: "public_key".to_owned(),
            value: key.algorithm_name(),
            rule: "weak keys".to_owned(),
            message: weakness.message,
        })
        .collect()
}

fn read(der: &[u8]) -> Result<Unverified<'_>> {
    shape::CERTIFICATE_REQUEST.check(der, WHAT)?;
    let signed = Signed::from_der(der, WHAT)?;
    let mut information = decoding::only_sequence(signed.to_be_signed, WHAT)?;
    let [version, subject, public_key] = [information.any(WHAT)?, information.any(WHAT)?, information.any(WHAT)?];
    let (version, subject, public_key) = match X509CertificationRequest::from_der(der) {
        // x509-parser reads no request whose attributes are left out (allowed for below), or that has a `challengePassword` in an
        // IA5String or BMPString, as some programs write. Nothing of that is asked for, and the attributes are read below in any
        // case. So the other parts are read one by one, which also says which one is at fault when it is not the attributes.
        Err(_) => (
            decoding::complete(X509Version::from_der(version.raw), "version of the request")?,
            DistinguishedName::from_der(subject.raw)?,
            PublicKey::from_spki_der(public_key.raw)?,
        ),
        Ok((_, parsed)) => {
            let parsed = parsed.certification_request_info;
            if parsed.raw != signed.to_be_signed {
                return Err(Error::malformed("the certificate signing request has fields that it must not have"));
            }
            let subject = DistinguishedName::from_parsed(&parsed.subject)?;
            (parsed.version, subject, PublicKey::from_parsed(&parsed.subject_pki)?)
        }
    };
    if version != X509Version::V1 {
        return Err(Error::malformed("the certificate signing request is not of version 1 (RFC 2986, section 4.1)"));
    }
    let extensions =
        if information.is_empty() { Vec::new() } else { read_attributes(information.any(WHAT)?.reader())? };
    let requested = read_requested(&extensions, &public_key)?;
    Ok(Unverified { der, subject, public_key, requested, extensions })
}

/// Returns the requested extensions; other attributes, such as `challengePassword`, ask for nothing in the certificate.
///
/// x509-parser hands out no value of an attribute that it does not know, Microsoft's extension request among them, and reads the first
/// value of an extension request only.
fn read_attributes(mut attributes: Reader<'_>) -> Result<Vec<Extension>> {
    const WHAT: &str = "attribute of the request";
    let mut extensions = None;
    while !attributes.is_empty() {
        let mut attribute = attributes.any(WHAT)?.reader();
        let oid = decoding::complete(Oid::from_der(attribute.any(WHAT)?.raw), WHAT)?;
        let oid = decoding::object_identifier(&oid, WHAT)?;
        if oid != oids::EXTENSION_REQUEST && oid != oids::MICROSOFT_EXTENSION_REQUEST {
            continue;
        }
        // RFC 2985, section 5.4.2: exactly one value.
        let mut values = attribute.any(WHAT)?.reader();
        let list = values.any("extension request")?;
        values.finish("extension request")?;
        if extensions.replace(Extension::read_list(list.raw)?).is_some() {
            return Err(Error::malformed("the request has more than one extension request attribute"));
        }
    }
    Ok(extensions.unwrap_or_default())
}

fn read_requested(extensions: &[Extension], key: &PublicKey) -> Result<RequestedExtensions> {
    let mut requested = RequestedExtensions::default();
    for extension in extensions {
        let value = extension.value.as_slice();
        let understood = match extension.oid {
            oids::SUBJECT_ALT_NAME => {
                requested.names = general_name::read_all(value)?;
                true
            }
            oids::KEY_USAGE => {
                requested.key_usage = Some(decode::key_usage(value)?);
                true
            }
            oids::EXTENDED_KEY_USAGE => {
                requested.extended_key_usage = Some(decode::extended_key_usage(value)?);
                true
            }
            oids::BASIC_CONSTRAINTS => {
                let asked = decode::basic_constraints(value)?;
                requested.certificate_authority = asked.is_some();
                requested.end_entity = asked.is_none();
                requested.path_length = asked.flatten();
                true
            }
            oids::SUBJECT_KEY_IDENTIFIER => key.derives_key_identifier(&decode::subject_key_identifier(value)?),
            oids::TLS_FEATURE => {
                let features = decode::tls_features(value)?;
                requested.must_staple = features.contains(&extension::STATUS_REQUEST);
                features == [extension::STATUS_REQUEST]
            }
            _ => false,
        };
        if !understood {
            requested.other.push((extension.oid, oids::name(&extension.oid)));
        }
    }
    Ok(requested)
}

fn bad(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadCsr, detail)
}

/// Turns what the parsers below say into the error for requests.
fn as_bad_csr(error: Error) -> Error {
    bad(error.detail().to_owned()).with_source(error)
}
