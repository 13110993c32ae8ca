//! API tokens: how a secret looks, how it is digested, and the check of one against the storage.
//!
//! Tokens are made and revoked in `ca/tokens.rs`. Only the digest is stored; a secret has 256 random bits, so a plain SHA-256 is
//! enough, and finding the row by the digest tells an attacker who measures time nothing about any secret.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest as hash};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::cache::PrincipalCache;
use super::principal::{Method, Principal, Role};
use super::records::CredentialRecords;
use crate::environment::RandomSource;
use crate::error::{Error, ErrorKind, Result};
use crate::policy::Grants;
use crate::policy::grants::GrantsDocument;
use crate::storage::TokenRecord;
use crate::x509::Timestamp;

/// How every API token begins, so that people and secret scanners recognise one.
pub const PREFIX: &str = "chy_";

/// The random octets of a secret.
const RANDOM_OCTETS: usize = 32;

/// How long a checked token is believed without asking the storage, at the longest.
const CACHED_FOR: Duration = Duration::from_secs(5);

/// Makes a secret: `chy_` and 43 characters of base64url, 256 random bits.
///
/// # Errors
/// `Internal` when the random source fails.
pub fn generate(random: &dyn RandomSource) -> Result<SecretString> {
    let mut octets = Zeroizing::new([0_u8; RANDOM_OCTETS]);
    random.fill(octets.as_mut_slice())?;
    let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(octets.as_slice()));
    Ok(SecretString::from(format!("{PREFIX}{}", encoded.as_str())))
}

/// Returns the SHA-256 of a secret, which is what the storage keeps.
#[must_use]
pub fn digest(secret: &SecretString) -> [u8; 32] {
    sha256(secret.expose_secret().as_bytes())
}

/// Whether a bearer credential is meant as an API token.
pub(crate) fn is_api_token(bearer: &str) -> bool {
    bearer.starts_with(PREFIX)
}

/// Returns the SHA-256 of octets.
pub(crate) fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut out = [0_u8; 32];
    out.copy_from_slice(hash(&SHA256, octets).as_ref());
    out
}

/// Checks API tokens.
#[derive(Debug)]
pub(crate) struct ApiTokens {
    records: Arc<dyn CredentialRecords>,
    cache: PrincipalCache,
}

impl ApiTokens {
    pub(crate) fn new(records: Arc<dyn CredentialRecords>) -> Self {
        Self { records, cache: PrincipalCache::new(CACHED_FOR) }
    }

    /// Checks a token at `now`.
    ///
    /// # Errors
    /// `Unauthenticated` when it is malformed, not known, revoked, expired or its record cannot be used; those of the storage.
    pub(crate) async fn authenticate(&self, secret: &SecretString, now: Timestamp) -> Result<Arc<Principal>> {
        refuse_malformed(secret.expose_secret())?;
        let digest = digest(secret);
        if let Some(principal) = self.cache.find(&digest, now).await {
            return Ok(principal);
        }
        let epoch = self.cache.epoch();
        let Some(record) = self.records.token(&digest).await? else {
            return Err(refused("the API token is not known"));
        };
        refuse_ended(&record, now)?;
        let principal = Arc::new(principal(&record)?);
        // A token is valid before its end, so the last valid second is the one before.
        let last_valid = record.expires_at.map_or(Timestamp::MAX, |end| end - Duration::from_secs(1));
        self.cache.insert(digest, epoch, Arc::clone(&principal), last_valid).await;
        Ok(principal)
    }

    pub(crate) fn forget_all(&self) {
        self.cache.forget_all();
    }
}

/// Refuses what cannot be a token before the storage is asked.
fn refuse_malformed(secret: &str) -> Result<()> {
    let encoded = secret.strip_prefix(PREFIX).unwrap_or_default();
    let well_formed = encoded.len() == 43
        && URL_SAFE_NO_PAD.decode(encoded).map(Zeroizing::new).is_ok_and(|octets| octets.len() == RANDOM_OCTETS);
    if well_formed {
        return Ok(());
    }
    Err(refused("the API token is malformed; it is `chy_` and 43 characters of base64url"))
}

fn refuse_ended(record: &TokenRecord, now: Timestamp) -> Result<()> {
    if let Some(revoked_at) = record.revoked_at {
        return Err(refused(format!("the API token `{}` was revoked at {revoked_at}", record.name)));
    }
    match record.expires_at {
        Some(expires_at) if now >= expires_at => {
            Err(refused(format!("the API token `{}` expired at {expires_at}", record.name)))
        }
        Some(_) | None => Ok(()),
    }
}

/// Reads role and grants. A record that cannot be read is a refusal: an error in the path of authorisation never widens it.
fn principal(record: &TokenRecord) -> Result<Principal> {
    let read = || -> Result<(Role, Grants)> {
        let role: Role = record.role.parse()?;
        // serde would read `[]` as a document without restrictions.
        let document: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&record.grants)
            .map_err(|error| Error::malformed("the grants are not a JSON object").with_source(error))?;
        let document: GrantsDocument = serde_json::from_value(document.into())
            .map_err(|error| Error::malformed("the grants are not a grants document").with_source(error))?;
        Ok((role, Grants::compile(document)?))
    };
    let (role, grants) = read().map_err(|error| {
        tracing::error!(token = %record.id, error = %error, cause = ?error, "an API token's record cannot be used, so the token is refused");
        refused(format!("the role or the grants of the API token `{}` cannot be read", record.name)).with_source(error)
    })?;
    Ok(Principal { name: format!("token:{}", record.name), role, grants, method: Method::ApiToken })
}

