//! Signing keys: the [`Signer`] trait that the core knows, and its backends. A backend knows nothing of certificates.

pub mod file;
pub mod generate;
pub mod key_store;
#[cfg(test)]
mod openssl;
mod pbes2;
pub mod sealing;
pub mod secret_file;
pub mod software;

use crate::error::Result;
use crate::x509::{PublicKey, SignatureAlgorithm};

/// A private key that can sign, wherever it is kept.
pub trait Signer: Send + Sync + std::fmt::Debug {
    /// Returns the public key.
    fn public_key(&self) -> &PublicKey;

    /// Returns the algorithm of the signatures.
    fn signature_algorithm(&self) -> SignatureAlgorithm;

    /// Whether a signature takes tens of microseconds and may be made on an async worker; RSA and HSM keys answer `false`.
    fn signs_in_line(&self) -> bool;

    /// Signs a message (which the algorithm digests) and returns the signature as X.509 carries it.
    ///
    /// # Errors
    /// `Unavailable` when the key's device is away, `Internal` when it refuses.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>>;
}
