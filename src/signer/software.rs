//! Software keys: PKCS #8 in memory, signatures by aws-lc-rs.

use std::fmt;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, ML_DSA_44_SIGNING, ML_DSA_65_SIGNING, ML_DSA_87_SIGNING,
    PqdsaKeyPair, PqdsaSigningAlgorithm, RSA_PKCS1_SHA256, RsaKeyPair,
};
use pkcs8::{ObjectIdentifier, PrivateKeyInfo};

use super::Signer;
use crate::error::{Error, Result};
use crate::x509::{PublicKey, SignatureAlgorithm};

const ID_EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const SECP521R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ID_ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ID_ML_DSA_44: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17");
const ID_ML_DSA_65: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18");
const ID_ML_DSA_87: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19");

const ACCEPTED: &str =
    "accepted are ECDSA P-256, P-384 and P-521, Ed25519, ML-DSA-44, -65 and -87, and RSA with 2048 to 8192 bits";

/// A software key ready to sign.
pub struct SoftwareSigner {
    key: Key,
    public_key: PublicKey,
    signature_algorithm: SignatureAlgorithm,
}

enum Key {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    MlDsa(PqdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl fmt::Debug for SoftwareSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.public_key.algorithm() {
            Ok(algorithm) => write!(f, "SoftwareSigner({algorithm})"),
            Err(name) => write!(f, "SoftwareSigner({name})"),
        }
    }
}

impl SoftwareSigner {
    /// Loads a key from unencrypted PKCS #8 DER: ECDSA P-256, P-384 and P-521, Ed25519, ML-DSA (as a seed, expanded, or both:
    /// RFC 9881, section 6), RSA 2048 to 8192.
    ///
    /// # Errors
    /// `Malformed` when it is none of these.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self> {
        // The parser's message may show octets of the key: it is not passed on.
        let info = PrivateKeyInfo::try_from(der)
            .map_err(|_octets| Error::malformed(format!("the private key is not PKCS #8 DER; {ACCEPTED}")))?;
        match info.algorithm.oid {
            ID_EC_PUBLIC_KEY => match info.algorithm.parameters_oid() {
                Ok(SECP256R1) => Self::ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, SignatureAlgorithm::EcdsaSha256, der),
                Ok(SECP384R1) => Self::ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, SignatureAlgorithm::EcdsaSha384, der),
                Ok(SECP521R1) => Self::ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING, SignatureAlgorithm::EcdsaSha512, der),
                Ok(curve) => {
                    Err(Error::malformed(format!("EC keys on the curve `{curve}` cannot sign here; {ACCEPTED}")))
                }
                Err(_absent) => Err(Error::malformed(format!("the EC key does not name its curve; {ACCEPTED}"))),
            },
            ID_ED25519 => {
                let key = Ed25519KeyPair::from_pkcs8(der).map_err(rejected)?;
                let public_key = spki(key.public_key())?;
                Ok(Self { key: Key::Ed25519(key), public_key, signature_algorithm: SignatureAlgorithm::Ed25519 })
            }
            ID_ML_DSA_44 => Self::ml_dsa(&ML_DSA_44_SIGNING, SignatureAlgorithm::MlDsa44, der),
            ID_ML_DSA_65 => Self::ml_dsa(&ML_DSA_65_SIGNING, SignatureAlgorithm::MlDsa65, der),
            ID_ML_DSA_87 => Self::ml_dsa(&ML_DSA_87_SIGNING, SignatureAlgorithm::MlDsa87, der),
            RSA_ENCRYPTION => {
                let key = RsaKeyPair::from_pkcs8(der).map_err(rejected)?;
                let public_key = spki(key.public_key())?;
                Ok(Self { key: Key::Rsa(key), public_key, signature_algorithm: SignatureAlgorithm::RsaSha256 })
            }
            other => Err(Error::malformed(format!("keys of the algorithm `{other}` cannot sign here; {ACCEPTED}"))),
        }
    }

    fn ecdsa(
        algorithm: &'static EcdsaSigningAlgorithm,
        signature_algorithm: SignatureAlgorithm,
        der: &[u8],
    ) -> Result<Self> {
        let key = EcdsaKeyPair::from_pkcs8(algorithm, der).map_err(rejected)?;
        let public_key = spki(key.public_key())?;
        Ok(Self { key: Key::Ecdsa(key), public_key, signature_algorithm })
    }

    fn ml_dsa(
        algorithm: &'static PqdsaSigningAlgorithm,
        signature_algorithm: SignatureAlgorithm,
        der: &[u8],
    ) -> Result<Self> {
        let key = PqdsaKeyPair::from_pkcs8(algorithm, der).map_err(rejected)?;
        let public_key = spki(key.public_key())?;
        Ok(Self { key: Key::MlDsa(key), public_key, signature_algorithm })
    }
}

fn rejected(error: aws_lc_rs::error::KeyRejected) -> Error {
    Error::malformed(format!("the private key is not valid ({error}); {ACCEPTED}")).with_source(error)
}

fn spki<'a>(key: &impl AsDer<aws_lc_rs::encoding::PublicKeyX509Der<'a>>) -> Result<PublicKey> {
    let der = key.as_der().map_err(|error| Error::internal("a public key cannot be encoded").with_source(error))?;
    PublicKey::from_spki_der(der.as_ref())
}

impl Signer for SoftwareSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.signature_algorithm
    }

    fn signs_in_line(&self) -> bool {
        match self.key {
            // P-521 takes twice as long as P-384, over a hundred microseconds.
            Key::Ecdsa(_) => self.signature_algorithm != SignatureAlgorithm::EcdsaSha512,
            Key::Ed25519(_) => true,
            Key::MlDsa(_) | Key::Rsa(_) => false,
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let signature = match &self.key {
            Key::Ecdsa(key) => key.sign(&SystemRandom::new(), message).map(|signature| signature.as_ref().to_vec()),
            Key::Ed25519(key) => key.try_sign(message).map(|signature| signature.as_ref().to_vec()),
            Key::MlDsa(key) => {
                let mut signature = vec![0; key.algorithm().signature_len()];
                key.sign(message, &mut signature).map(|length| {
                    signature.truncate(length);
                    signature
                })
            }
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).map(|()| signature)
            }
        };
        signature.map_err(|error| Error::internal("a software key refuses to sign").with_source(error))
    }
}