fn refused(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unauthenticated, detail)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;
    use crate::auth::test_support::Records;
    use crate::environment::SystemRandomSource;

    const NOW: i64 = 1_900_000_000;

    fn now() -> Timestamp {
        Timestamp::from_unix(NOW)
    }

    fn record(secret: &SecretString) -> ([u8; 32], TokenRecord) {
        let record = TokenRecord {
            row: 1,
            id: "01".to_owned(),
            name: "deploy".to_owned(),
            role: "requester".to_owned(),
            grants: r#"{"profiles":["server"]}"#.to_owned(),
            created_at: Timestamp::from_unix(NOW - 100),
            created_by: "system".to_owned(),
            expires_at: None,
            revoked_at: None,
        };
        (digest(secret), record)
    }

    fn secret() -> SecretString {
        generate(&SystemRandomSource::default()).unwrap()
    }

    async fn refusal(change: impl FnOnce(&mut TokenRecord)) -> String {
        let secret = secret();
        let (digest, mut record) = record(&secret);
        change(&mut record);
        let records = Arc::new(Records::default());
        records.tokens.lock().unwrap().insert(digest, record);
        let error = ApiTokens::new(records).authenticate(&secret, now()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        error.detail().to_owned()
    }

    #[test]
    fn makes_distinct_secrets_of_one_form() {
        let (one, other) = (secret(), secret());
        assert_ne!(one.expose_secret(), other.expose_secret());
        assert_eq!(one.expose_secret().len(), 47);
        refuse_malformed(one.expose_secret()).unwrap();
    }

    #[tokio::test]
    async fn gives_name_role_and_grants_of_a_known_token() {
        let secret = secret();
        let (digest, record) = record(&secret);
        let records = Arc::new(Records::default());
        records.tokens.lock().unwrap().insert(digest, record);
        let principal = ApiTokens::new(records).authenticate(&secret, now()).await.unwrap();
        assert_eq!(principal.name, "token:deploy");
        assert_eq!(principal.role, Role::Requester);
        assert_eq!(principal.method, Method::ApiToken);
        assert!(principal.grants.allow_profile("server") && !principal.grants.allow_profile("client"));
    }

    #[tokio::test]
    async fn refuses_malformed_tokens_without_asking_the_storage() {
        let records = Arc::new(Records::default());
        let tokens = ApiTokens::new(Arc::clone(&records) as Arc<dyn CredentialRecords>);
        let good = secret();
        let good = good.expose_secret();
        for bad in ["chy_", "chy_x", &good[..46], &format!("{good}A"), &format!("{}=", &good[..46]), "chy_é"] {
            let error = tokens.authenticate(&SecretString::from(bad.to_owned()), now()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{bad}");
            assert!(!error.detail().contains(good), "the secret is in the message");
        }
        assert_eq!(records.asked(), 0);
    }

    #[tokio::test]
    async fn refuses_an_unknown_token() {
        let tokens = ApiTokens::new(Arc::new(Records::default()));
        let error = tokens.authenticate(&secret(), now()).await.unwrap_err();
        assert_eq!((error.kind(), error.detail()), (ErrorKind::Unauthenticated, "the API token is not known"));
    }

    #[tokio::test]
    async fn refuses_revoked_expired_and_unreadable_tokens_each_with_its_reason() {
        let revoked = refusal(|record| record.revoked_at = Some(now())).await;
        assert_eq!(revoked, "the API token `deploy` was revoked at 2030-03-17T17:46:40Z");
        let expired = refusal(|record| record.expires_at = Some(now())).await;
        assert_eq!(expired, "the API token `deploy` expired at 2030-03-17T17:46:40Z");
        let role = refusal(|record| "root".clone_into(&mut record.role)).await;
        assert_eq!(role, "the role or the grants of the API token `deploy` cannot be read");
        for grants in ["", "[]", "null", r#"{"profile":["server"]}"#, r#"{"names":{"dns":{"allow":["a..b"]}}}"#] {
            let grants = refusal(|record| grants.clone_into(&mut record.grants)).await;
            assert_eq!(grants, "the role or the grants of the API token `deploy` cannot be read");
        }
    }

    #[tokio::test]
    async fn believes_a_token_for_seconds_but_never_past_its_end_or_a_change() {
        let secret = secret();
        let (digest, mut record) = record(&secret);
        record.expires_at = Some(Timestamp::from_unix(NOW + 2));
        let records = Arc::new(Records::default());
        records.tokens.lock().unwrap().insert(digest, record.clone());
        let tokens = ApiTokens::new(Arc::clone(&records) as Arc<dyn CredentialRecords>);
        tokens.authenticate(&secret, now()).await.unwrap();
        tokens.authenticate(&secret, Timestamp::from_unix(NOW + 1)).await.unwrap();
        assert_eq!(records.asked(), 1);
        tokens.authenticate(&secret, Timestamp::from_unix(NOW + 2)).await.unwrap_err();
        record.revoked_at = Some(now());
        records.tokens.lock().unwrap().insert(digest, record);
        tokens.forget_all();
        tokens.authenticate(&secret, now()).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_storage_that_fails_is_not_a_token_that_is_not_known() {
        let records = Arc::new(Records::default());
        records.fails.store(true, std::sync::atomic::Ordering::Relaxed);
        let error = ApiTokens::new(records).authenticate(&secret(), now()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}
