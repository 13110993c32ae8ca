//! The tokens that the configuration describes, and which of them has a key. What a token is, is in `pkcs11/`, a feature of the build:
//! without it there are none, and a key in a token cannot be opened.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::Signer;
#[cfg(feature = "pkcs11")]
use super::pkcs11::{KeyUri, Pkcs11Signer, Token};
use crate::error::{Error, Result};
use crate::x509::{KeyAlgorithm, PublicKey};

/// What finds a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSelector {
    /// The label that the token was initialised with.
    Label(String),
    /// The serial number.
    Serial(String),
    /// The number of its slot. Not every library gives the same number after a restart.
    Slot(u64),
}

impl fmt::Display for TokenSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(f, "the label `{label}`"),
            Self::Serial(serial) => write!(f, "the serial number `{serial}`"),
            Self::Slot(slot) => write!(f, "the slot {slot}"),
        }
    }
}

/// A token and how to use it.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// The name by which the rest of the configuration means it.
    pub name: String,
    /// The manufacturer's library.
    pub module: PathBuf,
    /// What finds the token.
    pub selector: TokenSelector,
    /// The user's PIN; `None` for a token that needs no login.
    pub pin: Option<SecretString>,
    /// The most sessions, and so signatures at once.
    pub sessions: usize,
    /// How long a signature may take, waiting for its turn included.
    pub timeout: Duration,
}

/// The tokens of the configuration.
#[derive(Debug, Default)]
pub struct Tokens {
    #[cfg(feature = "pkcs11")]
    all: Vec<Arc<Token>>,
}

#[cfg(feature = "pkcs11")]
impl Tokens {
    /// Loads the libraries of the tokens, which need not be there yet.
    ///
    /// # Errors
    /// `Configuration` when a library cannot be loaded.
    pub fn new(settings: Vec<TokenSettings>) -> Result<Self> {
        let all = settings.into_iter().map(|settings| Token::new(settings).map(Arc::new)).collect::<Result<_>>()?;
        Ok(Self { all })
    }

    /// Opens the key that a PKCS #11 URI names, as [`Pkcs11Signer::open`].
    pub(super) fn open(&self, uri: &str, public_key: &PublicKey) -> Result<Arc<dyn Signer>> {
        let uri: KeyUri = uri.parse().map_err(|error| {
            Error::configuration("the place of a key in the database cannot be read").with_source(error)
        })?;
        let mut away = None;
        for token in self.all.iter().filter(|token| token.may_have(&uri)) {
            let signer: Arc<dyn Signer> =
                Arc::new(Pkcs11Signer::open(Arc::clone(token), uri.clone(), public_key.clone())?);
            if !signer.is_away() {
                return Ok(signer);
            }
            away.get_or_insert(signer);
        }
        away.ok_or_else(|| {
            Error::configuration(format!("no section `[[pkcs11]]` describes the token of the key `{uri}`"))
        })
    }

    /// Makes a key, and returns its URI with it, as [`Pkcs11Signer::create`].
    pub(super) fn create(
        &self,
        token: &str,
        algorithm: KeyAlgorithm,
        label: &str,
    ) -> Result<(String, Arc<dyn Signer>)> {
        let signer = Pkcs11Signer::create(Arc::clone(self.by_name(token)?), algorithm, label)?;
        Ok((signer.uri().to_string(), Arc::new(signer)))
    }

    /// Refuses a token that is not configured.
    pub(super) fn check_name(&self, token: &str) -> Result<()> {
        self.by_name(token).map(|_token| ())
    }

    /// Returns the name of the configured token that has the key of a PKCS #11 URI.
    ///
    /// # Errors
    /// `Configuration` when none has.
    pub fn name_of(&self, uri: &str) -> Result<String> {
        let uri: KeyUri = uri.parse().map_err(|error| {
            Error::configuration("the place of a key in the database cannot be read").with_source(error)
        })?;
        let token = self.all.iter().find(|token| token.may_have(&uri));
        token.map(|token| token.name().to_owned()).ok_or_else(|| {
            Error::configuration(format!("no section `[[pkcs11]]` describes the token of the key `{uri}`"))
        })
    }

    fn by_name(&self, token: &str) -> Result<&Arc<Token>> {
        self.all.iter().find(|known| known.name() == token).ok_or_else(|| {
            let shown: String = token.chars().take(64).flat_map(char::escape_debug).collect();
            let names: Vec<String> = self.all.iter().map(|token| format!("`{}`", token.name())).collect();
            let there = match names.as_slice() {
                [] => "there is none (sections `[[pkcs11]]`)".to_owned(),
                names => format!("there are: {}", names.join(", ")),
            };
            Error::malformed(format!("there is no token `{shown}` in the configuration; {there}"))
        })
    }

    /// Opens a session on each token: by name, what came of it.
    ///
    /// Blocks for as long as their timeouts together.
    #[must_use]
    pub fn check(&self) -> Vec<(String, Result<()>)> {
        self.all.iter().map(|token| (token.name().to_owned(), token.check())).collect()
    }
}

#[cfg(not(feature = "pkcs11"))]
impl Tokens {
    /// Refuses every token: this build has no PKCS #11.
    ///
    /// # Errors
    /// `Configuration` when there is any.
    pub fn new(settings: Vec<TokenSettings>) -> Result<Self> {
        if settings.is_empty() { Ok(Self::default()) } else { Err(not_built_in()) }
    }

    /// Refuses.
    pub(super) fn open(&self, _uri: &str, _public_key: &PublicKey) -> Result<Arc<dyn Signer>> {
        Err(not_built_in())
    }

    /// Refuses.
    pub(super) fn create(
        &self,
        _token: &str,
        _algorithm: KeyAlgorithm,
        _label: &str,
    ) -> Result<(String, Arc<dyn Signer>)> {
        Err(not_built_in())
    }

    /// Refuses.
    pub(super) fn check_name(&self, _token: &str) -> Result<()> {
        Err(Error::malformed(NOT_BUILT_IN))
    }

    /// Refuses.
    ///
    /// # Errors
    /// `Configuration`, always.
    pub fn name_of(&self, _uri: &str) -> Result<String> {
        Err(not_built_in())
    }

    /// Returns nothing: there are none.
    #[must_use]
    pub fn check(&self) -> Vec<(String, Result<()>)> {
        Vec::new()
    }
}

#[cfg(not(feature = "pkcs11"))]
const NOT_BUILT_IN: &str = "keys in tokens need a build with the feature `pkcs11`, which this is not";

#[cfg(not(feature = "pkcs11"))]
fn not_built_in() -> Error {
    Error::configuration(NOT_BUILT_IN)
}
