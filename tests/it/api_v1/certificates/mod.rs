//! `/api/v1/certificates`: issue, check, list, search, export, read, revoke, release, renew.

mod check;
mod idempotency;
mod issue;
mod list;
mod read;
mod refusals;
mod renew;
mod revoke;
mod twins;
