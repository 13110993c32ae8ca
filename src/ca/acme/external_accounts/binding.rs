//! Bindings of accounts (RFC 8555, section 7.3.4): made with a key that was given out here, for this account key, address and directory.

use serde::Deserialize as _;
use serde_json::Value;

use crate::ca::acme::{Account, Acme};
use crate::error::{AcmeErrorType, Error, Result};
use crate::storage::ExternalAccountKeyRecord;
use crate::x509::jws::{AccountKey, FlattenedSignature, MacRequest};
use crate::x509::{Timestamp, printable};

/// A binding that was verified.
#[derive(Clone, Debug)]
pub(in crate::ca::acme) struct Binding {
    /// The key it was made with.
    pub(in crate::ca::acme) key: ExternalAccountKeyRecord,
    /// What the client sent, to be echoed.
    pub(in crate::ca::acme) as_sent: String,
}

impl Acme {
    /// Verifies a binding of an account key, in a request to `url` of a directory: that of a profile, or the default one.
    ///
    /// # Errors
    /// `malformed` for what is no such JWS, or one for another address or account key; `badSignatureAlgorithm`; `unauthorized` for a key that is
    /// not known, was deleted, has expired or is for another profile, and for a MAC that is not the key's; those of the storage.
    pub(in crate::ca::acme) async fn verify_binding(
        &self,
        as_sent: &Value,
        url: &str,
        account_key: &AccountKey,
        directory: Option<&str>,
    ) -> Result<Binding> {
        let jws = FlattenedSignature::deserialize(as_sent).map_err(|error| {
            Error::malformed(format!(
                "`externalAccountBinding` is not a flattened JWS: {}",
                printable::text(&error.to_string())
            ))
            .with_source(error)
        })?;
        let request = MacRequest::parse(&jws)?;
        let shown = printable::text(request.key_id());
        let key = self.find_external_account_key(request.key_id()).await?.ok_or_else(|| {
            unauthorized(format!(
                "there is no external account key `{shown}`; check the key id that the operator of this CA gave out"
            ))
        })?;
        request.verify(&self.hmac_key(&key)?, url, account_key)?;
        // Only whoever has the key is told what became of it.
        require_usable(&key, self.ca.clock.now())?;
        if let Some(profile) = directory.filter(|profile| *profile != key.profile) {
            return Err(unauthorized(format!(
                "the external account key `{shown}` is for the profile `{}`, and this is the directory of `{profile}`; use that of its \
                 profile, or the default one",
                key.profile
            )));
        }
        let as_sent = serde_json::to_string(as_sent)
            .map_err(|error| Error::internal("a binding cannot be encoded").with_source(error))?;
        Ok(Binding { key, as_sent })
    }

    /// Refuses to order and to finalize under a profile for an account whose external account key does not admit it: a key that was deleted, has
    /// expired or is for another profile; and for one without a key where one is required.
    ///
    /// # Errors
    /// `unauthorized`; `externalAccountRequired`.
    pub fn require_binding(&self, account: &Account, profile: &str) -> Result<()> {
        match &account.record.external_account_key {
            Some(key) => {
                require_usable(key, self.ca.clock.now())?;
                if key.profile == profile {
                    return Ok(());
                }
                Err(unauthorized(format!(
                    "the account is bound to the external account key `{}`, which is for the profile `{}` and not for `{}`",
                    key.key_id,
                    key.profile,
                    printable::text(profile)
                )))
            }
            None if self.settings.external_account_required => Err(Error::acme(
                AcmeErrorType::ExternalAccountRequired,
                "accounts of this CA are bound to an external account by now: ask its operator for a key id and an HMAC key, and repeat \
                 the registration of the account with them",
            )),
            None => Ok(()),
        }
    }
}

fn require_usable(key: &ExternalAccountKeyRecord, now: Timestamp) -> Result<()> {
    let why = match (key.deleted_at, key.expires_at) {
        (Some(deleted_at), _) => format!("was deleted at {deleted_at}"),
        (None, Some(expires_at)) if expires_at <= now => format!("expired at {expires_at}"),
        (None, Some(_) | None) => return Ok(()),
    };
    Err(unauthorized(format!(
        "the external account key `{}` {why}; ask the operator of this CA for another one",
        key.key_id
    )))
}

fn unauthorized(detail: String) -> Error {
    Error::acme(AcmeErrorType::Unauthorized, detail)
}
