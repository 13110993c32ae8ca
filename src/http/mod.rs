//! The HTTP servers: listeners, the table of routes, the OpenAPI document, problem details, request ids, limits.
//!
//! Paths' handlers live in `protocols/`; nothing here decides what may be issued.

pub mod accept;
pub(crate) mod acme;
pub mod admission;
mod connection;
pub mod cursor;
pub mod endpoint;
mod entrance;
pub mod extract;
mod http2;
pub mod metrics;
pub mod middleware;
pub mod openapi;
pub mod problem;
pub mod routes;
pub mod server;
pub mod state;
pub mod tls;

pub use state::{AppState, HttpSettings};
