//! Foreign programs make requests, and foreign programs judge what we sign.

mod constraints;
mod crls;
mod guide;
mod import;
mod judges;
mod key_types;
mod lint;
mod must_staple;
mod ocsp;
mod post_quantum;
mod requests;
mod subordinate;

use judges::lint as lint_objects;
