//! Judges the validity of a request against a profile and its issuer.
//!
//! Lengths are counted from the present (or the start that was asked for) to `notAfter`, so that a certificate of `90d` ends
//! 90 days later to the second. RFC 5280, section 4.1.2.5, includes both ends, which makes it one second longer; the
//! backdating comes on top, as far as the whole stays within the maximum.

use std::time::Duration;

use super::profile::BeyondIssuer;
use super::{Adjustments, CompiledProfile, Evaluation, IssuerLimits, RequestedValidity, duration, violation};
use crate::error::Violation;
use crate::x509::Timestamp;

/// The first and the last second of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

/// All that decides about a period: what an [`Evaluation`] knows of it, and an order before there is a CSR.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) adjustments: &'a Adjustments,
    pub(super) profile: &'a CompiledProfile,
    pub(super) issuer: &'a IssuerLimits,
    pub(super) now: Timestamp,
}

/// What was asked for.
struct Asked<'a> {
    question: Question<'a>,
    /// From where the length is counted.
    start: Timestamp,
    not_after: Timestamp,
    length: Duration,
    /// Whether the end was stated as a moment that is not after the start.
    is_reversed: bool,
}

/// Judges start, length and the issuer's bounds.
pub(super) fn judge(evaluation: &Evaluation<'_>) -> Result<Period, Vec<Violation>> {
    let Evaluation { adjustments, profile, issuer, now, .. } = *evaluation;
    judge_question(Question { adjustments, profile, issuer, now })
}

/// As [`judge`], where there is no request to evaluate yet.
pub(super) fn judge_question(question: Question<'_>) -> Result<Period, Vec<Violation>> {
    let asked = Asked::of(question);
    let mut violations = Vec::new();
    let not_before = asked.not_before(&mut violations);
    asked.judge_length(&mut violations);
    let not_after = asked.within_issuer(&mut violations);
    if !violations.is_empty() {
        return Err(violations);
    }
    let not_before = match question.adjustments.not_before {
        Some(_) => not_before,
        // Relying parties count from the start that is written: backdating gives way, so that the whole is never over the maximum.
        None => not_before.max(not_after - question.profile.profile().validity.maximum),
    };
    Ok(Period { not_before, not_after })
}

impl<'a> Asked<'a> {
    fn of(question: Question<'a>) -> Self {
        let Adjustments { validity, not_before, .. } = question.adjustments;
        let start = not_before.unwrap_or(question.now);
        let (not_after, length) = match validity {
            None => {
                let length = question.profile.profile().validity.default;
                (start + length, length)
            }
            Some(RequestedValidity::Duration(length)) => (start + *length, *length),
            Some(RequestedValidity::NotAfter(end)) => (*end, end.since(start)),
        };
        let is_reversed = matches!(validity, Some(RequestedValidity::NotAfter(end)) if *end <= start);
        Self { question, start, not_after, length, is_reversed }
    }

    /// Returns the field of the request that states the end.
    const fn field(&self) -> &'static str {
        match self.question.adjustments.validity {
            Some(RequestedValidity::NotAfter(_)) => "not_after",
            Some(RequestedValidity::Duration(_)) | None => "validity",
        }
    }

    /// Returns the end as it was asked for.
    fn value(&self) -> String {
        match self.question.adjustments.validity {
            Some(RequestedValidity::NotAfter(end)) => end.to_string(),
            Some(RequestedValidity::Duration(_)) | None => duration::format(self.length),
        }
    }

    fn rule(&self, setting: &str) -> String {
        self.question.profile.rule(&format!("validity.{setting}"))
    }

    /// Returns the first second: as asked for, or the present backdated as far as the issuer is valid.
    fn not_before(&self, violations: &mut Vec<Violation>) -> Timestamp {
        let Question { now, issuer, .. } = self.question;
        let rule = &self.question.profile.profile().validity;
        let earliest = (now - rule.backdate).max(issuer.not_before);
        let Some(requested) = self.question.adjustments.not_before else {
            if issuer.not_before > now {
                let message = format!("the issuer is not valid before `{}`; ask again then", issuer.not_before);
                let value = now.to_string();
                violations.push(violation(
                    "validity_beyond_issuer",
                    "not_before",
                    &value,
                    "issuer.not_before",
                    message,
                ));
            }
            return earliest;
        };
        let mut refuse = |setting: &str, message: String| {
            let value = requested.to_string();
            violations.push(violation("not_before_not_allowed", "not_before", &value, self.rule(setting), message));
        };
        if requested < earliest {
            refuse("backdate", format!("the start `{requested}` is too early; allowed from `{earliest}`"));
        }
        let latest = now + rule.maximum;
        if requested > latest {
            refuse("maximum", format!("the start `{requested}` is too late; allowed until `{latest}`"));
        }
        if self.is_reversed {
            let end = self.not_after;
            refuse("minimum", format!("the start `{requested}` is not before the end `{end}`; ask for a later end"));
        }
        requested
    }

    fn judge_length(&self, violations: &mut Vec<Violation>) {
        let rule = &self.question.profile.profile().validity;
        if self.length > rule.maximum {
            let message = format!(
                "a validity of {} is too long; at most `{}` is allowed, until `{}`",
                self.described(),
                duration::format(rule.maximum),
                self.start + rule.maximum
            );
            let value = self.value();
            violations.push(violation("validity_too_long", self.field(), &value, self.rule("maximum"), message));
        }
        // A reversed period with a start that was asked for has been reported as that.
        let reported = self.is_reversed && self.question.adjustments.not_before.is_some();
        if self.length < rule.minimum && !reported {
            let message = if self.is_reversed {
                format!(
                    "the end `{}` is not in the future; ask for `{}` or later",
                    self.not_after,
                    self.start + rule.minimum
                )
            } else {
                format!(
                    "a validity of {} is too short; at least `{}` is allowed, until `{}`",
                    self.described(),
                    duration::format(rule.minimum),
                    self.start + rule.minimum
                )
            };
            let value = self.value();
            violations.push(violation("validity_too_short", self.field(), &value, self.rule("minimum"), message));
        }
    }

    fn described(&self) -> String {
        match self.question.adjustments.validity {
            Some(RequestedValidity::NotAfter(end)) => format!("`{}` (until `{end}`)", duration::format(self.length)),
            Some(RequestedValidity::Duration(_)) | None => format!("`{}`", duration::format(self.length)),
        }
    }

    /// Returns the last second, as the profile wants it when the issuer ends earlier.
    fn within_issuer(&self, violations: &mut Vec<Violation>) -> Timestamp {
        let end = self.question.issuer.not_after;
        if self.not_after <= end {
            return self.not_after;
        }
        let rule = &self.question.profile.profile().validity;
        let message = match rule.beyond_issuer {
            BeyondIssuer::Truncate if end.since(self.start) >= rule.minimum => return end,
            BeyondIssuer::Truncate => format!(
                "the issuer ends at `{end}`, and what is left of its validity is less than the least validity of `{}`; another \
                 issuer is needed",
                duration::format(rule.minimum)
            ),
            BeyondIssuer::Refuse => format!(
                "the certificate would end at `{}`, after its issuer, which ends at `{end}`; ask for a `not_after` of at most `{end}`",
                self.not_after
            ),
        };
        let value = self.value();
        violations.push(violation("validity_beyond_issuer", self.field(), &value, self.rule("beyond_issuer"), message));
        end
    }
}
