//! A token as the configuration describes it, and what is asked of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::failure::{Class, Failure};
use super::key::{self, SigningInput};
use super::module::Module;
use super::pool::Pool;
use super::uri::KeyUri;
use crate::error::{Error, Result};
use crate::signer::tokens::{TokenSelector, TokenSettings};
use crate::x509::{KeyAlgorithm, PublicKey};

/// How long a token may take to make a key: RSA keys take long in small devices.
const GENERATION_TIMEOUT: Duration = Duration::from_secs(120);

/// The length, in octets, of the identifiers (`CKA_ID`) that new keys get.
const ID_LENGTH: usize = 16;

/// What the threads of a token share.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) settings: TokenSettings,
    pub(super) module: Arc<Module>,
    pin_refused: AtomicBool,
}

impl Device {
    pub(super) fn pin_was_refused(&self) -> bool {
        self.pin_refused.load(Ordering::Acquire)
    }

    pub(super) fn refuse_pin(&self) {
        self.pin_refused.store(true, Ordering::Release);
    }
}

/// A key that was made or found on a token.
#[derive(Debug)]
pub(super) struct MadeKey {
    pub(super) uri: KeyUri,
    pub(super) public_key: PublicKey,
    /// Whether it had been there before.
    pub(super) existed: bool,
}

/// A token.
#[derive(Debug)]
pub struct Token {
    pool: Pool,
}

impl Token {
    /// Loads the token's library. The token itself need not be there yet.
    ///
    /// # Errors
    /// `Configuration` when the library cannot be loaded.
    pub fn new(settings: TokenSettings) -> Result<Self> {
        let module = Module::load(&settings.module)?;
        let device = Device { settings, module, pin_refused: AtomicBool::new(false) };
        Ok(Self { pool: Pool::new(Arc::new(device)) })
    }

    /// Returns the name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.pool.device().settings.name
    }

    /// Whether the latest call found the token away.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.pool.is_away()
    }

    /// Whether a URI may mean a key on this token, as far as the configuration tells.
    #[must_use]
    pub fn may_have(&self, uri: &KeyUri) -> bool {
        match &self.pool.device().settings.selector {
            TokenSelector::Label(label) => uri.token.as_ref().is_none_or(|token| token == label),
            TokenSelector::Serial(serial) => uri.serial.as_ref().is_none_or(|number| number == serial),
            TokenSelector::Slot(_) => true,
        }
    }

    /// Opens a session, which shows whether the token is there and takes the PIN.
    ///
    /// # Errors
    /// `Unavailable` when it is away; `Configuration` when it refuses the PIN.
    pub fn check(&self) -> Result<()> {
        self.finish(self.pool.call(self.timeout(), |connection| connection.run(&mut |_context, _open| Ok(()))))
    }

    /// Does some work in a session.
    #[cfg(test)]
    pub(super) fn run_for_test<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&cryptoki::context::Pkcs11, &mut super::connection::Open) -> Result<T, Failure>
        + Send
        + 'static,
    ) -> Result<T> {
        self.finish(self.pool.call(self.timeout(), move |connection| connection.run(&mut work)))
    }

    pub(super) fn sign(&self, uri: &Arc<KeyUri>, input: &Arc<SigningInput>, renew: bool) -> Result<Vec<u8>, Failure> {
        let (uri, input) = (Arc::clone(uri), Arc::clone(input));
        self.pool.call(self.timeout(), move |connection| {
            if renew {
                connection.close();
            }
            connection.run(&mut |_context, open| {
                refuse_other_token(&uri, open.token.label(), open.token.serial_number())?;
                let key = open.key(&uri)?;
                input.sign(&open.session, &open.mechanisms, key)
            })
        })
    }

    /// Makes a key, or finds the one with this label.
    pub(super) fn create_key(&self, algorithm: KeyAlgorithm, label: &str) -> Result<MadeKey> {
        let mut id = vec![0; ID_LENGTH];
        aws_lc_rs::rand::fill(&mut id)
            .map_err(|error| Error::internal("the system's random source fails").with_source(error))?;
        let label = label.to_owned();
        let by_serial = matches!(self.pool.device().settings.selector, TokenSelector::Serial(_));
        self.finish(self.pool.call(GENERATION_TIMEOUT, move |connection| {
            connection.run(&mut |context, open| {
                let labelled = KeyUri {
                    token: Some(open.token.label().to_owned()).filter(|label| !label.is_empty()),
                    // Members of a cluster have one label and many serial numbers: only who asked for one gets that one.
                    serial: by_serial.then(|| open.token.serial_number().to_owned()),
                    id: None,
                    object: Some(label.clone()),
                };
                let found = match key::find(&open.session, &labelled) {
                    Ok(key) => Some(key),
                    Err(failure) if failure.class == Class::KeyMissing => None,
                    Err(failure) => return Err(failure),
                };
                let existed = found.is_some();
                let key = match found {
                    Some(key) => key,
                    None => {
                        // The one thing that needs a session for writing.
                        let session = context.open_rw_session(open.slot)?;
                        key::generate(&session, algorithm, &id, &label)?
                    }
                };
                key::refuse_unsafe(&open.session, key)?;
                let (uri, public_key) = key::describe(&open.session, key, labelled)?;
                Ok(MadeKey { uri, public_key, existed })
            })
        }))
    }

    fn timeout(&self) -> Duration {
        self.pool.device().settings.timeout
    }

    fn finish<T>(&self, outcome: Result<T, Failure>) -> Result<T> {
        outcome.map_err(|failure| failure.into_error(self.name()))
    }
}

/// A slot may hold another token than yesterday.
fn refuse_other_token(uri: &KeyUri, label: &str, serial: &str) -> Result<(), Failure> {
    let other = uri.token.as_ref().is_some_and(|token| token != label)
        || uri.serial.as_ref().is_some_and(|number| number != serial);
    if other {
        return Err(Failure::away(format!("the token with the label `{label}` is there instead of that of `{uri}`")));
    }
    Ok(())
}
