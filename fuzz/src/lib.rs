//! The fuzz targets of Chancery. What they do is in `targets.rs`, which `tests/it/fuzz.rs` shares to replay the corpus.

mod targets;

/// Feeds octets to a target; whether it understands them is of no interest here.
///
/// # Panics
/// When there is no target of this name, and when the target has found a defect.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = targets::TARGETS.iter().find(|(known, _)| *known == name).expect("the target has a name");
    target(data);
}
