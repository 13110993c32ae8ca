//! The keys of ACME accounts: as a client offers one in a request, and as an account has one once it was found acceptable.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{AcmeErrorType, Error, Result};
use crate::x509::PublicKey;
use crate::x509::json;
use crate::x509::key::jwk::{self, JsonWebKey};
use crate::x509::key::sha256;

/// A public key that came with a request. It may be weak: certificates of weak keys, too, are revoked with their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedKey {
    public_key: PublicKey,
    jwk: String,
    thumbprint: [u8; 32],
}

impl OfferedKey {
    /// Reads a JSON Web Key.
    ///
    /// # Errors
    /// `malformed`: not a public JSON Web Key; `badPublicKey`: one of a type, curve or size that is not supported.
    pub fn from_jwk(octets: &[u8]) -> Result<Self> {
        Self::from_json_web_key(&json::parse_object(octets, "not a JSON Web Key")?)
    }

    pub(super) fn from_json_web_key(key: &JsonWebKey<'_>) -> Result<Self> {
        Self::from_public_key(key.public_key()?)
    }

    /// Takes a public key, such as that of a certificate.
    ///
    /// # Errors
    /// `badPublicKey` when the key is of a kind that has no JSON Web Key here.
    pub fn from_public_key(public_key: PublicKey) -> Result<Self> {
        let jwk = jwk::canonical(&public_key)?;
        // RFC 7638, section 3: what is hashed is what is stored.
        let thumbprint = sha256(jwk.as_bytes());
        Ok(Self { public_key, jwk, thumbprint })
    }

    /// Returns the key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Returns the required members of the key's JWK in lexicographic order and without white space (RFC 7638, section 3).
    #[must_use]
    pub fn jwk(&self) -> &str {
        &self.jwk
    }

    /// Returns the SHA-256 thumbprint (RFC 7638).
    #[must_use]
    pub const fn thumbprint(&self) -> &[u8; 32] {
        &self.thumbprint
    }

    /// Judges the key: as those that are certified, it must be sound.
    ///
    /// # Errors
    /// `badPublicKey`, with every weakness.
    pub fn into_account_key(self) -> Result<AccountKey> {
        let weaknesses = self.public_key.weaknesses();
        if weaknesses.is_empty() {
            return Ok(AccountKey(self));
        }
        let messages: Vec<&str> = weaknesses.iter().map(|weakness| weakness.message.as_str()).collect();
        Err(bad_public_key(&messages.join("; ")))
    }
}

/// The key of an account: one that was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountKey(OfferedKey);

impl AccountKey {
    /// Reads a key from the JWK that was stored of it. It was judged when it was stored.
    ///
    /// # Errors
    /// `Internal`: what is stored is no key.
    pub fn from_stored(jwk: &str) -> Result<Self> {
        OfferedKey::from_jwk(jwk.as_bytes())
            .map(Self)
            .map_err(|error| Error::internal("the stored JWK of an account is no key").with_source(error))
    }

    /// Returns the key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    /// Returns the JWK for storage: see [`OfferedKey::jwk`].
    #[must_use]
    pub fn jwk(&self) -> &str {
        self.0.jwk()
    }

    /// Returns the SHA-256 thumbprint (RFC 7638).
    #[must_use]
    pub const fn thumbprint(&self) -> &[u8; 32] {
        self.0.thumbprint()
    }

    /// Returns the thumbprint in base64url, as it stands in key authorizations (RFC 8555, section 8.1).
    #[must_use]
    pub fn thumbprint_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.thumbprint())
    }

    /// Whether this is the key that was offered.
    #[must_use]
    pub fn is(&self, offered: &OfferedKey) -> bool {
        self.0.jwk == offered.jwk
    }
}

/// Makes a `badPublicKey` that says what would be accepted.
pub(super) fn bad_public_key(why: &str) -> Error {
    Error::acme(
        AcmeErrorType::BadPublicKey,
        format!(
            "the key is not acceptable: {why}; accepted are P-256, P-384, P-521, Ed25519 and RSA of 2048 to 8192 bits with the exponent 65537"
        ),
    )
}
