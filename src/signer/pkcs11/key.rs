//! Keys in the language of PKCS #11: templates, attributes and mechanisms, and what becomes of raw signatures in X.509.

use aws_lc_rs::digest;
use const_oid::ObjectIdentifier;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use der::asn1::{BitString, OctetStringRef, SequenceOf, UintRef};
use der::{Any, Decode, Encode};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::failure::Failure;
use super::uri::KeyUri;
use crate::error::{Error, Result};
use crate::x509::{KeyAlgorithm, PublicKey};

/// What keys on tokens can be.
pub(super) const SUPPORTED: &str = "accepted are ecdsa-p256, ecdsa-p384, ed25519 and rsa-2048 to rsa-4096";

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// `edwards25519` as a `PrintableString`: the other way to name the curve (PKCS #11 version 3.0, section 2.3.5).
const EDWARDS25519: &[u8] = b"\x13\x0cedwards25519";

/// The beginning of a `DigestInfo` with SHA-256 (RFC 8017, section 9.2, note 1).
const SHA256_DIGEST_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

/// Refuses an algorithm that keys on tokens cannot have here.
pub(super) fn refuse_unsupported(algorithm: KeyAlgorithm) -> Result<()> {
    if Kind::of(algorithm).is_some() {
        return Ok(());
    }
    Err(Error::configuration(format!("a key of the algorithm `{algorithm}` cannot be on a token; {SUPPORTED}")))
}

/// The families of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ecdsa(&'static digest::Algorithm, ObjectIdentifier),
    Ed25519,
    Rsa(u16),
}

impl Kind {
    fn of(algorithm: KeyAlgorithm) -> Option<Self> {
        match algorithm {
            KeyAlgorithm::EcdsaP256 => Some(Self::Ecdsa(&digest::SHA256, P256)),
            KeyAlgorithm::EcdsaP384 => Some(Self::Ecdsa(&digest::SHA384, P384)),
            KeyAlgorithm::Ed25519 => Some(Self::Ed25519),
            KeyAlgorithm::Rsa(bits @ 2048..=4096) => Some(Self::Rsa(bits)),
            KeyAlgorithm::EcdsaP521
            | KeyAlgorithm::MlDsa44
            | KeyAlgorithm::MlDsa65
            | KeyAlgorithm::MlDsa87
            | KeyAlgorithm::Rsa(_) => None,
        }
    }
}

/// What a token is given to sign. Digests are made here, so that a CRL of many megabytes does not travel to the device.
#[derive(Debug)]
pub(super) struct SigningInput {
    kind: Kind,
    /// The digest; for Ed25519, which needs all of it, the message.
    data: Vec<u8>,
    /// The message, for tokens that sign with RSA only what they digested themselves.
    message: Option<Vec<u8>>,
}

impl SigningInput {
    pub(super) fn new(algorithm: KeyAlgorithm, message: &[u8]) -> Result<Self> {
        let Some(kind) = Kind::of(algorithm) else {
            return Err(Error::internal(format!("a key of the algorithm `{algorithm}` was opened on a token")));
        };
        let (data, message) = match kind {
            Kind::Ecdsa(algorithm, _) => (digest::digest(algorithm, message).as_ref().to_vec(), None),
            Kind::Ed25519 => (message.to_vec(), None),
            Kind::Rsa(_) => {
                let digest = digest::digest(&digest::SHA256, message);
                ([SHA256_DIGEST_INFO.as_slice(), digest.as_ref()].concat(), Some(message.to_vec()))
            }
        };
        Ok(Self { kind, data, message })
    }

    /// Has it signed, and returns the signature as X.509 carries it.
    pub(super) fn sign(
        &self,
        session: &Session,
        mechanisms: &[MechanismType],
        key: ObjectHandle,
    ) -> Result<Vec<u8>, Failure> {
        match self.kind {
            Kind::Ecdsa(..) => ecdsa_der(&session.sign(&Mechanism::Ecdsa, key, &self.data)?),
            Kind::Ed25519 => {
                let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
                Ok(session.sign(&mechanism, key, &self.data)?)
            }
            Kind::Rsa(_) => match &self.message {
                Some(message) if !mechanisms.contains(&MechanismType::RSA_PKCS) => {
                    Ok(session.sign(&Mechanism::Sha256RsaPkcs, key, message)?)
                }
                Some(_) | None => Ok(session.sign(&Mechanism::RsaPkcs, key, &self.data)?),
            },
        }
    }
}

