//! The DNS half of the validator against a DNS server whose records the tests write.

mod caa;
mod challenges;
mod lookups;
mod persist;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chancery::ca::acme::validation::{CaaQuestion, Validated, ValidationAttempt, ValidationFailure};
use chancery::environment::SystemClock;
use chancery::policy::acme::{ChallengeType, Identifier};
use chancery::validation::{DnsSettings, DnsValidator, Resolver, ResolverSettings};

use crate::support::client::RUNTIME;
use crate::support::dns::DnsServer;

const ACCOUNT: &str = "https://ca.internal/acme/accounts/1";
/// Token, dot, and the thumbprint of RFC 7638, section 3.1.
const KEY_AUTHORIZATION: &str =
    "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
/// base64url(SHA-256(KEY_AUTHORIZATION)), made with `openssl dgst -sha256 -binary | basenc --base64url`.
const DIGEST: &str = "ZTRx1Ckl1-tM05o5zaizTTA0yUy5AGereMgSNWC6Ll8";

/// Asks these servers, long enough for a busy machine.
fn resolver(servers: &[SocketAddr]) -> Resolver {
    resolver_with(ResolverSettings { resolvers: servers.to_vec(), ..patient() })
}

fn resolver_with(settings: ResolverSettings) -> Resolver {
    Resolver::new(settings).unwrap()
}

fn patient() -> ResolverSettings {
    ResolverSettings { timeout: Duration::from_secs(10), ..ResolverSettings::default() }
}

fn settings(caa: bool) -> DnsSettings {
    let names = vec!["ca.internal".to_owned(), "ca2.internal".to_owned()];
    DnsSettings { caa_identities: if caa { names.clone() } else { Vec::new() }, issuer_domain_names: names }
}

fn validator(server: &DnsServer) -> DnsValidator {
    DnsValidator::new(Arc::new(resolver(&[server.address()])), settings(true), Arc::new(SystemClock))
}

fn identifier(name: &str) -> Identifier {
    match name.strip_prefix("*.") {
        Some(rest) => Identifier::Dns { name: rest.to_owned(), wildcard: true },
        None => Identifier::Dns { name: name.to_owned(), wildcard: false },
    }
}

fn attempt(name: &str, challenge: ChallengeType) -> ValidationAttempt {
    ValidationAttempt {
        identifier: identifier(name),
        challenge,
        token: KEY_AUTHORIZATION.split('.').next().unwrap().to_owned(),
        key_authorization: KEY_AUTHORIZATION.to_owned(),
        account_url: ACCOUNT.to_owned(),
    }
}

/// Looks at a challenge once.
fn look(server: &DnsServer, name: &str, challenge: ChallengeType) -> Result<Validated, ValidationFailure> {
    let validator = validator(server);
    RUNTIME.block_on(validator.validate(&attempt(name, challenge)))
}

fn check_caa(server: &DnsServer, name: &str, challenge: Option<ChallengeType>) -> Result<(), ValidationFailure> {
    let validator = validator(server);
    let question = CaaQuestion { identifier: identifier(name), challenge, account_url: ACCOUNT.to_owned() };
    RUNTIME.block_on(validator.check_caa(&question))
}

/// Asserts type and parts of the detail of a failure.
#[track_caller]
fn assert_failure<T: std::fmt::Debug>(outcome: Result<T, ValidationFailure>, error_type: &str, parts: &[&str]) {
    let failure = outcome.unwrap_err();
    assert_eq!(failure.error_type.token(), error_type, "{}", failure.detail);
    for part in parts {
        assert!(failure.detail.contains(part), "`{part}` is not in: {}", failure.detail);
    }
}
