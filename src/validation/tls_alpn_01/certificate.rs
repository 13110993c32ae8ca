//! What the certificate of tls-alpn-01 must be (RFC 8737, section 3; RFC 8738, section 6). Octets in, a judgement out; every way to miss
//! the mark has a message of its own, which holds nothing that the certificate says.

use std::fmt;
use std::net::IpAddr;

use const_oid::ObjectIdentifier;
use rustls_pki_types::CertificateDer;

use crate::error::Result;
use crate::policy::acme::Identifier;
use crate::x509::decoding::{Reader, Value, only_sequence};
use crate::x509::encoding::{
    BIT_STRING, BOOLEAN, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, context, context_constructed,
};
use crate::x509::extension::oids::{ACME_IDENTIFIER, SUBJECT_ALT_NAME};
use crate::x509::{PublicKey, SignatureAlgorithm};

/// What drafts of RFC 8737 used.
const DRAFT_ACME_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.30.1");

/// Why a certificate does not meet the challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// There is none, or there are more.
    Count(usize),
    /// It is not a certificate.
    Unreadable,
    /// Its issuer is not its subject.
    OtherIssuer,
    /// Its signature algorithm or key is not supported.
    UnsupportedSignature,
    /// Its key did not sign it.
    Signature,
    /// It has no subject alternative names.
    NoNames,
    /// It has the extension twice.
    TwiceNames,
    /// The extension is not what RFC 5280, section 4.2.1.6, says.
    UnreadableNames,
    /// It has more than one name, or none.
    NameCount(usize),
    /// Its one name is of another type.
    NameType(&'static str),
    /// Its one name is another.
    OtherName,
    /// It has no `acmeIdentifier`.
    NoIdentifier,
    /// It has that of a draft.
    DraftIdentifier,
    /// It has more than one.
    TwiceIdentifier,
    /// It is not critical.
    NotCritical,
    /// Its value is not an OCTET STRING.
    NotOctets,
    /// Something follows the OCTET STRING.
    TrailingOctets(usize),
    /// It is of another length than a SHA-256 digest.
    DigestLength(usize),
    /// It is of another key authorization.
    OtherDigest,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Count(count) => {
                return write!(f, "the server must show exactly one certificate, and showed {count}");
            }
            Self::Unreadable => "it is not a DER-encoded X.509 certificate of version 3",
            Self::OtherIssuer => "it must be self-signed, and its issuer is not its subject",
            Self::UnsupportedSignature => {
                "it must be self-signed with RSA, ECDSA or EdDSA and SHA-2, and its key or signature algorithm is another"
            }
            Self::Signature => "it must be self-signed, and its signature does not verify with its own key",
            Self::NoNames => "it has no subject alternative name",
            Self::TwiceNames => "it has the extension subject alternative name more than once",
            Self::UnreadableNames => "its subject alternative name cannot be read",
            Self::NameCount(count) => {
                return write!(f, "its subject alternative name must hold exactly one name, and holds {count}");
            }
            Self::NameType(wanted) => {
                return write!(f, "its subject alternative name must be one {wanted}, and is of another type");
            }
            Self::OtherName => "its subject alternative name is not the identifier",
            Self::NoIdentifier => "it has no acmeIdentifier extension (1.3.6.1.5.5.7.1.31)",
            Self::DraftIdentifier => {
                "it has the acmeIdentifier extension of a draft (1.3.6.1.5.5.7.1.30.1); the ACME client is too old, RFC 8737 has 1.3.6.1.5.5.7.1.31"
            }
            Self::TwiceIdentifier => "it has the acmeIdentifier extension more than once",
            Self::NotCritical => "its acmeIdentifier extension must be critical, and is not",
            Self::NotOctets => "its acmeIdentifier extension must hold an OCTET STRING, and does not",
            Self::TrailingOctets(count) => {
                return write!(f, "its acmeIdentifier extension has {count} octets after the OCTET STRING");
            }
            Self::DigestLength(length) => {
                return write!(f, "its acmeIdentifier extension must hold a digest of 32 octets, and holds {length}");
            }
            Self::OtherDigest => {
                "its acmeIdentifier extension is not the SHA-256 digest of this challenge's key authorization (another token or account key)"
            }
        };
        f.write_str(text)
    }
}