/// Joins the halves of a raw signature (PKCS #11, section 2.3.1) to an `Ecdsa-Sig-Value` (RFC 3279, section 2.2.3).
fn ecdsa_der(raw: &[u8]) -> Result<Vec<u8>, Failure> {
    let (r, s) = raw.split_at_checked(raw.len() / 2).unwrap_or_default();
    pair(r, s).map_err(|_error| Failure::refused(format!("it returned an ECDSA signature of {} octets", raw.len())))
}

/// Returns a SEQUENCE of two INTEGERs, given big-endian with or without leading zeros.
fn pair(first: &[u8], second: &[u8]) -> der::Result<Vec<u8>> {
    let mut sequence = SequenceOf::<UintRef<'_>, 2>::new();
    sequence.add(UintRef::new(first)?)?;
    sequence.add(UintRef::new(second)?)?;
    sequence.to_der()
}

/// Finds the one private key that a URI names.
pub(super) fn find(session: &Session, uri: &KeyUri) -> Result<ObjectHandle, Failure> {
    match find_all(session, ObjectClass::PRIVATE_KEY, uri)?.as_slice() {
        [key] => Ok(*key),
        [] => Err(Failure::new(super::failure::Class::KeyMissing, format!("it has no private key `{uri}`"))),
        many => Err(Failure::refused(format!("it has {} private keys `{uri}`; one must be named", many.len()))),
    }
}

fn find_all(session: &Session, class: ObjectClass, uri: &KeyUri) -> Result<Vec<ObjectHandle>, Failure> {
    let mut template = vec![Attribute::Class(class), Attribute::Token(true)];
    template.extend(uri.id.clone().map(Attribute::Id));
    template.extend(uri.object.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
    Ok(session.find_objects(&template)?)
}

/// Refuses a private key that could leave its token, or that asks for the PIN before each signature.
pub(super) fn refuse_unsafe(session: &Session, key: ObjectHandle) -> Result<(), Failure> {
    let asked = [AttributeType::Sensitive, AttributeType::Extractable];
    for attribute in session.get_attributes(key, &asked)? {
        match attribute {
            Attribute::Sensitive(false) => return Err(Failure::refused("the key is not sensitive (`CKA_SENSITIVE`)")),
            Attribute::Extractable(true) => {
                return Err(Failure::refused("the key may leave the token (`CKA_EXTRACTABLE`)"));
            }
            _ => {}
        }
    }
    // Not every library knows this attribute: one that does not never asks.
    let always = session.get_attributes(key, &[AttributeType::AlwaysAuthenticate]).unwrap_or_default();
    if always.contains(&Attribute::AlwaysAuthenticate(true)) {
        return Err(Failure::refused("the key asks for the PIN before each signature (`CKA_ALWAYS_AUTHENTICATE`)"));
    }
    Ok(())
}

/// Makes a key pair on the token and returns its private key.
pub(super) fn generate(
    session: &Session,
    algorithm: KeyAlgorithm,
    id: &[u8],
    label: &str,
) -> Result<ObjectHandle, Failure> {
    let kind = Kind::of(algorithm).ok_or_else(|| Failure::refused(SUPPORTED))?;
    let named = [Attribute::Id(id.to_vec()), Attribute::Label(label.as_bytes().to_vec()), Attribute::Token(true)];
    let mut public = named.to_vec();
    public.extend([Attribute::Private(false), Attribute::Verify(true)]);
    let mut private = named.to_vec();
    private.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ]);
    let with = |attributes: &[Attribute]| [public.as_slice(), attributes].concat();
    let made = match kind {
        Kind::Ecdsa(_, curve) => {
            let parameters = curve.to_der().map_err(unencodable)?;
            session.generate_key_pair(&Mechanism::EccKeyPairGen, &with(&[Attribute::EcParams(parameters)]), &private)
        }
        Kind::Ed25519 => {
            let mechanism = Mechanism::EccEdwardsKeyPairGen;
            let parameters = ED25519.to_der().map_err(unencodable)?;
            session.generate_key_pair(&mechanism, &with(&[Attribute::EcParams(parameters)]), &private).or_else(
                |_unknown| {
                    let parameters = Attribute::EcParams(EDWARDS25519.to_vec());
                    session.generate_key_pair(&mechanism, &with(&[parameters]), &private)
                },
            )
        }
        Kind::Rsa(bits) => {
            let size = [Attribute::ModulusBits(u64::from(bits).into()), Attribute::PublicExponent(vec![1, 0, 1])];
            session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &with(&size), &private)
        }
    };
    made.map(|(_public, private)| private).map_err(Failure::from)
}

