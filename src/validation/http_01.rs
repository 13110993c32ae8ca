//! The challenge http-01 (RFC 8555, section 8.3): a file on the identifier's own web server that holds the key authorization.
//!
//! Redirects are followed, because web servers that send everything to `https` are common; each target is resolved and judged like the
//! first. What a server sends is compared and counted, and never shown.

mod exchange;
mod target;

use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;

use super::dialer::Dialer;
use super::host::Host;
use super::settings::ValidationSettings;
use super::tls;
use super::trail::Trail;
use crate::ca::acme::validation::{ValidationAttempt, ValidationFailure};
use crate::error::AcmeErrorType;
use exchange::{Answer, Asking};
use target::{Scheme, Target};

/// How much longer than the key authorization a body may be: whitespace at its end.
const BODY_MARGIN: usize = 128;

/// Looks at the challenge.
pub(super) async fn validate(
    dialer: &Dialer,
    https: &Arc<ClientConfig>,
    settings: &ValidationSettings,
    attempt: &ValidationAttempt,
    trail: &mut Trail,
) -> Result<(), ValidationFailure> {
    let asking = Asking {
        user_agent: &settings.user_agent,
        body_limit: attempt.key_authorization.len().saturating_add(BODY_MARGIN),
    };
    let mut target = Target::first(&attempt.identifier, settings.http_01_port, &attempt.token);
    let mut visited = vec![target.whole_url()];
    loop {
        let answer = ask(dialer, https, &asking, &target, trail).await?;
        trail.note(format!("{target}: status {}", answer.status));
        let Some(location) = redirection(&answer, &target)? else { return judge(&answer, &target, attempt) };
        if visited.len() > settings.maximum_redirects {
            return Err(unlike(format!("more than {} redirects", settings.maximum_redirects)));
        }
        target = target.redirected(location, settings).map_err(unlike)?;
        let next = target.whole_url();
        if visited.contains(&next) {
            return Err(unlike(format!("the redirects lead in a circle, at the host `{}`", target.host)));
        }
        visited.push(next);
    }
}

/// The failure of a server that answers otherwise than the challenge asks for.
fn unlike(why: String) -> ValidationFailure {
    ValidationFailure::new(AcmeErrorType::IncorrectResponse, why)
}

async fn ask(
    dialer: &Dialer,
    https: &Arc<ClientConfig>,
    asking: &Asking<'_>,
    target: &Target,
    trail: &mut Trail,
) -> Result<Answer, ValidationFailure> {
    let stream = dialer.dial(&target.host, target.port, trail).await?;
    match target.scheme {
        Scheme::Http => exchange::get(stream, target, asking, trail).await,
        Scheme::Https => {
            let server_name = match &target.host {
                Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_not_a_name| {
                    unlike(format!("a redirect leads to `{}`, which cannot be the name of a TLS server", target.host))
                })?,
                Host::Address(address) => ServerName::IpAddress((*address).into()),
            };
            let stream = tls::handshake(https, server_name, stream, trail).await?;
            exchange::get(stream, target, asking, trail).await
        }
    }
}

/// Returns where a redirect leads; `None` when the answer is none.
fn redirection<'a>(answer: &'a Answer, target: &Target) -> Result<Option<&'a str>, ValidationFailure> {
    match answer.status {
        301 | 302 | 307 | 308 => answer.location.as_deref().map(Some).ok_or_else(|| {
            unlike(format!(
                "`{}` redirects with the status {} without exactly one `Location` in ASCII",
                target.host, answer.status
            ))
        }),
        300 | 303..=306 | 309..=399 => Err(unlike(format!(
            "`{}` redirects with the status {}; redirects are followed with 301, 302, 307 and 308",
            target.host, answer.status
        ))),
        _ => Ok(None),
    }
}

