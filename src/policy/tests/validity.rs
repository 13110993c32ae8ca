//! Validity: lengths, starts, the issuer's bounds.

use std::time::Duration;

use super::support::{Case, Csr, days, now};
use crate::policy::RequestedValidity::{self, NotAfter};
use crate::policy::profile::BeyondIssuer;

fn length(duration: Duration) -> Option<RequestedValidity> {
    Some(RequestedValidity::Duration(duration))
}

fn case() -> Case {
    Case::new(Csr::new().dns("app.internal"))
}

#[test]
fn lengths_from_minimum_to_maximum_pass() {
    let mut case = case();
    for duration in [Duration::from_secs(300), days(1), days(398)] {
        case.adjustments.validity = length(duration);
        assert_eq!(case.approved().not_after(), now() + duration);
        case.adjustments.validity = Some(NotAfter(now() + duration));
        assert_eq!(case.approved().not_after(), now() + duration);
    }
}

#[test]
fn refuses_lengths_outside() {
    let mut case = case();
    let second = Duration::from_secs(1);
    for (duration, code, rule) in [
        (days(398) + second, "validity_too_long", "profiles.server.validity.maximum"),
        (Duration::from_secs(299), "validity_too_short", "profiles.server.validity.minimum"),
        (Duration::ZERO, "validity_too_short", "profiles.server.validity.minimum"),
    ] {
        case.adjustments.validity = length(duration);
        case.is_refused(code, "validity", rule);
        case.adjustments.validity = Some(NotAfter(now() + duration));
        case.is_refused(code, "not_after", rule);
    }
    case.adjustments.validity = Some(NotAfter(now() - days(1)));
    case.is_refused("validity_too_short", "not_after", "profiles.server.validity.minimum");
    case.adjustments.validity = length(Duration::MAX);
    let codes: Vec<&str> = case.violations().iter().map(|violation| violation.code).collect();
    assert_eq!(codes, ["validity_too_long", "validity_beyond_issuer"]);
}

#[test]
fn says_until_when_would_be_accepted() {
    let mut case = case();
    case.adjustments.validity = length(days(400));
    assert_eq!(
        case.violation().message,
        "a validity of `400d` is too long; at most `398d` is allowed, until `2031-02-03T00:00:00Z`"
    );
}

#[test]
fn backdates_never_before_the_issuer() {
    let mut case = case();
    case.issuer.not_before = now() - Duration::from_secs(60);
    assert_eq!(case.approved().not_before(), now() - Duration::from_secs(60));
    case.issuer.not_before = now();
    assert_eq!(case.approved().not_before(), now());
    case.issuer.not_before = now() + Duration::from_secs(1);
    case.is_refused("validity_beyond_issuer", "not_before", "issuer.not_before");
}

#[test]
fn a_start_may_be_asked_for_within_bounds() {
    let mut case = case();
    for start in [now() - Duration::from_secs(300), now(), now() + days(30)] {
        case.adjustments.not_before = Some(start);
        let approved = case.approved();
        assert_eq!((approved.not_before(), approved.not_after()), (start, start + days(90)));
    }
    case.adjustments.not_before = Some(now() - Duration::from_secs(301));
    case.is_refused("not_before_not_allowed", "not_before", "profiles.server.validity.backdate");
    case.adjustments.not_before = Some(now() + days(399));
    case.is_refused("not_before_not_allowed", "not_before", "profiles.server.validity.maximum");
    case.adjustments.not_before = Some(now() + days(30));
    case.adjustments.validity = Some(NotAfter(now() + days(30)));
    case.is_refused("not_before_not_allowed", "not_before", "profiles.server.validity.minimum");
    case.adjustments.validity = Some(NotAfter(now() + days(429)));
    case.is_refused("validity_too_long", "not_after", "profiles.server.validity.maximum");
}

#[test]
fn never_outlives_its_issuer() {
    let mut case = case();
    case.issuer.not_after = now() + days(90);
    assert_eq!(case.approved().not_after(), now() + days(90));
    case.issuer.not_after = now() + days(60);
    case.is_refused("validity_beyond_issuer", "validity", "profiles.server.validity.beyond_issuer");
    assert!(case.violation().message.contains("ends at `2030-03-02T00:00:00Z`"));
    case.adjustments.validity = Some(NotAfter(now() + days(61)));
    case.is_refused("validity_beyond_issuer", "not_after", "profiles.server.validity.beyond_issuer");
}

#[test]
fn is_truncated_to_its_issuer_when_the_profile_says_so() {
    let mut case = case();
    case.profile.validity.beyond_issuer = BeyondIssuer::Truncate;
    case.issuer.not_after = now() + days(60);
    assert_eq!(case.approved().not_after(), now() + days(60));
    case.adjustments.validity = length(days(61));
    assert_eq!(case.approved().not_after(), now() + days(60));
    case.issuer.not_after = now() + Duration::from_secs(299);
    case.is_refused("validity_beyond_issuer", "validity", "profiles.server.validity.beyond_issuer");
    case.issuer.not_after = now() - days(1);
    case.is_refused("validity_beyond_issuer", "validity", "profiles.server.validity.beyond_issuer");
}