/// Returns the URI of a private key by its own attributes, and its public key.
pub(super) fn describe(session: &Session, key: ObjectHandle, mut uri: KeyUri) -> Result<(KeyUri, PublicKey), Failure> {
    for attribute in session.get_attributes(key, &[AttributeType::Id, AttributeType::Label])? {
        match attribute {
            Attribute::Id(id) if !id.is_empty() => uri.id = Some(id),
            Attribute::Label(label) if !label.is_empty() => uri.object = String::from_utf8(label).ok(),
            _ => {}
        }
    }
    let public = find_all(session, ObjectClass::PUBLIC_KEY, &uri)?;
    // Tokens that keep no public key object have its parts in the private key.
    let holder = public.first().copied().unwrap_or(key);
    let spki = public_key(session, holder)?;
    let public_key = PublicKey::from_spki_der(&spki)
        .map_err(|error| Failure::refused(format!("the public key of `{uri}` cannot be read: {error}")))?;
    Ok((uri, public_key))
}

/// Builds the `SubjectPublicKeyInfo` out of a key's attributes.
fn public_key(session: &Session, key: ObjectHandle) -> Result<Vec<u8>, Failure> {
    let mut modulus = Vec::new();
    let mut exponent = Vec::new();
    let mut parameters = Vec::new();
    let mut point = Vec::new();
    // One by one: what a kind of key does not have is an error in some libraries, and then nothing else is answered.
    for asked in
        [AttributeType::Modulus, AttributeType::PublicExponent, AttributeType::EcParams, AttributeType::EcPoint]
    {
        for attribute in session.get_attributes(key, &[asked]).unwrap_or_default() {
            match attribute {
                Attribute::Modulus(value) => modulus = value,
                Attribute::PublicExponent(value) => exponent = value,
                Attribute::EcParams(value) => parameters = value,
                Attribute::EcPoint(value) => point = value,
                _ => {}
            }
        }
    }
    if !modulus.is_empty() && !exponent.is_empty() {
        let key = pair(&modulus, &exponent).map_err(unencodable)?;
        return spki(RSA_ENCRYPTION, Some(Any::null()), &key);
    }
    if parameters.is_empty() || point.is_empty() {
        return Err(Failure::refused("it does not tell the public key of its private key"));
    }
    // PKCS #11 wants an OCTET STRING; some libraries give what would be in it.
    let point = OctetStringRef::from_der(&point).map_or(point.as_slice(), |inner| inner.as_bytes());
    if parameters == EDWARDS25519 || ED25519.to_der().is_ok_and(|oid| oid == parameters) {
        return spki(ED25519, None, point);
    }
    spki(EC_PUBLIC_KEY, Some(Any::from_der(&parameters).map_err(unencodable)?), point)
}

fn spki(oid: ObjectIdentifier, parameters: Option<Any>, key: &[u8]) -> Result<Vec<u8>, Failure> {
    let algorithm = AlgorithmIdentifierOwned { oid, parameters };
    BitString::from_bytes(key)
        .and_then(|subject_public_key| SubjectPublicKeyInfoOwned { algorithm, subject_public_key }.to_der())
        .map_err(unencodable)
}

fn unencodable(error: der::Error) -> Failure {
    Failure::refused(format!("the parts of a key cannot be written: {error}"))
}
