//! The integration tests: one binary, whose folders mirror the URLs of the service.
//!
//! They start the real program (see `support/`) on both databases and talk to it as clients do. Run them with `scripts/test`,
//! which installs the foreign programs that judge our output.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a panic is how a test reports, and its output is read by people"
)]

mod acme;
mod api_v1;
mod architecture;
mod cli;
mod client_certificates;
mod container;
mod crash;
mod crls;
mod documentation;
mod fuzz;
mod interop;
mod keys;
mod ocsp;
mod operation;
mod overload;
mod permissions;
mod pki;
mod quickstart;
mod replicas;
mod storage;
mod support;
mod validation;
