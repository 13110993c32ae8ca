//! The queries in diesel's words, shared by the databases: each backend compiles this folder once with its own `Connection`, `Backend`
//! and `dialect`.
//!
//! Every function runs on a connection it is given; those that write are called inside a transaction, which they neither begin nor end.

use super::{Backend, Connection, dialect};

pub(super) mod acme;
pub(super) mod audit;
pub(super) mod certificates;
pub(super) mod counts;
pub(super) mod crls;
pub(super) mod idempotency;
pub(super) mod import;
pub(super) mod issuers;
pub(super) mod key_revocation;
pub(super) mod keys;
pub(super) mod ocsp;
pub(super) mod operation;
pub(super) mod profiles;
pub(super) mod revoked;
pub(super) mod search;
pub(super) mod secrets;
pub(super) mod statement;
pub(super) mod statistics;
pub(super) mod tokens;
pub(super) mod verification;
pub(super) mod walk;
