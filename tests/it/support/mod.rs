//! What the integration tests stand on: the running service, clients for it, CSRs good and bad, and foreign programs.

pub(crate) mod acme;
pub(crate) mod client;
pub(crate) mod crl;
pub(crate) mod csr;
pub(crate) mod der;
pub(crate) mod dns;
pub(crate) mod hsm;
pub(crate) mod postgres;
pub(crate) mod responders;
pub(crate) mod seed;
pub(crate) mod service;
pub(crate) mod statements;
pub(crate) mod tools;

/// Makes a new, empty PostgreSQL database and returns its URL.
pub(crate) fn new_postgres_database() -> String {
    client::RUNTIME.block_on(postgres::database())
}
