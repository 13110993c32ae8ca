//! Who is calling, and may they: principals, permissions, and the credentials that prove a principal.
//!
//! [`permission`] and [`principal`] are plain values that the core consumes; the other modules check credentials: [`api_token`],
//! [`jwt`] and [`client_certificate`], chosen by [`authenticator`]. No HTTP server here (`http/` takes credentials out of requests).

pub mod api_token;
pub mod authenticator;
mod cache;
pub mod client_certificate;
pub mod jwt;
pub mod permission;
pub mod principal;
mod records;
#[cfg(test)]
mod test_support;

pub use authenticator::{Authenticator, AuthenticatorSettings, Credentials};
pub use permission::{Authorized, Permission, Requires};
pub use principal::{Caller, Method, Principal, Role};
