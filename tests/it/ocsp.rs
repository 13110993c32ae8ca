//! `/ocsp`: what a relying party is told of a certificate, when, and how it may keep it.

mod answers;
mod asking;
mod changes;
mod faults;
mod refusals;
mod responders;

pub(crate) use asking::{Asked, Relying};
