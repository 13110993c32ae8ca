//! Challenges looked at over the network, by the library against servers of the tests' own.

mod addresses;
mod dns;
mod fixture;
mod http_01;
mod tls_alpn_01;
