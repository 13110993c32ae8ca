//! Keys in an HSM, over PKCS #11 (version 2.40): they are made there, sign there and never leave it.
//!
//! A [`Token`] is one device as the configuration describes it. All calls to it run on a few threads of its own (`pool.rs`), each
//! with a session (`connection.rs`), so that a call that hangs holds up nobody but its caller, and him for a limited time. A session
//! or login that is lost is opened again and the call repeated; a device that is away makes signatures `Unavailable` until it is back,
//! without a restart. `module.rs` loads the manufacturer's library, `key.rs` speaks of attributes and mechanisms, `uri.rs` of names.
//! Which issuer has its key here is not known in this module.

mod connection;
mod failure;
mod key;
mod module;
mod pool;
#[cfg(test)]
mod tests;
mod token;
mod uri;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use failure::Class;
pub use token::Token;
pub use uri::KeyUri;

use super::Signer;
use crate::error::{Error, ErrorKind, Result};
use crate::x509::{KeyAlgorithm, PublicKey, SignatureAlgorithm};

/// What a key signs when it is opened, to show that it is the right one. No prefix of a certificate, CRL or OCSP answer.
const PROBE: &[u8] = b"chancery: is this the key?";

/// How long after a key was not found on its token it is looked for again: that takes a new start of the library, which is everybody's.
const MISSING_PAUSE: Duration = Duration::from_secs(15);

/// How long, in seconds, callers are asked to wait for a key that is missing.
const RETRY_AFTER: u32 = 15;

/// A key on a token, ready to sign whenever the token is there.
pub struct Pkcs11Signer {
    token: Arc<Token>,
    uri: Arc<KeyUri>,
    public_key: PublicKey,
    algorithm: KeyAlgorithm,
    /// Why the latest signature failed, unless that was a matter of the token.
    trouble: Mutex<Option<Trouble>>,
}

/// A key that is missing or refuses.
#[derive(Debug)]
struct Trouble {
    detail: String,
    /// Until when nobody need try again.
    until: Instant,
}

impl fmt::Debug for Pkcs11Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pkcs11Signer({} {})", self.algorithm, self.uri)
    }
}

impl Pkcs11Signer {
    /// Opens the key with this URI, and has it sign something to show that it belongs to `public_key`. A token or key that is not there
    /// is no error: signatures are `Unavailable` until it is. Blocks for at most twice the token's timeout.
    ///
    /// # Errors
    /// `Configuration`: the token refuses the PIN, or the key is another one, could be extracted or cannot sign.
    pub fn open(token: Arc<Token>, uri: KeyUri, public_key: PublicKey) -> Result<Self> {
        let signer = Self::new(token, uri, public_key)?;
        match signer.check() {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::warn!(key = %signer.uri, %error, "the key is not there; it signs when it is");
            }
            checked => checked.map_err(|error| {
                let detail = format!("the key `{}` cannot be used: {error}", signer.uri);
                Error::configuration(detail).with_source(error)
            })?,
        }
        Ok(signer)
    }

    /// Makes a key on the token, sensitive and not extractable, labelled `label`, or takes the one that has this label.
    /// Blocks for as long as the token needs, at most two minutes.
    ///
    /// # Errors
    /// `Configuration` when several keys have the label, or one of another kind or that could be extracted, or when the token cannot
    /// make such keys; `Unavailable` when it is away.
    pub fn create(token: Arc<Token>, algorithm: KeyAlgorithm, label: &str) -> Result<Self> {
        key::refuse_unsupported(algorithm)?;
        let made = token.create_key(algorithm, label)?;
        if made.existed {
            tracing::warn!(key = %made.uri, "a key with this label is on the token and is taken as it is");
        }
        let signer = Self::new(token, made.uri, made.public_key)?;
        if signer.algorithm != algorithm {
            return Err(Error::configuration(format!(
                "the key `{}` is on the token and is `{}`, not `{algorithm}`; remove it or choose another name",
                signer.uri, signer.algorithm
            )));
        }
        signer.check()?;
        Ok(signer)
    }

    fn new(token: Arc<Token>, uri: KeyUri, public_key: PublicKey) -> Result<Self> {
        let algorithm = public_key.algorithm().map_err(|name| {
            Error::configuration(format!(
                "keys of the algorithm `{name}` cannot sign over PKCS #11; {}",
                key::SUPPORTED
            ))
        })?;
        key::refuse_unsupported(algorithm)?;
        Ok(Self { token, uri: Arc::new(uri), public_key, algorithm, trouble: Mutex::new(None) })
    }

    /// Returns the URI that names the key.
    #[must_use]
    pub fn uri(&self) -> &KeyUri {
        &self.uri
    }

    /// Signs, and remembers what is wrong with the key.
    fn try_to_sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        if let Some(trouble) = self.trouble().as_ref()
            && Instant::now() < trouble.until
        {
            return Err(Error::new(ErrorKind::Unavailable, trouble.detail.clone()).with_retry_after(RETRY_AFTER));
        }
        let (result, pause) = self.sign_verified(message);
        let trouble = match (&result, pause) {
            (Err(error), Some(pause)) => {
                Some(Trouble { detail: error.detail().to_owned(), until: Instant::now() + pause })
            }
            // What the token says of itself it remembers itself.
            (Err(_), None) | (Ok(_), _) => None,
        };
        *self.trouble() = trouble;
        result
    }

    /// Signs, and verifies what came back: a token may have been exchanged, and a faulty signature can give a key away. With a failure
    /// that is a matter of this key comes how long it is not tried again.
    fn sign_verified(&self, message: &[u8]) -> (Result<Vec<u8>>, Option<Duration>) {
        let input = match key::SigningInput::new(self.algorithm, message) {
            Ok(input) => Arc::new(input),
            Err(error) => return (Err(error), Some(Duration::ZERO)),
        };
        let mut renew = false;
        loop {
            let signature = match self.token.sign(&self.uri, &input, renew) {
                Ok(signature) => signature,
                Err(failure) => {
                    let pause = match failure.class {
                        Class::Lost | Class::Away | Class::Busy => None,
                        Class::KeyMissing => Some(MISSING_PAUSE),
                        Class::Refused => Some(Duration::ZERO),
                    };
                    return (Err(failure.into_error(self.token.name())), pause);
                }
            };
            match self.public_key.verify(self.signature_algorithm(), message, &signature) {
                Ok(()) => return (Ok(signature), None),
                // The object may have been replaced by another while our session knew the old one: looked for once more.
                Err(_first) if !renew => renew = true,
                Err(error) => {
                    let detail =
                        format!("the signature by the key `{}` does not verify with the issuer's public key", self.uri);
                    return (Err(Error::internal(detail).with_source(error)), Some(Duration::ZERO));
                }
            }
        }
    }

    fn trouble(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signer for Pkcs11Signer {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn signature_algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::for_key(self.algorithm)
    }

    fn signs_in_line(&self) -> bool {
        false
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        // How a token is set up is nothing for clients.
        self.try_to_sign(message).map_err(|error| match error.kind() {
            ErrorKind::Configuration => Error::internal("the token refuses to sign").with_source(error),
            _ => error,
        })
    }

    fn is_away(&self) -> bool {
        self.token.is_away() || self.trouble().is_some()
    }

    fn check(&self) -> Result<()> {
        self.try_to_sign(PROBE).map(|_signature| ())
    }
}
