//! Front doors: decode, call `ca`, encode. Who may is proven by each handler's first argument; where a path leads is in `http/routes.rs`.

pub mod acme;
mod conditional;
pub mod crl;
pub mod ocsp;
pub mod operation;
pub mod rest;
