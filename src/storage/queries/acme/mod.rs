//! The queries of ACME. A change of state is one conditional statement, and whoever loses a race is told so by its count of rows.
//!
//! Transactions lock rows in this order, so that none waits for one that waits for it: accounts, external account keys, rate limits by key,
//! authorizations, orders by number, the chain of the audit log.
//!
//! What takes so many rows and no more finds them in a `WITH ... AS MATERIALIZED`: PostgreSQL may run a sub-select in a condition again, and
//! with a limit that would find others.

use super::{Backend, Connection, audit, dialect, idempotency, statement, walk};

pub(in super::super) mod accounts;
pub(in super::super) mod authorizations;
pub(in super::super) mod clean_up;
pub(in super::super) mod external_accounts;
pub(in super::super) mod order_listing;
pub(in super::super) mod orders;
pub(in super::super) mod rate_limits;
pub(in super::super) mod renewal;

use self::statement::Statement;
