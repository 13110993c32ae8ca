//! Signatures by keys of every kind, and all the ways in which one is none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod account_key;
mod key_change;
mod keys;
mod mac;
mod possession;
mod request;
mod vectors;
