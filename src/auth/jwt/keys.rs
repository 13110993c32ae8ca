//! Public keys that verify tokens: read from a JWKS (RFC 7517) or from PEM, each with the algorithms it may verify.
//!
//! Where they come from and when they are read again is in `key_source.rs`.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use const_oid::ObjectIdentifier;
use der::Decode as _;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;

use super::algorithm::JwtAlgorithm;
use crate::error::{Error, Result};

/// The most keys of one provider.
const MAXIMUM_KEYS: usize = 100;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P_384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A key with the algorithms it may verify: those of its type, and only the one that its JWK's `alg` names.
#[derive(Clone, Debug)]
pub(crate) struct VerificationKey {
    id: Option<String>,
    algorithms: Vec<JwtAlgorithm>,
    key: DecodingKey,
}

impl VerificationKey {
    fn new(key: DecodingKey, algorithms: &[JwtAlgorithm]) -> Self {
        Self { id: None, algorithms: algorithms.to_vec(), key }
    }

    /// Verifies a signature (base64url) over a message.
    pub(crate) fn verifies(&self, algorithm: JwtAlgorithm, message: &str, signature: &str) -> bool {
        // An error here is a signature or a key that cannot be decoded for this algorithm: it does not verify.
        self.algorithms.contains(&algorithm)
            && jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, algorithm.for_verification())
                .unwrap_or(false)
    }
}

/// The keys of one provider at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<VerificationKey>,
}

impl KeySet {
    /// Returns the keys that may have signed a token with this `kid` and algorithm: those of that `kid`; or else a key without one,
    /// when exactly one would do. A token without `kid` needs exactly one key that would do.
    pub(crate) fn candidates(&self, id: Option<&str>, algorithm: JwtAlgorithm) -> Vec<&VerificationKey> {
        let usable = || self.keys.iter().filter(move |key| key.algorithms.contains(&algorithm));
        if let Some(id) = id {
            let named: Vec<&VerificationKey> = usable().filter(|key| key.id.as_deref() == Some(id)).collect();
            if !named.is_empty() {
                return named;
            }
        }
        let others: Vec<&VerificationKey> = match id {
            Some(_) => usable().filter(|key| key.id.is_none()).collect(),
            None => usable().collect(),
        };
        if others.len() == 1 { others } else { Vec::new() }
    }

    /// Returns how many keys there are.
    pub(crate) const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Reads a JWKS. Keys of other types, for encryption, or for algorithms that are not known here are left out (RFC 7517, section 5).
    ///
    /// # Errors
    /// `Configuration` when it is not a JWKS, has over 100 keys, or no key that can be used.
    pub(crate) fn from_jwks(json: &[u8]) -> Result<Self> {
        let set: JsonWebKeySet = serde_json::from_slice(json)
            .map_err(|error| Error::configuration("the keys are not a JSON Web Key Set").with_source(error))?;
        if set.keys.len() > MAXIMUM_KEYS {
            return Err(Error::configuration(format!(
                "the JSON Web Key Set has {} keys; at most {MAXIMUM_KEYS} are taken",
                set.keys.len()
            )));
        }
        let mut keys = Vec::new();
        for value in set.keys {
            let read = serde_json::from_value::<JsonWebKey>(value)
                .map_err(|error| Error::malformed("it is not a JSON Web Key").with_source(error))
                .and_then(|key| key.verification_key());
            match read {
                Ok(key) => keys.push(key),
                Err(error) => tracing::debug!(reason = %error, "a key of a JSON Web Key Set is left out"),
            }
        }
        if keys.is_empty() {
            return Err(Error::configuration(
                "the JSON Web Key Set has no key that can verify a token; P-256, P-384, Ed25519 and RSA keys of 2048 to 8192 bits can",
            ));
        }
        Ok(Self { keys })
    }

    /// Reads one or more `PUBLIC KEY` blocks.
    ///
    /// # Errors
    /// `Configuration` when there is none or one cannot be used.
    pub(crate) fn from_pem(text: &[u8]) -> Result<Self> {
        use rustls_pki_types::SubjectPublicKeyInfoDer;
        use rustls_pki_types::pem::PemObject as _;

        let mut keys = Vec::new();
        for block in SubjectPublicKeyInfoDer::pem_slice_iter(text) {
            let block = block.map_err(|error| Error::configuration("the file is not PEM").with_source(error))?;
            keys.push(from_subject_public_key_info(block.as_ref())?);
        }
        if keys.is_empty() {
            return Err(Error::configuration(
                "the file has no `PUBLIC KEY` block; `openssl pkey -pubout` writes one from a key",
            ));
        }
        if keys.len() > MAXIMUM_KEYS {
            return Err(Error::configuration(format!("the file has over {MAXIMUM_KEYS} keys")));
        }
        Ok(Self { keys })
    }
}

#[derive(Deserialize)]
struct JsonWebKeySet {
    keys: Vec<serde_json::Value>,
}

