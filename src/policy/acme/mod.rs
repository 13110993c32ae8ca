//! PURE: the rules of ACME (RFC 8555) that need no state: identifiers, challenges, what their answers must hold, and what CAA records say.

pub mod caa;
pub mod certificate_id;
pub mod challenge;
pub mod csr;
pub mod dns_persist;
pub mod identifier;
mod issue_value;
pub mod order;
pub mod renewal_window;

pub use challenge::ChallengeType;
pub use identifier::Identifier;
