//! Judges requests for CA certificates: whether the profile makes CAs at all, and how far they may go.
//!
//! What the issuer's own chain leaves to a CA below it is judged in `issuer.rs`; who may use such a profile, by the caller.

use super::Evaluation;
use super::violation;
use crate::error::Violation;
use crate::x509::NameConstraints;

/// Where basic constraints are in a request.
pub(super) const FIELD: &str = "csr.basic_constraints";

/// What a CA certificate says beyond others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovedAuthority {
    /// How many CA certificates may follow below it.
    pub path_length: u8,
    /// Which names may be signed below it.
    pub name_constraints: Option<NameConstraints>,
}

/// Judges the basic constraints; `None` for a certificate that is not a CA's.
pub(super) fn judge(evaluation: &Evaluation<'_>) -> Result<Option<ApprovedAuthority>, Vec<Violation>> {
    let requested = evaluation.request.requested();
    let Some(rule) = &evaluation.profile.profile().certificate_authority else {
        if !requested.certificate_authority {
            return Ok(None);
        }
        let message = "the request asks for a CA certificate (basic constraints `CA:TRUE`), which the profile does not give; ask with \
                       `CA:FALSE` or without basic constraints"
            .to_owned();
        let rule = evaluation.profile.rule_prefix();
        return Err(vec![violation("ca_not_allowed", FIELD, "CA:TRUE", rule, message)]);
    };
    if requested.end_entity {
        let message = "the request asks for a certificate that is not a CA's (basic constraints `CA:FALSE`), and the profile makes CAs; \
                       ask with `CA:TRUE`, without basic constraints, or under another profile"
            .to_owned();
        let rule = evaluation.profile.rule("certificate_authority");
        return Err(vec![violation("ca_not_requested", FIELD, "CA:FALSE", rule, message)]);
    }
    let path_length = match requested.path_length {
        Some(asked) if asked > rule.path_length => {
            let message = format!(
                "a path length of {asked} is too long; at most {} is allowed (basic constraints `CA:TRUE, pathlen:{}`)",
                rule.path_length, rule.path_length
            );
            let rule = evaluation.profile.rule("certificate_authority.path_length");
            return Err(vec![violation("path_length_too_long", FIELD, &asked.to_string(), rule, message)]);
        }
        Some(asked) => asked,
        None => longest(evaluation, rule.path_length),
    };
    let name_constraints = evaluation.profile.name_constraints().cloned();
    Ok(Some(ApprovedAuthority { path_length, name_constraints }))
}

/// Returns the greatest path length of the profile that the issuer's chain leaves room for.
fn longest(evaluation: &Evaluation<'_>, maximum: u8) -> u8 {
    let left = evaluation.issuer.remaining_path_length();
    left.map_or(maximum, |left| maximum.min(left.saturating_sub(1)))
}

/// Returns the violation of a CA without a name, if that is one.
pub(super) fn nameless(place: &str) -> Violation {
    let message = "the certificate of a CA needs a subject, by which the certificates below refer to it; ask for one, with OpenSSL: \
                   `openssl req -subj \"/O=Example/CN=Example Subordinate CA\" ...`"
        .to_owned();
    violation("subject_required", place, "", "RFC 5280, section 4.1.2.6", message)
}
