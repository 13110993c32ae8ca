//! Signing keys: the [`Signer`] trait that the core knows, and its backends. A backend knows nothing of certificates.

mod ciphers;
pub mod file;
pub mod generate;
pub mod import;
pub mod key_files;
pub mod key_ring;
pub mod key_store;
#[cfg(test)]
mod ml_dsa;
#[cfg(test)]
mod openssl;
mod pbes2;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
pub mod sealing;
pub mod secret_file;
pub mod software;
pub mod tokens;

use crate::error::Result;
use crate::x509::{PublicKey, SignatureAlgorithm};

/// A private key that can sign, wherever it is kept.
pub trait Signer: Send + Sync + std::fmt::Debug {
    /// Returns the public key.
    fn public_key(&self) -> &PublicKey;

    /// Returns the algorithm of the signatures.
    fn signature_algorithm(&self) -> SignatureAlgorithm;

    /// Whether a signature takes tens of microseconds and may be made on an async worker; P-521, ML-DSA, RSA and HSM keys answer `false`.
    fn signs_in_line(&self) -> bool;

    /// Signs a message (which the algorithm digests) and returns the signature as X.509 carries it.
    ///
    /// # Errors
    /// `Unavailable` when the key's device is away, `Internal` when it refuses.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>>;

    /// Whether the key could not be used when it was last tried: its device was away, or it was not on it. Keys in memory always can.
    fn is_away(&self) -> bool {
        false
    }

    /// Looks whether the key can be used now, by using it. Keys in memory always can.
    ///
    /// # Errors
    /// As [`Signer::sign`].
    fn check(&self) -> Result<()> {
        Ok(())
    }
}