/// Judges what a server showed.
pub(super) fn judge(
    shown: &[CertificateDer<'_>],
    identifier: &Identifier,
    digest: &[u8; 32],
) -> std::result::Result<(), Mismatch> {
    let [der] = shown else { return Err(Mismatch::Count(shown.len())) };
    let Ok(certificate) = Parts::read(der) else { return Err(Mismatch::Unreadable) };
    judge_identifier(&certificate.extensions, digest)?;
    judge_names(&certificate.extensions, identifier)?;
    judge_signature(&certificate)
}

fn judge_identifier(extensions: &[Extension<'_>], digest: &[u8; 32]) -> std::result::Result<(), Mismatch> {
    let found =
        only(extensions, &ACME_IDENTIFIER, Mismatch::NoIdentifier, Mismatch::TwiceIdentifier).map_err(|mismatch| {
            let is_draft = extensions.iter().any(|extension| extension.is(&DRAFT_ACME_IDENTIFIER));
            if mismatch == Mismatch::NoIdentifier && is_draft { Mismatch::DraftIdentifier } else { mismatch }
        })?;
    if !found.critical {
        return Err(Mismatch::NotCritical);
    }
    let mut reader = Reader::new(found.value);
    let value = match reader.any("acmeIdentifier") {
        Ok(value) if value.tag == OCTET_STRING => value,
        Ok(_) | Err(_) => return Err(Mismatch::NotOctets),
    };
    if !reader.is_empty() {
        return Err(Mismatch::TrailingOctets(found.value.len().saturating_sub(value.raw.len())));
    }
    if value.content.len() != digest.len() {
        return Err(Mismatch::DigestLength(value.content.len()));
    }
    if value.content != digest { Err(Mismatch::OtherDigest) } else { Ok(()) }
}

fn judge_names(extensions: &[Extension<'_>], identifier: &Identifier) -> std::result::Result<(), Mismatch> {
    let found = only(extensions, &SUBJECT_ALT_NAME, Mismatch::NoNames, Mismatch::TwiceNames)?;
    let Ok(names) = general_names(found.value) else { return Err(Mismatch::UnreadableNames) };
    let [name] = names.as_slice() else { return Err(Mismatch::NameCount(names.len())) };
    /// `dNSName` and `iPAddress` (RFC 5280, section 4.2.1.6).
    const DNS: u8 = context(2);
    const IP: u8 = context(7);
    let (wanted_tag, wanted, is_same) = match identifier {
        Identifier::Dns { name: wanted, wildcard: _ } => {
            (DNS, "dNSName", name.content.eq_ignore_ascii_case(wanted.as_bytes()))
        }
        Identifier::Ip(IpAddr::V4(v4)) => (IP, "iPAddress", name.content == v4.octets().as_slice()),
        Identifier::Ip(IpAddr::V6(v6)) => (IP, "iPAddress", name.content == v6.octets().as_slice()),
    };
    if name.tag != wanted_tag {
        return Err(Mismatch::NameType(wanted));
    }
    if is_same { Ok(()) } else { Err(Mismatch::OtherName) }
}

fn judge_signature(certificate: &Parts<'_>) -> std::result::Result<(), Mismatch> {
    if certificate.issuer != certificate.subject {
        return Err(Mismatch::OtherIssuer);
    }
    let (Ok(key), Ok(algorithm)) = (
        PublicKey::from_spki_der(certificate.public_key),
        SignatureAlgorithm::from_identifier_der(certificate.algorithm),
    ) else {
        return Err(Mismatch::UnsupportedSignature);
    };
    match key.verify(algorithm, certificate.to_be_signed, certificate.signature) {
        Ok(()) => Ok(()),
        Err(_cause_in_the_variant) => Err(Mismatch::Signature),
    }
}

/// The one extension of a kind.
fn only<'e, 'd>(
    extensions: &'e [Extension<'d>],
    oid: &ObjectIdentifier,
    none: Mismatch,
    more: Mismatch,
) -> std::result::Result<&'e Extension<'d>, Mismatch> {
    let mut found = extensions.iter().filter(|extension| extension.is(oid));
    match (found.next(), found.next()) {
        (None, _) => Err(none),
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(more),
    }
}

fn general_names(value: &[u8]) -> Result<Vec<Value<'_>>> {
    let mut reader = only_sequence(value, "names")?;
    let mut names = Vec::new();
    while !reader.is_empty() {
        names.push(reader.any("name")?);
    }
    Ok(names)
}

/// One extension, unread.
struct Extension<'a> {
    oid: &'a [u8],
    critical: bool,
    value: &'a [u8],
}

