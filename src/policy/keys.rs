//! Judges the keys of a request against a profile.
//!
//! How a weakness is found is in `x509/key.rs`; which keys are blocked, the caller knows.

use super::{Evaluation, listed, violation};
use crate::error::Violation;
use crate::x509::PublicKey;

/// Where the key is in a request.
const FIELD: &str = "csr.public_key";

/// Judges algorithm, size, strength and block list.
pub(super) fn judge(evaluation: &Evaluation<'_>) -> Result<(), Vec<Violation>> {
    let key = evaluation.request.public_key();
    let weaknesses = key.weaknesses();
    let mut violations = Vec::new();
    // A key of a wrong size is reported as that alone: that its size is not listed either says nothing more.
    let wrong_size = weaknesses.iter().any(|weakness| matches!(weakness.code, "key_too_small" | "key_too_large"));
    if !wrong_size {
        violations.extend(unlisted(evaluation, key));
    }
    violations.extend(
        weaknesses
            .into_iter()
            .map(|weakness| violation(weakness.code, FIELD, &name(key), "key_strength", weakness.message)),
    );
    if evaluation.key_is_blocked {
        violations.push(key_blocked(&key.spki_sha256()));
    }
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

/// Returns the violation of the block list by a key.
#[must_use]
pub fn key_blocked(spki_sha256: &[u8; 32]) -> Violation {
    let digest = hex::encode(spki_sha256);
    let message = format!(
        "the key with the SHA-256 digest `{digest}` is blocked, as keys are that were revoked as compromised; make a new key"
    );
    violation("key_blocked", FIELD, &digest, "blocked_keys", message)
}

/// Returns the violation of the list of algorithms, if there is one.
fn unlisted(evaluation: &Evaluation<'_>, key: &PublicKey) -> Option<Violation> {
    let keys = &evaluation.profile.profile().keys;
    if key.algorithm().is_ok_and(|algorithm| keys.contains(&algorithm)) {
        return None;
    }
    let message = format!("a key of the kind `{}` is not allowed; allowed: {}", name(key), listed(keys));
    Some(violation("key_not_allowed", FIELD, &name(key), evaluation.profile.rule("keys"), message))
}

fn name(key: &PublicKey) -> String {
    match key.algorithm() {
        Ok(algorithm) => algorithm.to_string(),
        Err(unsupported) => unsupported.to_owned(),
    }
}
