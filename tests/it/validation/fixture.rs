//! A validator that may contact loopback, a DNS server whose records the tests write, and the challenge that is looked at.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use chancery::ca::acme::validation::{ChallengeValidator, Validated, ValidationAttempt, ValidationFailure};
use chancery::environment::SystemClock;
use chancery::policy::acme::challenge::key_authorization_digest;
use chancery::policy::acme::{ChallengeType, Identifier};
use chancery::validation::{NetworkValidator, Resolver, ResolverSettings, ValidationSettings};

use crate::support::client::RUNTIME;
use crate::support::dns::DnsServer;

/// The token of RFC 8555, section 8.1.
pub(super) const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
/// Token, dot, and the thumbprint of RFC 7638, section 3.1.
pub(super) const KEY_AUTHORIZATION: &str =
    "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
/// A name that leads to 127.0.0.1.
pub(super) const NAME: &str = "app.internal";

/// The digest of the key authorization.
pub(super) fn digest() -> [u8; 32] {
    key_authorization_digest(KEY_AUTHORIZATION)
}

/// What is needed for a look.
pub(super) struct Bench {
    /// The DNS.
    pub(super) dns: Arc<DnsServer>,
    /// How is looked.
    pub(super) settings: ValidationSettings,
}

impl Bench {
    /// A validator that may contact loopback, and [`NAME`] at 127.0.0.1.
    pub(super) fn new() -> Self {
        Self::with_dns(Arc::new(DnsServer::start()))
    }

    /// The same with a DNS server that others hold, too.
    pub(super) fn with_dns(dns: Arc<DnsServer>) -> Self {
        dns.add_address(NAME, Ipv4Addr::LOCALHOST);
        let allowed = ["127.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap()).to_vec();
        let settings = ValidationSettings {
            allowed_addresses: Some(allowed),
            // Long enough for a busy machine.
            connect_timeout: Duration::from_secs(20),
            attempt_timeout: Duration::from_secs(60),
            ..ValidationSettings::default()
        };
        Self { dns, settings }
    }

    /// With another port of http-01.
    pub(super) fn http(mut self, port: u16) -> Self {
        self.settings.http_01_port = port;
        self
    }

    /// With another port of tls-alpn-01, which redirects to `https` may lead to as well.
    pub(super) fn tls(mut self, port: u16) -> Self {
        self.settings.tls_alpn_01_port = port;
        self
    }

    /// Looks at a challenge once.
    pub(super) fn look(&self, identifier: &str, challenge: ChallengeType) -> Result<Validated, ValidationFailure> {
        let resolver = ResolverSettings {
            resolvers: vec![self.dns.address()],
            timeout: Duration::from_secs(20),
            ..ResolverSettings::default()
        };
        let attempt = ValidationAttempt {
            identifier: read(identifier),
            challenge,
            token: TOKEN.to_owned(),
            key_authorization: KEY_AUTHORIZATION.to_owned(),
            account_url: "https://ca.internal/acme/accounts/1".to_owned(),
        };
        let settings = self.settings.clone();
        RUNTIME.block_on(async {
            let resolver = Arc::new(Resolver::new(resolver).unwrap());
            let validator = NetworkValidator::new(settings, resolver, Arc::new(SystemClock)).unwrap();
            validator.validate(&attempt).await
        })
    }
}

fn read(identifier: &str) -> Identifier {
    if let Ok(address) = identifier.parse::<IpAddr>() {
        return Identifier::Ip(address);
    }
    match identifier.strip_prefix("*.") {
        Some(rest) => Identifier::Dns { name: rest.to_owned(), wildcard: true },
        None => Identifier::Dns { name: identifier.to_owned(), wildcard: false },
    }
}

/// Asserts the type of a failure, whether it is final, and parts of its detail.
#[track_caller]
pub(super) fn assert_failure(
    outcome: Result<Validated, ValidationFailure>,
    error_type: &str,
    is_final: bool,
    parts: &[&str],
) -> String {
    let failure = outcome.expect_err("the challenge was met");
    assert_eq!(failure.error_type.token(), error_type, "{}", failure.detail);
    assert_eq!(failure.is_final, is_final, "{}", failure.detail);
    for part in parts {
        assert!(failure.detail.contains(part), "no {part:?} in: {}", failure.detail);
    }
    failure.detail
}
