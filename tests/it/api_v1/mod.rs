//! `/api/v1`: one module a path.

mod acme;
mod audit;
mod certificates;
mod hostile_text;
mod inspect;
mod issuers;
mod profiles;
mod revocations;
mod statistics;
mod tokens;
