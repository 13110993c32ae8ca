//! Checks a request's credentials, whichever they are, and answers the principal.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::api_token::{self, ApiTokens};
use super::client_certificate::{ClientCertificateRule, ClientCertificates, OwnIssuer};
use super::jwt::{JwtProviderSettings, JwtProviders};
use super::principal::Principal;
use super::records::{CredentialRecords, StoredRecords};
use crate::environment::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Storage;

/// The credentials that came with a request.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The value after `Authorization: Bearer`.
    pub bearer: Option<SecretString>,
    /// The TLS client certificate, DER, already verified by the handshake to chain to a configured CA.
    pub client_certificate: Option<Arc<Vec<u8>>>,
    /// The certificates that the client sent beside it, DER.
    pub client_intermediates: Arc<Vec<Vec<u8>>>,
}

/// Who may call, beside the holders of API tokens.
#[derive(Clone, Debug, Default)]
pub struct AuthenticatorSettings {
    /// The issuers of JWTs.
    pub jwt: Vec<JwtProviderSettings>,
    /// The rules for client certificates, of which the first that matches counts.
    pub client_certificates: Vec<ClientCertificateRule>,
}

/// Checks credentials.
#[derive(Debug)]
pub struct Authenticator {
    clock: Arc<dyn Clock>,
    api_tokens: ApiTokens,
    jwt: JwtProviders,
    client_certificates: ClientCertificates,
}

impl Authenticator {
    /// Checks the settings and reads the keys of token issuers. `issuers` are our own, by which our own client certificates are known.
    ///
    /// # Errors
    /// `Configuration` naming the setting and what is wrong.
    pub async fn new(
        settings: AuthenticatorSettings,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        issuers: Vec<OwnIssuer>,
    ) -> Result<Self> {
        let records: Arc<dyn CredentialRecords> = Arc::new(StoredRecords(storage));
        Ok(Self {
            api_tokens: ApiTokens::new(Arc::clone(&records)),
            jwt: JwtProviders::open(settings.jwt, Arc::clone(&clock)).await?,
            client_certificates: ClientCertificates::new(settings.client_certificates, records, issuers)?,
            clock,
        })
    }

    /// Checks a request's credentials: the bearer token if there is one (a bad one is refused even beside a good client certificate),
    /// else the client certificate.
    ///
    /// # Errors
    /// `Unauthenticated` with what is wrong, as far as it helps an honest caller; `Unavailable` when it cannot be checked now.
    pub async fn authenticate(&self, credentials: &Credentials) -> Result<Arc<Principal>> {
        if let Some(bearer) = &credentials.bearer {
            return if api_token::is_api_token(bearer.expose_secret()) {
                self.api_tokens.authenticate(bearer, self.clock.now()).await
            } else {
                self.jwt.authenticate(bearer.expose_secret()).await
            };
        }
        if let Some(certificate) = &credentials.client_certificate {
            let now = self.clock.now();
            return self.client_certificates.authenticate(certificate, &credentials.client_intermediates, now).await;
        }
        Err(Error::new(
            ErrorKind::Unauthenticated,
            "there is no credential; send `Authorization: Bearer` with an API token or a JSON Web Token, or use a client certificate",
        ))
    }

    /// Drops every cached principal. Called when tokens, issuers or certificates changed, here or on another replica.
    pub fn forget_all(&self) {
        self.api_tokens.forget_all();
        self.jwt.forget_all();
        self.client_certificates.forget_all();
    }

    /// Takes our own issuers as they are now, and returns the certificates (DER) that client certificates may chain to, for the handshake;
    /// none when no client certificate is accepted. Called when issuers changed.
    pub fn client_authorities(&self, issuers: Vec<OwnIssuer>) -> Vec<Vec<u8>> {
        self.client_certificates.replace_issuers(issuers);
        self.client_certificates.roots()
    }

    /// Reads the keys of token issuers whose time has come. To be called every 10 seconds or so; failures are logged and counted.
    pub async fn refresh_due_keys(&self) {
        self.jwt.refresh_due_keys().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;
    use crate::auth::test_support::{Records, SetClock};

    async fn authenticator() -> Authenticator {
        let records: Arc<dyn CredentialRecords> = Arc::new(Records::default());
        let clock: Arc<dyn Clock> = Arc::new(SetClock::at(1_900_000_000));
        Authenticator {
            api_tokens: ApiTokens::new(Arc::clone(&records)),
            jwt: JwtProviders::open(Vec::new(), Arc::clone(&clock)).await.unwrap(),
            client_certificates: ClientCertificates::new(Vec::new(), records, Vec::new()).unwrap(),
            clock,
        }
    }

    async fn refusal(bearer: Option<&str>, certificate: bool) -> String {
        let credentials = Credentials {
            bearer: bearer.map(SecretString::from),
            client_certificate: certificate.then(|| Arc::new(b"certificate".to_vec())),
            ..Credentials::default()
        };
        let error = authenticator().await.authenticate(&credentials).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        error.detail().to_owned()
    }

    #[tokio::test]
    async fn refuses_a_request_without_credentials() {
        assert!(refusal(None, false).await.starts_with("there is no credential;"));
    }

    #[tokio::test]
    async fn tells_api_tokens_json_web_tokens_and_certificates_apart() {
        assert!(refusal(Some("chy_x"), false).await.starts_with("the API token is malformed"));
        let token = "the bearer credential is neither an API token nor a signed JSON Web Token";
        assert_eq!(refusal(Some("CHY_x"), false).await, token);
        assert_eq!(refusal(Some(""), false).await, token);
        assert_eq!(refusal(None, true).await, "the client certificate cannot be parsed");
    }

    #[tokio::test]
    async fn a_bad_bearer_is_refused_even_beside_a_certificate() {
        assert!(refusal(Some("chy_x"), true).await.starts_with("the API token is malformed"));
        assert!(refusal(Some("a.b.c"), true).await.starts_with("the token's header"));
    }
}
