//! Foreign programs make requests, and foreign programs judge what we sign.

mod guide;
mod judges;
mod key_types;
mod lint;
mod requests;