impl Extension<'_> {
    fn is(&self, oid: &ObjectIdentifier) -> bool {
        self.oid == oid.as_bytes()
    }
}

/// The parts of a certificate (RFC 5280, section 4.1), unread. `x509::Certificate` reads the extensions and takes them only when they are
/// as they should be, which would leave one message for all that can be wrong.
struct Parts<'a> {
    to_be_signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    issuer: &'a [u8],
    subject: &'a [u8],
    public_key: &'a [u8],
    extensions: Vec<Extension<'a>>,
}

impl<'a> Parts<'a> {
    fn read(der: &'a [u8]) -> Result<Self> {
        let what = "certificate";
        let mut outer = only_sequence(der, what)?;
        let to_be_signed = outer.expect(SEQUENCE, what)?;
        let algorithm = outer.expect(SEQUENCE, what)?;
        let signature = outer.expect(BIT_STRING, what)?;
        outer.finish(what)?;

        let mut fields = to_be_signed.reader();
        let _version = fields.expect(context_constructed(0), what)?;
        let _serial = fields.any(what)?;
        let _algorithm = fields.expect(SEQUENCE, what)?;
        let issuer = fields.expect(SEQUENCE, what)?;
        let _validity = fields.expect(SEQUENCE, what)?;
        let subject = fields.expect(SEQUENCE, what)?;
        let public_key = fields.expect(SEQUENCE, what)?;
        let mut extensions = Vec::new();
        while !fields.is_empty() {
            let field = fields.any(what)?;
            if field.tag == context_constructed(3) {
                extensions = Extension::list(&field)?;
            }
        }
        Ok(Self {
            to_be_signed: to_be_signed.raw,
            algorithm: algorithm.raw,
            // The first octet counts unused bits, of which a signature has none; what follows does not verify otherwise.
            signature: signature.content.strip_prefix(&[0]).unwrap_or_default(),
            issuer: issuer.raw,
            subject: subject.raw,
            public_key: public_key.raw,
            extensions,
        })
    }
}

impl<'a> Extension<'a> {
    /// Reads the list in its explicit tag.
    fn list(tagged: &Value<'a>) -> Result<Vec<Self>> {
        let what = "extensions";
        let mut reader = only_sequence(tagged.content, what)?;
        let mut extensions = Vec::new();
        while !reader.is_empty() {
            let mut fields = reader.expect(SEQUENCE, what)?.reader();
            let oid = fields.expect(OBJECT_IDENTIFIER, what)?.content;
            let mut critical = false;
            if fields.peek() == Some(BOOLEAN) {
                critical = fields.any(what)?.content == [0xff];
            }
            let value = fields.expect(OCTET_STRING, what)?.content;
            fields.finish(what)?;
            extensions.push(Self { oid, critical, value });
        }
        Ok(extensions)
    }
}