/// The members of a JWK that matter here (RFC 7517, section 4; RFC 7518, section 6; RFC 8037, section 2).
#[derive(Deserialize)]
struct JsonWebKey {
    kty: String,
    crv: Option<String>,
    #[serde(rename = "use")]
    public_key_use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl JsonWebKey {
    fn verification_key(&self) -> Result<VerificationKey> {
        if self.public_key_use.as_deref().is_some_and(|public_key_use| public_key_use != "sig") {
            return Err(Error::malformed("its `use` is not `sig`"));
        }
        if self.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|operation| operation == "verify")) {
            return Err(Error::malformed("its `key_ops` are without `verify`"));
        }
        let mut key = match (self.kty.as_str(), self.crv.as_deref()) {
            ("EC", Some("P-256")) => p256(&self.point(32)?)?,
            ("EC", Some("P-384")) => p384(&self.point(48)?)?,
            ("OKP", Some("Ed25519")) => ed25519(&coordinate(self.x.as_deref(), "x", 32)?),
            ("RSA", _) => rsa(&decoded(self.n.as_deref(), "n")?, &decoded(self.e.as_deref(), "e")?)?,
            _ => return Err(Error::malformed("its type or curve is not one that tokens are verified with")),
        };
        if let Some(algorithm) = &self.alg {
            let algorithm: JwtAlgorithm = algorithm.parse()?;
            if !key.algorithms.contains(&algorithm) {
                return Err(Error::malformed(format!("its `alg` `{algorithm}` does not belong to its type")));
            }
            key.algorithms = vec![algorithm];
        }
        key.id.clone_from(&self.kid);
        Ok(key)
    }

    /// Returns the uncompressed point; each coordinate has the full size of the field (RFC 7518, section 6.2.1.2).
    fn point(&self, octets: usize) -> Result<Vec<u8>> {
        let mut point = vec![0x04];
        point.extend(coordinate(self.x.as_deref(), "x", octets)?);
        point.extend(coordinate(self.y.as_deref(), "y", octets)?);
        Ok(point)
    }
}

fn decoded(value: Option<&str>, member: &str) -> Result<Vec<u8>> {
    let value = value.ok_or_else(|| Error::malformed(format!("it is without `{member}`")))?;
    URL_SAFE_NO_PAD
        .decode(value)
        .map_err(|error| Error::malformed(format!("its `{member}` is not base64url")).with_source(error))
}

fn coordinate(value: Option<&str>, member: &str, octets: usize) -> Result<Vec<u8>> {
    let value = decoded(value, member)?;
    if value.len() != octets {
        return Err(Error::malformed(format!("its `{member}` has {} octets, not {octets}", value.len())));
    }
    Ok(value)
}

/// Reads a subject public key info (RFC 5280, section 4.1.2.7).
fn from_subject_public_key_info(der: &[u8]) -> Result<VerificationKey> {
    let info = spki::SubjectPublicKeyInfoRef::from_der(der)
        .map_err(|error| Error::configuration("the public key cannot be parsed").with_source(error))?;
    let key = info
        .subject_public_key
        .as_bytes()
        .ok_or_else(|| Error::configuration("the public key is not a whole number of octets"))?;
    match info.algorithm.oid {
        RSA_ENCRYPTION => {
            let (modulus, exponent) = rsa_components(key)?;
            rsa(&modulus, &exponent)
        }
        EC_PUBLIC_KEY => match info.algorithm.parameters_oid() {
            Ok(P_256) => p256(key),
            Ok(P_384) => p384(key),
            Ok(_) | Err(_) => Err(Error::configuration("the curve is not P-256 or P-384")),
        },
        ED25519 if key.len() == 32 => Ok(ed25519(key)),
        other => Err(Error::configuration(format!(
            "a public key with the algorithm `{other}` cannot verify tokens; P-256, P-384, Ed25519 and RSA keys can"
        ))),
    }
}

/// Reads an `RSAPublicKey` (RFC 8017, appendix A.1.1).
fn rsa_components(der: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let parts = Vec::<der::asn1::UintRef<'_>>::from_der(der)
        .map_err(|error| Error::configuration("the RSA public key cannot be parsed").with_source(error))?;
    let [modulus, exponent] = parts.as_slice() else {
        return Err(Error::configuration("the RSA public key is not a modulus and an exponent"));
    };
    Ok((modulus.as_bytes().to_vec(), exponent.as_bytes().to_vec()))
}

fn p256(point: &[u8]) -> Result<VerificationKey> {
    on_curve(ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point))?;
    Ok(VerificationKey::new(DecodingKey::from_ec_der(point), &[JwtAlgorithm::Es256]))
}

fn p384(point: &[u8]) -> Result<VerificationKey> {
    on_curve(ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point))?;
    Ok(VerificationKey::new(DecodingKey::from_ec_der(point), &[JwtAlgorithm::Es384]))
}

fn on_curve(parsed: Result<ParsedPublicKey, aws_lc_rs::error::KeyRejected>) -> Result<()> {
    parsed.map(drop).map_err(|error| Error::configuration("the point is not on its curve").with_source(error))
}

fn ed25519(key: &[u8]) -> VerificationKey {
    VerificationKey::new(DecodingKey::from_ed_der(key), &[JwtAlgorithm::EdDsa])
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<VerificationKey> {
    let significant = significant(modulus);
    let bits = significant.len() * 8 - significant.first().map_or(0, |octet| octet.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) {
        return Err(Error::configuration(format!("the RSA key has {bits} bits; 2048 to 8192 are accepted")));
    }
    Ok(VerificationKey::new(DecodingKey::from_rsa_raw_components(significant, exponent), &JwtAlgorithm::RSA))
}

fn significant(octets: &[u8]) -> &[u8] {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    octets.get(zeros..).unwrap_or_default()
}
