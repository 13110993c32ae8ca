//! Chancery, a certificate authority that services and people use over HTTP.
//!
//! The same word in three folders is deliberate: `x509/crl.rs` is bytes, `ca/crl.rs` is behaviour, `protocols/crl.rs` is HTTP.
//! Arrows run one way: `protocols -> ca -> {policy, x509, Storage, Signer}`; see docs/architecture.md.

pub mod app;
pub mod auth;
pub mod ca;
pub mod cli;
pub mod config;
pub mod environment;
pub mod error;
pub mod http;
pub mod jobs;
pub mod policy;
pub mod protocols;
pub mod signer;
pub mod storage;
pub mod tasks;
pub mod telemetry;
pub mod validation;
pub mod x509;

pub use error::{Error, ErrorKind, Result};
