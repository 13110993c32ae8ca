//! Public keys in the form of JSON Web Keys (RFC 7517, RFC 7518, RFC 8037), turned into `SubjectPublicKeyInfo` and back.
//!
//! Only public keys: a private one is refused before anything else of it is looked at.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use const_oid::ObjectIdentifier;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{EC_PUBLIC_KEY, ED25519, KeyAlgorithm, P256, P384, P521, PublicKey, RSA_ENCRYPTION, RsaKey};
use crate::error::{AcmeErrorType, Error, Result};
use crate::x509::encoding;
use crate::x509::json::Text;

/// A JSON Web Key as it was sent. Members that say what the key is for are ignored (RFC 7517, section 4).
#[derive(Debug, Deserialize)]
pub(crate) struct JsonWebKey<'a> {
    #[serde(borrow)]
    kty: Text<'a>,
    #[serde(borrow)]
    crv: Option<Text<'a>>,
    #[serde(borrow)]
    x: Option<Text<'a>>,
    #[serde(borrow)]
    y: Option<Text<'a>>,
    #[serde(borrow)]
    n: Option<Text<'a>>,
    #[serde(borrow)]
    e: Option<Text<'a>>,
    // Of private and of symmetric keys: seen, never kept.
    d: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
    dp: Option<IgnoredAny>,
    dq: Option<IgnoredAny>,
    qi: Option<IgnoredAny>,
    oth: Option<IgnoredAny>,
    k: Option<IgnoredAny>,
}

impl JsonWebKey<'_> {
    /// Returns the key.
    ///
    /// # Errors
    /// `Malformed` for a private or symmetric key, for members that are missing or not minimal, and, as `badPublicKey`, for an unknown type or
    /// curve.
    pub(crate) fn public_key(&self) -> Result<PublicKey> {
        let secret = [&self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi, &self.oth, &self.k];
        if secret.into_iter().any(Option::is_some) {
            return Err(Error::malformed(
                "`jwk` holds a private key, which must never leave its owner; send the members of the public key only",
            ));
        }
        let der = match (&*self.kty, self.crv.as_deref()) {
            ("EC", Some("P-256")) => self.elliptic(&P256, 32)?,
            ("EC", Some("P-384")) => self.elliptic(&P384, 48)?,
            ("EC", Some("P-521")) => self.elliptic(&P521, 66)?,
            ("OKP", Some("Ed25519")) => {
                let algorithm = encoding::sequence(&[&encoding::object_identifier(&ED25519)]);
                encoding::sequence(&[&algorithm, &encoding::bit_string(&of_length("x", self.x.as_deref(), 32)?)])
            }
            ("RSA", _) => self.rsa()?,
            _ => {
                return Err(Error::acme(
                    AcmeErrorType::BadPublicKey,
                    "`jwk` is of a type or curve that is not supported; supported are EC with P-256, P-384 and P-521, OKP with \
                     Ed25519, and RSA",
                ));
            }
        };
        PublicKey::from_spki_der(&der)
    }

    /// RFC 7518, section 6.2.1: coordinates have the length of the field; RFC 5480, section 2.2: an uncompressed point.
    fn elliptic(&self, curve: &ObjectIdentifier, length: usize) -> Result<Vec<u8>> {
        let x = of_length("x", self.x.as_deref(), length)?;
        let y = of_length("y", self.y.as_deref(), length)?;
        let algorithm =
            encoding::sequence(&[&encoding::object_identifier(&EC_PUBLIC_KEY), &encoding::object_identifier(curve)]);
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        Ok(encoding::sequence(&[&algorithm, &encoding::bit_string(&point)]))
    }

    /// RFC 7518, section 6.3.1: numbers have no leading zero; RFC 8017, appendix A.1.1.
    fn rsa(&self) -> Result<Vec<u8>> {
        let modulus = positive("n", self.n.as_deref())?;
        let exponent = positive("e", self.e.as_deref())?;
        let key = encoding::sequence(&[&modulus, &exponent]);
        let algorithm =
            encoding::sequence(&[&encoding::object_identifier(&RSA_ENCRYPTION), &encoding::value(encoding::NULL, &[])]);
        Ok(encoding::sequence(&[&algorithm, &encoding::bit_string(&key)]))
    }
}

/// Returns the required members of a key in lexicographic order and without white space (RFC 7638, section 3; RFC 8037, section 2).
///
/// # Errors
/// `badPublicKey` when the key is of a kind that has no such form here.
pub(crate) fn canonical(key: &PublicKey) -> Result<String> {
    let text = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
    let elliptic = |curve: &str, length: usize| match key.key_bits().split_first() {
        // RFC 5480, section 2.2: 4 stands before the coordinates of an uncompressed point.
        Some((4, coordinates)) => coordinates
            .split_at_checked(length)
            .filter(|(_, y)| y.len() == length)
            .map(|(x, y)| format!(r#"{{"crv":"{curve}","kty":"EC","x":"{}","y":"{}"}}"#, text(x), text(y))),
        Some(_) | None => None,
    };
    let written = match key.algorithm() {
        Ok(KeyAlgorithm::EcdsaP256) => elliptic("P-256", 32),
        Ok(KeyAlgorithm::EcdsaP384) => elliptic("P-384", 48),
        Ok(KeyAlgorithm::EcdsaP521) => elliptic("P-521", 66),
        Ok(KeyAlgorithm::Ed25519) => Some(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(key.key_bits()))),
        Ok(KeyAlgorithm::Rsa(_)) => {
            let numbers = RsaKey::from_der(key.key_bits())?;
            Some(format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(numbers.exponent), text(numbers.modulus)))
        }
        Ok(KeyAlgorithm::MlDsa44 | KeyAlgorithm::MlDsa65 | KeyAlgorithm::MlDsa87) | Err(_) => None,
    };
    written.ok_or_else(|| {
        Error::acme(
            AcmeErrorType::BadPublicKey,
            format!("keys of the kind `{}` have no form as JSON Web Key that is known here", key.algorithm_name()),
        )
    })
}

fn octets(name: &str, value: Option<&str>) -> Result<Vec<u8>> {
    let text = value.ok_or_else(|| Error::malformed(format!("`jwk` has no member `{name}`")))?;
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|error| Error::malformed(format!("the member `{name}` of `jwk` is not base64url")).with_source(error))
}

fn of_length(name: &str, value: Option<&str>, length: usize) -> Result<Vec<u8>> {
    let octets = octets(name, value)?;
    if octets.len() == length {
        return Ok(octets);
    }
    Err(Error::malformed(format!("the member `{name}` of `jwk` has {} octets instead of {length}", octets.len())))
}

fn positive(name: &str, value: Option<&str>) -> Result<Vec<u8>> {
    let octets = octets(name, value)?;
    if octets.first().is_none_or(|first| *first == 0) {
        return Err(Error::malformed(format!("the member `{name}` of `jwk` is empty or begins with a zero octet")));
    }
    Ok(encoding::unsigned_octets(&octets))
}