/// Compares a body with the key authorization. Whitespace at its end does not count (RFC 8555, section 8.3), elsewhere it does.
fn judge(answer: &Answer, target: &Target, attempt: &ValidationAttempt) -> Result<(), ValidationFailure> {
    let expected = attempt.key_authorization.as_bytes();
    let refuse = |why: &str| {
        let detail = format!("the answer of `{}` is not the key authorization: {why}", target.host);
        Err(ValidationFailure::new(AcmeErrorType::Unauthorized, detail))
    };
    if answer.status != 200 {
        return refuse(&format!("its HTTP status is {}, expected is 200", answer.status));
    }
    let Some(body) = &answer.body else {
        return refuse(&format!("its body is longer than the {} octets expected", expected.len()));
    };
    if body.trim_ascii_end() == expected {
        return Ok(());
    }
    let other_key = body.strip_prefix(attempt.token.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'.'));
    let body_length = body.len();
    refuse(&match () {
        () if answer.is_encoded => "its body has a content coding, although none was asked for".to_owned(),
        () if body.is_empty() => "its body is empty".to_owned(),
        () if body.trim_ascii() == expected => "there is whitespace before it".to_owned(),
        () if body.starts_with(b"\xef\xbb\xbf") => "its body begins with a byte order mark".to_owned(),
        () if body.trim_ascii() == attempt.token.as_bytes() => {
            "its body is the token alone; the thumbprint of the account key is missing (RFC 8555, section 8.1)"
                .to_owned()
        }
        () if other_key => "the token is right, but the thumbprint is of another account key".to_owned(),
        () if body.trim_ascii_start().starts_with(b"<") => {
            format!("its body looks like a web page of {body_length} octets")
        }
        () => format!("its body of {body_length} octets is something else"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;
    use crate::policy::acme::{ChallengeType, Identifier};

    fn attempt() -> ValidationAttempt {
        ValidationAttempt {
            identifier: Identifier::Dns { name: "app.internal".to_owned(), wildcard: false },
            challenge: ChallengeType::Http01,
            token: "token".to_owned(),
            key_authorization: "token.thumbprint".to_owned(),
            account_url: String::new(),
        }
    }

    fn judged(status: u16, body: Option<&[u8]>, is_encoded: bool) -> Result<(), ValidationFailure> {
        let attempt = attempt();
        let target = Target::first(&attempt.identifier, 80, &attempt.token);
        let answer = Answer { status, location: None, is_encoded, body: body.map(<[u8]>::to_vec) };
        judge(&answer, &target, &attempt)
    }

    #[test]
    fn whitespace_after_the_key_authorization_does_not_count() {
        for end in ["", "\n", "\r\n", " \t\r\n\n", "\x0c"] {
            judged(200, Some(format!("token.thumbprint{end}").as_bytes()), false).unwrap();
        }
    }

    #[test]
    fn each_wrong_body_is_told_apart_without_being_shown() {
        for (status, body, is_encoded, why) in [
            (200, Some(" token.thumbprint".as_bytes()), false, "whitespace before"),
            (200, Some(b"\ntoken.thumbprint\n"), false, "whitespace before"),
            (200, Some(b""), false, "body is empty"),
            (200, Some(b"\xef\xbb\xbftoken.thumbprint"), false, "byte order mark"),
            (200, Some(b"token\n"), false, "token alone"),
            (200, Some(b"token.SECRET"), false, "another account key"),
            (200, Some(b"token.thumbprintSECRET"), false, "another account key"),
            (200, Some(b"TOKEN.thumbprint"), false, "something else"),
            (200, Some(b"<html>SECRET"), false, "web page of 12 octets"),
            (200, Some(b"\x1f\x8bSECRET"), true, "content coding"),
            (200, Some(b"token.thumb\nprint"), false, "another account key"),
            (200, None, false, "longer than the 16 octets"),
            (404, Some(b"token.thumbprint"), false, "HTTP status is 404"),
            (204, Some(b""), false, "HTTP status is 204"),
            (206, Some(b"token.thumbprint"), false, "HTTP status is 206"),
        ] {
            let failure = judged(status, body, is_encoded).unwrap_err();
            assert_eq!(failure.error_type, AcmeErrorType::Unauthorized);
            assert!(failure.detail.contains(why), "{why}: {}", failure.detail);
            assert!(!failure.detail.contains("SECRET"), "{}", failure.detail);
            assert!(!failure.is_final);
        }
    }
}
