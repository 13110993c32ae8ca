//! The registered claims (RFC 7519, section 4.1): audience and times, against our own clock.

use std::time::Duration;

use serde_json::Value;

use super::refused;
use crate::error::{Error, Result};
use crate::x509::Timestamp;

/// The greatest leeway that can be configured.
const MAXIMUM_LEEWAY: Duration = Duration::from_secs(600);

/// What one provider's tokens must fulfil.
#[derive(Clone, Debug)]
pub(crate) struct ClaimChecks {
    audience: Vec<String>,
    leeway: i64,
    maximum_age: Option<i64>,
}

impl ClaimChecks {
    /// Takes the settings.
    ///
    /// # Errors
    /// `Configuration` without an audience or with over 10 minutes of leeway.
    pub(crate) fn new(audience: Vec<String>, leeway: Duration, maximum_age: Option<Duration>) -> Result<Self> {
        if audience.is_empty() {
            return Err(Error::configuration(
                "`audience` is empty; without one, tokens made for others would be accepted",
            ));
        }
        if leeway > MAXIMUM_LEEWAY {
            return Err(Error::configuration(format!("`leeway` is over {} seconds", MAXIMUM_LEEWAY.as_secs())));
        }
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        Ok(Self { audience, leeway: seconds(leeway), maximum_age: maximum_age.map(seconds) })
    }

    /// Checks the claims of a token whose signature is verified; returns the last second in which they hold.
    ///
    /// # Errors
    /// `Unauthenticated` with the first claim that is not fulfilled.
    pub(crate) fn check(&self, claims: &Value, now: Timestamp) -> Result<Timestamp> {
        self.check_audience(claims)?;
        if claims.get("cnf").is_some() {
            // RFC 7800, section 3: it may only be used with a proof of possession, which is not asked for here.
            return Err(refused("the token is bound to a key (`cnf`) and cannot be used as a bearer token"));
        }
        let now = now.unix();
        let expiry = time(claims, "exp")?.ok_or_else(|| refused("the token has no expiry (`exp`)"))?;
        let mut end = expiry.saturating_add(self.leeway);
        if now >= end {
            return Err(refused(format!("the token expired at {}", Timestamp::from_unix(expiry))));
        }
        if let Some(not_before) = time(claims, "nbf")?
            && now < not_before.saturating_sub(self.leeway)
        {
            return Err(refused(format!("the token is not valid before {}", Timestamp::from_unix(not_before))));
        }
        let issued_at = time(claims, "iat")?;
        if let Some(issued_at) = issued_at
            && now < issued_at.saturating_sub(self.leeway)
        {
            return Err(refused(format!("the token was issued in the future, at {}", Timestamp::from_unix(issued_at))));
        }
        if let Some(maximum_age) = self.maximum_age {
            let issued_at = issued_at.ok_or_else(|| refused("the token does not say when it was issued (`iat`)"))?;
            let oldest = issued_at.saturating_add(maximum_age).saturating_add(self.leeway);
            if now >= oldest {
                return Err(refused(format!(
                    "the token is older than {maximum_age} seconds, the most that is accepted"
                )));
            }
            end = end.min(oldest);
        }
        Ok(Timestamp::from_unix(end.saturating_sub(1)))
    }

    fn check_audience(&self, claims: &Value) -> Result<()> {
        let ours =
            |audience: &Value| audience.as_str().is_some_and(|text| self.audience.iter().any(|ours| ours == text));
        let fulfilled = match claims.get("aud") {
            Some(Value::Array(audiences)) => audiences.iter().any(ours),
            Some(audience) => ours(audience),
            None => false,
        };
        if fulfilled {
            return Ok(());
        }
        Err(refused(format!(
            "the token is not for this service; its audience (`aud`) must be `{}`",
            self.audience.join("` or `")
        )))
    }
}

/// Reads a `NumericDate` (RFC 7519, section 2), which may have a fraction.
fn time(claims: &Value, name: &str) -> Result<Option<i64>> {
    // Past the year 9999 no comparison changes, and every sum stays in range.
    const LIMIT: f64 = 253_402_300_799.0;
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => {
            let seconds = number.as_f64().unwrap_or(LIMIT).clamp(-LIMIT, LIMIT);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "clamped to a range that fits; the fraction is dropped"
            )]
            Ok(Some(seconds.floor() as i64))
        }
        Some(_) => Err(refused(format!("the token's `{name}` is not a number of seconds"))),
    }
}
