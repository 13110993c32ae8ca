//! JSON Web Signatures (RFC 7515): the requests of ACME clients ([`SignedRequest`], RFC 8555, section 6.2) with the keys they are made with
//! ([`AccountKey`]) and what stands in them ([`KeyChange`], [`MacRequest`]); and signatures that prove possession of a key and nothing else
//! ([`JsonWebSignature`]).
//!
//! Tokens of callers are another thing and are in `auth/jwt`: there a key in the header is never believed. Nonces, accounts and addresses are
//! compared by the front door and the core.

mod account_key;
mod algorithm;
mod envelope;
mod header;
mod key_change;
mod mac;
mod possession;
mod request;

pub use account_key::{AccountKey, OfferedKey};
pub use algorithm::JwsAlgorithm;
pub use envelope::FlattenedSignature;
pub use key_change::KeyChange;
pub use mac::{MacRequest, VerifiedBinding};
pub use possession::{JsonWebSignature, VerifiedSignature};
pub use request::{KeyReference, SignedRequest, VerifiedRequest};

#[cfg(test)]
mod tests;
