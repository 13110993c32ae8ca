//! Takes over a CA that was run elsewhere: its key and certificate become an issuer, what it issued and revoked goes on here.
//!
//! `issuer.rs` imports an issuer, `certificates.rs` certificates that one of our issuers signed. What the files of other programs say is read
//! by the pure `findings.rs` with `openssl_index.rs` and `step_revocations.rs`; where the files are is the command line's business, and private keys
//! are read in `signer/import.rs`.

pub mod certificates;
mod chain;
mod checks;
pub mod findings;
pub mod issuer;
mod openssl_index;
mod step_revocations;

/// The profile name under which imported certificates stand in the inventory.
pub const IMPORT_PROFILE: &str = "chancery.imported";
