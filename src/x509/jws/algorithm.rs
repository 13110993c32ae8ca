//! The signature algorithms of JSON Web Signatures by their names, which keys they fit, and the form their signatures have.

use crate::error::{AcmeError, AcmeErrorType, Error, Result};
use crate::x509::{KeyAlgorithm, PublicKey, SignatureAlgorithm, encoding, printable};

/// An algorithm of the registry "JSON Web Signature and Encryption Algorithms" that signs with a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JwsAlgorithm {
    /// ECDSA on P-256 with SHA-256 (RFC 7518, section 3.4).
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// `EdDSA`, on the curve that the key names (RFC 8037, section 3.1); here only Ed25519.
    EdDsa,
    /// Ed25519 by its own name (RFC 9864, section 2.2).
    Ed25519,
    /// RSA with PKCS #1 v1.5 and SHA-256 (RFC 7518, section 3.3).
    Rs256,
    /// RSA with PKCS #1 v1.5 and SHA-384.
    Rs384,
    /// RSA with PKCS #1 v1.5 and SHA-512.
    Rs512,
}

impl JwsAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 8] =
        [Self::Es256, Self::Es384, Self::Es512, Self::EdDsa, Self::Ed25519, Self::Rs256, Self::Rs384, Self::Rs512];

    /// The names of those that requests of ACME clients may be signed with. One digest for each kind of key is enough; more would only be more
    /// to attack.
    pub const ACME: &'static [&'static str] = &["ES256", "ES384", "ES512", "EdDSA", "Ed25519", "RS256"];

    /// The names of those that prove possession of a key.
    pub(super) const POSSESSION: &'static [&'static str] =
        &["ES256", "ES384", "ES512", "EdDSA", "Ed25519", "RS256", "RS384", "RS512"];

    /// Returns the registered name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
            Self::Ed25519 => "Ed25519",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
        }
    }

    /// Finds the algorithm of a name among those that are accepted.
    pub(super) fn named(name: &str, accepted: &'static [&'static str]) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|known| known.as_str() == name && accepted.contains(&name));
        found.ok_or_else(|| {
            let message = format!(
                "the algorithm `{}` of the JWS is not accepted; accepted are {}",
                printable::text(name),
                accepted.join(", ")
            );
            unsupported(message, accepted)
        })
    }

    /// Checks that keys of this kind make such signatures: each curve has one algorithm (RFC 7518, section 3.4).
    pub(super) fn check_key(self, key: &PublicKey) -> Result<()> {
        let fits = match self {
            Self::Es256 => key.algorithm() == Ok(KeyAlgorithm::EcdsaP256),
            Self::Es384 => key.algorithm() == Ok(KeyAlgorithm::EcdsaP384),
            Self::Es512 => key.algorithm() == Ok(KeyAlgorithm::EcdsaP521),
            Self::EdDsa | Self::Ed25519 => key.algorithm() == Ok(KeyAlgorithm::Ed25519),
            Self::Rs256 | Self::Rs384 | Self::Rs512 => matches!(key.algorithm(), Ok(KeyAlgorithm::Rsa(_))),
        };
        if fits {
            return Ok(());
        }
        let fitting = fitting(key);
        let message = format!(
            "the algorithm `{}` of the JWS does not fit its key, which is of the kind `{}`{}{}",
            self.as_str(),
            key.algorithm_name(),
            if fitting.is_empty() { "" } else { " and signs with " },
            fitting.join(" or "),
        );
        Err(unsupported(message, fitting))
    }

    /// Verifies a signature over a message.
    ///
    /// # Errors
    /// `badSignatureAlgorithm` when algorithm and key do not fit; `malformed` when the signature has another length than the algorithm's, or
    /// does not verify.
    pub(super) fn verify(self, key: &PublicKey, message: &[u8], signature: &[u8]) -> Result<()> {
        self.check_key(key)?;
        let verified = match self {
            Self::Es256 => key.verify(SignatureAlgorithm::EcdsaSha256, message, &ecdsa_der(signature, 32)?),
            Self::Es384 => key.verify(SignatureAlgorithm::EcdsaSha384, message, &ecdsa_der(signature, 48)?),
            Self::Es512 => key.verify(SignatureAlgorithm::EcdsaSha512, message, &ecdsa_der(signature, 66)?),
            Self::EdDsa | Self::Ed25519 => key.verify(SignatureAlgorithm::Ed25519, message, signature),
            Self::Rs256 => key.verify(SignatureAlgorithm::RsaSha256, message, signature),
            Self::Rs384 => key.verify(SignatureAlgorithm::RsaSha384, message, signature),
            Self::Rs512 => key.verify(SignatureAlgorithm::RsaSha512, message, signature),
        };
        verified.map_err(|error| {
            Error::malformed(format!(
                "the `{}` signature of the JWS does not verify with its `{}` key; what is signed is `protected`, a dot and `payload`, as they \
                 are sent (RFC 7515, section 5.1)",
                self.as_str(),
                key.algorithm_name()
            ))
            .with_source(error)
        })
    }
}

/// Returns the names of the algorithms that keys of this kind sign requests with.
fn fitting(key: &PublicKey) -> &'static [&'static str] {
    match key.algorithm() {
        Ok(KeyAlgorithm::EcdsaP256) => &["ES256"],
        Ok(KeyAlgorithm::EcdsaP384) => &["ES384"],
        Ok(KeyAlgorithm::EcdsaP521) => &["ES512"],
        Ok(KeyAlgorithm::Ed25519) => &["EdDSA", "Ed25519"],
        Ok(KeyAlgorithm::Rsa(_)) => &["RS256"],
        Ok(KeyAlgorithm::MlDsa44 | KeyAlgorithm::MlDsa65 | KeyAlgorithm::MlDsa87) | Err(_) => &[],
    }
}

/// Makes a `badSignatureAlgorithm` that lists what is accepted (RFC 8555, section 6.2).
pub(super) fn unsupported(message: String, accepted: &'static [&'static str]) -> Error {
    let error_type = AcmeErrorType::BadSignatureAlgorithm;
    Error::acme(error_type, message).with_acme(AcmeError {
        error_type,
        subproblems: Vec::new(),
        algorithms: accepted,
        location: None,
        link: None,
    })
}

/// Turns the two numbers one behind the other (RFC 7518, section 3.4) into an `ECDSA-Sig-Value` (RFC 3279, section 2.2.3).
fn ecdsa_der(signature: &[u8], length: usize) -> Result<Vec<u8>> {
    match signature.split_at_checked(length) {
        Some((r, s)) if s.len() == length => {
            Ok(encoding::sequence(&[&encoding::unsigned_octets(r), &encoding::unsigned_octets(s)]))
        }
        _ => Err(Error::malformed(format!(
            "the signature of the JWS has {} octets instead of {}",
            signature.len(),
            length.saturating_mul(2)
        ))),
    }
}
