//! JSON Web Tokens (RFC 7519) of configured issuers: OIDC providers, Kubernetes service accounts, CI systems.
//!
//! Issuer, audience, algorithms and keys are pinned by configuration; a token only says which of them it claims to be from
//! (RFC 8725, sections 3.1, 3.8 and 3.9). Its header is never a source of keys or addresses. The steps are in [`JwtProviders::authenticate`].

pub mod algorithm;
mod claims;
mod key_source;
mod keys;
mod placeholders;
pub mod rules;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

pub use algorithm::JwtAlgorithm;
pub use key_source::JwtKeySource;
pub use rules::JwtRule;

use super::api_token::sha256;
use super::cache::PrincipalCache;
use super::principal::{Method, Principal, Role};
use crate::environment::Clock;
use crate::error::{Error, ErrorKind, Result};
use claims::ClaimChecks;
use key_source::KeySource;
use keys::KeySet;
use rules::{ClaimPath, Rules};

/// The most octets of a token.
const MAXIMUM_TOKEN: usize = 16 * 1024;
/// How long a verified token is believed without verifying it again, at the longest.
const CACHED_FOR: Duration = Duration::from_secs(5);

/// A configured issuer of tokens.
#[derive(Clone, Debug)]
pub struct JwtProviderSettings {
    /// The name, which is part of the principal's: 1 to 63 of `a-z`, `0-9`, `-`, `_`, `.`; unique.
    pub name: String,
    /// The exact `iss` of its tokens; unique.
    pub issuer: String,
    /// The audiences of which a token's `aud` must hold one; at least one.
    pub audience: Vec<String>,
    /// The algorithms that are accepted; at least one.
    pub algorithms: Vec<JwtAlgorithm>,
    /// Where its keys are.
    pub keys: JwtKeySource,
    /// How often the keys are read again; at least 30 seconds.
    pub refresh: Duration,
    /// How far its clock may be off; at most 10 minutes.
    pub leeway: Duration,
    /// The greatest age by `iat`, which a token must then have.
    pub maximum_age: Option<Duration>,
    /// The claim that names the caller, `sub` as a rule; a JSON pointer when it begins with `/`.
    pub subject_claim: String,
    /// The role of tokens that match no rule, without grants beyond the profiles'; they are refused if absent.
    pub role: Option<Role>,
    /// The rules, of which the first that matches counts.
    pub rules: Vec<JwtRule>,
}

/// Every configured issuer of tokens.
#[derive(Debug)]
pub(crate) struct JwtProviders {
    providers: Vec<Provider>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Provider {
    name: String,
    issuer: String,
    algorithms: Vec<JwtAlgorithm>,
    checks: ClaimChecks,
    subject_claim: ClaimPath,
    rules: Rules,
    keys: KeySource,
    cache: PrincipalCache,
}

impl JwtProviders {
    /// Checks the settings and reads the keys.
    ///
    /// # Errors
    /// `Configuration` naming the provider and what is wrong.
    pub(crate) async fn open(settings: Vec<JwtProviderSettings>, clock: Arc<dyn Clock>) -> Result<Self> {
        let mut names = HashSet::new();
        let mut issuers = HashSet::new();
        let mut providers = Vec::new();
        for provider in settings {
            let name = provider.name.clone();
            let in_provider =
                |error: Error| Error::configuration(format!("token issuer `{name}`: {error}")).with_source(error);
            if !names.insert(provider.name.clone()) {
                return Err(in_provider(Error::configuration("the name is there twice")));
            }
            if !issuers.insert(provider.issuer.clone()) {
                return Err(in_provider(Error::configuration("another one has the same `issuer`")));
            }
            providers.push(Provider::open(provider, &clock).await.map_err(in_provider)?);
        }
        Ok(Self { providers, clock })
    }

    /// Checks a token.
    ///
    /// # Errors
    /// `Unauthenticated` with what is wrong; `Unavailable` when the issuer's keys could not be read so far.
    pub(crate) async fn authenticate(&self, token: &str) -> Result<Arc<Principal>> {
        let parts = Parts::split(token)?;
        let header = parts.header()?;
        let claims = parts.claims()?;
        // The one thing that is read before the signature is verified: which configured issuer's rules and keys apply.
        let provider = self.provider_of(&claims)?;
        let now = self.clock.now();
        let digest = sha256(token.as_bytes());
        if let Some(principal) = provider.cache.find(&digest, now).await {
            return Ok(principal);
        }
        let epoch = provider.cache.epoch();
        provider.verify_signature(&header, &parts).await?;
        let last_valid = provider.checks.check(&claims, now)?;
        let principal = Arc::new(provider.principal(&claims)?);
        provider.cache.insert(digest, epoch, Arc::clone(&principal), last_valid).await;
        Ok(principal)
    }

    /// Reads the keys of every provider whose time has come. A failure is logged and keeps the last good keys.
    pub(crate) async fn refresh_due_keys(&self) {
        for provider in &self.providers {
            if provider.keys.refresh_when_due().await {
                provider.cache.forget_all();
            }
        }
    }

    pub(crate) fn forget_all(&self) {
        for provider in &self.providers {
            provider.cache.forget_all();
        }
    }

