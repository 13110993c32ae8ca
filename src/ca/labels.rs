//! Labels of certificates: what a caller may give with a request, to find certificates by.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

const MAXIMUM_LABELS: usize = 32;
const MAXIMUM_LABEL_KEY: usize = 63;
const MAXIMUM_LABEL_VALUE: usize = 255;

/// Refuses labels that are too many or not well-formed.
///
/// # Errors
/// `Malformed`, naming the label.
pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<()> {
    if labels.len() > MAXIMUM_LABELS {
        return Err(Error::malformed(format!("{} labels are too many; at most {MAXIMUM_LABELS}", labels.len())));
    }
    for (key, value) in labels {
        let key_is_well_formed = (1..=MAXIMUM_LABEL_KEY).contains(&key.len())
            && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'));
        if !key_is_well_formed {
            return Err(Error::malformed(format!(
                "the label key `{}` is not 1 to {MAXIMUM_LABEL_KEY} of `A-Z a-z 0-9 - _ . /`",
                key.escape_debug()
            )));
        }
        if value.chars().count() > MAXIMUM_LABEL_VALUE || value.chars().any(char::is_control) {
            return Err(Error::malformed(format!(
                "the value of the label `{key}` is over {MAXIMUM_LABEL_VALUE} characters or holds control characters"
            )));
        }
    }
    Ok(())
}