    fn provider_of(&self, claims: &Value) -> Result<&Provider> {
        let issuer =
            claims.get("iss").and_then(Value::as_str).ok_or_else(|| refused("the token has no issuer (`iss`)"))?;
        self.providers
            .iter()
            .find(|provider| provider.issuer == issuer)
            .ok_or_else(|| refused(format!("the token's issuer `{}` is not configured", shown(issuer))))
    }
}

impl Provider {
    async fn open(settings: JwtProviderSettings, clock: &Arc<dyn Clock>) -> Result<Self> {
        let well_named = (1..=63).contains(&settings.name.len())
            && settings.name.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'));
        if !well_named {
            return Err(Error::configuration("the name is not 1 to 63 of `a-z`, `0-9`, `-`, `_`, `.`"));
        }
        if settings.issuer.is_empty() {
            return Err(Error::configuration("`issuer` is empty"));
        }
        if settings.algorithms.is_empty() {
            return Err(Error::configuration("`algorithms` is empty"));
        }
        let checks = ClaimChecks::new(settings.audience, settings.leeway, settings.maximum_age)?;
        let subject_claim = ClaimPath::parse(&settings.subject_claim)?;
        let rules = Rules::compile(settings.rules, settings.role)?;
        let keys = KeySource::open(&settings.name, settings.keys, settings.refresh, Arc::clone(clock)).await?;
        Ok(Self {
            name: settings.name,
            issuer: settings.issuer,
            algorithms: settings.algorithms,
            checks,
            subject_claim,
            rules,
            keys,
            cache: PrincipalCache::new(CACHED_FOR),
        })
    }

    async fn verify_signature(&self, header: &Header, parts: &Parts<'_>) -> Result<()> {
        let algorithm: JwtAlgorithm =
            header.alg.parse().map_err(|error: Error| refused(format!("the token's algorithm is refused: {error}")))?;
        if !self.algorithms.contains(&algorithm) {
            return Err(refused(format!("the token's algorithm `{algorithm}` is not accepted from its issuer")));
        }
        if self.keys.refresh_when_overdue().await {
            self.cache.forget_all();
        }
        let id = header.kid.as_deref();
        let mut keys = self.keys.keys()?;
        if keys.candidates(id, algorithm).is_empty() && self.keys.refresh_for_unknown_key(&keys).await {
            self.cache.forget_all();
            keys = self.keys.keys()?;
        }
        verify_with(&keys, id, algorithm, parts)
    }

    fn principal(&self, claims: &Value) -> Result<Principal> {
        let subject = self.subject_claim.find(claims).and_then(Value::as_str).ok_or_else(|| {
            refused(format!("the token's claim `{}`, which names the caller, is missing", self.subject_claim.as_str()))
        })?;
        if subject.is_empty() || subject.len() > 255 || subject.chars().any(char::is_control) {
            return Err(refused(format!(
                "the token's claim `{}`, which names the caller, is not 1 to 255 octets of text without control characters",
                self.subject_claim.as_str()
            )));
        }
        let (role, grants) = self.rules.apply(claims)?;
        Ok(Principal { name: format!("jwt:{}:{subject}", self.name), role, grants, method: Method::Jwt })
    }
}

fn verify_with(keys: &KeySet, id: Option<&str>, algorithm: JwtAlgorithm, parts: &Parts<'_>) -> Result<()> {
    let candidates = keys.candidates(id, algorithm);
    if candidates.is_empty() {
        return Err(refused(match id {
            Some(id) => format!("the token's key `{}` is not one of its issuer's keys for `{algorithm}`", shown(id)),
            None => {
                format!("the token names no key (`kid`), and its issuer does not have exactly one for `{algorithm}`")
            }
        }));
    }
    if candidates.iter().any(|key| key.verifies(algorithm, parts.signed, parts.signature)) {
        return Ok(());
    }
    Err(refused("the token's signature does not verify with its issuer's key"))
}

/// The parts of a compact JWS (RFC 7515, section 7.1).
struct Parts<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    /// Header, dot, payload: what is signed.
    signed: &'a str,
}

/// The header parameters that are looked at. All others are ignored (RFC 7515, section 4), keys and addresses of keys above all.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self> {
        if token.len() > MAXIMUM_TOKEN {
            return Err(refused(format!("the token is over {MAXIMUM_TOKEN} octets")));
        }
        let malformed = || refused("the bearer credential is neither an API token nor a signed JSON Web Token");
        let (signed, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (header, payload) = signed.split_once('.').ok_or_else(malformed)?;
        if payload.contains('.') {
            return Err(malformed());
        }
        Ok(Self { header, payload, signature, signed })
    }

    fn header(&self) -> Result<Header> {
        let header: Header = serde_json::from_slice(&decode(self.header, "header")?)
            .map_err(|error| refused("the token's header is not that of a signed JSON Web Token").with_source(error))?;
        if header.crit.is_some() {
            return Err(refused("the token's header has critical parameters (`crit`), none of which is known here"));
        }
        // Tokens typed for another purpose are not access tokens (RFC 8725, section 3.11).
        let typ = header.typ.as_deref().map(str::to_ascii_lowercase);
        match typ.as_deref() {
            None | Some("jwt" | "application/jwt" | "at+jwt" | "application/at+jwt") => Ok(header),
            Some(other) => Err(refused(format!("the token's type `{}` is not `JWT` or `at+jwt`", shown(other)))),
        }
    }

    fn claims(&self) -> Result<Value> {
        let claims: Value = serde_json::from_slice(&decode(self.payload, "payload")?)
            .map_err(|error| refused("the token's payload is not JSON").with_source(error))?;
        if !claims.is_object() {
            return Err(refused("the token's payload is not a set of claims"));
        }
        Ok(claims)
    }
}

fn decode(part: &str, name: &str) -> Result<Vec<u8>> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|error| refused(format!("the token's {name} is not base64url")).with_source(error))
}

fn refused(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unauthenticated, detail)
}

/// Returns text of a token as it can be shown: control characters escaped, at most 200 characters.
fn shown(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}
